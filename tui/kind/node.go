package kind

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/robustmq/rmq/broker/adminapi"
)

// Node is one node of the cluster, with all shards as the node that answers sees them.
type Node struct {
	adminapi.Node
	Shards []adminapi.Shard
}

// Nodes are those of the cluster.
func Nodes() *Kind[Node] {
	type T = Node
	return &Kind[T]{
		One: "node", Many: "nodes", SortBy: "NODE",
		Empty: "no nodes",
		Columns: []Column[T]{
			{Title: "NODE", Width: 4, Keep: 11, Text: func(n *T, _ Look) string { return nodeID(n) }},
			{Title: "STATE", Width: 8, Keep: 9, Text: func(n *T, _ Look) string { return nodeState(n).Text }, Show: func(n *T, _ Look) Cell { return nodeState(n) }},
			{Title: "LEADS", Width: 5, Keep: 8, Number: func(n *T, _ Look) float64 { return float64(len(n.Leads)) }},
			{Title: "VOTES", Width: 5, Keep: 7, Number: func(n *T, _ Look) float64 { return float64(len(n.Votes)) }},
			{Title: "MOVES", Width: 7, Keep: 10, Text: func(n *T, _ Look) string { return moves(n) }},
			{Title: "RACK", Width: 6, Keep: 3, Text: func(n *T, _ Look) string { return orDash(n.Rack) }},
			{Title: "SHARDS", Width: 12, Grow: 2, Keep: 6, Text: func(n *T, _ Look) string { return shardList(n.Leads) }},
			{Title: "MQTT", Width: 15, Grow: 1, Keep: 5, Text: func(n *T, _ Look) string { return hostPort(n.URLs.MQTT) }},
			{Title: "KAFKA", Width: 15, Grow: 1, Keep: 4, Text: func(n *T, _ Look) string { return hostPort(n.URLs.Kafka) }},
			{Title: "AMQP", Width: 15, Grow: 1, Keep: 3, Text: func(n *T, _ Look) string { return hostPort(n.URLs.AMQP) }},
			{Title: "HTTP", Width: 15, Grow: 1, Keep: 2, Text: func(n *T, _ Look) string { return hostPort(n.URLs.HTTP) }},
			{Title: "LIFE", Width: 4, Keep: 1, Number: func(n *T, _ Look) float64 { return float64(n.Incarnation) }},
		},
		ID: nodeID,
		List: func(ctx context.Context, src adminapi.Source, _ string, limit int) ([]T, error) {
			all, err := listNodes(ctx, src)
			return all[:min(limit, len(all))], err
		},
		Get: func(ctx context.Context, src adminapi.Source, n T) (T, error) {
			all, err := listNodes(ctx, src)
			if i := slices.IndexFunc(all, func(x T) bool { return x.ID == n.ID }); i >= 0 {
				return all[i], err
			}
			if err == nil {
				err = &adminapi.Error{Code: "not_found", Category: adminapi.CategoryNotFound, Message: "the cluster has no such node any more"}
			}
			return n, err
		},
		Detail:  nodeDetail,
		Command: func(*T) string { return "rmq node list" },
	}
}

func listNodes(ctx context.Context, src adminapi.Source) ([]Node, error) {
	nodes, err := src.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	shards, err := src.Shards(ctx)
	var all []Node
	for _, n := range nodes {
		all = append(all, Node{n, shards})
	}
	return all, err
}

func nodeID(n *Node) string { return strconv.FormatUint(n.ID, 10) }

func nodeState(n *Node) Cell {
	switch {
	case n.State == adminapi.NodeJoining:
		return Cell{n.State, Warn}
	case !n.Up:
		return Cell{"down", Bad}
	case n.State == adminapi.NodeDraining || n.State == adminapi.NodeLeaving:
		return Cell{n.State, Warn}
	}
	return Cell{"up", Good}
}

// moves tells how many shards are still to move to and from a node: "+3 -1".
func moves(n *Node) string {
	var parts []string
	if len(n.Gains) > 0 {
		parts = append(parts, fmt.Sprintf("+%d", len(n.Gains)))
	}
	if len(n.Loses) > 0 {
		parts = append(parts, fmt.Sprintf("-%d", len(n.Loses)))
	}
	return orDash(strings.Join(parts, " "))
}

// hostPort is an address without its scheme, which the column's title says.
func hostPort(url string) string {
	if _, at, ok := strings.Cut(url, "://"); ok {
		return at
	}
	return orDash(url)
}

func shardList(shards []uint32) string {
	var out []string
	for _, s := range shards {
		out = append(out, strconv.FormatUint(uint64(s), 10))
	}
	return orDash(strings.Join(out, " "))
}

func nodeDetail(n *Node, _ Look) []Section {
	about := Section{Fields: []Field{
		{"state", nodeState(n)}, field("life", number(int64(n.Incarnation))),
		field("mqtt", n.URLs.MQTT), field("mqtt-ws", n.URLs.MQTTWS), field("kafka", n.URLs.Kafka), field("amqp", n.URLs.AMQP), field("http", n.URLs.HTTP), field("peer", n.Peer), field("rack", n.Rack),
		field("votes on", shardList(n.Votes)),
	}}
	if !n.Up && n.State != adminapi.NodeUp && n.State != adminapi.NodeJoining && n.State != "" {
		about.Fields[0].Value.Text += ", " + n.State
	}
	if len(n.Gains) > 0 {
		about.Fields = append(about.Fields, field("still to get", shardList(n.Gains)))
	}
	if len(n.Loses) > 0 {
		about.Fields = append(about.Fields, field("to give up", shardList(n.Loses)))
	}
	if n.Self {
		about.Fields[0].Value.Text += "; it is the one that is asked"
	}
	leads := Section{Title: "leads", Note: "as the node that is asked sees them", Head: shardHead, Empty: "no shard"}
	none := Section{Title: "led by nobody", Note: "nothing can be added to them", Head: shardHead}
	for i := range n.Shards {
		switch s := &n.Shards[i]; s.Leader {
		case n.ID:
			leads.Rows = append(leads.Rows, shardRow(s))
		case 0:
			none.Rows = append(none.Rows, shardRow(s))
		}
	}
	if len(none.Rows) > 0 {
		return []Section{about, leads, none}
	}
	return []Section{about, leads}
}

var shardHead = []Head{{"SHARD", true}, {"TERM", true}, {"COMMITTED", true}, {"APPLIED", true}, {"VOTERS", false}, {"ERROR", false}}

func shardRow(s *adminapi.Shard) []Cell {
	row := plain(strconv.FormatUint(uint64(s.ID), 10), number(int64(s.Term)), number(int64(s.Commit)), number(int64(s.Applied)), strings.Trim(fmt.Sprint(s.Voters), "[]"), orDash(s.Error))
	if s.Applied < s.Commit {
		row[3].Tone = Warn
	}
	if s.Error != "" {
		row[5].Tone = Bad
	}
	return row
}
