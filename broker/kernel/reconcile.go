package kernel

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel/meta"
	qm "github.com/robustmq/rmq/broker/kernel/queue"
	"github.com/robustmq/rmq/broker/kernel/shard"
	"github.com/robustmq/rmq/broker/message"
)

// reconcile makes the shards agree with log 0 after the start of a broker of one node.
func (k *Kernel) reconcile() error {
	view := k.meta.view.Load()
	all := truths(view, slices.Collect(maps.Values(k.shards))...)
	for id, s := range k.shards {
		if s.class == classTransient || s.fence != nil {
			continue // nothing that log 0 names, or nothing that may be changed
		}
		if err := s.reconcile(k.ctx, true, func() (*truth, error) { return all[id], nil }); err != nil {
			return err
		}
	}
	// Streams in memory begin anew: an offset that a group has committed there would skip as
	// many records of what comes now.
	for st := range view.AllStreams() {
		if st.Durability == Memory {
			if err := k.dropFromGroups(k.ctx, st.Namespace, message.KafkaName(st.Address)); err != nil {
				return err
			}
		}
	}
	return nil
}

// truth is what log 0 names of one shard.
type truth struct {
	view   *meta.State
	logs   map[uint64]*meta.Stream
	queues map[uint64]*meta.Queue
}

// truths sorts what log 0 names by shard, for some shards, in one pass.
func truths(view *meta.State, shards ...*shardRun) map[uint32]*truth {
	out := make(map[uint32]*truth)
	for _, s := range shards {
		out[uint32(s.id)] = &truth{view, make(map[uint64]*meta.Stream), make(map[uint64]*meta.Queue)}
	}
	for st := range view.AllStreams() {
		for _, p := range st.Logs {
			if n := out[p.Shard]; n != nil {
				n.logs[p.Log] = st
			}
		}
	}
	for q := range view.AllQueues() {
		if n := out[q.Shard]; n != nil {
			n.queues[q.ID] = q
		}
	}
	return out
}

// contents is what a shard has of what log 0 names, and who is attached to it.
type contents struct {
	logs     map[uint64]bool // whether it is being deleted
	queues   map[uint64]qm.Dispatch
	attached [][2]uint64 // queue and attachment
	sessions map[string]uint64
	due      bool
}

func (s *shardRun) contents() contents {
	h := contents{logs: make(map[uint64]bool), queues: make(map[uint64]qm.Dispatch), sessions: make(map[string]uint64)}
	s.readMu.RLock()
	defer s.readMu.RUnlock()
	for l := range s.m.Logs() {
		if l.ID != shard.Bodies {
			h.logs[l.ID] = l.Deleted
		}
	}
	for _, id := range s.m.QueueIDs() {
		h.queues[id], _ = s.m.DispatchOf(id)
	}
	s.m.Attachments(func(queue, attachment uint64) { h.attached = append(h.attached, [2]uint64{queue, attachment}) })
	s.m.ConnectedSessions(func(key string, epoch uint64) { h.sessions[key] = epoch })
	h.due = s.m.NextDeadline() != 0
	return h
}

