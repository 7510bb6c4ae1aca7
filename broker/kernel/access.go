package kernel

import (
	"context"
	"sync/atomic"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel/meta"
)

// This file is who there is and what they may do, as log 0 has it. The kernel asks nobody who
// he is; package auth does.

// User is an identity kept in log 0.
type User = meta.User

// SCRAM is what is kept of a password for one mechanism.
type SCRAM = meta.SCRAM

// accessVersions tell whether users, rules or items have changed, at the price of reading a number.
type accessVersions struct{ users, rules, items atomic.Uint64 }

// changed follows a command that was applied, once its effect can be read.
func (v *accessVersions) changed(op meta.Op) {
	switch op {
	case meta.PutUser, meta.DeleteUser:
		v.users.Add(1)
	case meta.PutRules, meta.DeleteRules:
		v.rules.Add(1)
	case meta.PutItems, meta.DeleteItems:
		v.items.Add(1)
	}
}

// replaced follows a state of log 0 in place of another.
func (v *accessVersions) replaced() {
	v.users.Add(1)
	v.rules.Add(1)
	v.items.Add(1)
}

// AccessVersions are two numbers, of which the first changes when users do and the second when
// rules do. What is read after them is at least as new.
func (k *Kernel) AccessVersions() (users, rules uint64) {
	return k.access.users.Load(), k.access.rules.Load()
}

// User returns a user by name.
func (k *Kernel) User(name string) (User, bool) {
	u, ok := k.meta.view.Load().User(name)
	if !ok {
		return User{}, false
	}
	return *u, true
}

// Users lists the users in the order of their names.
func (k *Kernel) Users() []User {
	var out []User
	for u := range k.meta.view.Load().AllUsers() {
		out = append(out, *u)
	}
	return out
}

// UserCount is the number of users.
func (k *Kernel) UserCount() int { return k.meta.view.Load().Users() }

// PutUser creates a user or replaces one.
func (k *Kernel) PutUser(ctx context.Context, u User) error {
	if u.Name == "" {
		return fault.New(fault.Invalid, "put user", "", "empty name")
	}
	_, err := k.meta.do(ctx, &meta.Command{Op: meta.PutUser, User: &u})
	return err
}

// DeleteUser removes a user.
func (k *Kernel) DeleteUser(ctx context.Context, name string) error {
	_, err := k.meta.do(ctx, &meta.Command{Op: meta.DeleteUser, Name: name})
	return err
}

// Rules returns every rule, in no order that means anything.
func (k *Kernel) Rules() []acl.Rule {
	var out []acl.Rule
	for r := range k.meta.view.Load().AllRules() {
		out = append(out, *r)
	}
	return out
}

// PutRules adds rules, all or none, and tells how many that has changed. They count on every
// node that is up when it returns.
func (k *Kernel) PutRules(ctx context.Context, rules []acl.Rule) (changed int, err error) {
	r, err := k.meta.do(ctx, &meta.Command{Op: meta.PutRules, Rules: rules})
	return int(r.Number), err
}

// DeleteRules takes the actions of each rule from the one in the table, which goes when it has
// none left. It tells how many that has changed.
func (k *Kernel) DeleteRules(ctx context.Context, rules []acl.Rule) (changed int, err error) {
	r, err := k.meta.do(ctx, &meta.Command{Op: meta.DeleteRules, Rules: rules})
	return int(r.Number), err
}
