package mqtt

import (
	"context"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/auth"
	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/mqttwire"
)

// userTable keeps users in memory.
type userTable struct {
	mu sync.Mutex
	m  map[string]auth.User
}

func (u *userTable) User(name string) (auth.User, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	x, ok := u.m[name]
	return x, ok
}
func (u *userTable) UserCount() int { return len(u.m) }
func (u *userTable) PutUser(_ context.Context, x auth.User) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.m[x.Name] = x
	return nil
}
func (u *userTable) DeleteUser(context.Context, string) error { return nil }
func (u *userTable) Rules() []acl.Rule                        { return nil }
func (u *userTable) AccessVersions() (users, rules uint64)    { return 0, 0 }
func (u *userTable) Bans() []acl.Ban                          { return nil }
func (u *userTable) ItemsVersion() uint64                     { return 0 }

func newUserBroker(t *testing.T, names ...string) *broker {
	t.Helper()
	a, err := auth.New(&userTable{m: map[string]auth.User{}}, auth.Config{}, clock.Wall{})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		password := "secret of " + n
		if err := a.Put(t.Context(), n, &password, nil); err != nil {
			t.Fatal(err)
		}
	}
	return newBrokerOn(t, kerneltest.Open(t, kerneltest.Options{NoCapture: true}), nil, func(c *Config) { c.Auth = a })
}

// prover is a client of SCRAM of somebody else's making.
type prover struct {
	method  string
	session sasl.Session
}

func (c *client) prover(method, user, password string) (p prover, first []byte) {
	c.t.Helper()
	m := scram.Auth{User: user, Pass: password}.AsSha256Mechanism()
	if method == "SCRAM-SHA-512" {
		m = scram.Auth{User: user, Pass: password}.AsSha512Mechanism()
	}
	s, first, err := m.Authenticate(c.t.Context(), "")
	if err != nil {
		c.t.Fatal(err)
	}
	return prover{method, s}, first
}

func authProps(method string, data []byte) mqttwire.Properties {
	ps := none.String(mqttwire.AuthMethod, method)
	if data != nil {
		ps = ps.Binary(mqttwire.AuthData, data)
	}
	return ps
}

// challenge reads AUTH with 0x18, and answers it.
func (c *client) answer(p prover) {
	c.t.Helper()
	var a mqttwire.Auth
	if err := a.Decode(c.read(mqttwire.AUTH)); err != nil {
		c.t.Fatal(err)
	}
	method, _ := a.Properties.Value(mqttwire.AuthMethod)
	data, _ := a.Properties.Value(mqttwire.AuthData)
	if a.Reason != mqttwire.ContinueAuthentication || string(method) != p.method { // MQTT5-4.12.0-2, -5
		c.t.Fatalf("AUTH with %v, method %q", a.Reason, method)
	}
	_, final, err := p.session.Challenge(data)
	if err != nil {
		c.t.Fatal(err)
	}
	c.send(&mqttwire.Auth{Reason: mqttwire.ContinueAuthentication, Properties: authProps(p.method, final)})
}

// proven checks the server's own proof.
func (c *client) proven(p prover, ps mqttwire.Properties) {
	c.t.Helper()
	method, _ := ps.Value(mqttwire.AuthMethod)
	data, _ := ps.Value(mqttwire.AuthData)
	if done, _, err := p.session.Challenge(data); err != nil || !done || string(method) != p.method {
		c.t.Fatalf("the server's proof: %v, %v, method %q", done, err, method)
	}
}

// connectBy connects by a method; it returns CONNACK.
func (b *broker) connectBy(method, user, password string) (*client, prover, mqttwire.Connack) {
	b.t.Helper()
	c := &client{peer: b.dial(mqttwire.V5)}
	p, first := c.prover(method, user, password)
	c.send(&mqttwire.Connect{Version: mqttwire.V5, ClientID: []byte("c"), Properties: authProps(method, first)})
	c.answer(p)
	var ack mqttwire.Connack
	if err := ack.Decode(c.v, c.read(mqttwire.CONNACK)); err != nil {
		b.t.Fatal(err)
	}
	return c, p, ack
}

