package conformance

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	mqtt "github.com/robustmq/rmq/broker/mqttwire"
)

// What MQTT 5 has brought: properties, aliases, identifiers of subscriptions, shares.

// ---- properties of messages

// sameUser wants a message to have the user properties that were sent, in their order.
func (c *conn) sameUser(m *mqtt.Publish, want mqtt.Properties) {
	c.t.check(bytes.Equal(userOf(m.Properties), userOf(want)), "the user properties as they were sent",
		mqtt.PUBLISH.String()+words(c.v, m))
}

func userOf(ps mqtt.Properties) (out mqtt.Properties) {
	for p, rest, ok := ps.Next(); ok; p, rest, ok = rest.Next() {
		if p.ID == mqtt.UserProperty {
			out = out.User(string(p.Key), string(p.Value))
		}
	}
	return out
}

// forwarded wants a property to reach subscribers as it was sent: those there are, those who
// come for the retained message, and at every QoS.
func forwarded(ps mqtt.Properties) func(*T) {
	return func(t *T) {
		first, _, _ := ps.Next()
		same := func(m *mqtt.Publish) {
			got, ok := mqtt.Properties(nil), false
			for p, rest, more := m.Properties.Next(); more; p, rest, more = rest.Next() {
				if p.ID == first.ID {
					ok = p.Num == first.Num && bytes.Equal(p.Value, first.Value)
					got = m.Properties
				}
			}
			t.check(ok, fmt.Sprintf("property 0x%02X as it was sent", byte(first.ID)), mqtt.PUBLISH.String()+words(t.v, m)+fmt.Sprintf(" %x", []byte(got)))
		}
		topic := t.topic("x")
		s := t.subscriber(topic, 2)
		p := t.connect()
		for qos := range byte(3) {
			p.needsQoS(qos)
			p.publish(topic, "m", qos, with(ps))
			same(s.take("m"))
		}
		if n, ok := p.ack.Properties.Num(mqtt.RetainAvailable); !ok || n != 0 {
			p.publish(topic, "m", 1, with(ps), retain)
			s.take("m")
			same(t.connect().subscribedTo(topic).take("m"))
		}
	}
}

func userForwarded(t *T) {
	ps := mqtt.Properties(nil).User("b", "1").User("a", "2").User("b", "0").User("", "").User("a", "2")
	topic := t.topic("x")
	s := t.subscriber(topic, 2)
	p := t.connect()
	for qos := range byte(3) {
		p.needsQoS(qos)
		p.publish(topic, "m", qos, with(ps))
		s.sameUser(s.take("m"), ps)
	}
}

// expired wants a message that is over not to be delivered.
func expired(t *T) {
	topic, id := t.topic("x"), t.clientID()
	t.subscriber(topic, 1, as(id), durable).leave()
	p := t.connect()
	p.publish(topic, "over", 1, with(mqtt.Properties(nil).Uint32(mqtt.MessageExpiry, 1)))
	p.publish(topic, "lasts", 1, with(mqtt.Properties(nil).Uint32(mqtt.MessageExpiry, 600)))
	t.pass(3 * time.Second)
	s := t.connect(as(id), durable)
	s.present(true)
	s.take("lasts")
	s.quiet()
}

// expiryLeft wants the time that a message has left, on its way out.
func expiryLeft(t *T) {
	topic, id := t.topic("x"), t.clientID()
	t.subscriber(topic, 1, as(id), durable).leave()
	p := t.connect()
	p.publish(topic, "m", 1, with(mqtt.Properties(nil).Uint32(mqtt.MessageExpiry, 600)))
	t.pass(3 * time.Second)
	s := t.connect(as(id), durable)
	m := s.take("m")
	left, ok := m.Properties.Num(mqtt.MessageExpiry)
	t.check(ok && left < 600 && left > 500, "600 s less those that have passed", fmt.Sprintf("%d", left))
}

// ---- topic aliases

func alias(n uint16) mqtt.Properties { return mqtt.Properties(nil).Uint16(mqtt.TopicAlias, n) }

// aliasMax is the server's.
func (c *conn) aliasMax() uint16 {
	n, _ := c.ack.Properties.Num(mqtt.TopicAliasMaximum)
	return uint16(n)
}

