package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/record"
)

// Names of what clients use. The first client of a life makes what is missing.
var (
	topics = []string{"orders", "plant"} // declared, with three partitions and one
	queues = []string{"work", "audit"}   // audit is bound to everything under plant
)

const (
	loose    = "loose" // made by capture
	sessions = 2       // clients that have a session, subscribed to everything under plant
	window   = 8       // publishes of a client that are not answered
)

// setup makes streams and queues, unless an earlier life has.
func (s *sim) setup(ctx context.Context, n *node) error {
	for i, name := range topics {
		if _, ok := n.Stream("/", name); ok {
			continue
		}
		if _, err := n.CreateStream(ctx, kernel.StreamSpec{Namespace: "/", Address: name, Partitions: 3 - 2*i}); err != nil {
			return err
		}
	}
	if err := errors.Join(createLatest(ctx, n), createRing(ctx, n), createLesser(ctx, n)); err != nil {
		return err
	}
	for _, name := range everyQueue() {
		spec := kernel.QueueSpec{Namespace: "/", Name: name, Durable: true, Durability: durabilityOf(name), MessageTTL: -1, MaxLength: -1, MaxLengthBytes: -1, DeliveryLimit: -1}
		if _, _, err := n.DeclareQueue(ctx, spec); err != nil {
			return err
		}
		s.model.mu.Lock()
		s.model.queue(name)
		s.model.mu.Unlock()
	}
	return n.Bind(ctx, kernel.Binding{Namespace: "/", Source: "amq.topic", Destination: "audit", Key: "plant.#"})
}

// clients runs all clients of a life until they are done or the power is off.
func (s *sim) clients(n *node, life, ops int, seeds []uint64) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.opt.Patience)
	defer cancel()
	if err := s.setup(ctx, n); err != nil {
		if n.disk.stopped() {
			return nil
		}
		return fmt.Errorf("setup: %w", err)
	}
	var wg sync.WaitGroup
	for i, seed := range seeds {
		c := &client{sim: s, node: n, name: fmt.Sprintf("c%d.%d", i, life), number: i, ops: ops, rand: rand.New(rand.NewPCG(seed, 1))}
		c.room.L = &c.mu
		wg.Go(func() { c.publish(ctx) })
		if i < len(s.exact) {
			wg.Go(func() { c.exactly(ctx, s.exact[i]) })
		}
		if ops == 0 {
			continue
		}
		wg.Go(func() { c.commitOffsets(ctx) })
		wg.Go(func() { c.consume(ctx) })
		if i < sessions {
			wg.Go(func() { c.subscribe(ctx) })
		}
		if i == 0 {
			wg.Go(func() { c.overwrite(ctx, rand.New(rand.NewPCG(seed, 2))) })
			wg.Go(func() { c.appendRing(ctx, rand.New(rand.NewPCG(seed, 3))) })
		}
	}
	done := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() { // ends with the clients
		select {
		case <-n.disk.dark: // nobody lives to be told more
			_ = n.Kernel.Close(ctx)
			for _, x := range s.exact { // what may be stored is not answered any more
				x.mu.Lock()
				x.changed.Broadcast()
				x.mu.Unlock()
			}
		case <-done:
		}
	})
	wg.Wait()
	close(done)
	watch.Wait()
	failed := n.Err()
	s.model.mu.Lock()
	defer s.model.mu.Unlock()
	if s.model.broken == nil && failed != nil && !n.disk.stopped() {
		return failed
	}
	return s.model.broken
}

// client publishes to everything, and consumes from one queue.
type client struct {
	sim    *sim
	node   *node
	name   string
	number int
	ops    int
	rand   *rand.Rand // of publish
	seq    int

	mu      sync.Mutex
	room    sync.Cond
	pending int
	tags    []func(err error) // by tag
}

// await takes a place in the window and returns the tag under which the answer is
// to come.
func (c *client) await(answered func(err error)) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.pending >= window {
		c.room.Wait()
	}
	c.pending++
	c.tags = append(c.tags, answered)
	return uint64(len(c.tags) - 1)
}

func (c *client) answer(tag uint64, err error) {
	c.mu.Lock()
	f := c.tags[tag]
	c.tags[tag] = nil
	c.mu.Unlock()
	m := c.sim.model
	m.mu.Lock()
	m.tick++
	if f == nil {
		m.breach("%s: tag %d is answered twice", c.name, tag)
	} else {
		f(err)
	}
	m.mu.Unlock()
	c.mu.Lock()
	c.pending--
	c.room.Broadcast()
	c.mu.Unlock()
}

