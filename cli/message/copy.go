package message

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/itchyny/gojq"
	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/cli/env"
	"github.com/robustmq/rmq/cli/format"
	"github.com/robustmq/rmq/cli/link"
)

type copying struct {
	reading
	options link.CopyOptions
	from    string
	edit    string
	qos     int
	rate    env.Rate

	jq     *format.JQ
	copied atomic.Int64
}

// NewCopy returns `rmq copy`.
func NewCopy(e *env.Env) *cobra.Command {
	c := &copying{reading: newReading(e), from: "start", qos: 1}
	cmd := &cobra.Command{
		Use:   "copy FROM TO",
		Short: "Copy messages between any two targets, protocols or brokers",
		Long: "Copy messages between any two targets, protocols or brokers, until one of -n, --until-end, --idle, --timeout or\n" +
			"Ctrl-C. A message is acknowledged at its source only when the destination has acknowledged it, so that none is\n" +
			"lost; after a failure some may come twice. A copy from an AMQP queue takes its messages, --group goes on where it\n" +
			"stopped.\n\n" +
			"--edit is a jq expression over each message as -o json prints it, with the value as JSON under json; what it makes\n" +
			"is sent: nothing, one or several. A json that was changed becomes the value.\n\n" + targetHelp,
		Example: "  rmq copy kafka:orders kafka:orders-test --until-end\n" +
			"  rmq copy amqp:queue:jobs kafka:jobs --where 'json.amount > 1000' -n 1\n" +
			"  rmq copy kafka:orders mqtt://test.example/orders --until-end --edit '.json.amount *= 2 | del(.headers)' --rate 100\n" +
			"  rmq copy mqtt://test.example/a/# kafka:copies --idle 1s",
		Args: env.Exactly("FROM", "TO"),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) >= 2 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return c.completeTargets(cmd, args, word)
		},
		RunE: func(cmd *cobra.Command, args []string) error { return c.run(cmd.Context(), args) },
	}
	f := cmd.Flags()
	f.Int64VarP(&c.options.N, "count", "n", 0, "stop after so many messages")
	f.StringVar(&c.from, "from", "start", "Kafka: where to begin: start, end, an offset (1200), a count from the end (-5), a time (2026-01-31T12:00:00Z) or an age (-15m)")
	f.BoolVar(&c.options.UntilEnd, "until-end", false, "stop at what was the end when reading began")
	f.StringVarP(&c.options.Group, "group", "g", "", "share the messages with all who name this group, and go on where it stopped")
	f.IntVar(&c.qos, "qos", 1, "MQTT: the most to ask for")
	f.StringVar(&c.edit, "edit", "", "a jq expression that makes of each message what is sent")
	f.Var(&c.rate, "rate", "at most so many messages in a time: 100, 100/s, 30/m")
	c.whereFlag(f)
	f.Var(&c.idle, "idle", "stop when nothing has come for so long")
	f.Var(&c.timeout, "timeout", "stop after so long")
	c.decoding.Flags(f)
	c.connection.flags(f)
	return cmd
}

func (c *copying) run(ctx context.Context, args []string) error {
	o := &c.options
	switch {
	case c.qos < 0 || c.qos > 2:
		return env.Failf(env.Usage, "--qos %d is none of 0, 1, 2", c.qos)
	case o.N < 0:
		return env.Failf(env.Usage, "-n %d is less than nothing", o.N)
	}
	position, err := link.ParsePosition(c.from, c.e.Now())
	if err != nil {
		return err
	}
	if err := c.prepare(&o.ConsumeOptions); err != nil {
		return err
	}
	if c.edit != "" {
		if c.jq, err = format.CompileJQ(c.edit); err != nil {
			return env.BadFormat("--edit", err)
		}
	}
	from, connect, err := c.target(ctx, args[0])
	if err != nil {
		return err
	}
	to, connectTo, err := c.target(ctx, args[1])
	if err != nil {
		return err
	}
	if from.Same(to) || from.SameBroker(to) && from.Protocol == link.MQTT && message.MatchFilter(from.Topic, address(to)) {
		return env.Failf(env.Usage, "%s is copied onto itself, which has no end: %s comes back to it", from, to)
	}
	switch {
	case from.Protocol == link.Kafka:
		o.From = position
	case from.Protocol == link.MQTT && o.UntilEnd:
		o.From = link.Position{Kind: link.AtStart} // what is retained
	}
	o.QoS, o.Rate = uint8(c.qos), float64(c.rate)
	o.Options, o.To = connect, connectTo
	o.To.Routed = true
	o.Edit = func(m *link.Message) ([]*link.Message, error) { return c.edited(ctx, m) }
	o.Copied = func() { c.copied.Add(1) }
	begun := time.Now()
	progress := c.progress(begun)
	n, err := link.Copy(ctx, from, to, *o)
	progress()
	took := time.Since(begun)
	c.e.Say("copied %d from %s to %s in %v%s", n, from, to, took.Round(time.Millisecond), c.tally())
	if err := c.result(from, to, n); err != nil {
		return err
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return context.Cause(ctx)
	}
	failed := from
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Op == "produce to" {
		failed = to
	}
	err = c.explain(ctx, failed, err)
	if f := env.Explain(err); n > 0 && f.Exit != env.TimedOut {
		return &env.Failure{Exit: env.Partly, What: fmt.Sprintf("%d copied, then: %s", n, f.What), Hint: f.Hint, Err: err}
	}
	return err
}

