package sim

import (
	"context"
	"errors"
	"runtime/pprof"
	"strings"
	"testing"

	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/vfs"
)

// What a life does after its end reaches neither files nor checkpoints, and is seen.
func TestMountEnds(t *testing.T) {
	none := func(func(k, v []byte) bool) {}
	for what, late := range map[string]func(*mount, vfs.File) error{
		"write":      func(_ *mount, f vfs.File) error { _, err := f.WriteAt([]byte("late"), 0); return err },
		"read":       func(_ *mount, f vfs.File) error { _, err := f.ReadAt(make([]byte, 1), 0); return err },
		"checkpoint": func(m *mount, _ vfs.File) error { return m.Save(1, storage.CheckpointMeta{Index: 9}, true, none) },
	} {
		t.Run(what, func(t *testing.T) {
			d := newDisk()
			m := d.mountUntil(0, 0)
			f, err := m.fs.Create("/f")
			if err != nil {
				t.Fatal(err)
			}
			m.cut()
			if err := late(m, f); !errors.Is(err, vfs.ErrStopped) || d.overlap() != nil {
				t.Errorf("without power: %v, %v", err, d.overlap())
			}
			m.end(killed, 1)
			if err := late(m, f); !errors.Is(err, vfs.ErrStopped) {
				t.Errorf("after the end: %v", err)
			}
			if d.overlap() == nil {
				t.Error("nobody has seen it")
			}
			b, err := vfs.ReadFile(d.mem, "/f", 100)
			if at, _, lerr := d.mountUntil(0, 0).Load(1); at.Index != 0 || len(b) != 0 || errors.Join(err, lerr) != nil {
				t.Errorf("the next life finds %q and a checkpoint at %d: %v, %v", b, at.Index, err, lerr)
			}
		})
	}
}

// A goroutine that outlives its life is seen, whoever started it.
func TestLeftOver(t *testing.T) {
	release, ended := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	pprof.Do(ctx, pprof.Labels(lifeLabel, "here"), func(context.Context) {
		go func() {
			go func() { defer close(ended); <-release }()
		}()
	})
	cancel() // it does not wait
	if left := leftOver(ctx, "here"); !strings.Contains(left, "TestLeftOver") {
		t.Errorf("left over: %q", left)
	}
	if left := leftOver(ctx, "elsewhere"); left != "" {
		t.Errorf("of another life: %q", left)
	}
	close(release)
	<-ended
	if left := leftOver(t.Context(), "here"); left != "" {
		t.Errorf("it has ended: %q", left)
	}
}
