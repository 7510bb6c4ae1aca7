package kernel

import (
	"math"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/storage"
)

// tail holds the newest batches of one log in memory, in front of its segment: reads
// of recent offsets are served from here, older ones from the segment, and nothing is
// written to the segment before a checkpoint or a full memory asks for it.
//
// Ownership:
//   - append, start and drop are called by the goroutine that applies entries.
//   - flush is called by the shard's flusher.
//   - Everything else by anyone. mu guards all fields; it is never held across I/O,
//     save that segment reads happen outside of it.
type tail struct {
	id       storage.LogID
	address  string                          // of the stream; "" for bodies
	seg      func() (storage.Segment, error) // opens the segment on first use
	cold     *cold                           // the shard's
	saved    atomic.Int64                    // next, as the last checkpoint has it
	ill      atomic.Pointer[Illness]         // why the segment is not written; nil: it is
	flushing atomic.Bool                     // somebody writes the segment
	broken   atomic.Pointer[error]           // what is damaged: see fence.go
	damaged  func(error)                     // tells the kernel so
	opening  sync.Mutex                      // held while the segment is opened; before mu

	mu      sync.RWMutex
	batches []tailBatch // in offset order; gaps are legal
	first   int64       // every batch held at or after first is in batches
	flushed int64       // every batch before flushed is in the segment, or is not wanted
	start   int64       // first offset that readers may see
	next    int64       // offset of the next record
	bytes   int         // of batches
	total   int64       // bytes of the batches from start to next; -1: to be counted anew
	edits   uint64      // how often the segment was rewritten
	head    headTime
	waiters []waiting
	gone    bool
	segment storage.Segment

	resting resting
}

// headTime is the latest time of the batch that holds offset, the start when it was looked
// at: while that stays, nobody has to look again.
type headTime struct{ offset, latest int64 }

// tailBatch is one batch and, once somebody asked for a single record, where its
// records begin.
type tailBatch struct {
	base, next int64
	data       record.Batch
	dead       bool // nothing refers to it any more; body logs only
	index      *recordIndex
}

// recordIndex finds a record of an uncompressed batch without walking it.
type recordIndex struct {
	once sync.Once
	at   []uint32 // byte position of record i within the batch
}

type waiting struct {
	offset int64
	w      *Waiter
}

// append adds a batch that already has its base offset.
func (t *tail) append(b record.Batch) {
	t.mu.Lock()
	if len(t.batches) == 0 {
		t.first = b.BaseOffset()
	}
	t.batches = append(t.batches, tailBatch{base: b.BaseOffset(), next: b.NextOffset(), data: b, index: new(recordIndex)})
	t.bytes += len(b)
	if t.total >= 0 {
		t.total += int64(len(b))
	}
	t.next = b.NextOffset()
	wake := t.wakeLocked(nil)
	t.mu.Unlock()
	for _, w := range wake {
		w.wake()
	}
}

// wakeLocked takes out the waiters whose offset has come. Caller holds t.mu.
func (t *tail) wakeLocked(out []*Waiter) []*Waiter {
	kept := t.waiters[:0]
	for _, w := range t.waiters {
		if t.next > w.offset || t.gone {
			out = append(out, w.w)
		} else {
			kept = append(kept, w)
		}
	}
	clear(t.waiters[len(kept):])
	t.waiters = kept
	return out
}

// watch wakes w once next exceeds offset; at once when it does already.
func (t *tail) watch(offset int64, w *Waiter) {
	t.mu.Lock()
	if t.next > offset || t.gone {
		t.mu.Unlock()
		w.wake()
		return
	}
	t.waiters = append(t.waiters, waiting{offset, w})
	t.mu.Unlock()
	w.watched(t)
}

func (t *tail) unwatch(w *Waiter) {
	t.mu.Lock()
	defer t.mu.Unlock()
	kept := t.waiters[:0]
	for _, x := range t.waiters {
		if x.w != w {
			kept = append(kept, x)
		}
	}
	clear(t.waiters[len(kept):])
	t.waiters = kept
}

// end wakes everybody: the log is gone.
func (t *tail) end() {
	t.mu.Lock()
	t.gone = true
	wake := t.wakeLocked(nil)
	t.mu.Unlock()
	for _, w := range wake {
		w.wake()
	}
}

// bounds returns the first offset readers may see and the one past the last.
func (t *tail) bounds() (start, next int64) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.start, t.next
}

