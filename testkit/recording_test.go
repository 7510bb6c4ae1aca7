package testkit_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/recording"
	"github.com/robustmq/rmq/testkit"
)

// traffic publishes over every protocol what is delayed, expires, is retained, dies and is compressed, with time
// that passes.
func traffic(t *testing.T, b *testkit.Broker) {
	t.Helper()
	ctx := t.Context()
	c := connect(t, b, nil)
	done(t, c.Publish("sensors/dev1/temp", 1, true, "21.5"))
	done(t, c.Publish("sensors/dev1/door", 2, false, "open"))
	done(t, c.Publish("sensors/dev1/live", 0, false, "now"))
	b.Want(t).Topic("sensors").Count(3)
	ch := channel(t, b)
	check(t, ch.Confirm(false))
	publish := func(exchange, key string, p amqp.Publishing) {
		t.Helper()
		confirm := must(ch.PublishWithDeferredConfirmWithContext(ctx, exchange, key, false, false, p))(t)
		if !confirm.Wait() {
			t.Fatal("not confirmed")
		}
	}
	for i := range 5 {
		publish("", "jobs", amqp.Publishing{Body: []byte{byte('a' + i)}, DeliveryMode: amqp.Persistent, Priority: uint8(i), MessageId: fmt.Sprint(i), Headers: amqp.Table{"n": int32(i)}})
	}
	b.Clock.Advance(30 * time.Second)
	publish("amq.topic", "sensors.dev2.temp", amqp.Publishing{Body: []byte("19"), ContentType: "text/plain", DeliveryMode: amqp.Persistent})
	k := must(kgo.NewClient(kgo.SeedBrokers(b.Bootstrap()), kgo.AllowAutoTopicCreation(), kgo.ProducerBatchCompression(kgo.GzipCompression()), kgo.RecordPartitioner(kgo.ManualPartitioner())))(t)
	defer k.Close()
	for i := range 3 {
		check(t, k.ProduceSync(ctx, &kgo.Record{
			Topic: "orders", Key: []byte("k"), Value: []byte(strings.Repeat(fmt.Sprint(i), 100)), Timestamp: b.Clock.Now().Add(time.Duration(i-9) * time.Second),
			Headers: []kgo.RecordHeader{{Key: "source", Value: []byte("shop")}},
		}).FirstErr())
	}
	b.Clock.Advance(45 * time.Second) // what was in jobs has died by now
	publish("", "jobs", amqp.Publishing{Body: []byte("z"), DeliveryMode: amqp.Persistent})
	done(t, c.Publish("sensors/dev1/temp", 1, true, ""))
}

// state is what a broker holds, all of it but what is drawn by chance.
func state(t *testing.T, b *testkit.Broker) string {
	t.Helper()
	var s strings.Builder
	k := b.Kernel()
	show := func(m *message.Message) {
		fmt.Fprintf(&s, "  %v %s %q %q %x %d %d %d %d %v %d\n", m.Source, m.Address, m.Key, m.Value, m.Native, m.Time, m.ExpiresAt, m.QoS, m.Priority, m.Retain, m.Partition)
		for _, h := range m.Headers {
			fmt.Fprintf(&s, "    %s: %q\n", h.Name, h.Value)
		}
	}
	for _, st := range k.Streams("/") {
		for _, p := range st.Parts {
			fmt.Fprintf(&s, "topic %s/%d %d to %d\n", st.Address, p.Index, p.Start, p.End)
			part := must(k.Partition(st.ID, p.Index))(t)
			r := must(part.Read(p.Start, 1<<20, "", true))(t)
			for _, raw := range r.Batches {
				for rest := raw; len(rest) > 0; {
					batch, behind, err := record.Next(rest)
					check(t, err)
					rest = behind
					check(t, batch.Each(func(rec *record.Record) error {
						m := message.FromRecord(rec.Key, rec.Value, rec.Headers, rec.Time, st.Address, batch.Made())
						show(&m)
						return nil
					}))
				}
			}
		}
	}
	for _, q := range k.Queues("/") {
		fmt.Fprintf(&s, "queue %s\n", q.Name)
		check(t, k.LookQueue("/", q.Name, func(m *message.Message, at kernel.Queued) bool {
			show(m)
			return true
		}))
	}
	for _, m := range k.RetainedMessages("/", "#", 100) {
		s.WriteString("retained\n")
		show(&m)
	}
	return s.String()
}

// topology is what the recording is published into: jobs live a minute, then they are in dead.
func topology(t *testing.T, b *testkit.Broker) {
	t.Helper()
	ch := channel(t, b)
	must(ch.QueueDeclare("dead", true, false, false, false, nil))(t)
	must(ch.QueueDeclare("jobs", true, false, false, false, amqp.Table{
		"x-message-ttl": int64(60_000), "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead", "x-max-length": int64(4),
	}))(t)
	must(ch.QueueDeclare("temps", true, false, false, false, nil))(t)
	check(t, ch.QueueBind("temps", "sensors.*.temp", "amq.topic", false, nil))
}

// The same recording gives the same state, which is that of the broker that it was made of; and again.
func TestReplay(t *testing.T) {
	t.Parallel()
	b := testkit.Run(t, dawn)
	topology(t, b)
	stop := b.Record()
	traffic(t, b)
	file := stop()
	want := state(t, b)
	for _, some := range []string{"queue dead\n  amqp dead", "topic orders/0 0 to 3", "topic sensors/0 0 to 5", `kafka orders "k"`} {
		if !strings.Contains(want, some) {
			t.Fatalf("there is no %q in\n%s", some, want)
		}
	}
	for round := range 2 {
		again := testkit.Run(t, dawn)
		topology(t, again)
		stop := again.Record()
		again.Replay(file)
		if got := state(t, again); got != want {
			t.Errorf("round %d: replayed\n%s\nwant\n%s", round, got, want)
		}
		if got, want := items(t, stop()), items(t, file); got != want {
			t.Errorf("round %d: of a replay the recording has\n%s\nwant\n%s", round, got, want)
		}
	}
}

// items lists a recording.
func items(t *testing.T, file []byte) string {
	t.Helper()
	in := must(recording.NewReader(bytes.NewReader(file)))(t)
	var s strings.Builder
	for {
		it, mark, err := in.Next()
		switch {
		case err == io.EOF:
			return s.String()
		case err != nil:
			t.Fatal(err)
		case it == nil && mark.LeftOut > 0:
			t.Errorf("%d were left out", mark.LeftOut)
		case it != nil:
			fmt.Fprintf(&s, "%d %s/%d of %d, %v %s %s: %d\n", it.Time, it.Address, it.Partition, it.Partitions, it.ViaExchange, it.Exchange, it.Key, it.Batch.Count())
		}
	}
}
