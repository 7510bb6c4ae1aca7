// Package placement decides which nodes of a cluster keep which shards.
//
// Place is one step of a rebalancing: it is given who keeps what now, and says who
// should. It is a pure function of its arguments, in integers, so that every node
// that is given the same ones comes to the same answer, whatever it runs on. In this
// order of importance:
//
//   - A shard has min(replicas, nodes that may keep voters) voters.
//   - Its voters are in as many racks as can be, and as evenly: of two racks, one
//     has two voters more than the other only if the other has no node left.
//   - Nodes are equally full: by the load of the shards they are voters of, for their
//     weight. No voter could go to another node, within what was said of racks, and
//     leave that one less full than the first one was, a shard that is lighter than the
//     mean counting as the mean; where neither loads nor weights are equal, not by more
//     than the heaviest load on a weight of 1. With equal loads
//     and weights the nodes of a rack differ by one voter at most, and so do all nodes
//     where racks are of the same size.
//   - Nodes lead equally much, in the same sense. With equal loads and weights they
//     differ by one leader at most where they differ by one voter at most; where they
//     do not, no choice of leaders among the voters is more even.
//   - What is good stays. A node that is new takes what it lacks from the fullest, one
//     that is gone leaves what it had to the emptiest, and nothing else moves, but for
//     a few voters where racks leave no straight way.
//
// A second step changes nothing: Place of what Place said is the same again. The
// order of nodes, of shards and of voters is of no account.
package placement

import (
	"cmp"
	"slices"
)

// Loads and weights beyond these count as these, so that no sum or product of them
// leaves 64 bits with fewer than 8 million voters.
const (
	loadMax   = 1 << 24
	weightMax = 1 << 16
)

// Node is one that there is. IDs are distinct.
type Node struct {
	ID     uint64
	Rack   string // what fails together; "" is a rack like others
	Weight int    // how much it takes, in proportion to others; less than 1 counts as 1
	Keeps  bool   // whether it may keep voters: not while it joins, or is drained
}

// Shard is what is to be kept. IDs are distinct.
type Shard struct {
	ID     uint64
	Load   int      // in proportion to other shards; less than 1 counts as 1
	Voters []uint64 // who keeps it now; nodes that are not there, or may not, are replaced
	Leader uint64   // who leads it now, or should; 0 if nobody
}

// Assignment says who should keep a shard.
type Assignment struct {
	Voters []uint64 // ascending
	Leader uint64   // the one of them that should lead
}

// Place returns who should keep each of shards, in their order. With no node that
// may keep voters, everything stays as it is.
func Place(nodes []Node, shards []Shard, replicas int) []Assignment {
	p := newPlan(nodes, shards, replicas)
	if p.want > 0 {
		p.keep(shards)
		for s := range p.shards {
			p.mend(&p.shards[s])
		}
		p.level()
		p.lead()
	}
	return p.assignments(shards)
}

// plan is a placement in the making.
//
// Nodes and shards are numbered anew, so that the order they came in is of no
// account: nodes by rack, then id; shards by load, heaviest first, then id.
type plan struct {
	nodes  []node // those that may keep voters
	racks  []rack
	shards []shard
	want   int  // voters of each shard
	empty  tree // of nodes, by how full they are

	load, weight int64 // of all nodes, once every shard has its voters
}

type node struct {
	id     uint64
	rack   int
	weight int64
	load   int64 // of the shards it is a voter of
	led    int64 // of the shards it leads
	shards []int32
	rank   uint64 // decides between nodes that are equally full
	stuck  bool   // nothing can be moved from here, in this pass

	// The first shards here have a voter on another node: they were passed over, in this
	// pass, when something was to go there.
	passed, passedFor int
}

// rack is nodes [lo, hi).
type rack struct {
	lo, hi int
	shut   bool // no shard can go from here to an emptier node of another rack, in this pass
}

type shard struct {
	at     int // where it stood among those given
	id     uint64
	load   int64
	voters []int
	leader int // -1: none
}

