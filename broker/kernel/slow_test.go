package kernel_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/message"
)

// answers notes the outcomes of publishes in the order in which they come.
type answers struct{ ch chan answer }

type answer struct {
	tag uint64
	err error
}

func newAnswers() *answers { return &answers{make(chan answer, 1<<16)} }

func (a *answers) Published(tag uint64, r kernel.PublishResult) { a.ch <- answer{tag, r.Err} }

// inOrder takes n answers, which must be those to the publishes from first on.
func (a *answers) inOrder(t *testing.T, first, n int) {
	t.Helper()
	for i := range n {
		if got := recv(t, a.ch); got.tag != uint64(first+i) || got.err != nil {
			t.Fatalf("answer to publish %d: %v; want that to %d, and no error", got.tag, got.err, first+i)
		}
	}
}

// shardStats is how the synced shard stands.
func shardStats(k *kernel.Kernel) kernel.ShardStats { return k.ShardStats()[0] }

// queueMax is what a shard lets wait.
const queueMax = 32 << 20

// While the disk hangs, publishes wait up to a bound, and then are refused at the door, at
// once. What takes away or gives leave is let in all the time, and is in the next entry,
// however many publishes wait.
func TestPublishesThatWaitHoldNothingElseBack(t *testing.T) {
	vc := clock.NewVirtual(time.Now())
	k, slow := kerneltest.OpenSlow(t, kerneltest.Options{Time: vc})
	ctx := t.Context()
	attach := func(name string, messages int, credit int64) (*kernel.Attachment, *sink) {
		if _, _, err := k.DeclareQueue(ctx, queueSpec(name)); err != nil {
			t.Fatal(err)
		}
		for i := range messages {
			publish(t, k, kernel.Publish{ViaExchange: true, Key: name, Msg: message.Message{Source: message.AMQP, Address: name, Value: fmt.Append(nil, i)}})
		}
		s := newSink()
		att, err := k.Attach(ctx, kernel.AttachSpec{Namespace: "/", Queue: name, Credit: credit, Sink: s})
		if err != nil {
			t.Fatal(err)
		}
		return att, s
	}
	work, works := attach("work", 3, 1)
	left, _ := attach("left", 1, 1)
	attach("old", 1, 1)
	ses, _, err := k.OpenSession(ctx, kernel.SessionSpec{Namespace: "/", ClientID: "away", Expiry: 60, ReceiveMaximum: 10, Sink: newSink()})
	if err != nil {
		t.Fatal(err)
	}
	ses.Close(false, nil)
	first := works.next(t)

	slow.Hold()
	w := newAnswers()
	n := kerneltest.Crowd(t, k, w)
	if got := n * kerneltest.CrowdBytes; got < queueMax || got > queueMax+4<<20 {
		t.Errorf("%d bytes were let in, of %d", got, queueMax)
	}
	queued := shardStats(k)
	for range 100 {
		p := mqtt("s", "one more")
		p.Namespace, p.Reply = "/", w
		if err := k.Publish(&p); !fault.Is(err, fault.Exhausted) {
			t.Fatalf("beyond the bound: %v", err)
		}
	}
	zero := mqtt("s", "nobody waits for this")
	zero.Namespace, zero.Msg.QoS = "/", 0
	if err := k.Publish(&zero); err != nil || k.Stats().Shed.Load() != 1 {
		t.Errorf("QoS 0 beyond the bound: %v, %d shed", err, k.Stats().Shed.Load())
	}
	if s := shardStats(k); s.Queued != queued.Queued || !s.Crowded || k.Crowded() != 1 {
		t.Errorf("what waits has grown from %d to %d bytes; crowded %v", queued.Queued, s.Queued, s.Crowded)
	}

	// Each of these is handed in before the next is, and none waits to be.
	handed := func(what string, do func()) { t.Helper(); kerneltest.Handed(t, k, what, do) }
	ended := make(chan error, 2)
	handed("settle", func() { work.Settle(first.d.No, false, kernel.Accept) })
	handed("credit", func() { work.Credit(1) })
	handed("detach", func() { go func() { ended <- left.Detach(ctx, false) }() })
	handed("delete", func() {
		go func() { _, err := k.DeleteQueue(ctx, "/", "old", 0, false, false); ended <- err }()
	})
	passed := make(chan struct{})
	handed("expiry", func() { go func() { vc.Advance(2 * time.Minute); close(passed) }() })

	// Two entries were in the disk's hands by then; the third has all of that.
	for range 3 {
		slow.Step()
	}
	if got := works.next(t); string(got.msg.Value) != "1" {
		t.Errorf("delivered %q", got.msg.Value)
	}
	for range 2 {
		if err := recv(t, ended); err != nil {
			t.Error(err)
		}
	}
	if len(k.Sessions("/")) > 0 {
		t.Error("the session has not expired")
	}
	if _, err := k.Queue("/", "old", 0); !fault.Is(err, fault.NotFound) {
		t.Errorf("the deleted queue: %v", err)
	}
	if got := len(w.ch); got > n/2 {
		t.Errorf("%d of %d publishes were written before", got, n)
	}

	// Who waits is let in when there is room.
	later := make(chan error, 1)
	go func() {
		p := mqtt("s", "last")
		p.Namespace, p.Reply, p.Tag = "/", w, uint64(n)
		later <- k.PublishWait(ctx, &p)
	}()
	slow.Release()
	recv(t, passed)
	if err := recv(t, later); err != nil {
		t.Fatal(err)
	}
	w.inOrder(t, 0, n+1)
	if got := records(t, k, "s", ""); len(got) != n+1 {
		t.Errorf("%d records are there, %d were acknowledged", len(got), n+1)
	}
	if s := shardStats(k); s.Queued != 0 || s.Crowded || k.Crowded() != 0 {
		t.Errorf("when all is written: %+v", s)
	}
	_, present, err := k.OpenSession(ctx, kernel.SessionSpec{Namespace: "/", ClientID: "away", Expiry: 60, ReceiveMaximum: 10, Sink: newSink()})
	if err != nil || present {
		t.Errorf("the session that expired is present: %v, %v", present, err)
	}
}

