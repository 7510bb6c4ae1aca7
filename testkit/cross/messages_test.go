package cross

import (
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/robustmq/rmq/testkit"
)

// row is one message and what clients of each protocol are to see of it.
type row struct {
	name string
	send any // *paho.Publish, *kgo.Record, or amqpMessage
	// "": not looked at
	mqtt, kafka, amqp string
	topic             string // Kafka's; "" is m
}

type amqpMessage struct {
	exchange, key string
	amqp.Publishing
}

// the time of broker and messages in these tests.
var noon = time.Date(2030, 6, 1, 12, 0, 0, 0, time.UTC)

const noonSeconds = "1906545600"

func (r row) run(t *testing.T) {
	t.Parallel()
	e := start(t, testkit.VirtualAt(noon))
	mqtt, queue := e.sub("#"), e.bound("#")
	switch m := r.send.(type) {
	case *paho.Publish:
		e.publishMQTT(m)
	case *kgo.Record:
		e.produce(m)
	case amqpMessage:
		e.publishAMQP(m.exchange, m.key, m.Publishing)
	}
	if r.mqtt != "" {
		same(t, "MQTT", sawMQTT(mqtt.next()), r.mqtt)
	}
	if r.amqp != "" {
		same(t, "AMQP", sawAMQP(queue.next()), r.amqp)
	}
	if r.kafka != "" {
		topic := r.topic
		if topic == "" {
			topic = "m"
		}
		same(t, "Kafka", sawKafka(e.read(topic, 1)[0]), r.kafka)
	}
}

func user(pairs ...string) *paho.PublishProperties {
	p := &paho.PublishProperties{}
	for i := 0; i < len(pairs); i += 2 {
		p.User.Add(pairs[i], pairs[i+1])
	}
	return p
}

func headers(pairs ...string) []kgo.RecordHeader {
	var out []kgo.RecordHeader
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, kgo.RecordHeader{Key: pairs[i], Value: []byte(pairs[i+1])})
	}
	return out
}

var long = strings.Repeat("n", 300)

