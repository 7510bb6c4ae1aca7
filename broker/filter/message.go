package filter

import "github.com/robustmq/rmq/broker/message"

// Message is what a filter looks at. Whoever has messages of another form gives them
// these methods; nothing is copied.
type Message interface {
	// Field returns a field, or None.
	Field(Field) Value
	// Property returns what the protocol has besides headers, by its standard name
	// (content-type), or None.
	Property(name string) Value
	// Header returns the header at a place from 0; ok is false when there is none.
	Header(i int) (name string, value Value, ok bool)
}

// Field is one field of a message.
type Field uint8

const (
	FieldTopic Field = iota
	FieldAddress
	FieldKey
	FieldValue
	FieldJSON // the text to look into as JSON; the value, unless it was decoded
	FieldSize
	FieldTime
	FieldExpiresAt
	FieldProtocol
	FieldNamespace
	FieldQoS
	FieldRetain
	FieldDuplicate
	FieldPriority
	FieldPartition
	FieldOffset
	FieldQueue
	FieldExchange
	FieldRoutingKey
	FieldRedelivered
)

// fields are the names of fields, in the order in which they are told.
var fields = []struct {
	name  string
	typ   typ
	field Field
	text  string
}{
	{"topic", typeText, FieldTopic, "MQTT topic, Kafka topic, or AMQP routing key"},
	{"address", typeText, FieldAddress, "the address in MQTT spelling; the topic where the broker did not tell it"},
	{"key", typeText, FieldKey, "the key"},
	{"value", typeText, FieldValue, "the whole value, as text"},
	{"json", typeAny, FieldJSON, "the value as JSON: `json.a.b[0]`"},
	{"size", typeInt, FieldSize, "bytes of the value"},
	{"time", typeTime, FieldTime, "when the broker took it; over MQTT and AMQP when it was read"},
	{"timestamp", typeTime, FieldTime, "the same"},
	{"expires_at", typeTime, FieldExpiresAt, "when it expires"},
	{"protocol", typeText, FieldProtocol, "`mqtt`, `kafka` or `amqp`"},
	{"namespace", typeText, FieldNamespace, "namespace, where the broker tells it"},
	{"qos", typeInt, FieldQoS, "0, 1 or 2; over AMQP 1 is persistent"},
	{"retain", typeBool, FieldRetain, "it is retained"},
	{"duplicate", typeBool, FieldDuplicate, "MQTT's DUP"},
	{"priority", typeInt, FieldPriority, "AMQP priority"},
	{"partition", typeInt, FieldPartition, "Kafka partition"},
	{"offset", typeInt, FieldOffset, "Kafka offset"},
	{"queue", typeText, FieldQueue, "AMQP queue it was read from"},
	{"exchange", typeText, FieldExchange, "AMQP exchange"},
	{"routing_key", typeText, FieldRoutingKey, "AMQP routing key"},
	{"redelivered", typeBool, FieldRedelivered, "it was delivered before"},
}

// properties are the names of properties, and the standard names that they stand for.
var properties = []struct{ name, standard string }{
	{"content_type", message.ContentType},
	{"content_encoding", message.ContentEncoding},
	{"correlation_id", message.CorrelationID},
	{"reply_to", message.ReplyTo},
	{"message_id", message.MessageID},
	{"type", message.Type},
	{"app_id", message.AppID},
	{"user_id", message.UserID},
	{"payload_format", message.PayloadFormat},
}

var protocolNames = []string{message.Kafka.String(), message.MQTT.String(), message.AMQP.String()}

// Of lets a filter look at a message of the kernel.
func Of(m *message.Message) Message { return (*kernelMessage)(m) }

type kernelMessage message.Message

func (m *kernelMessage) Field(f Field) Value {
	switch f {
	case FieldTopic, FieldAddress:
		return TextOr(m.Address)
	case FieldKey:
		return Bytes(m.Key)
	case FieldValue, FieldJSON:
		return Bytes(m.Value)
	case FieldSize:
		return Int(int64(len(m.Value)))
	case FieldTime:
		return Millis(m.Time)
	case FieldExpiresAt:
		return Millis(m.ExpiresAt)
	case FieldProtocol:
		return Text(m.Source.String())
	case FieldQoS:
		return Int(int64(m.QoS))
	case FieldRetain:
		return Bool(m.Retain)
	case FieldPriority:
		return Int(int64(m.Priority))
	case FieldPartition:
		if m.Partition > 0 {
			return Int(int64(m.Partition) - 1)
		}
	}
	return None
}

func (m *kernelMessage) Property(name string) Value {
	v, _ := (*message.Message)(m).Header(name)
	return Bytes(v)
}

func (m *kernelMessage) Header(i int) (string, Value, bool) {
	if i >= len(m.Headers) {
		return "", None, false
	}
	return m.Headers[i].Name, headerValue(m.Headers[i].Value), true
}

// headerValue makes a value of a header's: nil is Kafka's null, which is there.
func headerValue(v []byte) Value {
	if v == nil {
		return Value{kind: kindNull}
	}
	return Bytes(v)
}

// HeaderValue makes a value of a header's: nil is null, which is not None.
func HeaderValue(v []byte) Value { return headerValue(v) }
