package session

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

func newList(e *env.Env) *cobra.Command {
	var q adminapi.Query
	var connected, away bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List sessions with their subscriptions, inflight and backlog",
		Example: "  rmq session list\n  rmq session list --away --prefix sensor- -o json",
		Args:    env.Exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if connected && away {
				return env.Failf(env.Usage, "--connected and --away together leave nothing")
			}
			c, err := e.Admin()
			if err != nil {
				return err
			}
			sessions, err := c.Sessions(cmd.Context(), q)
			if err != nil {
				return err
			}
			sessions = slices.DeleteFunc(sessions, func(s adminapi.Session) bool { return connected && !s.Connected || away && s.Connected })
			t := env.Table{Head: []string{"CLIENT", "STATE", "SINCE", "SUBS", "INFLIGHT", "BACKLOG", "EXPIRY-S", "REMOTE"}}
			for _, s := range sessions {
				t.Rows = append(t.Rows, []any{s.ClientID, state(s), env.Ago{At: s.Since, Now: e.Now()}, len(s.Subscriptions), s.Inflight, s.Backlog, expiry(s), s.Remote})
			}
			return e.Print(env.View{Schema: adminapi.SchemaSessions, Data: sessions, Tables: []env.Table{t}, Empty: "no sessions"})
		},
	}
	cmd.Flags().BoolVar(&connected, "connected", false, "only sessions with a client on them")
	cmd.Flags().BoolVar(&away, "away", false, "only sessions whose client is away")
	env.ListFlags(cmd.Flags(), &q)
	e.BrokerFlags(cmd.Flags())
	return cmd
}
