package kafka

import (
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
)

// A Produce request for a partition whose shard is crowded is held: its connection is not read
// meanwhile, as Kafka mutes one, and every other connection goes on. It is held for as long as
// the client said that it would wait, and then answered REQUEST_TIMED_OUT; what does not fit
// in heldBytesMax is answered NOT_ENOUGH_REPLICAS at once. Producers try both again, and
// nothing of the batch is stored. As long as a shard is crowded, answers ask for throttleFor of silence (KIP-219).
const (
	heldBytesMax = 256 << 20        // bytes of requests that are held, of all connections
	heldFor      = 30 * time.Second // link time, at most
	throttleFor  = 100 * time.Millisecond
)

// hold is one request that waits at the kernel's door; owned by the connection's goroutine.
type hold struct {
	over  chan struct{} // closed when it has waited long enough; nil: it never waited
	timer clock.Timer   // that closes it
	err   error         // it has, or was not to wait: so ends what of it is not let in
}

// append hands one batch to the kernel, and waits at its door for as long as it may.
func (p *produce) append(part *producePart, reply kernel.Appended) error {
	err := part.to.Append(part.batch, p.acks, reply, uint64(part.place))
	for err != nil && p.hold.err == nil {
		room := p.c.srv.kernel.Room()
		if err = part.to.Append(part.batch, p.acks, reply, uint64(part.place)); err != nil {
			p.hold.err = p.await(room)
		}
	}
	if err != nil {
		err = p.hold.err
	}
	return err
}

// await waits for room. The error is why the request waits no longer.
func (p *produce) await(room <-chan struct{}) error {
	if p.timeout <= 0 {
		return fault.Of(fault.Timeout, "wait for room", "")
	}
	s := p.c.srv
	defer s.Stats.HeldBytes.Add(-int64(p.size))
	if s.Stats.HeldBytes.Add(int64(p.size)) > heldBytesMax {
		return fault.New(fault.Exhausted, "wait for room", "", "%d bytes of requests are held", heldBytesMax)
	}
	if p.hold.over == nil {
		over := make(chan struct{})
		p.hold.over = over
		p.hold.timer = s.cfg.Link.AfterFunc(min(p.timeout, heldFor), func() { close(over) })
	}
	s.Stats.Held.Add(1)
	defer s.Stats.Held.Add(-1)
	select {
	case <-room:
		return nil
	case <-p.hold.over:
		return fault.Of(fault.Timeout, "wait for room", "")
	case <-p.c.ctx.Done():
		return fault.Of(fault.Unavailable, "wait for room", "")
	}
}

// endHold forgets that the request was held.
func (p *produce) endHold() {
	if p.hold.timer != nil {
		p.hold.timer.Stop()
	}
	p.hold = hold{}
}

// throttle asks the client to be silent for a while, if it produces to what is crowded.
func (p *produce) throttle() {
	if p.h.version < 1 {
		return
	}
	if p.silent > 0 {
		throttleFrame(p.frame, p.throttleAt, p.silent)
	}
	if p.c.srv.kernel.Crowded() == 0 {
		return
	}
	for i := range p.parts {
		if to := p.parts[i].to; to != nil && to.Crowded() {
			throttleFrame(p.frame, p.throttleAt, throttleFor)
			return
		}
	}
}
