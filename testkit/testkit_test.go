package testkit_test

import (
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/robustmq/rmq/testkit"
)

// connect returns a connected MQTT client of version 3.1.1.
func connect(t *testing.T, b *testkit.Broker, set func(*paho3.ClientOptions)) paho3.Client {
	t.Helper()
	o := paho3.NewClientOptions().AddBroker(b.MQTT()).SetAutoReconnect(false).SetConnectRetry(false)
	if set != nil {
		set(o)
	}
	c := paho3.NewClient(o)
	done(t, c.Connect())
	t.Cleanup(func() { c.Disconnect(0) })
	return c
}

// done waits for what a client of version 3.1.1 was asked to do.
func done(t testing.TB, token paho3.Token) {
	t.Helper()
	<-token.Done()
	check(t, token.Error())
}

func channel(t *testing.T, b *testkit.Broker) *amqp.Channel {
	t.Helper()
	conn := must(amqp.Dial(b.AMQP()))(t)
	t.Cleanup(func() { _ = conn.Close() })
	return must(conn.Channel())(t)
}

func TestInspection(t *testing.T) {
	t.Parallel()
	ctx, b := t.Context(), testkit.Run(t)
	if b.Topic("sensors").Exists() || b.Queue("q").Exists() || b.Session("dev1").Exists() || b.Group("g").Exists() {
		t.Fatal("a new broker holds something")
	}

	c := connect(t, b, func(o *paho3.ClientOptions) { o.SetClientID("dev1").SetCleanSession(false) })
	b.Want(t).Session("dev1").Connected()
	done(t, c.Subscribe("cmd/#", 1, func(paho3.Client, paho3.Message) {}))
	if !b.Session("dev1").Subscribed("cmd/#") {
		t.Error("the subscription is not there")
	}
	done(t, c.Publish("sensors/dev1/temp", 1, true, "21.5"))
	done(t, c.Publish("sensors/dev2/temp", 1, false, "22"))

	records := b.Want(t).Topic("sensors").Count(2)
	if r := records[0]; string(r.Key) != "sensors/dev1/temp" || string(r.Value) != "21.5" || r.Header("rmq-proto") != "mqtt" ||
		r.Message.Address != "sensors/dev1/temp" || !r.Message.Retain || r.Offset != 0 || time.Since(r.Time) > time.Hour {
		t.Errorf("the first record is %v %+v", r, r)
	}
	for _, name := range []string{"sensors.dev2.temp", "sensors/dev2/temp"} {
		if got := b.Topic(name).Values(); !slices.Equal(got, []string{"22"}) || b.Topic(name).Count() != 1 || b.Topic(name).Partitions() != 1 {
			t.Errorf("%s holds %q", name, got)
		}
	}
	if m := b.Retained("sensors/+/temp"); len(m) != 1 || m[0].Address != "sensors/dev1/temp" || string(m[0].Value) != "21.5" {
		t.Errorf("retained: %v", m)
	}

	ch := channel(t, b)
	must(ch.QueueDeclare("q", true, false, false, false, nil))(t)
	check(t, ch.PublishWithContext(ctx, "", "q", false, false, amqp.Publishing{Body: []byte("x")}))
	check(t, ch.PublishWithContext(ctx, "", "q", false, false, amqp.Publishing{Body: []byte("y")}))
	b.Want(t).Queue("q").Ready(2).Unacked(0).Consumers(0)
	d, _, err := ch.Get("q", false)
	check(t, err)
	b.Want(t).Queue("q").Ready(1).Unacked(1)
	check(t, d.Ack(false))
	b.Want(t).Queue("q").Ready(1).Unacked(0)

	k := must(kgo.NewClient(kgo.SeedBrokers(b.Bootstrap()), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("sensors"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit()))(t)
	got := k.PollRecords(ctx, 1).Records()
	b.Want(t).Group("g").Stable(1)
	check(t, k.CommitRecords(ctx, got[0]))
	b.Want(t).Group("g").Committed("sensors", 0, 1).Lag(1)
	if n := b.Group("g").Members(); n != 1 {
		t.Errorf("%d members", n)
	}
	k.Close()
	b.Want(t).That("the group to be empty", func() bool { return b.Group("g").Members() == 0 })

	c.Disconnect(0)
	b.Want(t).Session("dev1").Away()
	other := connect(t, b, nil)
	for i := range 3 {
		done(t, other.Publish("cmd/go", 1, false, fmt.Sprint(i)))
	}
	b.Want(t).Session("dev1").Backlog(3).Inflight(0)
}

func TestVirtualTime(t *testing.T) {
	t.Parallel()
	ctx, b := t.Context(), testkit.Run(t, testkit.VirtualAt(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)))
	ch := channel(t, b)
	// A message goes round three queues, one hour in each but the last.
	for name, next := range map[string]string{"one": "two", "two": "three", "three": ""} {
		args := amqp.Table{}
		if next != "" {
			args = amqp.Table{"x-message-ttl": int32(3_600_000), "x-dead-letter-exchange": "", "x-dead-letter-routing-key": next}
		}
		must(ch.QueueDeclare(name, true, false, false, false, args))(t)
	}
	check(t, ch.PublishWithContext(ctx, "", "one", false, false, amqp.Publishing{Body: []byte("x")}))
	b.Want(t).Queue("one").Ready(1)
	where := func(step string, one, two, three int) {
		t.Helper()
		if a, b, c := b.Queue("one").Ready(), b.Queue("two").Ready(), b.Queue("three").Ready(); a != one || b != two || c != three {
			t.Errorf("%s: %d, %d, %d messages; want %d, %d, %d", step, a, b, c, one, two, three)
		}
	}
	b.Clock.Advance(time.Hour - time.Millisecond)
	where("before the hour", 1, 0, 0)
	b.Clock.Advance(time.Millisecond)
	where("after one hour", 0, 1, 0)
	b.Clock.Advance(2 * time.Hour)
	where("after three hours", 0, 0, 1)

	start := b.Clock.Now()
	// The will of a client that is lost is published ten minutes later, its session ends an
	// hour later.
	link := must(net.Dial("tcp", strings.TrimPrefix(b.MQTT(), "mqtt://")))(t)
	lost := paho.NewClient(paho.ClientConfig{Conn: link, ClientID: "dev1"})
	delay, expiry := uint32(600), uint32(3600)
	must(lost.Connect(ctx, &paho.Connect{
		ClientID: "dev1", CleanStart: true, Properties: &paho.ConnectProperties{SessionExpiryInterval: &expiry},
		WillMessage:    &paho.WillMessage{Topic: "gone/dev1", Payload: []byte("bye"), QoS: 1, Retain: true},
		WillProperties: &paho.WillProperties{WillDelayInterval: &delay},
	}))(t)
	check(t, link.Close())
	<-lost.Done()
	b.Want(t).Session("dev1").Away()
	for _, step := range []struct {
		after         time.Duration
		will, session bool
	}{{599 * time.Second, false, true}, {600 * time.Second, true, true}, {3599 * time.Second, true, true}, {3600 * time.Second, true, false}} {
		b.Clock.Set(start.Add(step.after))
		if will, session := len(b.Retained("gone/#")) == 1, b.Session("dev1").Exists(); will != step.will || session != step.session {
			t.Errorf("after %v: will published %v, session there %v", step.after, will, session)
		}
	}
}

