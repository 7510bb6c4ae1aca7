package group

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/cluster/transport"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/storage"
)

// reconfigure has the leader of a shard change the members, and waits until that is over.
func (s *sim) reconfigure(shard int, voters, learners []uint64) {
	s.t.Helper()
	l := s.leader(shard)
	if l == nil {
		s.t.Fatalf("shard %d has no leader", shard)
	}
	if err := l.groups[shard].Reconfigure(voters, learners); err != nil {
		s.t.Fatal(err)
	}
	want := storage.Members{Voters: voters, Learners: learners}
	for range 100 {
		s.run(50*time.Millisecond, nil)
		if l := s.leader(shard); l != nil && fmt.Sprint(l.groups[shard].Status().Members) == fmt.Sprint(want) {
			return
		}
	}
	s.t.Fatalf("shard %d: the members are not %v within 5 s", shard, want)
}

// write has the leader propose something, and waits until nodes have it.
func (s *sim) write(shard int, data string, nodes ...uint64) {
	s.t.Helper()
	l := s.leader(shard)
	if l == nil {
		s.t.Fatalf("shard %d has no leader", shard)
	}
	if err := l.groups[shard].Propose([]byte(data)); err != nil {
		s.t.Fatal(err)
	}
	s.run(time.Second, nil)
	all := s.agreed[shard]
	if last := all[len(all)-1]; string(last.Data) != data {
		s.t.Fatalf("%q is not applied; %q is", data, last.Data)
	}
	for _, id := range nodes {
		if got, want := s.nodes[id-1].ms[shard].applied, all[len(all)-1].Index; got != want {
			s.t.Errorf("node %d has applied %d of %d", id, got, want)
		}
	}
}

// TestGrowAndShrink: a group of one becomes one of three, and one of one again, another one.
func TestGrowAndShrink(t *testing.T) {
	s := newSimOf(t, 1, 1, 3, storage.Members{Voters: []uint64{1}})
	s.run(time.Second, nil)
	l := s.leader(0)
	if l == nil || l.id != 1 || !l.groups[0].alone() {
		t.Fatal("node 1 does not lead alone")
	}
	for i := range 20 {
		s.write(0, fmt.Sprint("alone ", i), 1)
	}
	if s.nodes[1].ms[0].applied != 0 {
		t.Error("node 2 has something before it was added")
	}
	s.reconfigure(0, []uint64{1}, []uint64{2, 3})
	s.write(0, "learners", 1, 2, 3)
	s.reconfigure(0, []uint64{1, 2, 3}, nil)
	s.write(0, "three", 1, 2, 3)
	s.nodes[0].crash()
	s.run(4*time.Second, nil)
	s.write(0, "two", 2, 3)
	s.nodes[0].start(1)
	s.run(time.Second, nil)
	s.reconfigure(0, []uint64{2}, nil)
	s.write(0, "alone again", 2)
	if l := s.leader(0); l.id != 2 || !l.groups[0].alone() || len(l.host.workers[0].timed) != 0 {
		t.Error("node 2 does not lead alone, or its worker minds the time")
	}
	if got := s.nodes[2].ms[0].applied; got == s.nodes[1].ms[0].applied {
		t.Error("node 3 has what came after it was removed")
	}
}

// TestScribbled: what a machine may have written to, because nobody else was there, is not sent to who is
// added in the same breath, though it lacks just that.
func TestScribbled(t *testing.T) {
	s := newSimOf(t, 1, 1, 2, storage.Members{Voters: []uint64{1}})
	s.run(time.Second, nil)
	s.reconfigure(0, []uint64{1}, []uint64{2})
	s.write(0, "both", 1, 2)
	s.reconfigure(0, []uint64{1}, nil)
	g := s.nodes[0].groups[0]
	if err := g.Propose([]byte("scribbled")); err != nil {
		t.Fatal(err)
	}
	if err := g.Reconfigure([]uint64{1}, []uint64{2}); err != nil {
		t.Fatal(err)
	}
	s.run(time.Second, nil)
	s.write(0, "both again", 1, 2)
}

