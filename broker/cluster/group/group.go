// Package group gives a shard its replicated log: raft groups, many to a node.
//
// A Host is one node's share of every group. A few workers drive all groups of
// the node; each group belongs to one worker, and everything of raft happens on
// that worker's goroutine, so that nothing of it needs a lock. What others do
// (Propose, Host.Receive, the log's Done) puts work into the group's inbox and
// returns.
//
//	Propose ─┐                    ┌─ Log.Append … Done ─┐
//	Receive ─┼─▶ inbox ─▶ raft ───┼─ Transport.Send     ├─▶ inbox
//	time    ─┘                    └─ Machine.Apply      ┘
//
// A group of one member takes the same path as a group of three: an entry is
// applied once a quorum has it on its log, and the only vote of such a quorum is
// cast by this node's own Log calling Done.
//
// # Time
//
// Election time is ours: raft's own timeouts are never reached. Election.go says
// how leaders are made, and when one that lost its quorum stops leading. A group
// of one member campaigns when it is opened, and sets no timer as long as it is that.
//
// # Members
//
// Voters and learners are changed by entries of the log, one change at a time: members.go.
//
// # Determinism
//
// A Host with no workers has no goroutines: the caller calls Step. With a virtual
// clock, a transport and a log of the caller's own, one seed replays a cluster.
//
// # What can go wrong
//
//   - The log fails: the group stops at once and for good. Status.Err says why,
//     the machine is told that it leads no more, and nothing is tried again.
//   - A peer's bytes make no sense: dropped and counted.
//   - A peer proves that this node's log has lost what it once promised to hold:
//     the group stops, so that it neither votes nor leads. One that was opened with
//     nothing at all goes on, without a vote, until it has again what it had.
//   - A member lacks more than a leader has in memory: behind.go.
package group

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/storage"
)

// Limits of one group.
const (
	// EntryMax is the size of an entry in bytes.
	EntryMax = storage.EntryBytesMax

	entriesMaxDefault = 1024     // entries in flight
	bytesMaxDefault   = 64 << 20 // bytes in flight
	catchUpDefault    = 64 << 20 // bytes of applied entries kept for a voter that lags

	messagesMax = 4096 // messages of peers that wait in an inbox; more are dropped, as a network would
)

// Machine is what a group replicates. Its methods are called on the worker's
// goroutine, one at a time, and must not block. They may call Propose.
type Machine interface {
	// Apply gives committed entries in order, each exactly once for one opening of
	// the group. Entries of raft's own (a leader's first one, changes of members)
	// are not shown. The slice is reused after the call; Data may be kept, and, while this node
	// is the only member, written to: nothing reads it any more. Nudge has it called with none.
	Apply(entries []storage.Entry)
	// Members tells that the entry of that index and term has changed the members, in order with
	// Apply: a checkpoint that ends there, or later, is to have them. This node may be none of
	// them: it is out then, and may go on; or never hear of it.
	Members(index, term uint64, m storage.Members)
	// Lead tells that this node began to lead in a term, or ceased to. leading is
	// told only once every entry of earlier terms is applied. After leading=false
	// what was proposed may still be applied, or never. One term may be told twice:
	// a leader that lost sight of its quorum and found it again.
	Lead(term uint64, leading bool)
	// Follow tells which other voter leads, as far as this node knows; 0: none. What was
	// proposed here and is not applied by then may be lost, and is to be proposed again.
	Follow(leader uint64)
	// Behind tells that a leader has not any more what this node lacks: what it has begins
	// after the entry of that index and term (0: not known). true: the machine fetches a state as new
	// as that, or newer, in its own time, and then calls Install and Resume. Nothing is applied until
	// Resume. false: it does not, and is told again.
	Behind(leader, index, term uint64) bool
	// Stopped tells that the group has ended, for good: nothing more is applied. err says
	// why; it is a fault.Unavailable when the group was closed.
	Stopped(err error)
}

