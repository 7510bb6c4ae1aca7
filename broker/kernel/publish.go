package kernel

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel/meta"
	"github.com/robustmq/rmq/broker/kernel/route"
	"github.com/robustmq/rmq/broker/kernel/shard"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/record"
)

// Publish routes one message. What it needs of p it has copied when it returns. It must not be
// called from a Sink or a Publisher. It does not wait for the disk, except to make a stream
// that captures the message.
//
// An error says that the publish was refused and nothing has happened: Reply is not told.
// fault.Full: there is no space on the device. fault.Exhausted: a shard that it is for is
// crowded. The caller keeps it and tries again when OnRefusal tells, or Room. A publish that
// nobody waits for is then given to who is connected, as QoS 0 is without a log, and is not
// refused.
func (k *Kernel) Publish(p *Publish) error { return k.publish(p, true) }

// Wanted tells whether a session is subscribed to an address, alone or in a share.
func (k *Kernel) Wanted(ns, address string) bool {
	sp := k.topo.space(ns)
	k.topo.mu.RLock()
	defer k.topo.mu.RUnlock()
	return len(sp.subs.Match(nil, route.Slashed(address))) > 0
}

// PublishWait is Publish for a caller that may be held up: it tries again until there is room, or
// ctx ends.
func (k *Kernel) PublishWait(ctx context.Context, p *Publish) error {
	return k.tryAgain(ctx, func() error { return k.Publish(p) })
}

// NameMax bounds, in bytes, the names that become keys of a checkpoint: of sessions, shared
// subscriptions, groups and retained messages, each with its namespace.
const NameMax = meta.MaxKey

// MessageMax bounds the bytes of one message; a transaction's messages have as much
// together.
const MessageMax = 32 << 20

// publish is Publish; door false: it is let in whatever waits.
func (k *Kernel) publish(p *Publish, door bool) error {
	m := &p.Msg
	if n := m.Size(); n > MessageMax {
		if p.Reply != nil {
			p.Reply.Published(p.Tag, PublishResult{Err: fault.New(fault.TooLarge, "publish", m.Address, "%d bytes, %d at most", n, MessageMax)})
		}
		return nil
	}
	if n := len(p.Namespace) + len(m.Address); m.Retain && n > NameMax {
		if p.Reply != nil {
			p.Reply.Published(p.Tag, PublishResult{Err: fault.New(fault.TooLarge, "retain", "", "address of %d bytes, %d at most", n, NameMax)})
		}
		return nil
	}
	if m.Time == 0 {
		m.Time = k.nowMs()
	}
	sp := k.topo.space(p.Namespace)
	r := k.resolve(sp, p)
	shed := false
	if door {
		err := k.admit(p, r)
		switch {
		case err == nil:
		case p.PacketID != 0 && p.From != nil && p.From.holds(p.PacketID): // a repeat
		default:
			if p.Reply != nil {
				if fault.Is(err, fault.Full) {
					k.stats.Refused.Add(1)
				}
				return err
			}
			shed = true
		}
	}
	if !p.again && !p.Here {
		k.stats.in(m.Source, 1, len(m.Value))
		k.taps.show(p.Namespace, m)
	}
	if !r.found {
		if p.Reply != nil {
			p.Reply.Published(p.Tag, PublishResult{NoExchange: true})
		}
		return nil
	}
	if r.err != nil {
		if p.Reply != nil {
			p.Reply.Published(p.Tag, PublishResult{Err: r.err})
		}
		return nil
	}
	if k.ills.Load() > 0 {
		if err := r.takesAll(); err != nil {
			if p.Reply != nil {
				p.Reply.Published(p.Tag, PublishResult{Err: err})
			}
			return nil
		}
	}
	if p.dead {
		r = k.withoutCycles(sp, r, m)
	}
	res := PublishResult{Queues: len(r.queues)}
	exactlyOnce := p.PacketID != 0 && p.From != nil
	var rc *receipt
	if exactlyOnce {
		if rc = p.From.receiving(p, res); rc == nil {
			return nil // a repeat of what is stored, or on its way
		}
	}
	if shed {
		k.stats.Shed.Add(1)
		k.deliverLive(p, r, &res)
		return nil
	}
	late := m.Delay > 0
	logged := late
	if late {
		res = PublishResult{Queues: 1} // where it waits: nobody knows yet who will have it
	} else {
		if m.Retain {
			k.slot(p.Namespace, m.Address).retaining.begin() // retain ends it
		}
		logged = k.deliverLive(p, r, &res)
	}
	if !m.Retain && !logged && !exactlyOnce {
		rec := k.recorders.ofPublish(p)
		rec.placed()
		rec.end(true)
		if p.Reply != nil {
			p.Reply.Published(p.Tag, res)
		}
		return nil
	}
	op := publishes.Get().(*publishOp)
	op.reply, op.tag, op.res, op.waiting = p.Reply, p.Tag, res, 1
	rec := k.recorders.ofPublish(p)
	op.recorded = rec
	if exactlyOnce {
		op.from, op.packetID = p.From, p.PacketID
	}
	if late {
		k.delay(p, op, rc)
	} else {
		for i := range r.logged {
			k.append(p, r, &r.logged[i], op, rc)
		}
		if m.Retain {
			k.retain(p, op, rc)
		}
	}
	switch {
	case !exactlyOnce:
	case rc.apart:
		op.unnoted = true // until the last shard has it
	default: // it follows what it speaks of in one log
		p.From.incoming(p.PacketID, op)
	}
	rec.placed()
	op.applied(nil, nil, nil) // the one that was counted while shards were added
	return nil
}

