package testkit_test

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/robustmq/rmq/testkit"
)

// ending is a test that ends when it is told to, and notes how it fails.
type ending struct {
	testing.TB
	mu       sync.Mutex
	cleanups []func()
	said     []string
	failed   bool
}

// failsAtEnd returns a test that is to fail. What its broker holds is not kept for that.
func failsAtEnd(t *testing.T) *ending {
	t.Setenv("TESTKIT_BUNDLE_DIR", "off")
	return &ending{TB: t}
}

func (e *ending) Helper() {}
func (e *ending) Cleanup(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cleanups = append(e.cleanups, f)
}
func (e *ending) Failed() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.failed
}
func (e *ending) Logf(string, ...any) {}
func (e *ending) Errorf(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.failed = true
	e.said = append(e.said, fmt.Sprintf(format, args...))
}
func (e *ending) Fatalf(format string, args ...any) {
	e.Errorf(format, args...)
	panic(e)
}

// end ends the test, and returns what it has failed for.
func (e *ending) end() string {
	for i := len(e.cleanups) - 1; i >= 0; i-- {
		e.cleanups[i]()
	}
	return strings.Join(e.said, "\n")
}

// soon is an audit of a test that fails: nothing will change any more.
var soon = testkit.AuditWithin(10 * time.Millisecond)

