package filelog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/storagetest"
	"github.com/robustmq/rmq/broker/vfs"
)

// node is a small kernel: it appends, applies, flushes, checkpoints and releases as the
// real one does, and remembers what the engine has promised. After a crash it checks
// the promises.
type node struct {
	disk   *vfs.Mem
	faulty *vfs.Faulty
	eng    *Engine
	rand   *rand.Rand
	shards []*replica
}

// replica is what node knows of one shard.
type replica struct {
	id storage.ShardID
	// ops are the records of the shard's log since the beginning; the first acked of them
	// were promised. A crash leaves a beginning of ops, not shorter than that.
	ops   []logOp
	acked int

	saved    []savedState // checkpoints, in the order of Save
	promised int          // of saved: so many, at least
	batches  [][]byte     // appended to the segment; those dropped are still here
	seg      storage.Segment
}

// logOp is one entry or one hard state.
type logOp struct {
	entry storage.Entry
	hard  *storage.HardState
}

type savedState struct {
	index uint64
	end   int64 // of the segment, synced before
}

func newNode(disk *vfs.Mem, seed uint64, shards int) *node {
	n := &node{disk: disk, rand: rand.New(rand.NewPCG(seed, 1))}
	for i := range shards {
		n.shards = append(n.shards, &replica{id: storage.ShardID(i * 3)})
	}
	return n
}

// simOptions makes everything small, so that little happens without a roll.
func simOptions(fsys vfs.FS) Options {
	opt := on(fsys)
	opt.WALFileMin, opt.WALFileMax, opt.SegmentBytes, opt.OpenFiles = 6<<10, 12<<10, 4<<10, 2
	return opt
}

// open opens the engine over faults, and checks all promises.
func (n *node) open(hook func(vfs.Op) error) error {
	n.faulty = vfs.NewFaulty(n.disk, hook)
	eng, err := Open("/data", simOptions(n.faulty))
	if err != nil {
		return err
	}
	n.eng = eng
	for _, r := range n.shards {
		if err := r.recover(eng); err != nil {
			return errors.Join(fmt.Errorf("shard %d: %w", r.id, err), eng.Close())
		}
	}
	return nil
}

// crash gives the disk as a power failure leaves it.
func (n *node) crash(seed uint64) {
	disk := n.disk.CrashClone(seed)
	n.kill()
	n.disk = disk
}

// kill ends the process: the system goes on with all that was written.
func (n *node) kill() {
	n.faulty.SetHook(vfs.StopAt(0))
	if n.eng != nil {
		_ = n.eng.Close() // stopped
		n.eng = nil
	}
}

// logState is the state of the log after some ops.
type logState struct {
	hard    storage.HardState
	entries []storage.Entry
}

func (s *logState) apply(op logOp) {
	if op.hard != nil {
		s.hard = *op.hard
		return
	}
	switch n := len(s.entries); {
	case n == 0:
	case op.entry.Index > s.entries[n-1].Index+1, op.entry.Index <= s.entries[0].Index:
		s.entries = nil
	default:
		s.entries = s.entries[: op.entry.Index-s.entries[0].Index : op.entry.Index-s.entries[0].Index]
	}
	s.entries = append(s.entries, op.entry)
}

func after(ops []logOp) (s logState) {
	for _, op := range ops {
		s.apply(op)
	}
	return s
}

func above(entries []storage.Entry, index uint64) []storage.Entry {
	i := slices.IndexFunc(entries, func(e storage.Entry) bool { return e.Index > index })
	if i < 0 {
		return nil
	}
	return entries[i:]
}

func sameEntries(a, b []storage.Entry) bool {
	return slices.EqualFunc(a, b, func(a, b storage.Entry) bool {
		return a.Index == b.Index && a.Term == b.Term && a.Kind == b.Kind && bytes.Equal(a.Data, b.Data)
	})
}