// resolve finds who is to have the message, and makes its home when capture asks for one.
func (k *Kernel) resolve(sp *space, p *Publish) *resolved {
	m := &p.Msg
	r := k.routed(sp, p, nil)
	if r.home == nil && r.err == nil && k.cfg.Capture && !p.held && m.Source != message.Kafka && r.found && message.Capturable(m.Address) {
		switch made, err := k.capture(sp.name, m.Address); {
		case err != nil:
			return &resolved{found: true, err: err}
		case made:
			return k.resolve(sp, p)
		}
	}
	return r
}

// routed finds who is to have the message, as things are. why is told how, unless it is nil.
func (k *Kernel) routed(sp *space, p *Publish, why *reasons) *resolved {
	m := &p.Msg
	if !p.ViaExchange {
		if why == nil {
			return k.byAddress(sp, m.Address, m.Headers)
		}
		return k.findByAddress(sp, m.Address, m.Headers, why)
	}
	r := k.byKey(sp, p, p.Key, why)
	for _, key := range p.CC {
		r = k.merge(sp, r, k.byKey(sp, p, key, why), m.Address, why)
	}
	return r
}

// byKey is routed for one routing key.
func (k *Kernel) byKey(sp *space, p *Publish, key string, why *reasons) *resolved {
	if why == nil {
		return k.byExchange(sp, p.Exchange, key, p.Msg.Address, p.Msg.Headers)
	}
	return k.findByExchange(sp, p.Exchange, key, p.Msg.Address, p.Msg.Headers, why)
}

// withoutCycles leaves out the queues in which a dead letter died before without anybody
// having refused it: it would go round for ever.
func (k *Kernel) withoutCycles(sp *space, r *resolved, m *message.Message) *resolved {
	deaths := message.Deaths(m.Headers)
	out := &resolved{found: r.found}
	for _, q := range r.bound {
		if !message.DeathCycle(deaths, q.spec.Name) {
			out.bound = append(out.bound, q)
		}
	}
	if len(out.bound) == len(r.bound) {
		return r
	}
	k.complete(sp, out, m.Address, nil)
	return out
}

// captureMax bounds how long the first publish to an address waits, and its connection with it, for the
// stream that is made for it: without a majority of the nodes it would for ever.
const captureMax = 10 * time.Second

