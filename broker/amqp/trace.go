package amqp

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/robustmq/rmq/broker/amqpwire"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/trace"
	"github.com/robustmq/rmq/broker/wire"
)

// Who is traced has its methods told as they come and go, with their arguments, messages with the
// beginning of their bodies, and where they go. A client is known by the name that it gave its connection
// (connection_name). A connection that nobody traces pays the load in Tracer.On.

// traced tells whether anybody wants an event of this connection, about an address or "".
func (c *conn) traced(address string) bool {
	t := c.s.cfg.Trace
	return t.On() && t.Wants(c.name, wire.PeerOf(c.nc).Remote, address)
}

// tracedMessage tells whether anybody wants an event of this connection about a message, and what it is
// marked with.
func (c *conn) tracedMessage(m *message.Message) (mark string, ok bool) {
	for i := range m.Headers {
		if m.Headers[i].Name == trace.MarkHeader {
			mark = string(m.Headers[i].Value)
			break
		}
	}
	t := c.s.cfg.Trace
	return mark, t.On() && t.WantsMessage(c.name, wire.PeerOf(c.nc).Remote, m.Address, mark)
}

// tracePlace is where a message rests; nil: in no log.
func tracePlace(p kernel.Place) *trace.Place {
	if p == (kernel.Place{}) {
		return nil
	}
	return &trace.Place{Shard: p.Shard, Entry: p.Entry, Log: p.Log, Offset: p.Offset, Stream: p.Stream, Partition: p.Partition}
}

func (c *conn) trace(e *trace.Event) {
	e.At, e.Protocol, e.Client, e.User = c.s.k.Clock().Now().UTC(), "amqp", c.name, c.user
	c.s.cfg.Trace.Emit(wire.PeerOf(c.nc).Remote, e)
}

// traceMethod tells of a method that came; basic.publish is told with its message.
func (c *conn) traceMethod(channel uint16, payload []byte) {
	if !c.traced("") {
		return
	}
	m, err := amqpwire.DecodeMethod(payload)
	if err != nil || m.ID() == amqpwire.IDBasicPublish {
		return // the end of the connection says what is wrong with it
	}
	e := describe(channel, m)
	e.What = trace.In
	c.trace(&e)
}

// traceSent tells of a method that is in the outbox.
func (c *conn) traceSent(channel uint16, m amqpwire.Method) {
	if !c.traced("") {
		return
	}
	e := describe(channel, m)
	e.What = trace.Out
	c.trace(&e)
}

// tracePublish tells of a message that came, and where it goes.
func (c *conn) tracePublish(channel uint16, p *kernel.Publish) {
	address := p.Msg.Address
	mark, ok := c.tracedMessage(&p.Msg)
	if !ok {
		return
	}
	of := trace.Event{Topic: strings.Clone(address), Mark: mark, Message: c.s.cfg.Trace.Number()}
	e := of
	e.What, e.Packet = trace.In, amqpwire.IDBasicPublish.String()
	e.Add("channel", channel)
	e.Add("exchange", p.Exchange)
	e.Add("routing key", p.Key)
	e.Carry(p.Msg.Value)
	c.trace(&e)

	e = of
	e.What = trace.Route
	r := c.s.k.Explain(p, "")
	r.Each(e.Add)
	if len(e.Fields) == 0 {
		e.Text = "nobody wants it"
	}
	c.trace(&e)
	p.Told = func(at kernel.Place) {
		e := of
		e.What, e.Place = trace.Log, tracePlace(at)
		c.trace(&e)
	}
}

