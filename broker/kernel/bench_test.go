package kernel_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/storage/filelog"
	"github.com/robustmq/rmq/broker/storage/meta"
)

// window counts outcomes down, so that a benchmark keeps a bounded number in flight.
type window struct {
	slots chan struct{}
	b     *testing.B
}

func newWindow(b *testing.B, n int) *window { return &window{make(chan struct{}, n), b} }
func (w *window) take()                     { w.slots <- struct{}{} }
func (w *window) drain() {
	for range cap(w.slots) {
		w.slots <- struct{}{}
	}
}
func (w *window) Published(_ uint64, r kernel.PublishResult) {
	if r.Err != nil {
		w.b.Error(r.Err)
	}
	<-w.slots
}
func (w *window) Appended(_ uint64, r kernel.AppendResult) {
	if r.Err != nil {
		w.b.Error(r.Err)
	}
	<-w.slots
}

// settler settles what it is delivered.
type settler struct{ done sync.WaitGroup }

func (s *settler) Deliver(d *kernel.Delivery) bool {
	d.From.Settle(d.No, false, kernel.Accept)
	s.done.Done()
	return true
}
func (s *settler) Gone(kernel.GoneReason) {}

func engines(b *testing.B, run func(b *testing.B, e storage.Engine)) {
	b.Run("memory", func(b *testing.B) { run(b, nil) })
	b.Run("sync", func(b *testing.B) {
		e, err := filelog.Open(b.TempDir(), filelog.Options{
			Checkpoints: func(p string) (filelog.CheckpointStore, error) { return meta.Open(p) },
		})
		if err != nil {
			b.Fatal(err)
		}
		run(b, e)
	})
}

func BenchmarkPublish(b *testing.B) {
	for _, inflight := range []int{1, 1000} {
		b.Run(fmt.Sprintf("inflight=%d", inflight), func(b *testing.B) {
			engines(b, func(b *testing.B, e storage.Engine) {
				k := kerneltest.Open(b, kerneltest.Options{Engine: e, NoCapture: true})
				if _, err := k.CreateStream(context.Background(), kernel.StreamSpec{Namespace: "/", Address: "s", Partitions: 1, Config: map[string]string{"retention.bytes": "100000000"}}); err != nil {
					b.Fatal(err)
				}
				w := newWindow(b, inflight)
				p := kernel.Publish{Namespace: "/", Msg: message.Message{Source: message.MQTT, Address: "s/a", Value: make([]byte, 256), QoS: 1}, Reply: w}
				b.ReportAllocs()
				b.SetBytes(256)
				for b.Loop() {
					w.take()
					p.Msg.Time = 0
					k.Publish(&p)
				}
				w.drain()
			})
		})
	}
}

func BenchmarkQueue(b *testing.B) {
	engines(b, func(b *testing.B, e storage.Engine) {
		k := kerneltest.Open(b, kerneltest.Options{Engine: e, NoCapture: true})
		if _, _, err := k.DeclareQueue(context.Background(), queueSpec("q")); err != nil {
			b.Fatal(err)
		}
		s := new(settler)
		if _, err := k.Attach(context.Background(), kernel.AttachSpec{Namespace: "/", Queue: "q", Credit: 500, Refill: true, Sink: s}); err != nil {
			b.Fatal(err)
		}
		w := newWindow(b, 1000)
		p := kernel.Publish{Namespace: "/", Msg: message.Message{Source: message.AMQP, Address: "q", Value: make([]byte, 100), QoS: 1}, ViaExchange: true, Key: "q", Reply: w}
		b.ReportAllocs()
		for b.Loop() {
			s.done.Add(1)
			w.take()
			p.Msg.Time = 0
			k.Publish(&p)
		}
		w.drain()
		s.done.Wait()
	})
}

func BenchmarkAppend(b *testing.B) {
	engines(b, func(b *testing.B, e storage.Engine) {
		k := kerneltest.Open(b, kerneltest.Options{Engine: e, NoCapture: true})
		st, err := k.CreateStream(context.Background(), kernel.StreamSpec{Namespace: "/", Address: "s", Partitions: 1, Config: map[string]string{"retention.bytes": "300000000"}})
		if err != nil {
			b.Fatal(err)
		}
		p, err := k.Partition(st.ID, 0)
		if err != nil {
			b.Fatal(err)
		}
		var rb record.Builder
		rb.Reset(nil, 1)
		for range 16 {
			rb.Add(1, nil, make([]byte, 1024))
		}
		batch := rb.Finish()
		w := newWindow(b, 100)
		b.ReportAllocs()
		b.SetBytes(int64(len(batch)))
		for b.Loop() {
			w.take()
			p.Append(batch, -1, w, 0)
		}
		w.drain()
	})
}

func BenchmarkQoS0(b *testing.B) {
	k := kerneltest.Open(b, kerneltest.Options{NoCapture: true})
	ses, _, err := k.OpenSession(context.Background(), kernel.SessionSpec{Namespace: "/", ClientID: "c", Clean: true, ReceiveMaximum: 10, Sink: discard{}})
	if err != nil {
		b.Fatal(err)
	}
	ses.Start()
	if _, errs := ses.Subscribe(context.Background(), []kernel.Subscription{{Filter: "a/+"}}); errs[0] != nil {
		b.Fatal(errs[0])
	}
	p := kernel.Publish{Namespace: "/", Msg: message.Message{Source: message.MQTT, Address: "a/b", Value: make([]byte, 16)}}
	b.ReportAllocs()
	for b.Loop() {
		k.Publish(&p)
	}
}

type discard struct{}

func (discard) Deliver(*kernel.Delivery) bool { return true }
func (discard) Gone(kernel.GoneReason)        {}
