package crash

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/url"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"
	packets3 "github.com/eclipse/paho.mqtt.golang/packets"
)

// tracksEach is how many tracks an MQTT publisher has at each QoS, each with one message
// under way: what the library sends again after a reconnect keeps its order.
const tracksEach = 3

// retained is the values of addresses that remember the last. Guarded by ledger.mu.
type retained struct {
	l    *load
	acks int
	sent map[string]int // by topic: the last number sent
	safe map[string]int // by topic: the last acknowledged
}

func (r *retained) snapshot() map[string]int {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	return maps.Clone(r.safe)
}

// publisher sends one message and tells whether it was acknowledged. Not: it may or may
// not have been, or still be sent.
type publisher func(topic string, qos byte, retain bool, payload string) bool

func (l *load) startMQTT(t *testing.T) {
	t.Helper()
	l.retained = &retained{l: l, sent: make(map[string]int), safe: make(map[string]int)}
	// The session that is away subscribes first, and is connected again at the end.
	away := must(l.mqtt5(t, "away", func(*paho.Publish) {}))(t)
	check(t, away.AwaitConnection(patient(t)))
	must(away.Subscribe(patient(t), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "load/#", QoS: 2}}}))(t)
	check(t, away.Disconnect(patient(t)))

	sub5 := must(l.mqtt5(t, "subscriber5", func(p *paho.Publish) { l.seeAs("subscriber 5", p.Payload) }))(t)
	check(t, sub5.AwaitConnection(patient(t)))
	must(sub5.Subscribe(patient(t), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "load/#", QoS: 2}}}))(t)
	sub3, _ := l.mqtt3(t, "subscriber3")
	wait(t, sub3.Subscribe("load/#", 1, func(_ paho3.Client, m paho3.Message) { l.seeAs("subscriber 3", m.Payload()) }))

	pub5 := must(l.mqtt5(t, "publisher5", func(*paho.Publish) {}))(t)
	check(t, pub5.AwaitConnection(patient(t)))
	pub3, dials := l.mqtt3(t, "publisher3")
	for name, publish := range map[string]publisher{"mqtt-5": l.publisher5(pub5), "mqtt-3": l.publisher3(pub3, dials)} {
		for qos := byte(1); qos <= 2; qos++ {
			for i := range tracksEach {
				tr := l.track("%s-qos%d-%d", name, qos, i)
				tr.strays = name == "mqtt-3"
				tr.view("the log", qos == 2, true)
				tr.view("subscriber 5", qos == 2, true)
				tr.view("subscriber 3", false, true)
				l.producers.Go(func() {
					for next := l.pace(); next(); {
						n, body := tr.body()
						if publish("load/"+tr.name, qos, false, body) {
							tr.ack(n)
						}
					}
				})
			}
		}
		for i := range tracksEach {
			l.producers.Go(func() { l.retain(publish, fmt.Sprintf("state/%s/%d", name, i), byte(i%2+1)) })
		}
	}
}

// mqtt5 is a client that comes back to its session.
func (l *load) mqtt5(t *testing.T, id string, receive func(*paho.Publish)) (*autopaho.ConnectionManager, error) {
	t.Helper()
	first := true
	var servers []*url.URL
	for _, addr := range l.nodes() {
		servers = append(servers, &url.URL{Scheme: "mqtt", Host: addr})
	}
	addr := "" // of the node that it is connected to; calls of the library follow each other
	return autopaho.NewConnection(l.living, autopaho.ClientConfig{
		AttemptConnection: func(ctx context.Context, _ autopaho.ClientConfig, to *url.URL) (net.Conn, error) {
			addr = to.Host
			var d net.Dialer
			return d.DialContext(ctx, "tcp", to.Host)
		},
		OnConnectionDown: func() bool {
			if l.living.Err() == nil {
				l.trouble(id, addr, "its connection has ended")
			}
			return true
		},
		ServerUrls: servers, KeepAlive: 600, SessionExpiryInterval: 36000,
		ReconnectBackoff: autopaho.NewConstantBackoff(retryOf), ConnectTimeout: patience,
		OnConnectionUp: func(_ *autopaho.ConnectionManager, ack *paho.Connack) {
			if !ack.SessionPresent && !first {
				l.fault("the session of %s is gone", id)
			}
			first = false
		},
		ClientConfig: paho.ClientConfig{
			ClientID: id, PacketTimeout: time.Hour, // the context's
			OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(r paho.PublishReceived) (bool, error) {
				receive(r.Packet)
				return true, nil
			}},
		},
	})
}

// releases keeps what paho.mqtt.golang does not: that PUBREL has been sent for a message.
// After a reconnect the client would else publish that again, under an identifier that the
// broker may have released, and make two messages of one (MQTT311-4.3.3-1).
type releases struct {
	net.Conn
	store paho3.Store
}

func (r releases) Write(b []byte) (int, error) {
	if len(b) == 4 && b[0] == packets3.Pubrel<<4|2 {
		rel := packets3.NewControlPacket(packets3.Pubrel).(*packets3.PubrelPacket)
		rel.MessageID = uint16(b[2])<<8 | uint16(b[3])
		r.store.Put("o."+strconv.Itoa(int(rel.MessageID)), rel)
	}
	return r.Conn.Write(b)
}

