package link

import (
	"bytes"
	"context"
	"hash/fnv"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/eclipse/paho.golang/paho"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/adminapi/declare"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/fixtures"
)

// Loader puts fixtures into a broker: what holds messages by its administration API, sessions
// and messages over its protocols. It implements fixtures.Target.
type Loader struct {
	admin *adminapi.Client
	urls  adminapi.URLs
	base  Target // user and password
	o     Options

	conns     int                   // for MQTT
	producers map[string][]Producer // by protocol
	tx        *amqpTx

	mu      sync.Mutex
	idle    sync.Cond
	waiting int // messages without an answer
	err     error
}

// MQTT messages go over several connections, by their topic: each may have but so many that the
// broker has not acknowledged.
const (
	loaderConns  = 2
	bulkConns    = 16 // of a fixture of bulkMessages and more
	bulkMessages = 20_000
)

// NewLoader makes a loader of a broker. base has the user and password of its protocols.
func NewLoader(admin *adminapi.Client, urls adminapi.URLs, base Target, o Options) *Loader {
	l := &Loader{admin: admin, urls: urls, base: base, o: o, conns: loaderConns, producers: map[string][]Producer{}}
	l.idle.L = &l.mu
	return l
}

// now is the broker's time.
func (l *Loader) now(ctx context.Context) (time.Time, error) {
	s, err := l.admin.Status(ctx)
	return s.Started.Add(time.Duration(s.Uptime * float64(time.Second))), err
}

// Close waits for what is under way and leaves.
func (l *Loader) Close(ctx context.Context) error {
	var first error
	for _, protocol := range []string{MQTT, Kafka, AMQP} {
		for _, p := range l.producers[protocol] {
			if err := p.Close(ctx); err != nil && first == nil {
				first = err
			}
		}
	}
	if l.tx != nil {
		l.tx.leave()
	}
	return first
}

// place is a protocol of the broker.
func (l *Loader) place(protocol string) (Target, error) {
	t := l.base
	t.Protocol = protocol
	return t, t.Resolve(l.urls)
}

// Declare implements fixtures.Target.
func (l *Loader) Declare(ctx context.Context, f *fixtures.Fixture) error {
	return declare.All(ctx, l.admin, l.o.VHost, f)
}

// Session implements fixtures.Target.
func (l *Loader) Session(ctx context.Context, s fixtures.Session) error {
	t, err := l.place(MQTT)
	if err != nil {
		return err
	}
	o := l.o
	o.ClientID = s.Client
	expiry := uint32(0xFFFFFFFF)
	if s.Expiry != fixtures.ExpiryNever {
		expiry = uint32(s.Expiry / time.Second)
	}
	c, _, err := dialMQTT(ctx, t, o, &paho.Connect{Properties: &paho.ConnectProperties{SessionExpiryInterval: &expiry, RequestProblemInfo: true}}, nil)
	if err != nil {
		return err
	}
	defer c.leave()
	if len(s.Subscribe) == 0 {
		return nil
	}
	sub := new(paho.Subscribe)
	for _, x := range s.Subscribe {
		sub.Subscriptions = append(sub.Subscriptions, paho.SubscribeOptions{Topic: x.Filter, QoS: x.QoS, RetainHandling: 2})
	}
	ack, err := c.Subscribe(ctx, sub)
	if ack != nil {
		for i, reason := range ack.Reasons {
			if reason >= 0x80 && i < len(s.Subscribe) {
				return mqttFault("subscribe to", s.Subscribe[i].Filter, reason, "")
			}
		}
	}
	return err
}

// OfFixture copies a message that a fixture has made.
func OfFixture(m *fixtures.Message) *Message {
	qos := m.QoS
	own := &Message{
		Protocol: m.To.Protocol, Target: m.To.String(), Topic: m.To.Topic, Queue: m.To.Queue, Exchange: m.To.Exchange, RoutingKey: m.To.Key,
		Key: bytes.Clone(m.Key), Value: bytes.Clone(m.Value), QoS: &qos, Retain: m.Retain, Priority: m.Priority, Time: m.Time, Size: len(m.Value),
	}
	if m.To.Protocol == Kafka && m.To.Partition >= 0 {
		n := m.To.Partition
		own.Partition = &n
	}
	for _, h := range m.Headers {
		own.Headers = append(own.Headers, Header{Name: h.Name, Value: bytes.Clone(h.Value)})
	}
	for _, p := range m.Properties {
		if own.Properties == nil {
			own.Properties = map[string]string{}
		}
		setProperty(own, p.Name, p.Value)
	}
	if m.Expires > 0 {
		own.ExpiresAt = m.Time.Add(m.Expires)
	}
	return own
}

// Send implements fixtures.Target.
func (l *Loader) Send(ctx context.Context, m *fixtures.Message) error {
	own := OfFixture(m)
	if m.Expires > 0 {
		own.ExpiresAt = time.Now().Add(m.Expires)
	}
	if l.tx != nil && l.tx.open {
		return l.tx.send(ctx, own)
	}
	p, err := l.producer(ctx, own)
	if err != nil {
		return err
	}
	l.mu.Lock()
	err = l.err
	l.waiting++
	l.mu.Unlock()
	if err == nil {
		err = p.Send(ctx, own, l.done)
	}
	if err != nil {
		l.done(Receipt{}, err)
	}
	return err
}