// TestReconfigureRefuses: what cannot be is said at once.
func TestReconfigureRefuses(t *testing.T) {
	s := newSimOf(t, 1, 1, 3, storage.Members{Voters: []uint64{1, 2}})
	s.run(time.Second, nil)
	l := s.leader(0)
	g := l.groups[0]
	for _, tt := range []struct {
		voters, learners []uint64
		want             fault.Kind
	}{
		{nil, []uint64{1}, fault.Invalid},
		{[]uint64{1, 1}, nil, fault.Invalid},
		{[]uint64{0, 1}, nil, fault.Invalid},
		{[]uint64{1, 2}, []uint64{2}, fault.Invalid},
	} {
		if err := g.Reconfigure(tt.voters, tt.learners); fault.KindOf(err) != tt.want {
			t.Errorf("%v and %v: %v", tt.voters, tt.learners, err)
		}
	}
	if err := g.Reconfigure([]uint64{2, 1}, nil); err != nil {
		t.Errorf("as it is: %v", err)
	}
	if err := s.nodes[2-l.id].groups[0].Reconfigure([]uint64{1, 2, 3}, nil); !fault.Is(err, fault.Unavailable) {
		t.Errorf("who does not lead says %v", err)
	}
	if err := g.Reconfigure([]uint64{1, 2, 3}, nil); !fault.Is(err, fault.Conflict) {
		t.Errorf("a voter that has nothing: %v", err)
	}
	s.cut(3)
	s.reconfigure(0, []uint64{1, 2}, []uint64{3})
	if err := g.Reconfigure([]uint64{1, 2, 3}, nil); !fault.Is(err, fault.Conflict) {
		t.Errorf("a learner that has nothing: %v", err)
	}
	s.weather.Heal()
	s.run(time.Second, nil)
	if err := g.Reconfigure([]uint64{1, 2, 3}, nil); err != nil {
		t.Fatal(err)
	}
	if err := g.Reconfigure([]uint64{1, 2, 3}, nil); !fault.Is(err, fault.Conflict) {
		t.Errorf("while it is changed: %v", err)
	}
	s.run(time.Second, nil)
	if m := g.Status().Members; !slices.Equal(m.Voters, []uint64{1, 2, 3}) {
		t.Errorf("the members are %v", m)
	}
	if err := g.Reconfigure([]uint64{1, 2, 3}, nil); err != nil {
		t.Errorf("as it has become: %v", err)
	}
}

// cut cuts nodes off.
func (s *sim) cut(nodes ...uint64) {
	for _, id := range nodes {
		s.weather.Isolate(id, s.ids()...)
	}
}

func (s *sim) ids() (ids []uint64) {
	for _, n := range s.nodes {
		ids = append(ids, n.id)
	}
	return ids
}

// TestLearnersCountForNothing: with learners alone a leader neither commits nor leads for long, and
// without them it does both.
func TestLearnersCountForNothing(t *testing.T) {
	s := newSimOf(t, 1, 1, 4, storage.Members{Voters: []uint64{1, 2}})
	s.run(time.Second, nil)
	s.reconfigure(0, []uint64{1, 2}, []uint64{3, 4})
	s.write(0, "all", 1, 2, 3, 4)
	l := s.leader(0)
	other := 3 - l.id
	s.cut(other)
	before := len(s.agreed[0])
	if err := l.groups[0].Propose([]byte("alone")); err != nil {
		t.Fatal(err)
	}
	s.run(electionDefault+50*time.Millisecond, nil)
	if len(s.agreed[0]) != before {
		t.Error("a leader and learners have committed an entry")
	}
	if l.groups[0].Leading() || l.ms[0].term != 0 {
		t.Error("a leader leads whom learners hear alone")
	}
	s.weather.Heal()
	s.run(4*time.Second, nil)
	s.cut(3, 4)
	s.run(3*time.Second, nil)
	s.write(0, "voters", 1, 2)
	if l := s.leader(0); l.ms[0].term != l.groups[0].Status().Term {
		t.Error("without learners nobody leads")
	}
}

