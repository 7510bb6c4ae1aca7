package admin

import (
	"context"
	"strings"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/chaos"
	"github.com/robustmq/rmq/broker/fault"
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
	if err := s.canFail(r); err != nil {
		return r, err
	}
	return s.c.Chaos.Add(r)
}

// canFail refuses a rule about what this broker does not have: it would never fire.
func (s *Source) canFail(rules ...chaos.Rule) error {
	for _, r := range rules {
		if seam, _, _ := strings.Cut(r.At, "/"); seam == chaos.Disk.String() && s.c.DataDir == "" {
			return fault.New(fault.Unsupported, "plan", r.At, "this broker keeps everything in memory, and no disk can fail")
		}
	}
	return nil
}

func (s *Source) RemoveFault(_ context.Context, name string) error { return s.c.Chaos.Remove(name) }

func (s *Source) RunPlan(ctx context.Context, p chaos.Plan) (adminapi.Chaos, error) {
	if err := s.canFail(p.Rules...); err != nil {
		return adminapi.Chaos{}, err
	}
	if err := s.c.Chaos.Run(p); err != nil {
		return adminapi.Chaos{}, err
	}
	return s.Chaos(ctx)
}
