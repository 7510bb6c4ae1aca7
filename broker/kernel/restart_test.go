package kernel_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/filelog"
	"github.com/robustmq/rmq/broker/storage/storagetest"
	"github.com/robustmq/rmq/broker/vfs"
)

// engineOn opens an engine on a disk.
func engineOn(t *testing.T, fsys vfs.FS) storage.Engine {
	t.Helper()
	e, err := filelog.Open("/data", filelog.Options{FS: fsys, Checkpoints: func(path string) (filelog.CheckpointStore, error) {
		return storagetest.OpenCheckpoints(fsys, path), nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// kernelOn opens a kernel on a disk.
func kernelOn(t *testing.T, fsys vfs.FS, o kerneltest.Options) (*kernel.Kernel, func()) {
	t.Helper()
	o.Engine = engineOn(t, fsys)
	return kerneltest.Start(t, o)
}

// copied is what is on a disk now, synced or not: what a killed process leaves.
func copied(t *testing.T, from *vfs.Mem) *vfs.Mem {
	t.Helper()
	to := vfs.NewMem()
	var walk func(dir string)
	walk = func(dir string) {
		if err := to.MkdirAll(dir); err != nil {
			t.Fatal(err)
		}
		entries, err := from.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			name := filepath.Join(dir, e.Name)
			if e.Dir {
				walk(name)
				continue
			}
			b, err := vfs.ReadFile(from, name, 1<<30)
			if err == nil {
				err = vfs.WriteFile(to, name, b)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	walk("/data")
	return to
}

// values are what a one-partition stream holds.
func values(t *testing.T, k *kernel.Kernel, stream string) (out []string) {
	t.Helper()
	for _, r := range records(t, k, stream, "") {
		_, v, _ := strings.Cut(r, "=")
		out = append(out, v)
	}
	return out
}

var durabilities = []kernel.Durability{kernel.Sync, kernel.Async, kernel.Memory}

// told lists what the kernel says about its last end, by durability.
func told(k *kernel.Kernel) map[kernel.Durability][]kernel.Restart {
	out := make(map[kernel.Durability][]kernel.Restart)
	for _, r := range k.Restarts() {
		out[r.Durability] = append(out[r.Durability], r)
	}
	return out
}

// After a power loss a synced stream has all that was acknowledged, an asynchronous one its
// beginning, and at least what had been acknowledged when something was synced; one in memory
// has nothing. Each says so, and no epoch is used twice.
func TestPowerLossTakesWhatDurabilityAllows(t *testing.T) {
	short := 0
	for seed := range uint64(10) {
		disk := vfs.NewMem()
		wall := clock.NewVirtual(time.Unix(1_700_000_000, 0))
		k, stop := kernelOn(t, disk, kerneltest.Options{Time: wall, NoCapture: true, DataShards: 1})
		for _, d := range durabilities {
			if _, err := k.CreateStream(t.Context(), kernel.StreamSpec{Namespace: "/", Address: string(d), Partitions: 1, Durability: d}); err != nil {
				t.Fatal(err)
			}
		}
		send := func(d kernel.Durability, n int) {
			for i := range n {
				publish(t, k, mqtt(string(d), fmt.Sprint(i)))
				wall.Advance(time.Millisecond)
			}
		}
		send(kernel.Async, 10)
		send(kernel.Memory, 10)
		send(kernel.Sync, 10)
		synced := wall.Now()
		for i := range 10 {
			publish(t, k, mqtt("async", fmt.Sprint(10+i)))
			wall.Advance(time.Millisecond)
		}
		ended := wall.Now()
		before, _ := k.Stream("/", "async")
		after := disk.CrashClone(seed)
		stop()

		k, stop = kernelOn(t, after, kerneltest.Options{NoCapture: true, DataShards: 1})
		if got := values(t, k, "sync"); len(got) != 10 {
			t.Errorf("seed %d: sync holds %v", seed, got)
		}
		got := values(t, k, "async")
		var want []string
		for i := range len(got) {
			want = append(want, fmt.Sprint(i))
		}
		if len(got) < 10 || !slices.Equal(got, want) {
			t.Errorf("seed %d: async holds %v", seed, got)
		}
		if len(got) < 20 {
			short++
		}
		if got := values(t, k, "memory"); len(got) != 0 {
			t.Errorf("seed %d: memory holds %v", seed, got)
		}
		said := told(k)
		if r := said[kernel.Async]; len(r) != 1 || r[0].Held || r[0].Until.Before(synced.Add(-time.Millisecond)) || r[0].Until.After(ended) ||
			!strings.HasPrefix(r[0].String(), "shard 1000 (async) restarted from what the disk held") {
			t.Errorf("seed %d: synced at %v, it is said of async: %+v", seed, synced, r)
		}
		if r := said[kernel.Memory]; len(r) != 1 || r[0].Streams != 1 || r[0].Queues != 0 {
			t.Errorf("seed %d: it is said of memory: %+v", seed, r)
		}
		if len(said[kernel.Sync]) != 0 {
			t.Errorf("seed %d: it is said of sync: %+v", seed, said)
		}
		if now, _ := k.Stream("/", "async"); now.Parts[0].LeaderEpoch <= before.Parts[0].LeaderEpoch {
			t.Errorf("seed %d: epoch %d follows %d", seed, now.Parts[0].LeaderEpoch, before.Parts[0].LeaderEpoch)
		}
		stop()

		k, stop = kernelOn(t, after, kerneltest.Options{NoCapture: true, DataShards: 1})
		if said := told(k); len(said[kernel.Async]) != 0 {
			t.Errorf("seed %d: after an orderly end it is said: %+v", seed, said)
		}
		stop()
	}
	if short == 0 {
		t.Error("no seed has lost anything: nothing was tried")
	}
}

// A process that is killed takes nothing along that was acknowledged, but what was in memory.
func TestKillTakesMemoryAlone(t *testing.T) {
	disk := vfs.NewMem()
	k, stop := kernelOn(t, disk, kerneltest.Options{NoCapture: true})
	for _, d := range durabilities {
		if _, err := k.CreateStream(t.Context(), kernel.StreamSpec{Namespace: "/", Address: string(d), Partitions: 1, Durability: d}); err != nil {
			t.Fatal(err)
		}
		for i := range 10 {
			publish(t, k, mqtt(string(d), fmt.Sprint(i)))
		}
	}
	left := copied(t, disk)
	stop()
	k, stop = kernelOn(t, left, kerneltest.Options{NoCapture: true})
	defer stop()
	for d, want := range map[kernel.Durability]int{kernel.Sync: 10, kernel.Async: 10, kernel.Memory: 0} {
		if got := values(t, k, string(d)); len(got) != want {
			t.Errorf("%s holds %v", d, got)
		}
	}
}

// What was acknowledged without a sync is synced before long, though nobody asks for it.
func TestAsyncIsSyncedSoon(t *testing.T) {
	disk := vfs.NewMem()
	synced := make(chan struct{}, 1<<10)
	fsys := vfs.NewFaulty(disk, func(op vfs.Op) error {
		if op.Kind == vfs.OpSync {
			select {
			case synced <- struct{}{}:
			default:
			}
		}
		return nil
	})
	link := clock.NewVirtual(time.Unix(1_700_000_000, 0))
	engine := engineOn(t, fsys)
	k, stop := kerneltest.Start(t, kerneltest.Options{Engine: engine, Link: link, NoCapture: true})
	if _, err := k.CreateStream(t.Context(), kernel.StreamSpec{Namespace: "/", Address: "s", Partitions: 1, Durability: kernel.Async}); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		publish(t, k, mqtt("s", fmt.Sprint(i)))
	}
	for len(synced) > 0 {
		<-synced
	}
	link.Advance(kernel.AsyncBehind)
	recv(t, synced)
	// That was told before the sync; a write of the same shard is done after it.
	done := make(chan error, 1)
	st, _ := k.Stream("/", "s")
	if err := engine.Log().Append(storage.Write{Shard: storage.ShardID(st.Parts[0].Shard), Done: func(err error) { done <- err }}); err != nil {
		t.Fatal(err)
	}
	if err := recv(t, done); err != nil {
		t.Fatal(err)
	}
	after := disk.CrashClone(1)
	stop()
	k, stop = kernelOn(t, after, kerneltest.Options{NoCapture: true})
	defer stop()
	if got := values(t, k, "s"); len(got) != 10 {
		t.Errorf("the stream holds %v", got)
	}
}

// When a power loss takes all that an asynchronous shard ever had, that is told too: what log 0
// names there is known to have been.
func TestPowerLossOfEverythingIsTold(t *testing.T) {
	disk := vfs.NewMem()
	wall := clock.NewVirtual(time.Unix(1_700_000_000, 0))
	k, stop := kernelOn(t, disk, kerneltest.Options{Time: wall, Link: wall, NoCapture: true, DataShards: 1})
	if _, err := k.CreateStream(t.Context(), kernel.StreamSpec{Namespace: "/", Address: "s", Partitions: 1, Durability: kernel.Async}); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		publish(t, k, mqtt("s", fmt.Sprint(i)))
	}
	after := disk.CrashKeep(1, 0)
	stop()
	k, stop = kernelOn(t, after, kerneltest.Options{NoCapture: true, DataShards: 1})
	defer stop()
	if got := values(t, k, "s"); len(got) != 0 {
		t.Fatalf("the disk has kept %v: nothing was tried", got)
	}
	if r := told(k)[kernel.Async]; len(r) != 1 || r[0].Held || !strings.Contains(r[0].String(), "which is nothing") {
		t.Errorf("ten acknowledged records are gone, and it is said: %+v", r)
	}
}
