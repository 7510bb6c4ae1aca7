package group

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/cluster/transport"
	"github.com/robustmq/rmq/broker/storage"
)

// sim is a cluster of three nodes in one goroutine. Everything that happens in it
// follows from its seed.
type sim struct {
	t       *testing.T
	rand    *rand.Rand
	clock   *clock.Virtual
	net     *transport.Net
	weather *transport.Weather
	nodes   []*simNode
	shards  int
	catchUp int // Config.CatchUp

	agreed   [][]storage.Entry // by shard: what any machine has applied, in order
	members  [][]membersAt     // by shard: the first are those that it began with
	acked    []map[string]bool // by shard: what a leader has applied of its own
	next     int               // number of the next proposal
	installs int               // states that were taken in
	trace    []byte            // everything that was told, for comparing runs
}

type simNode struct {
	sim      *sim
	id       uint64
	host     *Host // nil while it is down
	log      *fakeLog
	groups   []*Group
	ms       []*simMachine
	saved    []storage.Entry // by shard: the last entry of its checkpoint
	life     int             // incarnation
	forsakes bool            // the others are gone: Config.Forsake
}

// simMachine checks what its group tells it against what others were told.
type simMachine struct {
	node    *simNode
	shard   int
	applied uint64
	term    uint64 // leads in; 0: does not

	stage   stage
	needs   uint64        // a state that ends there, or later
	state   storage.Entry // the last entry of the state that was fetched
	refused bool          // the log got there by itself

	followed func() // called when another node leads; nil: nobody
}

// stage is how far a machine is that fetches a state from another node.
type stage int

const (
	upToDate stage = iota
	fetching
	installing // Install was called
	installed  // and has ended
	saved      // the state is the checkpoint
)

// Behind has the state fetched, bit by bit: every step takes its time, and a crash may come
// between any two.
func (m *simMachine) Behind(_, index, _ uint64) bool {
	m.stage, m.needs, m.refused = fetching, index, false
	return true
}

// fetch goes one step further.
func (m *simMachine) fetch() {
	s := m.node.sim
	g := m.node.groups[m.shard]
	switch m.stage {
	case fetching:
		from := s.nodes[s.rand.IntN(len(s.nodes))]
		if from.host == nil || from.ms[m.shard].applied < m.needs {
			return
		}
		for _, e := range s.agreed[m.shard] {
			if e.Index == from.ms[m.shard].applied {
				m.state = e
			}
		}
		if m.state.Index <= m.applied {
			return // the other has gone no further either
		}
		m.stage = installing
		g.Install(storage.CheckpointMeta{Index: m.state.Index, Term: m.state.Term, Members: s.membersAt(m.shard, m.state.Index)}, func(err error) {
			m.refused = errors.Is(err, errReached)
			if err == nil || m.refused {
				m.stage = installed
			}
		})
	case installed:
		if !m.refused {
			m.node.saved[m.shard] = m.state
		}
		m.stage = saved
	case saved:
		if !m.refused {
			m.applied = m.state.Index
			s.installs++
			s.trace = fmt.Appendf(s.trace, "%d/%d installs %d\n", m.node.id, m.shard, m.applied)
		}
		m.stage = upToDate
		g.Resume()
	default:
	}
}

