package decode

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"time"
)

// decodeCBOR decodes one data item (RFC 8949), which must be all there is.
func decodeCBOR(b *budget, src []byte) (any, error) {
	v, err := cborItem(b, &src, 0)
	return whole(v, src, err)
}

// errBreak ends what has no length.
var errBreak = errors.New("a break stands where nothing is open")

func cborItem(b *budget, src *[]byte, depth int) (any, error) {
	if err := b.node(depth); err != nil {
		return nil, err
	}
	head, err := take(src, 1)
	if err != nil {
		return nil, err
	}
	major, info := head[0]>>5, head[0]&31
	n, endless, err := cborLength(src, info)
	if err != nil {
		return nil, err
	}
	if endless && (major < 2 || major == 6) {
		return nil, fmt.Errorf("0x%02x is no data item", head[0])
	}
	switch major {
	case 0:
		return n, nil
	case 1:
		if n > math.MaxInt64 {
			v := new(big.Int).SetUint64(n)
			return v.Not(v), nil
		}
		return -1 - int64(n), nil
	case 2, 3:
		return cborString(b, src, major, n, endless, depth)
	case 4:
		list := []any{}
		for i := uint64(0); endless || i < n; i++ {
			v, err := cborItem(b, src, depth+1)
			if endless && errors.Is(err, errBreak) {
				break
			}
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case 5:
		o := &object{}
		for i := uint64(0); endless || i < n; i++ {
			k, err := cborItem(b, src, depth+1)
			if endless && errors.Is(err, errBreak) {
				break
			}
			if err != nil {
				return nil, err
			}
			v, err := cborItem(b, src, depth+1)
			if err != nil {
				return nil, unbroken(err)
			}
			o.add(nameOf(k), v)
		}
		return o, nil
	case 6:
		v, err := cborItem(b, src, depth+1)
		if err != nil {
			return nil, unbroken(err)
		}
		return cborTagged(n, v), nil
	}
	switch info {
	case 20, 21:
		return info == 21, nil
	case 22, 23:
		return nil, nil // null and undefined
	case 25:
		return float64(half(uint16(n))), nil
	case 26:
		return math.Float32frombits(uint32(n)), nil
	case 27:
		return math.Float64frombits(n), nil
	case 31:
		return nil, errBreak
	}
	return n, nil // a simple value, by its number
}

// unbroken is an error for a break where none may stand.
func unbroken(err error) error {
	if errors.Is(err, errBreak) {
		return errors.New("a break stands in place of a value")
	}
	return err
}

// cborLength reads the argument of a data item.
func cborLength(src *[]byte, info byte) (n uint64, endless bool, err error) {
	switch {
	case info < 24:
		return uint64(info), false, nil
	case info == 31:
		return 0, true, nil
	case info > 27:
		return 0, false, fmt.Errorf("additional information %d is reserved", info)
	}
	raw, err := take(src, 1<<(info-24))
	if err != nil {
		return 0, false, err
	}
	var wide [8]byte
	copy(wide[8-len(raw):], raw)
	return binary.BigEndian.Uint64(wide[:]), false, nil
}

func cborString(b *budget, src *[]byte, major byte, n uint64, endless bool, depth int) (any, error) {
	var all []byte
	if !endless {
		raw, err := take(src, n)
		if err != nil {
			return nil, err
		}
		all = raw
	}
	for endless {
		if err := b.node(depth); err != nil {
			return nil, err
		}
		head, err := take(src, 1)
		if err != nil {
			return nil, err
		}
		if head[0] == 0xff {
			break
		}
		part, open, err := cborLength(src, head[0]&31)
		if err != nil {
			return nil, err
		}
		if open || head[0]>>5 != major {
			return nil, errors.New("a part of a text is none")
		}
		raw, err := take(src, part)
		if err != nil {
			return nil, err
		}
		all = append(all, raw...)
	}
	if major == 3 {
		return string(all), nil
	}
	if all == nil {
		all = []byte{}
	}
	return all, nil
}

// cborTagged is a value with a tag that says what it is. Of other tags the value stays.
func cborTagged(tag uint64, v any) any {
	switch raw, isBytes := v.([]byte); {
	case (tag == 2 || tag == 3) && isBytes && len(raw) <= 1024:
		n := new(big.Int).SetBytes(raw)
		if tag == 3 {
			n.Not(n)
		}
		return n
	}
	if tag != 1 {
		return v
	}
	switch s := v.(type) {
	case uint64:
		if s < 1<<38 {
			return time.Unix(int64(s), 0)
		}
	case int64:
		if s > -1<<38 {
			return time.Unix(s, 0)
		}
	case float64:
		if math.Abs(s) < 1<<38 {
			return time.UnixMicro(int64(s * 1e6))
		}
	}
	return v
}

// half is a number of 16 bits (IEEE 754 binary16).
func half(h uint16) float32 {
	sign, exp, frac := uint32(h>>15)<<31, h>>10&31, uint32(h&1023)
	switch exp {
	case 0:
		f := float32(frac) / (1 << 24)
		if sign != 0 {
			f = -f
		}
		return f
	case 31:
		return math.Float32frombits(sign | 0x7f800000 | frac<<13)
	}
	return math.Float32frombits(sign | (uint32(exp)+112)<<23 | frac<<13)
}
