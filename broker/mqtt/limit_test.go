package mqtt

import (
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/mqttwire"
	"github.com/robustmq/rmq/broker/option"
	"github.com/robustmq/rmq/broker/setting"
)

// noticed is link time that tells of every timer as short as a pause.
type noticed struct {
	*clock.Virtual
	short chan time.Duration
}

func (n noticed) AfterFunc(d time.Duration, f func()) clock.Timer {
	t := n.Virtual.AfterFunc(d, f)
	if d <= pauseMax {
		n.short <- d
	}
	return t
}

func newLimited(t *testing.T, options map[string]string) (*broker, noticed) {
	t.Helper()
	link := noticed{clock.NewVirtual(time.UnixMilli(now)), make(chan time.Duration, 100)}
	return newBrokerOn(t, kerneltest.Open(t, kerneltest.Options{NoCapture: true}), nil, func(c *Config) {
		c.Link, c.Options = link, option.Fixed(options)
	}), link
}

// Who publishes more than it may is not read for as long as that is too much, and loses nothing.
func TestPublishRate(t *testing.T) {
	b, link := newLimited(t, map[string]string{"mqtt.rate.client.messages": "5"})
	c := b.connect("c", mqttwire.Connect{KeepAlive: 60})
	for i := range 8 {
		p := msg("a", fmt.Sprint(i), 1)
		p.PacketID = uint16(i + 1)
		c.send(&p)
	}
	for n := 6; n <= 8; n++ {
		if wait := got(t, link.short); wait != 200*time.Millisecond {
			t.Errorf("after %d messages it waits %v", n, wait)
		}
		if read := b.s.Stats().MessagesIn.Load(); read != uint64(n) {
			t.Errorf("%d messages were read, want %d", read, n)
		}
		if n < 8 {
			link.Advance(200 * time.Millisecond)
		}
	}
	for range 8 {
		c.read(mqttwire.PUBACK)
	}
	// It is still paused: who takes its session over does not wait for it.
	again := b.connect("c", mqttwire.Connect{KeepAlive: 60})
	c.wantDisconnect(mqttwire.SessionTakenOver)
	p := msg("a", "9", 1)
	if r := again.publish(p); r.Failed() {
		t.Errorf("another connection: %v", r)
	}
}

// However much more a client publishes than it may, and however many others of its user do, it is read
// often enough to keep its connection alive.
func TestPauseIsBounded(t *testing.T) {
	big := func(c *client) { c.publish(msg("a", string(make([]byte, 1000)), 1)) }
	for _, option := range []string{"mqtt.rate.client.bytes", "mqtt.rate.user.bytes"} {
		b, link := newLimited(t, map[string]string{option: "1"})
		as := func(id string, keepAlive uint16) *client {
			return b.connect(id, mqttwire.Connect{UserName: []byte("ann"), HasUserName: true, KeepAlive: keepAlive})
		}
		for _, tt := range []struct {
			keepAlive uint16
			want      time.Duration
		}{{0, pauseMax}, {60, pauseMax}, {4, 4 * time.Second / 3}} {
			c := as(fmt.Sprint(tt.keepAlive), tt.keepAlive)
			for range 3 {
				big(c)
				for got(t, link.short) != tt.want { // the others are of alarms
				}
				c.send(pingreq)
				link.Advance(tt.want)
				c.read(mqttwire.PINGRESP)
			}
		}
	}
}

// A client that has gone while it was not read is noticed as one that was.
func TestKeepAliveCountsInPause(t *testing.T) {
	b, link := newLimited(t, map[string]string{"mqtt.rate.client.bytes": "1"})
	c := b.connect("c", mqttwire.Connect{KeepAlive: 4})
	c.publish(msg("a", string(make([]byte, 1000)), 1))
	pause := 4 * time.Second / 3
	for got(t, link.short) != pause { // the others are of alarms
	}
	link.Advance(pause)
	link.Advance(6*time.Second - pause)
	c.wantDisconnect(mqttwire.KeepAliveTimeout)
}

