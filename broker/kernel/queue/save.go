package queue

import (
	"encoding/binary"
	"fmt"
	"iter"

	"github.com/robustmq/rmq/broker/kernel/codec"
)

// Keys of a queue in a checkpoint, in their order:
//
//	'a' id                 one attachment and its window
//	'h'                    limits and counters; always there
//	'p' priority, number   one page of messages
//	't' number             one page of purged messages
//
// Numbers are 8 bytes big-endian, priority one byte. Everything else a Queue holds
// follows from these.
const (
	keyAttachment byte = 'a'
	keyHeader     byte = 'h'
	keyPage       byte = 'p'
	keyTrash      byte = 't'

	saveVersion = 1
)

// goneKey is a key that went after a checkpoint may have written it.
type goneKey struct {
	kind       byte
	lane       uint8
	num        uint64
	born, died uint64
}

func appendKey(dst []byte, kind byte, lane uint8, num uint64) []byte {
	dst = append(dst, kind)
	if kind == keyPage {
		dst = append(dst, lane)
	}
	return codec.Key(dst, num)
}

// Fork returns an independent copy in about constant time. Changes to the copy are
// stamped with gen, which rises from checkpoint to checkpoint (0 when there are none);
// saved is the stamp up to which checkpoints are known to be complete: deletions up
// to there are forgotten.
//
// Fork may be called while others read q. What they read it does not write.
func (q *Queue) Fork(gen, saved uint64) *Queue {
	c := *q
	c.gen = max(gen, q.gen)
	c.owner = nil
	q.owner = nil
	c.gone = nil
	for _, g := range q.gone {
		if g.died > saved {
			c.gone = append(c.gone, g)
		}
	}
	return &c
}

// Version is the stamp of the newest change: Save has nothing to say since then.
func (q *Queue) Version() uint64 { return q.ver }

// Save passes to put the keys and values that changed after the stamp since: a nil
// value deletes the key. full: all there is, in order of key. key and value are put's for
// the call only.
func (q *Queue) Save(full bool, since uint64, put func(key, value []byte)) {
	var key, buf []byte
	if !full {
		for _, g := range q.gone {
			if g.died > since && g.born <= since {
				key = appendKey(key[:0], g.kind, g.lane, g.num)
				put(key, nil)
			}
		}
	}
	for _, a := range q.attachments {
		if full || a.ver > since {
			key = appendKey(key[:0], keyAttachment, 0, a.ID)
			buf = a.encode(buf[:0])
			put(key, buf)
		}
	}
	if full || q.ver > since {
		buf = q.encodeHeader(buf[:0])
		put([]byte{keyHeader}, buf)
	}
	for i := range q.lanes {
		for _, p := range q.lanes[i].pages {
			if !full && p.ver <= since {
				continue
			}
			key = appendKey(key[:0], keyPage, uint8(i), p.num)
			switch {
			case p.live > 0:
				buf = p.encoded(buf[:0])
				put(key, buf)
			case !full && p.born <= since:
				put(key, nil)
			}
		}
	}
	for i, p := range q.trash {
		if full || p.ver > since {
			key = appendKey(key[:0], keyTrash, 0, q.trashFirst+uint64(i))
			buf = p.encoded(binary.AppendUvarint(buf[:0], p.num))
			put(key, buf)
		}
	}
}

func (q *Queue) encodeHeader(dst []byte) []byte {
	lim := q.limits
	dst = append(dst, saveVersion)
	dst = codec.Int(dst, lim.MessageTTL)
	dst = codec.Int(dst, lim.MaxLength)
	dst = codec.Int(dst, lim.MaxBytes)
	dst = codec.Int(dst, lim.DeliveryLimit)
	dst = append(dst, byte(lim.Overflow), lim.MaxPriority)
	dst = codec.Bool(dst, lim.DeadLetter)
	dst = codec.Bool(dst, lim.SingleActive)
	dst = codec.Uint(dst, q.turn)
	dst = codec.Uint(dst, q.active)
	dst = codec.Int(dst, q.used)
	dst = codec.Bool(dst, q.busy)
	dst = codec.Uint(dst, q.trashFirst)
	dst = codec.Uint(dst, uint64(len(q.lanes)))
	for i := range q.lanes {
		dst = codec.Uint(dst, q.lanes[i].next)
	}
	if lim.Dispatch != RoundRobin { // which queues of early releases all have
		dst = append(dst, byte(lim.Dispatch))
	}
	return dst
}