func (m *simMachine) Apply(entries []storage.Entry) {
	s := m.node.sim
	for i, e := range entries {
		if e.Index <= m.applied {
			s.t.Fatalf("node %d shard %d: entry %d after %d", m.node.id, m.shard, e.Index, m.applied)
		}
		agreed := s.agreed[m.shard]
		at, ok := slices.BinarySearchFunc(agreed, e.Index, func(a storage.Entry, i uint64) int { return int(a.Index) - int(i) })
		switch {
		case ok:
			if a := agreed[at]; a.Term != e.Term || string(a.Data) != string(e.Data) {
				s.t.Fatalf("node %d shard %d: entry %d is %d %q, others have %d %q", m.node.id, m.shard, e.Index, e.Term, e.Data, a.Term, a.Data)
			}
		case at != len(agreed):
			s.t.Fatalf("node %d shard %d: entry %d was skipped by others", m.node.id, m.shard, e.Index)
		default:
			e.Data = slices.Clone(e.Data)
			s.agreed[m.shard] = append(agreed, e)
		}
		for i := at - 1; i >= 0 && agreed[i].Index > m.applied && m.applied > 0; i-- {
			if m.node.forsakes && agreed[i].Kind == 2 {
				continue // members that are gone
			}
			s.t.Fatalf("node %d shard %d: entry %d after %d, others have %d between", m.node.id, m.shard, e.Index, m.applied, agreed[i].Index)
		}
		m.applied = e.Index
		if m.term != 0 && m.term == e.Term {
			s.acked[m.shard][string(e.Data)] = true
		}
		s.trace = fmt.Appendf(s.trace, "%d/%d %d:%d %s\n", m.node.id, m.shard, e.Index, e.Term, e.Data)
		if s.membersAt(m.shard, e.Index).Alone(m.node.id) { // it may, and nobody is to see it
			for k := range entries[i].Data {
				entries[i].Data[k] = '!'
			}
		}
	}
}

// Members are agreed on as entries are.
func (m *simMachine) Members(index, term uint64, members storage.Members) {
	s := m.node.sim
	m.Apply([]storage.Entry{{Index: index, Term: term, Kind: 2, Data: fmt.Append(nil, members)}})
	if all := s.members[m.shard]; all[len(all)-1].index < index {
		s.members[m.shard] = append(all, membersAt{index, members})
	}
}

// membersAt are members from an entry on.
type membersAt struct {
	index uint64
	storage.Members
}

// membersAt are the members as of an entry.
func (s *sim) membersAt(shard int, index uint64) (m storage.Members) {
	for _, x := range s.members[shard] {
		if x.index <= index {
			m = x.Members
		}
	}
	return m
}

func (m *simMachine) Lead(term uint64, leading bool) {
	if leading == (m.term != 0) {
		m.node.sim.t.Fatalf("node %d shard %d: told %v twice", m.node.id, m.shard, leading)
	}
	m.term = 0
	if leading {
		m.term = term
	}
	m.node.sim.trace = fmt.Appendf(m.node.sim.trace, "%d/%d leads %d %v\n", m.node.id, m.shard, term, leading)
}

func (m *simMachine) Follow(leader uint64) {
	m.node.sim.trace = fmt.Appendf(m.node.sim.trace, "%d/%d follows %d\n", m.node.id, m.shard, leader)
	if leader != 0 && m.followed != nil {
		m.followed()
	}
}

func (m *simMachine) Stopped(error) {}

func newSim(t *testing.T, seed uint64, shards int) *sim { return newSimOf(t, seed, shards, 3, three) }

// newSimOf has more nodes than members: those wait to be added.
func newSimOf(t *testing.T, seed uint64, shards, nodes int, members storage.Members) *sim {
	s := &sim{t: t, rand: rand.New(rand.NewPCG(seed, 1)), clock: clock.NewVirtual(time.Unix(1e9, 0)), net: transport.NewNet(), shards: shards,
		agreed: make([][]storage.Entry, shards)}
	s.weather = transport.NewWeather(s.clock, seed)
	for range shards {
		s.acked = append(s.acked, make(map[string]bool))
		s.members = append(s.members, []membersAt{{0, members}})
	}
	for i := range nodes {
		n := &simNode{sim: s, id: uint64(i + 1), log: newFakeLog(), saved: make([]storage.Entry, shards)}
		n.log.held = true
		s.nodes = append(s.nodes, n)
		n.start(seed)
	}
	return s
}

