package segment

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// batch is one batch of count records, size bytes in all.
func batch(base int64, count int, ms int64, size int) []byte {
	var b record.Builder
	b.Reset(nil, ms)
	for i := range count {
		b.Add(ms, nil, bytes.Repeat([]byte{byte(base + int64(i))}, max(1, size/count)))
	}
	rb := b.Finish()
	rb.SetBaseOffset(base)
	return rb
}

const dir = "/d"

func open(t testing.TB, fsys vfs.FS, fileBytes int64) *Log {
	t.Helper()
	l, err := Open(fsys, dir, NewCache(fsys, 2), Options{FileBytes: fileBytes})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// all reads everything from the offset on.
func all(l *Log, offset int64) ([][]byte, error) {
	var got [][]byte
	for {
		b, err := l.Read(offset, 7000)
		if err != nil || b == nil {
			return got, err
		}
		for len(b) > 0 {
			rb, rest, err := record.Check(b, len(b))
			if err != nil {
				return got, err
			}
			got, b, offset = append(got, rb), rest, rb.NextOffset()
		}
	}
}

// model is what a log should hold, and what of it a crash must leave.
type model struct {
	batches [][]byte
	end     int64
	synced  int64 // batches below it survive
}

func (m *model) start() int64 {
	if len(m.batches) == 0 {
		return m.end
	}
	return record.Batch(m.batches[0]).BaseOffset()
}

// offset draws one about a batch's bounds.
func (m *model) offset(t *rapid.T) int64 {
	if len(m.batches) == 0 {
		return m.end
	}
	b := record.Batch(rapid.SampledFrom(m.batches).Draw(t, "near"))
	return b.BaseOffset() + rapid.Int64Range(-1, int64(b.LastOffsetDelta())+1).Draw(t, "off")
}

func (m *model) rewrite(from, to int64, edit func([]byte) []byte) {
	var out [][]byte
	for _, b := range m.batches {
		base, last := record.Batch(b).BaseOffset(), record.Batch(b).LastOffset()
		if base < from || base >= to {
			out = append(out, b)
			continue
		}
		n := edit(b)
		if n != nil {
			out = append(out, n)
		}
		if last == to-1 && (n == nil || record.Batch(n).LastOffset() < last) {
			out = append(out, record.Empty(last))
		}
	}
	m.batches = out
}

// A log behaves as a list does, over files, truncation, retention, reopening and crashes.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fsys := vfs.NewMem()
		ok := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		ok(fsys.MkdirAll(dir))
		ok(fsys.SyncDir("/"))
		reopen := func() *Log {
			l, err := Open(fsys, dir, NewCache(fsys, 2), Options{FileBytes: 20_000})
			ok(err)
			return l
		}
		l, m := reopen(), &model{}
		cut := func(end int64) {
			n := len(m.batches)
			for n > 0 && record.Batch(m.batches[n-1]).BaseOffset() >= end {
				n--
			}
			if n < len(m.batches) || n == 0 {
				m.end = min(m.end, end)
			}
			if m.batches = m.batches[:n]; n > 0 {
				m.end = record.Batch(m.batches[n-1]).NextOffset()
			}
			if m.synced = min(m.synced, m.end); n == 0 {
				m.synced = 0
			}
		}
		check := func() {
			if l.Start() != m.start() || l.End() != m.end {
				t.Fatalf("holds [%d,%d), want [%d,%d)", l.Start(), l.End(), m.start(), m.end)
			}
			got, err := all(l, 0)
			ok(err)
			if !slices.EqualFunc(got, m.batches, bytes.Equal) {
				t.Fatalf("read %d batches, want %d, or others", len(got), len(m.batches))
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				var batches [][]byte
				for range rapid.IntRange(1, 4).Draw(t, "batches") {
					base := m.end + rapid.SampledFrom([]int64{0, 0, 0, 5, 1 << 33}).Draw(t, "gap")
					b := batch(base, rapid.IntRange(1, 5).Draw(t, "records"), rapid.Int64Range(0, 50).Draw(t, "time"), rapid.IntRange(1, 9000).Draw(t, "size"))
					batches, m.end = append(batches, b), record.Batch(b).NextOffset()
				}
				ok(l.Append(batches...))
				m.batches = append(m.batches, batches...)
			},
			"sync": func(*rapid.T) {
				ok(l.Sync())
				m.synced = m.end
			},
			"truncate": func(t *rapid.T) {
				end := rapid.Int64Range(0, m.end+2).Draw(t, "end")
				if n := len(m.batches); n > 0 {
					end = record.Batch(m.batches[rapid.IntRange(0, n-1).Draw(t, "at")]).BaseOffset() + rapid.Int64Range(-1, 2).Draw(t, "off")
				}
				ok(l.TruncateTo(end))
				cut(max(end, 0))
			},
			"drop": func(t *rapid.T) {
				if len(m.batches) == 0 {
					return
				}
				offset := record.Batch(m.batches[rapid.IntRange(0, len(m.batches)-1).Draw(t, "at")]).NextOffset() + rapid.Int64Range(0, 1).Draw(t, "off")
				ok(l.DropBefore(offset))
				start, n := l.Start(), 0
				for n < len(m.batches) && record.Batch(m.batches[n]).BaseOffset() < start {
					if record.Batch(m.batches[n]).LastOffset() >= offset {
						t.Fatalf("DropBefore(%d) dropped the batch at %d", offset, record.Batch(m.batches[n]).BaseOffset())
					}
					n++
				}
				if m.batches = m.batches[n:]; m.start() >= m.synced {
					m.synced = 0 // nothing that was synced is left
				}
			},
			"time": func(t *rapid.T) {
				ms := rapid.Int64Range(0, 51).Draw(t, "ms")
				from := m.offset(t)
				base, latest, found, err := l.OffsetForTime(from, ms)
				ok(err)
				i := slices.IndexFunc(m.batches, func(b []byte) bool {
					return record.Batch(b).MaxTime() >= ms && record.Batch(b).LastOffset() >= from
				})
				if found != (i >= 0) || found && (base != record.Batch(m.batches[i]).BaseOffset() || latest != record.Batch(m.batches[i]).MaxTime()) {
					t.Fatalf("OffsetForTime(%d, %d) = %d, %d, %v, want batch %d", from, ms, base, latest, found, i)
				}
			},
			"size": func(t *rapid.T) {
				from := m.offset(t)
				got, err := l.SizeFrom(from)
				ok(err)
				var want int64
				for _, b := range m.batches {
					if record.Batch(b).LastOffset() >= from {
						want += int64(len(b))
					}
				}
				if got != want {
					t.Fatalf("SizeFrom(%d) = %d, want %d", from, got, want)
				}
				n := rapid.Int64Range(0, want+10).Draw(t, "bytes")
				base, err := l.LastBytes(n)
				ok(err)
				first := m.end
				for _, b := range slices.Backward(m.batches) {
					if n -= int64(len(b)); n < 0 {
						break
					}
					first = record.Batch(b).BaseOffset()
				}
				prev := int64(0)
				for _, b := range m.batches {
					if end := record.Batch(b).NextOffset(); end <= first {
						prev = end
					}
				}
				if base > first || base < prev {
					t.Fatalf("LastBytes = %d, want %d to %d", base, prev, first)
				}
			},
			"roll": func(t *rapid.T) { ok(l.Roll()) },
			"rewrite": func(t *rapid.T) {
				bounds := l.Bounds()
				if len(bounds) < 2 {
					return
				}
				i := rapid.IntRange(0, len(bounds)-2).Draw(t, "first")
				from, to := bounds[i], bounds[rapid.IntRange(i+1, min(i+3, len(bounds)-1)).Draw(t, "end")]
				synced := rapid.IntRange(0, 3).Draw(t, "sync first") > 0
				if synced {
					ok(l.Sync())
					m.synced = m.end
				}
				fate := rapid.SliceOfN(rapid.IntRange(0, 3), 8, 8).Draw(t, "fates")
				edit := func(b []byte) []byte {
					switch base := record.Batch(b).BaseOffset(); fate[base%8] {
					case 0:
						return nil
					case 1:
						return batch(base, 1, 7, 10)
					}
					return b
				}
				done, err := l.Rewrite(from, to, func(b []byte) ([]byte, error) { return edit(b), nil })
				ok(err)
				if !done && synced {
					t.Fatalf("files [%d,%d) are at rest, and were not rewritten", from, to)
				}
				if done {
					m.rewrite(from, to, edit)
				}
			},
			"reopen": func(*rapid.T) {
				ok(l.Close())
				l = reopen()
			},
			"crash": func(t *rapid.T) {
				if rapid.Bool().Draw(t, "kill") {
					l = reopen() // the process alone died: the system has everything
					return
				}
				fsys = fsys.CrashClone(rapid.Uint64().Draw(t, "seed"))
				l = reopen()
				if l.End() < m.synced {
					t.Fatalf("the crash left offsets below %d of %d that were synced", l.End(), m.synced)
				}
				ok(l.TruncateTo(m.synced))
				cut(m.synced)
				// Retention may be undone, and the end, where nothing is held, forgotten.
				if got, err := all(l, 0); err != nil || !slices.EqualFunc(got[max(0, len(got)-len(m.batches)):], m.batches, bytes.Equal) {
					t.Fatalf("after the crash: %d batches, want the last %d: %v", len(got), len(m.batches), err)
				}
				var err error
				m.batches, err = all(l, 0)
				ok(err)
				m.end = l.End()
				m.synced = min(m.synced, m.end)
			},
			"": func(*rapid.T) { check() },
		})
		ok(l.Close())
	})
}

