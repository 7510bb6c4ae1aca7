// Package vfs is every file operation of the broker, as an interface.
//
// Three file systems implement it:
//
//   - OS: the machine's.
//   - Mem: in memory, and made to crash. It remembers what was synced and what was
//     not; CrashClone returns the disk as a power failure may leave it: unsynced
//     writes lost or torn by sectors, directory changes lost unless the directory
//     was synced.
//   - Faulty: a wrapper that counts operations and fails those it is told to, so that
//     a test can stop a program at every single one.
//
// Names are paths as the operating system spells them. Errors are *fs.PathError (or
// *os.LinkError for Rename) around the system's errors: test for fs.ErrNotExist,
// fs.ErrExist, syscall.ENOSPC.
package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// FS is a file system. Safe for concurrent use.
type FS interface {
	// Open opens an existing file for reading and writing.
	Open(name string) (File, error)
	// Create makes a file and opens it. It must not exist.
	Create(name string) (File, error)
	// Rename moves a file within a directory, replacing what has the new name.
	Rename(from, to string) error
	// Remove removes a file or an empty directory.
	Remove(name string) error
	// MkdirAll makes a directory and its parents, as far as they are missing.
	MkdirAll(name string) error
	// ReadDir lists a directory, sorted by name.
	ReadDir(name string) ([]Entry, error)
	// SyncDir makes what was created, renamed and removed in a directory durable.
	SyncDir(name string) error
	// Lock takes an exclusive lock, kept in a file that is created when missing, and
	// held until it is closed or the process ends. *HeldError: another one has it.
	Lock(name string) (io.Closer, error)
	// Space tells what the device that holds a directory has left.
	Space(name string) (Space, error)
}

// Space is the room of a device, in bytes. A zero Total: there is no telling, or no limit.
type Space struct {
	Free  int64 // that this process may still take
	Total int64
}

// File is an open file. Safe for concurrent use, except that writes which overlap
// have no order.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// WritevAt writes buffers one after another from off on, in few system calls.
	WritevAt(bufs [][]byte, off int64) (int64, error)
	Size() (int64, error)
	Truncate(size int64) error
	// Reserve makes the file at least size bytes long, the new ones zero, and has the
	// device set space aside for them where it can.
	Reserve(size int64) error
	// Sync makes contents and size durable, and attributes where the system does
	// not tell them apart; SyncData leaves attributes out.
	Sync() error
	SyncData() error
	// At tells whether name leads to this file; nil: it does. fs.ErrNotExist: there is no
	// such name any more, or it is another file's.
	At(name string) error
}

// Entry is one name in a directory.
type Entry struct {
	Name string
	Dir  bool
	Size int64 // of a file
}

// HeldError says who holds a lock.
type HeldError struct {
	Path string
	PID  int // 0: not known
}

func (e *HeldError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("%s is locked by another process", e.Path)
	}
	return fmt.Sprintf("%s is locked by process %d", e.Path, e.PID)
}

// another is the error of a name that now leads to another file.
func another(name string) error {
	return &fs.PathError{Op: "stat", Path: name, Err: fmt.Errorf("another file has its name: %w", fs.ErrNotExist)}
}

// ReadFile reads a whole file of at most limit bytes.
func ReadFile(fsys FS, name string, limit int64) (b []byte, err error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read from
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("%d bytes, %d expected at most", size, limit)}
	}
	b = make([]byte, size)
	if n, err := f.ReadAt(b, 0); n < len(b) {
		return nil, err
	}
	return b, nil
}

// WriteFile makes b the durable content of name: it writes name.tmp, syncs it and
// renames it. The caller syncs the directory.
func WriteFile(fsys FS, name string, b []byte) error { return writeFile(fsys, name, b, true) }

// WriteFileLazy is WriteFile without the sync: after a crash the file may be there with
// any content, so it must carry its own checksum and be dispensable.
func WriteFileLazy(fsys FS, name string, b []byte) error { return writeFile(fsys, name, b, false) }

func writeFile(fsys FS, name string, b []byte, durable bool) error {
	tmp := name + ".tmp"
	f, err := fsys.Create(tmp)
	if errors.Is(err, fs.ErrExist) { // left by a crash
		if err = fsys.Remove(tmp); err == nil {
			f, err = fsys.Create(tmp)
		}
	}
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	if err == nil && durable {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = fsys.Rename(tmp, name)
	}
	if err != nil {
		_ = fsys.Remove(tmp) // best effort: the next WriteFile removes it too
	}
	return err
}