func (n *simNode) start(seed uint64) {
	n.life++
	var port transport.Sender = n.sim.net.Join(n.id, func(from uint64, frame []byte) error { return n.host.Receive(from, frame) })
	n.host = NewHost(Options{Self: n.id, Clock: n.sim.clock, Seed: seed + uint64(n.life)<<32, Transport: n.sim.weather.Wrap(n.id, port)})
	n.groups, n.ms = nil, nil
	for i := range n.sim.shards {
		m := &simMachine{node: n, shard: i, applied: n.saved[i].Index}
		g, err := n.host.Open(Config{Shard: storage.ShardID(i), Members: n.sim.membersAt(i, n.saved[i].Index), Forsake: n.forsakes, Log: n.log, Sync: true, Machine: m,
			Applied: n.saved[i].Index, AppliedTerm: n.saved[i].Term, CatchUp: n.sim.catchUp})
		if err != nil {
			n.sim.t.Fatal(err)
		}
		n.groups, n.ms = append(n.groups, g), append(n.ms, m)
	}
}

// crash takes the node down as a power loss would: what its log has not ended, and
// all it has in memory, is gone.
func (n *simNode) crash() {
	n.sim.net.Leave(n.id)
	n.log.crash()
	n.host.workers[0].disarm()
	n.host = nil
}

// run lets time pass in steps of a millisecond. Writes end after a chance delay.
func (s *sim) run(d time.Duration, each func()) {
	for range d / time.Millisecond {
		s.clock.Advance(time.Millisecond)
		for _, n := range s.nodes {
			for _, m := range n.ms {
				if n.host != nil && m.stage != upToDate && s.rand.IntN(5) == 0 {
					m.fetch()
				}
			}
		}
		for busy := true; busy; {
			busy = false
			for _, n := range s.nodes {
				for n.host != nil && n.host.Step() {
					busy = true
				}
			}
		}
		for _, n := range s.nodes {
			if s.rand.IntN(3) == 0 {
				n.log.end(1 + s.rand.IntN(4))
			}
		}
		s.oneLeader()
		if each != nil {
			each()
		}
	}
}

// oneLeader: no two nodes believe to lead one shard at the same moment.
func (s *sim) oneLeader() {
	for shard := range s.shards {
		leaders := 0
		for _, n := range s.nodes {
			if n.host != nil && n.groups[shard].Leading() {
				leaders++
			}
		}
		if leaders > 1 {
			s.t.Fatalf("shard %d has %d leaders", shard, leaders)
		}
	}
}

// checkpoint keeps what a node's machines have applied.
func (n *simNode) checkpoint() {
	for shard, m := range n.ms {
		for _, e := range n.sim.agreed[shard] {
			if e.Index == m.applied {
				n.saved[shard] = e
				n.groups[shard].Checkpointed(e.Index, e.Term)
			}
		}
	}
}

// propose offers a proposal to every node that takes one.
func (s *sim) propose() {
	shard := s.rand.IntN(s.shards)
	for _, n := range s.nodes {
		if n.host != nil && n.groups[shard].Propose(fmt.Appendf(nil, "p%d by %d", s.next, n.id)) == nil {
			s.next++
		}
	}
}

// converge heals everything and waits until all nodes have applied the same.
func (s *sim) converge(seed uint64) {
	s.weather.Heal()
	s.weather.Set(transport.Faults{})
	for _, n := range s.nodes {
		if n.host == nil {
			n.start(seed)
		}
	}
	s.run(4*time.Second, nil)
	for shard := range s.shards {
		accepted := false
		for _, n := range s.nodes {
			accepted = accepted || n.groups[shard].Propose([]byte("last")) == nil
		}
		if !accepted {
			s.t.Fatalf("shard %d has no leader", shard)
		}
	}
	s.run(time.Second, nil)
	for shard := range s.shards {
		agreed := s.agreed[shard]
		if len(agreed) == 0 || string(agreed[len(agreed)-1].Data) != "last" {
			s.t.Fatalf("shard %d does not work any more", shard)
		}
		have := make(map[string]bool)
		for _, e := range agreed {
			have[string(e.Data)] = true
		}
		for a := range s.acked[shard] {
			if !have[a] {
				s.t.Errorf("shard %d: %q was acknowledged and is gone", shard, a)
			}
		}
		for _, n := range s.nodes {
			if got, want := n.ms[shard].applied, agreed[len(agreed)-1].Index; got != want {
				s.t.Errorf("node %d shard %d applied up to %d of %d: %+v", n.id, shard, got, want, n.groups[shard].Status())
			}
		}
	}
}

