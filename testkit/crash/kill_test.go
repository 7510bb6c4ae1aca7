package crash

import (
	"context"
	"flag"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// messages is how many are acknowledged over each protocol before the broker is killed, in
// each of two rounds: continuous integration asks for 10,000.
var messages = flag.Int("messages", 1000, "messages acknowledged over each protocol before each kill")

// acked is what one publisher was told is safe. The broker is killed while it goes on, so
// there may be more.
type acked struct {
	mu     sync.Mutex
	values map[string]bool
	enough chan struct{} // closed at *messages
	over   chan struct{} // closed when the publisher has ended
	killed chan struct{} // closed when the broker was: for a client that would try for ever
}

func newAcked() *acked {
	return &acked{values: make(map[string]bool), enough: make(chan struct{}), over: make(chan struct{}), killed: make(chan struct{})}
}

func (a *acked) add(value string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.values[value] = true
	if len(a.values) == *messages {
		close(a.enough)
	}
}

// window is how many messages of a publisher are under way at once.
const window = 128

// body makes values of different lengths, so that entries and batches differ.
func body(protocol string, round, i int) string {
	return fmt.Sprintf("%s-%d-%d-%0*d", protocol, round, i, i%400, 0)
}

// publishMQTT sends to sensors/<i%7>, at QoS 1 and 2 in turn, until the connection breaks.
func publishMQTT(t *testing.T, p *process, round int) *acked {
	a := newAcked()
	c := paho3.NewClient(paho3.NewClientOptions().AddBroker(p.urls.MQTT).SetAutoReconnect(false).SetConnectRetry(false).SetClientID("publisher").SetMessageChannelDepth(window))
	wait(t, c.Connect())
	type sent struct {
		token paho3.Token
		value string
	}
	tokens := make(chan sent, window)
	stop := make(chan struct{})
	go func() {
		defer close(tokens)
		for i := 0; ; i++ {
			v := body("mqtt", round, i)
			select {
			case tokens <- sent{c.Publish("sensors/"+strconv.Itoa(i%7), byte(i%2+1), false, v), v}:
			case <-stop:
				return
			}
		}
	}()
	go func() {
		defer close(a.over)
		failed := false
		for s := range tokens {
			if !failed && s.token.WaitTimeout(patience) && s.token.Error() == nil {
				a.add(s.value)
				continue
			}
			if !failed {
				failed = true
				close(stop)
			}
		}
		c.Disconnect(0)
	}()
	return a
}

func wait(t testing.TB, token paho3.Token) {
	t.Helper()
	if !token.WaitTimeout(patience) {
		t.Fatal("MQTT: no answer")
	}
	check(t, token.Error())
}

// publishKafka sends to the topic orders, idempotently, until the connection breaks.
func publishKafka(t *testing.T, p *process, round int) *acked {
	a := newAcked()
	c := must(kgo.NewClient(kgo.SeedBrokers(p.host(p.urls.Kafka)), kgo.DefaultProduceTopic("orders"), kgo.ProducerLinger(0), kgo.MaxBufferedRecords(window)))(t)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-a.killed // what was sent and not answered may be there or not: this client does not give it up
		c.Close()
		cancel()
	}()
	go func() {
		defer close(a.over)
		for i := 0; ctx.Err() == nil; i++ {
			v := body("kafka", round, i)
			c.Produce(ctx, &kgo.Record{Key: []byte(strconv.Itoa(i)), Value: []byte(v)}, func(_ *kgo.Record, err error) {
				if err != nil {
					cancel()
					return
				}
				a.add(v)
			})
		}
	}()
	return a
}

// publishAMQP sends to the queue work with confirms until the connection breaks.
func publishAMQP(t *testing.T, p *process, round int) *acked {
	a := newAcked()
	conn := must(amqp.Dial(p.urls.AMQP))(t)
	ch := must(conn.Channel())(t)
	check(t, ch.Confirm(false))
	ctx, cancel := context.WithCancel(context.Background())
	type sent struct {
		confirm *amqp.DeferredConfirmation
		value   string
	}
	confirms := make(chan sent, window)
	closed := conn.NotifyClose(make(chan *amqp.Error, 1))
	go func() {
		<-closed
		cancel()
	}()
	go func() {
		defer close(confirms)
		for i := 0; ctx.Err() == nil; i++ {
			v := body("amqp", round, i)
			confirm, err := ch.PublishWithDeferredConfirmWithContext(ctx, "", "work", false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(v)})
			if err != nil {
				return
			}
			select {
			case confirms <- sent{confirm, v}:
			case <-ctx.Done():
				return
			}
		}
	}()
	go func() {
		defer close(a.over)
		for s := range confirms {
			if ok, err := s.confirm.WaitContext(ctx); err == nil && ok {
				a.add(s.value)
			}
		}
		_ = conn.Close()
	}()
	return a
}

