package conformance

import (
	"bytes"
	"fmt"
	"slices"

	mqtt "github.com/robustmq/rmq/broker/mqttwire"
)

// Properties that may not be there (MQTT 5 section 2.2.2.2, and the sections of each).

// place is where a client may put properties.
type place struct {
	name  string
	first bool // of CONNECT
	bytes func(t *T, block []byte) []byte
}

func places() []place {
	ack := func(first byte) func(*T, []byte) []byte {
		return func(t *T, block []byte) []byte { return frame(first, u16(4242), []byte{0}, props(t.v, block)) }
	}
	return []place{
		{"CONNECT", true, func(t *T, block []byte) []byte { return connectBytes(t.v, 2, block, str(t.clientID())) }},
		{"will", true, func(t *T, block []byte) []byte {
			return connectBytes(t.v, 6, nil, str(t.clientID()), props(t.v, block), str(t.topic("w")), str("w"))
		}},
		{"PUBLISH", false, func(t *T, block []byte) []byte { return publishBytes(t.v, 0x30, t.topic("x"), 0, block, "m") }},
		{"PUBACK", false, ack(0x40)},
		{"PUBREC", false, ack(0x50)},
		{"PUBREL", false, ack(0x62)},
		{"PUBCOMP", false, ack(0x70)},
		{"SUBSCRIBE", false, func(t *T, block []byte) []byte { return subscribeBytes(t.v, 1, block, filter(t.topic("x"), 0)) }},
		{"UNSUBSCRIBE", false, func(t *T, block []byte) []byte {
			return frame(0xA2, u16(1), props(t.v, block), str(t.topic("x")))
		}},
		{"DISCONNECT", false, func(t *T, block []byte) []byte { return frame(0xE0, []byte{0}, props(t.v, block)) }},
	}
}

// propertyKinds are all properties: a valid value, and where a client may put them.
func propertyKinds() []struct {
	id    byte
	name  string
	value []byte
	in    []string
} {
	message := []string{"PUBLISH", "will"}
	acks := []string{"PUBACK", "PUBREC", "PUBREL", "PUBCOMP"}
	connect := []string{"CONNECT"}
	type kind = struct {
		id    byte
		name  string
		value []byte
		in    []string
	}
	return []kind{
		{0x01, "payload format indicator", []byte{0}, message},
		{0x02, "message expiry interval", u32(100), message},
		{0x03, "content type", str("t"), message},
		{0x08, "response topic", str("t"), message},
		{0x09, "correlation data", str("t"), message},
		{0x0B, "subscription identifier", []byte{1}, []string{"PUBLISH", "SUBSCRIBE"}},
		{0x11, "session expiry interval", u32(0), []string{"CONNECT", "DISCONNECT"}},
		{0x12, "assigned client identifier", str("t"), nil},
		{0x13, "server keep alive", u16(60), nil},
		{0x15, "authentication method", str("t"), connect},
		{0x16, "authentication data", str("t"), connect},
		{0x17, "request problem information", []byte{1}, connect},
		{0x18, "will delay interval", u32(0), []string{"will"}},
		{0x19, "request response information", []byte{0}, connect},
		{0x1A, "response information", str("t"), nil},
		{0x1C, "server reference", str("t"), []string{"DISCONNECT"}}, // a server's, though nothing forbids it
		{0x1F, "reason string", str("t"), append(acks, "DISCONNECT")},
		{0x21, "receive maximum", u16(10), connect},
		{0x22, "topic alias maximum", u16(10), connect},
		{0x23, "topic alias", u16(1), []string{"PUBLISH"}},
		{0x24, "maximum QoS", []byte{1}, nil},
		{0x25, "retain available", []byte{1}, nil},
		{0x26, "user property", append(str("k"), str("v")...), append(acks, "CONNECT", "will", "PUBLISH", "SUBSCRIBE", "UNSUBSCRIBE", "DISCONNECT")},
		{0x27, "maximum packet size", u32(100_000), connect},
		{0x28, "wildcard subscription available", []byte{1}, nil},
		{0x29, "subscription identifiers available", []byte{1}, nil},
		{0x2A, "shared subscription available", []byte{1}, nil},
	}
}

// bad sends a block of properties in one place, where it ends the connection.
func (t *T) bad(name string, p place, block []byte, reasons ...mqtt.Reason) {
	if p.first {
		t.refused(name, p.bytes(t, block), reasons...)
		return
	}
	t.rejected(name, p.bytes(t, block), reasons...)
}

// misplaced sends every property in every packet that may not have it.
func misplaced(t *T) {
	for _, p := range places() {
		for _, k := range propertyKinds() {
			if !slices.Contains(k.in, p.name) {
				t.bad(k.name+" in "+p.name, p, join([]byte{k.id}, k.value), mqtt.Malformed, mqtt.ProtocolError)
			}
		}
	}
}

// repeated sends every property twice that may be there once.
func repeated(t *T) {
	for _, p := range places() {
		for _, k := range propertyKinds() {
			if k.id == 0x26 || k.id == 0x0B && p.name == "PUBLISH" || !slices.Contains(k.in, p.name) {
				continue
			}
			one := join([]byte{k.id}, k.value)
			t.bad(k.name+" twice in "+p.name, p, join(one, one), mqtt.ProtocolError, mqtt.Malformed)
		}
	}
}

