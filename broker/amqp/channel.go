package amqp

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/rmq/broker/amqpwire"
	"github.com/robustmq/rmq/broker/chaos"
	"github.com/robustmq/rmq/broker/kernel"
)

// opMax bounds how long one method may wait for the kernel: without a majority of the nodes it would
// wait for ever, and the client is told that it has timed out.
const opMax = 10 * time.Second

// Bounds of what waits behind a busy channel, per connection, in bytes. At waitingMax a
// connection that only publishes is not read any more; one that also acknowledges must be,
// and is told connection.blocked instead, until it is cut off at waitingHard.
const (
	waitingMax  = 4 << 20
	waitingHard = 64 << 20
)

// channel is one channel of a connection.
//
// Ownership:
//   - the reader: part, settles; and everything without a lock while the channel is not
//     busy. While it is, the goroutine that serves it owns that.
//   - waitMu: busy (to set it false), waiting.
//   - pubMu: what publish.go and confirm.go say.
//   - mu: consumers, getters, unacked and credit; see consume.go, settle.go.
type channel struct {
	c  *conn
	id uint16

	part content // being put together

	closing   atomic.Bool // we sent channel.close, or are about to
	gone      atomic.Bool // the reader is to forget it
	inTx      atomic.Bool
	lastQueue string // what an empty queue name means
	prefetch  uint16 // of consumers to come
	tx        *transaction
	conv      converter
	names     nameCache
	reply     string // queue of the direct reply-to consumer; "" when there is none

	uncommitted atomic.Int64 // what tx keeps

	busy    atomic.Bool
	waitMu  sync.Mutex
	waiting []item
	idleC   sync.Cond // signalled when busy becomes false

	pub
	deliveries
}

// content is a publish of which frames are still to come.
type content struct {
	state     contentState
	exchange  string
	key       string
	address   string
	mandatory bool
	immediate bool
	props     []byte // of the content header
	size      uint64 // of the body
	body      []byte // what has arrived, when it does not come in one frame
}

type contentState uint8

const (
	wantMethod contentState = iota
	wantHeader
	wantBody
)

// item is a method or a publish that waits behind a busy channel. It owns its memory.
type item struct {
	method  []byte // a method frame's payload; nil: publish
	publish *content
	size    int64
}

func newChannel(c *conn, id uint16) *channel {
	ch := &channel{c: c, id: id}
	ch.idleC.L = &ch.waitMu
	ch.pub.init()
	ch.deliveries.init()
	ch.conv.now, ch.deliveries.conv.now = c.s.k.Now, c.s.k.Now
	return ch
}

// frame handles one frame of the channel. over: the channel has ended.
func (ch *channel) frame(f amqpwire.Frame) (fail *failure, over bool) {
	if ch.closing.Load() {
		return nil, ch.closingFrame(f)
	}
	switch p := &ch.part; p.state {
	case wantMethod:
		if f.Type != amqpwire.FrameMethod {
			return failf(amqpwire.UnexpectedFrame, "expected method frame, got non method frame instead"), false
		}
		return ch.methodFrame(f.Payload)
	case wantHeader:
		if f.Type != amqpwire.FrameHeader {
			return failf(amqpwire.UnexpectedFrame, "expected content header for class 60, got non content header frame instead").at(amqpwire.IDBasicPublish), false
		}
		return ch.headerFrame(f.Payload), false
	default:
		if f.Type != amqpwire.FrameBody {
			return failf(amqpwire.UnexpectedFrame, "expected content body, got non content body frame instead").at(amqpwire.IDBasicPublish), false
		}
		return ch.bodyFrame(f.Payload), false
	}
}

// closingFrame waits for channel.close-ok; what was sent before it is of no interest.
func (ch *channel) closingFrame(f amqpwire.Frame) (over bool) {
	ch.part = content{}
	if f.Type != amqpwire.FrameMethod {
		return false
	}
	switch id, _, err := amqpwire.SplitMethod(f.Payload); {
	case err != nil:
		return false
	case id == amqpwire.IDChannelClose:
		ch.send(&amqpwire.ChannelCloseOk{})
		return false // its close-ok to ours is still to come
	default:
		return id == amqpwire.IDChannelCloseOk
	}
}