func (c *client) Published(tag uint64, r kernel.PublishResult) { c.answer(tag, r.Err) }
func (c *client) Appended(tag uint64, r kernel.AppendResult)   { c.answer(tag, r.Err) }

// message makes the next message of a producer, known to the model as sent.
func (c *client) message(producer string, into ...map[string]*sent) *sent {
	m := c.sim.model
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tick++
	c.seq++
	x := &sent{id: fmt.Sprintf("%s/%d", producer, c.seq), producer: producer, seq: c.seq, called: m.tick}
	for _, i := range into {
		i[x.id] = x
	}
	c.sim.report.Published++
	return x
}

// fill pads a value, so that logs fill up and messages differ in size.
func (c *client) fill(id string) []byte { return fill(id, c.rand.IntN(200)) }

func fill(id string, size int) []byte { return []byte(id + " " + strings.Repeat("x", size)) }

func (c *client) acked(x *sent, queues ...string) func(error) {
	return func(err error) {
		if err != nil {
			return
		}
		m := c.sim.model
		x.acked, x.answered, x.at = true, m.tick, c.node.Now().UnixMilli()
		c.sim.report.Acknowledged++
		for _, q := range queues {
			qm := m.queue(q)
			qm.sure = max(qm.sure, x.called)
		}
	}
}

// toPlant makes a message to plant, which is to reach its stream, a queue that is bound to
// it and the sessions that were subscribed to it before.
func (c *client) toPlant(producer string) (*sent, func(error)) {
	m := c.sim.model
	m.mu.Lock()
	st, q := m.stream("plant").sent, m.queue("audit").sent
	m.mu.Unlock()
	x := c.message(producer, st, q)
	all := []func(error){c.acked(x, "audit")}
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, since := range m.sessions {
		y := *x // may be acknowledged without being due to the session
		m.queue("session:" + name).sent[x.id] = &y
		if since > 0 && x.called > since {
			all = append(all, c.acked(&y, "session:"+name))
		}
	}
	return x, func(err error) {
		for _, f := range all {
			f(err)
		}
	}
}

func (c *client) publish(ctx context.Context) {
	m := c.sim.model
	p := c.sim.producers[c.number]
	c.resend(ctx, p)
	for range c.ops {
		if c.node.disk.stopped() || ctx.Err() != nil {
			break
		}
		if c.rand.IntN(8) == 0 {
			c.node.time.Advance(time.Duration(c.rand.IntN(20)) * time.Millisecond)
		}
		switch c.rand.IntN(7) {
		case 0: // a stream, and a queue that is bound to it
			x, acked := c.toPlant(c.name + "-plant")
			c.do(kernel.Publish{Msg: message.Message{Source: message.MQTT, Address: fmt.Sprintf("plant/m%d/temp", c.rand.IntN(4)), QoS: 1}}, c.fill(x.id), acked)
		case 1: // a queue
			m.mu.Lock()
			q := m.queue("work").sent
			m.mu.Unlock()
			x := c.message(c.name+"-work", q)
			c.send(kernel.Publish{ViaExchange: true, Key: "work", Msg: message.Message{Source: message.AMQP, Address: "work", QoS: 1}}, x, "work")
		case 2: // captured
			m.mu.Lock()
			st := m.stream(loose)
			m.mu.Unlock()
			x := c.message(c.name+"-loose", st.sent)
			c.send(kernel.Publish{Msg: message.Message{Source: message.MQTT, Address: fmt.Sprintf("loose/m%d", c.number), QoS: 1}}, x)
		case 3: // a retained value; each client has addresses of its own
			address := fmt.Sprintf("state/c%d/%d", c.number, c.rand.IntN(2))
			m.mu.Lock()
			r := m.retained[address]
			if r == nil {
				r = new(retainedModel)
				m.retained[address] = r
			}
			m.mu.Unlock()
			x := c.message(c.name + "-state")
			m.mu.Lock()
			r.sent = append(r.sent, x)
			at := len(r.sent)
			m.mu.Unlock()
			p := kernel.Publish{Msg: message.Message{Source: message.MQTT, Address: address, QoS: 1, Retain: true}}
			c.do(p, []byte(x.id), func(err error) {
				if err == nil {
					r.acked = max(r.acked, at)
				}
			})
		case 4: // batches, as Kafka sends them
			c.append(p)
		case 5: // a stream that promises less
			l := lesser[c.rand.IntN(len(lesser))]
			m.mu.Lock()
			st := m.stream(l.stream).sent
			m.mu.Unlock()
			x := c.message(c.name+"-"+l.stream, st)
			c.send(kernel.Publish{Msg: message.Message{Source: message.MQTT, Address: fmt.Sprintf("%s/m%d", l.stream, c.rand.IntN(4)), QoS: 1}}, x)
		case 6: // a queue that does
			l := lesser[c.rand.IntN(len(lesser))]
			m.mu.Lock()
			q := m.queue(l.queue).sent
			m.mu.Unlock()
			x := c.message(c.name+"-"+l.queue, q)
			c.send(kernel.Publish{ViaExchange: true, Key: l.queue, Msg: message.Message{Source: message.AMQP, Address: l.queue, QoS: 1}}, x, l.queue)
		}
	}
	c.mu.Lock()
	for c.pending > 0 {
		c.room.Wait()
	}
	c.mu.Unlock()
}

