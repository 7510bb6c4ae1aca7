package testkit

import (
	"fmt"

	"github.com/robustmq/rmq/broker/chaos"
)

// node is a broker's place in a cluster.
type node struct {
	c      *Nodes
	id     int
	paused []*Fault
	cut    []*Fault
}

func (b *Broker) member() *node {
	b.t.Helper()
	if b.node == nil {
		b.t.Fatalf("testkit: a broker that is alone is no node: testkit.Cluster makes some")
	}
	return b.node
}

// Kill ends the node as a kill does: its clients' connections break, the other nodes notice. What it has kept is there
// for Nodes.Start.
func (b *Broker) Kill() {
	b.t.Helper()
	n := b.member()
	n.c.hub.Node(uint64(n.id)).Leave()
	b.events.add("node", "killed")
	b.Fault(chaos.Rule{At: "conn", Do: chaos.Reset})
	n.c.Stop(n.id)
}

// Pause has nothing come from the node any more and nothing reach it, as of a process that is stopped: connections of
// clients hang, what other nodes send is lost. Timers go on, unlike those of a stopped process.
func (b *Broker) Pause() {
	b.t.Helper()
	n := b.member()
	if n.paused == nil {
		n.paused = []*Fault{b.Fault(chaos.Rule{At: "node", Do: chaos.Drop}), b.Fault(chaos.Rule{At: "conn", Do: chaos.Hang})}
	}
}

// Resume ends Pause. What clients have sent meanwhile is taken.
func (b *Broker) Resume() {
	b.t.Helper()
	n := b.member()
	for _, f := range n.paused {
		f.Remove()
	}
	n.paused = nil
}

// Partition cuts the node off from others, both ways; without any, from all. Clients reach it still.
func (b *Broker) Partition(others ...int) {
	b.t.Helper()
	n := b.member()
	if len(others) == 0 {
		n.cut = append(n.cut, b.Fault(chaos.Rule{At: "node", Do: chaos.Drop}))
	}
	for _, id := range others {
		n.cut = append(n.cut, b.Fault(chaos.Rule{At: fmt.Sprintf("node/%d", id), Do: chaos.Drop}))
	}
}

// Heal ends Partition.
func (b *Broker) Heal() {
	b.t.Helper()
	n := b.member()
	for _, f := range n.cut {
		f.Remove()
	}
	n.cut = nil
}
