package mqtt

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/auth"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/mqttwire"
	"github.com/robustmq/rmq/broker/option"
)

var none mqttwire.Properties

// answer is how the kernel answers Open.
type answer struct {
	present bool
	openErr error
}

func TestConnect(t *testing.T) {
	refused := func(r mqttwire.Reason) *mqttwire.Connack { return &mqttwire.Connack{Reason: r} }
	code := func(c mqttwire.ConnectCode) *mqttwire.Connack { return &mqttwire.Connack{Code: c} }
	defaults := none.Uint16(mqttwire.ReceiveMaximum, defaultReceiveMaximum).Uint32(mqttwire.MaximumPacketSize, defaultMaxPacket).
		Uint16(mqttwire.TopicAliasMaximum, defaultTopicAliases)
	tests := []struct {
		spec    string
		connect any
		v       mqttwire.Version
		kernel  answer
		auth    error
		want    *mqttwire.Connack // nil: the connection just ends
	}{
		{"MQTT5-3.1.4-5", &mqttwire.Connect{Version: mqttwire.V5, ClientID: []byte("a")}, mqttwire.V5, answer{}, nil, &mqttwire.Connack{Properties: defaults}},
		{"MQTT5-3.2.2-3", &mqttwire.Connect{Version: mqttwire.V5, ClientID: []byte("a")}, mqttwire.V5, answer{present: true}, nil,
			&mqttwire.Connack{SessionPresent: true, Properties: defaults}},
		{"MQTT311-3.1.4-4", &mqttwire.Connect{Version: mqttwire.V311, ClientID: []byte("a")}, mqttwire.V311, answer{}, nil, &mqttwire.Connack{}},
		{"MQTT311-3.2.2-2", &mqttwire.Connect{Version: mqttwire.V311, ClientID: []byte("a")}, mqttwire.V311, answer{present: true}, nil,
			&mqttwire.Connack{SessionPresent: true}},
		{"MQTT31 3.1", &mqttwire.Connect{Version: mqttwire.V31, ClientID: []byte("a")}, mqttwire.V31, answer{}, nil, &mqttwire.Connack{}},
		{"MQTT31 3.1", &mqttwire.Connect{Version: mqttwire.V31, CleanStart: true}, mqttwire.V31, answer{}, nil, code(mqttwire.RefusedClientID)},
		{"MQTT311-3.1.3-8", &mqttwire.Connect{Version: mqttwire.V311}, mqttwire.V311, answer{}, nil, code(mqttwire.RefusedClientID)},
		{"MQTT311-3.1.3-6", &mqttwire.Connect{Version: mqttwire.V311, CleanStart: true}, mqttwire.V311, answer{}, nil, &mqttwire.Connack{}},
		{"MQTT5-3.1.3-8", &mqttwire.Connect{Version: mqttwire.V5, ClientID: bytes.Repeat([]byte("x"), defaultMaxClientID+1)}, mqttwire.V5, answer{},
			nil, &mqttwire.Connack{Reason: mqttwire.ClientIDInvalid, Properties: none.String(mqttwire.ReasonString, "client identifier too long")}},
		{"MQTT5-4.12.0-1", &mqttwire.Connect{Version: mqttwire.V5, ClientID: []byte("a"), Properties: none.String(mqttwire.AuthMethod, "SCRAM-SHA-256")}, mqttwire.V5,
			answer{}, nil, &mqttwire.Connack{Reason: mqttwire.BadAuthMethod, Properties: none.String(mqttwire.ReasonString, "the authentication method is not offered")}},
		{"MQTT5-3.1.4-2", &mqttwire.Connect{Version: mqttwire.V5, ClientID: []byte("a")}, mqttwire.V5, answer{},
			fault.Of(fault.Unauthorized, "log in", "u"), refused(mqttwire.BadCredentials)},
		{"MQTT311-3.2.2-5", &mqttwire.Connect{Version: mqttwire.V311, ClientID: []byte("a")}, mqttwire.V311, answer{},
			fault.Of(fault.Unauthorized, "log in", "u"), code(mqttwire.RefusedCredentials)},
		{"MQTT311-3.2.2-5", &mqttwire.Connect{Version: mqttwire.V311, ClientID: []byte("a")}, mqttwire.V311, answer{},
			fault.Of(fault.Denied, "log in", "u"), code(mqttwire.RefusedAuthority)},
		{"MQTT5-3.2.2-7", &mqttwire.Connect{Version: mqttwire.V5, ClientID: []byte("a")}, mqttwire.V5, answer{openErr: fault.Of(fault.Unavailable, "open", "")},
			nil, refused(mqttwire.ServerUnavailable)},
		{"MQTT311-3.2.2-5", &mqttwire.Connect{Version: mqttwire.V311, ClientID: []byte("a")}, mqttwire.V311, answer{openErr: errors.New("broken")}, nil,
			code(mqttwire.RefusedUnavailable)},
		{"MQTT5-3.1.2-2", []byte{0x10, 0x0d, 0, 4, 'M', 'Q', 'T', 'T', 6, 2, 0, 0, 0, 0, 0}, mqttwire.V5, answer{}, nil,
			&mqttwire.Connack{Reason: mqttwire.UnsupportedVersion, Properties: none.String(mqttwire.ReasonString, "protocol MQTT level 6")}},
		{"MQTT311-3.1.2-2", []byte{0x10, 0x0c, 0, 4, 'M', 'Q', 'T', 'T', 3, 2, 0, 0, 0, 0}, mqttwire.V311, answer{}, nil, code(mqttwire.RefusedVersion)},
		{"MQTT5-3.1.2-1", []byte{0x10, 0x0c, 0, 4, 'H', 'T', 'T', 'P', 4, 2, 0, 0, 0, 0}, mqttwire.V311, answer{}, nil, nil},
		{"MQTT311-3.1.4-1", []byte{0x10, 0x0c, 0, 4, 'M', 'Q', 'T', 'T', 4, 3, 0, 0, 0, 0}, mqttwire.V311, answer{}, nil, nil},
		{"MQTT5-3.1.4-1", []byte{0x10, 0x0d, 0, 4, 'M', 'Q', 'T', 'T', 5, 3, 0, 0, 0, 0, 0}, mqttwire.V5, answer{}, nil,
			&mqttwire.Connack{Reason: mqttwire.Malformed, Properties: none.String(mqttwire.ReasonString, "the reserved connect flag is set")}},
		{"MQTT5-3.1.0-1", pingreq, mqttwire.V5, answer{}, nil, nil},
		{"MQTT5-3.1.0-1", []byte("GET / HTTP/1.1\r\n\r\n"), mqttwire.V5, answer{}, nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.spec, func(t *testing.T) {
			b := newBench(t, func(c *Config) { c.Auth = authFunc(func(string, string) (string, error) { return "", tt.auth }) })
			b.k.openErr, b.k.present = tt.kernel.openErr, tt.kernel.present
			c := b.dial(tt.v)
			c.send(tt.connect)
			if tt.want == nil {
				c.wantEnd()
				return
			}
			c.want(tt.want)
			if tt.want.Reason.Failed() || tt.want.Code != mqttwire.Accepted { // MQTT5-3.2.2-7, MQTT311-3.2.2-5
				c.wantEnd()
				if n := b.s.Stats().Refused.Load(); n != 1 {
					t.Errorf("%d refusals counted, want 1", n)
				}
			}
		})
	}
}

