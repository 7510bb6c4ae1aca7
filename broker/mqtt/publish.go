package mqtt

import (
	"strings"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/chaos"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/mqttwire"
	"github.com/robustmq/rmq/broker/trace"
)

// publish handles PUBLISH from the client.
func (c *conn) publish(f mqttwire.Frame) error {
	w := c.work
	p := &w.publish
	if err := p.Decode(c.version, f); err != nil {
		return err
	}
	w.messages++
	topic, err := c.topic(p)
	if err != nil {
		return err
	}
	c.traceIn(f, topic)
	if c.server.cfg.Chaos.On(chaos.MQTT) {
		switch act, gone := c.disturbIn(mqttwire.PUBLISH, topic); {
		case gone:
			return nil
		case act.Do == chaos.Answer:
			return c.failPublish(p, mqttwire.Reason(act.Code))
		}
	}
	topic, ok := c.rewriteTopic(topic)
	if !ok {
		return c.unaccepted(p, notRewritten)
	}
	if text := c.unacceptable(topic); text != "" {
		return c.unaccepted(p, text)
	}
	k := &w.out
	k.Namespace = c.server.cfg.Namespace
	k.From = c.handle
	k.Batch = &w.batch
	k.Reply, k.Tag, k.PacketID = nil, 0, 0
	now := int64(0)
	if len(p.Properties) > 0 { // only a property asks for the time
		now = c.server.cfg.Clock.Now().UnixMilli()
	}
	if err := w.in.fill(&k.Msg, p, topic, c.user, now); err != nil {
		return c.unaccepted(p, err.Error())
	}
	if !c.may(acl.Write, k.Msg.Address) && !c.received(p) {
		return c.denied(p)
	}
	c.traceRoute(k)
	if p.QoS > 0 {
		w.batch.Flush() // the kernel may make us wait
		k.Reply, k.Tag = c, uint64(p.PacketID)
		if p.QoS == 2 {
			k.PacketID = p.PacketID
			k.Tag |= tagQoS2
		}
		if err := c.begin(p.PacketID, p.QoS); err != nil {
			return err
		}
		if parked, err := c.parksBehind(k); parked {
			return err
		}
	}
	if err := c.server.core.Publish(k); err != nil {
		if c.waits(err) {
			c.traceWhy(trace.Wait, k.Msg.Address, err.Error())
			return c.park(k)
		}
		c.Published(k.Tag, kernel.PublishResult{Err: err})
	}
	return nil
}

// notRewritten is what is said of a topic of which the rules make none.
const notRewritten = "topic name that rewriting makes nothing of"

// tagQoS2 marks the tag of a QoS 2 publish; the packet identifier is below it.
const tagQoS2 = 1 << 16

// begin counts a publish in progress. A client that has more of them than it was allowed is
// disconnected (MQTT5-3.3.4-7). MQTT 3 has no such rule and no such limit: its packet
// identifiers bound it.
func (c *conn) begin(id uint16, qos byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	fl := c.flowLocked()
	if qos == 2 {
		if _, again := fl.receiving[id]; again {
			return nil // sent again: the kernel knows it
		}
	}
	if c.version == mqttwire.V5 && fl.publishing+len(fl.receiving) >= int(c.server.cfg.ReceiveMaximum) {
		return &mqttwire.Error{Reason: mqttwire.ReceiveMaximumExceeded, Text: "more publishes in progress than allowed"}
	}
	if qos == 1 {
		fl.publishing++
		return nil
	}
	if fl.receiving == nil {
		fl.receiving = map[uint16]struct{}{}
	}
	fl.receiving[id] = struct{}{}
	return nil
}

// topic returns the topic name of a PUBLISH, resolving and remembering topic aliases.
func (c *conn) topic(p *mqttwire.Publish) (string, error) {
	var alias, subID uint32
	if len(p.Properties) > 0 {
		for q, rest, ok := p.Properties.Next(); ok; q, rest, ok = rest.Next() {
			switch q.ID {
			case mqttwire.TopicAlias:
				alias = q.Num
			case mqttwire.SubscriptionID:
				subID = q.Num
			}
		}
	}
	switch {
	case subID != 0: // MQTT5-3.3.4-6
		return "", &mqttwire.Error{Reason: mqttwire.ProtocolError, Text: "subscription identifier from a client"}
	case alias > uint32(c.server.cfg.TopicAliases): // MQTT5-3.3.2-9
		return "", &mqttwire.Error{Reason: mqttwire.TopicAliasInvalid, Text: "topic alias above the maximum"}
	case len(p.Topic) == 0:
		if alias == 0 || c.aliasesIn == nil || (*c.aliasesIn)[alias-1] == "" {
			return "", &mqttwire.Error{Reason: mqttwire.ProtocolError, Text: "topic alias that stands for nothing"}
		}
		return (*c.aliasesIn)[alias-1], nil
	}
	topic := c.work.in.names.string(p.Topic)
	if alias != 0 {
		if c.aliasesIn == nil {
			in := make(aliases, c.server.cfg.TopicAliases)
			c.aliasesIn = &in
		}
		(*c.aliasesIn)[alias-1] = topic
	}
	return topic, nil
}

