package kind

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
)

// Partition is one log of a topic, with the shard that keeps it.
type Partition struct {
	adminapi.Partition
	Topic     string
	Namespace string
	Kept      adminapi.Shard // as the node that answers sees it; of ID 0 when it sees none
}

// Partitions are those of all topics.
func Partitions() *Kind[Partition] {
	type T = Partition
	return &Kind[T]{
		One: "partition", Many: "partitions", SortBy: "TOPIC",
		Empty: "no partitions: there are no topics",
		Columns: []Column[T]{
			{Title: "TOPIC", Width: 18, Grow: 3, Keep: 9, Text: func(p *T, _ Look) string { return p.Topic }},
			{Title: "PART", Width: 4, Keep: 9, Number: func(p *T, _ Look) float64 { return float64(p.Index) }, Show: func(p *T, _ Look) Cell { return Cell{Text: number(int64(p.Index))} }},
			{Title: "LEADER", Width: 6, Keep: 8, Number: func(p *T, _ Look) float64 { return float64(p.Leader) }, Show: func(p *T, _ Look) Cell { return leader(p.Leader) }},
			{Title: "VOTERS", Width: 8, Keep: 6, Text: func(p *T, _ Look) string { return nodeList(p.Kept.Voters) }},
			{Title: "START", Width: 7, Keep: 5, Number: func(p *T, _ Look) float64 { return float64(p.Start) }},
			{Title: "END", Width: 7, Keep: 7, Number: func(p *T, _ Look) float64 { return float64(p.End) }},
			{Title: "OPEN", Width: 6, Keep: 4, Number: func(p *T, _ Look) float64 { return float64(p.End - p.LastStable) }, Show: func(p *T, _ Look) Cell { return lag(p.End - p.LastStable) }},
			{Title: "BYTES", Width: 8, Keep: 6, Number: func(p *T, _ Look) float64 { return float64(p.Bytes) }, Show: func(p *T, _ Look) Cell { return size(p.Bytes) }},
			rateColumn("IN/S", partitionID), trendColumn(partitionID),
			{Title: "EPOCH", Width: 5, Keep: 2, Number: func(p *T, _ Look) float64 { return float64(p.Epoch) }},
			{Title: "SHARD", Width: 5, Keep: 3, Number: func(p *T, _ Look) float64 { return float64(p.Shard) }},
		},
		ID:    partitionID,
		Title: partitionName,
		List: func(ctx context.Context, src adminapi.Source, namespace string, limit int) ([]T, error) {
			topics, err := src.Topics(ctx, adminapi.Query{Namespace: namespace, Limit: adminapi.ListMax})
			if err != nil {
				return nil, err
			}
			shards, err := src.Shards(ctx)
			var out []T
			for i := range topics {
				out = append(out, partitionsOf(&topics[i], shards)...)
			}
			return out[:min(limit, len(out))], err
		},
		Get: func(ctx context.Context, src adminapi.Source, p T) (T, error) {
			topic, err := src.Topic(ctx, adminapi.Ref{Namespace: p.Namespace, Name: p.Topic, Spelling: "mqtt"})
			if err != nil {
				return p, err
			}
			shards, err := src.Shards(ctx)
			for _, x := range partitionsOf(&topic, shards) {
				if x.Index == p.Index {
					return x, err
				}
			}
			return p, err
		},
		Counter: func(p *T) int64 { return p.End }, Span: 3 * time.Second,
		Detail: func(p *T, l Look) []Section {
			about := Section{Fields: []Field{
				field("topic", p.Topic), field("partition", number(int64(p.Index))), {"leader", leader(p.Leader)}, field("epoch", number(int64(p.Epoch))),
				field("start", number(p.Start)), field("end", number(p.End)), field("last stable", number(p.LastStable)),
				{"in open transactions", lag(p.End - p.LastStable)}, field("bytes", exact(p.Bytes)), field("appended", perSecond(l.rate(partitionID(p)))),
			}}
			shard := Section{Title: "shard", Note: "the replicated log that keeps it", Head: shardHead, Empty: "the node that is asked does not keep it"}
			if p.Kept.ID == p.Shard && len(p.Kept.Voters) > 0 {
				shard.Rows = append(shard.Rows, shardRow(&p.Kept))
			}
			return []Section{about, shard}
		},
		Command: func(p *T) string { return "rmq topic get " + quote(p.Topic) },
		Copied:  partitionName,
	}
}

func partitionsOf(t *adminapi.Topic, shards []adminapi.Shard) []Partition {
	var out []Partition
	for _, p := range t.Partitions {
		x := Partition{Partition: p, Topic: t.Name, Namespace: t.Namespace}
		for i := range shards {
			if shards[i].ID == p.Shard {
				x.Kept = shards[i]
			}
		}
		out = append(out, x)
	}
	return out
}

// partitionID sorts as its topic and its number do.
func partitionID(p *Partition) string { return fmt.Sprintf("%s %010d", p.Topic, p.Index) }

// partitionName is what commands call it.
func partitionName(p *Partition) string { return fmt.Sprintf("%s/%d", p.Topic, p.Index) }

func leader(node uint64) Cell {
	if node == 0 {
		return Cell{"none", Bad}
	}
	return Cell{Text: fmt.Sprintf("node %d", node)}
}

func nodeList(ids []uint64) string {
	return orDash(strings.Trim(fmt.Sprint(ids), "[]"))
}
