package mqtt

import (
	"context"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/mqttwire"
	"github.com/robustmq/rmq/broker/trace"
)

// What the rules of access make of a connection:
//
//   - A PUBLISH that is not allowed gets 0x87 in its PUBACK or PUBREC. MQTT 3 has no word for
//     it but the end of the connection, after which the client would send it again, and again:
//     there it is acknowledged and dropped (MQTT311-3.3.5-2 allows either).
//   - A SUBSCRIBE is granted when there is anything in its filter that may be read, and 0x87
//     when there is nothing. Each delivery is held against the rules again: so a filter that is
//     wider than what may be read gives that part, and a rule that comes later counts at once.
//   - A subscription to a queue, "$queue/NAME", is granted to who may read the queue, as in AMQP,
//     and gets all that is in it. It ends like a shared one.
//   - A shared subscription has to be readable as a whole: what its member may not read would
//     be lost to the others. One that becomes unreadable ends, and gives back what it had.

func (c *conn) may(a acl.Action, address string) bool { return c.access.May(a, acl.Address, address) }

// mayRead tells whether a subscription with a valid filter is granted.
func (c *conn) mayRead(filter []byte) bool {
	_, filter, shared, _ := mqttwire.SplitShared(filter)
	filter, _ = mqttwire.SplitExclusive(filter)
	if want, ok := streamOf(filter); ok {
		filter = []byte(want) // each record is asked about as well
	}
	if name, ok := queueOf(filter); ok {
		return c.may(acl.Read, message.FromAMQPKey(name))
	}
	x := c.access.Extent(acl.Read, string(filter))
	return x == acl.Everything || x == acl.Some && !shared
}

// mayTake tells whether a delivery may be read: who may read a queue may read what is in it.
func (c *conn) mayTake(d *kernel.Delivery) bool {
	if d.Consumed {
		return c.may(acl.Read, message.FromAMQPKey(d.From.Queue()))
	}
	return c.may(acl.Read, d.Msg.Address)
}

// received tells whether a QoS 2 publish is one that was let in already, and is sent again.
func (c *conn) received(p *mqttwire.Publish) bool {
	if p.QoS != 2 {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flow == nil {
		return false
	}
	_, ok := c.flow.receiving[p.PacketID]
	return ok
}

// denied answers a PUBLISH that the rules forbid.
func (c *conn) denied(p *mqttwire.Publish) error {
	c.server.stats.Denied.Add(1)
	c.traceWhy(trace.Drop, c.work.out.Msg.Address, "the client may not write it")
	c.server.cfg.Log.Debug("mqtt: publish denied", "client", c.clientID, "user", c.user, "address", c.work.out.Msg.Address)
	if p.QoS == 0 {
		return nil
	}
	a := mqttwire.Ack{Type: mqttwire.PUBACK, PacketID: p.PacketID, Reason: mqttwire.NotAuthorized}
	if p.QoS == 2 {
		a.Type = mqttwire.PUBREC
	}
	if c.version != mqttwire.V5 {
		a.Reason = mqttwire.Success
	} else if c.problemInfo {
		a.Properties = c.reasonString(a.Reason.String(), 2+3)
	}
	c.ack(&a)
	return nil
}

// withhold keeps a delivery from a client that may not read it.
func (c *conn) withhold(d *kernel.Delivery) {
	c.server.stats.Denied.Add(1)
	c.traceWhy(trace.Drop, d.Msg.Address, "the client may not read it")
	if !d.Shared || d.No == 0 {
		c.forgo(d, d.From)
		return
	}
	// It is not settled: it goes back as the subscription ends.
	filter := d.From.Subscription()
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.flowLocked()
	if _, again := f.left[filter]; again || c.closed {
		return
	}
	if f.left == nil {
		f.left = make(map[string]struct{})
	}
	f.left[filter] = struct{}{}
	f.leaving.Go(func() {
		ctx, cancel := context.WithTimeout(c.server.ctx, subscribeTimeout)
		defer cancel()
		if _, err := c.session.Unsubscribe(ctx, []string{filter}); err != nil {
			c.server.cfg.Log.Warn("mqtt: shared subscription not ended", "client", c.clientID, "filter", filter, "err", err)
		}
		c.mu.Lock()
		delete(f.left, filter) // it may subscribe again
		c.mu.Unlock()
	})
}
