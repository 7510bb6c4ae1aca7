package vfs

import (
	"io"
	"io/fs"
	"os"
	"syscall"
)

// ReadOnly is the machine's file system for those who only look: files are opened for
// reading alone, no lock is taken, and whatever would change something is refused with
// EROFS. So it also works on files that somebody else has open, and on those that may
// not be written to.
type ReadOnly struct{}

var _ FS = ReadOnly{}

func (ReadOnly) Open(name string) (File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (ReadOnly) ReadDir(name string) ([]Entry, error) { return OS{}.ReadDir(name) }

func (ReadOnly) Create(name string) (File, error) { return nil, refused("create", name) }
func (ReadOnly) Rename(from, _ string) error      { return refused("rename", from) }
func (ReadOnly) Remove(name string) error         { return refused("remove", name) }
func (ReadOnly) MkdirAll(name string) error       { return refused("mkdir", name) }
func (ReadOnly) SyncDir(name string) error        { return refused("sync", name) }

func (ReadOnly) Space(name string) (Space, error) { return space(name) }

func (ReadOnly) Lock(name string) (io.Closer, error) { return nil, refused("lock", name) }

func refused(op, name string) error { return &fs.PathError{Op: op, Path: name, Err: syscall.EROFS} }
