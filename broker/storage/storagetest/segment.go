package storagetest

import (
	"bytes"
	"errors"
	"slices"
	"sync"

	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/storage"
)

func (r *rig) segment(id storage.LogID) storage.Segment {
	r.Helper()
	s, err := r.eng.Segments().Open(id)
	r.ok(err)
	return s
}

// reopenSegment syncs, closes and opens: the engine as well, where that makes sense.
func (r *rig) reopenSegment(s storage.Segment, id storage.LogID) storage.Segment {
	r.Helper()
	r.ok(s.Sync())
	r.ok(s.Close())
	r.reopen()
	return r.segment(id)
}

// readAll reads from offset on, maxBytes at a time, and returns the batches.
func readAll(s storage.Segment, offset int64, maxBytes int) ([][]byte, error) {
	var all [][]byte
	for {
		b, err := s.Read(offset, maxBytes)
		if err != nil || b == nil {
			return all, err
		}
		for len(b) > 0 {
			batch, rest, err := record.Check(b, len(b))
			if err != nil {
				return all, err
			}
			all = append(all, batch)
			offset, b = batch.NextOffset(), rest
		}
	}
}

func (r *rig) wantSegment(s storage.Segment, start, end int64, want ...[]byte) {
	r.Helper()
	if s.Start() != start || s.End() != end {
		r.Errorf("segment holds [%d,%d), want [%d,%d)", s.Start(), s.End(), start, end)
	}
	for _, maxBytes := range []int{0, 300, 1 << 20} {
		got, err := readAll(s, s.Start(), maxBytes)
		r.ok(err)
		if !slices.EqualFunc(got, want, bytes.Equal) {
			r.Errorf("read %d bytes at a time: got %d batches, want %d, or other bytes", maxBytes, len(got), len(want))
		}
	}
	if len(want) == 0 && s.Size() != 0 && !r.eng.Durable() {
		r.Errorf("an empty segment has %d bytes", s.Size())
	}
}

var logA = storage.LogID{Shard: 1, Log: 42}

func segmentRead(r *rig) {
	s := r.segment(logA)
	r.wantSegment(s, 0, 0)
	b := [][]byte{Batch(0, 10, 1000, 500), Batch(10, 1, 1001, 100), Batch(11, 5, 1002, 50_000), Batch(16, 4, 1003, 10)}
	r.ok(s.Append(b[0], b[1]))
	r.ok(s.Append())
	r.ok(s.Append(b[2]))
	r.wantSegment(s, 0, 16, b[:3]...)
	if got, err := s.Read(5, 1); err != nil || !bytes.Equal(got, b[0]) {
		r.Errorf("read inside the first batch: %d bytes, %v", len(got), err)
	}
	if got, err := s.Read(16, 1<<20); err != nil || got != nil {
		r.Errorf("read at the end: %d bytes, %v", len(got), err)
	}
	s = r.reopenSegment(s, logA)
	r.ok(s.Append(b[3]))
	r.wantSegment(s, 0, 20, b...)
	s = r.reopenSegment(s, logA)
	r.wantSegment(s, 0, 20, b...)

	again := r.segment(logA) // a second handle sees the same
	r.wantSegment(again, 0, 20, b...)
	r.ok(again.Close())
	r.wantSegment(s, 0, 20, b...)
	r.ok(s.Close())
}

// segmentGaps: compaction leaves gaps, and a segment may begin anywhere.
func segmentGaps(r *rig) {
	s := r.segment(logA)
	b := [][]byte{Batch(1000, 10, 1, 100), Batch(2000, 10, 2, 100), Batch(1<<40, 2, 3, 100)}
	r.ok(s.Append(b...))
	for range 2 {
		r.wantSegment(s, 1000, 1<<40+2, b...)
		for _, tt := range []struct {
			offset int64
			want   []byte
		}{{0, b[0]}, {1009, b[0]}, {1010, b[1]}, {2010, b[2]}, {1<<40 + 1, b[2]}, {1<<40 + 2, nil}} {
			if got, err := s.Read(tt.offset, 1); err != nil || !bytes.Equal(got, tt.want) {
				r.Errorf("Read(%d): %d bytes, %v", tt.offset, len(got), err)
			}
		}
		s = r.reopenSegment(s, logA)
	}
}

