package queue

import (
	"slices"

	"github.com/robustmq/rmq/broker/fault"
)

// AttachSpec says how an attachment takes messages.
type AttachSpec struct {
	ID        uint64 // the caller's; unique in the queue and never 0
	Credit    int64  // deliveries allowed for now
	Priority  int32  // consumers of higher priority are served first
	NoAck     bool   // settled as soon as delivered
	Exclusive bool   // refuse if there is another consumer; refuse others after
	Pull      bool   // delivered to by Get only, whatever the credit; not a consumer
	Refill    bool   // settling a delivery gives its credit back
}

// attachment is one consumer of the queue and what it has not settled.
type attachment struct {
	AttachSpec
	cancelled bool
	next      uint64 // number of the next delivery
	turn      uint64 // while waiting: when its turn is among equals
	order     uint64 // attachments made earlier have a lower one
	waiting   bool   // it is in Queue.waiting

	// window[head:] are the unsettled deliveries in order of number, and settled ones (seq
	// 0) between them.
	window    []delivery
	head      int
	unsettled int
	windowBy  *token

	born, ver uint64
}

type delivery struct{ no, seq uint64 }

// waiter is a consumer that can take a message, as the heap orders them.
type waiter struct {
	priority int32
	turn     uint64
	a        *attachment
}

// Attach adds an attachment, and delivers to it what there is.
//
// Errors: fault.Exists when the ID is in use; fault.Locked when an exclusive consumer is
// there or is asked for beside others, and for Pull on a single-active-consumer queue;
// fault.Exhausted at AttachmentsMax.
func (q *Queue) Attach(now int64, spec AttachSpec, eff []Effect) ([]Effect, error) {
	const op = "attach"
	i, found := q.search(spec.ID)
	switch {
	case spec.ID == 0:
		return eff, fault.New(fault.Invalid, op, "", "attachment id 0")
	case found:
		return eff, fault.Of(fault.Exists, op, "")
	case spec.Pull && q.limits.singleActive():
		return eff, fault.New(fault.Locked, op, "", "queue has a single active consumer")
	case !spec.Pull && q.consumers > 0 && (spec.Exclusive || q.exclusive()):
		return eff, fault.New(fault.Locked, op, "", "exclusive consumer")
	case len(q.attachments) >= AttachmentsMax:
		return eff, fault.New(fault.Exhausted, op, "", "%d attachments", len(q.attachments))
	}
	q.own()
	q.used = now
	spec.Credit = min(max(spec.Credit, 0), CreditMax)
	a := &attachment{AttachSpec: spec, next: 1, order: q.turn, windowBy: q.owner, born: q.gen, ver: q.gen}
	q.turn++
	q.attachments = slices.Insert(q.attachments, i, a)
	if !a.Pull {
		q.consumers++
		eff = q.choose(eff)
	}
	q.refresh(a)
	return q.run(now, 0, eff), nil
}

// exclusive tells whether an exclusive consumer is attached.
func (q *Queue) exclusive() bool {
	for _, a := range q.attachments {
		if a.Exclusive && a.consumer() {
			return true
		}
	}
	return false
}

func (a *attachment) consumer() bool { return !a.Pull && !a.cancelled }

// eligible tells whether a could be given a message now.
func (a *attachment) eligible() bool {
	return a.Credit > 0 && a.consumer() && a.unsettled < WindowMax
}

func (q *Queue) search(id uint64) (int, bool) {
	if len(q.attachments) == 1 { // by far the most common
		switch at := q.attachments[0].ID; {
		case at == id:
			return 0, true
		case at < id:
			return 1, false
		}
		return 0, false
	}
	return slices.BinarySearchFunc(q.attachments, id, func(a *attachment, id uint64) int {
		switch {
		case a.ID < id:
			return -1
		case a.ID > id:
			return 1
		}
		return 0
	})
}

// find returns the attachment of that id for writing; nil when there is none.
func (q *Queue) find(id uint64) *attachment {
	i, ok := q.search(id)
	if !ok {
		return nil
	}
	a := q.attachments[i]
	a.ver = q.gen
	return a
}

// Credit allows n more deliveries (fewer when n is negative, but not below none).
func (q *Queue) Credit(now int64, id uint64, n int64, eff []Effect) []Effect {
	q.own()
	a := q.find(id)
	if a == nil {
		return eff
	}
	n = min(max(n, -CreditMax), CreditMax)
	return q.setCredit(now, a, a.Credit+n, eff)
}

// SetCredit replaces the credit; 0 pauses the attachment.
func (q *Queue) SetCredit(now int64, id uint64, n int64, eff []Effect) []Effect {
	q.own()
	a := q.find(id)
	if a == nil {
		return eff
	}
	return q.setCredit(now, a, n, eff)
}

