package vfs

import (
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// Mem is a file system in memory that knows what a power failure would leave.
//
// Each file has two contents: what reads see, and what was synced; between them
// stands the list of writes and truncations since the last Sync. Each directory, in
// the same way, has two sets of names. So a file that was synced is still lost when
// its directory was not, as POSIX allows.
type Mem struct {
	mu    sync.Mutex
	root  *node
	locks map[string]bool
	used  int64 // bytes in files, as reads see them
	limit int64 // 0: none
}

var _ FS = (*Mem)(nil)

// node is a file or a directory. Guarded by Mem.mu.
type node struct {
	dir     bool
	names   map[string]*node // of a directory, as seen
	stable  map[string]*node // after a crash, before renames are applied
	changes []nameChange     // since the directory was synced

	data   []byte // of a file, as seen
	synced []byte
	writes []write // since the file was synced
}

// nameChange is one step in a directory: set names to nodes, nil removes. A rename
// is one step with two names, as journals have it.
type nameChange struct {
	names []string
	nodes []*node
}

// write is one write, or (data nil) a truncation to off.
type write struct {
	off  int64
	data []byte
}

// NewMem returns an empty file system with a root directory.
func NewMem() *Mem {
	return &Mem{root: newDir(), locks: make(map[string]bool)}
}

func newDir() *node {
	return &node{dir: true, names: make(map[string]*node), stable: make(map[string]*node)}
}

// Limit sets the size of the disk: writes beyond it fail with ENOSPC, after what fits
// was written. 0: no limit.
func (m *Mem) Limit(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.limit = bytes
}

// Used is the size of all files.
func (m *Mem) Used() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used
}

// Space is what Limit leaves; without one there is no telling.
func (m *Mem) Space(string) (Space, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.limit == 0 {
		return Space{}, nil
	}
	return Space{Free: max(0, m.limit-m.used), Total: m.limit}, nil
}

// split returns the names that lead from the root to name.
func split(name string) []string {
	name = filepath.ToSlash(filepath.Clean(name))
	var parts []string
	for part := range strings.SplitSeq(name, "/") {
		if part != "" && part != "." {
			parts = append(parts, part)
		}
	}
	return parts
}

// findLocked returns the node that name leads to.
func (m *Mem) findLocked(op, name string) (*node, error) {
	n := m.root
	for _, part := range split(name) {
		if !n.dir {
			return nil, &fs.PathError{Op: op, Path: name, Err: syscall.ENOTDIR}
		}
		if n = n.names[part]; n == nil {
			return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
		}
	}
	return n, nil
}

// parentLocked returns the directory of name, and its last element.
func (m *Mem) parentLocked(op, name string) (*node, string, error) {
	dir, err := m.findLocked(op, filepath.Dir(filepath.Clean(name)))
	if err != nil {
		return nil, "", &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	}
	if !dir.dir {
		return nil, "", &fs.PathError{Op: op, Path: name, Err: syscall.ENOTDIR}
	}
	return dir, filepath.Base(name), nil
}

func (n *node) set(c nameChange) {
	applyNames(n.names, c)
	n.changes = append(n.changes, c)
}

func applyNames(names map[string]*node, c nameChange) {
	for i, name := range c.names {
		if c.nodes[i] == nil {
			delete(names, name)
		} else {
			names[name] = c.nodes[i]
		}
	}
}

func (m *Mem) Open(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.findLocked("open", name)
	if err != nil {
		return nil, err
	}
	if n.dir {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EISDIR}
	}
	return &memFile{fs: m, node: n, name: name}, nil
}

func (m *Mem) Create(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parentLocked("open", name)
	if err != nil {
		return nil, err
	}
	if dir.names[base] != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrExist}
	}
	n := new(node)
	dir.set(nameChange{[]string{base}, []*node{n}})
	return &memFile{fs: m, node: n, name: name}, nil
}

func (m *Mem) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parentLocked("rename", from)
	if err != nil {
		return err
	}
	toDir, toBase, err := m.parentLocked("rename", to)
	if err != nil {
		return err
	}
	if dir != toDir {
		return &fs.PathError{Op: "rename", Path: from, Err: fmt.Errorf("to another directory: %s", to)}
	}
	n := dir.names[base]
	if n == nil {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	}
	if old := dir.names[toBase]; old != nil && old != n {
		if old.dir {
			return &fs.PathError{Op: "rename", Path: to, Err: fs.ErrExist}
		}
		m.used -= int64(len(old.data))
	}
	if base != toBase {
		dir.set(nameChange{[]string{base, toBase}, []*node{nil, n}})
	}
	return nil
}

func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parentLocked("remove", name)
	if err != nil {
		return err
	}
	n := dir.names[base]
	switch {
	case n == nil:
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	case n.dir && len(n.names) > 0:
		return &fs.PathError{Op: "remove", Path: name, Err: syscall.ENOTEMPTY}
	}
	m.used -= int64(len(n.data))
	dir.set(nameChange{[]string{base}, []*node{nil}})
	return nil
}

func (m *Mem) MkdirAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.root
	for _, part := range split(name) {
		next := n.names[part]
		if next == nil {
			next = newDir()
			n.set(nameChange{[]string{part}, []*node{next}})
		}
		if !next.dir {
			return &fs.PathError{Op: "mkdir", Path: name, Err: syscall.ENOTDIR}
		}
		n = next
	}
	return nil
}

func (m *Mem) ReadDir(name string) ([]Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.findLocked("open", name)
	if err != nil {
		return nil, err
	}
	if !n.dir {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: syscall.ENOTDIR}
	}
	entries := make([]Entry, 0, len(n.names))
	for base, child := range n.names {
		entries = append(entries, Entry{Name: base, Dir: child.dir, Size: int64(len(child.data))})
	}
	slices.SortFunc(entries, func(a, b Entry) int { return cmp.Compare(a.Name, b.Name) })
	return entries, nil
}

