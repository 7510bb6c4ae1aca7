package testkit

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/adminapi/declare"
	"github.com/robustmq/rmq/broker/amqp"
	"github.com/robustmq/rmq/broker/amqpwire"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/group"
	"github.com/robustmq/rmq/broker/kernel/shard"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/mqtt"
	"github.com/robustmq/rmq/broker/mqttwire"
	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/fixtures"
)

// Fixture has the broker hold what a fixture says, before the test goes on: a built-in one by
// its name ("iot-fleet"), or a file by its path. set changes parameters: "devices=10".
func Fixture(name string, set ...string) Option {
	return func(c *config) { c.fixtures = append(c.fixtures, fixture{name, set}) }
}

type fixture struct {
	name string
	set  []string
}

// load puts the fixtures of the options into the broker.
func (b *Broker) load(ctx context.Context) error {
	for _, x := range b.cfg.fixtures {
		set := map[string]string{}
		for _, s := range x.set {
			name, value, ok := strings.Cut(s, "=")
			if !ok {
				return fmt.Errorf("fixture %s: %q is not name=value", x.name, s)
			}
			set[name] = value
		}
		f, err := fixtures.Open(x.name, set)
		if err != nil {
			return err
		}
		s, err := f.Apply(ctx, &loader{b: b, at: map[*kernel.Partition]*record.Builder{}, next: map[string]int{}}, fixtures.Options{Now: b.Clock.Now()})
		if err != nil {
			return fmt.Errorf("fixture %s: %w", x.name, err)
		}
		b.events.add("fixture", "%s: %s", s.Name, s)
	}
	b.cfg.fixtures = nil // a restart has them on its disk
	return nil
}

// loader puts a fixture into the kernel as clients would over its protocols, without one. It
// implements fixtures.Target.
type loader struct {
	b    *Broker
	at   map[*kernel.Partition]*record.Builder // records that are not sent yet
	next map[string]int                        // of each topic: the partition for a record without a key
	tx   bool
	held []kernel.Publish // of the transaction

	mqtt mqtt.Inbound
	amqp amqp.Inbound

	waiting sync.WaitGroup
	mu      sync.Mutex
	err     error // the first
}

func (l *loader) Declare(ctx context.Context, f *fixtures.Fixture) error {
	return declare.All(ctx, l.b.broker.Admin(), defaultNamespace, f)
}

func (l *loader) Session(ctx context.Context, s fixtures.Session) error {
	expiry := uint32(kernel.ExpiryNever)
	if s.Expiry != fixtures.ExpiryNever {
		expiry = uint32(s.Expiry / time.Second)
	}
	session, _, err := l.b.Kernel().OpenSession(ctx, kernel.SessionSpec{
		Namespace: defaultNamespace, ClientID: s.Client, Expiry: expiry, ReceiveMaximum: 1, Sink: away{},
	})
	if err != nil {
		return err
	}
	defer session.Close(false, nil)
	var subs []kernel.Subscription
	for _, x := range s.Subscribe {
		subs = append(subs, kernel.Subscription{Filter: x.Filter, QoS: x.QoS, RetainHandling: 2})
	}
	_, errs := session.Subscribe(ctx, subs)
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// away is a client that is not there: its session is never started.
type away struct{}

func (away) Deliver(*kernel.Delivery) bool { return true }
func (away) Gone(kernel.GoneReason)        {}

func (l *loader) Send(ctx context.Context, m *fixtures.Message) error {
	now := l.b.Clock.Now().UnixMilli()
	switch m.To.Protocol {
	case fixtures.Kafka:
		return l.append(ctx, m)
	case fixtures.MQTT:
		p := mqttwire.Publish{QoS: m.QoS, Retain: m.Retain, Topic: []byte(m.To.Topic), Payload: bytes.Clone(m.Value), Properties: mqttProperties(m)}
		out := kernel.Publish{Namespace: defaultNamespace}
		if err := l.mqtt.Message(&out.Msg, &p, m.To.Topic, now); err != nil {
			return err
		}
		return l.publish(ctx, &out)
	}
	exchange, key := m.To.Exchange, m.To.Key
	if m.To.Queue != "" {
		exchange, key = "", m.To.Queue
	}
	props := amqpProperties(m)
	out := kernel.Publish{Namespace: defaultNamespace, ViaExchange: true, Exchange: exchange, Key: key}
	if err := l.amqp.Message(&out.Msg, exchange, key, &props, l.b.Clock.Now); err != nil {
		return err
	}
	out.Msg.Value = append([]byte{}, m.Value...)
	if l.tx {
		out.Msg = out.Msg.Clone()
		l.held = append(l.held, out)
		return nil
	}
	return l.publish(ctx, &out)
}

func (l *loader) publish(ctx context.Context, p *kernel.Publish) error {
	l.waiting.Add(1)
	p.Reply = l
	if err := l.b.Kernel().PublishWait(ctx, p); err != nil {
		l.waiting.Done()
		return err
	}
	return nil
}

// Published implements kernel.Publisher.
func (l *loader) Published(_ uint64, r kernel.PublishResult) {
	switch {
	case r.Err != nil:
		l.fail(r.Err)
	case r.NoExchange:
		l.fail(fault.New(fault.NotFound, "publish", "", "no such exchange"))
	case r.Rejected:
		l.fail(fault.New(fault.Exhausted, "publish", "", "a queue is full"))
	}
	l.waiting.Done()
}

func (l *loader) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
	}
}

