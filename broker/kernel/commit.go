package kernel

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel/shard"
)

// commit holds the shards' entries back while it fills them, so that what one
// transaction does in one shard is one entry: a crash leaves all of it or none.
func (k *Kernel) commit(ctx context.Context, ps []*Publish, settles []SettleOp) ([]PublishResult, error) {
	total := 0
	for _, p := range ps {
		total += p.Msg.Size()
	}
	if total > MessageMax {
		return nil, fault.New(fault.TooLarge, "commit", "", "messages of %d bytes in one transaction, %d at most", total, MessageMax)
	}
	if err := k.refused(); err != nil && len(ps) > 0 {
		k.stats.Refused.Add(1)
		return nil, err
	}
	rs := make([]*resolved, len(ps))
	for i, p := range ps { // makes captured streams now: nothing commits while entries are held
		rs[i] = k.resolve(k.topo.space(p.Namespace), p)
		p.held = true
	}
	if err := k.awaitRoom(ctx, func() bool { return !k.anyCrowds(ps, rs) }); err != nil {
		return nil, err
	}
	results := make([]PublishResult, len(ps))
	w := &commitWait{results: results, done: make(chan struct{})}
	w.left.Store(int64(len(ps)+len(settles)) + 1)
	release := k.holdEntries()
	for i, p := range ps {
		p.Reply, p.Tag = w, uint64(i)
		_ = k.publish(p, false)
	}
	for _, s := range settles {
		inOrder := len(ps) > 0 // into the entry of the publishes
		if err := s.Attachment.settle(inOrder, s.No, false, s.Outcome, w); err != nil {
			w.applied(nil, nil, err)
		}
	}
	release()
	w.Published(uint64(len(ps)), PublishResult{})
	select {
	case <-w.done:
		w.mu.Lock()
		defer w.mu.Unlock()
		return results, w.err
	case <-ctx.Done():
		return nil, fault.New(fault.Timeout, "commit", "", "%w", ctx.Err())
	}
}

// anyCrowds tells whether one of the messages is for a shard that is crowded.
func (k *Kernel) anyCrowds(ps []*Publish, rs []*resolved) bool {
	if k.pressure.crowds.Load() == 0 {
		return false
	}
	for i, p := range ps {
		if k.crowds(p, rs[i]) {
			return true
		}
	}
	return false
}

// holdEntries stops every shard from proposing until release is called.
func (k *Kernel) holdEntries() (release func()) {
	for _, s := range k.shards {
		s.mu.Lock()
		s.held++
		s.mu.Unlock()
	}
	return func() {
		for _, s := range k.shards {
			s.mu.Lock()
			s.held--
			s.pumpLocked()
			s.mu.Unlock()
		}
	}
}

// commitWait waits for all publishes and settlements of a transaction.
type commitWait struct {
	results []PublishResult
	left    atomic.Int64
	done    chan struct{}

	mu  sync.Mutex
	err error // of a settlement
}

// applied is told of one settlement.
func (w *commitWait) applied(_ *shard.BatchResult, _ *shard.OpResult, err error) {
	if err != nil {
		w.mu.Lock()
		w.err = err
		w.mu.Unlock()
	}
	w.Published(uint64(len(w.results)), PublishResult{})
}

func (w *commitWait) Published(tag uint64, r PublishResult) {
	if tag < uint64(len(w.results)) {
		w.results[tag] = r
	}
	if w.left.Add(-1) == 0 {
		close(w.done)
	}
}
