package queue

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

func newDelete(e *env.Env) *cobra.Command {
	var namespace string
	var o adminapi.DeleteQueueOptions
	return e.RemovalCommand(env.Removal{
		Verb: "delete", Noun: "queue",
		Short:   "Delete queues with the messages in them",
		Example: "  rmq queue delete jobs\n  rmq queue delete jobs --if-empty --if-unused --yes",
		Flags: func(fs *pflag.FlagSet) {
			env.NamespaceFlag(fs, &namespace)
			fs.BoolVar(&o.IfEmpty, "if-empty", false, "refuse while it holds messages")
			fs.BoolVar(&o.IfUnused, "if-unused", false, "refuse while it has consumers")
		},
		Names: names,
		Find: func(ctx context.Context, c *adminapi.Client, name string) error {
			_, err := c.Queue(ctx, adminapi.Ref{Namespace: namespace, Name: name})
			return err
		},
		Remove: func(ctx context.Context, c *adminapi.Client, name string) (*int64, error) {
			n, err := c.DeleteQueue(ctx, adminapi.Ref{Namespace: namespace, Name: name}, o)
			return &n, err
		},
	})
}