func (c *client) send(p kernel.Publish, x *sent, queues ...string) {
	c.do(p, c.fill(x.id), c.acked(x, queues...))
}

func (c *client) do(p kernel.Publish, value []byte, answered func(error)) {
	p.Namespace, p.Msg.Value = "/", value
	p.Reply, p.Tag = c, c.await(answered)
	c.node.Publish(&p)
}

// producer is an idempotent producer of one partition of orders. It outlives the
// lives of the broker: what it is unsure of it sends again.
type producer struct {
	id        int64
	partition int32
	seq       int32
	unsure    []batch // oldest first
}

type batch struct {
	bytes record.Batch
	all   []*sent
}

// unsureMax is how many batches of a producer the broker remembers.
const unsureMax = 5

// resend sends again what the producer is unsure of, in order.
func (c *client) resend(ctx context.Context, p *producer) {
	if p.id < 0 {
		id, _, err := c.node.AllocateProducer(ctx)
		if err != nil {
			return
		}
		p.id = id
	}
	c.sim.model.mu.Lock()
	again := slices.Clone(p.unsure)
	c.sim.report.Resent += len(again)
	c.sim.model.mu.Unlock()
	for _, b := range again {
		c.hand(p, b)
	}
}

// append makes one batch of a few records and hands it over.
func (c *client) append(p *producer) {
	m := c.sim.model
	m.mu.Lock()
	full := p.id < 0 || len(p.unsure) >= unsureMax
	m.mu.Unlock()
	if full {
		return
	}
	var rb record.Builder
	rb.Reset(nil, c.node.Now().UnixMilli())
	var b batch
	for range 1 + c.rand.IntN(4) {
		m.mu.Lock()
		st := m.stream("orders").sent
		m.mu.Unlock()
		x := c.message(c.name+"-orders", st)
		b.all = append(b.all, x)
		rb.Add(c.node.Now().UnixMilli(), nil, c.fill(x.id))
	}
	b.bytes = rb.Finish()
	b.bytes.SetProducer(p.id, 0, p.seq)
	p.seq += int32(len(b.all))
	m.mu.Lock()
	p.unsure = append(p.unsure, b)
	m.mu.Unlock()
	c.hand(p, b)
}

// hand hands a batch over. It is sure once it is answered well.
func (c *client) hand(p *producer, b batch) {
	info, ok := c.node.Stream("/", "orders")
	if !ok {
		return
	}
	part, err := c.node.Partition(info.ID, p.partition)
	if err != nil {
		return
	}
	part.Append(slices.Clone(b.bytes), -1, c, c.await(func(err error) {
		if fault.Is(err, fault.OutOfOrder) || fault.Is(err, fault.Fenced) {
			c.sim.model.breach("producer %d of partition %d, batch of sequence %d: %v", p.id, p.partition, b.bytes.BaseSequence(), err)
		}
		for _, x := range b.all {
			c.acked(x)(err)
		}
		if err == nil {
			p.unsure = slices.DeleteFunc(p.unsure, func(u batch) bool { return u.bytes.BaseSequence() == b.bytes.BaseSequence() })
		}
	}))
}

