package binding

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

func newList(e *env.Env) *cobra.Command {
	var q adminapi.Query
	var source, destination string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List bindings",
		Example: "  rmq binding list\n  rmq binding list --exchange amq.topic --destination jobs -o json",
		Args:    env.Exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := e.Admin()
			if err != nil {
				return err
			}
			bindings, err := c.Bindings(cmd.Context(), q)
			if err != nil {
				return err
			}
			bindings = slices.DeleteFunc(bindings, func(b adminapi.Binding) bool {
				return source != "" && b.Source != source || destination != "" && b.Destination != destination
			})
			return e.Print(env.View{Schema: adminapi.SchemaBindings, Data: bindings, Tables: []env.Table{table(bindings)}, Empty: "no bindings"})
		},
	}
	cmd.Flags().StringVar(&source, "exchange", "", "only from this exchange")
	cmd.Flags().StringVar(&destination, "destination", "", "only to this queue or exchange")
	env.ListFlags(cmd.Flags(), &q)
	e.BrokerFlags(cmd.Flags())
	return cmd
}