func newPlan(nodes []Node, shards []Shard, replicas int) *plan {
	var may []Node
	for _, n := range nodes {
		if n.Keeps {
			may = append(may, n)
		}
	}
	slices.SortFunc(may, func(a, b Node) int {
		return cmp.Or(cmp.Compare(a.Rack, b.Rack), cmp.Compare(a.ID, b.ID))
	})
	p := &plan{nodes: make([]node, len(may)), shards: make([]shard, len(shards)), want: max(0, min(replicas, len(may)))}
	for i, n := range may {
		if i == 0 || n.Rack != may[i-1].Rack {
			p.racks = append(p.racks, rack{lo: i})
		}
		p.racks[len(p.racks)-1].hi = i + 1
		p.nodes[i] = node{id: n.ID, rack: len(p.racks) - 1, weight: int64(max(1, min(n.Weight, weightMax)))}
		p.nodes[i].setRank()
	}
	var sum int64
	for i, s := range shards {
		p.shards[i] = shard{at: i, id: s.ID, load: int64(max(1, min(s.Load, loadMax))), leader: -1}
		sum += p.shards[i].load
	}
	p.empty = newTree(p.nodes, sum/int64(max(1, len(shards))))
	slices.SortFunc(p.shards, func(a, b shard) int {
		return cmp.Or(cmp.Compare(b.load, a.load), cmp.Compare(a.id, b.id))
	})
	return p
}

// keep takes over what is good of who keeps what now.
func (p *plan) keep(shards []Shard) {
	index := make(map[uint64]int, len(p.nodes))
	for i, n := range p.nodes {
		index[n.id] = i
	}
	for i := range p.shards {
		s, was := &p.shards[i], &shards[p.shards[i].at]
		s.voters = make([]int, 0, p.want)
		for _, id := range was.Voters {
			if n, ok := index[id]; ok && !s.has(n) {
				s.voters = append(s.voters, n)
				p.add(n, s.load)
			}
		}
		slices.Sort(s.voters)
		if n, ok := index[was.Leader]; ok {
			s.leader = n
		}
	}
}

// assignments says what has come of the plan, in the order of shards.
func (p *plan) assignments(shards []Shard) []Assignment {
	out := make([]Assignment, len(shards))
	if p.want == 0 {
		for i, s := range shards {
			out[i] = Assignment{Voters: slices.Sorted(slices.Values(s.Voters)), Leader: s.Leader}
		}
		return out
	}
	ids := make([]uint64, len(shards)*p.want)
	for i := range p.shards {
		s := &p.shards[i]
		voters := ids[i*p.want : (i+1)*p.want : (i+1)*p.want]
		for j, n := range s.voters {
			voters[j] = p.nodes[n].id
		}
		slices.Sort(voters)
		out[s.at] = Assignment{Voters: voters, Leader: p.nodes[s.leader].id}
	}
	return out
}

// ---- one shard

func (s *shard) has(n int) bool { return slices.Contains(s.voters, n) }

// in counts the voters that are in a rack.
func (s *shard) in(r rack) (count int) {
	for _, n := range s.voters {
		if n >= r.lo && n < r.hi {
			count++
		}
	}
	return count
}

// mend gives a shard as many voters as it should have, spread over racks.
func (p *plan) mend(s *shard) {
	for len(s.voters) > p.want {
		_, most, _ := p.spread(s)
		p.drop(s, p.fullestOf(s, most))
	}
	for len(s.voters) < p.want {
		least, _, _ := p.spread(s)
		n, _ := p.emptiest(s, least)
		p.take(s, n)
	}
	for {
		least, most, known := p.spread(s)
		if !known || most < least+2 {
			return
		}
		n, _ := p.emptiest(s, least)
		p.drop(s, p.fullestOf(s, most))
		p.take(s, n)
	}
}

// spread returns the least number of the shard's voters in any rack that has a node left for
// one more, and the greatest in any rack. false: no rack has one.
func (p *plan) spread(s *shard) (least, most int, ok bool) {
	least = len(s.voters) + 1
	touched := 0
	for i, n := range s.voters {
		r := p.racks[p.nodes[n].rack]
		if slices.ContainsFunc(s.voters[:i], func(m int) bool { return p.nodes[m].rack == p.nodes[n].rack }) {
			continue // this rack was counted
		}
		touched++
		in := s.in(r)
		most = max(most, in)
		if in < r.hi-r.lo {
			least = min(least, in)
		}
	}
	if touched < len(p.racks) {
		least = 0
	}
	return least, most, least <= len(s.voters)
}

