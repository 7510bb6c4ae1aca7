package testkit_test

import (
	"context"
	"testing"

	paho3 "github.com/eclipse/paho.mqtt.golang"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/robustmq/rmq/testkit"
)

// BenchmarkStart is what a test pays for a broker of its own: until every port accepts.
func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		x := testkit.Run(b)
		b.StopTimer()
		check(b, x.Close())
		b.StartTimer()
	}
}

// BenchmarkClose is the other half, with nobody connected.
func BenchmarkClose(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		x := testkit.Run(b)
		b.StartTimer()
		check(b, x.Close())
	}
}

// BenchmarkFirstMessage is from the start of a broker to the acknowledgement of the first
// message over each protocol, the client's connecting included.
func BenchmarkFirstMessage(b *testing.B) {
	body := []byte("21.5")
	for name, publish := range map[string]func(b *testing.B, x *testkit.Broker) (end func()){
		"mqtt": func(b *testing.B, x *testkit.Broker) func() {
			c := paho3.NewClient(paho3.NewClientOptions().AddBroker(x.MQTT()).SetAutoReconnect(false))
			done(b, c.Connect())
			done(b, c.Publish("a/b", 1, false, body))
			return func() { c.Disconnect(0) }
		},
		"kafka": func(b *testing.B, x *testkit.Broker) func() {
			c := must(kgo.NewClient(kgo.SeedBrokers(x.Bootstrap()), kgo.AllowAutoTopicCreation(), kgo.ProducerLinger(0)))(b)
			check(b, c.ProduceSync(context.Background(), &kgo.Record{Topic: "a", Value: body}).FirstErr())
			return c.Close
		},
		"amqp": func(b *testing.B, x *testkit.Broker) func() {
			conn := must(amqp.Dial(x.AMQP()))(b)
			ch := must(conn.Channel())(b)
			check(b, ch.Confirm(false))
			confirm := must(ch.PublishWithDeferredConfirmWithContext(context.Background(), "amq.topic", "a.b", false, false, amqp.Publishing{Body: body}))(b)
			if !confirm.Wait() {
				b.Fatal("not confirmed")
			}
			return func() { _ = conn.Close() }
		},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				x := testkit.Run(b)
				end := publish(b, x)
				b.StopTimer()
				end()
				check(b, x.Close())
				b.StartTimer()
			}
		})
	}
}
