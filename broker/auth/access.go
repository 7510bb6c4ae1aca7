package auth

import (
	"net"
	"net/netip"

	"github.com/robustmq/rmq/broker/acl"
)

// Table implements acl.Source: the rules that log 0 has, and who is an administrator. It is
// compiled anew when either has changed, and otherwise costs the reading of two numbers.
func (a *Auth) Table() *acl.Table {
	users, rules := a.users.AccessVersions()
	if c := a.table.Load(); c != nil && c.users == users && c.rules == rules {
		return c.table
	}
	return a.compile()
}

// compiled is a table, and what it was made of.
type compiled struct {
	users, rules uint64
	table        *acl.Table
}

func (a *Auth) compile() *acl.Table {
	a.compiling.Lock()
	defer a.compiling.Unlock()
	users, rules := a.users.AccessVersions()
	old := a.table.Load()
	c := &compiled{users: users, rules: rules}
	switch {
	case old != nil && old.users == users && old.rules == rules:
		return old.table
	case old != nil && old.rules == rules:
		c.table = old.table.Again()
	default:
		c.table = acl.NewTable(a.users.Rules(), a.administrator)
	}
	a.table.Store(c)
	return c.table
}

// administrator tells whether a user has that tag, of those there are: while there are none,
// rules are for everybody.
func (a *Auth) administrator(user string) bool {
	u, ok := a.users.User(user)
	return ok && u.has(Administrator)
}

// Access returns what a client that was let in may do in a namespace.
func (a *Auth) Access(id Identity, l Login, namespace string) *acl.Access {
	return acl.NewAccess(a, acl.Subject{User: id.User, Client: l.Client, Host: host(l.Remote), Namespace: namespace, Super: id.Super})
}

// host is the IP address of a peer; the zero Addr: it has none.
func host(remote net.Addr) netip.Addr {
	switch r := remote.(type) {
	case nil:
		return netip.Addr{}
	case *net.TCPAddr:
		a, _ := netip.AddrFromSlice(r.IP)
		return a.Unmap()
	}
	if p, err := netip.ParseAddrPort(remote.String()); err == nil {
		return p.Addr().Unmap()
	}
	return netip.Addr{}
}

// Authority is what the protocols ask of an Auth.
type Authority interface {
	// Authenticate returns who a client is by what it shows. It may take its time: it is asked on
	// the client's own goroutine. Errors are of fault.Unauthorized where it shows the wrong
	// thing, fault.Denied where it is known and not wanted, and fault.Exhausted or
	// fault.Unavailable where it may try again.
	Authenticate(Login) (Identity, error)
	// Access returns what it may do. nil: everything.
	Access(Identity, Login, string) *acl.Access
	// Bans returns who is kept out by now; nil: nobody.
	Bans() *acl.Bans
}

// Anybody lets everybody in under the name that they give, and do everything.
type Anybody struct{}

// Authenticate implements Authority.
func (Anybody) Authenticate(l Login) (Identity, error) { return Identity{User: l.User}, nil }

// Access implements Authority.
func (Anybody) Access(Identity, Login, string) *acl.Access { return nil }

// Bans implements Authority.
func (Anybody) Bans() *acl.Bans { return nil }
