package route

import (
	"encoding/binary"
	"math/bits"
	"strings"
	"sync/atomic"
)

// tree is the tree of all filters' levels. A node's first edges to named levels stand in
// the node, the others in one hash table for the whole tree, by parent and level, in parts
// that grow one at a time, so that no writer waits for a million edges to be moved.
//
// Readers load; one writer at a time stores. An edge is written tag first and node last,
// and a slot of the table is never emptied, only buried, so a reader that probes while an
// edge is written finds either the edge or the end of the chain. A part that grows is copied
// whole and put in place of the old one, which readers may still be walking.
type tree[D comparable] struct {
	root   *node[D]
	buried *node[D] // stands in a slot whose edge is gone
	ids    uint64   // of nodes made so far
	parts  [partCount]atomic.Pointer[part[D]]
}

// partCount is the number of parts of the edge table, of 8 slots each at first and made
// when they are first needed.
const (
	partBits  = 6
	partCount = 1 << partBits
	slotsMin  = 8
)

// node is one level of at least one filter. What a reader needs of it stands together,
// since each node on its way is memory that it waits for: with a destination that is a
// pointer, a node is two cache lines.
type node[D comparable] struct {
	parent *node[D]
	level  level  // of its edge; empty for root, One and Rest
	id     uint64 // stands for the node in the hash of its children's edges

	one, rest atomic.Pointer[node[D]]
	dests     dests[D]
	named     bool         // its edge has a level: it is neither root nor One nor Rest
	far       atomic.Int32 // edges in the table; written under Table.mu
	near      [nearMax]slot[D]
}

// nearMax is how many edges stand in the node itself; most nodes have no more.
const nearMax = 2

// level is one level as a node keeps it, to be compared without looking elsewhere: up to
// 15 bytes stand in lo and hi, and their number in hi's last byte.
type level struct {
	lo, hi uint64
	long   *string // nil when it is short
}

// key is one level as it is looked for.
type key struct {
	lo, hi uint64 // as in level
	text   string
	hash   uint64
}

const (
	shortMax  = 15
	longLevel = shortMax + 1 // in the place of the number
)

func keyOf(s string, hash uint64) key {
	k := key{text: s, hash: hash}
	switch n := len(s); {
	case n > shortMax:
		k.lo, k.hi = load64(s), load64(s[8:])&^(0xFF<<56)|longLevel<<56
		return k
	case n > 8:
		k.lo = load64(s)
		k.hi = load64(s[n-8:]) >> (8 * (16 - n)) // the last eight bytes, without those that lo has
	case n == 8:
		k.lo = load64(s)
	default:
		for i := range n {
			k.lo |= uint64(s[i]) << (8 * i)
		}
	}
	k.hi |= uint64(len(s)) << 56
	return k
}

func (l *level) is(k *key) bool {
	return l.lo == k.lo && l.hi == k.hi && (l.long == nil || *l.long == k.text)
}

// keep returns the level for a node to keep.
func (k *key) keep() level {
	l := level{lo: k.lo, hi: k.hi}
	if len(k.text) > shortMax {
		own := strings.Clone(k.text) // not a piece of whatever the filter is a piece of
		l.long = &own
	}
	return l
}

// text returns the level as a name has it.
func (l *level) text() string {
	if l.long != nil {
		return *l.long
	}
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], l.lo)
	binary.LittleEndian.PutUint64(b[8:], l.hi)
	return string(b[:b[15]])
}

