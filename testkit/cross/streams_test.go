package cross

import (
	"fmt"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/paho"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/robustmq/rmq/testkit"
)

func (e *env) admin() *kadm.Client { return kadm.NewClient(e.kafka()) }

func (e *env) createTopic(name string, partitions int32) {
	e.t.Helper()
	must(e.admin().CreateTopic(e.ctx, partitions, 1, nil, name))(e.t)
}

func values(records []*kgo.Record) string {
	var out []string
	for _, r := range records {
		out = append(out, string(r.Value))
	}
	return strings.Join(out, " ")
}

// The home of a message is the stream of its address, or else the longest-named one above.
func TestHomes(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.createTopic("a", 1)
	e.createTopic("a.b", 1)
	e.createTopic("a.b.c", 1)
	c := e.mqtt()
	for _, topic := range []string{"a", "a/x", "a/b", "a/b/x", "a/b/c", "a/b/c/d/e", "a/bb", "/a/y", "/"} {
		must(c.Publish(e.ctx, &paho.Publish{Topic: topic, QoS: 1, Payload: []byte(topic)}))(t)
	}
	e.publishAMQP("", "a.b.q", amqp.Publishing{Body: []byte("amqp")})
	for topic, want := range map[string]string{"a": "a a/x a/bb", "a.b": "a/b a/b/x amqp", "a.b.c": "a/b/c a/b/c/d/e", ".a": "/a/y", "..": "/"} {
		if topic == ".." { // no name for Kafka: given one with a hash
			continue
		}
		if got := values(e.read(topic, len(strings.Fields(want)))); got != want {
			t.Errorf("%s holds %s, want %s", topic, got, want)
		}
	}
}

// Kafka producers write to the topic that they name, whatever lies above it.
func TestKafkaIsNotCaptured(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.publishMQTT(&paho.Publish{Topic: "a/b", QoS: 1, Payload: []byte("mqtt")})
	e.produce(&kgo.Record{Topic: "a.c", Value: []byte("kafka")})
	if got := values(e.read("a", 1)); got != "mqtt" {
		t.Errorf("a holds %s", got)
	}
	if got := values(e.read("a.c", 1)); got != "kafka" {
		t.Errorf("a.c holds %s", got)
	}
	// A view that is produced to becomes a stream; from then on it is the address's home.
	e.produce(&kgo.Record{Topic: "a.b", Value: []byte("own")})
	e.publishMQTT(&paho.Publish{Topic: "a/b", QoS: 1, Payload: []byte("later")})
	if got := values(e.read("a.b", 2)); got != "own later" {
		t.Errorf("a.b holds %s", got)
	}
	if got := values(e.read("a", 1)); got != "mqtt" {
		t.Errorf("a holds %s", got)
	}
}

// A view shows the messages of one address, and nothing that only claims to be of it.
func TestViewsShowNoNeighbours(t *testing.T) {
	t.Parallel()
	e := start(t)
	c := e.mqtt()
	send := func(topic, value string, p *paho.PublishProperties) {
		must(c.Publish(e.ctx, &paho.Publish{Topic: topic, QoS: 1, Payload: []byte(value), Properties: p}))(t)
	}
	send("s/1", "first", nil)
	send("s/2", "neighbour", nil)
	send("s/2", "by key", user("rmq-key", "s/1"))
	send("s/2", "by header", user("rmq-address", "s/1"))
	send("s/2", "by Kafka's header", user("address", "s/1"))
	e.produce(&kgo.Record{Topic: "s", Key: []byte("s/1"), Value: []byte("by Kafka's key")})
	e.produce(&kgo.Record{Topic: "s", Key: []byte("s/1"), Value: []byte("by headers"), Headers: headers("rmq-proto", "mqtt", "rmq-address", "s/1", "rmq-native", "")})
	e.publishAMQP("amq.topic", "s.2", amqp.Publishing{Body: []byte("by table"), Headers: amqp.Table{"rmq-key": "s/1", "rmq-address": "s/1"}})
	send("s/1/deeper", "deeper", nil)
	send("s/1", "with a key of its own", user("rmq-key", "k"))
	e.publishAMQP("amq.topic", "s.1", amqp.Publishing{Body: []byte("last")})
	if got, want := values(e.read("s.1", 3)), "first with a key of its own last"; got != want {
		t.Errorf("the view holds %q, want %q", got, want)
	}
	if got, want := values(e.read("s.1.deeper", 1)), "deeper"; got != want {
		t.Errorf("the view below holds %q, want %q", got, want)
	}
	if got := e.Topic("s").Count(); got != 11 {
		t.Errorf("the stream holds %d records", got)
	}
}

