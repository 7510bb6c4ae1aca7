package mqtt

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/mqttwire"
)

const now = int64(1_700_000_000_000) // ms

func header(name, value string) message.Header {
	return message.Header{Name: name, Value: []byte(value)}
}

func TestFill(t *testing.T) {
	var none mqttwire.Properties
	tests := []struct {
		name string
		in   mqttwire.Publish
		user string
		want message.Message
	}{
		{"bare", mqttwire.Publish{Topic: []byte("a/b"), Payload: []byte("x"), QoS: 1}, "",
			message.Message{Address: "a/b", Value: []byte("x"), QoS: 1}},
		{"empty is not null", mqttwire.Publish{Topic: []byte("a"), Payload: []byte{}}, "",
			message.Message{Address: "a", Value: []byte{}}},
		{"null where it clears", mqttwire.Publish{Topic: []byte("a"), Payload: []byte{}, Retain: true}, "",
			message.Message{Address: "a", Retain: true}},
		{"retained", mqttwire.Publish{Topic: []byte("a"), Payload: []byte("x"), Retain: true, QoS: 2}, "",
			message.Message{Address: "a", Value: []byte("x"), Retain: true, QoS: 2}},
		{"standard", mqttwire.Publish{Topic: []byte("a"), Payload: []byte("x"),
			Properties: none.User("k", "1").String(mqttwire.ContentType, "text/plain").Byte(mqttwire.PayloadFormat, 1).
				Binary(mqttwire.CorrelationData, []byte{0, 0xff}).String(mqttwire.ResponseTopic, "r/1").User("k", "2")}, "",
			message.Message{Address: "a", Value: []byte("x"), Headers: []message.Header{
				header("content-type", "text/plain"), header("payload-format", "utf-8"), header("correlation-id", "\x00\xff"),
				header("reply-to", "r/1"), header("k", "1"), header("k", "2")}}},
		{"payload format 0 says nothing", mqttwire.Publish{Topic: []byte("a"), Payload: []byte("x"),
			Properties: none.Byte(mqttwire.PayloadFormat, 0)}, "",
			message.Message{Address: "a", Value: []byte("x")}},
		{"expiry", mqttwire.Publish{Topic: []byte("a"), Payload: []byte("x"),
			Properties: none.Uint32(mqttwire.MessageExpiry, 60)}, "",
			message.Message{Address: "a", Value: []byte("x"), ExpiresAt: now + 60_000}},
		{"property before the user's of that name", mqttwire.Publish{Topic: []byte("a"), Payload: []byte("x"),
			Properties: none.User("content-type", "mine").String(mqttwire.ContentType, "real")}, "",
			message.Message{Address: "a", Value: []byte("x"),
				Headers: []message.Header{header("content-type", "real"), header("content-type", "mine")}}},
		{"controls", mqttwire.Publish{Topic: []byte("a"), Payload: []byte("x"),
			Properties: none.User("rmq-key", "K").User("rmq-delay", "1500").User("rmq-partition", "3").User("priority", "7").
				User("rmq-secret", "s")}, "",
			message.Message{Address: "a", Value: []byte("x"), Key: []byte("K"), Delay: 1500, Partition: 4, Priority: 7}},
		{"binary key", mqttwire.Publish{Topic: []byte("a"), Payload: []byte("x"), Properties: none.User("rmq-key-b64", "AP8=")}, "",
			message.Message{Address: "a", Value: []byte("x"), Key: []byte{0, 0xff}}},
		{"user-id of the authenticated user", mqttwire.Publish{Topic: []byte("a"), Payload: []byte("x"),
			Properties: none.User("user-id", "ann")}, "ann",
			message.Message{Address: "a", Value: []byte("x"), Headers: []message.Header{header("user-id", "ann")}}},
		{"user-id of somebody else", mqttwire.Publish{Topic: []byte("a"), Payload: []byte("x"),
			Properties: none.User("user-id", "bob")}, "ann",
			message.Message{Address: "a", Value: []byte("x")}},
		{"standard names as user properties", mqttwire.Publish{Topic: []byte("a"), Payload: []byte("x"),
			Properties: none.User("message-id", "m1").User("traceparent", "00-1-2-03").User("timestamp", "1700000000")}, "",
			message.Message{Address: "a", Value: []byte("x"), Headers: []message.Header{
				header("message-id", "m1"), header("traceparent", "00-1-2-03"), header("timestamp", "1700000000")}}},
		{"delayed", mqttwire.Publish{Topic: []byte("$delayed/5/a/b"), Payload: []byte("x")}, "",
			message.Message{Address: "a/b", Value: []byte("x"), Delay: 5000}},
	}
	var in inbound // shared: a fill must not show in the next
	for _, tt := range tests {
		var m message.Message
		if err := in.fill(&m, &tt.in, string(tt.in.Topic), tt.user, now); err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		want := tt.want
		want.Source = message.MQTT
		got := m
		got.Native = nil
		if len(got.Headers) == 0 {
			got.Headers = nil
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", tt.name, got, want)
		}
	}
}

