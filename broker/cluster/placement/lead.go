package placement

// lead chooses leaders among voters: those that lead stay, shards without one get the voter
// that leads least, and then leadership goes from nodes that lead more to nodes that lead less,
// by one shard or along a path of them.
func (p *plan) lead() {
	for i := range p.shards {
		s := &p.shards[i]
		if s.leader >= 0 && s.has(s.leader) {
			p.nodes[s.leader].led += s.load
		} else {
			s.leader = -1
		}
	}
	for i := range p.shards {
		if s := &p.shards[i]; s.leader < 0 {
			best := s.voters[0]
			for _, n := range s.voters[1:] {
				if p.leadsLess(n, best) {
					best = n
				}
			}
			s.leader = best
			p.nodes[best].led += s.load
		}
	}
	for i := range p.nodes {
		p.nodes[i].stuck = false
	}
	via := make([]step, len(p.nodes))
	for n := p.fullest(led); n >= 0; n = p.fullest(led) {
		p.relieve(n, via)
	}
}

func (p *plan) leadsLess(a, b int) bool {
	x, y := &p.nodes[a], &p.nodes[b]
	if fuller(y.led, y.weight, x.led, x.weight) {
		return true
	}
	return !fuller(x.led, x.weight, y.led, y.weight) && x.rank < y.rank
}

// step is how a search came to a node: from one that would give it the lead of a shard.
type step struct {
	from  int
	shard int // -1: the search did not come by
}

// relieve has a node lead less, if there is a path for that: it gives a shard to a voter, which
// gives another one to the next, until one is reached that leads so little that it gives nothing
// on. All on the path lead less, then, than this node did, or no more than before.
//
// If there is no path, the nodes that the search came to give nothing to any other, and none
// of them leads little enough for a node that leads less than this one. They are left out of
// all that follows.
func (p *plan) relieve(first int, via []step) {
	for i := range via {
		via[i].shard = -1
	}
	top := end{p.nodes[first].led, p.nodes[first].weight}
	queue := []int{first}
	via[first] = step{first, none}
	for at := 0; at < len(queue); at++ {
		a := queue[at]
		n := &p.nodes[a]
		has := n.led
		if a != first {
			has += p.shards[via[a].shard].load
		}
		for _, i := range n.shards {
			s := &p.shards[i]
			if s.leader != a || has-s.load > n.led && !top.above(end{has - s.load, n.weight}) {
				continue
			}
			for _, b := range s.voters {
				if via[b].shard != -1 || p.nodes[b].stuck {
					continue
				}
				via[b] = step{a, int(i)}
				if top.above(end{p.nodes[b].led + p.least(s), p.nodes[b].weight}) {
					for ; b != first; b = via[b].from {
						p.give(via[b].shard, b)
					}
					return
				}
				queue = append(queue, b)
			}
		}
	}
	for _, n := range queue {
		p.nodes[n].stuck = true
	}
}

// none stands for the shard by which a search came to where it began.
const none = -2

func (p *plan) give(i, to int) {
	s := &p.shards[i]
	p.nodes[s.leader].led -= s.load
	p.nodes[to].led += s.load
	s.leader = to
}
