package feed

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/adminapi/adminapitest"
	"github.com/robustmq/rmq/broker/clock"
)

func TestLink(t *testing.T) {
	var l Link
	at := time.Unix(1000, 0)
	if !l.Answered(at) || l.Answered(at.Add(time.Second)) {
		t.Error("the first answer brings the link up, and only the first")
	}
	gone := errors.New("gone")
	var waits []time.Duration
	for i := range 8 {
		waits = append(waits, l.Lost(at.Add(time.Duration(10+i)*time.Second), gone))
	}
	want := "[250ms 500ms 1s 2s 4s 5s 5s 5s]"
	if got := fmt.Sprint(waits); got != want {
		t.Errorf("waits %s, want %s", got, want)
	}
	if l.Up || l.Tries != 8 || !l.Since.Equal(at.Add(10*time.Second)) || l.Err != gone {
		t.Errorf("lost: %+v", l)
	}
	if !l.Answered(at.Add(time.Minute)) || l.Tries != 0 || l.Err != nil || !l.Since.Equal(at.Add(time.Minute)) {
		t.Errorf("back: %+v", l)
	}
}

// A broker that was started again is found where it is now.
func TestFoundAgain(t *testing.T) {
	first, second := adminapitest.New(), adminapitest.New()
	second.S.Version = "second"
	sources := []adminapi.Source{first, second}
	found := 0
	f := New(t.Context(), func() (adminapi.Source, string, error) {
		found++
		return sources[found-1], fmt.Sprint("broker ", found), nil
	}, clock.Wall{})
	ask := func() Answer {
		return f.Ask("me", 3, func(ctx context.Context, src adminapi.Source) (any, error) {
			s, err := src.Status(ctx)
			return s.Version, err
		})().(Answer)
	}
	if a := ask(); a.Err != nil || a.For != "me" || a.Seq != 3 || a.From != "broker 1" {
		t.Fatalf("%+v", a)
	}
	ask()
	if found != 1 {
		t.Errorf("the way was taken %d times while the broker answered", found)
	}
	first.Fail = &adminapi.Error{Category: adminapi.CategoryUnavailable, Message: "gone"}
	if a := ask(); !Gone(a.Err) {
		t.Errorf("%v is not gone", a.Err)
	}
	if a := ask(); a.Err != nil || a.Data != "second" || a.From != "broker 2" {
		t.Errorf("%+v", a)
	}
}

func TestErrors(t *testing.T) {
	tests := []struct {
		err          error
		gone, denied bool
	}{
		{nil, false, false},
		{&NotFound{errors.New("none runs")}, true, false},
		{context.DeadlineExceeded, true, false},
		{&adminapi.Error{Category: adminapi.CategoryUnavailable}, true, false},
		{&adminapi.Error{Category: adminapi.CategoryTimeout}, true, false},
		{&adminapi.Error{Category: adminapi.CategoryNotFound}, false, false},
		{&adminapi.Error{Category: adminapi.CategoryAuth}, false, true},
		{errors.New("what?"), false, false},
	}
	for _, tt := range tests {
		if Gone(tt.err) != tt.gone || Denied(tt.err) != tt.denied {
			t.Errorf("%v: gone %v, denied %v", tt.err, Gone(tt.err), Denied(tt.err))
		}
	}
}

// A broker that hangs is given up after answerMax, and no command outlives the program.
func TestHanging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		f := New(ctx, func() (adminapi.Source, string, error) { return adminapitest.New(), "", nil }, clock.Wall{})
		hang := func(ctx context.Context, _ adminapi.Source) (any, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		if a := f.Ask(0, 0, hang)().(Answer); !Gone(a.Err) || a.Took != answerMax {
			t.Errorf("%+v", a)
		}
		done := make(chan struct{})
		go func() {
			f.Ask(0, 0, hang)()
			f.After(time.Hour, 0, 0)()
			close(done)
		}()
		synctest.Wait()
		cancel()
		<-done
	})
}

func live(t *testing.T) (*adminapitest.Fake, *Stream, func() Batch) {
	fake := adminapitest.New()
	f := New(t.Context(), func() (adminapi.Source, string, error) { return fake, "", nil }, clock.Wall{})
	s := f.Live(adminapi.LiveQuery{})
	return fake, s, func() Batch { return s.Next()().(Batch) }
}

func message(n int) adminapi.LiveEvent {
	return adminapi.LiveEvent{Message: &adminapi.Message{Address: fmt.Sprint(n)}}
}

// Messages come in batches, ten a second at most, in order.
func TestBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake, s, next := live(t)
		go func() {
			_ = fake.AwaitLive(t.Context())
			fake.Emit(message(1))
			time.Sleep(10 * time.Millisecond) //nolint:forbidigo // the bubble's time
			fake.Emit(message(2))
			fake.Emit(message(3))
			fake.Emit(adminapi.LiveEvent{Stats: &adminapi.LiveStats{Matched: 9, Shown: 3, Sampled: 6}})
		}()
		begun := time.Now()
		if b := next(); len(b.Messages) != 1 || time.Since(begun) != 0 {
			t.Errorf("the first comes at once: %d after %v", len(b.Messages), time.Since(begun))
		}
		b := next()
		if len(b.Messages) != 2 || b.Messages[0].Address != "2" || b.Stats.Sampled != 6 || time.Since(begun) != pace {
			t.Errorf("%+v after %v", b, time.Since(begun))
		}
		s.Stop()
		if b := next(); !b.Ended || b.Err != nil {
			t.Errorf("stopped: %+v", b)
		}
	})
}

// A flood between two batches costs bounded memory, and is counted.
func TestFlood(t *testing.T) {
	_, s, _ := live(t)
	const n = 10 * PendingMax
	for i := range n {
		s.put(message(i))
	}
	b := s.take()
	if len(b.Messages) > PendingMax || uint64(len(b.Messages))+b.Skipped != n {
		t.Errorf("%d messages and %d skipped of %d", len(b.Messages), b.Skipped, n)
	}
	if got := b.Messages[len(b.Messages)-1].Address; got != fmt.Sprint(n-1) {
		t.Errorf("the newest is %s", got)
	}
}

// A stream whose broker refuses or goes says why.
func TestStreamEnds(t *testing.T) {
	fake, _, next := live(t)
	refused := &adminapi.Error{Category: adminapi.CategoryUsage, Message: "no such filter"}
	fake.Fail = refused
	if b := next(); !b.Ended || !errors.Is(b.Err, error(refused)) {
		t.Errorf("%+v", b)
	}
}
