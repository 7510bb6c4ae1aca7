package mqtt

import (
	"sync"

	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/mqttwire"
)

var outboundPool = sync.Pool{New: func() any { return new(outbound) }}

// Deliver implements kernel.Sink: it encodes the message into the outbox. It never blocks.
func (c *conn) Deliver(d *kernel.Delivery) bool {
	if d.Msg == nil { // a QoS 2 delivery that the client has received already
		c.mu.Lock()
		c.window.sent++
		c.mu.Unlock()
		c.ack(&mqttwire.Ack{Type: mqttwire.PUBREL, PacketID: d.PacketID})
		return true
	}
	m := d.Msg
	p := mqttwire.Publish{
		Dup:      d.Redelivered && d.QoS > 0 && !d.Shared, // MQTT5-3.3.1-3
		QoS:      d.QoS,
		Retain:   d.Retain,
		Topic:    viewBytes(m.Address),
		PacketID: d.PacketID,
		Payload:  m.Value,
	}
	x := extra{subIDs: d.SubIDs}
	if m.ExpiresAt != 0 {
		seconds, left := remaining(m.ExpiresAt, c.server.cfg.Clock.Now().UnixMilli())
		if !left && !p.Dup { // MQTT5-3.3.2-5, but not once it was sent (MQTT5-4.3.3-7)
			c.server.stats.DroppedExpired.Add(1)
			c.forgo(d)
			return true
		}
		x.expire, x.expiry = true, seconds
	}
	if m.Source != message.MQTT && !mqttwire.ValidTopic(p.Topic) { // "", which is no topic name
		c.forgo(d)
		return true
	}
	if c.version != mqttwire.V5 {
		return c.send(d, &p)
	}
	if m.Source == message.MQTT && !x.expire && len(x.subIDs) == 0 && c.aliasMax == 0 {
		p.Properties = m.Native
		return c.send(d, &p)
	}
	out := outboundPool.Get().(*outbound)
	defer outboundPool.Put(out)
	if c.aliasMax > 0 && d.QoS == 0 && !d.Shared {
		return c.sendAliased(d, &p, out, x)
	}
	p.Properties = out.properties(m, x)
	return c.send(d, &p)
}

// send puts a PUBLISH in the outbox, within what the client takes.
func (c *conn) send(d *kernel.Delivery, p *mqttwire.Publish) bool {
	size := p.Size(c.version) // the packet identifier of a shared delivery has its place already
	if size > c.maxOut {      // MQTT5-3.1.2-25
		c.server.stats.DroppedTooLarge.Add(1)
		c.forgo(d)
		return true
	}
	if p.QoS == 0 {
		put := func(dst []byte) []byte { return p.Append(dst, c.version) }
		ok := false
		if d.Batch.Hold(c) {
			ok = c.out.HoldWithin(c.server.cfg.DropAbove, put)
		} else {
			ok = c.out.AppendWithin(c.server.cfg.DropAbove, put)
		}
		c.sent(size, ok)
		if d.Shared && d.No != 0 {
			d.From.Settle(d.No, false, kernel.Accept) // nobody will acknowledge it
		}
		return ok
	}

	c.mu.Lock()
	w := &c.window
	if d.Shared {
		p.PacketID = w.take(share{from: d.From, no: d.No})
		if p.PacketID == 0 {
			c.mu.Unlock()
			d.From.Settle(d.No, false, kernel.Release)
			return true
		}
	}
	ok := true
	switch {
	case w.open():
		w.sent++
		ok = c.out.Append(func(dst []byte) []byte { return p.Append(dst, c.version) })
	case len(w.parked) < parkedMax:
		w.parked = append(w.parked, p.Append(make([]byte, 0, size), c.version))
	default:
		ok = false
	}
	c.mu.Unlock()
	c.sent(size, ok)
	if !ok {
		c.tooSlow() // the session, or the queue, keeps the message
	}
	return true
}

