package clock

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Settler is what time sets going: a broker.
type Settler interface {
	// Works counts what was set going so far: two equal numbers with Settle between them mean that
	// nothing is under way.
	Works() uint64
	// Settle waits until what was set going, and what comes of that, has happened.
	Settle(context.Context) error
}

// Hands hold a virtual clock and move it. The brokers that go by it, one or all nodes of a cluster in
// one process, share them.
//
// Broker time stands, or runs with the machine's, as Freeze and Run say. Link time always
// runs: live clients could not keep up with it otherwise. It leaps only when it is asked to.
type Hands struct {
	time, link *Virtual
	moving     chan struct{} // capacity 1: holds a value while the clock is moved

	mu       sync.Mutex
	settlers []Settler
	before   *Face // what it showed as the move that is under way began; nil: none is
}

// Face is what a clock shows.
type Face struct {
	Now    time.Time // of broker time
	Frozen bool      // it stands
}

// NewHands returns the hands of a clock that stands at a time.
func NewHands(at time.Time) *Hands {
	h := &Hands{time: NewVirtual(at), link: NewVirtual(time.Now()), moving: make(chan struct{}, 1)}
	h.link.Run()
	return h
}

// Time and Link are the clocks that a broker takes.
func (h *Hands) Time() Clock { return h.time }
func (h *Hands) Link() Clock { return h.link }

// Join has moves wait for what they set going in s, until it leaves.
func (h *Hands) Join(s Settler) (leave func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.settlers = append(h.settlers, s)
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.settlers = slices.DeleteFunc(h.settlers, func(other Settler) bool { return other == s })
	}
}

func (h *Hands) joined() []Settler {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.settlers)
}

// Face is what the clock shows: while it is moved, what it showed before, for what falls due on the way has not all
// happened.
func (h *Hands) Face() Face {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.before != nil {
		return *h.before
	}
	return h.face()
}

func (h *Hands) face() Face { return Face{h.time.Now(), !h.time.Running()} }

// show has the clock show what it does from now on, or, moving, what it does now.
func (h *Hands) show(moving bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.before = nil; moving {
		f := h.face()
		h.before = &f
	}
}

// Freeze has broker time stand still from now on, and Run lets it go on as fast as the machine's. A
// move that is under way ends first: it would leave the clock as it found it.
func (h *Hands) Freeze(ctx context.Context) error { return h.still(ctx, h.time.Stop) }
func (h *Hands) Run(ctx context.Context) error    { return h.still(ctx, h.time.Run) }

// still calls fn while nobody moves the clock.
func (h *Hands) still(ctx context.Context, fn func()) error {
	select {
	case h.moving <- struct{}{}:
		defer func() { <-h.moving }()
	case <-ctx.Done():
		return fmt.Errorf("the clock is being moved by another: %w", context.Cause(ctx))
	}
	fn()
	return nil
}

// ErrPast is that time does not go back.
var ErrPast = errors.New("time does not go back")

// Set moves broker time to a time, as Advance does.
func (h *Hands) Set(ctx context.Context, at time.Time, liveness bool) error {
	return h.move(ctx, liveness, func(now time.Time) time.Time { return at })
}

// Advance moves broker time by d. Timers that fall due on the way run in the order of
// their times, and each sees the effects of those before it: a message that expires into a
// queue with a TTL of its own expires there too, if d is long enough. When Advance
// returns, all of that has happened inside the broker; what clients are sent is on its way
// to them.
//
// With liveness, link time leaps as far before that: connections that nothing was heard on
// for so long end, and members of groups are gone.
func (h *Hands) Advance(ctx context.Context, d time.Duration, liveness bool) error {
	return h.move(ctx, liveness, func(now time.Time) time.Time { return now.Add(d) })
}

func (h *Hands) move(ctx context.Context, liveness bool, to func(now time.Time) time.Time) error {
	var err error
	if refused := h.still(ctx, func() { err = h.moveAlone(ctx, liveness, to) }); refused != nil {
		return refused
	}
	return err
}

func (h *Hands) moveAlone(ctx context.Context, liveness bool, to func(now time.Time) time.Time) error {
	h.show(true)
	defer h.show(false)
	if h.time.Running() { // it goes on once it is where it was to go
		h.time.Stop()
		defer h.time.Run()
	}
	now := h.time.Now()
	end := to(now)
	if end.Before(now) {
		return fmt.Errorf("%w: it is %s, which is after %s", ErrPast, stamp(now), stamp(end))
	}
	m := move{h: h, settlers: h.joined()}
	if err := m.settle(ctx); err != nil { // what is seen already may not have set its timer yet
		return err
	}
	if liveness {
		h.leap(end.Sub(now))
		if err := m.settle(ctx); err != nil {
			return err
		}
	}
	for {
		if err := ctx.Err(); err != nil { // what is due on the way may be much
			return fmt.Errorf("the clock stands at %s: %w", stamp(h.time.Now()), context.Cause(ctx))
		}
		next, ok := h.time.Next()
		if !ok || next.After(end) {
			return m.step(ctx, end)
		}
		if err := m.step(ctx, next); err != nil {
			return err
		}
	}
}

// leaps is how many leaps link time makes, none shorter than leapMin: who counts the times that he
// looked and found silence finds it often enough.
const (
	leaps   = 100
	leapMin = time.Second
)

func (h *Hands) leap(d time.Duration) {
	longest := max(d/leaps, leapMin)
	for d > 0 {
		step := min(longest, d)
		h.link.Leap(step)
		d -= step
	}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// move is one of them.
type move struct {
	h        *Hands
	settlers []Settler
	settled  uint64 // works known to be over
}

// step moves the clock to a time at which at most one thing is due, and waits for what comes of it.
func (m *move) step(ctx context.Context, to time.Time) error {
	m.h.time.Advance(max(to.Sub(m.h.time.Now()), 0))
	if m.works() == m.settled {
		return nil
	}
	return m.settle(ctx)
}

func (m *move) settle(ctx context.Context) error {
	for again := true; again; again = m.works() != m.settled { // what one node does may give another something to do
		m.settled = m.works()
		for _, s := range m.settlers {
			if err := s.Settle(ctx); err != nil {
				return fmt.Errorf("the broker did not come to rest as the clock stood at %s: %w", stamp(m.h.time.Now()), err)
			}
		}
	}
	return nil
}

// works counts what was set going.
func (m *move) works() (n uint64) {
	for _, s := range m.settlers {
		n += s.Works()
	}
	return n
}
