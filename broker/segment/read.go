package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sort"

	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/vfs"
)

// readMax bounds one Read, unless a single batch is larger.
const readMax = 16 << 20

// view is what a reader knows of one file at one moment.
type view struct {
	*file
	size     int64
	last     int64
	index    []entry
	resident bool
	cuts     uint64
}

// Read returns whole batches, one after another, from the one that holds offset or else
// the first after it: at least one, and then as many as maxBytes allows, from one
// file. nil: nothing at or after offset. The bytes are the caller's.
func (l *Log) Read(offset int64, maxBytes int) ([]byte, error) {
	byOffset := func() *file {
		i := sort.Search(len(l.files), func(i int) bool { return l.files[i].last >= offset })
		if i == len(l.files) {
			return nil
		}
		return l.files[i]
	}
	maxBytes = min(max(0, maxBytes), readMax)
	for {
		v, ok, err := l.view(byOffset)
		if err != nil || !ok {
			return nil, err
		}
		b, err := l.read(v, offset, maxBytes)
		if !l.outdated(v, err) {
			return b, err
		}
	}
}

// OffsetForTime returns the first batch that ends at or after offset from and whose
// MaxTime is at or after ms: its base offset and that time.
func (l *Log) OffsetForTime(from, ms int64) (base, latest int64, ok bool, err error) {
	byTime := func() *file { // times need not rise from file to file
		for _, f := range l.files {
			if !f.empty() && f.last >= from && f.latest >= ms {
				return f
			}
		}
		return nil
	}
	for {
		v, ok, err := l.view(byTime)
		if err != nil || !ok {
			return 0, 0, false, err
		}
		b, found, err := l.searchTime(v, from, ms)
		switch {
		case l.outdated(v, err):
		case err != nil:
			return 0, 0, false, err
		case found:
			return b.BaseOffset(), b.MaxTime(), true, nil
		default: // what is as late in this file lies before from
			from = v.last + 1
		}
	}
}

// SizeFrom is the bytes of the batches that end at or after offset.
func (l *Log) SizeFrom(offset int64) (int64, error) {
	var behind int64
	byOffset := func() *file {
		i := sort.Search(len(l.files), func(i int) bool { return l.files[i].last >= offset })
		if i == len(l.files) {
			return nil
		}
		behind = 0
		for _, f := range l.files[i+1:] {
			behind += f.size - headerLen
		}
		return l.files[i]
	}
	for {
		v, ok, err := l.view(byOffset)
		if err != nil || !ok {
			return 0, err
		}
		if offset <= v.first {
			return behind + v.size - headerLen, nil
		}
		pos, _, err := l.seek(v, func(e entry) bool { return e.offset > offset }, func(w *walker) bool { return w.batch.LastOffset() >= offset })
		if !l.outdated(v, err) {
			return behind + v.size - pos, err
		}
	}
}

// LastBytes returns where the newest batches begin that have at most n bytes together, or
// an offset in the gap before them; End when the last one alone has more.
func (l *Log) LastBytes(n int64) (int64, error) {
	for {
		var from int64 // in the file: batches that begin there or later
		end := int64(0)
		v, ok, err := l.view(func() *file {
			end = l.end
			left := n
			for i, f := range slices.Backward(l.files) {
				if size := f.size - headerLen; size <= left && i > 0 {
					left -= size
					continue
				}
				from = max(headerLen, f.size-left)
				return f
			}
			return nil
		})
		if err != nil || !ok {
			return end, err
		}
		if from <= headerLen {
			return v.first, nil
		}
		next := v.last + 1 // the next file has what follows
		if from < v.size {
			var base int64
			if _, base, err = l.seek(v, func(e entry) bool { return e.pos > from }, func(w *walker) bool { return w.pos >= from }); base >= 0 {
				next = base
			}
		}
		if !l.outdated(v, err) {
			return next, err
		}
	}
}

