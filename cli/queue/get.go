package queue

import (
	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

func newGet(e *env.Env) *cobra.Command {
	var namespace string
	cmd := &cobra.Command{
		Use:               "get QUEUE",
		Short:             "Show a queue with its arguments",
		Example:           "  rmq queue get jobs\n  rmq queue get jobs -o json",
		Args:              env.Exactly("QUEUE"),
		ValidArgsFunction: e.Complete(names),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := e.Admin()
			if err != nil {
				return err
			}
			q, err := c.Queue(cmd.Context(), adminapi.Ref{Namespace: namespace, Name: args[0]})
			if err != nil {
				return env.NamedNotFound(err, "rmq queue get", args[0], func() []string { return env.Names(names).List(cmd.Context(), c) })
			}
			return e.Print(view(q))
		},
	}
	env.NamespaceFlag(cmd.Flags(), &namespace)
	e.BrokerFlags(cmd.Flags())
	return cmd
}
