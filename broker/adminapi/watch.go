package adminapi

import (
	"context"
	"time"

	"github.com/robustmq/rmq/broker/clock"
)

// WatchMin is the shortest interval of a watch.
const WatchMin = 100 * time.Millisecond

// Watch calls emit with an overview now and after every interval, with rates
// since the one before, until ctx ends (then nil), src fails or emit does.
func Watch(ctx context.Context, src Source, c clock.Clock, interval time.Duration, emit func(Overview) error) error {
	var last Overview
	due := make(chan struct{}, 1)
	for {
		now, err := src.Overview(ctx)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the reader left, which fails whatever it asked
		case err != nil:
			return err
		}
		AddRates(last, &now)
		if err := emit(now); err != nil {
			return err
		}
		last = now
		timer := c.AfterFunc(interval, func() { due <- struct{}{} })
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-due:
		}
	}
}

// AddRates fills in now's rates since an earlier overview. A protocol whose counters
// went back (the broker restarted) gets none.
func AddRates(earlier Overview, now *Overview) {
	seconds := now.At.Sub(earlier.At).Seconds()
	if earlier.At.IsZero() || seconds <= 0 {
		return
	}
	for i := range now.Traffic {
		t := &now.Traffic[i]
		for j := range earlier.Traffic {
			if e := &earlier.Traffic[j]; e.Protocol == t.Protocol {
				t.Rates = ratesBetween(e.Counters, t.Counters, seconds)
			}
		}
	}
}

func ratesBetween(a, b Counters, seconds float64) *Rates {
	back := false
	rate := func(a, b uint64) float64 {
		if b < a {
			back = true
			return 0
		}
		return float64(b-a) / seconds
	}
	r := &Rates{
		MessagesIn:  rate(a.MessagesIn, b.MessagesIn),
		MessagesOut: rate(a.MessagesOut, b.MessagesOut),
		BytesIn:     rate(a.BytesIn, b.BytesIn),
		BytesOut:    rate(a.BytesOut, b.BytesOut),
		Accepted:    rate(a.Accepted, b.Accepted),
		Errors:      rate(a.Errors, b.Errors),
		Dropped:     rate(a.Dropped, b.Dropped),
	}
	if back {
		return nil
	}
	return r
}
