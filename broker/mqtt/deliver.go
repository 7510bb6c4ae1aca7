package mqtt

import (
	"sync"

	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/mqttwire"
	"github.com/robustmq/rmq/broker/trace"
)

var outboundPool = sync.Pool{New: func() any { return new(outbound) }}

// Deliver implements kernel.Sink: it encodes the message into the outbox. It never blocks.
func (c *conn) Deliver(d *kernel.Delivery) bool {
	if d.Msg == nil { // a QoS 2 delivery that the client has received already
		c.mu.Lock()
		c.flowLocked().window.sent++
		c.mu.Unlock()
		c.ack(&mqttwire.Ack{Type: mqttwire.PUBREL, PacketID: d.PacketID})
		return true
	}
	if !c.mayTake(d) {
		c.withhold(d)
		return true
	}
	return c.deliver(d, d.From)
}

// deliver is Deliver for what the client may read. from settles a shared delivery.
func (c *conn) deliver(d *kernel.Delivery, from settler) bool {
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
			c.traceWhy(trace.Drop, m.Address, "it has expired")
			c.forgo(d, from)
			return true
		}
		x.expire, x.expiry = true, seconds
	}
	if m.Source != message.MQTT && !mqttwire.ValidTopic(p.Topic) { // "", which is no topic name
		c.forgo(d, from)
		return true
	}
	var out *outbound
	switch {
	case c.version != mqttwire.V5:
	case m.Source == message.MQTT && !x.expire && len(x.subIDs) == 0 && c.aliasMax == 0:
		p.Properties = m.Native
	default:
		out = outboundPool.Get().(*outbound)
		defer outboundPool.Put(out)
		p.Properties = out.properties(m, x)
	}
	// The packet identifier of a shared delivery, not yet taken, has its place in the size.
	if size := p.Size(c.version); size > int(c.maxOut) { // MQTT5-3.1.2-25
		c.server.stats.DroppedTooLarge.Add(1)
		c.traceWhy(trace.Drop, m.Address, "the packet is larger than the client takes")
		c.forgo(d, from)
		return true
	}
	if p.QoS == 0 && c.aliasMax == 0 {
		return c.finish(d, from, &p, c.put(d, &p))
	}
	return c.sendInOrder(d, from, &p, out, x)
}

// put puts a PUBLISH in the outbox. At QoS 0 it is dropped when the client does not keep up,
// and may wait for the end of the publisher's batch.
func (c *conn) put(d *kernel.Delivery, p *mqttwire.Publish) bool {
	write := func(dst []byte) []byte { return p.Append(dst, c.version) }
	if c.disturbed() && c.disturb(d.Msg.Address, write) {
		return true
	}
	var ok bool
	switch {
	case p.QoS > 0:
		ok = c.out.Append(write)
	case d.Batch.Hold(c):
		ok = c.out.HoldWithin(c.server.cfg.DropAbove, write)
	default:
		ok = c.out.AppendWithin(c.server.cfg.DropAbove, write)
	}
	if ok {
		if c.server.cfg.Trace.On() {
			c.traceDelivery(d, p.PacketID, write)
		}
	} else {
		c.traceWhy(trace.Drop, d.Msg.Address, "the client does not keep up")
	}
	return ok
}

// finish counts a delivery that put has taken or refused, and ends it where nobody will
// acknowledge it.
func (c *conn) finish(d *kernel.Delivery, from settler, p *mqttwire.Publish, ok bool) bool {
	c.sent(p, ok)
	if ok && p.QoS == 0 && c.server.timing() != nil {
		c.timeWritten(d)
	}
	switch {
	case p.QoS == 0 && d.Shared && d.No != 0:
		from.Settle(d.No, false, kernel.Accept)
	case p.QoS > 0 && !ok:
		c.tooSlow() // the session, or the queue, keeps the message
		return true
	}
	return ok
}

// sendInOrder puts a PUBLISH in the outbox under the lock that keeps a packet which defines
// a topic alias before those that use it, and counts what is in progress. A QoS 1 or 2
// delivery beyond the client's receive maximum is parked.
func (c *conn) sendInOrder(d *kernel.Delivery, from settler, p *mqttwire.Publish, out *outbound, x extra) bool {
	c.mu.Lock()
	f := c.flowLocked()
	w := &f.window
	if d.Shared && p.QoS > 0 {
		p.PacketID = w.take(share{from: from, no: d.No})
		if p.PacketID == 0 {
			c.mu.Unlock()
			from.Settle(d.No, false, kernel.Release)
			return true
		}
	}
	var ok bool
	if p.QoS > 0 && !w.open() {
		if ok = len(w.parked) < parkedMax; ok {
			w.parked = append(w.parked, p.Append(make([]byte, 0, p.Size(c.version)), c.version))
			c.traceWhy(trace.Wait, d.Msg.Address, "as many deliveries as the client allows are in progress")
		}
	} else {
		if p.QoS > 0 {
			w.sent++
		}
		fresh := c.alias(d.Msg, p, out, x)
		if ok = c.put(d, p); ok && fresh != 0 {
			if f.aliasesOut == nil {
				f.aliasesOut = make(map[string]uint16, c.aliasMax)
			}
			f.aliasesOut[d.Msg.Address] = fresh
		}
	}
	if ok && p.QoS > 0 && c.server.timing() != nil {
		c.timeLocked(d, p.PacketID, p.QoS)
	}
	c.mu.Unlock()
	return c.finish(d, from, p, ok)
}

