// Package shard is the deterministic machine that one shard runs: its logs, queues,
// sessions, groups and retained messages, changed by the entries of one log.
//
// Apply is a function of the state and the entry: it reads no clock, no socket and no
// random source, so every replica, every replay and every fork that is given the same
// entries has the same state and the same effects. What has to be done about an entry
// outside of the state (append these batches, deliver this message, answer that join)
// is in the Outcome; a replica that does not lead, or a replay, ignores most of it.
//
//	entry.go     the format of an entry, and its builder
//	log.go       partitions and bodies: offsets, producers, references
//	ops.go       the fields of each command, written and read side by side
//	routes.go    one message to the queues, sessions and retained values that want it
//	queues.go sessions.go groups.go    commands of each kind
//	graves.go    what is left to do of queues that are gone
//	log_save.go      a log in a checkpoint, piece by piece
//	checkpoint.go    forks, incremental checkpoints, restore
package shard

import (
	"github.com/tidwall/btree"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel/codec"
	"github.com/robustmq/rmq/broker/kernel/group"
	"github.com/robustmq/rmq/broker/kernel/queue"
	"github.com/robustmq/rmq/broker/kernel/retained"
	"github.com/robustmq/rmq/broker/kernel/route"
	"github.com/robustmq/rmq/broker/kernel/session"
	"github.com/robustmq/rmq/broker/record"
)

// Machine is the state of one shard. Not safe for concurrent use; forks are independent
// of each other.
type Machine struct {
	now   int64  // time of the newest entry, ms
	gen   uint64 // what carries this number may be changed in place; rises with each Fork
	saved uint64 // generation up to which checkpoints are known to be complete

	links       btree.Map[uint32, link]
	logs        btree.Map[uint64, *Log]
	queues      btree.Map[uint64, *Queue]
	sessions    btree.Map[string, *Session] // by namespace, 0, client id
	groups      btree.Map[string, *Group]   // by namespace, 0, group id
	onces       btree.Map[string, stored]   // QoS 2 publishes stored here; see once.go
	onceOrder   btree.Map[uint64, string]   // the same in the order in which they came
	onceNext    uint64
	graves      btree.Map[uint64, *grave]
	delays      btree.Map[uint64, delayed]
	delayNext   uint64 // number of the last delayed message
	retained    *retained.Store
	retainedGen uint64 // generation of retained
	retainedAt  int64  // its entry in due

	// due orders what has a deadline: the time (8 bytes, big-endian), its kind (1), its key.
	due btree.Set[string]

	// Derived from sessions when it is first asked: nil before. Not checkpointed.
	filters map[string]*route.Table[filter] // by namespace

	dirty dirty
	term  uint64         // of the entry that is applied
	eff   []queue.Effect // scratch
	found []filter       // scratch
}

// link numbers the entries of one proposer.
type link struct {
	incarnation, seq uint64
}

// Queue is one queue and where it stands in the machine.
type Queue struct {
	*queue.Queue
	ID      uint64
	Expires int64 // ms without consumer, get or declaration before it goes; 0 never
	due     int64 // its entry in Machine.due; 0 none
	gen     uint64
}

// New returns an empty machine.
func New() *Machine { return newMachine(false) }

// NewTransient is New for a machine that no checkpoint is ever taken of: it does not note what
// one would have to write.
func NewTransient() *Machine { return newMachine(true) }

func newMachine(transient bool) *Machine {
	m := &Machine{retained: retained.New(), gen: 1, dirty: newDirty(transient)}
	m.logs.Set(Bodies, &Log{ID: Bodies, gen: 1})
	m.dirty.logs.Insert(Bodies)
	return m
}

// Outcome is what an entry came to. It is reused from entry to entry; nothing in it
// outlives the next Reset.
type Outcome struct {
	Batches []BatchResult // by index in the entry
	Ops     []OpResult    // by index in the entry
	Appends []Append      // batches to be stored, in order
	Effects []Effect      // in order
	places  []place
}

// OpResult is what one command came to.
type OpResult struct {
	Err      error
	N        int64 // a count or a number that the command returns
	Rejected bool  // OpRoute: a queue refused the message
	Known    bool  // OpReceived, OpRelease, OpIncoming, OpOpenSession: it was there
	Value    any   // OpGroup: what the group answers
}

