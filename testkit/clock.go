package testkit

import (
	"context"
	"time"

	"github.com/robustmq/rmq/broker/clock"
)

// Clock is a broker's time. The nodes of a cluster have one.
type Clock struct{ b *Broker }

// Now is broker time.
func (c *Clock) Now() time.Time {
	if h := c.b.cfg.broker.Hands; h != nil {
		return h.Time().Now()
	}
	return time.Now()
}

// settleMax bounds how long a move of the clock may take to show its effects.
const settleMax = time.Minute

// Advance moves broker time by d. Timers that fall due on the way run in the order of
// their times, and each sees the effects of those before it: a message that expires into a
// queue with a TTL of its own expires there too, if d is long enough. When Advance
// returns, all of that has happened inside the broker; what clients are sent is on its way
// to them. Clients stay connected.
func (c *Clock) Advance(d time.Duration) {
	c.b.t.Helper()
	c.b.events.add("clock", "advance %v", d)
	c.move(func(ctx context.Context, h *clock.Hands) error { return h.Advance(ctx, d, false) })
}

// AdvanceLiveness moves link time too: clients whose keep alive or heartbeat is shorter than d count
// as silent for all of it, and end; members of groups too. Then broker time moves, as in Advance.
func (c *Clock) AdvanceLiveness(d time.Duration) {
	c.b.t.Helper()
	c.b.events.add("clock", "advance %v with liveness", d)
	c.move(func(ctx context.Context, h *clock.Hands) error { return h.Advance(ctx, d, true) })
}

// Set moves broker time to at, which must not lie in the past.
func (c *Clock) Set(at time.Time) {
	c.b.t.Helper()
	c.b.events.add("clock", "set %v", at)
	c.move(func(ctx context.Context, h *clock.Hands) error { return h.Set(ctx, at, false) })
}

func (c *Clock) move(f func(context.Context, *clock.Hands) error) {
	c.b.t.Helper()
	h := c.b.cfg.broker.Hands
	if h == nil {
		c.b.t.Fatalf("testkit: to move the clock needs the option testkit.Virtual()")
	}
	ctx, cancel := context.WithTimeout(context.Background(), settleMax)
	defer cancel()
	if err := f(ctx, h); err != nil {
		c.b.t.Fatalf("testkit: %v", err)
	}
}
