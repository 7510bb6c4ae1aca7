package kernel

import (
	"strconv"
	"sync"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel/meta"
	qm "github.com/robustmq/rmq/broker/kernel/queue"
	"github.com/robustmq/rmq/broker/kernel/shard"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/record"
)

// effects carries out what an entry asks for. Called by the applying goroutine: nothing
// in here waits.
func (s *shardRun) effects() {
	for i := range s.out.Effects {
		e := &s.out.Effects[i]
		if !s.live && e.Kind != shard.Free && e.Kind != shard.LogCreated && e.Kind != shard.LogDeleted && e.Kind != shard.LogTrimmed {
			continue // a replay: nobody is there to be told
		}
		switch e.Kind {
		case shard.Deliver:
			s.deliver(e)
		case shard.Resend:
			if a := s.k.attachment(e.Attachment); a != nil && a.session != nil {
				a.session.resend(e.PacketID)
			}
		case shard.Free:
			if t := s.tail(e.Log); t != nil {
				t.free(e.Offset)
			}
			s.k.upkeep.wake(s.k)
		case shard.LogCreated:
			s.addTail(e.Log, e.Key, 0, 0)
		case shard.LogDeleted:
			s.dropTail(e.Log)
		case shard.LogTrimmed:
			if t := s.tail(e.Log); t != nil {
				t.trim(e.Offset, s.m.Keep(e.Log))
			}
			s.k.upkeep.wake(s.k)
		case shard.DeadLetter:
			if s.leads() {
				s.deadLetter(e)
			}
		case shard.AttachmentGone:
			if a := s.k.attachment(e.Attachment); a != nil {
				s.k.forget(a)
				if a.share != nil {
					a.share.ended(a)
				} else {
					a.sink.Gone(GoneDeleted)
				}
			}
		case shard.Parted:
			s.k.parted(e.Attachment)
		case shard.SessionTaken:
			if a := s.k.attachment(e.Attachment); a != nil && a.session != nil {
				a.session.taken(GoneTakenOver)
			}
		case shard.SessionOpened:
			s.k.sessionOpened(s, e)
		case shard.SessionEnded:
			s.k.sessionEnded(s, e.Session)
		case shard.FilterAdded:
			s.k.filterAdded(s, e)
		case shard.FilterGone:
			s.k.unroute(e.Session, e.Key, s.leads())
		case shard.Dropped:
			s.k.stats.Dropped.Add(1)
			s.k.handedDropped(e)
		case shard.WillDue:
			if s.leads() {
				s.willDue(e)
			}
		case shard.DelayOver:
			if s.leads() {
				s.delayOver(e)
			}
		case shard.QueueExpired:
			if s.leads() {
				s.k.post(work{expired: e.Queue, shard: s})
			}
		case shard.GroupEffect:
			s.k.groupEffect(s, e)
		}
	}
}

// deliver hands one message to an attachment of this node. An attachment that is not
// here (any more) is left: its end is on its way to the log.
func (s *shardRun) deliver(e *shard.Effect) {
	a := s.k.attachment(e.Attachment)
	if a == nil || a.ended.Load() {
		return
	}
	d := Delivery{
		No: e.No, Redelivered: e.Redelivered, Count: e.Count, Failed: e.Failed, Ready: uint32(min(max(e.Ready, 0), 1<<32-1)),
		PacketID: e.PacketID, QoS: e.QoS, Retain: e.Retain, From: a, At: Place{Shard: uint32(s.id), Log: e.Log, Offset: e.Offset},
	}
	err := s.message(qm.Ref{Log: e.Log, Offset: e.Offset}, func(m *message.Message) {
		d.Msg = m
		if a.session != nil {
			a.session.deliverLogged(&d, e.Share)
		} else {
			a.deliver(&d)
		}
	})
	if err != nil {
		s.k.log.Error("message body not found", "shard", s.id, "log", e.Log, "offset", e.Offset, "err", err)
	}
}

// message calls fn with the message at a place in one of the shard's logs. It is valid
// until fn returns.
func (s *shardRun) message(ref qm.Ref, fn func(*message.Message)) error {
	t := s.tail(ref.Log)
	if t == nil {
		return fault.Of(fault.NotFound, "read body", "")
	}
	return t.record(ref.Offset, func(r *record.Record, made bool) error {
		m := message.FromRecord(r.Key, r.Value, r.Headers, r.Time, t.address, made)
		fn(&m)
		return nil
	})
}

// work is something that an effect asks for and that may wait: carried out by letters,
// in order.
type work struct {
	publish *Publish  // a dead letter, or a message that was delayed
	shard   *shardRun // where to confirm it
	queue   uint64    // that holds the dead letter; 0: the shard itself holds it
	seq     uint64

	will    []byte
	session string

	expired uint64 // a queue that was unused for too long

	leave, ns string   // a shared subscription that a session left
	unclaim   string   // an exclusive subscription in ns that a session has ended
	shares    string   // the namespace whose shared subscriptions are chosen for otherwise from now on
	parted    *Session // one that lost its session, and leaves its shared subscriptions

	lead    *shardRun // to be made to agree with log 0, as this node leads it
	fresh   bool      // from now on
	cut     bool      // who is connected here is to come back
	removed bool      // this node was removed from the cluster
}

// works are those that wait, in order. What makes them bounds them: queue.HeldMax the
// dead letters of each queue; a session has one will, and leaves its filters once.
type works struct {
	mu   sync.Mutex
	list []work
	more chan struct{} // capacity 1
}

// post hands over work without waiting.
func (k *Kernel) post(w work) {
	k.changes.posted.Add(1)
	k.works.mu.Lock()
	k.works.list = append(k.works.list, w)
	k.works.mu.Unlock()
	k.wakeLetters()
}

