package snapshot_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/memlog"
	"github.com/robustmq/rmq/broker/storage/snapshot"
)

var update = flag.Bool("update", false, "write golden files")

// golden is a snapshot of version 1: what a release has written, every later one reads.
const golden = "../../../fixtures/snapshot/v1.rmqsnap"

var about = snapshot.About{Release: "1.0", Taken: time.Date(2030, 1, 2, 3, 4, 5, 6000000, time.UTC), Virtual: true, Cluster: "c", Profile: "dev", Streams: 1, Queues: 2, Sessions: 3, Lost: 1}

func batch(offset int64, value string) record.Batch {
	var b record.Builder
	b.Reset(nil, 1)
	b.Add(1, []byte("key"), []byte(value))
	made := b.Finish()
	made.SetBaseOffset(offset)
	return made
}

func write(t testing.TB) []byte {
	t.Helper()
	var file bytes.Buffer
	w, err := snapshot.NewWriter(&file, about)
	if err != nil {
		t.Fatal(err)
	}
	pairs := func(yield func(k, v []byte) bool) {
		_ = yield([]byte("a"), []byte("1")) && yield([]byte("b"), nil) && yield([]byte("c"), []byte("3"))
	}
	errs := []error{
		w.Shard(1, storage.CheckpointMeta{Index: 7, Term: 2}, pairs),
		w.Batches(5, append(batch(0, "zero"), batch(3, "three")...)),
		w.Batches(6, batch(9, "nine")),
		w.Shard(0, storage.CheckpointMeta{Index: 3, Term: 2}, pairs),
		w.Note("log", []byte("what was said\n")),
		w.Note("seed", []byte("42")),
	}
	_, err = w.End()
	if err := errors.Join(append(errs, err)...); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

func TestGolden(t *testing.T) {
	if *update {
		if err := errors.Join(os.MkdirAll(filepath.Dir(golden), 0o755), os.WriteFile(golden, write(t), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(write(t), kept) {
		t.Error("a snapshot is written otherwise now: that takes a version of its own")
	}
	e := memlog.New()
	defer e.Close()
	c, err := snapshot.Install(bytes.NewReader(kept), e, 4)
	if err != nil {
		t.Fatal(err)
	}
	if c.About != about || c.Bytes == 0 || len(c.Notes) != 2 || c.ID.String() == "" {
		t.Errorf("read %+v", c)
	}
	if n, ok := c.Note("log"); !ok || string(n) != "what was said\n" {
		t.Errorf("the note is %q", n)
	}
	at, seq, err := e.Checkpoints().Load(1)
	if err != nil || at.Index != 7 || at.Term != 2 || !at.Members.Alone(4) {
		t.Errorf("shard 1: %+v, %v", at, err)
	}
	got := ""
	for k, v := range seq {
		got += string(k) + "=" + string(v) + " "
	}
	if got != "a=1 b= c=3 " {
		t.Errorf("shard 1 holds %s", got)
	}
	for log, want := range map[uint64][]byte{5: append(batch(0, "zero"), batch(3, "three")...), 6: batch(9, "nine")} {
		seg, err := e.Segments().Open(storage.LogID{Shard: 1, Log: log})
		if err != nil {
			t.Fatal(err)
		}
		if raw, err := seg.Read(0, 1<<20); err != nil || !bytes.Equal(raw, want) {
			t.Errorf("log %d: %x, %v", log, raw, err)
		}
	}
	if _, err := snapshot.Install(bytes.NewReader(kept), e, 4); !errors.Is(err, snapshot.ErrInUse) {
		t.Errorf("installed over what there was: %v", err)
	}
}

// What is cut off, or changed by one bit, is refused.
func TestDamage(t *testing.T) {
	whole := write(t)
	for n := range whole {
		if _, err := snapshot.Check(bytes.NewReader(whole[:n])); !errors.Is(err, snapshot.ErrCorrupt) {
			t.Fatalf("%d of %d bytes: %v", n, len(whole), err)
		}
	}
	for i := range whole {
		b := bytes.Clone(whole)
		b[i] ^= 0x10
		if _, err := snapshot.Check(bytes.NewReader(b)); !errors.Is(err, snapshot.ErrCorrupt) && !errors.Is(err, snapshot.ErrVersion) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
	}
}

// Whatever a file holds, it is read or refused; and what is read is installed.
func FuzzCheck(f *testing.F) {
	f.Add(write(f))
	f.Fuzz(func(t *testing.T, src []byte) {
		c, err := snapshot.Check(bytes.NewReader(src))
		if err != nil {
			return
		}
		e := memlog.New()
		defer e.Close()
		if got, err := snapshot.Install(bytes.NewReader(src), e, 1); err != nil || got.ID != c.ID {
			t.Fatalf("whole, and not installed: %v", err)
		}
	})
}
