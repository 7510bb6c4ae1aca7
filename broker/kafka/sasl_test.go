package kafka_test

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/auth"
	"github.com/robustmq/rmq/broker/kafka"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"
)

// users is an Authenticator of names and passwords.
type users map[string]string

func (u users) Authenticate(l auth.Login) (auth.Identity, error) {
	if want, ok := u[l.User]; !ok || want != l.Password {
		return auth.Identity{}, errors.New("nobody is to see this text")
	}
	return auth.Identity{User: "user:" + l.User}, nil
}

func (users) Access(auth.Identity, auth.Login, string) *acl.Access { return nil }
func (users) Bans() *acl.Bans                                      { return nil }

var alice = users{"alice": "wonder", "bob": "builder"}

func handshake(version int16) *kmsg.SASLHandshakeRequest {
	q := kmsg.NewPtrSASLHandshakeRequest()
	q.Version, q.Mechanism = version, "PLAIN"
	return q
}

func token(version int16, text string) *kmsg.SASLAuthenticateRequest {
	q := kmsg.NewPtrSASLAuthenticateRequest()
	q.Version, q.SASLAuthBytes = version, []byte(text)
	return q
}

func TestSASLWithClient(t *testing.T) {
	b := start(t, kafka.Config{Authenticator: alice, RequireSASL: true})
	cl := b.client(kgo.SASL(plain.Auth{User: "alice", Pass: "wonder"}.AsMechanism()), kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic("t"))
	if err := cl.ProduceSync(within(t), kgo.StringRecord("x")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	bad := b.client(kgo.SASL(plain.Auth{User: "alice", Pass: "wrong"}.AsMechanism()), kgo.RetryTimeout(1), kgo.RequestRetries(0))
	if err := bad.Ping(within(t)); err == nil {
		t.Error("a wrong password passed")
	}
}

func TestSASLRequired(t *testing.T) {
	b := start(t, kafka.Config{Authenticator: alice, RequireSASL: true})
	r := b.dial()
	if resp := ask[*kmsg.ApiVersionsResponse](r, kmsg.NewPtrApiVersionsRequest(), 0); resp.ErrorCode != 0 {
		t.Errorf("ApiVersions before authentication: error %d", resp.ErrorCode)
	}
	q := metadataOf()
	q.Version = 9
	r.send(r.request(q))
	r.closed()
	eventually(t, func() bool { return b.srv.Stats.Closed[kafka.NotAllowed].Load() == 1 }, "counted")

	r = b.dial()
	r.send(binary.BigEndian.AppendUint32(nil, 1<<20)) // nobody unknown may send as much
	r.closed()
}

func TestSASLPlain(t *testing.T) {
	tests := []struct {
		name, token string
		want        int16
	}{
		{"right", "\x00alice\x00wonder", 0},
		{"as oneself", "alice\x00alice\x00wonder", 0},
		{"as somebody else", "bob\x00alice\x00wonder", 58},
		{"a wrong password", "\x00alice\x00wonde", 58},
		{"an unknown user", "\x00carol\x00wonder", 58},
		{"no password", "\x00alice\x00", 58},
		{"no user", "\x00\x00wonder", 58},
		{"two parts", "alice\x00wonder", 58},
		{"four parts", "\x00alice\x00wonder\x00", 58},
		{"nothing", "", 58},
	}
	b := start(t, kafka.Config{Authenticator: alice, RequireSASL: true})
	for _, tt := range tests {
		for v := range int16(3) {
			r := b.dial()
			if resp := r.ask(handshake(1)).(*kmsg.SASLHandshakeResponse); resp.ErrorCode != 0 || len(resp.SupportedMechanisms) != 1 {
				t.Fatalf("handshake: %+v", resp)
			}
			resp := r.ask(token(v, tt.token)).(*kmsg.SASLAuthenticateResponse)
			if resp.ErrorCode != tt.want || (resp.ErrorMessage == nil) != (tt.want == 0) {
				t.Errorf("%s, version %d: error %d", tt.name, v, resp.ErrorCode)
			}
			if tt.want != 0 {
				r.closed()
			} else if m := ask[*kmsg.MetadataResponse](r, metadataOf(), 9); len(m.Brokers) != 1 {
				t.Errorf("%s: not let in", tt.name)
			}
		}
		// The same, bare.
		r := b.dial()
		r.ask(handshake(0))
		r.send(append(binary.BigEndian.AppendUint32(nil, uint32(len(tt.token))), tt.token...))
		if tt.want != 0 {
			r.closed()
			continue
		}
		if f := r.frame(); len(f) != 0 {
			t.Errorf("%s, bare: answered %x", tt.name, f)
		}
		if m := ask[*kmsg.MetadataResponse](r, metadataOf(), 9); len(m.Brokers) != 1 {
			t.Errorf("%s, bare: not let in", tt.name)
		}
	}
}

func TestSASLOutOfPlace(t *testing.T) {
	off := start(t, kafka.Config{})
	if resp := off.dial().ask(handshake(1)).(*kmsg.SASLHandshakeResponse); resp.ErrorCode != 34 {
		t.Errorf("SASL is off: error %d, want ILLEGAL_SASL_STATE", resp.ErrorCode)
	}
	b := start(t, kafka.Config{Authenticator: alice})
	r := b.dial()
	if m := ask[*kmsg.MetadataResponse](r, metadataOf(), 9); len(m.Brokers) != 1 {
		t.Error("SASL is not required, and demanded")
	}
	if resp := r.ask(token(2, "\x00alice\x00wonder")).(*kmsg.SASLAuthenticateResponse); resp.ErrorCode != 34 {
		t.Errorf("a token without handshake: error %d, want ILLEGAL_SASL_STATE", resp.ErrorCode)
	}
	// Again is allowed, as the same user.
	for _, step := range []struct {
		token string
		want  int16
	}{{"\x00alice\x00wonder", 0}, {"\x00alice\x00wonder", 0}, {"\x00bob\x00builder", 58}} {
		r.ask(handshake(1))
		if resp := r.ask(token(2, step.token)).(*kmsg.SASLAuthenticateResponse); resp.ErrorCode != step.want {
			t.Errorf("token %q: error %d, want %d", step.token, resp.ErrorCode, step.want)
		}
	}
	r.closed()
	r = b.dial()
	q := handshake(1)
	q.Mechanism = "SCRAM-SHA-256"
	if resp := r.ask(q).(*kmsg.SASLHandshakeResponse); resp.ErrorCode != 33 || len(resp.SupportedMechanisms) != 1 {
		t.Errorf("another mechanism: %+v, want UNSUPPORTED_SASL_MECHANISM and the list", resp)
	}
	r.closed()
}
