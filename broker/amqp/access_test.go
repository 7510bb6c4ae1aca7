package amqp

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/auth"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
)

// ruled lets everybody in, under rules that a test changes.
type ruled struct {
	anyone
	table atomic.Pointer[acl.Table]
}

func (r *ruled) set(rules ...acl.Rule) { r.table.Store(acl.NewTable(rules, nil)) }
func (r *ruled) Table() *acl.Table     { return r.table.Load() }
func (r *ruled) Access(id auth.Identity, _ auth.Login, ns string) *acl.Access {
	return acl.NewAccess(r, acl.Subject{User: id.User, Namespace: ns})
}

func allow(a acl.Action, name string) acl.Rule { return acl.Rule{Actions: a, Name: name} }

// wantRefused checks the error that ended a channel.
func wantRefused(t *testing.T, what string, err error, text string) {
	t.Helper()
	var e *amqp091.Error
	if !errors.As(err, &e) || e.Code != amqp091.AccessRefused || !strings.Contains(e.Reason, text) {
		t.Errorf("%s: %v, want 403 with %q", what, err, text)
	}
}

func TestMethodsAreHeldAgainstTheRules(t *testing.T) {
	r := new(ruled)
	r.set()
	h := start(t, kerneltest.Options{NoCapture: true}, func(c *Config) { c.Auth = r })
	setup := h.channel()
	declare(t, setup, "jobs", nil)
	declare(t, setup, "mine", nil)
	for _, x := range []string{"events", "bus"} {
		if err := setup.ExchangeDeclare(x, "topic", true, false, false, false, nil); err != nil {
			t.Fatal(err)
		}
	}
	conn := h.dial()
	mine := []acl.Rule{allow(acl.All, "mine/#"), allow(acl.Read, "events/ok/#"), allow(acl.Write, "bus/in")}
	tests := []struct {
		name  string
		rules []acl.Rule
		do    func(ch *amqp091.Channel) error
		text  string // of the refusal; "": allowed
	}{
		{"declare", mine, func(ch *amqp091.Channel) error {
			_, err := ch.QueueDeclare("other", true, false, false, false, nil)
			return err
		}, "configure access to queue 'other' in vhost '/' refused for user 'guest'"},
		{"declare mine", mine, func(ch *amqp091.Channel) error {
			_, err := ch.QueueDeclare("mine", true, false, false, false, nil)
			return err
		}, ""},
		{"passive", mine, func(ch *amqp091.Channel) error {
			_, err := ch.QueueDeclarePassive("jobs", true, false, false, false, nil)
			return err
		}, ""},
		{"delete", mine, func(ch *amqp091.Channel) error {
			_, err := ch.QueueDelete("jobs", false, false, false)
			return err
		}, "configure access to queue 'jobs'"},
		{"purge", mine, func(ch *amqp091.Channel) error {
			_, err := ch.QueuePurge("jobs", false)
			return err
		}, "read access to queue 'jobs'"},
		{"get", mine, func(ch *amqp091.Channel) error {
			_, _, err := ch.Get("jobs", true)
			return err
		}, "read access to queue 'jobs'"},
		{"consume", mine, func(ch *amqp091.Channel) error {
			_, err := ch.Consume("jobs", "", false, false, false, false, nil)
			return err
		}, "read access to queue 'jobs'"},
		{"exchange", mine, func(ch *amqp091.Channel) error {
			return ch.ExchangeDeclare("new", "fanout", true, false, false, false, nil)
		}, "configure access to exchange 'new'"},
		{"exchange delete", mine, func(ch *amqp091.Channel) error {
			return ch.ExchangeDelete("events", false, false)
		}, "configure access to exchange 'events'"},
		{"bind what may be read", mine, func(ch *amqp091.Channel) error { return ch.QueueBind("mine", "ok.#", "events", false, nil) }, ""},
		{"bind more", mine, func(ch *amqp091.Channel) error { return ch.QueueBind("mine", "#.ok", "events", false, nil) }, "read access to exchange 'events'"},
		{"bind into another's", mine, func(ch *amqp091.Channel) error { return ch.QueueBind("jobs", "ok.#", "events", false, nil) }, "write access to queue 'jobs'"},
		{"dead letters where they may go", mine, func(ch *amqp091.Channel) error {
			_, err := ch.QueueDeclare("mine.1", true, false, false, false, amqp091.Table{"x-dead-letter-exchange": "bus", "x-dead-letter-routing-key": "in"})
			return err
		}, ""},
		{"dead letters elsewhere", mine, func(ch *amqp091.Channel) error {
			_, err := ch.QueueDeclare("mine.2", true, false, false, false, amqp091.Table{"x-dead-letter-exchange": "bus"})
			return err
		}, "write access to exchange 'bus'"},
		{"an exchange that leads elsewhere", mine, func(ch *amqp091.Channel) error {
			return ch.ExchangeDeclare("mine.x", "fanout", true, false, false, false, amqp091.Table{"alternate-exchange": "bus"})
		}, "write access to exchange 'bus'"},
	}
	for _, tt := range tests {
		r.set()
		ch := open(t, conn)
		r.set(tt.rules...)
		err := tt.do(ch)
		if tt.text == "" {
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			_ = ch.Close()
			continue
		}
		wantRefused(t, tt.name, err, tt.text)
	}
}

