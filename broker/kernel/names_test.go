package kernel_test

import (
	"context"
	"strings"
	"testing"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/group"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/kernel/shard"
	"github.com/robustmq/rmq/broker/storage/filelog"
	"github.com/robustmq/rmq/broker/storage/meta"
)

// No client gives something a name that a checkpoint cannot hold: that would stop its
// shard, and everybody on it.
func TestNamesFitTheirCheckpoint(t *testing.T) {
	ctx := context.Background()
	eng, err := filelog.Open(t.TempDir(), filelog.Options{
		Checkpoints: func(path string) (filelog.CheckpointStore, error) { return meta.Open(path) },
	})
	if err != nil {
		t.Fatal(err)
	}
	k, stop := kerneltest.Start(t, kerneltest.Options{Engine: eng, NoCapture: true, CheckpointBytes: 1})
	defer stop()
	fine, _, _ := open(t, k, strings.Repeat("c", kernel.NameMax/2), 60, true)
	for n, ok := range map[int]bool{kernel.NameMax / 2: true, 40_000: false, 65_000: false} {
		name := strings.Repeat("x", n)
		check := func(what string, err error) {
			t.Helper()
			if (err == nil) != ok || !ok && !fault.Is(err, fault.Invalid) && !fault.Is(err, fault.TooLarge) {
				t.Errorf("%s of %d bytes: %v", what, n, err)
			}
		}
		w := newPublished()
		p := mqtt(name, "x")
		p.Namespace, p.Msg.Retain, p.Reply = "/", true, w
		k.Publish(&p)
		check("retained address", recv(t, w.ch).Err)
		_, _, err := k.OpenSession(ctx, kernel.SessionSpec{Namespace: "/", ClientID: name, Expiry: 60, Sink: newSink()})
		check("client id", err)
		_, errs := fine.Subscribe(ctx, []kernel.Subscription{{Filter: "$share/g/" + name, QoS: 1}})
		check("shared filter", errs[0])
		_, _, err = k.DeclareQueue(ctx, queueSpec(name))
		check("queue", err)
		done := make(chan error, 1)
		k.GroupCommit("/", "g", &shard.GroupCommit{Generation: -1, Offsets: []shard.GroupOffset{{Topic: name, Offset: group.Offset{}}}}, func(_ []group.Error, err error) { done <- err })
		check("topic", recv(t, done))
	}
	for range 20 { // so that all of it is written
		publish(t, k, mqtt("none", "x"))
		if err := k.Settle(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.Err(); err != nil {
		t.Error(err)
	}
}
