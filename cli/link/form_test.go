package link

import (
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kgo"
)

// sample uses everything that a message can hold in all three protocols.
func sample() *Message {
	return &Message{
		Key: []byte("k1"), Value: []byte("21.5"), Priority: 4,
		Headers: []Header{{Name: "a", Value: []byte("1")}, {Name: "a", Value: []byte("2")}, {Name: "b", Value: []byte("x")}},
		Properties: map[string]string{
			ContentType: "text/plain", CorrelationID + binarySuffix: "/wA=", ReplyTo: "answers", MessageID: "m1", Timestamp: "1700000000",
		},
	}
}

func TestMQTTForm(t *testing.T) {
	pub := mqttPublish("t", sample())
	if pub.QoS != 1 || pub.Properties.ContentType != "text/plain" || string(pub.Properties.CorrelationData) != "\xff\x00" || pub.Properties.ResponseTopic != "answers" {
		t.Errorf("%+v", pub.Properties)
	}
	got := mqttMessage(Target{Protocol: MQTT, Topic: "t"}, pub)
	want := sample()
	if string(got.Key) != "k1" || string(got.Value) != "21.5" {
		t.Errorf("key %q value %q", got.Key, got.Value)
	}
	// What MQTT has no field for comes back as a user property before the client's own.
	headers := append([]Header{{Name: MessageID, Value: []byte("m1")}, {Name: Timestamp, Value: []byte("1700000000")}, {Name: "priority", Value: []byte("4")}}, want.Headers...)
	if !reflect.DeepEqual(got.Headers, headers) {
		t.Errorf("headers %q\nwant    %q", got.Headers, headers)
	}
	if got.Properties[CorrelationID+binarySuffix] != "/wA=" || got.Properties[ReplyTo] != "answers" {
		t.Errorf("properties %v", got.Properties)
	}
}

func TestMQTTBinary(t *testing.T) {
	m := &Message{Key: []byte{0xff}, Headers: []Header{{Name: "h", Value: []byte{0xfe}}}}
	pub := mqttPublish("t", m)
	want := paho.UserProperties{{Key: "rmq-key-b64", Value: "/w=="}, {Key: "h", Value: "/g=="}, {Key: "h-encoding", Value: "base64"}}
	if !reflect.DeepEqual(pub.Properties.User, want) {
		t.Errorf("user properties %v", pub.Properties.User)
	}
	if got := mqttMessage(Target{}, pub); string(got.Key) != "\xff" {
		t.Errorf("key %q", got.Key)
	}
}

func TestMQTTExpiryIsRoundedUp(t *testing.T) {
	m := &Message{ExpiresAt: time.Now().Add(90 * time.Second)}
	if got := *mqttPublish("t", m).Properties.MessageExpiry; got != 90 {
		t.Errorf("%d s", got)
	}
	m.ExpiresAt = time.Now().Add(-time.Second)
	if got := *mqttPublish("t", m).Properties.MessageExpiry; got != 1 {
		t.Errorf("a message that has expired asks for %d s; 0 means never to nobody", got)
	}
}

func TestKafkaForm(t *testing.T) {
	m := sample()
	m.Headers = append(m.Headers, Header{Name: "null"})
	rec := kafkaRecord(m)
	want := []kgo.RecordHeader{
		{Key: ContentType, Value: []byte("text/plain")}, {Key: CorrelationID, Value: []byte{0xff, 0}}, {Key: MessageID, Value: []byte("m1")},
		{Key: ReplyTo, Value: []byte("answers")}, {Key: Timestamp, Value: []byte("1700000000")}, {Key: "priority", Value: []byte("4")},
		{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte("2")}, {Key: "b", Value: []byte("x")}, {Key: "null"},
	}
	if !reflect.DeepEqual(rec.Headers, want) {
		t.Errorf("headers %v\nwant    %v", rec.Headers, want)
	}
	rec.Value = nil
	if got := kafkaMessage(Target{Protocol: Kafka, Topic: "t"}, rec); got.Value != nil || got.Headers[9].Value != nil || *got.Offset != 0 {
		t.Errorf("a tombstone came back as %+v", got)
	}
}

