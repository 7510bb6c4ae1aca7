package binding

import (
	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

func newDelete(e *env.Env) *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use:     "delete EXCHANGE DESTINATION",
		Short:   "Take a binding away",
		Example: "  rmq binding delete amq.topic jobs --key 'jobs.#' --yes",
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
			if err := e.Confirm(f.change, "delete the binding from "+env.Clean(b.Source)+" to "+env.Clean(b.Destination)); err != nil {
				return err
			}
			v := env.View{Schema: adminapi.SchemaBinding, Data: b, Tables: []env.Table{table([]adminapi.Binding{b})}}
			if f.change.DryRun {
				e.Say("would take %s from exchange %s", env.Clean(b.Destination), env.Clean(b.Source))
				return e.PrintMachine(v)
			}
			if err := c.Unbind(cmd.Context(), b); err != nil {
				return env.WithHint(err, "see what leads there: rmq binding get %s %s", env.Quote(b.Source), env.Quote(b.Destination))
			}
			return e.PrintMachine(v)
		},
	}
	f.add(e, cmd, true)
	return cmd
}
