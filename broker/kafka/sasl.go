package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"time"

	"github.com/robustmq/rmq/broker/auth"
	"github.com/robustmq/rmq/broker/wire"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// This file is authentication by SASL PLAIN: SaslHandshake, then the token, either inside
// SaslAuthenticate, or, after a handshake of version 0, bare between two lengths. Where it
// is required, nothing else but ApiVersions passes before it. A client may do it again at
// any time (KIP-368), and must then be the same one.

const mechanismPlain = "PLAIN"

// saslState is how far a connection's authentication is.
type saslState struct {
	identity   string    // "" until authenticated
	handshaken bool      // PLAIN was agreed on, the token is due
	raw        bool      // the next frame is a bare token
	expires    time.Time // in broker time; zero: never
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
	if q.Mechanism != mechanismPlain {
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
	if err := c.plain(q.SASLAuthBytes); err != nil {
		resp.ErrorCode = codeSASLFailed
		resp.ErrorMessage = kmsg.StringPtr("Authentication failed: " + err.Error())
		return resp, failf(BadCredentials, "%w", err)
	}
	resp.SASLAuthBytes = []byte{}
	resp.SessionLifetimeMillis = c.sasl.lifetime(c.srv.cfg.Broker.Now())
	return resp, nil
}

// rawToken handles the frame after a handshake of version 0. Success is an empty frame;
// failure can only be told by closing.
func (c *conn) rawToken(token []byte) error {
	c.sasl.raw = false
	if err := c.plain(token); err != nil {
		return failf(BadCredentials, "%w", err)
	}
	c.settle()
	c.out.Append(func(dst []byte) []byte { return binary.BigEndian.AppendUint32(dst, 0) })
	return nil
}

// What a client is told of a failed log-in. Not why: it could be guessing.
var (
	errToken       = errors.New("Invalid SASL/PLAIN response: expected 3 tokens")
	errCredentials = errors.New("Invalid username or password")
	errAuthorize   = errors.New("Client requested an authorization id that is different from username")
	errIdentity    = errors.New("Cannot change principals during re-authentication")
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
	switch {
	case err != nil || identity.User == "":
		return errCredentials
	case c.sasl.identity != "" && c.sasl.identity != identity.User:
		return errIdentity
	}
	c.sasl.identity, c.sasl.expires = identity.User, identity.Expires
	c.access = c.srv.cfg.Authenticator.Access(identity, login, c.srv.cfg.Namespace)
	return nil
}