func TestFromMQTT(t *testing.T) {
	at := func(p *paho.PublishProperties) *paho.Publish {
		return &paho.Publish{Topic: "m/d", QoS: 1, Payload: []byte("v"), Properties: p}
	}
	for _, r := range []row{
		{name: "plain", send: at(nil),
			mqtt: `m/d="v" qos1`, kafka: `m "m/d"="v" rmq-proto="mqtt"`, amqp: `amq.topic|m.d="v" mode2 rmq-proto="mqtt"`},
		{name: "QoS 0", send: &paho.Publish{Topic: "m/d", Payload: []byte("v")},
			mqtt: `m/d="v" qos0`, kafka: `m "m/d"="v" rmq-proto="mqtt" rmq-qos="0"`, amqp: `amq.topic|m.d="v" mode1 rmq-proto="mqtt"`},
		{name: "QoS 2", send: &paho.Publish{Topic: "m/d", QoS: 2, Payload: []byte("v")},
			mqtt: `m/d="v" qos2`, kafka: `m "m/d"="v" rmq-proto="mqtt" rmq-qos="2"`, amqp: `amq.topic|m.d="v" mode2 rmq-proto="mqtt"`},
		{name: "binary value", send: &paho.Publish{Topic: "m/d", QoS: 1, Payload: []byte("\x00\xff")},
			mqtt: `m/d="\x00\xff" qos1`, kafka: `m "m/d"="\x00\xff" rmq-proto="mqtt"`, amqp: `amq.topic|m.d="\x00\xff" mode2 rmq-proto="mqtt"`},
		{name: "empty value", send: &paho.Publish{Topic: "m/d", QoS: 1},
			mqtt: `m/d="" qos1`, kafka: `m "m/d"="" rmq-proto="mqtt"`, amqp: `amq.topic|m.d="" mode2 rmq-proto="mqtt"`},
		{name: "empty value that clears a retained message", send: &paho.Publish{Topic: "m/d", QoS: 1, Retain: true},
			mqtt: `m/d="" qos1 retain`, kafka: `m "m/d"=null rmq-proto="mqtt" rmq-retain="1"`,
			amqp: `amq.topic|m.d="" mode2 rmq-null="true" rmq-proto="mqtt" rmq-retain="true"`},
		{name: "retained", send: &paho.Publish{Topic: "m/d", QoS: 1, Retain: true, Payload: []byte("v")},
			mqtt: `m/d="v" qos1 retain`, kafka: `m "m/d"="v" rmq-proto="mqtt" rmq-retain="1"`,
			amqp: `amq.topic|m.d="v" mode2 rmq-proto="mqtt" rmq-retain="true"`},
		{name: "the stream's own address has no key", send: &paho.Publish{Topic: "m", QoS: 1, Payload: []byte("v")},
			mqtt: `m="v" qos1`, kafka: `m null="v" rmq-proto="mqtt"`, amqp: `amq.topic|m="v" mode2 rmq-proto="mqtt"`},
		{name: "key", send: at(user("rmq-key", "k")),
			mqtt: `m/d="v" qos1 rmq-key=k`, kafka: `m "k"="v" rmq-proto="mqtt" rmq-address="m/d"`, amqp: `amq.topic|m.d="v" mode2 rmq-key="k" rmq-proto="mqtt"`},
		{name: "binary key", send: at(user("rmq-key-b64", "AP8=")),
			mqtt: `m/d="v" qos1 rmq-key-b64=AP8=`, kafka: `m "\x00\xff"="v" rmq-proto="mqtt" rmq-address="m/d"`,
			amqp: `amq.topic|m.d="v" mode2 rmq-key="\x00\xff" rmq-proto="mqtt"`},
		{name: "empty key", send: at(user("rmq-key", "")),
			kafka: `m ""="v" rmq-proto="mqtt" rmq-address="m/d"`, amqp: `amq.topic|m.d="v" mode2 rmq-key="" rmq-proto="mqtt"`},
		{name: "headers keep order and repeats", send: at(user("b", "1", "a", "2", "b", "3", "b", "")),
			mqtt: `m/d="v" qos1 b=1 a=2 b=3 b=`, kafka: `m "m/d"="v" rmq-proto="mqtt" b="1" a="2" b="3" b=""`,
			amqp: `amq.topic|m.d="v" mode2 a="2" b=["1" "3" ""] rmq-proto="mqtt"`},
		{name: "long header name", send: at(user(long, "1", "a", "2")),
			mqtt: `m/d="v" qos1 ` + long + `=1 a=2`, kafka: `m "m/d"="v" rmq-proto="mqtt" ` + long + `="1" a="2"`,
			amqp: `amq.topic|m.d="v" mode2 a="2" rmq-headers="[{\"name\":\"` + long + `\",\"value\":\"1\"}]" rmq-proto="mqtt"`},
		{name: "header in many letters", send: at(user("größe", "μ")),
			kafka: `m "m/d"="v" rmq-proto="mqtt" größe="μ"`, amqp: `amq.topic|m.d="v" mode2 größe="μ" rmq-proto="mqtt"`},
		{name: "rmq- names stay at home", send: at(user("rmq-proto", "amqp", "rmq-x", "1", "a", "2")),
			mqtt: `m/d="v" qos1 rmq-proto=amqp rmq-x=1 a=2`, kafka: `m "m/d"="v" rmq-proto="mqtt" a="2"`, amqp: `amq.topic|m.d="v" mode2 a="2" rmq-proto="mqtt"`},
		{name: "trace", send: at(user("traceparent", "00-1-2-01")),
			kafka: `m "m/d"="v" rmq-proto="mqtt" traceparent="00-1-2-01"`, amqp: `amq.topic|m.d="v" mode2 rmq-proto="mqtt" traceparent="00-1-2-01"`},
		{name: "content type", send: at(&paho.PublishProperties{ContentType: "text/plain"}),
			mqtt: `m/d="v" qos1 content-type:text/plain`, kafka: `m "m/d"="v" rmq-proto="mqtt" content-type="text/plain"`,
			amqp: `amq.topic|m.d="v" mode2 content-type:text/plain rmq-proto="mqtt"`},
		{name: "content type, and a header of that name", send: func() *paho.Publish {
			p := at(user("content-type", "b"))
			p.Properties.ContentType = "a"
			return p
		}(),
			mqtt: `m/d="v" qos1 content-type:a content-type=b`, kafka: `m "m/d"="v" rmq-proto="mqtt" content-type="a" content-type="b"`,
			amqp: `amq.topic|m.d="v" mode2 content-type:a content-type="b" rmq-proto="mqtt"`},
		{name: "content encoding and the four properties", send: at(user("content-encoding", "gzip", "message-id", "7", "type", "t", "app-id", "app")),
			mqtt:  `m/d="v" qos1 content-encoding=gzip message-id=7 type=t app-id=app`,
			kafka: `m "m/d"="v" rmq-proto="mqtt" content-encoding="gzip" message-id="7" type="t" app-id="app"`,
			amqp:  `amq.topic|m.d="v" mode2 content-encoding:gzip message-id:7 type:t app-id:app rmq-proto="mqtt"`},
		{name: "somebody else's user id", send: at(user("user-id", "root", "a", "1")),
			mqtt: `m/d="v" qos1 user-id=root a=1`, kafka: `m "m/d"="v" rmq-proto="mqtt" a="1"`, amqp: `amq.topic|m.d="v" mode2 a="1" rmq-proto="mqtt"`},
		{name: "text", send: at(&paho.PublishProperties{PayloadFormat: ptr(byte(1))}),
			mqtt: `m/d="v" qos1 format:1`, kafka: `m "m/d"="v" rmq-proto="mqtt" payload-format="utf-8"`,
			amqp: `amq.topic|m.d="v" mode2 payload-format="utf-8" rmq-proto="mqtt"`},
		{name: "correlation", send: at(&paho.PublishProperties{CorrelationData: []byte("c-1")}),
			mqtt: `m/d="v" qos1 correlation:"c-1"`, kafka: `m "m/d"="v" rmq-proto="mqtt" correlation-id="c-1"`,
			amqp: `amq.topic|m.d="v" mode2 correlation:c-1 rmq-proto="mqtt"`},
		{name: "binary correlation", send: at(&paho.PublishProperties{CorrelationData: []byte("\x00\xff")}),
			mqtt: `m/d="v" qos1 correlation:"\x00\xff"`, kafka: `m "m/d"="v" rmq-proto="mqtt" correlation-id="\x00\xff"`,
			amqp: `amq.topic|m.d="v" mode2 rmq-proto="mqtt" x-correlation-id="\x00\xff"`},
		{name: "long correlation", send: at(&paho.PublishProperties{CorrelationData: []byte(long)}),
			kafka: `m "m/d"="v" rmq-proto="mqtt" correlation-id="` + long + `"`, amqp: `amq.topic|m.d="v" mode2 rmq-proto="mqtt" x-correlation-id="` + long + `"`},
		{name: "reply to", send: at(&paho.PublishProperties{ResponseTopic: "re/v1.0/x"}),
			mqtt: `m/d="v" qos1 response:re/v1.0/x`, kafka: `m "m/d"="v" rmq-proto="mqtt" reply-to="re.v1_x2E_0.x"`,
			amqp: `amq.topic|m.d="v" mode2 reply-to:re.v1_x2E_0.x rmq-proto="mqtt"`},
		{name: "priority", send: at(user("priority", "7")),
			mqtt: `m/d="v" qos1 priority=7`, kafka: `m "m/d"="v" rmq-proto="mqtt" priority="7"`, amqp: `amq.topic|m.d="v" mode2 priority:7 rmq-proto="mqtt"`},
		{name: "expiry", send: at(&paho.PublishProperties{MessageExpiry: ptr(uint32(60))}),
			mqtt: `m/d="v" qos1 expiry:60`, kafka: `m "m/d"="v" rmq-proto="mqtt" expires-at="1906545660000"`,
			amqp: `amq.topic|m.d="v" mode2 expiration:60000 rmq-proto="mqtt"`},
		{name: "the application's time", send: at(user("timestamp", noonSeconds)),
			mqtt: `m/d="v" qos1 timestamp=` + noonSeconds, kafka: `m "m/d"="v" rmq-proto="mqtt" timestamp="` + noonSeconds + `"`,
			amqp: `amq.topic|m.d="v" mode2 timestamp:` + noonSeconds + ` rmq-proto="mqtt"`},
		{name: "a time that is none", send: at(user("timestamp", "noon")),
			amqp: `amq.topic|m.d="v" mode2 rmq-proto="mqtt" timestamp="noon"`},
	} {
		t.Run(r.name, r.run)
	}
}

