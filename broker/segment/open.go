package segment

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/robustmq/rmq/broker/vfs"
)

// scanAhead is what a scan of a whole file reads at a time.
const scanAhead = 1 << 20

// Open opens the log in dir, and makes dir when it is missing. Files are trusted as far
// as their index goes; the rest is read, and the log ends before the first batch
// that is not whole, or is missing.
func Open(fsys vfs.FS, dir string, cache *Cache, opt Options) (*Log, error) {
	if opt.FileBytes <= 0 {
		opt.FileBytes = 64 << 20
	}
	opt.FileBytes = min(opt.FileBytes, fileMax)
	if opt.ID == nil {
		opt.ID = rand.Uint64
	}
	l := &Log{fs: fsys, dir: dir, cache: cache, opt: opt, heir: true}
	files, err := l.list()
	if errors.Is(err, fs.ErrNotExist) {
		l.unsafe, l.heir = true, false
		err = l.makeDir()
	}
	if err == nil {
		err = l.load(files)
	}
	if err != nil {
		return nil, fmt.Errorf("segment: open: %w", err)
	}
	return l, nil
}

// makeDir makes the directory, but not the one that Parents end at: when that is gone, so is
// all that was in it, and a new one would pass for it.
func (l *Log) makeDir() error {
	if l.opt.Parents > 0 {
		top := l.dir
		for range l.opt.Parents {
			top = filepath.Dir(top)
		}
		if _, err := l.fs.ReadDir(top); err != nil {
			return err
		}
	}
	return l.fs.MkdirAll(l.dir)
}

// list returns the segment files in dir by base offset. Their size is what the disk says.
func (l *Log) list() ([]*file, error) {
	entries, err := l.fs.ReadDir(l.dir)
	if err != nil {
		return nil, err
	}
	var files []*file
	for _, e := range entries {
		if strings.HasSuffix(e.Name, ".seg"+tmpSuffix) {
			l.litter = append(l.litter, filepath.Join(l.dir, e.Name))
			continue
		}
		digits, ok := strings.CutSuffix(e.Name, ".seg")
		base, err := strconv.ParseInt(digits, 10, 64)
		if !ok || err != nil || base < 0 || len(digits) != 20 {
			continue // an index, or not a name that we gave
		}
		files = append(files, &file{header: header{base: base}, path: filepath.Join(l.dir, e.Name), size: e.Size})
	}
	slices.SortFunc(files, func(a, b *file) int { return cmp.Compare(a.base, b.base) })
	return files, nil
}

// load takes files in as far as they are whole and follow one another.
func (l *Log) load(files []*file) error {
	for i, f := range files {
		if i > 0 && f.base < l.end && l.replaced(f) {
			f.indexed = 1 // it may have an index, which goes first
			l.doomed = append(l.doomed, f)
			continue
		}
		if i > 0 && f.base != l.end {
			return l.torn(nil, files[i:], f.corrupt(0, fmt.Errorf("offsets from %d are missing before it", l.end)))
		}
		whole, torn, err := l.loadFile(f, i == len(files)-1)
		switch {
		case err != nil:
			return err
		case !whole:
			return l.torn(nil, files[i:], torn)
		}
		l.files, l.end = append(l.files, f), f.last+1
		if torn != nil {
			return l.torn(f, files[i+1:], torn)
		}
	}
	return nil
}

// replaced tells whether f is one of several files that were rewritten as one, which is
// there and has all of its offsets: a crash came before f was removed.
func (l *Log) replaced(f *file) bool {
	by := l.last()
	return by != nil && by.marked >= by.size && f.base > by.base
}

// torn ends the log at its end so far. That is a crash's doing only if nothing behind
// was ever durable.
func (l *Log) torn(at *file, beyond []*file, why error) error {
	for _, f := range beyond {
		if p, err := l.proofs(f); err != nil || p.durable() > headerLen {
			return errors.Join(why, err)
		}
	}
	l.unsafe = true
	l.tear = &tear{file: at, beyond: beyond}
	return nil
}

// proof is what a file and its index say of themselves.
type proof struct {
	id    uint64
	bad   error // what is wrong with the header
	mark  int64
	index summary // zero size: none that belongs to the file
}

// durable is how much of the file was once synced, at least.
func (p proof) durable() int64 { return max(p.mark, p.index.size) }

