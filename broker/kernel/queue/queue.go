// Package queue is the machine of competing consumers: it remembers, for every
// message of one queue, whether it is ready, acquired by an attachment, or
// waiting to be dead-lettered, and decides who gets which message next.
//
// An AMQP queue, an MQTT shared subscription and the backlog of an MQTT session are
// each one Queue. Bodies rest in a log; a Queue holds their Ref.
//
// A Queue is a deterministic state machine: it has no clock, and starts nothing. Each
// command takes the time in ms, changes the state, and appends to eff what others
// have to do about it. Equal states that are given equal commands stay equal and have
// equal effects, whatever was saved, restored or forked in between.
//
// # Order
//
// Messages are delivered by priority, then in the order they were pushed; where their keys
// choose their consumers (Dispatch), those of each consumer are. A message that comes back
// takes its original place. Seq names a message for its whole life:
// the priority is its top byte, the position among the messages of that priority the
// rest, from 1.
//
// # Bounds
//
// One command emits about StepMax effects per kind of work (deliveries, expiry,
// overflow, purge). What is left over makes Busy true, and a Tick carries on: who owns
// a queue proposes one at once while Busy, and at NextExpiry otherwise.
//
// # Invariants
//
//   - Every message pushed and accepted ends in exactly one Drop effect, after which its
//     body is not referenced by this queue.
//   - A message is acquired by at most one attachment.
//   - A dead-lettered message is held until Confirmed, so that it exists in at least one place.
package queue

import (
	"slices"

	"github.com/robustmq/rmq/broker/fault"
)

// Bounds of one queue.
const (
	// StepMax bounds the messages that one command delivers, expires or drops.
	StepMax = 10_000
	// HeldMax bounds the messages waiting to be dead-lettered elsewhere: at it, expiry
	// pauses, and a push that would have to dead-letter the head is refused.
	HeldMax = 100_000
	// WindowMax bounds the unsettled deliveries of one attachment: at it the attachment gets
	// no more until it settles, whatever its credit.
	WindowMax = 1 << 17
	// AttachmentsMax bounds the attachments of one queue; beyond it Attach answers fault.Exhausted.
	AttachmentsMax = 1 << 16
	// CreditMax bounds the credit of one attachment, so that grants cannot overflow.
	CreditMax = int64(1) << 40
)

// None stands for "no such limit" in Limits.
const None = int64(-1)

// Ref says where a body rests.
type Ref struct {
	Log    uint64
	Offset int64
}

// Message is what a queue is told of a message.
type Message struct {
	Ref       Ref
	Size      uint32 // bytes of its body; what MaxBytes counts
	Tag       uint32 // the owner's word, handed back with every effect
	ExpiresAt int64  // ms; 0: never
	Priority  uint8  // clamped to Limits.MaxPriority
	QoS       uint8  // 0 to 3; the owner's, handed back
}

// Overflow is what a full queue does with a push.
type Overflow uint8

const (
	DropHead         Overflow = iota // accept it and drop what would be delivered next
	RejectPublish                    // refuse it
	RejectPublishDLX                 // refuse it and dead-letter it
)

// Limits are a queue's declared properties.
type Limits struct {
	MessageTTL    int64 // ms that a message may stay; None
	MaxLength     int64 // ready messages; None
	MaxBytes      int64 // bytes of ready messages; None
	DeliveryLimit int64 // failed deliveries before a message is given up; None. Above 65,534 it is none.
	Overflow      Overflow
	MaxPriority   uint8
	DeadLetter    bool // give up by DeadLetter and Confirmed instead of Drop
	SingleActive  bool // one consumer at a time gets messages
	Dispatch      Dispatch
}

// NoLimits is a plain first-in first-out queue.
func NoLimits() Limits {
	return Limits{MessageTTL: None, MaxLength: None, MaxBytes: None, DeliveryLimit: None}
}

// Outcome settles a delivery.
type Outcome uint8

const (
	Accept  Outcome = iota // done: drop it
	Requeue                // back to its original place; counts as a failed delivery
	Reject                 // give it up: dead-letter or drop
	Release                // back to its original place, nothing failed
)

// Reason tells why a message left the queue.
type Reason uint8

