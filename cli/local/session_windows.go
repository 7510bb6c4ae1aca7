package local

import "syscall"

const (
	detachedProcess = 0x00000008
	newProcessGroup = 0x00000200
)

// ownSession keeps a detached broker from getting the console's events.
func ownSession() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: detachedProcess | newProcessGroup}
}
