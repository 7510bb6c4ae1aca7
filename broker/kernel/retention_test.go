package kernel_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/record"
)

// What is kept is exact, to the batch and the record, whether it lies in memory, in
// segments or in both, and is so when the clock's advance returns.
func TestRetention(t *testing.T) {
	for _, checkpoint := range []int{1 << 30, 4 << 10, 1} {
		t.Run(fmt.Sprint("checkpoint every ", checkpoint), func(t *testing.T) {
			vc := clock.NewVirtual(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
			k, stop := kerneltest.Start(t, kerneltest.Options{Time: vc, CheckpointBytes: checkpoint, Engine: onDisk(t, t.TempDir())})
			defer stop()
			start := func(name string) int64 {
				st, _ := k.Stream("/", name)
				return st.Parts[0].Start
			}
			sizes := map[string][]int64{} // of the batches of a stream
			append1 := func(name string, records int, value string) {
				var recs []kept
				for range records {
					recs = append(recs, kept{key: "k", value: value})
				}
				st, _ := k.Stream("/", name)
				had := st.Parts[0].Bytes
				produce(t, k, name, record.None, vc.Now().UnixMilli(), recs...)
				st, _ = k.Stream("/", name)
				sizes[name] = append(sizes[name], st.Parts[0].Bytes-had)
			}
			for name, config := range map[string]map[string]string{
				"time":    {"retention.ms": "60000"},
				"size":    {"retention.bytes": "2000"},
				"records": {"retention.records": "7"},
				"compact": {"cleanup.policy": "compact", "retention.ms": "1", "retention.bytes": "1", "retention.records": "1"},
				"forever": {"retention.ms": "-1"},
			} {
				if _, err := k.CreateStream(context.Background(), kernel.StreamSpec{Namespace: "/", Address: name, Partitions: 1, Config: config}); err != nil {
					t.Fatal(err)
				}
			}

			for range 10 { // one batch of two records every 10 s
				for _, name := range []string{"time", "compact", "forever"} {
					append1(name, 2, "x")
				}
				vc.Advance(10 * time.Second)
			}
			// What came at 40 s is as old at 100 s as it may be.
			if got := start("time"); got != 8 {
				t.Errorf("after 100 s at 60 s of retention the stream begins at %d, want 8", got)
			}
			vc.Advance(time.Second)
			if got := start("time"); got != 10 {
				t.Errorf("a second later it begins at %d, want 10", got)
			}

			for i := range 40 {
				append1("size", 1+i%3, fmt.Sprint("value ", i*i*i))
				if i%8 != 7 {
					continue
				}
				vc.Advance(time.Second)
				held, first := int64(0), int64(0)
				offset := int64(0)
				for j := range sizes["size"] {
					offset += int64(1 + j%3)
				}
				for j := len(sizes["size"]) - 1; j >= 0 && held+sizes["size"][j] <= 2000; j-- {
					held += sizes["size"][j]
					offset -= int64(1 + j%3)
				}
				first = offset
				st, _ := k.Stream("/", "size")
				if st.Parts[0].Start != first || st.Parts[0].Bytes != held {
					t.Errorf("after batch %d: begins at %d with %d bytes, want %d with %d", i, st.Parts[0].Start, st.Parts[0].Bytes, first, held)
				}
			}
			append1("size", 1, fmt.Sprintf("%3000s", "large")) // the newest batch stays whatever it has
			vc.Advance(time.Second)
			st, _ := k.Stream("/", "size")
			if p := st.Parts[0]; p.End-p.Start != 1 || p.Bytes < 3000 {
				t.Errorf("of a batch beyond the bound %d records with %d bytes are left", p.End-p.Start, p.Bytes)
			}

			for range 5 {
				append1("records", 5, "x")
			}
			vc.Advance(time.Second)
			if got := start("records"); got != 25-7 {
				t.Errorf("the stream of 7 records begins at %d, want %d", got, 25-7)
			}

			vc.Advance(30 * 24 * time.Hour)
			for name, want := range map[string]int64{"time": 20, "compact": 0, "forever": 0, "size": st.Parts[0].End, "records": 25} {
				if got := start(name); got != want {
					t.Errorf("a month later %s begins at %d, want %d", name, got, want)
				}
			}
		})
	}
}
