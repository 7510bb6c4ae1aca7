package cli_test

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/adminapi/adminapitest"
)

// twoNodes serves two nodes, and a third that is down.
func twoNodes(t *testing.T, one, two *adminapitest.Fake) (url string) {
	t.Helper()
	first := httptest.NewServer(adminapi.Handler(one, adminapi.HandlerOptions{}))
	t.Cleanup(first.Close)
	second := httptest.NewServer(adminapi.Handler(two, adminapi.HandlerOptions{}))
	t.Cleanup(second.Close)
	nodes := []adminapi.Node{
		{ID: 1, Up: true, Self: true, URLs: adminapi.URLs{HTTP: first.URL}},
		{ID: 2, Up: true, URLs: adminapi.URLs{HTTP: second.URL}},
		{ID: 3, URLs: adminapi.URLs{HTTP: "http://127.0.0.1:1"}},
	}
	one.Node = nodes
	return first.URL
}

// What each node knows alone is asked of all that are up.
func TestSlowAsksEveryNode(t *testing.T) {
	one, two := sample(), sample()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	one.Late = []adminapi.Slow{{ClientID: "dev1", Topic: "a", QoS: 1, Latency: 0.6, At: at, Count: 2, Node: 1}}
	two.Late = []adminapi.Slow{
		{ClientID: "dev3", Topic: "b", Latency: 1.25, At: at, Count: 1, Node: 2}, {ClientID: "dev4", Topic: "c", Latency: 0.5, At: at, Count: 1, Node: 2},
	}
	url := twoNodes(t, one, two)
	stdout, stderr, code := run(t, url, "session", "slow", "--limit", "2", "-o", "text")
	if want := "dev3\tb\t0\t1.25s\t1\t2026-01-02T03:04:05Z\t2\ndev1\ta\t1\t600ms\t2\t2026-01-02T03:04:05Z\t1\n"; stdout != want || code != 0 {
		t.Errorf("%q, %q, %d; want %q", stdout, stderr, code, want)
	}
	stdout, _, _ = run(t, url, "session", "slow", "-o", "json")
	var got struct {
		Data     []adminapi.Slow
		Warnings []string
	}
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || len(got.Data) != 3 || len(got.Warnings) != 1 || !strings.Contains(got.Warnings[0], "node 3 is down") {
		t.Errorf("%v: %s", err, stdout)
	}

	one.Late, two.Late = nil, nil
	if _, stderr, _ = run(t, url, "session", "slow", "-o", "table"); !strings.Contains(stderr, "nothing is timed: rmq config set mqtt.slow.threshold=500ms") {
		t.Errorf("%q", stderr)
	}
}
