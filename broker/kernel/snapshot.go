package kernel

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"iter"
	"slices"
	"time"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel/codec"
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

// snapshotMax bounds how long segments are kept as they are for a snapshot: meanwhile nothing of them goes.
const snapshotMax = time.Hour

// Spool is room outside of memory: what is written to it can be read, from its beginning.
type Spool interface {
	io.Writer
	io.ReaderAt
}

// Snapshot writes all that the broker holds at one moment. Publishes wait for the cut alone, checkpoints until those
// that there are stand in spool; and from the cut on segments keep what it speaks of until they are written, for
// snapshotMax at most.
func (k *Kernel) Snapshot(ctx context.Context, w *snapshot.Writer, spool Spool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, snapshotMax, fault.New(fault.Timeout, "write", "snapshot", "it was not read within %v, and what segments have to let go of waits for it", snapshotMax))
	defer cancel()
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
				h, err := s.hold(ctx)
				if err != nil {
					return err
				}
				all = append(all, h)
			}
		}
		at0, state0 = k.meta.offer()
		return nil
	})
	if err != nil {
		return err
	}
	to := &spooling{w: bufio.NewWriterSize(spool, pieceBytes)}
	for _, h := range all { // before the first is written: checkpoints wait for it, and who reads w may be slow
		if err := h.load(to); err != nil {
			return err
		}
	}
	if err := to.w.Flush(); err != nil {
		return err
	}
	for _, h := range all {
		if err := h.write(ctx, w, spool); err != nil {
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
	from   int64 // where its state is spooled
	bytes  int64
}

// spooling writes states behind each other.
type spooling struct {
	w  *bufio.Writer
	at int64
}

func (s *spooling) Write(b []byte) (int, error) {
	n, err := s.w.Write(b)
	s.at += int64(n)
	return n, err
}

// heldLog is a log at the cut: what is wanted of it, and where it ended.
type heldLog struct {
	id       uint64
	from, to int64
}

// hold keeps a shard's checkpoint and segments. Called at a cut, when publishes wait: it does so no longer than a
// cut may take, for a checkpoint that is being written may wait for room on the device.
func (s *shardRun) hold(ctx context.Context) (*holding, error) {
	ctx, cancel := context.WithTimeout(ctx, cutMax)
	defer cancel()
	if err := s.saving.still(ctx); err != nil {
		return nil, fault.New(fault.Timeout, "cut", s.name(), "a checkpoint is being written: %w", err)
	}
	h := &holding{s: s, saving: true}
	s.offered.Add(1)
	s.readMu.RLock()
	defer s.readMu.RUnlock()
	for l := range s.m.Logs() {
		h.logs = append(h.logs, heldLog{l.ID, l.Keep(), l.Next})
	}
	return h, nil
}

// load takes the checkpoint, so that others may follow it.
func (h *holding) load(to *spooling) error {
	at, pairs, err := h.s.k.engine.Checkpoints().Load(h.s.id)
	if err != nil {
		return err
	}
	h.at, h.from = at, to.at
	var pair []byte
	for k, v := range pairs {
		pair = codec.Bytes(codec.Bytes(pair[:0], k), v)
		if _, err := to.Write(pair); err != nil {
			return err
		}
	}
	h.bytes = to.at - h.from
	h.saving = false
	h.s.saving.goesOn()
	return nil
}

// letGo lets the shard go on. It may be called twice.
func (h *holding) letGo() {
	if h.saving {
		h.saving = false
		h.s.saving.goesOn()
	}
	if h.s != nil && h.s.offered.Add(-1) == 0 {
		h.s.k.upkeep.wake(h.s.k)
	}
	*h = holding{}
}

func (h *holding) write(ctx context.Context, w *snapshot.Writer, spool Spool) error {
	if h.at.Index == 0 {
		return nil // it never had anything
	}
	var failed error
	err := w.Shard(h.s.id, h.at, spooled(bufio.NewReaderSize(io.NewSectionReader(spool, h.from, h.bytes), pieceBytes), &failed))
	if err := errors.Join(err, failed); err != nil {
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
		if ctx.Err() != nil {
			return context.Cause(ctx)
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

// spooled yields the pairs of a spooled state. err is set when they cannot be read: their keys and values are valid until
// the next.
func spooled(r *bufio.Reader, err *error) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		var b [2][]byte
		for {
			for i := range b {
				n, failed := binary.ReadUvarint(r)
				if i == 0 && failed == io.EOF {
					return
				}
				if failed == nil {
					b[i] = slices.Grow(b[i][:0], int(n))[:n]
					_, failed = io.ReadFull(r, b[i])
				}
				if failed != nil {
					*err = fault.New(fault.Internal, "read", "spool", "%w", failed)
					return
				}
			}
			if !yield(b[0], b[1]) {
				return
			}
		}
	}
}

func writeState(w *snapshot.Writer, id storage.ShardID, at storage.CheckpointMeta, state []byte) error {
	var malformed error
	err := w.Shard(id, at, pairsOf(slices.Clip(state), &malformed))
	return errors.Join(err, malformed)
}
