package message

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/cli/env"
	"github.com/robustmq/rmq/cli/link"
)

type consume struct {
	reading
	options link.ConsumeOptions
	from    string
	session env.Duration
	qos     int
}

// NewConsume returns `rmq consume`.
func NewConsume(e *env.Env) *cobra.Command {
	c := &consume{reading: newReading(e), from: "end"}
	cmd := &cobra.Command{
		Use:   "consume TARGET",
		Short: "Read messages over MQTT, Kafka or AMQP",
		Long: "Read messages over MQTT, Kafka or AMQP, until one of -n, --until-end, --idle, --timeout or Ctrl-C.\n\n" +
			"A pipe gets each value and a line end (-0: a NUL); a terminal also where it came from; -o json the whole\n" +
			"message, one a line; -f, --jq and --template what they say (docs/FORMAT.md). The exit code is 8 when -n is given and\n" +
			"fewer came, and when --timeout passed before the broker let it in.\n\n" +
			"--where passes over what it does not match; in an AMQP queue that stays where it is. MQTT has no history, but\n" +
			"--from start --until-end reads what is retained.\n\n" + targetHelp,
		Example: "  rmq consume mqtt:sensors/# \n" +
			"  rmq consume kafka:orders --from start --until-end -o json\n" +
			"  rmq consume kafka:orders --from -10 -n 10 --timeout 5s\n" +
			"  rmq consume kafka:orders --group billing --from start\n" +
			"  rmq consume amqp:queue:jobs --peek --until-end\n" +
			"  rmq consume amqp:amq.topic/sensors.# -n 1 --idle 30s\n" +
			"  rmq consume mqtt:sensors/# --where 'topicMatches(\"sensors/+/temp\") && json > 30'\n" +
			"  rmq consume kafka:orders --from start --until-end -f '%p/%o %d{rfc3339} %k %v{json}\\n'\n" +
			"  rmq consume 'mqtt:spBv1.0/#' --decode auto -o json -n 1\n" +
			"  rmq consume kafka:orders --from start --until-end --jq '.json.items[]?.sku'",
		Args:              env.Exactly("TARGET"),
		ValidArgsFunction: c.completeTarget,
		RunE:              func(cmd *cobra.Command, args []string) error { return c.run(cmd, args) },
	}
	f := cmd.Flags()
	f.Int64VarP(&c.options.N, "count", "n", 0, "stop after so many messages")
	f.StringVar(&c.from, "from", "end", "where to begin: start, end, an offset (1200), a count from the end (-5), a time (2026-01-31T12:00:00Z) or an age (-15m)")
	f.BoolVar(&c.options.UntilEnd, "until-end", false, "stop at what was the end when reading began")
	f.StringVarP(&c.options.Group, "group", "g", "", "share the messages with all who name this group, and go on where it stopped")
	f.IntVar(&c.qos, "qos", 1, "MQTT: the most to ask for")
	f.Var(&c.session, "session", "MQTT: how long the session waits for --client-id to come back")
	f.BoolVar(&c.options.Peek, "peek", false, "AMQP queue: leave the messages where they are")
	c.flags(f)
	return cmd
}

func (c *consume) run(cmd *cobra.Command, args []string) error {
	ctx := cmd.Context()
	if c.qos < 0 || c.qos > 2 {
		return env.Failf(env.Usage, "--qos %d is none of 0, 1, 2", c.qos)
	}
	if c.options.N < 0 {
		return env.Failf(env.Usage, "-n %d is less than nothing", c.options.N)
	}
	o := c.options
	var err error
	if o.From, err = link.ParsePosition(c.from, c.e.Now()); err != nil {
		return err
	}
	o.Session, o.QoS = time.Duration(c.session), uint8(c.qos)
	if err := c.prepare(&o); err != nil {
		return err
	}
	t, connect, err := c.target(ctx, args[0])
	if err != nil {
		return err
	}
	o.Options = connect
	begun := time.Now()
	n, err := link.Consume(ctx, t, o, func(m *link.Message) error { return c.show(m, "") })
	if c.e.ErrTTY || n > 0 && errors.Is(err, context.Canceled) || c.tally() != "" {
		c.e.Say("read %d from %s in %v%s", n, t, time.Since(begun).Round(time.Millisecond), c.tally())
	}
	if errors.Is(err, context.Canceled) {
		return context.Cause(ctx)
	}
	return c.explain(ctx, t, err)
}