func aliasesTaken(t *T) {
	c := t.connect()
	limit := c.aliasMax()
	if limit == 0 {
		t.skip("the server takes no topic aliases")
	}
	c.subscribed(nil, at(t.topic("#"), 1))
	tried := []uint16{1, 2, limit/2 + 1, limit}
	for _, n := range tried {
		if n > limit {
			continue
		}
		topic := t.topic(fmt.Sprint(n))
		c.publish(topic, "first", 1, with(alias(n)))
		c.take("first")
		for qos := range byte(2) {
			c.publish("", "by alias", qos, with(alias(n)))
			m := c.take("by alias")
			t.check(string(m.Topic) == topic, topic, string(m.Topic))
		}
	}
	// An alias that is given another topic means that one.
	c.publish(t.topic("other"), "moved", 1, with(alias(1)))
	c.take("moved")
	c.publish("", "there", 1, with(alias(1)))
	m := c.take("there")
	t.check(string(m.Topic) == t.topic("other"), t.topic("other"), string(m.Topic))
}

func aliasTooHigh(t *T) {
	c := t.connect()
	limit := c.aliasMax()
	if limit == 65535 {
		t.skip("the server takes every topic alias")
	}
	c.publication(t.topic("x"), "m", 1, with(alias(limit+1)))
	c.ended(mqtt.TopicAliasInvalid)
}

func aliasNone(t *T) {
	c := t.connect()
	if c.aliasMax() != 0 {
		t.skip("the server takes topic aliases")
	}
	c.publication(t.topic("x"), "m", 1, with(alias(1)))
	c.ended(mqtt.TopicAliasInvalid)
}

func aliasZero(t *T) {
	c := t.connect()
	c.publication(t.topic("x"), "m", 1, with(alias(0)))
	c.ended(mqtt.TopicAliasInvalid)
}

// aliasForgotten wants aliases to end with their connection, if the session does not.
func aliasForgotten(t *T) {
	id := t.clientID()
	c := t.connect(as(id), durable)
	if c.aliasMax() == 0 {
		t.skip("the server takes no topic aliases")
	}
	c.publish(t.topic("x"), "m", 1, with(alias(1)))
	c.leave()
	c = t.connect(as(id), durable)
	c.publication("", "m", 1, with(alias(1)))
	c.ended(mqtt.ProtocolError, mqtt.TopicAliasInvalid)
}

// aliasUnknown uses an alias that stands for nothing.
func aliasUnknown(t *T) {
	c := t.connect()
	if c.aliasMax() == 0 {
		t.skip("the server takes no topic aliases")
	}
	c.publication("", "m", 1, with(alias(1)))
	c.ended(mqtt.ProtocolError, mqtt.TopicAliasInvalid)
}

// aliasesSent wants the server to use no alias beyond what the client takes.
func aliasesSent(limit uint16) func(*T) {
	return func(t *T) {
		var options []option
		if limit > 0 {
			options = append(options, num16(mqtt.TopicAliasMaximum, limit))
		}
		s := t.subscriber(t.topic("#"), 1, options...)
		p := t.connect()
		names := map[uint32]string{}
		for range 3 {
			for i := range 5 {
				topic := t.topic(fmt.Sprint(i))
				p.publish(topic, topic, 1)
				m := s.take(topic)
				n, ok := m.Properties.Num(mqtt.TopicAlias)
				t.check(!ok || n > 0 && n <= uint32(limit), fmt.Sprintf("topic aliases up to %d", limit), fmt.Sprint(n))
				switch {
				case len(m.Topic) > 0 && ok:
					names[n] = string(m.Topic)
				case len(m.Topic) == 0:
					t.check(names[n] == topic, "an alias for "+topic, fmt.Sprintf("alias %d, which is %q", n, names[n]))
				}
				if len(m.Topic) > 0 {
					t.check(string(m.Topic) == topic, topic, string(m.Topic))
				}
			}
		}
	}
}

// ---- identifiers of subscriptions

func subID(n uint32) mqtt.Properties { return mqtt.Properties(nil).Varint(mqtt.SubscriptionID, n) }

func idsOf(m *mqtt.Publish) (ids []uint32) {
	for p, rest, ok := m.Properties.Next(); ok; p, rest, ok = rest.Next() {
		if p.ID == mqtt.SubscriptionID {
			ids = append(ids, p.Num)
		}
	}
	slices.Sort(ids)
	return ids
}

