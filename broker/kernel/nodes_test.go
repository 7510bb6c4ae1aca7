package kernel_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/cluster/transport"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
)

// onEachNetwork has a test run on three nodes, whatever joins them.
func onEachNetwork(t *testing.T, f func(*testing.T, kerneltest.Options)) {
	for name, tcp := range map[string]bool{"memory": false, "tcp": true} {
		t.Run(name, func(t *testing.T) { f(t, kerneltest.Options{NoCapture: true, TCP: tcp}) })
	}
}

// What is declared and published on one node is consumed on another, and what is settled there
// is gone on the third.
func TestQueueFromAnyNode(t *testing.T) { onEachNetwork(t, queueFromAnyNode) }

func queueFromAnyNode(t *testing.T, o kerneltest.Options) {
	c := kerneltest.StartCluster(t, 3, o)
	if _, created, err := c.Node(1).DeclareQueue(t.Context(), queueSpec("q")); err != nil || !created {
		t.Fatalf("created %v, %v", created, err)
	}
	for i := range 10 {
		publishEventually(t, c.Node(uint64(1+i%3)), "q", fmt.Sprint(i))
	}
	s := newSink()
	a, err := c.Node(2).Attach(t.Context(), kernel.AttachSpec{Namespace: "/", Queue: "q", Credit: kernel.Unlimited, Sink: s})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		g := s.next(t)
		if string(g.msg.Value) != fmt.Sprint(i) {
			t.Errorf("message %d is %q", i, g.msg.Value)
		}
		a.Settle(g.d.No, false, kernel.Accept)
	}
	if err := a.Detach(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	until(t, c.Node(3), "the queue is empty", func() bool {
		info, err := c.Node(3).Queue("/", "q", 0)
		return err == nil && info.Ready == 0 && info.Unacked == 0 && info.Consumers == 0
	})
}

// publishEventually publishes to a queue, once the node knows of it.
func publishEventually(t *testing.T, k *kernel.Kernel, queue, value string) {
	t.Helper()
	until(t, k, "knows "+queue, func() bool { _, err := k.Queue("/", queue, 0); return err == nil })
	p := mqtt(queue, value)
	if r := publish(t, k, p); r.Queues != 1 {
		t.Fatalf("%q went to %d queues", value, r.Queues)
	}
}

// A session has messages from every node, of every QoS, and moves to the node where its client
// connects next.
func TestSessionFromAnyNode(t *testing.T) { onEachNetwork(t, sessionFromAnyNode) }

func sessionFromAnyNode(t *testing.T, o kerneltest.Options) {
	c := kerneltest.StartCluster(t, 3, o)
	first, s, _ := open(t, c.Node(1), "c", 3600, true)
	subscribe(t, first, "a/#", 1)
	for id := uint64(1); id <= 3; id++ {
		k := c.Node(id)
		until(t, k, "routes to the session", func() bool { return k.Counts().Subscriptions == 1 })
		for qos := range uint8(2) {
			p := mqtt("a/b", fmt.Sprintf("%d at %d", qos, id))
			p.Msg.QoS = qos
			if r := publish(t, k, p); r.Subscribers != 1 {
				t.Errorf("node %d, QoS %d: %d subscribers", id, qos, r.Subscribers)
			}
			if g := s.next(t); string(g.msg.Value) != fmt.Sprintf("%d at %d", qos, id) || g.d.QoS != qos {
				t.Errorf("delivered %q at QoS %d", g.msg.Value, g.d.QoS)
			} else if g.d.PacketID != 0 {
				first.Ack(g.d.PacketID, true)
			}
		}
	}
	// What is not acknowledged when the other connection comes is delivered once more.
	until(t, c.Node(3), "all is acknowledged", func() bool {
		info, ok := c.Node(3).SessionInfo("/", "c")
		return ok && info.Inflight == 0 && info.Backlog == 0
	})
	second, s2, present := open(t, c.Node(3), "c", 3600, false)
	if !present {
		t.Error("the session was not resumed")
	}
	if r := recv(t, s.gone); r != kernel.GoneTakenOver {
		t.Errorf("the first connection was told %v", r)
	}
	publish(t, c.Node(2), mqtt("a/c", "after"))
	for g := s2.next(t); string(g.msg.Value) != "after"; g = s2.next(t) {
		if !g.d.Redelivered { // its acknowledgement was overtaken
			t.Errorf("delivered %q", g.msg.Value)
		}
	}
	second.Close(false, nil)
}

// A node that has been restarted knows from its checkpoint which node a session's client is
// connected to, and relays to it what it is sent at QoS 0.
func TestRestartedNodeRelaysToSessions(t *testing.T) {
	c := kerneltest.StartCluster(t, 3, kerneltest.Options{NoCapture: true, DataShards: 1, CheckpointBytes: 1})
	ses, s, _ := open(t, c.Node(1), "c", 3600, true)
	subscribe(t, ses, "a/#", 0)
	k := c.Node(2)
	saved := func() uint64 { return k.ShardStats()[0].Checkpoints.Count() }
	for before := saved(); saved() < before+2; { // the second begins after the subscription
		publish(t, k, mqtt("a/b", "logged"))
		s.next(t)
	}
	c.Stop(2)
	c.Start(2)
	k = c.Node(2)
	p := mqtt("a/b", "live")
	p.Msg.QoS = 0
	if r := publish(t, k, p); r.Subscribers != 1 {
		t.Errorf("%d subscribers", r.Subscribers)
	}
	if g := s.next(t); string(g.msg.Value) != "live" {
		t.Errorf("delivered %q", g.msg.Value)
	}
}

