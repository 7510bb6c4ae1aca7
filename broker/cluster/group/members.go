package group

import (
	"fmt"
	"runtime"
	"slices"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
	"google.golang.org/protobuf/proto"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/storage"
)

// Members of a group, and how they change.
//
// Who they are is part of the log: a change is an entry, and counts from the moment when it is
// applied. Where one voter is added or goes, the entry is all there is: a majority of the old ones
// and one of the new ones have a voter in common. Otherwise the group is joint in between, and what
// is decided takes both majorities; once it is, the leader adds a second entry that ends that.
//
// A leader proposes a change only when it has applied the one before, so that no two nodes that could
// be elected are more than one change apart. That is what makes quorums, and leases with them, safe:
// who has a change on its log was told with it that the one before is committed, and campaigns only
// when it has applied that.
//
// What a node goes by when it starts are the members as of its checkpoint; the log has the rest.
//
// A node that is not a member never campaigns, but takes what a leader sends, and gives its vote when
// asked: it may have been made a voter, or not been told yet that it is none, and be needed.
//
// One that has nothing, and is not a member, waits to be added. Whatever it was told of the members is not
// as of the first entry, so the log alone would not tell it who they are: it takes no entries before
// it has a state (behind.go), and with it the members. Until then it has no vote either: it may have
// been a member before, and come back emptied under its old id, and a node that was removed as
// well and does not know would be elected by what it has lost. All voters must know, on their disks, that
// it is out before a node is emptied. And it is made a voter only when it has acknowledged something
// as a learner: a quorum that needs votes of who waits would have none.
//
// The state is to be as new as what the leader's machine had when it first sent something, which it
// says with it: so it is of after the node was added, and has all that it ever promised.
//
// One that is no voter any more tells who asks for its vote what it has applied. That may be all that the
// other needs: who led, was removed, and stepped down, has more on its log than it could tell others to
// be committed, and refuses its vote to them.
//
// A leader that is to be no voter any more hands over first, while the group is joint: who leads
// next ends that. If that fails it ends it itself, and steps down when it has applied it.

// peer is what a leader knows of a member. Owned by the worker.
type peer struct {
	id       uint64
	since    instant // when it began to count: with the leadership, or with the change that added it
	answered instant // the time that it has answered to; leaseNone: none
	acked    bool    // it has acknowledged entries
}

// setMembers makes m the members, and has everything that depends on them follow.
func (g *Group) setMembers(m storage.Members) {
	g.members = m
	g.single = m.Alone(g.host.self)
	g.entries.conf = confState(m)
	g.mu.Lock()
	g.status.Members = m
	g.mu.Unlock()
	if g.leadTerm != 0 {
		g.meet(g.peers)
	}
}

// meet lists the members as the leader knows them; known are those that it knew before.
func (g *Group) meet(known []peer) {
	all := g.members.All()
	peers := make([]peer, len(all))
	for i, id := range all {
		peers[i] = peer{id: id, since: g.now, answered: leaseNone}
		if at, ok := findPeer(known, id); ok {
			peers[i] = known[at]
		}
	}
	g.peers = peers
}

func findPeer(peers []peer, id uint64) (int, bool) {
	return slices.BinarySearchFunc(peers, id, func(p peer, id uint64) int {
		switch {
		case p.id < id:
			return -1
		case p.id > id:
			return 1
		}
		return 0
	})
}

// alone tells whether there is nobody but this node, nor was while a promise to somebody holds:
// then time does not matter.
func (g *Group) alone() bool { return g.single && g.time.promise == 0 && !g.lacks() }

// sole tells whether nobody's vote but this node's is needed.
func (g *Group) sole() bool { return g.members.Sole(g.host.self) }

func confState(m storage.Members) *pb.ConfState {
	cs := &pb.ConfState{Voters: m.Voters, VotersOutgoing: m.Outgoing, Learners: m.Learners, LearnersNext: m.Next}
	if m.Joint() {
		cs.AutoLeave = new(true)
	}
	return cs
}

func membersOf(cs *pb.ConfState) storage.Members {
	m := storage.Members{Voters: cs.GetVoters(), Outgoing: cs.GetVotersOutgoing(), Learners: cs.GetLearners(), Next: cs.GetLearnersNext()}.Clone()
	for _, set := range [...][]uint64{m.Voters, m.Outgoing, m.Learners, m.Next} {
		slices.Sort(set)
	}
	return m
}

