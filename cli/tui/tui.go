// Package tui holds `rmq tui`: the screens of package tui on the broker that the flags
// mean.
package tui

import (
	"cmp"
	"context"
	"errors"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
	"github.com/robustmq/rmq/tui"
)

// Tell has a node of a cluster on this machine killed, paused, resumed or restarted, as verb says, and
// returns what has become of it.
type Tell = func(ctx context.Context, node, verb string) (string, error)

// Reopen runs a broker that holds what a snapshot or bundle does, and returns where it answers, with the
// notes of a bundle by name.
type Reopen = func(ctx context.Context, file string) (url string, notes map[string]string, end func() error, err error)

// Command returns `rmq tui`. tell is asked for the way to the nodes that run on this machine; nil: there
// is none.
func Command(e *env.Env, tell func() Tell, reopen Reopen) *cobra.Command {
	var namespace, filter, accent, replay string
	var decoding env.Decoding
	mouse := true
	screen, theme := tui.Screens()[0], tui.Themes()[0]
	interval := env.Duration(tui.Interval)
	cmd := &cobra.Command{
		Use:   "tui",
		Short: "Watch a broker in the terminal",
		Long: "Watch a broker in the terminal: its traffic, topics, queues, exchanges, sessions, subscriptions, groups, retained\n" +
			"and live messages, the nodes of its cluster, its clock and its planned faults. It changes nothing, but that a clock of the\n" +
			"broker's own is moved, that faults are planned, and that nodes which rmq up -n runs here can be killed, paused and\n" +
			"restarted. When the broker goes away the screens keep what they had, say so, and go on\n" +
			"when it is back.\n\nKeys:\n" + tui.Keys() + "\n\n" +
			"Screens, which : goes to by name (topics lag>10 with a filter, topic orders to one of them), with the key of some and the command that\n" +
			"tells the same; and what else : does:\n" + tui.Commands(),
		Example: "  rmq tui\n  rmq tui --screen messages --filter 'fleet/+/temp'\n  rmq tui --screen groups --filter 'lag>100'\n" +
			"  rmq tui --url http://broker.example:15672 --user ops\n  rmq tui --replay ./TestOrders-1.rmq   # its timeline: rmq snapshot show ./TestOrders-1.rmq --note timeline",
		Args: env.Exactly(),
		RunE: func(cmd *cobra.Command, _ []string) (failed error) {
			if err := check(e, screen); err != nil {
				return err
			}
			err := tui.Check(screen, "", decoding.Options)
			if err != nil {
				return env.Failf(env.Usage, "--decode: %v", err)
			}
			if filter, err = e.Filter(filter); err != nil {
				return err
			}
			if err := tui.Check(screen, filter, decoding.Options); err != nil {
				return &env.Failure{Exit: env.Usage, What: "--filter: " + err.Error(), Hint: "rmq tui --help, or ? on the screen"}
			}
			var bundle *tui.Bundle
			if replay != "" {
				url, notes, end, err := reopen(cmd.Context(), replay)
				if err != nil {
					return err
				}
				defer func() { failed = errors.Join(failed, end()) }()
				if bundle, err = tui.ReadBundle(replay, notes); err != nil {
					return env.Failf(env.Failed, "%s: %v", env.Clean(replay), err)
				}
				if bundle != nil && !cmd.Flags().Changed("screen") {
					screen = "timeline"
				}
				e.URL, e.User = url, ""
			}
			find := func() (adminapi.Source, string, error) {
				c, err := e.Admin()
				if err != nil {
					return nil, "", err
				}
				if replay != "" {
					return c, filepath.Base(replay) + "  as it was", nil
				}
				return c, where(e, c), nil
			}
			if _, _, err := find(); err != nil {
				return err // before the screen is taken: there is no broker to wait for
			}
			return tui.Run(cmd.Context(), tui.Options{
				Find: find, Namespace: namespace, Screen: screen, Filter: filter,
				Interval: time.Duration(interval), Color: e.Colored(true), In: e.In, Out: e.Out, Tell: teller(e, tell),
				Theme: theme, Accent: accentOf(e, accent), NoMouse: !mouse, Decode: decoding.Options, Bundle: bundle, Saved: e.SavedFilters, Save: e.SaveFilter,
			})
		},
	}
	f := cmd.Flags()
	f.Var(&env.Choice{Value: &screen, Of: tui.Screens()}, "screen", "the screen to begin with")
	f.StringVar(&filter, "filter", "", "filter it, in the words of its / key")
	f.StringVar(&replay, "replay", "", "look at what a snapshot holds, in a broker of its own whose time stands still; of a failed test's bundle, at what led to it first")
	f.Var(&interval, "interval", "how often to ask the broker")
	f.Var(&env.Choice{Value: &theme, Of: tui.Themes()}, "theme", "colours; auto asks the terminal whether it is dark or light")
	f.StringVar(&accent, "accent", "", "colour of the program's name: red, yellow…, 0 to 255, or #rrggbb (default: that of the context)")
	f.BoolVar(&mouse, "mouse", true, "use the mouse; =false leaves it to the terminal, which then selects text")
	decoding.Flags(f)
	env.NamespaceFlag(f, &namespace)
	e.BrokerFlags(f)
	return cmd
}

// check wants a terminal that can be drawn on, and names what tells the same without.
func check(e *env.Env, screen string) error {
	var what string
	switch {
	case !e.OutTTY || !e.InTTY:
		what = "rmq tui needs a terminal, and this is none"
	case e.Getenv("TERM") == "dumb":
		what = "rmq tui cannot draw on this terminal (TERM=dumb)"
	default:
		return nil
	}
	return &env.Failure{Exit: env.Usage, What: what, Hint: tui.Headless(screen) + formatHint(tui.Headless(screen))}
}

func formatHint(command string) string {
	if strings.Contains(command, " -o ") {
		return ""
	}
	return "   (also with -o json)"
}

// accentOf is the colour of the context, red where that is protected, unless another is asked for.
func accentOf(e *env.Env, asked string) string {
	color := cmp.Or(asked, e.MarkColor)
	if color == "" && e.Protected {
		color = "red"
	}
	if n, ok := map[string]string{"red": "1", "green": "2", "yellow": "3", "blue": "4", "magenta": "5", "cyan": "6"}[color]; ok {
		return n
	}
	return color
}

// teller is the way to nodes of this machine, of which there is none where nothing may be changed.
func teller(e *env.Env, tell func() Tell) Tell {
	if e.Protected {
		return nil
	}
	return tell()
}

// where is what the broker is called at the top of the screen.
func where(e *env.Env, c *adminapi.Client) string {
	name := e.Name
	if e.URL != "" {
		name = ""
	}
	if e.Context != "" {
		name = e.Context
	}
	if e.Protected {
		name = strings.TrimLeft(name+" (protected)", " ")
	}
	return strings.TrimLeft(name+"  "+c.Base(), " ")
}
