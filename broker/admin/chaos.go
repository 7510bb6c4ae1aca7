package admin

import (
	"context"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/chaos"
)

// Chaos tells what goes wrong by plan on this node.
func (s *Source) Chaos(context.Context) (adminapi.Chaos, error) {
	seed, rules := s.c.Chaos.List()
	if rules == nil {
		rules = []chaos.State{}
	}
	return adminapi.Chaos{Node: s.c.Node, Seed: seed, Rules: rules}, nil
}

func (s *Source) AddFault(_ context.Context, r chaos.Rule) (chaos.Rule, error) {
	return s.c.Chaos.Add(r)
}

func (s *Source) RemoveFault(_ context.Context, name string) error { return s.c.Chaos.Remove(name) }

func (s *Source) RunPlan(ctx context.Context, p chaos.Plan) (adminapi.Chaos, error) {
	if err := s.c.Chaos.Run(p); err != nil {
		return adminapi.Chaos{}, err
	}
	return s.Chaos(ctx)
}
