// Package auth establishes who a client is, and holds what it may do against the rules of
// package acl: one table of users and one of rules for all protocols.
//
// A user is a name, a hash and tags; the table is the caller's (the broker keeps it in log 0)
// behind the interface Users, and no password is ever stored or logged. A configuration may
// name further sources, which are asked in order (config.go): certificates, a password file,
// tokens, a service over HTTP. While there is no user and no other source, clients on this
// machine are let in as whoever they say, and others are refused: the same rule by which edge
// refuses to listen to them.
//
// A hash is slow to compute, and large, on purpose. What has been checked once is remembered,
// under a key that says nothing about the password and that changes with the user's hash, so
// that a thousand devices that reconnect cost a thousand lookups; and no more hashes are
// computed at a time than the broker can spare, so that a storm of wrong passwords has a bound
// in memory, and slows down its like and nobody else.
package auth

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/internal/fresh"
	"github.com/robustmq/rmq/broker/wire"
)

// User is one identity, the same for every protocol.
type User struct {
	Name string
	Hash []byte // see hash.go; empty: no password is right
	Tags []string
	// SCRAM is what is kept of the password for log-ins by SCRAM; none: there are none.
	SCRAM []SCRAM
}

func (u *User) has(tag string) bool { return slices.Contains(u.Tags, tag) }

// Administrator is the tag of users who may do everything, whatever the rules say, and use the
// admin API.
const Administrator = "administrator"

// Users is where users are kept. Safe for concurrent use.
type Users interface {
	User(name string) (User, bool)
	// UserCount tells whether there are any.
	UserCount() int
	// PutUser adds or replaces a user; on return it holds on this node.
	PutUser(context.Context, User) error
	DeleteUser(ctx context.Context, name string) error
	// Rules returns the rules of access, and AccessVersions two numbers that change when users
	// and when rules do.
	Rules() []acl.Rule
	AccessVersions() (users, rules uint64)
	// Bans returns who is kept out, and ItemsVersion a number that changes when that does.
	Bans() []acl.Ban
	ItemsVersion() uint64
}

// Login is what a client shows of itself.
type Login struct {
	User, Password string // both "": it gave none
	Client         string // MQTT client id
	Protocol       string // "mqtt", "kafka", "amqp", "http"
	Remote         net.Addr
	Certificate    *x509.Certificate // that TLS has verified; nil: none
	CommonName     string            // of Certificate, or as a trusted proxy tells it
}

// NewLogin returns what the transport of a connection knows of its client.
func NewLogin(protocol string, p wire.Peer) Login {
	return Login{Protocol: protocol, Remote: p.Remote, Certificate: p.Certificate, CommonName: p.CommonName}
}

// Identity is who a client is.
type Identity struct {
	User string
	// Super: it may do everything, whatever the rules say.
	Super bool
	// Expires is when the connection is to end, in broker time; zero: never.
	Expires time.Time
}

// Anonymous is who a client is that gives no name to a broker without users.
const Anonymous = "guest"

const (
	// NameMax bounds a user's name, in bytes: an AMQP short string.
	NameMax = 255
	// PasswordMax is the longest password that is looked at, in bytes.
	PasswordMax = 1024
	// rememberedMax bounds the outcomes remembered of each kind; beyond it, any of them makes room.
	rememberedMax = 1 << 16
	// waitingMax bounds the clients that wait for a password to be checked; more are told
	// to come again.
	waitingMax = 1 << 10
)

// Auth authenticates. Safe for concurrent use; make it with New.
type Auth struct {
	users   Users
	key     [32]byte      // of this process; what is remembered is worth nothing elsewhere
	slots   chan struct{} // one value for each hash being computed
	queue   chan struct{} // one value for each client that waits for one, or has it
	dummy   func() []byte // a hash that is nobody's, computed once
	cost    argonParams
	guesses throttle
	clock   clock.Clock // broker time

	sources atomic.Pointer[[]source] // asked in this order

	table     atomic.Pointer[compiled]
	bans      *fresh.Value[*acl.Bans]
	compiling sync.Mutex // held by who compiles a table

	mu    sync.Mutex
	right remembered // guarded by mu
	wrong remembered // guarded by mu
}

type (
	fingerprint [sha256.Size]byte
	remembered  map[fingerprint]struct{}
)

// New returns an Auth over a table of users and what else a configuration names. clk is broker
// time.
func New(users Users, cfg Config, clk clock.Clock) (*Auth, error) {
	a := newAuth(users, argonCost, clk)
	return a, a.Configure(cfg)
}

