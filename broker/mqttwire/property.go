package mqttwire

import (
	"encoding/binary"
	"fmt"
)

// PropertyID names a property (section 2.2.2.2).
type PropertyID byte

const (
	PayloadFormat        PropertyID = 0x01
	MessageExpiry        PropertyID = 0x02
	ContentType          PropertyID = 0x03
	ResponseTopic        PropertyID = 0x08
	CorrelationData      PropertyID = 0x09
	SubscriptionID       PropertyID = 0x0B
	SessionExpiry        PropertyID = 0x11
	AssignedClientID     PropertyID = 0x12
	ServerKeepAlive      PropertyID = 0x13
	AuthMethod           PropertyID = 0x15
	AuthData             PropertyID = 0x16
	RequestProblemInfo   PropertyID = 0x17
	WillDelay            PropertyID = 0x18
	RequestResponseInfo  PropertyID = 0x19
	ResponseInformation  PropertyID = 0x1A
	ServerReference      PropertyID = 0x1C
	ReasonString         PropertyID = 0x1F
	ReceiveMaximum       PropertyID = 0x21
	TopicAliasMaximum    PropertyID = 0x22
	TopicAlias           PropertyID = 0x23
	MaximumQoS           PropertyID = 0x24
	RetainAvailable      PropertyID = 0x25
	UserProperty         PropertyID = 0x26
	MaximumPacketSize    PropertyID = 0x27
	WildcardAvailable    PropertyID = 0x28
	SubscriptionIDsAvail PropertyID = 0x29
	SharedAvailable      PropertyID = 0x2A
)

// String is the property's name in the specification, in lower case.
func (id PropertyID) String() string {
	if int(id) < len(rules) && rules[id].kind != none {
		return rules[id].name
	}
	return fmt.Sprintf("property 0x%02X", byte(id))
}

// kind is how a property's value is encoded.
type kind byte

const (
	none kind = iota // no such property
	kindByte
	kindUint16
	kindUint32
	kindVarint
	kindString
	kindBinary
	kindPair
)

// rule is what may be said of one property.
type rule struct {
	name  string
	kind  kind
	in    uint16 // a bit for each packet type that may carry it
	many  bool   // more than once
	check func(name string, p Property) error
}

var rules = func() (t [0x2B]rule) {
	in := func(types ...Type) (m uint16) {
		for _, t := range types {
			m |= 1 << t
		}
		return m
	}
	flag := func(name string, p Property) error {
		if p.Num > 1 {
			return protocolError(name + " is neither 0 nor 1")
		}
		return nil
	}
	positive := func(name string, p Property) error {
		if p.Num == 0 {
			return protocolError(name + " is 0")
		}
		return nil
	}
	message := in(PUBLISH, will)
	acks := in(PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK)
	auth := in(CONNECT, CONNACK, AUTH)
	t[PayloadFormat] = rule{"payload format indicator", kindByte, message, false, flag}
	t[MessageExpiry] = rule{"message expiry interval", kindUint32, message, false, nil}
	t[ContentType] = rule{"content type", kindString, message, false, nil}
	t[ResponseTopic] = rule{"response topic", kindString, message, false, func(_ string, p Property) error {
		if !ValidTopic(p.Value) { // MQTT5-3.3.2-14
			return protocolError("response topic is empty or has wildcards")
		}
		return nil
	}}
	t[CorrelationData] = rule{"correlation data", kindBinary, message, false, nil}
	// More than one only in PUBLISH; SUBSCRIBE's decoder refuses a second.
	t[SubscriptionID] = rule{"subscription identifier", kindVarint, in(PUBLISH, SUBSCRIBE), true, positive}
	t[SessionExpiry] = rule{"session expiry interval", kindUint32, in(CONNECT, CONNACK, DISCONNECT), false, nil}
	t[AssignedClientID] = rule{"assigned client identifier", kindString, in(CONNACK), false, nil}
	t[ServerKeepAlive] = rule{"server keep alive", kindUint16, in(CONNACK), false, nil}
	t[AuthMethod] = rule{"authentication method", kindString, auth, false, nil}
	t[AuthData] = rule{"authentication data", kindBinary, auth, false, nil}
	t[RequestProblemInfo] = rule{"request problem information", kindByte, in(CONNECT), false, flag}
	t[WillDelay] = rule{"will delay interval", kindUint32, in(will), false, nil}
	t[RequestResponseInfo] = rule{"request response information", kindByte, in(CONNECT), false, flag}
	t[ResponseInformation] = rule{"response information", kindString, in(CONNACK), false, nil}
	t[ServerReference] = rule{"server reference", kindString, in(CONNACK, DISCONNECT), false, nil}
	t[ReasonString] = rule{"reason string", kindString, acks | in(CONNACK, DISCONNECT, AUTH), false, nil}
	t[ReceiveMaximum] = rule{"receive maximum", kindUint16, in(CONNECT, CONNACK), false, positive}
	t[TopicAliasMaximum] = rule{"topic alias maximum", kindUint16, in(CONNECT, CONNACK), false, nil}
	t[TopicAlias] = rule{"topic alias", kindUint16, in(PUBLISH), false, func(_ string, p Property) error {
		if p.Num == 0 { // MQTT5-3.3.2-8
			return &Error{TopicAliasInvalid, "topic alias 0"}
		}
		return nil
	}}
	t[MaximumQoS] = rule{"maximum QoS", kindByte, in(CONNACK), false, flag}
	t[RetainAvailable] = rule{"retain available", kindByte, in(CONNACK), false, flag}
	t[UserProperty] = rule{"user property", kindPair, message | acks | in(CONNECT, CONNACK, SUBSCRIBE, UNSUBSCRIBE,
		DISCONNECT, AUTH), true, nil}
	t[MaximumPacketSize] = rule{"maximum packet size", kindUint32, in(CONNECT, CONNACK), false, positive}
	t[WildcardAvailable] = rule{"wildcard subscription available", kindByte, in(CONNACK), false, flag}
	t[SubscriptionIDsAvail] = rule{"subscription identifiers available", kindByte, in(CONNACK), false, flag}
	t[SharedAvailable] = rule{"shared subscription available", kindByte, in(CONNACK), false, flag}
	return t
}()