// recover loads a shard as the kernel does.
func (r *replica) recover(eng *Engine) error {
	meta, all, err := eng.Checkpoints().Load(r.id)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(r.saved, func(s savedState) bool { return s.index == meta.Index })
	if meta.Index > 0 && at < 0 {
		return fmt.Errorf("checkpoint %d was never saved", meta.Index)
	}
	if at+1 < r.promised {
		return fmt.Errorf("checkpoint %d, but %d was promised", meta.Index, r.saved[r.promised-1].index)
	}
	r.saved, r.promised = r.saved[:at+1], at+1
	var end int64
	for k, v := range all {
		if string(k) == "end" {
			end = int64(binary.BigEndian.Uint64(v))
		}
	}
	if at >= 0 && end != r.saved[at].end {
		return fmt.Errorf("checkpoint %d has end %d, want %d", meta.Index, end, r.saved[at].end)
	}
	if err := r.recoverSegment(eng, end); err != nil {
		return err
	}
	return r.recoverLog(eng, meta.Index)
}

func (r *replica) recoverLog(eng *Engine, index uint64) error {
	loaded, err := eng.Log().Load(r.id)
	if err != nil {
		return err
	}
	hard, entries := loaded.Hard, loaded.Entries
	for i := 1; i < len(entries); i++ {
		if entries[i].Index != entries[i-1].Index+1 {
			return fmt.Errorf("entry %d follows entry %d", entries[i].Index, entries[i-1].Index)
		}
	}
	entries = above(entries, index)
	state := after(r.ops[:r.acked])
	for n := r.acked; ; n++ {
		want := above(state.entries, index)
		if state.hard == hard && sameEntries(entries, want) {
			r.ops, r.acked = r.ops[:n], n
			return nil
		}
		if n == len(r.ops) {
			break
		}
		state.apply(r.ops[n])
	}
	promised := after(r.ops[:r.acked])
	return fmt.Errorf("loaded %+v and entries %s above %d, which is no state since the one promised: %+v and %s",
		hard, span(entries), index, promised.hard, span(above(promised.entries, index)))
}

func span(entries []storage.Entry) string {
	if len(entries) == 0 {
		return "none"
	}
	return fmt.Sprintf("%d-%d", entries[0].Index, entries[len(entries)-1].Index)
}

func (r *replica) recoverSegment(eng *Engine, end int64) error {
	seg, err := eng.Segments().Open(storage.LogID{Shard: r.id})
	if err != nil {
		return err
	}
	if err := seg.TruncateTo(end); err != nil {
		return err
	}
	r.seg = seg
	r.batches = slices.DeleteFunc(r.batches, func(b []byte) bool { return record.Batch(b).BaseOffset() >= end })
	var got [][]byte
	for offset := int64(0); ; {
		b, err := seg.Read(offset, 1)
		if err != nil {
			return err
		}
		if b == nil {
			break
		}
		got, offset = append(got, b), record.Batch(b).NextOffset()
	}
	// Retention may have taken some from the front; of the rest, none is missing.
	if len(got) > len(r.batches) || !slices.EqualFunc(got, r.batches[len(r.batches)-len(got):], bytes.Equal) {
		return fmt.Errorf("segment has %d batches below %d, of %d, or others", len(got), end, len(r.batches))
	}
	if len(got) == 0 && len(r.batches) > 0 && !r.dropped() {
		return fmt.Errorf("segment is empty, with %d batches synced", len(r.batches))
	}
	return nil
}

// dropped tells whether retention ever ran: then a segment may be empty.
func (r *replica) dropped() bool { return len(r.saved) > 3 }

// step does one thing that a kernel does. An error is the engine's.
func (n *node) step() error {
	r := n.shards[n.rand.IntN(len(n.shards))]
	switch k := n.rand.IntN(20); {
	case k < 13:
		return n.append()
	case k < 16:
		return r.flush(n.rand)
	default:
		return r.checkpoint(n)
	}
}

// append appends to some shards at once, and waits.
func (n *node) append() error {
	type outcome struct {
		r   *replica
		ops int
		err error
	}
	writes := 1 + n.rand.IntN(4)
	outcomes := make(chan outcome, writes)
	appended := 0
	var failed error
	for range writes {
		r := n.shards[n.rand.IntN(len(n.shards))]
		w := r.write(n.rand)
		upTo := len(r.ops)
		sync := w.Sync
		w.Done = func(err error) {
			if err == nil && !sync {
				upTo = 0 // no promise
			}
			outcomes <- outcome{r, upTo, err}
		}
		if failed = n.eng.Log().Append(w); failed != nil {
			break
		}
		appended++
	}
	for range appended {
		o := <-outcomes
		if o.err != nil {
			failed = o.err
			continue
		}
		if o.ops > 0 && o.ops < o.r.acked {
			return fmt.Errorf("shard %d: Done out of order", o.r.id)
		}
		o.r.acked = max(o.r.acked, o.ops)
	}
	return failed
}

