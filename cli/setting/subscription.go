package setting

import (
	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/setting"
	"github.com/robustmq/rmq/cli/env"
)

// Subscription returns `rmq subscription`.
func Subscription(e *env.Env) *cobra.Command {
	n := &noun{
		kind: setting.KindSubscription, name: "subscription",
		short:   "List the subscriptions that clients of MQTT are given",
		empty:   "no subscriptions: clients ask for theirs",
		head:    []string{"NAME", "FILTER", "QOS"},
		deletes: "Give subscriptions no more to clients that connect",
		example: "orders",
		row: func(s *setting.Setting) ([]any, error) {
			var sub setting.Subscription
			err := s.Read(&sub)
			return []any{sub.Filter, sub.QoS}, err
		},
	}
	return env.Noun("subscription", "Subscriptions that clients of MQTT have from when they connect, unasked", n.list(e), subscriptionSet(e, n), n.delete(e))
}

func subscriptionSet(e *env.Env, n *noun) *cobra.Command {
	var namespace string
	var change env.Change
	var s setting.Subscription
	var qos int
	cmd := &cobra.Command{
		Use:   "set NAME FILTER",
		Short: "Set a subscription that clients of MQTT have from when they connect",
		Long: "Set a subscription that clients of MQTT have from when they connect, those that the rules of access allow it.\n\n" +
			"In FILTER, %c or ${clientid} stands for the client identifier, %u or ${username} for the user name; a client that has none,\n" +
			"or one that is more than a level, is not subscribed. It counts for who connects from now on.",
		Example: "  rmq subscription set orders 'orders/%c/#' --qos 1\n  rmq subscription set news news/#",
		Args:    env.Exactly("NAME", "FILTER"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if qos < 0 || qos > 2 {
				return env.Failf(env.Usage, "--qos %d: 0, 1 or 2", qos)
			}
			s.Filter, s.QoS = args[1], uint8(qos)
			return n.put(cmd, e, &change, namespace, args[0], s)
		},
	}
	f := cmd.Flags()
	f.IntVar(&qos, "qos", 0, "the highest quality of service")
	f.BoolVar(&s.NoLocal, "no-local", false, "not what the client publishes itself")
	f.BoolVar(&s.RetainAsPublished, "retain-as-published", false, "the RETAIN flag as it was published")
	f.Uint8Var(&s.RetainHandling, "retain-handling", 0, "retained messages: 0 at each connect, 1 when it is new, 2 never")
	env.NamespaceFlag(f, &namespace)
	change.Flags(f, false)
	e.BrokerFlags(f)
	return cmd
}