// storm runs a cluster through loss, delay, cuts and crashes of one node at a time.
// Every other one is of leaders that keep little for who lags.
func storm(t *testing.T, seed uint64) (trace uint64, acked, installs int) {
	s := newSim(t, seed, 3)
	if seed%2 == 1 {
		s.catchUp = 1 << 10
		for _, n := range s.nodes {
			for _, g := range n.groups {
				g.limits.catchUp = s.catchUp
			}
		}
	}
	s.weather.Set(transport.Faults{Loss: 0.05, Repeat: 0.05, DelayMax: 20 * time.Millisecond})
	var down *simNode
	s.run(20*time.Second, func() {
		if s.rand.IntN(10) == 0 {
			s.propose()
		}
		if s.rand.IntN(1000) != 0 {
			return
		}
		switch s.rand.IntN(5) {
		case 0:
			if down == nil {
				down = s.nodes[s.rand.IntN(len(s.nodes))]
				down.crash()
			}
		case 1:
			if down != nil {
				down.start(seed)
				down = nil
			}
		case 2:
			n := uint64(1 + s.rand.IntN(3))
			if s.rand.IntN(2) == 0 {
				s.weather.Isolate(n, 1, 2, 3)
			} else {
				s.weather.Cut(n, 1+n%3)
			}
		case 3:
			s.weather.Heal()
		case 4:
			if n := s.nodes[s.rand.IntN(len(s.nodes))]; n != down {
				n.checkpoint()
			}
		}
	})
	s.converge(seed)
	h := fnv.New64a()
	h.Write(s.trace)
	for _, a := range s.acked {
		acked += len(a)
	}
	return h.Sum64(), acked, s.installs
}

func TestStorm(t *testing.T) {
	seeds := 120
	if testing.Short() {
		seeds = 20
	}
	total, installs := 0, 0
	for seed := range seeds {
		_, acked, n := storm(t, uint64(seed))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
		total += acked
		installs += n
	}
	if installs < seeds {
		t.Errorf("%d states installed over %d seeds", installs, seeds)
	}
	if total < 100*seeds {
		t.Errorf("%d proposals acknowledged over %d seeds: the storm leaves nothing to check", total, seeds)
	}
}

func TestSameSeedSameTrace(t *testing.T) {
	for seed := range uint64(3) {
		a, n, _ := storm(t, seed)
		b, _, _ := storm(t, seed)
		if a != b || n == 0 {
			t.Errorf("seed %d gave the traces %x and %x", seed, a, b)
		}
	}
}

// leader returns the node that leads a shard; nil if none does.
func (s *sim) leader(shard int) *simNode {
	for _, n := range s.nodes {
		if n.host != nil && n.groups[shard].Leading() {
			return n
		}
	}
	return nil
}

// TestNewClusterLeadsAtOnce: a new group does not wait for an election timeout,
// and the first leaders are spread over the nodes.
func TestNewClusterLeadsAtOnce(t *testing.T) {
	s := newSim(t, 1, 3)
	s.run(100*time.Millisecond, nil)
	for shard := range 3 {
		if l := s.leader(shard); l == nil || l.id != uint64(shard+1) {
			t.Errorf("shard %d is led by %+v", shard, l)
		}
	}
}

