package filelog

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/vfs"
)

// recovered is what the files hold of one shard: where its entries lie, in order.
type recovered struct {
	hard    storage.HardState
	hasHard bool
	entries []place
	once    uint64 // the last entry of older files that they do not hold: storage.Loaded.Once
}

// last is the index of the last entry, 0 without one.
func (r *recovered) last() uint64 {
	if n := len(r.entries); n > 0 {
		return r.entries[n-1].index
	}
	return 0
}

// place is where one entry lies.
type place struct {
	file   *walFile
	off    int64
	index  uint64
	length int32 // of the record without padding
}

// openWAL reads what dir holds, cuts a torn tail, and starts the log behind it. A
// directory without files gets the first one, if fresh allows that. store is what VERSION
// says; 0: it does not.
func openWAL(fsys vfs.FS, dir string, opt Options, fresh bool, store uint64) (*wal, error) {
	w := &wal{fs: fsys, dir: dir, opt: opt, fresh: fresh, store: store, recovered: make(map[storage.ShardID]*recovered)}
	w.writer = writer{shards: make(map[storage.ShardID]*walShard), held: make(map[storage.ShardID]bool), nonce: uint32(opt.Random())}
	w.writer.grow = opt.grow
	if err := w.list(); err != nil {
		return nil, err
	}
	if fresh { // drawn before anything says it
		w.store = opt.Random()
	}
	useful := w.useful()
	var err error
	switch {
	case len(w.files) > 0:
		err = w.recover()
	case fresh:
		err = w.first()
	default:
		err = fmt.Errorf("%w: %s holds no log files", storage.ErrCorrupt, dir)
	}
	if err != nil {
		return nil, err
	}
	w.tidy(useful)
	if err := w.setAside(); err != nil {
		return nil, errors.Join(err, w.file.Close())
	}
	w.start()
	return w, nil
}

// list finds log files and spares by their names.
func (w *wal) list() error {
	entries, err := w.fs.ReadDir(w.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		hex, isLog := strings.CutSuffix(e.Name, ".wal")
		if !isLog {
			switch path := filepath.Join(w.dir, e.Name); {
			case path == reserveName(w.dir):
				w.reserve = &spare{path, e.Size}
			case path == newReserveName(w.dir): // cut short. No spare: who makes a reserve next takes its name
			case strings.HasSuffix(e.Name, ".spare"):
				w.pool = append(w.pool, spare{path, e.Size})
			}
			continue
		}
		number, err := strconv.ParseUint(hex, 16, 64)
		if err != nil || len(hex) != 16 {
			continue // not a name that we gave
		}
		if n := len(w.files); n > 0 && w.files[n-1].number+1 != number {
			return fmt.Errorf("%w: %s: log files between %x and %x are missing", storage.ErrCorrupt, w.dir, w.files[n-1].number, number)
		}
		w.files = append(w.files, &walFile{
			number: number, path: walName(w.dir, number), size: e.Size, last: make(map[storage.ShardID]uint64),
		})
	}
	return nil
}

// useful is the size below which a spare is of no use.
func (w *wal) useful() int64 {
	if n := len(w.files); n > 0 {
		return w.opt.grow(w.files[n-1].size) / 2
	}
	return w.opt.WALFileMin / 2
}

// tidy removes what is of no use, now that it is known to be ours. What cannot go is only in the
// way.
func (w *wal) tidy(useful int64) {
	_ = w.fs.Remove(newReserveName(w.dir))
	w.pool = slices.DeleteFunc(w.pool, func(s spare) bool {
		return s.size < useful && w.fs.Remove(s.path) == nil
	})
}

// first begins a log.
func (w *wal) first() error {
	f, err := w.ready(wanted{number: 1, target: w.opt.WALFileMin, min: walBlock + 4*recordLen})
	if err != nil {
		return err
	}
	w.orderly = true
	return w.begun(f)
}

// begun gives a ready file its name and makes it the current one. It is for open: run
// does the same in roll.
func (w *wal) begun(f *readyFile) error {
	path := walName(w.dir, f.number)
	err := w.fs.Rename(f.path, path)
	if err == nil {
		err = w.fs.SyncDir(w.dir)
	}
	if err != nil {
		return errors.Join(err, f.file.Close())
	}
	w.files = append(w.files, &walFile{number: f.number, path: path, size: f.size, last: make(map[storage.ShardID]uint64)})
	w.use(f)
	return nil
}

