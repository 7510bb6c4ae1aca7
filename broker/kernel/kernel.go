// Package kernel routes messages, keeps them in logs and remembers who has seen
// them. It knows no wire protocol: adapters turn theirs into the calls of this package
// and turn what comes back into theirs.
//
// The parts, and the file that each begins in:
//
//	publish.go     one message in: match, group, append, answer
//	topology.go    what matches: subscriptions, exchanges, bindings, streams
//	shard_run.go   one shard: gathers commands into entries, applies, hands effects on
//	shard/         the deterministic machine that a shard runs
//	log0.go        metadata: the machine in meta/, replicated as shard 0
//	tail.go        the newest batches of a log, in memory before its segment
//	save.go        checkpoints beside applying
//	session.go queue.go stream.go group.go    what adapters call
package kernel

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel/group"
	"github.com/robustmq/rmq/broker/kernel/meta"
	"github.com/robustmq/rmq/broker/kernel/shard"
	"github.com/robustmq/rmq/broker/storage"
)

// Config says what a kernel stands on.
type Config struct {
	Engine storage.Engine
	// OpenGroup opens the replicated log of a shard; entries after Applied are given to
	// the machine, then Lead is called.
	OpenGroup func(GroupSpec) (Group, error)
	Time      clock.Clock // broker time
	Link      clock.Clock // link time
	Log       *slog.Logger
	// Self is this node's id; 0: 1. Voters are the nodes that the cluster began with; nil: this
	// one alone. Who votes later is log 0's to say.
	Self   uint64
	Voters []uint64
	// Replicas is how many nodes are to vote on each shard, where there are as many; 0: 3.
	Replicas int
	// Rack says what fails together with this node, and Peer where others find it: host:port.
	Rack, Peer string
	// Peers leads to the other nodes' Kernel.Receive; nil: this broker is no node of a cluster.
	Peers Peers
	// Forsake has this node go on alone, for the others are gone for good: group.Config says what
	// that costs. They are removed, and Open returns once a checkpoint of everything says so.
	Forsake bool
	// Removed, if set, is called when the cluster does without this node from now on.
	Removed func()
	// NodesChanged, if set, is called when Nodes, or what it tells of one, has changed here. It must
	// not block.
	NodesChanged func()
	// ItemsChanged, if set, is called when an item of any table, or a setting, has changed here. It must not block.
	ItemsChanged func()
	// Bind, if set, is given the kernel before it opens anything: from then on it may Receive, and
	// must, for a node that is behind has to fetch what it lacks.
	Bind func(*Kernel)
	// CatchUpRate bounds, in bytes a second, what this node fetches when it is behind, so that who
	// gives it has time for others. 0: 64 MiB.
	CatchUpRate int64

	// DataShards is how many shards of each durability carry queues, sessions, groups and
	// streams; 0: one per processor, at most 4. Kept from the first start on.
	DataShards int
	// Capture makes a stream of the first level for MQTT and AMQP traffic that has no
	// home (profile dev).
	Capture bool
	// Durability of the default namespace, given at its first start; "": Sync then. Another than it
	// has is refused.
	Durability Durability
	// CheckpointBytes is how much a shard applies between checkpoints; 0: 64 MiB.
	CheckpointBytes int
	// SpaceReserve is how many bytes of the device publishes leave free; 0: a 32nd of it,
	// 4 to 64 MiB.
	SpaceReserve int64
}

// GroupSpec asks for one shard's log.
type GroupSpec struct {
	Shard                storage.ShardID
	Sync                 bool
	Applied, AppliedTerm uint64
	Members              storage.Members // as of Applied
	Forsake              bool            // they are gone, but for this node
	Machine              Machine
	// Bind is given the group before the machine is told anything.
	Bind func(Group)
	// What the kernel has in flight stays below these.
	EntriesMax, BytesMax int
}

// Peers carries frames to other nodes: it may lose them, and does not block. A frame is its own
// from then on.
type Peers interface {
	Send(to uint64, frame []byte)
}

// DefaultNamespace always exists.
const DefaultNamespace = "/"

