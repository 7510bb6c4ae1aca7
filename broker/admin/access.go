package admin

import (
	"context"
	"net/netip"
	"slices"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/fault"
)

// This file is who there is and what they may do.

func (s *Source) Users(context.Context) ([]adminapi.User, error) {
	out := []adminapi.User{}
	for _, u := range s.c.Kernel.Users() {
		out = append(out, adminapi.User{Name: u.Name, Tags: u.Tags})
	}
	return out, nil
}

func (s *Source) User(_ context.Context, name string) (adminapi.User, error) {
	u, ok := s.c.Kernel.User(name)
	if !ok {
		return adminapi.User{}, fault.Of(fault.NotFound, "get user", name)
	}
	return adminapi.User{Name: u.Name, Tags: u.Tags}, nil
}

func (s *Source) PutUser(ctx context.Context, spec adminapi.UserSpec) (adminapi.User, error) {
	var err error
	switch {
	case spec.Hash == "":
		err = s.c.Auth.Put(ctx, spec.Name, spec.Password, spec.Tags)
	case spec.Password != nil:
		err = fault.New(fault.Invalid, "put user", spec.Name, "a password and a hash are two passwords")
	default:
		err = s.c.Auth.PutHash(ctx, spec.Name, []byte(spec.Hash), spec.Tags)
	}
	if err != nil {
		return adminapi.User{}, err
	}
	return s.User(ctx, spec.Name)
}

func (s *Source) DeleteUser(ctx context.Context, name string) error {
	return s.c.Auth.Delete(ctx, name)
}

func (s *Source) Rules(context.Context) ([]acl.Rule, error) {
	rules := s.c.Kernel.Rules()
	slices.SortFunc(rules, func(a, b acl.Rule) int { return acl.Compare(&a, &b) })
	return rules, nil
}

func (s *Source) PutRules(ctx context.Context, rules []acl.Rule) (int, error) {
	return s.c.Kernel.PutRules(ctx, rules)
}

func (s *Source) DeleteRules(ctx context.Context, rules []acl.Rule) (int, error) {
	return s.c.Kernel.DeleteRules(ctx, rules)
}

func (s *Source) TestAccess(_ context.Context, q adminapi.AccessQuestion) (acl.Verdict, error) {
	who := acl.Subject{User: q.User, Client: q.Client, Namespace: q.Namespace}
	if q.Host != "" {
		var err error
		if who.Host, err = netip.ParseAddr(q.Host); err != nil {
			return acl.Verdict{}, fault.New(fault.Invalid, "test access", q.Host, "it is no IP address")
		}
	}
	r := acl.Rule{Actions: q.Action, Kind: q.Kind, Name: q.Name}
	if err := r.Check(); err != nil {
		return acl.Verdict{}, fault.New(fault.Invalid, "test access", q.Name, "%w", err)
	}
	return s.c.Auth.Table().Explain(&who, q.Action, q.Kind, q.Name), nil
}
