package conformance

import (
	"fmt"
	"time"

	mqtt "github.com/robustmq/rmq/broker/mqttwire"
)

// Publishing, acknowledging, and sending again.

// answered wants QoS 0, 1 and 2 answered as they are to be.
func answered(t *T) {
	topic := t.topic("x")
	c := t.connect()
	c.publish(topic, "m", 0)
	c.quiet()
	c.needsQoS(1)
	c.publication(topic, "m", 1, withID(0xABCD))
	c.acknowledged(mqtt.PUBACK, 0xABCD)
	c.quiet()
	c.needsQoS(2)
	c.publication(topic, "m", 2, withID(0xABCD))
	c.acknowledged(mqtt.PUBREC, 0xABCD)
	c.quiet()
	c.release(0xABCD)
	c.quiet()
}

// ownIDs wants SUBACK and UNSUBACK to name the packet that they answer.
func ownIDs(t *T) {
	c := t.connect()
	topic := t.topic("x")
	for _, id := range []uint16{1, 0x1234, 65535} {
		c.nextID = id - 1
		c.subscribed(nil, at(topic, 1))
		c.nextID = id - 1
		c.unsubscribe(topic)
	}
}

// distinctIDs wants messages under way to have packet identifiers of their own.
func distinctIDs(t *T) {
	topic := t.topic("x")
	s := t.subscriber(topic, 2)
	p := t.connect()
	p.needsQoS(2)
	const n = 15 // each QoS; below every server's window that we know
	seen := map[uint16]bool{}
	for i := range n {
		p.publish(topic, fmt.Sprint(i), byte(1+i%2))
	}
	for range n {
		q := s.next("a message")
		m, ok := q.Body.(*mqtt.Publish)
		t.check(ok && m.QoS > 0, "a message", q.words(s.v))
		t.check(m.PacketID != 0 && !seen[m.PacketID], "a packet identifier that is not in use", q.words(s.v))
		seen[m.PacketID] = true
	}
}

// asSent wants messages to come as they were published: topic, payload, QoS, no DUP.
func asSent(qos byte) func(*T) {
	return func(t *T) {
		topic := t.topic("x")
		s := t.subscriber(topic, 2)
		p := t.connect()
		p.needsQoS(qos)
		for _, payload := range []string{"m", "", "\x00\xFF\x00"} {
			p.publish(topic, payload, qos)
			m := s.take(payload)
			t.check(m.QoS == qos, fmt.Sprintf("QoS %d", qos), fmt.Sprintf("QoS %d", m.QoS))
			t.check(!m.Dup, "DUP 0", "DUP 1")
			t.check(string(m.Topic) == topic, topic, string(m.Topic))
		}
	}
}

// dupOwn wants DUP of a message that comes in not to go out.
func dupOwn(t *T) {
	topic := t.topic("x")
	s := t.subscriber(topic, 2)
	p := t.connect()
	for qos := byte(1); qos < 3; qos++ {
		p.needsQoS(qos)
		p.publish(topic, "m", qos, dup)
		m := s.take("m")
		t.check(!m.Dup, "DUP 0", "DUP 1")
	}
}

// again wants what was not acknowledged sent again on the next connection, with its packet
// identifier, in order, with DUP, and not before.
func again(t *T) {
	for qos := byte(1); qos < 3; qos++ {
		t.each(fmt.Sprintf("QoS %d", qos), func(t *T) {
			topic, id := t.topic("x"), t.clientID()
			s := t.subscriber(topic, 2, as(id), durable)
			p := t.connect()
			p.needsQoS(qos)
			var first []*mqtt.Publish
			for i := range 4 {
				p.publish(topic, fmt.Sprint(i), qos)
				first = append(first, s.message(fmt.Sprint(i)))
			}
			s.quiet()
			s.drop()
			s = t.connect(as(id), durable)
			s.present(true)
			for i, m := range first {
				q := s.message(fmt.Sprint(i))
				t.check(q.PacketID == m.PacketID, fmt.Sprintf("packet identifier %d as before", m.PacketID), fmt.Sprint(q.PacketID))
				t.check(q.QoS == qos, fmt.Sprintf("QoS %d as before", qos), fmt.Sprint(q.QoS))
				t.check(q.Dup, "DUP 1", "DUP 0")
			}
			s.quiet()
		})
	}
}

