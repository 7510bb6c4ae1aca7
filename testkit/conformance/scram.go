package conformance

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	mqtt "github.com/robustmq/rmq/broker/mqttwire"
)

// Enhanced authentication takes a method that the server and the suite share: the one that several
// servers have is SCRAM (RFC 5802). Its words are made by a client library of another protocol.

const scramMethod = "SCRAM-SHA-256"

// proof is a client's side of one exchange.
type proof struct {
	t       *T
	session sasl.Session
	first   []byte
}

// prove begins an exchange with a password.
func (t *T) prove(password string) *proof {
	user := t.run.target.user
	session, first, err := scram.Auth{User: user, Pass: password}.AsSha256Mechanism().Authenticate(context.Background(), "")
	if err != nil {
		t.skip("a user name that %s cannot say: %v", scramMethod, err)
	}
	return &proof{t, session, first}
}

// answer is what the client says to a challenge.
func (p *proof) answer(challenge []byte) []byte {
	_, next, err := p.session.Challenge(challenge)
	p.t.check(err == nil, "what the method has a server say", fmt.Sprintf("%q: %v", challenge, err))
	return next
}

// password is that of the target's user.
func (t *T) password() string {
	if t.run.target.user == "" || t.run.target.pass == nil {
		t.skip("the target names no user and password to authenticate with")
	}
	return *t.run.target.pass
}

func method(ps mqtt.Properties, data []byte) mqtt.Properties {
	return ps.String(mqtt.AuthMethod, scramMethod).Binary(mqtt.AuthData, data)
}

// enhanced connects by SCRAM, and returns the challenge that the server has sent. It skips where the
// server has not this method.
func (t *T) enhanced(p *proof, options ...option) (*conn, packet) {
	c := t.dial()
	hello := t.hello(append(options, property(func(ps mqtt.Properties) mqtt.Properties { return method(ps, p.first) }))...)
	hello.HasPassword, hello.Password = false, nil
	c.id = string(hello.ClientID)
	c.send(hello.Append(nil))
	q := c.next("AUTH, or CONNACK")
	if ack, ok := q.Body.(*mqtt.Connack); ok && ack.Reason.Failed() {
		t.skip("the server has not the method %s for this user: 0x%02X (%s)", scramMethod, byte(ack.Reason), ack.Reason)
	}
	return c, t.continued(q)
}

// continued wants AUTH that asks for more, and names the method.
func (t *T) continued(q packet) packet {
	a, ok := q.Body.(*mqtt.Auth)
	t.check(ok && a.Reason == mqtt.ContinueAuthentication, "AUTH with 0x18", q.words(t.v))
	t.names(a.Properties, q)
	return q
}

// names wants the properties of AUTH or CONNACK to name the method of CONNECT.
func (t *T) names(ps mqtt.Properties, q packet) {
	name, _ := ps.Value(mqtt.AuthMethod)
	t.check(string(name) == scramMethod, q.Type.String()+" with the authentication method "+scramMethod, q.words(t.v))
}

func (c *conn) sendAuth(reason mqtt.Reason, data []byte) {
	c.send((&mqtt.Auth{Reason: reason, Properties: method(nil, data)}).Append(nil))
}

func challenge(q packet) []byte {
	data, _ := q.Body.(*mqtt.Auth).Properties.Value(mqtt.AuthData)
	return data
}

// proven connects by SCRAM to the end.
func (t *T) proven(options ...option) *conn {
	p := t.prove(t.password())
	c, q := t.enhanced(p, options...)
	c.sendAuth(mqtt.ContinueAuthentication, p.answer(challenge(q)))
	c.accepted()
	return c
}

// asksForMore wants a challenge by AUTH with 0x18, before CONNACK and after it.
func asksForMore(t *T) {
	c := t.proven()
	p := t.prove(t.password())
	c.sendAuth(mqtt.Reauthenticate, p.first)
	q := t.continued(c.next("AUTH"))
	c.sendAuth(mqtt.ContinueAuthentication, p.answer(challenge(q)))
	q = c.expect(mqtt.AUTH)
	t.check(q.Body.(*mqtt.Auth).Reason == mqtt.Success, "AUTH with 0x00", q.words(t.v))
	c.quiet()
}

// namesMethod wants all that the server says of authentication to name the method of CONNECT.
func namesMethod(t *T) {
	c := t.proven()
	t.names(c.ack.Properties, packet{Frame: mqtt.Frame{Type: mqtt.CONNACK}, Body: c.ack})
	p := t.prove(t.password())
	c.sendAuth(mqtt.Reauthenticate, p.first)
	q := t.continued(c.next("AUTH"))
	c.sendAuth(mqtt.ContinueAuthentication, p.answer(challenge(q)))
	q = c.expect(mqtt.AUTH)
	t.names(q.Body.(*mqtt.Auth).Properties, q)
}

// refusesProof gives the server proofs that are none, at each step.
func refusesProof(t *T) {
	t.proven().leave() // it has the method
	t.each("a wrong password", func(t *T) {
		p := t.prove(t.password() + "-not")
		c, q := t.enhanced(p)
		c.sendAuth(mqtt.ContinueAuthentication, p.answer(challenge(q)))
		c.ended(mqtt.NotAuthorized, mqtt.BadCredentials)
	})
	t.each("a proof that is not one", func(t *T) {
		c, _ := t.enhanced(t.prove(t.password()))
		c.sendAuth(mqtt.ContinueAuthentication, []byte("conform"))
		c.ended(mqtt.NotAuthorized, mqtt.BadCredentials, mqtt.ProtocolError, mqtt.Malformed)
	})
}

// refusesAgain authenticates again, with a wrong password.
func refusesAgain(t *T) {
	c := t.proven()
	p := t.prove(t.password() + "-not")
	c.sendAuth(mqtt.Reauthenticate, p.first)
	q := t.continued(c.next("AUTH"))
	c.sendAuth(mqtt.ContinueAuthentication, p.answer(challenge(q)))
	c.ended(mqtt.NotAuthorized, mqtt.BadCredentials)
}

// authFits has a maximum packet size in which AUTH fits as it is without what may be left out.
func authFits(leftOut mqtt.PropertyID) func(*T) {
	return func(t *T) {
		c, q := t.enhanced(t.prove(t.password()))
		limit := q.size
		ps := q.Body.(*mqtt.Auth).Properties
		for p, rest, ok := ps.Next(); ok; p, rest, ok = rest.Next() {
			if p.ID == leftOut {
				limit -= len(ps) - len(rest)
			}
			ps = rest
		}
		c.drop()
		p := t.prove(t.password())
		_, q = t.enhanced(p, num32(mqtt.MaximumPacketSize, uint32(limit)))
		t.check(q.size <= limit, fmt.Sprintf("AUTH of at most %d bytes", limit), fmt.Sprintf("%d bytes", q.size))
	}
}
