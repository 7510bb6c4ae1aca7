package clock

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"
)

// A clock never goes back, whoever else advances it meanwhile.
func TestVirtualNeverGoesBack(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	v := NewVirtual(start)
	v.AfterFunc(time.Second, func() { v.Advance(time.Hour) })
	v.Advance(2 * time.Second)
	if got, want := v.Now().Sub(start), time.Second+time.Hour; got != want {
		t.Errorf("the clock stands at %v, want %v", got, want)
	}
}

// A clock that runs calls what falls due by itself; one that was stopped has finished, and calls
// nothing.
func TestVirtualRuns(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	v := NewVirtual(start)
	rung := make(chan time.Time, 1)
	v.AfterFunc(time.Hour, func() { t.Error("nobody advanced it by an hour") })
	v.AfterFunc(time.Millisecond, func() { rung <- v.Now() })
	v.Run()
	if at := <-rung; at.Before(start.Add(time.Millisecond)) {
		t.Errorf("called at %v", at)
	}
	v.AfterFunc(2*time.Millisecond, func() { rung <- v.Now() }) // beside one that is later
	<-rung
	v.Stop()
	if now := v.Now(); v.Running() || v.Now() != now {
		t.Error("it goes on")
	}
}

// What is done every second is done once in a leap, and finds the clock at its end.
func TestVirtualLeaps(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	v := NewVirtual(start)
	var at []time.Duration
	var every func()
	every = func() {
		at = append(at, v.Now().Sub(start))
		v.AfterFunc(time.Second, every)
	}
	v.AfterFunc(time.Second, every)
	v.Leap(time.Hour)
	v.Advance(time.Second)
	if want := []time.Duration{time.Hour, time.Hour + time.Second}; !slices.Equal(at, want) {
		t.Errorf("called at %v, want %v", at, want)
	}
}

// What is set after a move of a clock that runs is called in its time, whatever the clock would have waited for before.
func TestVirtualRunsOn(t *testing.T) {
	v := NewVirtual(time.Unix(1_700_000_000, 0))
	v.Run()
	defer v.Stop()
	v.AfterFunc(24*time.Hour, func() {})
	v.Leap(25 * time.Hour)
	called := make(chan struct{})
	v.AfterFunc(time.Microsecond, func() { close(called) })
	<-called
}

func TestVirtualSetBack(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	v := NewVirtual(start)
	called := false
	v.AfterFunc(time.Minute, func() { called = true })
	v.Back(time.Hour)
	v.Advance(time.Hour)
	if called || !v.Now().Equal(start) {
		t.Errorf("called %v at %v", called, v.Now())
	}
}

// at rest is a broker that tells when it is waited for, and has come to rest when it is told.
type atRest struct{ asked, told chan struct{} }

func (a *atRest) Works() uint64 { return 0 }
func (a *atRest) Settle(context.Context) error {
	a.asked <- struct{}{}
	<-a.told
	return nil
}

// A clock that is frozen while it is moved stays frozen.
func TestFreezeWhileMoving(t *testing.T) {
	h, a := NewHands(time.Unix(1_700_000_000, 0)), &atRest{make(chan struct{}), make(chan struct{})}
	if err := h.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer h.Join(a)()
	moved, frozen := make(chan error), make(chan error)
	go func() { moved <- h.Advance(t.Context(), time.Hour, false) }()
	<-a.asked
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.Freeze(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("who went away: %v", err)
	}
	go func() { frozen <- h.Freeze(t.Context()) }()
	close(a.told)
	if err := errors.Join(<-moved, <-frozen); err != nil {
		t.Fatal(err)
	}
	if !h.Face().Frozen {
		t.Error("the clock runs")
	}
}

// Who looks while the clock is moved sees where it stood, running or not: on the way not all has happened yet.
func TestLookWhileMoving(t *testing.T) {
	h, a := NewHands(time.Unix(1_700_000_000, 0)), &atRest{make(chan struct{}), make(chan struct{})}
	if err := h.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer h.Join(a)()
	start := h.Face().Now
	moved := make(chan error)
	due := make(chan Face, 1)
	h.Time().AfterFunc(time.Hour, func() { due <- h.Face() })
	go func() { moved <- h.Advance(t.Context(), 24*time.Hour, false) }()
	<-a.asked
	first := h.Face()
	close(a.told)
	go func() {
		for range a.asked {
		}
	}()
	then := <-due
	if err := <-moved; err != nil {
		t.Fatal(err)
	}
	close(a.asked)
	if first.Frozen || first.Now.Before(start) || first.Now.After(start.Add(time.Hour)) || then != first {
		t.Errorf("began at %v, and showed %v and %v", start, first, then)
	}
	if f := h.Face(); f.Frozen || f.Now.Before(start.Add(24*time.Hour)) {
		t.Errorf("it shows %v after a day from %v", f, start)
	}
}

// Who goes away does not leave behind a move that goes on, however much is due on the way.
func TestMoveIsLeft(t *testing.T) {
	h := NewHands(time.Unix(1_700_000_000, 0))
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	var every func()
	every = func() {
		if n++; n == 3 {
			cancel()
		}
		h.Time().AfterFunc(time.Second, every)
	}
	h.Time().AfterFunc(time.Second, every)
	if err := h.Advance(ctx, time.Hour, false); !errors.Is(err, context.Canceled) || n != 3 {
		t.Errorf("%v, after %d", err, n)
	}
}
