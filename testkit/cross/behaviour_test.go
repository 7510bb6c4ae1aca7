package cross

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/robustmq/rmq/testkit"
)

// ---- expiry ------------------------------------------------------------------

// expiring sends a message that lives for a minute, by each protocol.
var expiring = map[string]func(e *env, value string){
	"mqtt": func(e *env, value string) {
		e.publishMQTT(&paho.Publish{Topic: "m/d", QoS: 1, Payload: []byte(value), Properties: &paho.PublishProperties{MessageExpiry: ptr(uint32(60))}})
	},
	"kafka": func(e *env, value string) {
		e.produce(&kgo.Record{Topic: "m.d", Value: []byte(value), Timestamp: e.Clock.Now(), Headers: headers("expires-at", fmt.Sprint(e.Clock.Now().UnixMilli()+60_000))})
	},
	"amqp": func(e *env, value string) {
		e.publishAMQP("amq.topic", "m.d", amqp.Publishing{DeliveryMode: 2, Body: []byte(value), Expiration: "60000"})
	},
}

// away makes a session that is subscribed to m/# and not connected.
func (e *env) away(id string) {
	e.t.Helper()
	c := e.session(id, true)
	must(c.Subscribe(e.ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "m/#", QoS: 2}}}))(e.t)
	check(e.t, c.Disconnect(&paho.Disconnect{}))
	e.Want(e.t).Session(id).Away()
}

// session connects with a session that lasts for an hour.
func (e *env) session(id string, clean bool) *mqttClient {
	e.t.Helper()
	return e.mqtt(func(c *paho.Connect) {
		c.ClientID, c.CleanStart, c.Properties = id, clean, &paho.ConnectProperties{SessionExpiryInterval: ptr(uint32(3600))}
	})
}

// A message that expires leaves queues and sessions, and says on its way out how long it
// has left. Kafka keeps it: a log is history.
func TestExpiry(t *testing.T) {
	for source, send := range expiring {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			e := start(t, testkit.VirtualAt(noon))
			e.away("early")
			e.away("late")
			c := e.amqp()
			for _, q := range []string{"early", "late"} {
				must(c.QueueDeclare(q, true, false, false, false, nil))(t)
				check(t, c.QueueBind(q, "m.#", "amq.topic", false, nil))
			}
			send(e, "v")
			e.Want(t).Session("late").Backlog(1)
			e.Want(t).Queue("late").Ready(1)

			e.Clock.Advance(20 * time.Second)
			if p := e.session("early", false).next(); p.Properties.MessageExpiry == nil || *p.Properties.MessageExpiry != 40 {
				t.Errorf("after 20 of 60 seconds MQTT got %s", sawMQTT(p))
			}
			d, ok, err := c.Get("early", true)
			check(t, err)
			if want := map[bool]string{true: "60000", false: "40000"}[source == "amqp"]; !ok || d.Expiration != want {
				t.Errorf("after 20 of 60 seconds AMQP got %s, want expiration:%s", sawAMQP(d), want)
			}

			e.Clock.Advance(40 * time.Second)
			e.Want(t).Queue("late").Ready(0)
			if _, ok, err := c.Get("late", true); ok || err != nil {
				t.Errorf("an expired message was delivered: %v", err)
			}
			late := e.session("late", false)
			e.publishMQTT(&paho.Publish{Topic: "m/marker", QoS: 1, Payload: []byte("marker")})
			if p := late.next(); p.Topic != "m/marker" {
				t.Errorf("an expired message was delivered: %s", sawMQTT(p))
			}
			if r := e.Topic("m.d").Records(); len(r) != 1 || string(r[0].Value) != "v" {
				t.Errorf("Kafka has %v", r)
			}
		})
	}
}

// ---- retained -----------------------------------------------------------------

