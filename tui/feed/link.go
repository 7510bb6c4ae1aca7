package feed

import "time"

// How long to wait before asking a broker that is gone again: retryMin at first, twice
// as long each time, at most retryMax.
const (
	retryMin = 250 * time.Millisecond
	retryMax = 5 * time.Second
)

// Link is what is known of the way to the broker. It changes by answers alone. The zero
// value has had none.
type Link struct {
	Up      bool
	Ever    bool      // it was up at some time
	Since   time.Time // of being up, or of being gone
	Err     error     // why it is gone
	Tries   int       // without an answer, since it is gone
	Again   time.Time // of the next try
	Answers time.Time // the last one
}

// Answered notes an answer. It tells whether the broker is back by it, or here for the
// first time.
func (l *Link) Answered(at time.Time) (back bool) {
	back = !l.Up
	if back {
		l.Since = at
	}
	l.Up, l.Ever, l.Err, l.Tries, l.Answers = true, true, nil, 0, at
	return back
}

// Lost notes that none came, and returns how long to wait before the next try.
func (l *Link) Lost(at time.Time, err error) time.Duration {
	if l.Up || l.Tries == 0 {
		l.Since = at
	}
	l.Up, l.Err = false, err
	wait := min(retryMin<<min(l.Tries, 10), retryMax)
	l.Tries++
	l.Again = at.Add(wait)
	return wait
}
