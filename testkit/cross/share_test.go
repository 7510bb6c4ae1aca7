package cross

import (
	"fmt"
	"testing"

	"github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"

	"github.com/robustmq/rmq/broker/setting"
)

// at is the same broker, with MQTT clients on a node of another number, from 1 on and round.
func (e *env) at(node int) *env {
	if e.nodes == nil {
		return e
	}
	c := *e
	c.Broker = e.nodes.Node(1 + (node-1)%*nodesFlag)
	return &c
}

func (e *env) set(kind setting.Kind, name string, value any) {
	e.t.Helper()
	check(e.t, e.Kernel().PutSetting(e.ctx, must(setting.New("/", kind, name, value))(e.t)))
}

// All messages of one publisher go to one member, in order, whichever nodes they are on; another
// member has them when that one leaves.
func TestShareByPublisher(t *testing.T) {
	e := start(t)
	e.set(setting.KindShare, "workers", setting.Share{Strategy: "hash-client"})
	var members []*mqttClient
	for i := range 3 {
		members = append(members, e.at(i+1).sub("$share/workers/jobs/#"))
	}
	pub := e.at(2).mqtt(func(c *paho.Connect) { c.ClientID = "press" })
	const n = 20
	for i := range n {
		must(pub.Publish(e.ctx, &paho.Publish{Topic: fmt.Sprint("jobs/", i), QoS: 1, Payload: fmt.Append(nil, i)}))(t)
	}
	first := func() (mine int, p *paho.Publish) {
		select {
		case p = <-members[0].got:
		case p = <-members[1].got:
			mine = 1
		case p = <-members[2].got:
			mine = 2
		case <-e.ctx.Done():
			t.Fatal("nothing came")
		}
		return mine, p
	}
	one, p := first()
	for i := range n {
		if i > 0 {
			p = members[one].next()
		}
		if string(p.Payload) != fmt.Sprint(i) {
			t.Fatalf("member %d got %s in place of %d", one, p.Payload, i)
		}
	}
	check(t, members[one].Disconnect(&paho.Disconnect{}))
	must(pub.Publish(e.ctx, &paho.Publish{Topic: "jobs/last", QoS: 1, Payload: []byte("last")}))(t)
	if other, p := first(); other == one || string(p.Payload) != "last" {
		t.Errorf("member %d got %s, when %d had left", other, p.Payload, one)
	}
}

// subscribeCode subscribes at QoS 1 and returns what SUBACK says.
func (c *mqttClient) subscribeCode(e *env, filter string, properties ...paho.UserProperty) byte {
	c.t.Helper()
	ack, err := c.Subscribe(e.ctx, &paho.Subscribe{
		Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: 1}}, Properties: &paho.SubscribeProperties{User: properties},
	})
	if ack == nil {
		c.t.Fatal(err)
	}
	return ack.Reasons[0]
}

// One client at a time has an exclusive subscription, on whichever node; a plain one may stand
// beside it.
func TestExclusive(t *testing.T) {
	e := start(t)
	one, two, three := e.at(1).mqtt(), e.at(2).mqtt(), e.at(3).mqtt3()
	if code := one.subscribeCode(e, "$exclusive/valve/#"); code != 1 {
		t.Fatalf("SUBACK says %#x", code)
	}
	if code := two.subscribeCode(e, "$exclusive/valve/#"); code != 0x97 {
		t.Errorf("SUBACK for a second client says %#x", code)
	}
	for _, filter := range []string{"$exclusive/$share/g/a", "$exclusive/$exclusive/a", "$exclusive/"} {
		if code := two.subscribeCode(e, filter); code != 0x8F {
			t.Errorf("SUBACK for %s says %#x", filter, code)
		}
	}
	token := three.Subscribe("$exclusive/valve/#", 1, nil)
	if token.Wait(); token.(*paho3.SubscribeToken).Result()["$exclusive/valve/#"] != 0x80 {
		t.Error("MQTT 3.1.1 is granted what another has")
	}
	three.sub("valve/+", 1)
	e.at(2).publishMQTT(&paho.Publish{Topic: "valve/7", QoS: 1, Payload: []byte("open")})
	if p, q := one.next(), three.next(); p.Topic != "valve/7" || q.Topic() != "valve/7" {
		t.Errorf("got %s and %s", p.Topic, q.Topic())
	}
	must(one.Unsubscribe(e.ctx, &paho.Unsubscribe{Topics: []string{"$exclusive/valve/#"}}))(t)
	if code := two.subscribeCode(e, "$exclusive/valve/#"); code != 1 {
		t.Errorf("when it is free, SUBACK says %#x", code)
	}
}