type authFunc func(user, password string) (string, error)

func (f authFunc) Authenticate(l auth.Login) (auth.Identity, error) {
	user, err := f(l.User, l.Password)
	return auth.Identity{User: user}, err
}

func (authFunc) Access(auth.Identity, auth.Login, string) *acl.Access { return nil }
func (authFunc) Bans() *acl.Bans                                      { return nil }

// What CONNECT asks of the session.
func TestSessionSpec(t *testing.T) {
	tests := []struct {
		spec    string
		connect mqttwire.Connect
		want    kernel.SessionSpec
	}{
		{"MQTT311-3.1.2-6", mqttwire.Connect{Version: mqttwire.V311, CleanStart: true}, kernel.SessionSpec{Clean: true, ReceiveMaximum: 256}},
		{"MQTT311-3.1.2-4", mqttwire.Connect{Version: mqttwire.V311}, kernel.SessionSpec{Expiry: kernel.ExpiryNever, ReceiveMaximum: 256}},
		{"MQTT5-3.1.2-4", mqttwire.Connect{Version: mqttwire.V5, CleanStart: true}, kernel.SessionSpec{Clean: true, ReceiveMaximum: 256}},
		{"MQTT5-3.1.2-23", mqttwire.Connect{Version: mqttwire.V5, Properties: none.Uint32(mqttwire.SessionExpiry, 60).Uint16(mqttwire.ReceiveMaximum, 10)},
			kernel.SessionSpec{Expiry: 60, ReceiveMaximum: 10}},
		{"MQTT5-3.1.2-23", mqttwire.Connect{Version: mqttwire.V5, Properties: none.Uint32(mqttwire.SessionExpiry, math.MaxUint32)},
			kernel.SessionSpec{Expiry: 3600, ReceiveMaximum: 256}}, // beyond the server's maximum
		{"MQTT5-3.1.2-7", mqttwire.Connect{Version: mqttwire.V5, Will: true, WillQoS: 2, WillRetain: true, WillTopic: []byte("w"), WillPayload: []byte("bye"),
			WillProps: none.Uint32(mqttwire.WillDelay, 30).Uint32(mqttwire.MessageExpiry, 5).User("k", "v")},
			kernel.SessionSpec{ReceiveMaximum: 256, Will: &kernel.Will{Delay: 30, Msg: message.Message{Source: message.MQTT, Address: "w",
				Value: []byte("bye"), QoS: 2, Retain: true, ExpiresAt: now + 5000, Headers: []message.Header{header("k", "v")},
				Native: none.User("k", "v")}}}},
	}
	for _, tt := range tests {
		b := newBench(t, func(c *Config) {
			if tt.want.Expiry == 3600 {
				c.MaxExpiry = 3600
			}
		})
		tt.connect.UserName, tt.connect.Password = []byte("ann"), []byte("pw")
		c, _ := b.connect(tt.connect)
		got := b.k.specs[0]
		got.Sink = nil
		tt.want.Namespace, tt.want.ClientID, tt.want.User = "/", "c", "ann"
		if tt.connect.Version == mqttwire.V311 {
			tt.want.ReceiveMaximum = 256
		}
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s:\n got %+v\nwant %+v", tt.spec, got, tt.want)
		}
		c.settled()
	}
}

func TestConnackTells(t *testing.T) {
	b := newBench(t, func(c *Config) {
		c.MaxExpiry, c.ReceiveMaximum, c.MaxPacket, c.TopicAliases = 100, 5, 1000, 2
		c.Options = option.Fixed(map[string]string{"mqtt.max-keep-alive": "30s"})
	})
	c := b.dial(mqttwire.V5)
	c.send(&mqttwire.Connect{Version: mqttwire.V5, CleanStart: true, KeepAlive: 60,
		Properties: none.Uint32(mqttwire.SessionExpiry, 500).Byte(mqttwire.RequestResponseInfo, 1)})
	var ack mqttwire.Connack
	if err := ack.Decode(mqttwire.V5, c.read(mqttwire.CONNACK)); err != nil {
		t.Fatal(err)
	}
	id, _ := ack.Properties.Value(mqttwire.AssignedClientID)
	if len(id) < 20 || string(id) != b.k.specs[0].ClientID {
		t.Errorf("MQTT5-3.2.2-16: assigned %q, the session is %q", id, b.k.specs[0].ClientID)
	}
	want := none.Uint32(mqttwire.SessionExpiry, 100).Uint16(mqttwire.ReceiveMaximum, 5).Uint32(mqttwire.MaximumPacketSize, 1000).
		String(mqttwire.AssignedClientID, string(id)).Uint16(mqttwire.TopicAliasMaximum, 2).Uint16(mqttwire.ServerKeepAlive, 30).
		String(mqttwire.ResponseInformation, "$reply/"+string(id))
	if !bytes.Equal(ack.Properties, want) {
		t.Errorf("CONNACK says\n%s, want\n%s", show(ack.Properties), show(want))
	}
}

// A client whose maximum packet size has no room for CONNACK is told nothing
// (MQTT5-3.1.2-24); one without room for its SUBACK, why.
func TestNoRoomForAnswers(t *testing.T) {
	b := newBench(t, nil)
	c := b.dial(mqttwire.V5)
	c.send(&mqttwire.Connect{Version: mqttwire.V5, ClientID: []byte("c"), Properties: none.Uint32(mqttwire.MaximumPacketSize, 10)})
	c.wantEnd()
	c, _ = b.connect(mqttwire.Connect{Properties: none.Uint32(mqttwire.MaximumPacketSize, 30)})
	c.send(&mqttwire.Subscribe{PacketID: 1, Filters: make([]mqttwire.Filter, 0)})
	c.wantDisconnect(mqttwire.ProtocolError)
	c, _ = b.connect(mqttwire.Connect{Properties: none.Uint32(mqttwire.MaximumPacketSize, 30)})
	many := &mqttwire.Subscribe{PacketID: 1}
	for range 40 {
		many.Filters = append(many.Filters, mqttwire.Filter{Filter: []byte("a")})
	}
	c.send(many)
	c.wantDisconnect(mqttwire.PacketTooLarge)
}

