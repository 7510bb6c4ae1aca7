package mqtt

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/mqttwire"
	"github.com/robustmq/rmq/broker/wire"
)

// This file is the adapter on the production kernel, over TCP: what MQTT promises its
// users, with the statements that promise it.

// broker is a server on a kernel of its own.
type broker struct {
	t     testing.TB
	k     *kernel.Kernel
	s     *Server
	clock *clock.Virtual // broker time; nil: the wall
	addr  string
}

func newBroker(t testing.TB, virtual bool) *broker {
	t.Helper()
	o := kerneltest.Options{NoCapture: true}
	if !virtual {
		return newBrokerOn(t, kerneltest.Open(t, o), nil)
	}
	clock := clock.NewVirtual(time.UnixMilli(now))
	o.Time = clock
	return newBrokerOn(t, kerneltest.Open(t, o), clock)
}

// newBrokerOn serves a kernel; time is its broker time, nil: the wall.
func newBrokerOn(t testing.TB, k *kernel.Kernel, time *clock.Virtual, change ...func(*Config)) *broker {
	t.Helper()
	b := &broker{t: t, k: k, clock: time}
	cfg := Config{Kernel: k}
	if time != nil {
		cfg.Clock = time
	}
	for _, f := range change {
		f(&cfg)
	}
	b.s = New(cfg)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.addr = l.Addr().String()
	var served sync.WaitGroup
	served.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			served.Go(func() { b.s.ServeConn(nc) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := b.s.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
		served.Wait()
	})
	return b
}

// client is a peer that knows its place: it connects, subscribes and publishes in one call
// each, and gathers what it is sent.
type client struct {
	*peer
	nextID  uint16
	present bool
}

func (b *broker) dial(v mqttwire.Version) *peer {
	b.t.Helper()
	nc, err := net.Dial("tcp", b.addr)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	t, _ := b.t.(*testing.T)
	return &peer{t: t, v: v, nc: nc, r: wire.NewReader(nc)}
}

func (b *broker) connect(id string, p mqttwire.Connect) *client {
	b.t.Helper()
	if p.Version == 0 {
		p.Version = mqttwire.V5
	}
	p.ClientID = []byte(id)
	c := &client{peer: b.dial(p.Version)}
	c.send(&p)
	var ack mqttwire.Connack
	if err := ack.Decode(c.v, c.read(mqttwire.CONNACK)); err != nil {
		b.t.Fatal(err)
	}
	if ack.Reason != mqttwire.Success || ack.Code != mqttwire.Accepted {
		b.t.Fatalf("%s refused: %v, %d", id, ack.Reason, ack.Code)
	}
	c.present = ack.SessionPresent
	return c
}

func (c *client) id() uint16 {
	c.nextID++
	return c.nextID
}

// subscribe subscribes and returns the reason codes. Retained messages may come after.
func (c *client) subscribe(id uint32, filters ...mqttwire.Filter) []mqttwire.Reason {
	c.t.Helper()
	s := &mqttwire.Subscribe{PacketID: c.id(), Filters: filters}
	if id != 0 {
		s.Properties = none.Varint(mqttwire.SubscriptionID, id)
	}
	c.send(s)
	var ack mqttwire.Suback
	if err := ack.Decode(c.v, c.read(mqttwire.SUBACK)); err != nil {
		c.t.Fatal(err)
	}
	return ack.Reasons
}

// holds waits until that many retained messages match: those of QoS 0, and of wills, are
// stored when they are, and nobody is told.
func (b *broker) holds(filter string, n int) {
	b.t.Helper()
	changed, stop := b.k.Changes()
	defer stop()
	for len(b.k.RetainedMessages("/", filter, n+1)) != n {
		select {
		case <-changed:
		case <-time.After(patience):
			b.t.Fatalf("%s does not come to hold %d retained messages", filter, n)
		}
	}
}

// advance moves broker time, with all that is under way before and after it done.
func (b *broker) advance(d time.Duration) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, step := range []func(){func() {}, func() { b.clock.Advance(d) }} {
		step()
		if err := b.k.Settle(ctx); err != nil {
			b.t.Fatal(err)
		}
	}
}

func filter(f string, qos byte) mqttwire.Filter { return mqttwire.Filter{Filter: []byte(f), QoS: qos} }