// capture makes the stream of the first level, and tells whether the address has a home now.
func (k *Kernel) capture(ns, address string) (made bool, err error) {
	first := message.FirstLevel(address)
	ctx, cancel := context.WithTimeout(k.ctx, captureMax)
	defer cancel()
	select { // one maker at a time: the others find it made
	case k.capturing <- struct{}{}:
		defer func() { <-k.capturing }()
	case <-ctx.Done():
		return false, fault.New(fault.Timeout, "capture", first, "%w", ctx.Err())
	}
	view := k.meta.view.Load()
	if _, ok := view.Stream(ns, first); !ok {
		if view.Captured() >= meta.MaxCapturedStreams {
			return false, nil
		}
		_, err := k.CreateStream(ctx, StreamSpec{
			Namespace: ns, Address: first, Partitions: 1, Captured: true, Config: map[string]string{
				"retention.bytes": captureBytes, "retention.ms": captureMs, "cleanup.policy": "delete",
			},
		})
		if err != nil && !fault.Is(err, fault.Exists) {
			return false, err
		}
	}
	_, made = k.home(ns, address) // not when an exact stream has the name
	return made, nil
}

// A captured stream is a ring: 256 MiB or one hour.
const (
	captureBytes = "268435456"
	captureMs    = "3600000"
)

// deliverLive gives the message to the sessions that are to have it at QoS 0 and are
// connected here, and tells whether any shard has to log it.
func (k *Kernel) deliverLive(p *Publish, r *resolved, res *PublishResult) (logged bool) {
	m := &p.Msg
	var elsewhere []uint64
	d := deliveries.Get().(*Delivery)
	for i := range r.subs {
		s := &r.subs[i]
		if p.own(s) {
			continue
		}
		res.Subscribers++
		if s.waits(m.QoS) {
			logged = true
			continue
		}
		if on := s.route.online.Load(); on != nil {
			*d = Delivery{Msg: m, Retain: m.Retain && s.retain, SubIDs: s.ids, Batch: p.Batch}
			on.deliver(d)
		} else if !p.relayed && !p.Here {
			elsewhere = k.elsewhere(elsewhere, s.route)
		}
	}
	if len(elsewhere) > 0 {
		from := ""
		if p.From != nil {
			from = p.From.route.client()
		}
		k.relay(elsewhere, p.Namespace, from, m)
	}
	*d = Delivery{}
	deliveries.Put(d)
	return logged || len(r.queues) > 0 || r.home != nil
}

// waits tells whether the session is given a message of that QoS from the log, when it is there: at
// QoS 0 it gets it now or never.
func (s *sessionMatch) waits(qos uint8) bool { return qos > 0 && s.qos > 0 }

// own tells whether a session is not to have the message, for it is its own and it asked so.
func (p *Publish) own(s *sessionMatch) bool {
	return s.noLocal && (p.From != nil && p.From.route == s.route || p.relayed && p.relayedFrom == s.route.client())
}

// append adds the message to one shard's next entry.
func (k *Kernel) append(p *Publish, r *resolved, sr *shardRoute, op *publishOp, rc *receipt) {
	m := &p.Msg
	if !sr.wants(m.QoS) {
		return
	}
	sessions := sr.sessions && m.QoS > 0
	stream := ""
	if sr.log != 0 {
		stream = r.home.Address
	}
	once := rc.at(sr.shard)
	op.add()
	if t := sr.shard.tail(sr.log); sr.log != 0 && t != nil {
		if err := t.whole(); err != nil {
			op.applied(nil, nil, err)
			return
		}
	}
	err := sr.shard.publish(func(g *pending) {
		batch, rec := addRecord(&g.b, sr.log, m, stream, once)
		w := op.telling(p, r, sr, rec)
		if len(sr.queues) == 0 && !sessions {
			g.await(batch, -1, w)
			return
		}
		rt := shard.Route{
			Batch: batch, Record: rec, Namespace: p.Namespace, Address: m.Address, Queues: sr.queues, Sessions: sessions,
			Size: uint32(len(m.Value)), ExpiresAt: m.ExpiresAt, Priority: m.Priority, QoS: m.QoS, Retain: m.Retain,
		}
		if p.From != nil {
			rt.From = p.From.route.client()
		}
		g.await(batch, g.b.Route(&rt), w)
	})
	if err != nil {
		op.applied(nil, nil, err)
	}
}