// overlapIDs wants a message to name the subscriptions that it matches: all on one copy, or
// one on each.
func overlapIDs(t *T) {
	topic := t.topic("a/b")
	s := t.connect()
	s.needs(mqtt.SubscriptionIDsAvail, "subscription identifiers")
	s.needs(mqtt.WildcardAvailable, "wildcard subscriptions")
	s.subscribed(subID(1), at(topic, 1))
	s.subscribed(subID(268_435_455), at(t.topic("a/+"), 1))
	s.subscribed(nil, at(t.topic("a/#"), 1))
	s.subscribed(subID(3), at(t.topic("c/#"), 1))
	t.connect().publish(topic, "m", 1)
	var all []uint32
	copies := 0
	s.copies("m", func(m *mqtt.Publish) {
		copies++
		all = append(all, idsOf(m)...)
	})
	slices.Sort(all)
	t.check(slices.Equal(all, []uint32{1, 268_435_455}), "the identifiers 1 and 268435455, once each", fmt.Sprintf("%v in %d copies", all, copies))
}

// idReplaced wants the identifier of a subscription to be that of its last SUBSCRIBE.
func idReplaced(t *T) {
	topic := t.topic("x")
	s := t.connect()
	s.needs(mqtt.SubscriptionIDsAvail, "subscription identifiers")
	p := t.connect()
	for _, step := range []struct {
		ps   mqtt.Properties
		want []uint32
	}{{subID(1), []uint32{1}}, {subID(2), []uint32{2}}, {nil, nil}} {
		s.subscribed(step.ps, at(topic, 1))
		p.publish(topic, "m", 1)
		m := s.take("m")
		t.check(slices.Equal(idsOf(m), step.want), fmt.Sprintf("subscription identifiers %v", step.want), fmt.Sprint(idsOf(m)))
	}
}

// idKept wants it to be part of the session.
func idKept(t *T) {
	topic, id := t.topic("x"), t.clientID()
	s := t.connect(as(id), durable)
	s.needs(mqtt.SubscriptionIDsAvail, "subscription identifiers")
	s.subscribed(subID(7), at(topic, 1))
	s.leave()
	t.connect().publish(topic, "m", 1)
	s = t.connect(as(id), durable)
	m := s.take("m")
	t.check(slices.Equal(idsOf(m), []uint32{7}), "subscription identifier 7", fmt.Sprint(idsOf(m)))
}

// ---- subscription options

func noLocal(t *T) {
	topic := t.topic("x")
	s := t.connect()
	f := at(topic, 1)
	f.NoLocal = true
	s.subscribed(nil, f)
	for qos := range byte(2) {
		s.publish(topic, "own", qos)
	}
	p := t.connect()
	for qos := range byte(2) {
		p.publish(topic, "end", qos)
		s.take("end")
	}
}

func noLocalShared(t *T) {
	c := t.connect()
	c.needs(mqtt.SharedAvailable, "shared subscriptions")
	c.send(subscribeBytes(t.v, 1, nil, filter("$share/"+t.clientID()+"/"+t.topic("x"), 0x05)))
	c.ended(mqtt.ProtocolError)
}

// ---- shares

// share is a filter of a shared subscription of the test's own.
func (c *conn) share(group, topic string, qos byte) mqtt.Filter {
	c.needs(mqtt.SharedAvailable, "shared subscriptions")
	return at("$share/"+group+"/"+topic, qos)
}

// sharedOnce wants a message to go to one of those who share.
func sharedOnce(t *T) {
	topic, group := t.topic("x"), t.clientID()
	end := t.topic("end")
	var members []*conn
	for range 3 {
		c := t.connect()
		c.subscribed(nil, c.share(group, topic, 1), at(end, 1))
		members = append(members, c)
	}
	p := t.connect()
	const n = 12
	for i := range n {
		p.publish(topic, fmt.Sprint(i), 1)
	}
	p.publish(end, "end", 1)
	seen := map[string]int{}
	// A share and a subscription are two ways: the end of one says nothing of the other.
	// What is counted is that all came, and none twice.
	deadline := time.Now().Add(t.run.cfg.Patience)
	for total, ends := 0, 0; total < n || ends < len(members); {
		t.check(time.Now().Before(deadline), fmt.Sprintf("%d messages", n), fmt.Sprint(seen))
		for _, c := range members {
			c.send(mqtt.AppendPingreq(nil))
			for q := c.next("a message, or PINGRESP"); q.Type != mqtt.PINGRESP; q = c.next("a message, or PINGRESP") {
				m, ok := q.Body.(*mqtt.Publish)
				t.check(ok, "a message, or PINGRESP", q.words(c.v))
				c.settle(m)
				if string(m.Payload) == "end" {
					ends++
					continue
				}
				seen[string(m.Payload)]++
				total++
			}
		}
	}
	for i := range n {
		t.check(seen[fmt.Sprint(i)] == 1, "every message once", fmt.Sprint(seen))
	}
}

