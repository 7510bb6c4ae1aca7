package cross

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/paho"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// An address that an MQTT client made up is seen by every protocol under one name, and by
// MQTT unchanged.
func TestNamesFromMQTT(t *testing.T) {
	n := strings.Repeat("n", 200)
	for _, tt := range []struct {
		name  string
		topic string
		// stream is the Kafka topic that captures it, key the record's: "-" none.
		stream, key string
		leaf        string // Kafka's name of the address itself; "": no view
		amqp        string
		address     string // rmq-address in AMQP, where the key does not say it
	}{
		{name: "levels", topic: "sensors/dev1/temp", stream: "sensors", leaf: "sensors.dev1.temp", amqp: "sensors.dev1.temp"},
		{name: "dots", topic: "spBv1.0/G1/NDATA/E1", stream: "spBv1_x2E_0", leaf: "spBv1_x2E_0.G1.NDATA.E1", amqp: "spBv1_x2E_0.G1.NDATA.E1"},
		{name: "an IP address", topic: "192.168.0.1/set", stream: "192_x2E_168_x2E_0_x2E_1", leaf: "192_x2E_168_x2E_0_x2E_1.set", amqp: "192_x2E_168_x2E_0_x2E_1.set"},
		{name: "an at sign and a space", topic: "user@domain.tld/samsung s7", stream: "user_x40_domain_x2E_tld",
			leaf: "user_x40_domain_x2E_tld.samsung_x20_s7", amqp: "user@domain_x2E_tld.samsung s7"},
		{name: "slashes everywhere", topic: "/a//b/", stream: ".a", leaf: ".a..b.", amqp: ".a..b."},
		{name: "leading slash", topic: "/a", stream: ".a", key: "-", amqp: ".a"},
		{name: "trailing slash", topic: "a/", stream: "a", leaf: "a.", amqp: "a."},
		{name: "double slash", topic: "a//b", stream: "a", leaf: "a..b", amqp: "a..b"},
		{name: "what looks like an escape", topic: "a_x2E_b/c", stream: "a_x5F_x2E_b", leaf: "a_x5F_x2E_b.c", amqp: "a_x5F_x2E_b.c"},
		{name: "underscores", topic: "_/a_b/__", stream: "_", leaf: "_.a_b.__", amqp: "_.a_b.__"},
		{name: "what looks internal to Kafka", topic: "__a/b", stream: "_x24_kafka.__a", leaf: "_x24_kafka.__a.b", amqp: "__a.b"},
		{name: "letters", topic: "größe/μ", stream: "gr_xF6__xDF_e", leaf: "gr_xF6__xDF_e._x3BC_", amqp: "größe.μ"},
		{name: "a star", topic: "a*/b", stream: "a_x2A_", leaf: "a_x2A_.b", amqp: "a*.b"},
		{name: "one level", topic: "alone", stream: "alone", key: "-", amqp: "alone"},
		{name: "longer than Kafka allows, and AMQP", topic: "a/" + n + "/" + n, stream: "a",
			amqp: "a." + n + "." + n[:24] + "_h" + hash("a/"+n+"/"+n), address: "a/" + n + "/" + n},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := start(t)
			mqtt, queue := e.sub("#"), e.bound("#")
			e.publishMQTT(&paho.Publish{Topic: tt.topic, QoS: 1, Payload: []byte("v")})
			if got := mqtt.next().Topic; got != tt.topic {
				t.Errorf("MQTT reads %q", got)
			}
			d := queue.next()
			if d.RoutingKey != tt.amqp {
				t.Errorf("AMQP reads %q, want %q", d.RoutingKey, tt.amqp)
			}
			if got, _ := d.Headers["rmq-address"].(string); got != tt.address {
				t.Errorf("AMQP's rmq-address is %q, want %q", got, tt.address)
			}
			key := tt.key
			switch key {
			case "":
				key = tt.topic
			case "-":
				key = ""
			}
			if r := e.read(tt.stream, 1)[0]; string(r.Key) != key {
				t.Errorf("Kafka reads %s", sawKafka(r))
			}
			if tt.leaf != "" {
				e.read(tt.leaf, 1)
			}
			// The same name sent by AMQP is the same address. (A name with a hash is only
			// ever given, not taken.)
			if tt.address == "" {
				e.publishAMQP("amq.topic", tt.amqp, amqp.Publishing{Body: []byte("w")})
				if got := mqtt.next().Topic; got != tt.topic {
					t.Errorf("MQTT reads %q of what AMQP sent to %q", got, tt.amqp)
				}
			}
			// And so is the view's, when Kafka makes a stream of it.
			if tt.leaf != "" {
				e.produce(&kgo.Record{Topic: tt.leaf, Value: []byte("x")})
				if got := mqtt.next().Topic; got != tt.topic {
					t.Errorf("MQTT reads %q of what Kafka sent to %q", got, tt.leaf)
				}
			}
		})
	}
}

