package matrix

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/group"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/kernel/shard"
	msg "github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/record"
)

// What the script uses: streams by name with their partitions.
const (
	orders  = "orders"  // of three partitions, written in batches; trimmed
	plant   = "plant"   // captures plant/#, which the queue audit and the session get too
	latest  = "latest"  // compacted by key
	loose   = "loose"   // made by capture
	work    = "work"    // a queue; settled now and then
	audit   = "audit"   // a queue that nobody reads
	client  = "meter"   // a session
	billing = "billing" // a consumer group

	orderParts = 3
	keys       = 5
)

// script is one client that does a little of everything, in rounds. What is in one round
// is under way at once.
type script struct {
	node   *node
	model  *model
	enough func() bool // ends the script early

	under    sync.WaitGroup // requests without an answer
	seq      int
	captures bool // also into a stream that nobody made: where it ends is known until the first power loss
	work     *kerneltest.Inbox
	taken    *kernel.Attachment
	meter    *kerneltest.Inbox
	session  *kernel.Session
}

// run makes what is used, in the first life, and does some rounds. It ends early when the
// kernel has stopped.
func (s *script) run(ctx context.Context, from, rounds int) error {
	if s.captures = from == 0; s.captures {
		if err := s.setup(ctx); err != nil {
			return fmt.Errorf("setup: %w", err)
		}
	}
	if err := s.consume(ctx); err != nil {
		return fmt.Errorf("consume: %w", err)
	}
	for i := from; i < from+rounds; i++ {
		if s.node.Err() != nil || ctx.Err() != nil || s.enough() {
			break
		}
		if err := s.round(ctx, i); err != nil {
			return fmt.Errorf("round %d: %w", i, err)
		}
	}
	return nil
}

func (s *script) setup(ctx context.Context) error {
	for _, st := range []struct {
		name   string
		parts  int
		config map[string]string
	}{
		{orders, orderParts, nil},
		{plant, 1, nil},
		{latest, 1, map[string]string{"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.1", "segment.bytes": "2048"}},
	} {
		if err := s.createStream(ctx, st.name, st.parts, st.config); err != nil {
			return err
		}
	}
	s.model.stream(latest, 1).keyed = true
	s.model.stream(loose, 1).weak = true
	for _, name := range []string{work, audit} {
		if err := s.declareQueue(ctx, name); err != nil {
			return err
		}
	}
	if err := s.node.Bind(ctx, kernel.Binding{Namespace: "/", Source: "amq.topic", Destination: audit, Key: "plant.#"}); err != nil {
		return err
	}
	q := s.model.queue(sessionName(client))
	s.model.asks(&q.made)
	if err := s.connect(ctx); err != nil {
		return err
	}
	if _, errs := s.session.Subscribe(ctx, []kernel.Subscription{{Filter: "plant/#", QoS: 1}}); errs[0] != nil {
		return errs[0]
	}
	s.model.told(&q.made, nil)
	return nil
}

// consume attaches to a queue and opens the session.
func (s *script) consume(ctx context.Context) error {
	if err := s.connect(ctx); err != nil {
		return err
	}
	var err error
	s.work = kerneltest.NewInbox()
	s.taken, err = s.node.Attach(ctx, kernel.AttachSpec{Namespace: "/", Queue: work, Credit: 6, Refill: true, Sink: s.work})
	return err
}

// connect opens the session.
func (s *script) connect(ctx context.Context) (err error) {
	s.meter = kerneltest.NewInbox()
	s.session, _, err = s.node.OpenSession(ctx, sessionSpec(s.meter))
	if err == nil {
		s.session.Start()
	}
	return err
}

func sessionSpec(in *kerneltest.Inbox) kernel.SessionSpec {
	return kernel.SessionSpec{Namespace: "/", ClientID: client, Expiry: kernel.ExpiryNever, ReceiveMaximum: 1000, Sink: in}
}

func (s *script) createStream(ctx context.Context, name string, parts int, config map[string]string) error {
	st := s.model.stream(name, parts)
	s.model.asks(&st.made)
	_, err := s.node.CreateStream(ctx, kernel.StreamSpec{Namespace: "/", Address: name, Partitions: parts, Config: config})
	s.model.told(&st.made, err)
	return err
}