// client of MQTT 5 with a session that lasts.
type client struct {
	*paho.Client
	t   *testing.T
	got chan *paho.Publish
	// manual: messages are not acknowledged.
}

func connect(t *testing.T, p *process, id string, clean, acknowledge bool) (c *client, present bool) {
	t.Helper()
	link := must(net.Dial("tcp", p.host(p.urls.MQTT)))(t)
	c = &client{t: t, got: make(chan *paho.Publish, 1<<20)}
	c.Client = paho.NewClient(paho.ClientConfig{
		Conn: link, EnableManualAcknowledgment: !acknowledge,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(r paho.PublishReceived) (bool, error) {
			c.got <- r.Packet
			return true, nil
		}},
	})
	expiry, most := uint32(3600), uint16(100)
	ack := must(c.Connect(patient(t), &paho.Connect{
		ClientID: id, CleanStart: clean, KeepAlive: 600,
		Properties: &paho.ConnectProperties{SessionExpiryInterval: &expiry, ReceiveMaximum: &most},
	}))(t)
	t.Cleanup(func() { _ = link.Close(); <-c.Done() })
	return c, ack.SessionPresent
}

func (c *client) subscribe(filter string, qos byte) {
	c.t.Helper()
	must(c.Subscribe(patient(c.t), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: qos}}}))(c.t)
}

func (c *client) next(what string) *paho.Publish {
	c.t.Helper()
	return next(c.t, c.got, what)
}

func next[T any](t *testing.T, from <-chan T, what string) (v T) {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case v = <-from:
	case <-timer.C:
		t.Fatalf("%s: nothing came", what)
	}
	return v
}

const (
	retainedCount = 100
	unackedCount  = 20
	committedAt   = 42
)

// Two rounds of traffic, each ended by SIGKILL; then everything that was acknowledged in
// either must be there: records, queue, session with its backlog, retained values,
// committed offsets, topology, and what was delivered and not acknowledged.
func TestNothingAcknowledgedIsLost(t *testing.T) {
	data := t.TempDir()
	p := up(t, "--any-port", "--data", data)
	declare(t, p)
	all := map[string]map[string]bool{"mqtt": {}, "kafka": {}, "amqp": {}}
	for round := range 2 {
		publishers := map[string]*acked{"mqtt": publishMQTT(t, p, round), "kafka": publishKafka(t, p, round), "amqp": publishAMQP(t, p, round)}
		for name, a := range publishers {
			select {
			case <-a.enough:
			case <-a.over:
				t.Fatalf("%s: the publisher ended early\n%s", name, &p.errs)
			case <-time.After(patience):
				a.mu.Lock()
				t.Fatalf("%s: %d of %d messages are acknowledged within %v", name, len(a.values), *messages, patience)
			}
		}
		p.kill()
		for name, a := range publishers {
			close(a.killed)
			<-a.over
			a.mu.Lock()
			for v := range a.values {
				all[name][v] = true
			}
			a.mu.Unlock()
		}
		started := time.Now()
		p = up(t, "--any-port", "--data", data)
		t.Logf("round %d: acknowledged %d over MQTT, %d over Kafka, %d over AMQP in all; up again in %v", round,
			len(all["mqtt"]), len(all["kafka"]), len(all["amqp"]), time.Since(started).Round(time.Millisecond))
	}
	verify(t, p, all)
}

