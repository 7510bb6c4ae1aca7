package kernel_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/vfs"
)

// One stream's segment cannot be written. Its records are acknowledged all the same, for the
// log has them, until it holds back as much as it may; an alarm names it. Its neighbour
// notices nothing, and the log lets go of its files. A write is tried again; a sync that has
// failed is not, before the next start. Nothing acknowledged is lost.
func TestIllSegment(t *testing.T) {
	for _, tt := range []struct {
		fails vfs.Kind
		with  syscall.Errno
		heals bool
	}{
		{vfs.OpWrite, syscall.EIO, true},
		{vfs.OpSync, syscall.EIO, false},
		{vfs.OpSync, syscall.ENOSPC, false}, // a device that finds out late that it is full
	} {
		t.Run(fmt.Sprint(tt.fails, " ", tt.with), func(t *testing.T) { illSegment(t, tt.fails, tt.with, tt.heals) })
	}
}

func illSegment(t *testing.T, fails vfs.Kind, with error, heals bool) {
	mem, store := vfs.NewMem(), newCheckpoints(t)
	var segment string
	var bad atomic.Bool
	faulty := vfs.NewFaulty(mem, func(op vfs.Op) error {
		if bad.Load() && op.Kind == fails && strings.Contains(op.Path, segment) {
			return with
		}
		return nil
	})
	open := func(fsys vfs.FS) (*kernel.Kernel, func()) {
		return kerneltest.Start(t, kerneltest.Options{Engine: small(t, fsys, store), NoCapture: true, DataShards: 1, CheckpointBytes: 128 << 10})
	}
	k, stop := open(faulty)
	k.SetCarryMax(1 << 20)
	w := newPublished()
	value := bytes.Repeat([]byte("x"), 16<<10)
	acked := map[string]int{}
	parts := map[string]*kernel.Partition{}
	for _, name := range []string{"ill", "well"} {
		info, err := k.CreateStream(t.Context(), kernel.StreamSpec{Namespace: "/", Address: name, Partitions: 1})
		if err != nil {
			t.Fatal(err)
		}
		if parts[name], err = k.Partition(info.ID, 0); err != nil {
			t.Fatal(err)
		}
		if name == "ill" {
			segment = fmt.Sprintf("/%08x/%016x/", info.Logs[0].Shard, info.Logs[0].Log)
		}
	}
	add := func(name string) error {
		parts[name].Append(batchOf(value), 1, w, 0)
		err := recv(t, w.app).Err
		if err == nil {
			acked[name]++
		}
		return err
	}
	// adds goes on until so is, which some checkpoint brings about.
	adds := func(what string, so func() bool, names ...string) {
		t.Helper()
		for range 2000 {
			if so() {
				return
			}
			for _, name := range names {
				if err := add(name); err != nil && !so() { // it may have come about meanwhile
					t.Fatalf("%s: %s takes nothing: %v", what, name, err)
				}
			}
		}
		t.Fatalf("never %s; alarms: %q, %d log files", what, k.Alarms(), k.LogFiles())
	}
	alarmed := func() bool { return strings.Contains(strings.Join(k.Alarms(), "\n"), "stream ill ") }

	adds("written", func() bool { return acked["ill"] == 20 }, "ill", "well")
	bad.Store(true)
	adds("ill", alarmed, "ill", "well")
	var refusal error
	for refusal == nil && acked["ill"] < 1000 {
		refusal = add("ill")
	}
	if !fault.Is(refusal, fault.Full) {
		t.Fatalf("what holds back more than it may was refused with %v", refusal)
	}
	before := acked["well"]
	adds("let go of", func() bool { return acked["well"] > before+300 && k.LogFiles() <= 6 }, "well")

	bad.Store(false)
	if heals {
		adds("well again", func() bool { return !alarmed() }, "well")
		if err := add("ill"); err != nil {
			t.Errorf("when it is well again: %v", err)
		}
	}
	for _, life := range []string{"a power failure", "another one"} {
		after, left := powerFails(t, mem, store)
		stop()
		mem, store = after, left
		k, stop = open(mem)
		for name, n := range acked {
			if got := len(records(t, k, name, "")); got != n {
				t.Errorf("after %s %s has %d records, %d were acknowledged", life, name, got, n)
			}
		}
		info, _ := k.Stream("/", "ill")
		part, err := k.Partition(info.ID, 0)
		if err != nil {
			t.Fatal(err)
		}
		parts["ill"] = part
		adds("written after "+life, func() bool { return !alarmed() }, "ill")
	}
	stop()
}
