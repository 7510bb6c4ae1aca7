package filelog

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"

	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/vfs"
)

// A Salvage is what can be kept of a log that recovery refuses, because bytes that were
// once durable have changed, or because a file was taken away.
//
// The entries of one shard's log mean nothing behind one that is missing, so each shard
// keeps what precedes its first loss. A loss that its checkpoint covers is none. Shards
// do not depend on one another's entries, but for log 0: it says which of them there are,
// and numbers the lives of the node. When log 0 loses entries, everything that was
// written after them goes with them.
//
// Planning only reads. The owner of the directory's lock then has every file that Files
// names written anew (Write), copies what is to be replaced, and puts the new files in
// their places, the newest first: until the oldest has its place, recovery still refuses.
type Salvage struct {
	// Lost is what the shards lose, by shard; none when all that is damaged is covered by
	// checkpoints.
	Lost []Lost
	// Files are to be written anew, by number, oldest first; Drop are to go, for nothing is
	// left in them.
	Files, Drop []uint64
	// Vague: a stretch was damaged of which nobody can tell what stood in it. If it held a
	// shard's very last entries, they are not in Lost.
	Vague bool

	fs    vfs.FS
	dir   string
	files []salvageFile
	store uint64 // whose log it is, as its files say; 0: they do not
	state map[storage.ShardID]*salvageShard
	all   *salvagePoint // everything from here on goes
}

// Lost is what one shard loses: entries First to Last, of which so many can be read.
type Lost struct {
	Shard       storage.ShardID
	First, Last uint64
	Readable    int
	Bytes       int64 // of those that can be read
}

type salvageFile struct {
	number  uint64
	size    int64
	missing bool
}

// salvageShard is what is known of a shard while files are read in order.
type salvageShard struct {
	applied uint64
	last    uint64 // last entry kept
	seen    bool
	cut     uint64 // entries from here on are lost; 0: none
	commit  uint64 // highest that was promised: a hard state told it, or a base, of older files
	lost    Lost
	ahead   bool // its checkpoint is from behind the point where everything goes
}

// salvagePoint is a place in the log.
type salvagePoint struct {
	file int // index
	at   int64
}

// ErrNoSalvage: what is left of the log contradicts the checkpoints.
var ErrNoSalvage = errors.New("filelog: the log cannot be salvaged")

// salvageMissingMax bounds the files that may be missing between two: more of them is a
// directory put together from two.
const salvageMissingMax = 1000

// PlanSalvage reads the log in a data directory's wal/. applied is the index that each
// shard's checkpoint stands for. nil: nothing is damaged.
func PlanSalvage(fsys vfs.FS, dir string, applied map[storage.ShardID]uint64) (*Salvage, error) {
	s := &Salvage{fs: fsys, dir: filepath.Join(dir, walDir)}
	if err := s.list(); err != nil {
		return nil, err
	}
	first, damaged, err := s.read(applied)
	if err != nil || !damaged {
		return nil, err
	}
	if zero := s.state[0]; zero != nil && zero.lost.Last > 0 {
		s.all = &first
		if _, _, err := s.read(applied); err != nil {
			return nil, err
		}
		for _, id := range slices.Sorted(maps.Keys(s.state)) {
			if s.state[id].ahead {
				return nil, fmt.Errorf("%w: log 0 loses entries %d to %d, and the checkpoint of shard %d is from after them", ErrNoSalvage, zero.lost.First, zero.lost.Last, id)
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.state)) {
		if l := s.state[id].lost; l.Last > 0 {
			s.Lost = append(s.Lost, l)
		}
	}
	for i, f := range s.files {
		switch {
		case i < first.file:
		case s.all != nil && i > first.file:
			if !f.missing {
				s.Drop = append(s.Drop, f.number)
			}
		default:
			s.Files = append(s.Files, f.number)
		}
	}
	return s, nil
}

func (s *Salvage) list() error {
	entries, err := s.fs.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		number, ours := WALNumber(e.Name)
		if !ours {
			continue
		}
		if n := len(s.files); n > 0 {
			if number-s.files[n-1].number > salvageMissingMax {
				return fmt.Errorf("%w: log files between %x and %x are missing", ErrNoSalvage, s.files[n-1].number, number)
			}
			for next := s.files[n-1].number + 1; next < number; next++ {
				s.files = append(s.files, salvageFile{number: next, missing: true})
			}
		}
		s.files = append(s.files, salvageFile{number: number, size: e.Size})
	}
	return nil
}

