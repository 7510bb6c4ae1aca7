package route

import "sync/atomic"

// dests are the destinations of one filter: most have one, and one filter may have a
// million. The first stands in the node itself and is written once; the others are in a
// vector that only ever gets longer and whose removed places are emptied, so that readers
// may walk it meanwhile. When most of it is empty it is copied.
type dests[D comparable] struct {
	state atomic.Uint32 // of first
	first D             // written before state says so, never again
	more  atomic.Pointer[vector[D]]
}

// States of dests.first.
const (
	firstFree uint32 = iota
	firstHeld
	firstGone
)

type vector[D comparable] struct {
	slots []atomic.Pointer[D] // as long as it may get
	n     atomic.Int64        // slots[:n] have been written; nil is removed
	live  int                 // guarded by Table.mu
	at    map[D]int           // place of each, once there are many; guarded by Table.mu
}

const (
	vectorMin  = 4
	indexAbove = 32 // destinations; up to here they are looked for one by one
)

// live is the number of destinations. Caller holds Table.mu.
func (s *dests[D]) live() int {
	n := 0
	if s.state.Load() == firstHeld {
		n = 1
	}
	if v := s.more.Load(); v != nil {
		n += v.live
	}
	return n
}

// add tells whether d is new. Caller holds Table.mu.
func (s *dests[D]) add(d D) bool {
	state, v := s.state.Load(), s.more.Load()
	if state == firstHeld && s.first == d || v != nil && v.find(d) >= 0 {
		return false
	}
	if state == firstFree {
		s.first = d
		s.state.Store(firstHeld)
		return true
	}
	if v == nil || int(v.n.Load()) == len(v.slots) {
		v = v.grown()
		s.more.Store(v)
	}
	v.append(&d)
	return true
}

// remove tells whether d was there. Caller holds Table.mu.
func (s *dests[D]) remove(d D) bool {
	if s.state.Load() == firstHeld && s.first == d {
		s.state.Store(firstGone)
		return true
	}
	v := s.more.Load()
	if v == nil {
		return false
	}
	i := v.find(d)
	if i < 0 {
		return false
	}
	v.slots[i].Store(nil)
	v.live--
	delete(v.at, d)
	switch n := int(v.n.Load()); {
	case v.live == 0:
		s.more.Store(nil)
	case v.live*4 < n && n > vectorMin:
		s.more.Store(v.grown())
	}
	return true
}

// find returns the place of d, or -1.
func (v *vector[D]) find(d D) int {
	if v.at != nil {
		if i, ok := v.at[d]; ok {
			return i
		}
		return -1
	}
	for i := range int(v.n.Load()) {
		if e := v.slots[i].Load(); e != nil && *e == d {
			return i
		}
	}
	return -1
}

func (v *vector[D]) append(d *D) {
	n := v.n.Load()
	v.slots[n].Store(d)
	v.live++
	if v.at == nil && v.live > indexAbove {
		v.at = make(map[D]int, len(v.slots))
		for i := range n {
			if e := v.slots[i].Load(); e != nil {
				v.at[*e] = int(i)
			}
		}
	}
	if v.at != nil {
		v.at[*d] = int(n)
	}
	v.n.Store(n + 1)
}

// grown returns a copy without removed places, with room for as many again. v may be nil.
func (v *vector[D]) grown() *vector[D] {
	if v == nil {
		return &vector[D]{slots: make([]atomic.Pointer[D], vectorMin)}
	}
	w := &vector[D]{slots: make([]atomic.Pointer[D], max(2*v.live, vectorMin))}
	for i := range int(v.n.Load()) {
		if e := v.slots[i].Load(); e != nil {
			w.append(e)
		}
	}
	return w
}

// appendTo appends the destinations. For readers.
func (s *dests[D]) appendTo(dst []D) []D {
	if s.state.Load() == firstHeld {
		dst = append(dst, s.first)
	}
	if v := s.more.Load(); v != nil {
		for i := range v.n.Load() {
			if e := v.slots[i].Load(); e != nil {
				dst = append(dst, *e)
			}
		}
	}
	return dst
}
