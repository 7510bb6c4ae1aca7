package mqttwire

import "fmt"

// Reason is a reason code of MQTT 5 (section 2.4). 0x80 and above are failures.
type Reason byte

// Reason codes. Several share a number: what it means depends on the packet.
const (
	Success                  Reason = 0x00
	NormalDisconnection      Reason = 0x00
	GrantedQoS0              Reason = 0x00
	GrantedQoS1              Reason = 0x01
	GrantedQoS2              Reason = 0x02
	DisconnectWithWill       Reason = 0x04
	NoMatchingSubscribers    Reason = 0x10
	NoSubscriptionExisted    Reason = 0x11
	ContinueAuthentication   Reason = 0x18
	Reauthenticate           Reason = 0x19
	UnspecifiedError         Reason = 0x80
	Malformed                Reason = 0x81
	ProtocolError            Reason = 0x82
	ImplementationError      Reason = 0x83
	UnsupportedVersion       Reason = 0x84
	ClientIDInvalid          Reason = 0x85
	BadCredentials           Reason = 0x86
	NotAuthorized            Reason = 0x87
	ServerUnavailable        Reason = 0x88
	ServerBusy               Reason = 0x89
	Banned                   Reason = 0x8A
	ServerShuttingDown       Reason = 0x8B
	BadAuthMethod            Reason = 0x8C
	KeepAliveTimeout         Reason = 0x8D
	SessionTakenOver         Reason = 0x8E
	TopicFilterInvalid       Reason = 0x8F
	TopicNameInvalid         Reason = 0x90
	PacketIDInUse            Reason = 0x91
	PacketIDNotFound         Reason = 0x92
	ReceiveMaximumExceeded   Reason = 0x93
	TopicAliasInvalid        Reason = 0x94
	PacketTooLarge           Reason = 0x95
	MessageRateTooHigh       Reason = 0x96
	QuotaExceeded            Reason = 0x97
	AdministrativeAction     Reason = 0x98
	PayloadFormatInvalid     Reason = 0x99
	RetainNotSupported       Reason = 0x9A
	QoSNotSupported          Reason = 0x9B
	UseAnotherServer         Reason = 0x9C
	ServerMoved              Reason = 0x9D
	SharedNotSupported       Reason = 0x9E
	ConnectionRateExceeded   Reason = 0x9F
	MaximumConnectTime       Reason = 0xA0
	SubscriptionIDsUnsupport Reason = 0xA1
	WildcardsNotSupported    Reason = 0xA2
)

var reasonNames = map[Reason]string{
	0x00: "success", 0x01: "granted QoS 1", 0x02: "granted QoS 2", 0x04: "disconnect with will message",
	0x10: "no matching subscribers", 0x11: "no subscription existed", 0x18: "continue authentication",
	0x19: "re-authenticate", 0x80: "unspecified error", 0x81: "malformed packet", 0x82: "protocol error",
	0x83: "implementation specific error", 0x84: "unsupported protocol version",
	0x85: "client identifier not valid", 0x86: "bad user name or password", 0x87: "not authorized",
	0x88: "server unavailable", 0x89: "server busy", 0x8A: "banned", 0x8B: "server shutting down",
	0x8C: "bad authentication method", 0x8D: "keep alive timeout", 0x8E: "session taken over",
	0x8F: "topic filter invalid", 0x90: "topic name invalid", 0x91: "packet identifier in use",
	0x92: "packet identifier not found", 0x93: "receive maximum exceeded", 0x94: "topic alias invalid",
	0x95: "packet too large", 0x96: "message rate too high", 0x97: "quota exceeded",
	0x98: "administrative action", 0x99: "payload format invalid", 0x9A: "retain not supported",
	0x9B: "QoS not supported", 0x9C: "use another server", 0x9D: "server moved",
	0x9E: "shared subscriptions not supported", 0x9F: "connection rate exceeded",
	0xA0: "maximum connect time", 0xA1: "subscription identifiers not supported",
	0xA2: "wildcard subscriptions not supported",
}

// String returns the name that the specification gives the code.
func (r Reason) String() string {
	if s, ok := reasonNames[r]; ok {
		return s
	}
	return fmt.Sprintf("reason 0x%02X", byte(r))
}

// Failed tells whether r is a failure.
func (r Reason) Failed() bool { return r >= 0x80 }

// ConnectCode is the return code of a CONNACK in MQTT 3.1 and 3.1.1.
type ConnectCode byte

const (
	Accepted           ConnectCode = 0
	RefusedVersion     ConnectCode = 1
	RefusedClientID    ConnectCode = 2
	RefusedUnavailable ConnectCode = 3
	RefusedCredentials ConnectCode = 4
	RefusedAuthority   ConnectCode = 5
)

// ConnectCode returns the return code of MQTT 3 that says what r says; false when
// none does, and the connection is then closed without a CONNACK
// (MQTT 3.1.1 section 3.2.2.3).
func (r Reason) ConnectCode() (ConnectCode, bool) {
	switch r {
	case Success:
		return Accepted, true
	case UnsupportedVersion:
		return RefusedVersion, true
	case ClientIDInvalid:
		return RefusedClientID, true
	case ServerUnavailable, ServerBusy, ServerShuttingDown, UseAnotherServer, ServerMoved, QuotaExceeded,
		ConnectionRateExceeded, UnspecifiedError, ImplementationError:
		return RefusedUnavailable, true
	case BadCredentials, BadAuthMethod:
		return RefusedCredentials, true
	case NotAuthorized, Banned:
		return RefusedAuthority, true
	}
	return 0, false
}

// allowed holds, for each packet type, the reason codes that may stand in it
// (MQTT 5 section 2.4).
var allowed = func() (t [16][4]uint64) {
	set := func(typ Type, codes ...Reason) {
		for _, c := range codes {
			t[typ][c>>6] |= 1 << (c & 63)
		}
	}
	set(CONNACK, Success, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97,
		0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F)
	for _, typ := range []Type{PUBACK, PUBREC} {
		set(typ, Success, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99)
	}
	for _, typ := range []Type{PUBREL, PUBCOMP} {
		set(typ, Success, PacketIDNotFound)
	}
	set(SUBACK, 0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2)
	set(UNSUBACK, Success, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91)
	set(DISCONNECT, 0, 4, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95, 0x96,
		0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2)
	set(AUTH, Success, ContinueAuthentication, Reauthenticate)
	return t
}()

// AllowedIn tells whether r may stand in a packet of type t.
func (r Reason) AllowedIn(t Type) bool { return t < 16 && allowed[t][r>>6]&(1<<(r&63)) != 0 }

// Error is why bytes are not a packet that may be accepted.
type Error struct {
	Reason Reason
	Text   string // what is wrong with which field; safe to show the peer
}

func (e *Error) Error() string { return e.Reason.String() + ": " + e.Text }

func malformed(text string) error     { return &Error{Malformed, text} }
func protocolError(text string) error { return &Error{ProtocolError, text} }