func sharedQoS(t *T) {
	p := t.connect()
	p.needsQoS(2)
	for granted := range byte(3) {
		topic := t.topic(fmt.Sprint(granted))
		s := t.connect()
		r := s.subscribe(nil, s.share(t.clientID(), topic, granted))[0]
		t.check(!r.Failed(), "a subscription", r.String())
		for qos := range byte(3) {
			p.publish(topic, "m", qos)
			m := s.take("m")
			want := min(qos, byte(r))
			t.check(m.QoS == want, fmt.Sprintf("QoS %d", want), fmt.Sprintf("QoS %d", m.QoS))
		}
	}
}

// sharedResumed wants a QoS 2 delivery that was begun to be finished with the member that it
// was begun with.
func sharedResumed(t *T) {
	topic, group, id := t.topic("x"), t.clientID(), t.clientID()
	s := t.connect(as(id), durable)
	s.subscribed(nil, s.share(group, topic, 2))
	p := t.connect()
	p.needsQoS(2)
	p.publish(topic, "m", 2)
	m := s.message("m")
	s.drop()
	other := t.connect()
	other.subscribed(nil, other.share(group, topic, 2))
	s = t.connect(as(id), durable)
	s.present(true)
	other.quiet() // it was not given to the other member
	q := s.message("m")
	t.check(q.PacketID == m.PacketID, fmt.Sprintf("packet identifier %d as before", m.PacketID), fmt.Sprint(q.PacketID))
	s.settle(q)
	other.quiet()
}

// sharedEnded wants a QoS 2 delivery that was begun not to go to another member when the
// session it was begun with ends.
func sharedEnded(t *T) {
	topic, group, id := t.topic("x"), t.clientID(), t.clientID()
	s := t.connect(as(id), durable)
	s.subscribed(nil, s.share(group, topic, 2))
	p := t.connect()
	p.needsQoS(2)
	p.publish(topic, "m", 2)
	s.message("m")
	other := t.connect()
	other.subscribed(nil, other.share(group, topic, 2))
	s.drop()
	t.connect(as(id)).leave() // with Clean Start: the session is no more
	p.publish(topic, "end", 2)
	other.take("end")
}

// sharedRefused wants a message that a member refuses not to go to another.
func sharedRefused(t *T) {
	for qos := byte(1); qos < 3; qos++ {
		t.each(fmt.Sprintf("QoS %d", qos), func(t *T) {
			topic, group := t.topic("x"), t.clientID()
			s := t.connect()
			s.subscribed(nil, s.share(group, topic, 2))
			p := t.connect()
			p.needsQoS(qos)
			p.publish(topic, "m", qos)
			m := s.message("m")
			other := t.connect()
			other.subscribed(nil, other.share(group, topic, 2))
			typ := mqtt.PUBACK
			if qos == 2 {
				typ = mqtt.PUBREC
			}
			s.confirm(typ, m.PacketID, mqtt.UnspecifiedError)
			s.quiet()
			s.unsubscribe("$share/" + group + "/" + topic)
			p.publish(topic, "end", qos)
			other.take("end")
			other.quiet()
		})
	}
}

// ---- packet sizes

// small wants no packet beyond the client's Maximum Packet Size. With room for just one
// message under way, one that is too large takes none of it: it is as good as delivered.
func small(room uint16) func(*T) {
	return func(t *T) {
		topic := t.topic("x")
		s := t.subscriber(topic, 2, num32(mqtt.MaximumPacketSize, 200), num16(mqtt.ReceiveMaximum, room))
		p := t.connect()
		p.needsQoS(2)
		large := string(bytes.Repeat([]byte("x"), 300))
		for qos := range byte(3) {
			p.publish(topic, large, qos)
			p.publish(topic, "m", qos)
			s.take("m")
		}
		s.quiet()
	}
}

