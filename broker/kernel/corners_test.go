package kernel_test

import (
	"context"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
)

// acking calls the session back from within a delivery, as adapters may.
type acking struct {
	*sink
	ses *kernel.Session
}

func (a *acking) Deliver(d *kernel.Delivery) bool {
	a.ses.Ack(1, true)
	return a.sink.Deliver(d)
}

func TestSessionMayBeCalledWhileItStarts(t *testing.T) {
	ctx := context.Background()
	k := kerneltest.Open(t, kerneltest.Options{NoCapture: true})
	s := &acking{sink: newSink()}
	ses, _, err := k.OpenSession(ctx, kernel.SessionSpec{Namespace: "/", ClientID: "c", Clean: true, ReceiveMaximum: 10, Sink: s})
	if err != nil {
		t.Fatal(err)
	}
	s.ses = ses
	subscribe(t, ses, "$share/g/a", 1)
	publish(t, k, mqtt("a", "x"))
	done := make(chan bool, 1)
	go func() { ses.Start(); done <- true }()
	recv(t, done)
	if g := s.next(t); !g.d.Shared {
		t.Errorf("delivery %+v", g.d)
	}
}

func TestUnsubscribingFromWhatOneDoesNotShareTakesItFromNobody(t *testing.T) {
	ctx := context.Background()
	k := kerneltest.Open(t, kerneltest.Options{NoCapture: true})
	one, s, _ := open(t, k, "one", 0, true)
	other, _, _ := open(t, k, "other", 0, true)
	subscribe(t, one, "$share/g/a", 1)
	for range 2 {
		if existed, err := other.Unsubscribe(ctx, []string{"$share/g/a"}); err != nil || existed[0] {
			t.Fatalf("existed %v, %v", existed, err)
		}
	}
	if err := k.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	publish(t, k, mqtt("a", "x"))
	s.next(t)
}

// Deadlines hold after a restart though nothing happens but time.
func TestSessionExpiresAfterARestartWithoutTraffic(t *testing.T) {
	vc := clock.NewVirtual(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	eng := keep{newMem(t)}
	k, stop := kerneltest.Start(t, kerneltest.Options{Engine: eng, Time: vc, NoCapture: true, CheckpointBytes: 1})
	ses, _, _ := open(t, k, "c", 3600, true)
	ses.Close(false, nil)
	stop()
	for range 2 {
		k, stop = kerneltest.Start(t, kerneltest.Options{Engine: eng, Time: vc, NoCapture: true, CheckpointBytes: 1})
		if _, ok := k.SessionInfo("/", "c"); !ok {
			t.Fatal("the session is gone")
		}
		stop()
	}
	k, stop = kerneltest.Start(t, kerneltest.Options{Engine: eng, Time: vc, NoCapture: true})
	defer stop()
	vc.Advance(2 * time.Hour)
	if _, ok := k.SessionInfo("/", "c"); ok {
		t.Error("the session outlived its expiry")
	}
}

// Who finds a queue that another is just declaring may rely on it.
func TestQueueThatIsBeingDeclaredTakesMessages(t *testing.T) {
	ctx := context.Background()
	k := kerneltest.Open(t, kerneltest.Options{NoCapture: true})
	if err := k.DeclareHalf(ctx, queueSpec("q")); err != nil {
		t.Fatal(err)
	}
	if _, created, err := k.DeclareQueue(ctx, queueSpec("q")); err != nil || created {
		t.Fatalf("created %v, %v", created, err)
	}
	publish(t, k, mqtt("q", "x"))
	if info, err := k.Queue("/", "q", 0); err != nil || info.Ready != 1 {
		t.Errorf("%d ready, %v", info.Ready, err)
	}
}

func TestDeclaringAgainCountsAsUse(t *testing.T) {
	ctx := context.Background()
	vc := clock.NewVirtual(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	k := kerneltest.Open(t, kerneltest.Options{NoCapture: true, Time: vc})
	spec := queueSpec("q")
	spec.Expires = 10_000
	for i := range 4 {
		if _, created, err := k.DeclareQueue(ctx, spec); err != nil || created != (i == 0) {
			t.Fatalf("declared %d times: created %v, %v", i, created, err)
		}
		vc.Advance(6 * time.Second)
	}
	if _, err := k.Queue("/", "q", 0); err != nil {
		t.Errorf("declared every 6 s, expires after 10: %v", err)
	}
	vc.Advance(6 * time.Second)
	if err := k.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Queue("/", "q", 0); err == nil {
		t.Error("the queue outlived its expiry")
	}
}

// A transaction that only settles is committed when that is applied.
func TestCommitWaitsForSettlements(t *testing.T) {
	ctx := context.Background()
	k := kerneltest.Open(t, kerneltest.Options{NoCapture: true})
	if _, _, err := k.DeclareQueue(ctx, queueSpec("q")); err != nil {
		t.Fatal(err)
	}
	s := newSink()
	a, err := k.Attach(ctx, kernel.AttachSpec{Namespace: "/", Queue: "q", Credit: 100, Sink: s})
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		publish(t, k, mqtt("q", "x"))
		if _, err := k.Commit(ctx, nil, []kernel.SettleOp{{Attachment: a, No: s.next(t).d.No, Outcome: kernel.Accept}}); err != nil {
			t.Fatal(err)
		}
		if info, _ := k.Queue("/", "q", 0); info.Unacked != 0 {
			t.Fatalf("%d unsettled after the commit", info.Unacked)
		}
	}
}

// A queue keeps what it was given of a stream that is deleted.
func TestDeletingAStreamTakesNothingFromQueues(t *testing.T) {
	ctx := context.Background()
	for _, checkpoint := range []int{1 << 30, 1} {
		eng := keep{newMem(t)}
		o := kerneltest.Options{Engine: eng, NoCapture: true, CheckpointBytes: checkpoint}
		k, stop := kerneltest.Start(t, o)
		if _, _, err := k.DeclareQueue(ctx, queueSpec("orders")); err != nil {
			t.Fatal(err)
		}
		st, err := k.CreateStream(ctx, kernel.StreamSpec{Namespace: "/", Address: "orders", Partitions: 1})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range []string{"one", "two"} {
			publish(t, k, mqtt("orders", v))
		}
		if q, _ := k.Queue("/", "orders", 0); q.Shard != st.Parts[0].Shard {
			t.Fatal("the queue has bodies of its own")
		}
		if err := k.DeleteStream(ctx, "/", "orders"); err != nil {
			t.Fatal(err)
		}
		get := func(want string) {
			t.Helper()
			s := newSink()
			a, err := k.Attach(ctx, kernel.AttachSpec{Namespace: "/", Queue: "orders", Credit: 1, Sink: s})
			if err != nil {
				t.Fatal(err)
			}
			g := s.next(t)
			if string(g.msg.Value) != want || g.msg.Address != "orders" {
				t.Errorf("got %+v", g.msg)
			}
			if _, err := k.Commit(ctx, nil, []kernel.SettleOp{{Attachment: a, No: g.d.No}}); err != nil {
				t.Fatal(err)
			}
			if err := a.Detach(ctx, false); err != nil {
				t.Fatal(err)
			}
		}
		get("one")
		stop()
		k, stop = kerneltest.Start(t, o)
		get("two")
		stop()
		list, err := eng.Segments().List(1)
		if err != nil {
			t.Fatal(err)
		}
		more, err := eng.Segments().List(2)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range append(list, more...) {
			if id.Log != 0 {
				t.Errorf("segment %v outlives its stream and its readers", id)
			}
		}
	}
}