// publish publishes, through all the steps of the QoS, and returns the reason code.
func (c *client) publish(p mqttwire.Publish) mqttwire.Reason {
	c.t.Helper()
	if p.QoS > 0 && p.PacketID == 0 {
		p.PacketID = c.id()
	}
	c.send(&p)
	var a mqttwire.Ack
	switch p.QoS {
	case 1:
		if err := a.Decode(c.v, c.read(mqttwire.PUBACK)); err != nil {
			c.t.Fatal(err)
		}
	case 2:
		if err := a.Decode(c.v, c.read(mqttwire.PUBREC)); err != nil {
			c.t.Fatal(err)
		}
		if !a.Reason.Failed() {
			c.send(&mqttwire.Ack{Type: mqttwire.PUBREL, PacketID: p.PacketID})
			c.want(&mqttwire.Ack{Type: mqttwire.PUBCOMP, PacketID: p.PacketID})
		}
	default:
		c.settled()
	}
	if a.PacketID != p.PacketID {
		c.t.Fatalf("acknowledged %d, want %d", a.PacketID, p.PacketID)
	}
	return a.Reason
}

func msg(topic, payload string, qos byte) mqttwire.Publish {
	return mqttwire.Publish{Topic: []byte(topic), Payload: []byte(payload), QoS: qos}
}

func retained(topic, payload string, qos byte) mqttwire.Publish {
	p := msg(topic, payload, qos)
	p.Retain = true
	return p
}

// receive reads one PUBLISH, with memory of its own, unacknowledged.
func (c *client) receive() *mqttwire.Publish {
	c.t.Helper()
	p := new(mqttwire.Publish)
	if err := p.Decode(c.v, c.read(mqttwire.PUBLISH)); err != nil {
		c.t.Fatal(err)
	}
	p.Topic, p.Payload, p.Properties = bytes.Clone(p.Topic), bytes.Clone(p.Payload), bytes.Clone(p.Properties)
	return p
}

// text says what a PUBLISH is, for comparison: flags only when set.
func text(p *mqttwire.Publish) string {
	s := fmt.Sprintf("%s=%s q%d", p.Topic, p.Payload, p.QoS)
	if p.Dup {
		s += " dup"
	}
	if p.Retain {
		s += " retain"
	}
	if len(p.Properties) > 0 {
		s += " " + show(p.Properties)
	}
	return s
}

// take reads PUBLISH packets, completes their QoS, and checks what they are.
func (c *client) take(want ...string) {
	c.t.Helper()
	for _, w := range want {
		p := c.receive()
		if got := text(p); got != w {
			c.t.Fatalf("received %q, want %q", got, w)
		}
		c.complete(p)
	}
}

func (c *client) complete(p *mqttwire.Publish) {
	c.t.Helper()
	switch p.QoS {
	case 1:
		c.send(&mqttwire.Ack{Type: mqttwire.PUBACK, PacketID: p.PacketID})
	case 2:
		c.send(&mqttwire.Ack{Type: mqttwire.PUBREC, PacketID: p.PacketID})
		c.want(&mqttwire.Ack{Type: mqttwire.PUBREL, PacketID: p.PacketID})
		c.send(&mqttwire.Ack{Type: mqttwire.PUBCOMP, PacketID: p.PacketID})
	}
}

// nothing expects that nothing has been sent to c by what was done before.
func (c *client) nothing() {
	c.t.Helper()
	c.settled()
}

// leave disconnects in good order, and waits for the server to be done.
func (c *client) leave(d *mqttwire.Disconnect) {
	c.t.Helper()
	if d == nil {
		d = &mqttwire.Disconnect{}
	}
	c.send(d)
	for {
		if _, _, err := c.next(); err != nil {
			return
		}
	}
}

var persistent = mqttwire.Connect{Properties: none.Uint32(mqttwire.SessionExpiry, 1000)}

func TestQoSMatrix(t *testing.T) {
	b := newBroker(t, false)
	for _, v := range []mqttwire.Version{mqttwire.V31, mqttwire.V311, mqttwire.V5} {
		for sub := range byte(3) {
			topic := fmt.Sprintf("m/%d/%d", v, sub)
			s := b.connect("s"+topic[2:3]+topic[4:], mqttwire.Connect{Version: v, CleanStart: true})
			if got := s.subscribe(0, filter(topic, sub)); got[0] != mqttwire.Reason(sub) {
				t.Errorf("MQTT5-3.8.4-7: granted %v, asked %d", got, sub)
			}
			p := b.connect("p"+topic[2:3]+topic[4:], mqttwire.Connect{Version: v, CleanStart: true})
			for pub := range byte(3) {
				if r := p.publish(msg(topic, "x", pub)); r != mqttwire.Success {
					t.Errorf("published at QoS %d: %v", pub, r)
				}
				s.take(fmt.Sprintf("%s=x q%d", topic, min(pub, sub))) // MQTT5-3.8.4-8
			}
			s.leave(nil)
			p.leave(nil)
		}
	}
}

