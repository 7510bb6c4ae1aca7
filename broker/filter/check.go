package filter

import (
	"fmt"
	"strconv"

	"github.com/robustmq/rmq/broker/grammar"
)

// eval computes one part of an expression.
type eval func(*state) Value

// node is a part whose type is known.
type node struct {
	typ   typ
	eval  eval
	fixed bool  // the same for every message: val
	val   Value // of one that is fixed
	elems []node
	field Field // of one that is a field; only with isField
	// isField tells that it is a field as it stands.
	isField bool
}

// checker turns a tree into closures.
type checker struct{ source string }

func (c *checker) errorf(e *expr, hint, format string, args ...any) error {
	return &Error{Source: c.source, Pos: e.pos, What: fmt.Sprintf(format, args...), Hint: hint}
}

func fixed(t typ, v Value) node {
	return node{typ: t, val: v, fixed: true, eval: func(*state) Value { return v }}
}

// typeOf is the type of a value that is known when an expression is compiled.
func typeOf(v Value) typ {
	switch v.kind {
	case kindNull:
		return typeNull
	case kindBool:
		return typeBool
	case kindInt:
		return typeInt
	case kindDouble:
		return typeDouble
	case kindText:
		return typeText
	case kindTime:
		return typeTime
	case kindDuration:
		return typeDuration
	}
	return typeAny
}

// settle computes a part now that is the same for every message.
func (c *checker) settle(e *expr, n node, parts ...node) (node, error) {
	for _, p := range parts {
		if !p.fixed {
			return n, nil
		}
	}
	v := n.eval(&state{})
	if !v.known() {
		return n, c.errorf(e, "", "it has no value")
	}
	return fixed(n.typ, v), nil
}

func (c *checker) check(e *expr) (node, error) {
	switch e.kind {
	case exprLiteral:
		return fixed(typeOf(e.val), e.val), nil
	case exprName:
		return c.name(e)
	case exprMember:
		return c.member(e)
	case exprIndex:
		return c.index(e)
	case exprCall:
		return c.call(e)
	case exprUnary:
		return c.unary(e)
	case exprBinary:
		return c.binary(e)
	case exprChoice:
		return c.choice(e)
	}
	n := node{typ: typeList}
	for _, a := range e.args {
		elem, err := c.check(a)
		if err != nil {
			return n, err
		}
		n.elems = append(n.elems, elem)
	}
	return n, nil
}

func (c *checker) name(e *expr) (node, error) {
	for _, f := range fields {
		if f.name != e.name {
			continue
		}
		field := f.field
		n := node{typ: f.typ, field: field, isField: true, eval: func(s *state) Value { return s.m.Field(field) }}
		if field == FieldJSON {
			n.eval = func(s *state) Value {
				if v := s.m.Field(FieldJSON); v.kind == kindText {
					return s.jsonValue(v.s)
				}
				return None
			}
		}
		return n, nil
	}
	for _, p := range properties {
		if p.name == e.name {
			name := p.standard
			return node{typ: typeText, eval: func(s *state) Value { return s.property(name) }}, nil
		}
	}
	switch e.name {
	case "headers":
		return node{typ: typeHeaders}, nil
	case "properties":
		return node{typ: typeProperties}, nil
	case "now":
		return node{typ: typeTime, eval: (*state).current}, nil
	}
	if _, ok := functionNamed(e.name); ok {
		return node{}, c.errorf(e, "", "%s is a function: %s(…)", e.name, e.name)
	}
	hint := fmt.Sprintf("a text is %q, a member of a JSON value json.%s, a header headers[%q]", e.name, e.name, e.name)
	if near := grammar.Closest(e.name, names()); near != "" {
		hint = "did you mean " + near + "?"
	}
	return node{}, c.errorf(e, hint, "there is no %s", e.name)
}

// names lists what a name may be.
func names() []string {
	out := []string{"headers", "properties", "now", "true", "false", "null"}
	for _, f := range fields {
		out = append(out, f.name)
	}
	for _, p := range properties {
		out = append(out, p.name)
	}
	for _, f := range functions {
		out = append(out, f.name)
	}
	return out
}

func (c *checker) member(e *expr) (node, error) {
	of, err := c.check(e.args[0])
	if err != nil {
		return of, err
	}
	if of.typ != typeAny {
		return c.named(e, of, fixed(typeText, Text(e.name)), e.name)
	}
	name, inner := e.name, of.eval
	return node{typ: typeAny, eval: func(s *state) Value { return s.member(inner(s), name) }}, nil
}

