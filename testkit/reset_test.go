package testkit_test

import (
	"testing"
	"time"

	paho3 "github.com/eclipse/paho.mqtt.golang"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/testkit"
)

// A reset leaves nothing that a test has made, whoever is connected still, and nothing that would have come of it later.
func TestReset(t *testing.T) {
	t.Parallel()
	ctx, b := t.Context(), testkit.Run(t, testkit.Virtual(), testkit.User("ann", "secret"))
	login := func(o *paho3.ClientOptions) { o.SetUsername("ann").SetPassword("secret") }
	dev := connect(t, b, func(o *paho3.ClientOptions) {
		login(o)
		o.SetClientID("dev1").SetCleanSession(false).SetWill("wills/dev1", "gone", 1, true)
	})
	done(t, dev.Subscribe("plant/#", 1, nil))
	done(t, dev.Publish("plant/dev1", 1, true, "21.5"))
	done(t, dev.Publish("$plant/dev1", 1, true, "22")) // which "#" does not match
	done(t, dev.Publish("$delayed/3600/later", 1, false, "x"))

	conn := must(amqp.Dial("amqp://ann:secret@" + b.AMQP()[len("amqp://"):]))(t)
	defer conn.Close()
	ch := must(conn.Channel())(t)
	dead := amqp.Table{"x-message-ttl": int32(60_000), "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
	must(ch.QueueDeclare("jobs", true, false, false, false, dead))(t)
	must(ch.QueueDeclare("", false, true, true, false, nil))(t)
	check(t, ch.ExchangeDeclare("orders", "topic", true, false, false, false, nil))
	check(t, ch.QueueBind("jobs", "#", "orders", false, nil))
	check(t, ch.ExchangeBind("amq.fanout", "#", "amq.topic", false, nil))
	cancelled := ch.NotifyCancel(make(chan string, 1))
	must(ch.Consume("jobs", "worker", false, false, false, false, nil))(t)
	check(t, ch.PublishWithContext(ctx, "", "jobs", false, false, amqp.Publishing{Body: []byte("x")}))
	b.Want(t).Queue("jobs").Unacked(1)

	ann := plain.Auth{User: "ann", Pass: "secret"}.AsMechanism()
	k := must(kgo.NewClient(kgo.SeedBrokers(b.Bootstrap()), kgo.SASL(ann), kgo.AllowAutoTopicCreation(), kgo.ProducerLinger(0)))(t)
	check(t, k.ProduceSync(ctx, &kgo.Record{Topic: "orders", Value: []byte("x")}).FirstErr())
	k.Close()
	reader := must(kgo.NewClient(kgo.SeedBrokers(b.Bootstrap()), kgo.SASL(ann), kgo.ConsumerGroup("billing"), kgo.ConsumeTopics("orders"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())))(t)
	if f := reader.PollFetches(ctx); f.NumRecords() != 1 {
		t.Fatalf("%d records: %v", f.NumRecords(), f.Err())
	}
	check(t, reader.CommitUncommittedOffsets(ctx))
	reader.CloseAllowingRebalance()
	b.Conn("dev1").DropNext(testkit.PUBACK)

	got := b.Reset()
	if want := (adminapi.Reset{Sessions: 1, Groups: 1, Retained: 3, Delayed: 1, Queues: 2, Exchanges: 1, Bindings: 1, Topics: got.Topics, Faults: 1}); got != want {
		t.Errorf("it has taken away %+v, want %+v", got, want)
	}
	if tag := <-cancelled; tag != "worker" {
		t.Errorf("cancelled: %s", tag)
	}
	b.Clock.Advance(24 * time.Hour)
	api := b.Admin()
	topics := must(api.Topics(ctx, adminapi.Query{}))(t)
	queues := must(api.Queues(ctx, adminapi.Query{}))(t)
	sessions := must(api.Sessions(ctx, adminapi.Query{}))(t)
	groups := must(api.Groups(ctx, adminapi.Query{}))(t)
	retained := must(api.Retained(ctx, adminapi.Query{}, "#"))(t)
	if n := len(topics) + len(queues) + len(sessions) + len(groups) + len(retained); n != 0 {
		t.Errorf("there are topics %v, queues %v, sessions %v, groups %v, retained %v", topics, queues, sessions, groups, retained)
	}
	if again := b.Reset(); again != (adminapi.Reset{}) {
		t.Errorf("a second reset has taken away %+v", again)
	}

	must(ch.QueueDeclare("jobs", true, false, false, false, nil))(t) // what is there is there for the next test, users too
	done(t, connect(t, b, login).Publish("plant/dev1", 1, false, "x"))
	b.Want(t).Topic("plant").Count(1)
}

// What is on disk is nobody's to empty.
func TestResetOnDisk(t *testing.T) {
	t.Parallel()
	b := testkit.Run(t, testkit.MemoryDisk())
	done(t, connect(t, b, nil).Publish("plant", 1, false, "x"))
	if _, err := b.Admin().Reset(t.Context()); err == nil || adminapi.ErrorOf(err).Category != "conflict" {
		t.Errorf("reset: %v", err)
	}
	b.Want(t).Topic("plant").Count(1)
}