func (a *attachment) encode(dst []byte) []byte {
	dst = codec.Int(dst, a.Credit)
	dst = codec.Int(dst, int64(a.Priority))
	dst = codec.Bool(dst, a.NoAck)
	dst = codec.Bool(dst, a.Exclusive)
	dst = codec.Bool(dst, a.Pull)
	dst = codec.Bool(dst, a.Refill)
	dst = codec.Bool(dst, a.cancelled)
	dst = codec.Uint(dst, a.next)
	dst = codec.Uint(dst, a.order)
	dst = codec.Bool(dst, a.waiting)
	dst = codec.Uint(dst, a.turn)
	// Each unsettled delivery: number - number before, position - position before.
	var last delivery
	for _, d := range a.window[a.head:] {
		if d.seq != 0 {
			dst = codec.Uint(dst, d.no-last.no)
			dst = codec.Int(dst, int64(d.seq-last.seq))
			last = d
		}
	}
	return dst
}

// Load builds a queue from what a full Save, and the incremental ones after it, have
// put, in order of key. saved is the stamp of the newest of them: what is loaded counts
// as unchanged since, and changes are stamped saved+1. It returns an error for anything
// that Save could not have put.
func Load(saved uint64, pairs iter.Seq2[[]byte, []byte]) (*Queue, error) {
	q := &Queue{gen: saved, ver: saved, owner: new(token)}
	for k, v := range pairs {
		if err := q.load(k, v); err != nil {
			return nil, err
		}
	}
	if err := q.finish(); err != nil {
		return nil, err
	}
	q.gen = saved + 1
	return q, nil
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf("queue checkpoint: "+format, args...)
}

func (q *Queue) load(k, v []byte) error {
	if len(k) == 0 {
		return corrupt("empty key")
	}
	r := codec.NewReader(k[1:])
	switch k[0] {
	case keyAttachment:
		id := r.Key()
		if r.Done() != nil || id == 0 {
			return corrupt("attachment key %x", k)
		}
		return q.loadAttachment(id, v)
	case keyHeader:
		if r.Done() != nil || q.limits != nil {
			return corrupt("header key %x", k)
		}
		return q.loadHeader(v)
	case keyPage:
		pr, num := r.Byte(), r.Key()
		if r.Done() != nil || num > posOf(^uint64(0))>>pageBits {
			return corrupt("page key %x", k)
		}
		if int(pr) >= len(q.lanes) {
			return corrupt("page key %x before the header, or beyond its priorities", k)
		}
		return q.loadPage(int(pr), num, v)
	case keyTrash:
		num := r.Key()
		if r.Done() != nil || len(q.trash) > 0 && num != q.trashFirst+uint64(len(q.trash)) {
			return corrupt("trash key %x", k)
		}
		if len(q.trash) == 0 && (q.limits == nil || num != q.trashFirst) {
			return corrupt("trash key %x out of order", k)
		}
		vr := codec.NewReader(v)
		n := vr.Uint()
		if vr.Err() != nil {
			return corrupt("trash page: %v", vr.Err())
		}
		p, err := q.decodePage(n, vr.Take(uint64(vr.Len())))
		if err != nil {
			return err
		}
		q.trash = append(q.trash, p)
		q.trashCount += int64(p.live)
		return nil
	}
	return corrupt("key %x", k)
}

func (q *Queue) loadHeader(v []byte) error {
	r := codec.NewReader(v)
	if ver := r.Byte(); r.Err() == nil && ver != saveVersion {
		return corrupt("version %d, known is %d", ver, saveVersion)
	}
	lim := &Limits{MessageTTL: r.Int(), MaxLength: r.Int(), MaxBytes: r.Int(), DeliveryLimit: r.Int()}
	lim.Overflow, lim.MaxPriority = Overflow(r.Byte()), r.Byte()
	lim.DeadLetter, lim.SingleActive = r.Bool(), r.Bool()
	q.turn, q.active, q.used, q.busy, q.trashFirst = r.Uint(), r.Uint(), r.Int(), r.Bool(), r.Uint()
	n := r.Count()
	if n > 256 || r.Err() != nil {
		return corrupt("header")
	}
	for range n {
		next := r.Uint()
		q.lanes = append(q.lanes, lane{next: next, pagesBy: q.owner})
		if next == 0 || next > posOf(^uint64(0)) {
			return corrupt("position %d", next)
		}
	}
	if r.Len() > 0 {
		lim.Dispatch = Dispatch(r.Byte())
	}
	q.limits = lim
	if !lim.Dispatch.Known() || r.Done() != nil || string(q.encodeHeader(nil)) != string(v) {
		return corrupt("header")
	}
	return nil
}

