package message

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"
)

// This file gives every address one name in each protocol and reads it back.
//
// An address is a list of levels; its own form, everywhere in the broker, is the
// MQTT spelling: levels divided by "/". Kafka and AMQP names divide them by ".",
// which is an ordinary character in MQTT, so what is ordinary in one protocol and
// special in another is escaped (names_escape.go):
//
//	MQTT                    Kafka                         AMQP
//	sensors/dev1/temp       sensors.dev1.temp             sensors.dev1.temp
//	spBv1.0/G1              spBv1_x2E_0.G1                spBv1_x2E_0.G1
//	a_x2E_b/c               a_x5F_x2E_b.c                 a_x5F_x2E_b.c
//	$kafka/__transactions   __transactions                $kafka.__transactions
//
// What holds, and is tested as a property: every legal Kafka topic, every MQTT
// topic, and every AMQP key without "/" is the name of exactly one address and
// reads back unchanged. An AMQP key may divide levels by "/" too: a/b and a.b are
// two keys to AMQP, whose own routing uses the exact bytes, and one address.
//
// # Names that need the catalogue
//
// An address whose name is too long for the protocol, or which Kafka does not
// allow at all ("", "." and ".."), is named by as much of the spelling as fits,
// "_h" and 26 characters of a hash. Such a name does not contain its address.
// KafkaName and AMQPKey make it without help; to read it back the caller asks a
// catalogue of addresses seen, before FromKafkaName or FromAMQPKey, whenever
// IsHashed says so. A name that only looks so, and is not in the catalogue, is
// literal: every legal name already means one short address, so there is no room
// to reserve.

const (
	KafkaNameMax = 249 // bytes of a topic name
	AMQPNameMax  = 255 // bytes of a short string: routing keys, exchange and queue names
)

// KafkaName returns the topic name of an address. It returns address itself,
// without allocating, when the two are the same.
func KafkaName(address string) string {
	var buf [KafkaNameMax + 7]byte
	return same(AppendKafkaName(buf[:0], address), address)
}

// AppendKafkaName appends the topic name of an address.
func AppendKafkaName(dst []byte, address string) []byte {
	start := len(dst)
	dst = transcode(dst, address, mqttSpelling, kafkaSpelling)
	name := swapInternal(dst[start:])
	if len(name) > KafkaNameMax || reservedInKafka(name) {
		return appendHashed(dst[:start], name, address, KafkaNameMax)
	}
	return append(dst[:start], name...)
}

// FromKafkaName returns the address that a topic name spells. It accepts any
// string; whether it is a legal topic name is ValidKafkaName's to say.
func FromKafkaName(topic string) (address string) {
	var buf, swapped [KafkaNameMax + 7]byte
	name := topic
	if strings.HasPrefix(topic, "__") || strings.HasPrefix(topic, kafkaInternal) {
		name = string(swapInternal(append(swapped[:0], topic...)))
	}
	return same(transcode(buf[:0], name, kafkaSpelling, mqttSpelling), topic)
}

// ValidKafkaName tells whether Kafka allows a topic of that name.
func ValidKafkaName(topic string) bool {
	if len(topic) > KafkaNameMax || reservedInKafka([]byte(topic)) {
		return false
	}
	for i := range len(topic) {
		if c := topic[i]; c != '.' && !kafkaLiteral(c) {
			return false
		}
	}
	return true
}

func reservedInKafka(name []byte) bool {
	switch string(name) {
	case "", ".", "..":
		return true
	}
	return false
}

// kafkaInternal is how "$kafka/__" is spelled in Kafka by the common rules.
const kafkaInternal = "_x24_kafka.__"

// swapInternal exchanges "__" and kafkaInternal at the front of a topic name, so that
// Kafka's internal topics lie under $kafka/. An exchange loses nothing: an address that
// begins with "__" at the root is spelled by the other of the two.
func swapInternal(name []byte) []byte {
	switch {
	case len(name) >= 2 && name[0] == '_' && name[1] == '_':
		return append([]byte(kafkaInternal), name[2:]...)
	case len(name) >= len(kafkaInternal) && string(name[:len(kafkaInternal)]) == kafkaInternal:
		return name[len(kafkaInternal)-2:]
	}
	return name
}

// AMQPKey returns the routing key of an address, which is also the name of the queue
// that an address reaches. It returns address itself, without allocating, when the two
// are the same.
func AMQPKey(address string) string {
	var buf [AMQPNameMax + 1]byte
	return same(AppendAMQPKey(buf[:0], address), address)
}

// AppendAMQPKey appends the routing key of an address.
func AppendAMQPKey(dst []byte, address string) []byte {
	start := len(dst)
	dst = transcode(dst, address, mqttSpelling, amqpSpelling)
	if name := dst[start:]; len(name) > AMQPNameMax {
		return appendHashed(dst[:start], name, address, AMQPNameMax)
	}
	return dst
}

// FromAMQPKey returns the address that a routing key or a queue name spells.
func FromAMQPKey(key string) (address string) {
	var buf [AMQPNameMax + 1]byte
	return same(transcode(buf[:0], key, amqpSpelling, mqttSpelling), key)
}

func same(spelled []byte, name string) string {
	if string(spelled) == name {
		return name
	}
	return string(spelled)
}

