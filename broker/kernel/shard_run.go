package kernel

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/rmq/broker/fault"
	qm "github.com/robustmq/rmq/broker/kernel/queue"
	"github.com/robustmq/rmq/broker/kernel/shard"
	"github.com/robustmq/rmq/broker/storage"
)

// Group is one shard's replicated log, as the kernel uses it: package cluster/group
// offers it for shards that are logged, immediate.go for those that are not.
type Group interface {
	// Propose hands over one entry. It does not block; the entry comes back through
	// Machine.Apply once committed. An error says that it never will. data must not change
	// until then; what Apply is given is memory of its own, except from an immediate group,
	// which gives data itself.
	Propose(data []byte) error
	// Checkpointed says that no entry at or below index is needed again.
	Checkpointed(index, term uint64)
	// Nudge has Machine.Apply called with no entries, soon, unless the group ends.
	Nudge()
}

// Bounds of what waits before one shard's log.
const (
	groupMax    = 1 << 20  // bytes in one entry, before the next is begun; a single larger message stands alone
	inflightMax = 2        // entries proposed and not applied: one in the disk's hands, one behind it
	queuedMax   = 32 << 20 // bytes of publishes queued: beyond it the shard is crowded, and no more are let in
	roomAgain   = queuedMax / 2
)

// shardRun drives one shard: it gathers commands into entries, proposes them, applies
// what is committed, and hands the effects on.
//
// What waits for the log waits in one of two rows, each in order. Publishes are bounded by
// queuedMax; the door (pressure.go) lets none in beyond it. Control commands take away or give leave:
// settle, credit, detach, tick, delete. They are few bytes each, and bounded by what
// clients have in their hands. The next entry begins with all of them, up to groupMax, and
// goes on with the oldest publishes: so none waits behind what is published, and who
// settled before publishing finds the room that made. While the node's log lives on its
// reserve, entries have control commands alone.
//
// Ownership:
//   - mu: building, queue, control, controls, inflight, queued, proposing, stopped.
//   - The applying goroutine: m (others look at it under readMu), out, live, index, term.
//   - tailsMu: tails.
//
// Lock order: Kernel locks → shardRun.mu → tail.mu. mu is never held while the group
// is called, because an immediate group applies within Propose.
type shardRun struct {
	k     *Kernel
	id    storage.ShardID
	class class
	group Group
	link  uint32

	mu        sync.Mutex
	building  *pending   // publishes, being filled; never nil
	queue     []*pending // publishes
	control   *pending   // control commands, being filled; never nil
	controls  []*pending // control commands
	inflight  []*pending // proposed, in order of seq
	queued    int        // bytes of publishes in queue and inflight
	proposing bool
	lost      bool // what is in flight is to be proposed again
	held      int  // transactions being filled: nothing is proposed, and entries grow as they must
	stopped   error
	seq       uint64

	readMu    sync.RWMutex // held by the applying goroutine while m changes, by others to look
	m         *shard.Machine
	out       shard.Outcome
	live      bool  // replay is over: effects are carried out
	broken    bool  // an entry could not be applied: the state means nothing from there on
	fence     error // set by opening alone: what of the shard is damaged, so that it answers nothing
	index     uint64
	term      uint64
	members   storage.Members // of its group, as of index
	sinceSave int             // bytes of entries applied since the last checkpoint
	sinceLook int             // the same, since the last look at the device

	tailsMu sync.RWMutex
	tails   map[uint64]*tail
	cold    cold

	retaining retaining
	promised  promises

	crowded atomic.Bool // queued has passed queuedMax, and not come down to roomAgain; set under mu
	gated   atomic.Bool // publishes wait for the log to leave its reserve; set under mu

	leading   atomic.Bool   // this node leads the shard
	leadTerm  atomic.Uint64 // the term in which it does; 0: it does not
	leader    atomic.Uint64 // the node that does, as far as is known; 0: none
	again     again         // guarded by mu
	asks      asks
	epoch     atomic.Int32        // newest term seen: Kafka's leader epoch
	unsaved   atomic.Int64        // bytes of entries applied and in no checkpoint that is written
	savedAt   atomic.Uint64       // what the node's log had written when the last checkpoint was
	saveAsked atomic.Bool         // a checkpoint is wanted now
	carried   map[carriedAt]int64 // by the last checkpoint, with where each ends; owned by who saves
	ticking   tickState
	saving    saveState
	begun     atomic.Bool                // its group is open
	offered   atomic.Int32               // offers of the shard's state that stand: see offer.go
	away      atomic.Pointer[error]      // why nothing is read here: the shard catches up; nil: it does not
	fetched   map[uint64]storage.Segment // that have no tail yet; owned by who catches up
	saved     saveMeter
}

