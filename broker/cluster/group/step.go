package group

import (
	"fmt"
	"slices"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/storage"
)

// step does everything that the group's inbox, and the time, ask for. Called by
// the worker alone.
func (g *Group) step() {
	g.mu.Lock()
	in := g.in
	g.in, g.spare = g.spare, inbox{}
	g.scheduled = false
	g.mu.Unlock()
	defer func() {
		in.reset()
		g.spare = in
		switch r := recover().(type) {
		case nil:
		case raftPanic:
			g.stop(fmt.Errorf("%w: %s", storage.ErrCorrupt, string(r)))
		default:
			panic(r)
		}
	}()
	g.handle(&in)
}

// handle is step, to be guarded by it.
func (g *Group) handle(in *inbox) {
	switch {
	case g.done:
		in.install.end(errClosed)
		return
	case in.close:
		in.install.end(errClosed)
		g.stop(&fault.Error{Kind: fault.Unavailable, Op: "group", Target: g.name(), Err: errClosed})
		return
	case in.err != nil:
		g.stop(in.err)
		return
	}
	g.watch()
	g.nudged = g.nudged || in.nudge

	for range in.writes {
		g.written()
	}
	if g.installing != nil && !g.reborn(in) {
		return
	}
	for i := range in.messages {
		if g.receive(&in.messages[i]); g.done { // a new term could not be written
			return
		}
	}
	if len(in.proposals) > 0 {
		g.submit(in.proposals)
	}
	if len(in.forwards) > 0 {
		g.forward(in.forwards)
	}
	if in.change != nil {
		g.change(in.change)
	}
	g.tick(in)
	g.drain()
	if !g.done {
		g.takeOver()
	}
	if !g.done {
		g.lead()
	}
	if in.resume && !g.done {
		g.resume()
	}
	if in.install != nil && !g.done {
		g.install(in.install)
	}
	if g.done || g.installing != nil {
		return
	}
	if g.nudged && !g.held {
		g.nudged = false
		g.machine.Apply(nil)
	}
	g.release(in.released)
	g.lease()
	g.publish()
}

// submit gives raft all proposals that waited, each as an entry of its own.
func (g *Group) submit(proposals []proposal) {
	kind := pb.EntryNormal.Enum()
	ents := make([]*pb.Entry, len(proposals))
	for i, p := range proposals {
		ents[i] = &pb.Entry{Type: kind, Data: p.data}
	}
	err := g.node.Step(&pb.Message{Type: pb.MsgProp.Enum(), From: new(g.host.self), Entries: ents})
	if err != nil {
		return // raft leads no more, by a message just received: drain finds out and resigns
	}
	for _, p := range proposals {
		g.pending = append(g.pending, sized{p.class, len(p.data)})
	}
}

// forward hands proposals to who leads: another voter, or this node by now. Without a
// leader, and with one that is gated, they are lost.
func (g *Group) forward(proposals []proposal) {
	switch {
	case g.told:
		g.submit(proposals)
	case g.leadTerm == 0 && g.leader != 0:
		for len(proposals) > 0 { // a message for each frame's worth
			m := &pb.Message{Type: pb.MsgProp.Enum(), From: new(g.host.self), To: new(g.leader)}
			n, size := 0, 0
			for n < len(proposals) && (n == 0 || size+len(proposals[n].data) <= frameTarget) {
				m.Entries = append(m.Entries, &pb.Entry{Type: pb.EntryNormal.Enum(), Data: proposals[n].data})
				size += len(proposals[n].data)
				n++
			}
			g.send(m)
			proposals = proposals[n:]
		}
	}
}

// forwarded takes in what another voter has forwarded, while this node may lead, or is about to: who
// has learnt of a new leader forwards at once what the old one may have lost, before the new one has
// settled, and would else wait until it proposes again. What comes of a node that is no member any more is lost:
// who has ended what it left behind would not do that again.
func (g *Group) forwarded(m *pb.Message) {
	if !g.members.Has(m.GetFrom()) {
		return
	}
	if !g.told {
		if g.leadTerm == 0 || g.settled || g.early > forwardMax {
			return
		}
		for _, e := range m.GetEntries() {
			g.early += len(e.GetData())
		}
	}
	proposals := make([]proposal, len(m.GetEntries()))
	for i, e := range m.GetEntries() {
		proposals[i] = proposal{e.GetData(), classForwarded}
	}
	g.submit(proposals)
}

// drain does what raft wants done, until it wants nothing more.
func (g *Group) drain() {
	for !g.done && g.node.HasReady() {
		rd := g.node.Ready()
		if !raft.IsEmptyHardState(rd.HardState) {
			g.harden(rd.HardState)
		}
		if rd.SoftState != nil {
			g.turn(rd.SoftState)
		}
		for _, m := range rd.Messages {
			switch m.GetTo() {
			case raft.LocalAppendThread:
				g.write(m)
			case raft.LocalApplyThread:
				g.apply(m)
			default:
				g.send(m)
				if m.GetType() == pb.MsgSnap {
					g.stranded(m.GetTo())
				}
			}
			if g.done {
				return
			}
		}
	}
}

