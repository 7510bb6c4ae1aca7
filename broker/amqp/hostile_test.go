package amqp

import (
	"bytes"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/robustmq/rmq/broker/amqpwire"
	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
)

// script is a conversation frame by frame.
type script struct {
	t  *testing.T
	nc net.Conn
	r  *frameReader
}

func (h *harness) script(t *testing.T) *script {
	nc := rawConn(t, h)
	t.Cleanup(func() { nc.Close() })
	return &script{t: t, nc: nc, r: newFrameReader(nc)}
}

func (s *script) write(b ...[]byte) {
	s.t.Helper()
	var all []byte
	for _, p := range b {
		all = append(all, p...)
	}
	if _, err := s.nc.Write(all); err != nil {
		s.t.Fatal(err)
	}
}

func (s *script) method(channel uint16, m amqpwire.Method) {
	s.t.Helper()
	s.write(amqpwire.AppendMethod(nil, channel, m))
}

// expect reads the next method, past contents.
func (s *script) expect() amqpwire.Method {
	s.t.Helper()
	s.nc.SetReadDeadline(time.Now().Add(patience))
	for {
		f, err := s.r.next()
		if err != nil {
			s.t.Fatalf("read: %v", err)
		}
		if f.Type != amqpwire.FrameMethod {
			continue
		}
		m, err := amqpwire.DecodeMethod(f.Payload)
		if err != nil {
			s.t.Fatal(err)
		}
		return m
	}
}

// ends checks that the connection is closed without another word.
func (s *script) ends() {
	s.t.Helper()
	s.nc.SetReadDeadline(time.Now().Add(patience))
	if f, err := s.r.next(); err == nil {
		s.t.Errorf("got frame %+v, want the end", f)
	} else if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
		s.t.Error("the connection stays open")
	}
}

func body(p string) []byte { return amqpwire.AppendFrame(nil, amqpwire.FrameBody, 1, []byte(p)) }

func header(size byte) []byte {
	return amqpwire.AppendFrame(nil, amqpwire.FrameHeader, 1, []byte{0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, size, 0, 0})
}

