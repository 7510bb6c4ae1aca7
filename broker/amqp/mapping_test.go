package amqp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/amqpwire"
	"github.com/robustmq/rmq/broker/message"
)

// at is the broker's time in these tests.
var at = time.UnixMilli(1_800_000_000_000)

func testConverter() *converter { return &converter{now: func() time.Time { return at }} }

func table(t amqpwire.Table) []byte { return t.Append(nil)[4:] }

// in maps a publish of user guest to exchange x with key a.b.
func in(t *testing.T, p amqpwire.Properties) (message.Message, []string) {
	t.Helper()
	var m message.Message
	cc, fail := testConverter().inbound(&m, "x", "a.b", message.AddressOf("x", "a.b"), p.Append(nil), "guest", "amq.rabbitmq.reply-to.77")
	if fail != nil {
		t.Fatalf("inbound: %s", fail.replyText())
	}
	return m, cc
}

func headerLines(hs []message.Header) []string {
	out := []string{}
	for _, h := range hs {
		v := "null"
		if h.Value != nil {
			v = fmt.Sprintf("%q", h.Value)
		}
		out = append(out, h.Name+"="+v)
	}
	return out
}

func TestInbound(t *testing.T) {
	h := func(name string, v amqpwire.Value) amqpwire.Properties {
		return amqpwire.Properties{Flags: amqpwire.FlagHeaders, Headers: table(amqpwire.Table{{Name: name, Value: v}})}
	}
	nested := amqpwire.Nested(amqpwire.Table{
		{Name: "z", Value: amqpwire.Int(1)}, {Name: "a", Value: amqpwire.ArrayOf(amqpwire.Bool(true), amqpwire.Void(), amqpwire.Float64(0.5))},
		{Name: "z", Value: amqpwire.String("q\"")}, {Name: "raw", Value: amqpwire.BytesOf([]byte{255})},
		{Name: "nan", Value: amqpwire.Float64(math.NaN())}, {Name: "t", Value: amqpwire.Timestamp(5)},
	})
	tests := []struct {
		name string
		p    amqpwire.Properties
		want []string
	}{
		{"nothing", amqpwire.Properties{}, []string{}},
		{"properties", amqpwire.Properties{
			Flags:       0xFFFC &^ (amqpwire.FlagHeaders | amqpwire.FlagExpiration),
			ContentType: []byte("text/plain"), ContentEncoding: []byte("gzip"), CorrelationID: []byte{0, 255}, ReplyTo: []byte("a.b"), MessageID: []byte("m"),
			Timestamp: 1700000000, Type: []byte("t"), UserID: []byte("guest"), AppID: []byte("app"), ClusterID: []byte("c"),
		}, []string{
			`content-type="text/plain"`, `content-encoding="gzip"`, `correlation-id="\x00\xff"`, `reply-to="a/b"`, `message-id="m"`,
			`type="t"`, `app-id="app"`, `user-id="guest"`, `timestamp="1700000000"`,
		}},
		{"direct reply-to", amqpwire.Properties{Flags: amqpwire.FlagReplyTo, ReplyTo: []byte("amq.rabbitmq.reply-to")}, []string{`reply-to="amq/rabbitmq/reply-to/77"`}},
		{"string", h("s", amqpwire.String("text")), []string{`s="text"`}},
		{"bytes", h("s", amqpwire.BytesOf([]byte{0, 255})), []string{`s="\x00\xff"`}},
		{"int8", h("n", amqpwire.Value{Kind: amqpwire.KindInt8, Num: uint64(1<<64 - 5)}), []string{`n="-5"`}},
		{"uint16", h("n", amqpwire.Value{Kind: amqpwire.KindUint16, Num: 65535}), []string{`n="65535"`}},
		{"int64", h("n", amqpwire.Int(math.MinInt64)), []string{`n="-9223372036854775808"`}},
		{"bool", h("b", amqpwire.Bool(true)), []string{`b="true"`}},
		{"float", h("f", amqpwire.Float32(1.5)), []string{`f="1.5"`}},
		{"double", h("f", amqpwire.Float64(0.1)), []string{`f="0.1"`}},
		{"decimal", h("d", amqpwire.Value{Kind: amqpwire.KindDecimal, Scale: 2, Num: 12345}), []string{`d="123.45"`}},
		{"small decimal", h("d", amqpwire.Value{Kind: amqpwire.KindDecimal, Scale: 3, Num: 7}), []string{`d="0.007"`}},
		{"tiny decimal", h("d", amqpwire.Value{Kind: amqpwire.KindDecimal, Scale: 200, Num: 7}), []string{`d="7e-200"`}},
		{"timestamp in seconds", h("t", amqpwire.Timestamp(1700000000)), []string{`t="1700000000"`}},
		{"void", h("v", amqpwire.Void()), []string{"v=null"}},
		{"table", h("t", nested), []string{`t="{\"z\":1,\"a\":[true,null,0.5],\"z\":\"q\\\"\",\"raw\":\"/w==\",\"nan\":\"NaN\",\"t\":5}"`}},
		{"array of strings is a repeat", h("r", amqpwire.ArrayOf(amqpwire.String("1"), amqpwire.String("2"))), []string{`r="1"`, `r="2"`}},
		{"array of other things", h("r", amqpwire.ArrayOf(amqpwire.String("1"), amqpwire.Int(2))), []string{`r="[\"1\",2]"`}},
		{"empty array", h("r", amqpwire.ArrayOf()), []string{`r="[]"`}},
		{"x-correlation-id", h("x-correlation-id", amqpwire.String("c")), []string{`correlation-id="c"`}},
		{"x-reply-to-topic", h("x-reply-to-topic", amqpwire.String("a.b")), []string{`reply-to="a/b"`}},
		{"standard header of the user's", h("content-type", amqpwire.String("user's")), []string{`content-type="user's"`}},
		{"user-id of another", h("user-id", amqpwire.String("root")), []string{}},
		{"other rmq- names", h("rmq-mine", amqpwire.String("x")), []string{}},
		{"traceparent", h("traceparent", amqpwire.String("00-x")), []string{`traceparent="00-x"`}},
	}
	for _, tt := range tests {
		m, _ := in(t, tt.p)
		if got := headerLines(m.Headers); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, got, tt.want)
		}
		if m.Source != message.AMQP || m.Address != "x/a/b" {
			t.Errorf("%s: from %s at %s", tt.name, m.Source, m.Address)
		}
	}
}

