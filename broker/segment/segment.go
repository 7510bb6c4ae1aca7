// Package segment keeps record batches in files: one directory for one sequence of
// batches in offset order.
//
// A Log is written by one and read by many. Append puts batches behind the last one,
// in the last file, and begins another when that is full; Read finds a batch by a
// sparse index and returns whole batches as they lie on disk, each verified by its
// checksum. Nothing here decides what is durable when: the owner calls Sync, and until
// then the write-ahead log has what a crash may take.
//
// # After a crash
//
// The unsynced end of a log may be torn anywhere. Open ends the log before the first
// batch that is not whole. Each file says how much of it was synced, in a mark and
// in its index: a batch that is not whole before that is ErrCorrupt, and nothing is
// removed. What is torn is removed by the first call that writes.
//
// The owner then calls TruncateTo with the end that it knows to have been synced, and
// appends again what its write-ahead log holds behind.
package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/vfs"
)

var (
	// ErrCorrupt: bytes that were once whole are not.
	ErrCorrupt = errors.New("segment: corrupt")
	// ErrVersion: written by a newer release.
	ErrVersion = errors.New("segment: written by a newer release")
	// ErrClosed is returned by every call after Close.
	ErrClosed = errors.New("segment: closed")
	// ErrUnsynced: a sync has failed. Nobody knows what the device has of the file, and a
	// later sync of it may report success for what was dropped.
	ErrUnsynced = errors.New("segment: not synced")
)

// Options are all optional.
type Options struct {
	FileBytes int64 // size at which the next file is begun; 64 MiB, at most 1 GiB
	// Parents is how many directories above a log's own may have been made for it, so
	// that their names are to be synced with it.
	Parents int
	// Owner is a number by which this log's files are told from another's; 0: they are not.
	Owner uint64
	// ID draws the ids of files; at random if nil.
	ID func() uint64
}

// Log is one sequence of record batches in a directory.
//
// Ownership: wmu admits one writer at a time, and may be held across I/O. mu guards
// what readers see, and is not: a reader takes a view, reads without a lock, and starts
// over when cuts has moved meanwhile. Lock order: rewriting → wmu → mu.
type Log struct {
	fs    vfs.FS
	dir   string
	cache *Cache
	opt   Options

	rewriting sync.Mutex // one at a time; held across I/O

	wmu    sync.Mutex
	failed error    // of a Sync: final, for the device may have lost anything
	unsafe bool     // names in dir, or its own, may not be durable
	heir   bool     // what an earlier process removed from dir may come back: see inherit
	tear   *tear    // what Open found behind the end
	litter []string // what Open found of rewritings that a crash ended
	doomed []*file  // dropped, and still on the disk
	bufs   [][]byte // scratch of Append

	mu     sync.RWMutex
	files  []*file // in offset order; only the last may be without batches
	end    int64   // one past the last offset
	cuts   uint64  // how often something was taken away
	closed bool
}

// file is one segment file. Its fields are guarded by Log.mu, except path and header.
type file struct {
	header
	path string

	size        int64 // of header and whole batches
	first, last int64 // offsets; first is -1 when there are no batches
	latest      int64 // time
	index       []entry
	indexed     int64 // the index file on disk speaks of so many bytes; 0: there is none
	marked      int64 // as the mark says; 0: there is none
	resident    bool  // index is in memory; else it is in the index file
	dirty       bool  // not synced
}

// tear is where a log that was not synced stopped being whole.
type tear struct {
	file   *file   // nil: there is nothing to cut in the last file
	beyond []*file // files behind it
}

func segPath(dir string, base int64) string {
	return filepath.Join(dir, fmt.Sprintf("%020d.seg", base))
}

func (f *file) idxPath() string { return f.path[:len(f.path)-len(".seg")] + ".idx" }

func (f *file) empty() bool { return f.first < 0 }

// Start is the first offset held; End one past the last. They are equal when nothing is.
func (l *Log) Start() int64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if len(l.files) == 0 || l.files[0].empty() {
		return l.end
	}
	return l.files[0].first
}

func (l *Log) End() int64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.end
}

// Size is the bytes in segment files.
func (l *Log) Size() int64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	var total int64
	for _, f := range l.files {
		total += f.size
	}
	return total
}

