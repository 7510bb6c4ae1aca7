package amqp

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"sync"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/amqpwire"
	"github.com/robustmq/rmq/broker/chaos"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/trace"
)

// Deliveries go out on credit. A consumer has credit at its queue for
//
//	prefetch - unacknowledged - credit not yet used     (no limit when prefetch is 0)
//
// but never more than its window, which is as many messages of the size it is getting as
// make flowTarget bytes, and gets more only once the client has taken nearly all that was
// sent to it. So a client that reads slowly holds back its consumers, not the broker.
//
// A prefetch for the whole channel (global) is divided between its consumers; what comes
// in excess goes back to its queue.
const (
	flowTarget = 1 << 20 // bytes
	windowMost = 2048    // messages
	sizeGuess  = 8 << 10 // bytes of a message, until one has come
	// sizeGuessNoAck is for consumers that do not acknowledge: what does not fit the outbox
	// cannot go back.
	sizeGuessNoAck = 256 << 10
	sizeOverhead   = 64
)

// Bounds of one channel.
const (
	consumersMax = 10_000
	gettersMax   = 1_000 // queues that basic.get was used on
)

// deliveries is the consuming half of a channel, guarded by mu.
type deliveries struct {
	mu        sync.Mutex
	released  bool
	tag       uint64 // the newest delivery tag
	consumers map[string]*consumer
	getters   map[getKey]*getter
	global    int // prefetch of the channel; 0: no limit
	sum       int // unacknowledged deliveries to consumers
	unacked   unacked
	conv      converter              // for what goes out
	traced    map[uint64]trace.Event // what is told once a delivery that was traced is settled; by tag

	// Of the reader.
	settles []*source // with settlements gathered
	picked  []pending
}

func (d *deliveries) init() {
	d.consumers = make(map[string]*consumer)
	d.getters = make(map[getKey]*getter)
}

// source is where deliveries come from: an attachment to a queue.
type source struct {
	ch    *channel
	queue string
	noAck bool
	count bool // deliveries that failed are counted and shown

	att *kernel.Attachment // set before anything is delivered

	outstanding int       // unsettled; channel.mu
	cons        *consumer // nil for basic.get

	run run // of the reader
}

// consumer is one basic.consume.
type consumer struct {
	source
	tag     string
	address string // of the queue, which the rules of access are about; "": a queue for answers

	// Guarded by channel.mu.
	prefetch  int
	granted   int // credit not yet used
	cancelled bool
	marked    bool // in conn.credits
	size      int  // running mean of messages, in bytes
	now       *kernel.Delivery
	body      func(dst []byte) []byte // cs.appendDeliver, bound once
}

// Deliver implements kernel.Sink.
func (cs *consumer) Deliver(d *kernel.Delivery) bool {
	if !cs.mayDeliver() {
		cs.withdraw(d)
		return true
	}
	ch := cs.ch
	c := ch.c
	lost := c.s.cfg.Chaos.On(chaos.AMQP) && cs.losesDelivery(d)
	ch.mu.Lock()
	cs.granted--
	if over := !cs.noAck && ch.global > 0 && ch.sum >= ch.global; ch.released || cs.cancelled || over {
		if over {
			cs.markLocked()
		}
		ch.mu.Unlock()
		if !cs.noAck {
			d.From.Settle(d.No, false, kernel.Release)
		}
		return true
	}
	ch.tag++
	cs.now = d
	fits := lost || c.out.Hold(cs.body)
	cs.now = nil
	if !fits {
		ch.tag--
		ch.mu.Unlock()
		cs.overflow(d)
		return true
	}
	n := len(d.Msg.Value) + sizeOverhead
	cs.size += (n - cs.size) / 8
	if n > cs.size {
		cs.size = n
	}
	if !cs.noAck {
		ch.unacked.push(pending{tag: ch.tag, no: d.No, src: &cs.source})
		cs.outstanding++
		ch.sum++
	}
	cs.markLocked()
	tag := ch.tag
	ch.mu.Unlock()
	if c.s.cfg.Trace.On() {
		ch.traceDelivery(amqpwire.IDBasicDeliver, cs.tag, tag, d, cs.noAck)
	}
	c.said.Store(true)
	c.s.stats.Delivered.Add(1)
	c.s.stats.DeliveredBytes.Add(uint64(len(d.Msg.Value)))
	c.kick()
	return true
}

// appendDeliver appends cs.now as delivery ch.tag. Called with channel.mu held.
func (cs *consumer) appendDeliver(dst []byte) []byte {
	d, ch := cs.now, cs.ch
	exchange, key, content := cs.content(d)
	dst = amqpwire.AppendDeliver(dst, ch.id, cs.tag, ch.tag, d.Redelivered, exchange, key)
	return amqpwire.AppendContent(dst, ch.id, content, d.Msg.Value, ch.c.frameMax)
}