// batchBytes is how large a batch of records grows before it is sent.
const batchBytes = 64 << 10

// append adds a record to the batch of its partition.
func (l *loader) append(ctx context.Context, m *fixtures.Message) error {
	k := l.b.Kernel()
	address := message.FromKafkaName(m.To.Topic)
	st, ok := k.Stream(defaultNamespace, address)
	if !ok {
		var err error
		if st, err = k.CreateStream(ctx, kernel.StreamSpec{Namespace: defaultNamespace, Address: address, Partitions: 1}); err != nil {
			return err
		}
	}
	n := len(st.Parts)
	at := m.To.Partition
	switch {
	case at >= 0:
	case m.Key != nil:
		at = fixtures.PartitionOf(m.Key, n)
	default:
		at = int32(l.next[address] % n)
		l.next[address]++
	}
	p, err := k.Partition(st.ID, at)
	if err != nil {
		return err
	}
	b := l.at[p]
	if b == nil {
		b = new(record.Builder)
		l.at[p] = b
	}
	if b.Count() == 0 {
		b.Reset(nil, m.Time.UnixMilli())
	}
	var headers []message.Header
	add := func(name string, value []byte) {
		headers = append(headers, message.Header{Name: name, Value: value})
	}
	for _, h := range m.Properties {
		add(h.Name, h.Value)
	}
	if m.Retain {
		add(message.RmqRetain, []byte("1"))
	}
	if m.Priority != 0 {
		add(message.Priority, strconv.AppendUint(nil, uint64(m.Priority), 10))
	}
	if m.Expires > 0 {
		add(message.ExpiresAt, strconv.AppendInt(nil, l.b.Clock.Now().Add(m.Expires).UnixMilli(), 10))
	}
	for _, h := range m.Headers {
		add(h.Name, h.Value)
	}
	b.Add(m.Time.UnixMilli(), m.Key, m.Value, headers...)
	if b.Len() < batchBytes {
		return nil
	}
	return l.sendBatch(ctx, p, b)
}

func (l *loader) sendBatch(ctx context.Context, p *kernel.Partition, b *record.Builder) error {
	batch := b.Finish()
	*b = record.Builder{}
	l.waiting.Add(1)
	if err := p.AppendWait(ctx, batch, -1, l, 0); err != nil {
		l.waiting.Done()
		return err
	}
	return nil
}

// Appended implements kernel.Appended.
func (l *loader) Appended(_ uint64, r kernel.AppendResult) {
	if r.Err != nil {
		l.fail(r.Err)
	}
	l.waiting.Done()
}

func (l *loader) Flush(ctx context.Context) error {
	for p, b := range l.at {
		if b.Count() > 0 {
			if err := l.sendBatch(ctx, p, b); err != nil {
				return err
			}
		}
	}
	l.waiting.Wait()
	l.mu.Lock()
	err := l.err
	l.mu.Unlock()
	if err != nil {
		return err
	}
	return l.b.Kernel().Settle(ctx) // dead letters are where they belong, and what nobody acknowledges is there
}

func (l *loader) Begin(context.Context) error {
	l.tx, l.held = true, l.held[:0]
	return nil
}

func (l *loader) Commit(ctx context.Context) error {
	l.tx = false
	ps := make([]*kernel.Publish, len(l.held))
	for i := range l.held {
		ps[i] = &l.held[i]
	}
	_, err := l.b.Kernel().Commit(ctx, ps, nil)
	return err
}

func (l *loader) Abort(context.Context) error {
	l.tx = false
	return nil
}