// pending is an entry on its way, and who waits for what in it.
type pending struct {
	b     shard.Builder
	data  []byte // the entry, once it was proposed to a log
	seq   uint64
	size  int       // bytes, of publishes
	since time.Time // when it was full, by link time
	waits []wait
	first *pending // control commands that the entry begins with; nil: none
}

// pendings are used again: what an entry is built in is as large as the entry.
var pendings = sync.Pool{New: func() any { return new(pending) }}

// done lets go of p. The group must not hold its data any more.
func (p *pending) done() {
	if p.first != nil {
		p.first.done()
		p.first = nil
	}
	p.size = 0
	clear(p.waits)
	p.waits = p.waits[:0]
	p.b.Reset()
	if cap(p.data) > 2*groupMax {
		p.data = nil
	}
	pendings.Put(p)
}

// finish writes the entry into dst, behind the control commands that go first.
func (p *pending) finish(dst []byte, h shard.Header) []byte {
	if p.first == nil {
		return p.b.Finish(dst, h)
	}
	return p.b.FinishBehind(&p.first.b, dst, h)
}

// tell tells those who wait what became of their commands, before which the entry has
// others.
func (p *pending) tell(out *shard.Outcome, before int) {
	for _, w := range p.waits {
		var br *shard.BatchResult
		var or *shard.OpResult
		if w.batch >= 0 {
			br = &out.Batches[w.batch]
		}
		if w.op >= 0 {
			or = &out.Ops[before+w.op]
		}
		w.w.applied(br, or, nil)
	}
}

func (p *pending) fail(err error) {
	for _, w := range p.waits {
		w.w.applied(nil, nil, err)
	}
}

type wait struct {
	batch, op int // index in the outcome; -1: not of interest
	w         waiter
}

// waiter is told what became of a command. Exactly one of br and or is nil unless the
// waiter named both; both are nil when err is set. Called by the applying goroutine.
type waiter interface {
	applied(br *shard.BatchResult, or *shard.OpResult, err error)
}

// do adds control commands to the next entry: fill is called once, with the lock held, and
// must only use the builder, for commands without batches, and await. It never waits.
func (s *shardRun) do(fill func(p *pending)) error {
	s.mu.Lock()
	if s.stopped != nil {
		err := s.stopped
		s.mu.Unlock()
		return err
	}
	fill(s.control)
	if s.held == 0 && s.control.b.Len() >= groupMax {
		s.control.since = s.k.cfg.Link.Now()
		s.controls = append(s.controls, s.control)
		s.control = pendings.Get().(*pending)
	}
	s.pumpLocked()
	s.mu.Unlock()
	return nil
}

// publish is do for publishes, and for commands that must not overtake those before them. It
// takes them however many wait: who calls it has asked at the door.
func (s *shardRun) publish(fill func(p *pending)) error {
	s.mu.Lock()
	if s.stopped != nil {
		err := s.stopped
		s.mu.Unlock()
		return err
	}
	fill(s.building)
	if s.held == 0 && s.building.b.Len() >= groupMax {
		s.sealLocked()
	}
	s.pumpLocked()
	s.mu.Unlock()
	return nil
}

// await says that w is to be told of the batch and the command with these indexes.
func (p *pending) await(batch, op int, w waiter) {
	p.waits = append(p.waits, wait{batch, op, w})
}

// sealLocked ends the entry of publishes that is being filled.
func (s *shardRun) sealLocked() {
	p := s.building
	p.size = p.b.Len()
	p.since = s.k.cfg.Link.Now()
	s.queued += p.size
	if s.queued > queuedMax && !s.crowded.Load() {
		s.crowded.Store(true)
		s.k.pressure.crowds.Add(1)
	}
	s.queue = append(s.queue, p)
	s.building = pendings.Get().(*pending)
}