func TestProductionDoesNotCapture(t *testing.T) {
	t.Parallel()
	b := testkit.Run(t, testkit.Production())
	c := connect(t, b, nil)
	done(t, c.Publish("sensors/dev1/temp", 1, false, "21.5"))
	if b.Topic("sensors").Exists() {
		t.Error("a stream was made")
	}
}

func TestUsers(t *testing.T) {
	t.Parallel()
	ctx, b := t.Context(), testkit.Run(t, testkit.User("ann", "secret"))
	o := paho3.NewClientOptions().AddBroker(b.MQTT()).SetAutoReconnect(false).SetConnectRetry(false)
	if token := paho3.NewClient(o).Connect(); token.Wait() && token.Error() == nil {
		t.Error("MQTT let a stranger in")
	}
	c := connect(t, b, func(o *paho3.ClientOptions) { o.SetUsername("ann").SetPassword("secret") })
	done(t, c.Publish("a/b", 1, false, "x"))

	if _, err := amqp.Dial(b.AMQP()); err == nil {
		t.Error("AMQP let guest in")
	}
	conn := must(amqp.DialConfig(b.AMQP(), amqp.Config{SASL: []amqp.Authentication{&amqp.PlainAuth{Username: "ann", Password: "secret"}}}))(t)
	check(t, conn.Close())

	k := must(kgo.NewClient(kgo.SeedBrokers(b.Bootstrap()), kgo.SASL(plain.Auth{User: "ann", Pass: "secret"}.AsMechanism())))(t)
	defer k.Close()
	check(t, k.ProduceSync(ctx, &kgo.Record{Topic: "a", Value: []byte("x")}).FirstErr())
}