func TestNoSubscribers(t *testing.T) {
	b := newBroker(t, false)
	c := b.connect("c", mqttwire.Connect{})
	for qos := range byte(2) {
		if r := c.publish(msg("nobody/here", "x", qos+1)); r != mqttwire.NoMatchingSubscribers {
			t.Errorf("QoS %d: %v, want no matching subscribers", qos+1, r)
		}
	}
}

// Packets are delivered in the order in which they were published (MQTT5-4.6.0-5).
func TestOrder(t *testing.T) {
	b := newBroker(t, false)
	for qos := range byte(3) {
		topic := fmt.Sprintf("order/%d", qos)
		s := b.connect(fmt.Sprintf("s%d", qos), mqttwire.Connect{CleanStart: true})
		s.subscribe(0, filter(topic, 2))
		p := b.connect(fmt.Sprintf("p%d", qos), mqttwire.Connect{CleanStart: true})
		const n = 300
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := range n {
				q := msg(topic, fmt.Sprint(i), qos)
				if qos > 0 {
					q.PacketID = uint16(i + 1)
				}
				p.send(&q)
			}
			for range n * int(min(qos, 1)) {
				f, _, err := p.next()
				if err != nil {
					t.Error(err)
					return
				}
				var a mqttwire.Ack
				if err := a.Decode(mqttwire.V5, f); err == nil && f.Type == mqttwire.PUBREC {
					p.send(&mqttwire.Ack{Type: mqttwire.PUBREL, PacketID: a.PacketID})
				}
			}
		})
		for i := range n {
			for {
				f, _, err := s.next()
				if err != nil {
					t.Fatal(err)
				}
				if f.Type == mqttwire.PUBREL {
					var a mqttwire.Ack
					_ = a.Decode(mqttwire.V5, f)
					s.send(&mqttwire.Ack{Type: mqttwire.PUBCOMP, PacketID: a.PacketID})
					continue
				}
				var q mqttwire.Publish
				if err := q.Decode(mqttwire.V5, f); err != nil {
					t.Fatal(err)
				}
				if string(q.Payload) != fmt.Sprint(i) {
					t.Fatalf("QoS %d: %s where %d was due", qos, q.Payload, i)
				}
				switch q.QoS {
				case 1:
					s.send(&mqttwire.Ack{Type: mqttwire.PUBACK, PacketID: q.PacketID})
				case 2:
					s.send(&mqttwire.Ack{Type: mqttwire.PUBREC, PacketID: q.PacketID})
				}
				break
			}
		}
		wg.Wait()
	}
}

func TestRetained(t *testing.T) {
	b := newBroker(t, false)
	p := b.connect("p", mqttwire.Connect{})
	s := b.connect("s", mqttwire.Connect{})
	s.subscribe(0, mqttwire.Filter{Filter: []byte("r/#"), QoS: 1}, mqttwire.Filter{Filter: []byte("q/#"), QoS: 1, RetainAsPublished: true})

	p.publish(retained("r/a", "1", 1))
	s.take("r/a=1 q1") // MQTT5-3.3.1-12
	p.publish(retained("q/a", "1", 0))
	s.take("q/a=1 q0 retain") // MQTT5-3.3.1-13
	p.publish(retained("r/a", "2", 1))
	p.publish(retained("r/b", "3", 0))
	p.publish(msg("r/a", "not retained", 1)) // MQTT5-3.3.1-8
	s.take("r/a=2 q1", "r/b=3 q0", "r/a=not retained q1")

	b.holds("r/#", 2)
	late := b.connect("late", mqttwire.Connect{Version: mqttwire.V311, CleanStart: true})
	late.subscribe(0, filter("r/a", 2))
	late.take("r/a=2 q1 retain") // MQTT5-3.3.1-5, MQTT311-3.3.1-8
	late.subscribe(0, filter("r/+", 0))
	got := map[string]bool{text(late.receive()): true, text(late.receive()): true}
	if !got["r/a=2 q0 retain"] || !got["r/b=3 q0 retain"] {
		t.Errorf("retained: %v", got)
	}

	p.publish(retained("r/a", "", 1)) // MQTT5-3.3.1-6, -7
	late.take("r/a= q1")
	b.holds("r/#", 1)
	last := b.connect("last", mqttwire.Connect{})
	last.subscribe(0, filter("r/a", 1))
	last.nothing()

	// MQTT5-3.3.1-9, -10, -11
	handling := func(h byte) mqttwire.Filter { return mqttwire.Filter{Filter: []byte("r/b"), RetainHandling: h} }
	last.subscribe(0, handling(2))
	last.nothing()
	last.subscribe(0, handling(1))
	last.nothing()
	last.subscribe(0, handling(0))
	last.take("r/b=3 q0 retain") // MQTT5-3.8.4-4
	fresh := b.connect("fresh", mqttwire.Connect{})
	fresh.subscribe(9, handling(1))
	fresh.take("r/b=3 q0 retain 0b:9")
	fresh.subscribe(0, filter("$share/g/r/b", 0)) // none for a shared subscription
	fresh.nothing()
}

