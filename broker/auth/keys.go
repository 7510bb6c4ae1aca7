package auth

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/fault"
)

// Bounds of a key set that comes from elsewhere.
const (
	jwksMax        = 1 << 20 // bytes
	keysMax        = 1000
	secretMin      = 32 // bytes of a shared secret: what HS256 asks for
	refreshDefault = 5 * time.Minute
	timeoutDefault = 5 * time.Second
	// refreshMin is how soon the set is asked for again when a token names a key that it does not
	// have, or the last request has failed.
	refreshMin = 10 * time.Second
)

// keySet is the keys that tokens are checked by. Those at a URL are fetched when they are needed
// and old, by who needs them; meanwhile others go on with the ones there are.
type keySet struct {
	fixed []*key

	url     string
	http    *http.Client
	refresh time.Duration
	clock   clock.Clock

	fetching sync.Mutex // held by who fetches

	mu      sync.Mutex
	fetched []*key    // guarded by mu; nil: never yet
	asked   time.Time // when they were last asked for
}

func newKeySet(c *JWTConfig, clk clock.Clock) (*keySet, error) {
	s := &keySet{url: c.JWKS, refresh: time.Duration(c.Refresh), clock: clk}
	if s.refresh == 0 {
		s.refresh = refreshDefault
	}
	if c.SecretFile != "" {
		b, err := os.ReadFile(c.SecretFile)
		if err != nil {
			return nil, err
		}
		b = bytes.TrimRight(b, "\r\n")
		if len(b) < secretMin {
			return nil, fmt.Errorf("%s: a secret of %d bytes, at least %d are wanted", c.SecretFile, len(b), secretMin)
		}
		s.fixed = append(s.fixed, &key{pub: b})
	}
	for _, f := range []struct {
		path  string
		parse func([]byte) ([]*key, error)
	}{{c.KeyFile, pemKeys}, {c.JWKSFile, parseJWKS}} {
		if f.path == "" {
			continue
		}
		b, err := os.ReadFile(f.path)
		if err != nil {
			return nil, err
		}
		keys, err := f.parse(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.path, err)
		}
		s.fixed = append(s.fixed, keys...)
	}
	if s.url == "" {
		if len(s.fixed) == 0 {
			return nil, errors.New("there is no key: give secret_file, key_file, jwks_file or jwks")
		}
		return s, nil
	}
	timeout := time.Duration(c.Timeout)
	if timeout == 0 {
		timeout = timeoutDefault
	}
	var err error
	s.http, err = client(c.CAFile, timeout, 1)
	return s, err
}

// find returns the keys that a token may be signed by: those of its key id, or, when it names
// none, all.
func (s *keySet) find(id string) ([]*key, error) {
	keys := named(s.fixed, id)
	if s.url == "" {
		return keys, nil
	}
	s.mu.Lock()
	have, age := s.fetched, s.clock.Now().Sub(s.asked)
	s.mu.Unlock()
	more := named(have, id)
	switch {
	case len(keys) > 0 && id != "": // no need to ask
		return keys, nil
	case have == nil && (age < 0 || age >= refreshMin), age >= s.refresh, age < 0, len(more) == 0 && age >= refreshMin:
		more = named(s.fetch(have), id)
	}
	if len(keys)+len(more) == 0 && have == nil {
		return nil, fault.New(fault.Unavailable, "authenticate", "", "the keys of tokens cannot be had")
	}
	return append(keys, more...), nil
}

// named returns the keys that may be the one of an id.
func named(keys []*key, id string) (out []*key) {
	for _, k := range keys {
		if id == "" || k.id == "" || k.id == id {
			out = append(out, k)
		}
	}
	return out
}

// fetch asks for the keys, one client at a time: who finds another at it goes on with what
// there is, or, when there is nothing, waits for it.
func (s *keySet) fetch(have []*key) []*key {
	if !s.fetching.TryLock() {
		if have != nil {
			return have
		}
		s.fetching.Lock()
		defer s.fetching.Unlock()
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.fetched
	}
	defer s.fetching.Unlock()
	keys, err := s.get()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = s.clock.Now()
	if err == nil {
		s.fetched = keys
	} else if s.fetched != nil { // old ones are better than none: ask again soon
		s.asked = s.asked.Add(refreshMin - s.refresh)
	}
	return s.fetched
}

