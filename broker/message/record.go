package message

import (
	"strconv"
)

// This file is the form in which a message rests in a log: a Kafka record, that any
// Kafka consumer can read and that says everything the message says.
//
// A record that a Kafka client produced is kept as it came, and its headers are the
// client's, whatever their names. A record that the broker made of a message has the
// broker's headers first, in this order and each only when there is something to say:
//
//	rmq-proto      always: which protocol the message came by
//	rmq-address    when neither the stream's name nor the key says the address
//	rmq-partition  Partition
//	rmq-qos        when not 1
//	expires-at     ExpiresAt
//	priority       Priority
//	rmq-delay      Delay
//	rmq-retain     Retain
//	rmq-reply-to   when the reply address has no readable topic name
//	rmq-native     Native
//
// then Message.Headers, with the first reply-to spelled as a topic name. If the first of
// Headers has a name of that list, a null rmq-native divides the two. The key is the
// message's own, or else its address when that lies below the stream's name.
//
// Which of the two a record is cannot be told from its headers, for a Kafka client may
// send these names too: the batch it is in must say so, and FromRecord is told.

// recordNames are the broker's headers in their order.
var recordNames = [...]string{
	RmqProto, RmqAddress, RmqPartition, RmqQoS, ExpiresAt, Priority, RmqDelay, RmqRetain, RmqReplyTo, RmqNative,
}

// RecordKey returns the key of the record that rests in stream, an address, or, when that
// is empty, in no stream.
func RecordKey(m *Message, stream string) []byte {
	if m.Key == nil && Below(m.Address, stream) {
		return []byte(m.Address)
	}
	return m.Key
}

// AppendRecordHeaders appends the headers of the record that the broker makes of m, in
// stream, an address, or, when that is empty, in no stream.
func AppendRecordHeaders(dst []Header, m *Message, stream string) []Header {
	dst = append(dst, Header{RmqProto, protoText(m.Source)})
	if !saysAddress(m, stream) {
		dst = append(dst, Header{RmqAddress, []byte(m.Address)})
	}
	if m.Partition != 0 {
		dst = append(dst, number(RmqPartition, int64(m.Partition)-1))
	}
	if m.QoS != 1 {
		dst = append(dst, number(RmqQoS, int64(m.QoS)))
	}
	if m.ExpiresAt != 0 {
		dst = append(dst, number(ExpiresAt, m.ExpiresAt))
	}
	if m.Priority != 0 {
		dst = append(dst, number(Priority, int64(m.Priority)))
	}
	if m.Delay != 0 {
		dst = append(dst, number(RmqDelay, m.Delay))
	}
	if m.Retain {
		dst = append(dst, Header{RmqRetain, textOne})
	}
	reply, topic := replyIndex(m.Headers), ""
	if m.Source == Kafka {
		reply = -1 // a topic name already
	}
	if reply >= 0 {
		address := string(m.Headers[reply].Value)
		if topic = KafkaName(address); FromKafkaName(topic) != address {
			dst = append(dst, Header{RmqReplyTo, m.Headers[reply].Value})
		}
	}
	if m.Native != nil || len(m.Headers) > 0 && recordName(m.Headers[0].Name) {
		dst = append(dst, Header{RmqNative, m.Native})
	}
	from := len(dst)
	dst = append(dst, m.Headers...)
	if reply >= 0 {
		dst[from+reply].Value = []byte(topic)
	}
	return dst
}

var (
	textOne    = []byte("1")
	textDigits = [...][]byte{[]byte("0"), textOne, []byte("2"), []byte("3"), []byte("4")}
)

func number(name string, n int64) Header {
	if 0 <= n && n < int64(len(textDigits)) {
		return Header{name, textDigits[n]}
	}
	return Header{name, strconv.AppendInt(nil, n, 10)}
}

// saysAddress tells whether FromRecord will know m's address from the stream's name and
// the record's key.
func saysAddress(m *Message, stream string) bool {
	if m.Key == nil {
		return m.Address == stream || Below(m.Address, stream)
	}
	return m.Address == stream && !Below(string(m.Key), stream)
}

// replyIndex finds the first reply-to that has a value.
func replyIndex(headers []Header) int {
	for i := range headers {
		if headers[i].Name == ReplyTo {
			if headers[i].Value == nil {
				return -1
			}
			return i
		}
	}
	return -1
}

func recordName(name string) bool {
	for _, n := range recordNames {
		if n == name {
			return true
		}
	}
	return false
}

// FromRecord returns the message that a record in stream holds. made tells whether the
// broker made the record; otherwise a Kafka client did. The message keeps key, value and
// headers, and may change elements of headers.
func FromRecord(key, value []byte, headers []Header, time int64, stream string, made bool) Message {
	m := Message{Source: Kafka, Address: stream, Key: key, Value: value, Headers: headers, Time: time, QoS: 1}
	if !made {
		m.ApplyControls()
		return m
	}
	if key != nil && Below(string(key), stream) {
		m.Address, m.Key = string(key), nil
	}
	var reply []byte
	n := 0
	for _, name := range recordNames {
		if n == len(headers) || headers[n].Name != name {
			continue
		}
		text := headers[n].Value
		n++
		switch name {
		case RmqProto:
			m.Source = protocolNamed(text)
		case RmqAddress:
			m.Address, m.Key = string(text), key
		case RmqPartition:
			m.Partition = int32(integer(text)) + 1
		case RmqQoS:
			m.QoS = uint8(integer(text))
		case ExpiresAt:
			m.ExpiresAt = integer(text)
		case Priority:
			m.Priority = uint8(integer(text))
		case RmqDelay:
			m.Delay = integer(text)
		case RmqRetain:
			m.Retain = true
		case RmqReplyTo:
			reply = text
		case RmqNative:
			m.Native = text
		}
	}
	if m.Headers = headers[n:]; len(m.Headers) == 0 {
		m.Headers = nil
	}
	if m.Source == Kafka {
		return m
	}
	if i := replyIndex(m.Headers); i >= 0 {
		if reply == nil {
			reply = []byte(FromKafkaName(string(m.Headers[i].Value)))
		}
		m.Headers[i].Value = reply
	}
	return m
}

// integer reads a number that the broker wrote; a record that it did not write as it
// should reads as 0.
func integer(text []byte) int64 {
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func protocolNamed(text []byte) Protocol {
	for p, name := range protocolNames {
		if string(text) == name {
			return Protocol(p)
		}
	}
	return Kafka
}
