package conformance

import (
	"fmt"

	mqtt "github.com/robustmq/rmq/broker/mqttwire"
)

// Bytes that are no packet, or one that may not be sent. Before MQTT 5 the connection just
// ends; in MQTT 5 a reason is advised.

// rejected is a case: after CONNECT was accepted, b ends the connection.
func (t *T) rejected(name string, b []byte, reasons ...mqtt.Reason) {
	t.each(name, func(t *T) {
		c := t.connect()
		c.send(b)
		c.ended(reasons...)
	})
}

// refused is a case: as the first thing that is sent, b ends the connection.
func (t *T) refused(name string, b []byte, reasons ...mqtt.Reason) {
	t.each(name, func(t *T) {
		c := t.dial()
		c.send(b)
		c.ended(reasons...)
	})
}

// field is a string in a packet.
type field struct {
	name    string
	first   bool // of CONNECT
	bytes   func(s string) []byte
	reasons []mqtt.Reason
}

// stringFields are the UTF-8 strings that a client sends.
func (t *T) stringFields() []field {
	v := t.v
	m := mqtt.Malformed
	user := func(s string) []byte { return join([]byte{0x26}, str(s), str("v")) }
	fields := []field{
		{"client identifier", true, func(s string) []byte { return connectBytes(v, 2, nil, str(s)) }, []mqtt.Reason{m, mqtt.ClientIDInvalid}},
		{"will topic", true, func(s string) []byte {
			return connectBytes(v, 6, nil, str(t.clientID()), props(v), str(s), str("w"))
		}, []mqtt.Reason{m, mqtt.TopicNameInvalid}},
		{"user name", true, func(s string) []byte { return connectBytes(v, 0x82, nil, str(t.clientID()), str(s)) }, []mqtt.Reason{m, mqtt.BadCredentials}},
		{"topic name", false, func(s string) []byte { return publishBytes(v, 0x32, s, 1, nil, "p") }, []mqtt.Reason{m, mqtt.TopicNameInvalid}},
		{"topic filter of SUBSCRIBE", false, func(s string) []byte { return subscribeBytes(v, 1, nil, filter(s, 0)) }, []mqtt.Reason{m, mqtt.TopicFilterInvalid}},
		{"topic filter of UNSUBSCRIBE", false, func(s string) []byte { return unsubscribeBytes(v, 1, s) }, []mqtt.Reason{m, mqtt.TopicFilterInvalid}},
	}
	if v != mqtt.V5 {
		return fields
	}
	topic := t.topic("strings")
	message := func(id byte) func(string) []byte {
		return func(s string) []byte { return publishBytes(v, 0x32, topic, 1, join([]byte{id}, str(s)), "p") }
	}
	return append(fields,
		field{"content type", false, message(0x03), []mqtt.Reason{m}},
		field{"response topic", false, message(0x08), []mqtt.Reason{m, mqtt.ProtocolError, mqtt.TopicNameInvalid}},
		field{"user property of PUBLISH", false, func(s string) []byte { return publishBytes(v, 0x32, topic, 1, user(s), "p") }, []mqtt.Reason{m}},
		field{"user property of CONNECT", true, func(s string) []byte { return connectBytes(v, 2, user(s), str(t.clientID())) }, []mqtt.Reason{m}},
		field{"user property of the will", true, func(s string) []byte {
			return connectBytes(v, 6, nil, str(t.clientID()), props(v, user(s)), str(topic), str("w"))
		}, []mqtt.Reason{m}},
		field{"reason string of DISCONNECT", false, func(s string) []byte {
			return frame(0xE0, []byte{0}, props(v, []byte{0x1F}, str(s)))
		}, []mqtt.Reason{m}},
	)
}

// inFields sends a bad string in every field.
func (t *T) inFields(what, s string, only ...string) {
	for _, f := range t.stringFields() {
		wanted := len(only) == 0
		for _, name := range only {
			wanted = wanted || name == f.name
		}
		switch {
		case !wanted:
		case f.first:
			t.refused(f.name+", "+what, f.bytes(s), f.reasons...)
		default:
			t.rejected(f.name+", "+what, f.bytes(s), f.reasons...)
		}
	}
}