// smallAnswers wants answers that a client with a small Maximum Packet Size takes, whatever
// could be said in them.
func smallAnswers(typ mqtt.Type) func(*T) {
	return func(t *T) {
		const limit = 40
		within := func(p packet) {
			t.check(p.size <= limit, fmt.Sprintf("%d bytes at most", limit), fmt.Sprintf("%d: %s", p.size, p.words(t.v)))
		}
		bad := "$SYS/conform"
		if typ == mqtt.CONNACK {
			p := t.hello(num32(mqtt.MaximumPacketSize, limit), property(func(ps mqtt.Properties) mqtt.Properties {
				return ps.String(mqtt.AuthMethod, "conform")
			}))
			c := t.dial()
			c.send(p.Append(nil))
			if q, err := c.read(); err == nil {
				within(q)
			}
			return
		}
		c := t.connect(num32(mqtt.MaximumPacketSize, limit))
		switch typ {
		case mqtt.PUBACK, mqtt.PUBREC:
			qos := byte(1)
			if typ == mqtt.PUBREC {
				qos = 2
			}
			c.needsQoS(qos)
			for id, topic := range []string{bad, t.topic("x")} {
				m := mqtt.Publish{Topic: []byte(topic), QoS: qos, PacketID: uint16(id + 1)}
				c.send(m.Append(nil, t.v))
				within(c.expect(typ))
			}
		case mqtt.PUBREL:
			c.needsQoS(2)
			c.confirm(mqtt.PUBREC, 4242, mqtt.Success) // of no message
			within(c.expect(typ))
		case mqtt.PUBCOMP:
			c.needsQoS(2)
			c.confirm(mqtt.PUBREL, 4242, mqtt.Success)
			within(c.expect(typ))
		case mqtt.SUBACK:
			c.send(subscribeBytes(t.v, 1, nil, filter("$share/"+t.clientID()+"/"+t.topic("x"), 1), filter(t.topic("x"), 2)))
			within(c.expect(typ))
		case mqtt.UNSUBACK:
			c.send(unsubscribeBytes(t.v, 1, t.topic("x")))
			within(c.expect(typ))
		case mqtt.DISCONNECT:
			p := t.hello(as(c.id))
			c.send(p.Append(nil))
			q, err := c.read()
			if err != nil {
				t.skip("the server sends no DISCONNECT where we know of one")
			}
			within(q)
		}
	}
}

// tooLarge sends a packet beyond what the server says that it takes.
func tooLarge(t *T) {
	c := t.connect()
	limit, ok := c.ack.Properties.Num(mqtt.MaximumPacketSize)
	if !ok || limit > 256<<20 {
		t.skip("the server sets no limit")
	}
	c.send(join([]byte{0x30}, varint(int(limit)), str(t.topic("x")), props(t.v))) // its header says how much would come
	c.endedCut(mqtt.PacketTooLarge)
}

// ---- problem and response information

func noResponseInfo(t *T) {
	for _, options := range [][]option{nil, {num8(mqtt.RequestResponseInfo, 0)}} {
		c := t.connect(options...)
		_, ok := c.ack.Properties.Value(mqtt.ResponseInformation)
		t.check(!ok, "no response information", "some")
	}
}

// noProblems wants no reason strings and user properties where the client wants none.
func noProblems(t *T) {
	c := t.connect(num8(mqtt.RequestProblemInfo, 0))
	c.needsQoS(2)
	silent := func(p packet) {
		var ps mqtt.Properties
		switch b := p.Body.(type) {
		case *mqtt.Ack:
			ps = b.Properties
		case *mqtt.Suback:
			ps = b.Properties
		}
		_, said := ps.Value(mqtt.ReasonString)
		t.check(!said && userOf(ps) == nil, "no reason string and no user property", p.words(t.v))
	}
	c.send(publishBytes(t.v, 0x32, "$SYS/conform", 1, nil, "m"))
	silent(c.expect(mqtt.PUBACK))
	c.send(publishBytes(t.v, 0x34, "$SYS/conform", 2, nil, "m"))
	silent(c.expect(mqtt.PUBREC))
	c.confirm(mqtt.PUBREL, 4242, mqtt.Success)
	silent(c.expect(mqtt.PUBCOMP))
	c.confirm(mqtt.PUBREC, 4242, mqtt.Success)
	silent(c.expect(mqtt.PUBREL))
	c.confirm(mqtt.PUBCOMP, 4242, mqtt.Success)
	c.send(subscribeBytes(t.v, 3, nil, filter(t.topic("x"), 1)))
	silent(c.expect(mqtt.SUBACK))
	c.send(unsubscribeBytes(t.v, 4, t.topic("y")))
	silent(c.expect(mqtt.UNSUBACK))
}