// load64 reads eight bytes, little-endian.
func load64(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// leaf tells whether no level follows, named or One.
func (n *node[D]) leaf() bool {
	for i := range n.near {
		if n.near[i].node.Load() != nil {
			return false
		}
	}
	return n.far.Load() == 0 && n.one.Load() == nil
}

type part[D comparable] struct {
	slots []slot[D] // a power of two
	used  int       // edges and buried slots; guarded by Table.mu
	live  int       // edges; guarded by Table.mu
}

// slot holds one edge.
type slot[D comparable] struct {
	tag  atomic.Uint64 // hash of the edge
	node atomic.Pointer[node[D]]
}

func (t *tree[D]) init() {
	t.buried = new(node[D])
	t.root = t.newNode(nil)
}

func (t *tree[D]) newNode(parent *node[D]) *node[D] {
	t.ids++
	return &node[D]{parent: parent, id: t.ids}
}

// edgeHash is the hash of the edge from the node id to a level of that hash.
func edgeHash(id, level uint64) uint64 {
	hi, lo := bits.Mul64(level^(id*0x9E3779B97F4A7C15), 0xD6E8FEB86659FD93)
	return (hi ^ lo) | 1 // 0 is no edge
}

// child returns the node at the end of the edge from n to k, or nil.
func (t *tree[D]) child(n *node[D], k *key) *node[D] {
	h := edgeHash(n.id, k.hash)
	// A slot may be written again between our two loads: the node, not the tag, says what
	// is there.
	for i := range n.near {
		if s := &n.near[i]; s.tag.Load() == h {
			if c := s.node.Load(); c != nil && c.parent == n && c.level.is(k) {
				return c
			}
		}
	}
	if n.far.Load() == 0 {
		return nil
	}
	p := t.parts[h>>(64-partBits)].Load()
	if p == nil {
		return nil
	}
	mask := uint64(len(p.slots) - 1)
	for i := h >> 1; ; i++ {
		s := &p.slots[i&mask]
		c := s.node.Load()
		if c == nil {
			return nil
		}
		if s.tag.Load() == h && c.parent == n && c.level.is(k) {
			return c
		}
	}
}

// ensure returns the child of n at k, made if need be.
func (t *tree[D]) ensure(n *node[D], k *key) *node[D] {
	if c := t.child(n, k); c != nil {
		return c
	}
	h := edgeHash(n.id, k.hash)
	c := t.newNode(n)
	c.level, c.named = k.keep(), true
	for i := range n.near {
		if s := &n.near[i]; s.node.Load() == nil {
			s.tag.Store(h)
			s.node.Store(c)
			return c
		}
	}
	at := &t.parts[h>>(64-partBits)]
	p := at.Load()
	if p == nil {
		p = &part[D]{slots: make([]slot[D], slotsMin)}
		at.Store(p)
	}
	if (p.used+1)*8 > len(p.slots)*5 { // chains stay short below five eighths
		p = p.grown(t.buried)
		at.Store(p)
	}
	p.put(h, c, t.buried)
	n.far.Add(1)
	return c
}

// put writes an edge that is not there. The part has room.
func (p *part[D]) put(h uint64, c, buried *node[D]) {
	mask := uint64(len(p.slots) - 1)
	for i := h >> 1; ; i++ {
		s := &p.slots[i&mask]
		was := s.node.Load()
		if was != nil && was != buried {
			continue
		}
		if was == nil {
			p.used++
		}
		p.live++
		s.tag.Store(h)
		s.node.Store(c)
		return
	}
}

// grown returns a copy without buried slots, with room for as many edges again.
func (p *part[D]) grown(buried *node[D]) *part[D] {
	size := slotsMin
	for size*5 < (p.live+1)*2*8 {
		size *= 2
	}
	q := &part[D]{slots: make([]slot[D], size)}
	for i := range p.slots {
		if c := p.slots[i].node.Load(); c != nil && c != buried {
			q.put(p.slots[i].tag.Load(), c, buried)
		}
	}
	return q
}

// wildcard returns the child of n behind a wildcard edge, made if need be.
func (t *tree[D]) wildcard(edge *atomic.Pointer[node[D]], n *node[D]) *node[D] {
	c := edge.Load()
	if c == nil {
		c = t.newNode(n)
		edge.Store(c)
	}
	return c
}

// prune removes n, and those above it, as far as they hold nothing. hash is the table's.
func (t *tree[D]) prune(n *node[D], hash func(level string) uint64) {
	for n != t.root && n.leaf() && n.rest.Load() == nil && n.dests.live() == 0 {
		up := n.parent
		switch {
		case n.named:
			t.cut(n, edgeHash(up.id, hash(n.level.text())))
		case up.one.Load() == n:
			up.one.Store(nil)
		default:
			up.rest.Store(nil)
		}
		n = up
	}
}

// cut buries the edge of that hash that leads to n, and lets go of a part that is mostly
// graves.
func (t *tree[D]) cut(n *node[D], h uint64) {
	for i := range n.parent.near {
		if s := &n.parent.near[i]; s.node.Load() == n {
			s.node.Store(nil)
			return
		}
	}
	n.parent.far.Add(-1)
	at := &t.parts[h>>(64-partBits)]
	p := at.Load()
	mask := uint64(len(p.slots) - 1)
	for i := h >> 1; ; i++ {
		s := &p.slots[i&mask]
		if s.node.Load() == n {
			s.node.Store(t.buried)
			p.live--
			break
		}
	}
	if p.live == 0 {
		at.Store(nil)
	} else if p.live*8 < len(p.slots) && len(p.slots) > slotsMin {
		at.Store(p.grown(t.buried))
	}
}