var badUTF8 = []struct{ what, s string }{
	{"a stray byte", "a\xFFb"},
	{"a surrogate", "a\xED\xA0\x80b"},
	{"an overlong NUL", "a\xC0\x80b"},
	{"a character cut short", "ab\xE2\x82"},
	{"beyond U+10FFFF", "a\xF4\x90\x80\x80b"},
}

func illFormed(t *T) {
	for _, bad := range badUTF8 {
		t.inFields(bad.what, bad.s)
	}
}

// illFormedIn is illFormed in some fields.
func illFormedIn(fields ...string) func(*T) {
	return func(t *T) {
		for _, bad := range badUTF8 {
			t.inFields(bad.what, bad.s, fields...)
		}
	}
}

func nul(t *T) { t.inFields("U+0000", "a\x00b") }

func nulInTopics(t *T) {
	t.inFields("U+0000", "a\x00b", "topic name", "topic filter of SUBSCRIBE", "topic filter of UNSUBSCRIBE")
}

// byteOrderMark wants U+FEFF kept in topics.
func byteOrderMark(t *T) {
	with, without := t.topic("\uFEFFx\uFEFF"), t.topic("x")
	marked := t.subscriber(with, 1)
	plain := t.subscriber(without, 1)
	p := t.connect()
	p.publish(with, "with", 1)
	p.publish(without, "without", 1)
	m := marked.take("with")
	t.check(string(m.Topic) == with, fmt.Sprintf("topic %q", with), fmt.Sprintf("topic %q", m.Topic))
	plain.take("without")
}

// reservedFlags sets reserved bits in the fixed header of each packet.
func reservedFlags(t *T) {
	v, m := t.v, mqtt.Malformed
	t.refused("CONNECT", append([]byte{0x11}, connectBytes(v, 2, nil, str(t.clientID()))[1:]...)) // the version stands behind the flags
	for _, p := range []struct {
		typ   mqtt.Type
		right byte
		body  []byte
	}{
		{mqtt.PUBACK, 0, u16(1)}, {mqtt.PUBREC, 0, u16(1)}, {mqtt.PUBREL, 2, u16(1)}, {mqtt.PUBCOMP, 0, u16(1)},
		{mqtt.SUBSCRIBE, 2, subscribeBytes(v, 1, nil, filter(t.topic("f"), 0))[2:]},
		{mqtt.UNSUBSCRIBE, 2, unsubscribeBytes(v, 1, t.topic("f"))[2:]},
		{mqtt.PINGREQ, 0, nil}, {mqtt.DISCONNECT, 0, nil},
	} {
		for _, bit := range []byte{1, 2, 8} {
			flags := p.right ^ bit
			t.rejected(fmt.Sprintf("%s with flags %04b", p.typ, flags), frame(byte(p.typ)<<4|flags, p.body), m)
		}
	}
	if v == mqtt.V5 {
		t.rejected("AUTH with flags 0001", []byte{0xF1, 0}, m, mqtt.ProtocolError)
	}
}

// flagsOf sets every wrong combination of the flags of one packet.
func flagsOf(typ mqtt.Type) func(*T) {
	return func(t *T) {
		body, right := u16(1), byte(2)
		switch typ {
		case mqtt.SUBSCRIBE:
			body = subscribeBytes(t.v, 1, nil, filter(t.topic("f"), 0))[2:]
		case mqtt.UNSUBSCRIBE:
			body = unsubscribeBytes(t.v, 1, t.topic("f"))[2:]
		case mqtt.DISCONNECT, mqtt.AUTH:
			body, right = nil, 0
		}
		for flags := byte(0); flags < 16; flags++ {
			if flags != right {
				t.rejected(fmt.Sprintf("flags %04b", flags), frame(byte(typ)<<4|flags, body), mqtt.Malformed, mqtt.ProtocolError)
			}
		}
	}
}

