package vfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"github.com/robustmq/rmq/broker/vfs"
)

// Every file system behaves alike while nothing fails.
func TestConform(t *testing.T) {
	for name, fsys := range map[string]vfs.FS{
		"os": vfs.OS{}, "mem": vfs.NewMem(), "faulty": vfs.NewFaulty(vfs.NewMem(), nil),
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "a", "b")
			conform(t, fsys, dir)
		})
	}
}

func conform(t *testing.T, fsys vfs.FS, dir string) {
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	is := func(err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	_, err := fsys.ReadDir(dir)
	is(err, fs.ErrNotExist)
	ok(fsys.MkdirAll(dir))
	ok(fsys.MkdirAll(dir))
	name := filepath.Join(dir, "file")
	_, err = fsys.Open(name)
	is(err, fs.ErrNotExist)
	f, err := fsys.Create(name)
	ok(err)
	_, err = fsys.Create(name)
	is(err, fs.ErrExist)

	var bufs [][]byte
	var want []byte
	for i := range 2500 { // more than one system call takes
		bufs = append(bufs, fmt.Appendf(nil, "%d,", i))
		want = append(want, bufs[i]...)
	}
	n, err := f.WritevAt(bufs, 3)
	ok(err)
	if n != int64(len(want)) {
		t.Errorf("wrote %d bytes of %d", n, len(want))
	}
	n, err = f.WritevAt(nil, 0)
	if n != 0 || err != nil {
		t.Errorf("writing nothing: %d, %v", n, err)
	}
	got := make([]byte, len(want)+3)
	_, err = f.ReadAt(got, 0)
	ok(err)
	if !bytes.Equal(got, append([]byte{0, 0, 0}, want...)) {
		t.Error("read other bytes than were written")
	}
	read, err := f.ReadAt(make([]byte, 10), int64(len(got))-4)
	if read != 4 || err != io.EOF {
		t.Errorf("read over the end: %d, %v", read, err)
	}
	ok(f.Truncate(5))
	ok(f.Reserve(3)) // never shrinks
	ok(f.Reserve(9))
	size, err := f.Size()
	ok(err)
	got = got[:9]
	_, err = f.ReadAt(got, 0)
	ok(err)
	if size != 9 || string(got) != "\x00\x00\x000,\x00\x00\x00\x00" {
		t.Errorf("after truncate and reserve: %q, size %d", got, size)
	}
	ok(f.SyncData())
	ok(f.Sync())
	ok(f.Close())
	ok(fsys.SyncDir(dir))

	ok(fsys.MkdirAll(filepath.Join(dir, "sub")))
	ok(vfs.WriteFile(fsys, filepath.Join(dir, "other"), []byte("x")))
	ok(fsys.Rename(filepath.Join(dir, "other"), name))
	entries, err := fsys.ReadDir(dir)
	ok(err)
	if !slices.Equal(entries, []vfs.Entry{{Name: "file", Size: 1}, {Name: "sub", Dir: true}}) {
		t.Errorf("directory: %v", entries)
	}
	b, err := vfs.ReadFile(fsys, name, 1)
	if err != nil || string(b) != "x" {
		t.Errorf("after rename: %q, %v", b, err)
	}
	if _, err := vfs.ReadFile(fsys, name, 0); err == nil {
		t.Error("ReadFile read more than its limit")
	}
	// A file left by a crash is no obstacle.
	ok(vfs.WriteFile(fsys, name+".tmp", []byte("left")))
	ok(vfs.WriteFile(fsys, name, []byte("new")))
	is(fsys.Rename(filepath.Join(dir, "none"), name), fs.ErrNotExist)
	is(fsys.Remove(filepath.Join(dir, "none")), fs.ErrNotExist)
	if err := fsys.Remove(dir); err == nil {
		t.Error("removed a directory with files")
	}
	ok(fsys.Remove(filepath.Join(dir, "sub")))
	ok(fsys.Remove(name))

	lock := filepath.Join(dir, "LOCK")
	l, err := fsys.Lock(lock)
	ok(err)
	_, err = fsys.Lock(lock)
	held, isHeld := errors.AsType[*vfs.HeldError](err)
	if !isHeld || held.Path != lock || (held.PID != 0 && held.PID != os.Getpid()) {
		t.Errorf("second lock: %v", err)
	}
	ok(l.Close())
	l, err = fsys.Lock(lock)
	ok(err)
	ok(l.Close())
}

// A clone is as its original, unsynced changes included, and goes its own way.
func TestClone(t *testing.T) {
	m := vfs.NewMem()
	must(0, m.MkdirAll("/d"))
	must(0, m.SyncDir("/"))
	f := must(m.Create("/d/f"))
	must(f.WriteAt([]byte("synced"), 0))
	must(0, f.Sync())
	must(0, m.SyncDir("/d"))
	must(f.WriteAt([]byte("SY"), 0))
	must(0, m.Rename("/d/f", "/d/g"))
	c := m.Clone()
	must(f.WriteAt([]byte("later"), 0))
	must(0, m.Remove("/d/g"))
	if got := dump(t, c); len(got) != 1 || got["g"] != "SYnced" || c.Used() != 6 {
		t.Errorf("the clone has %v, and uses %d bytes", got, c.Used())
	}
	if got := dump(t, c.CrashKeep(1, 0)); len(got) != 1 || got["f"] != "synced" {
		t.Errorf("of what was not synced nothing remains but %v", got)
	}
	if got := dump(t, c.CrashKeep(1, 1)); len(got) != 1 || got["g"] != "SYnced" {
		t.Errorf("all remains, and is %v", got)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func content(t *testing.T, fsys vfs.FS, name string) (string, bool) {
	t.Helper()
	b, err := vfs.ReadFile(fsys, name, 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(b), true
}

// What was synced is there after every crash; what was not is there after some, and
// missing after others.
func TestCrash(t *testing.T) {
	m := vfs.NewMem()
	if err := m.MkdirAll("/d"); err != nil {
		t.Fatal(err)
	}
	if err := m.SyncDir("/"); err != nil {
		t.Fatal(err)
	}
	f := must(m.Create("/d/f"))
	old := bytes.Repeat([]byte{'a'}, 2000)
	_, _ = f.WriteAt(old, 0)
	_ = f.Sync()
	seen := map[string]bool{}
	for seed := range uint64(200) {
		_, there := content(t, m.CrashClone(seed), "/d/f")
		seen[fmt.Sprint("entry ", there)] = true
	}
	_ = m.SyncDir("/d")
	_, _ = f.WriteAt(bytes.Repeat([]byte{'b'}, 1000), 1500)
	_ = m.Rename("/d/f", "/d/g")
	for seed := range uint64(200) {
		c := m.CrashClone(seed)
		a, atF := content(t, c, "/d/f")
		b, atG := content(t, c, "/d/g")
		if atF == atG {
			t.Fatalf("seed %d: a rename is not one step: at both names or none", seed)
		}
		seen[fmt.Sprint("renamed ", atG)] = true
		got := a + b
		if len(got) < 2000 || got[:1500] != string(old[:1500]) {
			t.Fatalf("seed %d: synced bytes are gone", seed)
		}
		for at := 1536; at+512 <= len(got); at += 512 { // sectors are whole
			if s := got[at : at+512]; s[0] != s[511] && at+512 <= 2000 {
				t.Fatalf("seed %d: a sector is torn: %q", seed, s)
			}
		}
		seen[fmt.Sprint("size ", len(got))] = true
		seen["byte "+got[1500:1501]] = true
	}
	for _, want := range []string{
		"entry true", "entry false", "renamed true", "renamed false", "size 2000", "size 2500", "byte a", "byte b",
	} {
		if !seen[want] {
			t.Errorf("no seed gave %q; got %v", want, seen)
		}
	}
	if x, y := m.CrashClone(7), m.CrashClone(7); fmt.Sprint(dump(t, x)) != fmt.Sprint(dump(t, y)) {
		t.Error("one seed gave two disks")
	}
	if got, _ := content(t, m, "/d/g"); len(got) != 2500 {
		t.Error("the crash disturbed its original")
	}
}

func dump(t *testing.T, fsys vfs.FS) map[string]string {
	all := map[string]string{}
	for _, e := range must(fsys.ReadDir("/d")) {
		all[e.Name], _ = content(t, fsys, "/d/"+e.Name)
	}
	return all
}

// A crash keeps synced contents whatever came before: compared with a model that only
// remembers them.
func TestCrashModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := vfs.NewMem()
		f := must(m.Create("/f"))
		if err := m.SyncDir("/"); err != nil {
			t.Fatal(err)
		}
		var live, synced []byte
		untouched, dirty := 0, false // bytes of synced not touched since; whether any were
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				off := rapid.IntRange(0, 3000).Draw(t, "off")
				p := rapid.SliceOfN(rapid.Byte(), 1, 1500).Draw(t, "bytes")
				must(f.WriteAt(p, int64(off)))
				if grow := off + len(p) - len(live); grow > 0 {
					live = append(live, make([]byte, grow)...)
				}
				copy(live[off:], p)
				untouched, dirty = min(untouched, off), true
			},
			"truncate": func(t *rapid.T) {
				size := rapid.IntRange(0, 4000).Draw(t, "size")
				if err := f.Truncate(int64(size)); err != nil {
					t.Fatal(err)
				}
				untouched, dirty = min(untouched, size), true
				if size <= len(live) {
					live = live[:size:size]
				} else {
					live = append(live, make([]byte, size-len(live))...)
				}
			},
			"sync": func(t *rapid.T) {
				if err := f.Sync(); err != nil {
					t.Fatal(err)
				}
				synced = bytes.Clone(live)
				untouched, dirty = len(synced), false
			},
			"": func(t *rapid.T) {
				if got := must(vfs.ReadFile(m, "/f", 1<<20)); !bytes.Equal(got, live) {
					t.Fatal("live content differs")
				}
				c := m.CrashClone(rapid.Uint64().Draw(t, "seed"))
				got := must(vfs.ReadFile(c, "/f", 1<<20))
				if len(got) < untouched || !bytes.Equal(got[:untouched], synced[:untouched]) {
					t.Fatalf("of %d synced bytes not touched since, the crash kept others", untouched)
				}
				if !dirty && len(got) != len(synced) {
					t.Fatal("nothing was written since the sync, and the size changed")
				}
			},
		})
	})
}

