package transport

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"
)

// waitMax is how long a test waits for what must come.
const waitMax = time.Minute

const testToken = "a token that all nodes have"

// node is a TCP of a test, and what it received.
type node struct {
	*TCP
	t   *testing.T
	got chan received
}

type received struct {
	from    uint64
	channel byte
	frame   string
}

func startNode(t *testing.T, id uint64, change func(*TCPConfig)) *node {
	t.Helper()
	cfg := TCPConfig{Self: id, Cluster: "test", Token: testToken, Addr: "127.0.0.1:0"}
	if change != nil {
		change(&cfg)
	}
	tcp, err := Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{TCP: tcp, t: t, got: make(chan received, 1<<16)}
	for _, ch := range []byte{ChanRaft, ChanBeat, ChanRelay} {
		n.Handle(ch, func(from uint64, frame []byte) error {
			n.got <- received{from, ch, string(frame)}
			return nil
		})
	}
	t.Cleanup(n.stop)
	return n
}

func (n *node) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), waitMax)
	defer cancel()
	if err := n.Close(ctx); err != nil {
		n.t.Error(err)
	}
}

// meet tells nodes where the others are.
func meet(nodes ...*node) {
	addrs := make(map[uint64]string)
	for _, n := range nodes {
		addrs[n.cfg.Self] = n.Addr().String()
	}
	for _, n := range nodes {
		n.SetPeers(addrs)
	}
}

func (n *node) next() received {
	n.t.Helper()
	select {
	case r := <-n.got:
		return r
	case <-time.After(waitMax):
		n.t.Fatalf("node %d received nothing; %+v", n.cfg.Self, n.Status())
		return received{}
	}
}

// until waits for a state that no event tells of.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(waitMax); !f(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// peerStatus is how a node stands with one peer.
func (n *node) peerStatus(id uint64) PeerStatus {
	for _, p := range n.Status().Peers {
		if p.Node == id {
			return p
		}
	}
	return PeerStatus{}
}

// Frames of a channel arrive whole and in order, from who sent them, whatever their size.
func TestTCPOrder(t *testing.T) {
	one, two := startNode(t, 1, nil), startNode(t, 2, nil)
	meet(one, two)
	sizes := []int{0, 1, 100, copyMax, copyMax + 1, chunkMax - 1, chunkMax, chunkMax + 1, 3*chunkMax + 5, keepMax + 1}
	frame := func(i int) string {
		s := fmt.Sprint(i, " ")
		return s + strings.Repeat(string(rune('a'+i%26)), sizes[i%len(sizes)])
	}
	const n = 200
	for i := range n {
		one.Channel(ChanRaft).Send(2, []byte(frame(i)))
		two.Channel(ChanRelay).Send(1, []byte(frame(i)))
	}
	for i := range n {
		if r := two.next(); r.from != 1 || r.channel != ChanRaft || r.frame != frame(i) {
			t.Fatalf("frame %d: %d bytes from %d on %d", i, len(r.frame), r.from, r.channel)
		}
		if r := one.next(); r.from != 2 || r.channel != ChanRelay || r.frame != frame(i) {
			t.Fatalf("frame %d: %d bytes from %d on %d", i, len(r.frame), r.from, r.channel)
		}
	}
	until(t, "all is counted", func() bool { return one.peerStatus(2).FramesOut == n })
	if s := two.peerStatus(1); s.FramesIn != n || s.Connections != 1 || s.OutSince.IsZero() || s.InSince.IsZero() || s.Dropped != 0 {
		t.Errorf("status %+v", s)
	}
}

// A node that is started again is found again, by both.
func TestTCPRestart(t *testing.T) {
	one, two := startNode(t, 1, nil), startNode(t, 2, nil)
	meet(one, two)
	one.Channel(ChanRaft).Send(2, []byte("before"))
	two.next()
	addr, peers := two.Addr().String(), two.Peers()
	maps.Copy(peers, map[uint64]string{1: one.Addr().String()})
	two.stop()
	until(t, "the loss is noticed", func() bool { return one.peerStatus(2).OutSince.IsZero() })

	two = startNode(t, 2, func(c *TCPConfig) { c.Addr, c.Peers = addr, peers })
	until(t, "it is connected again", func() bool { return !one.peerStatus(2).OutSince.IsZero() })
	one.Channel(ChanRaft).Send(2, []byte("after"))
	if r := two.next(); r.frame != "after" {
		t.Errorf("received %q", r.frame)
	}
	two.Channel(ChanRaft).Send(1, []byte("back"))
	if r := one.next(); r.frame != "back" {
		t.Errorf("received %q", r.frame)
	}
}

// A frame to a node that is no peer is dropped and counted.
func TestTCPUnknown(t *testing.T) {
	one := startNode(t, 1, nil)
	one.Channel(ChanRaft).Send(7, []byte("x"))
	one.Channel(ChanRaft).Send(1, []byte("to itself"))
	if s := one.Status(); s.Unknown != 2 {
		t.Errorf("%d frames to nobody", s.Unknown)
	}
}

// Who has another token, is of another cluster or another node than was meant is refused, and
// both ends say why.
func TestTCPRefused(t *testing.T) {
	tests := []struct {
		name        string
		change      func(*TCPConfig)
		as          uint64 // who the one that dials takes the other one for
		here, there string // what each end says
		reason      string
	}{
		{"token", func(c *TCPConfig) { c.Token = "another" }, 2, "it has another cluster token", "it does not have this cluster's token", "token"},
		{"cluster", func(c *TCPConfig) { c.Cluster = "other" }, 2, `it is of another cluster than "other"`, `it is of cluster "other", and this node of "test"`, "cluster"},
		{"node", func(c *TCPConfig) { c.Self = 3 }, 2, "it does not know node 3 as a peer", "", "node"},
		{"target", nil, 4, "node 2 is there", "it looks for node 4, and this is node 2", "target"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			two := startNode(t, 2, nil)
			one := startNode(t, 1, tt.change)
			two.SetPeers(map[uint64]string{1: "127.0.0.1:1"})
			one.SetPeers(map[uint64]string{tt.as: two.Addr().String()})
			one.Channel(ChanRaft).Send(tt.as, []byte("x"))
			until(t, "the dialler says why", func() bool { return strings.HasSuffix(one.peerStatus(tt.as).Error, tt.here) })
			until(t, "the other says why", func() bool { return strings.HasSuffix(two.peerStatus(1).InError, tt.there) })
			until(t, "it is counted by its reason", func() bool { return two.Status().Refused[tt.reason] > 0 })
			until(t, "the frame is dropped", func() bool { return one.peerStatus(tt.as).Dropped > 0 })
			if s := one.peerStatus(tt.as); s.Connections != 0 || len(two.got) > 0 {
				t.Errorf("status %+v", s)
			}
		})
	}
}
