package filelog

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/meta"
	"github.com/robustmq/rmq/broker/vfs"
)

// childDir names the directory that the child of TestKill writes to.
const childDir = "RMQ_FILELOG_KILL_DIR"

func killOptions() Options {
	opt := on(vfs.OS{})
	opt.Random = nil // another process must not draw the salts of the last one
	opt.Checkpoints = func(path string) (CheckpointStore, error) { return meta.Open(path) }
	return opt
}

// TestKill kills a process while it writes, again and again: everything that it was told
// is durable is there.
func TestKill(t *testing.T) {
	if dir := os.Getenv(childDir); dir != "" {
		child(t, dir)
		return
	}
	rounds := 8
	if testing.Short() || underRace {
		rounds = 2
	}
	dir := filepath.Join(t.TempDir(), "data")
	promised := uint64(0)
	for round := range rounds {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKill$")
		cmd.Env = append(os.Environ(), childDir+"="+dir)
		out, err := cmd.StdoutPipe()
		ok(t, err)
		ok(t, cmd.Start())
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ { // to the end: what was said before the kill counts
			if i, err := strconv.ParseUint(lines.Text(), 10, 64); err == nil {
				promised = i
			}
			if n == 40*(round+1) {
				ok(t, cmd.Process.Kill())
			}
		}
		_ = cmd.Wait() // killed

		e, err := Open(dir, killOptions())
		ok(t, err)
		about, _, err := e.Checkpoints().Load(1)
		ok(t, err)
		got := max(about.Index, last(t, e, 1))
		if got < promised || promised == 0 {
			t.Fatalf("round %d: the log ends at %d, and %d was promised", round, got, promised)
		}
		if about.Index+400 < promised {
			t.Errorf("round %d: the checkpoint is at %d, with %d promised", round, about.Index, promised)
		}
		ok(t, e.Close())
	}
}

// child writes, checkpoints and releases until it is killed, and says how far it is.
func child(t *testing.T, dir string) {
	e, err := Open(dir, killOptions())
	ok(t, err)
	about, _, err := e.Checkpoints().Load(1)
	ok(t, err)
	index := max(about.Index, last(t, e, 1))
	for {
		index++
		put(t, e, 1, index, 700, true)
		fmt.Fprintln(os.Stdout, index)
		if index%100 == 0 {
			ok(t, e.Checkpoints().Save(1, storage.CheckpointMeta{Index: index, Term: 1}, false,
				func(yield func([]byte, []byte) bool) { _ = yield([]byte("index"), fmt.Append(nil, index)) }))
			e.Log().Release(1, index)
		}
	}
}
