package testkit

import (
	"context"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/kernel"
)

// Clock is a broker's time.
type Clock struct {
	b       *Broker
	virtual *clock.Virtual          // nil: the machine's
	nodes   func() []*kernel.Kernel // those that go by it; nil: b's alone
}

// kernels are those whose effects Advance waits for.
func (c *Clock) kernels() []*kernel.Kernel {
	if c.nodes != nil {
		return c.nodes()
	}
	return []*kernel.Kernel{c.b.Kernel()}
}

// Now is broker time.
func (c *Clock) Now() time.Time {
	if c.virtual == nil {
		return time.Now()
	}
	return c.virtual.Now()
}

// settleMax bounds how long one step of the clock may take to show its effects.
const settleMax = time.Minute

// Advance moves broker time by d. Timers that fall due on the way run in the order of
// their times, and each sees the effects of those before it: a message that expires into a
// queue with a TTL of its own expires there too, if d is long enough. When Advance
// returns, all of that has happened inside the broker; what clients are sent is on its way
// to them.
func (c *Clock) Advance(d time.Duration) {
	c.b.t.Helper()
	if c.virtual == nil {
		c.b.t.Fatalf("testkit: Clock.Advance needs the option testkit.Virtual()")
	}
	ctx, cancel := context.WithTimeout(context.Background(), settleMax)
	defer cancel()
	c.b.events.add("clock", "advance %v", d)
	end := c.virtual.Now().Add(d)
	var settled uint64 // works known to be over
	settle := func() {
		for again := true; again; again = c.works() != settled { // what one node does may give another something to do
			settled = c.works()
			for _, k := range c.kernels() {
				if err := k.Settle(ctx); err != nil {
					c.b.t.Fatalf("testkit: the broker did not come to rest as the clock stood at %v: %v", c.virtual.Now(), err)
				}
			}
		}
	}
	step := func(to time.Time) {
		c.virtual.Advance(max(to.Sub(c.virtual.Now()), 0))
		if c.works() != settled {
			settle()
		}
	}
	settle() // what is seen already may not have set its timer yet
	for {
		next, ok := c.virtual.Next()
		if !ok || next.After(end) {
			break
		}
		step(next)
	}
	step(end)
}

// works counts what effects have asked for.
func (c *Clock) works() (n uint64) {
	for _, k := range c.kernels() {
		n += k.Works()
	}
	return n
}

// Set moves broker time to at, which must not lie in the past.
func (c *Clock) Set(at time.Time) {
	c.b.t.Helper()
	d := at.Sub(c.Now())
	if d < 0 {
		c.b.t.Fatalf("testkit: broker time is %v: it does not go back to %v", c.Now(), at)
	}
	c.Advance(d)
}