// write makes up a write, and adds it to ops.
func (r *replica) write(rnd *rand.Rand) storage.Write {
	state := after(r.ops)
	last, term := uint64(0), state.hard.Term
	if n := len(state.entries); n > 0 {
		last, term = state.entries[n-1].Index, max(term, state.entries[n-1].Term)
	}
	if n := len(r.saved); n > 0 {
		last = max(last, r.saved[n-1].index)
	}
	w := storage.Write{Shard: r.id, Sync: rnd.IntN(3) > 0}
	first := last + 1
	floor := uint64(1)
	if n := len(r.saved); n > 0 {
		floor = r.saved[n-1].index + 1
	}
	if rnd.IntN(8) == 0 && last > floor { // another leader replaces the end
		first = floor + rnd.Uint64N(last-floor) + 1
		term++
	}
	for i := range rnd.Uint64N(4) {
		data := make([]byte, rnd.IntN(700))
		for j := range data {
			data[j] = byte(rnd.Uint32())
		}
		w.Entries = append(w.Entries, storage.Entry{Index: first + i, Term: term, Kind: uint8(rnd.IntN(3)), Data: data})
		r.ops = append(r.ops, logOp{entry: w.Entries[i]})
	}
	if rnd.IntN(3) == 0 {
		w.Hard = &storage.HardState{Term: term, Vote: rnd.Uint64N(3), Commit: last}
		r.ops = append(r.ops, logOp{hard: w.Hard})
	}
	return w
}

// flush appends to the segment, lazily.
func (r *replica) flush(rnd *rand.Rand) error {
	end := r.seg.End()
	if n := len(r.batches); n > 0 {
		end = max(end, record.Batch(r.batches[n-1]).NextOffset())
	}
	var batches [][]byte
	for range 1 + rnd.IntN(3) {
		b := storagetest.Batch(end+rnd.Int64N(2), 1+rnd.IntN(3), end, 1+rnd.IntN(900))
		batches, end = append(batches, b), record.Batch(b).NextOffset()
	}
	r.batches = append(r.batches, batches...)
	return r.seg.Append(batches...)
}

// checkpoint syncs, saves and releases, in that order.
func (r *replica) checkpoint(n *node) error {
	state := after(r.ops)
	if len(state.entries) == 0 {
		return nil
	}
	index := state.entries[len(state.entries)-1].Index
	if k := len(r.saved); k > 0 && index <= r.saved[k-1].index || r.acked < len(r.ops) && n.rand.IntN(4) > 0 {
		return nil
	}
	if n.rand.IntN(6) == 0 {
		index += 10 // a snapshot from elsewhere: the log goes on behind a gap
	}
	if err := r.seg.Sync(); err != nil {
		return err
	}
	s := savedState{index: index}
	if k := len(r.batches); k > 0 {
		s.end = record.Batch(r.batches[k-1]).NextOffset()
	}
	full := n.rand.IntN(3) == 0
	r.saved = append(r.saved, s)
	if err := n.eng.Checkpoints().Save(r.id, storage.CheckpointMeta{Index: index, Term: 1}, full, s.changes()); err != nil {
		return err
	}
	r.promised = len(r.saved)
	n.eng.Log().Release(r.id, index)
	if r.dropped() {
		return r.seg.DropBefore(r.seg.Start() + (r.seg.End()-r.seg.Start())/2)
	}
	return nil
}

func (s savedState) changes() iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		yield([]byte("end"), binary.BigEndian.AppendUint64(nil, uint64(s.end)))
	}
}

