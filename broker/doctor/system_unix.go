//go:build unix

package doctor

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

func inodeOf(info fs.FileInfo) (uint64, bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return uint64(st.Ino), true
}

// runs tells whether a process exists.
func runs(pid int) bool {
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}

// owner tells whose a file is, and who we are.
func owner(info fs.FileInfo) (theirs, ours int, ok bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return int(st.Uid), os.Geteuid(), true
}

// openFiles is how many files this process, and a broker started from here, may have open.
func openFiles() (soft, hard uint64, ok bool) {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 0, 0, false
	}
	return uint64(l.Cur), uint64(l.Max), true
}
