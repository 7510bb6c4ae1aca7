//go:build !unix

package env

import "os"

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
