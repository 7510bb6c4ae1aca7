package amqp

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/robustmq/rmq/broker/amqpwire"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/message"
)

// This file turns what AMQP says of a message into the kernel's form and back.
//
// In, everything is kept twice: in Message.Native as it came, for consumers of AMQP,
// and in headers and fields for everybody else:
//
//	content-type …           standard header of the same name
//	reply-to                 standard header, as an address
//	delivery-mode            QoS: 2 is 1, all else is 0
//	priority, expiration     Priority, ExpiresAt
//	headers                  text: numbers, bools and timestamps (in seconds) as they are
//	                         written; tables and other arrays as JSON; strings and bytes as
//	                         they are; an array of strings as repeats of the name; void as null
//	cluster-id               only in Native
//
// Out, a message from AMQP is its Native, but for what the broker has to say that its
// publisher could not: deaths and the delivery count, and that an expiry is over with. A
// message from another protocol is what message.Foreign makes of it.

// converter holds what conversions of one channel use again and again. Not safe for
// concurrent use.
type converter struct {
	now func() time.Time // broker time

	props   amqpwire.Properties
	native  []byte
	text    []byte // numbers and JSON that headers refer to
	headers []message.Header
	cc      []string
	names   map[string]string // header names seen, at most internMax

	foreign message.Foreign
	table   []byte
	content []byte
}

// internMax bounds the header names that a channel remembers, and nameMax their length.
const (
	internMax = 256
	nameMax   = 64
)

func (c *converter) intern(name []byte) string {
	if s, ok := c.names[string(name)]; ok {
		return s
	}
	s := string(name)
	if len(c.names) < internMax && len(name) <= nameMax {
		if c.names == nil {
			c.names = make(map[string]string)
		}
		c.names[s] = s
	}
	return s
}

// expiryMax is the longest expiration, TTL or queue expiry, in ms: ten years, as in
// RabbitMQ.
const expiryMax = 315_360_000_000

// Header names with a meaning to AMQP's own brokers.
const (
	headerCC            = "CC"
	headerBCC           = "BCC"
	headerDeliveryCount = "x-delivery-count"
)

// inbound fills m, all but Value, from a publish of user to exchange with key, and
// returns the further routing keys. content is the encoded property flags and properties.
// replyTo is the queue that direct reply-to stands for; empty when the channel has none. m
// refers to content, and to the converter until its next inbound.
func (c *converter) inbound(m *message.Message, exchange, key, address string, content []byte, user, replyTo string) ([]string, *failure) {
	p := &c.props
	if err := p.Decode(content); err != nil {
		return nil, wireFailure(err)
	}
	c.cc = c.cc[:0]
	changed := false
	if p.Has(amqpwire.FlagHeaders) {
		hidden, fail := c.routingHeaders(p.Headers)
		if fail != nil {
			return nil, fail
		}
		if hidden {
			c.table = withoutField(c.table[:0], p.Headers, headerBCC)
			p.Headers, changed = c.table, true
		}
	}
	if string(p.ReplyTo) == directReplyTo {
		if replyTo == "" {
			return nil, preconditionFailed("fast reply consumer does not exist")
		}
		p.ReplyTo, changed = []byte(replyTo), true
	}
	if changed {
		c.content = p.Append(c.content[:0])
		content = c.content
	}
	c.native = message.AppendAMQPNative(c.native[:0], exchange, key, content)

	*m = message.Message{Source: message.AMQP, Address: address, Native: c.native}
	if p.DeliveryMode == 2 {
		m.QoS = 1
	}
	m.Priority = p.Priority
	if p.Has(amqpwire.FlagExpiration) {
		ms, fail := parseExpiration(p.Expiration)
		if fail != nil {
			return nil, fail
		}
		// The difference of the two is what the publisher said, to the millisecond: dead
		// letters tell it as original-expiration.
		m.Time = c.now().UnixMilli()
		m.ExpiresAt = max(m.Time+ms, 1)
	}
	if p.Has(amqpwire.FlagUserID) && string(p.UserID) != user {
		return nil, preconditionFailed("user_id property set to '%s' but authenticated user was '%s'", p.UserID, user)
	}
	if p.Flags&^(amqpwire.FlagDeliveryMode|amqpwire.FlagPriority|amqpwire.FlagExpiration|amqpwire.FlagClusterID) == 0 {
		return c.cc, nil
	}
	c.standard(m)
	for f := (amqpwire.Fields{Raw: p.Headers}); f.Next(); {
		c.user(m, c.intern(f.Name), f.Value, user)
	}
	c.headers = m.Headers[:0]
	return c.cc, nil
}

