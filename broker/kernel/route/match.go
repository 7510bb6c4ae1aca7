package route

import "strings"

// scratch is the memory of one Match.
type scratch[D comparable] struct {
	cur, next []*node[D]
	// open are Rest nodes that were passed and have levels behind them: they stay
	// where they are while the name goes on.
	open []*node[D]
	seen map[*node[D]]struct{} // of open, once it is long
}

const (
	scratchMax = 1 << 10 // nodes; larger scratch memory is not kept
	seenAbove  = 16      // open nodes; up to here they are looked for one by one
	matchTries = 4       // while subscriptions change; then they are held
)

// Match appends the destinations of every subscription whose filter matches name, as of one moment:
// of two of which the second was added before the first was removed, it finds one.
func (t *Table[D]) Match(dst []D, name Name) []D {
	n := len(dst)
	for range matchTries {
		v := t.Version(name)
		dst = t.match(dst[:n], name)
		if t.Version(name) == v {
			return dst
		}
	}
	t.mu.Lock() // whoever adds and removes all the time waits
	defer t.mu.Unlock()
	return t.match(dst[:n], name)
}

// match is Match beside those who add and remove.
//
// The filters' tree is walked level by level, with the set of nodes that are reached. A
// node is reached once per level, so a pattern with many Rests costs no more than its
// length at each level.
func (t *Table[D]) match(dst []D, name Name) []D {
	if t.count.Load() == 0 || name.text == "" && name.sep == '/' {
		return dst
	}
	s := t.pool.Get().(*scratch[D])
	cur, next := append(s.cur[:0], t.tree.root), s.next[:0]
	s.open = s.open[:0]

	wild := !name.root
	if wild {
		dst = s.rest(dst, t.tree.root)
	}
	rest, more := name.text, name.text != ""
	for more && (len(cur) > 0 || len(s.open) > 0) {
		var level string
		if i := strings.IndexByte(rest, name.sep); i >= 0 {
			level, rest = rest[:i], rest[i+1:]
		} else {
			level, more = rest, false
		}
		k := keyOf(level, t.hash(level))
		next = next[:0]
		for _, n := range cur {
			if c := t.tree.child(n, &k); c != nil {
				next = append(next, c)
			}
			if wild {
				if c := n.one.Load(); c != nil {
					next = append(next, c)
				}
			}
		}
		wild = true
		for _, n := range s.open {
			if c := t.tree.child(n, &k); c != nil {
				next = append(next, c)
			}
			if c := n.one.Load(); c != nil {
				next = append(next, c)
			}
		}
		for _, n := range next {
			dst = s.rest(dst, n)
		}
		cur, next = next, cur
	}
	if !more {
		for _, n := range cur {
			dst = n.dests.appendTo(dst)
		}
	}
	s.cur, s.next = cur, next
	t.release(s)
	return dst
}

// rest takes the Rest edge of a node that was just reached: it matches whatever comes.
func (s *scratch[D]) rest(dst []D, n *node[D]) []D {
	r := n.rest.Load()
	if r == nil || !s.enter(r) {
		return dst
	}
	return r.dests.appendTo(dst)
}

// enter notes that a Rest node is reached, and tells whether it was not before.
func (s *scratch[D]) enter(r *node[D]) bool {
	if len(s.open) == 0 && r.leaf() {
		// Nothing behind it, and below no other Rest, so it is not reached again. All of
		// MQTT's are so.
		return true
	}
	if len(s.open) <= seenAbove {
		for _, o := range s.open {
			if o == r {
				return false
			}
		}
	} else {
		if s.seen == nil {
			s.seen = make(map[*node[D]]struct{})
		}
		if len(s.seen) == 0 {
			for _, o := range s.open {
				s.seen[o] = struct{}{}
			}
		}
		if _, ok := s.seen[r]; ok {
			return false
		}
		s.seen[r] = struct{}{}
	}
	s.open = append(s.open, r)
	return true
}

// release gives scratch memory back. What it points to may be gone from the table by
// then, and is held until the next use or the next collection.
func (t *Table[D]) release(s *scratch[D]) {
	if cap(s.cur)+cap(s.next)+cap(s.open) > scratchMax {
		return
	}
	clear(s.seen)
	t.pool.Put(s)
}