// easeLocked takes bytes of publishes off what is queued.
func (s *shardRun) easeLocked(n int) {
	s.queued -= n
	if s.queued <= roomAgain && s.crowded.Load() {
		s.crowded.Store(false)
		s.k.pressure.crowds.Add(-1)
		s.k.pressure.eased()
	}
}

// nextLocked takes what the next entry is made of; nil: nothing is to be proposed.
func (s *shardRun) nextLocked() *pending {
	var p *pending
	switch {
	case len(s.queue) == 0 && s.building.b.Empty():
	case s.class.logged() && s.k.onReserve():
		if !s.gated.Swap(true) {
			s.k.pressure.look() // and again, until it is not so any more
		}
	default:
		if len(s.queue) == 0 {
			s.sealLocked()
		}
		p = s.queue[0]
		s.queue[0] = nil
		s.queue = s.queue[1:]
	}
	var c *pending
	switch {
	case len(s.controls) > 0:
		c = s.controls[0]
		s.controls[0] = nil
		s.controls = s.controls[1:]
	case s.control.b.Empty():
		return p
	default:
		c = s.control
		c.since = s.k.cfg.Link.Now()
		s.control = pendings.Get().(*pending)
	}
	if p == nil {
		return c
	}
	p.first = c
	return p
}

// ungate proposes what was held back while the log lived on its reserve.
func (s *shardRun) ungate() {
	if !s.gated.Load() {
		return
	}
	s.mu.Lock()
	s.gated.Store(false)
	s.pumpLocked()
	s.mu.Unlock()
}

// pumpLocked proposes what is queued, in order, as far as the bound allows. Caller holds
// s.mu, which is let go of around each proposal.
func (s *shardRun) pumpLocked() {
	if s.proposing || s.held > 0 {
		return
	}
	s.proposing = true
	for s.stopped == nil && s.held == 0 && (s.lost || len(s.inflight) < inflightMax) {
		if s.lost {
			s.lost = false
			for _, p := range slices.Clone(s.inflight) {
				s.mu.Unlock()
				err := s.group.Propose(p.data)
				s.mu.Lock()
				if err != nil && s.stopped == nil {
					s.stopLocked(err)
				}
			}
			continue
		}
		p := s.nextLocked()
		if p == nil {
			break
		}
		s.seq++
		p.seq = s.seq
		s.inflight = append(s.inflight, p)
		h := shard.Header{Time: s.k.nowMs(), Incarnation: s.k.incarnation, Link: s.link, Seq: p.seq}
		var data []byte
		if !s.class.logged() {
			data = p.finish(nil, h) // the group gives it to Apply, where it is kept
		} else {
			p.data = p.finish(p.data, h)
			data = p.data
		}
		s.mu.Unlock()
		err := s.group.Propose(data)
		s.mu.Lock()
		switch {
		case err == nil || s.stopped != nil: // who stopped the shard has told those who wait
		case fault.Is(err, fault.TooLarge):
			s.seq-- // it was never handed over
			s.inflight = s.inflight[:len(s.inflight)-1]
			s.easeLocked(p.size)
			if p.first != nil { // it is not what is too large
				s.controls = slices.Insert(s.controls, 0, p.first)
				p.first = nil
			}
			s.failLocked([]*pending{p}, err)
		default:
			s.stopLocked(err)
		}
	}
	s.proposing = false
	if s.k.Clustered() && len(s.inflight) > 0 { // asked first: s.retry is an allocation
		s.again.arm(s.k, s.inflight[0].seq, s.retry)
	}
}

// retry proposes anew what was on its way all the time that a timer has run.
func (s *shardRun) retry() {
	s.mu.Lock()
	defer s.mu.Unlock()
	oldest := s.again.stop()
	s.lost = s.lost || len(s.inflight) > 0 && s.inflight[0].seq == oldest
	s.pumpLocked()
}