// The last retained value of an address is sent to who subscribes, whichever protocol it
// came by; an empty one clears it.
func TestRetained(t *testing.T) {
	for source, send := range map[string]func(e *env, value string){
		"mqtt": func(e *env, value string) {
			e.publishMQTT(&paho.Publish{Topic: "m/d", QoS: 1, Retain: true, Payload: []byte(value), Properties: user("a", "1")})
		},
		"mqtt 3.1.1": func(e *env, value string) {
			c := e.mqtt3()
			c.done(c.Publish("m/d", 1, true, value))
		},
		"amqp": func(e *env, value string) {
			e.publishAMQP("amq.topic", "m.d", amqp.Publishing{DeliveryMode: 2, Body: []byte(value), Headers: amqp.Table{"rmq-retain": true}})
		},
	} {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			e := start(t)
			send(e, "old")
			send(e, "new")
			if m := e.Want(t).Retained("#", 1); string(m[0].Value) != "new" {
				t.Errorf("retained is %q", m[0].Value)
			}
			for _, filter := range []string{"m/d", "+/d", "m/#", "#"} {
				if p := e.sub(filter).next(); p.Topic != "m/d" || !p.Retain || string(p.Payload) != "new" {
					t.Errorf("%s got %s", filter, sawMQTT(p))
				}
			}
			old := e.mqtt3()
			old.sub("m/+", 1)
			if m := old.next(); !m.Retained() || string(m.Payload()) != "new" {
				t.Errorf("MQTT 3.1.1 got %s, retained %v", m.Payload(), m.Retained())
			}
			send(e, "")
			e.Want(t).Retained("#", 0)
		})
	}
}

// ---- quality of service -----------------------------------------------------------

// A subscriber gets the lower of what was published and what it was granted; what is
// durable elsewhere counts as QoS 1.
func TestGrantedQoS(t *testing.T) {
	t.Parallel()
	e := start(t)
	subs := make([]*mqttClient, 3)
	for qos := range subs {
		subs[qos] = e.mqtt()
		must(subs[qos].Subscribe(e.ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "m/#", QoS: byte(qos)}}}))(t)
	}
	for _, tt := range []struct {
		name string
		send func()
		qos  byte
	}{
		{"MQTT QoS 0", func() { e.publishMQTT(&paho.Publish{Topic: "m/d", Payload: []byte("v")}) }, 0},
		{"MQTT QoS 1", func() { e.publishMQTT(&paho.Publish{Topic: "m/d", QoS: 1, Payload: []byte("v")}) }, 1},
		{"MQTT QoS 2", func() { e.publishMQTT(&paho.Publish{Topic: "m/d", QoS: 2, Payload: []byte("v")}) }, 2},
		{"Kafka", func() { e.produce(&kgo.Record{Topic: "m.d", Value: []byte("v")}) }, 1},
		{"AMQP persistent", func() { e.publishAMQP("amq.topic", "m.d", amqp.Publishing{DeliveryMode: 2, Body: []byte("v")}) }, 1},
		{"AMQP transient", func() { e.publishAMQP("amq.topic", "m.d", amqp.Publishing{DeliveryMode: 1, Body: []byte("v")}) }, 0},
	} {
		tt.send()
		for granted, c := range subs {
			if p := c.next(); p.QoS != min(tt.qos, byte(granted)) {
				t.Errorf("%s, granted %d: %s", tt.name, granted, sawMQTT(p))
			}
		}
	}
}

// Every message at QoS 2 is in the stream and in the queue once, with many under way.
func TestExactlyOnceInto(t *testing.T) {
	t.Parallel()
	const count = 200
	e := start(t)
	queue := e.bound("m.#")
	c := e.mqtt3()
	var tokens []paho3.Token
	for i := range count {
		tokens = append(tokens, c.Publish("m/d", 2, false, fmt.Sprint(i)))
	}
	for _, token := range tokens {
		c.done(token)
	}
	for i, r := range e.read("m", count) {
		if d := queue.next(); string(r.Value) != fmt.Sprint(i) || string(d.Body) != fmt.Sprint(i) {
			t.Fatalf("message %d: Kafka has %s, AMQP %s", i, r.Value, d.Body)
		}
	}
}

// The priority that an MQTT client asks for is that of the queue.
func TestPriority(t *testing.T) {
	t.Parallel()
	e := start(t)
	c := e.amqp()
	must(c.QueueDeclare("q", true, false, false, false, amqp.Table{"x-max-priority": int32(9)}))(t)
	check(t, c.QueueBind("q", "m.#", "amq.topic", false, nil))
	p := e.mqtt()
	for _, priority := range []string{"1", "9", "5"} {
		must(p.Publish(e.ctx, &paho.Publish{Topic: "m/d", QoS: 1, Payload: []byte(priority), Properties: user("priority", priority)}))(t)
	}
	e.produce(&kgo.Record{Topic: "m.d", Value: []byte("7"), Headers: headers("priority", "7")})
	e.Want(t).Queue("q").Ready(4)
	c.consume("q")
	for _, want := range []string{"9", "7", "5", "1"} {
		if d := c.next(); string(d.Body) != want {
			t.Errorf("got %s, want %s", d.Body, want)
		}
	}
}

// ---- mandatory ------------------------------------------------------------------

