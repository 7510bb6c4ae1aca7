package link_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/cli/link"
)

// A peer that takes a connection and says nothing is waited for until --timeout, which is what the error
// says, or until the user leaves.
func TestConsumeFromASilentPeer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	came := make(chan struct{}, 8)
	var open sync.WaitGroup
	open.Go(func() { // ends with the listener
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			came <- struct{}{}
		}
	})
	defer func() { l.Close(); open.Wait() }()
	none := func(*link.Message) error { return nil }
	for _, in := range []string{"mqtt://%/a", "kafka://%/a", "amqp://%/queue:a"} {
		t.Run(in[:4], func(t *testing.T) {
			target, err := link.ParseTarget(strings.Replace(in, "%", l.Addr().String(), 1))
			if err != nil {
				t.Fatal(err)
			}
			_, err = link.Consume(t.Context(), target, link.ConsumeOptions{Timeout: 50 * time.Millisecond}, none)
			if !fault.Is(err, fault.Timeout) || !strings.Contains(err.Error(), "not connected after 50ms") {
				t.Errorf("at the time limit: %v", err)
			}
			<-came
			ctx, leave := context.WithCancel(t.Context())
			go func() { <-came; leave() }()
			if _, err := link.Consume(ctx, target, link.ConsumeOptions{}, none); !errors.Is(err, context.Canceled) {
				t.Errorf("the user left: %v", err)
			}
		})
	}
}
