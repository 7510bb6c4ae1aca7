package pace

import (
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	var p Pace
	if w := p.Take(now, 10, 10); w != 0 {
		t.Errorf("a burst waits %v", w)
	}
	if w := p.Take(now, 5, 10); w != 500*time.Millisecond {
		t.Errorf("what is above waits %v", w)
	}
	if p.Try(now.Add(500*time.Millisecond), 1, 10) {
		t.Error("let through too soon")
	}
	if !p.Try(now.Add(600*time.Millisecond), 1, 10) || p.Try(now.Add(600*time.Millisecond), 1, 10) {
		t.Error("not let through when it was due, or more than was")
	}
	if w := p.Take(now.Add(time.Hour), 11, 10); w != 100*time.Millisecond {
		t.Errorf("an hour's rest is worth more than a second: waits %v", w)
	}
}
