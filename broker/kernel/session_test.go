package kernel_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/message"
)

func open(t *testing.T, k *kernel.Kernel, client string, expiry uint32, clean bool) (*kernel.Session, *sink, bool) {
	t.Helper()
	s := newSink()
	ses, present, err := k.OpenSession(context.Background(), kernel.SessionSpec{
		Namespace: "/", ClientID: client, Clean: clean, Expiry: expiry, ReceiveMaximum: 20, Sink: s,
	})
	if err != nil {
		t.Fatal(err)
	}
	ses.Start()
	return ses, s, present
}

func subscribe(t *testing.T, s *kernel.Session, filter string, qos uint8) {
	t.Helper()
	_, errs := s.Subscribe(context.Background(), []kernel.Subscription{{Filter: filter, QoS: qos}})
	if errs[0] != nil {
		t.Fatal(errs[0])
	}
}

func TestSessionReceivesAtTheLowerQoS(t *testing.T) {
	k := kerneltest.Open(t, kerneltest.Options{NoCapture: true})
	for _, expiry := range []uint32{0, 60} {
		for sub := range uint8(3) {
			for pub := range uint8(3) {
				ses, s, _ := open(t, k, fmt.Sprintf("c%d%d%d", expiry, sub, pub), expiry, true)
				subscribe(t, ses, "a/+", sub)
				m := mqtt("a/b", "x")
				m.Msg.QoS = pub
				if r := publish(t, k, m); r.Subscribers == 0 {
					t.Fatal("no subscriber")
				}
				g := s.next(t)
				if g.d.QoS != min(sub, pub) || (g.d.PacketID == 0) != (g.d.QoS == 0) {
					t.Errorf("published %d, subscribed %d: got QoS %d, packet id %d", pub, sub, g.d.QoS, g.d.PacketID)
				}
				ses.Close(false, nil)
				if _, err := k.Queue("/", "x", 0); err == nil {
					t.Fatal("?")
				}
				_ = k.EndSession(context.Background(), "/", fmt.Sprintf("c%d%d%d", expiry, sub, pub))
			}
		}
	}
}

func TestDurableSessionIsSentAgainWhatItDidNotAcknowledge(t *testing.T) {
	eng := keep{newMem(t)}
	for _, checkpoint := range []int{1 << 30, 1} {
		k, stop := kerneltest.Start(t, kerneltest.Options{Engine: eng, CheckpointBytes: checkpoint, NoCapture: true})
		ses, s, _ := open(t, k, "dev1", kernel.ExpiryNever, true)
		subscribe(t, ses, "a/#", 2)
		for i := range 3 {
			publish(t, k, mqtt("a/b", fmt.Sprint(i)))
		}
		two := mqtt("a/c", "two")
		two.Msg.QoS = 2
		publish(t, k, two)
		for range 4 {
			g := s.next(t)
			switch string(g.msg.Value) {
			case "0":
				ses.Ack(g.d.PacketID, true)
			case "two":
				ses.Received(g.d.PacketID, func(known bool) {
					if !known {
						t.Error("PUBREC for an unknown delivery")
					}
				})
			}
		}
		publish(t, k, mqtt("none", "x")) // all of the above is applied
		ses.Close(false, nil)
		publish(t, k, mqtt("a/d", "offline"))
		stop()

		k, stop = kerneltest.Start(t, kerneltest.Options{Engine: eng, CheckpointBytes: checkpoint, NoCapture: true})
		_, s, present := open(t, k, "dev1", kernel.ExpiryNever, false)
		if !present {
			t.Fatal("the session is gone")
		}
		var seen []string
		for range 4 {
			g := s.next(t)
			switch {
			case g.d.Msg == nil:
				seen = append(seen, "PUBREL")
			case g.d.Redelivered:
				seen = append(seen, string(g.msg.Value)+" again")
			default:
				seen = append(seen, string(g.msg.Value))
			}
		}
		if got, want := fmt.Sprint(seen), "[1 again 2 again PUBREL offline]"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		stop()
	}
}

