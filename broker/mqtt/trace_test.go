package mqtt

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/robustmq/rmq/broker/kernel/route"
	"github.com/robustmq/rmq/broker/mqttwire"
	"github.com/robustmq/rmq/broker/trace"
)

func newTraced(t *testing.T, q trace.Query) (*broker, *trace.Watch) {
	t.Helper()
	tr := trace.New(7)
	w, err := tr.Look(q)
	if err != nil {
		t.Fatal(err)
	}
	b := newBroker(t, false)
	b.s.cfg.Trace = tr
	return b, w
}

// seen takes the next events, as text.
func seen(t *testing.T, w *trace.Watch, n int) (out []string) {
	t.Helper()
	for range n {
		e := got(t, w.Events)
		if e.Protocol != "mqtt" || e.Node != 7 || e.At.IsZero() || !strings.HasPrefix(e.Remote, "127.0.0.1:") {
			t.Errorf("an event of %s, node %d, at %v, from %s", e.Protocol, e.Node, e.At, e.Remote)
		}
		s := strings.TrimSpace(fmt.Sprintf("%s %s %s", e.What, e.Packet, e.Topic))
		for _, f := range e.Fields {
			s += fmt.Sprintf("; %s=%s", f.Name, f.Value)
		}
		if e.Size > 0 {
			s += fmt.Sprintf(" %q", e.Payload)
		}
		if e.Text != "" {
			s += " (" + e.Text + ")"
		}
		out = append(out, s)
	}
	return out
}

func wantSeen(t *testing.T, w *trace.Watch, want ...string) {
	t.Helper()
	for i, s := range seen(t, w, len(want)) {
		if s != want[i] {
			t.Errorf("event %d:\n got %s\nwant %s", i, s, want[i])
		}
	}
	if len(w.Events) > 0 {
		t.Errorf("and then %q", seen(t, w, len(w.Events)))
	}
}

// All that a client and the broker say to each other is told, passwords and others excepted.
func TestTraceClient(t *testing.T) {
	b, w := newTraced(t, trace.Query{Client: "c"})
	other := b.connect("other", mqttwire.Connect{})
	other.subscribe(0, mqttwire.Filter{Filter: []byte("a/#"), QoS: 1})
	c := b.connect("c", mqttwire.Connect{
		KeepAlive: 60, CleanStart: true, HasUserName: true, UserName: []byte("ann"), HasPassword: true, Password: []byte("secret"),
		Properties: mqttwire.Properties(nil).Uint16(mqttwire.ReceiveMaximum, 9).User("k", "v"),
	})
	wantSeen(t, w,
		"in CONNECT; version=5; client id=c; clean start=true; keep alive s=60; user name=ann; password=6 bytes; receive maximum=9; user property=k=v",
		"out CONNACK; reason=success; session present=false; receive maximum=1024; maximum packet size=16777216; topic alias maximum=32")

	c.subscribe(3, mqttwire.Filter{Filter: []byte("b"), QoS: 2})
	c.publish(msg("a/1", "hello", 1))
	other.complete(other.receive())
	wantSeen(t, w,
		"in SUBSCRIBE b; packet id=1; filter=b QoS 2, no local false, retain as published false, retain handling 0; subscription identifier=3",
		"out SUBACK; packet id=1; granted=QoS 2",
		`in PUBLISH a/1; qos=1; packet id=2 "hello"`,
		"route  a/1; session=other QoS 1, here (a/#)",
		"log  a/1",
		"out PUBACK; packet id=2; reason=success")

	other.publish(msg("b", "x", 1))
	c.complete(c.receive())
	c.send([]byte{0xC0, 0})
	c.read(mqttwire.PINGRESP)
	wantSeen(t, w,
		`out PUBLISH b; qos=1; packet id=1; subscription identifier=3 "x"`,
		"in PUBACK; packet id=1; reason=success",
		"ack PUBACK b; packet id=1; reason=success",
		"in PINGREQ", "out PINGRESP")

	if r := c.publish(msg("$SYS/x", "", 1)); !r.Failed() {
		t.Error("taken")
	}
	wantSeen(t, w,
		"in PUBLISH $SYS/x; qos=1; packet id=3", "drop  $SYS/x (topic name under $SYS)",
		"out PUBACK; packet id=3; reason=topic name invalid; reason string=topic name under $SYS")

	c.leave(&mqttwire.Disconnect{})
	wantSeen(t, w, "in DISCONNECT; reason=normal disconnection", "end (the client has disconnected)")

	c = b.connect("c", mqttwire.Connect{Version: mqttwire.V311, CleanStart: true})
	seen(t, w, 2)
	c.send(&mqttwire.Connect{Version: mqttwire.V311, ClientID: []byte("c")})
	c.wantEnd()
	wantSeen(t, w, "in CONNECT; version=3.1.1; client id=c; clean start=false; keep alive s=0", "end (ended by the broker: protocol error: a second CONNECT)")
}