const (
	Accepted      Reason = iota // settled by its consumer, or delivered without acknowledgement
	Expired                     // its time was over
	Rejected                    // by its consumer, or by a full queue
	MaxLength                   // the queue was full
	DeliveryLimit               // it failed too often
	Purged                      // the queue was purged or deleted
	DeadLettered                // Confirmed: it rests elsewhere now
)

// reasonNames are RabbitMQ's, as they stand in x-death and x-first-death-reason.
var reasonNames = [...]string{"accepted", "expired", "rejected", "maxlen", "delivery_limit", "purged", "dead_lettered"}

func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return "unknown"
}

// Kind says what an Effect is about.
type Kind uint8

const (
	// Deliver: send the message to Attachment as its delivery No. Of the fields, only
	// Reason means nothing.
	Deliver Kind = iota
	// Drop: the queue refers to Ref no more. Seq, Ref, Size, Tag, QoS and Reason are set. A
	// delivery that needs no acknowledgement is followed by its Drop at once.
	Drop
	// DeadLetter: publish the message to the dead-letter exchange, then call Confirmed with
	// its Seq. Seq, Ref, Size, Tag, QoS, Count, ExpiresAt and Reason are set.
	DeadLetter
	// Active and Inactive: Attachment became or ceased to be the single active consumer.
	Active
	Inactive
	// Gone: Attachment was ended by Close, or was cancelled and has settled all it had.
	Gone
)

// Effect is something to be done outside of the machine.
type Effect struct {
	Kind        Kind
	Reason      Reason
	QoS         uint8
	Redelivered bool   // it was delivered before, to anybody
	Count       uint32 // deliveries before this one
	Failed      uint32 // of those, the ones that failed: AMQP's x-delivery-count
	Size        uint32
	Tag         uint32
	Attachment  uint64
	No          uint64 // numbers the deliveries of Attachment, from 1
	Seq         uint64
	Ref         Ref
	ExpiresAt   int64 // ms; 0: never. The queue's own TTL included.
	Ready       int64 // messages left ready
}

// Queue is one queue. Not safe for concurrent use, except that a Queue which is no
// longer given commands may be read (Save, Stats, Browse, Fork) by several.
type Queue struct {
	owner *token // what this Queue may write in place; nil after a Fork
	gen   uint64 // stamp of changes; see Fork
	ver   uint64 // newest stamp of anything in here

	limits *Limits // never written, so forks share it
	lanes  []lane  // by priority, up to the highest ever pushed
	top    int     // no lane above has ready messages

	ready, readyBytes int64
	unacked           int64
	held              int64 // dead-lettering
	busy              bool  // work was left over for a Tick

	attachments []*attachment // by id
	waiting     []waiter      // heap of the consumers that can take a message; derived from attachments
	turn        uint64        // next turn to be given; round robin is the lowest turn first
	consumers   int           // attachments that are neither pull nor cancelled
	active      uint64        // single active consumer; 0 none
	switching   bool          // a consumer of higher priority waits for the active one to settle
	used        int64         // ms of the last Attach, Detach, Get or Touch

	trash      []*page // purged pages whose Drops are still to be emitted
	trashFirst uint64  // number of trash[0]
	trashCount int64   // messages in them

	gone []goneKey // checkpoint keys that went; see save.go
}

// token is an identity: what carries the token of a Queue was made by it since its
// last Fork, and may be written in place.
type token struct{ _ byte }

// New returns an empty queue.
func New(limits Limits) *Queue { return &Queue{limits: &limits} }

// own makes everything that commands write in place ours: called first by each of them.
func (q *Queue) own() {
	q.ver = q.gen
	if q.owner != nil {
		return
	}
	q.owner = new(token)
	if len(q.lanes) > 0 {
		lanes := make([]lane, len(q.lanes))
		copy(lanes, q.lanes)
		for i := range lanes {
			lanes[i].spare = nil
		}
		q.lanes = lanes
	}
	q.ownAttachments()
	if len(q.gone) > 0 {
		q.gone = append([]goneKey(nil), q.gone...)
	}
	if len(q.trash) > 0 {
		q.trash = append([]*page(nil), q.trash...)
	}
}