// All connections of a user share what it may publish, in bytes too; others are not held up.
func TestPublishRateOfUser(t *testing.T) {
	b, link := newLimited(t, map[string]string{"mqtt.rate.user.bytes": "1000"})
	as := func(id, user string) *client {
		return b.connect(id, mqttwire.Connect{UserName: []byte(user), HasUserName: true})
	}
	one, two, other := as("1", "ann"), as("2", "ann"), as("3", "bob")
	big := func(c *client) { c.publish(msg("a", string(make([]byte, 980)), 1)) }
	big(one)
	other.publish(msg("a", "x", 1))
	if len(link.short) > 0 {
		t.Error("somebody waits who published no more than he may")
	}
	big(two)
	if wait := got(t, link.short); wait < 900*time.Millisecond || wait > time.Second {
		t.Errorf("the other connection of the user waits %v", wait)
	}
	big(other)
}

func TestConnectionLimits(t *testing.T) {
	b, _ := newLimited(t, map[string]string{"mqtt.max-connections": "2"})
	b.connect("1", mqttwire.Connect{})
	two := b.connect("2", mqttwire.Connect{})
	refused := func(b *broker, r mqttwire.Reason) {
		t.Helper()
		c := b.dial(mqttwire.V5)
		c.send(&mqttwire.Connect{Version: mqttwire.V5, ClientID: []byte("3")})
		c.want(&mqttwire.Connack{Reason: r})
		c.wantEnd()
	}
	refused(b, mqttwire.QuotaExceeded)
	two.leave(&mqttwire.Disconnect{})
	b.connect("3", mqttwire.Connect{})

	b, link := newLimited(t, map[string]string{"mqtt.max-connect-rate": "2"})
	b.connect("1", mqttwire.Connect{})
	b.connect("2", mqttwire.Connect{})
	refused(b, mqttwire.ConnectionRateExceeded)
	link.Advance(500 * time.Millisecond)
	b.connect("3", mqttwire.Connect{})
}

func TestSubscriptionLimit(t *testing.T) {
	b, _ := newLimited(t, map[string]string{"mqtt.max-subscriptions": "2", "mqtt.max-levels": "2"})
	c := b.connect("c", mqttwire.Connect{})
	want := func(got []mqttwire.Reason, want ...mqttwire.Reason) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("answered %v, want %v", got, want)
		}
	}
	want(c.subscribe(0, filter("a/b/c", 0), filter("a", 1)), mqttwire.TopicFilterInvalid, mqttwire.GrantedQoS1)
	want(c.subscribe(0, filter("b", 0), filter("c", 0), filter("a", 0)), mqttwire.GrantedQoS0, mqttwire.QuotaExceeded, mqttwire.GrantedQoS0)
	want(c.subscribe(0, filter("c", 0)), mqttwire.QuotaExceeded)
	if r := c.publish(msg("a/b/c", "x", 1)); r != mqttwire.TopicNameInvalid {
		t.Errorf("a topic of three levels: %v", r)
	}
}

// quotas are those of a test, which may change.
type quotas struct {
	version atomic.Uint64
	all     atomic.Pointer[[]setting.Setting]
}

func (q *quotas) Settings(string, setting.Kind) []setting.Setting { return *q.all.Load() }
func (q *quotas) ItemsVersion() uint64                            { return q.version.Load() }

