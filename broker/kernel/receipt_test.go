package kernel_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/storage"
)

// cut is an engine whose log loses one shard's writes from some moment on, as a power cut
// does.
type cut struct {
	storage.Engine
	shard atomic.Uint32
}

func (c *cut) Close() error     { return nil }
func (c *cut) Log() storage.Log { return &cutLog{c.Engine.Log(), c} }

type cutLog struct {
	storage.Log
	c *cut
}

func (l *cutLog) Append(w storage.Write) error {
	if n := l.c.shard.Load(); n != 0 && w.Shard == storage.ShardID(n) {
		return storage.ErrClosed
	}
	return l.Log.Append(w)
}

// named returns a name that is placed in a shard, found by asking for what it names.
func named(t *testing.T, prefix string, shard uint32, shardOf func(name string) uint32) string {
	t.Helper()
	for i := range 100 {
		if name := fmt.Sprint(prefix, i); shardOf(name) == shard {
			return name
		}
	}
	t.Fatal("no such name")
	return ""
}

// A crash comes after the destinations stored a QoS 2 publish and before its session
// noted it, or the other way round for one of them: sent again, it is in each once.
func TestQoS2IsStoredOnceAcrossACrash(t *testing.T) {
	ctx := context.Background()
	for _, checkpoint := range []int{1 << 30, 1} {
		for _, lost := range []uint32{1, 2} {
			eng := newMem(t)
			first := &cut{Engine: eng}
			k, stop := kerneltest.Start(t, kerneltest.Options{Engine: first, NoCapture: true, CheckpointBytes: checkpoint})
			queueIn := func(name string) uint32 {
				if _, _, err := k.DeclareQueue(ctx, queueSpec(name)); err != nil {
					t.Fatal(err)
				}
				info, err := k.Queue("/", name, 0)
				if err != nil {
					t.Fatal(err)
				}
				return info.Shard
			}
			queues := []string{named(t, "q", 1, queueIn), named(t, "q", 2, queueIn)}
			for _, q := range queues {
				if err := k.Bind(ctx, kernel.Binding{Namespace: "/", Source: "amq.topic", Destination: q, Key: "once"}); err != nil {
					t.Fatal(err)
				}
			}
			client := named(t, "c", 1, func(name string) uint32 {
				ses, _, _ := open(t, k, name, 3600, false)
				defer ses.Close(false, nil)
				info, _ := k.SessionInfo("/", name)
				return info.Shard
			})
			ses, _, _ := open(t, k, client, 3600, false)
			begin := func(k *kernel.Kernel, ses *kernel.Session) *published {
				w := newPublished()
				p := mqtt("once", "x")
				p.Namespace, p.Msg.QoS, p.From, p.PacketID, p.Reply = "/", 2, ses, 7, w
				k.Publish(&p)
				return w
			}
			send := func(k *kernel.Kernel, ses *kernel.Session) error { return recv(t, begin(k, ses).ch).Err }
			first.shard.Store(lost)
			w := begin(k, ses)
			stop()
			if len(w.ch) > 0 {
				t.Fatalf("answered, though nobody knows who has it: %v", (<-w.ch).Err)
			}

			k, stop = kerneltest.Start(t, kerneltest.Options{Engine: keep{eng}, NoCapture: true, CheckpointBytes: checkpoint})
			ses, _, present := open(t, k, client, 3600, false)
			if !present {
				t.Fatal("the session is gone")
			}
			for range 2 {
				if err := send(k, ses); err != nil {
					t.Fatal(err)
				}
			}
			for _, q := range queues {
				if info, _ := k.Queue("/", q, 0); info.Ready != 1 {
					t.Errorf("checkpoint %d, shard %d lost: %s holds %d", checkpoint, lost, q, info.Ready)
				}
			}
			done := make(chan bool, 1)
			ses.Release(7, func(known bool) { done <- known })
			if !recv(t, done) {
				t.Error("PUBREL for an unknown publish")
			}
			if err := send(k, ses); err != nil { // the identifier is used for another message
				t.Fatal(err)
			}
			for _, q := range queues {
				if info, _ := k.Queue("/", q, 0); info.Ready != 2 {
					t.Errorf("after the release %s holds %d", q, info.Ready)
				}
			}
			stop()
		}
	}
}
