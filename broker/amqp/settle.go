package amqp

import (
	"sort"

	"github.com/robustmq/rmq/broker/amqpwire"
	"github.com/robustmq/rmq/broker/kernel"
)

// pending is a delivery that was not acknowledged. src is nil once it was.
type pending struct {
	tag uint64
	no  uint64 // the kernel's number, in src
	src *source
}

// unacked holds the deliveries of a channel that were not acknowledged, by tag. How many
// there can be is bounded by the queues (queue.WindowMax for each attachment).
type unacked struct {
	list []pending // list[head:], in order of tag
	head int
	live int
}

func (u *unacked) push(p pending) {
	u.list = append(u.list, p)
	u.live++
}

// take removes one delivery, or, multiple, all up to it; 0 means all there are. ok false:
// there is no such delivery, and nothing was removed.
func (u *unacked) take(dst []pending, tag uint64, multiple bool) (_ []pending, ok bool) {
	if multiple && tag == 0 {
		for _, p := range u.list[u.head:] {
			if p.src != nil {
				dst = append(dst, p)
			}
		}
		*u = unacked{list: u.list[:0]}
		u.shrink()
		return dst, true
	}
	rest := u.list[u.head:]
	i := sort.Search(len(rest), func(i int) bool { return rest[i].tag >= tag })
	if i == len(rest) || rest[i].tag != tag || rest[i].src == nil {
		return dst, false
	}
	first := i
	if multiple {
		first = 0
	}
	for j := first; j <= i; j++ {
		if rest[j].src != nil {
			dst = append(dst, rest[j])
			rest[j].src = nil
			u.live--
		}
	}
	u.trim()
	return dst, true
}

// trim forgets what is acknowledged at the head, and everywhere once that is most of it.
func (u *unacked) trim() {
	if u.live == 0 {
		u.list, u.head = u.list[:0], 0
		u.shrink()
		return
	}
	for u.list[u.head].src == nil {
		u.head++
	}
	if n := len(u.list); n < 64 || n < 2*u.live {
		return
	}
	kept := u.list[:0]
	for _, p := range u.list[u.head:] {
		if p.src != nil {
			kept = append(kept, p)
		}
	}
	clear(u.list[len(kept):])
	u.list, u.head = kept, 0
}

// shrink gives up the memory of an empty list that was long.
func (u *unacked) shrink() {
	const keep = 4096
	if cap(u.list) > keep {
		u.list = nil
	}
}

// all returns what is not acknowledged.
func (u *unacked) all() []pending {
	var out []pending
	for _, p := range u.list[u.head:] {
		if p.src != nil {
			out = append(out, p)
		}
	}
	return out
}

// put takes deliveries back that a transaction had acknowledged.
func (u *unacked) put(ps []pending) {
	list := append(u.all(), ps...)
	sort.Slice(list, func(i, j int) bool { return list[i].tag < list[j].tag })
	*u = unacked{list: list, live: len(list)}
}

// run is a row of deliveries of one source that were settled alike and are still to be
// told to the kernel.
type run struct {
	from, to uint64 // 0: there is none
	outcome  kernel.Outcome
	listed   bool // in deliveries.settles
}

