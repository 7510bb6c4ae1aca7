package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"
)

// Kind is what an operation does.
type Kind uint8

const (
	OpOpen Kind = iota
	OpCreate
	OpRename
	OpRemove
	OpMkdir
	OpReadDir
	OpSyncDir
	OpLock
	OpRead
	OpWrite
	OpTruncate
	OpReserve
	OpSync
	OpClose
)

var kindNames = [...]string{
	OpOpen: "open", OpCreate: "create", OpRename: "rename", OpRemove: "remove", OpMkdir: "mkdir",
	OpReadDir: "readdir", OpSyncDir: "syncdir", OpLock: "lock", OpRead: "read", OpWrite: "write",
	OpTruncate: "truncate", OpReserve: "reserve", OpSync: "sync", OpClose: "close",
}

func (k Kind) String() string { return kindNames[k] }

// Changes tells whether the operation can change what a crash leaves behind.
func (k Kind) Changes() bool {
	switch k {
	case OpOpen, OpReadDir, OpLock, OpRead, OpClose:
		return false
	}
	return true
}

// Op is one operation about to happen.
type Op struct {
	// N counts the operations that change something, from 1; others carry the number
	// of the last of those.
	N    int
	Kind Kind
	Path string
	Size int64 // bytes to read or write, or the size to truncate or reserve to
	Off  int64 // of a read or write

	Data [][]byte // of a write: not to be changed, and not to be kept
	Grow int64    // bytes by which the file gets longer, where the operation may do that
}

func (o Op) String() string { return fmt.Sprintf("%d %s %s %d", o.N, o.Kind, o.Path, o.Size) }

// Short makes a write store its first Bytes and then fail with Err.
type Short struct {
	Bytes int64
	Err   error
}

func (s *Short) Error() string { return fmt.Sprintf("short write of %d bytes: %v", s.Bytes, s.Err) }
func (s *Short) Unwrap() error { return s.Err }

// Hold makes an operation wait, and then happen.
type Hold struct{ Wait func() }

func (h *Hold) Error() string { return "held" }

// ErrStopped is what a file system answers after StopAt stopped it.
var ErrStopped = errors.New("vfs: stopped")

// ErrSkip is a hook's answer for an operation that is to be left out and to look done: a
// sync that a drive has lied about, or that a program has forgotten. Of use for what
// returns no more than an error.
var ErrSkip = errors.New("vfs: skipped")

// Faulty passes operations on to another file system, unless its hook says no.
// Files opened before the hook changed obey the new one.
type Faulty struct {
	inner FS

	hooked atomic.Bool // there is a hook: without one an operation pays a load and a count
	n      atomic.Int64

	mu   sync.Mutex // held while the hook is called
	hook func(Op) error
}

var _ FS = (*Faulty)(nil)

// NewFaulty wraps inner. The hook is called before each operation, one at a time; the
// error it returns is the operation's, which then does not happen. nil: no faults.
func NewFaulty(inner FS, hook func(Op) error) *Faulty {
	f := &Faulty{inner: inner}
	f.SetHook(hook)
	return f
}

// SetHook replaces the hook.
func (f *Faulty) SetHook(hook func(Op) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook = hook
	f.hooked.Store(hook != nil)
}

// Ops is the number of operations so far that change something.
func (f *Faulty) Ops() int {
	return int(f.n.Load())
}

// StopAt is the hook that lets n-1 changes pass and nothing after them: the program
// has been killed, and does not know yet.
func StopAt(n int) func(Op) error {
	stopped := false
	return func(op Op) error {
		if stopped = stopped || op.N >= n && op.Kind.Changes(); stopped {
			return ErrStopped
		}
		return nil
	}
}

// FailNth is the hook that fails the n-th operation of one kind, once.
func FailNth(kind Kind, n int, err error) func(Op) error {
	return func(op Op) error {
		if op.Kind == kind {
			if n--; n == 0 {
				return err
			}
		}
		return nil
	}
}

// before asks the hook. The operation is to be done unless the error says otherwise.
func (f *Faulty) before(op Op) error {
	if !f.hooked.Load() {
		if op.Kind.Changes() {
			f.n.Add(1)
		}
		return nil
	}
	err := f.ask(&op)
	if h, ok := errors.AsType[*Hold](err); ok {
		h.Wait()
		return nil
	}
	if err != nil {
		return &fs.PathError{Op: op.Kind.String(), Path: op.Path, Err: err}
	}
	return nil
}

func (f *Faulty) ask(op *Op) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if op.Kind.Changes() {
		f.n.Add(1)
	}
	if f.hook == nil {
		return nil
	}
	op.N = int(f.n.Load())
	return f.hook(*op)
}

