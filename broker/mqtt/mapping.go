package mqtt

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"unsafe"

	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/mqttwire"
)

// This file maps between PUBLISH packets and the kernel's messages. Both ways are pure:
// the time comes as an argument.
//
// In: the properties that other protocols know become fields and standard headers, in
// the order
//
//	Message Expiry Interval   ExpiresAt
//	Content Type              content-type
//	Payload Format Indicator  payload-format: utf-8, when 1
//	Correlation Data          correlation-id
//	Response Topic            reply-to
//
// then the user properties in theirs, with the controls among them (rmq-key, rmq-delay,
// rmq-partition, priority, expires-at) setting fields. Native is the property block as it
// came, less what has a meaning for one hop only: expiry, topic alias, subscription
// identifiers.
//
// Out: a message that came by MQTT leaves with its Native block, so that what MQTT sent
// MQTT receives, in order, repeats and all. One from another protocol leaves with what
// message.Foreign makes of it. Expiry and subscription identifiers are added to either.

// errDelayed is the error of a topic under $delayed that is not one.
var errDelayed = errors.New("a delayed topic is $delayed/<seconds>/<topic>")

const (
	delayedRoot = "$delayed/"
	delayMax    = 4294967 // seconds, 49 days: what others that have this feature allow
)

// splitDelayed returns the topic and the delay, in ms, of a topic name that may be one
// under $delayed.
func splitDelayed(topic string) (rest string, delay int64, err error) {
	rest, ok := strings.CutPrefix(topic, delayedRoot)
	if !ok {
		return topic, 0, nil
	}
	text, rest, ok := strings.Cut(rest, "/")
	seconds, err := strconv.ParseUint(text, 10, 32)
	if err != nil || !ok || rest == "" || seconds > delayMax {
		return "", 0, errDelayed
	}
	return rest, int64(seconds) * 1000, nil
}

// inbound is the memory that mapping a PUBLISH in needs. It is reused, so what it has
// filled is valid until the next fill.
type inbound struct {
	names   interner
	headers []message.Header
	native  []byte
}

var textUTF8 = []byte(message.PayloadUTF8)

// fill sets m to what a PUBLISH, or a will, says. Its slices point into the packet and
// into in. user is the authenticated user; now, broker time in ms.
func (in *inbound) fill(m *message.Message, p *mqttwire.Publish, topic string, user string, now int64) error {
	address, delay, err := splitDelayed(topic)
	if err != nil {
		return err
	}
	*m = message.Message{
		Source:  message.MQTT,
		Address: address,
		Value:   p.Payload,
		QoS:     p.QoS,
		Retain:  p.Retain,
		Delay:   delay,
	}
	switch {
	case len(p.Payload) > 0:
	case p.Retain:
		m.Value = nil // clears the retained message: a tombstone to others
	default:
		m.Value = []byte{}
	}
	if len(p.Properties) == 0 {
		return nil
	}
	in.properties(m, p.Properties, user, now)
	return nil
}

func (in *inbound) properties(m *message.Message, ps mqttwire.Properties, user string, now int64) {
	m.Headers = in.headers[:0]
	m.Native = ps
	own := false // there are user properties
	dropped := false
	for p, rest, ok := ps.Next(); ok; p, rest, ok = rest.Next() {
		switch p.ID {
		case mqttwire.MessageExpiry:
			m.ExpiresAt = now + int64(p.Num)*1000
			dropped = true
		case mqttwire.TopicAlias, mqttwire.SubscriptionID, mqttwire.WillDelay:
			dropped = true
		case mqttwire.ContentType:
			m.Headers = append(m.Headers, message.Header{Name: message.ContentType, Value: p.Value})
		case mqttwire.PayloadFormat:
			if p.Num == 1 {
				m.Headers = append(m.Headers, message.Header{Name: message.PayloadFormat, Value: textUTF8})
			}
		case mqttwire.CorrelationData:
			m.Headers = append(m.Headers, message.Header{Name: message.CorrelationID, Value: p.Value})
		case mqttwire.ResponseTopic:
			m.Headers = append(m.Headers, message.Header{Name: message.ReplyTo, Value: p.Value})
		case mqttwire.UserProperty:
			own = true
		}
	}
	if own {
		for p, rest, ok := ps.Next(); ok; p, rest, ok = rest.Next() {
			if p.ID == mqttwire.UserProperty {
				m.AddUser(in.names.string(p.Key), p.Value, user)
			}
		}
	}
	in.headers = m.Headers
	if dropped {
		in.native = appendLasting(in.native[:0], ps)
		m.Native = in.native
	}
	if len(m.Native) == 0 {
		m.Native = nil
	}
}