// seek goes through v from before the first index entry for which beyond is true to the
// first batch that is wanted: its position and base offset, or the end of v and -1.
func (l *Log) seek(v view, beyond func(entry) bool, wanted func(*walker) bool) (pos, base int64, err error) {
	h, index, err := l.open(v)
	if err != nil {
		return 0, -1, err
	}
	defer l.cache.release(h)
	i := sort.Search(len(index), func(i int) bool { return beyond(index[i]) })
	w := v.walk(h.file, index[max(0, i-1)], 2*indexBytes)
	for w.next() {
		if wanted(w) {
			return w.pos, w.batch.BaseOffset(), nil
		}
	}
	return v.size, -1, w.err
}

// view returns the file that find finds, as it is now.
func (l *Log) view(find func() *file) (view, bool, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return view{}, false, ErrClosed
	}
	f := find()
	if f == nil || f.empty() {
		return view{}, false, nil
	}
	return view{file: f, size: f.size, last: f.last, index: f.index, resident: f.resident, cuts: l.cuts}, true, nil
}

// outdated tells whether err may come from the view being old: something was taken away
// since.
func (l *Log) outdated(v view, err error) bool {
	if err == nil {
		return false
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.cuts != v.cuts && !l.closed
}

// open returns the file of v, and its index.
func (l *Log) open(v view) (*handle, []entry, error) {
	h, err := l.cache.acquire(v.file)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errReplaced) {
			err = fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		return nil, nil, err
	}
	index := v.index
	if !v.resident {
		if index, err = h.index(); err != nil {
			l.cache.release(h)
			return nil, nil, err
		}
	}
	if len(index) == 0 {
		l.cache.release(h)
		return nil, nil, v.corrupt(headerLen, errors.New("no index entry"))
	}
	return h, index, nil
}

// errReplaced: a file that was rewritten has the name now.
var errReplaced = errors.New("another file has its name")

// identify tells whether r, just opened by f's path, is f: since it was taken from the
// list, a rewriting may have put another in its place, where its index means nothing.
func (f *file) identify(r vfs.File) error {
	b, err := readAt(r, 0, markAt)
	if err != nil {
		return err
	}
	if id := binary.LittleEndian.Uint64(b[idAt:]); id != f.id {
		return fmt.Errorf("%w: %s", errReplaced, f.path)
	}
	return nil
}

func (f *file) corrupt(pos int64, err error) error {
	return fmt.Errorf("%w: %s at byte %d: %w", ErrCorrupt, f.path, pos, err)
}

// read finds the first batch that ends at or after offset, which v has.
func (l *Log) read(v view, offset int64, maxBytes int) ([]byte, error) {
	h, index, err := l.open(v)
	if err != nil {
		return nil, err
	}
	defer l.cache.release(h)

	i := sort.Search(len(index), func(i int) bool { return index[i].offset > offset })
	w := v.walk(h.file, index[max(0, i-1)], indexBytes+maxBytes)
	for w.next() {
		if w.batch.LastOffset() < offset {
			continue
		}
		// One buffer holds all that is returned, and everything in it is verified there:
		// the file may be cut and written again between two reads.
		n := min(int64(max(len(w.batch), maxBytes)), v.size-w.pos)
		base := w.batch.BaseOffset() // the batch itself may be gone with what the window held
		buf, err := w.bytes(w.pos, int(n))
		if err != nil {
			return nil, err
		}
		return wholeBatches(buf, base, v.last)
	}
	if w.err == nil {
		w.err = v.corrupt(w.pos, fmt.Errorf("offset %d is not there", offset))
	}
	return nil, w.err
}

// wholeBatches returns the batches that buf begins with. What stands behind them is for
// the next Read to tell.
func wholeBatches(buf []byte, base, last int64) ([]byte, error) {
	n := 0
	for n < len(buf) {
		b, ok := wholeBatch(buf[n:])
		if !ok || b.BaseOffset() < base || b.LastOffset() > last {
			break
		}
		n += len(b)
		base = b.NextOffset()
	}
	if n == 0 {
		return nil, fmt.Errorf("%w: batch %d changed while it was read", ErrCorrupt, base)
	}
	return buf[:n:n], nil
}

