package namespace

import (
	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/cli/env"
)

func newGet(e *env.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "get NAMESPACE",
		Short:             "Show a namespace",
		Example:           "  rmq namespace get /\n  rmq namespace get telemetry -o json",
		Args:              env.Exactly("NAMESPACE"),
		ValidArgsFunction: e.Complete(names),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := e.Admin()
			if err != nil {
				return err
			}
			n, err := c.Namespace(cmd.Context(), args[0])
			if err != nil {
				return env.NamedNotFound(err, "rmq namespace get", args[0], func() []string { return env.Names(names).List(cmd.Context(), c) })
			}
			return e.Print(view(n))
		},
	}
	e.BrokerFlags(cmd.Flags())
	return cmd
}
