package topic

import (
	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

func newList(e *env.Env) *cobra.Command {
	var q adminapi.Query
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List topics with their partitions, records and bytes",
		Example: "  rmq topic list\n  rmq topic list --prefix orders/ -o json",
		Args:    env.Exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := e.Admin()
			if err != nil {
				return err
			}
			topics, err := c.Topics(cmd.Context(), q)
			if err != nil {
				return err
			}
			t := env.Table{Head: []string{"TOPIC", "KAFKA", "PARTITIONS", "RECORDS", "BYTES", "CAPTURED", "DURABILITY"}}
			for _, x := range topics {
				t.Rows = append(t.Rows, []any{x.Name, x.Names.Kafka, len(x.Partitions), x.Records, env.Bytes(x.Bytes), x.Captured, x.Durability})
			}
			return e.Print(env.View{Schema: adminapi.SchemaTopics, Data: topics, Tables: []env.Table{t}, Empty: "no topics"})
		},
	}
	env.ListFlags(cmd.Flags(), &q)
	e.BrokerFlags(cmd.Flags())
	return cmd
}
