package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/auth"
	"github.com/robustmq/rmq/broker/chaos"
	"github.com/robustmq/rmq/broker/wire"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// pipelineMax bounds the Produce requests of one connection that wait for the
	// kernel; the next is not read before one of them is answered.
	pipelineMax = 256
	// pipelineBytes bounds their batches together; a single larger request passes.
	pipelineBytes = 64 << 20
	// unsentMax is how much of what was answered may wait in the outbox while the next
	// request is handled.
	unsentMax = 1 << 20
	// responseMax bounds one response where the outbox enforces it: a fetch of
	// fetch.max.bytes that met one batch as large as a request can be, and room to name
	// its partitions.
	responseMax = 512 << 20
)

// conn is one connection.
//
// Ownership:
//   - serve's goroutine: everything without a mark.
//   - mu: the produce requests under way, which kernel goroutines finish.
//   - out guards itself.
type conn struct {
	srv    *Server
	nc     net.Conn
	frames frames
	out    *wire.Outbox
	ctx    context.Context // the server's
	sasl   saslState
	access *acl.Access // nil: everything is allowed
	client string      // client id of the last request, for the operator
	bans   *acl.Bans   // that the client was last held against
	limits limits
	silent time.Duration // for which the client is not read from, once its request is handled
	lost   atomic.Bool   // what is answered does not arrive: a planned fault

	mu        sync.Mutex
	idle      sync.Cond // on mu: waiting has shrunk
	waiting   []*produce
	waitBytes int
	stopped   bool // shutdown was called
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{srv: s, nc: nc, frames: newFrames(nc), out: wire.NewOutbox(nc, responseMax), ctx: s.ctx}
	c.idle.L = &c.mu
	if a := s.cfg.Authenticator; a != nil { // until it says who it is
		c.access = a.Access(auth.Identity{User: auth.Anonymous}, auth.NewLogin("kafka", wire.PeerOf(nc)), s.cfg.Namespace)
	}
	return c
}

// fail ends the connection for a reason.
type fail struct {
	reason Reason
	err    error
}

func (f *fail) Error() string { return f.reason.String() + ": " + f.err.Error() }
func (f *fail) Unwrap() error { return f.err }

func failf(r Reason, format string, args ...any) error {
	return &fail{r, fmt.Errorf(format, args...)}
}

// serve answers requests until the connection ends. What was answered before still
// leaves, unless the peer is gone.
func (c *conn) serve() (Reason, error) {
	err := c.loop()
	c.frames.release()
	c.settle() // answers of produce requests that are under way
	c.out.Close(true)
	c.out.Wait()

	var f *fail
	switch {
	case c.isStopped():
		return ByServer, nil
	case errors.As(err, &f):
		return f.reason, err
	case errors.Is(err, errFrame):
		return BadLength, err
	case errors.Is(err, io.EOF):
		return ByPeer, nil
	}
	return ByPeer, err
}

func (c *conn) loop() error {
	for {
		most := c.srv.cfg.RequestMax
		if !c.authenticated() {
			most = min(most, saslFrameMax)
		}
		if !c.expect() {
			return errClosing
		}
		body, err := c.frames.next(most)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return failf(Idle, "nothing was sent for %v", c.srv.cfg.IdleMax)
		case err != nil:
			return err
		}
		c.srv.Stats.BytesIn.Add(uint64(len(body) + 4))
		if err := c.handle(body); err != nil {
			return err
		}
		c.frames.done()
		if c.silent > 0 {
			c.mute(c.silent)
			c.silent = 0
		}
		if c.out.Buffered() > unsentMax {
			c.out.Wait()
		}
		if err := c.out.Err(); errors.Is(err, os.ErrDeadlineExceeded) {
			return failf(TooSlow, "write: %w", err)
		} else if err != nil {
			return err
		}
	}
}

// expect gives the peer time for its next request; false: the server is closing.
func (c *conn) expect() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.stopped {
		_ = c.nc.SetReadDeadline(time.Now().Add(c.srv.cfg.IdleMax))
	}
	return !c.stopped
}

// header is the front of every request.
type header struct {
	key, version int16
	correlation  int32
	client       string
}

// parseHeader splits a request. A flexible request's header has tags.
func parseHeader(body []byte) (h header, rest []byte, err error) {
	p := parser{b: body}
	h.key, h.version, h.correlation = p.i16(), p.i16(), p.i32()
	if p.bad {
		return h, nil, errMalformed
	}
	a := apiOf(h.key)
	if a == nil || h.version < a.min || h.version > a.max {
		return h, p.b, nil // nobody can say what follows
	}
	client := p.string(false)
	p.tags(h.version >= a.flexible)
	if p.bad {
		return h, nil, errMalformed
	}
	h.client = string(client)
	return h, p.b, nil
}

