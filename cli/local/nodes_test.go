package local

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

func TestParsePeers(t *testing.T) {
	got, err := parsePeers("1=a:7100, 2=[::1]:7100,30=127.0.0.1:7")
	want := map[uint64]string{1: "a:7100", 2: "[::1]:7100", 30: "127.0.0.1:7"}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "1=a:1", "a:1,b:2", "0=a:1,1=b:2", "1=a,2=b:1", "1=a:0,2=b:1", "1=a:1,1=b:2", "-1=a:1,2=b:2"} {
		if _, err := parsePeers(bad); env.Explain(err) == nil || env.Explain(err).Exit != env.Usage {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestRestartWait(t *testing.T) {
	for deaths, want := range map[int]time.Duration{1: restartMin, 2: 2 * restartMin, 4: 8 * restartMin, 100: restartMax} {
		if got := restartWait(deaths); got != want {
			t.Errorf("after %d deaths: %v, want %v", deaths, got, want)
		}
	}
}

func TestRanges(t *testing.T) {
	for _, tt := range []struct {
		ns   []uint32
		want string
	}{{nil, ""}, {[]uint32{7}, "7"}, {[]uint32{0, 1, 2, 7, 1000, 1001}, "0-2 7 1000-1001"}} {
		if got := ranges(tt.ns); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.ns, got, tt.want)
		}
	}
}

// Ports that were asked for go up from node to node; what is free or not served stays so.
func TestPlan(t *testing.T) {
	u := &up{nodes: 3}
	got, err := u.plan(Config{DataDir: "/d", MQTT: 1883, MQTTWS: 0, Kafka: -1, HTTP: 15672})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []Config{
		{DataDir: filepath.Join("/d", "node-1"), MQTT: 1883, Kafka: -1, HTTP: 15672},
		{DataDir: filepath.Join("/d", "node-2"), MQTT: 1893, Kafka: -1, HTTP: 15682},
		{DataDir: filepath.Join("/d", "node-3"), MQTT: 1903, Kafka: -1, HTTP: 15692},
	} {
		if c := got[i].Cluster; c.Self != uint64(i+1) || len(c.Peers) != 3 {
			t.Errorf("node %d is %d of %v", i+1, c.Self, c.Peers)
		}
		got[i].Cluster = nil
		if got[i] != want {
			t.Errorf("node %d:\n got %+v\nwant %+v", i+1, got[i], want)
		}
	}
	if _, err := u.plan(Config{MQTT: 65530}); env.Explain(err) == nil {
		t.Error("a port beyond the last was taken")
	}
}

// A node's process is told everything that this one was, whatever a file of settings says, and
// the secret by the name of its file alone.
func TestNodeArgs(t *testing.T) {
	s := newStage(t)
	u := &up{e: s.e, name: "test", logLevel: "info"}
	args := u.nodeArgs(&Config{
		DataDir: "/d/node-2", Profile: "production", Host: "127.0.0.1", Durability: "async", MQTT: 1893, MQTTWS: 8093, Kafka: -1, AMQP: 5682, HTTP: 15682,
		Cluster: &Cluster{Self: 2, Peers: map[uint64]string{1: "h:1", 2: "h:2", 3: "h:3"}, Token: "secret"},
	}, "")
	if strings.Contains(strings.Join(args, " "), "secret") {
		t.Error("the secret is in the arguments")
	}
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range args {
		if args[i] == "--token-file" {
			args[i+1] = token
		}
	}
	s.e.Getenv = func(n string) string {
		return map[string]string{"XDG_RUNTIME_DIR": s.e.Dir, "RMQ_NODES": "3", "RMQ_DETACH": "true", "RMQ_ANY_PORT": "true"}[n]
	}
	var got Config
	cmd := NewUp(s.e, func(_ context.Context, c Config) (Broker, error) {
		got = c
		close(s.broker.done)
		return s.broker, nil
	})
	cmd.PersistentFlags().StringVarP(&s.e.Output, "output", "o", "", "")
	cmd.PersistentFlags().BoolVarP(&s.e.Quiet, "quiet", "q", false, "")
	cmd.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return s.e.Configure(cmd) }
	cmd.SetArgs(args[1:])
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c := got.Cluster; c == nil || c.Self != 2 || c.Token != "secret" || c.Peers[3] != "h:3" {
		t.Errorf("cluster %+v", c)
	}
	got.Cluster, got.Log = nil, nil
	want := Config{DataDir: "/d/node-2", Profile: "production", Host: "127.0.0.1", Durability: "async", MQTT: 1893, MQTTWS: 8093, Kafka: -1, AMQP: 5682, HTTP: 15682}
	if got != want {
		t.Errorf("\n got %+v\nwant %+v", got, want)
	}
}

// The card of a cluster names every node's addresses.
func TestCardOfNodes(t *testing.T) {
	s := newStage(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	opened := 0
	cmd := NewUp(s.e, func(_ context.Context, c Config) (Broker, error) {
		mu.Lock()
		defer mu.Unlock()
		if opened++; opened == 2 {
			cancel()
		}
		n := *s.broker
		n.urls = adminapi.URLs{MQTT: "mqtt://h:" + string(rune('0'+c.Cluster.Self)), HTTP: s.broker.urls.HTTP}
		return &n, nil
	})
	cmd.SetArgs([]string{"-n", "2", "--in-process", "--memory"})
	if err := cmd.ExecuteContext(ctx); err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(s.out.String(), "\n")
	want := `
  node 1
  mqtt     mqtt://h:1
  http     ` + s.broker.urls.HTTP + `

  node 2
  mqtt     mqtt://h:2
  http     ` + s.broker.urls.HTTP + `

  data     in memory: nothing outlives the broker
`
	if !strings.HasPrefix(rest, want) {
		t.Errorf("got\n%s\nwant\n%s", rest, want)
	}
}
