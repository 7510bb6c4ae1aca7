package amqp

// What goes to the client is put in the outbox as it comes up, from whichever goroutine
// has it, and leaves with the next flush. A flush puts confirms behind it, writes, and,
// once the client has taken nearly everything, gives its consumers more credit. There is
// one flush at a time; while it is at it, everything that comes up is for the next.
//
// A flush is asked for by the reader when it has handled all that has arrived, by whoever
// serves a channel after each method, and by the kernel's callbacks (kick), which start a
// goroutine for it: what the kernel answers in one go so leaves in one go.

// States of conn.flushing.
const (
	flushIdle  int32 = iota
	flushBusy        // somebody flushes
	flushAgain       // and is to begin again
)

// drained is how much may be left in the outbox for consumers to be given more credit.
const drained = 256 << 10

// kick has a flush begin soon, elsewhere.
func (c *conn) kick() {
	for {
		switch c.flushing.Load() {
		case flushAgain:
			return
		case flushBusy:
			if c.flushing.CompareAndSwap(flushBusy, flushAgain) {
				return
			}
		default:
			if c.flushing.CompareAndSwap(flushIdle, flushBusy) {
				if !c.spawn(c.flushLoop) {
					c.flushing.Store(flushIdle)
				}
				return
			}
		}
	}
}

// flushNow flushes on the caller's goroutine, without waiting for the client.
func (c *conn) flushNow() {
	for {
		switch c.flushing.Load() {
		case flushAgain:
			return
		case flushBusy:
			if c.flushing.CompareAndSwap(flushBusy, flushAgain) {
				return
			}
		default:
			if !c.flushing.CompareAndSwap(flushIdle, flushBusy) {
				continue
			}
			for {
				c.write()
				if c.out.Buffered() > drained {
					if !c.spawn(c.flushLoop) {
						c.flushing.Store(flushIdle)
					}
					return
				}
				c.grant()
				if c.flushed() {
					return
				}
			}
		}
	}
}

// flushLoop flushes until there is nothing left, waiting for the client where it must.
func (c *conn) flushLoop() {
	for {
		c.write()
		if c.out.Buffered() > drained {
			c.out.Wait()
		}
		c.grant()
		if c.flushed() {
			return
		}
	}
}

// flushed ends a flush, unless there was more to do.
func (c *conn) flushed() bool {
	if c.flushing.CompareAndSwap(flushBusy, flushIdle) {
		return true
	}
	c.flushing.Store(flushBusy)
	return false
}

// write puts confirms in the outbox and starts it.
func (c *conn) write() {
	c.dirtyMu.Lock()
	list := c.confirms
	c.confirms, c.spareChannels = c.spareChannels[:0], nil
	c.dirtyMu.Unlock()
	for i, ch := range list {
		if !ch.closing.Load() {
			// Not within Hold: a channel puts basic.return in with its lock held.
			if c.scratch = ch.appendConfirms(c.scratch[:0]); len(c.scratch) > 0 {
				c.hold(c.takeScratch)
			}
		}
		list[i] = nil
	}
	c.dirtyMu.Lock()
	c.spareChannels = list[:0]
	c.dirtyMu.Unlock()
	c.out.Flush()
}

func (c *conn) appendScratch(dst []byte) []byte { return append(dst, c.scratch...) }

// markConfirms notes that a channel has confirms to send.
func (c *conn) markConfirms(ch *channel) {
	c.dirtyMu.Lock()
	c.confirms = append(c.confirms, ch)
	c.dirtyMu.Unlock()
}

// grant gives credit to the consumers that may be due some.
func (c *conn) grant() {
	c.dirtyMu.Lock()
	list := c.credits
	c.credits, c.spareCredits = c.spareCredits[:0], nil
	c.dirtyMu.Unlock()
	for i, cs := range list {
		list[i] = nil
		cs.grant()
	}
	c.dirtyMu.Lock()
	c.spareCredits = list[:0]
	c.dirtyMu.Unlock()
}

// markCredit notes that a consumer may be due credit.
func (c *conn) markCredit(cs *consumer) {
	c.dirtyMu.Lock()
	c.credits = append(c.credits, cs)
	c.dirtyMu.Unlock()
}
