package mqttwire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"
)

// codec is any packet, for tests that treat all alike.
type codec struct {
	decoded any
	append  func(dst []byte) []byte
}

// decode reads one packet of any type.
func decode(v Version, src []byte) (c codec, n int, err error) {
	f, n, _, err := ReadFrame(src, v, PacketMax)
	if err != nil || n == 0 {
		return c, n, err
	}
	switch f.Type {
	case CONNECT:
		p := new(Connect)
		return codec{p, p.Append}, n, p.Decode(f)
	case CONNACK:
		p := new(Connack)
		return codec{p, func(b []byte) []byte { return p.Append(b, v) }}, n, p.Decode(v, f)
	case PUBLISH:
		p := new(Publish)
		return codec{p, func(b []byte) []byte { return p.Append(b, v) }}, n, p.Decode(v, f)
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		p := new(Ack)
		return codec{p, func(b []byte) []byte { return p.Append(b, v) }}, n, p.Decode(v, f)
	case SUBSCRIBE:
		p := new(Subscribe)
		return codec{p, func(b []byte) []byte { return p.Append(b, v) }}, n, p.Decode(v, f)
	case SUBACK, UNSUBACK:
		p := new(Suback)
		return codec{p, func(b []byte) []byte { return p.Append(b, v) }}, n, p.Decode(v, f)
	case UNSUBSCRIBE:
		p := new(Unsubscribe)
		return codec{p, func(b []byte) []byte { return p.Append(b, v) }}, n, p.Decode(v, f)
	case PINGREQ:
		return codec{nil, AppendPingreq}, n, f.Empty()
	case PINGRESP:
		return codec{nil, AppendPingresp}, n, f.Empty()
	case DISCONNECT:
		p := new(Disconnect)
		return codec{p, func(b []byte) []byte { return p.Append(b, v) }}, n, p.Decode(v, f)
	default:
		p := new(Auth)
		return codec{p, p.Append}, n, p.Decode(f)
	}
}

// unhex turns "30 05 'a/b' 00" into bytes: what is quoted is text.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	var b []byte
	for i, part := range strings.Split(s, "'") {
		if i%2 == 1 {
			b = append(b, part...)
			continue
		}
		h, err := hex.DecodeString(strings.Join(strings.Fields(part), ""))
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		b = append(b, h...)
	}
	return b
}

