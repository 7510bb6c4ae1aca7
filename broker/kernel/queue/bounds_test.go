package queue

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/robustmq/rmq/broker/fault"
)

func fill(q *Queue, n int) {
	var eff []Effect
	for i := range n {
		eff, _ = q.Push(1, &Message{Ref: Ref{1, int64(i)}, Size: 1}, eff[:0])
	}
}

func countKind(eff []Effect, k Kind) (n int) {
	for _, e := range eff {
		if e.Kind == k {
			n++
		}
	}
	return n
}

// One command never does more than a step; Ticks do the rest.
func TestStepMax(t *testing.T) {
	const n = 3*StepMax + 5
	t.Run("deliver", func(t *testing.T) {
		q := New(NoLimits())
		fill(q, n)
		eff, _ := q.Attach(2, AttachSpec{ID: 1, Credit: CreditMax, NoAck: true}, nil)
		total, steps := countKind(eff, Deliver), 1
		for ; q.Busy(); steps++ {
			eff = q.Tick(2, StepMax, eff[:0])
			total += countKind(eff, Deliver)
		}
		if total != n || steps != 4 || !q.Empty() {
			t.Fatalf("%d delivered in %d steps, %+v", total, steps, q.Stats())
		}
	})
	t.Run("expire", func(t *testing.T) {
		lim := NoLimits()
		lim.MessageTTL = 10
		q := New(lim)
		fill(q, n)
		steps := 0
		for ; q.NextExpiry() != 0 && q.NextExpiry() <= 50; steps++ {
			if eff := q.Tick(50, StepMax, nil); len(eff) > StepMax {
				t.Fatal(len(eff))
			}
		}
		if steps != 4 || !q.Empty() {
			t.Fatalf("%d steps, %+v", steps, q.Stats())
		}
	})
	t.Run("trim", func(t *testing.T) {
		q := New(NoLimits())
		fill(q, n)
		lim := NoLimits()
		lim.MaxLength = 5
		eff := q.SetLimits(2, lim, nil)
		steps := 1
		for ; q.Busy(); steps++ {
			eff = q.Tick(2, StepMax, eff[:0])
		}
		if steps != 3 || q.Stats().Ready != 5 {
			t.Fatalf("%d steps, %+v", steps, q.Stats())
		}
	})
	t.Run("close", func(t *testing.T) {
		q := New(NoLimits())
		fill(q, n)
		q.Attach(2, AttachSpec{ID: 1, Credit: 10}, nil)
		eff := q.Close(3, nil)
		if eff[0].Kind != Gone || eff[0].Attachment != 1 {
			t.Fatalf("%+v", eff[0])
		}
		drops := countKind(eff, Drop)
		first := drops
		l, err := Load(1, seq(save(q)))
		if err != nil {
			t.Fatal(err)
		}
		for q.Busy() {
			eff = q.Tick(2, StepMax, eff[:0])
			drops += countKind(eff, Drop)
		}
		if drops != n || !q.Empty() {
			t.Fatalf("%d drops", drops)
		}
		refs := 0
		l.BrowseAll(func(Browsed) bool { refs++; return true })
		left := 0
		for l.Busy() {
			left += len(l.Tick(2, StepMax, nil))
		}
		if refs != left || refs != n-first {
			t.Fatalf("%d references, %d drops", refs, left)
		}
	})
}

// At HeldMax the queue waits for what it dead-lettered to be confirmed.
func TestHeldMax(t *testing.T) {
	lim := NoLimits()
	lim.MaxLength, lim.DeadLetter = 0, true
	q := New(lim)
	fill(q, HeldMax)
	if s := q.Stats(); s.Held != HeldMax {
		t.Fatalf("%+v", s)
	}
	if _, ok := q.Push(1, &Message{}, nil); ok {
		t.Fatal("a push that would dead-letter beyond the bound was accepted")
	}
	lim.MaxLength, lim.MessageTTL = None, 5
	q.SetLimits(1, lim, nil)
	q.Push(1, &Message{}, nil)
	if at := q.NextExpiry(); at != 0 {
		t.Fatalf("expiry asked for at %d though nothing can expire", at)
	}
	if eff := q.Tick(10, StepMax, nil); len(eff) != 0 {
		t.Fatalf("%+v", eff)
	}
	eff := q.Confirmed(10, 1, nil)
	if len(eff) != 2 || eff[0].Reason != DeadLettered || eff[1].Kind != DeadLetter || eff[1].Reason != Expired {
		t.Fatalf("%+v", eff)
	}
}