// size is the bytes of the batches between start and next, as they rest: compressed if they
// are. Having been trimmed or rewritten, they are counted anew, which may read a piece of
// the segment. 0 where that cannot be read.
func (t *tail) size() int64 {
	for {
		t.mu.RLock()
		total, start, flushed, edits, gone := t.total, t.start, t.flushed, t.edits, t.gone
		t.mu.RUnlock()
		if total >= 0 || gone {
			return max(total, 0)
		}
		var rest int64
		if start < flushed {
			var err error
			if rest, err = t.restSize(start, flushed); err != nil {
				return 0
			}
		}
		t.mu.Lock()
		if t.start == start && t.flushed == flushed && t.edits == edits {
			for i := t.find(max(start, flushed)); i < len(t.batches); i++ {
				rest += int64(len(t.batches[i].data))
			}
			t.total = rest
		}
		t.mu.Unlock()
	}
}

// restSize is the bytes of the batches in the segment from one offset to another.
func (t *tail) restSize(from, to int64) (int64, error) {
	seg, err := t.open()
	if err != nil {
		return 0, err
	}
	n, err := seg.SizeFrom(from)
	if err != nil {
		return 0, err
	}
	behind, err := seg.SizeFrom(to)
	return n - behind, err
}

// asLate returns where the first batch begins that ends at or after from and has a record
// as late as ms, and the latest time in it. ok false: there is none.
func (t *tail) asLate(from, ms int64) (offset, latest int64, ok bool, err error) {
	t.mu.RLock()
	inSegment := from < t.flushed && (from < t.first || len(t.batches) == 0)
	t.mu.RUnlock()
	if inSegment {
		seg, err := t.open()
		if err != nil {
			return 0, 0, false, err
		}
		base, latest, ok, err := seg.OffsetForTime(from, ms)
		if ok || err != nil {
			return max(base, from), latest, ok, err
		}
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	for i := t.find(from); i < len(t.batches); i++ {
		if b := &t.batches[i]; !b.dead && b.data.MaxTime() >= ms {
			return max(b.base, from), b.data.MaxTime(), true, nil
		}
	}
	return 0, 0, false, nil
}

// youngerThan returns the first offset at or after from to keep where what is older than
// ms is to go, and how old that is: the latest time in its batch. A batch is as old as its
// newest record. A log without any time in it is of no age.
func (t *tail) youngerThan(ms, from int64) (offset, latest int64, err error) {
	t.mu.RLock()
	next, head := t.next, t.head
	t.mu.RUnlock()
	if from == next {
		return next, math.MaxInt64, nil
	}
	if head.offset == from && head.latest >= ms {
		return from, head.latest, nil
	}
	offset, latest, ok, err := t.asLate(from, ms)
	if err != nil {
		return from, 0, err
	}
	if ok {
		t.mu.Lock()
		t.head = headTime{offset, latest}
		t.mu.Unlock()
		return offset, latest, nil
	}
	if _, _, timed, err := t.asLate(from, 0); !timed || err != nil {
		return from, math.MaxInt64, err
	}
	return next, math.MaxInt64, nil
}

// lastBytes returns the first offset to keep where at most n bytes are to stay: the newest
// batches that have no more together, and the last one at any rate.
func (t *tail) lastBytes(n int64) (int64, error) {
	t.mu.RLock()
	start, first, held := t.start, t.first, len(t.batches)
	if start == t.next {
		t.mu.RUnlock()
		return start, nil
	}
	for i := held - 1; i >= 0; i-- {
		if n -= int64(len(t.batches[i].data)); n < 0 && i < held-1 {
			defer t.mu.RUnlock()
			return max(start, t.batches[i+1].base), nil
		}
	}
	t.mu.RUnlock()
	if held > 0 && (start >= first || n <= 0) {
		return max(start, first), nil
	}
	seg, err := t.open()
	if err != nil {
		return start, err
	}
	dup, err := seg.SizeFrom(first) // what is in memory as well
	if err != nil {
		return start, err
	}
	offset, err := seg.LastBytes(n + dup)
	if err == nil && held == 0 && offset >= seg.End() {
		var raw []byte
		if raw, err = seg.Read(seg.End()-1, 1); err == nil && len(raw) >= record.HeaderLen {
			offset = record.Batch(raw).BaseOffset()
		}
	}
	return max(start, offset), err
}

// read returns whole batches from offset on, as storage.Segment.Read does. offset must
// lie within bounds.
func (t *tail) read(offset int64, maxBytes int, minOne bool) ([][]byte, error) {
	t.mu.RLock()
	start, next := t.start, t.next
	if t.gone {
		t.mu.RUnlock()
		return nil, fault.Of(fault.NotFound, "read", "")
	}
	if offset < start || offset > next {
		t.mu.RUnlock()
		return nil, fault.New(fault.OutOfRange, "read", "", "offset %d, held are %d to %d", offset, start, next)
	}
	if offset == next {
		t.mu.RUnlock()
		return nil, nil
	}
	if len(t.batches) > 0 && offset >= t.first {
		out := t.readLocked(offset, maxBytes, minOne)
		t.mu.RUnlock()
		return out, nil
	}
	t.mu.RUnlock()

	b, err := t.readSegment(offset, maxBytes)
	if err != nil {
		return nil, err
	}
	if len(b) == 0 { // a gap, or flushed and trimmed meanwhile: go on in memory
		t.mu.RLock()
		defer t.mu.RUnlock()
		return t.readLocked(max(offset, t.first), maxBytes, minOne), nil
	}
	if len(b) > maxBytes && !minOne {
		return nil, nil
	}
	return [][]byte{b}, nil
}

func (t *tail) readLocked(offset int64, maxBytes int, minOne bool) [][]byte {
	i := t.find(offset)
	var out [][]byte
	for n := 0; i < len(t.batches); i++ {
		b := &t.batches[i]
		if b.dead {
			continue
		}
		if n+len(b.data) > maxBytes && (n > 0 || !minOne) {
			break
		}
		out = append(out, b.data)
		n += len(b.data)
	}
	return out
}

// find returns the index of the first batch that ends after offset. Caller holds mu.
func (t *tail) find(offset int64) int {
	return sort.Search(len(t.batches), func(i int) bool { return t.batches[i].next > offset })
}

// record calls fn with the one record at offset.
func (t *tail) record(offset int64, fn func(r *record.Record, made bool) error) error {
	t.mu.RLock()
	i := t.find(offset)
	if i < len(t.batches) && t.batches[i].base <= offset {
		b := t.batches[i]
		t.mu.RUnlock()
		if b.dead {
			return fault.New(fault.NotFound, "read record", "", "offset %d is not wanted any more", offset)
		}
		return b.record(offset, fn)
	}
	t.mu.RUnlock()
	return t.cold.record(t, offset, fn)
}

func (b *tailBatch) record(offset int64, fn func(r *record.Record, made bool) error) error {
	if b.data.Codec() != 0 || b.next-b.base <= 2 {
		return walk(b.data, offset, fn)
	}
	b.index.once.Do(func() {
		b.index.at, _ = record.Index(make([]uint32, 0, b.data.Count()), b.data)
	})
	i := offset - b.base
	if i >= int64(len(b.index.at)) || int64(len(b.index.at)) != b.next-b.base {
		return walk(b.data, offset, fn) // the batch has gaps
	}
	var r record.Reader
	if err := r.ResetAt(b.data, b.index.at[i]); err != nil {
		return err
	}
	if !r.Next() {
		return r.Err()
	}
	return fn(r.Record(), b.data.Made())
}

func walk(b record.Batch, offset int64, fn func(r *record.Record, made bool) error) error {
	var r record.Reader
	if err := r.Reset(b); err != nil {
		return err
	}
	for r.Next() {
		if rec := r.Record(); rec.Offset == offset {
			return fn(rec, b.Made())
		}
	}
	if r.Err() != nil {
		return r.Err()
	}
	return fault.New(fault.NotFound, "read record", "", "offset %d is not in its batch", offset)
}

// offsetForTime finds the first record at or after ms: -1 when there is none.
func (t *tail) offsetForTime(ms int64) (offset, at int64, err error) {
	t.mu.RLock()
	start, first, gone := t.start, t.first, t.gone || len(t.batches) == 0
	t.mu.RUnlock()
	if start < first || gone {
		seg, err := t.open()
		if err != nil {
			return -1, -1, err
		}
		for from := start; ; {
			base, _, ok, err := seg.OffsetForTime(from, ms)
			if err != nil {
				return -1, -1, err
			}
			if !ok {
				break
			}
			raw, err := seg.Read(base, 1)
			if err != nil {
				return -1, -1, err
			}
			b, _, err := record.Next(raw)
			if err != nil || len(raw) == 0 {
				break
			}
			if off, at := timeInBatch(b, ms, start); off >= 0 {
				return off, at, nil
			}
			from = b.NextOffset() // what is as late in it lies before start
		}
	}
	t.mu.RLock()
	batches := t.batches
	t.mu.RUnlock()
	for i := range batches {
		if batches[i].data.MaxTime() < ms || batches[i].next <= start {
			continue
		}
		if off, at := timeInBatch(batches[i].data, ms, start); off >= 0 {
			return off, at, nil
		}
	}
	return -1, -1, nil
}

func timeInBatch(b record.Batch, ms, start int64) (offset, at int64) {
	offset, at = -1, -1
	var r record.Reader
	if r.Reset(b) != nil {
		return
	}
	for r.Next() {
		if rec := r.Record(); rec.Time >= ms && rec.Offset >= start {
			return rec.Offset, rec.Time
		}
	}
	return
}

// trim moves the first offset that readers may see, and lets go of memory before keep. Who
// waits at the end of a log that becomes empty looks again: it may have been deleted.
func (t *tail) trim(start, keep int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if start == t.next {
		for _, w := range t.waiters {
			w.w.wake()
		}
		t.waiters = nil
	}
	if start > t.start {
		switch {
		case start == t.next:
			t.total = 0
		case len(t.batches) == 0 || t.start < t.first:
			t.total = -1
		case t.total >= 0:
			for i := t.find(t.start); i < len(t.batches) && t.batches[i].next <= start; i++ {
				t.total -= int64(len(t.batches[i].data))
			}
		}
		t.start = start
	}
	n := 0
	for n < len(t.batches) && t.batches[n].next <= keep {
		t.bytes -= len(t.batches[n].data)
		n++
	}
	if n > 0 {
		t.shiftLocked(n)
	}
}

func (t *tail) shiftLocked(n int) {
	if n == len(t.batches) {
		t.first = t.batches[n-1].next
		t.batches = nil
		return
	}
	// A fresh slice: readers hold the old one.
	t.batches = append(make([]tailBatch, 0, len(t.batches)-n+16), t.batches[n:]...)
	t.first = t.batches[0].base
}

// free says that nothing refers to the body batch at base any more.
func (t *tail) free(base int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := t.find(base)
	if i >= len(t.batches) || t.batches[i].base != base {
		return // it left memory already
	}
	if t.total >= 0 {
		t.total -= int64(len(t.batches[i].data))
	}
	t.bytes -= len(t.batches[i].data)
	t.batches[i].dead, t.batches[i].data, t.batches[i].index = true, nil, nil
	n := 0
	for n < len(t.batches) && t.batches[n].dead {
		n++
	}
	// Letting go one by one would copy the slice each time: wait for a good number.
	if n == len(t.batches) || n >= 64 && n >= len(t.batches)/2 {
		t.shiftLocked(n)
	}
}

// flush writes the live batches before end to the segment and syncs it.
func (t *tail) flush(end int64, sync bool) error {
	t.mu.RLock()
	var out [][]byte
	for i := range t.batches {
		b := &t.batches[i]
		if b.base >= end {
			break
		}
		if b.base >= t.flushed && !b.dead {
			out = append(out, b.data)
		}
	}
	done := max(t.flushed, min(end, t.next))
	held := t.flushed
	t.mu.RUnlock()
	if len(out) > 0 {
		held = max(held, record.Batch(out[len(out)-1]).NextOffset())
	}
	if held < done {
		// What stood at the end is not wanted any more. An empty batch in its place tells
		// the segment, should it be torn later, that nothing is missing.
		out = append(out, unwanted(held, done))
	}
	seg := t.opened()
	if len(out) > 0 {
		var err error
		if seg, err = t.open(); err != nil {
			return err
		}
		if err := seg.Append(out...); err != nil {
			return err
		}
	}
	if seg != nil && sync {
		if err := seg.Sync(); err != nil {
			return err
		}
	}
	t.mu.Lock()
	t.flushed = max(t.flushed, done)
	t.mu.Unlock()
	if t.resting.roll.Swap(false) {
		if seg := t.opened(); seg != nil {
			return seg.Roll()
		}
	}
	return nil
}

// unwanted is an empty batch in the place of those from base on to before next.
func unwanted(base, next int64) record.Batch {
	var rb record.Builder
	rb.Reset(nil, 0)
	rb.Cover(int32(next - 1 - base))
	b := rb.Finish()
	b.SetBaseOffset(base)
	return b
}

// release lets go of flushed batches from the oldest on until at most keep bytes stay.
func (t *tail) release(keep int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for n < len(t.batches) && t.bytes > keep && t.batches[n].next <= t.flushed {
		t.bytes -= len(t.batches[n].data)
		n++
	}
	if n > 0 {
		t.shiftLocked(n)
	}
}

// ended tells whether the log was deleted.
func (t *tail) ended() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.gone
}

func (t *tail) opened() storage.Segment {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.segment
}

func (t *tail) open() (storage.Segment, error) {
	if s := t.opened(); s != nil {
		return s, nil
	}
	t.opening.Lock()
	defer t.opening.Unlock()
	t.mu.RLock()
	s, gone, flushed := t.segment, t.gone, t.flushed
	t.mu.RUnlock()
	switch {
	case s != nil:
		return s, nil
	case gone: // opening would make it anew
		return nil, fault.Of(fault.NotFound, "open segment", "")
	}
	s, err := t.seg()
	if err == nil {
		err = s.TruncateTo(flushed)
	}
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	t.segment = s
	t.mu.Unlock()
	return s, nil
}
