package user

import (
	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/cli/env"
)

func newAlter(e *env.Env) *cobra.Command {
	var p put
	var password bool
	cmd := &cobra.Command{
		Use:               "alter USER",
		Short:             "Change a user's password or tags",
		Long:              "Change a user's password or tags. What is not given stays.",
		Example:           "  rmq user alter ann --ask-password\n  rmq user alter ann --tag administrator",
		Args:              env.Exactly("USER"),
		ValidArgsFunction: e.Complete(names),
		RunE: func(cmd *cobra.Command, args []string) error {
			p.spec.Name = args[0]
			if !password && !p.stdin && !p.generate && p.spec.Tags == nil {
				return &env.Failure{Exit: env.Usage, What: "nothing to change", Hint: "give --ask-password or --tag"}
			}
			c, err := e.Admin()
			if err != nil {
				return err
			}
			u, err := c.User(cmd.Context(), args[0])
			if err != nil {
				return env.NamedNotFound(err, "rmq user alter", args[0], func() []string { return env.Names(names).List(cmd.Context(), c) })
			}
			if p.change.DryRun {
				e.Say("would alter user %s", env.Clean(args[0]))
				return e.PrintMachine(view(u))
			}
			if err := p.secret(e, password); err != nil {
				return err
			}
			return p.send(cmd.Context(), e, c)
		},
	}
	p.flags(e, cmd)
	cmd.Flags().BoolVar(&password, "ask-password", false, "ask for a new password on the terminal")
	return cmd
}
