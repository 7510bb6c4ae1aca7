package group

import (
	"bytes"
	"math"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
)

// Elections, on our own time.
//
// A follower that hears nothing of a leader for between one and one and a half election
// timeouts asks whether it would be elected, and campaigns if so (PreVote). Two that do
// so within one exchange of votes may split them, and wait once more; the half makes that
// rare without making every loss of a leader as long as its rarest. Until one whole
// timeout has passed since it heard of its leader it gives no vote to anybody else: its
// promise. A restarted node keeps the promise that it may have made before, by starting
// with a new one.
//
// The promise is what a leader's lease is made of. Every message of a leader
// carries its own time; an answer carries the time of the message that the
// follower last heard. So the leader knows a time, by its own clock and before
// the promise began, from which each follower's promise holds, and it leads until
// one timeout after the time that a quorum has answered to. Past that it is gated:
// it refuses proposals, and its machine is told, though raft may have it lead on;
// when a quorum answers again, so does it. Gated for another timeout, it gives up.
//
// A transfer of leadership asks for votes in spite of promises; for its length
// the leader gates itself, and if it is given up, only promises count that are made then. Who
// is told to take over may hear of it late, after a pause, say. So it is told until when, in the leader's
// time, and asks with that for votes; who has heard of the leader since then keeps its promise.
//
// A joint group has two quorums, and a lease ends with the first of them. Learners make
// promises as voters do, which nobody counts on.
//
// A group of one member needs none of this: it has no deadline and a lease without
// end. A voter that is the quorum by itself campaigns as soon as it has no promise to keep.

// instant is link time in nanoseconds since the host was made.
type instant int64

const (
	leaseNone    = math.MinInt64
	leaseForever = math.MaxInt64

	noDeadline = instant(math.MaxInt64)
)

// Defaults of Options.
const (
	heartbeatDefault = 100 * time.Millisecond
	electionDefault  = time.Second
)

// election is what a group of several members knows of time. Owned by the worker.
type election struct {
	started  bool
	deadline instant // campaign, or the leader's next heartbeat
	promise  instant // no vote for others before

	leader uint64  // whose messages echo speaks of; 0: none in this term
	echo   instant // the leader's time, as last heard

	transfer instant // when a transfer is given up; 0: none
	void     instant // promises for what was sent before count no more

	bid   *pb.Message // what has told this node to take over, until it can; nil: nothing
	until instant     // and until when, in its leader's time
}

// watch looks at the clock, for groups to which it matters.
func (g *Group) watch() {
	if g.alone() {
		return
	}
	g.now = g.host.now()
	if g.time.started {
		return
	}
	g.time.started = true
	switch {
	case g.hard.Term == 0:
	case g.sole() && g.hard.Vote == g.host.self: // it led, and nobody else can have been promised anything
		g.time.deadline = g.now
		return
	default:
		g.time.promise = g.now + g.host.election
		g.patience()
		return
	}
	// A new group. Nobody can have been promised anything, so the voter whose turn it
	// is need not wait.
	g.time.deadline = g.now
	if !g.preferred() {
		g.patience()
	}
	if !g.preferred() && g.members.IsVoter(g.host.self) {
		g.send(&pb.Message{
			Type: pb.MsgAppResp.Enum(), From: new(g.host.self), To: new(g.first()), Term: new(uint64(1)), Reject: new(true), Context: openedContext,
		})
	}
}

// first is the voter that is to be a new group's first leader: turns are taken, so that a
// new cluster's leaders are spread over its nodes.
func (g *Group) first() uint64 { return g.members.Voters[int(g.shard)%len(g.members.Voters)] }

// preferred tells whether that is this node.
func (g *Group) preferred() bool { return g.first() == g.host.self }

// openedContext marks what a member of a new group says to the voter that is to lead it first: that it
// is there, and can be asked for its vote. It is said in the term that is to come, and raft is not
// told. It may be lost: that voter asks again by itself.
var openedContext = []byte("opened")

// greeted has this node campaign, if it is to be the first leader and had nobody to vote for it. If it
// leads by now, who greets has missed what was said: a heartbeat brings it that.
func (g *Group) greeted() {
	switch term := g.node.BasicStatus().GetTerm(); { // raft's own: g.hard may be behind it
	case g.leadTerm != 0:
		g.node.Tick()
	case term == 0 && g.preferred():
		g.campaign()
	}
}

