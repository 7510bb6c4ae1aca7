package cli_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/robustmq/rmq/cli"
)

var update = flag.Bool("update", false, "write the generated files")

// TestGenerated compares completions/, docs/cli and its pages of the manual with the commands. `make gen` writes
// them again.
func TestGenerated(t *testing.T) {
	files := cli.Generate()
	for path, want := range files {
		file := filepath.Join("..", path)
		if *update {
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		got, err := os.ReadFile(file)
		if err != nil || string(got) != want {
			t.Errorf("%s is not what the commands say (%v): run make gen", path, err)
		}
	}
	var old []string
	for _, pattern := range []string{"../docs/cli/*.md", "../docs/cli/man/*.1"} {
		more, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		old = append(old, more...)
	}
	for _, file := range old {
		if _, ok := files[strings.TrimPrefix(filepath.ToSlash(file), "../")]; !ok {
			var err error
			if *update {
				err = os.Remove(file)
			}
			if !*update || err != nil {
				t.Errorf("%s belongs to no command: run make gen (%v)", file, err)
			}
		}
	}
}
