package kernel

import (
	"context"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/kernel/shard"
)

// tickState is the one timer of a shard: set to the machine's next deadline.
type tickState struct {
	mu    sync.Mutex
	timer clock.Timer
	at    int64 // ms that the timer is set to; 0 none
	gone  bool
}

// schedule sets the timer to the machine's next deadline. Called by the applying
// goroutine. During a replay there is nobody to propose a tick to; the tick of reconcile
// sets the timer after it.
func (s *shardRun) schedule() {
	if !s.live || !s.leads() {
		return
	}
	at := s.m.NextDeadline()
	t := &s.ticking
	t.mu.Lock()
	defer t.mu.Unlock()
	if at == t.at || t.gone {
		return
	}
	t.clearLocked()
	t.at = at
	if at != 0 {
		wait := max(time.UnixMilli(at).Sub(s.k.time.Now()), 0)
		t.timer = s.k.time.AfterFunc(wait, s.tick)
	}
}

// tick proposes that time has passed, and waits until that is applied: with a virtual
// clock, Advance returns when what was due has happened.
func (s *shardRun) tick() {
	t := &s.ticking
	t.mu.Lock()
	t.at, t.timer = 0, nil
	gone := t.gone
	t.mu.Unlock()
	if gone {
		return
	}
	ctx, cancel := context.WithTimeout(s.k.ctx, tickWait)
	defer cancel()
	_, _ = s.call(ctx, func(b *shard.Builder) int { return b.Tick() })
}

// tickWait bounds how long a timer's goroutine waits for its tick; the tick is applied
// all the same.
const tickWait = 10 * time.Second

// unschedule stops the timer: it is up to another node.
func (s *shardRun) unschedule() {
	t := &s.ticking
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clearLocked()
}

// clearLocked forgets the timer.
func (t *tickState) clearLocked() {
	if t.timer != nil {
		t.timer.Stop()
	}
	t.timer, t.at = nil, 0
}

func (s *shardRun) stopTimer() {
	t := &s.ticking
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gone = true
	t.clearLocked()
}