func (k *Kernel) wakeLetters() {
	select {
	case k.works.more <- struct{}{}:
	default: // letters looks again anyway
	}
}

// take returns all that waits.
func (w *works) take() []work {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := w.list
	w.list = nil
	return list
}

// letters publishes dead letters and wills, and deletes queues that expired. What it would
// publish waits while publishes are refused, and while a shard is crowded; it is held where it
// came from. It ends with the kernel.
func (k *Kernel) letters() {
	var later []work
	for {
		select {
		case <-k.ctx.Done():
			return
		case <-k.works.more:
		}
		list := append(later, k.works.take()...)
		later = nil
		for _, w := range list {
			if k.closing.Load() {
				return
			}
			if (w.publish != nil || w.will != nil) && (k.refused() != nil || k.Crowded() > 0) {
				later = append(later, w)
				continue
			}
			k.carryOut(w)
			k.changes.handled.Add(1)
			k.changes.tell()
		}
	}
}

func (k *Kernel) carryOut(w work) {
	switch {
	case w.publish != nil:
		w.publish.Reply = &deadReply{w}
		_ = k.publish(w.publish, false)
	case w.will != nil:
		k.publishWill(&w)
	case w.expired != 0:
		k.expireQueue(w.shard, w.expired)
	case w.leave != "":
		k.leave(w.ns, w.leave)
	case w.unclaim != "":
		k.endClaim(w.ns, w.unclaim)
	case w.shares != "":
		_ = k.redispatchAll(k.ctx, w.shares) // a shard that stopped is reconciled when it comes back
	case w.parted != nil:
		w.parted.leaveShared()
	case w.lead != nil:
		k.takeOver(w.lead, w.fresh)
	case w.removed:
		k.removed()
	case w.cut:
		k.endSessions()
		k.endAttachments()
	}
}

// deadReply confirms a dead letter to the queue that holds it, a will or a delayed message to
// its shard, once it rests elsewhere or has nowhere to go.
type deadReply struct{ w work }

func (d *deadReply) Published(_ uint64, r PublishResult) {
	if r.Err != nil {
		return // it stays held, and is published again when the shard is next led
	}
	_ = d.w.shard.do(func(p *pending) {
		if d.w.queue == 0 {
			p.b.Delayed(d.w.seq)
		} else {
			p.b.DeadLettered(d.w.queue, d.w.seq)
		}
	})
}

// deadLetter copies a message that its queue gave up, for its dead-letter exchange.
func (s *shardRun) deadLetter(e *shard.Effect) {
	spec := s.k.queueSpec(e.Queue)
	if spec == nil || spec.DeadLetterExchange == nil {
		_ = s.do(func(p *pending) { p.b.DeadLettered(e.Queue, e.Seq) })
		return
	}
	err := s.message(qm.Ref{Log: e.Log, Offset: e.Offset}, func(m *message.Message) {
		p := s.k.deadLetterOf(m, spec, e)
		s.k.post(work{publish: p, shard: s, queue: e.Queue, seq: e.Seq})
	})
	if err != nil {
		s.k.log.Error("dead letter's body not found", "queue", spec.Name, "err", err)
	}
}

// deadLetterOf is the message as published to the dead-letter exchange: without its
// expiry, with one more death in its history.
func (k *Kernel) deadLetterOf(m *message.Message, spec *meta.Queue, e *shard.Effect) *Publish {
	c := m.Clone()
	exchange, key := "amq.topic", message.AMQPKey(m.Address)
	x, rk, content, native := message.SplitAMQPNative(m.Native)
	if native = native && m.Source == message.AMQP; native {
		exchange, key = string(x), string(rk)
	}
	keys := []string{key}
	if m.Source == message.AMQP {
		for i := range m.Headers {
			if m.Headers[i].Name == headerCC {
				keys = append(keys, string(m.Headers[i].Value))
			}
		}
	}
	d := message.Death{Reason: e.Reason.String(), Queue: spec.Name, Time: k.nowMs() / 1000, Exchange: exchange, RoutingKeys: keys}
	if m.ExpiresAt != 0 {
		d.OriginalExpiration = strconv.FormatInt(max(m.ExpiresAt-m.Time, 0), 10)
	}
	c.AddDeath(d)
	cc := keys[1:]
	if spec.DeadLetterRoutingKey != nil {
		key, cc = *spec.DeadLetterRoutingKey, nil
	}
	if native {
		c.Native = message.AppendAMQPNative(nil, *spec.DeadLetterExchange, key, content)
	}
	c.Address = message.AddressOf(*spec.DeadLetterExchange, key)
	return &Publish{Namespace: spec.Namespace, Msg: c, ViaExchange: true, Exchange: *spec.DeadLetterExchange, Key: key, CC: cc, dead: true}
}

// headerCC names an AMQP message's further routing keys.
const headerCC = "CC"

// queueSpec finds a queue by id.
func (k *Kernel) queueSpec(id uint64) *meta.Queue {
	k.topo.mu.RLock()
	defer k.topo.mu.RUnlock()
	for _, sp := range k.topo.spaces {
		if q := sp.byID[id]; q != nil {
			return q.spec
		}
	}
	return nil
}

func (k *Kernel) expireQueue(s *shardRun, id uint64) {
	spec := k.queueSpec(id)
	if spec == nil {
		return
	}
	if q := k.lookup(spec.Namespace, spec.Name); q != nil && q.shard == s {
		if _, err := k.deleteQueue(k.ctx, q, true, false); err != nil && !k.closing.Load() {
			k.log.Warn("expired queue not deleted", "queue", spec.Name, "err", err)
		}
	}
}
