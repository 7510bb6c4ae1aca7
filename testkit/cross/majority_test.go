package cross

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	batches "github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/testkit"
)

// produceOnce sends one record to one broker, and tries nothing again.
func (e *env) produceOnce(c *kgo.Client, topic string) error {
	e.t.Helper()
	now := time.Now().UnixMilli()
	var b batches.Builder
	b.Reset(nil, now)
	b.Add(now, nil, []byte("once"))
	q := kmsg.NewProduceRequest()
	q.Acks, q.TimeoutMillis = -1, 300
	t, p := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
	t.Topic, p.Records = topic, b.Finish()
	t.Partitions = append(t.Partitions, p)
	q.Topics = append(q.Topics, t)
	resp := must(c.SeedBrokers()[0].Request(e.ctx, &q))(e.t)
	return kerr.ErrorForCode(resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode)
}

// Two of three nodes are gone. The third acknowledges nothing: publishers wait, or are told in the words of their
// protocol to try again; and what would change anything is refused in time. When a second node is back
// all goes on, and what waited is done.
func TestWithoutAMajority(t *testing.T) {
	t.Parallel()
	nodes := testkit.Cluster(t, 3)
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	e := &env{t: t, Broker: nodes.Node(1), ctx: ctx}
	e.createTopic("orders", 1)
	e.produce(&kgo.Record{Topic: "orders", Value: []byte("before")})
	link := must(net.Dial("tcp", strings.TrimPrefix(e.MQTT(), "mqtt://")))(t)
	m := paho.NewClient(paho.ClientConfig{Conn: link, PacketTimeout: 2 * patience})
	must(m.Connect(e.ctx, &paho.Connect{ClientID: "early", CleanStart: true, KeepAlive: 60}))(t)
	defer func() { _ = m.Disconnect(&paho.Disconnect{}) }()
	ended := make(chan byte, 1)
	first := paho.NewClient(paho.ClientConfig{Conn: must(net.Dial("tcp", strings.TrimPrefix(e.MQTT(), "mqtt://")))(t), PacketTimeout: 2 * patience,
		OnServerDisconnect: func(d *paho.Disconnect) { ended <- d.ReasonCode }})
	must(first.Connect(e.ctx, &paho.Connect{ClientID: "first", CleanStart: true, KeepAlive: 60}))(t)
	defer func() { _ = first.Disconnect(&paho.Disconnect{}) }()
	a := e.amqp()
	must(m.Publish(e.ctx, &paho.Publish{Topic: "a/b", QoS: 1, Payload: []byte("before")}))(t) // its stream is there from then on
	gone := a.conn.NotifyClose(make(chan *amqp.Error, 1))
	must(a.QueueDeclare("q", true, false, false, false, nil))(t)
	check(t, a.Confirm(false))
	must(a.QueueDeclare("new", true, false, false, false, nil))(t)
	if ok, err := must(a.PublishWithDeferredConfirmWithContext(e.ctx, "", "q", true, false, amqp.Publishing{Body: []byte("before")}))(t).WaitContext(e.ctx); !ok {
		t.Fatal("AMQP: a publish is refused", err)
	}
	b := e.amqp()
	check(t, b.Confirm(false))
	raw := e.kafka(kgo.MaxVersions(kversion.V3_0_0()))

	nodes.Stop(2)
	nodes.Stop(3)
	published := make(chan error, 1)
	go func() {
		_, err := m.Publish(context.WithoutCancel(e.ctx), &paho.Publish{Topic: "a/b", QoS: 1, Payload: []byte("waits")})
		published <- err
	}()
	confirm := must(a.PublishWithDeferredConfirmWithContext(e.ctx, "", "q", true, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("waits")}))(t)

	// As long as the node may believe that it leads, requests time out; then they are sent away.
	err := e.produceOnce(raw, "orders")
	for err == kerr.RequestTimedOut {
		err = e.produceOnce(raw, "orders")
	}
	if err != kerr.NotLeaderForPartition {
		t.Errorf("Kafka: a producer is told %v", err)
	}
	q := kmsg.NewMetadataRequest()
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = ptr("orders")
	q.Topics = append(q.Topics, topic)
	for { // the leader that is gone is named until it has not been heard of for a while
		p := must(raw.SeedBrokers()[0].Request(e.ctx, &q))(t).(*kmsg.MetadataResponse).Topics[0].Partitions[0]
		if kerr.ErrorForCode(p.ErrorCode) == kerr.LeaderNotAvailable && p.Leader == -1 {
			break
		}
	}

	// The rest takes as long as the protocols' servers wait: at one time.
	refused := make(chan func(), 6)
	go func() {
		ok, err := must(b.PublishWithDeferredConfirmWithContext(e.ctx, "", "new", true, false, amqp.Publishing{Body: []byte("to a stream that there is not")}))(t).WaitContext(e.ctx)
		refused <- func() {
			if ok || err != nil {
				t.Errorf("AMQP: the first publish to a captured address is answered with %v, %v", ok, err)
			}
		}
	}()
	go func() {
		_, err := first.PublishWithOptions(e.ctx, &paho.Publish{Topic: "new/b", QoS: 1, Payload: []byte("to a stream that there is not")},
			paho.PublishOptions{Method: paho.PublishMethod_AsyncSend})
		refused <- func() {
			if code := next(t, ended, "DISCONNECT after the first PUBLISH to a captured topic"); err != nil || code != 0x89 { // server busy
				t.Errorf("MQTT 5: the first PUBLISH to a captured topic ends the connection with %#x, %v", code, err)
			}
		}
	}()
	go func() {
		other := must(amqp.Dial(e.AMQP()))(t)
		defer other.Close()
		_, err := must(other.Channel())(t).QueueDeclare("r", true, false, false, false, nil)
		refused <- func() {
			if ae, ok := err.(*amqp.Error); !ok || ae.Code != amqp.InternalError || !strings.Contains(ae.Reason, "queue 'r' in vhost '/': the operation timed out") {
				t.Errorf("AMQP: queue.declare is answered with %v", err)
			}
		}
	}()
	go func() {
		sub := &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "c/#", QoS: 1}}}
		ctx, cancel := context.WithTimeout(e.ctx, patience)
		defer cancel()
		ack, _ := m.Subscribe(ctx, sub)
		refused <- func() {
			if ack == nil || ack.Reasons[0] != 0x83 { // implementation specific error
				t.Errorf("MQTT 5: SUBSCRIBE is answered with %+v", ack)
			}
		}
	}()
	go func() {
		link := must(net.Dial("tcp", strings.TrimPrefix(e.MQTT(), "mqtt://")))(t)
		defer link.Close()
		ctx, cancel := context.WithTimeout(e.ctx, patience)
		defer cancel()
		ack, _ := paho.NewClient(paho.ClientConfig{Conn: link, PacketTimeout: 2 * patience}).Connect(ctx, &paho.Connect{ClientID: "late", CleanStart: true, KeepAlive: 60})
		refused <- func() {
			if ack == nil || ack.ReasonCode != 0x88 { // server unavailable
				t.Errorf("MQTT 5: CONNECT is answered with %+v", ack)
			}
		}
	}()
	go func() {
		token := paho3.NewClient(paho3.NewClientOptions().AddBroker(e.MQTT()).SetClientID("late3").SetConnectRetry(false).SetConnectTimeout(patience).SetProtocolVersion(4)).Connect().(*paho3.ConnectToken)
		token.WaitTimeout(patience)
		refused <- func() {
			if token.ReturnCode() != 3 { // server unavailable
				t.Errorf("MQTT 3.1.1: CONNECT is answered with %d, %v", token.ReturnCode(), token.Error())
			}
		}
	}()
	for range cap(refused) {
		next(t, refused, "a refusal")()
	}
	none(t, published, "MQTT: a publish is answered without a majority")
	none(t, confirm.Done(), "AMQP: a publish is confirmed without a majority")

	nodes.Start(2)
	if err := next(t, published, "PUBACK"); err != nil {
		t.Errorf("MQTT: once there is a majority: %v", err)
	}
	if next(t, closed(confirm.Done()), "confirm"); !confirm.Acked() {
		select {
		case err := <-gone:
			t.Errorf("AMQP: the connection was closed: %v", err)
		default:
			t.Error("AMQP: once there is a majority, a publish is refused")
		}
	}
	e.produce(&kgo.Record{Topic: "orders", Value: []byte("after")})
	must(e.amqp().QueueDeclare("r", true, false, false, false, nil))(t)
	must(e.mqtt().Subscribe(e.ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "c/#", QoS: 1}}}))(t)
}

// closed tells once that a channel is closed.
func closed(c <-chan struct{}) <-chan bool {
	told := make(chan bool, 1)
	go func() {
		<-c
		told <- true
	}()
	return told
}
