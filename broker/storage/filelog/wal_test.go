package filelog

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/vfs"
)

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func opened(t testing.TB, opt Options) *Engine {
	t.Helper()
	e, err := Open("/data", opt)
	ok(t, err)
	return e
}

func entry(index uint64, size int) storage.Entry {
	return storage.Entry{Index: index, Term: 1, Kind: 2, Data: bytes.Repeat([]byte{byte(index)}, size)}
}

// put appends one entry and waits.
func put(t testing.TB, e *Engine, shard storage.ShardID, index uint64, size int, sync bool) {
	t.Helper()
	ok(t, tryPut(e, shard, index, size, sync))
}

func tryPut(e *Engine, shard storage.ShardID, index uint64, size int, sync bool) error {
	done := make(chan error, 1)
	err := e.Log().Append(storage.Write{
		Shard: shard, Entries: []storage.Entry{entry(index, size)}, Sync: sync,
		Done: func(err error) { done <- err },
	})
	if err != nil {
		return err
	}
	return <-done
}

// last is the index of the last entry that a shard has.
func last(t testing.TB, e *Engine, shard storage.ShardID) uint64 {
	t.Helper()
	loaded, err := e.Log().Load(shard)
	ok(t, err)
	entries := loaded.Entries
	for i, en := range entries {
		if want := entry(entries[0].Index+uint64(i), len(en.Data)); !bytes.Equal(en.Data, want.Data) || en.Index != want.Index {
			t.Fatalf("entry %d is another", en.Index)
		}
	}
	if len(entries) == 0 {
		return 0
	}
	return entries[len(entries)-1].Index
}

func logFiles(t testing.TB, fsys vfs.FS) []string {
	t.Helper()
	entries, err := fsys.ReadDir("/data/wal")
	ok(t, err)
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name, ".wal") {
			names = append(names, filepath.Join("/data/wal", e.Name))
		}
	}
	return names
}

// change replaces bytes of a file.
func change(t testing.TB, fsys vfs.FS, path string, f func([]byte) []byte) (undo func()) {
	t.Helper()
	whole, err := vfs.ReadFile(fsys, path, 1<<24)
	ok(t, err)
	set := func(b []byte) {
		w, err := fsys.Open(path)
		ok(t, err)
		ok(t, w.Truncate(int64(len(b))))
		_, err = w.WriteAt(b, 0)
		ok(t, err)
		ok(t, w.Close())
	}
	set(f(bytes.Clone(whole)))
	return func() { set(whole) }
}

// Rot in what was durable is ErrCorrupt wherever it is, and changes nothing on the disk.
func TestRot(t *testing.T) {
	disk := vfs.NewMem()
	e := opened(t, on(disk))
	for i := range uint64(60) {
		put(t, e, storage.ShardID(i%3), i/3+1, 600, true)
	}
	if n := e.Log().Stats().Files; n < 2 {
		t.Fatalf("%d log files: the test is too small", n)
	}
	ok(t, e.Close())
	used := func(path string) (n int) { // bytes before the zeros at the end
		b, err := vfs.ReadFile(disk, path, 1<<24)
		ok(t, err)
		return len(bytes.TrimRight(b, "\x00"))
	}
	rnd := rand.New(rand.NewPCG(5, 6))
	for _, path := range logFiles(t, disk) {
		size := used(path)
		harmless := 0
		for i := range 400 {
			at, what := rnd.IntN(size), i%4
			undo := change(t, disk, path, func(b []byte) []byte {
				switch what {
				case 0, 1:
					b[at] ^= 1 << rnd.IntN(8)
				case 2:
					clear(b[at:min(len(b), at+512)])
				case 3:
					b = b[:at]
				}
				return b
			})
			before := contents(t, disk)
			e, err := Open("/data", on(disk))
			switch {
			case errors.Is(err, storage.ErrCorrupt), errors.Is(err, storage.ErrVersion):
				if !maps.Equal(contents(t, disk), before) {
					t.Fatalf("%s changed (%d) at byte %d: the refused open changed the disk", path, what, at)
				}
			case err != nil:
				t.Fatalf("%s byte %d: %v", path, at, err)
			default: // padding, or the block behind the header
				harmless++
				for s := range storage.ShardID(3) {
					if got := last(t, e, s); got != 20 {
						t.Errorf("%s changed (%d) at byte %d: shard %d ends at %d of 20, and no error", path, what, at, s, got)
					}
				}
				ok(t, e.Close())
			}
			undo()
		}
		if harmless > 200 {
			t.Errorf("%s: %d of 400 changes did no harm", path, harmless)
		}
	}
	e = opened(t, on(disk)) // and undone, all is well
	if got := last(t, e, 1); got != 20 {
		t.Errorf("shard 1 ends at %d", got)
	}
	ok(t, e.Close())
}