// Append is one batch to be stored.
type Append struct {
	Log   uint64
	Base  int64
	Epoch int32
	Batch record.Batch // aliases the entry
}

// Stamp writes what the machine decided into a copy of the batch.
func (a *Append) Stamp(b record.Batch) {
	b.SetBaseOffset(a.Base)
	b.SetLeaderEpoch(a.Epoch)
}

// place is where a batch of the entry went.
type place struct {
	log   *Log
	base  int64
	count int32
	ok    bool
}

// Reset empties the outcome.
func (o *Outcome) Reset() {
	clear(o.Ops)
	clear(o.Effects)
	o.Batches, o.Ops, o.Appends, o.Effects, o.places = o.Batches[:0], o.Ops[:0], o.Appends[:0], o.Effects[:0], o.places[:0]
}

// Apply applies one entry. epoch is the term of the log, which becomes the leader epoch
// of what is appended. An error means that the entry is not one that this release
// writes: the state is then undefined.
func (m *Machine) Apply(data []byte, epoch int32, out *Outcome) (Header, error) {
	h, rest, err := parseHeader(data)
	if err != nil {
		return h, err
	}
	m.now, m.term = max(m.now, h.Time), uint64(epoch)
	l, _ := m.links.Get(h.Link)
	switch {
	case h.Incarnation < l.incarnation || h.Incarnation == l.incarnation && h.Seq <= l.seq:
		return Header{}, nil // proposed again after a change of leader: it is in the state
	case h.Incarnation == l.incarnation && h.Seq != l.seq+1, h.Incarnation > l.incarnation && h.Seq != 1:
		return Header{}, nil // the one before was lost on its way to the leader: both come again
	}
	m.links.Set(h.Link, link{h.Incarnation, h.Seq})

	r := codec.NewReader(rest)
	for range r.Count() {
		log, once, batch := r.Uint(), readOnce(&r), r.Bytes()
		if r.Err() != nil {
			return h, r.Err()
		}
		if err := m.appendBatch(log, once, batch, epoch, out); err != nil {
			return h, err
		}
	}
	for r.Len() > 0 && r.Err() == nil {
		op := Op(r.Byte())
		if err := m.op(op, &r, out); err != nil {
			return h, err
		}
	}
	if err := r.Err(); err != nil {
		return h, err
	}
	m.sweep(out)
	return h, nil
}

// Sent is the number of the last entry that one life of a link has proposed and the machine has
// applied; 0: none.
func (m *Machine) Sent(id uint32, incarnation uint64) uint64 {
	if l, _ := m.links.Get(id); l.incarnation == incarnation {
		return l.seq
	}
	return 0
}

func (m *Machine) appendBatch(log uint64, once Once, raw []byte, epoch int32, out *Outcome) error {
	b, rest, err := record.Next(raw)
	if err != nil || len(rest) > 0 || b.Count() < 0 || b.LastOffsetDelta() != b.Count()-1 {
		return fault.New(fault.Internal, "apply", "", "malformed batch of %d bytes", len(raw))
	}
	l := m.log(log)
	if l == nil || l.Deleted {
		out.Batches = append(out.Batches, BatchResult{Err: fault.Of(fault.NotFound, "append", ""), Base: -1})
		out.places = append(out.places, place{})
		return nil
	}
	if once != (Once{}) && m.repeated(once) {
		out.Batches = append(out.Batches, BatchResult{Base: -1, Duplicate: true})
		out.places = append(out.places, place{})
		return nil
	}
	l.Epoch = epoch
	r, ok := l.append(b, m.now)
	out.Batches = append(out.Batches, r)
	out.places = append(out.places, place{log: l, base: r.Base, count: b.LastOffsetDelta() + 1, ok: ok})
	if ok {
		out.Appends = append(out.Appends, Append{Log: log, Base: r.Base, Epoch: epoch, Batch: b})
	}
	return nil
}

// sweep frees the bodies of this entry that found no taker.
func (m *Machine) sweep(out *Outcome) {
	for i := range out.places {
		if p := &out.places[i]; p.ok && p.log.ID == Bodies && !p.log.Live(p.base) {
			out.Effects = append(out.Effects, Effect{Kind: Free, Log: Bodies, Offset: p.base})
		}
	}
}

