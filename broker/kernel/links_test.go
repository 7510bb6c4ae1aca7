package kernel_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/cluster/transport"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/memlog"
)

// stream makes a stream of one partition on a cluster, and returns its shard.
func stream(t *testing.T, c *kerneltest.Cluster, name string) uint32 {
	t.Helper()
	if _, err := c.Node(1).CreateStream(t.Context(), kernel.StreamSpec{Namespace: "/", Address: name, Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	st, _ := c.Node(1).Stream("/", name)
	return st.Logs[0].Shard
}

// leads waits until a node leads a shard and says so.
func leads(t *testing.T, c *kerneltest.Cluster, shard uint32) (leader, one, other uint64) {
	t.Helper()
	for {
		leader = c.Leader(shard)
		k := c.Node(leader)
		if until(t, k, "somebody leads", func() bool { return k.Leader(shard) != 0 }); k.Leads(shard) {
			return leader, 1 + leader%3, 1 + (leader+1)%3
		}
	}
}

// pendingPublish publishes and does not wait for the answer.
func pendingPublish(k *kernel.Kernel, address, value string) *published {
	w := newPublished()
	p := kernel.Publish{Namespace: "/", Reply: w, Msg: message.Message{Source: message.MQTT, Address: address, Value: []byte(value), QoS: 1}}
	if err := k.Publish(&p); err != nil {
		w.ch <- kernel.PublishResult{Err: err}
	}
	return w
}

// Links that fail in part: one way, or between two nodes of three. Who can reach a majority is served by
// a leader that can, what is published elsewhere is held until the links are whole, and is there once.
func TestLinksThatFailInPart(t *testing.T) {
	for name, cut := range map[string]struct {
		cut    func(w *transport.Weather, leader, one, other uint64)
		served [3]bool // leader, one, other
	}{
		"the leader is not heard":           {func(w *transport.Weather, l, a, b uint64) { w.Cut(l, a); w.Cut(l, b) }, [3]bool{false, true, true}},
		"the leader hears nobody":           {func(w *transport.Weather, l, a, b uint64) { w.Cut(a, l); w.Cut(b, l) }, [3]bool{false, true, true}},
		"a follower does not reach it":      {func(w *transport.Weather, l, a, _ uint64) { w.Isolate(l, a) }, [3]bool{true, false, true}},
		"a follower is not heard by it":     {func(w *transport.Weather, l, a, _ uint64) { w.Cut(a, l) }, [3]bool{true, false, true}},
		"followers do not reach each other": {func(w *transport.Weather, _, a, b uint64) { w.Isolate(a, b) }, [3]bool{true, true, true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			weather := transport.NewWeather(clock.Wall{}, 1)
			c := kerneltest.StartCluster(t, 3, kerneltest.Options{NoCapture: true, DataShards: 1, Weather: weather})
			shard := stream(t, c, "s")
			leader, one, other := leads(t, c, shard)
			want := 0
			var held []*published
			send := func() {
				for i, id := range []uint64{leader, one, other} {
					w := pendingPublish(c.Node(id), "s", fmt.Sprint(want))
					want++
					if !cut.served[i] {
						held = append(held, w)
					} else if r := recv(t, w.ch); r.Err != nil {
						t.Fatalf("node %d: %v", id, r.Err)
					}
				}
			}
			cut.cut(weather, leader, one, other)
			send()
			send()
			for _, w := range held {
				select {
				case r := <-w.ch:
					t.Errorf("answered by a node that reaches no leader: %+v", r)
				default:
				}
			}
			weather.Heal()
			for _, w := range held {
				if r := recv(t, w.ch); r.Err != nil {
					t.Errorf("once the links are whole: %v", r.Err)
				}
			}
			for id := uint64(1); id <= 3; id++ {
				k := c.Node(id)
				until(t, k, "has all", func() bool { return len(records(t, k, "s", "")) >= want })
				var values []string
				for _, r := range records(t, k, "s", "") {
					values = append(values, r[strings.IndexByte(r, '=')+1:])
				}
				if slices.Sort(values); len(values) != want || len(slices.Compact(values)) != want {
					t.Errorf("node %d has %v", id, values)
				}
				if id > 1 && !slices.Equal(records(t, k, "s", ""), records(t, c.Node(1), "s", "")) {
					t.Errorf("node %d has %v, and node 1 %v", id, records(t, k, "s", ""), records(t, c.Node(1), "s", ""))
				}
			}
		})
	}
}

// The disk of the leader hangs. The other two are a majority: what is published through them is acknowledged
// meanwhile, and what is published through the leader as soon as its disk is back.
func TestLeaderWithASlowDisk(t *testing.T) {
	disks := map[uint64]*kerneltest.Slow{}
	for id := uint64(1); id <= 3; id++ {
		disks[id] = kerneltest.NewSlow(memlog.New())
	}
	c := kerneltest.StartCluster(t, 3, kerneltest.Options{NoCapture: true, DataShards: 1, Disk: func(id uint64) storage.Engine { return disks[id] }})
	shard := stream(t, c, "s")
	leader, one, other := leads(t, c, shard)
	disks[leader].Hold()
	held := pendingPublish(c.Node(leader), "s", "by the leader")
	for i := range 10 {
		publish(t, c.Node(one), mqtt("s", fmt.Sprint("one ", i)))
		publish(t, c.Node(other), mqtt("s", fmt.Sprint("other ", i)))
	}
	select {
	case r := <-held.ch:
		t.Errorf("the leader has answered for what is not on its own disk: %+v", r)
	default:
	}
	st, _ := c.Node(leader).Stream("/", "s")
	p, err := c.Node(leader).Partition(st.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	caughtUp, ends := make(chan error, 1), make(chan int64, 1)
	go func() {
		caughtUp <- p.CatchUp(t.Context())
		ends <- p.Info().End
	}()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.CatchUp(ended); !fault.Is(err, fault.Timeout) {
		t.Errorf("a leader that is behind is told to have caught up: %v", err)
	}
	disks[leader].Release()
	if r := recv(t, held.ch); r.Err != nil {
		t.Error(r.Err)
	}
	if err := recv(t, caughtUp); err != nil {
		t.Error(err)
	}
	if end := recv(t, ends); end < 20 {
		t.Errorf("a leader that has caught up tells that the partition ends at %d; 20 were acknowledged", end)
	}
	until(t, c.Node(leader), "has all", func() bool { return len(records(t, c.Node(leader), "s", "")) == 21 })
}

// The clock of one node is ahead by an hour. What others stamp after it is no older, so a message that is
// to live for a minute is not over before it began; nor does time go back when that node is gone.
func TestClocksThatDiffer(t *testing.T) {
	now := time.Now().Truncate(time.Millisecond)
	clocks := map[uint64]*clock.Virtual{1: clock.NewVirtual(now), 2: clock.NewVirtual(now), 3: clock.NewVirtual(now)}
	c := kerneltest.StartCluster(t, 3, kerneltest.Options{NoCapture: true, DataShards: 1, TimeOf: func(id uint64) clock.Clock { return clocks[id] }})
	info, _, err := c.Node(1).DeclareQueue(t.Context(), queueSpec("q"))
	if err != nil {
		t.Fatal(err)
	}
	ahead, one, other := leads(t, c, info.Shard)
	send := func(id uint64, value string) {
		t.Helper()
		p := mqtt("q", value)
		p.Msg.ExpiresAt = c.Node(id).Now().Add(time.Minute).UnixMilli()
		publish(t, c.Node(id), p)
	}
	clocks[ahead].Advance(time.Hour)
	send(ahead, "ahead")
	k := c.Node(one)
	until(t, k, "has applied that", func() bool { q, err := k.Queue("/", "q", 0); return err == nil && q.Ready == 1 })
	if at := k.Now(); at.Before(now.Add(time.Hour)) {
		t.Errorf("another node stamps %v after %v", at, now.Add(time.Hour))
	}
	send(one, "behind")
	c.Stop(ahead)
	if at := k.Now(); at.Before(now.Add(time.Hour)) {
		t.Errorf("time went back to %v", at)
	}
	send(one, "later")
	c.Stop(other)
	c.Start(other)
	if at := c.Node(other).Now(); at.Before(now.Add(time.Hour)) {
		t.Errorf("after a restart time went back to %v", at)
	}
	s := newSink()
	if _, err := k.Attach(t.Context(), kernel.AttachSpec{Namespace: "/", Queue: "q", Credit: kernel.Unlimited, Sink: s}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"ahead", "behind", "later"} {
		if g := s.next(t); string(g.msg.Value) != want {
			t.Errorf("delivered %q, want %q", g.msg.Value, want)
		}
	}
}

// A node that is to lead a shard does not take over in time, and the leader keeps it. It is asked again, and
// leads when it can.
func TestHandOverThatLapses(t *testing.T) {
	weather := transport.NewWeather(clock.Wall{}, 1)
	c := kerneltest.StartCluster(t, 3, kerneltest.Options{NoCapture: true, DataShards: 1, Weather: weather})
	shard := stream(t, c, "s")
	leader, to, _ := leads(t, c, shard)
	k := c.Node(leader)
	changed, stop := k.Changes()
	defer stop()
	become := func(leading bool) {
		t.Helper()
		for k.Leads(shard) != leading {
			select {
			case <-changed:
			case <-time.After(time.Minute):
				t.Fatalf("it never came to that: leading %v", leading)
			}
		}
	}
	weather.Isolate(to, leader)
	done := make(chan error, 1)
	go func() { done <- k.HandOver(t.Context(), shard, to) }()
	become(false)
	become(true)
	weather.Heal()
	if err := recv(t, done); err != nil {
		t.Fatal(err)
	}
	until(t, c.Node(to), "leads", func() bool { return c.Node(to).Leads(shard) })

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := k.HandOver(ctx, shard, leader); !fault.Is(err, fault.Timeout) {
		t.Errorf("without time: %v", err)
	}
}
