package queue

import (
	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

func newCreate(e *env.Env) *cobra.Command {
	var (
		spec      adminapi.QueueSpec
		transient bool
		arguments []string
		ifAbsent  bool
		change    env.Change
	)
	cmd := &cobra.Command{
		Use:   "create QUEUE",
		Short: "Create a queue",
		Long: "Create a queue.\n\nArguments are AMQP's, with their type: x-message-ttl=int:60000, x-overflow=str:reject-publish. A number without\na type is an int, anything else a str.\n" +
			env.DurabilityHelp,
		Example: "  rmq queue create jobs\n  rmq queue create jobs --argument x-max-length=1000 --if-not-exists",
		Args:    env.Exactly("QUEUE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			spec.Name, spec.Durable = args[0], !transient
			var err error
			if spec.Arguments, err = env.Arguments(arguments); err != nil {
				return err
			}
			c, err := e.Admin()
			if err != nil {
				return err
			}
			if change.DryRun {
				e.Say("would create queue %s", env.Clean(args[0]))
				return e.PrintMachine(env.View{Schema: "rmq.queuespec/1", Data: spec})
			}
			// A broker takes a second declaration that says the same, as AMQP has it; who says
			// "create" wants to know.
			q, err := c.Queue(cmd.Context(), adminapi.Ref{Namespace: spec.Namespace, Name: spec.Name})
			switch {
			case err == nil && !ifAbsent:
				err = env.Failf(env.Conflict, "queue %s exists", args[0])
			case env.Missing(err):
				q, err = c.CreateQueue(cmd.Context(), spec)
			}
			if err != nil {
				return env.HintExists(err, "add --if-not-exists, or see it: rmq queue get "+env.Quote(args[0]))
			}
			return e.PrintMachine(view(q))
		},
	}
	cmd.Flags().BoolVar(&transient, "transient", false, "the queue dies with the broker")
	env.DurabilityFlag(cmd.Flags(), &spec.Durability, "for ever (default: the namespace's)")
	cmd.Flags().BoolVar(&spec.AutoDelete, "auto-delete", false, "the queue dies with its last consumer")
	cmd.Flags().StringArrayVar(&arguments, "argument", nil, "AMQP argument, as name=value or name=type:value; repeatable")
	cmd.Flags().BoolVar(&ifAbsent, "if-not-exists", false, "one that exists is no failure")
	change.Flags(cmd.Flags(), false)
	env.NamespaceFlag(cmd.Flags(), &spec.Namespace)
	e.BrokerFlags(cmd.Flags())
	return cmd
}
