package kernel_test

import (
	"testing"

	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/memlog"
)

// keep is an engine that outlives the kernel on it, as a disk does.
type keep struct{ storage.Engine }

func (keep) Close() error { return nil }

func newMem(t *testing.T) storage.Engine {
	e := memlog.New()
	t.Cleanup(func() { _ = e.Close() })
	return e
}
