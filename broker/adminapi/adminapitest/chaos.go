package adminapitest

import (
	"context"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/chaos"
)

// Chaos has nothing go wrong: it keeps the plan.
func (f *Fake) Chaos(context.Context) (adminapi.Chaos, error) {
	unlock, err := f.lock()
	if err != nil {
		return adminapi.Chaos{}, err
	}
	defer unlock()
	e := f.faults()
	seed, rules := e.List()
	return adminapi.Chaos{Node: 1, Seed: seed, Rules: rules}, nil
}

func (f *Fake) faults() *chaos.Engine {
	if f.Faults == nil {
		f.Faults = chaos.New(nil, nil)
	}
	return f.Faults
}

func (f *Fake) AddFault(_ context.Context, r chaos.Rule) (chaos.Rule, error) {
	unlock, err := f.lock()
	if err != nil {
		return r, err
	}
	defer unlock()
	return f.faults().Add(r)
}

func (f *Fake) RemoveFault(_ context.Context, name string) error {
	unlock, err := f.lock()
	if err != nil {
		return err
	}
	defer unlock()
	return f.faults().Remove(name)
}

func (f *Fake) RunPlan(ctx context.Context, p chaos.Plan) (adminapi.Chaos, error) {
	unlock, err := f.lock()
	if err != nil {
		return adminapi.Chaos{}, err
	}
	err = f.faults().Run(p)
	unlock()
	if err != nil {
		return adminapi.Chaos{}, err
	}
	return f.Chaos(ctx)
}
