package cli_test

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/robustmq/rmq/cli"
	"github.com/robustmq/rmq/cli/env"
)

// The cheat sheet is typed from its first line to its last, and fits a terminal of 80 columns.
func TestCheatSheet(t *testing.T) {
	stdout, stderr, code := run(t, "", "cheat", "-o", "json")
	if code != env.OK {
		t.Fatal(stderr)
	}
	var sheet struct {
		Data []struct {
			Topic string
			Lines []struct{ Command, Text string }
		}
	}
	if err := json.Unmarshal([]byte(stdout), &sheet); err != nil || len(sheet.Data) < 8 {
		t.Fatalf("%d topics, %v", len(sheet.Data), err)
	}
	shell := shellOf(t, "RMQ_ANY_PORT=true") // the usual ports may be taken
	for _, topic := range sheet.Data {
		stdout, stderr, code := run(t, "", "cheat", topic.Topic, "-o", "table")
		if code != env.OK {
			t.Fatal(stderr)
		}
		for line := range strings.Lines(stdout) {
			if n := env.Width(strings.TrimSuffix(line, "\n")); n > 80 {
				t.Errorf("%d columns: %s", n, line)
			}
		}
		for _, line := range topic.Lines {
			if line.Text == "" {
				t.Errorf("%s: it is not said what for", line.Command)
			}
			if line.Command == "rmq tui" {
				continue // on terminals of its own: TestTerminal
			}
			if stdout, stderr, err := shell(line.Command); err != nil {
				t.Fatalf("%s: %v\n%s%s", line.Command, err, stdout, stderr)
			}
		}
	}
	if _, stderr, code := run(t, "", "cheat", "kafak"); code != env.Usage || !strings.Contains(stderr, "did you mean rmq cheat kafka?") {
		t.Errorf("%d %s", code, stderr)
	}
}

// The pages of the manual are what the formatter takes without a warning. Skipped where there is none.
func TestManualPages(t *testing.T) {
	groff, err := exec.LookPath("groff")
	if err != nil {
		t.Skip("groff is not installed")
	}
	pages, err := filepath.Glob("../docs/cli/man/*.1")
	if err != nil || len(pages) < 100 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	out, err := exec.Command(groff, append([]string{"-man", "-Tutf8", "-ww", "-z"}, pages...)...).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

// Without a directory all documents are one; with one they are files, the same.
func TestDocs(t *testing.T) {
	for format, want := range map[string]string{"man": ".TH RMQ\\-UP 1", "md": "# rmq up\n", "yaml": "command: rmq up\n"} {
		stdout, stderr, code := run(t, "", "docs", format)
		if code != env.OK || !strings.Contains(stdout, want) {
			t.Errorf("%s: exit code %d, %s", format, code, stderr)
		}
		dir := t.TempDir()
		if _, stderr, code := run(t, "", "docs", format, dir); code != env.OK || !strings.Contains(stderr, "files to "+dir) {
			t.Errorf("%s: exit code %d, %s", format, code, stderr)
		}
		files, err := filepath.Glob(filepath.Join(dir, "rmq*"))
		if err != nil || len(files) < 100 {
			t.Errorf("%s: %d files, %v", format, len(files), err)
		}
	}
	if _, stderr, code := run(t, "", "docs", "man", "/dev/null/x"); code != env.Failed || !strings.Contains(stderr, "hint: ") {
		t.Errorf("%d %s", code, stderr)
	}
	if len(cli.Generate()["docs/cli/man/rmq-up.1"]) < 1000 {
		t.Error("rmq up has no page of the manual")
	}
}
