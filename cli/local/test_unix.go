//go:build unix

package local

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// forwarded are the signals that a command is passed.
var forwarded = []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2}

// group is a command and what it starts.
type group struct {
	pid int
	own bool // a process group of its own
}

// startGroup starts a command, in a process group of its own or in ours.
func startGroup(run *exec.Cmd, own bool) (*group, error) {
	run.SysProcAttr = &syscall.SysProcAttr{Setpgid: own}
	if err := run.Start(); err != nil {
		return nil, err
	}
	return &group{pid: run.Process.Pid, own: own}, nil
}

// pass hands a signal on. What a terminal sends has reached all of our group.
func (g *group) pass(s os.Signal) {
	sig, ok := s.(syscall.Signal)
	switch {
	case !ok:
	case g.own:
		_ = syscall.Kill(-g.pid, sig) // it may have ended
	case sig != syscall.SIGINT && sig != syscall.SIGQUIT:
		_ = syscall.Kill(g.pid, sig)
	}
}

// Bounds of ending what a command has left running.
const (
	leftMax  = 2 * time.Second // until it is killed
	leftLook = 5 * time.Millisecond
)

// end ends what a command has left running.
func (g *group) end() {
	if !g.own || errors.Is(syscall.Kill(-g.pid, syscall.SIGTERM), syscall.ESRCH) {
		return
	}
	look := time.NewTicker(leftLook)
	defer look.Stop()
	for late := time.After(leftMax); ; {
		select {
		case <-late:
			_ = syscall.Kill(-g.pid, syscall.SIGKILL)
			return
		case <-look.C:
			if errors.Is(syscall.Kill(-g.pid, 0), syscall.ESRCH) {
				return
			}
		}
	}
}

// exitCode is that of a command, as a shell tells it.
func exitCode(s *os.ProcessState) int {
	if w, ok := s.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return signalBase + int(w.Signal())
	}
	return s.ExitCode()
}
