package testkit_test

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/robustmq/rmq/broker/chaos"
	"github.com/robustmq/rmq/broker/grammar"
	"github.com/robustmq/rmq/broker/mqttwire"
	"github.com/robustmq/rmq/testkit"
)

// connect5 returns a connected MQTT 5 client; over is closed when its connection has ended.
func connect5(t *testing.T, b *testkit.Broker, id string, clean bool) (c *paho.Client, over chan struct{}) {
	t.Helper()
	conn := dial(t, b.MQTT())
	over = make(chan struct{})
	c = paho.NewClient(paho.ClientConfig{ClientID: id, Conn: conn, OnClientError: func(error) { close(over) }, OnServerDisconnect: func(*paho.Disconnect) { close(over) }})
	p := &paho.Connect{ClientID: id, CleanStart: clean, KeepAlive: 30, Properties: &paho.ConnectProperties{SessionExpiryInterval: ptr(uint32(3600))}}
	must(c.Connect(t.Context(), p))(t)
	t.Cleanup(func() { _ = c.Disconnect(&paho.Disconnect{}) })
	return c, over
}

// dial returns a connection to a URL's host and port.
func dial(t *testing.T, raw string) net.Conn {
	t.Helper()
	u := must(url.Parse(raw))(t)
	return must(net.Dial("tcp", u.Host))(t)
}

func ptr[T any](v T) *T { return &v }

// Whoever gets no PUBACK sends again when it is back, and the message is there twice: that is what QoS 1 promises.
func TestLostPUBACK(t *testing.T) {
	t.Parallel()
	b := testkit.Run(t)
	lost := b.Conn("dev1").DropNext(testkit.PUBACK)
	dir := t.TempDir()
	set := func(o *paho3.ClientOptions) {
		o.SetClientID("dev1").SetCleanSession(false).SetStore(paho3.NewFileStore(dir))
	}
	c := connect(t, b, set)
	c.Publish("sensors/dev1", 1, false, "21.5")
	b.Want(t).Fault(lost).Fired(1)
	b.Want(t).Topic("sensors").Count(1)
	c.Disconnect(0)

	connect(t, b, set)
	b.Want(t).Topic("sensors").Count(2)
	if got := b.Unfired(); len(got) != 0 || lost.Seen() != 1 {
		t.Errorf("unfired %v, seen %d", got, lost.Seen())
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	ctx, b := t.Context(), testkit.Run(t)
	b.Conn("dev2").AnswerNext(testkit.CONNACK, mqttwire.ServerBusy)
	conn := dial(t, b.MQTT())
	refused := paho.NewClient(paho.ClientConfig{ClientID: "dev2", Conn: conn})
	if ack, err := refused.Connect(ctx, &paho.Connect{ClientID: "dev2", CleanStart: true, KeepAlive: 30}); err == nil || ack == nil || ack.ReasonCode != 0x89 {
		t.Errorf("CONNACK %+v, %v; want server busy", ack, err)
	}

	c, _ := connect5(t, b, "dev1", true)
	b.Conn("dev1").AnswerNext(testkit.PUBACK, mqttwire.QuotaExceeded)
	if r, err := c.Publish(ctx, &paho.Publish{Topic: "a/taken", QoS: 1}); err == nil || r.ReasonCode != 0x97 {
		t.Errorf("PUBACK %+v, %v; want quota exceeded", r, err)
	}
	b.Conn("dev1").AnswerNext(testkit.PUBLISH.FromClient(), mqttwire.NotAuthorized)
	if r, err := c.Publish(ctx, &paho.Publish{Topic: "a/refused", QoS: 2}); r == nil || r.ReasonCode != 0x87 {
		t.Errorf("PUBREC %+v, %v; want not authorized", r, err)
	}
	b.Conn("dev1").AnswerNext(testkit.PUBREC, mqttwire.QuotaExceeded)
	if r, err := c.Publish(ctx, &paho.Publish{Topic: "a/taken", QoS: 2}); r == nil || r.ReasonCode != 0x97 {
		t.Errorf("PUBREC %+v, %v; want quota exceeded", r, err)
	}
	if r, err := c.Publish(ctx, &paho.Publish{Topic: "a/taken", QoS: 2}); err != nil || r.ReasonCode != 0 && r.ReasonCode != 0x10 {
		t.Errorf("the packet identifier is not free again: %+v, %v", r, err)
	}
	if n := b.Topic("a/refused").Count(); n != 0 {
		t.Errorf("%d messages that were refused are there", n)
	}
	b.Want(t).Topic("a").Count(3)

	b.Conn("dev1").AnswerNext(testkit.SUBACK, mqttwire.QuotaExceeded)
	if r, err := c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "x", QoS: 1}}}); err == nil || r.Reasons[0] != 0x97 {
		t.Errorf("SUBACK %+v, %v", r, err)
	}
	if !b.Session("dev1").Subscribed("x") {
		t.Error("a changed SUBACK has undone the subscription")
	}
	b.Conn("dev1").AnswerNext(testkit.SUBSCRIBE.FromClient(), mqttwire.NotAuthorized)
	if r, err := c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "y", QoS: 1}}}); err == nil || r.Reasons[0] != 0x87 {
		t.Errorf("SUBACK %+v, %v", r, err)
	}
	if b.Session("dev1").Subscribed("y") {
		t.Error("a refused subscription is there")
	}
	if got := b.Unfired(); len(got) != 0 {
		t.Errorf("unfired: %v", got)
	}
}

