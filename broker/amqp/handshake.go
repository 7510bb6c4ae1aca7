package amqp

import (
	"bytes"
	"time"

	"github.com/robustmq/rmq/broker/amqpwire"
	"github.com/robustmq/rmq/broker/auth"
	"github.com/robustmq/rmq/broker/wire"
)

// handshakeMax bounds the time from the first byte to connection.open, and frameMaxEarly
// the frames before connection.tune-ok.
const (
	handshakeMax  = 10 * time.Second
	frameMaxEarly = 64 << 10
)

// start is how the server introduces itself.
func (s *Server) start() *amqpwire.ConnectionStart {
	yes := amqpwire.Bool(true)
	capabilities := amqpwire.Table{
		{Name: "publisher_confirms", Value: yes},
		{Name: "exchange_exchange_bindings", Value: yes},
		{Name: "basic.nack", Value: yes},
		{Name: "consumer_cancel_notify", Value: yes},
		{Name: "connection.blocked", Value: yes},
		{Name: "consumer_priorities", Value: yes},
		{Name: "authentication_failure_close", Value: yes},
		{Name: "per_consumer_qos", Value: yes},
		{Name: "direct_reply_to", Value: yes},
	}
	return &amqpwire.ConnectionStart{
		VersionMajor: 0, VersionMinor: 9,
		ServerProperties: amqpwire.Table{
			{Name: "capabilities", Value: amqpwire.Nested(capabilities)},
			{Name: "cluster_name", Value: amqpwire.String(s.cfg.Cluster)},
			{Name: "platform", Value: amqpwire.String("Go")},
			{Name: "product", Value: amqpwire.String(s.cfg.Product)},
			{Name: "version", Value: amqpwire.String(s.cfg.Version)},
		},
		Mechanisms: []byte("PLAIN AMQPLAIN"),
		Locales:    []byte("en_US"),
	}
}

// readHeader reads the eight octets that open a connection. ok false: they are not ours, and
// the client was told what would be.
func (c *conn) readHeader() (ok bool, err error) {
	if n := len(amqpwire.ProtocolHeader); c.r.Buffered() < n { // all of it may have come with the first bytes
		if err := c.r.Fill(n); err != nil {
			return false, err
		}
	}
	h := c.r.Bytes()[:len(amqpwire.ProtocolHeader)]
	const also = "AMQP\x01\x01\x00\x09" // 0-9, which its clients mean as 0-9-1
	ok = string(h) == amqpwire.ProtocolHeader || string(h) == also
	c.r.Discard(len(h))
	if !ok {
		c.s.stats.Malformed.Add(1)
		c.out.Write([]byte(amqpwire.ProtocolHeader))
		return false, nil
	}
	return true, nil
}

// stage is how far a connection has come.
type stage uint8

const (
	awaitStartOk stage = iota
	awaitTuneOk
	awaitOpen
	running
	ending // we sent connection.close, or the client did
)

func (st stage) String() string {
	return [...]string{"starting", "tuning", "opening", "running", "closing"}[st]
}

// handshake serves one method on channel 0 before the connection is open.
func (c *conn) handshake(m amqpwire.Method) *failure {
	switch m := m.(type) {
	case *amqpwire.ConnectionStartOk:
		if c.stage == awaitStartOk {
			return c.startOk(m)
		}
	case *amqpwire.ConnectionTuneOk:
		if c.stage == awaitTuneOk {
			return c.tuneOk(m)
		}
	case *amqpwire.ConnectionOpen:
		if c.stage == awaitOpen {
			return c.open(m)
		}
	}
	return failf(amqpwire.ChannelError, "unexpected method in connection state %s", c.stage)
}

