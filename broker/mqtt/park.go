package mqtt

import (
	"sync"

	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/mqttwire"
)

// A client of MQTT 5 whose publish the log has no room for is told so, with reason code
// 0x97. MQTT 3 has no word for it: the publish is parked, unacknowledged, with those that
// come after it, and goes on when there is room. The socket is read all the while. A
// client that has parkMax parked is disconnected; it sends again what was not
// acknowledged (MQTT311-4.4.0-1).
const parkMax = 1 << 20 // bytes, of messages, each with parkOverhead

const parkOverhead = 256

// parking is what one connection has parked. mu guards it.
type parking struct {
	mu       sync.Mutex
	list     []*kernel.Publish // in the order in which they came; they own their memory
	bytes    int
	draining bool           // a goroutine is at it
	drain    sync.WaitGroup // that goroutine; the connection's end waits for it
}

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
	return true, k.addLocked(p)
}

// park parks a publish that was refused. Called by the reader alone.
func (c *conn) park(p *kernel.Publish) error {
	k := c.parked.Load()
	if k == nil {
		k = new(parking)
		c.parked.Store(k)
	}
	k.mu.Lock()
	err := k.addLocked(p)
	k.mu.Unlock()
	c.readmit() // there may be room by now
	return err
}

func (k *parking) addLocked(p *kernel.Publish) error {
	n := p.Msg.Size() + parkOverhead
	if k.bytes+n > parkMax && len(k.list) > 0 {
		return &mqttwire.Error{Reason: mqttwire.QuotaExceeded, Text: "more published than can be held until there is space"}
	}
	own := *p
	own.Msg, own.Batch = p.Msg.Clone(), nil
	k.list = append(k.list, &own)
	k.bytes += n
	return nil
}

// readmit has the parked publishes go on, if publishes are let in.
func (c *conn) readmit() {
	k := c.parked.Load()
	if k == nil || c.server.core.Refusal() != nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.list) > 0 && !k.draining && !c.ended.Load() {
		k.draining = true
		k.drain.Go(func() { c.drain(k) })
	}
}

// drain publishes what is parked, in order, until there is nothing, publishes are refused
// again, or the connection has ended.
func (c *conn) drain(k *parking) {
	for {
		k.mu.Lock()
		if len(k.list) == 0 || c.ended.Load() {
			k.list = nil
			k.draining = false
			k.mu.Unlock()
			return
		}
		p := k.list[0]
		k.mu.Unlock()
		if err := c.server.core.Publish(p); err != nil {
			k.mu.Lock()
			k.draining = false
			k.mu.Unlock()
			c.readmit()
			return
		}
		k.mu.Lock()
		if len(k.list) > 0 { // else the connection has ended
			k.list[0] = nil
			k.list = k.list[1:]
			k.bytes -= p.Msg.Size() + parkOverhead
		}
		k.mu.Unlock()
	}
}

// unpark forgets what is parked and waits for what is being published. The connection has
// ended, so that nothing more begins.
func (c *conn) unpark() {
	if k := c.parked.Load(); k != nil {
		k.mu.Lock()
		k.list = nil
		k.mu.Unlock()
		k.drain.Wait()
	}
}
