package testkit

import (
	"fmt"
	"testing"

	"github.com/robustmq/rmq/broker"
	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/cluster/transport"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/memlog"
)

// Nodes is a cluster: brokers of this process that share nothing but a network in memory.
type Nodes struct {
	t     testing.TB
	hub   *transport.Hub
	began []uint64  // the ids of those that there were first
	nodes []*Broker // by id from 1 on; nil: not running
	disks []storage.Engine
	opts  []Option
	hands *clock.Hands
}

// Cluster starts a cluster of n nodes that ends with the test. Every port of every node
// accepts clients when it returns; what each keeps, in memory, outlives Stop and Start.
func Cluster(t testing.TB, n int, opts ...Option) *Nodes {
	t.Helper()
	c := &Nodes{t: t, hub: transport.NewHub(), nodes: make([]*Broker, n), disks: make([]storage.Engine, n), opts: opts}
	for i := range n {
		c.disks[i] = memlog.New()
		c.began = append(c.began, uint64(i+1))
	}
	for i := range n {
		c.nodes[i] = c.prepare(i)
	}
	t.Cleanup(c.cleanup)
	opened := make(chan error, n)
	for _, b := range c.nodes {
		go func() { opened <- b.open() }() // each waits for a majority
	}
	for range n {
		if err := <-opened; err != nil {
			t.Fatalf("testkit: %v", err)
		}
	}
	if err := c.nodes[0].load(t.Context()); err != nil {
		t.Fatalf("testkit: %v", err)
	}
	return c
}

func (c *Nodes) prepare(i int) *Broker {
	self := uint64(i + 1)
	b := prepare(c.t, append(c.opts[:len(c.opts):len(c.opts)], Configure(func(cfg *broker.Config) {
		cfg.Engine = outlives{c.disks[i]}
		cfg.Cluster = &broker.Cluster{Self: self, Voters: c.began, Peer: peerOf(self), Network: c.hub.Node(self)}
	})))
	if b.cfg.from != nil {
		c.t.Fatalf("testkit: a cluster does not begin with a snapshot, which is of one node alone")
	}
	if self > 1 {
		b.cfg.users = nil // one node's are all nodes'
	}
	if c.hands == nil {
		c.hands = b.cfg.broker.Hands
	}
	b.cfg.broker.Hands = c.hands // all go by one
	b.node = &node{c: c, id: i + 1}
	return b
}

// kernels are those that run.
func (c *Nodes) kernels() (all []*kernel.Kernel) {
	for _, b := range c.nodes {
		if b != nil && b.broker != nil {
			all = append(all, b.Kernel())
		}
	}
	return all
}

// Node returns a node by its id, from 1 on.
func (c *Nodes) Node(id int) *Broker { return c.nodes[id-1] }

// Add has one more node join, under the next id. It returns once that keeps everything.
func (c *Nodes) Add() *Broker {
	c.t.Helper()
	id := len(c.nodes) + 1
	given, err := c.kernels()[0].AddNode(c.t.Context(), kernel.NodeSpec{Peer: peerOf(uint64(id))})
	if err != nil || given != uint64(id) {
		c.t.Fatalf("testkit: added node %d: %v; want %d", given, err, id)
	}
	c.nodes, c.disks = append(c.nodes, nil), append(c.disks, memlog.New())
	return c.Start(id)
}

// peerOf is where other nodes find a node, in the network in memory.
func peerOf(id uint64) string { return fmt.Sprintf("memory:%d", id) }

// Stop ends a node. The others are not told: they notice.
func (c *Nodes) Stop(id int) {
	c.t.Helper()
	b := c.nodes[id-1]
	c.hub.Node(uint64(id)).Leave()
	c.nodes[id-1] = nil
	if err := b.Close(); err != nil {
		c.t.Errorf("testkit: close node %d: %v", id, err)
	}
}

// Start starts a node that was stopped, on what it has kept.
func (c *Nodes) Start(id int) *Broker {
	c.t.Helper()
	b := c.prepare(id - 1)
	if err := b.open(); err != nil {
		c.t.Fatalf("testkit: open node %d: %v", id, err)
	}
	c.nodes[id-1] = b
	return b
}

func (c *Nodes) cleanup() {
	c.audit()
	for i := range c.nodes {
		c.hub.Node(uint64(i + 1)).Leave()
	}
	for i, b := range c.nodes {
		if b != nil && b.broker != nil {
			b.cleanup()
		}
		_ = c.disks[i].Close()
	}
}

// audit looks at all nodes that run as one broker.
func (c *Nodes) audit() {
	var all []*Broker
	for _, b := range c.nodes {
		if b != nil && b.broker != nil {
			all = append(all, b)
		}
	}
	if len(all) > 0 {
		all[0].cfg.audit.end(c.t, all...)
	}
}

// outlives is an engine that is there after the broker on it has closed, as a disk is.
type outlives struct{ storage.Engine }

func (outlives) Close() error { return nil }
