package kind

import (
	"context"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
)

// Queue is a queue with what is bound to it.
type Queue struct {
	adminapi.Queue
	Bindings []adminapi.Binding // that lead to it; nil in a list
	listed   bool               // Bindings were not asked for
}

// Queues hold messages for consumers that compete.
func Queues() *Kind[Queue] {
	type T = Queue
	return &Kind[T]{
		One: "queue", Many: "queues", SortBy: "QUEUE",
		Empty: "no queues yet; this makes one: rmq queue create jobs",
		Columns: []Column[T]{
			{Title: "QUEUE", Width: 18, Grow: 3, Keep: 9, Text: func(q *T, _ Look) string { return q.Name }},
			{Title: "READY", Width: 6, Keep: 8, Number: func(q *T, _ Look) float64 { return float64(q.Ready) }, Show: func(q *T, _ Look) Cell { return waiting(q) }},
			{Title: "UNACKED", Width: 7, Keep: 7, Number: func(q *T, _ Look) float64 { return float64(q.Unacked) }},
			changeColumn("READY/S", queueID),
			levelColumn("DEPTH", queueID),
			{Title: "CONSUMERS", Width: 9, Keep: 6, Number: func(q *T, _ Look) float64 { return float64(q.Consumers) }},
			{Title: "BYTES", Width: 8, Keep: 5, Number: func(q *T, _ Look) float64 { return float64(q.Bytes) }, Show: func(q *T, _ Look) Cell { return size(q.Bytes) }},
			{Title: "FEATURES", Width: 16, Grow: 1, Keep: 4, Text: func(q *T, _ Look) string { return features(q) }},
			{Title: "SHARD", Width: 5, Keep: 1, Number: func(q *T, _ Look) float64 { return float64(q.Shard) }},
		},
		ID: queueID,
		List: func(ctx context.Context, src adminapi.Source, namespace string, limit int) ([]T, error) {
			qs, err := src.Queues(ctx, adminapi.Query{Namespace: namespace, Limit: limit})
			out := make([]T, len(qs))
			for i := range qs {
				out[i] = T{Queue: qs[i], listed: true}
			}
			return out, err
		},
		Get: func(ctx context.Context, src adminapi.Source, q T) (T, error) {
			got, err := src.Queue(ctx, adminapi.Ref{Namespace: q.Namespace, Name: q.Name})
			if err != nil {
				return T{}, err
			}
			all, err := src.Bindings(ctx, adminapi.Query{Namespace: q.Namespace, Limit: adminapi.ListMax})
			out := T{Queue: got}
			for _, b := range all {
				if !b.ToExchange && b.Destination == q.Name {
					out.Bindings = append(out.Bindings, b)
				}
			}
			return out, err
		},
		Level: func(q *T) int64 { return q.Ready }, Span: 5 * time.Second,
		Detail:  queueDetail,
		Command: func(q *T) string { return "rmq queue get " + quote(q.Name) },
	}
}

func queueID(q *Queue) string { return q.Name }

// waiting is how many messages are ready: a warning where nobody comes for them.
func waiting(q *Queue) Cell {
	c := count(float64(q.Ready))
	if q.Ready > 0 && q.Consumers == 0 {
		c.Tone = Warn
	}
	return c
}

// features says in a word each what is special about a queue.
func features(q *Queue) string {
	f := []string{yes(q.Durable, "durable"), yes(q.Exclusive, "exclusive"), yes(q.AutoDelete, "auto-delete")}
	for _, a := range q.Arguments {
		switch a.Name {
		case "x-message-ttl":
			f = append(f, "ttl")
		case "x-expires":
			f = append(f, "expires")
		case "x-max-length", "x-max-length-bytes":
			f = append(f, "limit")
		case "x-dead-letter-exchange":
			f = append(f, "dead-letter")
		case "x-max-priority":
			f = append(f, "priority")
		case "x-single-active-consumer":
			f = append(f, "single")
		}
	}
	return words(f...)
}

func queueDetail(q *Queue, l Look) []Section {
	about := Section{Fields: []Field{
		field("namespace", q.Namespace),
		{"ready", waiting(q)}, field("changing", change(l.rate(q.Name)).Text), field("unacked", number(q.Unacked)), field("consumers", number(int64(q.Consumers))),
		field("bytes", exact(q.Bytes)), field("features", features(q)), field("durability", q.Durability), field("shard", number(int64(q.Shard))),
	}}
	if q.Ready > 0 && q.Consumers == 0 {
		about.Fields[1].Value = Cell{number(q.Ready) + " (and no consumer)", Warn}
	} else {
		about.Fields[1].Value = Cell{Text: number(q.Ready)}
	}
	bound := Section{Title: "bindings to it", Head: left("EXCHANGE", "KEY", "ARGUMENTS"), Empty: "only the default exchange, by its name"}
	if q.listed {
		bound.Empty = "asking…"
	}
	for _, b := range q.Bindings {
		bound.Rows = append(bound.Rows, []Cell{{Text: Clean(ExchangeName(b.Source))}, {Text: Clean(b.Key)}, {Text: argumentLine(b.Arguments)}})
	}
	return []Section{about, bound, arguments(q.Arguments)}
}

// argumentLine writes arguments in one line.
func argumentLine(args []adminapi.Argument) string {
	var out []string
	for _, a := range args {
		out = append(out, Clean(a.Name)+"="+Clean(a.Value))
	}
	return words(out...)
}
