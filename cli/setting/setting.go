// Package setting holds the commands about what is set for a whole cluster: a noun for each kind
// of setting.
package setting

import (
	"context"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/setting"
	"github.com/robustmq/rmq/cli/env"
)

// noun is a kind of setting as a noun of the command line.
type noun struct {
	kind    setting.Kind
	name    string // "share"
	short   string // what list lists
	empty   string // said of an empty list
	head    []string
	row     func(s *setting.Setting) ([]any, error) // the columns of head behind the name
	deletes string                                  // what delete does
	example string                                  // a name
}

func (n *noun) view(all []setting.Setting) (env.View, error) {
	t := env.Table{Head: n.head}
	for i := range all {
		row, err := n.row(&all[i])
		if err != nil {
			return env.View{}, env.Failf(env.Failed, "%s %s: %v", n.name, env.Clean(all[i].Name), err)
		}
		t.Rows = append(t.Rows, append([]any{all[i].Name}, row...))
	}
	return env.View{Schema: adminapi.SchemaSettings, Data: all, Tables: []env.Table{t}, Empty: n.empty}, nil
}

func (n *noun) list(e *env.Env) *cobra.Command {
	var namespace string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   n.short,
		Example: "  rmq " + n.name + " list\n  rmq " + n.name + " list -o json",
		Args:    env.Exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := e.Admin()
			if err != nil {
				return err
			}
			all, err := c.Settings(cmd.Context(), namespace, n.kind)
			if err != nil {
				return err
			}
			v, err := n.view(all)
			if err != nil {
				return err
			}
			return e.Print(v)
		},
	}
	env.NamespaceFlag(cmd.Flags(), &namespace)
	e.BrokerFlags(cmd.Flags())
	return cmd
}

// put sets what a command line says, or tells what it would set.
func (n *noun) put(cmd *cobra.Command, e *env.Env, change *env.Change, namespace, name string, value any) error {
	s, err := setting.New(namespace, n.kind, name, value)
	if err != nil {
		return env.Failf(env.Usage, "%v", err)
	}
	c, err := e.Admin()
	if err != nil {
		return err
	}
	view := env.View{Schema: adminapi.SchemaSetting, Data: s}
	if change.DryRun {
		e.Say("would set %s %s", n.name, env.Clean(name))
		return e.PrintMachine(view)
	}
	if view.Data, err = c.PutSetting(cmd.Context(), s); err != nil {
		return err
	}
	return e.PrintMachine(view)
}

func (n *noun) delete(e *env.Env) *cobra.Command {
	var namespace string
	names := func(ctx context.Context, c *adminapi.Client) (names []string, err error) {
		all, err := c.Settings(ctx, namespace, n.kind)
		for _, s := range all {
			names = append(names, s.Name)
		}
		return names, err
	}
	return e.RemovalCommand(env.Removal{
		Verb: "delete", Noun: n.name,
		Short:   n.deletes,
		Example: "  rmq " + n.name + " delete " + n.example + "\n  rmq " + n.name + " delete " + n.example + " --if-exists --yes",
		Flags:   func(fs *pflag.FlagSet) { env.NamespaceFlag(fs, &namespace) },
		Names:   names,
		Find: func(ctx context.Context, c *adminapi.Client, name string) error {
			all, err := names(ctx, c)
			if err == nil && !slices.Contains(all, name) {
				err = adminapi.ErrorOf(fault.Of(fault.NotFound, "find "+n.name, name))
			}
			return err
		},
		Remove: func(ctx context.Context, c *adminapi.Client, name string) (*int64, error) {
			return nil, c.DeleteSetting(ctx, namespace, n.kind, name)
		},
	})
}
