package kernel_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
)

func TestRetentionByTimeAndBySize(t *testing.T) {
	vc := clock.NewVirtual(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	for _, checkpoint := range []int{1 << 30, 1} { // in memory, and in segments
		k, stop := kerneltest.Start(t, kerneltest.Options{Time: vc, CheckpointBytes: checkpoint})
		for name, config := range map[string]map[string]string{"time": {"retention.ms": "60000"}, "size": {"retention.bytes": "2000"}} {
			if _, err := k.CreateStream(context.Background(), kernel.StreamSpec{Namespace: "/", Address: name, Partitions: 1, Config: config}); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 10 {
			publish(t, k, mqtt("time", fmt.Sprint(i)))
			vc.Advance(10 * time.Second)
		}
		got := records(t, k, "time", "")
		if len(got) > 7 || len(got) < 5 {
			t.Errorf("after 100 s at 60 s of retention: %v", got)
		}
		for range 100 {
			publish(t, k, mqtt("size", "0123456789012345678901234567890123456789"))
		}
		vc.Advance(2 * time.Second)
		st, _ := k.Stream("/", "size")
		if n := len(records(t, k, "size", "")); n == 100 || n == 0 || st.Parts[0].Bytes > 3000 {
			t.Errorf("%d records, %d bytes kept of 2000", n, st.Parts[0].Bytes)
		}
		vc.Advance(time.Hour)
		if got := records(t, k, "time", ""); len(got) != 0 {
			t.Errorf("an hour later: %v", got)
		}
		stop()
	}
}
