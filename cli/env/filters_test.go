package env

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A filter is kept by its name among the settings that there are, and the project's go over the user's.
func TestFiltersAreKeptByName(t *testing.T) {
	home := t.TempDir()
	e := &Env{Dir: t.TempDir(), Home: home, Getenv: func(string) string { return "" }}
	if err := os.MkdirAll(filepath.Dir(e.UserFile()), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(e.UserFile(), []byte("# mine\noutput: json\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, f := range [][2]string{{"hot", "json.temp > 30"}, {"hot", "json.temp > 35"}, {"odd", "yes"}} {
		if err := e.SaveFilter(f[0], f[1]); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(e.UserFile())
	if err != nil || !strings.Contains(string(b), "# mine\noutput: json\n") {
		t.Errorf("the settings are %s: %v", b, err)
	}
	if err := os.WriteFile(filepath.Join(e.Dir, "rmq.yaml"), []byte("filters: {odd: json.n % 2 == 1}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for src, want := range map[string]string{"@hot": "json.temp > 35", "@odd": "json.n % 2 == 1", "true": "true"} {
		if got, err := e.Filter(src); err != nil || got != want {
			t.Errorf("%s is %q: %v", src, got, err)
		}
	}
	failed := Explain(func() error { _, err := e.Filter("@hto"); return err }())
	if failed.Exit != NotFound || failed.Hint != "did you mean @hot?" {
		t.Errorf("%+v", failed)
	}
	if err := e.SaveFilter("a b", "x"); Explain(err).Exit != Usage {
		t.Errorf("a name of two words: %v", err)
	}
}