// named is a header or a property.
func (c *checker) named(e *expr, of, name node, text string) (node, error) {
	look := (*state).header
	switch of.typ {
	case typeHeaders:
	case typeProperties:
		look = (*state).property
	default:
		hint := ""
		if e.args[0].name == "value" {
			hint = "look into JSON by json"
			if text != "" {
				hint += "." + text
			}
		}
		if _, ok := functionNamed(text); ok && text != "" {
			hint = fmt.Sprintf("a function is called: .%s(…)", text)
		}
		return node{}, c.errorf(e, hint, "%s has no members", of.typ)
	}
	if name.fixed {
		which := name.val.s
		return node{typ: typeText, eval: func(s *state) Value { return look(s, which) }}, nil
	}
	inner := name.eval
	return node{typ: typeText, eval: func(s *state) Value {
		if v := inner(s); v.kind == kindText {
			return look(s, v.s)
		}
		return None
	}}, nil
}

func (c *checker) index(e *expr) (node, error) {
	of, err := c.check(e.args[0])
	if err != nil {
		return of, err
	}
	at, err := c.check(e.args[1])
	if err != nil {
		return at, err
	}
	if of.typ != typeAny {
		if (of.typ == typeHeaders || of.typ == typeProperties) && at.typ != typeText && at.typ != typeAny {
			return at, c.errorf(e.args[1], "", "the name of a header or property is text, not %s", at.typ)
		}
		return c.named(e, of, at, "")
	}
	if at.typ != typeText && at.typ != typeInt && at.typ != typeAny {
		return at, c.errorf(e.args[1], "", "JSON is looked into by a name or a place, not by %s", at.typ)
	}
	inner, place := of.eval, at.eval
	return node{typ: typeAny, eval: func(s *state) Value {
		v := inner(s)
		switch p := place(s); p.kind {
		case kindText:
			return s.member(v, p.s)
		case kindInt:
			return s.element(v, p.int())
		}
		return None
	}}, nil
}

func (c *checker) unary(e *expr) (node, error) {
	of, err := c.check(e.args[0])
	if err != nil {
		return of, err
	}
	inner := of.eval
	if e.name == "!" {
		if of.typ != typeBool && of.typ != typeAny {
			return of, c.errorf(e.args[0], "", "! wants a condition, not %s", of.typ)
		}
		return c.settle(e, node{typ: typeBool, eval: func(s *state) Value { return not(inner(s)) }}, of)
	}
	switch of.typ {
	case typeInt, typeDouble, typeDuration, typeAny:
		return c.settle(e, node{typ: of.typ, eval: func(s *state) Value { return negate(inner(s)) }}, of)
	}
	return of, c.errorf(e.args[0], "", "- wants a number, not %s", of.typ)
}

func (c *checker) binary(e *expr) (node, error) {
	if e.name == "&&" || e.name == "||" {
		return c.logic(e)
	}
	l, err := c.check(e.args[0])
	if err != nil {
		return l, err
	}
	r, err := c.check(e.args[1])
	if err != nil {
		return r, err
	}
	switch e.name {
	case "in":
		return c.in(e, l, r)
	case "+", "-", "*", "/", "%":
		return c.arithmetic(e, l, r)
	}
	return c.comparison(e, l, r)
}

func (c *checker) logic(e *expr) (node, error) {
	parts := make([]eval, len(e.args))
	nodes := make([]node, len(e.args))
	for i, a := range e.args {
		n, err := c.check(a)
		if err != nil {
			return n, err
		}
		if n.typ != typeBool && n.typ != typeAny {
			return n, c.errorf(a, n.typ.hintBool(sourceOf(a)), "%s wants conditions, not %s", e.name, n.typ)
		}
		parts[i], nodes[i] = n.eval, n
	}
	combine := all
	if e.name == "||" {
		combine = some
	}
	return c.settle(e, node{typ: typeBool, eval: combine(parts)}, nodes...)
}

// sourceOf is a short name of a part, for a hint.
func sourceOf(e *expr) string {
	if e.kind == exprName {
		return e.name
	}
	return "it"
}

// comparableTypes tells whether values of two types can be compared.
func comparableTypes(a, b typ) bool {
	switch {
	case a >= typeList || b >= typeList:
		return false
	case a == typeAny || b == typeAny || a == b:
		return true
	}
	return number(a) && number(b)
}

