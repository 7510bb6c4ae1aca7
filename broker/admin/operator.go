package admin

import (
	"context"
	"slices"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/option"
)

// This file is what an operator changes while the broker runs: bans and settings.

// Bans leaves out those that are over.
func (s *Source) Bans(context.Context) ([]acl.Ban, error) {
	now := s.c.Clock.Now()
	bans := slices.DeleteFunc(s.c.Kernel.Bans(), func(b acl.Ban) bool { return b.Over(now) })
	slices.SortFunc(bans, func(a, b acl.Ban) int { return acl.CompareBans(&a, &b) })
	return bans, nil
}

func (s *Source) PutBan(ctx context.Context, b acl.Ban) (acl.Ban, error) {
	now := s.c.Clock.Now().UTC()
	if b.Over(now) {
		return b, fault.New(fault.Invalid, "put ban", b.Who(), "it would be over already")
	}
	b.Since, b.By = now, ""
	return b.Canonical(), s.c.Kernel.PutBan(ctx, b)
}

func (s *Source) DeleteBan(ctx context.Context, b acl.Ban) error {
	was, err := s.c.Kernel.DeleteBan(ctx, b)
	if err == nil && !was {
		return fault.Of(fault.NotFound, "delete ban", b.Who())
	}
	return err
}

func (s *Source) Options(context.Context) ([]adminapi.Option, error) {
	set := s.c.Kernel.Options()
	v := option.Read(set)
	var out []adminapi.Option
	for _, x := range option.All() {
		origin := adminapi.OriginDefault
		if _, ok := set[x.Name]; ok {
			origin = adminapi.OriginSet
		}
		out = append(out, adminapi.Option{Name: x.Name, Value: x.Show(v), Default: x.Default, Origin: origin, Help: x.Help})
	}
	return out, nil
}

func (s *Source) ChangeOptions(ctx context.Context, c adminapi.OptionsChange) ([]adminapi.Option, error) {
	set := make(map[string]string, len(c.Set))
	for name, value := range c.Set {
		x, ok := option.Find(name)
		if !ok {
			return nil, fault.Of(fault.NotFound, "set", name)
		}
		text, err := x.Canonical(value)
		if err != nil {
			return nil, fault.New(fault.Invalid, "set", name, "%w", err)
		}
		set[name] = text
	}
	for _, name := range c.Unset {
		if _, ok := option.Find(name); !ok {
			return nil, fault.Of(fault.NotFound, "unset", name)
		}
	}
	if err := s.c.Kernel.ChangeOptions(ctx, set, c.Unset); err != nil {
		return nil, err
	}
	return s.Options(ctx)
}