func TestRestartKeepsWhatIsOnDisk(t *testing.T) {
	t.Parallel()
	b := testkit.Run(t, testkit.DataDir(t.TempDir()))
	c := connect(t, b, nil)
	done(t, c.Publish("sensors/dev1/temp", 1, true, "21.5"))
	before := b.MQTT()
	b.Restart()
	if b.MQTT() != before {
		t.Errorf("clients have to connect to %s now, and not to %s", b.MQTT(), before)
	}
	if m := b.Retained("#"); len(m) != 1 || string(m[0].Value) != "21.5" {
		t.Errorf("retained: %v", m)
	}
	done(t, connect(t, b, nil).Publish("sensors/dev1/temp", 1, true, "22"))
	b.Want(t).Topic("sensors").Count(2)
}

func TestOnePortServesAll(t *testing.T) {
	t.Parallel()
	ctx, b := t.Context(), testkit.Run(t, testkit.OnePort())
	if !strings.HasSuffix(b.MQTT(), b.Bootstrap()) || !strings.HasSuffix(b.AMQP(), b.Bootstrap()) || !strings.HasSuffix(b.HTTP(), b.Bootstrap()) {
		t.Fatalf("more than one port: %s %s %s %s", b.MQTT(), b.Bootstrap(), b.AMQP(), b.HTTP())
	}
	done(t, connect(t, b, nil).Publish("a/b", 1, false, "x"))
	channel(t, b)
	k := must(kgo.NewClient(kgo.SeedBrokers(b.Bootstrap())))(t)
	defer k.Close()
	check(t, k.Ping(ctx))
}

// failing is a test that notes how it fails.
type failing struct {
	testing.TB
	said chan string
}

func (f failing) Helper() {}
func (f failing) Fatalf(format string, args ...any) {
	f.said <- fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func TestWantTellsWhatHappened(t *testing.T) {
	t.Parallel()
	b := testkit.Run(t)
	c := connect(t, b, func(o *paho3.ClientOptions) { o.SetClientID("dev1") })
	done(t, c.Publish("sensors/dev1/temp", 1, false, "21.5"))
	f := failing{t, make(chan string, 1)}
	go b.Want(f).Within(time.Millisecond).Topic("sensors").Count(3)
	text := <-f.said
	for _, part := range []string{
		"topic sensors with 3 records", "mqtt   publish sensors/dev1/temp", `"21.5"`,
		"topic    sensors: 1 records in 1 partitions", "session  dev1: connected",
	} {
		if !strings.Contains(text, part) {
			t.Errorf("nothing is said of %q in\n%s", part, text)
		}
	}
}

func TestCloseWithClientsConnected(t *testing.T) {
	t.Parallel()
	b := testkit.Run(t)
	connect(t, b, nil)
	channel(t, b)
	k := must(kgo.NewClient(kgo.SeedBrokers(b.Bootstrap()), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.AllowAutoTopicCreation()))(t)
	t.Cleanup(k.Close)
	b.Want(t).Group("g").Stable(1)
	check(t, b.Close())
	check(t, b.Close()) // twice is once
}
