package admin

import (
	"context"
	"errors"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/fault"
)

func (s *Source) Clock(context.Context) (adminapi.Clock, error) {
	h := s.c.Hands
	if h == nil {
		return adminapi.Clock{Kind: adminapi.ClockReal, Now: s.c.Clock.Now().UTC()}, nil
	}
	f := h.Face()
	return adminapi.Clock{Kind: adminapi.ClockVirtual, Now: f.Now.UTC(), Frozen: f.Frozen}, nil
}

func (s *Source) Due(context.Context) (adminapi.Dues, error) {
	due, more := s.c.Kernel.Due()
	out := adminapi.Dues{Now: s.c.Clock.Now().UTC(), Due: make([]adminapi.Due, 0, len(due)), More: more}
	for _, d := range due {
		out.Due = append(out.Due, adminapi.Due{Kind: d.Kind, Next: time.UnixMilli(d.At).UTC(), Namespace: d.Namespace, Name: d.Name, Count: d.Count})
	}
	return out, nil
}

// hands are those of a virtual clock, or why there are none.
func (s *Source) hands() (*clock.Hands, error) {
	if s.c.Hands == nil {
		e := adminapi.ErrorOf(fault.New(fault.Conflict, "move clock", "", "this broker goes by the machine's clock"))
		e.Hint = "start one with a clock of its own: rmq up --memory --clock virtual   or run a test with one: rmq test -- CMD"
		return nil, e
	}
	return s.c.Hands, nil
}

func (s *Source) FreezeClock(ctx context.Context, frozen bool) (adminapi.Clock, error) {
	h, err := s.hands()
	if err != nil {
		return adminapi.Clock{}, err
	}
	set := h.Run
	if frozen {
		set = h.Freeze
	}
	if err := set(ctx); err != nil {
		return adminapi.Clock{}, fault.New(fault.Timeout, "move clock", "", "%w", err)
	}
	return s.Clock(ctx)
}

func (s *Source) MoveClock(ctx context.Context, m adminapi.ClockMove) (adminapi.Clock, error) {
	h, err := s.hands()
	if err != nil {
		return adminapi.Clock{}, err
	}
	if m.To.IsZero() {
		err = h.Advance(ctx, m.By, m.Liveness)
	} else {
		err = h.Set(ctx, m.To, m.Liveness)
	}
	switch {
	case errors.Is(err, clock.ErrPast):
		return adminapi.Clock{}, fault.New(fault.Invalid, "move clock", "", "%w", err)
	case fault.KindOf(err) == fault.Internal && err != nil:
		return adminapi.Clock{}, fault.New(fault.Timeout, "move clock", "", "%w", err)
	case err != nil:
		return adminapi.Clock{}, err
	}
	return s.Clock(ctx)
}
