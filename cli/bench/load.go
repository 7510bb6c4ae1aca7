package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/cli/env"
	"github.com/robustmq/rmq/cli/link"
)

const (
	longest  = 10 * 60 * 1e6 // µs that a histogram can count
	stampLen = 24            // bytes that tell when a message was due
	// drainMax is how long what is under way at the end may take.
	drainMax = 30 * time.Second
	// connectsMax is how many connections may be under way at once.
	connectsMax = 512
)

// meter collects what became of messages; several goroutines tell it.
type meter struct {
	start  time.Time // when it begins to count
	mu     sync.Mutex
	hist   *hdrhistogram.Histogram
	n      int64
	bytes  int64
	errors int64
	err    error
	last   time.Time
	late   time.Duration
}

func newMeter(start time.Time) *meter {
	return &meter{start: start, hist: hdrhistogram.New(1, longest, 3)}
}

// done notes one that was due at a time and is over now.
func (m *meter) done(due time.Time, size int, err error) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case err != nil:
		m.errors++
		if m.err == nil {
			m.err = err
		}
	case !due.Before(m.start):
		m.n++
		m.bytes += int64(size)
		m.last = now
		_ = m.hist.RecordValue(min(max(1, now.Sub(due).Microseconds()), longest)) // it is in range
	}
}

func (m *meter) behind(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.late = max(m.late, d)
}

func (m *meter) result(cpu float64) *Result {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := &Result{Messages: m.n, Bytes: m.bytes, Errors: m.errors, Latency: latencyOf(m.hist), Late: float64(m.late.Microseconds()) / 1000}
	if r.Seconds = m.last.Sub(m.start).Seconds(); r.Seconds > 0 {
		r.Rate, r.CPU = float64(m.n)/r.Seconds, cpu/r.Seconds
	} else {
		r.Seconds = 0
	}
	if m.err != nil {
		r.Error = env.Explain(m.err).What
	}
	return r
}

// load runs the mode.
func (b *bench) load(ctx context.Context) (*Result, error) {
	switch b.mode {
	case "consume":
		return b.consume(ctx)
	case "connect":
		return b.connect(ctx)
	}
	return b.produce(ctx)
}

// schedule says when the messages of one client are due.
type schedule struct {
	next, end time.Time
	every     time.Duration // 0: when there is room
	left      int64         // messages; -1: no limit
}

func (b *bench) schedule(client int, start time.Time) schedule {
	s := schedule{next: start, end: start.Add(time.Duration(b.warmUp) + time.Duration(b.length)), left: -1}
	if b.rate > 0 {
		s.every = time.Duration(float64(b.clients) / float64(b.rate) * float64(time.Second))
		s.next = start.Add(time.Duration(float64(client) / float64(b.rate) * float64(time.Second)))
	}
	if b.count > 0 {
		s.end = start.Add(1 << 62)
		s.left = b.count / int64(b.clients)
		if int64(client) < b.count%int64(b.clients) {
			s.left++
		}
	}
	return s
}

// wait waits until the next message is due. false: there is none.
func (s *schedule) wait(ctx context.Context, m *meter) (due time.Time, ok bool) {
	now := time.Now()
	if s.every == 0 {
		s.next = now
	}
	if due = s.next; s.left == 0 || !due.Before(s.end) || ctx.Err() != nil {
		return due, false
	}
	s.left--
	s.next = due.Add(s.every)
	if !due.After(now) && !due.Before(m.start) {
		m.behind(now.Sub(due))
	}
	return due, link.Pause(ctx, due.Sub(now)) == nil
}