// proposeAgain proposes anew, in order, what is in flight: it may be lost. What is not
// is applied once.
func (s *shardRun) proposeAgain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.inflight) > 0 {
		s.lost = true
		s.pumpLocked()
	}
}

// stopLocked fails everything that waits, for good. Caller holds s.mu, which is let go
// of while waiters are told.
func (s *shardRun) stopLocked(err error) {
	if s.stopped != nil {
		return
	}
	s.stopped = err
	s.again.stop()
	s.saving.stop(err)
	failed := slices.Concat(s.inflight, s.controls, []*pending{s.control}, s.queue, []*pending{s.building})
	s.inflight, s.controls, s.control, s.queue, s.building = nil, nil, new(pending), nil, new(pending)
	s.easeLocked(s.queued)
	s.failLocked(failed, unknown{err})
}

// failLocked tells everybody who waits for entries that they will not be applied, or of which nobody here will hear. Caller
// holds s.mu, which is let go of meanwhile.
func (s *shardRun) failLocked(failed []*pending, err error) {
	s.mu.Unlock()
	for _, p := range failed {
		if p.first != nil {
			p.first.fail(err)
		}
		p.fail(err)
	}
	s.mu.Lock()
}

// unknown is the error of what may have been proposed: it may be applied all the same.
type unknown struct{ error }

func (u unknown) Unwrap() error { return u.error }

func (s *shardRun) stop(err error) {
	s.mu.Lock()
	s.stopLocked(err)
	s.mu.Unlock()
}

// Apply implements cluster/group.Machine.
func (s *shardRun) Apply(entries []storage.Entry) {
	if s.broken {
		return
	}
	for i := range entries {
		e := &entries[i]
		s.index, s.term = e.Index, e.Term
		s.sinceSave += len(e.Data)
		s.sinceLook += len(e.Data)
		s.unsaved.Add(int64(len(e.Data)))
		s.out.Reset()
		s.epoch.Store(int32(e.Term))
		s.readMu.Lock()
		h, err := s.m.Apply(e.Data, int32(e.Term), &s.out)
		s.readMu.Unlock()
		if err != nil {
			// Every replica would stop here: the entry is not one we wrote. The state must not
			// be checkpointed.
			s.broken = true
			s.k.fail(fault.New(fault.Internal, "apply", s.name(), "entry %d: %w", e.Index, err))
			s.stop(err)
			return
		}
		s.schedule() // before anybody is told: a test moves a virtual clock then
		s.appendBatches(len(e.Data))
		s.effects()
		if s.k.Clustered() {
			s.k.stamped(s.m.Now())
			s.asks.reached(s.k, s.index)
			if h.Seq == 1 && s.leads() { // from here on nothing of its proposer's earlier lives is applied
				s.k.post(work{lead: s})
			}
		}
		s.answer(h)
	}
	s.afterApply()
}

// Members implements cluster/group.Machine.
func (s *shardRun) Members(index, term uint64, m storage.Members) {
	if s.broken {
		return
	}
	s.index, s.term, s.members = index, term, m
	s.k.membersChanged()
}

// Lead implements cluster/group.Machine.
func (s *shardRun) Lead(term uint64, leading bool) {
	s.live = s.live || leading
	if leading { // from here on, and not from the first entry: a reader may ask before that
		s.epoch.Store(int32(term))
		s.leader.Store(s.k.cfg.Self)
	}
	s.leading.Store(leading)
	s.k.leads.Add(1)
	if !leading {
		term = 0
	}
	s.leadTerm.Store(term)
	if s.k.Clustered() {
		s.turned(leading)
		s.k.changes.tell()
	}
}

// Follow implements cluster/group.Machine.
func (s *shardRun) Follow(leader uint64) {
	s.leader.Store(leader)
	if leader != 0 {
		s.proposeAgain()
	}
	s.k.changes.tell()
}

// Stopped implements cluster/group.Machine.
func (s *shardRun) Stopped(err error) {
	s.leading.Store(false)
	s.k.leads.Add(1)
	s.leadTerm.Store(0)
	s.k.stopped(s.name(), err)
	s.stop(fault.New(fault.Unavailable, "commit", s.name(), "its log has stopped: %w", err))
}

