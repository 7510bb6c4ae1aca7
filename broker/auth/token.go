package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rsa"
	_ "crypto/sha256" // the hashes of the algorithms
	_ "crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/fault"
)

// JWTConfig lets in who shows a JSON Web Token (RFC 7519) that one of the keys has signed.
type JWTConfig struct {
	// Where the token is: "password" (the default) or "username".
	From string `json:"from,omitempty"`

	// One or more of these are where the keys come from.
	SecretFile string `json:"secret_file,omitempty"` // for HS256, HS384, HS512: the bytes of the file, a last line break aside
	KeyFile    string `json:"key_file,omitempty"`    // public keys or certificates in PEM
	JWKSFile   string `json:"jwks_file,omitempty"`   // a JWK set (RFC 7517)
	JWKS       string `json:"jwks,omitempty"`        // the URL of one
	CAFile     string `json:"ca_file,omitempty"`     // of authorities for that URL; the system's otherwise

	Refresh Duration `json:"refresh,omitempty"` // of the set at the URL; 0: 5 min
	Timeout Duration `json:"timeout,omitempty"` // of one request for it; 0: 5 s

	Algorithms []string `json:"algorithms,omitempty"` // that are accepted; none: all that fit a key
	Issuer     string   `json:"issuer,omitempty"`     // that iss must be; "": any
	Audience   string   `json:"audience,omitempty"`   // that aud must have; "": any
	Skew       Duration `json:"skew,omitempty"`       // by which clocks may differ; 0: 30 s

	User   string `json:"user,omitempty"`   // the claim that is the user name; "": sub
	Client string `json:"client,omitempty"` // the claim that an MQTT client id must be; "": none
	Super  string `json:"super,omitempty"`  // the claim that, being true, lets its bearer do everything; "": none
	// AnyUser lets the user name that the client gives differ from the claim, which counts.
	// Otherwise it must be that, or be left out.
	AnyUser bool `json:"any_user,omitempty"`
	// Expiry is what becomes of a connection whose token expires: "disconnect" (the default), or
	// "ignore": it counts when it connects, and no more.
	Expiry string `json:"expiry,omitempty"`
}

const (
	tokenMax    = 16 << 10 // bytes of a token
	rsaBitsMin  = 2048
	skewDefault = 30 * time.Second
)

// tokenSource authenticates by tokens.
type tokenSource struct {
	cfg   JWTConfig
	keys  *keySet
	clock clock.Clock
}

func newTokenSource(c *JWTConfig, clk clock.Clock) (source, error) {
	s := &tokenSource{cfg: *c, clock: clk}
	if s.cfg.User == "" {
		s.cfg.User = "sub"
	}
	if s.cfg.Skew == 0 {
		s.cfg.Skew = Duration(skewDefault)
	}
	switch {
	case !slices.Contains([]string{"", "password", "username"}, c.From):
		return nil, fmt.Errorf("from: %q is neither password nor username", c.From)
	case !slices.Contains([]string{"", "disconnect", "ignore"}, c.Expiry):
		return nil, fmt.Errorf("expiry: %q is neither disconnect nor ignore", c.Expiry)
	}
	for _, name := range c.Algorithms {
		if _, ok := algorithms[name]; !ok {
			return nil, fmt.Errorf("algorithms: %q is not offered", name)
		}
	}
	var err error
	s.keys, err = newKeySet(c, clk)
	return s, err
}

// authenticate takes what has the form of a token, and leaves everything else to the next source.
func (s *tokenSource) authenticate(l *Login, _ bool) (Identity, bool, error) {
	token, user := l.Password, l.User
	if s.cfg.From == "username" {
		token, user = l.User, ""
	}
	t, ok := splitToken(token)
	if !ok {
		return Identity{}, false, nil
	}
	id, err := s.verify(t, user, l)
	if err == nil {
		return id, true, nil
	}
	if _, known := errors.AsType[*fault.Error](err); !known {
		err = fault.New(fault.Unauthorized, "authenticate", id.User, "the token is not accepted: %w", err)
	}
	return Identity{}, true, err
}

// token is a JWS in its compact form, taken apart (RFC 7515).
type token struct {
	signed    string // header and payload as they were signed
	header    tokenHeader
	payload   []byte
	signature []byte
}

type tokenHeader struct {
	Alg  string   `json:"alg"`
	Kid  string   `json:"kid"`
	Crit []string `json:"crit"`
}

func splitToken(s string) (*token, bool) {
	if len(s) > tokenMax || strings.Count(s, ".") != 2 {
		return nil, false
	}
	last := strings.LastIndexByte(s, '.')
	t := &token{signed: s[:last]}
	head, payload, _ := strings.Cut(t.signed, ".")
	b64 := base64.RawURLEncoding.Strict()
	h, err1 := b64.DecodeString(head)
	p, err2 := b64.DecodeString(payload)
	sig, err3 := b64.DecodeString(s[last+1:])
	if err1 != nil || err2 != nil || err3 != nil || json.Unmarshal(h, &t.header) != nil || t.header.Alg == "" {
		return nil, false
	}
	t.payload, t.signature = p, sig
	return t, true
}

// claims are those that have a meaning here.
type claims struct {
	Iss string          `json:"iss"`
	Aud json.RawMessage `json:"aud"`
	Exp *float64        `json:"exp"`
	Nbf *float64        `json:"nbf"`
}