// sendAliased sends a QoS 0 delivery with a topic alias, where one is free. The lock keeps
// the packet that defines an alias before those that use it. No kernel call is made under
// it: only shared and acknowledged deliveries need one.
func (c *conn) sendAliased(d *kernel.Delivery, p *mqttwire.Publish, out *outbound, x extra) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	topic := d.Msg.Address
	alias, known := c.aliasesOut[topic]
	fresh := false
	switch {
	case known:
		p.Topic = nil
	case len(c.aliasesOut) < c.aliasMax:
		alias, fresh = uint16(len(c.aliasesOut)+1), true
	}
	x.alias = alias
	p.Properties = out.properties(d.Msg, x)
	ok := c.send(d, p)
	if fresh && ok && p.Size(c.version) <= c.maxOut { // it has left
		c.aliasesOut[topic] = alias
	}
	return ok
}

// Flush implements kernel.Flusher: it writes what was held for a batch.
func (c *conn) Flush() { c.out.Flush() }

// sent counts a PUBLISH that was put in the outbox, or was not.
func (c *conn) sent(size int, ok bool) {
	s := &c.server.stats
	switch {
	case ok:
		s.MessagesOut.Add(1)
		s.BytesOut.Add(uint64(size))
	case !c.ended.Load():
		s.DroppedSlow.Add(1)
	}
}

// forgo gives up a delivery that this client cannot get, as if it had completed.
func (c *conn) forgo(d *kernel.Delivery) {
	switch {
	case d.Shared && d.No != 0:
		d.From.Settle(d.No, false, kernel.Reject)
	case d.QoS > 0:
		c.session.Ack(d.PacketID, true)
	}
}

// puback handles PUBACK: a QoS 1 delivery is done.
func (c *conn) puback(a *mqttwire.Ack) {
	if a.PacketID >= sharedIDMin {
		c.settle(a.PacketID, true, outcome(a.Reason))
		return
	}
	if c.session.Ack(a.PacketID, !a.Reason.Failed()) {
		c.advance()
	}
}

// pubrec handles PUBREC: the client has a QoS 2 delivery, or refuses it.
func (c *conn) pubrec(a *mqttwire.Ack) {
	failed := a.Reason.Failed()
	rel := mqttwire.Ack{Type: mqttwire.PUBREL, PacketID: a.PacketID}
	if a.PacketID >= sharedIDMin {
		if known := c.settle(a.PacketID, failed, outcome(a.Reason)); !known {
			rel.Reason = mqttwire.PacketIDNotFound
		}
	} else if failed {
		if c.session.Ack(a.PacketID, false) {
			c.advance()
		}
	} else if !c.session.Received(a.PacketID) {
		rel.Reason = mqttwire.PacketIDNotFound
	}
	if failed { // MQTT5-4.3.3-4
		return
	}
	if !c.out.Hold(func(dst []byte) []byte { return rel.Append(dst, c.version) }) {
		c.tooSlow()
	}
}

// pubcomp handles PUBCOMP: a QoS 2 delivery is done.
func (c *conn) pubcomp(a *mqttwire.Ack) {
	if a.PacketID >= sharedIDMin {
		c.settle(a.PacketID, true, kernel.Accept)
		return
	}
	if c.session.Ack(a.PacketID, true) {
		c.advance()
	}
}

// outcome is what an acknowledgement makes of a shared delivery (MQTT5-4.8.2-6).
func outcome(r mqttwire.Reason) kernel.Outcome {
	if r.Failed() {
		return kernel.Reject
	}
	return kernel.Accept
}

// settle settles a shared delivery, once; done also frees its packet identifier.
func (c *conn) settle(id uint16, done bool, o kernel.Outcome) (known bool) {
	c.mu.Lock()
	s, known := c.window.shares[id]
	if known && done {
		delete(c.window.shares, id)
	} else if known {
		c.window.shares[id] = share{from: s.from, no: s.no, settled: true}
	}
	c.mu.Unlock()
	if known && !s.settled {
		s.from.Settle(s.no, false, o)
	}
	if known && done {
		c.advance()
	}
	return known
}

// advance counts a delivery as done, and sends one that was parked for it.
func (c *conn) advance() {
	c.mu.Lock()
	ok := true
	if p := c.window.next(); p != nil {
		ok = c.out.Write(p)
	}
	c.mu.Unlock()
	if !ok {
		c.tooSlow()
	}
}
