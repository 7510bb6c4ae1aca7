// Package chaos holds the commands that have things go wrong by plan.
package chaos

import (
	"context"
	"io"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/chaos"
	"github.com/robustmq/rmq/broker/grammar"
	"github.com/robustmq/rmq/cli/env"
)

// Command returns `rmq chaos`.
func Command(e *env.Env) *cobra.Command {
	return env.Noun("chaos", "Planned faults: what goes wrong, for whom and when", newList(e), newAdd(e), newRemove(e), newRun(e), newStop(e))
}

// nodes are those that a command is about.
type nodes struct {
	e    *env.Env
	node uint64
}

func (n *nodes) flags(cmd *cobra.Command) {
	cmd.Flags().Uint64Var(&n.node, "node", 0, "only this node of a cluster (default: every one that is up)")
	n.e.BrokerFlags(cmd.Flags())
}

// ask asks each of them, and shows what goes wrong there.
func (n *nodes) ask(ctx context.Context, ask func(context.Context, env.NodeClient) (adminapi.Chaos, error)) (all []adminapi.Chaos, warnings []string, err error) {
	list, warnings, err := n.e.EveryNode(ctx)
	if err != nil {
		return nil, nil, err
	}
	if n.node != 0 {
		for _, c := range list {
			if c.Node == n.node {
				one, err := ask(ctx, c)
				return []adminapi.Chaos{one}, nil, err
			}
		}
		f := env.Failf(env.NotFound, "there is no node %d that can be asked", n.node)
		f.Hint = "rmq node list"
		return nil, nil, f
	}
	all, more, err := env.AskEvery(ctx, list, ask)
	return all, append(warnings, more...), err
}

func show(ctx context.Context, c env.NodeClient) (adminapi.Chaos, error) { return c.Chaos(ctx) }

func view(all []adminapi.Chaos, warnings []string) env.View {
	t := env.Table{Head: []string{"NODE", "NAME", "AT", "DO", "CLIENT", "TOPIC", "CODE", "SEEN", "FIRED", "LAST", "OVER"}}
	for _, c := range all {
		for _, r := range c.Rules {
			t.Rows = append(t.Rows, []any{c.Node, r.Name, r.At, string(r.Do), r.Client, r.Topic, r.Code, r.Seen, r.Fired, r.Last, r.Over})
		}
	}
	return env.View{Schema: "rmq.chaos.nodes/1", Data: all, Tables: []env.Table{t}, Empty: "nothing is planned to go wrong", Warnings: warnings}
}

func newList(e *env.Env) *cobra.Command {
	n := nodes{e: e}
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List what goes wrong by plan, and how often it has",
		Example: "  rmq chaos list\n  rmq chaos list --node 2 -o json",
		Args:    env.Exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, warnings, err := n.ask(cmd.Context(), show)
			if err != nil {
				return err
			}
			return e.Print(view(all, warnings))
		},
	}
	n.flags(cmd)
	return cmd
}

