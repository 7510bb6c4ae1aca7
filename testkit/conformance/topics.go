package conformance

import (
	"fmt"
	"strings"

	mqtt "github.com/robustmq/rmq/broker/mqttwire"
)

// Subscriptions, and which topics they match.

// matches publishes to topics and wants a subscription to be sent those that it matches, and
// no others. R stands for the test's root, which a filter need not begin with.
func matches(filter string, yes, no []string) func(*T) {
	return func(t *T) {
		name := func(s string) string { return strings.ReplaceAll(s, "R", t.root) }
		s := t.connect()
		s.needs(mqtt.WildcardAvailable, "wildcard subscriptions")
		end := t.topic("the end")
		s.subscribed(nil, at(name(filter), 1), at(end, 1))
		p := t.connect()
		for _, topic := range append(append([]string(nil), no...), yes...) {
			p.publish(name(topic), name(topic), 1)
		}
		p.publish(end, "end", 1)
		missing := map[string]bool{}
		for _, topic := range yes {
			missing[name(topic)] = true
		}
		for {
			q := s.next("a message")
			m, ok := q.Body.(*mqtt.Publish)
			t.check(ok, "a message", q.words(s.v))
			s.settle(m)
			if string(m.Payload) == "end" {
				break
			}
			topic := string(m.Topic)
			if !strings.Contains(topic, t.root) {
				continue // somebody else's
			}
			t.check(missing[topic], fmt.Sprintf("what %q matches", name(filter)), fmt.Sprintf("a message to %q", topic))
			delete(missing, topic)
		}
		for topic := range missing {
			t.fail(fmt.Sprintf("a message to %q, which %q matches", topic, name(filter)), "none")
		}
	}
}

// all runs each of some tests as a case.
func all(tests map[string]func(*T)) func(*T) {
	return func(t *T) {
		for name, f := range tests {
			t.each(name, f)
		}
	}
}

func multiLevel(t *T) {
	badFilter("a/#/b", "a#", "a/b#", "#a", "##", "a/##")(t)
	t.each("R/a/#", matches("R/a/#", []string{"R/a", "R/a/b", "R/a/b/c", "R/a/"}, []string{"R/ab", "R/b", "R"}))
	t.each("R/#", matches("R/#", []string{"R", "R/a", "R/a/b"}, []string{"Rx/a"}))
}

func singleLevel(t *T) {
	badFilter("a+", "+a", "a/+b", "a/b+/c", "++", "+#", "a/+#")(t)
	t.each("R/+", matches("R/+", []string{"R/a", "R/b", "R/"}, []string{"R", "R/a/b"}))
	t.each("R/+/c", matches("R/+/c", []string{"R/a/c", "R//c"}, []string{"R/c", "R/a/b/c", "R/a/d"}))
	t.each("R/+/+", matches("R/+/+", []string{"R/a/c", "R//"}, []string{"R/a", "R/a/b/c"}))
	t.each("R/a/+/#", matches("R/a/+/#", []string{"R/a/b", "R/a/b/c"}, []string{"R/a", "R/b/c"}))
	t.each("+/+/R", matches("+/+/R", []string{"conform/b/R", "conform//R"}, []string{"conform/R", "conform/b/c/R"}))
}

// dollar wants topics that begin with $ to be left out of filters that begin with a
// wildcard.
func dollar(t *T) {
	for _, f := range []string{"+/R", "#", "+/#"} {
		t.each(f, func(t *T) {
			topic := "$conform/" + t.root
			s := t.connect()
			s.needs(mqtt.WildcardAvailable, "wildcard subscriptions")
			end := t.topic("the end")
			s.subscribed(nil, at(strings.ReplaceAll(f, "R", t.root), 0), at(end, 0))
			p := t.connect()
			p.publish(topic, "no", 0)
			p.publish(end, "end", 0)
			for {
				q := s.next("a message")
				m, ok := q.Body.(*mqtt.Publish)
				t.check(ok, "a message", q.words(s.v))
				t.check(string(m.Topic) != topic, "no message to "+topic, "one, by "+f)
				if string(m.Topic) == end {
					return
				}
			}
		})
	}
}

