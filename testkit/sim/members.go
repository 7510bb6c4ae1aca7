package sim

import (
	"slices"
	"time"

	"github.com/robustmq/rmq/broker/storage"
)

// membersAt are members from an entry on.
type membersAt struct {
	index uint64
	storage.Members
}

// populate makes the nodes, and decides who is a member at first, and what may become of that.
func (c *cluster) populate() {
	o := &c.opt
	n := o.Nodes
	if n == 0 {
		n = [...]int{3, 3, 5}[c.rand.IntN(3)]
	}
	for id := range uint64(n) {
		c.ids = append(c.ids, id+1)
	}
	c.changes = c.rand.IntN(3) > 0 && !o.Fixed && !o.Forget
	c.least, c.mortal = 1, !o.Forget
	first := slices.Clone(c.ids)
	if c.changes {
		c.report.Changing++
		if c.mortal = n > 3 && c.rand.IntN(2) == 0; c.mortal {
			c.least = 3 // two of which are enough
		}
		first = c.pick(first, c.least+c.rand.IntN(n+1-c.least))
	}
	for shard := range shardsOfVoters {
		c.known[storage.ShardID(shard)] = []membersAt{{0, storage.Members{Voters: first}}}
	}
	for _, id := range c.ids {
		c.nodes = append(c.nodes, newVoter(c, id))
	}
}

// pick returns n of the nodes, in order.
func (c *cluster) pick(nodes []uint64, n int) []uint64 {
	nodes = slices.Clone(nodes)
	c.rand.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
	nodes = nodes[:n]
	slices.Sort(nodes)
	return nodes
}

// learn takes note of members that a machine was told of.
func (c *cluster) learn(shard storage.ShardID, index uint64, m storage.Members) {
	known := c.known[shard]
	if known[len(known)-1].index >= index {
		return
	}
	c.known[shard] = append(known, membersAt{index, m})
	c.report.Changes++
	if m.Joint() {
		c.report.Joint++
	}
}

// now are the members of a shard, as far as any machine was told.
func (c *cluster) now(shard storage.ShardID) storage.Members {
	known := c.known[shard]
	return known[len(known)-1].Members
}

// reshape is what an operator does: asks for other members, empties a node that is none, and comes
// again.
func (c *cluster) reshape() {
	if c.calm || c.broken != nil {
		return
	}
	defer c.later(c.between(50*time.Millisecond, 1500*time.Millisecond), c.reshape)
	if c.rand.IntN(4) == 0 && c.empty() {
		return
	}
	shard := storage.ShardID(c.rand.IntN(shardsOfVoters))
	l := c.leader(shard)
	if l == nil {
		return
	}
	voters, learners := c.target(l)
	err := l.group.Reconfigure(voters, learners)
	c.note("node %d: the members of shard %d are to be %v and %v: %v", l.v.id, shard, voters, learners, err)
	if err == nil {
		c.report.Asks++
		if !slices.Contains(voters, l.v.id) {
			c.report.Handed++
		}
	}
}

// target decides who is to be a member: most often one step further than now.
func (c *cluster) target(l *replica) (voters, learners []uint64) {
	m := l.members
	voters, learners = slices.Clone(m.Voters), slices.Clone(m.Learners)
	// Who is to be a voter has to be a learner first.
	without := func(set []uint64, id uint64) []uint64 {
		return slices.DeleteFunc(set, func(x uint64) bool { return x == id })
	}
	var able, others []uint64 // to vote; to learn
	for _, v := range c.nodes {
		switch {
		case v.lost():
		case slices.Contains(voters, v.id) || slices.Contains(learners, v.id):
			able = append(able, v.id)
		default:
			others = append(others, v.id)
		}
	}
	switch n := c.rand.IntN(10); {
	case n < 6: // one step
		id := c.ids[c.rand.IntN(len(c.ids))]
		switch {
		case slices.Contains(voters, id):
			if len(voters) == c.least {
				break
			}
			if voters = without(voters, id); c.rand.IntN(2) == 0 {
				learners = append(learners, id)
			}
		case slices.Contains(learners, id):
			if learners = without(learners, id); c.rand.IntN(4) > 0 && slices.Contains(able, id) {
				voters = append(voters, id)
			}
		case slices.Contains(others, id):
			learners = append(learners, id)
		}
	case n < 8: // the leader goes
		if able = without(able, l.v.id); len(able) >= c.least {
			voters, learners = c.pick(able, c.least+c.rand.IntN(len(able)+1-c.least)), nil
			if c.rand.IntN(3) == 0 {
				learners = []uint64{l.v.id}
			}
		}
	default: // whoever
		if len(able) >= c.least {
			voters, learners = c.pick(able, c.least+c.rand.IntN(len(able)+1-c.least)), nil
			for _, id := range append(able, others...) {
				if !slices.Contains(voters, id) && c.rand.IntN(2) == 0 {
					learners = append(learners, id)
				}
			}
		}
	}
	slices.Sort(voters)
	slices.Sort(learners)
	return voters, learners
}

// empty has a node come back with nothing that is no member, as all voters know.
func (c *cluster) empty() bool {
	for _, v := range c.nodes {
		if v.lost() || v.paused > 0 || !c.out(v.id) {
			continue
		}
		c.note("node %d is emptied", v.id)
		c.report.Emptied++
		if v.up {
			v.die(powerLoss)
		} else {
			v.startLater()
		}
		v.blank()
		v.others = make(map[storage.ShardID]storage.Members)
		for shard := range shardsOfVoters {
			v.others[storage.ShardID(shard)] = c.now(storage.ShardID(shard))
		}
		return true
	}
	return false
}

// out tells whether all voters of all shards know, on their disks, that a node is no member, and it was one.
func (c *cluster) out(id uint64) bool {
	was := false
	for shard := range shardsOfVoters {
		shard := storage.ShardID(shard)
		for _, m := range c.known[shard] {
			was = was || m.Has(id)
		}
		known := c.known[shard]
		m := known[len(known)-1]
		if m.Has(id) || m.Joint() {
			return false
		}
		for _, voter := range m.Voters {
			if c.nodes[voter-1].promised[shard].hard.Commit < m.index {
				return false
			}
		}
	}
	return was
}