// Packets that are valid, and come out of Append as they went in.
var valid = []struct {
	spec string
	v    Version
	hex  string
	want any
}{
	{"MQTT5-3.1.2-1", V311, "10 0d 0004 'MQTT' 04 02 003c 0001 'c'",
		&Connect{Version: V311, CleanStart: true, KeepAlive: 60, ClientID: []byte("c")}},
	{"a bridge of MQTT 3.1.1", V311, "10 0d 0004 'MQTT' 84 00 0001 0001 'c'", &Connect{Version: V311, Bridge: true, KeepAlive: 1, ClientID: []byte("c")}},
	{"MQTT31 3.1", V31, "10 0f 0006 'MQIsdp' 03 00 0000 0001 'c'", &Connect{Version: V31, ClientID: []byte("c")}},
	{"MQTT5-3.1.3-1", V5, "10 37 0004 'MQTT' 05 ee 000a 05 11 0000000a 0002 'id' 05 18 00000005 0001 't' 0002 'wp'" +
		"0004 'user' 0004 'pass'", nil},
	{"MQTT311-3.1.2-19", V311, "10 18 0004 'MQTT' 04 c0 0000 0000 0004 'user' 0004 00ff0100",
		&Connect{Version: V311, HasUserName: true, HasPassword: true, ClientID: []byte{}, UserName: []byte("user"),
			Password: []byte{0, 0xff, 1, 0}}},
	{"MQTT5-3.1.2-19", V5, "10 12 0004 'MQTT' 05 40 0000 00 0000 0003 'tok'", // a password alone is allowed in 5
		&Connect{Version: V5, HasPassword: true, ClientID: []byte{}, Password: []byte("tok")}},

	{"MQTT311-3.2.2-2", V311, "20 02 01 00", &Connack{SessionPresent: true}},
	{"MQTT311-3.2.2-5", V311, "20 02 00 05", &Connack{Code: RefusedAuthority}},
	{"MQTT5-3.2.2-7", V5, "20 03 00 87 00", &Connack{Reason: NotAuthorized}},
	{"MQTT5-3.2.2-16", V5, "20 0a 00 00 07 12 0004 'auto'",
		&Connack{Properties: Properties(nil).String(AssignedClientID, "auto")}},

	{"MQTT5-2.2.1-2", V311, "30 07 0003 'a/b' 'hi'", &Publish{Topic: []byte("a/b"), Payload: []byte("hi")}},
	{"MQTT311-2.3.1-1", V311, "3b 07 0003 'a/b' 0102",
		&Publish{Dup: true, QoS: 1, Retain: true, Topic: []byte("a/b"), PacketID: 0x102, Payload: []byte{}}},
	{"MQTT5-2.2.2-1", V5, "34 08 0001 'a' 0007 00 'xy'",
		&Publish{QoS: 2, Topic: []byte("a"), PacketID: 7, Payload: []byte("xy")}},
	{"MQTT5-3.3.2-8", V5, "30 06 0000 03 23 0001",
		&Publish{Topic: []byte{}, Properties: Properties(nil).Uint16(TopicAlias, 1), Payload: []byte{}}},
	{"MQTT5-3.3.2-18", V5, "30 11 0001 't' 0c 26 0001 'k' 0001 '2' 0b 01 0b 8001", nil},
	{"MQTT5-1.5.4-3", V311, "30 08 0006 efbbbf 'abc'", &Publish{Topic: []byte("\ufeffabc"), Payload: []byte{}}},

	{"MQTT5-2.2.1-5", V311, "40 02 1234", &Ack{Type: PUBACK, PacketID: 0x1234}},
	{"MQTT5-3.4.2-1", V5, "40 03 0001 10", &Ack{Type: PUBACK, PacketID: 1, Reason: NoMatchingSubscribers}},
	{"MQTT5-3.5.2-1", V5, "50 08 0001 97 04 1f 0001 'q'",
		&Ack{Type: PUBREC, PacketID: 1, Reason: QuotaExceeded, Properties: Properties(nil).String(ReasonString, "q")}},
	{"MQTT5-3.6.1-1", V5, "62 02 0001", &Ack{Type: PUBREL, PacketID: 1}},
	{"MQTT5-3.7.2-1", V5, "70 03 0001 92", &Ack{Type: PUBCOMP, PacketID: 1, Reason: PacketIDNotFound}},

	{"MQTT311-3.8.3-3", V311, "82 0a 0001 0001 'a' 01 0001 'b' 02",
		&Subscribe{PacketID: 1, Filters: []Filter{{Filter: []byte("a"), QoS: 1}, {Filter: []byte("b"), QoS: 2}}}},
	{"MQTT5-3.8.3-3", V5, "82 09 0001 00 0003 'a/#' 2d",
		&Subscribe{PacketID: 1, Filters: []Filter{{Filter: []byte("a/#"), QoS: 1, NoLocal: true, RetainAsPublished: true,
			RetainHandling: 2}}}},
	{"MQTT5 3.8.2.1.2", V5, "82 09 0001 02 0b 05 0001 'a' 00",
		&Subscribe{PacketID: 1, Properties: Properties(nil).Varint(SubscriptionID, 5), Filters: []Filter{{Filter: []byte("a")}}}},
	{"MQTT311-3.9.3-2", V311, "90 05 0001 01 80 00",
		&Suback{Type: SUBACK, PacketID: 1, Reasons: []Reason{GrantedQoS1, UnspecifiedError, GrantedQoS0}}},
	{"MQTT5-3.9.3-2", V5, "90 05 0001 00 02 9e",
		&Suback{Type: SUBACK, PacketID: 1, Reasons: []Reason{GrantedQoS2, SharedNotSupported}}},
	{"MQTT5-3.10.3-2", V5, "a2 06 0001 00 0001 'a'", &Unsubscribe{PacketID: 1, Filters: [][]byte{[]byte("a")}}},
	{"MQTT311-3.10.4-4", V311, "b0 02 0001", &Suback{Type: UNSUBACK, PacketID: 1}},
	{"MQTT5-3.11.3-2", V5, "b0 04 0001 00 11", &Suback{Type: UNSUBACK, PacketID: 1, Reasons: []Reason{NoSubscriptionExisted}}},
	{"MQTT5-3.12.4-1", V5, "c0 00", nil},
	{"MQTT5-3.12.4-1", V5, "d0 00", nil},
	{"MQTT311-3.14.4-1", V311, "e0 00", &Disconnect{}},
	{"MQTT5-3.14.4-3", V5, "e0 00", &Disconnect{}},
	{"MQTT5 3.14.2.1", V5, "e0 01 04", &Disconnect{Reason: DisconnectWithWill}},
	{"MQTT5-3.14.2-3", V5, "e0 07 8e 05 1f 0002 'by'",
		&Disconnect{Reason: SessionTakenOver, Properties: Properties(nil).String(ReasonString, "by")}},
	{"MQTT5-4.12.0-5", V5, "f0 06 18 04 15 0001 'm'",
		&Auth{Reason: ContinueAuthentication, Properties: Properties(nil).String(AuthMethod, "m")}},
}