// fill appends n batches of a kilobyte each, ten records per batch.
func fill(t testing.TB, l *Log, n int) {
	t.Helper()
	for range n {
		ok(t, l.Append(batch(l.End(), 10, l.End(), 1000)))
	}
}

// A read that begins in a gap between two batches, wherever that is, returns what follows it.
func TestReadInGaps(t *testing.T) {
	l := open(t, vfs.NewMem(), 1<<20)
	defer func() { ok(t, l.Close()) }()
	const n, every = 200, 10
	for i := range int64(n) {
		ok(t, l.Append(batch(i*every, 1, i, 1000)))
	}
	for i := range int64(n - 1) {
		for _, maxBytes := range []int{0, 7000, indexBytes, 4 * indexBytes} {
			b, err := l.Read(i*every+every/2, maxBytes)
			if err != nil || len(b) == 0 || record.Batch(b).BaseOffset() != (i+1)*every {
				t.Fatalf("from %d, %d bytes: %d bytes, %v", i*every+every/2, maxBytes, len(b), err)
			}
		}
	}
}

// Rot in a file that was synced is told, at opening or at reading, wherever it is; and
// what is told is the truth about everything else.
func TestRot(t *testing.T) {
	for _, clean := range []bool{false, true} {
		t.Run(fmt.Sprint("closed in order ", clean), func(t *testing.T) {
			fsys := vfs.NewMem()
			ok(t, fsys.MkdirAll(dir))
			l := open(t, fsys, 20_000)
			fill(t, l, 45)
			ok(t, l.Sync())
			if clean {
				ok(t, l.Close())
			}
			want, err := all(open(t, fsys, 20_000), 0)
			ok(t, err)
			entries, err := fsys.ReadDir(dir)
			ok(t, err)
			rnd := rand.New(rand.NewPCG(3, 4))
			for _, e := range entries {
				path := filepath.Join(dir, e.Name)
				whole, err := vfs.ReadFile(fsys, path, 1<<20)
				ok(t, err)
				damage := func(what string, b []byte) {
					t.Helper()
					rewrite(t, fsys, path, b)
					defer rewrite(t, fsys, path, whole)
					reported := false
					l, err := Open(fsys, dir, NewCache(fsys, 2), Options{FileBytes: 20_000})
					var got [][]byte
					if err == nil {
						got, err = all(l, 0)
						ok(t, l.Close())
					}
					switch {
					case errors.Is(err, ErrCorrupt), errors.Is(err, ErrVersion):
						reported = true
					case err != nil:
						t.Errorf("%s of %s: %v", what, e.Name, err)
					}
					if strings.HasSuffix(e.Name, ".idx") && reported && !errors.Is(err, ErrVersion) {
						t.Errorf("%s of %s: an index is dispensable, but: %v", what, e.Name, err)
					}
					if !reported && !slices.EqualFunc(got, want, sameButEpoch) {
						t.Errorf("%s of %s: read %d batches, want %d, or others, and no error", what, e.Name, len(got), len(want))
					}
				}
				for range 300 {
					b := bytes.Clone(whole)
					at := rnd.IntN(len(b))
					b[at] ^= 1 << rnd.IntN(8)
					damage(fmt.Sprintf("bit of byte %d", at), b)
				}
				for range 20 {
					b := bytes.Clone(whole)
					at := rnd.IntN(len(b))
					clear(b[at:min(len(b), at+512)])
					damage(fmt.Sprintf("zeros at byte %d", at), b)
					damage(fmt.Sprintf("cut at byte %d", at), whole[:at])
				}
			}
		})
	}
}