// leads tells whether it is up to this node to bring about what the shard is due.
func (s *shardRun) leads() bool { return !s.k.Clustered() || s.leading.Load() }

// holds tells whether this node leads the shard at this very moment, so that what it has is the newest
// there is. It looks at the clock: a process that was stopped for a while is told later that it leads no more.
func (s *shardRun) holds() bool {
	if !s.leads() {
		return false
	}
	g, leased := s.group.(interface{ Leading() bool })
	return !leased || g.Leading()
}

// appendBatches gives the batches of the entry, of so many bytes, to their tails.
//
// A batch that is most of the entry is kept as it lies there: that costs no more memory
// than the batch, twice. A smaller one is copied, or it would hold on to all of the entry;
// and so is every batch of a group of several voters, whose followers may still be sent
// what is stamped here.
func (s *shardRun) appendBatches(entry int) {
	for i := range s.out.Appends {
		a := &s.out.Appends[i]
		if t := s.tail(a.Log); t != nil {
			b := a.Batch
			if !s.members.Alone(s.k.cfg.Self) || 2*len(b) < entry {
				b = append(make([]byte, 0, len(b)), b...)
			}
			a.Stamp(b)
			t.append(b)
		}
	}
	if len(s.out.Appends) > 0 {
		s.k.lookAfter()
	}
}

// answer tells who waited for the entry, if it was ours.
func (s *shardRun) answer(h shard.Header) {
	if h.Incarnation != s.k.incarnation || h.Link != s.link {
		return
	}
	s.mu.Lock()
	if len(s.inflight) == 0 || s.inflight[0].seq != h.Seq {
		s.mu.Unlock()
		return
	}
	p := s.inflight[0]
	s.inflight = append(s.inflight[:0], s.inflight[1:]...)
	s.easeLocked(p.size)
	s.mu.Unlock()

	before := 0
	if p.first != nil {
		p.first.tell(&s.out, 0)
		before = p.first.b.Commands()
	}
	p.tell(&s.out, before)
	if !s.k.Clustered() { // else it may be on its way once more
		p.done()
	}
}

// afterApply proposes what gathered meanwhile and looks after checkpoints.
func (s *shardRun) afterApply() {
	s.mu.Lock()
	s.pumpLocked()
	s.mu.Unlock()
	s.maybeSave()
	if s.sinceLook >= lookBytes || s.k.pressure.refusal.Load() != nil {
		s.sinceLook = 0
		s.k.pressure.look()
	}
	if s.class == classAsync {
		s.k.syncSoon(s)
	}
	s.k.changes.tell()
}

// call adds one control command and waits for its outcome.
func (s *shardRun) call(ctx context.Context, fill func(b *shard.Builder) (op int)) (shard.OpResult, error) {
	return s.callBy(ctx, s.do, fill)
}

// callBy is call by way of do, or of publish.
func (s *shardRun) callBy(ctx context.Context, do func(func(*pending)) error, fill func(b *shard.Builder) (op int)) (shard.OpResult, error) {
	w := &callWait{done: make(chan struct{})}
	err := do(func(p *pending) { p.await(-1, fill(&p.b), w) })
	if err != nil {
		return shard.OpResult{}, err
	}
	select {
	case <-w.done:
		if w.err == nil {
			w.err = w.r.Err
		}
		return w.r, w.err
	case <-ctx.Done():
		return shard.OpResult{}, fault.New(fault.Timeout, "wait for commit", s.name(), "%w", ctx.Err())
	}
}

type callWait struct {
	done chan struct{}
	r    shard.OpResult
	err  error
}

func (w *callWait) applied(_ *shard.BatchResult, or *shard.OpResult, err error) {
	if or != nil {
		w.r = *or
	}
	w.err = err
	close(w.done)
}

// tail returns the tail of a log of this shard, or nil.
func (s *shardRun) tail(log uint64) *tail {
	s.tailsMu.RLock()
	defer s.tailsMu.RUnlock()
	return s.tails[log]
}

// queueStats tells how a queue of this shard stands.
func (s *shardRun) queueStats(id uint64) (qm.Stats, bool) {
	s.readMu.RLock()
	defer s.readMu.RUnlock()
	return s.m.QueueStats(id)
}
