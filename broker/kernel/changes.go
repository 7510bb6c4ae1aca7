package kernel

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel/shard"
)

// This file is how tests and screens wait for the kernel instead of asking it again and
// again: a wake after every change, and a wait for what a change set going.

// changes wakes who watches. It costs an entry one atomic load when nobody does.
type changes struct {
	mu   sync.Mutex
	list atomic.Pointer[[]chan struct{}] // nil when there are none; never changed in place

	posted, handled atomic.Uint64 // works for letters: handed over, and carried out
}

// Changes returns a channel that gets a wake after whatever may change the kernel's lists
// and infos (streams, queues, sessions, groups, retained messages, topology), until stop is
// called. It holds one wake: several changes may share it, and a reader looks again after
// each.
func (k *Kernel) Changes() (changed <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	k.changes.edit(func(l []chan struct{}) []chan struct{} { return append(l, c) })
	return c, func() {
		k.changes.edit(func(l []chan struct{}) []chan struct{} {
			return slices.DeleteFunc(l, func(e chan struct{}) bool { return e == c })
		})
	}
}

func (w *changes) edit(f func([]chan struct{}) []chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []chan struct{}
	if old := w.list.Load(); old != nil {
		list = slices.Clone(*old)
	}
	if list = f(list); len(list) == 0 {
		w.list.Store(nil)
		return
	}
	w.list.Store(&list)
}

// tell wakes who watches; it does not wait for them.
func (w *changes) tell() {
	list := w.list.Load()
	if list == nil {
		return
	}
	for _, c := range *list {
		select {
		case c <- struct{}{}:
		default: // a wake is pending already
		}
	}
}

// Works counts what effects have set going so far: dead letters, wills, queues that
// expired. Two equal numbers with Settle between them: nothing is under way.
func (k *Kernel) Works() uint64 { return k.changes.posted.Load() }

// Settle waits until the works of effects, and the works that come of those, are carried
// out and applied. With a virtual clock, time has passed only then: a message that expired
// is in its dead-letter queue, a will is published.
func (k *Kernel) Settle(ctx context.Context) error {
	changed, stop := k.Changes()
	defer stop()
	for {
		posted := k.Works()
		for k.changes.handled.Load() < posted {
			select {
			case <-changed:
			case <-ctx.Done():
				return fault.New(fault.Timeout, "settle", "kernel", "%w", ctx.Err())
			case <-k.ctx.Done():
				return fault.Of(fault.Unavailable, "settle", "kernel")
			}
		}
		// A shard applies in order: with a tick, all that was handed to it before is applied.
		// Twice, because what is applied in one shard may be confirmed to another.
		for range 2 {
			for _, s := range k.everyShard() {
				if _, err := s.call(ctx, func(b *shard.Builder) int { return b.Tick() }); err != nil {
					return err
				}
			}
		}
		if k.Works() == posted {
			return nil
		}
	}
}
