//go:build unix

package env

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"syscall"
)

// Alive tells whether a process runs, ours or not. One that has ended and was not
// waited for, as in a container without an init, does not.
func Alive(pid int) bool {
	if err := syscall.Kill(pid, 0); err != nil && !errors.Is(err, syscall.EPERM) {
		return false
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return true // no /proc here
	}
	// "pid (name) state": the name may hold anything, so look behind its end.
	i := bytes.LastIndexByte(stat, ')')
	return i < 0 || i+2 >= len(stat) || stat[i+2] != 'Z'
}

// Terminate asks a process to end. false: it can only be asked by its API.
func Terminate(pid int) bool { return syscall.Kill(pid, syscall.SIGTERM) == nil }

// Kill ends a process at once.
func Kill(pid int) error { return syscall.Kill(pid, syscall.SIGKILL) }

// Pause stops a process until Resume.
func Pause(p *os.Process) error { return p.Signal(syscall.SIGSTOP) }

// Resume lets a paused process go on.
func Resume(p *os.Process) error { return p.Signal(syscall.SIGCONT) }
