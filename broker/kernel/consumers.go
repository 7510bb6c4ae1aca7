package kernel

import (
	qm "github.com/robustmq/rmq/broker/kernel/queue"
	"github.com/robustmq/rmq/broker/kernel/shard"
)

// Consumer is who takes messages from a queue, as it stands.
type Consumer struct {
	ID       uint64 // unique
	Tag      string // "": it gets them one by one, or is a session
	Owner    uint64 // connection, as of AttachSpec; 0: it is a session, or of another node
	ClientID string // of a session that shares a subscription; "" of another node's
	Pull     bool   // it gets them one by one
	Unacked  int
}

// Consumers lists who takes messages from a queue, by id; nobody when there is no such queue.
func (k *Kernel) Consumers(ns, name string) (all []Consumer) {
	q := k.lookup(ns, name)
	if q == nil {
		return nil
	}
	q.shard.readMu.RLock()
	q.shard.m.QueueAttachments(q.spec.ID, func(spec qm.AttachSpec, unsettled int) {
		all = append(all, Consumer{ID: spec.ID, Pull: spec.Pull, Unacked: unsettled})
	})
	q.shard.readMu.RUnlock()
	for i := range all {
		c := &all[i]
		if a := k.attachment(c.ID); a != nil {
			if c.Tag, c.Owner = a.tag, a.owner; a.share != nil {
				_, c.ClientID = shard.SplitSessionKey(a.share.s.route.key)
			}
		}
	}
	return all
}
