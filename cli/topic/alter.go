package topic

import (
	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

func newAlter(e *env.Env) *cobra.Command {
	var (
		change    adminapi.TopicChange
		config    []string
		namespace string
		run       env.Change
	)
	cmd := &cobra.Command{
		Use:               "alter TOPIC",
		Short:             "Add partitions to a topic, or change its configuration",
		Example:           "  rmq topic alter orders --partitions 8\n  rmq topic alter orders --config retention.ms=3600000 --unset cleanup.policy",
		Args:              env.Exactly("TOPIC"),
		ValidArgsFunction: e.Complete(names),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, s := range config {
				name, value, err := env.Pair(s)
				if err != nil {
					return env.Failf(env.Usage, "--config: %v", err)
				}
				if change.Set == nil {
					change.Set = map[string]string{}
				}
				change.Set[name] = value
			}
			if change.Partitions == 0 && change.Set == nil && change.Delete == nil {
				return &env.Failure{Exit: env.Usage, What: "nothing to change", Hint: "give --partitions, --config or --unset"}
			}
			c, err := e.Admin()
			if err != nil {
				return err
			}
			ref := env.Ref(namespace, args[0])
			if run.DryRun {
				if _, err := c.Topic(cmd.Context(), ref); err != nil {
					return err
				}
				e.Say("would alter topic %s", env.Clean(args[0]))
				return e.PrintMachine(env.View{Schema: "rmq.topicchange/1", Data: change})
			}
			t, err := c.AlterTopic(cmd.Context(), ref, change)
			if err != nil {
				return env.NamedNotFound(err, "rmq topic alter", args[0], func() []string { return env.Names(names).List(cmd.Context(), c) })
			}
			return e.PrintMachine(view(t))
		},
	}
	cmd.Flags().IntVar(&change.Partitions, "partitions", 0, "new number of partitions, never fewer")
	cmd.Flags().StringArrayVar(&config, "config", nil, "setting by its Kafka name, as name=value; repeatable")
	cmd.Flags().StringArrayVar(&change.Delete, "unset", nil, "setting to put back to its default; repeatable")
	run.Flags(cmd.Flags(), false)
	env.NamespaceFlag(cmd.Flags(), &namespace)
	e.BrokerFlags(cmd.Flags())
	return cmd
}
