package kernel_test

import (
	"context"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/message"
)

func TestDelayedMessageComesWhenItsTimeHasCome(t *testing.T) {
	ctx := context.Background()
	for _, checkpoint := range []int{1 << 30, 1} {
		vc := clock.NewVirtual(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
		eng := keep{newMem(t)}
		k, stop := kerneltest.Start(t, kerneltest.Options{Engine: eng, Time: vc, NoCapture: true, CheckpointBytes: checkpoint})
		if _, _, err := k.DeclareQueue(ctx, queueSpec("q")); err != nil {
			t.Fatal(err)
		}
		ready := func() int64 {
			t.Helper()
			if err := k.Settle(ctx); err != nil {
				t.Fatal(err)
			}
			info, err := k.Queue("/", "q", 0)
			if err != nil {
				t.Fatal(err)
			}
			return info.Ready
		}
		for _, p := range []kernel.Publish{
			mqtt("q", "late"),
			{ViaExchange: true, Key: "q", Msg: message.Message{Source: message.AMQP, Address: "q", Value: []byte("later"), QoS: 1, ExpiresAt: vc.Now().UnixMilli() + 1000}},
		} {
			p.Msg.Delay = 60_000 + int64(len(p.Msg.Value))
			if r := publish(t, k, p); r.Queues == 0 {
				t.Error("a delayed message counts as routed to nobody")
			}
		}
		vc.Advance(59 * time.Second)
		if n := ready(); n != 0 {
			t.Fatalf("%d messages before their time", n)
		}
		stop()
		k, stop = kerneltest.Start(t, kerneltest.Options{Engine: eng, Time: vc, NoCapture: true, CheckpointBytes: checkpoint})
		if n := ready(); n != 0 {
			t.Fatalf("%d messages after a restart", n)
		}
		vc.Advance(time.Second + 5*time.Millisecond)
		if n := ready(); n != 2 {
			t.Fatalf("%d messages are there", n)
		}
		s := newSink()
		if _, err := k.Attach(ctx, kernel.AttachSpec{Namespace: "/", Queue: "q", Credit: 10, Sink: s}); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"late", "later"} {
			if g := s.next(t); string(g.msg.Value) != want || g.msg.Delay != 0 || g.msg.Address != "q" {
				t.Errorf("got %+v, want %s", g.msg, want)
			}
		}
		stop()
		k, stop = kerneltest.Start(t, kerneltest.Options{Engine: eng, Time: vc, NoCapture: true, CheckpointBytes: checkpoint})
		if n := ready(); n != 2 {
			t.Errorf("%d messages after another restart", n)
		}
		stop()
	}
}

// A dead letter without a routing key of its queue's keeps all of its own, and tells what
// became of its expiry.
func TestDeadLetterKeepsItsRoutingKeys(t *testing.T) {
	ctx := context.Background()
	vc := clock.NewVirtual(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	k := kerneltest.Open(t, kerneltest.Options{NoCapture: true, Time: vc})
	dlx := "dlx"
	if _, _, err := k.DeclareExchange(ctx, kernel.Exchange{Namespace: "/", Name: dlx, Type: kernel.Direct, Durable: true}); err != nil {
		t.Fatal(err)
	}
	work := queueSpec("work")
	work.DeadLetterExchange = &dlx
	for _, spec := range []kernel.QueueSpec{work, queueSpec("one"), queueSpec("two")} {
		if _, _, err := k.DeclareQueue(ctx, spec); err != nil {
			t.Fatal(err)
		}
	}
	for q, key := range map[string]string{"one": "work", "two": "copy"} {
		if err := k.Bind(ctx, kernel.Binding{Namespace: "/", Source: dlx, Destination: q, Key: key}); err != nil {
			t.Fatal(err)
		}
	}
	publish(t, k, kernel.Publish{ViaExchange: true, Key: "work", CC: []string{"copy"}, Msg: message.Message{
		Source: message.AMQP, Address: "work", Value: []byte("x"), QoS: 1, Native: message.AppendAMQPNative(nil, "", "work", []byte{0, 0}),
		Headers: []message.Header{{Name: "CC", Value: []byte("copy")}}, ExpiresAt: vc.Now().UnixMilli() + 1500,
	}})
	vc.Advance(2 * time.Second)
	if err := k.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{"one", "two"} {
		s := newSink()
		if _, err := k.Attach(ctx, kernel.AttachSpec{Namespace: "/", Queue: q, Credit: 1, Sink: s}); err != nil {
			t.Fatal(err)
		}
		d := message.Deaths(s.next(t).msg.Headers)
		if len(d) != 1 || len(d[0].RoutingKeys) != 2 || d[0].RoutingKeys[1] != "copy" || d[0].OriginalExpiration != "1500" {
			t.Errorf("%s: deaths %+v", q, d)
		}
	}
}
