package message

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/cli/env"
	"github.com/robustmq/rmq/cli/link"
)

type consume struct {
	connection
	options link.ConsumeOptions
	from    string
	idle    env.Duration
	timeout env.Duration
	session env.Duration
	qos     int
	nul     bool
}

// NewConsume returns `rmq consume`.
func NewConsume(e *env.Env) *cobra.Command {
	c := &consume{connection: connection{e: e}, from: "end"}
	cmd := &cobra.Command{
		Use:   "consume TARGET",
		Short: "Read messages over MQTT, Kafka or AMQP",
		Long: "Read messages over MQTT, Kafka or AMQP, until one of -n, --until-end, --idle, --timeout or Ctrl-C.\n\n" +
			"A pipe gets each value and a line end (-0: a NUL); a terminal also where it came from; -o json the whole\n" +
			"message, one a line. The exit code is 8 when -n is given and fewer came.\n\n" + targetHelp,
		Example: "  rmq consume mqtt:sensors/# \n" +
			"  rmq consume kafka:orders --from start --until-end -o json\n" +
			"  rmq consume kafka:orders --from -10 -n 10 --timeout 5s\n" +
			"  rmq consume kafka:orders --group billing --from start\n" +
			"  rmq consume amqp:queue:jobs --peek --until-end\n" +
			"  rmq consume amqp:amq.topic/sensors.# -n 1 --idle 30s",
		Args:              env.Exactly("TARGET"),
		ValidArgsFunction: c.completeTarget,
		RunE:              func(cmd *cobra.Command, args []string) error { return c.run(cmd, args) },
	}
	f := cmd.Flags()
	f.Int64VarP(&c.options.N, "count", "n", 0, "stop after so many messages")
	f.StringVar(&c.from, "from", "end", "where to begin: start, end, an offset (1200), a count from the end (-5), a time (2026-01-31T12:00:00Z) or an age (-15m)")
	f.BoolVar(&c.options.UntilEnd, "until-end", false, "stop at what was the end when reading began")
	f.Var(&c.idle, "idle", "stop when nothing has come for so long")
	f.Var(&c.timeout, "timeout", "stop after so long")
	f.StringVarP(&c.options.Group, "group", "g", "", "share the messages with all who name this group, and go on where it stopped")
	f.IntVar(&c.qos, "qos", 1, "MQTT: the most to ask for")
	f.Var(&c.session, "session", "MQTT: how long the session waits for --client-id to come back")
	f.BoolVar(&c.options.Peek, "peek", false, "AMQP queue: leave the messages where they are")
	f.BoolVarP(&c.nul, "null-separated", "0", false, "end each value with a NUL instead of a line end")
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
	o.Idle, o.Timeout, o.Session, o.QoS = time.Duration(c.idle), time.Duration(c.timeout), time.Duration(c.session), uint8(c.qos)
	t, connect, err := c.target(ctx, args[0])
	if err != nil {
		return err
	}
	o.Options = connect
	begun := time.Now()
	n, err := link.Consume(ctx, t, o, c.show)
	if c.e.ErrTTY || n > 0 && errors.Is(err, context.Canceled) {
		c.e.Say("read %d from %s in %v", n, t, time.Since(begun).Round(time.Millisecond))
	}
	if errors.Is(err, context.Canceled) {
		return context.Cause(ctx)
	}
	return c.explain(ctx, t, err)
}

// show writes one message in the format asked for, at once: whoever reads a pipe waits
// for it.
func (c *consume) show(m *link.Message) error {
	switch c.e.Format() {
	case env.FormatJSON:
		return c.e.PrintLine(m)
	case env.FormatYAML:
		return c.e.PrintDocument(m)
	case env.FormatTable:
		return c.row(m)
	}
	end := byte('\n')
	if c.nul {
		end = 0
	}
	// One write: the reader at the other end of a pipe sees whole messages.
	_, err := c.e.Out.Write(append(m.Value[:len(m.Value):len(m.Value)], end))
	return err
}

// row is a message for a person: where it came from, then what it says, with nothing
// in it that the terminal would obey.
func (c *consume) row(m *link.Message) error {
	var b strings.Builder
	b.WriteString(c.e.Faint(m.Time.Format("15:04:05.000") + " " + source(m)))
	if m.Key != nil {
		b.WriteString(c.e.Faint(" " + env.Preview(m.Key, keyWidth)))
	}
	if m.Retain {
		b.WriteString(c.e.Faint(" retained"))
	}
	if m.Redelivered {
		b.WriteString(c.e.Faint(" again"))
	}
	for _, h := range m.Headers {
		if h.Name == link.HeaderNative {
			continue
		}
		b.WriteString(c.e.Faint(" " + env.Clean(h.Name) + "=" + env.Preview(h.Value, headerWidth)))
	}
	b.WriteString("  ")
	if m.Value == nil {
		b.WriteString(c.e.Faint("null"))
	}
	b.WriteString(env.Clean(string(m.Value)))
	b.WriteByte('\n')
	_, err := c.e.Out.Write([]byte(b.String()))
	return err
}

const (
	keyWidth    = 40
	headerWidth = 40
)

// source is where a message came from, in its protocol's own terms.
func source(m *link.Message) string {
	switch {
	case m.Partition != nil && m.Offset != nil:
		return fmt.Sprintf("%s/%d@%d", env.Clean(m.Topic), *m.Partition, *m.Offset)
	case m.Topic != "":
		return env.Clean(m.Topic)
	}
	return env.Clean(m.Exchange + "/" + m.RoutingKey)
}