// produce is produce and latency: they differ in who says that a message is over.
func (b *bench) produce(ctx context.Context) (*Result, error) {
	producers := make([]link.Producer, b.clients)
	for i := range producers {
		var err error
		if producers[i], err = link.NewProducer(ctx, b.target, b.link); err != nil {
			return nil, err
		}
	}
	base := time.Now()
	t := &taken{b: b, base: base}
	if b.mode == "latency" {
		stop, err := t.begin(ctx, producers[0])
		if err != nil {
			return nil, err
		}
		defer stop()
	}
	warm := time.Duration(b.warmUp)
	if b.count > 0 {
		warm = 0
	}
	start := time.Now()
	m := newMeter(start.Add(warm))
	t.meter.Store(m)
	used := cpuSeconds()
	var work sync.WaitGroup
	for i, p := range producers {
		work.Go(func() {
			s := b.schedule(i, start)
			for due, ok := s.wait(ctx, m); ok; due, ok = s.wait(ctx, m) {
				value := make([]byte, b.size)
				if b.mode == "latency" {
					t.sent.Add(1)
					stamp(value, t.id, due.Sub(base))
				}
				qos := uint8(b.qos)
				msg := &link.Message{Value: value, QoS: &qos, Time: time.Now()}
				// What is under way on Ctrl-C is waited for: it is no error.
				err := p.Send(context.WithoutCancel(ctx), msg, func(_ link.Receipt, err error) {
					if err != nil || b.mode == "produce" {
						m.done(due, len(value), err)
					}
				})
				if err != nil {
					m.done(due, 0, err)
					return
				}
			}
		})
	}
	work.Wait()
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainMax)
	defer cancel()
	for _, p := range producers {
		if err := p.Close(closing); err != nil {
			m.done(start, 0, err)
		}
	}
	if b.mode == "latency" {
		t.drain(closing)
	}
	return m.result(cpuSeconds() - used), nil
}

// taken is those who take the messages of latency.
type taken struct {
	b     *bench
	base  time.Time
	id    uint64 // of this run: what others send is not ours
	meter atomic.Pointer[meter]
	sent  atomic.Int64
	got   atomic.Int64
	news  chan struct{} // one more came; holds one
	heard chan int      // a consumer has heard a probe
}

// fan is how many get each message.
func (t *taken) fan() int64 {
	if t.b.target.Queue != "" {
		return 1 // they share the queue
	}
	return int64(t.b.consumers)
}

const (
	probe      = ^uint64(0)
	probeEvery = 50 * time.Millisecond
)

// begin starts the consumers, and returns once they get what is sent.
func (t *taken) begin(ctx context.Context, p link.Producer) (stop func(), err error) {
	t.id = uint64(t.base.UnixNano())
	t.news, t.heard = make(chan struct{}, 1), make(chan int, 1024)
	taking, cancel := context.WithCancel(ctx)
	failed := make(chan error, t.b.consumers)
	var work sync.WaitGroup
	for i := range t.b.consumers {
		work.Go(func() {
			_, err := link.Consume(taking, t.b.target, link.ConsumeOptions{Options: t.b.link, QoS: uint8(t.b.qos), From: link.Position{Kind: link.AtEnd}}, func(m *link.Message) error {
				t.take(i, m.Value)
				return nil
			})
			if err != nil && taking.Err() == nil {
				failed <- err
			}
		})
	}
	stop = func() { cancel(); work.Wait() }
	ready := map[int]bool{}
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	value := make([]byte, max(int(t.b.size), stampLen))
	binary.BigEndian.PutUint64(value, t.id)
	binary.BigEndian.PutUint64(value[8:], probe)
	limit := time.NewTimer(drainMax)
	defer limit.Stop()
	for len(ready) < int(t.fan()) {
		qos := uint8(1)
		if err := p.Send(ctx, &link.Message{Value: value, QoS: &qos, Time: time.Now()}, func(link.Receipt, error) {}); err != nil {
			stop()
			return nil, err
		}
		for waiting := true; waiting; {
			select {
			case i := <-t.heard:
				ready[i] = true
				waiting = len(ready) < int(t.fan())
			case <-tick.C:
				waiting = false
			case err := <-failed:
				stop()
				return nil, err
			case <-limit.C:
				stop()
				return nil, fault.New(fault.Timeout, "consume", t.b.target.String(), "%d of %d consumers got nothing after %v", int(t.fan())-len(ready), t.fan(), drainMax)
			case <-ctx.Done():
				stop()
				return nil, context.Cause(ctx)
			}
		}
	}
	return stop, nil
}

