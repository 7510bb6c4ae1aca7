package auth

import (
	"bytes"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"hash"
	"strconv"
	"strings"

	"github.com/robustmq/rmq/broker/fault"
)

// SCRAM (RFC 5802, RFC 7677) without channel binding, for every protocol that has SASL: a client
// proves that it knows a password, and the server that it knows the client, and neither says it.
//
//	client  n,,n=ann,r=abc
//	server  r=abcXYZ,s=SALT,i=8192
//	client  c=biws,r=abcXYZ,p=PROOF
//	server  v=SIGNATURE

// SCRAM is what is kept of a password for one of the mechanisms. The password cannot be had from
// it but by guessing.
type SCRAM struct {
	Mechanism  string
	Salt       []byte
	Iterations int
	StoredKey  []byte
	ServerKey  []byte
}

// scramHashes are the mechanisms that are offered.
var scramHashes = map[string]func() hash.Hash{"SCRAM-SHA-256": sha256.New, "SCRAM-SHA-512": sha512.New}

// Mechanisms lists them, the ones that clients should prefer first.
func Mechanisms() []string { return []string{"SCRAM-SHA-512", "SCRAM-SHA-256"} }

const (
	scramIterations = 8192 // twice what RFC 7677 asks for; a small device computes them at each log-in
	scramMessageMax = 4 << 10
)

func sumOf(h func() hash.Hash, key, text []byte) []byte {
	m := hmac.New(h, key)
	m.Write(text)
	return m.Sum(nil)
}

func hashOf(h func() hash.Hash, text []byte) []byte {
	d := h()
	d.Write(text)
	return d.Sum(nil)
}

// makeSCRAM derives what is kept of a password for each mechanism.
func makeSCRAM(password string, iterations int) ([]SCRAM, error) {
	var all []SCRAM
	for _, name := range Mechanisms() {
		h := scramHashes[name]
		salt := make([]byte, saltLen)
		_, _ = rand.Read(salt) // never fails
		salted, err := pbkdf2.Key(h, password, salt, iterations, h().Size())
		if err != nil {
			return nil, err
		}
		all = append(all, SCRAM{
			Mechanism: name, Salt: salt, Iterations: iterations,
			StoredKey: hashOf(h, sumOf(h, salted, []byte("Client Key"))), ServerKey: sumOf(h, salted, []byte("Server Key")),
		})
	}
	return all, nil
}

// Challenger is an Authority that authenticates in more than one step.
type Challenger interface {
	// Challenge begins an exchange by one of Mechanisms; nil: it is none.
	Challenge(mechanism string, l Login) *Exchange
}

// Exchange is one conversation with a client. Not safe for concurrent use.
type Exchange struct {
	a         *Auth
	mechanism string
	login     Login
	hash      func() hash.Hash

	begun bool
	user  string
	known SCRAM
	there bool   // there is such a user; if not, it is to look so
	nonce string // of both
	text  []byte // AuthMessage as far as it goes
	gs2   string // what the client is to repeat
	id    Identity
}

// Challenge implements Challenger.
func (a *Auth) Challenge(mechanism string, l Login) *Exchange {
	h := scramHashes[mechanism]
	if h == nil {
		return nil
	}
	return &Exchange{a: a, mechanism: mechanism, login: l, hash: h}
}

// Mechanism is its name.
func (x *Exchange) Mechanism() string { return x.mechanism }

// Identity is who the client is, once Step has said that it is done.
func (x *Exchange) Identity() Identity { return x.id }

// Step takes what the client says and returns what to answer. Errors are of fault.Unauthorized, or
// acl.ErrBanned.
func (x *Exchange) Step(in []byte) (out []byte, done bool, err error) {
	if len(in) > scramMessageMax {
		return nil, false, x.refuse("a message of %d bytes", len(in))
	}
	if !x.begun {
		x.begun = true
		out, err = x.first(string(in))
		return out, false, err
	}
	out, err = x.final(string(in))
	return out, err == nil, err
}

func (x *Exchange) refuse(text string, args ...any) error {
	return fault.New(fault.Unauthorized, "authenticate", x.user, text, args...)
}

var errProof = errors.New("user name or password is wrong")

