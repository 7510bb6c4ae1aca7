package testkit_test

import (
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/testkit"
)

// What the API shows of topics and queues is what is in them, and looking changes nothing.
func TestInspectionOverHTTP(t *testing.T) {
	t.Parallel()
	ctx, b := t.Context(), testkit.Run(t)
	api := admin(t, b)
	c, _ := dial5(t, b, &paho.Connect{ClientID: "dev1", CleanStart: true})
	for _, value := range []string{`{"celsius":21}`, `{"celsius":31}`, `{"celsius":41}`} {
		must(c.Publish(ctx, &paho.Publish{Topic: "sensors/dev1/temp", QoS: 1, Payload: []byte(value), Properties: &paho.PublishProperties{
			ContentType: "application/json", User: paho.UserProperties{{Key: "site", Value: "north"}},
		}}))(t)
	}
	b.Want(t).Topic("sensors").Count(3)
	values := func(all []adminapi.Message) string {
		var out []string
		for _, m := range all {
			out = append(out, string(m.Value))
		}
		return strings.Join(out, " ")
	}
	name := func(s string) adminapi.Ref { return adminapi.Ref{Name: s} }
	zero := int32(0)
	for _, tt := range []struct {
		q    adminapi.RecordsQuery
		want string
		more bool
	}{
		{adminapi.RecordsQuery{Ref: name("sensors")}, `{"celsius":21} {"celsius":31} {"celsius":41}`, false},
		{adminapi.RecordsQuery{Ref: name("sensors.dev1.temp"), From: 1, Limit: 1}, `{"celsius":31}`, true},
		{adminapi.RecordsQuery{Ref: name("sensors/dev1/temp"), Partition: &zero, Limit: 3}, `{"celsius":21} {"celsius":31} {"celsius":41}`, false},
		{adminapi.RecordsQuery{Ref: name("sensors"), Where: "json.celsius > 30"}, `{"celsius":31} {"celsius":41}`, false},
		{adminapi.RecordsQuery{Ref: name("sensors/dev2/temp")}, "", false},
	} {
		all, more, err := api.Records(ctx, tt.q)
		if err != nil || values(all) != tt.want || more != tt.more {
			t.Errorf("%+v: %s, more %v, %v; want %s, more %v", tt.q, values(all), more, err, tt.want, tt.more)
		}
	}
	all, _, err := api.Records(ctx, adminapi.RecordsQuery{Ref: name("sensors"), From: 2})
	check(t, err)
	if m := all[0]; *m.Offset != 2 || *m.Partition != 0 || m.Address != "sensors/dev1/temp" || m.Protocol != "mqtt" || m.Properties["content-type"] != "application/json" ||
		len(m.Headers) != 1 || m.Headers[0].Name != "site" || m.Time.IsZero() {
		t.Errorf("%+v", m)
	}
	if _, _, err := api.Records(ctx, adminapi.RecordsQuery{Ref: name("nothing")}); adminapi.ErrorOf(err).Category != adminapi.CategoryNotFound {
		t.Errorf("a topic that is not there: %v", err)
	}
	if _, _, err := api.Records(ctx, adminapi.RecordsQuery{Ref: name("sensors"), Where: "valu > 1"}); adminapi.ErrorOf(err).Category != adminapi.CategoryUsage {
		t.Errorf("a wrong expression: %v", err)
	}

	ch := channel(t, b)
	must(ch.QueueDeclare("jobs", true, false, false, false, amqp.Table{"x-max-priority": int32(9)}))(t)
	for i, body := range []string{"low", "high"} {
		check(t, ch.PublishWithContext(ctx, "", "jobs", false, false, amqp.Publishing{Priority: uint8(8 * i), Body: []byte(body)}))
	}
	b.Want(t).Queue("jobs").Ready(2)
	for range 2 {
		queued, _, err := api.Queued(ctx, adminapi.QueuedQuery{Ref: name("jobs")})
		check(t, err)
		if len(queued) != 2 || string(queued[0].Message.Value) != "high" || queued[1].State != adminapi.QueuedReady || queued[1].Deliveries != 0 {
			t.Fatalf("%+v", queued)
		}
	}
	d, _, err := ch.Get("jobs", false)
	check(t, err)
	b.Want(t).Queue("jobs").Unacked(1)
	if queued, more, err := api.Queued(ctx, adminapi.QueuedQuery{Ref: name("jobs"), Limit: 1}); err != nil || !more || queued[0].State != adminapi.QueuedUnacked || queued[0].Deliveries != 1 {
		t.Errorf("%+v, more %v, %v", queued, more, err)
	}
	check(t, d.Ack(false))
}

// A topic has the settings that Kafka gives topics, and no others.
func TestTopicSettingsOverHTTP(t *testing.T) {
	t.Parallel()
	ctx, b := t.Context(), testkit.Run(t)
	api := admin(t, b)
	must(api.CreateTopic(ctx, adminapi.TopicSpec{Name: "orders", Config: map[string]string{"retention.ms": "60000"}}))(t)
	for _, tt := range []struct {
		change adminapi.TopicChange
		want   string
	}{
		{adminapi.TopicChange{Set: map[string]string{"nope": "1"}, Partitions: 2}, `unknown setting "nope"`},
		{adminapi.TopicChange{Set: map[string]string{"retention.mss": "1"}}, `unknown setting "retention.mss"; did you mean retention.ms?`},
		{adminapi.TopicChange{Set: map[string]string{"retention.ms": "soon"}}, "Invalid value soon for configuration retention.ms"},
		{adminapi.TopicChange{Delete: []string{"retention.m"}}, `unknown setting "retention.m"; did you mean retention.ms?`},
	} {
		if _, err := api.AlterTopic(ctx, adminapi.Ref{Name: "orders"}, tt.change); adminapi.ErrorOf(err).Category != adminapi.CategoryUsage || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v", tt.change, err)
		}
	}
	if _, err := api.CreateTopic(ctx, adminapi.TopicSpec{Name: "other", Config: map[string]string{"nope": "1"}}); adminapi.ErrorOf(err).Category != adminapi.CategoryUsage {
		t.Errorf("a new one: %v", err)
	}
	got, err := api.AlterTopic(ctx, adminapi.Ref{Name: "orders"}, adminapi.TopicChange{Delete: []string{"retention.ms"}})
	if err != nil || len(got.Config) != 0 || len(got.Partitions) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

