package group

import (
	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

func newGet(e *env.Env) *cobra.Command {
	var namespace string
	var maxLag int64
	cmd := &cobra.Command{
		Use:               "get GROUP",
		Short:             "Show a group with its members, and offset and lag per partition",
		Example:           "  rmq group get billing\n  rmq group get billing --max-lag 100 -o json",
		Args:              env.Exactly("GROUP"),
		ValidArgsFunction: e.Complete(Names),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := e.Admin()
			if err != nil {
				return err
			}
			g, err := c.Group(cmd.Context(), adminapi.Ref{Namespace: namespace, Name: args[0]})
			if err != nil {
				return env.NamedNotFound(err, "rmq group get", args[0], func() []string { return env.Names(Names).List(cmd.Context(), c) })
			}
			if err := e.Print(view(g)); err != nil {
				return err
			}
			return lagVerdict(maxLag, g)
		},
	}
	cmd.Flags().Int64Var(&maxLag, "max-lag", -1, "exit with 9 when the group lags by more")
	env.NamespaceFlag(cmd.Flags(), &namespace)
	e.BrokerFlags(cmd.Flags())
	return cmd
}
