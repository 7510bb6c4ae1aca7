package cross

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/setting"
	"github.com/robustmq/rmq/broker/trace"
)

// What is set through one node holds clients on every other.

// connack tries to connect a client of MQTT 5, and returns what CONNACK says.
func (e *env) connack(id, user string) byte {
	e.t.Helper()
	nc := must(net.Dial("tcp", strings.TrimPrefix(e.MQTT(), "mqtt://")))(e.t)
	e.t.Cleanup(func() { _ = nc.Close() })
	ack, err := paho.NewClient(paho.ClientConfig{Conn: nc}).Connect(e.ctx, &paho.Connect{
		ClientID: id, CleanStart: true, UsernameFlag: user != "", Username: user,
	})
	if ack == nil {
		e.t.Fatal(err)
	}
	return ack.ReasonCode
}

// waits tells why a client is made to wait, on the node that e is.
func (e *env) waits(id string) <-chan string {
	e.t.Helper()
	c := must(adminapi.NewClient(e.HTTP(), nil))(e.t)
	ctx, stop := context.WithCancel(e.ctx)
	begun, why, over := make(chan struct{}, 1), make(chan string, 100), make(chan struct{})
	go func() {
		defer close(over)
		_ = c.Trace(ctx, adminapi.TraceQuery{Client: id}, func(l adminapi.TraceLine) error { // it ends with the test
			switch {
			case l.Event == nil:
				begun <- struct{}{}
			case l.Event.What == trace.Wait:
				why <- l.Event.Text
			}
			return nil
		})
	}()
	e.t.Cleanup(func() { stop(); <-over })
	next(e.t, begun, "the beginning of a trace")
	return why
}

func (e *env) options(set map[string]string) {
	e.t.Helper()
	check(e.t, e.Kernel().ChangeOptions(e.ctx, set, nil))
}

// A session's subscriptions are counted wherever its client is.
func TestSubscriptionLimit(t *testing.T) {
	e := start(t)
	e.at(1).options(map[string]string{"mqtt.max-subscriptions": "2"})
	for node, want := range [][]byte{{1, 1, 0x97}, {0x97}, {0x97}} {
		c := e.at(node+1).session("dev1", node == 0)
		for i, code := range want {
			if got := c.subscribeCode(e, string(rune('a'+node))+"/"+string(rune('0'+i))); got != code {
				t.Errorf("on node %d, subscription %d gets %#x, want %#x", node+1, i, got, code)
			}
		}
		if node == 2 { // one that there is may be made again, and takes no more room
			if got := c.subscribeCode(e, "a/0"); got != 1 {
				t.Errorf("one that it has gets %#x", got)
			}
		}
		check(t, c.Disconnect(&paho.Disconnect{}))
		e.Want(t).Session("dev1").Away()
	}
}

// Each node takes so many connections, and of a user so many in a second.
func TestConnectionLimits(t *testing.T) {
	e := start(t)
	e.at(1).options(map[string]string{"mqtt.max-connections": "1"})
	for node := range *nodesFlag {
		if code := e.at(node+1).connack("", ""); code != 0 {
			t.Errorf("the first on node %d gets %#x", node+1, code)
		}
		if code := e.at(node+1).connack("", ""); code != 0x97 {
			t.Errorf("the second on node %d gets %#x", node+1, code)
		}
	}
	check(t, e.Kernel().ChangeOptions(e.ctx, nil, []string{"mqtt.max-connections"}))
	e.at(2).set(setting.KindQuota, "user:ann", setting.Quota{setting.MQTTConnectionRate: 1})
	for node := range *nodesFlag {
		code := byte(0)
		for range 1000 { // a machine that takes a second for each of them is none to test on
			if code = e.at(node+1).connack("", "ann"); code != 0 {
				break
			}
		}
		if code != 0x9F {
			t.Errorf("who connects too often to node %d gets %#x", node+1, code)
		}
		if code := e.at(node+1).connack("", "bob"); code != 0 {
			t.Errorf("another user on node %d gets %#x", node+1, code)
		}
	}
}

// A client, the clients of a user and those of a listener are not read when they publish too much.
func TestPublishRates(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(e *env, port string)
	}{
		{"client", func(e *env, _ string) { e.options(map[string]string{"mqtt.rate.client.bytes": "1"}) }},
		{"user", func(e *env, _ string) { e.options(map[string]string{"mqtt.rate.user.bytes": "1"}) }},
		{"named user", func(e *env, _ string) {
			e.set(setting.KindQuota, "user:ann", setting.Quota{setting.MQTTByteRate: 1})
		}},
		{"listener", func(e *env, port string) {
			e.set(setting.KindQuota, "listener:"+port, setting.Quota{setting.MQTTByteRate: 1})
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := start(t)
			on := e.at(3)
			port := on.MQTT()[strings.LastIndexByte(on.MQTT(), ':')+1:]
			tt.set(e.at(2), port)
			why := on.waits("dev1")
			c := on.mqtt(func(c *paho.Connect) { c.ClientID, c.UsernameFlag, c.Username, c.KeepAlive = "dev1", true, "ann", 0 })
			must(c.Publish(e.ctx, &paho.Publish{Topic: "a", QoS: 1, Payload: make([]byte, 100)}))(t)
			if text := next(t, why, "that the client waits"); !strings.Contains(text, "than a rate allows") {
				t.Errorf("it waits, for %s", text)
			}
		})
	}
}

// throttled tells for how long a client of Kafka is asked to be silent.
type throttled chan time.Duration

func (h throttled) OnBrokerThrottle(_ kgo.BrokerMetadata, d time.Duration, _ bool) { h <- d }

// Quotas of Kafka, set through one node, hold on the others.
func TestKafkaQuotas(t *testing.T) {
	e := start(t)
	silent := make(throttled, 100)
	cl := e.kafka(kgo.ClientID("app"), kgo.WithHooks(silent))
	elsewhere := kadm.NewClient(e.kafka(kgo.SeedBrokers(e.at(3).Broker.Bootstrap())))
	must(elsewhere.CreateTopic(e.ctx, 1, 1, nil, "s"))(t)
	name := "app"
	got := must(elsewhere.AlterClientQuotas(e.ctx, []kadm.AlterClientQuotaEntry{{
		Entity: kadm.ClientQuotaEntity{{Type: "client-id", Name: &name}}, Ops: []kadm.AlterClientQuotaOp{{Key: "producer_byte_rate", Value: 10}},
	}}))(t)
	check(t, got[0].Err)
	check(t, cl.ProduceSync(e.ctx, &kgo.Record{Topic: "s", Value: make([]byte, 100)}).FirstErr())
	if d := next(t, silent, "a throttle time"); d < time.Second || d > time.Minute {
		t.Errorf("asked to be silent for %v", d)
	}
}
