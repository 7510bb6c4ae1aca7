package filelog

import (
	"testing"

	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/vfs"
)

// TestStepped: a stepped log does nothing by itself, goes on after a full device, and ends
// what waits when it is closed.
func TestStepped(t *testing.T) {
	disk := vfs.NewMem()
	faulty := vfs.NewFaulty(disk, nil)
	opt := on(faulty)
	opt.Stepped = true
	e, err := Open("/data", opt)
	if err != nil {
		t.Fatal(err)
	}
	before := faulty.Ops()
	done, failed := 0, error(nil)
	index := uint64(0)
	write := func() {
		index++
		w := storage.Write{Shard: 1, Sync: true, Entries: []storage.Entry{{Index: index, Term: 1, Data: make([]byte, 4<<10)}}}
		w.Done = func(err error) { done++; failed = err }
		if err := e.Log().Append(w); err != nil {
			t.Fatal(err)
		}
	}
	write()
	write()
	if ops := faulty.Ops() - before; done != 0 || ops != 0 {
		t.Fatalf("%d writes ended without a step, after %d operations", done, ops)
	}
	e.Step()
	if done != 2 || e.Log().Stats().Groups != 1 {
		t.Fatalf("%d writes ended in %d groups; 2 in 1 were due", done, e.Log().Stats().Groups)
	}
	disk.Limit(disk.Used() + 1<<10)
	for range 30 {
		write()
	}
	for range 20 {
		e.Step()
	}
	if full := e.Log().Stats().Full; done == 32 || !full {
		t.Fatalf("%d writes ended on a full device; full: %v", done, full)
	}
	disk.Limit(0)
	for range 20 {
		e.Step()
	}
	if done != 32 || failed != nil {
		t.Fatalf("%d of 32 writes ended, the last with %v", done, failed)
	}
	write()
	if err := e.Close(); err != nil || done != 33 || failed != nil {
		t.Fatalf("closed with %v; %d of 33 writes ended, the last with %v", err, done, failed)
	}
	opt.Stepped = false
	if e, err = Open("/data", opt); err != nil {
		t.Fatal(err)
	}
	if l, err := e.Log().Load(1); err != nil || len(l.Entries) != 33 {
		t.Errorf("%d entries are there, with %v", len(l.Entries), err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}
