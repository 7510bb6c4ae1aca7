package amqp

import (
	"context"
	"strings"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/amqpwire"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
)

// reserved begins the names that only the broker gives.
const reserved = "amq."

// queueArg is the queue that a method means: an empty name is the one that the channel
// declared last.
func (ch *channel) queueArg(name string) (string, *failure) {
	if name != "" {
		return name, nil
	}
	if ch.lastQueue == "" {
		return "", failf(amqpwire.NotFound, "no previously declared queue")
	}
	return ch.lastQueue, nil
}

// clean takes line breaks out of a name, as RabbitMQ does, so that no log line is forged.
func clean(name string) string { return strings.NewReplacer("\r", "", "\n", "").Replace(name) }

func checkName(kind, name string) *failure {
	if strings.HasPrefix(name, reserved) {
		return failf(amqpwire.AccessRefused, "%s name '%s' contains reserved prefix 'amq.*'", kind, name)
	}
	return nil
}

func notDefault(exchanges ...string) *failure {
	for _, x := range exchanges {
		if x == "" {
			return failf(amqpwire.AccessRefused, "operation not permitted on the default exchange")
		}
	}
	return nil
}

// ---- exchanges ---------------------------------------------------------------

// Arguments of exchanges, and the type of RabbitMQ's delayed message plugin: an exchange
// of the type that it names, as any message here may be delayed.
const (
	argAlternate   = "alternate-exchange"
	argDelayedType = "x-delayed-type"
	typeDelayed    = "x-delayed-message"
)

func exchangeType(m *amqpwire.ExchangeDeclare) (kernel.ExchangeType, *failure) {
	name := m.Type
	if name == typeDelayed {
		v, ok := m.Arguments.Get(argDelayedType)
		if !ok || v.Kind != amqpwire.KindString {
			return 0, preconditionFailed("Invalid argument, 'x-delayed-type' must be an existing exchange type")
		}
		name = v.Text()
	}
	for _, t := range []kernel.ExchangeType{kernel.Direct, kernel.Fanout, kernel.Topic, kernel.Headers} {
		if t.String() == name {
			return t, nil
		}
	}
	return 0, preconditionFailed("unknown exchange type '%s'", m.Type)
}

func (ch *channel) exchangeDeclare(ctx context.Context, m *amqpwire.ExchangeDeclare) *failure {
	c := ch.c
	name := clean(m.Exchange)
	if f := notDefault(name); f != nil {
		return f
	}
	target := c.exchangeName(name)
	current, there := c.s.k.Exchange(c.vhost, name)
	if m.Passive {
		if !there {
			return failf(amqpwire.NotFound, "no %s", target)
		}
		return ch.exchangeDeclared(m)
	}
	typ, f := exchangeType(m)
	if f == nil {
		f = c.forExchange(acl.Create, name)
	}
	if f != nil {
		return f
	}
	x := kernel.Exchange{
		Namespace: c.vhost, Name: name, Type: typ, Durable: m.Durable, AutoDelete: m.AutoDelete, Internal: m.Internal,
		Arguments: canonical(m.Arguments),
	}
	if v, ok := m.Arguments.Get(argAlternate); ok {
		if v.Kind != amqpwire.KindString {
			return preconditionFailed("invalid type '%s' for arg '%s' in %s", kindName(v.Kind), argAlternate, target)
		}
		x.Alternate = v.Text()
		if f := c.forAll(reads, acl.Read, name, "#"); f != nil {
			return f
		}
		if f := c.forAll(writes, acl.Write, x.Alternate, "#"); f != nil {
			return f
		}
	}
	if !there {
		if f := checkName("exchange", name); f != nil {
			return f
		}
		var err error
		var created bool
		if current, created, err = c.s.k.DeclareExchange(ctx, x); err != nil {
			return kernelFailure(err, target)
		}
		if created {
			return ch.exchangeDeclared(m)
		}
	}
	if f := sameExchange(&current, &x, target); f != nil {
		return f
	}
	return ch.exchangeDeclared(m)
}

func sameExchange(current, received *kernel.Exchange, target string) *failure {
	switch {
	case typeName(current) != typeName(received):
		return inequivalent("type", target, "'"+typeName(received)+"'", "'"+typeName(current)+"'")
	case current.Durable != received.Durable:
		return inequivalent("durable", target, truth(received.Durable), truth(current.Durable))
	case current.AutoDelete != received.AutoDelete:
		return inequivalent("auto_delete", target, truth(received.AutoDelete), truth(current.AutoDelete))
	case current.Internal != received.Internal:
		return inequivalent("internal", target, truth(received.Internal), truth(current.Internal))
	}
	return sameArguments(current.Arguments, received.Arguments, []string{argAlternate, argDelayedType}, target)
}

func typeName(x *kernel.Exchange) string {
	if _, ok := argument(x.Arguments, argDelayedType); ok {
		return typeDelayed
	}
	return x.Type.String()
}

func truth(b bool) string {
	if b {
		return "'true'"
	}
	return "'false'"
}

