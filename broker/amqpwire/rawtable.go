package amqpwire

import (
	"encoding/binary"
	"math"
)

// A field table, behind its length (u32), is fields one after the other: a name (short
// string), one octet of kind, and the value. An array, behind its length, is kinds and
// values without names.
//
//	t  bool, u8          b  i8       B  u8      s  i16      u  u16
//	I  i32               i  u32      l  i64     L  i64, read only
//	f  f32               d  f64      D  decimal: scale u8, unscaled u32
//	S  long string       x  bytes: u32 length and octets
//	T  timestamp, u64 s  V  void: nothing
//	F  table             A  array
//
// These are the letters that RabbitMQ and its clients use, which differ from those
// printed in the specification.

// Kind is the kind of a field, by its octet on the wire.
type Kind byte

const (
	KindBool      Kind = 't'
	KindInt8      Kind = 'b'
	KindUint8     Kind = 'B'
	KindInt16     Kind = 's'
	KindUint16    Kind = 'u'
	KindInt32     Kind = 'I'
	KindUint32    Kind = 'i'
	KindInt64     Kind = 'l'
	KindFloat32   Kind = 'f'
	KindFloat64   Kind = 'd'
	KindDecimal   Kind = 'D'
	KindString    Kind = 'S'
	KindBytes     Kind = 'x'
	KindTimestamp Kind = 'T'
	KindVoid      Kind = 'V'
	KindTable     Kind = 'F'
	KindArray     Kind = 'A'

	kindInt64Alt Kind = 'L'
)

// Bounds of one table: a deeper or longer one is a syntax error.
const (
	TableDepthMax = 32
	TableItemsMax = 1 << 16 // fields and array elements, nested ones included
)

// RawValue is a value as bytes. Data is what follows the kind, without the length
// of strings, tables and arrays.
type RawValue struct {
	Kind Kind
	Data []byte
}

// size returns how many octets a value of a fixed length takes; -1 when a length
// is in front of it, -2 when there is no such kind.
func (k Kind) size() int {
	switch k {
	case KindVoid:
		return 0
	case KindBool, KindInt8, KindUint8:
		return 1
	case KindInt16, KindUint16:
		return 2
	case KindInt32, KindUint32, KindFloat32:
		return 4
	case KindDecimal:
		return 5
	case KindInt64, kindInt64Alt, KindFloat64, KindTimestamp:
		return 8
	case KindString, KindBytes, KindTable, KindArray:
		return -1
	}
	return -2
}

// Fields walks a table without allocating:
//
//	for f := (Fields{Raw: p.Headers}); f.Next(); {
//		use f.Name, f.Value
//	}
//
// A malformed table ends the walk; Err tells.
type Fields struct {
	Raw   []byte // what is left
	Name  []byte
	Value RawValue
	array bool
	err   error
}

// Elements walks an array's Data the same way, without names.
func Elements(data []byte) Fields { return Fields{Raw: data, array: true} }

// Err returns what ended the walk before the end of the table.
func (f *Fields) Err() error { return f.err }

// Next goes to the next field.
func (f *Fields) Next() bool {
	if len(f.Raw) == 0 {
		return false
	}
	r := reader{b: f.Raw}
	if !f.array {
		f.Name = r.shortstr()
	}
	f.Value.Kind = Kind(r.octet())
	switch n := f.Value.Kind.size(); n {
	case -2:
		f.err, f.Raw = errTable, nil
		return false
	case -1:
		f.Value.Data = r.longstr()
	default:
		f.Value.Data = r.take(n)
	}
	if r.err != nil {
		f.err, f.Raw = errTable, nil
		return false
	}
	if f.Value.Kind == kindInt64Alt {
		f.Value.Kind = KindInt64
	}
	f.Raw = r.b
	return true
}

// CheckTable tells what is wrong with a table (without its length), nested ones
// included.
func CheckTable(raw []byte) error {
	items := TableItemsMax
	return check(Fields{Raw: raw}, TableDepthMax, &items)
}

func check(f Fields, depth int, items *int) error {
	for f.Next() {
		if *items--; *items < 0 {
			return errBig
		}
		var nested Fields
		switch f.Value.Kind {
		case KindTable:
			nested = Fields{Raw: f.Value.Data}
		case KindArray:
			nested = Elements(f.Value.Data)
		default:
			continue
		}
		if depth <= 1 {
			return errDeep
		}
		if err := check(nested, depth-1, items); err != nil {
			return err
		}
	}
	return f.err
}

// Int returns an integer, bool or timestamp as a number; ok false for other kinds.
// A timestamp beyond the range of int64 is its greatest value.
func (v RawValue) Int() (n int64, ok bool) {
	switch v.Kind {
	case KindBool:
		if v.Data[0] != 0 {
			return 1, true
		}
		return 0, true
	case KindUint8:
		return int64(v.Data[0]), true
	case KindInt8:
		return int64(int8(v.Data[0])), true
	case KindUint16:
		return int64(binary.BigEndian.Uint16(v.Data)), true
	case KindInt16:
		return int64(int16(binary.BigEndian.Uint16(v.Data))), true
	case KindUint32:
		return int64(binary.BigEndian.Uint32(v.Data)), true
	case KindInt32:
		return int64(int32(binary.BigEndian.Uint32(v.Data))), true
	case KindInt64:
		return int64(binary.BigEndian.Uint64(v.Data)), true
	case KindTimestamp:
		return int64(min(binary.BigEndian.Uint64(v.Data), math.MaxInt64)), true
	}
	return 0, false
}

// Find returns the first field of a table with that name.
func Find(raw []byte, name string) (RawValue, bool) {
	for f := (Fields{Raw: raw}); f.Next(); {
		if string(f.Name) == name {
			return f.Value, true
		}
	}
	return RawValue{}, false
}

// AppendField appends a field to a table's bytes.
func AppendField(dst []byte, name string, v RawValue) []byte {
	return appendRaw(appendShort(dst, name), v)
}

// AppendElement appends an element to an array's bytes.
func AppendElement(dst []byte, v RawValue) []byte { return appendRaw(dst, v) }

// AppendStringField and AppendIntField append a field of the kinds most used.
func AppendStringField(dst []byte, name, value string) []byte {
	dst = append(appendShort(dst, name), byte(KindString))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(value)))
	return append(dst, value...)
}

func AppendIntField(dst []byte, name string, value int64) []byte {
	dst = append(appendShort(dst, name), byte(KindInt64))
	return binary.BigEndian.AppendUint64(dst, uint64(value))
}

func appendRaw(dst []byte, v RawValue) []byte {
	dst = append(dst, byte(v.Kind))
	if v.Kind.size() == -1 {
		return appendLong(dst, v.Data)
	}
	return append(dst, v.Data...)
}
