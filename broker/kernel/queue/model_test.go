package queue

import (
	"fmt"
	"sort"
)

// model is a queue as one would explain it: a list of messages, and no thought for speed.
type model struct {
	lim    Limits
	msgs   []*modelMsg // by priority, then position
	next   [256]uint64
	atts   []*modelAtt
	turn   uint64
	active uint64
	used   int64
}

type modelMsg struct {
	Message
	seq           uint64
	state         byte
	reason        Reason
	count, failed uint32
}

type modelAtt struct {
	AttachSpec
	cancelled bool
	no        uint64
	turn      uint64
	order     uint64
	waiting   bool
	win       []delivery
}

func (m *model) ready() (n, bytes int64) {
	for _, x := range m.msgs {
		if x.state == stateReady {
			n++
			bytes += int64(x.Size)
		}
	}
	return n, bytes
}

func (m *model) full(n, bytes int64) bool {
	r, b := m.ready()
	return m.lim.MaxLength >= 0 && r+n > m.lim.MaxLength || m.lim.MaxBytes >= 0 && b+bytes > m.lim.MaxBytes
}

func (m *model) effect(k Kind, x *modelMsg, r Reason) Effect {
	return Effect{Kind: k, Reason: r, QoS: x.QoS, Count: x.count, Failed: x.failed, Size: x.Size, Tag: x.Tag, Seq: x.seq,
		Ref: x.Ref, ExpiresAt: x.ExpiresAt}
}

func (m *model) remove(x *modelMsg) {
	for i := range m.msgs {
		if m.msgs[i] == x {
			m.msgs = append(m.msgs[:i:i], m.msgs[i+1:]...)
			return
		}
	}
	panic("no such message")
}

func (m *model) discard(x *modelMsg, r Reason) Effect {
	if !m.lim.DeadLetter {
		m.remove(x)
		return m.effect(Drop, x, r)
	}
	x.state, x.reason = stateHeld, r
	return m.effect(DeadLetter, x, r)
}

func (m *model) push(now int64, msg Message) ([]Effect, bool) {
	x := &modelMsg{Message: msg, state: stateReady}
	if t := m.lim.MessageTTL; t >= 0 && (x.ExpiresAt == 0 || now+t < x.ExpiresAt) {
		x.ExpiresAt = now + t
	}
	x.Priority = min(x.Priority, m.lim.MaxPriority)
	add := func() {
		m.next[x.Priority]++
		x.seq = uint64(x.Priority)<<56 | m.next[x.Priority]
		i := sort.Search(len(m.msgs), func(i int) bool { return m.after(m.msgs[i], x) })
		m.msgs = append(m.msgs[:i:i], append([]*modelMsg{x}, m.msgs[i:]...)...)
	}
	if m.full(1, int64(x.Size)) && m.lim.Overflow != DropHead {
		if m.lim.Overflow == RejectPublishDLX && m.lim.DeadLetter {
			x.state, x.reason = stateHeld, MaxLength
			add()
			return []Effect{m.effect(DeadLetter, x, MaxLength)}, false
		}
		return nil, false
	}
	add()
	var fresh *modelMsg
	if x.ExpiresAt == now {
		fresh = x
	}
	eff := m.run(now, fresh)
	if x.ExpiresAt != 0 && x.ExpiresAt <= now {
		eff = append(eff, m.expire(now)...)
	}
	return eff, true
}

func (m *model) after(a, b *modelMsg) bool { // a is delivered after b
	return a.Priority < b.Priority || a.Priority == b.Priority && a.seq > b.seq
}

func (m *model) head() *modelMsg {
	for _, x := range m.msgs {
		if x.state == stateReady {
			return x
		}
	}
	return nil
}

func (m *model) pick() *modelAtt {
	var best *modelAtt
	for _, a := range m.atts {
		if !a.waiting {
			continue
		}
		if m.lim.singleActive() {
			if a.ID == m.active && !m.switching() {
				return a
			}
			continue
		}
		room := int64(0)
		if best != nil && m.lim.Dispatch == LeastInflight {
			room = a.Credit - best.Credit
		}
		if best == nil || a.Priority > best.Priority || a.Priority == best.Priority && (room > 0 || room == 0 && a.turn < best.turn) {
			best = a
		}
	}
	return best
}

// own is the consumer that a message's key chooses.
func (m *model) own(x *modelMsg) *modelAtt {
	var best *modelAtt
	for _, a := range m.atts {
		if !a.Pull && !a.cancelled && (best == nil || score(x.Tag>>KeyShift, a.ID) > score(x.Tag>>KeyShift, best.ID)) {
			best = a
		}
	}
	return best
}

// match is the next delivery; x or a nil: there is none.
func (m *model) match() (x *modelMsg, a *modelAtt) {
	if m.lim.SingleActive || !m.lim.Dispatch.Keyed() {
		return m.head(), m.pick()
	}
	passed := 0
	for _, x := range m.msgs {
		if x.state != stateReady {
			continue
		}
		if a := m.own(x); a != nil && a.waiting {
			return x, a
		}
		if passed++; passed == LookaheadMax {
			break
		}
	}
	return nil, nil
}