func TestHostile(t *testing.T) {
	h := start(t, kerneltest.Options{NoCapture: true})
	witness := h.channel() // another client, which must not notice
	declare(t, witness, "q", nil)
	pub := amqpwire.AppendPublish(nil, 1, "", "q", false)
	method := func(m amqpwire.Method) []byte { return amqpwire.AppendMethod(nil, 1, m) }
	tests := []struct {
		name string
		in   []byte
		code uint16
		text string
	}{
		{"unknown frame type", []byte{7, 0, 1, 0, 0, 0, 0, 0xCE}, 501, "FRAME_ERROR - unknown frame type 7"},
		{"frame over the maximum", []byte{1, 0, 1, 0, 2, 0, 1}, 501, "over the maximum"},
		{"frame of four gigabytes", []byte{3, 0, 1, 255, 255, 255, 255}, 501, "over the maximum"},
		{"frame without end", []byte{1, 0, 1, 0, 0, 0, 0, 0}, 501, "invalid frame end marker 0"},
		{"unknown class", method(&amqpwire.ChannelOpen{})[:0:0], 0, ""},
		{"unknown method", amqpwire.AppendFrame(nil, 1, 1, []byte{0, 99, 0, 1}), 503, "COMMAND_INVALID - unknown method 1 of class 99"},
		{"method of three octets", amqpwire.AppendFrame(nil, 1, 1, []byte{0, 60, 0}), 501, "method frame of 3 octets"},
		{"arguments cut short", amqpwire.AppendFrame(nil, 1, 1, []byte{0, 50, 0, 10, 0, 0, 9, 'q'}), 502, "SYNTAX_ERROR - queue.declare: arguments end early"},
		{"bad table", amqpwire.AppendFrame(nil, 1, 1, append([]byte{0, 50, 0, 10, 0, 0, 1, 'q', 0}, 0, 0, 0, 3, 1, 'k', 'Z')), 502, "malformed field table"},
		{"body without method", body("x"), 505, "UNEXPECTED_FRAME"},
		{"header without method", header(1), 505, "UNEXPECTED_FRAME"},
		{"method instead of header", append(append([]byte{}, pub...), pub...), 505, "expected content header"},
		{"body instead of header", append(append([]byte{}, pub...), body("x")...), 505, "expected content header"},
		{"header of another class", append(append([]byte{}, pub...), amqpwire.AppendFrame(nil, 2, 1, make([]byte, 14))...), 505, "expected content header for class 60, got one for class 0"},
		{"short header", append(append([]byte{}, pub...), amqpwire.AppendFrame(nil, 2, 1, make([]byte, 5))...), 501, "content header of 5 octets"},
		{"more body than announced", append(append(append([]byte{}, pub...), header(2)...), body("xyz")...), 501, "content body frame exceeds remaining content size"},
		{"properties cut short", append(append([]byte{}, pub...), append(amqpwire.AppendFrame(nil, 2, 1, []byte{0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x80, 0}), body("x")...)...), 502, "properties end early"},
		{"channel that is not open", amqpwire.AppendMethod(nil, 9, &amqpwire.BasicQos{}), 504, "CHANNEL_ERROR - expected 'channel.open'"},
		{"channel opened twice", method(&amqpwire.ChannelOpen{}), 504, "second 'channel.open' seen"},
		{"channel method on channel 0", amqpwire.AppendMethod(nil, 0, &amqpwire.BasicQos{}), 504, "unexpected method in connection state running"},
		{"body on channel 0", amqpwire.AppendFrame(nil, 3, 0, []byte("x")), 505, "type 3 on channel 0"},
		{"server's own method", method(&amqpwire.QueueDeclareOk{}), 503, "unimplemented method"},
		{"heartbeat on a channel", []byte{8, 0, 1, 0, 0, 0, 0, 0xCE}, 505, "heartbeat on channel 1"},
		{"second start-ok", amqpwire.AppendMethod(nil, 0, &amqpwire.ConnectionStartOk{}), 504, "unexpected method in connection state running"},
		{"recover without requeue", method(&amqpwire.BasicRecover{}), 540, "requeue=false"},
		{"flow off", method(&amqpwire.ChannelFlow{}), 540, "active=false"},
	}
	for _, tt := range tests {
		if tt.code == 0 {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			s := h.script(t)
			s.write(tt.in)
			m, ok := s.expect().(*amqpwire.ConnectionClose)
			if !ok || m.ReplyCode != tt.code || !strings.Contains(m.ReplyText, tt.text) {
				t.Fatalf("got %+v, want %d %q", m, tt.code, tt.text)
			}
			// What follows an error is not served; the answer to close ends it.
			s.write(amqpwire.AppendMethod(nil, 1, &amqpwire.QueueDelete{Queue: "q"}), amqpwire.AppendMethod(nil, 0, &amqpwire.ConnectionCloseOk{}))
			if tt.code == 501 && m.ClassID == 0 { // out of step: it waits for the client to leave
				s.nc.(*net.TCPConn).CloseWrite()
			}
			s.ends()
		})
	}
	publish(t, witness, "", "q", "x")
	if q, err := witness.QueueDeclarePassive("q", true, false, false, false, nil); err != nil || q.Messages != 1 {
		t.Errorf("%+v, %v", q, err)
	}
}

