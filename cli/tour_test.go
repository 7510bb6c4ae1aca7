package cli_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTour runs the README's first minute, as typed: each line after "$ " in a shell, in a
// home of its own, and, where the README shows what comes out, compares that.
func TestTour(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(readme), "```console\n")
	tour, _, closed := strings.Cut(rest, "```")
	if !ok || !closed {
		t.Fatal("the README has no console block")
	}
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(bin, "rmq"), "../cmd/rmq")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	home := t.TempDir()
	env := append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "HOME="+home, "XDG_RUNTIME_DIR="+home, "XDG_DATA_HOME="+home, "XDG_CONFIG_HOME="+home)
	shell := func(line string) (stdout, stderr string, err error) {
		var o, e strings.Builder
		cmd := exec.Command("sh", "-c", line)
		cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = env, home, &o, &e
		err = cmd.Run()
		return o.String(), e.String(), err
	}
	t.Cleanup(func() { _, _, _ = shell("rmq down") }) // when a step failed before the last
	steps := strings.Split("\n"+tour, "\n$ ")[1:]
	if len(steps) < 5 {
		t.Fatalf("%d steps in the tour", len(steps))
	}
	for _, step := range steps {
		line, want, _ := strings.Cut(strings.TrimRight(step, "\n")+"\n", "\n")
		stdout, stderr, err := shell(line)
		if err != nil {
			t.Fatalf("$ %s\n%v\n%s%s", line, err, stdout, stderr)
		}
		if want != "" && stdout != want {
			t.Errorf("$ %s\ngot  %q\nwant %q\n%s", line, stdout, want, stderr)
		}
	}
}