func TestValid(t *testing.T) {
	for _, tt := range valid {
		src := unhex(t, tt.hex)
		src[1] = byte(len(src) - 2) // the lengths above are for the reader
		c, n, err := decode(tt.v, src)
		if err != nil || n != len(src) {
			t.Errorf("%s: %s: decoded %d of %d bytes, %v", tt.spec, tt.hex, n, len(src), err)
			continue
		}
		if tt.want != nil && !reflect.DeepEqual(c.decoded, tt.want) {
			t.Errorf("%s: %s:\n got %+v\nwant %+v", tt.spec, tt.hex, c.decoded, tt.want)
		}
		if again := c.append(nil); !bytes.Equal(again, src) {
			t.Errorf("%s: encoding again\n got %x\nwant %x", tt.spec, again, src)
		}
	}
}

// Forms that are valid and not the ones that Append chooses.
func TestLongForms(t *testing.T) {
	tests := []struct {
		spec, hex, short string
	}{
		{"MQTT5-3.4.2-1", "40 04 0001 00 00", "40 02 0001"},
		{"MQTT5 3.14.2.1", "e0 02 00 00", "e0 00"},
		{"MQTT5-3.15.2-1", "f0 02 00 00", "f0 00"},
	}
	for _, tt := range tests {
		c, _, err := decode(V5, unhex(t, tt.hex))
		if err != nil {
			t.Errorf("%s: %s: %v", tt.spec, tt.hex, err)
			continue
		}
		if got, want := c.append(nil), unhex(t, tt.short); !bytes.Equal(got, want) {
			t.Errorf("%s: %s became %x, want %x", tt.spec, tt.hex, got, want)
		}
	}
}

