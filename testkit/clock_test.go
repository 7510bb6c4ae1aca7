package testkit_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/kernel/group"
	"github.com/robustmq/rmq/testkit"
)

func admin(t testing.TB, b *testkit.Broker) *adminapi.Client {
	t.Helper()
	return must(adminapi.NewClient(b.HTTP(), nil))(t)
}

// dial5 returns a connected client of MQTT 5, and its connection.
func dial5(t *testing.T, b *testkit.Broker, cp *paho.Connect) (*paho.Client, net.Conn) {
	t.Helper()
	link := must(net.Dial("tcp", strings.TrimPrefix(b.MQTT(), "mqtt://")))(t)
	t.Cleanup(func() { _ = link.Close() })
	c := paho.NewClient(paho.ClientConfig{Conn: link, ClientID: cp.ClientID})
	must(c.Connect(t.Context(), cp))(t)
	return c, link
}

// Everything that goes by broker time happens as a day is advanced over HTTP, in its order; who is
// connected stays so, whatever its keep alive.
func TestClockOverHTTP(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	start := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	b := testkit.Run(t, testkit.VirtualAt(start))
	api := admin(t, b)

	// A client that stays, with a keep alive and a heartbeat that are shorter than every step.
	stays, _ := dial5(t, b, &paho.Connect{ClientID: "stays", CleanStart: true, KeepAlive: 60})
	conn := must(amqp.DialConfig(b.AMQP(), amqp.Config{Heartbeat: time.Minute}))(t)
	defer conn.Close()
	ch := must(conn.Channel())(t)

	// A session that expires, with a will that comes before.
	expiry, delay := uint32(7200), uint32(3600)
	_, lost := dial5(t, b, &paho.Connect{
		ClientID: "lost", CleanStart: true, Properties: &paho.ConnectProperties{SessionExpiryInterval: &expiry},
		WillMessage: &paho.WillMessage{Topic: "gone/lost", Payload: []byte("bye"), QoS: 1, Retain: true}, WillProperties: &paho.WillProperties{WillDelayInterval: &delay},
	})
	check(t, lost.Close())
	b.Want(t).Session("lost").Away()

	// A retained message that expires.
	life := uint32(3600)
	must(stays.Publish(ctx, &paho.Publish{Topic: "short/lived", QoS: 1, Retain: true, Payload: []byte("x"), Properties: &paho.PublishProperties{MessageExpiry: &life}}))(t)
	// A message whose TTL leads to a dead-letter queue.
	must(ch.QueueDeclare("work", true, false, false, false, amqp.Table{"x-message-ttl": int32(3_600_000), "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}))(t)
	must(ch.QueueDeclare("dead", true, false, false, false, nil))(t)
	check(t, ch.PublishWithContext(ctx, "", "work", false, false, amqp.Publishing{Body: []byte("x")}))
	// A delayed one.
	check(t, ch.ExchangeDeclare("later", "x-delayed-message", true, false, false, false, amqp.Table{"x-delayed-type": "direct"}))
	must(ch.QueueDeclare("delayed", true, false, false, false, nil))(t)
	check(t, ch.QueueBind("delayed", "k", "later", false, nil))
	check(t, ch.Confirm(false))
	confirm := must(ch.PublishWithDeferredConfirm("later", "k", false, false, amqp.Publishing{Headers: amqp.Table{"x-delay": int32(1_800_000)}, Body: []byte("x")}))(t)
	if !confirm.Wait() {
		t.Fatal("nacked")
	}
	// A record that is kept for an hour.
	k := must(kgo.NewClient(kgo.SeedBrokers(b.Bootstrap())))(t)
	defer k.Close()
	hour := "3600000"
	must(kadm.NewClient(k).CreateTopic(ctx, 1, 1, map[string]*string{"retention.ms": &hour}, "orders"))(t)
	check(t, k.ProduceSync(ctx, &kgo.Record{Topic: "orders", Value: []byte("x"), Timestamp: start}).FirstErr())

	b.Want(t).Queue("work").Ready(1)
	state := func() [7]int {
		count := func(there bool) int { return map[bool]int{true: 1}[there] }
		return [7]int{
			b.Queue("work").Ready(), b.Queue("dead").Ready(), b.Queue("delayed").Ready(), b.Topic("orders").Count(),
			len(b.Retained("short/#")), len(b.Retained("gone/#")), count(b.Session("lost").Exists()),
		}
	}
	var due []string
	for _, d := range must(api.Due(ctx))(t).Due {
		due = append(due, fmt.Sprintf("%v %s %s %d", d.Next.Sub(start), d.Kind, d.Name, d.Count))
	}
	if want := []string{"30m0s delayed later 1", "1h0m0s message work 1", "1h0m0s retained short/lived 1", "1h0m0s will lost 1"}; !slices.Equal(due, want) {
		t.Errorf("due are %q, want %q", due, want)
	}
	for _, step := range []struct {
		by   time.Duration
		want [7]int
	}{
		{0, [7]int{1, 0, 0, 1, 1, 0, 1}},
		{30 * time.Minute, [7]int{1, 0, 1, 1, 1, 0, 1}},
		{31 * time.Minute, [7]int{0, 1, 1, 0, 0, 1, 1}},
		{24 * time.Hour, [7]int{0, 1, 1, 0, 0, 1, 0}},
	} {
		now, err := api.MoveClock(ctx, adminapi.ClockMove{By: step.by})
		check(t, err)
		if step.by == 31*time.Minute { // the will has come, the session is what is left
			if left := must(api.Due(ctx))(t).Due; len(left) != 1 || left[0].Kind != "session" || left[0].Name != "lost" || !left[0].Next.Equal(start.Add(2*time.Hour)) {
				t.Errorf("after an hour %+v is due", left)
			}
		}
		if got := state(); got != step.want {
			t.Errorf("at %v: work, dead, delayed, orders, short/#, gone/#, session are %v, want %v", now.Now, got, step.want)
		}
	}
	c := must(api.Clock(ctx))(t)
	if want := start.Add(25*time.Hour + time.Minute); !c.Now.Equal(want) || !c.Frozen || c.Kind != adminapi.ClockVirtual {
		t.Errorf("the clock is %+v, want it to stand at %v", c, want)
	}
	must(stays.Publish(ctx, &paho.Publish{Topic: "still/here", QoS: 1, Payload: []byte("x")}))(t)
	must(ch.QueueDeclare("still-here", true, false, false, false, nil))(t)
}

// With liveness, whoever has a keep alive, a heartbeat or a session timeout counts as silent meanwhile;
// who has none stays.
func TestClockLiveness(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	b := testkit.Run(t, testkit.Virtual())
	expiry := uint32(3600)
	silent, _ := dial5(t, b, &paho.Connect{ClientID: "silent", CleanStart: true, KeepAlive: 60, Properties: &paho.ConnectProperties{SessionExpiryInterval: &expiry}})
	stays, _ := dial5(t, b, &paho.Connect{ClientID: "stays", CleanStart: true})
	conn := must(amqp.DialConfig(b.AMQP(), amqp.Config{Heartbeat: 20 * time.Second}))(t)
	defer conn.Close()
	closed := conn.NotifyClose(make(chan *amqp.Error, 1))
	must(must(conn.Channel())(t).QueueDeclare("q", false, false, true, false, nil))(t) // dies with its connection
	k := must(kgo.NewClient(kgo.SeedBrokers(b.Bootstrap()), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.AllowAutoTopicCreation()))(t)
	defer k.Close()
	b.Want(t).Group("g").Stable(1)
	was, _ := b.Group("g").Info()

	_, err := admin(t, b).MoveClock(ctx, adminapi.ClockMove{By: 30 * time.Minute, Liveness: true})
	check(t, err)
	if b.Session("silent").Connected() || !b.Session("silent").Exists() || b.Queue("q").Exists() {
		t.Errorf("half an hour of silence: session connected %v, there %v; queue of the connection there %v",
			b.Session("silent").Connected(), b.Session("silent").Exists(), b.Queue("q").Exists())
	}
	now, _ := b.Group("g").Info() // it may be in again, as somebody else
	if slices.ContainsFunc(now.Members, func(m group.MemberDescription) bool { return m.ID == was.Members[0].ID }) {
		t.Errorf("the member is still in the group: %+v", now)
	}
	<-closed
	<-silent.Done()
	must(stays.Publish(ctx, &paho.Publish{Topic: "still/here", QoS: 1, Payload: []byte("x")}))(t)
	b.Clock.Advance(time.Hour)
	if b.Session("silent").Exists() {
		t.Error("the session of the lost client has not expired")
	}
}

// A clock that runs goes on by itself and can be moved on; frozen, it stands.
func TestClockRuns(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	b := testkit.Run(t, testkit.Virtual())
	api := admin(t, b)
	if c := must(api.FreezeClock(ctx, false))(t); c.Frozen {
		t.Errorf("%+v", c)
	}
	ch := channel(t, b)
	must(ch.QueueDeclare("soon", true, false, false, false, amqp.Table{"x-message-ttl": int32(1)}))(t)
	must(ch.QueueDeclare("late", true, false, false, false, amqp.Table{"x-message-ttl": int32(3_600_000)}))(t)
	for _, q := range []string{"soon", "late"} {
		check(t, ch.PublishWithContext(ctx, "", q, false, false, amqp.Publishing{Body: []byte("x")}))
	}
	b.Want(t).Queue("late").Ready(1)
	b.Want(t).Queue("soon").Ready(0) // by itself
	before := must(api.Clock(ctx))(t).Now
	if c := must(api.MoveClock(ctx, adminapi.ClockMove{By: 2 * time.Hour}))(t); c.Frozen || c.Now.Before(before.Add(2*time.Hour)) || b.Queue("late").Ready() != 0 {
		t.Errorf("%+v after %v, and %d wait", c, before, b.Queue("late").Ready())
	}
	frozen := must(api.FreezeClock(ctx, true))(t)
	done(t, connect(t, b, func(o *paho3.ClientOptions) { o.SetClientID("x") }).Publish("a", 1, false, "x"))
	if now := must(api.Clock(ctx))(t); !now.Now.Equal(frozen.Now) || !now.Frozen {
		t.Errorf("frozen at %v, it shows %+v", frozen.Now, now)
	}
	if _, err := api.MoveClock(ctx, adminapi.ClockMove{To: frozen.Now.Add(-time.Second)}); err == nil || !strings.Contains(err.Error(), "time does not go back") {
		t.Errorf("it went back: %v", err)
	}
}

// The nodes of a cluster of one process have one clock: whichever is asked, what comes of it has
// happened on all.
func TestClockOfCluster(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c := testkit.Cluster(t, 3, testkit.Virtual())
	ch := channel(t, c.Node(1))
	for name, next := range map[string]string{"one": "two", "two": "three", "three": ""} {
		args := amqp.Table{}
		if next != "" {
			args = amqp.Table{"x-message-ttl": int32(3_600_000), "x-dead-letter-exchange": "", "x-dead-letter-routing-key": next}
		}
		must(ch.QueueDeclare(name, true, false, false, false, args))(t)
	}
	check(t, ch.PublishWithContext(ctx, "", "one", false, false, amqp.Publishing{Body: []byte("x")}))
	c.Node(1).Want(t).Queue("one").Ready(1)
	_, err := admin(t, c.Node(2)).MoveClock(ctx, adminapi.ClockMove{By: 2 * time.Hour})
	check(t, err)
	for id := 1; id <= 3; id++ {
		c.Node(id).Want(t).Queue("three").Ready(1)
	}
	_, err = admin(t, c.Node(3)).MoveClock(ctx, adminapi.ClockMove{By: time.Hour, Liveness: true})
	check(t, err)
	must(channel(t, c.Node(1)).QueueDeclare("four", true, false, false, false, nil))(t) // they agree again
}

func TestClockOfTheMachine(t *testing.T) {
	t.Parallel()
	b := testkit.Run(t)
	api := admin(t, b)
	if c := must(api.Clock(t.Context()))(t); c.Kind != adminapi.ClockReal || c.Frozen || time.Since(c.Now).Abs() > time.Hour {
		t.Errorf("%+v", c)
	}
	_, err := api.MoveClock(context.Background(), adminapi.ClockMove{By: time.Hour})
	if e := adminapi.ErrorOf(err); err == nil || e.Category != adminapi.CategoryConflict || !strings.Contains(e.Hint, "--clock virtual") {
		t.Errorf("%v", err)
	}
}
