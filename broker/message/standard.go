package message

import (
	"encoding/base64"
	"strconv"
	"strings"
)

// Standard headers: the names by which properties that only some protocols have
// are kept. Values are text except CorrelationID, which is any bytes. In a Message
// from MQTT or AMQP the property comes first, and a header of the client's own with
// the same name stays behind it as a repeat.
const (
	ContentType     = "content-type"
	ContentEncoding = "content-encoding"
	CorrelationID   = "correlation-id"
	ReplyTo         = "reply-to" // an address in MQTT spelling; in a record, a Kafka topic name
	MessageID       = "message-id"
	Type            = "type"
	AppID           = "app-id"
	UserID          = "user-id"
	Timestamp       = "timestamp"      // the application's, in seconds since 1970: AMQP's unit
	PayloadFormat   = "payload-format" // PayloadUTF8, or absent
)

// PayloadUTF8 is the value of PayloadFormat for MQTT's payload format indicator 1.
const PayloadUTF8 = "utf-8"

// Headers that stand for typed fields of Message where a protocol has no field for them.
const (
	ExpiresAt = "expires-at" // ms since 1970
	Priority  = "priority"   // 0 to 255
)

// Names that rmq gives a meaning. Clients may send the controls; nothing else that
// begins with rmq- is shown to another protocol.
const (
	RmqPrefix    = "rmq-"
	RmqKey       = "rmq-key"       // control, and shown: the message's key
	RmqKeyBase64 = "rmq-key-b64"   // the same, where the key is not UTF-8
	RmqDelay     = "rmq-delay"     // control: ms to hold the message back
	RmqPartition = "rmq-partition" // control: the partition to append to
	RmqRetain    = "rmq-retain"    // control, and shown to AMQP: retain the message
	RmqProto     = "rmq-proto"     // shown: the protocol the message came by, when it changed
	RmqAddress   = "rmq-address"   // shown: the address, when the delivered name does not say it
	RmqNull      = "rmq-null"      // shown to AMQP: the value is null, not empty
	RmqHeaders   = "rmq-headers"   // shown to AMQP: headers whose names are too long, as JSON
	RmqQoS       = "rmq-qos"       // in records: 0 or 2
	RmqNative    = "rmq-native"    // in records: Message.Native
	RmqReplyTo   = "rmq-reply-to"  // in records: the address in full, when ReplyTo had to be hashed
)

// Names that other software gives a meaning, accepted on the way in.
const (
	kafkaCorrelationID = "kafka_correlationId" // Spring for Kafka
	kafkaReplyTopic    = "kafka_replyTopic"
	xCorrelationID     = "x-correlation-id" // RabbitMQ, for one that is no short string
	xReplyToTopic      = "x-reply-to-topic" // RabbitMQ
	xDelay             = "x-delay"          // RabbitMQ's delayed message exchange
)

// encodingSuffix and encodingBase64 mark a text header whose value is bytes.
const (
	encodingSuffix = "-encoding"
	encodingBase64 = "base64"
)

// AddUser adds one header of the client's own to a message from MQTT or AMQP, after
// the adapter has set fields and standard headers from the protocol's own properties,
// for those win. Controls set fields; other rmq- names are dropped, as they remain in
// Native; a user-id other than the authenticated user is dropped, since it would be
// believed elsewhere.
func (m *Message) AddUser(name string, value []byte, user string) {
	if m.Control(name, value) {
		return
	}
	switch {
	case strings.HasPrefix(name, RmqPrefix):
		return
	case name == UserID && string(value) != user:
		return
	case m.Source == AMQP && name == xCorrelationID && !m.Has(CorrelationID):
		name = CorrelationID
	case m.Source == AMQP && name == xReplyToTopic && !m.Has(ReplyTo):
		name, value = ReplyTo, []byte(FromAMQPKey(string(value)))
	}
	m.Headers = append(m.Headers, Header{Name: name, Value: value})
}

// Has tells whether there is a header of that name.
func (m *Message) Has(name string) bool {
	_, ok := m.Header(name)
	return ok
}

// Control applies a header by which a client asks for what its protocol has no field
// for, and tells whether it did: not when the name is no control, the value cannot be
// read, or the field was set before.
func (m *Message) Control(name string, value []byte) bool {
	switch name {
	case RmqKey:
		if m.Key != nil {
			return false
		}
		if m.Key = value; value == nil {
			m.Key = []byte{}
		}
	case RmqKeyBase64:
		key, err := base64.StdEncoding.AppendDecode([]byte{}, value)
		if err != nil || m.Key != nil {
			return false
		}
		m.Key = key
	case RmqDelay, xDelay:
		ms, ok := parseMillis(value)
		if !ok || m.Delay != 0 || name == xDelay && m.Source != AMQP {
			return false
		}
		m.Delay = ms
	case RmqPartition:
		n, err := strconv.ParseInt(string(value), 10, 32)
		if err != nil || n < 0 || n == maxPartition || m.Partition != 0 {
			return false
		}
		m.Partition = int32(n) + 1
	case RmqRetain:
		on, err := strconv.ParseBool(string(value))
		if err != nil {
			return false
		}
		m.Retain = m.Retain || on
	case ExpiresAt:
		ms, ok := parseMillis(value)
		if !ok || m.ExpiresAt != 0 {
			return false
		}
		m.ExpiresAt = ms
	case Priority:
		n, err := strconv.ParseUint(string(value), 10, 8)
		if err != nil || m.Priority != 0 {
			return false
		}
		m.Priority = uint8(n)
	default:
		return false
	}
	return true
}

// maxPartition is the one that Message.Partition cannot hold.
const maxPartition = 1<<31 - 1

func parseMillis(text []byte) (int64, bool) {
	ms, err := strconv.ParseInt(string(text), 10, 64)
	return ms, err == nil && ms >= 0
}

// ApplyControls sets the fields of a message from Kafka by its headers, which it
// leaves as they are.
func (m *Message) ApplyControls() {
	for i := range m.Headers {
		h := &m.Headers[i]
		switch h.Name {
		case RmqKey, RmqKeyBase64, xDelay: // Kafka has a key of its own
		default:
			m.Control(h.Name, h.Value)
		}
	}
}

// ReplyAddress returns the address that answers are to be sent to, if the message
// names one.
func (m *Message) ReplyAddress() (address string, ok bool) {
	value, ok := m.Header(ReplyTo)
	if m.Source != Kafka {
		return string(value), ok
	}
	if !ok {
		if value, ok = m.Header(kafkaReplyTopic); !ok {
			return "", false
		}
	}
	if topic := string(value); ValidKafkaName(topic) {
		return FromKafkaName(topic), true
	}
	return "", false
}