// sameButEpoch compares batches without the leader epoch, which Kafka's checksum leaves
// out.
func sameButEpoch(a, b []byte) bool {
	a, b = bytes.Clone(a), bytes.Clone(b)
	clear(a[12:16])
	clear(b[12:16])
	return bytes.Equal(a, b)
}

func rewrite(t *testing.T, fsys vfs.FS, path string, b []byte) {
	t.Helper()
	f, err := fsys.Open(path)
	ok(t, err)
	ok(t, f.Truncate(0))
	_, err = f.WriteAt(b, 0)
	ok(t, err)
	ok(t, f.Close())
}

// A full device refuses an append, wholly; what is there stays, and the log goes on when
// there is space again.
func TestFull(t *testing.T) {
	fsys := vfs.NewMem()
	l := open(t, fsys, 20_000)
	fill(t, l, 15)
	ok(t, l.Sync())
	fsys.Limit(fsys.Used() + 3000)
	var err error
	for err == nil {
		err = l.Append(batch(l.End(), 10, 0, 1000))
	}
	end := l.End()
	if got, err := all(l, 0); err != nil || len(got) != int(end/10) {
		t.Errorf("on a full device: %d batches of %d, %v", len(got), end/10, err)
	}
	fsys.Limit(0)
	fill(t, l, 20)
	ok(t, l.Close())
	if got, err := all(open(t, fsys, 20_000), 0); err != nil || len(got) != int(end/10)+20 {
		t.Errorf("afterwards: %d batches, want %d, %v", len(got), end/10+20, err)
	}
}