func wholeBatch(buf []byte) (record.Batch, bool) {
	b, _, err := record.Check(buf, BatchMax)
	return b, err == nil
}

// searchTime returns a copy of the header of the first batch that ends at or after from
// and is as late as ms. v has one that late, but it may lie before from.
func (l *Log) searchTime(v view, from, ms int64) (record.Batch, bool, error) {
	h, index, err := l.open(v)
	if err != nil {
		return nil, false, err
	}
	defer l.cache.release(h)

	late := sort.Search(len(index), func(i int) bool { return index[i].latest >= ms })
	near := sort.Search(len(index), func(i int) bool { return index[i].offset > from })
	w := v.walk(h.file, index[max(0, late-1, near-1)], 2*indexBytes)
	for w.next() {
		if w.batch.MaxTime() >= ms && w.batch.LastOffset() >= from {
			return slices.Clone(w.batch[:record.HeaderLen]), true, nil
		}
	}
	if w.err == nil && from <= v.first {
		w.err = v.corrupt(w.pos, fmt.Errorf("time %d is not there", ms))
	}
	return nil, false, w.err
}

// walker goes from batch to batch within one file.
type walker struct {
	vfs.Window
	f     *file
	batch record.Batch // the current one, verified; valid until the next
	pos   int64        // where it lies
	after int64        // where the next one does
	end   int64        // no later batch has an offset below
	last  int64        // nor above
	err   error
}

// walk begins at the batch that e stands for.
func (v view) walk(f io.ReaderAt, e entry, ahead int) *walker {
	return &walker{
		Window: vfs.Window{File: f, Size: v.size, Ahead: ahead},
		f:      v.file, after: e.pos, end: e.offset, last: v.last,
	}
}

// next goes to the next batch. It stops at the end of the file, and at what is not a
// whole batch in its place: then err says so.
func (w *walker) next() bool {
	if w.err != nil || w.after >= w.Size {
		return false
	}
	w.pos = w.after
	n, err := w.length()
	if err == nil {
		var raw []byte
		if raw, err = w.bytes(w.pos, n); err == nil {
			w.batch, _, err = record.Check(raw, BatchMax)
		}
	}
	if w.err != nil {
		return false
	}
	if err == nil && (w.batch.BaseOffset() < w.end || w.batch.LastOffset() > w.last) {
		err = fmt.Errorf("batch %d-%d, where %d to %d belong", w.batch.BaseOffset(), w.batch.LastOffset(), w.end, w.last)
	}
	if err != nil {
		w.err = w.f.corrupt(w.pos, err)
		return false
	}
	w.after, w.end = w.pos+int64(n), w.batch.NextOffset()
	return true
}

// length is that of the batch at pos, which fits in the file and within BatchMax.
func (w *walker) length() (int, error) {
	if w.Size-w.pos < record.HeaderLen {
		return 0, fmt.Errorf("%w: %d bytes left", record.ErrShort, w.Size-w.pos)
	}
	b, err := w.bytes(w.pos, record.HeaderLen)
	if err != nil {
		return 0, err
	}
	n := lengthPrefix + int64(int32(binary.BigEndian.Uint32(b[lengthAt:])))
	if n < record.HeaderLen || n > BatchMax || n > w.Size-w.pos {
		return 0, fmt.Errorf("batch of %d bytes, %d left", n, w.Size-w.pos)
	}
	return int(n), nil
}

// bytes is Bytes, with its error kept: one of the device, unless the file has become
// shorter than it was.
func (w *walker) bytes(pos int64, n int) ([]byte, error) {
	b, err := w.Bytes(pos, n)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = w.f.corrupt(pos, err)
	}
	if err != nil {
		w.err = err
	}
	return b, err
}

// Where a batch says how long it is, and what that does not count.
const (
	lengthAt     = 8
	lengthPrefix = 12
)
