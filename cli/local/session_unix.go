//go:build unix

package local

import "syscall"

// ownSession keeps a detached broker from getting the terminal's signals.
func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
