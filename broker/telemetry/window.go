package telemetry

import "time"

// Window keeps the last readings of a fixed set of counters, and tells how fast they
// grew: what rates and sparklines are made of. Not safe for concurrent use; whoever takes
// the readings owns it.
type Window struct {
	width    int // counters in a reading
	readings []reading
	next     int // place of the next reading
	n        int // readings held
}

type reading struct {
	at     time.Time
	values []uint64
}

// NewWindow returns a window of the last n readings of width counters each.
func NewWindow(n, width int) *Window {
	w := &Window{width: width, readings: make([]reading, n)}
	for i := range w.readings {
		w.readings[i].values = make([]uint64, width)
	}
	return w
}

// Add takes one reading. A clock or a counter that went back began anew: what was held
// is forgotten.
func (w *Window) Add(at time.Time, values ...uint64) {
	if len(values) != w.width {
		panic("telemetry: a reading of another width")
	}
	if w.n > 0 {
		last := w.at(w.n - 1)
		back := !at.After(last.at)
		for i, v := range values {
			back = back || v < last.values[i]
		}
		if back {
			w.n = 0
		}
	}
	r := &w.readings[w.next]
	r.at = at
	copy(r.values, values)
	w.next = (w.next + 1) % len(w.readings)
	w.n = min(w.n+1, len(w.readings))
}

// at returns the i-th reading held, oldest first.
func (w *Window) at(i int) *reading {
	return &w.readings[(w.next-w.n+i+len(w.readings))%len(w.readings)]
}

// Rate is how much counter i grew per second over the last span, or over what is held when
// that is less. ok is false when there are not two readings.
func (w *Window) Rate(i int, span time.Duration) (perSecond float64, ok bool) {
	if w.n < 2 {
		return 0, false
	}
	last := w.at(w.n - 1)
	first := w.at(w.n - 2)
	for k := w.n - 3; k >= 0 && last.at.Sub(w.at(k).at) <= span; k-- {
		first = w.at(k)
	}
	return float64(last.values[i]-first.values[i]) / last.at.Sub(first.at).Seconds(), true
}

// AppendRates appends counter i's rate between each two readings, oldest first.
func (w *Window) AppendRates(dst []float64, i int) []float64 {
	for k := 1; k < w.n; k++ {
		a, b := w.at(k-1), w.at(k)
		dst = append(dst, float64(b.values[i]-a.values[i])/b.at.Sub(a.at).Seconds())
	}
	return dst
}
