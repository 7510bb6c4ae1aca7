package doctor

import (
	kmeta "github.com/robustmq/rmq/broker/kernel/meta"
	"github.com/robustmq/rmq/broker/kernel/shard"
	"github.com/robustmq/rmq/broker/storage"
)

// KeyKind is what kind of thing a key of a shard's checkpoint is of.
func KeyKind(id storage.ShardID, key, value []byte) string {
	kind, _, _, _ := DescribeKey(id, key, value)
	return kind
}

// DescribeKey says what a key of a shard's checkpoint is: its kind, which one, which part
// of it, and what it says where that is short.
func DescribeKey(id storage.ShardID, key, value []byte) (kind, of, part, text string) {
	if id == 0 {
		kind, name, ok := kmeta.DescribeKey(key)
		if !ok {
			return "unknown", "", "", ""
		}
		if kmeta.Shown(kind, value) {
			text = string(value)
		}
		return kind, name, "", text
	}
	d, ok := shard.DescribeKey(key, value)
	if !ok {
		return "unknown", "", "", ""
	}
	return d.Kind, d.Of, d.Part, d.Text
}
