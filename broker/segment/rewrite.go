package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sort"

	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/vfs"
)

// Roll ends the last file, so that what was appended so far can be rewritten: the next
// batch goes to a new one.
func (l *Log) Roll() error {
	l.wmu.Lock()
	defer l.wmu.Unlock()
	if err := l.writable(); err != nil {
		return err
	}
	if f := l.last(); f == nil || f.empty() {
		return nil
	}
	if err := l.inherit(); err != nil {
		return err
	}
	if err := l.cutTear(); err != nil {
		return err
	}
	f, err := l.newFile()
	if err != nil {
		return err
	}
	l.publish(func() { l.files = append(l.files, f) })
	return nil
}

// SetFileBytes changes the size at which the next file is begun; at most 1 GiB.
func (l *Log) SetFileBytes(n int64) {
	l.wmu.Lock()
	defer l.wmu.Unlock()
	l.opt.FileBytes = max(headerLen, min(n, fileMax))
}

// Bounds returns where each file begins, in order. All files but the last are at rest:
// the file that begins at one bound has the offsets up to the next, and can be rewritten.
func (l *Log) Bounds() []int64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	bounds := make([]int64, len(l.files))
	for i, f := range l.files {
		bounds[i] = f.base
	}
	return bounds
}

// Rewrite replaces the files at rest between two of Bounds by one that has of each batch
// what edit makes of it: the batch itself, another one within its offsets, or nil for
// nothing. Where the last offset would go with its batch, an empty batch stands for it. A
// single file that edit leaves as it is is not written. false: the files are not there
// any more, not at rest or not synced, and nothing was done.
//
// What is read and written meanwhile goes on: readers keep the old files until the new
// one is whole and durable and has taken their name. A crash leaves the old files, or the
// new one. An error before that changes nothing. A batch is valid until edit returns.
func (l *Log) Rewrite(from, to int64, edit func(batch []byte) ([]byte, error)) (bool, error) {
	l.rewriting.Lock()
	defer l.rewriting.Unlock()
	old, err := l.between(from, to)
	if err != nil || old == nil {
		return false, err
	}
	r := &rewriting{log: l, old: old, edit: edit}
	r.file = &file{header: header{base: old[0].base, id: l.opt.ID()}, path: old[0].path}
	r.file.reset()
	defer r.close()
	if err := r.run(); err != nil {
		if now, gone := l.between(from, to); gone == nil && !slices.EqualFunc(old, now, sameView) {
			return false, nil // they were cut or dropped while they were read
		}
		return false, fmt.Errorf("segment: rewrite: %w", err)
	}
	if r.out == nil {
		return true, nil // nothing would change
	}
	return l.replace(r)
}

// between returns the files at rest from one bound to another, as they are now; nil when
// there are none such.
func (l *Log) between(from, to int64) ([]view, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return nil, ErrClosed
	}
	i, j := l.fileAt(from), l.fileAt(to)
	if i < 0 || j <= i {
		return nil, nil
	}
	for _, f := range l.files[:j] {
		if f.dirty { // a crash may still take it, and must not leave what follows
			return nil, nil
		}
	}
	views := make([]view, 0, j-i)
	for _, f := range l.files[i:j] {
		views = append(views, view{file: f, size: f.size, last: f.last, index: f.index, resident: f.resident, cuts: l.cuts})
	}
	return views, nil
}

// sameView tells whether a file is as it was.
func sameView(a, b view) bool { return a.file == b.file && a.size == b.size }

// fileAt is the index of the file that begins at base, or -1. Caller holds mu or wmu.
func (l *Log) fileAt(base int64) int {
	i := sort.Search(len(l.files), func(i int) bool { return l.files[i].base >= base })
	if i == len(l.files) || l.files[i].base != base {
		return -1
	}
	return i
}

// rewriteBytes is what one rewriting holds in memory, twice, besides one batch.
const rewriteBytes = 1 << 20

// rewriting is one of them under way. Its file is made when the first change is met: what
// stands before that is then copied as it is.
type rewriting struct {
	log  *Log
	old  []view
	edit func([]byte) ([]byte, error)

	file *file    // what the result will be
	out  vfs.File // nil: nothing has changed yet
	buf  []byte   // the end of file, not written yet

	whole bool // out is written, durable and closed
	named bool // and has its name
}

// tmpPath is where the result is made: see litter.
func (r *rewriting) tmpPath() string { return r.file.path + tmpSuffix }

const tmpSuffix = ".tmp"

// run writes the result to its temporary file, durably, unless nothing changes.
func (r *rewriting) run() error {
	last := r.old[len(r.old)-1].last
	for i, v := range r.old {
		if i > 0 {
			if err := r.begin(); err != nil { // one file of several is a change
				return err
			}
		}
		if err := r.walk(v, last); err != nil {
			return err
		}
	}
	if r.file.last < last {
		if err := r.add(record.Empty(last)); err != nil {
			return err
		}
	}
	if r.out == nil {
		return nil
	}
	if err := r.flush(); err != nil {
		return err
	}
	head := r.file.encodeFor(r.log.opt.Owner)
	copy(head[markAt:], encodeMark(r.file.base, r.file.size)) // it is synced before it has its name
	if _, err := r.out.WriteAt(head, 0); err != nil {
		return err
	}
	if err := r.out.Sync(); err != nil {
		return err
	}
	r.whole = true
	r.file.marked, r.file.dirty = r.file.size, false
	return r.out.Close()
}