// TestSimulation runs a node through lives that end in a crash, a kill or in order.
func TestSimulation(t *testing.T) {
	seeds := 150
	if testing.Short() || underRace {
		seeds = 25
	}
	for seed := range uint64(seeds) {
		n := newNode(vfs.NewMem(), seed, 3)
		for life := range 6 {
			if err := n.open(nil); err != nil {
				t.Fatalf("seed %d, life %d: %v", seed, life, err)
			}
			if life == 5 {
				break
			}
			stop := n.rand.IntN(60)
			if n.rand.IntN(2) == 0 { // anywhere within a step
				n.faulty.SetHook(vfs.StopAt(n.faulty.Ops() + 1 + n.rand.IntN(80)))
				stop = 1000
			}
			var err error
			for i := 0; i < stop && err == nil; i++ {
				err = n.step()
			}
			if err != nil && !errors.Is(err, vfs.ErrStopped) {
				t.Fatalf("seed %d, life %d: %v", seed, life, err)
			}
			if err == nil && n.rand.IntN(4) == 0 {
				if err := n.eng.Close(); err != nil {
					t.Fatalf("seed %d, life %d: close: %v", seed, life, err)
				}
				n.eng = nil
				for _, r := range n.shards {
					r.acked = len(r.ops) // an orderly end keeps all
				}
				if n.rand.IntN(2) == 0 {
					continue
				}
			}
			if n.rand.IntN(3) == 0 {
				n.kill()
			} else {
				n.crash(n.rand.Uint64())
			}
		}
		if err := n.eng.Close(); err != nil {
			t.Fatalf("seed %d: close: %v", seed, err)
		}
	}
}

// TestCrashMatrix stops one script at every operation that changes the disk, and looks
// at some of the disks that a power failure leaves there.
func TestCrashMatrix(t *testing.T) {
	const disks = 4
	var log []vfs.Op
	run := func(hook func(vfs.Op) error) (*node, error) {
		n := newNode(vfs.NewMem(), 42, 2)
		err := n.open(hook)
		for i := 0; i < 90 && err == nil; i++ {
			err = n.step()
		}
		if err == nil {
			err = n.eng.Close()
		}
		return n, err
	}
	n, err := run(func(op vfs.Op) error {
		if op.Kind.Changes() {
			log = append(log, op)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	kinds := make(map[vfs.Kind]int)
	for _, op := range log {
		kinds[op.Kind]++
	}
	for _, k := range []vfs.Kind{vfs.OpCreate, vfs.OpRename, vfs.OpRemove, vfs.OpSyncDir, vfs.OpWrite, vfs.OpSync, vfs.OpReserve} {
		if kinds[k] < 3 {
			t.Errorf("the script has %d operations of kind %v: it is too short", kinds[k], k)
		}
	}
	if n.eng.Log().Stats().Files > 8 {
		t.Errorf("%d log files are left: nothing is recycled", n.eng.Log().Stats().Files)
	}
	every := 1
	if testing.Short() || underRace {
		every = 11
	}
	for at := 1; at <= len(log)+1; at += every {
		n, err := run(vfs.StopAt(at))
		if err != nil && !errors.Is(err, vfs.ErrStopped) {
			t.Fatalf("stopped at %v: %v", log[at-1], err)
		}
		for disk := range uint64(disks) {
			after := n.copyOf(n.disk.CrashClone(disk))
			if err := after.open(nil); err != nil {
				t.Fatalf("stopped at operation %d of %d, disk %d: %v", at, len(log), disk, err)
			}
			for range 5 { // and it goes on
				if err := after.step(); err != nil {
					t.Fatalf("stopped at operation %d, disk %d: afterwards: %v", at, disk, err)
				}
			}
			if err := after.eng.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if n.eng != nil {
			_ = n.eng.Close() // stopped
		}
	}
	t.Logf("%d operations: %v", len(log), kinds)
}

// copyOf is n with another disk.
func (n *node) copyOf(disk *vfs.Mem) *node {
	c := newNode(disk, 7, len(n.shards))
	for i, r := range n.shards {
		c.shards[i] = &replica{
			id: r.id, ops: slices.Clone(r.ops), acked: r.acked,
			saved: slices.Clone(r.saved), promised: r.promised, batches: slices.Clone(r.batches),
		}
	}
	return c
}