// telling is who is told that a shard has applied the message as record rec of its batch: op, after
// p.Told, if that is to know.
func (op *publishOp) telling(p *Publish, r *resolved, sr *shardRoute, rec int) waiter {
	if p.Told == nil {
		return op
	}
	at := Place{Shard: uint32(sr.shard.id), Log: sr.log}
	if sr.log != 0 {
		at.Stream, at.Partition = r.home.Address, r.part
	}
	return &toldOp{op: op, fn: p.Told, at: at, s: sr.shard, rec: int64(rec)}
}

// toldOp tells where a message rests.
type toldOp struct {
	op  *publishOp
	fn  func(Place)
	at  Place
	s   *shardRun
	rec int64
}

func (w *toldOp) applied(br *shard.BatchResult, or *shard.OpResult, err error) {
	if err == nil && br != nil && br.Err == nil {
		w.at.Entry, w.at.Offset = w.s.index, br.Base+w.rec
		w.fn(w.at)
	}
	w.op.applied(br, or, err)
}

var headerScratch = sync.Pool{New: func() any { s := make([]message.Header, 0, 32); return &s }}

// addRecord adds the message as a record of a log, and returns where it will be. once,
// when it is one, keeps the shard from storing it twice.
func addRecord(b *shard.Builder, log uint64, m *message.Message, stream string, once shard.Once) (batch, rec int) {
	h := headerScratch.Get().(*[]message.Header)
	*h = message.AppendRecordHeaders((*h)[:0], m, stream)
	var rb *record.Builder
	if once == (shard.Once{}) {
		rb, batch, rec = b.Open(log, m.Time)
	} else {
		rb, batch = b.OpenOnce(log, m.Time, once)
	}
	rb.Add(m.Time, message.RecordKey(m, stream), m.Value, *h...)
	clear(*h)
	headerScratch.Put(h)
	return batch, rec
}

// retain stores or clears the retained message of the address, in the address's shard.
func (k *Kernel) retain(p *Publish, op *publishOp, rc *receipt) {
	m := &p.Msg
	s := k.slot(p.Namespace, m.Address)
	rc.reaches(s) // and may do so twice: the value is the same
	op.add()
	w := &retainOp{op, s}
	err := s.publish(func(g *pending) {
		if len(m.Value) == 0 {
			g.await(-1, g.b.Retain(p.Namespace, m.Address, -1, 0, 0), w)
			return
		}
		batch, rec := addRecord(&g.b, shard.Bodies, m, "", shard.Once{})
		g.await(batch, g.b.Retain(p.Namespace, m.Address, batch, rec, m.ExpiresAt), w)
	})
	if err != nil {
		w.applied(nil, nil, err)
	}
}

// publishOp gathers what the shards say about one message.
type publishOp struct {
	reply    Publisher
	tag      uint64
	from     *Session // of a QoS 2 publish
	packetID uint16
	recorded *recorded // nil: nobody records it

	mu      sync.Mutex
	waiting int
	unnoted bool // its session is to note it once all shards have it
	unknown bool // what came of it in some shard
	res     PublishResult
}

var publishes = sync.Pool{New: func() any { return new(publishOp) }}

func (op *publishOp) add() {
	op.mu.Lock()
	op.waiting++
	op.mu.Unlock()
}

func (op *publishOp) applied(br *shard.BatchResult, or *shard.OpResult, err error) {
	op.mu.Lock()
	if err == nil && br != nil {
		err = br.Err
	}
	if err == nil && or != nil {
		err = or.Err
		op.res.Rejected = op.res.Rejected || or.Rejected
	}
	if err != nil && op.res.Err == nil {
		op.res.Err = err
	}
	if _, is := errors.AsType[unknown](err); is {
		op.unknown = true
	}
	op.waiting--
	last := op.waiting == 0
	note := last && op.unnoted && op.res.Err == nil
	if last {
		op.unnoted = false
	}
	op.mu.Unlock()
	switch {
	case note:
		op.from.incoming(op.packetID, op) // then this is called once more
		return
	case !last:
		return
	}
	reply, tag, res, from, id, unknown, rec := op.reply, op.tag, op.res, op.from, op.packetID, op.unknown, op.recorded
	op.reply, op.from, op.res, op.unknown, op.recorded = nil, nil, PublishResult{}, false, nil
	publishes.Put(op)
	rec.end(res.Err == nil)
	if from != nil {
		from.received(id, reply, tag, res, unknown)
	} else if reply != nil {
		reply.Published(tag, res)
	}
}

