package cli_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/adminapi/adminapitest"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/option"
	"github.com/robustmq/rmq/broker/setting"
	"github.com/robustmq/rmq/cli"
	"github.com/robustmq/rmq/cli/env"
	"github.com/robustmq/rmq/cli/local"
)

// TestMain lets this binary be `rmq` in scripts, detached brokers included.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"rmq": func() {
			e := env.System()
			e.Version = "test"
			os.Exit(cli.Main(cli.UntilSignal(), e, local.OpenBroker, os.Args[1:]))
		},
	})
}

// TestScripts runs testdata/*.txtar. Each gets directories of its own, so brokers of one
// are unseen by another, and FAKE_URL, a fake broker with sample data that keeps
// what it is told.
//
// Beyond testscript's own commands: `exit CODE COMMAND…` runs a command and wants that
// exit code; `json PATH VALUE` wants a value in the last standard output; `port URL VAR`
// keeps a port of a status; `killbroker NAME` is a power cut; `cmpfields stdout NAME…`
// keeps those fields of JSON lines in a file "fields"; `flip FILE POSITION` damages a byte;
// `nodes` keeps the addresses of a status's nodes in NODE1, NODE2…; `killnode NAME ID` is a
// power cut of one node, and waits until it is up again; `freeports VAR…` finds ports;
// `certs DIR` makes certificates for nodes; `listeners NAME:SCHEME…` keeps the URLs of a status's
// listeners in variables, in their order, and of its socket in SOCKET; `hangup NAME FILE` has a broker
// read its files again, and waits until it shows the certificate in FILE, or, without one, a problem.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			for _, name := range []string{"RUNTIME_DIR", "STATE_HOME", "DATA_HOME", "CONFIG_HOME"} {
				dir := filepath.Join(e.WorkDir, "."+strings.ToLower(name))
				if err := os.MkdirAll(dir, 0o700); err != nil {
					return err
				}
				e.Setenv("XDG_"+name, dir)
			}
			fixtures, err := filepath.Abs("../fixtures")
			if err != nil {
				return err
			}
			e.Setenv("FIXTURES", fixtures)
			srv := httptest.NewServer(adminapi.Handler(sample(), adminapi.HandlerOptions{}))
			e.Defer(srv.Close)
			e.Setenv("FAKE_URL", srv.URL)
			deny := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				adminapi.WriteError(w, fault.New(fault.Unauthorized, "not without a password", "", "ask"))
			}))
			e.Defer(deny.Close)
			e.Setenv("DENY_URL", deny.URL)
			e.Defer(func() { stopAll(e) })
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exit": wantExit,
			"json": wantJSON,
			"port": savePort, "flip": flip, "killbroker": killBroker, "cmpfields": saveFields,
			"nodes": saveNodes, "killnode": killNode, "freeports": freePorts, "certs": certs, "listeners": saveListeners, "hangup": hangUp,
		},
	})
}

// stopAll ends the brokers that a script left running.
func stopAll(e *testscript.Env) {
	files, _ := filepath.Glob(filepath.Join(e.Getenv("XDG_RUNTIME_DIR"), "rmq", "*.json"))
	for _, f := range files {
		var run env.Run
		if b, err := os.ReadFile(f); err == nil && json.Unmarshal(b, &run) == nil && env.Alive(run.PID) {
			_ = env.Kill(run.PID) // it may have ended meanwhile
			for _, n := range run.Nodes {
				if n.PID != 0 && n.PID != run.PID {
					_ = env.Kill(n.PID)
				}
			}
		}
	}
}

func wantExit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exit CODE COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func wantJSON(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: json PATH VALUE")
	}
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &v))
	for key := range strings.SplitSeq(args[0], ".") {
		switch at := v.(type) {
		case map[string]any:
			v = at[key]
		case []any:
			i, err := strconv.Atoi(key)
			ts.Check(err)
			if i >= len(at) {
				ts.Fatalf("%s: only %d elements", args[0], len(at))
			}
			v = at[i]
		default:
			v = nil
		}
	}
	got, ok := v.(string)
	if !ok {
		b, err := json.Marshal(v)
		ts.Check(err)
		got = string(b)
	}
	if (got == args[1]) == neg {
		ts.Fatalf("%s is %s", args[0], got)
	}
}

func flip(ts *testscript.TestScript, _ bool, args []string) {
	at, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_RDWR, 0)
	ts.Check(err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	ts.Check(err)
	b[0] ^= 0x10
	_, err = f.WriteAt(b, at)
	ts.Check(errors.Join(err, f.Close()))
}

