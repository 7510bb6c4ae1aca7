package filelog

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/vfs"
)

// writer is the state of run: the end of the log, and the books on what lies where.
type writer struct {
	files  []*walFile // oldest first; the last is the one that is written
	shards map[storage.ShardID]*walShard

	file    vfs.File
	salt    uint64
	off     int64  // where the next group goes
	durable int64  // everything before it is synced
	marked  int64  // durable, as the last mark says
	prev    uint32 // crc of the last record: the next one's seed
	nonce   uint32 // of the marks of this process

	unmarked bool   // no mark since open: what stood behind a cut tail must never chain
	orderly  bool   // when it was opened, the log had been closed in order, or was new
	based    bool   // the file holds opBase
	basedTo  uint64 // the newest file whose opBase is durable

	grow func(int64) int64 // size of a file after one of this size
	enc  encoder
	held map[storage.ShardID]bool // scratch of flush
}

// walShard is what the writer knows of a shard.
type walShard struct {
	hard     storage.HardState
	hasHard  bool
	last     uint64 // index of the last entry
	released uint64
}

func (w *writer) current() *walFile { return w.files[len(w.files)-1] }

// run writes groups until Close: everything that is queued is the next group.
func (w *wal) run() {
	defer close(w.written)
	var batch []storage.Write
	for {
		var ok bool
		if batch, ok = w.take(batch); !ok {
			break
		}
		if err := w.commit(batch); err != nil {
			w.fail(err)
			for i := range batch {
				done(&batch[i], err)
			}
		}
		clear(batch)
	}
	if err := w.finish(); err != nil {
		w.fail(err)
	}
}

// done tells a write's outcome, once.
func done(write *storage.Write, err error) {
	if f := write.Done; f != nil {
		write.Done = nil
		f(err)
	}
}

// take waits for writes and returns them, in exchange for an empty slice. false:
// the log was closed, and nothing is left.
func (w *wal) take(empty []storage.Write) ([]storage.Write, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		switch {
		case len(w.released) > 0:
			w.dropLocked()
		case len(w.queue) > 0:
			batch := w.queue
			w.queue, w.queued = empty[:0], 0
			w.space.Broadcast()
			return batch, true
		case w.closed:
			return nil, false
		default:
			w.awaitLocked()
		}
	}
}

// awaitLocked waits for work to be signalled; stepped, for the next step. Caller is run,
// and holds mu, which is let go of meanwhile.
func (w *wal) awaitLocked() {
	if !w.opt.Stepped {
		w.work.Wait()
		return
	}
	w.mu.Unlock()
	w.pause()
	w.mu.Lock()
}

// commit makes writes durable as they ask and calls their Done. After an error, those
// not done are the caller's.
func (w *wal) commit(batch []storage.Write) error {
	if err := w.Err(); err != nil {
		return err
	}
	from := 0
	for i := range batch {
		if err := w.add(&batch[i]); err != nil {
			return err
		}
		if i == len(batch)-1 || w.enc.size >= groupBytesMax {
			if err := w.flush(batch[from : i+1]); err != nil {
				return err
			}
			from = i + 1
		}
	}
	if w.off > w.current().size/2 {
		w.wantNext(0)
	}
	return nil
}

// add encodes one write. Entries go before the hard state: its Commit may speak of
// them, and of a torn group only the beginning is found again.
func (w *wal) add(write *storage.Write) error {
	s := w.shards[write.Shard]
	if s == nil {
		s = new(walShard)
		w.shards[write.Shard] = s
	}
	for i := range write.Entries {
		e := &write.Entries[i]
		r := rec{op: opEntry, typ: e.Kind, shard: write.Shard, index: e.Index, term: e.Term, data: e.Data}
		if err := w.put(&r); err != nil {
			return err
		}
		w.track(write.Shard, s, e.Index)
	}
	if write.Hard != nil {
		r := newHard(write.Shard, *write.Hard)
		if err := w.put(&r); err != nil {
			return err
		}
		s.hard, s.hasHard = *write.Hard, true
	}
	return nil
}

// track books an entry into the file that is written, and out of older ones what it
// replaces there.
func (w *writer) track(shard storage.ShardID, s *walShard, index uint64) {
	if index <= s.last {
		w.forget(shard, index)
		s.released = min(s.released, index-1)
	}
	s.last = index
	w.current().last[shard] = index
}

// forget books out what a new entry replaces: files do not hold it any more.
func (w *writer) forget(shard storage.ShardID, index uint64) {
	for _, f := range w.files {
		if last, ok := f.last[shard]; ok && last >= index {
			f.last[shard] = index - 1
		}
	}
}