// A CONNECT that is longer than any can be is refused before it is read.
func TestConnectTooLong(t *testing.T) {
	b := newBench(t, nil)
	c := b.dial(mqttwire.V5)
	c.send([]byte{0x10, 0xff, 0xff, 0xff, 0x7f})
	c.wantEnd()
	if b.s.Stats().Ended(mqttwire.PacketTooLarge) != 1 {
		t.Error("not counted")
	}
}

func TestFirstPacketTimeout(t *testing.T) {
	b := newBench(t, nil)
	c := b.dial(mqttwire.V5)
	c.send([]byte{0x10})
	b.link.Advance(connectTimeout)
	c.wantEnd()
}

func TestProtocolErrors(t *testing.T) {
	long := bytes.Repeat([]byte("a/"), maxLevels)
	tests := []struct {
		spec string
		v    mqttwire.Version
		send any
		want mqttwire.Reason
	}{
		{"MQTT5-3.1.0-2", mqttwire.V5, &mqttwire.Connect{Version: mqttwire.V5, ClientID: []byte("c")}, mqttwire.ProtocolError},
		{"MQTT311-3.1.0-2", mqttwire.V311, &mqttwire.Connect{Version: mqttwire.V311, ClientID: []byte("c")}, mqttwire.ProtocolError},
		{"MQTT5-4.12.0-7", mqttwire.V5, &mqttwire.Auth{Reason: mqttwire.Reauthenticate}, mqttwire.ProtocolError},
		{"MQTT5 3.2", mqttwire.V5, &mqttwire.Connack{}, mqttwire.ProtocolError},
		{"MQTT5 3.9", mqttwire.V5, &mqttwire.Suback{Type: mqttwire.SUBACK, PacketID: 1, Reasons: []mqttwire.Reason{0}}, mqttwire.ProtocolError},
		{"MQTT5 3.13", mqttwire.V5, pingresp, mqttwire.ProtocolError},
		{"MQTT5-2.1.3-1", mqttwire.V5, []byte{0xc3, 0}, mqttwire.Malformed},
		{"MQTT5-3.3.1-4", mqttwire.V5, []byte{0x36, 6, 0, 1, 'a', 0, 1, 0}, mqttwire.Malformed},
		{"MQTT5-3.3.2-2", mqttwire.V5, &mqttwire.Publish{Topic: []byte("a/#")}, mqttwire.TopicNameInvalid},
		{"MQTT311-3.3.2-2", mqttwire.V311, &mqttwire.Publish{Topic: []byte("a/+")}, mqttwire.TopicNameInvalid},
		{"MQTT5-3.3.4-6", mqttwire.V5, &mqttwire.Publish{Topic: []byte("a"), Properties: none.Varint(mqttwire.SubscriptionID, 1)}, mqttwire.ProtocolError},
		{"MQTT5-3.3.2-9", mqttwire.V5, &mqttwire.Publish{Topic: []byte("a"), Properties: none.Uint16(mqttwire.TopicAlias, defaultTopicAliases+1)}, mqttwire.TopicAliasInvalid},
		{"MQTT5-3.3.2-7", mqttwire.V5, &mqttwire.Publish{Properties: none.Uint16(mqttwire.TopicAlias, 1)}, mqttwire.ProtocolError},
		{"MQTT311-3.3.5-2", mqttwire.V311, &mqttwire.Publish{QoS: 1, PacketID: 1, Topic: long}, mqttwire.TopicNameInvalid},
		{"MQTT5-4.7.1-1", mqttwire.V5, &mqttwire.Subscribe{PacketID: 1, Filters: []mqttwire.Filter{{Filter: []byte("a/#/b")}}}, mqttwire.TopicFilterInvalid},
		{"MQTT311-4.7.1-2", mqttwire.V311, &mqttwire.Subscribe{PacketID: 1, Filters: []mqttwire.Filter{{Filter: []byte("a#")}}}, mqttwire.TopicFilterInvalid},
		{"MQTT5-4.7.3-1", mqttwire.V5, &mqttwire.Subscribe{PacketID: 1, Filters: []mqttwire.Filter{{Filter: []byte("")}}}, mqttwire.TopicFilterInvalid},
		{"MQTT5-4.8.2-1", mqttwire.V5, &mqttwire.Subscribe{PacketID: 1, Filters: []mqttwire.Filter{{Filter: []byte("$share//a")}}}, mqttwire.TopicFilterInvalid},
		{"MQTT5-4.8.2-2", mqttwire.V5, &mqttwire.Subscribe{PacketID: 1, Filters: []mqttwire.Filter{{Filter: []byte("$share/g+/a")}}}, mqttwire.TopicFilterInvalid},
		{"MQTT5-3.8.3-4", mqttwire.V5, &mqttwire.Subscribe{PacketID: 1, Filters: []mqttwire.Filter{{Filter: []byte("$share/g/a"), NoLocal: true}}}, mqttwire.ProtocolError},
		{"MQTT5-4.7.1-1", mqttwire.V5, &mqttwire.Unsubscribe{PacketID: 1, Filters: [][]byte{[]byte("a#")}}, mqttwire.TopicFilterInvalid},
		{"MQTT5 3.14.2.2.2", mqttwire.V5, &mqttwire.Disconnect{Properties: none.Uint32(mqttwire.SessionExpiry, 1)}, mqttwire.ProtocolError},
		{"MQTT5-3.2.2-15", mqttwire.V5, []byte{0x30, 0xff, 0xff, 0xff, 0x7f}, mqttwire.PacketTooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.spec, func(t *testing.T) {
			b := newBench(t, nil)
			c, s := b.connect(mqttwire.Connect{Version: tt.v, CleanStart: true})
			c.send(tt.send)
			c.wantDisconnect(tt.want)
			b.calls(s, "close will=true")
			if n := b.s.Stats().Ended(tt.want); n != 1 {
				t.Errorf("%d connections counted for %v, want 1", n, tt.want)
			}
			if said := b.k.said(); len(said) != 0 {
				t.Errorf("published %v", said)
			}
		})
	}
}