func (q *Queue) setCredit(now int64, a *attachment, n int64, eff []Effect) []Effect {
	a.Credit = min(max(n, 0), CreditMax)
	q.refresh(a)
	if len(q.waiting) == 0 {
		q.park()
		return eff
	}
	return q.run(now, 0, eff)
}

// Get delivers one message to a Pull attachment; false: none is ready.
func (q *Queue) Get(now int64, id uint64, eff []Effect) ([]Effect, bool, error) {
	q.own()
	q.used = now
	a := q.find(id)
	switch {
	case a == nil:
		return eff, false, notFound("get")
	case !a.Pull:
		return eff, false, fault.Of(fault.Conflict, "get", "")
	case a.unsettled >= WindowMax:
		return eff, false, fault.New(fault.Exhausted, "get", "", "%d unsettled deliveries", a.unsettled)
	}
	for range StepMax {
		if q.ready == 0 {
			return eff, false, nil
		}
		l, p, seq := q.head()
		e := p.at(int(seq & pageMask))
		if e.expires == 0 || e.expires > now {
			return q.send(a, l, p, seq, e, eff), true, nil
		}
		if q.limits.DeadLetter && q.held >= HeldMax {
			return eff, false, nil
		}
		q.subReady(l, p, e)
		eff = q.discard(l, p, seq, Expired, eff)
	}
	q.busy = true
	return eff, false, nil
}

// Detach ends an attachment. What it had not settled is settled with o: Requeue when
// its connection was lost, Release when it left in peace.
func (q *Queue) Detach(now int64, id uint64, o Outcome, eff []Effect) []Effect {
	q.own()
	a := q.find(id)
	if a == nil {
		return eff
	}
	q.used = now
	eff = q.remit(a, o, eff)
	eff = q.drop(a, eff)
	eff = q.run(now, 0, eff)
	if len(q.waiting) == 0 {
		q.park()
	}
	return eff
}

// Cancel ends the deliveries to an attachment, which may still settle what it has: it
// is Gone, and says so, with its last settlement (AMQP's basic.cancel).
func (q *Queue) Cancel(now int64, id uint64, eff []Effect) []Effect {
	q.own()
	a := q.find(id)
	if a == nil || a.cancelled {
		return eff
	}
	q.used = now
	if a.unsettled == 0 {
		eff = append(eff, Effect{Kind: Gone, Attachment: id})
		eff = q.drop(a, eff)
	} else {
		if a.consumer() {
			q.consumers--
		}
		a.cancelled = true
		q.refresh(a)
		eff = q.choose(eff)
	}
	return q.run(now, 0, eff)
}

// Resume appends again the unsettled deliveries of an attachment whose numbers are
// above last: what its connection did not see before the leader changed.
func (q *Queue) Resume(id, last uint64, eff []Effect) ([]Effect, error) {
	i, ok := q.search(id)
	if !ok {
		return eff, notFound("resume")
	}
	a := q.attachments[i]
	for _, d := range a.window[a.head:] {
		if d.seq == 0 || d.no <= last {
			continue
		}
		l := &q.lanes[priorityOf(d.seq)]
		pos := posOf(d.seq)
		e := l.pages[l.find(pos>>pageBits)].at(int(pos & pageMask)) // acquired, so its page is hot
		eff = append(eff, q.delivered(a.ID, d.no, d.seq, e))
	}
	return eff, nil
}

// remit settles all that an attachment has.
func (q *Queue) remit(a *attachment, o Outcome, eff []Effect) []Effect {
	a.ownWindow(q.owner)
	for i := a.head; i < len(a.window); i++ {
		if a.window[i].seq != 0 {
			eff = q.settle(a, i, o, eff)
		}
	}
	a.window, a.head = nil, 0
	return eff
}

// drop takes an attachment off the queue.
func (q *Queue) drop(a *attachment, eff []Effect) []Effect {
	if a.consumer() {
		q.consumers--
	}
	a.cancelled = true
	q.refresh(a)
	i, _ := q.search(a.ID)
	q.attachments = slices.Delete(q.attachments, i, i+1)
	if a.born < q.gen {
		q.gone = append(q.gone, goneKey{kind: keyAttachment, num: a.ID, born: a.born, died: q.gen})
	}
	return q.choose(eff)
}

// settled follows n settlements by a.
func (q *Queue) settled(a *attachment, n int64, eff []Effect) []Effect {
	if a.Refill {
		a.Credit = min(a.Credit+n, CreditMax)
	}
	q.refresh(a)
	if a.unsettled == 0 {
		if a.cancelled {
			eff = append(eff, Effect{Kind: Gone, Attachment: a.ID})
			return q.drop(a, eff)
		}
		if q.switching {
			eff = q.choose(eff)
		}
	}
	return eff
}

