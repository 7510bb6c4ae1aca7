package kernel_test

import (
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
)

// A retained message goes to who is subscribed before its log has it. Who subscribes in
// between gets it too, as retained; behind a disk that hangs, without it, after a while.
func TestRetainedMessageOnItsWay(t *testing.T) {
	link := clock.NewVirtual(time.Now())
	k, slow := kerneltest.OpenSlow(t, kerneltest.Options{Link: link})
	early, saw, _ := open(t, k, "early", 0, true)
	subscribe(t, early, "state", 0)
	retain := func(value string) {
		p := mqtt("state", value)
		p.Namespace, p.Msg.QoS, p.Msg.Retain = "/", 0, true
		if err := k.Publish(&p); err != nil {
			t.Fatal(err)
		}
		if got := saw.next(t); string(got.msg.Value) != value {
			t.Fatalf("got %q, want %q", got.msg.Value, value)
		}
	}
	late := func(client string) (*sink, chan bool) {
		ses, s, _ := open(t, k, client, 0, true)
		subscribe(t, ses, "state", 0)
		done := make(chan bool, 1)
		go func() {
			ses.Retained(kernel.Subscription{Filter: "state"})
			done <- true
		}()
		kerneltest.Until(t, client+" waits", func() bool { return k.AwaitsRetained() || len(done) > 0 })
		return s, done
	}

	slow.Hold()
	retain("one")
	s, done := late("b")
	slow.Release()
	recv(t, done)
	if g := s.next(t); string(g.msg.Value) != "one" || !g.d.Retain {
		t.Errorf("got %q, retained %v", g.msg.Value, g.d.Retain)
	}

	slow.Hold()
	retain("two")
	s, done = late("c")
	link.Advance(kernel.RetainWait)
	recv(t, done)
	if g := s.next(t); string(g.msg.Value) != "one" {
		t.Errorf("got %q", g.msg.Value)
	}

	// Time stands still: who comes now is not held up by a disk that is known to hang.
	retain("three")
	ses, s, _ := open(t, k, "d", 0, true)
	subscribe(t, ses, "state", 0)
	ses.Retained(kernel.Subscription{Filter: "state"})
	if g := s.next(t); string(g.msg.Value) != "one" {
		t.Errorf("got %q", g.msg.Value)
	}
}
