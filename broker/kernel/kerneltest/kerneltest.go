// Package kerneltest opens kernels for tests of the packages above: the production
// kernel over the memory engine, or over any engine that a test gives. Inbox is a consumer
// for them.
package kerneltest

import (
	"context"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/cluster/group"
	"github.com/robustmq/rmq/broker/cluster/transport"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/memlog"
)

// Options change what Open opens. The zero value: memory engine, wall clock, capture on,
// two data shards.
type Options struct {
	Engine          storage.Engine
	Time            clock.Clock
	Link            clock.Clock
	NoCapture       bool
	DataShards      int
	CheckpointBytes int
	// Machine stands between a shard's group and the kernel's machine; nil: nothing does.
	Machine      func(kernel.Machine) kernel.Machine
	SpaceReserve int64

	// Disk opens a node's engine on what its disk has, at each start of the node in a cluster; nil:
	// the memory engine, which outlives the kernel as a disk does.
	Disk func(node uint64) storage.Engine
	// TimeOf is the clock of a node in a cluster; nil: Time is everybody's.
	TimeOf func(node uint64) clock.Clock
	// CatchUp is group.Config's, in a cluster.
	CatchUp int
	// TCP has the nodes of a cluster reach each other over TCP; else they do by calls.
	TCP bool
	// Weather is what the network of a cluster suffers; nil: nothing.
	Weather *transport.Weather
}

// Open opens a kernel that the test's end closes.
func Open(t testing.TB, o Options) *kernel.Kernel {
	t.Helper()
	k, stop := Start(t, o)
	t.Cleanup(stop)
	return k
}

// Start opens a kernel and returns what closes it: kernel, groups and engine, in that
// order.
func Start(t testing.TB, o Options) (k *kernel.Kernel, stop func()) {
	t.Helper()
	if o.Engine == nil {
		o.Engine = memlog.New()
	}
	if o.Time == nil {
		o.Time = clock.Wall{}
	}
	if o.Link == nil {
		o.Link = clock.Wall{}
	}
	if o.DataShards == 0 {
		o.DataShards = 2
	}
	host := group.NewHost(group.Options{Self: 1, Workers: 2, Clock: clock.Wall{}, Seed: 1})
	k, err := kernel.Open(kernel.Config{
		Engine: o.Engine, Time: o.Time, Link: o.Link, Capture: !o.NoCapture, DataShards: o.DataShards, CheckpointBytes: o.CheckpointBytes,
		SpaceReserve: o.SpaceReserve,
		OpenGroup: func(s kernel.GroupSpec) (kernel.Group, error) {
			if o.Machine != nil {
				s.Machine = o.Machine(s.Machine)
			}
			return OpenGroup(host, o.Engine.Log(), s)
		},
	})
	if err != nil {
		t.Fatalf("open kernel: %v", err)
	}
	return k, func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := k.Close(ctx); err != nil {
			t.Errorf("close kernel: %v", err)
		}
		if err := host.Close(ctx); err != nil {
			t.Errorf("close groups: %v", err)
		}
		if err := o.Engine.Close(); err != nil {
			t.Errorf("close engine: %v", err)
		}
	}
}

// OpenGroup opens a one-voter group for a shard and waits until it leads.
func OpenGroup(host *group.Host, log storage.Log, s kernel.GroupSpec) (kernel.Group, error) {
	g, err := host.Open(group.Config{
		Shard: s.Shard, Log: log, Sync: s.Sync, Applied: s.Applied, AppliedTerm: s.AppliedTerm, Members: s.Members, Machine: s.Machine,
		Bind:     func(g *group.Group) { s.Bind(g) },
		BytesMax: s.BytesMax, EntriesMax: s.EntriesMax,
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return g, g.Await(ctx)
}