func segmentReadBounds(r *rig) {
	s := r.segment(logA)
	b := [][]byte{Batch(0, 1, 1, 1000), Batch(1, 1, 1, 1000), Batch(2, 1, 1, 1000)}
	r.ok(s.Append(b...))
	n := len(b[0])
	for _, tt := range []struct{ max, want int }{{0, n}, {-5, n}, {2*n - 1, n}, {2 * n, 2 * n}, {3*n - 1, 2 * n}, {1 << 30, 3 * n}} {
		if got, err := s.Read(0, tt.max); err != nil || len(got) != tt.want {
			r.Errorf("Read(0, %d) = %d bytes, %v; want %d", tt.max, len(got), err, tt.want)
		}
	}
	if got, err := s.Read(-1, 1); err != nil || len(got) != n {
		r.Errorf("Read(-1) = %d bytes, %v", len(got), err)
	}
}

func segmentTime(r *rig) {
	s := r.segment(logA)
	if _, _, ok, err := s.OffsetForTime(0, 0); ok || err != nil {
		r.Errorf("OffsetForTime on an empty segment: %v, %v", ok, err)
	}
	// Times go back and forth, as producers' clocks do.
	for i, ms := range []int64{100, 90, 300, 200, 300, 400, 50} {
		r.ok(s.Append(Batch(int64(10*i), 10, ms, 20_000)))
	}
	for range 2 {
		for _, tt := range []struct {
			from, ms     int64
			base, latest int64 // -1: there is none
		}{
			{0, 0, 0, 100}, {0, 100, 0, 100}, {0, 101, 20, 300}, {0, 300, 20, 300}, {0, 301, 50, 400}, {0, 400, 50, 400}, {0, 401, -1, 0},
			{9, 0, 0, 100}, {10, 0, 10, 90}, {10, 100, 20, 300}, {30, 201, 40, 300}, {41, 100, 40, 300}, {60, 50, 60, 50}, {60, 51, -1, 0}, {70, 0, -1, 0},
		} {
			base, latest, ok, err := s.OffsetForTime(tt.from, tt.ms)
			if err != nil || ok != (tt.base >= 0) || ok && (base != tt.base || latest != tt.latest) {
				r.Errorf("OffsetForTime(%d, %d) = %d, %d, %v, %v; want %d, %d", tt.from, tt.ms, base, latest, ok, err, tt.base, tt.latest)
			}
		}
		s = r.reopenSegment(s, logA)
	}
}

func segmentTruncate(r *rig) {
	s := r.segment(logA)
	var b [][]byte
	for i := range int64(20) {
		b = append(b, Batch(10*i, 10, i, 1000))
	}
	r.ok(s.Append(b...))
	held, err := s.Read(100, 1<<20) // a reader keeps what it has read
	r.ok(err)
	held = bytes.Clone(held)
	kept, err := s.Read(100, 1<<20)
	r.ok(err)

	r.ok(s.TruncateTo(500)) // past the end: nothing
	r.wantSegment(s, 0, 200, b...)
	r.ok(s.TruncateTo(155)) // inside a batch, which stays
	r.wantSegment(s, 0, 160, b[:16]...)
	r.ok(s.TruncateTo(100))
	r.wantSegment(s, 0, 100, b[:10]...)
	other := Batch(100, 10, 77, 900)
	r.ok(s.Append(other))
	r.wantSegment(s, 0, 110, append(slices.Clone(b[:10]), other)...)
	if !bytes.Equal(kept, held) {
		r.Error("bytes that were read have changed")
	}
	if base, _, ok, err := s.OffsetForTime(0, 77); err != nil || !ok || base != 100 {
		r.Errorf("OffsetForTime(77) = %d, %v, %v", base, ok, err)
	}
	if _, _, ok, _ := s.OffsetForTime(0, 78); ok {
		r.Error("the time index remembers what was cut")
	}
	s = r.reopenSegment(s, logA)
	r.wantSegment(s, 0, 110, append(slices.Clone(b[:10]), other)...)
}

func segmentTruncateAll(r *rig) {
	s := r.segment(logA)
	r.ok(s.Append(Batch(100, 10, 1, 100), Batch(110, 10, 2, 100)))
	r.ok(s.TruncateTo(40))
	r.wantSegment(s, 40, 40)
	s = r.reopenSegment(s, logA)
	r.wantSegment(s, 40, 40)
	b := Batch(50, 1, 1, 1)
	r.ok(s.Append(b))
	r.wantSegment(s, 50, 51, b)
	r.ok(s.TruncateTo(0))
	r.wantSegment(s, 0, 0)
	s = r.reopenSegment(s, logA)
	r.wantSegment(s, 0, 0)
}

