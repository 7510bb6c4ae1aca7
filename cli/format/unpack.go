package format

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// unpack is a list of what follows each other in binary text.
type unpack []byte

const unpackSet = "x<>bBhHiIqQc.s$"

// parseUnpack reads the letters of an unpack.
func parseUnpack(spec string) (unpack, error) {
	if spec == "" {
		return nil, fmt.Errorf("unpack wants letters of %s", unpackSet)
	}
	for i, r := range spec {
		known := false
		for _, k := range unpackSet {
			known = known || k == r
		}
		if !known {
			return nil, fmt.Errorf("unpack has no %q; there are %s", r, unpackSet)
		}
		if (r == 's' || r == '$') && i+1 < len(spec) && spec[i+1:] != "$" {
			return nil, fmt.Errorf("behind %q there is nothing left to unpack", r)
		}
	}
	return unpack(spec), nil
}

// append writes what src holds, with a space between two. What does not fit is told in
// brackets.
func (u unpack) append(dst, src []byte) []byte {
	var order binary.ByteOrder = binary.BigEndian
	first := true
	next := func() {
		if !first {
			dst = append(dst, ' ')
		}
		first = false
	}
	for _, c := range u {
		width := map[byte]int{'x': 1, 'b': 1, 'B': 1, 'c': 1, '.': 1, 'h': 2, 'H': 2, 'i': 4, 'I': 4, 'q': 8, 'Q': 8}[c]
		if width > len(src) {
			next()
			return append(dst, fmt.Sprintf("[%c wants %d bytes, %d are left]", c, width, len(src))...)
		}
		head := src[:width]
		src = src[width:]
		switch c {
		case '<':
			order = binary.LittleEndian
			continue
		case '>':
			order = binary.BigEndian
			continue
		case 'x':
			continue
		case '$':
			if len(src) > 0 {
				next()
				return append(dst, fmt.Sprintf("[%d bytes are left]", len(src))...)
			}
			continue
		}
		next()
		switch c {
		case 'b':
			dst = strconv.AppendInt(dst, int64(int8(head[0])), 10)
		case 'B':
			dst = strconv.AppendUint(dst, uint64(head[0]), 10)
		case 'h':
			dst = strconv.AppendInt(dst, int64(int16(order.Uint16(head))), 10)
		case 'H':
			dst = strconv.AppendUint(dst, uint64(order.Uint16(head)), 10)
		case 'i':
			dst = strconv.AppendInt(dst, int64(int32(order.Uint32(head))), 10)
		case 'I':
			dst = strconv.AppendUint(dst, uint64(order.Uint32(head)), 10)
		case 'q':
			dst = strconv.AppendInt(dst, int64(order.Uint64(head)), 10)
		case 'Q':
			dst = strconv.AppendUint(dst, order.Uint64(head), 10)
		case 'c', '.':
			dst = utf8.AppendRune(dst, rune(head[0]))
		case 's':
			dst = append(dst, src...)
			src = nil
		}
	}
	return dst
}
