package broker

import (
	"context"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/storage/memlog"
)

// Image returns all that a broker in memory holds, at one moment: an engine that is opened of it
// may be another broker's Config.Engine. What has durability memory, or dies with its connection,
// is not in it, as it would not be after a restart.
func (b *Broker) Image(ctx context.Context) (i *memlog.Image, err error) {
	e, ok := b.engine.(interface{ Image() *memlog.Image })
	if !ok {
		return nil, fault.New(fault.Unsupported, "snapshot", "", "the broker does not keep its data in memory")
	}
	err = b.kernel.Cut(ctx, func() error {
		i = e.Image()
		return nil
	})
	return i, err
}
