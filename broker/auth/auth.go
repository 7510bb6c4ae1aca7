// Package auth establishes who a client is, and holds what it may do against the rules of
// package acl: one table of users and one of rules for all protocols.
//
// A user is a name, a bcrypt hash and tags; the table is the caller's (the broker keeps it
// in log 0) behind the interface Users, and no password is ever stored or logged. While
// there is no user at all, clients on this machine are let in as whoever they say, and
// others are refused: the same rule by which edge refuses to listen to them.
//
// bcrypt is slow on purpose. What has been checked once is remembered, under a key that
// says nothing about the password and that changes with the user's hash, so that a
// thousand devices that reconnect cost a thousand lookups; and no more hashes are computed
// at a time than the broker can spare, so that a client that guesses slows down its like
// and nobody else.
package auth

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/bcrypt"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/fault"
)

// User is one identity, the same for every protocol.
type User struct {
	Name string
	Hash []byte // bcrypt; empty: no password is right
	Tags []string
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
}

// Login is what a client shows of itself.
type Login struct {
	User, Password string // both "": it gave none
	Client         string // MQTT client id
	Remote         net.Addr
}

// Identity is who a client is.
type Identity struct {
	User string
	// Super: it may do everything, whatever the rules say.
	Super bool
}

// Anonymous is who a client is that gives no name to a broker without users.
const Anonymous = "guest"

const (
	// NameMax bounds a user's name, in bytes: an AMQP short string.
	NameMax = 255
	// PasswordMax is as much as bcrypt looks at, in bytes. A longer password is refused, not cut.
	PasswordMax = 72
	// rememberedMax bounds the outcomes remembered of each kind; beyond it, any of them makes room.
	rememberedMax = 1 << 16
	// waitingMax bounds the clients that wait for a password to be checked; more are told
	// to come again.
	waitingMax = 1 << 10
	// cost is bcrypt's: about 50 ms of a processor.
	cost = bcrypt.DefaultCost
)

// Auth authenticates. Safe for concurrent use; make it with New.
type Auth struct {
	users Users
	key   [32]byte      // of this process; what is remembered is worth nothing elsewhere
	slots chan struct{} // one value for each hash being computed
	queue chan struct{} // one value for each client that waits for one, or has it
	dummy func() []byte // a hash that is nobody's, computed once
	cost  int

	table     atomic.Pointer[compiled]
	compiling sync.Mutex // held by who compiles a table

	mu    sync.Mutex
	right remembered // guarded by mu
	wrong remembered // guarded by mu
}

type (
	fingerprint [sha256.Size]byte
	remembered  map[fingerprint]struct{}
)

// New returns an Auth over a table of users.
func New(users Users) *Auth { return newAuth(users, cost) }

func newAuth(users Users, cost int) *Auth {
	a := &Auth{
		users: users, cost: cost, right: make(remembered), wrong: make(remembered),
		slots: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)), queue: make(chan struct{}, waitingMax),
	}
	rand.Read(a.key[:])
	a.dummy = sync.OnceValue(func() []byte {
		hash, err := bcrypt.GenerateFromPassword(a.key[:], cost)
		if err != nil {
			panic("auth: " + err.Error()) // 32 bytes and a legal cost
		}
		return hash
	})
	return a
}

// Authenticate implements Authority. The text of its errors may be told to the client.
func (a *Auth) Authenticate(l Login) (Identity, error) {
	if a.users.UserCount() == 0 {
		if !OnThisMachine(l.Remote) {
			return Identity{}, fault.New(fault.Unauthorized, "authenticate", l.User, "without users only this machine is let in; add one with: rmq user create NAME")
		}
		return Identity{User: cmp.Or(l.User, Anonymous)}, nil
	}
	if err := a.password(l.User, l.Password); err != nil {
		return Identity{}, err
	}
	return Identity{User: l.User}, nil
}

// password checks a password against the table of users.
func (a *Auth) password(user, password string) error {
	u, known := a.users.User(user)
	if !known || len(u.Hash) == 0 {
		u = User{Hash: a.dummy()} // the answer takes as long, whether or not there is such a user
		known = false
	}
	if len(password) > PasswordMax {
		return refuse(user)
	}
	claim := a.fingerprint(user, password, u.Hash)
	switch a.recall(claim) {
	case right:
		if known {
			return nil
		}
		return refuse(user)
	case wrong:
		return refuse(user)
	}
	select {
	case a.queue <- struct{}{}:
		defer func() { <-a.queue }()
	default:
		return fault.New(fault.Exhausted, "authenticate", user, "too many clients are waiting to be let in")
	}
	a.slots <- struct{}{}
	defer func() { <-a.slots }()
	if ok := a.check(claim, u.Hash, password); !ok || !known {
		return refuse(user)
	}
	return nil
}

// check computes whether a password is the one of a hash, unless a client that was first
// in the queue with the same claim has. It takes the time that bcrypt takes.
func (a *Auth) check(f fingerprint, hash []byte, password string) bool {
	if r := a.recall(f); r != unknown {
		return r == right
	}
	ok := bcrypt.CompareHashAndPassword(hash, []byte(password)) == nil
	a.remember(f, ok)
	return ok
}

func refuse(user string) error {
	return fault.New(fault.Unauthorized, "authenticate", user, "user name or password is wrong")
}

// fingerprint stands for a claim and the hash that it was checked against.
func (a *Auth) fingerprint(user, password string, hash []byte) (f fingerprint) {
	mac := hmac.New(sha256.New, a.key[:])
	for _, part := range []string{user, password, string(hash)} {
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

// Administers tells whether a client may use the admin API. While there are no users, whoever was
// let in may.
func (a *Auth) Administers(id Identity) bool {
	return a.users.UserCount() == 0 || id.Super || a.administrator(id.User)
}

// Count is the number of users.
func (a *Auth) Count() int { return a.users.UserCount() }

// Put adds a user or replaces what one has. A nil password, or nil tags, leaves what is
// there; a new user needs a password.
func (a *Auth) Put(ctx context.Context, name string, password *string, tags []string) error {
	if err := checkName(name); err != nil {
		return err
	}
	u, known := a.users.User(name)
	u.Name = name
	switch {
	case password != nil:
		hash, err := a.hash(*password)
		if err != nil {
			return fault.New(fault.Invalid, "put user", name, "%w", err)
		}
		u.Hash = hash
	case !known:
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

func (a *Auth) hash(password string) ([]byte, error) {
	switch {
	case password == "":
		return nil, errors.New("the password is empty")
	case len(password) > PasswordMax:
		return nil, fmt.Errorf("the password has %d bytes; at most %d count", len(password), PasswordMax)
	}
	return bcrypt.GenerateFromPassword([]byte(password), a.cost)
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
