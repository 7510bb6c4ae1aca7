package kernel_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/record"
)

// published collects the outcomes of publishes and appends.
type published struct {
	ch  chan kernel.PublishResult
	app chan kernel.AppendResult
}

func newPublished() *published {
	return &published{make(chan kernel.PublishResult, 1<<16), make(chan kernel.AppendResult, 1<<16)}
}
func (p *published) Published(_ uint64, r kernel.PublishResult) { p.ch <- r }
func (p *published) Appended(_ uint64, r kernel.AppendResult)   { p.app <- r }

// sink collects deliveries.
type sink struct {
	ch   chan got
	gone chan kernel.GoneReason
}

type got struct {
	msg message.Message
	d   kernel.Delivery
}

func newSink() *sink { return &sink{ch: make(chan got, 1<<16), gone: make(chan kernel.GoneReason, 8)} }
func (s *sink) Deliver(d *kernel.Delivery) bool {
	g := got{d: *d}
	if d.Msg != nil {
		g.msg = d.Msg.Clone()
	}
	s.ch <- g
	return true
}
func (s *sink) Gone(r kernel.GoneReason) { s.gone <- r }

func (s *sink) next(t *testing.T) got {
	t.Helper()
	return recv(t, s.ch)
}

func recv[T any](t *testing.T, ch chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(time.Minute):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

func publish(t *testing.T, k *kernel.Kernel, p kernel.Publish) kernel.PublishResult {
	t.Helper()
	w := newPublished()
	p.Reply = w
	if p.Namespace == "" {
		p.Namespace = "/"
	}
	k.Publish(&p)
	r := recv(t, w.ch)
	if r.Err != nil {
		t.Fatalf("publish: %v", r.Err)
	}
	return r
}

func mqtt(address, value string) kernel.Publish {
	return kernel.Publish{Msg: message.Message{Source: message.MQTT, Address: address, Value: []byte(value), QoS: 1}}
}

func queueSpec(name string) kernel.QueueSpec {
	return kernel.QueueSpec{Namespace: "/", Name: name, Durable: true, MessageTTL: -1, MaxLength: -1, MaxLengthBytes: -1, DeliveryLimit: -1}
}

func records(t *testing.T, k *kernel.Kernel, address, leaf string) []string {
	t.Helper()
	st, ok := k.Stream("/", address)
	if !ok {
		t.Fatalf("no stream %q", address)
	}
	var out []string
	for i := range st.Parts {
		p, err := k.Partition(st.ID, int32(i))
		if err != nil {
			t.Fatal(err)
		}
		for off := p.Info().Start; off < p.Info().End; {
			r, err := p.Read(off, 1<<20, leaf, true)
			if err != nil {
				t.Fatal(err)
			}
			for _, raw := range r.Batches {
				for len(raw) > 0 {
					b, rest, err := record.Next(raw)
					if err != nil {
						t.Fatal(err)
					}
					raw = rest
					if err := b.Each(func(rec *record.Record) error {
						if rec.Offset >= off {
							out = append(out, fmt.Sprintf("%d %s=%s", rec.Offset, rec.Key, rec.Value))
						}
						return nil
					}); err != nil {
						t.Fatal(err)
					}
				}
			}
			off = r.Next
		}
	}
	return out
}

func TestMQTTMessageIsInTheStreamOfItsFirstLevel(t *testing.T) {
	k := kerneltest.Open(t, kerneltest.Options{})
	publish(t, k, mqtt("sensors/dev1/temp", "21.5"))
	publish(t, k, mqtt("sensors/dev2/temp", "22"))
	if got, want := fmt.Sprint(records(t, k, "sensors", "")), "[0 sensors/dev1/temp=21.5 1 sensors/dev2/temp=22]"; got != want {
		t.Errorf("stream holds %s, want %s", got, want)
	}
	if got, want := fmt.Sprint(records(t, k, "sensors", "sensors/dev2/temp")), "[1 sensors/dev2/temp=22]"; got != want {
		t.Errorf("leaf view holds %s, want %s", got, want)
	}
}

func TestWithoutCaptureNoStreamIsMade(t *testing.T) {
	k := kerneltest.Open(t, kerneltest.Options{NoCapture: true})
	publish(t, k, mqtt("sensors/dev1/temp", "21.5"))
	if st := k.Streams("/"); len(st) != 0 {
		t.Errorf("streams: %v", st)
	}
}

func TestQueueBoundToTopicExchangeGetsMQTT(t *testing.T) {
	ctx := context.Background()
	k := kerneltest.Open(t, kerneltest.Options{})
	for _, durable := range []bool{true, false} {
		name := fmt.Sprintf("q-%v", durable)
		spec := queueSpec(name)
		spec.Durable = durable
		if _, created, err := k.DeclareQueue(ctx, spec); err != nil || !created {
			t.Fatalf("declare: %v %v", created, err)
		}
		if err := k.Bind(ctx, kernel.Binding{Namespace: "/", Source: "amq.topic", Destination: name, Key: "sensors.*.temp"}); err != nil {
			t.Fatal(err)
		}
		r := publish(t, k, mqtt("sensors/dev1/temp", "21.5"))
		if r.Queues == 0 {
			t.Fatalf("routed to no queue")
		}
		info, err := k.Queue("/", name, 0)
		if err != nil || info.Ready != 1 {
			t.Fatalf("ready %d, %v", info.Ready, err)
		}
		s := newSink()
		a, err := k.Attach(ctx, kernel.AttachSpec{Namespace: "/", Queue: name, Credit: 10, Sink: s})
		if err != nil {
			t.Fatal(err)
		}
		g := s.next(t)
		if string(g.msg.Value) != "21.5" || g.msg.Address != "sensors/dev1/temp" || g.msg.Source != message.MQTT {
			t.Errorf("got %+v", g.msg)
		}
		a.Settle(g.d.No, false, kernel.Accept)
		if err := a.Detach(ctx, false); err != nil {
			t.Fatal(err)
		}
		if info, _ := k.Queue("/", name, 0); info.Ready != 0 || info.Unacked != 0 {
			t.Errorf("after settling: %+v", info)
		}
	}
}

func TestRejectedMessageIsDeadLettered(t *testing.T) {
	ctx := context.Background()
	k := kerneltest.Open(t, kerneltest.Options{NoCapture: true})
	dlx, key := "", "dead"
	work := queueSpec("work")
	work.DeadLetterExchange, work.DeadLetterRoutingKey = &dlx, &key
	for _, spec := range []kernel.QueueSpec{work, queueSpec("dead")} {
		if _, _, err := k.DeclareQueue(ctx, spec); err != nil {
			t.Fatal(err)
		}
	}
	publish(t, k, mqtt("work", "poison"))
	in, out := newSink(), newSink()
	a, err := k.Attach(ctx, kernel.AttachSpec{Namespace: "/", Queue: "work", Credit: 1, Sink: in})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Attach(ctx, kernel.AttachSpec{Namespace: "/", Queue: "dead", Credit: 1, Sink: out}); err != nil {
		t.Fatal(err)
	}
	a.Settle(in.next(t).d.No, false, kernel.Reject)
	g := out.next(t)
	deaths := message.Deaths(g.msg.Headers)
	if len(deaths) != 1 || deaths[0].Reason != "rejected" || deaths[0].Queue != "work" {
		t.Errorf("deaths: %+v", deaths)
	}
}

func TestMessagesSurviveARestart(t *testing.T) {
	ctx := context.Background()
	for _, checkpoint := range []int{1 << 30, 1} { // by replay of the log, and from checkpoints
		eng := keep{newMem(t)}
		k, stop := kerneltest.Start(t, kerneltest.Options{Engine: eng, CheckpointBytes: checkpoint})
		if _, _, err := k.DeclareQueue(ctx, queueSpec("q")); err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			publish(t, k, mqtt("q", fmt.Sprint(i)))
		}
		s := newSink()
		a, err := k.Attach(ctx, kernel.AttachSpec{Namespace: "/", Queue: "q", Credit: 10, Sink: s})
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			a.Settle(s.next(t).d.No, false, kernel.Accept)
		}
		if _, err := k.Queue("/", "q", 0); err != nil {
			t.Fatal(err)
		}
		publish(t, k, mqtt("q", "100")) // so that the settlements are applied
		before := records(t, k, "q", "")
		stop()

		k, stop = kerneltest.Start(t, kerneltest.Options{Engine: eng, CheckpointBytes: checkpoint})
		if after := records(t, k, "q", ""); fmt.Sprint(after) != fmt.Sprint(before) || len(after) != 101 {
			t.Errorf("stream after restart: %d records, before: %d", len(after), len(before))
		}
		s = newSink()
		if _, err = k.Attach(ctx, kernel.AttachSpec{Namespace: "/", Queue: "q", Credit: kernel.Unlimited, Sink: s}); err != nil {
			t.Fatal(err)
		}
		for i := 5; i <= 100; i++ {
			g := s.next(t)
			if string(g.msg.Value) != fmt.Sprint(i) {
				t.Fatalf("checkpoint %d: got %s, want %d", checkpoint, g.msg.Value, i)
			}
			if redelivered := i < 10; g.d.Redelivered != redelivered && i > 14 {
				t.Errorf("message %d redelivered: %v", i, g.d.Redelivered)
			}
		}
		stop()
	}
}
