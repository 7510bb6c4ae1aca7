package testkit_test

import (
	"context"
	"flag"
	"net/url"
	"testing"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/robustmq/rmq/testkit"
)

// times is how often TestThreeClients runs at once: the full run asks for 200.
var times = flag.Int("times", 10, "how many brokers with three clients each to run in parallel")

func TestThreeClients(t *testing.T) {
	for range *times {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			threeClients(t)
		})
	}
}

// threeClients is the test that the README shows: one message, seen by three protocols'
// own clients.
func threeClients(t *testing.T) {
	ctx, b := t.Context(), testkit.Run(t)

	conn := must(amqp.Dial(b.AMQP()))(t)
	defer conn.Close()
	ch := must(conn.Channel())(t)
	must(ch.QueueDeclare("temps", true, false, false, false, nil))(t)
	check(t, ch.QueueBind("temps", "sensors.#", "amq.topic", false, nil))
	deliveries := must(ch.Consume("temps", "", false, false, false, false, nil))(t)

	server := must(url.Parse(b.MQTT()))(t)
	mqtt := must(autopaho.NewConnection(ctx, autopaho.ClientConfig{ServerUrls: []*url.URL{server}}))(t)
	check(t, mqtt.AwaitConnection(ctx))
	must(mqtt.Publish(ctx, &paho.Publish{Topic: "sensors/dev1/temp", QoS: 1, Payload: []byte("21.5")}))(t)

	kafka := must(kgo.NewClient(kgo.SeedBrokers(b.Bootstrap()), kgo.ConsumeTopics("sensors"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())))(t)
	defer kafka.Close()
	for _, r := range kafka.PollFetches(ctx).Records() {
		if string(r.Key) != "sensors/dev1/temp" || string(r.Value) != "21.5" {
			t.Errorf("Kafka got %s=%s", r.Key, r.Value)
		}
	}
	d := <-deliveries
	if d.RoutingKey != "sensors.dev1.temp" || string(d.Body) != "21.5" {
		t.Errorf("AMQP got %s=%s", d.RoutingKey, d.Body)
	}
	check(t, d.Ack(false))
	b.Want(t).Queue("temps").Empty()
	check(t, mqtt.Disconnect(context.Background()))
}

// must returns the value of a call, or fails the test.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		check(t, err)
		return v
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
