package topic

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
		Verb: "delete", Noun: "topic",
		Short:   "Delete topics with all their records",
		Example: "  rmq topic delete orders\n  rmq topic delete a b c --if-exists --yes",
		Flags:   func(fs *pflag.FlagSet) { env.NamespaceFlag(fs, &namespace) },
		Names:   names,
		Find: func(ctx context.Context, c *adminapi.Client, name string) error {
			_, err := c.Topic(ctx, env.Ref(namespace, name))
			return err
		},
		Remove: func(ctx context.Context, c *adminapi.Client, name string) (*int64, error) {
			return nil, c.DeleteTopic(ctx, env.Ref(namespace, name))
		},
	})
}