// declare makes what the traffic goes to, and leaves behind what is to survive besides it.
func declare(t *testing.T, p *process) {
	t.Helper()
	ctx := patient(t)
	k := must(kgo.NewClient(kgo.SeedBrokers(p.host(p.urls.Kafka))))(t)
	defer k.Close()
	admin := kadm.NewClient(k)
	must(admin.CreateTopics(ctx, 3, 1, map[string]*string{"retention.ms": ptr("604800001")}, "orders"))(t)
	must(admin.CreateTopic(ctx, 1, 1, nil, "audit"))(t)
	offsets := make(kadm.Offsets)
	offsets.AddOffset("orders", 1, committedAt, -1)
	if err := must(admin.CommitOffsets(ctx, "g", offsets))(t).Error(); err != nil {
		t.Fatal(err)
	}

	conn := must(amqp.Dial(p.urls.AMQP))(t)
	ch := must(conn.Channel())(t)
	must(ch.QueueDeclare("work", true, false, false, false, nil))(t)
	must(ch.QueueDeclare("held", true, false, false, false, amqp.Table{"x-message-ttl": int32(3_600_000)}))(t)
	check(t, ch.ExchangeDeclare("x", "topic", true, false, false, false, nil))
	check(t, ch.QueueBind("held", "held.*", "x", false, nil))
	must(ch.QueueDeclare("passing", false, true, false, false, nil))(t)
	check(t, ch.Confirm(false))
	for i := range unackedCount {
		confirm := must(ch.PublishWithDeferredConfirmWithContext(ctx, "x", "held.a", false, false, amqp.Publishing{
			DeliveryMode: amqp.Persistent, Body: []byte(strconv.Itoa(i)), Headers: amqp.Table{"n": int32(i)},
		}))(t)
		if !confirm.Wait() {
			t.Fatal("not confirmed")
		}
	}
	// Delivered and never acknowledged: the connection is open when the broker is killed.
	held := must(ch.Consume("held", "", false, false, false, false, nil))(t)
	for range unackedCount {
		next(t, held, "a delivery")
	}

	m := paho3.NewClient(paho3.NewClientOptions().AddBroker(p.urls.MQTT).SetAutoReconnect(false))
	wait(t, m.Connect())
	for i := range 2 * retainedCount { // each address twice: the last value counts
		wait(t, m.Publish("state/"+strconv.Itoa(i%retainedCount), 1, true, strconv.Itoa(i)))
	}
	wait(t, m.Publish("state/0", 1, true, "")) // and one is cleared
	m.Disconnect(0)

	away, _ := connect(t, p, "away", true, true)
	away.subscribe("sensors/#", 2)
	check(t, away.Disconnect(&paho.Disconnect{}))
	// This one receives and does not acknowledge.
	slow, _ := connect(t, p, "slow", true, false)
	slow.subscribe("once/+", 1)
	must(slow.Publish(ctx, &paho.Publish{Topic: "once/a", QoS: 1, Payload: []byte("again")}))(t)
	if m := slow.next("a message that is not acknowledged"); string(m.Payload) != "again" {
		t.Fatalf("got %q", m.Payload)
	}
}

func ptr[T any](v T) *T { return &v }