// What is held back keeps its place: a delayed packet delays those behind it.
func TestDelayedAndDoubled(t *testing.T) {
	t.Parallel()
	ctx, b := t.Context(), testkit.Run(t)
	got := make(chan string, 10)
	sub := connect(t, b, func(o *paho3.ClientOptions) { o.SetClientID("sub") })
	done(t, sub.Subscribe("a/#", 1, func(_ paho3.Client, m paho3.Message) { got <- string(m.Payload()) }))
	pub, _ := connect5(t, b, "pub", true)
	b.Conn("sub").DelayNext(testkit.PUBLISH, 20*time.Millisecond)
	for _, s := range []string{"1", "2", "3"} {
		must(pub.Publish(ctx, &paho.Publish{Topic: "a/b", QoS: 1, Payload: []byte(s)}))(t)
	}
	for _, want := range []string{"1", "2", "3"} {
		if s := <-got; s != want {
			t.Fatalf("got %s, want %s", s, want)
		}
	}
	b.Fault(chaos.Rule{At: "mqtt/PUBLISH", Topic: "a/t*ice", Do: chaos.Duplicate, Times: 1})
	must(pub.Publish(ctx, &paho.Publish{Topic: "a/twice", QoS: 0, Payload: []byte("x")}))(t)
	if one, two := <-got, <-got; one != "x" || two != "x" {
		t.Errorf("got %s and %s", one, two)
	}
}

// A delay ends with the rule: what it holds back goes on its way.
func TestDelayTakenBack(t *testing.T) {
	t.Parallel()
	ctx, b := t.Context(), testkit.Run(t)
	got := make(chan string, 10)
	sub := connect(t, b, func(o *paho3.ClientOptions) { o.SetClientID("sub") })
	done(t, sub.Subscribe("a", 1, func(_ paho3.Client, m paho3.Message) { got <- string(m.Payload()) }))
	pub, _ := connect5(t, b, "pub", true)
	hour := grammar.Duration(time.Hour)
	out := b.Fault(chaos.Rule{At: "mqtt/out/PUBLISH", Client: "sub", Do: chaos.Delay, Delay: hour})
	for _, s := range []string{"1", "2"} {
		must(pub.Publish(ctx, &paho.Publish{Topic: "a", QoS: 1, Payload: []byte(s)}))(t)
	}
	b.Want(t).Fault(out).Fired(2)
	in := b.Fault(chaos.Rule{At: "mqtt/in/PUBLISH", Client: "sub", Do: chaos.Delay, Delay: hour})
	token := sub.Publish("a", 1, false, "3")
	b.Want(t).Fault(in).Fired(1)
	in.Remove()
	b.Want(t).Fault(out).Fired(3)
	out.Remove()
	done(t, token) // its PUBACK was behind them
	for _, want := range []string{"1", "2", "3"} {
		if s := <-got; s != want {
			t.Fatalf("got %s, want %s", s, want)
		}
	}
}