func TestWill(t *testing.T) {
	b := newBroker(t, true)
	w := b.connect("watch", mqttwire.Connect{})
	w.subscribe(0, filter("will/#", 2))
	with := func(topic string, delay, expiry uint32) mqttwire.Connect {
		c := mqttwire.Connect{Will: true, WillQoS: 1, WillTopic: []byte(topic), WillPayload: []byte("gone")}
		if delay > 0 {
			c.WillProps = none.Uint32(mqttwire.WillDelay, delay).User("k", "v")
		}
		if expiry > 0 {
			c.Properties = none.Uint32(mqttwire.SessionExpiry, expiry)
		}
		return c
	}

	b.connect("a", with("will/break", 0, 0)).nc.Close() // MQTT5-3.1.2-8
	w.take("will/break=gone q1")

	b.connect("a", with("will/withdrawn", 0, 0)).leave(nil) // MQTT5-3.14.4-3
	b.connect("a", with("will/asked", 0, 0)).leave(&mqttwire.Disconnect{Reason: mqttwire.DisconnectWithWill})
	w.take("will/asked=gone q1")

	b.connect("a", with("will/delayed", 10, 100)).leave(&mqttwire.Disconnect{Reason: mqttwire.DisconnectWithWill})
	w.nothing()
	b.advance(9 * time.Second)
	w.nothing()
	b.advance(time.Second)
	w.take("will/delayed=gone q1 k=v")

	b.connect("a", with("will/back", 10, 100)).leave(&mqttwire.Disconnect{Reason: mqttwire.DisconnectWithWill})
	b.connect("a", mqttwire.Connect{Properties: none.Uint32(mqttwire.SessionExpiry, 100)}).leave(nil) // MQTT5-3.1.3-9
	b.advance(60 * time.Second)
	w.nothing()

	b.connect("a", with("will/ends", 50, 20)).leave(&mqttwire.Disconnect{Reason: mqttwire.DisconnectWithWill})
	b.advance(20 * time.Second) // the session ends first
	w.take("will/ends=gone q1 k=v")

	first := b.connect("a", with("will/taken", 0, 0))
	b.connect("a", mqttwire.Connect{CleanStart: true})
	first.wantDisconnect(mqttwire.SessionTakenOver)
	w.take("will/taken=gone q1")

	r := with("will/kept", 0, 0) // MQTT5-3.1.2-15
	r.WillRetain = true
	b.connect("b", r).leave(&mqttwire.Disconnect{Reason: mqttwire.DisconnectWithWill})
	w.take("will/kept=gone q1")
	b.holds("will/kept", 1)
	late := b.connect("late", mqttwire.Connect{})
	late.subscribe(0, filter("will/kept", 0))
	late.take("will/kept=gone q0 retain")
}

func TestSessionResumes(t *testing.T) {
	for _, v := range []mqttwire.Version{mqttwire.V311, mqttwire.V5} {
		b := newBroker(t, false)
		connect := mqttwire.Connect{Version: v, Properties: none.Uint32(mqttwire.SessionExpiry, 1000)}
		p := b.connect("p", mqttwire.Connect{})
		s := b.connect("s", connect)
		if s.present {
			t.Error("MQTT5-3.2.2-3: a new session is said to be present")
		}
		s.subscribe(0, filter("a/#", 2))
		s.leave(nil)
		for qos := range byte(3) {
			p.publish(msg("a/b", fmt.Sprint(qos), qos))
		}
		s = b.connect("s", connect)
		if !s.present {
			t.Error("MQTT5-3.1.2-5: the session was not resumed")
		}
		s.take("a/b=1 q1", "a/b=2 q2")
		s.nothing()
		p.publish(msg("a/c", "live", 1))
		s.take("a/c=live q1")
		s.leave(nil)

		fresh := connect
		fresh.CleanStart = true
		if s = b.connect("s", fresh); s.present { // MQTT5-3.1.2-4
			t.Error("MQTT5-3.2.2-2: a clean session is said to be present")
		}
		p.publish(msg("a/d", "x", 1))
		s.nothing()
	}
}