// read goes through all files, and tells where the first damage is. State is made anew.
func (s *Salvage) read(applied map[storage.ShardID]uint64) (first salvagePoint, damaged bool, err error) {
	s.state = make(map[storage.ShardID]*salvageShard)
	hit := func(file int, at int64) {
		if !damaged {
			first, damaged = salvagePoint{file, at}, true
		}
	}
	for i, f := range s.files {
		if f.missing {
			hit(i, 0)
			s.Vague = true
			continue
		}
		r, file, err := s.open(i)
		if err != nil {
			return first, damaged, err
		}
		told := 0
		gaps := func() {
			for _, g := range r.Gaps()[told:] {
				hit(i, g.From)
				told++
				s.gap(&g, applied)
			}
		}
		for r.Next() {
			gaps()
			x := r.Record()
			if s.record(&x, applied, s.all != nil && (i > s.all.file || i == s.all.file && x.At >= s.all.at)) {
				hit(i, x.At)
			}
		}
		gaps()
		err = errors.Join(r.Err(), file.Close())
		if r.HeaderErr() != nil {
			hit(i, walBlock)
			if errors.Is(r.HeaderErr(), storage.ErrVersion) {
				err = r.HeaderErr()
			}
		}
		if err != nil {
			return first, damaged, err
		}
	}
	for id, st := range s.state {
		if st.cut == 0 && st.commit > max(st.last, st.applied) {
			// It had promised more than is left: what stood last is gone.
			st.cut = max(st.last, st.applied) + 1
			st.lost = Lost{Shard: id, First: st.cut, Last: st.commit}
			damaged = damaged || len(s.files) > 0
		}
		if st.cut > 0 && st.lost.Last > 0 {
			st.lost.Last = max(st.lost.Last, st.commit)
		}
	}
	return first, damaged, nil
}

func (s *Salvage) open(i int) (*WALReader, vfs.File, error) {
	f := s.files[i]
	file, err := s.fs.Open(walName(s.dir, f.number))
	if err != nil {
		return nil, nil, err
	}
	r, err := NewWALReader(file, f.size, f.number, i < len(s.files)-1)
	if err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	if r.HeaderErr() == nil && s.store == 0 {
		s.store = r.Header().Store
	}
	return r, file, nil
}

func (s *Salvage) shard(id storage.ShardID, applied map[storage.ShardID]uint64) *salvageShard {
	st := s.state[id]
	if st == nil {
		st = &salvageShard{applied: applied[id]}
		s.state[id] = st
	}
	return st
}

// gap notes what a damaged stretch is known to have held.
func (s *Salvage) gap(g *WALGap, applied map[storage.ShardID]uint64) {
	st := s.state[g.Shard]
	if !g.Entry || st == nil || st.cut == 0 && g.Index != st.last+1 {
		s.Vague = true
		return
	}
	st = s.shard(g.Shard, applied)
	if g.Index > st.applied {
		st.lose(g.Shard, g.Index, g.Index)
	}
}

// lose notes that entries are lost.
func (st *salvageShard) lose(id storage.ShardID, first, last uint64) {
	if st.cut == 0 {
		st.cut = first
		st.lost = Lost{Shard: id, First: first, Last: last}
	}
	st.lost.Last = max(st.lost.Last, last)
}

// record notes one record that can be read, and tells whether it is lost all the same.
// gone: everything from here on goes.
func (s *Salvage) record(x *WALRecord, applied map[storage.ShardID]uint64, gone bool) (lost bool) {
	switch x.Op {
	case "entry", "hard":
	case "base":
		if !gone {
			s.base(x, applied)
		}
		return false
	default:
		return false
	}
	st := s.shard(x.Shard, applied)
	switch {
	case x.Op == "hard":
		if !gone {
			st.commit = max(st.commit, x.Commit)
		}
	case st.takes(x.Index) && !gone:
		st.last, st.seen = x.Index, true
	case x.Index > st.applied:
		st.lose(x.Shard, max(min(x.Index, st.last+1), st.applied+1), x.Index)
		st.lost.Readable++
		st.lost.Bytes += x.Bytes
		return true
	default:
		st.ahead = st.ahead || gone
	}
	return false
}

