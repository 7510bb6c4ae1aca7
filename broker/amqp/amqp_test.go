package amqp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/amqpwire"
	"github.com/robustmq/rmq/broker/auth"
	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/message"
)

// The tests of this file are conversations of RabbitMQ's own Go client with a server
// over a real kernel and a real socket.

// harness is a server on a loopback port.
type harness struct {
	t      testing.TB
	k      *kernel.Kernel
	s      *Server
	addr   string
	listen net.Listener
	done   sync.WaitGroup
}

type anyone struct{}

func (anyone) Authenticate(l auth.Login) (auth.Identity, error) {
	if l.Password == "wrong" {
		return auth.Identity{}, errors.New("password is wrong")
	}
	return auth.Identity{User: l.User}, nil
}

func (anyone) Access(auth.Identity, auth.Login, string) *acl.Access { return nil }
func (anyone) Bans() *acl.Bans                                      { return nil }

func start(t testing.TB, o kerneltest.Options, change ...func(*Config)) *harness {
	t.Helper()
	return startOn(t, kerneltest.Open(t, o), change...)
}

func startOn(t testing.TB, k *kernel.Kernel, change ...func(*Config)) *harness {
	t.Helper()
	cfg := Config{Kernel: k, Auth: anyone{}, Version: "1.0"}
	for _, f := range change {
		f(&cfg)
	}
	h := &harness{t: t, k: k, s: New(cfg)}
	var err error
	if h.listen, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	h.addr = h.listen.Addr().String()
	h.done.Go(func() {
		for {
			nc, err := h.listen.Accept()
			if err != nil {
				return
			}
			h.done.Go(func() { _ = h.s.ServeConn(nc) })
		}
	})
	t.Cleanup(func() {
		h.listen.Close()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := h.s.Close(ctx); err != nil {
			t.Errorf("close server: %v", err)
		}
		h.done.Wait()
	})
	return h
}

func (h *harness) dial() *amqp091.Connection {
	h.t.Helper()
	c, err := amqp091.Dial("amqp://guest:guest@" + h.addr + "/")
	if err != nil {
		h.t.Fatalf("dial: %v", err)
	}
	h.t.Cleanup(func() { c.Close() })
	return c
}

func (h *harness) channel() *amqp091.Channel {
	h.t.Helper()
	return open(h.t, h.dial())
}

func open(t testing.TB, c *amqp091.Connection) *amqp091.Channel {
	t.Helper()
	ch, err := c.Channel()
	if err != nil {
		t.Fatalf("channel: %v", err)
	}
	return ch
}

func declare(t testing.TB, ch *amqp091.Channel, name string, args amqp091.Table) amqp091.Queue {
	t.Helper()
	q, err := ch.QueueDeclare(name, true, false, false, false, args)
	if err != nil {
		t.Fatalf("declare %s: %v", name, err)
	}
	return q
}

func publish(t testing.TB, ch *amqp091.Channel, exchange, key, body string) {
	t.Helper()
	send(t, ch, exchange, key, amqp091.Publishing{Body: []byte(body), DeliveryMode: 2})
}

func send(t testing.TB, ch *amqp091.Channel, exchange, key string, p amqp091.Publishing) {
	t.Helper()
	if err := ch.PublishWithContext(context.Background(), exchange, key, false, false, p); err != nil {
		t.Fatalf("publish: %v", err)
	}
}

// confirmed publishes and waits for the confirm.
func confirmed(t testing.TB, ch *amqp091.Channel, exchange, key, body string) {
	t.Helper()
	d, err := ch.PublishWithDeferredConfirm(exchange, key, false, false, amqp091.Publishing{Body: []byte(body), DeliveryMode: 2})
	if err != nil {
		t.Fatalf("publish: %v", err)
	}
	if !d.Wait() {
		t.Fatalf("publish of %q was nacked", body)
	}
}

func confirms(t testing.TB, ch *amqp091.Channel) {
	t.Helper()
	if err := ch.Confirm(false); err != nil {
		t.Fatalf("confirm.select: %v", err)
	}
}

func consume(t testing.TB, ch *amqp091.Channel, queue string, autoAck bool) <-chan amqp091.Delivery {
	t.Helper()
	ds, err := ch.Consume(queue, "", autoAck, false, false, false, nil)
	if err != nil {
		t.Fatalf("consume: %v", err)
	}
	return ds
}

// patience is how long a test waits for what must happen.
const patience = time.Minute

func next(t testing.TB, ds <-chan amqp091.Delivery) amqp091.Delivery {
	t.Helper()
	select {
	case d, ok := <-ds:
		if !ok {
			t.Fatal("deliveries ended")
		}
		return d
	case <-time.After(patience):
		t.Fatal("no delivery")
	}
	panic("unreachable")
}

func get(t testing.TB, ch *amqp091.Channel, queue string) (amqp091.Delivery, bool) {
	t.Helper()
	d, ok, err := ch.Get(queue, true)
	if err != nil {
		t.Fatalf("get: %v", err)
	}
	return d, ok
}

// wantError checks that the channel or connection was closed with a code and a text.
func wantError(t testing.TB, err error, code int, text string) {
	t.Helper()
	var e *amqp091.Error
	if !errors.As(err, &e) {
		t.Errorf("got %v, want %d", err, code)
		return
	}
	if e.Code != code || !strings.Contains(e.Reason, text) {
		t.Errorf("got %d %q, want %d %q", e.Code, e.Reason, code, text)
	}
}

func TestPublishConsume(t *testing.T) {
	h := start(t, kerneltest.Options{})
	ch := h.channel()
	confirms(t, ch)
	q := declare(t, ch, "q", nil)
	if q.Messages != 0 || q.Consumers != 0 || q.Name != "q" {
		t.Errorf("declared %+v", q)
	}
	for i := range 100 {
		confirmed(t, ch, "", "q", fmt.Sprint(i))
	}
	if q, err := ch.QueueDeclarePassive("q", true, false, false, false, nil); err != nil || q.Messages != 100 {
		t.Errorf("queue %+v, %v", q, err)
	}
	ds := consume(t, ch, "q", false)
	for i := range 100 {
		d := next(t, ds)
		if string(d.Body) != fmt.Sprint(i) || d.DeliveryTag != uint64(i+1) || d.Redelivered || d.Exchange != "" || d.RoutingKey != "q" || d.DeliveryMode != 2 {
			t.Fatalf("delivery %d: %+v", i, d)
		}
		if err := d.Ack(false); err != nil {
			t.Fatal(err)
		}
	}
	if err := ch.Close(); err != nil {
		t.Fatal(err)
	}
	ch = h.channel()
	if q, err := ch.QueueDeclarePassive("q", true, false, false, false, nil); err != nil || q.Messages != 0 {
		t.Errorf("queue %+v, %v", q, err)
	}
}

