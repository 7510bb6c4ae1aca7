// Package queue holds the commands about queues: messages that wait for one consumer
// each.
package queue

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

// Command returns `rmq queue`.
func Command(e *env.Env) *cobra.Command {
	return env.Noun("queue", "Queues: messages that wait for one consumer each",
		newList(e), newGet(e), newCreate(e), newPurge(e), newDelete(e))
}

func names(ctx context.Context, c *adminapi.Client) ([]string, error) {
	queues, err := c.Queues(ctx, adminapi.Query{Limit: adminapi.ListMax})
	var out []string
	for _, q := range queues {
		out = append(out, q.Name)
	}
	return out, err
}

// features names what a queue is, for one column.
func features(q adminapi.Queue) string {
	var f []string
	for _, x := range []struct {
		on   bool
		name string
	}{{q.Durable, "durable"}, {!q.Durable, "transient"}, {q.AutoDelete, "auto-delete"}, {q.Exclusive, "exclusive"}} {
		if x.on {
			f = append(f, x.name)
		}
	}
	return strings.Join(f, ",")
}

func view(q adminapi.Queue) env.View {
	v := env.View{Schema: adminapi.SchemaQueue, Data: q, Fields: []env.Field{
		{Name: "name", Value: q.Name},
		{Name: "namespace", Value: q.Namespace},
		{Name: "features", Value: features(q)},
		{Name: "durability", Value: q.Durability},
		{Name: "ready", Value: q.Ready},
		{Name: "unacked", Value: q.Unacked},
		{Name: "consumers", Value: q.Consumers},
		{Name: "bytes", Value: env.Bytes(q.Bytes)},
		{Name: "shard", Value: q.Shard},
	}}
	args := env.Table{Title: "argument", Head: []string{"ARGUMENT", "VALUE"}}
	for _, a := range q.Arguments {
		args.Rows = append(args.Rows, []any{a.Name, a.Value})
	}
	v.Tables = []env.Table{args}
	return v
}
