package wire

import "sync"

// Buffer sizes. A buffer is taken from the smallest class that holds what is
// asked, so that ten thousand connections with one small packet each do not
// hold ten thousand large buffers.
const (
	smallBuffer  = 2 << 10
	mediumBuffer = 16 << 10
	largeBuffer  = 64 << 10 // the largest that is pooled; beyond it the garbage collector owns them
)

var (
	smallPool  = sync.Pool{New: func() any { return new([smallBuffer]byte) }}
	mediumPool = sync.Pool{New: func() any { return new([mediumBuffer]byte) }}
	largePool  = sync.Pool{New: func() any { return new([largeBuffer]byte) }}
)

// Get returns an empty buffer with room for at least n bytes.
func Get(n int) []byte {
	switch {
	case n <= smallBuffer:
		return smallPool.Get().(*[smallBuffer]byte)[:0]
	case n <= mediumBuffer:
		return mediumPool.Get().(*[mediumBuffer]byte)[:0]
	case n <= largeBuffer:
		return largePool.Get().(*[largeBuffer]byte)[:0]
	}
	return make([]byte, 0, n)
}

// Put gives back a buffer of Get; nobody may use it afterwards. A buffer that
// came from elsewhere, or grew, is left to the garbage collector.
func Put(b []byte) {
	switch cap(b) {
	case smallBuffer:
		smallPool.Put((*[smallBuffer]byte)(b[:smallBuffer]))
	case mediumBuffer:
		mediumPool.Put((*[mediumBuffer]byte)(b[:mediumBuffer]))
	case largeBuffer:
		largePool.Put((*[largeBuffer]byte)(b[:largeBuffer]))
	}
}