func TestExactProperties(t *testing.T) {
	h := start(t, kerneltest.Options{})
	ch := h.channel()
	declare(t, ch, "q", nil)
	when := time.Unix(1700000000, 0)
	in := amqp091.Publishing{
		ContentType: "application/json", ContentEncoding: "gzip", DeliveryMode: 2, Priority: 7, CorrelationId: "c\x00\xff",
		ReplyTo: "a.b/c", Expiration: "600000", MessageId: "m", Timestamp: when, Type: "t", UserId: "guest", AppId: "app",
		Headers: amqp091.Table{
			"bool": true, "i8": int8(-1), "i16": int16(-2), "i32": int32(-3), "i64": int64(-4), "f32": float32(1.5), "f64": 2.5,
			"dec": amqp091.Decimal{Scale: 2, Value: 12345}, "s": "text", "b": []byte{0, 255}, "t": when, "nil": nil,
			"table": amqp091.Table{"in": int32(1)}, "array": []any{"a", int32(1), amqp091.Table{"x": "y"}}, "rmq-mine": "kept", "priority": "kept",
		},
		Body: []byte("body"),
	}
	send(t, ch, "", "q", in)
	d := next(t, consume(t, ch, "q", true))
	got := amqp091.Publishing{
		ContentType: d.ContentType, ContentEncoding: d.ContentEncoding, DeliveryMode: d.DeliveryMode, Priority: d.Priority, CorrelationId: d.CorrelationId,
		ReplyTo: d.ReplyTo, Expiration: d.Expiration, MessageId: d.MessageId, Timestamp: d.Timestamp, Type: d.Type, UserId: d.UserId, AppId: d.AppId,
		Headers: d.Headers, Body: d.Body,
	}
	if !reflect.DeepEqual(got, in) {
		t.Errorf("got  %+v\nwant %+v", got, in)
	}
}

func TestLargeBodies(t *testing.T) {
	h := start(t, kerneltest.Options{}, func(c *Config) { c.MessageMax = 2 << 20 })
	ch := h.channel()
	confirms(t, ch)
	declare(t, ch, "q", nil)
	ds := consume(t, ch, "q", true)
	for _, n := range []int{0, 1, 4095, 131064, 131065, 700_000} {
		body := strings.Repeat("x", n)
		confirmed(t, ch, "", "q", body)
		if d := next(t, ds); string(d.Body) != body {
			t.Errorf("%d bytes came back as %d", n, len(d.Body))
		}
	}
	closed := ch.NotifyClose(make(chan *amqp091.Error, 1))
	publish(t, ch, "", "q", strings.Repeat("x", 3<<20))
	wantError(t, <-closed, 406, "message size 3145728 is larger than configured max size 2097152")
}

func TestMandatory(t *testing.T) {
	h := start(t, kerneltest.Options{NoCapture: true})
	ch := h.channel()
	confirms(t, ch)
	returns := ch.NotifyReturn(make(chan amqp091.Return, 1))
	d, err := ch.PublishWithDeferredConfirm("amq.direct", "nobody", true, false, amqp091.Publishing{Body: []byte("back"), AppId: "me", Headers: amqp091.Table{"h": "1"}})
	if err != nil {
		t.Fatal(err)
	}
	if !d.Wait() {
		t.Error("nacked")
	}
	select { // it came before the ack
	case r := <-returns:
		if r.ReplyCode != 312 || r.ReplyText != "NO_ROUTE" || r.Exchange != "amq.direct" || r.RoutingKey != "nobody" || string(r.Body) != "back" || r.AppId != "me" || r.Headers["h"] != "1" {
			t.Errorf("returned %+v", r)
		}
	default:
		t.Error("nothing was returned before the ack")
	}
	declare(t, ch, "q", nil)
	if err := ch.QueueBind("q", "somebody", "amq.direct", false, nil); err != nil {
		t.Fatal(err)
	}
	if d, _ := ch.PublishWithDeferredConfirm("amq.direct", "somebody", true, false, amqp091.Publishing{Body: []byte("x")}); !d.Wait() {
		t.Error("nacked")
	}
	select {
	case r := <-returns:
		t.Errorf("returned %+v", r)
	default:
	}
}

func TestManyConfirms(t *testing.T) {
	h := start(t, kerneltest.Options{NoCapture: true, DataShards: 2})
	ch := h.channel()
	confirms(t, ch)
	for _, q := range []string{"a", "b", "c"} {
		declare(t, ch, q, nil)
	}
	const n = 5000
	acks := ch.NotifyPublish(make(chan amqp091.Confirmation, n))
	for i := range n {
		publish(t, ch, "", []string{"a", "b", "c", "nowhere"}[i%4], "x")
	}
	seen := make(map[uint64]bool)
	for range n {
		c := <-acks
		if !c.Ack || seen[c.DeliveryTag] {
			t.Fatalf("confirmation %+v, seen %v", c, seen[c.DeliveryTag])
		}
		seen[c.DeliveryTag] = true
	}
	if got := h.s.Stats().Confirmed.Load(); got != n {
		t.Errorf("%d are counted as confirmed", got)
	}
}

