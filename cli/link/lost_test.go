package link_test

import (
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
