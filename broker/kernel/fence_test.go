package kernel_test

import (
	"bytes"
	"testing"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/vfs"
)

// The last batch of a segment that a killed process left has got a higher offset, which no checksum
// covers. It is not cut off as one that the log has again: the partition is fenced, and the file stays.
func TestTheLastBatchIsInTheWrongPlace(t *testing.T) {
	disk := vfs.NewMem()
	engine := engineOn(t, disk)
	k, stop := kerneltest.Start(t, kerneltest.Options{Engine: keep{engine}, NoCapture: true, DataShards: 1, CheckpointBytes: 1})
	if _, err := k.CreateStream(t.Context(), kernel.StreamSpec{Namespace: "/", Address: "s", Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	const path, header, baseLen = "/data/segments/00000001/0000000000000001/00000000000000000000.seg", 64, 8
	batches := func() (whole []byte, offsets []int64, last int) { // of the segment; last: where the last one begins
		whole, err := vfs.ReadFile(disk, path, 1<<20)
		if err != nil {
			return nil, nil, 0
		}
		for rest := whole[header:]; len(rest) > 0; {
			b, next, err := record.Next(rest)
			if err != nil {
				break
			}
			offsets, last, rest = append(offsets, b.BaseOffset()), len(whole)-len(rest), next
		}
		return whole, offsets, last
	}
	for offsets := []int64(nil); len(offsets) < 3; _, offsets, _ = batches() {
		publish(t, k, mqtt("s", "x"))
	}
	stop() // and the checkpoint under way; the engine goes on, and so has written no index
	whole, offsets, last := batches()
	for at := range baseLen {
		after := copied(t, disk)
		flipped := bytes.Clone(whole)
		flipped[last+at] ^= 1
		if err := vfs.WriteFile(after, path, flipped); err != nil {
			t.Fatal(err)
		}
		k, stop := kernelOn(t, after, kerneltest.Options{NoCapture: true, DataShards: 1})
		if d := k.Damages(); len(d) != 1 || d[0].Address != "s" {
			t.Errorf("byte %d of the offset: damaged is %v", at, d)
		}
		st, _ := k.Stream("/", "s")
		p, err := k.Partition(st.ID, 0)
		if err != nil {
			t.Fatal(err)
		}
		if r, err := p.Read(offsets[len(offsets)-1], 1<<20, "", true); !fault.Is(err, fault.Damaged) {
			t.Errorf("byte %d of the offset: read: %d batches, %v", at, len(r.Batches), err)
		}
		stop()
		if b, err := vfs.ReadFile(after, path, 1<<20); err != nil || !bytes.Equal(b, flipped) {
			t.Errorf("byte %d of the offset: the file is another: %v", at, err)
		}
	}
	if err := engine.Close(); err != nil {
		t.Error(err)
	}
}
