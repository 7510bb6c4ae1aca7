package sim

import (
	"errors"
	"fmt"
	"hash"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/cluster/transport"
	"github.com/robustmq/rmq/broker/storage"
)

// This file, and those that it lists, simulate voters: a cluster of three or five nodes in one
// goroutine, whose members change while it runs.
//
// Each node has a file engine on a disk of its own, and replicates log 0 and one shard, with
// the machines that a broker runs, by the groups that a broker has. Both the engine and the
// groups are stepped, time is virtual, and the network is a transport.Weather: so a seed
// decides everything, and two runs of one have the same trace.
//
//	voters.go    the run: weather and time, what goes wrong when, what is checked all along
//	voter.go     one node: its disk, its power, its lives
//	promise.go   what it has said is on its disk
//	replica.go   one machine of one node: entries in, answers and checkpoints out
//	members.go   who is a member of what: what an operator does meanwhile
//	fetch.go     a replica that is behind, and has another's state
//	batches.go   what its logs hold
//	asks.go      clients, and what they ask for
//	history.go   what a client may see: models for porcupine
//
// What is checked:
//
//   - All nodes apply the same entries, and have the same machine after each, byte for byte.
//   - What is acknowledged is on the disks of a quorum at that moment, of both quorums of a joint
//     group, and in the log of every later leader.
//   - What a node said was on its disk is there when it starts again: entries, term and vote.
//   - No two nodes lead a shard at one moment, nor in one term; who does not lead answers no
//     reads and takes no proposals.
//   - Histories of log 0, of a partition, of committed offsets and of a queue are linearizable.
//   - Once nothing goes wrong any more there is a leader within leaderWithin, and what is
//     then proposed is applied by all members within appliedWithin.

// Bounds of virtual time, once all faults have ended.
const (
	leaderWithin  = 5 * time.Second
	appliedWithin = 10 * time.Second
)

// The shards of the cluster.
const (
	log0Shard = storage.ShardID(0)
	dataShard = storage.ShardID(1)
)

// Bug is a mistake that a run makes on purpose, to show that it would be seen.
type Bug int

// Bugs of consensus and storage.
const (
	NoBug             Bug = iota
	BugVoteNotSynced      // a vote is given before it is on the disk
	BugAckAlone           // the leader acknowledges what its own log alone has
	BugFollowerEarly      // a voter says that entries are on its disk before they are
	BugCommitBeyond       // a log that ends before what was committed is believed all the same
	BugStaleRead          // a node reads for clients without leading
	BugTornCheckpoint     // the log forgets before the checkpoint is written
	BugLeaseIgnored       // a leader reads for clients though its lease has ended
	BugMembersStale       // checkpoints name the members that there were at first
	BugLearnersVote       // a node that starts counts learners as voters
	BugOneQuorum          // a node that starts in a joint group goes by one of its two quorums
)

// members are those that a node starts with.
func (b Bug) members(m storage.Members) storage.Members {
	switch {
	case b == BugLearnersVote && len(m.Learners) > 0 && !m.Joint():
		m.Voters = slices.Sorted(slices.Values(slices.Concat(m.Voters, m.Learners)))
		m.Learners = nil
	case b == BugOneQuorum:
		m.Outgoing, m.Next = nil, nil
	}
	return m
}

// VotersOptions bound a run of voters. The zero value is what a test runs.
type VotersOptions struct {
	Storm   time.Duration // virtual time in which things go wrong; 0: 12 s
	Clients int           // 0: 4
	Asks    int           // of each client; 0: 60
	Bug     Bug
	// Nodes is how many there are: 3 or 5. 0: the seed decides. Fixed: all of them are voters all
	// the time; otherwise the seed decides.
	Nodes int
	Fixed bool
	// Outcomes leaves out the checks that look inside of nodes: what remains is seen by
	// clients, and by comparing machines.
	Outcomes bool
	// Forget makes disks lose the end of the log, so that it is seen at opening.
	Forget bool
	Log    func(format string, args ...any)
}

// VotersReport says what a run has exercised.
type VotersReport struct {
	PowerLosses, Kills, Pauses, Cuts, Full, SyncErrors, Blackouts int
	Destroyed, Fenced                                             int // nodes lost: with their disks, and by rot
	CaughtUp                                                      int // states that were taken in

	Changing             int // runs in which members change
	Asks, Changes, Joint int // of members: asked for, come about, and joint among them
	Handed, Emptied      int // leaders that were to be no voters; nodes that came back with nothing

	Leaders                  int // terms in which somebody led
	Asked, Answered, Unknown int
	Applied, Checkpoints     int
	Opened, Recycled         int // lives; files of logs that held nothing any more
	Frames                   int
	Histories, Undecided     int // checked by porcupine; given up for want of time
	Trace                    uint64
}

