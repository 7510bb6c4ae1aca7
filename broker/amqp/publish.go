package amqp

import (
	"math"
	"sync"

	"github.com/robustmq/rmq/broker/amqpwire"
	"github.com/robustmq/rmq/broker/chaos"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/message"
)

// A publish is three frames or more: method, content header, body. It goes to the
// kernel from the read buffer, without a copy, when the body came in one frame, the
// channel is not busy and there is room in the window.

// publishWindow bounds what a connection has published and the kernel has not answered,
// in bytes with publishOverhead for each. Beyond it, a connection that only publishes is
// not read, and the publishes of one that also acknowledges wait behind their channel.
const (
	publishWindow   = 8 << 20
	publishOverhead = 128
)

// pub is the publishing half of a channel.
//
// Ownership: who serves the channel: confirming, one; pubMu: the rest. Publishes are
// numbered from 1; see confirm.go for what is done with the numbers.
type pub struct {
	confirming bool
	one        kernel.Publish // the publish that is being handed over

	pubMu sync.Mutex
	last  uint64     // number of the newest publish
	base  uint64     // the oldest that is not over and done with
	front uint64     // all of [base, front) have been answered
	ring  []answered // by number, from base on
	late  []uint64   // answered beyond front, and not yet told
	zero  uint64     // delivery tags count from here; the highest number while not in confirm mode
	dirty bool       // in conn.confirms
	// single: every confirm is of one publish.
	single bool
}

func (p *pub) init() { p.base, p.front, p.zero = 1, 1, math.MaxUint64 }

// answered is what is known of one publish.
type answered struct {
	size   int32 // bytes of the window
	state  answer
	bounce *bounce
}

type answer uint8

const (
	unanswered answer = iota
	took              // to be acked
	refused           // to be nacked
	toldAck           // was acked out of turn
	toldNack
	lost // a planned fault: nothing is told
)

// bounce is a mandatory message, kept until it is known whether anybody takes it.
type bounce struct {
	exchange, key  string
	content, value []byte
}

// begin starts a publish.
func (ch *channel) begin(p amqpwire.Publish) {
	n := ch.names.get(p.Exchange, p.RoutingKey)
	part := &ch.part
	part.state = wantHeader
	part.exchange, part.key, part.address = n.exchange, n.key, n.address
	part.mandatory, part.immediate = p.Mandatory, p.Immediate
}

// headerFrame takes the content header.
func (ch *channel) headerFrame(payload []byte) *failure {
	part := &ch.part
	h, err := amqpwire.DecodeHeader(payload)
	switch {
	case err != nil:
		return wireFailure(err).at(amqpwire.IDBasicPublish)
	case h.Class != amqpwire.ClassBasic:
		return failf(amqpwire.UnexpectedFrame, "expected content header for class 60, got one for class %d instead", h.Class).at(amqpwire.IDBasicPublish)
	}
	part.props = append(part.props[:0], h.Props...)
	part.size = h.BodySize
	if limit := ch.c.s.cfg.MessageMax; h.BodySize > uint64(limit) {
		// The frames of the body are skipped as any that reach a channel which is closing.
		return ch.refuse(preconditionFailed("message size %d is larger than configured max size %d", h.BodySize, limit).at(amqpwire.IDBasicPublish))
	}
	part.state = wantBody
	if h.BodySize == 0 {
		return ch.complete([]byte{})
	}
	return nil
}

// bodyFrame takes a part of the body.
func (ch *channel) bodyFrame(payload []byte) *failure {
	part := &ch.part
	have := uint64(len(part.body))
	switch {
	case have+uint64(len(payload)) > part.size:
		return failf(amqpwire.FrameError, "content body frame exceeds remaining content size").at(amqpwire.IDBasicPublish)
	case have == 0 && uint64(len(payload)) == part.size:
		return ch.complete(payload)
	}
	part.body = append(part.body, payload...)
	if uint64(len(part.body)) < part.size {
		return nil
	}
	return ch.complete(part.body)
}

// bodyKeep bounds the body buffer that a channel holds on to.
const bodyKeep = 64 << 10

// complete has the whole message: it is published, or waits.
func (ch *channel) complete(body []byte) *failure {
	part := &ch.part
	part.state = wantMethod
	c := ch.c
	if c.s.cfg.Chaos.On(chaos.AMQP) {
		if f, gone := ch.disturbPublish(); gone {
			part.body = nil
			return f
		}
	}
	var f *failure
	switch full := c.inflight.Load() > publishWindow; {
	case c.s.k.Refusal() != nil: // parked on any connection: heartbeats are heard meanwhile
		c.low("disk")
		f = ch.park(body)
	case ch.busy.Load() || full && c.acking.Load() > 0:
		f = ch.park(body)
	default:
		if full {
			c.flushNow()
			c.waitFor(func() bool { return c.inflight.Load() <= publishWindow/2 })
		}
		var crowded bool
		if f, crowded = ch.publish(part, body); crowded {
			f = ch.park(body) // as on a refusal
		} else {
			f = ch.refuse(f)
		}
	}
	if part.body = part.body[:0]; cap(part.body) > bodyKeep {
		part.body = nil
	}
	return f
}

// park copies a publish that has to wait.
func (ch *channel) park(body []byte) *failure {
	ch.flushSettles() // it may end the channel before the read is over
	part := &ch.part
	own := *part
	buf := make([]byte, 0, len(part.props)+len(body))
	buf = append(buf, part.props...)
	own.props, own.body = buf[:len(buf):len(buf)], append(buf, body...)[len(part.props):]
	return ch.enqueue(item{publish: &own, size: int64(len(part.props)+len(body)) + itemOverhead})
}

