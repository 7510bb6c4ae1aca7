// Package clock is the seam between the broker and time.
//
// A broker holds two clocks. Broker time drives message expiry, session expiry,
// will delays and retention; link time drives keep-alives, heartbeats,
// elections and long polls, which live clients could not feed across a leap.
// Both are Wall in production; a test makes broker time Virtual and moves it.
package clock

import (
	"container/heap"
	"sync"
	"time"
)

// Clock tells the time and calls back when it has come. Safe for concurrent use.
type Clock interface {
	Now() time.Time
	// AfterFunc calls f, on a goroutine of its own, once d has passed.
	AfterFunc(d time.Duration, f func()) Timer
}

// Timer is a pending call of AfterFunc.
type Timer interface {
	// Stop cancels the call and tells whether it was still pending.
	Stop() bool
}

// Wall is the machine's clock.
type Wall struct{}

func (Wall) Now() time.Time                            { return time.Now() }
func (Wall) AfterFunc(d time.Duration, f func()) Timer { return time.AfterFunc(d, f) }

// Virtual stands still until it is advanced, or runs with the machine's clock, from where it
// stands, between Run and Stop.
type Virtual struct {
	mu     sync.Mutex
	now    time.Time
	since  time.Time // it runs, and showed now then; zero: it stands
	seq    uint64
	timers timerHeap   // guarded by mu
	wake   *time.Timer // while it runs, for the first of timers; nil: none is needed
	wakeAt time.Time
	ringer sync.Mutex // held while what the machine's time made due is called
}

// NewVirtual returns a clock that stands at start.
func NewVirtual(start time.Time) *Virtual { return &Virtual{now: start} }

func (v *Virtual) Now() time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.nowLocked()
}

// nowLocked takes note of the time that has passed.
func (v *Virtual) nowLocked() time.Time {
	if !v.since.IsZero() {
		passed := time.Since(v.since)
		v.now, v.since = v.now.Add(passed), v.since.Add(passed)
	}
	return v.now
}

func (v *Virtual) AfterFunc(d time.Duration, f func()) Timer {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.seq++
	t := &virtualTimer{clock: v, at: v.nowLocked().Add(d), seq: v.seq, f: f}
	heap.Push(&v.timers, t)
	v.armLocked()
	return t
}

// Run has the clock go on by itself, as fast as the machine's.
func (v *Virtual) Run() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.since.IsZero() {
		v.since = time.Now()
		v.armLocked()
	}
}

// Stop has it stand still again. When it returns, what has fallen due by itself is over. Not to be
// called by what a timer calls.
func (v *Virtual) Stop() {
	v.mu.Lock()
	v.nowLocked()
	v.since = time.Time{}
	if v.wake != nil {
		v.wake.Stop()
		v.wake = nil
	}
	v.mu.Unlock()
	v.ringer.Lock() // nothing is called any more
	defer v.ringer.Unlock()
}

// Running tells whether the clock goes on by itself.
func (v *Virtual) Running() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return !v.since.IsZero()
}

// armLocked sets the machine's timer for the first of ours.
func (v *Virtual) armLocked() {
	if v.since.IsZero() || len(v.timers) == 0 || v.wake != nil && !v.timers[0].at.Before(v.wakeAt) {
		return
	}
	if v.wake != nil {
		v.wake.Stop()
	}
	v.wakeAt = v.timers[0].at
	v.wake = time.AfterFunc(v.wakeAt.Sub(v.nowLocked()), v.ring)
}

// ring calls what the machine's time has made due. A call that blocks holds up those after it,
// which a clock for tests may do.
func (v *Virtual) ring() {
	v.ringer.Lock()
	defer v.ringer.Unlock()
	v.mu.Lock()
	v.wake = nil
	running := !v.since.IsZero()
	v.mu.Unlock()
	if running {
		v.Advance(0)
	}
}

// Advance moves the clock by d, running every timer that falls due in the order
// of their times, each with the clock standing at its time. It returns when the
// last of them has returned. A timer set by another that also falls due runs too.
func (v *Virtual) Advance(d time.Duration) { v.move(d, false) }

// Leap moves the clock by d at once: what falls due on the way runs in the same order, and finds the
// clock at the end, as on a machine that was suspended. So what is done every second is done once.
func (v *Virtual) Leap(d time.Duration) { v.move(d, true) }

func (v *Virtual) move(d time.Duration, leap bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	end := v.nowLocked().Add(d)
	if leap {
		v.setLocked(end)
	}
	for len(v.timers) > 0 && !v.timers[0].at.After(end) {
		t := heap.Pop(&v.timers).(*virtualTimer)
		v.setLocked(t.at)
		v.mu.Unlock()
		t.f()
		v.mu.Lock()
	}
	v.setLocked(end)
	if v.wake != nil { // set by what was to come next when it was earlier
		v.wake.Stop()
		v.wake = nil
	}
	v.armLocked()
}

// Back sets the clock back by d, as an operator does to a machine's.
func (v *Virtual) Back(d time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.now = v.nowLocked().Add(-d)
	v.armLocked()
}

// setLocked moves the clock on, never back: a timer may have advanced it further, or somebody beside us.
func (v *Virtual) setLocked(at time.Time) {
	if at.After(v.nowLocked()) {
		v.now = at
	}
}

// Next returns when the earliest pending timer is due; false: there is none.
func (v *Virtual) Next() (time.Time, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.timers) == 0 {
		return time.Time{}, false
	}
	return v.timers[0].at, true
}

type virtualTimer struct {
	clock *Virtual
	at    time.Time
	seq   uint64 // ties are run in the order they were set
	index int    // place in the heap; -1 once popped
	f     func()
}

func (t *virtualTimer) Stop() bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	if t.index < 0 {
		return false
	}
	heap.Remove(&t.clock.timers, t.index)
	return true
}

type timerHeap []*virtualTimer

func (h timerHeap) Len() int { return len(h) }
func (h timerHeap) Less(i, j int) bool {
	if h[i].at.Equal(h[j].at) {
		return h[i].seq < h[j].seq
	}
	return h[i].at.Before(h[j].at)
}
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *timerHeap) Push(x any) {
	t := x.(*virtualTimer)
	t.index = len(*h)
	*h = append(*h, t)
}
func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	t.index = -1
	return t
}