// methodFrame handles a method: at once when that needs nobody else, otherwise on a
// goroutine, in order.
func (ch *channel) methodFrame(payload []byte) (fail *failure, over bool) {
	id, args, err := amqpwire.SplitMethod(payload)
	if err != nil {
		return wireFailure(err), false
	}
	if id != amqpwire.IDBasicPublish && ch.c.s.cfg.Chaos.On(chaos.AMQP) {
		if fail, gone := ch.disturbMethod(id); gone {
			return fail, false
		}
	}
	switch id {
	case amqpwire.IDBasicPublish:
		p, err := amqpwire.DecodePublish(args)
		if err != nil {
			return wireFailure(err).at(id), false
		}
		ch.begin(p)
		return nil, false
	case amqpwire.IDBasicAck, amqpwire.IDBasicNack, amqpwire.IDBasicReject:
		if ch.inTx.Load() && ch.busy.Load() {
			break // in order, as it is part of a transaction
		}
		s, err := amqpwire.DecodeSettlement(id, args)
		if err != nil {
			return wireFailure(err).at(id), false
		}
		return ch.refuse(ch.settlement(id, s).at(id)), false
	case amqpwire.IDChannelCloseOk:
		return nil, false
	}
	ch.flushSettles()
	if ch.busy.Load() {
		return ch.enqueue(item{method: append([]byte(nil), payload...), size: int64(len(payload)) + itemOverhead}), false
	}
	m, err := amqpwire.DecodeMethod(payload)
	if err != nil {
		return wireFailure(err).at(id), false
	}
	if waits(m) {
		return ch.enqueue(item{method: append([]byte(nil), payload...), size: int64(len(payload)) + itemOverhead}), false
	}
	return ch.soft(ch.quick(m).at(id)), false
}

// itemOverhead is what an item costs besides its bytes.
const itemOverhead = 128

// waits tells whether a method has to wait for the kernel.
func waits(m amqpwire.Method) bool {
	switch m.(type) {
	case *amqpwire.BasicQos, *amqpwire.ConfirmSelect, *amqpwire.TxSelect, *amqpwire.TxRollback, *amqpwire.ChannelFlow,
		*amqpwire.ChannelFlowOk, *amqpwire.AccessRequest, *amqpwire.BasicRecover, *amqpwire.BasicRecoverAsync:
		return false
	}
	return true
}

// soft ends the channel for a failure that ends no more than that, and hands back one
// that ends the connection.
func (ch *channel) soft(f *failure) *failure {
	if f == nil || f.endsConnection() {
		return f
	}
	ch.fail(f)
	return nil
}

// refuse is soft for what the reader finds out: what the client had settled before that counts, or it would go
// back with the rest.
func (ch *channel) refuse(f *failure) *failure {
	if f != nil {
		ch.flushSettles()
	}
	return ch.soft(f)
}

// fail ends the channel: what it holds is let go of, then the client is told. May be
// called from anywhere, the kernel's goroutines included.
func (ch *channel) fail(f *failure) {
	if ch.c.ended.Load() || !ch.closing.CompareAndSwap(false, true) {
		return
	}
	ch.c.s.stats.ChannelErrors.Add(1)
	ch.c.spawn(func() {
		ch.idle()
		ch.release(true)
		ch.send(&amqpwire.ChannelClose{
			ReplyCode: f.code, ReplyText: f.replyText(), ClassID: f.method.Class(), MethodID: f.method.Method(),
		})
		ch.c.flushNow()
	})
}

// leave takes the channel off its connection: its number is free.
func (ch *channel) leave() {
	if ch.gone.CompareAndSwap(false, true) {
		ch.c.nchannels.Add(-1)
		ch.c.s.stats.Channels.Add(-1)
	}
}

func (ch *channel) send(m amqpwire.Method) { ch.c.send(ch.id, m) }

// ---- waiting ---------------------------------------------------------------