// contents is what the log's files hold.
func contents(t testing.TB, fsys vfs.FS) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, name := range logFiles(t, fsys) {
		b, err := vfs.ReadFile(fsys, name, 1<<24)
		ok(t, err)
		all[name] = string(b)
	}
	return all
}

// A missing file is rot too.
func TestMissingFile(t *testing.T) {
	disk := vfs.NewMem()
	e := opened(t, on(disk))
	for i := range uint64(200) {
		put(t, e, 1, i+1, 600, true)
	}
	ok(t, e.Close())
	names := logFiles(t, disk)
	if len(names) < 3 {
		t.Fatalf("%d log files: the test is too small", len(names))
	}
	ok(t, disk.Remove(names[1]))
	if _, err := Open("/data", on(disk)); !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("a file in the middle is missing: %v", err)
	}
	for _, name := range logFiles(t, disk) {
		ok(t, disk.Remove(name))
	}
	if _, err := Open("/data", on(disk)); !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("all files are missing: %v", err)
	}
}

// The oldest file is missed by the logs that ended in it, although no file says after which
// entry a log begins, and who was told that its entry is durable wrote nothing since.
func TestOldestFileMissing(t *testing.T) {
	disk := vfs.NewMem()
	e := opened(t, on(disk))
	put(t, e, 2, 1, 600, true)
	for i := range uint64(100) {
		put(t, e, 1, i+1, 600, true)
	}
	ok(t, e.Close())
	once := func() uint64 {
		t.Helper()
		e := opened(t, on(disk))
		loaded, err := e.Log().Load(2)
		ok(t, err)
		ok(t, e.Close())
		return loaded.Once
	}
	if got := once(); got != 0 {
		t.Errorf("nothing is missing, and entry %d is missed", got)
	}
	names := logFiles(t, disk)
	if len(names) < 2 {
		t.Fatalf("%d log files: the test is too small", len(names))
	}
	ok(t, disk.Remove(names[0]))
	if got := once(); got != 1 {
		t.Errorf("the log that ended at entry 1 has none, and misses %d", got)
	}
	for applied, lost := range map[uint64]string{0: "[{2 1-1}]", 1: "[]"} {
		s, err := PlanSalvage(disk, "/data", map[storage.ShardID]uint64{1: 100, 2: applied})
		ok(t, err)
		told := []string{}
		if s != nil {
			for _, l := range s.Lost {
				told = append(told, fmt.Sprintf("{%d %d-%d}", l.Shard, l.First, l.Last))
			}
		}
		if got := fmt.Sprint(told); got != lost {
			t.Errorf("with a checkpoint at %d, a repair would lose %s", applied, got)
		}
	}
}

// What was never synced may be torn: it is cut, and what follows a cut never comes back,
// even if the same bytes are written up to it again.
func TestTornTail(t *testing.T) {
	disk := vfs.NewMem()
	e := opened(t, on(disk))
	put(t, e, 1, 1, 100, true)
	for i := range uint64(9) {
		put(t, e, 1, i+2, 100, false)
	}
	path := logFiles(t, disk)[0]
	whole, err := vfs.ReadFile(disk, path, 1<<24)
	ok(t, err)
	torn := disk.CrashClone(0) // has the first entry
	ok(t, e.Close())
	record := int(paddedLen(100))
	firstAt := bytes.Index(whole, entry(2, 100).Data) - recordLen
	f, err := torn.Open(path)
	ok(t, err)
	tail := bytes.Clone(whole[firstAt : firstAt+9*record])
	tail[3*record+50] ^= 1 // entry 5 is torn; 6 to 10 are whole
	_, err = f.WriteAt(tail, int64(firstAt))
	ok(t, err)
	ok(t, f.Close())

	for life := range 2 {
		e = opened(t, on(torn))
		if got := last(t, e, 1); got != 4+uint64(life) {
			t.Fatalf("life %d: the log ends at %d", life, got)
		}
		if life == 0 { // another leader sends entry 5 again, the same as before
			put(t, e, 1, 5, 100, true)
		}
		ok(t, e.Close())
	}
}