// Reconfigure asks that these become the voters and learners of the group. nil means that it is on
// its way, or is so already: it has happened once Status.Members says so, and may be lost as a
// proposal may.
//
// fault.Unavailable: this node does not lead. fault.Conflict: a change is under way, or a node is to
// be a voter that is no learner, or has not acknowledged anything yet as one.
// fault.Invalid: no voters, a node that is named twice, or more than there may be.
func (g *Group) Reconfigure(voters, learners []uint64) error {
	want := storage.Members{Voters: slices.Clone(voters), Learners: slices.Clone(learners)}
	slices.Sort(want.Voters)
	slices.Sort(want.Learners)
	if err := want.Check(); err != nil {
		return fault.New(fault.Invalid, "reconfigure", g.name(), "%w", err)
	}
	if g.host.transport == nil && !want.Alone(g.host.self) {
		return fault.New(fault.Invalid, "reconfigure", g.name(), "there is no way to other nodes")
	}
	g.mu.Lock()
	now := g.status.Members
	switch {
	case !g.open:
		g.mu.Unlock()
		return fault.New(fault.Unavailable, "reconfigure", g.name(), "this node does not lead the shard")
	case g.changing || now.Joint():
		g.mu.Unlock()
		return fault.New(fault.Conflict, "reconfigure", g.name(), "the members are being changed")
	case now.Equal(want):
		g.mu.Unlock()
		return nil
	}
	for _, id := range want.Voters {
		if !slices.Contains(now.Voters, id) && !slices.ContainsFunc(g.heard, func(a answer) bool { return a.node == id && a.acked }) {
			g.mu.Unlock()
			return fault.New(fault.Conflict, "reconfigure", g.name(), "node %d has not caught up as a learner", id)
		}
	}
	g.changing = true
	g.in.change = difference(now, want, g.host.self)
	g.scheduleUnlock()
	return nil
}

// difference is the change that leads from members that are not joint to others.
func difference(from, to storage.Members, self uint64) *pb.ConfChangeV2 {
	cc := &pb.ConfChangeV2{}
	add := func(kind pb.ConfChangeType, id uint64) {
		cc.Changes = append(cc.Changes, &pb.ConfChangeSingle{Type: kind.Enum(), NodeId: new(id)})
	}
	for _, id := range to.Voters {
		if !slices.Contains(from.Voters, id) {
			add(pb.ConfChangeAddNode, id)
		}
	}
	for _, id := range to.Learners {
		if !slices.Contains(from.Learners, id) {
			add(pb.ConfChangeAddLearnerNode, id)
		}
	}
	for _, id := range from.All() {
		if !to.Has(id) {
			add(pb.ConfChangeRemoveNode, id)
		}
	}
	if !slices.Contains(to.Voters, self) { // it hands over while the group is joint
		cc.Transition = pb.ConfChangeTransitionJointImplicit.Enum()
	}
	return cc
}

// change gives raft a change of members.
func (g *Group) change(cc *pb.ConfChangeV2) {
	data, err := proto.Marshal(cc)
	if err != nil { // we made it: it can be encoded
		panic("group: " + err.Error())
	}
	e := &pb.Entry{Type: pb.EntryConfChangeV2.Enum(), Data: data}
	m := &pb.Message{Type: pb.MsgProp.Enum(), From: new(g.host.self), Entries: []*pb.Entry{e}}
	if g.leadTerm == 0 || g.node.Step(m) != nil || m.GetEntries()[0].GetType() != pb.EntryConfChangeV2 {
		g.changed()
	}
}

// changed says that no change is under way.
func (g *Group) changed() {
	g.mu.Lock()
	g.changing = false
	g.mu.Unlock()
}

