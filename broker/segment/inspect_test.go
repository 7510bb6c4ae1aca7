package segment

import (
	"bytes"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/robustmq/rmq/broker/vfs"
)

// filled is a segment file of ten synced batches and its index.
func filled(t testing.TB) (fsys vfs.FS, seg, idx []byte, at []int64) {
	fsys = vfs.NewMem()
	l := open(t, fsys, 0)
	pos := int64(headerLen)
	for i := range int64(10) {
		b := batch(10*i, 5, 1000+i, 9000)
		at = append(at, pos)
		pos += int64(len(b))
		ok(t, l.Append(b))
	}
	ok(t, l.Sync())
	ok(t, l.Close())
	seg, err := vfs.ReadFile(fsys, segPath(dir, 0), 1<<20)
	ok(t, err)
	idx, err = vfs.ReadFile(fsys, filepath.Join(dir, "00000000000000000000.idx"), 1<<20)
	ok(t, err)
	return fsys, seg, idx, at
}

func walkFile(t testing.TB, b []byte, followed bool) string {
	t.Helper()
	r, err := NewFileReader(bytes.NewReader(b), int64(len(b)), 0, 0, followed)
	ok(t, err)
	n := 0
	for r.Next() {
		n++
	}
	ok(t, r.Err())
	s := fmt.Sprintf("%d", n)
	for _, g := range r.Gaps() {
		s += fmt.Sprintf(" [%d,%d)", g.After, g.Before)
	}
	if r.Torn() >= 0 {
		s += " torn"
	}
	if r.HeaderErr() != nil {
		s += " header"
	}
	return s
}

func TestFileReader(t *testing.T) {
	fsys, seg, idx, at := filled(t)
	flip := func(positions ...int64) []byte {
		c := bytes.Clone(seg)
		for _, p := range positions {
			c[p] ^= 0x40
		}
		return c
	}
	for _, tt := range []struct {
		name, want string
		file       []byte
		followed   bool
	}{
		{"whole", "10", seg, false},
		{"a record", "9 [25,40)", flip(at[3] + 500), false},
		{"a length", "9 [25,40)", flip(at[3] + 10), false},
		{"two in a row", "8 [25,50)", flip(at[3]+500, at[4]+500), false},
		{"two apart", "8 [25,40) [65,80)", flip(at[3]+500, at[7]+500), false},
		{"the last", "9 [85,-1)", flip(at[9] + 500), false},
		{"cut where it was durable", "9 [85,-1)", seg[:at[9]], false},
		{"the mark and the last", "9 torn", flip(markAt, at[9]+500), false},
		{"the mark and the last, with a file behind", "9 [85,-1)", flip(markAt, at[9]+500), true},
		{"header", "10 header", flip(20), false},
		{"header alone", "0 header", seg[:10], true},
	} {
		if got := walkFile(t, tt.file, tt.followed); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}

	x, err := ReadIndex(bytes.NewReader(idx), int64(len(idx)))
	ok(t, err)
	if x.Last != 94 || x.Size != int64(len(seg)) || x.Latest != 1009 || x.Entries[1] != (IndexEntry{20, at[2], 1001}) {
		t.Errorf("index %+v", x)
	}
	idx[len(idx)-1] ^= 1
	if _, err := ReadIndex(bytes.NewReader(idx), int64(len(idx))); err == nil {
		t.Error("a damaged index is read")
	}
	name := filepath.Join(dir, "00000000000000000000.idx")
	ok(t, fsys.Remove(name))
	ok(t, Rebuild(fsys, segPath(dir, 0)))
	again, err := vfs.ReadFile(fsys, name, 1<<20)
	ok(t, err)
	if y, err := ReadIndex(bytes.NewReader(again), int64(len(again))); err != nil || fmt.Sprint(y) != fmt.Sprint(x) {
		t.Errorf("rebuilt %+v, %v", y, err)
	}
}

func FuzzFileReader(f *testing.F) {
	_, seg, idx, at := filled(f)
	f.Add(seg[:at[1]], false)
	f.Add(idx, true)
	seg[at[0]+100] ^= 1
	f.Add(seg[:at[2]], true)
	f.Fuzz(func(t *testing.T, b []byte, followed bool) {
		r, err := NewFileReader(bytes.NewReader(b), int64(len(b)), -1, 0, followed)
		if err != nil {
			t.Fatal(err)
		}
		end := int64(0)
		for r.Next() {
			if r.Batch().BaseOffset() < end {
				t.Fatalf("batch %d after %d", r.Batch().BaseOffset(), end)
			}
			end = r.Batch().NextOffset()
		}
		_, _ = ReadIndex(bytes.NewReader(b), int64(len(b))) // any answer will do
	})
}
