package queue

import (
	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

func newList(e *env.Env) *cobra.Command {
	var q adminapi.Query
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List queues with what waits in them",
		Example: "  rmq queue list\n  rmq queue list --prefix jobs. -o json",
		Args:    env.Exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := e.Admin()
			if err != nil {
				return err
			}
			queues, err := c.Queues(cmd.Context(), q)
			if err != nil {
				return err
			}
			t := env.Table{Head: []string{"QUEUE", "READY", "UNACKED", "CONSUMERS", "BYTES", "FEATURES", "DURABILITY"}}
			for _, x := range queues {
				t.Rows = append(t.Rows, []any{x.Name, x.Ready, x.Unacked, x.Consumers, env.Bytes(x.Bytes), features(x), x.Durability})
			}
			return e.Print(env.View{Schema: adminapi.SchemaQueues, Data: queues, Tables: []env.Table{t}, Empty: "no queues"})
		},
	}
	env.ListFlags(cmd.Flags(), &q)
	e.BrokerFlags(cmd.Flags())
	return cmd
}
