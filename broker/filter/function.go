package filter

import (
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/robustmq/rmq/broker/grammar"
	"github.com/robustmq/rmq/broker/message"
)

// function is one function. Its first argument may stand before it: f(x, y) is x.f(y).
type function struct {
	name   string
	params []typ // typeAny takes anything that is one value
	result typ
	usage  string
	text   string
	// call computes it; the arguments have the kinds of params, or are Unknown.
	call func(s *state, a, b Value) Value
	// check makes the node of a function that is more than a call.
	check func(c *checker, e *expr) (node, error)
}

// functions are all of them, in the order in which they are told.
var functions []function

func init() { // they refer to the checker, which refers to them
	two := []typ{typeText, typeText}
	functions = []function{
		{name: "contains", params: two, result: typeBool, usage: `value.contains("error")`, text: "the text has that part",
			call: func(s *state, a, b Value) Value { return s.part(a, b, strings.Contains) }},
		{name: "startsWith", params: two, result: typeBool, usage: `key.startsWith("dev-")`, text: "the text begins with that",
			call: func(s *state, a, b Value) Value { return s.part(a, b, strings.HasPrefix) }},
		{name: "endsWith", params: two, result: typeBool, usage: `topic.endsWith("/temp")`, text: "the text ends with that",
			call: func(s *state, a, b Value) Value { return s.part(a, b, strings.HasSuffix) }},
		{name: "matches", params: two, result: typeBool, usage: `value.matches(r"(?i)time\s?out")`, text: "the text has a part that matches a regular expression (RE2), which is written out",
			check: checkMatches},
		{name: "topicMatches", params: two, result: typeBool, usage: `topicMatches("sensors/+/temp")`, text: "the topic, or the text before it, matches an MQTT filter: `+` is one level, `#` the rest",
			check: checkTopicMatches},
		{name: "has", params: []typ{typeAny}, result: typeBool, usage: `has(json.error)`, text: "it is there",
			check: checkHas},
		{name: "lower", params: two[:1], result: typeText, usage: `lower(value).contains("error")`, text: "in lower case",
			call: func(s *state, a, _ Value) Value { return s.letters(a, 'A', 'Z', strings.ToLower) }},
		{name: "upper", params: two[:1], result: typeText, usage: `upper(key) == "EU"`, text: "in upper case",
			call: func(s *state, a, _ Value) Value { return s.letters(a, 'a', 'z', strings.ToUpper) }},
		{name: "trim", params: two[:1], result: typeText, usage: `value.trim() == "on"`, text: "without white space around it",
			call: func(s *state, a, _ Value) Value {
				if !s.look(len(a.s)) {
					return None
				}
				return Text(strings.TrimSpace(a.s))
			}},
		{name: "size", params: []typ{typeAny}, result: typeInt, usage: `size(json.items) > 10`, text: "bytes of a text, elements of a JSON array, members of an object, how many headers there are",
			check: checkSize},
		{name: "int", params: []typ{typeAny}, result: typeInt, usage: `int(headers["retries"]) > 3`, text: "a whole number: of text, cut off a double, seconds since 1970 of a time, seconds of a duration",
			call: func(_ *state, a, _ Value) Value { return toInt(a) }},
		{name: "double", params: []typ{typeAny}, result: typeDouble, usage: `double(value) > 21.5`, text: "a number: of text, an int, a time or a duration in seconds",
			call: func(_ *state, a, _ Value) Value { return toDouble(a) }},
		{name: "string", params: []typ{typeAny}, result: typeText, usage: `string(json.id) == key`, text: "as text: of JSON as it is written, of a time as in RFC 3339",
			call: func(s *state, a, _ Value) Value { return s.toText(a) }},
		{name: "duration", params: []typ{typeAny}, result: typeDuration, usage: `now - time < duration("1h30m")`, text: "a duration: of text (`250ms`, `1h30m`, `7d`), of a number of seconds",
			call: func(_ *state, a, _ Value) Value { return toDuration(a) }},
		{name: "timestamp", params: []typ{typeAny}, result: typeTime, usage: `time >= timestamp("2026-01-31T12:00:00Z")`, text: "a time: of text (`2026-01-31`), of seconds since 1970",
			call: func(_ *state, a, _ Value) Value { return toTime(a) }},
	}
}

func functionNamed(name string) (*function, bool) {
	for i := range functions {
		if functions[i].name == name {
			return &functions[i], true
		}
	}
	return nil, false
}