func (l *Loader) done(_ Receipt, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil && l.err == nil {
		l.err = err
	}
	if l.waiting--; l.waiting == 0 {
		l.idle.Broadcast()
	}
}

// producer finds the connection that a message goes over: one topic's have one.
func (l *Loader) producer(ctx context.Context, m *Message) (Producer, error) {
	all, ok := l.producers[m.Protocol]
	if !ok {
		t, err := l.place(m.Protocol)
		if err != nil {
			return nil, err
		}
		n := 1
		if m.Protocol == MQTT {
			n = l.conns
		}
		for range n {
			p, err := NewProducer(ctx, t, l.o)
			if err != nil {
				return nil, err
			}
			all = append(all, p)
			l.producers[m.Protocol] = all
		}
	}
	if len(all) == 1 {
		return all[0], nil
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(m.Topic)) // a hash takes all
	return all[h.Sum32()%uint32(len(all))], nil
}

// Flush implements fixtures.Target.
func (l *Loader) Flush(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.idle.Broadcast()
	})
	defer stop()
	for _, p := range l.producers[MQTT] {
		if err := p.(*mqttProducer).arrived(ctx); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.waiting > 0 && ctx.Err() == nil {
		l.idle.Wait()
	}
	if l.err == nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return l.err
}

// Begin implements fixtures.Target.
func (l *Loader) Begin(ctx context.Context) error {
	if l.tx == nil {
		t, err := l.place(AMQP)
		if err != nil {
			return err
		}
		if l.tx, err = openAMQPTx(ctx, t, l.o); err != nil {
			return err
		}
	}
	l.tx.open = true
	return nil
}

// Commit implements fixtures.Target.
func (l *Loader) Commit(context.Context) error { return l.tx.end((*amqp.Channel).TxCommit) }

// Abort implements fixtures.Target.
func (l *Loader) Abort(context.Context) error { return l.tx.end((*amqp.Channel).TxRollback) }

// amqpTx is a channel whose publishes count once they are committed.
type amqpTx struct {
	*amqpClient
	open bool
}

func openAMQPTx(ctx context.Context, t Target, o Options) (*amqpTx, error) {
	c, err := dialAMQP(ctx, t, o)
	if err != nil {
		return nil, err
	}
	if err := c.ch.Tx(); err != nil {
		c.leave()
		return nil, amqpError("begin a transaction on", t.Address, err)
	}
	return &amqpTx{amqpClient: c}, nil
}

func (x *amqpTx) send(ctx context.Context, m *Message) error {
	exchange, key, mandatory := amqpPlace(m)
	if err := x.ch.PublishWithContext(ctx, exchange, key, mandatory, false, amqpPublishing(m)); err != nil {
		return amqpError("produce to", key, err)
	}
	return nil
}

func (x *amqpTx) end(how func(*amqp.Channel) error) error {
	x.open = false
	if err := how(x.ch); err != nil {
		return amqpError("end a transaction on", x.target.Address, err)
	}
	return nil
}

// Group implements fixtures.Target.
func (l *Loader) Group(ctx context.Context, g fixtures.Group) error {
	t, err := l.place(Kafka)
	if err != nil {
		return err
	}
	t.Topic = g.Topic
	c, err := openKafkaClient(ctx, t, l.o)
	if err != nil {
		return err
	}
	defer c.Close()
	bounds, err := kafkaBounds(ctx, c, t, Position{Kind: Last, Offset: g.Behind})
	if err != nil {
		return err
	}
	offsets := kadm.Offsets{}
	for _, b := range bounds {
		offsets.Add(kadm.Offset{Topic: g.Topic, Partition: b.partition, At: b.next, LeaderEpoch: -1})
	}
	done, err := kadm.NewClient(c).CommitOffsets(ctx, g.Name, offsets)
	if err == nil {
		err = done.Error()
	}
	if err != nil {
		return kafkaError("commit offsets of group "+g.Name+" in", t, err)
	}
	return nil
}

// LoadFixture puts a fixture into a broker.
func LoadFixture(ctx context.Context, f *fixtures.Fixture, admin *adminapi.Client, urls adminapi.URLs, base Target, o Options, progress func(int64)) (s fixtures.Summary, err error) {
	l := NewLoader(admin, urls, base, o)
	if err := l.serves(f); err != nil {
		return s, err
	}
	if f.Messages() >= bulkMessages {
		l.conns = bulkConns
	}
	now, err := l.now(ctx)
	if err != nil {
		return s, err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), ackTimeout)
		defer cancel()
		if closeErr := l.Close(closing); err == nil {
			err = closeErr
		}
	}()
	return f.Apply(ctx, l, fixtures.Options{Now: now, Progress: progress})
}

// serves tells whether the broker speaks what a fixture needs.
func (l *Loader) serves(f *fixtures.Fixture) error {
	for _, protocol := range f.Protocols() {
		if _, err := l.place(protocol); err != nil {
			return fault.New(fault.Unavailable, "load", f.Name, "it is about %s, and the broker does not listen for that", protocol)
		}
	}
	return nil
}

var _ fixtures.Target = (*Loader)(nil)
