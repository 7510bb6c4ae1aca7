package adminapi

import (
	"encoding/base64"

	"github.com/robustmq/rmq/broker/filter"
)

// ForFilter lets an expression of package filter look at m, without a copy.
func (m *Message) ForFilter() filter.Message { return (*filterMessage)(m) }

type filterMessage Message

func (m *filterMessage) Field(f filter.Field) filter.Value {
	switch f {
	case filter.FieldTopic:
		return filter.TextOr(first(m.Topic, first(m.Address, m.RoutingKey)))
	case filter.FieldAddress:
		return filter.TextOr(first(m.Address, m.Topic))
	case filter.FieldKey:
		return filter.Bytes(m.Key)
	case filter.FieldValue, filter.FieldJSON:
		return filter.Bytes(m.Value)
	case filter.FieldSize:
		return filter.Int(int64(max(m.Size, len(m.Value))))
	case filter.FieldTime:
		return filter.Time(m.Time)
	case filter.FieldExpiresAt:
		return filter.Time(m.ExpiresAt)
	case filter.FieldProtocol:
		return filter.TextOr(m.Protocol)
	case filter.FieldNamespace:
		return filter.TextOr(m.Namespace)
	case filter.FieldQoS:
		if m.QoS != nil {
			return filter.Int(int64(*m.QoS))
		}
	case filter.FieldRetain:
		return filter.Bool(m.Retain)
	case filter.FieldDuplicate:
		return filter.Bool(m.Duplicate)
	case filter.FieldPriority:
		return filter.Int(int64(m.Priority))
	case filter.FieldPartition:
		if m.Partition != nil {
			return filter.Int(int64(*m.Partition))
		}
	case filter.FieldOffset:
		if m.Offset != nil {
			return filter.Int(*m.Offset)
		}
	case filter.FieldQueue:
		return filter.TextOr(m.Queue)
	case filter.FieldExchange:
		if m.Protocol == "amqp" {
			return filter.Text(m.Exchange) // the default exchange is "", which is not none
		}
		return filter.TextOr(m.Exchange)
	case filter.FieldRoutingKey:
		return filter.TextOr(m.RoutingKey)
	case filter.FieldRedelivered:
		return filter.Bool(m.Redelivered)
	}
	return filter.None
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func (m *filterMessage) Property(name string) filter.Value {
	if v, ok := m.Properties[name]; ok {
		return filter.Text(v)
	}
	if len(m.Properties) > 0 {
		if v, ok := m.Properties[name+"-b64"]; ok {
			if b, err := base64.StdEncoding.DecodeString(v); err == nil {
				return filter.Bytes(b)
			}
		}
	}
	return filter.None
}

func (m *filterMessage) Header(i int) (string, filter.Value, bool) {
	if i >= len(m.Headers) {
		return "", filter.None, false
	}
	return m.Headers[i].Name, filter.HeaderValue(m.Headers[i].Value), true
}