// What was not acknowledged is sent again, with its packet identifier, in order
// (MQTT5-4.4.0-1).
func TestResend(t *testing.T) {
	b := newBroker(t, false)
	p := b.connect("p", mqttwire.Connect{})
	s := b.connect("s", persistent)
	s.subscribe(0, filter("a", 2))
	p.publish(msg("a", "1", 1))
	p.publish(msg("a", "2", 2))
	p.publish(msg("a", "3", 2))
	one, two, three := s.receive(), s.receive(), s.receive()
	s.send(&mqttwire.Ack{Type: mqttwire.PUBREC, PacketID: two.PacketID})
	s.want(&mqttwire.Ack{Type: mqttwire.PUBREL, PacketID: two.PacketID})
	_ = s.nc.Close()

	s = b.connect("s", persistent)
	got := map[string]bool{}
	for range 3 {
		f, raw, err := s.next()
		if err != nil {
			t.Fatal(err)
		}
		got[fmt.Sprintf("%v %x", f.Type, raw)] = true
	}
	want := map[string]bool{
		fmt.Sprintf("PUBLISH %x", (&mqttwire.Publish{Dup: true, QoS: 1, Topic: one.Topic, PacketID: one.PacketID, Payload: one.Payload}).Append(nil, mqttwire.V5)):       true, // MQTT5-3.3.1-1
		fmt.Sprintf("PUBREL %x", (&mqttwire.Ack{Type: mqttwire.PUBREL, PacketID: two.PacketID}).Append(nil, mqttwire.V5)):                                                true, // MQTT5-4.3.3-6
		fmt.Sprintf("PUBLISH %x", (&mqttwire.Publish{Dup: true, QoS: 2, Topic: three.Topic, PacketID: three.PacketID, Payload: three.Payload}).Append(nil, mqttwire.V5)): true,
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("sent again:\n%v, want\n%v", got, want)
	}
	s.send(&mqttwire.Ack{Type: mqttwire.PUBACK, PacketID: one.PacketID}, &mqttwire.Ack{Type: mqttwire.PUBCOMP, PacketID: two.PacketID})
	s.complete(three)
	s.nothing()
}

// A QoS 2 publish that is sent again before PUBREL is one message (MQTT5-4.3.3-10), also over
// two connections; after PUBCOMP its identifier is free (MQTT5-4.3.3-12).
func TestExactlyOnce(t *testing.T) {
	b := newBroker(t, false)
	s := b.connect("s", mqttwire.Connect{})
	s.subscribe(0, filter("a", 2))
	p := b.connect("p", persistent)
	m := msg("a", "once", 2)
	m.PacketID = 7
	send := func() {
		t.Helper()
		p.send(&m)
		var a mqttwire.Ack
		if err := a.Decode(mqttwire.V5, p.read(mqttwire.PUBREC)); err != nil || a.PacketID != 7 || a.Reason.Failed() {
			t.Fatalf("answered %+v, %v", a, err)
		}
		m.Dup = true
	}
	send()
	send()
	_ = p.nc.Close()
	p = b.connect("p", persistent)
	send()
	p.send(&mqttwire.Ack{Type: mqttwire.PUBREL, PacketID: 7})
	p.want(&mqttwire.Ack{Type: mqttwire.PUBCOMP, PacketID: 7})
	s.take("a=once q2")
	s.nothing()
	p.send(&mqttwire.Ack{Type: mqttwire.PUBREL, PacketID: 7})
	p.want(&mqttwire.Ack{Type: mqttwire.PUBCOMP, PacketID: 7, Reason: mqttwire.PacketIDNotFound})
	m.Dup, m.Payload = false, []byte("another")
	if r := p.publish(m); r != mqttwire.Success {
		t.Error(r)
	}
	s.take("a=another q2")
}

func TestTakeover(t *testing.T) {
	b := newBroker(t, false)
	first := b.connect("c", persistent)
	first.subscribe(0, filter("a", 1))
	second := b.connect("c", persistent)
	first.wantDisconnect(mqttwire.SessionTakenOver) // MQTT5-3.1.4-3
	if !second.present {
		t.Error("the session was not resumed")
	}
	b.connect("p", mqttwire.Connect{}).publish(msg("a", "x", 1))
	second.take("a=x q1")
	if n := b.s.Stats().TakenOver.Load(); n != 1 {
		t.Errorf("%d counted, want 1", n)
	}
}

