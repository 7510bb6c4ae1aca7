package cross

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"
	amqp091 "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/robustmq/rmq/broker"
	"github.com/robustmq/rmq/broker/storage/filelog"
	"github.com/robustmq/rmq/broker/storage/storagetest"
	"github.com/robustmq/rmq/broker/vfs"
)

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// On a full device each protocol tells its publishers so in its own way, consumers go on on
// the connections that publish, and what was held back goes on when there is space.
func TestFullDevice(t *testing.T) {
	disk := vfs.NewMem()
	engine, err := filelog.Open("data", filelog.Options{FS: disk, Checkpoints: func(path string) (filelog.CheckpointStore, error) {
		return storagetest.OpenCheckpoints(disk, path), nil
	}})
	ok(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	b, err := broker.Open(ctx, broker.Config{Engine: engine, Ports: broker.AnyPorts(), Profile: broker.Production})
	ok(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := b.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	host := func(url string) string { _, h, _ := strings.Cut(url, "://"); return h }

	// AMQP: one connection that publishes and consumes.
	conn, err := amqp091.Dial("amqp://guest:guest@" + host(b.URLs().AMQP) + "/")
	ok(t, err)
	defer conn.Close()
	blocked := conn.NotifyBlocked(make(chan amqp091.Blocking, 10))
	ch, err := conn.Channel()
	ok(t, err)
	ok(t, ch.Confirm(false))
	_, err = ch.QueueDeclare("jobs", true, false, false, false, nil)
	ok(t, err)
	job := func(body string) *amqp091.DeferredConfirmation {
		t.Helper()
		d, err := ch.PublishWithDeferredConfirm("", "jobs", false, false, amqp091.Publishing{Body: []byte(body), DeliveryMode: 2})
		ok(t, err)
		return d
	}
	for i := range 6 {
		if acked, err := job(fmt.Sprint(i)).WaitContext(ctx); err != nil || !acked {
			t.Fatalf("job %d: acked %v, %v", i, acked, err)
		}
	}
	ok(t, ch.Qos(2, 0, false))
	jobs, err := ch.Consume("jobs", "", false, false, false, false, nil)
	ok(t, err)

	// Kafka: a topic, with a record.
	kafka := func(opts ...kgo.Opt) *kgo.Client {
		cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(host(b.URLs().Kafka)), kgo.DefaultProduceTopic("log")}, opts...)...)
		ok(t, err)
		t.Cleanup(cl.Close)
		return cl
	}
	producer := kafka()
	_, err = kadm.NewClient(producer).CreateTopic(ctx, 1, 1, nil, "log")
	ok(t, err)
	ok(t, producer.ProduceSync(ctx, kgo.StringRecord("before")).FirstErr())

	// MQTT: sessions that stay, so that a log has to keep what they are sent.
	mqtt5 := func(id string) *paho.Client {
		nc, err := net.Dial("tcp", host(b.URLs().MQTT))
		ok(t, err)
		c := paho.NewClient(paho.ClientConfig{Conn: nc, ClientID: id})
		expiry := uint32(3600)
		_, err = c.Connect(ctx, &paho.Connect{ClientID: id, KeepAlive: 60, CleanStart: true, Properties: &paho.ConnectProperties{SessionExpiryInterval: &expiry}})
		ok(t, err)
		return c
	}
	away := mqtt5("away")
	_, err = away.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "t/#", QoS: 1}}})
	ok(t, err)
	ok(t, away.Disconnect(&paho.Disconnect{}))
	five := mqtt5("five")
	three := paho3.NewClient(paho3.NewClientOptions().AddBroker("tcp://" + host(b.URLs().MQTT)).SetClientID("three").SetAutoReconnect(false))
	if token := three.Connect(); !token.WaitTimeout(patience) || token.Error() != nil {
		t.Fatalf("connect: %v", token.Error())
	}
	defer three.Disconnect(0)

	// Somebody takes all that there was.
	turned := make(chan struct{}, 100)
	b.Kernel().OnRefusal(func() { turned <- struct{}{} })
	disk.Limit(disk.Used())
	next(t, turned, "refusal")

	delayed := job("late")
	if n := next(t, blocked, "connection.blocked"); !n.Active {
		t.Errorf("told %+v", n)
	}
	waits := three.Publish("t/3", 1, false, "three")
	r, err := five.Publish(ctx, &paho.Publish{Topic: "t/5", QoS: 1, Payload: []byte("five")})
	if err == nil || r == nil || r.ReasonCode != 0x97 {
		t.Errorf("MQTT 5 was answered %+v, %v", r, err)
	}
	shed := b.Kernel().Stats().Shed.Load()
	_, err = five.Publish(ctx, &paho.Publish{Topic: "log", QoS: 0, Payload: []byte("zero")})
	ok(t, err)
	err = kafka(kgo.RecordRetries(0), kgo.DisableIdempotentWrite()).ProduceSync(ctx, kgo.StringRecord("refused")).FirstErr()
	if !errors.Is(err, kerr.KafkaStorageError) {
		t.Errorf("Kafka was answered %v", err)
	}
	produced := make(chan error, 1)
	producer.Produce(ctx, kgo.StringRecord("late"), func(_ *kgo.Record, err error) { produced <- err })

	// Consumers go on: on the connection that is blocked, too.
	for i := range 6 {
		d := next(t, jobs, "job")
		if string(d.Body) != fmt.Sprint(i) {
			t.Errorf("job %d is %q", i, d.Body)
		}
		ok(t, d.Ack(false))
	}
	consumer := kafka(kgo.ConsumerGroup("g"), kgo.ConsumeTopics("log"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit())
	fetched := consumer.PollFetches(ctx)
	ok(t, fetched.Err())
	if rs := fetched.Records(); len(rs) != 1 || string(rs[0].Value) != "before" {
		t.Errorf("%d records are read", len(rs))
	}
	ok(t, consumer.CommitUncommittedOffsets(ctx))
	select {
	case <-waits.Done():
		t.Errorf("MQTT 3 was answered, %v", waits.Error())
	case <-delayed.Done():
		t.Error("AMQP was answered")
	case err := <-produced:
		t.Errorf("Kafka gave up: %v", err)
	default:
	}
	if a := b.Kernel().Alarms(); len(a) != 1 || !strings.HasPrefix(a[0], "log full: ") {
		t.Errorf("alarms are %q", a)
	}

	// There is space again.
	disk.Limit(0)
	if acked, err := delayed.WaitContext(ctx); err != nil || !acked {
		t.Errorf("AMQP: acked %v, %v", acked, err)
	}
	if n := next(t, blocked, "connection.unblocked"); n.Active {
		t.Errorf("told %+v", n)
	}
	if d := next(t, jobs, "job"); string(d.Body) != "late" {
		t.Errorf("the last job is %q", d.Body)
	}
	if !waits.WaitTimeout(patience) || waits.Error() != nil {
		t.Errorf("MQTT 3: %v", waits.Error())
	}
	ok(t, next(t, produced, "answer to Kafka"))
	if _, err = five.Publish(ctx, &paho.Publish{Topic: "t/5", QoS: 1, Payload: []byte("five")}); err != nil {
		t.Errorf("MQTT 5: %v", err)
	}
	if n := b.Kernel().Stats().Shed.Load() - shed; n != 1 {
		t.Errorf("%d publishes of QoS 0 are counted as let go", n)
	}
	ok(t, five.Disconnect(&paho.Disconnect{}))
}