func TestLimit(t *testing.T) {
	m := vfs.NewMem()
	m.Limit(100)
	f := must(m.Create("/f"))
	if n, err := f.WriteAt(make([]byte, 80), 0); n != 80 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := f.WriteAt(make([]byte, 80), 50); n != 50 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("write over the limit: %d, %v", n, err)
	}
	if n, err := f.WriteAt(make([]byte, 1), 500); n != 0 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("write behind the limit: %d, %v", n, err)
	}
	if n, err := f.WriteAt(make([]byte, 100), 0); n != 100 || err != nil {
		t.Errorf("overwrite on a full disk: %d, %v", n, err)
	}
	if err := f.Reserve(101); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("reserve: %v", err)
	}
	if m.Used() != 100 {
		t.Errorf("used %d", m.Used())
	}
	if err := m.Remove("/f"); err != nil || m.Used() != 0 {
		t.Errorf("remove: %v, used %d", err, m.Used())
	}
}

func TestFaulty(t *testing.T) {
	var trace []string
	f := vfs.NewFaulty(vfs.NewMem(), func(op vfs.Op) error {
		trace = append(trace, op.String())
		return nil
	})
	file := must(f.Create("/f"))
	must(file.WriteAt([]byte("0123456789"), 0))
	_ = file.Sync()
	_, _ = file.ReadAt(make([]byte, 4), 0)
	want := []string{"1 create /f 0", "2 write /f 10", "3 sync /f 0", "3 read /f 4"}
	if !slices.Equal(trace, want) {
		t.Errorf("trace %q, want %q", trace, want)
	}

	f.SetHook(vfs.FailNth(vfs.OpWrite, 2, &vfs.Short{Bytes: 3, Err: syscall.EIO}))
	must(file.WriteAt([]byte("ab"), 0))
	n, err := file.WritevAt([][]byte{[]byte("AB"), []byte("CD")}, 0)
	if n != 3 || !errors.Is(err, syscall.EIO) {
		t.Errorf("short write: %d, %v", n, err)
	}
	must(file.WriteAt([]byte("9"), 9))
	if got, _ := content(t, f, "/f"); got != "ABC3456789" {
		t.Errorf("after a short write: %q", got)
	}

	f.SetHook(func(op vfs.Op) error {
		if op.Kind == vfs.OpWrite && (op.Off != 2 || string(op.Data[0]) != "skip") {
			t.Errorf("a write at %d of %q", op.Off, op.Data)
		}
		if op.Kind == vfs.OpSync || op.Kind == vfs.OpRename {
			return vfs.ErrSkip
		}
		return nil
	})
	if err := errors.Join(file.Sync(), f.Rename("/f", "/g")); err != nil {
		t.Errorf("what is skipped does not look done: %v", err)
	}
	must(file.WriteAt([]byte("skip"), 2))
	if got, _ := content(t, f, "/f"); got != "ABskip6789" {
		t.Errorf("after a rename that was skipped: %q", got)
	}
	f.SetHook(vfs.StopAt(f.Ops() + 2))
	if err := file.Truncate(9); err != nil {
		t.Errorf("stopped too early: %v", err)
	}
	_, _ = file.ReadAt(make([]byte, 1), 0)
	for _, err := range []error{file.Sync(), f.Rename("/f", "/g"), f.Remove("/f"), file.Truncate(1), f.SyncDir("/")} {
		if !errors.Is(err, vfs.ErrStopped) {
			t.Errorf("after the stop: %v", err)
		}
	}
	if _, err := file.ReadAt(make([]byte, 1), 0); !errors.Is(err, vfs.ErrStopped) {
		t.Errorf("read after the stop: %v", err)
	}
}
