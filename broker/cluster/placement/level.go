package placement

import "slices"

// level moves voters from nodes that are fuller to nodes that are emptier, until there is no
// such move. Each takes from the fullest node that anything can be taken from, and leaves all
// that it touches emptier than that one was: so there is an end.
func (p *plan) level() {
	for i := range p.shards {
		for _, n := range p.shards[i].voters {
			p.nodes[n].shards = append(p.nodes[n].shards, int32(i))
		}
	}
	for _, n := range p.nodes {
		p.load, p.weight = p.load+n.load, p.weight+n.weight
	}
	// A node from which nothing can be moved is asked again when all have been: others have
	// changed since. A pass that moves nothing is the last, and would be the first of a second Place.
	for moved := true; moved; {
		moved = false
		for i := range p.nodes {
			p.nodes[i].stuck, p.nodes[i].passedFor = false, none
		}
		for i := range p.racks {
			p.racks[i].shut = false
		}
		for n := p.fullest(load); n >= 0; n = p.fullest(load) {
			if p.ease(n) {
				moved = true
			} else {
				p.nodes[n].stuck = true
			}
		}
	}
}

func load(n *node) int64 { return n.load }
func led(n *node) int64  { return n.led }

// fullest returns the fullest node that is not stuck, by what a function says of it; -1: all are.
func (p *plan) fullest(of func(*node) int64) int {
	best := -1
	for i := range p.nodes {
		n := &p.nodes[i]
		if !n.stuck && (best < 0 || fuller(of(n), n.weight, of(&p.nodes[best]), p.nodes[best].weight)) {
			best = i
		}
	}
	return best
}

// ease moves one shard away from a node, if that is to the good: the one that leaves the fuller
// one of both ends least full, and to the emptiest that may have it. One that would leave the
// node with less than its share is taken if there is no other: it would soon get some of it back.
func (p *plan) ease(from int) bool {
	emptiest := p.empty.least(0, len(p.nodes))
	a := &p.nodes[from]
	if a.passedFor != emptiest {
		a.passedFor, a.passed = emptiest, 0
	}
	much := max(p.empty.mean, a.load-p.load*a.weight/p.weight)
	shard, to, peak := -1, -1, end{a.load, a.weight}
	for at := a.passed; at < len(a.shards); at++ { // the heaviest first
		i := a.shards[at]
		s := &p.shards[i]
		if at == a.passed && s.has(emptiest) {
			a.passed++
		}
		if e := &p.nodes[emptiest]; !fuller(a.load, a.weight, e.load+p.least(s), e.weight) {
			continue // it has room nowhere
		}
		b := p.receiver(s, from)
		if b < 0 || !fuller(a.load, a.weight, p.nodes[b].load+p.least(s), p.nodes[b].weight) {
			continue
		}
		rest, more := end{a.load - s.load, a.weight}, end{p.nodes[b].load + s.load, p.nodes[b].weight}
		worse := rest
		if more.above(rest) {
			worse = more
		}
		instead := shard >= 0 && s.load <= much && p.shards[shard].load > much
		if instead || peak.above(worse) || shard >= 0 && !worse.above(peak) && p.empty.before(b, to) {
			shard, to, peak = int(i), b, worse
		}
		if shard == int(i) && s.load <= much && to == emptiest && !more.above(rest) {
			break // what is lighter takes less from here, and nothing is emptier
		}
	}
	if shard >= 0 {
		p.move(shard, from, to)
		return true
	}
	return p.easeThrough(from)
}

// easeThrough moves one shard of a neighbour to another rack and one of this node to the
// neighbour, if that is to the good: it may be that no shard of this node has leave to go
// there, and one of the neighbour's has.
func (p *plan) easeThrough(from int) bool {
	a := &p.nodes[from]
	r := &p.racks[a.rack]
	if r.shut {
		return false
	}
	r.shut = true
	for by := r.lo; by < r.hi; by++ {
		if by == from {
			continue
		}
		n := &p.nodes[by]
		for _, i := range n.shards {
			s := &p.shards[i]
			to, ok := p.emptiest(s, s.in(*r)-1)
			if !ok || !fuller(a.load, a.weight, p.nodes[to].load+p.least(s), p.nodes[to].weight) {
				continue
			}
			r.shut = false
			for _, j := range a.shards {
				t := &p.shards[j]
				if !t.has(by) && fuller(a.load, a.weight, n.load-s.load+t.load, n.weight) {
					p.move(int(i), by, to)
					p.move(int(j), from, by)
					return true
				}
			}
		}
	}
	return false
}

// least is by how much two nodes must be apart for a shard to move: so that what is light does
// not move for little.
func (p *plan) least(s *shard) int64 { return max(s.load, p.empty.mean) }

// end is how full one end of a move is.
type end struct{ load, weight int64 }

func (e end) above(f end) bool { return fuller(e.load, e.weight, f.load, f.weight) }

// receiver returns the emptiest node that a shard's voter on a node may go to; -1: none. It
// may go to another node of its rack, and to a rack that has one voter less.
func (p *plan) receiver(s *shard, from int) int {
	r := p.racks[p.nodes[from].rack]
	other, _ := p.emptiest(s, s.in(r)-1)
	return p.empty.better(p.emptiestOf(s, r), other)
}

// move has another node be a voter of a shard.
func (p *plan) move(i, from, to int) {
	s := &p.shards[i]
	p.drop(s, from)
	p.take(s, to)
	a, b := &p.nodes[from], &p.nodes[to]
	at, _ := slices.BinarySearch(a.shards, int32(i))
	a.shards = slices.Delete(a.shards, at, at+1)
	a.passed = min(a.passed, at)
	at, _ = slices.BinarySearch(b.shards, int32(i))
	b.shards = slices.Insert(b.shards, at, int32(i))
	b.passed = min(b.passed, at)
}