func TestAMQPForm(t *testing.T) {
	m := sample()
	m.Properties[CorrelationID] = "c1"
	delete(m.Properties, CorrelationID+binarySuffix)
	m.Headers = append(m.Headers, Header{Name: "x-delay", Value: []byte("1500")}, Header{Name: "null"})
	pub := amqpPublishing(m)
	if pub.ContentType != "text/plain" || pub.CorrelationId != "c1" || pub.ReplyTo != "answers" || pub.Timestamp.Unix() != 1700000000 || pub.Priority != 4 || pub.DeliveryMode != amqp.Persistent {
		t.Errorf("%+v", pub)
	}
	want := amqp.Table{"a": []any{"1", "2"}, "b": "x", "rmq-key": []byte("k1"), "x-delay": int64(1500), "null": nil}
	if !reflect.DeepEqual(pub.Headers, want) {
		t.Errorf("headers %v\nwant    %v", pub.Headers, want)
	}
	got := amqpMessage(Target{Protocol: AMQP, Queue: "q"}, "q", &amqp.Delivery{
		Body: pub.Body, Headers: pub.Headers, ContentType: pub.ContentType, Timestamp: pub.Timestamp, DeliveryMode: pub.DeliveryMode, CorrelationId: "c1",
	})
	headers := []Header{{Name: "a", Value: []byte("1")}, {Name: "a", Value: []byte("2")}, {Name: "b", Value: []byte("x")}, {Name: "null"}, {Name: "x-delay", Value: []byte("1500")}}
	if !reflect.DeepEqual(got.Headers, headers) || string(got.Key) != "k1" || *got.QoS != 1 || got.Properties[Timestamp] != "1700000000" {
		t.Errorf("%+v", got)
	}
}

func TestAMQPBinaryCorrelation(t *testing.T) {
	pub := amqpPublishing(sample())
	if pub.CorrelationId != "" || string(pub.Headers["x-correlation-id"].([]byte)) != "\xff\x00" {
		t.Errorf("%q %v", pub.CorrelationId, pub.Headers)
	}
}

func TestAMQPHeaderText(t *testing.T) {
	at := time.Unix(1700000000, 0)
	tests := []struct {
		in   any
		want string
	}{
		{int32(-5), "-5"}, {true, "true"}, {1.5, "1.5"}, {at, "1700000000"}, {math.NaN(), "NaN"},
		{amqp.Table{"n": int64(1), "t": at}, `{"n":1,"t":1700000000}`}, {[]any{int8(1), "x"}, `[1,"x"]`}, {[]byte{0xff}, "\xff"},
		{amqp.Decimal{Scale: 2, Value: 150}, "1.50"}, {amqp.Decimal{Scale: 3, Value: -7}, "-0.007"}, {amqp.Table{"d": amqp.Decimal{Value: 9}}, `{"d":9}`},
	}
	for _, tt := range tests {
		if got := string(amqpText(tt.in)); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestAMQPWindow(t *testing.T) {
	tests := []struct {
		peek bool
		n    int64
		want int
	}{{false, 0, prefetch}, {false, 3, 3}, {false, 9999, prefetch}, {true, 0, 0}, {true, 5000, 5000}, {true, 70000, 0}}
	for _, tt := range tests {
		if got := (&amqpReader{peek: tt.peek}).window(tt.n); got != tt.want {
			t.Errorf("peek %v, n %d: %d, want %d", tt.peek, tt.n, got, tt.want)
		}
	}
}

func TestCarry(t *testing.T) {
	m := &Message{Headers: []Header{
		{Name: "rmq-native", Value: []byte{1}}, {Name: ContentType, Value: []byte("text/plain")}, {Name: "a", Value: []byte("1")},
		{Name: ContentType, Value: []byte("second")}, {Name: CorrelationID, Value: []byte{0xff}}, {Name: Type},
	}}
	Carry(m)
	if !reflect.DeepEqual(m.Properties, map[string]string{ContentType: "text/plain", "correlation-id-b64": "/w=="}) {
		t.Errorf("properties %v", m.Properties)
	}
	if !reflect.DeepEqual(m.Headers, []Header{{Name: "a", Value: []byte("1")}, {Name: ContentType, Value: []byte("second")}, {Name: Type}}) {
		t.Errorf("headers %v", m.Headers)
	}
}