func (s *script) declareQueue(ctx context.Context, name string) error {
	q := s.model.queue(name)
	s.model.asks(&q.made)
	spec := kernel.QueueSpec{Namespace: "/", Name: name, Durable: true, MessageTTL: -1, MaxLength: -1, MaxLengthBytes: -1, DeliveryLimit: -1}
	_, _, err := s.node.DeclareQueue(ctx, spec)
	s.model.told(&q.made, err)
	return err
}

// round is some requests at once, then what needs their end. An error is one that a
// working disk would not give.
func (s *script) round(ctx context.Context, i int) error {
	for part := range orderParts {
		if (i+part)%2 == 0 {
			s.append(orders, part, 1+(i+part)%3, "")
		}
	}
	s.append(latest, 0, 1, fmt.Sprint("k", i%keys))
	for n := range 2 {
		s.publishPlant(n)
	}
	for range 2 {
		s.publishWork()
	}
	s.retain(i)
	s.commit()
	if i%3 == 0 && s.captures {
		s.capture()
	}
	s.under.Wait()
	s.settle()
	switch i % 8 {
	case 2:
		s.trim(ctx)
	case 3:
		s.node.time.Advance(1500 * time.Millisecond) // retention, and what else is due
	case 4:
		return s.makeAndDelete(ctx, i)
	case 6:
		s.session.Close(false, nil)
		return s.connect(ctx)
	}
	return nil
}

// next makes the next message, whose size differs from the last one's.
func (s *script) next(kind string) (*message, []byte) {
	s.seq++
	x := &message{id: fmt.Sprintf("%s/%d", kind, s.seq)}
	return x, []byte(x.id + " " + strings.Repeat("x", s.seq*37%260))
}

// append sends one batch as Kafka's clients do.
func (s *script) append(stream string, part, count int, key string) {
	st := s.model.stream(stream, 1)
	now := s.node.Now().UnixMilli()
	var b record.Builder
	b.Reset(nil, now)
	var all []*message
	for range count {
		x, value := s.next(stream)
		x.key = key
		var k []byte
		if key != "" {
			k = []byte(key)
		}
		b.Add(now, k, value)
		s.model.sends(x, st, part)
		all = append(all, x)
	}
	info, ok := s.node.Stream("/", stream)
	if !ok {
		return
	}
	p, err := s.node.Partition(info.ID, int32(part))
	if err != nil {
		return
	}
	s.under.Add(1)
	p.Append(b.Finish(), -1, appended(func(err error) {
		for _, x := range all {
			if s.model.sent(x, err); fault.Is(err, fault.Full) {
				s.model.refused(x)
			}
		}
		s.under.Done()
	}), 0)
}

type appended func(error)

func (f appended) Appended(_ uint64, r kernel.AppendResult) { f(r.Err) }

type published func(error)

func (f published) Published(_ uint64, r kernel.PublishResult) { f(r.Err) }

func (s *script) publish(p kernel.Publish, x *message, value []byte, answered func(error)) {
	s.under.Add(1)
	p.Namespace, p.Msg.Value, p.Msg.QoS = "/", value, 1
	p.Reply = published(func(err error) {
		answered(err)
		s.under.Done()
	})
	if s.node.Publish(&p) != nil { // the device is full
		s.model.refused(x)
		s.under.Done()
	}
}

// publishPlant is MQTT's: to a stream, a queue and a session.
func (s *script) publishPlant(n int) {
	x, value := s.next(plant)
	queues := []*queueModel{s.model.queue(audit), s.model.queue(sessionName(client))}
	s.model.sends(x, s.model.stream(plant, 1), 0, queues...)
	p := kernel.Publish{Msg: msg.Message{Source: msg.MQTT, Address: fmt.Sprintf("plant/m%d/temp", n)}}
	s.publish(p, x, value, func(err error) { s.model.sent(x, err, queues...) })
}

func (s *script) publishWork() {
	x, value := s.next(work)
	q := s.model.queue(work)
	s.model.sends(x, nil, 0, q)
	s.publish(kernel.Publish{ViaExchange: true, Key: work, Msg: msg.Message{Source: msg.AMQP, Address: work}}, x, value,
		func(err error) { s.model.sent(x, err, q) })
}

func (s *script) capture() {
	x, value := s.next(loose)
	st := s.model.stream(loose, 1)
	s.model.mu.Lock()
	if st.made.called == never {
		s.model.asksLocked(&st.made)
	}
	s.model.mu.Unlock()
	s.model.sends(x, st, 0)
	s.publish(kernel.Publish{Msg: msg.Message{Source: msg.MQTT, Address: "loose/a"}}, x, value, func(err error) { s.model.sent(x, err) })
}