// Append writes whole batches behind the last one. Batches that do not follow in offset
// order are refused, all or none.
func (l *Log) Append(batches ...[]byte) error {
	l.wmu.Lock()
	defer l.wmu.Unlock()
	if err := l.writable(); err != nil {
		return err
	}
	if err := l.check(batches); err != nil {
		return err
	}
	if err := l.inherit(); err != nil {
		return err
	}
	if err := l.cutTear(); err != nil {
		return err
	}
	for len(batches) > 0 {
		f := l.last()
		if f == nil || !f.empty() && f.size+int64(len(batches[0])) > l.opt.FileBytes {
			var err error
			if f, err = l.newFile(); err != nil {
				return err
			}
			l.publish(func() { l.files = append(l.files, f) })
		}
		n, size := 0, f.size
		for n < len(batches) && (n == 0 || size+int64(len(batches[n])) <= l.opt.FileBytes) {
			size += int64(len(batches[n]))
			n++
		}
		if err := l.recall(f); err != nil {
			return err
		}
		if err := l.write(f, batches[:n]); err != nil {
			return err
		}
		batches = batches[n:]
	}
	return nil
}

func (l *Log) check(batches [][]byte) error {
	end := l.end
	for _, raw := range batches {
		b, rest, err := record.Next(raw)
		switch {
		case err != nil:
			return fmt.Errorf("segment: append to %s: %w", l.dir, err)
		case len(rest) > 0:
			return fmt.Errorf("segment: append to %s: %d bytes after a batch", l.dir, len(rest))
		case len(b) > BatchMax:
			return fmt.Errorf("segment: append to %s: batch of %d bytes, %d allowed", l.dir, len(b), BatchMax)
		case b.BaseOffset() < end || b.LastOffsetDelta() < 0:
			return fmt.Errorf("segment: append to %s: batch %d-%d, but the log ends at %d", l.dir, b.BaseOffset(), b.LastOffset(), end)
		}
		end = b.NextOffset()
	}
	return nil
}

// recall loads the index of a file that has become the last by truncation, or is to be without
// an index file.
func (l *Log) recall(f *file) error {
	if f.resident {
		return nil
	}
	h, index, err := l.open(view{file: f, size: f.size, last: f.last})
	if err != nil {
		return fmt.Errorf("segment: index: %w", err)
	}
	l.cache.release(h)
	l.publish(func() { f.index, f.resident = slices.Clone(index), true })
	return nil
}

// write appends batches to f. What a failed write leaves behind is overwritten by the next.
func (l *Log) write(f *file, batches [][]byte) error {
	l.bufs = append(l.bufs[:0], batches...)
	err := l.with(f, func(w vfs.File) error {
		_, err := w.WritevAt(l.bufs, f.size)
		return err
	})
	clear(l.bufs)
	if err != nil {
		return fmt.Errorf("segment: append: %w", err)
	}
	l.publish(func() {
		for _, b := range batches {
			f.add(record.Batch(b))
		}
		f.dirty = true
		l.end = f.last + 1
	})
	return nil
}

// add books a batch at the end of the file. Readers keep the part of index that they
// took: entries never change, only follow.
func (f *file) add(b record.Batch) {
	if n := len(f.index); n == 0 || f.size-f.index[n-1].pos >= indexBytes {
		f.index = append(f.index, entry{offset: b.BaseOffset(), pos: f.size, latest: f.latest})
	}
	if f.empty() {
		f.first = b.BaseOffset()
	}
	f.last = b.LastOffset()
	f.latest = max(f.latest, b.MaxTime())
	f.size += int64(len(b))
}

// newFile makes a file that begins where the log ends: so a file that is missing is
// noticed. Its name is durable after Sync.
func (l *Log) newFile() (*file, error) { return l.newFileAt(l.end) }

func (l *Log) newFileAt(base int64) (_ *file, err error) {
	f := &file{header: header{base: base, id: l.opt.ID()}, path: segPath(l.dir, base)}
	f.reset()
	w, err := l.fs.Create(f.path)
	if errors.Is(err, fs.ErrExist) && l.free(base) { // a failed attempt to make it
		if err = l.fs.Remove(f.path); err == nil {
			w, err = l.fs.Create(f.path)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("segment: new file: %w", err)
	}
	l.unsafe = true
	_, err = w.WriteAt(f.encodeFor(l.opt.Owner), 0)
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, fmt.Errorf("segment: new file: %w", errors.Join(err, l.fs.Remove(f.path)))
	}
	return f, nil
}

// free tells whether no file of the log has the name that belongs to base.
func (l *Log) free(base int64) bool {
	for _, f := range l.files {
		if f.base == base {
			return false
		}
	}
	return true
}

