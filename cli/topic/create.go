package topic

import (
	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

func newCreate(e *env.Env) *cobra.Command {
	var (
		spec     adminapi.TopicSpec
		config   []string
		ifAbsent bool
		change   env.Change
	)
	cmd := &cobra.Command{
		Use:   "create TOPIC",
		Short: "Create a topic",
		Long: "Create a topic.\n\nTOPIC is in MQTT's spelling unless it begins with kafka: or amqp:. It becomes home to every message\n" +
			"whose address is its name or below it, unless --exact keeps those out.\n" +
			env.DurabilityHelp,
		Example: "  rmq topic create orders --partitions 4 --config retention.ms=86400000\n  rmq topic create telemetry --durability async\n  rmq topic create kafka:orders.eu --if-not-exists",
		Args:    env.Exactly("TOPIC"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref := env.Ref(spec.Namespace, args[0])
			spec.Name, spec.Spelling = ref.Name, ref.Spelling
			for _, s := range config {
				name, value, err := env.Pair(s)
				if err != nil {
					return env.Failf(env.Usage, "--config: %v", err)
				}
				if spec.Config == nil {
					spec.Config = map[string]string{}
				}
				spec.Config[name] = value
			}
			c, err := e.Admin()
			if err != nil {
				return err
			}
			if change.DryRun {
				e.Say("would create topic %s", env.Clean(args[0]))
				return e.PrintMachine(env.View{Schema: "rmq.topicspec/1", Data: spec})
			}
			t, err := c.CreateTopic(cmd.Context(), spec)
			if env.Exists(err) && ifAbsent {
				t, err = c.Topic(cmd.Context(), ref)
			}
			if err != nil {
				return env.HintExists(err, "add --if-not-exists, or see it: rmq topic get "+env.Quote(args[0]))
			}
			return e.PrintMachine(view(t))
		},
	}
	cmd.Flags().IntVar(&spec.Partitions, "partitions", 0, "number of partitions; 0 is the broker's default")
	cmd.Flags().StringArrayVar(&config, "config", nil, "setting by its Kafka name, as name=value; repeatable")
	env.DurabilityFlag(cmd.Flags(), &spec.Durability, "for ever (default: the namespace's)")
	cmd.Flags().BoolVar(&spec.Exact, "exact", false, "keep messages below its name out of it")
	cmd.Flags().BoolVar(&ifAbsent, "if-not-exists", false, "one that exists is no failure")
	change.Flags(cmd.Flags(), false)
	env.NamespaceFlag(cmd.Flags(), &spec.Namespace)
	e.BrokerFlags(cmd.Flags())
	return cmd
}
