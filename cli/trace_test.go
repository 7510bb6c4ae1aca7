package cli_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"github.com/robustmq/rmq/broker/trace"
	"github.com/robustmq/rmq/cli"
	"github.com/robustmq/rmq/cli/env"
	"github.com/robustmq/rmq/testkit"
)

// tracing runs a trace of the cluster that url is a node of, and returns once all nodes see what happens.
func tracing(t *testing.T, url string, args ...string) (events *json.Decoder, said *bufio.Scanner, ended <-chan int) {
	t.Helper()
	out, outEnd := io.Pipe()
	errs, errsEnd := io.Pipe()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(stop)
	args = append(append([]string{"trace"}, args...), "-o", "json")
	e := &env.Env{
		Out: outEnd, Err: errsEnd, Now: time.Now, Dir: t.TempDir(), Args: append([]string{"rmq"}, args...), Version: "test",
		Getenv: func(name string) string {
			return map[string]string{"RMQ_URL": url, "XDG_RUNTIME_DIR": t.TempDir()}[name]
		},
	}
	code := make(chan int, 1)
	go func() {
		code <- cli.Main(ctx, e, nil, args)
		outEnd.Close()
		errsEnd.Close()
	}()
	said = bufio.NewScanner(errs)
	if !said.Scan() || said.Text() != "tracing on 3 nodes" {
		t.Fatalf("said %q", said.Text())
	}
	return json.NewDecoder(out), said, code
}

// A client is traced on whichever node it is, and the trace ends at its bound on all of them.
func TestTraceOnNodes(t *testing.T) {
	c := testkit.Cluster(t, 3)
	events, said, ended := tracing(t, c.Node(1).HTTP(), "client", "dev1", "-n", "7")
	nc, err := net.Dial("tcp", strings.TrimPrefix(c.Node(3).MQTT(), "mqtt://"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	go func() {
		p := paho.NewClient(paho.ClientConfig{Conn: nc})
		if _, err := p.Connect(t.Context(), &paho.Connect{ClientID: "dev1", CleanStart: true}); err != nil {
			return // the trace says so
		}
		_, _ = p.Publish(t.Context(), &paho.Publish{Topic: "a/b", QoS: 1, Payload: []byte("hello")})
		_ = p.Disconnect(&paho.Disconnect{})
	}()
	for i, want := range []string{"in CONNECT", "out CONNACK", "in PUBLISH", "route ", "log ", "out PUBACK", "in DISCONNECT"} {
		var e trace.Event
		if err := events.Decode(&e); err != nil {
			t.Fatalf("event %d: %v", i, err)
		}
		if got := e.What + " " + e.Packet; got != want || e.Node != 3 || e.Client != "dev1" {
			t.Errorf("event %d is %q of %s on node %d, want %q of dev1 on 3", i, got, e.Client, e.Node, want)
		}
		if want == "in PUBLISH" && (e.Topic != "a/b" || string(e.Payload) != "hello") {
			t.Errorf("PUBLISH is of %s, %q", e.Topic, e.Payload)
		}
	}
	if !said.Scan() || said.Text() != "7 events; the bound of count is reached" {
		t.Errorf("said %q", said.Text())
	}
	if code := <-ended; code != env.OK {
		t.Errorf("exit code %d", code)
	}
}

func TestTraceForms(t *testing.T) {
	one, two := sample(), sample()
	at := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
	one.Seen = []trace.Event{
		{At: at, Node: 1, Protocol: "mqtt", Client: "dev1", Remote: "10.0.0.1:5", What: trace.In, Packet: "PUBLISH", Topic: "a", Fields: []trace.Field{{Name: "qos", Value: "1"}, {Name: "packet id", Value: "7"}}, Payload: []byte("21\x1b[5"), Size: 300},
		{At: at, Node: 1, Protocol: "mqtt", Remote: "10.0.0.1:5", What: trace.End, Text: "ended by the broker: not authorized"},
	}
	url := twoNodes(t, one, two)
	stdout, stderr, code := run(t, url, "trace", "client", "dev1", "-o", "table")
	if want := "03:04:05.678 1 dev1 > PUBLISH a qos=1; packet id=7 \"21\\\\x1b[5…\" (300 bytes)\n" +
		"03:04:05.678 1 10.0.0.1:5 end ended by the broker: not authorized\n"; stdout != want || code != 0 {
		t.Errorf("%q, %q, %d; want %q", stdout, stderr, code, want)
	}
	if !strings.Contains(stderr, "node 3 is down") || !strings.Contains(stderr, "2 events; the bound of time is reached") {
		t.Errorf("%q", stderr)
	}
	if stdout, _, _ = run(t, url, "trace", "ip", "10.0.0.0/8", "-n", "1", "-o", "text"); !strings.HasPrefix(stdout, "2026-01-02T03:04:05.678Z\t1\tmqtt\tdev1\t10.0.0.1:5\tin\tPUBLISH\ta\tqos=1; packet id=7\t") || strings.Count(stdout, "\n") != 1 {
		t.Errorf("%q", stdout)
	}
}
