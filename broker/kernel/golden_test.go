package kernel_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/group"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/kernel/shard"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/filelog"
	"github.com/robustmq/rmq/broker/storage/meta"
)

var update = flag.Bool("update", false, "write the golden directory anew")

// goldenDir is a data directory that a kernel of format 1 left: entries, and the keys and values
// of checkpoints, as docs/format has them. It is written once, and read for ever.
const goldenDir = "../../fixtures/disk/v1-kernel"

// goldenTime is when all in it happened.
var goldenTime = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func goldenEngine(t *testing.T, dir string) storage.Engine {
	t.Helper()
	e, err := filelog.Open(dir, filelog.Options{
		Checkpoints: func(path string) (filelog.CheckpointStore, error) { return meta.Open(path) },
		WALFileMin:  16 << 10, WALFileMax: 16 << 10, SegmentBytes: 4 << 10,
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func goldenKernel(t *testing.T, dir string, checkpoint int) (*kernel.Kernel, func()) {
	return kerneltest.Start(t, kerneltest.Options{
		Engine: goldenEngine(t, dir), Time: clock.NewVirtual(goldenTime), NoCapture: true, DataShards: 1, CheckpointBytes: checkpoint,
	})
}

// goldenFill leaves some of everything, under names that begin with prefix.
func goldenFill(t *testing.T, k *kernel.Kernel, prefix string) {
	t.Helper()
	ctx := context.Background()
	done := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	done(k.PutUser(ctx, kernel.User{Name: prefix + "-user", Hash: []byte("hash"), Tags: []string{"administrator"}}))
	_, _, err := k.CreateNamespace(ctx, prefix+"-space", kernel.Async)
	done(err)
	_, err = k.CreateStream(ctx, kernel.StreamSpec{Namespace: "/", Address: prefix + "-stream", Partitions: 1})
	done(err)
	_, _, err = k.DeclareExchange(ctx, kernel.Exchange{Namespace: "/", Name: prefix + "-exchange", Type: kernel.Topic, Durable: true})
	done(err)
	_, _, err = k.DeclareQueue(ctx, queueSpec(prefix+"-queue"))
	done(err)
	done(k.Bind(ctx, kernel.Binding{Namespace: "/", Source: prefix + "-exchange", Destination: prefix + "-queue", Key: "a.*"}))

	for i := range 3 {
		publish(t, k, mqtt(prefix+"-stream/x", fmt.Sprint("record ", i)))
	}
	st, _ := k.Stream("/", prefix+"-stream")
	p, err := k.Partition(st.ID, 0)
	done(err)
	var rb record.Builder
	rb.Reset(nil, goldenTime.UnixMilli())
	rb.Add(goldenTime.UnixMilli(), []byte("key"), []byte("of a producer"))
	batch := rb.Finish()
	batch.SetProducer(7, 0, 0)
	w := newPublished()
	p.Append(batch, -1, w, 0)
	done(recv(t, w.app).Err)

	for i := range 3 {
		publish(t, k, kernel.Publish{ViaExchange: true, Exchange: prefix + "-exchange", Key: "a.b", Msg: message.Message{
			Source: message.AMQP, Address: "a.b", Value: fmt.Append(nil, "message ", i), QoS: 1,
		}})
	}
	in := newSink()
	a, err := k.Attach(ctx, kernel.AttachSpec{Namespace: "/", Queue: prefix + "-queue", Credit: 1, Sink: in})
	done(err)
	a.Settle(in.next(t).d.No, false, kernel.Accept)
	done(a.Detach(ctx, false))

	ses, _, _ := open(t, k, prefix+"-client", 3600, true)
	subscribe(t, ses, prefix+"-session/#", 2)
	ses.Close(false, nil)
	publish(t, k, mqtt(prefix+"-session/x", "offline"))

	kept := mqtt(prefix+"-retained", "retained")
	kept.Msg.Retain = true
	publish(t, k, kept)
	late := mqtt(prefix+"-session/late", "delayed")
	late.Msg.Delay = 60_000
	publish(t, k, late)
	committed := make(chan error, 1)
	k.GroupCommit("/", prefix+"-group", &shard.GroupCommit{Generation: -1, Offsets: []shard.GroupOffset{
		{Topic: prefix + "-stream", Offset: group.Offset{Offset: 2, LeaderEpoch: -1, Metadata: "m"}},
	}}, func(_ []group.Error, err error) { committed <- err })
	done(recv(t, committed))
}

// goldenState says what there is under a prefix.
func goldenState(t *testing.T, k *kernel.Kernel, prefix string) (out []string) {
	t.Helper()
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if u, ok := k.User(prefix + "-user"); ok {
		say("user %s %s", u.Hash, u.Tags)
	}
	if n, ok := k.Namespace(prefix + "-space"); ok {
		say("namespace %s", n.Durability)
	}
	if x, ok := k.Exchange("/", prefix+"-exchange"); ok {
		say("exchange %s", x.Type)
	}
	for _, b := range k.Bindings("/") {
		if b.Source == prefix+"-exchange" {
			say("binding %s", b.Key)
		}
	}
	say("stream %s", records(t, k, prefix+"-stream", ""))
	in := newSink()
	if _, err := k.Attach(t.Context(), kernel.AttachSpec{Namespace: "/", Queue: prefix + "-queue", Credit: 10, Sink: in}); err != nil {
		t.Fatal(err)
	}
	say("queue %s, %s", in.next(t).msg.Value, in.next(t).msg.Value)
	if s, ok := k.SessionInfo("/", prefix+"-client"); ok {
		say("session expires %d, backlog %d, subscribed %s at %d", s.Expiry, s.Backlog, s.Subscriptions[0].Filter, s.Subscriptions[0].QoS)
	}
	_, in, _ = open(t, k, prefix+"-client", 3600, false)
	say("session is given %s", in.next(t).msg.Value)
	for _, m := range k.RetainedMessages("/", prefix+"-retained", 2) {
		say("retained %s", m.Value)
	}
	k.GroupRead("/", prefix+"-group", func(g *group.Group) {
		o, _, _ := g.Fetch(prefix+"-stream", 0, false)
		say("group at %d, %q", o.Offset, o.Metadata)
	})
	return out
}

// What a kernel of format 1 has left is read for ever: "kept" is in the checkpoints, "logged" in
// the log alone.
func TestGoldenDirectory(t *testing.T) {
	if *update {
		if err := os.RemoveAll(goldenDir); err != nil {
			t.Fatal(err)
		}
		k, stop := goldenKernel(t, goldenDir, 1)
		goldenFill(t, k, "kept")
		stop()
		k, stop = goldenKernel(t, goldenDir, 1<<30)
		goldenFill(t, k, "logged")
		stop()
		if err := os.Remove(filepath.Join(goldenDir, "LOCK")); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(dir, os.DirFS(goldenDir)); err != nil {
		t.Fatal(err)
	}
	checkpoints, err := os.ReadFile(filepath.Join(dir, "checkpoints.db"))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"kept-queue": true, "logged-queue": false} {
		if got := strings.Contains(string(checkpoints), name); got != want {
			t.Errorf("%s in the checkpoints: %v", name, got)
		}
	}
	now := clock.NewVirtual(goldenTime)
	k, stop := kerneltest.Start(t, kerneltest.Options{Engine: goldenEngine(t, dir), Time: now, NoCapture: true, DataShards: 1})
	defer stop()
	for _, prefix := range []string{"kept", "logged"} {
		want := []string{
			"user hash [administrator]",
			"namespace async",
			"exchange topic",
			"binding a.*",
			fmt.Sprintf("stream [0 %[1]s-stream/x=record 0 1 %[1]s-stream/x=record 1 2 %[1]s-stream/x=record 2 3 key=of a producer]", prefix),
			"queue message 1, message 2",
			"session expires 3600, backlog 1, subscribed " + prefix + "-session/# at 2",
			"session is given offline",
			"retained retained",
			`group at 2, "m"`,
		}
		if got := goldenState(t, k, prefix); !slices.Equal(got, want) {
			t.Errorf("%s:\n%s\nwant\n%s", prefix, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	now.Advance(time.Minute)
	kerneltest.Until(t, "what was delayed is published", func() bool {
		n := 0
		for _, s := range k.Sessions("/") {
			n += int(s.Backlog) + s.Inflight
		}
		return n == 4 // and what each was given before
	})
}
