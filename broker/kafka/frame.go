package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/robustmq/rmq/broker/wire"
)

const (
	// smallFrame is the longest request that is read through the shared reader.
	smallFrame = 60 << 10
	// saslFrameMax bounds a request before its sender has authenticated, as
	// sasl.server.max.receive.size does in Kafka.
	saslFrameMax = 512 << 10
	// pooledFrame is the largest buffer that is kept for another request.
	pooledFrame = 16 << 20
)

// errFrame: a request announces an impossible length.
var errFrame = errors.New("request length out of range")

// frames reads requests off a connection: an i32 length, then as many bytes.
//
// A small one is read through a wire.Reader, which holds no memory while it waits. A
// large one is read straight into a buffer of its own, which starts small, grows only
// as bytes arrive, and is shared by all connections between requests: announcing
// 100 MiB costs us nothing until they are sent. A connection that has sent a large
// request before is trusted with as much room at once the next time.
type frames struct {
	conn    net.Conn // below any prefix, which r has
	r       *wire.Reader
	small   int    // bytes of the last small frame, still in r
	large   []byte // buffer of the last large frame
	trusted int    // length of the largest request that came whole
}

func newFrames(conn net.Conn) frames {
	r := wire.NewReader(conn)
	return frames{conn: r.Conn(), r: r}
}

// next returns the next request without its length. It is valid until the next call of
// next or done. most bounds it. io.EOF: the peer closed between two requests.
func (f *frames) next(most int) ([]byte, error) {
	f.done()
	if f.r.Buffered() < 4 {
		if err := f.r.Fill(4); err != nil {
			if f.r.Buffered() > 0 && errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	size := int(int32(binary.BigEndian.Uint32(f.r.Bytes())))
	if size < 0 || size > most {
		return nil, fmt.Errorf("%w: %d bytes, %d allowed", errFrame, size, most)
	}
	if size > smallFrame {
		return f.nextLarge(size)
	}
	if f.r.Buffered() < 4+size {
		if err := f.r.Fill(4 + size); err != nil {
			return nil, unexpected(err)
		}
	}
	f.small = 4 + size
	return f.r.Bytes()[4 : 4+size : 4+size], nil
}

func (f *frames) nextLarge(size int) ([]byte, error) {
	f.r.Discard(4)
	have := min(f.r.Buffered(), size)
	f.large = takeFrame(min(size, max(f.trusted, 2*smallFrame)))
	buf := f.large[:cap(f.large)]
	n := copy(buf, f.r.Bytes()[:have])
	f.r.Discard(have)
	if f.r.Buffered() == 0 {
		f.r.Release()
	}
	for n < size {
		if n == len(buf) {
			grown := takeFrame(min(size, 2*len(buf)))
			grown = grown[:cap(grown)]
			copy(grown, buf)
			giveFrame(f.large)
			f.large, buf = grown, grown
		}
		m, err := f.conn.Read(buf[n:min(size, len(buf))])
		n += m
		if err != nil && n < size {
			return nil, unexpected(err)
		}
	}
	f.trusted = max(f.trusted, min(size, pooledFrame))
	return buf[:size:size], nil
}

// done gives back the memory of the last request.
func (f *frames) done() {
	if f.small > 0 {
		f.r.Discard(f.small)
		f.small = 0
	}
	if f.large != nil {
		giveFrame(f.large)
		f.large = nil
	}
}

func (f *frames) release() {
	f.done()
	f.r.Release()
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Buffers of large requests, by the logarithm of their length.
var framePools [25]sync.Pool

func frameClass(n int) int {
	class := 16 // 64 KiB
	for 1<<class < n {
		class++
	}
	return class
}

// takeFrame returns a buffer with room for at least n bytes.
func takeFrame(n int) []byte {
	if n > pooledFrame {
		return make([]byte, 0, n)
	}
	class := frameClass(n)
	if b, ok := framePools[class].Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, 1<<class)
}

func giveFrame(b []byte) {
	if n := cap(b); n <= pooledFrame && n&(n-1) == 0 {
		framePools[frameClass(n)].Put(&b)
	}
}