// appendLasting appends the properties that outlive one hop.
func appendLasting(dst []byte, ps mqttwire.Properties) []byte {
	for p, rest, ok := ps.Next(); ok; p, rest, ok = rest.Next() {
		switch p.ID {
		case mqttwire.MessageExpiry, mqttwire.TopicAlias, mqttwire.SubscriptionID, mqttwire.WillDelay:
		default:
			dst = append(dst, ps[:len(ps)-len(rest)]...)
		}
		ps = rest
	}
	return dst
}

// outbound is the memory that mapping a message out needs.
type outbound struct {
	foreign message.Foreign
	props   mqttwire.Properties
}

// extra is what a delivery adds to a message's own properties.
type extra struct {
	expiry uint32 // seconds, when expires
	expire bool
	subIDs []uint32
	alias  uint16 // 0: none
}

// properties returns the property block under which m goes to a client of MQTT 5. It is m's
// own memory, or out's until the next call.
func (out *outbound) properties(m *message.Message, x extra) mqttwire.Properties {
	own := mqttwire.Properties(nil)
	if m.Source == message.MQTT {
		own = m.Native
		if !x.expire && len(x.subIDs) == 0 && x.alias == 0 {
			return own
		}
	}
	ps := out.props[:0]
	if x.alias != 0 {
		ps = ps.Uint16(mqttwire.TopicAlias, x.alias)
	}
	if x.expire {
		ps = ps.Uint32(mqttwire.MessageExpiry, x.expiry)
	}
	for _, id := range x.subIDs {
		ps = ps.Varint(mqttwire.SubscriptionID, id)
	}
	if m.Source == message.MQTT {
		ps = append(ps, own...)
	} else {
		ps = out.mapped(ps, m)
	}
	out.props = ps
	return ps
}

// mapped appends the properties of a message that came by another protocol.
func (out *outbound) mapped(ps mqttwire.Properties, m *message.Message) mqttwire.Properties {
	f := &out.foreign
	f.Fill(m, message.MQTT, m.Address)
	if f.PayloadFormat != nil {
		ps = ps.Byte(mqttwire.PayloadFormat, 1)
	}
	if f.ContentType != nil {
		ps = ps.Binary(mqttwire.ContentType, f.ContentType)
	}
	if f.ReplyTo != nil {
		ps = ps.Binary(mqttwire.ResponseTopic, f.ReplyTo)
	}
	if f.CorrelationID != nil {
		ps = ps.Binary(mqttwire.CorrelationData, f.CorrelationID)
	}
	for i := range f.Headers {
		ps = ps.User(f.Headers[i].Name, viewString(f.Headers[i].Value))
	}
	return ps
}

// remaining returns the Message Expiry Interval of a message that expires at a time, in
// ms: the seconds left, rounded up. left false: it has expired.
func remaining(expiresAt, now int64) (seconds uint32, left bool) {
	ms := expiresAt - now
	if ms <= 0 {
		return 0, false
	}
	return uint32(min((ms-1)/1000+1, math.MaxUint32)), true
}

// viewBytes and viewString look at a string as bytes and at bytes as a string, for calls
// that neither change nor keep them.
func viewBytes(s string) []byte  { return unsafe.Slice(unsafe.StringData(s), len(s)) }
func viewString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// Inbound is the memory that mapping a PUBLISH in needs, for who is the client of another broker: a
// bridge. The zero value is ready. It is reused, so a message is valid until the next one.
type Inbound struct{ in inbound }

// Message sets m to what a PUBLISH says, under a topic of our own choice.
func (x *Inbound) Message(m *message.Message, p *mqttwire.Publish, topic string, now int64) error {
	return x.in.fill(m, p, topic, "", now)
}

// Outbound is the memory that mapping a message out needs, as Inbound.
type Outbound struct{ out outbound }

// Properties returns the property block under which m leaves, with room behind it for one that is
// added. left false: the message has expired.
func (x *Outbound) Properties(m *message.Message, now int64) (ps mqttwire.Properties, left bool) {
	var e extra
	if m.ExpiresAt != 0 {
		if e.expiry, left = remaining(m.ExpiresAt, now); !left {
			return nil, false
		}
		e.expire = true
	}
	ps = x.out.properties(m, e)
	if m.Source == message.MQTT && !e.expire { // they are the message's own, which others have too
		x.out.props = append(x.out.props[:0], ps...)
		ps = x.out.props
	}
	return ps, true
}