// patience moves the time to campaign to between one timeout and half of another from now.
func (g *Group) patience() {
	g.time.deadline = g.now + g.host.election + instant(g.rand.Int64N(int64(g.host.election/2)))
}

// tick does what time asks for, and what was asked for from outside.
func (g *Group) tick(in *inbox) {
	if g.alone() {
		return
	}
	if in.transfer != 0 && g.leadTerm != 0 {
		g.handTo(in.transfer)
	}
	if g.time.transfer != 0 && g.now >= g.time.transfer {
		g.keepOn()
	}
	if g.now < g.time.deadline {
		return
	}
	if g.leadTerm != 0 && g.deserted() {
		g.logger.Warn("no quorum has answered; who leads is elected anew", "term", g.leadTerm)
		g.stepDown()
		return
	}
	if g.leadTerm != 0 {
		g.node.Tick() // a heartbeat to every member
		g.time.deadline = g.now + g.host.heartbeat
		return
	}
	g.campaign()
	g.patience()
	if g.hard.Term == 0 && g.preferred() {
		g.time.deadline = g.now + g.host.heartbeat // the others may not be up yet
	}
}

func (g *Group) campaign() {
	if !g.lacks() && g.members.IsVoter(g.host.self) {
		_ = g.node.Campaign()
	}
}

// lead has a voter campaign that is the quorum by itself, once it has applied all that it knows to be
// committed: that may make it one of several.
func (g *Group) lead() {
	switch {
	case !g.sole() || g.role != raft.StateFollower || g.held || g.lacks() || g.applied < g.hard.Commit:
	case !g.alone() && g.now < g.time.promise:
		g.time.deadline = min(g.time.deadline, g.time.promise)
	default:
		g.campaign()
		g.drain()
	}
}

// receive takes in one message of a peer.
func (g *Group) receive(r *received) {
	m := r.msg
	term, from, kind := m.GetTerm(), m.GetFrom(), m.GetType()
	if kind == pb.MsgProp {
		g.forwarded(m)
		return
	}
	asks := kind == pb.MsgVote || kind == pb.MsgPreVote
	if asks && !g.members.IsVoter(g.host.self) {
		g.inform(m)
	}
	if asks && (g.voteless(m) || term > g.hard.Term && g.promised() && !g.released(r)) {
		return
	}
	switch {
	case kind == pb.MsgApp && g.waits && term >= g.hard.Term:
		if needs, ok := shownTo(m); ok { // it is to begin with a state
			g.strand(from, needs, 0)
		}
		return
	case kind == pb.MsgSnap:
		g.behind(m)
		return
	case kind == pb.MsgHeartbeat && g.forgot && g.forgotten(m):
		return
	case kind == pb.MsgAppResp && bytes.Equal(m.Context, lostContext):
		g.doubted(m)
		return
	case kind == pb.MsgAppResp && bytes.Equal(m.Context, openedContext):
		g.greeted()
		return
	case kind == pb.MsgAppResp && m.GetReject() && g.denied(m):
		return
	case kind == pb.MsgTimeoutNow:
		g.time.bid, g.time.until = m, r.stamp
		return
	}
	if err := g.node.Step(m); err != nil {
		return // not from a member
	}
	if term > g.hard.Term {
		g.drain() // so that g.hard is raft's again
	}
	switch {
	case term != g.hard.Term:
	case kind == pb.MsgApp || kind == pb.MsgHeartbeat:
		if g.time.leader != from {
			g.time.leader, g.time.echo = from, leaseNone
		}
		g.time.echo = max(g.time.echo, r.stamp)
		g.time.promise = g.now + g.host.election
		g.patience()
	case g.leadTerm == term && (kind == pb.MsgAppResp || kind == pb.MsgHeartbeatResp):
		if i, ok := findPeer(g.peers, from); ok && r.stamp >= g.time.void {
			g.peers[i].answered = max(g.peers[i].answered, r.stamp)
		}
	}
}

