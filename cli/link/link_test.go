package link

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/fault"
)

func TestParseTarget(t *testing.T) {
	part := int32(3)
	tests := []struct {
		in   string
		want Target
		back string // String; "" when it is in
	}{
		{"mqtt:sensors/dev1/temp", Target{Protocol: MQTT, Topic: "sensors/dev1/temp"}, ""},
		{"mqtt:/a//b/", Target{Protocol: MQTT, Topic: "/a//b/"}, ""},
		{"mqtt:a/#", Target{Protocol: MQTT, Topic: "a/#"}, ""},
		{"mqtt:a?b=%41", Target{Protocol: MQTT, Topic: "a?b=%41"}, ""},
		{"mqtt://h/a/#", Target{Protocol: MQTT, Address: "h:1883", Topic: "a/#", Broker: "mqtt://h"}, ""},
		{"mqtt://h:99//a", Target{Protocol: MQTT, Address: "h:99", Topic: "/a", Broker: "mqtt://h:99"}, ""},
		{"mqtt+quic://h/a/b", Target{Protocol: MQTT, TLS: true, Network: QUIC, Address: "h:14567", Topic: "a/b", Broker: "mqtt+quic://h"}, ""},
		{"mqtt+unix://u:p@%2Frun%2Frmq.sock/a/b", Target{Protocol: MQTT, Network: Unix, Address: "/run/rmq.sock", User: "u", Password: "p", Topic: "a/b", Broker: "mqtt+unix://%2Frun%2Frmq.sock"}, "mqtt+unix://%2Frun%2Frmq.sock/a/b"},
		{"mqtts://u:p%40ss@h/t", Target{Protocol: MQTT, TLS: true, Address: "h:8883", User: "u", Password: "p@ss", Topic: "t", Broker: "mqtts://h"}, "mqtts://h/t"},
		{"mqtt://u:p@ss@h/t", Target{Protocol: MQTT, Address: "h:1883", User: "u", Password: "p@ss", Topic: "t", Broker: "mqtt://h"}, "mqtt://h/t"},
		{"mqtt://[::1]/t", Target{Protocol: MQTT, Address: "[::1]:1883", Topic: "t", Broker: "mqtt://[::1]"}, ""},
		{"mqtt://[::1]:7/t", Target{Protocol: MQTT, Address: "[::1]:7", Topic: "t", Broker: "mqtt://[::1]:7"}, ""},
		{"mqtt://///a", Target{Protocol: MQTT, Topic: "//a"}, ""},
		{"mqtt:////a", Target{Protocol: MQTT, Topic: "/a"}, "mqtt:/a"},
		{"mqtt:///a", Target{Protocol: MQTT, Topic: "a"}, "mqtt:a"},
		{"kafka:orders", Target{Protocol: Kafka, Topic: "orders"}, ""},
		{"kafka:orders/3", Target{Protocol: Kafka, Topic: "orders", Partition: &part}, ""},
		{"kafka://a,b:1/orders", Target{Protocol: Kafka, Address: "a:9092,b:1", Topic: "orders", Broker: "kafka://a,b:1"}, ""},
		{"amqp:amq.topic/sensors.#", Target{Protocol: AMQP, Exchange: "amq.topic", Key: "sensors.#"}, ""},
		{"amqp:x", Target{Protocol: AMQP, Exchange: "x"}, "amqp:x/"},
		{"amqp:x/a/b", Target{Protocol: AMQP, Exchange: "x", Key: "a/b"}, ""},
		{"amqp:x%2Fy/k", Target{Protocol: AMQP, Exchange: "x/y", Key: "k"}, ""},
		{"amqp:queue:jobs", Target{Protocol: AMQP, Queue: "jobs"}, ""},
		{"amqp:queue:a/b:c", Target{Protocol: AMQP, Queue: "a/b:c"}, ""},
		{"amqp:/jobs", Target{Protocol: AMQP, Queue: "jobs"}, "amqp:queue:jobs"},
		{"amqp://h/queue:jobs", Target{Protocol: AMQP, Address: "h:5672", Queue: "jobs", Broker: "amqp://h"}, ""},
	}
	for _, tt := range tests {
		got, err := ParseTarget(tt.in)
		if err != nil {
			t.Errorf("%s: %v", tt.in, err)
			continue
		}
		p, w := got.Partition, tt.want.Partition
		if (p == nil) != (w == nil) || (p != nil && *p != *w) {
			t.Errorf("%s: partition %v, want %v", tt.in, p, w)
		}
		got.Partition, tt.want.Partition = nil, nil
		if got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.in, got, tt.want)
		}
		got.Partition = p
		if tt.back == "" {
			tt.back = tt.in
		}
		if got.String() != tt.back {
			t.Errorf("%s: prints as %s, want %s", tt.in, got, tt.back)
		}
		if here, err := ParseTarget(got.Name()); err != nil || here.Broker != "" || here.Name() != got.Name() {
			t.Errorf("%s: is %s without its broker: %+v, %v", tt.in, got.Name(), here, err)
		}
	}
}