// hash ends a name that is too long.
func hash(address string) string {
	sum := sha256.Sum256([]byte(address))
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:26]
}

// A topic that a Kafka client made up is its own address, whatever it looks like.
func TestNamesFromKafka(t *testing.T) {
	n := strings.Repeat("n", 249)
	for _, tt := range []struct{ topic, mqtt, amqp string }{
		{"orders", "orders", "orders"},
		{"orders.eu", "orders/eu", "orders.eu"},
		{"a..b.", "a//b/", "a..b."},
		{".a", "/a", ".a"},
		{"...", "///", "..."},
		{"a_b-C.1", "a_b-C/1", "a_b-C.1"},
		{"a_x2E_b", "a.b", "a_x2E_b"},
		{"a_x2e_b", "a_x2e_b", "a_x2e_b"},
		{"a_x5F_b", "a_x5F_b", "a_x5F_b"},
		{"a_x20_b", "a b", "a b"},
		{"__mine", "$kafka/__mine", "$kafka.__mine"},
		{n, n, n},
		{strings.Repeat("a.", 124) + "a", strings.Repeat("a/", 124) + "a", strings.Repeat("a.", 124) + "a"},
	} {
		t.Run(tt.topic[:min(len(tt.topic), 20)], func(t *testing.T) {
			t.Parallel()
			e := start(t)
			mqtt, queue := e.sub("#", "$kafka/#"), e.bound("#", tt.amqp)
			e.produce(&kgo.Record{Topic: tt.topic, Value: []byte("v")})
			if got := mqtt.next().Topic; got != tt.mqtt {
				t.Errorf("MQTT reads %q, want %q", got, tt.mqtt)
			}
			if got := queue.next().RoutingKey; got != tt.amqp {
				t.Errorf("AMQP reads %q, want %q", got, tt.amqp)
			}
			topics := must(kadm.NewClient(e.kafka()).ListTopicsWithInternal(e.ctx))(t)
			if !topics.Has(tt.topic) || len(topics) != 1 {
				t.Errorf("Kafka lists %v", topics.Names())
			}
			// What MQTT sends there is in that very topic.
			if !strings.HasPrefix(tt.mqtt, "$") {
				e.publishMQTT(&paho.Publish{Topic: tt.mqtt, QoS: 1, Payload: []byte("w")})
				if r := e.read(tt.topic, 2)[1]; string(r.Value) != "w" || r.Key != nil {
					t.Errorf("Kafka reads %s", sawKafka(r))
				}
			}
		})
	}
}

