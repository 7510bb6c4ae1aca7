package kernel

import (
	"context"
	"errors"
	"time"

	"github.com/robustmq/rmq/broker/fault"
)

// cutMax bounds how long publishes are held back for a cut.
const cutMax = 10 * time.Second

// Cut calls fn while what is on the engine is the state of the whole broker at one moment, and all of
// it: every shard's checkpoint has what the shard has applied, segments have what checkpoints speak
// of, and nothing is acknowledged until fn returns. Clients wait meanwhile, connections stay.
//
// What has durability memory, or dies with its connection, is not on the engine.
//
// Log 0 is as of the end of the cut: it may name what no shard has yet, as after a crash.
func (k *Kernel) Cut(ctx context.Context, fn func() error) error {
	if k.Clustered() {
		return fault.New(fault.Unsupported, "take a snapshot", "", "only of a broker that is alone: other nodes of a cluster do not wait meanwhile")
	}
	if err := k.saveAll(ctx); err != nil { // the most of it, before anybody has to wait
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, cutMax)
	defer cancel()
	release := k.holdEntries()
	defer release()
	if err := k.awaitIdle(ctx); err != nil {
		return err
	}
	if err := k.saveAll(ctx); err != nil {
		return err
	}
	return fn()
}

// awaitIdle waits until nothing that was proposed to a shard is still on its way. Entries are held.
func (k *Kernel) awaitIdle(ctx context.Context) error {
	changed, stop := k.Changes()
	defer stop()
	for _, s := range k.shards {
		for s.busy() {
			select {
			case <-changed:
			case <-ctx.Done():
				return fault.New(fault.Timeout, "cut", s.name(), "%w", ctx.Err())
			case <-k.ctx.Done():
				return fault.Of(fault.Unavailable, "cut", s.name())
			}
		}
	}
	return nil
}

// busy tells whether something is proposed, and not applied.
func (s *shardRun) busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopped == nil && (s.proposing || len(s.inflight) > 0)
}

// saveAll has a checkpoint written of each shard that has applied something since its last, and then of
// log 0, so that that knows everything that shards are of.
func (k *Kernel) saveAll(ctx context.Context) error {
	errs := make(chan error, len(k.shards))
	n := 0
	for _, s := range k.shards {
		if s.class.logged() && s.unsaved.Load() > 0 {
			n++
			go func() { errs <- s.checkpoint() }() // ends with the checkpoint, or after checkpointWait
		}
	}
	var err error
	for range n {
		select {
		case one := <-errs:
			err = errors.Join(err, one)
		case <-ctx.Done():
			return fault.New(fault.Timeout, "cut", "", "%w", context.Cause(ctx))
		}
	}
	if err == nil && k.meta.unsaved.Load() > 0 {
		err = k.meta.checkpoint(ctx)
	}
	return err
}
