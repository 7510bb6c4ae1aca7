package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/fault"
)

// CopyOptions say what to copy and when to stop. Group, N, Where and the rest are as for
// Consume; Peek is not for copies.
type CopyOptions struct {
	ConsumeOptions
	To Options // of the connection to the destination
	// Edit makes what is sent of a message: none, one or several; nil: itself.
	Edit func(*Message) ([]*Message, error)
	Rate float64 // messages a second; 0: as fast as can be
	// Copied is told of each message that the destination has, from any goroutine.
	Copied func()
}

// Copy sends what it reads from one target to another. A message is acknowledged at its
// source only when the destination has acknowledged everything that was made of it, and of
// all before it: what fails on the way is still at the source, and may come twice, but is
// never lost. It returns how many were copied.
func Copy(ctx context.Context, from, to Target, o CopyOptions) (int64, error) {
	limited := ctx
	if o.Timeout > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, o.Timeout)
		defer cancel()
	}
	producer, err := NewProducer(limited, to, o.To)
	if err != nil {
		return 0, notConnected(ctx, limited, "copy to", to, o.Timeout, err)
	}
	r, err := open(limited, from, o.ConsumeOptions)
	if err != nil {
		_ = producer.Close(limited) // it has nothing under way
		return 0, notConnected(ctx, limited, "copy from", from, o.Timeout, err)
	}
	defer r.close()
	c := &copier{r: r, o: o, to: to, failed: make(chan struct{})}
	err = c.run(ctx, limited, producer)
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), ackTimeout)
	defer cancel()
	if closeErr := producer.Close(closing); err == nil {
		err = closeErr
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil && (err == nil || errors.Is(err, errCopyFailed)) {
		err = c.err
	}
	if err == nil && c.copied < o.N {
		err = enough(c.copied, "copy", from, o.ConsumeOptions, c.ended)
	}
	return c.copied, err
}

// errCopyFailed says that the copier's own error tells why.
var errCopyFailed = errors.New("a copy failed")

// copier is one copy under way.
//
// Lock order: mu is held while a message is settled, so that they are in order; settling
// waits for no message.
type copier struct {
	r  reader
	o  CopyOptions
	to Target

	mu     sync.Mutex
	under  []*passage    // in the order read; the first is not done
	idle   chan struct{} // not nil: closed when under is empty
	copied int64
	err    error         // the first
	failed chan struct{} // closed with err
	ended  string        // why reading has, when nothing went wrong
}

// passage is one message on its way.
type passage struct {
	settle func() error
	left   int // of what was made of it, not acknowledged
	counts bool
}

func (c *copier) run(ctx, limited context.Context, producer Producer) error {
	next := time.Now()
	for n := int64(0); c.o.N == 0 || n < c.o.N; {
		select {
		case <-c.failed:
			return errCopyFailed
		default:
		}
		m, err := nextWithin(limited, c.r, c.o.Idle)
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, io.EOF), limited.Err() != nil, errors.Is(err, context.DeadlineExceeded):
			if limited.Err() != nil && c.o.UntilEnd && c.o.N == 0 {
				return fault.New(fault.Timeout, "copy", c.to.String(), "%d messages after %v, and the end was not reached", n, c.o.Timeout)
			}
			c.ended = "the end was reached"
			switch {
			case errors.Is(err, io.EOF):
			case limited.Err() != nil:
				c.ended = fmt.Sprintf("%v passed", c.o.Timeout)
			default:
				c.ended = fmt.Sprintf("nothing came for %v", c.o.Idle)
			}
			return nil
		default:
			return err
		}
		meant := c.o.Where == nil || c.o.Where(m)
		made := []*Message{m}
		switch {
		case !meant:
			made = nil
		case c.o.Edit != nil:
			if made, err = c.o.Edit(m); err != nil {
				return err
			}
		}
		p := &passage{left: len(made), counts: meant, settle: c.r.hold(meant)}
		c.mu.Lock()
		c.under = append(c.under, p)
		c.mu.Unlock()
		if !meant || len(made) == 0 {
			c.done(p, nil)
		}
		if meant {
			n++
		}
		for _, out := range made {
			if c.o.Rate > 0 {
				if err := Pause(ctx, time.Until(next)); err != nil {
					return err
				}
				next = next.Add(time.Duration(float64(time.Second) / c.o.Rate))
			}
			if out.Protocol != c.to.Protocol {
				Carry(out)
			}
			out.Partition = nil // that of the topic it came from means nothing there
			if err := producer.Send(ctx, out, func(_ Receipt, err error) { c.done(p, err) }); err != nil {
				return err
			}
		}
		if c.r.waits() {
			if err := c.wait(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// Pause waits for a time, and no longer than ctx.
func Pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// done takes one acknowledgement, and settles what all before it allow. After a failure
// nothing is settled any more.
func (c *copier) done(p *passage, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.failLocked(err)
		return
	}
	p.left--
	for len(c.under) > 0 && c.under[0].left <= 0 && c.err == nil {
		first := c.under[0]
		if err := first.settle(); err != nil {
			c.failLocked(err)
			return
		}
		c.under = c.under[1:]
		if first.counts {
			c.copied++
			if c.o.Copied != nil {
				c.o.Copied()
			}
		}
	}
	if len(c.under) == 0 && c.idle != nil {
		close(c.idle)
		c.idle = nil
	}
}

func (c *copier) failLocked(err error) {
	if c.err == nil {
		c.err = err
		close(c.failed)
	}
}

// wait returns when nothing is under way.
func (c *copier) wait(ctx context.Context) error {
	c.mu.Lock()
	if len(c.under) == 0 {
		c.mu.Unlock()
		return nil
	}
	idle := make(chan struct{})
	c.idle = idle
	c.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-c.failed:
		return errCopyFailed
	case <-ctx.Done():
		return ctx.Err()
	}
}
