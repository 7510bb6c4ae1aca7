package binding

import (
	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

func newCreate(e *env.Env) *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use:     "create EXCHANGE DESTINATION",
		Short:   "Bind a queue or an exchange to an exchange",
		Example: "  rmq binding create amq.topic jobs --key 'jobs.#'\n  rmq binding create events audit --to-exchange",
		Args:    env.Exactly("EXCHANGE", "DESTINATION"),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := f.read(args)
			if err != nil {
				return err
			}
			c, err := e.Admin()
			if err != nil {
				return err
			}
			v := env.View{Schema: adminapi.SchemaBinding, Data: b, Tables: []env.Table{table([]adminapi.Binding{b})}}
			if f.change.DryRun {
				e.Say("would bind %s to exchange %s", env.Clean(b.Destination), env.Clean(b.Source))
				return e.PrintMachine(v)
			}
			if err := c.Bind(cmd.Context(), b); err != nil {
				return err
			}
			return e.PrintMachine(v)
		},
	}
	f.add(e, cmd, false)
	return cmd
}
