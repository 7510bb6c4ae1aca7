package kernel_test

import (
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/cluster/transport"
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
			done <- ses.Retained(kernel.Subscription{Filter: "state"}) == nil
		}()
		kerneltest.Until(t, client+" waits", func() bool { return k.AwaitsRetained() || len(done) > 0 })
		return s, done
	}

	slow.Hold()
	retain("one")
	s, done := late("b")
	slow.Release()
	if !recv(t, done) {
		t.Fatal("it is not known what is retained")
	}
	if g := s.next(t); string(g.msg.Value) != "one" || !g.d.Retain {
		t.Errorf("got %q, retained %v", g.msg.Value, g.d.Retain)
	}

	slow.Hold()
	retain("two")
	s, done = late("c")
	link.Advance(kernel.RetainWait)
	if !recv(t, done) {
		t.Fatal("it is not known what is retained")
	}
	if g := s.next(t); string(g.msg.Value) != "one" {
		t.Errorf("got %q", g.msg.Value)
	}

	// Time stands still: who comes now is not held up by a disk that is known to hang.
	retain("three")
	ses, s, _ := open(t, k, "d", 0, true)
	subscribe(t, ses, "state", 0)
	if err := ses.Retained(kernel.Subscription{Filter: "state"}); err != nil {
		t.Fatal(err)
	}
	if g := s.next(t); string(g.msg.Value) != "one" {
		t.Errorf("got %q", g.msg.Value)
	}
}

// What was retained on one node, and acknowledged, is sent to who asks for it on another one then,
// though that hears of it late.
func TestRetainedOnAnotherNode(t *testing.T) {
	weather := transport.NewWeather(clock.Wall{}, 1)
	c := kerneltest.StartCluster(t, 3, kerneltest.Options{NoCapture: true, Weather: weather})
	ses, s, _ := open(t, c.Node(3), "c", 0, true)
	subscribe(t, ses, "state", 0)
	by := c.Node(1)
	for _, shard := range by.ShardIDs()[1:] { // what node 3 leads it has
		if by.Leader(shard) == 3 {
			if err := by.HandOver(t.Context(), shard, 1); err != nil {
				t.Fatal(err)
			}
		}
	}
	weather.Cut(1, 3)
	weather.Cut(2, 3)
	p := mqtt("state", "new")
	p.Msg.Retain = true
	publish(t, by, p)
	done := make(chan bool, 1)
	go func() {
		done <- ses.Retained(kernel.Subscription{Filter: "state"}) == nil
	}()
	weather.Heal()
	if !recv(t, done) {
		t.Fatal("it is not known what is retained")
	}
	for g := s.next(t); !g.d.Retain; g = s.next(t) { // as it is published, too
		if string(g.msg.Value) != "new" {
			t.Errorf("delivered %q", g.msg.Value)
		}
	}
}
