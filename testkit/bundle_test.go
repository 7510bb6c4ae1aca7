package testkit_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/robustmq/rmq/broker"
	"github.com/robustmq/rmq/testkit"
)

// failed is a test that has failed: what it is told is kept, and its cleanup is run by hand.
type failed struct {
	testing.TB
	logs  *strings.Builder
	clean *[]func()
}

func (f failed) Failed() bool { return true }
func (f failed) Helper()      {}
func (f failed) Name() string { return "TestOf/a thing" }
func (f failed) Logf(format string, args ...any) {
	fmt.Fprintf(f.logs, format+"\n", args...)
}
func (f failed) Cleanup(fn func()) { *f.clean = append(*f.clean, fn) }

// The broker of a test that fails is there afterwards, with what led to it.
func TestBundle(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TESTKIT_BUNDLE_DIR", dir)
	f := failed{t, new(strings.Builder), new([]func())}
	b := testkit.Run(f)
	c := connect(t, b, nil)
	done(t, c.Publish("sensors/dev1/temp", 1, true, "21.5"))
	c.Disconnect(0)
	for _, fn := range *f.clean {
		fn()
	}
	said := regexp.MustCompile(`rmq tui --replay (\S+/TestOf_a_thing-\d+\.rmq)\n`).FindStringSubmatch(f.logs.String())
	if said == nil || !strings.HasPrefix(said[1], dir) {
		t.Fatalf("the file is not told:\n%s", f.logs)
	}
	file := must(os.Open(said[1]))(t)
	defer file.Close()
	image, contents, err := broker.ReadImage(file)
	check(t, err)
	for name, want := range map[string]string{"test": "TestOf/a thing", "timeline": "publish sensors/dev1/temp", "state": "topic    sensors: 1 records", "log": "connected"} {
		if text, ok := contents.Note(name); !ok || !strings.Contains(string(text), want) {
			t.Errorf("%s: %q, want %q", name, text, want)
		}
	}
	again := testkit.Run(t, testkit.Configure(func(cfg *broker.Config) { cfg.Engine = image.Open() }))
	if got := again.Topic("sensors").Values(); len(got) != 1 || got[0] != "21.5" {
		t.Errorf("the topic holds %v", got)
	}

	t.Setenv("TESTKIT_BUNDLE_DIR", "off")
	f.logs.Reset()
	*f.clean = nil
	testkit.Run(f)
	for _, fn := range *f.clean {
		fn()
	}
	if strings.Contains(f.logs.String(), "--replay") {
		t.Errorf("though bundles are off:\n%s", f.logs)
	}
}
