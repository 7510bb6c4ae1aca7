package kerneltest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/cluster/transport"
)

// network is what the nodes of a Cluster share.
type network interface {
	join(t testing.TB, id uint64) (place, error)
}

// place is one node's in a network.
type place interface {
	way(channel byte) transport.Sender
	handle(channel byte, r transport.Receiver)
	leave() // what comes is lost from then on
}

// inMemory is a network of calls.
type inMemory struct{ hub *transport.Hub }

func (n inMemory) join(_ testing.TB, id uint64) (place, error) {
	return inMemoryPlace{n.hub.Node(id)}, nil
}

type inMemoryPlace struct{ node *transport.HubNode }

func (p inMemoryPlace) way(channel byte) transport.Sender         { return p.node.Channel(channel) }
func (p inMemoryPlace) handle(channel byte, r transport.Receiver) { p.node.Handle(channel, r) }
func (p inMemoryPlace) leave()                                    { p.node.Leave() }

// loopback is a network of TCP connections within the machine. A node that comes back has
// another address.
type loopback struct {
	mu    sync.Mutex
	addrs map[uint64]string
	nodes map[uint64]*transport.TCP
}

func newLoopback() *loopback {
	return &loopback{addrs: make(map[uint64]string), nodes: make(map[uint64]*transport.TCP)}
}

func (l *loopback) join(t testing.TB, id uint64) (place, error) {
	tcp, err := transport.Listen(transport.TCPConfig{Self: id, Cluster: "kerneltest", Token: "kerneltest", Addr: "127.0.0.1:0"})
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.nodes[id], l.addrs[id] = tcp, tcp.Addr().String()
	for _, n := range l.nodes {
		n.SetPeers(l.addrs)
	}
	return loopbackPlace{t, tcp}, nil
}

type loopbackPlace struct {
	t   testing.TB
	tcp *transport.TCP
}

func (p loopbackPlace) way(channel byte) transport.Sender         { return p.tcp.Channel(channel) }
func (p loopbackPlace) handle(channel byte, r transport.Receiver) { p.tcp.Handle(channel, r) }

func (p loopbackPlace) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := p.tcp.Close(ctx); err != nil {
		p.t.Errorf("close: %v", err)
	}
}
