package cli_test

import (
	"bytes"
	"context"
	"net"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli"
	"github.com/robustmq/rmq/cli/env"
	"github.com/robustmq/rmq/cli/link"
	"github.com/robustmq/rmq/testkit"
)

// messageCommands are those whose examples run against a broker that holds messages.
var messageCommands = []string{"rmq consume", "rmq tail", "rmq grep", "rmq produce", "rmq copy", "rmq request"}

// Every example of the commands that send and read messages is run as it stands, one after
// another, its pipes included; test.example is a broker that holds the same.
func TestMessageExamplesRun(t *testing.T) {
	b := testkit.Run(t)
	dir := t.TempDir()
	rmq := func(in string, args ...string) (stdout, stderr string, code int) {
		var out, errs bytes.Buffer
		for i, a := range args {
			a = strings.ReplaceAll(a, "mqtt://test.example:1883", b.MQTT())
			a = strings.ReplaceAll(a, "mqtt://test.example", b.MQTT())
			args[i] = strings.ReplaceAll(a, "kafka://test.example:9092", b.Kafka())
		}
		e := &env.Env{
			In: strings.NewReader(in), Out: &out, Err: &errs, Now: time.Now, Dir: dir, Args: append([]string{"rmq"}, args...), Version: "test",
			Getenv: func(name string) string {
				return map[string]string{"RMQ_URL": b.HTTP(), "XDG_RUNTIME_DIR": dir, "XDG_CONFIG_HOME": filepath.Join(dir, "config")}[name]
			},
		}
		code = cli.Main(t.Context(), e, nil, args)
		return out.String(), errs.String(), code
	}
	must := func(in string, args ...string) {
		if _, stderr, code := rmq(in, args...); code != env.OK {
			t.Fatalf("%v: exit code %d: %s", args, code, stderr)
		}
	}
	must("", "queue", "create", "jobs")
	fill := func() { // what an example takes away is there for the next
		order := `{"id":7,"amount":2000,"price":19.5,"items":[{"sku":"a"}],"error":"timeout"}`
		for _, topic := range []string{"orders", "payments"} {
			must(order+"\n"+order+"\n", "produce", "kafka:"+topic, "-k", "7", "-H", "source=shop")
		}
		must("", "produce", "mqtt:sensors/dev1/temp", "--retain", "--", "-31.5")
		must("", "produce", "mqtt:a/b", "1", "--retain")
		must(order+"\n", "produce", "amqp:queue:jobs")
	}
	runnable(tree(), func(c *cobra.Command) {
		if !slices.Contains(messageCommands, c.CommandPath()) {
			return
		}
		for line := range strings.SplitSeq(c.Example, "\n") {
			t.Run(line, func(t *testing.T) {
				fill()
				if c.Name() == "request" {
					for _, target := range []string{"mqtt:rpc/echo", "kafka:orders", "amqp:queue:jobs"} {
						answer(t, urlsOf(b), target, false)
					}
				}
				in := "7=a\n"
				for _, args := range commandLines(t, line) {
					reads := slices.Contains([]string{"consume", "tail", "request"}, args[0]) // of which some want more than comes
					if reads && !slices.Contains(args, "--timeout") && !slices.Contains(args, "--until-end") {
						args = append(args, "--timeout", "1s") // nobody presses Ctrl-C
					}
					stdout, stderr, code := rmq(in, args...)
					if code != env.OK && !(reads && code == env.TimedOut) {
						t.Errorf("%v: exit code %d: %s", args, code, stderr)
					}
					in = stdout
				}
			})
		}
	})
}

func urlsOf(b *testkit.Broker) adminapi.URLs {
	return adminapi.URLs{MQTT: b.MQTT(), Kafka: b.Kafka(), AMQP: b.AMQP()}
}

// answer answers every request that comes to a target, with what was asked; made makes the
// target, if it is not there. It ends with the test.
func answer(t *testing.T, urls adminapi.URLs, name string, made bool) {
	t.Helper()
	at := func(name string) link.Target {
		target, err := link.ParseTarget(name)
		if err == nil {
			err = target.Resolve(urls)
		}
		if err != nil {
			t.Error(err)
		}
		return target
	}
	target := at(name)
	ctx, stop := context.WithCancel(context.Background())
	ready := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		o := link.ConsumeOptions{QoS: 1, Make: made, Ready: func() error { close(ready); return nil }}
		_, err := link.Consume(ctx, target, o, func(m *link.Message) error {
			reply := link.Message{Value: m.Value, Properties: map[string]string{}}
			to := ""
			link.Carry(m)
			to, reply.Properties[link.CorrelationID] = m.Properties[link.ReplyTo], m.Properties[link.CorrelationID]
			if to == "" {
				return nil // no request
			}
			p, err := link.NewProducer(ctx, at(map[string]string{link.MQTT: "mqtt:", link.Kafka: "kafka:", link.AMQP: "amqp:queue:"}[target.Protocol]+to), link.Options{})
			if err != nil {
				return err
			}
			if err := p.Send(ctx, &reply, func(link.Receipt, error) {}); err != nil {
				return err
			}
			return p.Close(ctx)
		})
		if ctx.Err() == nil {
			t.Errorf("who answers %s stopped: %v", name, err)
		}
	}()
	t.Cleanup(func() { stop(); <-ended })
	<-ready
}

