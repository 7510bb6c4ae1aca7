package message

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Foreign is a message as a client of another protocol is to see it, ready for the
// target's adapter to write: its property fields hold what the target has a property
// for and can say in it, Headers all the rest in order. A Foreign can be filled again
// and again, and reuses its memory; what it holds is borrowed from the message and
// valid until the next Fill.
//
// For MQTT: ContentType, CorrelationID, ReplyTo and PayloadFormat are set, Headers are
// user properties of UTF-8 without NUL; bytes are base64, marked by "<name>-encoding".
// For AMQP: all but PayloadFormat are set, Headers are long strings; a nil value is
// void; repeats are for the adapter to write as one array.
//
// Fields of Message with a place of their own in every protocol (expiry, and for AMQP
// priority) are not repeated here. Records in Kafka's form are made by
// AppendRecordHeaders.
type Foreign struct {
	// nil: absent.
	ContentType, ContentEncoding, CorrelationID, ReplyTo, MessageID, Type, AppID, UserID,
	Timestamp, PayloadFormat []byte

	Headers []Header
}

const (
	mqttStringMax = 65535 // bytes of an MQTT string
	amqpShortMax  = 255   // bytes of an AMQP short string, header names included
)

// Fill sets f to what protocol to, MQTT or AMQP, is to see of m, which came by another.
// said is the address that the name it is delivered under says: for MQTT the topic, for
// AMQP what AddressOf makes of exchange and key.
func (f *Foreign) Fill(m *Message, to Protocol, said string) {
	*f = Foreign{Headers: f.Headers[:0]}
	var tooLong []Header // for AMQP
	aliases := m.Source == Kafka
	expires, priority := false, false // seen, in a message from Kafka
	for i := range m.Headers {
		h := m.Headers[i]
		if strings.HasPrefix(h.Name, RmqPrefix) {
			continue
		}
		if m.Source == Kafka {
			switch h.Name {
			case ExpiresAt:
				if _, ok := parseMillis(h.Value); ok && !expires {
					expires = true
					continue
				}
			case Priority:
				if _, err := strconv.ParseUint(string(h.Value), 10, 8); err == nil && !priority {
					priority = true
					continue
				}
			case UserID:
				continue // nobody vouches for it
			}
		}
		switch {
		case f.property(m, h, to):
		case aliases && f.alias(m, h, to):
		case to == AMQP && len(h.Name) > amqpShortMax:
			tooLong = append(tooLong, h)
		default:
			f.add(to, h.Name, h.Value)
		}
	}
	if to == AMQP {
		if len(tooLong) > 0 {
			f.add(to, RmqHeaders, headersJSON(tooLong))
		}
		if m.Value == nil {
			f.add(to, RmqNull, textTrue)
		}
		if m.Retain {
			f.add(to, RmqRetain, textTrue)
		}
	} else if m.Priority != 0 {
		f.add(to, Priority, strconv.AppendUint(nil, uint64(m.Priority), 10))
	}
	if m.Key != nil {
		if to == MQTT && !mqttText(m.Key) {
			f.add(to, RmqKeyBase64, base64.StdEncoding.AppendEncode(nil, m.Key))
		} else {
			f.add(to, RmqKey, m.Key)
		}
	}
	f.add(to, RmqProto, protoText(m.Source))
	if said != m.Address {
		f.add(to, RmqAddress, []byte(m.Address))
	}
}

var textTrue = []byte("true")

var protoTexts = [...][]byte{[]byte("kafka"), []byte("mqtt"), []byte("amqp")}

func protoText(p Protocol) []byte {
	if int(p) < len(protoTexts) {
		return protoTexts[p]
	}
	return []byte(p.String())
}

// property sets the property that h stands for, and tells whether it did: not when the
// target has none, holds none that long, or has it set by an earlier header.
func (f *Foreign) property(m *Message, h Header, to Protocol) bool {
	if h.Value == nil {
		return false
	}
	switch h.Name {
	case CorrelationID:
		return f.correlation(h.Value, to)
	case ReplyTo:
		if f.ReplyTo != nil {
			return false
		}
		address, ok := string(h.Value), true
		if m.Source == Kafka {
			if ok = ValidKafkaName(address); ok {
				address = FromKafkaName(address)
			}
		}
		return ok && f.reply(address, to)
	case PayloadFormat:
		// A client may check what the indicator says; only MQTT's own publisher had to.
		if to != MQTT || f.PayloadFormat != nil || string(h.Value) != PayloadUTF8 || !utf8.Valid(m.Value) {
			return false
		}
		f.PayloadFormat = h.Value
		return true
	}
	var field *[]byte
	switch h.Name {
	case ContentType:
		field = &f.ContentType
	case ContentEncoding:
		field = &f.ContentEncoding
	case MessageID:
		field = &f.MessageID
	case Type:
		field = &f.Type
	case AppID:
		field = &f.AppID
	case UserID:
		field = &f.UserID
	case Timestamp:
		field = &f.Timestamp
	default:
		return false
	}
	switch {
	case *field != nil:
		return false
	case to == MQTT && (h.Name != ContentType || !mqttText(h.Value)):
		return false
	case to == AMQP && len(h.Value) > amqpShortMax:
		return false
	case h.Name == Timestamp:
		if _, err := strconv.ParseUint(string(h.Value), 10, 64); err != nil {
			return false
		}
	}
	*field = h.Value
	return true
}