// Writes without Sync are done without one, and do not wait for another shard's; within a
// shard, order holds.
func TestSyncIsAsked(t *testing.T) {
	e := opened(t, on(vfs.NewMem()))
	put(t, e, 1, 1, 10, true) // the file's base is synced with it
	before := e.Log().Stats().Syncs
	for i := range uint64(20) {
		put(t, e, 1, i+2, 10, false)
	}
	if got := e.Log().Stats().Syncs - before; got != 0 {
		t.Errorf("%d syncs for writes that asked for none", got)
	}
	var mu sync.Mutex
	var order []string
	var all sync.WaitGroup
	add := func(name string, shard storage.ShardID, index uint64, sync bool) {
		all.Add(1)
		ok(t, e.Log().Append(storage.Write{
			Shard: shard, Entries: []storage.Entry{entry(index, 10)}, Sync: sync,
			Done: func(err error) {
				defer all.Done()
				mu.Lock()
				defer mu.Unlock()
				order = append(order, name)
				if err != nil {
					t.Error(err)
				}
			},
		}))
	}
	for i := range uint64(50) {
		add("a sync", 1, 22+2*i, true)
		add("a async", 1, 23+2*i, false)
		add("b async", 2, 1+i, false)
	}
	all.Wait()
	a := slices.DeleteFunc(order, func(s string) bool { return s == "b async" })
	for i, name := range a {
		if want := []string{"a sync", "a async"}[i%2]; name != want {
			t.Fatalf("shard a: %d was done as %q", i, name)
		}
	}
	ok(t, e.Close())
}

// Released files are written again: the log does not grow, and old bytes never parse.
func TestRecycle(t *testing.T) {
	disk := vfs.NewMem()
	opt := on(disk)
	e := opened(t, opt)
	put(t, e, 9, 1, 10, true) // an idle shard with a hard state
	done := make(chan error, 1)
	ok(t, e.Log().Append(storage.Write{Shard: 9, Hard: &storage.HardState{Term: 7, Vote: 3, Commit: 1}, Sync: true, Done: func(err error) { done <- err }}))
	ok(t, <-done)
	e.Log().Release(9, 1)
	for i := range uint64(3000) {
		put(t, e, 1, i+1, 500, i%10 == 0)
		if i%20 == 0 {
			e.Log().Release(1, i)
		}
	}
	if n := e.Log().Stats().Files; n > 4 {
		t.Errorf("%d log files hold the last twenty entries", n)
	}
	if used := disk.Used(); used > 8*opt.WALFileMax {
		t.Errorf("the log takes %d bytes, with files of %d", used, opt.WALFileMax)
	}
	ok(t, e.Close())
	e = opened(t, opt)
	if got := last(t, e, 1); got != 3000 {
		t.Errorf("the log ends at %d", got)
	}
	idle, err := e.Log().Load(9)
	if err != nil || idle.Hard != (storage.HardState{Term: 7, Vote: 3, Commit: 1}) {
		t.Errorf("the idle shard: %+v, %v", idle, err)
	}
	ok(t, e.Close())
}

