package bench

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// What stood in the way counts: messages that were due meanwhile are late from their own time on, and
// no message is left out.
func TestOpenLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{rate: 100, clients: 1, length: 1e9}
		start := time.Now()
		m := newMeter(start)
		s := b.schedule(0, start)
		n := 0
		for due, ok := s.wait(t.Context(), m); ok; due, ok = s.wait(t.Context(), m) {
			if want := start.Add(time.Duration(n) * 10 * time.Millisecond); !due.Equal(want) {
				t.Fatalf("message %d is due at %v, want %v", n, due.Sub(start), want.Sub(start))
			}
			if n == 10 {
				time.Sleep(300 * time.Millisecond) // virtual: the broker stands still
			}
			m.done(due, 1, nil)
			n++
		}
		r := m.result(0)
		if n != 100 || r.Messages != 100 {
			t.Fatalf("%d messages, %d counted, want 100", n, r.Messages)
		}
		// 30 of 100 were due while it stood still: their latencies are all there is between 0 and 300 ms.
		if l := r.Latency; l.P50 > 1 || l.P90 < 150 || l.Max < 299 || r.Late < 280 {
			t.Errorf("%+v, late %v", l, r.Late)
		}
	})
}

// Clients share the rate and the count, each at times of its own.
func TestScheduleIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{rate: 100, clients: 4, count: 10, length: 1e9}
		start := time.Now()
		total := int64(0)
		for i := range b.clients {
			s := b.schedule(i, start)
			total += s.left
			if s.every != 40*time.Millisecond || s.next.Sub(start) != time.Duration(i)*10*time.Millisecond {
				t.Errorf("client %d: every %v from %v on", i, s.every, s.next.Sub(start))
			}
		}
		if total != 10 {
			t.Errorf("%d messages, want 10", total)
		}
	})
}

func TestLimits(t *testing.T) {
	m := newMeter(time.Time{})
	for range 99 {
		_ = m.hist.RecordValue(1000)
	}
	_ = m.hist.RecordValue(50_000)
	r := &Result{Latency: latencyOf(m.hist), Rate: 900, Errors: 2, Late: 3}
	for text, want := range map[string]bool{
		"p50>1ms": false, "p50 >= 999us": true, "p99.9>40ms": true, "max<40ms": false, "rate<1000": true, "rate<=900": true, "errors>0": true, "errors > 2": false, "late>2ms": true,
	} {
		l, err := parseLimit(text, "produce")
		if err != nil || l.holds(r) != want {
			t.Errorf("%s: %v %v", text, l.holds(r), err)
		}
	}
	if l, _ := parseLimit("p99>1h", "produce"); !l.holds(new(Result)) {
		t.Error("nothing was measured, and that is well")
	}
	for _, text := range []string{"p99", "p98>1ms", "p99>5", "rate>fast", ""} {
		if _, err := parseLimit(text, "produce"); err == nil {
			t.Errorf("%q is a limit", text)
		}
	}
	if _, err := parseLimit("p99>1ms", "consume"); err == nil {
		t.Error("consume has a p99")
	}
}

func TestMeterKeepsTheFirstError(t *testing.T) {
	m := newMeter(time.Now())
	m.done(time.Now(), 1, errors.New("the first"))
	m.done(time.Now(), 1, context.Canceled)
	if r := m.result(0); r.Errors != 2 || r.Error != "the first" || r.Messages != 0 || r.Latency != nil {
		t.Errorf("%+v", r)
	}
}