// ackedNotAgain wants what was acknowledged not to be sent again. The client leaves in good
// order: where the network fails a server may not have got to the acknowledgement.
func ackedNotAgain(t *T) {
	topic, id := t.topic("x"), t.clientID()
	s := t.subscriber(topic, 2, as(id), durable)
	p := t.connect()
	p.publish(topic, "one", 1)
	s.take("one")
	p.publish(topic, "two", 1)
	m := s.message("two")
	s.quiet()
	s.leave()
	s = t.connect(as(id), durable)
	q := s.message("two")
	t.check(q.PacketID == m.PacketID, "its packet identifier", fmt.Sprint(q.PacketID))
	s.settle(q)
	s.quiet()
}

// refusedNotAgain wants what was refused by PUBACK or PUBREC not to be sent again.
func refusedNotAgain(t *T) {
	topic, id := t.topic("x"), t.clientID()
	s := t.subscriber(topic, 2, as(id), durable)
	p := t.connect()
	p.needsQoS(2)
	p.publish(topic, "one", 1)
	s.confirm(mqtt.PUBACK, s.message("one").PacketID, mqtt.UnspecifiedError)
	p.publish(topic, "two", 2)
	s.confirm(mqtt.PUBREC, s.message("two").PacketID, mqtt.UnspecifiedError)
	s.quiet() // no PUBREL either
	s.leave()
	s = t.connect(as(id), durable)
	s.present(true)
	s.quiet()
}

// newAfterAck wants a packet identifier that was acknowledged to be free again.
func newAfterAck(t *T) {
	topic := t.topic("x")
	s := t.subscriber(topic, 1)
	p := t.connect()
	for _, changes := range [][]change{{withID(7)}, {withID(7), dup}} {
		p.publication(topic, "m", 1, changes...)
		p.acknowledged(mqtt.PUBACK, 7)
		s.take("m")
	}
}

// once wants a QoS 2 publish that is repeated before PUBREL delivered once. Before MQTT 5 a
// client may repeat itself on the same connection.
func once(t *T) {
	topic := t.topic("x")
	s := t.subscriber(topic, 2)
	p := t.connect()
	p.needsQoS(2)
	p.publication(topic, "m", 2, withID(7))
	p.acknowledged(mqtt.PUBREC, 7)
	for range 2 {
		p.publication(topic, "m", 2, withID(7), dup)
		p.acknowledged(mqtt.PUBREC, 7)
	}
	p.release(7)
	p.publish(topic, "end", 2, withID(8))
	s.take("m")
	s.take("end")
}

// onceLater is once over three connections.
func onceLater(t *T) {
	topic, id := t.topic("x"), t.clientID()
	s := t.subscriber(topic, 2)
	p := t.connect(as(id), durable)
	p.needsQoS(2)
	p.publication(topic, "m", 2, withID(7))
	p.acknowledged(mqtt.PUBREC, 7)
	for range 2 {
		p.drop()
		p = t.connect(as(id), durable)
		p.present(true)
		p.publication(topic, "m", 2, withID(7), dup)
		p.acknowledged(mqtt.PUBREC, 7)
	}
	p.release(7)
	p.publish(topic, "end", 2, withID(8))
	s.take("m")
	s.take("end")
}

// newAfterComp wants a packet identifier to be free again after PUBCOMP.
func newAfterComp(t *T) {
	topic := t.topic("x")
	s := t.subscriber(topic, 2)
	p := t.connect()
	p.needsQoS(2)
	for range 2 {
		p.publish(topic, "m", 2, withID(7))
		s.take("m")
	}
}

// newAfterRefusal wants a packet identifier to be free again after a PUBREC that refused.
func newAfterRefusal(t *T) {
	p := t.connect()
	p.needsQoS(2)
	r := p.publish("$SYS/conform/"+t.clientID(), "m", 2, withID(7))
	if !r.Failed() {
		t.skip("the server refuses no publish that we know of")
	}
	topic := t.topic("x")
	s := t.subscriber(topic, 2)
	p.publish(topic, "m", 2, withID(7))
	s.take("m")
}

