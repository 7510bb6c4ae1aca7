package acl

import (
	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/cli/env"
)

func newRemove(e *env.Env) *cobra.Command {
	var s spec
	cmd := &cobra.Command{
		Use:   "remove WHO ACTIONS RESOURCE",
		Short: "Take actions away from a rule",
		Long: "Take actions away from a rule, which goes when it has none left. With the same flags as when it was added.\n\n" + about + "\n\n" +
			"When the last rule goes, everybody may do everything again.",
		Example: "  rmq acl remove ann read 'sensors/#'\n  rmq acl remove '*' all 'secret/#' --deny",
		Args:    env.Exactly("WHO", "ACTIONS", "RESOURCE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := s.rule(args)
			if err != nil {
				return err
			}
			c, err := e.Admin()
			if err != nil {
				return err
			}
			v := view([]acl.Rule{r})
			if s.change.DryRun {
				e.Say("would no longer %s", env.Clean(r.String()))
				return e.PrintMachine(v)
			}
			n, err := c.DeleteRules(cmd.Context(), []acl.Rule{r})
			if err != nil {
				return err
			}
			if n == 0 {
				f := env.Failf(env.NotFound, "there is no rule to %s", env.Clean(r.String()))
				f.Hint = "rmq acl list"
				return f
			}
			return e.PrintMachine(v)
		},
	}
	s.flags(e, cmd)
	return cmd
}
