package local

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

// Nodes come and go while the cluster runs: node add, drain, fill and remove.

const (
	moveLook = 200 * time.Millisecond // between two looks at what is still to move
	moveSay  = time.Second            // between two lines about it
)

func newNodeAdd(e *env.Env) *cobra.Command {
	timeout := env.Duration(5 * time.Minute)
	var wait bool
	var rack string
	cmd := &cobra.Command{
		Use:   "add",
		Short: "Start another node of a cluster that rmq up -n runs here",
		Long: "Start another node of a cluster that rmq up -n runs here.\n\n" +
			"It gets a replica of everything first. The command returns when it has that and serves clients; with --wait, when\n" +
			"it has its share of the votes and of what is led, too. On another machine, start a node by hand: rmq up --join.",
		Example: "  rmq node add\n  rmq node add --wait -o json",
		Args:    env.Exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := e.Guard("add a node"); err != nil {
				return err
			}
			run, err := e.Running()
			if err != nil {
				return err
			}
			switch {
			case len(run.Nodes) == 0:
				return &env.Failure{Exit: env.Conflict, What: "the broker named " + run.Name + " is alone: it cannot become many nodes", Hint: "start a cluster: rmq up -n 3 --name NAME --any-port"}
			case run.Control == "":
				return &env.Failure{Exit: env.Conflict, What: "the nodes of " + run.Name + " share one process", Hint: "start them apart: rmq up -n " + strconv.Itoa(len(run.Nodes)) + ", without --in-process"}
			}
			ctx, cancel := context.WithTimeoutCause(cmd.Context(), time.Duration(timeout), env.Failf(env.TimedOut, "the node is not that far after %v; it goes on: rmq node list%s", timeout, nameFlag(run.Name)))
			defer cancel()
			n, err := addToParent(ctx, run, rack)
			if err != nil {
				return err
			}
			e.Say("node %d is up", n.ID)
			if wait {
				c, err := e.Admin()
				if err != nil {
					return err
				}
				w := watcher{e: e, c: c, id: n.ID, toGo: gains}
				if err := w.until(ctx, hasShare); err != nil {
					return err
				}
				e.Say("node %d has its share", n.ID)
			}
			return e.Print(env.View{Schema: "rmq.node/1", Data: n, Tables: []env.Table{{
				Head: []string{"NODE", "PROCESS", "MQTT", "KAFKA", "AMQP", "HTTP", "DATA"},
				Rows: [][]any{{n.ID, n.PID, n.URLs.MQTT, n.URLs.Kafka, n.URLs.AMQP, n.URLs.HTTP, n.DataDir}},
			}}})
		},
	}
	cmd.Flags().StringVar(&e.Name, "name", env.DefaultName, "the cluster on this machine, by the name it was started with")
	cmd.Flags().StringVar(&rack, "rack", "", "what fails together with the node")
	cmd.Flags().BoolVar(&wait, "wait", false, "return once it has its share of votes and leaders")
	cmd.Flags().Var(&timeout, "timeout", "how long to wait for it")
	return cmd
}

func newNodeDrain(e *env.Env) *cobra.Command {
	return newMove(e, mover{
		verb:  "drain",
		short: "Have a node give up its votes and what it leads",
		long: "It keeps a replica of everything and goes on serving its clients; ending it then costs no shard a vote or a leader.\n" +
			"To take it back: rmq node fill.",
		forces: true,
		do: func(ctx context.Context, c *adminapi.Client, id uint64, force bool) (adminapi.Node, error) {
			return c.DrainNode(ctx, id, force)
		},
		done:    func(n adminapi.Node, known bool) bool { return known && keeps(n) == 0 },
		toGo:    keeps,
		reached: "votes on nothing and leads nothing",
	})
}

func newNodeFill(e *env.Env) *cobra.Command {
	return newMove(e, mover{
		verb:  "fill",
		short: "Give a node that was drained its share of votes and leaders again",
		do: func(ctx context.Context, c *adminapi.Client, id uint64, _ bool) (adminapi.Node, error) {
			return c.FillNode(ctx, id)
		},
		done:    hasShare,
		toGo:    gains,
		reached: "has its share",
	})
}

