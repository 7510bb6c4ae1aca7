package doctor_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/doctor"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/segment"
	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/filelog"
	"github.com/robustmq/rmq/broker/storage/meta"
	"github.com/robustmq/rmq/broker/vfs"
)

// now is after everything that these tests write.
var now = time.Now().Add(time.Minute)

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start opens a kernel on a directory whose files are small.
func start(t testing.TB, dir string, checkpoint int) (*kernel.Kernel, func()) {
	t.Helper()
	return startOn(t, vfs.OS{}, dir, checkpoint)
}

func startOn(t testing.TB, fsys vfs.FS, dir string, checkpoint int) (*kernel.Kernel, func()) {
	t.Helper()
	e, err := filelog.Open(dir, filelog.Options{
		FS:         fsys,
		WALFileMin: 64 << 10, WALFileMax: 64 << 10, SegmentBytes: 16 << 10,
		Checkpoints: func(path string) (filelog.CheckpointStore, error) { return meta.Open(path) },
	})
	ok(t, err)
	return kerneltest.Start(t, kerneltest.Options{Engine: e, CheckpointBytes: checkpoint, DataShards: 1})
}

const (
	each    = 10 // records in one batch
	batches = 90
)

// value is what the record at an offset holds.
func value(offset int64) []byte { return bytes.Repeat([]byte(fmt.Sprintf("%06d.", offset)), 40) }

// produce appends batches to the stream "orders", and waits for each.
func produce(t testing.TB, k *kernel.Kernel, batches int) {
	t.Helper()
	st, known := k.Stream("/", "orders")
	if !known {
		var err error
		st, err = k.CreateStream(t.Context(), kernel.StreamSpec{Namespace: "/", Address: "orders", Partitions: 1})
		ok(t, err)
	}
	p, err := k.Partition(st.ID, 0)
	ok(t, err)
	for range batches {
		var b record.Builder
		b.Reset(nil, time.Now().UnixMilli())
		next := p.Info().End
		for i := range int64(each) {
			b.Add(time.Now().UnixMilli(), nil, value(next+i))
		}
		done := make(answer, 1)
		p.Append(b.Finish(), -1, done, 0)
		ok(t, <-done)
	}
}

type answer chan error

func (a answer) Appended(_ uint64, r kernel.AppendResult) { a <- r.Err }

// consume reads everything and returns the offsets that are there, as ranges.
func consume(t testing.TB, k *kernel.Kernel) string {
	t.Helper()
	st, known := k.Stream("/", "orders")
	if !known {
		return "no stream"
	}
	p, err := k.Partition(st.ID, 0)
	ok(t, err)
	var got []string
	first, last := int64(-1), int64(-2)
	flush := func() {
		if first >= 0 {
			got = append(got, fmt.Sprintf("%d-%d", first, last))
		}
	}
	for next := p.Info().Start; next < p.Info().End; {
		r, err := p.Read(next, 64<<10, "", true)
		ok(t, err)
		before := next
		for _, raw := range r.Batches {
			for len(raw) > 0 {
				b, rest, err := record.Next(raw)
				ok(t, err)
				raw, next = rest, b.NextOffset()
				ok(t, b.Each(func(rec *record.Record) error {
					if !bytes.Equal(rec.Value, value(rec.Offset)) {
						t.Errorf("offset %d holds %.20q", rec.Offset, rec.Value)
					}
					if rec.Offset != last+1 {
						flush()
						first = rec.Offset
					}
					last = rec.Offset
					return nil
				}))
			}
		}
		if next == before {
			break // nothing more is there
		}
	}
	flush()
	return strings.Join(got, " ")
}

// filled is a directory with a log that was checkpointed now and then, and batches in it.
func filled(t testing.TB, checkpoint int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	k, stop := start(t, dir, checkpoint)
	produce(t, k, batches)
	stop()
	if t.Failed() {
		t.FailNow()
	}
	return dir
}

// without are the offsets that consume returns when those from first on, and before next, are
// gone. Where the last checkpoint fell, and so whether any follow, is a matter of time.
func without(first, next int64) string {
	if next == batches*each {
		return fmt.Sprintf("0-%d", first-1)
	}
	return fmt.Sprintf("0-%d %d-%d", first-1, next, batches*each-1)
}

