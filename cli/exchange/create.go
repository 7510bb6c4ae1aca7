package exchange

import (
	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

func newCreate(e *env.Env) *cobra.Command {
	var (
		x         adminapi.Exchange
		transient bool
		arguments []string
		ifAbsent  bool
		change    env.Change
	)
	cmd := &cobra.Command{
		Use:     "create EXCHANGE",
		Short:   "Create an exchange",
		Example: "  rmq exchange create events --type topic\n  rmq exchange create events --type fanout --alternate unrouted --if-not-exists",
		Args:    env.Exactly("EXCHANGE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			x.Name, x.Durable = args[0], !transient
			var err error
			if x.Arguments, err = env.Arguments(arguments); err != nil {
				return err
			}
			c, err := e.Admin()
			if err != nil {
				return err
			}
			if change.DryRun {
				e.Say("would create exchange %s", env.Clean(args[0]))
				return e.PrintMachine(view(x, nil))
			}
			// A broker takes a second declaration that says the same, as AMQP has it; who says
			// "create" wants to know.
			got, err := c.Exchange(cmd.Context(), ref(x.Namespace, x.Name))
			switch {
			case err == nil && !ifAbsent:
				err = env.Failf(env.Conflict, "exchange %s exists", args[0])
			case env.Missing(err):
				got, err = c.CreateExchange(cmd.Context(), x)
			}
			if err != nil {
				return env.HintExists(err, "add --if-not-exists, or see it: rmq exchange get "+env.Quote(args[0]))
			}
			return e.PrintMachine(view(got, nil))
		},
	}
	x.Type = "topic"
	cmd.Flags().Var(&env.Choice{Value: &x.Type, Of: []string{"direct", "fanout", "topic", "headers"}}, "type", "how it routes")
	cmd.Flags().BoolVar(&transient, "transient", false, "the exchange dies with the broker")
	cmd.Flags().BoolVar(&x.AutoDelete, "auto-delete", false, "the exchange dies with its last binding")
	cmd.Flags().BoolVar(&x.Internal, "internal", false, "only other exchanges may publish to it")
	cmd.Flags().StringVar(&x.Alternate, "alternate", "", "exchange that gets what this one cannot route")
	cmd.Flags().StringArrayVar(&arguments, "argument", nil, "AMQP argument, as name=value or name=type:value; repeatable")
	cmd.Flags().BoolVar(&ifAbsent, "if-not-exists", false, "one that exists is no failure")
	change.Flags(cmd.Flags(), false)
	env.NamespaceFlag(cmd.Flags(), &x.Namespace)
	e.BrokerFlags(cmd.Flags())
	return cmd
}
