package shard

import (
	"bytes"
	"testing"

	"github.com/robustmq/rmq/broker/kernel/queue"
	"github.com/robustmq/rmq/broker/kernel/session"
	"github.com/robustmq/rmq/broker/record"
)

// sample is an entry with some of everything, without its header.
func sample(seq uint64, now int64, with func(b *Builder)) []byte {
	var b Builder
	with(&b)
	return b.Finish(nil, Header{Time: now, Incarnation: 1, Link: 1, Seq: seq})
}

func prepared(t interface{ Fatalf(string, ...any) }) *Machine {
	m := New()
	applyTo(t, m, sample(1, 1000, func(b *Builder) {
		b.CreateLog(1, "a")
		b.CreateQueue(1, queue.NoLimits(), 0)
		b.OpenSession("/\x00a", &session.OpenSpec{Epoch: 1, Expiry: 60, ReceiveMax: 2})
		b.Subscribe("/\x00a", "a/#", session.Options{QoS: 2})
		b.Start("/\x00a", 1)
	}))
	applyTo(t, m, sample(2, 1000, publishing))
	return m
}

func publishing(b *Builder) {
	for _, log := range []uint64{Bodies, 1} {
		rb, batch, rec := b.Open(log, 1000)
		rb.Add(1000, nil, []byte("x"))
		b.Route(&Route{Batch: batch, Record: rec, Namespace: "/", Address: "a/b", Queues: []uint64{1}, Sessions: true, QoS: 1, Size: 1})
		b.Retain("/", "a/b", batch, rec, 0)
	}
}

// Bytes that no kernel has written are refused or ignored; nothing panics.
func FuzzApply(f *testing.F) {
	for _, with := range []func(b *Builder){
		publishing,
		func(b *Builder) {
			b.Attach(&Attach{Queue: 1, Attachment: 7, Credit: 9})
			b.Settle(1, 7, 1, true, queue.Reject)
			b.Purge(1)
			b.DeleteQueue(1, false, false)
		},
		func(b *Builder) {
			b.Ack("/\x00a", 1, 1, true)
			b.Incoming("/\x00a", 1, 1)
			b.Release("/\x00a", 1, 1)
			b.CloseSession(&CloseSession{Key: "/\x00a", Will: true})
			b.Trim(1, 1)
			b.DeleteLog(1)
			b.Tick()
		},
		func(b *Builder) { b.Group(&GroupCommand{Key: "g", Commit: &GroupCommit{Generation: -1}}) },
	} {
		f.Add(sample(3, 1000, with)[entryHeaderLen:])
	}
	f.Fuzz(func(t *testing.T, rest []byte) {
		m := prepared(t)
		var b Builder
		entry := append(b.Finish(nil, Header{Time: 2000, Incarnation: 1, Link: 1, Seq: 3})[:entryHeaderLen], rest...)
		var out Outcome
		if _, err := m.Apply(entry, 1, &out); err != nil {
			_, _ = Describe(entry) // what it says of such bytes is its own affair
			return
		}
		if d, err := Describe(entry); err != nil || len(d.Commands) != len(out.Ops) || len(d.Batches) != len(out.Batches) {
			t.Fatalf("applied %d batches and %d commands, described %d and %d: %v", len(out.Batches), len(out.Ops), len(d.Batches), len(d.Commands), err)
		}
		for i := range out.Appends { // what a tail is given can be read
			a := &out.Appends[i]
			c := record.Batch(bytes.Clone(a.Batch))
			a.Stamp(c)
			if c.NextOffset() <= c.BaseOffset() && c.Count() > 0 {
				t.Fatalf("batch from %d to %d", c.BaseOffset(), c.NextOffset())
			}
		}
		full(m)
	})
}

// A checkpoint that no machine has written is refused, or read as a state that can go on.
func FuzzRestore(f *testing.F) {
	m := prepared(f)
	var all []byte
	for k, v := range full(m) {
		all = append(append(all, byte(len(k))), k...)
		all = append(append(all, byte(len(v))), v...)
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, data []byte) {
		store := make(map[string][]byte)
		next := func() []byte {
			if len(data) == 0 {
				return nil
			}
			n := min(int(data[0]), len(data)-1)
			v := data[1 : 1+n]
			data = data[1+n:]
			return v
		}
		for len(data) > 0 {
			k := next()
			store[string(k)] = next()
		}
		m := New()
		if err := m.Restore(sorted(store)); err != nil {
			return
		}
		c, d := m.Fork(true)
		again := make(map[string][]byte)
		save(again, c, d)
		var b Builder
		publishing(&b)
		b.Tick()
		var out Outcome
		_, _ = m.Apply(b.Finish(nil, Header{Time: m.now, Incarnation: 1 << 40, Link: 1, Seq: 1}), 1, &out)
	})
}

// What a command left over is gone on with after a restart.
func TestBusyQueueIsTickedAfterRestore(t *testing.T) {
	m := New()
	seq := uint64(0)
	apply := func(now int64, with func(b *Builder)) {
		seq++
		applyTo(t, m, sample(seq, now, with))
	}
	apply(1000, func(b *Builder) { b.CreateQueue(1, queue.NoLimits(), 0) })
	for range 30 {
		apply(1000, func(b *Builder) {
			for range 1000 {
				rb, batch, rec := b.Open(Bodies, 1000)
				rb.Add(1000, nil, nil)
				b.Route(&Route{Batch: batch, Record: rec, Queues: []uint64{1}})
			}
		})
	}
	apply(1000, func(b *Builder) { b.Purge(1) })
	if q, _ := m.queues.Get(1); !q.Busy() || m.NextDeadline() == 0 {
		t.Fatal("a purge of 30,000 messages leaves nothing over")
	}
	m = restored(t, full(m))
	for range 10 {
		at := m.NextDeadline()
		if at == 0 {
			break
		}
		apply(at, func(b *Builder) { b.Tick() })
	}
	if q, _ := m.queues.Get(1); !q.Empty() {
		t.Error("the queue still refers to bodies")
	}
	if m.Bodies().live.Len() != 0 {
		t.Error("bodies that nothing refers to are counted")
	}
}