// A failed sync is final for this log, and for no other.
func TestSyncFails(t *testing.T) {
	fsys := vfs.NewFaulty(vfs.NewMem(), nil)
	l := open(t, fsys, 20_000)
	other, err := Open(fsys, "/other", NewCache(fsys, 2), Options{})
	ok(t, err)
	fill(t, l, 3)
	fsys.SetHook(vfs.FailNth(vfs.OpSync, 1, errors.New("input/output error")))
	if err := l.Sync(); err == nil {
		t.Fatal("the sync succeeded")
	}
	if err := l.Sync(); err == nil {
		t.Error("a second sync succeeded: the first one's bytes may be gone")
	}
	if err := l.Append(batch(l.End(), 1, 0, 1)); err == nil {
		t.Error("an append succeeded after a failed sync")
	}
	if got, err := all(l, 0); err != nil || len(got) != 3 {
		t.Errorf("reads: %d batches, %v", len(got), err)
	}
	fill(t, other, 3)
	ok(t, other.Sync())
}

// So is one that was part of something else: of dropping, cutting or rewriting.
func TestSyncWithinFails(t *testing.T) {
	for _, kind := range []vfs.Kind{vfs.OpSync, vfs.OpSyncDir} {
		failed := 1
		for n := 1; failed > 0; n++ {
			mem := vfs.NewMem()
			l := open(t, mem, 20_000)
			fill(t, l, 60)
			ok(t, l.Sync())
			ok(t, l.Close())
			failing := vfs.NewFaulty(mem, nil)
			l = open(t, failing, 20_000)
			failed = 0
			left := n
			failing.SetHook(func(op vfs.Op) error {
				// What a rewriting has not put in place yet is made anew by the next.
				if op.Kind == kind && !strings.HasSuffix(op.Path, tmpSuffix) {
					if left--; left == 0 {
						failed++
						return errors.New("input/output error")
					}
				}
				return nil
			})
			work := []func() error{
				func() error { return halve(0, l.Bounds()[1])(l) },
				func() error { return l.TruncateTo(l.End() - 15) },
				func() error { return l.TruncateTo(l.Bounds()[len(l.Bounds())-1]) },
				func() error { return l.DropBefore(l.End()) },
				func() error { return l.Append(batch(l.End(), 1, 0, 1)) },
				l.Sync,
			}
			var err error
			for _, do := range work {
				if err = do(); err != nil {
					break
				}
			}
			if failed == 0 {
				continue
			}
			if !errors.Is(err, ErrUnsynced) {
				t.Errorf("%v %d fails: %v", kind, n, err)
			}
			if err := l.Append(batch(l.End(), 1, 0, 1)); !errors.Is(err, ErrUnsynced) {
				t.Errorf("%v %d fails: what is appended then: %v", kind, n, err)
			}
		}
	}
}