// Config opens a group.
type Config struct {
	Shard storage.ShardID
	// Members are the nodes of the group as of Applied. Empty: this node alone. A node that begins
	// with nothing and is none of them waits to be added: then it does not matter who they are.
	Members storage.Members
	// Forsake has this node go on alone: the other members are gone for good, and with them the
	// quorum. What its log has is committed, also what a quorum never had; what it has not, and
	// others had, is lost. The machine is told of the members once that is so, and a checkpoint is
	// to have them before the next opening, which else needs Forsake again. If the others are
	// not gone there are two groups.
	Forsake bool
	Log     storage.Log
	// Sync makes a promise wait for the device: votes and entries are durable
	// before anybody is told of them. Without it entries wait for the operating system;
	// terms are durable all the same, so that no two lives of a group share one.
	Sync bool
	// Applied and AppliedTerm name the last entry that the machine has taken in:
	// its checkpoint. Zero: none.
	Applied, AppliedTerm uint64
	Machine              Machine
	// Bind, if set, is given the group before the machine is told anything: entries
	// may be applied before Open has returned. It must not call the host.
	Bind func(*Group)

	// EntriesMax and BytesMax bound what was proposed and is not applied; beyond
	// them Propose refuses. ProposeControl has as much again to itself. 0: default.
	EntriesMax, BytesMax int
	// CatchUp bounds the applied entries kept for members that lag, in bytes. A group
	// of one member keeps none. 0: default.
	CatchUp int
}

// Status is a group as of the end of its worker's last step.
type Status struct {
	Leader  uint64 // node; 0 when none is known
	Leading bool   // this node leads, and has applied all of earlier terms
	Term    uint64
	Commit  uint64
	Applied uint64
	Members storage.Members // as of Applied; not to be changed
	// InFlight counts what was proposed here and is not applied.
	InFlight, InFlightBytes int
	// LogBytes are held in memory for the log's sake.
	LogBytes int
	// Stranded says that a member lacks entries that this leader no longer has: it needs the
	// machine's state.
	Stranded bool
	// Behind says that this node is such a member, and its machine is at it.
	Behind bool
	// Dropped counts messages of peers that were malformed or one too many.
	Dropped uint64
	Err     error // why the group stopped; nil while it runs
}

// Group is this node's replica of one shard's log.
//
// Ownership:
//   - worker: everything under "worker's", touched by its goroutine only.
//   - mu: the inbox, what Propose checks, and the published status. Never held
//     while the log, the machine or the transport is called.
type Group struct {
	shard   storage.ShardID
	host    *Host
	worker  *worker
	log     storage.Log
	sync    bool
	machine Machine
	limits  limits
	logger  *slog.Logger
	onWrote func(error) // wrote, bound once

	// leaseEnd is until when this node may count on leading, in link time since
	// the host's epoch. leaseNone: it does not lead; leaseForever: nobody else can.
	leaseEnd atomic.Int64

	// committed is raft's commit index, before anybody is told of it; caughtUp is where the machine is.
	committed, caughtUp atomic.Uint64

	mu        sync.Mutex
	in        inbox
	scheduled bool // in the worker's list
	open      bool // Propose is admitted: leading, not stopped
	flight    [classes]flight
	status    Status
	changing  bool          // a change of members was asked for here, and has not come to an end
	heard     []answer      // by member, of the voter that leads
	turned    chan struct{} // closed at the next change of leading, or end; nil: nobody waits
	moved     chan struct{} // closed when caughtUp grows, or at the end; nil: nobody waits

	// worker's
	node    *raft.RawNode
	entries *entryLog
	spare   inbox // the other half of the inbox's double buffer
	writes  []write
	done    bool // failed or closed

	role      raft.StateType
	leader    uint64
	hard      storage.HardState // as raft has it
	hardSaved storage.HardState // as last handed to the log
	applied   uint64
	shown     uint64 // the last entry that the machine was told of
	members   storage.Members
	single    bool   // members are this node alone
	leadTerm  uint64 // term in which this node is raft's leader; 0 otherwise
	early     int    // bytes that were forwarded here in leadTerm before it was settled
	settled   bool   // an entry of leadTerm is applied
	told      bool   // the machine believes that it leads
	peers     []peer // by id: the members, while this node is raft's leader
	forsaken  uint64 // the last entry of a log whose other members are gone: changes up to it count for nothing
	handed    uint64 // term in which it has tried to hand over, for being no voter any more

	pending []sized // proposals of leadTerm that are not applied, in order

	nudged     bool          // the machine is to be called though there is nothing to apply
	held       bool          // Behind was told, and Resume not called
	heldBack   []*pb.Message // what raft wanted applied since; bounded by applyMax
	installing *install      // raft is down until Resume; nil: it is not
	strandedAt instant       // when a member was last found to be stranded; 0: never
	forgot     bool          // opened with less than it may have promised to hold
	waits      bool          // it has nothing, and is not a member: no entries before a state, and no votes
	lostTo     uint64        // a commit index that this node may once have promised: no votes below it
	mark       storage.Entry // where an installation ended that was not ended: no votes for who has less

	checkpoint uint64 // Checkpointed's index
	releasedTo uint64 // Log.Release's

	now      instant // when the step began
	timed    bool    // in the worker's list of those to which time matters
	time     election
	answered []instant // scratch of lease
	rand     *rand.Rand
}