func TestInvalid(t *testing.T) {
	const connect5 = "10 00 0004 'MQTT' 05 "
	const connect4 = "10 00 0004 'MQTT' 04 "
	tests := []struct {
		spec string
		v    Version
		hex  string // the second byte is corrected to the true length, unless it starts with a dot
		want Reason
	}{
		{"MQTT5 2.1.2", V5, "00 00", Malformed},
		{"MQTT5-2.1.3-1", V5, "41 02 0001", Malformed},
		{"MQTT5-2.1.3-1", V5, "c1 00", Malformed},
		{"MQTT5-3.6.1-1", V5, "60 02 0001", Malformed},
		{"MQTT5-3.8.1-1", V5, "80 06 0001 00 0001 'a' 00", Malformed},
		{"MQTT5-3.10.1-1", V5, "a0 06 0001 00 0001 'a'", Malformed},
		{"MQTT5-3.15.1-1", V5, "f1 00", Malformed},
		{"MQTT311-2.2.2-2", V311, "e2 00", Malformed},
		{"MQTT311 2.2.1", V311, "f0 00", ProtocolError},
		{"MQTT5-1.5.5-1", V5, ".30 ff ff ff ff 01", Malformed},
		{"MQTT5-1.5.5-1", V5, ".30 83 00 0001 'a'", Malformed},
		{"MQTT5-1.5.5-1", V5, "30 00 0001 'a' 80 00", Malformed},
		{"MQTT5-1.5.5-1", V5, "30 00 0001 'a' ff ff ff ff", Malformed},

		{"MQTT5-1.5.4-1", V5, "30 00 0003 'a' c3 28 00", Malformed},
		{"MQTT5-1.5.4-1", V311, "30 00 0003 eda080", Malformed}, // U+D800
		{"MQTT5-1.5.4-2", V311, "30 00 0003 'a' 00 'b'", Malformed},
		{"MQTT5-1.5.7-1", V5, "30 00 0001 'a' 07 26 0001 ff 0001 'v'", Malformed},
		{"MQTT5-1.5.7-1", V5, "30 00 0001 'a' 07 26 0001 'k' 0001 00", Malformed},

		{"MQTT5-3.1.0-1", V5, "10 00 0004 'MQTT' 05 02", Malformed},
		{"MQTT5-3.1.2-1", V5, "10 00 0004 'MQTX' 05 02 0000 00 0000", UnsupportedVersion},
		{"MQTT5-3.1.2-2", V5, "10 00 0004 'MQTT' 06 02 0000 00 0000", UnsupportedVersion},
		{"MQTT311-3.1.2-2", V311, "10 00 0004 'MQTT' 03 02 0000 0000", UnsupportedVersion},
		{"MQTT5-3.1.2-3", V5, connect5 + "03 0000 00 0000", Malformed},
		{"MQTT5-3.1.2-11", V5, connect5 + "0a 0000 00 0000", Malformed},
		{"MQTT5-3.1.2-12", V5, connect5 + "1e 0000 00 0000 00 0001 't' 0000", Malformed},
		{"MQTT5-3.1.2-13", V5, connect5 + "22 0000 00 0000", Malformed},
		{"MQTT5-3.1.2-9", V5, connect5 + "06 0000 00 0000", Malformed},
		{"MQTT5-3.1.2-17", V5, connect5 + "82 0000 00 0000", Malformed},
		{"MQTT5-3.1.2-18", V5, connect5 + "02 0000 00 0000 0001 'p'", Malformed},
		{"MQTT311-3.1.2-22", V311, connect4 + "42 0000 0000 0001 'p'", Malformed},
		{"MQTT5-3.1.3-3", V5, connect5 + "02 0000 00", Malformed},
		{"MQTT5-3.1.3-4", V5, connect5 + "02 0000 00 0001 ff", Malformed},
		{"MQTT5-3.1.3-11", V5, connect5 + "06 0000 00 0000 00 0001 ff 0000", Malformed},
		{"MQTT5-3.1.3-12", V5, connect5 + "82 0000 00 0000 0001 ff", Malformed},
		{"MQTT5-4.7.0-1", V5, connect5 + "06 0000 00 0000 00 0003 'a/#' 0000", TopicNameInvalid},
		{"MQTT5 3.1.2.11.3", V5, connect5 + "02 0000 03 21 0000 0000", ProtocolError},     // receive maximum 0
		{"MQTT5 3.1.2.11.4", V5, connect5 + "02 0000 05 27 00000000 0000", ProtocolError}, // maximum packet size 0
		{"MQTT5 3.1.2.11.6", V5, connect5 + "02 0000 02 19 02 0000", ProtocolError},       // request response information 2
		{"MQTT5 3.1.2.11.2", V5, connect5 + "02 0000 0a 11 00000001 11 00000001 0000", ProtocolError},
		{"MQTT5 3.1.2.11.10", V5, connect5 + "02 0000 04 16 0001 'd' 0000", ProtocolError}, // data without method
		{"MQTT5 2.2.2.2", V5, connect5 + "02 0000 03 23 0001 0000", Malformed},             // topic alias in CONNECT
		{"MQTT5 2.2.2.2", V5, connect5 + "02 0000 01 7e 0000", Malformed},                  // no such property
		{"MQTT5-2.2.2-1", V5, connect5 + "02 0000 05 11 0000 0000", Malformed},             // property cut short

		{"MQTT5-3.2.2-1", V5, "20 03 02 00 00", Malformed},
		{"MQTT5-3.2.2-6", V5, "20 03 01 87 00", ProtocolError},
		{"MQTT5-3.2.2-8", V5, "20 03 00 8e 00", ProtocolError},
		{"MQTT311-3.2.2-4", V311, "20 02 01 02", ProtocolError},

		{"MQTT5-3.3.1-4", V5, "36 00 0001 'a' 0001 00", Malformed},
		{"MQTT5-3.3.1-2", V5, "38 00 0001 'a' 00", Malformed},
		{"MQTT5-2.2.1-3", V5, "32 00 0001 'a' 0000 00", ProtocolError},
		{"MQTT5-3.3.2-1", V5, "30 00 0005 'a'", Malformed},
		{"MQTT5-3.3.2-2", V5, "30 00 0003 'a/+' 00", TopicNameInvalid},
		{"MQTT5-3.3.2-2", V311, "30 00 0001 '#'", TopicNameInvalid},
		{"MQTT5-4.7.3-1", V311, "30 00 0000", TopicNameInvalid},
		{"MQTT5-4.7.3-1", V5, "30 00 0000 00", ProtocolError},
		{"MQTT5-3.3.2-8", V5, "30 00 0000 03 23 0000", TopicAliasInvalid},
		{"MQTT5 3.3.2.3.2", V5, "30 00 0001 'a' 02 01 02", ProtocolError},
		{"MQTT5-3.3.2-13", V5, "30 00 0001 'a' 04 08 0001 ff", Malformed},
		{"MQTT5-3.3.2-14", V5, "30 00 0001 'a' 06 08 0003 'a/#'", ProtocolError},
		{"MQTT5-3.3.2-19", V5, "30 00 0001 'a' 04 03 0001 ff", Malformed},
		{"MQTT5 3.3.2.3.2", V5, "30 00 0001 'a' 04 01 00 01 00", ProtocolError},
		{"MQTT5-3.3.4-6", V5, "30 00 0001 'a' 02 0b 00", ProtocolError},
		{"MQTT5 2.2.2.2", V5, "30 00 0001 'a' 05 11 00000000", Malformed},

		{"MQTT5-2.2.1-5", V5, "40 02 0000", ProtocolError},
		{"MQTT5-3.4.2-1", V5, "40 03 0001 92", ProtocolError},
		{"MQTT5-3.5.2-1", V5, "50 03 0001 11", ProtocolError},
		{"MQTT5-3.6.2-1", V5, "62 03 0001 80", ProtocolError},
		{"MQTT5-3.7.2-1", V5, "70 03 0001 10", ProtocolError},
		{"MQTT5-3.4.2-1", V5, "40 01 00", Malformed},
		{"MQTT311 3.4.2", V311, "40 03 0001 00", Malformed},

		{"MQTT5-3.8.3-2", V5, "82 03 0001 00", ProtocolError},
		{"MQTT311-3.8.3-3", V311, "82 02 0001", ProtocolError},
		{"MQTT5-2.2.1-3", V5, "82 06 0000 00 0001 'a' 00", ProtocolError},
		{"MQTT5-3.8.3-5", V5, "82 06 0001 00 0001 'a' 40", Malformed},
		{"MQTT311-3-8.3-4", V311, "82 06 0001 0001 'a' 04", Malformed},
		{"MQTT311-3-8.3-4", V311, "82 06 0001 0001 'a' 03", Malformed},
		{"MQTT5 3.8.3.1", V5, "82 06 0001 00 0001 'a' 03", ProtocolError},
		{"MQTT5 3.8.3.1", V5, "82 06 0001 00 0001 'a' 30", ProtocolError},
		{"MQTT5-3.8.3-1", V5, "82 06 0001 00 0001 ff 00", Malformed},
		{"MQTT5-3.8.3-1", V5, "82 06 0001 00 0001 'a'", Malformed},
		{"MQTT5 3.8.2.1.2", V5, "82 06 0001 02 0b 00 0001 'a' 00", ProtocolError},
		{"MQTT5 3.8.2.1.2", V5, "82 06 0001 04 0b 01 0b 02 0001 'a' 00", ProtocolError},
		{"MQTT5-3.9.3-2", V5, "90 04 0001 00 03", ProtocolError},
		{"MQTT311-3.9.3-2", V311, "90 03 0001 03", ProtocolError},
		{"MQTT5-3.10.3-1", V5, "a2 06 0001 00 0001 ff", Malformed},
		{"MQTT5-3.10.3-2", V5, "a2 03 0001 00", ProtocolError},
		{"MQTT5-3.11.3-2", V5, "b0 04 0001 00 01", ProtocolError},
		{"MQTT5 3.12.1", V5, "c0 01 00", Malformed},
		{"MQTT311-3.14.1-1", V311, "e0 01 00", Malformed},
		{"MQTT5 3.14.2.1", V5, "e0 01 01", ProtocolError},
		{"MQTT5-3.14.1-1", V5, "e0 04 00 00 0000", Malformed},
		{"MQTT5-3.15.2-1", V5, "f0 01 80", ProtocolError},
	}
	for _, tt := range tests {
		asIs := strings.HasPrefix(tt.hex, ".")
		src := unhex(t, strings.TrimPrefix(tt.hex, "."))
		if !asIs {
			src[1] = byte(len(src) - 2)
		}
		_, n, err := decode(tt.v, src)
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%s: %s: decoded %d bytes, %v; want %v", tt.spec, tt.hex, n, err, tt.want)
		} else if e.Reason != tt.want {
			t.Errorf("%s: %s: %v; want %v", tt.spec, tt.hex, err, tt.want)
		}
	}
}