// idZero sends packet identifier 0.
func idZero(t *T) {
	v := t.v
	why := []mqtt.Reason{mqtt.ProtocolError, mqtt.Malformed}
	t.rejected("PUBLISH QoS 1", publishBytes(v, 0x32, t.topic("z"), 0, nil, "p"), why...)
	t.rejected("PUBLISH QoS 2", publishBytes(v, 0x34, t.topic("z"), 0, nil, "p"), why...)
	t.rejected("SUBSCRIBE", subscribeBytes(v, 0, nil, filter(t.topic("z"), 0)), why...)
	t.rejected("UNSUBSCRIBE", unsubscribeBytes(v, 0, t.topic("z")), why...)
}

// notFirst sends something else where CONNECT belongs.
func notFirst(t *T) {
	v := t.v
	why := []mqtt.Reason{mqtt.ProtocolError, mqtt.Malformed}
	for name, b := range map[string][]byte{
		"PINGREQ":    mqtt.AppendPingreq(nil),
		"PUBLISH":    publishBytes(v, 0x30, t.topic("x"), 0, nil, "p"),
		"SUBSCRIBE":  subscribeBytes(v, 1, nil, filter(t.topic("x"), 0)),
		"DISCONNECT": {0xE0, 0},
	} {
		t.each(name, func(t *T) {
			c := t.dial()
			c.send(b)
			for { // no answer is advised
				p, err := c.read()
				if err != nil {
					t.check(c.over, "the end of the connection", "the connection is open still")
					return
				}
				ack, ok := p.Body.(*mqtt.Connack)
				t.check(ok && ack.Reason.Failed() && v == mqtt.V5, "the end of the connection", p.words(v))
				if ack.Reason != why[0] && ack.Reason != why[1] {
					t.vary("CONNACK with "+codes(why)+", or nothing", p.words(v))
				}
			}
		})
	}
}

func connectTwice(t *T) {
	c := t.connect()
	p := t.hello(as(c.id))
	c.send(p.Append(nil))
	c.ended(mqtt.ProtocolError)
}

// protocolName sends names that are not MQTT.
func protocolName(t *T) {
	for _, name := range []string{"MQTX", "mqtt", "MQT", "MQTTT", ""} {
		t.each(fmt.Sprintf("%q", name), func(t *T) {
			t.otherVersion = true
			c := t.dial()
			c.send(frame(0x10, str(name), []byte{byte(t.v), 2}, u16(60), props(t.v), str(t.clientID())))
			c.unwelcome()
		})
	}
}

// unwelcome wants the end of the connection, or first CONNACK that says that the protocol is
// not spoken, in whatever version's form.
func (c *conn) unwelcome() {
	t := c.t
	want := "the end of the connection, or before it CONNACK that says: unsupported protocol version"
	p, err := c.read()
	if c.over {
		return
	}
	t.check(err == nil, want, "the connection is open still")
	said := p.Type == mqtt.CONNACK && len(p.Frame.Body) >= 2 &&
		(p.Frame.Body[1] == byte(mqtt.UnsupportedVersion) || p.Frame.Body[1] == byte(mqtt.RefusedVersion))
	t.check(said, want, describe(c.v, frame(byte(p.Type)<<4|p.Flags, p.Frame.Body)))
	_, err = c.read()
	t.check(err != nil && c.over, want, "the connection is open still")
}

func protocolLevel(t *T) {
	for _, level := range []byte{0, 1, 6, 0x7F, 0xFF} {
		t.each(fmt.Sprintf("level %d", level), func(t *T) {
			t.otherVersion = true
			c := t.dial()
			c.send(frame(0x10, str("MQTT"), []byte{level, 2}, u16(60), props(t.v), str(t.clientID())))
			if t.v == mqtt.V5 {
				c.unwelcome()
				return
			}
			p := c.expect(mqtt.CONNACK)
			code := byte(0)
			if len(p.Frame.Body) >= 2 {
				code = p.Frame.Body[1]
			}
			// To a client of a later version than its own a server of MQTT 5 says so in MQTT 5's form.
			later := level > byte(mqtt.V5) && code == byte(mqtt.UnsupportedVersion)
			t.check(code == byte(mqtt.RefusedVersion) || later, "CONNACK with code 1", describe(c.v, frame(0x20, p.Frame.Body)))
			_, _ = c.read()
			t.check(c.over, "the end of the connection", "the connection is open still")
		})
	}
}