func TestExchanges(t *testing.T) {
	h := start(t, kerneltest.Options{NoCapture: true})
	ch := h.channel()
	for _, q := range []string{"q1", "q2", "q3", "alt"} {
		declare(t, ch, q, nil)
	}
	x := func(name, kind string, args amqp091.Table) {
		t.Helper()
		if err := ch.ExchangeDeclare(name, kind, true, false, false, false, args); err != nil {
			t.Fatal(err)
		}
	}
	bind := func(q, key, x string, args amqp091.Table) {
		t.Helper()
		if err := ch.QueueBind(q, key, x, false, args); err != nil {
			t.Fatal(err)
		}
	}
	x("d", "direct", nil)
	x("f", "fanout", nil)
	x("t", "topic", amqp091.Table{"alternate-exchange": "f2"})
	x("f2", "fanout", nil)
	x("h", "headers", nil)
	x("dl", "x-delayed-message", amqp091.Table{"x-delayed-type": "direct"})
	bind("q1", "k", "d", nil)
	bind("q1", "", "f", nil)
	bind("q2", "ignored", "f", nil)
	bind("q1", "a.*.c", "t", nil)
	bind("q2", "a.#", "t", nil)
	bind("alt", "", "f2", nil)
	bind("q1", "", "h", amqp091.Table{"x-match": "all", "a": "1", "b": int32(2)})
	bind("q2", "", "h", amqp091.Table{"x-match": "any", "a": "1", "b": int32(2)})
	bind("q3", "delayed", "dl", nil)
	if err := ch.ExchangeBind("f", "e2e", "d", false, nil); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		exchange, key string
		headers       amqp091.Table
		want          string
	}{
		{"", "q3", nil, "q3"},
		{"d", "k", nil, "q1"},
		{"d", "K", nil, ""},
		{"d", "e2e", nil, "q1 q2"},
		{"f", "any", nil, "q1 q2"},
		{"t", "a.b.c", nil, "q1 q2"},
		{"t", "a", nil, "q2"},
		{"t", "b", nil, "alt"},
		{"h", "", amqp091.Table{"a": "1", "b": int32(2)}, "q1 q2"},
		{"h", "", amqp091.Table{"a": "1"}, "q2"},
		{"h", "", amqp091.Table{"c": "1"}, ""},
		{"dl", "delayed", nil, "q3"},
	}
	confirms(t, ch)
	for _, tt := range tests {
		d, err := ch.PublishWithDeferredConfirm(tt.exchange, tt.key, false, false, amqp091.Publishing{Headers: tt.headers, Body: []byte("x")})
		if err != nil {
			t.Fatal(err)
		}
		d.Wait()
		var got []string
		for _, q := range []string{"alt", "q1", "q2", "q3"} {
			for {
				d, ok := get(t, ch, q)
				if !ok {
					break
				}
				if d.Exchange != tt.exchange || d.RoutingKey != tt.key {
					t.Errorf("%s/%s: delivered as %s/%s", tt.exchange, tt.key, d.Exchange, d.RoutingKey)
				}
				got = append(got, q)
			}
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%q/%q %v: reached %q, want %q", tt.exchange, tt.key, tt.headers, s, tt.want)
		}
	}
	if err := ch.QueueUnbind("q1", "k", "d", nil); err != nil {
		t.Fatal(err)
	}
	if err := ch.ExchangeUnbind("f", "e2e", "d", false, nil); err != nil {
		t.Fatal(err)
	}
	confirmed(t, ch, "d", "k", "x")
	if _, ok := get(t, ch, "q1"); ok {
		t.Error("reached an unbound queue")
	}
	if err := ch.ExchangeDelete("d", false, false); err != nil {
		t.Fatal(err)
	}
	if err := ch.ExchangeDelete("d", false, false); err != nil {
		t.Errorf("deleting it again: %v", err)
	}
}

func TestCCAndBCC(t *testing.T) {
	h := start(t, kerneltest.Options{NoCapture: true})
	ch := h.channel()
	confirms(t, ch)
	for _, q := range []string{"to", "cc", "bcc"} {
		declare(t, ch, q, nil)
	}
	d, err := ch.PublishWithDeferredConfirm("", "to", false, false, amqp091.Publishing{
		Headers: amqp091.Table{"CC": []any{"cc", "nowhere"}, "BCC": []any{"bcc"}, "h": int32(1)}, Body: []byte("x"),
	})
	if err != nil || !d.Wait() {
		t.Fatal(err)
	}
	for _, q := range []string{"to", "cc", "bcc"} {
		d, ok := get(t, ch, q)
		if !ok {
			t.Errorf("nothing in %s", q)
			continue
		}
		if _, hidden := d.Headers["BCC"]; hidden || d.Headers["h"] != int32(1) || !reflect.DeepEqual(d.Headers["CC"], []any{"cc", "nowhere"}) || d.RoutingKey != "to" {
			t.Errorf("%s: %+v", q, d)
		}
	}
}

