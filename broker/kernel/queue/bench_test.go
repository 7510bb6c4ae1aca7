package queue

import (
	"runtime"
	"testing"
)

// BenchmarkFlow is the common case: push, delivered at once, settled.
func BenchmarkFlow(b *testing.B) {
	for _, bb := range []struct {
		name   string
		window int
	}{{"window=1", 1}, {"window=1000", 1000}} {
		b.Run(bb.name, func(b *testing.B) {
			q := New(NoLimits())
			eff, _ := q.Attach(0, AttachSpec{ID: 1, Credit: CreditMax, Refill: true}, nil)
			m := Message{Size: 100}
			no := uint64(0)
			b.ReportAllocs()
			for b.Loop() {
				m.Ref.Offset++
				no++
				eff, _ = q.Push(int64(no>>4), &m, eff[:0])
				if no > uint64(bb.window) {
					eff, _ = q.Settle(int64(no>>4), 1, no-uint64(bb.window), false, Accept, eff[:0])
				}
			}
		})
	}
}

// BenchmarkBacklog pushes a million messages, and then drains them.
func BenchmarkBacklog(b *testing.B) {
	const n = 1_000_000
	b.ReportAllocs()
	var eff []Effect
	for b.Loop() {
		q := New(NoLimits())
		m := Message{Size: 100}
		for i := range int64(n) {
			m.Ref.Offset, m.Size = i*3/2, uint32(100+i%50)
			eff, _ = q.Push(i/100, &m, eff[:0])
		}
		eff, _ = q.Attach(0, AttachSpec{ID: 1, Credit: 1000, Refill: true}, eff[:0])
		for no := uint64(1); no <= n; no += 100 {
			eff, _ = q.Settle(0, 1, no+99, true, Accept, eff[:0])
		}
		if !q.Empty() {
			b.Fatalf("%+v", q.Stats())
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/msg")
}

// BenchmarkMemory reports what a message costs while it waits.
func BenchmarkMemory(b *testing.B) {
	const n = 10_000_000
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		q := New(NoLimits())
		m := Message{}
		var eff []Effect
		for i := range int64(n) {
			m.Ref.Offset, m.Size = i*3/2, uint32(100+i%50)
			eff, _ = q.Push(i/100, &m, eff[:0])
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/msg")
		runtime.KeepAlive(q)
	}
}

// BenchmarkConsumers is BenchmarkFlow over many consumers in turn.
func BenchmarkConsumers(b *testing.B) {
	q := New(NoLimits())
	const consumers = 1000
	var eff []Effect
	for id := range uint64(consumers) {
		eff, _ = q.Attach(0, AttachSpec{ID: id + 1, Credit: 1, Refill: true}, eff[:0])
	}
	m := Message{Size: 100}
	b.ReportAllocs()
	for b.Loop() {
		m.Ref.Offset++
		eff, _ = q.Push(0, &m, eff[:0])
		eff, _ = q.Settle(0, eff[0].Attachment, eff[0].No, false, Accept, eff[:0])
	}
}

func BenchmarkFork(b *testing.B) {
	q := New(NoLimits())
	eff, _ := q.Attach(0, AttachSpec{ID: 1, Credit: 10}, nil)
	m := Message{Size: 100}
	for range 1_000_000 {
		eff, _ = q.Push(0, &m, eff[:0])
	}
	b.ReportAllocs()
	gen := uint64(0)
	for b.Loop() {
		gen++
		q = q.Fork(gen, gen-1)
		eff, _ = q.Push(0, &m, eff[:0])
	}
}
