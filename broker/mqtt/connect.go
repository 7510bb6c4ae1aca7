package mqtt

import (
	"context"
	"crypto/rand"
	"math"
	"strings"
	"time"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/auth"
	"github.com/robustmq/rmq/broker/chaos"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/mqttwire"
	"github.com/robustmq/rmq/broker/setting"
	"github.com/robustmq/rmq/broker/wire"
)

// connect handles the first packet, which must be CONNECT.
func (c *conn) connect(f mqttwire.Frame) error {
	cfg := &c.server.cfg
	var p mqttwire.Connect
	c.maxOut = mqttwire.PacketMax
	err := p.Decode(f)
	c.version, c.bridge = p.Version, p.Bridge
	if err != nil {
		c.traceIn(f, "")
		return err
	}
	if n, ok := p.Properties.Num(mqttwire.MaximumPacketSize); ok {
		c.maxOut = int32(min(n, mqttwire.PacketMax))
	}
	assigned, err := c.identify(&p)
	wire.Name(c.nc, c.clientID)
	c.traceIn(f, "")
	if err != nil {
		return err
	}
	if c.server.cfg.Chaos.On(chaos.MQTT) {
		if _, gone := c.disturbIn(mqttwire.CONNECT, ""); gone {
			return nil
		}
	}
	if reason, full := c.server.crowded(c.nc); full {
		c.refuse(reason, "")
		return nil
	}
	if method, ok := p.Properties.Value(mqttwire.AuthMethod); ok {
		return c.prove(f, &p, method, assigned)
	}
	login := auth.NewLogin("mqtt", wire.PeerOf(c.nc))
	login.User, login.Password, login.Client = string(p.UserName), string(p.Password), c.clientID
	id, err := cfg.Auth.Authenticate(login)
	if err != nil {
		c.refuse(reasonIn(mqttwire.CONNACK, err), "")
		return nil
	}
	return c.enter(&p, assigned, id, login, nil)
}

// enter opens the session of a client that is known, and sends CONNACK, with further properties.
func (c *conn) enter(p *mqttwire.Connect, assigned bool, id auth.Identity, login auth.Login, more mqttwire.Properties) (err error) {
	cfg := &c.server.cfg
	c.user, c.access = id.User, cfg.Auth.Access(id, login, cfg.Namespace)
	if c.server.connectsTooFast(c.user) {
		c.refuse(mqttwire.ConnectionRateExceeded, "the clients of the user connect too often")
		return nil
	}
	spec := kernel.SessionSpec{
		Namespace:      cfg.Namespace,
		ClientID:       c.clientID,
		User:           c.user,
		Clean:          p.CleanStart,
		ReceiveMaximum: cfg.Inflight,
		Sink:           c,
	}
	c.receiveMax = math.MaxUint16
	c.problemInfo = c.version == mqttwire.V5
	wanted := uint32(0) // session expiry
	if c.version == mqttwire.V5 {
		wanted, _ = p.Properties.Num(mqttwire.SessionExpiry)
		if n, ok := p.Properties.Num(mqttwire.ReceiveMaximum); ok {
			c.receiveMax = uint16(n)
		}
		if n, ok := p.Properties.Num(mqttwire.RequestProblemInfo); ok && n == 0 {
			c.problemInfo = false
		}
		if n, _ := p.Properties.Num(mqttwire.TopicAliasMaximum); n > 0 {
			c.aliasMax = uint8(min(n, aliasesOut))
		}
	} else if !p.CleanStart {
		wanted = kernel.ExpiryNever
	}
	spec.ReceiveMaximum = min(cfg.Inflight, c.receiveMax)
	c.expiry = min(wanted, cfg.MaxExpiry)
	spec.Expiry = c.expiry
	if p.Will {
		if spec.Will, err = c.will(p); err != nil {
			return err
		}
		if !c.may(acl.Write, spec.Will.Msg.Address) {
			c.refuse(mqttwire.NotAuthorized, "the will's topic")
			return nil
		}
	}

	c.arm(0) // it has said what it had to; the kernel has a time of its own
	ctx, cancel := context.WithTimeout(c.server.ctx, connectTimeout)
	defer cancel()
	session, present, err := c.server.core.Open(ctx, spec)
	if err != nil {
		cfg.Log.Debug("mqtt: session refused", "client", c.clientID, "err", err)
		c.refuse(reasonIn(mqttwire.CONNACK, err), "")
		return nil
	}
	c.session = session
	c.handle, _ = session.(*kernel.Session)
	c.server.stats.Connections.Add(1)
	c.server.stats.Connects.Add(1)

	retained := c.subscribeUnasked(ctx)

	ack := mqttwire.Connack{SessionPresent: present}
	keepAlive := p.KeepAlive
	if c.version == mqttwire.V5 {
		keepAlive = c.keepAliveFor(p.KeepAlive)
		ack.Properties = append(c.properties(p, assigned, keepAlive, wanted), more...)
	}
	c.keepAlive = keepAlive
	c.since = cfg.Link.Now().UnixNano()
	c.lastIn.Store(c.since)
	answer := ack.Append(nil, c.version)
	if len(answer) > int(c.maxOut) { // MQTT5-3.1.2-24: there is nothing that it would read
		c.end(mqttwire.PacketTooLarge, "")
		return nil
	}
	if write := func([]byte) []byte { return answer }; !c.disturbed() || !c.disturb("", write) {
		c.out.Write(answer)
		c.traceOut("", write)
	}
	c.connected.Store(true)
	c.enforce() // a ban may have come since the log-in
	c.arm(c.patience())
	c.expireAt(id.Expires)
	cfg.Log.Debug("mqtt: connected", "client", c.clientID, "version", c.version.String(), "resumed", present)
	session.Start()
	c.server.sys.came(c)
	return c.sendRetained(retained)
}