// Kernel is one node's kernel. Safe for concurrent use.
//
// Lock order: sharing → sessionsMu → topology.mu → shardRun.mu → tail.mu.
type Kernel struct {
	cfg         Config
	engine      storage.Engine
	time        clock.Clock
	log         *slog.Logger
	incarnation uint64

	meta      *log0 // log 0
	transient *log0 // what dies with the broker
	topo      topology

	data   []*shardRun // synced, in the order of their ids
	async  []*shardRun // handed to the operating system
	memory []*shardRun // not logged, of what log 0 names
	local  *shardRun   // not logged, of what dies with the broker
	shards map[uint32]*shardRun

	sessionsMu sync.Mutex
	sessions   map[string]*sessionRoute // by shard.SessionKey
	sharers    map[string]int           // sessions in a shared subscription, by namespace, 0, filter
	sharing    sync.RWMutex             // held to delete a shared subscription's queue; for reading, to join it

	attachMu  sync.RWMutex
	attached  map[uint64]*Attachment
	attachSeq atomic.Uint64

	newest     atomic.Int64   // the newest time in ms that was stamped, ever: see nowMs
	ills       atomic.Int32   // logs that are ill, of all shards
	carryMax   int64          // of one log; tests make it small
	capturing  chan struct{}  // capacity 1: taken by who makes a captured stream
	background sync.WaitGroup // checkpoints, dead letters, wills: ended by Close
	spawnMu    sync.Mutex     // orders spawn and the wait for background
	spawned    bool           // no more are: Close waits
	closing    atomic.Bool
	ending     atomic.Bool // closing, or shards are being stopped before that
	failed     atomic.Pointer[error]
	ctx        context.Context
	cancel     context.CancelFunc

	access    accessVersions
	works     works
	pressure  pressure
	groups    groups
	retention chore
	upkeep    chore
	damage    damages
	stats     Stats
	taps      taps
	recorders recorders
	changes   changes
	leads     atomic.Uint64 // how often this node has begun or ceased to lead a shard
	syncing   syncing
	nodes     nodes
	moves     moves
	seen      seen
	fetches   fetches
	offers    offers
	made      atomic.Bool // shards are there, each to be opened
	opened    atomic.Bool // Open is over
	expelled  atomic.Bool // Expel was called
	restarts  []Restart   // set by open
}