// Push adds a message. false: the queue is full and refuses it (Overflow); the caller
// keeps the body then, unless a DeadLetter effect says that the queue holds it.
func (q *Queue) Push(now int64, m *Message, eff []Effect) ([]Effect, bool) {
	q.own()
	lim := q.limits
	e := entry{
		log: m.Ref.Log, offset: m.Ref.Offset, size: m.Size, tag: m.Tag, enqueued: now, expires: m.ExpiresAt,
		attr: stateReady | (m.QoS&3)<<qosShift,
	}
	if lim.MessageTTL >= 0 {
		if at := now + lim.MessageTTL; at >= now && (e.expires == 0 || at < e.expires) {
			e.expires = max(at, 1)
		}
	}
	p := int(min(m.Priority, lim.MaxPriority))
	if q.overflows(1, int64(m.Size)) {
		switch {
		case lim.Overflow == DropHead:
			if lim.DeadLetter && q.held >= HeldMax {
				return eff, false
			}
		case lim.Overflow == RejectPublishDLX && lim.DeadLetter && q.held < HeldMax:
			e.attr = stateHeld | e.attr&qosMask | byte(MaxLength)<<reasonShift
			seq := q.append(p, &e)
			q.held++
			return append(eff, effect(DeadLetter, seq, &e, MaxLength)), false
		default:
			return eff, false
		}
	}
	seq := q.append(p, &e)
	if e.expires == 0 || e.expires > now {
		return q.run(now, 0, eff), true
	}
	// A time to live of zero: delivered at once, or not at all.
	fresh := uint64(0)
	if e.expires == now {
		fresh = seq
	}
	eff = q.run(now, fresh, eff)
	return q.expire(now, StepMax, eff), true
}

// overflows tells whether n more messages of that many bytes would exceed a limit.
func (q *Queue) overflows(n, bytes int64) bool {
	lim := q.limits
	return lim.MaxLength >= 0 && q.ready+n > lim.MaxLength || lim.MaxBytes >= 0 && q.readyBytes+bytes > lim.MaxBytes
}

// append puts an entry at the end of its lane.
func (q *Queue) append(priority int, e *entry) (seq uint64) {
	if priority >= len(q.lanes) {
		lanes := make([]lane, priority+1)
		copy(lanes, q.lanes)
		for i := len(q.lanes); i < len(lanes); i++ {
			lanes[i] = newLane()
		}
		q.lanes = lanes
	}
	l := &q.lanes[priority]
	pos := l.next
	p := q.push(l, e)
	if e.state() == stateReady {
		q.addReady(priority, p, int(pos&pageMask), e)
	}
	return seqOf(priority, pos)
}

// Settle ends the delivery no of an attachment; multiple: and all unsettled ones
// before it. It returns how many deliveries that were.
func (q *Queue) Settle(now int64, id, no uint64, multiple bool, o Outcome, eff []Effect) ([]Effect, int) {
	q.own()
	a := q.find(id)
	if a == nil {
		return eff, 0
	}
	a.ownWindow(q.owner)
	n := 0
	if !multiple {
		if i := a.index(no); i >= 0 {
			eff = q.settle(a, i, o, eff)
			n = 1
		}
	} else {
		for i := a.head; i < len(a.window) && a.window[i].no <= no; i++ {
			if a.window[i].seq != 0 {
				eff = q.settle(a, i, o, eff)
				n++
			}
		}
	}
	if n == 0 {
		return eff, 0
	}
	a.trim()
	eff = q.settled(a, int64(n), eff)
	return q.run(now, 0, eff), n
}

// settle ends the delivery at index i of a's window, which is ours to write.
func (q *Queue) settle(a *attachment, i int, o Outcome, eff []Effect) []Effect {
	seq := a.window[i].seq
	a.window[i].seq = 0
	a.unsettled--
	q.unacked--
	l, p, e := q.at(seq)
	switch o {
	case Requeue, Release:
		if o == Requeue && e.failed < countMax {
			e.failed++
			if limit := q.limits.DeliveryLimit; limit >= 0 && limit < countMax && int64(e.failed) > limit {
				return q.discard(l, p, seq, DeliveryLimit, eff)
			}
		}
		e.setState(stateReady)
		q.addReady(priorityOf(seq), p, int(seq&pageMask), e)
		return eff
	case Reject:
		return q.discard(l, p, seq, Rejected, eff)
	default:
		eff = append(eff, effect(Drop, seq, e, Accepted))
		q.remove(l, p, seq)
		return eff
	}
}

