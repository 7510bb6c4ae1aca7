package kernel

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/robustmq/rmq/broker/kernel/meta"
	sm "github.com/robustmq/rmq/broker/kernel/session"
	"github.com/robustmq/rmq/broker/kernel/shard"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/record"
)

// This file is what administration and tests see of the kernel: lists, users, and a tap
// on what is published.

// SessionInfo is a session as it stands.
type SessionInfo struct {
	Namespace, ClientID string
	Connected           bool
	Expiry              uint32 // seconds; ExpiryNever
	EndsAt              int64  // ms; 0 while connected, or never
	ReceiveMaximum      int
	Inflight            int // deliveries under way to the client
	Receiving           int // QoS 2 publishes of the client that wait for PUBREL
	Backlog             int64
	BacklogBytes        int64
	HasWill             bool
	WillAt              int64 // ms when the will of a client that is gone is published; 0: it is not
	Durability          Durability
	Shard               uint32
	Subscriptions       []Subscription
}

// Sessions lists the sessions of a namespace, in the order of their client ids.
func (k *Kernel) Sessions(ns string) []SessionInfo {
	var out []SessionInfo
	for _, s := range k.everyShard() {
		s.eachSession(func(ms *shard.Session) {
			if space, _ := shard.SplitSessionKey(ms.Key); space == ns {
				out = append(out, s.sessionInfo(ms))
			}
		})
	}
	sortBy(out, func(i *SessionInfo) string { return i.ClientID })
	return out
}

// sessionStep is how many sessions are looked at while entries wait.
const sessionStep = 256

// eachSession calls fn for the sessions of a shard, in the order of their keys. It may miss
// what comes meanwhile.
func (s *shardRun) eachSession(fn func(ms *shard.Session)) {
	for after, more := "", true; more; {
		s.readMu.RLock()
		after, more = s.m.SessionsAfter(after, sessionStep, fn)
		s.readMu.RUnlock()
	}
}

// SessionInfo returns one session.
func (k *Kernel) SessionInfo(ns, client string) (SessionInfo, bool) {
	for _, s := range k.everyShard() {
		s.readMu.RLock()
		ms, ok := s.m.Session(shard.SessionKey(ns, client))
		var info SessionInfo
		if ok {
			info = s.sessionInfo(ms)
		}
		s.readMu.RUnlock()
		if ok {
			return info, true
		}
	}
	return SessionInfo{}, false
}

func (s *shardRun) sessionInfo(ms *shard.Session) SessionInfo {
	i := ms.Info()
	st := ms.Backlog()
	info := SessionInfo{
		Connected: i.Connected, Expiry: i.Expiry, EndsAt: i.Ends, ReceiveMaximum: i.ReceiveMax, Inflight: i.Inflight, Receiving: i.Received,
		Backlog: st.Ready, BacklogBytes: st.ReadyBytes, HasWill: i.HasWill, WillAt: i.WillAt, Durability: s.class.durability(), Shard: uint32(s.id),
	}
	info.Namespace, info.ClientID = shard.SplitSessionKey(ms.Key)
	ms.Subscriptions(func(text string, o sm.Options) bool {
		info.Subscriptions = append(info.Subscriptions, Subscription{
			Filter: text, QoS: o.QoS, NoLocal: o.NoLocal, RetainAsPublished: o.RetainAsPublished, RetainHandling: o.RetainHandling, ID: o.ID,
		})
		return true
	})
	return info
}

// everyShard lists the shards in the order of their ids.
func (k *Kernel) everyShard() []*shardRun {
	out := make([]*shardRun, 0, len(k.shards))
	for _, s := range k.shards {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b *shardRun) int { return int(a.id) - int(b.id) })
	return out
}

// Counts is how much there is of everything.
type Counts struct {
	Streams, Partitions, Queues, Consumers, Exchanges, Bindings int
	Sessions, Connected, Subscriptions, Groups, Retained        int
	StreamBytes, Ready, Unacked                                 int64
}

// Counts counts over all namespaces.
func (k *Kernel) Counts() Counts {
	var c Counts
	view := k.meta.view.Load()
	for st := range view.AllStreams() {
		c.Streams++
		c.Partitions += len(st.Logs)
		for _, p := range st.Logs {
			if t := k.shards[p.Shard].tail(p.Log); t != nil {
				c.StreamBytes += t.size()
			}
		}
	}
	for _, l := range k.metas() {
		for range l.view.Load().AllBindings() {
			c.Bindings++
		}
	}
	k.topo.mu.RLock()
	for _, sp := range k.topo.spaces {
		c.Exchanges += len(sp.exchanges)
		c.Subscriptions += sp.subs.Len()
	}
	k.topo.mu.RUnlock()
	for _, s := range k.shards {
		s.readMu.RLock()
		for _, id := range s.m.QueueIDs() {
			st, _ := s.m.QueueStats(id)
			c.Queues++
			c.Consumers += st.Consumers
			c.Ready += st.Ready
			c.Unacked += st.Unacked
		}
		c.Sessions += s.m.SessionCount()
		c.Retained += s.m.Retained().Len()
		c.Groups += s.m.GroupCount()
		s.readMu.RUnlock()
		s.eachSession(func(ms *shard.Session) {
			if ms.Info().Connected {
				c.Connected++
			}
		})
	}
	return c
}

// ---- taps ----------------------------------------------------------------------

// Tap sees what is published, on the publisher's goroutine: it must be quick.
type Tap struct {
	// See is called with a message, which it must not keep.
	See func(ns string, m *message.Message)
	// Spare is asked before n records that Kafka clients have published to an address are taken apart:
	// true says that none of them is to be seen, and that Spare has counted them. nil: all are seen.
	Spare func(ns, address string, n int) bool
}

type taps struct {
	mu   sync.Mutex
	list atomic.Pointer[[]*Tap] // nil when there are none
}

// Tap has tap see what is published from now on, until stop is called.
func (k *Kernel) Tap(tap Tap) (stop func()) {
	p := &tap
	k.taps.change(func(l []*Tap) []*Tap { return append(l, p) })
	return func() {
		k.taps.change(func(l []*Tap) []*Tap { return slices.DeleteFunc(l, func(e *Tap) bool { return e == p }) })
	}
}

func (t *taps) change(f func([]*Tap) []*Tap) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []*Tap
	if old := t.list.Load(); old != nil {
		list = slices.Clone(*old)
	}
	if list = f(list); len(list) == 0 {
		t.list.Store(nil)
		return
	}
	t.list.Store(&list)
}

func (t *taps) show(ns string, m *message.Message) {
	if list := t.list.Load(); list != nil {
		for _, tap := range *list {
			tap.See(ns, m)
		}
	}
}

// showBatch shows the records of a Kafka batch.
func (t *taps) showBatch(st *meta.Stream, b record.Batch) {
	all := t.list.Load()
	if all == nil {
		return
	}
	var see []*Tap
	for _, tap := range *all {
		if tap.Spare == nil || !tap.Spare(st.Namespace, st.Address, max(0, int(b.Count()))) {
			see = append(see, tap)
		}
	}
	if see == nil {
		return
	}
	_ = b.Each(func(r *record.Record) error {
		m := message.FromRecord(r.Key, r.Value, r.Headers, r.Time, st.Address, false)
		for _, tap := range see {
			tap.See(st.Namespace, &m)
		}
		return nil
	})
}
