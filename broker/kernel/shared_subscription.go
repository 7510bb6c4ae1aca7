package kernel

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/robustmq/rmq/broker/kernel/shard"
)

// sharedWindow is how many unsettled deliveries a member of a shared subscription has at
// most, within its packet identifiers above session.PacketMax; the adapter holds less
// when the client's Receive Maximum says so.
const sharedWindow = 100

// membership is what an attachment has when it is that of a session: to a shared subscription,
// or to a queue, "$queue/NAME".
//
// At QoS 0 and 1 the queue of the share waits for the client's answer, and gives what a broken
// connection has not answered to another member. At QoS 2 what was begun with one member is not
// to go to another (MQTT5-4.8.2-4 and -5): the message is handed over to the member's session,
// which keeps it from then on like any other of its own. The two may be in different shards.
// So it is copied, and the queue lets go of it when the session has it. When the node
// goes down in between, both have it.
//
// Attachments that hand over get their credit back one by one, when the client has acknowledged
// what its session was handed.
type membership struct {
	s   *Session
	sub Subscription
	id  uint32 // shard.ShareOf its filter

	// consumes: the queue is not a share's. Its messages come at the QoS of the subscription,
	// whatever their own, so that each is acknowledged as the queue's other consumers do it.
	consumes bool

	mu     sync.Mutex
	under  int           // messages that are being handed over
	leaves chan struct{} // closed when the last of them is; nil while the member stays
}

func newMembership(s *Session, sub Subscription) *membership {
	m := &membership{s: s, sub: sub, id: shard.ShareOf(sub.Filter)}
	if _, m.consumes = consumedQueue(sub.Filter); m.consumes {
		m.sub.QoS = min(m.sub.QoS, 1)
	}
	return m
}

// consumedQueue is the queue that a subscription is to; false: it is to none.
func consumedQueue(filter string) (name string, ok bool) {
	return strings.CutPrefix(filter, shard.QueuePrefix)
}

// hands tells whether deliveries may be handed over to the session.
func (m *membership) hands() bool { return m.sub.QoS == 2 }

// room is the credit of a new attachment, when the session has been handed that much.
func (m *membership) room(handed map[uint32]int64) int64 {
	window := int64(sharedWindow)
	if limit := int64(m.s.receiveMax); m.hands() && limit > 0 {
		window = min(window, limit)
	}
	return max(window-handed[m.id], 0)
}

// identifiers are those of the subscription.
func (m *membership) identifiers() []uint32 {
	if m == nil || m.sub.ID == 0 {
		return nil
	}
	return []uint32{m.sub.ID}
}

// deliver gives a message that the share's queue has chosen this member for.
func (m *membership) deliver(a *Attachment, d *Delivery) {
	d.QoS, d.Shared, d.SubIDs = min(d.QoS, m.sub.QoS), true, m.identifiers()
	if m.consumes {
		d.QoS, d.Consumed = m.sub.QoS, true
	}
	d.Retain = d.Retain && m.sub.RetainAsPublished
	switch d.QoS {
	case 0:
		no := d.No
		d.No = 0
		defer a.Settle(no, false, Accept)
	case 2:
		m.handOver(a, d)
		return
	}
	a.k.stats.out(len(d.Msg.Value))
	if !a.sink.Deliver(d) {
		a.k.stats.Dropped.Add(1)
	}
}

// handOver gives a message to the session. When that cannot be, the queue keeps it.
func (m *membership) handOver(a *Attachment, d *Delivery) {
	if !m.begin() {
		return // leaving: the queue has it back
	}
	w := &handedOver{a: a, no: d.No}
	err := m.s.shard.publish(func(p *pending) {
		batch, rec := addRecord(&p.b, shard.Bodies, d.Msg, "", shard.Once{})
		p.await(batch, p.b.HandOver(&shard.HandOver{
			Batch: batch, Record: rec, Session: m.s.route.key, Epoch: m.s.epoch, Share: m.id,
			Size: uint32(len(d.Msg.Value)), ExpiresAt: d.Msg.ExpiresAt, Retain: d.Retain,
		}), w)
	})
	if err != nil {
		m.end()
	}
}

// handedOver waits for a session to have a message.
type handedOver struct {
	a  *Attachment
	no uint64
}

func (w *handedOver) applied(_ *shard.BatchResult, or *shard.OpResult, err error) {
	if err == nil {
		o := Release // the session is another connection's now
		if or.Known {
			o = Accept
		}
		_ = w.a.settle(false, w.no, false, o, nil)
	}
	w.a.share.end()
}

func (m *membership) begin() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.leaves != nil {
		return false
	}
	m.under++
	return true
}

func (m *membership) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.under--; m.under == 0 && m.leaves != nil {
		close(m.leaves)
	}
}

// leave waits until nothing is being handed over, and has nothing be any more: what is unsettled
// then is in no session.
func (m *membership) leave(ctx context.Context) {
	m.mu.Lock()
	if m.leaves == nil {
		if m.leaves = make(chan struct{}); m.under == 0 {
			close(m.leaves)
		}
	}
	m.mu.Unlock()
	select {
	case <-m.leaves:
	case <-ctx.Done():
	}
}

// ended follows the end of the queue that a session was subscribed to: the subscription ends with it.
func (m *membership) ended(a *Attachment) {
	s := m.s
	s.mu.Lock()
	mine := s.shared[m.sub.Filter] == a
	if mine {
		delete(s.shared, m.sub.Filter)
	}
	s.mu.Unlock()
	if mine && m.consumes {
		_ = s.shard.do(func(p *pending) { p.b.Unsubscribe(s.route.key, m.sub.Filter) })
	}
}

// handed counts what shares have handed to the session and its client has not received. A session
// that none of the attachments hands anything is not looked through.
func (s *Session) handed(to ...*Attachment) map[uint32]int64 {
	if !slices.ContainsFunc(to, func(a *Attachment) bool { return a.share.hands() }) {
		return nil
	}
	s.shard.readMu.RLock()
	defer s.shard.readMu.RUnlock()
	if ms, ok := s.shard.m.Session(s.route.key); ok {
		return ms.Handed()
	}
	return nil
}

// member is what this connection is in a share; nil: it is not in it.
func (s *Session) member(share uint32) *membership {
	if a := s.sharer(share); a != nil {
		return a.share
	}
	return nil
}

func (s *Session) sharer(share uint32) *Attachment {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.shared {
		if a.share.id == share {
			return a
		}
	}
	return nil
}

// handedEnded lets a share hand the session one more: one that it was handed is done with.
func (s *Session) handedEnded(share uint32) {
	if share == 0 {
		return
	}
	if a := s.sharer(share); a != nil && a.share.hands() {
		a.Credit(1)
	}
}

// handedDropped is handedEnded for what a session let go of by itself: it expired, or there was
// no room.
func (k *Kernel) handedDropped(e *shard.Effect) {
	if e.Share == 0 {
		return
	}
	ns, client := shard.SplitSessionKey(e.Session)
	if r := k.routeOf(ns, client, false); r != nil {
		if s := r.online.Load(); s != nil {
			s.handedEnded(e.Share)
		}
	}
}