func TestInboundFields(t *testing.T) {
	m, _ := in(t, amqpwire.Properties{
		Flags:        amqpwire.FlagDeliveryMode | amqpwire.FlagPriority | amqpwire.FlagExpiration | amqpwire.FlagHeaders,
		DeliveryMode: 2, Priority: 200, Expiration: []byte("1500"), Headers: table(amqpwire.Table{
			{Name: "rmq-key", Value: amqpwire.BytesOf([]byte{1})}, {Name: "x-delay", Value: amqpwire.Int32(70)},
			{Name: "rmq-retain", Value: amqpwire.Bool(true)}, {Name: "rmq-partition", Value: amqpwire.Int(3)},
		}),
	})
	if m.QoS != 1 || m.Priority != 200 || m.ExpiresAt != at.UnixMilli()+1500 || string(m.Key) != "\x01" || m.Delay != 70 || !m.Retain || m.Partition != 4 || len(m.Headers) != 0 {
		t.Errorf("%+v", m)
	}
	for mode, qos := range map[uint8]uint8{0: 0, 1: 0, 2: 1, 3: 0} {
		if m, _ := in(t, amqpwire.Properties{Flags: amqpwire.FlagDeliveryMode, DeliveryMode: mode}); m.QoS != qos {
			t.Errorf("delivery mode %d: QoS %d", mode, m.QoS)
		}
	}
	if m, _ := in(t, amqpwire.Properties{Flags: amqpwire.FlagExpiration, Expiration: []byte("0")}); m.ExpiresAt != at.UnixMilli() {
		t.Errorf("expiration 0: %d", m.ExpiresAt)
	}
}