func TestWindowMax(t *testing.T) {
	q := New(NoLimits())
	q.Attach(0, AttachSpec{ID: 1, Credit: CreditMax}, nil)
	fill(q, WindowMax+10)
	if s := q.Stats(); s.Unacked != WindowMax || s.Ready != 10 {
		t.Fatalf("%+v", s)
	}
	eff, _ := q.Settle(0, 1, 5, true, Accept, nil)
	if countKind(eff, Deliver) != 5 {
		t.Fatal(len(eff))
	}
}

// The default limit of RabbitMQ is 20, which makes 21 deliveries. A release does not count.
func TestDeliveryLimit(t *testing.T) {
	lim := NoLimits()
	lim.DeliveryLimit, lim.DeadLetter = 20, true
	q := New(lim)
	q.Attach(0, AttachSpec{ID: 1, Credit: CreditMax}, nil)
	eff, _ := q.Push(0, &Message{}, nil)
	for range 100 {
		eff, _ = q.Settle(0, 1, eff[0].No, false, Release, nil)
	}
	deliveries := 1
	for eff[0].Kind == Deliver {
		if eff[0].Failed != uint32(deliveries-1) || !eff[0].Redelivered {
			t.Fatalf("%+v", eff[0])
		}
		eff, _ = q.Settle(0, 1, eff[0].No, false, Requeue, nil)
		deliveries++
	}
	if e := eff[0]; e.Kind != DeadLetter || e.Reason != DeliveryLimit || e.Count != 121 || deliveries != 22 {
		t.Fatalf("%+v after %d", e, deliveries-1)
	}
}

func TestZeroTTL(t *testing.T) {
	lim := NoLimits()
	lim.MessageTTL = 0
	q := New(lim)
	if eff, ok := q.Push(7, &Message{}, nil); !ok || len(eff) != 1 || eff[0].Reason != Expired {
		t.Fatalf("nobody waits: %v %+v", ok, eff)
	}
	q.Attach(7, AttachSpec{ID: 1, Credit: 1}, nil)
	if eff, _ := q.Push(7, &Message{}, nil); len(eff) != 1 || eff[0].Kind != Deliver {
		t.Fatalf("a consumer waits: %+v", eff)
	}
	if eff, _ := q.Push(7, &Message{ExpiresAt: 6}, nil); len(eff) != 1 || eff[0].Reason != Expired {
		t.Fatalf("void on arrival: %+v", eff)
	}
}

func TestAttachRefused(t *testing.T) {
	q := New(NoLimits())
	q.Attach(0, AttachSpec{ID: 1, Exclusive: true}, nil)
	for _, tt := range []struct {
		spec AttachSpec
		kind fault.Kind
	}{
		{AttachSpec{ID: 0}, fault.Invalid},
		{AttachSpec{ID: 1}, fault.Exists},
		{AttachSpec{ID: 2}, fault.Locked},
	} {
		if _, err := q.Attach(0, tt.spec, nil); !fault.Is(err, tt.kind) {
			t.Errorf("%+v: %v", tt.spec, err)
		}
	}
	if _, err := q.Attach(0, AttachSpec{ID: 3, Pull: true}, nil); err != nil {
		t.Errorf("basic.get beside an exclusive consumer: %v", err)
	}
	if _, _, err := q.Get(0, 9, nil); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
	if _, _, err := q.Get(0, 1, nil); !fault.Is(err, fault.Conflict) {
		t.Error(err)
	}
	if _, err := q.Resume(9, 0, nil); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
}

// One delivery that is never settled does not keep what came after it in memory.
func TestStuckDelivery(t *testing.T) {
	q := New(NoLimits())
	q.Attach(0, AttachSpec{ID: 1, Credit: CreditMax}, nil)
	var eff []Effect
	for i := range 200_000 {
		eff, _ = q.Push(0, &Message{}, eff[:0])
		if i > 0 {
			eff, _ = q.Settle(0, 1, uint64(i+1), false, Accept, eff[:0])
		}
	}
	if w := cap(q.attachments[0].window); w > 256 {
		t.Errorf("window of %d for one delivery", w)
	}
	if p := len(q.lanes[0].pages); p > 2 {
		t.Errorf("%d pages for one message", p)
	}
	eff, n := q.Settle(0, 1, 1, false, Requeue, eff[:0])
	if n != 1 || eff[0].Seq != 1 {
		t.Errorf("%d %+v", n, eff)
	}
}

