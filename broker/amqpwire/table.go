package amqpwire

import (
	"bytes"
	"encoding/binary"
	"math"
)

// Table is a field table: order and repeats are kept. nil and empty are the same.
type Table []Field

// Field is one name and value of a table.
type Field struct {
	Name  string
	Value Value
}

// Value is one value, of any kind. The functions String, Int and so on make one.
type Value struct {
	Kind Kind
	// Num is an integer (sign extended), a bool (0 or 1), the bits of a float (of 64
	// bits for both kinds), a timestamp in seconds, or a decimal's unscaled part.
	Num   uint64
	Scale uint8  // of a decimal
	Bytes []byte // of KindString and KindBytes
	Table Table
	Array []Value
}

// Makers of values.

func String(s string) Value      { return Value{Kind: KindString, Bytes: []byte(s)} }
func BytesOf(b []byte) Value     { return Value{Kind: KindBytes, Bytes: b} }
func Int(n int64) Value          { return Value{Kind: KindInt64, Num: uint64(n)} }
func Int32(n int32) Value        { return Value{Kind: KindInt32, Num: uint64(int64(n))} }
func Bool(b bool) Value          { return Value{Kind: KindBool, Num: uint64(bit(b, 0))} }
func Timestamp(sec uint64) Value { return Value{Kind: KindTimestamp, Num: sec} }
func Float64(f float64) Value    { return Value{Kind: KindFloat64, Num: math.Float64bits(f)} }
func Float32(f float32) Value    { return Value{Kind: KindFloat32, Num: math.Float64bits(float64(f))} }
func Nested(t Table) Value       { return Value{Kind: KindTable, Table: t} }
func ArrayOf(vs ...Value) Value  { return Value{Kind: KindArray, Array: vs} }
func Void() Value                { return Value{Kind: KindVoid} }

// Int, True, Float and Text read a value that is of such a kind.

func (v Value) Int() int64     { return int64(v.Num) }
func (v Value) True() bool     { return v.Num != 0 }
func (v Value) Float() float64 { return math.Float64frombits(v.Num) }
func (v Value) Text() string   { return string(v.Bytes) }

// IsInteger tells whether the value is of one of the integer kinds.
func (v Value) IsInteger() bool {
	switch v.Kind {
	case KindInt8, KindUint8, KindInt16, KindUint16, KindInt32, KindUint32, KindInt64:
		return true
	}
	return false
}

// Get returns the first value with that name.
func (t Table) Get(name string) (Value, bool) {
	for i := range t {
		if t[i].Name == name {
			return t[i].Value, true
		}
	}
	return Value{}, false
}

// DecodeTable reads a table (without its length); nothing in it aliases raw.
func DecodeTable(raw []byte) (Table, error) {
	if err := CheckTable(raw); err != nil {
		return nil, err
	}
	return decodeTable(raw), nil
}

// decodeTable reads a table that was checked.
func decodeTable(raw []byte) Table {
	var t Table
	for f := (Fields{Raw: raw}); f.Next(); {
		t = append(t, Field{string(f.Name), f.Value.Decode()})
	}
	return t
}

// Decode returns the value; nothing in it aliases the bytes. They must have been
// checked (CheckTable, or Properties.Decode).
func (v RawValue) Decode() Value {
	out := Value{Kind: v.Kind}
	switch v.Kind {
	case KindString, KindBytes:
		out.Bytes = bytes.Clone(v.Data)
	case KindTable:
		out.Table = decodeTable(v.Data)
	case KindArray:
		for f := Elements(v.Data); f.Next(); {
			out.Array = append(out.Array, f.Value.Decode())
		}
	case KindFloat32:
		out.Num = math.Float64bits(float64(math.Float32frombits(binary.BigEndian.Uint32(v.Data))))
	case KindFloat64, KindTimestamp:
		out.Num = binary.BigEndian.Uint64(v.Data)
	case KindDecimal:
		out.Scale, out.Num = v.Data[0], uint64(binary.BigEndian.Uint32(v.Data[1:]))
	default:
		n, _ := v.Int()
		out.Num = uint64(n)
	}
	return out
}

// Append appends the table and its length.
func (t Table) Append(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	for i := range t {
		dst = appendShort(dst, t[i].Name)
		dst = t[i].Value.append(dst)
	}
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-4))
	return dst
}

func (v *Value) append(dst []byte) []byte {
	dst = append(dst, byte(v.Kind))
	switch v.Kind {
	case KindBool, KindInt8, KindUint8:
		return append(dst, byte(v.Num))
	case KindInt16, KindUint16:
		return binary.BigEndian.AppendUint16(dst, uint16(v.Num))
	case KindInt32, KindUint32:
		return binary.BigEndian.AppendUint32(dst, uint32(v.Num))
	case KindInt64, KindFloat64, KindTimestamp:
		return binary.BigEndian.AppendUint64(dst, v.Num)
	case KindFloat32:
		return binary.BigEndian.AppendUint32(dst, math.Float32bits(float32(v.Float())))
	case KindDecimal:
		return binary.BigEndian.AppendUint32(append(dst, v.Scale), uint32(v.Num))
	case KindString, KindBytes:
		return appendLong(dst, v.Bytes)
	case KindTable:
		return v.Table.Append(dst)
	case KindArray:
		start := len(dst)
		dst = append(dst, 0, 0, 0, 0)
		for i := range v.Array {
			dst = v.Array[i].append(dst)
		}
		binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-4))
		return dst
	case KindVoid:
		return dst
	}
	panic("amqpwire: value of unknown kind " + string(rune(v.Kind)))
}
