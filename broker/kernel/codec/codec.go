// Package codec writes and reads the primitives that entries and checkpoints are
// made of: unsigned and zig-zag varints, and byte strings with their length
// before them. There is one encoding of each value, so equal states have equal bytes.
//
// A Reader never panics and never allocates for a length that the input does not
// hold: after the first fault every read returns zero and Err says why.
package codec

import (
	"encoding/binary"
	"errors"
	"math"
)

// ErrShort: the input ended inside a value, or a value is out of its range.
var ErrShort = errors.New("codec: truncated or malformed value")

// Uint appends an unsigned varint.
func Uint(dst []byte, v uint64) []byte { return binary.AppendUvarint(dst, v) }

// Int appends a zig-zag varint.
func Int(dst []byte, v int64) []byte { return binary.AppendVarint(dst, v) }

// Bool appends one byte, 0 or 1.
func Bool(dst []byte, v bool) []byte {
	if v {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// Bytes appends a length and the bytes. nil reads back as empty; see Nullable.
func Bytes(dst, v []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(v)))
	return append(dst, v...)
}

// Nullable appends bytes of which nil and empty differ: 0 for nil, otherwise the length plus one.
func Nullable(dst, v []byte) []byte {
	if v == nil {
		return append(dst, 0)
	}
	dst = binary.AppendUvarint(dst, uint64(len(v))+1)
	return append(dst, v...)
}

// String appends a length and the bytes of v.
func String(dst []byte, v string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(v)))
	return append(dst, v...)
}

// Key appends v as part of a checkpoint key, so that byte order is numeric order.
func Key(dst []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(dst, v) }

// Reader reads what the functions above wrote.
type Reader struct {
	b   []byte
	err error
}

// NewReader reads from b. Byte strings returned alias it.
func NewReader(b []byte) Reader { return Reader{b: b} }

// Err is the first fault, or nil.
func (r *Reader) Err() error { return r.err }

// Len is how many bytes are left.
func (r *Reader) Len() int { return len(r.b) }

// Done is Err, or ErrShort when bytes are left over.
func (r *Reader) Done() error {
	if r.err == nil && len(r.b) > 0 {
		return ErrShort
	}
	return r.err
}

func (r *Reader) fail() {
	r.err, r.b = ErrShort, nil
}

// Uint reads an unsigned varint.
func (r *Reader) Uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// Uint32 reads an unsigned varint that must fit 32 bits.
func (r *Reader) Uint32() uint32 {
	v := r.Uint()
	if v > math.MaxUint32 {
		r.fail()
		return 0
	}
	return uint32(v)
}

// Int reads a zig-zag varint.
func (r *Reader) Int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// Count reads a number of items that each take at least one byte of the input.
func (r *Reader) Count() int {
	v := r.Uint()
	if v > uint64(len(r.b)) {
		r.fail()
		return 0
	}
	return int(v)
}

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

// Bool reads one byte that must be 0 or 1.
func (r *Reader) Bool() bool {
	v := r.Byte()
	if v > 1 {
		r.fail()
	}
	return v == 1
}

// Take reads n bytes, aliasing the input.
func (r *Reader) Take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// Bytes reads a byte string, aliasing the input.
func (r *Reader) Bytes() []byte { return r.Take(r.Uint()) }

// Nullable reads what Nullable wrote.
func (r *Reader) Nullable() []byte {
	n := r.Uint()
	if n == 0 {
		return nil
	}
	return r.Take(n - 1)
}

// String reads a string.
func (r *Reader) String() string { return string(r.Bytes()) }

// Key reads what Key wrote.
func (r *Reader) Key() uint64 {
	b := r.Take(8)
	if len(b) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}