// Confirmed says that a DeadLetter effect was carried out: the message rests elsewhere,
// or had nowhere to go. Repeats are ignored.
func (q *Queue) Confirmed(now int64, seq uint64, eff []Effect) []Effect {
	q.own()
	l, p, e := q.at(seq)
	if e == nil || e.state() != stateHeld {
		return eff
	}
	eff = append(eff, effect(Drop, seq, e, DeadLettered))
	q.held--
	q.remove(l, p, seq)
	if q.held == HeldMax-1 { // what paused at the bound goes on
		eff = q.expire(now, StepMax, eff)
		eff = q.run(now, 0, eff)
	}
	return eff
}

// DeadLetters appends the DeadLetter effects that are not confirmed: a new leader does
// not know which of them its predecessor carried out.
func (q *Queue) DeadLetters(eff []Effect) []Effect {
	if q.held == 0 {
		return eff
	}
	q.each(func(seq uint64, e *entry) bool {
		if e.state() == stateHeld {
			eff = append(eff, effect(DeadLetter, seq, e, e.reason()))
		}
		return true
	})
	return eff
}

// discard gives up a message that is counted neither as ready nor as acquired any more.
func (q *Queue) discard(l *lane, p *page, seq uint64, r Reason, eff []Effect) []Effect {
	e := p.at(int(seq & pageMask))
	if !q.limits.DeadLetter {
		eff = append(eff, effect(Drop, seq, e, r))
		q.remove(l, p, seq)
		return eff
	}
	e.attr = e.attr&qosMask | stateHeld | byte(r)<<reasonShift
	q.held++
	return append(eff, effect(DeadLetter, seq, e, r))
}

func effect(k Kind, seq uint64, e *entry, r Reason) Effect {
	return Effect{
		Kind: k, Reason: r, QoS: e.attr & qosMask >> qosShift, Count: uint32(e.count), Failed: uint32(e.failed), Size: e.size,
		Tag: e.tag, Seq: seq, Ref: Ref{e.log, e.offset}, ExpiresAt: e.expires,
	}
}

// SetLimits replaces the limits. A lower length drops from the head, as far as a
// command goes; a new TTL counts for messages yet to come.
func (q *Queue) SetLimits(now int64, limits Limits, eff []Effect) []Effect {
	q.own()
	q.limits = &limits
	eff = q.choose(eff)
	return q.run(now, 0, eff)
}

// Limits returns the limits in force.
func (q *Queue) Limits() Limits { return *q.limits }

// Stats is a queue in numbers.
type Stats struct {
	Ready, ReadyBytes int64
	Unacked           int64
	Held              int64 // waiting to be dead-lettered elsewhere
	Consumers         int   // attachments that are neither pull nor cancelled
	Attachments       int
	Active            uint64 // the single active consumer; 0 when there is none
	Used              int64  // ms of the last Attach, Detach, Get or Touch
}

// Stats counts.
func (q *Queue) Stats() Stats {
	return Stats{
		Ready: q.ready, ReadyBytes: q.readyBytes, Unacked: q.unacked, Held: q.held, Consumers: q.consumers,
		Attachments: len(q.attachments), Active: q.active, Used: q.used,
	}
}

// Empty tells whether the queue refers to no body at all.
func (q *Queue) Empty() bool { return q.ready+q.unacked+q.held+q.trashCount == 0 }

// Busy tells whether a command left work over that a Tick is to go on with.
func (q *Queue) Busy() bool { return q.busy || len(q.trash) > 0 }

// Pushed tells whether there ever was a message in the queue.
func (q *Queue) Pushed() bool {
	return slices.ContainsFunc(q.lanes, func(l lane) bool { return l.next > 1 })
}

// Touch notes that the queue was used (declared again).
func (q *Queue) Touch(now int64) {
	q.own()
	q.used = now
}

func notFound(op string) error { return fault.Of(fault.NotFound, op, "") }
