package queue

// State is what a message is doing.
type State uint8

const (
	Ready    = State(stateReady)
	Acquired = State(stateAcquired)
	Held     = State(stateHeld) // waiting to be dead-lettered
)

// Browsed is one message as Browse shows it.
type Browsed struct {
	Message           // its Priority is the one the queue gave it
	Seq        uint64 // its name for life
	EnqueuedAt int64  // ms
	State      State
	Count      uint32 // deliveries so far
	Failed     uint32 // of those, the ones that failed
}

// Browse calls f for each message that the queue refers to, purged ones excepted, by
// priority and then in order, until f returns false. It changes nothing.
func (q *Queue) Browse(f func(Browsed) bool) {
	q.each(func(seq uint64, e *entry) bool { return f(browsed(seq, e)) })
}

// BrowseAll is Browse, with the purged messages whose Drop is still to come before
// them: every body that is referred to (Seq is without priority in those).
func (q *Queue) BrowseAll(f func(Browsed) bool) {
	for _, p := range q.trash {
		if !p.each(func(i int, e *entry) bool { return f(browsed(p.num<<pageBits|uint64(i), e)) }) {
			return
		}
	}
	q.Browse(f)
}

func browsed(seq uint64, e *entry) Browsed {
	return Browsed{
		Message: Message{
			Ref: Ref{e.log, e.offset}, Size: e.size, Tag: e.tag, ExpiresAt: e.expires, Priority: uint8(priorityOf(seq)),
			QoS: e.attr & qosMask >> qosShift,
		},
		Seq: seq, EnqueuedAt: e.enqueued, State: State(e.state()), Count: uint32(e.count), Failed: uint32(e.failed),
	}
}

// BrowseAfter is Browse from behind the message that after names; nil: from the first.
func (q *Queue) BrowseAfter(after *uint64, f func(Browsed) bool) {
	if after == nil {
		q.Browse(f)
		return
	}
	priority, pos := priorityOf(*after), posOf(*after)
	for pr := min(priority, len(q.lanes)-1); pr >= 0; pr-- {
		pages := q.lanes[pr].pages
		if pr == priority {
			pages = pages[q.lanes[pr].find(pos>>pageBits):]
		}
		for _, p := range pages {
			if !p.each(func(i int, e *entry) bool {
				at := p.num<<pageBits | uint64(i)
				return pr == priority && at <= pos || f(browsed(seqOf(pr, at), e))
			}) {
				return
			}
		}
	}
}

// Next tells which consumer would get a message of that tag, if it came now. A message that others
// wait before does so too: 0.
func (q *Queue) Next(tag uint32) (consumer uint64) {
	if q.limits.Dispatch.Keyed() && !q.limits.SingleActive {
		if a := q.keyed(tag); a != nil && a.waiting {
			return a.ID
		}
		return 0
	}
	if a := q.pick(); a != nil && q.ready == 0 {
		return a.ID
	}
	return 0
}
