package queue

import "slices"

// lane holds the messages of one priority, in pages.
type lane struct {
	next     uint64 // position of the next message
	cur      uint64 // no page of a lower number has ready messages
	ready    int64
	expiring int64 // ready messages that expire
	pages    []*page
	pagesBy  *token  // who may write the array of pages in place
	spare    []entry // memory of a page that went, to be used again
}

// newLane starts at position 1, so that no Seq is 0.
func newLane() lane { return lane{next: 1} }

// find returns the index of the first page whose number is num or higher.
func (l *lane) find(num uint64) int {
	if len(l.pages) == 0 {
		return 0
	}
	if first := l.pages[0].num; num <= first {
		return 0
	} else if i := num - first; i < uint64(len(l.pages)) && l.pages[i].num == num {
		return int(i)
	}
	i, _ := slices.BinarySearchFunc(l.pages, num, func(p *page, num uint64) int {
		switch {
		case p.num < num:
			return -1
		case p.num > num:
			return 1
		}
		return 0
	})
	return i
}

// ownPages makes the array of pages writable.
func (q *Queue) ownPages(l *lane) {
	if l.pagesBy != q.owner {
		l.pages = append(make([]*page, 0, len(l.pages)+1), l.pages...)
		l.pagesBy = q.owner
	}
}

// ownPage makes the page at index i writable.
func (q *Queue) ownPage(l *lane, i int) *page {
	p := l.pages[i]
	if p.owner != q.owner {
		q.ownPages(l)
		p = p.clone()
		p.owner = q.owner
		l.pages[i] = p
	}
	p.ver = q.gen
	return p
}

// heatPage makes the page at index i writable and hot.
func (q *Queue) heatPage(l *lane, i int) *page {
	p := q.ownPage(l, i)
	if !p.hot {
		p.heat(l.spare)
		l.spare = nil
	}
	return p
}

// push puts an entry at the end of the lane.
func (q *Queue) push(l *lane, e *entry) *page {
	num, idx := l.next>>pageBits, int(l.next&pageMask)
	l.next++
	var p *page
	if n := len(l.pages); n > 0 && l.pages[n-1].num == num {
		p = q.ownPage(l, n-1)
	} else {
		p = q.openPage(l, num)
	}
	if p.live == 0 {
		p.entries, p.off, p.hint = p.entries[:0], idx, idx
		p.cold, p.last, p.lastIdx = p.cold[:0], entry{}, -1
	}
	if p.hot {
		for p.off+len(p.entries) < idx { // a restored page does not know its trailing gap
			p.entries = append(p.entries, entry{})
		}
		p.entries = append(p.entries, *e)
	} else if e.state() == stateReady {
		p.cold = p.code(p.cold, idx, e)
	} else {
		p.heat(nil)
		p.live++
		for p.off+len(p.entries) < idx {
			p.entries = append(p.entries, entry{})
		}
		p.entries = append(p.entries, *e)
		return p
	}
	p.live++
	return p
}

// openPage adds the page of that number to the end of the lane.
func (q *Queue) openPage(l *lane, num uint64) *page {
	q.ownPages(l)
	if n := len(l.pages); n > 0 {
		switch tail := l.pages[n-1]; {
		case tail.live == 0: // kept for what was still to come to it
			q.dropPage(l, n-1)
		case tail.hot && tail.ready == tail.live && tail.num > l.cur+1:
			q.ownPage(l, n-1).cool()
		}
	}
	// Behind a backlog, or where nobody waits, a message is going to lie for a while.
	hot := l.ready == 0 && len(q.waiting) > 0
	p := &page{owner: q.owner, num: num, born: q.gen, ver: q.gen, hot: hot, lastIdx: -1}
	if hot {
		p.entries, l.spare = l.spare[:0], nil
	}
	l.pages = append(l.pages, p)
	if l.ready == 0 {
		l.cur = num
	}
	return p
}

// dropPage forgets the empty page at index i.
func (q *Queue) dropPage(l *lane, i int) {
	p := l.pages[i]
	if p.born < q.gen { // a checkpoint may hold it
		q.gone = append(q.gone, goneKey{kind: keyPage, lane: uint8(q.laneOf(l)), num: p.num, born: p.born, died: q.gen})
	}
	if p.owner == q.owner && cap(p.entries) > cap(l.spare) {
		l.spare = p.entries[:0]
	}
	if i == 0 {
		if l.pagesBy == q.owner {
			l.pages[0] = nil
		}
		l.pages = l.pages[1:]
		return
	}
	q.ownPages(l)
	l.pages = slices.Delete(l.pages, i, i+1)
}

