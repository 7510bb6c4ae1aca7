package cross

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/paho"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A service answers at the address rpc/upper: an MQTT topic, an AMQP queue, a Kafka topic.
// Requesters and responders are what tutorials of each protocol show, with nothing in
// them about the others.

// requester returns a call that sends a request and waits for the answer to it.
type requester func(e *env) (ask func(correlation, body string) (answer string))

// responder starts what answers requests, until the test ends.
type responder func(e *env)

var requesters = map[string]requester{
	"mqtt": func(e *env) func(string, string) string {
		c := e.mqtt()
		must(c.Subscribe(e.ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "clients/m1/answers", QoS: 1}}}))(e.t)
		return func(correlation, body string) string {
			must(c.Publish(e.ctx, &paho.Publish{Topic: "rpc/upper", QoS: 1, Payload: []byte(body), Properties: &paho.PublishProperties{
				ResponseTopic: "clients/m1/answers", CorrelationData: []byte(correlation),
			}}))(e.t)
			p := c.next()
			if string(p.Properties.CorrelationData) != correlation {
				e.t.Errorf("MQTT: the answer to %q came as that to %q", correlation, p.Properties.CorrelationData)
			}
			return string(p.Payload)
		}
	},
	"amqp queue": func(e *env) func(string, string) string {
		c := e.amqp()
		q := must(c.QueueDeclare("", false, false, true, false, nil))(e.t)
		return askAMQP(e, c, q.Name, q.Name)
	},
	"amqp direct reply-to": func(e *env) func(string, string) string {
		return askAMQP(e, e.amqp(), "amq.rabbitmq.reply-to", "amq.rabbitmq.reply-to")
	},
	"kafka": func(e *env) func(string, string) string {
		return askKafka(e, "reply-to", "correlation-id")
	},
	// Spring's ReplyingKafkaTemplate; the answer's correlation has the standard name unless
	// its sender was Spring too.
	"kafka spring": func(e *env) func(string, string) string {
		return askKafka(e, "kafka_replyTopic", "kafka_correlationId")
	},
}

func askAMQP(e *env, c *amqpClient, consume, replyTo string) func(string, string) string {
	c.consume(consume)
	return func(correlation, body string) string {
		check(e.t, c.PublishWithContext(e.ctx, "", "rpc.upper", false, false, amqp.Publishing{
			CorrelationId: correlation, ReplyTo: replyTo, Body: []byte(body),
		}))
		d := c.next()
		if d.CorrelationId != correlation {
			e.t.Errorf("AMQP: the answer to %q came as that to %q", correlation, d.CorrelationId)
		}
		return string(d.Body)
	}
}

func askKafka(e *env, replyTo, correlationID string) func(string, string) string {
	answers := make(chan *kgo.Record, gotMax)
	e.each(answers, "answers.k1")
	c := e.kafka()
	return func(correlation, body string) string {
		check(e.t, c.ProduceSync(e.ctx, &kgo.Record{Topic: "rpc.upper", Value: []byte(body), Headers: headers(replyTo, "answers.k1", correlationID, correlation)}).FirstErr())
		r := next(e.t, answers, "Kafka")
		got := header(r, "correlation-id")
		if got == nil {
			got = header(r, correlationID)
		}
		if string(got) != correlation {
			e.t.Errorf("Kafka: the answer to %q came as that to %q", correlation, got)
		}
		return string(r.Value)
	}
}

func header(r *kgo.Record, name string) []byte {
	for _, h := range r.Headers {
		if h.Key == name {
			return h.Value
		}
	}
	return nil
}

// each consumes a topic, which is made if it is not there, until the test ends.
func (e *env) each(out chan<- *kgo.Record, topic string) {
	e.t.Helper()
	c := e.kafka(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	ctx, cancel := context.WithCancel(e.ctx)
	done := make(chan struct{})
	e.t.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			c.PollFetches(ctx).EachRecord(func(r *kgo.Record) { out <- r })
		}
	}()
	e.Want(e.t).Topic(topic).Exists()
}

