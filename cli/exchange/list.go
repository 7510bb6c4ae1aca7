package exchange

import (
	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

func newList(e *env.Env) *cobra.Command {
	var q adminapi.Query
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List exchanges with their types",
		Example: "  rmq exchange list\n  rmq exchange list -o json",
		Args:    env.Exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := e.Admin()
			if err != nil {
				return err
			}
			exchanges, err := c.Exchanges(cmd.Context(), q)
			if err != nil {
				return err
			}
			t := env.Table{Head: []string{"EXCHANGE", "TYPE", "DURABLE", "AUTO-DELETE", "INTERNAL", "ALTERNATE"}}
			for _, x := range exchanges {
				t.Rows = append(t.Rows, []any{label(x.Name), x.Type, x.Durable, x.AutoDelete, x.Internal, x.Alternate})
			}
			return e.Print(env.View{Schema: adminapi.SchemaExchanges, Data: exchanges, Tables: []env.Table{t}, Empty: "no exchanges"})
		},
	}
	env.ListFlags(cmd.Flags(), &q)
	e.BrokerFlags(cmd.Flags())
	return cmd
}
