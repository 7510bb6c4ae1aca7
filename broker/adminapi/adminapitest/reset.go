package adminapitest

import (
	"context"

	"github.com/robustmq/rmq/broker/adminapi"
)

func (f *Fake) Reset(context.Context) (adminapi.Reset, error) {
	unlock, err := f.lock()
	if err != nil {
		return adminapi.Reset{}, err
	}
	defer unlock()
	r := adminapi.Reset{
		Sessions: len(f.C), Groups: len(f.G), Retained: len(f.R), Queues: len(f.Q), Exchanges: len(f.X), Bindings: len(f.B), Topics: len(f.T),
	}
	f.C, f.G, f.R, f.Q, f.X, f.B, f.T, f.Faults = nil, nil, nil, nil, nil, nil, nil, nil
	return r, nil
}