// Voters runs one seed of voters. The error says what promise was broken.
func Voters(seed uint64, o VotersOptions) (VotersReport, error) {
	if o.Storm == 0 {
		o.Storm = 12 * time.Second
	}
	if o.Clients == 0 {
		o.Clients = 4
	}
	if o.Asks == 0 {
		o.Asks = 60
	}
	c := newCluster(seed, o)
	defer c.end()
	err := c.all()
	c.report.Trace = c.trace.Sum64()
	if err != nil {
		return c.report, fmt.Errorf("seed %d, at %v: %w", seed, c.clock.Now().Sub(clusterEpoch), err)
	}
	return c.report, nil
}

// clusterEpoch is when a run begins.
var clusterEpoch = time.Unix(1_700_000_000, 0)

// cluster is one run.
type cluster struct {
	seed    uint64
	opt     VotersOptions
	rand    *rand.Rand // of what goes wrong
	clock   *clock.Virtual
	net     *transport.Net
	weather *transport.Weather
	pace    time.Duration // between two faults, at most
	nodes   []*voter
	clients []*asker
	trace   hash.Hash64
	report  VotersReport
	broken  error
	calm    bool // faults have ended
	catchUp int  // bytes of the log that a leader keeps for those who lag; 0: more than there are
	ids     []uint64
	changes bool // members change
	least   int  // voters that there are to be
	mortal  bool // a node may be destroyed

	known   map[storage.ShardID][]membersAt // by index: what any machine was told; the first are those at the start
	logs    map[storage.ShardID][]agreed    // by index: what any machine has applied
	states  map[stateKey]uint64             // what a machine looked like after an entry
	leaders map[termKey]uint64              // who led in a term
	history *histories
}

// agreed is an entry as the first machine that was given it saw it.
type agreed struct {
	index, term uint64
	sum         uint64
}

type stateKey struct {
	shard storage.ShardID
	index uint64
}

type termKey struct {
	shard storage.ShardID
	term  uint64
}

func newCluster(seed uint64, o VotersOptions) *cluster {
	c := &cluster{
		seed: seed, opt: o, rand: rand.New(rand.NewPCG(seed, 0x766f7465)),
		clock: clock.NewVirtual(clusterEpoch), net: transport.NewNet(), trace: fnv.New64a(),
		known: make(map[storage.ShardID][]membersAt), logs: make(map[storage.ShardID][]agreed), states: make(map[stateKey]uint64), leaders: make(map[termKey]uint64),
		history: newHistories(),
	}
	c.pace = [...]time.Duration{400 * time.Millisecond, time.Second, 3 * time.Second}[c.rand.IntN(3)]
	if (c.rand.IntN(3) == 0 || o.Bug == BugTornCheckpoint) && !o.Forget {
		c.catchUp = 1<<10 + c.rand.IntN(6<<10)
	}
	c.weather = transport.NewWeather(c.clock, seed)
	c.fair()
	c.populate()
	for i := range o.Clients {
		c.clients = append(c.clients, newAsker(c, i))
	}
	return c
}

// all is the whole run.
func (c *cluster) all() error {
	for _, v := range c.nodes {
		v.start()
	}
	for _, a := range c.clients {
		a.begin()
	}
	c.later(c.between(100*time.Millisecond, time.Second), c.goWrong)
	if c.changes {
		c.later(c.between(100*time.Millisecond, time.Second), c.reshape)
	}
	if c.run(c.opt.Storm, nil); c.broken != nil {
		return c.broken
	}
	c.note("calm")
	c.recover()
	if !c.run(leaderWithin, c.led) {
		return c.or(fmt.Errorf("nobody leads %v after everything was well again: %s", leaderWithin, c.standing()))
	}
	if !c.run(appliedWithin, c.asked) {
		return c.or(fmt.Errorf("clients are not answered %v after there was a leader: %s", appliedWithin, c.standing()))
	}
	for _, a := range c.clients {
		a.last()
	}
	if !c.run(appliedWithin, c.equal) {
		return c.or(fmt.Errorf("not all nodes have applied everything within %v: %s", appliedWithin, c.standing()))
	}
	if err := c.compare(); err != nil {
		return err
	}
	var err error
	c.report.Histories, c.report.Undecided, err = c.history.check()
	return err
}

// or is what was noticed first.
func (c *cluster) or(err error) error {
	if c.broken != nil {
		return c.broken
	}
	return err
}