func (m *model) run(now int64, fresh *modelMsg) (eff []Effect) {
	for {
		x, a := m.match()
		if x == nil || a == nil {
			break
		}
		if x.ExpiresAt != 0 && x.ExpiresAt <= now && x != fresh {
			eff = append(eff, m.discard(x, Expired))
			continue
		}
		a.Credit--
		eff = append(eff, m.send(a, x)...)
		a.waiting = false
		m.refresh(a)
	}
	for m.full(0, 0) {
		eff = append(eff, m.discard(m.head(), MaxLength))
	}
	return eff
}

func (m *model) send(a *modelAtt, x *modelMsg) []Effect {
	a.no++
	e := m.effect(Deliver, x, 0)
	e.Redelivered, e.Attachment, e.No = x.count > 0, a.ID, a.no
	x.count++
	x.state = stateAcquired
	e.Ready, _ = m.ready()
	eff := []Effect{e}
	if a.NoAck {
		eff = append(eff, m.effect(Drop, x, Accepted))
		m.remove(x)
	} else {
		a.win = append(a.win, delivery{a.no, x.seq})
	}
	return eff
}

func (m *model) refresh(a *modelAtt) {
	want := a.Credit > 0 && !a.Pull && !a.cancelled
	if want && !a.waiting {
		a.turn = m.turn
		m.turn++
	}
	a.waiting = want
}

func (m *model) att(id uint64) *modelAtt {
	for _, a := range m.atts {
		if a.ID == id {
			return a
		}
	}
	return nil
}

func (m *model) best() (best, active *modelAtt) {
	for _, a := range m.atts {
		if a.Pull || a.cancelled || !m.lim.singleActive() {
			continue
		}
		if a.ID == m.active {
			active = a
		}
		if best == nil || a.Priority > best.Priority || a.Priority == best.Priority && a.order < best.order {
			best = a
		}
	}
	return
}

func (m *model) switching() bool {
	b, a := m.best()
	return a != nil && b.Priority > a.Priority
}

func (m *model) choose() (eff []Effect) {
	best, active := m.best()
	if active != nil && (best.Priority <= active.Priority || len(active.win) > 0) {
		return nil
	}
	if active != nil || m.active != 0 && !m.lim.singleActive() {
		eff = append(eff, Effect{Kind: Inactive, Attachment: m.active})
	}
	m.active = 0
	if best != nil {
		m.active = best.ID
		eff = append(eff, Effect{Kind: Active, Attachment: best.ID})
	}
	return eff
}

func (m *model) attach(now int64, s AttachSpec) ([]Effect, bool) {
	others := 0
	excl := false
	for _, a := range m.atts {
		if !a.Pull && !a.cancelled {
			others++
			excl = excl || a.Exclusive
		}
	}
	if m.att(s.ID) != nil || s.Pull && m.lim.singleActive() || !s.Pull && others > 0 && (s.Exclusive || excl) {
		return nil, false
	}
	m.used = now
	a := &modelAtt{AttachSpec: s, order: m.turn}
	m.turn++
	m.atts = append(m.atts, a)
	var eff []Effect
	if !a.Pull {
		eff = m.choose()
	}
	m.refresh(a)
	return append(eff, m.run(now, nil)...), true
}

func (m *model) credit(now int64, id uint64, n int64) []Effect {
	a := m.att(id)
	if a == nil {
		return nil
	}
	a.Credit = max(n, 0)
	m.refresh(a)
	for _, b := range m.atts {
		if b.waiting {
			return m.run(now, nil)
		}
	}
	return nil
}

func (m *model) msg(seq uint64) *modelMsg {
	for _, x := range m.msgs {
		if x.seq == seq {
			return x
		}
	}
	return nil
}

func (m *model) settle1(d delivery, o Outcome) []Effect {
	x := m.msg(d.seq)
	switch o {
	case Requeue, Release:
		if o == Requeue {
			x.failed++
			if m.lim.DeliveryLimit >= 0 && int64(x.failed) > m.lim.DeliveryLimit {
				return []Effect{m.discard(x, DeliveryLimit)}
			}
		}
		x.state = stateReady
		return nil
	case Reject:
		return []Effect{m.discard(x, Rejected)}
	}
	m.remove(x)
	return []Effect{m.effect(Drop, x, Accepted)}
}

