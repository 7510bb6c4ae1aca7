package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/fault"
)

// incoming is a connection from a peer.
type incoming struct {
	p        *peer
	ctx      context.Context
	cancel   context.CancelCauseFunc
	since    time.Time
	addr     string
	receives bool // it holds the peer's receiving

	heard atomic.Bool // something came since the last look
	watch clock.Timer // guarded by the peer's mu
}

// serve serves a connection that was accepted, to its end.
func (t *TCP) serve(conn net.Conn) {
	defer conn.Close() //nolint:errcheck // nothing is to be done about it
	if !t.admit() {
		return
	}
	tune(conn)
	in := &incoming{addr: conn.RemoteAddr().String()}
	in.ctx, in.cancel = context.WithCancelCause(t.ctx)
	defer in.cancel(nil)
	raw := conn
	context.AfterFunc(in.ctx, func() { _ = raw.Close() })

	patience := t.cfg.Clock.AfterFunc(handshakeWait, func() { in.cancel(errSlow) })
	from, conn, r, err := t.prove(in, conn)
	if !patience.Stop() && err == nil {
		err = errSlow
	}
	if err == nil && from == 0 {
		err = t.answerOne(in, conn, r)
	}
	t.dismiss()
	p := (*t.peers.Load())[from]
	if err != nil {
		t.refuse(p, in, err)
		return
	}
	if p == nil {
		return // it has its answer, or was removed a moment ago
	}
	in.p, in.since = p, t.cfg.Clock.Now()
	err = p.arrive(in)
	defer p.depart(in)
	if err != nil {
		return
	}
	p.mu.Lock()
	in.watch = t.cfg.Clock.AfterFunc(silenceMax, in.look)
	p.mu.Unlock()
	t.cfg.Log.Info("node connected", "node", p.id, "addr", in.addr)
	err = in.receive(conn, r)
	if c := context.Cause(in.ctx); c != nil {
		err = c
	}
	in.cancel(nil)
	p.mu.Lock()
	defer p.mu.Unlock()
	in.watch.Stop()
	if p.state != ended && !errors.Is(err, io.EOF) {
		p.failLocked(&p.heard, plain(err), "connection of a node ended", err, "addr", in.addr)
	}
}

// admit counts a connection that nobody has proven yet; false: there are too many.
func (t *TCP) admit() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.strangers >= strangersMax {
		t.stats.turnedAway.Add(1)
		return false
	}
	t.strangers++
	return true
}

func (t *TCP) dismiss() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.strangers--
}

// prove is the handshake. It returns who says that he is there also beside an error.
func (t *TCP) prove(in *incoming, conn net.Conn) (from uint64, _ net.Conn, r chunkReader, err error) {
	var exported []byte
	if _, already := conn.(*tls.Conn); t.cfg.TLS != nil && !already {
		conn = tls.Server(conn, t.cfg.TLS)
	}
	if c, ok := conn.(*tls.Conn); ok {
		if err := c.HandshakeContext(in.ctx); err != nil {
			if t.wantsTLS(err) {
				return 0, conn, r, fault.New(fault.Invalid, "accept", "", "it is set up without TLS, and this node with it")
			}
			return 0, conn, r, fault.New(fault.Unauthorized, "accept", "", "TLS: %w", err)
		}
		if exported, err = export(c); err != nil {
			return 0, conn, r, err
		}
	}
	r = newChunkReader(conn, readBuffer)
	known := func(node uint64) bool {
		return node == 0 && t.answers.Load() != nil || (*t.peers.Load())[node] != nil
	}
	check := func(node uint64) error { return t.checkCert(node, conn) }
	from, code, err := t.id.accept(struct {
		io.Reader
		io.Writer
	}{r.from, conn}, exported, known, check)
	if code != 0 {
		t.stats.refused[code].Add(1)
	}
	return from, conn, r, err
}

// wantsTLS says to a node that it should speak TLS, if that is why its handshake failed.
func (t *TCP) wantsTLS(err error) bool {
	var plain tls.RecordHeaderError
	if !errors.As(err, &plain) || plain.Conn == nil || !strings.HasPrefix(handshakeMagic, string(plain.RecordHeader[:])) {
		return false
	}
	t.stats.refused[refusedPlain].Add(1)
	_, _ = plain.Conn.Write(challenge{code: refusedPlain, node: t.cfg.Self}.append(nil)) // it may have gone
	return true
}

// refuse tells of a connection that did not prove who is there: once for each peer, or address.
func (t *TCP) refuse(p *peer, in *incoming, err error) {
	if c := context.Cause(in.ctx); c != nil {
		err = c
	}
	if fault.Is(err, fault.Unavailable) {
		return
	}
	t.stats.unproven.Add(1)
	if p != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.failLocked(&p.heard, plain(err), "connection refused that says it is a node's", err, "addr", in.addr)
		return
	}
	host, _, _ := net.SplitHostPort(in.addr)
	t.tell(host+": "+plain(err), "connection refused that is no node's", "addr", in.addr, "err", plain(err))
}

// tell logs what it has not logged before, up to a bound.
func (t *TCP) tell(key, msg string, args ...any) {
	t.mu.Lock()
	known := t.told[key] || len(t.told) >= strangersMax
	if !known {
		t.told[key] = true
	}
	t.mu.Unlock()
	if !known {
		t.cfg.Log.Warn(msg, args...)
	}
}

// look ends the connection when nothing has come since the last look: the other end pings.
func (in *incoming) look() {
	if !in.heard.Swap(false) {
		in.cancel(errSilent)
		return
	}
	in.p.mu.Lock()
	defer in.p.mu.Unlock()
	if in.ctx.Err() == nil {
		in.watch = in.p.t.cfg.Clock.AfterFunc(silenceMax, in.look)
	}
}

// frameRefused is logged once for a connection, or a frame could fill the log.
const frameRefused = "frame of a node refused"

// receive gives what comes to the receivers, until the connection ends.
func (in *incoming) receive(conn net.Conn, r chunkReader) error {
	p, t := in.p, in.p.t
	var frames assembly
	var answer []byte
	for {
		c, err := r.next()
		if err != nil {
			return err
		}
		in.heard.Store(true)
		p.counts.bytesIn.Add(uint64(chunkHeader + len(c.body)))
		if c.channel == control {
			if len(c.body) == pingLen && c.body[0] == ping {
				c.body[0] = pong
				answer = appendChunk(answer[:0], chunk{channel: control, body: c.body})
				if _, err := conn.Write(answer); err != nil {
					return err
				}
			}
			continue
		}
		frame, done, err := frames.add(c)
		if err != nil {
			return fault.New(fault.Invalid, "receive", "", "%w", err)
		}
		if !done {
			continue
		}
		p.counts.framesIn.Add(1)
		if in.ctx.Err() != nil {
			return nil
		}
		receive := t.receivers[c.channel].Load()
		if receive == nil {
			p.counts.unheard.Add(1)
			continue
		}
		if err := (*receive)(p.id, frame); err != nil {
			p.counts.refused.Add(1)
			p.mu.Lock()
			p.failLocked(&p.heard, frameRefused, frameRefused, err, "channel", c.channel)
			p.mu.Unlock()
		}
	}
}