// applyChange applies one entry that changes the members; false: the group has ended.
func (g *Group) applyChange(e *pb.Entry) bool {
	cc := new(pb.ConfChangeV2)
	err := proto.Unmarshal(e.GetData(), cc)
	var cs *pb.ConfState
	if err == nil {
		cs, err = g.confChange(cc)
	}
	if err != nil {
		g.stop(fmt.Errorf("%w: entry %d: %w", storage.ErrCorrupt, e.GetIndex(), err))
		return false
	}
	if g.single {
		// The machine may have written to what it was given so far, which nobody else was to be sent.
		g.entries.trim(e.GetIndex()-1, 0)
		g.now = g.host.now()
	}
	was := g.members
	g.setMembers(membersOf(cs))
	if was.Alone(g.host.self) && g.leadTerm != 0 { // heartbeats begin
		g.time.started, g.time.deadline = true, g.now
	}
	g.logger.Info("members", "entry", e.GetIndex(), "voters", g.members.Voters, "leaving", g.members.Outgoing, "learners", g.members.Learners)
	switch {
	case g.members.Joint():
	case was.Joint() || e.GetTerm() == g.leadTerm:
		g.changed()
	}
	if g.leadTerm == 0 && g.members.IsVoter(g.host.self) && !was.IsVoter(g.host.self) {
		g.patience()
	}
	if !g.keep() {
		return false
	}
	g.shown = e.GetIndex()
	g.machine.Members(e.GetIndex(), e.GetTerm(), g.members.Clone())
	return true
}

// keep writes the commit index, if it is not written: who was removed is not there to tell it again.
// false: the group has ended.
func (g *Group) keep() bool {
	if g.hard == g.hardSaved {
		return true
	}
	hard := g.hard
	g.hardSaved = hard
	g.writes = append(g.writes, write{})
	if err := g.log.Append(storage.Write{Shard: g.shard, Sync: true, Hard: &hard, Done: g.onWrote}); err != nil {
		g.stop(err)
		return false
	}
	return true
}

// confChange has raft apply a change. Raft panics at one that does not fit the members.
func (g *Group) confChange(cc *pb.ConfChangeV2) (cs *pb.ConfState, err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case runtime.Error:
			panic(r)
		case error:
			err = r
		default:
			panic(r)
		}
	}()
	return g.node.ApplyConfChange(cc), nil
}

// informContext marks what inform sends.
var informContext = []byte("applied")

// inform tells who asks for a vote of this node, which is no voter and has more on its log, that all it
// has applied is committed: as a leader does that has dropped what comes before (behind.go).
func (g *Group) inform(m *pb.Message) {
	last := g.entries.last()
	lastTerm, err := g.entries.Term(last)
	if err != nil || m.GetLogTerm() > lastTerm || m.GetLogTerm() == lastTerm && m.GetIndex() >= last {
		return // it has the vote
	}
	term, err := g.entries.Term(g.applied)
	if err != nil || g.applied == 0 || term == 0 {
		return
	}
	asks := m.GetTerm()
	if m.GetType() == pb.MsgPreVote {
		asks-- // it is of the term before still
	}
	g.send(&pb.Message{
		Type: pb.MsgSnap.Enum(), From: new(g.host.self), To: new(m.GetFrom()), Term: new(max(asks, g.hard.Term)), Context: informContext,
		Snapshot: &pb.Snapshot{Metadata: &pb.SnapshotMetadata{
			Index: new(g.applied), Term: new(term), ConfState: &pb.ConfState{Voters: []uint64{m.GetFrom()}},
		}},
	})
}

// handOver has another voter lead when this one is about to be none: the one that has most of the log.
func (g *Group) handOver() {
	if g.leadTerm == 0 || !g.settled || g.handed == g.leadTerm || !g.members.Joint() || slices.Contains(g.members.Voters, g.host.self) {
		return
	}
	g.handed = g.leadTerm // once: if it fails, this leader ends what is joint, and its own leading with it
	to, most := uint64(0), uint64(0)
	g.node.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
		if slices.Contains(g.members.Voters, id) && (to == 0 || pr.Match > most) {
			to, most = id, pr.Match
		}
	})
	g.handTo(to)
}

// handTo begins a transfer of leadership.
func (g *Group) handTo(voter uint64) {
	g.tell(false)
	g.time.transfer = g.now + g.host.election
	g.node.TransferLeader(voter)
}

// keepOn gives a transfer up. Promises that were made so far may have been broken for it, so none counts
// any more. While it was under way raft took no proposals, its own among them.
func (g *Group) keepOn() {
	g.time.transfer, g.time.void = 0, g.now
	for i := range g.peers {
		g.peers[i].since, g.peers[i].answered = g.now, leaseNone
	}
	g.node.TransferLeader(g.host.self)
	if g.members.Joint() {
		g.change(&pb.ConfChangeV2{})
	}
}