// A device without room for the mark has synced all the same: the log goes on, and the mark is
// made by the next Sync.
func TestMarkWithoutRoom(t *testing.T) {
	fsys := vfs.NewFaulty(vfs.NewMem(), nil)
	l := open(t, fsys, 20_000)
	fill(t, l, 3)
	ok(t, l.Sync())
	fill(t, l, 3)
	marks := 0
	fsys.SetHook(func(op vfs.Op) error {
		if op.Kind == vfs.OpWrite && op.Off == markAt {
			if marks++; marks == 1 {
				return syscall.ENOSPC
			}
		}
		return nil
	})
	ok(t, l.Sync())
	ok(t, l.Sync())
	if marks != 2 {
		t.Errorf("the mark was tried %d times, want one that fails and one that does not", marks)
	}
	ok(t, l.Sync())
	if marks != 2 {
		t.Error("a mark that is there is made again")
	}
	fill(t, l, 3)
	ok(t, l.Sync())
	if got, err := all(l, 0); err != nil || len(got) != 9 {
		t.Errorf("reads: %d batches, %v", len(got), err)
	}
}

// A process is killed in the middle of the header of its first file: the file is begun anew, and
// what is then appended is there for good.
func TestHeaderCutShort(t *testing.T) {
	opt := Options{FileBytes: 20_000, Owner: 7}
	for n := range int64(headerLen) {
		mem := vfs.NewMem()
		killed := vfs.NewFaulty(mem, nil)
		stopped := false
		killed.SetHook(func(op vfs.Op) error {
			switch {
			case stopped:
				return vfs.ErrStopped
			case op.Kind == vfs.OpWrite:
				stopped = true
				return &vfs.Short{Bytes: n, Err: vfs.ErrStopped}
			}
			return nil
		})
		l, err := Open(killed, dir, NewCache(killed, 2), opt)
		ok(t, err)
		if err := l.Append(batch(0, 10, 0, 1000)); !errors.Is(err, vfs.ErrStopped) {
			t.Fatalf("%d bytes of the header: appended, %v", n, err)
		}
		for life := range 3 {
			l, err := Open(mem, dir, NewCache(mem, 2), opt)
			if err != nil {
				t.Fatalf("%d bytes of the header, life %d: %v", n, life, err)
			}
			if life == 0 {
				ok(t, l.TruncateTo(0))
			}
			fill(t, l, 2)
			ok(t, l.Sync())
			if got, err := all(l, 0); err != nil || len(got) != 2*(life+1) {
				t.Fatalf("%d bytes of the header, life %d: %d batches, %v", n, life, len(got), err)
			}
			ok(t, l.Close())
		}
	}
}

