package kerneltest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/cluster/group"
	"github.com/robustmq/rmq/broker/cluster/transport"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/memlog"
)

// Cluster is some kernels that share nothing but a network: in memory, or TCP. Nodes have the
// ids from 1 on.
type Cluster struct {
	t   testing.TB
	o   Options
	net network

	began []uint64 // the nodes that there were first

	mu    sync.Mutex // guards nodes, and their kernels
	nodes []*clusterNode
}

type clusterNode struct {
	*kernel.Kernel
	id       uint64
	forsakes bool           // kernel.Config's
	engine   storage.Engine // in memory it outlives the kernel, as a disk does
	host     *group.Host
	place    place // in the network, while it runs
}

// StartCluster opens n kernels, which the test's end closes.
func StartCluster(t testing.TB, n int, o Options) *Cluster {
	t.Helper()
	if o.Time == nil {
		o.Time = clock.Wall{}
	}
	if o.DataShards == 0 {
		o.DataShards = 2
	}
	c := &Cluster{t: t, o: o, net: inMemory{transport.NewHub()}}
	if o.TCP {
		c.net = newLoopback()
	}
	for i := range n {
		c.nodes = append(c.nodes, &clusterNode{id: uint64(i + 1), engine: c.memory()})
		c.began = append(c.began, uint64(i+1))
	}
	t.Cleanup(c.close)
	opened := make(chan error, n)
	for i := range n {
		go func() { opened <- c.open(c.nodes[i]) }() // each waits for the others
	}
	for range n {
		if err := <-opened; err != nil {
			t.Fatalf("open: %v", err)
		}
	}
	return c
}

// Node returns a node's kernel.
func (c *Cluster) Node(id uint64) *kernel.Kernel { return c.Running(id) }

// Running returns a node's kernel, or nil while the node is stopped. Others may stop and start
// nodes meanwhile.
func (c *Cluster) Running(id uint64) *kernel.Kernel {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[id-1].Kernel
}

func (c *Cluster) set(n *clusterNode, k *kernel.Kernel) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n.Kernel = k
}

// Leader returns the node that leads a shard as the first node knows, waiting until one does.
func (c *Cluster) Leader(shard uint32) uint64 {
	c.t.Helper()
	for _, n := range c.nodes {
		if n.Kernel == nil {
			continue
		}
		changed, stop := n.Changes()
		defer stop()
		giveUp := time.After(leaderWait)
		for {
			if id := n.Kernel.Leader(shard); id != 0 {
				return id
			}
			select {
			case <-changed:
			case <-giveUp:
				c.t.Fatalf("nobody leads shard %d", shard)
			}
		}
	}
	return 0 // no node is open
}

// leaderWait bounds the waiting for a leader: reached only by a test that fails.
const leaderWait = time.Minute

// Stop ends a node without telling anybody; Start opens it again on what it has kept.
func (c *Cluster) Stop(id uint64) {
	c.t.Helper()
	n := c.nodes[id-1]
	n.place.leave()
	c.end(n)
}

// Forsake opens a node that was stopped, and has it go on without the others.
func (c *Cluster) Forsake(id uint64) {
	c.t.Helper()
	n := c.nodes[id-1]
	n.forsakes = true
	defer func() { n.forsakes = false }()
	c.Start(id)
}

// Empty takes from a node that was stopped what it has kept in memory.
func (c *Cluster) Empty(id uint64) {
	n := c.nodes[id-1]
	_ = n.engine.Close()
	n.engine = c.memory()
}

// memory is the engine of a node that has no disk.
func (c *Cluster) memory() storage.Engine {
	if c.o.Disk != nil {
		return nil
	}
	return memlog.New()
}

// Cut has nothing of the others reach a node, until Heal.
func (c *Cluster) Cut(id uint64) {
	n := c.nodes[id-1]
	n.hear(nil)
	n.place.handle(transport.ChanRelay, nil)
}

// Heal ends a Cut.
func (c *Cluster) Heal(id uint64) {
	n := c.nodes[id-1]
	n.place.handle(transport.ChanRelay, n.Receive)
	n.hear(n.host.Receive)
}

// hear gives raft's frames to r.
func (n *clusterNode) hear(r transport.Receiver) {
	n.place.handle(transport.ChanRaft, r)
	n.place.handle(transport.ChanBeat, r)
}