func dialNamed(t *testing.T, b *testkit.Broker, name string) *amqp.Connection {
	t.Helper()
	conn := must(amqp.DialConfig(b.AMQP(), amqp.Config{Properties: amqp.Table{"connection_name": name}}))(t)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// What a test leaves is found, and is said to be whose it is.
func TestAudit(t *testing.T) {
	tests := []struct {
		name  string
		leave func(t *testing.T, b *testkit.Broker)
		said  []string // regular expressions, of a line each
	}{
		{"messages not consumed", func(t *testing.T, b *testkit.Broker) {
			conn := must(amqp.Dial(b.AMQP()))(t)
			ch := must(conn.Channel())(t)
			must(ch.QueueDeclare("jobs", true, false, false, false, nil))(t)
			for _, body := range []string{"first", "second"} {
				check(t, ch.PublishWithContext(t.Context(), "", "jobs", false, false, amqp.Publishing{Body: []byte(body)}))
			}
			check(t, conn.Close())
		}, []string{`queue  +jobs: 2 messages not consumed: first jobs "first" of 20\d\d-`, `testkit.Allow\("queue:jobs"\)`}},

		{"deliveries not acknowledged", func(t *testing.T, b *testkit.Broker) {
			ch := must(dialNamed(t, b, "worker").Channel())(t)
			must(ch.QueueDeclare("jobs", true, false, false, false, nil))(t)
			got := must(ch.Consume("jobs", "ctag", false, false, false, false, nil))(t)
			check(t, ch.PublishWithContext(t.Context(), "", "jobs", false, false, amqp.Publishing{Body: []byte("x")}))
			<-got
		}, []string{`queue  +jobs: 1 delivery not acknowledged by consumer ctag of connection worker, open since \d+\.\d+s from 127\.0\.0\.1:\d+ \(user guest\)`}},

		{"a message got and not acknowledged", func(t *testing.T, b *testkit.Broker) {
			ch := must(dialNamed(t, b, "getter").Channel())(t)
			must(ch.QueueDeclare("jobs", true, false, false, false, nil))(t)
			check(t, ch.PublishWithContext(t.Context(), "", "jobs", false, false, amqp.Publishing{Body: []byte("x")}))
			b.Want(t).Queue("jobs").Ready(1)
			if _, ok, err := ch.Get("jobs", false); !ok || err != nil {
				t.Fatal(ok, err)
			}
		}, []string{`queue  +jobs: 1 delivery not acknowledged by basic.get of connection getter`}},

		{"a consumer not cancelled", func(t *testing.T, b *testkit.Broker) {
			ch := must(dialNamed(t, b, "worker").Channel())(t)
			must(ch.QueueDeclare("jobs", true, false, false, false, nil))(t)
			must(ch.Consume("jobs", "ctag", false, false, false, false, nil))(t)
		}, []string{`queue  +jobs: still consumed by consumer ctag of connection worker`}},

		{"a transaction not committed", func(t *testing.T, b *testkit.Broker) {
			ch := must(dialNamed(t, b, "payer").Channel())(t)
			must(ch.QueueDeclare("jobs", true, false, false, false, nil))(t)
			check(t, ch.Tx())
			check(t, ch.PublishWithContext(t.Context(), "", "jobs", false, false, amqp.Publishing{Body: []byte("x")}))
			must(ch.QueueDeclarePassive("jobs", true, false, false, false, nil))(t) // the publish was before it
		}, []string{`connection  +payer: a transaction of 1 publishes and acknowledgements is neither committed nor rolled back; open since \d+\.\d+s from 127\.\S+ \(user guest\)`}},

		{"a client of MQTT still connected", func(t *testing.T, b *testkit.Broker) {
			connect(t, b, func(o *paho3.ClientOptions) { o.SetClientID("dev1").SetWill("gone/dev1", "x", 0, false) })
		}, []string{`session  +dev1: still connected from 127\.0\.0\.1:\d+ \(user guest\), MQTT 3\.1\.1, since \d+\.\d+s; with a will`}},

		{"a session that waits", func(t *testing.T, b *testkit.Broker) {
			c := connect(t, b, func(o *paho3.ClientOptions) { o.SetClientID("dev1").SetCleanSession(false) })
			done(t, c.Subscribe("cmd/#", 1, nil))
			c.Disconnect(0)
			b.Want(t).Session("dev1").Away()
			other := connect(t, b, func(o *paho3.ClientOptions) { o.SetClientID("other") })
			done(t, other.Publish("cmd/dev1", 1, false, "x"))
			other.Disconnect(0)
			b.Want(t).Session("other").Gone()
		}, []string{`session  +dev1: waits for its client(, and never ends| until \S+); 1 message in its backlog`, `testkit.Allow\("session:dev1"\)`}},

		{"a shared delivery not acknowledged", func(t *testing.T, b *testkit.Broker) {
			c := connect(t, b, func(o *paho3.ClientOptions) { o.SetClientID("dev1").SetAutoAckDisabled(true) })
			got := make(chan struct{}, 1)
			done(t, c.Subscribe("$share/g/cmd/#", 1, func(paho3.Client, paho3.Message) { got <- struct{}{} }))
			done(t, c.Publish("cmd/x", 1, false, "x"))
			<-got
		}, []string{
			`queue  +\$share/g/cmd/#: 1 delivery not acknowledged by session dev1 from 127\.`,
			`session  +dev1: still connected from 127\.`,
		}},

		{"a message of MQTT not acknowledged", func(t *testing.T, b *testkit.Broker) {
			c := connect(t, b, func(o *paho3.ClientOptions) { o.SetClientID("dev1").SetAutoAckDisabled(true) })
			got := make(chan struct{}, 1)
			done(t, c.Subscribe("cmd/#", 1, func(paho3.Client, paho3.Message) { got <- struct{}{} }))
			done(t, c.Publish("cmd/x", 1, false, "x"))
			<-got
		}, []string{`session  +dev1: still connected from 127\..*; 1 message not acknowledged`}},

		{"a will to come", func(t *testing.T, b *testkit.Broker) {
			_, conn := dial5(t, b, &paho.Connect{
				ClientID: "dev1", CleanStart: true, Properties: &paho.ConnectProperties{SessionExpiryInterval: ptr(uint32(3600))},
				WillMessage: &paho.WillMessage{Topic: "gone/dev1", Payload: []byte("x")}, WillProperties: &paho.WillProperties{WillDelayInterval: ptr(uint32(60))},
			})
			check(t, conn.Close())
			b.Want(t).Session("dev1").Away()
		}, []string{`session  +dev1: waits for its client until \S+; its will is published at 20\d\d-`}},

		{"members of a group", func(t *testing.T, b *testkit.Broker) {
			k := must(kgo.NewClient(kgo.SeedBrokers(b.Bootstrap()), kgo.ClientID("biller"), kgo.ConsumerGroup("billing"), kgo.ConsumeTopics("orders"), kgo.AllowAutoTopicCreation()))(t)
			t.Cleanup(k.Close)
			b.Want(t).Group("billing").Stable(1)
		}, []string{`group  +billing: member \S+ of client biller from 127\.0\.0\.1\S* has not left; the group is Stable, and gives it up after 45s of silence`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := failsAtEnd(t)
			tt.leave(t, testkit.Run(e, soon))
			text := e.end()
			most := 0
			for _, want := range tt.said {
				if !strings.HasPrefix(want, "testkit") {
					most++
				}
				if !regexp.MustCompile(want).MatchString(text) {
					t.Errorf("it is not said that %s, but:\n%s", want, text)
				}
			}
			if strings.Count(text, "\n")-2 > most { // without the first line and the last
				t.Errorf("more was found than was left:\n%s", text)
			}
		})
	}
}

// A test that puts away what it has used is not failed, however late its clients say goodbye. A connection of AMQP that
// holds nothing may stay.
func TestAuditOfATestThatLeavesNothing(t *testing.T) {
	t.Parallel()
	e := &ending{TB: t}
	b := testkit.Run(e, testkit.Audit())
	ch := must(dialNamed(t, b, "worker").Channel())(t)
	must(ch.QueueDeclare("jobs", true, false, false, false, nil))(t)
	check(t, ch.Tx())
	check(t, ch.PublishWithContext(t.Context(), "", "jobs", false, false, amqp.Publishing{Body: []byte("x")}))
	check(t, ch.TxCommit())
	back := channel(t, b)
	check(t, back.Tx())
	check(t, back.PublishWithContext(t.Context(), "", "jobs", false, false, amqp.Publishing{Body: []byte("y")}))
	check(t, back.TxRollback())
	got := must(ch.Consume("jobs", "ctag", false, false, false, false, nil))(t)
	check(t, (<-got).Ack(false))
	check(t, ch.TxCommit())
	k := must(kgo.NewClient(kgo.SeedBrokers(b.Bootstrap()), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.AllowAutoTopicCreation()))(t)
	b.Want(t).Group("g").Stable(1)
	c := connect(t, b, nil)
	done(t, c.Publish("a/b", 1, true, "x"))

	check(t, ch.Cancel("ctag", false))
	k.Close()
	c.Disconnect(0)
	if text := e.end(); text != "" {
		t.Error(text)
	}
}

// What is allowed is not found, and the rest is.
func TestAllow(t *testing.T) {
	e := failsAtEnd(t)
	b := testkit.Run(e, soon, testkit.Allow("session:dev-*", "queue:jobs"))
	for _, id := range []string{"dev-1", "dev-2", "stray"} {
		connect(t, b, func(o *paho3.ClientOptions) { o.SetClientID(id) })
	}
	must(channel(t, b).QueueDeclare("jobs", true, false, false, false, nil))(t)
	done(t, connect(t, b, func(o *paho3.ClientOptions) { o.SetClientID("dev-3") }).Publish("a", 1, false, "x"))
	text := e.end()
	if !strings.Contains(text, "stray: still connected") || strings.Contains(text, "dev-") || strings.Contains(text, "jobs") {
		t.Error(text)
	}

	for pattern, want := range map[string]string{"jobs": "and a name behind a colon", "queues:jobs": "did you mean queue:jobs?", "queue:": "a name"} {
		e := &ending{TB: t}
		func() {
			defer func() { _ = recover() }() // of Fatalf
			testkit.Run(e, testkit.Allow(pattern))
		}()
		if text := e.end(); !strings.Contains(text, want) {
			t.Errorf("Allow(%q): %q, want %s", pattern, text, want)
		}
	}
}

// Without Audit nothing is minded; a test that has failed, or has closed the broker, is not audited.
func TestNoAudit(t *testing.T) {
	tests := map[string]struct {
		options []testkit.Option
		then    func(e *ending, b *testkit.Broker)
		said    string
	}{
		"no option":        {nil, func(*ending, *testkit.Broker) {}, ""},
		"failed already":   {[]testkit.Option{soon}, func(e *ending, _ *testkit.Broker) { e.Errorf("why") }, "why"},
		"broker is closed": {[]testkit.Option{soon}, func(e *ending, b *testkit.Broker) { check(e, b.Close()) }, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			e := failsAtEnd(t)
			b := testkit.Run(e, tt.options...)
			connect(t, b, nil)
			tt.then(e, b)
			if text := e.end(); text != tt.said {
				t.Errorf("it fails for %q, want %q", text, tt.said)
			}
		})
	}
}

// The nodes of a cluster are audited as one broker: what one of them knows is told once.
func TestAuditOfACluster(t *testing.T) {
	t.Parallel()
	e := &ending{TB: t}
	c := testkit.Cluster(e, 3, soon)
	b := c.Node(2)
	ch := must(dialNamed(t, b, "worker").Channel())(t)
	must(ch.QueueDeclare("jobs", true, false, false, false, nil))(t)
	got := must(ch.Consume("jobs", "ctag", false, false, false, false, nil))(t)
	check(t, ch.PublishWithContext(t.Context(), "", "jobs", false, false, amqp.Publishing{Body: []byte("x")}))
	<-got
	for id := 1; id <= 3; id++ {
		c.Node(id).Want(t).Queue("jobs").Unacked(1)
	}
	text := e.end()
	if n := strings.Count(text, "jobs: 1 delivery not acknowledged by consumer ctag of connection worker"); n != 1 {
		t.Errorf("it is said %d times:\n%s", n, text)
	}
}
