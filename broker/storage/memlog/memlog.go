// Package memlog is the storage engine of which nothing outlives the process: for
// tests, for brokers started with --memory, and as the model that filelog is
// compared with.
//
// It keeps what a file engine would keep and for as long: log entries until they
// are released, batches until they are dropped or cut, the last checkpoint of each
// shard. So its memory is bounded by what the kernel retains, and a kernel that
// forgets to release shows it here first.
//
// Opening costs one goroutine, which calls Write.Done in the order of Append; Close
// waits for it.
package memlog

import (
	"sync/atomic"

	"github.com/robustmq/rmq/broker/storage"
)

// Engine is storage in memory. Make one with New.
type Engine struct {
	log         *log
	segments    *segments
	checkpoints *checkpoints
}

var _ storage.Engine = (*Engine)(nil)

// New returns an empty engine.
func New() *Engine {
	closed := new(atomic.Bool)
	return &Engine{
		log:         newLog(),
		segments:    &segments{closed: closed, open: make(map[storage.LogID]*segment)},
		checkpoints: &checkpoints{closed: closed, shards: make(map[storage.ShardID]checkpoint)},
	}
}

func (e *Engine) Log() storage.Log                 { return e.log }
func (e *Engine) Segments() storage.Segments       { return e.segments }
func (e *Engine) Checkpoints() storage.Checkpoints { return e.checkpoints }

// Durable is false: that is the point of it.
func (e *Engine) Durable() bool { return false }

// LastEnd is Orderly: nobody was there before.
func (e *Engine) LastEnd() storage.LastEnd { return storage.Orderly }

// Close finishes queued writes, then lets go of everything. It may be called twice.
func (e *Engine) Close() error {
	err := e.log.Close()
	e.segments.closed.Store(true) // checkpoints share it
	return err
}