// reconcile makes the shard agree with log 0, which is the truth. What log 0 names and the
// shard lacks is made (a crash came between the two); what the shard holds and log 0 does not
// name is deleted (a committed command took it away). Attachments of lives that have ended
// are ended: their connections are gone. fresh: what waits to be published is published anew,
// for whoever was at it is gone.
//
// Log 0 is looked at after the shard: what the shard holds was named there before, so
// what is not is gone for good.
func (s *shardRun) reconcile(ctx context.Context, fresh bool, look func() (*truth, error)) error {
	h := s.contents()
	n, err := look()
	if err != nil {
		return err
	}
	var fixes []func(b *shard.Builder)
	fix := func(f func(b *shard.Builder)) { fixes = append(fixes, f) }
	for id, st := range n.logs {
		if _, there := h.logs[id]; !there {
			fix(func(b *shard.Builder) { b.CreateLog(id, st.Address) })
		}
	}
	for id, deleted := range h.logs {
		if n.logs[id] == nil && !deleted {
			fix(func(b *shard.Builder) { b.DeleteLog(id) })
		}
	}
	var ownerless []*meta.Queue
	for id, q := range n.queues {
		how, there := h.queues[id]
		if !there {
			fix(func(b *shard.Builder) { b.CreateQueue(id, limitsOf(q), q.Expires) })
		}
		if want := dispatchOf(n.view, q); how != want {
			fix(func(b *shard.Builder) { b.Dispatch(id, want) })
		}
		if q.Exclusive && !s.k.alive(n.view, q.Owner) {
			ownerless = append(ownerless, q)
		}
	}
	for id := range h.queues {
		if n.queues[id] == nil {
			fix(func(b *shard.Builder) { b.DeleteQueue(id, false, false) })
		}
	}
	for _, a := range h.attached {
		if !s.k.alive(n.view, a[1]) {
			fix(func(b *shard.Builder) { b.Detach(a[0], a[1], true) })
		}
	}
	for key, epoch := range h.sessions {
		if !s.k.alive(n.view, epoch) {
			fix(func(b *shard.Builder) { b.CloseSession(&shard.CloseSession{Key: key, Epoch: epoch, Will: true}) })
		}
	}
	// What waited to be dead-lettered, or was delayed, is published anew: what there is now,
	// before the entries below add to it.
	var unsent shard.Outcome
	if fresh {
		s.readMu.Lock()
		s.m.DeadLetters(&unsent)
		s.m.DelaysOver(&unsent)
		s.readMu.Unlock()
	}
	if len(fixes) == 0 && h.due {
		fix(func(*shard.Builder) {}) // a tick alone, which sets the timer
	}
	for len(fixes) > 0 {
		batch := fixes[:min(len(fixes), reconcileStep)]
		fixes = fixes[len(batch):]
		if _, err := s.call(ctx, func(b *shard.Builder) int {
			for _, f := range batch {
				f(b)
			}
			return b.Tick()
		}); err != nil {
			return err
		}
	}
	for i := range unsent.Effects {
		switch e := &unsent.Effects[i]; e.Kind {
		case shard.DelayOver:
			s.delayOver(e)
		case shard.WillDue:
			s.willDue(e)
		default:
			s.deadLetter(e)
		}
	}
	for _, q := range ownerless {
		if at := s.k.lookup(q.Namespace, q.Name); at != nil && at.spec.ID == q.ID {
			if _, err := s.k.deleteQueue(ctx, at, false, false); err != nil && !fault.Is(err, fault.NotFound) {
				return err
			}
		}
	}
	return nil
}

// parted follows the end of an attachment, or of a hold on a session, on the log. Who has ended it by
// himself has forgotten it before. Else this node was away for too long: what its client settles from
// now on is nothing, so it is told before it is answered anything more, and comes back.
func (k *Kernel) parted(id uint64) {
	a := k.attachment(id)
	switch {
	case a == nil:
	case a.session != nil:
		a.session.taken(GoneClosing)
	default:
		a.sink.Gone(GoneClosing) // its connection ends, and detaches
	}
}

// alive tells whether a connection may still be there, by its attachment's or owner's id. A
// broker of one node asks before it has any.
func (k *Kernel) alive(view *meta.State, id uint64) bool {
	return k.Clustered() && view.Alive(life(id))
}

// reconcileStep is how many corrections one entry carries.
const reconcileStep = 1000

// promises are the streams' logs and the queues of a shard that log 0 has named, and that are to be made by who
// asked for them. Who did may have given up waiting, and nobody else knows of it: then who leads makes them.
//
// Ownership: mu guards all fields.
type promises struct {
	mu     sync.Mutex
	timer  clock.Timer // nil: nothing is looked for
	logs   []uint64
	queues []uint64
}

// makeWait is for how long who has something named is left to make it, in link time.
const makeWait = time.Second

// expect has this node, if it leads the shard, see to it that a log or a queue is made that log 0 has
// just named; 0: none.
func (s *shardRun) expect(log, queue uint64) {
	if s == nil || !s.k.Clustered() || !s.leads() {
		return // who comes to lead looks for everything
	}
	n := &s.promised
	n.mu.Lock()
	defer n.mu.Unlock()
	if log != 0 {
		n.logs = append(n.logs, log)
	}
	if queue != 0 {
		n.queues = append(n.queues, queue)
	}
	if n.timer == nil && !s.k.closing.Load() {
		n.timer = s.k.cfg.Link.AfterFunc(makeWait, s.lookForPromised)
	}
}

// lookForPromised has the shard made to agree with log 0 when it lacks something.
func (s *shardRun) lookForPromised() {
	n := &s.promised
	n.mu.Lock()
	logs, queues := n.logs, n.queues
	n.timer, n.logs, n.queues = nil, nil, nil
	n.mu.Unlock()
	lacks := slices.ContainsFunc(logs, func(id uint64) bool { return s.tail(id) == nil })
	s.readMu.RLock()
	lacks = lacks || slices.ContainsFunc(queues, func(id uint64) bool { _, ok := s.m.QueueStats(id); return !ok })
	s.readMu.RUnlock()
	if lacks && s.leads() && !s.k.closing.Load() {
		s.k.post(work{lead: s}) // which finds that what was deleted meanwhile is not named any more
	}
}

func (n *promises) stop() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.timer != nil {
		n.timer.Stop()
	}
}
