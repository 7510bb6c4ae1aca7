package filelog

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/meta"
	"github.com/robustmq/rmq/broker/storage/storagetest"
	"github.com/robustmq/rmq/broker/vfs"
)

// tree is every file below a directory, with its content.
func tree(t testing.TB, fsys vfs.FS, dir string) []string {
	t.Helper()
	entries, err := fsys.ReadDir(dir)
	ok(t, err)
	var all []string
	for _, e := range entries {
		path := filepath.Join(dir, e.Name)
		if e.Dir {
			all = append(all, path+"/")
			all = append(all, tree(t, fsys, path)...)
			continue
		}
		b, err := vfs.ReadFile(fsys, path, 1<<24)
		ok(t, err)
		all = append(all, fmt.Sprintf("%s %q", path, b))
	}
	return all
}

func write(t testing.TB, fsys vfs.FS, path, text string) {
	t.Helper()
	ok(t, fsys.MkdirAll(filepath.Dir(path)))
	ok(t, vfs.WriteFile(fsys, path, []byte(text)))
}

// What is not ours, or not of our time, is refused and stays as it is.
func TestRefused(t *testing.T) {
	tests := []struct {
		name string
		make func(*vfs.Mem)
		want error
	}{
		{"foreign file", func(m *vfs.Mem) { write(t, m, "/data/thesis.doc", "years of work") }, ErrForeign},
		{"foreign directory", func(m *vfs.Mem) { ok(t, m.MkdirAll("/data/photos")) }, ErrForeign},
		{"foreign VERSION", func(m *vfs.Mem) { write(t, m, "/data/VERSION", "1.2.3\n") }, ErrForeign},
		{"empty VERSION", func(m *vfs.Mem) { write(t, m, "/data/VERSION", "") }, ErrForeign},
		{"newer", func(m *vfs.Mem) { write(t, m, "/data/VERSION", "rmq data, format 2\n") }, storage.ErrVersion},
		{"nonsense", func(m *vfs.Mem) { write(t, m, "/data/VERSION", "rmq data, format one\n") }, storage.ErrCorrupt},
		{"no VERSION beside data", func(m *vfs.Mem) {
			e := opened(t, on(m))
			put(t, e, 1, 1, 10, true)
			ok(t, e.Close())
			ok(t, m.Remove("/data/VERSION"))
		}, storage.ErrCorrupt},
		{"no VERSION beside segments", func(m *vfs.Mem) { write(t, m, "/data/segments/00000001/x", "") }, storage.ErrCorrupt},
		{"log of a foreign program", func(m *vfs.Mem) { write(t, m, "/data/wal/0000000000000001.wal", "its own") }, storage.ErrCorrupt},
		{"newer log", func(m *vfs.Mem) {
			e := opened(t, on(m))
			put(t, e, 1, 1, 10, true)
			ok(t, e.Close())
			change(t, m, logFiles(t, m)[0], func(b []byte) []byte { b[8]++; return b })
		}, storage.ErrVersion},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := vfs.NewMem()
			tt.make(m)
			before := tree(t, m, "/data")
			_, err := Open("/data", on(m))
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			after := slices.DeleteFunc(tree(t, m, "/data"), func(s string) bool {
				return strings.HasPrefix(s, "/data/LOCK ") // of those that are ours
			})
			before = slices.DeleteFunc(before, func(s string) bool { return strings.HasPrefix(s, "/data/LOCK ") })
			if !slices.Equal(before, after) {
				t.Errorf("the directory has changed:\n got %q\nwant %q", after, before)
			}
		})
	}
}

func TestInUse(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	opt := on(vfs.OS{})
	e, err := Open(dir, opt)
	ok(t, err)
	_, err = Open(dir, opt)
	if !errors.Is(err, storage.ErrInUse) || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid())) {
		t.Errorf("opened twice: %v", err)
	}
	ok(t, e.Close())
	e, err = Open(dir, opt)
	ok(t, err)
	ok(t, e.Close())
}

