package tui

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/robustmq/rmq/broker/adminapi"
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
	cmd := Command(e, func() Tell { return nil }, nil)
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

// A context is known at the top by its name and by its colour, and nothing is killed in a protected one.
func TestContext(t *testing.T) {
	c, err := adminapi.NewClient("http://127.0.0.1:15672", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		e             env.Env
		asked         string
		where, accent string
		tells         bool
	}{
		{env.Env{Name: "default"}, "", "default  http://127.0.0.1:15672", "", true},
		{env.Env{Name: "default", URL: "http://x"}, "", "http://127.0.0.1:15672", "", true},
		{env.Env{URL: "http://x", Context: "lab", MarkColor: "green"}, "", "lab  http://127.0.0.1:15672", "2", true},
		{env.Env{URL: "http://x", Context: "prod", Protected: true}, "", "prod (protected)  http://127.0.0.1:15672", "1", false},
		{env.Env{URL: "http://x", Context: "prod", Protected: true}, "#aa0000", "prod (protected)  http://127.0.0.1:15672", "#aa0000", false},
	} {
		told := teller(&tt.e, func() Tell { return func(context.Context, string, string) (string, error) { return "", nil } })
		if got := where(&tt.e, c); got != tt.where || accentOf(&tt.e, tt.asked) != tt.accent || (told != nil) != tt.tells {
			t.Errorf("%+v: %q, %q, tells %v", tt.e, got, accentOf(&tt.e, tt.asked), told != nil)
		}
	}
}
