package shard

import (
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel/codec"
	"github.com/robustmq/rmq/broker/kernel/queue"
)

// Dispatch changes how a queue chooses its consumers. Messages that wait there have the keys
// with which they came.
func (b *Builder) Dispatch(id uint64, how queue.Dispatch) int {
	i := b.op(OpDispatch)
	b.ops = append(codec.Uint(b.ops, id), byte(how))
	return i
}

func (m *Machine) dispatch(r *codec.Reader, out *Outcome) OpResult {
	id, how := r.Uint(), queue.Dispatch(r.Byte())
	q := m.queue(id)
	switch {
	case q == nil:
		return OpResult{}
	case !how.Known():
		return OpResult{Err: fault.New(fault.Unsupported, "dispatch", "", "dispatch %d", how)}
	}
	limits := q.Limits()
	limits.Dispatch = how
	m.eff = q.SetLimits(m.now, limits, m.eff[:0])
	m.queueEffects(q, "", out)
	m.queueDue(q)
	return OpResult{}
}

// key is what chooses a message's consumer: a hash of its address, or of the client that
// published it. What came from no client of MQTT goes by its address.
func key(how queue.Dispatch, address, from []byte) uint32 {
	switch {
	case !how.Keyed():
		return 0
	case how == queue.HashClient && len(from) > 0:
		return hash(from)
	}
	return hash(address)
}

// hash is FNV-1a.
func hash(b []byte) uint32 {
	h := uint32(2166136261)
	for _, c := range b {
		h = (h ^ uint32(c)) * 16777619
	}
	return h
}

// DispatchOf tells how a queue chooses its consumers; false: there is no such queue.
func (m *Machine) DispatchOf(id uint64) (queue.Dispatch, bool) {
	q, ok := m.queues.Get(id)
	if !ok {
		return 0, false
	}
	return q.Limits().Dispatch, true
}

// NextOf tells which consumer of a queue would get a message, if it came now; 0: it would wait.
func (m *Machine) NextOf(id uint64, address, from string) (consumer uint64) {
	q, ok := m.queues.Get(id)
	if !ok {
		return 0
	}
	return q.Next(key(q.Limits().Dispatch, []byte(address), []byte(from)) << queue.KeyShift)
}
