package kernel

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/robustmq/rmq/broker/cluster/placement"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel/meta"
	"github.com/robustmq/rmq/broker/storage"
)

// Who votes on what.
//
// Log 0 has the nodes, each in a state, and for each shard a placement: who is to vote on it, and
// who of those is to lead. Its leader makes placements, whenever nodes come, go or change (package
// cluster/placement). The leader of each shard brings its group there, a step at a time:
//
//  1. Every node that was not removed has a replica. One that does not vote is a learner: it
//     applies all there is, and answers its own clients.
//  2. A learner that is to vote does so once it has all but what is under way.
//  3. Who is not to lead hands over to who is. One that is to be no voter has its group see to that.
//
// So a node comes as a learner of everything, is put up when it has everything, and is then given
// its share of votes and of leaders. One that drains loses them. One that leaves loses them, and
// is removed when it votes on nothing.

// Bounds of moves.
const (
	replicasDefault = 3
	lagMax          = 1000                   // entries that a learner may lack and yet be given a vote
	moveAgain       = 100 * time.Millisecond // link time between two looks at what is not where it is to be
	ledEnough       = 2 * time.Second        // link time for which a node leads a shard at least before it hands it over to another that is to
)

// NodeSpec is a node that is to join.
type NodeSpec struct {
	Peer string // its address for other nodes: host:port
	Rack string // what fails together with it
}

// States of a node: see meta.
type NodeState = meta.NodeState

// The states of a node, in their order.
const (
	NodeJoining  = meta.NodeJoining
	NodeUp       = meta.NodeUp
	NodeDraining = meta.NodeDraining
	NodeLeaving  = meta.NodeLeaving
	NodeRemoved  = meta.NodeRemoved
)

// AddNode gives a node that is to join its id: it is to be started with it. fault.Exists: a node has
// that address. One that was added and has not started yet is given the same id again.
func (k *Kernel) AddNode(ctx context.Context, s NodeSpec) (id uint64, err error) {
	if !k.Clustered() {
		return 0, fault.New(fault.Unsupported, "add node", s.Peer, "this broker is no node of a cluster")
	}
	r, err := k.meta.do(ctx, &meta.Command{Op: meta.AddNode, Node: &meta.Node{Peer: s.Peer, Rack: s.Rack}})
	return uint64(r.Number), err
}

// MoveNode tells where other nodes find one from now on. fault.Exists: another node is there.
func (k *Kernel) MoveNode(ctx context.Context, id uint64, peer string) error {
	_, err := k.meta.do(ctx, &meta.Command{Op: meta.MoveNode, Node: &meta.Node{ID: id, Peer: peer}})
	return err
}

// DrainNode has a node give away its votes and what it leads. It goes on serving its clients.
// fault.Conflict: it is the last one that is up.
func (k *Kernel) DrainNode(ctx context.Context, id uint64) error {
	return k.setNode(ctx, id, NodeDraining)
}

// FillNode takes back DrainNode.
func (k *Kernel) FillNode(ctx context.Context, id uint64) error { return k.setNode(ctx, id, NodeUp) }

// RemoveNode has a node drained and then taken out of the cluster: it is in NodeRemoved once it has
// no vote. Moves tells what is still to be done.
func (k *Kernel) RemoveNode(ctx context.Context, id uint64) error {
	return k.setNode(ctx, id, NodeLeaving)
}

func (k *Kernel) setNode(ctx context.Context, id uint64, s NodeState) error {
	_, err := k.meta.do(ctx, &meta.Command{Op: meta.SetNode, Node: &meta.Node{ID: id, State: s}})
	return err
}

// Node returns a node, also one that was removed.
func (k *Kernel) Node(id uint64) (Node, bool) {
	n, ok := k.meta.view.Load().Node(id)
	if !ok {
		return Node{}, false
	}
	return *n, true
}

// Move is a shard, or log 0, that is not kept as it is to be.
type Move struct {
	Shard    uint32
	Members  storage.Members // as this node knows them
	Voters   []uint64        // that are to be
	Leader   uint64          // that leads; 0: none is known
	ToLead   uint64          // that is to lead
	Learning []uint64        // of Voters, those that have no vote yet
}

// Moves tells what is still to move, by shard.
func (k *Kernel) Moves() []Move {
	if !k.Clustered() {
		return nil
	}
	var out []Move
	for _, p := range k.wanted(k.meta.view.Load()) {
		m := k.replicaOf(p.Shard).voters()
		leader, _ := k.Leadership(p.Shard)
		if slices.Equal(m.Voters, p.Voters) && !m.Joint() && leader == p.Leader {
			continue
		}
		mv := Move{Shard: p.Shard, Members: m, Voters: p.Voters, Leader: leader, ToLead: p.Leader}
		for _, v := range p.Voters {
			if !slices.Contains(m.Voters, v) {
				mv.Learning = append(mv.Learning, v)
			}
		}
		out = append(out, mv)
	}
	return out
}

