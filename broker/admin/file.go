package admin

import (
	"context"
	"io"
)

// Snapshot writes all that the broker holds at one moment.
func (s *Source) Snapshot(ctx context.Context, w io.Writer) error { return s.c.Snapshot(ctx, w) }
