package kernel_test

import (
	"context"
	"errors"
	"iter"
	"testing"
	"testing/synctest"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/cluster/group"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/memlog"
)

// heldSaves tells when the checkpoint of a data shard begins to be saved, and lets it go on
// once release is closed.
type heldSaves struct {
	storage.Engine
	begun, release chan struct{}
}

func (h *heldSaves) Checkpoints() storage.Checkpoints {
	return heldCheckpoints{h.Engine.Checkpoints(), h}
}

type heldCheckpoints struct {
	storage.Checkpoints
	h *heldSaves
}

func (c heldCheckpoints) Save(id storage.ShardID, meta storage.CheckpointMeta, full bool, changes iter.Seq2[[]byte, []byte]) error {
	if id == 1 {
		close(c.h.begun)
		<-c.h.release
	}
	return c.Checkpoints.Save(id, meta, full, changes)
}

// A kernel that does not open has written the last when Open returns: whoever closes the
// engine and opens it anew must not find a checkpoint of the one before on its way.
func TestOpenThatFailsLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := memlog.New()
		k, stop := kerneltest.Start(t, kerneltest.Options{Engine: keep{engine}, DataShards: 1})
		if _, _, err := k.DeclareQueue(t.Context(), queueSpec("q")); err != nil {
			t.Fatal(err)
		}
		stop()

		held := &heldSaves{engine, make(chan struct{}), make(chan struct{})}
		host := group.NewHost(group.Options{Self: 1, Workers: 1, Clock: clock.Wall{}, Seed: 1})
		refuse := errors.New("refused")
		done := make(chan error, 1)
		go func() {
			_, err := kernel.Open(kernel.Config{
				Engine: held, Time: clock.Wall{}, Link: clock.Wall{}, DataShards: 1, CheckpointBytes: 1,
				OpenGroup: func(s kernel.GroupSpec) (kernel.Group, error) {
					if s.Shard == 1000 { // when the checkpoint of shard 1 has begun
						<-held.begun
						return nil, refuse
					}
					return kerneltest.OpenGroup(host, engine.Log(), s)
				},
			})
			done <- err
		}()
		<-held.begun
		synctest.Wait()
		select {
		case err := <-done:
			t.Errorf("Open has returned %v while a checkpoint is being saved", err)
		default:
		}
		close(held.release)
		synctest.Wait()
		select {
		case err := <-done:
			if !errors.Is(err, refuse) {
				t.Errorf("Open: %v, want %v", err, refuse)
			}
		default:
			t.Error("Open does not return")
		}
		if err := host.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
}