func stamp(value []byte, id uint64, due time.Duration) {
	binary.BigEndian.PutUint64(value, id)
	binary.BigEndian.PutUint64(value[16:], uint64(due))
}

// take counts a message that came.
func (t *taken) take(consumer int, value []byte) {
	if len(value) < stampLen || binary.BigEndian.Uint64(value) != t.id {
		return
	}
	if binary.BigEndian.Uint64(value[8:]) == probe {
		select {
		case t.heard <- consumer:
		default: // nobody asks any more
		}
		return
	}
	if m := t.meter.Load(); m != nil {
		m.done(t.base.Add(time.Duration(binary.BigEndian.Uint64(value[16:]))), len(value), nil)
	}
	t.got.Add(1)
	select {
	case t.news <- struct{}{}:
	default:
	}
}

// quiet is how long nothing may come before what has not come is lost.
const quiet = 2 * time.Second

// drain waits for what is under way; what does not come is an error.
func (t *taken) drain(ctx context.Context) {
	want := t.sent.Load() * t.fan()
	for t.got.Load() < want {
		timer := time.NewTimer(quiet)
		select {
		case <-t.news:
			timer.Stop()
			continue
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		break
	}
	m := t.meter.Load()
	for range want - t.got.Load() {
		m.done(t.base, 0, fmt.Errorf("%d of %d messages did not come", want-t.got.Load(), want))
	}
}

// consume takes what is there and what comes.
func (b *bench) consume(ctx context.Context) (*Result, error) {
	from := link.Position{Kind: link.AtEnd}
	if b.target.Protocol == link.Kafka {
		from.Kind = link.AtStart
	}
	begun := time.Now()
	m := newMeter(begun)
	used := cpuSeconds()
	var first atomic.Int64
	left := b.count
	var mu sync.Mutex
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, b.clients)
	var work sync.WaitGroup
	for range b.clients {
		work.Go(func() {
			o := link.ConsumeOptions{Options: b.link, QoS: uint8(b.qos), From: from, Timeout: time.Duration(b.length)}
			_, err := link.Consume(ctx, b.target, o, func(msg *link.Message) error {
				mu.Lock()
				defer mu.Unlock()
				if b.count > 0 && left == 0 {
					return context.Canceled // others took the last while it came
				}
				first.CompareAndSwap(0, int64(time.Since(begun)))
				m.done(time.Now(), len(msg.Value), nil)
				if left--; left == 0 {
					cancel()
				}
				return nil
			})
			if err != nil && ctx.Err() == nil {
				failed <- err
			}
		})
	}
	work.Wait()
	select {
	case err := <-failed:
		return nil, err
	default:
	}
	m.start = begun.Add(time.Duration(first.Load())) // to connect is no part of it
	r := m.result(cpuSeconds() - used)
	r.Latency = nil
	return r, nil
}

// connect lets clients in, one after another.
func (b *bench) connect(ctx context.Context) (*Result, error) {
	warm := time.Duration(b.warmUp)
	if b.count > 0 {
		warm = 0
	}
	start := time.Now()
	m := newMeter(start.Add(warm))
	used := cpuSeconds()
	room := make(chan struct{}, connectsMax)
	var work, under sync.WaitGroup
	for i := range b.clients {
		work.Go(func() {
			s := b.schedule(i, start)
			for due, ok := s.wait(ctx, m); ok; due, ok = s.wait(ctx, m) {
				room <- struct{}{}
				once := func() {
					defer func() { <-room }()
					p, err := link.NewProducer(ctx, b.target, b.link)
					m.done(due, 0, err)
					if err == nil {
						_ = p.Close(ctx) // nothing is under way
					}
				}
				if b.rate == 0 {
					once()
					continue
				}
				under.Go(once)
			}
		})
	}
	work.Wait()
	under.Wait()
	if m.n == 0 && m.err != nil && !errors.Is(m.err, context.Canceled) {
		return nil, m.err
	}
	return m.result(cpuSeconds() - used), nil
}