// walk takes over one of the old files.
func (r *rewriting) walk(v view, last int64) error {
	h, err := r.log.cache.acquire(v.file)
	if err != nil {
		return err
	}
	defer r.log.cache.release(h)
	w := v.walk(h.file, entry{offset: v.base, pos: headerLen}, rewriteBytes)
	for w.next() {
		b, err := r.edit(w.batch)
		if err != nil {
			return err
		}
		if b == nil && w.batch.Count() == 0 && w.batch.LastOffset() == last {
			b = w.batch // it stands for the last offset already
		}
		same := len(b) == len(w.batch) && &b[0] == &w.batch[0]
		if same && r.out == nil {
			r.file.add(w.batch)
			continue
		}
		if err := r.begin(); err != nil {
			return err
		}
		if b == nil {
			continue
		}
		if err := r.add(b); err != nil {
			return err
		}
	}
	return w.err
}

// begin makes the temporary file, with what is known of the result so far: all of it from
// the first of the old files.
func (r *rewriting) begin() error {
	if r.out != nil {
		return nil
	}
	l := r.log
	out, err := l.fs.Create(r.tmpPath())
	if errors.Is(err, fs.ErrExist) { // left by a crash
		if err = l.fs.Remove(r.tmpPath()); err == nil {
			out, err = l.fs.Create(r.tmpPath())
		}
	}
	if err != nil {
		return err
	}
	r.out, r.buf = out, make([]byte, 0, rewriteBytes)
	h, err := l.cache.acquire(r.old[0].file)
	if err != nil {
		return err
	}
	defer l.cache.release(h)
	chunk := r.buf[:rewriteBytes]
	for pos := int64(headerLen); pos < r.file.size; {
		n := min(int64(len(chunk)), r.file.size-pos)
		if got, err := h.file.ReadAt(chunk[:n], pos); int64(got) < n {
			return err
		}
		if _, err := out.WriteAt(chunk[:n], pos); err != nil {
			return err
		}
		pos += n
	}
	return nil
}

func (r *rewriting) add(b record.Batch) error {
	if b.BaseOffset() <= r.file.last || b.LastOffsetDelta() < 0 {
		return fmt.Errorf("batch %d-%d after offset %d", b.BaseOffset(), b.LastOffset(), r.file.last)
	}
	if err := r.begin(); err != nil {
		return err
	}
	if len(r.buf)+len(b) > rewriteBytes {
		if err := r.flush(); err != nil {
			return err
		}
	}
	r.buf = append(r.buf, b...)
	r.file.add(b)
	return nil
}

func (r *rewriting) flush() error {
	_, err := r.out.WriteAt(r.buf, r.file.size-int64(len(r.buf)))
	r.buf = r.buf[:0]
	return err
}

// close lets go of the temporary file; one that has not got its name is removed.
func (r *rewriting) close() {
	if r.out != nil && !r.whole {
		_ = r.out.Close() // it is of no use
	}
	if r.out != nil && !r.named {
		_ = r.log.fs.Remove(r.tmpPath()) // or else the next one of that name does
	}
}

// replace gives the result the name of the first of the old files, and removes the others.
func (l *Log) replace(r *rewriting) (bool, error) {
	l.wmu.Lock()
	defer l.wmu.Unlock()
	if err := l.writable(); err != nil {
		return false, err
	}
	if err := l.inherit(); err != nil {
		return false, err
	}
	i := l.fileAt(r.file.base)
	n := len(r.old)
	if i < 0 || i+n >= len(l.files) {
		return false, nil
	}
	for j, v := range r.old { // each must be the one that was read, and as it was
		if f := l.files[i+j]; f != v.file || f.size != v.size {
			return false, nil
		}
	}
	// Until readers are shown the new file they go on with the old ones, also those that
	// open them from here on.
	for _, v := range r.old {
		h, err := l.cache.acquire(v.file)
		if err != nil {
			return false, fmt.Errorf("segment: rewrite: %w", err)
		}
		defer l.cache.release(h)
		if !v.resident {
			if _, err := h.index(); err != nil {
				return false, fmt.Errorf("segment: rewrite: %w", err)
			}
		}
	}
	first := l.files[i]
	if first.indexed > 0 { // it would outlive its file
		if err := l.recall(first); err != nil { // which stays if nothing takes its place
			return false, err
		}
		_ = l.fs.Remove(first.idxPath())
		l.publish(func() { first.indexed = 0 })
	}
	if err := l.fs.Rename(r.tmpPath(), r.file.path); err != nil {
		return false, fmt.Errorf("segment: rewrite: %w", err)
	}
	r.named = true
	err := unsynced(l.fs.SyncDir(l.dir))
	old := slices.Clone(l.files[i : i+n])
	l.publish(func() {
		l.files = slices.Concat(l.files[:i], []*file{r.file}, l.files[i+n:])
		l.cuts++
	})
	for _, f := range old {
		l.cache.drop(f)
	}
	if err != nil { // the old name may come back, and with it what followed
		return false, l.broken(err)
	}
	l.doomed = append(l.doomed, old[1:]...)
	l.writeIndex(r.file)
	return true, l.bury()
}

// bury removes the files that were dropped, the oldest first: those which remain follow
// one another. What cannot be removed is tried again with the next.
func (l *Log) bury() error {
	for len(l.doomed) > 0 {
		l.unsafe = true
		if err := l.removeFile(l.doomed[0]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("segment: drop: %w", err)
		}
		l.doomed = l.doomed[1:]
	}
	l.doomed = nil
	return nil
}