// TestNewClusterLeadsOnceThereIsAMajority: the node that is to lead first has no one to vote for it, and
// leads when the second one is there, though that is not to lead and the first does not ask again yet.
func TestNewClusterLeadsOnceThereIsAMajority(t *testing.T) {
	s := newSim(t, 1, 1)
	for _, n := range s.nodes[1:] {
		n.crash() // before it has done anything
	}
	s.run(20*time.Millisecond, nil)
	s.nodes[1].start(1)
	s.run(heartbeatDefault/2, nil)
	if l := s.leader(0); l == nil || l.id != 1 {
		t.Errorf("the shard is led by %+v", l)
	}
}

// TestLateMemberOfNewCluster: one that opens when another leads already has what that one's log has, and
// need not wait for a heartbeat.
func TestLateMemberOfNewCluster(t *testing.T) {
	s := newSim(t, 1, 1)
	s.nodes[2].crash()
	s.run(heartbeatDefault/5, nil)
	l := s.leader(0)
	if l == nil {
		t.Fatal("nobody leads")
	}
	_ = l.groups[0].Propose([]byte("early"))
	s.run(heartbeatDefault/5, nil)
	s.nodes[2].start(1)
	s.run(heartbeatDefault/2, nil) // the next heartbeat by itself comes later
	if got := s.nodes[2].ms[0].applied; got == 0 || got != l.ms[0].applied {
		t.Errorf("applied up to %d, the leader up to %d", got, l.ms[0].applied)
	}
}

// has tells whether an entry is in a shard's log.
func (s *sim) has(shard int, data string) bool {
	return slices.ContainsFunc(s.agreed[shard], func(e storage.Entry) bool { return string(e.Data) == data })
}

// TestForwarding: what a follower proposes is handed to the leader, in order, and comes back
// to the follower; without a leader it is lost, and nobody is hurt.
func TestForwarding(t *testing.T) {
	s := newSim(t, 1, 1)
	s.run(time.Second, nil)
	l := s.leader(0)
	follower := s.nodes[l.id%3]
	for i := range 100 {
		if err := follower.groups[0].Propose(fmt.Appendf(nil, "f%03d", i)); err != nil {
			t.Fatal(err)
		}
	}
	s.run(100*time.Millisecond, nil)
	var got []string
	for _, e := range s.agreed[0] {
		got = append(got, string(e.Data))
	}
	if len(got) != 100 || !slices.IsSorted(got) || follower.ms[0].applied != l.ms[0].applied {
		t.Errorf("applied %d: %q; the follower %d, the leader %d", len(got), got, follower.ms[0].applied, l.ms[0].applied)
	}
	if f := l.groups[0].Status(); f.InFlight != 0 || f.InFlightBytes != 0 {
		t.Errorf("forwarded entries count against the leader's budget: %+v", f)
	}

	s.weather.Isolate(follower.id, 1, 2, 3)
	_ = follower.groups[0].Propose([]byte("lost"))
	s.run(5*time.Second, nil)
	s.weather.Heal()
	s.run(3*time.Second, nil)
	_ = follower.groups[0].Propose([]byte("found"))
	s.run(time.Second, nil)
	if s.has(0, "lost") || !s.has(0, "found") {
		t.Errorf("lost is there: %v; found: %v", s.has(0, "lost"), s.has(0, "found"))
	}
}

// TestForwardingToNewLeader: what a follower proposes at once when it learns of a new leader is not lost,
// though that has not settled.
func TestForwardingToNewLeader(t *testing.T) {
	s := newSim(t, 1, 1)
	s.run(time.Second, nil)
	l := s.leader(0)
	for i, n := range s.nodes {
		n.ms[0].followed = func() { _ = n.groups[0].Propose(fmt.Appendf(nil, "again by %d", i)) }
	}
	l.crash()
	s.run(2*time.Second, nil)
	now := s.leader(0)
	if now == nil {
		t.Fatal("nobody leads")
	}
	for i, n := range s.nodes {
		if n != l && n != now && !s.has(0, fmt.Sprintf("again by %d", i)) {
			t.Errorf("what node %d proposed is lost", n.id)
		}
	}
}