// content is what is said of a message besides its body. Called with channel.mu held.
func (src *source) content(d *kernel.Delivery) (exchange, key, content []byte) {
	ch := src.ch
	count := uint32(0)
	if src.count {
		count = d.Failed
	}
	const headerLen = 12
	exchange, key, content, trimmed := ch.deliveries.conv.outbound(d.Msg, count, ch.c.frameMax-amqpwire.FrameOverhead-headerLen)
	if trimmed {
		ch.c.s.stats.HeadersTrimmed.Add(1)
	}
	return exchange, key, content
}

// overflow deals with a delivery for which the outbox has no room.
func (src *source) overflow(d *kernel.Delivery) {
	switch {
	case src.ch.c.out.Err() != nil: // closing
	case src.noAck:
		src.ch.c.tooSlow() // the queue has forgotten it already
	default:
		d.From.Settle(d.No, false, kernel.Release)
		if src.cons != nil {
			src.ch.mu.Lock()
			src.cons.size = max(src.cons.size, len(d.Msg.Value)) // a smaller window from now on
			src.cons.markLocked()
			src.ch.mu.Unlock()
		}
		src.ch.c.kick()
	}
}

// markLocked has the consumer's credit looked at by the next flush.
func (cs *consumer) markLocked() {
	if !cs.marked {
		cs.marked = true
		cs.ch.c.markCredit(cs)
	}
}

// grant gives the credit that is due.
func (cs *consumer) grant() {
	ch := cs.ch
	ch.mu.Lock()
	cs.marked = false
	n := cs.dueLocked()
	cs.granted += n
	ch.mu.Unlock()
	if n > 0 {
		cs.att.Credit(int64(n))
	}
}

func (cs *consumer) dueLocked() int {
	ch := cs.ch
	if ch.released || cs.cancelled {
		return 0
	}
	window := min(max(flowTarget/cs.size, 1), windowMost)
	want := window
	if !cs.noAck {
		if cs.prefetch > 0 {
			want = min(want, cs.prefetch-cs.outstanding)
		}
		if ch.global > 0 {
			free := ch.global - ch.sum
			want = min(want, (free+len(ch.consumers)-1)/max(len(ch.consumers), 1))
		}
	}
	n := want - cs.granted
	if want == window && n <= window/2 { // in larger steps, as nothing waits for it
		return 0
	}
	return max(n, 0)
}

// Gone implements kernel.Sink.
func (cs *consumer) Gone(reason kernel.GoneReason) {
	ch := cs.ch
	ch.mu.Lock()
	if reason == kernel.GoneClosing && !ch.released { // what it holds unacknowledged has gone back to the queue
		ch.mu.Unlock()
		ch.c.sendAway()
		return
	}
	if ch.released || cs.cancelled || reason == kernel.GoneClosing {
		ch.mu.Unlock()
		return
	}
	cs.cancelled = true
	delete(ch.consumers, cs.tag)
	ch.mu.Unlock()
	ch.uncount(&cs.source)
	if ch.c.caps.cancelNotify {
		ch.send(&amqpwire.BasicCancel{ConsumerTag: cs.tag, NoWait: true})
		ch.c.kick()
	}
}

// count and uncount keep the numbers of consumers, and of what this connection
// acknowledges.
func (ch *channel) count(src *source) {
	if src.cons != nil {
		ch.c.nconsumers.Add(1)
		ch.c.s.stats.Consumers.Add(1)
	}
	if !src.noAck {
		ch.c.acking.Add(1)
	}
}

func (ch *channel) uncount(src *source) {
	if src.cons != nil {
		ch.c.nconsumers.Add(-1)
		ch.c.s.stats.Consumers.Add(-1)
	}
	if !src.noAck {
		ch.c.acking.Add(-1)
	}
}

// qos sets how much may be unacknowledged.
func (ch *channel) qos(m *amqpwire.BasicQos) *failure {
	if m.PrefetchSize != 0 {
		return failf(amqpwire.NotImplemented, "prefetch_size!=0 (%d)", m.PrefetchSize)
	}
	ch.mu.Lock()
	if m.Global {
		ch.global = int(m.PrefetchCount)
	} else {
		ch.prefetch, ch.global = m.PrefetchCount, 0
	}
	for _, cs := range ch.consumers {
		cs.markLocked()
	}
	ch.mu.Unlock()
	ch.send(&amqpwire.BasicQosOk{})
	return nil
}

