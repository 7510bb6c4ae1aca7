package cli_test

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/cli"
	"github.com/robustmq/rmq/cli/env"
	"github.com/robustmq/rmq/testkit"
)

// messageCommands are those whose examples run against a broker that holds messages.
var messageCommands = []string{"rmq consume", "rmq tail", "rmq grep", "rmq produce"}

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
				in := "7=a\n"
				for _, args := range commandLines(t, line) {
					reads := slices.Contains([]string{"consume", "tail"}, args[0])
					if reads && !slices.Contains(args, "--until-end") {
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