// TestLeaderWithoutQuorumIsGated: cut off from both others, a leader has ceased to
// lead before one of them is elected; and a lone follower that comes back takes
// nothing from the leader that the others have.
func TestLeaderWithoutQuorumIsGated(t *testing.T) {
	s := newSim(t, 1, 1)
	s.run(time.Second, nil)
	old := s.leader(0)
	s.weather.Isolate(old.id, 1, 2, 3)
	s.run(999*time.Millisecond, nil)              // oneLeader looks every millisecond
	_ = old.groups[0].Propose([]byte("one more")) // may be lost, and is
	s.run(2*time.Second, nil)
	now := s.leader(0)
	if now == nil || now == old {
		t.Fatalf("led by %+v", now)
	}
	if _ = old.groups[0].Propose([]byte("more")); old.ms[0].term != 0 {
		t.Error("a leader without a quorum was not gated")
	}
	s.weather.Heal()
	s.run(3*time.Second, nil)
	if s.has(0, "one more") || s.has(0, "more") {
		t.Error("a gated leader took a proposal")
	}
	if s.leader(0) != now {
		t.Error("the healed node took the lead")
	}

	follower := s.nodes[(now.id)%3]
	term := now.groups[0].Status().Term
	s.weather.Isolate(follower.id, 1, 2, 3)
	s.run(10*time.Second, nil)
	s.weather.Heal()
	s.run(3*time.Second, nil)
	if l := s.leader(0); l != now || l.groups[0].Status().Term != term {
		t.Error("a follower that was away for a while has cost an election")
	}
}

// TestGatedLeaderReturns: nobody else could be elected, so the leader leads on in
// its term once a quorum answers again.
func TestGatedLeaderReturns(t *testing.T) {
	s := newSim(t, 1, 1)
	s.run(time.Second, nil)
	l := s.leader(0)
	for _, n := range s.nodes {
		s.weather.Isolate(n.id, 1, 2, 3)
	}
	s.run(1100*time.Millisecond, nil)
	if s.leader(0) != nil || l.ms[0].term != 0 {
		t.Fatal("leads without a quorum")
	}
	s.weather.Heal()
	s.run(300*time.Millisecond, nil)
	if s.leader(0) != l || l.ms[0].term != 1 {
		t.Errorf("led by %+v", s.leader(0))
	}
}

// TestLeaderThatHearsNobody: what a leader says arrives, and nothing comes back. It does not keep the others
// from electing one that can lead, and follows that when the links are whole again.
func TestLeaderThatHearsNobody(t *testing.T) {
	s := newSim(t, 1, 1)
	s.run(time.Second, nil)
	old := s.leader(0)
	for _, n := range s.nodes {
		s.weather.Cut(n.id, old.id)
	}
	s.run(4*time.Second, nil)
	now := s.leader(0)
	if now == nil || now == old {
		t.Fatalf("led by %+v", now)
	}
	s.weather.Heal()
	s.run(3*time.Second, nil)
	if s.leader(0) != now || old.ms[0].applied != now.ms[0].applied {
		t.Errorf("led by %+v; the old leader has applied up to %d, the new one up to %d", s.leader(0), old.ms[0].applied, now.ms[0].applied)
	}
}

// TestTransfer: the named voter leads next, soon, and one that is away does not
// cost more than a timeout.
func TestTransfer(t *testing.T) {
	s := newSim(t, 1, 1)
	s.run(time.Second, nil)
	l := s.leader(0)
	to := s.nodes[l.id%3]
	if err := l.groups[0].Transfer(l.id); err == nil {
		t.Error("transfer to itself")
	}
	if err := l.groups[0].Transfer(to.id); err != nil {
		t.Fatal(err)
	}
	s.run(50*time.Millisecond, nil)
	if s.leader(0) != to {
		t.Fatalf("led by %+v", s.leader(0))
	}
	away := s.nodes[to.id%3]
	away.crash()
	if err := to.groups[0].Transfer(away.id); err != nil {
		t.Fatal(err)
	}
	s.run(500*time.Millisecond, nil)
	if s.leader(0) != nil {
		t.Error("leads during a transfer")
	}
	s.run(600*time.Millisecond, nil)
	if s.leader(0) != to {
		t.Errorf("led by %+v", s.leader(0))
	}
	s.converge(1)
}

