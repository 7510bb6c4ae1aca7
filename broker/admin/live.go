package admin

import (
	"bytes"
	"context"
	"sync/atomic"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/filter"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/route"
	"github.com/robustmq/rmq/broker/message"
)

// liveWaiting is how many messages wait for a slow reader before more are dropped.
const liveWaiting = 1024

// liveRate is how many messages a second are shown when the reader does not say.
const liveRate = 1000

// Leave to show messages is given out liveSteps times a second, and at most that of a second is kept: so
// a burst is shown whole, and of a flood a little of each moment.
const (
	liveSteps = 10
	liveStep  = time.Second / liveSteps
)

// livePause is how long messages gather before they are sent together, once some were sent. The first after a
// while goes at once.
const livePause = 5 * time.Millisecond

// Live shows what is published. Publishers pay for a filter match and, for what is shown,
// a copy; they never wait. Where no leave is left a message costs them two atomic words, and
// a Kafka batch is not even taken apart.
func (s *Source) Live(ctx context.Context, q adminapi.LiveQuery, emit func(adminapi.LiveEvent) error) error {
	l := &live{q: q, ns: namespace(q.Namespace), ch: make(chan adminapi.Message, liveWaiting), now: s.c.Clock.Now}
	if l.q.BodyMax <= 0 {
		l.q.BodyMax = adminapi.LiveBodyMax
	}
	if l.q.RateMax <= 0 {
		l.q.RateMax = liveRate
	}
	if q.Where != "" {
		var err error
		if l.where, err = filter.Compile(q.Where, filter.Options{Now: s.c.Clock.Now}); err != nil {
			return fault.New(fault.Invalid, "live", "", "where: %w", err)
		}
	}
	l.leave.Store(int64(l.q.RateMax))
	stop := s.c.Kernel.Tap(kernel.Tap{See: l.see, Spare: l.spare})
	defer stop()
	told := adminapi.LiveStats{}
	ticker := time.NewTicker(liveStep)
	defer ticker.Stop()
	pause := time.NewTimer(livePause)
	defer pause.Stop()
	ready := l.ch // nil while messages gather: nobody is woken for each
	for step := 1; ; {
		select {
		case <-ctx.Done():
			return nil
		case m := <-ready:
			for behind := len(l.ch); ; behind-- {
				if err := emit(adminapi.LiveEvent{Message: &m, Behind: behind > 0}); err != nil {
					return err
				}
				if behind <= 0 {
					break
				}
				m = <-l.ch
			}
			ready = nil
			pause.Reset(livePause)
		case <-pause.C:
			ready = l.ch
		case <-ticker.C:
			l.give(step)
			if step++; step%liveSteps != 0 {
				continue
			}
			if now := l.stats(); now != told {
				told = now
				if err := emit(adminapi.LiveEvent{Stats: &now}); err != nil {
					return err
				}
			}
		}
	}
}

// cacheLine is at least the bytes that processors share as one.
const cacheLine = 64

// live is one reader's view. Publishers change the counters and take from leave.
type live struct {
	q     adminapi.LiveQuery
	ns    string
	where *filter.Filter // nil: all are meant
	ch    chan adminapi.Message
	now   func() time.Time

	// What all publishers write is on a line of the cache of its own: to read what hardly changes costs them nothing.
	_              [cacheLine]byte
	leave          atomic.Int64 // messages that may be shown now; may fall below zero by those who race for the last
	shown, dropped atomic.Uint64
	_              [cacheLine]byte
	matched        atomic.Uint64
}

// give gives out the leave of one step: over a second as much as RateMax, whatever that is.
func (l *live) give(step int) {
	n := int64(l.q.RateMax)
	more := n*int64(step%liveSteps+1)/liveSteps - n*int64(step%liveSteps)/liveSteps
	for {
		was := l.leave.Load()
		if l.leave.CompareAndSwap(was, min(n, max(0, was)+more)) {
			return
		}
	}
}

func (l *live) stats() adminapi.LiveStats {
	// Shown and dropped first: each was matched before.
	st := adminapi.LiveStats{Shown: l.shown.Load(), Dropped: l.dropped.Load()}
	st.Matched = l.matched.Load()
	st.Sampled = st.Matched - st.Shown - st.Dropped
	return st
}

// meant tells what can be told by where a message goes to.
func (l *live) meant(ns, protocol, address string) bool {
	return ns == l.ns && (l.q.Protocol == "" || l.q.Protocol == protocol) && (l.q.Filter == "" || route.MatchFilter(l.q.Filter, address))
}

// spare counts records that need not be looked at.
func (l *live) spare(ns, address string, n int) bool {
	switch {
	case !l.meant(ns, message.Kafka.String(), address):
		return true
	case l.q.Contains != "" || l.where != nil || l.leave.Load() > 0:
		return false
	}
	l.matched.Add(uint64(n))
	return true
}

func (l *live) see(ns string, m *message.Message) {
	if !l.meant(ns, m.Source.String(), m.Address) || l.q.Contains != "" && !contains(m, []byte(l.q.Contains)) ||
		l.where != nil && !l.where.Match(filter.Of(m)) {
		return
	}
	l.matched.Add(1)
	if l.leave.Load() <= 0 || l.leave.Add(-1) < 0 {
		return
	}
	v := adminapi.MessageOf(ns, m, l.q.BodyMax)
	if v.Time.IsZero() {
		v.Time = l.now()
	}
	select {
	case l.ch <- v:
		l.shown.Add(1)
	default:
		l.dropped.Add(1)
	}
}

func contains(m *message.Message, text []byte) bool {
	if bytes.Contains(m.Value, text) || bytes.Contains(m.Key, text) {
		return true
	}
	for i := range m.Headers {
		if bytes.Contains(m.Headers[i].Value, text) || bytes.Contains([]byte(m.Headers[i].Name), text) {
			return true
		}
	}
	return false
}
