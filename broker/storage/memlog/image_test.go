package memlog_test

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/memlog"
)

// batch is one record at an offset.
func batch(offset int64, value string) []byte {
	var b record.Builder
	b.Reset(nil, 1)
	b.Add(1, nil, []byte(value))
	made := b.Finish()
	made.SetBaseOffset(offset)
	return made
}

func put(t testing.TB, e storage.Engine, from, to int64, value string) {
	t.Helper()
	seg, err := e.Segments().Open(storage.LogID{Shard: 1, Log: 7})
	if err != nil {
		t.Fatal(err)
	}
	for o := from; o < to; o++ {
		if err := seg.Append(batch(o, fmt.Sprint(value, o))); err != nil {
			t.Fatal(err)
		}
	}
}

// values are those of the log, read as a reader does.
func values(t testing.TB, e storage.Engine) (out []string) {
	t.Helper()
	seg, err := e.Segments().Open(storage.LogID{Shard: 1, Log: 7})
	if err != nil {
		t.Fatal(err)
	}
	for o := seg.Start(); o < seg.End(); {
		raw, err := seg.Read(o, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for len(raw) > 0 {
			b, rest, err := record.Next(raw)
			if err != nil {
				t.Fatal(err)
			}
			_ = b.Each(func(r *record.Record) error { out = append(out, string(r.Value)); return nil })
			raw, o = rest, b.NextOffset()
		}
	}
	return out
}

func pairs(kv map[string]string) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		for _, k := range slices.Sorted(maps.Keys(kv)) {
			var v []byte
			if kv[k] != "" {
				v = []byte(kv[k])
			}
			if !yield([]byte(k), v) {
				return
			}
		}
	}
}

func loaded(t testing.TB, e storage.Engine) map[string]string {
	t.Helper()
	_, seq, err := e.Checkpoints().Load(1)
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]string)
	for k, v := range seq {
		out[string(k)] = string(v)
	}
	return out
}

// Engines that are opened of one image, and the engine that it is of, go on from there each for
// itself, at once.
func TestImage(t *testing.T) {
	e := memlog.New()
	defer e.Close()
	put(t, e, 0, 3, "a")
	done := make(chan error, 1)
	at := storage.CheckpointMeta{Index: 1, Term: 1, Members: storage.Members{Voters: []uint64{1}}}
	if err := e.Checkpoints().Save(1, at, true, pairs(map[string]string{"k": "old", "gone": "x"})); err != nil {
		t.Fatal(err)
	}
	data := []byte("entry")
	if err := e.Log().Append(storage.Write{
		Shard: 1, Hard: &storage.HardState{Term: 1, Commit: 2}, Entries: []storage.Entry{{Index: 1, Term: 1}, {Index: 2, Term: 1, Data: data}},
		Done: func(err error) { done <- err },
	}); err != nil {
		t.Fatal(err)
	}
	<-done
	image := e.Image()
	data[0] = 'E' // as who is given an entry may do

	var all sync.WaitGroup
	use := func(o *memlog.Engine, name string) {
		defer all.Done()
		got, err := o.Log().Load(1)
		if err != nil || got.Hard.Commit != 2 {
			t.Errorf("%s: loaded %v: %v", name, got, err)
		}
		if name != "self" && (len(got.Entries) != 1 || string(got.Entries[0].Data) != "entry") {
			t.Errorf("%s: entries %v, want what the checkpoint has not", name, got.Entries)
		}
		seg, err := o.Segments().Open(storage.LogID{Shard: 1, Log: 7})
		if err != nil || seg.TruncateTo(2) != nil {
			t.Errorf("%s: %v", name, err)
		}
		put(t, o, 2, 5, name)
		if err := o.Checkpoints().Save(1, at, false, pairs(map[string]string{"k": name, "gone": ""})); err != nil {
			t.Error(err)
		}
		if got, want := values(t, o), []string{"a0", "a1", name + "2", name + "3", name + "4"}; !slices.Equal(got, want) {
			t.Errorf("%s holds %v, want %v", name, got, want)
		}
		if got, want := loaded(t, o), map[string]string{"k": name}; !maps.Equal(got, want) {
			t.Errorf("%s has %v, want %v", name, got, want)
		}
	}
	forks := []*memlog.Engine{image.Open(), image.Open()}
	all.Add(3)
	go use(forks[0], "one")
	go use(forks[1], "two")
	go use(e, "self")
	all.Wait()
	forks = append(forks, image.Open())
	if got, want := values(t, forks[2]), []string{"a0", "a1", "a2"}; !slices.Equal(got, want) {
		t.Errorf("the image holds %v, want %v", got, want)
	}
	if got, want := loaded(t, forks[2]), map[string]string{"k": "old", "gone": "x"}; !maps.Equal(got, want) {
		t.Errorf("the image has %v, want %v", got, want)
	}
	for _, f := range forks {
		_ = f.Close()
	}
}

// What is opened of an image passes for an engine.
func BenchmarkImage(b *testing.B) {
	e := memlog.New()
	defer e.Close()
	put(b, e, 0, 100_000, "a value of some bytes, as records have ")
	b.ReportAllocs()
	for b.Loop() {
		_ = e.Image().Open().Close()
	}
}
