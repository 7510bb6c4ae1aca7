package sim

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/cluster/group"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/filelog"
)

// node is one life of one kernel.
type node struct {
	*kernel.Kernel
	time   *clock.Virtual
	disk   *mount
	engine storage.Engine
	host   *group.Host
}

const dataDir = "/data"

// open opens a kernel on what is on the disk. Limits are small, and differ from
// life to life, so that files are recycled and checkpoints taken all the time.
func (s *sim) open(life int, on *mount) (*node, error) {
	r := rand.New(rand.NewPCG(s.seed, uint64(life)))
	n := &node{time: clock.NewVirtual(time.Unix(1_700_000_000+int64(life)*60, 0)), disk: on}
	var err error
	n.engine, err = filelog.Open(dataDir, filelog.Options{
		FS:          on.fs,
		Checkpoints: func(string) (filelog.CheckpointStore, error) { return on, nil },
		WALFileMin:  8 << 10, WALFileMax: 32 << 10,
		SegmentBytes: 4 << 10 << r.IntN(4),
		OpenFiles:    4,
	})
	if err != nil {
		return nil, err
	}
	n.host = group.NewHost(group.Options{Self: 1, Workers: 2, Clock: n.time, Seed: s.seed})
	n.Kernel, err = kernel.Open(kernel.Config{
		Engine: n.engine, Time: n.time, Link: n.time, Capture: true, DataShards: 1 + int(s.seed%3),
		CheckpointBytes: 2 << 10 << r.IntN(6),
		OpenGroup: func(spec kernel.GroupSpec) (kernel.Group, error) {
			machine := spec.Machine
			if spec.Shard != 0 {
				sh, err := s.shadows.open(on, spec)
				if err != nil {
					return nil, err
				}
				machine = sh
			}
			g, err := n.host.Open(group.Config{
				Shard: spec.Shard, Log: n.engine.Log(), Sync: spec.Sync, Applied: spec.Applied, AppliedTerm: spec.AppliedTerm, Members: spec.Members,
				Machine: machine, EntriesMax: spec.EntriesMax, BytesMax: spec.BytesMax,
				Bind: func(g *group.Group) { spec.Bind(g) },
			})
			if err != nil {
				return nil, err
			}
			return g, g.Await(context.Background())
		},
	})
	if err != nil {
		_ = n.host.Close(context.Background())
		_ = n.engine.Close()
		return nil, err
	}
	return n, nil
}

// close ends a life. Errors are none when the power has gone, if only meanwhile.
func (n *node) close(ctx context.Context) error {
	kerr := n.Kernel.Close(ctx)
	herr := n.host.Close(ctx)
	eerr := n.engine.Close()
	if n.disk.stopped() {
		return nil
	}
	return errors.Join(kerr, herr, eerr)
}
