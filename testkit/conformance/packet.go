package conformance

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	mqtt "github.com/robustmq/rmq/broker/mqttwire"
)

// packet is one packet that the server has sent, decoded: Body is a *mqtt.Connack, *mqtt.Publish,
// *mqtt.Ack, *mqtt.Suback, *mqtt.Disconnect or *mqtt.Auth, or nil.
type packet struct {
	mqtt.Frame
	Body any
	size int // bytes, with the fixed header
}

// decode decodes a packet of any type, in either direction. The slices of the result are its
// own.
func decode(v mqtt.Version, f mqtt.Frame) (body any, err error) {
	f.Body = append([]byte(nil), f.Body...)
	switch f.Type {
	case mqtt.CONNECT:
		p := new(mqtt.Connect)
		return p, p.Decode(f)
	case mqtt.CONNACK:
		p := new(mqtt.Connack)
		return p, p.Decode(v, f)
	case mqtt.PUBLISH:
		p := new(mqtt.Publish)
		return p, p.Decode(v, f)
	case mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBREL, mqtt.PUBCOMP:
		p := new(mqtt.Ack)
		return p, p.Decode(v, f)
	case mqtt.SUBSCRIBE:
		p := new(mqtt.Subscribe)
		return p, p.Decode(v, f)
	case mqtt.SUBACK, mqtt.UNSUBACK:
		p := new(mqtt.Suback)
		return p, p.Decode(v, f)
	case mqtt.UNSUBSCRIBE:
		p := new(mqtt.Unsubscribe)
		return p, p.Decode(v, f)
	case mqtt.PINGREQ, mqtt.PINGRESP:
		return nil, f.Empty()
	case mqtt.DISCONNECT:
		p := new(mqtt.Disconnect)
		return p, p.Decode(v, f)
	case mqtt.AUTH:
		p := new(mqtt.Auth)
		return p, p.Decode(f)
	}
	return nil, fmt.Errorf("packet type %d is reserved", f.Type)
}

// hexMax bounds the bytes of one packet that a report shows.
const hexMax = 96

// dump writes bytes as hex, cut where they are many.
func dump(b []byte) string {
	cut := b[:min(len(b), hexMax)]
	s := hex.EncodeToString(cut)
	if len(cut) < len(b) {
		s += fmt.Sprintf("… (%d bytes)", len(b))
	}
	return s
}

// describe says in words what a packet is.
func describe(v mqtt.Version, raw []byte) string {
	f, n, _, err := mqtt.ReadFrame(raw, v, mqtt.PacketMax)
	switch {
	case err != nil:
		return "no packet: " + err.Error()
	case n == 0:
		return "a packet's beginning"
	}
	body, err := decode(v, f)
	if err != nil {
		return f.Type.String() + ", which is wrong: " + err.Error()
	}
	return f.Type.String() + words(v, body)
}

func words(v mqtt.Version, body any) string {
	var b strings.Builder
	add := func(format string, args ...any) { fmt.Fprintf(&b, " "+format, args...) }
	reason := func(r mqtt.Reason) { add("0x%02X (%s)", byte(r), r) }
	switch p := body.(type) {
	case *mqtt.Connect:
		add("%q version %s clean %v keep alive %d", p.ClientID, p.Version, p.CleanStart, p.KeepAlive)
		if p.Will {
			add("will %q QoS %d retain %v", p.WillTopic, p.WillQoS, p.WillRetain)
		}
		properties(&b, p.Properties)
	case *mqtt.Connack:
		add("session present %v", p.SessionPresent)
		if v == mqtt.V5 {
			reason(p.Reason)
		} else {
			add("code %d", p.Code)
		}
		properties(&b, p.Properties)
	case *mqtt.Publish:
		add("%q QoS %d", p.Topic, p.QoS)
		if p.QoS > 0 {
			add("id %d", p.PacketID)
		}
		if p.Dup {
			add("DUP")
		}
		if p.Retain {
			add("RETAIN")
		}
		add("payload %q", p.Payload[:min(len(p.Payload), 32)])
		properties(&b, p.Properties)
	case *mqtt.Ack:
		add("id %d", p.PacketID)
		if v == mqtt.V5 {
			reason(p.Reason)
		}
		properties(&b, p.Properties)
	case *mqtt.Subscribe:
		add("id %d", p.PacketID)
		for _, f := range p.Filters {
			add("%q QoS %d", f.Filter, f.QoS)
		}
		properties(&b, p.Properties)
	case *mqtt.Suback:
		add("id %d", p.PacketID)
		for _, r := range p.Reasons {
			add("0x%02X", byte(r))
		}
		properties(&b, p.Properties)
	case *mqtt.Unsubscribe:
		add("id %d", p.PacketID)
		for _, f := range p.Filters {
			add("%q", f)
		}
	case *mqtt.Disconnect:
		if v == mqtt.V5 {
			reason(p.Reason)
		}
		properties(&b, p.Properties)
	case *mqtt.Auth:
		reason(p.Reason)
		properties(&b, p.Properties)
	}
	return b.String()
}

func properties(b *strings.Builder, ps mqtt.Properties) {
	for p, rest, ok := ps.Next(); ok; p, rest, ok = rest.Next() {
		switch {
		case p.ID == mqtt.UserProperty:
			fmt.Fprintf(b, " 0x26:%q=%q", p.Key, p.Value)
		case p.Value != nil:
			fmt.Fprintf(b, " 0x%02X:%q", byte(p.ID), p.Value[:min(len(p.Value), 64)])
		default:
			fmt.Fprintf(b, " 0x%02X:%d", byte(p.ID), p.Num)
		}
	}
}

// ---- bytes, for what must be wrong

// frame puts a fixed header before a body.
func frame(first byte, body ...[]byte) []byte {
	all := join(body...)
	return append(append([]byte{first}, varint(len(all))...), all...)
}

func join(parts ...[]byte) []byte {
	var all []byte
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// varint is a variable byte integer in its shortest form.
func varint(n int) []byte {
	var b []byte
	for n >= 0x80 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n))
}

// str is a string, or binary data, with its length.
func str(s string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...)
}

func u16(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }
func u32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

// props is a property block with its length: one in MQTT 5, nothing before.
func props(v mqtt.Version, block ...[]byte) []byte {
	if v != mqtt.V5 {
		return nil
	}
	all := join(block...)
	return append(varint(len(all)), all...)
}

// connectBytes is a CONNECT from its parts; the payload begins with the client identifier.
func connectBytes(v mqtt.Version, flags byte, properties []byte, payload ...[]byte) []byte {
	name := "MQTT"
	if v == mqtt.V31 {
		name = "MQIsdp"
	}
	return frame(0x10, str(name), []byte{byte(v), flags}, u16(60), props(v, properties), join(payload...))
}

func publishBytes(v mqtt.Version, first byte, topic string, id uint16, properties []byte, payload string) []byte {
	var packetID []byte
	if first&6 != 0 {
		packetID = u16(id)
	}
	return frame(first, str(topic), packetID, props(v, properties), []byte(payload))
}

func subscribeBytes(v mqtt.Version, id uint16, properties []byte, filters ...[]byte) []byte {
	return frame(0x82, u16(id), props(v, properties), join(filters...))
}

// filter is an entry of SUBSCRIBE.
func filter(topic string, options byte) []byte { return append(str(topic), options) }

func unsubscribeBytes(v mqtt.Version, id uint16, filters ...string) []byte {
	var all []byte
	for _, f := range filters {
		all = append(all, str(f)...)
	}
	return frame(0xA2, u16(id), props(v), all)
}