// A file that was made for a number and not needed, until files of later numbers were
// written again in its place, does not lose its name to the log file of that number.
func TestSpares(t *testing.T) {
	disk := vfs.NewMem()
	opt := on(disk)
	opt.WALFileMin, opt.WALFileMax = 16<<10, 16<<10
	e := opened(t, opt)
	index := uint64(0)
	// until puts entries until the newest file is number n, more than half full, and the next
	// one is ready.
	until := func(n int) {
		for names := logFiles(t, disk); names[len(names)-1] != walName("/data/wal", uint64(n)); names = logFiles(t, disk) {
			index++
			put(t, e, 1, index, 1000, true)
		}
		for range 6 {
			index++
			put(t, e, 1, index, 1000, true)
		}
		for tries := 0; e.Log().Stats().Room < 12<<10; tries++ {
			if tries == 1e6 {
				t.Fatalf("no file after %d is made ready", n)
			}
			runtime.Gosched()
		}
	}
	release := func() {
		e.Log().Release(1, index)
		for len(logFiles(t, disk)) > 1 {
			runtime.Gosched()
		}
	}
	until(5)
	release()
	ok(t, e.Close()) // what was made to be file 6 waits, and so do two that are over
	e = opened(t, opt)
	until(7) // 6 and 7 were those two; 8 is to be what was made for 6
	release()
	until(9)
	ok(t, e.Close())
	e = opened(t, opt)
	if got := last(t, e, 1); got != index {
		t.Errorf("the log ends at %d of %d", got, index)
	}
	ok(t, e.Close())
}

// What was put away is written again only once its new name is durable; when that fails
// for good, no file follows.
func TestPutAwayFails(t *testing.T) {
	for _, tt := range []struct {
		err   error
		final bool
	}{{syscall.EMFILE, false}, {syscall.EIO, true}} {
		disk := vfs.NewMem()
		fsys := vfs.NewFaulty(disk, nil)
		opt := on(fsys)
		opt.WALFileMin, opt.WALFileMax = 16<<10, 16<<10
		e := opened(t, opt)
		index := uint64(0)
		for e.Log().Stats().Files < 3 {
			index++
			put(t, e, 1, index, 1000, true)
		}
		failed := make(chan struct{})
		renamed := false
		fsys.SetHook(func(op vfs.Op) error {
			if op.Kind == vfs.OpRename && strings.HasSuffix(op.Path, ".wal") {
				renamed = true
			}
			if renamed && op.Kind == vfs.OpSyncDir {
				renamed = false
				select {
				case <-failed:
				default:
					close(failed)
					return tt.err
				}
			}
			return nil
		})
		e.Log().Release(1, index)
		<-failed
		var err error
		for range 100 {
			if err = tryPut(e, 1, index+1, 1000, true); err != nil {
				break
			}
			index++
			e.Log().Release(1, index)
		}
		if tt.final != errors.Is(err, tt.err) {
			t.Errorf("after %v: %v", tt.err, err)
		}
		if files := len(logFiles(t, disk)); !tt.final && files > 4 {
			t.Errorf("after %v: %d log files", tt.err, files)
		}
		fsys.SetHook(nil)
		if err := e.Close(); !tt.final && err != nil {
			t.Error(err)
		}
		e = opened(t, on(disk))
		if got := last(t, e, 1); got < index {
			t.Errorf("after %v: the log ends at %d of %d", tt.err, got, index)
		}
		ok(t, e.Close())
	}
}

// A shard that releases nothing keeps what it needs, and only that is kept.
func TestPinned(t *testing.T) {
	disk := vfs.NewMem()
	e := opened(t, on(disk))
	put(t, e, 2, 1, 10, true)
	for i := range uint64(500) {
		put(t, e, 1, i+1, 500, false)
		e.Log().Release(1, i)
	}
	pinned := e.Log().Stats().Files
	if pinned < 4 {
		t.Errorf("%d log files, though shard 2 needs the first", pinned)
	}
	ok(t, e.Close())
	e = opened(t, on(disk))
	if got := last(t, e, 2); got != 1 {
		t.Errorf("shard 2 ends at %d", got)
	}
	e.Log().Release(1, 499)
	e.Log().Release(2, 1)
	put(t, e, 2, 2, 10, true) // behind the release, in the writer's order
	if n := e.Log().Stats().Files; n > 2 {
		t.Errorf("%d log files after the release", n)
	}
	ok(t, e.Close())
}

