package kernel_test

import (
	"bytes"
	"fmt"
	"iter"
	"sync"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/filelog"
	"github.com/robustmq/rmq/broker/storage/memlog"
	"github.com/robustmq/rmq/broker/vfs"
)

// checkpoints stand apart from the file system, as their store is not ours: a Save that
// has returned is durable.
type checkpoints struct {
	mu sync.Mutex // held by Save, and while the power fails
	storage.Checkpoints
}

func (*checkpoints) Close() error { return nil }

func (c *checkpoints) Save(id storage.ShardID, meta storage.CheckpointMeta, full bool, changes iter.Seq2[[]byte, []byte]) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.Checkpoints.Save(id, meta, full, changes)
}

func newCheckpoints(t *testing.T) *checkpoints {
	e := memlog.New()
	t.Cleanup(func() { _ = e.Close() })
	return &checkpoints{Checkpoints: e.Checkpoints()}
}

// powerFails returns what that leaves.
func powerFails(t *testing.T, mem *vfs.Mem, c *checkpoints) (*vfs.Mem, *checkpoints) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	left := newCheckpoints(t)
	for _, id := range []storage.ShardID{0, 1, 1000} {
		meta, pairs, err := c.Load(id)
		if err == nil && meta.Index > 0 {
			err = left.Checkpoints.Save(id, meta, true, pairs)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return mem.CrashClone(1), left
}

// small is a file engine whose files are small enough for a disk of a few MiB.
func small(t *testing.T, fsys vfs.FS, c *checkpoints) storage.Engine {
	t.Helper()
	e, err := filelog.Open("data", filelog.Options{
		FS: fsys, WALFileMin: 64 << 10, WALFileMax: 512 << 10, SegmentBytes: 256 << 10,
		Checkpoints: func(string) (filelog.CheckpointStore, error) { return c, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// until waits until so is, and looks after every change of the kernel.
func until(t *testing.T, k *kernel.Kernel, what string, so func() bool) {
	t.Helper()
	changed, stop := k.Changes()
	defer stop()
	for !so() {
		select {
		case <-changed:
		case <-time.After(time.Minute):
			t.Fatalf("%s: it did not help: %v", what, k.Refusal())
		}
	}
}

// On a full device publishes are refused, and nothing else: consumers go on, and deleting
// makes room. Then publishes are let in by themselves. Nothing acknowledged is lost by a
// power failure at any of these moments.
func TestFullDevice(t *testing.T) {
	for _, how := range []string{"delete the stream", "trim the stream", "purge the queue", "more space", "somebody else takes it all"} {
		t.Run(how, func(t *testing.T) { fullDevice(t, how) })
	}
}

func fullDevice(t *testing.T, how string) {
	const disk, reserve = 12 << 20, 3 << 20
	mem := vfs.NewMem()
	mem.Limit(disk)
	store := newCheckpoints(t)
	open := func(fsys vfs.FS) (*kernel.Kernel, func()) {
		return kerneltest.Start(t, kerneltest.Options{
			Engine: small(t, fsys, store), NoCapture: true, DataShards: 1, CheckpointBytes: 1 << 20, SpaceReserve: reserve,
		})
	}
	k, stop := open(mem)
	ctx := t.Context()
	q := queueSpec("work")
	if _, _, err := k.DeclareQueue(ctx, q); err != nil {
		t.Fatal(err)
	}
	id, err := k.CreateStream(ctx, kernel.StreamSpec{Namespace: "/", Address: "big", Partitions: 1})
	if err != nil {
		t.Fatal(err)
	}
	part, err := k.Partition(id.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		publish(t, k, kernel.Publish{ViaExchange: true, Key: "work", Msg: message.Message{Source: message.AMQP, Address: "work", Value: fmt.Append(nil, i)}})
	}
	s := newSink()
	att, err := k.Attach(ctx, kernel.AttachSpec{Namespace: "/", Queue: "work", Credit: 4, Refill: true, Sink: s})
	if err != nil {
		t.Fatal(err)
	}

	// Fill it: the stream, or for the purge the queue.
	value := bytes.Repeat([]byte("x"), 32<<10)
	if how == "somebody else takes it all" {
		mem.Limit(mem.Used())
		value = value[:2<<10]
	}
	w := newPublished()
	acked, tries := 0, 0
	var refusal error
	for refusal == nil {
		if tries++; tries > 4*disk/len(value) {
			t.Fatal("never refused")
		}
		if how == "purge the queue" {
			p := kernel.Publish{Namespace: "/", ViaExchange: true, Key: "work", Reply: w, Msg: message.Message{Source: message.AMQP, Address: "work", Value: value}}
			if refusal = k.Publish(&p); refusal == nil {
				refusal = recv(t, w.ch).Err
			}
		} else {
			part.Append(batchOf(value), 1, w, 0)
			refusal = recv(t, w.app).Err
		}
		if refusal == nil {
			acked++
		}
	}
	if !fault.Is(refusal, fault.Full) {
		t.Fatalf("refused with %v", refusal)
	}
	if how != "somebody else takes it all" {
		if acked*len(value) < disk/8 {
			t.Errorf("refused after %d bytes of a disk of %d", acked*len(value), disk)
		}
		until(t, k, "to know more", func() bool {
			r := k.Refusal()
			return r != nil && r.Total == disk && r.Need >= reserve
		})
	}
	p := mqtt("nowhere/yet", "x")
	p.Namespace = "/"
	if err := k.Publish(&p); err != nil {
		t.Errorf("a publish that no log wants is refused: %v", err)
	}

	// What is there can be consumed, acknowledged, and more is delivered for it.
	for i := range 10 {
		g := s.next(t)
		if string(g.msg.Value) != fmt.Sprint(i) {
			t.Fatalf("delivery %d is %.20q", i, g.msg.Value)
		}
		att.Settle(g.d.No, false, kernel.Accept)
	}
	if got := part.Info().End; how != "purge the queue" && got != int64(acked) {
		t.Errorf("the stream ends at %d, %d were acknowledged", got, acked)
	}

	if err := att.Detach(ctx, false); err != nil { // what it has unsettled holds on to all behind it
		t.Fatal(err)
	}
	switch how {
	case "delete the stream":
		if err := k.DeleteStream(ctx, "/", "big"); err != nil {
			t.Fatal(err)
		}
	case "trim the stream":
		if _, err := part.Trim(ctx, int64(acked-1)); err != nil {
			t.Fatal(err)
		}
	case "purge the queue":
		if _, err := k.PurgeQueue(ctx, "/", "work", 0); err != nil {
			t.Fatal(err)
		}
	default:
		mem.Limit(2 * disk)
	}
	until(t, k, how, func() bool { return k.Refusal() == nil })
	if how == "purge the queue" || how == "delete the stream" {
		publish(t, k, kernel.Publish{ViaExchange: true, Key: "work", Msg: message.Message{Source: message.AMQP, Address: "work", Value: []byte("last")}})
	} else {
		part.Append(batchOf([]byte("last")), 1, w, 0)
		if r := recv(t, w.app); r.Err != nil || r.BaseOffset != int64(acked) {
			t.Fatalf("after there was room: %+v", r)
		}
	}

	// The power fails.
	after, left := powerFails(t, mem, store)
	stop()
	store = left
	after.Limit(0)
	k, stop = open(after)
	defer stop()
	switch how {
	case "delete the stream", "purge the queue":
		s := newSink()
		if _, err := k.Attach(ctx, kernel.AttachSpec{Namespace: "/", Queue: "work", Credit: 10, Sink: s}); err != nil {
			t.Fatal(err)
		}
		for g := s.next(t); string(g.msg.Value) != "last"; g = s.next(t) {
		}
	default:
		got := records(t, k, "big", "")
		want := acked + 1
		if how == "trim the stream" {
			want = 2
		}
		if len(got) != want {
			t.Errorf("%d records are there, want %d", len(got), want)
		}
	}
}

func batchOf(value []byte) []byte {
	var b record.Builder
	now := time.Now().UnixMilli() // or it is too old to be kept
	b.Reset(nil, now)
	b.Add(now, nil, value)
	return b.Finish()
}
