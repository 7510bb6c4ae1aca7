package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/vfs"
)

// FileBase returns the base offset that the name of a segment or index file tells.
func FileBase(path string) (int64, bool) {
	name := filepath.Base(path)
	digits := strings.TrimSuffix(strings.TrimSuffix(name, ".seg"), ".idx")
	base, err := strconv.ParseInt(digits, 10, 64)
	return base, err == nil && len(digits) == 20 && len(name) == 24 && base >= 0
}

// FileReader goes through one segment file for somebody who wants to know what is in it.
// Unlike a Log it goes on behind a batch that is damaged, at the next one that is whole.
// It only reads, and holds one window of the file and one batch in memory.
type FileReader struct {
	head      Header
	headerErr error
	w         *walker
	followed  bool
	latest    int64 // time of the batches before the current one
	gaps      []Gap
	torn      int64 // where the torn end begins; -1: there is none
	searched  int64 // bytes checksummed in search of batches behind damage
	done      bool
}

// Header is what a segment file says of itself.
type Header struct {
	Base    int64
	ID      uint64
	Durable int64  // the mark; 0: there is none
	Owner   uint64 // as Options.Owner had it; 0: it does not say
}

// Gap is a stretch of a file that holds no whole batch, and should.
type Gap struct {
	From, To int64 // bytes
	// After and Before are the offsets around it: what is lost lies in [After, Before).
	// Before is -1 when no batch follows in the file.
	After, Before int64
	Why           error
}

const (
	// gapsMax bounds the damaged stretches that are told apart; what comes after is one.
	gapsMax = 1000
	// searchMax bounds the bytes that are checksummed in search of a batch behind damage.
	searchMax = 256 << 20
)

// NewFileReader begins with the header. base is the file's by its name, -1: take the
// header's word. durable is how much of the file its index says was synced, 0 when that is
// not known; followed: a file with a later base offset exists, so that all of this one was.
func NewFileReader(src io.ReaderAt, size, base, durable int64, followed bool) (*FileReader, error) {
	r := &FileReader{followed: followed, latest: noTime, torn: -1}
	b := make([]byte, min(size, headerLen))
	if n, err := src.ReadAt(b, 0); n < len(b) {
		return nil, err
	}
	h, err := decodeHeader(b)
	switch {
	case errors.Is(err, ErrVersion):
		r.headerErr, r.done = err, true
	case err != nil:
		r.headerErr = fmt.Errorf("%w: %w", ErrCorrupt, err)
		if len(b) >= markAt {
			h.id = binary.LittleEndian.Uint64(b[24:])
		}
		h.base = max(base, 0)
	case base >= 0 && h.base != base:
		r.headerErr = fmt.Errorf("%w: its header says that it begins at offset %d", ErrCorrupt, h.base)
		h.base = base
	}
	r.head = Header{Base: h.base, ID: h.id, Durable: decodeMark(b, h.base)}
	if err == nil {
		owner, whole := decodeOwner(b, h.base)
		if !whole {
			r.headerErr, owner = fmt.Errorf("%w: %w", ErrCorrupt, errBadHeader), 0
		}
		r.head.Owner = owner
	}
	if r.head.Durable < 0 || r.head.Durable > math.MaxInt64/2 {
		r.head.Durable = 0
	}
	f := &file{header: h}
	f.reset()
	if f.marked = max(r.head.Durable, durable); followed {
		f.marked = max(f.marked, size)
	}
	r.w = view{file: f, size: size, last: math.MaxInt64 - 1}.walk(src, entry{offset: h.base, pos: min(headerLen, size)}, scanAhead)
	return r, nil
}

// Header is the file's, as far as it can be believed.
func (r *FileReader) Header() Header { return r.head }

// HeaderErr is what is wrong with the header: ErrCorrupt or ErrVersion.
func (r *FileReader) HeaderErr() error { return r.headerErr }

// Next goes to the next batch that is whole and follows in offset order, over damage where
// there is some.
func (r *FileReader) Next() bool {
	w := r.w
	if w.batch != nil {
		r.latest = max(r.latest, w.batch.MaxTime())
	}
	if r.done {
		return false
	}
	if w.next() {
		return true
	}
	r.done = true
	if w.err == nil && w.Size < w.f.marked {
		r.gaps = append(r.gaps, Gap{From: w.Size, To: w.f.marked, After: w.end, Before: -1,
			Why: fmt.Errorf("the file has %d bytes, %d were durable", w.Size, w.f.marked)})
	}
	if w.err == nil || !errors.Is(w.err, ErrCorrupt) {
		return false
	}
	bad, why := w.pos, w.err
	if bad >= w.f.marked {
		r.torn, w.err = bad, nil
		return false
	}
	w.err = nil
	gap := Gap{From: bad, To: w.Size, After: w.end, Before: -1, Why: cause(why)}
	if len(r.gaps) < gapsMax {
		if next := r.search(bad); next > 0 {
			w.after = next
			if w.next() {
				gap.To, gap.Before = next, w.batch.BaseOffset()
				r.done = false
			}
		}
	}
	r.gaps = append(r.gaps, gap)
	return !r.done
}

// cause is what corrupt was given.
func cause(err error) error {
	if m, ok := err.(interface{ Unwrap() []error }); ok {
		if all := m.Unwrap(); len(all) > 0 {
			return all[len(all)-1]
		}
	}
	return err
}

