package kernel_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
)

func TestSharedSubscription(t *testing.T) {
	k := kerneltest.Open(t, kerneltest.Options{NoCapture: true})
	var sinks []*sink
	var sessions []*kernel.Session
	for i := range 2 {
		ses, s, _ := open(t, k, fmt.Sprintf("c%d", i), 0, true)
		subscribe(t, ses, "$share/g/a/+", 1)
		sinks, sessions = append(sinks, s), append(sessions, ses)
	}
	for i := range 10 {
		publish(t, k, mqtt("a/b", fmt.Sprint(i)))
	}
	for i, s := range sinks {
		for range 5 {
			g := s.next(t)
			if !g.d.Shared || g.d.No == 0 {
				t.Errorf("delivery %+v", g.d)
			}
			if i == 0 {
				g.d.From.Settle(g.d.No, false, kernel.Accept)
			}
		}
	}
	sessions[1].Close(false, nil) // what it did not acknowledge goes to the other
	for range 5 {
		if g := sinks[0].next(t); !g.d.Redelivered {
			t.Errorf("delivery %+v", g.d)
		}
	}
}

func twice(address, value string) kernel.Publish {
	p := mqtt(address, value)
	p.Msg.QoS = 2
	return p
}

// values are those of the next n deliveries; "PUBREL" for one that was received before.
func (s *sink) values(t *testing.T, n int) (all []string) {
	t.Helper()
	for range n {
		g := s.next(t)
		if g.d.Msg == nil {
			all = append(all, "PUBREL")
			continue
		}
		all = append(all, string(g.msg.Value))
	}
	return all
}

// What a member was begun to be sent at QoS 2 is its session's: a connection later it comes
// again under the same packet identifier, and never to another member (MQTT5-4.8.2-4, -5).
func TestSharedAtQoS2StaysWithTheSession(t *testing.T) {
	for _, checkpoint := range []int{1 << 30, 1} {
		eng := keep{newMem(t)}
		k, stop := kerneltest.Start(t, kerneltest.Options{Engine: eng, CheckpointBytes: checkpoint, NoCapture: true})
		ses, s, _ := open(t, k, "first", kernel.ExpiryNever, true)
		subscribe(t, ses, "$share/g/a/+", 2)
		publish(t, k, twice("a/b", "1"))
		publish(t, k, twice("a/b", "2"))
		one, two := s.next(t), s.next(t)
		received := make(chan bool, 1)
		ses.Received(one.d.PacketID, func(known bool) { received <- known })
		recv(t, received)
		other, o, _ := open(t, k, "other", kernel.ExpiryNever, true)
		subscribe(t, other, "$share/g/a/+", 2)
		ses.Close(false, nil)
		publish(t, k, twice("a/b", "3"))
		if got := o.values(t, 1); got[0] != "3" {
			t.Errorf("the other member got %v", got)
		}
		other.Close(false, nil)
		stop()

		k, stop = kerneltest.Start(t, kerneltest.Options{Engine: eng, CheckpointBytes: checkpoint, NoCapture: true})
		ses, s, _ = open(t, k, "first", kernel.ExpiryNever, false)
		rel, again := s.next(t), s.next(t)
		if rel.d.Msg != nil || rel.d.PacketID != one.d.PacketID {
			t.Errorf("PUBREL of %d was to come again, not %+v", one.d.PacketID, rel.d)
		}
		if again.d.PacketID != two.d.PacketID || !again.d.Redelivered || string(again.msg.Value) != "2" {
			t.Errorf("delivery %d was to come again, not %+v", two.d.PacketID, again.d)
		}
		// Begun with a session that ends, a delivery ends with it.
		if err := k.EndSession(context.Background(), "/", "first"); err != nil {
			t.Fatal(err)
		}
		_, o, _ = open(t, k, "other", kernel.ExpiryNever, false)
		publish(t, k, twice("a/b", "4"))
		if got, want := o.values(t, 2), []string{"3", "4"}; !slices.Equal(got, want) {
			t.Errorf("the other member got %v, want %v", got, want)
		}
		ses.Close(false, nil)
		stop()
	}
}

// A member is handed no more at a time than its client takes, and the next when the client has
// acknowledged one, or one has expired.
func TestSharedAtQoS2IsHandedOverAsTheClientTakesIt(t *testing.T) {
	now := clock.NewVirtual(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	k, stop := kerneltest.Start(t, kerneltest.Options{NoCapture: true, Time: now})
	defer stop()
	queued := func() int64 {
		t.Helper()
		q, err := k.Queue("/", "$share/g/a/+", 0)
		if err != nil {
			t.Fatal(err)
		}
		return q.Ready + q.Unacked
	}
	ses, s, _ := open(t, k, "c", kernel.ExpiryNever, true) // takes 20
	subscribe(t, ses, "$share/g/a/+", 2)
	const n = 70
	for i := range n {
		p := twice("a/b", fmt.Sprint(i))
		if 40 <= i && i < 50 {
			p.Msg.ExpiresAt = now.Now().UnixMilli() + 1000
		}
		publish(t, k, p)
	}
	begun := make([]got, 20)
	for i := range begun {
		begun[i] = s.next(t)
	}
	kerneltest.Until(t, "what the client does not take stays in the queue", func() bool { return queued() == n-20 })

	ses.Close(false, nil) // who is away is handed nothing
	ses, s, _ = open(t, k, "c", kernel.ExpiryNever, false)
	for i := range begun {
		if g := s.next(t); !g.d.Redelivered || g.d.PacketID != begun[i].d.PacketID {
			t.Fatalf("delivery %d came as %+v", i, g.d)
		}
	}
	if queued() != n-20 {
		t.Errorf("%d are left in the queue", queued())
	}
	now.Advance(2 * time.Second) // 40 to 49 are never delivered
	for _, g := range begun {
		ses.Ack(g.d.PacketID, true)
	}
	for i := 20; i < n; i++ {
		if i == 40 {
			i = 50
		}
		g := s.next(t)
		if string(g.msg.Value) != fmt.Sprint(i) {
			t.Fatalf("got %s, want %d", g.msg.Value, i)
		}
		ses.Ack(g.d.PacketID, i%2 == 0) // to refuse one is to be done with it, too
	}
	kerneltest.Until(t, "nothing is left", func() bool { return queued() == 0 })
}
