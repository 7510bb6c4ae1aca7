package conformance

import (
	"fmt"

	mqtt "github.com/robustmq/rmq/broker/mqttwire"
)

// Retained messages.

// retainer is a client on a server that retains.
func (t *T) retainer() *conn {
	c := t.connect()
	c.needs(mqtt.RetainAvailable, "retained messages")
	return c
}

// retainReplaces wants the last retained message kept.
func retainReplaces(t *T) {
	p := t.retainer()
	for qos := range byte(3) {
		t.each(fmt.Sprintf("QoS %d", qos), func(t *T) {
			topic := t.topic("x")
			p := t.retainer()
			p.needsQoS(qos)
			p.publish(topic, "one", qos, retain)
			p.publish(topic, "two", qos, retain)
			p.publish(topic, "later", 1) // QoS 0 has no answer of its own
			s := t.connect()
			s.subscribed(nil, at(topic, 2))
			m := s.take("two")
			t.check(m.Retain, "RETAIN 1 for a new subscription", "RETAIN 0")
			t.check(m.QoS == qos, fmt.Sprintf("QoS %d", qos), fmt.Sprintf("QoS %d", m.QoS))
			s.quiet()
		})
	}
	p.leave()
}

// retainZero wants a retained message at QoS 0 to take the place of what was retained.
func retainZero(t *T) {
	topic := t.topic("x")
	p := t.retainer()
	p.publish(topic, "one", 1, retain)
	p.publish(topic, "two", 0, retain)
	p.publish(topic, "later", 1) // QoS 0 has no answer of its own
	s := t.connect()
	s.subscribed(nil, at(topic, 1))
	s.send(mqtt.AppendPingreq(nil))
	q := s.next("the new message, or none")
	if m, ok := q.Body.(*mqtt.Publish); ok {
		t.check(string(m.Payload) == "two", "the new message, or none", q.words(s.v))
		return
	}
	t.vary("the new message retained", "none: it was discarded")
}

// retainCleared wants an empty payload to take the retained message away, and to be
// delivered as any message is.
func retainCleared(t *T) {
	topic := t.topic("x")
	p := t.retainer()
	p.publish(topic, "kept", 1, retain)
	s := t.connect().subscribedTo(topic)
	s.take("kept")
	p.publish(topic, "", 1, retain)
	m := s.take("")
	t.check(!m.Retain, "RETAIN 0 for a subscription that was there", "RETAIN 1")
	t.connect().subscribedTo(topic).quiet()
}

func retainEmpty(t *T) {
	topic := t.topic("x")
	t.retainer().publish(topic, "", 1, retain)
	t.connect().subscribedTo(topic).quiet()
}

// retainNot wants a message without RETAIN to leave the retained one alone.
func retainNot(t *T) {
	topic := t.topic("x")
	p := t.retainer()
	p.publish(topic, "not", 1)
	t.connect().subscribedTo(topic).quiet()
	p.publish(topic, "kept", 1, retain)
	p.publish(topic, "not", 1)
	p.publish(topic, "", 1)
	s := t.connect().subscribedTo(topic)
	s.take("kept")
	s.quiet()
}

// retainSent wants every retained message that a new subscription matches, once.
func retainSent(t *T) {
	p := t.retainer()
	want := map[string]bool{}
	for i := range 10 {
		payload := fmt.Sprint(i)
		want[payload] = true
		p.publish(t.topic(payload+"/x"), payload, 1, retain)
	}
	p.publish(t.topic("other/y"), "other", 1, retain)
	s := t.connect()
	s.needs(mqtt.WildcardAvailable, "wildcard subscriptions")
	s.subscribed(nil, at(t.topic("+/x"), 1))
	for range 10 {
		q := s.next("a retained message")
		m, ok := q.Body.(*mqtt.Publish)
		t.check(ok && want[string(m.Payload)], "each retained message once", q.words(s.v))
		t.check(m.Retain, "RETAIN 1 for a new subscription", "RETAIN 0")
		delete(want, string(m.Payload))
		s.settle(m)
	}
	s.quiet()
	s.subscribed(nil, at(t.topic("0/x"), 1))
	s.take("0")
}

// retainFlag wants RETAIN 1 for a new subscription, and 0 for one that was there.
func retainFlag(t *T) {
	topic := t.topic("x")
	s := t.connect().subscribedTo(topic)
	p := t.retainer()
	for qos := range byte(2) {
		p.publish(topic, "m", qos, retain)
		m := s.take("m")
		t.check(!m.Retain, "RETAIN 0 for a subscription that was there", "RETAIN 1")
	}
	m := t.connect().subscribedTo(topic).take("m")
	t.check(m.Retain, "RETAIN 1 for a new subscription", "RETAIN 0")
}

// ---- MQTT 5: subscription options

func retainAsPublished(t *T) {
	topic := t.topic("x")
	s := t.connect()
	f := at(topic, 1)
	f.RetainAsPublished = true
	s.subscribed(nil, f)
	p := t.retainer()
	p.publish(topic, "plain", 1)
	m := s.take("plain")
	t.check(!m.Retain, "RETAIN 0 as it was published", "RETAIN 1")
	p.publish(topic, "retained", 1, retain)
	m = s.take("retained")
	t.check(m.Retain, "RETAIN 1 as it was published", "RETAIN 0")
}

// retainHandling subscribes twice, and wants the retained message so often.
func retainHandling(handling byte, first, again bool) func(*T) {
	return func(t *T) {
		topic := t.topic("x")
		p := t.retainer()
		p.publish(topic, "kept", 1, retain)
		s := t.connect()
		f := at(topic, 1)
		f.RetainHandling = handling
		for _, sent := range []bool{first, again} {
			s.subscribed(nil, f)
			if sent {
				s.take("kept")
			}
			s.quiet()
		}
	}
}

// notToShares wants a shared subscription to be sent no retained messages.
func notToShares(t *T) {
	topic := t.topic("x")
	p := t.retainer()
	p.publish(topic, "kept", 1, retain)
	s := t.connect()
	s.needs(mqtt.SharedAvailable, "shared subscriptions")
	s.subscribed(nil, at("$share/"+t.clientID()+"/"+topic, 1))
	s.quiet()
}
