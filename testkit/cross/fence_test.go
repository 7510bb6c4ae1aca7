package cross

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	amqp091 "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/testkit"
)

// damaged is a broker on a directory of which two things were damaged while nobody had it open: the
// segment of stream "orders", of which a file is missing, and the bodies of one of two shards of what is
// asynchronous, as all is that this namespace makes: that of queue "letters", and of one stream at
// least, whose name is returned. Stream "audit" and queue "jobs" are whole.
func damaged(t *testing.T) (e *env, shard uint32, events string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	ctx := t.Context()
	kerneltest.Directory(t, dir, 2, func(k *kernel.Kernel) {
		queue := func(name string, d kernel.Durability) {
			must1(t)(k.DeclareQueue(ctx, kernel.QueueSpec{
				Namespace: "/", Name: name, Durable: true, Durability: d, MessageTTL: -1, MaxLength: -1, MaxLengthBytes: -1, DeliveryLimit: -1,
			}))
			kerneltest.FillQueue(t, k, name, 300)
		}
		stream := func(name string, d kernel.Durability) {
			must(k.CreateStream(ctx, kernel.StreamSpec{Namespace: "/", Address: name, Partitions: 1, Durability: d}))(t)
			kerneltest.Fill(t, k, name, 300)
		}
		stream("orders", kernel.Sync)
		stream("audit", kernel.Sync)
		for _, name := range eventStreams {
			stream(name, kernel.Async)
		}
		queue("jobs", kernel.Sync)
		queue("letters", kernel.Async)
		must(k.ConfigureNamespace(ctx, "/", kernel.Async))(t)
	})
	files := func(shard uint32, log int) []string {
		return must(filepath.Glob(filepath.Join(dir, fmt.Sprintf("segments/%08x/%016x/*.seg", shard, log))))(t)
	}
	orders := files(1, 1) // the first stream has the first log of its shard
	if len(orders) == 0 {
		orders = files(2, 1)
	}
	shard = 1000
	if len(files(shard, 0)) == 0 {
		shard = 1001
	}
	bodies := files(shard, 0)
	if len(orders) < 3 || len(bodies) == 0 {
		t.Fatalf("segments of orders are %q, of bodies %q: the directory is too small", orders, bodies)
	}
	check(t, os.Remove(orders[1]))
	check(t, os.Remove(bodies[0]))
	e = start(t, testkit.DataDir(dir), testkit.Production())
	for _, name := range eventStreams {
		if st, _ := e.Kernel().Stream("/", name); st.Parts[0].Shard == shard {
			return e, shard, name
		}
	}
	t.Fatal("no stream lies in the shard that was damaged")
	panic("unreachable")
}

var eventStreams = []string{"events1", "events2", "events3", "events4"}

func must1(t *testing.T) func(kernel.QueueInfo, bool, error) {
	return func(_ kernel.QueueInfo, _ bool, err error) {
		t.Helper()
		check(t, err)
	}
}

