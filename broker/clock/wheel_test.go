package clock

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

type bell struct {
	alarm Alarm[bell]
	due   time.Time // zero: not set
	rung  bool
}

// An alarm calls once, not before its time and less than a tick after it, whatever others are
// set, put off and stopped meanwhile.
func TestWheel(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		v := NewVirtual(time.Unix(1_700_000_000, 0))
		span := []time.Duration{time.Second, time.Minute, 27 * time.Hour, 40 * 24 * time.Hour}
		bells := make([]bell, 300)
		w := NewWheel(v, func(b *bell) {
			if late := v.Now().Sub(b.due); b.due.IsZero() || late < 0 || late >= Tick {
				t.Errorf("seed %d: called at %v, due at %v", seed, v.Now(), b.due)
			}
			b.due, b.rung = time.Time{}, true
		})
		for range 2000 {
			b := &bells[rnd.IntN(len(bells))]
			switch rnd.IntN(4) {
			case 0:
				w.Stop(&b.alarm)
				b.due = time.Time{}
			case 1:
				v.Advance(time.Duration(rnd.Int64N(int64(span[rnd.IntN(3)]))))
			default:
				d := time.Duration(rnd.Int64N(int64(span[rnd.IntN(len(span))])))
				w.Set(&b.alarm, b, d)
				b.due, b.rung = v.Now().Add(d), false
			}
		}
		v.Advance(60 * 24 * time.Hour)
		for i := range bells {
			if !bells[i].due.IsZero() {
				t.Errorf("seed %d: alarm %d never called", seed, i)
			}
		}
		if at, pending := v.Next(); pending {
			t.Errorf("seed %d: with no alarm left, the clock is to call at %v", seed, at)
		}
	}
}

// What is stopped leaves nothing with the clock.
func TestWheelAtRest(t *testing.T) {
	v := NewVirtual(time.Unix(0, 0))
	w := NewWheel(v, func(b *bell) { b.rung = true })
	var a, b bell
	w.Set(&a.alarm, &a, time.Second)
	w.Set(&b.alarm, &b, time.Hour)
	w.Stop(&a.alarm)
	w.Stop(&b.alarm)
	if at, pending := v.Next(); pending {
		t.Errorf("the clock is to call at %v", at)
	}
	w.Set(&b.alarm, &b, 1500*time.Millisecond) // a whole number of ticks: exact
	v.Advance(1500*time.Millisecond - 1)
	if b.rung {
		t.Error("called too early")
	}
	if v.Advance(1); !b.rung || a.rung {
		t.Errorf("called %v, stopped and called %v", b.rung, a.rung)
	}
}

// An alarm may be set again, and others stopped, from within a call.
func TestWheelFromWithin(t *testing.T) {
	v := NewVirtual(time.Unix(0, 0))
	var a, b bell
	n := 0
	var w *Wheel[bell]
	w = NewWheel(v, func(x *bell) {
		w.Stop(&b.alarm)
		if n++; n < 5 {
			w.Set(&x.alarm, x, time.Second)
		}
	})
	w.Set(&a.alarm, &a, time.Second)
	w.Set(&b.alarm, &b, 2*time.Second)
	v.Advance(time.Minute)
	if n != 5 {
		t.Errorf("called %d times, want 5", n)
	}
}

// On the machine's clock, from many goroutines.
func TestWheelOnTheWall(t *testing.T) {
	var rang sync.WaitGroup
	w := NewWheel(Wall{}, func(*bell) { rang.Done() })
	bells := make([]bell, 1000)
	var setting sync.WaitGroup
	for g := range 4 {
		setting.Go(func() {
			for i := g; i < len(bells); i += 4 {
				rang.Add(1)
				w.Set(&bells[i].alarm, &bells[i], time.Duration(i)*time.Millisecond/10)
				var stopped bell
				w.Set(&stopped.alarm, &stopped, time.Hour)
				w.Stop(&stopped.alarm)
			}
		})
	}
	setting.Wait()
	rang.Wait()
}

func BenchmarkWheel(b *testing.B) {
	w := NewWheel(Wall{}, func(*bell) {})
	bells := make([]bell, 100_000)
	for i := range bells {
		w.Set(&bells[i].alarm, &bells[i], time.Hour+time.Duration(i)*time.Millisecond)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		x := &bells[i%len(bells)]
		w.Set(&x.alarm, x, time.Hour)
		i++
	}
}
