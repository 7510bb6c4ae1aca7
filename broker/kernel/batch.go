package kernel

import "sync"

// Batch collects the sinks that a run of publishes has reached while the publisher has more
// at hand, so that each writes once, at the end of the run. A delivery made on the
// publisher's goroutine, before Publish returns, carries it; all others carry nil.
//
// The publisher's goroutine owns it, and flushes it when it has nothing more at hand, and
// before anything that may wait for long.
type Batch struct {
	held []Flusher
}

// Flusher is a Sink that can keep what it was delivered until it is told to write.
type Flusher interface {
	Flush() // must not block
}

// batchMax bounds the sinks that one goroutine flushes, one after the other; those of a
// wider fan-out flush themselves, on many.
const batchMax = 16

// Hold tells whether b will flush f. False when b is nil or full: f sees to itself.
func (b *Batch) Hold(f Flusher) bool {
	if b == nil {
		return false
	}
	for _, h := range b.held {
		if h == f {
			return true
		}
	}
	if len(b.held) == batchMax {
		return false
	}
	b.held = append(b.held, f)
	return true
}

// Flush flushes the sinks that are held, and forgets them.
func (b *Batch) Flush() {
	for i, f := range b.held {
		f.Flush()
		b.held[i] = nil
	}
	b.held = b.held[:0]
}

// deliveries are reused for live deliveries: a Delivery passed to a Sink is on the heap.
var deliveries = sync.Pool{New: func() any { return new(Delivery) }}
