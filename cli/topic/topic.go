// Package topic holds the commands about topics: streams of records, read by offset.
package topic

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

// Command returns `rmq topic`.
func Command(e *env.Env) *cobra.Command {
	return env.Noun("topic", "Topics: streams of records with partitions and offsets",
		newList(e), newGet(e), newCreate(e), newAlter(e), newDelete(e))
}

func names(ctx context.Context, c *adminapi.Client) ([]string, error) {
	topics, err := c.Topics(ctx, adminapi.Query{Limit: adminapi.ListMax})
	var out []string
	for _, t := range topics {
		out = append(out, t.Name)
	}
	return out, err
}

// view shows one topic.
func view(t adminapi.Topic) env.View {
	v := env.View{Schema: adminapi.SchemaTopic, Data: t, Fields: []env.Field{
		{Name: "name", Value: t.Name},
		{Name: "kafka", Value: t.Names.Kafka},
		{Name: "amqp", Value: t.Names.AMQP},
		{Name: "namespace", Value: t.Namespace},
		{Name: "id", Value: t.ID},
		{Name: "created", Value: t.Created},
		{Name: "durability", Value: t.Durability},
		{Name: "captured", Value: t.Captured},
		{Name: "exact", Value: t.Exact},
		{Name: "records", Value: t.Records},
		{Name: "bytes", Value: env.Bytes(t.Bytes)},
	}}
	config := env.Table{Title: "config", Head: []string{"CONFIG", "VALUE"}}
	for _, k := range env.SortedKeys(t.Config) {
		config.Rows = append(config.Rows, []any{k, t.Config[k]})
	}
	parts := env.Table{Title: "partition", Head: []string{"PARTITION", "START", "END", "STABLE", "BYTES", "LEADER", "EPOCH", "SHARD"}}
	for _, p := range t.Partitions {
		parts.Rows = append(parts.Rows, []any{p.Index, p.Start, p.End, p.LastStable, env.Bytes(p.Bytes), p.Leader, p.Epoch, p.Shard})
	}
	v.Tables = []env.Table{config, parts}
	return v
}
