package mqtt

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"reflect"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"

	"github.com/robustmq/rmq/broker/mqttwire"
)

// This file is the adapter under clients that others wrote.

// got takes the next value that a handler was given.
func got[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

func done(t *testing.T, token paho3.Token) {
	t.Helper()
	if !token.WaitTimeout(patience) {
		t.Fatal("no answer")
	}
	if err := token.Error(); err != nil {
		t.Fatal(err)
	}
}

func TestPaho3(t *testing.T) {
	for _, level := range []uint{3, 4} {
		b := newBroker(t, false)
		options := func(id string) *paho3.ClientOptions {
			return paho3.NewClientOptions().AddBroker("tcp://" + b.addr).SetClientID(id).SetProtocolVersion(level).
				SetAutoReconnect(false).SetOrderMatters(true)
		}
		received := make(chan string, 100)
		handler := func(_ paho3.Client, m paho3.Message) {
			received <- fmt.Sprintf("%s=%s q%d r=%v", m.Topic(), m.Payload(), m.Qos(), m.Retained())
		}
		sub := paho3.NewClient(options("sub").SetCleanSession(false).SetDefaultPublishHandler(handler))
		done(t, sub.Connect())
		done(t, sub.SubscribeMultiple(map[string]byte{"a/+": 2, "b/#": 0}, handler))
		pub := paho3.NewClient(options("pub").SetWill("b/will", "gone", 1, false))
		done(t, pub.Connect())
		for qos := range byte(3) {
			done(t, pub.Publish("a/b", qos, false, fmt.Sprint("m", qos)))
			if s, want := got(t, received), fmt.Sprintf("a/b=m%d q%d r=false", qos, qos); s != want {
				t.Errorf("level %d: received %s, want %s", level, s, want)
			}
		}
		done(t, pub.Publish("b/r", 1, true, "kept"))
		got(t, received)
		done(t, sub.Unsubscribe("b/#")) // its handler would be called for what the other filter brings too
		done(t, sub.Subscribe("b/r", 1, handler))
		if s := got(t, received); s != "b/r=kept q1 r=true" {
			t.Errorf("level %d: received %s", level, s)
		}
		done(t, sub.Unsubscribe("b/r"))

		sub.Disconnect(0)
		done(t, pub.Publish("a/offline", 1, false, "waited"))
		sub = paho3.NewClient(options("sub").SetCleanSession(false).SetDefaultPublishHandler(handler))
		done(t, sub.Connect())
		s := got(t, received)
		if s == "b/r=kept q1 r=true" { // it left before its acknowledgement had
			s = got(t, received)
		}
		if s != "a/offline=waited q1 r=false" {
			t.Errorf("level %d: received %s", level, s)
		}
		sub.Disconnect(0)
		pub.Disconnect(0)
	}
}

// A burst of publishes at every QoS, pipelined, all arrive, once, in order.
func TestPaho3Burst(t *testing.T) {
	b := newBroker(t, false)
	options := func(id string) *paho3.ClientOptions {
		return paho3.NewClientOptions().AddBroker("tcp://" + b.addr).SetClientID(id).SetAutoReconnect(false).SetMessageChannelDepth(10000)
	}
	const n = 1000
	for qos := range byte(3) {
		received := make(chan string, n)
		sub := paho3.NewClient(options("sub"))
		done(t, sub.Connect())
		done(t, sub.Subscribe("burst", qos, func(_ paho3.Client, m paho3.Message) { received <- string(m.Payload()) }))
		pub := paho3.NewClient(options("pub"))
		done(t, pub.Connect())
		var last paho3.Token
		for i := range n {
			last = pub.Publish("burst", qos, false, fmt.Sprint(i))
		}
		done(t, last)
		for i := range n {
			if s := got(t, received); s != fmt.Sprint(i) {
				t.Fatalf("QoS %d: %s where %d was due", qos, s, i)
			}
		}
		sub.Disconnect(0)
		pub.Disconnect(0)
	}
}

func TestPaho5(t *testing.T) {
	b := newBroker(t, false)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	connect := func(id string, received chan<- *paho.Publish, c *paho.Connect) *paho.Client {
		t.Helper()
		nc, err := net.Dial("tcp", b.addr)
		if err != nil {
			t.Fatal(err)
		}
		client := paho.NewClient(paho.ClientConfig{Conn: nc, OnPublishReceived: []func(paho.PublishReceived) (bool, error){
			func(r paho.PublishReceived) (bool, error) { received <- r.Packet; return true, nil },
		}})
		c.ClientID = id
		if _, err := client.Connect(ctx, c); err != nil {
			t.Fatal(err)
		}
		return client
	}
	received := make(chan *paho.Publish, 100)
	sub := connect("sub", received, &paho.Connect{CleanStart: true, KeepAlive: 30})
	id := 42
	if _, err := sub.Subscribe(ctx, &paho.Subscribe{
		Subscriptions: []paho.SubscribeOptions{{Topic: "req/#", QoS: 2}},
		Properties:    &paho.SubscribeProperties{SubscriptionIdentifier: &id},
	}); err != nil {
		t.Fatal(err)
	}
	answers := make(chan *paho.Publish, 1)
	pub := connect("pub", answers, &paho.Connect{CleanStart: true, KeepAlive: 30})
	if _, err := pub.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "answer/1", QoS: 1}}}); err != nil {
		t.Fatal(err)
	}
	expiry := uint32(60)
	sent := &paho.PublishProperties{
		ContentType: "text/plain", CorrelationData: []byte{1, 2}, ResponseTopic: "answer/1", MessageExpiry: &expiry,
		User: paho.UserProperties{{Key: "b", Value: "1"}, {Key: "a", Value: "2"}, {Key: "b", Value: "3"}},
	}
	for qos := range byte(3) {
		if _, err := pub.Publish(ctx, &paho.Publish{Topic: "req/x", QoS: qos, Payload: []byte("?"), Properties: sent}); err != nil {
			t.Fatal(err)
		}
		m := got(t, received)
		p := m.Properties
		if m.QoS != qos || string(m.Payload) != "?" || p.ContentType != sent.ContentType || p.ResponseTopic != sent.ResponseTopic ||
			string(p.CorrelationData) != "\x01\x02" || !reflect.DeepEqual(p.User, sent.User) || p.SubscriptionIdentifier == nil ||
			*p.SubscriptionIdentifier != id || p.MessageExpiry == nil || *p.MessageExpiry > 60 {
			t.Errorf("QoS %d: received %+v %+v", qos, m, p)
		}
		if _, err := sub.Publish(ctx, &paho.Publish{Topic: p.ResponseTopic, QoS: 1, Payload: []byte("!"),
			Properties: &paho.PublishProperties{CorrelationData: p.CorrelationData}}); err != nil {
			t.Fatal(err)
		}
		if a := got(t, answers); string(a.Payload) != "!" || string(a.Properties.CorrelationData) != "\x01\x02" {
			t.Errorf("answer %+v", a)
		}
	}
	if r, err := pub.Publish(ctx, &paho.Publish{Topic: "nobody", QoS: 1}); err != nil || r.ReasonCode != 0x10 {
		t.Errorf("published to nobody: %+v, %v", r, err)
	}
	for _, c := range []*paho.Client{sub, pub} {
		if err := c.Disconnect(&paho.Disconnect{}); err != nil {
			t.Error(err)
		}
	}
}

