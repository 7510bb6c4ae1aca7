package kernel_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
)

// settled waits until nothing is to move any more, as some nodes see it.
func settled(t *testing.T, c *kerneltest.Cluster, ids ...uint64) {
	t.Helper()
	for _, id := range ids {
		k := c.Node(id)
		until(t, k, fmt.Sprintf("node %d: all is where it is to be", id), func() bool { return len(k.Moves()) == 0 })
	}
}

// share counts what each node votes on and leads, as one node sees it.
func share(k *kernel.Kernel) (votes, leads map[uint64]int) {
	votes, leads = make(map[uint64]int), make(map[uint64]int)
	for _, s := range k.ShardIDs() {
		for _, id := range k.Keepers(s) {
			votes[id]++
		}
		if leader, _ := k.Leadership(s); leader != 0 {
			leads[leader]++
		}
	}
	return votes, leads
}

// even wants some nodes to vote on as much as each other, and to lead as much.
func even(t *testing.T, k *kernel.Kernel, ids ...uint64) {
	t.Helper()
	votes, leads := share(k)
	for what, counts := range map[string]map[uint64]int{"votes": votes, "leads": leads} {
		var of []int
		for _, id := range ids {
			of = append(of, counts[id])
		}
		if len(counts) != len(ids) || slices.Max(of)-slices.Min(of) > 1 {
			t.Errorf("%s: %v", what, counts)
		}
	}
}

// load publishes to the queue "load" by one node after another, and notes what was
// acknowledged, until it is stopped.
type load struct {
	t    *testing.T
	c    *kerneltest.Cluster
	stop chan struct{}
	once sync.Once
	done sync.WaitGroup

	mu    sync.Mutex
	by    []uint64
	acked map[string]bool
}

func startLoad(t *testing.T, c *kerneltest.Cluster, by ...uint64) *load {
	t.Helper()
	if _, _, err := c.Node(by[0]).DeclareQueue(t.Context(), queueSpec("load")); err != nil {
		t.Fatal(err)
	}
	l := &load{t: t, c: c, stop: make(chan struct{}), by: by, acked: make(map[string]bool)}
	for client := range 4 {
		l.done.Go(func() { l.run(client) })
	}
	t.Cleanup(l.end)
	return l
}

// through changes by which nodes it goes on.
func (l *load) through(by ...uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.by = by
}

func (l *load) run(client int) {
	for i := 0; ; i++ {
		select {
		case <-l.stop:
			return
		default:
		}
		value := fmt.Sprintf("%d/%d", client, i)
		l.mu.Lock()
		k := l.c.Running(l.by[i%len(l.by)])
		l.mu.Unlock()
		w := newPublished()
		p := mqtt("load", value)
		p.Namespace, p.Reply = "/", w
		k.Publish(&p)
		if r := recv(l.t, w.ch); r.Err == nil && r.Queues == 1 {
			l.mu.Lock()
			l.acked[value] = true
			l.mu.Unlock()
		}
	}
}

// end ends it.
func (l *load) end() {
	l.once.Do(func() { close(l.stop) })
	l.done.Wait()
}

// check ends it, and wants one node to hand out everything.
func (l *load) check(by uint64) {
	l.t.Helper()
	l.end()
	sink := newSink()
	a, err := l.c.Node(by).Attach(l.t.Context(), kernel.AttachSpec{Namespace: "/", Queue: "load", Credit: 1000, Refill: true, Sink: sink})
	if err != nil {
		l.t.Fatal(err)
	}
	n := len(l.acked)
	if n == 0 {
		l.t.Fatal("nothing was published")
	}
	for len(l.acked) > 0 {
		g := sink.next(l.t)
		delete(l.acked, string(g.msg.Value))
		a.Settle(g.d.No, false, kernel.Accept)
	}
	l.t.Logf("%d acknowledged, all there", n)
}

// A node that joins has everything, and takes its share of votes and of leaders, while others
// publish.
func TestNodeJoins(t *testing.T) { onEachNetwork(t, nodeJoins) }

func nodeJoins(t *testing.T, o kerneltest.Options) {
	c := kerneltest.StartCluster(t, 3, o)
	settled(t, c, 1)
	even(t, c.Node(1), 1, 2, 3)
	l := startLoad(t, c, 1, 2, 3)
	if id := c.Add(2); id != 4 {
		t.Fatalf("it is node %d", id)
	}
	if n, ok := c.Node(1).Node(4); !ok || n.State != kernel.NodeUp {
		t.Errorf("node 4 is %q", n.State)
	}
	settled(t, c, 1, 2, 3, 4)
	even(t, c.Node(4), 1, 2, 3, 4)
	l.through(1, 2, 3, 4)
	publishEventually(t, c.Node(4), "load", "by the new one")
	l.check(4)

	// It counts: with it, one of the others may be down.
	c.Stop(1)
	publishEventually(t, c.Node(4), "load", "without the first")
	publishEventually(t, c.Node(2), "load", "without the first, by another")
}

// A joining node that is behind what others have in memory fetches everything, and is up only
// when it has it.
func TestNodeJoinsFarBehind(t *testing.T) {
	c := kerneltest.StartCluster(t, 3, far(t, nil))
	s := newStuff(t, c, 1)
	s.publish(1, 150)
	s.consume(2, 100)
	c.Add(1)
	if n := c.Node(4).Stats().CaughtUp.Load(); n == 0 {
		t.Error("it was not behind: the test shows nothing")
	}
	s.check(4, 100)
	settled(t, c, 4)
	c.Stop(1)
	s.publish(4, 5)
	s.check(2, 100)
}