func number(t typ) bool { return t == typeInt || t == typeDouble }

func (c *checker) comparison(e *expr, l, r node) (node, error) {
	equality := e.name == "==" || e.name == "!="
	if l.typ == typeNull || r.typ == typeNull {
		return c.isNull(e, l, r)
	}
	var err error
	if l, err = c.coerce(e.args[0], l, r.typ); err != nil {
		return l, err
	}
	if r, err = c.coerce(e.args[1], r, l.typ); err != nil {
		return r, err
	}
	if !comparableTypes(l.typ, r.typ) {
		return l, c.errorf(e, c.hintNumber(e, l, r), "%s and %s are not compared", l.typ, r.typ)
	}
	if !equality && (l.typ == typeBool || r.typ == typeBool) {
		return l, c.errorf(e, "", "conditions are compared by == and != only")
	}
	if err := c.protocol(e.args[1], l, r); err != nil {
		return l, err
	}
	if err := c.protocol(e.args[0], r, l); err != nil {
		return l, err
	}
	return c.settle(e, node{typ: typeBool, eval: compare(e.name, l.eval, r.eval)}, l, r)
}

// coerce reads a fixed text beside a time or a duration as one.
func (c *checker) coerce(e *expr, n node, beside typ) (node, error) {
	if !n.fixed || n.typ != typeText {
		return n, nil
	}
	var v Value
	switch beside {
	case typeTime:
		v = toTime(n.val)
	case typeDuration:
		v = toDuration(n.val)
	default:
		return n, nil
	}
	if !v.known() {
		return n, c.errorf(e, "such as "+map[typ]string{typeTime: `"2026-01-31T12:00:00Z"`, typeDuration: `"1h30m"`}[beside], "%q is not %s", n.val.s, beside)
	}
	return fixed(beside, v), nil
}

// hintNumber says how text is compared with a number.
func (c *checker) hintNumber(e *expr, l, r node) string {
	text, num := e.args[0], r.typ
	if r.typ == typeText {
		text, num = e.args[1], l.typ
	}
	if l.typ != typeText && r.typ != typeText || !number(num) {
		return ""
	}
	if text.kind == exprLiteral {
		return "a number has no quotes"
	}
	name := sourceOf(text)
	return fmt.Sprintf("read it as a number: double(%s), or as JSON: json", name)
}

// protocol refuses a protocol that there is not.
func (c *checker) protocol(e *expr, field, text node) error {
	if !field.isField || field.field != FieldProtocol || !text.fixed {
		return nil
	}
	for _, p := range protocolNames {
		if text.val.s == p {
			return nil
		}
	}
	hint := ""
	if near := grammar.Closest(text.val.s, protocolNames); near != "" {
		hint = "did you mean " + strconv.Quote(near) + "?"
	}
	return c.errorf(e, hint, "a protocol is one of kafka, mqtt, amqp")
}

// isNull tells whether something is not there, or JSON's null.
func (c *checker) isNull(e *expr, l, r node) (node, error) {
	of := l
	if l.typ == typeNull {
		of = r
	}
	if e.name != "==" && e.name != "!=" {
		return of, c.errorf(e, "", "null is compared by == and != only")
	}
	if of.typ >= typeList {
		return of, c.errorf(e, "", "%s is always there", of.typ)
	}
	inner, want := of.eval, e.name == "=="
	return c.settle(e, node{typ: typeBool, eval: func(s *state) Value {
		v := inner(s)
		return Bool((v.kind == kindNull || v.kind == kindUnknown) == want)
	}}, of)
}