// TestLag: a follower that was down catches up from the leader's memory; one that
// lacks what is no longer held is reported, takes in a state, and goes on from there.
func TestLag(t *testing.T) {
	for _, far := range []bool{false, true} {
		s := newSim(t, 1, 1)
		s.run(time.Second, nil)
		l := s.leader(0)
		for _, n := range s.nodes {
			n.groups[0].limits.catchUp = 100 << 10
		}
		down := s.nodes[l.id%3]
		down.crash()
		for range 50 {
			n := 1
			if far {
				n = 5
			}
			for range n {
				if err := l.groups[0].Propose(make([]byte, 1<<10)); err != nil {
					t.Fatal(err)
				}
			}
			s.run(10*time.Millisecond, nil)
			l.checkpoint()
		}
		if n := l.groups[0].Status().LogBytes; n > 110<<10 {
			t.Errorf("%d bytes held", n)
		}
		if l.groups[0].Needs(down.id) != far {
			t.Errorf("far %v: the leader says whether it needs a state: %v", far, !far)
		}
		down.start(1)
		stranded, behind := false, false
		s.run(5*time.Second, func() {
			stranded = stranded || l.groups[0].Status().Stranded
			behind = behind || down.groups[0].Status().Behind
		})
		if stranded != far || behind != far || (s.installs > 0) != far {
			t.Errorf("far %v: stranded %v, behind %v, %d states installed", far, stranded, behind, s.installs)
		}
		if l.groups[0].Status().Stranded || down.groups[0].Status().Behind || l.groups[0].Needs(down.id) {
			t.Errorf("far %v: it does not end", far)
		}
		if l.groups[0].Propose([]byte("x")) != nil {
			t.Error("the rest does not go on")
		}
		s.run(time.Second, nil)
		if last := s.agreed[0][len(s.agreed[0])-1]; string(last.Data) != "x" || down.ms[0].applied != last.Index {
			t.Errorf("far %v: the follower applied up to %d of %d", far, down.ms[0].applied, last.Index)
		}
	}
}

// strand has a node miss more than the others keep.
func (s *sim) strand(down *simNode, l *simNode) {
	for range 30 {
		for range 10 {
			if err := l.groups[0].Propose(make([]byte, 1<<10)); err != nil {
				s.t.Fatal(err)
			}
		}
		s.run(10*time.Millisecond, nil)
	}
}

// TestInstallCrash: a crash at any moment of installing leaves the old replica, the new one, or
// one that starts over; each gets there in the end.
func TestInstallCrash(t *testing.T) {
	for at := fetching; at <= saved; at++ {
		crashes := 0
		for seed := range uint64(5) {
			s := newSim(t, seed, 1)
			s.run(time.Second, nil)
			l := s.leader(0)
			for _, n := range s.nodes {
				n.groups[0].limits.catchUp = 100 << 10
			}
			down := s.nodes[l.id%3]
			down.checkpoint()
			down.crash()
			s.strand(down, l)
			down.start(seed)
			crashed := false
			s.run(3*time.Second, func() {
				if !crashed && down.ms[0].stage == at {
					crashed = true
					down.crash()
					down.start(seed)
				}
			})
			if crashed {
				crashes++
			}
			s.converge(seed)
		}
		if crashes == 0 {
			t.Errorf("stage %d never came", at)
		}
	}
}