// A node that leaves gives everything away and is removed, whichever it is, while others publish. Its
// clients are sent away, its id is nobody's any more, and what it had is done without it.
func TestNodeLeaves(t *testing.T) {
	for id := uint64(1); id <= 4; id++ {
		t.Run(fmt.Sprint(id), func(t *testing.T) {
			c := kerneltest.StartCluster(t, 3, kerneltest.Options{NoCapture: true})
			c.Add(1)
			settled(t, c, 1)
			stays := slices.DeleteFunc([]uint64{1, 2, 3, 4}, func(x uint64) bool { return x == id })
			l := startLoad(t, c, stays...)
			_, client, _ := open(t, c.Node(id), "c", 3600, true)
			k := c.Node(stays[0])
			if err := k.RemoveNode(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			until(t, k, "it is removed", func() bool { n, _ := k.Node(id); return n.State == kernel.NodeRemoved })
			if r := recv(t, client.gone); r != kernel.GoneClosing {
				t.Errorf("its client was told %v", r)
			}
			settled(t, c, stays...)
			even(t, k, stays...)
			c.Stop(id)
			l.check(stays[1])
			if _, again, present := open(t, k, "c", 3600, false); !present || again == nil {
				t.Error("its client's session is gone")
			}
			if nodes := k.Nodes(); len(nodes) != 3 {
				t.Errorf("there are %d nodes", len(nodes))
			}
			if next := c.Add(stays[2]); next != 5 {
				t.Errorf("the next node is %d", next)
			}
		})
	}
}

// A node that is drained votes on nothing and leads nothing, and serves its clients; filled again,
// it has its share again.
func TestNodeIsDrained(t *testing.T) {
	c := kerneltest.StartCluster(t, 3, kerneltest.Options{NoCapture: true})
	settled(t, c, 1)
	l := startLoad(t, c, 1, 2, 3)
	if err := c.Node(3).DrainNode(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	settled(t, c, 1, 2, 3)
	even(t, c.Node(1), 1, 2)
	publishEventually(t, c.Node(3), "load", "by the drained one")
	if err := c.Node(2).FillNode(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	settled(t, c, 1, 2, 3)
	even(t, c.Node(1), 1, 2, 3)
	l.check(3)
}

// One node becomes three, which do without the first.
func TestGrowFromOne(t *testing.T) {
	c := kerneltest.StartCluster(t, 1, kerneltest.Options{NoCapture: true})
	l := startLoad(t, c, 1)
	c.Add(1)
	c.Add(2)
	settled(t, c, 1, 2, 3)
	even(t, c.Node(2), 1, 2, 3)
	l.through(2, 3)
	if err := c.Node(2).RemoveNode(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	k := c.Node(3)
	until(t, k, "it is removed", func() bool { n, _ := k.Node(1); return n.State == kernel.NodeRemoved })
	c.Stop(1)
	l.check(3)
}

// What would leave nobody who keeps everything is refused.
func TestLastNodeStays(t *testing.T) {
	c := kerneltest.StartCluster(t, 1, kerneltest.Options{NoCapture: true})
	for _, do := range []func() error{
		func() error { return c.Node(1).RemoveNode(t.Context(), 1) },
		func() error { return c.Node(1).DrainNode(t.Context(), 1) },
	} {
		if err := do(); !fault.Is(err, fault.Conflict) {
			t.Errorf("%v", err)
		}
	}
	if err := c.Node(1).RemoveNode(t.Context(), 7); !fault.Is(err, fault.NotFound) {
		t.Errorf("a node that there is not: %v", err)
	}
}

// When most nodes are gone for good, one that is left goes on without them if it is told to, with
// everything it has; and again after its next start, when it is told nothing. Others join it.
func TestForsake(t *testing.T) {
	for _, led := range []bool{true, false} { // by the one that is left, or not
		c := kerneltest.StartCluster(t, 3, kerneltest.Options{NoCapture: true})
		var stays uint64
		until(t, c.Node(1), "log 0 has a leader", func() bool { stays, _ = c.Node(1).Leadership(0); return stays != 0 })
		if !led {
			stays = stays%3 + 1
		}
		if _, _, err := c.Node(stays).DeclareQueue(t.Context(), queueSpec("q")); err != nil {
			t.Fatal(err)
		}
		for i := range 10 {
			publishEventually(t, c.Node(stays), "q", fmt.Sprint(i))
		}
		for id := uint64(1); id <= 3; id++ {
			c.Stop(id)
		}
		c.Forsake(stays)
		publishEventually(t, c.Node(stays), "q", "10")
		c.Stop(stays)
		c.Start(stays)
		publishEventually(t, c.Node(stays), "q", "11")
		k := c.Node(stays)
		if nodes := k.Nodes(); len(nodes) != 1 || nodes[0].ID != stays {
			t.Errorf("nodes %+v", nodes)
		}
		s := newSink()
		if _, err := k.Attach(t.Context(), kernel.AttachSpec{Namespace: "/", Queue: "q", Credit: kernel.Unlimited, Sink: s}); err != nil {
			t.Fatal(err)
		}
		for i := range 12 {
			if g := s.next(t); string(g.msg.Value) != fmt.Sprint(i) {
				t.Errorf("message %d is %q", i, g.msg.Value)
			}
		}
		if id := c.Add(stays); id != 4 {
			t.Errorf("the next node is %d", id)
		}
		settled(t, c, stays, 4)
	}
}
