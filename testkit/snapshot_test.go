package testkit_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/robustmq/rmq/testkit"
)

// lived fills a broker with one of everything: a device that is sent two messages and has a backlog
// of one, a retained value, a queue with a message ready and one in a consumer's hands, a topic, a group that has
// read two of its records, and their producer.
func lived(t *testing.T, b *testkit.Broker) (producer *kgo.Client) {
	t.Helper()
	ctx := t.Context()
	link := must(net.Dial("tcp", strings.TrimPrefix(b.MQTT(), "mqtt://")))(t)
	t.Cleanup(func() { _ = link.Close() })
	got := make(chan struct{}, 10)
	device := paho.NewClient(paho.ClientConfig{
		Conn: link, ClientID: "dev1", EnableManualAcknowledgment: true, // and nothing is
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(paho.PublishReceived) (bool, error) { got <- struct{}{}; return true, nil }},
	})
	expiry, two := uint32(3600), uint16(2)
	must(device.Connect(ctx, &paho.Connect{ClientID: "dev1", CleanStart: true, Properties: &paho.ConnectProperties{SessionExpiryInterval: &expiry, ReceiveMaximum: &two}}))(t)
	must(device.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "cmd/#", QoS: 1}}}))(t)
	c := connect(t, b, nil)
	for i := range 3 {
		done(t, c.Publish("cmd/go", 1, false, fmt.Sprint(i)))
	}
	<-got
	<-got
	done(t, c.Publish("sensors/dev1/temp", 1, true, "21.5"))

	ch := channel(t, b)
	must(ch.QueueDeclare("jobs", true, false, false, false, nil))(t)
	check(t, ch.Confirm(false))
	for _, body := range []string{"one", "two"} {
		confirm := must(ch.PublishWithDeferredConfirmWithContext(ctx, "", "jobs", false, false, amqp.Publishing{Body: []byte(body), DeliveryMode: amqp.Persistent}))(t)
		confirm.Wait()
	}
	if _, ok, err := ch.Get("jobs", false); !ok || err != nil {
		t.Fatalf("nothing in the queue: %v", err)
	}

	k := must(kgo.NewClient(kgo.SeedBrokers(b.Bootstrap()), kgo.AllowAutoTopicCreation()))(t)
	t.Cleanup(k.Close)
	for _, v := range []string{"a", "b", "c"} {
		check(t, k.ProduceSync(ctx, &kgo.Record{Topic: "orders", Value: []byte(v), Timestamp: b.Clock.Now()}).FirstErr())
	}
	offsets := make(kadm.Offsets)
	offsets.AddOffset("orders", 0, 2, -1)
	check(t, must(kadm.NewClient(k).CommitOffsets(ctx, "readers", offsets))(t).Error())
	return k
}

// holds tells what of a broker a snapshot is to have.
func holds(t *testing.T, b *testkit.Broker) string {
	t.Helper()
	return fmt.Sprintf("orders %v, sensors %v, jobs %d, readers %d lag %d, dev1 %d subscribed %v, retained %d, at %v",
		b.Topic("orders").Values(), b.Topic("sensors").Values(), b.Queue("jobs").Ready(), b.Group("readers").Committed("orders", 0), b.Group("readers").Lag(),
		b.Session("dev1").Backlog()+b.Session("dev1").Inflight(), b.Session("dev1").Subscribed("cmd/#"), len(b.Retained("#")), b.Clock.Now())
}

// after is what holds says of a broker that begins with a snapshot of what lived has filled.
const after = "orders [a b c], sensors [21.5], jobs 2, readers 2 lag 1, dev1 3 subscribed true, retained 1, at 2030-01-01 00:01:00 +0000 UTC"

var dawn = testkit.VirtualAt(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))

// change changes all that holds tells of.
func change(t *testing.T, b *testkit.Broker, with string) {
	t.Helper()
	ctx := t.Context()
	c := connect(t, b, nil)
	done(t, c.Publish("sensors/dev1/temp", 1, true, with))
	done(t, c.Publish("cmd/go", 1, true, with))
	ch := channel(t, b)
	must(ch.QueuePurge("jobs", false))(t)
	k := must(kgo.NewClient(kgo.SeedBrokers(b.Bootstrap())))(t)
	defer k.Close()
	check(t, k.ProduceSync(ctx, &kgo.Record{Topic: "orders", Value: []byte(with), Timestamp: b.Clock.Now()}).FirstErr())
	must(kadm.NewClient(k).DeleteGroups(ctx, "readers"))(t)
	b.Clock.Advance(time.Hour)
	if got := holds(t, b); got == after || !strings.Contains(got, "c "+with+"]") {
		t.Errorf("after the change there is %s", got)
	}
}

