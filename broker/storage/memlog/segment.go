package memlog

import (
	"fmt"
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/storage"
)

// Batches are copied into slabs, so that Read hands out several as one slice
// without copying. A slab's bytes never change once written: a reader may keep them.
const (
	slabMin = 4 << 10   // first slab of a segment; each next one is twice the last
	slabMax = 256 << 10 // larger only for a single larger batch
)

type segments struct {
	closed *atomic.Bool // shared with the engine

	mu   sync.Mutex
	open map[storage.LogID]*segment
}

func (s *segments) Open(id storage.LogID) (storage.Segment, error) {
	if s.closed.Load() {
		return nil, storage.ErrClosed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	seg := s.open[id]
	if seg == nil {
		seg = &segment{closed: s.closed}
		s.open[id] = seg
	}
	return seg, nil
}

func (s *segments) Remove(id storage.LogID) error {
	if s.closed.Load() {
		return storage.ErrClosed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, id)
	return nil
}

func (s *segments) List(shard storage.ShardID) ([]storage.LogID, error) {
	if s.closed.Load() {
		return nil, storage.ErrClosed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []storage.LogID
	for id := range s.open {
		if id.Shard == shard {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b storage.LogID) int {
		if a.Log < b.Log {
			return -1
		}
		return 1
	})
	return ids, nil
}

// segment is storage.Segment in memory. Closing it forgets nothing: the next Open
// of the same LogID finds it again.
type segment struct {
	closed *atomic.Bool

	mu      sync.RWMutex
	batches []batch // in offset order
	tail    []byte  // the slab that the next batch goes to, if it has room
	slab    int     // capacity of the last slab made
	end     int64
	size    int64
	rest    int64 // batches before it are at rest: see Roll
	shared  bool  // others have batches where they lie: see Image
}

// batch is where one batch lies.
type batch struct {
	base, last int64
	latest     int64  // the largest MaxTime up to and including this batch
	data       []byte // capacity reaches to the end of the slab's written part
	slabNo     int32  // batches with equal numbers are adjacent in memory
}

func (s *segment) Append(batches ...[]byte) error {
	if s.closed.Load() {
		return storage.ErrClosed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	end := s.end
	for _, b := range batches { // all or none
		rb, rest, err := record.Next(b)
		if err != nil || len(rest) != 0 {
			return fmt.Errorf("memlog: append: not one whole batch of %d bytes: %w", len(b), err)
		}
		if rb.BaseOffset() < end || rb.LastOffsetDelta() < 0 {
			return fmt.Errorf("memlog: append: batch %d-%d after offset %d", rb.BaseOffset(), rb.LastOffset(), end)
		}
		end = rb.NextOffset()
	}
	for _, b := range batches {
		s.appendLocked(record.Batch(b))
	}
	return nil
}

func (s *segment) appendLocked(b record.Batch) {
	latest, no := b.MaxTime(), int32(0)
	if n := len(s.batches); n > 0 {
		latest, no = max(latest, s.batches[n-1].latest), s.batches[n-1].slabNo
	}
	if cap(s.tail)-len(s.tail) < len(b) {
		s.slab = min(max(slabMin, 2*s.slab), slabMax)
		s.tail = make([]byte, 0, max(s.slab, len(b)))
		no++
	}
	at := len(s.tail)
	s.tail = append(s.tail, b...)
	s.batches = append(s.batches, batch{
		base: b.BaseOffset(), last: b.LastOffset(), latest: latest, data: s.tail[at:], slabNo: no,
	})
	s.end = b.NextOffset()
	s.size += int64(len(b))
}

func (s *segment) Sync() error {
	if s.closed.Load() {
		return storage.ErrClosed
	}
	return nil
}

func (s *segment) Read(offset int64, maxBytes int) ([]byte, error) {
	if s.closed.Load() {
		return nil, storage.ErrClosed
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	i := sort.Search(len(s.batches), func(i int) bool { return s.batches[i].last >= offset })
	if i == len(s.batches) {
		return nil, nil
	}
	first, n := &s.batches[i], len(s.batches[i].data)
	for i++; i < len(s.batches); i++ {
		b := &s.batches[i]
		if b.slabNo != first.slabNo || n+len(b.data) > maxBytes {
			break
		}
		n += len(b.data)
	}
	return first.data[:n:n], nil
}

func (s *segment) OffsetForTime(from, ms int64) (int64, int64, bool, error) {
	if s.closed.Load() {
		return 0, 0, false, storage.ErrClosed
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	// Nothing before the first of these is as late, or none of it ends after from.
	i := max(sort.Search(len(s.batches), func(i int) bool { return s.batches[i].latest >= ms }), s.find(from))
	for ; i < len(s.batches); i++ {
		if at := record.Batch(s.batches[i].data).MaxTime(); at >= ms {
			return s.batches[i].base, at, true, nil
		}
	}
	return 0, 0, false, nil
}

// find is the index of the first batch that ends at or after offset. Caller holds mu.
func (s *segment) find(offset int64) int {
	return sort.Search(len(s.batches), func(i int) bool { return s.batches[i].last >= offset })
}

func (s *segment) SizeFrom(offset int64) (int64, error) {
	if s.closed.Load() {
		return 0, storage.ErrClosed
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	var n int64
	for i := range s.batches[s.find(offset):] {
		n += int64(len(s.batches[len(s.batches)-1-i].data))
	}
	return n, nil
}

func (s *segment) LastBytes(n int64) (int64, error) {
	if s.closed.Load() {
		return 0, storage.ErrClosed
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	first := s.end
	for _, b := range slices.Backward(s.batches) {
		if n -= int64(len(b.data)); n < 0 {
			break
		}
		first = b.base
	}
	return first, nil
}

// SetFileBytes changes nothing: there are no files.
func (s *segment) SetFileBytes(int64) {}

// Roll puts what there is to rest.
func (s *segment) Roll() error {
	if s.closed.Load() {
		return storage.ErrClosed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rest = s.end
	return nil
}

// Bounds are those of one file at rest, and of the one that follows.
func (s *segment) Bounds() []int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.batches) == 0 || s.batches[0].base >= s.rest {
		return []int64{s.end}
	}
	return []int64{s.batches[0].base, s.rest}
}

func (s *segment) Rewrite(from, to int64, edit func([]byte) ([]byte, error)) (bool, error) {
	if s.closed.Load() {
		return false, storage.ErrClosed
	}
	s.mu.RLock()
	n := s.find(to)
	old := slices.Clone(s.batches[:n])
	there := n > 0 && old[0].base == from && to == s.rest
	s.mu.RUnlock()
	if !there {
		return false, nil
	}
	made := segment{closed: s.closed} // with slabs of its own
	for i := range old {
		b := old[i].data[:len(old[i].data):len(old[i].data)]
		out, err := edit(b)
		if err != nil {
			return false, err
		}
		if out != nil {
			made.appendLocked(record.Batch(out))
		}
	}
	if made.end < to {
		made.appendLocked(record.Empty(to - 1))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rest != to || len(s.batches) < n || !same(s.batches[:n], old) {
		return false, nil // cut or dropped meanwhile
	}
	behind := slices.Clone(s.batches[n:])
	latest, no := made.batches[len(made.batches)-1].latest, made.batches[len(made.batches)-1].slabNo+1
	for i := range behind {
		behind[i].slabNo += no // slabs are told apart by their numbers
		latest = max(latest, record.Batch(behind[i].data).MaxTime())
		behind[i].latest = latest
	}
	s.batches = slices.Concat(made.batches, behind)
	for i := range old {
		s.size -= int64(len(old[i].data))
	}
	s.size += made.size
	if len(behind) == 0 {
		s.tail = nil // the next batch goes to a new slab, of a number of its own
	}
	return true, nil
}

// same tells whether two lists are of the same batches.
func same(a, b []batch) bool {
	return slices.EqualFunc(a, b, func(a, b batch) bool { return &a.data[0] == &b.data[0] })
}

func (s *segment) Start() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.batches) == 0 {
		return s.end
	}
	return s.batches[0].base
}

func (s *segment) End() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.end
}

func (s *segment) Size() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.size
}

func (s *segment) TruncateTo(end int64) error {
	if s.closed.Load() {
		return storage.ErrClosed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := sort.Search(len(s.batches), func(i int) bool { return s.batches[i].base >= end })
	if n < len(s.batches) {
		s.tail = nil // what was cut stays as it is for those who read it
	}
	s.rest = min(s.rest, max(end, 0))
	for _, b := range s.batches[n:] {
		s.size -= int64(len(b.data))
	}
	if s.shared {
		s.batches = slices.Clip(s.batches[:n])
	} else {
		clear(s.batches[n:])
		s.batches = s.batches[:n]
	}
	if n > 0 {
		s.end = s.batches[n-1].last + 1
	} else {
		s.end = min(s.end, max(end, 0))
	}
	return nil
}

// DropBefore drops batch by batch: here a file is one batch.
func (s *segment) DropBefore(offset int64) error {
	if s.closed.Load() {
		return storage.ErrClosed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := sort.Search(len(s.batches), func(i int) bool { return s.batches[i].last >= offset })
	for _, b := range s.batches[:n] {
		s.size -= int64(len(b.data))
	}
	if n > 0 {
		s.batches, s.shared = slices.Clone(s.batches[n:]), false
	}
	return nil
}

func (s *segment) Close() error { return nil }
