package session

import (
	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

func newGet(e *env.Env) *cobra.Command {
	var namespace string
	cmd := &cobra.Command{
		Use:               "get CLIENT",
		Short:             "Show a session with its subscriptions and will",
		Example:           "  rmq session get dev1\n  rmq session get dev1 -o json",
		Args:              env.Exactly("CLIENT"),
		ValidArgsFunction: e.Complete(names),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := e.Admin()
			if err != nil {
				return err
			}
			s, err := c.Session(cmd.Context(), adminapi.Ref{Namespace: namespace, Name: args[0]})
			if err != nil {
				return env.NamedNotFound(err, "rmq session get", args[0], func() []string { return env.Names(names).List(cmd.Context(), c) })
			}
			return e.Print(view(e, s))
		},
	}
	env.NamespaceFlag(cmd.Flags(), &namespace)
	e.BrokerFlags(cmd.Flags())
	return cmd
}
