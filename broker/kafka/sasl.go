package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"time"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/auth"
	"github.com/robustmq/rmq/broker/wire"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// This file is authentication by SASL, PLAIN and SCRAM: SaslHandshake, then the tokens, either
// inside SaslAuthenticate, or, after a handshake of version 0, bare between two lengths. Where it
// is required, nothing else but ApiVersions passes before it. A client may do it again at
// any time (KIP-368), and must then be the same one.

const mechanismPlain = "PLAIN"

// saslState is how far a connection's authentication is.
type saslState struct {
	identity   string         // "" until authenticated
	handshaken bool           // a mechanism was agreed on, its token is due
	exchange   *auth.Exchange // of SCRAM; nil: PLAIN
	raw        bool           // the next frame is a bare token
	expires    time.Time      // in broker time; zero: never
}

// authenticated tells whether the connection may do what it likes.
func (c *conn) authenticated() bool {
	cfg := &c.srv.cfg
	return c.sasl.identity != "" || !cfg.RequireSASL && (cfg.Users == nil || cfg.Users() == 0)
}

// expired tells whether the client has to authenticate again (KIP-368).
func (s *saslState) expired(now time.Time) bool { return !s.expires.IsZero() && !now.Before(s.expires) }

// lifetime is for how long, in ms, the client need not; 0: for ever.
func (s *saslState) lifetime(now time.Time) int64 {
	if s.expires.IsZero() {
		return 0
	}
	return max(1, s.expires.Sub(now).Milliseconds())
}

// admit refuses requests that are out of place before authentication, as Kafka does: by
// closing the connection.
func (c *conn) admit(h header) error {
	switch h.key {
	case keyApiVersions, keySASLHandshake:
		return nil
	case keySASLAuthenticate:
		return nil // answers for itself
	}
	switch {
	case !c.authenticated():
		return failf(NotAllowed, "key %d before authentication", h.key)
	case c.sasl.expired(c.srv.cfg.Broker.Now()):
		return failf(NotAllowed, "key %d after the authentication has expired", h.key)
	}
	return nil
}

func (c *conn) saslHandshake(q *kmsg.SASLHandshakeRequest) (kmsg.Response, error) {
	resp := q.ResponseKind().(*kmsg.SASLHandshakeResponse)
	if c.srv.cfg.Authenticator == nil {
		resp.ErrorCode = codeIllegalSASLState
		return resp, nil
	}
	resp.SupportedMechanisms = []string{mechanismPlain}
	c.sasl.exchange = nil
	if a, ok := c.srv.cfg.Authenticator.(auth.Challenger); ok {
		resp.SupportedMechanisms = append(resp.SupportedMechanisms, auth.Mechanisms()...)
		c.sasl.exchange = a.Challenge(q.Mechanism, auth.NewLogin("kafka", wire.PeerOf(c.nc)))
	}
	if q.Mechanism != mechanismPlain && c.sasl.exchange == nil {
		resp.ErrorCode = codeUnsupportedMechanism
		return resp, failf(BadCredentials, "mechanism %.32q", q.Mechanism)
	}
	c.sasl.handshaken, c.sasl.raw = true, q.Version == 0
	return resp, nil
}

func (c *conn) saslAuthenticate(q *kmsg.SASLAuthenticateRequest) (kmsg.Response, error) {
	resp := q.ResponseKind().(*kmsg.SASLAuthenticateResponse)
	if !c.sasl.handshaken {
		resp.ErrorCode = codeIllegalSASLState
		resp.ErrorMessage = kmsg.StringPtr("SaslAuthenticate request received without a SaslHandshake before it")
		return resp, nil
	}
	out, err := c.token(q.SASLAuthBytes)
	if err != nil {
		resp.ErrorCode = codeSASLFailed
		resp.ErrorMessage = kmsg.StringPtr("Authentication failed: " + err.Error())
		return resp, failf(BadCredentials, "%w", err)
	}
	resp.SASLAuthBytes = out
	resp.SessionLifetimeMillis = c.sasl.lifetime(c.srv.cfg.Broker.Now())
	return resp, nil
}

// rawToken handles a frame after a handshake of version 0. It is answered with another, empty
// after PLAIN; failure can only be told by closing.
func (c *conn) rawToken(token []byte) error {
	out, err := c.token(token)
	if err != nil {
		return failf(BadCredentials, "%w", err)
	}
	c.sasl.raw = c.sasl.handshaken // SCRAM goes on
	c.settle()
	c.out.Append(func(dst []byte) []byte { return append(binary.BigEndian.AppendUint32(dst, uint32(len(out))), out...) })
	return nil
}

// token takes a client's token and returns what to answer.
func (c *conn) token(token []byte) (out []byte, err error) {
	x := c.sasl.exchange
	if x == nil {
		return []byte{}, c.plain(token)
	}
	out, done, err := x.Step(token)
	switch {
	case err != nil:
		c.sasl.handshaken, c.sasl.exchange = false, nil
		if errors.Is(err, acl.ErrBanned) {
			return nil, acl.ErrBanned
		}
		return nil, errScram
	case !done:
		return out, nil
	}
	c.sasl.handshaken, c.sasl.exchange = false, nil
	return out, c.authenticatedAs(x.Identity(), auth.NewLogin("kafka", wire.PeerOf(c.nc)))
}

// authenticatedAs makes the client who it has proved to be.
func (c *conn) authenticatedAs(id auth.Identity, l auth.Login) error {
	if c.sasl.identity != "" && c.sasl.identity != id.User {
		return errIdentity
	}
	c.sasl.identity, c.sasl.expires = id.User, id.Expires
	c.access = c.srv.cfg.Authenticator.Access(id, l, c.srv.cfg.Namespace)
	return nil
}

// What a client is told of a failed log-in. Not why: it could be guessing.
var (
	errToken       = errors.New("Invalid SASL/PLAIN response: expected 3 tokens")                                                   //nolint:staticcheck // Kafka's words
	errCredentials = errors.New("Invalid username or password")                                                                     //nolint:staticcheck // Kafka's words
	errScram       = errors.New("Authentication failed during authentication due to invalid credentials with SASL mechanism SCRAM") //nolint:staticcheck // Kafka's words
	errAuthorize   = errors.New("Client requested an authorization id that is different from username")                             //nolint:staticcheck // Kafka's words
	errIdentity    = errors.New("Cannot change principals during re-authentication")                                                //nolint:staticcheck // Kafka's words
)

// plain checks a PLAIN token (RFC 4616): authorization id, user and password, divided by
// NUL.
func (c *conn) plain(token []byte) error {
	c.sasl.handshaken = false
	f := bytes.Split(token, []byte{0})
	if len(f) != 3 {
		return errToken
	}
	as, user, password := string(f[0]), string(f[1]), string(f[2])
	switch {
	case user == "" || password == "":
		return errCredentials
	case as != "" && as != user:
		return errAuthorize
	}
	login := auth.NewLogin("kafka", wire.PeerOf(c.nc))
	login.User, login.Password = user, password
	identity, err := c.srv.cfg.Authenticator.Authenticate(login)
	if errors.Is(err, acl.ErrBanned) {
		return acl.ErrBanned
	}
	if err != nil || identity.User == "" {
		return errCredentials
	}
	return c.authenticatedAs(identity, login)
}