func savePort(ts *testscript.TestScript, _ bool, args []string) {
	var v struct{ Data adminapi.Status }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &v))
	u, err := url.Parse(map[string]string{"http": v.Data.URLs.HTTP, "mqtt": v.Data.URLs.MQTT, "kafka": v.Data.URLs.Kafka, "amqp": v.Data.URLs.AMQP}[args[0]])
	ts.Check(err)
	ts.Setenv(args[1], u.Port())
}

func killBroker(ts *testscript.TestScript, _ bool, args []string) {
	var r env.Run
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(filepath.Join(ts.Getenv("XDG_RUNTIME_DIR"), "rmq", args[0]+".json"))), &r))
	ts.Check(env.Kill(r.PID))
	for env.Alive(r.PID) { // it is no child of ours: there is only asking
		runtime.Gosched()
	}
}

func saveNodes(ts *testscript.TestScript, _ bool, _ []string) {
	var v struct{ Data adminapi.Status }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &v))
	for _, n := range v.Data.Nodes {
		ts.Setenv(fmt.Sprintf("NODE%d", n.ID), n.URLs.HTTP)
	}
}

func killNode(ts *testscript.TestScript, _ bool, args []string) {
	node := func() (found env.RunNode) {
		var r env.Run
		ts.Check(json.Unmarshal([]byte(ts.ReadFile(filepath.Join(ts.Getenv("XDG_RUNTIME_DIR"), "rmq", args[0]+".json"))), &r))
		for _, n := range r.Nodes {
			if fmt.Sprint(n.ID) == args[1] {
				found = n
			}
		}
		return found
	}
	before := node()
	if before.State != env.NodeUp {
		ts.Fatalf("node %s is %s", args[1], before.State)
	}
	ts.Check(env.Kill(before.PID))
	for n := node(); n.State != env.NodeUp || n.PID == before.PID; n = node() { // it tells nobody but in its file
		runtime.Gosched()
	}
}

func saveListeners(ts *testscript.TestScript, _ bool, args []string) {
	var status struct{ Data adminapi.Status }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("status")), &status))
	for _, l := range status.Data.Listeners {
		scheme, at, _ := strings.Cut(l.URL, "://")
		if scheme == "unix" {
			ts.Setenv("SOCKET", strings.ReplaceAll(at, "/", "%2F"))
		}
		if len(args) == 0 {
			break
		}
		if name, want, _ := strings.Cut(args[0], ":"); want == scheme {
			ts.Setenv(name, l.URL)
			args = args[1:]
		}
	}
	if len(args) > 0 {
		ts.Fatalf("no listener is %s", args[0])
	}
}

func hangUp(ts *testscript.TestScript, _ bool, args []string) {
	var r env.Run
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(filepath.Join(ts.Getenv("XDG_RUNTIME_DIR"), "rmq", args[0]+".json"))), &r))
	p, err := os.FindProcess(r.PID)
	ts.Check(err)
	ts.Check(p.Signal(syscall.SIGHUP))
	want := ""
	if len(args) > 1 {
		block, _ := pem.Decode([]byte(ts.ReadFile(args[1])))
		want = string(block.Bytes)
	}
	c, err := adminapi.NewClient(r.URLs.HTTP, nil)
	ts.Check(err)
	for { // it tells nobody when it has
		if want == "" {
			s, err := c.Status(context.Background())
			ts.Check(err)
			if s.TLS.Problem != "" {
				return
			}
			continue
		}
		conn, err := tls.Dial("tcp", strings.TrimPrefix(r.URLs.MQTTS, "mqtts://"), &tls.Config{InsecureSkipVerify: true})
		ts.Check(err)
		shown := string(conn.ConnectionState().PeerCertificates[0].Raw)
		ts.Check(conn.Close())
		if shown == want {
			return
		}
	}
}

// freePort is where freePorts looks on: below the ports that systems give to who asks for any, so that
// nobody takes one before the script has it listened on.
var freePort atomic.Int64

func freePorts(ts *testscript.TestScript, _ bool, args []string) {
	const from, to = 12_000, 15_000 // testkit/crash has those above
	freePort.CompareAndSwap(0, int64(os.Getpid()%(to-from)))
	for _, name := range args {
		for {
			port := strconv.FormatInt(from+freePort.Add(1)%(to-from), 10)
			if l, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
				ts.Check(l.Close())
				ts.Setenv(name, port)
				break
			}
		}
	}
}

func saveFields(ts *testscript.TestScript, _ bool, args []string) {
	var b strings.Builder
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		var m map[string]json.RawMessage
		ts.Check(json.Unmarshal([]byte(line), &m))
		var fields []string
		for _, name := range args[1:] {
			if v, ok := m[name]; ok {
				fields = append(fields, strings.Trim(string(v), map[bool]string{true: "", false: "\""}[name == args[1]]))
			}
		}
		b.WriteString(strings.Join(fields, " ") + "\n")
	}
	ts.Check(os.WriteFile(ts.MkAbs("fields"), []byte(b.String()), 0o666))
}