// enqueue puts an item behind what the channel is at, and starts to serve it. Called by
// the reader alone.
func (ch *channel) enqueue(it item) *failure {
	c := ch.c
	total := c.wait(it.size)
	ch.waitMu.Lock()
	ch.waiting = append(ch.waiting, it)
	start := !ch.busy.Load()
	if start {
		ch.busy.Store(true)
	}
	ch.waitMu.Unlock()
	if start {
		c.spawn(ch.serve)
	}
	if total <= waitingMax {
		return nil
	}
	if c.acking.Load() == 0 {
		c.waitFor(func() bool { return c.waiting.Load() <= waitingMax/2 })
		return nil
	}
	if total > waitingHard {
		c.s.stats.TooSlow.Add(1)
		return failf(amqpwire.ResourceError, "more than %d bytes published while the connection is blocked", waitingHard)
	}
	c.low("memory")
	return nil
}

// wait counts an item that waits behind a busy channel by its bytes, or, n below 0, one that
// does not any more.
func (c *conn) wait(n int64) (total int64) {
	one := int64(1)
	if n < 0 {
		one = -1
	}
	c.s.stats.Waiting.Add(one)
	c.s.stats.WaitingBytes.Add(n)
	return c.waiting.Add(n)
}

// serve serves what waits, until nothing does. It ends with the connection at the latest:
// whatever it waits for gives up then.
func (ch *channel) serve() {
	for {
		ch.waitMu.Lock()
		if len(ch.waiting) == 0 || ch.c.ended.Load() {
			for _, it := range ch.waiting {
				ch.c.wait(-it.size)
			}
			ch.waiting = nil
			ch.busy.Store(false)
			ch.idleC.Broadcast()
			ch.waitMu.Unlock()
			ch.c.signal()
			return
		}
		it := ch.waiting[0]
		ch.waiting[0] = item{}
		ch.waiting = ch.waiting[1:]
		ch.waitMu.Unlock()

		if !ch.closing.Load() {
			if f := ch.soft(ch.serveItem(it)); f != nil {
				ch.c.abort(f)
			}
		}
		ch.c.flushNow()
		ch.c.wait(-it.size)
		ch.c.signal()
	}
}

func (ch *channel) serveItem(it item) *failure {
	if it.method == nil {
		return ch.servePublish(it.publish)
	}
	m, err := amqpwire.DecodeMethod(it.method)
	if err != nil {
		return wireFailure(err)
	}
	ctx, cancel := context.WithTimeout(ch.c.ctx, opMax)
	defer cancel()
	var f *failure
	if waits(m) {
		f = ch.slow(ctx, m)
	} else {
		f = ch.quick(m)
	}
	return f.at(m.ID())
}

// servePublish hands over a publish that was parked, once there is room.
func (ch *channel) servePublish(part *content) *failure {
	c := ch.c
	for {
		c.waitFor(func() bool { return c.inflight.Load() <= publishWindow && c.s.k.Refusal() == nil })
		room := c.s.k.Room() // before it is tried, so that none is missed
		f, crowded := ch.publish(part, part.body)
		if !crowded {
			return f
		}
		select {
		case <-room:
		case <-c.ctx.Done():
			return nil
		}
	}
}

// idle waits until nobody serves the channel.
func (ch *channel) idle() {
	ch.waitMu.Lock()
	for ch.busy.Load() {
		ch.idleC.Wait()
	}
	ch.waitMu.Unlock()
}

// ---- methods ---------------------------------------------------------------