func reservedConnectFlag(t *T) {
	c := t.dial()
	c.send(connectBytes(t.v, 3, nil, str(t.clientID())))
	c.ended(mqtt.Malformed)
}

// connectShape sends CONNECT packets whose payload is not what the flags say.
func connectShape(t *T) {
	id, topic := str(t.clientID()), str(t.topic("w"))
	v := t.v
	m := mqtt.Malformed
	t.refused("an empty body", []byte{0x10, 0}) // of no version
	for _, s := range []struct {
		name  string
		bytes []byte
	}{
		{"no flags", frame(0x10, str("MQTT"), []byte{byte(v)})},
		{"no keep alive", frame(0x10, str("MQTT"), []byte{byte(v), 2})},
		{"no client identifier", connectBytes(v, 2, nil)},
		{"a client identifier cut short", connectBytes(v, 2, nil, []byte{0, 9, 'a'})},
		{"a will without its fields", connectBytes(v, 6, nil, id)},
		{"a will without its payload", connectBytes(v, 6, nil, id, props(v), topic)},
		{"will fields without a will", connectBytes(v, 2, nil, id, props(v), topic, str("w"))},
		{"no user name where the flag is set", connectBytes(v, 0x82, nil, id)},
		{"a user name where the flag is not set", connectBytes(v, 2, nil, id, str("u"))},
		{"no password where the flag is set", connectBytes(v, 0xC2, nil, id, str("u"))},
		{"a password where the flag is not set", connectBytes(v, 0x82, nil, id, str("u"), str("p"))},
		{"bytes after the payload", connectBytes(v, 2, nil, id, []byte{0})},
	} {
		t.refused(s.name, s.bytes, m)
	}
}

// connectWith is one CONNECT that must be refused as malformed.
func connectWith(flags byte, payload ...string) func(*T) {
	return func(t *T) {
		parts := [][]byte{str(t.clientID())}
		for _, p := range payload {
			if p == willMark {
				parts = append(parts, props(t.v), str(t.topic("w")), str("w"))
				continue
			}
			parts = append(parts, str(p))
		}
		c := t.dial()
		c.send(connectBytes(t.v, flags, nil, parts...))
		c.ended(mqtt.Malformed)
	}
}

// willMark stands for the fields of a will in connectWith.
const willMark = "\x00will"

func willFlags(flags ...byte) func(*T) {
	return func(t *T) {
		for _, f := range flags {
			t.refused(fmt.Sprintf("connect flags 0x%02X", f), connectBytes(t.v, f, nil, str(t.clientID())), mqtt.Malformed)
		}
	}
}

func noClientID(t *T) {
	c := t.dial()
	c.send(connectBytes(t.v, 2, nil))
	c.ended(mqtt.Malformed)
}

func publishQoS3(t *T) {
	for _, first := range []byte{0x36, 0x3E} {
		t.rejected(fmt.Sprintf("first byte 0x%02X", first), publishBytes(t.v, first, t.topic("x"), 1, nil, "p"), mqtt.Malformed)
	}
}

// wildcardTopic publishes to topic names with wildcards.
func wildcardTopic(t *T) {
	for _, name := range []string{"#", "+", "a/#", "a/+/b", "a+", "a#b"} {
		for _, first := range []byte{0x30, 0x32} {
			t.rejected(fmt.Sprintf("%q QoS %d", name, first>>1&3), publishBytes(t.v, first, name, 1, nil, "p"),
				mqtt.TopicNameInvalid, mqtt.Malformed, mqtt.ProtocolError)
		}
	}
}

