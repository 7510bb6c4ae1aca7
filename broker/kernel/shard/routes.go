package shard

import (
	"github.com/robustmq/rmq/broker/kernel/codec"
	"github.com/robustmq/rmq/broker/kernel/queue"
	"github.com/robustmq/rmq/broker/kernel/retained"
)

// Route says where one record of the entry (or every record of one batch) goes.
type Route struct {
	Batch     int
	Record    int // index in the batch; -1: every record of it
	Namespace string
	Address   string
	Queues    []uint64
	Sessions  bool // match the filters of this shard's sessions
	Size      uint32
	ExpiresAt int64
	Priority  uint8
	QoS       uint8
	Retain    bool   // as published
	From      string // publisher's client id, for No Local; "" none
	To        string // key of the one session that is to have it (a retained message); "" none
}

// Route adds a route and returns its command index.
func (b *Builder) Route(r *Route) int {
	i := b.op(OpRoute)
	d := b.ops
	d = codec.Uint(d, uint64(r.Batch))
	d = codec.Int(d, int64(r.Record))
	d = codec.String(d, r.Namespace)
	d = codec.String(d, r.Address)
	d = codec.Uint(d, uint64(len(r.Queues)))
	for _, q := range r.Queues {
		d = codec.Uint(d, q)
	}
	d = codec.Bool(d, r.Sessions)
	d = codec.Uint(d, uint64(r.Size))
	d = codec.Int(d, r.ExpiresAt)
	d = append(d, r.Priority, r.QoS)
	d = codec.Bool(d, r.Retain)
	d = codec.String(d, r.From)
	d = codec.String(d, r.To)
	b.ops = d
	return i
}

// route carries out OpRoute. N is the number of queues and sessions that took it.
func (m *Machine) route(r *codec.Reader, out *Outcome) OpResult {
	batch, rec := r.Uint(), r.Int()
	ns, address := r.Bytes(), r.Bytes()
	n := r.Count()
	var ids [16]uint64
	queues := ids[:0]
	for range n {
		queues = append(queues, r.Uint())
	}
	sessions := r.Bool()
	msg := queue.Message{Size: r.Uint32(), ExpiresAt: r.Int(), Priority: r.Byte(), QoS: r.Byte()}
	if r.Bool() {
		msg.Tag |= tagRetain
	}
	from, to := r.Bytes(), r.Bytes()
	if r.Err() != nil || batch >= uint64(len(out.places)) {
		return OpResult{}
	}
	p := out.places[batch]
	if !p.ok || rec >= int64(p.count) {
		return OpResult{Err: out.Batches[batch].Err}
	}
	first, last := p.base+rec, p.base+rec
	if rec < 0 {
		first, last = p.base, p.base+int64(p.count)-1
	}
	var res OpResult
	for offset := first; offset <= last; offset++ {
		msg.Ref = queue.Ref{Log: p.log.ID, Offset: offset}
		for _, id := range queues {
			if q := m.queue(id); q != nil { // a queue may have gone since the router looked
				qm := msg
				qm.Tag |= key(q.Limits().Dispatch, address, from) << queue.KeyShift
				ok := m.push(q, p, &qm, out)
				res.Rejected = res.Rejected || !ok
				res.N++
			}
		}
		if sessions {
			res.N += m.toSessions(string(ns), string(address), string(from), p, &msg, out)
		}
		if len(to) > 0 {
			if s := m.session(string(to)); s != nil {
				m.toSession(s, p, &msg, out)
				res.N++
			}
		}
	}
	return res
}

// push puts a message into a queue, which from then on refers to its body.
func (m *Machine) push(q *Queue, p place, msg *queue.Message, out *Outcome) bool {
	p.log.refer(p.base, 1)
	held := len(out.Effects)
	var ok bool
	m.eff, ok = q.Push(m.now, msg, m.eff[:0])
	m.queueEffects(q, "", out)
	if !ok && !holds(out.Effects[held:], msg.Ref) {
		m.unref(msg.Ref, out)
	}
	m.queueDue(q)
	return ok
}

// holds tells whether a queue that refused a message keeps it to be dead-lettered.
func holds(effects []Effect, ref queue.Ref) bool {
	for i := range effects {
		if e := &effects[i]; e.Kind == DeadLetter && e.Log == ref.Log && e.Offset == ref.Offset {
			return true
		}
	}
	return false
}

// The tag of a message in a queue: tagRetain marks one published with RETAIN, for Retain As
// Published; above is, in a session's backlog, which shared subscription handed it over, and
// in another queue the key that chooses a consumer, where keys do.
const (
	tagRetain     = 1
	tagShareShift = queue.KeyShift
)

// Retain adds a change of the retained message of an address: to the record of a batch of
// this entry, or, with batch -1, to none.
func (b *Builder) Retain(ns, address string, batch, rec int, expiresAt int64) int {
	i := b.op(OpRetain)
	d := codec.String(b.ops, ns)
	d = codec.String(d, address)
	d = codec.Int(d, int64(batch))
	d = codec.Int(d, int64(rec))
	b.ops = codec.Int(d, expiresAt)
	return i
}

func (m *Machine) retain(r *codec.Reader, out *Outcome) OpResult {
	ns, address := r.String(), r.String()
	batch, rec, expires := r.Int(), r.Int(), r.Int()
	if r.Err() != nil || batch >= int64(len(out.places)) {
		return OpResult{}
	}
	if batch < 0 {
		if old, had := m.kept().Delete(ns, address); had {
			m.unref(queue.Ref{Log: old.Log, Offset: old.Offset}, out)
		}
		m.retainedDue()
		return OpResult{}
	}
	p := out.places[batch]
	if !p.ok || rec < 0 || rec >= int64(p.count) {
		return OpResult{Err: out.Batches[batch].Err}
	}
	p.log.refer(p.base, 1)
	old, had, err := m.kept().Set(ns, address, p.log.ID, p.base+rec, expires)
	if err != nil {
		m.unref(queue.Ref{Log: p.log.ID, Offset: p.base + rec}, out)
		return OpResult{Err: err}
	}
	if had {
		m.unref(queue.Ref{Log: old.Log, Offset: old.Offset}, out)
	}
	m.retainedDue()
	return OpResult{}
}

// kept returns the retained messages, to be changed.
func (m *Machine) kept() *retained.Store {
	if m.retainedGen != m.gen {
		m.retained, m.retainedGen = m.retained.Fork(), m.gen
	}
	return m.retained
}

// retainedDue follows a change of the retained messages.
func (m *Machine) retainedDue() {
	m.setDue(&m.retainedAt, m.retained.NextExpiry(), dueRetained, "")
	if m.dirty.off {
		m.retained.Changes() // nobody else asks for them
	}
}

func (m *Machine) tickRetained(out *Outcome) {
	m.kept().Expire(m.now, tickMax, func(_, _ string, old retained.Ref) {
		m.unref(queue.Ref{Log: old.Log, Offset: old.Offset}, out)
	})
	m.retainedDue()
}

// Retained is the shard's retained messages, to be read.
func (m *Machine) Retained() *retained.Store { return m.retained }
