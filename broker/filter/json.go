package filter

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// JSON is looked into where it lies: what stands before the member that is asked for is
// skipped, what stands behind it is not seen, and nothing is kept. So text that goes wrong
// only further on is no trouble, and of a name that stands twice the first counts.

// jsonValue is the value with which doc begins. Of an object or an array it looks at the
// first byte alone.
func (s *state) jsonValue(doc string) Value {
	i := blank(doc, 0)
	if i == len(doc) {
		return None
	}
	switch c := doc[i]; {
	case c == '{':
		return Value{kind: kindObject, s: doc[i:]}
	case c == '[':
		return Value{kind: kindArray, s: doc[i:]}
	case c == '"':
		return s.jsonText(doc[i:])
	case c == '-' || isDigit(c):
		j := i + 1
		for j < len(doc) && (isDigit(doc[j]) || strings.IndexByte(".eE+-", doc[j]) >= 0) {
			j++
		}
		if !s.look(j - i) {
			return None
		}
		return parseNumber(doc[i:j])
	case strings.HasPrefix(doc[i:], "true"):
		return Bool(true)
	case strings.HasPrefix(doc[i:], "false"):
		return Bool(false)
	case strings.HasPrefix(doc[i:], "null"):
		return Value{kind: kindNull}
	}
	return None
}

// blank returns the place of the first byte from i that is no white space.
func blank(doc string, i int) int {
	for i < len(doc) && (doc[i] == ' ' || doc[i] == '\n' || doc[i] == '\t' || doc[i] == '\r') {
		i++
	}
	return i
}

// parseNumber reads a number as JSON writes them: an int when it is whole and fits, else a
// double. Anything else is None, found without the cost of an error.
func parseNumber(t string) Value {
	i := 0
	digits := func() bool {
		from := i
		for i < len(t) && isDigit(t[i]) {
			i++
		}
		return i > from
	}
	if i < len(t) && t[i] == '-' {
		i++
	}
	if !digits() {
		return None
	}
	whole := true
	if i < len(t) && t[i] == '.' {
		whole = false
		if i++; !digits() {
			return None
		}
	}
	if i < len(t) && (t[i] == 'e' || t[i] == 'E') {
		whole = false
		if i++; i < len(t) && (t[i] == '+' || t[i] == '-') {
			i++
		}
		if !digits() {
			return None
		}
	}
	if i != len(t) {
		return None
	}
	if whole && len(t) < 20 { // a longer one is a double, or has zeros before it
		if n, err := strconv.ParseInt(t, 10, 64); err == nil {
			return Int(n)
		}
	}
	f, err := strconv.ParseFloat(t, 64)
	if err != nil {
		return None
	}
	return double(f)
}

// jsonText is the text whose quote is at the beginning of doc.
func (s *state) jsonText(doc string) Value {
	end := skipText(doc, 0)
	if end < 0 || !s.look(end) {
		return None
	}
	raw := doc[1 : end-1]
	if strings.IndexByte(raw, '\\') < 0 {
		return Text(raw)
	}
	from := len(s.made)
	made, ok := unescape(s.made, raw)
	if !ok {
		return None
	}
	s.made = made
	return Text(view(made[from:]))
}

// skipText returns the place behind the text whose quote is at i, or -1 when it has no end.
func skipText(doc string, i int) int {
	for j := i + 1; ; j++ {
		next := strings.IndexByte(doc[j:], '"')
		if next < 0 {
			return -1
		}
		j += next
		escapes := 0
		for doc[j-1-escapes] == '\\' { // ends at the opening quote at the latest
			escapes++
		}
		if escapes%2 == 0 {
			return j + 1
		}
	}
}

// unescape appends what a JSON text says.
func unescape(dst []byte, raw string) ([]byte, bool) {
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			dst = append(dst, raw[i])
			continue
		}
		if i++; i == len(raw) {
			return dst, false
		}
		switch raw[i] {
		case '"', '\\', '/':
			dst = append(dst, raw[i])
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r, ok := hex4(raw[i+1:])
			if !ok {
				return dst, false
			}
			i += 4
			if utf16.IsSurrogate(r) {
				low, ok := rune(0), false
				if strings.HasPrefix(raw[i+1:], `\u`) {
					low, ok = hex4(raw[i+3:])
				}
				if r = utf16.DecodeRune(r, low); ok && r != utf8.RuneError {
					i += 6
				}
			}
			dst = utf8.AppendRune(dst, r)
		default:
			return dst, false
		}
	}
	return dst, true
}

