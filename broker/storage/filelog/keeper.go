package filelog

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"syscall"
	"time"

	"github.com/robustmq/rmq/broker/vfs"
)

const (
	// zeroChunk is what one write fills of a new file.
	zeroChunk = 256 << 10
	// fullRetry is how often a full device is tried again, when nothing was released
	// meanwhile.
	fullRetry = time.Second
)

// wanted asks keep for a file.
type wanted struct {
	number uint64
	target int64 // size, if it is to be made
	min    int64 // size, if there is one to write again
}

// readyFile has a header that is durable, and behind it nothing that parses.
type readyFile struct {
	file   vfs.File
	path   string
	number uint64
	size   int64
	salt   uint64
	crc    uint32 // of the header
}

// spare is a file that may be written again.
type spare struct {
	path string
	size int64
}

// wantNext asks keep to make the next file ready, atLeast so many bytes long. Caller is run.
func (w *wal) wantNext(atLeast int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.next == nil && w.want == nil && w.nextErr == nil {
		w.want = w.nextWanted(atLeast)
		w.wake()
	}
}

// nextWanted describes the file after the current one: larger, up to a limit, so that
// a broker that has little to write starts quickly and takes little space.
func (w *writer) nextWanted(atLeast int64) *wanted {
	last := w.current()
	return &wanted{number: last.number + 1, target: max(atLeast, w.grow(last.size)), min: atLeast}
}

// takeNext waits for the next file. On a full device it waits for space, or for Close.
// Caller is run.
func (w *wal) takeNext(atLeast int64) (*readyFile, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		switch {
		case len(w.released) > 0:
			w.dropLocked() // may give a file
		case w.nextErr != nil:
			return nil, fmt.Errorf("filelog: log stopped: next file: %w", w.nextErr)
		case w.next != nil && w.next.size >= atLeast:
			next := w.next
			w.next = nil
			return next, nil
		case w.next != nil: // made before this record was known
			w.want = w.nextWanted(atLeast)
			w.wake()
			w.awaitLocked()
		case w.stuck != nil && w.closed:
			return nil, fmt.Errorf("filelog: closed while waiting for the next file: %w", w.stuck)
		default:
			if w.want == nil { // else it is asked for, and tried again by itself
				w.want = w.nextWanted(atLeast)
				w.wake()
			}
			w.awaitLocked()
		}
	}
}