func TestPublishIn(t *testing.T) {
	b := newBench(t, nil)
	c, _ := b.connect(mqttwire.Connect{})
	c.send(
		&mqttwire.Publish{Topic: []byte("a"), Payload: []byte("0")},
		&mqttwire.Publish{Topic: []byte("b"), Payload: []byte("1"), QoS: 1, PacketID: 7, Retain: true, Dup: true},
		&mqttwire.Publish{Topic: []byte("c"), Payload: []byte("2"), QoS: 2, PacketID: 8},
		&mqttwire.Ack{Type: mqttwire.PUBREL, PacketID: 8},
	)
	// MQTT5-4.3.2-4, MQTT5-4.3.3-8, MQTT5-4.3.3-11
	c.want(&mqttwire.Ack{Type: mqttwire.PUBACK, PacketID: 7}, &mqttwire.Ack{Type: mqttwire.PUBREC, PacketID: 8}, &mqttwire.Ack{Type: mqttwire.PUBCOMP, PacketID: 8})
	want := []string{`a "0" qos0 retain=false`, `b "1" qos1 retain=true`, `c "2" qos2 retain=false`}
	if got := b.k.said(); !reflect.DeepEqual(got, want) {
		t.Errorf("published %v, want %v", got, want)
	}
	if n := b.s.Stats().MessagesIn.Load(); n != 3 {
		c.settled()
		if n = b.s.Stats().MessagesIn.Load(); n != 3 {
			t.Errorf("%d messages counted, want 3", n)
		}
	}
}

// How a publish may end, in both generations of the protocol.
func TestPublishOutcomes(t *testing.T) {
	tests := []struct {
		result kernel.PublishResult
		want   mqttwire.Reason
	}{
		{kernel.PublishResult{Subscribers: 1}, mqttwire.Success},
		{kernel.PublishResult{Queues: 1}, mqttwire.Success},
		{kernel.PublishResult{}, mqttwire.NoMatchingSubscribers},
		{kernel.PublishResult{Queues: 1, Rejected: true}, mqttwire.QuotaExceeded},
		{kernel.PublishResult{Err: fault.Of(fault.Denied, "publish", "a")}, mqttwire.NotAuthorized},
		{kernel.PublishResult{Err: fault.Of(fault.Exhausted, "publish", "a")}, mqttwire.QuotaExceeded},
		{kernel.PublishResult{Err: fault.Of(fault.TooLarge, "publish", "a")}, mqttwire.QuotaExceeded},
		{kernel.PublishResult{Err: errors.New("secret")}, mqttwire.UnspecifiedError},
	}
	for _, tt := range tests {
		for _, qos := range []byte{1, 2} {
			typ := mqttwire.PUBACK
			if qos == 2 {
				typ = mqttwire.PUBREC
			}
			result := tt.result
			b := newBench(t, nil)
			b.k.publish = func(p *kernel.Publish) { p.Reply.Published(p.Tag, result) }
			c, _ := b.connect(mqttwire.Connect{Properties: none.Byte(mqttwire.RequestProblemInfo, 0)})
			c.send(&mqttwire.Publish{Topic: []byte("a"), QoS: qos, PacketID: 5})
			c.want(&mqttwire.Ack{Type: typ, PacketID: 5, Reason: tt.want}) // MQTT5-3.1.2-29: no reason string
			if tt.want.Failed() {
				c, _ = b.connect(mqttwire.Connect{})
				c.send(&mqttwire.Publish{Topic: []byte("a"), QoS: qos, PacketID: 5})
				c.want(&mqttwire.Ack{Type: typ, PacketID: 5, Reason: tt.want, Properties: none.String(mqttwire.ReasonString, tt.want.String())})
			}
			c, _ = b.connect(mqttwire.Connect{Version: mqttwire.V311})
			c.send(&mqttwire.Publish{Topic: []byte("a"), QoS: qos, PacketID: 5})
			if tt.want.Failed() {
				c.wantDisconnect(tt.want) // MQTT311-4.8.0-2
			} else {
				c.want(&mqttwire.Ack{Type: typ, PacketID: 5})
			}
		}
	}
}

// A publish that fails because of what passes is not answered: the client keeps it, and sends it again on
// its next connection.
func TestPublishThatIsToComeAgain(t *testing.T) {
	for _, kind := range []fault.Kind{fault.Unavailable, fault.Timeout} {
		for _, v := range []mqttwire.Version{mqttwire.V311, mqttwire.V5} {
			for _, qos := range []byte{1, 2} {
				b := newBench(t, nil)
				b.k.publish = func(p *kernel.Publish) {
					p.Reply.Published(p.Tag, kernel.PublishResult{Err: fault.Of(kind, "publish", "a")})
				}
				c, _ := b.connect(mqttwire.Connect{Version: v})
				c.send(&mqttwire.Publish{Topic: []byte("a"), QoS: qos, PacketID: 5})
				c.wantDisconnect(mqttwire.ServerBusy) // MQTT5-4.4.0-1, MQTT311-4.4.0-1
			}
		}
	}
}

// Topics that are valid and not accepted do not end the connection where the protocol can say so.
func TestUnacceptedTopics(t *testing.T) {
	long := bytes.Repeat([]byte("a/"), maxLevels)
	for _, topic := range [][]byte{long, []byte("$SYS"), []byte("$SYS/broker/uptime"), []byte("$delayed/x/a")} {
		b := newBench(t, nil)
		c, _ := b.connect(mqttwire.Connect{Properties: none.Byte(mqttwire.RequestProblemInfo, 0)})
		c.send(&mqttwire.Publish{Topic: topic}, &mqttwire.Publish{Topic: topic, QoS: 1, PacketID: 1}, &mqttwire.Publish{Topic: topic, QoS: 2, PacketID: 2})
		c.want(&mqttwire.Ack{Type: mqttwire.PUBACK, PacketID: 1, Reason: mqttwire.TopicNameInvalid}, &mqttwire.Ack{Type: mqttwire.PUBREC, PacketID: 2, Reason: mqttwire.TopicNameInvalid})
		if said := b.k.said(); len(said) != 0 {
			t.Errorf("published %v", said)
		}
	}
}

func TestReceiveMaximum(t *testing.T) {
	var pending []func()
	hold := func(p *kernel.Publish) {
		reply, tag := p.Reply, p.Tag
		pending = append(pending, func() { reply.Published(tag, kernel.PublishResult{Subscribers: 1}) })
	}
	b := newBench(t, func(c *Config) { c.ReceiveMaximum = 2 })
	b.k.publish = hold
	c, _ := b.connect(mqttwire.Connect{})
	q1 := func(id uint16) *mqttwire.Publish { return &mqttwire.Publish{Topic: []byte("a"), QoS: 1, PacketID: id} }
	q2 := func(id uint16) *mqttwire.Publish { return &mqttwire.Publish{Topic: []byte("a"), QoS: 2, PacketID: id} }
	c.send(q1(1), q2(2))
	c.send(&mqttwire.Publish{Topic: []byte("a"), QoS: 2, PacketID: 2, Dup: true}) // again: counts once
	c.settled()
	for _, f := range pending {
		f()
	}
	pending = nil
	c.want(&mqttwire.Ack{Type: mqttwire.PUBACK, PacketID: 1}, &mqttwire.Ack{Type: mqttwire.PUBREC, PacketID: 2}, &mqttwire.Ack{Type: mqttwire.PUBREC, PacketID: 2})
	c.send(q1(3)) // with 2 until PUBCOMP
	c.settled()
	c.send(&mqttwire.Ack{Type: mqttwire.PUBREL, PacketID: 2})
	c.want(&mqttwire.Ack{Type: mqttwire.PUBCOMP, PacketID: 2})
	c.send(q1(4))
	c.settled()
	c.send(q1(5)) // MQTT5-3.3.4-7
	c.wantDisconnect(mqttwire.ReceiveMaximumExceeded)
}