// On a full device writes wait; they go on when there is space, and nothing is lost.
func TestFull(t *testing.T) {
	disk := vfs.NewMem()
	opt := on(disk)
	e := opened(t, opt)
	put(t, e, 1, 1, 100, true)
	disk.Limit(disk.Used() + 2000)
	acked := make(chan uint64, 1000)
	for i := range uint64(200) {
		ok(t, e.Log().Append(storage.Write{
			Shard: 1, Entries: []storage.Entry{entry(i+2, 500)}, Sync: true,
			Done: func(err error) {
				if err != nil {
					t.Errorf("entry %d: %v", i+2, err)
				}
				acked <- i + 2
			},
		}))
	}
	// The writer stops for want of space. It is seen by the statistics alone.
	for !e.Log().Stats().Full {
		runtime.Gosched()
		if e.Log().Err() != nil {
			t.Fatal(e.Log().Err())
		}
	}
	if n := len(acked); n >= 200 {
		t.Fatal("everything was written: the device is not full")
	}
	crashed := disk.CrashClone(3)
	promised := uint64(1)
	for range len(acked) {
		promised = <-acked
	}
	disk.Limit(0)
	e.Log().Release(1, 1) // whatever frees space also wakes the log
	for promised < 201 {
		promised = max(promised, <-acked)
	}
	if e.Log().Stats().Full {
		t.Error("the log still waits for space")
	}
	ok(t, e.Close())
	e = opened(t, opt)
	if got := last(t, e, 1); got != 201 {
		t.Errorf("the log ends at %d", got)
	}
	ok(t, e.Close())

	crashed.Limit(0)
	e = opened(t, on(crashed)) // a crash while it waits
	if got := last(t, e, 1); got < 2 {
		t.Errorf("after a crash the log ends at %d", got)
	}
	ok(t, e.Close())
}

// When the device gives nothing any more, the log says so and goes on in what it has set
// aside, for as long as that lasts; and sets aside as much again when there is space.
func TestReserve(t *testing.T) {
	disk := vfs.NewMem()
	opt := on(disk)
	e := opened(t, opt)
	index := uint64(1)
	next := func() {
		put(t, e, 1, index, 100, true)
		index++
	}
	next()
	for round := range 2 {
		disk.Limit(disk.Used())
		for !e.Log().Stats().Full {
			next()
		}
		for written := int64(0); written < opt.WALFileMin/2; written += 200 {
			next()
		}
		disk.Limit(0)
		for e.Log().Stats().Full { // it looks again by itself, or when something is released
			e.Log().Release(1, uint64(round))
			runtime.Gosched()
		}
	}
	ok(t, e.Close())
	e = opened(t, opt)
	if got := last(t, e, 1); got != index-1 {
		t.Errorf("the log ends at %d, want %d", got, index-1)
	}
	ok(t, e.Close())
}

// A reserve whose making was cut short is no spare: the next one to be made would take the
// file's name from under the log.
func TestReserveCutShort(t *testing.T) {
	disk := vfs.NewMem()
	opt := on(disk)
	opt.WALFileMax = 512 << 10
	e := opened(t, opt)
	put(t, e, 1, 1, 100, true)
	ok(t, e.Close())
	ok(t, vfs.WriteFile(disk, "/data/wal/reserve.new.spare", make([]byte, opt.WALFileMax)))
	e = opened(t, opt)
	for i := range uint64(100) {
		put(t, e, 1, i+2, 1000, true)
	}
	ok(t, e.Close())
	e = opened(t, opt)
	if got := last(t, e, 1); got != 101 {
		t.Errorf("the log ends at %d", got)
	}
	ok(t, e.Close())
}

// Close does not wait for space; what waited for it fails.
func TestCloseWhileFull(t *testing.T) {
	disk := vfs.NewMem()
	e := opened(t, on(disk))
	put(t, e, 1, 1, 100, true)
	disk.Limit(disk.Used())
	var mu sync.Mutex
	var failed error
	var all sync.WaitGroup
	for i := range uint64(100) {
		all.Add(1)
		ok(t, e.Log().Append(storage.Write{
			Shard: 1, Entries: []storage.Entry{entry(i+2, 500)}, Sync: true,
			Done: func(err error) {
				defer all.Done()
				mu.Lock()
				defer mu.Unlock()
				failed = errors.Join(failed, err)
			},
		}))
	}
	for !e.Log().Stats().Full {
		runtime.Gosched()
	}
	if err := e.Close(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Close: %v", err)
	}
	all.Wait()
	if !errors.Is(failed, syscall.ENOSPC) {
		t.Errorf("what waited: %v", failed)
	}
}

