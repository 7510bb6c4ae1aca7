package amqp

import (
	"strings"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/amqpwire"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/message"
)

// What the rules of access make of a method is RabbitMQ's table of configure, write and read,
// on addresses: a queue and an exchange are at their names, and what is published to an
// exchange at its name and the key (message.AddressOf).
//
//	exchange.declare, queue.declare     create; passive ones nothing
//	exchange.delete, queue.delete       delete
//	…bind, …unbind                      write to the destination, read from the source all that the binding takes
//	basic.publish                       write to the address, and to that of each CC
//	basic.consume, basic.get            read from the queue
//	queue.purge                         read from the queue
//	a dead letter exchange              read from the queue, write to the exchange
//	an alternate exchange               read from the exchange, write to the other
//
// A consumer whose queue may not be read any more is cancelled. A name that the broker made for
// answers (direct reply-to) is known to who was told it, and that is all it takes to use it.

const replyAddress = "amq/rabbitmq/reply-to/"

// refusal words what is refused, as RabbitMQ does.
func (c *conn) refusal(verb, target string) *failure {
	return failf(amqpwire.AccessRefused, "%s access to %s refused for user '%s'", verb, target, c.user)
}

const (
	configures = "configure"
	writes     = "write"
	reads      = "read"
)

// forQueue refuses what may not be done with a queue.
func (c *conn) forQueue(verb string, a acl.Action, name string) *failure {
	if strings.HasPrefix(name, directReplyTo) || c.access.May(a, acl.Address, message.FromAMQPKey(name)) {
		return nil
	}
	return c.refusal(verb, c.queueName(name))
}

// forExchange refuses what may not be done with an exchange itself.
func (c *conn) forExchange(a acl.Action, name string) *failure {
	if c.access.May(a, acl.Address, message.FromAMQPKey(name)) {
		return nil
	}
	return c.refusal(configures, c.exchangeName(name))
}

// forKey refuses what may not be published to an exchange with a key. address is theirs.
func (c *conn) forKey(exchange, key, address string) *failure {
	if c.access.May(acl.Write, acl.Address, address) || strings.HasPrefix(address, replyAddress) {
		return nil
	}
	if exchange == "" {
		return c.refusal(writes, c.queueName(key))
	}
	return c.refusal(writes, "topic '"+key+"' in "+c.exchangeName(exchange))
}

// forCopies does so for the further keys of a publish.
func (c *conn) forCopies(exchange string, keys []string) *failure {
	for _, key := range keys {
		if f := c.forKey(exchange, key, message.AddressOf(exchange, key)); f != nil {
			return f
		}
	}
	return nil
}

// forAll refuses what may not be done with all that a filter below an exchange's name matches.
func (c *conn) forAll(verb string, a acl.Action, exchange, filter string) *failure {
	if exchange != "" && exchange != message.TopicExchange {
		filter = message.FromAMQPKey(exchange) + "/" + filter
	}
	if c.access.Extent(a, filter) == acl.Everything {
		return nil
	}
	return c.refusal(verb, c.exchangeName(exchange))
}

// forDeadLetters refuses a queue that would publish where its maker may not: a key of its own,
// or, without one, any.
func (c *conn) forDeadLetters(q *kernel.QueueSpec) *failure {
	if q.DeadLetterExchange == nil {
		return nil
	}
	if f := c.forQueue(reads, acl.Read, q.Name); f != nil {
		return f
	}
	if key := q.DeadLetterRoutingKey; key != nil {
		return c.forKey(*q.DeadLetterExchange, *key, message.AddressOf(*q.DeadLetterExchange, *key))
	}
	return c.forAll(writes, acl.Write, *q.DeadLetterExchange, "#")
}

// forBinding refuses a binding that takes what may not be read, or brings it where may not be
// written.
func (c *conn) forBinding(b *kernel.Binding) *failure {
	if !b.ToExchange {
		if f := c.forQueue(writes, acl.Write, b.Destination); f != nil {
			return f
		}
	} else if f := c.forAll(writes, acl.Write, b.Destination, "#"); f != nil {
		return f
	}
	filter := "#"
	if x, ok := c.s.k.Exchange(c.vhost, b.Source); ok {
		switch x.Type {
		case kernel.Direct:
			filter = message.FromAMQPKey(b.Key)
		case kernel.Topic:
			filter, _ = message.PatternToFilter(b.Key)
		}
	}
	return c.forAll(reads, acl.Read, b.Source, filter)
}

// mayDeliver tells whether the consumer may still read its queue.
func (cs *consumer) mayDeliver() bool {
	return cs.address == "" || cs.ch.c.access.May(acl.Read, acl.Address, cs.address)
}

// withdraw takes a delivery back from a consumer that may not read its queue any more, and
// cancels it.
func (cs *consumer) withdraw(d *kernel.Delivery) {
	ch := cs.ch
	if !cs.noAck { // otherwise the queue has forgotten it
		d.From.Settle(d.No, false, kernel.Release)
	}
	ch.mu.Lock()
	cs.granted--
	if ch.released || cs.cancelled {
		ch.mu.Unlock()
		return
	}
	cs.cancelled = true
	delete(ch.consumers, cs.tag)
	ch.mu.Unlock()
	ch.uncount(&cs.source)
	ch.c.spawn(func() {
		ctx, cancel := releaseCtx()
		defer cancel()
		if err := cs.att.Cancel(ctx); err != nil {
			ch.c.s.log.Warn("consumer not cancelled", "protocol", "amqp", "queue", cs.queue, "err", err)
		}
		if ch.c.caps.cancelNotify {
			ch.send(&amqpwire.BasicCancel{ConsumerTag: cs.tag, NoWait: true})
			ch.c.flushNow()
		}
	})
}
