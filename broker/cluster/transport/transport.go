// Package transport carries frames between the nodes of a cluster.
//
// A frame is bytes from one node to another; what they mean is the business of
// whoever sends and receives them (broker/cluster/group). A transport may lose,
// repeat and reorder frames, but never changes one, and it tells the receiver the
// sender's true identity.
//
// TCP joins nodes over a network: those of a cluster. Net joins nodes of one process: tests,
// simulation, and a cluster on a laptop.
// Faulty stands between a node and a Net and does what real networks do, by seed.
package transport

import (
	"maps"
	"sync"
	"sync/atomic"
)

// Receiver takes in a frame. It must not block, and must not keep the frame.
type Receiver func(from uint64, frame []byte) error

// Net joins the nodes of one process: a frame that is sent has been received when
// Send returns. Safe for concurrent use; it has no goroutines.
//
// Ownership: nodes is a map that never changes once stored; mu orders those who
// replace it.
type Net struct {
	mu    sync.Mutex
	nodes atomic.Pointer[map[uint64]Receiver]
	lost  atomic.Uint64
}

// NewNet returns a net that nobody has joined.
func NewNet() *Net {
	n := new(Net)
	n.nodes.Store(new(map[uint64]Receiver))
	return n
}

// Join adds a node, or replaces it, and returns its way to the others.
func (n *Net) Join(id uint64, r Receiver) *Port {
	n.change(func(nodes map[uint64]Receiver) { nodes[id] = r })
	return &Port{net: n, self: id}
}

// Port is a node's way to the others, whether it has joined or not.
func (n *Net) Port(id uint64) *Port { return &Port{net: n, self: id} }

// Leave removes a node: what is sent to it is lost.
func (n *Net) Leave(id uint64) {
	n.change(func(nodes map[uint64]Receiver) { delete(nodes, id) })
}

func (n *Net) change(f func(map[uint64]Receiver)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	nodes := maps.Clone(*n.nodes.Load())
	if nodes == nil {
		nodes = make(map[uint64]Receiver)
	}
	f(nodes)
	n.nodes.Store(&nodes)
}

// Lost counts frames that reached nobody, or were refused.
func (n *Net) Lost() uint64 { return n.lost.Load() }

// Port is one node's way to the others of a Net.
type Port struct {
	net  *Net
	self uint64
}

// Send hands the frame to its receiver, or loses it when there is none.
func (p *Port) Send(to uint64, frame []byte) {
	r := (*p.net.nodes.Load())[to]
	if r == nil || r(p.self, frame) != nil {
		p.net.lost.Add(1)
	}
}

// Hub is a Net for each of some channels: the nodes of one process.
type Hub struct {
	mu   sync.Mutex
	nets map[byte]*Net
}

// NewHub returns a hub that nobody has joined.
func NewHub() *Hub { return &Hub{nets: make(map[byte]*Net)} }

func (h *Hub) net(channel byte) *Net {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.nets[channel]
	if n == nil {
		n = NewNet()
		h.nets[channel] = n
	}
	return n
}

// Node is a node's place in the hub.
func (h *Hub) Node(id uint64) *HubNode { return &HubNode{h, id} }

// HubNode is one node of a Hub.
type HubNode struct {
	hub *Hub
	id  uint64
}

// Channel is the node's way to the others, in one channel.
func (n *HubNode) Channel(channel byte) Sender { return n.hub.net(channel).Port(n.id) }

// Handle names who is given the node's frames of a channel.
func (n *HubNode) Handle(channel byte, r Receiver) { n.hub.net(channel).Join(n.id, r) }

// Leave takes the node out: what is sent to it is lost.
func (n *HubNode) Leave() {
	n.hub.mu.Lock()
	defer n.hub.mu.Unlock()
	for _, net := range n.hub.nets {
		net.Leave(n.id)
	}
}