// Keepers are the nodes that vote on a shard: an entry is committed when most of them have it.
// Who is to lead comes first.
func (k *Kernel) Keepers(shard uint32) []uint64 {
	r := k.replicaOf(shard)
	if r == nil || !k.Clustered() {
		return []uint64{k.cfg.Self}
	}
	voters := slices.Clone(r.voters().Voters)
	first := int(shard) % max(len(voters), 1) // as package cluster/group has them elected at first
	if p, ok := k.meta.view.Load().Placement(shard); ok {
		first = max(slices.Index(voters, p.Leader), 0)
	}
	return slices.Concat(voters[first:], voters[:first])
}

// ShardIDs are log 0 and all shards that are replicated, in order.
func (k *Kernel) ShardIDs() []uint32 {
	var ids []uint32
	for _, r := range k.replicas() {
		ids = append(ids, r.shard())
	}
	return ids
}

// InSync counts the keepers of a shard, and those of them that are not known to be down. It is asked
// at every append.
func (k *Kernel) InSync(shard uint32) (up, keepers int) {
	r := k.replicaOf(shard)
	if r == nil || !k.Clustered() {
		return 1, 1
	}
	voters := r.voters().Voters
	for n := range k.meta.view.Load().AllNodes() {
		if slices.Contains(voters, n.ID) && (n.ID == k.cfg.Self || !n.Down) {
			up++
		}
	}
	return up, len(voters)
}

// Replicas is how many nodes are to keep each record.
func (k *Kernel) Replicas() int {
	if !k.Clustered() {
		return 1
	}
	return max(1, min(k.meta.view.Load().Up(), k.cfg.Replicas))
}

// placed is a shard, or log 0, as membership sees it.
type placed interface {
	shard() uint32
	voters() storage.Members
	replicated() Group
	leadsNow() bool
}

func (s *shardRun) shard() uint32           { return uint32(s.id) }
func (s *shardRun) voters() storage.Members { return membersOf(s.group) }
func (s *shardRun) replicated() Group       { return s.group }
func (s *shardRun) leadsNow() bool          { return s.leading.Load() }
func (l *log0) shard() uint32               { return 0 }
func (l *log0) voters() storage.Members     { return membersOf(l.group) }
func (l *log0) replicated() Group           { return l.group }
func (l *log0) leadsNow() bool              { return l.leading.Load() }

// membersOf are the members of a group, as this node has applied them.
func membersOf(g Group) storage.Members {
	if g, ok := g.(interface{ Members() storage.Members }); ok {
		return g.Members()
	}
	return storage.Members{}
}

// membersChanged follows a change of the members of some group.
func (k *Kernel) membersChanged() {
	k.moveOn()
	k.changes.tell()
}

// replicas are log 0 and all shards that are replicated, in the order of their ids.
func (k *Kernel) replicas() []placed {
	out := []placed{k.meta}
	for _, s := range k.everyShard() {
		if s.class.logged() {
			out = append(out, s)
		}
	}
	return out
}

func (k *Kernel) replicaOf(shard uint32) placed {
	if shard == 0 {
		return k.meta
	}
	if s := k.shards[shard]; s != nil && s.class.logged() {
		return s
	}
	return nil
}

// ---- moving -----------------------------------------------------------------

// moves brings shards where they are to be. One goroutine does it, when something has changed and
// as long as something is not where it is to be.
//
// Ownership: ledSince is the goroutine's.
type moves struct {
	poke     chan struct{} // capacity 1
	ledSince map[uint32]time.Time
}

// moveOn has moves looked at.
func (k *Kernel) moveOn() {
	if !k.Clustered() {
		return
	}
	select {
	case k.moves.poke <- struct{}{}:
	default: // it will look anyway
	}
}

func (k *Kernel) keepMoving() {
	k.moves.ledSince = make(map[uint32]time.Time)
	for {
		wait := k.lookAtMoves()
		again := alarm{stop: func() bool { return true }} // never rings
		if wait > 0 {
			again = k.alarm(wait)
		}
		select {
		case <-k.ctx.Done():
			again.stop()
			return
		case <-k.moves.poke:
		case <-again.rings:
		}
		again.stop()
	}
}

