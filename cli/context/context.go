// Package context holds `rmq context`: named settings for one broker, of which one is in use.
package context

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/cli/env"
)

// Command returns `rmq context`. Settings are tried on trees of commands that scratch makes.
func Command(e *env.Env, scratch func() *cobra.Command) *cobra.Command {
	cmd := env.Noun("context", "Named settings for one broker: where it is, who asks, whether it is protected",
		newList(e), newShow(e), newCreate(e, scratch), newSet(e, scratch), newUnset(e, scratch), newUse(e), newDelete(e))
	cmd.Long = "Named settings for one broker: where it is, who asks, whether it is protected.\n\n" +
		"Any flag of any command can stand in a context, by its long name, after a command's name for that command\n" +
		"alone. What a person sets most:\n\n" +
		"  url=https://host:15672       the broker\n" +
		"  user=ann                     who asks, with RMQ_PASSWORD or password-file=FILE\n" +
		"  protected=true               nothing is changed there: what would is refused before it is sent\n" +
		"  context-color=red            how screens and questions show that it is this one\n\n" +
		"The context in use is said by --context, by RMQ_CONTEXT, by \"context: NAME\" in the project's rmq.yaml, or by\n" +
		"rmq context use. A flag, the environment and the project's file win over it, and it wins over the user's\n" +
		"config.yaml."
	return cmd
}

// one is what commands about one context say.
func one(c env.Context) env.View {
	v := env.View{Schema: "rmq.context/1", Data: c, Fields: []env.Field{{Name: "name", Value: c.Name}, {Name: "in_use", Value: c.InUse}}}
	for _, key := range env.SortedKeys(c.Settings) {
		v.Fields = append(v.Fields, env.Field{Name: key, Value: value(c.Settings[key])})
	}
	return v
}

func value(v any) string {
	if list, ok := v.([]any); ok {
		var words []string
		for _, x := range list {
			words = append(words, fmt.Sprint(x))
		}
		return strings.Join(words, ",")
	}
	return fmt.Sprint(v)
}

func newList(e *env.Env) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List contexts; the one in use is marked",
		Example: "  rmq context list\n  rmq context list -o json",
		Args:    env.Exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			t := env.Table{Head: []string{"", "NAME", "URL", "USER", "PROTECTED"}}
			all := []env.Context{}
			for _, name := range e.ContextNames() {
				c, err := e.ReadContext(cmd.Root(), name)
				if err != nil {
					return err
				}
				mark := ""
				if c.InUse {
					mark = "*"
				}
				where := c.Settings["url"]
				if where == nil {
					where = c.Settings["name"]
				}
				protected, _ := strconv.ParseBool(fmt.Sprint(c.Settings[env.KeyProtected])) // what is none is false
				all = append(all, c)
				t.Rows = append(t.Rows, []any{mark, c.Name, where, c.Settings["user"], protected})
			}
			return e.Print(env.View{Schema: "rmq.contexts/1", Data: all, Tables: []env.Table{t}, Empty: "there is no context; make one: rmq context create NAME url=http://host:15672"})
		},
	}
}

func newShow(e *env.Env) *cobra.Command {
	return &cobra.Command{
		Use:               "show [NAME]",
		Short:             "Show the settings of a context: of the one in use, if none is named",
		Example:           "  rmq context show\n  rmq context show prod",
		Args:              env.Between(nil, "NAME"),
		ValidArgsFunction: names(e),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := e.Context
			if len(args) > 0 {
				name = args[0]
			}
			if name == "" {
				f := env.Failf(env.NotFound, "no context is in use")
				f.Hint = "rmq context list   then rmq context use NAME"
				return f
			}
			c, err := e.ReadContext(cmd.Root(), name)
			if err != nil {
				return err
			}
			return e.Print(one(c))
		},
	}
}

func newCreate(e *env.Env, scratch func() *cobra.Command) *cobra.Command {
	var use, ifNotExists bool
	cmd := &cobra.Command{
		Use:     "create NAME [SETTING=VALUE...]",
		Short:   "Create a context",
		Example: "  rmq context create prod url=https://mq.example.org:15672 user=ann protected=true\n  rmq context create lab url=http://10.0.0.7:15672 --use",
		Args:    env.AtLeast("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := env.CheckContextName(args[0]); err != nil {
				return err
			}
			switch c, err := e.ReadContext(cmd.Root(), args[0]); {
			case err == nil && ifNotExists:
				return e.PrintMachine(one(c))
			case err == nil:
				f := env.Failf(env.Conflict, "context %s exists already", args[0])
				f.Hint = "change it: rmq context set " + args[0] + " SETTING=VALUE"
				return f
			case env.Explain(err).Exit != env.NotFound:
				return err
			}
			c := env.Context{Name: args[0], Settings: map[string]any{}}
			if err := assign(e, scratch, &c, args[1:]); err != nil {
				return err
			}
			if use {
				c.InUse = true
				if err := e.UseContext(c.Name); err != nil {
					return err
				}
			}
			return e.PrintMachine(one(c))
		},
	}
	cmd.Flags().BoolVar(&use, "use", false, "use it from now on")
	cmd.Flags().BoolVar(&ifNotExists, "if-not-exists", false, "one that is there already is no failure, and stays as it is")
	return cmd
}

