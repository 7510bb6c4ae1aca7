package memlog_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/memlog"
	"github.com/robustmq/rmq/broker/storage/storagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEngine(t *testing.T) {
	storagetest.Run(t, func(*testing.T) storagetest.Opener {
		return func() (storage.Engine, error) { return memlog.New(), nil }
	})
}

// BenchmarkOpen is opening, one write and closing: what a test that starts a broker
// pays for storage.
func BenchmarkOpen(b *testing.B) {
	b.ReportAllocs()
	done := make(chan error, 1)
	for b.Loop() {
		e := memlog.New()
		_ = e.Log().Append(storage.Write{
			Shard: 1, Entries: []storage.Entry{{Index: 1, Term: 1}}, Done: func(err error) { done <- err },
		})
		<-done
		_ = e.Close()
	}
}