func TestInboundRefused(t *testing.T) {
	tests := []struct {
		p    amqpwire.Properties
		want string
	}{
		{amqpwire.Properties{Flags: amqpwire.FlagExpiration, Expiration: []byte("soon")}, "PRECONDITION_FAILED - invalid expiration 'soon': no_integer"},
		{amqpwire.Properties{Flags: amqpwire.FlagExpiration, Expiration: []byte("12x")}, "invalid expiration '12x': {leftover_string,\"x\"}"},
		{amqpwire.Properties{Flags: amqpwire.FlagExpiration, Expiration: []byte("-1")}, "invalid expiration '-1': {value_negative,-1}"},
		{amqpwire.Properties{Flags: amqpwire.FlagExpiration, Expiration: []byte("315360000001")}, "{value_too_large,315360000001}"},
		{amqpwire.Properties{Flags: amqpwire.FlagExpiration}, "invalid expiration '': no_integer"},
		{amqpwire.Properties{Flags: amqpwire.FlagUserID, UserID: []byte("root")}, "user_id property set to 'root' but authenticated user was 'guest'"},
		{amqpwire.Properties{Flags: amqpwire.FlagHeaders, Headers: table(amqpwire.Table{{Name: "CC", Value: amqpwire.String("q")}})}, "header 'CC' is not an array of strings"},
		{amqpwire.Properties{Flags: amqpwire.FlagHeaders, Headers: table(amqpwire.Table{{Name: "BCC", Value: amqpwire.ArrayOf(amqpwire.String(strings.Repeat("x", 256)))}})}, "longer than 255 bytes"},
	}
	for _, tt := range tests {
		var m message.Message
		_, fail := testConverter().inbound(&m, "", "q", "q", tt.p.Append(nil), "guest", "")
		if fail == nil || !strings.Contains(fail.replyText(), tt.want) {
			t.Errorf("got %+v, want %q", fail, tt.want)
		}
	}
}

// TestOwnExact: what AMQP says, AMQP gets back, byte for byte.
func TestOwnExact(t *testing.T) {
	full := amqpwire.Properties{
		Flags: 0xFFFC, ContentType: []byte("c"), Headers: table(amqpwire.Table{
			{Name: "CC", Value: amqpwire.ArrayOf(amqpwire.String("q"))}, {Name: "x", Value: amqpwire.Float32(1.1)}, {Name: "x", Value: amqpwire.Void()},
			{Name: "x-death", Value: amqpwire.ArrayOf(amqpwire.Nested(amqpwire.Table{{Name: "count", Value: amqpwire.Int(1)}}))},
		}), DeliveryMode: 7, Priority: 3, Expiration: []byte("00100"), UserID: []byte("guest"), ReplyTo: []byte("a/b"), Timestamp: math.MaxUint64,
	}
	for _, p := range []amqpwire.Properties{{}, {Flags: amqpwire.FlagDeliveryMode, DeliveryMode: 1}, full} {
		m, _ := in(t, p)
		x, k, content, trimmed := testConverter().outbound(&m, 0, 1<<17)
		if string(x) != "x" || string(k) != "a.b" || trimmed || !bytes.Equal(content, p.Append(nil)) {
			t.Errorf("%s/%s %x, want %x", x, k, content, p.Append(nil))
		}
	}
}

// out maps m for a consumer and decodes what it gets.
func out(t *testing.T, m *message.Message, count uint32) (exchange, key string, p amqpwire.Properties, headers amqpwire.Table) {
	t.Helper()
	x, k, content, _ := testConverter().outbound(m, count, 1<<17)
	if err := p.Decode(bytes.Clone(content)); err != nil {
		t.Fatal(err)
	}
	headers, err := amqpwire.DecodeTable(p.Headers)
	if err != nil {
		t.Fatal(err)
	}
	return string(x), string(k), p, headers
}

