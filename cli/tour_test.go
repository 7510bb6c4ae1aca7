package cli_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTour runs what the README and the guides show in console blocks, as typed: each line after
// "$ " in a shell that goes on to the end of the page, in a home of its own; where the page shows
// what comes out, that is compared.
func TestTour(t *testing.T) {
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(bin, "rmq"), "../cmd/rmq")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	pages := []string{"../README.md"}
	for _, dir := range []string{"start", "guide"} {
		more, err := filepath.Glob("../docs/" + dir + "/*.md")
		if err != nil || len(more) == 0 {
			t.Fatalf("docs/%s: %d pages, %v", dir, len(more), err)
		}
		pages = append(pages, more...)
	}
	for _, page := range pages {
		t.Run(strings.TrimPrefix(filepath.ToSlash(page), "../"), func(t *testing.T) {
			t.Parallel()
			tour(t, page, bin)
		})
	}
}

func tour(t *testing.T, page, bin string) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	shell := shellOf(t, "PATH="+bin+":"+os.Getenv("PATH"))
	steps := 0
	for _, block := range strings.Split(string(text), "```console\n")[1:] {
		block, _, closed := strings.Cut(block, "```")
		if !closed {
			t.Fatal("a console block has no end")
		}
		for _, step := range strings.Split("\n"+block, "\n$ ")[1:] {
			steps++
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
	if steps < 3 {
		t.Fatalf("%d steps", steps)
	}
}

// shellOf returns a shell with a home of its own, in which each line goes on where the last one ended. What
// brokers it has started end with the test.
func shellOf(t *testing.T, environ ...string) (shell func(line string) (stdout, stderr string, err error)) {
	home := t.TempDir()
	env := append(os.Environ(), "HOME="+home, "XDG_RUNTIME_DIR="+home, "XDG_DATA_HOME="+home, "XDG_STATE_HOME="+home, "XDG_CONFIG_HOME="+home)
	env = append(env, environ...)
	variables := filepath.Join(home, ".variables") // what a line sets, the next one has
	shell = func(line string) (stdout, stderr string, err error) {
		var o, e strings.Builder
		cmd := exec.Command("sh", "-c", "[ ! -f "+variables+" ] || . "+variables+"\n"+line+"\ns=$?; export -p >"+variables+"; exit $s")
		cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = env, home, &o, &e
		err = cmd.Run()
		return o.String(), e.String(), err
	}
	t.Cleanup(func() { _, _, _ = shell("rmq down --all --if-running") }) // when a step failed before the last
	return shell
}

// TestReadmeScreen wants the screen in the README to be the one that is drawn.
func TestReadmeScreen(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	frame, err := os.ReadFile("../tui/testdata/frames/80x24/overview.txt")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), "```text\n"+strings.TrimRight(string(frame), "\n")+"\n```") {
		t.Error("the README shows another screen than tui/testdata/frames/80x24/overview.txt")
	}
}