// put encodes one record behind those of its group, in the next file when it does not
// fit in this one.
func (w *wal) put(r *rec) error {
	need := paddedLen(len(r.data))
	if !w.fits(need) {
		if err := w.roll(need); err != nil {
			return err
		}
	}
	w.begin()
	w.encode(r)
	return nil
}

// fits tells whether a record fits in the file, with what must go before and after it.
func (w *wal) fits(need int64) bool {
	if w.enc.size == 0 {
		need += paddedLen(0) // a mark
		if !w.based {
			need += w.baseLen()
		}
	}
	const after = 3 * recordLen // the last mark of this process; a mark and the end, of the next
	return w.off+w.enc.size+need+after <= w.current().size
}

// baseLen is the length of what a file begins with.
func (w *writer) baseLen() int64 {
	return int64(len(w.shards))*paddedLen(8) + paddedLen(lastLen*len(w.shards))
}

// begin starts a group with a mark, and a file with the hard state of all shards, so
// that older files can go, and with where their logs end, so that they are missed if they
// go too soon.
func (w *writer) begin() {
	if w.enc.size > 0 {
		return
	}
	if w.durable > w.marked || w.unmarked {
		w.encodeMark(0)
	}
	if w.based {
		return
	}
	var lasts []byte
	for _, id := range slices.Sorted(maps.Keys(w.shards)) { // sorted: equal logs are equal bytes
		s := w.shards[id]
		if s.hasHard {
			r := newHard(id, s.hard)
			w.encode(&r)
		}
		if s.last > 0 {
			lasts = appendLast(lasts, id, s.last)
		}
	}
	w.encode(&rec{op: opBase, data: lasts})
	w.based = true
}

func (w *writer) encode(r *rec) {
	w.prev = w.enc.add(r, w.current().number, w.prev)
}

func (w *writer) encodeMark(typ uint8) {
	r := newMark(typ, w.durable, w.prev, w.nonce)
	w.prev = w.enc.add(&r, w.current().number, markSeed(w.salt, w.off+w.enc.size))
	w.marked, w.unmarked = w.durable, false
}

// flush writes the group, syncs it when one of its writes asks for that, and calls Done
// of them all. Writes that do not wait for the sync are done before it, unless an
// earlier one of their shard waits.
func (w *wal) flush(batch []storage.Write) error {
	if err := w.write(); err != nil {
		return err
	}
	sync := w.basedTo < w.current().number // only then may older files go
	for i := range batch {
		sync = sync || batch[i].Sync
	}
	if sync {
		for i := range batch {
			b := &batch[i]
			if b.Sync {
				w.held[b.Shard] = true
			} else if !w.held[b.Shard] {
				done(b, nil)
			}
		}
		clear(w.held)
		if err := w.sync(); err != nil {
			return err
		}
	}
	for i := range batch {
		done(&batch[i], nil)
	}
	return nil
}

// write hands the encoded records to the operating system.
func (w *wal) write() error {
	if w.enc.size == 0 {
		return nil
	}
	n, err := w.file.WritevAt(w.enc.finish(), w.off)
	w.bytes.Add(uint64(n))
	w.groups.Add(1)
	w.meters.groupBytes.Observe(uint64(n))
	w.meters.groupEntries.Observe(uint64(w.enc.entries))
	if err != nil {
		return w.stopped("write", err)
	}
	w.off += w.enc.size
	w.room.Store(w.current().size - w.off)
	w.enc.reset()
	return nil
}

// sync makes durable what was written. Its error is final: what the device has of the
// unsynced bytes cannot be known, and a second sync would not tell.
func (w *wal) sync() error {
	if w.durable == w.off {
		return nil
	}
	w.syncs.Add(1)
	begun := time.Now() // only measured: nothing is decided by it
	if err := w.file.SyncData(); err != nil {
		return w.stopped("sync", err)
	}
	w.meters.syncTime.Observe(time.Since(begun))
	if err := w.file.At(w.current().path); errors.Is(err, fs.ErrNotExist) {
		// What was written is in no directory, and the next open would not find it. A look costs
		// little beside a sync. Other errors say nothing of where the file is.
		return fmt.Errorf("filelog: log stopped: %s: %w", w.current().path, storage.ErrGone)
	}
	w.durable = w.off
	if n := w.current().number; w.based && w.basedTo < n {
		w.basedTo = n
		w.mu.Lock()
		w.dropLocked()
		w.mu.Unlock()
	}
	return nil
}

func (w *wal) stopped(what string, err error) error {
	return fmt.Errorf("filelog: log stopped: %s of %s: %w", what, w.current().path, err)
}