// proofs reads the header of f, and of its index.
func (l *Log) proofs(f *file) (p proof, err error) {
	r, err := l.fs.Open(f.path)
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	size, err := r.Size()
	if err != nil {
		return p, err
	}
	b, err := readAt(r, 0, min(size, headerLen))
	if err != nil {
		return p, err
	}
	h, err := decodeHeader(b)
	switch {
	case errors.Is(err, ErrVersion):
		return p, fmt.Errorf("%s: %w", f.path, err)
	case err == nil && h.base != f.base:
		err = fmt.Errorf("its header says that it begins at offset %d", h.base)
	}
	if err == nil {
		owner, whole := decodeOwner(b, f.base)
		switch {
		case !whole:
			err = errBadHeader
		case owner != 0 && l.opt.Owner != 0 && owner != l.opt.Owner:
			return p, f.corrupt(0, errors.New("it is of another log, or of another data directory"))
		}
	}
	if err != nil {
		p.bad = f.corrupt(0, err)
	}
	p.id, p.mark = h.id, decodeMark(b, f.base)
	if p.index, err = readSummary(l.fs, f); p.index.base != f.base || p.bad == nil && p.index.id != h.id {
		p.index = summary{}
	}
	return p, err
}

// loadFile finds what a file holds: by its index, and behind that by reading. whole:
// it has a header. torn says why it ends earlier than its bytes.
func (l *Log) loadFile(f *file, last bool) (whole bool, torn, err error) {
	size := f.size
	f.reset()
	p, err := l.proofs(f)
	switch {
	case err != nil:
		return false, nil, err
	case p.bad != nil && p.durable() > 0:
		return false, nil, p.bad
	case p.bad != nil:
		return false, p.bad, nil
	case p.durable() > size:
		return false, nil, f.corrupt(size, fmt.Errorf("%d bytes were durable", p.durable()))
	}
	f.id, f.marked = p.id, p.mark
	if p.index.size == size && !last { // its entries are read when they are wanted
		f.trust(p.index, nil)
		return true, nil, nil
	}
	if p.index.size > 0 {
		if entries, err := readEntries(l.fs, f, p.index); err == nil {
			f.trust(p.index, entries)
		} // else the index is damaged, and made anew
	}
	if torn, err = l.scan(f, size); err != nil {
		return false, nil, err
	}
	if torn != nil && f.size < p.durable() {
		return false, nil, torn
	}
	f.dirty = size > p.durable()
	l.unsafe = l.unsafe || f.dirty
	return true, torn, nil
}

// scan adds the batches behind what f knows of, up to size.
func (l *Log) scan(f *file, size int64) (torn, err error) {
	r, err := l.fs.Open(f.path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return f.scan(r, size)
}

// trust takes over what an index says. Without entries, the index is not in memory.
func (f *file) trust(s summary, entries []entry) {
	f.size, f.first, f.last, f.latest = s.size, s.first, s.last, s.latest
	f.index, f.indexed, f.resident, f.dirty = entries, s.size, entries != nil, false
}

// scan adds the batches behind what f knows of, up to size.
func (f *file) scan(r vfs.File, size int64) (torn, err error) {
	v := view{file: f, size: size, last: math.MaxInt64}
	w := v.walk(r, entry{offset: f.last + 1, pos: f.size}, scanAhead)
	for w.next() {
		f.add(w.batch)
	}
	if errors.Is(w.err, ErrCorrupt) {
		return w.err, nil
	}
	return nil, w.err
}

// readSummary reads the head of f's index file. A zero size: there is none, or none
// that can be read; it is dispensable.
func readSummary(fsys vfs.FS, f *file) (s summary, err error) {
	r, err := fsys.Open(f.idxPath())
	if errors.Is(err, fs.ErrNotExist) {
		return summary{}, nil
	}
	if err != nil {
		return summary{}, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	b := make([]byte, idxLen)
	if n, _ := r.ReadAt(b, 0); n < len(b) {
		return summary{}, nil // cut short, or unreadable
	}
	s, bad := decodeSummary(b)
	if errors.Is(bad, ErrVersion) {
		return summary{}, fmt.Errorf("%s: %w", f.idxPath(), bad)
	}
	if bad != nil {
		s = summary{}
	}
	return s, nil
}

// readEntries reads the entries of f's index file, whose head is s.
func readEntries(fsys vfs.FS, f *file, s summary) ([]entry, error) {
	r, err := fsys.Open(f.idxPath())
	if err != nil {
		return nil, err
	}
	b, err := readAt(r, idxLen, int64(s.entries)*idxEntryLen)
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, err
	}
	return decodeEntries(s, b)
}

// loadIndex returns the index of a file that keeps none in memory: from the index file,
// or, if that was damaged since, from the batches.
func (f *file) loadIndex(fsys vfs.FS, r vfs.File) ([]entry, error) {
	s, err := readSummary(fsys, f)
	if err != nil {
		return nil, err
	}
	if s.header == f.header && s.size == f.size {
		if entries, err := readEntries(fsys, f, s); err == nil {
			return entries, nil
		}
	}
	again := &file{header: f.header, path: f.path}
	again.reset()
	torn, err := again.scan(r, f.size)
	if err = errors.Join(torn, err); err != nil {
		return nil, err
	}
	return again.index, nil
}

func readAt(f vfs.File, pos, n int64) ([]byte, error) {
	b := make([]byte, n)
	if got, err := f.ReadAt(b, pos); got < len(b) {
		return nil, err
	}
	return b, nil
}