// TestLagAndSilence: a leader knows of learners what it knows of voters, and others know nothing.
func TestLagAndSilence(t *testing.T) {
	s := newSimOf(t, 1, 1, 3, storage.Members{Voters: []uint64{1, 2}})
	s.run(time.Second, nil)
	g := s.leader(0).groups[0]
	if _, ok := g.Lag(3); ok {
		t.Error("the lag of a node is known that is no member")
	}
	s.reconfigure(0, []uint64{1, 2}, []uint64{3})
	s.write(0, "all", 1, 2, 3)
	g = s.leader(0).groups[0]
	for _, id := range s.ids() {
		if lag, ok := g.Lag(id); lag != 0 || !ok {
			t.Errorf("node %d lags %d, %v", id, lag, ok)
		}
	}
	if quiet := g.Silence(3); quiet > 2*heartbeatDefault {
		t.Errorf("node 3 has been silent for %v", quiet)
	}
	s.cut(3)
	for i := range 5 {
		s.write(0, fmt.Sprint("without ", i), 1, 2)
	}
	if lag, ok := g.Lag(3); lag != 5 || !ok {
		t.Errorf("node 3 lags %d, %v", lag, ok)
	}
	if quiet := g.Silence(3); quiet < 5*time.Second {
		t.Errorf("node 3 has been silent for %v", quiet)
	}
	for _, n := range s.nodes {
		if _, ok := n.groups[0].Lag(3); ok != (n.groups[0] == g) {
			t.Errorf("node %d says %v", n.id, ok)
		}
	}
}

// TestLearnerForwards: what is proposed at a learner is applied everywhere.
func TestLearnerForwards(t *testing.T) {
	s := newSimOf(t, 1, 1, 2, storage.Members{Voters: []uint64{1}})
	s.run(time.Second, nil)
	s.reconfigure(0, []uint64{1}, []uint64{2})
	s.write(0, "first", 1, 2)
	if err := s.nodes[1].groups[0].Propose([]byte("forwarded")); err != nil {
		t.Fatal(err)
	}
	s.run(time.Second, nil)
	if !s.has(0, "forwarded") {
		t.Error("it is lost")
	}
}

// TestJointTakesBoth: while two voters are replaced, neither quorum is enough, for entries, leases and
// elections.
func TestJointTakesBoth(t *testing.T) {
	for _, lost := range [][]uint64{{2, 3}, {4, 5}} { // of the old ones, and of the new ones
		s := newSimOf(t, 1, 1, 5, storage.Members{Voters: []uint64{1, 2, 3}})
		s.run(time.Second, nil)
		s.reconfigure(0, []uint64{1, 2, 3}, []uint64{4, 5})
		s.write(0, "all", 1, 2, 3, 4, 5)
		if l := s.leader(0); l.id != 1 {
			if err := l.groups[0].Transfer(1); err != nil {
				t.Fatal(err)
			}
			s.run(time.Second, nil)
		}
		g := s.nodes[0].groups[0]
		if err := g.Reconfigure([]uint64{1, 4, 5}, nil); err != nil {
			t.Fatal(err)
		}
		for !g.Status().Members.Joint() {
			s.run(time.Millisecond, nil)
		}
		s.cut(lost...)
		before := len(s.agreed[0])
		_ = g.Propose([]byte("half"))
		s.run(10*time.Second, nil)
		if l := s.leader(0); l != nil || g.Leading() {
			t.Errorf("without %v node %d leads", lost, l.id)
		}
		if m := g.Status().Members; !m.Joint() || len(s.agreed[0]) != before {
			t.Errorf("without %v entries are committed; the members are %v", lost, m)
		}
		s.weather.Heal()
		s.run(5*time.Second, nil)
		s.write(0, "whole", 1, 4, 5)
		if m := s.leader(0).groups[0].Status().Members; !m.Equal(storage.Members{Voters: []uint64{1, 4, 5}}) {
			t.Errorf("the members are %v", m)
		}
	}
}