// standard adds the standard headers that properties stand for.
func (c *converter) standard(m *message.Message) {
	p := &c.props
	h := c.headers[:0]
	c.text = c.text[:0]
	add := func(flag uint16, name string, value []byte) {
		if p.Has(flag) {
			h = append(h, message.Header{Name: name, Value: value})
		}
	}
	add(amqpwire.FlagContentType, message.ContentType, p.ContentType)
	add(amqpwire.FlagContentEncoding, message.ContentEncoding, p.ContentEncoding)
	add(amqpwire.FlagCorrelationID, message.CorrelationID, p.CorrelationID)
	if p.Has(amqpwire.FlagReplyTo) {
		add(amqpwire.FlagReplyTo, message.ReplyTo, []byte(message.FromAMQPKey(string(p.ReplyTo))))
	}
	add(amqpwire.FlagMessageID, message.MessageID, p.MessageID)
	add(amqpwire.FlagType, message.Type, p.Type)
	add(amqpwire.FlagAppID, message.AppID, p.AppID)
	add(amqpwire.FlagUserID, message.UserID, p.UserID)
	if p.Has(amqpwire.FlagTimestamp) {
		add(amqpwire.FlagTimestamp, message.Timestamp, c.textOf(func(b []byte) []byte { return strconv.AppendUint(b, p.Timestamp, 10) }))
	}
	m.Headers = h
}

// textOf returns what f appends, in memory that lives as long as the headers do.
func (c *converter) textOf(f func([]byte) []byte) []byte {
	start := len(c.text)
	c.text = f(c.text)
	return c.text[start:len(c.text):len(c.text)]
}

// user adds one field of the header table.
func (c *converter) user(m *message.Message, name string, v amqpwire.RawValue, user string) {
	if v.Kind == amqpwire.KindArray && len(v.Data) > 0 && stringsOnly(v.Data) {
		for e := amqpwire.Elements(v.Data); e.Next(); {
			m.AddUser(name, e.Value.Data, user)
		}
		return
	}
	m.AddUser(name, c.headerText(v), user)
}

func stringsOnly(array []byte) bool {
	for e := amqpwire.Elements(array); e.Next(); {
		if e.Value.Kind != amqpwire.KindString {
			return false
		}
	}
	return true
}

// headerText is the kernel's form of a header value.
func (c *converter) headerText(v amqpwire.RawValue) []byte {
	switch v.Kind {
	case amqpwire.KindString, amqpwire.KindBytes:
		return v.Data
	case amqpwire.KindVoid:
		return nil
	}
	return c.textOf(func(b []byte) []byte { return appendText(b, v) })
}

// appendText appends the text of a value that is neither string, bytes nor void.
func appendText(dst []byte, v amqpwire.RawValue) []byte {
	switch v.Kind {
	case amqpwire.KindBool:
		return strconv.AppendBool(dst, v.Data[0] != 0)
	case amqpwire.KindFloat32:
		return strconv.AppendFloat(dst, float64(math.Float32frombits(binary.BigEndian.Uint32(v.Data))), 'g', -1, 32)
	case amqpwire.KindFloat64:
		return strconv.AppendFloat(dst, math.Float64frombits(binary.BigEndian.Uint64(v.Data)), 'g', -1, 64)
	case amqpwire.KindDecimal:
		return appendDecimal(dst, v.Data[0], binary.BigEndian.Uint32(v.Data[1:]))
	case amqpwire.KindTimestamp:
		return strconv.AppendUint(dst, binary.BigEndian.Uint64(v.Data), 10)
	case amqpwire.KindTable, amqpwire.KindArray:
		return appendJSON(dst, v)
	}
	n, _ := v.Int()
	return strconv.AppendInt(dst, n, 10)
}

