package mqttwire

import (
	"encoding/binary"
	"fmt"
)

// Version is the protocol level as it stands in CONNECT.
type Version byte

const (
	V31  Version = 3
	V311 Version = 4
	V5   Version = 5
)

func (v Version) String() string {
	switch v {
	case V31:
		return "3.1"
	case V311:
		return "3.1.1"
	case V5:
		return "5"
	}
	return fmt.Sprintf("level %d", byte(v))
}

// Type is the control packet type (section 2.1.2).
type Type byte

const (
	CONNECT     Type = 1
	CONNACK     Type = 2
	PUBLISH     Type = 3
	PUBACK      Type = 4
	PUBREC      Type = 5
	PUBREL      Type = 6
	PUBCOMP     Type = 7
	SUBSCRIBE   Type = 8
	SUBACK      Type = 9
	UNSUBSCRIBE Type = 10
	UNSUBACK    Type = 11
	PINGREQ     Type = 12
	PINGRESP    Type = 13
	DISCONNECT  Type = 14
	AUTH        Type = 15

	will Type = 0 // the will properties of CONNECT, for the table of properties
)

var typeNames = [...]string{"reserved", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP",
	"SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH"}

func (t Type) String() string { return typeNames[t&15] }

// Frame is one control packet, undecoded. The fixed header (section 2.1.1):
//
//	byte 1          type << 4 | flags
//	bytes 2 to 5    remaining length: 7 bits a byte, low ones first, bit 7 set on all
//	                but the last; at most RemainingMax
//	then            variable header and payload, remaining length bytes
type Frame struct {
	Type  Type
	Flags byte
	Body  []byte // points into the buffer
}

const (
	// RemainingMax is the largest remaining length that the encoding can hold.
	RemainingMax = 268_435_455
	// PacketMax is the largest packet: header byte, four of length, and the rest.
	PacketMax = RemainingMax + 5
)

// ReadFrame cuts the first packet off src; n is its length. While src holds only a
// part of it, n is 0 and more tells how many bytes there must be before it is worth
// asking again. A packet longer than limit bytes fails with PacketTooLarge as soon
// as its length is known. version is 0 before CONNECT was read.
func ReadFrame(src []byte, version Version, limit int) (f Frame, n, more int, err error) {
	if len(src) == 0 {
		return f, 0, 2, nil
	}
	f.Type, f.Flags = Type(src[0]>>4), src[0]&15
	if err := f.check(version); err != nil {
		return f, 0, 0, err
	}
	var remaining, head int
	for i := 1; ; i++ {
		if i == 5 {
			return f, 0, 0, malformed("remaining length is longer than four bytes")
		}
		if i == len(src) {
			return f, 0, i + 1, nil
		}
		b := src[i]
		remaining |= int(b&0x7F) << (7 * (i - 1))
		if b&0x80 == 0 {
			if b == 0 && i > 1 && version == V5 {
				return f, 0, 0, malformed("remaining length is not in its shortest form")
			}
			head = i + 1
			break
		}
	}
	total := head + remaining
	if total > limit {
		return f, 0, 0, &Error{PacketTooLarge, fmt.Sprintf("a packet of %d bytes where %d are allowed", total, limit)}
	}
	if len(src) < total {
		return f, 0, total, nil
	}
	f.Body = src[head:total:total]
	return f, total, 0, nil
}

// check checks the type and the flags, which the first byte tells: a stream that is
// not MQTT fails here.
func (f Frame) check(version Version) error {
	want := byte(0)
	switch f.Type {
	case PUBLISH:
		return nil // its decoder looks at the flags
	case PUBREL, SUBSCRIBE, UNSUBSCRIBE:
		want = 2
		if version == V31 && f.Flags&^8 == want {
			return nil // MQTT 3.1 has a DUP flag here
		}
	case AUTH:
		if version != V5 && version != 0 {
			return protocolError("AUTH before MQTT 5")
		}
	case 0:
		return malformed("packet type 0 is reserved")
	}
	if f.Flags != want {
		return malformed(f.Type.String() + " with reserved flags set")
	}
	return nil
}