// flip damages a byte of a file.
func flip(t testing.TB, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	ok(t, err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	ok(t, err)
	b[0] ^= 0x10
	_, err = f.WriteAt(b, at)
	ok(t, errors.Join(err, f.Close()))
}

// check returns what is wrong, and with it what is to be typed.
func check(t testing.TB, dir string) (wrong []doctor.Finding) {
	t.Helper()
	doctor.Check(t.Context(), doctor.Options{Dir: dir, Now: now, NoProbe: true}, func(f doctor.Finding) {
		if f.Level == doctor.Fail {
			wrong = append(wrong, f)
			if f.Hint == "" {
				t.Errorf("%s: %s: and what is one to do?", f.Check, f.Text)
			}
		}
	})
	return wrong
}

// files are those that match in a directory, with what they hold.
func files(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	ok(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() != filelog.LockFile {
			var b []byte
			b, err = os.ReadFile(path)
			rel, _ := filepath.Rel(dir, path)
			all[rel] = string(b)
		}
		return err
	}))
	return all
}

// repair does all that can be done, and returns the directory of what was taken.
func repair(t testing.TB, dir string) (*doctor.Repair, string) {
	t.Helper()
	r, err := doctor.Plan(dir, true)
	ok(t, err)
	kept, err := r.Do(now, func(doctor.Step) {})
	ok(t, errors.Join(err, r.Close()))
	return r, kept
}

// segments are the segment files of the stream, by base offset.
func segments(t testing.TB, dir string) (paths []string) {
	t.Helper()
	s, err := doctor.Look(dir)
	ok(t, err)
	for _, l := range s.Segments {
		for _, f := range l.Files {
			if l.ID.Log != 0 {
				paths = append(paths, f.Path)
			}
		}
	}
	if len(paths) < 3 {
		t.Fatalf("%d segment files", len(paths))
	}
	return paths
}

// batchAt returns where a batch of a segment file lies, and its offset.
func batchAt(t testing.TB, path string, n int) (pos, offset int64) {
	t.Helper()
	f, err := os.Open(path)
	ok(t, err)
	defer f.Close()
	info, err := f.Stat()
	ok(t, err)
	r, err := segment.NewFileReader(f, info.Size(), -1, 0, true)
	ok(t, err)
	for i := 0; r.Next(); i++ {
		pos, offset = r.Pos(), r.Batch().BaseOffset()
		if i == n {
			break
		}
	}
	return pos, offset
}

func TestSoundDirectory(t *testing.T) {
	dir := filled(t, 64<<10)
	before := files(t, dir)
	if wrong := check(t, dir); wrong != nil {
		t.Errorf("wrong: %+v", wrong)
	}
	r, err := doctor.Plan(dir, false)
	ok(t, err)
	if len(r.Steps) > 0 || len(r.Not) > 0 {
		t.Errorf("plan %+v", r)
	}
	for name, b := range files(t, dir) {
		if before[name] != b {
			t.Errorf("%s was changed", name)
		}
	}
	if _, err := doctor.Plan(dir, true); err != nil { // and is let go by the test's end only
		t.Fatal(err)
	}
	if _, err := doctor.Plan(dir, true); !errors.Is(err, storage.ErrInUse) {
		t.Errorf("planned twice: %v", err)
	}
	s := doctor.Check(t.Context(), doctor.Options{Dir: dir, Now: time.Now().Add(-time.Hour), NoProbe: true}, func(f doctor.Finding) {
		if f.Check == "clock" && f.Level != doctor.Warn {
			t.Errorf("a clock that jumped back: %+v", f)
		}
	})
	if !s.Live || s.PID != os.Getpid() {
		t.Errorf("held by %d, %v", s.PID, s.Live)
	}
}

