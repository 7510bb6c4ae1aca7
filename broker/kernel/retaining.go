package kernel

import (
	"context"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/clock"
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

// awaitRetained waits, up to retainWait, for the retained messages that are on their way: those of
// this node, and in a cluster all that another node has answered for.
func (k *Kernel) awaitRetained(shards []*shardRun) {
	ctx, cancel := context.WithCancel(k.ctx)
	defer cancel()
	var timer clock.Timer
	patience := func() {
		if timer == nil {
			timer = k.cfg.Link.AfterFunc(retainWait, cancel)
		}
	}
	for _, s := range shards {
		if until, ok := s.retaining.underway(); ok {
			patience()
			s.retaining.wait(until, ctx.Done())
		}
	}
	if k.Clustered() {
		patience()
		var all sync.WaitGroup
		for _, s := range shards {
			if s.class.logged() {
				all.Go(func() { _ = s.barrier(ctx) }) // or it comes too late
			}
		}
		all.Wait()
	}
	if timer != nil {
		timer.Stop()
	}
}