// TestLeaderLeaves: a leader that is to be no voter hands over, in less time than an election would take,
// and is a learner, or nothing, from then on. So also if who is to lead has not applied yet that the group is
// joint.
func TestLeaderLeaves(t *testing.T) {
	for seed := range uint64(40) {
		learns := seed%2 == 0
		s := newSim(t, seed, 1)
		s.run(time.Second, nil)
		s.write(0, "all", 1, 2, 3)
		l := s.leader(0)
		var rest, learners []uint64
		for _, id := range s.ids() {
			if id != l.id {
				rest = append(rest, id)
			} else if learns {
				learners = append(learners, id)
			}
		}
		if err := l.groups[0].Reconfigure(rest, learners); err != nil {
			t.Fatal(err)
		}
		s.run(electionDefault/2, nil)
		now := s.leader(0)
		if now == nil || now == l {
			t.Fatal("nobody else leads")
		}
		if m := now.groups[0].Status().Members; !m.Equal(storage.Members{Voters: rest, Learners: learners}) {
			t.Errorf("the members are %v", m)
		}
		s.write(0, "others", rest...)
		term := now.groups[0].Status().Term
		s.run(10*time.Second, nil)
		if st := now.groups[0].Status(); !st.Leading || st.Term != term || l.groups[0].Status().Leading {
			t.Errorf("who left disturbs: %+v", st)
		}
		if s.write(0, "more", rest...); learns != (l.ms[0].applied == now.ms[0].applied) {
			t.Errorf("who left has applied %d of %d", l.ms[0].applied, now.ms[0].applied)
		}
	}
}

// TestRemovedUnheard: a voter that was removed while it was cut off, and so does not know, disturbs
// nobody when it is back, and takes nobody's vote along.
func TestRemovedUnheard(t *testing.T) {
	s := newSim(t, 1, 1)
	s.run(time.Second, nil)
	s.write(0, "all", 1, 2, 3)
	l := s.leader(0)
	gone, rest := uint64(0), []uint64{}
	for _, id := range s.ids() {
		if id != l.id && gone == 0 {
			gone = id
		} else {
			rest = append(rest, id)
		}
	}
	s.cut(gone)
	s.reconfigure(0, rest, nil)
	s.write(0, "without", rest...)
	s.run(3*time.Second, nil) // it campaigns
	s.weather.Heal()
	term := s.leader(0).groups[0].Status().Term
	s.run(10*time.Second, nil)
	if now := s.leader(0); now != l || now.groups[0].Status().Term != term {
		t.Errorf("node %d leads in term %d; node %d did, in term %d", now.id, now.groups[0].Status().Term, l.id, term)
	}
}

// TestRemovedForwards: what a node forwards that was removed, and does not know, is lost.
func TestRemovedForwards(t *testing.T) {
	s := newSim(t, 1, 1)
	s.run(time.Second, nil)
	s.write(0, "all", 1, 2, 3)
	l := s.leader(0)
	n := s.nodes[l.id%3]
	rest := slices.DeleteFunc(s.ids(), func(id uint64) bool { return id == n.id })
	s.cut(n.id)
	s.reconfigure(0, rest, nil)
	s.write(0, "without", rest...)
	s.weather.Heal()
	g := n.groups[0]
	if leader, _ := g.Leader(); leader != l.id {
		t.Fatalf("it knows of leader %d", leader)
	}
	if err := g.Propose([]byte("of who is gone")); err != nil {
		t.Fatal(err)
	}
	s.run(time.Second, nil)
	if s.has(0, "of who is gone") {
		t.Error("it is applied")
	}
}