// harden takes note of a new term, vote or commit index.
func (g *Group) harden(hs *pb.HardState) {
	next := storage.HardState{Term: hs.GetTerm(), Vote: hs.GetVote(), Commit: hs.GetCommit()}
	if next.Term != g.hard.Term {
		g.time.leader, g.time.echo = 0, 0
	}
	if next.Vote != g.hard.Vote && next.Vote != 0 && next.Vote != g.host.self {
		g.patience() // whoever was voted for is given time to lead
	}
	g.hard = next
	g.committed.Store(next.Commit)
}

// turn takes note of a new role or leader.
func (g *Group) turn(ss *raft.SoftState) {
	before := g.leader
	g.leader = ss.Lead
	was := g.role
	g.role = ss.RaftState
	if g.leader != before { // before the machine is told
		g.mu.Lock()
		g.status.Leader, g.status.Term = g.leader, g.hard.Term
		g.mu.Unlock()
	}
	if g.leadTerm != 0 && (g.role != raft.StateLeader || g.leadTerm != g.hard.Term) {
		g.resign()
	}
	switch {
	case g.role == raft.StateLeader && g.leadTerm == 0:
		g.leadTerm, g.settled, g.early = g.hard.Term, false, 0
		g.time.deadline, g.time.promise, g.time.transfer = g.now+g.host.heartbeat, 0, 0
		g.meet(nil)
	case was == raft.StateLeader:
		g.patience()
	}
	if g.leader != before && g.leader != g.host.self {
		g.machine.Follow(g.leader)
	}
}

// resign ends a leadership on our side: what was proposed in it has an uncertain
// end, and Propose refuses.
func (g *Group) resign() {
	g.tell(false)
	g.leadTerm, g.settled = 0, false
	g.pending, g.peers = g.pending[:0], nil
	g.time.transfer = 0
	g.mu.Lock()
	g.changing, g.in.change = false, nil
	g.flight = [classes]flight{}
	clear(g.in.proposals)
	g.in.proposals = g.in.proposals[:0]
	g.mu.Unlock()
}

// tell tells the machine that leading began or ended, if it does not know yet.
func (g *Group) tell(leading bool) {
	if leading == g.told {
		return
	}
	g.told = leading
	if !leading {
		g.leaseEnd.Store(leaseNone)
	}
	g.mu.Lock()
	g.open = leading
	g.mu.Unlock()
	g.logger.Debug("leading", "term", g.leadTerm, "leading", leading)
	g.machine.Lead(g.leadTerm, leading)
	g.mu.Lock()
	g.turnLocked() // after the machine knows
	g.mu.Unlock()
}

// write hands the log what raft wants on it. The responses, which are our own
// vote and those to others, wait for the log's Done.
//
// A commit index alone is not worth a write: it is learnt again after a restart.
// It goes along with the next entries. What raft then wants said is said when the
// writes before it have ended.
func (g *Group) write(m *pb.Message) {
	if len(m.GetEntries()) == 0 && g.hard.Term == g.hardSaved.Term && g.hard.Vote == g.hardSaved.Vote {
		if n := len(g.writes); n > 0 {
			g.writes[n-1].responses = append(g.writes[n-1].responses, m.GetResponses()...)
		} else {
			g.respond(m.GetResponses())
		}
		return
	}
	// A term is durable before anything is done in it, whatever the group promises of its
	// entries: what a crash took away must not be told from what follows by nothing.
	term := g.hard.Term != g.hardSaved.Term
	w := storage.Write{Shard: g.shard, Sync: g.sync || term, Done: g.onWrote}
	if g.hard != g.hardSaved {
		hard := g.hard
		w.Hard, g.hardSaved = &hard, hard
	}
	if ents := m.GetEntries(); len(ents) > 0 {
		w.Entries = make([]storage.Entry, len(ents))
		for i, e := range ents {
			w.Entries[i] = storage.Entry{Index: e.GetIndex(), Term: e.GetTerm(), Kind: uint8(e.GetType()), Data: e.Data}
		}
		g.entries.append(ents)
	}
	g.writes = append(g.writes, write{responses: m.GetResponses()})
	if err := g.log.Append(w); err != nil {
		g.stop(err)
	}
}

// written is called when the oldest write has ended.
func (g *Group) written() {
	w := g.writes[0]
	g.writes = slices.Delete(g.writes, 0, 1)
	if w.install != nil {
		w.install.written = true
		w.install.end(nil)
	}
	g.respond(w.responses)
}