func TestPubrelUnknown(t *testing.T) {
	b := newBench(t, nil)
	c, s := b.connect(mqttwire.Connect{})
	s.known = false
	c.send(&mqttwire.Ack{Type: mqttwire.PUBREL, PacketID: 9})
	c.want(&mqttwire.Ack{Type: mqttwire.PUBCOMP, PacketID: 9, Reason: mqttwire.PacketIDNotFound})
	b.calls(s, "release 9")
}

func TestTopicAliasesIn(t *testing.T) {
	b := newBench(t, nil)
	c, _ := b.connect(mqttwire.Connect{})
	alias := func(n uint16, topic string) *mqttwire.Publish {
		return &mqttwire.Publish{Topic: []byte(topic), Properties: none.Uint16(mqttwire.TopicAlias, n)}
	}
	c.send(alias(1, "one"), alias(defaultTopicAliases, "last"), alias(1, ""), alias(defaultTopicAliases, ""), alias(1, "other"), alias(1, ""))
	c.settled() // MQTT5-3.3.2-12
	var got []string
	for _, s := range b.k.said() {
		got = append(got, strings.Fields(s)[0])
	}
	if want := []string{"one", "last", "one", "last", "other", "other"}; !reflect.DeepEqual(got, want) {
		t.Errorf("published to %v, want %v", got, want)
	}
	d, _ := b.connect(mqttwire.Connect{}) // MQTT5-3.3.2-7
	d.send(alias(1, ""))
	d.wantDisconnect(mqttwire.ProtocolError)
}

func TestSubscribe(t *testing.T) {
	b := newBench(t, nil)
	c, s := b.connect(mqttwire.Connect{})
	s.existed = map[string]bool{"old": true}
	s.subErrs = map[string]error{"bad": fault.Of(fault.Denied, "subscribe", "bad"), "full": fault.Of(fault.Exhausted, "subscribe", "")}
	deep := bytes.Repeat([]byte("a/"), maxLevels)
	c.send(&mqttwire.Subscribe{PacketID: 3, Properties: none.Varint(mqttwire.SubscriptionID, 77), Filters: []mqttwire.Filter{
		{Filter: []byte("a/#"), QoS: 2, NoLocal: true, RetainAsPublished: true},
		{Filter: []byte("bad"), QoS: 1},
		{Filter: deep, QoS: 1},
		{Filter: []byte("old"), QoS: 1, RetainHandling: 1},
		{Filter: []byte("new"), QoS: 0, RetainHandling: 1},
		{Filter: []byte("never"), QoS: 0, RetainHandling: 2},
		{Filter: []byte("$share/g/x"), QoS: 1},
		{Filter: []byte("full"), QoS: 1},
	}})
	// MQTT5-3.8.4-6, MQTT5-3.9.3-1
	c.want(&mqttwire.Suback{Type: mqttwire.SUBACK, PacketID: 3, Properties: none.String(mqttwire.ReasonString, "not authorized"),
		Reasons: []mqttwire.Reason{mqttwire.GrantedQoS2, mqttwire.NotAuthorized, mqttwire.TopicFilterInvalid, mqttwire.GrantedQoS1, mqttwire.GrantedQoS0, mqttwire.GrantedQoS0, mqttwire.GrantedQoS1, mqttwire.QuotaExceeded}})
	b.calls(s, "subscribe a/# qos2 nl=true rap=true rh=0 id=77", "subscribe bad qos1 nl=false rap=false rh=0 id=77",
		"subscribe old qos1 nl=false rap=false rh=1 id=77", "subscribe new qos0 nl=false rap=false rh=1 id=77",
		"subscribe never qos0 nl=false rap=false rh=2 id=77", "subscribe $share/g/x qos1 nl=false rap=false rh=0 id=77",
		"subscribe full qos1 nl=false rap=false rh=0 id=77",
		"retained a/#", "retained new") // MQTT5-3.3.1-9, -10, -11

	s.existed = map[string]bool{"a/#": true}
	c.send(&mqttwire.Unsubscribe{PacketID: 4, Filters: [][]byte{[]byte("a/#"), []byte("a")}})
	c.want(&mqttwire.Suback{Type: mqttwire.UNSUBACK, PacketID: 4, Reasons: []mqttwire.Reason{mqttwire.Success, mqttwire.NoSubscriptionExisted}})
	b.calls(s, "unsubscribe a/#", "unsubscribe a")
	s.unsub = fault.Of(fault.Unavailable, "unsubscribe", "")
	c.send(&mqttwire.Unsubscribe{PacketID: 5, Filters: [][]byte{[]byte("a")}})
	c.want(&mqttwire.Suback{Type: mqttwire.UNSUBACK, PacketID: 5, Reasons: []mqttwire.Reason{mqttwire.ImplementationError},
		Properties: none.String(mqttwire.ReasonString, "implementation specific error")})
}

// Who cannot be sent the newest retained messages is sent none, and is to come again.
func TestRetainedUnknown(t *testing.T) {
	b := newBench(t, nil)
	c, s := b.connect(mqttwire.Connect{})
	s.retainedErr = fault.Of(fault.Unavailable, "wait for commit", "")
	c.send(&mqttwire.Subscribe{PacketID: 3, Filters: []mqttwire.Filter{{Filter: []byte("a"), QoS: 1}}})
	c.want(&mqttwire.Suback{Type: mqttwire.SUBACK, PacketID: 3, Reasons: []mqttwire.Reason{mqttwire.GrantedQoS1}},
		&mqttwire.Disconnect{Reason: mqttwire.ServerBusy, Properties: none.String(mqttwire.ReasonString, "retained messages are not known here now")})
	c.wantEnd()
}

func TestSubscribe311(t *testing.T) {
	b := newBench(t, nil)
	c, s := b.connect(mqttwire.Connect{Version: mqttwire.V311})
	s.subErrs = map[string]error{"bad": fault.Of(fault.Denied, "subscribe", "bad")}
	c.send(&mqttwire.Subscribe{PacketID: 3, Filters: []mqttwire.Filter{{Filter: []byte("a"), QoS: 1}, {Filter: []byte("bad"), QoS: 1}}})
	c.want([]byte{0x90, 4, 0, 3, 1, 0x80}) // MQTT311-3.9.3-2
	b.calls(s, "subscribe a qos1 nl=false rap=false rh=0 id=0", "subscribe bad qos1 nl=false rap=false rh=0 id=0", "retained a")
	c.send(&mqttwire.Unsubscribe{PacketID: 4, Filters: [][]byte{[]byte("a")}})
	c.want([]byte{0xb0, 2, 0, 4}) // MQTT311-3.10.4-5
	b.calls(s, "unsubscribe a")
	s.unsub = errors.New("broken")
	c.send(&mqttwire.Unsubscribe{PacketID: 5, Filters: [][]byte{[]byte("a")}})
	c.wantEnd() // MQTT311-4.8.0-2
}

