package cross

import (
	"fmt"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/paho"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Every protocol's message reaches every protocol's client, in order, under the name that
// its address has there.
func TestNineDirections(t *testing.T) {
	const count = 20
	value := func(i int) string { return fmt.Sprintf("%d.5", i) }
	sources := map[string]func(e *env){
		"mqtt": func(e *env) {
			c := e.mqtt()
			for i := range count {
				must(c.Publish(e.ctx, &paho.Publish{Topic: "sensors/dev1/temp", QoS: byte(i%2 + 1), Payload: []byte(value(i))}))(e.t)
			}
		},
		"mqtt 3.1.1": func(e *env) {
			c := e.mqtt3()
			for i := range count {
				c.done(c.Publish("sensors/dev1/temp", byte(i%2+1), false, value(i)))
			}
		},
		"kafka": func(e *env) {
			c := e.kafka()
			for i := range count {
				check(e.t, c.ProduceSync(e.ctx, &kgo.Record{Topic: "sensors.dev1.temp", Key: []byte("k"), Value: []byte(value(i))}).FirstErr())
			}
		},
		"amqp": func(e *env) {
			c := e.amqp()
			check(e.t, c.Confirm(false))
			for i := range count {
				confirm := must(c.PublishWithDeferredConfirmWithContext(e.ctx, "amq.topic", "sensors.dev1.temp", false, false, amqp.Publishing{
					DeliveryMode: amqp.Persistent, Body: []byte(value(i)),
				}))(e.t)
				if !confirm.Wait() {
					e.t.Fatal("not confirmed")
				}
			}
		},
	}
	for source, publish := range sources {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			e := start(t)
			mqtt, queue := e.sub("sensors/+/temp"), e.bound("sensors.#")
			old := e.mqtt3()
			old.sub("sensors/#", 1)
			publish(e)
			for i := range count {
				if m := mqtt.next(); m.Topic != "sensors/dev1/temp" || string(m.Payload) != value(i) {
					t.Fatalf("MQTT, message %d: %s", i, sawMQTT(m))
				}
				if m := old.next(); m.Topic() != "sensors/dev1/temp" || string(m.Payload()) != value(i) {
					t.Fatalf("MQTT 3.1.1, message %d: %s=%s", i, m.Topic(), m.Payload())
				}
				if d := queue.next(); d.Exchange != "amq.topic" || d.RoutingKey != "sensors.dev1.temp" || string(d.Body) != value(i) {
					t.Fatalf("AMQP, message %d: %s", i, sawAMQP(d))
				}
			}
			topics := []string{"sensors", "sensors.dev1.temp"}
			key := "sensors/dev1/temp"
			if source == "kafka" { // its topic is a stream of its own, and the key its client's
				topics, key = topics[1:], "k"
			}
			for _, topic := range topics {
				for i, r := range e.read(topic, count) {
					if r.Topic != topic || string(r.Key) != key || string(r.Value) != value(i) {
						t.Fatalf("Kafka, record %d: %s", i, sawKafka(r))
					}
				}
			}
			// The origin is told whenever the protocol changed, and never when it did not.
			publish(e)
			first, _, _ := strings.Cut(source, " ")
			for protocol, saw := range map[string]string{"mqtt": sawMQTT(mqtt.next()), "amqp": sawAMQP(queue.next())} {
				if strings.Contains(saw, "rmq-proto") != (protocol != first) {
					t.Errorf("%s saw %s", protocol, saw)
				}
			}
		})
	}
}