// A consumer group on a view follows it, commits, and comes to a lag of zero although
// most of the stream's records are others'.
func TestGroupOnView(t *testing.T) {
	t.Parallel()
	e := start(t)
	c := e.mqtt()
	for i := range 100 {
		for _, dev := range []string{"1", "2", "3"} {
			must(c.Publish(e.ctx, &paho.Publish{Topic: "s/" + dev, QoS: 1, Payload: []byte(fmt.Sprint(i))}))(t)
		}
	}
	k := e.kafka(kgo.ConsumeTopics("s.2"), kgo.ConsumerGroup("g"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit())
	for i := 0; i < 100; {
		f := k.PollFetches(e.ctx)
		check(t, f.Err())
		f.EachRecord(func(r *kgo.Record) {
			if string(r.Value) != fmt.Sprint(i) || string(r.Key) != "s/2" {
				t.Errorf("record %d is %s", i, sawKafka(r))
			}
			i++
		})
		check(t, k.CommitUncommittedOffsets(e.ctx))
	}
	lag := must(e.admin().Lag(e.ctx, "g"))(t)
	if l := lag["g"].Lag.Total(); l > 2 { // those of s/3 and s/1 after the last of s/2
		t.Errorf("lag %d", l)
	}
}

// Messages of one address keep their order in a stream of many partitions, and its view
// finds them; different addresses spread.
func TestOrderInManyPartitions(t *testing.T) {
	t.Parallel()
	const devices, each = 12, 30
	e := start(t)
	e.createTopic("fleet", 8)
	c := e.mqtt()
	for i := range each {
		for d := range devices {
			must(c.Publish(e.ctx, &paho.Publish{Topic: fmt.Sprintf("fleet/%d", d), QoS: 1, Payload: []byte(fmt.Sprint(i))}))(t)
		}
	}
	seen := make(map[string]int)
	partitions := make(map[int32]bool)
	for _, r := range e.read("fleet", devices*each) {
		if want := fmt.Sprint(seen[string(r.Key)]); string(r.Value) != want {
			t.Errorf("%s: %s, want %s", r.Key, r.Value, want)
		}
		seen[string(r.Key)]++
		partitions[r.Partition] = true
	}
	if len(partitions) < 3 {
		t.Errorf("%d devices are in %d partitions", devices, len(partitions))
	}
	for d := range devices {
		for i, r := range e.read(fmt.Sprintf("fleet.%d", d), each) {
			if string(r.Value) != fmt.Sprint(i) || r.Partition != 0 {
				t.Errorf("the view of device %d has %s in partition %d", d, sawKafka(r), r.Partition)
			}
		}
	}
}

// Three protocols take turns on one address: everybody sees the same order.
func TestOneOrderForAll(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.createTopic("bus", 1)
	mqtt, queue := e.sub("bus"), e.bound("bus")
	m, k, a := e.mqtt(), e.kafka(), e.amqp()
	check(t, a.Confirm(false))
	const count = 60
	for i := range count {
		v := []byte(fmt.Sprint(i))
		switch i % 3 {
		case 0:
			must(m.Publish(e.ctx, &paho.Publish{Topic: "bus", QoS: 1, Payload: v}))(t)
		case 1:
			check(t, k.ProduceSync(e.ctx, &kgo.Record{Topic: "bus", Value: v}).FirstErr())
		case 2:
			must(a.PublishWithDeferredConfirmWithContext(e.ctx, "amq.topic", "bus", false, false, amqp.Publishing{DeliveryMode: 2, Body: v}))(t).Wait()
		}
	}
	for i, r := range e.read("bus", count) {
		want := fmt.Sprint(i)
		if p, d := mqtt.next(), queue.next(); string(r.Value) != want || string(p.Payload) != want || string(d.Body) != want {
			t.Fatalf("message %d: Kafka has %s, MQTT %s, AMQP %s", i, r.Value, p.Payload, d.Body)
		}
	}
}

// Without capture, what was declared is kept and nothing else; nothing below it either.
func TestProductionKeepsWhatWasDeclared(t *testing.T) {
	t.Parallel()
	e := start(t, testkit.Production())
	e.createTopic("declared", 1)
	mqtt := e.sub("#")
	c := e.mqtt()
	for _, topic := range []string{"sensors/dev1", "declared", "declared/below"} {
		must(c.Publish(e.ctx, &paho.Publish{Topic: topic, QoS: 1, Payload: []byte(topic)}))(t)
		if p := mqtt.next(); p.Topic != topic {
			t.Errorf("MQTT got %s", sawMQTT(p))
		}
	}
	e.publishAMQP("amq.topic", "sensors.dev2", amqp.Publishing{Body: []byte("x")})
	if names := must(e.admin().ListTopics(e.ctx))(t).Names(); fmt.Sprint(names) != "[declared]" {
		t.Errorf("topics: %v", names)
	}
	if got := values(e.read("declared", 1)); got != "declared" {
		t.Errorf("declared holds %s", got)
	}
}

// The record's time is when the broker received the message, whatever its sender's clock
// says.
func TestRecordTimeIsTheBrokers(t *testing.T) {
	t.Parallel()
	e := start(t, testkit.VirtualAt(noon))
	e.publishMQTT(&paho.Publish{Topic: "s/1", QoS: 1, Payload: []byte("v"), Properties: user("timestamp", "1000")})
	e.publishAMQP("amq.topic", "s.2", amqp.Publishing{Body: []byte("w"), Timestamp: noon.AddDate(50, 0, 0)})
	for _, r := range e.read("s", 2) {
		if !r.Timestamp.Equal(noon) {
			t.Errorf("%s is of %v", sawKafka(r), r.Timestamp)
		}
	}
}