// run lets virtual time pass until a condition holds; false: it does not within d, or a
// promise was broken.
func (c *cluster) run(d time.Duration, until func() bool) bool {
	end := c.clock.Now().Add(d)
	for {
		c.settle()
		if c.broken != nil {
			return false
		}
		if until != nil && until() {
			return true
		}
		next, ok := c.clock.Next()
		if !ok || next.After(end) {
			c.clock.Advance(end.Sub(c.clock.Now()))
			c.settle()
			return until == nil && c.broken == nil
		}
		c.clock.Advance(next.Sub(c.clock.Now()))
	}
}

// settle has all nodes do what they can at this moment.
func (c *cluster) settle() {
	for busy := true; busy && c.broken == nil; {
		busy = false
		for _, v := range c.nodes {
			for v.runs() && v.host.Step() {
				busy = true
			}
			if v.up && v.mount.stopped() {
				v.die(powerLoss)
				busy = true
			}
		}
	}
	if c.broken == nil {
		c.oneLeader()
	}
}

// oneLeader: no two nodes believe to lead one shard at the same moment, and a machine that
// was told that it leads is told in time that it does not.
func (c *cluster) oneLeader() {
	for shard := range shardsOfVoters {
		var who []uint64
		for _, v := range c.nodes {
			if !v.up {
				continue
			}
			r := v.replicas[shard]
			if r.group.Leading() {
				who = append(who, v.id)
			} else if r.leading != 0 && v.runs() {
				c.breach("node %d does not lead shard %d any more, and its machine does not know", v.id, shard)
			}
		}
		if len(who) > 1 {
			c.breach("nodes %v lead shard %d at one moment", who, shard)
		}
	}
}

const shardsOfVoters = 2

func (c *cluster) breach(format string, args ...any) {
	if c.broken == nil {
		c.broken = fmt.Errorf(format, args...)
		c.note("BREACH %v", c.broken)
	}
}

// note adds a line to the trace.
func (c *cluster) note(format string, args ...any) {
	fmt.Fprintf(c.trace, "%d ", c.clock.Now().Sub(clusterEpoch))
	fmt.Fprintf(c.trace, format, args...)
	if c.opt.Log != nil {
		c.opt.Log("%v "+format, append([]any{c.clock.Now().Sub(clusterEpoch)}, args...)...)
	}
}

func (c *cluster) later(d time.Duration, f func()) { c.clock.AfterFunc(d, f) }

func (c *cluster) between(from, to time.Duration) time.Duration {
	return from + time.Duration(c.rand.Int64N(int64(to-from)))
}

// fair is weather as in a data center.
func (c *cluster) fair() {
	c.weather.Set(transport.Faults{DelayMin: 100 * time.Microsecond, DelayMax: time.Millisecond})
}

// goWrong makes one thing go wrong, or well again, and comes again later.
func (c *cluster) goWrong() {
	if c.calm || c.broken != nil {
		return
	}
	defer c.later(c.between(20*time.Millisecond, c.pace), c.goWrong)
	v := c.nodes[c.rand.IntN(len(c.nodes))]
	if c.rand.IntN(3) == 0 { // whatever happens to leaders matters most
		for _, l := range c.nodes {
			if l.up && l.replicas[c.rand.IntN(shardsOfVoters)].group.Leading() {
				v = l
				break
			}
		}
	}
	other := c.nodes[c.rand.IntN(len(c.nodes))]
	switch n := c.rand.IntN(24); n {
	case 0, 1, 2: // at some file operation to come
		if v.up && v.until == 0 {
			v.until = 1 + c.rand.IntN([]int{3, 20, 100}[c.rand.IntN(3)])
			c.note("node %d: power goes in %d operations", v.id, v.until)
		}
	case 3:
		v.dieSoon(powerLoss)
	case 4:
		v.dieSoon(killed)
	case 5, 6:
		c.note("node %d is cut off", v.id)
		c.report.Cuts++
		c.weather.Isolate(v.id, c.ids...)
	case 7, 8:
		if v != other {
			c.note("node %d does not hear %d", other.id, v.id)
			c.report.Cuts++
			c.weather.Cut(v.id, other.id)
		}
	case 9, 10, 11:
		c.note("no cuts")
		c.weather.Heal()
	case 12, 13:
		f := transport.Faults{
			Loss: c.rand.Float64() * 0.3, Repeat: c.rand.Float64() * 0.3,
			DelayMin: 100 * time.Microsecond, DelayMax: c.between(time.Millisecond, 300*time.Millisecond),
		}
		c.note("weather %+v", f)
		c.weather.Set(f)
	case 14:
		c.note("fair weather")
		c.fair()
	case 15, 16:
		v.pause(c.between(10*time.Millisecond, 4*time.Second))
	case 17:
		if v.up {
			v.slow = c.between(5*time.Millisecond, 400*time.Millisecond)
			c.note("node %d: its disk takes %v", v.id, v.slow)
			c.later(c.between(100*time.Millisecond, 2*time.Second), func() { v.slow = 0 })
		}
	case 18:
		if v.up {
			v.fill(c.rand.IntN(4 << 10))
			c.later(c.between(100*time.Millisecond, 2*time.Second), v.room)
		}
	case 19:
		if v.up {
			c.note("node %d: syncs fail", v.id)
			c.report.SyncErrors++
			v.syncs = errors.New("input/output error")
		}
	case 20:
		v.skew = c.between(-3*time.Second, 3*time.Second)
		c.note("node %d: its clock is off by %v", v.id, v.skew)
	case 21:
		if v.up {
			r := v.replicas[c.rand.IntN(shardsOfVoters)]
			if r.group.Transfer(other.id) == nil {
				c.note("node %d: shard %d is to be led by %d", v.id, r.id, other.id)
			}
		}
	case 22: // the power of the whole building
		if c.rand.IntN(3) == 0 {
			c.note("blackout")
			c.report.Blackouts++
			for _, v := range c.nodes {
				v.dieSoon(powerLoss)
			}
		}
	case 23: // one node is lost with its disk
		if c.report.Destroyed == 0 && c.rand.IntN(4) == 0 && c.mortal {
			v.destroy()
		}
	}
}

