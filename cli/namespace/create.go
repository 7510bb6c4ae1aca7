package namespace

import (
	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

func newCreate(e *env.Env) *cobra.Command {
	var (
		spec     adminapi.NamespaceSpec
		ifAbsent bool
		change   env.Change
	)
	cmd := &cobra.Command{
		Use:   "create NAMESPACE",
		Short: "Create a namespace",
		Long: "Create a namespace.\n\nTopics, queues and sessions that are made in it, and do not say their own durability, get that of --durability.\n" +
			env.DurabilityHelp,
		Example: "  rmq namespace create telemetry --durability async\n  rmq namespace create test --if-not-exists",
		Args:    env.Exactly("NAMESPACE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			spec.Name = args[0]
			c, err := e.Admin()
			if err != nil {
				return err
			}
			if change.DryRun {
				e.Say("would create namespace %s", env.Clean(args[0]))
				return e.PrintMachine(env.View{Schema: "rmq.namespacespec/1", Data: spec})
			}
			n, err := c.CreateNamespace(cmd.Context(), spec)
			if env.Exists(err) && ifAbsent {
				n, err = c.Namespace(cmd.Context(), args[0])
			}
			if err != nil {
				return env.HintExists(err, "add --if-not-exists, or change it: rmq namespace alter "+env.Quote(args[0]))
			}
			return e.PrintMachine(view(n))
		},
	}
	env.DurabilityFlag(cmd.Flags(), &spec.Durability, "of what is made in it (default: sync)")
	cmd.Flags().BoolVar(&ifAbsent, "if-not-exists", false, "one that exists is no failure")
	change.Flags(cmd.Flags(), false)
	e.BrokerFlags(cmd.Flags())
	return cmd
}
