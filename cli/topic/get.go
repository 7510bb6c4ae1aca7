package topic

import (
	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/cli/env"
)

func newGet(e *env.Env) *cobra.Command {
	var namespace string
	cmd := &cobra.Command{
		Use:               "get TOPIC",
		Short:             "Show a topic with its partitions and configuration",
		Long:              "Show a topic with its partitions and configuration.\n\nTOPIC is in MQTT's spelling (orders/eu) or Kafka's (orders.eu); kafka:orders.eu says which.",
		Example:           "  rmq topic get sensors\n  rmq topic get kafka:orders.eu -o json",
		Args:              env.Exactly("TOPIC"),
		ValidArgsFunction: e.Complete(names),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := e.Admin()
			if err != nil {
				return err
			}
			t, err := c.Topic(cmd.Context(), env.Ref(namespace, args[0]))
			if err != nil {
				return env.NamedNotFound(err, "rmq topic get", args[0], func() []string { return env.Names(names).List(cmd.Context(), c) })
			}
			return e.Print(view(t))
		},
	}
	env.NamespaceFlag(cmd.Flags(), &namespace)
	e.BrokerFlags(cmd.Flags())
	return cmd
}