// ---- authentication

// unknownMethod asks for an authentication method that no server has.
func unknownMethod(t *T) {
	p := t.hello(property(func(ps mqtt.Properties) mqtt.Properties { return ps.String(mqtt.AuthMethod, "conform-"+t.clientID()) }))
	c := t.dial()
	c.send(p.Append(nil))
	c.ended(mqtt.BadAuthMethod, mqtt.NotAuthorized)
}

// noAuthAsked wants no word of authentication where the client has not begun.
func noAuthAsked(t *T) {
	c := t.connect()
	for _, id := range []mqtt.PropertyID{mqtt.AuthMethod, mqtt.AuthData} {
		_, ok := c.ack.Properties.Value(id)
		t.check(!ok, "no authentication method in CONNACK", "one")
	}
	c.quiet()
}

// unasked sends AUTH on a connection that was made without a method.
func unasked(t *T) {
	for _, reason := range []byte{0x18, 0x19} {
		t.rejected(fmt.Sprintf("AUTH with 0x%02X", reason), frame(0xF0, []byte{reason}, props(t.v, []byte{0x15}, str("conform"))), mqtt.ProtocolError)
	}
}

func authReason(t *T) {
	t.rejected("AUTH with 0x42", frame(0xF0, []byte{0x42}, props(t.v)), mqtt.Malformed, mqtt.ProtocolError)
}

// ---- the end

// refusals wants CONNACK that refuses to be right in every part, and the end after it.
func refusals(t *T) {
	id := t.clientID()
	t.connect(as(id), durable).leave() // there is a session that could be present
	method := property(func(ps mqtt.Properties) mqtt.Properties { return ps.String(mqtt.AuthMethod, "conform") })
	p := t.hello(as(id), durable, method)
	for name, b := range map[string][]byte{
		"an authentication method that is not known": p.Append(nil),
		"will QoS 3":        connectBytes(t.v, 0x1C, nil, str(id), props(t.v), str(t.topic("w")), str("w")),
		"receive maximum 0": connectBytes(t.v, 0, []byte{0x21, 0, 0}, str(id)),
	} {
		t.each(name, func(t *T) {
			c := t.dial()
			c.send(b)
			q, err := c.read()
			if err == nil {
				ack, ok := q.Body.(*mqtt.Connack) // decoding has checked its code, flags and session present
				t.check(ok && ack.Reason.Failed(), "CONNACK with a failure", q.words(t.v))
				t.check(!ack.SessionPresent, "session present false", "session present true")
				c.closes()
				return
			}
			t.check(c.over, "CONNACK with a failure, or the end of the connection", "the connection is open still")
		})
	}
}

// lastWord wants DISCONNECT from the server to be right, the last packet, and followed by the
// end.
func lastWord(t *T) {
	for name, b := range map[string][]byte{
		"a second CONNECT":       connectBytes(t.v, 2, nil, str(t.clientID())),
		"PUBLISH with QoS 3":     publishBytes(t.v, 0x36, t.topic("x"), 1, nil, "m"),
		"a topic with wildcards": publishBytes(t.v, 0x32, "a/#", 1, nil, "m"),
		"topic alias 0":          publishBytes(t.v, 0x32, t.topic("x"), 1, []byte{0x23, 0, 0}, "m"),
	} {
		t.each(name, func(t *T) {
			c := t.connect(durable)
			c.send(b, mqtt.AppendPingreq(nil), publishBytes(t.v, 0x32, t.topic("x"), 9, nil, "m"))
			p, err := c.read()
			if err != nil {
				t.check(c.over, "the end of the connection", "the connection is open still")
				t.skip("the server sends no DISCONNECT where we know of one")
			}
			d, ok := p.Body.(*mqtt.Disconnect)
			t.check(ok && d.Reason.Failed(), "DISCONNECT with a failure", p.words(t.v))
			_, has := d.Properties.Num(mqtt.SessionExpiry)
			t.check(!has, "no session expiry interval in DISCONNECT", p.words(t.v))
			c.closes()
		})
	}
}