// What was acknowledged before a mistake in the same read is not delivered again.
func TestAcknowledgedBeforeAMistake(t *testing.T) {
	h := start(t, kerneltest.Options{NoCapture: true}, func(c *Config) { c.MessageMax = 100 })
	witness := h.channel()
	confirms(t, witness)
	for name, mistake := range map[string][]byte{
		"unknown delivery tag":   amqpwire.AppendAck(nil, 1, 99, false),
		"publish to no exchange": slices.Concat(amqpwire.AppendPublish(nil, 1, "no", "k", false), header(1), body("x")),
		"message too large":      slices.Concat(amqpwire.AppendPublish(nil, 1, "", "k", false), header(101)),
	} {
		t.Run(name, func(t *testing.T) {
			declare(t, witness, "q", nil)
			confirmed(t, witness, "", "q", "once")
			s := h.script(t)
			s.method(1, &amqpwire.BasicGet{Queue: "q"})
			if m, ok := s.expect().(*amqpwire.BasicGetOk); !ok || m.DeliveryTag != 1 {
				t.Fatalf("got %+v", m)
			}
			ignored := slices.Concat(amqpwire.AppendPublish(nil, 1, "", "k", false), header(1), body("x"))
			s.write(amqpwire.AppendAck(nil, 1, 1, false), mistake, bytes.Repeat(ignored, 1000))
			if m := s.expect(); m.ID() != amqpwire.IDChannelClose {
				t.Fatalf("got %+v", m)
			}
			if d, ok, err := witness.Get("q", true); ok || err != nil {
				t.Errorf("%q is delivered again (%v)", d.Body, err)
			}
		})
	}
}