func (c *checker) call(e *expr) (node, error) {
	f, ok := functionNamed(e.name)
	switch {
	case ok:
	case e.name == "now" && len(e.args) == 0:
		return c.name(e)
	default:
		var all []string
		for _, f := range functions {
			all = append(all, f.name)
		}
		hint := "there are " + strings.Join(all, ", ")
		if near := grammar.Closest(e.name, all); near != "" {
			hint = "did you mean " + near + "?"
		}
		return node{}, c.errorf(e, hint, "there is no function %s", e.name)
	}
	if f.check != nil {
		return f.check(c, e)
	}
	args, err := c.arguments(e, f)
	if err != nil {
		return node{}, err
	}
	call, a := f.call, args[0].eval
	if len(args) == 1 {
		return c.settle(e, node{typ: f.result, eval: func(s *state) Value {
			v := a(s)
			if !fits(v, f.params[0]) {
				return None
			}
			return call(s, v, None)
		}}, args...)
	}
	b := args[1].eval
	return c.settle(e, node{typ: f.result, eval: func(s *state) Value {
		v, w := a(s), b(s)
		if !fits(v, f.params[0]) || !fits(w, f.params[1]) {
			return None
		}
		return call(s, v, w)
	}}, args...)
}

// fits tells whether a value is what a parameter wants.
func fits(v Value, t typ) bool {
	return v.known() && (t == typeAny || v.kind == kindText)
}

// arguments checks the arguments of a call.
func (c *checker) arguments(e *expr, f *function) ([]node, error) {
	if len(e.args) != len(f.params) {
		return nil, c.errorf(e, "such as "+f.usage, "%s takes %s", f.name, count(len(f.params)))
	}
	var out []node
	for i, a := range e.args {
		n, err := c.check(a)
		if err != nil {
			return nil, err
		}
		switch want := f.params[i]; {
		case want == typeAny && n.typ < typeList:
		case n.typ == typeAny || n.typ == want:
		default:
			hint := "such as " + f.usage
			if want == typeText && n.typ < typeList {
				hint = "make text of it by string(…)"
			}
			return nil, c.errorf(a, hint, "%s wants %s here, not %s", f.name, want, n.typ)
		}
		out = append(out, n)
	}
	return out, nil
}

func count(n int) string {
	if n == 1 {
		return "1 argument"
	}
	return strconv.Itoa(n) + " arguments"
}

// part looks for one text in another.
func (s *state) part(a, b Value, in func(string, string) bool) Value {
	if !s.look(len(a.s)) {
		return None
	}
	return Bool(in(a.s, b.s))
}

// letters changes the letters from low to high, and those that are not ASCII by the
// slower change.
func (s *state) letters(a Value, low, high byte, change func(string) string) Value {
	if !s.look(2 * len(a.s)) {
		return None
	}
	found, ascii := false, true
	for i := 0; i < len(a.s); i++ {
		c := a.s[i]
		found = found || c >= low && c <= high
		ascii = ascii && c < utf8.RuneSelf
	}
	switch {
	case !ascii:
		return Text(change(a.s))
	case !found:
		return a
	}
	from := len(s.made)
	s.made = append(s.made, a.s...)
	for i := from; i < len(s.made); i++ {
		if c := s.made[i]; c >= low && c <= high {
			s.made[i] = c ^ 0x20
		}
	}
	return Text(view(s.made[from:]))
}

