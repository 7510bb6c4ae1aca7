package queue

// Dispatch says which of the consumers that can take a message gets it, among those of the
// highest priority.
type Dispatch uint8

const (
	// RoundRobin: the one that has waited longest.
	RoundRobin Dispatch = iota
	// Sticky: one gets all, until it is gone; as with Limits.SingleActive.
	Sticky
	// LeastInflight: the one that may be given most before it settles anything.
	LeastInflight
	// HashClient and HashTopic: all messages of one key go to one consumer, in order, whatever
	// its priority, and wait for it. What the key is made of is the owner's choice: it is in
	// Message.Tag, from bit KeyShift on. Which keys a consumer has changes only for what
	// another that leaves has had, or one that comes will have.
	HashClient
	HashTopic

	dispatches
)

// KeyShift is how many bits of a tag do not belong to the key.
const KeyShift = 2

// LookaheadMax bounds the messages that wait for their own consumers while others behind them
// go on: beyond it, all wait.
const LookaheadMax = 1000

// Known tells whether there is such a dispatch.
func (d Dispatch) Known() bool { return d < dispatches }

// Keyed tells whether a message's key chooses its consumer.
func (d Dispatch) Keyed() bool { return d == HashClient || d == HashTopic }

// singleActive tells whether one consumer at a time gets messages.
func (l *Limits) singleActive() bool { return l.SingleActive || l.Dispatch == Sticky }

// least returns the consumer with most credit left, of those the one that has waited longest.
// There must be one that waits.
func (q *Queue) least() *attachment {
	best := q.waiting[0]
	for _, w := range q.waiting[1:] {
		if w.priority != best.priority {
			continue // no higher one: the first has the highest
		}
		if w.a.Credit > best.a.Credit || w.a.Credit == best.a.Credit && w.turn < best.turn {
			best = w
		}
	}
	return best.a
}

// keyed returns the consumer that a message's tag chooses: whose number and the key make the
// highest score. nil: there are no consumers.
func (q *Queue) keyed(tag uint32) *attachment {
	var best *attachment
	var most uint64
	for _, a := range q.attachments {
		if !a.consumer() {
			continue
		}
		if s := score(tag>>KeyShift, a.ID); best == nil || s > most {
			best, most = a, s
		}
	}
	return best
}

func score(key uint32, id uint64) uint64 {
	x := id*0x9E3779B97F4A7C15 ^ uint64(key)*0xD6E8FEB86659FD93
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

// spot is where looking for messages has come to. Within one command it only goes on: who could
// take nothing cannot again.
type spot struct {
	priority int
	page     uint64 // number
	index    int
	passed   int // ready messages that wait for their own consumers
	begun    bool
}

// seek finds the next message from a spot on whose own consumer can take it. a is nil when there
// is none within LookaheadMax.
func (q *Queue) seek(at *spot) (a *attachment, l *lane, p *page, seq uint64) {
	if len(q.waiting) == 0 {
		return nil, nil, nil, 0
	}
	if !at.begun {
		*at = spot{begun: true, priority: len(q.lanes) - 1}
	}
	for ; at.priority >= 0; at.priority, at.page, at.index = at.priority-1, 0, 0 {
		l = &q.lanes[at.priority]
		if l.ready == 0 {
			continue
		}
		for i := l.find(max(at.page, l.cur)); i < len(l.pages); i++ {
			if l.pages[i].ready == 0 {
				continue
			}
			p = q.heatPage(l, i)
			if p.num != at.page {
				at.page, at.index = p.num, 0
			}
			first := at.index <= p.hint
			for at.index = max(at.index, p.hint); at.index < p.off+len(p.entries); at.index++ {
				e := p.at(at.index)
				if e.state() != stateReady {
					continue
				}
				if first {
					p.hint, first = at.index, false
				}
				if a = q.keyed(e.tag); a != nil && a.waiting {
					seq = seqOf(at.priority, p.num<<pageBits|uint64(at.index))
					at.index++
					return a, l, p, seq
				}
				if at.passed++; at.passed >= LookaheadMax {
					return nil, nil, nil, 0
				}
			}
		}
	}
	return nil, nil, nil, 0
}