// reset makes f a file that has only its header.
func (f *file) reset() {
	f.size, f.first, f.last, f.latest = headerLen, -1, f.base-1, noTime
	f.index, f.indexed, f.marked, f.resident, f.dirty = nil, 0, 0, true, true
}

// Sync makes all that was appended durable. Its error is final for this log.
func (l *Log) Sync() error {
	l.wmu.Lock()
	defer l.wmu.Unlock()
	if err := l.writable(); err != nil {
		return err
	}
	return l.broken(l.sync())
}

// sync syncs files, then names, and only then writes down that it did.
func (l *Log) sync() error {
	for _, f := range l.files {
		if !f.dirty {
			continue
		}
		if err := l.with(f, syncData); err != nil {
			return err
		}
		l.publish(func() { f.dirty = false })
	}
	if l.unsafe {
		for i, d := 0, l.dir; i <= l.opt.Parents; i, d = i+1, filepath.Dir(d) {
			if err := unsynced(l.fs.SyncDir(d)); err != nil {
				return err
			}
		}
		l.unsafe = false
	}
	for _, f := range l.files {
		if f.marked >= f.size {
			continue
		}
		// What is synced is so without its mark: where there is no room for that, the next
		// Sync makes it.
		if err := l.mark(f, f.size); err != nil && !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
			return err
		}
	}
	for i, f := range l.files {
		sealed := i < len(l.files)-1
		if sealed && f.indexed < f.size || f.size-f.indexed >= reindexBytes {
			l.writeIndex(f)
		}
	}
	return nil
}

// syncData makes what a file holds durable, or ErrUnsynced.
func syncData(w vfs.File) error { return unsynced(w.SyncData()) }

// unsynced is the error of a sync, told from those that trying again may mend.
func unsynced(err error) error {
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrUnsynced, err)
	}
	return err
}

// mark writes down how much of f is durable. Caller syncs if that matters.
func (l *Log) mark(f *file, durable int64) error {
	err := l.with(f, func(w vfs.File) error {
		_, err := w.WriteAt(encodeMark(f.base, durable), markAt)
		return err
	})
	if err == nil {
		l.publish(func() { f.marked = durable })
	}
	return err
}

// with calls do with the open file of f.
func (l *Log) with(f *file, do func(vfs.File) error) error {
	h, err := l.cache.acquire(f)
	if err != nil {
		return err
	}
	defer l.cache.release(h)
	return do(h.file)
}

// reindexBytes is how far the last file grows between two savings of its index, and so
// what the next open reads at most of what was synced.
const reindexBytes = 8 << 20

// writeIndex saves the index of a file whose batches are durable, and lets go of it in
// memory unless the file is the last. It is only a help: without it, the next open
// reads the whole file, so an error changes nothing.
func (l *Log) writeIndex(f *file) {
	s := summary{header: f.header, size: f.size, first: f.first, last: f.last, latest: f.latest, entries: len(f.index)}
	if f.empty() || vfs.WriteFileLazy(l.fs, f.idxPath(), encodeIndex(s, f.index)) != nil {
		return
	}
	l.cache.drop(f) // its handle may hold an older index
	l.publish(func() {
		f.indexed = f.size
		if f != l.files[len(l.files)-1] {
			f.index, f.resident = nil, false
		}
	})
}

// Close lets go of files. It does not sync: what is not durable is still in the
// write-ahead log. Indexes of what is durable are saved, so that the next open is quick.
func (l *Log) Close() error {
	l.wmu.Lock()
	defer l.wmu.Unlock()
	if l.closed {
		return nil
	}
	if l.failed == nil && l.tear == nil && !l.unsafe {
		for _, f := range l.files {
			if !f.dirty && f.resident && f.indexed < f.size {
				l.writeIndex(f)
			}
		}
	}
	l.publish(func() { l.closed = true })
	for _, f := range l.files {
		l.cache.drop(f)
	}
	return nil
}

// writable tells whether the log may be changed. Caller holds wmu.
func (l *Log) writable() error {
	if l.closed {
		return ErrClosed
	}
	return l.failed
}

// last is the file that is written, or nil. Caller holds wmu.
func (l *Log) last() *file {
	if len(l.files) == 0 {
		return nil
	}
	return l.files[len(l.files)-1]
}

// publish changes what readers see. Caller holds wmu.
func (l *Log) publish(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
}
