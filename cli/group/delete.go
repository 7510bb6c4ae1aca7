package group

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

func newDelete(e *env.Env) *cobra.Command {
	var namespace string
	return e.RemovalCommand(env.Removal{
		Verb: "delete", Noun: "group",
		Short:   "Delete groups that have no members, with their offsets",
		Example: "  rmq group delete billing\n  rmq group delete billing --if-exists --yes",
		Flags:   func(fs *pflag.FlagSet) { env.NamespaceFlag(fs, &namespace) },
		Names:   Names,
		Find: func(ctx context.Context, c *adminapi.Client, name string) error {
			_, err := c.Group(ctx, adminapi.Ref{Namespace: namespace, Name: name})
			return err
		},
		Remove: func(ctx context.Context, c *adminapi.Client, name string) (*int64, error) {
			return nil, c.DeleteGroup(ctx, adminapi.Ref{Namespace: namespace, Name: name})
		},
	})
}
