package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

// Exit codes of `rmq test` for what is its own fault; any other is the command's.
const (
	testFailed = 125 // no broker could be started, or the flags are wrong
	cannotRun  = 126 // the command is there, and cannot be run
	notFound   = 127 // there is no such command
	signalBase = 128 // and the signal that has ended the command
)

// NewTest returns `rmq test`.
func NewTest(e *env.Env, open Open) *cobra.Command {
	u := &up{e: e, open: open, profile: "dev", logLevel: "error", memory: true, anyPort: true, name: "test", host: "127.0.0.1"}
	u.clock = clockFlag{kind: clockRunning, text: clockRunning}
	keep := false
	cmd := &cobra.Command{
		Use:   "test [FLAGS] -- COMMAND [ARGUMENT...]",
		Short: "Run a command beside a broker of its own, and return its exit code",
		Long: "Run a command beside a broker of its own, and return its exit code.\n\n" +
			"The broker is this process: in memory, on free ports of this machine, gone when the command has ended. The command finds it\n" +
			"by its environment: MQTT_URL, MQTT_HOST, MQTT_PORT, KAFKA_BOOTSTRAP_SERVERS, AMQP_URL, and RMQ_URL, by which rmq finds it too.\n" +
			"RMQ_CONTROL_URL is where tests look into it, wait for it and move its clock (docs/CONTROL.md, docs/testing).\n\n" +
			"Its clock is its own and runs as the machine's does, until a test freezes it or moves it on; --clock virtual has it stand\n" +
			"still from the beginning. With --nodes it is a cluster, in this process too.\n\n" +
			"Signals are passed on. When the command has ended, so does what it has left running in its process group. On a terminal it\n" +
			"runs in rmq's own, so that Ctrl-C and Ctrl-Z reach it.\n\n" +
			"Exit codes are the command's, or 128 and the number of the signal that has ended it; 125 is a fault of rmq's, 126 a command that\n" +
			"cannot be run, 127 one that is not found.",
		Example: "  rmq test -- true\n  rmq test -- pytest\n  rmq test --clock virtual@2030-01-01 -- go test ./...\n  rmq test -n 3 -- mvn test\n  rmq test --keep-on-fail -- npm test",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return &env.Failure{Exit: testFailed, What: "rmq test: what is to be run?", Hint: "rmq test -- pytest"}
			}
			return nil
		},
		Annotations: map[string]string{env.EndsStopped: "true"},
		RunE:        func(cmd *cobra.Command, args []string) error { return u.test(cmd, args, keep) },
	}
	f := cmd.Flags()
	f.SetInterspersed(false) // what stands behind the command is its own
	f.Var(&u.clock, "clock", clockUsage)
	f.IntVarP(&u.nodes, "nodes", "n", 1, "how many nodes the broker has, all in this process")
	f.Var(&env.Choice{Value: &u.profile, Of: []string{"dev", "production"}}, "profile", "dev captures traffic into topics; production does not")
	f.Var(&env.Choice{Value: &u.logLevel, Of: []string{"debug", "info", "warn", "error"}}, "log-level", "least severity that is logged")
	f.BoolVar(&keep, "keep-on-fail", false, "when the command fails, leave the broker up until Ctrl-C")
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		failure := *env.Explain(env.FlagError(cmd, err))
		failure.Exit = testFailed
		return &failure
	})
	return cmd
}

// test runs a command beside a broker.
func (u *up) test(cmd *cobra.Command, args []string, keep bool) error {
	fault := func(err error) error {
		if err == nil {
			return nil
		}
		f := *env.Explain(err)
		f.Exit = testFailed
		return &f
	}
	if u.nodes < 1 || u.nodes > nodesMax {
		return fault(env.Failf(env.Usage, "--nodes %d is none of 1 to %d", u.nodes, nodesMax))
	}
	path, err := exec.LookPath(args[0])
	if err != nil && !errors.Is(err, exec.ErrDot) {
		if errors.Is(err, fs.ErrPermission) {
			return &env.Failure{Exit: cannotRun, What: args[0] + " cannot be run", Hint: "make it executable: chmod +x " + env.Quote(args[0]), Err: err}
		}
		return &env.Failure{Exit: notFound, What: args[0] + ": no such command", Err: err}
	}
	u.inProcess = u.nodes > 1
	ctx := context.WithoutCancel(cmd.Context()) // a signal ends the command first, and the broker with it
	c := Config{Profile: u.profile, Host: u.host, Hands: u.clock.open(), Log: u.logger(u.e.Err)}
	b, err := u.openAll(ctx, c, u.e.Err)
	if err != nil {
		return fault(u.explain(err, c))
	}
	end := func() error {
		limit, cancel := context.WithTimeout(ctx, closeTimeout)
		defer cancel()
		return errors.Join(b.Err(), b.Close(limit))
	}
	urls := b.URLs()
	if many, ok := b.(clustered); ok {
		urls.Kafka = bootstrap(urls.Kafka, many.Nodes())
	}
	code, err := u.runBeside(path, args, urls)
	if err != nil {
		return errors.Join(err, end())
	}
	if code != 0 && keep && cmd.Context().Err() == nil {
		u.e.Say("exit code %d; the broker is left up until Ctrl-C: rmq status --url %s   %s", code, urls.HTTP, spaced(urls.MQTT, urls.Kafka, urls.AMQP))
		select {
		case <-cmd.Context().Done():
		case <-b.Done():
		}
	}
	if err := end(); err != nil && code == 0 {
		return fault(err)
	}
	if code != 0 {
		return env.ExitCode(code)
	}
	return nil
}

// runBeside runs the command and returns its exit code.
func (u *up) runBeside(path string, args []string, urls adminapi.URLs) (code int, err error) {
	run := &exec.Cmd{Path: path, Args: args, Dir: u.e.Dir, Stdin: u.e.In, Stdout: u.e.Out, Stderr: u.e.Err, Env: os.Environ()}
	for _, v := range Variables(urls) {
		run.Env = append(run.Env, v.Name+"="+v.Value)
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, forwarded...)
	defer signal.Stop(signals)
	g, err := startGroup(run, !u.e.InTTY)
	if err != nil {
		exit := cannotRun
		if errors.Is(err, fs.ErrNotExist) {
			exit = notFound
		}
		return 0, &env.Failure{Exit: exit, What: fmt.Sprintf("%s cannot be run: %v", args[0], err), Err: err}
	}
	ended := make(chan struct{})
	go func() { // ends with the command
		_ = run.Wait() // its state says it
		close(ended)
	}()
	for {
		select {
		case s := <-signals:
			g.pass(s)
		case <-ended:
			g.end()
			return exitCode(run.ProcessState), nil
		}
	}
}

// clockUsage is what --clock says, of `rmq up` and `rmq test`.
const clockUsage = "whose time the broker goes by: real, the machine's; virtual, its own, which stands still until rmq clock moves it;\nrunning, its own, which runs meanwhile. virtual@TIME and running@TIME begin then"

// hostPort adds where a URL points, for clients that take its parts.
func hostPort(raw, prefix string, add func(name, value string)) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return
	}
	host, port, err := net.SplitHostPort(strings.Split(u.Host, ",")[0])
	if err != nil {
		return
	}
	add(prefix+"_HOST", host)
	add(prefix+"_PORT", port)
}
