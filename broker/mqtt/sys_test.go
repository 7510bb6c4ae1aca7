package mqtt

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/mqttwire"
	"github.com/robustmq/rmq/broker/option"
)

// What $SYS tells is sent at once to who subscribes to it, as retained, and again when it has
// changed.
func TestSys(t *testing.T) {
	link := clock.NewVirtual(time.UnixMilli(now))
	b := newBrokerOn(t, kerneltest.Open(t, kerneltest.Options{NoCapture: true}), nil, func(c *Config) {
		c.Link, c.Version, c.Options = link, "1.2.3", option.Fixed(map[string]string{"mqtt.sys-interval": "1m"})
	})
	c := b.connect("c", mqttwire.Connect{})
	c.subscribe(7, filter("$SYS/broker/clients/connected", 2), filter("$SYS/broker/version", 0), filter("$SYS/brokers", 0))
	c.take("$SYS/broker/clients/connected=1 q0 retain 0b:7", "$SYS/broker/version=rmq version 1.2.3 q0 retain 0b:7", "$SYS/brokers=rmq@1 q0 retain 0b:7")
	c.nothing()
	link.Advance(time.Minute)
	c.nothing() // nothing has changed
	b.connect("d", mqttwire.Connect{})
	link.Advance(time.Minute)
	c.take("$SYS/broker/clients/connected=2 q0 0b:7")

	p := b.connect("p", mqttwire.Connect{})
	for i := range 60 {
		p.publish(msg("x", fmt.Sprint(i), 1))
	}
	link.Advance(time.Minute) // 60 a minute, weighed by what a minute is of one, five and fifteen
	c.take("$SYS/broker/clients/connected=3 q0 0b:7")
	c.subscribe(0, filter("$SYS/broker/load/publish/received/+", 0))
	c.take("$SYS/broker/load/publish/received/1min=37.93 q0 retain",
		"$SYS/broker/load/publish/received/5min=10.88 q0 retain", "$SYS/broker/load/publish/received/15min=3.87 q0 retain")

	all := b.connect("all", mqttwire.Connect{})
	all.subscribe(0, filter("$SYS/#", 0))
	seen := map[string]string{}
	for all.send(pingreq); ; {
		f, _, err := all.next()
		if err != nil {
			t.Fatal(err)
		}
		if f.Type == mqttwire.PINGRESP {
			break
		}
		var m mqttwire.Publish
		if err := m.Decode(mqttwire.V5, f); err != nil {
			t.Fatal(err)
		}
		if !m.Retain {
			t.Errorf("%s is not retained", m.Topic)
		}
		seen[string(m.Topic)] = string(m.Payload)
	}
	for topic, want := range map[string]string{
		"$SYS/broker/uptime": "180 seconds", "$SYS/broker/clients/maximum": "4", "$SYS/broker/publish/messages/received": "60",
		"$SYS/broker/subscriptions/count": "5", "$SYS/brokers/rmq@1/uptime": "3m0s", "$SYS/brokers/rmq@1/stats/connections/count": "4",
	} {
		if seen[topic] != want {
			t.Errorf("%s is %q, want %q", topic, seen[topic], want)
		}
	}
	every := b.connect("every", mqttwire.Connect{})
	every.subscribe(0, filter("#", 0), filter("+/broker/uptime", 0))
	every.nothing() // MQTT5-4.7.2-1
	if r := p.publish(msg("$SYS/broker/uptime", "x", 1)); r != mqttwire.TopicNameInvalid {
		t.Errorf("a client publishes under $SYS: %v", r)
	}
}

// Who watches clients is told of each that comes and goes, and why.
func TestSysClients(t *testing.T) {
	b := newBroker(t, false)
	w := b.connect("watcher", mqttwire.Connect{})
	w.subscribe(0, filter("$SYS/brokers/+/clients/#", 0))
	// told wants events, and what is in them, in any order.
	told := func(events map[string]string) {
		t.Helper()
		for range len(events) {
			p := w.receive()
			event, ok := strings.CutPrefix(string(p.Topic), "$SYS/brokers/rmq@1/clients/dev/")
			if want, told := events[event]; !ok || !told || !strings.Contains(string(p.Payload), want) {
				t.Errorf("%s: %s, want %v", p.Topic, p.Payload, events)
			}
			delete(events, event)
		}
	}
	b.connect("dev", mqttwire.Connect{KeepAlive: 20})
	told(map[string]string{"connected": `"clientid":"dev","ipaddress":"127.0.0.1:`})
	again := b.connect("dev", mqttwire.Connect{})
	told(map[string]string{"connected": `"proto_ver":5`, "disconnected": `"reason":"session taken over"`})
	again.leave(nil)
	told(map[string]string{"disconnected": `"reason":"normal"`})
	broken := b.connect("dev", mqttwire.Connect{})
	told(map[string]string{"connected": `"dev"`})
	_ = broken.nc.Close()
	told(map[string]string{"disconnected": `"reason":"tcp_closed"`})
	w.nothing()
}
