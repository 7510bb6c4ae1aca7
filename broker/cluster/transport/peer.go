package transport

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/fault"
)

// peerState is how far this node is with reaching a peer.
type peerState uint8

const (
	idle    peerState = iota // nothing was sent to it yet
	dialing                  // a connection is being made: frames wait for it
	open                     // it is there
	resting                  // it failed, and is tried again later: frames are dropped
	ended                    // the peer was removed, or this node has closed
)

// peer is another node, as this one sees it.
//
// From the first frame on a connection to it is kept: a new one is made when one ends. Frames
// wait while that is under way, and are dropped between two attempts: what was sent to a node
// that was away is of no use to it later, and raft sends again.
//
// Ownership: mu guards all below it. counts are atomic.
type peer struct {
	t      *TCP
	id     uint64
	counts counts

	receiving chan struct{} // capacity 1; full: a connection calls the receivers

	mu       sync.Mutex
	addr     string
	state    peerState
	queue    queue
	out      *outgoing // with dialing and open
	in       *incoming // nil: it is not connected to us
	failures int       // in a row
	retry    clock.Timer
	said     told // of connections to it
	heard    told // of connections from it
}

// told is what went wrong last, and whether it was logged.
type told struct {
	err    string
	at     time.Time
	logged string // by its key
}

func newPeer(t *TCP, id uint64, addr string) *peer {
	return &peer{t: t, id: id, addr: addr, receiving: make(chan struct{}, 1)}
}

// send queues a frame, and sees to it that somebody writes it.
func (p *peer) send(channel byte, frame []byte) {
	p.mu.Lock()
	if p.state == idle {
		p.dialLocked()
	}
	if p.state == resting || p.state == ended || len(frame) > FrameMax || !p.queue.push(channel, frame, p.t.cfg.WaitingMax) {
		p.mu.Unlock()
		p.counts.dropped.Add(1)
		return
	}
	p.out.wakeLocked()
	p.mu.Unlock()
}

// dialLocked begins to make a connection.
func (p *peer) dialLocked() {
	o := newOutgoing(p)
	if o.ctx.Err() != nil {
		p.state = ended
		return
	}
	p.state, p.out, p.retry = dialing, o, nil
	p.t.running.Go(func() {
		p.lost(o, o.run())
	})
}

// lost follows the end of a connection to the peer, or of the attempt to make one.
func (p *peer) lost(o *outgoing, err error) {
	now := p.t.cfg.Clock.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts.dropped.Add(uint64(p.queue.clear()))
	p.out = nil
	if p.state == ended {
		return
	}
	msg := "node cannot be reached"
	if !o.since.IsZero() {
		msg = "connection to node lost"
		if now.Sub(o.since) >= steadyAfter {
			p.failures = 0
		}
	}
	p.failLocked(&p.said, plain(err), msg, err, "addr", p.addr)
	p.failures++
	p.state = resting
	p.retry = p.t.cfg.Clock.AfterFunc(backoff(p.failures), p.redial)
}

// backoff is how long to wait after so many failures.
func backoff(failures int) time.Duration {
	d := min(redialMin<<min(failures-1, 16), redialMax)
	return d/2 + rand.N(d/2)
}

// redial tries again: its time has come, or there is a sign that it will succeed.
func (p *peer) redial() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.redialLocked()
}

func (p *peer) redialLocked() {
	if p.state == resting {
		p.retry.Stop()
		p.dialLocked()
	}
}

// move follows a change of the peer's address.
func (p *peer) move(addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.addr == addr {
		return
	}
	p.addr, p.failures = addr, 0
	if p.out != nil {
		p.out.cancel(errMoved)
	}
	p.redialLocked()
}

// end lets go of a peer for good.
func (p *peer) end(why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state = ended
	p.counts.dropped.Add(uint64(p.queue.clear()))
	if p.retry != nil {
		p.retry.Stop()
	}
	if p.out != nil {
		p.out.cancel(why)
	}
	if p.in != nil {
		p.in.cancel(why)
	}
}

// arrive takes in a connection from the peer, in place of an earlier one. What a peer sends is
// received by one goroutine at a time: so it waits until the earlier one calls no receiver any
// more. depart is to be called after it, whatever it returns.
func (p *peer) arrive(in *incoming) error {
	p.mu.Lock()
	if p.state == ended {
		p.mu.Unlock()
		return errRemoved
	}
	if p.in != nil {
		p.in.cancel(errNewer)
	}
	p.in = in
	p.heard.logged = ""
	p.redialLocked() // it runs
	p.mu.Unlock()
	select {
	case p.receiving <- struct{}{}:
		in.receives = true
		return nil
	case <-in.ctx.Done():
		return context.Cause(in.ctx)
	}
}

// depart follows the end of a connection from the peer.
func (p *peer) depart(in *incoming) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.in == in {
		p.in = nil
	}
	if in.receives {
		<-p.receiving
	}
}

// failLocked keeps what went wrong, and logs it unless the last thing it logged had that key.
func (p *peer) failLocked(w *told, key, msg string, err error, args ...any) {
	text := plain(err)
	w.err, w.at = text, p.t.cfg.Clock.Now()
	if w.logged == key || fault.Is(err, fault.Unavailable) { // what we do ourselves is no news
		return
	}
	w.logged = key
	p.t.cfg.Log.Warn(msg, append([]any{"node", p.id, "err", text}, args...)...)
}
