package kernel_test

import (
	"context"
	"testing"

	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/message"
)

// acker acknowledges what its session is delivered.
type acker struct {
	ses *kernel.Session
	got chan struct{}
}

func (a *acker) Deliver(d *kernel.Delivery) bool {
	a.ses.Ack(d.PacketID, true)
	<-a.got
	return true
}
func (a *acker) Gone(kernel.GoneReason) {}

func BenchmarkQoS1(b *testing.B) {
	k := kerneltest.Open(b, kerneltest.Options{NoCapture: true})
	a := &acker{got: make(chan struct{}, 20)}
	var err error
	a.ses, _, err = k.OpenSession(context.Background(), kernel.SessionSpec{Namespace: "/", ClientID: "c", Clean: true, ReceiveMaximum: 100, Sink: a})
	if err != nil {
		b.Fatal(err)
	}
	a.ses.Start()
	if _, errs := a.ses.Subscribe(context.Background(), []kernel.Subscription{{Filter: "a/+", QoS: 1}}); errs[0] != nil {
		b.Fatal(errs[0])
	}
	w := newWindow(b, 20)
	p := kernel.Publish{Namespace: "/", Msg: message.Message{Source: message.MQTT, Address: "a/b", Value: make([]byte, 256), QoS: 1}, Reply: w}
	b.ReportAllocs()
	for b.Loop() {
		a.got <- struct{}{}
		w.take()
		p.Msg.Time = 0
		k.Publish(&p)
	}
	w.drain()
}
