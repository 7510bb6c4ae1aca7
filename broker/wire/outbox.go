package wire

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"slices"
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
	// lingerTimeout is how long Linger waits for a peer that says nothing, and lingerMax for one that goes
	// on: it has much to read before it comes to why it was ended.
	lingerTimeout = time.Second
	lingerMax     = 5 * time.Second
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
// It is small while there is nothing in it: what it needs otherwise is a load, which it has
// for as long.
//
// Ownership: mu guards everything but the fields of the one who flushes (busy
// says that there is one: the goroutine, or a caller inside Flush).
type Outbox struct {
	conn  net.Conn
	raw   syscall.RawConn // nil: not a plain socket
	limit int             // bytes

	mu     sync.Mutex
	load   *load // nil while nothing is queued and nobody flushes
	queued int   // bytes in the load, or with the flusher
	hint   int   // length of the last append: room to have before the next
	busy   bool  // somebody flushes
	close  closing
	linger bool // close as Linger says
	err    error

	armed time.Duration // when the write deadline was last set, since began; 0: there is none. Of the flusher alone
}

// load is what an outbox has while there is something in it.
type load struct {
	o *Outbox

	tail  []byte        // owned buffer being appended to; nil when empty
	queue []chunk       // before tail, in order
	drain time.Time     // when a draining outbox gives up
	waits chan struct{} // closed when busy becomes false; nil while nobody waits
	told  func()        // of WhenWritten; nil: nobody waits
	until int           // bytes to be written before

	// Of the flusher alone.
	flusher func()  // l.run, bound once
	spare   []chunk // the slice that queue is swapped with
	vec     net.Buffers
	attempt func(fd uintptr) bool // l.try, bound once
	in      []byte                // what attempt is to write
	n       int                   // what it has written
	inErr   error
}

var loads = sync.Pool{New: func() any { return new(load) }}

// began is what times are told from: a time of 8 bytes.
var began = time.Now()

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
	return &Outbox{conn: inner, raw: rawOf(inner), limit: limit}
}

// loadLocked returns the load, taken if there is none.
func (o *Outbox) loadLocked() *load {
	if o.load == nil {
		o.load = loads.Get().(*load)
		o.load.o = o
	}
	return o.load
}