// choose makes the single active consumer what it should be: the one of the highest
// priority, of those the one attached first. Who is active stays so until it leaves,
// or until it has settled everything while a consumer of higher priority waits.
func (q *Queue) choose(eff []Effect) []Effect {
	q.switching = false
	var best, active *attachment
	if q.limits.singleActive() {
		for _, a := range q.attachments {
			if !a.consumer() {
				continue
			}
			if a.ID == q.active {
				active = a
			}
			if best == nil || a.Priority > best.Priority || a.Priority == best.Priority && a.order < best.order {
				best = a
			}
		}
	}
	switch {
	case active != nil && best.Priority <= active.Priority:
		return eff
	case active != nil && active.unsettled > 0:
		q.switching = true
		return eff
	case active != nil || q.active != 0 && !q.limits.singleActive():
		eff = append(eff, Effect{Kind: Inactive, Attachment: q.active})
	}
	q.active = 0
	if best != nil {
		q.active = best.ID
		eff = append(eff, Effect{Kind: Active, Attachment: best.ID})
	}
	return eff
}

// pick returns the consumer that gets the next message; nil when none can take one.
func (q *Queue) pick() *attachment {
	if len(q.waiting) == 0 || q.switching {
		return nil
	}
	if q.limits.singleActive() {
		if i, ok := q.search(q.active); ok && q.attachments[i].waiting {
			return q.attachments[i]
		}
		return nil
	}
	if q.limits.Dispatch == LeastInflight {
		return q.least()
	}
	return q.waiting[0].a
}

// match returns the next delivery: a message and the consumer that gets it; a is nil when there
// is none. There must be a message that is ready.
func (q *Queue) match(at *spot) (a *attachment, l *lane, p *page, seq uint64) {
	if q.limits.Dispatch.Keyed() && !q.limits.SingleActive {
		return q.seek(at)
	}
	if a = q.pick(); a != nil {
		l, p, seq = q.head()
	}
	return a, l, p, seq
}

// run follows every command: deliver what can be, then drop what is too much.
func (q *Queue) run(now int64, fresh uint64, eff []Effect) []Effect {
	q.busy = false
	eff = q.deliver(now, fresh, eff)
	return q.trim(eff)
}

// deliver hands ready messages to consumers until one of them runs out. fresh is the
// message just pushed: it may be delivered even when its time to live is zero.
func (q *Queue) deliver(now int64, fresh uint64, eff []Effect) []Effect {
	var at spot
	for n := 0; q.ready > 0; n++ {
		a, l, p, seq := q.match(&at)
		if a == nil {
			return eff
		}
		if n == StepMax {
			q.busy = true
			return eff
		}
		e := p.at(int(seq & pageMask))
		if e.expires != 0 && e.expires <= now && seq != fresh {
			if q.limits.DeadLetter && q.held >= HeldMax {
				return eff // Confirmed goes on
			}
			q.subReady(l, p, e)
			eff = q.discard(l, p, seq, Expired, eff)
			continue
		}
		a.ver = q.gen
		a.Credit--
		eff = q.send(a, l, p, seq, e, eff)
		q.served(a)
	}
	return eff
}

// send delivers one ready message.
func (q *Queue) send(a *attachment, l *lane, p *page, seq uint64, e *entry, eff []Effect) []Effect {
	no := a.next
	a.next++
	q.subReady(l, p, e)
	if e.count < countMax {
		e.count++
	}
	eff = append(eff, q.delivered(a.ID, no, seq, e))
	if a.NoAck {
		eff = append(eff, effect(Drop, seq, e, Accepted))
		q.remove(l, p, seq)
		return eff
	}
	e.setState(stateAcquired)
	q.unacked++
	a.ownWindow(q.owner)
	a.window = append(a.window, delivery{no, seq})
	a.unsettled++
	return eff
}

// delivered describes a delivery whose message has counted it already.
func (q *Queue) delivered(id, no, seq uint64, e *entry) Effect {
	f := effect(Deliver, seq, e, 0)
	f.Attachment, f.No, f.Ready = id, no, q.ready
	if f.Count > 0 {
		f.Count--
	}
	f.Redelivered = f.Count > 0
	return f
}

// ---- the window ----------------------------------------------------------

func (a *attachment) ownWindow(owner *token) {
	if a.windowBy != owner {
		a.window = append(make([]delivery, 0, len(a.window)-a.head+1), a.window[a.head:]...)
		a.head = 0
		a.windowBy = owner
	}
}