func newSet(e *env.Env, scratch func() *cobra.Command) *cobra.Command {
	return alter(e, "set", "SETTING=VALUE", "Change settings of a context",
		"  rmq context set prod protected=true context-color=red\n  rmq context set lab consume.timeout=30s",
		func(c *env.Context, pairs []string) error { return assign(e, scratch, c, pairs) })
}

func newUnset(e *env.Env, scratch func() *cobra.Command) *cobra.Command {
	return alter(e, "unset", "SETTING", "Take settings out of a context", "  rmq context unset prod protected",
		func(c *env.Context, keys []string) error {
			for _, key := range keys {
				put(c.Settings, strings.Split(key, "."), nil)
			}
			return e.WriteContext(scratch(), *c)
		})
}

// alter makes a verb that changes one context by what is named behind it.
func alter(e *env.Env, verb, what, short, example string, change func(*env.Context, []string) error) *cobra.Command {
	return &cobra.Command{
		Use: verb + " NAME " + what + "...", Short: short, Example: example, Args: env.AtLeast("NAME"), ValidArgsFunction: names(e),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := e.ReadContext(cmd.Root(), args[0])
			if err != nil {
				return err
			}
			if len(args) == 1 {
				return env.Failf(env.Usage, "%s: %s is missing", cmd.CommandPath(), what)
			}
			if err := change(&c, args[1:]); err != nil {
				return err
			}
			return e.PrintMachine(one(c))
		},
	}
}

// assign reads SETTING=VALUE, and keeps the context.
func assign(e *env.Env, scratch func() *cobra.Command, c *env.Context, pairs []string) error {
	for _, pair := range pairs {
		key, value, err := env.Pair(pair)
		if err != nil {
			return env.Failf(env.Usage, "%v", err)
		}
		if err := env.CheckSetting(scratch(), key, value); err != nil {
			return err
		}
		put(c.Settings, strings.Split(key, "."), value)
	}
	return e.WriteContext(scratch(), *c)
}

// put sets a value below sections; a nil value takes it away.
func put(settings map[string]any, path []string, value any) {
	if len(path) > 1 {
		section, ok := settings[path[0]].(map[string]any)
		if !ok {
			section = map[string]any{}
			settings[path[0]] = section
		}
		put(section, path[1:], value)
		if len(section) == 0 {
			delete(settings, path[0])
		}
		return
	}
	if value == nil {
		delete(settings, path[0])
		return
	}
	settings[path[0]] = value
}

func newUse(e *env.Env) *cobra.Command {
	return &cobra.Command{
		Use:               "use NAME",
		Short:             "Use a context from now on; " + env.NoContext + " is none",
		Example:           "  rmq context use prod\n  rmq context use " + env.NoContext,
		Args:              env.Exactly("NAME"),
		ValidArgsFunction: names(e),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] != env.NoContext { // one that means nothing is not used
				if _, err := e.ReadContext(cmd.Root(), args[0]); err != nil {
					return err
				}
			}
			if err := e.UseContext(args[0]); err != nil {
				return err
			}
			return e.PrintMachine(env.View{Schema: "rmq.context-use/1", Data: map[string]string{"name": args[0]}})
		},
	}
}

func newDelete(e *env.Env) *cobra.Command {
	var change env.Change
	var ifExists bool
	cmd := &cobra.Command{
		Use:               "delete NAME",
		Short:             "Delete a context",
		Example:           "  rmq context delete lab --yes",
		Args:              env.Exactly("NAME"),
		ValidArgsFunction: names(e),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := e.ReadContext(cmd.Root(), args[0])
			switch missing := err != nil && env.Explain(err).Exit == env.NotFound; {
			case missing && ifExists:
				return nil
			case missing:
				return err
			case change.DryRun:
				e.Say("would delete context %s", args[0])
				return e.PrintMachine(one(c))
			}
			if err := e.Confirm(change, "delete context "+args[0]); err != nil {
				return err
			}
			if err := e.DeleteContext(args[0]); err != nil {
				return err
			}
			c.Name = args[0] // one that could not be read goes too
			return e.PrintMachine(one(c))
		},
	}
	change.Flags(cmd.Flags(), true)
	cmd.Flags().BoolVar(&ifExists, "if-exists", false, "one that does not exist is no failure")
	return cmd
}

// names completes the first argument.
func names(e *env.Env) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, typed string) (out []string, _ cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		for _, n := range e.ContextNames() {
			if strings.HasPrefix(n, typed) {
				out = append(out, n)
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}