func hex4(t string) (rune, bool) {
	if len(t) < 4 {
		return 0, false
	}
	var r rune
	for i := range 4 {
		c := t[i]
		switch {
		case isDigit(c):
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// skip returns the place behind the value at i, or -1 when it has no end. Of objects and
// arrays it counts brackets only.
func skip(doc string, i int) int {
	if i == len(doc) {
		return -1
	}
	switch doc[i] {
	case '"':
		return skipText(doc, i)
	case '{', '[':
		depth := 0
		for ; i < len(doc); i++ {
			switch doc[i] {
			case '"':
				if i = skipText(doc, i) - 1; i < 0 {
					return -1
				}
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
		}
		return -1
	}
	from := i
	for i < len(doc) && strings.IndexByte(",]} \n\t\r", doc[i]) < 0 {
		i++
	}
	if i == from {
		return -1
	}
	return i
}

// walker goes over the members of an object, or the elements of an array.
type walker struct {
	doc  string
	at   int // behind the last value
	open bool
}

// next returns the place of the next value and, in an object, what stands between the
// quotes of its name.
func (w *walker) next(s *state) (name string, at int, ok bool) {
	end := byte(']')
	if w.doc[0] == '{' {
		end = '}'
	}
	i := blank(w.doc, w.at)
	if !w.open {
		i, w.open = blank(w.doc, 1), true
		if i == len(w.doc) || w.doc[i] == end {
			return "", 0, false
		}
	} else {
		if i == len(w.doc) || w.doc[i] != ',' {
			return "", 0, false
		}
		i = blank(w.doc, i+1)
	}
	if end == '}' {
		if i == len(w.doc) || w.doc[i] != '"' {
			return "", 0, false
		}
		behind := skipText(w.doc, i)
		if behind < 0 {
			return "", 0, false
		}
		name = w.doc[i+1 : behind-1]
		if i = blank(w.doc, behind); i == len(w.doc) || w.doc[i] != ':' {
			return "", 0, false
		}
		i = blank(w.doc, i+1)
	}
	return name, i, s.look(i - w.at)
}

// pass goes behind the value at a place.
func (w *walker) pass(s *state, at int) bool {
	behind := skip(w.doc, at)
	if behind < 0 || !s.look(behind-at) {
		return false
	}
	w.at = behind
	return true
}

// find returns the place of the member with a name.
func (s *state) find(v Value, name string) (at int, ok bool) {
	if v.kind != kindObject {
		return 0, false
	}
	w := walker{doc: v.s}
	for {
		raw, at, ok := w.next(s)
		if !ok {
			return 0, false
		}
		if s.named(raw, name) {
			return at, true
		}
		if !w.pass(s, at) {
			return 0, false
		}
	}
}

// named tells whether what stands between the quotes of a name is that name.
func (s *state) named(raw, name string) bool {
	if strings.IndexByte(raw, '\\') < 0 {
		return raw == name
	}
	from := len(s.made)
	made, ok := unescape(s.made, raw)
	s.made = made[:from] // nobody keeps it
	return ok && view(made[from:]) == name
}

// member is an object's member, None when there is none.
func (s *state) member(v Value, name string) Value {
	at, ok := s.find(v, name)
	if !ok {
		return None
	}
	return s.jsonValue(v.s[at:])
}

// element is an array's element; a place below 0 counts from its end.
func (s *state) element(v Value, place int64) Value {
	if v.kind != kindArray {
		return None
	}
	if place < 0 {
		n, ok := s.count(v)
		if place += n; !ok || place < 0 {
			return None
		}
	}
	w := walker{doc: v.s}
	for {
		_, at, ok := w.next(s)
		if !ok {
			return None
		}
		if place == 0 {
			return s.jsonValue(v.s[at:])
		}
		if place--; !w.pass(s, at) {
			return None
		}
	}
}

// count is how many members an object or elements an array has.
func (s *state) count(v Value) (n int64, ok bool) {
	w := walker{doc: v.s}
	for {
		_, at, more := w.next(s)
		if !more {
			// It must have come to its own end.
			i := blank(v.s, max(w.at, 1))
			return n, i < len(v.s) && (v.s[i] == ']' || v.s[i] == '}')
		}
		if n++; !w.pass(s, at) {
			return 0, false
		}
	}
}

// within tells whether an array has an element that equals v.
func (s *state) within(array, v Value) Value {
	w := walker{doc: array.s}
	for {
		_, at, ok := w.next(s)
		if !ok {
			return Bool(false)
		}
		if s.equal(s.jsonValue(array.s[at:]), v).isTrue() {
			return Bool(true)
		}
		if !w.pass(s, at) {
			return None
		}
	}
}