func TestOwnAmended(t *testing.T) {
	m, cc := in(t, amqpwire.Properties{
		Flags: amqpwire.FlagExpiration | amqpwire.FlagHeaders, Expiration: []byte("10"), Headers: table(amqpwire.Table{
			{Name: "h", Value: amqpwire.Int32(1)}, {Name: "BCC", Value: amqpwire.ArrayOf(amqpwire.String("secret"))}, {Name: "x-delivery-count", Value: amqpwire.String("forged")},
		}),
	})
	if !reflect.DeepEqual(cc, []string{"secret"}) {
		t.Errorf("further keys %q", cc)
	}
	m = m.Clone()
	m.AddDeath(message.Death{Queue: "q", Reason: "expired", Time: 9, Exchange: "x", RoutingKeys: []string{"a.b"}})
	_, _, p, headers := out(t, &m, 3)
	want := amqpwire.Table{
		{Name: "h", Value: amqpwire.Int32(1)},
		{Name: "x-death", Value: amqpwire.ArrayOf(amqpwire.Nested(amqpwire.Table{
			{Name: "count", Value: amqpwire.Int(1)}, {Name: "reason", Value: amqpwire.String("expired")}, {Name: "queue", Value: amqpwire.String("q")},
			{Name: "time", Value: amqpwire.Timestamp(9)}, {Name: "exchange", Value: amqpwire.String("x")}, {Name: "routing-keys", Value: amqpwire.ArrayOf(amqpwire.String("a.b"))},
		}))},
		{Name: "x-first-death-queue", Value: amqpwire.String("q")}, {Name: "x-first-death-reason", Value: amqpwire.String("expired")},
		{Name: "x-first-death-exchange", Value: amqpwire.String("x")}, {Name: "x-last-death-queue", Value: amqpwire.String("q")},
		{Name: "x-last-death-reason", Value: amqpwire.String("expired")}, {Name: "x-last-death-exchange", Value: amqpwire.String("x")},
		{Name: "x-delivery-count", Value: amqpwire.Int(3)},
	}
	if !reflect.DeepEqual(headers, want) {
		t.Errorf("got  %+v\nwant %+v", headers, want)
	}
	if p.Has(amqpwire.FlagExpiration) {
		t.Error("it still says when it expires")
	}
}

func TestOutboundForeign(t *testing.T) {
	h := func(kv ...string) (hs []message.Header) {
		for i := 0; i < len(kv); i += 2 {
			hs = append(hs, message.Header{Name: kv[i], Value: []byte(kv[i+1])})
		}
		return hs
	}
	str := amqpwire.String
	m := message.Message{
		Source: message.MQTT, Address: "sensors/dev1/temp", Value: []byte("v"), QoS: 1, Priority: 4, ExpiresAt: at.UnixMilli() + 2500, Retain: true, Key: []byte{0xff},
		Headers: append(h("content-type", "text/plain", "correlation-id", "c", "reply-to", "answers/7", "message-id", "m", "type", "t", "app-id", "a",
			"user-id", "u", "timestamp", "1700000000", "content-encoding", "gzip", "payload-format", "utf-8", "one", "1", "many", "1", "two", "2", "many", "2", "many", "3",
			"content-type", "again", "rmq-secret", "x"), message.Header{Name: "nil"}),
	}
	x, k, p, headers := out(t, &m, 0)
	want := amqpwire.Table{
		{Name: "payload-format", Value: str("utf-8")}, {Name: "one", Value: str("1")}, {Name: "many", Value: amqpwire.ArrayOf(str("1"), str("2"), str("3"))},
		{Name: "two", Value: str("2")}, {Name: "content-type", Value: str("again")}, {Name: "nil", Value: amqpwire.Void()},
		{Name: "rmq-retain", Value: str("true")}, {Name: "rmq-key", Value: str("\xff")}, {Name: "rmq-proto", Value: str("mqtt")},
	}
	if x != "amq.topic" || k != "sensors.dev1.temp" || !reflect.DeepEqual(headers, want) {
		t.Errorf("%s/%s\n got %+v\nwant %+v", x, k, headers, want)
	}
	p.Headers = nil
	if w := (amqpwire.Properties{
		Flags: 0xFFFC &^ amqpwire.FlagClusterID, DeliveryMode: 2, Priority: 4, ContentType: []byte("text/plain"), ContentEncoding: []byte("gzip"), CorrelationID: []byte("c"),
		ReplyTo: []byte("answers.7"), Expiration: []byte("2500"), MessageID: []byte("m"), Timestamp: 1700000000, Type: []byte("t"), UserID: []byte("u"), AppID: []byte("a"),
	}); !reflect.DeepEqual(p, w) {
		t.Errorf("got  %+v\nwant %+v", p, w)
	}
}