// Open starts a kernel on what the engine holds.
func Open(cfg Config) (*Kernel, error) {
	if cfg.DataShards == 0 {
		cfg.DataShards = min(max(runtime.GOMAXPROCS(0), 1), 4)
	}
	if cfg.DataShards < 0 || cfg.DataShards > DataShardsMax {
		return nil, fault.New(fault.Invalid, "open", "kernel", "%d data shards, 1 to %d allowed", cfg.DataShards, DataShardsMax)
	}
	if cfg.CheckpointBytes == 0 {
		cfg.CheckpointBytes = 64 << 20
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Self == 0 {
		cfg.Self = 1
	}
	if cfg.CatchUpRate == 0 {
		cfg.CatchUpRate = fetchDefault
	}
	if cfg.Voters == nil {
		cfg.Voters = []uint64{cfg.Self}
	}
	if cfg.Replicas == 0 {
		cfg.Replicas = replicasDefault
	}
	if cfg.Peers == nil && !slices.Equal(cfg.Voters, []uint64{cfg.Self}) {
		return nil, fault.New(fault.Invalid, "open", "kernel", "voters %v, and no way to them", cfg.Voters)
	}
	k := &Kernel{
		cfg: cfg, engine: cfg.Engine, time: cfg.Time, log: cfg.Log,
		sessions: make(map[string]*sessionRoute),
		sharers:  make(map[string]int),
		attached: make(map[uint64]*Attachment),
		shards:   make(map[uint32]*shardRun),
		carryMax: carryMax,
		works:    works{more: make(chan struct{}, 1)}, capturing: make(chan struct{}, 1),
	}
	k.ctx, k.cancel = context.WithCancel(context.Background())
	k.pressure.init()
	k.topo.init()
	k.seen.waiting = make(map[uint64]chan struct{})
	k.groups.waiting, k.groups.timers = make(map[uint64]func(*group.Effect)), make(map[timerKey]*groupTimer)
	k.fetches.slots, k.fetches.byID = make(chan struct{}, fetchesMax), make(map[uint64]*fetch)
	k.offers.byID = make(map[uint64]*offer)
	k.moves.poke = make(chan struct{}, 1)
	if cfg.Bind != nil {
		cfg.Bind(k)
	}
	if err := k.open(); err != nil {
		if k.expelled.Load() {
			err = k.errRemoved()
		}
		// The owner closes the engine next, and whoever opens it then must find nobody at it.
		return nil, errors.Join(err, k.Close(context.Background()))
	}
	k.opened.Store(true)
	if k.expelled.Load() {
		return nil, errors.Join(k.errRemoved(), k.Close(context.Background()))
	}
	k.spawn(k.letters)
	k.spawn(k.watchSpace)
	k.retention.start(k, retentionPeriod, k.sweepStreams)
	k.upkeep.start(k, upkeepPeriod, k.keepUp)
	k.watchNodes()
	if k.Clustered() {
		k.spawn(k.keepMoving)
		k.nodesChanged() // whatever came of log 0 while this was opening
	}
	return k, nil
}

func (k *Kernel) open() error {
	if err := k.openLog0(); err != nil {
		return err
	}
	var r meta.Result
	err := untilKnown(func() (err error) {
		r, err = k.meta.do(k.ctx, &meta.Command{
			Op: meta.StartNode, N: int64(k.cfg.DataShards), Name: newClusterID(),
			Node: &meta.Node{ID: k.cfg.Self, Rack: k.cfg.Rack, Peer: k.cfg.Peer},
		})
		return err
	})
	if fault.Is(err, fault.Conflict) {
		return k.errRemoved()
	}
	if err != nil {
		return err
	}
	k.incarnation = uint64(r.Number)
	k.groups.token.Store(k.incarnation << 40)
	space, ok := k.Namespace(DefaultNamespace)
	want := k.cfg.Durability
	switch {
	case !ok:
		if _, _, err := k.putNamespace(k.ctx, &meta.Command{Op: meta.CreateNamespace, Namespace: DefaultNamespace, Durability: want}); err != nil {
			return err
		}
	case want != "" && want != space.Durability:
		return fault.New(fault.Conflict, "open", "namespace "+DefaultNamespace, "its durability is %s, and not %s", space.Durability, want)
	}
	k.meta.applying.Lock()
	k.topo.mu.Lock() // asksOf looks at shards
	k.transient = k.meta
	if !k.Clustered() {
		k.transient = newLog0(k, meta.NewTransient(), 0)
		k.transient.group = &immediate{m: k.transient, term: 1}
	}
	for i := range k.meta.view.Load().DataShards() {
		id := storage.ShardID(i)
		k.data = append(k.data, k.newShard(firstSync+id, classSync))
		k.async = append(k.async, k.newShard(firstAsync+id, classAsync))
		k.memory = append(k.memory, k.newShard(firstMemory+id, classMemory))
	}
	k.local = k.newShard(localShard, classTransient)
	k.topo.mu.Unlock()
	k.rebuild(k.meta.view.Load())
	k.meta.applying.Unlock()
	k.made.Store(true)
	errs := make(chan error, len(k.shards))
	for _, s := range k.shards {
		go func() { errs <- s.fenced(s.open()) }()
	}
	for range k.shards {
		err = errors.Join(err, <-errs)
	}
	if err != nil {
		return err
	}
	if k.Clustered() {
		if k.cfg.Forsake {
			return k.forsake()
		}
		return k.awaitAll() // who comes to lead a shard looks after it
	}
	for _, s := range k.shards {
		k.stamped(s.now())
		k.restoreRoutes(s)
		k.restoreGroups(s)
	}
	k.lookBack()
	return k.reconcile()
}

func (k *Kernel) openLog0() error {
	at, pairs, err := k.engine.Checkpoints().Load(0)
	if err != nil {
		return fault.New(fault.Internal, "open", "log 0", "%w", err)
	}
	state := new(meta.State)
	if err := state.Restore(pairs); err != nil {
		return err
	}
	l := newLog0(k, state, newOrigin())
	l.index, l.term, l.members = at.Index, at.Term, k.membersAt(at)
	k.topo.mu.Lock()
	k.meta = l
	k.topo.mu.Unlock()
	_, err = k.cfg.OpenGroup(GroupSpec{
		Shard: 0, Sync: true, Applied: at.Index, AppliedTerm: at.Term, Members: l.members, Forsake: k.cfg.Forsake, Machine: k.meta, Bind: func(g Group) { k.meta.group = g },
		EntriesMax: 1 << 16, BytesMax: 1 << 30,
	})
	if err != nil && at.Index == 0 && errors.Is(err, storage.ErrCorrupt) {
		return fmt.Errorf("checkpoints.db is missing, or has nothing of shard 0: %w", err)
	}
	return err
}

// membersAt are the members of a shard's group as of its checkpoint. Without one they are all that
// this node was told of.
func (k *Kernel) membersAt(at storage.CheckpointMeta) storage.Members {
	if len(at.Members.Voters) > 0 {
		return at.Members
	}
	return storage.Members{Voters: k.cfg.Voters}
}

func (k *Kernel) newShard(id storage.ShardID, c class) *shardRun {
	if k.Clustered() {
		c = classSync // what nodes share is on their logs: see nodes.go
	}
	s := &shardRun{
		k: k, id: id, class: c, building: new(pending), control: new(pending), tails: make(map[uint64]*tail), link: uint32(k.cfg.Self),
		fetched: make(map[uint64]storage.Segment), members: storage.Members{Voters: []uint64{k.cfg.Self}},
	}
	s.saving.done, s.saving.writing = make(chan error, 1), make(chan struct{}, 1)
	k.shards[uint32(id)] = s
	return s
}

// open loads the shard's checkpoint and replays what the log holds after it.
func (s *shardRun) open() error {
	if !s.class.logged() {
		s.m = shard.NewTransient()
		s.live = true
		s.addTail(shard.Bodies, "", 0, 0)
		// Each life of what is not kept is an epoch of its own.
		s.group = &immediate{m: s, term: s.k.incarnation}
		s.epoch.Store(int32(s.k.incarnation))
		return nil
	}
	s.m = shard.New()
	at, pairs, err := s.k.engine.Checkpoints().Load(s.id)
	if err != nil {
		return fault.New(fault.Internal, "open", s.name(), "%w", err)
	}
	m, carried, err := restored(pairs)
	if err != nil {
		return err
	}
	s.m, s.carried = m, ends(carried)
	for l := range m.Logs() {
		t := s.addTail(l.ID, l.Address, l.Start, l.Next)
		t.restore(carried[l.ID])
		if err := t.mount(); err != nil {
			return err
		}
	}
	s.addTail(shard.Bodies, "", 0, m.Bodies().Next)
	s.index, s.term, s.members = at.Index, at.Term, s.k.membersAt(at)
	if s.k.Clustered() {
		s.live = true
		s.k.stamped(m.Now())
		s.k.restoreRoutes(s) // and from here on effects keep them
	}
	_, err = s.k.cfg.OpenGroup(GroupSpec{
		Shard: s.id, Sync: s.class == classSync, Applied: at.Index, AppliedTerm: at.Term, Members: s.members, Forsake: s.k.cfg.Forsake, Machine: s, Bind: func(g Group) { s.group = g },
		EntriesMax: 1 << 10, BytesMax: 1 << 30,
	})
	if err != nil {
		return err
	}
	s.begun.Store(true)  // what others lack they may have, though this node waits for more: they may wait for each other
	if s.k.Clustered() { // an entry of our own comes after all that was committed before
		if err := s.barrier(s.k.ctx); err != nil {
			return err
		}
	}
	return s.checkBegin()
}

// addTail makes the tail of a log, if it is not there.
func (s *shardRun) addTail(log uint64, address string, start, next int64) *tail {
	s.tailsMu.Lock()
	defer s.tailsMu.Unlock()
	if t := s.tails[log]; t != nil {
		return t
	}
	id := storage.LogID{Shard: s.id, Log: log}
	t := &tail{id: id, cold: &s.cold, address: address, start: start, next: next, first: next, flushed: next}
	t.seg = func() (storage.Segment, error) {
		if !s.class.logged() {
			return noSegment{}, nil
		}
		return t.openSegment(s.k.engine)
	}
	t.damaged = func(err error) { s.k.damaged(Damage{Shard: s.id, Log: log, Address: address, Err: err}) }
	t.saved.Store(next)
	s.tails[log] = t
	return t
}

// dropTail forgets a deleted log and removes its segment.
func (s *shardRun) dropTail(log uint64) {
	s.tailsMu.Lock()
	t := s.tails[log]
	delete(s.tails, log)
	s.tailsMu.Unlock()
	if t == nil {
		return
	}
	t.end()
	if !s.class.logged() {
		return
	}
	if err := s.k.engine.Segments().Remove(t.id); err != nil {
		s.k.log.Warn("segment not removed", "shard", s.id, "log", log, "err", err)
	}
}

func (s *shardRun) name() string { return fmt.Sprintf("shard %d", s.id) }

// stopped is told by groups that have ended. When that is because the node's log has stopped,
// nothing can be promised any more, and Err says so before anybody who waits is told.
func (k *Kernel) stopped(target string, err error) {
	if k.closing.Load() {
		return
	}
	if k.engine != nil {
		if err := k.engine.Log().Err(); err != nil {
			k.fail(fault.New(fault.Unavailable, "commit", "", "%w", err))
			return
		}
	}
	k.log.Warn("stopped", "target", target, "err", err)
}

// fail records the first error that makes the kernel unable to promise anything.
func (k *Kernel) fail(err error) {
	if k.failed.CompareAndSwap(nil, &err) {
		k.log.Error("stopped", "err", err)
	}
}

// Err is the error that stopped a part of the kernel, or nil.
func (k *Kernel) Err() error {
	if e := k.failed.Load(); e != nil {
		return *e
	}
	return nil
}

// Close ends sessions and attachments, refuses what comes after, and waits for what
// runs in the background. The engine and the groups are closed by their owner, after.
func (k *Kernel) Close(ctx context.Context) error {
	if !k.closing.CompareAndSwap(false, true) {
		return nil
	}
	k.ending.Store(true)
	k.endSessions()
	k.endAttachments()
	k.groups.close()
	k.retention.stop()
	k.upkeep.stop()
	k.nodes.stop()
	k.offers.close(k)
	k.syncing.close()
	k.cancel()
	closed := fault.Of(fault.Unavailable, "closing", "")
	for _, s := range k.shards {
		s.stopTimer()
		s.promised.stop()
		s.stop(closed)
	}
	for _, l := range []*log0{k.meta, k.transient} {
		if l != nil { // nil: it never opened
			l.stop(closed)
		}
	}
	k.spawnMu.Lock()
	k.spawned = true
	k.spawnMu.Unlock()
	done := make(chan struct{})
	go func() { k.background.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fault.New(fault.Timeout, "close", "kernel", "%w", ctx.Err())
	}
}

// spawn runs f on a goroutine that Close waits for; false: the kernel is closing.
func (k *Kernel) spawn(f func()) bool {
	k.spawnMu.Lock()
	defer k.spawnMu.Unlock()
	if k.spawned {
		return false
	}
	k.background.Add(1)
	go func() {
		defer k.background.Done()
		f()
	}()
	return true
}

// nowMs is broker time, in ms, as it is written to logs: it never goes back. While a clock that was
// set back has not caught up, it stands still, as the time of machines does; else what is
// stamped now, to live for a minute, would be over before it began. Timers go by the clock alone.
func (k *Kernel) nowMs() int64 {
	now := k.time.Now().UnixMilli()
	for {
		newest := k.newest.Load()
		if now <= newest {
			return newest
		}
		if k.newest.CompareAndSwap(newest, now) {
			return now
		}
	}
}

// stamped takes note of a time that was stamped, by an earlier life or by another node: what this one
// stamps is no older.
func (k *Kernel) stamped(ms int64) {
	for {
		newest := k.newest.Load()
		if ms <= newest || k.newest.CompareAndSwap(newest, ms) {
			return
		}
	}
}

// newClusterID makes a cluster id in Kafka's form: 16 random bytes in base64.
func newClusterID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(id[:])
}

// Cluster is the cluster's id, given at its first start.
func (k *Kernel) Cluster() string { return k.meta.view.Load().Cluster() }

// Now is broker time, for adapters that stamp what they hand in.
func (k *Kernel) Now() time.Time {
	now := k.time.Now()
	if newest := k.nowMs(); newest > now.UnixMilli() {
		return time.UnixMilli(newest)
	}
	return now
}

// Clock is broker time as Now tells it, for those who take a clock.
func (k *Kernel) Clock() clock.Clock { return steady{k} }

type steady struct{ k *Kernel }

func (s steady) Now() time.Time                                  { return s.k.Now() }
func (s steady) AfterFunc(d time.Duration, f func()) clock.Timer { return s.k.time.AfterFunc(d, f) }