// alias sets what Spring's names for correlation and reply topic stand for, unless the
// message has the standard header too.
func (f *Foreign) alias(m *Message, h Header, to Protocol) bool {
	switch {
	case h.Value == nil:
		return false
	case h.Name == kafkaCorrelationID && !m.Has(CorrelationID):
		return f.correlation(h.Value, to)
	case h.Name == kafkaReplyTopic && !m.Has(ReplyTo) && f.ReplyTo == nil && ValidKafkaName(string(h.Value)):
		return f.reply(FromKafkaName(string(h.Value)), to)
	}
	return false
}

func (f *Foreign) correlation(value []byte, to Protocol) bool {
	switch {
	case f.CorrelationID != nil:
		return false
	case to == AMQP && (len(value) > amqpShortMax || !utf8.Valid(value)):
		f.add(to, xCorrelationID, value)
		return true
	case to == MQTT && len(value) > mqttStringMax:
		return false
	}
	f.CorrelationID = value
	return true
}

func (f *Foreign) reply(address string, to Protocol) bool {
	if to == AMQP {
		f.ReplyTo = AppendAMQPKey([]byte{}, address)
		return true
	}
	if address == "" || len(address) > mqttStringMax || strings.ContainsAny(address, "+#\x00") || !utf8.ValidString(address) {
		return false
	}
	f.ReplyTo = []byte(address)
	return true
}

// add appends a header in a form that the target can hold. What an MQTT string cannot
// hold for its length is left out.
func (f *Foreign) add(to Protocol, name string, value []byte) {
	if to != MQTT {
		f.Headers = append(f.Headers, Header{Name: name, Value: value})
		return
	}
	name = mqttName(name)
	if len(name)+len(encodingSuffix) > mqttStringMax {
		return
	}
	if mqttText(value) {
		if value == nil {
			value = []byte{}
		}
		f.Headers = append(f.Headers, Header{Name: name, Value: value})
		return
	}
	if base64.StdEncoding.EncodedLen(len(value)) > mqttStringMax {
		return
	}
	f.Headers = append(f.Headers,
		Header{Name: name, Value: base64.StdEncoding.AppendEncode(nil, value)},
		Header{Name: name + encodingSuffix, Value: []byte(encodingBase64)})
}

// mqttText tells whether value can be an MQTT string.
func mqttText(value []byte) bool {
	if len(value) > mqttStringMax || !utf8.Valid(value) {
		return false
	}
	for _, c := range value {
		if c == 0 {
			return false
		}
	}
	return true
}

// mqttName returns a header name that MQTT can hold: bytes that it cannot are escaped
// as they are in addresses.
func mqttName(name string) string {
	if utf8.ValidString(name) && strings.IndexByte(name, 0) < 0 {
		return name
	}
	return string(mqttNames.encode(make([]byte, 7*len(name)), []byte(name)))
}

var mqttNames = func() *spelling {
	s := &spelling{text: true}
	s.special[0] = true
	return s
}()

// headersJSON writes headers as a JSON array of objects with name, value and, when the
// value is base64, encoding. A null value is JSON's.
func headersJSON(headers []Header) []byte {
	type header struct {
		Name     string  `json:"name"`
		Value    *string `json:"value"`
		Encoding string  `json:"encoding,omitempty"`
	}
	list := make([]header, len(headers))
	for i, h := range headers {
		list[i].Name = mqttName(h.Name)
		if h.Value == nil {
			continue
		}
		value := string(h.Value)
		if !utf8.ValidString(value) {
			value, list[i].Encoding = base64.StdEncoding.EncodeToString(h.Value), encodingBase64
		}
		list[i].Value = &value
	}
	text, err := json.Marshal(list)
	if err != nil {
		panic("message: strings that are no JSON: " + err.Error())
	}
	return text
}
