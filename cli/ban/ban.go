// Package ban holds the commands about bans: who is kept out of every protocol.
package ban

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

// Command returns `rmq ban`.
func Command(e *env.Env) *cobra.Command {
	return env.Noun("ban", "Bans: who is kept out, in every protocol", newList(e), newAdd(e), newRemove(e))
}

const about = "WHO is client:ID of MQTT, user:NAME, or host:ADDRESS, where the address may be a range (10.0.0.0/8). Of several, all must be\n" +
	"so. The administration API stays open to who is banned, so that a ban can be taken back."

// who reads whom a ban is about.
func who(args []string) (b acl.Ban, err error) {
	for _, arg := range args {
		kind, value, _ := strings.Cut(arg, ":")
		field := map[string]*string{"client": &b.Client, "user": &b.User, "host": &b.Host}[kind]
		switch {
		case field == nil || value == "":
			return b, env.Failf(env.Usage, "%s is none of client:ID, user:NAME, host:ADDRESS", env.Quote(arg))
		case *field != "":
			return b, env.Failf(env.Usage, "%s is said twice", kind)
		}
		*field = value
	}
	if err := b.Check(); err != nil {
		return b, env.Failf(env.Usage, "%v", err)
	}
	return b.Canonical(), nil
}

func newAdd(e *env.Env) *cobra.Command {
	var reason string
	var change env.Change
	var lasts env.Duration
	cmd := &cobra.Command{
		Use:   "add WHO...",
		Short: "Keep a client, a user or an address out",
		Long: "Keep a client, a user or an address out.\n\n" + about + "\n\nConnections that it is about end at once, on every node; a client of Kafka's at its next request. " +
			"Adding one of the\nsame subject again replaces it.",
		Example: "  rmq ban add client:dev1 --for 1h --reason 'sends too much'\n  rmq ban add host:192.0.2.0/24\n  rmq ban add user:ann host:10.0.0.7",
		Args:    env.AtLeast("WHO"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ban, err := who(args)
			if err != nil {
				return err
			}
			ban.Reason = reason
			if lasts > 0 {
				ban.Until = e.Now().Add(time.Duration(lasts)).UTC()
			}
			c, err := e.Admin()
			if err != nil {
				return err
			}
			if change.DryRun {
				e.Say("would keep out %s", env.Clean(ban.Who()))
				return e.PrintMachine(view(adminapi.SchemaBan, ban, ban))
			}
			b, err := c.PutBan(cmd.Context(), ban)
			if err != nil {
				return err
			}
			return e.PrintMachine(view(adminapi.SchemaBan, b, b))
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for other operators")
	cmd.Flags().Var(&lasts, "for", "how long it holds (default: until it is removed)")
	change.Flags(cmd.Flags(), false)
	e.BrokerFlags(cmd.Flags())
	return cmd
}

func newRemove(e *env.Env) *cobra.Command {
	var change env.Change
	cmd := &cobra.Command{
		Use:     "remove WHO...",
		Short:   "Take a ban back",
		Long:    "Take a ban back: the one that was added with the same words.\n\n" + about,
		Example: "  rmq ban remove client:dev1\n  rmq ban remove user:ann host:10.0.0.7",
		Args:    env.AtLeast("WHO"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ban, err := who(args)
			if err != nil {
				return err
			}
			c, err := e.Admin()
			if err != nil {
				return err
			}
			if change.DryRun {
				e.Say("would no longer keep out %s", env.Clean(ban.Who()))
				return nil
			}
			if err := c.DeleteBan(cmd.Context(), ban); env.Missing(err) {
				f := env.Failf(env.NotFound, "there is no ban of %s", env.Clean(ban.Who()))
				f.Hint = "rmq ban list"
				return f
			} else if err != nil {
				return err
			}
			return e.PrintMachine(view(adminapi.SchemaBan, ban, ban))
		},
	}
	change.Flags(cmd.Flags(), false)
	e.BrokerFlags(cmd.Flags())
	return cmd
}

func newList(e *env.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List who is kept out, why, and until when",
		Example: "  rmq ban list\n  rmq ban list -o json",
		Args:    env.Exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := e.Admin()
			if err != nil {
				return err
			}
			bans, err := c.Bans(cmd.Context())
			if err != nil {
				return err
			}
			return e.Print(view(adminapi.SchemaBans, bans, bans...))
		},
	}
	e.BrokerFlags(cmd.Flags())
	return cmd
}

func view(schema string, data any, bans ...acl.Ban) env.View {
	t := env.Table{Head: []string{"CLIENT", "USER", "HOST", "SINCE", "UNTIL", "BY", "REASON"}}
	for i := range bans {
		b := &bans[i]
		t.Rows = append(t.Rows, []any{b.Client, b.User, b.Host, b.Since, b.Until, b.By, b.Reason})
	}
	return env.View{Schema: schema, Data: data, Tables: []env.Table{t}, Empty: "nobody is kept out"}
}