func TestScram(t *testing.T) {
	b := newUserBroker(t, "ann", "bob")
	for _, method := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
		c, p, ack := b.connectBy(method, "ann", "secret of ann")
		if ack.Reason != mqttwire.Success {
			t.Fatalf("%s: CONNACK %v", method, ack.Reason)
		}
		c.proven(p, ack.Properties)
		c.publish(msg("a", "x", 1))

		// Again, on the connection that is there, with other packets in between.
		again, first := c.prover(method, "ann", "secret of ann")
		c.send(&mqttwire.Auth{Reason: mqttwire.Reauthenticate, Properties: authProps(method, first)})
		c.send(pingreq)
		c.answer(again)
		c.want(pingresp)
		var a mqttwire.Auth
		if err := a.Decode(c.read(mqttwire.AUTH)); err != nil || a.Reason != mqttwire.Success {
			t.Fatalf("%s: AUTH %v, %v", method, a.Reason, err)
		}
		c.proven(again, a.Properties)
		c.publish(msg("a", "x", 1))

		// As somebody else, or with a wrong password, it is the end (MQTT5-4.12.1-2).
		_, first = c.prover(method, "bob", "secret of bob")
		c.send(&mqttwire.Auth{Reason: mqttwire.Reauthenticate, Properties: authProps(method, first)})
		c.wantDisconnect(mqttwire.NotAuthorized)
	}
	for _, who := range [][2]string{{"ann", "secret of bob"}, {"nobody", "x"}} {
		c, _, ack := b.connectBy("SCRAM-SHA-256", who[0], who[1])
		if ack.Reason != mqttwire.NotAuthorized { // MQTT5-4.12.0-4
			t.Errorf("%s: CONNACK %v", who[0], ack.Reason)
		}
		c.wantEnd()
	}
}

// A client that says nothing with its method is asked to begin.
func TestScramWithoutFirstData(t *testing.T) {
	b := newUserBroker(t, "ann")
	c := &client{peer: b.dial(mqttwire.V5)}
	p, first := c.prover("SCRAM-SHA-256", "ann", "secret of ann")
	c.send(&mqttwire.Connect{Version: mqttwire.V5, ClientID: []byte("c"), Properties: authProps(p.method, nil)})
	c.want(&mqttwire.Auth{Reason: mqttwire.ContinueAuthentication, Properties: authProps(p.method, nil)})
	c.send(&mqttwire.Auth{Reason: mqttwire.ContinueAuthentication, Properties: authProps(p.method, first)})
	c.answer(p)
	var ack mqttwire.Connack
	if err := ack.Decode(c.v, c.read(mqttwire.CONNACK)); err != nil || ack.Reason != mqttwire.Success {
		t.Fatalf("CONNACK %v, %v", ack.Reason, err)
	}
}

func TestScramOutOfTurn(t *testing.T) {
	b := newUserBroker(t, "ann")
	for _, tt := range []struct {
		name string
		send any
		want mqttwire.Reason
	}{
		{"a packet in place of AUTH", pingreq, mqttwire.ProtocolError},
		{"a second CONNECT", &mqttwire.Connect{Version: mqttwire.V5, ClientID: []byte("c")}, mqttwire.ProtocolError},
		{"another method", &mqttwire.Auth{Reason: mqttwire.ContinueAuthentication, Properties: authProps("SCRAM-SHA-512", []byte("x"))}, mqttwire.ProtocolError},
		{"0x19 before CONNACK", &mqttwire.Auth{Reason: mqttwire.Reauthenticate, Properties: authProps("SCRAM-SHA-256", []byte("x"))}, mqttwire.ProtocolError},
		{"rubbish", &mqttwire.Auth{Reason: mqttwire.ContinueAuthentication, Properties: authProps("SCRAM-SHA-256", []byte("x"))}, mqttwire.NotAuthorized},
	} {
		c := &client{peer: b.dial(mqttwire.V5)}
		_, first := c.prover("SCRAM-SHA-256", "ann", "secret of ann")
		c.send(&mqttwire.Connect{Version: mqttwire.V5, ClientID: []byte("c"), Properties: authProps("SCRAM-SHA-256", first)})
		c.read(mqttwire.AUTH)
		c.send(tt.send)
		var ack mqttwire.Connack
		if err := ack.Decode(c.v, c.read(mqttwire.CONNACK)); err != nil || ack.Reason != tt.want {
			t.Errorf("%s: CONNACK %v, %v; want %v", tt.name, ack.Reason, err, tt.want)
		}
		c.wantEnd()
	}
	for name, a := range map[string]*mqttwire.Auth{
		"another method":      {Reason: mqttwire.Reauthenticate, Properties: authProps("SCRAM-SHA-512", []byte("x"))},
		"0x18 out of nowhere": {Reason: mqttwire.ContinueAuthentication, Properties: authProps("SCRAM-SHA-256", []byte("x"))},
	} {
		c, _, ack := b.connectBy("SCRAM-SHA-256", "ann", "secret of ann")
		if ack.Reason != mqttwire.Success {
			t.Fatal(ack.Reason)
		}
		c.send(a)
		t.Log(name)
		c.wantDisconnect(mqttwire.ProtocolError)
	}
	c := &client{peer: b.dial(mqttwire.V5)}
	c.send(&mqttwire.Connect{Version: mqttwire.V5, ClientID: []byte("c"), Properties: authProps("MAGIC", nil)})
	var ack mqttwire.Connack
	if err := ack.Decode(c.v, c.read(mqttwire.CONNACK)); err != nil || ack.Reason != mqttwire.BadAuthMethod { // MQTT5-4.12.0-1
		t.Errorf("an unknown method: CONNACK %v, %v", ack.Reason, err)
	}
}
