package kernel

import (
	"context"

	"github.com/robustmq/rmq/broker/kernel/group"
	"github.com/robustmq/rmq/broker/kernel/shard"
)

// dropFromGroups forgets what the groups of a namespace have committed for a topic, by
// the name they know it by: it was deleted, and one of that name that is made later
// begins anew. Groups without offsets there are left alone.
func (k *Kernel) dropFromGroups(ctx context.Context, ns, topic string) error {
	var ids []string
	k.Groups(ns, func(id string, g *group.Group) {
		found := false
		g.Offsets(func(name string, _ int32, _ group.Offset) bool {
			found = name == topic
			return name < topic
		})
		if found {
			ids = append(ids, id)
		}
	})
	for _, id := range ids {
		if _, err := groupCall[any](ctx, k, ns, id, shard.GroupCommand{DropTopic: topic}); err != nil {
			return err
		}
	}
	return nil
}