func noFilters(typ mqtt.Type) func(*T) {
	return func(t *T) {
		c := t.connect()
		if typ == mqtt.SUBSCRIBE {
			c.send(subscribeBytes(t.v, 1, nil))
		} else {
			c.send(unsubscribeBytes(t.v, 1))
		}
		c.ended(mqtt.ProtocolError, mqtt.Malformed)
	}
}

// badFilter wants filters to be refused: by their code, or with the connection.
func badFilter(filters ...string) func(*T) {
	return func(t *T) {
		for _, f := range filters {
			t.each(fmt.Sprintf("%q", f), func(t *T) {
				c := t.connect()
				c.send(subscribeBytes(t.v, 1, nil, filter(f, 0)))
				p, err := c.read()
				want := "SUBACK with a failure, or the end of the connection"
				switch b := p.Body.(type) {
				case *mqtt.Suback:
					t.check(len(b.Reasons) == 1 && b.Reasons[0].Failed(), want, p.words(c.v))
				case *mqtt.Disconnect:
					t.check(b.Reason.Failed() && t.v == mqtt.V5, want, p.words(c.v))
					_, _ = c.read()
					t.check(c.over, want, "the connection is open still")
				default:
					if err == nil {
						t.fail(want, p.words(c.v))
					}
					t.check(c.over, want, "the connection is open still")
				}
			})
		}
	}
}

func emptyNames(t *T) {
	t.rejected("topic name", publishBytes(t.v, 0x32, "", 1, nil, "p"), mqtt.ProtocolError, mqtt.Malformed, mqtt.TopicNameInvalid)
	badFilter("")(t)
	t.refused("will topic", connectBytes(t.v, 6, nil, str(t.clientID()), props(t.v), str(""), str("w")),
		mqtt.Malformed, mqtt.TopicNameInvalid, mqtt.ProtocolError)
}

// options sends subscription options that are not allowed.
func options(t *T) {
	reserved, qos3 := []byte{0x04, 0x08, 0x10, 0x20, 0x40, 0x80}, mqtt.Malformed
	if t.v == mqtt.V5 {
		reserved, qos3 = []byte{0x40, 0x80, 0xC0}, mqtt.ProtocolError
	}
	for _, b := range reserved {
		t.rejected(fmt.Sprintf("options 0x%02X", b), subscribeBytes(t.v, 1, nil, filter(t.topic("o"), b)), mqtt.Malformed)
	}
	t.rejected("QoS 3", subscribeBytes(t.v, 1, nil, filter(t.topic("o"), 3)), qos3, mqtt.Malformed)
	if t.v == mqtt.V5 {
		t.rejected("retain handling 3", subscribeBytes(t.v, 1, nil, filter(t.topic("o"), 0x30)), mqtt.ProtocolError, mqtt.Malformed)
	}
}

// fromServerOnly sends packets that only a server may.
func fromServerOnly(t *T) {
	why := []mqtt.Reason{mqtt.ProtocolError, mqtt.Malformed}
	v := t.v
	t.rejected("CONNACK", frame(0x20, []byte{0, 0}, props(v)), why...)
	t.rejected("SUBACK", frame(0x90, u16(1), props(v), []byte{0}), why...)
	body := [][]byte{u16(1), props(v)}
	if v == mqtt.V5 {
		body = append(body, []byte{0})
	}
	t.rejected("UNSUBACK", frame(0xB0, body...), why...)
	t.rejected("PINGRESP", []byte{0xD0, 0}, why...)
}

func reservedTypes(t *T) {
	t.rejected("type 0", []byte{0x00, 0}, mqtt.Malformed, mqtt.ProtocolError)
	if t.v != mqtt.V5 {
		t.rejected("type 15", []byte{0xF0, 0})
	}
}

