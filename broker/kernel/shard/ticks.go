package shard

import (
	"encoding/binary"

	"github.com/robustmq/rmq/broker/kernel/codec"
)

// tickMax bounds what one tick looks after (DESIGN: then another follows).
const tickMax = 10_000

// Kinds of deadlines, in the order in which those of one millisecond are met.
const (
	dueSession byte = iota + 1
	dueQueue
	dueRetained
	dueGroup
	dueDelay
	dueGrave
)

func queueKey(id uint64) string { return string(codec.Key(nil, id)) }

func deadlineOf(at int64, kind byte, key string) string {
	b := make([]byte, 0, 9+len(key))
	b = binary.BigEndian.AppendUint64(b, uint64(at))
	b = append(b, kind)
	return string(append(b, key...))
}

// setDue moves a deadline; at 0 takes it away. One that has passed is met by the next
// tick, so that a tick meets each at most once and does a bounded amount of work.
func (m *Machine) setDue(due *int64, at int64, kind byte, key string) {
	if at != 0 {
		at = max(at, m.now+1)
	}
	if *due == at {
		return
	}
	if *due != 0 {
		m.due.Delete(deadlineOf(*due, kind, key))
	}
	if at != 0 {
		m.due.Insert(deadlineOf(at, kind, key))
	}
	*due = at
}

// restoreDue reads a deadline, the last value of its checkpoint entry, back to its place:
// it is state, for what is met first among much that is overdue depends on it.
func (m *Machine) restoreDue(due *int64, r *codec.Reader, kind byte, key string) error {
	at := r.Int()
	if err := r.Done(); err != nil || at < 0 {
		return codec.ErrShort
	}
	if *due = at; at != 0 {
		m.due.Insert(deadlineOf(at, kind, key))
	}
	return nil
}

// NextDeadline is when a tick is to be proposed, in ms; 0 when nothing is due ever.
func (m *Machine) NextDeadline() int64 {
	d, ok := m.due.Min()
	if !ok {
		return 0
	}
	return max(int64(binary.BigEndian.Uint64([]byte(d))), 1)
}

// Tick lets time pass: whatever is due by the entry's time happens.
func (b *Builder) Tick() int { return b.op(OpTick) }

func (m *Machine) tick(out *Outcome) OpResult {
	var n int64
	for before := len(out.Effects); n < tickMax && len(out.Effects)-before < tickMax; n++ {
		d, ok := m.due.Min()
		if !ok || int64(binary.BigEndian.Uint64([]byte(d))) > m.now {
			break
		}
		m.due.Delete(d)
		key := d[9:]
		switch d[8] {
		case dueQueue:
			if q := m.queue(binary.BigEndian.Uint64([]byte(key))); q != nil {
				q.due = 0
				m.tickQueue(q, out)
			}
		case dueSession:
			if s := m.session(key); s != nil {
				s.due = 0
				m.tickSession(s, out)
			}
		case dueGroup:
			if g := m.groupW(key, false); g != nil {
				g.due = 0
				m.tickGroup(g)
			}
		case dueDelay:
			m.tickDelay(key, out)
		case dueGrave:
			m.tickGrave(key, out)
		case dueRetained:
			m.retainedAt = 0
			m.tickRetained(out)
		}
	}
	return OpResult{N: n}
}