// A routing key is what its publisher wrote to other clients of AMQP, and one address to
// everybody else.
func TestNamesFromAMQP(t *testing.T) {
	for _, tt := range []struct{ key, mqtt, kafka string }{
		{"sensors.dev1.temp", "sensors/dev1/temp", "sensors"},
		{"sensors/dev1/temp", "sensors/dev1/temp", "sensors"},
		{"sensors/dev1.temp", "sensors/dev1/temp", "sensors"},
		{"a b.c", "a b/c", "a_x20_b"},
		{"a+b.#c", "a_x2B_b/_x23_c", "a_x2B_b"},
		{"a*.b", "a*/b", "a_x2A_"},
		{"größe.μ", "größe/μ", "gr_xF6__xDF_e"},
		{".a..b.", "/a//b/", ".a"},
		{"a_x2E_b.c", "a.b/c", "a_x2E_b"},
		{"a_x2F_b.c", "a_x2F_b/c", "a_x2F_b"},
		{strings.Repeat("k", 255), strings.Repeat("k", 255), strings.Repeat("k", 221) + "_h"},
	} {
		t.Run(tt.key[:min(len(tt.key), 20)], func(t *testing.T) {
			t.Parallel()
			e := start(t)
			mqtt, queue := e.sub("#"), e.bound("#")
			e.publishAMQP("amq.topic", tt.key, amqp.Publishing{Body: []byte("v")})
			if d := queue.next(); d.RoutingKey != tt.key {
				t.Errorf("AMQP reads %q", d.RoutingKey)
			}
			if got := mqtt.next().Topic; got != tt.mqtt {
				t.Errorf("MQTT reads %q, want %q", got, tt.mqtt)
			}
			names := must(kadm.NewClient(e.kafka()).ListTopics(e.ctx))(t).Names()
			if len(names) != 1 || !strings.HasPrefix(names[0], tt.kafka) || len(names[0]) > 249 {
				t.Fatalf("Kafka lists %q, want %q", names, tt.kafka)
			}
			e.read(names[0], 1)
		})
	}
}

// a/b and a.b are two keys to AMQP, and one address to the others.
func TestTwoKeysOneAddress(t *testing.T) {
	t.Parallel()
	e := start(t)
	slash, dot := e.bound("a/b"), e.bound("a.b")
	e.publishAMQP("amq.topic", "a/b", amqp.Publishing{Body: []byte("slash")})
	e.publishAMQP("amq.topic", "a.b", amqp.Publishing{Body: []byte("dot")})
	if d := slash.next(); string(d.Body) != "slash" {
		t.Errorf("the queue bound with a/b got %s", sawAMQP(d))
	}
	if d := dot.next(); string(d.Body) != "dot" {
		t.Errorf("the queue bound with a.b got %s", sawAMQP(d))
	}
	none(t, slash.got, "the queue bound with a/b")
	if r := e.read("a.b", 2); string(r[0].Value) != "slash" || string(r[1].Value) != "dot" {
		t.Errorf("Kafka reads %s, %s", sawKafka(r[0]), sawKafka(r[1]))
	}
}

// Exchanges stand before the key in an address, but for the default exchange and amq.topic.
func TestExchangesInAddresses(t *testing.T) {
	t.Parallel()
	e := start(t)
	c := e.amqp()
	check(t, c.ExchangeDeclare("shop.eu", "topic", true, false, false, false, nil))
	check(t, c.ExchangeDeclare("events", "fanout", true, false, false, false, nil))
	mqtt := e.sub("#")
	for _, tt := range []struct{ exchange, key, mqtt string }{
		{"", "orders.new", "orders/new"},
		{"amq.topic", "orders.new", "orders/new"},
		{"shop.eu", "orders.new", "shop/eu/orders/new"},
		{"events", "", "events"},
		{"events", "x", "events/x"},
		{"amq.fanout", "x", "amq/fanout/x"},
	} {
		e.publishAMQP(tt.exchange, tt.key, amqp.Publishing{Body: []byte("v")})
		if got := mqtt.next().Topic; got != tt.mqtt {
			t.Errorf("exchange %q with %q is %q to MQTT, want %q", tt.exchange, tt.key, got, tt.mqtt)
		}
	}
}