// A peer of MQTT 3.1 is forgiven what its own specification allowed.
func TestLenient31(t *testing.T) {
	for _, s := range []string{
		"8a 06 0001 0001 'a' 00", // DUP in SUBSCRIBE
		"6a 02 0001",
		"38 03 0001 'a'",                          // DUP at QoS 0
		"10 0f 0006 'MQIsdp' 03 01 0000 0001 'c'", // unused connect flag
	} {
		src := unhex(t, s)
		src[1] = byte(len(src) - 2)
		if _, _, err := decode(V31, src); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
}

func TestReadFrameParts(t *testing.T) {
	p := Publish{Topic: []byte("topic"), Payload: make([]byte, 300)}
	src := p.Append(nil, V5)
	if len(src) != p.Size(V5) {
		t.Errorf("Size = %d, Append made %d bytes", p.Size(V5), len(src))
	}
	for i := range src {
		_, n, more, err := ReadFrame(src[:i], V5, PacketMax)
		if n != 0 || err != nil || more <= i || more > len(src) {
			t.Fatalf("%d of %d bytes: n %d, more %d, %v", i, len(src), n, more, err)
		}
	}
	if _, n, _, err := ReadFrame(append(src, 0xff), V5, PacketMax); n != len(src) || err != nil {
		t.Errorf("the whole: n %d, %v", n, err)
	}
}

// A packet that is too long is refused from its header alone.
func TestReadFrameLimit(t *testing.T) {
	var e *Error
	_, _, _, err := ReadFrame([]byte{0x30, 0xff, 0xff, 0xff, 0x7f}, V5, 1<<20)
	if !errors.As(err, &e) || e.Reason != PacketTooLarge {
		t.Errorf("got %v, want packet too large", err)
	}
	if _, n, _, err := ReadFrame([]byte{0xc0, 0}, V5, 2); n != 2 || err != nil {
		t.Errorf("a packet of exactly the limit: %d, %v", n, err)
	}
}

func TestVarint(t *testing.T) {
	for _, n := range []uint32{0, 1, 127, 128, 16383, 16384, 2097151, 2097152, RemainingMax} {
		b := appendVarint(nil, n)
		r := reader{b: b}
		if got := r.varint("n"); got != n || r.end() != nil || len(b) != varintLen(n) {
			t.Errorf("%d: encoded %x, decoded %d, %v, length %d", n, b, got, r.err, varintLen(n))
		}
	}
}

func TestProperties(t *testing.T) {
	ps := Properties(nil).Byte(PayloadFormat, 1).Uint32(MessageExpiry, 7).Uint16(TopicAlias, 9).
		User("k", "1").String(ContentType, "text/plain").User("k", "2").Binary(CorrelationData, []byte{0, 255}).
		Varint(SubscriptionID, 300)
	var got []string
	for p, rest, ok := ps.Next(); ok; p, rest, ok = rest.Next() {
		if p.ID == UserProperty {
			got = append(got, string(p.Key)+"="+string(p.Value))
		}
	}
	if want := []string{"k=1", "k=2"}; !reflect.DeepEqual(got, want) { // MQTT5-3.3.2-18
		t.Errorf("user properties %v, want %v", got, want)
	}
	if n, ok := ps.Num(SubscriptionID); n != 300 || !ok {
		t.Errorf("subscription identifier %d, %v", n, ok)
	}
	if v, ok := ps.Value(CorrelationData); !bytes.Equal(v, []byte{0, 255}) || !ok {
		t.Errorf("correlation data %x, %v", v, ok)
	}
	if _, ok := ps.Num(WillDelay); ok {
		t.Error("found a property that is not there")
	}
	if _, _, ok := Properties([]byte{0x02, 0}).Next(); ok {
		t.Error("decoded a property cut short")
	}
}

func TestTopicsAndFilters(t *testing.T) {
	tests := []struct {
		spec          string
		s             string
		topic, filter bool
	}{
		{"MQTT5-4.7.3-1", "", false, false},
		{"MQTT5-4.7.3-1", "/", true, true},
		{"MQTT5-4.7.3-2", "a\x00b", false, false},
		{"MQTT5-4.7.3-3", strings.Repeat("a", 65535), true, true},
		{"MQTT5-4.7.3-3", strings.Repeat("a", 65536), false, false},
		{"MQTT5-4.7.1-1", "#", false, true},
		{"MQTT5-4.7.1-1", "sport/tennis/#", false, true},
		{"MQTT5-4.7.1-1", "sport/tennis#", false, false},
		{"MQTT5-4.7.1-1", "sport/#/ranking", false, false},
		{"MQTT5-4.7.1-1", "#/", false, false},
		{"MQTT5-4.7.1-2", "+", false, true},
		{"MQTT5-4.7.1-2", "+/tennis/#", false, true},
		{"MQTT5-4.7.1-2", "sport+", false, false},
		{"MQTT5-4.7.1-2", "+a/b", false, false},
		{"MQTT5-4.7.1-2", "/+", false, true},
		{"MQTT5-4.7.1-2", "a/+/+/", false, true},
		{"MQTT5-4.7.3-4", "ACCOUNTS/Über stör/$x", true, true},
		{"MQTT5-1.5.4-1", "a/\xff", false, false},
	}
	for _, tt := range tests {
		if got := ValidTopic([]byte(tt.s)); got != tt.topic {
			t.Errorf("%s: ValidTopic(%.20q) = %v", tt.spec, tt.s, got)
		}
		if got := ValidFilter([]byte(tt.s)); got != tt.filter {
			t.Errorf("%s: ValidFilter(%.20q) = %v", tt.spec, tt.s, got)
		}
	}
}

func TestSplitShared(t *testing.T) {
	tests := []struct {
		spec, s, group, filter string
		shared, ok             bool
	}{
		{"MQTT5-4.8.2-1", "$share/g/a/#", "g", "a/#", true, true},
		{"MQTT5-4.8.2-1", "$share/g//a", "g", "/a", true, true},
		{"MQTT5-4.8.2-1", "$share//a", "", "", true, false},
		{"MQTT5-4.8.2-2", "$share/g", "", "", true, false},
		{"MQTT5-4.8.2-2", "$share/g/", "", "", true, false},
		{"MQTT5-4.8.2-2", "$share/g+/a", "", "", true, false},
		{"MQTT5-4.8.2-2", "$share/#/a", "", "", true, false},
		{"MQTT5-4.8.2-2", "$share/g/a#", "", "", true, false},
		{"MQTT5-4.8.2-2", "$share", "", "", true, false},
		{"MQTT5-4.8.2-1", "$shared/g/a", "", "$shared/g/a", false, true},
		{"MQTT5-4.8.2-1", "a/$share/b", "", "a/$share/b", false, true},
	}
	for _, tt := range tests {
		g, f, shared, ok := SplitShared([]byte(tt.s))
		if string(g) != tt.group || string(f) != tt.filter || shared != tt.shared || ok != tt.ok {
			t.Errorf("%s: SplitShared(%q) = %q, %q, %v, %v", tt.spec, tt.s, g, f, shared, ok)
		}
	}
}

func TestConnectCode(t *testing.T) {
	for r, want := range map[Reason]ConnectCode{Success: 0, UnsupportedVersion: 1, ClientIDInvalid: 2, ServerBusy: 3,
		BadCredentials: 4, NotAuthorized: 5} {
		if got, ok := r.ConnectCode(); got != want || !ok {
			t.Errorf("MQTT311-3.2.2-6: %v = %v, %v; want %v", r, got, ok, want)
		}
	}
	if _, ok := Malformed.ConnectCode(); ok {
		t.Error("MQTT311-3.2.2-6: a malformed CONNECT has no return code")
	}
}

func TestDecodeDoesNotAllocate(t *testing.T) {
	publish := (&Publish{QoS: 1, PacketID: 7, Topic: []byte("sensors/dev1/temp"), Payload: []byte("21.5"),
		Properties: Properties(nil).Uint32(MessageExpiry, 60).User("k", "v").User("k", "v2")}).Append(nil, V5)
	subscribe := (&Subscribe{PacketID: 1, Filters: []Filter{{Filter: []byte("a/#")}, {Filter: []byte("b/+")}}}).Append(nil, V5)
	ack := (&Ack{Type: PUBACK, PacketID: 7}).Append(nil, V5)
	var p Publish
	var s Subscribe
	var a Ack
	out := make([]byte, 0, 1024)
	n := testing.AllocsPerRun(100, func() {
		f, _, _, err := ReadFrame(publish, V5, PacketMax)
		if err == nil {
			err = p.Decode(V5, f)
		}
		if err != nil {
			t.Fatal(err)
		}
		out = p.Append(out[:0], V5)
		f, _, _, _ = ReadFrame(ack, V5, PacketMax)
		if err := a.Decode(V5, f); err != nil {
			t.Fatal(err)
		}
		out = a.Append(out[:0], V5)
		f, _, _, _ = ReadFrame(subscribe, V5, PacketMax)
		if err := s.Decode(V5, f); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// FuzzDecode: whatever the bytes, no panic; what decodes encodes to bytes that
// decode to the same again.
func FuzzDecode(f *testing.F) {
	for _, tt := range valid {
		src := unhex(f, tt.hex)
		src[1] = byte(len(src) - 2)
		f.Add(byte(tt.v), src)
	}
	f.Fuzz(func(t *testing.T, version byte, src []byte) {
		v := []Version{V31, V311, V5}[version%3]
		c, n, err := decode(v, src)
		if p, ok := c.decoded.(*Connect); ok {
			v = p.Version
		}
		if err != nil || n == 0 {
			return
		}
		again := c.append(nil)
		d, m, err := decode(v, again)
		if err != nil || m != len(again) {
			t.Fatalf("encoded %x, which decodes %d bytes with %v", again, m, err)
		}
		if third := d.append(nil); !bytes.Equal(third, again) {
			t.Fatalf("not stable\n%x\n%x", again, third)
		}
	})
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{"a/b", "$share/g/a/+/#", "#", "+/+", "$share//"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, s []byte) {
		if ValidTopic(s) && !ValidFilter(s) {
			t.Errorf("%q is a topic and not a filter", s)
		}
		if _, filter, shared, ok := SplitShared(s); shared && ok && !ValidFilter(filter) {
			t.Errorf("%q holds the invalid filter %q", s, filter)
		}
	})
}

func BenchmarkPublishDecode(b *testing.B) {
	for name, p := range map[string]Publish{
		"bare":       {Topic: []byte("sensors/dev1/temp"), Payload: make([]byte, 64)},
		"properties": {Topic: []byte("sensors/dev1/temp"), Payload: make([]byte, 64), Properties: Properties(nil).Uint32(MessageExpiry, 60).User("traceparent", "00-aa-bb-01")},
	} {
		b.Run(name, func(b *testing.B) {
			src := p.Append(nil, V5)
			var q Publish
			b.SetBytes(int64(len(src)))
			b.ReportAllocs()
			for b.Loop() {
				f, _, _, err := ReadFrame(src, V5, PacketMax)
				if err == nil {
					err = q.Decode(V5, f)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkPublishAppend(b *testing.B) {
	p := Publish{Topic: []byte("sensors/dev1/temp"), Payload: make([]byte, 64)}
	dst := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		dst = p.Append(dst[:0], V5)
	}
}
