package cross

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/robustmq/rmq/testkit"
)

// env is a broker of one test, and clients to it that end with the test.
type env struct {
	*testkit.Broker
	nodes *testkit.Nodes // nil: there is one
	t     *testing.T
	ctx   context.Context
}

// With -nodes 3 every test runs on a cluster, each protocol on a node of its own.
var nodesFlag = flag.Int("nodes", 1, "how many nodes the broker has")

// MQTT is where MQTT clients connect: the first node.
func (e *env) MQTT() string { return e.Broker.MQTT() }

// Bootstrap is where Kafka clients connect: the second node, if there is one.
func (e *env) Bootstrap() string {
	if e.nodes == nil {
		return e.Broker.Bootstrap()
	}
	return e.nodes.Node(2).Bootstrap()
}

// AMQP is where AMQP clients connect: the last node.
func (e *env) AMQP() string {
	if e.nodes == nil {
		return e.Broker.AMQP()
	}
	return e.nodes.Node(*nodesFlag).AMQP()
}

// patience bounds every wait for a message: reached only by a test that fails.
const patience = time.Minute

func start(t *testing.T, opts ...testkit.Option) *env {
	t.Helper()
	e := &env{t: t}
	if *nodesFlag > 1 {
		e.nodes = testkit.Cluster(t, *nodesFlag, opts...)
		e.Broker = e.nodes.Node(1)
	} else {
		e.Broker = testkit.Run(t, opts...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	t.Cleanup(cancel)
	e.ctx = ctx
	return e
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		check(t, err)
		return v
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// next receives from a channel, or fails with what was waited for.
func next[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case v, ok := <-from:
		if !ok {
			t.Fatalf("%s: the channel was closed", what)
		}
		return v
	case <-timer.C:
		t.Fatalf("%s: nothing came", what)
		panic("unreachable")
	}
}

// none checks that a channel holds nothing. It says something only after a message that
// was sent later has come.
func none[T any](t *testing.T, from <-chan T, what string) {
	t.Helper()
	select {
	case v := <-from:
		t.Errorf("%s: %v", what, v)
	default:
	}
}

// ---- MQTT 5: paho.golang -------------------------------------------------------

type mqttClient struct {
	*paho.Client
	t    *testing.T
	got  chan *paho.Publish
	link net.Conn
}

// gotMax is how many messages a test may leave unread.
const gotMax = 1 << 14

// mqtt connects a client of MQTT 5; change may adapt what it says in CONNECT.
func (e *env) mqtt(change ...func(*paho.Connect)) *mqttClient {
	e.t.Helper()
	link := must(net.Dial("tcp", strings.TrimPrefix(e.MQTT(), "mqtt://")))(e.t)
	c := &mqttClient{t: e.t, got: make(chan *paho.Publish, gotMax), link: link}
	c.Client = paho.NewClient(paho.ClientConfig{
		Conn: link, PacketTimeout: patience,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			c.got <- p.Packet
			return true, nil
		}},
	})
	connect := &paho.Connect{CleanStart: true, KeepAlive: 60}
	for _, f := range change {
		f(connect)
	}
	must(c.Connect(e.ctx, connect))(e.t)
	e.t.Cleanup(func() { _ = c.Disconnect(&paho.Disconnect{}) })
	return c
}

// sub subscribes at QoS 2, RETAIN as it was published.
func (e *env) sub(filters ...string) *mqttClient {
	e.t.Helper()
	c := e.mqtt()
	for _, f := range filters {
		must(c.Subscribe(e.ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: f, QoS: 2, RetainAsPublished: true}}}))(e.t)
	}
	return c
}

func (c *mqttClient) next() *paho.Publish {
	c.t.Helper()
	return next(c.t, c.got, "MQTT")
}

// behind publishes at a broker, at QoS 2, and checks that it is the next that comes, under a name: nothing else
// has gone the same way before it.
func (c *mqttClient) behind(from *env, topic, as string) {
	c.t.Helper()
	from.publishMQTT(&paho.Publish{Topic: topic, QoS: 2, Payload: []byte("end")})
	if p := c.next(); p.Topic != as || string(p.Payload) != "end" {
		c.t.Errorf("%s %q came before the end", p.Topic, p.Payload)
	}
}

