package mqttwire

// Publish is a PUBLISH packet (section 3.3). Its flags are DUP, QoS (2 bits) and
// RETAIN; its body:
//
//	topic name        string; may be empty in MQTT 5 when an alias stands for it
//	packet identifier u16, QoS 1 and 2 only
//	properties        MQTT 5
//	payload           the rest
type Publish struct {
	Dup        bool
	QoS        byte
	Retain     bool
	Topic      []byte
	PacketID   uint16
	Properties Properties
	Payload    []byte
}

const (
	flagDup    = 1 << 3
	flagRetain = 1 << 0
)

// Decode reads a PUBLISH packet. Whether a topic alias is known is for the caller
// to say; an empty topic without one is refused here.
func (p *Publish) Decode(v Version, f Frame) error {
	*p = Publish{Dup: f.Flags&flagDup != 0, QoS: f.Flags >> 1 & 3, Retain: f.Flags&flagRetain != 0}
	if p.QoS == 3 {
		return malformed("PUBLISH with QoS 3") // MQTT5-3.3.1-4
	}
	if p.Dup && p.QoS == 0 {
		if v != V31 {
			return malformed("PUBLISH with DUP at QoS 0") // MQTT5-3.3.1-2
		}
		p.Dup = false
	}
	r := reader{b: f.Body}
	p.Topic = r.binary("topic name")
	if p.QoS > 0 {
		p.PacketID = r.packetID() // MQTT5-2.2.1-3
	}
	if v == V5 {
		p.Properties = r.properties(PUBLISH)
	}
	if r.err != nil {
		return r.err
	}
	p.Payload = r.b
	if len(p.Topic) == 0 && v == V5 {
		if _, alias := p.Properties.find(TopicAlias); alias {
			return nil
		}
		return protocolError("PUBLISH with neither topic name nor topic alias")
	}
	if !ValidTopic(p.Topic) {
		if !ValidString(p.Topic) {
			return malformed("topic name is not valid UTF-8") // MQTT5-3.3.2-1
		}
		return &Error{TopicNameInvalid, "topic name is empty or has wildcards"} // MQTT5-3.3.2-2
	}
	return nil
}

// Size returns the length of the packet that Append appends.
func (p *Publish) Size(v Version) int {
	n := p.remaining(v)
	return 1 + varintLen(uint32(n)) + n
}

func (p *Publish) remaining(v Version) int {
	n := 2 + len(p.Topic) + len(p.Payload)
	if p.QoS > 0 {
		n += 2
	}
	if v == V5 {
		n += p.Properties.len()
	}
	return n
}

// Append appends the packet.
func (p *Publish) Append(dst []byte, v Version) []byte {
	return append(p.AppendHead(dst, v), p.Payload...)
}

// AppendHead appends everything but the payload, for a sender that has that
// elsewhere.
func (p *Publish) AppendHead(dst []byte, v Version) []byte {
	flags := p.QoS << 1
	if p.Dup {
		flags |= flagDup
	}
	if p.Retain {
		flags |= flagRetain
	}
	dst = appendHeader(dst, PUBLISH, flags, p.remaining(v))
	dst = appendBinary(dst, p.Topic)
	if p.QoS > 0 {
		dst = appendUint16(dst, p.PacketID)
	}
	if v == V5 {
		dst = p.Properties.append(dst)
	}
	return dst
}

// Ack is a PUBACK, PUBREC, PUBREL or PUBCOMP packet (sections 3.4 to 3.7): a packet
// identifier; in MQTT 5 also a reason code, left out when it is Success and nothing
// follows, and properties, left out when there are none.
type Ack struct {
	Type       Type
	PacketID   uint16
	Reason     Reason
	Properties Properties
}

// Decode reads an acknowledgement.
func (a *Ack) Decode(v Version, f Frame) error {
	*a = Ack{Type: f.Type}
	r := reader{b: f.Body}
	a.PacketID = r.packetID()
	if v == V5 && r.err == nil && len(r.b) > 0 {
		a.Reason = Reason(r.byte("reason code"))
		if !a.Reason.AllowedIn(a.Type) { // MQTT5-3.4.2-1, 3.5.2-1, 3.6.2-1, 3.7.2-1
			return protocolError(a.Type.String() + " with " + a.Reason.String())
		}
		if len(r.b) > 0 {
			a.Properties = r.properties(a.Type)
		}
	}
	return r.end()
}

// Append appends the packet.
func (a *Ack) Append(dst []byte, v Version) []byte {
	var flags byte
	if a.Type == PUBREL {
		flags = 2
	}
	switch {
	case v != V5 || (a.Reason == Success && len(a.Properties) == 0):
		dst = append(dst, byte(a.Type)<<4|flags, 2)
		return appendUint16(dst, a.PacketID)
	case len(a.Properties) == 0:
		dst = append(dst, byte(a.Type)<<4|flags, 3)
		return append(appendUint16(dst, a.PacketID), byte(a.Reason))
	}
	dst = appendHeader(dst, a.Type, flags, 3+a.Properties.len())
	dst = append(appendUint16(dst, a.PacketID), byte(a.Reason))
	return a.Properties.append(dst)
}
