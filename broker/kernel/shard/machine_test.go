package shard

import (
	"bytes"
	"fmt"
	"iter"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/robustmq/rmq/broker/kernel/group"
	"github.com/robustmq/rmq/broker/kernel/queue"
	"github.com/robustmq/rmq/broker/kernel/session"
	"github.com/robustmq/rmq/broker/record"
)

// script draws entries as a kernel would write them: a few names of everything, so that
// things are deleted and made again under the same name.
type script struct {
	t   *rapid.T
	now int64
	seq uint64

	epoch  uint64            // of connections, and ids of attachments
	online map[string]uint64 // epoch that holds a session, as far as the script knows
	nos    map[uint64]uint64 // deliveries seen of an attachment
}

func newScript(t *rapid.T) *script {
	return &script{t: t, now: 1000, online: make(map[string]uint64), nos: make(map[uint64]uint64)}
}

var clients = []string{"/\x00a", "/\x00b"}

// entry draws the next entry.
func (s *script) entry() []byte {
	s.now += rapid.Int64Range(0, 400).Draw(s.t, "time")
	s.seq++
	var b Builder
	for range rapid.IntRange(1, 4).Draw(s.t, "commands") {
		s.command(&b)
	}
	return b.Finish(nil, Header{Time: s.now, Incarnation: 1, Link: 1, Seq: s.seq})
}

func (s *script) command(b *Builder) {
	t := s.t
	q := rapid.Uint64Range(1, 3).Draw(t, "queue")
	log := rapid.Uint64Range(0, 2).Draw(t, "log")
	key := rapid.SampledFrom(clients).Draw(t, "client")
	epoch := s.online[key]
	packet := rapid.Uint16Range(1, 6).Draw(t, "packet")
	attachment := rapid.Uint64Range(1, max(s.epoch, 1)).Draw(t, "attachment")
	switch rapid.IntRange(0, 29).Draw(t, "command") {
	case 29:
		s.produce(b, log)
	case 27:
		_, batch, rec := s.add(b, log)
		b.Delay(batch, rec, s.now+300, []byte("to"))
	case 28:
		b.Delayed(rapid.Uint64Range(1, 6).Draw(t, "delayed"))
	case 0, 1, 2, 3, 4:
		s.publish(b, log, q)
	case 5:
		if len(b.ops) == 0 {
			_, batch, rec := s.add(b, Bodies)
			b.Retain("/", rapid.SampledFrom([]string{"r/1", "r/2"}).Draw(t, "address"), batch, rec, s.expiry())
		}
	case 6:
		b.Retain("/", rapid.SampledFrom([]string{"r/1", "r/2"}).Draw(t, "address"), -1, 0, 0)
	case 7:
		b.CreateLog(max(log, 1), "a")
	case 8:
		b.DeleteLog(max(log, 1))
	case 9:
		b.Trim(max(log, 1), rapid.Int64Range(0, 10).Draw(t, "start"))
	case 10:
		l := queue.NoLimits()
		l.MaxLength = rapid.SampledFrom([]int64{-1, 2}).Draw(t, "length")
		l.MessageTTL = rapid.SampledFrom([]int64{-1, 700}).Draw(t, "ttl")
		l.DeadLetter = rapid.Bool().Draw(t, "dead letter")
		b.CreateQueue(q, l, rapid.SampledFrom([]int64{0, 900}).Draw(t, "expires"))
	case 11:
		b.DeleteQueue(q, false, false)
	case 12:
		b.Purge(q)
	case 13:
		s.epoch++
		b.Attach(&Attach{Queue: q, Attachment: s.epoch, Credit: 3, NoAck: rapid.Bool().Draw(t, "no ack"), Refill: true})
	case 14:
		b.Detach(q, attachment, true)
	case 15:
		b.Settle(q, attachment, rapid.Uint64Range(1, 5).Draw(t, "no"), rapid.Bool().Draw(t, "multiple"), rapid.SampledFrom([]queue.Outcome{queue.Accept, queue.Requeue, queue.Reject}).Draw(t, "outcome"))
	case 16:
		b.Credit(q, attachment, 2)
	case 17, 18:
		s.epoch++
		s.online[key] = s.epoch
		o := session.OpenSpec{Epoch: s.epoch, Clean: rapid.IntRange(0, 3).Draw(t, "clean") == 0, Expiry: rapid.SampledFrom([]uint32{0, 1, session.Forever}).Draw(t, "expiry"), ReceiveMax: 3}
		if rapid.Bool().Draw(t, "has will") {
			o.Will = &session.Will{Message: []byte("will"), Delay: rapid.Uint32Range(0, 1).Draw(t, "delay")}
		}
		b.OpenSession(key, &o)
		b.Subscribe(key, "a/+", session.Options{QoS: 2})
		b.Start(key, s.epoch)
	case 19:
		b.CloseSession(&CloseSession{Key: key, Epoch: epoch, Will: rapid.Bool().Draw(t, "will"), End: rapid.IntRange(0, 3).Draw(t, "end") == 0})
	case 20:
		b.Subscribe(key, rapid.SampledFrom([]string{"a/+", "a/#", "$share/g/a"}).Draw(t, "filter"), session.Options{QoS: rapid.Uint8Range(0, 2).Draw(t, "qos")})
	case 21:
		b.Unsubscribe(key, rapid.SampledFrom([]string{"a/+", "a/#", "$share/g/a"}).Draw(t, "filter"))
	case 22:
		b.Ack(key, epoch, packet, rapid.Bool().Draw(t, "ok"))
	case 23:
		b.Received(key, epoch, packet)
	case 24:
		b.Incoming(key, epoch, packet)
		switch rapid.IntRange(0, 3).Draw(t, "end of it") {
		case 0:
			b.Release(key, epoch, packet)
		case 1:
			b.Refuse(key, epoch, packet)
		case 2:
			b.Forget(s.once())
		}
	case 25:
		b.Tick()
	case 26:
		s.group(b)
	}
}

