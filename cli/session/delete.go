package session

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
		Verb: "delete", Noun: "session",
		Short:   "End sessions, and disconnect who is on them",
		Example: "  rmq session delete dev1\n  rmq session delete dev1 dev2 --yes",
		Flags:   func(fs *pflag.FlagSet) { env.NamespaceFlag(fs, &namespace) },
		Names:   names,
		Find: func(ctx context.Context, c *adminapi.Client, name string) error {
			_, err := c.Session(ctx, adminapi.Ref{Namespace: namespace, Name: name})
			return err
		},
		Remove: func(ctx context.Context, c *adminapi.Client, name string) (*int64, error) {
			return nil, c.DeleteSession(ctx, adminapi.Ref{Namespace: namespace, Name: name})
		},
	})
}