func (q *quotas) set(t *testing.T, quotas map[string]setting.Quota) {
	t.Helper()
	var all []setting.Setting
	for name, x := range quotas {
		s, err := setting.New("/", setting.KindQuota, name, x)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	q.all.Store(&all)
	q.version.Add(1)
}

func newMetered(t *testing.T) (*broker, *quotas, noticed) {
	t.Helper()
	q := new(quotas)
	q.set(t, nil)
	link := noticed{clock.NewVirtual(time.UnixMilli(now)), make(chan time.Duration, 100)}
	b := newBrokerOn(t, kerneltest.Open(t, kerneltest.Options{NoCapture: true}), nil, func(c *Config) {
		c.Link, c.Quotas = link, setting.NewLiveQuotas(q)
		c.Options = option.Fixed(map[string]string{"mqtt.rate.user.messages": "1000"})
	})
	return b, q, link
}

// A user has a quota of its own, which all its connections share, in place of the one of every user, and
// both in place of the option; it counts at once.
func TestQuotaOfUser(t *testing.T) {
	b, q, link := newMetered(t)
	as := func(id, user string) *client {
		return b.connect(id, mqttwire.Connect{UserName: []byte(user), HasUserName: true})
	}
	one, two, bob := as("1", "ann"), as("2", "ann"), as("3", "bob")
	publish := func(c *client, n int) {
		for range n {
			c.publish(msg("a", "x", 1))
		}
	}
	publish(one, 10)
	q.set(t, map[string]setting.Quota{"user:ann": {setting.MQTTMessageRate: 4}, "user:+": {setting.MQTTMessageRate: 2}})
	link.Advance(2 * time.Second)
	publish(one, 2)
	publish(two, 2)
	if len(link.short) > 0 {
		t.Error("somebody waits who published no more than he may")
	}
	publish(two, 1)
	if wait := got(t, link.short); wait != 250*time.Millisecond {
		t.Errorf("ann waits %v", wait)
	}
	publish(bob, 3)
	if wait := got(t, link.short); wait != 500*time.Millisecond {
		t.Errorf("bob waits %v", wait)
	}
	link.Advance(time.Second)
	publish(one, 1)
}

// All who come to a listener share what it may take.
func TestQuotaOfListener(t *testing.T) {
	b, q, link := newMetered(t)
	_, port, _ := net.SplitHostPort(b.addr)
	q.set(t, map[string]setting.Quota{"listener:" + port: {setting.MQTTByteRate: 1000}, "listener:1": {setting.MQTTMessageRate: 1}})
	one, two := b.connect("1", mqttwire.Connect{}), b.connect("2", mqttwire.Connect{})
	big := func(c *client) { c.publish(msg("a", string(make([]byte, 980)), 1)) }
	big(one)
	if len(link.short) > 0 {
		t.Error("somebody waits who published no more than he may")
	}
	big(two)
	if wait := got(t, link.short); wait < 900*time.Millisecond || wait > time.Second {
		t.Errorf("the other connection waits %v", wait)
	}
}

// Who connects more often than a user or a listener may is refused.
func TestQuotaOfConnections(t *testing.T) {
	b, q, link := newMetered(t)
	_, port, _ := net.SplitHostPort(b.addr)
	refused := func(user string) {
		t.Helper()
		c := b.dial(mqttwire.V5)
		c.send(&mqttwire.Connect{Version: mqttwire.V5, ClientID: []byte("x"), HasUserName: true, UserName: []byte(user)})
		var ack mqttwire.Connack
		if err := ack.Decode(mqttwire.V5, c.read(mqttwire.CONNACK)); err != nil || ack.Reason != mqttwire.ConnectionRateExceeded {
			t.Errorf("%s is told %v, %v", user, ack.Reason, err)
		}
		c.wantEnd()
	}
	as := func(id, user string) { b.connect(id, mqttwire.Connect{UserName: []byte(user), HasUserName: true}) }
	q.set(t, map[string]setting.Quota{"user:ann": {setting.MQTTConnectionRate: 1}})
	as("1", "ann")
	refused("ann")
	as("2", "bob")
	link.Advance(time.Second)
	as("3", "ann")

	q.set(t, map[string]setting.Quota{"listener:" + port: {setting.MQTTConnectionRate: 2}})
	as("4", "ann")
	as("5", "bob")
	refused("eve")
	link.Advance(500 * time.Millisecond)
	as("6", "eve")
}