func (w *wal) wake() {
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

// keep puts dropped files away and makes the next one ready, until Close. On a full
// device it takes the reserve for that, and tries to set another aside whenever something
// was dropped, and now and then.
func (w *wal) keep() {
	defer close(w.closedKeeper)
	retry := time.NewTimer(fullRetry)
	retry.Stop()
	defer retry.Stop()
	for {
		select {
		case <-w.stop:
			w.leave()
			return
		case <-w.kick:
		case <-retry.C:
		}
		if w.tend() {
			retry.Reset(fullRetry)
		}
	}
}

// tend does what there is to do, and tells whether it is to be tried again.
func (w *wal) tend() (again bool) {
	w.putAway()
	again = w.makeNext()
	if err := w.setAside(); err != nil {
		w.failNext(err)
	}
	return again || w.reserve == nil
}

// makeNext does what was asked, and tells whether it is to be tried again.
func (w *wal) makeNext() (again bool) {
	w.mu.Lock()
	want, old := w.want, w.next
	w.mu.Unlock()
	if want == nil {
		return false
	}
	var err error
	if old != nil { // too small
		if err = old.file.Close(); err == nil {
			err = w.fs.Remove(old.path)
		}
	}
	var next *readyFile
	if err == nil {
		next, err = w.ready(*want)
	}
	if passes(err) && w.reserve != nil && w.reserve.size >= want.min {
		next, err = w.fromReserve(*want)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next = next
	w.stuck = nil
	again = passes(err)
	switch {
	case again:
		w.stuck = err
		w.setFullLocked(err)
	case err != nil:
		w.nextErr = err
	}
	if !again {
		w.want = nil
	}
	w.work.Signal()
	return again
}

// fromReserve makes the reserve ready, under the name of a new file.
func (w *wal) fromReserve(want wanted) (*readyFile, error) {
	path := newName(w.dir, want.number)
	err := w.discard(path)
	if err == nil {
		err = w.fs.Rename(w.reserve.path, path)
	}
	if err != nil {
		return nil, err
	}
	w.pool = append(w.pool, spare{path, w.reserve.size})
	w.reserve = nil
	return w.readyOf(want.number, want.min, want.min)
}

// setAside makes the reserve when there is none, or a larger one when the log's files have
// grown. A device that has no space for it is full, and the log works all the same.
// Otherwise it is not full, unless a file is still asked for. Caller is keep, or open
// before there is one.
func (w *wal) setAside() error {
	size := max(min(w.made/4, reserveMax), w.opt.WALFileMin)
	var err error
	switch space, serr := w.fs.Space(w.dir); {
	case w.reserve != nil && w.reserve.size >= size/2:
	case serr == nil && space.Total > 0 && space.Free < 2*size: // what is left is needed more elsewhere
		err = errNoSpare
	default:
		err = w.makeReserve(size)
	}
	if w.reserve != nil && passes(err) {
		err = nil // a smaller one there is
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err == nil && w.want == nil:
		w.setFullLocked(nil)
	case passes(err):
		w.setFullLocked(err)
	default:
		return err
	}
	return nil
}

// errNoSpare: the device has something left, and the log leaves it to others.
var errNoSpare = fmt.Errorf("not enough to set aside: %w", syscall.ENOSPC)

// makeReserve replaces the reserve. Its name need not be durable: without it, open makes
// another.
func (w *wal) makeReserve(size int64) error {
	path := reserveName(w.dir)
	made := newReserveName(w.dir)
	if err := w.discard(made); err != nil {
		return err
	}
	f, err := w.fs.Create(made)
	if err != nil {
		return err
	}
	if err = zeroFill(f, size); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = w.fs.Rename(made, path)
	}
	if err != nil {
		return errors.Join(err, w.fs.Remove(made))
	}
	w.reserve = &spare{path, size}
	return nil
}

// passes tells whether an error may be gone when it is tried again: space comes back,
// and so do file descriptors.
func passes(err error) bool {
	for _, e := range [...]error{syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// ready makes a file ready: a spare one when there is one large enough, else a new one, of
// the size that is wanted or, where the device has no room for that, a smaller one.
func (w *wal) ready(want wanted) (f *readyFile, err error) {
	size := want.target
	floor := max(want.min, min(w.opt.WALFileMin, size))
	if space, err := w.fs.Space(w.dir); err == nil && space.Total > 0 {
		for size > floor && size > space.Free/4 {
			size = max(size/walGrowth, floor)
		}
	}
	for {
		if f, err = w.readyOf(want.number, max(want.min, size/2), size); !passes(err) || size == floor {
			break
		}
		size = max(size/walGrowth, floor)
	}
	if err == nil {
		w.made = f.size
	}
	return f, err
}

// readyOf makes a spare of at least enough bytes ready, or else a new file of size bytes,
// filled with zeros, so that a later sync has data to write and no metadata.
func (w *wal) readyOf(number uint64, enough, size int64) (*readyFile, error) {
	h := walHeader{number: number, salt: w.opt.Random(), store: w.store}
	f := &readyFile{number: number, salt: h.salt}
	var err error
	i := slices.IndexFunc(w.pool, func(s spare) bool { return s.size >= enough })
	if i >= 0 {
		f.path, f.size = w.pool[i].path, w.pool[i].size
		w.pool = slices.Delete(w.pool, i, i+1)
		f.file, err = w.fs.Open(f.path)
	} else {
		f.path, f.size = newName(w.dir, number), size
		if err = w.discard(f.path); err == nil {
			f.file, err = w.fs.Create(f.path)
		}
	}
	if err != nil {
		return nil, err
	}
	if i < 0 {
		err = zeroFill(f.file, f.size)
	}
	if err == nil {
		h.size = f.size
		header := h.encode()
		if _, f.crc, err = decodeHeader(header); err == nil {
			_, err = f.file.WriteAt(header, 0)
		}
	}
	if err == nil {
		err = f.file.Sync()
	}
	if err != nil {
		// Let the space go: on a full device it is needed elsewhere.
		return nil, errors.Join(err, f.file.Close(), w.fs.Remove(f.path))
	}
	return f, nil
}

// discard removes a spare that is too small and has the name that a new one needs.
func (w *wal) discard(path string) error {
	w.pool = slices.DeleteFunc(w.pool, func(s spare) bool { return s.path == path })
	if err := w.fs.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func zeroFill(f vfs.File, size int64) error {
	if err := f.Reserve(size); err != nil {
		return err
	}
	zero := make([]byte, min(size, zeroChunk))
	for at := int64(0); at < size; at += int64(len(zero)) {
		if _, err := f.WriteAt(zero[:min(size-at, int64(len(zero)))], at); err != nil {
			return err
		}
	}
	return nil
}

// putAway makes spares of dropped files, or removes them. They go one by one, oldest
// first: the numbers that remain have no gap, whatever a crash leaves. A file that
// cannot go is left where it is, with all after it, and tried again next time.
func (w *wal) putAway() {
	for {
		w.mu.Lock()
		if len(w.dropped) == 0 {
			w.mu.Unlock()
			return
		}
		f := w.dropped[0]
		w.mu.Unlock()

		if err := w.putAwayOne(f); err != nil {
			return
		}
		w.mu.Lock()
		w.dropped = w.dropped[1:]
		w.mu.Unlock()
	}
}

func (w *wal) putAwayOne(f *walFile) error {
	// Small ones are from when the log was young.
	keep := f.away || len(w.pool) < spareMax && f.size >= w.opt.WALFileMax/2
	path := spareName(w.dir, f.number)
	if keep && !f.away {
		if err := w.fs.Rename(f.path, path); err != nil {
			return err
		}
		f.away = true
	}
	if !keep {
		if err := w.fs.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := w.fs.SyncDir(w.dir); err != nil {
		if !passes(err) {
			w.failNext(err)
		}
		return err
	}
	// Only now may it be written again: its old name must never lead to new bytes.
	if keep {
		w.pool = append(w.pool, spare{path, f.size})
	}
	return nil
}

// failNext makes an error final: no file follows the one that is written.
func (w *wal) failNext(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.nextErr == nil {
		w.nextErr = err
	}
	w.work.Signal()
}

// leave closes what was made ready and not used; it is a spare of the next open.
func (w *wal) leave() {
	w.putAway()
	w.mu.Lock()
	next := w.next
	w.next = nil
	w.mu.Unlock()
	if next != nil {
		_ = next.file.Close() // holds nothing
	}
}