func TestProtocolHeaders(t *testing.T) {
	h := start(t, kerneltest.Options{})
	for _, tt := range []struct {
		in   string
		ours bool
	}{
		{"AMQP\x00\x00\x09\x01", true}, {"AMQP\x01\x01\x00\x09", true},
		{"AMQP\x03\x01\x00\x00", false}, {"AMQP\x00\x01\x00\x00", false}, {"AMQP\x01\x01\x08\x00", false}, {"GET / HT", false},
	} {
		nc, err := net.Dial("tcp", h.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if _, err := io.WriteString(nc, tt.in); err != nil {
			t.Fatal(err)
		}
		if tt.ours {
			if m, ok := readMethod(t, nc).(*amqpwire.ConnectionStart); !ok || string(m.Mechanisms) != "PLAIN AMQPLAIN" || m.VersionMinor != 9 {
				t.Errorf("%q: %+v", tt.in, m)
			}
			continue
		}
		got, err := io.ReadAll(nc)
		if err != nil || string(got) != amqpwire.ProtocolHeader {
			t.Errorf("%q: answered %q, %v", tt.in, got, err)
		}
	}
}

func TestHandshakeRefusals(t *testing.T) {
	h := start(t, kerneltest.Options{})
	can := amqpwire.Table{{Name: "capabilities", Value: amqpwire.Nested(amqpwire.Table{{Name: "authentication_failure_close", Value: amqpwire.Bool(true)}})}}
	plain := &amqpwire.ConnectionStartOk{Mechanism: "PLAIN", Response: []byte("\x00u\x00p"), ClientProperties: can}
	tests := []struct {
		name string
		say  []amqpwire.Method
		code uint16 // 0: closed without a word
		text string
	}{
		{"wrong password", []amqpwire.Method{&amqpwire.ConnectionStartOk{Mechanism: "PLAIN", Response: []byte("\x00u\x00wrong"), ClientProperties: can}}, 403,
			"ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile."},
		{"wrong password, old client", []amqpwire.Method{&amqpwire.ConnectionStartOk{Mechanism: "PLAIN", Response: []byte("\x00u\x00wrong")}}, 0, ""},
		{"unknown mechanism", []amqpwire.Method{&amqpwire.ConnectionStartOk{Mechanism: "MAGIC"}}, 503, "unknown authentication mechanism 'MAGIC'"},
		{"malformed PLAIN", []amqpwire.Method{&amqpwire.ConnectionStartOk{Mechanism: "PLAIN", Response: []byte("u")}}, 502, "PLAIN"},
		{"AMQPLAIN without password", []amqpwire.Method{&amqpwire.ConnectionStartOk{Mechanism: "AMQPLAIN", Response: amqpwire.Table{{Name: "LOGIN", Value: amqpwire.String("u")}}.Append(nil)[4:]}}, 502,
			"AMQPLAIN auth info is missing LOGIN or PASSWORD field"},
		{"small frames", []amqpwire.Method{plain, &amqpwire.ConnectionTuneOk{FrameMax: 100}}, 530, "negotiated frame_max = 100 is lower than the minimum allowed value (4096)"},
		{"large frames", []amqpwire.Method{plain, &amqpwire.ConnectionTuneOk{FrameMax: 1 << 20}}, 530, "negotiated frame_max = 1048576 is higher than the maximum allowed value (131072)"},
		{"many channels", []amqpwire.Method{plain, &amqpwire.ConnectionTuneOk{ChannelMax: 65535}}, 530, "negotiated channel_max = 65535 is higher than the maximum allowed value (2047)"},
		{"no such vhost", []amqpwire.Method{plain, &amqpwire.ConnectionTuneOk{}, &amqpwire.ConnectionOpen{VirtualHost: "no"}}, 530, "NOT_ALLOWED - vhost no not found"},
		{"open before start-ok", []amqpwire.Method{&amqpwire.ConnectionOpen{VirtualHost: "/"}}, 504, "unexpected method in connection state starting"},
	}
	for _, tt := range tests {
		nc, err := net.Dial("tcp", h.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if _, err := io.WriteString(nc, amqpwire.ProtocolHeader); err != nil {
			t.Fatal(err)
		}
		readMethod(t, nc)
		s := &script{t: t, nc: nc, r: newFrameReader(nc)}
		for _, m := range tt.say {
			s.method(0, m)
		}
		if tt.code == 0 {
			s.ends()
			continue
		}
		m := s.expect()
		if _, ok := m.(*amqpwire.ConnectionTune); ok {
			m = s.expect()
		}
		cl, ok := m.(*amqpwire.ConnectionClose)
		if !ok || cl.ReplyCode != tt.code || !strings.Contains(cl.ReplyText, tt.text) {
			t.Errorf("%s: got %+v, want %d %q", tt.name, m, tt.code, tt.text)
		}
	}
}

// TestPipelining sends without waiting for answers what a channel has to do in order.
func TestPipelining(t *testing.T) {
	h := start(t, kerneltest.Options{NoCapture: true})
	s := h.script(t)
	var all []byte
	say := func(m amqpwire.Method) { all = amqpwire.AppendMethod(all, 1, m) }
	say(&amqpwire.ConfirmSelect{NoWait: true})
	say(&amqpwire.QueueDeclare{Queue: "q", NoWait: true})
	for range 50 {
		all = amqpwire.AppendPublish(all, 1, "", "q", false)
		all = amqpwire.AppendContent(all, 1, []byte{0, 0}, []byte(strings.Repeat("z", 3000)), 1024)
	}
	say(&amqpwire.QueuePurge{Queue: "q"})
	say(&amqpwire.QueueDeclare{Queue: "q", Passive: true})
	say(&amqpwire.QueueDelete{Queue: "q"})
	say(&amqpwire.ChannelClose{ReplyCode: 200})
	s.write(all[:1])
	for b := all[1:]; len(b) > 0; { // in pieces that fit nothing
		n := min(len(b), 777)
		s.write(b[:n])
		b = b[n:]
	}
	var acked uint64
	for {
		switch m := s.expect().(type) {
		case *amqpwire.BasicAck:
			acked = max(acked, m.DeliveryTag)
			continue
		case *amqpwire.QueuePurgeOk:
			if m.MessageCount != 50 {
				t.Errorf("purged %d", m.MessageCount)
			}
			continue
		case *amqpwire.QueueDeclareOk:
			if m.MessageCount != 0 {
				t.Errorf("left %d", m.MessageCount)
			}
			continue
		case *amqpwire.QueueDeleteOk:
			continue
		case *amqpwire.ChannelCloseOk:
			if acked != 50 {
				t.Errorf("acked up to %d", acked)
			}
			s.method(1, &amqpwire.ChannelOpen{})
			continue
		case *amqpwire.ChannelOpenOk:
			return
		default:
			t.Fatalf("got %+v", m)
		}
	}
}

// TestHeartbeats runs on a clock of its own.
func TestHeartbeats(t *testing.T) {
	link := clock.NewVirtual(time.Unix(1_800_000_000, 0))
	h := start(t, kerneltest.Options{}, func(c *Config) { c.Link = link })
	nc, err := net.Dial("tcp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	s := &script{t: t, nc: nc, r: newFrameReader(nc)}
	s.write([]byte(amqpwire.ProtocolHeader))
	s.expect()
	s.method(0, &amqpwire.ConnectionStartOk{Mechanism: "PLAIN", Response: []byte("\x00u\x00p")})
	if m := s.expect().(*amqpwire.ConnectionTune); m.Heartbeat != 60 || m.FrameMax != 131072 || m.ChannelMax != 2047 {
		t.Errorf("tune %+v", m)
	}
	s.method(0, &amqpwire.ConnectionTuneOk{Heartbeat: 10})
	s.method(0, &amqpwire.ConnectionOpen{VirtualHost: "/"})
	s.expect()
	link.Advance(5 * time.Second) // something was said in this half
	link.Advance(5 * time.Second)
	nc.SetReadDeadline(time.Now().Add(patience))
	if f, err := s.r.next(); err != nil || f.Type != amqpwire.FrameHeartbeat {
		t.Errorf("got %+v, %v, want a heartbeat", f, err)
	}
	for h.s.Stats().HeartbeatsMissed.Load() == 0 {
		link.Advance(5 * time.Second)
	}
	for {
		if _, err := s.r.next(); err != nil {
			break
		}
	}
	late, err := net.Dial("tcp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	if _, err := io.WriteString(late, amqpwire.ProtocolHeader); err != nil {
		t.Fatal(err)
	}
	readMethod(t, late)
	link.Advance(handshakeMax)
	late.SetReadDeadline(time.Now().Add(patience))
	if _, err := late.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("a handshake that does not go on: %v", err)
	}
}

// TestSlowConsumer reads nothing for a while: it is held back, and loses nothing.
func TestSlowConsumer(t *testing.T) {
	h := start(t, kerneltest.Options{NoCapture: true}, func(c *Config) { c.OutboxMax = 4 << 20 })
	ch := h.channel()
	confirms(t, ch)
	declare(t, ch, "q", nil)
	const n, size = 300, 100_000 // 30 MB
	slow := h.script(t)
	slow.method(1, &amqpwire.BasicConsume{Queue: "q", ConsumerTag: "acks"})
	slow.expect()
	for i := range n {
		confirmed(t, ch, "", "q", strings.Repeat(string(rune('a'+i%26)), size))
	}
	for i := range n {
		d, ok := slow.expect().(*amqpwire.BasicDeliver)
		if !ok || d.DeliveryTag != uint64(i+1) {
			t.Fatalf("delivery %d: %+v", i, d)
		}
		slow.method(1, &amqpwire.BasicAck{DeliveryTag: d.DeliveryTag})
	}
	if got := h.s.Stats().TooSlow.Load(); got != 0 {
		t.Errorf("%d connections were cut off", got)
	}
}

// TestBusyBothWays publishes far more than the window on a connection that consumes and
// acknowledges too.
func TestBusyBothWays(t *testing.T) {
	h := start(t, kerneltest.Options{NoCapture: true})
	conn := h.dial()
	ch := open(t, conn)
	confirms(t, ch)
	declare(t, ch, "q", nil)
	if err := ch.Qos(10, 0, false); err != nil {
		t.Fatal(err)
	}
	ds := consume(t, ch, "q", false)
	const n = 400
	body := strings.Repeat("b", 100_000)
	acks := ch.NotifyPublish(make(chan amqp091.Confirmation, n))
	go func() {
		for range n {
			publish(t, ch, "", "q", body)
		}
	}()
	for range n {
		if err := next(t, ds).Ack(false); err != nil {
			t.Fatal(err)
		}
	}
	for range n {
		if c := <-acks; !c.Ack {
			t.Fatalf("%+v", c)
		}
	}
}

// FuzzConversation lets a client that has logged in say anything.
func FuzzConversation(f *testing.F) {
	h := start(f, kerneltest.Options{NoCapture: true})
	declare(f, h.channel(), "q", nil)
	var seed []byte
	for _, m := range []amqpwire.Method{
		&amqpwire.ConfirmSelect{}, &amqpwire.QueueDeclare{Queue: "f", AutoDelete: true}, &amqpwire.QueueBind{Queue: "f", Exchange: "amq.topic", RoutingKey: "a.#"},
		&amqpwire.BasicQos{PrefetchCount: 2}, &amqpwire.BasicConsume{Queue: "f", ConsumerTag: "t"}, &amqpwire.BasicGet{Queue: "q"}, &amqpwire.BasicAck{DeliveryTag: 1, Multiple: true},
		&amqpwire.BasicCancel{ConsumerTag: "t"}, &amqpwire.BasicRecover{Requeue: true}, &amqpwire.ChannelClose{},
	} {
		seed = amqpwire.AppendMethod(seed, 1, m)
	}
	f.Add(seed)
	seed = amqpwire.AppendMethod(nil, 1, &amqpwire.TxSelect{})
	seed = amqpwire.AppendPublish(seed, 1, "amq.topic", "a.b", true)
	seed = amqpwire.AppendContent(seed, 1, []byte{0x10, 0, 2}, []byte("body"), 4096)
	seed = amqpwire.AppendMethod(seed, 1, &amqpwire.TxCommit{})
	f.Add(append(seed, amqpwire.AppendMethod(nil, 0, &amqpwire.ConnectionClose{})...))
	f.Fuzz(func(t *testing.T, say []byte) {
		client, server := net.Pipe()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = h.s.ServeConn(server)
		}()
		drained := make(chan struct{})
		go func() {
			defer close(drained)
			_, _ = io.Copy(io.Discard, client)
		}()
		hello := []byte(amqpwire.ProtocolHeader)
		hello = amqpwire.AppendMethod(hello, 0, &amqpwire.ConnectionStartOk{Mechanism: "PLAIN", Response: []byte("\x00u\x00p")})
		hello = amqpwire.AppendMethod(hello, 0, &amqpwire.ConnectionTuneOk{})
		hello = amqpwire.AppendMethod(hello, 0, &amqpwire.ConnectionOpen{VirtualHost: "/"})
		hello = amqpwire.AppendMethod(hello, 1, &amqpwire.ChannelOpen{})
		_, _ = client.Write(append(hello, say...))
		client.Close()
		<-ended
		<-drained
	})
}

// TestBlocked: what the kernel has no room for is nacked, and the client is told once, and
// once more when it may go on.
func TestBlocked(t *testing.T) {
	link := clock.NewVirtual(time.Unix(1_800_000_000, 0))
	h := start(t, kerneltest.Options{NoCapture: true}, func(c *Config) { c.Link = link })
	s := h.script(t)
	s.method(1, &amqpwire.ConfirmSelect{})
	s.expect()
	var ch *channel
	h.s.mu.Lock()
	for c := range h.s.conns {
		ch = c.channels[1] // the reader is waiting: nobody writes to it
	}
	h.s.mu.Unlock()
	for _, kind := range []fault.Kind{fault.Exhausted, fault.Full} {
		ch.Published(ch.number(10, nil), kernel.PublishResult{Err: fault.Of(kind, "publish", "")})
	}
	var nacked uint64
	var told []string
	for nacked < 2 || len(told) < 1 {
		switch m := s.expect().(type) {
		case *amqpwire.BasicNack:
			nacked = m.DeliveryTag
		case *amqpwire.ConnectionBlocked:
			told = append(told, m.Reason)
		default:
			t.Fatalf("got %+v", m)
		}
	}
	if told[0] != "low on memory" {
		t.Errorf("blocked: %q", told)
	}
	link.Advance(blockedFor)
	if m, ok := s.expect().(*amqpwire.ConnectionUnblocked); !ok {
		t.Errorf("got %+v", m)
	}
}