// Write copies b in. False when that would pass the limit, or the outbox is closed.
func (o *Outbox) Write(b []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.takeLocked(len(b)) {
		return false
	}
	l := o.loadLocked()
	l.makeRoom(len(b))
	l.tail = append(l.tail, b...)
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
	l := o.loadLocked()
	l.makeRoom(min(o.hint, sealAt))
	before := l.tail
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
	l.tail = after
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
	l := o.loadLocked()
	l.seal()
	l.queue = append(l.queue, chunk{b: b, release: release})
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

// makeRoom makes tail ready for n more bytes. Caller holds o.mu, as for seal.
func (l *load) makeRoom(n int) {
	if len(l.tail) >= sealAt || (len(l.tail) > 0 && len(l.tail)+n > largeBuffer) {
		l.seal()
	}
	if l.tail == nil {
		l.tail = Get(n)
		return
	}
	if need := len(l.tail) + n; need > cap(l.tail) {
		b := append(Get(max(need, min(2*cap(l.tail), largeBuffer))), l.tail...)
		Put(l.tail)
		l.tail = b
	}
}

// seal queues tail: what follows goes behind it.
func (l *load) seal() {
	if len(l.tail) > 0 {
		l.queue = append(l.queue, chunk{b: l.tail, owned: true})
		l.tail = nil
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
	l := o.load
	if o.raw == nil || o.disturbed() || len(l.queue) > 0 {
		o.startLocked()
		o.mu.Unlock()
		return
	}
	o.busy = true
	b := l.tail
	l.tail = nil
	o.mu.Unlock()

	n, err := l.tryNow(b)

	o.mu.Lock()
	o.queued -= n
	l.wrote(n)
	if err == nil && n < len(b) {
		// The rest, in front of what was put in meanwhile.
		l.queue = slices.Insert(l.queue, 0, chunk{b: b[n:], owned: true})
	} else {
		Put(b)
	}
	o.finishLocked(err)
	o.mu.Unlock()
}

// WhenWritten calls f once all that was put in until now has been given to the socket; never, when it
// is not. f is called under the outbox's lock, maybe before WhenWritten returns, and must neither call
// the outbox nor wait. It takes the place of one that was not called yet.
func (o *Outbox) WhenWritten(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.err != nil || o.close == closed:
	case o.queued == 0:
		f()
	default:
		o.load.told, o.load.until = f, o.queued
	}
}

// wrote tells who waits that n bytes more were written. Caller holds o.mu.
func (l *load) wrote(n int) {
	if l.told == nil {
		return
	}
	if l.until -= n; l.until <= 0 {
		told := l.told
		l.told = nil
		told()
	}
}

// startLocked starts the flushing goroutine if there is none. It ends when there
// is nothing left to write, the peer fails or stalls, or Close cuts it short; Wait
// waits for it.
func (o *Outbox) startLocked() {
	if !o.busy {
		o.busy = true
		o.loadLocked().start()
	}
}

func (l *load) start() {
	if l.flusher == nil {
		l.flusher = l.run
	}
	go l.flusher()
}

// finishLocked ends a flush that was done on a caller's goroutine.
func (o *Outbox) finishLocked(err error) {
	o.failLocked(err)
	if o.err != nil || o.queued > 0 || o.close != open {
		o.load.start() // it inherits busy
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

// restLocked ends a flush, after which nothing is queued.
func (o *Outbox) restLocked() {
	o.busy = false
	l := o.load
	if l.waits != nil {
		close(l.waits)
	}
	if l.tail != nil {
		Put(l.tail)
	}
	if cap(l.spare)+cap(l.queue) > chunksKept {
		l.spare, l.queue, l.vec = nil, nil, nil
	}
	o.load, l.o, l.tail, l.waits, l.told = nil, nil, nil, nil, nil
	loads.Put(l)
}

// run flushes until there is nothing left, then closes if asked to.
func (l *load) run() {
	o := l.o
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
		l.seal()
		work := l.queue
		l.queue, l.spare = l.spare[:0], nil
		o.mu.Unlock()

		n, err := l.write(work)
		done(work)

		o.mu.Lock()
		o.queued -= n
		l.spare = work[:0]
		if o.failLocked(err); o.err == nil {
			l.wrote(n)
		}
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
	l := o.load
	l.seal()
	done(l.queue)
	l.queue = l.queue[:0]
	o.queued = 0
}

// write writes all of work, however long the peer takes as long as it takes some.
// It returns the bytes that work held, written or not.
func (l *load) write(work []chunk) (total int, err error) {
	o := l.o
	for i := range work {
		total += len(work[i].b)
	}
	first := work[0].b
	if len(work) == 1 && o.raw != nil && !o.disturbed() {
		n, err := l.tryNow(first)
		if err != nil || n == total {
			return total, err
		}
		first = first[n:]
	}
	l.vec = append(l.vec[:0], first)
	for i := range work[1:] {
		l.vec = append(l.vec, work[1+i].b)
	}
	vec := l.vec // WriteTo consumes it
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
			n, err = vec.WriteTo(o.gather())
		}
		if err != nil && n > 0 && errors.Is(err, os.ErrDeadlineExceeded) {
			o.armed, err = 0, nil // slow, but not stalled
		}
		if err != nil {
			break
		}
	}
	if o.raw != nil {
		// A deadline that passes while nothing is written would fail the next attempt.
		o.armed = 0
		_ = o.conn.SetWriteDeadline(time.Time{})
	}
	clear(l.vec[:cap(l.vec)])
	return total, err
}

// disturbed tells whether what is written goes through a flow.
func (o *Outbox) disturbed() bool {
	v, ok := o.conn.(*Valve)
	return ok && v.disturbed()
}

// gather is what many buffers are written to: the socket, which takes them at once, if it may be.
func (o *Outbox) gather() net.Conn {
	if v, ok := o.conn.(*Valve); ok && !v.disturbed() {
		return v.Conn
	}
	return o.conn
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
	case o.close == draining && !now.Before(o.load.drain):
		return os.ErrDeadlineExceeded
	case o.close == draining:
		return o.conn.SetWriteDeadline(o.load.drain)
	case o.armed == 0 || now.Sub(began)-o.armed > stallTimeout/4:
		o.armed = now.Sub(began)
		return o.conn.SetWriteDeadline(now.Add(stallTimeout))
	}
	return nil
}