// A process is killed at any operation while it cuts a log, the next one sees what
// that has left and does the same again, and the power goes at any of its operations:
// what was synced before the cut is there.
func TestKilledThenCrashed(t *testing.T) {
	const files, perFile, after = 3, 19, 4
	tests := []struct {
		name string
		cut  func(l *Log) error
		kept int64 // offsets below are held to the end, whatever happens
		from int64 // the first of them; -1: may differ
		next bool  // what the second process appends goes to a file of its own
	}{
		{"to within the first file", func(l *Log) error { return l.TruncateTo(50) }, 50, 0, false},
		{"to within the first file, and on in another", func(l *Log) error { return l.TruncateTo(50) }, 50, 0, true},
		{"to within the last file", func(l *Log) error { return l.TruncateTo(2*perFile*10 + 50) }, 2*perFile*10 + 50, 0, false},
		{"to a file's end", func(l *Log) error { return l.TruncateTo(perFile * 10) }, perFile * 10, 0, false},
		{"before the second file", func(l *Log) error { return l.DropBefore(perFile * 10) }, files * perFile * 10, -1, false},
		{"one file rewritten", halve(perFile*10, 2*perFile*10), files * perFile * 10, 0, false},
		{"two files rewritten as one", halve(0, 2*perFile*10), files * perFile * 10, 0, false},
	}
	// life works until an operation; 0: to the end.
	life := func(mem *vfs.Mem, until int, work func(l *Log) error) error {
		fsys := vfs.NewFaulty(mem, nil)
		if until > 0 {
			fsys.SetHook(vfs.StopAt(until))
		}
		l, err := Open(fsys, dir, NewCache(fsys, 2), Options{FileBytes: 20_000})
		if err != nil && !errors.Is(err, vfs.ErrStopped) {
			t.Fatal(err)
		}
		if err == nil {
			err = work(l)
		}
		return err
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			made := func() *vfs.Mem {
				mem := vfs.NewMem()
				ok(t, mem.MkdirAll(dir))
				ok(t, mem.SyncDir("/"))
				ok(t, life(mem, 0, func(l *Log) error {
					fill(t, l, files*perFile)
					if err := l.Sync(); err != nil {
						return err
					}
					return l.Close()
				}))
				ok(t, mem.SyncDir(dir)) // indexes too
				return mem
			}
			again := func(l *Log) error {
				if err := tt.cut(l); err != nil {
					return err
				}
				if tt.next {
					l.SetFileBytes(1)
				}
				for range after {
					if err := l.Append(batch(l.End(), 10, l.End(), 1000)); err != nil {
						return err
					}
				}
				return l.Sync()
			}
			for first := 1; ; first++ {
				var killed error
				for second := 1; ; second++ {
					left := made()
					killed = life(left, first, tt.cut)
					stopped := life(left, second, again)
					for seed := range uint64(6) {
						disk := left.CrashClone(seed)
						l, err := Open(disk, dir, NewCache(disk, 2), Options{FileBytes: 20_000})
						if err != nil {
							t.Fatalf("killed at %d, power loss at %d, seed %d: %v", first, second, seed, err)
						}
						if l.End() < tt.kept || tt.from >= 0 && l.Start() != tt.from {
							t.Fatalf("killed at %d, power loss at %d, seed %d: holds [%d,%d), want up to %d", first, second, seed, l.Start(), l.End(), tt.kept)
						}
						got, err := all(l, l.Start())
						if err != nil {
							t.Fatalf("killed at %d, power loss at %d, seed %d: %v", first, second, seed, err)
						}
						held := make(map[int64]bool)
						for _, b := range got {
							held[record.Batch(b).BaseOffset()] = true
						}
						for base := int64(0); tt.from == 0 && base < tt.kept; base += 20 {
							if !held[base] {
								t.Fatalf("killed at %d, power loss at %d, seed %d: the batch at %d is gone", first, second, seed, base)
							}
						}
					}
					if stopped == nil {
						break
					}
				}
				if killed == nil {
					break
				}
			}
		})
	}
}

// halve rewrites files at rest, without every other batch.
func halve(from, to int64) func(l *Log) error {
	return func(l *Log) error {
		_, err := l.Rewrite(from, to, func(b []byte) ([]byte, error) {
			if record.Batch(b).BaseOffset()/10%2 == 1 {
				return nil, nil
			}
			return b, nil
		})
		return err
	}
}

