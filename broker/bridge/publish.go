package bridge

import (
	"cmp"
	"strings"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/route"
	"github.com/robustmq/rmq/broker/mqtt"
	"github.com/robustmq/rmq/broker/mqttwire"
)

// tagQoS2 marks the tag of a QoS 2 publish; the packet identifier is below it.
const tagQoS2 = 1 << 16

// publish handles PUBLISH: a message comes in.
func (c *conn) publish(f mqttwire.Frame) error {
	var p mqttwire.Publish
	if err := p.Decode(c.version, f); err != nil {
		return err
	}
	if len(p.Topic) == 0 { // MQTT5-3.3.2-9: we take none
		return &mqttwire.Error{Reason: mqttwire.TopicAliasInvalid, Text: "topic alias from a server"}
	}
	topic, ok := c.comesAs(string(p.Topic))
	looped := c.returned(p.Properties)
	if !ok || looped {
		if !looped {
			c.r.dropped.Add(1)
		}
		c.answer(&p, mqttwire.Success)
		return nil
	}
	c.stamp = append(c.stamp[:0], p.Properties...).User(mqtt.Origin, cmp.Or(c.remote, c.here()))
	p.Properties = c.stamp
	k := kernel.Publish{Namespace: kernel.DefaultNamespace, From: c.session}
	if err := c.incoming.Message(&k.Msg, &p, topic, c.r.now().UnixMilli()); err != nil {
		c.r.dropped.Add(1)
		c.answer(&p, mqttwire.TopicNameInvalid)
		return nil
	}
	switch p.QoS {
	case 1:
		k.Reply, k.Tag = c, uint64(p.PacketID)
	case 2:
		k.Reply, k.Tag, k.PacketID = c, uint64(p.PacketID)|tagQoS2, p.PacketID
	}
	switch err := c.r.b.k.Publish(&k); {
	case p.QoS > 0:
		if err != nil {
			c.Published(k.Tag, kernel.PublishResult{Err: err})
		}
	case err != nil:
		c.r.dropped.Add(1)
	default:
		c.r.in.Add(1)
	}
	return nil
}

// returned tells whether a message has left this cluster, or come in over a bridge, before.
func (c *conn) returned(ps mqttwire.Properties) bool {
	for at := range origins(ps) {
		if at == c.cluster || strings.HasPrefix(at, c.cluster+"/") {
			return true
		}
	}
	return false
}

// here is the stamp of what comes in from a remote broker that tells no cluster.
func (c *conn) here() string { return c.cluster + "/" + c.r.name }

// comesAs is the topic here of a message that comes in: by the first route that takes it.
func (c *conn) comesAs(topic string) (address string, ok bool) {
	for i := range c.routes {
		if r := &c.routes[i]; r.Comes() && route.MatchFilter(r.RemoteFilter(), topic) {
			address, ok = r.ToLocal(topic)
			return address, ok && mqttwire.ValidTopic([]byte(address)) && !strings.HasPrefix(address, "$SYS/")
		}
	}
	return "", false
}

// answer acknowledges a message that the kernel is not given. In MQTT 3 there is no way to say that.
func (c *conn) answer(p *mqttwire.Publish, r mqttwire.Reason) {
	a := mqttwire.Ack{Type: mqttwire.PUBACK, PacketID: p.PacketID, Reason: r}
	switch p.QoS {
	case 0:
		return
	case 2:
		a.Type = mqttwire.PUBREC
	}
	c.ack(&a)
}

// Published implements kernel.Publisher: a message is where it was to go, or is not. What the kernel
// cannot take now is not acknowledged: the connection ends, and the remote broker sends it again on the
// next. What it never will is dropped.
func (c *conn) Published(tag uint64, r kernel.PublishResult) {
	a := mqttwire.Ack{Type: mqttwire.PUBACK, PacketID: uint16(tag)}
	if tag&tagQoS2 != 0 {
		a.Type = mqttwire.PUBREC
	}
	switch {
	case r.Err != nil && !lasting(r.Err):
		c.end(fault.New(fault.KindOf(r.Err), "publish from", c.r.spec.URL, "%w", r.Err))
		return
	case r.Err != nil:
		c.r.lost(r.Err)
		a.Reason = mqttwire.ImplementationError
	case r.Rejected: // by a queue that is to refuse what it has no room for; others may have it
		c.r.lost(fault.New(fault.Exhausted, "publish from", c.r.spec.URL, "a queue is full"))
		if a.Reason = mqttwire.QuotaExceeded; tag&tagQoS2 != 0 && c.version == mqttwire.V5 {
			c.session.Release(a.PacketID, func(bool) { c.ack(&a) }) // the identifier is free with that (MQTT5-4.3.3-9)
			return
		}
	default:
		c.r.in.Add(1)
	}
	c.ack(&a)
}

// lasting tells whether a failure would come again and again.
func lasting(err error) bool {
	switch fault.KindOf(err) {
	case fault.Invalid, fault.TooLarge, fault.Denied, fault.Unsupported, fault.NotFound:
		return true
	}
	return false
}

// pubrel handles PUBREL: the last step of a QoS 2 message.
func (c *conn) pubrel(a *mqttwire.Ack) {
	id := a.PacketID
	c.session.Release(id, func(bool) { // one that was not taken is not known, which is no news to anybody
		c.ack(&mqttwire.Ack{Type: mqttwire.PUBCOMP, PacketID: id})
	})
}
