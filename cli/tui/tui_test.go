package tui

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/robustmq/rmq/cli/env"
)

// run runs `rmq tui` on what is and is not a terminal.
func run(t *testing.T, term string, tty bool, args ...string) *env.Failure {
	t.Helper()
	var out bytes.Buffer
	e := &env.Env{
		In: strings.NewReader(""), Out: &out, Err: &out, InTTY: tty, OutTTY: tty, Home: t.TempDir(),
		Getenv: func(name string) string { return map[string]string{"TERM": term}[name] },
	}
	cmd := Command(e, func() Tell { return nil })
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	return env.Explain(cmd.ExecuteContext(context.WithoutCancel(t.Context())))
}

func TestRefuses(t *testing.T) {
	tests := []struct {
		name, term string
		tty        bool
		args       string
		exit       int
		what, hint string
	}{
		{"dumb", "dumb", true, "", env.Usage, "TERM=dumb", "rmq status   (also with -o json)"},
		{"dumb, a screen", "dumb", true, "--screen groups", env.Usage, "TERM=dumb", "rmq group list   (also with -o json)"},
		{"a pipe", "xterm", false, "--screen messages", env.Usage, "needs a terminal", "rmq consume 'mqtt:#'"},
		{"wrong filter", "xterm", true, "--screen topics --filter sate:x", env.Usage, "no column sate", "rmq tui --help"},
		{"nothing to filter", "xterm", true, "--filter x", env.Usage, "nothing to filter", "rmq tui --help"},
		{"no such screen", "xterm", true, "--screen topix", env.Failed, "topix", ""},
		{"no broker", "xterm", true, "", env.Unreachable, "no broker is running", "rmq up"},
		{"not a URL", "xterm", true, "--url ::", env.Usage, "not an http address", "http://"},
	}
	for _, tt := range tests {
		f := run(t, tt.term, tt.tty, strings.Fields(tt.args)...)
		if f == nil || f.Exit != tt.exit || !strings.Contains(f.What, tt.what) || !strings.Contains(f.Hint, tt.hint) {
			t.Errorf("%s: %+v", tt.name, f)
		}
	}
}