func TestRequest(t *testing.T) {
	b := testkit.Run(t)
	for _, target := range []string{"mqtt:rpc/echo", "kafka:asked", "amqp:queue:asks"} {
		answer(t, urlsOf(b), target, true)
		stdout, stderr, code := run(t, b.HTTP(), "request", target, "hello", "--timeout", "20s")
		if code != env.OK || stdout != "hello\n" {
			t.Errorf("%s: exit code %d, %q, %s", target, code, stdout, stderr)
		}
		stdout, stderr, code = run(t, b.HTTP(), "request", target, `{"a":1}`, "--timeout", "20s", "--jq", ".json.a")
		if code != env.OK || stdout != "1\n" {
			t.Errorf("%s: exit code %d, %q, %s", target, code, stdout, stderr)
		}
	}
	_, stderr, code := run(t, b.HTTP(), "request", "mqtt:rpc/echo", "hello", "-n", "2", "--timeout", "500ms")
	if code != env.TimedOut || !strings.Contains(stderr, "wanted 2 replies from mqtt:rpc/echo, got 1 in 500ms") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// The commands work against Mosquitto as they do against rmq. Skipped where it is not
// installed.
func TestMessagesOfMosquitto(t *testing.T) {
	bin, err := exec.LookPath("mosquitto")
	if err != nil {
		if bin = "/usr/sbin/mosquitto"; exec.Command(bin, "-h").Run() != nil {
			t.Skip("mosquitto is not installed")
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	_, port, _ := net.SplitHostPort(at)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	peer := exec.Command(bin, "-p", port)
	if err := peer.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = peer.Process.Kill(); _ = peer.Wait() }) // it has nothing to keep
	for deadline := time.Now().Add(20 * time.Second); ; {
		conn, err := net.Dial("tcp", at)
		if err == nil {
			_ = conn.Close() // it only had to be taken
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		runtime.Gosched()
	}
	b := testkit.Run(t)
	rmq := func(want int, args ...string) string {
		t.Helper()
		stdout, stderr, code := run(t, b.HTTP(), args...)
		if code != want {
			t.Fatalf("%v: exit code %d: %s", args, code, stderr)
		}
		return stdout
	}
	mqtt := "mqtt://" + at + "/"
	rmq(env.OK, "produce", mqtt+"keep/a", `{"celsius":31}`, "--retain")
	rmq(env.OK, "produce", mqtt+"keep/b", `{"celsius":20}`, "--retain", "-H", "source=shop")
	if got := rmq(env.OK, "grep", "json.celsius > 30", mqtt+"keep/#", "-f", `%t %v{json}\n`); got != "keep/a {\"celsius\":31}\n" {
		t.Errorf("grep: %q", got)
	}
	rmq(env.NotFound, "grep", "json.celsius > 99", mqtt+"keep/#")
	if got := rmq(env.OK, "consume", mqtt+"keep/#", "-n", "1", "--where", `headers["source"] == "shop"`, "--jq", ".json.celsius"); got != "20\n" {
		t.Errorf("consume: %q", got)
	}
	if got := rmq(env.OK, "tail", mqtt+"keep/a", mqtt+"keep/b", "-n", "2", "-f", "%(json.celsius)\n"); len(got) != 6 {
		t.Errorf("tail: %q", got)
	}
	rmq(env.OK, "copy", mqtt+"keep/#", "kafka:kept", "--until-end")
	if got := rmq(env.OK, "consume", "kafka:kept", "--from", "start", "--until-end", "--where", "json.celsius > 30"); got != "{\"celsius\":31}\n" {
		t.Errorf("copy to rmq: %q", got)
	}
	rmq(env.OK, "copy", "kafka:kept", mqtt+"back", "--until-end")
	rmq(env.TimedOut, "request", mqtt+"rpc/nobody", "x", "--timeout", "200ms")
	answer(t, adminapi.URLs{MQTT: "mqtt://" + at}, mqtt+"rpc/echo", false)
	if got := rmq(env.OK, "request", mqtt+"rpc/echo", "hello", "--timeout", "20s"); got != "hello\n" {
		t.Errorf("request: %q", got)
	}
}