func checkMatches(c *checker, e *expr) (node, error) {
	f, _ := functionNamed(e.name)
	args, err := c.arguments(e, f)
	if err != nil {
		return node{}, err
	}
	if !args[1].fixed {
		return node{}, c.errorf(e.args[1], `such as matches(value, r"\d+")`, "the regular expression must be written out")
	}
	re, err := regexp.Compile(args[1].val.s)
	if err != nil {
		return node{}, c.errorf(e.args[1], "", "%s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	text := args[0].eval
	return c.settle(e, node{typ: typeBool, eval: func(s *state) Value {
		v := text(s)
		if v.kind != kindText || !s.look(len(v.s)) {
			return None
		}
		return Bool(re.MatchString(v.s))
	}}, args...)
}

func checkTopicMatches(c *checker, e *expr) (node, error) {
	f, _ := functionNamed(e.name)
	if len(e.args) == 1 {
		of := &expr{kind: exprName, pos: e.pos, name: "topic"}
		e = &expr{kind: exprCall, pos: e.pos, name: e.name, args: []*expr{of, e.args[0]}}
	}
	args, err := c.arguments(e, f)
	if err != nil {
		return node{}, err
	}
	if args[1].fixed {
		if why := badTopicFilter(args[1].val.s); why != "" {
			return node{}, c.errorf(e.args[1], "", "%q is no MQTT filter: %s", args[1].val.s, why)
		}
	}
	text, pattern := args[0].eval, args[1].eval
	return c.settle(e, node{typ: typeBool, eval: func(s *state) Value {
		v, p := text(s), pattern(s)
		if v.kind != kindText || p.kind != kindText || !s.look(len(v.s)+len(p.s)) {
			return None
		}
		return Bool(message.MatchFilter(p.s, v.s))
	}}, args...)
}

// badTopicFilter says what is wrong with an MQTT filter (MQTT5-4.7.1); "" when nothing is.
func badTopicFilter(filter string) string {
	if filter == "" {
		return "it is empty"
	}
	for level := range strings.SplitSeq(filter, "/") {
		switch {
		case strings.Contains(level, "#") && level != "#", strings.Contains(level, "+") && level != "+":
			return "a wildcard stands alone in its level"
		}
	}
	if i := strings.IndexByte(filter, '#'); i >= 0 && i != len(filter)-1 {
		return "# is the last level"
	}
	return ""
}

func checkHas(c *checker, e *expr) (node, error) {
	f, _ := functionNamed(e.name)
	args, err := c.arguments(e, f)
	if err != nil {
		return node{}, err
	}
	inner := args[0].eval
	return node{typ: typeBool, eval: func(s *state) Value { return Bool(inner(s).known()) }}, nil
}

func checkSize(c *checker, e *expr) (node, error) {
	if len(e.args) == 1 && e.args[0].kind == exprName && e.args[0].name == "headers" {
		return node{typ: typeInt, eval: func(s *state) Value {
			n := 0
			for {
				if _, _, ok := s.m.Header(n); !ok || !s.look(1) {
					return Int(int64(n))
				}
				n++
			}
		}}, nil
	}
	f, _ := functionNamed(e.name)
	args, err := c.arguments(e, f)
	if err != nil {
		return node{}, err
	}
	if t := args[0].typ; t != typeText && t != typeAny {
		return node{}, c.errorf(e.args[0], "such as "+f.usage, "%s has no size", t)
	}
	inner := args[0].eval
	return c.settle(e, node{typ: typeInt, eval: func(s *state) Value {
		switch v := inner(s); v.kind {
		case kindText:
			return Int(int64(len(v.s)))
		case kindArray, kindObject:
			if n, ok := s.count(v); ok {
				return Int(n)
			}
		}
		return None
	}}, args...)
}

// ---- conversions

func toInt(v Value) Value {
	switch v.kind {
	case kindInt:
		return v
	case kindText:
		if len(v.s) > numberMax {
			return None
		}
		if n := parseNumber(strings.TrimSpace(v.s)); n.kind == kindInt {
			return n
		}
	case kindDouble:
		if f := v.float(); f > -1<<63 && f < 1<<63 {
			return Int(int64(f))
		}
	case kindTime:
		return Int(v.time().Unix())
	case kindDuration:
		return Int(v.int() / int64(time.Second))
	}
	return None
}

// numberMax bounds a text that is read as a number.
const numberMax = 512

func toDouble(v Value) Value {
	switch v.kind {
	case kindText:
		if len(v.s) > numberMax {
			return None
		}
		if f, ok := parseNumber(strings.TrimSpace(v.s)).number(); ok {
			return double(f)
		}
	case kindTime, kindDuration:
		return double(float64(v.int()) / float64(time.Second))
	default:
		if f, ok := v.number(); ok {
			return double(f)
		}
	}
	return None
}

func (s *state) toText(v Value) Value {
	from := len(s.made)
	switch v.kind {
	case kindText:
		return v
	case kindNull:
		return Text("null")
	case kindBool:
		return Text(strconv.FormatBool(v.n != 0))
	case kindInt:
		s.made = strconv.AppendInt(s.made, v.int(), 10)
	case kindDouble:
		s.made = strconv.AppendFloat(s.made, v.float(), 'g', -1, 64)
	case kindTime:
		s.made = v.time().UTC().AppendFormat(s.made, time.RFC3339Nano)
	case kindDuration:
		return Text(v.duration().String())
	case kindObject, kindArray:
		end := skip(v.s, 0)
		if end < 0 || !s.look(end) {
			return None
		}
		return Text(v.s[:end])
	}
	return Text(view(s.made[from:]))
}

func toDuration(v Value) Value {
	switch v.kind {
	case kindDuration:
		return v
	case kindText:
		if d, err := grammar.ParseDuration(v.s); err == nil {
			return duration(d)
		}
	case kindInt, kindDouble:
		if ns, ok := nanoseconds(v); ok {
			return duration(time.Duration(ns))
		}
	}
	return None
}

func toTime(v Value) Value {
	switch v.kind {
	case kindTime:
		return v
	case kindText:
		if t, err := grammar.ParseTime(v.s); err == nil {
			return moment(t)
		}
	case kindInt, kindDouble:
		if ns, ok := nanoseconds(v); ok {
			return Value{kind: kindTime, n: uint64(ns)}
		}
	}
	return None
}

// nanoseconds is a number of seconds in ns.
func nanoseconds(v Value) (int64, bool) {
	if v.kind == kindInt {
		return whole('*', v.int(), int64(time.Second))
	}
	ns := v.float() * float64(time.Second)
	return int64(ns), ns > -1<<63 && ns < 1<<63
}