// tryNow writes what the socket takes without waiting.
func (l *load) tryNow(b []byte) (n int, err error) {
	if l.attempt == nil {
		l.attempt = l.try
	}
	l.in, l.n, l.inErr = b, 0, nil
	err = l.o.raw.Write(l.attempt)
	l.in = nil // the pool is not to keep the buffer
	if err != nil {
		return l.n, err
	}
	return l.n, l.inErr
}

func (l *load) try(fd uintptr) bool {
	l.n, l.inErr = tryWrite(fd, l.in)
	return true
}

// Close ends the outbox and closes the connection: flush true, once all that was put
// in has left (or the peer takes nothing for closeTimeout); false, at once. It does
// not wait; Wait does. A second Close can only hurry the first.
func (o *Outbox) Close(flush bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.close == closed || (flush && o.close == draining) {
		return
	}
	l := o.loadLocked()
	l.drain = time.Now()
	if flush {
		o.close = draining
		l.drain = l.drain.Add(closeTimeout)
	} else {
		o.close = closed
	}
	if o.busy {
		_ = o.conn.SetWriteDeadline(l.drain) // somebody may be parked in a write
	}
	o.startLocked()
}

// Linger is Close(true) for a peer that is still sending: the outbox says that no more
// comes, and discards what the peer sends until it closes too, or lingerTimeout and lingerMax are over.
// A socket closed with bytes unread is reset instead, and the peer may never see why.
func (o *Outbox) Linger() {
	o.mu.Lock()
	o.linger = true
	o.mu.Unlock()
	o.Close(true)
}

// HalfClose closes the write side of a connection that has one, and reads what comes until
// the peer closes or is silent for a second, for five at most. Closed with something unread, a connection is
// reset, and the peer may not see what was written to it last.
func HalfClose(conn net.Conn) {
	c, ok := conn.(interface{ CloseWrite() error })
	if !ok || c.CloseWrite() != nil {
		return
	}
	b := Get(smallBuffer)
	defer Put(b)
	for end := time.Now().Add(lingerMax); ; {
		until := time.Now().Add(lingerTimeout)
		if until.After(end) {
			until = end
		}
		if conn.SetReadDeadline(until) != nil {
			return
		}
		if _, err := conn.Read(b[:cap(b)]); err != nil {
			return
		}
	}
}

// Reset breaks a connection: the peer sees an error, not an end. What was not written is lost.
func Reset(conn net.Conn) {
	inner, _ := unwrap(conn)
	if t, ok := inner.(*tls.Conn); ok {
		inner, _ = unwrap(t.NetConn())
	}
	socket, closing := inner, inner.Close
	if v, ok := inner.(*Valve); ok {
		socket, closing = v.Conn, v.Cut
	}
	if t, ok := socket.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // best effort: it is closed in any case
	}
	_ = closing()
}

// Wait returns once nothing is being written; after Close, that is when the
// connection is closed.
func (o *Outbox) Wait() {
	o.mu.Lock()
	for o.busy {
		if o.load.waits == nil {
			o.load.waits = make(chan struct{})
		}
		waits := o.load.waits
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
