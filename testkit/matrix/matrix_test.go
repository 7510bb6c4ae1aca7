package matrix

import (
	"flag"
	"strings"
	"syscall"
	"testing"

	"github.com/robustmq/rmq/broker/vfs"
)

// all tries every point: go test -v ./testkit/matrix -all. Without it a few hundred are
// tried, others with each -from.
var (
	all  = flag.Bool("all", false, "stop at every operation")
	from = flag.Int("from", 1, "the first operation to stop at")
)

func stride(n int) int {
	if *all {
		return 1
	}
	return n
}

func TestCrash(t *testing.T) {
	r, err := Crash(Options{Stride: stride(40), From: *from, Log: t.Logf})
	if err != nil {
		t.Error(err)
	}
	t.Log(r.String())
	if r.Broken() {
		t.Errorf("acknowledged things do not outlast a crash:\n%s", strings.Join(r.Breaches, "\n"))
	}
	for _, k := range []vfs.Kind{vfs.OpCreate, vfs.OpRename, vfs.OpRemove, vfs.OpSyncDir, vfs.OpWrite, vfs.OpSync, vfs.OpReserve} {
		if r.Operations[k] == 0 {
			t.Errorf("the script has %d operations of kind %v: it is too short", r.Operations[k], k)
		}
	}
	if r.Rewritten == 0 {
		t.Error("the script compacts nothing")
	}
}

// The matrix sees what it is for: each deliberate bug loses something that was acknowledged, or
// leaves a disk that does not open.
func TestBugs(t *testing.T) {
	for _, b := range Bugs() {
		t.Run(b.Name, func(t *testing.T) {
			b.Bug, b.Stride, b.From, b.Rounds = true, stride(25), *from, 25
			r, err := Crash(b.Options)
			if err != nil {
				t.Logf("the script itself: %v", err)
			}
			t.Log(r.String())
			for _, b := range r.Breaches[:min(3, len(r.Breaches))] {
				t.Log(b)
			}
			if r.Lost+r.Refused == 0 {
				t.Error("nothing is lost, or the matrix does not see it")
			}
		})
	}
}

// A disk that fails, or is full for a while: the log stops and says so, or goes on; nothing
// acknowledged is lost.
func TestFail(t *testing.T) {
	for _, fault := range []syscall.Errno{syscall.EIO, syscall.ENOSPC} {
		t.Run(fault.Error(), func(t *testing.T) {
			every := stride(40)
			if fault == syscall.ENOSPC { // the log tries a full device once a second
				every = stride(150)
			}
			r, err := Fail(Options{Stride: every, From: *from, Rounds: 20}, fault)
			if err != nil {
				t.Error(err)
			}
			t.Logf("%v; the log stopped %d times", r.String(), r.Stopped)
			if r.Broken() {
				t.Errorf("a failing disk loses what was acknowledged:\n%s", strings.Join(r.Breaches, "\n"))
			}
			if fault == syscall.EIO && r.Stopped == 0 {
				t.Error("no failure has reached the log")
			}
		})
	}
}

// No damage to a file loses anything in silence.
func TestRot(t *testing.T) {
	positions := 2
	if *all {
		positions = 72
	}
	for end, killed := range map[string]bool{"closed": false, "killed": true} {
		t.Run(end, func(t *testing.T) {
			r, err := Rot(RotOptions{Dir: t.TempDir(), Positions: positions, Killed: killed})
			if err != nil {
				t.Fatal(err)
			}
			t.Log(r.String())
			for _, s := range r.Silent[:min(breachesMax, len(r.Silent))] {
				t.Errorf("silent: %s", s)
			}
			for _, s := range r.Unnamed[:min(breachesMax, len(r.Unnamed))] {
				t.Errorf("not told as it should be: %s", s)
			}
		})
	}
}

// The corruption matrix sees what it is for: a reader that takes a record with a bad checksum
// gives out what nobody sent, and nobody is told.
func TestRotBugs(t *testing.T) {
	for file, positions := range map[string]int{"seg": 3, "wal": 48} {
		t.Run(file, func(t *testing.T) {
			r, err := Rot(RotOptions{
				Dir: t.TempDir(), Positions: positions, Lenient: Lenient,
				Only: func(kind, what string) bool { return kind == file && what == "flip" },
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Log(r.String())
			if len(r.Silent)+len(r.Unnamed) == 0 { // TestRot wants none of either
				t.Error("nothing wrong is read, or the matrix does not see it")
			}
		})
	}
}