// lookAtMoves takes the next step of every shard that this node leads. wait is when to look again
// though nothing happens, in link time; 0: all is where it is to be.
func (k *Kernel) lookAtMoves() (wait time.Duration) {
	sooner := func(d time.Duration) {
		if d > 0 && (wait == 0 || d < wait) {
			wait = d
		}
	}
	if k.meta.leadsNow() {
		again, err := k.place()
		if err != nil && k.ctx.Err() == nil {
			k.log.Warn("shards not placed", "err", err)
		}
		if again || err != nil {
			sooner(nodeLook)
		}
	}
	for _, r := range k.replicas() {
		if !r.leadsNow() {
			delete(k.moves.ledSince, r.shard())
			continue
		}
		sooner(k.move(r))
	}
	return wait
}

// place has log 0 name who is to keep what, where that is not as it has it, and who has left. again: a node may have
// left, and that is not known here yet.
func (k *Kernel) place() (again bool, err error) {
	view := k.meta.view.Load()
	var change []meta.Placement
	for _, want := range k.wanted(view) {
		p, ok := view.Placement(want.Shard)
		if !ok || p.Leader != want.Leader || !slices.Equal(p.Voters, want.Voters) {
			change = append(change, want)
		}
	}
	if len(change) > 0 {
		if err := k.command(&meta.Command{Op: meta.PlaceShards, Placements: change}); err != nil {
			return false, err
		}
	}
	for n := range view.AllNodes() {
		if n.State != NodeLeaving || k.votes(n.ID) {
			continue
		}
		if !k.current() || k.votes(n.ID) {
			again = true
			continue
		}
		if err := k.command(&meta.Command{Op: meta.SetNode, Node: &meta.Node{ID: n.ID, State: NodeRemoved}}); err != nil {
			return again, err
		}
		if !n.Down { // it is told no more once it is no learner of log 0
			k.awaitNode(k.ctx, n, 0, k.meta.asks.at())
		}
	}
	return again, nil
}

// wanted is where each shard is to be, given the nodes and the placements that there are.
func (k *Kernel) wanted(view *meta.State) []meta.Placement {
	var nodes []placement.Node
	for n := range view.AllNodes() {
		nodes = append(nodes, placement.Node{ID: n.ID, Rack: n.Rack, Weight: 1, Keeps: n.State == NodeUp})
	}
	replicas := k.replicas()
	shards := make([]placement.Shard, len(replicas))
	for i, r := range replicas {
		shards[i] = placement.Shard{ID: uint64(r.shard()), Load: 1}
		if p, ok := view.Placement(r.shard()); ok {
			shards[i].Voters, shards[i].Leader = p.Voters, p.Leader
		} else if at := k.Keepers(r.shard()); len(at) > 0 {
			shards[i].Voters, shards[i].Leader = slices.Sorted(slices.Values(at)), at[0]
		}
	}
	out := make([]meta.Placement, len(replicas))
	for i, a := range placement.Place(nodes, shards, k.cfg.Replicas) {
		out[i] = meta.Placement{Shard: replicas[i].shard(), Voters: a.Voters, Leader: a.Leader}
	}
	return out
}

// command is a change of log 0 that the kernel makes by itself.
func (k *Kernel) command(c *meta.Command) error {
	ctx, cancel := context.WithTimeout(k.ctx, nodeDown)
	defer cancel()
	_, err := k.meta.do(ctx, c)
	return err
}

// current tells whether this node has applied, in every shard, all that was committed before. It waits for that a
// little.
func (k *Kernel) current() bool {
	ctx, cancel := k.linkTimeout(nodeLook)
	defer cancel()
	return k.Barrier(ctx) == nil
}

// votes tells whether a node votes on anything, or is to, as far as this node has applied it.
func (k *Kernel) votes(node uint64) bool {
	view := k.meta.view.Load()
	for _, r := range k.replicas() {
		if r.voters().IsVoter(node) {
			return true
		}
		if p, ok := view.Placement(r.shard()); ok && slices.Contains(p.Voters, node) {
			return true
		}
	}
	return false
}

// changesMembers is a Group whose members, and who of them leads, can be changed.
type changesMembers interface {
	handsOver
	Reconfigure(voters, learners []uint64) error
	Lag(node uint64) (entries uint64, ok bool)
	Silence(node uint64) time.Duration
	Needs(node uint64) bool
}

// abreast tells whether a node is heard of, and lacks little of a shard that this node leads, and none that is
// not here any more.
func abreast(g changesMembers, view *meta.State, node uint64) bool {
	n, ok := view.Node(node)
	lag, known := g.Lag(node)
	return ok && !n.Down && known && lag <= lagMax && !g.Needs(node) && g.Silence(node) < nodeLook
}

// fit tells whether nodes can take over as the voters of a shard that this node leads: who is new has nearly
// everything, and so has a majority, without which nothing would be committed until it has.
func (k *Kernel) fit(g changesMembers, view *meta.State, now, voters []uint64) bool {
	have := 0
	for _, id := range voters {
		switch {
		case id == k.cfg.Self || abreast(g, view, id):
			have++
		case !slices.Contains(now, id):
			return false
		}
	}
	return 2*have > len(voters)
}

