package kernel

import (
	"context"

	"github.com/robustmq/rmq/broker/kernel/meta"
)

// DeclareHalf does the first half of DeclareQueue: log 0 names the queue, its shard does
// not have it yet.
func (k *Kernel) DeclareHalf(ctx context.Context, spec QueueSpec) error {
	s := k.slot(spec.Namespace, spec.Name)
	_, err := k.meta.do(ctx, &meta.Command{Op: meta.CreateQueue, Queue: &spec, Shards: []uint32{uint32(s.id)}})
	return err
}