// base notes which entries were in older files, and are neither there nor in a checkpoint.
func (s *Salvage) base(x *WALRecord, applied map[storage.ShardID]uint64) {
	for id, last := range x.Lasts {
		if st := s.shard(id, applied); last > max(st.last, st.applied) {
			st.commit = max(st.commit, last)
		}
	}
}

// takes tells whether an entry is kept: it follows the last one, or replaces some, or
// everything before it is in the checkpoint.
func (st *salvageShard) takes(index uint64) bool {
	switch {
	case st.cut > 0 && index >= st.cut:
		return false
	case st.seen && index <= st.last+1:
		return true
	}
	return index <= st.applied+1
}

// Write writes the new form of a file beside it, durably, and returns its path. What is
// kept is encoded anew, without marks, under a salt of its own; what stood in the old one
// does not parse in it.
func (s *Salvage) Write(number, salt uint64) (path string, err error) {
	i, ok := slices.BinarySearchFunc(s.files, number, func(f salvageFile, n uint64) int { return cmp.Compare(f.number, n) })
	if !ok {
		return "", fmt.Errorf("filelog: no file %x to salvage", number)
	}
	path = walName(s.dir, number) + ".tmp"
	if err := s.fs.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	out, err := s.fs.Create(path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	w := salvageWriter{out: out, number: number, off: walBlock}
	h := walHeader{number: number, salt: salt, store: s.store, size: max(s.files[i].size, walBlock+4*recordLen)}
	if err := out.Reserve(h.size); err != nil {
		return "", err
	}
	header := h.encode()
	if _, w.crc, err = decodeHeader(header); err != nil {
		return "", err
	}
	if _, err := out.WriteAt(header, 0); err != nil {
		return "", err
	}
	if !s.files[i].missing {
		if err := s.copy(i, &w); err != nil {
			return "", err
		}
	}
	if last := i == len(s.files)-1 || s.all != nil; !last {
		if err := w.add(&rec{op: opEnd}); err != nil {
			return "", err
		}
	}
	if err := w.flush(); err != nil {
		return "", err
	}
	return path, out.Sync()
}

// copy writes what is kept of a file.
func (s *Salvage) copy(i int, w *salvageWriter) error {
	r, file, err := s.open(i)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // only read from
	for r.Next() {
		x := r.Record()
		if s.all != nil && i == s.all.file && x.At >= s.all.at {
			break
		}
		st := s.state[x.Shard]
		out := rec{shard: x.Shard, index: x.Index, term: x.Term, typ: x.Kind, data: x.Data}
		switch x.Op {
		case "entry":
			out.op = opEntry
			if st.cut > 0 && x.Index >= st.cut {
				continue
			}
		case "hard":
			hard := storage.HardState{Term: x.Term, Vote: x.Vote, Commit: x.Commit}
			if st.cut > 0 {
				hard.Commit = min(hard.Commit, st.cut-1)
			}
			out = newHard(x.Shard, hard)
		case "base":
			out = rec{op: opBase}
		default: // marks speak of the old file
			continue
		}
		if err := w.add(&out); err != nil {
			return err
		}
	}
	return r.Err()
}

// salvageWriter writes records one after another.
type salvageWriter struct {
	out    vfs.File
	number uint64
	off    int64 // of buf in the file
	crc    uint32
	buf    []byte
}

func (w *salvageWriter) add(r *rec) error {
	n := len(w.buf)
	w.buf = append(w.buf, make([]byte, paddedLen(len(r.data)))...)
	w.crc = encodeRecord(w.buf[n:], r, w.number, w.crc)
	copy(w.buf[n+recordLen:], r.data)
	if len(w.buf) < scanWindow {
		return nil
	}
	return w.flush()
}

func (w *salvageWriter) flush() error {
	_, err := w.out.WriteAt(w.buf, w.off)
	w.off += int64(len(w.buf))
	w.buf = w.buf[:0]
	return err
}
