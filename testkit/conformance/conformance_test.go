package conformance_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/testkit"
	"github.com/robustmq/rmq/testkit/conformance"
)

//go:generate go test . -count=1 -run ^TestBroker$ -update

var update = flag.Bool("update", false, "write the statements of docs/protocol/mqtt-conformance.md")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen before it is said not to. No test
// that passes waits for it.
const patience = time.Minute

// keeps fails the test for what does not hold, strictly.
func keeps(t *testing.T, r *conformance.Report) {
	t.Helper()
	for _, x := range r.Results {
		if x.Verdict == conformance.Fail || x.Verdict == conformance.Varies {
			var b strings.Builder
			x.Tell(&b, "    ")
			t.Errorf("%s: %s: %s\n%s", x.Verdict, x.ID, x.Text, b.String())
		}
	}
}

// page is what docs/protocol/mqtt-conformance.md is to say of the statements.
func page(r *conformance.Report) string {
	var b strings.Builder
	results := map[string]conformance.Result{}
	for _, x := range r.Results {
		results[x.ID] = x
	}
	b.WriteString("Made from the tests and their answers by `make gen`: what follows is not to be edited.\n")
	for _, s := range conformance.Suites() {
		fmt.Fprintf(&b, "\n### %s\n", s.Title)
		group := ""
		for _, st := range s.Statements {
			if number, title := s.Group(st); number != group {
				group = number
				fmt.Fprintf(&b, "\n#### %s %s\n\n| statement | wants | rmq |\n|---|---|---|\n", number, title)
			}
			x := results[st.ID]
			told := string(x.Verdict)
			switch x.Verdict {
			case conformance.Skip:
				told += ": " + x.Why
			case conformance.Unseen:
				told = "no test: " + x.Why
			}
			fmt.Fprintf(&b, "| %s | %s | %s |\n", st.ID, strings.ReplaceAll(st.Text, "|", "\\|"), told)
		}
	}
	return b.String()
}

const pageFile = "../../docs/protocol/mqtt-conformance.md"

// checkPage compares the page's statements with the answers, or writes them.
func checkPage(t *testing.T, r *conformance.Report) {
	t.Helper()
	b, err := os.ReadFile(pageFile)
	if err != nil {
		t.Fatal(err)
	}
	head, old, ok := strings.Cut(string(b), "\n## Statements\n\n")
	if !ok {
		t.Fatalf("%s has no statements", pageFile)
	}
	want := page(r)
	switch {
	case *update:
		if err := os.WriteFile(pageFile, []byte(head+"\n## Statements\n\n"+want), 0o644); err != nil {
			t.Fatal(err)
		}
	case old != want:
		t.Errorf("%s is not what the tests say: run make gen", pageFile)
	}
}

// askGuarded asks a broker with users what one that lets everybody in cannot show.
func askGuarded(t *testing.T) []conformance.Result {
	t.Helper()
	b := testkit.Run(t, testkit.User("ann", "secret"))
	host := strings.TrimPrefix(b.MQTT(), "mqtt://")
	sel, err := conformance.Select("mqtt5/3.1.4-2", "mqtt5/3.15.2-2", "mqtt5/3.15.2-3", "mqtt5/4.12.0-2", "mqtt5/4.12.0-4", "mqtt5/4.12.0-5", "mqtt5/4.12.1-2")
	if err != nil {
		t.Fatal(err)
	}
	r, err := conformance.Run(t.Context(), conformance.Config{URL: "mqtt://ann:secret@" + host, Select: sel})
	if err != nil {
		t.Fatal(err)
	}
	keeps(t, r)
	if strings.Contains(r.Target, "secret") {
		t.Errorf("the report tells the password: %s", r.Target)
	}
	for _, url := range []string{"mqtt://ann:wrong@" + host, "mqtt://" + host} {
		if _, err := conformance.Run(t.Context(), conformance.Config{URL: url, Select: sel}); !fault.Is(err, fault.Unauthorized) {
			t.Errorf("%s: %v, want to be told that nobody is let in", url, err)
		}
	}
	for _, x := range r.Results {
		if x.Verdict != conformance.Pass {
			t.Errorf("%s: %s %s", x.ID, x.Verdict, x.Why)
		}
	}
	return r.Results
}

// A broker is asked everything.
func TestBroker(t *testing.T) {
	b := testkit.Run(t, testkit.Virtual())
	r, err := conformance.Run(t.Context(), conformance.Config{
		URL: b.MQTT(), WebSocket: b.WebSocket(), Advance: b.Clock.Advance, Patience: patience,
	})
	if err != nil {
		t.Fatal(err)
	}
	keeps(t, r)
	for _, guarded := range askGuarded(t) {
		for i, x := range r.Results {
			if x.ID == guarded.ID {
				r.Results[i] = guarded
			}
		}
	}
	checkPage(t, r)
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

// A cluster is asked everything, with connections at all of its nodes in turn.
func TestCluster(t *testing.T) {
	c := testkit.Cluster(t, 3, testkit.Virtual())
	r, err := conformance.Run(t.Context(), conformance.Config{
		URL: c.Node(1).MQTT(), More: []string{c.Node(2).MQTT(), c.Node(3).MQTT()}, WebSocket: c.Node(2).WebSocket(),
		Advance: c.Node(1).Clock.Advance, Patience: patience,
	})
	if err != nil {
		t.Fatal(err)
	}
	keeps(t, r)
}
