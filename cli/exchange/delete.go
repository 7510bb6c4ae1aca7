package exchange

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

func newDelete(e *env.Env) *cobra.Command {
	var namespace string
	var o adminapi.DeleteExchangeOptions
	return e.RemovalCommand(env.Removal{
		Verb: "delete", Noun: "exchange",
		Short:   "Delete exchanges with their bindings",
		Example: "  rmq exchange delete events\n  rmq exchange delete events --if-unused --yes",
		Flags: func(fs *pflag.FlagSet) {
			env.NamespaceFlag(fs, &namespace)
			fs.BoolVar(&o.IfUnused, "if-unused", false, "refuse while something is bound to it")
		},
		Names: names,
		Find: func(ctx context.Context, c *adminapi.Client, name string) error {
			_, err := c.Exchange(ctx, ref(namespace, name))
			return err
		},
		Remove: func(ctx context.Context, c *adminapi.Client, name string) (*int64, error) {
			return nil, c.DeleteExchange(ctx, ref(namespace, name), o)
		},
	})
}
