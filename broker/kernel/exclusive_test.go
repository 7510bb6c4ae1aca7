package kernel_test

import (
	"context"
	"testing"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
)

const alone = "$exclusive/a/+"

func tryExclusive(s *kernel.Session) error {
	_, errs := s.Subscribe(context.Background(), []kernel.Subscription{{Filter: alone, QoS: 1}})
	return errs[0]
}

// refusedExclusive checks that a session is refused what another has.
func refusedExclusive(t *testing.T, s *kernel.Session) {
	t.Helper()
	if err := tryExclusive(s); !fault.Is(err, fault.Full) {
		t.Fatalf("a second exclusive subscription: %v", err)
	}
}

func takesExclusive(t *testing.T, s *kernel.Session) {
	t.Helper()
	if err := tryExclusive(s); err != nil {
		t.Fatal(err)
	}
}

// An exclusive subscription is one session's on every node, until it unsubscribes or ends; one that
// outlives its connection keeps it meanwhile. Plain subscriptions stand beside it.
func TestExclusiveSubscription(t *testing.T) {
	c := kerneltest.StartCluster(t, 3, kerneltest.Options{NoCapture: true})
	first, one, _ := open(t, c.Node(1), "first", 0, true)
	durable, _, _ := open(t, c.Node(2), "durable", kernel.ExpiryNever, true)
	other, o, _ := open(t, c.Node(3), "other", 0, true)
	subscribe(t, other, "a/b", 1)
	takesExclusive(t, first)
	takesExclusive(t, first) // again, to change its options
	refusedExclusive(t, other)
	refusedExclusive(t, durable)
	publish(t, c.Node(2), mqtt("a/b", "1"))
	for _, s := range []*sink{one, o} {
		if g := s.next(t); string(g.msg.Value) != "1" || g.msg.Address != "a/b" {
			t.Errorf("got %+v", g.msg)
		}
	}

	if existed, err := first.Unsubscribe(t.Context(), []string{alone}); err != nil || !existed[0] {
		t.Fatal(existed, err)
	}
	takesExclusive(t, other)
	other.Close(false, nil) // its session ends
	takesExclusive(t, durable)
	durable.Close(false, nil) // its session stays
	refusedExclusive(t, first)
	publish(t, c.Node(1), mqtt("a/b", "2"))

	durable, d, present := open(t, c.Node(3), "durable", kernel.ExpiryNever, false)
	if g := d.next(t); !present || string(g.msg.Value) != "2" {
		t.Errorf("present %v, got %+v", present, g.msg)
	}
	refusedExclusive(t, first)
	takesExclusive(t, durable)
	if err := c.Node(1).EndSession(t.Context(), "/", "durable"); err != nil {
		t.Fatal(err)
	}
	takesExclusive(t, first)
	durable, _, _ = open(t, c.Node(2), "durable", kernel.ExpiryNever, false)
	refusedExclusive(t, durable)

	first, one, _ = open(t, c.Node(3), "first", 0, true) // it begins anew
	takesExclusive(t, durable)
	publish(t, c.Node(1), mqtt("a/b", "3"))
	if len(one.ch) > 0 {
		t.Errorf("%+v went to who is not subscribed any more", <-one.ch)
	}
	refusedExclusive(t, first)
}

// A node that goes down takes with it what sessions that end with their connections had; a
// session that does not keeps it, also when the broker is started again.
func TestExclusiveSubscriptionOutlivesItsNode(t *testing.T) {
	c := kerneltest.StartCluster(t, 3, kerneltest.Options{NoCapture: true})
	brief, _, _ := open(t, c.Node(3), "brief", 0, true)
	takesExclusive(t, brief)
	c.Stop(3)
	next, _, _ := open(t, c.Node(1), "next", 0, true)
	until(t, c.Node(1), "what the node had is free", func() bool { return tryExclusive(next) == nil })

	eng := keep{newMem(t)}
	k, stop := kerneltest.Start(t, kerneltest.Options{Engine: eng, NoCapture: true})
	durable, _, _ := open(t, k, "durable", kernel.ExpiryNever, true)
	takesExclusive(t, durable)
	stop()
	k, stop = kerneltest.Start(t, kerneltest.Options{Engine: eng, NoCapture: true, CheckpointBytes: 1})
	other, _, _ := open(t, k, "other", 0, true)
	refusedExclusive(t, other)
	stop()
	k, stop = kerneltest.Start(t, kerneltest.Options{Engine: eng, NoCapture: true})
	defer stop()
	other, _, _ = open(t, k, "other", 0, true)
	refusedExclusive(t, other)
	if err := k.EndSession(t.Context(), "/", "durable"); err != nil {
		t.Fatal(err)
	}
	takesExclusive(t, other)
}