func TestFromKafka(t *testing.T) {
	at := func(h ...string) *kgo.Record {
		return &kgo.Record{Topic: "m.d", Key: []byte("k"), Value: []byte("v"), Headers: headers(h...)}
	}
	for _, r := range []row{
		{name: "plain", send: &kgo.Record{Topic: "m.d", Value: []byte("v")},
			mqtt: `m/d="v" qos1 rmq-proto=kafka`, kafka: `m.d null="v"`, amqp: `amq.topic|m.d="v" mode2 rmq-proto="kafka"`},
		{name: "key", send: at(),
			mqtt: `m/d="v" qos1 rmq-key=k rmq-proto=kafka`, kafka: `m.d "k"="v"`, amqp: `amq.topic|m.d="v" mode2 rmq-key="k" rmq-proto="kafka"`},
		{name: "key that looks like an address", send: &kgo.Record{Topic: "m.d", Key: []byte("m/d/e"), Value: []byte("v")},
			mqtt: `m/d="v" qos1 rmq-key=m/d/e rmq-proto=kafka`, kafka: `m.d "m/d/e"="v"`, amqp: `amq.topic|m.d="v" mode2 rmq-key="m/d/e" rmq-proto="kafka"`},
		{name: "binary key", send: &kgo.Record{Topic: "m.d", Key: []byte("\xff"), Value: []byte("v")},
			mqtt: `m/d="v" qos1 rmq-key-b64=/w== rmq-proto=kafka`, kafka: `m.d "\xff"="v"`, amqp: `amq.topic|m.d="v" mode2 rmq-key="\xff" rmq-proto="kafka"`},
		{name: "empty key", send: &kgo.Record{Topic: "m.d", Key: []byte{}, Value: []byte("v")},
			mqtt: `m/d="v" qos1 rmq-key= rmq-proto=kafka`, kafka: `m.d ""="v"`, amqp: `amq.topic|m.d="v" mode2 rmq-key="" rmq-proto="kafka"`},
		{name: "tombstone", send: &kgo.Record{Topic: "m.d", Key: []byte("k")},
			mqtt: `m/d="" qos1 rmq-key=k rmq-proto=kafka`, kafka: `m.d "k"=null`, amqp: `amq.topic|m.d="" mode2 rmq-key="k" rmq-null="true" rmq-proto="kafka"`},
		{name: "empty value", send: &kgo.Record{Topic: "m.d", Value: []byte{}},
			mqtt: `m/d="" qos1 rmq-proto=kafka`, kafka: `m.d null=""`, amqp: `amq.topic|m.d="" mode2 rmq-proto="kafka"`},
		{name: "headers keep order and repeats", send: at("b", "1", "a", "2", "b", "3"),
			mqtt: `m/d="v" qos1 b=1 a=2 b=3 rmq-key=k rmq-proto=kafka`, kafka: `m.d "k"="v" b="1" a="2" b="3"`,
			amqp: `amq.topic|m.d="v" mode2 a="2" b=["1" "3"] rmq-key="k" rmq-proto="kafka"`},
		{name: "null and empty header", send: &kgo.Record{Topic: "m.d", Value: []byte("v"), Headers: []kgo.RecordHeader{{Key: "n"}, {Key: "e", Value: []byte{}}}},
			mqtt: `m/d="v" qos1 n= e= rmq-proto=kafka`, kafka: `m.d null="v" n=null e=""`, amqp: `amq.topic|m.d="v" mode2 e="" n=<nil>(<nil>) rmq-proto="kafka"`},
		{name: "binary header", send: at("b", "\x00\xff"),
			mqtt: `m/d="v" qos1 b=AP8= b-encoding=base64 rmq-key=k rmq-proto=kafka`, kafka: `m.d "k"="v" b="\x00\xff"`,
			amqp: `amq.topic|m.d="v" mode2 b="\x00\xff" rmq-key="k" rmq-proto="kafka"`},
		{name: "long header name", send: at(long, "\xff"),
			mqtt: `m/d="v" qos1 ` + long + `=/w== ` + long + `-encoding=base64 rmq-key=k rmq-proto=kafka`,
			amqp: `amq.topic|m.d="v" mode2 rmq-headers="[{\"name\":\"` + long + `\",\"value\":\"/w==\",\"encoding\":\"base64\"}]" rmq-key="k" rmq-proto="kafka"`},
		{name: "properties", send: at("content-type", "text/plain", "content-encoding", "gzip", "message-id", "7", "type", "t", "app-id", "app"),
			mqtt:  `m/d="v" qos1 content-type:text/plain content-encoding=gzip message-id=7 type=t app-id=app rmq-key=k rmq-proto=kafka`,
			kafka: `m.d "k"="v" content-type="text/plain" content-encoding="gzip" message-id="7" type="t" app-id="app"`,
			amqp:  `amq.topic|m.d="v" mode2 content-type:text/plain content-encoding:gzip message-id:7 type:t app-id:app rmq-key="k" rmq-proto="kafka"`},
		{name: "user id", send: at("user-id", "root"),
			mqtt: `m/d="v" qos1 rmq-key=k rmq-proto=kafka`, kafka: `m.d "k"="v" user-id="root"`, amqp: `amq.topic|m.d="v" mode2 rmq-key="k" rmq-proto="kafka"`},
		{name: "text", send: at("payload-format", "utf-8"),
			mqtt: `m/d="v" qos1 format:1 rmq-key=k rmq-proto=kafka`, amqp: `amq.topic|m.d="v" mode2 payload-format="utf-8" rmq-key="k" rmq-proto="kafka"`},
		{name: "text that is none", send: &kgo.Record{Topic: "m.d", Value: []byte("\xff"), Headers: headers("payload-format", "utf-8")},
			mqtt: `m/d="\xff" qos1 payload-format=utf-8 rmq-proto=kafka`},
		{name: "correlation", send: at("correlation-id", "\xff"),
			mqtt: `m/d="v" qos1 correlation:"\xff" rmq-key=k rmq-proto=kafka`, kafka: `m.d "k"="v" correlation-id="\xff"`,
			amqp: `amq.topic|m.d="v" mode2 rmq-key="k" rmq-proto="kafka" x-correlation-id="\xff"`},
		{name: "Spring's correlation and reply topic", send: at("kafka_correlationId", "c", "kafka_replyTopic", "re.x"),
			mqtt: `m/d="v" qos1 response:re/x correlation:"c" rmq-key=k rmq-proto=kafka`, kafka: `m.d "k"="v" kafka_correlationId="c" kafka_replyTopic="re.x"`,
			amqp: `amq.topic|m.d="v" mode2 correlation:c reply-to:re.x rmq-key="k" rmq-proto="kafka"`},
		{name: "reply to", send: at("reply-to", "re.v1_x2E_0"),
			mqtt: `m/d="v" qos1 response:re/v1.0 rmq-key=k rmq-proto=kafka`, amqp: `amq.topic|m.d="v" mode2 reply-to:re.v1_x2E_0 rmq-key="k" rmq-proto="kafka"`},
		{name: "priority", send: at("priority", "7"),
			mqtt: `m/d="v" qos1 priority=7 rmq-key=k rmq-proto=kafka`, amqp: `amq.topic|m.d="v" mode2 priority:7 rmq-key="k" rmq-proto="kafka"`},
		{name: "expiry", send: at("expires-at", "1906545660000"),
			mqtt: `m/d="v" qos1 expiry:60 rmq-key=k rmq-proto=kafka`, kafka: `m.d "k"="v" expires-at="1906545660000"`,
			amqp: `amq.topic|m.d="v" mode2 expiration:60000 rmq-key="k" rmq-proto="kafka"`},
		{name: "expiry is rounded up to seconds", send: at("expires-at", "1906545600001"),
			mqtt: `m/d="v" qos1 expiry:1 rmq-key=k rmq-proto=kafka`, amqp: `amq.topic|m.d="v" mode2 expiration:1 rmq-key="k" rmq-proto="kafka"`},
		{name: "the application's time", send: at("timestamp", noonSeconds),
			mqtt: `m/d="v" qos1 timestamp=` + noonSeconds + ` rmq-key=k rmq-proto=kafka`,
			amqp: `amq.topic|m.d="v" mode2 timestamp:` + noonSeconds + ` rmq-key="k" rmq-proto="kafka"`},
		{name: "rmq- names stay at home", send: at("rmq-proto", "mqtt", "rmq-address", "x", "rmq-native", "y", "a", "1"),
			mqtt: `m/d="v" qos1 a=1 rmq-key=k rmq-proto=kafka`, amqp: `amq.topic|m.d="v" mode2 a="1" rmq-key="k" rmq-proto="kafka"`},
	} {
		if r.topic == "" {
			r.topic = "m.d"
		}
		t.Run(r.name, r.run)
	}
	t.Run("acks 0", func(t *testing.T) {
		t.Parallel()
		e := start(t)
		mqtt, queue := e.sub("#"), e.bound("#")
		c := e.kafka(kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite())
		check(t, c.ProduceSync(e.ctx, &kgo.Record{Topic: "m.d", Value: []byte("v")}).FirstErr())
		same(t, "MQTT", sawMQTT(mqtt.next()), `m/d="v" qos0 rmq-proto=kafka`)
		same(t, "AMQP", sawAMQP(queue.next()), `amq.topic|m.d="v" mode1 rmq-proto="kafka"`)
	})
}