// A mandatory message is returned unless a queue or an MQTT subscription has it: a stream
// is not somebody who was waiting for it.
func TestMandatory(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.createTopic("m", 1)
	c := e.amqp()
	check(t, c.Confirm(false))
	returned := c.NotifyReturn(make(chan amqp.Return, gotMax))
	publish := func(key string) {
		confirm := must(c.PublishWithDeferredConfirmWithContext(e.ctx, "amq.topic", key, true, false, amqp.Publishing{Body: []byte(key)}))(t)
		if !confirm.Wait() {
			t.Errorf("%s is not confirmed", key)
		}
	}
	publish("m.d")
	if r := next(t, returned, "a return"); r.ReplyCode != amqp.NoRoute || r.ReplyText != "NO_ROUTE" || r.RoutingKey != "m.d" || string(r.Body) != "m.d" {
		t.Errorf("returned: %+v", r)
	}
	if got := values(e.read("m", 1)); got != "m.d" {
		t.Errorf("the stream holds %q", got)
	}
	e.sub("m/+")
	publish("m.d") // to the subscription
	e.bound("q.#")
	publish("q.d") // to the queue
	publish("nobody")
	if r := next(t, returned, "a return"); r.RoutingKey != "nobody" {
		t.Errorf("returned: %+v", r)
	}
}

// An MQTT 5 client is told that nobody was there, also when a stream took the message.
func TestNoMatchingSubscribers(t *testing.T) {
	t.Parallel()
	e := start(t)
	c := e.mqtt()
	for _, tt := range []struct {
		before func()
		want   byte
	}{{func() {}, 0x10}, {func() { e.bound("m.#") }, 0}, {func() { e.sub("n/#") }, 0}} {
		tt.before()
		topic := "m/d"
		if r := must(c.Publish(e.ctx, &paho.Publish{Topic: topic, QoS: 1, Payload: []byte("v")}))(t); r.ReasonCode != tt.want {
			t.Errorf("PUBACK has reason %#x, want %#x", r.ReasonCode, tt.want)
		}
	}
}

// ---- transactions ---------------------------------------------------------------

// Nobody sees what an AMQP transaction sent before it commits, and nobody what it took back.
func TestTransactions(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.createTopic("m", 1)
	mqtt, queue := e.sub("m/#"), e.bound("m.#")
	c := e.amqp()
	check(t, c.Tx())
	send := func(value string) {
		check(t, c.PublishWithContext(e.ctx, "amq.topic", "m.d", false, false, amqp.Publishing{DeliveryMode: 2, Body: []byte(value)}))
	}
	send("taken back")
	check(t, c.TxRollback())
	send("one")
	send("two")
	e.publishMQTT(&paho.Publish{Topic: "m/d", QoS: 1, Payload: []byte("outside")})
	check(t, c.TxCommit())
	want := []string{"outside", "one", "two"}
	for _, w := range want {
		if p, d := mqtt.next(), queue.next(); string(p.Payload) != w || string(d.Body) != w {
			t.Errorf("MQTT got %s, AMQP %s, want %s", p.Payload, d.Body, w)
		}
	}
	if got := values(e.read("m", 3)); got != "outside one two" {
		t.Errorf("Kafka got %s", got)
	}
}

// ---- dead letters ---------------------------------------------------------------

// A message from MQTT that an AMQP consumer rejects is dead-lettered with its history, and
// other protocols see it go by.
func TestDeadLetterOfForeignMessage(t *testing.T) {
	t.Parallel()
	e := start(t)
	c := e.amqp()
	must(c.QueueDeclare("q", true, false, false, false, amqp.Table{"x-dead-letter-exchange": "amq.topic", "x-dead-letter-routing-key": "dead.q"}))(t)
	check(t, c.QueueBind("q", "m.#", "amq.topic", false, nil))
	dead, mqtt := e.bound("dead.#"), e.sub("dead/#")
	e.publishMQTT(&paho.Publish{Topic: "m/d", QoS: 1, Payload: []byte("v"), Properties: user("a", "1")})
	e.Want(t).Queue("q").Ready(1)
	d, ok, err := c.Get("q", false)
	check(t, err)
	if !ok {
		t.Fatal("the queue is empty")
	}
	check(t, d.Reject(false))
	got := dead.next()
	deaths, _ := got.Headers["x-death"].([]any)
	if len(deaths) != 1 || got.RoutingKey != "dead.q" || string(got.Body) != "v" || got.Headers["a"] != "1" {
		t.Fatalf("the dead letter is %s", sawAMQP(got))
	}
	if x := deaths[0].(amqp.Table); x["queue"] != "q" || x["reason"] != "rejected" || x["count"] != int64(1) {
		t.Errorf("x-death is %v", x)
	}
	if p := mqtt.next(); p.Topic != "dead/q" || string(p.Payload) != "v" || !strings.Contains(sawMQTT(p), "a=1") {
		t.Errorf("MQTT got %s", sawMQTT(p))
	}
}

