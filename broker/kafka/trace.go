package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/shard"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/trace"
	"github.com/robustmq/rmq/broker/wire"
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

// eachMarked calls fn for the records of batches, one after another, that are marked. What cannot be read is not.
func eachMarked(raw []byte, fn func(mark string, offset int64, r *record.Record)) {
	for len(raw) > 0 {
		b, rest, err := record.Next(raw)
		if err != nil {
			return
		}
		raw = rest
		_ = b.Each(func(r *record.Record) error {
			for _, h := range r.Headers {
				if h.Name == trace.MarkHeader {
					fn(string(h.Value), r.Offset, r)
					break
				}
			}
			return nil
		})
	}
}

// message is the beginning of an event about a marked record; false: nobody wants it.
func (c *conn) message(what string, h header, topic, mark string, r *record.Record) (e trace.Event, ok bool) {
	t := c.srv.cfg.Trace
	if !t.WantsMessage(h.client, wire.PeerOf(c.nc).Remote, topic, mark) {
		return e, false
	}
	e = trace.Event{
		At: c.srv.cfg.Broker.Now().UTC(), Protocol: "kafka", Client: h.client, What: what, Packet: kmsg.NameForKey(h.key), Topic: topic, Mark: mark,
	}
	if r != nil {
		e.Carry(r.Value)
	}
	return e, true
}

func tracePlace(p kernel.Place) *trace.Place {
	return &trace.Place{Shard: p.Shard, Entry: p.Entry, Log: p.Log, Offset: p.Offset, Stream: p.Stream, Partition: p.Partition}
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
		for j := range parts {
			eachMarked(parts[j].records, func(mark string, at int64, r *record.Record) {
				if e, ok := c.message(trace.In, p.h, name, mark, r); ok {
					e.User = c.sasl.identity
					e.Add("acks", p.acks)
					e.Add("partition", parts[j].index)
					c.tell(&e)
				}
			})
		}
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

// traceAppended tells where the records of a partition rest, as its batch is committed.
func (p *produce) traceAppended(part *producePart, base int64) {
	c := p.c
	first := part.to.At(base)
	if e, ok := c.event(trace.Log, p.h, first.Stream); ok {
		e.Add("records", part.batch.Count())
		e.Place = tracePlace(first)
		c.tell(&e)
	}
	was := part.batch.BaseOffset()
	eachMarked(part.batch, func(mark string, at int64, r *record.Record) {
		if e, ok := c.message(trace.Log, p.h, first.Stream, mark, nil); ok {
			e.Place = tracePlace(part.to.At(base + at - was))
			c.tell(&e)
		}
	})
}

// traceFetched tells of records that are in the outbox.
func (c *conn) traceFetched(h header, p *fetchPart) {
	if p.log == nil {
		return
	}
	at := p.log.At(p.offset)
	topic := at.Stream
	if p.leaf != "" {
		topic = p.leaf
	}
	if e, ok := c.event(trace.Out, h, topic); ok {
		e.Add("partition", p.index)
		e.Add("from offset", p.offset)
		e.Size = p.found.size
		e.Place = tracePlace(at)
		c.tell(&e)
	}
	for _, batch := range p.found.batches {
		eachMarked(batch, func(mark string, offset int64, r *record.Record) {
			if offset < p.offset {
				return // in a batch of which the client asked for the end
			}
			if e, ok := c.message(trace.Out, h, topic, mark, r); ok {
				e.User = c.sasl.identity
				e.Place = tracePlace(p.log.At(offset))
				c.tell(&e)
			}
		})
	}
}

// traceCommit tells of offsets that a group has committed: what lies before them is acknowledged.
func (c *conn) traceCommit(client, groupID string, o *shard.GroupOffset) {
	h := header{key: keyOffsetCommit, client: client}
	address := message.FromKafkaName(o.Topic)
	t := c.srv.cfg.Trace
	if !t.Wants(client, wire.PeerOf(c.nc).Remote, address) {
		return
	}
	e, _ := c.message(trace.Ack, h, address, "", nil)
	e.Add("group", groupID)
	e.Place = &trace.Place{Stream: address, Partition: o.Partition, Offset: o.Offset.Offset}
	c.tell(&e)
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
