package shard

import (
	"testing"

	"github.com/robustmq/rmq/broker/kernel/codec"
	"github.com/robustmq/rmq/broker/kernel/queue"
	"github.com/robustmq/rmq/broker/record"
)

// size is how many bytes and keys a checkpoint writes.
func size(m *Machine, d Delta) (bytes, keys int) {
	for k, v := range m.Encode(d) {
		bytes += len(k) + len(v)
		keys++
	}
	return bytes, keys
}

func lone(now int64) record.Batch {
	var rb record.Builder
	rb.Reset(nil, now)
	rb.Add(now, nil, nil)
	return rb.Finish()
}

// A checkpoint after one settle in a backlog of a million batches writes one page of what is
// referred to, and one of the queue.
func TestOneSettleAmongAMillionBatches(t *testing.T) {
	const batches, perEntry = 1_000_000, 5000
	m := New()
	seq := uint64(0)
	apply := func(with func(b *Builder)) {
		seq++
		var out Outcome
		if _, err := m.Apply(sample(seq, 1000, with), 1, &out); err != nil {
			t.Fatal(err)
		}
	}
	apply(func(b *Builder) { b.CreateQueue(1, queue.NoLimits(), 0) })
	one := lone(1000)
	for range batches / perEntry {
		apply(func(b *Builder) {
			for range perEntry {
				b.Route(&Route{Batch: b.Batch(Bodies, one), Queues: []uint64{1}, Size: 1})
			}
		})
	}
	if n := m.Referred(Bodies); n != batches {
		t.Fatalf("%d batches are referred to, want %d", n, batches)
	}
	store := make(map[string][]byte)
	c, d := m.Fork(true)
	whole, _ := size(c, d)
	save(store, c, d)

	apply(func(b *Builder) {
		b.Attach(&Attach{Queue: 1, Attachment: 7, Credit: 1})
		b.Settle(1, 7, 1, false, queue.Accept)
	})
	if n := m.Referred(Bodies); n != batches-1 {
		t.Fatalf("%d batches are referred to after a settle", n)
	}
	c, d = m.Fork(false)
	if bytes, keys := size(c, d); bytes > 8<<10 || keys > 8 {
		t.Errorf("a settle writes %d keys, %d bytes, of %d in all", keys, bytes, whole)
	}
	save(store, c, d)
	again := restored(t, store)
	if l := again.Bodies(); l.Referred() != batches-1 || l.Live(0) || !l.Live(1) || !l.Live(batches-1) {
		t.Errorf("restored, %d batches are referred to", l.Referred())
	}
	if diff := difference(full(again), full(m)); diff != "" {
		t.Error(diff)
	}
}

// A batch of one producer among ten thousand writes that producer's window.
func TestOneBatchAmongTenThousandProducers(t *testing.T) {
	m := New()
	seq := uint64(0)
	produce := func(ids ...int64) {
		seq++
		applyTo(t, m, sample(seq, 1000, func(b *Builder) {
			b.CreateLog(1, "a")
			for _, id := range ids {
				batch := lone(1000)
				batch.SetProducer(id, 0, 0)
				b.Batch(1, batch)
			}
		}))
	}
	all := make([]int64, producersMax)
	for i := range all {
		all[i] = int64(i)
	}
	produce(all...)
	store := make(map[string][]byte)
	save(store, m, Delta{full: true})
	m.Fork(true)
	produce(producersMax + 1) // in the place of another
	c, d := m.Fork(false)
	if bytes, keys := size(c, d); keys > 4 || bytes > 200 {
		t.Errorf("a producer's batch writes %d keys, %d bytes", keys, bytes)
	}
	save(store, c, d)
	if diff := difference(store, full(m)); diff != "" {
		t.Error(diff)
	}
}

// A log that is deleted leaves no key, also when it comes back before the next checkpoint.
func TestDeletedLogLeavesNoKey(t *testing.T) {
	for _, again := range []bool{false, true} {
		m := New()
		applyTo(t, m, sample(1, 1000, func(b *Builder) {
			b.CreateLog(1, "a")
			b.CreateQueue(1, queue.NoLimits(), 0)
			batch := lone(1000)
			batch.SetProducer(5, 0, 0)
			b.Route(&Route{Batch: b.Batch(1, batch), Queues: []uint64{1}, Size: 1})
		}))
		store := make(map[string][]byte)
		c, d := m.Fork(true)
		save(store, c, d)
		applyTo(t, m, sample(2, 1000, func(b *Builder) {
			b.DeleteLog(1)
			b.Purge(1) // the last that refers to it
			if again {
				b.CreateLog(1, "b")
			}
		}))
		c, d = m.Fork(false)
		save(store, c, d)
		if diff := difference(store, full(m)); diff != "" {
			t.Errorf("made again %v: %s", again, diff)
		}
		if _, there := store[string(codec.Key([]byte("l"), 1))+"h"]; there != again {
			t.Errorf("made again %v, there %v", again, there)
		}
	}
}

// A piece of a log that no machine has written is refused.
func TestMalformedLogIsRefused(t *testing.T) {
	id := func(kind string, n ...uint64) string {
		k := codec.Key([]byte("l"), 1)
		k = append(k, kind...)
		for _, v := range n {
			k = codec.Key(k, v)
		}
		return string(k)
	}
	head := string((&Log{ID: 1}).encodeHead())
	for name, store := range map[string]map[string][]byte{
		"the layout of before":   {id(""): []byte(head)},
		"a page without a head":  {id("p", 0): {0, 1}},
		"an empty page":          {id("h"): []byte(head), id("p", 0): {}},
		"no references":          {id("h"): []byte(head), id("p", 0): {0, 0}},
		"two at one offset":      {id("h"): []byte(head), id("p", 0): {3, 1, 0, 1}},
		"a batch beyond it":      {id("h"): []byte(head), id("p", 0): {0xff, 0x07, 1, 1, 1}},
		"a page beyond all":      {id("h"): []byte(head), id("p", 1<<63): {0, 1}},
		"half a batch":           {id("h"): []byte(head), id("p", 0): {0}},
		"a producer of nothing":  {id("h"): []byte(head), id("i", 1): {0, 0, 0}},
		"a piece that is none":   {id("h"): []byte(head), id("z", 1): {0}},
		"a head with more to it": {id("h"): []byte(head + "x")},
	} {
		if err := New().Restore(sorted(store)); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func BenchmarkRestoreReferences(b *testing.B) {
	l := &Log{}
	for i := range int64(1_000_000) {
		l.live.Load(i, 1)
	}
	m := New()
	m.logs.Set(Bodies, l)
	store := full(m)
	b.ReportAllocs()
	for b.Loop() {
		restored(b, store)
	}
}