// merge joins the answers for several routing keys of one message.
func (k *Kernel) merge(sp *space, a, b *resolved, address string, why *reasons) *resolved {
	out := &resolved{found: a.found || b.found}
	seen := make(map[*queue]bool)
	for _, r := range [...]*resolved{a, b} {
		for _, q := range r.bound {
			if !seen[q] {
				seen[q] = true
				out.bound = append(out.bound, q)
			}
		}
	}
	k.complete(sp, out, address, why)
	return out
}

// appendRouted appends a Kafka batch whose records somebody else wants too, and tells
// whether that was so.
func (k *Kernel) appendRouted(p *Partition, batch record.Batch, acks int16, reply Appended, tag uint64, rec *recorded) bool {
	st := p.st
	sp := k.topo.space(st.Namespace)
	r := k.byAddress(sp, st.Address, nil)
	if len(r.queues) == 0 && len(r.subs) == 0 && !r.looked {
		return false
	}
	qos := uint8(1)
	if acks == 0 {
		qos = 0
	}
	k.deliverBatchLive(p, r, batch, qos)
	w := &appendMany{reply: reply, tag: tag, recorded: rec, waiting: 1, r: AppendResult{BaseOffset: -1, LogAppend: -1}}
	placed := false
	for i := range r.logged {
		sr := &r.logged[i]
		sessions := sr.sessions && qos > 0
		home := sr.shard == p.s
		if len(sr.queues) == 0 && !sessions && !home {
			continue
		}
		log := shard.Bodies
		if home {
			log, placed = p.log, true
		}
		w.add()
		err := sr.shard.publish(func(g *pending) {
			if !home {
				k.copyBatch(g, st, sr, batch, sessions, qos, w)
				return
			}
			b, o := g.b.Batch(log, batch), -1
			if len(sr.queues) > 0 || sessions {
				o = routeBatch(g, b, st, sr, batch, sessions, qos)
			}
			g.await(b, o, w.at(home))
		})
		if err != nil {
			w.applied(nil, nil, err)
		}
	}
	if !placed {
		w.add()
		if err := p.s.publish(func(g *pending) { g.await(g.b.Batch(p.log, batch), -1, w.at(true)) }); err != nil {
			w.applied(nil, nil, err)
		}
	}
	if r.looked {
		k.copyByHeaders(sp, st, r, batch, qos, w)
	}
	w.applied(nil, nil, nil)
	return true
}

// copyByHeaders adds those records of a Kafka batch whose headers a headers exchange wants
// to the queues that are not given the whole batch.
func (k *Kernel) copyByHeaders(sp *space, st *meta.Stream, whole *resolved, batch record.Batch, qos uint8, w *appendMany) {
	err := batch.Each(func(rec *record.Record) error {
		m := message.FromRecord(rec.Key, rec.Value, rec.Headers, rec.Time, st.Address, false)
		m.QoS = qos
		r := k.byAddress(sp, st.Address, m.Headers)
		for i := range r.logged {
			sr := &r.logged[i]
			only := slices.DeleteFunc(slices.Clone(sr.queues), func(id uint64) bool {
				return slices.ContainsFunc(whole.queues, func(q *queue) bool { return q.spec.ID == id })
			})
			if len(only) == 0 {
				continue
			}
			w.add()
			err := sr.shard.publish(func(g *pending) {
				b, i := addRecord(&g.b, shard.Bodies, &m, "", shard.Once{})
				g.await(b, g.b.Route(&shard.Route{
					Batch: b, Record: i, Namespace: st.Namespace, Address: st.Address, Queues: only,
					Size: uint32(len(m.Value)), ExpiresAt: m.ExpiresAt, Priority: m.Priority, QoS: qos,
				}), w)
			})
			if err != nil {
				w.applied(nil, nil, err)
			}
		}
		return nil
	})
	if err != nil {
		k.log.Warn("records not looked at for headers exchanges", "stream", st.Address, "err", err)
	}
}

