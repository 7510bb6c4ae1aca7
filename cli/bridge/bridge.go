// Package bridge holds the commands about bridges: connections to other MQTT brokers, and what goes over
// them.
package bridge

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/setting"
	"github.com/robustmq/rmq/cli/env"
)

// Command returns `rmq bridge`.
func Command(e *env.Env) *cobra.Command {
	return env.Noun("bridge", "Bridges: what goes to other MQTT brokers, and comes from them",
		newList(e), newShow(e), newAdd(e), newRemove(e), newPause(e, true), newPause(e, false))
}

func names(ctx context.Context, c *adminapi.Client) ([]string, error) {
	all, err := c.Bridges(ctx)
	var out []string
	for _, b := range all {
		out = append(out, b.Name)
	}
	return out, err
}

func notFound(ctx context.Context, c *adminapi.Client, command, name string, err error) error {
	return env.NamedNotFound(err, command, name, func() []string { return env.Names(names).List(ctx, c) })
}

func newList(e *env.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List bridges, whether they are connected, and what waits to go out",
		Example: "  rmq bridge list\n  rmq bridge list -o json",
		Args:    env.Exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := e.Admin()
			if err != nil {
				return err
			}
			all, err := c.Bridges(cmd.Context())
			if err != nil {
				return err
			}
			t := env.Table{Head: []string{"BRIDGE", "STATE", "SINCE", "NODE", "QUEUED", "IN", "OUT", "URL", "ERROR"}}
			for _, b := range all {
				var in, out any // counted by another node
				if b.Traffic != nil {
					in, out = b.Traffic.In, b.Traffic.Out
				}
				problem := b.Error
				if b.State == adminapi.BridgePaused {
					problem = ""
				}
				t.Rows = append(t.Rows, []any{b.Name, b.State, env.Ago{At: b.Since, Now: e.Now()}, b.Node, b.Queued, in, out, b.URL, problem})
			}
			return e.Print(env.View{Schema: adminapi.SchemaBridges, Data: all, Tables: []env.Table{t}, Empty: "no bridges"})
		},
	}
	e.BrokerFlags(cmd.Flags())
	return cmd
}

func newShow(e *env.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "show BRIDGE",
		Short:             "Show a bridge with its routes and its last error",
		Example:           "  rmq bridge show cloud\n  rmq bridge show cloud -o json",
		Args:              env.Exactly("BRIDGE"),
		ValidArgsFunction: e.Complete(names),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := e.Admin()
			if err != nil {
				return err
			}
			b, err := c.Bridge(cmd.Context(), args[0])
			if err != nil {
				return notFound(cmd.Context(), c, "rmq bridge show", args[0], err)
			}
			return e.Print(view(e, b))
		},
	}
	e.BrokerFlags(cmd.Flags())
	return cmd
}

func newRemove(e *env.Env) *cobra.Command {
	return e.RemovalCommand(env.Removal{
		Verb: "remove", Noun: "bridge",
		Short:   "Remove bridges, and what waits to go out over them",
		Example: "  rmq bridge remove cloud\n  rmq bridge remove cloud --if-exists --yes",
		Names:   names,
		Find: func(ctx context.Context, c *adminapi.Client, name string) error {
			_, err := c.Bridge(ctx, name)
			return err
		},
		Remove: func(ctx context.Context, c *adminapi.Client, name string) (*int64, error) {
			return nil, c.RemoveBridge(ctx, name)
		},
	})
}

func newPause(e *env.Env, pause bool) *cobra.Command {
	var change env.Change
	verb, short := "resume", "Have a bridge that was paused connect again"
	if pause {
		verb, short = "pause", "Have a bridge disconnect: what is to go out waits, and nothing comes in"
	}
	cmd := &cobra.Command{
		Use:               verb + " BRIDGE",
		Short:             short,
		Example:           "  rmq bridge " + verb + " cloud",
		Args:              env.Exactly("BRIDGE"),
		ValidArgsFunction: e.Complete(names),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := e.Admin()
			if err != nil {
				return err
			}
			var b adminapi.Bridge
			if change.DryRun {
				b, err = c.Bridge(cmd.Context(), args[0])
			} else {
				b, err = c.PauseBridge(cmd.Context(), args[0], pause)
			}
			if err != nil {
				return notFound(cmd.Context(), c, "rmq bridge "+verb, args[0], err)
			}
			if change.DryRun {
				e.Say("would %s bridge %s", verb, env.Clean(b.Name))
			}
			return e.PrintMachine(view(e, b))
		},
	}
	change.Flags(cmd.Flags(), false)
	e.BrokerFlags(cmd.Flags())
	return cmd
}

func view(e *env.Env, b adminapi.Bridge) env.View {
	v := env.View{Schema: adminapi.SchemaBridge, Data: b, Fields: []env.Field{
		{Name: "bridge", Value: b.Name},
		{Name: "url", Value: b.URL},
		{Name: "mqtt version", Value: b.Protocol},
		{Name: "client id", Value: b.ClientID},
		{Name: "user", Value: b.Bridge.User},
		{Name: "keep alive s", Value: b.KeepAlive},
		{Name: "state", Value: b.State},
		{Name: "since", Value: env.Ago{At: b.Since, Now: e.Now()}},
		{Name: "node", Value: b.Node},
		{Name: "error", Value: b.Error},
		{Name: "error at", Value: b.ErrorAt},
		{Name: "queued", Value: b.Queued},
		{Name: "inflight", Value: b.Inflight},
	}}
	if t := b.Traffic; t != nil {
		v.Fields = append(v.Fields, env.Field{Name: "in", Value: t.In}, env.Field{Name: "out", Value: t.Out}, env.Field{Name: "dropped", Value: t.Dropped})
	}
	routes := env.Table{Title: "route", Head: []string{"ROUTE", "DIRECTION", "QOS", "HERE", "THERE"}}
	for i := range b.Routes {
		r := &b.Routes[i]
		routes.Rows = append(routes.Rows, []any{r.Filter, string(r.Direction), fmt.Sprint(r.QoS), r.LocalFilter(), r.RemoteFilter()})
	}
	v.Tables = []env.Table{routes}
	return v
}

// defaults of a route that does not say.
const (
	defaultDirection = setting.Out
	defaultQoS       = 1
)
