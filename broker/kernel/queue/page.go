package queue

import (
	"encoding/binary"

	"github.com/robustmq/rmq/broker/kernel/codec"
)

// Messages are kept in pages of pageLen consecutive positions. A page is hot, an array
// of entries, while something happens in it; and cold, a string of bytes, while all its
// messages just wait, which is where a deep backlog spends its life: about four bytes a
// message. The cold form of a page is also its value in a checkpoint.
const (
	pageBits = 10
	pageLen  = 1 << pageBits
	pageMask = pageLen - 1

	priorityShift = 56
	countMax      = 1<<16 - 1 // counters stop there
)

func seqOf(priority int, pos uint64) uint64 { return uint64(priority)<<priorityShift | pos }
func priorityOf(seq uint64) int             { return int(seq >> priorityShift) }
func posOf(seq uint64) uint64               { return seq &^ (0xff << priorityShift) }

// attr of an entry: reason (of held) 3 bits, QoS 2 bits, state 2 bits.
const (
	stateGone     byte = 0
	stateReady    byte = 1
	stateAcquired byte = 2
	stateHeld     byte = 3
	stateMask     byte = 3
	qosShift           = 2
	qosMask       byte = 3 << qosShift
	reasonShift        = 4
	attrSeen      byte = 1 << 7 // used by Load only
)

// entry is one message of a hot page: 48 bytes.
type entry struct {
	log      uint64
	offset   int64
	enqueued int64
	expires  int64
	size     uint32
	tag      uint32
	count    uint16 // deliveries so far
	failed   uint16 // deliveries that failed
	attr     byte
}

func (e *entry) state() byte     { return e.attr & stateMask }
func (e *entry) setState(s byte) { e.attr = e.attr&^stateMask | s }
func (e *entry) reason() Reason  { return Reason(e.attr >> reasonShift & 7) }

// page holds the messages of one run of positions. entries or cold is in use, as hot says.
type page struct {
	owner *token
	num   uint64 // position / pageLen
	born  uint64 // stamp under which it was made
	ver   uint64 // stamp of its last change

	hot     bool
	off     int // index in the page of entries[0]
	live    int // entries that are not gone
	ready   int
	hint    int // no ready entry has a lower index
	entries []entry

	cold    []byte
	last    entry // newest entry of cold, which the next one is coded against
	lastIdx int   // its index; -1 when cold is empty
}

// at returns the entry at an index of a hot page; nil when it is outside.
func (p *page) at(i int) *entry {
	i -= p.off
	if uint(i) >= uint(len(p.entries)) {
		return nil
	}
	return &p.entries[i]
}

func (p *page) clone() *page {
	c := *p
	if p.hot {
		c.entries = append(make([]entry, 0, len(p.entries)+1), p.entries...)
	} else {
		// The bytes are shared: appending to them copies first, as cap is len.
		c.cold = p.cold[:len(p.cold):len(p.cold)]
	}
	return &c
}

// heat turns a cold page hot.
func (p *page) heat(spare []entry) {
	if p.hot {
		return
	}
	n := 0
	if p.lastIdx >= 0 {
		n = p.lastIdx + 1
	}
	if cap(spare) < n {
		spare = make([]entry, 0, n)
	}
	p.entries = spare[:0]
	p.off = -1
	var d decoder
	d.reset(p.cold)
	for d.next() {
		if p.off < 0 {
			p.off = d.idx
		}
		for p.off+len(p.entries) < d.idx {
			p.entries = append(p.entries, entry{})
		}
		p.entries = append(p.entries, d.e)
	}
	if p.off < 0 {
		p.off = 0
	}
	p.hot, p.cold, p.last, p.lastIdx = true, nil, entry{}, -1
	p.hint = p.off
}

// cool turns a hot page cold. All its live entries must be ready.
func (p *page) cool() {
	buf := make([]byte, 0, 8*p.live)
	p.last, p.lastIdx = entry{}, -1
	for i := range p.entries {
		if e := &p.entries[i]; e.state() != stateGone {
			buf = p.code(buf, p.off+i, e)
		}
	}
	p.cold = append(make([]byte, 0, len(buf)), buf...)
	p.hot, p.entries, p.off, p.hint = false, nil, 0, 0
}

// code appends an entry to the cold form, and remembers it as the last one.
func (p *page) code(dst []byte, idx int, e *entry) []byte {
	dst = appendEntry(dst, idx, e, p.lastIdx, &p.last)
	p.last, p.lastIdx = *e, idx
	return dst
}