// ---- competing consumers ----------------------------------------------------------

// A shared subscription, a queue and a consumer group have each message once each, whoever
// sent it.
func TestCompetingConsumers(t *testing.T) {
	t.Parallel()
	const count = 90
	e := start(t)
	e.createTopic("m", 1)
	var members []*mqttClient
	for range 3 {
		c := e.mqtt()
		must(c.Subscribe(e.ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "$share/g/m", QoS: 1}}}))(t)
		members = append(members, c)
	}
	c := e.amqp()
	must(c.QueueDeclare("q", true, false, false, false, nil))(t)
	check(t, c.QueueBind("q", "m", "amq.topic", false, nil))
	var consumers []*amqpClient
	for range 3 {
		x := e.amqp()
		check(t, x.Qos(5, 0, false))
		x.got = must(x.Consume("q", "", false, false, false, false, nil))(t)
		consumers = append(consumers, x)
	}
	m, k := e.mqtt(), e.kafka()
	for i := range count {
		v := []byte(fmt.Sprint(i))
		if i%2 == 0 {
			must(m.Publish(e.ctx, &paho.Publish{Topic: "m", QoS: 1, Payload: v}))(t)
		} else {
			check(t, k.ProduceSync(e.ctx, &kgo.Record{Topic: "m", Value: v}).FirstErr())
		}
	}
	shared, queued := make(map[string]int), make(map[string]int)
	took := make(map[int]bool)
	for range count {
		select {
		case p := <-members[0].got:
			shared[string(p.Payload)]++
			took[0] = true
		case p := <-members[1].got:
			shared[string(p.Payload)]++
			took[1] = true
		case p := <-members[2].got:
			shared[string(p.Payload)]++
			took[2] = true
		case <-e.ctx.Done():
			t.Fatalf("the shared subscription got %d of %d", len(shared), count)
		}
	}
	for range count {
		var d amqp.Delivery
		select {
		case d = <-consumers[0].got:
		case d = <-consumers[1].got:
		case d = <-consumers[2].got:
		case <-e.ctx.Done():
			t.Fatalf("the queue gave %d of %d", len(queued), count)
		}
		queued[string(d.Body)]++
		check(t, d.Ack(false))
	}
	if len(shared) != count || len(queued) != count {
		t.Errorf("of %d messages, %d were seen by the shared subscription and %d in the queue", count, len(shared), len(queued))
	}
	if len(took) != 3 {
		t.Errorf("%d of 3 members had a share", len(took))
	}
	e.Want(t).Queue("q").Empty()
}

// ---- neighbours -----------------------------------------------------------------

// A subscriber that reads nothing holds nobody up: not publishers of any protocol, not
// other subscribers.
func TestClientThatReadsNothing(t *testing.T) {
	t.Parallel()
	e := start(t)
	stuck := must(net.Dial("tcp", strings.TrimPrefix(e.MQTT(), "mqtt://")))(t)
	t.Cleanup(func() { _ = stuck.Close() })
	// CONNECT of MQTT 3.1.1 as "stuck", and SUBSCRIBE to m/# at QoS 0.
	must(stuck.Write([]byte("\x10\x11\x00\x04MQTT\x04\x02\x00\x3c\x00\x05stuck\x82\x08\x00\x01\x00\x03m/#\x00")))(t)
	must(io.ReadFull(stuck, make([]byte, 4+5)))(t) // CONNACK and SUBACK
	good := e.mqtt()
	must(good.Subscribe(e.ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "m/#", QoS: 1}}}))(t)
	body := bytes.Repeat([]byte("x"), 64<<10)
	const each = 300 // of each protocol: 57 MiB in all
	k, m, a := e.kafka(), e.mqtt(), e.amqp()
	check(t, a.Confirm(false))
	for range each {
		check(t, k.ProduceSync(e.ctx, &kgo.Record{Topic: "m.k", Value: body}).FirstErr())
		must(m.Publish(e.ctx, &paho.Publish{Topic: "m/m", QoS: 1, Payload: body}))(t)
		must(a.PublishWithDeferredConfirmWithContext(e.ctx, "amq.topic", "m.a", false, false, amqp.Publishing{DeliveryMode: 2, Body: body}))(t).Wait()
	}
	for range 3 * each {
		good.next()
	}
}
