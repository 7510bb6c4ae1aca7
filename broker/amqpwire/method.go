package amqpwire

import (
	"encoding/binary"
	"fmt"
)

// MethodID is a class (upper 16 bits) and a method of it (lower 16).
type MethodID uint32

// Class and Method are the two halves of the identifier.
func (id MethodID) Class() uint16  { return uint16(id >> 16) }
func (id MethodID) Method() uint16 { return uint16(id) }

func unknownName(id MethodID) string { return fmt.Sprintf("%d.%d", id.Class(), id.Method()) }

// ClassBasic is the class of every content.
const ClassBasic = 60

// Method is one decoded method. Its pointer type implements it.
type Method interface {
	ID() MethodID
	appendArgs(dst []byte) []byte
	decodeArgs(r *reader)
}

// SplitMethod returns the identifier that a method frame's payload begins with,
// and the arguments behind it. Whether the identifier is known is not checked.
func SplitMethod(payload []byte) (id MethodID, args []byte, err error) {
	if len(payload) < 4 {
		return 0, nil, errorf(FrameError, "method frame of %d octets", len(payload))
	}
	return MethodID(binary.BigEndian.Uint32(payload)), payload[4:], nil
}

// DecodeMethod reads a method frame's payload into a struct of its own: nothing in it
// aliases payload.
func DecodeMethod(payload []byte) (Method, error) {
	id, args, err := SplitMethod(payload)
	if err != nil {
		return nil, err
	}
	m := newMethod(id)
	if m == nil {
		return nil, errorf(CommandInvalid, "unknown method %d of class %d", id.Method(), id.Class())
	}
	r := reader{b: args}
	m.decodeArgs(&r)
	if r.err != nil {
		return nil, r.fail(id)
	}
	return m, nil
}

// AppendMethod appends m as a method frame.
func AppendMethod(dst []byte, channel uint16, m Method) []byte {
	start := len(dst)
	dst = openFrame(dst, FrameMethod, channel)
	dst = binary.BigEndian.AppendUint32(dst, uint32(m.ID()))
	return closeFrame(m.appendArgs(dst), start)
}

// ShortMax is the length of the longest short string.
const ShortMax = 255

// appendShort appends a short string, cut at ShortMax: what a client gave us is never
// longer, and what we say ourselves may end there.
func appendShort(dst []byte, s string) []byte {
	if len(s) > ShortMax {
		s = s[:ShortMax]
	}
	return append(append(dst, byte(len(s))), s...)
}

func appendShortBytes(dst, s []byte) []byte {
	if len(s) > ShortMax {
		s = s[:ShortMax]
	}
	return append(append(dst, byte(len(s))), s...)
}

func appendLong(dst, s []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(s)))
	return append(dst, s...)
}

func bit(v bool, n uint) byte {
	if v {
		return 1 << n
	}
	return 0
}

// reader reads arguments. After the first fault every read returns zero. Octets left
// over at the end are read over, so that a later revision may add arguments.
type reader struct {
	b   []byte
	err error
}

var (
	errShort = &Error{Code: SyntaxError, Text: "arguments end early"}
	errTable = &Error{Code: SyntaxError, Text: "malformed field table"}
	errDeep  = &Error{Code: SyntaxError, Text: "field table nested too deep"}
	errBig   = &Error{Code: SyntaxError, Text: "field table of too many fields"}
)

func (r *reader) fail(id MethodID) error {
	return errorf(SyntaxError, "%s: %s", id, r.err.(*Error).Text)
}

func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		if r.err == nil {
			r.err = errShort
		}
		r.b = nil
		return nil
	}
	p := r.b[:n:n]
	r.b = r.b[n:]
	return p
}

func (r *reader) octet() uint8 {
	if p := r.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (r *reader) short() uint16 {
	if p := r.take(2); p != nil {
		return binary.BigEndian.Uint16(p)
	}
	return 0
}

func (r *reader) long() uint32 {
	if p := r.take(4); p != nil {
		return binary.BigEndian.Uint32(p)
	}
	return 0
}

func (r *reader) longlong() uint64 {
	if p := r.take(8); p != nil {
		return binary.BigEndian.Uint64(p)
	}
	return 0
}

func (r *reader) shortstr() []byte { return r.take(int(r.octet())) }

func (r *reader) longstr() []byte {
	n := r.long()
	if uint64(n) > uint64(len(r.b)) {
		n = uint32(len(r.b)) + 1 // fails, and fits an int anywhere
	}
	return r.take(int(n))
}

func (r *reader) table() Table {
	raw := r.longstr()
	if r.err != nil {
		return nil
	}
	t, err := DecodeTable(raw)
	if err != nil {
		r.err = err
	}
	return t
}
