package admin

import (
	"context"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/fault"
)

func (s *Source) Groups(_ context.Context, q adminapi.Query) ([]adminapi.Group, error) {
	list, err := s.groups(namespace(q.Namespace))
	return page(q, list, func(g *adminapi.Group) string { return g.ID }), err
}

func (s *Source) Group(_ context.Context, r adminapi.Ref) (adminapi.Group, error) {
	list, err := s.groups(namespace(r.Namespace))
	for _, g := range list {
		if g.ID == r.Name {
			return g, err
		}
	}
	return adminapi.Group{}, fault.Of(fault.NotFound, "get group", r.Name)
}

func (s *Source) groups(ns string) ([]adminapi.Group, error) { return nil, nil }

func (s *Source) DeleteGroup(context.Context, adminapi.Ref) error { return nil }
