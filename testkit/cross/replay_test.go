package cross

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/robustmq/rmq/testkit"
)

func from(offset string) paho.UserProperty {
	return paho.UserProperty{Key: "stream-offset", Value: offset}
}

// A stream is replayed over MQTT, from where the client says, whole or what a filter wants of it,
// and goes on with what comes: what MQTT and Kafka have published alike.
func TestReplay(t *testing.T) {
	e := start(t, testkit.VirtualAt(noon))
	pub := e.mqtt()
	publish := func(topic, value string) {
		t.Helper()
		must(pub.Publish(e.ctx, &paho.Publish{Topic: topic, QoS: 1, Payload: []byte(value)}))(t)
	}
	for i := range 250 { // more than is under way at a time
		publish("sensors/d"+fmt.Sprint(i%2)+"/temp", fmt.Sprint(i))
	}
	e.Clock.Advance(time.Hour)
	mark := e.Clock.Now()
	publish("sensors/d0/temp", "250")
	e.produce(&kgo.Record{Topic: "sensors", Value: []byte("251")})

	values := func(c *mqttClient, n int) (got []string) {
		for range n {
			got = append(got, string(c.next().Payload))
		}
		return got
	}
	all := e.at(2).mqtt()
	if code := all.subscribeCode(e, "$stream/sensors", from("earliest")); code != 1 {
		t.Fatalf("SUBACK says %#x", code)
	}
	for i, v := range values(all, 252) {
		if v != fmt.Sprint(i) {
			t.Fatalf("%s came in place of %d", v, i)
		}
	}
	one := e.at(3).mqtt(func(c *paho.Connect) { c.Properties = &paho.ConnectProperties{ReceiveMaximum: ptr(uint16(1))} })
	one.subscribeCode(e, "$stream/sensors/d1/+", from("earliest"))
	for i, v := range values(one, 125) {
		if v != fmt.Sprint(2*i+1) {
			t.Fatalf("%s came in place of %d", v, 2*i+1)
		}
	}
	for _, at := range []string{fmt.Sprint(mark.UnixMilli()), mark.UTC().Format(time.RFC3339)} {
		c := e.at(1).mqtt()
		c.subscribeCode(e, "$stream/sensors", from(at))
		if got := values(c, 2); !slices.Equal(got, []string{"250", "251"}) {
			t.Errorf("from %s came %v", at, got)
		}
	}
	got := make(chan paho3.Message, 10)
	three := e.at(2).mqtt3(func(o *paho3.ClientOptions) {
		o.SetDefaultPublishHandler(func(_ paho3.Client, m paho3.Message) { got <- m })
	})
	three.done(three.Subscribe("$stream/sensors/#", 1, nil))
	publish("sensors/d1/temp", "252")
	if m := next(t, got, "MQTT 3.1.1"); string(m.Payload()) != "252" || m.Topic() != "sensors/d1/temp" {
		t.Errorf("got %s of %s", m.Payload(), m.Topic())
	}
	if v := values(one, 1); v[0] != "252" {
		t.Errorf("got %s", v)
	}
	if v := values(all, 1); v[0] != "252" {
		t.Errorf("got %s", v)
	}
	ack := must(all.Unsubscribe(e.ctx, &paho.Unsubscribe{Topics: []string{"$stream/sensors"}}))(t)
	if ack.Reasons[0] != 0 {
		t.Errorf("UNSUBACK says %#x", ack.Reasons[0])
	}
	all.subscribeCode(e, "plain")
	publish("sensors/d0/temp", "253")
	publish("plain", "after")
	if v := values(all, 1); v[0] != "after" {
		t.Errorf("after UNSUBSCRIBE came %s", v)
	}
	for filter, want := range map[string]byte{"$stream/none/x": 0x8F, "$stream/": 0x8F, "$stream/#": 0x8F, "$stream/$queue/x": 0x8F} {
		if code := all.subscribeCode(e, filter); code != want {
			t.Errorf("SUBACK for %s says %#x", filter, code)
		}
	}
	if code := all.subscribeCode(e, "$stream/sensors", from("tomorrow")); code != 0x83 {
		t.Errorf("SUBACK for no time says %#x", code)
	}
}
