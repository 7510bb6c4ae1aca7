package kernel_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/group"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/kernel/shard"
)

// createStream makes a stream of a durability; "" is the namespace's.
func createStream(t *testing.T, k *kernel.Kernel, ns, address string, d kernel.Durability) kernel.StreamInfo {
	t.Helper()
	st, err := k.CreateStream(context.Background(), kernel.StreamSpec{Namespace: ns, Address: address, Partitions: 3, Durability: d})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// classOf is the durability that a shard promises, by its number.
func classOf(id uint32) kernel.Durability {
	switch {
	case id < 1000:
		return kernel.Sync
	case id < 2000:
		return kernel.Async
	}
	return kernel.Memory
}

func TestThingsLiveInShardsOfTheirDurability(t *testing.T) {
	ctx := context.Background()
	k := kerneltest.Open(t, kerneltest.Options{})
	for _, d := range []kernel.Durability{kernel.Sync, kernel.Async, kernel.Memory} {
		ns := "ns-" + string(d)
		if _, created, err := k.CreateNamespace(ctx, ns, d); err != nil || !created {
			t.Fatalf("create namespace: created %v, %v", created, err)
		}
		own := createStream(t, k, "/", "own-"+string(d), d)
		inherited := createStream(t, k, ns, "inherited", "")
		if err := k.AddPartitions(ctx, ns, "inherited", 5); err != nil {
			t.Fatal(err)
		}
		inherited, _ = k.Stream(ns, "inherited")
		if len(inherited.Parts) != 5 {
			t.Fatalf("%d partitions", len(inherited.Parts))
		}
		for _, st := range []kernel.StreamInfo{own, inherited} {
			for _, p := range st.Parts {
				if st.Durability != d || classOf(p.Shard) != d {
					t.Errorf("%s %s is %s, and partition %d in shard %d", st.Namespace, st.Address, st.Durability, p.Index, p.Shard)
				}
			}
		}
		q := queueSpec("jobs")
		q.Namespace = ns
		i, _, err := k.DeclareQueue(ctx, q)
		if err != nil || i.Durability != d || classOf(i.Shard) != d {
			t.Errorf("queue in %s: %s in shard %d, %v", ns, i.Durability, i.Shard, err)
		}
		s, _, err := k.OpenSession(ctx, kernel.SessionSpec{Namespace: ns, ClientID: "c", Expiry: 60, ReceiveMaximum: 1, Sink: newSink()})
		if err != nil {
			t.Fatal(err)
		}
		if info, _ := k.SessionInfo(ns, "c"); info.Durability != d || classOf(info.Shard) != d {
			t.Errorf("session in %s: %s in shard %d", ns, info.Durability, info.Shard)
		}
		s.Close(false, nil)
	}
	// What capture makes is not worth a sync, and no more than the namespace says.
	publish(t, k, mqtt("plant/m1", "x"))
	if st, _ := k.Stream("/", "plant"); st.Durability != kernel.Async {
		t.Errorf("the captured stream is %s", st.Durability)
	}
	p := mqtt("plant/m1", "x")
	p.Namespace = "ns-memory"
	publish(t, k, p)
	if st, _ := k.Stream("ns-memory", "plant"); st.Durability != kernel.Memory || st.Config["retention.bytes"] == "" {
		t.Errorf("the captured stream is %s, kept to %q bytes", st.Durability, st.Config["retention.bytes"])
	}
}

func TestDurabilityThatCannotBeIsRefused(t *testing.T) {
	ctx := context.Background()
	k := kerneltest.Open(t, kerneltest.Options{})
	createStream(t, k, "/", "orders", kernel.Async)
	err := k.ConfigureStream(ctx, "/", "orders", map[string]string{"durability": "sync"}, nil)
	if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "create another stream with durability sync") {
		t.Errorf("changing it: %v", err)
	}
	if err := k.ConfigureStream(ctx, "/", "orders", map[string]string{"durability": "async", "retention.ms": "1000"}, nil); err != nil {
		t.Errorf("saying what is so: %v", err)
	}
	if st, _ := k.Stream("/", "orders"); st.Config["retention.ms"] != "1000" || st.Config["durability"] != "" || st.Durability != kernel.Async {
		t.Errorf("the stream is now %+v", st.StreamSpec)
	}
	if _, err := k.CreateStream(ctx, kernel.StreamSpec{Namespace: "/", Address: "x", Partitions: 1, Config: map[string]string{"durability": "paper"}}); !fault.Is(err, fault.Invalid) {
		t.Errorf("creating with another: %v", err)
	}
	createStream(t, k, "/", "brief", kernel.Memory)
	if err := k.ConfigureStream(ctx, "/", "brief", map[string]string{"cleanup.policy": "compact,delete"}, nil); !fault.Is(err, fault.Invalid) {
		t.Errorf("compacting what is in memory: %v", err)
	}
	q := queueSpec("mine")
	q.Durable, q.Durability = false, kernel.Async
	if _, _, err := k.DeclareQueue(ctx, q); !fault.Is(err, fault.Invalid) {
		t.Errorf("a transient queue that is async: %v", err)
	}
	if _, err := k.ConfigureNamespace(ctx, "nowhere", kernel.Async); !fault.Is(err, fault.NotFound) {
		t.Errorf("a namespace that is not there: %v", err)
	}
}