// copyBatch adds the records of a Kafka batch to a shard that is not their home, each with
// its address, for there no stream's name says it. One answer counts for all of them: they
// are in one entry.
func (k *Kernel) copyBatch(g *pending, st *meta.Stream, sr *shardRoute, batch record.Batch, sessions bool, qos uint8, w *appendMany) {
	last := -1
	err := batch.Each(func(rec *record.Record) error {
		m := message.FromRecord(rec.Key, rec.Value, rec.Headers, rec.Time, st.Address, false)
		m.QoS = qos
		b, i := addRecord(&g.b, shard.Bodies, &m, "", shard.Once{})
		last = g.b.Route(&shard.Route{
			Batch: b, Record: i, Namespace: st.Namespace, Address: st.Address, Queues: sr.queues, Sessions: sessions,
			Size: uint32(len(m.Value)), ExpiresAt: m.ExpiresAt, Priority: m.Priority, QoS: qos,
		})
		return nil
	})
	if err != nil || last < 0 {
		last = g.b.Tick() // nothing to wait for but the entry
	}
	g.await(-1, last, w)
}

// deliverBatchLive gives the records of a Kafka batch to sessions at QoS 0.
func (k *Kernel) deliverBatchLive(p *Partition, r *resolved, batch record.Batch, qos uint8) {
	live := false
	for i := range r.subs {
		live = live || qos == 0 || r.subs[i].qos == 0
	}
	if !live {
		return
	}
	now := k.nowMs()
	var elsewhere []uint64
	_ = batch.Each(func(rec *record.Record) error {
		m := message.FromRecord(rec.Key, rec.Value, rec.Headers, rec.Time, p.st.Address, false)
		for i := range r.subs {
			s := &r.subs[i]
			if qos > 0 && s.qos > 0 || m.ExpiresAt != 0 && m.ExpiresAt <= now {
				continue
			}
			if on := s.route.online.Load(); on != nil {
				on.deliver(&Delivery{Msg: &m, SubIDs: s.ids})
			} else {
				elsewhere = k.elsewhere(elsewhere, s.route)
			}
		}
		if len(elsewhere) > 0 {
			m.QoS = qos
			k.relay(elsewhere, p.st.Namespace, "", &m)
			elsewhere = elsewhere[:0]
		}
		return nil
	})
}

// appendMany answers an append that several shards have to see.
type appendMany struct {
	reply    Appended
	tag      uint64
	recorded *recorded

	mu      sync.Mutex
	waiting int
	r       AppendResult
}

func (w *appendMany) add() {
	w.mu.Lock()
	w.waiting++
	w.mu.Unlock()
}

// at returns the waiter for one shard: the home shard's answer has the offset.
func (w *appendMany) at(home bool) waiter {
	if home {
		return (*appendHome)(w)
	}
	return w
}

type appendHome appendMany

func (w *appendHome) applied(br *shard.BatchResult, or *shard.OpResult, err error) {
	if br != nil {
		w.mu.Lock()
		w.r.BaseOffset, w.r.LogStart, w.r.Duplicate = br.Base, br.Start, br.Duplicate
		w.mu.Unlock()
	}
	(*appendMany)(w).applied(br, or, err)
}

func (w *appendMany) applied(br *shard.BatchResult, or *shard.OpResult, err error) {
	w.mu.Lock()
	if err == nil && br != nil {
		err = br.Err
	}
	if err == nil && or != nil {
		err = or.Err
	}
	if err != nil && w.r.Err == nil {
		w.r.Err = err
	}
	w.waiting--
	last := w.waiting == 0
	w.mu.Unlock()
	if last {
		w.recorded.end(w.r.committed())
	}
	if last && w.reply != nil {
		w.reply.Appended(w.tag, w.r)
	}
}

// SettleOp is one acknowledgement inside a transaction.
type SettleOp struct {
	Attachment *Attachment
	No         uint64
	Outcome    Outcome
}

// Commit publishes and settles as one AMQP transaction: what goes to one shard is one
// entry, so it is atomic there.
func (k *Kernel) Commit(ctx context.Context, ps []*Publish, settles []SettleOp) ([]PublishResult, error) {
	return k.commit(ctx, ps, settles)
}
