package kind

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
)

// Groups are consumers that share partitions, and how far they have read.
func Groups() *Kind[adminapi.Group] {
	type T = adminapi.Group
	return &Kind[T]{
		One: "group", Many: "groups", SortBy: "LAG",
		Empty: "no groups: no Kafka consumer has joined one",
		Columns: []Column[T]{
			{Title: "GROUP", Width: 18, Grow: 3, Keep: 9, Text: func(g *T, _ Look) string { return g.ID }},
			{Title: "STATE", Width: 14, Keep: 7, Text: func(g *T, _ Look) string { return g.State }, Show: func(g *T, _ Look) Cell { return groupState(g) }},
			{Title: "MEMBERS", Width: 7, Keep: 6, Number: func(g *T, _ Look) float64 { return float64(len(g.Members)) }},
			{Title: "LAG", Width: 6, Keep: 8, Number: func(g *T, _ Look) float64 { return float64(g.Lag) }, Show: func(g *T, _ Look) Cell { return lag(g.Lag) }},
			rateColumn("READ/S", groupID), trendColumn(groupID),
			{Title: "TOPICS", Width: 14, Grow: 2, Keep: 4, Text: func(g *T, _ Look) string { return strings.Join(groupTopics(g), " ") }},
			{Title: "PROTOCOL", Width: 10, Grow: 1, Keep: 2, Text: func(g *T, _ Look) string { return g.Protocol }},
			{Title: "GENERATION", Width: 10, Keep: 1, Number: func(g *T, _ Look) float64 { return float64(g.Generation) }},
		},
		ID: groupID,
		List: func(ctx context.Context, src adminapi.Source, namespace string, limit int) ([]T, error) {
			return src.Groups(ctx, adminapi.Query{Namespace: namespace, Limit: limit})
		},
		Get: func(ctx context.Context, src adminapi.Source, g T) (T, error) {
			return src.Group(ctx, adminapi.Ref{Namespace: g.Namespace, Name: g.ID})
		},
		// Consumers commit every five seconds, unless they were told otherwise.
		Counter: committed, Span: 20 * time.Second,
		Detail:  groupDetail,
		Command: func(g *T) string { return "rmq group get " + quote(g.ID) },
	}
}

func groupID(g *adminapi.Group) string { return g.ID }

// committed grows as the group reads on.
func committed(g *adminapi.Group) int64 {
	var n int64
	for i := range g.Offsets {
		n += max(0, g.Offsets[i].Committed)
	}
	return n
}

// groupState shortens the two long states, which a list has no room for.
func groupState(g *adminapi.Group) Cell {
	switch g.State {
	case "Stable":
		return Cell{g.State, Good}
	case "PreparingRebalance", "CompletingRebalance", "Assigning", "Reconciling":
		return Cell{strings.TrimSuffix(g.State, "Rebalance") + yes(strings.HasSuffix(g.State, "Rebalance"), "…"), Warn}
	case "Dead":
		return Cell{g.State, Bad}
	}
	return Cell{g.State, Faint}
}

func lag(n int64) Cell {
	c := count(float64(n))
	if n > 0 {
		c.Tone = Warn
	}
	return c
}

func groupTopics(g *adminapi.Group) []string {
	var out []string
	for i := range g.Offsets {
		out = append(out, g.Offsets[i].Topic)
	}
	for i := range g.Members {
		for _, a := range g.Members[i].Assigned {
			out = append(out, a.Topic)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func groupDetail(g *adminapi.Group, l Look) []Section {
	st := groupState(g)
	st.Text = g.State
	about := Section{Fields: []Field{
		{"state", st}, field("type", g.Type), field("protocol", g.Protocol), field("generation", number(int64(g.Generation))),
		{"lag", Cell{number(g.Lag), lag(g.Lag).Tone}}, field("reading", perSecond(l.rate(g.ID))), field("coordinator", fmt.Sprintf("node %d", g.Coordinator)),
	}}
	if !g.LastActivity.IsZero() {
		about.Fields = append(about.Fields, field("last seen", l.Since(g.LastActivity)+" ago"))
	}
	members := Section{Title: "members", Head: left("CLIENT", "HOST", "ASSIGNED", "INSTANCE", "MEMBER"), Empty: "none: nobody reads for this group now"}
	names := map[string]string{}
	for _, m := range g.Members {
		names[m.ID] = m.ClientID
		members.Rows = append(members.Rows, plain(m.ClientID, m.Host, orDash(assigned(m.Assigned)), orDash(m.InstanceID), m.ID))
	}
	offsets := Section{Title: "offsets", Empty: "none committed", Head: []Head{
		{"TOPIC", false}, {"PARTITION", true}, {"COMMITTED", true}, {"END", true}, {"LAG", true}, {"READ BY", false}, {"METADATA", false},
	}}
	for _, o := range g.Offsets {
		c := number(o.Committed)
		if o.Committed < 0 {
			c = "-"
		}
		by := o.Member
		if n := names[o.Member]; n != "" {
			by = n
		}
		row := plain(o.Topic, number(int64(o.Partition)), c, number(o.End), number(o.Lag), orDash(by), orDash(o.Metadata))
		row[4].Tone = lag(o.Lag).Tone
		offsets.Rows = append(offsets.Rows, row)
	}
	return []Section{about, members, offsets}
}

// assigned writes "orders[0 2] audit[0]".
func assigned(as []adminapi.Assignment) string {
	var out []string
	for _, a := range as {
		out = append(out, fmt.Sprintf("%s%v", a.Topic, a.Partitions))
	}
	return strings.Join(out, " ")
}