// TestReturnsEmptied: a node that was removed comes back with nothing, is none of the group until it has
// a state, and a voter after that.
func TestReturnsEmptied(t *testing.T) {
	s := newSim(t, 1, 1)
	s.run(time.Second, nil)
	s.write(0, "all", 1, 2, 3)
	l := s.leader(0)
	n := s.nodes[l.id%3]
	rest := slices.DeleteFunc(s.ids(), func(id uint64) bool { return id == n.id })
	s.reconfigure(0, rest, nil)
	s.write(0, "without", rest...)
	n.crash()
	n.log, n.saved = newFakeLog(), make([]storage.Entry, 1)
	n.log.held = true
	s.members[0][0].Members = storage.Members{Voters: rest} // what it is told: not what was at first
	n.start(1)
	s.run(3*time.Second, nil)
	if g := n.groups[0]; g.Status().Applied != 0 || !g.waits {
		t.Errorf("before it is added: %+v", g.Status())
	}
	s.reconfigure(0, rest, []uint64{n.id})
	s.write(0, "learns", 1, 2, 3)
	if s.installs != 1 {
		t.Errorf("%d states were taken in", s.installs)
	}
	s.reconfigure(0, []uint64{1, 2, 3}, nil)
	s.leader(0).crash()
	s.run(4*time.Second, nil)
	l = s.leader(0)
	if l == nil {
		t.Fatal("its vote is not enough")
	}
	if err := l.groups[0].Propose([]byte("it votes")); err != nil {
		t.Fatal(err)
	}
	s.run(time.Second, nil)
	if !s.has(0, "it votes") {
		t.Error("nothing is committed with it")
	}
}

// TestSoleVoterRestarts: a voter that has learners alone beside it leads as soon as it is back.
func TestSoleVoterRestarts(t *testing.T) {
	s := newSimOf(t, 1, 1, 2, storage.Members{Voters: []uint64{1}})
	s.run(time.Second, nil)
	s.reconfigure(0, []uint64{1}, []uint64{2})
	s.write(0, "both", 1, 2)
	s.nodes[0].checkpoint()
	s.nodes[0].crash()
	s.nodes[0].start(1)
	s.run(electionDefault/2, nil)
	if l := s.leader(0); l == nil || l.id != 1 {
		t.Error("it does not lead")
	}
}

// asked opens a group of node 4, asks it for votes, and says what it answers.
func asked(t *testing.T, cfg Config, votes ...*pb.Message) (kinds []pb.MessageType, last *pb.Message) {
	t.Helper()
	c := clock.NewVirtual(time.Unix(0, 0))
	out := new(loopback)
	h := NewHost(Options{Self: 4, Clock: c, Transport: out})
	cfg.Sync = true
	mustOpen(t, h, cfg)
	settle(h)
	c.Advance(3 * electionDefault) // no promise is left
	settle(h)
	out.frames = nil
	for _, m := range votes {
		if err := h.Receive(m.GetFrom(), frameOf(0, 0, m)); err != nil {
			t.Fatal(err)
		}
		settle(h)
	}
	for _, f := range out.frames {
		for rest := f[1:]; len(rest) > 0; {
			n := binary.LittleEndian.Uint32(rest[12:])
			last = new(pb.Message)
			if err := proto.Unmarshal(rest[messageHeader:messageHeader+n], last); err != nil {
				t.Fatal(err)
			}
			kinds = append(kinds, last.GetType())
			rest = rest[messageHeader+n:]
		}
	}
	return kinds, last
}

