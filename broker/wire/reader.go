package wire

import (
	"net"
	"syscall"
)

// Reader buffers what a connection sends, for a codec that looks at whole
// frames. One goroutine owns it. It holds no buffer while it waits with nothing
// unread.
//
// Its buffer grows only by bytes that have arrived, doubling, up to what Fill is
// asked for: a peer that announces a large frame has to send it to cost us its
// memory.
type Reader struct {
	conn net.Conn
	raw  syscall.RawConn // nil: read through conn
	tap  *Valve          // nil: it has none
	*reading
}

// reading is what a Reader needs but for Wait.
type reading struct {
	buf  []byte // buf[r:w] is unread; nil while idle
	r, w int
	size int // room to take at the next wake: grows while reads fill the buffer

	attempt func(fd uintptr) bool // r.try, bound once
	n       int                   // what attempt has read
	err     error                 // what attempt has met
	one     [1]byte               // where a connection without raw waits
	valve   *Valve                // of the Reader, for attempt
}

func newReading() *reading {
	r := &reading{size: smallBuffer}
	r.attempt = r.try
	return r
}

// NewReader returns a Reader of conn.
func NewReader(conn net.Conn) *Reader {
	inner, prefix := unwrap(conn)
	r := &Reader{conn: inner, raw: rawOf(inner), reading: newReading()}
	r.tap, _ = inner.(*Valve)
	if len(prefix) > 0 {
		b := Get(len(prefix))
		r.w = copy(b[:len(prefix)], prefix)
		r.buf = b[:cap(b)]
	}
	return r
}

// Conn returns the connection below any PrefixConn and PeerConn: what follows what is
// buffered can be read from it.
func (r *Reader) Conn() net.Conn { return r.conn }

// Bytes returns what is buffered and unread. It is valid until Fill or Release, also
// after Discard: a frame may be discarded first and used then.
func (r *Reader) Bytes() []byte { return r.buf[r.r:r.w] }

// Buffered returns len(Bytes()).
func (r *Reader) Buffered() int { return r.w - r.r }

// Discard marks the first n bytes as read. They stay valid until Fill.
func (r *Reader) Discard(n int) {
	if n < 0 || n > r.w-r.r {
		panic("wire: discard beyond what is buffered")
	}
	r.r += n
}

// Fill waits until at least n bytes are buffered, or one more than now when
// that is more. It reads ahead whatever is there already. It returns the
// connection's error; bytes that arrived before it stay buffered.
func (r *Reader) Fill(n int) error {
	if have := r.w - r.r; n <= have {
		n = have + 1
	}
	for r.w-r.r < n {
		if err := r.read(n); err != nil {
			return err
		}
	}
	return nil
}

// read reads once, making room first.
func (r *Reader) read(n int) error {
	if r.r == r.w {
		return r.readIdle()
	}
	if r.w == len(r.buf) || (r.r > 0 && r.r+n > len(r.buf)) {
		r.makeRoom(n)
	}
	m, err := r.conn.Read(r.buf[r.w:])
	r.w += m
	if m > 0 {
		return nil // an error that came with bytes comes again
	}
	return err
}

// makeRoom moves the unread bytes to the front, into a larger buffer when they
// fill this one.
func (r *Reader) makeRoom(n int) {
	have := r.w - r.r
	if have < len(r.buf) && (n <= len(r.buf) || have <= len(r.buf)/2) {
		copy(r.buf, r.buf[r.r:r.w])
		r.r, r.w = 0, have
		return
	}
	size := 2 * len(r.buf)
	if n <= largeBuffer {
		size = max(size, n) // cheap enough to trust
	}
	b := Get(size)
	b = b[:cap(b)]
	copy(b, r.buf[r.r:r.w])
	Put(r.buf)
	r.buf, r.r, r.w = b, 0, have
}

// readIdle waits, with no buffer, for the first bytes.
func (r *Reader) readIdle() error {
	r.Release()
	if r.raw == nil || r.tap.disturbed() {
		n, err := r.conn.Read(r.one[:])
		if n == 0 {
			return err
		}
		b := Get(r.size)
		r.buf = b[:cap(b)]
		r.buf[0] = r.one[0]
		r.w = 1
		return nil
	}
	r.n, r.err, r.valve = 0, nil, r.tap
	if err := r.raw.Read(r.attempt); err != nil {
		return err // a deadline, or closed
	}
	if r.n == 0 && r.err == nil { // disturbed meanwhile: nothing was read
		return nil
	}
	if r.n > 0 {
		r.w = r.n
		if r.n == len(r.buf) { // there is more: take more at once from now on
			r.size = min(2*len(r.buf), largeBuffer)
		} else if r.n < r.size/8 {
			r.size = max(r.size/2, smallBuffer)
		}
	}
	return r.err
}

// try is the poller's callback: true when it has bytes or an error, false to be
// called again once the socket is readable.
func (r *reading) try(fd uintptr) bool {
	if r.valve.disturbed() {
		return readable(fd)
	}
	b := Get(r.size)
	b = b[:cap(b)]
	n, again, err := tryRead(fd, b)
	if again || n == 0 {
		Put(b)
		r.err = err
		return !again
	}
	r.buf, r.n = b, n
	return true
}

// CanWait tells whether Wait is of use: whether the connection is a plain socket.
func (r *Reader) CanWait() bool { return r.raw != nil }

// Wait waits, with nothing buffered, until there is something to read, and reads nothing. It needs
// so little stack that a goroutine which has only begun keeps its first one, of 2 KiB; Fill
// needs the next size. The Reader is small meanwhile. Its error is that of the connection.
func (r *Reader) Wait() error {
	r.Release()
	r.reading = nil
	err := r.raw.Read(readable)
	r.reading = newReading()
	return err
}

// Release gives the buffer back, unread bytes included. Fill takes a new one.
func (r *Reader) Release() {
	if r.buf != nil {
		Put(r.buf)
	}
	r.buf, r.r, r.w = nil, 0, 0
}
