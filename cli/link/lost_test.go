package link_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/cli/link"
	"github.com/robustmq/rmq/testkit"
)

// A producer of Kafka gives up what waits for a broker that is gone, and takes no more.
func TestKafkaProducerLosesItsBroker(t *testing.T) {
	b := testkit.Run(t)
	target, err := link.ParseTarget(b.Kafka() + "/orders")
	if err != nil {
		t.Fatal(err)
	}
	p, err := link.NewProducer(t.Context(), target, link.Options{LostAfter: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	answers := make(chan error, 2)
	send := func() error {
		return p.Send(t.Context(), &link.Message{Value: []byte("x")}, func(_ link.Receipt, err error) { answers <- err })
	}
	if err := send(); err != nil {
		t.Fatal(err)
	}
	if err := <-answers; err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := send(); err != nil {
		t.Fatal(err)
	}
	if err := <-answers; !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), target.Address) {
		t.Errorf("what waited: %v", err)
	}
	if err := send(); !fault.Is(err, fault.Unavailable) {
		t.Errorf("another one: %v", err)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// A producer that is closed in haste waits for no acknowledgement: what has none is told so.
func TestProducerClosesInHaste(t *testing.T) {
	b := testkit.Run(t)
	target, err := link.ParseTarget(b.MQTT() + "/orders")
	if err != nil {
		t.Fatal(err)
	}
	p, err := link.NewProducer(t.Context(), target, link.Options{ClientID: "hasty"})
	if err != nil {
		t.Fatal(err)
	}
	b.Conn("hasty").DropNext(testkit.PUBACK)
	one := uint8(1)
	answer := make(chan error, 1)
	if err := p.Send(t.Context(), &link.Message{Value: []byte("x"), QoS: &one}, func(_ link.Receipt, err error) { answer <- err }); err != nil {
		t.Fatal(err)
	}
	at, hurry := context.WithCancel(t.Context())
	hurry()
	if err := p.Close(at); err != nil {
		t.Error(err)
	}
	if err := <-answer; !fault.Is(err, fault.Unavailable) {
		t.Errorf("what waited: %v", err)
	}
}
