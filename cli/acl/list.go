package acl

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/cli/env"
)

func newList(e *env.Env) *cobra.Command {
	var who string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the rules of access",
		Example: "  rmq acl list\n  rmq acl list --who ann -o json",
		Args:    env.Exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := e.Admin()
			if err != nil {
				return err
			}
			rules, err := c.Rules(cmd.Context())
			if err != nil {
				return err
			}
			if who != "" {
				rules = slices.DeleteFunc(rules, func(r acl.Rule) bool { return r.User != "" && r.User != who })
			}
			return e.Print(view(rules))
		},
	}
	cmd.Flags().StringVar(&who, "who", "", "only rules that are about this user, those about everybody included")
	e.BrokerFlags(cmd.Flags())
	return cmd
}