func segmentDrop(r *rig) {
	s := r.segment(logA)
	var b [][]byte
	for i := range int64(200) {
		b = append(b, Batch(10*i, 10, i, 2000))
		r.ok(s.Append(b[i]))
	}
	size := s.Size()
	r.ok(s.DropBefore(0))
	r.wantSegment(s, 0, 2000, b...)
	r.ok(s.DropBefore(1505))
	// What goes is up to the engine's files; never the batch that holds the offset.
	start := s.Start()
	if start > 1500 || start%10 != 0 {
		r.Fatalf("after DropBefore(1505) the segment starts at %d", start)
	}
	r.wantSegment(s, start, 2000, b[start/10:]...)
	if start > 0 && s.Size() >= size {
		r.Errorf("size went from %d to %d", size, s.Size())
	}
	s = r.reopenSegment(s, logA)
	r.wantSegment(s, start, 2000, b[start/10:]...)

	// Everything: the end is remembered.
	r.ok(s.DropBefore(5000))
	r.wantSegment(s, 2000, 2000)
	s = r.reopenSegment(s, logA)
	r.wantSegment(s, 2000, 2000)
	r.fails(s.Append(Batch(1999, 1, 1, 1)), "an offset below the end")
	last := Batch(2000, 1, 1, 1)
	r.ok(s.Append(last))
	r.wantSegment(s, 2000, 2001, last)
}

func segmentRefuse(r *rig) {
	s := r.segment(logA)
	good := Batch(0, 10, 1, 100)
	r.ok(s.Append(good))
	r.fails(s.Append(Batch(9, 1, 1, 1)), "an overlapping batch")
	r.fails(s.Append(Batch(10, 1, 1, 1), Batch(10, 1, 1, 1)), "two batches at one offset")
	r.fails(s.Append(good[:len(good)-1]), "a batch cut short")
	r.fails(s.Append(append(Batch(10, 1, 1, 1), 0)), "a batch with a byte more")
	r.fails(s.Append(nil), "an empty batch")
	r.wantSegment(s, 0, 10, good) // all or none
}

func segmentList(r *rig) {
	ids := []storage.LogID{{Shard: 1, Log: 0}, {Shard: 1, Log: 7}, {Shard: 1, Log: 1 << 63}}
	for _, id := range append(ids, storage.LogID{Shard: 2, Log: 5}) {
		s := r.segment(id)
		r.ok(s.Append(Batch(int64(id.Log&0xff), 1, 1, 10)))
		r.ok(s.Sync())
		r.ok(s.Close())
	}
	r.reopen()
	want := func(shard storage.ShardID, want ...storage.LogID) {
		r.Helper()
		got, err := r.eng.Segments().List(shard)
		r.ok(err)
		if !slices.Equal(got, want) {
			r.Errorf("List(%d) = %v, want %v", shard, got, want)
		}
	}
	want(1, ids...)
	want(3)
	r.ok(r.eng.Segments().Remove(ids[1]))
	r.ok(r.eng.Segments().Remove(ids[1])) // gone already
	want(1, ids[0], ids[2])
	r.reopen()
	want(1, ids[0], ids[2])
	want(2, storage.LogID{Shard: 2, Log: 5})
	s := r.segment(ids[1]) // created anew
	r.wantSegment(s, 0, 0)

	r.ok(r.eng.Close())
	if _, err := r.eng.Segments().Open(ids[0]); !errors.Is(err, storage.ErrClosed) {
		r.Errorf("open after Close: %v", err)
	}
	if err := s.Append(Batch(0, 1, 1, 1)); !errors.Is(err, storage.ErrClosed) {
		r.Errorf("append after Close: %v", err)
	}
}

