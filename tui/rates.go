package tui

import (
	"math"
	"time"
)

// rates works out how fast counters grow, from what they were at earlier answers.
type rates struct {
	span  time.Duration // how far back a rate looks
	level bool          // it goes down too
	by    map[string][]counted
}

// counted is a counter at one time.
type counted struct {
	count int64
	at    time.Time
}

// How many answers are remembered of each counter: enough for a trend, or, where there
// are more counters than trendsMax, for a rate alone.
const (
	trendMax  = 32
	rateMax   = 4
	trendsMax = 2000
)

// apartMin is how far apart two counts must be to make a rate.
const apartMin = 200 * time.Millisecond

func newRates(span time.Duration, level bool) rates {
	return rates{span, level, make(map[string][]counted)}
}

func (r rates) note(id string, count int64, at time.Time) {
	was := r.by[id]
	if n := len(was); n > 0 {
		switch {
		case at.Sub(was[n-1].at) < apartMin:
			return // what is asked twice in a moment says nothing about speed
		case count < was[n-1].count && !r.level:
			was = was[:0] // another thing of the same name
		}
	}
	keep := trendMax
	if len(r.by) > trendsMax {
		keep = rateMax
	}
	if n := len(was) - keep + 1; n > 0 {
		was = was[n:]
	}
	r.by[id] = append(was, counted{count, at})
}

// of is how many a second over the span; NaN until there are two counts.
func (r rates) of(id string) float64 {
	was := r.by[id]
	if len(was) < 2 {
		return math.NaN()
	}
	now := was[len(was)-1]
	i := len(was) - 2
	for i > 0 && now.at.Sub(was[i].at) < r.span {
		i--
	}
	return was[i].to(now)
}

func (c counted) to(later counted) float64 {
	return float64(later.count-c.count) / later.at.Sub(c.at).Seconds()
}

// trend is how many a second between each answer and the next; of a level, what it was.
func (r rates) trend(id string) []float64 {
	was := r.by[id]
	var out []float64
	if r.level {
		for _, c := range was {
			out = append(out, float64(c.count))
		}
		return out
	}
	for i := 1; i < len(was); i++ {
		out = append(out, was[i-1].to(was[i]))
	}
	return out
}

// forget lets go of what the answer of that time did not have, so that there are as many
// as the list is long at most.
func (r rates) forget(at time.Time) {
	for id, was := range r.by {
		if was[len(was)-1].at.Before(at) {
			delete(r.by, id)
		}
	}
}