func (ch *channel) exchangeDeclared(m *amqpwire.ExchangeDeclare) *failure {
	if !m.NoWait {
		ch.send(&amqpwire.ExchangeDeclareOk{})
	}
	return nil
}

func (ch *channel) exchangeDelete(ctx context.Context, m *amqpwire.ExchangeDelete) *failure {
	c := ch.c
	name := clean(m.Exchange)
	if f := notDefault(name); f != nil {
		return f
	}
	if strings.HasPrefix(name, reserved) {
		return failf(amqpwire.AccessRefused, "deletion of system %s not allowed", c.exchangeName(name))
	}
	if f := c.forExchange(acl.Delete, name); f != nil {
		return f
	}
	switch err := c.s.k.DeleteExchange(ctx, c.vhost, name, m.IfUnused); {
	case err == nil, fault.Is(err, fault.NotFound): // to delete what is not there is no error
	default:
		return kernelFailure(err, c.exchangeName(name))
	}
	if !m.NoWait {
		ch.send(&amqpwire.ExchangeDeleteOk{})
	}
	return nil
}

// ---- bindings ----------------------------------------------------------------

// binding checks and makes a binding of either kind.
func (ch *channel) binding(source, destination, key string, toExchange bool, args amqpwire.Table) (kernel.Binding, *failure) {
	c := ch.c
	b := kernel.Binding{
		Namespace: c.vhost, Source: clean(source), Destination: clean(destination), ToExchange: toExchange, Key: key,
		Arguments: canonical(args),
	}
	if !toExchange && strings.HasPrefix(b.Destination, directReplyTo) {
		return b, failf(amqpwire.AccessRefused, "cannot bind or unbind to a volatile (direct reply-to) queue")
	}
	f := notDefault(b.Source)
	if toExchange && f == nil {
		f = notDefault(b.Destination)
	}
	if f != nil {
		return b, f
	}
	if f := c.forBinding(&b); f != nil {
		return b, f
	}
	x, ok := c.s.k.Exchange(c.vhost, b.Source)
	if !ok {
		return b, failf(amqpwire.NotFound, "no %s", c.exchangeName(b.Source))
	}
	if toExchange {
		if _, ok := c.s.k.Exchange(c.vhost, b.Destination); !ok {
			return b, failf(amqpwire.NotFound, "no %s", c.exchangeName(b.Destination))
		}
	} else if _, err := c.s.k.Queue(c.vhost, b.Destination, c.owner); err != nil {
		return b, kernelFailure(err, c.queueName(b.Destination))
	}
	if x.Type == kernel.Headers {
		return b, matchArguments(&b, args)
	}
	return b, nil
}

func (ch *channel) exchangeBind(ctx context.Context, m *amqpwire.ExchangeBind) *failure {
	b, f := ch.binding(m.Source, m.Destination, m.RoutingKey, true, m.Arguments)
	if f != nil {
		return f
	}
	if err := ch.c.s.k.Bind(ctx, b); err != nil {
		return kernelFailure(err, ch.c.exchangeName(b.Destination))
	}
	if !m.NoWait {
		ch.send(&amqpwire.ExchangeBindOk{})
	}
	return nil
}

func (ch *channel) exchangeUnbind(ctx context.Context, m *amqpwire.ExchangeUnbind) *failure {
	b, f := ch.binding(m.Source, m.Destination, m.RoutingKey, true, m.Arguments)
	if f != nil {
		return f
	}
	if err := ch.c.s.k.Unbind(ctx, b); err != nil && !fault.Is(err, fault.NotFound) {
		return kernelFailure(err, ch.c.exchangeName(b.Destination))
	}
	if !m.NoWait {
		ch.send(&amqpwire.ExchangeUnbindOk{})
	}
	return nil
}

// bindArgs expands what queue.bind and queue.unbind leave out: an empty queue is the last
// one declared, and an empty key beside it that queue's name.
func (ch *channel) bindArgs(queue, key string) (string, string, *failure) {
	name, f := ch.queueArg(queue)
	if f == nil && queue == "" && key == "" {
		key = name
	}
	return name, key, f
}

func (ch *channel) queueBind(ctx context.Context, m *amqpwire.QueueBind) *failure {
	queue, key, f := ch.bindArgs(m.Queue, m.RoutingKey)
	if f != nil {
		return f
	}
	b, f := ch.binding(m.Exchange, queue, key, false, m.Arguments)
	if f != nil {
		return f
	}
	if err := ch.c.s.k.Bind(ctx, b); err != nil {
		return kernelFailure(err, ch.c.queueName(b.Destination))
	}
	if !m.NoWait {
		ch.send(&amqpwire.QueueBindOk{})
	}
	return nil
}

