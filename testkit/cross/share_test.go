package cross

import (
	"fmt"
	"testing"

	"github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"
	amqp "github.com/rabbitmq/amqp091-go"

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
	e.Want(t).Queue("$share/workers/jobs/#").Empty() // else what is not acknowledged comes again
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

// A client of MQTT consumes an AMQP queue: what it acknowledges is gone, and a session that is resumed
// consumes on. The subscription ends with the queue, and the connection does not.
func TestQueueOverMQTT(t *testing.T) {
	e := start(t)
	c := e.amqp()
	must(c.QueueDeclare("dead", true, false, false, false, nil))(t)
	must(c.QueueDeclare("jobs.eu", true, false, false, false, amqp.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}))(t)
	for i := range 5 {
		e.publishAMQP("", "jobs.eu", amqp.Publishing{Body: fmt.Append(nil, i)}) // transient, and yet to be acknowledged
	}
	resumed := func(clean bool) *mqttClient {
		return e.mqtt(func(c *paho.Connect) {
			c.ClientID, c.CleanStart = "worker", clean
			c.Properties = &paho.ConnectProperties{SessionExpiryInterval: ptr(uint32(3600)), ReceiveMaximum: ptr(uint16(2))}
		})
	}
	one := resumed(true)
	if code := one.subscribeCode(e, "$queue/none"); code != 0x8F {
		t.Errorf("SUBACK for a queue that is not there says %#x", code)
	}
	ack := must(one.Subscribe(e.ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "$queue/jobs.eu", QoS: 2}}}))(t)
	if ack.Reasons[0] != 1 {
		t.Errorf("SUBACK says %#x", ack.Reasons[0])
	}
	for i := range 5 { // each is acknowledged as it comes
		if p := one.next(); string(p.Payload) != fmt.Sprint(i) || p.QoS != 1 || p.Topic != "jobs/eu" {
			t.Errorf("got %s of %s at QoS %d in place of %d", p.Payload, p.Topic, p.QoS, i)
		}
	}
	e.Want(t).Queue("jobs.eu").Empty()

	check(t, one.Disconnect(&paho.Disconnect{}))
	e.Want(t).Queue("jobs.eu").Consumers(0)
	e.publishAMQP("", "jobs.eu", amqp.Publishing{Body: []byte("while away")})
	e.Want(t).Queue("jobs.eu").Ready(1)
	two := resumed(false)
	if p := two.next(); string(p.Payload) != "while away" {
		t.Errorf("got %s", p.Payload)
	}
	must(two.Unsubscribe(e.ctx, &paho.Unsubscribe{Topics: []string{"$queue/jobs.eu"}}))(t)
	e.Want(t).Queue("jobs.eu").Consumers(0)
	got := make(chan paho3.Message, 10) // of the client's default handler: it knows of no filter that matches
	three := e.at(2).mqtt3(func(o *paho3.ClientOptions) {
		o.SetDefaultPublishHandler(func(_ paho3.Client, m paho3.Message) { got <- m })
	})
	three.done(three.Subscribe("$queue/jobs.eu", 1, nil))
	three.sub("plain", 1)
	e.publishAMQP("", "jobs.eu", amqp.Publishing{Body: []byte("for 3.1.1"), DeliveryMode: 2})
	if m := next(t, got, "MQTT 3.1.1"); string(m.Payload()) != "for 3.1.1" || m.Qos() != 1 {
		t.Errorf("got %s at QoS %d", m.Payload(), m.Qos())
	}
	e.Want(t).Queue("jobs.eu").Empty()
	must(c.QueueDelete("jobs.eu", false, false, false))(t)
	e.Want(t).Queue("jobs.eu").Gone()
	e.publishMQTT(&paho.Publish{Topic: "plain", QoS: 1, Payload: []byte("still here")})
	if m := three.next(); string(m.Payload()) != "still here" {
		t.Errorf("got %s", m.Payload())
	}
}
