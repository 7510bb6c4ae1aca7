package mqtt

import (
	"fmt"
	"strings"

	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/mqttwire"
	"github.com/robustmq/rmq/broker/trace"
	"github.com/robustmq/rmq/broker/wire"
)

// Who is traced has its packets described as they come and go, by decoding them once more: a connection
// that nobody traces pays the load in Tracer.On, and nothing else. Passwords, and what proves one, are
// told by their length alone.

// traced tells whether anybody wants an event of this connection, about a topic or "".
func (c *conn) traced(topic string) bool {
	t := c.server.cfg.Trace
	return t.On() && t.Wants(c.clientID, wire.PeerOf(c.nc).Remote, topic)
}

// tracedMessage tells whether anybody wants an event of this connection about a message.
func (c *conn) tracedMessage(topic, mark string) bool {
	t := c.server.cfg.Trace
	return t.On() && t.WantsMessage(c.clientID, wire.PeerOf(c.nc).Remote, topic, mark)
}

// markOf is what a message is marked with, in its properties or its headers.
func markOf(ps mqttwire.Properties) string {
	for p, rest, ok := ps.Next(); ok; p, rest, ok = rest.Next() {
		if p.ID == mqttwire.UserProperty && string(p.Key) == trace.MarkHeader {
			return string(p.Value)
		}
	}
	return ""
}

// trace tells what happened, to who wants to know.
func (c *conn) trace(e *trace.Event) {
	e.At, e.Protocol, e.Client, e.User = c.server.cfg.Clock.Now().UTC(), "mqtt", c.clientID, c.user
	c.server.cfg.Trace.Emit(wire.PeerOf(c.nc).Remote, e)
}

// traceIn tells of a packet from the client; topic is that of PUBLISH, its alias resolved.
func (c *conn) traceIn(f mqttwire.Frame, topic string) {
	if f.Type == mqttwire.SUBSCRIBE || f.Type == mqttwire.UNSUBSCRIBE {
		c.traceFilters(f)
		return
	}
	if f.Type == mqttwire.PUBLISH {
		c.tracePublish(f, topic)
		return
	}
	if !c.traced(topic) {
		return
	}
	e := describe(c.version, f)
	e.What, e.Topic = trace.In, topic
	c.trace(&e)
}

// tracePublish tells of a PUBLISH, which has a number from here on if anybody wants to know.
func (c *conn) tracePublish(f mqttwire.Frame, topic string) {
	c.work.number = ""
	if !c.server.cfg.Trace.On() {
		return
	}
	mark := markOf(c.work.publish.Properties)
	if !c.tracedMessage(topic, mark) {
		return
	}
	c.work.number = c.server.cfg.Trace.Number()
	e := describe(c.version, f)
	e.What, e.Topic, e.Mark, e.Message = trace.In, topic, mark, c.work.number
	c.trace(&e)
}

// traceDelivery tells of a PUBLISH that is in the outbox, and has its acknowledgement told. Caller holds
// c.mu when it has a packet identifier.
func (c *conn) traceDelivery(d *kernel.Delivery, id uint16, write func(dst []byte) []byte) {
	mark := traceMark(d.Msg)
	if !c.tracedMessage(d.Msg.Address, mark) {
		return
	}
	f, n, _, err := mqttwire.ReadFrame(write(nil), c.version, mqttwire.PacketMax)
	if err != nil || n == 0 {
		return
	}
	e := describe(c.version, f)
	e.What, e.Topic, e.Mark, e.Place = trace.Out, d.Msg.Address, mark, tracePlace(d.At)
	if id != 0 {
		fl := c.flowLocked()
		if fl.traced == nil {
			fl.traced = make(map[uint16]trace.Event)
		}
		c.tracing.Store(true)
		fl.traced[id] = trace.Event{What: trace.Ack, Topic: e.Topic, Mark: mark, Place: e.Place}
	}
	c.trace(&e)
}

// traceAck tells that a delivery is acknowledged, if it was traced.
func (c *conn) traceAck(a *mqttwire.Ack) {
	c.mu.Lock()
	var e trace.Event
	ok := false
	if c.flow != nil {
		e, ok = c.flow.traced[a.PacketID]
		delete(c.flow.traced, a.PacketID)
		c.tracing.Store(len(c.flow.traced) > 0)
	}
	c.mu.Unlock()
	if !ok {
		return
	}
	e.Packet = a.Type.String()
	e.Add("packet id", a.PacketID)
	if c.version == mqttwire.V5 {
		e.Add("reason", a.Reason)
	}
	c.trace(&e)
}