// A message from elsewhere reaches each queue once: by the queue's name, by bindings of
// amq.topic and what hangs behind it, by exchanges whose name begins the address.
func TestForeignMessagesReachQueues(t *testing.T) {
	t.Parallel()
	e := start(t)
	c := e.amqp()
	queue := func(name string) *amqpClient {
		q := e.amqp()
		must(q.QueueDeclare(name, true, false, false, false, nil))(t)
		q.consume(name)
		return q
	}
	named := queue("shop.orders.new")
	check(t, c.QueueBind("shop.orders.new", "shop.#", "amq.topic", false, nil)) // a second way to it
	check(t, c.ExchangeDeclare("behind", "direct", true, false, false, false, nil))
	check(t, c.ExchangeBind("behind", "shop.orders.*", "amq.topic", false, nil))
	behind := queue("behind amq.topic")
	check(t, c.QueueBind("behind amq.topic", "shop.orders.new", "behind", false, nil))
	check(t, c.ExchangeDeclare("shop", "topic", true, false, false, false, nil))
	inShop := queue("in shop")
	check(t, c.QueueBind("in shop", "orders.*", "shop", false, nil))
	check(t, c.ExchangeDeclare("shop.orders", "fanout", true, false, false, false, nil))
	fan := queue("fan")
	check(t, c.QueueBind("fan", "", "shop.orders", false, nil))
	elsewhere := queue("elsewhere")
	check(t, c.QueueBind("elsewhere", "orders.*", "amq.topic", false, nil))

	for i, send := range []func(){
		func() { e.publishMQTT(&paho.Publish{Topic: "shop/orders/new", QoS: 1, Payload: []byte("v")}) },
		func() { e.produce(&kgo.Record{Topic: "shop.orders.new", Value: []byte("v")}) },
	} {
		send()
		for name, q := range map[string]*amqpClient{"by name": named, "behind amq.topic": behind, "in shop": inShop, "fanout": fan} {
			if d := q.next(); d.RoutingKey != "shop.orders.new" || d.Exchange != "amq.topic" {
				t.Errorf("%s, message %d: %s", name, i, sawAMQP(d))
			}
		}
	}
	for name, q := range map[string]*amqpClient{"by name": named, "behind amq.topic": behind, "in shop": inShop, "fanout": fan, "elsewhere": elsewhere} {
		none(t, q.got, name)
	}
}

// What a headers exchange wants is looked for in the headers of foreign messages too.
func TestForeignMessagesInHeadersExchange(t *testing.T) {
	t.Parallel()
	e := start(t)
	c := e.amqp()
	check(t, c.ExchangeDeclare("shop", "headers", true, false, false, false, nil))
	must(c.QueueDeclare("eu", true, false, false, false, nil))(t)
	check(t, c.QueueBind("eu", "", "shop", false, amqp.Table{"x-match": "all", "region": "eu"}))
	c.consume("eu")
	p := e.mqtt()
	for _, region := range []string{"us", "eu"} {
		must(p.Publish(e.ctx, &paho.Publish{Topic: "shop/orders", QoS: 1, Payload: []byte(region), Properties: user("region", region)}))(t)
	}
	e.produce(&kgo.Record{Topic: "shop.orders", Value: []byte("k-us"), Headers: headers("region", "us")},
		&kgo.Record{Topic: "shop.orders", Value: []byte("k-eu"), Headers: headers("region", "eu")})
	for _, want := range []string{"eu", "k-eu"} {
		if d := c.next(); string(d.Body) != want {
			t.Errorf("got %s, want %s", sawAMQP(d), want)
		}
	}
	none(t, c.got, "another")
}

// $-roots are nobody's by wildcard, and in no stream.
func TestDollarRoots(t *testing.T) {
	t.Parallel()
	e := start(t)
	all, exact, under := e.sub("#", "+/a"), e.sub("$x/a"), e.sub("$x/#")
	wild, key := e.bound("#", "*.a"), e.bound("$x.a")
	e.publishMQTT(&paho.Publish{Topic: "$x/a", QoS: 1, Payload: []byte("v")})
	e.publishMQTT(&paho.Publish{Topic: "y/a", QoS: 1, Payload: []byte("w")})
	same(t, "a subscription to $x/a", sawMQTT(exact.next()), `$x/a="v" qos1`)
	same(t, "a subscription to $x/#", sawMQTT(under.next()), `$x/a="v" qos1`)
	same(t, "a subscription to #", sawMQTT(all.next()), `y/a="w" qos1`)
	same(t, "a queue bound with $x.a", sawAMQP(key.next()), `amq.topic|$x.a="v" mode2 rmq-proto="mqtt"`)
	same(t, "a queue bound with #", sawAMQP(wild.next()), `amq.topic|y.a="w" mode2 rmq-proto="mqtt"`)
	if names := must(kadm.NewClient(e.kafka()).ListTopicsWithInternal(e.ctx))(t).Names(); len(names) != 1 || names[0] != "y" {
		t.Errorf("Kafka lists %q", names)
	}
}
