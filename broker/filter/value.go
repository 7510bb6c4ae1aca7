package filter

import (
	"math"
	"time"
	"unsafe"
)

// kind is what a Value is at the time of evaluation.
type kind uint8

const (
	kindUnknown  kind = iota // it is not there, or makes no sense
	kindNull                 // JSON's null
	kindBool                 // n is 0 or 1
	kindInt                  // n
	kindDouble               // n holds its bits
	kindText                 // s
	kindTime                 // n is ns since 1970
	kindDuration             // n is ns
	kindObject               // s begins with its JSON text, and may go on behind it
	kindArray                // the same
)

// Value is a field of a message, or what an expression makes of fields. The zero Value
// is none: the message does not have it.
type Value struct {
	kind kind
	n    uint64
	s    string
}

// None is the value of a field that a message does not have.
var None = Value{}

// Text makes a value of a string.
func Text(s string) Value { return Value{kind: kindText, s: s} }

// TextOr makes a value of a string, or None of an empty one.
func TextOr(s string) Value {
	if s == "" {
		return None
	}
	return Text(s)
}

// Bytes makes a text of bytes, which must not change while a filter looks at them; nil
// is None.
func Bytes(b []byte) Value {
	if b == nil {
		return None
	}
	return Value{kind: kindText, s: view(b)}
}

// view is bytes as a string, without a copy.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// Int makes a value of a whole number.
func Int(n int64) Value { return Value{kind: kindInt, n: uint64(n)} }

// Bool makes a value of a truth.
func Bool(b bool) Value {
	if b {
		return Value{kind: kindBool, n: 1}
	}
	return Value{kind: kindBool}
}

// Time makes a value of a time; the zero time is None.
func Time(t time.Time) Value {
	if t.IsZero() {
		return None
	}
	return moment(t)
}

// Millis makes a value of a time in ms since 1970; 0 is None.
func Millis(ms int64) Value {
	if ms == 0 {
		return None
	}
	return moment(time.UnixMilli(ms))
}

// Times outside what 64 bits of nanoseconds hold, 1678 to 2262, are held at its ends.
var (
	earliest = time.Unix(0, math.MinInt64)
	latest   = time.Unix(0, math.MaxInt64)
)

func moment(t time.Time) Value {
	switch {
	case t.Before(earliest):
		t = earliest
	case t.After(latest):
		t = latest
	}
	return Value{kind: kindTime, n: uint64(t.UnixNano())}
}

func double(f float64) Value            { return Value{kind: kindDouble, n: math.Float64bits(f)} }
func duration(d time.Duration) Value    { return Value{kind: kindDuration, n: uint64(d)} }
func (v Value) int() int64              { return int64(v.n) }
func (v Value) float() float64          { return math.Float64frombits(v.n) }
func (v Value) duration() time.Duration { return time.Duration(v.n) }
func (v Value) time() time.Time         { return time.Unix(0, int64(v.n)) }
func (v Value) known() bool             { return v.kind != kindUnknown }

// isTrue and isFalse are both false of what is no bool.
func (v Value) isTrue() bool  { return v.kind == kindBool && v.n != 0 }
func (v Value) isFalse() bool { return v.kind == kindBool && v.n == 0 }

// number is an int or a double as a double.
func (v Value) number() (float64, bool) {
	switch v.kind {
	case kindInt:
		return float64(v.int()), true
	case kindDouble:
		return v.float(), true
	}
	return 0, false
}

// typ is what is known of an expression before any message has come.
type typ uint8

const (
	typeAny typ = iota // JSON: known at evaluation
	typeNull
	typeBool
	typeInt
	typeDouble
	typeText
	typeTime
	typeDuration
	typeList
	typeHeaders
	typeProperties
)

var typeNames = [...]string{"JSON", "null", "a condition", "a number", "a number", "text", "a time", "a duration", "a list", "all headers", "all properties"}

func (t typ) String() string { return typeNames[t] }

// hintBool is what somebody may have meant who gave source, of this type, for a condition.
func (t typ) hintBool(source string) string {
	switch t {
	case typeText:
		return "compare it: " + source + ` == "…"`
	case typeInt, typeDouble:
		return "compare it: " + source + " > 0"
	}
	return ""
}
