package admin

import (
	"context"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
)

// changesApart is how long after one change another is told: those between are one.
const changesApart = 20 * time.Millisecond

// Changes tells that something may be otherwise than it was, as soon as it may.
func (s *Source) Changes(ctx context.Context, emit func(adminapi.Changed) error) error {
	changed, stop := s.c.Kernel.Changes()
	defer stop()
	for n := uint64(1); ; n++ {
		if err := emit(adminapi.Changed{N: n}); err != nil {
			return err
		}
		select { // those who look ask much, and a busy broker changes all the time
		case <-time.After(changesApart):
		case <-ctx.Done():
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}
