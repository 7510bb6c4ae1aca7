package kernel_test

import (
	"context"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
)

func TestChangesWakeWhoWatches(t *testing.T) {
	k := kerneltest.Open(t, kerneltest.Options{})
	changed, stop := k.Changes()
	for name, change := range map[string]func(){
		"a queue": func() {
			if _, _, err := k.DeclareQueue(context.Background(), queueSpec("q")); err != nil {
				t.Fatal(err)
			}
		},
		"a message":          func() { publish(t, k, mqtt("a/b", "x")) },
		"a session":          func() { open(t, k, "dev1", 60, true) },
		"one that is in RAM": func() { open(t, k, "dev2", 0, true) },
	} {
		select {
		case <-changed:
		default:
		}
		change()
		select {
		case <-changed:
		case <-time.After(time.Minute):
			t.Errorf("%s: no wake", name)
		}
	}
	stop()
	select {
	case <-changed:
	default:
	}
	publish(t, k, mqtt("a/b", "x"))
	select {
	case <-changed:
		t.Error("a wake after stop")
	default:
	}
}

// A message that expires goes to the dead-letter queue, expires there and goes to the next:
// what follows from one step of the clock is over when Settle returns.
func TestSettleWaitsForDeadLetters(t *testing.T) {
	ctx := context.Background()
	v := clock.NewVirtual(time.Unix(1_800_000_000, 0))
	k := kerneltest.Open(t, kerneltest.Options{Time: v})
	dlx, next := "", "second"
	first := queueSpec("first")
	first.MessageTTL, first.DeadLetterExchange, first.DeadLetterRoutingKey = 1000, &dlx, &next
	for _, q := range []kernel.QueueSpec{first, queueSpec("second")} {
		if _, _, err := k.DeclareQueue(ctx, q); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		publish(t, k, kernel.Publish{Key: "first", ViaExchange: true, Msg: mqtt("first", "x").Msg})
	}
	v.Advance(time.Second)
	if err := k.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int64{"first": 0, "second": 100} {
		if q, err := k.Queue("/", name, 0); err != nil || q.Ready != want || q.Unacked != 0 {
			t.Errorf("%s: %d ready, %d unacked, %v; want %d ready", name, q.Ready, q.Unacked, err, want)
		}
	}
}
