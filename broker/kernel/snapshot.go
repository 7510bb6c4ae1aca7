package kernel

import (
	"context"
	"errors"
	"slices"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/snapshot"
)

// AboutSnapshot says what a snapshot that is taken now is of.
func (k *Kernel) AboutSnapshot() snapshot.About {
	a := snapshot.About{Taken: k.Now().UTC(), Cluster: k.Cluster()}
	view := k.meta.view.Load()
	for st := range view.AllStreams() {
		a.Streams++
		if st.Durability == Memory {
			a.Lost++
		}
	}
	for q := range view.AllQueues() {
		a.Queues++
		if q.Durability == Memory {
			a.Lost++
		}
	}
	for _, s := range k.shards {
		if s.class.logged() {
			s.readMu.RLock()
			a.Sessions += s.m.SessionCount()
			s.readMu.RUnlock()
		}
	}
	return a
}

// Snapshot writes all that the broker holds at one moment. Publishes wait for the cut alone: from then
// on segments keep what it speaks of until they are written, however long w takes.
func (k *Kernel) Snapshot(ctx context.Context, w *snapshot.Writer) error {
	var all []*holding
	defer func() {
		for _, h := range all {
			h.letGo()
		}
	}()
	var at0 storage.CheckpointMeta
	var state0 []byte
	err := k.Cut(ctx, func() error {
		for _, s := range k.everyShard() {
			if s.class.logged() {
				all = append(all, s.hold())
			}
		}
		at0, state0 = k.meta.offer()
		return nil
	})
	if err != nil {
		return err
	}
	for _, h := range all { // before the first is written: checkpoints wait for it
		if err := h.load(); err != nil {
			return err
		}
	}
	for _, h := range all {
		if err := h.write(ctx, w); err != nil {
			return err
		}
		h.letGo()
	}
	return writeState(w, 0, at0, state0)
}

// holding keeps what the engine has of one shard as it is.
type holding struct {
	s      *shardRun
	saving bool // no checkpoint is written
	logs   []heldLog
	at     storage.CheckpointMeta
	state  []byte
}

// heldLog is a log at the cut: what is wanted of it, and where it ended.
type heldLog struct {
	id       uint64
	from, to int64
}

// hold keeps a shard's checkpoint and segments. Called at a cut.
func (s *shardRun) hold() *holding {
	h := &holding{s: s, saving: true}
	s.saving.writing.Lock()
	s.offered.Add(1)
	s.readMu.RLock()
	defer s.readMu.RUnlock()
	for l := range s.m.Logs() {
		h.logs = append(h.logs, heldLog{l.ID, l.Keep(), l.Next})
	}
	return h
}

// load takes the checkpoint, so that others may follow it.
func (h *holding) load() error {
	at, pairs, err := h.s.k.engine.Checkpoints().Load(h.s.id)
	if err != nil {
		return err
	}
	h.at, h.state = at, appendPairs(nil, pairs)
	h.saving = false
	h.s.saving.writing.Unlock()
	return nil
}

// letGo lets the shard go on. It may be called twice.
func (h *holding) letGo() {
	if h.saving {
		h.saving = false
		h.s.saving.writing.Unlock()
	}
	if h.s != nil && h.s.offered.Add(-1) == 0 {
		h.s.k.upkeep.wake(h.s.k)
	}
	*h = holding{}
}

func (h *holding) write(ctx context.Context, w *snapshot.Writer) error {
	if h.at.Index == 0 {
		return nil // it never had anything
	}
	if err := writeState(w, h.s.id, h.at, h.state); err != nil {
		return err
	}
	for _, l := range h.logs {
		t := h.s.tail(l.id)
		if t == nil || t.ended() {
			return fault.New(fault.Conflict, "snapshot", h.s.name(), "a stream of it was deleted before it was written: take it again")
		}
		if err := l.write(ctx, w, t); err != nil {
			return err
		}
	}
	return nil
}

// write writes what the segment has of the log, up to the cut, where it ends with a batch.
func (l *heldLog) write(ctx context.Context, w *snapshot.Writer, t *tail) error {
	end := int64(0)
	for offset := l.from; offset < l.to; {
		if err := ctx.Err(); err != nil {
			return err
		}
		raw, err := t.readSegment(offset, pieceBytes)
		if err != nil {
			return err
		}
		n := 0
		for rest := raw; len(rest) > 0; {
			b, behind, err := record.Next(rest)
			if err != nil {
				return errors.Join(storage.ErrCorrupt, err)
			}
			if b.BaseOffset() >= l.to {
				break
			}
			end, offset = b.NextOffset(), b.NextOffset()
			n += len(b)
			rest = behind
		}
		if n == 0 {
			break
		}
		if err := w.Batches(l.id, raw[:n]); err != nil {
			return err
		}
	}
	if end < l.to { // what was there is not wanted, and yet a segment has to reach to there
		return w.Batches(l.id, record.Empty(l.to-1))
	}
	return nil
}

func writeState(w *snapshot.Writer, id storage.ShardID, at storage.CheckpointMeta, state []byte) error {
	var malformed error
	err := w.Shard(id, at, pairsOf(slices.Clip(state), &malformed))
	return errors.Join(err, malformed)
}