// Start opens a node that was stopped.
func (c *Cluster) Start(id uint64) {
	c.t.Helper()
	if err := c.open(c.nodes[id-1]); err != nil {
		c.t.Fatalf("open node %d: %v", id, err)
	}
}

// Add has one more node join, as told by another, and returns its id once it is up.
func (c *Cluster) Add(by uint64) uint64 {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), leaderWait)
	defer cancel()
	c.mu.Lock()
	next := len(c.nodes) + 1
	c.mu.Unlock()
	id, err := c.Node(by).AddNode(ctx, kernel.NodeSpec{Peer: fmt.Sprintf("node-%d", next)})
	if err != nil || id != uint64(next) {
		c.t.Fatalf("added node %d: %v; want %d", id, err, next)
	}
	n := &clusterNode{id: id, engine: c.memory()}
	c.mu.Lock()
	c.nodes = append(c.nodes, n)
	c.mu.Unlock()
	c.Start(id)
	return id
}

func (c *Cluster) open(n *clusterNode) error {
	if c.o.Disk != nil {
		n.engine = c.o.Disk(n.id)
	}
	at, err := c.net.join(c.t, n.id)
	if err != nil {
		return err
	}
	n.place = at
	host := group.NewHost(group.Options{
		Self: n.id, Workers: 2, Clock: clock.Wall{}, Seed: n.id, Transport: c.way(n, transport.ChanRaft), Urgent: c.way(n, transport.ChanBeat), Heartbeat: 20 * time.Millisecond, Election: 200 * time.Millisecond,
	})
	n.hear(host.Receive)
	n.host = host
	time := c.o.Time
	if c.o.TimeOf != nil {
		time = c.o.TimeOf(n.id)
	}
	k, err := kernel.Open(kernel.Config{
		Engine: kept{n.engine}, Time: time, Link: clock.Wall{}, Capture: !c.o.NoCapture, DataShards: c.o.DataShards, CheckpointBytes: c.o.CheckpointBytes,
		Self: n.id, Voters: c.began, Forsake: n.forsakes, Peers: c.way(n, transport.ChanRelay),
		Bind: func(k *kernel.Kernel) { n.place.handle(transport.ChanRelay, k.Receive) },
		OpenGroup: func(s kernel.GroupSpec) (kernel.Group, error) {
			return host.Open(group.Config{
				Shard: s.Shard, Log: n.engine.Log(), Sync: s.Sync, Applied: s.Applied, AppliedTerm: s.AppliedTerm, Machine: s.Machine, Members: s.Members, Forsake: s.Forsake,
				Bind:     func(g *group.Group) { s.Bind(g) },
				BytesMax: s.BytesMax, EntriesMax: s.EntriesMax, CatchUp: c.o.CatchUp,
			})
		},
	})
	if err != nil {
		return err
	}
	c.set(n, k)
	ctx, cancel := context.WithTimeout(context.Background(), leaderWait)
	defer cancel()
	return k.Announce(ctx, map[string]string{"kafka": fmt.Sprintf("kafka://node-%d:9092", n.id)})
}

// way leads a node to the others, in one channel.
func (c *Cluster) way(n *clusterNode, channel byte) transport.Sender {
	if c.o.Weather != nil {
		return c.o.Weather.Wrap(n.id, n.place.way(channel))
	}
	return n.place.way(channel)
}

func (c *Cluster) end(n *clusterNode) {
	k := n.Kernel
	if k == nil {
		return
	}
	c.set(n, nil)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := k.Close(ctx); err != nil {
		c.t.Errorf("close node %d: %v", n.id, err)
	}
	if err := n.host.Close(ctx); err != nil {
		c.t.Errorf("close groups of node %d: %v", n.id, err)
	}
	n.host = nil
	if c.o.Disk != nil {
		if err := n.engine.Close(); err != nil {
			c.t.Errorf("close engine of node %d: %v", n.id, err)
		}
	}
}

func (c *Cluster) close() {
	for _, n := range c.nodes {
		if n.place != nil {
			n.place.leave()
		}
	}
	for _, n := range c.nodes {
		c.end(n)
		if c.o.Disk == nil {
			_ = n.engine.Close()
		}
	}
}

// kept is an engine that outlives the kernel on it.
type kept struct{ storage.Engine }

func (kept) Close() error { return nil }
