package sim

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/robustmq/rmq/broker/kernel/group"
	"github.com/robustmq/rmq/broker/kernel/shard"
)

// groups are consumer groups without members: whoever reads commits for itself. Each
// client has a partition of its own in both.
var groups = []string{"billing", "search"}

// offsetKey is a group and a partition.
type offsetKey struct {
	group     string
	partition int32
}

// offsetModel is one group's offset in one partition. Offsets are committed in order:
// 1, 2, 3 and so on.
type offsetModel struct {
	sent, acked int64
}

// offset returns the model of one. Caller holds mu.
func (m *model) offset(key offsetKey) *offsetModel {
	o := m.offsets[key]
	if o == nil {
		o = new(offsetModel)
		m.offsets[key] = o
	}
	return o
}

// commitOffsets commits offsets as a Kafka consumer does, several under way.
func (c *client) commitOffsets(ctx context.Context) {
	r := rand.New(rand.NewPCG(uint64(c.number), c.sim.seed+2))
	m := c.sim.model
	partition := int32(c.number)
	slots := make(chan struct{}, 1+r.IntN(4))
	for range c.ops / 3 {
		if c.node.disk.stopped() || ctx.Err() != nil {
			break
		}
		id := groups[r.IntN(len(groups))]
		m.mu.Lock()
		o := m.offset(offsetKey{id, partition})
		o.sent++
		at := o.sent
		m.mu.Unlock()
		slots <- struct{}{}
		commit := &shard.GroupCommit{Generation: -1, Offsets: []shard.GroupOffset{{
			Topic: "orders", Partition: partition, Offset: group.Offset{Offset: at, LeaderEpoch: -1},
		}}}
		c.node.GroupCommit("/", id, commit, func(errs []group.Error, err error) {
			m.mu.Lock()
			switch {
			case err != nil:
			case len(errs) != 1 || errs[0] != group.OK:
				m.breach("group %s: offset %d is answered by %v", id, at, errs)
			default:
				o.acked = max(o.acked, at)
				c.sim.report.Offsets++
			}
			m.mu.Unlock()
			<-slots
		})
	}
	for range cap(slots) { // until all are answered
		slots <- struct{}{}
	}
}

// checkOffsets: what is there was sent, and is no less than what was acknowledged.
func (m *model) checkOffsets(n *node) error {
	for key, o := range m.offsets {
		var got group.Offset
		n.GroupRead("/", key.group, func(g *group.Group) { got, _, _ = g.Fetch("orders", key.partition, true) })
		if got.Offset < o.acked || got.Offset > o.sent {
			return fmt.Errorf("group %s has offset %d in partition %d; %d was acknowledged, %d sent", key.group, got.Offset, key.partition, o.acked, o.sent)
		}
		o.acked = got.Offset // a commit that nobody was told of, and was kept, counts from here on
	}
	return nil
}
