package admin

import (
	"context"
	"io"

	"github.com/robustmq/rmq/broker/adminapi"
)

// Snapshot writes all that the broker holds at one moment.
func (s *Source) Snapshot(ctx context.Context, w io.Writer) error { return s.c.Snapshot(ctx, w) }

// Load begins the broker anew with a snapshot.
func (s *Source) Load(ctx context.Context, r io.Reader) (adminapi.Loaded, error) {
	return s.c.Load(ctx, r)
}