var responders = map[string]responder{
	"mqtt": func(e *env) {
		c := e.mqtt()
		must(c.Subscribe(e.ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "rpc/upper", QoS: 1}}}))(e.t)
		e.respond(func(ctx context.Context) error {
			select {
			case p := <-c.got:
				_, err := c.Publish(ctx, &paho.Publish{Topic: p.Properties.ResponseTopic, QoS: 1, Payload: []byte(strings.ToUpper(string(p.Payload))),
					Properties: &paho.PublishProperties{CorrelationData: p.Properties.CorrelationData}})
				return err
			case <-ctx.Done():
				return nil
			}
		})
	},
	"amqp": func(e *env) {
		c := e.amqp()
		must(c.QueueDeclare("rpc.upper", false, false, false, false, nil))(e.t)
		c.consume("rpc.upper")
		e.respond(func(ctx context.Context) error {
			select {
			case d := <-c.got:
				return c.PublishWithContext(ctx, "", d.ReplyTo, false, false, amqp.Publishing{
					CorrelationId: d.CorrelationId, Body: []byte(strings.ToUpper(string(d.Body))),
				})
			case <-ctx.Done():
				return nil
			}
		})
	},
	"kafka": func(e *env) {
		requests := make(chan *kgo.Record, gotMax)
		e.each(requests, "rpc.upper")
		c := e.kafka()
		e.respond(func(ctx context.Context) error {
			select {
			case r := <-requests:
				topic, correlation := header(r, "reply-to"), header(r, "correlation-id")
				if topic == nil { // from Spring
					topic, correlation = header(r, "kafka_replyTopic"), header(r, "kafka_correlationId")
				}
				return c.ProduceSync(ctx, &kgo.Record{Topic: string(topic), Value: []byte(strings.ToUpper(string(r.Value))),
					Headers: []kgo.RecordHeader{{Key: "correlation-id", Value: correlation}}}).FirstErr()
			case <-ctx.Done():
				return nil
			}
		})
	},
}

// respond runs step again and again until the test ends.
func (e *env) respond(step func(ctx context.Context) error) {
	ctx, cancel := context.WithCancel(e.ctx)
	done := make(chan struct{})
	e.t.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if err := step(ctx); err != nil && ctx.Err() == nil {
				e.t.Errorf("respond: %v", err)
				return
			}
		}
	}()
}

func TestRequestsAndAnswers(t *testing.T) {
	for from, ask := range requesters {
		for by, answer := range responders {
			t.Run(from+" to "+by, func(t *testing.T) {
				t.Parallel()
				e := start(t)
				answer(e)
				call := ask(e)
				for i := range 5 {
					if got, want := call(fmt.Sprintf("c-%d", i), fmt.Sprintf("hello %d", i)), fmt.Sprintf("HELLO %d", i); got != want {
						t.Errorf("the answer is %q, want %q", got, want)
					}
				}
			})
		}
	}
}

// Correlation data need not be text: between MQTT and Kafka it passes as it is, and AMQP
// has it as a header that comes back as the property.
func TestBinaryCorrelation(t *testing.T) {
	t.Parallel()
	const id = "\x00\xff\x80"
	e := start(t)
	c := e.mqtt()
	must(c.Subscribe(e.ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "answers", QoS: 1}}}))(t)
	s := e.amqp()
	must(s.QueueDeclare("rpc.upper", false, false, false, false, nil))(t)
	s.consume("rpc.upper")
	must(c.Publish(e.ctx, &paho.Publish{Topic: "rpc/upper", QoS: 1, Payload: []byte("x"), Properties: &paho.PublishProperties{
		ResponseTopic: "answers", CorrelationData: []byte(id),
	}}))(t)
	d := s.next()
	check(t, s.PublishWithContext(e.ctx, "", d.ReplyTo, false, false, amqp.Publishing{
		Headers: amqp.Table{"x-correlation-id": d.Headers["x-correlation-id"]}, Body: []byte("X"),
	}))
	if p := c.next(); string(p.Properties.CorrelationData) != id || string(p.Payload) != "X" {
		t.Errorf("the answer is %s", sawMQTT(p))
	}
}

// An answer to a requester that has gone is nobody's, and makes no stream.
func TestAnswersToNobodyAreNotCaptured(t *testing.T) {
	t.Parallel()
	e := start(t)
	gone := e.amqp()
	q := must(gone.QueueDeclare("", false, false, true, false, nil))(t)
	check(t, gone.conn.Close())
	e.Want(t).Queue(q.Name).Gone()
	e.publishMQTT(&paho.Publish{Topic: strings.ReplaceAll(q.Name, ".", "/"), QoS: 1, Payload: []byte("late")})
	e.publishAMQP("", q.Name, amqp.Publishing{Body: []byte("late")})
	if s := e.Kernel().Streams("/"); len(s) != 0 {
		t.Errorf("streams: %v", s)
	}
}
