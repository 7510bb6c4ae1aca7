package cross

import (
	"errors"
	"testing"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/robustmq/rmq/testkit"
)

// A Kafka topic says its durability among its configuration: given when it is made, read back, and
// never changed.
func TestDurabilityOfTopic(t *testing.T) {
	e := start(t, testkit.DataDir(t.TempDir()))
	adm := e.admin()
	config := func(topic string) kadm.Config {
		t.Helper()
		rs := must(adm.DescribeTopicConfigs(e.ctx, topic))(t)
		for _, c := range must(rs.On(topic, nil))(t).Configs {
			if c.Key == "durability" {
				return c
			}
		}
		t.Fatalf("%s has no durability", topic)
		panic("unreachable")
	}
	for _, d := range []string{"sync", "async", "memory"} {
		must(adm.CreateTopic(e.ctx, 1, 1, map[string]*string{"durability": &d}, "topic."+d))(t)
		if c := config("topic." + d); c.MaybeValue() != d {
			t.Errorf("topic.%s has durability %s", d, c.MaybeValue())
		}
		if st, ok := e.Kernel().Stream("/", "topic/"+d); !ok || string(st.Durability) != d {
			t.Errorf("topic.%s is made with durability %s", d, st.Durability)
		}
	}
	must(adm.CreateTopic(e.ctx, 1, 1, nil, "plain"))(t)
	if c := config("plain"); c.MaybeValue() != "sync" || c.Source.String() != "DEFAULT_CONFIG" {
		t.Errorf("a topic that says nothing: %s, by %v", c.MaybeValue(), c.Source)
	}
	paper := "paper"
	if _, err := adm.CreateTopic(e.ctx, 1, 1, map[string]*string{"durability": &paper}, "odd"); !errors.Is(err, kerr.InvalidConfig) {
		t.Errorf("durability paper: %v", err)
	}

	alter := func(topic, value string) error {
		t.Helper()
		rs := must(adm.AlterTopicConfigs(e.ctx, []kadm.AlterConfig{{Name: "durability", Value: &value}}, topic))(t)
		_, err := rs.On(topic, func(r *kadm.AlterConfigsResponse) error { return r.Err })
		return err
	}
	if err := alter("topic.async", "sync"); !errors.Is(err, kerr.InvalidConfig) {
		t.Errorf("async made sync: %v", err)
	}
	check(t, alter("topic.async", "async")) // as it is
	// Who replaces the whole configuration, as old clients do, does not mean it.
	ms := "60000"
	rs := must(adm.AlterTopicConfigsState(e.ctx, []kadm.AlterConfig{{Name: "retention.ms", Value: &ms}}, "topic.async"))(t)
	must(rs.On("topic.async", func(r *kadm.AlterConfigsResponse) error { return r.Err }))(t)
	if c := config("topic.async"); c.MaybeValue() != "async" {
		t.Errorf("durability is %s after another setting was replaced", c.MaybeValue())
	}
}

// An AMQP queue says its durability in x-durability: given when it is declared, and part of what a
// second declaration has to agree with.
func TestDurabilityOfQueue(t *testing.T) {
	e := start(t, testkit.DataDir(t.TempDir()))
	declare := func(name string, durable bool, d any) error {
		var args amqp091.Table
		if d != nil {
			args = amqp091.Table{"x-durability": d}
		}
		_, err := e.amqp().QueueDeclare(name, durable, false, false, false, args)
		return err
	}
	for _, d := range []string{"sync", "async", "memory"} {
		check(t, declare(d, true, d))
		check(t, declare(d, true, d))
		if q, ok := e.Queue(d).Info(); !ok || string(q.Durability) != d {
			t.Errorf("queue %s is made with durability %s", d, q.Durability)
		}
	}
	check(t, declare("plain", true, nil))
	check(t, declare("plain", true, nil))
	if q, _ := e.Queue("plain").Info(); q.Durability != "sync" {
		t.Errorf("a queue that says nothing has durability %s", q.Durability)
	}
	for _, tt := range []struct {
		name    string
		durable bool
		value   any
	}{
		{"async", true, "sync"},   // another than it has
		{"async", true, nil},      // none, where it has one
		{"paper", true, "paper"},  // no durability
		{"number", true, 1},       // no word
		{"brief", false, "async"}, // not of a queue that dies with the broker
	} {
		var failed *amqp091.Error
		if err := declare(tt.name, tt.durable, tt.value); !errors.As(err, &failed) || failed.Code != amqp091.PreconditionFailed {
			t.Errorf("declare %s with %v: %v, want 406", tt.name, tt.value, err)
		}
	}
}
