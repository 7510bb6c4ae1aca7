package user

import (
	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/cli/env"
)

func newGet(e *env.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "get USER",
		Short:             "Show a user with its tags",
		Example:           "  rmq user get ann\n  rmq user get ann -o json",
		Args:              env.Exactly("USER"),
		ValidArgsFunction: e.Complete(names),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := e.Admin()
			if err != nil {
				return err
			}
			u, err := c.User(cmd.Context(), args[0])
			if err != nil {
				return env.NamedNotFound(err, "rmq user get", args[0], func() []string { return env.Names(names).List(cmd.Context(), c) })
			}
			return e.Print(view(u))
		},
	}
	e.BrokerFlags(cmd.Flags())
	return cmd
}
