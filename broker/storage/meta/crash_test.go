package meta

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"unsafe"

	"go.etcd.io/bbolt"

	"github.com/robustmq/rmq/broker/storage"
)

// The store's file at every step of its writing: bbolt goes past package vfs, so what it writes
// is recorded at the one function that it writes through, and the files that a power loss or
// a kill may leave are made of that.
//
// A transaction writes its pages, syncs, writes one of the two meta pages, and syncs. The
// writes are seen; the syncs between are taken on bbolt's word.

// metaPages are the pages that say which of the others count.
const metaPages = 2

// recorder makes the files that may be left, from what was written.
type recorder struct {
	t      *testing.T
	path   string
	page   int64
	synced []byte  // the file as the device has it for sure
	since  []write // behind that, in order
	lazy   bool    // a bug: pages are not synced before a meta page is written
	meta   bool    // a meta page was written in this transaction
	try    func(how string, file []byte)
}

type write struct {
	off  int64
	data []byte
}

// record stands between bbolt and its file.
func (r *recorder) record(db *bbolt.DB) {
	r.page = int64(db.Info().PageSize)
	field := reflect.ValueOf(db).Elem().FieldByName("ops").FieldByName("writeAt")
	writeAt := (*func([]byte, int64) (int, error))(unsafe.Pointer(field.UnsafeAddr()))
	inner := *writeAt
	*writeAt = func(b []byte, off int64) (int, error) {
		r.before(write{off, bytes.Clone(b)})
		return inner(b, off)
	}
}

// begin takes the file for synced: all of a transaction is when it returns.
func (r *recorder) begin() {
	b, err := os.ReadFile(r.path)
	if err != nil {
		r.t.Fatal(err)
	}
	r.synced, r.since, r.meta = b, nil, false
}

// before is called before each write.
func (r *recorder) before(w write) {
	if info, err := os.Stat(r.path); err == nil && info.Size() > int64(len(r.synced)) {
		r.synced = append(r.synced, make([]byte, info.Size()-int64(len(r.synced)))...) // grown, and synced
	}
	isMeta := w.off < metaPages*r.page
	if isMeta && !r.lazy || r.meta { // a sync is between two kinds of pages
		r.left("before a sync")
		r.sync()
	}
	r.meta = isMeta
	r.left("before a write")
	half := w
	half.data = w.data[:len(w.data)/2]
	r.since = append(r.since, half)
	r.left("within a write")
	r.since[len(r.since)-1] = w
}

func (r *recorder) sync() {
	for _, w := range r.since {
		copy(r.synced[w.off:], w.data)
	}
	r.since = nil
}

// sector is what a device writes wholly or not at all.
const sector = 512

// left tries what may be there if all ends here.
func (r *recorder) left(when string) {
	for _, keep := range []float64{0, 0.5, 1} {
		if keep > 0 && len(r.since) == 0 {
			break
		}
		rnd := rand.New(rand.NewPCG(uint64(len(r.since)), uint64(keep*10)))
		file := bytes.Clone(r.synced)
		for _, w := range r.since {
			for at := 0; at < len(w.data); at += sector {
				if rnd.Float64() < keep {
					copy(file[w.off+int64(at):], w.data[at:min(at+sector, len(w.data))])
				}
			}
		}
		r.try(fmt.Sprintf("%s, %.0f%% of what was not synced kept", when, 100*keep), file)
	}
}

// A crash at any step leaves each shard's last checkpoint, or the one that was being saved.
func TestCrashAtEveryWrite(t *testing.T) {
	found := crashAtEveryWrite(t, false)
	if found.lost+found.refused > 0 {
		t.Error(found.first)
	}
	if found.points < 500 {
		t.Errorf("%d points: little was tried", found.points)
	}
}

// The test sees what it is for: without the sync between a transaction's pages and its meta page
// checkpoints are lost.
func TestCrashTestSees(t *testing.T) {
	for range 50 { // most often once; bbolt puts pages where a map's order says, and seldom so that all goes well
		if found := crashAtEveryWrite(t, true); found.lost+found.refused > 0 {
			return
		}
	}
	t.Error("nothing is lost, or the test does not see it")
}

type found struct {
	points, lost, refused int
	first                 string // breach
}

// crashAtEveryWrite saves checkpoints of a few shards; lazy: a sync is left out.
func crashAtEveryWrite(t *testing.T, lazy bool) (f found) {
	breach := func(format string, args ...any) {
		if f.first == "" {
			f.first = fmt.Sprintf(format, args...)
		}
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "checkpoints.db")
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	const shards = 3
	type checkpoint struct {
		index uint64
		state state
	}
	var saved [shards]checkpoint // acknowledged
	saving, next := -1, checkpoint{}
	try := func(how string, file []byte) {
		if f.lost+f.refused > 0 {
			return // one is enough
		}
		f.points++
		copied := filepath.Join(dir, "left.db")
		if err := os.WriteFile(copied, file, 0o600); err != nil {
			t.Fatal(err)
		}
		left, err := Open(copied)
		if err != nil {
			f.refused++
			breach("%s of save %d: it does not open: %v", how, next.index, err)
			return
		}
		for id, want := range saved {
			m, got, err := contents(left, storage.ShardID(id))
			switch {
			case err != nil:
				f.refused++
				breach("%s of save %d: shard %d: %v", how, next.index, id, err)
			case m == want.index && maps.Equal(got, want.state):
			case id == saving && m == next.index && maps.Equal(got, next.state):
			default:
				f.lost++
				breach("%s of save %d of shard %d: shard %d is at %d, its checkpoint was at %d", how, next.index, saving, id, m, want.index)
			}
		}
		if err := left.Close(); err != nil {
			t.Error(err)
		}
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	r := &recorder{t: t, path: path, lazy: lazy, try: try}
	for i := range 30 {
		saving = i % shards
		was := saved[saving]
		full := i >= shards && rnd.IntN(6) == 0
		changes := make(state)
		for range 1 + rnd.IntN(25) {
			changes[fmt.Sprint("k", rnd.IntN(40))] = fmt.Sprintf("%d %0*d", i, rnd.IntN(400), i)
		}
		if was.state != nil && !full {
			for k := range was.state {
				if rnd.IntN(4) == 0 {
					changes[k] = "-"
				}
			}
		}
		next = checkpoint{index: uint64(i + 1), state: state{}.with(changes)}
		if was.state != nil && !full {
			next.state = was.state.with(changes)
		}
		if i > 0 {
			r.begin()
		}
		if err := s.Save(storage.ShardID(saving), storage.CheckpointMeta{Index: next.index, Term: 1}, full, changes.seq()); err != nil {
			t.Fatal(err)
		}
		if i == 0 { // the file is there
			r.record(s.db)
		}
		if i > 0 {
			r.left("before the last sync")
			r.sync()
			saved[saving] = next
			r.left("after a save")
		}
		saved[saving] = next
	}
	t.Logf("%d points, %d acknowledged checkpoints lost, %d refused", f.points, f.lost, f.refused)
	return f
}

// contents is a shard's checkpoint.
func contents(s *Store, id storage.ShardID) (index uint64, got state, err error) {
	m, all, err := s.Load(id)
	if err != nil {
		return 0, nil, err
	}
	if m.Index == 0 {
		return 0, nil, nil
	}
	got = make(state)
	for k, v := range all {
		got[string(k)] = string(v)
	}
	return m.Index, got, nil
}
