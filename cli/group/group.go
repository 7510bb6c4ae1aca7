// Package group holds the commands about consumer groups: members that share the
// partitions of topics, and how far they have read.
package group

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

// Command returns `rmq group`, with what else there is to be done to groups.
func Command(e *env.Env, more ...*cobra.Command) *cobra.Command {
	return env.Noun("group", "Consumer groups: members, offsets and lag",
		append([]*cobra.Command{newList(e), newGet(e), newDelete(e)}, more...)...)
}

// Names lists the groups that there are.
func Names(ctx context.Context, c *adminapi.Client) ([]string, error) {
	groups, err := c.Groups(ctx, adminapi.Query{Limit: adminapi.ListMax})
	var out []string
	for _, g := range groups {
		out = append(out, g.ID)
	}
	return out, err
}

// lagVerdict is the answer to --max-lag: exit code 9 when a group lags more.
func lagVerdict(limit int64, groups ...adminapi.Group) error {
	if limit < 0 {
		return nil
	}
	for _, g := range groups {
		if g.Lag > limit {
			return env.Failf(env.Negative, "group %s lags by %d, more than %d", g.ID, g.Lag, limit)
		}
	}
	return nil
}

func view(g adminapi.Group) env.View {
	v := env.View{Schema: adminapi.SchemaGroup, Data: g, Fields: []env.Field{
		{Name: "group", Value: g.ID},
		{Name: "namespace", Value: g.Namespace},
		{Name: "state", Value: g.State},
		{Name: "type", Value: g.Type},
		{Name: "protocol", Value: g.Protocol},
		{Name: "generation", Value: g.Generation},
		{Name: "coordinator", Value: g.Coordinator},
		{Name: "members", Value: len(g.Members)},
		{Name: "lag", Value: g.Lag},
	}}
	members := env.Table{Title: "member", Head: []string{"MEMBER", "CLIENT", "HOST", "PARTITIONS"}}
	for _, m := range g.Members {
		n := 0
		for _, a := range m.Assigned {
			n += len(a.Partitions)
		}
		members.Rows = append(members.Rows, []any{m.ID, m.ClientID, m.Host, n})
	}
	offsets := env.Table{Title: "offset", Head: []string{"TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "MEMBER"}}
	for _, o := range g.Offsets {
		var committed any = o.Committed
		if o.Committed < 0 {
			committed = ""
		}
		offsets.Rows = append(offsets.Rows, []any{o.Topic, o.Partition, committed, o.End, o.Lag, o.Member})
	}
	v.Tables = []env.Table{members, offsets}
	return v
}
