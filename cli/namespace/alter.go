package namespace

import (
	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

func newAlter(e *env.Env) *cobra.Command {
	var (
		spec   adminapi.NamespaceSpec
		change env.Change
	)
	cmd := &cobra.Command{
		Use:   "alter NAMESPACE",
		Short: "Change what is promised of what is made in a namespace from now on",
		Long: "Change what is promised of what is made in a namespace from now on.\n\nWhat is there keeps the durability that it has.\n" +
			env.DurabilityHelp,
		Example:           "  rmq namespace alter / --durability async\n  rmq namespace alter telemetry --durability sync --dry-run",
		Args:              env.Exactly("NAMESPACE"),
		ValidArgsFunction: e.Complete(names),
		RunE: func(cmd *cobra.Command, args []string) error {
			spec.Name = args[0]
			if spec.Durability == "" {
				return &env.Failure{Exit: env.Usage, What: "nothing to change", Hint: "give --durability"}
			}
			c, err := e.Admin()
			if err != nil {
				return err
			}
			notFound := func(err error) error {
				return env.NamedNotFound(err, "rmq namespace alter", args[0], func() []string { return env.Names(names).List(cmd.Context(), c) })
			}
			if change.DryRun {
				if _, err := c.Namespace(cmd.Context(), args[0]); err != nil {
					return notFound(err)
				}
				e.Say("would alter namespace %s", env.Clean(args[0]))
				return e.PrintMachine(env.View{Schema: "rmq.namespacespec/1", Data: spec})
			}
			n, err := c.AlterNamespace(cmd.Context(), spec)
			if err != nil {
				return notFound(err)
			}
			return e.PrintMachine(view(n))
		},
	}
	env.DurabilityFlag(cmd.Flags(), &spec.Durability, "of what is made in it from now on")
	change.Flags(cmd.Flags(), false)
	e.BrokerFlags(cmd.Flags())
	return cmd
}
