package filelog

import (
	"path/filepath"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/storagetest"
	"github.com/robustmq/rmq/broker/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// on returns options for tests on a file system: small files, so that a few writes roll
// them, and known salts.
func on(fsys vfs.FS) Options {
	var salt atomic.Uint64
	return Options{
		FS: fsys,
		Checkpoints: func(path string) (CheckpointStore, error) {
			return storagetest.OpenCheckpoints(fsys, path), nil
		},
		WALFileMin: 16 << 10, WALFileMax: 64 << 10, SegmentBytes: 32 << 10, OpenFiles: 4,
		Random: func() uint64 { return salt.Add(0x9E3779B97F4A7C15) },
	}
}

func TestEngine(t *testing.T) {
	t.Run("mem", func(t *testing.T) {
		storagetest.Run(t, func(*testing.T) storagetest.Opener {
			opt := on(vfs.NewMem())
			return func() (storage.Engine, error) { return Open("/data", opt) }
		})
	})
	t.Run("os", func(t *testing.T) {
		storagetest.Run(t, func(t *testing.T) storagetest.Opener {
			dir := filepath.Join(t.TempDir(), "a", "data")
			opt := on(vfs.OS{})
			return func() (storage.Engine, error) { return Open(dir, opt) }
		})
	})
}
