package adminapi

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"
)

// Message is a message as people and scripts see it, whichever protocol carried it:
// the live stream, the retained list and `rmq consume -o json` all have this form.
// Fields that a protocol does not have are absent.
//
// In JSON, bytes that are UTF-8 are a string; other bytes are base64 with
// "<field>_encoding": "base64" beside them. A null value is null, not "".
type Message struct {
	Protocol string // that carried it: mqtt, kafka or amqp
	Target   string // what was read, as a command takes it: "kafka:orders"

	Namespace  string
	Address    string // MQTT spelling; known to the broker only
	Topic      string // MQTT topic name or Kafka topic
	Queue      string
	Exchange   string
	RoutingKey string
	Partition  *int32
	Offset     *int64

	Key     []byte   // nil: none
	Value   []byte   // nil: null
	Headers []Header // in order, repeats kept
	// Properties are what the protocol has besides headers, under the kernel's standard
	// names: content-type, correlation-id, reply-to… Bytes that are not UTF-8 are base64
	// under "<name>-b64".
	Properties map[string]string

	Time        time.Time
	ExpiresAt   time.Time
	QoS         *uint8
	Retain      bool
	Duplicate   bool // MQTT DUP
	Redelivered bool
	Priority    uint8
	Size        int  // of the whole value
	Truncated   bool // Value is only its beginning
}

// Header is one name and value of a message. A nil Value is Kafka's null.
type Header struct {
	Name  string
	Value []byte
}

type wireMessage struct {
	Protocol      string            `json:"protocol"`
	Target        string            `json:"target,omitempty"`
	Namespace     string            `json:"namespace,omitempty"`
	Address       string            `json:"address,omitempty"`
	Topic         string            `json:"topic,omitempty"`
	Queue         string            `json:"queue,omitempty"`
	Exchange      *string           `json:"exchange,omitempty"`
	RoutingKey    string            `json:"routing_key,omitempty"`
	Partition     *int32            `json:"partition,omitempty"`
	Offset        *int64            `json:"offset,omitempty"`
	Key           *string           `json:"key,omitempty"`
	KeyEncoding   string            `json:"key_encoding,omitempty"`
	Value         *string           `json:"value"`
	ValueEncoding string            `json:"value_encoding,omitempty"`
	Headers       []wireHeader      `json:"headers,omitempty"`
	Properties    map[string]string `json:"properties,omitempty"`
	Time          *time.Time        `json:"time,omitempty"`
	ExpiresAt     *time.Time        `json:"expires_at,omitempty"`
	QoS           *uint8            `json:"qos,omitempty"`
	Retain        bool              `json:"retain,omitempty"`
	Duplicate     bool              `json:"duplicate,omitempty"`
	Redelivered   bool              `json:"redelivered,omitempty"`
	Priority      uint8             `json:"priority,omitempty"`
	Size          int               `json:"size"`
	Truncated     bool              `json:"truncated,omitempty"`
}

type wireHeader struct {
	Name     string  `json:"name"`
	Value    *string `json:"value"`
	Encoding string  `json:"encoding,omitempty"`
}

// MarshalJSON writes the form that Message documents.
func (m Message) MarshalJSON() ([]byte, error) { return json.Marshal(m.wire()) }

func (m *Message) wire() *wireMessage {
	w := &wireMessage{
		Protocol: m.Protocol, Target: m.Target, Namespace: m.Namespace, Address: m.Address, Topic: m.Topic, Queue: m.Queue,
		RoutingKey: m.RoutingKey, Partition: m.Partition, Offset: m.Offset, Properties: m.Properties, QoS: m.QoS,
		Retain: m.Retain, Duplicate: m.Duplicate, Redelivered: m.Redelivered, Priority: m.Priority, Size: m.Size, Truncated: m.Truncated,
	}
	if m.Size == 0 {
		w.Size = len(m.Value)
	}
	if m.Protocol == "amqp" || m.Exchange != "" {
		w.Exchange = &m.Exchange // the default exchange is "", which is not none
	}
	w.Key, w.KeyEncoding = text(m.Key)
	w.Value, w.ValueEncoding = text(m.Value)
	w.Time, w.ExpiresAt = stamp(m.Time), stamp(m.ExpiresAt)
	for _, h := range m.Headers {
		v, enc := text(h.Value)
		w.Headers = append(w.Headers, wireHeader{h.Name, v, enc})
	}
	return w
}

// UnmarshalJSON reads what MarshalJSON writes.
func (m *Message) UnmarshalJSON(src []byte) error {
	var w wireMessage
	if err := json.Unmarshal(src, &w); err != nil {
		return err
	}
	*m = Message{
		Protocol: w.Protocol, Target: w.Target, Namespace: w.Namespace, Address: w.Address, Topic: w.Topic, Queue: w.Queue,
		RoutingKey: w.RoutingKey, Partition: w.Partition, Offset: w.Offset, Properties: w.Properties, QoS: w.QoS,
		Retain: w.Retain, Duplicate: w.Duplicate, Redelivered: w.Redelivered, Priority: w.Priority, Size: w.Size, Truncated: w.Truncated,
	}
	if w.Exchange != nil {
		m.Exchange = *w.Exchange
	}
	if w.Time != nil {
		m.Time = *w.Time
	}
	if w.ExpiresAt != nil {
		m.ExpiresAt = *w.ExpiresAt
	}
	var err error
	if m.Key, err = untext(w.Key, w.KeyEncoding); err != nil {
		return fmt.Errorf("key: %w", err)
	}
	if m.Value, err = untext(w.Value, w.ValueEncoding); err != nil {
		return fmt.Errorf("value: %w", err)
	}
	for _, h := range w.Headers {
		v, err := untext(h.Value, h.Encoding)
		if err != nil {
			return fmt.Errorf("header %s: %w", h.Name, err)
		}
		m.Headers = append(m.Headers, Header{h.Name, v})
	}
	return nil
}

const base64Encoding = "base64"

func text(b []byte) (*string, string) {
	if b == nil {
		return nil, ""
	}
	if utf8.Valid(b) {
		s := string(b)
		return &s, ""
	}
	s := base64.StdEncoding.EncodeToString(b)
	return &s, base64Encoding
}

func untext(s *string, encoding string) ([]byte, error) {
	if s == nil {
		return nil, nil
	}
	switch encoding {
	case "":
		return []byte(*s), nil
	case base64Encoding:
		b, err := base64.StdEncoding.DecodeString(*s)
		if err == nil && b == nil {
			b = []byte{}
		}
		return b, err
	}
	return nil, fmt.Errorf("unknown encoding %q", encoding)
}

func stamp(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	u := t.UTC().Truncate(time.Millisecond)
	return &u
}
