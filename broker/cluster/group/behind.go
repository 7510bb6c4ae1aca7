package group

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/storage"
)

// A member that lacks more than a leader has in memory.
//
// The leader's raft asks for a snapshot then. What it gets, and sends, is no state but a
// place: the entry before the first that there is (entryLog.Snapshot). It sends that
// again after each heartbeat, until the voter has got there.
//
// The voter's raft never sees it, unless its log leads there by itself. Its machine is told
// (Behind), and fetches a state by ways of its own: package kernel knows what a state is. Raft
// goes on meanwhile, and votes, but nothing is applied. Then the replica is replaced:
//
//  1. Install writes a mark into the log and takes raft down. Nothing before the mark is
//     believed at the next start.
//  2. The machine saves the state as its checkpoint, and takes it in.
//  3. Resume has raft begin anew where the state ends.
//
// A crash before 1 leaves the old replica, after 2 the new one, and in between a replica
// that starts over: its old checkpoint, and no log. What it had promised of that log was
// committed, or never will be: the state is of committed entries, which a quorum without this
// voter holds; so it votes as if its log ended with the mark. But a leader may remember the promise,
// and count on it; so that case, as that of a voter that comes back with nothing at all, is one that
// forgot: when a leader's heartbeat proves it, it says so, and has no vote until it is there again.
// The leader steps down: who leads next counts on nobody until heard.

// strandedKeep is by how many times a leader keeps more entries than CatchUp while a voter is
// stranded: where the state that is being fetched ends, the voter is to find the next entry.
const strandedKeep = 2

// lostContext marks an answer of a voter that has not any more what the leader counts on.
var lostContext = []byte("lost")

// errReached is why Install is refused: the log leads there by itself.
var errReached = fault.New(fault.Conflict, "install", "", "the log has what the state has")

// install is a state that replaces the replica.
type install struct {
	storage.CheckpointMeta
	done    func(error) // nil once it was called
	written bool        // the mark is in the log
}

func (i *install) end(err error) {
	if i != nil && i.done != nil {
		i.done(err)
		i.done = nil
	}
}

// Install begins to replace this replica by a state that ends with the entry of that index
// and term, and has the members as of it. It is to be called after Machine.Behind has returned true. done is called once,
// and must not block. nil: the log was let go of; the machine is to save and take in the state,
// and then to call Resume. fault.Conflict: the replica has got there by itself, and is as it
// was; the machine is to call Resume. Any other: the group has ended.
func (g *Group) Install(at storage.CheckpointMeta, done func(error)) {
	g.mu.Lock()
	g.in.install = &install{CheckpointMeta: at, done: done}
	g.scheduleUnlock()
}

// Resume ends what Machine.Behind has begun: entries are applied again.
func (g *Group) Resume() {
	g.mu.Lock()
	g.in.resume = true
	g.scheduleUnlock()
}

// stranded takes note that a member needs what is not here any more. Raft would wait for the
// snapshot to arrive: it is to try again instead.
func (g *Group) stranded(voter uint64) {
	g.strandedAt = g.now
	g.node.ReportSnapshot(voter, raft.SnapshotFailure)
}

// strands tells whether a member was stranded lately.
func (g *Group) strands() bool { return g.strandedAt != 0 && g.now < g.strandedAt+g.host.election }

// reaches tells whether the log has an entry, or all before it is committed here.
func (g *Group) reaches(index, term uint64) bool {
	if g.hard.Commit >= index {
		return true
	}
	t, err := g.entries.Term(index)
	return err == nil && t == term
}

// behind is told from where on a leader has entries.
func (g *Group) behind(m *pb.Message) {
	g.drain() // so that g.entries are all
	if g.done || m.GetTerm() < g.hard.Term {
		return
	}
	at := m.GetSnapshot().GetMetadata()
	if bytes.Equal(m.GetContext(), informContext) && at.GetIndex() <= g.hard.Commit {
		return // known: it would only end a candidacy
	}
	if g.reaches(at.GetIndex(), at.GetTerm()) {
		_ = g.node.Step(m) // which tells the leader
		return
	}
	if needs, _ := shownTo(m); g.waits && needs > at.GetIndex() {
		g.strand(m.GetFrom(), needs, 0)
		return
	}
	g.strand(m.GetFrom(), at.GetIndex(), at.GetTerm())
}

// shows is what goes with an append for a member that has not acknowledged anything: which entry the
// machine here was told of last.
func (g *Group) shows(to uint64) []byte {
	if i, ok := findPeer(g.peers, to); !ok || g.peers[i].acked {
		return nil
	}
	if !g.members.IsVoter(to) { // it is new, and is to begin with a state
		g.strandedAt = g.now
	}
	return binary.LittleEndian.AppendUint64(nil, g.shown)
}

func shownTo(m *pb.Message) (index uint64, ok bool) {
	if len(m.GetContext()) != 8 {
		return 0, false
	}
	return binary.LittleEndian.Uint64(m.GetContext()), true
}

// strand has the machine fetch a state, if it is not at it already.
func (g *Group) strand(leader, index, term uint64) {
	g.held = g.held || g.machine.Behind(leader, index, term)
}