func (q *Queue) laneOf(l *lane) int {
	for i := range q.lanes {
		if &q.lanes[i] == l {
			return i
		}
	}
	panic("queue: a lane of another queue")
}

// at finds a message and makes its page writable and hot. e is nil when it is gone.
func (q *Queue) at(seq uint64) (l *lane, p *page, e *entry) {
	priority, pos := priorityOf(seq), posOf(seq)
	if priority >= len(q.lanes) {
		return nil, nil, nil
	}
	l = &q.lanes[priority]
	i := l.find(pos >> pageBits)
	if i == len(l.pages) || l.pages[i].num != pos>>pageBits {
		return nil, nil, nil
	}
	p = q.heatPage(l, i)
	e = p.at(int(pos & pageMask))
	if e == nil || e.state() == stateGone {
		return nil, nil, nil
	}
	return l, p, e
}

// head returns the message to be delivered next. There must be one.
func (q *Queue) head() (l *lane, p *page, seq uint64) {
	for q.lanes[q.top].ready == 0 {
		q.top--
	}
	l = &q.lanes[q.top]
	p, i := q.laneHead(l)
	return l, p, seqOf(q.top, p.num<<pageBits|uint64(i))
}

// laneHead returns the first ready message of a lane that has one.
func (q *Queue) laneHead(l *lane) (*page, int) {
	i := l.find(l.cur)
	for l.pages[i].ready == 0 {
		i++
	}
	p := q.heatPage(l, i)
	l.cur = p.num
	for p.at(p.hint).state() != stateReady {
		p.hint++
	}
	return p, p.hint
}

// peek returns the first ready message of a lane that has one, writing nothing.
func (l *lane) peek() entry {
	i := l.find(l.cur)
	for l.pages[i].ready == 0 {
		i++
	}
	p := l.pages[i]
	if !p.hot {
		var d decoder
		d.reset(p.cold)
		d.next()
		return d.e
	}
	j := p.hint
	for p.at(j).state() != stateReady {
		j++
	}
	return *p.at(j)
}

// addReady counts a message that has become ready.
func (q *Queue) addReady(priority int, p *page, idx int, e *entry) {
	l := &q.lanes[priority]
	p.ready++
	p.hint = min(p.hint, idx)
	l.ready++
	l.cur = min(l.cur, p.num)
	if e.expires != 0 {
		l.expiring++
	}
	q.top = max(q.top, priority)
	q.ready++
	q.readyBytes += int64(e.size)
}

// subReady counts a message that is ready no more.
func (q *Queue) subReady(l *lane, p *page, e *entry) {
	p.ready--
	l.ready--
	if e.expires != 0 {
		l.expiring--
	}
	q.ready--
	q.readyBytes -= int64(e.size)
}

// remove forgets a message that is counted nowhere any more.
func (q *Queue) remove(l *lane, p *page, seq uint64) {
	*p.at(int(seq & pageMask)) = entry{}
	p.live--
	if p.live > 0 {
		return
	}
	if p.num == l.next>>pageBits { // more will come to it
		p.entries = p.entries[:0]
		if cap(p.entries) > keepEntries && q.ready+q.unacked+q.held == 0 {
			p.entries, l.spare = nil, nil
		}
		p.off = int(l.next & pageMask)
		p.hint = p.off
		return
	}
	q.dropPage(l, l.find(p.num))
}

// keepEntries bounds the memory that an empty queue holds on to, in messages.
const keepEntries = 64

// each visits every message, by priority and then in order, until f says stop. e is
// valid during the call, and must not be written.
func (q *Queue) each(f func(seq uint64, e *entry) bool) {
	for pr := len(q.lanes) - 1; pr >= 0; pr-- {
		for _, p := range q.lanes[pr].pages {
			if !p.each(func(i int, e *entry) bool { return f(seqOf(pr, p.num<<pageBits|uint64(i)), e) }) {
				return
			}
		}
	}
}

func (p *page) each(f func(i int, e *entry) bool) bool {
	if p.hot {
		for i := range p.entries {
			if e := &p.entries[i]; e.state() != stateGone && !f(p.off+i, e) {
				return false
			}
		}
		return true
	}
	var d decoder
	d.reset(p.cold)
	for d.next() {
		if !f(d.idx, &d.e) {
			return false
		}
	}
	return true
}
