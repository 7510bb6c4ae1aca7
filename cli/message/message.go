// Package message holds the commands that send and read messages: `rmq produce`, `consume`,
// `request`, `copy`, `tail`, `grep`. They speak the public protocols and so work on any broker.
package message

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/cli/env"
	"github.com/robustmq/rmq/cli/link"
)

// connection is the flags by which all commands reach a broker.
type connection struct {
	e        *env.Env
	clientID string
	vhost    string
	tls      env.TLS
}

const savedHelp = "TARGET may be @NAME: a request that is saved under requests in rmq.yaml, with its target, its value and other\n" +
	"flags by their long names. A VALUE and flags that are given go over it:\n\n" +
	"  requests:\n    order:\n      target: kafka:orders\n      value: {id: 7}\n      header: [source=shop]\n\n"

const queueTarget = "  amqp:queue:NAME                 AMQP queue\n"

const targetHelp = `TARGET is one of

  mqtt:sensors/dev1/temp          MQTT topic (to consume: a filter)
  kafka:orders, kafka:orders/3    Kafka topic, or one partition of it
  amqp:EXCHANGE/KEY               AMQP exchange and routing key
` + queueTarget + `
at the broker that --name or --url means; or the same after a host, for any broker of that protocol:
mqtt://user:password@host:1883/TOPIC, kafka://host:9092/TOPIC, amqp://host:5672/queue:NAME, and over TLS mqtts://,
kafkas://, amqps://. The password may stand in RMQ_PASSWORD instead.`

func (c *connection) flags(fs *pflag.FlagSet) {
	fs.StringVar(&c.clientID, "client-id", "", "client identifier (default: one is made up)")
	fs.StringVar(&c.vhost, "vhost", "/", "AMQP virtual host")
	c.tls.Flags(fs)
	c.e.BrokerFlags(fs)
}

// target reads the argument and finds the broker it means.
func (c *connection) target(ctx context.Context, arg string) (link.Target, link.Options, error) {
	o := link.Options{ClientID: c.clientID, VHost: c.vhost, Guard: c.e.Guard}
	t, err := link.ParseTarget(arg)
	if err != nil {
		return t, o, env.WithHint(err, "rmq produce --help shows every form of a target")
	}
	if t.Broker == "" {
		urls, err := c.e.URLs(ctx)
		if err != nil {
			return t, o, err
		}
		if err := t.Resolve(urls); err != nil {
			return t, o, err
		}
	}
	if c.e.User != "" && t.User == "" {
		t.User = c.e.User
	}
	if t.User != "" && t.Password == "" {
		if t.Password, err = c.e.Password(); err != nil {
			return t, o, err
		}
	}
	if t.TLS {
		if o.TLS, err = c.tls.Config(); err != nil {
			return t, o, err
		}
	}
	return t, o, nil
}

