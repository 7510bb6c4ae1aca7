// Package namespace holds the commands about namespaces: names apart, and what is promised
// of what is made in each.
package namespace

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

// Command returns `rmq namespace`.
func Command(e *env.Env) *cobra.Command {
	cmd := env.Noun("namespace", "Namespaces: names apart, with a durability for what is made in each",
		newList(e), newGet(e), newCreate(e), newAlter(e))
	cmd.Aliases = []string{"vhost"}
	return cmd
}

func names(ctx context.Context, c *adminapi.Client) ([]string, error) {
	all, err := c.Namespaces(ctx)
	var out []string
	for _, n := range all {
		out = append(out, n.Name)
	}
	return out, err
}

func view(n adminapi.Namespace) env.View {
	return env.View{Schema: adminapi.SchemaNamespace, Data: n, Fields: []env.Field{
		{Name: "namespace", Value: n.Name},
		{Name: "durability", Value: n.Durability},
		{Name: "topics", Value: n.Topics},
		{Name: "queues", Value: n.Queues},
		{Name: "sessions", Value: n.Sessions},
	}}
}