func TestOutboundSmallPrint(t *testing.T) {
	long := strings.Repeat("n", 300)
	tests := []struct {
		name string
		m    message.Message
		flag uint16 // a property that is set
		want amqpwire.Table
	}{
		{"null value", message.Message{Source: message.Kafka, Address: "t", QoS: 1}, 0, amqpwire.Table{{Name: "rmq-null", Value: amqpwire.String("true")}, {Name: "rmq-proto", Value: amqpwire.String("kafka")}}},
		{"correlation that is no text", message.Message{Source: message.Kafka, Address: "t", Value: []byte{}, Headers: []message.Header{{Name: "correlation-id", Value: []byte{255}}}}, 0,
			amqpwire.Table{{Name: "x-correlation-id", Value: amqpwire.String("\xff")}, {Name: "rmq-proto", Value: amqpwire.String("kafka")}}},
		{"Spring's correlation", message.Message{Source: message.Kafka, Address: "t", Value: []byte{}, Headers: []message.Header{{Name: "kafka_correlationId", Value: []byte("c")}}}, amqpwire.FlagCorrelationID,
			amqpwire.Table{{Name: "rmq-proto", Value: amqpwire.String("kafka")}}},
		{"binary header", message.Message{Source: message.Kafka, Address: "t", Value: []byte{}, Headers: []message.Header{{Name: "b", Value: []byte{0, 255}}}}, 0,
			amqpwire.Table{{Name: "b", Value: amqpwire.String("\x00\xff")}, {Name: "rmq-proto", Value: amqpwire.String("kafka")}}},
		{"long name", message.Message{Source: message.MQTT, Address: "t", Value: []byte{}, Headers: []message.Header{{Name: long, Value: []byte("v")}}}, 0,
			amqpwire.Table{{Name: "rmq-headers", Value: amqpwire.String(`[{"name":"` + long + `","value":"v"}]`)}, {Name: "rmq-proto", Value: amqpwire.String("mqtt")}}},
		{"dead", message.Message{Source: message.MQTT, Address: "t", Value: []byte{}, Headers: []message.Header{{Name: "x-death", Value: []byte(`[{"count":2,"reason":"rejected","queue":"q","time":1,"exchange":"e","routing-keys":[]}]`)}}}, 0,
			amqpwire.Table{{Name: "x-death", Value: amqpwire.ArrayOf(amqpwire.Nested(amqpwire.Table{
				{Name: "count", Value: amqpwire.Int(2)}, {Name: "reason", Value: amqpwire.String("rejected")}, {Name: "queue", Value: amqpwire.String("q")},
				{Name: "time", Value: amqpwire.Timestamp(1)}, {Name: "exchange", Value: amqpwire.String("e")}, {Name: "routing-keys", Value: amqpwire.ArrayOf()},
			}))}, {Name: "rmq-proto", Value: amqpwire.String("mqtt")}}},
	}
	for _, tt := range tests {
		_, _, p, headers := out(t, &tt.m, 0)
		if !reflect.DeepEqual(headers, tt.want) || !p.Has(tt.flag) && tt.flag != 0 {
			t.Errorf("%s: flags %x\n got %+v\nwant %+v", tt.name, p.Flags, headers, tt.want)
		}
	}
	deep := message.Message{Source: message.MQTT, Address: strings.Repeat("level/", 100) + "end", Value: []byte{}}
	_, key, _, headers := out(t, &deep, 0)
	if v, _ := headers.Get("rmq-address"); len(key) > 255 || v.Text() != deep.Address {
		t.Errorf("address too long for a key: %q, headers %v", key, headers)
	}
	big := message.Message{Source: message.MQTT, Address: "t", Value: []byte{}, Headers: []message.Header{{Name: "content-type", Value: []byte("c")}, {Name: "big", Value: make([]byte, 9000)}}}
	_, _, content, trimmed := testConverter().outbound(&big, 0, 8192)
	var p amqpwire.Properties
	if err := p.Decode(content); err != nil || !trimmed || p.Has(amqpwire.FlagHeaders) || string(p.ContentType) != "c" {
		t.Errorf("headers that fit no frame: %+v, %v", p, err)
	}
}

