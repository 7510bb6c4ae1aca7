package message

import (
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func h(pairs ...string) []Header {
	var hs []Header
	for i := 0; i < len(pairs); i += 2 {
		hs = append(hs, Header{pairs[i], []byte(pairs[i+1])})
	}
	return hs
}

// Each case is one row of the table of what crosses from one protocol to another.
func TestForeign(t *testing.T) {
	long := strings.Repeat("c", 300)
	null := []Header{{"n", nil}}
	tests := []struct {
		name string
		m    Message
		to   Protocol
		said string // "": the message's address
		want Foreign
	}{
		{"origin", Message{Source: MQTT, Value: []byte{}}, AMQP, "", Foreign{Headers: h("rmq-proto", "mqtt")}},
		{"address, when the name does not say it", Message{Source: MQTT, Address: "a/b", Value: []byte{}}, AMQP, "x",
			Foreign{Headers: h("rmq-proto", "mqtt", "rmq-address", "a/b")}},
		{"null value", Message{Source: Kafka}, AMQP, "", Foreign{Headers: h("rmq-null", "true", "rmq-proto", "kafka")}},
		{"null value is an empty payload", Message{Source: Kafka}, MQTT, "", Foreign{Headers: h("rmq-proto", "kafka")}},
		{"key", Message{Source: Kafka, Key: []byte("k")}, MQTT, "", Foreign{Headers: h("rmq-key", "k", "rmq-proto", "kafka")}},
		{"empty key", Message{Source: Kafka, Key: []byte{}}, MQTT, "", Foreign{Headers: h("rmq-key", "", "rmq-proto", "kafka")}},
		{"binary key", Message{Source: Kafka, Key: []byte{0xFF}}, MQTT, "", Foreign{Headers: h("rmq-key-b64", "/w==", "rmq-proto", "kafka")}},
		{"binary key", Message{Source: Kafka, Key: []byte{0xFF}, Value: []byte{}}, AMQP, "", Foreign{Headers: h("rmq-key", "\xff", "rmq-proto", "kafka")}},
		{"order and repeats", Message{Source: Kafka, Headers: h("a", "1", "b", "2", "a", "3")}, MQTT, "",
			Foreign{Headers: h("a", "1", "b", "2", "a", "3", "rmq-proto", "kafka")}},
		{"traceparent", Message{Source: Kafka, Headers: h("traceparent", "00-1-2-01")}, MQTT, "",
			Foreign{Headers: h("traceparent", "00-1-2-01", "rmq-proto", "kafka")}},
		{"binary header to text", Message{Source: Kafka, Headers: h("b", "\xff", "z", "a\x00b")}, MQTT, "",
			Foreign{Headers: h("b", "/w==", "b-encoding", "base64", "z", "YQBi", "z-encoding", "base64", "rmq-proto", "kafka")}},
		{"binary header to AMQP", Message{Source: Kafka, Value: []byte{}, Headers: h("b", "\xff")}, AMQP, "",
			Foreign{Headers: h("b", "\xff", "rmq-proto", "kafka")}},
		{"null header to MQTT", Message{Source: Kafka, Headers: null}, MQTT, "", Foreign{Headers: h("n", "", "rmq-proto", "kafka")}},
		{"null header to AMQP", Message{Source: Kafka, Value: []byte{}, Headers: null}, AMQP, "",
			Foreign{Headers: append(append([]Header{}, null...), h("rmq-proto", "kafka")...)}},
		{"long header name", Message{Source: MQTT, Value: []byte{}, Headers: h(long, "v", "a", "1", long, "\xff")}, AMQP, "",
			Foreign{Headers: h("a", "1",
				"rmq-headers", `[{"name":"`+long+`","value":"v"},{"name":"`+long+`","value":"/w==","encoding":"base64"}]`, "rmq-proto", "mqtt")}},
		{"long header name to MQTT", Message{Source: Kafka, Headers: h(long, "v")}, MQTT, "", Foreign{Headers: h(long, "v", "rmq-proto", "kafka")}},
		{"header beyond a string", Message{Source: Kafka, Headers: h("a", strings.Repeat("x", 65536), "b", "1")}, MQTT, "",
			Foreign{Headers: h("b", "1", "rmq-proto", "kafka")}},
		{"binary header name", Message{Source: Kafka, Headers: h("\xff", "v")}, MQTT, "", Foreign{Headers: h("_xDCFF_", "v", "rmq-proto", "kafka")}},

		{"content type and the user's repeat", Message{Source: AMQP, Headers: h("content-type", "a/b", "x", "1", "content-type", "c/d")}, MQTT, "",
			Foreign{ContentType: []byte("a/b"), Headers: h("x", "1", "content-type", "c/d", "rmq-proto", "amqp")}},
		{"content type too long", Message{Source: MQTT, Value: []byte{}, Headers: h("content-type", long)}, AMQP, "",
			Foreign{Headers: h("content-type", long, "rmq-proto", "mqtt")}},
		{"content encoding has no MQTT property", Message{Source: AMQP, Headers: h("content-encoding", "gzip")}, MQTT, "",
			Foreign{Headers: h("content-encoding", "gzip", "rmq-proto", "amqp")}},
		{"properties of AMQP", Message{Source: MQTT, Value: []byte{}, Headers: h("content-encoding", "gzip", "message-id", "1", "type", "t", "app-id", "a",
			"user-id", "u", "timestamp", "1700000000")}, AMQP, "",
			Foreign{ContentEncoding: []byte("gzip"), MessageID: []byte("1"), Type: []byte("t"), AppID: []byte("a"), UserID: []byte("u"),
				Timestamp: []byte("1700000000"), Headers: h("rmq-proto", "mqtt")}},
		{"properties of AMQP to MQTT", Message{Source: AMQP, Headers: h("message-id", "1", "timestamp", "1700000000")}, MQTT, "",
			Foreign{Headers: h("message-id", "1", "timestamp", "1700000000", "rmq-proto", "amqp")}},
		{"timestamp that is none", Message{Source: MQTT, Value: []byte{}, Headers: h("timestamp", "noon")}, AMQP, "",
			Foreign{Headers: h("timestamp", "noon", "rmq-proto", "mqtt")}},
		{"user id that nobody checked", Message{Source: Kafka, Value: []byte{}, Headers: h("user-id", "root")}, AMQP, "",
			Foreign{Headers: h("rmq-proto", "kafka")}},
		{"text flag to MQTT", Message{Source: AMQP, Value: []byte("é"), Headers: h("payload-format", "utf-8")}, MQTT, "",
			Foreign{PayloadFormat: []byte("utf-8"), Headers: h("rmq-proto", "amqp")}},
		{"text flag that lies", Message{Source: AMQP, Value: []byte("\xff"), Headers: h("payload-format", "utf-8")}, MQTT, "",
			Foreign{Headers: h("payload-format", "utf-8", "rmq-proto", "amqp")}},
		{"text flag to AMQP", Message{Source: MQTT, Value: []byte{}, Headers: h("payload-format", "utf-8")}, AMQP, "",
			Foreign{Headers: h("payload-format", "utf-8", "rmq-proto", "mqtt")}},

		{"correlation", Message{Source: MQTT, Value: []byte{}, Headers: h("correlation-id", "7")}, AMQP, "",
			Foreign{CorrelationID: []byte("7"), Headers: h("rmq-proto", "mqtt")}},
		{"binary correlation", Message{Source: MQTT, Value: []byte{}, Headers: h("correlation-id", "\xff\x00")}, AMQP, "",
			Foreign{Headers: h("x-correlation-id", "\xff\x00", "rmq-proto", "mqtt")}},
		{"long correlation", Message{Source: MQTT, Value: []byte{}, Headers: h("correlation-id", long)}, AMQP, "",
			Foreign{Headers: h("x-correlation-id", long, "rmq-proto", "mqtt")}},
		{"binary correlation to MQTT", Message{Source: Kafka, Headers: h("correlation-id", "\xff\x00")}, MQTT, "",
			Foreign{CorrelationID: []byte("\xff\x00"), Headers: h("rmq-proto", "kafka")}},
		{"Spring's correlation", Message{Source: Kafka, Headers: h("kafka_correlationId", "\xff")}, MQTT, "",
			Foreign{CorrelationID: []byte("\xff"), Headers: h("rmq-proto", "kafka")}},
		{"Spring's correlation beside the standard one", Message{Source: Kafka, Headers: h("kafka_correlationId", "a", "correlation-id", "b")}, MQTT, "",
			Foreign{CorrelationID: []byte("b"), Headers: h("kafka_correlationId", "a", "rmq-proto", "kafka")}},

		{"reply to, MQTT to AMQP", Message{Source: MQTT, Value: []byte{}, Headers: h("reply-to", "re/v1.0")}, AMQP, "",
			Foreign{ReplyTo: []byte("re.v1_x2E_0"), Headers: h("rmq-proto", "mqtt")}},
		{"reply to, AMQP to MQTT", Message{Source: AMQP, Headers: h("reply-to", FromAMQPKey("amq.gen-Jz"))}, MQTT, "",
			Foreign{ReplyTo: []byte("amq/gen-Jz"), Headers: h("rmq-proto", "amqp")}},
		{"reply to, Kafka to MQTT", Message{Source: Kafka, Headers: h("reply-to", "re.v1_x2E_0")}, MQTT, "",
			Foreign{ReplyTo: []byte("re/v1.0"), Headers: h("rmq-proto", "kafka")}},
		{"reply to, Spring to AMQP", Message{Source: Kafka, Value: []byte{}, Headers: h("kafka_replyTopic", "re.x")}, AMQP, "",
			Foreign{ReplyTo: []byte("re.x"), Headers: h("rmq-proto", "kafka")}},
		{"reply to that is no topic", Message{Source: Kafka, Headers: h("reply-to", "a/b")}, MQTT, "",
			Foreign{Headers: h("reply-to", "a/b", "rmq-proto", "kafka")}},

		{"priority to MQTT", Message{Source: AMQP, Priority: 7}, MQTT, "", Foreign{Headers: h("priority", "7", "rmq-proto", "amqp")}},
		{"priority from Kafka, once", Message{Source: Kafka, Priority: 7, Headers: h("priority", "7", "priority", "8")}, MQTT, "",
			Foreign{Headers: h("priority", "8", "priority", "7", "rmq-proto", "kafka")}},
		{"priority to AMQP is a property", Message{Source: MQTT, Priority: 7, Value: []byte{}}, AMQP, "", Foreign{Headers: h("rmq-proto", "mqtt")}},
		{"expiry from Kafka is a field", Message{Source: Kafka, Headers: h("expires-at", "1700000000000")}, MQTT, "",
			Foreign{Headers: h("rmq-proto", "kafka")}},
		{"retained to AMQP", Message{Source: MQTT, Retain: true, Value: []byte{}}, AMQP, "",
			Foreign{Headers: h("rmq-retain", "true", "rmq-proto", "mqtt")}},
		{"rmq- names of a client", Message{Source: Kafka, Headers: h("rmq-delay", "5", "rmq-proto", "mqtt", "rmq-foo", "1", "a", "2")}, MQTT, "",
			Foreign{Headers: h("a", "2", "rmq-proto", "kafka")}},
	}
	var f Foreign
	for _, tt := range tests {
		said := tt.said
		if said == "" {
			said = tt.m.Address
		}
		f.Fill(&tt.m, tt.to, said)
		if !reflect.DeepEqual(f, tt.want) {
			t.Errorf("%s, %v to %v:\n got %q\nwant %q", tt.name, tt.m.Source, tt.to, f, tt.want)
		}
	}
}

func TestAddUser(t *testing.T) {
	tests := []struct {
		name string
		m    Message // as the adapter has it before
		in   []Header
		want Message
	}{
		{"plain", Message{Source: MQTT}, h("a", "1", "a", "2"), Message{Headers: h("a", "1", "a", "2")}},
		{"key", Message{Source: MQTT}, h("rmq-key", "k"), Message{Key: []byte("k")}},
		{"key, first wins", Message{Source: MQTT}, h("rmq-key", "k", "rmq-key", "l"), Message{Key: []byte("k")}},
		{"key in base64", Message{Source: MQTT}, h("rmq-key-b64", "/w=="), Message{Key: []byte{0xFF}}},
		{"key not in base64", Message{Source: MQTT}, h("rmq-key-b64", "?"), Message{}},
		{"delay", Message{Source: MQTT}, h("rmq-delay", "1500"), Message{Delay: 1500}},
		{"delay, negative", Message{Source: MQTT}, h("rmq-delay", "-1"), Message{}},
		{"RabbitMQ's delay", Message{Source: AMQP}, h("x-delay", "1500"), Message{Delay: 1500}},
		{"RabbitMQ's delay from MQTT", Message{Source: MQTT}, h("x-delay", "1500"), Message{Headers: h("x-delay", "1500")}},
		{"partition", Message{Source: AMQP}, h("rmq-partition", "0"), Message{Partition: 1}},
		{"partition, too far", Message{Source: AMQP}, h("rmq-partition", "2147483647"), Message{}},
		{"retain", Message{Source: AMQP}, h("rmq-retain", "true"), Message{Retain: true}},
		{"retain 1", Message{Source: AMQP}, h("rmq-retain", "1"), Message{Retain: true}},
		{"retain off", Message{Source: AMQP}, h("rmq-retain", "0"), Message{}},
		{"expiry", Message{Source: AMQP}, h("expires-at", "99"), Message{ExpiresAt: 99}},
		{"expiry, after the property", Message{Source: AMQP, ExpiresAt: 5}, h("expires-at", "99"), Message{ExpiresAt: 5, Headers: h("expires-at", "99")}},
		{"priority", Message{Source: MQTT}, h("priority", "9"), Message{Priority: 9}},
		{"priority in words", Message{Source: MQTT}, h("priority", "high"), Message{Headers: h("priority", "high")}},
		{"other rmq- names", Message{Source: MQTT}, h("rmq-proto", "amqp", "rmq-x", "1"), Message{}},
		{"standard after the property", Message{Source: MQTT, Headers: h("content-type", "a")}, h("content-type", "b"), Message{Headers: h("content-type", "a", "content-type", "b")}},
		{"own user id", Message{Source: MQTT}, h("user-id", "ann"), Message{Headers: h("user-id", "ann")}},
		{"another's user id", Message{Source: MQTT}, h("user-id", "bob"), Message{}},
		{"RabbitMQ's correlation", Message{Source: AMQP}, h("x-correlation-id", "c"), Message{Headers: h("correlation-id", "c")}},
		{"RabbitMQ's correlation beside the property", Message{Source: AMQP, Headers: h("correlation-id", "a")}, h("x-correlation-id", "c"),
			Message{Headers: h("correlation-id", "a", "x-correlation-id", "c")}},
		{"RabbitMQ's reply topic", Message{Source: AMQP}, h("x-reply-to-topic", "re/x"), Message{Headers: h("reply-to", "re/x")}},
	}
	for _, tt := range tests {
		got := tt.m
		tt.want.Source = tt.m.Source
		for _, in := range tt.in {
			got.AddUser(in.Name, in.Value, "ann")
		}
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestRecords(t *testing.T) {
	long := strings.Repeat("x/", 200)
	tests := []struct {
		name    string
		m       Message
		stream  string
		key     string // "-": null
		headers []Header
	}{
		{"address below its stream", Message{Source: MQTT, Address: "sensors/dev1/temp", QoS: 1}, "sensors", "sensors/dev1/temp", h("rmq-proto", "mqtt")},
		{"address of the stream", Message{Source: AMQP, Address: "orders", QoS: 1}, "orders", "-", h("rmq-proto", "amqp")},
		{"key of its own", Message{Source: MQTT, Address: "orders", Key: []byte("k"), QoS: 1}, "orders", "k", h("rmq-proto", "mqtt")},
		{"key of its own, address below", Message{Source: MQTT, Address: "orders/1", Key: []byte("k"), QoS: 1}, "orders", "k",
			h("rmq-proto", "mqtt", "rmq-address", "orders/1")},
		{"key that looks like an address", Message{Source: MQTT, Address: "orders", Key: []byte("orders/1"), QoS: 1}, "orders", "orders/1",
			h("rmq-proto", "mqtt", "rmq-address", "orders")},
		{"no stream", Message{Source: MQTT, Address: "a/b", QoS: 1}, "", "-", h("rmq-proto", "mqtt", "rmq-address", "a/b")},
		{"fields", Message{Source: MQTT, Address: "a", QoS: 2, ExpiresAt: 1700000000000, Priority: 4, Retain: true, Delay: 5, Partition: 3}, "a", "-",
			h("rmq-proto", "mqtt", "rmq-partition", "2", "rmq-qos", "2", "expires-at", "1700000000000", "priority", "4", "rmq-delay", "5", "rmq-retain", "1")},
		{"QoS 0", Message{Source: AMQP, Address: "a"}, "a", "-", h("rmq-proto", "amqp", "rmq-qos", "0")},
		{"native", Message{Source: MQTT, Address: "a", QoS: 1, Native: []byte{1}, Headers: h("x", "1")}, "a", "-",
			h("rmq-proto", "mqtt", "rmq-native", "\x01", "x", "1")},
		{"reply to", Message{Source: MQTT, Address: "a", QoS: 1, Headers: h("reply-to", "re/v1.0", "reply-to", "x/y")}, "a", "-",
			h("rmq-proto", "mqtt", "reply-to", "re.v1_x2E_0", "reply-to", "x/y")},
		{"reply to, too long", Message{Source: MQTT, Address: "a", QoS: 1, Headers: h("reply-to", long)}, "a", "-",
			h("rmq-proto", "mqtt", "rmq-reply-to", long, "reply-to", KafkaName(long))},
		{"a user's header with a name of ours", Message{Source: MQTT, Address: "a", QoS: 1, Headers: h("priority", "high")}, "a", "-",
			append(append(h("rmq-proto", "mqtt"), Header{"rmq-native", nil}), h("priority", "high")...)},
	}
	for _, tt := range tests {
		key := RecordKey(&tt.m, tt.stream)
		if got := string(key); got != tt.key && (tt.key != "-" || key != nil) {
			t.Errorf("%s: key %q, want %q", tt.name, got, tt.key)
		}
		headers := AppendRecordHeaders(nil, &tt.m, tt.stream)
		if !reflect.DeepEqual(headers, tt.headers) {
			t.Errorf("%s:\n got %q\nwant %q", tt.name, headers, tt.headers)
		}
		if got := FromRecord(key, nil, headers, 0, tt.stream, true); !reflect.DeepEqual(got, tt.m) {
			t.Errorf("%s: read back as\n     %+v\nwant %+v", tt.name, got, tt.m)
		}
	}
}

// A record of a Kafka client stays what it is, whatever names its headers have.
func TestRecordsOfKafka(t *testing.T) {
	headers := h("rmq-proto", "mqtt", "rmq-address", "other/place", "rmq-native", "\x00", "rmq-key", "k", "priority", "3", "expires-at", "77", "rmq-retain", "1")
	got := FromRecord([]byte("orders/7"), nil, headers, 5, "orders", false)
	want := Message{Source: Kafka, Address: "orders", Key: []byte("orders/7"), Headers: headers, Time: 5, QoS: 1, Priority: 3, ExpiresAt: 77, Retain: true}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if address, ok := got.ReplyAddress(); ok {
		t.Errorf("reply address %q where there is none", address)
	}
}

func TestReplyAddress(t *testing.T) {
	tests := []struct {
		source  Protocol
		headers []Header
		want    string
	}{
		{MQTT, h("reply-to", "a/b.c"), "a/b.c"},
		{AMQP, h("reply-to", "amq/gen-x"), "amq/gen-x"},
		{Kafka, h("reply-to", "a.b_x2E_c"), "a/b.c"},
		{Kafka, h("kafka_replyTopic", "a.b"), "a/b"},
		{Kafka, h("reply-to", "not a topic"), ""},
	}
	for _, tt := range tests {
		m := Message{Source: tt.source, Headers: tt.headers}
		if got, ok := m.ReplyAddress(); got != tt.want || ok != (tt.want != "") {
			t.Errorf("%v %q: %q, %v", tt.source, tt.headers, got, ok)
		}
	}
}

// Message → record → message is the identity, for any message in any stream.
func TestRecordsReadBack(t *testing.T) {
	name := rapid.OneOf(rapid.SampledFrom(recordNames[:]), rapid.SampledFrom([]string{"reply-to", "content-type", "correlation-id", "x", ""}), rapid.String())
	text := rapid.OneOf(rapid.SliceOfN(rapid.Byte(), 0, 8), rapid.Just([]byte(nil)), rapid.Just([]byte("a/b.c")), rapid.Just([]byte("orders/1")),
		rapid.Just([]byte(strings.Repeat("/", 400))))
	address := rapid.OneOf(rapid.SampledFrom([]string{"orders", "orders/1", "orders/1/x", "other", "", "/a", "/a/b"}), rapid.String())
	rapid.Check(t, func(t *rapid.T) {
		m := Message{
			Source: rapid.SampledFrom([]Protocol{Kafka, MQTT, AMQP}).Draw(t, "source"), Address: address.Draw(t, "address"),
			Key: text.Draw(t, "key"), Value: text.Draw(t, "value"), Native: text.Draw(t, "native"),
			Time: rapid.Int64().Draw(t, "time"), ExpiresAt: rapid.Int64().Draw(t, "expires"), Delay: rapid.Int64().Draw(t, "delay"),
			QoS: rapid.Uint8Range(0, 2).Draw(t, "qos"), Priority: rapid.Uint8().Draw(t, "priority"), Retain: rapid.Bool().Draw(t, "retain"),
			Partition: rapid.Int32Min(0).Draw(t, "partition"),
		}
		for range rapid.IntRange(0, 5).Draw(t, "headers") {
			m.Headers = append(m.Headers, Header{name.Draw(t, "name"), text.Draw(t, "text")})
		}
		stream := address.Draw(t, "stream")
		was := append([]Header(nil), m.Headers...)
		got := FromRecord(RecordKey(&m, stream), m.Value, AppendRecordHeaders(nil, &m, stream), m.Time, stream, true)
		if !reflect.DeepEqual(got, m) {
			t.Fatalf("in stream %q\n got %+v\nwant %+v", stream, got, m)
		}
		if !reflect.DeepEqual(was, m.Headers) {
			t.Fatal("the message's headers were written to")
		}
	})
}

// What MQTT is given is always something that MQTT allows.
func FuzzForeign(f *testing.F) {
	f.Add("a", []byte("\xff"), []byte("k"), uint8(0))
	f.Add("reply-to", []byte("a.b"), []byte("\xff"), uint8(0))
	f.Add(strings.Repeat("n", 300), []byte("x"), []byte(nil), uint8(2))
	f.Fuzz(func(t *testing.T, name string, value, key []byte, source uint8) {
		m := Message{Source: Protocol(source % 3), Address: "a", Key: key, Value: value, Headers: []Header{{name, value}, {name, key}}}
		var out Foreign
		out.Fill(&m, MQTT, "b")
		for _, h := range out.Headers {
			if !mqttText([]byte(h.Name)) || !mqttText(h.Value) || h.Value == nil {
				t.Fatalf("user property %q: %q", h.Name, h.Value)
			}
		}
		if out.ReplyTo != nil && !validMQTT(string(out.ReplyTo)) {
			t.Fatalf("response topic %q", out.ReplyTo)
		}
		out.Fill(&m, AMQP, "b")
		for _, h := range out.Headers {
			if len(h.Name) > amqpShortMax {
				t.Fatalf("header name of %d bytes", len(h.Name))
			}
		}
		FromRecord(key, value, m.Headers, 0, "a", true)
		FromRecord(key, value, m.Headers, 0, "a", false)
	})
}

func TestForeignAllocatesLittle(t *testing.T) {
	m := Message{Source: Kafka, Address: "a", Value: []byte("v"), Headers: h("content-type", "a/b", "x", "1", "correlation-id", "7")}
	var f Foreign
	f.Fill(&m, MQTT, "a")
	if n := testing.AllocsPerRun(100, func() { f.Fill(&m, MQTT, "a") }); n != 0 {
		t.Errorf("Fill: %v allocations", n)
	}
	var headers []Header
	headers = AppendRecordHeaders(headers[:0], &m, "a")
	if n := testing.AllocsPerRun(100, func() { headers = AppendRecordHeaders(headers[:0], &m, "a") }); n != 0 {
		t.Errorf("AppendRecordHeaders: %v allocations", n)
	}
}