// Property is one property, decoded.
type Property struct {
	ID    PropertyID
	Num   uint32 // byte, integers
	Key   []byte // user property: its name
	Value []byte // strings, binary data, value of a user property
}

// Properties is the property block of one packet, without its length: what a decoder
// has validated, or what the appending methods have built. nil is empty.
//
//	id   PropertyID, one byte
//	     then by the property: u8 · u16 · u32 · variable byte integer ·
//	     u16 length + UTF-8 · u16 length + bytes · two strings
type Properties []byte

// Next returns the first property and what follows it; ok false at the end.
func (ps Properties) Next() (p Property, rest Properties, ok bool) {
	if len(ps) == 0 {
		return p, nil, false
	}
	p, n, err := readProperty(ps)
	if err != nil {
		return p, nil, false // not validated, and not valid
	}
	return p, ps[n:], true
}

// Num returns the number in the first property with that id.
func (ps Properties) Num(id PropertyID) (uint32, bool) {
	p, ok := ps.find(id)
	return p.Num, ok
}

// Value returns the bytes of the first property with that id.
func (ps Properties) Value(id PropertyID) ([]byte, bool) {
	p, ok := ps.find(id)
	return p.Value, ok
}

func (ps Properties) find(id PropertyID) (Property, bool) {
	for p, rest, ok := ps.Next(); ok; p, rest, ok = rest.Next() {
		if p.ID == id {
			return p, true
		}
	}
	return Property{}, false
}

// Byte appends a property of one byte.
func (ps Properties) Byte(id PropertyID, v byte) Properties { return append(ps, byte(id), v) }

// Uint16 appends a property of two bytes.
func (ps Properties) Uint16(id PropertyID, v uint16) Properties {
	return binary.BigEndian.AppendUint16(append(ps, byte(id)), v)
}

// Uint32 appends a property of four bytes.
func (ps Properties) Uint32(id PropertyID, v uint32) Properties {
	return binary.BigEndian.AppendUint32(append(ps, byte(id)), v)
}

// Varint appends a property that is a variable byte integer.
func (ps Properties) Varint(id PropertyID, v uint32) Properties {
	return appendVarint(append(ps, byte(id)), v)
}

// String appends a property that is a string.
func (ps Properties) String(id PropertyID, v string) Properties {
	return appendBinary(append(ps, byte(id)), v)
}

// Binary appends a property that is binary data, or a string held as bytes.
func (ps Properties) Binary(id PropertyID, v []byte) Properties {
	return appendBinary(append(ps, byte(id)), v)
}

// User appends a user property.
func (ps Properties) User(key, value string) Properties {
	return appendBinary(appendBinary(append(ps, byte(UserProperty)), key), value)
}

// len returns how many bytes the block takes with its length in front.
func (ps Properties) len() int { return varintLen(uint32(len(ps))) + len(ps) }

func (ps Properties) append(dst []byte) []byte {
	return append(appendVarint(dst, uint32(len(ps))), ps...)
}

// readProperty reads one property and tells how long it was.
func readProperty(b []byte) (p Property, n int, err error) {
	p.ID = PropertyID(b[0])
	if int(p.ID) >= len(rules) || rules[p.ID].kind == none {
		return p, 0, malformed(fmt.Sprintf("no property has the identifier 0x%02X", b[0]))
	}
	rule := &rules[p.ID]
	r := reader{b: b[1:]}
	switch rule.kind {
	case kindByte:
		p.Num = uint32(r.byte(rule.name))
	case kindUint16:
		p.Num = uint32(r.uint16(rule.name))
	case kindUint32:
		p.Num = r.uint32(rule.name)
	case kindVarint:
		p.Num = r.varint(rule.name)
	case kindString:
		p.Value = r.string(rule.name)
	case kindBinary:
		p.Value = r.binary(rule.name)
	case kindPair:
		p.Key = r.string(rule.name)
		p.Value = r.string(rule.name)
	}
	return p, len(b) - len(r.b), r.err
}

// properties reads a property block and validates it for packets of type t
// (MQTT5-2.2.2-1 and section 2.2.2.2).
func (r *reader) properties(t Type) Properties {
	n := int(r.varint("property length"))
	if r.err != nil {
		return nil
	}
	if n > len(r.b) {
		r.short("properties")
		return nil
	}
	if n == 0 {
		return nil
	}
	block := r.b[:n:n]
	var seen uint64
	for rest := block; len(rest) > 0; {
		p, n, err := readProperty(rest)
		if err != nil {
			r.fail(err)
			return nil
		}
		rule := &rules[p.ID]
		switch {
		case rule.in&(1<<t) == 0:
			err = malformed(fmt.Sprintf("%s in %s", rule.name, placeName(t)))
		case seen&(1<<p.ID) != 0 && !rule.many:
			err = protocolError(rule.name + " more than once")
		case rule.check != nil:
			err = rule.check(rule.name, p)
		}
		if err != nil {
			r.fail(err)
			return nil
		}
		seen |= 1 << p.ID
		rest = rest[n:]
	}
	r.b = r.b[n:]
	return Properties(block)
}

func placeName(t Type) string {
	if t == will {
		return "will properties"
	}
	return t.String()
}