func TestChannelErrors(t *testing.T) {
	h := start(t, kerneltest.Options{NoCapture: true})
	conn := h.dial()
	setup := open(t, conn)
	declare(t, setup, "q", amqp091.Table{"x-message-ttl": int32(60000)})
	if _, err := h.channel().QueueDeclare("mine", false, false, true, false, nil); err != nil {
		t.Fatal(err)
	}
	publish(t, setup, "", "q", "x")
	if err := setup.ExchangeDeclare("in", "fanout", false, false, true, false, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := setup.Consume("q", "", false, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	later := func(f func(ch *amqp091.Channel)) func(*amqp091.Channel) error {
		return func(ch *amqp091.Channel) error {
			closed := ch.NotifyClose(make(chan *amqp091.Error, 1))
			f(ch)
			select {
			case e := <-closed:
				return e
			case <-time.After(patience):
				return errors.New("channel was not closed")
			}
		}
	}
	tests := []struct {
		name string
		do   func(ch *amqp091.Channel) error
		code int
		text string
	}{
		{"passive declare of no queue", func(ch *amqp091.Channel) error {
			_, err := ch.QueueDeclarePassive("no", true, false, false, false, nil)
			return err
		}, 404, "NOT_FOUND - no queue 'no' in vhost '/'"},
		{"other durability", func(ch *amqp091.Channel) error {
			_, err := ch.QueueDeclare("q", false, false, false, false, nil)
			return err
		}, 406, "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in vhost '/': received 'false' but current is 'true'"},
		{"other argument", func(ch *amqp091.Channel) error {
			_, err := ch.QueueDeclare("q", true, false, false, false, amqp091.Table{"x-message-ttl": int64(5)})
			return err
		}, 406, "inequivalent arg 'x-message-ttl' for queue 'q' in vhost '/': received '5' but current is '60000'"},
		{"argument left out", func(ch *amqp091.Channel) error {
			_, err := ch.QueueDeclare("q", true, false, false, false, nil)
			return err
		}, 406, "inequivalent arg 'x-message-ttl' for queue 'q' in vhost '/': received none but current is the value '60000' of type 'signedint'"},
		{"bad argument", func(ch *amqp091.Channel) error {
			_, err := ch.QueueDeclare("r", true, false, false, false, amqp091.Table{"x-message-ttl": "soon"})
			return err
		}, 406, "invalid arg 'x-message-ttl' for queue 'r' in vhost '/': \"expected integer, got longstr\""},
		{"reserved queue name", func(ch *amqp091.Channel) error {
			_, err := ch.QueueDeclare("amq.mine", true, false, false, false, nil)
			return err
		}, 403, "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'"},
		{"exclusive to another", func(ch *amqp091.Channel) error {
			_, err := ch.QueueDeclare("mine", false, false, true, false, nil)
			return err
		}, 405, "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'mine' in vhost '/'."},
		{"consume from no queue", func(ch *amqp091.Channel) error {
			_, err := ch.Consume("no", "", false, false, false, false, nil)
			return err
		}, 404, "no queue 'no' in vhost '/'"},
		{"exclusive consumer beside another", func(ch *amqp091.Channel) error {
			_, err := ch.Consume("q", "", false, true, false, false, nil)
			return err
		}, 403, "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use"},
		{"get from no queue", func(ch *amqp091.Channel) error {
			_, _, err := ch.Get("no", true)
			return err
		}, 404, "no queue 'no' in vhost '/'"},
		{"no queue declared before", func(ch *amqp091.Channel) error {
			_, err := ch.Consume("", "", false, false, false, false, nil)
			return err
		}, 404, "no previously declared queue"},
		{"publish to no exchange", later(func(ch *amqp091.Channel) { publish(t, ch, "no", "k", "x") }), 404, "no exchange 'no' in vhost '/'"},
		{"publish to an internal exchange", later(func(ch *amqp091.Channel) { publish(t, ch, "in", "k", "x") }), 403, "cannot publish to internal exchange 'in' in vhost '/'"},
		{"ack of nothing", later(func(ch *amqp091.Channel) {
			if err := ch.Ack(7, false); err != nil {
				t.Error(err)
			}
		}), 406, "PRECONDITION_FAILED - unknown delivery tag 7"},
		{"user-id of another", later(func(ch *amqp091.Channel) {
			send(t, ch, "", "q", amqp091.Publishing{UserId: "root"})
		}), 406, "user_id property set to 'root' but authenticated user was 'guest'"},
		{"expiration that is no number", later(func(ch *amqp091.Channel) {
			send(t, ch, "", "q", amqp091.Publishing{Expiration: "soon"})
		}), 406, "invalid expiration 'soon'"},
		{"declare the default exchange", func(ch *amqp091.Channel) error {
			return ch.ExchangeDeclare("", "direct", true, false, false, false, nil)
		}, 403, "operation not permitted on the default exchange"},
		{"bind the default exchange", func(ch *amqp091.Channel) error { return ch.QueueBind("q", "k", "", false, nil) }, 403, "operation not permitted on the default exchange"},
		{"other type of exchange", func(ch *amqp091.Channel) error {
			return ch.ExchangeDeclare("amq.direct", "topic", true, false, false, false, nil)
		}, 406, "inequivalent arg 'type' for exchange 'amq.direct' in vhost '/': received 'topic' but current is 'direct'"},
		{"unknown type of exchange", func(ch *amqp091.Channel) error {
			return ch.ExchangeDeclare("x", "magic", true, false, false, false, nil)
		}, 406, "unknown exchange type 'magic'"},
		{"reserved exchange name", func(ch *amqp091.Channel) error {
			return ch.ExchangeDeclare("amq.x", "topic", true, false, false, false, nil)
		}, 403, "exchange name 'amq.x' contains reserved prefix 'amq.*'"},
		{"delete a predeclared exchange", func(ch *amqp091.Channel) error { return ch.ExchangeDelete("amq.topic", false, false) }, 403, "deletion of system exchange 'amq.topic' in vhost '/' not allowed"},
		{"bind to no exchange", func(ch *amqp091.Channel) error { return ch.QueueBind("q", "k", "no", false, nil) }, 404, "no exchange 'no' in vhost '/'"},
		{"bind no queue", func(ch *amqp091.Channel) error { return ch.QueueBind("no", "k", "amq.direct", false, nil) }, 404, "no queue 'no' in vhost '/'"},
		{"delete a queue in use", func(ch *amqp091.Channel) error {
			_, err := ch.QueueDelete("q", true, false, false)
			return err
		}, 406, "queue 'q' in vhost '/' in use"},
		{"commit without transaction", func(ch *amqp091.Channel) error { return ch.TxCommit() }, 406, "channel is not transactional"},
		{"confirms in a transaction", func(ch *amqp091.Channel) error {
			if err := ch.Tx(); err != nil {
				return err
			}
			return ch.Confirm(false)
		}, 406, "cannot switch from tx to confirm mode"},
		{"bad x-match", func(ch *amqp091.Channel) error {
			return ch.QueueBind("q", "", "amq.headers", false, amqp091.Table{"x-match": "some"})
		}, 406, "Invalid x-match field value"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wantError(t, tt.do(open(t, conn)), tt.code, tt.text)
			if conn.IsClosed() {
				t.Fatal("the connection went too")
			}
		})
	}
}

func TestConnectionErrors(t *testing.T) {
	h := start(t, kerneltest.Options{})
	tests := []struct {
		name string
		do   func(ch *amqp091.Channel) error
		code int
		text string
	}{
		{"immediate", func(ch *amqp091.Channel) error {
			return ch.PublishWithContext(context.Background(), "", "q", false, true, amqp091.Publishing{})
		}, 540, "NOT_IMPLEMENTED - immediate=true"},
		{"prefetch size", func(ch *amqp091.Channel) error { return ch.Qos(0, 1000, false) }, 540, "prefetch_size!=0 (1000)"},
		{"tag in use", func(ch *amqp091.Channel) error {
			declare(t, ch, "q", nil)
			if _, err := ch.Consume("q", "tag", false, false, false, false, nil); err != nil {
				return err
			}
			_, err := ch.Consume("q", "tag", false, false, false, false, nil)
			return err
		}, 530, "NOT_ALLOWED - attempt to reuse consumer tag 'tag'"},
	}
	for _, tt := range tests {
		conn := h.dial()
		closed := conn.NotifyClose(make(chan *amqp091.Error, 1))
		_ = tt.do(open(t, conn))
		select {
		case e := <-closed:
			wantError(t, e, tt.code, tt.text)
		case <-time.After(patience):
			t.Errorf("%s: the connection stayed open", tt.name)
		}
	}
}

func TestLogin(t *testing.T) {
	h := start(t, kerneltest.Options{})
	if _, err := amqp091.Dial("amqp://guest:wrong@" + h.addr + "/"); err == nil {
		t.Error("wrong password was accepted")
	} else {
		wantError(t, err, 403, "username or password not allowed")
	}
	_, err := amqp091.Dial("amqp://guest:guest@" + h.addr + "/nowhere")
	if err == nil {
		t.Error("unknown vhost was accepted")
	}
	plain, err := amqp091.DialConfig("amqp://"+h.addr+"/", amqp091.Config{SASL: []amqp091.Authentication{&amqp091.AMQPlainAuth{Username: "guest", Password: "guest"}}})
	if err != nil {
		t.Fatalf("AMQPLAIN: %v", err)
	}
	defer plain.Close()
	if p := plain.Properties; p["product"] != "rmq" || p["capabilities"].(amqp091.Table)["basic.nack"] != true {
		t.Errorf("properties %v", p)
	}
	if got := h.s.Stats().AuthFailures.Load(); got != 1 {
		t.Errorf("%d log-ins are counted as failed", got)
	}
	if err := plain.UpdateSecret("new", "because"); err != nil {
		t.Errorf("update-secret: %v", err)
	}
	small, err := amqp091.DialConfig("amqp://guest:guest@"+h.addr+"/", amqp091.Config{ChannelMax: 2, FrameSize: 4096})
	if err != nil {
		t.Fatal(err)
	}
	defer small.Close()
	ch := open(t, small)
	declare(t, ch, "q", nil)
	body := strings.Repeat("y", 20_000)
	publish(t, ch, "", "q", body)
	if d := next(t, consume(t, ch, "q", true)); string(d.Body) != body {
		t.Error("body changed in small frames")
	}
}

func TestSettle(t *testing.T) {
	h := start(t, kerneltest.Options{NoCapture: true})
	ch := h.channel()
	confirms(t, ch)
	declare(t, ch, "q", nil)
	for i := range 10 {
		confirmed(t, ch, "", "q", fmt.Sprint(i))
	}
	ds := consume(t, ch, "q", false)
	var all []amqp091.Delivery
	for range 10 {
		all = append(all, next(t, ds))
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(all[1].Ack(false))
	check(all[2].Nack(false, true))
	if d := next(t, ds); string(d.Body) != "2" || !d.Redelivered || d.DeliveryTag != 11 {
		t.Errorf("requeued: %+v", d)
	}
	check(all[3].Reject(false))
	check(all[5].Ack(true)) // 0, 4 and 5
	check(ch.Nack(9, true, false))
	check(all[9].Reject(true))
	if d := next(t, ds); string(d.Body) != "9" || !d.Redelivered {
		t.Errorf("rejected: %+v", d)
	}
	// Unacknowledged are 2 (tag 11) and 9 (tag 12).
	check(ch.Recover(true)) //nolint:staticcheck // deprecated, and a method of the protocol
	for _, want := range []string{"2", "9"} {
		if d := next(t, ds); string(d.Body) != want || !d.Redelivered {
			t.Errorf("recovered: %+v", d)
		}
	}
	check(ch.Ack(0, true))
	closed := ch.NotifyClose(make(chan *amqp091.Error, 1))
	check(all[1].Ack(false))
	wantError(t, <-closed, 406, "unknown delivery tag 2")
	if q, err := h.channel().QueueDeclarePassive("q", true, false, false, false, nil); err != nil || q.Messages != 0 {
		t.Errorf("left in the queue: %+v, %v", q, err)
	}
}

func TestRequeueOnClose(t *testing.T) {
	h := start(t, kerneltest.Options{NoCapture: true})
	conn := h.dial()
	ch := open(t, conn)
	confirms(t, ch)
	declare(t, ch, "q", nil)
	for i := range 5 {
		confirmed(t, ch, "", "q", fmt.Sprint(i))
	}
	ds := consume(t, ch, "q", false)
	for range 5 {
		next(t, ds)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	again := consume(t, h.channel(), "q", true)
	for i := range 5 {
		if d := next(t, again); string(d.Body) != fmt.Sprint(i) || !d.Redelivered {
			t.Errorf("delivery %d: %s, redelivered %v", i, d.Body, d.Redelivered)
		}
	}
}

func TestPrefetch(t *testing.T) {
	h := start(t, kerneltest.Options{NoCapture: true})
	for _, global := range []bool{false, true} {
		ch := h.channel()
		confirms(t, ch)
		q := declare(t, ch, fmt.Sprint("q", global), nil)
		for i := range 20 {
			confirmed(t, ch, "", q.Name, fmt.Sprint(i))
		}
		if err := ch.Qos(3, 0, global); err != nil {
			t.Fatal(err)
		}
		ds := consume(t, ch, q.Name, false)
		var got []amqp091.Delivery
		for range 3 {
			got = append(got, next(t, ds))
		}
		// Whatever was delivered has arrived before the answer to a declare.
		if info, err := ch.QueueDeclarePassive(q.Name, true, false, false, false, nil); err != nil || info.Messages != 17 {
			t.Errorf("global %v: %+v, %v", global, info, err)
		}
		select {
		case d := <-ds:
			t.Errorf("global %v: delivered %s beyond the prefetch", global, d.Body)
		default:
		}
		for i := 3; i < 20; i++ {
			if err := got[0].Ack(false); err != nil {
				t.Fatal(err)
			}
			d := next(t, ds)
			if string(d.Body) != fmt.Sprint(i) {
				t.Fatalf("global %v: delivered %s, want %d", global, d.Body, i)
			}
			got = append(got[1:], d)
		}
	}
}

func TestGlobalPrefetchOverQueues(t *testing.T) {
	h := start(t, kerneltest.Options{NoCapture: true})
	ch := h.channel()
	confirms(t, ch)
	if err := ch.Qos(4, 0, true); err != nil {
		t.Fatal(err)
	}
	all := make(chan amqp091.Delivery)
	for _, q := range []string{"a", "b", "c"} {
		declare(t, ch, q, nil)
		for range 10 {
			confirmed(t, ch, "", q, q)
		}
		ds := consume(t, ch, q, false)
		go func() {
			for d := range ds {
				all <- d
			}
		}()
	}
	held := 0
	var open []amqp091.Delivery
	for got := 0; got < 30; got++ {
		d := next(t, all)
		open = append(open, d)
		if held++; held > 4 {
			t.Fatalf("%d are unacknowledged", held)
		}
		if held == 4 {
			for _, d := range open {
				if err := d.Ack(false); err != nil {
					t.Fatal(err)
				}
			}
			open, held = nil, 0
		}
	}
}

func TestQueuesOfConnections(t *testing.T) {
	h := start(t, kerneltest.Options{NoCapture: true})
	conn := h.dial()
	ch := open(t, conn)
	q, err := ch.QueueDeclare("", false, false, true, false, nil)
	if err != nil || !strings.HasPrefix(q.Name, "amq.gen-") {
		t.Fatalf("%+v, %v", q, err)
	}
	auto, err := ch.QueueDeclare("auto", false, true, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	other := h.channel()
	ds := consume(t, other, auto.Name, true)
	cancelled := other.NotifyCancel(make(chan string, 1))
	declare(t, ch, "deleted", nil)
	if _, err := other.Consume("deleted", "theirs", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDelete("deleted", false, false, false); err != nil {
		t.Fatal(err)
	}
	if tag := <-cancelled; tag != "theirs" {
		t.Errorf("cancelled %q", tag)
	}
	publish(t, ch, "", "auto", "x")
	next(t, ds)
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	ch = h.channel()
	_, err = ch.QueueDeclarePassive(q.Name, false, false, true, false, nil)
	wantError(t, err, 404, "no queue")
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = h.channel().QueueDeclarePassive("auto", false, true, false, false, nil)
	wantError(t, err, 404, "no queue 'auto'")
}

func TestCancel(t *testing.T) {
	h := start(t, kerneltest.Options{NoCapture: true})
	ch := h.channel()
	confirms(t, ch)
	declare(t, ch, "q", nil)
	confirmed(t, ch, "", "q", "1")
	ds, err := ch.Consume("q", "tag", false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	d := next(t, ds)
	if err := ch.Cancel("tag", false); err != nil {
		t.Fatal(err)
	}
	confirmed(t, ch, "", "q", "2")
	if err := d.Ack(false); err != nil {
		t.Fatal(err)
	}
	if d, ok := get(t, ch, "q"); !ok || string(d.Body) != "2" || d.Redelivered || d.MessageCount != 0 {
		t.Errorf("%+v %v", d, ok)
	}
	if _, ok := get(t, ch, "q"); ok {
		t.Error("what was acknowledged after the cancel came back")
	}
	if err := ch.Cancel("nobody", false); err != nil {
		t.Errorf("cancel of nobody: %v", err)
	}
}

func TestGet(t *testing.T) {
	h := start(t, kerneltest.Options{NoCapture: true})
	ch := h.channel()
	confirms(t, ch)
	declare(t, ch, "q", nil)
	for i := range 3 {
		confirmed(t, ch, "", "q", fmt.Sprint(i))
	}
	d, ok, err := ch.Get("q", false)
	if err != nil || !ok || string(d.Body) != "0" || d.MessageCount != 2 {
		t.Fatalf("%+v %v %v", d, ok, err)
	}
	if err := d.Nack(false, true); err != nil {
		t.Fatal(err)
	}
	d, _, _ = ch.Get("q", false)
	if string(d.Body) != "0" || !d.Redelivered {
		t.Errorf("%+v", d)
	}
	if err := d.Ack(false); err != nil {
		t.Fatal(err)
	}
	if n, err := ch.QueuePurge("q", false); err != nil || n != 2 {
		t.Errorf("purged %d, %v", n, err)
	}
	if _, ok := get(t, ch, "q"); ok {
		t.Error("something is left")
	}
	if n, err := ch.QueueDelete("q", false, false, false); err != nil || n != 0 {
		t.Errorf("deleted with %d, %v", n, err)
	}
	declare(t, ch, "q", nil) // a new queue of that name
	confirmed(t, ch, "", "q", "new")
	if d, ok := get(t, ch, "q"); !ok || string(d.Body) != "new" {
		t.Errorf("%+v %v", d, ok)
	}
}

func TestDeadLetters(t *testing.T) {
	start0 := time.Unix(1_800_000_000, 0)
	clk := clock.NewVirtual(start0)
	h := start(t, kerneltest.Options{NoCapture: true, Time: clk})
	ch := h.channel()
	confirms(t, ch)
	if err := ch.ExchangeDeclare("dlx", "direct", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	declare(t, ch, "dlq", nil)
	if err := ch.QueueBind("dlq", "dead", "dlx", false, nil); err != nil {
		t.Fatal(err)
	}
	declare(t, ch, "work", amqp091.Table{"x-dead-letter-exchange": "dlx", "x-dead-letter-routing-key": "dead", "x-max-length": int32(2)})
	send(t, ch, "", "work", amqp091.Publishing{Headers: amqp091.Table{"h": int32(1)}, Expiration: "5000", Body: []byte("expires")})
	dlq := consume(t, ch, "dlq", false)
	ws := consume(t, ch, "work", false)
	if err := next(t, ws).Nack(false, false); err != nil {
		t.Fatal(err)
	}
	d := next(t, dlq)
	death := func(d amqp091.Delivery, i int) amqp091.Table {
		t.Helper()
		list, _ := d.Headers["x-death"].([]any)
		if len(list) <= i {
			t.Fatalf("x-death: %+v", d.Headers)
		}
		return list[i].(amqp091.Table)
	}
	x := death(d, 0)
	want := amqp091.Table{
		"count": int64(1), "reason": "rejected", "queue": "work", "time": start0, "exchange": "", "routing-keys": []any{"work"},
	}
	for k, v := range want {
		if !reflect.DeepEqual(x[k], v) {
			t.Errorf("x-death %s: %#v, want %#v", k, x[k], v)
		}
	}
	if d.Exchange != "dlx" || d.RoutingKey != "dead" || d.Headers["h"] != int32(1) || d.Headers["x-first-death-queue"] != "work" ||
		d.Headers["x-last-death-reason"] != "rejected" || d.Expiration != "" || string(d.Body) != "expires" {
		t.Errorf("dead letter: %+v", d)
	}
	// What a client publishes again keeps its history, as it came.
	send(t, ch, "", "dlq", amqp091.Publishing{Headers: d.Headers, Body: []byte("again")})
	if again := next(t, dlq); !reflect.DeepEqual(again.Headers, d.Headers) {
		t.Errorf("again: %+v\nwas:   %+v", again.Headers, d.Headers)
	}
	// Expiry, by the broker's clock.
	if err := ch.Cancel(d.ConsumerTag, false); err != nil {
		t.Fatal(err)
	}
	if err := h.channel().Close(); err != nil {
		t.Fatal(err)
	}
	declare(t, ch, "ttl", amqp091.Table{"x-dead-letter-exchange": "dlx", "x-dead-letter-routing-key": "dead", "x-message-ttl": int32(1000)})
	confirmed(t, ch, "", "ttl", "old")
	ds := consume(t, ch, "dlq", true)
	clk.Advance(2 * time.Second)
	if d := next(t, ds); death(d, 0)["reason"] != "expired" || string(d.Body) != "old" {
		t.Errorf("expired: %+v", d)
	}
	// Overflow.
	declare(t, ch, "short", amqp091.Table{"x-dead-letter-exchange": "dlx", "x-dead-letter-routing-key": "dead", "x-max-length": int32(1)})
	confirmed(t, ch, "", "short", "first")
	confirmed(t, ch, "", "short", "second")
	if d := next(t, ds); death(d, 0)["reason"] != "maxlen" || string(d.Body) != "first" {
		t.Errorf("overflow: %+v", d)
	}
}

func TestRejectPublish(t *testing.T) {
	h := start(t, kerneltest.Options{NoCapture: true})
	ch := h.channel()
	confirms(t, ch)
	declare(t, ch, "q", amqp091.Table{"x-max-length": int32(1), "x-overflow": "reject-publish"})
	confirmed(t, ch, "", "q", "1")
	d, err := ch.PublishWithDeferredConfirm("", "q", false, false, amqp091.Publishing{Body: []byte("2")})
	if err != nil {
		t.Fatal(err)
	}
	if d.Wait() {
		t.Error("a full queue took a message")
	}
	confirmed(t, ch, "amq.direct", "nobody", "still counts right")
}

func TestPriorities(t *testing.T) {
	h := start(t, kerneltest.Options{NoCapture: true})
	ch := h.channel()
	confirms(t, ch)
	declare(t, ch, "q", amqp091.Table{"x-max-priority": int32(10)})
	for _, p := range []uint8{1, 9, 5} {
		d, err := ch.PublishWithDeferredConfirm("", "q", false, false, amqp091.Publishing{Priority: p, Body: []byte{'0' + p}})
		if err != nil || !d.Wait() {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"9", "5", "1"} {
		if d, _ := get(t, ch, "q"); string(d.Body) != want {
			t.Errorf("got %s, want %s", d.Body, want)
		}
	}
}

func TestConsumerPriorityAndSingleActive(t *testing.T) {
	h := start(t, kerneltest.Options{NoCapture: true})
	ch := h.channel()
	confirms(t, ch)
	declare(t, ch, "p", nil)
	low := consume(t, ch, "p", true)
	high, err := ch.Consume("p", "high", true, false, false, false, amqp091.Table{"x-priority": int32(5)})
	if err != nil {
		t.Fatal(err)
	}
	confirmed(t, ch, "", "p", "1")
	select {
	case <-high:
	case <-low:
		t.Error("the consumer of lower priority was served")
	case <-time.After(patience):
		t.Error("nobody was served")
	}
	declare(t, ch, "s", amqp091.Table{"x-single-active-consumer": true})
	first, err := ch.Consume("s", "first", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	second := consume(t, ch, "s", true)
	for range 3 {
		confirmed(t, ch, "", "s", "x")
		select {
		case <-first:
		case <-second:
			t.Error("the second consumer was served")
		case <-time.After(patience):
			t.Error("nobody was served")
		}
	}
	if err := ch.Cancel("first", false); err != nil {
		t.Fatal(err)
	}
	confirmed(t, ch, "", "s", "x")
	next(t, second)
	_, _, err = ch.Get("s", true)
	wantError(t, err, 405, "basic.get operations are not supported by classic queues with single active consumer")
}

func TestDeliveryLimit(t *testing.T) {
	h := start(t, kerneltest.Options{NoCapture: true})
	ch := h.channel()
	confirms(t, ch)
	declare(t, ch, "q", amqp091.Table{"x-queue-type": "quorum", "x-delivery-limit": int32(2)})
	confirmed(t, ch, "", "q", "x")
	ds := consume(t, ch, "q", false)
	for i := range 3 {
		d := next(t, ds)
		var want any
		if i > 0 {
			want = int64(i)
		}
		if d.Headers["x-delivery-count"] != want {
			t.Errorf("delivery %d: x-delivery-count %v", i, d.Headers["x-delivery-count"])
		}
		if err := d.Reject(true); err != nil {
			t.Fatal(err)
		}
	}
	if q, err := ch.QueueDeclarePassive("q", true, false, false, false, nil); err != nil || q.Messages != 0 {
		t.Errorf("%+v, %v", q, err)
	}
}

func TestTransactions(t *testing.T) {
	h := start(t, kerneltest.Options{NoCapture: true})
	ch := h.channel()
	declare(t, ch, "q", nil)
	watch := h.channel()
	count := func() int {
		q, err := watch.QueueDeclarePassive("q", true, false, false, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		return q.Messages
	}
	if err := ch.Tx(); err != nil {
		t.Fatal(err)
	}
	returns := ch.NotifyReturn(make(chan amqp091.Return, 1))
	publish(t, ch, "", "q", "rolled back")
	if err := ch.TxRollback(); err != nil {
		t.Fatal(err)
	}
	publish(t, ch, "", "q", "1")
	publish(t, ch, "", "q", "2")
	if err := ch.PublishWithContext(context.Background(), "", "nowhere", true, false, amqp091.Publishing{Body: []byte("back")}); err != nil {
		t.Fatal(err)
	}
	if n := count(); n != 0 {
		t.Errorf("%d are visible before the commit", n)
	}
	if err := ch.TxCommit(); err != nil {
		t.Fatal(err)
	}
	if r := <-returns; string(r.Body) != "back" {
		t.Errorf("returned %+v", r)
	}
	if n := count(); n != 2 {
		t.Errorf("%d are there after the commit", n)
	}
	ds := consume(t, ch, "q", false)
	d1, d2 := next(t, ds), next(t, ds)
	if err := d1.Ack(false); err != nil {
		t.Fatal(err)
	}
	if err := ch.TxRollback(); err != nil {
		t.Fatal(err)
	}
	if err := d1.Ack(false); err != nil { // it is unacknowledged again
		t.Fatal(err)
	}
	if err := d2.Nack(false, true); err != nil {
		t.Fatal(err)
	}
	if err := ch.TxCommit(); err != nil {
		t.Fatal(err)
	}
	if d := next(t, ds); string(d.Body) != "2" || !d.Redelivered {
		t.Errorf("%+v", d)
	}
	if err := ch.Close(); err != nil {
		t.Fatal(err)
	}
	if n := count(); n != 1 {
		t.Errorf("%d are left", n)
	}
}

func TestDirectReplyTo(t *testing.T) {
	h := start(t, kerneltest.Options{NoCapture: true})
	server := h.channel()
	declare(t, server, "rpc", nil)
	requests := consume(t, server, "rpc", true)
	conn := h.dial()
	client := open(t, conn)
	bad := open(t, conn)
	_, err := bad.Consume("amq.rabbitmq.reply-to", "", false, false, false, false, nil)
	wantError(t, err, 406, "reply consumer cannot acknowledge")
	bad = open(t, conn)
	closed := bad.NotifyClose(make(chan *amqp091.Error, 1))
	send(t, bad, "", "rpc", amqp091.Publishing{ReplyTo: "amq.rabbitmq.reply-to"})
	wantError(t, <-closed, 406, "fast reply consumer does not exist")

	replies, err := client.Consume("amq.rabbitmq.reply-to", "", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	send(t, client, "", "rpc", amqp091.Publishing{ReplyTo: "amq.rabbitmq.reply-to", CorrelationId: "7", Body: []byte("question")})
	d := next(t, requests)
	if !strings.HasPrefix(d.ReplyTo, "amq.rabbitmq.reply-to.") || d.CorrelationId != "7" {
		t.Fatalf("request %+v", d)
	}
	if _, err := server.QueueDeclarePassive(d.ReplyTo, false, false, false, false, nil); err != nil {
		t.Errorf("the reply queue is not there: %v", err)
	}
	send(t, server, "", d.ReplyTo, amqp091.Publishing{CorrelationId: d.CorrelationId, Body: []byte("answer")})
	if r := next(t, replies); string(r.Body) != "answer" || r.CorrelationId != "7" || r.RoutingKey != d.ReplyTo {
		t.Errorf("reply %+v", r)
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = server.QueueDeclarePassive(d.ReplyTo, false, false, false, false, nil)
	wantError(t, err, 404, "no queue")
}

// A client that does not answer connection.close holds up the end of the broker for a second of the link
// clock, and no longer.
func TestServerCloseWithoutAnswer(t *testing.T) {
	link := clock.NewVirtual(time.Unix(1_000_000, 0))
	h := start(t, kerneltest.Options{}, func(c *Config) { c.Link = link })
	s := h.script(t)
	closed := make(chan error, 1)
	go func() { closed <- h.s.Close(t.Context()) }()
	if m, ok := s.expect().(*amqpwire.ConnectionClose); !ok || m.ReplyCode != amqpwire.ConnectionForced {
		t.Fatalf("the client is told %+v", m)
	}
	limit := link.Now().Add(leaveMax)
	for next, _ := link.Next(); !next.Equal(limit); next, _ = link.Next() { // set once the client is told
		runtime.Gosched()
	}
	link.Advance(leaveMax)
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
}

func TestServerClose(t *testing.T) {
	h := start(t, kerneltest.Options{})
	conn := h.dial()
	closed := conn.NotifyClose(make(chan *amqp091.Error, 1))
	open(t, conn)
	if n := len(h.s.Connections()); n != 1 {
		t.Errorf("%d connections are listed", n)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := h.s.Close(ctx); err != nil {
		t.Fatal(err)
	}
	wantError(t, <-closed, 320, "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'")
	st := h.s.Stats()
	if st.Connections.Load() != 0 || st.Channels.Load() != 0 || st.Consumers.Load() != 0 {
		t.Errorf("%d connections, %d channels, %d consumers are left", st.Connections.Load(), st.Channels.Load(), st.Consumers.Load())
	}
}

// TestForeign takes what MQTT published, and has MQTT answer an AMQP request.
func TestForeign(t *testing.T) {
	h := start(t, kerneltest.Options{NoCapture: true})
	ch := h.channel()
	declare(t, ch, "q", nil)
	declare(t, ch, "sensors.dev1.temp", nil)
	if err := ch.QueueBind("q", "sensors.#", "amq.topic", false, nil); err != nil {
		t.Fatal(err)
	}
	mqtt := func(address, value string, headers ...message.Header) {
		h.k.Publish(&kernel.Publish{Namespace: "/", Msg: message.Message{Source: message.MQTT, Address: address, Value: []byte(value), QoS: 1, Headers: headers}})
	}
	ds, byName := consume(t, ch, "q", false), consume(t, ch, "sensors.dev1.temp", false)
	mqtt("sensors/dev1/temp", "21.5", message.Header{Name: "unit", Value: []byte("C")})
	for _, ds := range []<-chan amqp091.Delivery{ds, byName} {
		d := next(t, ds)
		if d.Exchange != "amq.topic" || d.RoutingKey != "sensors.dev1.temp" || string(d.Body) != "21.5" || d.Headers["unit"] != "C" || d.Headers["rmq-proto"] != "mqtt" || d.DeliveryMode != 2 {
			t.Errorf("%+v", d)
		}
	}
	mqtt("sensors/a.b/x", "dots")
	if d := next(t, ds); d.RoutingKey != "sensors.a_x2E_b.x" {
		t.Errorf("%+v", d)
	}
	replies, err := ch.Consume("amq.rabbitmq.reply-to", "", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	send(t, ch, "", "q", amqp091.Publishing{ReplyTo: "amq.rabbitmq.reply-to", CorrelationId: "7"})
	request := next(t, ds)
	mqtt(message.FromAMQPKey(request.ReplyTo), "answer", message.Header{Name: message.CorrelationID, Value: []byte(request.CorrelationId)})
	if d := next(t, replies); string(d.Body) != "answer" || d.CorrelationId != "7" {
		t.Errorf("%+v", d)
	}
}

// TestAutoAckUnderLoad: what is settled as it is delivered is delivered once and in order,
// to every queue, however many messages share an entry of the log.
func TestAutoAckUnderLoad(t *testing.T) {
	h := start(t, kerneltest.Options{NoCapture: true})
	ch := h.channel()
	var all []<-chan amqp091.Delivery
	for _, q := range []string{"a", "b", "c"} {
		declare(t, ch, q, nil)
		if err := ch.QueueBind(q, "", "amq.fanout", false, nil); err != nil {
			t.Fatal(err)
		}
		all = append(all, consume(t, ch, q, true))
	}
	const n = 2000
	for i := range n {
		publish(t, ch, "amq.fanout", "", fmt.Sprint(i))
	}
	for _, ds := range all {
		for i := range n {
			if d := next(t, ds); string(d.Body) != fmt.Sprint(i) {
				t.Fatalf("delivery %d is %s", i, d.Body)
			}
		}
	}
}