func (s *keySet) get() ([]*key, error) {
	resp, err := s.http.Get(s.url) //nolint:noctx // the client has a timeout
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", s.url, resp.Status)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, jwksMax))
	if err != nil {
		return nil, err
	}
	return parseJWKS(b)
}

// pemKeys reads public keys and certificates.
func pemKeys(b []byte) (keys []*key, err error) {
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			break
		}
		var pub any
		switch block.Type {
		case "PUBLIC KEY":
			pub, err = x509.ParsePKIXPublicKey(block.Bytes)
		case "RSA PUBLIC KEY":
			pub, err = x509.ParsePKCS1PublicKey(block.Bytes)
		case "CERTIFICATE":
			var c *x509.Certificate
			if c, err = x509.ParseCertificate(block.Bytes); err == nil {
				pub = c.PublicKey
			}
		default:
			return nil, fmt.Errorf("a %s, where a public key is wanted", block.Type)
		}
		if err != nil {
			return nil, err
		}
		k := &key{pub: pub}
		if err := k.check(); err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, errors.New("no public key in PEM")
	}
	return keys, nil
}

func (k *key) check() error {
	switch pub := k.pub.(type) {
	case *rsa.PublicKey:
		if n := pub.N.BitLen(); n < rsaBitsMin || n > 16<<10 || pub.E < 3 {
			return fmt.Errorf("an RSA key of %d bits; at least %d are wanted", n, rsaBitsMin)
		}
	case *ecdsa.PublicKey, ed25519.PublicKey, []byte:
	default:
		return fmt.Errorf("a key of type %T", pub)
	}
	return nil
}

// parseJWKS reads a JWK set. Keys that are for something else, or of a kind that is not known,
// are left out.
func parseJWKS(b []byte) ([]*key, error) {
	var set struct {
		Keys []jwk `json:"keys"`
	}
	if err := json.Unmarshal(b, &set); err != nil {
		return nil, fmt.Errorf("it is no JWK set: %w", err)
	}
	keys := []*key{} // not nil: they were fetched
	for i := range set.Keys {
		j := &set.Keys[i]
		if j.Use != "" && j.Use != "sig" {
			continue
		}
		k := &key{id: j.Kid, alg: j.Alg, pub: j.key()}
		if k.pub != nil && k.check() == nil && len(keys) < keysMax {
			keys = append(keys, k)
		}
	}
	return keys, nil
}

type jwk struct {
	Kty, Kid, Use, Alg, Crv string
	N, E, X, Y, K           string
}

// key returns what the key is; nil: nothing that is known.
func (j *jwk) key() any {
	dec := func(s string) []byte {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil {
			return nil
		}
		return b
	}
	switch j.Kty {
	case "RSA":
		e := new(big.Int).SetBytes(dec(j.E))
		if !e.IsInt64() || e.Int64() > 1<<31-1 {
			return nil
		}
		return &rsa.PublicKey{N: new(big.Int).SetBytes(dec(j.N)), E: int(e.Int64())}
	case "EC":
		var curve elliptic.Curve
		switch j.Crv {
		case "P-256":
			curve = elliptic.P256()
		case "P-384":
			curve = elliptic.P384()
		case "P-521":
			curve = elliptic.P521()
		default:
			return nil
		}
		x, y, n := dec(j.X), dec(j.Y), (curve.Params().BitSize+7)/8
		if len(x) > n || len(y) > n {
			return nil
		}
		point := make([]byte, 1+2*n)
		point[0] = 4
		copy(point[1+n-len(x):], x)
		copy(point[1+2*n-len(y):], y)
		k, err := ecdsa.ParseUncompressedPublicKey(curve, point)
		if err != nil { // not on the curve
			return nil
		}
		return k
	case "OKP":
		if x := dec(j.X); j.Crv == "Ed25519" && len(x) == ed25519.PublicKeySize {
			return ed25519.PublicKey(x)
		}
	case "oct":
		if k := dec(j.K); len(k) >= secretMin {
			return k
		}
	}
	return nil
}