// A broker is put back as often as wanted, with whatever happened meanwhile undone, on the same ports.
func TestRestoreTwice(t *testing.T) {
	t.Parallel()
	b := testkit.Run(t, dawn)
	producer := lived(t, b)
	b.Clock.Advance(time.Minute)
	s, mqtt := b.Snapshot(), b.MQTT()
	if i := b.Session("dev1").Inflight(); i != 2 {
		t.Errorf("%d deliveries inflight after the snapshot, want 2: clients are not to notice", i)
	}
	for round := range 2 {
		change(t, b, fmt.Sprint("round ", round))
		b.Restore(s)
		if got := holds(t, b); got != after {
			t.Errorf("round %d: restored\n     %s\nwant %s", round, got, after)
		}
		if b.MQTT() != mqtt {
			t.Errorf("clients have to connect to %s, and not to %s", b.MQTT(), mqtt)
		}
	}
	// What a consumer had is ready again, and first.
	d, ok, err := channel(t, b).Get("jobs", true)
	if err != nil || !ok || string(d.Body) != "one" || !d.Redelivered {
		t.Errorf("the queue gives %q, redelivered %v: %v", d.Body, d.Redelivered, err)
	}
	// The producer is known, and goes on.
	check(t, producer.ProduceSync(t.Context(), &kgo.Record{Topic: "orders", Value: []byte("d"), Timestamp: b.Clock.Now()}).FirstErr())
	if got, want := b.Topic("orders").Values(), []string{"a", "b", "c", "d"}; !slices.Equal(got, want) {
		t.Errorf("orders holds %v, want %v", got, want)
	}
	// A session that is away ends when its time is over, by the time that was put back.
	b.Clock.Advance(time.Hour)
	b.Want(t).Session("dev1").Gone()
}

// Brokers that begin with one snapshot do not see what the others do; nor does it.
func TestForks(t *testing.T) {
	t.Parallel()
	b := testkit.Run(t, dawn)
	lived(t, b)
	b.Clock.Advance(time.Minute)
	s := b.Snapshot()
	for i := range 4 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			fork := testkit.Run(t, testkit.From(s))
			if got := holds(t, fork); got != after {
				t.Errorf("forked\n     %s\nwant %s", got, after)
			}
			change(t, fork, fmt.Sprint("fork ", i))
			again := fork.Snapshot()
			fork.Restore(s)
			if got := holds(t, fork); got != after {
				t.Errorf("restored\n     %s\nwant %s", got, after)
			}
			fork.Restore(again)
			if got := fork.Topic("orders").Values(); !slices.Contains(got, fmt.Sprint("fork ", i)) {
				t.Errorf("with its own snapshot the fork has %v", got)
			}
		})
	}
}

// A snapshot is of one moment: what a publisher was told of before is in it, and what is in one place
// of what is published after that is not missing in another.
func TestSnapshotIsOneMoment(t *testing.T) {
	t.Parallel()
	b := testkit.Run(t)
	ch := channel(t, b)
	for _, name := range []string{"q0", "q1", "q2", "q3"} {
		must(ch.QueueDeclare(name, true, false, false, false, nil))(t)
		check(t, ch.QueueBind(name, "to.all", "amq.topic", false, nil))
	}
	ctx, stop := context.WithCancel(t.Context())
	var told int // guarded by mu
	var mu sync.Mutex
	var publishing sync.WaitGroup
	for range 3 {
		c := connect(t, b, nil)
		publishing.Go(func() {
			for ctx.Err() == nil {
				done(t, c.Publish("to/all", 1, false, "x"))
				mu.Lock()
				told++
				mu.Unlock()
			}
		})
	}
	var snapshots []*testkit.Snapshot
	var before []int
	for range 3 {
		b.Want(t).That("more to be published", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return told > 50*(len(before)+1)
		})
		mu.Lock()
		before = append(before, told)
		mu.Unlock()
		snapshots = append(snapshots, b.Snapshot())
	}
	stop()
	publishing.Wait()
	for i, s := range snapshots {
		fork := testkit.Run(t, testkit.From(s))
		n := fork.Topic("to").Count()
		if n < before[i] {
			t.Errorf("snapshot %d has %d messages, and %d were acknowledged before", i, n, before[i])
		}
		for _, name := range []string{"q0", "q1", "q2", "q3"} {
			if got := fork.Queue(name).Ready(); got < before[i] {
				t.Errorf("snapshot %d: queue %s has %d messages, and %d were acknowledged before", i, name, got, before[i])
			}
		}
	}
}

// What clients see of a restore is what they see of a restart.
func TestRestoreEndsConnections(t *testing.T) {
	t.Parallel()
	b := testkit.Run(t)
	s := b.Snapshot()
	lost := make(chan error, 1)
	c := connect(t, b, func(o *paho3.ClientOptions) {
		o.SetConnectionLostHandler(func(_ paho3.Client, err error) { lost <- err })
	})
	done(t, c.Publish("a/b", 1, true, "x"))
	b.Restore(s)
	<-lost
	if m := b.Retained("#"); len(m) != 0 {
		t.Errorf("retained: %v", m)
	}
	done(t, connect(t, b, nil).Publish("a/b", 1, true, "y"))
}

func benchmarkSnapshot(b *testing.B, records int) {
	x := testkit.Run(b)
	if records > 0 {
		k := must(kgo.NewClient(kgo.SeedBrokers(x.Bootstrap()), kgo.AllowAutoTopicCreation(), kgo.MaxBufferedRecords(records)))(b)
		defer k.Close()
		body := make([]byte, 100)
		for range records {
			k.Produce(context.Background(), &kgo.Record{Topic: "orders", Value: body}, nil)
		}
		check(b, k.Flush(context.Background()))
	}
	s := x.Snapshot()
	b.Run("snapshot", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s = x.Snapshot()
		}
	})
	b.Run("restore", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			x.Restore(s)
		}
	})
	b.Run("fork", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			f := testkit.Run(b, testkit.From(s))
			b.StopTimer()
			check(b, f.Close())
			b.StartTimer()
		}
	})
	if n := x.Topic("orders").Count(); n != records {
		b.Errorf("%d records, want %d", n, records)
	}
}

func BenchmarkSnapshotEmpty(b *testing.B)  { benchmarkSnapshot(b, 0) }
func BenchmarkSnapshot100000(b *testing.B) { benchmarkSnapshot(b, 100_000) }
