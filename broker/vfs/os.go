package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// OS is the machine's file system.
type OS struct{}

var _ FS = OS{}

const (
	filePerm = 0o640
	dirPerm  = 0o750
)

func (OS) Open(name string) (File, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (OS) Create(name string) (File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, filePerm)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (OS) Rename(from, to string) error { return os.Rename(from, to) }
func (OS) Remove(name string) error     { return os.Remove(name) }
func (OS) MkdirAll(name string) error   { return os.MkdirAll(name, dirPerm) }

func (OS) ReadDir(name string) ([]Entry, error) {
	list, err := os.ReadDir(name)
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, 0, len(list))
	for _, d := range list {
		e := Entry{Name: d.Name(), Dir: d.IsDir()}
		if !e.Dir {
			info, err := d.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue // removed meanwhile
			}
			if err != nil {
				return nil, err
			}
			e.Size = info.Size()
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func (OS) SyncDir(name string) error { return syncDir(name) }

// Lock writes the process id into the locked file, for the error of the next one, and
// which run of the machine this is, for SameBoot. The file stays behind: removing it would
// race with whoever waits for it.
func (OS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, filePerm)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		defer func() { _ = f.Close() }() // never locked
		if errors.Is(err, errHeld) {
			return nil, &HeldError{Path: name, PID: readPID(f)}
		}
		return nil, &fs.PathError{Op: "lock", Path: name, Err: err}
	}
	// Failing to write it must not stop anyone: less is known then.
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt(fmt.Appendf(nil, "%d\n%s\n", os.Getpid(), bootID()), 0)
	}
	return f, nil
}

func (OS) Space(name string) (Space, error) { return space(name) }

// SameBoot tells from what a lock's file holds whether it was last taken in this run of the
// machine: what was written since then has not been lost with the power. false also where
// that cannot be known.
func SameBoot(lock []byte) bool {
	lines := strings.Split(string(lock), "\n")
	return len(lines) > 1 && lines[1] != "" && lines[1] == bootID()
}

var errHeld = errors.New("held")

func readPID(f *os.File) int {
	var b [20]byte
	n, _ := f.ReadAt(b[:], 0)
	line, _, _ := strings.Cut(string(b[:n]), "\n")
	pid, err := strconv.Atoi(line)
	if err != nil || pid < 0 {
		return 0
	}
	return pid
}

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f osFile) At(name string) error {
	there, err := os.Stat(name)
	if err != nil {
		return err
	}
	here, err := f.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(here, there) {
		return another(name)
	}
	return nil
}

func (f osFile) Reserve(size int64) error {
	have, err := f.Size()
	if err != nil || have >= size {
		return err
	}
	return reserve(f.File, have, size)
}

// writeEach is WritevAt without a system call for it.
func writeEach(f io.WriterAt, bufs [][]byte, off int64) (int64, error) {
	var total int64
	for _, b := range bufs {
		n, err := f.WriteAt(b, off+total)
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
	return total, nil
}