func (ch *channel) queueUnbind(ctx context.Context, m *amqpwire.QueueUnbind) *failure {
	queue, key, f := ch.bindArgs(m.Queue, m.RoutingKey)
	if f != nil {
		return f
	}
	b, f := ch.binding(m.Exchange, queue, key, false, m.Arguments)
	if f != nil {
		return f
	}
	if err := ch.c.s.k.Unbind(ctx, b); err != nil && !fault.Is(err, fault.NotFound) {
		return kernelFailure(err, ch.c.queueName(b.Destination))
	}
	ch.send(&amqpwire.QueueUnbindOk{})
	return nil
}

// ---- queues ------------------------------------------------------------------

func (ch *channel) queueDeclare(ctx context.Context, m *amqpwire.QueueDeclare) *failure {
	c := ch.c
	if strings.HasPrefix(m.Queue, directReplyTo) {
		return ch.declareReply(m)
	}
	name := clean(m.Queue)
	if m.Passive {
		if name == "" {
			var f *failure
			if name, f = ch.queueArg(name); f != nil {
				return f
			}
		}
		ch.answeredAll(ctx) // so that the count has them
		info, err := c.s.k.Queue(c.vhost, name, c.owner)
		if err != nil {
			return kernelFailure(err, c.queueName(name))
		}
		return ch.queueDeclared(m, &info)
	}
	if name == "" {
		name = "amq.gen-" + randomName()
	} else if _, err := c.s.k.Queue(c.vhost, name, c.owner); fault.Is(err, fault.NotFound) {
		if f := checkName("queue", name); f != nil {
			return f
		}
	}
	if f := c.forQueue(configures, acl.Create, name); f != nil {
		return f
	}
	target := c.queueName(name)
	spec := newQueueSpec(c.vhost, name)
	spec.Durable, spec.Exclusive, spec.AutoDelete, spec.Owner = m.Durable && !m.Exclusive, m.Exclusive, m.AutoDelete, c.owner
	r := argReader{t: m.Arguments, target: target}
	if f := r.apply(&spec); f != nil {
		return f
	}
	if f := c.forDeadLetters(&spec); f != nil {
		return f
	}
	ch.answeredAll(ctx)
	info, created, err := c.s.k.DeclareQueue(ctx, spec)
	if err != nil {
		return kernelFailure(err, target)
	}
	if !created {
		if f := sameQueue(&info.QueueSpec, &spec, target); f != nil {
			return f
		}
	}
	return ch.queueDeclared(m, &info)
}

func sameQueue(current, received *kernel.QueueSpec, target string) *failure {
	switch {
	case current.Exclusive != received.Exclusive:
		return kernelFailure(fault.Of(fault.Locked, "declare", ""), target)
	case current.Durable != received.Durable:
		return inequivalent("durable", target, truth(received.Durable), truth(current.Durable))
	case current.AutoDelete != received.AutoDelete:
		return inequivalent("auto_delete", target, truth(received.AutoDelete), truth(current.AutoDelete))
	}
	return sameArguments(current.Arguments, received.Arguments, queueArguments, target)
}

func (ch *channel) queueDeclared(m *amqpwire.QueueDeclare, info *kernel.QueueInfo) *failure {
	ch.lastQueue = info.Name
	if !m.NoWait {
		ch.send(&amqpwire.QueueDeclareOk{Queue: info.Name, MessageCount: number(info.Ready), ConsumerCount: uint32(info.Consumers)})
	}
	return nil
}

func number(n int64) uint32 { return uint32(min(max(n, 0), 1<<32-1)) }

func (ch *channel) queuePurge(ctx context.Context, m *amqpwire.QueuePurge) *failure {
	queue, f := ch.queueArg(m.Queue)
	if f != nil {
		return f
	}
	if f := ch.c.forQueue(reads, acl.Read, queue); f != nil {
		return f
	}
	n, err := ch.c.s.k.PurgeQueue(ctx, ch.c.vhost, queue, ch.c.owner)
	if err != nil {
		return kernelFailure(err, ch.c.queueName(queue))
	}
	if !m.NoWait {
		ch.send(&amqpwire.QueuePurgeOk{MessageCount: number(n)})
	}
	return nil
}

func (ch *channel) queueDelete(ctx context.Context, m *amqpwire.QueueDelete) *failure {
	c := ch.c
	queue, f := ch.queueArg(clean(m.Queue))
	if f != nil {
		return f
	}
	if f := c.forQueue(configures, acl.Delete, queue); f != nil {
		return f
	}
	n, err := c.s.k.DeleteQueue(ctx, c.vhost, queue, c.owner, m.IfUnused, m.IfEmpty)
	switch {
	case err == nil, fault.Is(err, fault.NotFound): // to delete what is not there is no error
	case fault.Is(err, fault.Conflict):
		if info, err := c.s.k.Queue(c.vhost, queue, c.owner); err == nil && m.IfEmpty && !(m.IfUnused && info.Consumers > 0) {
			return preconditionFailed("%s not empty", c.queueName(queue))
		}
		return preconditionFailed("%s in use", c.queueName(queue))
	default:
		return kernelFailure(err, c.queueName(queue))
	}
	if !m.NoWait {
		ch.send(&amqpwire.QueueDeleteOk{MessageCount: number(n)})
	}
	return nil
}
