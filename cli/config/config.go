// Package config holds the commands about settings: those of a running broker, the same on every node,
// and those of the command line.
package config

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

// Command returns `rmq config`; show is the command about the settings of commands.
func Command(e *env.Env, show *cobra.Command) *cobra.Command {
	return env.Noun("config", "Settings of a running broker and of commands, and where they come from",
		newList(e), newGet(e), newSet(e), newUnset(e), show)
}

func newList(e *env.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List what may be changed while the broker runs",
		Example: "  rmq config list\n  rmq config list -o json",
		Args:    env.Exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := e.Admin()
			if err != nil {
				return err
			}
			all, err := c.Options(cmd.Context())
			if err != nil {
				return err
			}
			return e.Print(view(all))
		},
	}
	e.BrokerFlags(cmd.Flags())
	return cmd
}

func newGet(e *env.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "get NAME...",
		Short:             "Show settings of a running broker",
		Example:           "  rmq config get mqtt.flapping.connections",
		Args:              env.AtLeast("NAME"),
		ValidArgsFunction: e.Complete(names),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := e.Admin()
			if err != nil {
				return err
			}
			all, err := c.Options(cmd.Context())
			if err != nil {
				return err
			}
			var some []adminapi.Option
			for _, name := range args {
				i := slices.IndexFunc(all, func(s adminapi.Option) bool { return s.Name == name })
				if i < 0 {
					return unknown(name, all)
				}
				some = append(some, all[i])
			}
			return e.Print(view(some))
		},
	}
	e.BrokerFlags(cmd.Flags())
	return cmd
}

func newSet(e *env.Env) *cobra.Command {
	var change env.Change
	cmd := &cobra.Command{
		Use:   "set NAME=VALUE...",
		Short: "Change settings of a running broker",
		Long: "Change settings of a running broker. They are kept, and count on every node, for connections that are\n" +
			"there too, when the command returns.",
		Example: "  rmq config set mqtt.flapping.connections=15 mqtt.flapping.ban=10m",
		Args:    env.AtLeast("NAME=VALUE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			set := make(map[string]string)
			for _, arg := range args {
				name, value, err := env.Pair(arg)
				if err != nil {
					return env.Failf(env.Usage, "%v", err)
				}
				set[name] = value
			}
			return apply(e, cmd, adminapi.OptionsChange{Set: set}, change, env.SortedKeys(set))
		},
	}
	change.Flags(cmd.Flags(), false)
	e.BrokerFlags(cmd.Flags())
	return cmd
}

func newUnset(e *env.Env) *cobra.Command {
	var change env.Change
	cmd := &cobra.Command{
		Use:               "unset NAME...",
		Short:             "Have settings of a running broker take their defaults",
		Example:           "  rmq config unset mqtt.flapping.connections",
		Args:              env.AtLeast("NAME"),
		ValidArgsFunction: e.Complete(names),
		RunE: func(cmd *cobra.Command, args []string) error {
			return apply(e, cmd, adminapi.OptionsChange{Unset: args}, change, args)
		},
	}
	change.Flags(cmd.Flags(), false)
	e.BrokerFlags(cmd.Flags())
	return cmd
}

func apply(e *env.Env, cmd *cobra.Command, change adminapi.OptionsChange, how env.Change, names []string) error {
	c, err := e.Admin()
	if err != nil {
		return err
	}
	all, err := c.Options(cmd.Context())
	if err != nil {
		return err
	}
	for _, name := range names {
		if !slices.ContainsFunc(all, func(s adminapi.Option) bool { return s.Name == name }) {
			return unknown(name, all)
		}
	}
	if how.DryRun {
		e.Say("would change %d settings", len(names))
		return nil
	}
	if all, err = c.ChangeOptions(cmd.Context(), change); err != nil {
		return err
	}
	return e.PrintMachine(view(slices.DeleteFunc(all, func(s adminapi.Option) bool { return !slices.Contains(names, s.Name) })))
}

func unknown(name string, all []adminapi.Option) error {
	f := env.Failf(env.NotFound, "there is no setting %s", env.Quote(name))
	var known []string
	for _, s := range all {
		known = append(known, s.Name)
	}
	f.Hint = "rmq config list"
	if near := env.Closest(name, known); near != "" {
		f.Hint = "did you mean " + near + "?"
	}
	return f
}

func names(ctx context.Context, c *adminapi.Client) (out []string, err error) {
	all, err := c.Options(ctx)
	for _, s := range all {
		out = append(out, s.Name)
	}
	return out, err
}

func view(all []adminapi.Option) env.View {
	t := env.Table{Head: []string{"SETTING", "VALUE", "FROM", "WHAT"}}
	for _, s := range all {
		t.Rows = append(t.Rows, []any{s.Name, s.Value, s.Origin, s.Help})
	}
	return env.View{Schema: adminapi.SchemaOptions, Data: all, Tables: []env.Table{t}}
}
