package clock

import (
	"math/bits"
	"sync"
	"time"
)

// Tick is how far apart the times are at which a Wheel calls back.
const Tick = 50 * time.Millisecond

// Wheel is many alarms behind one timer of a clock: for deadlines of which there are many, and
// which are put off or given up before they come, nearly always. To set or stop one takes
// constant time, and 32 bytes in its owner. An alarm is never early, and late by less than Tick.
//
// The wheel has levels of 64 slots. A slot of the first level is one tick; one of the next is as
// long as all of the level below, into whose slots its alarms are put when it begins.
//
// Safe for concurrent use.
type Wheel[T any] struct {
	clock Clock
	ring  func(*T)
	start time.Time // tick 0

	mu      sync.Mutex
	now     int64     // tick up to which alarms have been called
	set     int       // alarms
	due     alarms[T] // whose time has come
	levels  [wheelLevels]wheelLevel[T]
	timer   Timer // nil: none is needed, or run is at it
	wake    int64 // tick at which timer runs
	running bool
}

const (
	wheelBits   = 6
	wheelSlots  = 1 << wheelBits
	wheelLevels = 4
	wheelSpan   = 1 << (wheelBits * wheelLevels) // ticks ahead that have slots: nine days. What is later comes round again
)

type wheelLevel[T any] struct {
	busy  uint64 // slots that may have an alarm, by bit
	slots [wheelSlots]alarms[T]
}

// alarms is a list of them.
type alarms[T any] struct{ first *Alarm[T] }

// Alarm is one timer on a Wheel. It is a field of its owner, and one that is not set is zero.
type Alarm[T any] struct {
	owner *T
	next  *Alarm[T]
	at    **Alarm[T] // what points to this one; nil: it is not set
	tick  int64
}

// NewWheel returns a wheel that calls ring with the owners of alarms whose time has come, one
// after the other. ring must not block; it may set and stop alarms.
func NewWheel[T any](c Clock, ring func(owner *T)) *Wheel[T] {
	return &Wheel[T]{clock: c, ring: ring, start: c.Now()}
}

// Set has an alarm call once d has passed, and not when it was to before.
func (w *Wheel[T]) Set(a *Alarm[T], owner *T, d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.removeLocked(a)
	passed := w.clock.Now().Sub(w.start)
	if w.set == 0 && !w.running {
		w.now = max(w.now, int64(passed/Tick)) // nothing was called for
	}
	a.owner, a.tick = owner, int64((passed+d+Tick-1)/Tick)
	w.set++
	w.placeLocked(a)
	if !w.running {
		w.armLocked()
	}
}

// Stop has an alarm not call. One whose time has come may be calling.
func (w *Wheel[T]) Stop(a *Alarm[T]) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.removeLocked(a)
	if w.set == 0 && w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
}

func (w *Wheel[T]) removeLocked(a *Alarm[T]) {
	if a.at == nil {
		return
	}
	a.unlink()
	w.set--
}

func (a *Alarm[T]) unlink() {
	*a.at = a.next
	if a.next != nil {
		a.next.at = a.at
	}
	a.next, a.at = nil, nil
}

func (l *alarms[T]) push(a *Alarm[T]) {
	a.next, a.at = l.first, &l.first
	if a.next != nil {
		a.next.at = &a.next
	}
	l.first = a
}

// placeLocked puts an alarm where it is found when its time comes.
func (w *Wheel[T]) placeLocked(a *Alarm[T]) {
	ahead := min(a.tick-w.now, wheelSpan-1)
	if ahead <= 0 {
		w.due.push(a)
		return
	}
	level := (bits.Len64(uint64(ahead)) - 1) / wheelBits
	i := (w.now + ahead) >> (level * wheelBits) % wheelSlots
	l := &w.levels[level]
	l.slots[i].push(a)
	l.busy |= 1 << i
}

// nextLocked is the first tick after now at which a slot that may have alarms begins; false:
// there is none.
func (w *Wheel[T]) nextLocked() (tick int64, ok bool) {
	for i := range w.levels {
		if w.levels[i].busy == 0 {
			continue
		}
		shift := i * wheelBits
		after := w.now>>shift + 1
		begins := (after + int64(bits.TrailingZeros64(bits.RotateLeft64(w.levels[i].busy, -int(after%wheelSlots))))) << shift
		if !ok || begins < tick {
			tick, ok = begins, true
		}
	}
	return tick, ok
}

// armLocked sets the timer for when it is needed.
func (w *Wheel[T]) armLocked() {
	next, ok := w.nextLocked()
	if w.due.first != nil {
		next, ok = w.now, true
	}
	switch {
	case !ok, w.timer != nil && w.wake <= next:
		return
	case w.timer != nil:
		w.timer.Stop()
	}
	w.wake = next
	w.timer = w.clock.AfterFunc(w.start.Add(time.Duration(next)*Tick).Sub(w.clock.Now()), w.run)
}

// run calls what is due.
func (w *Wheel[T]) run() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running { // the timer was set anew as it ran
		return
	}
	if w.timer != nil {
		w.timer.Stop()
	}
	w.timer, w.running = nil, true
	for {
		if w.due.first == nil && !w.turnLocked(int64(w.clock.Now().Sub(w.start)/Tick)) {
			break
		}
		a := w.due.first
		w.removeLocked(a)
		owner := a.owner
		w.mu.Unlock()
		w.ring(owner)
		w.mu.Lock()
	}
	w.running = false
	w.armLocked()
}

// turnLocked goes on to the next tick that has something due, to at most; false: there is none.
func (w *Wheel[T]) turnLocked(to int64) bool {
	for w.due.first == nil {
		next, ok := w.nextLocked()
		if !ok || next > to {
			w.now = max(w.now, to)
			return false
		}
		w.now = next
		for i := wheelLevels - 1; i >= 0; i-- {
			shift := i * wheelBits
			if next&(1<<shift-1) != 0 {
				continue
			}
			l, slot := &w.levels[i], next>>shift%wheelSlots
			l.busy &^= 1 << slot
			for a := l.slots[slot].first; a != nil; a = l.slots[slot].first {
				a.unlink()
				w.placeLocked(a)
			}
		}
	}
	return true
}