// first answers client-first-message.
func (x *Exchange) first(in string) ([]byte, error) {
	f := strings.SplitN(in, ",", 3)
	if len(f) != 3 || f[0] != "n" && f[0] != "y" { // p=…: channel binding, which is not offered
		return nil, x.refuse("the first message of SCRAM is malformed, or asks for channel binding")
	}
	bare := f[2]
	attrs := strings.Split(bare, ",")
	if len(attrs) < 2 || !strings.HasPrefix(attrs[0], "n=") || !strings.HasPrefix(attrs[1], "r=") || len(attrs[1]) < 3 {
		return nil, x.refuse("the first message of SCRAM is malformed")
	}
	name, ok := saslName(attrs[0][2:])
	as, okAs := saslName(strings.TrimPrefix(f[1], "a="))
	switch {
	case !ok || !okAs || checkName(name) != nil:
		return nil, x.refuse("the user name is malformed")
	case as != "" && as != name:
		return nil, x.refuse("it asks to be somebody else")
	case x.login.User != "" && x.login.User != name:
		return nil, x.refuse("it gives two user names")
	}
	x.user, x.login.User = name, name
	if err := x.a.admit(&x.login); err != nil {
		return nil, err
	}
	u, _ := x.a.users.User(name)
	for _, s := range u.SCRAM {
		if s.Mechanism == x.mechanism {
			x.known, x.there = s, true
		}
	}
	if !x.there { // the same salt each time, as of a user that there is
		salt := x.a.fingerprint("salt", x.mechanism, name)
		x.known = SCRAM{Salt: salt[:saltLen], Iterations: scramIterations, StoredKey: make([]byte, x.hash().Size()), ServerKey: make([]byte, x.hash().Size())}
	}
	x.nonce = attrs[1][2:] + rand.Text()
	out := "r=" + x.nonce + ",s=" + base64.StdEncoding.EncodeToString(x.known.Salt) + ",i=" + strconv.Itoa(x.known.Iterations)
	x.text = []byte(bare + "," + out + ",")
	x.gs2 = f[0] + "," + f[1] + ","
	return []byte(out), nil
}

// final answers client-final-message.
func (x *Exchange) final(in string) ([]byte, error) {
	i := strings.LastIndex(in, ",p=")
	if i < 0 {
		return nil, x.refuse("the last message of SCRAM is malformed")
	}
	bare := in[:i]
	proof, err := base64.StdEncoding.DecodeString(in[i+3:])
	attrs := strings.Split(bare, ",")
	binding := "c=" + base64.StdEncoding.EncodeToString([]byte(x.gs2))
	if err != nil || len(attrs) < 2 || attrs[0] != binding || attrs[1] != "r="+x.nonce {
		return nil, x.refuse("the last message of SCRAM is malformed")
	}
	who := x.a.fingerprint(x.user, block(host(x.login.Remote)))
	if x.a.guesses.wait(who) > 0 {
		return nil, fault.New(fault.Exhausted, "authenticate", x.user, "too many wrong passwords")
	}
	text := append(x.text, bare...)
	key := sumOf(x.hash, x.known.StoredKey, text)
	right := len(proof) == len(key)
	if right {
		for i := range key {
			key[i] ^= proof[i]
		}
		right = hmac.Equal(hashOf(x.hash, key), x.known.StoredKey)
	}
	right = right && x.there
	x.a.guesses.told(who, right)
	if !right {
		return nil, fault.New(fault.Unauthorized, "authenticate", x.user, "%w", errProof)
	}
	x.id = Identity{User: x.user}
	return []byte("v=" + base64.StdEncoding.EncodeToString(sumOf(x.hash, x.known.ServerKey, text))), nil
}

// saslName reads a user name, in which , and = are written =2C and =3D.
func saslName(s string) (string, bool) {
	var b bytes.Buffer
	for i := 0; i < len(s); i++ {
		if s[i] != '=' {
			b.WriteByte(s[i])
			continue
		}
		switch code := s[i+1 : min(i+3, len(s))]; code {
		case "2C":
			b.WriteByte(',')
		case "3D":
			b.WriteByte('=')
		default:
			return "", false
		}
		i += 2
	}
	return b.String(), true
}

var _ Challenger = (*Auth)(nil)
