package mqtt

import (
	"bytes"

	"github.com/robustmq/rmq/broker/auth"
	"github.com/robustmq/rmq/broker/mqttwire"
	"github.com/robustmq/rmq/broker/wire"
)

// Enhanced authentication (MQTT 5 section 4.12): a client that names a method in CONNECT proves
// who it is in packets AUTH, before CONNACK, and again whenever it likes. The methods are
// SCRAM-SHA-256 and SCRAM-SHA-512.

// proving is an exchange that is under way, and the CONNECT that waits for it.
type proving struct {
	exchange *auth.Exchange
	login    auth.Login
	frame    mqttwire.Frame // of CONNECT, with memory of its own; none when the client authenticates again
	assigned bool
}

// enhanced is the authentication of a connection whose CONNECT names a method.
type enhanced struct {
	method  string
	proving *proving // nil: none is under way
}

// prove begins an exchange for a CONNECT that names a method.
func (c *conn) prove(f mqttwire.Frame, p *mqttwire.Connect, method []byte, assigned bool) error {
	c.enhanced = &enhanced{method: string(method)}
	login := auth.NewLogin("mqtt", wire.PeerOf(c.nc))
	login.User, login.Client = string(p.UserName), c.clientID
	x := c.challenge(login)
	if x == nil { // MQTT5-4.12.0-1
		return &mqttwire.Error{Reason: mqttwire.BadAuthMethod, Text: "the authentication method is not offered"}
	}
	f.Body = bytes.Clone(f.Body)
	c.enhanced.proving = &proving{exchange: x, login: login, frame: f, assigned: assigned}
	data, said := p.Properties.Value(mqttwire.AuthData)
	if !said { // the method has the client speak first
		c.sendAuth(mqttwire.ContinueAuthentication, nil)
		return nil
	}
	return c.proof(data)
}

func (c *conn) challenge(l auth.Login) *auth.Exchange {
	if a, ok := c.server.cfg.Auth.(auth.Challenger); ok {
		return a.Challenge(c.enhanced.method, l)
	}
	return nil
}

// auth handles AUTH from the client.
func (c *conn) auth(f mqttwire.Frame) error {
	var a mqttwire.Auth
	if err := a.Decode(f); err != nil {
		return err
	}
	e := c.enhanced
	if e == nil { // MQTT5-4.12.0-7
		return &mqttwire.Error{Reason: mqttwire.ProtocolError, Text: "AUTH without an authentication method"}
	}
	method, _ := a.Properties.Value(mqttwire.AuthMethod)
	data, _ := a.Properties.Value(mqttwire.AuthData)
	switch {
	case string(method) != e.method: // MQTT5-4.12.0-5, MQTT5-4.12.1-1
		return &mqttwire.Error{Reason: mqttwire.ProtocolError, Text: "AUTH with another authentication method than CONNECT"}
	case a.Reason == mqttwire.ContinueAuthentication && e.proving != nil: // MQTT5-4.12.0-3
		return c.proof(data)
	case a.Reason == mqttwire.Reauthenticate && e.proving == nil && c.connected.Load():
		login := auth.NewLogin("mqtt", wire.PeerOf(c.nc))
		login.User, login.Client = c.user, c.clientID
		e.proving = &proving{exchange: c.challenge(login), login: login}
		if data == nil {
			c.sendAuth(mqttwire.ContinueAuthentication, nil)
			return nil
		}
		return c.proof(data)
	}
	return &mqttwire.Error{Reason: mqttwire.ProtocolError, Text: "AUTH with " + a.Reason.String() + " out of turn"}
}

// proof takes a step of the exchange.
func (c *conn) proof(data []byte) error {
	e := c.enhanced
	p := e.proving
	out, done, err := p.exchange.Step(data)
	switch {
	case err != nil: // MQTT5-4.12.0-4, MQTT5-4.12.1-2
		e.proving = nil
		c.server.cfg.Log.Debug("mqtt: authentication failed", "client", c.clientID, "method", e.method, "err", err)
		if isBanned(err) && !c.connected.Load() {
			return &mqttwire.Error{Reason: mqttwire.Banned}
		}
		return &mqttwire.Error{Reason: mqttwire.NotAuthorized, Text: "authentication failed"}
	case !done: // MQTT5-4.12.0-2
		c.sendAuth(mqttwire.ContinueAuthentication, out)
		return nil
	}
	e.proving = nil
	id := p.exchange.Identity()
	if p.frame.Body == nil {
		c.expireAt(id.Expires)
		c.sendAuth(mqttwire.Success, out)
		return nil
	}
	var connect mqttwire.Connect
	if err := connect.Decode(p.frame); err != nil {
		return err
	}
	return c.enter(&connect, p.assigned, id, p.login, c.authProperties(out))
}

// authProperties say the method, as every AUTH and CONNACK of such a connection does, and what
// there is of data.
func (c *conn) authProperties(data []byte) mqttwire.Properties {
	ps := mqttwire.Properties(nil).String(mqttwire.AuthMethod, c.enhanced.method)
	if data != nil {
		ps = ps.Binary(mqttwire.AuthData, data)
	}
	return ps
}

func (c *conn) sendAuth(r mqttwire.Reason, data []byte) {
	a := mqttwire.Auth{Reason: r, Properties: c.authProperties(data)}
	if !c.out.Append(a.Append) {
		c.tooSlow()
	}
	c.traceOut("", a.Append)
}