// A client that reconnects by itself finds its session.
func TestAutopaho(t *testing.T) {
	b := newBroker(t, false)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	at, err := url.Parse("mqtt://" + b.addr)
	if err != nil {
		t.Fatal(err)
	}
	received := make(chan string, 10)
	up := make(chan bool, 10)
	c, err := autopaho.NewConnection(ctx, autopaho.ClientConfig{
		ServerUrls: []*url.URL{at}, KeepAlive: 30, SessionExpiryInterval: 600,
		ReconnectBackoff: func(int) time.Duration { return time.Millisecond },
		OnConnectionUp: func(m *autopaho.ConnectionManager, ack *paho.Connack) {
			if !ack.SessionPresent {
				_, err := m.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "auto/#", QoS: 1}}})
				if err != nil {
					t.Error(err)
				}
			}
			up <- ack.SessionPresent
		},
		ClientConfig: paho.ClientConfig{ClientID: "auto", OnPublishReceived: []func(paho.PublishReceived) (bool, error){
			func(r paho.PublishReceived) (bool, error) { received <- string(r.Packet.Payload); return true, nil },
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got(t, up) {
		t.Error("a new session is said to be present")
	}
	p := b.connect("p", mqttwire.Connect{})
	p.publish(msg("auto/1", "1", 1))
	if s := got(t, received); s != "1" {
		t.Errorf("received %s", s)
	}
	b.s.mu.Lock()
	for conn := range b.s.conns { // the network fails
		if conn.clientID == "auto" {
			_ = conn.nc.Close()
		}
	}
	b.s.mu.Unlock()
	if !got(t, up) {
		t.Error("the session was not resumed")
	}
	p.publish(msg("auto/2", "2", 1))
	s := got(t, received)
	if s == "1" { // the network failed before its PUBACK
		s = got(t, received)
	}
	if s != "2" {
		t.Errorf("received %s", s)
	}
	if err := c.Disconnect(ctx); err != nil {
		t.Error(err)
	}
}
