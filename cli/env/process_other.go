//go:build !unix

package env

import (
	"errors"
	"os"
)

// Alive tells whether a process exists.
func Alive(pid int) bool {
	p, err := os.FindProcess(pid)
	if err == nil {
		_ = p.Release()
	}
	return err == nil
}

// Terminate asks a process to end. false: it can only be asked by its API.
func Terminate(int) bool { return false }

// Kill ends a process at once.
func Kill(pid int) error {
	p, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	return p.Kill()
}

// Pause stops a process until Resume.
func Pause(*os.Process) error { return errors.ErrUnsupported }

// Resume lets a paused process go on.
func Resume(*os.Process) error { return errors.ErrUnsupported }
