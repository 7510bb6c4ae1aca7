package message

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/cli/env"
	"github.com/robustmq/rmq/cli/link"
)

// targetsMax bounds the connections of one command.
const targetsMax = 64

type tail struct {
	reading
	n    int64
	from string
	qos  int

	mu sync.Mutex // for what is shown and counted: one message at a time
}

// NewTail returns `rmq tail`.
func NewTail(e *env.Env) *cobra.Command {
	t := &tail{reading: newReading(e), from: "end"}
	cmd := &cobra.Command{
		Use:   "tail TARGET...",
		Short: "Follow several targets at once, over MQTT, Kafka and AMQP",
		Long: "Follow several targets at once, over MQTT, Kafka and AMQP, until one of -n, --idle, --timeout or Ctrl-C.\n\n" +
			"Before each message stands the target it came from; in a pipe a tab follows. Nothing is taken from anybody, so a\n" +
			"queue is no target: follow the exchange that feeds it. --from is for Kafka topics; MQTT and AMQP tell what comes\n" +
			"from now on.\n\n" + strings.Replace(targetHelp, queueTarget, "", 1),
		Example: "  rmq tail mqtt:sensors/# kafka:orders amqp:amq.topic/#\n" +
			"  rmq tail kafka:orders kafka:payments --from -15m --where 'json.amount > 1000'\n" +
			"  rmq tail mqtt:a/# mqtt://test.example/a/# -o json -n 10",
		Args:              env.AtLeast("TARGET"),
		ValidArgsFunction: t.completeTargets,
		RunE:              func(cmd *cobra.Command, args []string) error { return t.run(cmd.Context(), args) },
	}
	f := cmd.Flags()
	f.Int64VarP(&t.n, "count", "n", 0, "stop after so many messages")
	f.StringVar(&t.from, "from", "end", "Kafka: where to begin: start, end, an offset (1200), a count from the end (-5), a time (2026-01-31T12:00:00Z) or an age (-15m)")
	f.IntVar(&t.qos, "qos", 1, "MQTT: the most to ask for")
	t.flags(f)
	return cmd
}

// stream is one target of several.
type stream struct {
	link.Target
	options link.ConsumeOptions
	name    string // as it stands before its messages; "" when it is the only one
}

// sources reads the targets, and finds the broker they are at.
func (r *reading) sources(ctx context.Context, args []string, o link.ConsumeOptions) ([]stream, error) {
	if len(args) > targetsMax {
		return nil, env.Failf(env.Usage, "%d targets are more than %d at once", len(args), targetsMax)
	}
	var out []stream
	for _, arg := range args {
		t, connect, err := r.target(ctx, arg)
		if err != nil {
			return nil, err
		}
		s := stream{Target: t, options: o}
		s.options.Options = connect
		if len(args) > 1 {
			s.name = env.Clean(t.String())
		}
		out = append(out, s)
	}
	return out, nil
}

func (t *tail) run(ctx context.Context, args []string) error {
	if t.qos < 0 || t.qos > 2 {
		return env.Failf(env.Usage, "--qos %d is none of 0, 1, 2", t.qos)
	}
	if t.n < 0 {
		return env.Failf(env.Usage, "-n %d is less than nothing", t.n)
	}
	from, err := link.ParsePosition(t.from, t.e.Now())
	if err != nil {
		return err
	}
	o := link.ConsumeOptions{QoS: uint8(t.qos)}
	if err := t.prepare(&o); err != nil {
		return err
	}
	idle := o.Idle
	o.Idle = 0 // of all targets together: below
	sources, err := t.sources(ctx, args, o)
	if err != nil {
		return err
	}
	for i := range sources {
		switch s := &sources[i]; {
		case s.Protocol == link.Kafka:
			s.options.From = from
		case s.Queue != "":
			f := env.Failf(env.Usage, "%s: who follows a queue takes its messages from others", s.Target)
			f.Hint = "follow the exchange that feeds it, as amqp:EXCHANGE/KEY; or look into it: rmq consume " + env.Quote(s.String()) + " --peek --until-end"
			return f
		case from.Kind != link.AtEnd && len(sources) == 1:
			s.options.From = from // refused, with the reason
		}
	}
	begun := time.Now()
	n, err := t.follow(ctx, sources, idle)
	if t.e.ErrTTY || t.tally() != "" || n > 0 && ctx.Err() != nil {
		t.e.Say("read %d from %d targets in %v%s", n, len(sources), time.Since(begun).Round(time.Millisecond), t.tally())
	}
	if errors.Is(err, context.Canceled) {
		return context.Cause(ctx)
	}
	return err
}

// errStop ends the other targets when enough has come.
var errStop = errors.New("enough")

// follow reads all targets until one fails or enough has come.
func (t *tail) follow(ctx context.Context, sources []stream, idle time.Duration) (n int64, err error) {
	reading, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var quiet *time.Timer
	if idle > 0 {
		quiet = time.AfterFunc(idle, func() { stop(errStop) })
		defer quiet.Stop()
	}
	var all sync.WaitGroup
	for _, s := range sources {
		if where := s.options.Where; where != nil {
			s.options.Where = func(m *link.Message) bool {
				t.mu.Lock()
				defer t.mu.Unlock()
				return where(m)
			}
		}
		all.Go(func() { // ends with reading
			_, err := link.Consume(reading, s.Target, s.options, func(m *link.Message) error {
				t.mu.Lock()
				defer t.mu.Unlock()
				if err := context.Cause(reading); err != nil {
					return err
				}
				if quiet != nil {
					quiet.Reset(idle)
				}
				if err := t.show(m, s.name); err != nil {
					return err
				}
				if n++; n == t.n {
					stop(errStop)
				}
				return nil
			})
			if err != nil && reading.Err() == nil {
				stop(t.explain(ctx, s.Target, err))
			}
		})
	}
	all.Wait()
	err = context.Cause(reading)
	if errors.Is(err, errStop) {
		err = nil
	}
	if err == nil && n < t.n {
		err = env.Failf(env.TimedOut, "wanted %d messages, got %d", t.n, n)
	}
	return n, err
}
