package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sort"
)

// TruncateTo drops every batch with a base offset at or after end. When Open found the
// log torn before end, what is asked for was lost: ErrCorrupt, and nothing is removed.
func (l *Log) TruncateTo(end int64) error {
	l.wmu.Lock()
	defer l.wmu.Unlock()
	if err := l.writable(); err != nil {
		return err
	}
	end = max(end, 0)
	if t := l.tear; t != nil && end > l.end {
		return fmt.Errorf("%w: log holds offsets below %d, not up to %d: %w", ErrCorrupt, l.end, end, t.err)
	}
	if err := l.cutTear(); err != nil {
		return err
	}
	n := sort.Search(len(l.files), func(i int) bool { return l.files[i].last >= end })
	if n == len(l.files) {
		return nil
	}
	f := l.files[n]
	if f.empty() || f.first >= end {
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
	gone := l.files[n:]
	if err := l.unprove(gone); err != nil {
		return err
	}
	l.publish(func() {
		l.files = append(slices.Clone(l.files[:n]), kept)
		l.end = kept.last + 1
		l.cuts++
	})
	return l.remove(gone, kept)
}

// truncateFiles removes the files from n on. If none remains, an empty one remembers
// where the log ends.
func (l *Log) truncateFiles(n int, end int64) error {
	gone := l.files[n:]
	if err := l.unprove(gone); err != nil {
		return err
	}
	files, end := slices.Clone(l.files[:n]), min(end, l.end)
	var kept *file
	if n > 0 {
		end = files[n-1].last + 1
	} else {
		if i := slices.IndexFunc(gone, func(f *file) bool { return f.base == end }); i >= 0 {
			kept = &file{header: gone[i].header, path: gone[i].path}
			kept.reset()
		} else {
			var err error
			if kept, err = l.newFileAt(end); err != nil {
				return err
			}
		}
		files = []*file{kept}
	}
	l.publish(func() {
		l.files, l.end = files, end
		l.cuts++
	})
	return l.remove(gone, kept)
}

// unprove durably removes the indexes of files that are to be cut: they would call bytes
// durable that are gone. A reader that wants one in between reads the batches.
func (l *Log) unprove(files []*file) error {
	removed := false
	for _, f := range files {
		if f.indexed == 0 {
			continue
		}
		if err := l.fs.Remove(f.idxPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("segment: truncate: %w", err)
		}
		l.publish(func() { f.indexed = 0 })
		removed = true
	}
	if !removed {
		return nil
	}
	if err := l.fs.SyncDir(l.dir); err != nil {
		return fmt.Errorf("segment: truncate: %w", err)
	}
	return nil
}

// remove takes files away from the disk, the newest first, and cuts the one that kept
// has the place of. Readers do not see them any more.
func (l *Log) remove(gone []*file, kept *file) error {
	l.unsafe = true
	for _, f := range slices.Backward(gone) {
		l.cache.drop(f)
		var err error
		if kept != nil && f.path == kept.path {
			err = l.resize(kept)
		} else {
			err = l.fs.Remove(f.path)
		}
		if err != nil {
			return fmt.Errorf("segment: truncate: %w", err)
		}
	}
	return nil
}

// resize cuts the file on disk to f's size.
func (l *Log) resize(f *file) error {
	h, err := l.cache.acquire(f)
	if err != nil {
		return err
	}
	defer l.cache.release(h)
	return h.file.Truncate(f.size)
}

// cutTear removes what Open found behind the end.
func (l *Log) cutTear() error {
	t := l.tear
	if t == nil {
		return nil
	}
	l.unsafe = true
	for _, f := range slices.Backward(t.beyond) {
		if err := l.fs.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("segment: cut torn end: %w", err)
		}
	}
	if t.file != nil {
		if err := l.resize(t.file); err != nil {
			return fmt.Errorf("segment: cut torn end: %w", err)
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
	if n == 0 {
		return nil
	}
	gone, kept := l.files[:n], slices.Clone(l.files[n:])
	if len(kept) == 0 {
		if err := l.cutTear(); err != nil {
			return err
		}
		f, err := l.newFile()
		if err != nil {
			return err
		}
		if err := l.settle(f); err != nil {
			return err
		}
		kept = append(kept, f)
	}
	l.publish(func() {
		l.files = kept
		l.cuts++
	})
	l.unsafe = true
	for _, f := range gone { // the oldest first: what a crash leaves has no hole
		l.cache.drop(f)
		if f.indexed > 0 {
			if err := l.fs.Remove(f.idxPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("segment: drop: %w", err)
			}
		}
		if err := l.fs.Remove(f.path); err != nil {
			return fmt.Errorf("segment: drop: %w", err)
		}
	}
	return nil
}

// settle makes a new file and its name durable.
func (l *Log) settle(f *file) error {
	h, err := l.cache.acquire(f)
	if err != nil {
		return fmt.Errorf("segment: drop: %w", err)
	}
	err = h.file.SyncData()
	l.cache.release(h)
	if err == nil {
		err = l.fs.SyncDir(l.dir)
	}
	if err != nil {
		l.failed = fmt.Errorf("segment: %s is not written any more: %w", l.dir, err)
		return l.failed
	}
	return nil
}
