package kernel

import "sync"

// Waiter collects wakes from many partitions, for a long poll: C holds at most one
// pending wake.
type Waiter struct {
	C chan struct{}

	mu    sync.Mutex
	tails []*tail
}

// NewWaiter returns a waiter that nothing wakes yet.
func NewWaiter() *Waiter { return &Waiter{C: make(chan struct{}, 1)} }

func (w *Waiter) wake() {
	select {
	case w.C <- struct{}{}:
	default:
	}
}

func (w *Waiter) watched(t *tail) {
	w.mu.Lock()
	w.tails = append(w.tails, t)
	w.mu.Unlock()
}

// Close withdraws the waiter from every partition.
func (w *Waiter) Close() {
	w.mu.Lock()
	tails := w.tails
	w.tails = nil
	w.mu.Unlock()
	for _, t := range tails {
		t.unwatch(w)
	}
}