func TestSessionExpiry(t *testing.T) {
	b := newBroker(t, true)
	connect := mqttwire.Connect{Properties: none.Uint32(mqttwire.SessionExpiry, 60)}
	s := b.connect("s", connect)
	s.subscribe(0, filter("a", 1))
	b.advance(time.Hour) // not while it is connected (MQTT5-4.1.0-1)
	s.leave(nil)
	b.advance(59 * time.Second)
	if s = b.connect("s", connect); !s.present {
		t.Error("MQTT5-3.1.2-23: the session ended early")
	}
	s.leave(nil)
	b.advance(61 * time.Second)
	if s = b.connect("s", connect); s.present {
		t.Error("MQTT5-4.1.0-2: the session did not end")
	}
	s.leave(&mqttwire.Disconnect{Properties: none.Uint32(mqttwire.SessionExpiry, 3600)})
	b.advance(3000 * time.Second)
	if s = b.connect("s", connect); !s.present {
		t.Error("the expiry in DISCONNECT was not heeded")
	}
	s.leave(&mqttwire.Disconnect{Properties: none.Uint32(mqttwire.SessionExpiry, 0)})
	if s = b.connect("s", connect); s.present {
		t.Error("the session outlived an expiry of 0")
	}
}

func TestMessageExpiry(t *testing.T) {
	b := newBroker(t, true)
	s := b.connect("s", persistent)
	s.subscribe(0, filter("a", 1))
	s.leave(nil)
	p := b.connect("p", mqttwire.Connect{})
	for _, seconds := range []uint32{10, 100} {
		m := msg("a", fmt.Sprint(seconds), 1)
		m.Properties = none.Uint32(mqttwire.MessageExpiry, seconds).User("k", "v")
		p.publish(m)
	}
	b.advance(30500 * time.Millisecond)
	s = b.connect("s", persistent)
	s.take("a=100 q1 02:70 k=v") // MQTT5-3.3.2-5, -6: seconds left, rounded up
	s.nothing()

	m := retained("r", "x", 1)
	m.Properties = none.Uint32(mqttwire.MessageExpiry, 10)
	p.publish(m)
	b.advance(4 * time.Second)
	s.subscribe(0, filter("r", 0))
	s.take("r=x q0 retain 02:6")
	b.advance(6 * time.Second)
	s.subscribe(0, filter("r", 0))
	s.nothing()
}

func TestProperties(t *testing.T) {
	b := newBroker(t, false)
	s := b.connect("s", persistent)
	s.subscribe(0, filter("a", 1))
	p := b.connect("p", mqttwire.Connect{})
	m := msg("a", "x", 1)
	m.Properties = none.User("b", "1").Byte(mqttwire.PayloadFormat, 1).User("a", "2").String(mqttwire.ContentType, "text/plain").User("b", "3").
		String(mqttwire.ResponseTopic, "re/ply").Binary(mqttwire.CorrelationData, []byte("\x00\xff")).User("rmq-mine", "kept").User("user-id", "whoever")
	want := "a=x q%d b=1 01:1 a=2 03:text/plain b=3 08:re/ply 09:\x00\xff rmq-mine=kept user-id=whoever"
	p.publish(m) // MQTT5-3.3.2-4, -15, -16, -17, -18, -20
	s.take(fmt.Sprintf(want, 1))
	m.QoS = 0
	p.publish(m)
	s.take(fmt.Sprintf(want, 0))
	s.leave(nil)
	m.QoS = 1
	p.publish(m)
	b.connect("s", persistent).take(fmt.Sprintf(want, 1))
}

