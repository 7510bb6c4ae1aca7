package conformance

import (
	"fmt"
	"time"

	mqtt "github.com/robustmq/rmq/broker/mqttwire"
)

// Wills.

// willPublished wants a will when its client is cut off, and none before.
func willPublished(t *T) {
	topic := t.topic("w")
	s := t.subscriber(topic, 1)
	c := t.connect(will(topic, "gone", 1, false))
	c.quiet()
	t.connect().publish(topic, "before", 1)
	s.take("before")
	c.drop()
	s.take("gone")
}

// willAfter wants a will after each kind of end that is no DISCONNECT in good order.
func willAfter(t *T) {
	ends := map[string]func(*T, *conn){
		"the network failed":       func(_ *T, c *conn) { c.drop() },
		"the client made mistakes": func(_ *T, c *conn) { c.send([]byte{0x36, 0}) },
		"it was taken over":        func(t *T, c *conn) { t.connect(as(c.id)) },
	}
	if t.v == mqtt.V5 {
		ends["DISCONNECT with 0x04"] = func(_ *T, c *conn) { c.disconnect(mqtt.DisconnectWithWill, nil) }
	}
	for name, end := range ends {
		t.each(name, func(t *T) {
			topic := t.topic("w")
			s := t.subscriber(topic, 1)
			c := t.connect(will(topic, "gone", 1, false))
			end(t, c)
			s.take("gone")
		})
	}
}

// willWithdrawn wants DISCONNECT to take the will back.
func willWithdrawn(t *T) {
	topic := t.topic("w")
	s := t.subscriber(topic, 1)
	c := t.connect(will(topic, "gone", 1, false))
	c.leave()
	t.connect().publish(topic, "end", 1)
	s.take("end")
}

// willOnce wants a will that was published, or taken back, not to be there for a later
// connection.
func willOnce(t *T) {
	topic, id := t.topic("w"), t.clientID()
	s := t.subscriber(topic, 1)
	c := t.connect(as(id), durable, will(topic, "gone", 1, false))
	c.drop()
	s.take("gone")
	c = t.connect(as(id), durable)
	c.drop()
	c = t.connect(as(id), durable, will(topic, "back", 1, false))
	c.leave()
	c = t.connect(as(id), durable)
	c.drop()
	t.connect(as(id), durable).quiet() // the server has seen the end of the one before
	t.connect().publish(topic, "end", 1)
	s.take("end")
}

// noWill wants nothing to be published for a client without a will.
func noWill(t *T) {
	root := t.topic("#")
	s := t.subscriber(root, 1)
	c := t.connect()
	c.quiet()
	id := c.id
	c.drop()
	t.connect(as(id)).quiet() // the server has seen the end of the one before
	t.connect().publish(t.topic("x"), "end", 1)
	s.take("end")
}

func willQoS(t *T) {
	for qos := range byte(3) {
		t.each(fmt.Sprintf("QoS %d", qos), func(t *T) {
			topic := t.topic("w")
			s := t.subscriber(topic, 2)
			s.needsQoS(qos)
			t.connect(will(topic, "gone", qos, false)).drop()
			m := s.take("gone")
			t.check(m.QoS == qos, fmt.Sprintf("QoS %d", qos), fmt.Sprintf("QoS %d", m.QoS))
		})
	}
	t.refused("QoS 3", connectBytes(t.v, 0x1E, nil, str(t.clientID()), props(t.v), str(t.topic("w")), str("w")), mqtt.Malformed)
}

// willNotRetained wants a will without retain to be a message like others.
func willNotRetained(t *T) {
	topic := t.topic("w")
	s := t.subscriber(topic, 1)
	t.connect(will(topic, "gone", 1, false)).drop()
	m := s.take("gone")
	t.check(!m.Retain, "RETAIN 0", "RETAIN 1")
	t.connect().subscribedTo(topic).quiet()
}

func willRetained(t *T) {
	topic := t.topic("w")
	t.retained[topic] = true
	s := t.subscriber(topic, 1)
	s.needs(mqtt.RetainAvailable, "retained messages")
	t.connect(will(topic, "gone", 1, true)).drop()
	m := s.take("gone")
	t.check(!m.Retain, "RETAIN 0 for a subscription that was there", "RETAIN 1")
	m = t.connect().subscribedTo(topic).take("gone")
	t.check(m.Retain, "RETAIN 1 for a new subscription", "RETAIN 0")
}

// allFields wants a CONNECT with everything in it to be read in the order of its fields.
func allFields(t *T) {
	topic := t.topic("w")
	s := t.subscriber(topic, 1)
	p := t.hello(will(topic, "gone", 1, false), num16(mqtt.ReceiveMaximum, 10), willProperties(mqtt.Properties(nil).String(mqtt.ContentType, "text")))
	if !p.HasUserName {
		p.UserName, p.Password = []byte("user"), []byte("password")
	}
	c := t.dial()
	c.send(p.Append(nil))
	q := c.expect(mqtt.CONNACK)
	if ack := q.Body.(*mqtt.Connack); ack.Reason != mqtt.Success || ack.Code != mqtt.Accepted {
		t.check(t.run.target.user == "", "CONNACK with success", q.words(c.v))
		t.skip("the server lets nobody in with a user name that it does not know")
	}
	c.drop()
	m := s.take("gone")
	t.check(string(m.Topic) == topic, topic, string(m.Topic))
}

// ---- MQTT 5

// soon is a time, in seconds, in which a test does a few things, also where the machine is
// busy; soonOver is when it has passed.
const (
	soon     = 3
	soonOver = (soon + 1) * time.Second
)

// willDelayed wants no will from a client that is back before the delay is over.
func willDelayed(t *T) {
	topic, id := t.topic("w"), t.clientID()
	s := t.subscriber(topic, 1)
	delay := willProperties(mqtt.Properties(nil).Uint32(mqtt.WillDelay, soon))
	t.connect(as(id), durable, will(topic, "gone", 1, false), delay).drop()
	c := t.connect(as(id), durable)
	c.present(true)
	t.pass(soonOver)
	t.connect().publish(topic, "end", 1)
	s.take("end")
}

// willLater wants a will when its delay is over, and not before.
func willLater(t *T) {
	topic := t.topic("w")
	s := t.subscriber(topic, 1)
	delay := willProperties(mqtt.Properties(nil).Uint32(mqtt.WillDelay, soon))
	// When disconnect returns the server has seen the end.
	t.connect(durable, will(topic, "gone", 1, false), delay).disconnect(mqtt.DisconnectWithWill, nil)
	t.connect().publish(topic, "before", 1)
	s.take("before")
	t.pass(soonOver)
	s.take("gone")
}

// willUserProperties wants them published in their order.
func willUserProperties(t *T) {
	topic := t.topic("w")
	s := t.subscriber(topic, 1)
	ps := mqtt.Properties(nil).User("b", "1").User("a", "2").User("b", "0").User("", "")
	t.connect(will(topic, "gone", 1, false), willProperties(ps)).drop()
	s.sameUser(s.take("gone"), ps)
}