// consume takes messages off one queue, settles most of them, returns some and
// keeps the rest.
func (c *client) consume(ctx context.Context) {
	r := rand.New(rand.NewPCG(uint64(c.number), c.sim.seed))
	name := everyQueue()[c.number%len(everyQueue())]
	sink := kerneltest.NewInbox()
	a, err := c.node.Attach(ctx, kernel.AttachSpec{Namespace: "/", Queue: name, Credit: 10, Refill: true, Sink: sink})
	if err != nil {
		return
	}
	m := c.sim.model
	for range c.ops / 2 {
		d, ok := sink.Poll()
		if !ok {
			if c.node.disk.stopped() || ctx.Err() != nil {
				return
			}
			// Nothing is ready: look again after somebody has published.
			if c.idle() {
				break
			}
			continue
		}
		m.mu.Lock()
		m.tick++
		q := m.queue(name)
		at, settled := q.settled[d.ID]
		switch {
		case q.sent[d.ID] == nil:
			m.breach("queue %s delivers %q, which nobody sent", name, d.ID)
		case settled && at < q.sure:
			m.breach("queue %s delivers %s to %s as %d (redelivered %v), which was settled at %d, sure %d: %v", name, d.ID, c.name, d.No, d.Redelivered, at, q.sure, m.history[d.ID])
		}
		c.sim.report.Delivered++
		m.history[d.ID] = append(m.history[d.ID], fmt.Sprintf("%d: to %s as %d", m.tick, c.name, d.No))
		m.mu.Unlock()
		switch n := r.IntN(10); {
		case n < 6:
			m.mu.Lock()
			m.tick++
			q.settled[d.ID] = perhaps
			m.mu.Unlock()
			a.Settle(d.No, false, kernel.Accept)
			m.mu.Lock()
			m.tick++
			q.settled[d.ID] = m.tick
			m.history[d.ID] = append(m.history[d.ID], fmt.Sprintf("%d: settled by %s", m.tick, c.name))
			c.sim.report.Settled++
			m.mu.Unlock()
		case n < 8:
			a.Settle(d.No, false, kernel.Requeue)
		}
	}
	if r.IntN(2) == 0 {
		_ = a.Detach(ctx, r.IntN(2) == 0)
	}
}

func sessionSpec(name string, in *kerneltest.Inbox) kernel.SessionSpec {
	return kernel.SessionSpec{Namespace: "/", ClientID: name, Expiry: kernel.ExpiryNever, ReceiveMaximum: 10, Sink: in}
}

// subscribe is the MQTT client: it has a session that outlives the broker's lives,
// acknowledges most of what comes, and goes away now and then.
func (c *client) subscribe(ctx context.Context) {
	m := c.sim.model
	r := rand.New(rand.NewPCG(uint64(c.number), c.sim.seed+1))
	name := fmt.Sprintf("s%d", c.number)
	m.mu.Lock()
	since := m.sessions[name]
	q := m.queue("session:" + name)
	m.mu.Unlock()
	in := kerneltest.NewInbox()
	s, present, err := c.node.OpenSession(ctx, sessionSpec(name, in))
	if err != nil {
		return
	}
	if since > 0 && !present {
		m.mu.Lock()
		m.breach("session %s is gone", name)
		m.mu.Unlock()
		return
	}
	if since == 0 {
		if _, errs := s.Subscribe(ctx, []kernel.Subscription{{Filter: "plant/#", QoS: 1}}); errs[0] != nil {
			return
		}
		m.mu.Lock()
		m.tick++
		m.sessions[name] = m.tick
		m.mu.Unlock()
	}
	s.Start()
	for range c.ops {
		d, ok := in.Poll()
		if !ok {
			if c.node.disk.stopped() || ctx.Err() != nil {
				return
			}
			if c.idle() {
				break
			}
			continue
		}
		m.mu.Lock()
		m.tick++
		at, settled := q.settled[d.ID]
		switch {
		case q.sent[d.ID] == nil:
			m.breach("session %s is delivered %q, which nobody sent", name, d.ID)
		case settled && at < q.sure:
			m.breach("session %s is delivered %s as %d to %s (again %v), which it has acknowledged at %d, sure %d: %v", name, d.ID, d.Packet, c.name, d.Redelivered, at, q.sure, m.history[name+d.ID])
		}
		c.sim.report.Delivered++
		m.history[name+d.ID] = append(m.history[name+d.ID], fmt.Sprintf("%d: to %s as %d", m.tick, c.name, d.Packet))
		m.mu.Unlock()
		if d.Packet == 0 || r.IntN(10) == 0 {
			continue // keeps it under way
		}
		m.mu.Lock()
		q.settled[d.ID] = perhaps
		m.mu.Unlock()
		s.Ack(d.Packet, true)
		m.mu.Lock()
		m.tick++
		q.settled[d.ID] = m.tick
		c.sim.report.Settled++
		m.mu.Unlock()
	}
	if r.IntN(2) == 0 {
		s.Close(false, nil)
	}
}

// idle waits until a publish of this client is answered; true: none will be.
func (c *client) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pending == 0 {
		return true
	}
	c.room.Wait()
	return false
}