func TestSubscriptionOptions(t *testing.T) {
	b := newBroker(t, false)
	c := b.connect("c", mqttwire.Connect{})
	c.subscribe(0, mqttwire.Filter{Filter: []byte("nl"), QoS: 1, NoLocal: true})
	for qos := range byte(2) {
		c.publish(msg("nl", "own", qos)) // MQTT5-3.8.3-3
	}
	c.nothing()
	b.connect("p", mqttwire.Connect{}).publish(msg("nl", "other", 1))
	c.take("nl=other q1")

	// Overlapping: one copy, at the highest QoS, with every identifier (MQTT5-3.3.4-2, -3, -4).
	c.subscribe(1, filter("o/#", 0))
	c.subscribe(2, filter("o/+", 1))
	c.subscribe(3, filter("o/a", 0))
	for _, want := range []struct {
		qos  byte
		text string
	}{{1, "o/a=x q1"}, {0, "o/a=x q0"}} {
		b.connect("p", mqttwire.Connect{}).publish(msg("o/a", "x", want.qos))
		m := c.receive()
		c.complete(m)
		ids := map[uint32]bool{}
		for q, rest, ok := m.Properties.Next(); ok; q, rest, ok = rest.Next() {
			ids[q.Num] = q.ID == mqttwire.SubscriptionID
		}
		m.Properties = nil
		if text(m) != want.text || fmt.Sprint(ids) != "map[1:true 2:true 3:true]" {
			t.Errorf("received %s with identifiers %v", text(m), ids)
		}
	}
	c.nothing()

	// A new subscription replaces one of the same filter (MQTT5-3.8.4-3).
	c.subscribe(7, filter("o/#", 0))
	c.send(&mqttwire.Unsubscribe{PacketID: 99, Filters: [][]byte{[]byte("o/+"), []byte("o/a"), []byte("never")}})
	c.want(&mqttwire.Suback{Type: mqttwire.UNSUBACK, PacketID: 99, Reasons: []mqttwire.Reason{mqttwire.Success, mqttwire.Success, mqttwire.NoSubscriptionExisted}})
	b.connect("p", mqttwire.Connect{}).publish(msg("o/a", "x", 1))
	c.take("o/a=x q0 0b:7")
	c.nothing() // MQTT5-3.10.4-2
}

func TestDollarTopics(t *testing.T) {
	b := newBroker(t, false)
	c := b.connect("c", mqttwire.Connect{})
	c.subscribe(0, filter("#", 0), filter("+/x", 0), filter("$own/#", 0))
	p := b.connect("p", mqttwire.Connect{})
	p.publish(msg("$own/x", "1", 0)) // MQTT5-4.7.2-1
	m := c.receive()
	if text(m) != "$own/x=1 q0" {
		t.Errorf("received %s", text(m))
	}
	c.nothing()
	p.publish(msg("/x", "2", 0))
	c.take("/x=2 q0")
}

func TestShared(t *testing.T) {
	b := newBroker(t, false)
	const members, n = 3, 60
	var ms [members]*client
	for i := range ms {
		ms[i] = b.connect(fmt.Sprint("m", i), mqttwire.Connect{CleanStart: true})
		if got := ms[i].subscribe(0, filter("$share/g/s/#", 1)); got[0] != mqttwire.GrantedQoS1 {
			t.Fatal(got)
		}
	}
	other := b.connect("other", mqttwire.Connect{}) // another group has its own copy
	other.subscribe(0, filter("$share/h/s/#", 0))
	all := b.connect("all", mqttwire.Connect{}) // so has a subscription that is not shared
	all.subscribe(0, filter("s/#", 0))
	p := b.connect("p", mqttwire.Connect{})
	for i := range n {
		p.publish(msg("s/x", fmt.Sprint(i), 1))
		other.take(fmt.Sprintf("s/x=%d q0", i))
		all.take(fmt.Sprintf("s/x=%d q0", i))
	}
	// Each message has gone to one member; nobody knows to which.
	seen := map[string]int{}
	for i, m := range ms {
		m.send(pingreq)
		count := 0
		for {
			f, _, err := m.next()
			if err != nil {
				t.Fatal(err)
			}
			if f.Type == mqttwire.PINGRESP {
				break
			}
			var q mqttwire.Publish
			if err := q.Decode(mqttwire.V5, f); err != nil {
				t.Fatal(err)
			}
			seen[string(q.Payload)]++
			count++
			m.send(&mqttwire.Ack{Type: mqttwire.PUBACK, PacketID: q.PacketID})
		}
		if count == 0 {
			t.Errorf("member %d got nothing of %d messages", i, n)
		}
	}
	if len(seen) != n {
		t.Errorf("%d of %d messages delivered", len(seen), n)
	}
	for payload, times := range seen {
		if times != 1 {
			t.Errorf("message %s delivered %d times", payload, times)
		}
	}
}

// What a member of a group has not acknowledged goes to another when it leaves.
func TestSharedMemberLeaves(t *testing.T) {
	b := newBroker(t, false)
	first := b.connect("first", mqttwire.Connect{CleanStart: true})
	first.subscribe(0, filter("$share/g/s", 2))
	p := b.connect("p", mqttwire.Connect{})
	p.publish(msg("s", "1", 1))
	p.publish(msg("s", "2", 2))
	got := []string{text(first.receive()), text(first.receive())}
	if fmt.Sprint(got) != "[s=1 q1 s=2 q2]" {
		t.Fatalf("received %v", got)
	}
	second := b.connect("second", mqttwire.Connect{CleanStart: true})
	second.subscribe(0, filter("$share/g/s", 2))
	_ = first.nc.Close()
	second.take("s=1 q1")
	second.nothing() // MQTT5-4.8.2-5: at QoS 2 it was begun with the first
}

