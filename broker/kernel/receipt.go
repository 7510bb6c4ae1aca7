package kernel

import (
	"context"

	"github.com/robustmq/rmq/broker/kernel/shard"
)

// This file is the publisher's side of QoS 2. A publish is stored by the shards that it is
// routed to and noted by the session's own, in entries of their own; only then PUBREC
// leaves. What tells a repeat from a new message: on one connection, a receipt; after
// that, the session's note; and after a crash between those entries, what each shard
// remembers of the publish (shard.Once) until its packet identifier is released.

// receipt is one QoS 2 publish of a connection, until PUBREL.
type receipt struct {
	once   shard.Once  // zero for a session that does not outlive a crash
	home   *shardRun   // the session's
	shards []*shardRun // that were given it; written by the publisher's goroutine
	apart  bool        // one of those that have a part in it is not home; as shards

	// Guarded by Session.mu.
	stored  bool
	repeats []repeat // sent again while it was on its way; the adapter bounds them
}

type repeat struct {
	reply Publisher
	tag   uint64
}

// at notes that a shard is given the publish, and returns what it is to remember.
func (rc *receipt) at(s *shardRun) shard.Once {
	rc.reaches(s)
	if rc == nil || rc.once == (shard.Once{}) {
		return shard.Once{}
	}
	rc.shards = append(rc.shards, s)
	return rc.once
}

// reaches notes that a shard has a part in the publish.
func (rc *receipt) reaches(s *shardRun) {
	if rc != nil && s != rc.home {
		rc.apart = true
	}
}

// receiving notes a QoS 2 publish of the client. nil: it is a repeat, and is answered as
// the first was, at once or when that is.
func (s *Session) receiving(p *Publish, res PublishResult) *receipt {
	s.mu.Lock()
	rc := s.receipts[p.PacketID]
	if rc == nil {
		once, noted := s.incarnation(p.PacketID)
		rc = &receipt{once: once, home: s.shard, stored: noted}
		if s.receipts == nil {
			s.receipts = make(map[uint16]*receipt)
		}
		s.receipts[p.PacketID] = rc
		if !noted {
			s.mu.Unlock()
			return rc
		}
	}
	wait := !rc.stored
	if wait && p.Reply != nil {
		rc.repeats = append(rc.repeats, repeat{p.Reply, p.Tag})
	}
	s.mu.Unlock()
	if !wait && p.Reply != nil {
		p.Reply.Published(p.Tag, res)
	}
	return nil
}

// holds tells whether the publish with a packet identifier is stored, or on its way.
func (s *Session) holds(id uint16) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.receipts[id] != nil {
		return true
	}
	_, noted := s.incarnation(id)
	return noted
}

// incarnation tells the use of a packet identifier, and whether its publish was noted.
func (s *Session) incarnation(id uint16) (once shard.Once, noted bool) {
	s.shard.readMu.RLock()
	defer s.shard.readMu.RUnlock()
	ms, ok := s.shard.m.Session(s.route.key)
	if !ok {
		return shard.Once{}, false
	}
	in, noted := ms.Incoming(id)
	if !s.shard.class.logged() {
		return shard.Once{}, noted
	}
	return shard.Once{Session: in.Session, PacketID: id, N: in.N, Conn: s.opened}, noted
}

// incoming logs that a QoS 2 publish was received, as part of what op waits for. From then
// on what is sent again is answered without a look, so the note must not outlive a crash
// that the message does not: it follows that in the same log, or waits until all shards
// have applied it.
func (s *Session) incoming(id uint16, op *publishOp) {
	op.add()
	err := s.shard.publish(func(p *pending) { p.await(-1, p.b.Incoming(s.route.key, s.epoch, id), op) })
	if err != nil {
		op.applied(nil, nil, err)
	}
}

// received answers a QoS 2 publish, and its repeats, with what became of it. One that
// could not be stored everywhere is answered once its identifier may be used for another
// message: the shards that have stored it would take that for a repeat. When that cannot be, as for
// Release, or nobody knows where it is stored, or the node ends, there is no answer: the client sends it
// again, and it is to be taken for the same.
func (s *Session) received(id uint16, reply Publisher, tag uint64, res PublishResult, unknown bool) {
	answer := func() {
		s.mu.Lock()
		var repeats []repeat
		if rc := s.receipts[id]; rc != nil {
			if rc.stored, repeats = true, rc.repeats; res.Err != nil {
				delete(s.receipts, id)
			}
			rc.repeats = nil
		}
		s.mu.Unlock()
		if reply != nil {
			reply.Published(tag, res)
		}
		for _, r := range repeats {
			r.reply.Published(r.tag, res)
		}
	}
	if res.Err == nil {
		answer()
		return
	}
	if unknown || s.k.ending.Load() {
		return
	}
	_ = s.shard.do(func(p *pending) { p.await(-1, p.b.Refuse(s.route.key, s.epoch, id), then(answer)) })
}

// then is called when a command is applied, and not when it never will be, or was in vain.
type then func()

func (f then) applied(_ *shard.BatchResult, or *shard.OpResult, err error) {
	if err == nil && or.Err == nil {
		f()
	}
}

// Release ends an incoming QoS 2 publish at PUBREL; done is called once that is
// durable (then PUBCOMP may leave); known false: 0x92. When the shard has stopped, or the session is
// another connection's, done is not called: a client that were told of an end would use the identifier
// for another message, which would be taken for this one.
func (s *Session) Release(packetID uint16, done func(known bool)) {
	s.mu.Lock()
	rc := s.receipts[packetID]
	delete(s.receipts, packetID)
	do := s.shard.do
	if rc != nil && !rc.stored { // released before PUBREC: not to be noted after that
		do = s.shard.publish
	}
	s.mu.Unlock()
	_ = do(func(p *pending) {
		p.await(-1, p.b.Release(s.route.key, s.epoch, packetID), &releaseWait{done, rc})
	})
}

type releaseWait struct {
	done func(known bool)
	rc   *receipt
}

func (w *releaseWait) applied(_ *shard.BatchResult, or *shard.OpResult, err error) {
	if err != nil || or.Err != nil {
		return
	}
	if or.Known && w.rc != nil {
		for _, s := range w.rc.shards { // the session tells its repeats by itself from here on
			_ = s.do(func(p *pending) { p.b.Forget(w.rc.once) })
		}
	}
	w.done(or.Known)
}

// Renew ends every incoming QoS 2 publish that the session has noted: who publishes has lost its side of
// the session, and means other messages by those identifiers.
func (s *Session) Renew(ctx context.Context) error {
	var ids []uint16
	s.shard.readMu.RLock()
	if ms, ok := s.shard.m.Session(s.route.key); ok {
		ids = ms.Noted()
	}
	s.shard.readMu.RUnlock()
	for _, id := range ids {
		if _, err := s.shard.call(ctx, func(b *shard.Builder) int { return b.Refuse(s.route.key, s.epoch, id) }); err != nil {
			return err
		}
	}
	return nil
}
