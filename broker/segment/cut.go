package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sort"
	"syscall"

	"github.com/robustmq/rmq/broker/vfs"
)

// TruncateTo drops every batch with a base offset at or after end. A crash meanwhile
// leaves the log as it was, or cut, or something between.
func (l *Log) TruncateTo(end int64) error {
	l.wmu.Lock()
	defer l.wmu.Unlock()
	if err := l.writable(); err != nil {
		return err
	}
	if err := l.inherit(); err != nil {
		return err
	}
	if err := l.cutTear(); err != nil {
		return err
	}
	// What a rewriting replaced must not come back behind what is written next.
	if err := l.remove(l.doomed); err != nil {
		return l.broken(err)
	}
	l.doomed = nil
	return l.truncateTo(max(end, 0))
}

// inherit makes durable what Open found, before anything is changed. An
// earlier process may have been killed after it had removed files and before it had
// synced that: after a power failure they would come back, behind an end that they do
// not follow.
func (l *Log) inherit() error {
	if !l.heir {
		return nil
	}
	if err := unsynced(l.fs.SyncDir(l.dir)); err != nil {
		return l.broken(err)
	}
	// And so the end of a file that it had cut, in front of a file that follows the new one.
	if f := l.last(); f != nil {
		if err := l.with(f, syncData); err != nil {
			return l.broken(err)
		}
	}
	l.heir = false
	for _, path := range l.litter {
		if err := l.fs.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("segment: remove what a rewriting left: %w", err)
		}
	}
	l.litter = nil
	return nil
}

func (l *Log) truncateTo(end int64) error {
	n := sort.Search(len(l.files), func(i int) bool { return l.files[i].last >= end })
	if n == len(l.files) {
		return nil
	}
	f := l.files[n]
	if f.empty() || f.first >= end {
		if n == 0 && f.base == end {
			// The only file that says where the log ends. It is emptied where it is: were it
			// removed and made again, a crash between would leave a log that ends at 0.
			kept := &file{header: f.header, path: f.path}
			kept.reset()
			return l.truncateFile(0, kept)
		}
		return l.truncateFiles(n, end)
	}
	kept, err := l.prefix(f, end)
	if err != nil {
		return fmt.Errorf("segment: truncate: %w", err)
	}
	if kept.size == f.size { // end lies within the file's last batch
		return l.truncateFiles(n+1, end)
	}
	return l.truncateFile(n, kept)
}

// prefix returns what f is with only the batches that begin before end.
func (l *Log) prefix(f *file, end int64) (*file, error) {
	v := view{file: f, size: f.size, last: f.last, index: f.index, resident: f.resident}
	h, index, err := l.open(v)
	if err != nil {
		return nil, err
	}
	defer l.cache.release(h)
	i := sort.Search(len(index), func(i int) bool { return index[i].offset >= end })
	e := index[i-1] // f.first is below end
	kept := &file{header: f.header, path: f.path}
	kept.reset()
	kept.index = slices.Clone(index[:i-1])
	kept.size, kept.latest = e.pos, e.latest
	w := v.walk(h.file, e, 2*indexBytes)
	for w.next() && w.batch.BaseOffset() < end {
		kept.add(w.batch)
	}
	kept.first = f.first
	return kept, w.err
}

// truncateFile cuts file n to kept, and removes those behind it.
func (l *Log) truncateFile(n int, kept *file) error {
	old, gone := l.files[n], l.files[n+1:]
	kept.indexed, kept.marked = old.indexed, old.marked
	l.publish(func() {
		l.files = append(slices.Clone(l.files[:n]), kept)
		l.end = kept.last + 1
		l.cuts++
	})
	err := l.remove(gone)
	if err == nil {
		l.cache.drop(old)
		err = l.shrink(kept)
	}
	return l.broken(err)
}

// broken makes the error of a change that is half done final: the disk has more than
// readers see, and what is written next must not seem to be followed by it.
func (l *Log) broken(err error) error {
	if err != nil {
		l.failed = fmt.Errorf("segment: %s is not written any more: %w", l.dir, err)
	}
	return l.failed
}