// A namespace's durability is for what is made from then on.
func TestNamespaceDurabilityMovesNothing(t *testing.T) {
	ctx := context.Background()
	k := kerneltest.Open(t, kerneltest.Options{})
	open := func(id string, want bool) {
		t.Helper()
		s, present, err := k.OpenSession(ctx, kernel.SessionSpec{Namespace: "/", ClientID: id, Expiry: 60, ReceiveMaximum: 1, Sink: newSink()})
		if err != nil || present != want {
			t.Fatalf("session %s: present %v, %v", id, present, err)
		}
		s.Close(false, nil)
	}
	open("before", false)
	createStream(t, k, "/", "before", "")
	if _, err := k.ConfigureNamespace(ctx, "/", kernel.Async); err != nil {
		t.Fatal(err)
	}
	open("before", true)
	open("after", false)
	createStream(t, k, "/", "after", "")
	for name, want := range map[string]kernel.Durability{"before": kernel.Sync, "after": kernel.Async} {
		st, _ := k.Stream("/", name)
		s, _ := k.SessionInfo("/", name)
		if st.Durability != want || s.Durability != want {
			t.Errorf("made %s: stream %s, session %s", name, st.Durability, s.Durability)
		}
	}
}

// What is in memory goes with the process, its declaration stays, and nothing points at what
// is gone: offsets that groups have committed go too, and epochs tell one life from the next.
func TestMemoryIsEmptyAfterARestart(t *testing.T) {
	ctx := context.Background()
	engine := newMem(t)
	k, stop := kerneltest.Start(t, kerneltest.Options{Engine: keep{engine}})
	var epochs []int32
	for _, d := range []kernel.Durability{kernel.Sync, kernel.Async, kernel.Memory} {
		name := string(d)
		createStream(t, k, "/", name, d)
		q := queueSpec(name)
		q.Durability = d
		if _, _, err := k.DeclareQueue(ctx, q); err != nil {
			t.Fatal(err)
		}
		publish(t, k, mqtt(name, "one")) // to both: the stream is home to it, the queue has its name
		done := make(chan error, 1)
		k.GroupCommit("/", "readers", &shard.GroupCommit{Generation: -1, Offsets: []shard.GroupOffset{
			{Topic: name, Offset: group.Offset{Offset: 1, LeaderEpoch: -1}}}}, func(errs []group.Error, err error) {
			if err == nil && errs[0] != group.OK {
				t.Errorf("commit: %v", errs)
			}
			done <- err
		})
		if err := recv(t, done); err != nil {
			t.Fatal(err)
		}
		st, _ := k.Stream("/", name)
		epochs = append(epochs, st.Parts[0].LeaderEpoch)
	}
	stop()
	k = kerneltest.Open(t, kerneltest.Options{Engine: keep{engine}})
	for i, d := range []kernel.Durability{kernel.Sync, kernel.Async, kernel.Memory} {
		name := string(d)
		want := 1
		if d == kernel.Memory {
			want = 0
		}
		if got := records(t, k, name, ""); len(got) != want {
			t.Errorf("stream %s holds %v", name, got)
		}
		if q, err := k.Queue("/", name, 0); err != nil || q.Ready != int64(want) || q.Durability != d {
			t.Errorf("queue %s is %s and holds %d, %v", name, q.Durability, q.Ready, err)
		}
		if st, _ := k.Stream("/", name); st.Parts[0].LeaderEpoch <= epochs[i] {
			t.Errorf("stream %s was of epoch %d and is of %d", name, epochs[i], st.Parts[0].LeaderEpoch)
		}
		committed := false
		k.GroupRead("/", "readers", func(g *group.Group) { _, committed, _ = g.Fetch(name, 0, false) })
		if committed != (want == 1) {
			t.Errorf("stream %s: a committed offset is there: %v", name, committed)
		}
		publish(t, k, mqtt(name, "two"))
		if got := records(t, k, name, ""); len(got) != want+1 {
			t.Errorf("stream %s then holds %v", name, got)
		}
	}
}

// What is in memory is kept to its bound, with no segment to look into.
func TestMemoryIsBounded(t *testing.T) {
	wall := clock.NewVirtual(time.Unix(1_700_000_000, 0))
	k := kerneltest.Open(t, kerneltest.Options{Time: wall})
	if _, err := k.CreateStream(t.Context(), kernel.StreamSpec{
		Namespace: "/", Address: "brief", Partitions: 1, Durability: kernel.Memory, Config: map[string]string{"retention.bytes": "10000"},
	}); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		publish(t, k, mqtt("brief", strings.Repeat("x", 1000)))
	}
	wall.Advance(5 * time.Second)
	st, _ := k.Stream("/", "brief")
	if p := st.Parts[0]; p.End != 100 || p.Start == 0 || p.Start > 95 || p.Bytes > 12_000 {
		t.Errorf("it holds %d to %d, %d bytes", p.Start, p.End, p.Bytes)
	}
	if got := records(t, k, "brief", ""); len(got) != int(100-st.Parts[0].Start) {
		t.Errorf("%d records can be read", len(got))
	}
}
