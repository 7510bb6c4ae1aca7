package adminapi

import (
	"bytes"
	"time"
	"unicode/utf8"

	"github.com/robustmq/rmq/broker/message"
)

// standard are the headers that are shown as properties.
var standard = map[string]bool{
	message.ContentType: true, message.ContentEncoding: true, message.CorrelationID: true, message.ReplyTo: true, message.MessageID: true,
	message.Type: true, message.AppID: true, message.UserID: true, message.Timestamp: true, message.PayloadFormat: true,
}

// MessageOf copies a message of the kernel into the form of the API, with at most bodyMax bytes of its value.
func MessageOf(ns string, m *message.Message, bodyMax int) Message {
	qos := m.QoS
	out := Message{
		Protocol: m.Source.String(), Namespace: ns, Address: m.Address, Key: bytes.Clone(m.Key), Size: len(m.Value), QoS: &qos, Retain: m.Retain,
		Priority: m.Priority,
	}
	switch m.Source {
	case message.MQTT:
		out.Topic = m.Address
	case message.Kafka:
		out.Topic = message.KafkaName(m.Address)
	case message.AMQP:
		if x, k, _, ok := message.SplitAMQPNative(m.Native); ok {
			out.Exchange, out.RoutingKey = string(x), string(k)
		}
	}
	if m.Time != 0 {
		out.Time = time.UnixMilli(m.Time).UTC()
	}
	if m.ExpiresAt != 0 {
		out.ExpiresAt = time.UnixMilli(m.ExpiresAt).UTC()
	}
	v := m.Value
	if len(v) > bodyMax {
		cut := bodyMax
		for cut > 0 && cut > bodyMax-utf8.UTFMax && !utf8.RuneStart(v[cut]) {
			cut--
		}
		v, out.Truncated = v[:cut], true
	}
	out.Value = bytes.Clone(v)
	for i := range m.Headers {
		h := &m.Headers[i]
		if standard[h.Name] && utf8.Valid(h.Value) {
			if out.Properties == nil {
				out.Properties = make(map[string]string)
			}
			if _, had := out.Properties[h.Name]; !had {
				out.Properties[h.Name] = string(h.Value)
				continue
			}
		}
		out.Headers = append(out.Headers, Header{Name: string(append([]byte(nil), h.Name...)), Value: bytes.Clone(h.Value)})
	}
	return out
}
