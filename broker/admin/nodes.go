package admin

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
)

// Nodes lists the nodes of the cluster, by id, with the shards that each leads and votes on.
func (s *Source) Nodes(context.Context) ([]adminapi.Node, error) { return s.nodes(), nil }

func (s *Source) nodes() []adminapi.Node {
	leads, votes := make(map[uint64][]uint32), make(map[uint64][]uint32)
	for _, shard := range s.c.Shards() {
		leads[shard.Leader] = append(leads[shard.Leader], shard.ID)
		for _, v := range shard.Voters {
			votes[v] = append(votes[v], shard.ID)
		}
	}
	gains, loses := make(map[uint64][]uint32), make(map[uint64][]uint32)
	for _, m := range s.moves() {
		to, from := m.To, m.From
		if m.Leader != m.ToLead && m.ToLead != 0 && !slices.Contains(to, m.ToLead) {
			to = append(slices.Clone(to), m.ToLead)
		}
		for _, n := range to {
			gains[n] = append(gains[n], m.Shard)
		}
		for _, n := range from {
			loses[n] = append(loses[n], m.Shard)
		}
	}
	var out []adminapi.Node
	for _, n := range s.c.Kernel.Nodes() {
		a := n.Addresses
		x := adminapi.Node{
			ID: n.ID, Up: !n.Down && n.State != kernel.NodeJoining, Self: n.ID == s.c.Node, Incarnation: n.Incarnation, Rack: n.Rack,
			State: string(n.State), Peer: n.Peer, Leads: some(leads[n.ID]), Votes: some(votes[n.ID]), Gains: gains[n.ID], Loses: loses[n.ID],
		}
		x.URLs.All(func(name string, url *string) { *url = a[name] })
		if x.Self {
			x.Up, x.URLs = true, s.c.URLs() // whatever the others think
		}
		out = append(out, x)
	}
	return out
}

// some is a list that is not nil.
func some[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// Shards tells how each log stands, as this node sees it, by id.
func (s *Source) Shards(context.Context) ([]adminapi.Shard, error) { return s.c.Shards(), nil }

// Moves tells what is not yet kept by who is to keep it, as this node sees it, by shard.
func (s *Source) Moves(context.Context) ([]adminapi.Move, error) { return s.moves(), nil }

func (s *Source) moves() (out []adminapi.Move) {
	for _, m := range s.c.Kernel.Moves() {
		x := adminapi.Move{Shard: m.Shard, To: m.Learning, Leader: m.Leader, ToLead: m.ToLead}
		for _, v := range m.Members.Voters {
			if !slices.Contains(m.Voters, v) {
				x.From = append(x.From, v)
			}
		}
		out = append(out, x)
	}
	return out
}

// DrainNode has a node give up its votes and what it leads.
func (s *Source) DrainNode(ctx context.Context, id uint64, force bool) (adminapi.Node, error) {
	return s.change(ctx, id, func(nodes []kernel.Node) error {
		if err := mayDoWithout(nodes, id, s.c.Kernel.Replicas(), force); err != nil {
			return err
		}
		return s.c.Kernel.DrainNode(ctx, id)
	})
}

// FillNode gives it its share again.
func (s *Source) FillNode(ctx context.Context, id uint64) (adminapi.Node, error) {
	return s.change(ctx, id, func([]kernel.Node) error { return s.c.Kernel.FillNode(ctx, id) })
}

// RemoveNode has a node leave the cluster.
func (s *Source) RemoveNode(ctx context.Context, id uint64, force bool) (adminapi.Node, error) {
	return s.change(ctx, id, func(nodes []kernel.Node) error {
		if err := mayDoWithout(nodes, id, s.c.Kernel.Replicas(), force); err != nil {
			return err
		}
		return s.c.Kernel.RemoveNode(ctx, id)
	})
}

// change does something to a node, and returns what it is then.
func (s *Source) change(ctx context.Context, id uint64, do func([]kernel.Node) error) (adminapi.Node, error) {
	at := func(nodes []adminapi.Node) int {
		return slices.IndexFunc(nodes, func(n adminapi.Node) bool { return n.ID == id })
	}
	before := s.nodes()
	if at(before) < 0 {
		return adminapi.Node{}, fault.Of(fault.NotFound, "find", "node "+strconv.FormatUint(id, 10))
	}
	if err := do(s.c.Kernel.Nodes()); err != nil {
		return adminapi.Node{}, err
	}
	after := s.nodes()
	if i := at(after); i >= 0 {
		return after[i], nil
	}
	return before[at(before)], nil // it has left already
}

// mayDoWithout tells whether the cluster can do without the votes of a node. It cannot without the
// last one that keeps everything, nor when a shard could then have most of its voters among those
// that are down. It should not when each of the others would have to stay up from then on, which
// force overrules.
func mayDoWithout(nodes []kernel.Node, id uint64, replicas int, force bool) error {
	var rest, down []uint64 // of those that keep votes
	kept := 0
	for _, n := range nodes {
		if n.State != kernel.NodeUp {
			continue
		}
		kept++
		if n.ID == id {
			continue
		}
		rest = append(rest, n.ID)
		if n.Down {
			down = append(down, n.ID)
		}
	}
	if len(rest) == kept {
		return nil // it keeps no votes, or is about to keep none
	}
	refuse := func(format string, args ...any) error {
		return fault.New(fault.Conflict, "do without", "node "+strconv.FormatUint(id, 10), format, args...)
	}
	if len(rest) == 0 {
		return refuse("no other node keeps what it keeps")
	}
	before := min(replicas, kept)
	voters := min(before, len(rest))
	if lost := min(len(down), voters); voters-lost <= voters/2 {
		return refuse("without it a shard could lack a majority: nodes %v would be left, and of these %v cannot be heard", rest, down)
	}
	if may := spare(voters); may < spare(before) && !force {
		what := fmt.Sprintf("only %d of these may", may)
		if may == 0 {
			what = "none of these may"
		}
		e := adminapi.ErrorOf(refuse("without it nodes %v would be left, and %s be lost from then on", rest, what))
		e.Hint = "add a node first: rmq node add   or do with what is left: --force"
		return e
	}
	return nil
}

// spare is how many of so many voters may be lost, and a majority is left.
func spare(voters int) int { return (voters - 1) / 2 }