// encoded appends the cold form of the page to dst.
func (p *page) encoded(dst []byte) []byte {
	if !p.hot {
		return append(dst, p.cold...)
	}
	var last entry
	lastIdx := -1
	for i := range p.entries {
		if e := &p.entries[i]; e.state() != stateGone {
			dst = appendEntry(dst, p.off+i, e, lastIdx, &last)
			last, lastIdx = *e, p.off+i
		}
	}
	return dst
}

// The cold form of an entry is one byte of flags and, in their order, what differs from
// what the entry before it lets one expect. Integers are varints.
//
//	flag        follows                        expected otherwise
//	coldGap     index in page - last index     1
//	coldLog     log                            the same
//	coldOffset  offset - last offset, signed   1
//	coldSize    size                           the same
//	coldTime    enqueued - last, signed        0
//	coldExpiry  expires, signed                never, or as long after enqueued as the last one
//	coldAttr    attr (one byte), tag           the same
//	coldCount   count, failed                  0, 0
const (
	coldGap byte = 1 << iota
	coldLog
	coldOffset
	coldSize
	coldTime
	coldExpiry
	coldAttr
	coldCount
)

func expectedExpiry(enqueued int64, last *entry) int64 {
	if last.expires == 0 {
		return 0
	}
	return enqueued + (last.expires - last.enqueued) // may wrap; the same way on both sides
}

func appendEntry(dst []byte, idx int, e *entry, lastIdx int, last *entry) []byte {
	at := len(dst)
	dst = append(dst, 0)
	var f byte
	if idx != lastIdx+1 {
		f |= coldGap
		dst = binary.AppendUvarint(dst, uint64(idx-lastIdx))
	}
	if e.log != last.log {
		f |= coldLog
		dst = binary.AppendUvarint(dst, e.log)
	}
	if e.offset != last.offset+1 {
		f |= coldOffset
		dst = binary.AppendVarint(dst, e.offset-last.offset)
	}
	if e.size != last.size {
		f |= coldSize
		dst = binary.AppendUvarint(dst, uint64(e.size))
	}
	if e.enqueued != last.enqueued {
		f |= coldTime
		dst = binary.AppendVarint(dst, e.enqueued-last.enqueued)
	}
	if e.expires != expectedExpiry(e.enqueued, last) {
		f |= coldExpiry
		dst = binary.AppendVarint(dst, e.expires)
	}
	if e.attr != last.attr || e.tag != last.tag {
		f |= coldAttr
		dst = append(dst, e.attr)
		dst = binary.AppendUvarint(dst, uint64(e.tag))
	}
	if e.count|e.failed != 0 {
		f |= coldCount
		dst = binary.AppendUvarint(dst, uint64(e.count))
		dst = binary.AppendUvarint(dst, uint64(e.failed))
	}
	dst[at] = f
	return dst
}

// decoder walks the cold form of a page.
type decoder struct {
	r   codec.Reader
	e   entry
	idx int
	bad bool
}

func (d *decoder) reset(b []byte) {
	*d = decoder{r: codec.NewReader(b), idx: -1}
}

// next reads one entry; false at the end, and at a fault (bad).
func (d *decoder) next() bool {
	if d.r.Len() == 0 || d.bad {
		return false
	}
	last := d.e
	e := &d.e
	f := d.r.Byte()
	gap := uint64(1)
	if f&coldGap != 0 {
		gap = d.r.Uint()
	}
	if f&coldLog != 0 {
		e.log = d.r.Uint()
	}
	e.offset++
	if f&coldOffset != 0 {
		e.offset = last.offset + d.r.Int()
	}
	if f&coldSize != 0 {
		e.size = d.r.Uint32()
	}
	if f&coldTime != 0 {
		e.enqueued += d.r.Int()
	}
	e.expires = expectedExpiry(e.enqueued, &last)
	if f&coldExpiry != 0 {
		e.expires = d.r.Int()
	}
	if f&coldAttr != 0 {
		e.attr = d.r.Byte()
		e.tag = d.r.Uint32()
	}
	e.count, e.failed = 0, 0
	if f&coldCount != 0 {
		c, n := d.r.Uint32(), d.r.Uint32()
		if c > countMax || n > countMax {
			d.bad = true
			return false
		}
		e.count, e.failed = uint16(c), uint16(n)
	}
	if e.state() != stateHeld && e.attr>>reasonShift != 0 {
		d.bad = true
	}
	if d.bad || d.r.Err() != nil || gap == 0 || gap > pageLen || d.idx+int(gap) >= pageLen || e.state() == stateGone || e.attr&attrSeen != 0 {
		d.bad = true
		return false
	}
	d.idx += int(gap)
	return true
}
