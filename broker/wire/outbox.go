package wire

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	// stallTimeout is how long a peer may take not one byte of what is written to it
	// before its connection is given up.
	stallTimeout = 30 * time.Second
	// closeTimeout is what stallTimeout becomes once the outbox is closing.
	closeTimeout = 5 * time.Second
	// sealAt is the length at which a buffer takes no more appends, so that growing
	// one never copies more than this.
	sealAt = largeBuffer / 2
	// lingerTimeout bounds how long Linger waits for the peer to close.
	lingerTimeout = time.Second
	// copyMax is the length up to which WriteRef copies: cheaper than an iovec of its own.
	copyMax = 1 << 10
	// chunksKept is how many chunks an idle outbox remembers room for.
	chunksKept = 8
)

// ErrClosed is the error of an Outbox that was closed by its owner.
var ErrClosed = errors.New("outbox closed")

// Outbox is the bounded write side of one connection. Any goroutine may put
// bytes in; nobody ever blocks on the peer. What is put in leaves in order, as
// much as there is in one system call.
//
// Two ways to use it:
//
//   - Write, Append and WriteRef put in and start flushing, on a goroutine that
//     lives while there is something to write. While it is in a system call, what
//     others put in gathers for the next one.
//   - Hold puts in and leaves the flushing to a later Flush, which tries to write on
//     the caller's goroutine without blocking and hands what does not go to the
//     goroutine. A reader that answers ten requests from one read holds ten
//     answers and flushes once.
//
// The limit counts bytes put in and not yet given to the socket. What would pass
// it is refused, and the caller decides whether that means drop or disconnect; but
// an empty outbox takes one item of any length, or a single long frame could
// never leave.
//
// Ownership: mu guards everything but the fields of the one who flushes (busy
// says that there is one: the goroutine, or a caller inside Flush).
type Outbox struct {
	conn  net.Conn
	raw   syscall.RawConn // nil: not a plain socket
	limit int             // bytes

	mu     sync.Mutex
	tail   []byte  // owned buffer being appended to; nil when empty
	queue  []chunk // before tail, in order
	queued int     // bytes in queue, tail and with the flusher
	busy   bool    // somebody flushes
	close  closing
	linger bool      // close as Linger says
	hint   int       // length of the last append: room to have before the next
	drain  time.Time // when a draining outbox gives up
	err    error
	waits  chan struct{} // closed when busy becomes false; nil while nobody waits

	// Of the flusher alone.
	flusher func()  // o.run, bound once
	spare   []chunk // the slice that queue is swapped with
	vec     net.Buffers
	armed   time.Time             // when the write deadline was last set
	attempt func(fd uintptr) bool // o.try, bound once
	in      []byte                // what attempt is to write
	n       int                   // what it has written
	inErr   error
}

// chunk is bytes on their way out, and what to do when they have left.
type chunk struct {
	b       []byte
	release func() // of WriteRef
	owned   bool   // b goes back to the pool
}

type closing uint8

const (
	open     closing = iota
	draining         // write what there is, then close the connection
	closed           // the connection is closed, or about to be by the flusher
)

// NewOutbox returns the outbox of conn. limit is in bytes.
func NewOutbox(conn net.Conn, limit int) *Outbox {
	inner, _ := unwrap(conn)
	o := &Outbox{conn: inner, raw: rawOf(inner), limit: limit}
	o.flusher = o.run
	if o.raw != nil {
		o.attempt = o.try
	}
	return o
}

// Write copies b in. False when that would pass the limit, or the outbox is closed.
func (o *Outbox) Write(b []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.takeLocked(len(b)) {
		return false
	}
	o.tailLocked(len(b))
	o.tail = append(o.tail, b...)
	o.queued += len(b)
	o.startLocked()
	return true
}

// Append lets f append to the buffer that will be written, as a codec's encoder
// does. f runs under the outbox's lock and must only append. False as for Write; f
// may have run in vain then.
func (o *Outbox) Append(f func(dst []byte) []byte) bool { return o.AppendWithin(o.limit, f) }

// AppendWithin is Append with a limit of its own, lower than the outbox's: for what may be
// dropped, so that a peer that is too slow for it still has room for what may not.
func (o *Outbox) AppendWithin(limit int, f func(dst []byte) []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.holdLocked(limit, f) {
		return false
	}
	o.startLocked()
	return true
}

// Hold is Append without flushing: the caller calls Flush soon.
func (o *Outbox) Hold(f func(dst []byte) []byte) bool { return o.HoldWithin(o.limit, f) }

// HoldWithin is to Hold what AppendWithin is to Append.
func (o *Outbox) HoldWithin(limit int, f func(dst []byte) []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.holdLocked(limit, f)
}

func (o *Outbox) holdLocked(limit int, f func(dst []byte) []byte) bool {
	if !o.takeLocked(0) {
		return false
	}
	o.tailLocked(min(o.hint, sealAt))
	before := o.tail
	after := f(before)
	n := len(after) - len(before)
	if n < 0 {
		panic("wire: append shortened the buffer")
	}
	o.hint = n
	if o.queued > 0 && o.queued+n > limit {
		// before is still whole: f only appended behind it.
		if cap(after) != cap(before) {
			Put(after)
		}
		return false
	}
	if cap(after) != cap(before) { // it grew elsewhere
		Put(before)
	}
	o.tail = after
	o.queued += n
	return true
}

