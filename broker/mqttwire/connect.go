package mqttwire

import "fmt"

// Connect is a CONNECT packet (section 3.1).
//
//	protocol name     string       "MQTT", or "MQIsdp" in 3.1
//	protocol level    u8; in MQTT 3 with bit 7 set, as bridges of Mosquitto's do: see Bridge
//	connect flags     u8           user name · password · will retain · will QoS (2) ·
//	                               will · clean start · reserved
//	keep alive        u16, seconds
//	properties        MQTT 5
//	payload           client identifier; will properties (MQTT 5), topic and payload;
//	                  user name; password: each as the flags say
type Connect struct {
	Version     Version
	Bridge      bool   // MQTT 3: the client is a bridge, to be sent nothing of its own, and RETAIN as it was published
	CleanStart  bool   // clean session in MQTT 3
	KeepAlive   uint16 // seconds; 0: none
	Properties  Properties
	ClientID    []byte
	Will        bool
	WillQoS     byte
	WillRetain  bool
	WillProps   Properties
	WillTopic   []byte
	WillPayload []byte
	HasUserName bool
	HasPassword bool
	UserName    []byte
	Password    []byte
}

const (
	flagClean      = 1 << 1
	flagWill       = 1 << 2
	shiftWillQoS   = 3
	flagWillRetain = 1 << 5
	flagPassword   = 1 << 6
	flagUserName   = 1 << 7

	levelBridge = 1 << 7
)

// Decode reads a CONNECT packet. When it fails c.Version is what is known of the
// peer's version, 0 when nothing is: it decides the form of the refusal.
func (c *Connect) Decode(f Frame) error {
	*c = Connect{}
	if f.Type != CONNECT {
		return protocolError("the first packet is " + f.Type.String() + ", not CONNECT") // MQTT5-3.1.0-1
	}
	r := reader{b: f.Body}
	name := r.string("protocol name")
	level := r.byte("protocol level")
	if r.err != nil {
		return r.err
	}
	if plain := level &^ levelBridge; level != plain && plain != byte(V5) {
		c.Bridge, level = true, plain
	}
	switch {
	case string(name) == "MQTT" && (level == byte(V311) || level == byte(V5)):
	case string(name) == "MQIsdp" && level == byte(V31):
	case string(name) == "MQTT" || string(name) == "MQIsdp":
		c.Version = V311 // the form of the answer that any client reads (MQTT311-3.1.2-2)
		if level > byte(V5) && string(name) == "MQTT" {
			c.Version = V5
		}
		return &Error{UnsupportedVersion, fmt.Sprintf("protocol %s level %d", name, level)}
	default:
		return &Error{UnsupportedVersion, "unknown protocol name"} // MQTT5-3.1.2-1
	}
	c.Version = Version(level)

	flags := r.byte("connect flags")
	c.KeepAlive = r.uint16("keep alive")
	if r.err != nil {
		return r.err
	}
	c.CleanStart = flags&flagClean != 0
	c.Will = flags&flagWill != 0
	c.WillQoS = flags >> shiftWillQoS & 3
	c.WillRetain = flags&flagWillRetain != 0
	c.HasUserName = flags&flagUserName != 0
	c.HasPassword = flags&flagPassword != 0
	switch {
	case flags&1 != 0 && c.Version != V31:
		return malformed("the reserved connect flag is set") // MQTT5-3.1.2-3
	case !c.Will && c.WillQoS != 0:
		return malformed("will QoS without a will") // MQTT5-3.1.2-11
	case !c.Will && c.WillRetain:
		return malformed("will retain without a will") // MQTT5-3.1.2-13
	case c.WillQoS == 3:
		return malformed("will QoS 3") // MQTT5-3.1.2-12
	case c.HasPassword && !c.HasUserName && c.Version != V5:
		return malformed("a password without a user name") // MQTT311-3.1.2-22
	}

	if c.Version == V5 {
		c.Properties = r.properties(CONNECT)
	}
	c.ClientID = r.string("client identifier")
	if c.Will {
		if c.Version == V5 {
			c.WillProps = r.properties(will)
		}
		c.WillTopic = r.string("will topic")
		c.WillPayload = r.binary("will payload")
	}
	if c.HasUserName {
		c.UserName = r.string("user name")
	}
	if c.HasPassword {
		c.Password = r.binary("password")
	}
	if err := r.end(); err != nil {
		return err
	}
	if c.Version == V5 {
		if _, data := c.Properties.find(AuthData); data {
			if _, method := c.Properties.find(AuthMethod); !method {
				return protocolError("authentication data without a method")
			}
		}
	}
	if c.Will && !ValidTopic(c.WillTopic) {
		return &Error{TopicNameInvalid, "will topic is empty or has wildcards"}
	}
	return nil
}