func deliver(t *testing.T, s *fakeSession, d kernel.Delivery) {
	t.Helper()
	if !s.sink.Deliver(&d) {
		t.Errorf("delivery of %v refused", d)
	}
}

func TestDeliver(t *testing.T) {
	b := newBench(t, nil)
	c, s := b.connect(mqttwire.Connect{})
	m := &message.Message{Source: message.MQTT, Address: "a/b", Value: []byte("x"), Native: none.User("k", "v")}
	deliver(t, s, kernel.Delivery{Msg: m})
	deliver(t, s, kernel.Delivery{Msg: m, Redelivered: true}) // MQTT5-3.3.1-2
	deliver(t, s, kernel.Delivery{Msg: m, QoS: 1, PacketID: 1, Retain: true})
	deliver(t, s, kernel.Delivery{Msg: m, QoS: 2, PacketID: 2, Redelivered: true, SubIDs: []uint32{3, 4}})
	deliver(t, s, kernel.Delivery{PacketID: 3, QoS: 2}) // what PUBREC came for before
	own := none.User("k", "v")
	pub := func(p mqttwire.Publish) *mqttwire.Publish {
		p.Topic, p.Payload = []byte("a/b"), []byte("x")
		if p.Properties == nil {
			p.Properties = own
		}
		return &p
	}
	c.want(pub(mqttwire.Publish{}), pub(mqttwire.Publish{}), pub(mqttwire.Publish{QoS: 1, PacketID: 1, Retain: true}),
		pub(mqttwire.Publish{QoS: 2, PacketID: 2, Dup: true, // MQTT5-3.3.4-4
			Properties: append(none.Varint(mqttwire.SubscriptionID, 3).Varint(mqttwire.SubscriptionID, 4), own...)}),
		&mqttwire.Ack{Type: mqttwire.PUBREL, PacketID: 3})
	c.send(&mqttwire.Ack{Type: mqttwire.PUBACK, PacketID: 1}, &mqttwire.Ack{Type: mqttwire.PUBREC, PacketID: 2})
	c.want(&mqttwire.Ack{Type: mqttwire.PUBREL, PacketID: 2})
	c.send(&mqttwire.Ack{Type: mqttwire.PUBCOMP, PacketID: 2}, &mqttwire.Ack{Type: mqttwire.PUBCOMP, PacketID: 3})
	b.calls(s, "ack 1 true", "received 2", "ack 2 true", "ack 3 true")

	// MQTT5-4.4.0-2
	c.send(&mqttwire.Ack{Type: mqttwire.PUBACK, PacketID: 4, Reason: mqttwire.QuotaExceeded}, &mqttwire.Ack{Type: mqttwire.PUBREC, PacketID: 5, Reason: mqttwire.UnspecifiedError})
	b.calls(s, "ack 4 false", "ack 5 false")
	c.settled()
	s.known = false
	c.send(&mqttwire.Ack{Type: mqttwire.PUBREC, PacketID: 6})
	c.want(&mqttwire.Ack{Type: mqttwire.PUBREL, PacketID: 6, Reason: mqttwire.PacketIDNotFound})
	b.calls(s, "received 6")

	// With PUBREL the client forgets the identifier: it waits until the session will not
	// send the message again, whatever happens.
	s.known, s.stored = true, make(chan func(), 1)
	c.send(&mqttwire.Ack{Type: mqttwire.PUBREC, PacketID: 7})
	b.calls(s, "received 7")
	c.settled()
	(<-s.stored)()
	c.want(&mqttwire.Ack{Type: mqttwire.PUBREL, PacketID: 7})
	if n := b.s.Stats().MessagesOut.Load(); n != 4 {
		t.Errorf("%d messages counted, want 4", n)
	}
}

func TestDeliver311(t *testing.T) {
	b := newBench(t, nil)
	c, s := b.connect(mqttwire.Connect{Version: mqttwire.V311})
	m := &message.Message{Source: message.MQTT, Address: "a/b", Value: []byte("x"), Native: none.User("k", "v"), ExpiresAt: now + 5000}
	deliver(t, s, kernel.Delivery{Msg: m, QoS: 1, PacketID: 1, SubIDs: []uint32{7}})
	c.want(&mqttwire.Publish{Topic: []byte("a/b"), Payload: []byte("x"), QoS: 1, PacketID: 1})
	k := &message.Message{Source: message.Kafka, Address: "a/b", Value: nil, Key: []byte("k")}
	deliver(t, s, kernel.Delivery{Msg: k})
	c.want(&mqttwire.Publish{Topic: []byte("a/b")})
}

func TestDeliverExpiry(t *testing.T) {
	b := newBench(t, nil)
	c, s := b.connect(mqttwire.Connect{})
	m := &message.Message{Source: message.MQTT, Address: "a", Value: []byte("x"), ExpiresAt: now + 10_000}
	pub := func(p mqttwire.Publish, seconds uint32) *mqttwire.Publish {
		p.Topic, p.Payload, p.Properties = []byte("a"), []byte("x"), none.Uint32(mqttwire.MessageExpiry, seconds)
		return &p
	}
	deliver(t, s, kernel.Delivery{Msg: m})
	b.clock.Advance(3500 * time.Millisecond)
	deliver(t, s, kernel.Delivery{Msg: m, QoS: 1, PacketID: 1})
	c.want(pub(mqttwire.Publish{}, 10), pub(mqttwire.Publish{QoS: 1, PacketID: 1}, 7)) // MQTT5-3.3.2-6
	b.clock.Advance(6500 * time.Millisecond)
	deliver(t, s, kernel.Delivery{Msg: m, QoS: 1, PacketID: 2})
	b.calls(s, "ack 2 true") // MQTT5-3.3.2-5
	deliver(t, s, kernel.Delivery{Msg: m, QoS: 1, PacketID: 1, Redelivered: true})
	c.want(pub(mqttwire.Publish{QoS: 1, PacketID: 1, Dup: true}, 0)) // MQTT5-4.3.3-7
}

