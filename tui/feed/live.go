package feed

import (
	"context"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/trace"
)

// Bounds of a live stream.
const (
	// PendingMax is how many messages wait to be shown. When more come between two
	// batches the oldest go, counted: they would have been scrolled off the same moment.
	PendingMax = 1000
	// pace is the time between batches: ten a second are as many as one can see.
	pace = 100 * time.Millisecond
)

// Batch is what came since the batch before.
type Batch struct {
	Stream   *Stream
	Messages []adminapi.Message // the oldest first
	Events   []trace.Event      // of a trace, in their place
	Skipped  uint64             // let go before they were shown, in this batch
	Stats    adminapi.LiveStats // of the broker, as it last told; of a trace Dropped alone
	Bound    string             // of a trace that has ended: what it has reached
	Ended    bool               // there will be no more batches
	Err      error              // why; nil after Stop
}

// Stream reads live messages, or the events of a trace.
type Stream struct {
	feed   *Feed
	ask    func(context.Context, adminapi.Source) error // until the stream ends
	ctx    context.Context
	cancel context.CancelFunc
	begin  sync.Once

	ready chan struct{} // holds one value while there is something to take

	mu      sync.Mutex // guards what follows
	pending []adminapi.Message
	events  []trace.Event
	bound   string
	skipped uint64
	stats   adminapi.LiveStats
	ended   bool
	err     error
	last    time.Time // of the last batch
}

// Live returns a stream that has not begun: its first Next begins it.
func (f *Feed) Live(q adminapi.LiveQuery) *Stream {
	s := f.stream()
	s.ask = func(ctx context.Context, src adminapi.Source) error {
		return src.Live(ctx, q, func(e adminapi.LiveEvent) error {
			s.put(e)
			return nil
		})
	}
	return s
}

// Trace returns a stream of what the node that is asked sees of clients, which has not begun either.
func (f *Feed) Trace(q adminapi.TraceQuery) *Stream {
	s := f.stream()
	s.ask = func(ctx context.Context, src adminapi.Source) error {
		return src.Trace(ctx, q, func(l adminapi.TraceLine) error {
			s.putLine(&l)
			return nil
		})
	}
	return s
}

func (f *Feed) stream() *Stream {
	ctx, cancel := context.WithCancel(f.ctx)
	return &Stream{feed: f, ctx: ctx, cancel: cancel, ready: make(chan struct{}, 1)}
}

// Stop ends the stream. The Next under way sends a Batch that says so.
func (s *Stream) Stop() { s.cancel() }

// Next waits for something to show, and for the pace, and sends it as a Batch. One
// Next at a time.
func (s *Stream) Next() tea.Cmd {
	return func() tea.Msg {
		s.begin.Do(func() { go s.read() }) // until ctx ends or the broker ends the stream
		select {
		case <-s.ready:
		case <-s.ctx.Done():
			return Batch{Stream: s, Ended: true}
		}
		s.mu.Lock()
		wait := pace - s.feed.clock.Now().Sub(s.last)
		s.mu.Unlock()
		if wait > 0 {
			due := make(chan struct{})
			timer := s.feed.clock.AfterFunc(wait, func() { close(due) })
			select {
			case <-due:
			case <-s.ctx.Done():
				timer.Stop()
				return Batch{Stream: s, Ended: true}
			}
		}
		return s.take()
	}
}

func (s *Stream) take() Batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.ready: // for what is taken now
	default:
	}
	b := Batch{Stream: s, Messages: s.pending, Events: s.events, Skipped: s.skipped, Stats: s.stats, Bound: s.bound, Ended: s.ended, Err: s.err}
	s.pending, s.events, s.skipped, s.last = nil, nil, 0, s.feed.clock.Now()
	if s.ended {
		s.cancel()
	}
	return b
}

// read is the reader goroutine.
func (s *Stream) read() {
	src, _, err := s.feed.source()
	if err == nil {
		err = s.ask(s.ctx, src)
		if Gone(err) {
			s.feed.forget(src)
		}
	}
	s.mu.Lock()
	s.ended, s.err = true, err
	s.mu.Unlock()
	s.wake()
}

func (s *Stream) put(e adminapi.LiveEvent) {
	s.mu.Lock()
	if e.Stats != nil {
		s.stats = *e.Stats
	}
	if e.Message != nil {
		s.pending = append(s.room(), *e.Message)
	}
	s.mu.Unlock()
	s.wake()
}

// room is pending with room for one more: where there is none the older half goes at once, so that a flood
// costs no copy for each message. Caller holds s.mu.
func (s *Stream) room() []adminapi.Message {
	kept, gone := halved(s.pending)
	s.skipped += gone
	return kept
}

func halved[T any](all []T) (kept []T, gone uint64) {
	if len(all) < PendingMax {
		return all, 0
	}
	n := copy(all, all[PendingMax/2:])
	return all[:n], uint64(PendingMax - n)
}

func (s *Stream) putLine(l *adminapi.TraceLine) {
	s.mu.Lock()
	if l.Dropped > 0 {
		s.stats.Dropped = l.Dropped
	}
	if l.End != "" {
		s.bound = l.End
	}
	if l.Event != nil {
		kept, gone := halved(s.events)
		s.events, s.skipped = append(kept, *l.Event), s.skipped+gone
	}
	s.mu.Unlock()
	s.wake()
}

func (s *Stream) wake() {
	select {
	case s.ready <- struct{}{}:
	default: // one is waiting already
	}
}
