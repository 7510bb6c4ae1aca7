package matrix

import (
	"context"
	"errors"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/cluster/group"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/filelog"
	"github.com/robustmq/rmq/broker/storage/storagetest"
	"github.com/robustmq/rmq/broker/vfs"
)

// dataDir is where the broker's files are on each disk.
const dataDir = "/data"

// node is a kernel on an engine on a disk.
type node struct {
	*kernel.Kernel
	time   *clock.Virtual
	engine storage.Engine
	host   *group.Host
}

type nodeOptions struct {
	fs   vfs.FS
	wrap func(storage.Engine) storage.Engine
	time time.Time // broker time; zero: when the script begins
	// checkpoints opens the store of checkpoints; nil: files on fs.
	checkpoints func(path string) (filelog.CheckpointStore, error)
}

// began is broker time when the script begins.
var began = time.Unix(1_700_000_000, 0)

// openNode opens a kernel on what is on a disk. Limits are so small that everything is
// rolled, recycled and checkpointed within a few messages.
func openNode(ctx context.Context, o nodeOptions) (*node, error) {
	if o.checkpoints == nil {
		// The broker's own store is a bbolt file, which goes past package vfs, and has a crash test
		// of its own (broker/storage/meta). This one stands in its place, so that the steps around
		// a checkpoint (segments are synced before it, the log is let go of after it) are stopped
		// in between like all others.
		o.checkpoints = func(path string) (filelog.CheckpointStore, error) {
			return storagetest.OpenCheckpoints(o.fs, path), nil
		}
	}
	if o.time.IsZero() {
		o.time = began
	}
	n := &node{time: clock.NewVirtual(o.time)}
	engine, err := filelog.Open(dataDir, filelog.Options{
		FS: o.fs, Checkpoints: o.checkpoints,
		WALFileMin: 8 << 10, WALFileMax: 16 << 10, SegmentBytes: 2 << 10, OpenFiles: 4,
	})
	if err != nil {
		return nil, err
	}
	n.engine = engine
	if o.wrap != nil {
		n.engine = o.wrap(engine)
	}
	n.host = group.NewHost(group.Options{Self: 1, Workers: 2, Clock: clock.Wall{}, Seed: 1})
	n.Kernel, err = kernel.Open(kernel.Config{
		Engine: n.engine, Time: n.time, Link: clock.Wall{}, Capture: true, DataShards: 2, CheckpointBytes: 4 << 10,
		OpenGroup: func(s kernel.GroupSpec) (kernel.Group, error) {
			g, err := n.host.Open(group.Config{
				Shard: s.Shard, Log: n.engine.Log(), Sync: s.Sync, Applied: s.Applied, AppliedTerm: s.AppliedTerm, Members: s.Members,
				Machine: s.Machine, EntriesMax: s.EntriesMax, BytesMax: s.BytesMax,
				Bind: func(g *group.Group) { s.Bind(g) },
			})
			if err != nil {
				return nil, err
			}
			return g, g.Await(ctx)
		},
	})
	if err != nil {
		return nil, errors.Join(err, n.host.Close(ctx), n.engine.Close())
	}
	return n, nil
}

func (n *node) close(ctx context.Context) error {
	return errors.Join(n.Kernel.Close(ctx), n.host.Close(ctx), n.engine.Close())
}
