package transport

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
)

// A frame travels as chunks, so that a big one on one channel lets those of other channels pass
// between its parts. A connection carries, after its handshake, chunks to its end. Little-endian:
//
//	0       4       8     11  12
//	┌───────┬───────┬─────┬───┬────────────┐
//	│ crc   │ rest  │ len │ch │ bytes      │
//	│ u32   │ u32   │ u24 │u8 │ len        │
//	└───────┴───────┴─────┴───┴────────────┘
//
// rest is how many bytes of the frame come in later chunks: 0 ends it. The first chunk tells the
// frame's length so: len + rest. crc is CRC-32C over all but itself: where there is no TLS, what
// TCP's sum of 16 bits misses would become part of the log.
//
// A reader checks len before it reads the bytes, the crc before it believes rest and channel,
// and then that len + rest is what was still to come. A chunk of a channel that it does not
// know is skipped: it is a newer release's.
const (
	chunkHeader = 12
	chunkMax    = 64 << 10 // bytes of a frame in one chunk: what a heartbeat may have to wait for
	keepMax     = 2 << 20  // bytes; the room for a longer frame is let go of when it is complete
)

// FrameMax bounds a frame: the largest entry of a log (128 MiB), and what else a step of raft
// had to say.
const FrameMax = 132 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// chunk is one part of a frame.
type chunk struct {
	channel byte
	rest    uint32
	body    []byte
}

// appendHeader appends the header of a chunk whose body follows elsewhere.
func appendHeader(dst []byte, c chunk) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, 4)...)
	dst = binary.LittleEndian.AppendUint32(dst, c.rest)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(c.body))|uint32(c.channel)<<24)
	crc := crc32.Update(crc32.Checksum(dst[start+4:], castagnoli), castagnoli, c.body)
	binary.LittleEndian.PutUint32(dst[start:], crc)
	return dst
}

// appendChunk appends a whole chunk.
func appendChunk(dst []byte, c chunk) []byte {
	return append(appendHeader(dst, c), c.body...)
}

// chunkReader takes chunks from a connection.
type chunkReader struct {
	from *bufio.Reader
}

// readBuffer has room for the largest chunk, and what comes with it.
const readBuffer = 2 * (chunkHeader + chunkMax)

// newChunkReader returns a reader with a buffer of so many bytes, more than which no chunk has.
func newChunkReader(r io.Reader, buffer int) chunkReader {
	return chunkReader{bufio.NewReaderSize(r, buffer)}
}

// next returns the next chunk. Its body is valid until the next call.
func (r chunkReader) next() (chunk, error) {
	head, err := r.from.Peek(chunkHeader)
	if err != nil {
		if len(head) > 0 && err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return chunk{}, err
	}
	n := int(binary.LittleEndian.Uint32(head[8:]) & (1<<24 - 1))
	if n > chunkMax {
		return chunk{}, fmt.Errorf("a chunk of %d bytes, %d at most", n, chunkMax)
	}
	all, err := r.from.Peek(chunkHeader + n)
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return chunk{}, err
	}
	if crc32.Checksum(all[4:], castagnoli) != binary.LittleEndian.Uint32(all) {
		return chunk{}, fmt.Errorf("a chunk of %d bytes was damaged on its way", n)
	}
	_, _ = r.from.Discard(len(all)) // it was peeked at: it is there
	return chunk{channel: all[11], rest: binary.LittleEndian.Uint32(all[4:]), body: all[chunkHeader:]}, nil
}

// assembly puts the chunks of one connection together to frames again.
type assembly [channels]struct {
	frame []byte // what has come of it
	rest  int    // bytes that are still to come; 0: between two frames
}

// add takes in a chunk, and returns the frame that it ends: valid until the next call, and
// only as long as the chunk's body. The error says that the sender does not speak as it should.
func (a *assembly) add(c chunk) (frame []byte, done bool, err error) {
	if c.channel >= channels {
		return nil, false, nil
	}
	part, n := &a[c.channel], len(c.body)+int(c.rest)
	switch {
	case n > FrameMax:
		return nil, false, fmt.Errorf("a frame of %d bytes, %d at most", n, FrameMax)
	case part.rest != 0 && n != part.rest:
		return nil, false, fmt.Errorf("channel %d: %d bytes are to come, and %d came with %d to follow", c.channel, part.rest, len(c.body), c.rest)
	case c.rest != 0 && len(c.body) == 0:
		return nil, false, fmt.Errorf("channel %d: an empty chunk with %d bytes to follow", c.channel, c.rest)
	case part.rest == 0 && c.rest == 0:
		return c.body, true, nil
	}
	if part.rest == 0 {
		if part.frame = part.frame[:0]; cap(part.frame) > keepMax {
			part.frame = nil
		}
		part.frame = slices.Grow(part.frame, min(n, keepMax)) // more only for bytes that have come
	}
	part.frame, part.rest = append(part.frame, c.body...), int(c.rest)
	return part.frame, part.rest == 0, nil
}