// traceDelivery tells of a message that is in the outbox, and has its acknowledgement told, if there is to
// be one.
func (ch *channel) traceDelivery(id amqpwire.MethodID, consumer string, tag uint64, d *kernel.Delivery, noAck bool) {
	c := ch.c
	mark, ok := c.tracedMessage(d.Msg)
	if !ok {
		return
	}
	e := trace.Event{What: trace.Out, Packet: id.String(), Topic: strings.Clone(d.Msg.Address), Mark: mark, Place: tracePlace(d.At)}
	if !noAck {
		ch.mu.Lock()
		if ch.deliveries.traced == nil {
			ch.deliveries.traced = make(map[uint64]trace.Event)
		}
		ch.deliveries.traced[tag] = trace.Event{What: trace.Ack, Topic: e.Topic, Mark: mark, Place: e.Place}
		ch.mu.Unlock()
	}
	e.Add("channel", ch.id)
	if q := d.From; q != nil {
		e.Add("queue", q.Queue())
	}
	if consumer != "" {
		e.Add("consumer tag", consumer)
	}
	e.Add("delivery tag", tag)
	if d.Redelivered {
		e.Add("redelivered", true)
	}
	e.Carry(d.Msg.Value)
	c.trace(&e)
}

// traceSettled tells of deliveries that are settled, of those that were traced.
func (ch *channel) traceSettled(id amqpwire.MethodID, settled []pending, outcome kernel.Outcome) {
	var told []trace.Event
	ch.mu.Lock()
	for i := range settled {
		e, ok := ch.deliveries.traced[settled[i].tag]
		if !ok {
			continue
		}
		delete(ch.deliveries.traced, settled[i].tag)
		e.Add("delivery tag", settled[i].tag)
		told = append(told, e)
	}
	ch.mu.Unlock()
	for i := range told {
		told[i].Packet = id.String()
		switch outcome {
		case kernel.Reject:
			told[i].Text = "rejected: it is dead-lettered or dropped"
		case kernel.Requeue, kernel.Release:
			told[i].Text = "given back to the queue"
		}
		ch.c.trace(&told[i])
	}
}

// traceEnd tells why the connection has ended.
func (c *conn) traceEnd(err error) {
	if !c.s.cfg.Trace.On() || !c.traced("") {
		return
	}
	e := trace.Event{What: trace.End, Text: "the client has closed the connection"}
	switch f := c.stop.Load(); {
	case f != nil:
		e.Text = "ended by the broker: " + f.replyText()
	case err != nil:
		e.Text += ", without connection.close: " + err.Error()
	}
	c.trace(&e)
}

// describe says what a method is: its arguments under the names of their fields. What proves who a
// client is, is told by its length.
func describe(channel uint16, m amqpwire.Method) (e trace.Event) {
	e.Packet = m.ID().String()
	e.Add("channel", channel)
	switch x := m.(type) {
	case *amqpwire.ConnectionStartOk:
		e.Add("mechanism", x.Mechanism)
		e.Add("response", fmt.Sprintf("%d bytes", len(x.Response)))
		e.Add("client properties", tableText(x.ClientProperties))
		return e
	case *amqpwire.ConnectionSecureOk:
		e.Add("response", fmt.Sprintf("%d bytes", len(x.Response)))
		return e
	case *amqpwire.ConnectionUpdateSecret:
		e.Add("new secret", fmt.Sprintf("%d bytes", len(x.NewSecret)))
		e.Add("reason", x.Reason)
		return e
	}
	v := reflect.ValueOf(m).Elem()
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.IsExported() && !v.Field(i).IsZero() {
			value := v.Field(i).Interface()
			switch x := value.(type) {
			case []byte:
				value = string(x)
			case amqpwire.Table:
				value = tableText(x)
			}
			e.Add(f.Name, value)
		}
	}
	return e
}

// tableText says what is in a table; of what is in its tables and arrays, only that there are any.
func tableText(t amqpwire.Table) string {
	parts := make([]string, 0, len(t))
	for i := range t {
		v := t[i].Value
		text := ""
		switch {
		case v.Kind == amqpwire.KindString:
			text = trace.Shorten(v.Text(), 64)
		case v.Kind == amqpwire.KindBool:
			text = strconv.FormatBool(v.True())
		case v.IsInteger():
			text = strconv.FormatInt(v.Int(), 10)
		default:
			text = "…"
		}
		parts = append(parts, t[i].Name+"="+text)
	}
	return strings.Join(parts, " ")
}