// retain changes one of two retained values; every fifth time it is deleted.
func (s *script) retain(i int) {
	address := fmt.Sprintf("state/%d", i%2)
	x, _ := s.next("state")
	if i%5 == 4 {
		x.id = ""
	}
	s.model.mu.Lock()
	s.model.asksLocked(&x.promise)
	s.model.retained[address] = append(s.model.retained[address], x)
	s.model.mu.Unlock()
	s.publish(kernel.Publish{Msg: msg.Message{Source: msg.MQTT, Address: address, Retain: true}}, x, []byte(x.id),
		func(err error) { s.model.told(&x.promise, err) })
}

func (s *script) commit() {
	p := new(promise)
	s.model.mu.Lock()
	s.model.asksLocked(p)
	s.model.offsets[billing] = append(s.model.offsets[billing], p)
	at := int64(len(s.model.offsets[billing]))
	s.model.mu.Unlock()
	s.under.Add(1)
	c := &shard.GroupCommit{Generation: -1, Offsets: []shard.GroupOffset{{Topic: orders, Offset: group.Offset{Offset: at, LeaderEpoch: -1}}}}
	s.node.GroupCommit("/", billing, c, func(errs []group.Error, err error) {
		if err == nil && (len(errs) != 1 || errs[0] != group.OK) {
			err = fmt.Errorf("%v", errs)
		}
		s.model.told(p, err)
		s.under.Done()
	})
}

// settle takes what has come and settles two in three, some of it out of order.
func (s *script) settle() {
	q := s.model.queue(work)
	for n := 0; ; n++ {
		d, ok := s.work.Poll()
		if !ok {
			break
		}
		if n%3 == 2 {
			s.taken.Settle(d.No, false, kernel.Requeue)
			continue
		}
		s.model.settles(q, d.ID)
		s.taken.Settle(d.No, false, kernel.Accept)
		if n > 12 {
			break // what is sent back comes again
		}
	}
	q = s.model.queue(sessionName(client))
	for n := 0; ; n++ {
		d, ok := s.meter.Poll()
		if !ok {
			break
		}
		if n%4 == 3 {
			continue // remains under way
		}
		s.model.settles(q, d.ID)
		s.session.Ack(d.Packet, true)
	}
}

// trim lets go of the older half of one partition.
func (s *script) trim(ctx context.Context) {
	st := s.model.stream(orders, orderParts)
	info, ok := s.node.Stream("/", orders)
	if !ok {
		return
	}
	part, err := s.node.Partition(info.ID, 0)
	if err != nil {
		return
	}
	t := trim{promise: new(promise), to: part.Info().End / 2}
	s.model.mu.Lock()
	s.model.asksLocked(t.promise)
	st.trims = append(st.trims, t)
	s.model.mu.Unlock()
	_, err = part.Trim(ctx, t.to)
	s.model.told(t.promise, err)
}

// makeAndDelete makes a stream and a queue with something in them, and deletes those of
// the time before.
func (s *script) makeAndDelete(ctx context.Context, i int) error {
	stream, queue := fmt.Sprintf("short%d", i), fmt.Sprintf("brief%d", i)
	if err := s.createStream(ctx, stream, 1, nil); err != nil {
		return err
	}
	if err := s.declareQueue(ctx, queue); err != nil {
		return err
	}
	s.append(stream, 0, 4, "")
	x, value := s.next(queue)
	q := s.model.queue(queue)
	s.model.sends(x, nil, 0, q)
	s.publish(kernel.Publish{ViaExchange: true, Key: queue, Msg: msg.Message{Source: msg.AMQP, Address: queue}}, x, value,
		func(err error) { s.model.sent(x, err, q) })
	s.under.Wait()
	if i < 8 {
		return nil
	}
	stream, queue = fmt.Sprintf("short%d", i-8), fmt.Sprintf("brief%d", i-8)
	st, q := s.model.stream(stream, 1), s.model.queue(queue)
	s.model.asks(&st.deleted)
	err := s.node.DeleteStream(ctx, "/", stream)
	s.model.told(&st.deleted, err)
	if err != nil {
		return err
	}
	s.model.asks(&q.deleted)
	_, err = s.node.DeleteQueue(ctx, "/", queue, 0, false, false)
	s.model.told(&q.deleted, err)
	return err
}