// A delivery that was traced is forgotten once it is over, whether anybody wants to know by then or not.
func TestTraceForgets(t *testing.T) {
	b, w := newTraced(t, trace.Query{Client: "c"})
	other := b.connect("other", mqttwire.Connect{})
	c := b.connect("c", mqttwire.Connect{CleanStart: true})
	c.subscribe(0, mqttwire.Filter{Filter: []byte("b"), QoS: 2})
	kept := func() int {
		t.Helper()
		c.send([]byte{0xC0, 0})
		c.read(mqttwire.PINGRESP) // what came before it is done
		b.s.mu.Lock()
		defer b.s.mu.Unlock()
		n := 0
		for conn := range b.s.conns {
			conn.mu.Lock()
			if conn.flow != nil {
				n += len(conn.flow.traced)
			}
			conn.mu.Unlock()
		}
		return n
	}
	other.publish(msg("b", "1", 1))
	other.publish(msg("b", "2", 2))
	first, second := c.receive(), c.receive()
	if n := kept(); n != 2 {
		t.Fatalf("%d deliveries are traced", n)
	}
	c.send(&mqttwire.Ack{Type: mqttwire.PUBREC, PacketID: second.PacketID, Reason: mqttwire.QuotaExceeded})
	if n := kept(); n != 1 {
		t.Errorf("%d deliveries are traced, one of which was refused", n)
	}
	w.Stop()
	c.complete(first)
	if n := kept(); n != 0 {
		t.Errorf("%d deliveries that are over are traced", n)
	}
}

// Of a topic: who publishes under it, where that goes, who gets it and who does not.
func TestTraceTopic(t *testing.T) {
	b, w := newTraced(t, trace.Query{Topic: func(s string) bool { return route.MatchFilter("a/#", s) }})
	small := b.connect("small", mqttwire.Connect{Properties: mqttwire.Properties(nil).Uint32(mqttwire.MaximumPacketSize, 40)})
	small.subscribe(0, mqttwire.Filter{Filter: []byte("a/+")}, mqttwire.Filter{Filter: []byte("b")})
	p := b.connect("p", mqttwire.Connect{})
	p.publish(msg("b", "x", 1))
	p.publish(msg("a/1", "1", 0))
	small.take("b=x q0", "a/1=1 q0")
	p.publish(msg("a/2", strings.Repeat("2", 60), 1))
	events := seen(t, w, 7)
	for i, want := range []string{
		"in SUBSCRIBE a/+;", `in PUBLISH a/1; qos=0 "1"`, "route  a/1; session=small QoS 0, here", `out PUBLISH a/1; qos=0 "1"`,
		"in PUBLISH a/2;", "route  a/2; session=small QoS 0, here", "drop  a/2 (the packet is larger than the client takes)",
	} {
		if !strings.HasPrefix(events[i], want) {
			t.Errorf("event %d:\n got %s\nwant %s", i, events[i], want)
		}
	}
}

// Of an address: also who is not let in, and is no client yet.
func TestTraceAddress(t *testing.T) {
	b, w := newTraced(t, trace.Query{IP: netip.MustParsePrefix("127.0.0.0/8")})
	c := b.dial(mqttwire.V311)
	c.send(&mqttwire.Connect{Version: mqttwire.V311, KeepAlive: 5})
	c.want(&mqttwire.Connack{Code: mqttwire.RefusedClientID})
	c.wantEnd()
	wantSeen(t, w,
		"in CONNECT; version=3.1.1; client id=; clean start=false; keep alive s=5", "out CONNACK; code=2; session present=false",
		"end (ended by the broker: client identifier not valid: before it was accepted)")
}
