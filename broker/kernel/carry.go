package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel/shard"
	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/storage"
)

// A log whose segment cannot be written, or not in time, is ill, and is so alone: the
// checkpoint of its shard is written without it, and carries the batches that its segment
// lacks, so that the node's log can let go of them. Each checkpoint tries again, on a
// segment that was opened anew and cut to what it is known to hold. When that succeeds the
// log is well.
//
// A sync that has failed is final, though: nobody knows what the device has of the file,
// and a later sync of it may report success for what was dropped. Its segment is written
// again after the next start, which reads what there is.
//
// A log that holds more than carryMax back takes no appends until it is well.
const (
	carryMax  = 64 << 20        // bytes of one log
	flushWait = 5 * time.Second // link time that a checkpoint waits for one segment
)

// Illness is why a log's segment is not written.
type Illness struct {
	Since time.Time // broker time
	Err   error
}

// errSlow: a segment took longer than flushWait, and is written still.
var errSlow = errors.New("its segment takes too long to be written")

// flushTail brings a log's segment up to end, or finds the log ill. An error is of the
// device's space alone: then it is worth waiting.
func (s *shardRun) flushTail(t *tail, end int64) error {
	if ill := t.ill.Load(); t.whole() != nil || ill != nil && errors.Is(ill.Err, storage.ErrUnsynced) {
		return nil // nothing is written there
	}
	if t.flushedTo(end) && !t.resting.roll.Load() {
		if !t.flushing.Load() {
			s.felt(t, nil) // it was slow, and is done
		}
		return nil
	}
	if !t.flushing.CompareAndSwap(false, true) {
		return nil // the one before is at it still
	}
	done := make(chan error, 1)
	if !s.k.spawn(func() {
		if t.ill.Load() != nil {
			t.reopen()
		}
		err := t.flush(end, true)
		if t.ended() { // its deletion is in the log
			err = nil
		}
		if wantsRoom(err) {
			t.reopen() // what it gave up may be tried again
		} else {
			s.felt(t, err)
		}
		t.flushing.Store(false)
		done <- err
	}) {
		t.flushing.Store(false)
		return nil // closing: it is carried
	}
	slow := make(chan struct{})
	timer := s.k.cfg.Link.AfterFunc(flushWait, func() { close(slow) })
	defer timer.Stop()
	select {
	case err := <-done:
		if wantsRoom(err) {
			return err
		}
	case <-slow:
		s.felt(t, errSlow)
	}
	return nil
}

// wantsRoom tells whether an error passes when the device has room. That of a sync does not,
// whatever it was for.
func wantsRoom(err error) bool {
	return storage.NoSpace(err) && !errors.Is(err, storage.ErrUnsynced)
}

// felt notes how writing a log's segment went. A failed sync outweighs what else is wrong.
func (s *shardRun) felt(t *tail, err error) {
	was := t.ill.Load()
	switch {
	case err != nil && (was == nil || errors.Is(err, storage.ErrUnsynced) && !errors.Is(was.Err, storage.ErrUnsynced)):
		if t.ill.CompareAndSwap(was, &Illness{Since: s.k.time.Now(), Err: err}) {
			if was == nil {
				s.k.ills.Add(1)
			}
			s.k.log.Error("segment not written", "shard", s.id, "log", t.id.Log, "stream", t.address, "err", err)
		}
	case err == nil && was != nil:
		if t.ill.CompareAndSwap(was, nil) {
			s.k.ills.Add(-1)
			s.k.log.Info("segment is written again", "shard", s.id, "log", t.id.Log, "stream", t.address)
		}
	default:
		return
	}
	s.k.changes.tell()
}

// takes is the error for an append to a log that holds back as much as it may.
func (s *shardRun) takes(log uint64) error {
	if s.k.ills.Load() == 0 {
		return nil
	}
	t := s.tail(log)
	if t == nil {
		return nil
	}
	if ill := t.ill.Load(); ill != nil && t.unflushed() > s.k.carryMax {
		return fault.New(fault.Full, "append", t.name(), "its segment is not written: %w", ill.Err)
	}
	return nil
}

// takesAll is takes for all logs that a message goes to.
func (r *resolved) takesAll() error {
	for i := range r.logged {
		sr := &r.logged[i]
		log := sr.log // Bodies where the shard is not its home
		if err := sr.shard.takes(log); err != nil {
			return err
		}
	}
	return nil
}

// illnesses are the alarms of a shard's logs.
func (s *shardRun) illnesses(out []string) []string {
	s.tailsMu.RLock()
	defer s.tailsMu.RUnlock()
	for _, log := range slices.Sorted(maps.Keys(s.tails)) {
		t := s.tails[log]
		if ill := t.ill.Load(); ill != nil {
			out = append(out, fmt.Sprintf("%s (log %d of shard %d): segment not written since %s, %d bytes held back of %d: %v",
				t.name(), log, s.id, ill.Since.UTC().Format(time.RFC3339), t.unflushed(), s.k.carryMax, ill.Err))
		}
	}
	return out
}

// name is what an operator knows the log by.
func (t *tail) name() string {
	if t.address == "" {
		return "message bodies"
	}
	return "stream " + t.address
}

// ---- in the checkpoint ------------------------------------------------------

// carriedAt is where a carried batch belongs, and its key in the checkpoint beside those of
// the machine: shard.Carried, the log and the base offset, 8 bytes each, big-endian. The
// value is the batch.
type carriedAt struct {
	log  uint64
	base int64
}

