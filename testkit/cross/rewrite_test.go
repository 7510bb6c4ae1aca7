package cross

import (
	"context"
	"testing"

	"github.com/eclipse/paho.golang/paho"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/setting"
	"github.com/robustmq/rmq/testkit"
)

// called connects under a client identifier.
func (e *env) called(id string) *mqttClient {
	e.t.Helper()
	return e.mqtt(func(c *paho.Connect) { c.ClientID = id })
}

// Topics become others as is set: in PUBLISH, in wills, in SUBSCRIBE behind $share and $exclusive,
// and in UNSUBSCRIBE, on every node at once.
func TestRewrite(t *testing.T) {
	e := start(t)
	e.set(setting.KindRewrite, "10-old", setting.Rewrite{On: setting.OnAll, Filter: "old/#", Regex: `^old/(.+)$`, To: "new/$1"})
	e.set(setting.KindRewrite, "20-mine", setting.Rewrite{On: setting.OnPublish, Filter: "mine/+", Regex: `^mine/(\w+)$`, To: "by/%c/$1"})
	e.set(setting.KindRewrite, "30-never", setting.Rewrite{On: setting.OnAll, Filter: "old/x", Regex: `x`, To: "never"}) // the first decides
	all := e.at(2).sub("new/#", "by/#")
	dev := e.at(3).called("dev1")
	publish := func(c *mqttClient, topic string) (code byte) {
		r, err := c.Publish(e.ctx, &paho.Publish{Topic: topic, QoS: 1, Payload: []byte("v")})
		if r == nil {
			t.Fatal(err)
		}
		return r.ReasonCode
	}
	for topic, want := range map[string]string{"old/x": "new/x", "old/a/b": "new/a/b", "mine/temp": "by/dev1/temp"} {
		publish(dev, topic)
		if p := all.next(); p.Topic != want {
			t.Errorf("%s became %s, not %s", topic, p.Topic, want)
		}
	}
	// A client whose name is not one level is no part of a topic.
	if code := publish(e.at(1).called("a/b"), "mine/temp"); code != 0x90 {
		t.Errorf("PUBACK says %#x", code)
	}
	for _, filter := range []string{"old/s/+", "$share/g/old/s/+", "$exclusive/old/s/+"} {
		c := e.at(1).mqtt()
		if code := c.subscribeCode(e, filter); code != 1 {
			t.Fatalf("%s: SUBACK says %#x", filter, code)
		}
		publish(dev, "new/s/1")
		if p := c.next(); p.Topic != "new/s/1" {
			t.Errorf("%s got %s", filter, p.Topic)
		}
		all.next()
		ack := must(c.Unsubscribe(e.ctx, &paho.Unsubscribe{Topics: []string{filter}}))(t)
		if ack.Reasons[0] != 0 {
			t.Errorf("%s: UNSUBACK says %#x", filter, ack.Reasons[0])
		}
	}
	dies := e.at(2).mqtt(func(c *paho.Connect) {
		c.WillMessage = &paho.WillMessage{Topic: "old/will", QoS: 1, Payload: []byte("v")}
	})
	check(t, dies.link.Close())
	if p := all.next(); p.Topic != "new/will" {
		t.Errorf("the will came under %s", p.Topic)
	}

	check(t, e.Kernel().DeleteSetting(context.Background(), "/", setting.KindRewrite, "10-old"))
	plain := e.at(3).sub("old/#")
	publish(dev, "old/y")
	if p := plain.next(); p.Topic != "old/y" {
		t.Errorf("without the rule it became %s", p.Topic)
	}
}

// The rules of access are about what a topic becomes, whichever way that is reached.
func TestRewriteAndAccess(t *testing.T) {
	e := start(t, testkit.User("ann", "secret"))
	e.set(setting.KindRewrite, "a", setting.Rewrite{On: setting.OnAll, Filter: "open/#", Regex: `^open/(.+)$`, To: "secret/$1"})
	e.set(setting.KindRewrite, "b", setting.Rewrite{On: setting.OnAll, Filter: "closed/#", Regex: `^closed/(.+)$`, To: "public/$1"})
	e.set(setting.KindSubscription, "secrets", setting.Subscription{Filter: "secret/#", QoS: 1})
	_ = must(e.Kernel().PutRules(e.ctx, []acl.Rule{
		{Actions: acl.All, Name: "public/#", Namespace: "/"}, {Actions: acl.All, Name: "open/#", Namespace: "/"},
	}))(t)
	c := e.mqtt(func(c *paho.Connect) {
		c.Username, c.UsernameFlag, c.Password, c.PasswordFlag = "ann", true, []byte("secret"), true
	})
	if code := c.subscribeCode(e, "open/x"); code != 0x87 {
		t.Errorf("SUBACK for what becomes secret says %#x", code)
	}
	if code := c.subscribeCode(e, "closed/x"); code != 1 {
		t.Errorf("SUBACK for what becomes public says %#x", code)
	}
	for topic, want := range map[string]byte{"open/x": 0x87, "closed/x": 0} {
		r, err := c.Publish(e.ctx, &paho.Publish{Topic: topic, QoS: 1, Payload: []byte("v")})
		if r == nil {
			t.Fatal(err)
		}
		if r.ReasonCode != want {
			t.Errorf("PUBACK for %s says %#x", topic, r.ReasonCode)
		}
	}
	if p := c.next(); p.Topic != "public/x" {
		t.Errorf("got %s", p.Topic)
	}
	ack := must(c.Unsubscribe(e.ctx, &paho.Unsubscribe{Topics: []string{"secret/#"}}))(t)
	if ack.Reasons[0] != 0x11 {
		t.Errorf("it was subscribed to what it may not read: UNSUBACK says %#x", ack.Reasons[0])
	}
}

// A client is subscribed to what is set for it when it connects, by its own name, and gets what
// is retained there.
func TestUnaskedSubscription(t *testing.T) {
	e := start(t)
	e.set(setting.KindSubscription, "orders", setting.Subscription{Filter: "to/%c/#", QoS: 1})
	e.set(setting.KindSubscription, "user", setting.Subscription{Filter: "user/%u", QoS: 1}) // it has none
	e.publishMQTT(&paho.Publish{Topic: "to/dev1/kept", QoS: 1, Retain: true, Payload: []byte("kept")})
	dev, other := e.at(2).called("dev1"), e.at(3).called("dev2")
	if p := dev.next(); p.Topic != "to/dev1/kept" || !p.Retain {
		t.Errorf("got %s", p.Topic)
	}
	for _, id := range []string{"dev2", "dev1"} {
		e.publishMQTT(&paho.Publish{Topic: "to/" + id + "/now", QoS: 2, Payload: []byte(id)})
	}
	if p := dev.next(); p.Topic != "to/dev1/now" || p.QoS != 1 {
		t.Errorf("dev1 got %s at QoS %d", p.Topic, p.QoS)
	}
	if p := other.next(); p.Topic != "to/dev2/now" {
		t.Errorf("dev2 got %s", p.Topic)
	}
	// It is a subscription like any other.
	ack := must(dev.Unsubscribe(e.ctx, &paho.Unsubscribe{Topics: []string{"to/dev1/#"}}))(t)
	if ack.Reasons[0] != 0 {
		t.Errorf("UNSUBACK says %#x", ack.Reasons[0])
	}
}