func verify(t *testing.T, p *process, all map[string]map[string]bool) {
	t.Helper()
	ctx := patient(t)
	k := must(kgo.NewClient(kgo.SeedBrokers(p.host(p.urls.Kafka)), kgo.ConsumeTopics("orders", "sensors"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())))(t)
	defer k.Close()
	admin := kadm.NewClient(k)

	ends := must(admin.ListEndOffsets(ctx, "orders", "sensors"))(t)
	left := int64(0)
	ends.Each(func(o kadm.ListedOffset) { left += o.Offset })
	seen := map[string]map[string]int{"orders": {}, "sensors": {}}
	last := make(map[int32]map[int]int) // by partition and round: the last number of a producer
	for left > 0 {
		f := k.PollFetches(ctx)
		check(t, f.Err())
		f.EachRecord(func(r *kgo.Record) {
			left--
			seen[r.Topic][string(r.Value)]++
			if r.Topic == "orders" {
				var round, n int
				if _, err := fmt.Sscanf(string(r.Value), "kafka-%d-%d-", &round, &n); err != nil {
					t.Errorf("a record that nobody sent: %q", r.Value)
				}
				if last[r.Partition] == nil {
					last[r.Partition] = make(map[int]int)
				}
				if before, ok := last[r.Partition][round]; ok && n <= before {
					t.Errorf("partition %d has %d after %d", r.Partition, n, before)
				}
				last[r.Partition][round] = n
			}
		})
	}
	lost(t, "Kafka's records", all["kafka"], seen["orders"])
	lost(t, "MQTT's records", all["mqtt"], seen["sensors"])
	for v, n := range seen["orders"] {
		if n > 1 {
			t.Errorf("an idempotent producer's record is there %d times: %.40s", n, v)
		}
	}
	if o, ok := must(admin.FetchOffsets(ctx, "g"))(t).Lookup("orders", 1); !ok || o.At != committedAt {
		t.Errorf("the committed offset is %v", o)
	}
	if topics := must(admin.ListTopics(ctx))(t); len(topics["orders"].Partitions) != 3 || !topics.Has("audit") {
		t.Errorf("topics: %v", topics.Names())
	}
	for _, c := range must(admin.DescribeTopicConfigs(ctx, "orders"))(t)[0].Configs {
		if c.Key == "retention.ms" && *c.Value != "604800001" {
			t.Errorf("retention.ms is %s", *c.Value)
		}
	}

	conn := must(amqp.Dial(p.urls.AMQP))(t)
	defer conn.Close()
	ch := must(conn.Channel())(t)
	work := must(ch.QueueDeclarePassive("work", true, false, false, false, nil))(t)
	deliveries := must(ch.Consume("work", "", true, false, false, false, nil))(t)
	inQueue := make(map[string]int)
	for range work.Messages {
		inQueue[string(next(t, deliveries, "a message of the queue").Body)]++
	}
	lost(t, "AMQP's messages", all["amqp"], inQueue)
	held := must(ch.Consume("held", "", false, false, false, false, nil))(t)
	for i := range unackedCount {
		d := next(t, held, "a message that was not acknowledged")
		if !d.Redelivered || string(d.Body) != strconv.Itoa(i) || d.Exchange != "x" || d.RoutingKey != "held.a" || d.Headers["n"] != int32(i) {
			t.Errorf("delivery %d is %q by %s with %s, redelivered %v, %v", i, d.Body, d.Exchange, d.RoutingKey, d.Redelivered, d.Headers)
		}
	}
	check(t, ch.ExchangeDeclarePassive("x", "topic", true, false, false, false, nil))
	other := must(conn.Channel())(t)
	if _, err := other.QueueDeclarePassive("passing", false, true, false, false, nil); err == nil {
		t.Error("a queue that is not durable has outlived the broker")
	}

	reader, _ := connect(t, p, "reader", true, true)
	reader.subscribe("state/+", 1)
	retained := make(map[string]string)
	for len(retained) < retainedCount-1 {
		m := reader.next("retained messages")
		retained[m.Topic] = string(m.Payload)
	}
	for i := 1; i < retainedCount; i++ {
		if got, want := retained["state/"+strconv.Itoa(i)], strconv.Itoa(i+retainedCount); got != want {
			t.Errorf("state/%d is %q, want %q", i, got, want)
		}
	}
	slow, present := connect(t, p, "slow", false, true)
	if !present {
		t.Error("the session of slow is gone")
	}
	if m := slow.next("a message that was not acknowledged"); string(m.Payload) != "again" || !m.Duplicate() {
		t.Errorf("slow got %q", m.Payload)
	}
	away, present := connect(t, p, "away", false, true)
	if !present {
		t.Fatal("the session of away is gone")
	}
	backlog := make(map[string]int)
	missing := len(all["mqtt"])
	for missing > 0 {
		v := string(away.next("the backlog").Payload)
		if all["mqtt"][v] && backlog[v] == 0 {
			missing--
		}
		backlog[v]++
	}
}

// lost checks that everything acknowledged was seen.
func lost(t *testing.T, what string, acked map[string]bool, seen map[string]int) {
	t.Helper()
	var gone []string
	for v := range acked {
		if seen[v] == 0 {
			gone = append(gone, fmt.Sprintf("%.20s", v))
		}
	}
	slices.Sort(gone)
	if len(gone) > 0 {
		t.Errorf("%s: of %d acknowledged, %d are lost: %v", what, len(acked), len(gone), gone[:min(len(gone), 10)])
	}
}