func newNodeRemove(e *env.Env) *cobra.Command {
	return newMove(e, mover{
		verb:  "remove",
		short: "Take a node out of its cluster",
		long: "It gives up its votes first, and is then a node no more; its id is not used again. A node that does not run\n" +
			"can be removed, too. Of a cluster that rmq up -n runs here, its process is ended; its data is kept.",
		forces: true, asks: true,
		do: func(ctx context.Context, c *adminapi.Client, id uint64, force bool) (adminapi.Node, error) {
			return c.RemoveNode(ctx, id, force)
		},
		done:    func(_ adminapi.Node, known bool) bool { return !known },
		toGo:    keeps,
		reached: "has left the cluster",
		after:   endRemoved,
	})
}

// endRemoved has the process of a node that was removed end, if it is of this machine.
func endRemoved(ctx context.Context, e *env.Env, id uint64) error {
	if e.URL != "" {
		return nil
	}
	run, err := e.Running()
	if err != nil || run.Control == "" {
		return nil // it was this one, and has ended; or was started by hand
	}
	n, err := tellParent(ctx, run, strconv.FormatUint(id, 10), "remove")
	if err == nil && n.DataDir != "" {
		e.Say("its process has ended; its data is kept in %s", env.Clean(n.DataDir))
	}
	return err
}

// keeps counts the shards that a node votes on, or leads.
func keeps(n adminapi.Node) int {
	count := len(n.Votes)
	for _, s := range n.Leads {
		if !slices.Contains(n.Votes, s) {
			count++
		}
	}
	return count
}

func gains(n adminapi.Node) int { return len(n.Gains) }

func hasShare(n adminapi.Node, known bool) bool {
	return known && n.State == adminapi.NodeUp && len(n.Gains) == 0
}

// mover is a verb that has shards move to or from a node.
type mover struct {
	verb, short, long string
	forces, asks      bool
	do                func(ctx context.Context, c *adminapi.Client, id uint64, force bool) (adminapi.Node, error)
	done              func(n adminapi.Node, known bool) bool // known: it is a node still
	toGo              func(adminapi.Node) int                // shards that are still to move
	reached           string                                 // "node 2 …"
	after             func(ctx context.Context, e *env.Env, id uint64) error
}

func newMove(e *env.Env, m mover) *cobra.Command {
	timeout := env.Duration(10 * time.Minute)
	var change env.Change
	var wait, force bool
	cmd := &cobra.Command{
		Use:     m.verb + " ID",
		Short:   m.short,
		Long:    strings.TrimSpace(m.short + ".\n\n" + m.long),
		Example: "  rmq node " + m.verb + " 2",
		Args:    env.Exactly("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := strconv.ParseUint(args[0], 10, 64)
			if err != nil {
				return notANode(e, args[0])
			}
			ctx, cancel := context.WithTimeoutCause(cmd.Context(), time.Duration(timeout), &env.Failure{
				Exit: env.TimedOut, What: fmt.Sprintf("node %d is not that far after %v", id, time.Duration(timeout)), Hint: "it goes on; see how far it is: rmq node list" + nameFlag(e.Name),
			})
			defer cancel()
			c, n, err := anotherThan(ctx, e, cmd, id)
			if err != nil {
				return err
			}
			if change.DryRun {
				e.Say("would %s node %d: it votes on %d shards and leads %d", m.verb, id, len(n.Votes), len(n.Leads))
				return e.PrintMachine(env.View{Schema: adminapi.SchemaMember, Data: n})
			}
			if m.asks {
				if err := e.Confirm(change, fmt.Sprintf("%s node %d", m.verb, id)); err != nil {
					return err
				}
			}
			if n, err = m.do(ctx, c, id, force); err != nil {
				return err
			}
			if wait {
				w := watcher{e: e, c: c, id: id, toGo: m.toGo, last: n}
				if err := w.until(ctx, m.done); err != nil {
					return err
				}
				e.Say("node %d %s", id, m.reached)
				n = w.last
				if m.after != nil {
					if err := m.after(ctx, e, id); err != nil {
						return err
					}
				}
			}
			return e.PrintMachine(env.View{Schema: adminapi.SchemaMember, Data: n})
		},
	}
	change.Flags(cmd.Flags(), m.asks)
	if m.forces {
		cmd.Flags().BoolVar(&force, "force", false, "also where too few nodes are left to do without one more")
	}
	cmd.Flags().BoolVar(&wait, "wait", true, "return once it is done")
	cmd.Flags().Var(&timeout, "timeout", "how long to wait until it is done")
	e.BrokerFlags(cmd.Flags())
	return cmd
}