// traceMark is what a message is marked with.
func traceMark(m *message.Message) string {
	for i := range m.Headers {
		if m.Headers[i].Name == trace.MarkHeader {
			return string(m.Headers[i].Value)
		}
	}
	return ""
}

// tracePlace is where a message rests; nil: in no log.
func tracePlace(p kernel.Place) *trace.Place {
	if p == (kernel.Place{}) {
		return nil
	}
	return &trace.Place{Shard: p.Shard, Entry: p.Entry, Log: p.Log, Offset: p.Offset, Stream: p.Stream, Partition: p.Partition}
}

// traceFilters tells of SUBSCRIBE and UNSUBSCRIBE: to who traces a topic, if one of the filters is that
// topic, or would be matched as one.
func (c *conn) traceFilters(f mqttwire.Frame) {
	e := describe(c.version, f)
	for _, x := range e.Fields {
		if filter, _, _ := strings.Cut(x.Value, " "); x.Name == "filter" && c.traced(filter) {
			e.What, e.Topic = trace.In, filter
			c.trace(&e)
			return
		}
	}
}

// traceOut tells of a packet that write appends to the outbox; topic is that of PUBLISH.
func (c *conn) traceOut(topic string, write func(dst []byte) []byte) {
	if !c.server.cfg.Trace.On() || !c.traced(topic) {
		return
	}
	c.traceSent(topic, write(nil))
}

// traceSent tells of a packet that is in the outbox. topic "": the packet has it.
func (c *conn) traceSent(topic string, packet []byte) {
	f, n, _, err := mqttwire.ReadFrame(packet, c.version, mqttwire.PacketMax)
	if err != nil || n == 0 {
		return // CONNACK to a peer of which not even the version is known
	}
	e := describe(c.version, f)
	if topic == "" && !c.traced(e.Topic) {
		return
	}
	e.What = trace.Out
	if topic != "" {
		e.Topic = topic // an alias may stand for it
	}
	c.trace(&e)
}

// traceRoute tells where a PUBLISH goes.
func (c *conn) traceRoute(p *kernel.Publish) {
	address := p.Msg.Address
	p.Told = nil
	if !c.server.cfg.Trace.On() {
		return
	}
	mark := traceMark(&p.Msg)
	if !c.tracedMessage(address, mark) {
		return
	}
	e := trace.Event{What: trace.Route, Topic: address, Mark: mark, Message: c.work.number}
	rests := e
	rests.What, rests.Topic = trace.Log, strings.Clone(address)
	p.Told = func(at kernel.Place) {
		e := rests
		e.Place = tracePlace(at)
		c.trace(&e)
	}
	if k := c.server.cfg.Kernel; k != nil {
		r := k.Explain(p, "")
		r.Each(e.Add)
		if len(e.Fields) == 0 {
			e.Text = "nobody wants it"
		}
	}
	if p.Msg.Delay > 0 {
		e.Add("delay ms", p.Msg.Delay)
	}
	c.trace(&e)
}

// traceWhy tells that something became of a message, and why.
func (c *conn) traceWhy(what, topic, why string) {
	if !c.server.cfg.Trace.On() || !c.traced(topic) {
		return
	}
	c.trace(&trace.Event{What: what, Topic: topic, Text: why})
}

// traceEnd tells that we end a connection that was accepted, and why.
func (c *conn) traceEnd(r mqttwire.Reason, text string) {
	if text != "" {
		text = ": " + text
	}
	c.traceWhy(trace.End, "", "ended by the broker: "+r.String()+text)
}

// traceOver tells that a connection is over, where traceEnd did not; err is what its reader came upon.
func (c *conn) traceOver(err error) {
	if !c.server.cfg.Trace.On() {
		return
	}
	switch why := mqttwire.Reason(c.why.Load()); {
	case why != 0 && c.connected.Load():
	case why != 0:
		c.traceEnd(why, "before it was accepted")
	case err == nil:
		c.traceWhy(trace.End, "", "the client has disconnected")
	default:
		c.traceWhy(trace.End, "", "the client has closed the connection, without DISCONNECT: "+err.Error())
	}
}

