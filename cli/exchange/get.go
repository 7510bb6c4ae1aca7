package exchange

import (
	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

func newGet(e *env.Env) *cobra.Command {
	var namespace string
	cmd := &cobra.Command{
		Use:               "get EXCHANGE",
		Short:             "Show an exchange with its bindings",
		Example:           "  rmq exchange get amq.topic\n  rmq exchange get amq.default -o json",
		Args:              env.Exactly("EXCHANGE"),
		ValidArgsFunction: e.Complete(names),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := e.Admin()
			if err != nil {
				return err
			}
			x, err := c.Exchange(cmd.Context(), ref(namespace, args[0]))
			if err != nil {
				return env.NamedNotFound(err, "rmq exchange get", args[0], func() []string { return env.Names(names).List(cmd.Context(), c) })
			}
			bindings, err := c.Bindings(cmd.Context(), adminapi.Query{Namespace: namespace, Prefix: x.Name, Limit: adminapi.ListMax})
			if err != nil {
				return err
			}
			return e.Print(view(x, bindings))
		},
	}
	env.NamespaceFlag(cmd.Flags(), &namespace)
	e.BrokerFlags(cmd.Flags())
	return cmd
}