// install writes the mark, unless the log has got there by itself.
func (g *Group) install(i *install) {
	switch {
	case !g.held:
		i.end(fault.New(fault.Invalid, "install", g.name(), "nobody asked for it"))
		return
	case g.reaches(i.Index, i.Term):
		i.end(errReached)
		return
	}
	if err := i.Members.Check(); err != nil {
		i.end(fault.New(fault.Invalid, "install", g.name(), "%w", err))
		return
	}
	for k := range g.writes {
		g.writes[k].responses = nil // raft is not there to hear them
	}
	if g.leadTerm != 0 { // elected, perhaps, by others that are behind as well
		g.resign()
	}
	g.node, g.heldBack = nil, nil
	g.role, g.leader = raft.StateFollower, 0
	g.installing = i
	w := storage.Write{Shard: g.shard, Sync: true, Done: g.onWrote, Entries: []storage.Entry{{Index: i.Index, Term: i.Term, Kind: storage.KindInstalled}}}
	if g.hard != g.hardSaved {
		hard := g.hard
		w.Hard, g.hardSaved = &hard, hard
	}
	g.writes = append(g.writes, write{install: i})
	g.mu.Lock()
	g.status.Leader = 0
	g.mu.Unlock()
	if err := g.log.Append(w); err != nil {
		g.stop(err)
	}
}

// reborn has raft begin anew where the installed state ends, once the machine says so. What
// comes before is lost, as in a network.
func (g *Group) reborn(in *inbox) bool {
	i := g.installing
	in.install.end(fault.New(fault.Invalid, "install", g.name(), "one is under way"))
	if !in.resume || !i.written {
		return false
	}
	in.resume = false
	g.installing, g.held, g.forgot, g.waits = nil, false, false, false
	g.hard.Commit, g.applied, g.shown, g.checkpoint = i.Index, i.Index, i.Index, i.Index
	g.entries = &entryLog{
		hard: &pb.HardState{Term: new(g.hard.Term), Vote: new(g.hard.Vote), Commit: new(g.hard.Commit)},
		base: i.Index, baseTerm: i.Term,
	}
	g.setMembers(i.Members.Clone())
	node, err := g.newNode()
	if err != nil {
		g.stop(fmt.Errorf("%w: %w", storage.ErrCorrupt, err))
		return false
	}
	g.node = node
	g.patience()
	return true
}

// resume applies what was held back.
func (g *Group) resume() {
	g.held = false
	for _, m := range g.heldBack {
		if !g.done {
			g.apply(m)
		}
	}
	g.heldBack = nil
	g.drain()
}

// ---- a voter that forgot ----------------------------------------------------

// unfinished tells whether a log ends with the mark of an installation that was not ended.
func unfinished(ents []storage.Entry, applied uint64) bool {
	if len(ents) == 0 {
		return false
	}
	last := &ents[len(ents)-1]
	return last.Kind == storage.KindInstalled && last.Index > applied
}

// forgotten tells a leader that counts on what this node has not any more, if it does.
func (g *Group) forgotten(m *pb.Message) bool {
	if m.GetCommit() <= g.entries.last() || m.GetTerm() < g.hard.Term {
		return false
	}
	g.drain() // so that g.entries are all
	if g.done || m.GetCommit() <= g.entries.last() {
		return g.done
	}
	g.lostTo = max(g.lostTo, m.GetCommit())
	g.send(&pb.Message{
		Type: pb.MsgAppResp.Enum(), From: new(g.host.self), To: new(m.GetFrom()), Term: new(m.GetTerm()),
		Index: new(m.GetCommit()), Reject: new(true), Context: lostContext,
	})
	return true
}

// lacks tells whether this node has forgotten what its vote would stand for.
func (g *Group) lacks() bool {
	return g.waits || g.hard.Commit < g.lostTo || g.hard.Commit < g.mark.Index
}

// voteless tells whether a vote would stand for what this node has forgotten, and who asks for it
// may not have either. What it had before an installation that was not ended is in the state that
// was installed, or was never committed: it votes as if its log ended there.
func (g *Group) voteless(m *pb.Message) bool {
	if !g.lacks() {
		return false
	}
	has := m.GetLogTerm() > g.mark.Term || m.GetLogTerm() == g.mark.Term && m.GetIndex() >= g.mark.Index
	return g.waits || g.hard.Commit < g.lostTo || !has
}

// doubted has a leader step down that counts on what a voter says it has not: raft itself
// never takes back what it believes of a voter.
func (g *Group) doubted(m *pb.Message) {
	if g.leadTerm == 0 || g.leadTerm != m.GetTerm() {
		return
	}
	counts := false
	g.node.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
		counts = counts || id == m.GetFrom() && pr.Match > 0
	})
	if !counts {
		return
	}
	g.logger.Warn("a member lost what it had; who leads is elected anew", "node", m.GetFrom(), "term", m.GetTerm())
	g.stepDown()
	g.drain()
}

// denied tells whether a member denies to have what it has acknowledged: its answer is an old one, or its disk
// lost what it had promised to hold. Raft would send it the same again as fast as it answers: so it is
// not told, and a heartbeat tries again.
func (g *Group) denied(m *pb.Message) (is bool) {
	if g.leadTerm == 0 || g.leadTerm != m.GetTerm() {
		return false
	}
	g.node.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
		is = is || id == m.GetFrom() && m.GetIndex() <= pr.Match
	})
	return is
}