// A delay does not keep the place of a client that has ended meanwhile: its will is published.
func TestDelayOfWhoIsGone(t *testing.T) {
	t.Parallel()
	b := testkit.Run(t, testkit.Virtual())
	dev := connect(t, b, func(o *paho3.ClientOptions) {
		o.SetClientID("dev1").SetKeepAlive(time.Minute).SetWill("wills/dev1", "gone", 1, false)
	})
	held := b.Conn("dev1").DelayNext(testkit.PUBLISH.FromClient(), time.Hour)
	dev.Publish("a", 1, false, "x")
	b.Want(t).Fault(held).Fired(1)
	b.Clock.AdvanceLiveness(10 * time.Minute)
	b.Want(t).Topic("wills").Count(1)
	if n := b.Topic("a").Count(); n != 0 {
		t.Errorf("%d messages of who is gone", n)
	}
}

// Who has more held back than is kept for a client is ended, and nobody else has to wait for it.
func TestTooMuchDelayed(t *testing.T) {
	t.Parallel()
	ctx, b := t.Context(), testkit.Run(t)
	slow, over := connect5(t, b, "slow", true)
	must(slow.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "a"}}}))(t)
	b.Fault(chaos.Rule{At: "mqtt/out/PUBLISH", Client: "slow", Do: chaos.Delay, Delay: grammar.Duration(time.Hour)})
	pub, _ := connect5(t, b, "pub", true)
	for range 17 {
		must(pub.Publish(ctx, &paho.Publish{Topic: "a", Payload: make([]byte, 4<<20)}))(t)
	}
	<-over
	must(pub.Publish(ctx, &paho.Publish{Topic: "a", QoS: 1}))(t)
}

func TestEnds(t *testing.T) {
	t.Parallel()
	b := testkit.Run(t)
	c, over := connect5(t, b, "dev1", false)
	b.Conn("dev1").DisconnectNext(testkit.PUBLISH.FromClient(), mqttwire.ServerBusy)
	_, err := c.Publish(context.Background(), &paho.Publish{Topic: "a/b", QoS: 1})
	if err == nil {
		t.Error("published on a connection that has ended")
	}
	<-over
	c, over = connect5(t, b, "dev1", false)
	reset := b.Conn("dev1").ResetNext(testkit.PUBACK)
	if _, err := c.Publish(context.Background(), &paho.Publish{Topic: "a/b", QoS: 1}); err == nil {
		t.Error("published on a connection that broke")
	}
	<-over
	b.Want(t).Topic("a").Count(1)
	if reset.Fired() != 1 {
		t.Error("the reset has not happened")
	}
}

// A producer that is told of another leader three times asks who leads, and tries again: nothing is lost, nothing is
// there twice.
func TestNotLeader(t *testing.T) {
	t.Parallel()
	ctx, b := t.Context(), testkit.Run(t)
	c := must(kgo.NewClient(kgo.SeedBrokers(b.Bootstrap()), kgo.AllowAutoTopicCreation(), kgo.ProducerLinger(0), kgo.RetryBackoffFn(func(int) time.Duration { return 0 })))(t)
	defer c.Close()
	other := b.API("Produce").Topic("else").FailNext(1, kerr.UnknownServerError.Code)
	f := b.API("Produce").Topic("orders").FailNext(3, kerr.NotLeaderForPartition.Code)
	check(t, c.ProduceSync(ctx, &kgo.Record{Topic: "orders", Value: []byte("x")}).FirstErr())
	if f.Fired() != 3 || other.Fired() != 0 || b.Topic("orders").Count() != 1 {
		t.Errorf("fired %d and %d, %d records", f.Fired(), other.Fired(), b.Topic("orders").Count())
	}
}

