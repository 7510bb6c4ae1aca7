package vfs

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// iovMax is the kernel's limit on buffers in one call (UIO_MAXIOV).
const iovMax = 1024

// bootID is drawn at random whenever the machine starts; "" where it cannot be read.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// WritevAt goes around short writes and interrupted calls, as WriteAt does.
func (f osFile) WritevAt(bufs [][]byte, off int64) (int64, error) {
	switch len(bufs) {
	case 0:
		return 0, nil
	case 1:
		n, err := f.WriteAt(bufs[0], off)
		return int64(n), err
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	var total int64
	for len(bufs) > 0 {
		group := bufs[:min(len(bufs), iovMax)]
		var want int64
		for _, b := range group {
			want += int64(len(b))
		}
		var n int
		var werr error
		err := raw.Write(func(fd uintptr) bool {
			n, werr = unix.Pwritev(int(fd), group, off+total)
			return true
		})
		if err == nil {
			err = werr
		}
		if n > 0 {
			total += int64(n)
		}
		switch {
		case errors.Is(err, unix.EINTR):
			n = max(n, 0)
		case err != nil:
			return total, &fs.PathError{Op: "write", Path: f.Name(), Err: err}
		}
		if int64(n) == want {
			bufs = bufs[len(group):]
			continue
		}
		// Short: finish this group by buffers, then go on with the next.
		done := int64(n)
		for _, b := range group {
			if done >= int64(len(b)) {
				done -= int64(len(b))
				continue
			}
			m, err := f.WriteAt(b[done:], off+total)
			total += int64(m)
			if err != nil {
				return total, err
			}
			done = 0
		}
		bufs = bufs[len(group):]
	}
	return total, nil
}

func (f osFile) SyncData() error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	err = raw.Control(func(fd uintptr) {
		for {
			if serr = unix.Fdatasync(int(fd)); !errors.Is(serr, unix.EINTR) {
				return
			}
		}
	})
	if err == nil {
		err = serr
	}
	if err != nil {
		return &fs.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
	}
	return nil
}

// reserve asks for blocks, so that a full disk is met here and not by a later write;
// file systems that cannot give them only grow the file.
func reserve(f *os.File, have, size int64) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var aerr error
	err = raw.Control(func(fd uintptr) {
		for {
			if aerr = unix.Fallocate(int(fd), 0, have, size-have); !errors.Is(aerr, unix.EINTR) {
				return
			}
		}
	})
	if err == nil {
		err = aerr
	}
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return f.Truncate(size)
	}
	if err != nil {
		return &fs.PathError{Op: "fallocate", Path: f.Name(), Err: err}
	}
	return nil
}