// asIs wants names compared byte by byte.
func asIs(t *T) {
	for _, s := range []struct{ name, topic, other string }{
		{"upper and lower case", "a/B", "a/b"},
		{"an empty level", "a//b", "a/b"},
		{"a slash in front", "/a", "a"},
		{"a slash behind", "a/", "a"},
		{"composed and decomposed", "é", "e\u0301"},
		{"spaces", "a b", "ab"},
		{"a byte order mark", "\uFEFFa", "a"},
		{"an escape", "a%2Fb", "a/b"},
		{"two dots", "a/../b", "b"},
		{"a character without a meaning", "a\uE000", "a"},
	} {
		t.each(s.name, func(t *T) {
			one := t.subscriber(t.topic(s.topic), 1)
			two := t.subscriber(t.topic(s.other), 1)
			p := t.connect()
			p.publish(t.topic(s.topic), "one", 1)
			p.publish(t.topic(s.other), "two", 1)
			m := one.take("one")
			t.check(string(m.Topic) == t.topic(s.topic), fmt.Sprintf("topic %q", t.topic(s.topic)), fmt.Sprintf("topic %q", m.Topic))
			two.take("two")
			one.quiet()
		})
	}
}

// replaced wants a second subscription with the same filter to take the place of the first.
func replaced(t *T) {
	topic := t.topic("x")
	p := t.connect()
	p.needsQoS(2)
	s := t.connect()
	s.subscribed(nil, at(topic, 2))
	r := s.subscribe(nil, at(topic, 0))[0]
	t.check(r == mqtt.GrantedQoS0, "0x00", r.String())
	p.publish(topic, "m", 2)
	m := s.take("m")
	t.check(m.QoS == 0, "QoS 0, as the later subscription says", fmt.Sprintf("QoS %d", m.QoS))
	p.publish(topic, "end", 2)
	s.take("end") // and no second copy
}

// replacedRetained wants retained messages sent again for a subscription that is replaced.
func replacedRetained(t *T) {
	topic := t.topic("x")
	p := t.retainer()
	p.publish(topic, "kept", 1, retain)
	s := t.connect()
	for range 2 {
		s.subscribed(nil, at(topic, 1))
		s.take("kept")
	}
}

// replacedUnderway subscribes again and again while messages come: none is lost.
func replacedUnderway(t *T) {
	topic := t.topic("x")
	s := t.subscriber(topic, 1)
	p := t.connect()
	const n = 15
	for i := range n {
		p.publication(topic, fmt.Sprint(i), 1)
		s.subscribed(nil, at(topic, 1))
	}
	for i := range n {
		s.take(fmt.Sprint(i))
	}
}

// together wants many filters in one SUBSCRIBE to be as many SUBSCRIBEs, with one answer in
// their order.
func together(t *T) {
	s := t.connect()
	a, b, c := t.topic("a"), t.topic("b"), t.topic("c")
	got := s.subscribe(nil, at(a, 2), at(b, 0), at(c, 1))
	for i, most := range []mqtt.Reason{2, 0, 1} {
		t.check(got[i] <= most, fmt.Sprintf("code %d to be 0x%02X at most", i+1, byte(most)), fmt.Sprintf("0x%02X", byte(got[i])))
	}
	s.quiet() // one answer
	p := t.connect()
	for i, topic := range []string{a, b, c} {
		p.publish(topic, topic, 1)
		m := s.take(topic)
		t.check(m.QoS == min(1, byte(got[i])), fmt.Sprintf("QoS %d", min(1, got[i])), fmt.Sprintf("QoS %d", m.QoS))
	}
}

// subackFirst wants SUBACK for a filter, however often it is subscribed to.
func subackAlways(t *T) {
	s := t.connect()
	for range 3 {
		s.subscribed(nil, at(t.topic("x"), 1))
	}
	s.quiet()
}

// granted wants a code that says what was granted, at most what was asked.
func granted(t *T) {
	s := t.connect()
	for qos := range byte(3) {
		r := s.subscribe(nil, at(t.topic("x"), qos))[0]
		t.check(r.Failed() || byte(r) <= qos, fmt.Sprintf("a QoS up to %d, or a failure", qos), r.String())
	}
}

// unsubscribed wants a subscription to end: that one, and no other.
func unsubscribed(t *T) {
	topic := t.topic("a/b")
	s := t.connect()
	s.needs(mqtt.WildcardAvailable, "wildcard subscriptions")
	s.subscribed(nil, at(topic, 1), at(t.topic("a/+"), 1), at(t.topic("a/#"), 1), at(t.topic("end"), 1))
	// Filters are compared as strings: none of these is subscribed to.
	s.unsubscribe(t.topic("#"), t.topic("a/c"), t.topic("+/b"))
	p := t.connect()
	p.publish(topic, "all", 1)
	s.copies("all", func(*mqtt.Publish) {})
	s.unsubscribe(topic, t.topic("a/+"))
	p.publish(topic, "by a/#", 1)
	s.take("by a/#")
	s.quiet()
	s.unsubscribe(t.topic("a/#"))
	p.publish(topic, "none", 1)
	p.publish(t.topic("end"), "end", 1)
	s.take("end")
}