// An answer that is lost makes the producer send again; its sequence numbers have the record there once.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	ctx, b := t.Context(), testkit.Run(t)
	c := must(kgo.NewClient(kgo.SeedBrokers(b.Bootstrap()), kgo.AllowAutoTopicCreation(), kgo.ProducerLinger(0), kgo.RetryBackoffFn(func(int) time.Duration { return 0 })))(t)
	defer c.Close()
	f := b.API("Produce").LoseNext(1)
	check(t, c.ProduceSync(ctx, &kgo.Record{Topic: "orders", Value: []byte("x")}).FirstErr())
	if f.Fired() != 1 || b.Topic("orders").Count() != 1 {
		t.Errorf("fired %d, %d records", f.Fired(), b.Topic("orders").Count())
	}
}

// Whatever the API, its clients are given the code.
func TestKafkaFails(t *testing.T) {
	t.Parallel()
	ctx, b := t.Context(), testkit.Run(t)
	p := must(kgo.NewClient(kgo.SeedBrokers(b.Bootstrap()), kgo.AllowAutoTopicCreation(), kgo.ProducerLinger(0),
		kgo.RetryBackoffFn(func(int) time.Duration { return 0 })))(t)
	defer p.Close()
	planned := []*testkit.Fault{b.API("Produce").FailNext(1, kerr.NotLeaderForPartition.Code)}
	check(t, p.ProduceSync(ctx, &kgo.Record{Topic: "orders", Value: []byte("x")}).FirstErr())
	for api, code := range map[string]int16{
		"Fetch": kerr.NotLeaderForPartition.Code, "ListOffsets": kerr.NotLeaderForPartition.Code, "FindCoordinator": kerr.CoordinatorNotAvailable.Code,
		"JoinGroup": kerr.CoordinatorLoadInProgress.Code, "OffsetFetch": kerr.CoordinatorLoadInProgress.Code,
	} {
		planned = append(planned, b.API(api).FailNext(1, code))
	}
	c := must(kgo.NewClient(kgo.SeedBrokers(b.Bootstrap()), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("orders"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(), kgo.RetryBackoffFn(func(int) time.Duration { return 0 })))(t)
	defer c.Close()
	records := c.PollRecords(ctx, 1).Records()
	if len(records) != 1 || string(records[0].Value) != "x" {
		t.Fatalf("got %v", records)
	}
	for _, f := range planned {
		b.Want(t).Fault(f).Fired(1)
	}
	b.API("OffsetCommit").FailNext(1, kerr.OffsetMetadataTooLarge.Code)
	if err := c.CommitRecords(ctx, records[0]); !errors.Is(err, kerr.OffsetMetadataTooLarge) {
		t.Errorf("commit: %v", err)
	}
	check(t, c.CommitRecords(ctx, records[0]))
}

func TestConfirms(t *testing.T) {
	t.Parallel()
	ctx, b := t.Context(), testkit.Run(t)
	ch := channel(t, b)
	check(t, ch.Confirm(false))
	must(ch.QueueDeclare("q", true, false, false, false, nil))(t)
	publish := func(body string) *amqp.DeferredConfirmation {
		return must(ch.PublishWithDeferredConfirmWithContext(ctx, "", "q", false, false, amqp.Publishing{Body: []byte(body)}))(t)
	}
	b.Method("basic.publish").NackNext(1)
	if publish("nacked").Wait() {
		t.Error("a publish that was not taken is confirmed")
	}
	lost := b.Method("basic.ack").DropNext(1)
	first := publish("taken")
	b.Want(t).Fault(lost).Fired(1)
	if !publish("taken too").Wait() || !publish("and this").Wait() {
		t.Error("nacked")
	}
	if first.Acked() {
		t.Error("a confirm that was lost has come")
	}
	b.Want(t).Queue("q").Ready(3)
	b.Method("basic.ack").DelayNext(1, 10*time.Millisecond)
	if !publish("late").Wait() {
		t.Error("nacked")
	}
	if got := b.Unfired(); len(got) != 0 {
		t.Errorf("unfired: %v", got)
	}
}

func TestAMQPEnds(t *testing.T) {
	t.Parallel()
	ctx, b := t.Context(), testkit.Run(t)
	config := amqp.Config{Properties: amqp.NewConnectionProperties()}
	config.Properties.SetClientConnectionName("billing")
	conn := must(amqp.DialConfig(b.AMQP(), config))(t)
	defer conn.Close()
	blocked := conn.NotifyBlocked(make(chan amqp.Blocking, 2))
	ended := conn.NotifyClose(make(chan *amqp.Error, 1))
	ch := must(conn.Channel())(t)
	over := ch.NotifyClose(make(chan *amqp.Error, 1))
	b.Method("queue.declare").Of("billing").CloseNext(1, amqp.AccessRefused)
	if _, err := ch.QueueDeclare("q", true, false, false, false, nil); err == nil {
		t.Error("declared on a channel that is closed")
	}
	if e := <-over; e == nil || e.Code != amqp.AccessRefused || !strings.Contains(e.Reason, "planned fault") {
		t.Errorf("the channel has ended with %v", e)
	}

	ch = must(conn.Channel())(t)
	must(ch.QueueDeclare("q", true, false, false, false, nil))(t)
	b.Method("basic.publish").Of("bill*").BlockNext(1, 10*time.Millisecond)
	check(t, ch.PublishWithContext(ctx, "", "q", false, false, amqp.Publishing{Body: []byte("x")}))
	if x := <-blocked; !x.Active {
		t.Errorf("blocked: %+v", x)
	}
	if x := <-blocked; x.Active {
		t.Errorf("unblocked: %+v", x)
	}
	lost := b.Method("basic.deliver").DropNext(1)
	must(ch.Consume("q", "", false, false, false, false, nil))(t)
	b.Want(t).Fault(lost).Fired(1)
	b.Want(t).Queue("q").Unacked(1)
	b.Method("basic.publish").DisconnectNext(1, amqp.ConnectionForced)
	check(t, ch.PublishWithContext(ctx, "", "q", false, false, amqp.Publishing{Body: []byte("y")}))
	if e := <-ended; e == nil || e.Code != amqp.ConnectionForced {
		t.Errorf("the connection has ended with %v", e)
	}
	b.Want(t).Queue("q").Ready(1).Unacked(0)
}

// A connection that is blocked by plan is let go of with the plan.
func TestBlockTakenBack(t *testing.T) {
	t.Parallel()
	ctx, b := t.Context(), testkit.Run(t)
	conn := must(amqp.Dial(b.AMQP()))(t)
	defer conn.Close()
	blocked := conn.NotifyBlocked(make(chan amqp.Blocking, 2))
	ch := must(conn.Channel())(t)
	block := b.Method("basic.publish").BlockNext(1, time.Hour)
	check(t, ch.PublishWithContext(ctx, "", "q", false, false, amqp.Publishing{}))
	if x := <-blocked; !x.Active || x.Reason != "a planned fault" {
		t.Errorf("blocked: %+v", x)
	}
	block.Remove()
	if x := <-blocked; x.Active {
		t.Errorf("unblocked: %+v", x)
	}
}

// A hang that is over is over, whatever rules come later, and ends none but itself.
func TestHangsApart(t *testing.T) {
	t.Parallel()
	b := testkit.Run(t, testkit.Virtual())
	c := connect(t, b, func(o *paho3.ClientOptions) { o.SetClientID("dev1").SetKeepAlive(0) })
	b.Fault(chaos.Rule{At: "conn", Client: "dev1", Do: chaos.Hang, Delay: grammar.Duration(time.Minute)})
	token := c.Publish("a/b", 1, false, "x")
	b.Clock.AdvanceLiveness(time.Minute)
	done(t, token)
	wide := b.Conn("dev1").Bandwidth(1 << 30)
	done(t, c.Publish("a/b", 1, false, "x"))
	hang := b.Conn("dev1").Hang()
	token = c.Publish("a/b", 1, false, "x")
	b.Clock.AdvanceLiveness(time.Minute)
	done(t, connect(t, b, nil).Publish("c", 0, false, "x"))
	wide.Remove()
	if n := b.Topic("a").Count(); n != 2 {
		t.Errorf("%d messages, of which one came through a hang", n)
	}
	hang.Remove()
	done(t, token)
}

// A rule finds a client by its name within a WebSocket too.
func TestHangWebSocket(t *testing.T) {
	t.Parallel()
	b := testkit.Run(t)
	c := paho3.NewClient(paho3.NewClientOptions().AddBroker(b.WebSocket()).SetClientID("web").SetAutoReconnect(false))
	done(t, c.Connect())
	defer c.Disconnect(0)
	hang := b.Conn("web").Hang()
	if hang.Fired() != 1 {
		t.Fatal("the connection does not hang")
	}
	token := c.Publish("a", 1, false, "x")
	hang.Remove()
	done(t, token)
}

// A connection that hangs loses nothing: what was said meanwhile comes through once it goes on.
func TestHang(t *testing.T) {
	t.Parallel()
	b := testkit.Run(t)
	c := connect(t, b, func(o *paho3.ClientOptions) { o.SetClientID("dev1") })
	hang := b.Conn("dev1").Hang()
	if hang.Fired() != 1 {
		t.Fatal("the connection does not hang")
	}
	token := c.Publish("a/b", 1, false, "x")
	other := connect(t, b, nil)
	done(t, other.Publish("a/c", 1, false, "y"))
	if b.Topic("a/b").Count() != 0 {
		t.Error("something has passed")
	}
	hang.Remove()
	done(t, token)
	b.Want(t).Topic("a").Count(2)
}

func TestConnections(t *testing.T) {
	t.Parallel()
	ctx, b := t.Context(), testkit.Run(t)
	refuse := b.Refuse("mqtt")
	c := paho3.NewClient(paho3.NewClientOptions().AddBroker(b.MQTT()).SetConnectRetry(false))
	if token := c.Connect(); token.Wait() && token.Error() == nil {
		t.Error("a refused connection is there")
	}
	refuse.Remove()

	lost := make(chan struct{})
	connect(t, b, func(o *paho3.ClientOptions) {
		o.SetClientID("dev1").SetConnectionLostHandler(func(paho3.Client, error) { close(lost) })
	})
	b.Conn("dev1").ResetOnce()
	<-lost
	connect(t, b, func(o *paho3.ClientOptions) { o.SetClientID("dev1") })

	k := must(kgo.NewClient(kgo.SeedBrokers(b.Bootstrap()), kgo.AllowAutoTopicCreation(), kgo.ProducerLinger(0), kgo.ClientID("shop"), kgo.RetryBackoffFn(func(int) time.Duration { return 0 })))(t)
	defer k.Close()
	slow, late := b.Conn("shop").Bandwidth(1<<20), b.Conn("shop").Latency(time.Millisecond, time.Millisecond)
	check(t, k.ProduceSync(ctx, &kgo.Record{Topic: "orders", Value: make([]byte, 10_000)}).FirstErr())
	if slow.Fired() == 0 || late.Fired() == 0 {
		t.Errorf("slow %d, late %d connections", slow.Fired(), late.Fired())
	}
	cut := b.Fault(chaos.Rule{At: "conn/kafka", Client: "shop", Do: chaos.Reset, Bytes: 5000, Times: 1})
	check(t, k.ProduceSync(ctx, &kgo.Record{Topic: "orders", Value: make([]byte, 10_000)}, &kgo.Record{Topic: "orders", Value: make([]byte, 3000)}).FirstErr())
	cut.Remove()
	if n := b.Topic("orders").Count(); n != 3 {
		t.Errorf("%d records", n)
	}
}
