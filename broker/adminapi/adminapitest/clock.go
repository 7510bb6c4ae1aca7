package adminapitest

import (
	"context"

	"github.com/robustmq/rmq/broker/adminapi"
)

func (f *Fake) Clock(context.Context) (adminapi.Clock, error) {
	unlock, err := f.lock()
	if err != nil {
		return adminapi.Clock{}, err
	}
	defer unlock()
	return f.Time, nil
}

func (f *Fake) Due(context.Context) (adminapi.Dues, error) {
	unlock, err := f.lock()
	if err != nil {
		return adminapi.Dues{}, err
	}
	defer unlock()
	return f.Dues, nil
}

func (f *Fake) FreezeClock(_ context.Context, frozen bool) (adminapi.Clock, error) {
	unlock, err := f.lock()
	if err != nil {
		return adminapi.Clock{}, err
	}
	defer unlock()
	f.Time.Frozen = frozen
	return f.Time, nil
}

func (f *Fake) MoveClock(_ context.Context, m adminapi.ClockMove) (adminapi.Clock, error) {
	unlock, err := f.lock()
	if err != nil {
		return adminapi.Clock{}, err
	}
	defer unlock()
	if f.Time.Now = f.Time.Now.Add(m.By); !m.To.IsZero() {
		f.Time.Now = m.To
	}
	return f.Time, nil
}
