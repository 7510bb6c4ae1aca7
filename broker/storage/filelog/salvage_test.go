package filelog

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/vfs"
)

// three is a log of several files with entries of shards 0 to 2, in turn.
func three(t testing.TB) vfs.FS {
	fsys := vfs.NewMem()
	e := opened(t, Options{FS: fsys, Checkpoints: noCheckpoints, WALFileMin: 16 << 10, WALFileMax: 16 << 10})
	for i := range uint64(30) {
		for shard := range storage.ShardID(3) {
			put(t, e, shard, i+1, 500, true)
		}
	}
	ok(t, e.Close())
	return fsys
}

func damage(t testing.TB, fsys vfs.FS, number uint64, at int64) {
	t.Helper()
	f, err := fsys.Open("/data/wal/" + WALName(number))
	ok(t, err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	ok(t, err)
	b[0] ^= 0x20
	_, err = f.WriteAt(b, at)
	ok(t, errors.Join(err, f.Close()))
}

// mend does what a plan says.
func mend(t testing.TB, fsys vfs.FS, s *Salvage) {
	t.Helper()
	for i := len(s.Drop) - 1; i >= 0; i-- {
		ok(t, fsys.Remove("/data/wal/"+WALName(s.Drop[i])))
	}
	for i := len(s.Files) - 1; i >= 0; i-- {
		path, err := s.Write(s.Files[i], 77+uint64(i))
		ok(t, err)
		ok(t, fsys.Rename(path, strings.TrimSuffix(path, ".tmp")))
	}
	ok(t, fsys.SyncDir("/data/wal"))
}

// lasts opens the log and returns the last entry of each shard.
func lasts(t testing.TB, fsys vfs.FS) string {
	t.Helper()
	e := opened(t, Options{FS: fsys, Checkpoints: noCheckpoints, WALFileMin: 16 << 10, WALFileMax: 16 << 10})
	s := fmt.Sprint(last(t, e, 0), last(t, e, 1), last(t, e, 2))
	put(t, e, 9, 1, 100, true) // and it goes on
	ok(t, e.Close())
	e = opened(t, Options{FS: fsys, Checkpoints: noCheckpoints, WALFileMin: 16 << 10, WALFileMax: 16 << 10})
	if last(t, e, 9) != 1 {
		t.Error("what was written after the repair is gone")
	}
	ok(t, e.Close())
	return s
}

// find returns where an entry lies.
func find(t testing.TB, fsys vfs.FS, shard storage.ShardID, index uint64) (number uint64, at int64) {
	t.Helper()
	for _, name := range logFiles(t, fsys) {
		number, _ = WALNumber(name)
		b, err := vfs.ReadFile(fsys, "/data/wal/"+filepath.Base(name), 1<<20)
		ok(t, err)
		r, err := NewWALReader(strings.NewReader(string(b)), int64(len(b)), number, false)
		ok(t, err)
		for r.Next() {
			if x := r.Record(); x.Op == "entry" && x.Shard == shard && x.Index == index {
				return number, x.At
			}
		}
	}
	t.Fatalf("no entry %d of shard %d", index, shard)
	return 0, 0
}

func TestSalvage(t *testing.T) {
	type ids = map[storage.ShardID]uint64
	for _, tt := range []struct {
		name    string
		applied ids
		hurt    func(fsys vfs.FS)
		want    string // last entries after the repair, or an error
		lost    string // by the plan: shard first-last readable
	}{
		{"one entry", nil, func(fsys vfs.FS) {
			n, at := find(t, fsys, 1, 10)
			damage(t, fsys, n, at+100)
		}, "30 9 30", "1 10-30 20"},
		{"one entry that the checkpoint covers", ids{1: 12}, func(fsys vfs.FS) {
			n, at := find(t, fsys, 1, 10)
			damage(t, fsys, n, at+100)
		}, "30 30 30", ""},
		{"a length", nil, func(fsys vfs.FS) {
			n, at := find(t, fsys, 2, 20)
			damage(t, fsys, n, at+4)
		}, "30 30 19", "2 20-30 10"},
		{"two shards", nil, func(fsys vfs.FS) {
			n, at := find(t, fsys, 1, 25)
			damage(t, fsys, n, at+100)
			n, at = find(t, fsys, 2, 5)
			damage(t, fsys, n, at+100)
		}, "30 24 4", "1 25-30 5, 2 5-30 25"},
		{"log 0", nil, func(fsys vfs.FS) {
			n, at := find(t, fsys, 0, 10)
			damage(t, fsys, n, at+100)
		}, "9 9 9", "0 10-30 20, 1 10-30 21, 2 10-30 21"},
		{"log 0, and a checkpoint from after it", ids{1: 12}, func(fsys vfs.FS) {
			n, at := find(t, fsys, 0, 10)
			damage(t, fsys, n, at+100)
		}, "the checkpoint of shard 1 is from after them", ""},
		{"log 0, and a checkpoint from before it", ids{1: 5}, func(fsys vfs.FS) {
			n, at := find(t, fsys, 0, 10)
			damage(t, fsys, n, at+100)
		}, "9 9 9", "0 10-30 20, 1 10-30 21, 2 10-30 21"},
		{"a header", nil, func(fsys vfs.FS) { damage(t, fsys, 2, 20) }, "30 30 30", ""},
		{"a file", ids{0: 30, 1: 30}, func(fsys vfs.FS) { ok(t, fsys.Remove("/data/wal/"+WALName(2))) }, "30 30 7", "2 8-30 16"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fsys := three(t)
			if s, err := PlanSalvage(fsys, "/data", tt.applied); s != nil || err != nil {
				t.Fatalf("nothing is damaged: %+v, %v", s, err)
			}
			tt.hurt(fsys)
			if _, err := Open("/data", Options{FS: fsys, Checkpoints: noCheckpoints}); !errors.Is(err, storage.ErrCorrupt) {
				t.Fatalf("opened: %v", err)
			}
			s, err := PlanSalvage(fsys, "/data", tt.applied)
			if err != nil {
				if !errors.Is(err, ErrNoSalvage) || !strings.Contains(err.Error(), tt.want) {
					t.Fatal(err)
				}
				return
			}
			var lost []string
			for _, l := range s.Lost {
				lost = append(lost, fmt.Sprintf("%d %d-%d %d", l.Shard, l.First, l.Last, l.Readable))
			}
			if got := strings.Join(lost, ", "); got != tt.lost {
				t.Errorf("lost %s, want %s", got, tt.lost)
			}
			mend(t, fsys, s)
			if got := lasts(t, fsys); got != tt.want {
				t.Errorf("last entries %s, want %s", got, tt.want)
			}
		})
	}
}

// Wherever bytes are damaged: after the repair the log opens, each shard has its entries up
// to some point, and nobody loses more than the plan said.
func TestSalvageAnything(t *testing.T) {
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		fsys := three(t)
		names := logFiles(t, fsys)
		for range 1 + rnd.IntN(3) {
			number, _ := WALNumber(names[rnd.IntN(len(names))])
			damage(t, fsys, number, int64(rnd.IntN(16<<10)))
		}
		s, err := PlanSalvage(fsys, "/data", nil)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		want := [3]uint64{30, 30, 30}
		vague := s == nil // then only what was never durable is damaged, the last mark at most
		if s != nil {
			for _, l := range s.Lost {
				want[l.Shard] = l.First - 1
			}
			vague = s.Vague
			mend(t, fsys, s)
		}
		var got [3]uint64
		if _, err := fmt.Sscan(lasts(t, fsys), &got[0], &got[1], &got[2]); err != nil {
			t.Fatal(err)
		}
		if got != want && !vague {
			t.Errorf("seed %d: last entries %v, by the plan %v", seed, got, want)
		}
	}
}