// explain gives an error of a conversation the next thing to type.
func (c *connection) explain(ctx context.Context, t link.Target, err error) error {
	f, ok := errors.AsType[*fault.Error](err)
	if !ok {
		return err
	}
	switch {
	case errors.Is(err, link.ErrUnbound) && t.Broker == "":
		return c.unbound(ctx, t, err)
	case f.Kind == fault.NotFound && t.Broker != "":
		return env.WithHint(err, "it is asked for at %s: check the name, and that it is meant there", t.Broker)
	case f.Kind == fault.NotFound && t.Partition != nil && slices.Contains(c.topics(ctx), t.Topic):
		return env.WithHint(err, "see how many partitions it has: rmq topic get %s", env.Quote("kafka:"+t.Topic))
	case f.Kind == fault.NotFound && t.Protocol == link.Kafka:
		if near := env.Closest(t.Topic, c.topics(ctx)); near != "" && near != t.Topic {
			return env.WithHint(err, "did you mean kafka:%s?", near)
		}
		return env.WithHint(err, "see what there is: rmq topic list   or create it: rmq topic create %s", env.Quote("kafka:"+t.Topic))
	case f.Kind == fault.NotFound && t.Queue != "":
		if near := env.Closest(t.Queue, c.queues(ctx)); near != "" && near != t.Queue {
			return env.WithHint(err, "did you mean amqp:queue:%s?", near)
		}
		return env.WithHint(err, "create it: rmq queue create %s", env.Quote(t.Queue))
	case f.Kind == fault.NotFound && t.Exchange != "":
		return env.WithHint(err, "see what there is: rmq exchange list   or create it: rmq exchange create %s", env.Quote(t.Exchange))
	case f.Kind == fault.Unauthorized:
		return env.WithHint(err, "give --user NAME with RMQ_PASSWORD, or %s://user:password@host/…", t.Protocol)
	case errors.Is(err, link.ErrAtOnce) && t.User == "":
		return env.WithHint(err, "give --user NAME with RMQ_PASSWORD, or kafka://user:password@host/…")
	case f.Kind == fault.Unavailable && f.Op == "connect to" && t.Broker != "":
		return env.WithHint(err, "check the address; without one the target is the broker that rmq up started: %s", env.Quote(t.Name()))
	case f.Kind == fault.Unavailable && f.Op == "connect to":
		return env.WithHint(err, "see how it is: rmq status")
	case f.Kind == fault.Unsupported && t.Protocol == link.MQTT && f.Op == "consume":
		return env.WithHint(err, "where the broker captures it, its history is a topic: rmq topic list, then rmq consume kafka:TOPIC --from start")
	}
	return err
}

// unbound tells of a message that no queue gets whether a topic has kept it.
func (c *connection) unbound(ctx context.Context, t link.Target, err error) error {
	bind := fmt.Sprintf("bind one: rmq binding create %s QUEUE --key %s", env.Quote(t.Exchange), env.Quote(t.Key))
	if a, none := c.e.Admin(); none == nil {
		x, _ := a.Explain(ctx, adminapi.ExplainQuestion{Protocol: link.AMQP, Exchange: t.Exchange, Key: t.Key}) // without an answer, less is said
		for _, to := range x.Targets {
			if to.Kind == "stream" && x.Refused == "" {
				return &env.Failure{
					Exit: env.NotFound, What: err.Error() + "; topic " + to.Name + " has kept it",
					Hint: bind + "   or copy to the topic: " + env.Quote("kafka:"+message.KafkaName(to.Name)), Err: err,
				}
			}
		}
	}
	return env.WithHint(err, "%s", bind)
}

func (c *connection) topics(ctx context.Context) []string {
	a, err := c.e.Admin()
	if err != nil {
		return nil // a missing suggestion is no failure of its own
	}
	topics, err := a.Topics(ctx, adminapi.Query{Limit: adminapi.ListMax})
	if err != nil {
		return nil
	}
	var names []string
	for _, t := range topics {
		names = append(names, t.Names.Kafka)
	}
	return names
}

func (c *connection) queues(ctx context.Context) []string {
	a, err := c.e.Admin()
	if err != nil {
		return nil
	}
	queues, err := a.Queues(ctx, adminapi.Query{Limit: adminapi.ListMax})
	if err != nil {
		return nil
	}
	var names []string
	for _, q := range queues {
		names = append(names, q.Name)
	}
	return names
}

// completeTarget completes the first argument.
func (c *connection) completeTarget(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return c.completeTargets(cmd, args, "")
}

// completeSaved completes the first argument of those that take a saved request too.
func (c *connection) completeSaved(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	out, directive := c.completeTarget(cmd, args, word)
	if len(args) == 0 {
		out = append(out, c.e.SavedNames()...)
	}
	return out, directive
}

// completeTargets completes any argument.
func (c *connection) completeTargets(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	out := []string{"mqtt:", "kafka:", "amqp:", "amqp:queue:"}
	for _, t := range c.topics(cmd.Context()) {
		out = append(out, "kafka:"+t)
	}
	for _, q := range c.queues(cmd.Context()) {
		out = append(out, "amqp:queue:"+q)
	}
	return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}
