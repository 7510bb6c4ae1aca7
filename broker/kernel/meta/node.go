package meta

import (
	"fmt"
	"iter"
	"slices"

	"github.com/robustmq/rmq/broker/fault"
)

// startNode gives a life of a node its incarnation. A node that is not known is one of those that
// the cluster begins with.
func (s *State) startNode(c *Command) Result {
	n := Node{State: NodeUp}
	if c.Node != nil {
		if known, ok := s.Node(c.Node.ID); ok {
			n = *known
		}
		if n.State == NodeRemoved {
			return Result{Err: fault.New(fault.Conflict, "start node", nodeName(n.ID), "it was removed from the cluster")}
		}
	}
	if s.dataShards == 0 {
		s.dataShards, s.cluster = int(c.N), c.Name
	}
	s.incarnation++
	s.touch("c", "")
	if c.Node != nil {
		n.ID, n.Incarnation, n.Down, n.Rack = c.Node.ID, uint64(s.incarnation), false, c.Node.Rack
		if c.Node.Peer != "" {
			n.Peer = c.Node.Peer
		}
		n.Addresses = c.Node.Addresses
		s.putNode(&n)
	}
	return Result{Number: s.incarnation, Created: true}
}

// addNode gives a node that is to join its id. One that was added under the same address and has
// not started since is the same: whoever added it asks again.
func (s *State) addNode(c *Command) Result {
	if c.Node == nil || c.Node.Peer == "" {
		return Result{Err: fault.New(fault.Invalid, "add node", "", "a node without an address for other nodes")}
	}
	last, there := uint64(0), 0
	for n := range s.AllNodes() {
		last = n.ID
		if n.State != NodeRemoved {
			there++
		}
		switch {
		case n.Peer != c.Node.Peer || n.State == NodeRemoved:
		case n.State == NodeJoining && n.Incarnation == 0:
			return Result{Number: int64(n.ID)}
		default:
			return Result{Err: fault.New(fault.Exists, "add node", c.Node.Peer, "node %d has that address", n.ID)}
		}
	}
	if there >= MaxNodes || s.nodes.Len() >= MaxNodesEver {
		return Result{Err: fault.New(fault.Exhausted, "add node", c.Node.Peer, "there are %d nodes, and %d were removed", there, s.nodes.Len()-there)}
	}
	s.putNode(&Node{ID: last + 1, State: NodeJoining, Peer: c.Node.Peer, Rack: c.Node.Rack})
	return Result{Number: int64(last + 1), Created: true}
}

// next are the states that may follow one.
var next = map[NodeState][]NodeState{
	NodeJoining:  {NodeUp, NodeLeaving},
	NodeUp:       {NodeDraining, NodeLeaving},
	NodeDraining: {NodeUp, NodeLeaving},
	NodeLeaving:  {NodeUp, NodeRemoved},
}

// setNode changes a node's state. Somebody has to stay who keeps everything.
func (s *State) setNode(c *Command) Result {
	var id uint64
	if c.Node != nil {
		id = c.Node.ID
	}
	n, ok := s.Node(id)
	switch {
	case !ok:
		return Result{Err: fault.Of(fault.NotFound, "change node", nodeName(id))}
	case n.State == c.Node.State:
		return Result{}
	case !slices.Contains(next[n.State], c.Node.State):
		return Result{Err: fault.New(fault.Conflict, "change node", nodeName(id), "it is %s, and cannot be %s next", n.State, c.Node.State)}
	case n.State == NodeUp && s.Up() == 1:
		return Result{Err: fault.New(fault.Conflict, "change node", nodeName(id), "no other node keeps what it keeps")}
	}
	changed := *n
	changed.State = c.Node.State
	s.putNode(&changed)
	return Result{Created: true}
}

// moveNode notes where other nodes find one from now on.
func (s *State) moveNode(c *Command) Result {
	if c.Node == nil || c.Node.Peer == "" {
		return Result{Err: fault.New(fault.Invalid, "move node", "", "a node without an address for other nodes")}
	}
	n, ok := s.Node(c.Node.ID)
	switch {
	case !ok:
		return Result{Err: fault.Of(fault.NotFound, "move node", nodeName(c.Node.ID))}
	case n.State == NodeRemoved:
		return Result{Err: fault.New(fault.Conflict, "move node", nodeName(n.ID), "it was removed from the cluster")}
	case n.Peer == c.Node.Peer:
		return Result{}
	}
	for other := range s.AllNodes() {
		if other.Peer == c.Node.Peer && other.State != NodeRemoved {
			return Result{Err: fault.New(fault.Exists, "move node", nodeName(n.ID), "node %d has the address %s", other.ID, other.Peer)}
		}
	}
	moved := *n
	moved.Peer = c.Node.Peer
	s.putNode(&moved)
	return Result{Created: true}
}

// Up counts the nodes in NodeUp.
func (s *State) Up() (count int) {
	for n := range s.AllNodes() {
		if n.State == NodeUp {
			count++
		}
	}
	return count
}

// changeNode notes what has become of a node, if it is still in the life that is meant. One that
// joins and says where clients find it serves them from now on. One that is to leave still does.
func (s *State) changeNode(c *Command) Result {
	if c.Node == nil {
		return Result{Err: fault.New(fault.Invalid, "change node", "", "no node")}
	}
	n, ok := s.Node(c.Node.ID)
	if !ok || n.Incarnation != c.Node.Incarnation {
		return Result{Err: fault.New(fault.NotFound, "change node", nodeName(c.Node.ID), "it is not of incarnation %d", c.Node.Incarnation)}
	}
	changed := *n
	switch {
	case c.Op == AnnounceNode:
		changed.Addresses = c.Node.Addresses
		if n.State == NodeJoining {
			changed.State = NodeUp
		}
	case n.Down == c.Node.Down:
		return Result{}
	default:
		changed.Down = c.Node.Down
	}
	s.putNode(&changed)
	return Result{Created: true}
}

func (s *State) putNode(n *Node) {
	s.nodes.Set(nodeKey(n.ID), n)
	s.touch("m", nodeKey(n.ID))
}

func nodeName(id uint64) string { return fmt.Sprintf("node %d", id) }

func nodeKey(id uint64) string { return fmt.Sprintf("%020d", id) }

func shardKey(id uint32) string { return fmt.Sprintf("%010d", id) }

// Node returns a node, also one that was removed.
func (s *State) Node(id uint64) (*Node, bool) { return s.nodes.Get(nodeKey(id)) }

// AllNodes yields the nodes in the order of their ids, also those that were removed.
func (s *State) AllNodes() iter.Seq[*Node] { return values(&s.nodes) }

// Placement is who is to vote on a shard; false: those who have from the beginning.
func (s *State) Placement(shard uint32) (*Placement, bool) { return s.placements.Get(shardKey(shard)) }

// Alive tells whether an incarnation is that of a node which is neither down nor removed.
func (s *State) Alive(incarnation uint64) bool {
	for n := range s.AllNodes() {
		if n.Incarnation == incarnation {
			return !n.Down && n.State != NodeRemoved
		}
	}
	return false
}