// Each damage is found, told with a command, and repaired: the broker opens, reads all that
// is still there, goes on, and what was taken away is in quarantine as it was.
func TestRepair(t *testing.T) {
	for _, tt := range []struct {
		name       string
		checkpoint int
		hurt       func(t *testing.T, dir string) (want string) // offsets afterwards
		loses      bool
	}{
		{"a batch in the middle of a segment", 64 << 10, func(t *testing.T, dir string) string {
			pos, offset := batchAt(t, segments(t, dir)[1], 2)
			flip(t, segments(t, dir)[1], pos+200)
			return without(offset, offset+each)
		}, true},
		{"the last batch of a segment that another follows", 64 << 10, func(t *testing.T, dir string) string {
			pos, offset := batchAt(t, segments(t, dir)[1], 1000)
			flip(t, segments(t, dir)[1], pos+200)
			return without(offset, offset+each)
		}, true},
		{"the header of a segment", 64 << 10, func(t *testing.T, dir string) string {
			flip(t, segments(t, dir)[0], 17)
			return "0-899"
		}, false},
		{"a segment was removed", 64 << 10, func(t *testing.T, dir string) string {
			s := segments(t, dir)
			_, first := batchAt(t, s[1], 0)
			_, next := batchAt(t, s[2], 0)
			ok(t, os.Remove(s[1]))
			ok(t, os.Remove(strings.TrimSuffix(s[1], ".seg")+".idx"))
			return without(first, next)
		}, true},
		{"the last batch of the last segment, of which the checkpoint speaks", 64 << 10, func(t *testing.T, dir string) string {
			s := segments(t, dir)
			pos, offset := batchAt(t, s[len(s)-1], 1000)
			flip(t, s[len(s)-1], pos+200)
			return without(offset, offset+each)
		}, true},
		{"the last segment was removed, of which the checkpoint speaks", 64 << 10, func(t *testing.T, dir string) string {
			s := segments(t, dir)
			_, first := batchAt(t, s[len(s)-1], 0)
			_, last := batchAt(t, s[len(s)-1], 1000)
			ok(t, os.Remove(s[len(s)-1]))
			ok(t, os.Remove(strings.TrimSuffix(s[len(s)-1], ".seg")+".idx"))
			return without(first, last+each)
		}, true},
		{"an index", 64 << 10, func(t *testing.T, dir string) string {
			flip(t, strings.TrimSuffix(segments(t, dir)[0], ".seg")+".idx", 80)
			return "0-899"
		}, false},
		{"an entry of the log", 1 << 30, func(t *testing.T, dir string) string {
			s, err := doctor.Look(dir)
			ok(t, err)
			at := entryOf(t, s.WAL[0].Path, 1, 15)
			flip(t, s.WAL[0].Path, at+100)
			return "" // asked of the plan
		}, true},
		{"checkpoints, and all is in the log", 1 << 30, func(t *testing.T, dir string) string {
			store, err := meta.Open(filepath.Join(dir, filelog.CheckpointFile))
			ok(t, err)
			ok(t, errors.Join(store.Save(5, storage.CheckpointMeta{Index: 1, Term: 1}, true, func(func(_, _ []byte) bool) {}), store.Close()))
			flip(t, filepath.Join(dir, filelog.CheckpointFile), 16)
			flip(t, filepath.Join(dir, filelog.CheckpointFile), 4096+16)
			return "0-899"
		}, false},
		{"VERSION", 64 << 10, func(t *testing.T, dir string) string {
			ok(t, os.Remove(filepath.Join(dir, filelog.VersionFile)))
			return "0-899"
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filled(t, tt.checkpoint)
			want := tt.hurt(t, dir)
			before := files(t, dir)
			if wrong := check(t, dir); len(wrong) == 0 && tt.name != "an index" {
				t.Error("nothing was found")
			}
			r, kept := repair(t, dir)
			if len(r.Steps) == 0 || len(r.Not) > 0 || r.Loses() != tt.loses {
				t.Fatalf("plan %+v", r)
			}
			for _, s := range r.Steps {
				for _, name := range s.Files {
					b, err := os.ReadFile(filepath.Join(kept, name))
					if was, there := before[name]; there && (err != nil || string(b) != was) {
						t.Errorf("%s is not in quarantine as it was: %v", name, err)
					}
				}
			}
			if b, err := os.ReadFile(filepath.Join(kept, "README")); err != nil || !strings.Contains(string(b), r.Steps[0].What) {
				t.Errorf("README: %s %v", b, err)
			}
			if wrong := check(t, dir); wrong != nil {
				t.Errorf("after the repair: %+v", wrong)
			}
			k, stop := start(t, dir, 64<<10)
			got := consume(t, k)
			if want == "" { // entries of the log are batches, or commands
				if !strings.HasPrefix(got, "0-") || got == "0-899" {
					t.Errorf("offsets %s", got)
				}
			} else if got != want {
				t.Errorf("offsets %s, want %s", got, want)
			}
			produce(t, k, 20)
			again := consume(t, k)
			stop()
			k, stop = start(t, dir, 64<<10)
			defer stop()
			if now := consume(t, k); now != again || now == got {
				t.Errorf("offsets after another start %s, before it %s", now, again)
			}
		})
	}
}