type limits struct {
	entries, bytes, catchUp int
}

// Proposals are of two classes, with a budget each: what a client adds, and what
// takes away. So a broker that is full can still be emptied. What other voters forward
// is bounded by them, and by the network's frames.
const (
	classPublish = iota
	classControl
	classes
	classForwarded = classes // has no budget
)

// forwardMax bounds, in bytes, what one step forwards to the leader; what is beyond is lost,
// as in a network, and proposed again.
const forwardMax = 64 << 20

// sized is what is remembered of a proposal until it is applied.
type sized struct {
	class, bytes int
}

// flight is what was proposed in one class and is not applied.
type flight struct {
	entries, bytes int
}

// proposal is one entry to be.
type proposal struct {
	data  []byte
	class int
}

// write is one write that the log has not finished, and what raft wants said
// once it has.
type write struct {
	responses []*pb.Message
	install   *install // is told once it has ended; nil: nobody
}

// inbox is what waits for the worker.
type inbox struct {
	proposals []proposal
	forwards  []proposal // made while this node did not lead
	forwarded int        // bytes of forwards
	messages  []received
	writes    int // the log has finished so many more
	err       error
	change    *pb.ConfChangeV2
	transfer  uint64        // the voter to lead next
	released  storage.Entry // Checkpointed: index and term
	install   *install
	resume    bool
	nudge     bool
	close     bool
}

func (in *inbox) reset() {
	clear(in.proposals)
	clear(in.forwards)
	clear(in.messages)
	*in = inbox{proposals: in.proposals[:0], forwards: in.forwards[:0], messages: in.messages[:0]}
}

// Propose asks that data become the next entry. It never blocks. nil means only
// that it is on its way: it is in the log once Machine.Apply shows it. It is lost,
// or may be, when Machine.Lead tells that this node ceased to lead.
//
// Unavailable: this node does not lead, or the group has stopped. Exhausted: as
// much as is allowed is in flight. data must not change until it is applied or
// lost: the group copies it on its way.
func (g *Group) Propose(data []byte) error { return g.propose(data, classPublish) }

// ProposeControl is Propose for entries that take away or give leave: settle,
// credit, detach, tick, delete. They have a budget of their own. The order of all
// proposals is that of the calls, whatever their class.
func (g *Group) ProposeControl(data []byte) error { return g.propose(data, classControl) }

