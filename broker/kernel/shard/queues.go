package shard

import (
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel/codec"
	"github.com/robustmq/rmq/broker/kernel/queue"
)

// CreateQueue makes a queue; one that is there gets the limits, and counts as used.
func (b *Builder) CreateQueue(id uint64, limits queue.Limits, expires int64) int {
	i := b.op(OpCreateQueue)
	d := codec.Uint(b.ops, id)
	d = appendLimits(d, limits)
	b.ops = codec.Int(d, expires)
	return i
}

func appendLimits(d []byte, l queue.Limits) []byte {
	d = codec.Int(d, l.MessageTTL)
	d = codec.Int(d, l.MaxLength)
	d = codec.Int(d, l.MaxBytes)
	d = codec.Int(d, l.DeliveryLimit)
	d = append(d, byte(l.Overflow), l.MaxPriority)
	d = codec.Bool(d, l.DeadLetter)
	return codec.Bool(d, l.SingleActive)
}

func readLimits(r *codec.Reader) queue.Limits {
	return queue.Limits{
		MessageTTL: r.Int(), MaxLength: r.Int(), MaxBytes: r.Int(), DeliveryLimit: r.Int(),
		Overflow: queue.Overflow(r.Byte()), MaxPriority: r.Byte(), DeadLetter: r.Bool(), SingleActive: r.Bool(),
	}
}

func (m *Machine) createQueue(r *codec.Reader, out *Outcome) OpResult {
	id, limits, expires := r.Uint(), readLimits(r), r.Int()
	if r.Err() != nil {
		return OpResult{}
	}
	if q := m.queue(id); q != nil {
		q.Expires = expires
		q.Touch(m.now)
		limits.Dispatch = q.Limits().Dispatch
		m.eff = q.SetLimits(m.now, limits, m.eff[:0])
		m.queueEffects(q, "", out)
		m.queueDue(q)
		return OpResult{}
	}
	q := &Queue{Queue: queue.New(limits).Fork(m.gen, m.saved), ID: id, Expires: expires, gen: m.gen}
	q.Touch(m.now)
	m.queues.Set(id, q)
	m.dirty.queues.Insert(id)
	m.queueDue(q)
	return OpResult{}
}

// DeleteQueue removes a queue; the result's N is how many messages were ready in it. It is
// refused with fault.Conflict when ifUnused and it has consumers, or ifEmpty and it has
// messages.
func (b *Builder) DeleteQueue(id uint64, ifUnused, ifEmpty bool) int {
	i := b.op(OpDeleteQueue)
	d := codec.Uint(b.ops, id)
	d = codec.Bool(d, ifUnused)
	b.ops = codec.Bool(d, ifEmpty)
	return i
}

func (m *Machine) deleteQueue(r *codec.Reader, out *Outcome) OpResult {
	id, ifUnused, ifEmpty := r.Uint(), r.Bool(), r.Bool()
	q := m.queue(id)
	if q == nil {
		return OpResult{}
	}
	st := q.Stats()
	switch {
	case ifUnused && st.Consumers > 0:
		return OpResult{Err: fault.New(fault.Conflict, "delete queue", "", "in use"), N: st.Ready}
	case ifEmpty && st.Ready > 0:
		return OpResult{Err: fault.New(fault.Conflict, "delete queue", "", "not empty"), N: st.Ready}
	}
	prefix := codec.Key([]byte("q"), id)
	m.dirty.gone.Insert(string(append(prefix, 'h')))
	m.entomb(append(prefix, 'p'), q.Queue)
	m.queueEffects(q, "", out)
	m.queues.Delete(id)
	m.setDue(&q.due, 0, dueQueue, queueKey(id))
	return OpResult{N: st.Ready}
}

// Purge removes the ready messages of a queue; N is how many.
func (b *Builder) Purge(id uint64) int {
	i := b.op(OpPurge)
	b.ops = codec.Uint(b.ops, id)
	return i
}

func (m *Machine) purge(r *codec.Reader, out *Outcome) OpResult {
	q := m.queue(r.Uint())
	if q == nil {
		return OpResult{Err: fault.Of(fault.NotFound, "purge", "")}
	}
	var n int64
	m.eff, n = q.Purge(m.now, m.eff[:0])
	m.queueEffects(q, "", out)
	m.queueDue(q)
	return OpResult{N: n}
}

// Attach adds a consumer to a queue.
type Attach struct {
	Queue      uint64
	Attachment uint64
	Credit     int64
	NoAck      bool
	Exclusive  bool
	Pull       bool
	Refill     bool // settling gives credit back
	Priority   int32
}

