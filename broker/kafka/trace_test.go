package kafka_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/kafka"
	"github.com/robustmq/rmq/broker/trace"
)

// A client's requests and answers are told, with a Produce by its topics, and why its connection ends.
func TestTrace(t *testing.T) {
	tr := trace.New(1)
	b := start(t, kafka.Config{Trace: tr})
	b.topic("a.b", 1, nil)
	look := func(q trace.Query) *trace.Watch {
		t.Helper()
		w, err := tr.Look(q)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	client, topic := look(trace.Query{Client: "test"}), look(trace.Query{Topic: func(s string) bool { return s == "a/b" }})
	r := b.dial()
	if p := r.produce(9, "a.b", 0, batchOf("v")); p.ErrorCode != 0 {
		t.Fatalf("produce: error %d", p.ErrorCode)
	}
	if p := r.fetch(11, "a.b", 0, 0); p.ErrorCode != 0 {
		t.Fatalf("fetch: error %d", p.ErrorCode)
	}
	_ = r.Close()

	want := func(w *trace.Watch, want ...string) {
		t.Helper()
		for i, s := range want {
			select {
			case e := <-w.Events:
				if got := fmt.Sprintf("%s %s %s %s", e.What, e.Packet, e.Topic, e.Text); got != s || e.Protocol != "kafka" || e.Client != "test" {
					t.Errorf("event %d is %q of %s, want %q", i, got, e.Client, s)
				}
			case <-time.After(time.Minute):
				t.Fatalf("no event where %q was to be", s)
			}
		}
	}
	want(client, "in Produce a/b ", "log Produce a/b ", "out Produce  ", "in Fetch  ", "out Fetch a/b ", "out Fetch  ", "end   closed by peer")
	want(topic, "in Produce a/b ", "log Produce a/b ", "out Fetch a/b ")
	if len(client.Events)+len(topic.Events) > 0 {
		t.Errorf("and then %+v", <-client.Events)
	}
}
