// Package declare makes what a fixture says that a broker holds, by the administration API: of
// a broker that runs elsewhere, or of one in this process.
package declare

import (
	"context"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/fixtures"
)

// API is what of the administration API is needed: adminapi.Client and adminapi.Source have it.
type API interface {
	CreateTopic(context.Context, adminapi.TopicSpec) (adminapi.Topic, error)
	CreateExchange(context.Context, adminapi.Exchange) (adminapi.Exchange, error)
	CreateQueue(context.Context, adminapi.QueueSpec) (adminapi.Queue, error)
	Bind(context.Context, adminapi.Binding) error
}

// All makes the topics, exchanges, queues and bindings of a fixture. What exists stays as it is.
func All(ctx context.Context, api API, namespace string, f *fixtures.Fixture) error {
	for _, t := range f.Topics {
		_, err := api.CreateTopic(ctx, adminapi.TopicSpec{
			Namespace: namespace, Name: t.Name, Spelling: "kafka", Partitions: t.Partitions, Config: t.Config, Exact: t.Exact, Durability: t.Durability,
		})
		if err := unlessThere(err); err != nil {
			return err
		}
	}
	for _, x := range f.Exchanges {
		_, err := api.CreateExchange(ctx, adminapi.Exchange{Namespace: namespace, Name: x.Name, Type: x.Type, Durable: x.Durable, Alternate: x.Alternate})
		if err := unlessThere(err); err != nil {
			return err
		}
	}
	for _, q := range f.Queues {
		_, err := api.CreateQueue(ctx, adminapi.QueueSpec{Namespace: namespace, Name: q.Name, Durable: q.Durable, Durability: q.Durability, Arguments: arguments(q.Arguments)})
		if err := unlessThere(err); err != nil {
			return err
		}
	}
	for _, b := range f.Bindings {
		err := api.Bind(ctx, adminapi.Binding{Namespace: namespace, Source: b.From, Destination: b.To, ToExchange: b.ToExchange, Key: b.Key, Arguments: arguments(b.Arguments)})
		if err := unlessThere(err); err != nil {
			return err
		}
	}
	return nil
}

func arguments(as []fixtures.Argument) (out []adminapi.Argument) {
	for _, a := range as {
		out = append(out, adminapi.Argument{Name: a.Name, Value: a.Value})
	}
	return out
}

func unlessThere(err error) error {
	if err != nil && adminapi.ErrorOf(err).Code == adminapi.Code(fault.Exists) {
		return nil
	}
	return err
}