// Attach adds the command.
func (b *Builder) Attach(a *Attach) int {
	i := b.op(OpAttach)
	d := codec.Uint(b.ops, a.Queue)
	d = codec.Uint(d, a.Attachment)
	d = codec.Int(d, a.Credit)
	d = codec.Bool(d, a.NoAck)
	d = codec.Bool(d, a.Exclusive)
	d = codec.Bool(d, a.Pull)
	d = codec.Bool(d, a.Refill)
	b.ops = codec.Int(d, int64(a.Priority))
	return i
}

func (m *Machine) attach(r *codec.Reader, out *Outcome) OpResult {
	a := Attach{
		Queue: r.Uint(), Attachment: r.Uint(), Credit: r.Int(), NoAck: r.Bool(), Exclusive: r.Bool(), Pull: r.Bool(), Refill: r.Bool(), Priority: int32(r.Int()),
	}
	q := m.queue(a.Queue)
	if q == nil {
		return OpResult{Err: fault.Of(fault.NotFound, "attach", "")}
	}
	var err error
	m.eff, err = q.Attach(m.now, queue.AttachSpec{
		ID: a.Attachment, Credit: a.Credit, NoAck: a.NoAck, Exclusive: a.Exclusive, Pull: a.Pull, Refill: a.Refill, Priority: a.Priority,
	}, m.eff[:0])
	m.queueEffects(q, "", out)
	m.queueDue(q)
	return OpResult{Err: err}
}

// Detach ends a consumer; what it had not settled goes back to its place, as delivered in
// vain when lost. N is how many consumers are left.
func (b *Builder) Detach(id, attachment uint64, lost bool) int {
	i := b.onAttachment(OpDetach, id, attachment)
	b.ops = codec.Bool(b.ops, lost)
	return i
}

// Cancel ends the deliveries to a consumer, which may still settle what it has.
func (b *Builder) Cancel(id, attachment uint64) int { return b.onAttachment(OpCancel, id, attachment) }

// Get asks for one message for a pull attachment; Known tells whether there was one.
func (b *Builder) Get(id, attachment uint64) int { return b.onAttachment(OpGet, id, attachment) }

func (b *Builder) onAttachment(o Op, id, attachment uint64) int {
	i := b.op(o)
	b.ops = codec.Uint(codec.Uint(b.ops, id), attachment)
	return i
}

func (m *Machine) detach(r *codec.Reader, out *Outcome) OpResult {
	id, attachment, o := r.Uint(), r.Uint(), queue.Release
	if r.Bool() {
		o = queue.Requeue
	}
	q := m.queue(id)
	if q == nil {
		return OpResult{}
	}
	m.eff = q.Detach(m.now, attachment, o, m.eff[:0])
	m.queueEffects(q, "", out)
	out.Effects = append(out.Effects, Effect{Kind: Parted, Queue: id, Attachment: attachment})
	m.queueDue(q)
	return OpResult{N: int64(q.Stats().Consumers)}
}

func (m *Machine) cancel(r *codec.Reader, out *Outcome) OpResult {
	id, attachment := r.Uint(), r.Uint()
	q := m.queue(id)
	if q == nil {
		return OpResult{}
	}
	m.eff = q.Cancel(m.now, attachment, m.eff[:0])
	m.queueEffects(q, "", out)
	m.queueDue(q)
	return OpResult{N: int64(q.Stats().Consumers)}
}

func (m *Machine) get(r *codec.Reader, out *Outcome) OpResult {
	id, attachment := r.Uint(), r.Uint()
	q := m.queue(id)
	if q == nil {
		return OpResult{Err: fault.Of(fault.NotFound, "get", "")}
	}
	var ok bool
	var err error
	m.eff, ok, err = q.Get(m.now, attachment, m.eff[:0])
	m.queueEffects(q, "", out)
	m.queueDue(q)
	return OpResult{Known: ok, Err: err}
}

// Credit allows an attachment n more deliveries.
func (b *Builder) Credit(id, attachment uint64, n int64) int {
	i := b.op(OpCredit)
	b.ops = codec.Int(codec.Uint(codec.Uint(b.ops, id), attachment), n)
	return i
}

func (m *Machine) credit(r *codec.Reader, out *Outcome) OpResult {
	id, attachment, n := r.Uint(), r.Uint(), r.Int()
	q := m.queue(id)
	if q == nil {
		return OpResult{}
	}
	m.eff = q.Credit(m.now, attachment, n, m.eff[:0])
	m.queueEffects(q, "", out)
	m.queueDue(q)
	return OpResult{}
}

// Settle ends one delivery, or, with multiple, all up to it; N is how many.
func (b *Builder) Settle(id, attachment, no uint64, multiple bool, o queue.Outcome) int {
	i := b.op(OpSettle)
	d := codec.Uint(codec.Uint(codec.Uint(b.ops, id), attachment), no)
	b.ops = append(codec.Bool(d, multiple), byte(o))
	return i
}

