// Package feed is the screens' way to a broker: questions and a stream of live messages,
// asked by commands, answered by messages of package tea.
//
// A Feed never speaks of its own accord: each method returns a tea.Cmd, which the
// program runs on a goroutine of its own. So Update stays free of the network, and a
// broker that hangs holds up one command and nothing else.
//
// # The link
//
// A broker may go and come back, elsewhere even: one started with --any-port has new
// ports each time. A Feed therefore gets a way to find the broker rather than a broker,
// and takes it anew after every answer that did not come. Link (pure) decides from the
// answers whether the broker is there and when to ask again.
//
// # Ownership
//
//   - Feed.mu: the source in use. Held for moments, never across a question.
//   - Stream: its reader goroutine is begun by the first Next and ends when Stop is
//     called, when the program's context ends, or when the broker ends the stream.
package feed

import (
	"context"
	"errors"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/clock"
)

// answerMax is how long a broker may take over one answer.
const answerMax = 10 * time.Second

// Find returns the way to the broker as it is now, and what that is called. It does not
// speak to the broker.
type Find func() (src adminapi.Source, where string, err error)

// Feed asks one broker.
type Feed struct {
	ctx   context.Context // of the program: its end ends every command
	find  Find
	clock clock.Clock

	mu    sync.Mutex
	src   adminapi.Source // nil: to be found
	where string
}

// New returns a Feed whose commands end with ctx.
func New(ctx context.Context, find Find, c clock.Clock) *Feed {
	return &Feed{ctx: ctx, find: find, clock: c}
}

// Now is the time here, which need not be the broker's.
func (f *Feed) Now() time.Time { return f.clock.Now() }

// Question asks the broker something.
type Question func(ctx context.Context, src adminapi.Source) (any, error)

// Answer is the message that a question leads to.
type Answer struct {
	For  any // as given to Ask
	Seq  int // as given to Ask
	Data any
	Err  error
	From string        // what the broker is called that was asked; "" when there is none
	At   time.Time     // when it came, here
	Took time.Duration // since it was asked
}

// Ask asks once.
func (f *Feed) Ask(who any, seq int, q Question) tea.Cmd {
	return func() tea.Msg {
		begun := f.clock.Now()
		a := Answer{For: who, Seq: seq}
		src, where, err := f.source()
		a.From = where
		if err == nil {
			ctx, cancel := context.WithTimeout(f.ctx, answerMax)
			a.Data, err = q(ctx, src)
			cancel()
		}
		a.Err, a.At = err, f.clock.Now()
		a.Took = a.At.Sub(begun)
		if Gone(err) {
			f.forget(src)
		}
		return a
	}
}

// Do does something that is not asked of the broker. It leads to an Answer.
func (f *Feed) Do(who any, do func(ctx context.Context) (any, error)) tea.Cmd {
	return func() tea.Msg {
		begun := f.clock.Now()
		data, err := do(f.ctx)
		at := f.clock.Now()
		return Answer{For: who, Data: data, Err: err, At: at, Took: at.Sub(begun)}
	}
}

// Wake is the message of an After.
type Wake struct {
	For any
	Seq int
}

// After sends a Wake once d has passed.
func (f *Feed) After(d time.Duration, who any, seq int) tea.Cmd {
	return func() tea.Msg {
		due := make(chan struct{})
		timer := f.clock.AfterFunc(d, func() { close(due) })
		select {
		case <-due:
			return Wake{who, seq}
		case <-f.ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

func (f *Feed) source() (src adminapi.Source, where string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.src == nil {
		if src, where, err = f.find(); err != nil {
			return nil, "", &NotFound{err}
		}
		f.src, f.where = src, where
	}
	return f.src, f.where, nil
}

// forget lets go of a source that did not answer, unless another took its place.
func (f *Feed) forget(src adminapi.Source) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.src == src {
		f.src = nil
	}
}

// NotFound tells that there is no way to the broker: none runs.
type NotFound struct{ Err error }

func (e *NotFound) Error() string { return e.Err.Error() }
func (e *NotFound) Unwrap() error { return e.Err }

// Gone tells an error of the way to the broker from one that the broker answered.
func Gone(err error) bool {
	if err == nil {
		return false
	}
	if _, ok := errors.AsType[*NotFound](err); ok {
		return true
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return true
	}
	switch adminapi.ErrorOf(err).Category {
	case adminapi.CategoryUnavailable, adminapi.CategoryTimeout:
		return true
	}
	return false
}

// Denied tells that the broker does not let us in: asking again changes nothing.
func Denied(err error) bool {
	return err != nil && adminapi.ErrorOf(err).Category == adminapi.CategoryAuth
}