// A segment that could not be written is no shorter than it should be: the checkpoint carries
// what it lacks, and a broker goes on with that.
func TestSegmentThatWasNotWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	k, stop := start(t, dir, 64<<10)
	produce(t, k, 20)
	stop()
	ill := vfs.NewFaulty(vfs.OS{}, func(op vfs.Op) error {
		if op.Kind == vfs.OpSync && strings.Contains(op.Path, "segments") && !strings.HasSuffix(op.Path, "0000000000000000") {
			return syscall.EIO
		}
		return nil
	})
	k, stop = startOn(t, ill, dir, 64<<10)
	produce(t, k, 60)
	stop()
	var told []string
	doctor.Check(t.Context(), doctor.Options{Dir: dir, Now: now, NoProbe: true}, func(f doctor.Finding) {
		if f.Level == doctor.Fail {
			t.Errorf("%s: %s", f.Check, f.Text)
		}
		if strings.Contains(f.Text, "the checkpoint carries") {
			told = append(told, f.Text)
		}
	})
	if len(told) != 1 || !strings.Contains(told[0], "(orders)") {
		t.Errorf("told %q", told)
	}
	k, stop = start(t, dir, 64<<10)
	defer stop()
	if got := consume(t, k); got != "0-799" {
		t.Errorf("offsets %s", got)
	}
}

// Without checkpoints.db all that the log holds is applied again, when it holds all.
func TestCheckpointsThatAreGone(t *testing.T) {
	for _, whole := range []bool{true, false} {
		dir := filled(t, 1<<30) // none was made: as if the file were gone
		if !whole {             // as if all shards had been checkpointed
			s, err := doctor.Look(dir)
			ok(t, err)
			ok(t, os.Remove(s.WAL[0].Path))
		}
		wrong := check(t, dir)
		if !whole {
			if len(wrong) != 1 || !strings.Contains(wrong[0].Text, "checkpoints.db is missing, and the log does not hold the first entries of shards 0") {
				t.Errorf("told %+v", wrong)
			}
			continue
		}
		if wrong != nil {
			t.Errorf("told %+v", wrong)
		}
		k, stop := start(t, dir, 64<<10)
		if got := consume(t, k); got != "0-899" {
			t.Errorf("offsets %s", got)
		}
		stop()
	}
}

// entryOf returns where an entry of a log file lies.
func entryOf(t testing.TB, path string, shard storage.ShardID, index uint64) int64 {
	t.Helper()
	f, err := os.Open(path)
	ok(t, err)
	defer f.Close()
	info, err := f.Stat()
	ok(t, err)
	r, err := filelog.NewWALReader(f, info.Size(), 0, false)
	ok(t, err)
	for r.Next() {
		if x := r.Record(); x.Op == "entry" && x.Shard == shard && x.Index == index {
			return x.At
		}
	}
	t.Fatalf("no entry %d of shard %d in %s", index, shard, path)
	return 0
}

// What cannot be mended is said, and left alone.
func TestCannot(t *testing.T) {
	dir := filled(t, 64<<10)
	s, err := doctor.Look(dir)
	ok(t, err)
	ok(t, os.Remove(s.WAL[0].Path)) // as if all shards had been checkpointed
	for at := int64(0); at < s.CheckpointFile.Bytes; at += 512 {
		flip(t, s.CheckpointFile.Path, at+20)
	}
	before := files(t, dir)
	r, err := doctor.Plan(dir, true)
	ok(t, err)
	defer r.Close()
	if len(r.Not) == 0 || !strings.Contains(strings.Join(r.Not, "\n"), "put checkpoints.db back from a copy") {
		t.Errorf("%+v", r)
	}
	if slices.ContainsFunc(r.Steps, func(s doctor.Step) bool { return slices.Contains(s.Files, filelog.CheckpointFile) }) {
		t.Error("checkpoints that are needed would go")
	}
	for name, b := range files(t, dir) {
		if before[name] != b {
			t.Errorf("%s was changed by a plan", name)
		}
	}
}

// A directory of somebody else's is left alone.
func TestForeign(t *testing.T) {
	dir := t.TempDir()
	ok(t, os.WriteFile(filepath.Join(dir, "thesis.txt"), []byte("x"), 0o600))
	if wrong := check(t, dir); len(wrong) != 1 || wrong[0].Check != "version" {
		t.Errorf("%+v", wrong)
	}
	r, err := doctor.Plan(dir, false)
	ok(t, err)
	if len(r.Steps) > 0 || len(r.Not) != 1 {
		t.Errorf("%+v", r)
	}
	if _, err := doctor.Plan(filepath.Join(dir, "nothing"), false); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	var found []doctor.Finding
	if s := doctor.Check(context.Background(), doctor.Options{Dir: filepath.Join(dir, "nothing")}, func(f doctor.Finding) { found = append(found, f) }); s != nil || len(found) != 1 {
		t.Errorf("%+v", found)
	}
}