// An error of a write or a sync stops the log for good, and everyone is told.
func TestStops(t *testing.T) {
	for _, kind := range []vfs.Kind{vfs.OpWrite, vfs.OpSync} {
		t.Run(kind.String(), func(t *testing.T) {
			disk := vfs.NewMem()
			fsys := vfs.NewFaulty(disk, nil)
			e := opened(t, on(fsys))
			put(t, e, 1, 1, 100, true)
			broken := errors.New("input/output error")
			fsys.SetHook(vfs.FailNth(kind, 1, &vfs.Short{Bytes: 20, Err: broken}))
			if err := tryPut(e, 1, 2, 100, true); !errors.Is(err, broken) {
				t.Errorf("the write that failed: %v", err)
			}
			if err := tryPut(e, 2, 1, 100, false); !errors.Is(err, broken) {
				t.Errorf("a later write, of another shard: %v", err)
			}
			if err := e.Log().Err(); !errors.Is(err, broken) {
				t.Errorf("Err: %v", err)
			}
			if err := e.Close(); !errors.Is(err, broken) {
				t.Errorf("Close: %v", err)
			}
			e = opened(t, on(disk))
			if got := last(t, e, 1); got != 1 && got != 2 {
				t.Errorf("the log ends at %d", got)
			}
			ok(t, e.Close())
		})
	}
}

// A log file that was removed or moved by hand takes nothing more: what is written to it would be
// found by nobody. Nothing is made in its place.
func TestGone(t *testing.T) {
	for name, gone := range map[string]func(*vfs.Mem, string) error{
		"removed": func(m *vfs.Mem, path string) error { return m.Remove(path) },
		"moved":   func(m *vfs.Mem, path string) error { return m.Rename(path, path+".old") },
		"replaced": func(m *vfs.Mem, path string) error {
			b, err := vfs.ReadFile(m, path, 1<<20)
			return errors.Join(err, vfs.WriteFile(m, path, b))
		},
	} {
		t.Run(name, func(t *testing.T) {
			disk := vfs.NewMem()
			e := opened(t, on(disk))
			put(t, e, 1, 1, 100, true)
			ok(t, gone(disk, logFiles(t, disk)[0]))
			names := func() (names []string) {
				entries, err := disk.ReadDir("/data/wal")
				ok(t, err)
				for _, e := range entries {
					names = append(names, e.Name)
				}
				return names
			}
			before := names()
			if err := tryPut(e, 1, 2, 100, true); !errors.Is(err, storage.ErrGone) {
				t.Errorf("a write to a file that is gone: %v", err)
			}
			if err := e.Log().Err(); !errors.Is(err, storage.ErrGone) {
				t.Errorf("Err: %v", err)
			}
			if err := e.Close(); !errors.Is(err, storage.ErrGone) {
				t.Errorf("Close: %v", err)
			}
			if after := names(); !slices.Equal(after, before) {
				t.Errorf("the directory has %q, and had %q", after, before)
			}
		})
	}
}

// A segment does not make a data directory that is gone anew.
func TestSegmentWithoutHome(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	e, err := Open(dir, on(vfs.OS{}))
	ok(t, err)
	ok(t, os.RemoveAll(dir))
	if _, err := e.Segments().Open(storage.LogID{Shard: 1, Log: 5}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open: %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory is there again: %v", err)
	}
	ok(t, e.Close())
}

