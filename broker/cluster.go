package broker

import (
	"cmp"
	"context"
	"slices"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/cluster/transport"
	"github.com/robustmq/rmq/broker/kernel"
)

// Cluster says which nodes there are.
type Cluster struct {
	Self   uint64   // this node's id, from 1 on
	Voters []uint64 // the nodes that the cluster began with
	// Replicas is how many nodes are to vote on each shard, where there are as many; 0: 3.
	Replicas int
	Rack     string // what fails together with this node
	Peer     string // where other nodes find it: host:port
	Forsake  bool   // the others are gone for good, and this node goes on without them: kernel.Config
	// Member says where the others are, and keeps that; nil: Network knows.
	Member *Member
	// Network leads to the others. The broker joins it when it opens, and leaves it when it
	// closes; it is the caller's to close.
	Network Network
}

// Network carries frames of some channels between nodes.
type Network interface {
	// Channel is the way to the other nodes, in one channel.
	Channel(channel byte) transport.Sender
	// Handle names who is given the frames of a channel.
	Handle(channel byte, r transport.Receiver)
	// Leave ends the giving: what comes is lost from then on.
	Leave()
}

// Channels of a Network. The numbers are part of the protocol between nodes.
const (
	channelGroups = transport.ChanRaft  // package cluster/group's
	channelKernel = transport.ChanRelay // package kernel's
)

// OverTCP is the network of a node that its peers reach over TCP.
func OverTCP(t *transport.TCP) Network { return overTCP{t} }

type overTCP struct{ t *transport.TCP }

func (n overTCP) Channel(channel byte) transport.Sender     { return n.t.Channel(channel) }
func (n overTCP) Handle(channel byte, r transport.Receiver) { n.t.Handle(channel, r) }

func (n overTCP) SetPeers(nodes map[uint64]string) { n.t.SetPeers(nodes) }

func (n overTCP) Answer(f func(ctx context.Context, asked []byte) []byte) { n.t.Answer(f) }

func (n overTCP) Ask(ctx context.Context, addr string, asked []byte) ([]byte, error) {
	return n.t.Ask(ctx, addr, asked)
}

func (n overTCP) Leave() {
	n.t.Answer(nil)
	for _, channel := range [...]byte{transport.ChanRaft, transport.ChanBeat, transport.ChanRelay} {
		n.t.Handle(channel, nil)
	}
}

// self is this node's id.
func (b *Broker) self() uint64 {
	if b.cfg.Cluster != nil {
		return b.cfg.Cluster.Self
	}
	return 1
}

// join gives frames of other nodes to the groups and to the kernel, which are about to open.
func (b *Broker) join(k *kernel.Kernel) {
	if c := b.cfg.Cluster; c != nil {
		c.Network.Handle(channelGroups, b.disturbed(b.host.Receive))
		c.Network.Handle(transport.ChanBeat, b.disturbed(b.host.Receive))
		c.Network.Handle(channelKernel, b.disturbed(k.Receive))
		if c.Member != nil {
			b.follow(k)
		}
	}
}

// shards tells how the logs stand, by id.
func (b *Broker) shards() []adminapi.Shard {
	var out []adminapi.Shard
	for id, st := range b.host.Statuses() {
		s := adminapi.Shard{
			ID: uint32(id), Leader: st.Leader, Term: st.Term, Voters: st.Members.Voters, Learners: st.Members.Learners, Commit: st.Commit, Applied: st.Applied, Behind: st.Behind,
		}
		if st.Err != nil {
			s.Error = st.Err.Error()
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(x, y adminapi.Shard) int { return cmp.Compare(x.ID, y.ID) })
	return out
}

// addresses are where clients find this node, as the other nodes are told.
func (b *Broker) addresses() map[string]string {
	out := make(map[string]string)
	b.urls.All(func(name string, url *string) {
		if *url != "" {
			out[name] = *url
		}
	})
	return out
}
