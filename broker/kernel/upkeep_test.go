package kernel_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/filelog"
	"github.com/robustmq/rmq/broker/storage/meta"
)

// onDisk opens the file engine on a directory, with small files.
func onDisk(t *testing.T, dir string) storage.Engine {
	t.Helper()
	e, err := filelog.Open(dir, filelog.Options{
		Checkpoints: func(path string) (filelog.CheckpointStore, error) { return meta.Open(path) }, SegmentBytes: 16 << 10,
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// kept is a record that a reader of a stream is given.
type kept struct {
	offset     int64
	key, value string
	null       bool
}

// readAll reads a partition from its start, and tells whether a reader gets to its end.
func readAll(t *testing.T, k *kernel.Kernel, address string) (out []kept) {
	t.Helper()
	st, ok := k.Stream("/", address)
	if !ok {
		t.Fatalf("no stream %q", address)
	}
	p, err := k.Partition(st.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	for off := p.Info().Start; off < p.Info().End; {
		r, err := p.Read(off, 8<<10, "", true)
		if err != nil {
			t.Fatal(err)
		}
		for _, raw := range r.Batches {
			for len(raw) > 0 {
				b, rest, err := record.Check(raw, len(raw))
				if err != nil {
					t.Fatal(err)
				}
				raw = rest
				_ = b.Each(func(r *record.Record) error {
					if r.Offset >= off {
						out = append(out, kept{r.Offset, string(r.Key), string(r.Value), r.Value == nil})
					}
					return nil
				})
			}
		}
		if r.Next <= off {
			t.Fatalf("a reader of %s stands still at offset %d of %d", address, off, p.Info().End)
		}
		off = r.Next
	}
	return out
}

func produce(t *testing.T, k *kernel.Kernel, address string, codec record.Codec, now int64, recs ...kept) (base int64) {
	t.Helper()
	st, _ := k.Stream("/", address)
	p, err := k.Partition(st.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	var b record.Builder
	b.Reset(nil, now)
	for _, r := range recs {
		value := []byte(r.value)
		if r.null {
			value = nil
		}
		b.Add(now, []byte(r.key), value)
	}
	batch := b.Finish()
	if codec != record.None {
		if batch, err = record.Recompress(nil, batch, codec); err != nil {
			t.Fatal(err)
		}
	}
	w := newPublished()
	p.Append(batch, -1, w, 0)
	r := recv(t, w.app)
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	return r.BaseOffset
}

// Over random histories of appends in every codec, deletions, waits and restarts, what a
// compacted stream holds is what its model says: the last record of each key, in its
// place; deletions while they have to be seen; and, once everything is at rest, nothing else.
func TestCompactionAgainstModel(t *testing.T) {
	const deleteRetention = 20_000
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			vc := clock.NewVirtual(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
			dir := t.TempDir()
			lag := []int64{0, 0, 4000}[rnd.IntN(3)]
			open := func() (*kernel.Kernel, func()) {
				return kerneltest.Start(t, kerneltest.Options{Engine: onDisk(t, dir), Time: vc, NoCapture: true, DataShards: 1})
			}
			k, stop := open()
			if _, err := k.CreateStream(context.Background(), kernel.StreamSpec{Namespace: "/", Address: "t", Partitions: 1, Config: map[string]string{
				"cleanup.policy": "compact", "segment.ms": "1000", "min.cleanable.dirty.ratio": "0.3",
				"delete.retention.ms": fmt.Sprint(deleteRetention), "min.compaction.lag.ms": fmt.Sprint(lag),
			}}); err != nil {
				t.Fatal(err)
			}
			var all []kept
			times := map[int64]time.Time{}
			check := func(rested bool) {
				t.Helper()
				last := map[string]kept{}
				for _, r := range all {
					last[r.key] = r
				}
				got := readAll(t, k, "t")
				at := map[int64]bool{}
				for i, r := range got {
					if r != all[r.offset] || i > 0 && got[i-1].offset >= r.offset {
						t.Fatalf("read %+v, written was %+v", r, all[r.offset])
					}
					at[r.offset] = true
					if rested && (last[r.key] != r || r.null) {
						t.Errorf("at rest there is %+v, and the last of its key is %+v", r, last[r.key])
					}
				}
				for _, r := range all {
					switch age := vc.Now().Sub(times[r.offset]).Milliseconds(); {
					case at[r.offset]:
					case last[r.key] == r && !r.null:
						t.Fatalf("the last value of %s, at %d, is gone", r.key, r.offset)
					case last[r.key] == r && age < deleteRetention:
						t.Fatalf("the deletion of %s, at %d, went after %d ms", r.key, r.offset, age)
					case age < lag:
						t.Fatalf("record %d went after %d ms", r.offset, age)
					}
				}
				st, _ := k.Stream("/", "t")
				p, err := k.Partition(st.ID, 0)
				if err != nil || p.Info().End != int64(len(all)) {
					t.Fatalf("the end is %d of %d, %v", p.Info().End, len(all), err)
				}
			}
			for range 120 {
				switch rnd.IntN(10) {
				case 0:
					vc.Advance(time.Duration(rnd.IntN(3000)) * time.Millisecond)
					check(false)
				case 1:
					if rnd.IntN(3) == 0 {
						stop()
						k, stop = open()
						check(false)
					}
				default:
					var recs []kept
					for range 1 + rnd.IntN(8) {
						key := fmt.Sprint("key", rnd.IntN(20))
						recs = append(recs, kept{key: key, value: strings.Repeat(key, 1+rnd.IntN(40)), null: rnd.IntN(5) == 0})
					}
					base := produce(t, k, "t", record.Codec(rnd.IntN(5)), vc.Now().UnixMilli(), recs...)
					for i, r := range recs {
						if r.offset = base + int64(i); r.null {
							r.value = ""
						}
						all = append(all, r)
						times[r.offset] = vc.Now()
					}
				}
			}
			vc.Advance(10 * time.Second)
			check(false)
			before := len(readAll(t, k, "t"))
			if live := map[string]bool{}; true {
				for _, r := range all {
					live[r.key] = true
				}
				if before > len(live) {
					t.Errorf("%d records of %d keys are left of %d", before, len(live), len(all))
				}
			}
			vc.Advance(2 * deleteRetention * time.Millisecond)
			check(true)
			stop()
			k, stop = open()
			check(true)
			stop()
		})
	}
}

// What a queue, a session or a retained message refers to stays while it does, whatever
// compaction makes of the records beside it, and is compacted later.
func TestCompactionLeavesWhatIsReferredTo(t *testing.T) {
	ctx := context.Background()
	vc := clock.NewVirtual(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	dir := t.TempDir()
	open := func() (*kernel.Kernel, func()) {
		return kerneltest.Start(t, kerneltest.Options{Engine: onDisk(t, dir), Time: vc, NoCapture: true, DataShards: 1})
	}
	k, stop := open()
	if _, err := k.CreateStream(ctx, kernel.StreamSpec{Namespace: "/", Address: "orders", Partitions: 1, Config: map[string]string{
		"cleanup.policy": "compact", "segment.ms": "1000", "min.cleanable.dirty.ratio": "0",
	}}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := k.DeclareQueue(ctx, queueSpec("orders")); err != nil {
		t.Fatal(err)
	}
	const n = 40
	for i := range n {
		publish(t, k, mqtt("orders", fmt.Sprint(i)))
	}
	vc.Advance(5 * time.Second)
	if got := readAll(t, k, "orders"); len(got) != n {
		t.Errorf("%d records while the queue refers to all %d", len(got), n)
	}
	stop()
	k, stop = open()
	vc.Advance(5 * time.Second)
	s := newSink()
	a, err := k.Attach(ctx, kernel.AttachSpec{Namespace: "/", Queue: "orders", Credit: n, Refill: true, Sink: s})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		g := s.next(t)
		if string(g.msg.Value) != fmt.Sprint(i) {
			t.Errorf("message %d is %q", i, g.msg.Value)
		}
		a.Settle(g.d.No, false, kernel.Accept)
	}
	publish(t, k, mqtt("orders", "last"))
	g := s.next(t)
	a.Settle(g.d.No, false, kernel.Accept)
	vc.Advance(10 * time.Second)
	publish(t, k, mqtt("orders", "newest")) // ends the second's file, and with it what was kept
	a.Settle(s.next(t).d.No, false, kernel.Accept)
	vc.Advance(10 * time.Second)
	if got := readAll(t, k, "orders"); len(got) != 1 || got[0].value != "newest" {
		t.Errorf("afterwards there is %v", got)
	}
	stop()
}

// Streams that the capture rule made are compacted by address.
func TestCapturedStreamIsCompactedByAddress(t *testing.T) {
	vc := clock.NewVirtual(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	k, stop := kerneltest.Start(t, kerneltest.Options{Time: vc, DataShards: 1})
	defer stop()
	publish(t, k, mqtt("sensors/a", "1"))
	if err := k.ConfigureStream(context.Background(), "/", "sensors", map[string]string{
		"cleanup.policy": "compact,delete", "segment.ms": "1000", "min.cleanable.dirty.ratio": "0",
	}, nil); err != nil {
		t.Fatal(err)
	}
	for _, p := range [][2]string{{"sensors/b", "2"}, {"sensors/a", "3"}, {"sensors/c", "4"}, {"sensors/b", "5"}} {
		m := mqtt(p[0], p[1])
		m.Msg.Key = []byte("the same key") // which is not what they are compacted by
		publish(t, k, m)
	}
	vc.Advance(5 * time.Second)
	var got []string
	for _, r := range readAll(t, k, "sensors") {
		got = append(got, fmt.Sprint(r.offset, "=", r.value))
	}
	if want := []string{"2=3", "3=4", "4=5"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// A message that is waited for for long pins its file, and no other: files of bodies of
// which less than half is wanted are rewritten.
func TestOldMessageDoesNotPinLaterBodies(t *testing.T) {
	ctx := context.Background()
	vc := clock.NewVirtual(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	dir := t.TempDir()
	open := func() (*kernel.Kernel, func()) {
		return kerneltest.Start(t, kerneltest.Options{Engine: onDisk(t, dir), Time: vc, NoCapture: true, DataShards: 1, CheckpointBytes: 64 << 10})
	}
	k, stop := open()
	for _, q := range []string{"old", "busy"} {
		if _, _, err := k.DeclareQueue(ctx, queueSpec(q)); err != nil {
			t.Fatal(err)
		}
	}
	publish(t, k, mqtt("old", "precious"))
	body := strings.Repeat("x", 1000)
	const n = 400
	var every []string
	for i := range n {
		publish(t, k, mqtt("busy", fmt.Sprint(i, body)))
		if i%100 == 50 {
			publish(t, k, mqtt("old", fmt.Sprint("also ", i)))
			every = append(every, fmt.Sprint("also ", i))
		}
	}
	for range 3 { // everything is in files
		vc.Advance(time.Second)
		if err := k.Settle(ctx); err != nil {
			t.Fatal(err)
		}
	}
	before := k.BodyBytes()
	s := newSink()
	a, err := k.Attach(ctx, kernel.AttachSpec{Namespace: "/", Queue: "busy", Credit: n, Refill: true, Sink: s})
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		a.Settle(s.next(t).d.No, false, kernel.Accept)
	}
	if err := a.Detach(ctx, false); err != nil { // what it has settled is applied
		t.Fatal(err)
	}
	vc.Advance(5 * time.Second)
	if after := k.BodyBytes(); before < n*1000/2 || after > before/4 {
		t.Errorf("%d bytes of bodies, and %d after all but a few were settled", before, after)
	}
	stop()
	k, stop = open()
	s = newSink()
	if _, err = k.Attach(ctx, kernel.AttachSpec{Namespace: "/", Queue: "old", Credit: n, Refill: true, Sink: s}); err != nil {
		t.Fatal(err)
	}
	for _, want := range append([]string{"precious"}, every...) {
		if g := s.next(t); string(g.msg.Value) != want {
			t.Errorf("got %q, want %q", g.msg.Value, want)
		}
	}
	stop()
}