// Append blocks rather than queue without bound, and is let go when the log stops.
func TestQueueIsBounded(t *testing.T) {
	fsys := vfs.NewFaulty(vfs.NewMem(), nil)
	e := opened(t, on(fsys))
	reached, gate := make(chan struct{}), make(chan struct{})
	fsys.SetHook(func(op vfs.Op) error {
		if op.Kind == vfs.OpReserve { // the first entry is too large for its file: the writer waits for the next
			close(reached)
			<-gate
			return errors.New("input/output error")
		}
		return nil
	})
	data := make([]byte, 8<<20)
	var accepted sync.WaitGroup
	appended := make(chan error, 40)
	go func() {
		defer close(appended)
		for i := range 40 {
			accepted.Add(1)
			err := e.Log().Append(storage.Write{
				Shard: 1, Entries: []storage.Entry{{Index: uint64(i + 1), Data: data}},
				Done: func(err error) {
					if err == nil {
						t.Error("a write was done on a device that is gone")
					}
					accepted.Done()
				},
			})
			if err != nil {
				accepted.Done()
			}
			appended <- err
		}
	}()
	<-reached
	for range 8 { // the one that the writer has; the queue takes seven more
		ok(t, <-appended)
	}
	e.wal.mu.Lock()
	if e.wal.queued > queueBytesMax {
		t.Errorf("%d bytes wait", e.wal.queued)
	}
	e.wal.mu.Unlock()
	close(gate)
	refused := 0
	for err := range appended {
		if err != nil {
			refused++
		}
	}
	accepted.Wait()
	if refused == 0 {
		t.Error("every write was queued")
	}
	if err := e.Close(); err == nil {
		t.Error("Close has no error")
	}
}

func FuzzRecord(f *testing.F) {
	h := walHeader{number: 3, salt: 99, size: 1 << 20}
	_, crc, err := decodeHeader(h.encode())
	ok(f, err)
	var e encoder
	crc2 := e.add(&rec{op: opEntry, typ: 1, shard: 7, index: 5, term: 2, data: []byte("hello")}, 3, crc)
	e.add(&rec{op: opEnd}, 3, crc2)
	f.Add(append(h.encode(), bytes.Join(e.finish(), nil)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := newScanner(bytes.NewReader(b), int64(len(b)))
		if s.header(3) != nil {
			return
		}
		prev := s.crc
		for s.next() {
			if s.rec.op == opMark {
				prev = s.crc
				continue
			}
			var e encoder
			crc := e.add(&s.rec, 3, prev)
			if again := bytes.Join(e.finish(), nil); crc != s.crc || !bytes.Equal(again[:recordLen+len(s.rec.data)], b[s.at:s.at+recordLen+int64(len(s.rec.data))]) {
				t.Fatalf("decode then encode changed bytes at %d", s.at)
			}
			prev = s.crc
		}
		if s.err == nil && !s.ended {
			_ = s.checkTail()
		}
	})
}

// Whatever a file holds behind a valid header, opening ends: with what is whole, or
// with an error that is one of ours.
func FuzzOpen(f *testing.F) {
	f.Add([]byte{}, []byte{})
	f.Add([]byte("garbage"), bytes.Repeat([]byte{0, 0, 0, 0, 1, 0, 0, 0}, 20))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		disk := vfs.NewMem()
		e := opened(t, on(disk))
		put(t, e, 1, 1, 100, true)
		ok(t, e.Close())
		path := logFiles(t, disk)[0]
		change(t, disk, path, func(b []byte) []byte {
			end := len(bytes.TrimRight(b, "\x00"))
			copy(b[walBlock+len(first)%300:], first)
			copy(b[(end+7)&^7:], second)
			return b
		})
		e, err := Open("/data", on(disk))
		if err != nil {
			if !errors.Is(err, storage.ErrCorrupt) && !errors.Is(err, storage.ErrVersion) {
				t.Fatal(err)
			}
			return
		}
		if got := last(t, e, 1); got > 1 {
			t.Fatalf("the log ends at %d", got)
		}
		ok(t, e.Close())
	})
}

func BenchmarkLog(b *testing.B) {
	for _, sync := range []bool{true, false} {
		for _, group := range []int{1, 16, 256, 4096} {
			b.Run(fmt.Sprintf("sync=%v/entries=%d", sync, group), func(b *testing.B) { benchLog(b, sync, group) })
			b.Run(fmt.Sprintf("sync=%v/entries=%d/raw", sync, group), func(b *testing.B) { benchRaw(b, sync, group) })
		}
	}
}

const benchEntry = 256

