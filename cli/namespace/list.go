package namespace

import (
	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

func newList(e *env.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List namespaces with their durability and how much each holds",
		Example: "  rmq namespace list\n  rmq namespace list -o json",
		Args:    env.Exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := e.Admin()
			if err != nil {
				return err
			}
			all, err := c.Namespaces(cmd.Context())
			if err != nil {
				return err
			}
			t := env.Table{Head: []string{"NAMESPACE", "DURABILITY", "TOPICS", "QUEUES", "SESSIONS"}}
			for _, n := range all {
				t.Rows = append(t.Rows, []any{n.Name, n.Durability, n.Topics, n.Queues, n.Sessions})
			}
			return e.Print(env.View{Schema: adminapi.SchemaNamespaces, Data: all, Tables: []env.Table{t}, Empty: "no namespaces"})
		},
	}
	e.BrokerFlags(cmd.Flags())
	return cmd
}