// identify sets the client identifier, and tells whether we have chosen it.
func (c *conn) identify(p *mqttwire.Connect) (assigned bool, err error) {
	invalid := func(text string) error { return &mqttwire.Error{Reason: mqttwire.ClientIDInvalid, Text: text} }
	switch n := len(p.ClientID); {
	case n > c.server.cfg.MaxClientID:
		return false, invalid("client identifier too long")
	case strings.HasPrefix(string(p.ClientID), setting.BridgeSession):
		return false, invalid("client identifier of a bridge of this broker")
	case n > 0:
		c.clientID = string(p.ClientID)
		return false, nil
	case p.Version == mqttwire.V31:
		return false, invalid("client identifier empty")
	case p.Version == mqttwire.V311 && !p.CleanStart: // MQTT311-3.1.3-8
		return false, invalid("client identifier empty without clean session")
	}
	c.clientID = "rmq-" + rand.Text() // MQTT5-3.1.3-6
	return true, nil
}

// will returns the will message of CONNECT, with memory of its own.
func (c *conn) will(p *mqttwire.Connect) (*kernel.Will, error) {
	delay, _ := p.WillProps.Num(mqttwire.WillDelay)
	w := &kernel.Will{Delay: delay}
	publish := mqttwire.Publish{
		QoS:        p.WillQoS,
		Retain:     p.WillRetain,
		Properties: p.WillProps,
		Payload:    p.WillPayload,
	}
	topic, ok := c.rewriteTopic(string(p.WillTopic))
	if !ok {
		return nil, &mqttwire.Error{Reason: mqttwire.TopicNameInvalid, Text: notRewritten}
	}
	if text := c.unacceptable(topic); text != "" {
		return nil, &mqttwire.Error{Reason: mqttwire.TopicNameInvalid, Text: text}
	}
	now := c.server.cfg.Clock.Now().UnixMilli()
	var in inbound // the kernel copies, but not before Open, and our reader's is reused
	if err := in.fill(&w.Msg, &publish, topic, c.user, now); err != nil {
		return nil, &mqttwire.Error{Reason: mqttwire.TopicNameInvalid, Text: err.Error()}
	}
	return w, nil
}

