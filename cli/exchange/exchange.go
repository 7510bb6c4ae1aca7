// Package exchange holds the commands about AMQP exchanges: where a published message
// is routed from.
package exchange

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

// Command returns `rmq exchange`.
func Command(e *env.Env) *cobra.Command {
	return env.Noun("exchange", "AMQP exchanges: where published messages are routed from",
		newList(e), newGet(e), newCreate(e), newDelete(e))
}

func names(ctx context.Context, c *adminapi.Client) ([]string, error) {
	exchanges, err := c.Exchanges(ctx, adminapi.Query{Limit: adminapi.ListMax})
	var out []string
	for _, x := range exchanges {
		out = append(out, x.Name)
	}
	return out, err
}

func view(x adminapi.Exchange, bindings []adminapi.Binding) env.View {
	v := env.View{Schema: adminapi.SchemaExchange, Data: x, Fields: []env.Field{
		{Name: "name", Value: label(x.Name)},
		{Name: "namespace", Value: x.Namespace},
		{Name: "type", Value: x.Type},
		{Name: "durable", Value: x.Durable},
		{Name: "auto-delete", Value: x.AutoDelete},
		{Name: "internal", Value: x.Internal},
		{Name: "alternate", Value: x.Alternate},
	}}
	args := env.Table{Title: "argument", Head: []string{"ARGUMENT", "VALUE"}}
	for _, a := range x.Arguments {
		args.Rows = append(args.Rows, []any{a.Name, a.Value})
	}
	out := env.Table{Title: "binding", Head: []string{"KEY", "TO", "DESTINATION"}}
	for _, b := range bindings {
		if b.Source == x.Name {
			out.Rows = append(out.Rows, []any{b.Key, env.DestinationKind(b), b.Destination})
		}
	}
	v.Tables = []env.Table{args, out}
	return v
}

// label gives the default exchange, whose name is empty, one to show.
func label(name string) string {
	if name == "" {
		return env.DefaultExchange
	}
	return name
}

// ref reads a name that label may have given.
func ref(namespace, name string) adminapi.Ref {
	if name == env.DefaultExchange {
		name = ""
	}
	return adminapi.Ref{Namespace: namespace, Name: name}
}
