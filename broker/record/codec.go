package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Codec is how the records of a batch are compressed: the low three bits of its
// attributes.
type Codec uint8

const (
	None Codec = iota
	Gzip
	Snappy
	LZ4
	Zstd
)

var codecNames = [...]string{"none", "gzip", "snappy", "lz4", "zstd"}

// String returns the name as Kafka's compression.type spells it.
func (c Codec) String() string {
	if int(c) < len(codecNames) {
		return codecNames[c]
	}
	return fmt.Sprintf("codec %d", uint8(c))
}

// InflatedMax bounds what the records of one batch may decompress to, in bytes: 64 times
// Kafka's default message.max.bytes.
const InflatedMax = 64 << 20

// What Java's snappy library puts before a block: a magic, two versions, and then
// length-prefixed blocks. C libraries send one bare block.
var xerialMagic = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0}

const (
	xerialHeader = 16 // magic, version i32, compatible version i32
	xerialBlock  = 32 << 10
	// snappyRatio bounds how far a block can expand: three bytes copy at most 64. A
	// claimed length beyond that is refused before it is allocated.
	snappyRatio = 22
)

// The states of the codecs are costly to make and hold no data between uses.
var (
	gzipReaders = sync.Pool{New: func() any { return new(gzip.Reader) }}
	lz4Readers  = sync.Pool{New: func() any { return lz4.NewReader(nil) }}
	zstdReaders = sync.Pool{New: func() any {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(InflatedMax))
		if err != nil {
			panic(err) // the options are constant
		}
		return d
	}}
	gzipWriters = sync.Pool{New: func() any { return gzip.NewWriter(nil) }}
	lz4Writers  = sync.Pool{New: func() any { return lz4.NewWriter(nil) }}
	zstdWriters = sync.Pool{New: func() any {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
		if err != nil {
			panic(err)
		}
		return e
	}}
)

// inflate appends what src decompresses to.
func inflate(dst, src []byte, c Codec) ([]byte, error) {
	out, err := inflateWith(dst, src, c)
	if err != nil && !errors.Is(err, ErrInflated) && !errors.Is(err, ErrCodec) {
		err = fmt.Errorf("%w: %s: %w", ErrCodec, c, err)
	}
	return out, err
}

func inflateWith(dst, src []byte, c Codec) ([]byte, error) {
	switch c {
	case Gzip:
		r := gzipReaders.Get().(*gzip.Reader)
		defer gzipReaders.Put(r)
		if err := r.Reset(bytes.NewReader(src)); err != nil {
			return dst, err
		}
		return readAll(dst, r)
	case LZ4:
		r := lz4Readers.Get().(*lz4.Reader)
		defer lz4Readers.Put(r)
		r.Reset(bytes.NewReader(src))
		return readAll(dst, r)
	case Zstd:
		d := zstdReaders.Get().(*zstd.Decoder)
		defer zstdReaders.Put(d)
		out, err := d.DecodeAll(src, dst)
		if errors.Is(err, zstd.ErrDecoderSizeExceeded) || errors.Is(err, zstd.ErrWindowSizeExceeded) {
			return dst, ErrInflated
		}
		return out, err
	case Snappy:
		return unsnap(dst, src)
	}
	return dst, fmt.Errorf("%w: codec %d", ErrCodec, c)
}

// readAll appends what r yields, growing with what has come, never with what is claimed.
func readAll(dst []byte, r io.Reader) ([]byte, error) {
	const step = 16 << 10
	for {
		dst = slices.Grow(dst, step)
		n, err := r.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		if len(dst) > InflatedMax {
			return dst, ErrInflated
		}
		if err == io.EOF {
			return dst, nil
		}
		if err != nil {
			return dst, err
		}
	}
}

func unsnap(dst, src []byte) ([]byte, error) {
	if len(src) < xerialHeader || !bytes.HasPrefix(src, xerialMagic) {
		return unsnapBlock(dst, src)
	}
	for src = src[xerialHeader:]; len(src) > 0; {
		if len(src) < 4 {
			return dst, io.ErrUnexpectedEOF
		}
		n := int64(binary.BigEndian.Uint32(src))
		if src = src[4:]; n > int64(len(src)) {
			return dst, io.ErrUnexpectedEOF
		}
		var err error
		if dst, err = unsnapBlock(dst, src[:n]); err != nil {
			return dst, err
		}
		src = src[n:]
	}
	return dst, nil
}

func unsnapBlock(dst, src []byte) ([]byte, error) {
	n, err := snappy.DecodedLen(src)
	if err != nil {
		return dst, err
	}
	if n > InflatedMax-len(dst) {
		return dst, ErrInflated
	}
	if n > snappyRatio*len(src) {
		return dst, fmt.Errorf("a block of %d bytes claims %d", len(src), n)
	}
	dst = slices.Grow(dst, n)
	out, err := snappy.Decode(dst[len(dst):len(dst)+n], src)
	if err != nil {
		return dst, err
	}
	return dst[:len(dst)+len(out)], nil
}

// Recompress appends a copy of b with its records compressed by another codec, for a
// topic whose compression.type is not its producer's.
func Recompress(dst []byte, b Batch, c Codec) (Batch, error) {
	records := b.Records()
	if b.Codec() != None {
		var err error
		if records, err = inflate(nil, records, b.Codec()); err != nil {
			return nil, err
		}
	}
	start := len(dst)
	dst = append(dst, b[:HeaderLen]...)
	dst, err := deflate(dst, records, c)
	if err != nil {
		return nil, err
	}
	out := Batch(dst[start:len(dst):len(dst)])
	binary.BigEndian.PutUint32(out[offLength:], uint32(len(out)-prefixLen))
	binary.BigEndian.PutUint16(out[offAttributes:], out.u16(offAttributes)&^codecMask|uint16(c))
	out.seal()
	return out, nil
}

// deflate appends src, compressed.
func deflate(dst, src []byte, c Codec) ([]byte, error) {
	switch c {
	case None:
		return append(dst, src...), nil
	case Gzip:
		w := gzipWriters.Get().(*gzip.Writer)
		defer gzipWriters.Put(w)
		out := bytes.NewBuffer(dst)
		w.Reset(out)
		return finish(w, out, src)
	case LZ4:
		w := lz4Writers.Get().(*lz4.Writer)
		defer lz4Writers.Put(w)
		out := bytes.NewBuffer(dst)
		w.Reset(out)
		return finish(w, out, src)
	case Zstd:
		e := zstdWriters.Get().(*zstd.Encoder)
		defer zstdWriters.Put(e)
		return e.EncodeAll(src, dst), nil
	case Snappy:
		dst = append(dst, xerialMagic...)
		dst = binary.BigEndian.AppendUint32(dst, 1)
		dst = binary.BigEndian.AppendUint32(dst, 1)
		for len(src) > 0 {
			n := min(len(src), xerialBlock)
			block := snappy.Encode(nil, src[:n])
			dst = binary.BigEndian.AppendUint32(dst, uint32(len(block)))
			dst = append(dst, block...)
			src = src[n:]
		}
		return dst, nil
	}
	return dst, fmt.Errorf("%w: codec %d", ErrCodec, c)
}

func finish(w io.WriteCloser, out *bytes.Buffer, src []byte) ([]byte, error) {
	if _, err := w.Write(src); err != nil {
		return out.Bytes(), err
	}
	err := w.Close()
	return out.Bytes(), err
}