// settlement handles basic.ack, nack and reject.
func (ch *channel) settlement(id amqpwire.MethodID, s amqpwire.Settlement) *failure {
	if ch.closing.Load() {
		return nil
	}
	inTx := ch.inTx.Load() // then we serve the channel; see methodFrame
	ch.mu.Lock()
	var ok bool
	ch.picked, ok = ch.unacked.take(ch.picked[:0], s.Tag, s.Multiple)
	if !ok {
		ch.mu.Unlock()
		return preconditionFailed("unknown delivery tag %d", s.Tag)
	}
	if !inTx {
		ch.settledLocked(ch.picked)
	}
	traced := len(ch.traced) > 0
	ch.mu.Unlock()

	outcome := outcomeOf(id, s.Requeue)
	n := uint64(len(ch.picked))
	switch outcome {
	case kernel.Accept:
		ch.c.s.stats.Acked.Add(n)
	case kernel.Reject:
		ch.c.s.stats.Rejected.Add(n)
	default:
		ch.c.s.stats.Requeued.Add(n)
	}
	if traced {
		ch.traceSettled(id, ch.picked, outcome)
	}
	if inTx {
		ch.txSettle(ch.picked, outcome)
		return nil
	}
	if len(ch.settles) == 0 && n > 0 {
		ch.c.settling = append(ch.c.settling, ch)
	}
	for i := range ch.picked {
		ch.gather(ch.picked[i].src, ch.picked[i].no, outcome)
	}
	clear(ch.picked)
	return nil
}

// outcomeOf says what a settlement means to the queue. As in RabbitMQ, only reject counts
// against a delivery limit: nack is how a client gives back what it did not try.
func outcomeOf(id amqpwire.MethodID, requeue bool) kernel.Outcome {
	switch {
	case id == amqpwire.IDBasicAck:
		return kernel.Accept
	case !requeue:
		return kernel.Reject
	case id == amqpwire.IDBasicReject:
		return kernel.Requeue
	default:
		return kernel.Release
	}
}

// settledLocked makes room for what was settled. Caller holds channel.mu.
func (ch *channel) settledLocked(ps []pending) {
	for i := range ps {
		src := ps[i].src
		src.outstanding--
		if src.cons != nil {
			ch.sum--
			src.cons.markLocked()
		}
	}
	if ch.global > 0 && len(ps) > 0 {
		for _, cs := range ch.consumers {
			cs.markLocked()
		}
	}
}

// gather adds one settlement to the run of its source.
func (ch *channel) gather(src *source, no uint64, o kernel.Outcome) {
	r := &src.run
	if r.from != 0 && r.outcome == o && no == r.to+1 {
		r.to = no
		return
	}
	if r.from != 0 {
		src.settleRun()
	}
	r.from, r.to, r.outcome = no, no, o
	if !r.listed {
		r.listed = true
		ch.settles = append(ch.settles, src)
	}
}

// flushSettles tells the kernel what was gathered. Called by the reader.
func (ch *channel) flushSettles() {
	for i, src := range ch.settles {
		src.settleRun()
		src.run.listed = false
		ch.settles[i] = nil
	}
	ch.settles = ch.settles[:0]
}

// settleRun tells the kernel of a run: in one word when nothing before it is unsettled.
func (src *source) settleRun() {
	r := &src.run
	from, to := r.from, r.to
	r.from, r.to = 0, 0
	if from == 0 {
		return
	}
	if from == to || !src.first(to) {
		for no := from; no <= to; no++ {
			src.att.Settle(no, false, r.outcome)
		}
		return
	}
	src.att.Settle(to, true, r.outcome)
}

// first tells whether all that src has unsettled comes after no. It may say false when that
// would take long to find out.
func (src *source) first(no uint64) bool {
	const lookMax = 64
	ch := src.ch
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if src.outstanding == 0 {
		return true
	}
	u := &ch.unacked
	for i, p := range u.list[u.head:] {
		if p.src == src {
			return p.no > no
		}
		if i == lookMax {
			return false
		}
	}
	return true
}

// recover gives back everything that was not acknowledged. May be called by whoever serves
// the channel.
func (ch *channel) recover() {
	ch.mu.Lock()
	all, _ := ch.unacked.take(nil, 0, true)
	ch.settledLocked(all)
	traced := len(ch.traced) > 0
	ch.mu.Unlock()
	if traced {
		ch.traceSettled(amqpwire.IDBasicRecover, all, kernel.Release)
	}
	ch.c.s.stats.Requeued.Add(uint64(len(all)))
	for _, p := range all {
		p.src.att.Settle(p.no, false, kernel.Release)
	}
}
