package testkit_test

import (
	"context"
	"net/url"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/robustmq/rmq/broker"
	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/testkit"
)

// A clock that is set back, beneath a broker or while it is down, breaks no promise: offsets go on,
// the time of records does not go back, and what is published with a minute to live has a
// minute to live.
func TestClockSetBack(t *testing.T) {
	ctx := t.Context()
	begun := time.UnixMilli(1_800_000_000_000)
	hands := clock.NewVirtual(begun)
	b := testkit.Run(t, testkit.DataDir(t.TempDir()), testkit.Configure(func(c *broker.Config) { c.Time = hands }))

	life := uint32(60)
	publish := func() {
		t.Helper()
		server := must(url.Parse(b.MQTT()))(t)
		mqtt := must(autopaho.NewConnection(ctx, autopaho.ClientConfig{ServerUrls: []*url.URL{server}}))(t)
		check(t, mqtt.AwaitConnection(ctx))
		must(mqtt.Publish(ctx, &paho.Publish{Topic: "sensors/dev1", QoS: 1, Payload: []byte("x"), Properties: &paho.PublishProperties{MessageExpiry: &life}}))(t)
		check(t, mqtt.Disconnect(context.Background()))

		conn := must(amqp.Dial(b.AMQP()))(t)
		defer conn.Close()
		ch := must(conn.Channel())(t)
		check(t, ch.Confirm(false))
		must(ch.QueueDeclare("jobs", true, false, false, false, nil))(t)
		check(t, ch.QueueBind("jobs", "sensors.#", "amq.topic", false, nil))
		confirm := must(ch.PublishWithDeferredConfirm("", "jobs", false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Expiration: "60000", Body: []byte("x")}))(t)
		if !confirm.Wait() {
			t.Error("nacked")
		}
	}
	publish()             // binds; one message
	hands.Back(time.Hour) // beneath the broker
	publish()             // two messages
	check(t, b.Close())
	hands.Back(time.Hour) // while it is down
	b.Restart()
	publish()

	records := b.Topic("sensors").Records()
	if len(records) != 3 {
		t.Fatalf("%d records", len(records))
	}
	for i, r := range records {
		if r.Offset != int64(i) || i > 0 && r.Time.Before(records[i-1].Time) {
			t.Errorf("record %d has offset %d and time %v, after %v", i, r.Offset, r.Time, records[max(0, i-1)].Time)
		}
	}
	if n := b.Queue("jobs").Ready(); n != 5 {
		t.Errorf("%d messages wait, want 5: the clock was set back, and no minute has passed", n)
	}
	hands.Advance(2*time.Hour + 2*time.Minute) // it has caught up, and a minute is over
	b.Want(t).Queue("jobs").Empty()
}