func TestDelayedTopics(t *testing.T) {
	for _, topic := range []string{"$delayed/", "$delayed/5", "$delayed/5/", "$delayed/x/a", "$delayed/-1/a", "$delayed/4294968/a"} {
		if _, _, err := splitDelayed(topic); err == nil {
			t.Errorf("%q is taken for a delayed topic", topic)
		}
	}
	if rest, ms, err := splitDelayed("$delayed/4294967//a"); rest != "/a" || ms != 4294967000 || err != nil {
		t.Errorf("got %q, %d, %v", rest, ms, err)
	}
	if rest, ms, err := splitDelayed("$delayedx/5/a"); rest != "$delayedx/5/a" || ms != 0 || err != nil {
		t.Errorf("got %q, %d, %v", rest, ms, err)
	}
}

// What MQTT sent MQTT receives: same properties, order and repeats, less what is for one hop.
func TestSameProtocolIsExact(t *testing.T) {
	var none mqttwire.Properties
	tests := []struct {
		name     string
		in, want mqttwire.Properties
	}{
		{"none", nil, nil},
		{"all", none.User("b", "2").String(mqttwire.ContentType, "t").User("a", "1").User("b", "2").User("rmq-x", "y").
			Byte(mqttwire.PayloadFormat, 0).User("user-id", "who").String(mqttwire.ResponseTopic, "r").Binary(mqttwire.CorrelationData, nil),
			nil},
		{"less alias", none.User("a", "1").Uint16(mqttwire.TopicAlias, 3).User("b", "2"), none.User("a", "1").User("b", "2")},
		{"alias alone", none.Uint16(mqttwire.TopicAlias, 3), nil},
	}
	var in inbound
	var out outbound
	for _, tt := range tests {
		var m message.Message
		p := mqttwire.Publish{Topic: []byte("a"), Payload: []byte("x"), Properties: tt.in}
		if err := in.fill(&m, &p, "a", "me", now); err != nil {
			t.Fatal(err)
		}
		want := tt.want
		if want == nil && tt.name == "all" {
			want = tt.in
		}
		if got := out.properties(&m, extra{}); !bytes.Equal(got, want) {
			t.Errorf("%s: got %x, want %x", tt.name, got, want)
		}
		got := out.properties(&m, extra{expire: true, expiry: 9, subIDs: []uint32{5, 200000}})
		if n, _ := got.Num(mqttwire.MessageExpiry); n != 9 {
			t.Errorf("%s: expiry %d, want 9", tt.name, n)
		}
		if !bytes.HasSuffix(got, want) {
			t.Errorf("%s: the message's own properties changed: %x", tt.name, got)
		}
	}
}

// show lists a property block, for comparison.
func show(ps mqttwire.Properties) string {
	var s []string
	for p, rest, ok := ps.Next(); ok; p, rest, ok = rest.Next() {
		switch {
		case p.ID == mqttwire.UserProperty:
			s = append(s, fmt.Sprintf("%s=%s", p.Key, p.Value))
		case p.Value != nil:
			s = append(s, fmt.Sprintf("%02x:%s", byte(p.ID), p.Value))
		default:
			s = append(s, fmt.Sprintf("%02x:%d", byte(p.ID), p.Num))
		}
	}
	return strings.Join(s, " ")
}