// consume attaches a consumer.
func (ch *channel) consume(ctx context.Context, m *amqpwire.BasicConsume) *failure {
	c := ch.c
	queue, fail := ch.queueArg(m.Queue)
	if fail != nil {
		return fail
	}
	if f := c.forQueue(reads, acl.Read, queue); f != nil {
		return f
	}
	tag := m.ConsumerTag
	ch.mu.Lock()
	_, taken := ch.consumers[tag]
	n := len(ch.consumers)
	ch.mu.Unlock()
	switch {
	case taken && queue == directReplyTo:
		return preconditionFailed("reply consumer already set")
	case taken:
		return failf(amqpwire.NotAllowed, "attempt to reuse consumer tag '%s'", tag)
	case n >= consumersMax:
		return failf(amqpwire.NotAllowed, "reached maximum (%d) of consumers per channel", consumersMax)
	case tag == "":
		tag = "amq.ctag-" + randomName()
	}
	if queue == directReplyTo {
		if queue, fail = ch.openReply(ctx, m); fail != nil {
			return fail
		}
	}
	info, err := c.s.k.Queue(c.vhost, queue, c.owner)
	if err != nil {
		return kernelFailure(err, c.queueName(queue))
	}
	priority, fail := consumerPriority(m.Arguments, c.queueName(queue))
	if fail != nil {
		return fail
	}
	cs := &consumer{tag: tag, prefetch: int(ch.prefetch), size: sizeGuess}
	cs.source = source{ch: ch, queue: queue, noAck: m.NoAck, count: quorum(info.Arguments), cons: cs}
	if queue != ch.reply {
		cs.address = message.FromAMQPKey(queue)
	}
	if m.NoAck {
		cs.size = sizeGuessNoAck
	}
	cs.body = cs.appendDeliver
	// No credit until the client knows its consumer tag.
	cs.att, err = c.s.k.Attach(ctx, kernel.AttachSpec{
		Namespace: c.vhost, Queue: queue, Owner: c.owner, Tag: tag, Exclusive: m.Exclusive, NoAck: m.NoAck, Priority: priority, Sink: cs,
	})
	switch {
	case fault.Is(err, fault.Locked):
		return failf(amqpwire.AccessRefused, "%s in exclusive use", c.queueName(queue))
	case err != nil:
		return kernelFailure(err, c.queueName(queue))
	}
	ch.count(&cs.source)
	if !m.NoWait {
		ch.send(&amqpwire.BasicConsumeOk{ConsumerTag: tag})
	}
	ch.mu.Lock()
	if cs.cancelled { // the queue has gone already, and the client was told
		ch.mu.Unlock()
		return nil
	}
	ch.consumers[tag] = cs
	for _, other := range ch.consumers { // a global prefetch is divided anew
		other.markLocked()
	}
	ch.mu.Unlock()
	return nil
}

// cancel ends a consumer; its deliveries may still be acknowledged.
func (ch *channel) cancel(ctx context.Context, tag string, noWait bool) *failure {
	ch.mu.Lock()
	cs := ch.consumers[tag]
	if cs != nil {
		delete(ch.consumers, tag)
		cs.cancelled = true
	}
	ch.mu.Unlock()
	if cs != nil {
		ch.uncount(&cs.source)
		if cs.queue == ch.reply {
			ch.closeReply(ctx)
		} else if err := cs.att.Cancel(ctx); err != nil && !fault.Is(err, fault.NotFound) {
			return kernelFailure(err, ch.c.queueName(cs.queue))
		}
	}
	if !noWait {
		ch.send(&amqpwire.BasicCancelOk{ConsumerTag: tag})
	}
	return nil
}

// ---- basic.get ---------------------------------------------------------------

// getter is an attachment that basic.get takes messages by; it is kept, as a client
// that gets once gets again.
type getter struct{ source }

type getKey struct {
	queue string
	noAck bool
}

// get takes one message.
func (ch *channel) get(ctx context.Context, m *amqpwire.BasicGet) *failure {
	c := ch.c
	queue, fail := ch.queueArg(m.Queue)
	if fail != nil {
		return fail
	}
	if f := c.forQueue(reads, acl.Read, queue); f != nil {
		return f
	}
	info, err := c.s.k.Queue(c.vhost, queue, c.owner)
	if err != nil {
		return kernelFailure(err, c.queueName(queue))
	}
	if info.SingleActive {
		return failf(amqpwire.ResourceLocked, "cannot obtain access to locked %s. basic.get operations are not supported by %s queues with single active consumer",
			c.queueName(queue), queueType(info.Arguments))
	}
	for range 2 { // a getter may have outlived its queue, of which there is a new one
		g, err := ch.getter(ctx, queue, m.NoAck, quorum(info.Arguments))
		if err != nil {
			return kernelFailure(err, c.queueName(queue))
		}
		got, err := g.att.Get(ctx)
		switch {
		case fault.Is(err, fault.NotFound):
			g.forget()
			continue
		case err != nil:
			return kernelFailure(err, c.queueName(queue))
		case !got:
			ch.send(&amqpwire.BasicGetEmpty{})
		}
		return nil
	}
	return failf(amqpwire.NotFound, "no %s", c.queueName(queue))
}

