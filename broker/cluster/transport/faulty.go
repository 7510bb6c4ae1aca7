package transport

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/clock"
)

// Sender is what Faulty stands in front of: a Port.
type Sender interface {
	Send(to uint64, frame []byte)
}

// Faults are what a bad network does to each frame.
type Faults struct {
	Loss, Repeat       float64       // probability, 0 to 1
	DelayMin, DelayMax time.Duration // even between the two; so frames overtake each other
}

// Weather is what all Faulty senders of a simulated cluster share: one source of
// chance, one clock, and who is cut off from whom. With a clock.Virtual and a
// single caller, a seed decides everything.
//
// Ownership: mu guards all fields. It is not held while a frame is handed on.
type Weather struct {
	clock clock.Clock

	mu     sync.Mutex
	rand   *rand.Rand
	faults Faults
	cuts   map[[2]uint64]bool // one way: from, to
}

// NewWeather returns weather with no faults and no cuts.
func NewWeather(c clock.Clock, seed uint64) *Weather {
	return &Weather{clock: c, rand: rand.New(rand.NewPCG(seed, 0x77656174)), cuts: make(map[[2]uint64]bool)}
}

// Set replaces the faults.
func (w *Weather) Set(f Faults) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = f
}

// Cut loses every frame from one node to another, also those under way.
func (w *Weather) Cut(from, to uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cuts[[2]uint64{from, to}] = true
}

// Isolate cuts a node off from the others, both ways.
func (w *Weather) Isolate(node uint64, others ...uint64) {
	for _, o := range others {
		w.Cut(node, o)
		w.Cut(o, node)
	}
}

// Heal undoes every cut.
func (w *Weather) Heal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.cuts)
}

// Wrap returns a sender for a node which is exposed to the weather.
func (w *Weather) Wrap(self uint64, to Sender) *Faulty {
	return &Faulty{weather: w, self: self, to: to}
}

// Faulty is one node's sender in bad weather.
type Faulty struct {
	weather *Weather
	self    uint64
	to      Sender
}

// Send loses the frame, or hands it on once or twice, now or later.
func (f *Faulty) Send(to uint64, frame []byte) {
	w := f.weather
	var delays [2]time.Duration
	w.mu.Lock()
	n := 1
	if w.cuts[[2]uint64{f.self, to}] || w.rand.Float64() < w.faults.Loss {
		n = 0
	} else if w.rand.Float64() < w.faults.Repeat {
		n = 2
	}
	for i := range n {
		delays[i] = w.faults.DelayMin
		if spread := w.faults.DelayMax - w.faults.DelayMin; spread > 0 {
			delays[i] += time.Duration(w.rand.Int64N(int64(spread)))
		}
	}
	w.mu.Unlock()
	frames := [2][]byte{frame}
	if n == 2 {
		frames[1] = slices.Clone(frame) // before its receiver has the other
	}
	for i, d := range delays[:n] {
		frame := frames[i]
		if d == 0 {
			f.to.Send(to, frame)
			continue
		}
		w.clock.AfterFunc(d, func() {
			w.mu.Lock()
			cut := w.cuts[[2]uint64{f.self, to}]
			w.mu.Unlock()
			if !cut {
				f.to.Send(to, frame)
			}
		})
	}
}