func TestFromAMQP(t *testing.T) {
	at := func(p amqp.Publishing) amqpMessage {
		p.DeliveryMode, p.Body = amqp.Persistent, []byte("v")
		return amqpMessage{"amq.topic", "m.d", p}
	}
	table := func(name string, value any) amqpMessage { return at(amqp.Publishing{Headers: amqp.Table{name: value}}) }
	for _, r := range []row{
		{name: "plain", send: at(amqp.Publishing{}),
			mqtt: `m/d="v" qos1 rmq-proto=amqp`, kafka: `m "m/d"="v" rmq-proto="amqp"`, amqp: `amq.topic|m.d="v" mode2`},
		{name: "transient", send: amqpMessage{"amq.topic", "m.d", amqp.Publishing{Body: []byte("v")}},
			mqtt: `m/d="v" qos0 rmq-proto=amqp`, kafka: `m "m/d"="v" rmq-proto="amqp" rmq-qos="0"`},
		{name: "empty body", send: amqpMessage{"amq.topic", "m.d", amqp.Publishing{DeliveryMode: amqp.Persistent}},
			mqtt: `m/d="" qos1 rmq-proto=amqp`, kafka: `m "m/d"="" rmq-proto="amqp"`, amqp: `amq.topic|m.d="" mode2`},
		{name: "key", send: table("rmq-key", "k"),
			mqtt: `m/d="v" qos1 rmq-key=k rmq-proto=amqp`, kafka: `m "k"="v" rmq-proto="amqp" rmq-address="m/d"`, amqp: `amq.topic|m.d="v" mode2 rmq-key="k"`},
		{name: "binary key", send: table("rmq-key", []byte("\xff")),
			mqtt: `m/d="v" qos1 rmq-key-b64=/w== rmq-proto=amqp`, kafka: `m "\xff"="v" rmq-proto="amqp" rmq-address="m/d"`},
		{name: "properties", send: at(amqp.Publishing{
			ContentType: "text/plain", ContentEncoding: "gzip", CorrelationId: "c", ReplyTo: "re.x", MessageId: "7", Type: "t", AppId: "app", UserId: "guest",
			Timestamp: noon, Priority: 7, Expiration: "60000",
		}),
			mqtt: `m/d="v" qos1 expiry:60 content-type:text/plain response:re/x correlation:"c" content-encoding=gzip message-id=7 type=t app-id=app user-id=guest timestamp=` +
				noonSeconds + ` priority=7 rmq-proto=amqp`,
			kafka: `m "m/d"="v" rmq-proto="amqp" expires-at="1906545660000" priority="7" content-type="text/plain" content-encoding="gzip" correlation-id="c" ` +
				`reply-to="re.x" message-id="7" type="t" app-id="app" user-id="guest" timestamp="` + noonSeconds + `"`,
			amqp: `amq.topic|m.d="v" mode2 priority:7 content-type:text/plain content-encoding:gzip correlation:c reply-to:re.x expiration:60000 message-id:7 ` +
				`type:t user-id:guest app-id:app timestamp:` + noonSeconds},
		{name: "expiration below a second", send: at(amqp.Publishing{Expiration: "1"}),
			mqtt: `m/d="v" qos1 expiry:1 rmq-proto=amqp`, kafka: `m "m/d"="v" rmq-proto="amqp" expires-at="1906545600001"`},
		{name: "header, text", send: table("h", "1"),
			mqtt: `m/d="v" qos1 h=1 rmq-proto=amqp`, kafka: `m "m/d"="v" rmq-proto="amqp" h="1"`, amqp: `amq.topic|m.d="v" mode2 h="1"`},
		{name: "header, int8", send: table("h", int8(-1)),
			mqtt: `m/d="v" qos1 h=-1 rmq-proto=amqp`, kafka: `m "m/d"="v" rmq-proto="amqp" h="-1"`},
		{name: "header, int32", send: table("h", int32(-7)),
			mqtt: `m/d="v" qos1 h=-7 rmq-proto=amqp`, kafka: `m "m/d"="v" rmq-proto="amqp" h="-7"`, amqp: `amq.topic|m.d="v" mode2 h=int32(-7)`},
		{name: "header, int64", send: table("h", int64(1)<<60),
			mqtt: `m/d="v" qos1 h=1152921504606846976 rmq-proto=amqp`, amqp: `amq.topic|m.d="v" mode2 h=int64(1152921504606846976)`},
		{name: "header, float", send: table("h", 1.5),
			mqtt: `m/d="v" qos1 h=1.5 rmq-proto=amqp`, kafka: `m "m/d"="v" rmq-proto="amqp" h="1.5"`, amqp: `amq.topic|m.d="v" mode2 h=float64(1.5)`},
		{name: "header, bool", send: table("h", true),
			mqtt: `m/d="v" qos1 h=true rmq-proto=amqp`, kafka: `m "m/d"="v" rmq-proto="amqp" h="true"`, amqp: `amq.topic|m.d="v" mode2 h=bool(true)`},
		{name: "header, decimal", send: table("h", amqp.Decimal{Scale: 2, Value: 314}),
			mqtt: `m/d="v" qos1 h=3.14 rmq-proto=amqp`, kafka: `m "m/d"="v" rmq-proto="amqp" h="3.14"`, amqp: `amq.topic|m.d="v" mode2 h=amqp091.Decimal({2 314})`},
		{name: "header, time", send: table("h", noon),
			mqtt: `m/d="v" qos1 h=` + noonSeconds + ` rmq-proto=amqp`, kafka: `m "m/d"="v" rmq-proto="amqp" h="` + noonSeconds + `"`,
			amqp: `amq.topic|m.d="v" mode2 h=time(` + noonSeconds + `)`},
		{name: "header, void", send: table("h", nil),
			mqtt: `m/d="v" qos1 h= rmq-proto=amqp`, kafka: `m "m/d"="v" rmq-proto="amqp" h=null`, amqp: `amq.topic|m.d="v" mode2 h=<nil>(<nil>)`},
		{name: "header, bytes", send: table("h", []byte("\x00\xff")),
			mqtt: `m/d="v" qos1 h=AP8= h-encoding=base64 rmq-proto=amqp`, kafka: `m "m/d"="v" rmq-proto="amqp" h="\x00\xff"`,
			amqp: `amq.topic|m.d="v" mode2 h=[]uint8([0 255])`},
		{name: "header, repeats", send: table("h", []any{"1", "2", "1"}),
			mqtt: `m/d="v" qos1 h=1 h=2 h=1 rmq-proto=amqp`, kafka: `m "m/d"="v" rmq-proto="amqp" h="1" h="2" h="1"`, amqp: `amq.topic|m.d="v" mode2 h=["1" "2" "1"]`},
		{name: "header, array", send: table("h", []any{"1", int32(2), nil}),
			mqtt: `m/d="v" qos1 h=["1",2,null] rmq-proto=amqp`, kafka: `m "m/d"="v" rmq-proto="amqp" h="[\"1\",2,null]"`,
			amqp: `amq.topic|m.d="v" mode2 h=["1" int32(2) <nil>(<nil>)]`},
		{name: "header, table", send: table("h", amqp.Table{"a": amqp.Table{"b": true}}),
			mqtt: `m/d="v" qos1 h={"a":{"b":true}} rmq-proto=amqp`, kafka: `m "m/d"="v" rmq-proto="amqp" h="{\"a\":{\"b\":true}}"`,
			amqp: `amq.topic|m.d="v" mode2 h={a={b=bool(true)}}`},
		{name: "rmq- names stay at home", send: table("rmq-x", "1"),
			mqtt: `m/d="v" qos1 rmq-proto=amqp`, kafka: `m "m/d"="v" rmq-proto="amqp"`, amqp: `amq.topic|m.d="v" mode2 rmq-x="1"`},
		{name: "correlation that is no short string", send: table("x-correlation-id", []byte("\xff")),
			mqtt: `m/d="v" qos1 correlation:"\xff" rmq-proto=amqp`, kafka: `m "m/d"="v" rmq-proto="amqp" correlation-id="\xff"`},
		{name: "reply to as an MQTT topic", send: table("x-reply-to-topic", "re.x"),
			mqtt: `m/d="v" qos1 response:re/x rmq-proto=amqp`, kafka: `m "m/d"="v" rmq-proto="amqp" reply-to="re.x"`},
		{name: "text", send: table("payload-format", "utf-8"),
			mqtt: `m/d="v" qos1 format:1 rmq-proto=amqp`, kafka: `m "m/d"="v" rmq-proto="amqp" payload-format="utf-8"`},
		{name: "retained", send: table("rmq-retain", true),
			mqtt: `m/d="v" qos1 retain rmq-proto=amqp`, kafka: `m "m/d"="v" rmq-proto="amqp" rmq-retain="1"`},
		{name: "long header value", send: table("h", strings.Repeat("x", 70_000)),
			mqtt: `m/d="v" qos1 rmq-proto=amqp`, kafka: `m "m/d"="v" rmq-proto="amqp" h="` + strings.Repeat("x", 70_000) + `"`},
		{name: "key with slashes", send: amqpMessage{"amq.topic", "m/d.e", amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("v")}},
			mqtt: `m/d/e="v" qos1 rmq-proto=amqp`, kafka: `m "m/d/e"="v" rmq-proto="amqp"`, amqp: `amq.topic|m/d.e="v" mode2`},
	} {
		t.Run(r.name, r.run)
	}
}