// emptiest returns the emptiest of the nodes that are no voter of the shard, in racks that
// have exactly in of its voters. false: there is none.
func (p *plan) emptiest(s *shard, in int) (best int, ok bool) {
	best = -1
	if in == 0 { // all racks but those of its voters, which are in order
		lo := 0
		for _, n := range s.voters {
			r := p.racks[p.nodes[n].rack]
			best, lo = p.empty.better(best, p.empty.least(lo, r.lo)), max(lo, r.hi)
		}
		best = p.empty.better(best, p.empty.least(lo, len(p.nodes)))
		return best, best >= 0
	}
	for _, n := range s.voters {
		if r := p.racks[p.nodes[n].rack]; s.in(r) == in {
			best = p.empty.better(best, p.emptiestOf(s, r))
		}
	}
	return best, best >= 0
}

// emptiestOf returns the emptiest node of a rack that is no voter of the shard; -1: none.
func (p *plan) emptiestOf(s *shard, r rack) int {
	best, lo := -1, r.lo
	for _, n := range s.voters {
		if n >= r.lo && n < r.hi {
			best, lo = p.empty.better(best, p.empty.least(lo, n)), n+1
		}
	}
	return p.empty.better(best, p.empty.least(lo, r.hi))
}

// fullestOf returns the fullest of the shard's voters that are in racks with exactly in of them.
func (p *plan) fullestOf(s *shard, in int) int {
	fullest := -1
	for _, n := range s.voters {
		if s.in(p.racks[p.nodes[n].rack]) == in && (fullest < 0 || p.empty.before(fullest, n)) {
			fullest = n
		}
	}
	return fullest
}

func (p *plan) take(s *shard, n int) {
	at, _ := slices.BinarySearch(s.voters, n)
	s.voters = slices.Insert(s.voters, at, n)
	p.add(n, s.load)
}

func (p *plan) drop(s *shard, n int) {
	s.voters = slices.DeleteFunc(s.voters, func(m int) bool { return m == n })
	p.add(n, -s.load)
}

// add makes a node fuller.
func (p *plan) add(n int, load int64) {
	p.nodes[n].load += load
	p.nodes[n].setRank()
	p.empty.update(n)
}

// ---- how full nodes are

// fuller says whether a load is more than another, each for its weight.
func fuller(load, weight, than, itsWeight int64) bool { return load*itsWeight > than*weight }

// setRank mixes id and load, so that nodes that are equally full come in another order at each
// load: shards share voters with many others, not always with the same, and what a node leaves
// behind is taken over by many.
func (n *node) setRank() {
	x := n.id*0x9e3779b97f4a7c15 + uint64(n.load)
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	n.rank = x ^ x>>31
}

// tree finds the emptiest of nodes that stand next to each other.
//
// The emptiest is the one that is least full once it has taken one shard more, of the mean
// load: so that of two that have nothing, the one of greater weight comes first.
//
//	at[size+i] is node i; at[j] is the better one of at[2j] and at[2j+1]
type tree struct {
	nodes []node
	mean  int64 // load of a shard
	size  int
	at    []int32
}

func newTree(nodes []node, mean int64) tree {
	t := tree{nodes: nodes, mean: mean, size: len(nodes), at: make([]int32, 2*len(nodes))}
	for i := range nodes {
		t.at[t.size+i] = int32(i)
	}
	for j := t.size - 1; j > 0; j-- {
		t.at[j] = int32(t.better(int(t.at[2*j]), int(t.at[2*j+1])))
	}
	return t
}

// before says whether node a is emptier than b.
func (t *tree) before(a, b int) bool {
	x, y := &t.nodes[a], &t.nodes[b]
	switch l, r := (x.load+t.mean)*y.weight, (y.load+t.mean)*x.weight; {
	case l != r:
		return l < r
	case x.rank != y.rank:
		return x.rank < y.rank
	}
	return a < b
}

// better returns the emptier one of two; -1 is none.
func (t *tree) better(a, b int) int {
	if a < 0 || b >= 0 && t.before(b, a) {
		return b
	}
	return a
}

// update has the tree know that a node's load has changed.
func (t *tree) update(n int) {
	for j := (t.size + n) / 2; j > 0; j /= 2 {
		t.at[j] = int32(t.better(int(t.at[2*j]), int(t.at[2*j+1])))
	}
}

// least returns the emptiest node of [lo, hi); -1 if that is none.
func (t *tree) least(lo, hi int) int {
	best := -1
	for lo, hi = lo+t.size, hi+t.size; lo < hi; lo, hi = lo/2, hi/2 {
		if lo&1 == 1 {
			best = t.better(best, int(t.at[lo]))
			lo++
		}
		if hi&1 == 1 {
			hi--
			best = t.better(best, int(t.at[hi]))
		}
	}
	return best
}
