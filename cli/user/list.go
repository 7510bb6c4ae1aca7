package user

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

func newList(e *env.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List users",
		Example: "  rmq user list\n  rmq user list -o json",
		Args:    env.Exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := e.Admin()
			if err != nil {
				return err
			}
			users, err := c.Users(cmd.Context())
			if err != nil {
				return err
			}
			t := env.Table{Head: []string{"USER", "TAGS"}}
			for _, u := range users {
				t.Rows = append(t.Rows, []any{u.Name, strings.Join(u.Tags, " ")})
			}
			return e.Print(env.View{
				Schema: adminapi.SchemaUsers, Data: users, Tables: []env.Table{t},
				Empty: "no users: everyone on this machine is let in, nobody from elsewhere",
			})
		},
	}
	e.BrokerFlags(cmd.Flags())
	return cmd
}
