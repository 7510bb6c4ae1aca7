package session

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

const slowThreshold = "mqtt.slow.threshold"

func newSlow(e *env.Env) *cobra.Command {
	limit := 0
	cmd := &cobra.Command{
		Use:   "slow",
		Short: "List the clients that were slow to take messages lately, the slowest first",
		Long: "List the clients that were slow to take messages lately, the slowest first: by client and topic, how long the\n" +
			"last slow delivery took from the message's arrival in the broker until the client had acknowledged it, or, at\n" +
			"QoS 0, until it was written to its socket. What waited for a client that was away does not count.\n\n" +
			"Nothing is timed until a setting says from when on a delivery is slow: mqtt.slow.threshold. Entries stay for\n" +
			"mqtt.slow.window, and each node keeps as many as mqtt.slow.top says. All nodes of a cluster are asked.",
		Example: "  rmq session slow\n  rmq session slow --limit 3 -o json\n  rmq config set mqtt.slow.threshold=500ms",
		Args:    env.Exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			nodes, warnings, err := e.EveryNode(ctx)
			if err != nil {
				return err
			}
			lists, more, err := env.AskEvery(ctx, nodes, func(ctx context.Context, n env.NodeClient) ([]adminapi.Slow, error) { return n.Slow(ctx) })
			if err != nil {
				return err
			}
			all := slices.Concat(lists...)
			slices.SortStableFunc(all, func(a, b adminapi.Slow) int { return cmp.Compare(b.Latency, a.Latency) })
			if limit > 0 && len(all) > limit {
				all = all[:limit]
			}
			t := env.Table{Head: []string{"CLIENT", "TOPIC", "QOS", "LATENCY", "COUNT", "LAST", "NODE"}}
			for _, s := range all {
				t.Rows = append(t.Rows, []any{
					s.ClientID, s.Topic, s.QoS, time.Duration(s.Latency * float64(time.Second)).Round(time.Millisecond), s.Count, env.Ago{At: s.At, Now: e.Now()}, s.Node,
				})
			}
			v := env.View{Schema: adminapi.SchemaSlow, Data: all, Warnings: append(warnings, more...), Tables: []env.Table{t}, Empty: "no client was slow"}
			if len(all) == 0 {
				v.Data = []adminapi.Slow{}
				if options, err := nodes[0].Options(ctx); err == nil && slices.ContainsFunc(options, func(o adminapi.Option) bool { return o.Name == slowThreshold && o.Value == "0s" }) {
					v.Empty = "nothing is timed: rmq config set " + slowThreshold + "=500ms"
				}
			}
			return e.Print(v)
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 0, "at most that many; 0: all")
	e.BrokerFlags(cmd.Flags())
	return cmd
}
