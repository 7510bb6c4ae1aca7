package filelog

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/vfs"
)

// Who opens a directory is told whether the one before closed it, and if not, whether the
// machine has run on since.
func TestLastEnd(t *testing.T) {
	disk := vfs.NewMem()
	expect := func(what string, want storage.LastEnd) *Engine {
		t.Helper()
		e := opened(t, on(disk))
		if got := e.LastEnd(); got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
		return e
	}
	ok(t, expect("a new directory", storage.Orderly).Close())
	e := expect("one that was closed, and never written", storage.Orderly)
	put(t, e, 1, 1, 100, true)
	ok(t, e.Close())
	e = expect("one that was closed", storage.Orderly)
	put(t, e, 1, 2, 100, true)
	live := disk
	disk = live.CrashClone(1)
	ok(t, expect("after a crash", storage.Crashed).Close())
	ok(t, expect("one that was closed after a crash", storage.Orderly).Close())
	disk = live
	ok(t, e.Close())
	ok(t, expect("closed by who was open all the while", storage.Orderly).Close())
}

func TestLastEndOnThisMachine(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	e, err := Open(dir, on(vfs.OS{}))
	ok(t, err)
	put(t, e, 1, 1, 100, true)
	// What a killed process leaves is what is there while it runs.
	left := filepath.Join(t.TempDir(), "left")
	ok(t, os.CopyFS(left, os.DirFS(dir)))
	ok(t, e.Close())
	lock, err := os.ReadFile(filepath.Join(left, lockName))
	ok(t, err)
	want := storage.Crashed // where the system does not tell one run of the machine from another
	if vfs.SameBoot(lock) {
		want = storage.Killed
	}
	for range 2 { // the second time, the first open has not closed either
		e, err = Open(left, on(vfs.OS{}))
		ok(t, err)
		if got := e.LastEnd(); got != want {
			t.Errorf("after a kill: %d, want %d", got, want)
		}
		again := filepath.Join(t.TempDir(), "again")
		ok(t, os.CopyFS(again, os.DirFS(left)))
		ok(t, e.Close())
		left = again
	}
	ok(t, os.WriteFile(filepath.Join(left, lockName), []byte("17\nanother run of the machine\n"), 0o600))
	e, err = Open(left, on(vfs.OS{}))
	ok(t, err)
	if got := e.LastEnd(); got != storage.Crashed {
		t.Errorf("after the machine was started again: %d", got)
	}
	ok(t, e.Close())
}
