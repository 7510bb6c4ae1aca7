package kafka

import (
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/trace"
	"github.com/robustmq/rmq/broker/wire"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Who is traced has its requests and answers told: which, and how large. A Produce is told by its topics.
// A connection that nobody traces pays the load in Tracer.On.

// event is the beginning of one; false: nobody wants it. user is known to the reader alone.
func (c *conn) event(what string, h header, topic string) (e trace.Event, ok bool) {
	t := c.srv.cfg.Trace
	if !t.On() || !t.Wants(h.client, wire.PeerOf(c.nc).Remote, topic) {
		return e, false
	}
	e = trace.Event{
		At: c.srv.cfg.Broker.Now().UTC(), Protocol: "kafka", Client: h.client, What: what, Packet: kmsg.NameForKey(h.key), Topic: topic,
	}
	e.Add("version", h.version)
	e.Add("correlation id", h.correlation)
	return e, true
}

func (c *conn) tell(e *trace.Event) { c.srv.cfg.Trace.Emit(wire.PeerOf(c.nc).Remote, e) }

// traceRequest tells of a request, but a Produce.
func (c *conn) traceRequest(h header, size int) {
	if h.key == keyProduce {
		return
	}
	if e, ok := c.event(trace.In, h, ""); ok {
		e.User = c.sasl.identity
		e.Add("bytes", size)
		c.tell(&e)
	}
}

// traceProduce tells of a Produce, by topic.
func (p *produce) traceProduce() {
	c := p.c
	if !c.srv.cfg.Trace.On() {
		return
	}
	at := 0
	for i := range p.topics {
		t := &p.topics[i]
		name := message.FromKafkaName(string(t.name))
		if p.h.version >= 13 {
			if found, ok := c.srv.topicByID(t.id); ok {
				name = found.address()
			}
		}
		parts := p.parts[at : at+t.parts]
		at += t.parts
		e, ok := c.event(trace.In, p.h, name)
		if !ok {
			continue
		}
		e.User = c.sasl.identity
		e.Add("acks", p.acks)
		for j := range parts {
			e.Add("partition", parts[j].index)
			e.Size += len(parts[j].records)
		}
		c.tell(&e)
	}
}

// traceResponse tells of an answer.
func (c *conn) traceResponse(h header, size int, throttle int32) {
	if e, ok := c.event(trace.Out, h, ""); ok {
		e.Add("bytes", size)
		if throttle > 0 {
			e.Add("throttle ms", throttle)
		}
		c.tell(&e)
	}
}

// traceEnd tells why a connection has ended.
func (c *conn) traceEnd(r Reason, err error) {
	t, remote := c.srv.cfg.Trace, wire.PeerOf(c.nc).Remote
	if !t.On() || !t.Wants(c.client, remote, "") {
		return
	}
	e := trace.Event{At: c.srv.cfg.Broker.Now().UTC(), Protocol: "kafka", Client: c.client, User: c.sasl.identity, What: trace.End, Text: r.String()}
	if err != nil {
		e.Text = err.Error()
	}
	t.Emit(remote, &e)
}