// A wait ends as soon as what is waited for is so, or says how it stands.
func TestWantOverHTTP(t *testing.T) {
	t.Parallel()
	ctx, b := t.Context(), testkit.Run(t)
	api := admin(t, b)
	type outcome struct {
		got adminapi.Wanted
		err error
	}
	wants := func(w adminapi.Want) chan outcome {
		done := make(chan outcome, 1)
		w.Within = "1m"
		go func() {
			got, err := api.Want(ctx, w)
			done <- outcome{got, err}
		}()
		return done
	}
	third := wants(adminapi.Want{Topic: "sensors", If: []adminapi.Condition{"records=3"}})
	hot := wants(adminapi.Want{Topic: "sensors/dev1/temp", Where: "json.celsius > 30"})
	away := wants(adminapi.Want{Session: "dev1", If: []adminapi.Condition{"connected=false", "subscriptions=1"}})
	kept := wants(adminapi.Want{Retained: "sensors/#"})
	ready := wants(adminapi.Want{Queue: "jobs", If: []adminapi.Condition{"ready>=1", "consumers=0"}})

	c := connect(t, b, func(o *paho3.ClientOptions) { o.SetClientID("dev1").SetCleanSession(false) })
	done(t, c.Subscribe("cmd/#", 1, func(paho3.Client, paho3.Message) {}))
	for _, value := range []string{`{"celsius":21}`, `{"celsius":31}`, `{"celsius":11}`} {
		done(t, c.Publish("sensors/dev1/temp", 1, true, value))
	}
	c.Disconnect(0)
	ch := channel(t, b)
	must(ch.QueueDeclare("jobs", true, false, false, false, nil))(t)
	check(t, ch.PublishWithContext(ctx, "", "jobs", false, false, amqp.Publishing{Body: []byte("x")}))

	if o := <-third; o.err != nil || o.got.Topic.Records != 3 {
		t.Errorf("%+v, %v", o.got, o.err)
	}
	if o := <-hot; o.err != nil || len(o.got.Messages) != 1 || string(o.got.Messages[0].Value) != `{"celsius":31}` {
		t.Errorf("%+v, %v", o.got, o.err)
	}
	if o := <-away; o.err != nil || o.got.Session.Connected {
		t.Errorf("%+v, %v", o.got, o.err)
	}
	if o := <-kept; o.err != nil || len(o.got.Messages) != 1 {
		t.Errorf("%+v, %v", o.got, o.err)
	}
	if o := <-ready; o.err != nil || o.got.Queue.Ready != 1 {
		t.Errorf("%+v, %v", o.got, o.err)
	}
	large := connect(t, b, nil)
	for range 5 {
		done(t, large.Publish("large", 1, false, make([]byte, 4<<20)))
	}
	all := wants(adminapi.Want{Topic: "large", Where: "size > 0", If: []adminapi.Condition{"messages=5"}})
	if o := <-all; o.err != nil || len(o.got.Messages) != adminapi.InspectBytes/(4<<20) {
		t.Errorf("%d messages, %v", len(o.got.Messages), o.err)
	}
	gone := wants(adminapi.Want{Topic: "sensors", If: []adminapi.Condition{adminapi.Gone}})
	check(t, api.DeleteTopic(ctx, adminapi.Ref{Name: "sensors"}))
	if o := <-gone; o.err != nil {
		t.Error(o.err)
	}

	for _, tt := range []struct {
		w        adminapi.Want
		category adminapi.Category
		text     string
	}{
		{adminapi.Want{Queue: "jobs", If: []adminapi.Condition{"ready=2"}, Within: "0s"}, adminapi.CategoryTimeout, "ready=2 did not come true within 0s: ready is 1"},
		{adminapi.Want{Queue: "none", Within: "0s"}, adminapi.CategoryTimeout, "there is none"},
		{adminapi.Want{Queue: "jobs", If: []adminapi.Condition{"redy=2"}}, adminapi.CategoryUsage, "it has no field redy: it has auto_delete, bytes, consumers"},
		{adminapi.Want{Queue: "jobs", If: []adminapi.Condition{"ready"}}, adminapi.CategoryUsage, "not FIELD"},
		{adminapi.Want{Queue: "jobs", If: []adminapi.Condition{"ready=many"}}, adminapi.CategoryUsage, `"many" is none`},
		{adminapi.Want{Queue: "jobs", Topic: "x"}, adminapi.CategoryUsage, "says what to wait for"},
		{adminapi.Want{Queue: "jobs", Within: "soon"}, adminapi.CategoryUsage, "is not a duration"},
	} {
		if _, err := api.Want(ctx, tt.w); err == nil || adminapi.ErrorOf(err).Category != tt.category || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%+v: %v", tt.w, err)
		}
	}
}
