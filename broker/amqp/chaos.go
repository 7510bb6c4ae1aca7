package amqp

import (
	"context"

	"github.com/robustmq/rmq/broker/amqpwire"
	"github.com/robustmq/rmq/broker/chaos"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/wire"
)

// A plan of faults may have methods lost or held back, publishes nacked, channels and connections closed. Without rules
// for AMQP a method pays the load in Engine.On.

// injected is what a client is told of an end that the plan of faults wants.
const injected = "a planned fault"

func (ch *channel) ask(id amqpwire.MethodID, in bool, topic string) (chaos.Act, bool) {
	c := ch.c
	return c.s.cfg.Chaos.Ask(chaos.Ask{Seam: chaos.AMQP, What: id.String(), In: in, Client: c.name, Topic: topic})
}

// disturbMethod asks about a method from the client, but basic.publish. gone: nothing more is done with it.
func (ch *channel) disturbMethod(id amqpwire.MethodID) (f *failure, gone bool) {
	act, ok := ch.ask(id, true, "")
	if !ok {
		return nil, false
	}
	if act.Do == chaos.Drop {
		return nil, true
	}
	return ch.obey(act, id)
}

// obey does what is done to any method.
func (ch *channel) obey(act chaos.Act, id amqpwire.MethodID) (f *failure, gone bool) {
	c := ch.c
	switch act.Do {
	case chaos.Delay:
		c.endBatch() // what came before it is not to wait too
		c.s.cfg.Chaos.Wait(act, c.ctx.Done(), wire.Closed(c.nc))
		return nil, c.ended.Load()
	case chaos.Close:
		return ch.refuse(failf(uint16(act.Code), injected).at(id)), true
	case chaos.Disconnect:
		f = failf(uint16(act.Code), injected).at(id)
		f.hard = true
		return f, true
	}
	c.end()
	wire.Reset(c.nc)
	return nil, true
}

// disturbPublish asks about a message from the client. gone: it is not published.
func (ch *channel) disturbPublish() (f *failure, gone bool) {
	act, ok := ch.ask(amqpwire.IDBasicPublish, true, ch.part.address)
	if !ok {
		return nil, false
	}
	switch act.Do {
	case chaos.Block:
		if c := ch.c; c.block(injected) {
			context.AfterFunc(c.ctx, c.s.cfg.Chaos.After(act, c.unblock))
		}
		return nil, false
	case chaos.Drop, chaos.Nack:
		if ch.tx != nil { // it confirms nothing
			return nil, true
		}
		ch.idle() // the numbers of those that wait come first
		n := ch.number(0, nil)
		if act.Do == chaos.Drop {
			ch.lose(n)
		} else {
			ch.answer(n, false, false)
		}
		return nil, true
	}
	return ch.obey(act, amqpwire.IDBasicPublish)
}

// disturbConfirm asks about the confirm of publish n. gone: it is taken care of.
func (ch *channel) disturbConfirm(n uint64, r *kernel.PublishResult) (gone bool) {
	ch.pubMu.Lock()
	confirms := n > ch.zero
	ch.pubMu.Unlock()
	if !confirms {
		return false
	}
	act, ok := ch.ask(amqpwire.IDBasicAck, false, "")
	switch {
	case !ok:
	case act.Do == chaos.Nack:
		r.Rejected = true
	case act.Do == chaos.Delay:
		later := *r
		ch.c.s.cfg.Chaos.After(act, func() { ch.published(n, later) })
		return true
	case act.Do == chaos.Drop:
		ch.c.inflight.Add(-int64(ch.lose(n)))
		ch.c.signal()
		return true
	}
	return false
}

// lose is over with a publish of which the client is told nothing. From then on the channel confirms each publish
// alone: multiple would tell of this one too.
func (ch *channel) lose(n uint64) (size int32) {
	ch.pubMu.Lock()
	defer ch.pubMu.Unlock()
	e := ch.slot(n)
	e.state, e.bounce = lost, nil
	ch.single = true
	for ch.front <= ch.last && ch.slot(ch.front).state != unanswered {
		ch.front++
	}
	ch.passUnconfirmed()
	return e.size
}

// losesDelivery tells whether a delivery does not arrive.
func (cs *consumer) losesDelivery(d *kernel.Delivery) bool {
	_, ok := cs.ch.ask(amqpwire.IDBasicDeliver, false, d.Msg.Address)
	return ok
}