// produce writes as an idempotent producer does, in order or not.
func (s *script) produce(b *Builder, log uint64) {
	var rb record.Builder
	rb.Reset(nil, s.now)
	rb.Add(s.now, nil, []byte(fmt.Sprint("v", s.seq)))
	batch := rb.Finish()
	batch.SetProducer(rapid.Int64Range(0, 2).Draw(s.t, "producer"), rapid.Int16Range(0, 1).Draw(s.t, "epoch"), rapid.Int32Range(0, 2).Draw(s.t, "sequence"))
	b.Batch(log, batch)
}

func (s *script) group(b *Builder) {
	c := GroupCommand{Key: rapid.SampledFrom([]string{"/\x00g", "/\x00h"}).Draw(s.t, "group")}
	switch rapid.IntRange(0, 3).Draw(s.t, "group command") {
	case 0, 1:
		c.Commit = &GroupCommit{Generation: -1, Offsets: []GroupOffset{{
			Topic: rapid.SampledFrom([]string{"t", "u"}).Draw(s.t, "topic"), Offset: group.Offset{Offset: rapid.Int64Range(0, 9).Draw(s.t, "offset")},
		}}}
	case 2:
		c.DropTopic = rapid.SampledFrom([]string{"t", "u"}).Draw(s.t, "topic")
	case 3:
		c.Delete = true
	}
	b.Group(&c)
}

func (s *script) expiry() int64 {
	if rapid.Bool().Draw(s.t, "expires") {
		return s.now + 500
	}
	return 0
}

func (s *script) add(b *Builder, log uint64) (value []byte, batch, rec int) {
	var rb *record.Builder
	if rapid.IntRange(0, 3).Draw(s.t, "once") > 0 {
		rb, batch, rec = b.Open(log, s.now)
	} else {
		rb, batch = b.OpenOnce(log, s.now, s.once())
	}
	value = []byte(fmt.Sprint("v", s.seq))
	rb.Add(s.now, nil, value)
	return value, batch, rec
}

func (s *script) once() Once {
	return Once{Session: rapid.Uint64Range(1, 2).Draw(s.t, "session"), PacketID: rapid.Uint16Range(1, 2).Draw(s.t, "once id"), N: rapid.Uint32Range(0, 3).Draw(s.t, "n")}
}

func (s *script) publish(b *Builder, log, q uint64) {
	_, batch, rec := s.add(b, log)
	r := Route{
		Batch: batch, Record: rec, Namespace: "/", Address: "a/b", Sessions: rapid.Bool().Draw(s.t, "sessions"), Size: 2, ExpiresAt: s.expiry(),
		QoS: rapid.Uint8Range(1, 2).Draw(s.t, "qos"),
	}
	if rapid.Bool().Draw(s.t, "queues") {
		r.Queues = []uint64{q, q%3 + 1}
	}
	b.Route(&r)
}