func newAdd(e *env.Env) *cobra.Command {
	n := nodes{e: e}
	var r chaos.Rule
	var change env.Change
	var delay, jitter, from, lasts env.Duration
	var size env.Size
	cmd := &cobra.Command{
		Use:   "add AT EFFECT",
		Short: "Have something go wrong",
		Long: "Have something go wrong, from now on, as long as the broker runs.\n\n" +
			"AT is conn, mqtt, kafka, amqp, disk or node, with what passes there behind it: conn/kafka, mqtt/PUBACK, kafka/Produce,\n" +
			"amqp/basic.ack, disk/sync, node/2. What clients send under a name that the broker sends too is mqtt/in/PUBACK.\n" +
			"EFFECT is one of drop, delay, duplicate, answer, fail, nack, close, block, disconnect, reset, refuse, hang, slow, linger,\n" +
			"full and tear, where it makes sense: what is wrong with a rule is said. In --client and --topic * stands for any text.",
		Example: "  rmq chaos add mqtt/PUBACK drop --client 'dev*' --times 3\n  rmq chaos add kafka/Produce fail --code NOT_LEADER_OR_FOLLOWER --times 3\n" +
			"  rmq chaos add conn/amqp delay --delay 50ms --jitter 20ms --for 1m\n  rmq chaos add disk full --bytes 64MiB",
		Args: env.Exactly("AT", "EFFECT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r.At, r.Do = args[0], chaos.Effect(args[1])
			r.Delay, r.Jitter, r.From, r.For, r.Bytes = grammar.Duration(delay), grammar.Duration(jitter), grammar.Duration(from), grammar.Duration(lasts), grammar.Size(size)
			if err := (&chaos.Plan{Rules: []chaos.Rule{r}}).Check(); err != nil {
				return env.Failf(env.Usage, "%s", strings.TrimPrefix(err.Error(), "plan rule 1: "))
			}
			if change.DryRun {
				e.Say("would have %s %s", r.At, r.Do)
				return nil
			}
			all, warnings, err := n.ask(cmd.Context(), func(ctx context.Context, c env.NodeClient) (adminapi.Chaos, error) {
				if _, err := c.AddFault(ctx, r); err != nil {
					return adminapi.Chaos{}, err
				}
				return c.Chaos(ctx)
			})
			if err != nil {
				return err
			}
			return e.PrintMachine(view(all, warnings))
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.Name, "rule", "", "name of the rule (default: one is made)")
	f.StringVar(&r.Client, "client", "", "only of this client id, or name of a connection of AMQP")
	f.StringVar(&r.Topic, "topic", "", "only of messages of this topic")
	f.StringVar(&r.Listener, "listener-url", "", "only of connections of the listener with this URL")
	f.IntVar(&r.After, "after", 0, "how many times nothing happens first")
	f.IntVar(&r.Times, "times", 0, "how many times it happens (default: always)")
	f.Float64Var(&r.Chance, "chance", 0, "with which probability, from 0 to 1 (default: 1)")
	f.Var(&from, "starts-in", "how long nothing happens first")
	f.Var(&lasts, "for", "how long it goes on (default: until it is removed)")
	f.StringVar((*string)(&r.Code), "code", "", "code of the protocol, by name or number")
	f.Var(&delay, "delay", "how long")
	f.Var(&jitter, "jitter", "how much longer by chance, at most")
	f.Var(&size, "bytes", "how many bytes, or, of slow, how many a second")
	change.Flags(f, false)
	n.flags(cmd)
	return cmd
}

func newRemove(e *env.Env) *cobra.Command {
	n := nodes{e: e}
	var change env.Change
	var ifExists bool
	cmd := &cobra.Command{
		Use:     "remove NAME",
		Short:   "Take a rule back",
		Example: "  rmq chaos remove puback-1 --if-exists\n  rmq chaos remove puback-1 --node 2",
		Args:    env.Exactly("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if change.DryRun {
				e.Say("would take %s back", env.Clean(args[0]))
				return nil
			}
			var removed atomic.Int32
			all, warnings, err := n.ask(cmd.Context(), func(ctx context.Context, c env.NodeClient) (adminapi.Chaos, error) {
				switch err := c.RemoveFault(ctx, args[0]); {
				case err == nil:
					removed.Add(1)
				case !env.Missing(err):
					return adminapi.Chaos{}, err
				}
				return c.Chaos(ctx)
			})
			if err != nil {
				return err
			}
			if removed.Load() == 0 && !ifExists {
				f := env.Failf(env.NotFound, "there is no rule %s", env.Quote(args[0]))
				f.Hint = "rmq chaos list"
				return f
			}
			return e.PrintMachine(view(all, warnings))
		},
	}
	cmd.Flags().BoolVar(&ifExists, "if-exists", false, "it is no error when there is none of that name")
	change.Flags(cmd.Flags(), false)
	n.flags(cmd)
	return cmd
}

func newRun(e *env.Env) *cobra.Command {
	n := nodes{e: e}
	var change env.Change
	cmd := &cobra.Command{
		Use:   "run FILE",
		Short: "Have a plan take the place of what goes wrong now",
		Long: "Have a plan take the place of what goes wrong now. FILE is YAML or JSON, - for standard input:\n\n" +
			"  seed: 7\n  rules:\n    - {name: lost acks, at: mqtt/PUBACK, do: drop, client: dev*, times: 3}\n" +
			"    - {at: kafka/Produce, do: fail, code: NOT_LEADER_OR_FOLLOWER, chance: 0.1, from: 10s, for: 1m}",
		Example: "  rmq chaos run plan.yaml\n  rmq chaos run plan.yaml --dry-run",
		Args:    env.Exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := e.Input(args[0])
			if err != nil {
				return err
			}
			text, err := io.ReadAll(in)
			_ = in.Close() // only read from
			if err != nil {
				return err
			}
			p, err := chaos.Parse(text)
			if err != nil {
				return env.Failf(env.Usage, "%s: %v", args[0], err)
			}
			if change.DryRun {
				e.Say("would have %d rules", len(p.Rules))
				return nil
			}
			all, warnings, err := n.ask(cmd.Context(), func(ctx context.Context, c env.NodeClient) (adminapi.Chaos, error) { return c.RunPlan(ctx, p) })
			if err != nil {
				return err
			}
			return e.PrintMachine(view(all, warnings))
		},
	}
	change.Flags(cmd.Flags(), false)
	n.flags(cmd)
	return cmd
}

func newStop(e *env.Env) *cobra.Command {
	n := nodes{e: e}
	var change env.Change
	cmd := &cobra.Command{
		Use:     "stop",
		Short:   "Have nothing go wrong any more",
		Example: "  rmq chaos stop\n  rmq chaos stop --node 2",
		Args:    env.Exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if change.DryRun {
				e.Say("would take every rule back")
				return nil
			}
			all, warnings, err := n.ask(cmd.Context(), func(ctx context.Context, c env.NodeClient) (adminapi.Chaos, error) {
				return c.RunPlan(ctx, chaos.Plan{})
			})
			if err != nil {
				return err
			}
			return e.PrintMachine(view(all, warnings))
		},
	}
	change.Flags(cmd.Flags(), false)
	n.flags(cmd)
	return cmd
}