// roll ends this file and goes on in the next, which must have room for a record of need
// bytes. The end is durable before the next file has its name, and the name before
// anything in the file is acknowledged.
func (w *wal) roll(need int64) error {
	if w.enc.size == 0 && w.unmarked {
		w.encodeMark(0)
	}
	w.encode(&rec{op: opEnd})
	if err := w.write(); err != nil {
		return err
	}
	if err := w.sync(); err != nil {
		return err
	}
	w.room.Store(0)
	next, err := w.takeNext(walBlock + w.baseLen() + need + 4*recordLen)
	if err != nil {
		return err
	}
	last := w.current()
	path := walName(w.dir, next.number)
	if err := w.fs.Rename(next.path, path); err != nil {
		return w.stopped("successor", errors.Join(err, next.file.Close()))
	}
	if err := w.fs.SyncDir(w.dir); err != nil {
		return w.stopped("successor", errors.Join(err, next.file.Close()))
	}
	if err := w.file.Close(); err != nil {
		return w.stopped("close", errors.Join(err, next.file.Close()))
	}
	w.files = append(w.files, &walFile{number: last.number + 1, path: path, size: next.size, last: make(map[storage.ShardID]uint64)})
	w.use(next)
	return nil
}

// use makes a file that has only its header the one that is written.
func (w *wal) use(f *readyFile) {
	w.file, w.salt, w.prev = f.file, f.salt, f.crc
	w.off, w.durable, w.marked = walBlock, walBlock, walBlock
	w.based = false
	w.fileCount.Store(int64(len(w.files)))
	w.room.Store(f.size - walBlock)
	w.pin()
}

// dropLocked notes what shards released, and hands over the files at the front in
// which nothing is left and which a newer base makes dispensable. Caller is run, and
// holds mu.
func (w *wal) dropLocked() {
	for id, index := range w.released {
		if s := w.shards[id]; s != nil {
			s.released = max(s.released, index)
		}
	}
	clear(w.released)
	defer w.pin()
	n := 0
	for n < len(w.files)-1 && w.files[n].number < w.basedTo && w.spentLocked(w.files[n]) {
		n++
	}
	if n > 0 {
		w.dropped = append(w.dropped, w.files[:n]...)
		w.files = slices.Clone(w.files[n:])
		w.fileCount.Store(int64(len(w.files)))
		w.wake()
	}
}

func (w *wal) spentLocked(f *walFile) bool {
	for id, last := range f.last {
		if last > w.shards[id].released {
			return false
		}
	}
	return true
}

// finish syncs, says so in a last mark, and closes the file. After an error it only
// closes: then the next to open it does not find that it was closed in order.
func (w *wal) finish() error {
	err := w.Err()
	if err != nil {
		return errors.Join(err, w.file.Close())
	}
	if err = w.sync(); err == nil && w.durable > w.marked { // or nothing was ever written
		w.encodeMark(markClosing)
		if err = w.write(); err == nil {
			err = w.sync()
		}
	}
	if cerr := w.file.Close(); err == nil && cerr != nil {
		err = w.stopped("close", cerr)
	}
	return err
}

// encoder gathers records for one system call.
type encoder struct {
	arena []byte
	run   int // arena from here on is not in bufs yet
	bufs  [][]byte
	size  int64

	entries int
}

// add encodes a record and returns its crc.
func (e *encoder) add(r *rec, file uint64, seed uint32) uint32 {
	if r.op == opEntry {
		e.entries++
	}
	n := len(e.arena)
	e.arena = append(e.arena, make([]byte, recordLen)...)
	crc := encodeRecord(e.arena[n:], r, file, seed)
	if len(r.data) <= inlineMax {
		e.arena = append(e.arena, r.data...)
	} else {
		e.bufs = append(e.bufs, e.arena[e.run:], r.data)
		e.run = len(e.arena)
	}
	size := paddedLen(len(r.data))
	for range size - recordLen - int64(len(r.data)) {
		e.arena = append(e.arena, 0)
	}
	e.size += size
	return crc
}

func (e *encoder) finish() [][]byte {
	if e.run < len(e.arena) {
		e.bufs = append(e.bufs, e.arena[e.run:])
		e.run = len(e.arena)
	}
	return e.bufs
}

func (e *encoder) reset() {
	if cap(e.arena) > arenaMax {
		e.arena = nil
	}
	clear(e.bufs)
	e.arena, e.bufs, e.run, e.size = e.arena[:0], e.bufs[:0], 0, 0
	e.entries = 0
}
