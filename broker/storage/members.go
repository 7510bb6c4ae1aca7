package storage

import (
	"errors"
	"fmt"
	"slices"
)

// Members are the nodes of a shard's group, each set in rising order. Voters count for its quorum.
// While the group goes from one set of voters to another it is joint: Outgoing are the voters that
// it leaves, and what is decided takes a majority of Voters and one of Outgoing. It ends that by
// itself. Learners take entries and count for nothing; Next are those of Outgoing that are learners
// once it is over.
type Members struct {
	Voters, Outgoing, Learners, Next []uint64
}

// Has tells whether a node is one of them.
func (m Members) Has(node uint64) bool {
	return m.IsVoter(node) || slices.Contains(m.Learners, node)
}

// IsVoter tells whether a node counts for the quorum, or for one of the two of a joint group.
func (m Members) IsVoter(node uint64) bool {
	return slices.Contains(m.Voters, node) || slices.Contains(m.Outgoing, node)
}

// Joint tells whether the group is on its way from one set of voters to another.
func (m Members) Joint() bool { return len(m.Outgoing) > 0 }

// Sole tells whether a node alone is the quorum: nobody else votes.
func (m Members) Sole(node uint64) bool {
	return len(m.Voters) == 1 && m.Voters[0] == node && len(m.Outgoing) == 0
}

// Alone tells whether there is nobody but a node.
func (m Members) Alone(node uint64) bool { return m.Sole(node) && len(m.Learners) == 0 }

// All returns every member once, in rising order.
func (m Members) All() []uint64 {
	all := slices.Concat(m.Voters, m.Outgoing, m.Learners)
	slices.Sort(all)
	return slices.Compact(all)
}

// Clone returns a copy that shares nothing.
func (m Members) Clone() Members {
	return Members{slices.Clone(m.Voters), slices.Clone(m.Outgoing), slices.Clone(m.Learners), slices.Clone(m.Next)}
}

// Equal tells whether two are the same.
func (m Members) Equal(o Members) bool {
	return slices.Equal(m.Voters, o.Voters) && slices.Equal(m.Outgoing, o.Outgoing) &&
		slices.Equal(m.Learners, o.Learners) && slices.Equal(m.Next, o.Next)
}

// MembersMax bounds the members of a group.
const MembersMax = 32

// Check tells what is wrong with members that somebody else has named.
func (m Members) Check() error {
	if len(m.Voters) == 0 {
		return errors.New("no voters")
	}
	for _, set := range [...][]uint64{m.Voters, m.Outgoing, m.Learners, m.Next} {
		for i, id := range set {
			if id == 0 || i > 0 && set[i-1] >= id {
				return fmt.Errorf("nodes %v, which are to be in order, and each once", set)
			}
		}
	}
	for _, id := range m.Learners {
		if m.IsVoter(id) {
			return fmt.Errorf("node %d is a voter and a learner", id)
		}
	}
	for _, id := range m.Next {
		if !slices.Contains(m.Outgoing, id) || slices.Contains(m.Voters, id) {
			return fmt.Errorf("node %d is to be a learner, and is no voter that leaves", id)
		}
	}
	if n := len(m.All()); n > MembersMax {
		return fmt.Errorf("%d members, %d allowed", n, MembersMax)
	}
	return nil
}
