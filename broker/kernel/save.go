package kernel

import (
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel/shard"
	"github.com/robustmq/rmq/broker/storage"
)

// saveState is owned by the applying goroutine, except done.
type saveState struct {
	running bool
	full    bool       // the next checkpoint is a full one: an earlier one failed
	done    chan error // capacity 1
}

// tailKeep is how many flushed bytes of one shard stay in memory for readers that are
// nearly up to date.
const tailKeep = 32 << 20

// maybeSave begins a checkpoint when enough entries were applied since the last one: the
// machine is forked here, and written beside the applying of further entries.
func (s *shardRun) maybeSave() {
	if s.saving.running {
		select {
		case err := <-s.saving.done:
			s.saving.running = false
			if err != nil {
				s.saving.full = true
				s.k.fail(fault.New(fault.KindOf(err), "checkpoint", s.name(), "%w", err))
			}
		default:
		}
	}
	if s.class == classTransient || s.sinceSave < s.k.cfg.CheckpointBytes || s.saving.running {
		return
	}
	s.sinceSave = 0
	at := storage.CheckpointMeta{Index: s.index, Term: s.term, Voters: s.k.cfg.Voters}
	fork, delta := s.m.Fork(s.saving.full)
	s.saving.full = false
	s.saving.running = s.k.spawn(func() { s.saving.done <- s.save(at, fork, delta) })
}

// save writes one checkpoint: first the batches that it speaks of, then the state, and
// only then lets go of what came before.
func (s *shardRun) save(at storage.CheckpointMeta, m *shard.Machine, delta shard.Delta) error {
	s.tailsMu.RLock()
	tails := make(map[uint64]*tail, len(s.tails))
	for id, t := range s.tails {
		tails[id] = t
	}
	s.tailsMu.RUnlock()
	for l := range m.Logs() {
		if t := tails[l.ID]; t != nil {
			if err := t.flush(l.Next, true); err != nil && !t.ended() { // its deletion is in the log
				return err
			}
		}
	}
	if err := s.k.engine.Checkpoints().Save(s.id, at, delta.Full(), m.Encode(delta)); err != nil {
		return err
	}
	s.group.Checkpointed(at.Index, at.Term)
	for l := range m.Logs() {
		t := tails[l.ID]
		if t == nil {
			continue
		}
		t.release(tailKeep / len(tails))
		if seg := t.opened(); seg != nil {
			if err := seg.DropBefore(l.Keep()); err != nil && !t.ended() {
				return err
			}
		}
	}
	return nil
}
