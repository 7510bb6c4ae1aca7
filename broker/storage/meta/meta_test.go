package meta

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/filelog"
	"github.com/robustmq/rmq/broker/storage/storagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func opened(path string) (filelog.CheckpointStore, error) { return Open(path) }

func TestEngine(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) storagetest.Opener {
		dir := t.TempDir()
		return func() (storage.Engine, error) {
			return filelog.Open(dir, filelog.Options{Checkpoints: opened, WALFileMin: 16 << 10, WALFileMax: 64 << 10, SegmentBytes: 32 << 10})
		}
	})
}

type state map[string]string

func (m state) seq() iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			v := []byte(m[k])
			if m[k] == "-" {
				v = nil
			}
			if !yield([]byte(k), v) {
				return
			}
		}
	}
}

// with returns m after changes.
func (m state) with(changes state) state {
	m = maps.Clone(m)
	for k, v := range changes {
		if v == "-" {
			delete(m, k)
		} else {
			m[k] = v
		}
	}
	return m
}

func load(t *testing.T, path string) (uint64, state, error) {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		return 0, nil, err
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	m, all, err := s.Load(1)
	if err != nil {
		return 0, nil, err
	}
	got := make(state)
	for k, v := range all {
		got[string(k)] = string(v)
	}
	return m.Index, got, nil
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func fill(from, to int, text string) state {
	m := make(state)
	for i := from; i < to; i++ {
		m[fmt.Sprintf("key/%05d", i)] = fmt.Sprintf("%s %d %s", text, i, bytes.Repeat([]byte{'x'}, 10<<10))
	}
	return m
}

// A crash between the transactions of a large Save leaves the old checkpoint or the new.
func TestCrashBetweenTransactions(t *testing.T) {
	old := fill(0, 1500, "old")
	changes := fill(500, 2000, "new") // 15 MiB: staged in four
	for i := range 300 {
		changes[fmt.Sprintf("key/%05d", i)] = "-"
	}
	for _, full := range []bool{false, true} {
		t.Run(fmt.Sprint("full ", full), func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "db")
			s, err := Open(path)
			ok(t, err)
			ok(t, s.Save(1, storage.CheckpointMeta{Index: 1}, true, old.seq()))
			var copies []string
			s.committed = func() {
				b, err := os.ReadFile(path)
				ok(t, err)
				copies = append(copies, filepath.Join(dir, fmt.Sprintf("copy%d", len(copies))))
				ok(t, os.WriteFile(copies[len(copies)-1], b, 0o600))
			}
			ok(t, s.Save(1, storage.CheckpointMeta{Index: 2}, full, changes.seq()))
			ok(t, s.Close())
			if len(copies) < 4 {
				t.Fatalf("only %d transactions: the test is too small", len(copies))
			}
			want := old.with(changes)
			if full {
				want = state{}.with(changes)
			}
			seen := map[uint64]bool{}
			for i, c := range copies {
				index, got, err := load(t, c)
				ok(t, err)
				seen[index] = true
				switch {
				case index == 1 && maps.Equal(got, old), index == 2 && maps.Equal(got, want):
				default:
					t.Errorf("after transaction %d: index %d with %d keys", i+1, index, len(got))
				}
			}
			if !seen[1] || !seen[2] {
				t.Errorf("saw checkpoints %v", seen)
			}

			// The next Save begins with what the crash left.
			for i, c := range copies {
				s, err := Open(c)
				ok(t, err)
				ok(t, s.Save(1, storage.CheckpointMeta{Index: 3}, false, state{"more": "1", "key/00600": "-"}.seq()))
				ok(t, s.Close())
				index, got, err := load(t, c)
				ok(t, err)
				if from := old; index != 3 || (!maps.Equal(got, from.with(state{"more": "1", "key/00600": "-"})) &&
					!maps.Equal(got, want.with(state{"more": "1", "key/00600": "-"}))) {
					t.Errorf("saved after transaction %d: index %d with %d keys", i+1, index, len(got))
				}
			}
		})
	}
}

