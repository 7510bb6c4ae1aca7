package decode

import (
	"encoding/binary"
	"errors"
	"math"
	"time"
)

// decodeMsgPack decodes one object of MessagePack, which must be all there is.
func decodeMsgPack(b *budget, src []byte) (any, error) {
	v, err := msgPackItem(b, &src, 0)
	return whole(v, src, err)
}

func msgPackItem(b *budget, src *[]byte, depth int) (any, error) {
	if err := b.node(depth); err != nil {
		return nil, err
	}
	head, err := take(src, 1)
	if err != nil {
		return nil, err
	}
	c := head[0]
	switch {
	case c < 0x80:
		return uint64(c), nil
	case c >= 0xe0:
		return int64(int8(c)), nil
	case c < 0x90:
		return msgPackMap(b, src, uint64(c&15), depth)
	case c < 0xa0:
		return msgPackList(b, src, uint64(c&15), depth)
	case c < 0xc0:
		s, err := take(src, uint64(c&31))
		return string(s), err
	}
	switch c {
	case 0xc0:
		return nil, nil
	case 0xc2, 0xc3:
		return c == 0xc3, nil
	case 0xc1:
		return nil, errors.New("0xc1 is never used")
	case 0xd4, 0xd5, 0xd6, 0xd7, 0xd8:
		return msgPackExt(src, 1<<(c-0xd4))
	}
	// What is left begins with a number of 1, 2, 4 or 8 bytes.
	width := map[byte]uint64{0xc4: 1, 0xc5: 2, 0xc6: 4, 0xc7: 1, 0xc8: 2, 0xc9: 4, 0xca: 4, 0xcb: 8, 0xcc: 1, 0xcd: 2, 0xce: 4, 0xcf: 8,
		0xd0: 1, 0xd1: 2, 0xd2: 4, 0xd3: 8, 0xd9: 1, 0xda: 2, 0xdb: 4, 0xdc: 2, 0xdd: 4, 0xde: 2, 0xdf: 4}[c]
	raw, err := take(src, width)
	if err != nil {
		return nil, err
	}
	var wide [8]byte
	copy(wide[8-len(raw):], raw)
	n := binary.BigEndian.Uint64(wide[:])
	switch {
	case c <= 0xc6:
		return take(src, n)
	case c <= 0xc9:
		return msgPackExt(src, n)
	case c == 0xca:
		return math.Float32frombits(uint32(n)), nil
	case c == 0xcb:
		return math.Float64frombits(n), nil
	case c <= 0xcf:
		return n, nil
	case c <= 0xd3:
		shift := 64 - 8*width
		return int64(n<<shift) >> shift, nil
	case c <= 0xdb:
		s, err := take(src, n)
		return string(s), err
	case c <= 0xdd:
		return msgPackList(b, src, n, depth)
	}
	return msgPackMap(b, src, n, depth)
}

func msgPackList(b *budget, src *[]byte, n uint64, depth int) (any, error) {
	list := []any{}
	for range n {
		v, err := msgPackItem(b, src, depth+1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

func msgPackMap(b *budget, src *[]byte, n uint64, depth int) (any, error) {
	o := &object{}
	for range n {
		k, err := msgPackItem(b, src, depth+1)
		if err != nil {
			return nil, err
		}
		v, err := msgPackItem(b, src, depth+1)
		if err != nil {
			return nil, err
		}
		o.add(nameOf(k), v)
	}
	return o, nil
}

// msgPackExt reads an extension of n bytes: a timestamp, or its type and bytes.
func msgPackExt(src *[]byte, n uint64) (any, error) {
	head, err := take(src, 1)
	if err != nil {
		return nil, err
	}
	raw, err := take(src, n)
	if err != nil {
		return nil, err
	}
	typ := int8(head[0])
	if typ == -1 {
		switch n {
		case 4:
			return time.Unix(int64(binary.BigEndian.Uint32(raw)), 0), nil
		case 8:
			v := binary.BigEndian.Uint64(raw)
			return time.Unix(int64(v&(1<<34-1)), int64(v>>34)), nil
		case 12:
			if s := int64(binary.BigEndian.Uint64(raw[4:])); s > -1<<37 && s < 1<<37 {
				return time.Unix(s, int64(binary.BigEndian.Uint32(raw))), nil
			}
		}
	}
	o := &object{}
	o.add("type", int64(typ))
	o.add("data", raw)
	return o, nil
}