// quick handles a method that needs nobody else.
func (ch *channel) quick(m amqpwire.Method) *failure {
	switch m := m.(type) {
	case *amqpwire.BasicQos:
		return ch.qos(m)
	case *amqpwire.BasicRecover:
		if !m.Requeue {
			return failf(amqpwire.NotImplemented, "requeue=false")
		}
		ch.recover()
		ch.send(&amqpwire.BasicRecoverOk{})
	case *amqpwire.BasicRecoverAsync:
		if !m.Requeue {
			return failf(amqpwire.NotImplemented, "requeue=false")
		}
		ch.recover()
	case *amqpwire.ConfirmSelect:
		if ch.tx != nil {
			return preconditionFailed("cannot switch from tx to confirm mode")
		}
		ch.confirmSelect()
		if !m.NoWait {
			ch.send(&amqpwire.ConfirmSelectOk{})
		}
	case *amqpwire.TxSelect:
		if ch.confirming {
			return preconditionFailed("cannot switch from confirm to tx mode")
		}
		ch.txSelect()
		ch.send(&amqpwire.TxSelectOk{})
	case *amqpwire.TxRollback:
		return ch.txRollback()
	case *amqpwire.ChannelFlow:
		if !m.Active {
			return failf(amqpwire.NotImplemented, "active=false")
		}
		ch.send(&amqpwire.ChannelFlowOk{Active: true})
	case *amqpwire.ChannelFlowOk:
	case *amqpwire.AccessRequest:
		ch.send(&amqpwire.AccessRequestOk{Ticket: 1})
	}
	return nil
}

// slow handles a method that waits for the kernel.
func (ch *channel) slow(ctx context.Context, m amqpwire.Method) *failure {
	switch m := m.(type) {
	case *amqpwire.ExchangeDeclare:
		return ch.exchangeDeclare(ctx, m)
	case *amqpwire.ExchangeDelete:
		return ch.exchangeDelete(ctx, m)
	case *amqpwire.ExchangeBind:
		return ch.exchangeBind(ctx, m)
	case *amqpwire.ExchangeUnbind:
		return ch.exchangeUnbind(ctx, m)
	case *amqpwire.QueueDeclare:
		return ch.queueDeclare(ctx, m)
	case *amqpwire.QueueBind:
		return ch.queueBind(ctx, m)
	case *amqpwire.QueueUnbind:
		return ch.queueUnbind(ctx, m)
	case *amqpwire.QueuePurge:
		return ch.queuePurge(ctx, m)
	case *amqpwire.QueueDelete:
		return ch.queueDelete(ctx, m)
	case *amqpwire.BasicConsume:
		return ch.consume(ctx, m)
	case *amqpwire.BasicCancel:
		return ch.cancel(ctx, m.ConsumerTag, m.NoWait)
	case *amqpwire.BasicCancelOk: // to a cancel of ours
		return nil
	case *amqpwire.BasicGet:
		return ch.get(ctx, m)
	case *amqpwire.TxCommit:
		return ch.txCommit()
	case *amqpwire.BasicAck, *amqpwire.BasicNack, *amqpwire.BasicReject:
		return ch.settleMethod(m)
	case *amqpwire.ChannelClose:
		ch.closeOk(ctx)
		return nil
	case *amqpwire.ChannelOpen:
		return failf(amqpwire.ChannelError, "second 'channel.open' seen")
	}
	return failf(amqpwire.CommandInvalid, "unimplemented method")
}

// settleMethod is an acknowledgement that waited behind a commit.
func (ch *channel) settleMethod(m amqpwire.Method) *failure {
	var s amqpwire.Settlement
	switch m := m.(type) {
	case *amqpwire.BasicAck:
		s = amqpwire.Settlement{Tag: m.DeliveryTag, Multiple: m.Multiple}
	case *amqpwire.BasicNack:
		s = amqpwire.Settlement{Tag: m.DeliveryTag, Multiple: m.Multiple, Requeue: m.Requeue}
	case *amqpwire.BasicReject:
		s = amqpwire.Settlement{Tag: m.DeliveryTag, Requeue: m.Requeue}
	}
	return ch.settlement(m.ID(), s)
}

// closeOk ends the channel as its client asked, once what it published has been answered.
func (ch *channel) closeOk(ctx context.Context) {
	ch.answeredAll(ctx)
	ch.tellConfirms()
	if ch.closing.CompareAndSwap(false, true) {
		ch.release(false)
		ch.leave()
	} // otherwise it is failing already: our close has crossed the client's
	ch.send(&amqpwire.ChannelCloseOk{})
}

// releaseCtx is for what must be let go of though the connection has ended.
func releaseCtx() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), teardownMax)
}

var _ kernel.Publisher = (*channel)(nil)