func (m *Machine) settle(r *codec.Reader, out *Outcome) OpResult {
	id, attachment, no, multiple, o := r.Uint(), r.Uint(), r.Uint(), r.Bool(), queue.Outcome(r.Byte())
	q := m.queue(id)
	if q == nil {
		return OpResult{}
	}
	var n int
	m.eff, n = q.Settle(m.now, attachment, no, multiple, o, m.eff[:0])
	m.queueEffects(q, "", out)
	m.queueDue(q)
	return OpResult{N: int64(n)}
}

// DeadLettered says that a DeadLetter effect was carried out.
func (b *Builder) DeadLettered(id, seq uint64) int { return b.onAttachment(OpDeadLettered, id, seq) }

func (m *Machine) deadLettered(r *codec.Reader, out *Outcome) OpResult {
	id, seq := r.Uint(), r.Uint()
	if q := m.queue(id); q != nil {
		m.eff = q.Confirmed(m.now, seq, m.eff[:0])
		m.queueEffects(q, "", out)
		m.queueDue(q)
	}
	return OpResult{}
}

// queueEffects turns what a queue asks for (in m.eff) into effects of the machine.
func (m *Machine) queueEffects(q *Queue, session string, out *Outcome) {
	for i := range m.eff {
		e := &m.eff[i]
		switch e.Kind {
		case queue.Deliver:
			out.Effects = append(out.Effects, Effect{
				Kind: Deliver, Queue: q.ID, Attachment: e.Attachment, No: e.No, Seq: e.Seq, Log: e.Ref.Log, Offset: e.Ref.Offset,
				QoS: e.QoS, Redelivered: e.Redelivered, Count: e.Count, Failed: e.Failed, Ready: e.Ready, ExpiresAt: e.ExpiresAt,
				Retain: e.Tag&tagRetain != 0, Session: session,
			})
		case queue.Drop:
			m.unref(e.Ref, out)
		case queue.DeadLetter:
			out.Effects = append(out.Effects, Effect{
				Kind: DeadLetter, Queue: q.ID, Seq: e.Seq, Log: e.Ref.Log, Offset: e.Ref.Offset, Count: e.Count, Failed: e.Failed,
				QoS: e.QoS, ExpiresAt: e.ExpiresAt, Reason: e.Reason,
			})
		case queue.Gone:
			out.Effects = append(out.Effects, Effect{Kind: AttachmentGone, Queue: q.ID, Attachment: e.Attachment})
		case queue.Active, queue.Inactive:
			// Only lists show it.
		}
	}
}

// DeadLetters lists what every queue waits to have dead-lettered: a new leader does not
// know which of them its predecessor carried out.
func (m *Machine) DeadLetters(out *Outcome) {
	m.queues.Scan(func(_ uint64, q *Queue) bool {
		m.eff = q.DeadLetters(m.eff[:0])
		m.queueEffects(q, "", out)
		return true
	})
}

// queueDue keeps the queue's place among the deadlines.
func (m *Machine) queueDue(q *Queue) {
	at := q.NextExpiry()
	if q.Busy() {
		at = m.now
	}
	if q.Expires > 0 && q.Stats().Consumers == 0 {
		if unused := q.Stats().Used + q.Expires; at == 0 || unused < at {
			at = unused
		}
	}
	m.setDue(&q.due, at, dueQueue, queueKey(q.ID))
}

func (m *Machine) tickQueue(q *Queue, out *Outcome) {
	if q.Expires > 0 && q.Stats().Consumers == 0 && q.Stats().Used+q.Expires <= m.now {
		q.Touch(m.now) // told once; the broker deletes it through log 0
		out.Effects = append(out.Effects, Effect{Kind: QueueExpired, Queue: q.ID})
	}
	m.eff = q.Tick(m.now, tickMax, m.eff[:0])
	m.queueEffects(q, "", out)
	m.queueDue(q)
}

// QueueAttachments calls fn for the attachments of a queue, with how many deliveries each has not settled.
func (m *Machine) QueueAttachments(id uint64, fn func(spec queue.AttachSpec, unsettled int)) {
	if q, ok := m.queues.Get(id); ok {
		q.Attachments(func(spec queue.AttachSpec, _ uint64, unsettled int) { fn(spec, unsettled) })
	}
}

// Attachments yields the attachments of every queue.
func (m *Machine) Attachments(yield func(id, attachment uint64)) {
	m.queues.Scan(func(id uint64, q *Queue) bool {
		q.Attachments(func(spec queue.AttachSpec, _ uint64, _ int) { yield(id, spec.ID) })
		return true
	})
}
