package local

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

// NewNode returns `rmq node`.
func NewNode(e *env.Env) *cobra.Command {
	return env.Noun("node", "Nodes of a cluster: which are up, what they lead; add, drain and remove them; kill, pause and restart those that rmq up -n runs",
		newNodeList(e),
		newNodeAdd(e), newNodeDrain(e), newNodeFill(e), newNodeRemove(e),
		newNodeVerb(e, "kill", "Kill a node as a power cut would, without notice",
			"It is started again after a while, unless rmq up was told --restart=false."),
		newNodeVerb(e, "pause", "Stop a node's process where it is; its connections stay open and silent", ""),
		newNodeVerb(e, "resume", "Let a paused node go on", ""),
		newNodeVerb(e, "restart", "End a node in order, and start it again; or start one that does not run", ""))
}

// node is one of a cluster, with its process when that runs on this machine.
type node struct {
	adminapi.Node
	Process *env.RunNode `json:"process,omitempty"`
}

func (n *node) state() string {
	switch {
	case n.Process != nil && n.Process.State != env.NodeUp:
		return n.Process.State
	case n.Up && n.State != "":
		return n.State
	case n.Up:
		return "up"
	case n.State == adminapi.NodeLeaving || n.State == adminapi.NodeDraining:
		return "down, " + n.State
	}
	return "down"
}

func newNodeList(e *env.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the nodes of a cluster, where clients find them and the shards that each leads and votes on",
		Long: "List the nodes of a cluster, where clients find them and the shards that each leads and votes on. MOVES are the\n" +
			"shards that it is still to get (+) or to give up (-).\n\n" +
			"A node is up when the others hear from it; they take some seconds to notice that they do not. What is told of\n" +
			"leaders is what the node knows that answers. The process and its state are told of nodes that rmq up -n runs here.",
		Example: "  rmq node list\n  rmq node list -o json",
		Args:    env.Exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			nodes, err := listNodes(cmd.Context(), e)
			if err != nil {
				return err
			}
			return e.Print(env.View{Schema: adminapi.SchemaNodes, Data: nodes, Tables: []env.Table{nodeTable(nodes)}})
		},
	}
	e.BrokerFlags(cmd.Flags())
	return cmd
}

// listNodes asks the broker, and adds what is known of the processes.
func listNodes(ctx context.Context, e *env.Env) ([]node, error) {
	c, err := e.Admin()
	if err != nil {
		return nil, err
	}
	all, err := c.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	var run env.Run
	if e.URL == "" {
		if run, err = e.Running(); err != nil {
			return nil, err
		}
	}
	return withProcesses(all, run), nil
}

func withProcesses(all []adminapi.Node, run env.Run) []node {
	nodes := make([]node, 0, len(all))
	for _, x := range all {
		n := node{Node: x}
		for i := range run.Nodes {
			if p := &run.Nodes[i]; p.ID == x.ID {
				n.Process = p
				if n.URLs == (adminapi.URLs{}) {
					n.URLs = p.URLs // it has only just begun
				}
			}
		}
		nodes = append(nodes, n)
	}
	return nodes
}

func nodeTable(nodes []node) env.Table {
	t := env.Table{Head: []string{"NODE", "STATE", "PROCESS", "LIFE", "LEADS", "VOTES", "MOVES", "RACK", "MQTT", "KAFKA", "AMQP", "HTTP"}}
	for i := range nodes {
		n := &nodes[i]
		var pid any
		if n.Process != nil && n.Process.PID != 0 {
			pid = n.Process.PID
		}
		t.Rows = append(t.Rows, []any{
			n.ID, n.state(), pid, n.Incarnation, ranges(n.Leads), ranges(n.Votes), moving(&n.Node), n.Rack, n.URLs.MQTT, strings.TrimPrefix(n.URLs.Kafka, "kafka://"), n.URLs.AMQP, n.URLs.HTTP,
		})
	}
	return t
}

// moving tells how many shards are still to move to and from a node: "+3 -1".
func moving(n *adminapi.Node) string {
	var parts []string
	if len(n.Gains) > 0 {
		parts = append(parts, fmt.Sprintf("+%d", len(n.Gains)))
	}
	if len(n.Loses) > 0 {
		parts = append(parts, fmt.Sprintf("-%d", len(n.Loses)))
	}
	return strings.Join(parts, " ")
}

// ranges writes sorted numbers shortly: "0-3 7".
func ranges(ns []uint32) string {
	var parts []string
	for i := 0; i < len(ns); {
		j := i
		for j+1 < len(ns) && ns[j+1] == ns[j]+1 {
			j++
		}
		if j > i {
			parts = append(parts, fmt.Sprintf("%d-%d", ns[i], ns[j]))
		} else {
			parts = append(parts, strconv.FormatUint(uint64(ns[i]), 10))
		}
		i = j + 1
	}
	return strings.Join(parts, " ")
}

func newNodeVerb(e *env.Env, verb, short, long string) *cobra.Command {
	timeout := env.Duration(closeTimeout)
	cmd := &cobra.Command{
		Use:     verb + " ID",
		Short:   short,
		Long:    strings.TrimSpace(short + ".\n\n" + long + " Only nodes that rmq up -n runs on this machine can be told so; the command returns when it is done."),
		Example: "  rmq node " + verb + " 2",
		Args:    env.Exactly("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := strconv.ParseUint(args[0], 10, 64); err != nil {
				return notANode(e, args[0])
			}
			if err := e.Guard(verb + " a node"); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeoutCause(cmd.Context(), time.Duration(timeout), env.Failf(env.TimedOut, "node %s is not that far after %v", args[0], timeout))
			defer cancel()
			n, err := tellNode(ctx, e, args[0], verb)
			if err != nil {
				return err
			}
			e.Say("node %d is %s", n.ID, n.State)
			return e.PrintMachine(env.View{Schema: "rmq.node/1", Data: n})
		},
	}
	cmd.Flags().StringVar(&e.Name, "name", env.DefaultName, "the broker on this machine, by the name it was started with")
	cmd.Flags().Var(&timeout, "timeout", "how long to wait until it is done")
	return cmd
}

// tellNode has a node of a cluster on this machine do what a verb says.
func tellNode(ctx context.Context, e *env.Env, id, verb string) (env.RunNode, error) {
	run, err := e.Running()
	switch {
	case err != nil:
		return env.RunNode{}, err
	case len(run.Nodes) == 0:
		return env.RunNode{}, &env.Failure{Exit: env.Conflict, What: "the broker named " + run.Name + " is alone: it has no nodes to " + verb, Hint: "start many: rmq up -n 3"}
	case run.Control == "":
		return env.RunNode{}, &env.Failure{Exit: env.Conflict, What: "the nodes of " + run.Name + " share one process", Hint: "start them apart: rmq up -n " + strconv.Itoa(len(run.Nodes)) + ", without --in-process"}
	}
	return tellParent(ctx, run, id, verb)
}

// Teller is tellNode for a screen: it returns what the node is then. nil: no nodes run apart on this
// machine.
func Teller(e *env.Env) func(ctx context.Context, id, verb string) (string, error) {
	if run, err := e.Running(); e.URL != "" || err != nil || run.Control == "" {
		return nil
	}
	return func(ctx context.Context, id, verb string) (string, error) {
		ctx, cancel := context.WithTimeout(ctx, closeTimeout)
		defer cancel()
		n, err := tellNode(ctx, e, id, verb)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("node %d is %s", n.ID, n.State), nil
	}
}

// portOfURL is the port of an address; "" when it has none.
func portOfURL(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Port()
}