// A node that is cut off is down for the others, which have what it held; its clients are told
// when it learns of that, and come back.
func TestNodeThatIsCutOff(t *testing.T) {
	weather := transport.NewWeather(clock.Wall{}, 1)
	c := kerneltest.StartCluster(t, 3, kerneltest.Options{NoCapture: true, Weather: weather})
	if _, _, err := c.Node(1).DeclareQueue(t.Context(), queueSpec("q")); err != nil {
		t.Fatal(err)
	}
	publishEventually(t, c.Node(1), "q", "held")
	consumer := newSink()
	if _, err := c.Node(3).Attach(t.Context(), kernel.AttachSpec{Namespace: "/", Queue: "q", Credit: kernel.Unlimited, Sink: consumer}); err != nil {
		t.Fatal(err)
	}
	consumer.next(t)
	_, session, _ := open(t, c.Node(3), "c", 3600, true)

	weather.Isolate(3, 1, 2)
	other := newSink()
	if _, err := c.Node(1).Attach(t.Context(), kernel.AttachSpec{Namespace: "/", Queue: "q", Credit: kernel.Unlimited, Sink: other}); err != nil {
		t.Fatal(err)
	}
	if g := other.next(t); string(g.msg.Value) != "held" || !g.d.Redelivered {
		t.Errorf("delivered %q, redelivered %v", g.msg.Value, g.d.Redelivered)
	}
	weather.Heal()
	for _, s := range []*sink{consumer, session} {
		if r := recv(t, s.gone); r != kernel.GoneClosing {
			t.Errorf("told %v", r)
		}
	}
	_, again, present := open(t, c.Node(3), "c", 3600, false)
	if !present {
		t.Error("the session is gone")
	}
	select {
	case r := <-again.gone:
		t.Errorf("told %v again", r)
	default:
	}
}

// A node that leads goes away: what it had unsettled is delivered elsewhere, nothing that was
// acknowledged is lost, and it has all of it when it is back.
func TestNodeGoesAndComesBack(t *testing.T) { onEachNetwork(t, nodeGoesAndComesBack) }

func nodeGoesAndComesBack(t *testing.T, o kerneltest.Options) {
	c := kerneltest.StartCluster(t, 3, o)
	info, _, err := c.Node(1).DeclareQueue(t.Context(), queueSpec("q"))
	if err != nil {
		t.Fatal(err)
	}
	gone := c.Leader(info.Shard)
	one, other := 1+gone%3, 1+(gone+1)%3
	publishEventually(t, c.Node(one), "q", "held")
	s := newSink()
	if _, err := c.Node(gone).Attach(t.Context(), kernel.AttachSpec{Namespace: "/", Queue: "q", Credit: kernel.Unlimited, Sink: s}); err != nil {
		t.Fatal(err)
	}
	s.next(t)
	c.Stop(gone)

	publishEventually(t, c.Node(one), "q", "meanwhile")
	s = newSink()
	a, err := c.Node(other).Attach(t.Context(), kernel.AttachSpec{Namespace: "/", Queue: "q", Credit: kernel.Unlimited, Sink: s})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for range 2 {
		g := s.next(t)
		got[string(g.msg.Value)] = true
		a.Settle(g.d.No, false, kernel.Accept)
	}
	if !got["held"] || !got["meanwhile"] {
		t.Errorf("delivered %v", got)
	}

	c.Start(gone)
	publishEventually(t, c.Node(gone), "q", "back")
	if g := s.next(t); string(g.msg.Value) != "back" {
		t.Errorf("delivered %q", g.msg.Value)
	}
}

// What log 0 names is made, though nobody waits for it who has asked.
func TestNamedIsMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kerneltest.StartCluster(t, 3, kerneltest.Options{NoCapture: true})
		if err := c.Node(1).DeclareHalf(t.Context(), queueSpec("q")); err != nil {
			t.Fatal(err)
		}
		if err := c.Node(1).CreateHalf(t.Context(), kernel.StreamSpec{Namespace: "/", Address: "s", Partitions: 3}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second) // virtual
		for id := range uint64(3) {
			k := c.Node(id + 1)
			publish(t, k, mqtt("q", "x"))
			st, _ := k.Stream("/", "s")
			for i := range int32(3) {
				if _, err := k.Partition(st.ID, i); err != nil {
					t.Errorf("node %d, partition %d: %v", id+1, i, err)
				}
			}
		}
		if err := c.Node(2).Barrier(t.Context()); err != nil {
			t.Fatal(err)
		}
		if info, err := c.Node(2).Queue("/", "q", 0); err != nil || info.Ready != 3 {
			t.Errorf("the queue has %d of 3 messages: %v", info.Ready, err)
		}
	})
}
