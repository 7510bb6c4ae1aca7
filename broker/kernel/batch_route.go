package kernel

import (
	"github.com/robustmq/rmq/broker/kernel/meta"
	"github.com/robustmq/rmq/broker/kernel/shard"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/record"
)

// routeBatch adds what one shard is to do with the records of a Kafka batch that it has
// as batch b, and returns a command's index. It is one command, unless some record asks
// by its headers for what queues and sessions look at: an expiry or a priority.
func routeBatch(g *pending, b int, st *meta.Stream, sr *shardRoute, batch record.Batch, sessions bool, qos uint8) (op int) {
	rt := shard.Route{
		Batch: b, Record: -1, Namespace: st.Namespace, Address: st.Address, Queues: sr.queues, Sessions: sessions,
		Size: uint32(len(batch) / max(int(batch.Count()), 1)), QoS: qos,
	}
	type asks struct {
		expires  int64
		priority uint8
		size     uint32
	}
	var each []asks
	special := false
	err := batch.Each(func(rec *record.Record) error {
		m := message.FromRecord(rec.Key, rec.Value, rec.Headers, rec.Time, st.Address, false)
		each = append(each, asks{m.ExpiresAt, m.Priority, uint32(len(m.Value))})
		special = special || m.ExpiresAt != 0 || m.Priority != 0
		return nil
	})
	if err != nil || !special {
		return g.b.Route(&rt)
	}
	for i, a := range each {
		rt.Record, rt.ExpiresAt, rt.Priority, rt.Size = i, a.expires, a.priority, a.size
		op = g.b.Route(&rt)
	}
	return op
}