const (
	aliasCost = 8 // bytes that defining an alias may add to a packet
	aliasMin  = 4 // length of a topic name for which an alias is shorter
)

// alias gives a PUBLISH a topic alias, where the client takes any and its topic has one
// already, or one is free: fresh is then the alias that the packet defines if it is sent.
func (c *conn) alias(m *message.Message, p *mqttwire.Publish, out *outbound, x extra) (fresh uint16) {
	if c.aliasMax == 0 || len(m.Address) < aliasMin || p.Size(c.version)+aliasCost > int(c.maxOut) {
		return 0
	}
	used := c.flow.aliasesOut
	alias, known := used[m.Address]
	switch {
	case known: // MQTT5-3.1.2-26
		p.Topic = nil
	case len(used) < int(c.aliasMax):
		alias = uint16(len(used) + 1)
		fresh = alias
	default:
		return 0
	}
	x.alias = alias
	p.Properties = out.properties(m, x)
	return fresh
}

// Flush implements kernel.Flusher: it writes what was held for a batch.
func (c *conn) Flush() { c.out.Flush() }

// sent counts a PUBLISH that was put in the outbox, or was not.
func (c *conn) sent(p *mqttwire.Publish, ok bool) {
	s := &c.server.stats
	switch {
	case ok:
		s.MessagesOut.Add(1)
		s.BytesOut.Add(uint64(p.Size(c.version)))
	case c.out.Err() == nil: // open, and full
		s.DroppedSlow.Add(1)
	}
}

// forgo gives up a delivery that this client cannot get, as if it had completed.
func (c *conn) forgo(d *kernel.Delivery, from settler) {
	switch {
	case d.Shared && d.No != 0:
		from.Settle(d.No, false, kernel.Reject)
	case d.QoS > 0:
		c.session.Ack(d.PacketID, true)
	}
}

// puback handles PUBACK: a QoS 1 delivery is done.
func (c *conn) puback(a *mqttwire.Ack) {
	if c.tracing.Load() {
		c.traceAck(a)
	}
	if a.PacketID >= sharedIDMin {
		c.settle(a.PacketID, outcome(a.Reason))
		return
	}
	if c.session.Ack(a.PacketID, !a.Reason.Failed()) {
		c.advance(a.PacketID)
	}
}

// pubrec handles PUBREC: the client has a QoS 2 delivery, or refuses it.
func (c *conn) pubrec(a *mqttwire.Ack) {
	id := a.PacketID
	if !a.Reason.Failed() { // MQTT5-4.3.3-4
		c.session.Received(id, func(known bool) { c.pubrelOut(id, known) })
		return
	}
	if c.tracing.Load() {
		c.traceAck(a)
	}
	if c.session.Ack(id, false) {
		c.advance(id)
	}
}

// pubrelOut answers PUBREC. A client that has PUBREL forgets the packet identifier, and
// would take the message for a new one if it came again.
func (c *conn) pubrelOut(id uint16, known bool) {
	rel := mqttwire.Ack{Type: mqttwire.PUBREL, PacketID: id}
	if !known {
		rel.Reason = mqttwire.PacketIDNotFound
	}
	c.ack(&rel)
}

// pubcomp handles PUBCOMP: a QoS 2 delivery is done.
func (c *conn) pubcomp(a *mqttwire.Ack) {
	if c.tracing.Load() {
		c.traceAck(a)
	}
	if c.session.Ack(a.PacketID, true) {
		c.advance(a.PacketID)
	}
}

// outcome is what an acknowledgement makes of a shared delivery (MQTT5-4.8.2-6).
func outcome(r mqttwire.Reason) kernel.Outcome {
	if r.Failed() {
		return kernel.Reject
	}
	return kernel.Accept
}

// settle settles a shared delivery, once, and frees its packet identifier.
func (c *conn) settle(id uint16, o kernel.Outcome) {
	c.mu.Lock()
	w := &c.flowLocked().window
	s, known := w.shares[id]
	delete(w.shares, id)
	c.mu.Unlock()
	if known {
		s.from.Settle(s.no, false, o)
		c.advance(id)
	}
}

// advance counts a delivery as done, and sends one that was parked for it.
func (c *conn) advance(id uint16) {
	c.mu.Lock()
	if f := c.flowLocked(); f.timed != nil {
		f.timed.overLocked(id)
	}
	ok := true
	if p := c.flowLocked().window.next(); p != nil {
		if c.disturbed() && c.disturb("", func([]byte) []byte { return p }) {
			c.mu.Unlock()
			return
		}
		if ok = c.out.Write(p); ok && c.server.cfg.Trace.On() {
			c.traceSent("", p)
		}
	}
	c.mu.Unlock()
	if !ok {
		c.tooSlow()
	}
}