func (m *Mem) SyncDir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.findLocked("open", name)
	if err != nil {
		return err
	}
	n.stable, n.changes = maps.Clone(n.names), nil
	return nil
}

func (m *Mem) Lock(name string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = filepath.Clean(name)
	if m.locks[name] {
		return nil, &HeldError{Path: name}
	}
	dir, base, err := m.parentLocked("lock", name)
	if err != nil {
		return nil, err
	}
	if dir.names[base] == nil {
		dir.set(nameChange{[]string{base}, []*node{new(node)}})
	}
	m.locks[name] = true
	return memLock{m, name}, nil
}

type memLock struct {
	fs   *Mem
	name string
}

func (l memLock) Close() error {
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	delete(l.fs.locks, l.name)
	return nil
}

// memFile is an open file; it reaches its node also after that was renamed or removed.
type memFile struct {
	fs     *Mem
	node   *node
	name   string
	closed bool // guarded by fs.mu
}

// locked runs f with the lock held, unless the file is closed.
func (f *memFile) locked(op string, do func(n *node) error) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return &fs.PathError{Op: op, Path: f.name, Err: fs.ErrClosed}
	}
	return do(f.node)
}

func (f *memFile) ReadAt(p []byte, off int64) (read int, err error) {
	err = f.locked("read", func(n *node) error {
		if off < 0 {
			return &fs.PathError{Op: "read", Path: f.name, Err: fs.ErrInvalid}
		}
		if off < int64(len(n.data)) {
			read = copy(p, n.data[off:])
		}
		if read < len(p) {
			return io.EOF
		}
		return nil
	})
	return read, err
}

func (f *memFile) WriteAt(p []byte, off int64) (written int, err error) {
	err = f.locked("write", func(n *node) error {
		p, full := f.fs.fitLocked(n, p, off)
		n.writeAt(p, off)
		written = len(p)
		if full {
			return &fs.PathError{Op: "write", Path: f.name, Err: syscall.ENOSPC}
		}
		return nil
	})
	return written, err
}

func (f *memFile) WritevAt(bufs [][]byte, off int64) (int64, error) { return writeEach(f, bufs, off) }

// fitLocked cuts p to what the disk has room for, and books that.
func (m *Mem) fitLocked(n *node, p []byte, off int64) (_ []byte, full bool) {
	size := int64(len(n.data))
	if room := m.limit - m.used; m.limit > 0 && off+int64(len(p)) > size+room {
		fits := min(max(0, max(size, size+room)-off), int64(len(p)))
		p, full = p[:fits], true
	}
	if len(p) > 0 {
		m.used += max(0, off+int64(len(p))-size)
	}
	return p, full
}

func (n *node) writeAt(p []byte, off int64) {
	if len(p) == 0 {
		return
	}
	w := write{off: off, data: slices.Clone(p)}
	n.data = w.apply(n.data)
	n.writes = append(n.writes, w)
}

// apply returns data after the write. Growth is zero-filled.
func (w write) apply(data []byte) []byte {
	if w.data == nil {
		return resize(data, w.off)
	}
	if end := w.off + int64(len(w.data)); end > int64(len(data)) {
		data = resize(data, end)
	}
	copy(data[w.off:], w.data)
	return data
}

func resize(data []byte, size int64) []byte {
	have := int64(len(data))
	switch {
	case size <= have:
		clear(data[size:]) // it may grow again
		return data[:size]
	case size <= int64(cap(data)):
		data = data[:size]
		clear(data[have:])
		return data
	}
	grown := make([]byte, size, max(size, 2*have))
	copy(grown, data)
	return grown
}

func (f *memFile) Size() (size int64, err error) {
	err = f.locked("stat", func(n *node) error {
		size = int64(len(n.data))
		return nil
	})
	return size, err
}

func (f *memFile) At(name string) error {
	return f.locked("stat", func(n *node) error {
		there, err := f.fs.findLocked("stat", name)
		if err == nil && there != n {
			err = another(name)
		}
		return err
	})
}

func (f *memFile) Truncate(size int64) error {
	return f.locked("truncate", func(n *node) error { return f.resizeLocked(n, "truncate", size) })
}

func (f *memFile) Reserve(size int64) error {
	return f.locked("fallocate", func(n *node) error {
		if size <= int64(len(n.data)) {
			return nil
		}
		return f.resizeLocked(n, "fallocate", size)
	})
}

func (f *memFile) resizeLocked(n *node, op string, size int64) error {
	if size < 0 {
		return &fs.PathError{Op: op, Path: f.name, Err: fs.ErrInvalid}
	}
	grow := size - int64(len(n.data))
	if grow > 0 && f.fs.limit > 0 && f.fs.used+grow > f.fs.limit {
		return &fs.PathError{Op: op, Path: f.name, Err: syscall.ENOSPC}
	}
	f.fs.used += grow
	w := write{off: size}
	n.data = w.apply(n.data)
	n.writes = append(n.writes, w)
	return nil
}

func (f *memFile) Sync() error {
	return f.locked("sync", func(n *node) error {
		for _, w := range n.writes {
			n.synced = w.apply(n.synced)
		}
		n.writes = nil
		return nil
	})
}

// SyncData is Sync: a size without which data cannot be read belongs to the data.
func (f *memFile) SyncData() error { return f.Sync() }

func (f *memFile) Close() error {
	return f.locked("close", func(*node) error {
		f.closed = true
		return nil
	})
}