// TestVotesOfOthers: who is asked for a vote that it cannot give, or not to everybody.
func TestVotesOfOthers(t *testing.T) {
	logOf := func(hard storage.HardState, entries ...storage.Entry) *fakeLog {
		l := newFakeLog()
		*l.shard(0) = fakeShard{hard: hard, entries: entries}
		return l
	}
	var five []storage.Entry
	for i := range uint64(5) {
		five = append(five, storage.Entry{Index: i + 1, Term: 2, Data: []byte("x")})
	}
	ask := func(index, term uint64) *pb.Message { return message(pb.MsgPreVote, 1, 4, 4, at(index, term)) }
	vote, info := []pb.MessageType{pb.MsgPreVoteResp}, []pb.MessageType{pb.MsgSnap, pb.MsgPreVoteResp}
	for _, tt := range []struct {
		what string
		cfg  Config
		ask  *pb.Message
		want []pb.MessageType
		gets bool
	}{
		{"one that waits", Config{Members: three, Log: logOf(storage.HardState{})}, ask(9, 3), nil, false},
		{"one that was added, and does not know it", Config{Members: three, Applied: 3, AppliedTerm: 2, Log: logOf(storage.HardState{Term: 2, Commit: 3}, five...)},
			ask(5, 2), vote, true},
		{"one that was removed, and has more", Config{Members: three, Applied: 3, AppliedTerm: 2, Log: logOf(storage.HardState{Term: 2, Commit: 3}, five...)},
			ask(4, 2), info, false},
		{"an installation was not ended, asked by who has less", Config{Members: storage.Members{Voters: []uint64{1, 4}},
			Log: logOf(storage.HardState{Term: 3, Commit: 2}, storage.Entry{Index: 10, Term: 3, Kind: storage.KindInstalled})}, ask(9, 3), nil, false},
		{"an installation was not ended, asked by who has it", Config{Members: storage.Members{Voters: []uint64{1, 4}},
			Log: logOf(storage.HardState{Term: 3, Commit: 2}, storage.Entry{Index: 10, Term: 3, Kind: storage.KindInstalled})}, ask(10, 3), vote, true},
	} {
		tt.cfg.Machine = newRecorder()
		got, last := asked(t, tt.cfg, tt.ask)
		if !slices.Equal(got, tt.want) || last != nil && last.GetReject() == tt.gets {
			t.Errorf("%s: says %v, rejects %v", tt.what, got, last.GetReject())
		}
	}
}

// TestInformed: who is told that more is committed than it knew of applies it, and goes by the members
// that it leads to.
func TestInformed(t *testing.T) {
	left, err := proto.Marshal(&pb.ConfChangeV2{Changes: []*pb.ConfChangeSingle{{Type: pb.ConfChangeRemoveNode.Enum(), NodeId: new(uint64(1))}}})
	if err != nil {
		t.Fatal(err)
	}
	log := newFakeLog()
	*log.shard(0) = fakeShard{hard: storage.HardState{Term: 2, Commit: 1}, entries: []storage.Entry{
		{Index: 1, Term: 2, Data: []byte("x")}, {Index: 2, Term: 2, Kind: uint8(pb.EntryConfChangeV2), Data: left},
	}}
	r := newRecorder()
	told := message(pb.MsgSnap, 1, 4, 2, func(m *pb.Message) {
		m.Context = informContext
		m.Snapshot = &pb.Snapshot{Metadata: &pb.SnapshotMetadata{Index: new(uint64(2)), Term: new(uint64(2)), ConfState: &pb.ConfState{Voters: []uint64{4}}}}
	})
	asked(t, Config{Members: storage.Members{Voters: []uint64{1, 4}}, Log: log, Machine: r}, told)
	if got := r.told(); len(got) < 2 || got[0] != "2 has {[4] [] [] []} after 1" {
		t.Errorf("told %q", got)
	}
}