func (l *loader) Group(ctx context.Context, g fixtures.Group) error {
	at, ok := l.b.Topic(g.Topic).place()
	if !ok {
		return fault.New(fault.NotFound, "commit offsets", g.Topic, "no such topic")
	}
	c := &shard.GroupCommit{Generation: -1}
	for _, p := range at.Parts {
		i := p.Info()
		c.Offsets = append(c.Offsets, shard.GroupOffset{
			Topic: g.Topic, Partition: i.Index, Offset: group.Offset{Offset: max(i.Start, i.End-g.Behind), LeaderEpoch: -1, CommittedAt: l.b.Clock.Now().UnixMilli()},
		})
	}
	// Its coordinator is the node that leads the group's shard.
	k := l.b.Kernel()
	if n := l.b.node; n != nil {
		for _, other := range n.c.kernels() {
			if other.Leads(other.GroupShard(defaultNamespace, g.Name)) {
				k = other
			}
		}
	}
	done := make(chan error, 1)
	k.GroupCommit(defaultNamespace, g.Name, c, func(errs []group.Error, err error) {
		for _, e := range errs {
			if e != 0 && err == nil {
				err = fault.New(fault.Conflict, "commit offsets", g.Name, "group error %d", e)
			}
		}
		done <- err
	})
	return <-done
}

func mqttProperties(m *fixtures.Message) (ps mqttwire.Properties) {
	user := func(name string, value []byte) { ps = ps.User(name, string(value)) }
	for _, p := range m.Properties {
		switch p.Name {
		case message.ContentType:
			ps = ps.String(mqttwire.ContentType, string(p.Value))
		case message.ReplyTo:
			ps = ps.String(mqttwire.ResponseTopic, string(p.Value))
		case message.CorrelationID:
			ps = ps.Binary(mqttwire.CorrelationData, p.Value)
		default:
			user(p.Name, p.Value)
		}
	}
	if m.Key != nil {
		user(message.RmqKey, m.Key)
	}
	if m.Priority != 0 {
		user(message.Priority, strconv.AppendUint(nil, uint64(m.Priority), 10))
	}
	if m.Expires > 0 {
		ps = ps.Uint32(mqttwire.MessageExpiry, uint32(max(1, (m.Expires+time.Second-1)/time.Second)))
	}
	for _, h := range m.Headers {
		user(h.Name, h.Value)
	}
	return ps
}

func amqpProperties(m *fixtures.Message) (ps amqpwire.Properties) {
	ps = amqpwire.Properties{Flags: amqpwire.FlagDeliveryMode | amqpwire.FlagPriority, DeliveryMode: 2, Priority: m.Priority}
	if m.QoS == 0 {
		ps.DeliveryMode = 1
	}
	set := func(flag uint16, dst *[]byte, value []byte) { ps.Flags |= flag; *dst = bytes.Clone(value) }
	for _, p := range m.Properties {
		switch p.Name {
		case message.ContentType:
			set(amqpwire.FlagContentType, &ps.ContentType, p.Value)
		case message.ContentEncoding:
			set(amqpwire.FlagContentEncoding, &ps.ContentEncoding, p.Value)
		case message.CorrelationID:
			set(amqpwire.FlagCorrelationID, &ps.CorrelationID, p.Value)
		case message.ReplyTo:
			set(amqpwire.FlagReplyTo, &ps.ReplyTo, p.Value)
		case message.MessageID:
			set(amqpwire.FlagMessageID, &ps.MessageID, p.Value)
		case message.Type:
			set(amqpwire.FlagType, &ps.Type, p.Value)
		case message.AppID:
			set(amqpwire.FlagAppID, &ps.AppID, p.Value)
		}
	}
	if m.Expires > 0 {
		set(amqpwire.FlagExpiration, &ps.Expiration, fmt.Append(nil, m.Expires.Milliseconds()))
	}
	var table amqpwire.Table
	add := func(name string, v amqpwire.Value) { table = append(table, amqpwire.Field{Name: name, Value: v}) }
	if m.Key != nil {
		add(message.RmqKey, amqpwire.BytesOf(bytes.Clone(m.Key)))
	}
	if m.Retain {
		add(message.RmqRetain, amqpwire.Bool(true))
	}
	for _, h := range m.Headers {
		add(h.Name, amqpwire.String(string(h.Value)))
	}
	if len(table) > 0 {
		set(amqpwire.FlagHeaders, &ps.Headers, table.Append(nil)[4:])
	}
	return ps
}

var _ fixtures.Target = (*loader)(nil)