func (g *Group) propose(data []byte, class int) error {
	switch {
	case len(data) == 0:
		return fault.New(fault.Invalid, "propose", g.name(), "an entry of no bytes")
	case len(data) > EntryMax:
		return fault.New(fault.TooLarge, "propose", g.name(), "an entry of %d bytes; %d at most", len(data), EntryMax)
	}
	g.mu.Lock()
	if !g.open {
		err := g.status.Err
		switch {
		case err != nil:
			g.mu.Unlock()
			return &fault.Error{Kind: fault.Unavailable, Op: "propose", Target: g.name(), Err: err}
		case g.host.transport == nil:
			g.mu.Unlock()
			return fault.New(fault.Unavailable, "propose", g.name(), "this node does not lead the shard")
		case g.in.forwarded+len(data) > forwardMax:
			g.mu.Unlock()
			return nil
		}
		g.in.forwards = append(g.in.forwards, proposal{data, classForwarded})
		g.in.forwarded += len(data)
		g.scheduleUnlock()
		return nil
	}
	f := &g.flight[class]
	if f.entries >= g.limits.entries || f.bytes+len(data) > g.limits.bytes && f.entries > 0 {
		g.mu.Unlock()
		return fault.Of(fault.Exhausted, "propose", g.name())
	}
	f.entries++
	f.bytes += len(data)
	g.in.proposals = append(g.in.proposals, proposal{data, class})
	g.scheduleUnlock()
	return nil
}

// Status returns the group as of the worker's last step.
func (g *Group) Status() Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.status
	for _, f := range g.flight {
		s.InFlight += f.entries
		s.InFlightBytes += f.bytes
	}
	return s
}

// Leading tells whether this node leads at this very moment: nobody else can have
// been elected while it returns true. It looks at the clock, so that a process
// that was stopped for a while does not believe what it knew before.
func (g *Group) Leading() bool {
	switch end := g.leaseEnd.Load(); end {
	case leaseNone:
		return false
	case leaseForever:
		return true
	default:
		return int64(g.host.now()) < end
	}
}

// Leader is the voter that leads, as far as this node knows, and the term in which it does; 0:
// it knows none.
func (g *Group) Leader() (node, term uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.status.Leader, g.status.Term
}

// answer is what a leader knows of a member.
type answer struct {
	node  uint64
	at    instant // when it was last heard of
	lag   uint64  // entries that it has not acknowledged
	acked bool    // it has acknowledged some
	needs bool    // it lacks some that are not here any more
}

// Members are the nodes of the group as this replica has applied them; not to be changed.
func (g *Group) Members() storage.Members {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.status.Members
}

// Silence tells how long it is that a member has not answered, as this node sees it: the time
// since it sent what the member last answered to. 0 where this node does not lead.
func (g *Group) Silence(node uint64) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.status.Leading {
		return 0
	}
	for _, a := range g.heard {
		if a.node == node {
			return time.Duration(g.host.now() - a.at)
		}
	}
	return 0
}

// Lag tells how many entries of the leader's log a member has not acknowledged. false: this node
// does not lead, or is the only member, or knows of no such member.
func (g *Group) Lag(node uint64) (entries uint64, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.status.Leading {
		return 0, false
	}
	for _, a := range g.heard {
		if a.node == node {
			return a.lag, true
		}
	}
	return 0, false
}

// Needs tells whether a member lacks entries that this node, which leads, has no longer: it is to take in a
// state first.
func (g *Group) Needs(node uint64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.status.Leading && slices.ContainsFunc(g.heard, func(a answer) bool { return a.node == node && a.needs })
}