// unsubscribedUnderway wants what was on its way finished, also on the next connection.
func unsubscribedUnderway(t *T) {
	topic, id := t.topic("x"), t.clientID()
	s := t.subscriber(topic, 2, as(id), durable)
	p := t.connect()
	p.needsQoS(2)
	p.publish(topic, "one", 1)
	p.publish(topic, "two", 2)
	one, two := s.message("one"), s.message("two")
	s.unsubscribe(topic)
	s.settle(two)
	s.quiet()
	s.leave()
	s = t.connect(as(id), durable)
	m := s.message("one")
	t.check(m.PacketID == one.PacketID, fmt.Sprintf("packet identifier %d", one.PacketID), fmt.Sprint(m.PacketID))
	s.settle(m)
	s.quiet()
}

// unsubackAlways wants UNSUBACK, though nothing was subscribed to.
func unsubackAlways(t *T) {
	s := t.connect()
	s.nextID = 0x4321
	r := s.unsubscribe(t.topic("x"))
	if t.v == mqtt.V5 && r[0] != mqtt.NoSubscriptionExisted {
		t.vary("0x11 where no subscription existed", fmt.Sprintf("0x%02X", byte(r[0])))
	}
	s.quiet()
}

// unsubscribeTogether wants many filters in one UNSUBSCRIBE to be as many, with one answer.
func unsubscribeTogether(t *T) {
	a, b, c := t.topic("a"), t.topic("b"), t.topic("c")
	s := t.connect()
	s.subscribed(nil, at(a, 1), at(c, 1), at(t.topic("end"), 1))
	r := s.unsubscribe(a, b, c)
	if t.v == mqtt.V5 {
		t.check(!r[0].Failed() && !r[2].Failed(), "success for what was subscribed to", fmt.Sprint(r))
		if r[1] != mqtt.NoSubscriptionExisted || r[0] != mqtt.Success || r[2] != mqtt.Success {
			t.vary("0x00, 0x11, 0x00 in the order of the filters", fmt.Sprintf("% x", r))
		}
	}
	s.quiet()
	p := t.connect()
	p.publish(a, "a", 1)
	p.publish(c, "c", 1)
	p.publish(t.topic("end"), "end", 1)
	s.take("end")
}

// pings wants PINGREQ answered, every one.
func pings(t *T) {
	c := t.connect()
	for range 3 {
		c.quiet()
	}
	c.send(join(mqtt.AppendPingreq(nil), mqtt.AppendPingreq(nil)))
	c.expect(mqtt.PINGRESP)
	c.expect(mqtt.PINGRESP)
}

// afterDisconnect wants what is sent behind DISCONNECT not to be done.
func afterDisconnect(t *T) {
	topic := t.topic("x")
	s := t.subscriber(topic, 1)
	c := t.connect()
	d := mqtt.Disconnect{}
	c.send(d.Append(nil, t.v), publishBytes(t.v, 0x30, topic, 0, nil, "late"), publishBytes(t.v, 0x32, topic, 1, nil, "late"))
	c.gone()
	t.connect().publish(topic, "end", 1)
	s.take("end")
}

// fragments sends packets byte by byte, and many at once: the stream has no borders.
func fragments(t *T) {
	topic := t.topic("x")
	s := t.subscriber(topic, 1)
	p := t.connect()
	m := mqtt.Publish{Topic: []byte(topic), Payload: []byte("m"), QoS: 1, PacketID: 1}
	for _, b := range m.Append(nil, t.v) {
		_, _ = p.nc.Write([]byte{b}) // a server that has closed says so to the reader
	}
	p.acknowledged(mqtt.PUBACK, 1)
	s.take("m")
	var many []byte
	for id := uint16(1); id <= 10; id++ {
		m.PacketID = id
		many = m.Append(many, t.v)
	}
	_, _ = p.nc.Write(many)
	for id := uint16(1); id <= 10; id++ {
		p.acknowledged(mqtt.PUBACK, id)
		s.take("m")
	}
}
