package kind

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
)

// Topics are streams: partitions of records, read by offset.
func Topics() *Kind[adminapi.Topic] {
	type T = adminapi.Topic
	return &Kind[T]{
		One: "topic", Many: "topics", SortBy: "TOPIC",
		Empty: "no topics yet; this makes one: rmq produce kafka:orders hello",
		Columns: []Column[T]{
			{Title: "TOPIC", Width: 16, Grow: 3, Keep: 9, Text: func(t *T, _ Look) string { return t.Name }},
			{Title: "KAFKA", Width: 14, Grow: 1, Keep: 2, Text: func(t *T, _ Look) string { return t.Names.Kafka }},
			{Title: "PARTS", Width: 5, Keep: 6, Number: func(t *T, _ Look) float64 { return float64(len(t.Partitions)) }},
			{Title: "RECORDS", Width: 7, Keep: 8, Number: func(t *T, _ Look) float64 { return float64(t.Records) }},
			{Title: "BYTES", Width: 8, Keep: 7, Number: func(t *T, _ Look) float64 { return float64(t.Bytes) }, Show: func(t *T, _ Look) Cell { return size(t.Bytes) }},
			rateColumn("IN/S", topicID), trendColumn(topicID),
			{Title: "CAPTURE", Width: 8, Keep: 3, Text: func(t *T, _ Look) string { return capture(t) }},
			{Title: "AGE", Width: 6, Keep: 1, Number: func(t *T, l Look) float64 { return l.Now.Sub(t.Created).Seconds() },
				Show: func(t *T, l Look) Cell { return Cell{Text: l.Since(t.Created)} }},
		},
		ID: topicID,
		List: func(ctx context.Context, src adminapi.Source, namespace string, limit int) ([]T, error) {
			return src.Topics(ctx, adminapi.Query{Namespace: namespace, Limit: limit})
		},
		Get: func(ctx context.Context, src adminapi.Source, t T) (T, error) {
			return src.Topic(ctx, adminapi.Ref{Namespace: t.Namespace, Name: t.Name, Spelling: "mqtt"})
		},
		Counter: ends, Span: 3 * time.Second,
		Detail:  topicDetail,
		Command: func(t *T) string { return "rmq topic get " + quote(t.Name) },
	}
}

func topicID(t *adminapi.Topic) string { return t.Name }

// ends grows with every record that is appended, and never with one that is let go.
func ends(t *adminapi.Topic) int64 {
	var n int64
	for i := range t.Partitions {
		n += t.Partitions[i].End
	}
	return n
}

func capture(t *adminapi.Topic) string {
	switch {
	case t.Captured:
		return "captured"
	case t.Exact:
		return "exact"
	}
	return ""
}

func topicDetail(t *adminapi.Topic, l Look) []Section {
	about := Section{Fields: []Field{
		field("mqtt", t.Names.MQTT), field("kafka", t.Names.Kafka), field("amqp", t.Names.AMQP),
		field("namespace", t.Namespace), field("id", t.ID),
		field("created", l.Stamp(t.Created)+" ("+l.Since(t.Created)+" ago)"),
		field("kind", topicNature(t)), field("durability", t.Durability),
		field("records", number(t.Records)), field("bytes", exact(t.Bytes)),
		field("appended", perSecond(l.rate(t.Name))),
	}}
	parts := Section{Title: "partitions", Head: right("PARTITION", "START", "END", "RECORDS", "STABLE", "BYTES", "LEADER", "EPOCH", "SHARD")}
	for i := range t.Partitions {
		p := &t.Partitions[i]
		row := plain(number(int64(p.Index)), number(p.Start), number(p.End), number(p.End-p.Start), number(p.LastStable), Bytes(p.Bytes),
			number(int64(p.Leader)), number(int64(p.Epoch)), number(int64(p.Shard)))
		if p.Leader == 0 {
			row[6] = Cell{"none", Bad}
		}
		if p.LastStable < p.End { // an open transaction holds readers of committed records back
			row[4].Tone = Warn
		}
		parts.Rows = append(parts.Rows, row)
	}
	config := Section{Title: "configuration", Empty: "as the broker has it"}
	for _, k := range slices.Sorted(maps.Keys(t.Config)) {
		config.Fields = append(config.Fields, field(Clean(k), t.Config[k]))
	}
	return []Section{about, parts, config}
}

func topicNature(t *adminapi.Topic) string {
	var what []string
	if t.Captured {
		what = append(what, "captured: made for what was published, a bounded ring")
	}
	if t.Exact {
		what = append(what, "exact: nothing below its address is kept in it")
	}
	if what == nil {
		return "declared"
	}
	return strings.Join(what, "; ")
}
