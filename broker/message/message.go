// Package message is the message as the kernel knows it, and the rules by
// which names and messages cross from one protocol to another.
//
// A Message has a nullable key, a nullable value, ordered repeatable headers
// and a time: what a Kafka record can hold. What an MQTT packet or an AMQP
// content header says beyond that is either one of the standard headers
// (ContentType, ReplyTo, ...), one of the typed fields of Message, or, so that
// the same protocol gets it back exactly, in Native.
//
// names.go holds the two-way spelling of addresses per protocol; standard.go the
// names of headers with a meaning and what a client may ask for by them;
// foreign.go what another protocol sees of a message; record.go the form in which
// a message rests in a log.
package message

import (
	"bytes"
	"strings"
)

// Protocol tells which protocol a message came from.
type Protocol uint8

const (
	Kafka Protocol = iota
	MQTT
	AMQP
)

var protocolNames = [...]string{"kafka", "mqtt", "amqp"}

// String returns the name as it stands in the header rmq-proto.
func (p Protocol) String() string {
	if int(p) < len(protocolNames) {
		return protocolNames[p]
	}
	return "unknown"
}

// Header is one name and value of a message. Order and repeats are kept. A nil
// Value is Kafka's null, which is not the empty value.
type Header struct {
	Name  string
	Value []byte
}

// Message is one message, whichever protocol it came from. Slices are borrowed:
// who receives a Message says how long they live, and nobody writes to them.
type Message struct {
	Source  Protocol
	Address string // in MQTT spelling: levels divided by "/"

	Key   []byte // nil: none
	Value []byte // nil: null (a tombstone); otherwise the body, possibly empty
	// Headers in the kernel's form: standard headers first (see standard.go), then the
	// client's own in their order. Never the typed fields below.
	Headers []Header

	Time      int64 // broker's receive time, ms since 1970; 0: the kernel stamps it
	ExpiresAt int64 // broker time in ms at which the message is void; 0: never
	Delay     int64 // ms to hold the message back before it is routed; 0: none
	QoS       uint8 // 0, 1, 2; AMQP transient and Kafka acks=0 are 0, durable is 1
	Priority  uint8 // AMQP priority; 0 when none
	Retain    bool  // MQTT RETAIN as published, or header rmq-retain
	// Partition is one more than the partition that header rmq-partition asks for; 0: the
	// stream decides by the address.
	Partition int32

	// Native is the source protocol's exact form of what headers cannot say, in a
	// format that only the source's adapter reads (MQTT: the property block; AMQP:
	// exchange, routing key and content header). nil when there is nothing to add.
	Native []byte
}

// Header returns the value of the first header with that name, and whether
// there is one.
func (m *Message) Header(name string) ([]byte, bool) {
	for i := range m.Headers {
		if m.Headers[i].Name == name {
			return m.Headers[i].Value, true
		}
	}
	return nil, false
}

// Clone returns a copy that shares no memory with m.
func (m *Message) Clone() Message {
	c := *m
	c.Key, c.Value, c.Native = bytes.Clone(m.Key), bytes.Clone(m.Value), bytes.Clone(m.Native)
	c.Address = strings.Clone(m.Address)
	c.Headers = make([]Header, len(m.Headers))
	for i, h := range m.Headers {
		c.Headers[i] = Header{strings.Clone(h.Name), bytes.Clone(h.Value)}
	}
	return c
}

// Size is how many bytes the message's parts have together.
func (m *Message) Size() int {
	n := len(m.Address) + len(m.Key) + len(m.Value) + len(m.Native)
	for i := range m.Headers {
		n += len(m.Headers[i].Name) + len(m.Headers[i].Value)
	}
	return n
}
