package kernel

import (
	"github.com/robustmq/rmq/broker/fault"
	qm "github.com/robustmq/rmq/broker/kernel/queue"
	"github.com/robustmq/rmq/broker/message"
)

// Queued is one message of a queue as it stands.
type Queued struct {
	Seq        uint64 // its name for life
	Unacked    bool   // it is with a consumer
	Deliveries int    // so far
	EnqueuedAt int64  // ms
	ExpiresAt  int64  // ms; 0: never
}

// LookQueue calls fn for the messages of a queue, in the order in which consumers get them, until it
// returns false. Nothing of the queue changes: nothing is delivered, nor counted. What fn is given is
// valid until it returns. fault.NotFound: there is no such queue.
func (k *Kernel) LookQueue(ns, name string, fn func(m *message.Message, at Queued) bool) error {
	q := k.lookup(ns, name)
	if q == nil {
		return fault.Of(fault.NotFound, "look into queue", name)
	}
	var after *uint64
	for {
		var some []qm.Browsed
		q.shard.readMu.RLock()
		q.shard.m.BrowseQueue(q.spec.ID, after, func(b qm.Browsed) bool {
			some = append(some, b)
			return len(some) < lookStep
		})
		q.shard.readMu.RUnlock()
		if len(some) == 0 {
			return nil
		}
		for _, b := range some {
			more := true
			err := q.shard.message(b.Ref, func(m *message.Message) {
				more = fn(m, Queued{Seq: b.Seq, Unacked: b.State != qm.Ready, Deliveries: int(b.Count), EnqueuedAt: b.EnqueuedAt, ExpiresAt: b.ExpiresAt})
			})
			if err == nil && !more { // an error: settled since
				return nil
			}
		}
		after = &some[len(some)-1].Seq
	}
}

// lookStep is how many messages are looked up while the shard's readers are held.
const lookStep = 1000
