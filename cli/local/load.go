package local

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker"
	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/storage/memlog"
	"github.com/robustmq/rmq/broker/storage/snapshot"
)

// loadable is a broker in memory that snapshots can be loaded into: it is closed, and another opened with what a
// snapshot holds, on the same ports, in the same process.
//
// Ownership: mu guards what is below it. A load holds busy, and not mu, while brokers are closed and opened.
type loadable struct {
	done chan struct{} // closed when one was asked over its API to end, or could not be opened again
	work sync.WaitGroup

	mu     sync.Mutex
	cfg    broker.Config
	b      *broker.Broker // nil: it is not open yet
	gone   chan struct{}  // closed when b is not the one any more
	busy   bool
	closed bool
	ended  bool // done is closed
	err    error
}

// openLoadable opens a broker that keeps its data in memory.
func openLoadable(ctx context.Context, cfg broker.Config) (*loadable, error) {
	l := &loadable{done: make(chan struct{})}
	cfg.Load = l.load
	b, err := broker.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	cfg.Snapshot = nil // it has been
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cfg = cfg
	l.is(b)
	return l, nil
}

// is has b be the broker from now on. Caller holds mu.
func (l *loadable) is(b *broker.Broker) {
	gone := make(chan struct{})
	l.b, l.gone = b, gone
	go func() { // ends with the broker
		select {
		case <-b.Done():
			l.mu.Lock()
			defer l.mu.Unlock()
			l.end()
		case <-gone:
		}
	}()
}

// end closes done. Caller holds mu.
func (l *loadable) end() {
	if !l.ended {
		l.ended = true
		close(l.done)
	}
}

// load begins the broker anew, once it is known that one opens with the image.
func (l *loadable) load(ctx context.Context, image *memlog.Image, c *snapshot.Contents) error {
	l.mu.Lock()
	b := l.b
	if l.busy || l.closed || b == nil {
		l.mu.Unlock()
		return fault.New(fault.Unavailable, "load", "snapshot", "the broker is about to begin anew, or to end")
	}
	l.busy = true
	l.mu.Unlock()
	before, err := b.Image(ctx) // to go back to
	if err == nil {
		err = opens(ctx, image, c)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil || l.closed {
		l.busy = false
		return err
	}
	l.work.Go(func() { l.again(b, before, image, c) }) // Close waits for it
	return nil
}

// opens tells whether a broker opens with an image.
func opens(ctx context.Context, image *memlog.Image, c *snapshot.Contents) error {
	b, err := broker.Open(ctx, broker.Config{Engine: image.Open(), Profile: broker.Production, Ports: broker.OnePort(broker.None), Time: clock.NewVirtual(c.Taken)})
	if err != nil {
		return err
	}
	return errors.Join(b.Err(), b.Close(ctx))
}

// loadClose is how long a broker may take to end in order whose data another's takes the place of.
const loadClose = 10 * time.Second

// again closes a broker and opens another, or, where that fails, the one that was before.
func (l *loadable) again(b *broker.Broker, before, image *memlog.Image, c *snapshot.Contents) {
	l.mu.Lock()
	next := l.cfg
	close(l.gone)
	l.mu.Unlock()
	next.Ports, next.Loads, next.LoadFailed = b.Ports(), next.Loads+1, ""
	closing, cancel := context.WithTimeout(context.Background(), loadClose)
	if err := b.Close(closing); err != nil {
		next.Log.Warn("not closed in order", "err", err)
	}
	cancel()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout) // however long that took
	defer cancel()
	old := next.Hands
	next.Engine = image.Open()
	next.Hands = handsAt(old, c)
	another, err := broker.Open(ctx, next)
	if err != nil {
		next.Log.Error("snapshot not loaded", "err", err)
		next.LoadFailed, next.Engine, next.Hands = err.Error(), before.Open(), old
		another, err = broker.Open(ctx, next)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy = false
	next.Engine = nil
	l.cfg = next
	if err != nil {
		l.err = fault.New(fault.KindOf(err), "open again", "broker", "%w", err)
		l.end()
		return
	}
	l.is(another)
}

// handsAt are those of a clock that shows when a snapshot was taken, and runs if that before did; nil: it was the
// machine's.
func handsAt(old *clock.Hands, c *snapshot.Contents) *clock.Hands {
	if old == nil {
		return nil
	}
	h := clock.NewHands(c.Taken)
	if !old.Face().Frozen {
		_ = h.Run(context.Background()) // nobody moves it yet
	}
	return h
}

func (l *loadable) now() *broker.Broker {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b
}

func (l *loadable) URLs() adminapi.URLs   { return l.now().URLs() }
func (l *loadable) Done() <-chan struct{} { return l.done }
func (l *loadable) Reload() error         { return l.now().Reload() }

func (l *loadable) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	return l.b.Err()
}

func (l *loadable) Close(ctx context.Context) error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.work.Wait() // bounded by loadClose and closeTimeout
	l.mu.Lock()
	b := l.b
	select {
	case <-l.gone:
	default:
		close(l.gone)
	}
	l.mu.Unlock() // a load that is asked for now looks at it, and b waits for who asked
	return b.Close(ctx)
}
