package binding

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

func newGet(e *env.Env) *cobra.Command {
	var namespace string
	cmd := &cobra.Command{
		Use:     "get EXCHANGE DESTINATION",
		Short:   "Show the bindings from an exchange to a queue or exchange",
		Example: "  rmq binding get amq.topic jobs\n  rmq binding get amq.topic jobs -o json",
		Args:    env.Exactly("EXCHANGE", "DESTINATION"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := e.Admin()
			if err != nil {
				return err
			}
			bindings, err := c.Bindings(cmd.Context(), adminapi.Query{Namespace: namespace, Prefix: args[0], Limit: adminapi.ListMax})
			if err != nil {
				return err
			}
			bindings = slices.DeleteFunc(bindings, func(b adminapi.Binding) bool { return b.Source != args[0] || b.Destination != args[1] })
			if len(bindings) == 0 {
				f := env.Failf(env.NotFound, "nothing leads from exchange %s to %s", args[0], args[1])
				f.Hint = "rmq binding list --exchange " + env.Quote(args[0])
				return f
			}
			return e.Print(env.View{Schema: adminapi.SchemaBindings, Data: bindings, Tables: []env.Table{table(bindings)}})
		},
	}
	env.NamespaceFlag(cmd.Flags(), &namespace)
	e.BrokerFlags(cmd.Flags())
	return cmd
}
