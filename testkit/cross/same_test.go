package cross

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kgo"
)

// What a Kafka producer sent is what a consumer gets, in every codec: keys, values, times and
// headers, nulls and repeats included.
func TestKafkaIsExact(t *testing.T) {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	for name, codec := range codecs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := start(t)
			var sent []*kgo.Record
			for i := range 50 {
				sent = append(sent, &kgo.Record{
					Topic: "t", Key: []byte(fmt.Sprint(i)), Value: []byte(strings.Repeat(fmt.Sprint(i), 100)),
					Timestamp: time.UnixMilli(1_700_000_000_123 + int64(i)),
					Headers:   append(headers("b", "1", "a", "\xff\x00", "b", "2"), kgo.RecordHeader{Key: "null"}, kgo.RecordHeader{Key: "", Value: []byte("no name")}),
				})
			}
			sent = append(sent, &kgo.Record{Topic: "t", Timestamp: time.UnixMilli(1_600_000_000_000)}, // null key, null value, an earlier time
				&kgo.Record{Topic: "t", Key: []byte{}, Value: []byte{}, Timestamp: time.UnixMilli(1_700_000_000_000)},
				&kgo.Record{Topic: "t", Value: []byte("x"), Headers: headers("rmq-proto", "mqtt", "rmq-address", "elsewhere"), Timestamp: time.UnixMilli(1_700_000_000_000)})
			check(t, e.kafka(kgo.ProducerBatchCompression(codec)).ProduceSync(e.ctx, sent...).FirstErr())
			for i, r := range e.read("t", len(sent)) {
				s := sent[i]
				if !reflect.DeepEqual(r.Key, s.Key) || !reflect.DeepEqual(r.Value, s.Value) || !r.Timestamp.Equal(s.Timestamp) || r.Offset != int64(i) {
					t.Errorf("record %d: %s at %v, want %s at %v", i, sawKafka(r), r.Timestamp, sawKafka(s), s.Timestamp)
				}
				if len(r.Headers) != len(s.Headers) {
					t.Errorf("record %d has headers %q, want %q", i, r.Headers, s.Headers)
					continue
				}
				for j := range r.Headers {
					if !reflect.DeepEqual(r.Headers[j], s.Headers[j]) {
						t.Errorf("record %d has header %q, want %q", i, r.Headers[j], s.Headers[j])
					}
				}
			}
		})
	}
}

// What an MQTT 5 client published is what a subscriber gets, whatever is in it, live and
// from a session's backlog; the subscriber's own identifier is all that is added.
func TestMQTTIsExact(t *testing.T) {
	t.Parallel()
	e := start(t)
	everything := &paho.PublishProperties{
		PayloadFormat: ptr(byte(1)), ContentType: "application/json", ResponseTopic: "re/x", CorrelationData: []byte("\x00\xff"),
		User: paho.UserProperties{{Key: "b", Value: "1"}, {Key: "a", Value: ""}, {Key: "b", Value: "1"}, {Key: "", Value: "no name"}, {Key: "rmq-key", Value: "k"},
			{Key: "rmq-proto", Value: "a lie"}, {Key: "user-id", Value: "root"}, {Key: "priority", Value: "high"}},
	}
	const want = `m/d="{}" qos1 format:1 content-type:application/json response:re/x correlation:"\x00\xff" b=1 a= b=1 =no name rmq-key=k rmq-proto=a lie user-id=root priority=high`
	away := e.mqtt(func(c *paho.Connect) {
		c.ClientID, c.Properties = "away", &paho.ConnectProperties{SessionExpiryInterval: ptr(uint32(3600))}
	})
	must(away.Subscribe(e.ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "m/#", QoS: 2}}}))(t)
	check(t, away.Disconnect(&paho.Disconnect{}))
	e.Want(t).Session("away").Away()
	live := e.mqtt()
	must(live.Subscribe(e.ctx, &paho.Subscribe{
		Properties: &paho.SubscribeProperties{SubscriptionIdentifier: ptr(7)}, Subscriptions: []paho.SubscribeOptions{{Topic: "m/+", QoS: 2}},
	}))(t)
	e.publishMQTT(&paho.Publish{Topic: "m/d", QoS: 1, Payload: []byte("{}"), Properties: everything})
	same(t, "live", sawMQTT(live.next()), strings.Replace(want, ` b=1 a=`, ` subscription:7 b=1 a=`, 1))
	back := e.mqtt(func(c *paho.Connect) {
		c.ClientID, c.CleanStart, c.Properties = "away", false, &paho.ConnectProperties{SessionExpiryInterval: ptr(uint32(3600))}
	})
	same(t, "from the backlog", sawMQTT(back.next()), want)
}

// What an AMQP client published is what a consumer gets: exchange, routing key, properties,
// and headers with their types.
func TestAMQPIsExact(t *testing.T) {
	t.Parallel()
	e := start(t)
	c := e.amqp()
	check(t, c.ExchangeDeclare("x", "topic", true, false, false, false, nil))
	must(c.QueueDeclare("q", true, false, false, false, nil))(t)
	check(t, c.QueueBind("q", "a/b.#", "x", false, nil))
	c.consume("q")
	table := amqp.Table{
		"int8": int8(-8), "int16": int16(-16), "int32": int32(-32), "int64": int64(-64), "float32": float32(0.5), "float64": 0.25, "bool": true,
		"string": "s", "bytes": []byte("\xff"), "decimal": amqp.Decimal{Scale: 3, Value: 3141}, "time": time.Unix(1_700_000_000, 0), "void": nil,
		"array": []any{"a", int32(1), []any{true}}, "table": amqp.Table{"t": amqp.Table{"u": int64(9)}}, "rmq-x": "kept", "x-delivery-count": int64(3),
	}
	e.publishAMQP("x", "a/b.c", amqp.Publishing{
		Headers: table, ContentType: "ct", ContentEncoding: "ce", DeliveryMode: 2, Priority: 9, CorrelationId: "c", ReplyTo: "any thing",
		Expiration: "60000", MessageId: "m", Timestamp: time.Unix(1_800_000_000, 0), Type: "t", UserId: "guest", AppId: "a", Body: []byte("\x00body"),
	})
	d := c.next()
	if d.Exchange != "x" || d.RoutingKey != "a/b.c" || !reflect.DeepEqual(d.Headers, table) {
		t.Errorf("got %s\nheaders %#v\nwant    %#v", sawAMQP(d), d.Headers, table)
	}
	d.Headers = nil
	same(t, "properties", sawAMQP(d), `x|a/b.c="\x00body" mode2 priority:9 content-type:ct content-encoding:ce correlation:c reply-to:any thing `+
		`expiration:60000 message-id:m type:t user-id:guest app-id:a timestamp:1800000000`)
}
