package user

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

func newDelete(e *env.Env) *cobra.Command {
	return e.RemovalCommand(env.Removal{
		Verb: "delete", Noun: "user",
		Short:   "Delete users",
		Example: "  rmq user delete ann\n  rmq user delete ann --if-exists --yes",
		Names:   names,
		Find: func(ctx context.Context, c *adminapi.Client, name string) error {
			_, err := c.User(ctx, name)
			return err
		},
		Remove: func(ctx context.Context, c *adminapi.Client, name string) (*int64, error) {
			return nil, c.DeleteUser(ctx, name)
		},
	})
}
