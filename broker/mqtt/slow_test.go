package mqtt

import (
	"fmt"
	"net"
	"reflect"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/mqttwire"
	"github.com/robustmq/rmq/broker/option"
)

func newTimed(t *testing.T, options map[string]string) *broker {
	t.Helper()
	time := clock.NewVirtual(time.UnixMilli(now))
	k := kerneltest.Open(t, kerneltest.Options{NoCapture: true, Time: time})
	return newBrokerOn(t, k, time, func(c *Config) { c.Link, c.Options = time, option.Fixed(options) })
}

// listed is who is listed, as "client topic qos latency count".
func (b *broker) listed() (out []string) {
	list, _ := b.s.Slow()
	for _, x := range list {
		out = append(out, fmt.Sprintf("%s %s %d %v %d", x.ClientID, x.Topic, x.QoS, x.Latency, x.Count))
	}
	return out
}

func (b *broker) wantListed(want ...string) {
	b.t.Helper()
	if got := b.listed(); !reflect.DeepEqual(got, want) {
		b.t.Errorf("listed are %q, want %q", got, want)
	}
}

// An option that is set counts for the next delivery, before anybody has told the server.
func TestSlowCountsAtOnce(t *testing.T) {
	virtual := clock.NewVirtual(time.UnixMilli(now))
	k := kerneltest.Open(t, kerneltest.Options{NoCapture: true, Time: virtual})
	b := newBrokerOn(t, k, virtual, func(c *Config) { c.Link, c.Options = virtual, option.NewLive(k) })
	p, c := b.connect("p", mqttwire.Connect{}), b.connect("c", mqttwire.Connect{})
	c.subscribe(0, mqttwire.Filter{Filter: []byte("#"), QoS: 1})
	late := func() {
		p.publish(msg("a", "x", 1))
		id := c.receive().PacketID
		virtual.Advance(500 * time.Millisecond)
		c.send(&mqttwire.Ack{Type: mqttwire.PUBACK, PacketID: id})
		c.settled()
	}
	late()
	if list, on := b.s.Slow(); len(list) > 0 || on {
		t.Errorf("listed are %v, and nobody wants to know", list)
	}
	if err := k.ChangeOptions(t.Context(), map[string]string{"mqtt.slow.threshold": "500ms"}, nil); err != nil {
		t.Fatal(err)
	}
	late()
	b.wantListed("c a 1 500ms 1")
	if err := k.ChangeOptions(t.Context(), nil, []string{"mqtt.slow.threshold"}); err != nil {
		t.Fatal(err)
	}
	if list, on := b.s.Slow(); len(list) > 0 || on {
		t.Errorf("listed are %v, and nobody wants to know any more", list)
	}
}

// A delivery is over with PUBACK, at QoS 2 with PUBCOMP; it is listed when that took as long as the
// threshold says, by client and topic, the slowest first, for the window.
func TestSlow(t *testing.T) {
	b := newTimed(t, map[string]string{"mqtt.slow.threshold": "500ms", "mqtt.slow.window": "1m"})
	p := b.connect("p", mqttwire.Connect{})
	one, two := b.connect("one", mqttwire.Connect{}), b.connect("two", mqttwire.Connect{})
	one.subscribe(0, mqttwire.Filter{Filter: []byte("#"), QoS: 1})
	two.subscribe(0, mqttwire.Filter{Filter: []byte("$share/g/#"), QoS: 1}, mqttwire.Filter{Filter: []byte("a/2"), QoS: 2})

	quick := func(c *client) {
		c.send(&mqttwire.Ack{Type: mqttwire.PUBACK, PacketID: c.receive().PacketID})
		c.settled()
	}
	p.publish(msg("a/1", "x", 1))
	b.clock.Advance(499 * time.Millisecond)
	quick(one)
	quick(two)
	b.wantListed()

	p.publish(msg("a/1", "x", 1))
	b.clock.Advance(500 * time.Millisecond)
	quick(one)
	b.clock.Advance(250 * time.Millisecond)
	quick(two)
	b.wantListed("two a/1 1 750ms 1", "one a/1 1 500ms 1")

	m := msg("a/2", "x", 2)
	p.publish(m)
	quick(one)
	var exact *mqttwire.Publish
	for range 2 {
		if got := two.receive(); got.QoS == 2 {
			exact = got
		} else {
			two.send(&mqttwire.Ack{Type: mqttwire.PUBACK, PacketID: got.PacketID})
		}
	}
	two.send(&mqttwire.Ack{Type: mqttwire.PUBREC, PacketID: exact.PacketID})
	two.read(mqttwire.PUBREL)
	b.wantListed("two a/1 1 750ms 1", "one a/1 1 500ms 1")
	b.clock.Advance(time.Second)
	two.send(&mqttwire.Ack{Type: mqttwire.PUBCOMP, PacketID: exact.PacketID})
	two.settled()
	b.wantListed("two a/2 2 1s 1", "two a/1 1 750ms 1", "one a/1 1 500ms 1")

	b.clock.Advance(58 * time.Second)
	p.publish(msg("a/1", "x", 1))
	b.clock.Advance(600 * time.Millisecond)
	quick(one) // its last is what counts
	b.wantListed("two a/2 2 1s 1", "two a/1 1 750ms 1", "one a/1 1 600ms 2")
	b.clock.Advance(time.Minute)
	b.wantListed()
}