func (c *conn) startOk(m *amqpwire.ConnectionStartOk) *failure {
	if v, ok := m.ClientProperties.Get("capabilities"); ok {
		c.caps.cancelNotify = capability(v.Table, "consumer_cancel_notify")
		c.caps.blocked = capability(v.Table, "connection.blocked")
		c.caps.authClose = capability(v.Table, "authentication_failure_close")
	}
	if v, ok := m.ClientProperties.Get("connection_name"); ok && v.Kind == amqpwire.KindString {
		c.name = v.Text()
		wire.Name(c.nc, c.name)
	}
	var user, password string
	switch m.Mechanism {
	case "PLAIN":
		parts := bytes.Split(m.Response, []byte{0})
		if len(parts) != 3 {
			return failf(amqpwire.SyntaxError, "response of mechanism PLAIN is malformed")
		}
		user, password = string(parts[1]), string(parts[2])
	case "AMQPLAIN":
		t, err := amqpwire.DecodeTable(m.Response)
		if err != nil {
			return failf(amqpwire.SyntaxError, "response of mechanism AMQPLAIN is malformed")
		}
		login, ok1 := t.Get("LOGIN")
		pass, ok2 := t.Get("PASSWORD")
		if !ok1 || !ok2 {
			return failf(amqpwire.SyntaxError, "AMQPLAIN auth info is missing LOGIN or PASSWORD field")
		}
		if !textual(login) || !textual(pass) {
			return failf(amqpwire.SyntaxError, "AMQPLAIN auth info uses unsupported type for LOGIN or PASSWORD field")
		}
		user, password = login.Text(), pass.Text()
	default:
		return failf(amqpwire.CommandInvalid, "unknown authentication mechanism '%s'", m.Mechanism)
	}
	c.login = auth.NewLogin("amqp", wire.PeerOf(c.nc))
	c.login.User, c.login.Password = user, password
	id, err := c.s.cfg.Auth.Authenticate(c.login)
	c.login.Password = ""
	if err != nil {
		c.s.stats.AuthFailures.Add(1)
		c.s.log.Warn("login refused", "protocol", "amqp", "user", user, "peer", c.peer(), "err", err)
		f := failf(amqpwire.AccessRefused, "Login was refused using authentication mechanism %s. For details see the broker logfile.", m.Mechanism)
		f.hard, f.silent = true, !c.caps.authClose
		return f
	}
	c.user, c.identity = id.User, id
	c.expireAt(id.Expires)
	c.stage = awaitTuneOk
	c.send(0, &amqpwire.ConnectionTune{
		ChannelMax: uint16(c.s.cfg.ChannelMax), FrameMax: uint32(c.s.cfg.FrameMax), Heartbeat: uint16(c.s.cfg.Heartbeat / time.Second),
	})
	return nil
}

func textual(v amqpwire.Value) bool {
	return v.Kind == amqpwire.KindString || v.Kind == amqpwire.KindBytes
}

func capability(t amqpwire.Table, name string) bool {
	v, ok := t.Get(name)
	return ok && v.Kind == amqpwire.KindBool && v.True()
}

// tuneOk takes what the client made of our proposal: less is its right, zero means ours.
func (c *conn) tuneOk(m *amqpwire.ConnectionTuneOk) *failure {
	switch {
	case m.FrameMax != 0 && m.FrameMax < amqpwire.FrameMinSize:
		return failf(amqpwire.NotAllowed, "negotiated frame_max = %d is lower than the minimum allowed value (%d)", m.FrameMax, amqpwire.FrameMinSize)
	case int64(m.FrameMax) > int64(c.s.cfg.FrameMax):
		return failf(amqpwire.NotAllowed, "negotiated frame_max = %d is higher than the maximum allowed value (%d)", m.FrameMax, c.s.cfg.FrameMax)
	case int(m.ChannelMax) > c.s.cfg.ChannelMax:
		return failf(amqpwire.NotAllowed, "negotiated channel_max = %d is higher than the maximum allowed value (%d)", m.ChannelMax, c.s.cfg.ChannelMax)
	}
	if m.FrameMax != 0 {
		c.frameMax = int(m.FrameMax)
	}
	if m.ChannelMax != 0 {
		c.channelMax = int(m.ChannelMax)
	}
	c.startHeartbeats(time.Duration(m.Heartbeat) * time.Second)
	c.stage = awaitOpen
	return nil
}

func (c *conn) open(m *amqpwire.ConnectionOpen) *failure {
	if !c.s.k.HasNamespace(m.VirtualHost) {
		return failf(amqpwire.NotAllowed, "vhost %s not found", m.VirtualHost)
	}
	access := c.s.cfg.Auth.Access(c.identity, c.login, m.VirtualHost)
	if !access.Enters() {
		return failf(amqpwire.NotAllowed, "access to vhost '%s' refused for user '%s'", m.VirtualHost, c.user)
	}
	c.vhost, c.access = m.VirtualHost, access
	c.stage = running
	c.early.Stop()
	c.subject = c.login.Subject()
	c.subject.User = c.user
	name := c.name
	if name == "" {
		name = c.peer() + " -> " + c.nc.LocalAddr().String()
	}
	c.info.Store(&ConnInfo{Name: name, Peer: c.peer(), User: c.user, Namespace: c.vhost, Since: c.s.link.Now(), Owner: c.owner})
	c.send(0, &amqpwire.ConnectionOpenOk{})
	c.enforce() // a ban may have come since the log-in
	return nil
}
