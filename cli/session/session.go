// Package session holds the commands about MQTT sessions: what the broker keeps for a
// client, connected or not.
package session

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

// Command returns `rmq session`.
func Command(e *env.Env) *cobra.Command {
	return env.Noun("session", "MQTT sessions: what is kept for a client, connected or not",
		newList(e), newGet(e), newDelete(e), newSlow(e))
}

func names(ctx context.Context, c *adminapi.Client) ([]string, error) {
	sessions, err := c.Sessions(ctx, adminapi.Query{Limit: adminapi.ListMax})
	var out []string
	for _, s := range sessions {
		out = append(out, s.ClientID)
	}
	return out, err
}

func state(s adminapi.Session) string {
	if s.Connected {
		return "connected"
	}
	return "away"
}

func expiry(s adminapi.Session) any {
	if s.Expiry == adminapi.ExpiryNever {
		return "never"
	}
	return s.Expiry
}

func view(e *env.Env, s adminapi.Session) env.View {
	v := env.View{Schema: adminapi.SchemaSession, Data: s, Fields: []env.Field{
		{Name: "client id", Value: s.ClientID},
		{Name: "namespace", Value: s.Namespace},
		{Name: "user", Value: s.User},
		{Name: "mqtt version", Value: s.Version},
		{Name: "state", Value: state(s)},
		{Name: "since", Value: env.Ago{At: s.Since, Now: e.Now()}},
		{Name: "remote", Value: s.Remote},
		{Name: "transport", Value: s.Transport},
		{Name: "keep alive s", Value: s.KeepAlive},
		{Name: "topic aliases", Value: fmt.Sprintf("%d of %d", s.Aliases, s.AliasMax)},
		{Name: "expiry s", Value: expiry(s)},
		{Name: "expires at", Value: s.ExpiresAt},
		{Name: "inflight", Value: fmt.Sprintf("%d of %d", s.Inflight, s.InflightMax)},
		{Name: "backlog", Value: s.Backlog},
		{Name: "backlog bytes", Value: env.Bytes(s.BacklogBytes)},
		{Name: "dropped", Value: s.Dropped},
	}}
	if w := s.Will; w != nil {
		v.Fields = append(v.Fields, env.Field{Name: "will", Value: fmt.Sprintf("%s (QoS %d, %d bytes, after %d s)", w.Topic, w.QoS, w.Bytes, w.Delay)})
	}
	subs := env.Table{Title: "subscription", Head: []string{"SUBSCRIPTION", "QOS", "NO-LOCAL", "AS-PUBLISHED", "RETAIN-HANDLING", "ID"}}
	for _, x := range s.Subscriptions {
		subs.Rows = append(subs.Rows, []any{x.Filter, x.QoS, x.NoLocal, x.RetainAsPublished, x.RetainHandling, x.ID})
	}
	v.Tables = []env.Table{subs}
	return v
}
