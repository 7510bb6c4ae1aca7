package bridge_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker"
	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/mqttwire"
	"github.com/robustmq/rmq/broker/setting"
	"github.com/robustmq/rmq/testkit"
)

// remote is a broker that a test plays itself.
type remote struct {
	t       *testing.T
	l       net.Listener
	nc      net.Conn
	buf     []byte
	version mqttwire.Version
}

const patience = time.Minute // reached by a test that fails only

// play starts a broker with a bridge to a remote one that the test plays.
func play(t *testing.T, protocol string, opts ...testkit.Option) (*testkit.Broker, *remote) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &remote{t: t, l: l, version: mqttwire.V5}
	if protocol == "3.1.1" {
		r.version = mqttwire.V311
	}
	t.Cleanup(func() { l.Close() })
	b := testkit.Run(t, opts...)
	c, err := adminapi.NewClient(b.HTTP(), http.DefaultClient)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.AddBridge(t.Context(), adminapi.BridgeSpec{Name: "up", Bridge: setting.Bridge{
		URL: "mqtt://" + l.Addr().String(), Protocol: protocol, KeepAlive: 30, Routes: []setting.Route{{Direction: setting.Both, Filter: "a/#", QoS: 2}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return b, r
}

// accept takes the bridge's next connection, and its CONNECT.
func (r *remote) accept() (c mqttwire.Connect) {
	r.t.Helper()
	if r.nc != nil {
		r.nc.Close()
	}
	var err error
	if r.nc, err = r.l.Accept(); err != nil {
		r.t.Fatal(err)
	}
	r.buf = nil
	if err := c.Decode(r.read(mqttwire.CONNECT)); err != nil {
		r.t.Fatal(err)
	}
	return c
}

// greet takes a connection, answers CONNECT, and grants the subscription.
func (r *remote) greet(ack mqttwire.Connack) {
	r.t.Helper()
	r.accept()
	r.write(ack.Append(nil, r.version))
	var s mqttwire.Subscribe
	if err := s.Decode(r.version, r.read(mqttwire.SUBSCRIBE)); err != nil {
		r.t.Fatal(err)
	}
	r.write((&mqttwire.Suback{Type: mqttwire.SUBACK, PacketID: s.PacketID, Reasons: []mqttwire.Reason{mqttwire.GrantedQoS2}}).Append(nil, r.version))
}

// read reads a packet, which is to be of a type.
func (r *remote) read(want mqttwire.Type) mqttwire.Frame {
	r.t.Helper()
	r.nc.SetReadDeadline(time.Now().Add(patience))
	for {
		f, n, _, err := mqttwire.ReadFrame(r.buf, r.version, mqttwire.PacketMax)
		if err != nil {
			r.t.Fatal(err)
		}
		if n > 0 {
			r.buf = r.buf[n:]
			if f.Type != want {
				r.t.Fatalf("%s came, not %s", f.Type, want)
			}
			return f
		}
		b := make([]byte, 4096)
		n, err = r.nc.Read(b)
		if err != nil {
			r.t.Fatalf("waiting for %s: %v", want, err)
		}
		r.buf = append(r.buf, b[:n]...)
	}
}

func (r *remote) write(b []byte) {
	r.t.Helper()
	if _, err := r.nc.Write(b); err != nil {
		r.t.Fatal(err)
	}
}

func (r *remote) publish(p mqttwire.Publish) { r.t.Helper(); r.write(p.Append(nil, r.version)) }

func (r *remote) published() (p mqttwire.Publish) {
	r.t.Helper()
	if err := p.Decode(r.version, r.read(mqttwire.PUBLISH)); err != nil {
		r.t.Fatal(err)
	}
	return p
}

func (r *remote) ack(t mqttwire.Type, id uint16, reason mqttwire.Reason) {
	r.t.Helper()
	r.write((&mqttwire.Ack{Type: t, PacketID: id, Reason: reason}).Append(nil, r.version))
}

func (r *remote) acked(t mqttwire.Type, id uint16) (a mqttwire.Ack) {
	r.t.Helper()
	if err := a.Decode(r.version, r.read(t)); err != nil || a.PacketID != id {
		r.t.Fatalf("%+v, %v; want %s of %d", a, err, t, id)
	}
	return a
}

func send(t *testing.T, b *testkit.Broker, text string, qos uint8) {
	t.Helper()
	if err := b.Kernel().Publish(&kernel.Publish{Namespace: "/", Msg: message.Message{Source: message.MQTT, Address: "a/x", Value: []byte(text), QoS: qos}}); err != nil {
		t.Fatal(err)
	}
}

// A QoS 2 message that comes again on another connection is the same, and is not when the remote broker
// has lost its session: then its identifiers mean other messages.
func TestComesOnce(t *testing.T) {
	b, r := play(t, "5")
	r.greet(mqttwire.Connack{})
	r.publish(mqttwire.Publish{QoS: 2, PacketID: 7, Topic: []byte("a/x"), Payload: []byte("one")})
	r.acked(mqttwire.PUBREC, 7)
	r.greet(mqttwire.Connack{SessionPresent: true})
	r.publish(mqttwire.Publish{Dup: true, QoS: 2, PacketID: 7, Topic: []byte("a/x"), Payload: []byte("one")})
	r.acked(mqttwire.PUBREC, 7)
	r.greet(mqttwire.Connack{})
	r.publish(mqttwire.Publish{QoS: 2, PacketID: 7, Topic: []byte("a/x"), Payload: []byte("two")})
	r.acked(mqttwire.PUBREC, 7)
	r.ack(mqttwire.PUBREL, 7, 0)
	r.acked(mqttwire.PUBCOMP, 7)
	b.Want(t).Topic("a").Count(2)
	if got := b.Topic("a").Values(); !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("%q were published", got)
	}
}

// A delivery goes on where it stood when the connection ended.
func TestGoesOnce(t *testing.T) {
	b, r := play(t, "5")
	r.greet(mqttwire.Connack{})
	send(t, b, "one", 2)
	send(t, b, "two", 2)
	one, two := r.published(), r.published()
	r.ack(mqttwire.PUBREC, one.PacketID, 0)
	r.acked(mqttwire.PUBREL, one.PacketID)
	r.greet(mqttwire.Connack{SessionPresent: true})
	r.acked(mqttwire.PUBREL, one.PacketID)
	again := r.published()
	if !again.Dup || again.PacketID != two.PacketID || string(again.Payload) != "two" {
		t.Errorf("again came %+v", again)
	}
	r.ack(mqttwire.PUBCOMP, one.PacketID, 0)
	r.ack(mqttwire.PUBREC, two.PacketID, 0)
	r.acked(mqttwire.PUBREL, two.PacketID)
	r.ack(mqttwire.PUBCOMP, two.PacketID, 0)
	b.Want(t).That("nothing that waits", func() bool { return b.Session("$bridge/up").Inflight()+b.Session("$bridge/up").Backlog() == 0 })
}

// What the remote broker does not do is not asked of it: its quality of service, RETAIN, packets of any
// length, more under way than it takes.
func TestRemoteLimits(t *testing.T) {
	b, r := play(t, "5")
	r.greet(mqttwire.Connack{Properties: mqttwire.Properties(nil).Byte(mqttwire.MaximumQoS, 1).Byte(mqttwire.RetainAvailable, 0).
		Uint16(mqttwire.ReceiveMaximum, 1).Uint32(mqttwire.MaximumPacketSize, 200)})
	send(t, b, strings.Repeat("x", 300), 1)
	for _, text := range []string{"one", "two"} {
		if err := b.Kernel().Publish(&kernel.Publish{Namespace: "/", Msg: message.Message{Source: message.MQTT, Address: "a/x", Value: []byte(text), QoS: 2, Retain: true}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range []string{"one", "two"} { // the second once the first is done with, or read would find it in place of PINGRESP
		p := r.published()
		if p.QoS != 1 || p.Retain || string(p.Payload) != text {
			t.Errorf("got %+v", p)
		}
		if len(r.buf) > 0 {
			t.Errorf("%s: more came than is allowed", text)
		}
		r.ack(mqttwire.PUBACK, p.PacketID, 0)
	}
}

// A message that the remote broker never takes is dropped. One that it has no room for waits, as does one
// that it refuses without saying why: it may be stopping.
func TestRemoteRefuses(t *testing.T) {
	b, r := play(t, "5")
	r.greet(mqttwire.Connack{})
	send(t, b, "one", 1)
	send(t, b, "two", 2)
	one, two := r.published(), r.published()
	r.ack(mqttwire.PUBACK, one.PacketID, mqttwire.NotAuthorized)
	for _, reason := range []mqttwire.Reason{mqttwire.QuotaExceeded, mqttwire.ImplementationError, mqttwire.UnspecifiedError} {
		r.ack(mqttwire.PUBREC, two.PacketID, reason)
		r.greet(mqttwire.Connack{SessionPresent: true})
		if p := r.published(); string(p.Payload) != "two" {
			t.Errorf("after %s, %s came again", reason, p.Payload)
		}
	}
}

// What breaks the protocol ends the connection, with the reason; the bridge comes again.
func TestRemoteErrs(t *testing.T) {
	_, r := play(t, "5")
	for what, packet := range map[string][]byte{
		"malformed": {0x36, 2, 0, 1}, "alias": (&mqttwire.Publish{Properties: mqttwire.Properties(nil).Uint16(mqttwire.TopicAlias, 1)}).Append(nil, mqttwire.V5),
		"suback":    (&mqttwire.Suback{Type: mqttwire.SUBACK, PacketID: 5, Reasons: []mqttwire.Reason{0}}).Append(nil, mqttwire.V5),
		"subscribe": (&mqttwire.Subscribe{PacketID: 5, Filters: []mqttwire.Filter{{Filter: []byte("a")}}}).Append(nil, mqttwire.V5),
	} {
		r.greet(mqttwire.Connack{})
		r.write(packet)
		var d mqttwire.Disconnect
		if err := d.Decode(mqttwire.V5, r.read(mqttwire.DISCONNECT)); err != nil || !d.Reason.Failed() {
			t.Errorf("%s: %+v, %v", what, d, err)
		}
	}
}

// A remote broker of MQTT 3.1.1 is told that a bridge comes; one that does not know what that is, is not.
func TestPlain(t *testing.T) {
	for _, refuse := range []func(*remote){
		func(r *remote) { r.write((&mqttwire.Connack{Code: mqttwire.RefusedVersion}).Append(nil, r.version)) },
		func(*remote) {}, // it closes the connection
	} {
		_, r := play(t, "3.1.1")
		if c := r.accept(); !c.Bridge {
			t.Error("it does not say that it is a bridge")
		}
		refuse(r)
		if c := r.accept(); c.Bridge {
			t.Error("it says again that it is a bridge")
		}
		if c := r.accept(); !c.Bridge { // that one came to nothing either, so nothing is known
			t.Error("it does not say any more that it is a bridge")
		}
		refuse(r)
		r.greet(mqttwire.Connack{})
		if c := r.accept(); c.Bridge {
			t.Error("it says that it is a bridge to one that took it for none")
		}
	}
}

// What a remote broker says at length is told, cut.
func TestLongReason(t *testing.T) {
	b, r := play(t, "5")
	r.accept()
	ack := mqttwire.Connack{Reason: mqttwire.NotAuthorized, Properties: mqttwire.Properties(nil).String(mqttwire.ReasonString, strings.Repeat("ü", 32000))}
	r.write(ack.Append(nil, r.version))
	text := failed(t, b)
	if !strings.HasPrefix(text, "connect to") || !strings.HasSuffix(text, "üü…") || len(text) > 512 {
		t.Errorf("the error is %d bytes, %q", len(text), text)
	}
}

// failed waits until the bridge tells an error.
func failed(t *testing.T, b *testkit.Broker) (text string) {
	t.Helper()
	c, err := adminapi.NewClient(b.HTTP(), http.DefaultClient)
	if err != nil {
		t.Fatal(err)
	}
	b.Want(t).That("an error of the bridge", func() bool {
		x, err := c.Bridge(t.Context(), "up")
		text = x.Error
		return err == nil && text != ""
	})
	return text
}

// A state that log 0 does not take is told again when a second has passed, and not before.
func TestStateNotTold(t *testing.T) {
	link := clock.NewVirtual(time.Now())
	refused := make(refusals, 1000)
	b, r := play(t, "5", testkit.Configure(func(c *broker.Config) { c.Link, c.Log = link, slog.New(refused) }))
	for { // the bridge may tell its first state meanwhile
		full := make([]kernel.Item, 5000-len(b.Kernel().Items("bridge states")))
		for i := range full {
			full[i] = kernel.Item{Key: fmt.Sprint("other ", i), Value: []byte("1"), Weak: true}
		}
		_, err := b.Kernel().PutItems(t.Context(), "bridge states", full...)
		if err == nil {
			break
		}
		if !fault.Is(err, fault.Exhausted) {
			t.Fatal(err)
		}
	}
	if _, err := b.Kernel().DeleteItems(t.Context(), "bridge states", "up"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Kernel().PutItems(t.Context(), "bridge states", kernel.Item{Key: "another", Value: []byte("1"), Weak: true}); err != nil && !fault.Is(err, fault.Exhausted) {
		t.Fatal(err)
	}
	r.greet(mqttwire.Connack{})
	<-refused
	for i := range 20 {
		if _, err := b.Kernel().PutItems(t.Context(), "any", kernel.Item{Key: fmt.Sprint(i), Value: []byte("1")}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(refused); n > 0 {
		t.Errorf("it was told %d times more at once", n)
	}
	link.Advance(time.Second)
	<-refused
}

// refusals is a log handler that counts states that could not be told.
type refusals chan struct{}

func (refusals) Enabled(context.Context, slog.Level) bool { return true }
func (r refusals) WithAttrs([]slog.Attr) slog.Handler     { return r }
func (r refusals) WithGroup(string) slog.Handler          { return r }
func (r refusals) Handle(_ context.Context, rec slog.Record) error {
	if rec.Message == "bridge: states not told" {
		select {
		case r <- struct{}{}:
		default: // there are far too many
		}
	}
	return nil
}

// A message that comes in and that a queue refuses is dropped, and those behind it come in.
func TestQueueFull(t *testing.T) {
	for _, protocol := range []string{"5", "3.1.1"} {
		b, r := play(t, protocol)
		_, _, err := b.Kernel().DeclareQueue(t.Context(), kernel.QueueSpec{
			Namespace: "/", Name: "full", Durable: true, MessageTTL: -1, MaxLength: 0, MaxLengthBytes: -1, DeliveryLimit: -1, Overflow: kernel.RejectPublish,
		})
		if err == nil {
			err = b.Kernel().Bind(t.Context(), kernel.Binding{Namespace: "/", Source: "amq.topic", Destination: "full", Key: "a.full"})
		}
		if err != nil {
			t.Fatal(err)
		}
		r.greet(mqttwire.Connack{})
		var full mqttwire.Reason
		if protocol == "5" {
			full = mqttwire.QuotaExceeded
		}
		r.publish(mqttwire.Publish{QoS: 1, PacketID: 1, Topic: []byte("a/full"), Payload: []byte("v")})
		if a := r.acked(mqttwire.PUBACK, 1); a.Reason != full {
			t.Errorf("%s: PUBACK says %s", protocol, a.Reason)
		}
		r.publish(mqttwire.Publish{QoS: 2, PacketID: 2, Topic: []byte("a/full"), Payload: []byte("v")})
		if a := r.acked(mqttwire.PUBREC, 2); a.Reason != full {
			t.Errorf("%s: PUBREC says %s", protocol, a.Reason)
		}
		if protocol == "3.1.1" {
			r.ack(mqttwire.PUBREL, 2, 0)
			r.acked(mqttwire.PUBCOMP, 2)
		}
		r.publish(mqttwire.Publish{QoS: 2, PacketID: 2, Topic: []byte("a/x"), Payload: []byte("another")}) // of the same identifier
		if a := r.acked(mqttwire.PUBREC, 2); a.Reason.Failed() {
			t.Errorf("%s: PUBREC says %s", protocol, a.Reason)
		}
		b.Want(t).That("the other message", func() bool { return slices.Contains(b.Topic("a").Values(), "another") })
		if text := failed(t, b); !strings.Contains(text, "a queue is full") {
			t.Errorf("%s: the error is %q", protocol, text)
		}
	}
}

// A retained message that came in over a bridge does not go out over it when the remote broker is told all
// that is retained.
func TestRetainedDoesNotGoBack(t *testing.T) {
	for _, protocol := range []string{"5", "3.1.1"} {
		b, r := play(t, protocol)
		r.greet(mqttwire.Connack{})
		r.publish(mqttwire.Publish{QoS: 1, PacketID: 1, Retain: true, Topic: []byte("a/m"), Payload: []byte("theirs")})
		r.acked(mqttwire.PUBACK, 1)
		// A message may come more than once: as it is published, as it is retained, and again when it is not
		// known to have arrived.
		until := func(topics ...string) {
			for len(topics) > 0 {
				p := r.published()
				if string(p.Payload) != "ours" {
					t.Errorf("%s: %s came back", protocol, p.Topic)
				}
				topics = slices.DeleteFunc(topics, func(s string) bool { return s == string(p.Topic) })
				r.ack(mqttwire.PUBACK, p.PacketID, 0)
			}
		}
		for _, topic := range []string{"a/a", "a/z"} {
			m := message.Message{Source: message.MQTT, Address: topic, Value: []byte("ours"), QoS: 1, Retain: true}
			if err := b.Kernel().Publish(&kernel.Publish{Namespace: "/", Msg: m}); err != nil {
				t.Fatal(err)
			}
			until(topic)
		}
		b.Want(t).Retained("a/m", 1)
		b.Want(t).Retained("a/z", 1)
		r.greet(mqttwire.Connack{})
		until("a/a", "a/z") // a/m lies between them
		send(t, b, "ours", 1)
		until("a/x")
	}
}

// What an operator can mend is said in words that help.
func TestHints(t *testing.T) {
	b, r := play(t, "5")
	r.accept()
	r.write((&mqttwire.Connack{Code: mqttwire.RefusedVersion}).Append(nil, mqttwire.V311))
	if text := failed(t, b); !strings.Contains(text, "does not speak MQTT 5; use --protocol 3.1.1") {
		t.Errorf("a remote broker of MQTT 3.1.1: %q", text)
	}
	b, r = play(t, "5")
	r.accept()
	r.write((&mqttwire.Connack{Properties: mqttwire.Properties(nil).User("rmq-origin", b.Kernel().Cluster())}).Append(nil, r.version))
	if text := failed(t, b); !strings.Contains(text, "leads to this cluster") {
		t.Errorf("to itself: %q", text)
	}
	for _, url := range []string{"mqtt://ann:se%cret@h", "mqtt:ann:secret@h", "mqtt://h/ann:secret", "ann+secret://h", "mqtt://ann:secret@h"} {
		spec := setting.Bridge{URL: url}
		if _, err := spec.Address(); err == nil || strings.Contains(err.Error(), "cret") {
			t.Errorf("of %s is said: %v", url, err)
		}
	}
}

// Of two bridges of one name that are added at once there is one, and the other is refused.
func TestAddedAtOnce(t *testing.T) {
	b, r := play(t, "5")
	r.l.Close()
	c, err := adminapi.NewClient(b.HTTP(), http.DefaultClient)
	if err != nil {
		t.Fatal(err)
	}
	const n = 8
	errs := make(chan error, n)
	for range n {
		go func() {
			_, err := c.AddBridge(t.Context(), adminapi.BridgeSpec{Name: "two", Bridge: setting.Bridge{
				URL: "mqtt://" + r.l.Addr().String(), Routes: []setting.Route{{Direction: setting.Out, Filter: "a/#"}},
			}})
			errs <- err
		}()
	}
	added := 0
	for range n {
		if err := <-errs; err == nil {
			added++
		} else if !strings.Contains(err.Error(), "there is one of that name") {
			t.Error(err)
		}
	}
	if added != 1 {
		t.Errorf("%d were added", added)
	}
}

// A removal that failed halfway goes on when it is asked for again.
func TestRemovedHalfway(t *testing.T) {
	b, r := play(t, "5")
	r.greet(mqttwire.Connack{})
	c, err := adminapi.NewClient(b.HTTP(), http.DefaultClient)
	if err != nil {
		t.Fatal(err)
	}
	b.Want(t).That("a bridge that is told to be connected", func() bool {
		x, err := c.Bridge(t.Context(), "up")
		return err == nil && x.State == adminapi.BridgeConnected
	})
	if err := b.Kernel().DeleteSetting(t.Context(), "/", setting.KindBridge, "up"); err != nil {
		t.Fatal(err)
	}
	if err := c.RemoveBridge(t.Context(), "up"); err != nil {
		t.Errorf("what is left of it is not removed: %v", err)
	}
	if b.Session("$bridge/up").Exists() || len(b.Kernel().Items("bridge states")) > 0 {
		t.Error("its session or its state is still there")
	}
	if err := c.RemoveBridge(t.Context(), "up"); err == nil {
		t.Error("it is removed twice")
	}
}

// A remote broker that says nothing is asked whether it is there, and left when it does not answer.
func TestKeepAlive(t *testing.T) {
	link := clock.NewVirtual(time.Now())
	_, r := play(t, "5", testkit.Configure(func(c *broker.Config) { c.Link = link }))
	r.greet(mqttwire.Connack{Properties: mqttwire.Properties(nil).Uint16(mqttwire.ServerKeepAlive, 9)})
	r.write(mqttwire.AppendPingresp(nil)) // it is read behind SUBACK
	for range 3 {
		link.Advance(6 * time.Second)
		r.read(mqttwire.PINGREQ)
		r.write((&mqttwire.Publish{QoS: 1, PacketID: 1, Topic: []byte("b")}).Append(nil, mqttwire.V5)) // anything will do
		r.acked(mqttwire.PUBACK, 1)
	}
	link.Advance(6 * time.Second)
	r.read(mqttwire.PINGREQ)
	link.Advance(6 * time.Second)
	r.nc.SetReadDeadline(time.Now().Add(patience))
	if n, err := r.nc.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("it is still there: %d bytes, %v", n, err)
	}
}

// The prefixes of a route take each other's place.
func TestRoute(t *testing.T) {
	for _, tt := range []struct{ local, filter, remote, here, there string }{
		{"", "a/#", "", "a/b", "a/b"},
		{"dev/", "#", "site/1/", "dev/x/y", "site/1/x/y"},
		{"dev/", "#", "site/", "dev", "site"}, // a/# matches a
		{"", "a", "p", "a", "pa"},
		{"one", "", "other/name", "one", "other/name"},
		{"dev/", "#", "", "dev", ""}, // no topic is left
	} {
		r := setting.Route{Direction: setting.Both, Filter: tt.filter, Local: tt.local, Remote: tt.remote}
		if got, ok := r.ToRemote(tt.here); got != tt.there || ok != (tt.there != "") {
			t.Errorf("%+v: %s goes as %q, %v", r, tt.here, got, ok)
		}
		if tt.there == "" {
			continue
		}
		if got, ok := r.ToLocal(tt.there); got != tt.here || !ok {
			t.Errorf("%+v: %s comes as %q, %v", r, tt.there, got, ok)
		}
	}
}