func TestFromOtherProtocols(t *testing.T) {
	tests := []struct {
		name string
		m    message.Message
		want string
	}{
		{"kafka, bare", message.Message{Source: message.Kafka, Address: "a/b", Value: []byte("x")}, "rmq-proto=kafka"},
		{"kafka, key", message.Message{Source: message.Kafka, Address: "a", Key: []byte("k")}, "rmq-key=k rmq-proto=kafka"},
		{"kafka, binary key", message.Message{Source: message.Kafka, Address: "a", Key: []byte{0, 255}},
			"rmq-key-b64=AP8= rmq-proto=kafka"},
		{"kafka, headers in order with repeats", message.Message{Source: message.Kafka, Address: "a",
			Headers: []message.Header{header("k", "1"), header("j", "2"), header("k", "3")}}, "k=1 j=2 k=3 rmq-proto=kafka"},
		{"kafka, null and binary values", message.Message{Source: message.Kafka, Address: "a",
			Headers: []message.Header{{Name: "n"}, header("b", "\xff\x00")}},
			"n= b=/wA= b-encoding=base64 rmq-proto=kafka"},
		{"kafka, standard headers", message.Message{Source: message.Kafka, Address: "a", Value: []byte("x"),
			Headers: []message.Header{header("content-type", "t"), header("reply-to", "r.x"), header("correlation-id", "\xff"),
				header("payload-format", "utf-8"), header("content-type", "again")}},
			"01:1 03:t 08:r/x 09:\xff content-type=again rmq-proto=kafka"},
		{"kafka, spring", message.Message{Source: message.Kafka, Address: "a",
			Headers: []message.Header{header("kafka_correlationId", "c"), header("kafka_replyTopic", "r.x")}},
			"08:r/x 09:c rmq-proto=kafka"},
		{"amqp, properties", message.Message{Source: message.AMQP, Address: "a", Priority: 5,
			Headers: []message.Header{header("content-type", "t"), header("content-encoding", "gzip"), header("message-id", "m"),
				header("type", "y"), header("app-id", "p"), header("user-id", "u"), header("timestamp", "17"), header("x", "1")}},
			"03:t content-encoding=gzip message-id=m type=y app-id=p user-id=u timestamp=17 x=1 priority=5 rmq-proto=amqp"},
	}
	var out outbound
	for _, tt := range tests {
		if got := show(out.properties(&tt.m, extra{})); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

func TestRemaining(t *testing.T) {
	tests := []struct {
		ms   int64
		want uint32
		left bool
	}{{-1, 0, false}, {0, 0, false}, {1, 1, true}, {999, 1, true}, {1000, 1, true}, {1001, 2, true}, {60_000, 60, true},
		{1 << 60, 0xFFFFFFFF, true}}
	for _, tt := range tests { // MQTT5-3.3.2-6
		if got, left := remaining(now+tt.ms, now); got != tt.want || left != tt.left {
			t.Errorf("%d ms left: %d s, %v; want %d, %v", tt.ms, got, left, tt.want, tt.left)
		}
	}
}

func TestMappingDoesNotAllocate(t *testing.T) {
	var none mqttwire.Properties
	p := mqttwire.Publish{Topic: []byte("sensors/dev1/temp"), Payload: []byte("21.5"),
		Properties: none.Uint32(mqttwire.MessageExpiry, 60).User("traceparent", "00-1-2-03").User("unit", "C")}
	var in inbound
	var out outbound
	var m message.Message
	n := testing.AllocsPerRun(100, func() {
		topic := in.names.string(p.Topic)
		if err := in.fill(&m, &p, topic, "u", now); err != nil {
			t.Fatal(err)
		}
		out.properties(&m, extra{expire: true, expiry: 60})
	})
	if n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// FuzzMapping: any properties that decode map in and out without harm, and come back as
// they went in.
func FuzzMapping(f *testing.F) {
	var none mqttwire.Properties
	f.Add([]byte(none.User("a", "b").Uint32(mqttwire.MessageExpiry, 5).String(mqttwire.ResponseTopic, "r")), "a/b")
	f.Add([]byte(none.User("rmq-key-b64", "!").User("rmq-partition", "2147483647")), "$delayed/1/a")
	f.Fuzz(func(t *testing.T, block []byte, topic string) {
		src := (&mqttwire.Publish{Topic: []byte("t"), Properties: block}).Append(nil, mqttwire.V5)
		frame, n, _, err := mqttwire.ReadFrame(src, mqttwire.V5, mqttwire.PacketMax)
		var p mqttwire.Publish
		if n == 0 || err != nil || p.Decode(mqttwire.V5, frame) != nil {
			return
		}
		var in inbound
		var out outbound
		var m message.Message
		if in.fill(&m, &p, topic, "u", now) != nil {
			return
		}
		if got, want := out.properties(&m, extra{}), appendLasting(nil, p.Properties); !bytes.Equal(got, want) {
			t.Fatalf("same protocol: %x became %x", want, got)
		}
		for _, source := range []message.Protocol{message.Kafka, message.AMQP} {
			m.Source = source
			q := mqttwire.Publish{Topic: []byte("t"), Properties: out.properties(&m, extra{expire: true, expiry: 1})}
			src := q.Append(nil, mqttwire.V5)
			frame, _, _, err := mqttwire.ReadFrame(src, mqttwire.V5, mqttwire.PacketMax)
			if err == nil {
				err = q.Decode(mqttwire.V5, frame)
			}
			if err != nil {
				t.Fatalf("from %v: a PUBLISH that does not decode: %v", source, err)
			}
		}
	})
}