// WriteRef queues b itself: it must not change until release is called, which
// happens once, whatever becomes of b, unless WriteRef returns false. Short ones
// are copied and released at once. release must not block or call the outbox.
func (o *Outbox) WriteRef(b []byte, release func()) bool {
	if len(b) <= copyMax {
		ok := o.Write(b)
		if ok && release != nil {
			release()
		}
		return ok
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.takeLocked(len(b)) {
		return false
	}
	o.sealLocked()
	o.queue = append(o.queue, chunk{b: b, release: release})
	o.queued += len(b)
	o.startLocked()
	return true
}

// takeLocked tells whether n more bytes may be put in.
func (o *Outbox) takeLocked(n int) bool {
	if o.close != open || o.err != nil {
		return false
	}
	return o.queued == 0 || o.queued+n <= o.limit
}

// tailLocked makes tail ready for n more bytes.
func (o *Outbox) tailLocked(n int) {
	if len(o.tail) >= sealAt || (len(o.tail) > 0 && len(o.tail)+n > largeBuffer) {
		o.sealLocked()
	}
	if o.tail == nil {
		o.tail = Get(n)
		return
	}
	if need := len(o.tail) + n; need > cap(o.tail) {
		b := append(Get(max(need, min(2*cap(o.tail), largeBuffer))), o.tail...)
		Put(o.tail)
		o.tail = b
	}
}

// sealLocked queues tail: what follows goes behind it.
func (o *Outbox) sealLocked() {
	if len(o.tail) > 0 {
		o.queue = append(o.queue, chunk{b: o.tail, owned: true})
		o.tail = nil
	}
}

// Flush writes what was held. It does not block: what the socket does not take
// at once is left to a goroutine.
func (o *Outbox) Flush() {
	o.mu.Lock()
	if o.busy || o.queued == 0 || o.close == closed || o.err != nil {
		o.mu.Unlock() // somebody else flushes, or there is nothing to flush
		return
	}
	if o.raw == nil || len(o.queue) > 0 {
		o.startLocked()
		o.mu.Unlock()
		return
	}
	o.busy = true
	b := o.tail
	o.tail = nil
	o.mu.Unlock()

	n, err := o.tryNow(b)

	o.mu.Lock()
	o.queued -= n
	if err == nil && n < len(b) {
		// The rest, in front of what was put in meanwhile.
		o.queue = append(o.queue, chunk{})
		copy(o.queue[1:], o.queue)
		o.queue[0] = chunk{b: b[n:], owned: true}
	} else {
		Put(b)
	}
	o.finishLocked(err)
	o.mu.Unlock()
}

// startLocked starts the flushing goroutine if there is none. It ends when there
// is nothing left to write, the peer fails or stalls, or Close cuts it short; Wait
// waits for it.
func (o *Outbox) startLocked() {
	if !o.busy {
		o.busy = true
		go o.flusher()
	}
}

// finishLocked ends a flush that was done on a caller's goroutine.
func (o *Outbox) finishLocked(err error) {
	o.failLocked(err)
	if o.err != nil || o.queued > 0 || o.close != open {
		go o.flusher() // it inherits busy
		return
	}
	o.restLocked()
}

// failLocked notes a write error, unless Close has caused it.
func (o *Outbox) failLocked(err error) {
	if err != nil && o.err == nil && o.close != closed {
		o.err = err
	}
}

// restLocked ends a flush.
func (o *Outbox) restLocked() {
	o.busy = false
	if o.waits != nil {
		close(o.waits)
		o.waits = nil
	}
}

// run flushes until there is nothing left, then closes if asked to.
func (o *Outbox) run() {
	o.mu.Lock()
	for {
		if o.err != nil || o.close == closed {
			o.dropLocked()
			o.close = closed
		}
		if o.queued == 0 {
			if o.close == open {
				break
			}
			linger := o.linger && o.close == draining
			o.close = closed
			o.mu.Unlock()
			if linger {
				HalfClose(o.conn)
			}
			_ = o.conn.Close() // wakes the reader; may take a while on TLS and WebSocket
			o.mu.Lock()
			break
		}
		o.sealLocked()
		work := o.queue
		o.queue, o.spare = o.spare[:0], nil
		o.mu.Unlock()

		n, err := o.write(work)
		done(work)

		o.mu.Lock()
		o.queued -= n
		o.spare = work[:0]
		o.failLocked(err)
	}
	if cap(o.spare)+cap(o.queue) > chunksKept {
		o.spare, o.queue, o.vec = nil, nil, nil
	}
	o.restLocked()
	o.mu.Unlock()
}

// done releases chunks.
func done(work []chunk) {
	for i := range work {
		if work[i].owned {
			Put(work[i].b)
		}
		if work[i].release != nil {
			work[i].release()
		}
		work[i] = chunk{}
	}
}

// dropLocked forgets what was not written.
func (o *Outbox) dropLocked() {
	o.sealLocked()
	done(o.queue)
	o.queue = o.queue[:0]
	o.queued = 0
}

// write writes all of work, however long the peer takes as long as it takes some.
// It returns the bytes that work held, written or not.
func (o *Outbox) write(work []chunk) (total int, err error) {
	for i := range work {
		total += len(work[i].b)
	}
	first := work[0].b
	if len(work) == 1 && o.raw != nil {
		n, err := o.tryNow(first)
		if err != nil || n == total {
			return total, err
		}
		first = first[n:]
	}
	o.vec = append(o.vec[:0], first)
	for i := range work[1:] {
		o.vec = append(o.vec, work[1+i].b)
	}
	vec := o.vec // WriteTo consumes it
	for len(vec) > 0 {
		if err = o.arm(); err != nil {
			break
		}
		var n int64
		if len(vec) == 1 {
			var m int
			m, err = o.conn.Write(vec[0])
			n = int64(m)
			if vec[0] = vec[0][m:]; len(vec[0]) == 0 {
				vec = vec[1:]
			}
		} else {
			n, err = vec.WriteTo(o.conn)
		}
		if err != nil && n > 0 && errors.Is(err, os.ErrDeadlineExceeded) {
			o.armed, err = time.Time{}, nil // slow, but not stalled
		}
		if err != nil {
			break
		}
	}
	if o.raw != nil {
		// A deadline that passes while nothing is written would fail the next attempt.
		o.armed = time.Time{}
		_ = o.conn.SetWriteDeadline(o.armed)
	}
	clear(o.vec[:cap(o.vec)])
	return total, err
}

// arm sets the deadline of the next write; not anew for each of many. Under mu, so
// that it cannot undo the deadline by which Close cuts a write short.
func (o *Outbox) arm() error {
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.close == closed:
		return ErrClosed
	case o.close == draining && !now.Before(o.drain):
		return os.ErrDeadlineExceeded
	case o.close == draining:
		return o.conn.SetWriteDeadline(o.drain)
	case now.Sub(o.armed) > stallTimeout/4:
		o.armed = now
		return o.conn.SetWriteDeadline(now.Add(stallTimeout))
	}
	return nil
}