// sample is a broker that holds one of everything.
func sample() *adminapitest.Fake {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	offset, qos := int64(6), uint8(1)
	f := adminapitest.New()
	f.S = adminapi.Status{
		Version: "1.2.3", Node: 1, PID: 4711, Profile: "dev", Started: at, Uptime: 3723, Ready: true,
		Durability: map[string]string{"streams": "sync"}, DataDir: "/data", URLs: adminapi.URLs{MQTT: "mqtt://127.0.0.1:1883"},
	}
	f.S.Holdings = []adminapi.Holding{{Durability: "sync", Shards: []uint32{1}, Topics: 1, Queues: 1, Sessions: 2}, {Durability: "async", Shards: []uint32{1000}, Topics: 1}}
	f.Node = []adminapi.Node{{ID: 1, Up: true, Self: true, Incarnation: 1, Leads: []uint32{0, 1, 2, 1000}, URLs: adminapi.URLs{MQTT: "mqtt://127.0.0.1:1883"}}, {ID: 2, Incarnation: 2, Leads: []uint32{}}}
	f.N = []adminapi.Namespace{{Name: "/", Durability: "sync", Topics: 2, Queues: 1, Sessions: 2}, {Name: "telemetry", Durability: "async"}}
	f.T = []adminapi.Topic{
		{
			Namespace: "/", Name: "orders", Names: adminapi.Names{MQTT: "orders", Kafka: "orders", AMQP: "orders"}, ID: "0f", Created: at, Records: 7, Bytes: 2048, Durability: "sync",
			Config: map[string]string{"retention.ms": "1"}, Partitions: []adminapi.Partition{{Index: 0, Shard: 1, Leader: 1, End: 7, LastStable: 7, Bytes: 2048}},
		},
		{Namespace: "/", Name: "sensors", Names: adminapi.Names{MQTT: "sensors", Kafka: "sensors", AMQP: "sensors"}, Created: at, Captured: true, Durability: "async", Partitions: []adminapi.Partition{}},
	}
	f.Q = []adminapi.Queue{{QueueSpec: adminapi.QueueSpec{Namespace: "/", Name: "jobs", Durable: true, Durability: "sync", Arguments: []adminapi.Argument{{Name: "x-max-length", Value: "int:10"}}}, Ready: 3, Unacked: 1, Consumers: 1, Bytes: 30}}
	f.X = []adminapi.Exchange{{Namespace: "/", Name: "", Type: "direct", Durable: true}, {Namespace: "/", Name: "amq.topic", Type: "topic", Durable: true}, {Namespace: "/", Name: "events", Type: "topic", Durable: true}}
	f.B = []adminapi.Binding{{Namespace: "/", Source: "amq.topic", Destination: "jobs", Key: "jobs.#"}}
	f.C = []adminapi.Session{
		{Namespace: "/", ClientID: "dev1", Version: "5", Connected: true, Remote: "127.0.0.1:5", Since: at, Expiry: adminapi.ExpiryNever, InflightMax: 20, Subscriptions: []adminapi.Subscription{{Filter: "a/#", QoS: 1}}, Will: &adminapi.Will{Topic: "w", Bytes: 2}},
		{Namespace: "/", ClientID: "dev2", Since: at, Expiry: 60, Backlog: 4},
	}
	f.G = []adminapi.Group{{
		Namespace: "/", ID: "billing", State: "Stable", Type: "classic", Protocol: "range", Lag: 40, Members: []adminapi.Member{{ID: "m1", ClientID: "c1", Host: "127.0.0.1", Assigned: []adminapi.Assignment{{Topic: "orders", Partitions: []int32{0}}}}},
		Offsets: []adminapi.GroupOffset{{Topic: "orders", Partition: 0, Committed: 3, End: 43, Lag: 40, Member: "m1"}, {Topic: "orders", Partition: 1, Committed: -1}},
	}}
	f.R = []adminapi.Message{{Protocol: "mqtt", Address: "sensors/dev1", Topic: "sensors/dev1", Value: []byte("21.5\x1b[31m"), Time: at, QoS: &qos, Offset: &offset, Retain: true}}
	f.Time = adminapi.Clock{Kind: adminapi.ClockVirtual, Now: at, Frozen: true}
	f.A = []acl.Rule{{User: "ann", Actions: acl.Read | acl.Write, Name: "sensors/#"}, {Deny: true, Actions: acl.All, Name: "secret/#"}}
	f.Set = []setting.Setting{{Namespace: "/", Kind: setting.KindShare, Name: "workers", Value: []byte(`{"strategy":"sticky"}`)},
		{Namespace: "/", Kind: setting.KindRewrite, Name: "10-old", Value: []byte(`{"on":"all","filter":"old/#","regex":"^old/(.+)$","to":"new/$1"}`)},
		{Namespace: "/", Kind: setting.KindQuota, Name: "user:ann", Value: []byte(`{"producer_byte_rate":1024}`)},
		{Namespace: "/", Kind: setting.KindSubscription, Name: "orders", Value: []byte(`{"filter":"orders/%c/#","qos":1}`)}}
	f.U = []adminapi.User{{Name: "ann", Tags: []string{"administrator"}}}
	f.Ban = []acl.Ban{{Client: "dev1", Reason: "loops", Since: at}}
	f.Br = []adminapi.Bridge{{Name: "cloud", State: adminapi.BridgeAway, Node: 1, Since: at, Error: "refused", Queued: 3, Bridge: setting.Bridge{
		URL: "mqtt://mqtt.example.com", Protocol: "5", ClientID: "rmq-cloud", Routes: []setting.Route{{Direction: setting.Out, Filter: "sensors/#", QoS: 1}},
	}}}
	for _, o := range option.All() {
		f.Opt = append(f.Opt, adminapi.Option{Name: o.Name, Value: o.Default, Default: o.Default, Origin: adminapi.OriginDefault, Help: o.Help})
	}
	return f
}