// A rewriting that fails when all but the name is done changes nothing: not for what is read now,
// and not for what is read after the next start.
func TestRenameFails(t *testing.T) {
	mem := vfs.NewMem()
	l := open(t, mem, 20_000)
	fill(t, l, 50)
	ok(t, l.Sync())
	ok(t, l.Close())
	failing := vfs.NewFaulty(mem, nil)
	failing.SetHook(vfs.FailNth(vfs.OpRename, 1, syscall.EIO))
	l = open(t, failing, 20_000)
	if err := halve(0, l.Bounds()[1])(l); !errors.Is(err, syscall.EIO) {
		t.Fatalf("rewritten: %v", err)
	}
	fill(t, l, 1)
	ok(t, l.Sync())
	for _, life := range []string{"this", "the next"} {
		if got, err := all(l, 0); err != nil || len(got) != 51 {
			t.Errorf("%s life: %d batches, %v", life, len(got), err)
		}
		ok(t, l.Close())
		l = open(t, mem, 20_000)
	}
}

// Readers of a file that is rewritten beneath them get every batch that stays, in order.
func TestReadWhileRewriting(t *testing.T) {
	fsys := vfs.NewMem()
	l, err := Open(fsys, dir, NewCache(fsys, 1), Options{FileBytes: 20_000}) // handles come and go
	ok(t, err)
	fill(t, l, 120)
	ok(t, l.Sync())
	stop, done := make(chan struct{}), make(chan error, 2)
	for range 2 {
		go func() {
			for {
				select {
				case <-stop:
					done <- nil
					return
				default:
				}
				got, err := all(l, 0)
				next := int64(0)
				for _, b := range got {
					if base := record.Batch(b).BaseOffset(); base == next {
						next += 160
					}
				}
				if err == nil && next != 1280 {
					err = fmt.Errorf("batch %d stays, and was not read", next)
				}
				if err != nil {
					done <- err
					return
				}
			}
		}()
	}
	for _, every := range []int64{2, 4, 8, 16} {
		bounds := l.Bounds()
		for i := range len(bounds) - 1 {
			_, err := l.Rewrite(bounds[i], bounds[i+1], func(b []byte) ([]byte, error) {
				if record.Batch(b).BaseOffset()/10%every != 0 {
					return nil, nil
				}
				return b, nil
			})
			ok(t, err)
		}
	}
	close(stop)
	for range 2 {
		ok(t, <-done)
	}
	ok(t, l.Close())
}

// A reader never needs more files open than the cache allows, and one that is removed
// beneath it does no harm.
func TestCache(t *testing.T) {
	fsys := vfs.NewMem()
	cache := NewCache(fsys, 2)
	l, err := Open(fsys, dir, cache, Options{FileBytes: 4000})
	ok(t, err)
	fill(t, l, 40)
	ok(t, l.Sync())
	for i := range int64(40) {
		at := i * 170 % 400
		b, err := l.Read(at, 1)
		if err != nil || record.Batch(b).LastOffset() < at {
			t.Fatalf("read at %d: %v", at, err)
		}
		if n := cache.idle.Len(); n > 2 || len(cache.handles) != n {
			t.Fatalf("%d files are open, %d of them in use", len(cache.handles), len(cache.handles)-n)
		}
	}
	ok(t, l.Close())
	if len(cache.handles) != 0 {
		t.Errorf("%d files are open after Close", len(cache.handles))
	}
}

// A removed index is made anew from the batches, and a damaged one is no obstacle.
func TestIndexIsDispensable(t *testing.T) {
	fsys := vfs.NewMem()
	l := open(t, fsys, 20_000)
	fill(t, l, 60)
	ok(t, l.Sync())
	want, err := all(l, 0)
	ok(t, err)
	ok(t, l.Close())
	l = open(t, fsys, 20_000) // knows its indexes, and has not read them
	entries, err := fsys.ReadDir(dir)
	ok(t, err)
	for _, e := range entries {
		if strings.HasSuffix(e.Name, ".idx") {
			ok(t, fsys.Remove(filepath.Join(dir, e.Name)))
		}
	}
	for range 2 {
		got, err := all(l, 0)
		if err != nil || !slices.EqualFunc(got, want, bytes.Equal) {
			t.Errorf("without indexes: %d batches of %d, %v", len(got), len(want), err)
		}
		ok(t, l.Close())
		l = open(t, fsys, 20_000)
	}
}