func (l *load) publisher5(c *autopaho.ConnectionManager) publisher {
	return func(topic string, qos byte, retain bool, payload string) bool {
		if c.AwaitConnection(l.sending) != nil {
			return false
		}
		resp, err := c.Publish(l.answered, &paho.Publish{Topic: topic, QoS: qos, Retain: retain, Payload: []byte(payload)})
		return err == nil && resp.ReasonCode < 0x80
	}
}

func (l *load) mqtt3Options() *paho3.ClientOptions {
	o := paho3.NewClientOptions()
	for _, addr := range l.nodes() {
		o.AddBroker("mqtt://" + addr)
	}
	return o
}

// mqtt3 is a client of 3.1.1 that comes back to its session, and a count of how often it
// has connected.
func (l *load) mqtt3(t *testing.T, id string) (paho3.Client, *atomic.Int64) {
	t.Helper()
	dials, store := new(atomic.Int64), paho3.NewOrderedMemoryStore()
	var addr atomic.Value // of the node that it is connected to
	opts := l.mqtt3Options().SetClientID(id).SetCleanSession(false).SetStore(store).
		SetAutoReconnect(true).SetMaxReconnectInterval(retryOf).SetKeepAlive(10 * time.Minute).SetConnectTimeout(patience).SetWriteTimeout(patience).
		SetCustomOpenConnectionFn(func(to *url.URL, _ paho3.ClientOptions) (net.Conn, error) {
			dials.Add(1)
			addr.Store(to.Host)
			conn, err := net.Dial("tcp", to.Host)
			return releases{conn, store}, err
		}).
		SetConnectionLostHandler(func(_ paho3.Client, err error) { l.trouble(id, addr.Load().(string), "%v", err) })
	c := paho3.NewClient(opts)
	wait(t, c.Connect())
	context.AfterFunc(l.living, func() { c.Disconnect(0) })
	return c, dials
}

// publisher3 believes an acknowledgement only if the client has not connected anew
// meanwhile: paho.mqtt.golang ends the token of a message with success when it sends the
// message again.
func (l *load) publisher3(c paho3.Client, dials *atomic.Int64) publisher {
	return func(topic string, qos byte, retain bool, payload string) bool {
		before := dials.Load()
		token := c.Publish(topic, qos, retain, payload)
		select {
		case <-token.Done():
			return token.Error() == nil && dials.Load() == before
		case <-l.answered.Done():
			return false
		}
	}
}

// retain sets the value of one topic again and again.
func (l *load) retain(publish publisher, topic string, qos byte) {
	next := l.pace()
	for n := 1; next(); n++ {
		l.mu.Lock()
		l.retained.sent[topic] = n
		l.mu.Unlock()
		if publish(topic, qos, true, strconv.Itoa(n)) {
			l.mu.Lock()
			l.retained.safe[topic] = n
			l.retained.acks++
			l.mu.Unlock()
		}
	}
}

// checkRetained reads the values as a new subscriber: each is the last one acknowledged, or
// one sent later. An address of which a newer message comes first is not told again what it
// holds, so that message counts too.
func (l *load) checkRetained(ctx context.Context, t *testing.T, want map[string]int) {
	t.Helper()
	c := paho3.NewClient(l.mqtt3Options().SetAutoReconnect(false).SetConnectTimeout(patience))
	wait(t, c.Connect())
	defer c.Disconnect(0)
	type value struct {
		topic, payload string
		retained       bool
	}
	values, done := make(chan value, 1<<12), make(chan struct{}) // some may come before SUBACK does
	defer close(done)
	wait(t, c.Subscribe("state/#", 0, func(_ paho3.Client, m paho3.Message) {
		select {
		case values <- value{m.Topic(), string(m.Payload()), m.Retained()}:
		case <-done:
		}
	}))
	left := maps.Clone(want)
	for len(left) > 0 {
		select {
		case v := <-values:
			n, err := strconv.Atoi(v.payload)
			if !v.retained && n < want[v.topic] {
				continue // published again by a client that had no answer
			}
			l.mu.Lock()
			if err != nil || n < want[v.topic] || n > l.retained.sent[v.topic] {
				l.faultLocked("%s holds %.20q; %d was acknowledged, and %d sent", v.topic, v.payload, want[v.topic], l.retained.sent[v.topic])
			}
			l.mu.Unlock()
			delete(left, v.topic)
		case <-ctx.Done():
			l.fault("no value is retained at %v", left)
			return
		}
	}
}

// drainAway lets the session that was away come back.
func (l *load) drainAway(ctx context.Context, t *testing.T) {
	t.Helper()
	l.mu.Lock()
	var like []*view // of who subscribes to the same
	for _, tr := range l.tracks {
		for _, v := range tr.views {
			if v.name == "subscriber 5" {
				like = append(like, v)
			}
		}
	}
	l.mu.Unlock()
	for _, v := range like {
		v.track.view("away", v.once, v.order)
	}
	c := must(l.mqtt5(t, "away", func(p *paho.Publish) { l.seeAs("away", p.Payload) }))(t)
	check(t, c.AwaitConnection(ctx))
}
