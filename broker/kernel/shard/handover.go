package shard

import (
	"hash/fnv"

	"github.com/robustmq/rmq/broker/kernel/codec"
	"github.com/robustmq/rmq/broker/kernel/queue"
)

// HandOver gives a message of a shared subscription to the session of the member that it was
// chosen for, at QoS 2. From then on it is that session's alone (MQTT5-4.8.2-4, -5).
type HandOver struct {
	Batch, Record int
	Session       string
	Epoch         uint64 // the connection that it was chosen for
	Share         uint32 // see ShareOf
	Size          uint32
	ExpiresAt     int64
	Retain        bool
}

// HandOver adds the command. Known tells whether the connection still held its session.
func (b *Builder) HandOver(h *HandOver) int {
	i := b.op(OpHandOver)
	d := codec.Uint(b.ops, uint64(h.Batch))
	d = codec.Uint(d, uint64(h.Record))
	d = codec.String(d, h.Session)
	d = codec.Uint(d, h.Epoch)
	d = codec.Uint(d, uint64(h.Share))
	d = codec.Uint(d, uint64(h.Size))
	d = codec.Int(d, h.ExpiresAt)
	b.ops = codec.Bool(d, h.Retain)
	return i
}

func (m *Machine) handOver(r *codec.Reader, out *Outcome) OpResult {
	batch, rec := r.Uint(), r.Uint()
	key, epoch, share := r.Bytes(), r.Uint(), r.Uint32()
	msg := queue.Message{Size: r.Uint32(), ExpiresAt: r.Int(), QoS: 2, Tag: share << tagShareShift}
	if r.Bool() {
		msg.Tag |= tagRetain
	}
	if r.Err() != nil || batch >= uint64(len(out.places)) {
		return OpResult{}
	}
	p := out.places[batch]
	if !p.ok || rec >= uint64(p.count) {
		return OpResult{Err: out.Batches[batch].Err}
	}
	s := m.session(string(key))
	if s == nil || !s.Holds(epoch) {
		return OpResult{}
	}
	msg.Ref = queue.Ref{Log: p.log.ID, Offset: p.base + int64(rec)}
	m.toSession(s, p, &msg, out)
	return OpResult{Known: true}
}

// ShareOf stands for the filter of a shared subscription in what its sessions were handed; it
// is never 0.
func ShareOf(filter string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(filter))
	return max(h.Sum32()>>tagShareShift, 1)
}

// Handed counts the messages that shared subscriptions handed to the session and that its
// client has not received, by ShareOf.
func (s *Session) Handed() map[uint32]int64 {
	n := make(map[uint32]int64)
	if s.backlog == nil {
		return n
	}
	s.backlog.Browse(func(b queue.Browsed) bool {
		if share := b.Tag >> tagShareShift; share != 0 {
			n[share]++
		}
		return true
	})
	return n
}