// TestConvertAllocations: a message without headers is converted without memory of its own.
func TestConvertAllocations(t *testing.T) {
	c, back := testConverter(), testConverter()
	p := amqpwire.Properties{
		Flags: amqpwire.FlagDeliveryMode | amqpwire.FlagContentType | amqpwire.FlagMessageID | amqpwire.FlagHeaders, DeliveryMode: 2, ContentType: []byte("text/plain"), MessageID: []byte("m-1"),
		Headers: table(amqpwire.Table{{Name: "tenant", Value: amqpwire.String("t1")}, {Name: "n", Value: amqpwire.Int(12)}}),
	}
	content := p.Append(nil)
	var m message.Message
	n := testing.AllocsPerRun(100, func() {
		if _, fail := c.inbound(&m, "x", "a.b", "x/a/b", content, "guest", ""); fail != nil {
			t.Fatal(fail)
		}
		back.outbound(&m, 0, 1<<17)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzConvert(f *testing.F) {
	p := amqpwire.Properties{Flags: 0xFFFC, Headers: table(amqpwire.Table{{Name: "a", Value: amqpwire.ArrayOf(amqpwire.Int(1))}, {Name: "x-death", Value: amqpwire.String("[]")}})}
	f.Add("x", "a.b", p.Append(nil), []byte("body"))
	f.Fuzz(func(t *testing.T, exchange, key string, content, value []byte) {
		if len(exchange) > 255 || len(key) > 255 {
			return
		}
		c := testConverter()
		var m message.Message
		if _, fail := c.inbound(&m, exchange, key, message.AddressOf(exchange, key), content, "guest", ""); fail != nil {
			return
		}
		m.Value = value
		m = m.Clone()
		x, k, same, _ := testConverter().outbound(&m, 0, 1<<20)
		var p amqpwire.Properties
		if err := p.Decode(content); err != nil {
			t.Fatal(err)
		}
		_, hidden := amqpwire.Find(p.Headers, "BCC")
		if string(x) != exchange || string(k) != key || !hidden && !bytes.Equal(content, same) {
			t.Fatalf("%q/%q %x came back as %q/%q %x", exchange, key, content, x, k, same)
		}
		// As another protocol's it is still well formed.
		m.Source, m.Native = message.MQTT, nil
		_, _, foreign, _ := testConverter().outbound(&m, 1, 1<<20)
		if err := p.Decode(foreign); err != nil {
			t.Fatalf("foreign content: %v", err)
		}
		if n := binary.BigEndian.Uint16(foreign); n&1 != 0 {
			t.Fatal("flags go on")
		}
	})
}

func TestArguments(t *testing.T) {
	a := canonical(amqpwire.Table{{Name: "n", Value: amqpwire.Int32(5)}, {Name: "s", Value: amqpwire.String("x")}, {Name: "n", Value: amqpwire.Int(6)}, {Name: "t", Value: amqpwire.Nested(amqpwire.Table{{Name: "k", Value: amqpwire.Bool(true)}})}})
	if len(a) != 3 || a[0].Value != "int:5" || a[1].Value != "str:x" || a[2].Value != `table:{"k":true}` {
		t.Errorf("%+v", a)
	}
	bad := []struct {
		name string
		v    amqpwire.Value
		want string
	}{
		{"x-message-ttl", amqpwire.Int(-1), "invalid arg 'x-message-ttl' for queue 'q' in vhost '/': {value_negative,-1}"},
		{"x-expires", amqpwire.Int(0), "{value_zero,0}"},
		{"x-max-priority", amqpwire.Int(256), "{value_too_large,256}"},
		{"x-overflow", amqpwire.String("spill"), "invalid_overflow"},
		{"x-dead-letter-routing-key", amqpwire.String("k"), "routing_key_but_no_dlx_defined"},
		{"x-single-active-consumer", amqpwire.String("yes"), "{unacceptable_type,longstr}"},
		{"x-queue-type", amqpwire.String("magic"), "unsupported queue type 'magic'"},
	}
	for _, tt := range bad {
		spec := newQueueSpec("/", "q")
		r := argReader{t: amqpwire.Table{{Name: tt.name, Value: tt.v}}, target: "queue 'q' in vhost '/'"}
		if f := r.apply(&spec); f == nil || !strings.Contains(f.text, tt.want) {
			t.Errorf("%s: %+v, want %q", tt.name, f, tt.want)
		}
	}
}

func TestReplyText(t *testing.T) {
	f := failf(amqpwire.NotFound, "no queue '%s'", strings.Repeat("ü", 200))
	if s := f.replyText(); len(s) > 255 || !strings.HasPrefix(s, "NOT_FOUND - no queue 'ü") || !strings.HasSuffix(s, "ü...") {
		t.Errorf("%d bytes: %s", len(s), s)
	}
}