// publishMQTT publishes with a client of its own.
func (e *env) publishMQTT(p *paho.Publish) {
	e.t.Helper()
	must(e.mqtt().Publish(e.ctx, p))(e.t)
}

// ---- MQTT 3.1.1: paho.mqtt.golang ------------------------------------------------

type mqtt3Client struct {
	paho3.Client
	t   *testing.T
	got chan paho3.Message
}

func (e *env) mqtt3(change ...func(*paho3.ClientOptions)) *mqtt3Client {
	e.t.Helper()
	c := &mqtt3Client{t: e.t, got: make(chan paho3.Message, gotMax)}
	o := paho3.NewClientOptions().AddBroker(e.MQTT()).SetAutoReconnect(false).SetConnectRetry(false)
	for _, f := range change {
		f(o)
	}
	c.Client = paho3.NewClient(o)
	c.done(c.Connect())
	e.t.Cleanup(func() { c.Disconnect(0) })
	return c
}

// done waits for what the client was asked to do.
func (c *mqtt3Client) done(token paho3.Token) {
	c.t.Helper()
	if !token.WaitTimeout(patience) {
		c.t.Fatal("MQTT 3.1.1: no answer")
	}
	check(c.t, token.Error())
}

func (c *mqtt3Client) sub(filter string, qos byte) {
	c.t.Helper()
	c.done(c.Subscribe(filter, qos, func(_ paho3.Client, m paho3.Message) { c.got <- m }))
}

func (c *mqtt3Client) next() paho3.Message {
	c.t.Helper()
	return next(c.t, c.got, "MQTT 3.1.1")
}

// ---- AMQP: amqp091-go ----------------------------------------------------------

type amqpClient struct {
	*amqp.Channel
	t    *testing.T
	conn *amqp.Connection
	got  <-chan amqp.Delivery
}

func (e *env) amqp() *amqpClient {
	e.t.Helper()
	c := &amqpClient{t: e.t, conn: must(amqp.Dial(e.AMQP()))(e.t)}
	e.t.Cleanup(func() { _ = c.conn.Close() })
	c.Channel = must(c.conn.Channel())(e.t)
	return c
}

// bound consumes a queue of its own, bound to amq.topic.
func (e *env) bound(keys ...string) *amqpClient {
	e.t.Helper()
	c := e.amqp()
	q := must(c.QueueDeclare("", false, false, true, false, nil))(e.t)
	for _, k := range keys {
		check(e.t, c.QueueBind(q.Name, k, "amq.topic", false, nil))
	}
	c.consume(q.Name)
	return c
}

func (c *amqpClient) consume(queue string) {
	c.t.Helper()
	c.got = must(c.Consume(queue, "", true, false, false, false, nil))(c.t)
}

func (c *amqpClient) next() amqp.Delivery {
	c.t.Helper()
	return next(c.t, c.got, "AMQP")
}

// publishAMQP publishes with a channel of its own and waits for the confirm.
func (e *env) publishAMQP(exchange, key string, p amqp.Publishing) {
	e.t.Helper()
	c := e.amqp()
	check(e.t, c.Confirm(false))
	confirm := must(c.PublishWithDeferredConfirmWithContext(e.ctx, exchange, key, false, false, p))(e.t)
	if ok, err := confirm.WaitContext(e.ctx); err != nil || !ok {
		e.t.Fatalf("publish to %q with %q: confirmed %v, %v", exchange, key, ok, err)
	}
}

// ---- Kafka: franz-go -----------------------------------------------------------

func (e *env) kafka(opts ...kgo.Opt) *kgo.Client {
	e.t.Helper()
	opts = append([]kgo.Opt{kgo.SeedBrokers(e.Bootstrap()), kgo.AllowAutoTopicCreation(), kgo.ProducerLinger(0)}, opts...)
	c := must(kgo.NewClient(opts...))(e.t)
	e.t.Cleanup(c.Close)
	return c
}

func (e *env) produce(records ...*kgo.Record) {
	e.t.Helper()
	check(e.t, e.kafka().ProduceSync(e.ctx, records...).FirstErr())
}