// Await returns once this node leads, with the error of ctx, or with that which
// stopped the group.
func (g *Group) Await(ctx context.Context) error {
	for {
		g.mu.Lock()
		open, err := g.open, g.status.Err
		if g.turned == nil {
			g.turned = make(chan struct{})
		}
		turned := g.turned
		g.mu.Unlock()
		switch {
		case open:
			return nil
		case err != nil:
			return &fault.Error{Kind: fault.Unavailable, Op: "wait to lead", Target: g.name(), Err: err}
		}
		select {
		case <-turned:
		case <-ctx.Done():
			return &fault.Error{Kind: fault.Timeout, Op: "wait to lead", Target: g.name(), Err: ctx.Err()}
		}
	}
}

// CatchUp returns once the machine has been told of all that this node knew to be committed: at once,
// nearly always. The other members may have an entry, and answer for it, before this node's own disk does: who
// is asked for what is the newest, and leads, waits for that. The error is that of ctx, or what stopped the group.
func (g *Group) CatchUp(ctx context.Context) error {
	for to := g.committed.Load(); g.caughtUp.Load() < to; {
		g.mu.Lock()
		err := g.status.Err
		if g.moved == nil {
			g.moved = make(chan struct{})
		}
		moved := g.moved
		g.mu.Unlock()
		switch {
		case g.caughtUp.Load() >= to:
			return nil
		case err != nil:
			return &fault.Error{Kind: fault.Unavailable, Op: "catch up", Target: g.name(), Err: err}
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return &fault.Error{Kind: fault.Timeout, Op: "catch up", Target: g.name(), Err: ctx.Err()}
		}
	}
	return nil
}

// moveLocked wakes those who wait for entries to be applied. Caller holds g.mu.
func (g *Group) moveLocked() {
	if g.moved != nil {
		close(g.moved)
		g.moved = nil
	}
}

// turnLocked wakes those who wait for a change of leading. Caller holds g.mu.
func (g *Group) turnLocked() {
	if g.turned != nil {
		close(g.turned)
		g.turned = nil
	}
}

// Checkpointed says that the machine's state at an index is safe elsewhere, so
// that entries at or below it are needed by lagging members alone.
func (g *Group) Checkpointed(index, term uint64) {
	g.mu.Lock()
	if index > g.in.released.Index {
		g.in.released = storage.Entry{Index: index, Term: term}
	}
	g.scheduleUnlock()
}

// Nudge has Machine.Apply called with no entries, soon, or once a state has been taken in: so that
// what is the applying goroutine's to do is done though nothing is committed.
func (g *Group) Nudge() {
	g.mu.Lock()
	g.in.nudge = true
	g.scheduleUnlock()
}

// Transfer asks that another voter lead. From the worker's next step on Propose refuses, until that,
// or until an election timeout has shown that it will not happen.
func (g *Group) Transfer(to uint64) error {
	g.mu.Lock()
	if !g.open {
		g.mu.Unlock()
		return fault.New(fault.Unavailable, "transfer", g.name(), "this node does not lead the shard")
	}
	if to == g.host.self || !slices.Contains(g.status.Members.Voters, to) {
		g.mu.Unlock()
		return fault.New(fault.Invalid, "transfer", g.name(), "node %d is no other voter", to)
	}
	g.in.transfer = to
	g.scheduleUnlock()
	return nil
}

// Close ends the group at its worker's next step. What is in flight has an
// uncertain end; the log is left as it is.
func (g *Group) Close() {
	g.mu.Lock()
	g.in.close = true
	g.scheduleUnlock()
}

// scheduleUnlock sees to it that the worker looks into the inbox. Caller holds
// g.mu, and has lost it afterwards.
func (g *Group) scheduleUnlock() {
	was := g.scheduled
	g.scheduled = true
	g.mu.Unlock()
	if !was {
		g.worker.push(g)
	}
}

// wrote is the log's Done for every write of the group: they end in their order,
// so that counting them is enough.
func (g *Group) wrote(err error) {
	g.mu.Lock()
	if err != nil {
		if g.in.err == nil {
			g.in.err = err
		}
	} else {
		g.in.writes++
	}
	g.scheduleUnlock()
}
