package queue

// This file holds what happens because of time, fullness and operators: expiry,
// overflow, purging and the end of the queue.

// NextExpiry is when the first of the messages that are next in their priority expires;
// 0 when none of them does. Only the head of a queue expires (as in RabbitMQ): a
// message behind one that lives longer waits for its turn.
func (q *Queue) NextExpiry() int64 {
	at := int64(0)
	for i := range q.lanes {
		l := &q.lanes[i]
		if l.expiring == 0 {
			continue
		}
		if e := l.peek(); e.expires != 0 && (at == 0 || e.expires < at) {
			at = e.expires
		}
	}
	if at != 0 && q.limits.DeadLetter && q.held >= HeldMax {
		return 0 // Confirmed goes on
	}
	return at
}

// Tick expires at most limit messages, and goes on with what an earlier command left over.
func (q *Queue) Tick(now int64, limit int, eff []Effect) []Effect {
	q.own()
	eff = q.expire(now, limit, eff)
	eff = q.sweep(limit, eff)
	return q.run(now, 0, eff)
}

// expire discards messages at the head of each priority whose time is over.
func (q *Queue) expire(now int64, limit int, eff []Effect) []Effect {
	for i := len(q.lanes) - 1; i >= 0; i-- {
		l := &q.lanes[i]
		for l.expiring > 0 && limit > 0 {
			if q.limits.DeadLetter && q.held >= HeldMax {
				return eff
			}
			if e := l.peek(); e.expires == 0 || e.expires > now {
				break
			}
			p, idx := q.laneHead(l)
			q.subReady(l, p, p.at(idx))
			eff = q.discard(l, p, seqOf(i, p.num<<pageBits|uint64(idx)), Expired, eff)
			limit--
		}
	}
	return eff
}

// trim drops from the head what exceeds the limits.
func (q *Queue) trim(eff []Effect) []Effect {
	for n := 0; q.ready > 0 && q.overflows(0, 0); n++ {
		if q.limits.DeadLetter && q.held >= HeldMax {
			return eff // Confirmed goes on
		}
		if n == StepMax {
			q.busy = true
			return eff
		}
		l, p, seq := q.head()
		q.subReady(l, p, p.at(int(seq&pageMask)))
		eff = q.discard(l, p, seq, MaxLength, eff)
	}
	return eff
}

// Purge drops the ready messages and returns how many they were. The Drops of whole
// pages come with the Ticks that follow.
func (q *Queue) Purge(now int64, eff []Effect) ([]Effect, int64) {
	q.own()
	n := q.ready
	for i := range q.lanes {
		l := &q.lanes[i]
		if l.ready == 0 {
			continue
		}
		var mixed []*page // with acquired or held messages between the ready ones
		for j := l.find(l.cur); j < len(l.pages); {
			p := l.pages[j]
			if p.ready > 0 && p.ready == p.live {
				q.discardPage(l, j)
				continue
			}
			if p.ready > 0 {
				mixed = append(mixed, q.ownPage(l, j))
			}
			j++
		}
		for _, p := range mixed {
			for idx := p.hint; idx < p.off+len(p.entries); idx++ {
				if e := p.at(idx); e.state() == stateReady {
					q.subReady(l, p, e)
					eff = append(eff, effect(Drop, seqOf(i, p.num<<pageBits|uint64(idx)), e, Purged))
					q.remove(l, p, uint64(idx))
				}
			}
		}
		l.ready, l.expiring = 0, 0
	}
	q.ready, q.readyBytes, q.busy = 0, 0, false
	return q.sweep(StepMax, eff), n
}

// Close ends the queue: every attachment is Gone and every message is dropped, acquired
// ones too. The queue takes no further commands but Tick, and can be forgotten once
// Empty. The keys that a checkpoint held of it are its owner's to delete: what it saves
// from here on belongs elsewhere.
func (q *Queue) Close(now int64, eff []Effect) []Effect {
	q.own()
	for len(q.attachments) > 0 {
		a := q.attachments[len(q.attachments)-1]
		eff = append(eff, Effect{Kind: Gone, Attachment: a.ID})
		q.attachments = q.attachments[:len(q.attachments)-1]
	}
	q.attachments, q.waiting, q.consumers, q.active, q.switching = nil, nil, 0, 0, false
	for i := range q.lanes {
		l := &q.lanes[i]
		for len(l.pages) > 0 {
			q.discardPage(l, 0)
		}
		l.ready, l.expiring, l.spare = 0, 0, nil
	}
	q.ready, q.readyBytes, q.unacked, q.held, q.busy = 0, 0, 0, 0, false
	q.gone = nil
	return q.sweep(StepMax, eff)
}

// discardPage moves the page at index i to the trash.
func (q *Queue) discardPage(l *lane, i int) {
	p := l.pages[i]
	if p.live > 0 {
		t := *p // shares its messages, which are only read from here on
		t.owner, t.born, t.ver = nil, q.gen, q.gen
		q.trash = append(q.trash, &t)
		q.trashCount += int64(p.live)
		if p.owner == q.owner {
			p.entries = nil // so that they are not used again
		}
	}
	q.dropPage(l, i)
}

// sweep emits the Drops of purged pages, about limit messages.
func (q *Queue) sweep(limit int, eff []Effect) []Effect {
	for len(q.trash) > 0 && limit > 0 {
		p := q.trash[0]
		p.each(func(i int, e *entry) bool {
			eff = append(eff, effect(Drop, p.num<<pageBits|uint64(i), e, Purged))
			return true
		})
		limit -= p.live
		q.trashCount -= int64(p.live)
		if p.born < q.gen {
			q.gone = append(q.gone, goneKey{kind: keyTrash, num: q.trashFirst, born: p.born, died: q.gen})
		}
		q.trash[0] = nil
		q.trash = q.trash[1:]
		q.trashFirst++
	}
	if len(q.trash) == 0 {
		q.trash = nil
	}
	return eff
}

// park gives back memory when nobody takes messages: pages at both ends in which all
// messages just wait go cold. It changes nothing that can be observed.
func (q *Queue) park() {
	for i := range q.lanes {
		l := &q.lanes[i]
		l.spare = nil
		n := len(l.pages)
		if n == 0 {
			continue
		}
		for _, j := range [...]int{l.find(l.cur), n - 1} {
			if j < n {
				if p := l.pages[j]; p.owner == q.owner && p.hot && p.live > 0 && p.ready == p.live {
					p.cool()
				}
			}
		}
	}
}
