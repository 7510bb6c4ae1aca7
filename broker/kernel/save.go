package kernel

import (
	"context"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel/shard"
	"github.com/robustmq/rmq/broker/storage"
)

// saveState is owned by the applying goroutine, except done.
type saveState struct {
	writing chan struct{} // capacity 1: holds a value while a checkpoint is written, and while one is taken
	running bool
	full    bool       // the next checkpoint is a full one: an earlier one failed
	done    chan error // capacity 1

	saves
}

// still has no checkpoint written from when the one that is has been, until goesOn is called; an error is that of ctx.
func (s *saveState) still(ctx context.Context) error {
	select {
	case s.writing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *saveState) goesOn() { <-s.writing }

// saves counts checkpoints, for who waits for one. It has a lock of its own.
type saves struct {
	mu           sync.Mutex
	begun, ended uint64
	wake         chan struct{} // closed when one has ended; nil: nobody waits
	err          error         // of the last
	stopped      error         // why none will begin any more
}

// next is the number of the first checkpoint that begins from now on.
func (s *saves) next() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begun + 1
}

func (s *saves) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun++
}

func (s *saves) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended, s.err = s.ended+1, err
	s.wakeLocked()
}

// stop says that the shard has stopped, and applies nothing that a checkpoint would follow.
func (s *saves) stop(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = err
	s.wakeLocked()
}

func (s *saves) wakeLocked() {
	if s.wake != nil {
		close(s.wake)
		s.wake = nil
	}
}

// wait waits until the checkpoint of that number has ended, and returns the error of the
// last one that has; or until the shard has stopped, and returns why.
func (s *saves) wait(ctx context.Context, number uint64) error {
	for {
		s.mu.Lock()
		if s.ended >= number {
			defer s.mu.Unlock()
			return s.err
		}
		if s.stopped != nil {
			defer s.mu.Unlock()
			return s.stopped
		}
		if s.wake == nil {
			s.wake = make(chan struct{})
		}
		wake := s.wake
		s.mu.Unlock()
		select {
		case <-wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tailKeep is how many flushed bytes of one shard stay in memory for readers that are
// nearly up to date.
const tailKeep = 32 << 20

// saveAgain is the link time after which a checkpoint that found no room is tried again though nobody has
// looked at the device: while the kernel opens nobody does, and a shard that is behind waits for it.
const saveAgain = time.Second

// maybeSave begins a checkpoint when enough entries were applied since the last one: the
// machine is forked here, and written beside the applying of further entries.
func (s *shardRun) maybeSave() {
	if s.saving.running {
		select {
		case err := <-s.saving.done:
			s.saving.running = false
			if err != nil {
				s.saving.full = true
				if !fault.Is(err, fault.Damaged) { // what is damaged was told, and pins the log
					s.k.fail(fault.New(fault.KindOf(err), "checkpoint", s.name(), "%w", err))
				}
			}
		default:
		}
	}
	if !s.class.logged() || s.saving.running || s.sinceSave < s.k.cfg.CheckpointBytes && !s.saveAsked.Load() {
		return
	}
	s.saveAsked.Store(false)
	if s.index == 0 { // there is nothing that a checkpoint could end with
		s.saving.begin()
		s.saving.end(nil)
		return
	}
	bytes := int64(s.sinceSave)
	s.sinceSave = 0
	at := storage.CheckpointMeta{Index: s.index, Term: s.term, Members: s.members}
	fork, delta := s.m.Fork(s.saving.full)
	s.saving.full = false
	s.saving.begin()
	s.saving.running = s.k.spawn(func() {
		s.saving.writing <- struct{}{} // as long as another is taken
		err := s.saveWhenRoom(at, fork, delta)
		<-s.saving.writing
		if err == nil {
			s.unsaved.Add(-bytes)
			s.savedAt.Store(s.k.engine.Log().Stats().Bytes)
			s.k.pressure.look()
		}
		s.saving.done <- err
		s.saving.end(err)
		s.k.upkeep.wake(s.k)
		if s.saveAsked.Load() { // meanwhile
			s.group.Nudge()
		}
	})
}

// saveWhenRoom tries to write the checkpoint until the device has room for it. What gives
// room meanwhile is what the entries after it say: whose stream is deleted, and what is
// consumed, is not written any more.
func (s *shardRun) saveWhenRoom(at storage.CheckpointMeta, m *shard.Machine, delta shard.Delta) error {
	p := &s.k.pressure
	err := s.save(at, m, delta)
	if !storage.NoSpace(err) {
		return err
	}
	p.starved.Add(1)
	defer p.starved.Add(-1)
	p.look() // to refuse publishes; then as often as it looks by itself
	for storage.NoSpace(err) {
		s.dropEarly()
		looked, again := p.next(), s.k.alarm(saveAgain)
		select {
		case <-looked:
		case <-again.rings:
		case <-s.k.ctx.Done():
			again.stop()
			return nil // not written, and not wanted: the log has everything
		}
		again.stop()
		err = s.save(at, m, delta)
	}
	return err
}

// dropEarly lets go of segment files that no state will speak of again once the log is
// replayed, before a checkpoint says so: a checkpoint that waits for space would never free
// it. Only where what was applied outlives a crash, and never beyond what the checkpoint
// that there is speaks of, for a segment must reach to where replay goes on.
func (s *shardRun) dropEarly() {
	if s.class != classSync || s.offered.Load() > 0 {
		return
	}
	keep := make(map[uint64]int64)
	s.readMu.RLock()
	for l := range s.m.Logs() {
		keep[l.ID] = l.Keep()
	}
	s.readMu.RUnlock()
	for id, keep := range keep {
		t := s.tail(id)
		if t == nil || t.ill.Load() != nil {
			continue
		}
		if seg := t.opened(); seg != nil {
			if err := seg.DropBefore(min(keep, t.saved.Load())); err != nil && !t.ended() {
				s.k.log.Warn("segment files not dropped", "shard", s.id, "log", id, "err", err)
			}
		}
	}
}

// save writes one checkpoint: first the batches that it speaks of, then the state, and
// only then lets go of what came before.
func (s *shardRun) save(at storage.CheckpointMeta, m *shard.Machine, delta shard.Delta) error {
	begun := s.k.cfg.Link.Now()
	s.tailsMu.RLock()
	tails := make(map[uint64]*tail, len(s.tails))
	for id, t := range s.tails {
		tails[id] = t
	}
	s.tailsMu.RUnlock()
	for l := range m.Logs() {
		if t := tails[l.ID]; t != nil {
			if err := s.flushTail(t, l.Next); err != nil {
				return err
			}
		}
	}
	was := s.carried
	if delta.Full() {
		was = nil
	}
	carried, now := carry(m, tails, was)
	if err := s.k.engine.Checkpoints().Save(s.id, at, delta.Full(), s.saved.counted(both(m.Encode(delta), carried))); err != nil {
		return err
	}
	s.carried = now
	s.saved.done(begun, s.k.cfg.Link.Now())
	s.group.Checkpointed(at.Index, at.Term)
	for l := range m.Logs() {
		t := tails[l.ID]
		if t == nil {
			continue
		}
		t.release(tailKeep / len(tails))
		if t.ill.Load() != nil {
			continue
		}
		t.saved.Store(l.Next)
		t.resting.kept.Store(l)
		if seg := t.opened(); seg != nil && s.offered.Load() == 0 {
			switch err := seg.DropBefore(l.Keep()); {
			case err == nil || t.ended():
			case storage.NoSpace(err):
				return err
			default:
				s.felt(t, err)
			}
		}
	}
	return nil
}