// respond delivers what raft wanted said after a write: to itself or to a peer.
func (g *Group) respond(ms []*pb.Message) {
	for _, m := range ms {
		if m.GetTo() == g.host.self {
			_ = g.node.Step(m) // refused only where it no longer matters
		} else {
			g.send(m)
		}
	}
}

// apply gives the machine committed entries that are on this node's own log.
func (g *Group) apply(m *pb.Message) {
	if g.held {
		g.heldBack = append(g.heldBack, m)
		return
	}
	ents := m.GetEntries()
	batch := g.worker.batch[:0]
	landed := 0 // of what was proposed here
	show := func() {
		if landed > 0 {
			g.land(landed)
		}
		if len(batch) > 0 {
			g.machine.Apply(batch)
		}
		clear(batch)
		landed, batch = 0, batch[:0]
		g.worker.batch = batch
	}
	for _, e := range ents {
		mine := e.GetTerm() == g.leadTerm
		if mine {
			g.settled = true
		}
		switch e.GetType() {
		case pb.EntryNormal:
		case pb.EntryConfChangeV2:
			if e.GetIndex() <= g.forsaken {
				continue
			}
			show()
			if !g.applyChange(e) {
				return
			}
			continue
		default:
			g.stop(fmt.Errorf("%w: entry %d is of kind %v", storage.ErrVersion, e.GetIndex(), e.GetType()))
			return
		}
		if len(e.Data) == 0 { // a leader's first
			if g.forsaken > 0 && mine {
				show()
				g.forsaken = 0
				g.machine.Members(e.GetIndex(), e.GetTerm(), g.members.Clone())
			}
			continue
		}
		if mine {
			landed++
		}
		g.shown = e.GetIndex()
		batch = append(batch, storage.Entry{Index: e.GetIndex(), Term: e.GetTerm(), Kind: uint8(e.GetType()), Data: e.Data})
	}
	show()

	g.applied = ents[len(ents)-1].GetIndex()
	g.handOver() // before raft ends what is joint
	g.respond(m.GetResponses())
	keep := 0
	if !g.single {
		keep = g.limits.catchUp
		if g.strands() {
			keep *= strandedKeep
		}
	}
	g.entries.trim(g.shown, keep) // what a member is to fetch, a machine has: it is not told of a leader's first entry
}

// land gives back the budget of the n oldest proposals.
func (g *Group) land(n int) {
	g.mu.Lock()
	for _, s := range g.pending[:n] {
		if s.class == classForwarded {
			continue
		}
		f := &g.flight[s.class]
		f.entries--
		f.bytes -= s.bytes
	}
	g.mu.Unlock()
	g.pending = slices.Delete(g.pending, 0, n)
}

// release lets the log forget what neither the machine nor a lagging member needs.
func (g *Group) release(upTo storage.Entry) {
	if upTo.Index > g.checkpoint {
		g.checkpoint = upTo.Index
	}
	if index := min(g.checkpoint, g.entries.base); index > g.releasedTo {
		g.releasedTo = index
		g.log.Release(g.shard, index)
	}
}

// stop ends the group for good.
func (g *Group) stop(err error) {
	g.done = true
	if g.leadTerm != 0 {
		g.resign()
	}
	g.role, g.leader = raft.StateFollower, 0
	g.node, g.writes, g.heldBack = nil, nil, nil
	g.installing.end(err)
	g.worker.forget(g)
	// That the node's log has stopped is not this shard's to tell: it is told once, for all.
	if fault.KindOf(err) != fault.Unavailable && g.log.Err() == nil {
		g.logger.Error("shard stopped", "err", err)
	}
	g.mu.Lock()
	g.open = false
	g.in.reset()
	g.status.Err, g.status.Leader, g.status.Leading = err, 0, false
	g.turnLocked()
	g.moveLocked()
	g.mu.Unlock()
	g.machine.Stopped(err)
}

// publish makes Status current.
func (g *Group) publish() {
	g.mu.Lock()
	g.status.Leader, g.status.Leading = g.leader, g.told
	g.status.Term, g.status.Commit, g.status.Applied = g.hard.Term, g.hard.Commit, g.applied
	g.committed.Store(g.hard.Commit)
	if g.caughtUp.Swap(g.applied) < g.applied {
		g.moveLocked()
	}
	g.heard = g.heard[:0]
	if g.leadTerm != 0 && !g.single {
		last := g.entries.last()
		g.node.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
			if i, ok := findPeer(g.peers, id); ok {
				p := &g.peers[i]
				p.acked = pr.Match > 0
				g.heard = append(g.heard, answer{id, max(p.answered, p.since), last - min(last, pr.Match), p.acked, pr.Match < g.entries.base})
			}
		})
	}
	g.status.LogBytes, g.status.Stranded, g.status.Behind = g.entries.bytes, g.role == raft.StateLeader && g.strands(), g.held
	g.mu.Unlock()
}