// describe says what a packet is. One that cannot be decoded has its name alone: the end of the
// connection says what is wrong with it.
func describe(v mqttwire.Version, f mqttwire.Frame) (e trace.Event) {
	e.Packet = f.Type.String()
	switch f.Type {
	case mqttwire.CONNECT:
		describeConnect(&e, f)
	case mqttwire.CONNACK:
		var p mqttwire.Connack
		if p.Decode(v, f) == nil {
			if v == mqttwire.V5 {
				e.Add("reason", p.Reason)
			} else {
				e.Add("code", p.Code)
			}
			e.Add("session present", p.SessionPresent)
			properties(&e, "", p.Properties)
		}
	case mqttwire.PUBLISH:
		var p mqttwire.Publish
		if p.Decode(v, f) == nil {
			e.Topic = string(p.Topic)
			e.Add("qos", p.QoS)
			if p.QoS > 0 {
				e.Add("packet id", p.PacketID)
			}
			flag(&e, "dup", p.Dup)
			flag(&e, "retain", p.Retain)
			properties(&e, "", p.Properties)
			e.Carry(p.Payload)
		}
	case mqttwire.PUBACK, mqttwire.PUBREC, mqttwire.PUBREL, mqttwire.PUBCOMP:
		var p mqttwire.Ack
		if p.Decode(v, f) == nil {
			e.Add("packet id", p.PacketID)
			if v == mqttwire.V5 {
				e.Add("reason", p.Reason)
			}
			properties(&e, "", p.Properties)
		}
	case mqttwire.SUBSCRIBE:
		var p mqttwire.Subscribe
		if p.Decode(v, f) == nil {
			e.Add("packet id", p.PacketID)
			for _, x := range p.Filters {
				text := fmt.Sprintf("%s QoS %d", x.Filter, x.QoS)
				if v == mqttwire.V5 {
					text += fmt.Sprintf(", no local %v, retain as published %v, retain handling %d", x.NoLocal, x.RetainAsPublished, x.RetainHandling)
				}
				e.Add("filter", text)
			}
			properties(&e, "", p.Properties)
		}
	case mqttwire.UNSUBSCRIBE:
		var p mqttwire.Unsubscribe
		if p.Decode(v, f) == nil {
			e.Add("packet id", p.PacketID)
			for _, x := range p.Filters {
				e.Add("filter", string(x))
			}
			properties(&e, "", p.Properties)
		}
	case mqttwire.SUBACK, mqttwire.UNSUBACK:
		var p mqttwire.Suback
		if p.Decode(v, f) == nil {
			e.Add("packet id", p.PacketID)
			for _, r := range p.Reasons {
				if f.Type == mqttwire.SUBACK && r <= 2 {
					e.Add("granted", fmt.Sprintf("QoS %d", r))
				} else {
					e.Add("reason", r)
				}
			}
			properties(&e, "", p.Properties)
		}
	case mqttwire.DISCONNECT:
		var p mqttwire.Disconnect
		if p.Decode(v, f) == nil && v == mqttwire.V5 {
			if p.Reason == mqttwire.NormalDisconnection { // which has the code of success
				e.Add("reason", "normal disconnection")
			} else {
				e.Add("reason", p.Reason)
			}
			properties(&e, "", p.Properties)
		}
	case mqttwire.AUTH:
		var p mqttwire.Auth
		if p.Decode(f) == nil {
			e.Add("reason", p.Reason)
			properties(&e, "", p.Properties)
		}
	}
	return e
}

func describeConnect(e *trace.Event, f mqttwire.Frame) {
	var p mqttwire.Connect
	if p.Decode(f) != nil {
		return
	}
	e.Add("version", p.Version)
	e.Add("client id", string(p.ClientID))
	e.Add("clean start", p.CleanStart)
	e.Add("keep alive s", p.KeepAlive)
	if p.HasUserName {
		e.Add("user name", string(p.UserName))
	}
	if p.HasPassword {
		e.Add("password", fmt.Sprintf("%d bytes", len(p.Password)))
	}
	properties(e, "", p.Properties)
	if p.Will {
		e.Add("will topic", string(p.WillTopic))
		e.Add("will qos", p.WillQoS)
		flag(e, "will retain", p.WillRetain)
		properties(e, "will ", p.WillProps)
		e.Carry(p.WillPayload)
	}
}

func flag(e *trace.Event, name string, set bool) {
	if set {
		e.Add(name, true)
	}
}

// properties adds those of a packet, under their names in the specification.
func properties(e *trace.Event, of string, ps mqttwire.Properties) {
	for p, rest, ok := ps.Next(); ok; p, rest, ok = rest.Next() {
		name := of + p.ID.String()
		switch {
		case p.ID == mqttwire.AuthData:
			e.Add(name, fmt.Sprintf("%d bytes", len(p.Value)))
		case p.ID == mqttwire.CorrelationData:
			e.Add(name, fmt.Sprintf("%x", p.Value))
		case p.ID == mqttwire.UserProperty:
			e.Add(name, fmt.Sprintf("%s=%s", p.Key, p.Value))
		case p.Value != nil:
			e.Add(name, string(p.Value))
		default:
			e.Add(name, p.Num)
		}
	}
}
