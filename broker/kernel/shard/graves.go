package shard

import (
	"encoding/binary"

	"github.com/robustmq/rmq/broker/kernel/codec"
	"github.com/robustmq/rmq/broker/kernel/queue"
)

// grave is what is left to do of a queue, or of a session's backlog, that is gone: to let
// go of the bodies that it held. A deep one takes many ticks, each bounded by tickMax, so
// that nobody waits for it.
type grave struct {
	*queue.Queue
	due int64
	gen uint64
}

// burial is a queue whose keys are to be deleted by the next checkpoint. They are listed
// there, beside applying, for there may be many.
type burial struct {
	prefix []byte
	q      *queue.Queue // as it was when it went: never changed
	since  uint64       // generation of the checkpoint before
}

// keys passes to put the keys that a checkpoint may hold of the queue.
func (b *burial) keys(put func(k, v []byte) bool) bool {
	ok := true
	note := func(k, _ []byte) { ok = ok && put(append(append([]byte(nil), b.prefix...), k...), nil) }
	b.q.Save(true, 0, note)
	b.q.Save(false, b.since, note)
	return ok
}

// entomb ends a queue that the machine holds no more, whose checkpoint keys begin with
// prefix. What it asks for is left in m.eff: the ends of its attachments, and the first of
// its bodies to be dropped.
func (m *Machine) entomb(prefix []byte, q *queue.Queue) {
	m.buried(prefix, q)
	g := &grave{Queue: q.Fork(m.gen, m.saved), gen: m.gen}
	m.eff = g.Close(m.now, m.eff[:0])
	if g.Empty() {
		return
	}
	id, _, _ := m.graves.Max()
	m.graves.Set(id+1, g)
	m.dirty.graves.Insert(id + 1)
	m.setDue(&g.due, m.now, dueGrave, queueKey(id+1))
}

func (m *Machine) buried(prefix []byte, q *queue.Queue) {
	if !m.dirty.off {
		m.dirty.burials = append(m.dirty.burials, burial{prefix, q, m.saved})
	}
}

// tickGrave goes on with a grave, and forgets it when it is empty.
func (m *Machine) tickGrave(key string, out *Outcome) {
	id := binary.BigEndian.Uint64([]byte(key))
	g, ok := m.graves.Get(id)
	if !ok {
		return
	}
	if g.gen != m.gen {
		g = &grave{Queue: g.Queue.Fork(m.gen, m.saved), gen: m.gen}
		m.graves.Set(id, g)
	}
	m.dirty.graves.Insert(id)
	g.due = 0
	m.eff = g.Tick(m.now, tickMax, m.eff[:0])
	for i := range m.eff {
		if e := &m.eff[i]; e.Kind == queue.Drop {
			m.unref(e.Ref, out)
		}
	}
	if !g.Empty() {
		m.setDue(&g.due, m.now, dueGrave, key)
		return
	}
	m.dirty.gone.Insert(string(graveKey(id, 'h')))
	m.buried(graveKey(id, 'p'), g.Queue)
	m.graves.Delete(id)
}

func graveKey(id uint64, part byte) []byte { return append(codec.Key([]byte("x"), id), part) }

// encodeGrave writes a grave; nil: it is gone.
func encodeGrave(id uint64, g *grave, full bool, since uint64, put func(k, v []byte) bool) bool {
	if g == nil {
		return true // buried
	}
	ok := put(graveKey(id, 'h'), codec.Int(nil, g.due))
	g.Save(full, since, func(k, v []byte) {
		if v != nil {
			v = append([]byte{}, v...)
		}
		ok = ok && put(append(graveKey(id, 'p'), k...), v)
	})
	return ok
}

func (m *Machine) finishGrave(p *parts) error {
	q, err := queue.Load(m.saved, p.pairs(p.backlog))
	if err != nil {
		return err
	}
	id := binary.BigEndian.Uint64([]byte(p.name))
	if q.Empty() || q.Stats() != (queue.Stats{Used: q.Stats().Used}) || id == 0 {
		return codec.ErrShort // nothing that entomb has left
	}
	r := codec.NewReader(p.head)
	g := &grave{Queue: q, gen: m.gen}
	if err := m.restoreDue(&g.due, &r, dueGrave, queueKey(id)); err != nil {
		return err
	}
	m.graves.Set(id, g)
	return nil
}