// What the log has set aside for a full device is not for publishes: those that were let in
// before wait until the device gives space again, and the rest goes on.
func TestPublishesStayOffTheLogsReserve(t *testing.T) {
	k, slow := kerneltest.OpenSlow(t, kerneltest.Options{})
	ctx := t.Context()
	if _, _, err := k.DeclareQueue(ctx, queueSpec("work")); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		publish(t, k, kernel.Publish{ViaExchange: true, Key: "work", Msg: message.Message{Source: message.AMQP, Address: "work", Value: fmt.Append(nil, i)}})
	}
	s := newSink()
	att, err := k.Attach(ctx, kernel.AttachSpec{Namespace: "/", Queue: "work", Credit: 1, Refill: true, Sink: s})
	if err != nil {
		t.Fatal(err)
	}
	first := s.next(t)

	slow.Hold()
	w := newAnswers()
	const n = 100
	for i := range n {
		p := mqtt("s", string(bytes.Repeat([]byte("x"), kerneltest.CrowdBytes)))
		p.Namespace, p.Reply, p.Tag = "/", w, uint64(i)
		if err := k.Publish(&p); err != nil {
			t.Fatal(err)
		}
	}
	slow.SetFull(true)
	p := mqtt("s", "refused")
	p.Namespace, p.Reply = "/", w
	if err := k.Publish(&p); !fault.Is(err, fault.Full) {
		t.Fatalf("on a full device: %v", err)
	}
	att.Settle(first.d.No, false, kernel.Accept)
	before := slow.Step() + slow.Step() // what was proposed by then
	if got := slow.Step(); got > 4<<10 {
		t.Errorf("%d bytes were written to the reserve", got)
	}
	if got := s.next(t); string(got.msg.Value) != "1" {
		t.Errorf("delivered %q", got.msg.Value)
	}
	if got := len(w.ch) * kerneltest.CrowdBytes; got > before {
		t.Errorf("%d bytes of publishes were answered, %d written", got, before)
	}
	if s := shardStats(k); !s.Gated || s.Queued < n*kerneltest.CrowdBytes/2 {
		t.Errorf("what waits for the device: %+v", s)
	}

	slow.Release()
	slow.SetFull(false)
	w.inOrder(t, 0, n)
	if got := records(t, k, "s", ""); len(got) != n {
		t.Errorf("%d records are there, %d were acknowledged", len(got), n)
	}
}

// A transaction is one entry, its settlements included, and waits at the door like everybody.
func TestCommitWaitsForRoom(t *testing.T) {
	k, slow := kerneltest.OpenSlow(t, kerneltest.Options{})
	slow.Hold()
	w := newAnswers()
	n := kerneltest.Crowd(t, k, w)
	p := mqtt("s", "in a transaction")
	p.Namespace = "/"
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := k.Commit(cancelled, []*kernel.Publish{&p}, nil); !fault.Is(err, fault.Timeout) {
		t.Errorf("without room: %v", err)
	}
	done := make(chan error, 1)
	go func() {
		p := mqtt("s", "in a transaction")
		p.Namespace = "/"
		_, err := k.Commit(t.Context(), []*kernel.Publish{&p}, nil)
		done <- err
	}()
	slow.Release()
	if err := recv(t, done); err != nil {
		t.Fatal(err)
	}
	w.inOrder(t, 0, n)
	if got := records(t, k, "s", ""); len(got) != n+1 {
		t.Errorf("%d records are there, want %d", len(got), n+1)
	}
}