func (s *tokenSource) verify(t *token, user string, l *Login) (Identity, error) {
	if len(t.header.Crit) > 0 {
		return Identity{}, errors.New("it has critical extensions")
	}
	if len(s.cfg.Algorithms) > 0 && !slices.Contains(s.cfg.Algorithms, t.header.Alg) {
		return Identity{}, errors.New("its algorithm is not one of those configured")
	}
	keys, err := s.keys.find(t.header.Kid)
	if err != nil {
		return Identity{}, err
	}
	if !slices.ContainsFunc(keys, func(k *key) bool { return k.verifies(t) }) {
		return Identity{}, errors.New("no key has signed it")
	}
	var c claims
	all := make(map[string]any)
	if err := errors.Join(json.Unmarshal(t.payload, &c), json.Unmarshal(t.payload, &all)); err != nil {
		return Identity{}, errors.New("its claims are malformed")
	}
	now, skew := s.clock.Now(), time.Duration(s.cfg.Skew)
	expires, ok := instant(c.Exp)
	switch {
	case !ok:
		return Identity{}, errors.New("its time of expiry is missing or none")
	case !now.Before(expires.Add(skew)):
		return Identity{}, errors.New("it has expired")
	}
	if c.Nbf != nil {
		if from, ok := instant(c.Nbf); !ok || now.Before(from.Add(-skew)) {
			return Identity{}, errors.New("it does not hold yet")
		}
	}
	if s.cfg.Issuer != "" && c.Iss != s.cfg.Issuer {
		return Identity{}, errors.New("another issuer has made it")
	}
	if s.cfg.Audience != "" && !hasAudience(c.Aud, s.cfg.Audience) {
		return Identity{}, errors.New("it is for another audience")
	}
	name, _ := all[s.cfg.User].(string)
	switch {
	case checkName(name) != nil:
		return Identity{}, fmt.Errorf("claim %s is no user name", s.cfg.User)
	case user != "" && user != name && !s.cfg.AnyUser:
		return Identity{}, errors.New("it is another user's")
	}
	if s.cfg.Client != "" && l.Protocol == "mqtt" {
		if client, _ := all[s.cfg.Client].(string); client == "" || client != l.Client {
			return Identity{}, errors.New("it is for another client id")
		}
	}
	id := Identity{User: name}
	if s.cfg.Super != "" {
		id.Super, _ = all[s.cfg.Super].(bool)
	}
	if s.cfg.Expiry != "ignore" {
		id.Expires = expires.Add(skew)
	}
	return id, nil
}

// instant reads a NumericDate.
func instant(seconds *float64) (time.Time, bool) {
	const most = 253402300799 // the last second of year 9999
	if seconds == nil || math.IsNaN(*seconds) || *seconds < 0 || *seconds > most {
		return time.Time{}, false
	}
	whole, part := math.Modf(*seconds)
	return time.Unix(int64(whole), int64(part*1e9)), true
}

func hasAudience(aud json.RawMessage, want string) bool {
	var one string
	if json.Unmarshal(aud, &one) == nil {
		return one == want
	}
	var many []string
	return json.Unmarshal(aud, &many) == nil && slices.Contains(many, want)
}

// algorithm is one of RFC 7518.
type algorithm struct {
	kind string // of key: "HMAC", "RSA", "PSS", "EC", "Ed25519"
	hash crypto.Hash
	bits int // of the curve
}

var algorithms = map[string]algorithm{
	"HS256": {kind: "HMAC", hash: crypto.SHA256}, "HS384": {kind: "HMAC", hash: crypto.SHA384}, "HS512": {kind: "HMAC", hash: crypto.SHA512},
	"RS256": {kind: "RSA", hash: crypto.SHA256}, "RS384": {kind: "RSA", hash: crypto.SHA384}, "RS512": {kind: "RSA", hash: crypto.SHA512},
	"PS256": {kind: "PSS", hash: crypto.SHA256}, "PS384": {kind: "PSS", hash: crypto.SHA384}, "PS512": {kind: "PSS", hash: crypto.SHA512},
	"ES256": {kind: "EC", hash: crypto.SHA256, bits: 256}, "ES384": {kind: "EC", hash: crypto.SHA384, bits: 384}, "ES512": {kind: "EC", hash: crypto.SHA512, bits: 521},
	"EdDSA": {kind: "Ed25519"},
}

// key is one that signatures are checked by.
type key struct {
	id  string
	alg string // the one algorithm that it is for; "": any that fits
	pub any    // []byte (a shared secret), *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
}

// verifies tells whether the key has signed a token. What is to be done follows from the key,
// never from the token alone: a public key is no shared secret.
func (k *key) verifies(t *token) bool {
	a, ok := algorithms[t.header.Alg]
	if !ok || k.alg != "" && k.alg != t.header.Alg {
		return false
	}
	var sum []byte
	if a.hash != 0 {
		h := a.hash.New()
		h.Write([]byte(t.signed))
		sum = h.Sum(nil)
	}
	switch pub := k.pub.(type) {
	case []byte:
		if a.kind != "HMAC" {
			return false
		}
		mac := hmac.New(a.hash.New, pub)
		mac.Write([]byte(t.signed))
		return hmac.Equal(mac.Sum(nil), t.signature)
	case *rsa.PublicKey:
		switch a.kind {
		case "RSA":
			return rsa.VerifyPKCS1v15(pub, a.hash, sum, t.signature) == nil
		case "PSS":
			return rsa.VerifyPSS(pub, a.hash, sum, t.signature, nil) == nil
		}
	case *ecdsa.PublicKey:
		n := (a.bits + 7) / 8
		if a.kind != "EC" || pub.Params().BitSize != a.bits || len(t.signature) != 2*n {
			return false
		}
		r, s := new(big.Int).SetBytes(t.signature[:n]), new(big.Int).SetBytes(t.signature[n:])
		return ecdsa.Verify(pub, sum, r, s)
	case ed25519.PublicKey:
		return a.kind == "Ed25519" && ed25519.Verify(pub, []byte(t.signed), t.signature)
	}
	return false
}
