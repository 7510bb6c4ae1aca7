package matrix

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/cluster/group"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/filelog"
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
		o.checkpoints = func(path string) (filelog.CheckpointStore, error) { return &snapshots{fs: o.fs, dir: path}, nil }
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
				Shard: s.Shard, Log: n.engine.Log(), Sync: s.Sync, Applied: s.Applied, AppliedTerm: s.AppliedTerm,
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

// snapshots keeps checkpoints in files of a file system that a test can crash: one for each
// shard, written whole. The broker's own store is a bbolt file, which goes past
// package vfs; it has a crash test of its own. This one stands in its place, so that the
// steps around a checkpoint (segments are synced before it, the log is let go of after
// it) are stopped in between like all others.
type snapshots struct {
	fs  vfs.FS
	dir string
	mu  sync.Mutex
}

// snapshot is a file's content.
type snapshot struct {
	Meta storage.CheckpointMeta
	KV   []pair
}

type pair struct{ K, V []byte }

// snapshotMax bounds a file.
const snapshotMax = 64 << 20

func (s *snapshots) path(id storage.ShardID) string {
	return filepath.Join(s.dir, fmt.Sprintf("%d.json", id))
}

func (s *snapshots) read(id storage.ShardID) (snap snapshot, err error) {
	b, err := vfs.ReadFile(s.fs, s.path(id), snapshotMax)
	if errors.Is(err, fs.ErrNotExist) {
		return snap, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &snap)
	}
	return snap, err
}

// Load implements storage.Checkpoints. Names and contents that a killed process left unsynced are
// synced, as every store must before it calls them a checkpoint.
func (s *snapshots) Load(id storage.ShardID) (storage.CheckpointMeta, iter.Seq2[[]byte, []byte], error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	snap, err := s.read(id)
	if err == nil && snap.Meta.Index > 0 {
		err = s.fs.SyncDir(s.dir)
	}
	return snap.Meta, func(yield func(k, v []byte) bool) {
		for _, p := range snap.KV {
			if !yield(bytes.Clone(p.K), append([]byte{}, p.V...)) {
				return
			}
		}
	}, err
}

// Save implements storage.Checkpoints.
func (s *snapshots) Save(id storage.ShardID, meta storage.CheckpointMeta, full bool, changes iter.Seq2[[]byte, []byte]) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, err := s.read(id)
	if err != nil {
		return err
	}
	kv := make(map[string][]byte)
	if !full {
		for _, p := range old.KV {
			kv[string(p.K)] = p.V
		}
	}
	for k, v := range changes {
		if v == nil {
			delete(kv, string(k))
		} else {
			kv[string(k)] = append([]byte{}, v...)
		}
	}
	next := snapshot{Meta: meta}
	for _, k := range slices.Sorted(maps.Keys(kv)) {
		next.KV = append(next.KV, pair{[]byte(k), kv[k]})
	}
	b, err := json.Marshal(next)
	if err != nil {
		return err
	}
	if err := s.fs.MkdirAll(s.dir); err != nil {
		return err
	}
	if err := s.fs.SyncDir(filepath.Dir(s.dir)); err != nil {
		return err
	}
	if err := vfs.WriteFile(s.fs, s.path(id), b); err != nil {
		return err
	}
	return s.fs.SyncDir(s.dir)
}

// Close implements filelog.CheckpointStore.
func (s *snapshots) Close() error { return nil }