// recover ends all that goes wrong.
func (c *cluster) recover() {
	c.calm = true
	c.weather.Heal()
	c.fair()
	for _, v := range c.nodes {
		v.well()
	}
}

// led: every shard has a leader.
func (c *cluster) led() bool {
	for shard := range shardsOfVoters {
		if c.leader(storage.ShardID(shard)) == nil {
			return false
		}
	}
	return true
}

// leader is who leads a shard at this moment; nil: nobody.
func (c *cluster) leader(shard storage.ShardID) *replica {
	for _, v := range c.nodes {
		if v.runs() && v.replicas[shard].leads() {
			return v.replicas[shard]
		}
	}
	return nil
}

// asked: every client is through.
func (c *cluster) asked() bool {
	for _, a := range c.clients {
		if !a.through {
			return false
		}
	}
	return true
}

// equal: all members have applied all that was agreed on, and clients have the last answers.
func (c *cluster) equal() bool {
	if !c.asked() {
		return false
	}
	for shard := range shardsOfVoters {
		for _, id := range c.now(storage.ShardID(shard)).All() {
			if v := c.nodes[id-1]; !v.lost() && !c.current(v, storage.ShardID(shard)) {
				return false
			}
		}
	}
	return true
}

// current tells whether a node has applied all that was agreed on in a shard.
func (c *cluster) current(v *voter, shard storage.ShardID) bool {
	log := c.logs[shard]
	return v.runs() && v.replicas[shard].index == log[len(log)-1].index
}

// compare compares the machines, and what partitions hold, of all members.
func (c *cluster) compare() error {
	for shard := range shardsOfVoters {
		var first *replica
		for _, v := range c.nodes {
			if v.lost() || !c.current(v, storage.ShardID(shard)) {
				continue
			}
			r := v.replicas[shard]
			if first == nil {
				first = r
				continue
			}
			if a, b := first.encode(), r.encode(); string(a) != string(b) {
				return fmt.Errorf("shard %d: nodes %d and %d differ after entry %d:\n%s", shard, first.v.id, v.id, r.index, difference(a, b))
			}
			a, err := first.partition()
			if err != nil {
				return err
			}
			b, err := r.partition()
			if err != nil {
				return err
			}
			if fmt.Sprint(a) != fmt.Sprint(b) {
				return fmt.Errorf("shard %d: the partition of node %d is %v, of node %d %v", shard, first.v.id, a, v.id, b)
			}
		}
	}
	return nil
}

// standing tells how everything stands.
func (c *cluster) standing() string {
	text := ""
	for _, v := range c.nodes {
		text += fmt.Sprintf("\n node %d: up %v, paused %v, out %v", v.id, v.up, v.paused > 0, v.out)
		for _, r := range v.replicas {
			if v.up && r != nil {
				text += fmt.Sprintf("\n  shard %d: %+v, applied %d", r.id, r.group.Status(), r.index)
			}
		}
	}
	for _, a := range c.clients {
		if !a.through {
			text += fmt.Sprintf("\n client %d waits, %d to go", a.number, a.left)
		}
	}
	return text
}

// end takes everything down.
func (c *cluster) end() {
	for _, v := range c.nodes {
		if v.up {
			v.die(killed)
		}
	}
}