// truncateFiles removes the files from n on. If none remains, an empty one remembers
// where the log ends.
func (l *Log) truncateFiles(n int, end int64) error {
	files, gone := slices.Clone(l.files[:n]), l.files[n:]
	if end = min(end, l.end); n > 0 {
		end = files[n-1].last + 1
	}
	l.publish(func() {
		l.files, l.end = files, end
		l.cuts++
	})
	if err := l.broken(l.remove(gone)); err != nil || n > 0 {
		return err
	}
	f, err := l.newFile()
	if err != nil {
		return err
	}
	l.publish(func() { l.files = append(l.files, f) })
	return l.settle(f)
}

// remove durably takes files away that readers do not see any more: the newest first, so
// that those which remain always follow one another.
func (l *Log) remove(gone []*file) error {
	if len(gone) == 0 {
		return nil
	}
	l.unsafe = true
	for _, f := range slices.Backward(gone) {
		if err := l.removeFile(f); err != nil {
			return fmt.Errorf("segment: truncate: %w", err)
		}
	}
	if err := unsynced(l.fs.SyncDir(l.dir)); err != nil {
		return fmt.Errorf("segment: truncate: %w", err)
	}
	return nil
}

// removeFile removes a file, after its index.
func (l *Log) removeFile(f *file) error {
	l.cache.drop(f)
	if f.indexed > 0 {
		if err := l.fs.Remove(f.idxPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return l.fs.Remove(f.path)
}

// shrink cuts the file on disk to f's size. What calls more than that durable goes
// before, durably.
func (l *Log) shrink(f *file) error {
	l.unsafe = true
	if f.indexed > f.size {
		err := l.fs.Remove(f.idxPath())
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			err = unsynced(l.fs.SyncDir(l.dir))
		}
		if err != nil {
			return fmt.Errorf("segment: truncate: %w", err)
		}
		l.publish(func() { f.indexed = 0 })
	}
	if f.marked > f.size {
		if err := l.mark(f, f.size); err != nil {
			return fmt.Errorf("segment: truncate: %w", err)
		}
	}
	err := l.with(f, func(w vfs.File) error {
		// Also when the mark was right: a process that was killed may have written it.
		if err := syncData(w); err != nil {
			return err
		}
		if err := w.Truncate(f.size); err != nil {
			return err
		}
		// Else the old batches could come back in front of a file that follows the new end.
		return syncData(w)
	})
	if err != nil {
		return fmt.Errorf("segment: truncate: %w", err)
	}
	return nil
}

// cutTear removes what Open found behind the end.
func (l *Log) cutTear() error {
	t := l.tear
	if t == nil {
		return nil
	}
	l.unsafe = true
	for _, f := range slices.Backward(t.beyond) {
		_ = l.fs.Remove(f.idxPath()) // there should be none: it would have been a proof
		if err := l.fs.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("segment: cut torn end: %w", err)
		}
	}
	if t.file != nil {
		if err := l.shrink(t.file); err != nil {
			return err
		}
	}
	l.tear = nil
	return nil
}

// DropBefore removes whole files whose last offset is before offset. When that is every
// file, an empty one is made first, durably: it remembers where the log ends.
func (l *Log) DropBefore(offset int64) error {
	l.wmu.Lock()
	defer l.wmu.Unlock()
	if err := l.writable(); err != nil {
		return err
	}
	n := sort.Search(len(l.files), func(i int) bool { return l.files[i].empty() || l.files[i].last >= offset })
	if n == 0 && len(l.doomed) == 0 {
		return nil
	}
	if err := l.inherit(); err != nil {
		return err
	}
	gone, kept := l.files[:n], slices.Clone(l.files[n:])
	if len(kept) == 0 && len(gone) > 0 {
		if err := l.cutTear(); err != nil {
			return err
		}
		switch f, err := l.newFile(); {
		case err == nil:
			if err := l.settle(f); err != nil {
				return err
			}
			kept = append(kept, f)
		case errors.Is(err, syscall.ENOSPC) && n > 1: // then the others go first
			gone, kept = l.files[:n-1], slices.Clone(l.files[n-1:])
		default:
			return err
		}
	}
	l.publish(func() {
		l.files = kept
		l.cuts++
	})
	l.doomed = append(l.doomed, gone...)
	return l.bury()
}

// settle makes a new file and its name durable.
func (l *Log) settle(f *file) error {
	err := l.with(f, syncData)
	if err == nil {
		err = unsynced(l.fs.SyncDir(l.dir))
	}
	return l.broken(err)
}