// search returns where the first whole batch behind bad begins, or 0.
func (r *FileReader) search(bad int64) int64 {
	w := r.w
	// Where the damaged one would have ended, if its length is as it was.
	if n, err := w.length(); err == nil && r.whole(bad+int64(n)) {
		return bad + int64(n)
	}
	w.err = nil
	for at := bad + 1; at+record.HeaderLen <= w.Size; {
		n := int(min(scanAhead, w.Size-at))
		b, err := w.bytes(at, n)
		if err != nil {
			return 0
		}
		for i := 0; i+record.HeaderLen <= n; i++ {
			const magicAt, attributesAt, magic = 16, 21, 2
			if b[i+magicAt] != magic || b[i+attributesAt] != 0 {
				continue
			}
			base := int64(binary.BigEndian.Uint64(b[i:]))
			size := lengthPrefix + int64(int32(binary.BigEndian.Uint32(b[i+lengthAt:])))
			if base < w.end || size < record.HeaderLen || size > BatchMax || size > w.Size-at-int64(i) {
				continue
			}
			if r.searched > searchMax {
				return 0
			}
			if r.whole(at + int64(i)) {
				return at + int64(i)
			}
			if b, err = w.bytes(at, n); err != nil { // the window may have moved
				return 0
			}
		}
		at += int64(n - record.HeaderLen + 1)
	}
	return 0
}

// whole tells whether a batch that may follow begins at pos.
func (r *FileReader) whole(pos int64) bool {
	w := r.w
	saved := w.pos
	defer func() { w.pos, w.err = saved, nil }()
	w.pos = pos
	if pos >= w.Size {
		return false
	}
	n, err := w.length()
	if err != nil {
		return false
	}
	r.searched += int64(n)
	raw, err := w.bytes(pos, n)
	if err != nil {
		return false
	}
	b, _, err := record.Check(raw, BatchMax)
	return err == nil && b.BaseOffset() >= w.end
}

// Batch is the one that Next went to, valid until the next call.
func (r *FileReader) Batch() record.Batch { return r.w.batch }

// Pos is where it lies.
func (r *FileReader) Pos() int64 { return r.w.pos }

// LatestBefore is the largest time of the batches before it; false: there are none.
func (r *FileReader) LatestBefore() (int64, bool) { return r.latest, r.latest != noTime }

// Gaps are the damaged stretches that were met so far.
func (r *FileReader) Gaps() []Gap { return r.gaps }

// Torn is where the file stops being whole behind what was ever durable, as a crash leaves
// it; -1: nowhere.
func (r *FileReader) Torn() int64 { return r.torn }

// End is one past the last offset that was read.
func (r *FileReader) End() int64 { return r.w.end }

// Err is of reading.
func (r *FileReader) Err() error { return r.w.err }

// Index is what an index file says.
type Index struct {
	Base        int64
	ID          uint64
	Size        int64 // of the segment file, as far as the index goes
	First, Last int64 // offsets
	Latest      int64 // ms
	Entries     []IndexEntry
}

// IndexEntry stands for a batch.
type IndexEntry struct {
	Offset int64
	Pos    int64
	Latest int64 // time of the batches before it; the smallest number when there are none
}

// ReadIndex parses a whole index file.
func ReadIndex(file io.ReaderAt, size int64) (Index, error) {
	b := make([]byte, min(size, idxLen))
	if n, err := file.ReadAt(b, 0); n < len(b) {
		return Index{}, err
	}
	s, err := decodeSummary(b)
	if err == nil && int64(s.entries)*idxEntryLen > size-idxLen {
		err = errBadHeader
	}
	if errors.Is(err, ErrVersion) {
		return Index{}, err
	}
	x := Index{Base: s.base, ID: s.id, Size: s.size, First: s.first, Last: s.last, Latest: s.latest}
	var entries []entry
	if err == nil {
		b = make([]byte, s.entries*idxEntryLen)
		if n, err := file.ReadAt(b, idxLen); n < len(b) {
			return x, err
		}
		entries, err = decodeEntries(s, b)
	}
	if err != nil {
		return x, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	for _, e := range entries {
		x.Entries = append(x.Entries, IndexEntry{Offset: e.offset, Pos: e.pos, Latest: e.latest})
	}
	return x, nil
}

// Rebuild makes the index of a segment file anew from its batches, durably, in place of the
// one that is there. The file must be whole: a gap or a torn end is an error.
func Rebuild(fsys vfs.FS, path string) error {
	base, ok := FileBase(path)
	if !ok {
		return fmt.Errorf("segment: %s is not a segment file's name", path)
	}
	r, err := fsys.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // only read from
	size, err := r.Size()
	if err != nil {
		return err
	}
	b, err := readAt(r, 0, min(size, headerLen))
	if err != nil {
		return err
	}
	h, err := decodeHeader(b)
	if err != nil || h.base != base {
		return fmt.Errorf("%w: %s: damaged header", ErrCorrupt, path)
	}
	f := &file{header: h, path: path}
	f.reset()
	torn, err := f.scan(r, size)
	if err = errors.Join(torn, err); err != nil {
		return err
	}
	if err := r.SyncData(); err != nil { // an index is a proof that what it speaks of is durable
		return err
	}
	s := summary{header: f.header, size: f.size, first: f.first, last: f.last, latest: f.latest, entries: len(f.index)}
	if f.empty() {
		return nil
	}
	if err := vfs.WriteFile(fsys, f.idxPath(), encodeIndex(s, f.index)); err != nil {
		return err
	}
	return fsys.SyncDir(filepath.Dir(path))
}
