package auth

import (
	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/fault"
)

// A ban counts before all sources, and again once it is known who a client is. The administration
// API is not of it, so that who has banned himself can take it back.

// Bans implements Authority: who is kept out by now; nil: nobody is. While nothing changes it is the same set.
func (a *Auth) Bans() *acl.Bans { return a.bans.Load() }

func (a *Auth) readBans() *acl.Bans {
	if all := a.users.Bans(); len(all) > 0 {
		return acl.NewBans(all)
	}
	return nil
}

// Subject is a client as rules and bans see it, in no namespace.
func (l *Login) Subject() acl.Subject {
	return acl.Subject{User: l.User, Client: l.Client, Host: host(l.Remote)}
}

// admit refuses a client that is banned.
func (a *Auth) admit(l *Login) error {
	bans := a.Bans()
	if bans == nil || l.Protocol == "http" {
		return nil
	}
	s := l.Subject()
	if ban := bans.Find(&s, a.clock.Now()); ban != nil {
		return fault.New(fault.Denied, "authenticate", l.User, "%w", ban)
	}
	return nil
}
