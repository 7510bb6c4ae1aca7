package mqtt

import (
	"sync"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/mqttwire"
)

// A QoS 1 or 2 publish that the kernel has no room for is parked, unacknowledged, with those
// that come after it, and goes on when there is room. The socket is read all the while: it
// carries acknowledgements and pings, and the acknowledgements are what makes room.
// A client of MQTT 5 whose publish the device has no space for is told so, with reason code
// 0x97; MQTT 3 has no word for it, and waits.
//
// What one client may have parked is bounded by its Receive Maximum, and by parkMax. Beyond that
// it is disconnected, as is one that would park more than all clients may; it sends again
// what was not acknowledged (MQTT311-4.4.0-1). QoS 0 is never parked: the kernel gives it to
// who is connected, and no log.
const (
	parkMax    = 16 << 20  // bytes of one client's messages, each with parkOverhead; a larger one stands alone
	parkMaxAll = 256 << 20 // the same of all clients of a server

	parkOverhead = 256
)

// parking is what one connection has parked. mu guards it.
type parking struct {
	mu       sync.Mutex
	list     []*kernel.Publish // in the order in which they came; they own their memory
	bytes    int
	over     bool           // the connection has ended
	draining bool           // a goroutine is at it, for as long as something is parked
	drain    sync.WaitGroup // that goroutine; the connection's end waits for it
	stop     chan struct{}  // closed: it is to end
}

func parkedSize(p *kernel.Publish) int { return p.Msg.Size() + parkOverhead }

// parksBehind parks a publish behind others, and tells whether there were any.
func (c *conn) parksBehind(p *kernel.Publish) (parked bool, err error) {
	k := c.parked.Load()
	if k == nil {
		return false, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.list) == 0 {
		return false, nil
	}
	return true, c.parkLocked(k, p)
}

// park parks a publish that was not let in. Called by the reader alone.
func (c *conn) park(p *kernel.Publish) error {
	k := c.parked.Load()
	if k == nil {
		k = &parking{stop: make(chan struct{})}
		c.parked.Store(k)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := c.parkLocked(k, p); err != nil {
		return err
	}
	if !k.draining {
		k.draining = true
		k.drain.Go(func() { c.drain(k) })
	}
	return nil
}

// parkLocked copies a publish into the row. Caller holds k.mu.
func (c *conn) parkLocked(k *parking, p *kernel.Publish) error {
	n := parkedSize(p)
	if k.bytes+n > parkMax && len(k.list) > 0 {
		return &mqttwire.Error{Reason: mqttwire.QuotaExceeded, Text: "more published than can be held until there is room"}
	}
	s := &c.server.stats
	if s.ParkedBytes.Add(int64(n)) > parkMaxAll {
		s.ParkedBytes.Add(-int64(n))
		return &mqttwire.Error{Reason: mqttwire.ServerBusy, Text: "more published, by all clients, than can be held until there is room"}
	}
	s.Parked.Add(1)
	own := *p
	own.Msg, own.Batch = p.Msg.Clone(), nil
	k.list = append(k.list, &own)
	k.bytes += n
	return nil
}

// leaveLocked takes the oldest publish off the row. Caller holds k.mu.
func (c *conn) leaveLocked(k *parking) {
	n := parkedSize(k.list[0])
	k.list[0] = nil
	k.list = k.list[1:]
	k.bytes -= n
	c.server.stats.Parked.Add(-1)
	c.server.stats.ParkedBytes.Add(-int64(n))
}

// drain publishes what is parked, in order, as there is room, until there is nothing or the
// connection has ended.
func (c *conn) drain(k *parking) {
	for {
		k.mu.Lock()
		if len(k.list) == 0 || k.over {
			for len(k.list) > 0 {
				c.leaveLocked(k)
			}
			k.list, k.draining = nil, false
			k.mu.Unlock()
			return
		}
		p := k.list[0]
		k.mu.Unlock()
		room := c.server.core.Room() // before it is tried, so that none is missed
		err := c.server.core.Publish(p)
		if err != nil && c.waits(err) {
			select {
			case <-room:
			case <-k.stop:
			}
			continue
		}
		k.mu.Lock()
		c.leaveLocked(k)
		k.mu.Unlock()
		if err != nil {
			c.Published(p.Tag, kernel.PublishResult{Err: err})
		}
	}
}

// waits tells whether a publish that was refused so is to wait, and not to be answered.
func (c *conn) waits(err error) bool {
	return c.version != mqttwire.V5 || fault.Is(err, fault.Exhausted)
}

// unpark forgets what is parked and waits for what is being published. The connection has
// ended, so that nothing more begins.
func (c *conn) unpark() {
	if k := c.parked.Load(); k != nil {
		k.mu.Lock()
		k.over = true
		k.mu.Unlock()
		close(k.stop)
		k.drain.Wait()
	}
}