// notBeforeConnack wants no DISCONNECT to who was not let in.
func notBeforeConnack(t *T) {
	for name, b := range map[string][]byte{
		"PUBLISH first": publishBytes(t.v, 0x30, t.topic("x"), 0, nil, "m"),
		"will QoS 3":    connectBytes(t.v, 0x1E, nil, str(t.clientID()), props(t.v), str(t.topic("w")), str("w")),
		"cut short":     connectBytes(t.v, 2, nil),
	} {
		t.each(name, func(t *T) {
			c := t.dial()
			c.send(b)
			for {
				p, err := c.read()
				if err != nil {
					t.check(c.over, "the end of the connection", "the connection is open still")
					return
				}
				t.check(p.Type == mqtt.CONNACK, "CONNACK with a failure, or just the end", p.words(t.v))
			}
		})
	}
}

// keepsLimits wants QoS and retain that the server lacks to be refused.
func qosBeyond(t *T) {
	c := t.connect()
	limit, ok := c.ack.Properties.Num(mqtt.MaximumQoS)
	if !ok {
		t.skip("the server takes every QoS")
	}
	c.publication(t.topic("x"), "m", byte(limit)+1)
	c.ended(mqtt.QoSNotSupported, mqtt.ProtocolError)
}

func willQoSBeyond(t *T) {
	c := t.connect()
	limit, ok := c.ack.Properties.Num(mqtt.MaximumQoS)
	if !ok {
		t.skip("the server takes every QoS")
	}
	p := t.hello(will(t.topic("w"), "w", byte(limit)+1, false))
	c = t.dial()
	c.send(p.Append(nil))
	c.ended(mqtt.QoSNotSupported)
}

// everyQoS wants QoS 2 taken, or CONNACK to say that it is not.
func everyQoS(t *T) {
	c := t.connect()
	if _, limited := c.ack.Properties.Num(mqtt.MaximumQoS); limited {
		return
	}
	c.publish(t.topic("x"), "m", 1)
	r := c.publish(t.topic("x"), "m", 2)
	t.check(!r.Failed(), "PUBREC with success", r.String())
}

func retainUnavailable(withWill bool) func(*T) {
	return func(t *T) {
		c := t.connect()
		if n, ok := c.ack.Properties.Num(mqtt.RetainAvailable); !ok || n != 0 {
			t.skip("the server retains messages")
		}
		if !withWill {
			c.publication(t.topic("x"), "m", 1, retain)
			c.ended(mqtt.RetainNotSupported, mqtt.ProtocolError)
			return
		}
		p := t.hello(will(t.topic("w"), "w", 0, true))
		c = t.dial()
		c.send(p.Append(nil))
		c.ended(mqtt.RetainNotSupported)
	}
}

// wellFormed looks at every kind of answer; decoding checks their properties and codes.
func wellFormed(t *T) {
	c := t.connect()
	topic := t.topic("x")
	c.subscribed(nil, at(topic, 2))
	for qos := range byte(3) {
		c.needsQoS(qos)
		c.publish(topic, "m", qos)
		c.take("m")
	}
	c.unsubscribe(topic)
	c.publish(topic, "nobody", 1)
	c.publish(topic, "nobody", 2)
	c.release(4242)
	c.quiet()
}

// longInts sends variable byte integers in more bytes than they need. The sender must not;
// what the receiver does is its own choice.
func longInts(t *T) {
	for name, b := range map[string][]byte{
		"remaining length":        join([]byte{0xC0, 0x80, 0x00}),
		"property length":         frame(0x30, str(t.topic("x")), []byte{0x80, 0x00}, []byte("m")),
		"subscription identifier": frame(0x82, u16(1), []byte{3, 0x0B, 0x81, 0x00}, filter(t.topic("x"), 0)),
	} {
		t.each(name, func(t *T) {
			c := t.connect()
			c.send(b, mqtt.AppendPingreq(nil))
			p, err := c.read()
			if d, ok := p.Body.(*mqtt.Disconnect); ok {
				if d.Reason != mqtt.Malformed {
					t.vary("DISCONNECT with 0x81", p.words(t.v))
				}
				c.closes()
				return
			}
			if err != nil {
				t.check(c.over, "an answer", "nothing")
				return
			}
			t.vary("DISCONNECT with 0x81", p.words(t.v))
		})
	}
}