// appendDecimal writes unscaled / 10^scale. A scale that would need more zeros than
// decimalMax is written with an exponent.
func appendDecimal(dst []byte, scale uint8, unscaled uint32) []byte {
	const decimalMax = 20
	if scale > decimalMax {
		dst = strconv.AppendUint(dst, uint64(unscaled), 10)
		dst = append(dst, "e-"...)
		return strconv.AppendUint(dst, uint64(scale), 10)
	}
	digits := strconv.AppendUint(nil, uint64(unscaled), 10)
	for len(digits) <= int(scale) {
		digits = append([]byte{'0'}, digits...)
	}
	point := len(digits) - int(scale)
	dst = append(dst, digits[:point]...)
	if scale > 0 {
		dst = append(append(dst, '.'), digits[point:]...)
	}
	return dst
}

// appendJSON writes a value as JSON: tables as objects in their order, repeats and all;
// strings that are not UTF-8 as base64.
func appendJSON(dst []byte, v amqpwire.RawValue) []byte {
	switch v.Kind {
	case amqpwire.KindTable:
		dst = append(dst, '{')
		first := true
		for f := (amqpwire.Fields{Raw: v.Data}); f.Next(); first = false {
			if !first {
				dst = append(dst, ',')
			}
			dst = appendJSONString(dst, f.Name)
			dst = appendJSON(append(dst, ':'), f.Value)
		}
		return append(dst, '}')
	case amqpwire.KindArray:
		dst = append(dst, '[')
		first := true
		for e := amqpwire.Elements(v.Data); e.Next(); first = false {
			if !first {
				dst = append(dst, ',')
			}
			dst = appendJSON(dst, e.Value)
		}
		return append(dst, ']')
	case amqpwire.KindString, amqpwire.KindBytes:
		return appendJSONString(dst, v.Data)
	case amqpwire.KindVoid:
		return append(dst, "null"...)
	case amqpwire.KindFloat32, amqpwire.KindFloat64:
		text := appendText(nil, v)
		if f, err := strconv.ParseFloat(string(text), 64); err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return appendJSONString(dst, text)
		}
		return append(dst, text...)
	}
	return appendText(dst, v)
}

func appendJSONString(dst, s []byte) []byte {
	text := string(s)
	if !utf8.Valid(s) {
		text = base64.StdEncoding.EncodeToString(s)
	}
	quoted, err := json.Marshal(text)
	if err != nil {
		panic("amqp: a string that is no JSON: " + err.Error())
	}
	return append(dst, quoted...)
}

// routingHeaders collects further routing keys from the headers CC and BCC; hidden tells
// whether there is a BCC, which consumers do not see.
func (c *converter) routingHeaders(table []byte) (hidden bool, fail *failure) {
	for f := (amqpwire.Fields{Raw: table}); f.Next(); {
		if string(f.Name) != headerCC && string(f.Name) != headerBCC {
			continue
		}
		name := string(f.Name)
		if f.Value.Kind != amqpwire.KindArray || !stringsOnly(f.Value.Data) {
			return false, preconditionFailed("invalid message: header '%s' is not an array of strings", name)
		}
		hidden = hidden || name == headerBCC
		for e := amqpwire.Elements(f.Value.Data); e.Next(); {
			if len(e.Value.Data) > amqpwire.ShortMax {
				return false, preconditionFailed("invalid message: routing key in header '%s' is longer than 255 bytes", name)
			}
			if len(c.cc) == ccMax {
				return false, preconditionFailed("invalid message: more than %d routing keys", ccMax)
			}
			c.cc = append(c.cc, string(e.Value.Data))
		}
	}
	return hidden, nil
}