// Whoever uses what is damaged is told so, in each protocol's own words; everybody else, on the same
// connection too where the protocol can say it of one thing alone, goes on.
func TestDamaged(t *testing.T) {
	if *nodesFlag > 1 {
		t.Skip("the damage is done to the directory of a broker of one node")
	}
	e, shard, events := damaged(t)
	if d := e.Kernel().Damages(); len(d) != 2 || d[0].Address != "orders" || uint32(d[1].Shard) != shard || d[1].Address != "" {
		t.Fatalf("damaged is %v", d)
	}
	t.Run("Kafka", func(t *testing.T) { // error 56, of the partition
		for topic, want := range map[string]error{"orders": kerr.KafkaStorageError, events: kerr.KafkaStorageError, "audit": nil} {
			c := e.kafka(kgo.RecordRetries(0), kgo.MetadataMinAge(10*time.Millisecond))
			if err := c.ProduceSync(e.ctx, &kgo.Record{Topic: topic, Value: []byte("x")}).FirstErr(); !errors.Is(err, want) {
				t.Errorf("produce to %s: %v, want %v", topic, err, want)
			}
			c = e.kafka(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().At(0)}}), kgo.KeepRetryableFetchErrors(), kgo.MetadataMinAge(10*time.Millisecond))
			if err := c.PollFetches(e.ctx).Err(); !errors.Is(err, want) {
				t.Errorf("fetch from %s: %v, want %v", topic, err, want)
			}
		}
	})
	t.Run("MQTT 5", func(t *testing.T) { // reason 0x80, of the packet
		c := e.mqtt()
		for topic, want := range map[string]byte{"orders/x": 0x80, events + "/x": 0x80, "audit/x": 0x10} { // 0x10: no subscriber
			for _, qos := range []byte{1, 2} {
				r, err := c.Publish(e.ctx, &paho.Publish{Topic: topic, QoS: qos, Payload: []byte("x")})
				if r == nil || r.ReasonCode != want && !(want == 0x10 && r.ReasonCode == 0) { // PUBCOMP: 0
					t.Errorf("publish to %s at QoS %d: %+v, %v, want reason %#x", topic, qos, r, err, want)
				}
			}
		}
		// Sessions lie in either shard, and so do the queues of shared subscriptions.
		var whole *paho.Client
		refused := 0
		for i := range 8 {
			link := must(net.Dial("tcp", strings.TrimPrefix(e.MQTT(), "mqtt://")))(t)
			defer link.Close()
			c := paho.NewClient(paho.ClientConfig{Conn: link})
			ack, err := c.Connect(e.ctx, &paho.Connect{
				ClientID: fmt.Sprint("dev", i), KeepAlive: 60, Properties: &paho.ConnectProperties{SessionExpiryInterval: ptr(uint32(600))},
			})
			switch {
			case err == nil:
				whole = c
			case ack != nil && ack.ReasonCode == 0x80:
				refused++
			default:
				t.Errorf("connect: %+v, %v, want reason 0x80", ack, err)
			}
		}
		if refused == 0 || whole == nil {
			t.Fatalf("%d of 8 sessions are refused: the test is too small", refused)
		}
		subscribe := &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "a/b", QoS: 1}}}
		for i := range 8 {
			subscribe.Subscriptions = append(subscribe.Subscriptions, paho.SubscribeOptions{Topic: fmt.Sprintf("$share/g%d/a/b", i), QoS: 1})
		}
		s, err := whole.Subscribe(e.ctx, subscribe)
		if s == nil || len(s.Reasons) != 9 || s.Reasons[0] != 1 || !slices.Contains(s.Reasons, 0x80) || !slices.Contains(s.Reasons[1:], 1) {
			t.Errorf("subscribe: %+v, %v, want reason 1, and 0x80 for some of those that are shared", s, err)
		}
		c = e.sub("a/b")
		e.publishMQTT(&paho.Publish{Topic: "a/b", QoS: 0, Payload: []byte("live")})
		if m := c.next(); string(m.Payload) != "live" {
			t.Errorf("got %q", m.Payload)
		}
	})
	t.Run("AMQP", func(t *testing.T) { // a publish is nacked; else 541, which ends the connection
		uses := map[string]func(*amqpClient, string) error{
			"declare": func(c *amqpClient, q string) error {
				_, err := c.QueueDeclare(q, true, false, false, false, nil)
				return err
			},
			"get": func(c *amqpClient, q string) error {
				_, _, err := c.Get(q, true)
				return err
			},
			"consume": func(c *amqpClient, q string) error {
				_, err := c.Consume(q, "", false, false, false, false, nil)
				return err
			},
			"purge": func(c *amqpClient, q string) error {
				_, err := c.QueuePurge(q, false)
				return err
			},
		}
		neighbour := e.amqp()
		check(t, neighbour.Confirm(false))
		for use, f := range uses {
			var failed *amqp091.Error
			if err := f(e.amqp(), "letters"); !errors.As(err, &failed) || failed.Code != amqp091.InternalError {
				t.Errorf("%s of letters: %v, want 541", use, err)
			}
			check(t, f(e.amqp(), "jobs"))
		}
		for queue, want := range map[string]bool{"letters": false, "jobs": true} { // on one connection
			confirm := must(neighbour.PublishWithDeferredConfirmWithContext(e.ctx, "", queue, false, false, amqp091.Publishing{DeliveryMode: amqp091.Persistent, Body: []byte("x")}))(t)
			if ok, err := confirm.WaitContext(e.ctx); err != nil || ok != want {
				t.Errorf("publish to %s: confirmed %v, %v", queue, ok, err)
			}
		}
	})
	if d := e.Kernel().Damages(); len(d) != 2 {
		t.Errorf("using it has damaged more: %v", d)
	}
}
