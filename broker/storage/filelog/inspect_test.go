package filelog

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/vfs"
)

// written is a log of one file with 20 synced entries of two shards, closed in order.
func written(t testing.TB) (vfs.FS, []byte) {
	fsys := vfs.NewMem()
	e := opened(t, Options{FS: fsys, Checkpoints: noCheckpoints, WALFileMin: 16 << 10})
	for i := range uint64(10) {
		put(t, e, 1, i+1, 100, true)
		put(t, e, 2, i+1, 60, true)
	}
	ok(t, e.Close())
	b, err := vfs.ReadFile(fsys, "/data/wal/"+WALName(1), 1<<20)
	ok(t, err)
	return fsys, b
}

func noCheckpoints(string) (CheckpointStore, error) { return nothing{}, nil }

type nothing struct{ storage.Checkpoints }

func (nothing) Close() error { return nil }

// walk reads a file and says in a line what it found: entries by shard, gaps, the end.
func walk(t testing.TB, b []byte, followed bool) (string, *WALReader) {
	t.Helper()
	r, err := NewWALReader(bytes.NewReader(b), int64(len(b)), 1, followed)
	ok(t, err)
	n := map[storage.ShardID]int{}
	for r.Next() {
		if x := r.Record(); x.Op == "entry" {
			n[x.Shard]++
			if len(x.Data) > 0 && x.Data[0] != byte(x.Index) {
				t.Errorf("entry %d has other bytes", x.Index)
			}
		}
	}
	ok(t, r.Err())
	return fmt.Sprintf("%d+%d %d gaps %s", n[1], n[2], len(r.Gaps()), r.End().Kind), r
}

func TestWALReader(t *testing.T) {
	_, b := written(t)
	got, r := walk(t, b, false)
	if got != "10+10 0 gaps open" || r.HeaderErr() != nil {
		t.Fatalf("%s, %v", got, r.HeaderErr())
	}
	end := r.End().At

	at := map[string]int64{}
	for r, _ := NewWALReader(bytes.NewReader(b), int64(len(b)), 1, false); r.Next(); {
		x := r.Record()
		at[fmt.Sprintf("%s %d %d", x.Op, x.Shard, x.Index)] = x.At
	}
	damaged := func(positions ...int64) []byte {
		c := bytes.Clone(b)
		for _, p := range positions {
			c[p] ^= 0x10
		}
		return c
	}
	for _, tt := range []struct {
		name string
		file []byte
		want string
	}{
		{"data of one entry", damaged(at["entry 1 5"] + 40), "9+10 1 gaps open"},
		{"checksum of one entry", damaged(at["entry 1 5"]), "9+10 1 gaps open"}, // the mark before the next takes up the chain
		{"length of one entry", damaged(at["entry 1 5"] + 4), "9+10 1 gaps open"},
		{"two apart", damaged(at["entry 1 5"]+40, at["entry 2 8"]+40), "9+9 2 gaps open"},
		{"the unsynced end", damaged(end - 2), "10+10 0 gaps open"},
		{"number in the header", damaged(16), "10+10 0 gaps open"},
		{"cut short", b[:at["entry 1 7"]+8], "6+6 1 gaps rot"},
		{"nothing", nil, "0+0 0 gaps rot"},
	} {
		got, r := walk(t, tt.file, false)
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
		if (tt.name == "number in the header" || tt.name == "nothing" || tt.name == "cut short") != errors.Is(r.HeaderErr(), storage.ErrCorrupt) {
			t.Errorf("%s: header %v", tt.name, r.HeaderErr())
		}
		if tt.name == "data of one entry" {
			if g := r.Gaps()[0]; !g.Entry || g.Shard != 1 || g.Index != 5 || g.From != at["entry 1 5"] {
				t.Errorf("gap %+v", g)
			}
		}
	}
	if got, _ := walk(t, b, true); got != "10+10 1 gaps rot" { // another follows, and it has no end record
		t.Errorf("followed: %s", got)
	}
}

func FuzzWALReader(f *testing.F) {
	_, b := written(f)
	f.Add(b[:8<<10], false)
	f.Add(b[:4<<10], true)
	c := bytes.Clone(b[:8<<10])
	c[4300] ^= 1
	f.Add(c, false)
	f.Fuzz(func(t *testing.T, b []byte, followed bool) {
		r, err := NewWALReader(bytes.NewReader(b), int64(len(b)), 0, followed)
		if err != nil {
			t.Fatal(err)
		}
		at := int64(-1)
		for r.Next() {
			x := r.Record()
			if x.At <= at || x.At+x.Bytes > int64(len(b))+recordAlign {
				t.Fatalf("record at %d after %d", x.At, at)
			}
			at = x.At
		}
	})
}