// ccMax bounds the routing keys in the headers CC and BCC of one message.
const ccMax = 1024

func withoutField(dst, table []byte, name string) []byte {
	for f := (amqpwire.Fields{Raw: table}); f.Next(); {
		if string(f.Name) != name {
			dst = amqpwire.AppendField(dst, string(f.Name), f.Value)
		}
	}
	return dst
}

// parseExpiration reads the expiration property: milliseconds as decimal text.
func parseExpiration(text []byte) (int64, *failure) {
	n, err := strconv.ParseInt(string(text), 10, 64)
	switch {
	case err != nil:
		digits := 0
		for digits < len(text) && text[digits] >= '0' && text[digits] <= '9' {
			digits++
		}
		if digits == 0 || digits == len(text) {
			return 0, preconditionFailed("invalid expiration '%s': no_integer", text)
		}
		return 0, preconditionFailed("invalid expiration '%s': {leftover_string,\"%s\"}", text, text[digits:])
	case n < 0:
		return 0, preconditionFailed("invalid expiration '%s': {value_negative,%d}", text, n)
	case n > expiryMax:
		return 0, preconditionFailed("invalid expiration '%s': {value_too_large,%d}", text, n)
	}
	return n, nil
}

// ---- out -------------------------------------------------------------------

// outbound returns what a consumer is to see of m: exchange, routing key, and encoded
// flags and properties, of at most room bytes. count, when not 0, is shown as
// x-delivery-count. What it returns is valid until the next outbound, or as long as m.
func (c *converter) outbound(m *message.Message, count uint32, room int) (exchange, key, content []byte, trimmed bool) {
	if m.Source == message.AMQP {
		if x, k, native, ok := message.SplitAMQPNative(m.Native); ok {
			exchange, key, content = x, k, c.own(m, native, count)
			if len(content) <= room {
				return exchange, key, content, false
			}
			return exchange, key, c.trim(content), true
		}
	}
	exchange = topicExchange
	key = message.AppendAMQPKey(c.text[:0], m.Address)
	c.text = key
	said := m.Address
	if message.IsHashed(string(key)) {
		said = message.FromAMQPKey(string(key))
	}
	c.foreign.Fill(m, message.AMQP, said)
	content = c.fromForeign(m, count)
	if len(content) > room {
		return exchange, key, c.trim(content), true
	}
	return exchange, key, content, false
}

var topicExchange = []byte(message.TopicExchange)

// own returns the content of a message from AMQP: as it came, unless the broker has
// something to add.
func (c *converter) own(m *message.Message, content []byte, count uint32) []byte {
	deaths := -1
	for i := range m.Headers {
		if m.Headers[i].Name == message.XDeath {
			deaths = i
			break
		}
	}
	over := m.ExpiresAt == 0 && binary.BigEndian.Uint16(content)&amqpwire.FlagExpiration != 0
	if deaths < 0 && count == 0 && !over {
		return content
	}
	p := &c.props
	if p.Decode(content) != nil {
		return content // not one that we wrote
	}
	c.table = c.table[:0]
	if deaths >= 0 && c.sameDeaths(p.Headers, m.Headers[deaths].Value) {
		deaths = -1 // the publisher's own, which it may well have received from us
	}
	if deaths < 0 && count == 0 && !over {
		return content
	}
	for f := (amqpwire.Fields{Raw: p.Headers}); f.Next(); {
		name := c.intern(f.Name)
		if count != 0 && name == headerDeliveryCount || deaths >= 0 && deathHeader(name) {
			continue
		}
		c.table = amqpwire.AppendField(c.table, name, f.Value)
	}
	if deaths >= 0 {
		for _, h := range m.Headers {
			if deathHeader(h.Name) {
				c.table = appendTextField(c.table, h.Name, h.Value)
			}
		}
	}
	c.finishTable(p, count)
	if over {
		p.Flags &^= amqpwire.FlagExpiration
	}
	c.content = p.Append(c.content[:0])
	return c.content
}