// TestMembersInOrder: a machine is told of members between the entries before and after.
func TestMembersInOrder(t *testing.T) {
	h := NewHost(Options{Self: 1, Clock: clock.NewVirtual(time.Unix(0, 0)), Transport: new(loopback)})
	r := newRecorder()
	g := mustOpen(t, h, Config{Log: newFakeLog(), Machine: r})
	settle(h)
	for _, data := range []string{"a", "b"} {
		if err := g.Propose([]byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	settle(h)
	if err := g.Reconfigure([]uint64{1}, []uint64{2}); err != nil {
		t.Fatal(err)
	}
	settle(h)
	if err := g.Propose([]byte("c")); err != nil {
		t.Fatal(err)
	}
	settle(h)
	if got, want := r.told(), []string{"1 true after 0", "4 has {[1] [] [2] []} after 2"}; !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
	if got := r.data(); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("applied %q", got)
	}
	if err := NewHost(Options{Self: 1}).opened(t).Reconfigure([]uint64{1}, []uint64{2}); !fault.Is(err, fault.Invalid) {
		t.Errorf("without a way to other nodes: %v", err)
	}
}

// opened is a group of a host.
func (h *Host) opened(t *testing.T) *Group {
	g := mustOpen(t, h, Config{Log: newFakeLog(), Machine: newRecorder()})
	settle(h)
	return g
}

// A node whose peers are gone for good goes on alone, if it is told to: with all that its log has,
// whatever that says of the members. Once a checkpoint has that it is alone, it needs not be told.
func TestForsake(t *testing.T) {
	for checkpointed := range 2 {
		s := newSimOf(t, 1, 1, 4, storage.Members{Voters: []uint64{1, 2, 3}})
		s.run(4*time.Second, nil)
		s.write(0, "by all", 1, 2, 3)
		s.reconfigure(0, []uint64{1, 2, 3}, []uint64{4}) // is on the log, and in no checkpoint
		s.write(0, "with a learner", 1, 2, 3, 4)
		for _, n := range s.nodes {
			n.crash()
		}
		one := s.nodes[0]
		one.start(1)
		s.run(4*time.Second, nil)
		if s.leader(0) != nil {
			t.Fatal("it leads though most of its voters are gone")
		}
		one.crash()
		one.forsakes = true
		one.start(2)
		s.run(4*time.Second, nil)
		if want := (storage.Members{Voters: []uint64{1}}); !one.groups[0].Members().Equal(want) {
			t.Fatalf("its members are %v", one.groups[0].Members())
		}
		s.write(0, "alone", 1)
		if checkpointed == 1 {
			one.checkpoint()
			one.forsakes = false
		}
		one.crash()
		one.start(3)
		s.run(4*time.Second, nil)
		s.write(0, "alone again", 1)
		s.nodes[1].start(4) // what was gone is not: nobody of it is heard
		s.run(2*time.Second, nil)
		s.write(0, "still alone", 1)
	}
}

// TestTransferGivenUp: a transfer that succeeds where its leader does not see it is no less a transfer: what
// voters had promised meanwhile was broken for it.
func TestTransferGivenUp(t *testing.T) {
	s := newSim(t, 1, 1)
	s.run(time.Second, nil)
	l := s.leader(0)
	to := s.nodes[l.id%3]
	s.weather.Set(transport.Faults{DelayMin: 150 * time.Millisecond, DelayMax: 150 * time.Millisecond})
	s.run(time.Second, nil)
	s.weather.Cut(to.id, l.id)
	if err := l.groups[0].Transfer(to.id); err != nil {
		t.Fatal(err)
	}
	s.run(440*time.Millisecond, nil) // the third has answered, and given its vote
	s.cut(l.id)
	s.run(2*time.Second, nil) // which looks for two that lead
	if now := s.leader(0); now != to {
		t.Errorf("led by %+v", now)
	}
}

// TestTransferHeardLate: who was told to take over, and hears of it when that was given up long ago, takes
// no promise away that was made to the leader since.
func TestTransferHeardLate(t *testing.T) {
	s := newSim(t, 1, 1)
	s.run(time.Second, nil)
	l := s.leader(0)
	to := s.nodes[l.id%3]
	late := received{
		msg:   &pb.Message{Type: pb.MsgTimeoutNow.Enum(), From: new(l.id), To: new(to.id), Term: new(l.groups[0].Status().Term)},
		stamp: l.host.now() + l.host.election,
	}
	s.cut(to.id) // it hears nothing of this
	if err := l.groups[0].Transfer(to.id); err != nil {
		t.Fatal(err)
	}
	s.run(electionDefault+100*time.Millisecond, nil)
	if s.leader(0) != l {
		t.Fatalf("led by %+v", s.leader(0))
	}
	s.weather.Heal()
	s.weather.Cut(to.id, l.id)
	s.weather.Cut(l.id, to.id)
	to.groups[0].deliver(late)
	s.run(3*time.Second, nil) // which looks for two that lead
	if s.leader(0) != l {
		t.Errorf("led by %+v", s.leader(0))
	}
}