// unknownProperty sends properties that there are none of.
func unknownProperty(t *T) {
	for _, p := range places() {
		for _, id := range [][]byte{{0x00}, {0x04}, {0x2B}, {0x7F}, {0x80, 0x01}} {
			t.bad(fmt.Sprintf("property %x in %s", id, p.name), p, join(id, []byte{0}), mqtt.Malformed, mqtt.ProtocolError)
		}
	}
}

// everyProperty sends each where it may be, all at once.
func everyProperty(t *T) {
	for _, p := range places() {
		t.each(p.name, func(t *T) {
			var block []byte
			for _, k := range propertyKinds() {
				// Authentication is a conversation of its own; the rest a server may lack.
				if !slices.Contains(k.in, p.name) || slices.Contains([]byte{0x15, 0x16, 0x0B, 0x1C, 0x23}, k.id) {
					continue
				}
				block = append(append(block, k.id), k.value...)
			}
			if p.first {
				c := t.dial()
				c.send(p.bytes(t, block))
				c.accepted()
				return
			}
			c := t.connect()
			c.send(p.bytes(t, block))
			switch p.name {
			case "DISCONNECT":
				c.gone()
				return
			case "SUBSCRIBE":
				c.answers(mqtt.SUBACK, 1, 1)
			case "UNSUBSCRIBE":
				c.answers(mqtt.UNSUBACK, 1, 1)
			case "PUBREC":
				c.expect(mqtt.PUBREL)
			case "PUBREL":
				c.expect(mqtt.PUBCOMP)
			}
			c.quiet()
		})
	}
}

// value is a test that sends a property with a value that it may not have.
func value(where string, block []byte, reasons ...mqtt.Reason) func(*T) {
	return func(t *T) {
		for _, p := range places() {
			if p.name != where {
				continue
			}
			b := p.bytes(t, block)
			var c *conn
			if p.first {
				c = t.dial()
			} else {
				c = t.connect()
			}
			c.send(b)
			c.ended(reasons...)
		}
	}
}

func responseTopicWildcard(t *T) {
	for _, name := range []string{"a/#", "+", "a/+/b"} {
		t.rejected(fmt.Sprintf("%q", name), publishBytes(t.v, 0x32, t.topic("x"), 1, join([]byte{0x08}, str(name)), "m"),
			mqtt.ProtocolError, mqtt.Malformed, mqtt.TopicNameInvalid)
	}
}

func noTopicNoAlias(t *T) {
	c := t.connect()
	c.send(publishBytes(t.v, 0x30, "", 0, nil, "m"))
	c.ended(mqtt.ProtocolError, mqtt.Malformed, mqtt.TopicNameInvalid)
}

func subIDFromClient(t *T) {
	c := t.connect()
	c.send(publishBytes(t.v, 0x30, t.topic("x"), 0, []byte{0x0B, 1}, "m"))
	c.ended(mqtt.ProtocolError, mqtt.Malformed)
}

// sessionExpiryFromNowhere asks in DISCONNECT for a session that CONNECT did not ask for.
func sessionExpiryFromNowhere(t *T) {
	c := t.connect()
	c.send(frame(0xE0, []byte{0}, props(t.v, []byte{0x11}, u32(100))), mqtt.AppendPingreq(nil))
	p, err := c.read()
	if err != nil {
		t.check(c.over, "the end of the connection", "the connection is open still")
		t.vary("DISCONNECT with 0x82", "the end of the connection, without a reason")
		return
	}
	d, ok := p.Body.(*mqtt.Disconnect)
	t.check(ok && d.Reason.Failed(), "DISCONNECT with 0x82", p.words(t.v))
	if d.Reason != mqtt.ProtocolError {
		t.vary("DISCONNECT with 0x82", p.words(t.v))
	}
	c.closes()
}

// noCode sends an acknowledgement with a reason code that there is none of.
func noCode(typ mqtt.Type) func(*T) {
	return func(t *T) {
		first := byte(typ) << 4
		if typ == mqtt.PUBREL {
			first |= 2
		}
		c := t.connect()
		c.send(frame(first, u16(4242), []byte{0x42}))
		c.ended(mqtt.Malformed, mqtt.ProtocolError)
	}
}

func noDisconnectCode(t *T) {
	c := t.connect()
	c.send(frame(0xE0, []byte{0x42}))
	c.ended(mqtt.Malformed, mqtt.ProtocolError)
}

// formatTwo sends a payload format that is not defined. Nothing says that it ends the
// connection.
func formatTwo(t *T) {
	c := t.connect()
	c.send(publishBytes(t.v, 0x30, t.topic("x"), 0, []byte{0x01, 2}, "m"), mqtt.AppendPingreq(nil))
	p, err := c.read()
	switch d, ok := p.Body.(*mqtt.Disconnect); {
	case err != nil:
		t.check(c.over, "an answer", "nothing")
	case !ok:
		t.vary("DISCONNECT with 0x82 or 0x99", "the server goes on")
	default:
		t.check(d.Reason.Failed(), "DISCONNECT with a failure", p.words(t.v))
	}
}

// payloadBytes wants payloads kept whole, whatever looks like a packet's field in them.
func payloadBytes(t *T) {
	topic := t.topic("x")
	s := t.subscriber(topic, 0)
	p := t.connect()
	for _, payload := range [][]byte{nil, {0, 1}, {0, 7, 0, 0}, bytes.Repeat([]byte{0xAB}, 5000)} {
		p.publish(topic, string(payload), 0)
		s.message(string(payload))
	}
}
