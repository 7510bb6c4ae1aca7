package transport

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"net"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/fault"
)

// Frames of channel 0, which the transport says to itself: kind u8, then what it carries.
// A kind that is not known is skipped.
const (
	ping    = 1 // u64, any; over a connection's way there
	pong    = 2 // the same u64; over its way back
	pingLen = 9
)

// copyMax is up to where a frame's bytes are copied to those of others, for one write of few
// pieces; longer ones are written from where they are.
const copyMax = 4 << 10

// backBuffer is the room for what comes back over a connection: answers to pings.
const backBuffer = 4 << 10

// outgoing is a connection to a peer, from the attempt to make it to its end.
//
// Ownership: run owns the connection and what take and encode fill. The peer's mu guards wake's
// sleeping, since, and the ping. Its context ends it, whatever it waits for.
type outgoing struct {
	p      *peer
	ctx    context.Context
	cancel context.CancelCauseFunc
	raw    net.Conn  // without TLS; nil: not dialled yet
	since  time.Time // it is open since; zero: not yet

	sleeping bool          // run waits for wake
	wake     chan struct{} // capacity 1

	watch     clock.Timer
	asked     time.Time // the ping that has no answer was due then; zero: there is none
	pinged    time.Time // and was written then; zero: not yet
	number    uint64    // of that ping
	roundTrip time.Duration

	batch  []chunk     // what one write carries
	head   []byte      // headers, and bodies up to copyMax
	pieces [][]byte    // of head, and longer bodies, in order
	left   net.Buffers // of pieces, while they are written
	ping   [pingLen]byte
}

func newOutgoing(p *peer) *outgoing {
	o := &outgoing{p: p, wake: make(chan struct{}, 1)}
	o.ctx, o.cancel = context.WithCancelCause(p.t.ctx)
	return o
}

// wakeLocked has run look at the queue again. Caller holds the peer's mu.
func (o *outgoing) wakeLocked() {
	if o.sleeping {
		o.sleeping = false
		o.wake <- struct{}{} // has room: run takes one before it sleeps again
	}
}

// run makes the connection and writes what the peer's queue holds, until either ends.
func (o *outgoing) run() error {
	defer o.cancel(nil)
	t := o.p.t
	patience := t.cfg.Clock.AfterFunc(handshakeWait, func() { o.cancel(errSlow) })
	conn, err := o.connect()
	if !patience.Stop() && err == nil {
		err = errSlow
	}
	defer o.close()
	if err != nil {
		return o.cause(err)
	}
	o.opened(conn)
	defer o.unwatch()

	back := make(chan struct{})
	t.running.Go(func() {
		defer close(back)
		o.cancel(o.readBack(conn))
	})
	err = o.cause(o.write(conn))
	o.close()
	<-back
	return err
}

// close ends what is read and written. With TLS too, which would wait to say farewell, it is
// the connection beneath that is closed.
func (o *outgoing) close() {
	if o.raw != nil {
		_ = o.raw.Close()
	}
}

// cause is why the connection ended: what ended its context, if that came first.
func (o *outgoing) cause(err error) error {
	if c := context.Cause(o.ctx); c != nil {
		return c
	}
	return err
}

// connect dials, and proves who is at both ends.
func (o *outgoing) connect() (net.Conn, error) {
	p, t := o.p, o.p.t
	p.mu.Lock()
	addr := p.addr
	p.mu.Unlock()
	conn, err := t.cfg.Dial(o.ctx, addr)
	if err != nil {
		return nil, err
	}
	tune(conn)
	o.raw = conn
	context.AfterFunc(o.ctx, o.close)
	conn, exported, err := t.cfg.secure(o.ctx, conn, addr)
	if err != nil {
		return conn, err
	}
	if err := t.id.dial(conn, p.id, exported); err != nil {
		return conn, err
	}
	if err := t.checkCert(p.id, conn); err != nil {
		return conn, fault.New(fault.Unauthorized, "connect", addr, "its certificate is not node %d's: %w", p.id, err)
	}
	return conn, nil
}

// secure speaks TLS over a connection to an address, if that is wanted, and returns what both ends
// know of it.
func (cfg *TCPConfig) secure(ctx context.Context, conn net.Conn, addr string) (_ net.Conn, exported []byte, err error) {
	if cfg.TLS == nil {
		return conn, nil, nil
	}
	with := cfg.TLS
	if with.ServerName == "" {
		with = with.Clone()
		if host, _, err := net.SplitHostPort(addr); err == nil {
			with.ServerName = host
		}
	}
	c := tls.Client(conn, with)
	if err := c.HandshakeContext(ctx); err != nil {
		return c, nil, fault.New(fault.Unauthorized, "connect", addr, "TLS: %w", err)
	}
	exported, err = export(c)
	return c, exported, err
}