// handle answers one request. An error ends the connection.
func (c *conn) handle(body []byte) error {
	if err := c.banned(); err != nil {
		return err
	}
	if c.sasl.raw {
		return c.rawToken(body)
	}
	h, rest, err := parseHeader(body)
	if err != nil {
		return failf(BadRequest, "header: %w", err)
	}
	a := apiOf(h.key)
	if a == nil {
		return failf(UnknownRequest, "key %d", h.key)
	}
	c.srv.Stats.Requests[h.key].Add(1)
	if h.version < a.min || h.version > a.max {
		if h.key == keyApiVersions {
			c.settle()
			c.respond(h, 0, c.apiVersionsFallback())
			return nil
		}
		return failf(UnknownRequest, "%s version %d", kmsg.NameForKey(h.key), h.version)
	}
	if err := c.admit(h); err != nil {
		return err
	}
	if c.client != h.client {
		c.client = h.client
		wire.Name(c.nc, h.client)
	}
	if c.srv.cfg.Trace.On() {
		c.traceRequest(h, len(body))
	}
	failed := codeNone
	if c.srv.cfg.Chaos.On(chaos.Kafka) {
		if failed, err = c.disturb(h); err != nil {
			return err
		}
		if c.lost.Load() {
			defer func() { c.settle(); wire.Reset(c.nc) }()
		}
	}
	switch h.key {
	case keyProduce:
		return c.produce(h, rest, failed)
	case keyFetch:
		c.settle()
		return c.fetch(h, rest, failed)
	}
	held, since := c.held(), time.Time{}
	if held != nil {
		since = time.Now()
	}
	req := kmsg.RequestForKey(h.key)
	req.SetVersion(h.version)
	if err := c.srv.decodes.decode(req, rest); err != nil {
		return failf(BadRequest, "%s version %d: %w", kmsg.NameForKey(h.key), h.version, err)
	}
	if held != nil && waitingKeys[h.key] {
		c.silent = held.worked(c.srv.cfg.Link.Now(), since)
	}
	c.settle()
	if held != nil && !waitingKeys[h.key] {
		since = time.Now()
	}
	var resp kmsg.Response
	if failed != codeNone {
		resp = failure(req, failed)
	} else {
		resp, err = c.answer(req)
	}
	if held != nil && !waitingKeys[h.key] {
		c.silent = held.worked(c.srv.cfg.Link.Now(), since)
	}
	if resp != nil {
		if t, ok := resp.(kmsg.SetThrottleResponse); ok && c.silent > 0 {
			t.SetThrottle(silence(c.silent))
		}
		resp.SetVersion(h.version)
		c.respond(h, a.flexible, resp)
	}
	return err
}

// respond puts a response into the outbox. flexible is the first version whose response
// header has tags; ApiVersions' never has, so that any client can read it.
func (c *conn) respond(h header, flexible int16, resp kmsg.Response) {
	if c.lost.Load() {
		return
	}
	tagged := h.key != keyApiVersions && h.version >= flexible
	var n int
	c.out.Append(func(dst []byte) []byte {
		start := len(dst)
		dst = append(dst, 0, 0, 0, 0)
		dst = binary.BigEndian.AppendUint32(dst, uint32(h.correlation))
		if tagged {
			dst = append(dst, 0)
		}
		dst = resp.AppendTo(dst)
		n = len(dst) - start
		binary.BigEndian.PutUint32(dst[start:], uint32(n-4))
		return dst
	})
	c.srv.Stats.BytesOut.Add(uint64(n))
	if c.srv.cfg.Trace.On() {
		c.traceResponse(h, n, silence(c.silent))
	}
}

// shutdown makes serve return soon: reading fails, and what is waiting sees the server's
// context end.
func (c *conn) shutdown() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	_ = c.nc.SetReadDeadline(longAgo)
}

func (c *conn) isStopped() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stopped
}

// ---- produce requests under way ----------------------------------------------

// enqueue takes a produce request into the row of those whose answers are due, waiting
// while that is full.
func (c *conn) enqueue(p *produce) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.waiting) > 0 && (len(c.waiting) >= pipelineMax || c.waitBytes+p.size > pipelineBytes) {
		c.idle.Wait()
	}
	c.waiting = append(c.waiting, p)
	c.waitBytes += p.size
}

// finished answers every request at the front of the row that is done. Called by
// whoever finishes one, a kernel goroutine as a rule.
func (c *conn) finished(p *produce) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p.done = true
	n := 0
	for ; n < len(c.waiting) && c.waiting[n].done; n++ {
		q := c.waiting[n]
		c.waitBytes -= q.size
		if !c.lost.Load() {
			c.out.Write(q.frame)
		}
		c.srv.Stats.BytesOut.Add(uint64(len(q.frame)))
		if c.srv.cfg.Trace.On() {
			c.traceResponse(q.h, len(q.frame), silence(q.silent))
		}
		giveProduce(q)
	}
	if n == 0 {
		return
	}
	rest := copy(c.waiting, c.waiting[n:])
	clear(c.waiting[rest:])
	c.waiting = c.waiting[:rest]
	c.idle.Broadcast()
}

// settle waits until every produce request read so far is answered.
func (c *conn) settle() {
	c.mu.Lock()
	for len(c.waiting) > 0 {
		c.idle.Wait()
	}
	c.mu.Unlock()
}