// What waited for a client that was away, and what was retained, is no slow delivery.
func TestSlowIsNotAway(t *testing.T) {
	b := newTimed(t, map[string]string{"mqtt.slow.threshold": "500ms"})
	p := b.connect("p", mqttwire.Connect{})
	week := mqttwire.Properties(nil).Uint32(mqttwire.SessionExpiry, 604800)
	c := b.connect("c", mqttwire.Connect{Properties: week})
	c.subscribe(0, mqttwire.Filter{Filter: []byte("a"), QoS: 1})
	c.leave(&mqttwire.Disconnect{})
	p.publish(msg("a", "x", 1))
	kept := retained("r", "x", 1)
	p.publish(kept)
	b.clock.Advance(time.Hour)
	c = b.connect("c", mqttwire.Connect{Properties: week})
	c.send(&mqttwire.Ack{Type: mqttwire.PUBACK, PacketID: c.receive().PacketID})
	c.subscribe(0, mqttwire.Filter{Filter: []byte("r"), QoS: 1})
	c.send(&mqttwire.Ack{Type: mqttwire.PUBACK, PacketID: c.receive().PacketID})
	c.settled()
	b.wantListed()
}

// At QoS 0 a delivery is over when it was written: a client that does not read has it wait.
func TestSlowReader(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Options = option.Fixed(map[string]string{"mqtt.slow.threshold": "1s"}) })
	c, s := b.connect(mqttwire.Connect{})
	m := message.Message{Source: message.MQTT, Address: "a", Value: []byte("x"), Time: now}
	if !s.sink.Deliver(&kernel.Delivery{Msg: &m}) {
		t.Fatal("not taken")
	}
	// The pipe holds nothing: what is not read is not written.
	b.clock.Advance(time.Second)
	c.read(mqttwire.PUBLISH)
	c.send([]byte{0xC0, 0})
	c.read(mqttwire.PINGRESP)
	list, _ := b.s.Slow()
	if len(list) != 1 || list[0].Latency != time.Second || list[0].QoS != 0 || list[0].Topic != "a" || list[0].ClientID != "c" {
		t.Errorf("listed are %+v", list)
	}
}

// The list has its bound: the slowest stay. What is listed costs nothing more.
func TestSlowTop(t *testing.T) {
	b := newBench(t, func(c *Config) {
		c.Options = option.Fixed(map[string]string{"mqtt.slow.threshold": "1ms", "mqtt.slow.top": "3"})
	})
	s := &b.s.slow
	l := b.s.timing()
	for i, seconds := range []int{5, 1, 4, 2, 3, 6} {
		s.add(l, "c", fmt.Appendf(nil, "%d", i), 1, time.Duration(seconds)*time.Second, b.clock.Now())
	}
	list, _ := b.s.Slow()
	var topics string
	for _, x := range list {
		topics += x.Topic
	}
	if topics != "502" {
		t.Errorf("listed are topics %s, the slowest first; want 502", topics)
	}
	if raceEnabled {
		return
	}
	// From delivery to acknowledgement.
	c := &conn{server: b.s, clientID: "c", nc: new(net.TCPConn)}
	d := &kernel.Delivery{Msg: &message.Message{Source: message.MQTT, Address: "0", Time: now}}
	b.clock.Advance(7 * time.Second)
	if n := testing.AllocsPerRun(100, func() {
		for id := range uint16(10) {
			c.timeLocked(d, id+1, 1)
		}
		for id := range uint16(10) {
			c.flow.timed.overLocked(10 - id)
		}
	}); n != 0 {
		t.Errorf("%v allocations for ten deliveries, want none", n)
	}
	if list, _ := b.s.Slow(); list[0].Topic != "0" || list[0].Latency != 7*time.Second || list[0].Count < 1000 {
		t.Errorf("listed are %+v", list)
	}
}
