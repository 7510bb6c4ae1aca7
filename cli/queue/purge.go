package queue

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

func newPurge(e *env.Env) *cobra.Command {
	var namespace string
	return e.RemovalCommand(env.Removal{
		Verb: "purge", Noun: "queue",
		Short:   "Throw away the messages that are ready in queues",
		Example: "  rmq queue purge jobs --yes\n  rmq queue purge jobs --dry-run",
		Flags:   func(fs *pflag.FlagSet) { env.NamespaceFlag(fs, &namespace) },
		Names:   names,
		Find: func(ctx context.Context, c *adminapi.Client, name string) error {
			_, err := c.Queue(ctx, adminapi.Ref{Namespace: namespace, Name: name})
			return err
		},
		Remove: func(ctx context.Context, c *adminapi.Client, name string) (*int64, error) {
			n, err := c.PurgeQueue(ctx, adminapi.Ref{Namespace: namespace, Name: name})
			return &n, err
		},
	})
}
