// Package storagetest is what every storage engine must pass.
//
//	func TestEngine(t *testing.T) {
//		storagetest.Run(t, func(t *testing.T) storagetest.Opener {
//			dir := t.TempDir()
//			return func() (storage.Engine, error) { return filelog.Open(dir, …) }
//		})
//	}
//
// A test calls the Opener once; for an engine that is Durable also again after
// Close, and then expects to find what it left.
//
// The package also has what crash tests of an engine are made of: batches to append
// (Batch) and a store of checkpoints on any vfs.FS (OpenCheckpoints), for file
// systems on which the real one cannot live because it maps its file into memory.
package storagetest

import (
	"testing"

	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/storage"
)

// Opener opens one storage, for each subtest another.
type Opener func() (storage.Engine, error)

// Run runs the suite. Each subtest gets an Opener from the factory.
func Run(t *testing.T, factory func(t *testing.T) Opener) {
	t.Helper()
	tests := []struct {
		name string
		run  func(*rig)
	}{
		{"log/order", logOrder},
		{"log/load", logLoad},
		{"log/replace", logReplace},
		{"log/restart after a gap", logGap},
		{"log/hard state only", logHardOnly},
		{"log/release", logRelease},
		{"log/refuse", logRefuse},
		{"log/concurrent shards", logConcurrent},
		{"log/stats", logStats},
		{"log/closed", logClosed},
		{"segment/append and read", segmentRead},
		{"segment/gaps", segmentGaps},
		{"segment/read bounds", segmentReadBounds},
		{"segment/time", segmentTime},
		{"segment/truncate", segmentTruncate},
		{"segment/truncate below start", segmentTruncateAll},
		{"segment/drop", segmentDrop},
		{"segment/size", segmentSize},
		{"segment/rewrite", segmentRewrite},
		{"segment/refuse", segmentRefuse},
		{"segment/list and remove", segmentList},
		{"segment/readers", segmentReaders},
		{"checkpoint/none", checkpointNone},
		{"checkpoint/changes", checkpointChanges},
		{"checkpoint/full", checkpointFull},
		{"checkpoint/large", checkpointLarge},
		{"checkpoint/refuse", checkpointRefuse},
		{"checkpoint/shards apart", checkpointShards},
		{"engine/close twice", closeTwice},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &rig{T: t, open: factory(t)}
			r.start()
			defer func() { r.ok(r.eng.Close()) }()
			tt.run(r)
		})
	}
}

// rig is one subtest's engine.
type rig struct {
	*testing.T
	open Opener
	eng  storage.Engine
}

func (r *rig) start() {
	r.Helper()
	eng, err := r.open()
	if err != nil {
		r.Fatalf("open: %v", err)
	}
	r.eng = eng
}

// reopen closes and opens the engine, if that is to keep anything.
func (r *rig) reopen() {
	r.Helper()
	if !r.eng.Durable() {
		return
	}
	r.ok(r.eng.Close())
	r.start()
}

func (r *rig) ok(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// fails asserts that err is there.
func (r *rig) fails(err error, what string) {
	r.Helper()
	if err == nil {
		r.Fatalf("%s was accepted", what)
	}
}

// Batch returns a record batch of count records from offset base on, whose body is
// size bytes in all and depends on base; its latest time is ms.
func Batch(base int64, count int, ms int64, size int) []byte {
	var b record.Builder
	b.Reset(nil, ms)
	body := make([]byte, max(1, size/count))
	for i := range count {
		for j := range body {
			body[j] = byte(base + int64(i+j))
		}
		b.Add(ms, nil, body)
	}
	batch := b.Finish()
	batch.SetBaseOffset(base)
	return batch
}

func closeTwice(r *rig) {
	r.ok(r.eng.Close())
	r.ok(r.eng.Close())
}