// A first open that was interrupted anywhere is no obstacle to the next, and what that
// one acknowledges survives a power failure.
func TestInterruptedFirstOpen(t *testing.T) {
	const deep = "/srv/rmq/data"
	fsys := vfs.NewFaulty(vfs.NewMem(), nil)
	e, err := Open(deep, on(fsys))
	ok(t, err)
	ops := fsys.Ops()
	ok(t, e.Close())
	for at := 1; at <= ops; at++ {
		for seed := range uint64(12) {
			disk := vfs.NewMem()
			_, err := Open(deep, on(vfs.NewFaulty(disk, vfs.StopAt(at))))
			if !errors.Is(err, vfs.ErrStopped) {
				t.Fatalf("stopped at %d of %d: %v", at, ops, err)
			}
			if seed%2 > 0 { // else the process alone died
				disk = disk.CrashClone(seed)
			}
			e, err := Open(deep, on(disk))
			if err != nil {
				t.Fatalf("stopped at %d of %d, disk %d: %v", at, ops, seed, err)
			}
			put(t, e, 1, 1, 10, true)
			crashed := disk.CrashClone(seed)
			ok(t, e.Close())
			if e, err = Open(deep, on(crashed)); err != nil {
				t.Fatalf("stopped at %d of %d, disk %d: after the power failure: %v", at, ops, seed, err)
			}
			if got := last(t, e, 1); got != 1 {
				t.Fatalf("stopped at %d of %d, disk %d: the first entry was lost", at, ops, seed)
			}
			ok(t, e.Close())
		}
	}
}

// A process is killed at any operation while it removes a log, the next one finishes that,
// and the power goes at any of its operations: the log is there, whole, or is not.
func TestInterruptedRemove(t *testing.T) {
	id := storage.LogID{Shard: 1, Log: 5}
	made := func() *vfs.Mem {
		disk := vfs.NewMem()
		e := opened(t, on(disk))
		seg, err := e.Segments().Open(id)
		ok(t, err)
		for i := range int64(10) {
			var b record.Builder
			b.Reset(nil, i)
			b.Add(i, nil, bytes.Repeat([]byte{1}, 10<<10))
			rb := b.Finish()
			rb.SetBaseOffset(i)
			ok(t, seg.Append(rb))
		}
		ok(t, seg.Sync())
		ok(t, e.Close())
		return disk
	}
	life := func(disk *vfs.Mem, until int, work func(e *Engine) error) error {
		e, err := Open("/data", on(vfs.NewFaulty(disk, vfs.StopAt(until))))
		if err == nil {
			err = work(e)
			_ = e.Close() // stopped, too
		}
		if err != nil && !errors.Is(err, vfs.ErrStopped) {
			t.Fatal(err)
		}
		return err
	}
	for first, killed := 1, vfs.ErrStopped; killed != nil; first++ {
		for second, stopped := 1, vfs.ErrStopped; stopped != nil; second++ {
			disk := made()
			killed = life(disk, first, func(e *Engine) error { return e.Segments().Remove(id) })
			stopped = life(disk, second, func(e *Engine) error {
				_, err := e.Segments().List(id.Shard)
				return err
			})
			for seed := range uint64(4) {
				e := opened(t, on(disk.CrashClone(seed)))
				ids, err := e.Segments().List(id.Shard)
				ok(t, err)
				if len(ids) > 0 {
					seg, err := e.Segments().Open(id)
					if err != nil || seg.Start() != 0 || seg.End() != 10 {
						t.Fatalf("killed at %d, power loss at %d, disk %d: %v, or the log has lost files", first, second, seed, err)
					}
				}
				ok(t, e.Close())
			}
		}
	}
}

var update = flag.Bool("update", false, "write golden files")

// Directories of format 1: golden is written the same by this release; goldenFirst is of the
// first ones, whose files do not say which store they are of, and is read alone.
const (
	golden      = "../../../fixtures/disk/v1-store"
	goldenFirst = "../../../fixtures/disk/v1"
)