func (m *model) settle(now int64, id, no uint64, multiple bool, o Outcome) (eff []Effect, n int) {
	a := m.att(id)
	if a == nil {
		return nil, 0
	}
	var rest, gone []delivery
	for _, d := range a.win {
		if d.no == no || multiple && d.no <= no {
			gone = append(gone, d)
		} else {
			rest = append(rest, d)
		}
	}
	if len(gone) == 0 {
		return nil, 0
	}
	a.win = rest
	for _, d := range gone {
		eff = append(eff, m.settle1(d, o)...)
	}
	if a.Refill {
		a.Credit += int64(len(gone))
	}
	m.refresh(a)
	if len(a.win) == 0 {
		if a.cancelled {
			eff = append(eff, Effect{Kind: Gone, Attachment: id})
			m.drop(a)
		}
		eff = append(eff, m.choose()...)
	}
	return append(eff, m.run(now, nil)...), len(gone)
}

func (m *model) drop(a *modelAtt) {
	for i := range m.atts {
		if m.atts[i] == a {
			m.atts = append(m.atts[:i:i], m.atts[i+1:]...)
			return
		}
	}
}

func (m *model) detach(now int64, id uint64, o Outcome) (eff []Effect) {
	a := m.att(id)
	if a == nil {
		return nil
	}
	m.used = now
	for _, d := range a.win {
		eff = append(eff, m.settle1(d, o)...)
	}
	m.drop(a)
	eff = append(eff, m.choose()...)
	return append(eff, m.run(now, nil)...)
}

func (m *model) cancel(now int64, id uint64) (eff []Effect) {
	a := m.att(id)
	if a == nil || a.cancelled {
		return nil
	}
	m.used = now
	a.cancelled = true
	m.refresh(a)
	if len(a.win) == 0 {
		eff = append(eff, Effect{Kind: Gone, Attachment: id})
		m.drop(a)
	}
	eff = append(eff, m.choose()...)
	return append(eff, m.run(now, nil)...)
}

func (m *model) get(now int64, id uint64) (eff []Effect, ok bool) {
	m.used = now
	a := m.att(id)
	if a == nil || !a.Pull {
		return nil, false
	}
	for {
		x := m.head()
		if x == nil {
			return eff, false
		}
		if x.ExpiresAt != 0 && x.ExpiresAt <= now {
			eff = append(eff, m.discard(x, Expired))
			continue
		}
		return append(eff, m.send(a, x)...), true
	}
}

func (m *model) expire(now int64) (eff []Effect) {
	for p := 255; p >= 0; p-- {
		for {
			var head *modelMsg
			for _, x := range m.msgs {
				if int(x.Priority) == p && x.state == stateReady {
					head = x
					break
				}
			}
			if head == nil || head.ExpiresAt == 0 || head.ExpiresAt > now {
				break
			}
			eff = append(eff, m.discard(head, Expired))
		}
	}
	return eff
}

func (m *model) purge() (dropped map[uint64]bool) {
	dropped = map[uint64]bool{}
	var keep []*modelMsg
	for _, x := range m.msgs {
		if x.state == stateReady {
			dropped[x.seq] = true
		} else {
			keep = append(keep, x)
		}
	}
	m.msgs = keep
	return dropped
}

func (m *model) confirmed(seq uint64) []Effect {
	x := m.msg(seq)
	if x == nil || x.state != stateHeld {
		return nil
	}
	m.remove(x)
	return []Effect{m.effect(Drop, x, DeadLettered)}
}

// differs compares everything that can be seen of q.
func (m *model) differs(q *Queue) error {
	ready, bytes := m.ready()
	var unacked, held int64
	for _, x := range m.msgs {
		switch x.state {
		case stateAcquired:
			unacked++
		case stateHeld:
			held++
		}
	}
	consumers := 0
	for _, a := range m.atts {
		if !a.Pull && !a.cancelled {
			consumers++
		}
	}
	want := Stats{ready, bytes, unacked, held, consumers, len(m.atts), m.active, m.used}
	if got := q.Stats(); got != want {
		return fmt.Errorf("stats %+v, want %+v", got, want)
	}
	i := 0
	var err error
	q.Browse(func(b Browsed) bool {
		if i == len(m.msgs) {
			err = fmt.Errorf("message %d too many", b.Seq)
			return false
		}
		x := m.msgs[i]
		i++
		if b.Seq != x.seq || b.Ref != x.Ref || b.Size != x.Size || b.Tag != x.Tag || b.QoS != x.QoS || b.ExpiresAt != x.ExpiresAt ||
			b.Count != x.count || b.Failed != x.failed || b.State != State(x.state) {
			err = fmt.Errorf("message %+v, want %+v", b, *x)
			return false
		}
		return true
	})
	if err == nil && i != len(m.msgs) {
		err = fmt.Errorf("%d messages, want %d", i, len(m.msgs))
	}
	for _, a := range m.atts {
		j, ok := q.search(a.ID)
		if !ok {
			return fmt.Errorf("attachment %d is missing", a.ID)
		}
		b := q.attachments[j]
		if b.Credit != a.Credit || b.waiting != a.waiting || b.unsettled != len(a.win) || b.next != a.no+1 {
			return fmt.Errorf("attachment %+v, want %+v", b, a)
		}
	}
	return err
}