func TestDeliverTooLarge(t *testing.T) {
	b := newBench(t, nil)
	c, s := b.connect(mqttwire.Connect{Properties: none.Uint32(mqttwire.MaximumPacketSize, 20)})
	big := &message.Message{Source: message.MQTT, Address: "a", Value: make([]byte, 20)}
	fits := &message.Message{Source: message.MQTT, Address: "a", Value: make([]byte, 12)}
	deliver(t, s, kernel.Delivery{Msg: big})
	deliver(t, s, kernel.Delivery{Msg: big, QoS: 1, PacketID: 1})
	b.calls(s, "ack 1 true") // MQTT5-3.1.2-25
	deliver(t, s, kernel.Delivery{Msg: fits, QoS: 1, PacketID: 2})
	c.want(&mqttwire.Publish{Topic: []byte("a"), Payload: make([]byte, 12), QoS: 1, PacketID: 2})
	if n := b.s.Stats().DroppedTooLarge.Load(); n != 2 {
		t.Errorf("%d counted, want 2", n)
	}
	// Nor a reason string that would not fit (MQTT5-3.14.2-3).
	c.send(&mqttwire.Auth{Reason: mqttwire.Reauthenticate})
	c.want(&mqttwire.Disconnect{Reason: mqttwire.ProtocolError})
}

func TestTopicAliasesOut(t *testing.T) {
	b := newBench(t, nil)
	c, s := b.connect(mqttwire.Connect{Properties: none.Uint16(mqttwire.TopicAliasMaximum, 1).Uint16(mqttwire.ReceiveMaximum, 2).Uint32(mqttwire.MaximumPacketSize, 60)})
	m := func(a string) *message.Message {
		return &message.Message{Source: message.MQTT, Address: a, Value: []byte("x")}
	}
	deliver(t, s, kernel.Delivery{Msg: m(strings.Repeat("long", 13))}) // an alias would not fit
	for i, a := range []string{"t/1", "topic/1", "topic/2", "topic/1", "topic/1", "topic/1", "topic/2"} {
		qos := byte(i % 3)
		id := uint16(0)
		if qos > 0 {
			id = uint16(i)
		}
		deliver(t, s, kernel.Delivery{Msg: m(a), QoS: qos, PacketID: id})
	}
	pub := func(topic string, qos byte, id uint16, ps mqttwire.Properties) *mqttwire.Publish {
		return &mqttwire.Publish{Topic: []byte(topic), QoS: qos, PacketID: id, Payload: []byte("x"), Properties: ps}
	}
	alias := none.Uint16(mqttwire.TopicAlias, 1)
	c.want(pub(strings.Repeat("long", 13), 0, 0, nil), pub("t/1", 0, 0, nil), pub("topic/1", 1, 1, alias), pub("topic/2", 2, 2, nil),
		pub("", 0, 0, alias), pub("topic/2", 0, 0, nil))
	c.send(&mqttwire.Ack{Type: mqttwire.PUBACK, PacketID: 1}, &mqttwire.Ack{Type: mqttwire.PUBREC, PacketID: 2}, &mqttwire.Ack{Type: mqttwire.PUBCOMP, PacketID: 2})
	c.want(pub("topic/1", 1, 4, nil), &mqttwire.Ack{Type: mqttwire.PUBREL, PacketID: 2}, pub("topic/1", 2, 5, nil)) // parked: as it is
}

// settleLog is a queue attachment that notes what is settled.
type settleLog struct{ calls []string }

func (l *settleLog) Settle(no uint64, multiple bool, o kernel.Outcome) {
	l.calls = append(l.calls, fmt.Sprintf("%d %v %d", no, multiple, o))
}

func TestWindow(t *testing.T) {
	log := &settleLog{}
	w := window{max: 2}
	a, b := w.take(share{from: log, no: 1}), w.take(share{from: log, no: 2})
	if a != sharedIDMin || b != sharedIDMin+1 {
		t.Errorf("identifiers %d and %d", a, b)
	}
	w.lastID = sharedIDMax
	if id := w.take(share{}); id != sharedIDMin+2 {
		t.Errorf("after wrapping: %d", id)
	}
	for len(w.shares) <= sharedIDMax-sharedIDMin {
		if w.take(share{}) == 0 {
			t.Fatal("out of identifiers too early")
		}
	}
	if id := w.take(share{}); id != 0 {
		t.Errorf("took %d when all are in use", id)
	}
	w.sent = 2
	w.parked = [][]byte{{1}, {2}}
	if p := w.next(); !bytes.Equal(p, []byte{1}) || w.sent != 2 {
		t.Errorf("next = %v, %d sent", p, w.sent)
	}
	if w.open() {
		t.Error("open while something is parked")
	}
	w.sent = 5
	if p := w.next(); p != nil {
		t.Errorf("next = %v above the maximum", p)
	}
}

// Shared deliveries at QoS 1 are settled with their queue, once.
func TestSharedDeliveries(t *testing.T) {
	b := newBench(t, nil)
	nc, far := net.Pipe()
	_ = nc.SetDeadline(time.Now().Add(patience))
	defer func() { _ = nc.Close() }()
	c := newConn(b.s, far, nil)
	c.version, c.maxOut, c.receiveMax = mqttwire.V5, mqttwire.PacketMax, 10
	w := &c.flowLocked().window
	defer func() { c.out.Close(false); c.out.Wait() }()

	log := &settleLog{}
	id := func(no uint64) uint16 {
		w.sent++
		return w.take(share{from: log, no: no})
	}
	one, two := id(1), id(2)
	c.puback(&mqttwire.Ack{Type: mqttwire.PUBACK, PacketID: one})
	c.puback(&mqttwire.Ack{Type: mqttwire.PUBACK, PacketID: one}) // again: nothing
	c.puback(&mqttwire.Ack{Type: mqttwire.PUBACK, PacketID: two, Reason: mqttwire.QuotaExceeded})
	if want := []string{"1 false 0", "2 false 2"}; !reflect.DeepEqual(log.calls, want) { // MQTT5-4.8.2-6
		t.Errorf("settled %v, want %v", log.calls, want)
	}
	if w.sent != 0 || len(w.shares) != 0 {
		t.Errorf("%d in progress, %d identifiers held", w.sent, len(w.shares))
	}
}

// Deliveries beyond the client's receive maximum wait, in order.
func TestReceiveMaximumOut(t *testing.T) {
	b := newBench(t, nil)
	c, s := b.connect(mqttwire.Connect{Properties: none.Uint16(mqttwire.ReceiveMaximum, 1)})
	m := &message.Message{Source: message.MQTT, Address: "a", Value: []byte("x")}
	pub := func(id uint16) *mqttwire.Publish {
		return &mqttwire.Publish{Topic: []byte("a"), Payload: []byte("x"), QoS: 1, PacketID: id}
	}
	for id := range uint16(3) {
		deliver(t, s, kernel.Delivery{Msg: m, QoS: 1, PacketID: id + 1})
	}
	deliver(t, s, kernel.Delivery{Msg: m})
	c.want(pub(1), &mqttwire.Publish{Topic: []byte("a"), Payload: []byte("x")}) // MQTT5-3.3.4-9
	c.send(&mqttwire.Ack{Type: mqttwire.PUBACK, PacketID: 1})
	c.want(pub(2))
	c.send(&mqttwire.Ack{Type: mqttwire.PUBACK, PacketID: 2})
	c.want(pub(3))
}