func TestParseTargetRefuses(t *testing.T) {
	for _, in := range []string{
		"", "orders", "http://h/x", "mqtt:", "mqtt://", "mqtt://h", "mqtt://h/", "mqtts:///t", "mqtts:t", "mqtt+quic:t", "mqtt+unix:t", "mqtt+unix://run/t", "mqtt+unix:///t", "mqtt+unix://%2Frun%2Fx", "mqtt://@/t", "mqtt://u@", "mqtt://h:0/t", "mqtt://h:70000/t",
		"mqtt://a,b/t", "kafka:", "kafka:a/b", "kafka:a/-1", "kafka:/1", "amqp:", "amqp:queue:", "amqp:/", "mqtt://u:%zz@h/t",
	} {
		if got, err := ParseTarget(in); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q was taken as %+v (%v)", in, got, err)
		}
	}
}

func TestParseTargetHidesThePassword(t *testing.T) {
	_, err := ParseTarget("mqtt://ann:s3cret@h:0/t")
	if err == nil || strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), "ann:***@h") {
		t.Errorf("got %v", err)
	}
}

func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{"mqtt:a/b", "kafka:a/1", "amqp:x%2Fy/k", "amqp:queue:q", "mqtt://u:p@h/t", "amqp:/k"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseTarget(s)
		if err != nil {
			return
		}
		// What it prints is read back as the same.
		b, err := ParseTarget(a.String())
		if err != nil || b.String() != a.String() || b.Topic != a.Topic || b.Queue != a.Queue || b.Exchange != a.Exchange || b.Key != a.Key {
			t.Errorf("%q: %+v printed as %q, read as %+v (%v)", s, a, a.String(), b, err)
		}
	})
}

func TestResolve(t *testing.T) {
	urls := adminapi.URLs{MQTT: "mqtt://127.0.0.1:1883", Kafka: "kafka://127.0.0.1:9092"}
	mqtt, _ := ParseTarget("mqtt:t")
	if err := mqtt.Resolve(urls); err != nil || mqtt.Address != "127.0.0.1:1883" {
		t.Errorf("%+v, %v", mqtt, err)
	}
	far, _ := ParseTarget("kafka://far/t")
	if err := far.Resolve(urls); err != nil || far.Address != "far:9092" {
		t.Errorf("%+v, %v", far, err)
	}
	amqp, _ := ParseTarget("amqp:queue:q")
	if err := amqp.Resolve(urls); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a protocol that is not served: %v", err)
	}
}

func TestParsePosition(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	tests := []struct {
		in   string
		want Position
	}{
		{"start", Position{Kind: AtStart}},
		{"end", Position{}},
		{"0", Position{Kind: AtOffset}},
		{"1200", Position{Kind: AtOffset, Offset: 1200}},
		{"-5", Position{Kind: Last, Offset: 5}},
		{"-15m", Position{Kind: AtTime, Time: now.Add(-15 * time.Minute)}},
		{"2026-01-31T12:00:00Z", Position{Kind: AtTime, Time: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)}},
		{"2026-01-31", Position{Kind: AtTime, Time: time.Date(2026, 1, 31, 0, 0, 0, 0, time.Local)}},
	}
	for _, tt := range tests {
		got, err := ParsePosition(tt.in, now)
		if err != nil || got.Kind != tt.want.Kind || got.Offset != tt.want.Offset || !got.Time.Equal(tt.want.Time) {
			t.Errorf("%s: %+v %v, want %+v", tt.in, got, err, tt.want)
		}
	}
	for _, in := range []string{"", "beginning", "-", "--5", "1.5", "15m", "2026-13-01"} {
		if got, err := ParsePosition(in, now); err == nil {
			t.Errorf("%q was taken as %+v", in, got)
		}
	}
}

// script is a reader that plays steps.
type script struct {
	steps   []step
	settled int
	passed  int
}

type step struct {
	after time.Duration
	err   error // nil: a message
}