// index returns where the unsettled delivery no is in the window; -1 when it is not.
func (a *attachment) index(no uint64) int {
	if a.head == len(a.window) || no < a.window[a.head].no {
		return -1
	}
	var i int
	if d := no - a.window[a.head].no; d < uint64(len(a.window)-a.head) && a.window[a.head+int(d)].no == no {
		i = a.head + int(d)
	} else {
		j, ok := slices.BinarySearchFunc(a.window[a.head:], no, func(d delivery, no uint64) int {
			switch {
			case d.no < no:
				return -1
			case d.no > no:
				return 1
			}
			return 0
		})
		if !ok {
			return -1
		}
		i = a.head + j
	}
	if a.window[i].seq == 0 {
		return -1
	}
	return i
}

// trim gives up settled deliveries at the head, and all of them once they are most of
// the window, so that one old delivery does not keep every later one.
func (a *attachment) trim() {
	if a.unsettled == 0 {
		a.window, a.head = a.window[:0], 0
		if cap(a.window) > windowKeep {
			a.window = nil
		}
		return
	}
	for a.window[a.head].seq == 0 {
		a.head++
	}
	if n := len(a.window); n < 64 || n < 2*a.unsettled {
		return
	}
	w := a.window[:0]
	for _, d := range a.window[a.head:] {
		if d.seq != 0 {
			w = append(w, d)
		}
	}
	a.window, a.head = w, 0
}

// windowKeep bounds the memory that an empty window holds on to, in deliveries.
const windowKeep = 4096

// ---- who waits -----------------------------------------------------------

// refresh puts a among the waiting or takes it out, as eligible says.
func (q *Queue) refresh(a *attachment) {
	switch want := a.eligible(); {
	case want && !a.waiting:
		a.waiting = true
		a.turn = q.turn
		q.turn++
		q.waiting = append(q.waiting, waiter{a.Priority, a.turn, a})
		q.up(len(q.waiting) - 1)
	case !want && a.waiting:
		a.waiting = false
		for i := range q.waiting {
			if q.waiting[i].a == a {
				q.unwait(i)
				break
			}
		}
	}
}

// served moves a, which got a message, behind its equals.
func (q *Queue) served(a *attachment) {
	if !a.eligible() {
		q.refresh(a)
		return
	}
	a.turn = q.turn
	q.turn++
	i := 0
	for q.waiting[i].a != a { // the first, but for a single active consumer
		i++
	}
	q.waiting[i].turn = a.turn
	q.down(i)
}

func (q *Queue) unwait(i int) {
	n := len(q.waiting) - 1
	q.waiting[i] = q.waiting[n]
	q.waiting[n] = waiter{}
	q.waiting = q.waiting[:n]
	if i < n {
		q.down(i)
		q.up(i)
	}
}

func (q *Queue) before(i, j int) bool {
	a, b := &q.waiting[i], &q.waiting[j]
	return a.priority > b.priority || a.priority == b.priority && a.turn < b.turn
}

func (q *Queue) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !q.before(i, parent) {
			return
		}
		q.waiting[i], q.waiting[parent] = q.waiting[parent], q.waiting[i]
		i = parent
	}
}

func (q *Queue) down(i int) {
	for {
		c := 2*i + 1
		if c >= len(q.waiting) {
			return
		}
		if c+1 < len(q.waiting) && q.before(c+1, c) {
			c++
		}
		if !q.before(c, i) {
			return
		}
		q.waiting[i], q.waiting[c] = q.waiting[c], q.waiting[i]
		i = c
	}
}

// ownAttachments copies the attachments, but for their windows, and makes the heap
// refer to the copies.
func (q *Queue) ownAttachments() {
	if len(q.attachments) == 0 {
		return
	}
	all := make([]attachment, len(q.attachments))
	ptrs := make([]*attachment, len(q.attachments))
	for i, a := range q.attachments {
		all[i] = *a
		ptrs[i] = &all[i]
	}
	q.attachments = ptrs
	q.rewait()
}

// rewait builds the heap from the attachments that wait.
func (q *Queue) rewait() {
	q.waiting = nil
	for _, a := range q.attachments {
		if a.waiting {
			q.waiting = append(q.waiting, waiter{a.Priority, a.turn, a})
			q.up(len(q.waiting) - 1)
		}
	}
}

// Attachments calls f for each attachment, by id: what it asked for (Credit as left),
// the number of its last delivery, and how many it has not settled.
func (q *Queue) Attachments(f func(spec AttachSpec, last uint64, unsettled int)) {
	for _, a := range q.attachments {
		f(a.AttachSpec, a.next-1, a.unsettled)
	}
}
