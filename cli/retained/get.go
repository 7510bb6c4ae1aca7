package retained

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/cli/env"
	"github.com/robustmq/rmq/cli/link"
)

// find returns what is retained at an address.
func find(ctx context.Context, c *adminapi.Client, namespace, topic string) (adminapi.Message, error) {
	messages, err := c.Retained(ctx, adminapi.Query{Namespace: namespace, Limit: adminapi.ListMax}, topic)
	if err != nil {
		return adminapi.Message{}, err
	}
	for _, m := range messages {
		if m.Address == topic {
			return m, nil
		}
	}
	return adminapi.Message{}, adminapi.ErrorOf(fault.New(fault.NotFound, "get retained message", topic, "nothing is retained there"))
}

func names(namespace *string) env.Names {
	return func(ctx context.Context, c *adminapi.Client) ([]string, error) {
		messages, err := c.Retained(ctx, adminapi.Query{Namespace: *namespace, Limit: adminapi.ListMax}, "")
		var out []string
		for _, m := range messages {
			out = append(out, m.Address)
		}
		return out, err
	}
}

func newGet(e *env.Env) *cobra.Command {
	var namespace string
	cmd := &cobra.Command{
		Use:               "get TOPIC",
		Short:             "Show the retained message of one topic",
		Example:           "  rmq retained get sensors/dev1\n  rmq retained get sensors/dev1 --jq .value",
		Args:              env.Exactly("TOPIC"),
		ValidArgsFunction: e.Complete(names(&namespace)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := e.Admin()
			if err != nil {
				return err
			}
			m, err := find(cmd.Context(), c, namespace, args[0])
			if err != nil {
				return env.NamedNotFound(err, "rmq retained get", args[0], func() []string { return names(&namespace).List(cmd.Context(), c) })
			}
			v := env.View{Schema: "rmq.message/1", Data: m, Fields: []env.Field{
				{Name: "topic", Value: m.Address},
				{Name: "since", Value: env.Ago{At: m.Time, Now: e.Now()}},
				{Name: "size", Value: env.Bytes(m.Size)},
				{Name: "value", Value: string(m.Value)},
			}}
			if m.QoS != nil {
				v.Fields = append(v.Fields, env.Field{Name: "qos", Value: *m.QoS})
			}
			for _, name := range env.SortedKeys(m.Properties) {
				v.Fields = append(v.Fields, env.Field{Name: name, Value: m.Properties[name]})
			}
			for _, h := range m.Headers {
				v.Fields = append(v.Fields, env.Field{Name: h.Name, Value: string(h.Value)})
			}
			return e.Print(v)
		},
	}
	env.NamespaceFlag(cmd.Flags(), &namespace)
	e.BrokerFlags(cmd.Flags())
	return cmd
}

// newDelete takes retained messages away as every client does: with one that has no value.
func newDelete(e *env.Env) *cobra.Command {
	var namespace string
	return e.RemovalCommand(env.Removal{
		Verb: "delete", Noun: "topic",
		Short:   "Delete what is retained of topics, as MQTT does it: with an empty message",
		Example: "  rmq retained delete sensors/dev1\n  rmq retained delete sensors/dev1 --if-exists --yes",
		Flags:   func(fs *pflag.FlagSet) { env.NamespaceFlag(fs, &namespace) },
		Names:   func(ctx context.Context, c *adminapi.Client) ([]string, error) { return names(&namespace)(ctx, c) },
		Find: func(ctx context.Context, c *adminapi.Client, topic string) error {
			_, err := find(ctx, c, namespace, topic)
			return err
		},
		Remove: func(ctx context.Context, c *adminapi.Client, topic string) (*int64, error) {
			if _, err := find(ctx, c, namespace, topic); err != nil {
				return nil, err
			}
			return nil, clearTopic(ctx, e, topic)
		},
	})
}

func clearTopic(ctx context.Context, e *env.Env, topic string) error {
	urls, err := e.URLs(ctx)
	if err != nil {
		return err
	}
	t := link.Target{Protocol: link.MQTT, Topic: topic, User: e.User}
	if err := t.Resolve(urls); err != nil {
		return err
	}
	if t.User != "" {
		if t.Password, err = e.Password(); err != nil {
			return err
		}
	}
	p, err := link.NewProducer(ctx, t, link.Options{Guard: e.Guard})
	if err != nil {
		return err
	}
	var answer error
	qos := uint8(1)
	err = p.Send(ctx, &link.Message{Retain: true, QoS: &qos}, func(_ link.Receipt, err error) { answer = err })
	if closeErr := p.Close(ctx); err == nil {
		err = closeErr
	}
	if err == nil {
		err = answer // the producer has told it by now
	}
	return err
}