func TestPublishIsHeldAgainstTheRules(t *testing.T) {
	r := new(ruled)
	r.set()
	h := start(t, kerneltest.Options{NoCapture: true}, func(c *Config) { c.Auth = r })
	setup := h.channel()
	declare(t, setup, "in", nil)
	declare(t, setup, "secret", nil)
	conn := h.dial()
	r.set(allow(acl.Write, "in"), allow(acl.Read, "in"))
	for _, tt := range []struct {
		key  string
		cc   []any
		text string
	}{
		{"in", nil, ""}, {"secret", nil, "write access to queue 'secret'"}, {"in", []any{"secret"}, "write access to queue 'secret'"},
	} {
		ch := open(t, conn)
		closed := ch.NotifyClose(make(chan *amqp091.Error, 1))
		if err := ch.Confirm(false); err != nil {
			t.Fatal(err)
		}
		confirms := ch.NotifyPublish(make(chan amqp091.Confirmation, 1))
		p := amqp091.Publishing{Body: []byte("x")}
		if tt.cc != nil {
			p.Headers = amqp091.Table{"CC": tt.cc}
		}
		if err := ch.Publish("", tt.key, false, false, p); err != nil {
			t.Fatal(err)
		}
		select {
		case c, ok := <-confirms:
			if ok && (tt.text != "" || !c.Ack) {
				t.Errorf("%s %v: confirmed", tt.key, tt.cc)
			}
			if !ok {
				wantRefused(t, tt.key, <-closed, tt.text)
			}
		case err := <-closed:
			wantRefused(t, tt.key, err, tt.text)
		case <-time.After(patience):
			t.Fatal("no answer")
		}
	}
	r.set()
	if q, err := setup.QueueDeclarePassive("secret", true, false, false, false, nil); err != nil || q.Messages != 0 {
		t.Errorf("secret: %v, %v", q, err)
	}
}

// A consumer is cancelled as its queue may not be read any more, and what it was to have is kept.
func TestAConsumerIsCancelledByRules(t *testing.T) {
	r := new(ruled)
	r.set()
	h := start(t, kerneltest.Options{NoCapture: true}, func(c *Config) { c.Auth = r })
	ch := h.channel()
	declare(t, ch, "q", nil)
	gone := ch.NotifyCancel(make(chan string, 1))
	got, err := ch.Consume("q", "me", false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.set(allow(acl.Write, "#"))
	if err := ch.Publish("", "q", false, false, amqp091.Publishing{Body: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	select { // it ends once the client has been told
	case d, ok := <-got:
		if ok {
			t.Fatalf("delivered %q", d.Body)
		}
	case <-time.After(patience):
		t.Fatal("not cancelled")
	}
	if tag := <-gone; tag != "me" {
		t.Errorf("cancelled %q", tag)
	}
	r.set()
	again, err := ch.Consume("q", "again", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case d := <-again:
		if string(d.Body) != "x" {
			t.Errorf("got %q", d.Body)
		}
	case <-time.After(patience):
		t.Fatal("the message is gone")
	}
}

func TestANamespaceIsForThoseWithRules(t *testing.T) {
	r := new(ruled)
	r.set(acl.Rule{User: "ann", Actions: acl.Read, Name: "a"})
	h := start(t, kerneltest.Options{NoCapture: true}, func(c *Config) { c.Auth = r })
	if _, err := amqp091.Dial("amqp://bob:x@" + h.addr + "/"); err == nil || !strings.Contains(err.Error(), "access to vhost '/' refused for user 'bob'") && !strings.Contains(err.Error(), "403") {
		t.Errorf("bob: %v", err)
	}
	c, err := amqp091.Dial("amqp://ann:x@" + h.addr + "/")
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func (*ruled) Bans() *acl.Bans { return nil }
