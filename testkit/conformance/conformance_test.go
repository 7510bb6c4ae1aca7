package conformance_test

import (
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/robustmq/rmq/testkit"
	"github.com/robustmq/rmq/testkit/conformance"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// deviations are what rmq does otherwise than the specification says, and why.
var deviations = map[string]string{
	"MQTT5-4.8.2-4": "a share gives what a member has not acknowledged to another, once its connection is gone",
	"MQTT5-4.8.2-5": "a share gives what a member has not acknowledged to another, once its connection is gone",
}

// keeps fails the test for what does not hold, strictly, but for known deviations, and for a
// deviation that is none any more.
func keeps(t *testing.T, r *conformance.Report) {
	t.Helper()
	for _, x := range r.Results {
		_, known := deviations[x.ID]
		switch {
		case known && x.Verdict == conformance.Fail:
		case x.Verdict == conformance.Fail || x.Verdict == conformance.Varies:
			var b strings.Builder
			x.Tell(&b, "    ")
			t.Errorf("%s: %s: %s\n%s", x.Verdict, x.ID, x.Text, b.String())
		case known && x.Verdict == conformance.Pass:
			t.Errorf("%s holds, and is listed as a deviation", x.ID)
		}
	}
}

// A broker is asked everything.
func TestBroker(t *testing.T) {
	b := testkit.Run(t, testkit.Virtual())
	r, err := conformance.Run(t.Context(), conformance.Config{URL: b.MQTT(), WebSocket: b.WebSocket(), Advance: b.Clock.Advance})
	if err != nil {
		t.Fatal(err)
	}
	keeps(t, r)
	if n := r.Count(); n.Pass < 380 {
		t.Errorf("only %d statements were seen to hold", n.Pass)
	}
}

// Every statement of the specifications' lists has a test, or a reason why it has none.
func TestNoneIsMissing(t *testing.T) {
	want := map[string]int{"mqtt5": 251, "mqtt311": 141} // the lengths of the specifications' lists
	for _, s := range conformance.Suites() {
		lacking, stray := s.Missing()
		if len(lacking)+len(stray) > 0 {
			t.Errorf("%s: missing %v, and not in the specification's list %v", s.Name, lacking, stray)
		}
		seen, numbered := map[string]bool{}, 0
		for _, st := range s.Statements {
			if seen[st.ID] {
				t.Errorf("%s is there twice", st.ID)
			}
			seen[st.ID] = true
			if st.Numbered() {
				numbered++
			}
			if st.Tested() == (st.Why != "") {
				t.Errorf("%s has both a test and a reason against one, or neither", st.ID)
			}
			if _, title := s.Group(st); title == "" {
				t.Errorf("%s: its section has no title", st.ID)
			}
		}
		if numbered != want[s.Name] {
			t.Errorf("%s has %d numbered statements, want %d", s.Name, numbered, want[s.Name])
		}
	}
}

func TestSelect(t *testing.T) {
	for spec, want := range map[string]string{
		"mqtt5/3.1.2-1":         "MQTT5-3.1.2-1",
		"MQTT5-3.1.2-1":         "MQTT5-3.1.2-1",
		"mqtt5/2.2.2.2/unknown": "MQTT5-2.2.2.2/unknown",
		"mqtt5/4.5":             "MQTT5-4.5.0-1 MQTT5-4.5.0-2",
		"mqtt311/3.1.0":         "MQTT311-3.1.0-1 MQTT311-3.1.0-2",
		"mqtt5/3.1.2.11.3":      "MQTT5-3.1.2.11.3/zero",
		"mqtt5/3.1.2-8":         "MQTT5-3.1.2-8 MQTT5-3.1.2-8/delay",
	} {
		sel, err := conformance.Select(spec)
		if err != nil {
			t.Errorf("%s: %v", spec, err)
			continue
		}
		var got []string
		for _, s := range sel {
			for _, st := range s.Statements {
				got = append(got, st.ID)
			}
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s means %s, want %s", spec, s, want)
		}
	}
	for _, spec := range []string{"", "mqtt", "mqtt5/3.99", "mqtt5/3.1.2-99", "mqtt5-3", "mqtt5/3.1.2-"} {
		if sel, err := conformance.Select(spec); err == nil {
			t.Errorf("%q means %d statements", spec, len(sel[0].Statements))
		}
	}
	for _, spec := range conformance.Specs() {
		if _, err := conformance.Select(spec); err != nil {
			t.Errorf("%s: %v", spec, err)
		}
	}
}

// A node of a cluster is asked everything, with connections at all of them in turn.
func TestCluster(t *testing.T) {
	c := testkit.Cluster(t, 3)
	r, err := conformance.Run(t.Context(), conformance.Config{
		URL: c.Node(1).MQTT(), More: []string{c.Node(2).MQTT(), c.Node(3).MQTT()}, WebSocket: c.Node(2).WebSocket(),
	})
	if err != nil {
		t.Fatal(err)
	}
	keeps(t, r)
}