// appendHashed appends the name of an address whose spelling does not fit. It may
// write over name.
func appendHashed(dst, name []byte, address string, limit int) []byte {
	sum := sha256.Sum256([]byte(address))
	var hash [56]byte
	base32Lower.Encode(hash[:52], sum[:])
	dst = append(dst, cut(name, limit-hashedLen)...)
	dst = append(dst, "_h"...)
	return append(dst, hash[:hashedLen-2]...)
}

var base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// IsHashed tells whether a Kafka or AMQP name ends as one does that stands for an
// address too long to spell: then a catalogue is to be asked first.
func IsHashed(name string) bool {
	if len(name) < hashedLen {
		return false
	}
	tail := name[len(name)-hashedLen:]
	if tail[:2] != "_h" {
		return false
	}
	for i := 2; i < len(tail); i++ {
		if c := tail[i]; (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}

// ---- exchanges -------------------------------------------------------------

// TopicExchange is the exchange whose keys are addresses, as the default exchange's
// are: the one that other protocols' messages appear to come from.
const TopicExchange = "amq.topic"

// AddressOf returns the address of what is published to an exchange with a key: at the
// root for the default exchange and amq.topic, below the exchange's own levels for any
// other. An empty key has no levels.
func AddressOf(exchange, key string) string {
	if exchange == "" || exchange == TopicExchange {
		return FromAMQPKey(key)
	}
	if key == "" {
		return FromAMQPKey(exchange)
	}
	var buf [2*AMQPNameMax + 1]byte
	b := transcode(buf[:0], exchange, amqpSpelling, mqttSpelling)
	b = append(b, '/')
	return string(transcode(b, key, amqpSpelling, mqttSpelling))
}

// KeyIn returns the routing key by which an address is known in an exchange: the
// reverse of AddressOf. ok is false when the address is not below the exchange's levels.
func KeyIn(exchange, address string) (key string, ok bool) {
	if exchange == "" || exchange == TopicExchange {
		return AMQPKey(address), true
	}
	root := FromAMQPKey(exchange)
	switch {
	case address == root:
		return "", true
	case Below(address, root):
		return AMQPKey(address[len(root)+1:]), true
	}
	return "", false
}

// ---- streams ---------------------------------------------------------------

// Below tells whether an address has the levels of root and more. Nothing is below the
// empty address.
func Below(address, root string) bool {
	return len(address) > len(root) && root != "" && address[len(root)] == '/' && address[:len(root)] == root
}

// FirstLevel returns the address of the stream that captures address when no stream is
// its home: its first level, with the empty levels before it if it begins with "/".
func FirstLevel(address string) string {
	n := 0
	for n < len(address) && address[n] == '/' {
		n++
	}
	if i := strings.IndexByte(address[n:], '/'); i >= 0 {
		return address[:n+i]
	}
	return address
}

// HomeKafkaName returns the topic name of the stream that captures address.
func HomeKafkaName(address string) string { return KafkaName(FirstLevel(address)) }

// DollarRoot tells whether the address lies under a root such as $SYS: such roots are
// not matched by wildcards at the first level, not listed to Kafka and not captured.
func DollarRoot(address string) bool { return len(address) > 0 && address[0] == '$' }

// Capturable tells whether a message may be captured into a stream by its address. Not
// under $-roots, nor where a broker made the name up.
func Capturable(address string) bool {
	return address != "" && !DollarRoot(address) &&
		!strings.HasPrefix(address, "amq/gen-") && !strings.HasPrefix(address, "amq/rabbitmq/reply-to")
}

// ---- filters, for lists ------------------------------------------------------

// FilterToPattern writes an MQTT filter as the AMQP topic pattern that matches the same
// addresses. exact is false when no pattern does: a literal level "*" or "#", or a
// pattern too long for AMQP. Then pattern is the nearest thing to show.
func FilterToPattern(filter string) (pattern string, exact bool) {
	var buf [AMQPNameMax + 1]byte
	b, exact := buf[:0], true
	for i, level := range strings.Split(filter, "/") {
		if i > 0 {
			b = append(b, '.')
		}
		switch level {
		case "+":
			b = append(b, '*')
		case "#":
			b = append(b, '#')
		default:
			at := len(b)
			b = transcode(b, level, mqttSpelling, amqpSpelling)
			if word := string(b[at:]); word == "*" || word == "#" {
				exact = false
			}
		}
	}
	return same(b, filter), exact && len(b) <= AMQPNameMax
}

// PatternToFilter writes an AMQP topic pattern as the MQTT filter that matches the same
// addresses. exact is false when no filter does: "#" before the end, which then stands
// in filter all the same.
func PatternToFilter(pattern string) (filter string, exact bool) {
	var buf [AMQPNameMax + 1]byte
	b, exact := buf[:0], true
	for rest, more := pattern, true; more; {
		var word string
		word, rest, more = cutAny(rest, '.', '/')
		switch {
		case word == "*":
			b = append(b, '+')
		case word == "#":
			b = append(b, '#')
			exact = exact && !more
		default:
			b = transcode(b, word, amqpSpelling, mqttSpelling)
		}
		if more {
			b = append(b, '/')
		}
	}
	return same(b, pattern), exact
}

// cutAny slices s around the first of two separators.
func cutAny(s string, sep, alt byte) (before, after string, found bool) {
	for i := range len(s) {
		if s[i] == sep || s[i] == alt {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}
