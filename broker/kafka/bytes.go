package kafka

import (
	"encoding/binary"
	"errors"
)

// errMalformed: a request's bytes are not what its key and version say.
var errMalformed = errors.New("malformed request")

// parser reads the primitives of requests that are decoded by hand. After the first
// fault everything reads as zero and bad is set. Strings and bytes alias the input.
type parser struct {
	b   []byte
	bad bool
}

func (p *parser) take(n int) []byte {
	if n < 0 || n > len(p.b) {
		p.bad, p.b = true, nil
		return nil
	}
	f := p.b[:n:n]
	p.b = p.b[n:]
	return f
}

func (p *parser) i16() int16 {
	if f := p.take(2); f != nil {
		return int16(binary.BigEndian.Uint16(f))
	}
	return 0
}

func (p *parser) i32() int32 {
	if f := p.take(4); f != nil {
		return int32(binary.BigEndian.Uint32(f))
	}
	return 0
}

// uvarint reads an unsigned varint of at most 32 bits.
func (p *parser) uvarint() uint32 {
	v, n := binary.Uvarint(p.b)
	if n <= 0 || v > 1<<32-1 {
		p.bad, p.b = true, nil
		return 0
	}
	p.b = p.b[n:]
	return uint32(v)
}

// length reads the length of an array, string or byte field: -1 for null. Compact
// lengths are stored plus one. wide: 32 bits where it is not compact.
func (p *parser) length(compact, wide bool) int {
	switch {
	case compact:
		return int(p.uvarint()) - 1
	case wide:
		return int(p.i32())
	}
	return int(p.i16())
}

// array reads an array's length. Elements take at least size bytes each, so that a
// length which what is left cannot hold is malformed. Null reads as empty.
func (p *parser) array(compact bool, size int) int {
	n := p.length(compact, true)
	if n > len(p.b)/size {
		p.bad, p.b = true, nil
		return 0
	}
	return max(n, 0)
}

func (p *parser) string(compact bool) []byte { return p.field(compact, false) }
func (p *parser) bytes(compact bool) []byte  { return p.field(compact, true) }

// field reads a nullable string or byte field; nil is null.
func (p *parser) field(compact, wide bool) []byte {
	n := p.length(compact, wide)
	if n < 0 {
		return nil
	}
	return p.take(n)
}

// tags skips the tagged fields that end every flexible structure.
func (p *parser) tags(flexible bool) {
	if !flexible {
		return
	}
	for n := p.uvarint(); n > 0 && !p.bad; n-- {
		p.uvarint()
		p.take(int(p.uvarint()))
	}
}

// appendCompactLen appends a compact length; -1 for null.
func appendCompactLen(dst []byte, n int) []byte { return binary.AppendUvarint(dst, uint64(n+1)) }

// appendString appends a string of a flexible or an older version.
func appendString[T string | []byte](dst []byte, s T, compact bool) []byte {
	if compact {
		dst = appendCompactLen(dst, len(s))
	} else {
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(s)))
	}
	return append(dst, s...)
}

// appendArrayLen appends an array's length; -1 for null.
func appendArrayLen(dst []byte, n int, compact bool) []byte {
	if compact {
		return appendCompactLen(dst, n)
	}
	return binary.BigEndian.AppendUint32(dst, uint32(n))
}