func TestSlowClient(t *testing.T) {
	b := newBench(t, func(c *Config) { c.DropAbove, c.OutboxMax = 1000, 5000 })
	c, s := b.connect(mqttwire.Connect{})
	m := &message.Message{Source: message.MQTT, Address: "a", Value: make([]byte, 400)}
	dropped := 0
	for range 10 {
		if !s.sink.Deliver(&kernel.Delivery{Msg: m}) {
			dropped++
		}
	}
	if dropped != 8 || b.s.Stats().DroppedSlow.Load() != 8 {
		t.Errorf("%d of 10 dropped, %d counted; want 8", dropped, b.s.Stats().DroppedSlow.Load())
	}
	for id := range uint16(20) {
		deliver(t, s, kernel.Delivery{Msg: m, QoS: 1, PacketID: id + 1})
	}
	if n := b.s.Stats().Ended(mqttwire.QuotaExceeded); n != 1 {
		t.Errorf("the connection was ended %d times, want once", n)
	}
	_ = c.nc.Close()
	b.calls(s, "close will=true")
}

func TestKeepAlive(t *testing.T) {
	for _, v := range []mqttwire.Version{mqttwire.V311, mqttwire.V5} {
		b := newBench(t, nil)
		c, s := b.connect(mqttwire.Connect{Version: v, KeepAlive: 10})
		b.link.Advance(14 * time.Second)
		c.settled()
		b.link.Advance(14 * time.Second)
		c.settled()
		b.link.Advance(15 * time.Second) // MQTT5-3.1.2-22
		c.wantDisconnect(mqttwire.KeepAliveTimeout)
		b.calls(s, "close will=true")
		if b.s.Stats().KeepAlive.Load() != 1 {
			t.Error("not counted")
		}
		c, _ = b.connect(mqttwire.Connect{Version: v})
		b.link.Advance(1000 * time.Hour)
		c.settled()
	}
}

func TestDisconnect(t *testing.T) {
	tests := []struct {
		spec string
		v    mqttwire.Version
		d    *mqttwire.Disconnect // nil: the connection just breaks
		want string
	}{
		{"MQTT5-3.14.4-3", mqttwire.V5, &mqttwire.Disconnect{}, "close will=false"},
		{"MQTT311-3.14.4-3", mqttwire.V311, &mqttwire.Disconnect{}, "close will=false"},
		{"MQTT5-3.1.2-10", mqttwire.V5, &mqttwire.Disconnect{Reason: mqttwire.DisconnectWithWill}, "close will=true"},
		{"MQTT5-3.1.2-8", mqttwire.V5, &mqttwire.Disconnect{Reason: mqttwire.UnspecifiedError}, "close will=true"},
		{"MQTT5-3.1.2-8", mqttwire.V5, nil, "close will=true"},
		{"MQTT5 3.14.2.2.2", mqttwire.V5, &mqttwire.Disconnect{Properties: none.Uint32(mqttwire.SessionExpiry, 9)}, "close will=false expiry=9"},
	}
	for _, tt := range tests {
		b := newBench(t, nil)
		c, s := b.connect(mqttwire.Connect{Version: tt.v, Properties: none.Uint32(mqttwire.SessionExpiry, 100)})
		if tt.d != nil {
			c.send(tt.d, pingreq) // nothing after DISCONNECT is looked at
			c.wantEnd()
		} else {
			_ = c.nc.Close()
		}
		b.calls(s, tt.want)
	}
}

func TestGone(t *testing.T) {
	for reason, want := range map[kernel.GoneReason]mqttwire.Reason{
		kernel.GoneTakenOver: mqttwire.SessionTakenOver, // MQTT5-3.1.4-3
		kernel.GoneDeleted:   mqttwire.AdministrativeAction,
		kernel.GoneClosing:   mqttwire.ServerShuttingDown,
		kernel.GoneTooSlow:   mqttwire.QuotaExceeded,
	} {
		b := newBench(t, nil)
		c, s := b.connect(mqttwire.Connect{})
		s.sink.Gone(reason)
		c.wantDisconnect(want)
		b.served.Wait()
		if len(s.calls) != 0 {
			t.Errorf("the session that was gone was asked to %q", <-s.calls)
		}
	}
}

func TestShutdown(t *testing.T) {
	b := newBench(t, nil)
	c, s := b.connect(mqttwire.Connect{})
	d, _ := b.connect(mqttwire.Connect{Version: mqttwire.V311, ClientID: []byte("d")})
	if n := len(b.s.Clients()); n != 2 {
		t.Errorf("%d clients, want 2", n)
	}
	done := make(chan error)
	go func() { done <- b.s.Close(t.Context()) }()
	c.wantDisconnect(mqttwire.ServerShuttingDown)
	d.wantEnd()
	if err := <-done; err != nil {
		t.Error(err)
	}
	b.calls(s, "close will=true")
	late := b.dial(mqttwire.V5)
	late.wantEnd()
	if n := b.s.Stats().Connections.Load(); n != 0 {
		t.Errorf("%d connections at the end", n)
	}
}

// A second packet in the same segment as CONNECT is handled, after CONNACK.
func TestPipelinedConnect(t *testing.T) {
	b := newBench(t, nil)
	c := b.dial(mqttwire.V311)
	c.send(&mqttwire.Connect{Version: mqttwire.V311, ClientID: []byte("c")}, &mqttwire.Publish{Topic: []byte("a"), QoS: 1, PacketID: 1}, pingreq)
	c.want(&mqttwire.Connack{}, &mqttwire.Ack{Type: mqttwire.PUBACK, PacketID: 1}, pingresp)
}

func TestAfterRefusalNothingIsHandled(t *testing.T) {
	b := newBench(t, func(c *Config) {
		c.Auth = authFunc(func(string, string) (string, error) { return "", fault.Of(fault.Unauthorized, "log in", "") })
	})
	c := b.dial(mqttwire.V311)
	c.send(&mqttwire.Connect{Version: mqttwire.V311, ClientID: []byte("c")}, &mqttwire.Publish{Topic: []byte("a"), QoS: 1, PacketID: 1})
	c.want(&mqttwire.Connack{Code: mqttwire.RefusedCredentials})
	c.wantEnd()
	if said := b.k.said(); len(said) != 0 { // MQTT5-3.1.4-6
		t.Errorf("published %v", said)
	}
}

const maxLevels = 128 // the default of mqtt.max-levels
