package kernel

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/kernel/shard"
)

// retaining counts the retained messages on their way into one shard, so that who subscribes
// meanwhile is sent them, not those before them. Without it there would be a gap: a message
// goes to who is subscribed at once, and is retained when the log has it; who subscribes in
// between would get it by neither way.
//
// It knows those of its own node. In a cluster what other nodes retain is waited for by a barrier.
type retaining struct {
	mu           sync.Mutex
	begun, ended uint64
	late         uint64        // so many were to have ended when a wait was over: while they have not, nobody waits
	moved        chan struct{} // closed when ended grows; nil: nobody waits
}

// retainWait bounds, in link time, how long a subscription waits for retained messages that
// are on their way. What a disk that hangs holds back comes too late for it, and those after
// it do not wait.
const retainWait = time.Second

// begin says that one will be proposed. It is called before anybody is given the message.
func (r *retaining) begin() {
	r.mu.Lock()
	r.begun++
	r.mu.Unlock()
}

// end says that one is applied, or will never be.
func (r *retaining) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended++
	if r.moved != nil {
		close(r.moved)
		r.moved = nil
	}
}

// underway returns what number of them must have ended until those on their way now have;
// false: none is, or they are late.
func (r *retaining) underway() (until uint64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.begun, r.begun > r.ended && r.late <= r.ended
}

// wait waits until so many have ended, or over is closed.
func (r *retaining) wait(until uint64, over <-chan struct{}) {
	for {
		r.mu.Lock()
		if r.ended >= until {
			r.mu.Unlock()
			return
		}
		if r.moved == nil {
			r.moved = make(chan struct{})
		}
		moved := r.moved
		r.mu.Unlock()
		select {
		case <-moved:
		case <-over:
			r.mu.Lock()
			r.late = max(r.late, until)
			r.mu.Unlock()
			return
		}
	}
}

// retainOp is what waits for a retained message to be applied.
type retainOp struct {
	*publishOp
	s *shardRun
}

func (op *retainOp) applied(br *shard.BatchResult, or *shard.OpResult, err error) {
	op.s.retaining.end()
	op.publishOp.applied(br, or, err)
}

// awaitRetained waits for the retained messages that are on their way: up to retainWait for those of
// this node, and in a cluster for all that another node has answered for. Without a majority of the
// nodes nobody knows which those are, and the error is that of the wait.
func (k *Kernel) awaitRetained(shards []*shardRun) error {
	k.awaitOwn(shards)
	if !k.Clustered() {
		return nil
	}
	ctx, cancel := k.linkTimeout(passWait)
	defer cancel()
	errs := make([]error, len(shards))
	var all sync.WaitGroup
	for i, s := range shards {
		if s.class.logged() {
			all.Go(func() { errs[i] = s.barrier(ctx) })
		}
	}
	all.Wait()
	return errors.Join(errs...)
}

// passWait bounds, in link time, how long a subscription waits for what other nodes have retained.
const passWait = 10 * time.Second

func (k *Kernel) awaitOwn(shards []*shardRun) {
	var ctx context.Context
	for _, s := range shards {
		until, ok := s.retaining.underway()
		if !ok {
			continue
		}
		if ctx == nil {
			c, cancel := k.linkTimeout(retainWait)
			defer cancel()
			ctx = c
		}
		s.retaining.wait(until, ctx.Done())
	}
}

// linkTimeout is a context that ends with the kernel, or after d of link time.
func (k *Kernel) linkTimeout(d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(k.ctx)
	timer := k.cfg.Link.AfterFunc(d, cancel)
	return ctx, func() {
		timer.Stop()
		cancel()
	}
}