// log returns a log that may be changed, or nil.
func (m *Machine) log(id uint64) *Log {
	l, ok := m.logs.Get(id)
	if !ok {
		return nil
	}
	if l.gen != m.gen {
		l = l.fork(m.gen)
		m.logs.Set(id, l)
	}
	m.dirty.logs.Insert(id)
	return l
}

// queue returns a queue that may be changed, or nil.
func (m *Machine) queue(id uint64) *Queue {
	q, ok := m.queues.Get(id)
	if !ok {
		return nil
	}
	if q.gen != m.gen {
		q = &Queue{Queue: q.Queue.Fork(m.gen, m.saved), ID: id, Expires: q.Expires, due: q.due, gen: m.gen}
		m.queues.Set(id, q)
	}
	m.dirty.queues.Insert(id)
	return q
}

// unref says that one reference to a record is gone.
func (m *Machine) unref(ref queue.Ref, out *Outcome) {
	l := m.log(ref.Log)
	if l == nil {
		return
	}
	switch base, freed := l.drop(ref.Offset); {
	case !freed:
	case ref.Log != Bodies:
		m.endLog(l, out)
	case !out.fresh(base):
		out.Effects = append(out.Effects, Effect{Kind: Free, Log: ref.Log, Offset: base})
	}
}

// Effect is something to be done outside of the machine.
type Effect struct {
	Kind EffectKind

	Log    uint64 // Free, LogCreated, LogDeleted, LogTrimmed, and where a body is
	Offset int64

	Queue       uint64 // 0: a session's backlog
	Attachment  uint64
	No          uint64
	Seq         uint64
	PacketID    uint16
	QoS         uint8
	Redelivered bool
	Retain      bool
	Count       uint32
	Failed      uint32
	Ready       int64
	ExpiresAt   int64
	Reason      queue.Reason
	Share       uint32 // Deliver and Dropped of a session: which shared subscription handed the message over; 0: none

	Session  string          // key of a session
	Filter   session.Options // FilterAdded
	Will     []byte          // WillDue
	Envelope []byte          // DelayOver
	Group    *group.Effect   // GroupEffect
	Key      string
}

// EffectKind says what an Effect asks for.
type EffectKind uint8

const (
	// Deliver: give the record at Log, Offset to Attachment.
	Deliver EffectKind = iota
	// Resend: PUBREL of PacketID is to be sent again.
	Resend
	// Free: nothing refers any more to the body batch that begins at Offset.
	Free
	// LogCreated, LogDeleted, LogTrimmed: Log is there, is gone, or begins at Offset.
	LogCreated
	LogDeleted
	LogTrimmed
	// DeadLetter: publish the record at Log, Offset to Queue's dead-letter exchange, then
	// say OpDeadLettered with Seq.
	DeadLetter
	// AttachmentGone: the queue is gone, and so is the attachment.
	AttachmentGone
	// Parted: Attachment, a consumer or a connection that held a session, was ended. Where its owner
	// has not asked for that, who leads the shard has, as the owner's node was away.
	Parted
	// SessionTaken: the connection Attachment lost its session to a newer one.
	SessionTaken
	// SessionOpened: Attachment, a connection, holds Session.
	SessionOpened
	// SessionEnded: Session is gone.
	SessionEnded
	// FilterAdded: Session is subscribed to the filter Key, as Filter says.
	FilterAdded
	// FilterGone: Session is not subscribed to the filter Key any more.
	FilterGone
	// Dropped: a full backlog let go of a message of Session.
	Dropped
	// WillDue: publish Will of Session, then say OpDelayed with Seq.
	WillDue
	// GroupEffect: Group is an effect of the group machine under Key.
	GroupEffect
	// DelayOver: publish the record at Log, Offset as Envelope says, then say OpDelayed with
	// Seq.
	DelayOver
	// QueueExpired: Queue was unused for as long as it may be.
	QueueExpired
)

// Now is the time of the newest entry, in ms.
func (m *Machine) Now() int64 { return m.now }

// fresh tells whether the body batch at base is of this entry: later commands of it may
// still refer to it, and sweep frees it if none does.
func (o *Outcome) fresh(base int64) bool {
	for i := range o.places {
		if p := &o.places[i]; p.ok && p.log.ID == Bodies && p.base == base {
			return true
		}
	}
	return false
}
