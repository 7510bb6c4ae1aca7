package kernel_test

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/filelog"
	"github.com/robustmq/rmq/broker/storage/memlog"
	"github.com/robustmq/rmq/broker/vfs"
)

// disk is a file engine in memory that counts what is written where.
type disk struct {
	storage.Engine
	segments, checkpoints atomic.Int64 // bytes; of checkpoints, those of keys and values
}

func newDisk(t *testing.T, walFile int64) *disk {
	d := new(disk)
	fs := vfs.NewFaulty(vfs.NewMem(), func(op vfs.Op) error {
		if op.Kind == vfs.OpWrite && strings.Contains(op.Path, "segments") {
			d.segments.Add(op.Size)
		}
		return nil
	})
	e, err := filelog.Open("data", filelog.Options{FS: fs, WALFileMin: walFile, WALFileMax: walFile, Checkpoints: func(string) (filelog.CheckpointStore, error) {
		m := memlog.New()
		return &countedCheckpoints{m.Checkpoints(), m, &d.checkpoints}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	d.Engine = e
	return d
}

type countedCheckpoints struct {
	storage.Checkpoints
	engine storage.Engine
	bytes  *atomic.Int64
}

func (c *countedCheckpoints) Save(id storage.ShardID, at storage.CheckpointMeta, full bool, changes iter.Seq2[[]byte, []byte]) error {
	return c.Checkpoints.Save(id, at, full, func(yield func(k, v []byte) bool) {
		for k, v := range changes {
			c.bytes.Add(int64(len(k) + len(v)))
			if !yield(k, v) {
				return
			}
		}
	})
}

func (c *countedCheckpoints) Close() error { return c.engine.Close() }

// A message that a stream, ten queues and ten clients who are away all want is written
// twice: to the log, with the names of its takers, and to the stream's segment. What
// twenty takers cost beside that, in checkpoints, is less than their names.
func TestManyTakersShareOneBody(t *testing.T) {
	ctx := context.Background()
	d := newDisk(t, 0)
	k := kerneltest.Open(t, kerneltest.Options{Engine: d, NoCapture: true, DataShards: 1, CheckpointBytes: 3 << 20})
	if _, err := k.CreateStream(ctx, kernel.StreamSpec{Namespace: "/", Address: "orders", Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		name := fmt.Sprintf("queue-%d", i)
		if _, _, err := k.DeclareQueue(ctx, queueSpec(name)); err != nil {
			t.Fatal(err)
		}
		if err := k.Bind(ctx, kernel.Binding{Namespace: "/", Source: "amq.topic", Destination: name, Key: "orders.#"}); err != nil {
			t.Fatal(err)
		}
		ses, _, _ := open(t, k, fmt.Sprintf("client-%d", i), kernel.ExpiryNever, true)
		subscribe(t, ses, "orders/#", 1)
		ses.Close(false, nil)
	}
	const messages, size = 16384, 1024
	log, segments, checkpoints := d.Log().Stats().Bytes, d.segments.Load(), d.checkpoints.Load()
	w := newPublished()
	p := mqtt("orders/eu/1", strings.Repeat("x", size))
	p.Namespace, p.Reply = "/", w
	for sent, acked := 0, 0; acked < messages; {
		if sent < messages && sent-acked < 64 {
			p.Msg.Time = 0
			k.Publish(&p)
			sent++
			continue
		}
		if r := recv(t, w.ch); r.Err != nil || r.Queues != 10 || r.Subscribers != 10 {
			t.Fatalf("%+v", r)
		}
		acked++
	}
	if got := len(records(t, k, "orders", "")); got != messages {
		t.Fatalf("%d records in the stream", got)
	}
	log, segments, checkpoints = d.Log().Stats().Bytes-log, d.segments.Load()-segments, d.checkpoints.Load()-checkpoints
	const payload = messages * size
	total := int64(log) + segments + checkpoints
	t.Logf("%d messages of %d B, each for a stream, 10 queues and 10 sessions: payload %d B", messages, size, payload)
	t.Logf("written: log %d B (payload and framing), segments %d B, checkpoints %d B: %.2f of payload, %.2f of payload and framing",
		log, segments, checkpoints, float64(total)/payload, float64(total)/float64(log))
	if framing := float64(log) / payload; framing > 1.1 {
		t.Errorf("the log takes %.2f times the payload", framing)
	}
	if total > 2*int64(log) {
		t.Errorf("%d bytes written, more than twice %d", total, log)
	}
}

// Shards to which nothing happens do not keep the node's log from letting go of its files.
func TestIdleShardsDoNotPinTheLog(t *testing.T) {
	const file, checkpoint, total = 256 << 10, 256 << 10, 12 << 20
	d := newDisk(t, file)
	k := kerneltest.Open(t, kerneltest.Options{Engine: d, NoCapture: true, DataShards: 4, CheckpointBytes: checkpoint})
	if _, _, err := k.DeclareQueue(context.Background(), queueSpec("q")); err != nil {
		t.Fatal(err)
	}
	body := strings.Repeat("x", 32<<10)
	for d.Log().Stats().Bytes < total {
		publish(t, k, mqtt("q", body))
	}
	kerneltest.Until(t, "half of the files is let go of", func() bool { return d.Log().Stats().Files <= total/file/2 })
}