// tryNow writes what the socket takes without waiting.
func (o *Outbox) tryNow(b []byte) (n int, err error) {
	o.in, o.n, o.inErr = b, 0, nil
	err = o.raw.Write(o.attempt)
	o.in = nil // or an idle outbox would keep the buffer
	if err != nil {
		return o.n, err
	}
	return o.n, o.inErr
}

func (o *Outbox) try(fd uintptr) bool {
	o.n, o.inErr = tryWrite(fd, o.in)
	return true
}

// Close ends the outbox and closes the connection: flush true, once all that was put
// in has left (or the peer takes nothing for closeTimeout); false, at once. It does
// not wait; Wait does. A second Close can only hurry the first.
func (o *Outbox) Close(flush bool) {
	o.mu.Lock()
	if o.close == closed || (flush && o.close == draining) {
		o.mu.Unlock()
		return
	}
	now := time.Now()
	if flush {
		o.close = draining
		o.drain = now.Add(closeTimeout)
	} else {
		o.close = closed
		o.drain = now
	}
	if o.busy {
		_ = o.conn.SetWriteDeadline(o.drain) // somebody may be parked in a write
	}
	o.startLocked()
	o.mu.Unlock()
}

// Linger is Close(true) for a peer that is still sending: the outbox says that no more
// comes, and discards what the peer sends until it closes too, for lingerTimeout at most.
// A socket closed with bytes unread is reset instead, and the peer may never see why.
func (o *Outbox) Linger() {
	o.mu.Lock()
	o.linger = true
	o.mu.Unlock()
	o.Close(true)
}

// HalfClose closes the write side of a connection that has one, and reads what comes until
// the peer closes, for a second at most. Closed with something unread, a connection is reset, and the
// peer may not see what was written to it last.
func HalfClose(conn net.Conn) {
	c, ok := conn.(interface{ CloseWrite() error })
	if !ok || c.CloseWrite() != nil {
		return
	}
	if conn.SetReadDeadline(time.Now().Add(lingerTimeout)) != nil {
		return
	}
	b := Get(smallBuffer)
	defer Put(b)
	for {
		if _, err := conn.Read(b[:cap(b)]); err != nil {
			return
		}
	}
}

// Wait returns once nothing is being written; after Close, that is when the
// connection is closed.
func (o *Outbox) Wait() {
	o.mu.Lock()
	for o.busy {
		if o.waits == nil {
			o.waits = make(chan struct{})
		}
		waits := o.waits
		o.mu.Unlock()
		<-waits
		o.mu.Lock()
	}
	o.mu.Unlock()
}

// Err returns why the outbox takes nothing any more: a write error, ErrClosed, or
// nil while it is open.
func (o *Outbox) Err() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil && o.close != open {
		return ErrClosed
	}
	return o.err
}

// Buffered returns the bytes put in and not yet written.
func (o *Outbox) Buffered() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.queued
}