// read consumes n records of a topic from its start.
func (e *env) read(topic string, n int) []*kgo.Record {
	e.t.Helper()
	c := e.kafka(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	var out []*kgo.Record
	for len(out) < n {
		f := c.PollFetches(e.ctx)
		check(e.t, f.Err())
		out = append(out, f.Records()...)
	}
	if len(out) > n {
		e.t.Fatalf("topic %s has %d records, not %d", topic, len(out), n)
	}
	return out
}

// ---- how messages are compared ---------------------------------------------------

// Each protocol's message is written as one line: what is absent is not mentioned, order
// and repeats are as they came.

func bytesText(b []byte) string {
	if b == nil {
		return "null"
	}
	return strconv.Quote(string(b))
}

// sawMQTT writes a PUBLISH, but for its packet identifier and DUP.
func sawMQTT(p *paho.Publish) string {
	var s []string
	add := func(format string, args ...any) { s = append(s, fmt.Sprintf(format, args...)) }
	add("%s=%s", p.Topic, strconv.Quote(string(p.Payload)))
	add("qos%d", p.QoS)
	if p.Retain {
		add("retain")
	}
	if x := p.Properties; x != nil {
		if x.PayloadFormat != nil {
			add("format:%d", *x.PayloadFormat)
		}
		if x.MessageExpiry != nil {
			add("expiry:%d", *x.MessageExpiry)
		}
		if x.ContentType != "" {
			add("content-type:%s", x.ContentType)
		}
		if x.ResponseTopic != "" {
			add("response:%s", x.ResponseTopic)
		}
		if x.CorrelationData != nil {
			add("correlation:%q", x.CorrelationData)
		}
		if x.SubscriptionIdentifier != nil {
			add("subscription:%d", *x.SubscriptionIdentifier)
		}
		for _, u := range x.User {
			add("%s=%s", u.Key, u.Value)
		}
	}
	return strings.Join(s, " ")
}

// sawKafka writes a record, but for its offset and time. What is in rmq-native is
// nobody's business but the broker's.
func sawKafka(r *kgo.Record) string {
	s := []string{fmt.Sprintf("%s %s=%s", r.Topic, bytesText(r.Key), bytesText(r.Value))}
	for _, h := range r.Headers {
		if h.Key == "rmq-native" {
			continue
		}
		s = append(s, h.Key+"="+bytesText(h.Value))
	}
	return strings.Join(s, " ")
}

// sawAMQP writes a delivery, but for tags. The client has headers in no order: they are
// sorted.
func sawAMQP(d amqp.Delivery) string {
	var s []string
	add := func(format string, args ...any) { s = append(s, fmt.Sprintf(format, args...)) }
	add("%s|%s=%s", d.Exchange, d.RoutingKey, strconv.Quote(string(d.Body)))
	add("mode%d", d.DeliveryMode)
	if d.Priority != 0 {
		add("priority:%d", d.Priority)
	}
	for _, p := range []struct{ name, value string }{
		{"content-type", d.ContentType}, {"content-encoding", d.ContentEncoding}, {"correlation", d.CorrelationId}, {"reply-to", d.ReplyTo},
		{"expiration", d.Expiration}, {"message-id", d.MessageId}, {"type", d.Type}, {"user-id", d.UserId}, {"app-id", d.AppId},
	} {
		if p.value != "" {
			add("%s:%s", p.name, p.value)
		}
	}
	if !d.Timestamp.IsZero() {
		add("timestamp:%d", d.Timestamp.Unix())
	}
	for _, name := range slices.Sorted(maps.Keys(d.Headers)) {
		add("%s=%s", name, tableValue(d.Headers[name]))
	}
	return strings.Join(s, " ")
}

// tableValue writes a header value; text as it is, everything else with its type.
func tableValue(v any) string {
	switch v := v.(type) {
	case string:
		return strconv.Quote(v)
	case []any:
		var parts []string
		for _, e := range v {
			parts = append(parts, tableValue(e))
		}
		return "[" + strings.Join(parts, " ") + "]"
	case amqp.Table:
		var parts []string
		for _, name := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, name+"="+tableValue(v[name]))
		}
		return "{" + strings.Join(parts, " ") + "}"
	case time.Time:
		return fmt.Sprintf("time(%d)", v.Unix())
	}
	return fmt.Sprintf("%T(%v)", v, v)
}

// same compares what was seen with what was to be seen.
func same(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n got %s\nwant %s", what, got, want)
	}
}

func ptr[T any](v T) *T { return &v }