func (c *converter) finishTable(p *amqpwire.Properties, count uint32) {
	if count != 0 {
		c.table = amqpwire.AppendIntField(c.table, headerDeliveryCount, int64(count))
	}
	p.Headers = c.table
	p.Flags &^= amqpwire.FlagHeaders
	if len(c.table) > 0 {
		p.Flags |= amqpwire.FlagHeaders
	}
}

// sameDeaths tells whether the x-death that a message was published with is the one in its
// headers: then no queue of ours has given it up since.
func (c *converter) sameDeaths(table, text []byte) bool {
	v, ok := amqpwire.Find(table, message.XDeath)
	if !ok {
		return false
	}
	switch v.Kind {
	case amqpwire.KindString, amqpwire.KindBytes:
		return string(v.Data) == string(text)
	case amqpwire.KindVoid:
		return text == nil
	case amqpwire.KindArray:
		if len(v.Data) > 0 && stringsOnly(v.Data) { // the first of a repeat
			e := amqpwire.Elements(v.Data)
			e.Next()
			return string(e.Value.Data) == string(text)
		}
	}
	c.text = appendText(c.text[:0], v)
	return string(c.text) == string(text)
}

func deathHeader(name string) bool {
	switch name {
	case message.XDeath, message.XFirstDeathQueue, message.XFirstDeathReason, message.XFirstDeathExchange,
		message.XLastDeathQueue, message.XLastDeathReason, message.XLastDeathExchange:
		return true
	}
	return false
}

// fromForeign writes c.foreign.
func (c *converter) fromForeign(m *message.Message, count uint32) []byte {
	f := &c.foreign
	p := &c.props
	*p = amqpwire.Properties{Flags: amqpwire.FlagDeliveryMode, DeliveryMode: 1}
	if m.QoS > 0 {
		p.DeliveryMode = 2
	}
	set := func(flag uint16, to *[]byte, value []byte) {
		if value != nil {
			p.Flags |= flag
			*to = value
		}
	}
	set(amqpwire.FlagContentType, &p.ContentType, f.ContentType)
	set(amqpwire.FlagContentEncoding, &p.ContentEncoding, f.ContentEncoding)
	set(amqpwire.FlagCorrelationID, &p.CorrelationID, f.CorrelationID)
	set(amqpwire.FlagReplyTo, &p.ReplyTo, f.ReplyTo)
	set(amqpwire.FlagMessageID, &p.MessageID, f.MessageID)
	set(amqpwire.FlagType, &p.Type, f.Type)
	set(amqpwire.FlagAppID, &p.AppID, f.AppID)
	set(amqpwire.FlagUserID, &p.UserID, f.UserID)
	if s, err := strconv.ParseUint(string(f.Timestamp), 10, 64); err == nil {
		p.Flags |= amqpwire.FlagTimestamp
		p.Timestamp = s
	}
	if m.Priority != 0 {
		p.Flags |= amqpwire.FlagPriority
		p.Priority = m.Priority
	}
	if m.ExpiresAt != 0 {
		set(amqpwire.FlagExpiration, &p.Expiration, strconv.AppendInt(nil, max(m.ExpiresAt-c.now().UnixMilli(), 0), 10))
	}
	c.table = c.table[:0]
	c.appendHeaders(f.Headers)
	c.finishTable(p, count)
	c.content = p.Append(c.content[:0])
	return c.content
}