func notANode(e *env.Env, arg string) error {
	return &env.Failure{Exit: env.Usage, What: fmt.Sprintf("%q is no node's id", arg), Hint: "list them: rmq node list" + nameFlag(e.Name)}
}

// anotherThan returns a node, and a client of another one, if there is one that is up: what a node
// that leaves knows is soon old.
func anotherThan(ctx context.Context, e *env.Env, cmd *cobra.Command, id uint64) (*adminapi.Client, adminapi.Node, error) {
	c, err := e.Admin()
	if err != nil {
		return nil, adminapi.Node{}, err
	}
	nodes, err := c.Nodes(ctx)
	if err != nil {
		return nil, adminapi.Node{}, err
	}
	at := slices.IndexFunc(nodes, func(n adminapi.Node) bool { return n.ID == id })
	if at < 0 {
		var ids []string
		for _, n := range nodes {
			ids = append(ids, strconv.FormatUint(n.ID, 10))
		}
		f := &env.Failure{Exit: env.NotFound, What: fmt.Sprintf("there is no node %d: the nodes are %s", id, strings.Join(ids, ", ")), Hint: "list them: rmq node list" + nameFlag(e.Name)}
		if near := env.Closest(strconv.FormatUint(id, 10), ids); near != "" && len(near) > 1 {
			f.Hint = "did you mean " + near + "? " + cmd.CommandPath() + " " + near
		}
		return nil, adminapi.Node{}, f
	}
	if !nodes[at].Self {
		return c, nodes[at], nil
	}
	for i := range nodes {
		if !nodes[i].Up || i == at {
			continue
		}
		if other, err := e.AdminOf(c, &nodes[i]); other != nil || err != nil {
			return other, nodes[at], err
		}
	}
	return c, nodes[at], nil
}

// watcher looks how far a node is, and tells.
type watcher struct {
	e    *env.Env
	c    *adminapi.Client
	id   uint64
	toGo func(adminapi.Node) int
	last adminapi.Node // as it was seen last

	most int // shards that were to move at once
	said time.Time
}

// until returns once done says so of the node.
func (w *watcher) until(ctx context.Context, done func(n adminapi.Node, known bool) bool) error {
	tick := time.NewTicker(moveLook)
	defer tick.Stop()
	for {
		nodes, err := w.c.Nodes(ctx)
		if err != nil && ctx.Err() == nil {
			return err
		}
		if err == nil {
			at := slices.IndexFunc(nodes, func(n adminapi.Node) bool { return n.ID == w.id })
			if at >= 0 {
				w.last = nodes[at]
			}
			if done(w.last, at >= 0) {
				if led, err := w.led(ctx); err != nil || led {
					return err
				}
			}
			w.tell()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// led tells whether every shard is led by a node that is one still.
func (w *watcher) led(ctx context.Context) (bool, error) {
	shards, err := w.c.Shards(ctx)
	if err != nil {
		return false, err
	}
	nodes, err := w.c.Nodes(ctx)
	return !slices.ContainsFunc(shards, func(s adminapi.Shard) bool {
		return !slices.ContainsFunc(nodes, func(n adminapi.Node) bool { return n.ID == s.Leader })
	}), err
}

// tell says what is to go, now and then.
func (w *watcher) tell() {
	now := w.e.Now()
	if now.Sub(w.said) < moveSay {
		return
	}
	w.said = now
	left := w.toGo(w.last)
	w.most = max(w.most, left)
	switch {
	case w.last.State == adminapi.NodeJoining:
		w.e.Say("node %d is joining: it gets its replicas", w.id)
	case left == 0:
		w.e.Say("node %d is %s", w.id, w.last.State)
	default:
		w.e.Say("node %d is %s: %d shards to go, %d %% done", w.id, w.last.State, left, 100*(w.most-left)/w.most)
	}
}