func TestFlowAllocatesNothing(t *testing.T) {
	q := New(NoLimits())
	q.Attach(0, AttachSpec{ID: 1, Credit: CreditMax, Refill: true}, nil)
	eff := make([]Effect, 0, 8)
	m := Message{Size: 10}
	no := uint64(0)
	if n := testing.AllocsPerRun(100_000, func() {
		no++
		eff, _ = q.Push(int64(no), &m, eff[:0])
		if no > 100 {
			eff, _ = q.Settle(int64(no), 1, no-100, false, Accept, eff[:0])
		}
	}); n != 0 {
		t.Errorf("%v allocations a message", n)
	}
}

// FuzzLoad: whatever the bytes, Load returns an error or a queue that saves to them.
func FuzzLoad(f *testing.F) {
	lim := NoLimits()
	lim.MaxPriority, lim.DeadLetter, lim.DeliveryLimit = 3, true, 1
	q := New(lim)
	add := func() {
		var buf []byte
		for _, p := range save(q) {
			buf = append(buf, byte(len(p.k)))
			buf = append(buf, p.k...)
			buf = binary.BigEndian.AppendUint16(buf, uint16(len(p.v)))
			buf = append(buf, p.v...)
		}
		f.Add(buf)
	}
	add()
	q.Attach(0, AttachSpec{ID: 1, Credit: 3, Refill: true}, nil)
	q.Attach(0, AttachSpec{ID: 2, Credit: 1, Priority: 2}, nil)
	for i := range 8 {
		q.Push(5, &Message{Ref: Ref{2, int64(i)}, Size: 9, Priority: uint8(i), ExpiresAt: int64(i) * 3}, nil)
	}
	q.Settle(6, 1, 2, false, Reject, nil)
	add()
	q.Cancel(7, 1, nil)
	q.Push(7, &Message{}, nil)
	q.Purge(8, nil)
	add()
	fill(q, 3*StepMax)
	q.Purge(8, nil)
	q.Tick(8, 0, nil)
	f.Fuzz(func(t *testing.T, b []byte) {
		var ps []pair
		for len(b) > 0 {
			n := int(b[0])
			if len(b) < n+3 {
				return
			}
			k := b[1 : 1+n]
			m := int(binary.BigEndian.Uint16(b[1+n:]))
			b = b[n+3:]
			if len(b) < m {
				return
			}
			ps = append(ps, pair{k, b[:m]})
			b = b[m:]
		}
		q, err := Load(1, seq(ps))
		if err != nil {
			return
		}
		for i := range ps[1:] {
			if bytes.Compare(ps[i].k, ps[i+1].k) >= 0 {
				t.Skip("not in order")
			}
		}
		if err := equalPairs(save(q), ps); err != nil {
			t.Fatal(err)
		}
		// It works.
		q.NextExpiry()
		eff := q.Tick(100, StepMax, nil)
		eff = q.DeadLetters(eff)
		for id := range uint64(4) {
			eff, _ = q.Resume(id, 0, eff)
			eff, _ = q.Settle(100, id, 1<<60, true, Requeue, eff)
			eff = q.Detach(100, id, Requeue, eff)
		}
		q.Push(100, &Message{Priority: 9}, nil)
		q.Close(100, nil)
		for i := 0; q.Busy() && i < 10; i++ {
			q.Tick(100, StepMax, nil)
		}
		if !q.Empty() {
			t.Fatalf("%+v", q.Stats())
		}
	})
}

// A checkpoint reads the side of a fork that stands still while the other goes on. Means
// something under the race detector.
func TestForkWhileSaving(t *testing.T) {
	q := New(NoLimits())
	q.Attach(0, AttachSpec{ID: 1, Credit: 2000, Refill: true}, nil)
	fill(q, 5000)
	for gen := uint64(1); gen < 20; gen++ {
		frozen := q
		done := make(chan []pair)
		go func() { done <- save(frozen) }()
		q = frozen.Fork(gen, gen-1)
		for i := range uint64(300) {
			q.Settle(0, 1, gen*300+i, false, Outcome(i&3), nil)
			q.Push(0, &Message{}, nil)
		}
		if err := equalPairs(<-done, save(frozen)); err != nil {
			t.Fatal(err)
		}
	}
}
