package amqp

import (
	"context"

	"github.com/robustmq/rmq/broker/amqpwire"
)

// Publisher confirms. Publishes are numbered as they are handed to the kernel, and each
// has an entry in a ring until it is over: answered, and, on a channel in confirm mode,
// told to the client. Whatever was answered in a row since the last flush is told in
// one frame with multiple set; what was answered out of turn, because it went to another
// shard, is told alone and not held back.

// confirmSelect puts the channel in confirm mode: delivery tags count from here.
func (ch *channel) confirmSelect() {
	if ch.confirming {
		return
	}
	ch.confirming = true
	ch.pubMu.Lock()
	ch.zero = ch.last
	ch.pubMu.Unlock()
}

// number gives the next publish its number.
func (p *pub) number(size int, b *bounce) uint64 {
	p.pubMu.Lock()
	defer p.pubMu.Unlock()
	p.last++
	if p.last-p.base >= uint64(len(p.ring)) {
		p.growRing()
	}
	*p.slot(p.last) = answered{size: int32(size), bounce: b}
	return p.last
}

// takeBack forgets the newest publish: it was not handed over after all.
func (p *pub) takeBack() {
	p.pubMu.Lock()
	defer p.pubMu.Unlock()
	*p.slot(p.last) = answered{}
	p.last--
}

func (p *pub) slot(n uint64) *answered { return &p.ring[n&uint64(len(p.ring)-1)] }

// growRing doubles the ring. Its length is bounded by publishWindow / publishOverhead.
func (p *pub) growRing() {
	old := p.ring
	p.ring = make([]answered, max(2*len(old), 16))
	for n := p.base; n < p.last; n++ {
		*p.slot(n) = old[n&uint64(len(old)-1)]
	}
}

// answer notes the outcome of publish n, and returns its size in the window. nobody: no
// one took it. news: there is something to flush.
func (ch *channel) answer(n uint64, ok, nobody bool) (size int32, news bool) {
	ch.pubMu.Lock()
	defer ch.pubMu.Unlock()
	e := ch.slot(n)
	size = e.size
	if e.bounce != nil {
		if nobody {
			ch.sendReturn(e.bounce)
			news = true
		}
		e.bounce = nil
	}
	e.state = took
	if !ok {
		e.state = refused
	}
	inTurn := n == ch.front
	for ch.front <= ch.last && ch.slot(ch.front).state != unanswered {
		ch.front++
	}
	if n <= ch.zero {
		if !ok {
			ch.c.s.stats.Refused.Add(1)
		}
		ch.passUnconfirmed()
		return size, news
	}
	if !inTurn {
		ch.late = append(ch.late, n)
	}
	if !ch.dirty {
		ch.dirty = true
		ch.c.markConfirms(ch)
	}
	return size, true
}

// answeredAll waits until the kernel has answered all that was published so far, so that what
// follows sees its effects. Called by whoever serves the channel.
func (ch *channel) answeredAll(ctx context.Context) {
	ch.pubMu.Lock()
	last := ch.last
	ch.pubMu.Unlock()
	defer context.AfterFunc(ctx, ch.c.signal)()
	ch.c.waitFor(func() bool {
		ch.pubMu.Lock()
		defer ch.pubMu.Unlock()
		return ch.front > last || ctx.Err() != nil
	})
}

// tellConfirms puts what is to be told in the outbox now, in front of what follows.
func (ch *channel) tellConfirms() {
	if b := ch.appendConfirms(nil); len(b) > 0 && !ch.closing.Load() {
		ch.c.hold(func(dst []byte) []byte { return append(dst, b...) })
	}
}

// passUnconfirmed is over and done with what was published before confirm mode.
func (p *pub) passUnconfirmed() {
	for p.base < p.front && p.base <= p.zero {
		p.base++
	}
}

// appendConfirms appends what is to be told.
func (ch *channel) appendConfirms(dst []byte) []byte {
	ch.pubMu.Lock()
	defer ch.pubMu.Unlock()
	ch.dirty = false
	ch.passUnconfirmed()
	for ch.base < ch.front {
		// A run is of one outcome, and may pass over what was told with that outcome.
		outcome, untold, end := unanswered, 0, uint64(0)
		n := ch.base
	run:
		for ; n < ch.front; n++ {
			switch st := ch.slot(n).state; {
			case st == took || st == refused:
				if outcome != unanswered && (st != outcome || ch.single) {
					break run
				}
				outcome, end = st, n
				untold++
			case outcome != unanswered && st != outcome.told():
				break run
			}
		}
		ch.base = n
		if untold > 0 {
			dst = ch.appendConfirm(dst, end, outcome, untold)
		}
	}
	for _, n := range ch.late {
		if n < ch.base {
			continue
		}
		e := ch.slot(n)
		dst = ch.appendConfirm(dst, n, e.state, 1)
		e.state = e.state.told()
	}
	ch.late = ch.late[:0]
	return dst
}

func (a answer) told() answer {
	if a == took {
		return toldAck
	}
	return toldNack
}

// appendConfirm tells of publish n, and, when there are more, of those before it.
func (ch *channel) appendConfirm(dst []byte, n uint64, a answer, count int) []byte {
	if a == took {
		ch.c.s.stats.Confirmed.Add(uint64(count))
		return amqpwire.AppendAck(dst, ch.id, n-ch.zero, count > 1)
	}
	ch.c.s.stats.Nacked.Add(uint64(count))
	return amqpwire.AppendNack(dst, ch.id, n-ch.zero, count > 1)
}
