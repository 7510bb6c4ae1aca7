package amqp

import (
	"fmt"
	"strings"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/robustmq/rmq/broker/kernel/kerneltest"
)

// While its own publishes wait for the disk, a connection is heard: what it acknowledges
// reaches the queue, and gives it the next delivery. When it publishes more than may wait it is
// told connection.blocked, and when there is room all is confirmed, in order.
func TestPublishesThatWaitDoNotStopTheReader(t *testing.T) {
	k, slow := kerneltest.OpenSlow(t, kerneltest.Options{})
	h := startOn(t, k)
	conn := h.dial()
	blocked := conn.NotifyBlocked(make(chan amqp091.Blocking, 10))
	ch := open(t, conn)
	confirms(t, ch)
	declare(t, ch, "work", nil)
	for i := range 2 {
		confirmed(t, ch, "", "work", fmt.Sprint(i))
	}
	if err := ch.Qos(1, 0, false); err != nil {
		t.Fatal(err)
	}
	ds := consume(t, ch, "work", false)
	first := next(t, ds)

	slow.Hold()
	kerneltest.Crowd(t, k, kerneltest.Nobody{})
	acks := ch.NotifyPublish(make(chan amqp091.Confirmation, 1000))
	const n, size = 50, 128 << 10 // beyond waitingMax
	for i := range n {
		publish(t, ch, "", "work", strings.Repeat(fmt.Sprint(i%10), size))
	}
	select {
	case b := <-blocked:
		if !b.Active {
			t.Errorf("told %+v", b)
		}
	case <-time.After(patience):
		t.Fatal("not told connection.blocked")
	}
	if got := h.s.Stats().WaitingBytes.Load(); got < waitingMax {
		t.Errorf("%d bytes wait", got)
	}
	kerneltest.Handed(t, k, "basic.ack", func() {
		if err := first.Ack(false); err != nil {
			t.Fatal(err)
		}
	})
	for range 3 { // the third entry has it, whatever publishes wait
		slow.Step()
	}
	if d := next(t, ds); string(d.Body) != "1" {
		t.Errorf("delivered %.10q", d.Body)
	}
	if got := len(acks); got != 0 {
		t.Errorf("%d publishes are confirmed", got)
	}

	slow.Release()
	for i := range n {
		select {
		case c := <-acks:
			if !c.Ack || c.DeliveryTag != uint64(3+i) {
				t.Fatalf("confirm %d: %+v", i, c)
			}
		case <-time.After(patience):
			t.Fatalf("%d of %d were confirmed", i, n)
		}
	}
	select {
	case b := <-blocked:
		if b.Active {
			t.Errorf("told %+v", b)
		}
	case <-time.After(patience):
		t.Fatal("not told connection.unblocked")
	}
}