// relAnswered wants PUBREL answered, of a packet identifier that is not known too.
func relAnswered(t *T) {
	p := t.connect()
	p.needsQoS(2)
	p.publish(t.topic("x"), "m", 2, withID(7))
	ack := p.release(4242)
	if t.v == mqtt.V5 && ack.Reason != mqtt.PacketIDNotFound {
		t.vary("PUBCOMP with 0x92 for a packet identifier that is not known", fmt.Sprintf("0x%02X (%s)", byte(ack.Reason), ack.Reason))
	}
}

// recAnswered wants PUBREC answered by PUBREL with its packet identifier.
func recAnswered(t *T) {
	topic := t.topic("x")
	s := t.subscriber(topic, 2)
	p := t.connect()
	p.needsQoS(2)
	p.publish(topic, "m", 2)
	m := s.message("m")
	s.confirm(mqtt.PUBREC, m.PacketID, mqtt.Success)
	rel := s.acknowledged(mqtt.PUBREL, m.PacketID)
	t.check(rel.Reason == mqtt.Success, "PUBREL with success", rel.Reason.String())
	s.quiet()
	s.confirm(mqtt.PUBCOMP, m.PacketID, mqtt.Success)
	s.quiet()
}

// relAgain wants a PUBREL that was not answered sent again on the next connection, and not
// the message.
func relAgain(t *T) {
	topic, id := t.topic("x"), t.clientID()
	s := t.subscriber(topic, 2, as(id), durable)
	p := t.connect()
	p.needsQoS(2)
	p.publish(topic, "m", 2)
	m := s.message("m")
	s.confirm(mqtt.PUBREC, m.PacketID, mqtt.Success)
	s.acknowledged(mqtt.PUBREL, m.PacketID)
	s.drop()
	s = t.connect(as(id), durable)
	s.present(true)
	q := s.expect(mqtt.PUBREL)
	t.check(q.Body.(*mqtt.Ack).PacketID == m.PacketID, fmt.Sprintf("PUBREL for packet %d", m.PacketID), q.words(s.v))
	s.confirm(mqtt.PUBCOMP, m.PacketID, mqtt.Success)
	s.quiet()
}

// inOrder wants the messages of one client to one topic in their order.
func inOrder(t *T) {
	for qos := range byte(3) {
		t.each(fmt.Sprintf("QoS %d", qos), func(t *T) {
			topic := t.topic("x")
			s := t.subscriber(topic, 2)
			p := t.connect()
			p.needsQoS(qos)
			var sent []mqtt.Publish
			for i := range 15 {
				sent = append(sent, p.publication(topic, fmt.Sprint(i), qos))
			}
			for _, m := range sent {
				if qos == 2 { // a server may hold a message back until PUBREL
					p.acknowledged(mqtt.PUBREC, m.PacketID)
					p.confirm(mqtt.PUBREL, m.PacketID, mqtt.Success)
				}
			}
			for i := range 15 {
				s.take(fmt.Sprint(i))
			}
			s.quiet()
		})
	}
}

// acksInOrder wants acknowledgements in the order of what they acknowledge.
func acksInOrder(qos byte) func(*T) {
	return func(t *T) {
		p := t.connect()
		p.needsQoS(qos)
		topic := t.topic("x")
		var all [][]byte
		for id := uint16(1); id <= 10; id++ {
			m := mqtt.Publish{Topic: []byte(topic), Payload: []byte("m"), QoS: qos, PacketID: id}
			all = append(all, m.Append(nil, t.v))
		}
		p.send(all...)
		typ := mqtt.PUBACK
		if qos == 2 {
			typ = mqtt.PUBREC
		}
		for id := uint16(1); id <= 10; id++ {
			q := p.expect(typ)
			t.check(q.Body.(*mqtt.Ack).PacketID == id, fmt.Sprintf("%s for packet %d", typ, id), q.words(t.v))
		}
	}
}