func TestTakeover(t *testing.T) {
	k := kerneltest.Open(t, kerneltest.Options{NoCapture: true})
	for _, expiry := range []uint32{0, 60} {
		first, s, _ := open(t, k, "c", expiry, true)
		subscribe(t, first, "a", 1)
		second, _, present := open(t, k, "c", expiry, false)
		if present != (expiry > 0) {
			t.Errorf("expiry %d: present %v", expiry, present)
		}
		if r := recv(t, s.gone); r != kernel.GoneTakenOver {
			t.Errorf("told %v", r)
		}
		first.Close(true, nil)
		second.Close(false, nil)
	}
}

func TestRetainedMessages(t *testing.T) {
	eng := keep{newMem(t)}
	k, stop := kerneltest.Start(t, kerneltest.Options{Engine: eng, CheckpointBytes: 1})
	for i := range 10 {
		p := mqtt(fmt.Sprintf("state/%d", i), fmt.Sprint(i))
		p.Msg.Retain = true
		publish(t, k, p)
	}
	none := mqtt("state/3", "")
	none.Msg.Retain = true
	publish(t, k, none)
	stop()
	k, stop = kerneltest.Start(t, kerneltest.Options{Engine: eng})
	defer stop()
	ses, s, _ := open(t, k, "c", 0, true)
	for qos := range uint8(2) {
		if err := ses.Retained(kernel.Subscription{Filter: "state/+", QoS: qos}); err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for range 9 {
			g := s.next(t)
			if !g.d.Retain || g.d.QoS != qos {
				t.Errorf("retain %v, QoS %d", g.d.Retain, g.d.QoS)
			}
			seen[g.msg.Address] = true
		}
		if len(seen) != 9 || seen["state/3"] {
			t.Errorf("QoS %d: got %v", qos, seen)
		}
	}
}

func TestWillAndSessionExpireByBrokerTime(t *testing.T) {
	vc := clock.NewVirtual(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	k := kerneltest.Open(t, kerneltest.Options{Time: vc, NoCapture: true})
	watch, s, _ := open(t, k, "watch", 0, true)
	subscribe(t, watch, "will/#", 1)
	w := newSink()
	dying, _, err := k.OpenSession(context.Background(), kernel.SessionSpec{
		Namespace: "/", ClientID: "dying", Clean: true, Expiry: 3600, ReceiveMaximum: 10, Sink: w,
		Will: &kernel.Will{Msg: message.Message{Source: message.MQTT, Address: "will/dying", Value: []byte("gone"), QoS: 1}, Delay: 60},
	})
	if err != nil {
		t.Fatal(err)
	}
	dying.Close(true, nil)
	vc.Advance(59 * time.Second)
	select {
	case g := <-s.ch:
		t.Fatalf("too early: %+v", g)
	default:
	}
	vc.Advance(2 * time.Second)
	if g := s.next(t); string(g.msg.Value) != "gone" {
		t.Errorf("got %q", g.msg.Value)
	}
	vc.Advance(time.Hour)
	if _, _, present := open(t, k, "dying", 3600, false); present {
		t.Error("the session outlived its expiry")
	}
}

func TestQoS2PublishIsStoredOnce(t *testing.T) {
	k := kerneltest.Open(t, kerneltest.Options{})
	ses, _, _ := open(t, k, "c", 60, true)
	p := mqtt("once/a", "x")
	p.Msg.QoS, p.From, p.PacketID = 2, ses, 7
	publish(t, k, p)
	publish(t, k, p)
	if got := records(t, k, "once", ""); len(got) != 1 {
		t.Errorf("stored %v", got)
	}
	done := make(chan bool, 1)
	ses.Release(7, func(known bool) { done <- known })
	if !recv(t, done) {
		t.Error("PUBREL for an unknown publish")
	}
	publish(t, k, p)
	if got := records(t, k, "once", ""); len(got) != 2 {
		t.Errorf("stored %v", got)
	}
}