// look is what an outcome says to the world.
func look(o *Outcome) string {
	var b bytes.Buffer
	for _, r := range o.Batches {
		fmt.Fprintf(&b, "batch %d %v %v %d\n", r.Base, r.Err, r.Duplicate, r.Start)
	}
	for _, r := range o.Ops {
		fmt.Fprintf(&b, "op %v %d %v %v %v\n", r.Err, r.N, r.Rejected, r.Known, r.Value)
	}
	for _, a := range o.Appends {
		fmt.Fprintf(&b, "append %d %d %d %x\n", a.Log, a.Base, a.Epoch, a.Batch)
	}
	for i := range o.Effects {
		e := o.Effects[i]
		g := e.Group
		e.Group = nil
		fmt.Fprintf(&b, "effect %+v %+v\n", e, g)
	}
	return b.String()
}

func applyTo(t interface{ Fatalf(string, ...any) }, m *Machine, entry []byte) string {
	var out Outcome
	if _, err := m.Apply(entry, 1, &out); err != nil {
		t.Fatalf("apply: %v", err)
	}
	return look(&out)
}

// full is the canonical encoding: all pairs, in the order of their keys.
func full(m *Machine) map[string][]byte {
	all := make(map[string][]byte)
	for k, v := range m.Encode(Delta{full: true}) {
		all[string(k)] = bytes.Clone(v)
	}
	return all
}

func difference(a, b map[string][]byte) string {
	for _, k := range slices.Sorted(maps.Keys(a)) {
		if v, ok := b[k]; !ok || !bytes.Equal(v, a[k]) {
			return fmt.Sprintf("key %q: %x and %x (there: %v)", k, a[k], v, ok)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(b)) {
		if _, ok := a[k]; !ok {
			return fmt.Sprintf("key %q: only in the second, %x", k, b[k])
		}
	}
	return ""
}

// save does to a map what a checkpoint store does.
func save(store map[string][]byte, m *Machine, d Delta) {
	if d.Full() {
		clear(store)
	}
	for k, v := range m.Encode(d) {
		if v == nil {
			delete(store, string(k))
		} else {
			store[string(k)] = bytes.Clone(v)
		}
	}
}

func restored(t interface{ Fatalf(string, ...any) }, store map[string][]byte) *Machine {
	m := New()
	if err := m.Restore(sorted(store)); err != nil {
		t.Fatalf("restore: %v", err)
	}
	return m
}

func sorted(store map[string][]byte) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		for _, k := range slices.Sorted(maps.Keys(store)) {
			if !yield([]byte(k), store[k]) {
				return
			}
		}
	}
}

// The same entries lead to the same state and the same effects, whether a machine goes
// on for ever, is restored from checkpoints written one over another, or is a fork; and a
// fork stays what it was.
func TestMachineIsDeterministic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newScript(t)
		plain, restarted, forked := New(), New(), New()
		var old *Machine
		var was map[string][]byte
		store := make(map[string][]byte)
		for range rapid.IntRange(1, 60).Draw(t, "entries") {
			e := s.entry()
			want := applyTo(t, plain, e)
			if got := applyTo(t, restarted, e); got != want {
				t.Fatalf("a restarted machine has other effects:\n%s\nwant\n%s", got, want)
			}
			if got := applyTo(t, forked, e); got != want {
				t.Fatalf("a fork has other effects:\n%s\nwant\n%s", got, want)
			}
			if got, want := restarted.NextDeadline(), plain.NextDeadline(); got != want {
				t.Fatalf("next deadline of a restarted machine: %d, want %d", got, want)
			}
			switch rapid.IntRange(0, 5).Draw(t, "then") {
			case 0: // checkpoint
				c, d := restarted.Fork(rapid.IntRange(0, 4).Draw(t, "full") == 0)
				save(store, c, d)
				if diff := difference(store, full(c)); diff != "" {
					t.Fatalf("checkpoints over one another are not the full one: %s", diff)
				}
			case 1: // checkpoint and restart
				c, d := restarted.Fork(false)
				save(store, c, d)
				restarted = restored(t, store)
				if diff := difference(full(restarted), full(c)); diff != "" {
					t.Fatalf("restored state: %s", diff)
				}
			case 2: // go on with the fork, and keep what it came from
				if old != nil {
					if diff := difference(full(old), was); diff != "" {
						t.Fatalf("a machine changed with its fork: %s", diff)
					}
				}
				old = forked
				forked, _ = old.Fork(false)
				was = full(old)
			}
		}
		want := full(plain)
		if diff := difference(full(restarted), want); diff != "" {
			t.Fatalf("restarted and plain: %s", diff)
		}
		if diff := difference(full(forked), want); diff != "" {
			t.Fatalf("forked and plain: %s", diff)
		}
	})
}