// Append appends the packet. UserName and Password are sent when not nil or when
// their Has field says so.
func (c *Connect) Append(dst []byte) []byte {
	var flags byte
	name := "MQTT"
	if c.Version == V31 {
		name = "MQIsdp"
	}
	n := 2 + len(name) + 1 + 1 + 2 + 2 + len(c.ClientID)
	if c.CleanStart {
		flags |= flagClean
	}
	if c.Version == V5 {
		n += c.Properties.len()
	}
	if c.Will {
		flags |= flagWill | c.WillQoS<<shiftWillQoS
		if c.WillRetain {
			flags |= flagWillRetain
		}
		if c.Version == V5 {
			n += c.WillProps.len()
		}
		n += 2 + len(c.WillTopic) + 2 + len(c.WillPayload)
	}
	user, pass := c.HasUserName || c.UserName != nil, c.HasPassword || c.Password != nil
	if user {
		flags |= flagUserName
		n += 2 + len(c.UserName)
	}
	if pass {
		flags |= flagPassword
		n += 2 + len(c.Password)
	}
	dst = appendHeader(dst, CONNECT, 0, n)
	dst = appendBinary(dst, name)
	level := byte(c.Version)
	if c.Bridge && c.Version != V5 {
		level |= levelBridge
	}
	dst = append(dst, level, flags)
	dst = appendUint16(dst, c.KeepAlive)
	if c.Version == V5 {
		dst = c.Properties.append(dst)
	}
	dst = appendBinary(dst, c.ClientID)
	if c.Will {
		if c.Version == V5 {
			dst = c.WillProps.append(dst)
		}
		dst = appendBinary(dst, c.WillTopic)
		dst = appendBinary(dst, c.WillPayload)
	}
	if user {
		dst = appendBinary(dst, c.UserName)
	}
	if pass {
		dst = appendBinary(dst, c.Password)
	}
	return dst
}

// Connack is a CONNACK packet (section 3.2): u8 flags (bit 0: session present), u8
// code, properties in MQTT 5.
type Connack struct {
	SessionPresent bool
	Reason         Reason      // MQTT 5
	Code           ConnectCode // MQTT 3
	Properties     Properties
}

// Decode reads a CONNACK packet.
func (c *Connack) Decode(v Version, f Frame) error {
	*c = Connack{}
	r := reader{b: f.Body}
	flags := r.byte("acknowledge flags")
	code := r.byte("reason code")
	if r.err == nil && flags&^1 != 0 {
		return malformed("CONNACK with reserved flags set") // MQTT5-3.2.2-1
	}
	c.SessionPresent = flags&1 != 0
	if v != V5 {
		c.Code = ConnectCode(code)
		if r.err == nil && c.Code > RefusedAuthority {
			return protocolError("CONNACK with a reserved return code")
		}
		if r.err == nil && c.Code != Accepted && c.SessionPresent {
			return protocolError("a refusal with session present") // MQTT311-3.2.2-4
		}
		return r.end()
	}
	c.Reason = Reason(code)
	if r.err == nil && !c.Reason.AllowedIn(CONNACK) {
		return protocolError("CONNACK with " + c.Reason.String()) // MQTT5-3.2.2-8
	}
	if r.err == nil && c.Reason != Success && c.SessionPresent {
		return protocolError("a refusal with session present") // MQTT5-3.2.2-6
	}
	c.Properties = r.properties(CONNACK)
	return r.end()
}

// Append appends the packet.
func (c *Connack) Append(dst []byte, v Version) []byte {
	n := 2
	code := byte(c.Code)
	if v == V5 {
		code = byte(c.Reason)
		n += c.Properties.len()
	}
	dst = appendHeader(dst, CONNACK, 0, n)
	var flags byte
	if c.SessionPresent {
		flags = 1
	}
	dst = append(dst, flags, code)
	if v == V5 {
		dst = c.Properties.append(dst)
	}
	return dst
}
