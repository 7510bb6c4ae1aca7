package fusefs

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/robustmq/rmq/broker/vfs"
)

// What a program does to a mounted vfs.Mem reaches it: after a power failure there is what
// was synced, and of the rest what a disk may keep.
func TestPowerFailure(t *testing.T) {
	mem, dir := vfs.NewMem(), t.TempDir()
	m, err := Mount(dir, mem)
	if err != nil {
		t.Skipf("SKIPPED: no FUSE file system can be mounted: %v", err)
	}
	disk := vfs.OS{}
	at := func(name string) string { return filepath.Join(dir, name) }
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	write := func(name string, data []byte, sync func(vfs.File) error) {
		t.Helper()
		f, err := disk.Create(at(name))
		if err != nil {
			t.Error(err)
			return
		}
		ok(f.Reserve(1 << 20))
		_, err = f.WritevAt([][]byte{data[:1000], data[1000:]}, 4000)
		ok(err)
		ok(f.Truncate(4000 + int64(len(data))))
		if sync != nil {
			ok(sync(f))
		}
		ok(f.Close())
	}
	data := bytes.Repeat([]byte("0123456789"), 30_000) // more than one request
	ok(disk.MkdirAll(at("a/b")))
	write("a/b/tmp", data, vfs.File.SyncData)
	ok(disk.Rename(at("a/b/tmp"), at("a/b/synced")))
	ok(disk.SyncDir(at("a/b")))
	ok(disk.SyncDir(at("a")))
	ok(disk.SyncDir(dir))
	write("a/b/data", data, nil)
	ok(disk.SyncDir(at("a/b")))
	write("a/b/nameless", data, vfs.File.Sync)
	if _, err := disk.Create(at("a/b/data")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("created again: %v", err)
	}
	if err := os.Remove(at("a/b")); err == nil {
		t.Error("a directory was removed that is not empty")
	}
	entries, err := disk.ReadDir(at("a/b"))
	ok(err)
	if len(entries) != 3 || entries[2] != (vfs.Entry{Name: "synced", Size: 304_000}) {
		t.Errorf("the directory has %v", entries)
	}
	got, err := vfs.ReadFile(disk, at("a/b/synced"), 1<<20)
	ok(err)
	if !bytes.Equal(got[4000:], data) {
		t.Error("the file has something else than was written")
	}
	ok(m.Unmount())

	for seed := range uint64(20) {
		after := mem.CrashClone(seed)
		got, err := vfs.ReadFile(after, "/a/b/synced", 1<<20)
		ok(err)
		if !bytes.Equal(got[4000:], data) {
			t.Fatalf("seed %d: what was synced is gone", seed)
		}
		if got, err = vfs.ReadFile(after, "/a/b/data", 1<<20); err != nil || seed == 15 && len(got) > 0 {
			t.Errorf("seed %d: the file whose name was synced has %d bytes: %v", seed, len(got), err)
		}
		if _, err := after.Open("/a/b/nameless"); seed == 15 && !errors.Is(err, fs.ErrNotExist) { // keeps nothing
			t.Errorf("a name outlived the power failure: %v", err)
		}
	}
}
