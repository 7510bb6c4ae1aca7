package meta

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/robustmq/rmq/broker/storage"
)

// stored is a file with checkpoints of three shards, one of them large.
func stored(t testing.TB) (string, map[storage.ShardID]state) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "checkpoints.db")
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	want := map[storage.ShardID]state{0: {"a": "1"}, 1: {}, 7: {"big": string(bytes.Repeat([]byte("x"), 40_000))}}
	for i := range 3000 {
		want[1][fmt.Sprintf("key %05d", i)] = fmt.Sprint("value ", i)
	}
	for id, m := range want {
		if err := s.Save(id, storage.CheckpointMeta{Index: uint64(id) + 10, Term: 3, Members: storage.Members{Voters: []uint64{1}}}, true, m.seq()); err != nil {
			t.Fatal(err)
		}
	}
	changes := state{"key 00003": "-", "key 00004": "other"}
	if err := s.Save(1, storage.CheckpointMeta{Index: 12, Term: 3}, false, changes.seq()); err != nil {
		t.Fatal(err)
	}
	want[1] = want[1].with(changes)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path, want
}

// A file says whose it is, and is another's no more. One of the releases before says nothing, and is
// anybody's.
func TestBind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "checkpoints.db")
	open := func() *Store {
		s, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	s := open()
	if err := s.Bind(7); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Save(1, storage.CheckpointMeta{Index: 1, Term: 1}, true, nil), s.Bind(7), s.Close()); err != nil {
		t.Fatal(err)
	}
	s = open()
	if err := s.Bind(8); !errors.Is(err, storage.ErrMixed) {
		t.Errorf("another's: %v", err)
	}
	if err := errors.Join(s.Bind(7), s.Close()); err != nil {
		t.Errorf("its own: %v", err)
	}
	path, _ = stored(t)
	if err := open().Bind(8); err != nil {
		t.Errorf("one that does not say: %v", err)
	}
}

// inspected reads everything in a file's bytes; problems are all that was said against it.
func inspected(t testing.TB, b []byte) (got map[storage.ShardID]state, problems []error) {
	t.Helper()
	x, err := Inspect(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Check(func(err error) { problems = append(problems, err) }); err != nil {
		t.Fatal(err)
	}
	got = map[storage.ShardID]state{}
	all, err := x.Checkpoints()
	if err != nil {
		return got, append(problems, err)
	}
	for _, c := range all {
		if c.Err != nil {
			problems = append(problems, c.Err)
			continue
		}
		m := state{}
		err := x.Keys(c.Shard, func(k Key) bool {
			if k.Err != nil {
				problems = append(problems, k.Err)
			}
			m[string(k.Key)] = string(k.Value)
			return true
		})
		if err != nil {
			problems = append(problems, err)
		}
		got[c.Shard] = m
	}
	return got, problems
}

func TestInspect(t *testing.T) {
	path, want := stored(t)
	open, err := Open(path) // locked by bbolt: who inspects does not mind
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got, problems := inspected(t, b)
	if fmt.Sprint(got) != fmt.Sprint(want) || problems != nil {
		t.Errorf("%d, %d and %d keys; %v", len(got[0]), len(got[1]), len(got[7]), problems)
	}
	x, err := Inspect(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	all, err := x.Checkpoints()
	if err != nil || len(all) != 3 || all[1].Index != 12 || all[1].Keys != 2999 || all[0].Members.Voters[0] != 1 || x.Changed() {
		t.Errorf("%+v, %v", all, err)
	}
	if err := open.Close(); err != nil {
		t.Fatal(err)
	}

	// Whatever byte is damaged: where a load would fail, something is said; and nothing panics.
	rnd := rand.New(rand.NewPCG(1, 2))
	failed := 0
	for range 300 {
		c := bytes.Clone(b)
		for range 1 + rnd.IntN(3) {
			c[rnd.IntN(len(c))] ^= byte(1 + rnd.IntN(255))
		}
		got, problems := inspected(t, c)
		if len(problems) == 0 && fmt.Sprint(got) != fmt.Sprint(want) && got[1]["key 00003"] == "" {
			t.Fatal("damage was taken for another checkpoint")
		}
		if len(problems) > 0 {
			failed++
		}
	}
	if failed < 50 {
		t.Errorf("damage was noticed %d times of 300", failed)
	}
}

func FuzzInspect(f *testing.F) {
	path, _ := stored(f)
	b, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[:32<<10])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) { inspected(t, b) })
}
