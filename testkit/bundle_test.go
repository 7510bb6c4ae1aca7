package testkit_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker"
	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/chaos"
	"github.com/robustmq/rmq/broker/grammar"
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
	b := testkit.Run(f, testkit.Seed(7))
	b.Fault(chaos.Rule{Name: "late", At: "mqtt/PUBACK", Do: chaos.Delay, Delay: grammar.Duration(time.Millisecond), Times: 1})
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
	for name, want := range map[string]string{"test": "TestOf/a thing", "timeline": "publish sensors/dev1/temp", "state": "topic    sensors: 1 records", "log": "connected", "seed": "7\n"} {
		if text, ok := contents.Note(name); !ok || !strings.Contains(string(text), want) {
			t.Errorf("%s: %q, want %q", name, text, want)
		}
	}
	// Programs read what happened: what was published as it was, what went wrong, and that the test failed.
	events, _ := contents.Note("events")
	var kinds []string
	for _, h := range must(adminapi.ReadHappened(events))(t) {
		switch {
		case h.What == "mqtt" && (h.Message == nil || string(h.Message.Value) != "21.5" || h.Message.Topic != "sensors/dev1/temp" || !h.Message.Retain):
			t.Errorf("the message is kept as %+v", h.Message)
		case h.What != "log":
			kinds = append(kinds, h.What)
		}
	}
	if want := []string{"fault", "mqtt", "fault", "test"}; !slices.Equal(kinds, want) {
		t.Errorf("what happened is %v, want %v", kinds, want)
	}
	faults, _ := contents.Note("faults")
	if p, err := chaos.Parse(faults); err != nil || p.Seed != 7 || len(p.Rules) != 1 || p.Rules[0].Delay != grammar.Duration(time.Millisecond) {
		t.Errorf("the faults are %q: %+v, %v", faults, p, err)
	}
	if !strings.Contains(f.logs.String(), "its planned faults (1), of seed 7: rmq snapshot show "+said[1]+" --note faults") {
		t.Errorf("nothing is said of the planned faults:\n%s", f.logs)
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
