package kernel

import (
	"context"
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
}

// Bounds of what waits before one shard's log.
const (
	groupMax    = 1 << 20  // bytes in one entry, before the next is begun; a single larger message stands alone
	inflightMax = 2        // entries proposed and not applied: one in the disk's hands, one behind it
	queuedMax   = 32 << 20 // bytes queued before publishers are held back
)

// shardRun drives one shard: it gathers commands into entries, proposes them, applies
// what is committed, and hands the effects on.
//
// Ownership:
//   - mu: building, queue, inflight, queued, proposing, stopped.
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
	room      sync.Cond // signalled when queued falls
	building  *pending  // being filled; never nil
	queue     []*pending
	inflight  []*pending // proposed, in order of seq
	queued    int        // bytes in queue and inflight
	proposing bool
	held      int // transactions being filled: nothing is proposed, and entries grow as they must
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
	sinceSave int // bytes of entries applied since the last checkpoint
	sinceLook int // the same, since the last look at the device

	tailsMu sync.RWMutex
	tails   map[uint64]*tail
	cold    cold

	epoch     atomic.Int32        // newest term seen: Kafka's leader epoch
	unsaved   atomic.Int64        // bytes of entries applied and in no checkpoint that is written
	savedAt   atomic.Uint64       // what the node's log had written when the last checkpoint was
	saveAsked atomic.Bool         // a checkpoint is wanted now
	carried   map[carriedAt]int64 // by the last checkpoint, with where each ends; owned by who saves
	ticking   tickState
	saving    saveState
	saved     saveMeter
}

// pending is an entry on its way, and who waits for what in it.
type pending struct {
	b     shard.Builder
	data  []byte // the entry, once it was proposed to a log
	seq   uint64
	size  int
	since time.Time // when it was full, by link time
	waits []wait
}

// pendings are used again: what an entry is built in is as large as the entry.
var pendings = sync.Pool{New: func() any { return new(pending) }}

// done lets go of p. The group must not hold its data any more.
func (p *pending) done() {
	clear(p.waits)
	p.waits = p.waits[:0]
	p.b.Reset()
	if cap(p.data) > 2*groupMax {
		p.data = nil
	}
	pendings.Put(p)
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

// do adds commands to the next entry: fill is called once, with the lock held, and must
// only use the builder and await. hold: wait for room first (never on a goroutine that
// applies entries).
func (s *shardRun) do(hold bool, fill func(p *pending)) error {
	s.mu.Lock()
	for hold && s.queued > queuedMax && s.stopped == nil {
		s.room.Wait()
	}
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

func (s *shardRun) sealLocked() {
	p := s.building
	p.size = p.b.Len()
	p.since = s.k.cfg.Link.Now()
	s.queued += p.size
	s.queue = append(s.queue, p)
	s.building = pendings.Get().(*pending)
}

// pumpLocked proposes what is queued, in order, as far as the bound allows. Caller holds
// s.mu, which is let go of around each proposal.
func (s *shardRun) pumpLocked() {
	if s.proposing || s.held > 0 {
		return
	}
	s.proposing = true
	for s.stopped == nil && s.held == 0 && len(s.inflight) < inflightMax {
		if len(s.queue) == 0 {
			if s.building.b.Empty() {
				break
			}
			s.sealLocked()
		}
		p := s.queue[0]
		s.queue[0] = nil
		s.queue = s.queue[1:]
		s.seq++
		p.seq = s.seq
		s.inflight = append(s.inflight, p)
		h := shard.Header{Time: s.k.nowMs(), Incarnation: s.k.incarnation, Link: s.link, Seq: p.seq}
		var data []byte
		if !s.class.logged() {
			data = p.b.Finish(nil, h) // the group gives it to Apply, where it is kept
		} else {
			p.data = p.b.Finish(p.data, h)
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
			s.queued -= p.size
			s.room.Broadcast()
			s.failLocked([]*pending{p}, err)
		default:
			s.stopLocked(err)
		}
	}
	s.proposing = false
}

// stopLocked fails everything that waits, for good. Caller holds s.mu, which is let go
// of while waiters are told.
func (s *shardRun) stopLocked(err error) {
	if s.stopped != nil {
		return
	}
	s.stopped = err
	failed := append(append(s.inflight, s.queue...), s.building)
	s.inflight, s.queue, s.building, s.queued = nil, nil, new(pending), 0
	s.room.Broadcast()
	s.failLocked(failed, err)
}

// failLocked tells everybody who waits for entries that they will not be applied. Caller
// holds s.mu, which is let go of meanwhile.
func (s *shardRun) failLocked(failed []*pending, err error) {
	s.mu.Unlock()
	for _, p := range failed {
		for _, w := range p.waits {
			w.w.applied(nil, nil, err)
		}
	}
	s.mu.Lock()
}

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
		s.appendBatches(len(e.Data))
		s.effects()
		s.answer(h)
	}
	s.afterApply()
}

// Lead implements cluster/group.Machine.
func (s *shardRun) Lead(term uint64, leading bool) {
	s.live = s.live || leading
	if leading { // from here on, and not from the first entry: a reader may ask before that
		s.epoch.Store(int32(term))
	}
	s.k.led(s, term, leading)
	if !leading {
		s.stop(fault.New(fault.Unavailable, "commit", s.name(), "its log has stopped"))
	}
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
			if len(s.k.cfg.Voters) > 1 || 2*len(b) < entry {
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
	s.queued -= p.size
	s.room.Broadcast()
	s.mu.Unlock()

	for _, w := range p.waits {
		var br *shard.BatchResult
		var or *shard.OpResult
		if w.batch >= 0 {
			br = &s.out.Batches[w.batch]
		}
		if w.op >= 0 {
			or = &s.out.Ops[w.op]
		}
		w.w.applied(br, or, nil)
	}

	p.done()
}

// afterApply proposes what gathered meanwhile and looks after timers and checkpoints.
func (s *shardRun) afterApply() {
	s.mu.Lock()
	s.pumpLocked()
	s.mu.Unlock()
	s.schedule()
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

// call adds one command and waits for its outcome.
func (s *shardRun) call(ctx context.Context, fill func(b *shard.Builder) (op int)) (shard.OpResult, error) {
	w := &callWait{done: make(chan struct{})}
	err := s.do(false, func(p *pending) { p.await(-1, fill(&p.b), w) })
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
