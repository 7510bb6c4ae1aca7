package decode

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"time"
)

// decodeAvro decodes a value in Avro's binary encoding, which must be all there is.
// Members of a union stand as they are, without their type's name.
func decodeAvro(b *budget, t *avroType, src []byte) (any, error) {
	v, err := avroValue(b, t, &src, 0)
	return whole(v, src, err)
}

// avroLong reads a number in zig-zag encoding.
func avroLong(src *[]byte) (int64, error) {
	u, n := binary.Uvarint(*src)
	if n == 0 {
		return 0, errShort
	}
	if n < 0 {
		return 0, errors.New("a number has more than 64 bits")
	}
	*src = (*src)[n:]
	return int64(u>>1) ^ -int64(u&1), nil
}

// avroBytes reads a length and as many bytes.
func avroBytes(src *[]byte) ([]byte, error) {
	n, err := avroLong(src)
	if err != nil {
		return nil, err
	}
	if n < 0 {
		return nil, fmt.Errorf("a length is %d", n)
	}
	return take(src, uint64(n))
}

func avroValue(b *budget, t *avroType, src *[]byte, depth int) (any, error) {
	if err := b.node(depth); err != nil {
		return nil, err
	}
	switch t.kind {
	case "null":
		return nil, nil
	case "boolean":
		raw, err := take(src, 1)
		if err != nil {
			return nil, err
		}
		if raw[0] > 1 {
			return nil, fmt.Errorf("0x%02x is no boolean", raw[0])
		}
		return raw[0] == 1, nil
	case "int", "long":
		n, err := avroLong(src)
		if err == nil && t.kind == "int" && n != int64(int32(n)) {
			err = fmt.Errorf("%d is no int of 32 bits", n)
		}
		return t.logicalLong(n), err
	case "float":
		raw, err := take(src, 4)
		if err != nil {
			return nil, err
		}
		return math.Float32frombits(binary.LittleEndian.Uint32(raw)), nil
	case "double":
		raw, err := take(src, 8)
		if err != nil {
			return nil, err
		}
		return math.Float64frombits(binary.LittleEndian.Uint64(raw)), nil
	case "bytes":
		raw, err := avroBytes(src)
		return t.logicalBytes(raw), err
	case "string":
		raw, err := avroBytes(src)
		return string(raw), err
	case "fixed":
		raw, err := take(src, uint64(t.size))
		return t.logicalBytes(raw), err
	case "enum":
		n, err := avroLong(src)
		if err != nil {
			return nil, err
		}
		if n < 0 || n >= int64(len(t.symbols)) {
			return nil, fmt.Errorf("%s has no symbol %d", t.name, n)
		}
		return t.symbols[n], nil
	case "union":
		n, err := avroLong(src)
		if err != nil {
			return nil, err
		}
		if n < 0 || n >= int64(len(t.of)) {
			return nil, fmt.Errorf("a union has no member %d", n)
		}
		return avroValue(b, t.of[n], src, depth+1)
	case "record":
		o := &object{}
		for i, f := range t.of {
			v, err := avroValue(b, f, src, depth+1)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", t.fields[i], err)
			}
			o.add(t.fields[i], v)
		}
		return o, nil
	case "array":
		list := []any{}
		err := avroBlocks(src, func() error {
			v, err := avroValue(b, t.of[0], src, depth+1)
			list = append(list, v)
			return err
		})
		return list, err
	}
	o := &object{} // a map
	err := avroBlocks(src, func() error {
		k, err := avroBytes(src)
		if err != nil {
			return err
		}
		v, err := avroValue(b, t.of[0], src, depth+1)
		o.add(string(k), v)
		return err
	})
	return o, err
}

// avroBlocks reads the items of an array or a map, which come in blocks.
func avroBlocks(src *[]byte, item func() error) error {
	for {
		n, err := avroLong(src)
		if err != nil || n == 0 {
			return err
		}
		if n < 0 { // its length in bytes follows
			if _, err := avroLong(src); err != nil {
				return err
			}
			if n == math.MinInt64 {
				return errors.New("a block has too many items")
			}
			n = -n
		}
		for range n {
			if err := item(); err != nil {
				return err
			}
		}
	}
}

// logicalLong is what a number stands for.
func (t *avroType) logicalLong(n int64) any {
	switch t.logical {
	case "date":
		if n > -1<<24 && n < 1<<24 {
			return time.Unix(n*86400, 0).UTC().Format(time.DateOnly)
		}
	case "timestamp-millis", "local-timestamp-millis":
		if n > -1<<47 && n < 1<<47 {
			return time.UnixMilli(n)
		}
	case "timestamp-micros", "local-timestamp-micros":
		if n > -1<<57 && n < 1<<57 {
			return time.UnixMicro(n)
		}
	case "timestamp-nanos", "local-timestamp-nanos":
		return time.Unix(0, n)
	}
	return n
}

// logicalBytes is what bytes stand for: a decimal is its digits as text, which a number of
// JSON would round.
func (t *avroType) logicalBytes(raw []byte) any {
	if t.logical == "decimal" && len(raw) > 0 && len(raw) <= 64 {
		n := new(big.Int).SetBytes(raw)
		if raw[0]&0x80 != 0 {
			n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(raw))))
		}
		return new(big.Rat).SetFrac(n, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(t.scale)), nil)).FloatString(t.scale)
	}
	if t.logical == "uuid" && len(raw) == 16 {
		return fmt.Sprintf("%x-%x-%x-%x-%x", raw[:4], raw[4:6], raw[6:8], raw[8:10], raw[10:])
	}
	return raw
}