func (ch *channel) getter(ctx context.Context, queue string, noAck, count bool) (*getter, error) {
	key := getKey{queue, noAck}
	ch.mu.Lock()
	g, n := ch.getters[key], len(ch.getters)
	ch.mu.Unlock()
	if g != nil {
		return g, nil
	}
	if n >= gettersMax {
		return nil, fault.New(fault.Exhausted, "get", queue, "basic.get was used on %d queues", n)
	}
	g = &getter{source: source{ch: ch, queue: queue, noAck: noAck, count: count}}
	var err error
	g.att, err = ch.c.s.k.Attach(ctx, kernel.AttachSpec{
		Namespace: ch.c.vhost, Queue: queue, Owner: ch.c.owner, NoAck: noAck, Pull: true, Sink: g,
	})
	if err != nil {
		return nil, err
	}
	ch.count(&g.source)
	ch.mu.Lock()
	ch.getters[key] = g
	ch.mu.Unlock()
	return g, nil
}

// Deliver implements kernel.Sink.
func (g *getter) Deliver(d *kernel.Delivery) bool {
	ch := g.ch
	c := ch.c
	ch.mu.Lock()
	if ch.released {
		ch.mu.Unlock()
		return true // it is requeued with the rest
	}
	ch.tag++
	fits := c.out.Hold(func(dst []byte) []byte {
		exchange, key, content := g.content(d)
		dst = amqpwire.AppendGetOk(dst, ch.id, ch.tag, d.Redelivered, exchange, key, d.Ready)
		return amqpwire.AppendContent(dst, ch.id, content, d.Msg.Value, c.frameMax)
	})
	if !fits {
		ch.mu.Unlock()
		c.tooSlow()
		return true
	}
	if !g.noAck {
		ch.unacked.push(pending{tag: ch.tag, no: d.No, src: &g.source})
		g.outstanding++
	}
	tag := ch.tag
	ch.mu.Unlock()
	if c.s.cfg.Trace.On() {
		ch.traceDelivery(amqpwire.IDBasicGetOk, "", tag, d, g.noAck)
	}
	c.s.stats.Delivered.Add(1)
	c.s.stats.DeliveredBytes.Add(uint64(len(d.Msg.Value)))
	return true
}

// Gone implements kernel.Sink.
func (g *getter) Gone(reason kernel.GoneReason) {
	if reason == kernel.GoneClosing {
		g.ch.c.sendAway()
		return
	}
	g.forget()
}

func (g *getter) forget() {
	ch := g.ch
	ch.mu.Lock()
	key := getKey{g.queue, g.noAck}
	mine := ch.getters[key] == g
	if mine {
		delete(ch.getters, key)
	}
	ch.mu.Unlock()
	if mine {
		ch.uncount(&g.source)
	}
}

// ---- the end -----------------------------------------------------------------

// release lets go of everything that the channel has attached; what was not acknowledged
// goes back to its queues. It may be called again.
func (ch *channel) release(lost bool) {
	ch.mu.Lock()
	if ch.released {
		ch.mu.Unlock()
		return
	}
	ch.released = true
	var all []*source
	for _, cs := range ch.consumers {
		all = append(all, &cs.source)
	}
	for _, g := range ch.getters {
		all = append(all, &g.source)
	}
	attached := make(map[*source]bool, len(all))
	for _, src := range all {
		attached[src] = true
		ch.uncount(src)
	}
	// Consumers that were cancelled still hold what was not acknowledged.
	for _, p := range ch.unacked.all() {
		if !attached[p.src] {
			attached[p.src] = true
			all = append(all, p.src)
		}
	}
	ch.consumers, ch.getters, ch.unacked, ch.sum = nil, nil, unacked{}, 0
	ch.mu.Unlock()
	ch.keepsNone()

	ctx, cancel := releaseCtx()
	defer cancel()
	limit := make(chan struct{}, detachMost)
	var done sync.WaitGroup
	for _, src := range all {
		limit <- struct{}{}
		done.Go(func() {
			if err := src.att.Detach(ctx, lost); err != nil && !fault.Is(err, fault.NotFound) {
				ch.c.s.log.Warn("consumer not detached", "protocol", "amqp", "queue", src.queue, "err", err)
			}
			<-limit
		})
	}
	done.Wait()
	ch.closeReply(ctx)
}

// detachMost bounds the attachments of a channel that are given up side by side.
const detachMost = 64

// randomName is what the broker ends the names with that it makes up.
func randomName() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}
