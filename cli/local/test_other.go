//go:build !unix

package local

import (
	"os"
	"os/exec"
)

// forwarded are the signals that a command is passed.
var forwarded = []os.Signal{os.Interrupt}

// group is a command.
type group struct{ process *os.Process }

func startGroup(run *exec.Cmd, _ bool) (*group, error) {
	if err := run.Start(); err != nil {
		return nil, err
	}
	return &group{run.Process}, nil
}

// pass does nothing: what a console sends reaches the command too.
func (g *group) pass(os.Signal) {}

func (g *group) end() {}

func exitCode(s *os.ProcessState) int { return s.ExitCode() }