func newAuth(users Users, cost argonParams, clk clock.Clock) *Auth {
	a := &Auth{
		users: users, cost: cost, clock: clk, right: make(remembered), wrong: make(remembered),
		guesses: throttle{clock: clk, wrong: make(map[fingerprint]guesser)},
		slots:   make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)), queue: make(chan struct{}, waitingMax),
	}
	a.bans = fresh.New(users, a.readBans)
	a.sources.Store(&[]source{tableSource{a}})
	_, _ = rand.Read(a.key[:]) // never fails
	a.dummy = sync.OnceValue(func() []byte { return makeHash(string(a.key[:]), cost) })
	return a
}

// source is one way to find out who a client is.
type source interface {
	// authenticate tells who a client is, or why it is not let in. said is false when it has
	// nothing to say of such a client, and the next is asked; last: there is none.
	authenticate(l *Login, last bool) (id Identity, said bool, err error)
}

// Guards is the number of users, and of sources that know others: while it is 0, whoever is on
// this machine is let in.
func (a *Auth) Guards() int { return a.users.UserCount() + len(*a.sources.Load()) - 1 }

// Authenticate implements Authority. The text of its errors may be told to the client.
func (a *Auth) Authenticate(l Login) (Identity, error) {
	if err := a.admit(&l); err != nil {
		return Identity{}, err
	}
	id, err := a.identify(&l)
	if err == nil && id.User != l.User {
		l.User = id.User
		err = a.admit(&l)
	}
	if err != nil {
		return Identity{}, err
	}
	return id, nil
}

func (a *Auth) identify(l *Login) (Identity, error) {
	if a.Guards() == 0 {
		if !OnThisMachine(l.Remote) {
			return Identity{}, fault.New(fault.Unauthorized, "authenticate", l.User, "without users only this machine is let in; add one with: rmq user create NAME")
		}
		return Identity{User: cmp.Or(l.User, Anonymous)}, nil
	}
	sources := *a.sources.Load()
	for i, s := range sources {
		if id, said, err := s.authenticate(l, i == len(sources)-1); said {
			if err == nil && id.User == "" {
				err = refuse(l.User)
			}
			return id, err
		}
	}
	return Identity{}, refuse(l.User)
}

// tableSource is the table of users in log 0.
type tableSource struct{ a *Auth }

func (t tableSource) authenticate(l *Login, last bool) (Identity, bool, error) {
	u, known := t.a.users.User(l.User)
	if !known && !last {
		return Identity{}, false, nil
	}
	if err := t.a.password(l, u.Hash, known); err != nil {
		return Identity{}, true, err
	}
	return Identity{User: l.User}, true, nil
}

// password checks a password against a hash, of a user that is known or is to look so.
func (a *Auth) password(l *Login, hash []byte, known bool) error {
	if !known || len(hash) == 0 {
		hash, known = a.dummy(), false // the answer takes as long, whether or not there is such a user
	}
	if len(l.Password) > PasswordMax {
		return refuse(l.User)
	}
	claim := a.fingerprint(l.User, l.Password, string(hash))
	switch a.recall(claim) {
	case right:
		if known {
			return nil
		}
		return refuse(l.User)
	case wrong:
		return refuse(l.User)
	}
	who := a.fingerprint(l.User, block(host(l.Remote)))
	if wait := a.guesses.wait(who); wait > 0 {
		return fault.New(fault.Exhausted, "authenticate", l.User, "too many wrong passwords; the next is looked at in %v", wait.Round(time.Millisecond))
	}
	done, err := a.turn(l.User)
	if err != nil {
		return err
	}
	defer done()
	ok := a.check(claim, hash, l.Password) && known
	a.guesses.told(who, ok)
	if !ok {
		return refuse(l.User)
	}
	return nil
}

// turn waits for leave to compute a hash, which is given back by done.
func (a *Auth) turn(user string) (done func(), err error) {
	select {
	case a.queue <- struct{}{}:
	default:
		return nil, fault.New(fault.Exhausted, "authenticate", user, "too many clients are waiting to be let in")
	}
	a.slots <- struct{}{}
	return func() { <-a.slots; <-a.queue }, nil
}

// check computes whether a password is the one of a hash, unless a client that was first
// in the queue with the same claim has.
func (a *Auth) check(f fingerprint, hash []byte, password string) bool {
	if r := a.recall(f); r != unknown {
		return r == right
	}
	ok := rightPassword(hash, password)
	a.remember(f, ok)
	return ok
}

func refuse(user string) error {
	return fault.New(fault.Unauthorized, "authenticate", user, "user name or password is wrong")
}

