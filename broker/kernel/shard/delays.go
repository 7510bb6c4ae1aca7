package shard

import (
	"encoding/binary"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel/codec"
	"github.com/robustmq/rmq/broker/kernel/queue"
)

// A delayed message rests among the bodies until its time has come; then it is published
// as if it came in at that moment. A will is published at once, when its session says so.
// Both are held until that is confirmed, so that a crash in between may publish them twice,
// but never loses them.

// DelayedMax bounds the delayed messages of one shard; beyond it Delay answers
// fault.Exhausted.
const DelayedMax = 1_000_000

// delayed is one message that waits. Immutable once stored.
type delayed struct {
	ref      queue.Ref
	due      int64  // ms; 0: its effect was told, and is not confirmed
	envelope []byte // the owner's: where it is to be published
	will     string // key of the session whose will envelope is; "" for a delayed message
}

// Delay holds the record of a batch of this entry back until due.
func (b *Builder) Delay(batch, rec int, due int64, envelope []byte) int {
	i := b.op(OpDelay)
	d := codec.Uint(b.ops, uint64(batch))
	d = codec.Uint(d, uint64(rec))
	d = codec.Int(d, due)
	b.ops = codec.Bytes(d, envelope)
	return i
}

func (m *Machine) delay(r *codec.Reader, out *Outcome) OpResult {
	batch, rec, due, envelope := r.Uint(), r.Uint(), r.Int(), r.Bytes()
	if r.Err() != nil || batch >= uint64(len(out.places)) {
		return OpResult{}
	}
	p := out.places[batch]
	if !p.ok || rec >= uint64(p.count) {
		return OpResult{Err: out.Batches[batch].Err}
	}
	if m.delays.Len() >= DelayedMax {
		return OpResult{Err: fault.New(fault.Exhausted, "delay", "", "%d messages are delayed", m.delays.Len())}
	}
	p.log.refer(p.base, 1)
	m.delayNext++
	d := delayed{ref: queue.Ref{Log: p.log.ID, Offset: p.base + int64(rec)}, envelope: append([]byte(nil), envelope...)}
	m.setDelay(m.delayNext, d, max(due, 1))
	return OpResult{}
}

// setDelay stores a delayed message under a deadline; 0: none.
func (m *Machine) setDelay(id uint64, d delayed, due int64) {
	m.setDue(&d.due, due, dueDelay, queueKey(id))
	m.delays.Set(id, d)
	m.dirty.delays.Insert(id)
}

func (m *Machine) tickDelay(key string, out *Outcome) {
	id := binary.BigEndian.Uint64([]byte(key))
	if d, there := m.delays.Get(id); there {
		d.due = 0
		m.setDelay(id, d, 0)
		out.Effects = append(out.Effects, delayOver(id, &d))
	}
}

// will publishes a will, and holds it until that is confirmed.
func (m *Machine) will(session string, will []byte, out *Outcome) {
	m.delayNext++
	d := delayed{envelope: will, will: session}
	m.setDelay(m.delayNext, d, 0)
	out.Effects = append(out.Effects, delayOver(m.delayNext, &d))
}

func delayOver(id uint64, d *delayed) Effect {
	if d.will != "" {
		return Effect{Kind: WillDue, Seq: id, Session: d.will, Will: d.envelope}
	}
	return Effect{Kind: DelayOver, Seq: id, Log: d.ref.Log, Offset: d.ref.Offset, Envelope: d.envelope}
}

// Delayed says that a DelayOver or WillDue effect was carried out, or that what waits for its time is not to be.
func (b *Builder) Delayed(id uint64) int {
	i := b.op(OpDelayed)
	b.ops = codec.Uint(b.ops, id)
	return i
}

func (m *Machine) delayedDone(r *codec.Reader, out *Outcome) OpResult {
	id := r.Uint()
	d, there := m.delays.Get(id)
	if !there || r.Err() != nil {
		return OpResult{}
	}
	m.setDelay(id, d, 0)
	m.delays.Delete(id)
	if d.will == "" {
		m.unref(d.ref, out)
	}
	return OpResult{Known: true}
}

// DelayedAfter lists delayed messages that wait for their time, at most limit, those after an id.
func (m *Machine) DelayedAfter(after uint64, limit int) (ids []uint64) {
	m.delays.Ascend(after+1, func(id uint64, d delayed) bool {
		if d.due != 0 && d.will == "" {
			ids = append(ids, id)
		}
		return len(ids) < limit
	})
	return ids
}

// DelaysOver lists what is not confirmed: a new leader does not know which of them its
// predecessor carried out.
func (m *Machine) DelaysOver(out *Outcome) {
	m.delays.Scan(func(id uint64, d delayed) bool {
		if d.due == 0 {
			out.Effects = append(out.Effects, delayOver(id, &d))
		}
		return true
	})
}

func (d *delayed) encode() []byte {
	b := codec.Int(codec.Uint(nil, d.ref.Log), d.ref.Offset)
	return codec.String(codec.Bytes(codec.Int(b, d.due), d.envelope), d.will)
}

func (m *Machine) restoreDelay(key, v []byte) error {
	r := codec.NewReader(v)
	d := delayed{ref: queue.Ref{Log: r.Uint(), Offset: r.Int()}, due: r.Int(), envelope: r.Bytes(), will: r.String()}
	if err := r.Done(); err != nil || len(key) != 8 || d.due < 0 {
		return codec.ErrShort
	}
	id := binary.BigEndian.Uint64(key)
	if d.due != 0 {
		m.due.Insert(deadlineOf(d.due, dueDelay, queueKey(id)))
	}
	m.delays.Set(id, d)
	return nil
}