// Empty checks a packet that has no body: PINGREQ and PINGRESP.
func (f Frame) Empty() error {
	if len(f.Body) != 0 {
		return malformed(f.Type.String() + " with a body")
	}
	return nil
}

// AppendPingreq appends a PINGREQ.
func AppendPingreq(dst []byte) []byte { return append(dst, byte(PINGREQ)<<4, 0) }

// AppendPingresp appends a PINGRESP.
func AppendPingresp(dst []byte) []byte { return append(dst, byte(PINGRESP)<<4, 0) }

// appendHeader appends a fixed header.
func appendHeader(dst []byte, t Type, flags byte, remaining int) []byte {
	if remaining > RemainingMax {
		panic("mqttwire: packet too long to encode") // the caller bounds what it sends
	}
	return appendVarint(append(dst, byte(t)<<4|flags), uint32(remaining))
}

// appendVarint appends a variable byte integer (section 1.5.5).
func appendVarint(dst []byte, n uint32) []byte {
	for n >= 0x80 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n))
}

// varintLen returns how many bytes appendVarint appends.
func varintLen(n uint32) int {
	switch {
	case n < 1<<7:
		return 1
	case n < 1<<14:
		return 2
	case n < 1<<21:
		return 3
	}
	return 4
}

// reader reads the fields of a body. The first failure sticks, and every later
// field is zero.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

func (r *reader) byte(field string) byte {
	if len(r.b) < 1 {
		r.short(field)
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) uint16(field string) uint16 {
	if len(r.b) < 2 {
		r.short(field)
		return 0
	}
	v := binary.BigEndian.Uint16(r.b)
	r.b = r.b[2:]
	return v
}

func (r *reader) uint32(field string) uint32 {
	if len(r.b) < 4 {
		r.short(field)
		return 0
	}
	v := binary.BigEndian.Uint32(r.b)
	r.b = r.b[4:]
	return v
}

// varint reads a variable byte integer.
func (r *reader) varint(field string) uint32 {
	var v uint32
	for i := range 4 {
		if i >= len(r.b) {
			r.short(field)
			return 0
		}
		b := r.b[i]
		v |= uint32(b&0x7F) << (7 * i)
		if b&0x80 == 0 {
			if b == 0 && i > 0 {
				r.fail(malformed(field + " is not in its shortest form"))
				return 0
			}
			r.b = r.b[i+1:]
			return v
		}
	}
	r.fail(malformed(field + " is longer than four bytes"))
	return 0
}

// binary reads binary data: a length of two bytes, and that many.
func (r *reader) binary(field string) []byte {
	if len(r.b) < 2 {
		r.short(field)
		return nil
	}
	n := 2 + int(binary.BigEndian.Uint16(r.b))
	if len(r.b) < n {
		r.short(field)
		return nil
	}
	v := r.b[2:n:n]
	r.b = r.b[n:]
	return v
}

// string reads a UTF-8 string.
func (r *reader) string(field string) []byte {
	s := r.binary(field)
	if r.err == nil && !ValidString(s) {
		r.fail(malformed(field + " is not valid UTF-8"))
		return nil
	}
	return s
}

// packetID reads a packet identifier, which is never 0 (MQTT5-2.2.1-3).
func (r *reader) packetID() uint16 {
	id := r.uint16("packet identifier")
	if r.err == nil && id == 0 {
		r.fail(protocolError("packet identifier 0"))
	}
	return id
}

func (r *reader) short(field string) { r.fail(malformed("packet ends inside " + field)) }

// end checks that nothing is left.
func (r *reader) end() error {
	if r.err == nil && len(r.b) != 0 {
		r.fail(malformed("bytes after the end of the packet"))
	}
	return r.err
}

func appendUint16(dst []byte, v uint16) []byte { return binary.BigEndian.AppendUint16(dst, v) }

// appendBinary appends binary data or a string. More than 65,535 bytes cannot be
// said: whoever builds a packet has checked.
func appendBinary[T ~string | ~[]byte](dst []byte, v T) []byte {
	if len(v) > stringMax {
		panic("mqttwire: string too long to encode")
	}
	return append(appendUint16(dst, uint16(len(v))), v...)
}
