package acl

import (
	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/cli/env"
)

func newAdd(e *env.Env) *cobra.Command {
	var s spec
	cmd := &cobra.Command{
		Use:   "add WHO ACTIONS RESOURCE",
		Short: "Allow somebody to do something, or deny it",
		Long: "Allow somebody to do something, or deny it.\n\n" + about + "\n\n" +
			"Once there is a rule, what no rule allows is denied, save to administrators. It counts at once, also for who is\nconnected.",
		Example: "  rmq acl add ann read 'sensors/#'\n  rmq acl add '*' publish 'devices/%c/#'\n" +
			"  rmq acl add '*' all 'secret/#' --deny\n  rmq acl add billing read group:billing\n  rmq acl add billing read,describe orders. --begins",
		Args: env.Exactly("WHO", "ACTIONS", "RESOURCE"),
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
				e.Say("would %s", env.Clean(r.String()))
				return e.PrintMachine(v)
			}
			if _, err := c.PutRules(cmd.Context(), []acl.Rule{r}); err != nil {
				return err
			}
			return e.PrintMachine(v)
		},
	}
	s.flags(e, cmd)
	return cmd
}