// benchLog writes groups of entries of one shard, one group after another.
func benchLog(b *testing.B, sync bool, group int) {
	e, err := Open(b.TempDir(), benchOptions())
	ok(b, err)
	done := make(chan error, 1)
	data := make([]byte, benchEntry)
	w := storage.Write{Entries: make([]storage.Entry, group), Sync: sync, Done: func(err error) { done <- err }}
	next := uint64(1)
	b.SetBytes(int64(group * benchEntry))
	b.ReportAllocs()
	for b.Loop() {
		for i := range w.Entries {
			w.Entries[i] = storage.Entry{Index: next + uint64(i), Term: 1, Data: data}
		}
		if err := e.Log().Append(w); err != nil {
			b.Fatal(err)
		}
		if err := <-done; err != nil {
			b.Fatal(err)
		}
		next += uint64(group)
		e.Log().Release(0, next-1)
	}
	ok(b, e.Close())
}

func benchOptions() Options {
	opt := on(vfs.OS{})
	opt.WALFileMin, opt.WALFileMax = 64<<20, 64<<20
	return opt
}

// BenchmarkShards is many shards that each wait for their entry: the syncs they share.
func BenchmarkShards(b *testing.B) {
	for _, shards := range []int{1, 8, 64, 512} {
		b.Run(fmt.Sprint(shards), func(b *testing.B) {
			e, err := Open(b.TempDir(), benchOptions())
			ok(b, err)
			data := make([]byte, benchEntry)
			var all sync.WaitGroup
			var left atomic.Int64
			left.Store(int64(b.N))
			b.SetBytes(benchEntry)
			b.ResetTimer()
			for s := range storage.ShardID(shards) {
				all.Go(func() {
					done := make(chan error, 1)
					for index := uint64(1); left.Add(-1) >= 0; index++ {
						if err := e.Log().Append(storage.Write{
							Shard: s, Entries: []storage.Entry{{Index: index, Term: 1, Data: data}}, Sync: true,
							Done: func(err error) { done <- err },
						}); err != nil {
							b.Error(err)
							return
						}
						if err := <-done; err != nil {
							b.Error(err)
							return
						}
						e.Log().Release(s, index)
					}
				})
			}
			all.Wait()
			b.StopTimer()
			b.ReportMetric(float64(e.Log().Stats().Syncs)/float64(b.N), "syncs/op")
			ok(b, e.Close())
		})
	}
}

// benchRaw writes as many bytes to a file filled with zeros, over and over, and syncs it:
// what the disk gives.
func benchRaw(b *testing.B, sync bool, group int) {
	const size = 64 << 20
	f, err := vfs.OS{}.Create(filepath.Join(b.TempDir(), "raw"))
	ok(b, err)
	ok(b, zeroFill(f, size))
	ok(b, f.Sync())
	buf := make([]byte, group*benchEntry)
	at := int64(0)
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		if at+int64(len(buf)) > size {
			at = 0
		}
		if _, err := f.WriteAt(buf, at); err != nil {
			b.Fatal(err)
		}
		at += int64(len(buf))
		if sync {
			if err := f.SyncData(); err != nil {
				b.Fatal(err)
			}
		}
	}
	ok(b, f.Close())
}

// BenchmarkOpen is a first start, and a start with little in the log.
func BenchmarkOpen(b *testing.B) {
	b.Run("first", func(b *testing.B) {
		root, i := b.TempDir(), 0
		for b.Loop() {
			i++
			e, err := Open(filepath.Join(root, fmt.Sprint(i)), withFS(vfs.OS{}))
			ok(b, err)
			b.StopTimer()
			ok(b, e.Close())
			b.StartTimer()
		}
	})
	b.Run("again", func(b *testing.B) {
		dir := b.TempDir()
		e, err := Open(dir, withFS(vfs.OS{}))
		ok(b, err)
		put(b, e, 1, 1, 1000, true)
		ok(b, e.Close())
		for b.Loop() {
			e, err := Open(dir, withFS(vfs.OS{}))
			ok(b, err)
			b.StopTimer()
			ok(b, e.Close())
			b.StartTimer()
		}
	})
}

// withFS is on with the sizes of production.
func withFS(fsys vfs.FS) Options {
	opt := on(fsys)
	opt.WALFileMin, opt.WALFileMax, opt.SegmentBytes, opt.OpenFiles = 0, 0, 0, 0
	return opt
}