// fingerprint stands for a claim, as a user, a password and the hash that it was checked against.
func (a *Auth) fingerprint(parts ...string) (f fingerprint) {
	mac := hmac.New(sha256.New, a.key[:])
	for _, part := range parts {
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		mac.Write([]byte(part))
	}
	mac.Sum(f[:0])
	return f
}

// outcome is what is remembered of a claim.
type outcome uint8

const (
	unknown outcome = iota
	right
	wrong
)

func (a *Auth) recall(f fingerprint) outcome {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.right[f]; ok {
		return right
	}
	if _, ok := a.wrong[f]; ok {
		return wrong
	}
	return unknown
}

func (a *Auth) remember(f fingerprint, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	m := a.wrong
	if ok {
		m = a.right
	}
	if len(m) >= rememberedMax {
		for old := range m {
			delete(m, old)
			break
		}
	}
	m[f] = struct{}{}
}

// Begins tells whether a client may use the admin API to make the first user: there is none, and
// it is on this machine and claims to be nobody.
func (a *Auth) Begins(l Login) bool {
	return a.users.UserCount() == 0 && l.User == "" && l.Password == "" && OnThisMachine(l.Remote)
}

// Administers tells whether a client may use the admin API. While there are no users, whoever was
// let in may.
func (a *Auth) Administers(id Identity) bool {
	return a.Guards() == 0 || id.Super || a.administrator(id.User)
}

// Put adds a user or replaces what one has. A nil password, or nil tags, leaves what is
// there; a new user needs a password.
func (a *Auth) Put(ctx context.Context, name string, password *string, tags []string) error {
	return a.put(ctx, name, tags, func(u *User) error {
		if password == nil {
			return nil
		}
		switch n := len(*password); {
		case n == 0:
			return errors.New("the password is empty")
		case n > PasswordMax:
			return fmt.Errorf("the password has %d bytes; at most %d are looked at", n, PasswordMax)
		}
		done, err := a.turn(name)
		if err != nil {
			return err
		}
		defer done()
		u.Hash = makeHash(*password, a.cost)
		u.SCRAM, err = makeSCRAM(*password, scramIterations)
		return err
	})
}

// PutHash is Put for who has the hash of a password, as makeHash tells what they look like.
func (a *Auth) PutHash(ctx context.Context, name string, hash []byte, tags []string) error {
	return a.put(ctx, name, tags, func(u *User) error {
		u.Hash, u.SCRAM = hash, nil
		return CheckHash(hash)
	})
}

func (a *Auth) put(ctx context.Context, name string, tags []string, secret func(*User) error) error {
	if err := checkName(name); err != nil {
		return err
	}
	u, known := a.users.User(name)
	u.Name = name
	if err := secret(&u); err != nil {
		return fault.New(fault.Invalid, "put user", name, "%w", err)
	}
	if !known && len(u.Hash) == 0 {
		return fault.New(fault.Invalid, "put user", name, "a new user needs a password")
	}
	if tags != nil {
		u.Tags = slices.Clone(tags)
	}
	return a.users.PutUser(ctx, u)
}

// Delete removes a user. Connections that it has stay.
func (a *Auth) Delete(ctx context.Context, name string) error {
	if _, ok := a.users.User(name); !ok {
		return fault.Of(fault.NotFound, "delete user", name)
	}
	return a.users.DeleteUser(ctx, name)
}

func checkName(name string) error {
	switch {
	case name == "":
		return fault.New(fault.Invalid, "put user", "", "the name is empty")
	case len(name) > NameMax:
		return fault.New(fault.Invalid, "put user", "", "the name has %d bytes; at most %d fit", len(name), NameMax)
	case !utf8.ValidString(name):
		return fault.New(fault.Invalid, "put user", "", "the name %q is not UTF-8", name)
	}
	for _, r := range name {
		if unicode.IsControl(r) {
			return fault.New(fault.Invalid, "put user", "", "the name %q has control characters", name)
		}
	}
	return nil
}

// OnThisMachine tells whether a peer can only be on this machine: on a loopback address, a
// Unix socket, or a pipe in this process.
func OnThisMachine(remote net.Addr) bool {
	if remote == nil {
		return false
	}
	switch a := remote.(type) {
	case *net.TCPAddr:
		return a.IP.IsLoopback()
	case *net.UDPAddr: // QUIC
		return a.IP.IsLoopback()
	case *net.UnixAddr:
		return true
	}
	switch remote.Network() {
	case "pipe":
		return true
	case "tcp":
		if a, err := netip.ParseAddrPort(remote.String()); err == nil {
			return a.Addr().Unmap().IsLoopback()
		}
	}
	return false
}
