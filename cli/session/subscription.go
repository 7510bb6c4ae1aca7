package session

import (
	"cmp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/cli/env"
)

const schemaSubscriptions = "rmq.subs/1"

// held is a subscription and whose it is.
type held struct {
	ClientID  string `json:"client_id"`
	Namespace string `json:"namespace"`
	Connected bool   `json:"connected"`
	adminapi.Subscription
}

// Subscriptions returns `rmq sub`.
func Subscriptions(e *env.Env) *cobra.Command {
	return env.Noun("sub", "MQTT subscriptions of all sessions: who has asked for what", newSubList(e))
}

func newSubList(e *env.Env) *cobra.Command {
	var q adminapi.Query
	cmd := &cobra.Command{
		Use:   "list [TOPIC]",
		Short: "List the subscriptions of all sessions, or those that match a topic",
		Long: "List the subscriptions of all sessions, or those that match a topic.\n\n" +
			"Who would get a message, over every protocol and with the rules of access, is rmq explain's to say.",
		Example: "  rmq sub list\n  rmq sub list sensors/dev1/temp -o json",
		Args:    env.Between(nil, "TOPIC"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && strings.ContainsAny(args[0], "+#") {
				f := env.Failf(env.Usage, "%s is a filter, and a topic is matched", env.Clean(args[0]))
				f.Hint = "rmq sub list, without one, has them all"
				return f
			}
			c, err := e.Admin()
			if err != nil {
				return err
			}
			sessions, err := c.Sessions(cmd.Context(), q)
			if err != nil {
				return err
			}
			all := []held{}
			for _, s := range sessions {
				for _, x := range s.Subscriptions {
					if len(args) == 0 || matches(x.Filter, args[0]) {
						all = append(all, held{s.ClientID, s.Namespace, s.Connected, x})
					}
				}
			}
			slices.SortStableFunc(all, func(a, b held) int {
				return cmp.Or(strings.Compare(a.Filter, b.Filter), strings.Compare(a.ClientID, b.ClientID))
			})
			t := env.Table{Head: []string{"FILTER", "CLIENT", "QOS", "CONNECTED"}}
			for _, h := range all {
				t.Rows = append(t.Rows, []any{h.Filter, h.ClientID, h.QoS, h.Connected})
			}
			return e.Print(env.View{Schema: schemaSubscriptions, Data: all, Tables: []env.Table{t}, Empty: "no subscriptions"})
		},
	}
	env.ListFlags(cmd.Flags(), &q)
	e.BrokerFlags(cmd.Flags())
	return cmd
}

// matches tells whether a subscription, maybe a shared one, is for a topic.
func matches(filter, topic string) bool {
	if shared, ok := strings.CutPrefix(filter, "$share/"); ok {
		_, filter, _ = strings.Cut(shared, "/")
	}
	return message.MatchFilter(filter, topic)
}
