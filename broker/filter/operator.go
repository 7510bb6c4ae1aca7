package filter

import (
	"math"
	"strings"
)

// equal compares two values; Unknown when one is, or when they are objects or arrays.
// Values of different kinds are not equal.
func (s *state) equal(a, b Value) Value {
	if !a.known() || !b.known() || a.kind == kindObject || a.kind == kindArray || b.kind == kindObject || b.kind == kindArray {
		return None
	}
	if a.kind == b.kind {
		switch a.kind {
		case kindText:
			if len(a.s) != len(b.s) {
				return Bool(false)
			}
			if !s.look(len(a.s)) {
				return None
			}
			return Bool(a.s == b.s)
		case kindDouble:
			return Bool(a.float() == b.float())
		}
		return Bool(a.n == b.n)
	}
	x, ok1 := a.number()
	y, ok2 := b.number()
	return Bool(ok1 && ok2 && x == y)
}

// order compares two values of one kind: below 0, 0 or above.
func (s *state) order(a, b Value) (int, bool) {
	switch {
	case a.kind == kindText && b.kind == kindText:
		if !s.look(min(len(a.s), len(b.s))) {
			return 0, false
		}
		return strings.Compare(a.s, b.s), true
	case a.kind == b.kind && (a.kind == kindInt || a.kind == kindTime || a.kind == kindDuration):
		x, y := a.int(), b.int()
		switch {
		case x < y:
			return -1, true
		case x > y:
			return 1, true
		}
		return 0, true
	}
	x, ok1 := a.number()
	y, ok2 := b.number()
	switch {
	case !ok1 || !ok2 || math.IsNaN(x) || math.IsNaN(y):
		return 0, false
	case x < y:
		return -1, true
	case x > y:
		return 1, true
	}
	return 0, true
}

// compare makes the closure of a comparison.
func compare(op string, l, r eval) eval {
	switch op {
	case "==":
		return func(s *state) Value { return s.equal(l(s), r(s)) }
	case "!=":
		return func(s *state) Value { return not(s.equal(l(s), r(s))) }
	}
	below, same, above := op[0] == '<', len(op) == 2, op[0] == '>'
	return func(s *state) Value {
		o, ok := s.order(l(s), r(s))
		if !ok {
			return None
		}
		return Bool(o < 0 && below || o == 0 && same || o > 0 && above)
	}
}

func not(v Value) Value {
	if v.kind != kindBool {
		return None
	}
	return Bool(v.n == 0)
}

func negate(v Value) Value {
	switch {
	case v.kind == kindDouble:
		return double(-v.float())
	case (v.kind == kindInt || v.kind == kindDuration) && v.int() != math.MinInt64:
		v.n = -v.n
		return v
	}
	return None
}

// all and some are && and || over parts, which know what they say when a part is Unknown.
func all(parts []eval) eval {
	return func(s *state) Value {
		result := Bool(true)
		for _, p := range parts {
			switch v := p(s); {
			case v.isFalse():
				return v
			case !v.isTrue():
				result = None
			}
		}
		return result
	}
}

func some(parts []eval) eval {
	return func(s *state) Value {
		result := Bool(false)
		for _, p := range parts {
			switch v := p(s); {
			case v.isTrue():
				return v
			case !v.isFalse():
				result = None
			}
		}
		return result
	}
}

// arithmetic computes a op b; what does not fit in its kind is None.
func (s *state) arithmetic(op byte, a, b Value) Value {
	switch {
	case a.kind == kindInt && b.kind == kindInt:
		n, ok := whole(op, a.int(), b.int())
		if !ok {
			return None
		}
		return Int(n)
	case a.kind == kindText && b.kind == kindText:
		if op != '+' || len(a.s)+len(b.s) > textMax || !s.look(len(a.s)+len(b.s)) {
			return None
		}
		from := len(s.made)
		s.made = append(append(s.made, a.s...), b.s...)
		return Text(view(s.made[from:]))
	case a.kind == kindTime || b.kind == kindTime || a.kind == kindDuration || b.kind == kindDuration:
		return spans(op, a, b)
	}
	x, ok1 := a.number()
	y, ok2 := b.number()
	if !ok1 || !ok2 {
		return None
	}
	switch op {
	case '+':
		x += y
	case '-':
		x -= y
	case '*':
		x *= y
	case '/':
		x /= y
	default:
		return None
	}
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return None
	}
	return double(x)
}

// whole computes with ints; ok is false for what has no answer in 64 bits.
func whole(op byte, a, b int64) (n int64, ok bool) {
	switch op {
	case '+':
		n = a + b
		return n, (n > a) == (b > 0)
	case '-':
		n = a - b
		return n, (n < a) == (b > 0)
	case '*':
		if a == 0 || b == 0 {
			return 0, true
		}
		n = a * b
		return n, n/b == a && !(a == -1 && b == math.MinInt64) && !(b == -1 && a == math.MinInt64)
	}
	if b == 0 || b == -1 && a == math.MinInt64 {
		return 0, false
	}
	if op == '/' {
		return a / b, true
	}
	return a % b, true
}

// spans computes with times and durations.
func spans(op byte, a, b Value) Value {
	result := kindDuration
	switch k := [2]kind{a.kind, b.kind}; {
	case op == '-' && k == [2]kind{kindTime, kindTime}, (op == '+' || op == '-') && k == [2]kind{kindDuration, kindDuration}:
	case (op == '+' || op == '-') && k == [2]kind{kindTime, kindDuration}, op == '+' && k == [2]kind{kindDuration, kindTime}:
		result = kindTime
	case (op == '*' || op == '/') && k == [2]kind{kindDuration, kindInt}, op == '*' && k == [2]kind{kindInt, kindDuration}:
	case op == '/' && k == [2]kind{kindDuration, kindDuration}:
		result = kindInt
	default:
		return None
	}
	n, ok := whole(op, a.int(), b.int())
	if !ok {
		return None
	}
	return Value{kind: result, n: uint64(n)}
}

// current is the time that "now" means, one for a whole evaluation.
func (s *state) current() Value {
	if !s.timed {
		s.now, s.timed = moment(s.clock()).int(), true
	}
	return Value{kind: kindTime, n: uint64(s.now)}
}

// header is the first header with a name.
func (s *state) header(name string) Value {
	for i := 0; ; i++ {
		n, v, ok := s.m.Header(i)
		switch {
		case !ok || !s.look(1+len(n)):
			return None
		case n == name:
			return v
		}
	}
}

// property is a property, or the header by which it travels where the protocol has no
// field for it.
func (s *state) property(name string) Value {
	if v := s.m.Property(name); v.known() {
		return v
	}
	return s.header(name)
}