func (c carriedAt) key() []byte {
	b := binary.BigEndian.AppendUint64([]byte{shard.Carried}, c.log)
	return binary.BigEndian.AppendUint64(b, uint64(c.base))
}

// carry returns the changes by which the checkpoint carries what segments lack of the state
// of m, and what it carries then: where each batch ends. was is what the one before carries;
// nil: it is replaced.
func carry(m *shard.Machine, tails map[uint64]*tail, was map[carriedAt]int64) (iter.Seq2[[]byte, []byte], map[carriedAt]int64) {
	now := make(map[carriedAt]int64)
	batches := make(map[carriedAt]record.Batch)
	for l := range m.Logs() {
		t := tails[l.ID]
		if t == nil {
			continue
		}
		for _, b := range t.lacking(l.Next) {
			at := carriedAt{l.ID, b.BaseOffset()}
			now[at], batches[at] = b.NextOffset(), b
		}
	}
	for at, next := range was {
		switch now[at] {
		case 0:
			batches[at] = nil
		case next: // it is there; what is not wanted may have grown
			delete(batches, at)
		}
	}
	order := slices.SortedFunc(maps.Keys(batches), func(a, b carriedAt) int { return slices.Compare(a.key(), b.key()) })
	return func(yield func(k, v []byte) bool) {
		for _, at := range order {
			if !yield(at.key(), batches[at]) {
				return
			}
		}
	}, now
}

// both yields what one sequence does and then what the other does.
func both(a, b iter.Seq2[[]byte, []byte]) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		for k, v := range a {
			if !yield(k, v) {
				return
			}
		}
		b(yield)
	}
}

// uncarry takes the carried batches out of a checkpoint: what it yields is the machine's.
func uncarry(pairs iter.Seq2[[]byte, []byte], into map[uint64][]record.Batch, err *error) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		for k, v := range pairs {
			if len(k) == 0 || k[0] != shard.Carried {
				if !yield(k, v) {
					return
				}
				continue
			}
			b, rest, berr := record.Next(slices.Clone(v))
			if len(k) != 17 || berr != nil || len(rest) > 0 {
				*err = errors.Join(storage.ErrCorrupt, errors.New("a carried batch is malformed"), berr)
				return
			}
			log := binary.BigEndian.Uint64(k[1:])
			into[log] = append(into[log], b)
		}
	}
}

// restored is the machine of a checkpoint, and what that carries of segments, by log.
func restored(pairs iter.Seq2[[]byte, []byte]) (*shard.Machine, map[uint64][]record.Batch, error) {
	m, carried := shard.New(), make(map[uint64][]record.Batch)
	var cerr error
	if err := errors.Join(m.Restore(uncarry(pairs, carried, &cerr)), cerr); err != nil {
		return nil, nil, err
	}
	m.Prepare()
	return m, carried, nil
}

// ends tells where each batch ends that a checkpoint carries.
func ends(carried map[uint64][]record.Batch) map[carriedAt]int64 {
	out := make(map[carriedAt]int64)
	for log, batches := range carried {
		for _, b := range batches {
			out[carriedAt{log, b.BaseOffset()}] = b.NextOffset()
		}
	}
	return out
}

// ---- in the tail ------------------------------------------------------------

// flushedTo tells whether the segment lacks nothing before end.
func (t *tail) flushedTo(end int64) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.flushed >= min(end, t.next)
}

// lacking returns what the segment, for certain, does not have of the batches before end: the
// live ones, behind an empty one where the first of all is not wanted any more, so that the
// first of them tells where the segment ends.
func (t *tail) lacking(end int64) []record.Batch {
	t.mu.RLock()
	defer t.mu.RUnlock()
	end = min(end, t.next)
	if t.flushed >= end {
		return nil
	}
	var out []record.Batch
	for i := range t.batches {
		if b := &t.batches[i]; b.base >= t.flushed && b.base < end && !b.dead {
			out = append(out, b.data)
		}
	}
	first := end
	if len(out) > 0 {
		first = out[0].BaseOffset()
	}
	if first > t.flushed {
		out = slices.Insert(out, 0, unwanted(t.flushed, first))
	}
	return out
}

// restore puts carried batches back, before the tail is used.
func (t *tail) restore(batches []record.Batch) {
	if len(batches) == 0 {
		return
	}
	for _, b := range batches {
		t.batches = append(t.batches, tailBatch{base: b.BaseOffset(), next: b.NextOffset(), data: b, index: new(recordIndex)})
		t.bytes += len(b)
	}
	t.first = batches[0].BaseOffset()
	t.flushed = t.first
}

// readSegment reads the segment, once more when it was opened anew meanwhile.
func (t *tail) readSegment(offset int64, maxBytes int) ([]byte, error) {
	for again := false; ; again = true {
		seg, err := t.open()
		if err != nil {
			return nil, err
		}
		b, err := seg.Read(offset, maxBytes)
		if again || !errors.Is(err, storage.ErrClosed) {
			return b, err
		}
	}
}

// reopen lets go of the segment, so that the next use opens it anew, cut to what it is
// known to hold. Who reads it meanwhile does so once more.
func (t *tail) reopen() {
	t.mu.Lock()
	seg := t.segment
	t.segment = nil
	t.mu.Unlock()
	if seg != nil {
		_ = seg.Close() // what it did not write is in memory
	}
}