// relsInOrder wants PUBREL in the order of the PUBRECs.
func relsInOrder(t *T) {
	topic := t.topic("x")
	s := t.subscriber(topic, 2)
	p := t.connect()
	p.needsQoS(2)
	var recs [][]byte
	var ids []uint16
	for i := range 8 {
		p.publish(topic, fmt.Sprint(i), 2)
		m := s.message(fmt.Sprint(i))
		rec := mqtt.Ack{Type: mqtt.PUBREC, PacketID: m.PacketID}
		recs, ids = append(recs, rec.Append(nil, t.v)), append(ids, m.PacketID)
	}
	s.send(recs...)
	for _, id := range ids {
		q := s.expect(mqtt.PUBREL)
		t.check(q.Body.(*mqtt.Ack).PacketID == id, fmt.Sprintf("PUBREL for packet %d", id), q.words(t.v))
	}
}

// lowerQoS wants messages at the lower of the two QoS.
func lowerQoS(t *T) {
	p := t.connect()
	p.needsQoS(2)
	for published := range byte(3) {
		for granted := range byte(3) {
			topic := t.topic(fmt.Sprintf("%d/%d", published, granted))
			s := t.connect()
			r := s.subscribe(nil, at(topic, granted))[0]
			t.check(!r.Failed(), "a subscription", r.String())
			p.publish(topic, "m", published)
			m := s.take("m")
			want := min(published, byte(r))
			t.check(m.QoS == want, fmt.Sprintf("QoS %d: published with %d, granted %d", want, published, byte(r)), fmt.Sprintf("QoS %d", m.QoS))
		}
	}
}

// overlap wants a client whose subscriptions overlap to have a message at the highest QoS.
func overlap(t *T) {
	topic := t.topic("a/b")
	s := t.connect()
	s.needs(mqtt.WildcardAvailable, "wildcard subscriptions")
	s.subscribed(nil, at(t.topic("a/+"), 0), at(t.topic("a/#"), 2), at(topic, 1))
	p := t.connect()
	p.needsQoS(2)
	p.publish(topic, "m", 2)
	highest := byte(0)
	s.copies("m", func(m *mqtt.Publish) { highest = max(highest, m.QoS) })
	t.check(highest == 2, "QoS 2, the highest of the subscriptions that match", fmt.Sprintf("QoS %d", highest))
}

// copies takes all copies of a message.
func (c *conn) copies(payload string, f func(*mqtt.Publish)) {
	f(c.take(payload))
	c.send(mqtt.AppendPingreq(nil))
	for {
		p := c.next("PINGRESP, or another copy")
		if p.Type == mqtt.PINGRESP {
			return
		}
		m, ok := p.Body.(*mqtt.Publish)
		c.t.check(ok && string(m.Payload) == payload, "PINGRESP, or another copy", p.words(c.v))
		f(m)
		c.settle(m)
	}
}

// ---- MQTT 5

// expiredIn wants a QoS 2 publish to go on to its end though the message is over.
func expiredIn(t *T) {
	p := t.connect()
	p.needsQoS(2)
	m := p.publication(t.topic("x"), "m", 2, with(mqtt.Properties(nil).Uint32(mqtt.MessageExpiry, 1)))
	p.acknowledged(mqtt.PUBREC, m.PacketID)
	t.pass(2 * time.Second)
	ack := p.release(m.PacketID)
	t.check(ack.Reason == mqtt.Success, "PUBCOMP with success", ack.Reason.String())
}

// expiredOut wants a message that was sent once to be sent again though it is over.
func expiredOut(t *T) {
	topic, id := t.topic("x"), t.clientID()
	s := t.subscriber(topic, 2, as(id), durable)
	p := t.connect()
	p.needsQoS(2)
	p.publish(topic, "m", 2, with(mqtt.Properties(nil).Uint32(mqtt.MessageExpiry, soon)))
	m := s.message("m")
	s.drop()
	t.pass(soonOver)
	s = t.connect(as(id), durable)
	s.present(true)
	q := s.message("m")
	t.check(q.PacketID == m.PacketID, fmt.Sprintf("packet identifier %d as before", m.PacketID), fmt.Sprint(q.PacketID))
	s.settle(q)
}

