package sim

import (
	"bytes"
	"fmt"
	"iter"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/vfs"
)

// disk outlives the kernels that work on it, each through a mount of its own.
//
// Checkpoints stand apart from the file system, as their store is not ours: a Save
// that has returned is durable, and one that the power loss comes before has not
// happened.
type disk struct {
	mem *vfs.Mem

	mu    sync.Mutex
	kept  map[storage.ShardID]*kept // checkpoints
	saves int
	late  error // the first operation that came through a mount after its end

	trace string // file operations on paths with this in them are logged; empty: none
	log   func(format string, args ...any)
}

// kept is one shard's checkpoint.
type kept struct {
	meta storage.CheckpointMeta
	kv   map[string][]byte
}

func newDisk() *disk { return &disk{mem: vfs.NewMem(), kept: make(map[storage.ShardID]*kept)} }

// mount is what one life has of the disk. Nothing passes through it once the power is off, so
// that what is left of one life writes nothing into the next; what tries is noted.
//
// It is the life's storage.Checkpoints too.
type mount struct {
	disk   *disk
	fs     *vfs.Faulty
	off    atomic.Bool   // no power: every operation fails
	dark   chan struct{} // closed when the power goes
	closed atomic.Bool   // nobody is to be there any more
}

// mount begins a life. Before each operation on files fail is asked, while there is power.
func (d *disk) mount(fail func(vfs.Op) error) *mount {
	m := &mount{disk: d, dark: make(chan struct{})}
	m.fs = vfs.NewFaulty(d.mem, func(op vfs.Op) error {
		if err := m.passes(op); err != nil {
			return err
		}
		return fail(op)
	})
	return m
}

// mountUntil begins a life whose power goes at an operation, counted from 1, of which, if it
// is a write, a part is done; 0: it does not go.
func (d *disk) mountUntil(until int, part float64) *mount {
	var m *mount
	m = d.mount(func(op vfs.Op) error {
		if d.trace != "" && op.Kind.Changes() && strings.Contains(op.Path, d.trace) {
			d.log("%v", op)
		}
		if until == 0 || op.N < until || !op.Kind.Changes() {
			return nil
		}
		m.cut()
		if op.Kind == vfs.OpWrite {
			return &vfs.Short{Bytes: int64(part * float64(op.Size)), Err: vfs.ErrStopped}
		}
		return vfs.ErrStopped
	})
	return m
}

// passes is asked of everything that a life does with its disk.
func (m *mount) passes(what any) error {
	switch {
	case m.closed.Load():
		m.disk.mu.Lock()
		defer m.disk.mu.Unlock()
		if m.disk.late == nil {
			m.disk.late = fmt.Errorf("something of a life that has ended works on: %v", what)
		}
	case !m.off.Load():
		return nil
	}
	return vfs.ErrStopped
}

// cut turns the power off now.
func (m *mount) cut() {
	if !m.off.Swap(true) {
		close(m.dark)
	}
}

func (m *mount) stopped() bool { return m.off.Load() }

// close says that nobody is to be there any more: the kernel and its engine are closed.
func (m *mount) close() { m.closed.Store(true) }

// end ends a life, and leaves on the disk what that leaves.
func (m *mount) end(how end, seed uint64) {
	m.off.Store(true)
	m.close()
	if how == powerLoss {
		d := m.disk
		d.mu.Lock()
		defer d.mu.Unlock()
		d.mem = d.mem.CrashClone(seed)
	}
}

// leave leaves room for so many bytes more; less than 0: there is no limit.
func (d *disk) leave(bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if bytes < 0 {
		d.mem.Limit(0)
	} else {
		d.mem.Limit(d.mem.Used() + bytes)
	}
}

// overlap is the error of a life that went on after its end.
func (d *disk) overlap() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.late
}

// Load implements storage.Checkpoints.
func (m *mount) Load(shard storage.ShardID) (storage.CheckpointMeta, iter.Seq2[[]byte, []byte], error) {
	if err := m.passes("load of a checkpoint"); err != nil {
		return storage.CheckpointMeta{}, nil, err
	}
	d := m.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.kept[shard]
	if k == nil {
		return storage.CheckpointMeta{}, func(func(k, v []byte) bool) {}, nil
	}
	meta, kv := k.meta, maps.Clone(k.kv)
	return meta, func(yield func(k, v []byte) bool) {
		for _, key := range slices.Sorted(maps.Keys(kv)) {
			if !yield([]byte(key), bytes.Clone(kv[key])) {
				return
			}
		}
	}, nil
}

// Save implements storage.Checkpoints.
func (m *mount) Save(shard storage.ShardID, meta storage.CheckpointMeta, full bool, changes iter.Seq2[[]byte, []byte]) error {
	if err := m.passes("save of a checkpoint"); err != nil {
		return err
	}
	d := m.disk
	d.mu.Lock()
	next := &kept{meta: meta, kv: make(map[string][]byte)}
	if k := d.kept[shard]; k != nil && !full {
		next.kv = maps.Clone(k.kv)
	}
	d.mu.Unlock()
	for k, v := range changes {
		runtime.Gosched() // a device takes its time: others go on meanwhile
		if v == nil {
			delete(next.kv, string(k))
		} else {
			next.kv[string(k)] = append([]byte{}, v...)
		}
	}
	if err := m.passes("end of the save of a checkpoint"); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kept[shard] = next
	d.saves++
	return nil
}

// Close implements filelog.CheckpointStore.
func (m *mount) Close() error { return nil }