// Whatever byte changes: the checkpoint is as it was, or the error says that it is not.
// Nothing panics.
func TestRot(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "db")
	s, err := Open(path)
	ok(t, err)
	want := make(state)
	for i := range 400 {
		want[fmt.Sprintf("key/%05d", i)] = fmt.Sprintf("value %d", i)
	}
	ok(t, s.Save(1, storage.CheckpointMeta{Index: 7, Members: storage.Members{Voters: []uint64{1}}}, true, want.seq()))
	ok(t, s.Close())
	whole, err := os.ReadFile(path)
	ok(t, err)

	rnd := rand.New(rand.NewPCG(1, 2))
	reported := 0
	check := func(what string, b []byte) {
		t.Helper()
		ok(t, os.Remove(path)) // a panic within bbolt may leave the old one mapped
		ok(t, os.WriteFile(path, b, 0o600))
		index, got, err := load(t, path)
		switch {
		case errors.Is(err, storage.ErrCorrupt), errors.Is(err, storage.ErrVersion):
			reported++
		case err != nil:
			t.Errorf("%s: %v", what, err)
		case index == 0 && len(got) == 0: // fell back to before the Save: see below
			t.Errorf("%s: the checkpoint is gone without a word", what)
		case index != 7 || !maps.Equal(got, want):
			t.Errorf("%s: loaded another checkpoint: index %d, %d keys", what, index, len(got))
		}
	}
	for range 400 {
		b := bytes.Clone(whole)
		at := 2*4096 + rnd.IntN(len(b)-2*4096) // the first two pages are bbolt's own, doubled and checksummed
		b[at] ^= 1 << rnd.IntN(8)
		check(fmt.Sprintf("bit of byte %d", at), b)
	}
	for page := 2; page < len(whole)/4096; page++ {
		b := bytes.Clone(whole)
		clear(b[page*4096 : (page+1)*4096])
		check(fmt.Sprintf("zeros in page %d", page), b)
		check(fmt.Sprintf("cut to %d pages", page), bytes.Clone(whole[:page*4096]))
	}
	if reported == 0 {
		t.Error("no damage was reported")
	}
}

func TestNotOurs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	for _, text := range []string{"", "something else", string(make([]byte, 100_000))} {
		ok(t, os.WriteFile(path, []byte(text), 0o600))
		if _, err := Open(path); err == nil {
			t.Errorf("a file of %d foreign bytes was opened", len(text))
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != text {
			t.Errorf("a file of %d foreign bytes was changed", len(text))
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	path := filepath.Join(b.TempDir(), "db")
	s, err := Open(path)
	if err != nil {
		b.Fatal(err)
	}
	for i := range 20 { // leaves free pages behind
		if err := s.Save(1, storage.CheckpointMeta{Index: uint64(i)}, true, fill(0, 4000, "value").seq()); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s, err := Open(path)
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSave(b *testing.B) {
	for _, changed := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprint(changed, " of 10000"), func(b *testing.B) {
			s, err := Open(filepath.Join(b.TempDir(), "db"))
			if err != nil {
				b.Fatal(err)
			}
			m := make(state)
			for i := range 10_000 {
				m[fmt.Sprintf("key/%05d", i)] = "a session, or so; about one hundred bytes of it, of which the last are of no use at all"
			}
			if err := s.Save(1, storage.CheckpointMeta{Index: 1}, true, m.seq()); err != nil {
				b.Fatal(err)
			}
			changes := make(state)
			for i := range changed {
				k := fmt.Sprintf("key/%05d", i*(10_000/changed))
				changes[k] = m[k]
			}
			for b.Loop() {
				if err := s.Save(1, storage.CheckpointMeta{Index: 2}, false, changes.seq()); err != nil {
					b.Fatal(err)
				}
			}
			_ = s.Close()
		})
	}
}
