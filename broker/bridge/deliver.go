package bridge

import (
	"iter"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/route"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/mqtt"
	"github.com/robustmq/rmq/broker/mqttwire"
)

var outboundPool = sync.Pool{New: func() any { return new(mqtt.Outbound) }}

// Deliver implements kernel.Sink: a message goes out, or PUBREL does once more. It never blocks.
func (c *conn) Deliver(d *kernel.Delivery) bool {
	if d.Msg == nil { // the remote broker has received it already
		c.ack(&mqttwire.Ack{Type: mqttwire.PUBREL, PacketID: d.PacketID})
		return true
	}
	m := d.Msg
	topic, ok := c.goesAs(m.Address)
	if !ok || c.passed(m) {
		c.forgo(d)
		return true
	}
	p := mqttwire.Publish{
		Dup: d.Redelivered && d.QoS > 0, QoS: min(d.QoS, c.maxQoS), Retain: d.Retain && c.retains,
		Topic: []byte(topic), PacketID: d.PacketID, Payload: m.Value,
	}
	p.Dup = p.Dup && p.QoS > 0
	x := outboundPool.Get().(*mqtt.Outbound)
	defer outboundPool.Put(x)
	properties, left := x.Properties(m, c.r.now().UnixMilli())
	switch {
	case !left && !p.Dup: // MQTT5-3.3.2-5, but not once it was sent (MQTT5-4.3.3-7)
		c.drop(d)
		return true
	case c.version == mqttwire.V5:
		p.Properties = properties.User(mqtt.Origin, c.cluster)
	}
	if p.Size(c.version) > c.maxOut || !mqttwire.ValidTopic(p.Topic) {
		c.drop(d)
		return true
	}
	write := func(dst []byte) []byte { return p.Append(dst, c.version) }
	if d.QoS == 0 {
		if ok = c.out.AppendWithin(dropAbove, write); ok {
			c.r.out.Add(1)
		}
		return ok
	}
	if !c.out.Append(write) {
		c.tooSlow() // the session keeps the message
		return true
	}
	if p.QoS == 0 { // the remote broker takes no more, and will not answer
		c.taken(d.PacketID)
	}
	return true
}

// goesAs is the topic under which a message goes out: by the first route that takes it.
func (c *conn) goesAs(address string) (topic string, ok bool) {
	for i := range c.routes {
		if r := &c.routes[i]; r.Goes() && route.MatchFilter(r.LocalFilter(), address) {
			return r.ToRemote(address)
		}
	}
	return "", false
}

// passed tells whether a message has left this cluster before, was at the remote one, or came in over this
// bridge: retained messages are sent whoever published them.
func (c *conn) passed(m *message.Message) bool {
	if m.Source == message.MQTT {
		for at := range origins(mqttwire.Properties(m.Native)) {
			if at == c.cluster || at == c.remote || at == c.here() {
				return true
			}
		}
	}
	return false
}

// origins are the stamps of a message.
func origins(ps mqttwire.Properties) iter.Seq[string] {
	return func(yield func(string) bool) {
		for p, rest, ok := ps.Next(); ok; p, rest, ok = rest.Next() {
			if p.ID == mqttwire.UserProperty && string(p.Key) == mqtt.Origin && len(p.Value) > 0 && !yield(string(p.Value)) {
				return
			}
		}
	}
}

// drop gives up a delivery that the remote broker cannot get, and counts it.
func (c *conn) drop(d *kernel.Delivery) {
	c.r.dropped.Add(1)
	c.forgo(d)
}

// forgo ends a delivery as if it had completed.
func (c *conn) forgo(d *kernel.Delivery) {
	if d.QoS > 0 {
		c.session.Ack(d.PacketID, true)
	}
}

// taken ends a delivery that the remote broker has.
func (c *conn) taken(id uint16) {
	if c.session.Ack(id, true) {
		c.r.out.Add(1)
	}
}

// puback handles PUBACK: the remote broker has a QoS 1 delivery, or one that it was to take at QoS 2 and
// takes at 1, or refuses it.
func (c *conn) puback(a *mqttwire.Ack) error {
	if a.Reason.Failed() {
		return c.refused(a)
	}
	c.taken(a.PacketID)
	return nil
}

// pubrec handles PUBREC: the remote broker has a QoS 2 delivery, or refuses it.
func (c *conn) pubrec(a *mqttwire.Ack) error {
	if a.Reason.Failed() {
		return c.refused(a)
	}
	id := a.PacketID
	c.session.Received(id, func(known bool) {
		rel := mqttwire.Ack{Type: mqttwire.PUBREL, PacketID: id}
		if known {
			c.r.out.Add(1)
		} else {
			rel.Reason = mqttwire.PacketIDNotFound
		}
		c.ack(&rel)
	})
	return nil
}

// refused handles a delivery that the remote broker does not take. It waits where that may be a matter of
// time, and is dropped otherwise: it would be refused for ever, and hold up what is behind it.
func (c *conn) refused(a *mqttwire.Ack) error {
	err := fault.New(fault.Denied, "publish to", c.r.spec.URL, "the remote broker refuses a message: %s", reason(a.Reason, a.Properties))
	switch a.Reason {
	case mqttwire.QuotaExceeded:
		return err
	case mqttwire.UnspecifiedError, mqttwire.ImplementationError: // brokers that are stopped say so too
		if c.r.unclear.again(c.r.b.cfg.Link.Now()) {
			return err
		}
	}
	if c.session.Ack(a.PacketID, false) {
		c.r.lost(err)
	}
	return nil
}

const (
	// unclearMax is how often in a row a remote broker that refuses something and does not say why is given
	// it again, on another connection; for some three minutes, with the pauses between them.
	unclearMax = 10
	// unclearLapse is how long it must not have refused anything so to be given as many again.
	unclearLapse = 5 * time.Minute
)

// unclear counts the refusals of a remote broker that does not say why. It is of the broker, and not of a
// message: many that it never takes are to hold up the others no longer than one.
type unclear struct {
	n    int
	last time.Time
}

// again tells whether what is refused now is to be tried again.
func (u *unclear) again(now time.Time) bool {
	if now.Sub(u.last) >= unclearLapse {
		u.n = 0
	}
	u.n, u.last = u.n+1, now
	return u.n <= unclearMax
}