// script writes one of everything. The bytes that it leaves are the format.
func script(t *testing.T, e *Engine) {
	t.Helper()
	done := make(chan error, 1)
	write := func(w storage.Write) {
		t.Helper()
		w.Done = func(err error) { done <- err }
		ok(t, e.Log().Append(w))
		ok(t, <-done)
	}
	for i := range uint64(24) {
		write(storage.Write{Shard: 1, Entries: []storage.Entry{entry(i+1, 400)}, Sync: i%2 == 0})
	}
	write(storage.Write{Shard: 7, Hard: &storage.HardState{Term: 3, Vote: 2, Commit: 0}, Sync: true})
	write(storage.Write{
		Shard: 7, Hard: &storage.HardState{Term: 3, Vote: 2, Commit: 1}, Sync: true,
		Entries: []storage.Entry{{Index: 1, Term: 3, Data: []byte("first")}, {Index: 2, Term: 3, Kind: 1}},
	})
	write(storage.Write{Shard: 7, Entries: []storage.Entry{{Index: 2, Term: 4, Kind: 2, Data: []byte("replaced")}}, Sync: true})
	s, err := e.Segments().Open(storage.LogID{Shard: 1, Log: 5})
	ok(t, err)
	for i := range int64(5) {
		ok(t, s.Append(storagetest.Batch(10*i, 10, 1_700_000_000_000+i, 1200)))
	}
	ok(t, s.Sync())
	ok(t, s.Append(storagetest.Batch(60, 1, 1_700_000_000_009, 10)))
	ok(t, s.Sync())
	ok(t, s.Close())
	ok(t, e.Checkpoints().Save(1, storage.CheckpointMeta{Index: 20, Term: 1, Members: storage.Members{Voters: []uint64{1}}}, true,
		func(yield func([]byte, []byte) bool) { _ = yield([]byte("key"), []byte("value")) }))
}

func goldenOptions(fsys vfs.FS) Options {
	opt := on(fsys)
	opt.WALFileMin, opt.WALFileMax, opt.SegmentBytes = 8<<10, 32<<10, 4<<10 // nothing is made ahead
	return opt
}

// Directories that format 1 wrote are read for ever, and written the same.
func TestGolden(t *testing.T) {
	if *update {
		ok(t, os.RemoveAll(golden))
		opt := goldenOptions(vfs.OS{})
		opt.Checkpoints = func(path string) (CheckpointStore, error) { return meta.Open(path) }
		e, err := Open(golden, opt)
		ok(t, err)
		script(t, e)
		ok(t, e.Close())
		ok(t, os.Remove(filepath.Join(golden, lockName)))
	}
	disk := vfs.NewMem()
	e := opened(t, goldenOptions(disk))
	script(t, e)
	ok(t, e.Close())
	compared := 0
	err := filepath.WalkDir(golden, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == checkpointFile {
			return err
		}
		want, err := os.ReadFile(path)
		ok(t, err)
		rel, err := filepath.Rel(golden, path)
		ok(t, err)
		got, err := vfs.ReadFile(disk, filepath.Join("/data", rel), 1<<24)
		ok(t, err)
		if string(got) != string(want) {
			t.Errorf("%s is written otherwise now", rel)
		}
		compared++
		return nil
	})
	if err != nil || compared < 6 {
		t.Errorf("compared %d files: %v", compared, err)
	}

	for _, from := range []string{golden, goldenFirst} {
		readGolden(t, from)
	}
}

func readGolden(t *testing.T, from string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	ok(t, os.CopyFS(dir, os.DirFS(from)))
	opt := goldenOptions(vfs.OS{})
	opt.Checkpoints = func(path string) (CheckpointStore, error) { return meta.Open(path) }
	e, err := Open(dir, opt)
	ok(t, err)
	if got := last(t, e, 1); got != 24 {
		t.Errorf("shard 1 ends at %d", got)
	}
	loaded, err := e.Log().Load(7)
	ok(t, err)
	hard, entries := loaded.Hard, loaded.Entries
	if hard != (storage.HardState{Term: 3, Vote: 2, Commit: 1}) || len(entries) != 2 || string(entries[1].Data) != "replaced" {
		t.Errorf("shard 7: %+v, %v", hard, entries)
	}
	s, err := e.Segments().Open(storage.LogID{Shard: 1, Log: 5})
	ok(t, err)
	if s.Start() != 0 || s.End() != 61 {
		t.Errorf("segment holds [%d,%d)", s.Start(), s.End())
	}
	for i := range int64(5) {
		b, err := s.Read(10*i+3, 1)
		if want := storagetest.Batch(10*i, 10, 1_700_000_000_000+i, 1200); err != nil || string(b) != string(want) {
			t.Errorf("batch %d: %d bytes, %v", i, len(b), err)
		}
	}
	about, all, err := e.Checkpoints().Load(1)
	ok(t, err)
	for k, v := range all {
		if string(k) != "key" || string(v) != "value" {
			t.Errorf("checkpoint holds %q: %q", k, v)
		}
	}
	if about.Index != 20 || !slices.Equal(about.Members.Voters, []uint64{1}) {
		t.Errorf("checkpoint %+v", about)
	}
	ok(t, e.Close())
}
