package kernel

import (
	"github.com/robustmq/rmq/broker/kernel/meta"
	"github.com/robustmq/rmq/broker/kernel/shard"
	"github.com/robustmq/rmq/broker/message"
)

// reconcile makes the shards agree with log 0 after a start: log 0 is the truth. What it
// names and a shard lacks is made (the crash came between the two); what a shard holds and
// log 0 does not name is deleted (a committed command took it away). Attachments of an
// earlier process are ended: their connections are gone.
func (k *Kernel) reconcile() error {
	view := k.meta.view.Load()
	logs := make(map[uint32]map[uint64]*meta.Stream)
	for st := range view.AllStreams() {
		for _, p := range st.Logs {
			if logs[p.Shard] == nil {
				logs[p.Shard] = make(map[uint64]*meta.Stream)
			}
			logs[p.Shard][p.Log] = st
		}
	}
	queues := make(map[uint32]map[uint64]*meta.Queue)
	for q := range view.AllQueues() {
		if queues[q.Shard] == nil {
			queues[q.Shard] = make(map[uint64]*meta.Queue)
		}
		queues[q.Shard][q.ID] = q
	}
	for id, s := range k.shards {
		if s.class == classTransient || s.fence != nil {
			continue // nothing that log 0 names, or nothing that may be changed
		}
		if err := s.reconcile(logs[id], queues[id]); err != nil {
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

func (s *shardRun) reconcile(logs map[uint64]*meta.Stream, queues map[uint64]*meta.Queue) error {
	var fixes []func(b *shard.Builder)
	s.readMu.RLock()
	held := make(map[uint64]bool)
	for l := range s.m.Logs() {
		held[l.ID] = true
		if id := l.ID; id != shard.Bodies && logs[id] == nil && !l.Deleted {
			fixes = append(fixes, func(b *shard.Builder) { b.DeleteLog(id) })
		}
	}
	for id, st := range logs {
		if !held[id] {
			fixes = append(fixes, func(b *shard.Builder) { b.CreateLog(id, st.Address) })
		}
	}
	there := make(map[uint64]bool)
	for _, id := range s.m.QueueIDs() {
		there[id] = true
		if queues[id] == nil {
			fixes = append(fixes, func(b *shard.Builder) { b.DeleteQueue(id, false, false) })
		}
	}
	for id, q := range queues {
		if !there[id] {
			fixes = append(fixes, func(b *shard.Builder) { b.CreateQueue(id, limitsOf(q), q.Expires) })
		}
	}
	s.m.Attachments(func(queue, attachment uint64) {
		fixes = append(fixes, func(b *shard.Builder) { b.Detach(queue, attachment, true) })
	})
	for _, key := range s.m.ConnectedSessions() {
		fixes = append(fixes, func(b *shard.Builder) { b.CloseSession(&shard.CloseSession{Key: key, Will: true}) })
	}
	due := s.m.NextDeadline() != 0
	s.readMu.RUnlock()
	// What waited to be dead-lettered, or was delayed, is published anew: what there is now,
	// before the entries below add to it.
	var unsent shard.Outcome
	s.readMu.Lock()
	s.m.DeadLetters(&unsent)
	s.m.DelaysOver(&unsent)
	s.readMu.Unlock()
	if len(fixes) == 0 && due {
		fixes = append(fixes, func(*shard.Builder) {}) // a tick alone, which sets the timer
	}
	for len(fixes) > 0 {
		n := min(len(fixes), reconcileStep)
		batch := fixes[:n]
		fixes = fixes[n:]
		if _, err := s.call(s.k.ctx, func(b *shard.Builder) int {
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
	return nil
}

// reconcileStep is how many corrections one entry carries.
const reconcileStep = 1000