// A message of a shared subscription says so as any other does: by the subscription's identifier,
// and with the RETAIN flag that the subscription asks for.
func TestSharedSubscriptionOptions(t *testing.T) {
	b := newBroker(t, false)
	p := b.connect("p", mqttwire.Connect{})
	kept := filter("$share/kept/s/#", 2)
	kept.RetainAsPublished = true
	for i, c := range []struct {
		f    mqttwire.Filter
		want string
	}{{filter("$share/cleared/s/#", 2), ""}, {kept, " retain"}} {
		s := b.connect(fmt.Sprint("s", i), mqttwire.Connect{})
		s.subscribe(7, c.f)
		for qos := range byte(3) {
			m := msg("s/x", "1", qos)
			m.Retain = true
			p.publish(m)
			s.take(fmt.Sprintf("s/x=1 q%d%s 0b:7", qos, c.want)) // MQTT5-3.3.4-3, MQTT5-3.3.1-12, -13
		}
		s.nothing()
	}
}

func TestReceiveMaximumOfSession(t *testing.T) {
	b := newBroker(t, false)
	s := b.connect("s", mqttwire.Connect{Properties: none.Uint16(mqttwire.ReceiveMaximum, 2)})
	s.subscribe(0, filter("a", 1), filter("$share/g/b", 1))
	p := b.connect("p", mqttwire.Connect{})
	for i := range 5 {
		p.publish(msg("a", fmt.Sprint(i), 1))
		p.publish(msg("b", fmt.Sprint(i), 1))
	}
	open, total := 0, 0
	var held []*mqttwire.Publish
	for total < 10 {
		for open < 2 && total < 10 {
			held = append(held, s.receive())
			open++
			total++
		}
		s.nothing() // MQTT5-3.3.4-9
		s.complete(held[0])
		held = held[1:]
		open--
	}
}

func TestLargeMessages(t *testing.T) {
	b := newBroker(t, false)
	s := b.connect("s", mqttwire.Connect{})
	s.subscribe(0, filter("big", 1))
	p := b.connect("p", mqttwire.Connect{})
	for _, size := range []int{0, 1, 1000, 65535, 65536, 500_000} {
		for qos := range byte(2) {
			payload := bytes.Repeat([]byte{byte(size)}, size)
			if r := p.publish(mqttwire.Publish{Topic: []byte("big"), Payload: payload, QoS: qos}); r != mqttwire.Success {
				t.Fatalf("%d bytes: %v", size, r)
			}
			m := s.receive()
			if !bytes.Equal(m.Payload, payload) {
				t.Errorf("%d bytes at QoS %d: %d bytes received, or others", size, qos, len(m.Payload))
			}
			s.complete(m)
		}
	}
}

// What other protocols send arrives as the mapping says.
func TestFromKernel(t *testing.T) {
	b := newBroker(t, false)
	s := b.connect("s", mqttwire.Connect{})
	s.subscribe(0, filter("a/b", 1))
	b.k.Publish(&kernel.Publish{Namespace: "/", Msg: message.Message{
		Source: message.AMQP, Address: "a/b", Value: []byte("x"), QoS: 1, Priority: 3,
		Headers: []message.Header{header("content-type", "t"), header("k", "v")},
	}})
	s.take("a/b=x q1 03:t k=v priority=3 rmq-proto=amqp")
}

// One client with bad manners leaves the others alone.
func TestBadClient(t *testing.T) {
	b := newBroker(t, false)
	s := b.connect("s", mqttwire.Connect{})
	s.subscribe(0, filter("#", 1))
	p := b.connect("p", mqttwire.Connect{})
	bad := [][]byte{
		{0x10, 0xff, 0xff, 0xff, 0xff}, {0, 0}, []byte("GET / HTTP/1.1\r\n\r\n"), bytes.Repeat([]byte{0xff}, 1000),
		{0x30, 0x7f}, {0x82, 2, 0, 0}, {0xf0, 0}, {0x10, 2, 0, 0},
	}
	for i, bytes := range bad {
		anon := b.dial(mqttwire.V5)
		anon.send(bytes)
		known := b.connect(fmt.Sprint("bad", i), mqttwire.Connect{})
		known.send(bytes)
		_ = anon.nc.Close()
		_ = known.nc.Close()
		p.publish(msg("fine", fmt.Sprint(i), 1))
		s.take(fmt.Sprintf("fine=%d q1", i))
	}
}