// move takes the next step of one shard, which this node leads. wait: as of lookAtMoves.
func (k *Kernel) move(r placed) (wait time.Duration) {
	g, ok := r.replicated().(changesMembers)
	if !ok {
		return 0
	}
	view := k.meta.view.Load()
	m := r.voters()
	if m.Joint() {
		return moveAgain
	}
	voters := m.Voters
	p, placed := view.Placement(r.shard())
	if placed && k.fit(g, view, m.Voters, p.Voters) {
		voters = p.Voters
	}
	var learners []uint64
	for n := range view.AllNodes() {
		if n.State != NodeRemoved && !slices.Contains(voters, n.ID) {
			learners = append(learners, n.ID)
		}
	}
	switch {
	case !slices.Equal(voters, m.Voters) || !slices.Equal(learners, m.Learners):
		if err := g.Reconfigure(voters, learners); err != nil && !fault.Is(err, fault.Conflict) && !fault.Is(err, fault.Unavailable) {
			k.log.Warn("members not changed", "shard", r.shard(), "voters", voters, "learners", learners, "err", err)
		}
		return moveAgain
	case !placed:
		return 0
	case !slices.Equal(voters, p.Voters):
		return moveAgain
	case p.Leader == k.cfg.Self:
		return 0
	}
	return k.handLeadership(r, g, view, p.Leader)
}

// handLeadership has who is to lead a shard do so, when that one can, and not right after this node
// began to.
func (k *Kernel) handLeadership(r placed, g changesMembers, view *meta.State, to uint64) (wait time.Duration) {
	now := k.cfg.Link.Now()
	since, known := k.moves.ledSince[r.shard()]
	if !known {
		k.moves.ledSince[r.shard()] = now
		since = now
	}
	if left := ledEnough - now.Sub(since); left > 0 {
		return left
	}
	if n, ok := view.Node(to); !ok || len(n.Addresses) == 0 || !abreast(g, view, to) { // without addresses, clients do not find it yet
		return nodeLook
	}
	if err := g.Transfer(to); err != nil && !fault.Is(err, fault.Unavailable) {
		k.log.Warn("shard not handed over", "shard", r.shard(), "to", to, "err", err)
	}
	return nodeLook
}

// ---- joining and leaving ----------------------------------------------------

// awaitAll returns once this node, if it is joining, has all that was committed so far.
func (k *Kernel) awaitAll() error {
	self, ok := k.Node(k.cfg.Self)
	if !ok || self.State != NodeJoining {
		return nil
	}
	k.log.Info("joining", "node", k.cfg.Self)
	return k.Barrier(k.ctx)
}

// removed ends what this node does, for the others do without it.
func (k *Kernel) removed() {
	k.log.Warn("this node was removed from the cluster", "node", k.cfg.Self)
	k.quit(k.errRemoved())
	k.endSessions()
	k.endAttachments()
	if k.cfg.Removed != nil {
		k.cfg.Removed()
	}
}

// Expel ends what this node does, or its opening: another node has said that it was removed from the
// cluster, which log 0 tells it no more. It may be called as soon as Config.Bind is.
func (k *Kernel) Expel() {
	k.expelled.Store(true)
	if k.opened.Load() {
		k.post(work{removed: true})
		return
	}
	k.cancel() // it waits for nothing any more
}

// ErrRemoved is of a node that was removed from its cluster.
var ErrRemoved = errors.New("removed from the cluster")

func (k *Kernel) errRemoved() error {
	return fault.New(fault.Unavailable, "commit", "", "node %d was %w", k.cfg.Self, ErrRemoved)
}

// forsake removes all other nodes, and has checkpoints say that this one is alone.
func (k *Kernel) forsake() error {
	k.log.Warn("going on without the other nodes", "node", k.cfg.Self)
	if self, _ := k.Node(k.cfg.Self); self.State != NodeUp {
		if err := k.setNode(k.ctx, k.cfg.Self, NodeUp); err != nil {
			return err
		}
	}
	for _, n := range k.Nodes() {
		if n.ID == k.cfg.Self {
			continue
		}
		for _, s := range []NodeState{NodeLeaving, NodeRemoved} {
			if err := k.setNode(k.ctx, n.ID, s); err != nil {
				return err
			}
		}
	}
	if err := k.meta.checkpoint(k.ctx); err != nil {
		return err
	}
	for _, s := range k.everyShard() {
		if s.class.logged() {
			if err := s.barrier(k.ctx); err != nil { // its group has learnt that it is alone
				return err
			}
			if err := s.checkpoint(); err != nil {
				return err
			}
		}
	}
	return nil
}
