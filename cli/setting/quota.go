package setting

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/setting"
	"github.com/robustmq/rmq/cli/env"
)

// Quota returns `rmq quota`.
func Quota(e *env.Env) *cobra.Command {
	n := &noun{
		kind: setting.KindQuota, name: "quota",
		short:   "List what users, client ids and listeners may do in a second",
		empty:   "no quotas are set",
		head:    []string{"FOR", "QUOTA"},
		deletes: "Let users, client ids and listeners do what they like",
		example: "user:ann",
		row: func(s *setting.Setting) ([]any, error) {
			var q setting.Quota
			err := s.Read(&q)
			return []any{quotaText(q)}, err
		},
	}
	return env.Noun("quota", "What users, client ids and listeners may do in a second, on each node", n.list(e), quotaSet(e, n), n.delete(e))
}

func quotaText(q setting.Quota) string {
	var parts []string
	for _, key := range env.SortedKeys(q) {
		parts = append(parts, key+"="+strconv.FormatFloat(q[key], 'f', -1, 64))
	}
	return strings.Join(parts, " ")
}

func quotaSet(e *env.Env, n *noun) *cobra.Command {
	var namespace string
	var change env.Change
	cmd := &cobra.Command{
		Use:   "set FOR KEY=VALUE...",
		Short: "Set what users, client ids or a listener may do in a second",
		Long: "Set what users, client ids or a listener may do in a second, together, on each node. What is not named stays as it\n" +
			"is; 0 takes a key away.\n\nFOR is\n" +
			"  user:NAME            a user\n" +
			"  client:ID            a client id of Kafka\n" +
			"  user:NAME/client:ID  a client id of Kafka, with that user\n" +
			"  listener:PORT        who comes to a port over MQTT, or to a Unix socket: its path\n" +
			"with + for every one that has no quota of its own, and names written as in a URL where they have / or +.\n\nKEY is\n" +
			"  producer_byte_rate   bytes that clients of Kafka may produce\n" +
			"  consumer_byte_rate   bytes that they may fetch\n" +
			"  request_percentage   of a processor's time for their requests\n" +
			"  mqtt_message_rate    messages that clients of MQTT may publish; users and listeners\n" +
			"  mqtt_byte_rate       bytes of these, packets as a whole\n" +
			"  mqtt_connection_rate clients of MQTT that may connect\n\n" +
			"It counts at once, on every node. Kafka's tools see and alter the quotas of users and client ids.",
		Example: "  rmq quota set user:ann producer_byte_rate=1MiB consumer_byte_rate=4MiB\n" +
			"  rmq quota set user:+ mqtt_message_rate=100\n" +
			"  rmq quota set listener:1883 mqtt_byte_rate=10MiB mqtt_connection_rate=50",
		Args: env.AtLeast("FOR KEY=VALUE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				return env.Failf(env.Usage, "KEY=VALUE is missing")
			}
			f, err := setting.ParseQuotaFor(args[0])
			if err != nil {
				return env.Failf(env.Usage, "%v", err)
			}
			q, err := quotaOf(cmd.Context(), e, namespace, f.String())
			if err != nil {
				return err
			}
			for _, arg := range args[1:] {
				key, text, err := env.Pair(arg)
				if err != nil {
					return env.Failf(env.Usage, "%v", err)
				}
				value, err := rate(text)
				if err != nil {
					return env.Failf(env.Usage, "%s: %v", key, err)
				}
				if q[key] = value; value == 0 {
					delete(q, key)
				}
			}
			if len(q) == 0 {
				f := env.Failf(env.Usage, "nothing would be left of the quota")
				f.Hint = "rmq quota delete " + env.Quote(args[0])
				return f
			}
			return n.put(cmd, e, &change, namespace, f.String(), q)
		},
	}
	env.NamespaceFlag(cmd.Flags(), &namespace)
	change.Flags(cmd.Flags(), false)
	e.BrokerFlags(cmd.Flags())
	return cmd
}

// quotaOf is what is set now.
func quotaOf(ctx context.Context, e *env.Env, namespace, name string) (setting.Quota, error) {
	c, err := e.Admin()
	if err != nil {
		return nil, err
	}
	all, err := c.Settings(ctx, namespace, setting.KindQuota)
	if err != nil {
		return nil, err
	}
	q := make(setting.Quota)
	for i := range all {
		if all[i].Name == name {
			err = all[i].Read(&q)
		}
	}
	if err != nil {
		return nil, &adminapi.Error{Code: "internal", Message: fmt.Sprintf("the quota of %s: %v", name, err)}
	}
	return q, nil
}

// rate reads a number or a size.
func rate(text string) (float64, error) {
	if f, err := strconv.ParseFloat(text, 64); err == nil {
		return f, nil
	}
	n, err := env.ParseSize(text)
	return float64(n), err
}
