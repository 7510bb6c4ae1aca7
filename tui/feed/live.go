package feed

import (
	"context"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/robustmq/rmq/broker/adminapi"
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
	Skipped  uint64             // let go before they were shown, in this batch
	Stats    adminapi.LiveStats // of the broker, as it last told
	Ended    bool               // there will be no more batches
	Err      error              // why; nil after Stop
}

// Stream reads live messages.
type Stream struct {
	feed   *Feed
	query  adminapi.LiveQuery
	ctx    context.Context
	cancel context.CancelFunc
	begin  sync.Once

	ready chan struct{} // holds one value while there is something to take

	mu      sync.Mutex // guards what follows
	pending []adminapi.Message
	skipped uint64
	stats   adminapi.LiveStats
	ended   bool
	err     error
	last    time.Time // of the last batch
}

// Live returns a stream that has not begun: its first Next begins it.
func (f *Feed) Live(q adminapi.LiveQuery) *Stream {
	ctx, cancel := context.WithCancel(f.ctx)
	return &Stream{feed: f, query: q, ctx: ctx, cancel: cancel, ready: make(chan struct{}, 1)}
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
	b := Batch{Stream: s, Messages: s.pending, Skipped: s.skipped, Stats: s.stats, Ended: s.ended, Err: s.err}
	s.pending, s.skipped, s.last = nil, 0, s.feed.clock.Now()
	if s.ended {
		s.cancel()
	}
	return b
}

// read is the reader goroutine.
func (s *Stream) read() {
	src, _, err := s.feed.source()
	if err == nil {
		err = src.Live(s.ctx, s.query, func(e adminapi.LiveEvent) error {
			s.put(e)
			return nil
		})
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
		if len(s.pending) == PendingMax {
			// The older half at once, so that a flood costs no copy for each message.
			n := copy(s.pending, s.pending[PendingMax/2:])
			s.skipped += uint64(PendingMax - n)
			s.pending = s.pending[:n]
		}
		s.pending = append(s.pending, *e.Message)
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