func (c *checker) in(e *expr, l, r node) (node, error) {
	item, set := l.eval, r.eval
	switch r.typ {
	case typeList:
		if l.typ >= typeList {
			return l, c.errorf(e, "", "%s is in no list", l.typ)
		}
		elems := make([]eval, len(r.elems))
		for i, elem := range r.elems {
			at := e.args[1].args[i]
			elem, err := c.coerce(at, elem, l.typ)
			if err != nil {
				return l, err
			}
			if !comparableTypes(l.typ, elem.typ) {
				return l, c.errorf(at, "", "%s and %s are not compared", l.typ, elem.typ)
			}
			if err := c.protocol(at, l, elem); err != nil {
				return l, err
			}
			elems[i] = elem.eval
		}
		return node{typ: typeBool, eval: func(s *state) Value {
			v := item(s)
			if !v.known() {
				return None
			}
			result := Bool(false)
			for _, elem := range elems {
				switch same := s.equal(v, elem(s)); {
				case same.isTrue():
					return same
				case !same.known():
					result = None
				}
			}
			return result
		}}, nil
	case typeAny:
		return node{typ: typeBool, eval: func(s *state) Value {
			v, of := item(s), set(s)
			switch {
			case !v.known():
				return None
			case of.kind == kindArray:
				return s.within(of, v)
			case of.kind == kindObject && v.kind == kindText:
				_, ok := s.find(of, v.s)
				return Bool(ok)
			}
			return None
		}}, nil
	case typeHeaders, typeProperties:
		look := (*state).header
		if r.typ == typeProperties {
			look = (*state).property
		}
		if l.typ != typeText && l.typ != typeAny {
			return l, c.errorf(e.args[0], "", "the name of a header or property is text, not %s", l.typ)
		}
		return node{typ: typeBool, eval: func(s *state) Value {
			if v := item(s); v.kind == kindText {
				return Bool(look(s, v.s).known())
			}
			return None
		}}, nil
	}
	hint := ""
	if r.typ == typeText {
		hint = "for a part of a text write " + sourceOf(e.args[1]) + `.contains("…")`
	}
	return r, c.errorf(e, hint, "in wants a list, JSON, headers or properties, not %s", r.typ)
}

func (c *checker) arithmetic(e *expr, l, r node) (node, error) {
	result, ok := resultOf(e.name[0], l.typ, r.typ)
	if !ok {
		hint := ""
		if e.name == "+" && (l.typ == typeText || r.typ == typeText) {
			hint = "make text of it by string(…)"
		}
		return l, c.errorf(e, hint, "%s %s %s makes no sense", l.typ, e.name, r.typ)
	}
	op, left, right := e.name[0], l.eval, r.eval
	return c.settle(e, node{typ: result, eval: func(s *state) Value { return s.arithmetic(op, left(s), right(s)) }}, l, r)
}

// resultOf is the type of a op b.
func resultOf(op byte, a, b typ) (typ, bool) {
	additive := op == '+' || op == '-'
	switch {
	case a >= typeList || b >= typeList || a == typeNull || b == typeNull || a == typeBool || b == typeBool:
		return 0, false
	case a == typeAny || b == typeAny:
		return typeAny, true
	case a == typeInt && b == typeInt:
		return typeInt, true
	case number(a) && number(b):
		return typeDouble, op != '%'
	case a == typeText && b == typeText:
		return typeText, op == '+'
	case a == typeTime && b == typeTime:
		return typeDuration, op == '-'
	case a == typeTime && b == typeDuration:
		return typeTime, additive
	case a == typeDuration && b == typeTime:
		return typeTime, op == '+'
	case a == typeDuration && b == typeDuration:
		if op == '/' {
			return typeInt, true
		}
		return typeDuration, additive
	case a == typeDuration && b == typeInt:
		return typeDuration, op == '*' || op == '/'
	case a == typeInt && b == typeDuration:
		return typeDuration, op == '*'
	}
	return 0, false
}

func (c *checker) choice(e *expr) (node, error) {
	var parts [3]node
	for i, a := range e.args {
		n, err := c.check(a)
		if err != nil {
			return n, err
		}
		parts[i] = n
	}
	cond, yes, no := parts[0], parts[1], parts[2]
	if cond.typ != typeBool && cond.typ != typeAny {
		return cond, c.errorf(e.args[0], "", "? wants a condition, not %s", cond.typ)
	}
	n := node{typ: yes.typ}
	switch {
	case yes.typ >= typeList || no.typ >= typeList:
		return n, c.errorf(e, "", "a choice is between single values")
	case yes.typ == no.typ:
	case number(yes.typ) && number(no.typ):
		n.typ = typeDouble
	case yes.typ == typeAny || no.typ == typeAny || yes.typ == typeNull || no.typ == typeNull:
		n.typ = typeAny
	default:
		return n, c.errorf(e, "", "a choice is between values of one type, not %s and %s", yes.typ, no.typ)
	}
	n.eval = func(s *state) Value {
		switch v := cond.eval(s); {
		case v.isTrue():
			return yes.eval(s)
		case v.isFalse():
			return no.eval(s)
		}
		return None
	}
	return n, nil
}