// publish hands a message to the kernel, or to the transaction. body is borrowed. crowded: the
// kernel has no room for it now, and nothing has happened.
func (ch *channel) publish(part *content, body []byte) (f *failure, crowded bool) {
	f, crowded = ch.hand(part, body)
	return f.at(amqpwire.IDBasicPublish), crowded
}

func (ch *channel) hand(part *content, body []byte) (f *failure, crowded bool) {
	c := ch.c
	if part.immediate {
		return failf(amqpwire.NotImplemented, "immediate=true"), false
	}
	if part.exchange != "" {
		switch x, ok := c.s.k.Exchange(c.vhost, part.exchange); {
		case !ok:
			return failf(amqpwire.NotFound, "no %s", c.exchangeName(part.exchange)), false
		case x.Internal:
			return failf(amqpwire.AccessRefused, "cannot publish to internal %s", c.exchangeName(part.exchange)), false
		}
	}
	if f := c.forKey(part.exchange, part.key, part.address); f != nil {
		return f, false
	}
	p := &ch.one
	cc, fail := ch.conv.inbound(&p.Msg, part.exchange, part.key, part.address, part.props, c.user, ch.reply)
	if fail != nil {
		return fail, false
	}
	if f := c.forCopies(part.exchange, cc); f != nil {
		return f, false
	}
	p.Msg.Value = body
	p.Namespace, p.ViaExchange, p.Admitted = c.vhost, true, true
	p.Exchange, p.Key, p.CC = part.exchange, part.key, cc
	p.Told = nil
	if c.s.cfg.Trace.On() {
		c.tracePublish(ch.id, p)
	}
	if ch.tx != nil {
		c.s.stats.published(len(body))
		return ch.txPublish(p, part.mandatory), false
	}
	var b *bounce
	if part.mandatory {
		b = newBounce(p)
	}
	size := len(body) + len(part.props) + publishOverhead
	p.Reply, p.Tag = ch, ch.number(size, b)
	c.inflight.Add(int64(size))
	if c.s.k.Publish(p) != nil { // admitted: only where it is for is crowded
		ch.takeBack()
		c.inflight.Add(-int64(size))
		return nil, true
	}
	c.s.stats.published(len(body))
	return nil, false
}

func newBounce(p *kernel.Publish) *bounce {
	_, _, content, _ := message.SplitAMQPNative(p.Msg.Native)
	buf := append(append(make([]byte, 0, len(content)+len(p.Msg.Value)), content...), p.Msg.Value...)
	return &bounce{exchange: p.Exchange, key: p.Key, content: buf[:len(content)], value: buf[len(content):]}
}

// Published implements kernel.Publisher.
func (ch *channel) Published(n uint64, r kernel.PublishResult) {
	if ch.c.s.cfg.Chaos.On(chaos.AMQP) && ch.disturbConfirm(n, &r) {
		return
	}
	ch.published(n, r)
}

func (ch *channel) published(n uint64, r kernel.PublishResult) {
	c := ch.c
	ok := r.Err == nil && !r.Rejected
	// An exchange that was deleted meanwhile took nothing either.
	nobody := ok && (r.NoExchange || r.Queues+r.Subscribers == 0)
	size, news := ch.answer(n, ok, nobody)
	c.inflight.Add(-int64(size))
	c.signal()
	switch {
	case r.Err == nil:
	case fault.Is(r.Err, fault.Exhausted):
		c.low("memory")
	case fault.Is(r.Err, fault.Full) && c.s.k.Refusal() != nil: // else one log is ill, and its publishes are refused alone
		c.low("disk")
	}
	if news {
		c.kick()
	}
}

// sendReturn puts basic.return in the outbox, in front of the ack that follows.
func (ch *channel) sendReturn(b *bounce) {
	c := ch.c
	if ch.closing.Load() {
		return
	}
	c.s.stats.Returned.Add(1)
	c.hold(func(dst []byte) []byte {
		dst = amqpwire.AppendReturn(dst, ch.id, amqpwire.NoRoute, amqpwire.CodeName(amqpwire.NoRoute), []byte(b.exchange), []byte(b.key))
		return amqpwire.AppendContent(dst, ch.id, b.content, b.value, c.frameMax)
	})
}

// ---- names -----------------------------------------------------------------

// nameCache keeps the names that a channel publishes to, so that a publish makes no
// strings. Owned by the reader.
type nameCache struct {
	exchanges map[string]*exchangeNames
	n         int // keys in all of them
}

// namesMax bounds the exchange and key pairs of one channel; at it they are forgotten.
const namesMax = 1024

type exchangeNames struct {
	name string
	keys map[string]publishName
}

type publishName struct{ exchange, key, address string }

func (n *nameCache) get(exchange, key []byte) publishName {
	x := n.exchanges[string(exchange)]
	if x != nil {
		if p, ok := x.keys[string(key)]; ok {
			return p
		}
	}
	if n.n >= namesMax || n.exchanges == nil {
		n.exchanges, n.n, x = make(map[string]*exchangeNames), 0, nil
	}
	if x == nil {
		x = &exchangeNames{name: string(exchange), keys: make(map[string]publishName)}
		n.exchanges[x.name] = x
	}
	p := publishName{exchange: x.name, key: string(key)}
	p.address = message.AddressOf(p.exchange, p.key)
	x.keys[p.key] = p
	n.n++
	return p
}