// recover reads all files and goes on behind what the last one holds.
func (w *wal) recover() error {
	for i, f := range w.files {
		last := i == len(w.files)-1
		if err := w.recoverFile(f, last); err != nil {
			return fmt.Errorf("log file %s: %w", f.path, err)
		}
	}
	for id, r := range w.recovered {
		w.shards[id] = &walShard{hard: r.hard, hasHard: r.hasHard, last: max(r.last(), r.once)}
	}
	w.fileCount.Store(int64(len(w.files)))
	w.made = w.current().size
	w.pin()
	return nil
}

// recoverFile reads one file. The last one stays open for writing, unless it was ended:
// then a successor is begun.
func (w *wal) recoverFile(f *walFile, last bool) (err error) {
	file, err := w.fs.Open(f.path)
	if err != nil {
		return err
	}
	keep := false
	defer func() {
		if !keep {
			err = errors.Join(err, file.Close())
		}
	}()
	s := newScanner(file, f.size)
	if err := s.header(f.number); err != nil {
		return err
	}
	if err := w.ours(s.head.store); err != nil {
		return err
	}
	for s.next() {
		if err := w.recoverRecord(f, s); err != nil {
			return err
		}
	}
	switch {
	case s.err != nil:
		return s.err
	case s.ended && !last:
		return nil
	case !last:
		return fmt.Errorf("%w: bad record at byte %d, in a file that was followed by another", storage.ErrCorrupt, s.off)
	}
	if !s.ended {
		if err := s.checkTail(); err != nil {
			return err
		}
	}
	// Done tells the kernel that what was loaded is durable. After a kill, the last of it
	// may still be in the system's memory alone, and so may the file's name.
	if err := file.SyncData(); err != nil {
		return err
	}
	if err := w.fs.SyncDir(w.dir); err != nil {
		return err
	}
	if s.ended {
		next, err := w.ready(*w.nextWanted(walBlock + 4*recordLen))
		if err != nil {
			return err
		}
		return w.begun(next)
	}
	keep = true
	w.file, w.salt, w.prev = file, s.head.salt, s.crc
	w.off, w.durable, w.marked = s.off, s.off, s.marked
	w.unmarked, w.based, w.orderly = true, s.based, s.closed || s.off == walBlock && f.number == 1
	w.room.Store(f.size - w.off)
	return nil
}

// ours makes sure that a file is of this log.
func (w *wal) ours(store uint64) error {
	switch {
	case store == 0 || w.store == store:
		return nil
	case w.store == 0 || w.fresh: // VERSION does not say
		w.store = store
		return nil
	}
	return mixed(store, w.store)
}

// mixed is the error of a file that says it is of another store than VERSION.
func mixed(store, want uint64) error {
	return fmt.Errorf("%w: it is of store %016x, and VERSION says %016x", storage.ErrMixed, store, want)
}

// recoverRecord applies one record to what is known of its shard.
func (w *wal) recoverRecord(f *walFile, s *scanner) error {
	r := &s.rec
	switch r.op {
	case opMark, opEnd:
		return nil
	case opBase:
		w.basedTo = f.number
		for id, last := range r.lasts() {
			if sh := w.recoveredShard(id); sh.last() < last {
				sh.once = last
			}
		}
		return nil
	}
	sh := w.recoveredShard(r.shard)
	switch r.op {
	case opHard:
		hard, ok := r.hard()
		if !ok {
			return fmt.Errorf("%w: hard state of %d bytes at byte %d", storage.ErrCorrupt, len(r.data), s.at)
		}
		sh.hard, sh.hasHard = hard, true
	case opEntry:
		if r.index == 0 {
			return fmt.Errorf("%w: entry 0 at byte %d", storage.ErrCorrupt, s.at)
		}
		if n := len(sh.entries); n > 0 && r.index <= sh.entries[n-1].index {
			w.forget(r.shard, r.index)
		}
		sh.add(place{file: f, off: s.at, index: r.index, length: int32(recordLen + len(r.data))})
		f.last[r.shard] = r.index
	}
	return nil
}

func (w *wal) recoveredShard(id storage.ShardID) *recovered {
	r := w.recovered[id]
	if r == nil {
		r = new(recovered)
		w.recovered[id] = r
	}
	return r
}