// segmentReaders: one writer, many readers, and what they read is always whole.
func segmentReaders(r *rig) {
	s := r.segment(logA)
	const batches = 300
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				all, err := readAll(s, s.Start(), 10_000)
				if err != nil {
					r.Errorf("read: %v", err)
					return
				}
				for i := 1; i < len(all); i++ {
					if record.Batch(all[i]).BaseOffset() < record.Batch(all[i-1]).NextOffset() {
						r.Error("offsets went backwards")
						return
					}
				}
				if _, _, _, err := s.OffsetForTime(0, batches/2); err != nil {
					r.Errorf("time: %v", err)
					return
				}
			}
		})
	}
	for i := int64(0); i < batches; i++ {
		r.ok(s.Append(Batch(s.End(), 10, i, 3000)))
		switch {
		case i%37 == 36:
			r.ok(s.TruncateTo(s.End() - 45))
		case i%51 == 50:
			r.ok(s.DropBefore(s.End() - 200))
		}
	}
	close(stop)
	readers.Wait()
}

func segmentSize(r *rig) {
	s := r.segment(logA)
	var b [][]byte
	for i := range int64(40) {
		b = append(b, Batch(10*i, 5, i, 100+int(i)*50)) // with gaps
	}
	r.ok(s.Append(b...))
	for range 2 {
		held := int64(0)
		for i := int64(39); i >= 0; i-- {
			if got, err := s.LastBytes(held + int64(len(b[i])) - 1); err != nil || got <= 10*i+4 || got > 10*i+10 {
				r.Errorf("LastBytes, batches after %d: %d, %v", 10*i, got, err)
			}
			held += int64(len(b[i]))
			for _, from := range []int64{10*i - 5, 10 * i, 10*i + 4} {
				if got, err := s.SizeFrom(from); err != nil || got != held {
					r.Errorf("SizeFrom(%d) = %d, %v; want %d", from, got, err, held)
				}
			}
		}
		if got, err := s.LastBytes(1 << 40); err != nil || got != 0 {
			r.Errorf("LastBytes of everything: %d, %v", got, err)
		}
		s = r.reopenSegment(s, logA)
	}
}

// segmentRewrite: what is at rest is rewritten; offsets stay, and so do the bytes of who
// has read.
func segmentRewrite(r *rig) {
	s := r.segment(logA)
	var b [][]byte
	for i := range int64(9) {
		b = append(b, Batch(10*i, 10, i, 1000))
	}
	r.ok(s.Append(b[:3]...))
	r.ok(s.Roll())
	r.ok(s.Append(b[3:6]...))
	r.ok(s.Sync())
	bounds := s.Bounds()
	if len(bounds) != 2 || bounds[0] != 0 || bounds[1] != 30 {
		r.Fatalf("bounds %v, want [0 30]", bounds)
	}
	held, err := s.Read(0, 1<<20)
	r.ok(err)
	before := bytes.Clone(held)
	if done, err := s.Rewrite(0, 60, func(b []byte) ([]byte, error) { return b, nil }); done || err != nil {
		r.Errorf("rewriting what is not at rest: %v, %v", done, err)
	}
	failed := errors.New("no")
	if done, err := s.Rewrite(0, 30, func([]byte) ([]byte, error) { return nil, failed }); done || !errors.Is(err, failed) {
		r.Errorf("a refused rewriting: %v, %v", done, err)
	}
	r.wantSegment(s, 0, 60, b[:6]...)
	other := Batch(12, 3, 99, 50)
	done, err := s.Rewrite(0, 30, func(b []byte) ([]byte, error) {
		switch base := record.Batch(b).BaseOffset(); base {
		case 10:
			return other, nil
		case 20:
			return nil, nil
		}
		return b, nil
	})
	if !done || err != nil {
		r.Fatalf("rewriting: %v, %v", done, err)
	}
	want := append([][]byte{b[0], other, record.Empty(29)}, b[3:6]...)
	r.wantSegment(s, 0, 60, want...)
	r.ok(s.Append(b[6:]...))
	want = append(want, b[6:]...)
	r.wantSegment(s, 0, 90, want...)
	if base, latest, ok, err := s.OffsetForTime(0, 9); err != nil || !ok || base != 12 || latest != 99 {
		r.Errorf("OffsetForTime(0, 9) = %d, %d, %v, %v", base, latest, ok, err)
	}
	if !bytes.Equal(held, before) {
		r.Error("bytes that were read have changed")
	}
	s = r.reopenSegment(s, logA)
	r.wantSegment(s, 0, 90, want...)
	r.ok(s.TruncateTo(29))
	r.wantSegment(s, 0, 15, b[0], other)
}