// unacceptable tells what is wrong with a topic name that the specification allows and this
// server does not: too deep, or under $SYS, where nobody but the server publishes.
func (c *conn) unacceptable(topic string) string {
	switch {
	case strings.Count(topic, "/") >= c.server.cfg.Options.Load().MaxLevels:
		return "topic name with too many levels"
	case (topic == sysRoot || strings.HasPrefix(topic, sysRoot+"/")) && !c.server.sys.ofBridge(topic):
		return "topic name under $SYS"
	}
	return ""
}

// unaccepted answers a PUBLISH to a topic that is not accepted. At QoS 0 there is no
// answer; in MQTT 3 there is none but the end of the connection (MQTT311-3.3.5-2).
func (c *conn) unaccepted(p *mqttwire.Publish, text string) error {
	c.traceWhy(trace.Drop, string(p.Topic), text)
	switch {
	case p.QoS == 0:
		return nil
	case c.version != mqttwire.V5:
		return &mqttwire.Error{Reason: mqttwire.TopicNameInvalid, Text: text}
	}
	a := mqttwire.Ack{Type: mqttwire.PUBACK, PacketID: p.PacketID, Reason: mqttwire.TopicNameInvalid}
	if p.QoS == 2 {
		a.Type = mqttwire.PUBREC
	}
	if c.problemInfo {
		a.Properties = c.reasonString(text, 2+3)
	}
	c.ack(&a)
	return nil
}

// Published implements kernel.Publisher: a QoS 1 or 2 publish is where it was to go, or
// has failed. MQTT 3 cannot say that it has; there the connection ends, unacknowledged, so
// that the client sends it again (MQTT311-4.8.0-2). So it does in MQTT 5 where the failure is ours and
// passes: a reason code would be the client's leave to forget the message.
func (c *conn) Published(tag uint64, r kernel.PublishResult) {
	a := mqttwire.Ack{Type: mqttwire.PUBACK, PacketID: uint16(tag)}
	if tag&tagQoS2 != 0 {
		a.Type = mqttwire.PUBREC
	}
	switch {
	case r.Err != nil && passes(r.Err):
		c.end(mqttwire.ServerBusy, "it could not be published now; send it again")
		return
	case r.Err != nil:
		a.Reason = reasonIn(a.Type, r.Err)
	case r.Rejected:
		a.Reason = mqttwire.QuotaExceeded
	case r.Queues+r.Subscribers == 0:
		a.Reason = mqttwire.NoMatchingSubscribers
	}
	c.mu.Lock()
	if a.Type == mqttwire.PUBACK {
		c.flow.publishing--
	} else if a.Reason.Failed() {
		delete(c.flow.receiving, a.PacketID) // MQTT5-4.3.3-9
	}
	c.mu.Unlock()
	if a.Reason.Failed() {
		if c.version != mqttwire.V5 {
			c.end(a.Reason, "")
			return
		}
		if c.problemInfo { // MQTT5-3.1.2-29
			a.Properties = c.reasonString(a.Reason.String(), 2+3)
		}
	}
	if r.Rejected && tag&tagQoS2 != 0 { // some queue may have it, but the identifier is free with the answer (MQTT5-4.3.3-9)
		c.session.Release(a.PacketID, func(bool) { c.ack(&a) })
		return
	}
	c.ack(&a)
}

// passes tells whether a publish that failed may succeed on another connection, to this node or another.
func passes(err error) bool {
	return fault.Is(err, fault.Unavailable) || fault.Is(err, fault.Timeout)
}

// pubrel handles PUBREL: the last step of a QoS 2 publish.
func (c *conn) pubrel(a *mqttwire.Ack) {
	id := a.PacketID
	c.session.Release(id, func(known bool) {
		c.mu.Lock()
		delete(c.flowLocked().receiving, id)
		c.mu.Unlock()
		comp := mqttwire.Ack{Type: mqttwire.PUBCOMP, PacketID: id}
		if !known {
			comp.Reason = mqttwire.PacketIDNotFound
		}
		c.ack(&comp)
	})
}

// ack sends an acknowledgement.
func (c *conn) ack(a *mqttwire.Ack) {
	write := func(dst []byte) []byte { return a.Append(dst, c.version) }
	if c.disturbed() && c.disturb("", write) {
		return
	}
	if !c.out.Append(write) {
		c.tooSlow()
		return
	}
	c.traceOut("", write)
}

// tooSlow ends a connection whose outbox has no room for what may not be dropped. One that
// is closed already, by either side, has none either; its reader ends it.
func (c *conn) tooSlow() {
	if c.out.Err() == nil {
		c.end(mqttwire.QuotaExceeded, "the client does not read")
	}
}
