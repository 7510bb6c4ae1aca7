package local

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/robustmq/rmq/broker"
	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/cli/env"
)

// Reopen runs a broker in memory, on a free port of this machine, that holds what a snapshot or a bundle does, and
// whose time stands still at the moment of that, until it is moved: nothing expires while somebody looks. notes are
// those of a bundle, by name. end closes it.
func Reopen(ctx context.Context, e *env.Env, name string) (url string, notes map[string]string, end func() error, err error) {
	s, err := wholeSnapshot(e, name)
	if err != nil {
		return "", nil, nil, err
	}
	ports := broker.OnePort(broker.None)
	ports.HTTP = 0
	b, err := broker.Open(ctx, broker.Config{
		Profile: s.Profile, Ports: ports, Hands: clock.NewHands(s.Taken),
		Snapshot: func() (io.ReadCloser, error) { return os.Open(s.Path) },
	})
	if err != nil {
		return "", nil, nil, err
	}
	return b.URLs().HTTP, s.text, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		return errors.Join(b.Err(), b.Close(ctx))
	}, nil
}