// export returns what both ends of a TLS connection know, and nobody else.
func export(c *tls.Conn) ([]byte, error) {
	s := c.ConnectionState()
	return s.ExportKeyingMaterial(exportLabel, nil, macLen)
}

// checkCert asks whether the certificate of a connection is the node's. Node 0 is none, and has none
// of its own.
func (t *TCP) checkCert(node uint64, conn net.Conn) error {
	c, ok := conn.(*tls.Conn)
	if !ok || t.cfg.CheckCert == nil || node == 0 {
		return nil
	}
	return t.cfg.CheckCert(node, c.ConnectionState())
}

// opened tells that the peer is there.
func (o *outgoing) opened(conn net.Conn) {
	p := o.p
	p.mu.Lock()
	defer p.mu.Unlock()
	o.since = p.t.cfg.Clock.Now()
	p.said.logged = ""
	if p.state == dialing {
		p.state = open
	}
	o.watch = p.t.cfg.Clock.AfterFunc(pingEvery, o.look)
	p.counts.dials.Add(1)
	p.t.cfg.Log.Info("connected to node", "node", p.id, "addr", conn.RemoteAddr().String())
}

// look asks for a ping, and ends the connection when one has no answer for too long: the other
// end takes nothing, or is not there any more.
func (o *outgoing) look() {
	p := o.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if o.ctx.Err() != nil {
		return
	}
	now := p.t.cfg.Clock.Now()
	switch {
	case o.asked.IsZero():
		o.asked, o.pinged = now, time.Time{}
		o.number++
		o.wakeLocked()
	case now.Sub(o.asked) >= silenceMax:
		o.cancel(errSilent)
		return
	}
	o.watch = p.t.cfg.Clock.AfterFunc(pingEvery, o.look)
}

func (o *outgoing) unwatch() {
	o.p.mu.Lock()
	defer o.p.mu.Unlock()
	o.watch.Stop()
}

// write writes what waits, as much at once as there is.
func (o *outgoing) write(conn net.Conn) error {
	for o.take() {
		frames := o.encode()
		o.left = o.pieces
		n, err := o.left.WriteTo(conn)
		clear(o.pieces)
		o.p.counts.bytesOut.Add(uint64(n))
		if err != nil {
			o.p.counts.dropped.Add(frames)
			return err
		}
		o.p.counts.framesOut.Add(frames)
	}
	return nil
}

// take waits for something to write, and fills batch with it. false: the connection is to end.
func (o *outgoing) take() bool {
	p := o.p
	o.batch = o.batch[:0]
	for o.ctx.Err() == nil {
		p.mu.Lock()
		if !o.asked.IsZero() && o.pinged.IsZero() {
			o.pinged = p.t.cfg.Clock.Now()
			o.ping[0] = ping
			binary.LittleEndian.PutUint64(o.ping[1:], o.number)
			o.batch = append(o.batch, chunk{channel: control, body: o.ping[:]})
		}
		if o.batch = p.queue.take(o.batch); len(o.batch) > 0 {
			p.mu.Unlock()
			return true
		}
		o.sleeping = true
		p.mu.Unlock()
		select {
		case <-o.wake:
		case <-o.ctx.Done():
		}
	}
	return false
}

// encode fills pieces with batch, and tells how many frames end in it.
func (o *outgoing) encode() (frames uint64) {
	o.head, o.pieces = o.head[:0], o.pieces[:0]
	start := 0
	for i, c := range o.batch {
		if c.rest == 0 && c.channel != control {
			frames++
		}
		if len(c.body) <= copyMax {
			o.head = appendChunk(o.head, c)
		} else {
			o.head = appendHeader(o.head, c)
			o.pieces = append(o.pieces, o.head[start:], c.body)
			start = len(o.head)
		}
		o.batch[i].body = nil
	}
	if start < len(o.head) {
		o.pieces = append(o.pieces, o.head[start:])
	}
	return frames
}

// readBack reads the answers to pings until the connection ends.
func (o *outgoing) readBack(conn net.Conn) error {
	r := newChunkReader(conn, backBuffer)
	for {
		c, err := r.next()
		if err != nil {
			return err
		}
		if c.channel != control || c.rest != 0 {
			return fault.New(fault.Invalid, "receive", "", "a frame where only answers may come, on channel %d", c.channel)
		}
		if len(c.body) == pingLen && c.body[0] == pong {
			o.answered(binary.LittleEndian.Uint64(c.body[1:]))
		}
	}
}

func (o *outgoing) answered(number uint64) {
	p := o.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if number == o.number && !o.pinged.IsZero() {
		o.roundTrip = p.t.cfg.Clock.Now().Sub(o.pinged)
		o.asked = time.Time{}
	}
}
