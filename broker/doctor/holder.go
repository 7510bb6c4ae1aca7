package doctor

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/robustmq/rmq/broker/storage/filelog"
)

// Holder tells whether a process has a data directory open, and which, without touching
// its lock: by the system's list of locks where there is one, else by whether the process
// that LOCK names still runs. 0: it cannot be told which.
func Holder(dir string) (pid int, held bool) {
	name := filepath.Join(dir, filelog.LockFile)
	info, err := os.Stat(name)
	if err != nil {
		return 0, false
	}
	if b, err := os.ReadFile(name); err == nil && len(b) < 32 {
		pid, _ = strconv.Atoi(strings.TrimSpace(string(b))) // 0: not known
	}
	locks, err := os.ReadFile("/proc/locks")
	inode, ok := inodeOf(info)
	if err != nil || !ok {
		return pid, pid > 0 && runs(pid)
	}
	// "1: FLOCK  ADVISORY  WRITE 4711 fd:01:131074 0 EOF"
	for line := range strings.Lines(string(locks)) {
		f := strings.Fields(line)
		if len(f) < 6 || f[1] != "FLOCK" || !strings.HasSuffix(f[5], ":"+strconv.FormatUint(inode, 10)) {
			continue
		}
		if by, err := strconv.Atoi(f[4]); err == nil && by > 0 && (pid == 0 || by == pid) {
			return by, true
		}
	}
	return pid, false
}