// appendHeaders writes headers to the table, the values of a name that repeats as one
// array at its first place.
func (c *converter) appendHeaders(list []message.Header) {
	// next[i] is one more than the index of the next header of i's name, 0 when there is
	// none; more[i] says that i is such a next.
	var next []int
	var more []bool
	last := make(map[string]int, len(list))
	for i := range list {
		if j, ok := last[list[i].Name]; ok {
			if next == nil {
				next, more = make([]int, len(list)), make([]bool, len(list))
			}
			next[j], more[i] = i+1, true
		}
		last[list[i].Name] = i
	}
	for i, h := range list {
		switch {
		case next == nil || next[i] == 0 && !more[i]:
			c.table = appendTextField(c.table, h.Name, h.Value)
		case !more[i]:
			var array []byte
			for j := i + 1; j > 0; j = next[j-1] {
				array = amqpwire.AppendElement(array, textValue(list[j-1].Value))
			}
			c.table = amqpwire.AppendField(c.table, h.Name, amqpwire.RawValue{Kind: amqpwire.KindArray, Data: array})
		}
	}
}

// appendTextField appends a header from the kernel: a string, void for null, and for
// x-death the array that AMQP clients know.
func appendTextField(dst []byte, name string, value []byte) []byte {
	if name == message.XDeath {
		if list := message.Deaths([]message.Header{{Name: name, Value: value}}); list != nil {
			return amqpwire.AppendField(dst, name, deathArray(list))
		}
	}
	return amqpwire.AppendField(dst, name, textValue(value))
}

func textValue(value []byte) amqpwire.RawValue {
	if value == nil {
		return amqpwire.RawValue{Kind: amqpwire.KindVoid}
	}
	return amqpwire.RawValue{Kind: amqpwire.KindString, Data: value}
}

func deathArray(list []message.Death) amqpwire.RawValue {
	var array []byte
	for _, d := range list {
		var t []byte
		if d.OriginalExpiration != "" {
			t = amqpwire.AppendStringField(t, "original-expiration", d.OriginalExpiration)
		}
		t = amqpwire.AppendIntField(t, "count", d.Count)
		t = amqpwire.AppendStringField(t, "reason", d.Reason)
		t = amqpwire.AppendStringField(t, "queue", d.Queue)
		t = amqpwire.AppendField(t, "time", amqpwire.RawValue{
			Kind: amqpwire.KindTimestamp, Data: binary.BigEndian.AppendUint64(nil, uint64(d.Time)),
		})
		t = amqpwire.AppendStringField(t, "exchange", d.Exchange)
		var keys []byte
		for _, k := range d.RoutingKeys {
			keys = amqpwire.AppendElement(keys, amqpwire.RawValue{Kind: amqpwire.KindString, Data: []byte(k)})
		}
		t = amqpwire.AppendField(t, "routing-keys", amqpwire.RawValue{Kind: amqpwire.KindArray, Data: keys})
		array = amqpwire.AppendElement(array, amqpwire.RawValue{Kind: amqpwire.KindTable, Data: t})
	}
	return amqpwire.RawValue{Kind: amqpwire.KindArray, Data: array}
}

// trim leaves the header table out of content that does not fit one frame, which is all
// that AMQP has for it. The other properties always fit.
func (c *converter) trim(content []byte) []byte {
	p := &c.props
	if p.Decode(content) != nil {
		return []byte{0, 0}
	}
	p.Flags &^= amqpwire.FlagHeaders
	return p.Append(nil)
}

// Inbound is the memory that mapping a publish in needs, for who makes messages as an AMQP client
// would without being one. The zero value is ready. It is reused, so a message is valid until the next one.
type Inbound struct{ in converter }

// Message sets m to what a publish to an exchange by a routing key says, without its value.
func (x *Inbound) Message(m *message.Message, exchange, key string, props *amqpwire.Properties, now func() time.Time) error {
	x.in.now = now
	_, f := x.in.inbound(m, exchange, key, message.AddressOf(exchange, key), props.Append(nil), "", "")
	if f != nil {
		return fault.New(fault.Invalid, "publish to", exchange, "%s", f.text)
	}
	return nil
}