// transferContext marks raft's votes for a leader to be that the present one asked for.
var transferContext = []byte("CampaignTransfer")

// promised tells whether a vote for somebody else would break a promise.
func (g *Group) promised() bool {
	if g.leadTerm != 0 {
		return g.told && g.now < instant(g.leaseEnd.Load())
	}
	return g.now < g.time.promise
}

// released tells whether a vote does not break the promise that this node has made, for the leader to
// whom it has made it wants it given, and has not gone on to lead since.
func (g *Group) released(r *received) bool {
	switch {
	case !bytes.Equal(r.msg.Context, transferContext):
		return false
	case g.leadTerm != 0:
		return r.stamp > g.time.void
	}
	return g.time.leader != 0 && r.stamp > g.time.echo
}

// takeOver has this node campaign that was told to, once it has applied all that it knows to be
// committed: raft does not let it before, where the members change by that.
func (g *Group) takeOver() {
	if g.time.bid == nil || g.applied < g.hard.Commit {
		return
	}
	m := g.time.bid
	g.time.bid = nil
	if g.node.Step(m) == nil { // of an earlier term it is nothing
		g.drain()
	}
}

// stamp is the time to go with a message: ours with what a leader says, and the
// leader's own, given back, with the answer. With a transfer it is when that is given up.
func (g *Group) stamp(m *pb.Message) instant {
	switch m.GetType() {
	case pb.MsgTimeoutNow:
		return g.time.transfer
	case pb.MsgVote:
		if bytes.Equal(m.Context, transferContext) {
			return g.time.until
		}
	case pb.MsgApp, pb.MsgHeartbeat:
		return g.now
	case pb.MsgAppResp, pb.MsgHeartbeatResp:
		if m.GetTo() == g.time.leader {
			return g.time.echo
		}
	}
	return leaseNone
}

// lease decides, at the end of each step, whether this node leads.
func (g *Group) lease() {
	if g.role != raft.StateLeader || !g.settled || g.time.transfer != 0 {
		return
	}
	if g.alone() {
		g.leaseEnd.Store(leaseForever)
		g.tell(true)
		return
	}
	at := g.quorum(g.members.Voters)
	if g.members.Joint() {
		at = min(at, g.quorum(g.members.Outgoing))
	}
	if at == leaseNone || g.now >= at+g.host.election {
		g.tell(false)
		return
	}
	g.leaseEnd.Store(int64(at + g.host.election))
	g.tell(true)
}

// deserted tells whether no quorum has answered this leader for a timeout beyond that which gates it. It
// may still be heard itself, on links that lead one way: then nobody else asks to be elected before
// it falls silent.
func (g *Group) deserted() bool {
	if g.alone() || g.time.transfer != 0 {
		return false
	}
	at := g.quorum(g.members.Voters)
	if g.members.Joint() {
		at = min(at, g.quorum(g.members.Outgoing))
	}
	for i := range g.peers {
		at = max(at, g.peers[i].since) // as old as the leadership, or newer
	}
	return g.now >= at+2*g.host.election
}

// stepDown ends a leadership on raft's side, by a term that nobody leads yet.
func (g *Group) stepDown() {
	_ = g.node.Step(&pb.Message{Type: pb.MsgAppResp.Enum(), From: new(g.host.self), To: new(g.host.self), Term: new(g.hard.Term + 1)})
}

// quorum is the time that a majority of voters has answered to, or a later one.
func (g *Group) quorum(voters []uint64) instant {
	g.answered = g.answered[:0]
	for _, id := range voters {
		if id == g.host.self {
			g.answered = append(g.answered, g.now)
		} else if i, ok := findPeer(g.peers, id); ok {
			g.answered = append(g.answered, g.peers[i].answered)
		}
	}
	slices.Sort(g.answered)
	return g.answered[(len(g.answered)-1)/2]
}

// due is when the group next wants to be stepped for the sake of time.
func (g *Group) due() instant {
	switch {
	case g.done || g.installing != nil || g.alone() || g.leadTerm == 0 && !g.members.IsVoter(g.host.self):
		return noDeadline
	case !g.told:
		return g.time.deadline
	}
	return min(g.time.deadline, instant(g.leaseEnd.Load()))
}