// address is what a target is to those who subscribe to it over MQTT.
func address(t link.Target) string {
	switch {
	case t.Protocol == link.Kafka:
		return message.FromKafkaName(t.Topic)
	case t.Queue != "":
		return t.Queue
	case t.Protocol == link.AMQP:
		return message.FromAMQPKey(t.Key)
	}
	return t.Topic
}

// result is for programs.
func (c *copying) result(from, to link.Target, n int64) error {
	if !c.e.Machine() {
		return nil
	}
	type result struct {
		From   string `json:"from"`
		To     string `json:"to"`
		Copied int64  `json:"copied"`
		Passed int64  `json:"passed"`
	}
	return c.e.Print(env.View{Schema: "rmq.copy/1", Data: result{from.String(), to.String(), n, c.passed}})
}

// progress shows on a terminal how far it is, until it is told to stop.
func (c *copying) progress(begun time.Time) (stop func()) {
	if !c.e.ErrTTY || c.e.Quiet {
		return func() {}
	}
	done, gone := make(chan struct{}), make(chan struct{})
	go func() { // ends with stop
		defer close(gone)
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				fmt.Fprint(c.e.Err, "\r\x1b[K")
				return
			case <-tick.C:
				n := c.copied.Load()
				fmt.Fprintf(c.e.Err, "\r\x1b[Kcopied %d (%.0f/s)", n, float64(n)/time.Since(begun).Seconds())
			}
		}
	}()
	return func() { close(done); <-gone }
}

// edited is what is sent of a message. At QoS 0 MQTT acknowledges nothing, so a copy asks for
// 1 at least.
func (c *copying) edited(ctx context.Context, m *link.Message) ([]*link.Message, error) {
	made := []*link.Message{m}
	if c.jq != nil {
		var err error
		if made, err = c.jqEdit(ctx, m); err != nil {
			return nil, err
		}
	}
	for _, m := range made {
		if m.QoS == nil || *m.QoS == 0 {
			one := uint8(1)
			m.QoS = &one
		}
	}
	return made, nil
}

// jqEdit gives a message to the jq expression.
func (c *copying) jqEdit(ctx context.Context, m *link.Message) ([]*link.Message, error) {
	data, err := format.Data(c.itemOf(m))
	if err != nil {
		return nil, err
	}
	before, err := memberJSON(data)
	if err != nil {
		return nil, err
	}
	var made []*link.Message
	err = c.jq.Run(ctx, data, func(v any) error {
		if _, ok := v.(map[string]any); !ok {
			return env.Failf(env.Usage, "--edit gives %s, not an object as -o json prints it", gojq.TypeOf(v))
		}
		b, err := format.Encode(v)
		if err != nil {
			return err
		}
		out := &link.Message{}
		if err := json.Unmarshal(b, out); err != nil {
			if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
				f := env.Failf(env.Usage, "--edit gives a message whose %s is %s, which it cannot be", wrong.Field, wrong.Value)
				f.Hint = "a value as JSON is under json: --edit '.json = 5'"
				return f
			}
			return env.Failf(env.Usage, "--edit makes of a message what is none: %v", err)
		}
		after, err := memberJSON(v)
		if err != nil {
			return err
		}
		if after != nil && !bytes.Equal(before, after) {
			out.Value, out.Size = after, len(after)
		}
		made = append(made, out)
		return nil
	})
	return made, err
}

// memberJSON is the member json of a message as data; nil when there is none.
func memberJSON(data any) ([]byte, error) {
	object, _ := data.(map[string]any)
	v, ok := object["json"]
	if !ok {
		return nil, nil
	}
	return format.Encode(v)
}