// run runs one command line in this process.
func run(t *testing.T, url string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	config := t.TempDir()
	for name, text := range map[string]string{"context": "prod", "contexts/prod.yaml": "protected: false\n", "contexts/lab.yaml": "url: http://h:1\n"} {
		path := filepath.Join(config, "rmq", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	e := &env.Env{
		In: strings.NewReader("a line\n"), Out: &out, Err: &errs, Getenv: func(name string) string {
			return map[string]string{"RMQ_URL": url, "XDG_RUNTIME_DIR": t.TempDir(), "XDG_CONFIG_HOME": config}[name]
		},
		Now: func() time.Time { return time.Date(2026, 1, 2, 4, 0, 0, 0, time.UTC) }, Dir: t.TempDir(), Args: append([]string{"rmq"}, args...), Version: "test",
	}
	code = cli.Main(t.Context(), e, nil, args)
	return out.String(), errs.String(), code
}

// ---- the exit codes that need more than a script

func TestExitFailed(t *testing.T) {
	fake := sample()
	fake.Fail = errors.New("the kernel is on fire")
	srv := httptest.NewServer(adminapi.Handler(fake, adminapi.HandlerOptions{}))
	defer srv.Close()
	_, stderr, code := run(t, srv.URL, "topic", "list")
	if code != env.Failed || stderr != "rmq: internal error\n" {
		t.Errorf("%d %q", code, stderr)
	}
}

// TestInterrupt presses Ctrl-C on a consumer that follows, and on a broker.
func TestInterrupt(t *testing.T) {
	environ := append(os.Environ(), "XDG_RUNTIME_DIR="+t.TempDir(), "XDG_STATE_HOME="+t.TempDir(), "XDG_DATA_HOME="+t.TempDir())
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	start := func(args ...string) (*exec.Cmd, *bufio.Scanner) {
		cmd := exec.Command(exe, args...)
		cmd.Args[0], cmd.Env = "rmq", environ
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() }) // if the test failed
		return cmd, bufio.NewScanner(out)
	}
	broker, card := start("up", "--memory", "--any-port")
	if !card.Scan() {
		t.Fatal("no card")
	}
	go func() { // ends with the broker
		for card.Scan() {
		}
	}()
	produce, _ := start("produce", "mqtt:a/b", "1", "--retain")
	if err := produce.Wait(); err != nil {
		t.Fatal(err)
	}
	consume, lines := start("consume", "mqtt:a/b")
	if !lines.Scan() || lines.Text() != "1" {
		t.Fatalf("consume printed %q", lines.Text())
	}
	if err := consume.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := consume.Wait(); consume.ProcessState.ExitCode() != env.Interrupted {
		t.Errorf("consume: %v", err)
	}
	// A broker that is asked to stop has done what it was asked.
	if err := broker.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := broker.Wait(); err != nil {
		t.Errorf("up: %v", err)
	}
}

// A reader that leaves ends a consumer quietly.
func TestReaderLeaves(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	srv := httptest.NewServer(adminapi.Handler(sample(), adminapi.HandlerOptions{}))
	defer srv.Close()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd := exec.Command(exe, "topic", "list", "--url", srv.URL)
	cmd.Args[0], cmd.Stdout, cmd.Stderr = "rmq", w, &stderr
	if err := cmd.Run(); err != nil || stderr.Len() > 0 {
		t.Errorf("%v, said %q", err, stderr.String())
	}
}