func (q *Queue) loadAttachment(id uint64, v []byte) error {
	if n := len(q.attachments); n > 0 && q.attachments[n-1].ID >= id {
		return corrupt("attachments out of order")
	}
	r := codec.NewReader(v)
	a := &attachment{windowBy: q.owner, born: q.gen, ver: q.gen}
	a.ID = id
	a.Credit = r.Int()
	pr := r.Int()
	a.Priority = int32(pr)
	a.NoAck, a.Exclusive, a.Pull, a.Refill, a.cancelled = r.Bool(), r.Bool(), r.Bool(), r.Bool(), r.Bool()
	a.next, a.order = r.Uint(), r.Uint()
	a.waiting, a.turn = r.Bool(), r.Uint()
	var last delivery
	for r.Len() > 0 {
		d := delivery{no: last.no + r.Uint(), seq: last.seq + uint64(r.Int())}
		if r.Err() != nil || d.no <= last.no || d.no >= a.next || posOf(d.seq) == 0 || len(a.window) == WindowMax {
			return corrupt("attachment %d: window", id)
		}
		a.window = append(a.window, d)
		last = d
	}
	a.unsettled = len(a.window)
	if r.Err() != nil || int64(a.Priority) != pr || a.Credit < 0 || a.Credit > CreditMax || a.next == 0 ||
		a.waiting != a.eligible() || a.unsettled > 0 && a.NoAck || a.unsettled == 0 && a.cancelled {
		return corrupt("attachment %d", id)
	}
	if string(a.encode(nil)) != string(v) {
		return corrupt("attachment %d: not canonical", id)
	}
	q.attachments = append(q.attachments, a)
	return nil
}

// decodePage checks a page and leaves it cold, or hot when not all of it is ready.
func (q *Queue) decodePage(num uint64, cold []byte) (*page, error) {
	p := &page{owner: q.owner, num: num, born: q.gen, ver: q.gen, lastIdx: -1}
	again := make([]byte, 0, len(cold))
	var d decoder
	d.reset(cold)
	allReady := true
	for d.next() {
		p.live++
		allReady = allReady && d.e.state() == stateReady
		again = p.code(again, d.idx, &d.e)
	}
	if d.bad || p.live == 0 || string(again) != string(cold) {
		return nil, corrupt("page %d", num)
	}
	p.cold = again
	if allReady {
		return p, nil
	}
	p.heat(nil)
	return p, nil
}

func (q *Queue) loadPage(pr int, num uint64, v []byte) error {
	l := &q.lanes[pr]
	if n := len(l.pages); n > 0 && l.pages[n-1].num >= num {
		return corrupt("pages out of order")
	}
	p, err := q.decodePage(num, v)
	if err != nil {
		return err
	}
	l.pages = append(l.pages, p)
	p.each(func(i int, e *entry) bool {
		switch e.state() {
		case stateReady:
			q.addReady(pr, p, i, e)
		case stateAcquired:
			q.unacked++
		case stateHeld:
			q.held++
		}
		return true
	})
	return nil
}

// finish checks what spans keys, and derives the rest.
func (q *Queue) finish() error {
	if q.limits == nil {
		return corrupt("no header")
	}
	for i := range q.lanes {
		l := &q.lanes[i]
		if n := len(l.pages); n > 0 {
			tail := l.pages[n-1]
			lastIdx := tail.lastIdx
			if tail.hot {
				lastIdx = tail.off + len(tail.entries) - 1
			}
			if tail.num<<pageBits|uint64(lastIdx) >= l.next {
				return corrupt("message beyond the next position")
			}
			l.cur = l.pages[0].num
		}
	}
	if q.atZero() {
		return corrupt("message at position 0")
	}
	var seen int64
	for _, a := range q.attachments {
		if a.consumer() {
			q.consumers++
		}
		if a.order >= q.turn || a.turn >= max(q.turn, 1) {
			return corrupt("attachment %d: order", a.ID)
		}
		for _, d := range a.window {
			_, _, e := q.at(d.seq)
			if e == nil || e.state() != stateAcquired || e.attr&attrSeen != 0 {
				return corrupt("attachment %d: message %d is not acquired", a.ID, d.seq)
			}
			e.attr |= attrSeen
			seen++
		}
	}
	if seen != q.unacked {
		return corrupt("%d messages acquired, %d in windows", q.unacked, seen)
	}
	for _, a := range q.attachments {
		for _, d := range a.window {
			_, _, e := q.at(d.seq)
			e.attr &^= attrSeen
		}
	}
	q.rewait()
	active := q.active
	if eff := q.choose(nil); len(eff) > 0 || q.active != active {
		return corrupt("active consumer %d", active)
	}
	return nil
}

// atZero tells whether a message has position 0, which is no position.
func (q *Queue) atZero() bool {
	bad := false
	for i := range q.lanes {
		l := &q.lanes[i]
		if len(l.pages) > 0 && l.pages[0].num == 0 {
			l.pages[0].each(func(i int, _ *entry) bool { bad = i == 0; return false })
		}
	}
	return bad
}