// keepAliveFor returns the keep alive, in seconds, that a client of MQTT 5 is to use.
func (c *conn) keepAliveFor(asked uint16) uint16 {
	limit := c.server.cfg.Options.Load().KeepAlive / time.Second
	if limit > 0 && (asked == 0 || time.Duration(asked) > limit) {
		return uint16(min(limit, math.MaxUint16))
	}
	return asked
}

// properties returns what CONNACK tells a client of MQTT 5: only what differs from what it
// asked, or from the default.
func (c *conn) properties(p *mqttwire.Connect, assigned bool, keepAlive uint16, wanted uint32) mqttwire.Properties {
	cfg := &c.server.cfg
	var ps mqttwire.Properties
	if c.expiry != wanted {
		ps = ps.Uint32(mqttwire.SessionExpiry, c.expiry)
	}
	if cfg.ReceiveMaximum != math.MaxUint16 {
		ps = ps.Uint16(mqttwire.ReceiveMaximum, cfg.ReceiveMaximum)
	}
	if cfg.MaxPacket < mqttwire.PacketMax {
		ps = ps.Uint32(mqttwire.MaximumPacketSize, uint32(cfg.MaxPacket))
	}
	if assigned {
		ps = ps.String(mqttwire.AssignedClientID, c.clientID) // MQTT5-3.2.2-16
	}
	ps = ps.Uint16(mqttwire.TopicAliasMaximum, cfg.TopicAliases)
	if keepAlive != p.KeepAlive {
		ps = ps.Uint16(mqttwire.ServerKeepAlive, keepAlive)
	}
	if k := cfg.Kernel; k != nil && hasUser(p.Properties, Origin) {
		ps = ps.User(Origin, k.Cluster())
	}
	if n, _ := p.Properties.Num(mqttwire.RequestResponseInfo); n == 1 { // MQTT5-3.1.2-28
		if root := cfg.ResponseInformation(c.clientID); root != "" && mqttwire.ValidTopic([]byte(root)) {
			ps = ps.String(mqttwire.ResponseInformation, root)
		}
	}
	return ps
}

// Origin names the user property with the id of a cluster that a message has left over a bridge. A client
// of MQTT 5 that says it in CONNECT is a bridge, and is told the id of this cluster in CONNACK.
const Origin = "rmq-origin"

func hasUser(ps mqttwire.Properties, name string) bool {
	for p, rest, ok := ps.Next(); ok; p, rest, ok = rest.Next() {
		if p.ID == mqttwire.UserProperty && string(p.Key) == name {
			return true
		}
	}
	return false
}

// refuse answers CONNECT with a refusal and ends the connection. Before MQTT 5 some
// refusals have no code, and the connection just ends (MQTT311-3.2.2-6); so does that of a
// peer of which not even the version is known.
func (c *conn) refuse(r mqttwire.Reason, text string) {
	if !c.ended.CompareAndSwap(false, true) {
		return
	}
	c.why.Store(uint32(r))
	c.server.stats.Refused.Add(1)
	c.server.stats.errors[r].Add(1)
	c.server.cfg.Log.Debug("mqtt: CONNECT refused", "remote", c.nc.RemoteAddr(), "reason", r.String(), "text", text)
	var ack mqttwire.Connack
	answer := false
	switch {
	case c.version == mqttwire.V5:
		if !r.AllowedIn(mqttwire.CONNACK) {
			r = mqttwire.UnspecifiedError
		}
		ack.Reason, answer = r, true
		ack.Properties = c.reasonString(text, 2+2+1)
	case c.version != 0:
		ack.Code, answer = r.ConnectCode()
	}
	if answer {
		write := func(dst []byte) []byte { return ack.Append(dst, c.version) }
		if !c.disturbed() || text == injected || !c.disturb("", write) {
			c.out.Append(write)
			c.traceOut("", write)
		}
	}
	c.out.Linger()
}