// TestEmptied: a node that comes back with nothing, while the leader counts on what it had, is
// given all of it, and takes part again.
func TestEmptied(t *testing.T) {
	for _, far := range []bool{false, true} {
		s := newSim(t, 1, 1)
		s.run(time.Second, func() { s.propose() })
		l := s.leader(0)
		if far {
			for _, n := range s.nodes {
				n.groups[0].limits.catchUp = 100 << 10
			}
		}
		down, third := s.nodes[l.id%3], s.nodes[(l.id+1)%3]
		down.crash()
		if far {
			s.strand(down, l)
		}
		down.log, down.saved = newFakeLog(), make([]storage.Entry, 1)
		down.log.held = true
		down.start(1)
		s.converge(1)
		if (s.installs > 0) != far {
			t.Errorf("far %v: %d states installed", far, s.installs)
		}
		third.crash()
		if l = s.leader(0); l == third || l == nil {
			s.run(3*time.Second, nil)
			l = s.leader(0)
		}
		if l == nil || l.groups[0].Propose([]byte("by two")) != nil {
			t.Fatalf("far %v: two are no quorum", far)
		}
		s.run(time.Second, nil)
		if !s.has(0, "by two") {
			t.Errorf("far %v: two do not commit", far)
		}
	}
}

// TestForgetfulVoter: a node whose log has lost what it promised to hold neither
// votes nor leads.
func TestForgetfulVoter(t *testing.T) {
	s := newSim(t, 1, 1)
	s.run(time.Second, func() { s.propose() })
	s.run(time.Second, nil)
	n := s.nodes[s.leader(0).id%3]
	n.crash()
	sh := n.log.shard(0)
	sh.entries = sh.entries[:len(sh.entries)/2]
	n.host = NewHost(Options{Self: n.id, Clock: s.clock, Transport: transport.NewNet().Join(n.id, nil)})
	_, err := n.host.Open(Config{Members: three, Log: n.log, Sync: true, Machine: newRecorder()})
	if err == nil {
		t.Fatal("opened")
	}
}

// TestPromise: a follower that has lost sight of a leader is not elected by one
// that has not, nor by one that has been restarted a moment ago.
func TestPromise(t *testing.T) {
	for seed := range uint64(10) {
		s := newSim(t, seed, 1)
		s.run(time.Second, nil)
		l := s.leader(0)
		blind, other := s.nodes[l.id%3], s.nodes[(l.id+1)%3]
		s.weather.Cut(l.id, blind.id)
		s.run(5*time.Second, nil)
		if s.leader(0) != l || l.groups[0].Status().Term != 1 {
			t.Fatalf("seed %d: a blind follower has cost an election", seed)
		}
		other.crash()
		other.start(seed)
		s.weather.Isolate(l.id, 1, 2, 3)
		s.run(3*time.Second, nil) // oneLeader looks every millisecond
		if s.leader(0) == nil {
			t.Errorf("seed %d: nobody was elected", seed)
		}
	}
}

// TestLogFailsBetweenMessages: a message of a new term is written at once; when the log
// refuses that, what else has arrived is let go of.
func TestLogFailsBetweenMessages(t *testing.T) {
	s := newSim(t, 1, 1)
	s.run(time.Second, nil)
	v := s.nodes[s.leader(0).id%3]
	frame := func(m *pb.Message) []byte {
		m.To, m.From = new(v.id), new(1+v.id%3)
		body, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		f := append([]byte{frameVersion}, make([]byte, 12)...)
		return append(binary.LittleEndian.AppendUint32(f, uint32(len(body))), body...)
	}
	v.log.fail(errors.New("device gone"))
	for term := range uint64(2) {
		m := &pb.Message{Type: pb.MsgHeartbeat.Enum(), Term: new(10 + term)}
		if err := v.host.Receive(1+v.id%3, frame(m)); err != nil {
			t.Fatal(err)
		}
	}
	for v.host.Step() {
	}
	if err := v.groups[0].Status().Err; err == nil {
		t.Error("the group has not stopped")
	}
}
