package amqp

import (
	"fmt"
	"strings"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/trace"
)

// A connection's methods are told both ways, messages with where they go, and never a password.
func TestTrace(t *testing.T) {
	tr := trace.New(1)
	h := start(t, kerneltest.Options{NoCapture: true}, func(c *Config) { c.Trace = tr })
	look := func(q trace.Query) *trace.Watch {
		t.Helper()
		w, err := tr.Look(q)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	named, topic := look(trace.Query{Client: "worker"}), look(trace.Query{Topic: func(s string) bool { return s == "jobs/eu" }})
	all := look(trace.Query{})
	c, err := amqp091.DialConfig("amqp://ann:swordfish@"+h.addr+"/", amqp091.Config{Properties: amqp091.Table{"connection_name": "worker"}, Heartbeat: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.UpdateSecret("swordfish 2", "renewed"); err != nil {
		t.Fatal(err)
	}
	ch := open(t, c)
	if _, err := ch.QueueDeclare("jobs.eu", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	got, err := ch.Consume("jobs.eu", "me", false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := ch.PublishWithContext(t.Context(), "", "jobs.eu", false, false, amqp091.Publishing{Body: []byte("hello")}); err != nil {
		t.Fatal(err)
	}
	d := <-got
	if err := d.Ack(false); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}

	next := func(w *trace.Watch) (e trace.Event, text string) {
		t.Helper()
		select {
		case e = <-w.Events:
		case <-time.After(patience):
			t.Fatal("no event came")
		}
		text = e.What + " " + e.Packet
		for _, f := range e.Fields {
			text += fmt.Sprintf("; %s=%s", f.Name, f.Value)
		}
		if e.Size > 0 {
			text += fmt.Sprintf(" %q", e.Payload)
		}
		return e, text
	}
	var seen []string
	for over := false; !over; {
		e, text := next(named)
		if e.Client != "worker" || e.User != "ann" || e.Protocol != "amqp" {
			t.Errorf("%s is of %s, user %s", text, e.Client, e.User)
		}
		seen = append(seen, text)
		over = e.What == trace.End
	}
	said := strings.Join(seen, "\n")
	for _, want := range []string{
		"in connection.update-secret; channel=0; new secret=11 bytes; reason=renewed", "out connection.update-secret-ok",
		"in channel.open; channel=1", "out channel.open-ok; channel=1",
		"in queue.declare; channel=1; Queue=jobs.eu; Durable=true",
		"out queue.declare-ok; channel=1; Queue=jobs.eu",
		"in basic.consume; channel=1; Queue=jobs.eu; ConsumerTag=me",
		`in basic.publish; channel=1; exchange=; routing key=jobs.eu "hello"`,
		"route ; queue=jobs.eu",
		`out basic.deliver; channel=1; queue=jobs.eu; consumer tag=me; delivery tag=1 "hello"`,
		"in basic.ack; channel=1; DeliveryTag=1",
		"in connection.close", "out connection.close-ok", "end ",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("nothing says %q:\n%s", want, said)
		}
	}
	for _, want := range []string{"in basic.publish", "route ", "out basic.deliver"} {
		if e, text := next(topic); !strings.HasPrefix(text, want) || e.Topic != "jobs/eu" {
			t.Errorf("of the topic: %s, want %s", text, want)
		}
	}
	start := false
	for len(all.Events) > 0 {
		e, text := next(all)
		start = start || e.Packet == "connection.start-ok"
		if strings.Contains(text, "swordfish") {
			t.Errorf("a password is told: %s", text)
		}
	}
	if !start {
		t.Error("connection.start-ok is not told")
	}
}

// A delivery that was traced is forgotten once it is settled, whether anybody wants to know by then or not.
func TestTraceForgets(t *testing.T) {
	tr := trace.New(1)
	h := start(t, kerneltest.Options{NoCapture: true}, func(c *Config) { c.Trace = tr })
	w, err := tr.Look(trace.Query{Client: "worker"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := amqp091.DialConfig("amqp://ann:swordfish@"+h.addr+"/", amqp091.Config{Properties: amqp091.Table{"connection_name": "worker"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ch := open(t, c)
	if _, err := ch.QueueDeclare("jobs", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	got, err := ch.Consume("jobs", "me", false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	publish := func(body string) amqp091.Delivery {
		t.Helper()
		if err := ch.PublishWithContext(t.Context(), "", "jobs", false, false, amqp091.Publishing{Body: []byte(body)}); err != nil {
			t.Fatal(err)
		}
		return <-got
	}
	kept := func() (n int) {
		t.Helper()
		if _, err := ch.QueueDeclarePassive("jobs", true, false, false, false, nil); err != nil { // what came before it is done
			t.Fatal(err)
		}
		h.s.mu.Lock()
		defer h.s.mu.Unlock()
		for c := range h.s.conns {
			for _, ch := range c.channels {
				ch.mu.Lock()
				n += len(ch.traced)
				ch.mu.Unlock()
			}
		}
		return n
	}
	d := publish("a")
	if n := kept(); n != 1 {
		t.Fatalf("%d deliveries are traced", n)
	}
	if err := ch.Recover(true); err != nil {
		t.Fatal(err)
	}
	if d = <-got; !d.Redelivered || kept() != 1 {
		t.Errorf("redelivered %v; %d deliveries are traced", d.Redelivered, kept())
	}
	w.Stop()
	if err := d.Ack(false); err != nil {
		t.Fatal(err)
	}
	if n := kept(); n != 0 {
		t.Errorf("%d deliveries that are acknowledged are traced", n)
	}
}