// grow is by how much a file of the machine gets longer that is to reach to end.
func (f *faultyFile) grow(end int64) int64 {
	if !f.fs.hooked.Load() {
		return 0
	}
	size, err := f.File.Size()
	if err != nil {
		return 0 // the operation will say so too
	}
	return max(end-size, 0)
}

// run does an operation unless the hook says otherwise.
func (f *Faulty) run(op Op, do func() error) error {
	switch err := f.before(op); {
	case err == nil:
		return do()
	case errors.Is(err, ErrSkip):
		return nil
	default:
		return err
	}
}

func (f *Faulty) Open(name string) (File, error) {
	if err := f.before(Op{Kind: OpOpen, Path: name}); err != nil {
		return nil, err
	}
	return f.wrap(f.inner.Open(name))(name)
}

func (f *Faulty) Create(name string) (File, error) {
	if err := f.before(Op{Kind: OpCreate, Path: name}); err != nil {
		return nil, err
	}
	return f.wrap(f.inner.Create(name))(name)
}

func (f *Faulty) wrap(file File, err error) func(string) (File, error) {
	return func(name string) (File, error) {
		if err != nil {
			return nil, err
		}
		return &faultyFile{file, f, name}, nil
	}
}

// Space cannot be made to fail: nobody relies on an answer.
func (f *Faulty) Space(name string) (Space, error) { return f.inner.Space(name) }

func (f *Faulty) Rename(from, to string) error {
	return f.run(Op{Kind: OpRename, Path: from}, func() error { return f.inner.Rename(from, to) })
}

func (f *Faulty) Remove(name string) error {
	return f.run(Op{Kind: OpRemove, Path: name}, func() error { return f.inner.Remove(name) })
}

func (f *Faulty) MkdirAll(name string) error {
	return f.run(Op{Kind: OpMkdir, Path: name}, func() error { return f.inner.MkdirAll(name) })
}

func (f *Faulty) ReadDir(name string) ([]Entry, error) {
	if err := f.before(Op{Kind: OpReadDir, Path: name}); err != nil {
		return nil, err
	}
	return f.inner.ReadDir(name)
}

func (f *Faulty) SyncDir(name string) error {
	return f.run(Op{Kind: OpSyncDir, Path: name}, func() error { return f.inner.SyncDir(name) })
}

func (f *Faulty) Lock(name string) (io.Closer, error) {
	if err := f.before(Op{Kind: OpLock, Path: name}); err != nil {
		return nil, err
	}
	return f.inner.Lock(name)
}

type faultyFile struct {
	File
	fs   *Faulty
	name string
}

func (f *faultyFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.fs.before(Op{Kind: OpRead, Path: f.name, Size: int64(len(p)), Off: off}); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.WritevAt([][]byte{p}, off)
	return int(n), err
}

func (f *faultyFile) WritevAt(bufs [][]byte, off int64) (int64, error) {
	var size int64
	for _, b := range bufs {
		size += int64(len(b))
	}
	err := f.fs.before(Op{Kind: OpWrite, Path: f.name, Size: size, Off: off, Data: bufs, Grow: f.grow(off + size)})
	if err == nil {
		return f.File.WritevAt(bufs, off)
	}
	var total int64
	if short, ok := errors.AsType[*Short](err); ok {
		for _, b := range bufs {
			b = b[:min(int64(len(b)), short.Bytes-total)]
			n, werr := f.File.WriteAt(b, off+total)
			total += int64(n)
			if werr != nil {
				return total, werr
			}
		}
	}
	return total, err
}

func (f *faultyFile) Truncate(size int64) error {
	return f.fs.run(Op{Kind: OpTruncate, Path: f.name, Size: size}, func() error { return f.File.Truncate(size) })
}

func (f *faultyFile) Reserve(size int64) error {
	return f.fs.run(Op{Kind: OpReserve, Path: f.name, Size: size, Grow: f.grow(size)}, func() error { return f.File.Reserve(size) })
}

func (f *faultyFile) Sync() error {
	return f.fs.run(Op{Kind: OpSync, Path: f.name}, func() error { return f.File.Sync() })
}

func (f *faultyFile) SyncData() error {
	return f.fs.run(Op{Kind: OpSync, Path: f.name}, func() error { return f.File.SyncData() })
}

// Close always closes, so that a test leaves nothing open; its error can be made up.
func (f *faultyFile) Close() error {
	ferr := f.fs.before(Op{Kind: OpClose, Path: f.name})
	if err := f.File.Close(); err != nil {
		return err
	}
	return ferr
}