// windowOpens wants as many messages at once as Receive Maximum says, and no more.
func windowOpens(t *T) {
	for _, room := range []uint16{1, 2, 5} {
		t.each(fmt.Sprintf("receive maximum %d", room), func(t *T) {
			topic := t.topic("x")
			s := t.subscriber(topic, 1, num16(mqtt.ReceiveMaximum, room))
			p := t.connect()
			for i := range 7 {
				p.publish(topic, fmt.Sprint(i), 1)
			}
			for i := range room {
				s.message(fmt.Sprint(i))
			}
			s.quiet()
		})
	}
}

// windowFull wants everything but messages answered while no more of those may be sent.
func windowFull(t *T) {
	topic := t.topic("x")
	s := t.subscriber(topic, 1, num16(mqtt.ReceiveMaximum, 2))
	p := t.connect()
	for i := range 4 {
		p.publish(topic, fmt.Sprint(i), 1)
	}
	s.message("0")
	s.message("1")
	s.quiet()
	s.subscribed(nil, at(t.topic("other"), 0))
	s.unsubscribe(t.topic("other"))
	s.publish(t.topic("other"), "m", 1)
	s.publish(t.topic("other"), "m", 2)
	s.quiet()
}

// window wants no more messages under way than Receive Maximum, whatever is acknowledged,
// and all of them in the end.
func window(t *T) {
	for qos := byte(1); qos < 3; qos++ {
		t.each(fmt.Sprintf("QoS %d", qos), func(t *T) {
			topic := t.topic("x")
			s := t.subscriber(topic, 2, num16(mqtt.ReceiveMaximum, 2))
			p := t.connect()
			p.needsQoS(qos)
			for i := range 4 {
				p.publish(topic, fmt.Sprint(i), qos)
			}
			first, second := s.message("0"), s.message("1")
			s.quiet()
			s.settle(first)
			third := s.message("2")
			s.quiet()
			s.settle(second)
			s.settle(s.message("3"))
			s.settle(third)
			s.quiet()
		})
	}
	t.each("PUBREC makes no room", func(t *T) {
		topic := t.topic("x")
		s := t.subscriber(topic, 2, num16(mqtt.ReceiveMaximum, 1))
		p := t.connect()
		p.needsQoS(2)
		p.publish(topic, "one", 2)
		p.publish(topic, "two", 2)
		m := s.message("one")
		s.confirm(mqtt.PUBREC, m.PacketID, mqtt.Success)
		s.acknowledged(mqtt.PUBREL, m.PacketID)
		s.quiet()
		s.confirm(mqtt.PUBCOMP, m.PacketID, mqtt.Success)
		s.take("two")
	})
}

// windowRefused wants a PUBREC that refuses to make room.
func windowRefused(t *T) {
	topic := t.topic("x")
	s := t.subscriber(topic, 2, num16(mqtt.ReceiveMaximum, 1))
	p := t.connect()
	p.needsQoS(2)
	p.publish(topic, "one", 2)
	p.publish(topic, "two", 2)
	m := s.message("one")
	s.quiet()
	s.confirm(mqtt.PUBREC, m.PacketID, mqtt.UnspecifiedError)
	s.take("two")
}

// windowIn sends more publishes at once than the server's Receive Maximum.
func windowIn(t *T) {
	p := t.connect()
	p.needsQoS(2)
	limit, ok := p.ack.Properties.Num(mqtt.ReceiveMaximum)
	if !ok || limit > 5000 {
		t.skip("the server's receive maximum is beyond 5,000")
	}
	topic := t.topic("x")
	var batch []byte
	for id := uint16(1); id <= uint16(limit); id++ {
		m := mqtt.Publish{Topic: []byte(topic), QoS: 2, PacketID: id}
		batch = m.Append(batch, t.v)
	}
	p.send(batch)
	for range limit {
		p.expect(mqtt.PUBREC)
	}
	p.quiet() // so many are allowed
	m := mqtt.Publish{Topic: []byte(topic), QoS: 2, PacketID: uint16(limit) + 1}
	p.send(m.Append(nil, t.v))
	p.ended(mqtt.ReceiveMaximumExceeded)
}