// add appends a place by the rules of storage.Write: it replaces what is at or after its
// index, and restarts the log behind a gap.
func (r *recovered) add(p place) {
	if n := len(r.entries); n > 0 {
		switch first := r.entries[0].index; {
		case p.index > r.entries[n-1].index+1, p.index <= first:
			r.entries = r.entries[:0]
		default:
			r.entries = r.entries[:p.index-first]
		}
	}
	r.entries = append(r.entries, p)
}

// scanner walks the records of one file.
type scanner struct {
	vfs.Window
	head walHeader

	rec    rec   // the current record; data is valid until the next
	at     int64 // where it lies
	off    int64 // where the next one would
	crc    uint32
	marked int64 // the highest position that a mark calls durable
	based  bool
	ended  bool
	closed bool // the current record is the last mark of a log that was closed in order
	err    error
}

func newScanner(file io.ReaderAt, size int64) *scanner {
	return &scanner{Window: vfs.Window{File: file, Size: size, Ahead: scanWindow}}
}

// scanWindow is what the scanner reads at a time, at least.
const scanWindow = 1 << 20

func (s *scanner) header(number uint64) error {
	b, err := s.Bytes(0, int(min(walBlock, s.Size)))
	if err != nil {
		return err
	}
	h, crc, err := decodeHeader(b)
	switch {
	case errors.Is(err, storage.ErrVersion):
		return err
	case err != nil:
		return fmt.Errorf("%w: %w", storage.ErrCorrupt, err)
	case h.number != number:
		return fmt.Errorf("%w: its header says that it is file %x", storage.ErrCorrupt, h.number)
	case h.size > s.Size:
		return fmt.Errorf("%w: it had %d bytes and has %d", storage.ErrCorrupt, h.size, s.Size)
	}
	s.head, s.crc, s.off, s.marked = h, crc, walBlock, walBlock
	return nil
}

// next goes to the next record. It stops at the end record, and at the first bytes that
// are not a record chained to the one before.
func (s *scanner) next() bool {
	if s.ended || s.err != nil || s.off+recordLen > s.Size {
		return false
	}
	b, err := s.Bytes(s.off, recordLen)
	if err != nil {
		s.err = err
		return false
	}
	n, ok := recordSize(b)
	if !ok || s.off+int64(n) > s.Size {
		return false
	}
	if b, err = s.Bytes(s.off, n); err != nil {
		s.err = err
		return false
	}
	seed := s.crc
	if op(b[12]) == opMark {
		seed = markSeed(s.head.salt, s.off)
	}
	r, crc, ok := decodeRecord(b, s.head.number, seed)
	if !ok || r.op == opMark && uint32(r.term) != s.crc {
		return false
	}
	if r.op > opLast {
		s.err = fmt.Errorf("%w: record of kind %d at byte %d", storage.ErrVersion, r.op, s.off)
		return false
	}
	s.closed = r.op == opMark && r.typ == markClosing
	switch r.op {
	case opMark:
		s.marked = max(s.marked, int64(r.index))
	case opBase:
		s.based = true
	case opEnd:
		s.ended = true
	}
	s.rec, s.crc, s.at = r, crc, s.off
	s.off += paddedLen(len(r.data))
	return true
}

// checkTail tells a torn tail from rot. A crash tears only what was never synced, and a
// mark written later says how far that was not the case. So where a mark anywhere
// behind speaks of the bad bytes as durable, they have changed since.
func (s *scanner) checkTail() error {
	bad, durable := s.off, s.marked
	err := s.marks(bad, func(_ int64, m *rec) bool {
		durable = max(durable, int64(m.index))
		return durable <= bad
	})
	if err == nil && bad < durable {
		err = fmt.Errorf("%w: bad record at byte %d, while %d bytes were once durable", storage.ErrCorrupt, bad, durable)
	}
	return err
}

// marks calls f for each mark at or behind a position, until it returns false. Marks are
// recognised by themselves, wherever what is before them does not parse.
func (s *scanner) marks(from int64, f func(at int64, m *rec) bool) error {
	for at := from; at+recordLen <= s.Size; {
		b, err := s.Bytes(at, int(min(scanWindow, s.Size-at)))
		if err != nil {
			return err
		}
		for i := 0; i+recordLen <= len(b); i += recordAlign {
			if op(b[i+12]) != opMark {
				continue
			}
			r, _, ok := decodeRecord(b[i:i+recordLen], s.head.number, markSeed(s.head.salt, at+int64(i)))
			if ok && !f(at+int64(i), &r) {
				return nil
			}
		}
		at += int64(len(b)-recordLen)&^(recordAlign-1) + recordAlign
	}
	return nil
}