func (s *script) next(ctx context.Context) (*Message, error) {
	if len(s.steps) == 0 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	select {
	case <-time.After(s.steps[0].after):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	st := s.steps[0]
	s.steps = s.steps[1:]
	if st.err != nil {
		return nil, st.err
	}
	return &Message{}, nil
}

func (s *script) settle(context.Context) error { s.settled++; return nil }
func (s *script) pass(context.Context) error   { s.passed++; return nil }
func (s *script) hold(meant bool) func() error {
	return func() error {
		if meant {
			return s.settle(context.Background())
		}
		return s.pass(context.Background())
	}
}
func (s *script) waits() bool { return false }
func (s *script) close()      {}

func TestDrainStops(t *testing.T) {
	second := step{after: time.Second}
	tests := []struct {
		name  string
		o     ConsumeOptions
		steps []step
		n     int64
		took  time.Duration
		kind  fault.Kind // checked when fails
		fails bool
	}{
		{"after N", ConsumeOptions{N: 2}, []step{second, second, second}, 2, 2 * time.Second, 0, false},
		{"at the end", ConsumeOptions{}, []step{second, {err: io.EOF}}, 1, time.Second, 0, false},
		{"at the end, short", ConsumeOptions{N: 3}, []step{second, {err: io.EOF}}, 1, time.Second, fault.Timeout, true},
		{"idle", ConsumeOptions{Idle: 3 * time.Second}, []step{second, second}, 2, 5 * time.Second, 0, false},
		{"idle, short", ConsumeOptions{N: 3, Idle: 3 * time.Second}, []step{second}, 1, 4 * time.Second, fault.Timeout, true},
		{"timeout", ConsumeOptions{Timeout: 90 * time.Second}, []step{second}, 1, 90 * time.Second, 0, false},
		{"timeout, short", ConsumeOptions{N: 2, Timeout: 90 * time.Second}, []step{second}, 1, 90 * time.Second, fault.Timeout, true},
		{"timeout before the end", ConsumeOptions{UntilEnd: true, Timeout: 9 * time.Second}, []step{second}, 1, 9 * time.Second, fault.Timeout, true},
		{"error", ConsumeOptions{}, []step{{err: fault.Of(fault.Denied, "x", "y")}}, 0, 0, fault.Denied, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				limited := ctx
				if tt.o.Timeout > 0 {
					var cancel context.CancelFunc
					limited, cancel = context.WithTimeout(ctx, tt.o.Timeout)
					defer cancel()
				}
				begun := time.Now()
				s := &script{steps: tt.steps}
				n, err := drain(ctx, limited, s, Target{Protocol: Kafka, Topic: "t"}, tt.o, func(*Message) error { return nil })
				if n != tt.n || time.Since(begun) != tt.took || int64(s.settled) != n {
					t.Errorf("%d messages (%d settled) in %v, want %d in %v", n, s.settled, time.Since(begun), tt.n, tt.took)
				}
				if (err != nil) != tt.fails || (tt.fails && !fault.Is(err, tt.kind)) {
					t.Errorf("error %v", err)
				}
			})
		})
	}
}

func TestDrainDoesNotSettleWhatWasRefused(t *testing.T) {
	refuse := errors.New("broken pipe")
	s := &script{steps: []step{{}}}
	n, err := drain(t.Context(), t.Context(), s, Target{}, ConsumeOptions{}, func(*Message) error { return refuse })
	if n != 0 || s.settled != 0 || !errors.Is(err, refuse) {
		t.Errorf("n %d, settled %d, %v", n, s.settled, err)
	}
}

func TestDrainPassesOverWhatIsNotMeant(t *testing.T) {
	s := &script{steps: []step{{}, {}, {}, {}, {err: io.EOF}}}
	seen := 0
	every2nd := func(*Message) bool { seen++; return seen%2 == 0 }
	n, err := drain(t.Context(), t.Context(), s, Target{}, ConsumeOptions{Where: every2nd}, func(*Message) error { return nil })
	if n != 2 || s.settled != 2 || s.passed != 2 || err != nil {
		t.Errorf("n %d, settled %d, passed %d, %v", n, s.settled, s.passed, err)
	}
	s = &script{steps: []step{{}, {}, {}, {}}}
	n, err = drain(t.Context(), t.Context(), s, Target{}, ConsumeOptions{N: 1, Where: every2nd}, func(*Message) error { return nil })
	if n != 1 || s.passed != 1 || err != nil {
		t.Errorf("n counts what is not meant: %d, passed %d, %v", n, s.passed, err)
	}
}

func TestNobodyListens(t *testing.T) {
	for _, s := range []string{"mqtt://127.0.0.1:1/t", "kafka://127.0.0.1:1/t", "amqp://127.0.0.1:1/queue:q"} {
		target, err := ParseTarget(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := NewProducer(t.Context(), target, Options{}); !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "127.0.0.1:1: connect") {
			t.Errorf("produce to %s: %v", s, err)
		}
		if _, err := Consume(t.Context(), target, ConsumeOptions{}, nil); !fault.Is(err, fault.Unavailable) {
			t.Errorf("consume %s: %v", s, err)
		}
	}
}