// lengths sends remaining lengths that are none.
func lengths(t *T) {
	t.each("five bytes", func(t *T) {
		c := t.connect()
		c.send([]byte{0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01})
		c.endedCut(mqtt.Malformed)
	})
	t.each("five bytes, of CONNECT", func(t *T) {
		c := t.dial()
		c.send([]byte{0x10, 0x80, 0x80, 0x80, 0x80, 0x01})
		c.endedCut()
	})
}

// cutShort sends packets that end inside a field, and some that go on behind the last.
func cutShort(t *T) {
	v, m, topic := t.v, mqtt.Malformed, t.topic("x")
	for _, s := range []struct {
		name  string
		bytes []byte
	}{
		{"PUBLISH without a topic", []byte{0x30, 0}},
		{"PUBLISH with a topic cut short", frame(0x30, []byte{0, 9, 'a'})},
		{"PUBLISH QoS 1 without a packet identifier", frame(0x32, str(topic))},
		{"PUBLISH QoS 1 with half a packet identifier", frame(0x32, str(topic), []byte{0})},
		{"PUBACK without a packet identifier", []byte{0x40, 0}},
		{"PUBREC with half a packet identifier", []byte{0x50, 1, 0}},
		{"PUBREL without a packet identifier", []byte{0x62, 0}},
		{"PUBCOMP with half a packet identifier", []byte{0x70, 1, 0}},
		{"SUBSCRIBE without options", subscribeBytes(v, 1, nil, str(topic))},
		{"SUBSCRIBE with a filter cut short", subscribeBytes(v, 1, nil, []byte{0, 9, 'a'})},
		{"SUBSCRIBE without a packet identifier", []byte{0x82, 0}},
		{"UNSUBSCRIBE with a filter cut short", frame(0xA2, u16(1), props(v), []byte{0, 9, 'a'})},
		{"UNSUBSCRIBE without a packet identifier", []byte{0xA2, 0}},
		{"PINGREQ with a body", []byte{0xC0, 1, 0}},
	} {
		t.rejected(s.name, s.bytes, m, mqtt.ProtocolError)
	}
	if v != mqtt.V5 {
		t.rejected("PUBACK with more than a packet identifier", frame(0x40, u16(1), []byte{0}))
		t.rejected("DISCONNECT with a body", []byte{0xE0, 1, 0})
		return
	}
	for _, s := range []struct {
		name  string
		bytes []byte
	}{
		{"PUBLISH without properties", frame(0x30, str(topic))},
		{"PUBLISH with properties cut short", frame(0x30, str(topic), []byte{9, 1})},
		{"PUBLISH with a property cut short", frame(0x30, str(topic), []byte{2, 0x02, 0}, []byte("payload"))},
		{"PUBLISH with a string beyond the properties", frame(0x30, str(topic), []byte{4, 0x03, 0, 5, 'a'}, []byte("payload"))},
		{"SUBSCRIBE without properties", frame(0x82, u16(1))},
		{"PUBACK with properties cut short", frame(0x40, u16(1), []byte{0, 5})},
		{"PUBACK with bytes behind its properties", frame(0x40, u16(1), []byte{0, 0, 0})},
		{"DISCONNECT with properties cut short", frame(0xE0, []byte{0, 5})},
	} {
		t.rejected(s.name, s.bytes, m, mqtt.ProtocolError)
	}
}

// zeroDup publishes at QoS 0 with DUP. Nothing says what a server does about it.
func zeroDup(t *T) {
	topic := t.topic("x")
	s := t.subscriber(topic, 0)
	p := t.connect()
	p.publish(topic, "m", 0)
	m := s.message("m")
	t.check(!m.Dup, "DUP 0 at QoS 0", "DUP 1")
	p.send(publishBytes(t.v, 0x38, topic, 0, nil, "dup"), mqtt.AppendPingreq(nil))
	for {
		q, err := p.read()
		if err != nil {
			t.check(p.over, "an answer", "nothing")
			return
		}
		if q.Type == mqtt.PINGRESP {
			t.vary("the end of the connection after PUBLISH with DUP at QoS 0", "the server goes on")
			return
		}
	}
}
