//go:build unix

package env

import (
	"errors"
	"syscall"
)

// Alive tells whether a process exists, ours or not.
func Alive(pid int) bool {
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}

// Terminate asks a process to end. false: it can only be asked by its API.
func Terminate(pid int) bool { return syscall.Kill(pid, syscall.SIGTERM) == nil }

// Kill ends a process at once.
func Kill(pid int) error { return syscall.Kill(pid, syscall.SIGKILL) }