func TestNewer(t *testing.T) {
	fsys := vfs.NewMem()
	l := open(t, fsys, 20_000)
	fill(t, l, 1)
	ok(t, l.Close())
	path := segPath(dir, 0)
	whole, err := vfs.ReadFile(fsys, path, 1<<20)
	ok(t, err)
	whole[8] = version + 1
	rewrite(t, fsys, path, whole)
	if _, err := Open(fsys, dir, NewCache(fsys, 2), Options{}); !errors.Is(err, ErrVersion) {
		t.Errorf("a file of a newer release: %v", err)
	}
}

// Whatever bytes stand behind a header: opening and reading end, with what is whole.
func FuzzSegment(f *testing.F) {
	f.Add([]byte{}, uint16(0))
	f.Add(slices.Concat(batch(0, 3, 1, 50), batch(3, 1, 2, 10)), uint16(70))
	f.Fuzz(func(t *testing.T, body []byte, mark uint16) {
		fsys := vfs.NewMem()
		ok(t, fsys.MkdirAll(dir))
		w, err := fsys.Create(segPath(dir, 0))
		ok(t, err)
		b := append(header{id: 7}.encode(), body...)
		copy(b[markAt:], encodeMark(0, int64(mark)))
		_, err = w.WriteAt(b, 0)
		ok(t, err)
		ok(t, w.Close())
		l, err := Open(fsys, dir, NewCache(fsys, 2), Options{})
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		got, err := all(l, 0)
		ok(t, err)
		var n int
		for _, b := range got {
			if !bytes.Equal(b, body[n:n+len(b)]) {
				t.Fatal("read other bytes than there are")
			}
			n += len(b)
		}
		ok(t, l.TruncateTo(l.End()/2))
		ok(t, l.Append(batch(l.End(), 1, 1, 1)))
		ok(t, l.Sync())
		ok(t, l.Close())
	})
}

func FuzzIndex(f *testing.F) {
	s := summary{header: header{base: 5, id: 9}, size: 5000, first: 5, last: 60, latest: 77, entries: 2}
	f.Add(encodeIndex(s, []entry{{5, headerLen, noTime}, {30, 2000, 70}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeSummary(b)
		if err != nil {
			return
		}
		entries, err := decodeEntries(s, b[idxLen:])
		if err != nil {
			return
		}
		used := b[:idxLen+len(entries)*idxEntryLen]
		if again := encodeIndex(s, entries); !bytes.Equal(again, used) {
			t.Fatalf("decode then encode changed bytes\n got %x\nwant %x", again, used)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			l, err := Open(vfs.OS{}, filepath.Join(b.TempDir(), "l"), NewCache(vfs.OS{}, 8), Options{})
			ok(b, err)
			rb := batch(0, 10, 1, size)
			b.SetBytes(int64(len(rb)))
			b.ReportAllocs()
			for b.Loop() {
				record.Batch(rb).SetBaseOffset(l.End())
				if err := l.Append(rb); err != nil {
					b.Fatal(err)
				}
			}
			ok(b, l.Close())
		})
	}
}

func BenchmarkRead(b *testing.B) {
	l, err := Open(vfs.OS{}, filepath.Join(b.TempDir(), "l"), NewCache(vfs.OS{}, 8), Options{})
	ok(b, err)
	fill(b, l, 50_000)
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{1, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			b.ReportAllocs()
			var n int64
			for b.Loop() {
				got, err := l.Read(rnd.Int64N(400_000), size)
				if err != nil {
					b.Fatal(err)
				}
				n += int64(len(got))
			}
			b.SetBytes(n / int64(b.N))
		})
	}
	ok(b, l.Close())
}
