package edge

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/robustmq/rmq/broker/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestDetect(t *testing.T) {
	tests := []struct {
		name   string
		prefix string
		want   Proto
		need   int
	}{
		{"nothing", "", Any, 1},
		{"AMQP 0-9-1", "AMQP\x00\x00\x09\x01", AMQP, 0},
		{"AMQP 1.0", "AMQP\x00\x01\x00\x00", AMQP, 0},
		{"AMQP, beginning", "AM", Any, 4},
		{"AMQP, not", "AMQX", Any, 0},
		{"MQTT 3.1.1", "\x10\x0c\x00\x04MQTT\x04", MQTT, 0},
		{"MQTT 3.1", "\x10\x0e\x00\x06MQIsdp\x03", MQTT, 0},
		{"MQTT, one byte", "\x10", MQTT, 0},
		{"MQTT, not CONNECT", "\x30\x05\x00\x01a", Any, 0},
		{"Kafka ApiVersions", "\x00\x00\x00\x16\x00\x12\x00\x03", Kafka, 0},
		{"Kafka Metadata", "\x00\x00\x00\x20\x00\x03\x00\x0d", Kafka, 0},
		{"Kafka, beginning", "\x00\x00\x00\x16", Any, 8},
		{"Kafka, largest", "\x06\x40\x00\x00\x00\x00\x00\x0c", Kafka, 0},
		{"Kafka, too large", "\x06\x40\x00\x01\x00\x00\x00\x0c", Any, 0},
		{"Kafka, too large by its first byte", "\x07", Any, 0},
		{"Kafka, too small", "\x00\x00\x00\x07\x00\x12\x00\x03", Any, 0},
		{"Kafka, no such key", "\x00\x00\x00\x16\x01\x12\x00\x03", Any, 0},
		{"Kafka, no such version", "\x00\x00\x00\x16\x00\x12\x00\x30", Any, 0},
		{"Kafka, negative version", "\x00\x00\x00\x16\x00\x12\xff\xff", Any, 0},
		{"HTTP GET", "GET / HTTP/1.1\r\n", HTTP, 0},
		{"HTTP, beginning", "P", Any, 4},
		{"HTTP PUT", "PUT ", HTTP, 0},
		{"HTTP PATCH, beginning", "PAT", Any, 6},
		{"HTTP OPTIONS", "OPTIONS ", HTTP, 0},
		{"HTTP/2", "PRI * HTTP/2.0", HTTP, 0},
		{"HTTP, not", "GETX", Any, 0},
		{"HTTP, lower case", "get / ", Any, 0},
		{"TLS", "\x16\x03\x01", TLS, 0},
		{"SSH", "SSH-2.0", Any, 0},
	}
	for _, tt := range tests {
		if got, need := Detect([]byte(tt.prefix)); got != tt.want || need != tt.need {
			t.Errorf("%s: %v, %d; want %v, %d", tt.name, got, need, tt.want, tt.need)
		}
	}
}

// However the bytes arrive, Detect asks for no more than it is given in the end, and comes
// to the same answer.
func FuzzDetect(f *testing.F) {
	for _, s := range []string{"", "AMQP", "\x10\x0c", "\x00\x00\x00\x16\x00\x12\x00\x03", "OPTIONS ", "PRI * ", "\x16"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		whole, need := Detect(b)
		if whole != Any && need != 0 || need > DetectMax || need != 0 && need <= len(b) {
			t.Fatalf("%v, %d of %x", whole, need, b)
		}
		for i := range b {
			if p, need := Detect(b[:i]); p != Any && p != whole || p == Any && need == 0 && whole != Any {
				t.Fatalf("%x is %v, and its first %d bytes are %v, %d", b, whole, i, p, need)
			}
		}
	})
}

// echo answers with its name and then with what it reads, until the client stops.
func echo(name string) Handler {
	return HandlerFunc(func(c net.Conn) {
		io.WriteString(c, name+":")
		io.Copy(c, c)
	})
}

func newServer(t *testing.T, cfg Config) *Server {
	t.Helper()
	s := New(cfg)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Errorf("closing: %v", err)
		}
		if n := s.Stats().Open.Load(); n != 0 {
			t.Errorf("%d connections are still counted", n)
		}
	})
	return s
}

func listen(t *testing.T, s *Server, p Proto) string {
	t.Helper()
	a, err := s.Listen(context.Background(), Spec{Proto: p, Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	return a.String()
}

// say sends bytes and returns all that is answered.
func say(t *testing.T, address, first string) string {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, first)
	c.(*net.TCPConn).CloseWrite()
	b, err := io.ReadAll(c)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatal(err)
	}
	return string(b)
}

func TestOnePortServesAll(t *testing.T) {
	web := NewHTTP(&http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "web "+r.URL.Path) })})
	defer web.Close(context.Background())
	s := newServer(t, Config{Handlers: map[Proto]Handler{MQTT: echo("mqtt"), Kafka: echo("kafka"), AMQP: echo("amqp"), HTTP: web}})
	address := listen(t, s, Any)
	s.Start()
	for _, tt := range []struct{ first, want string }{
		{"\x10\x0c\x00\x04MQTT", "mqtt:\x10\x0c\x00\x04MQTT"},
		{"\x00\x00\x00\x16\x00\x12\x00\x03rest", "kafka:\x00\x00\x00\x16\x00\x12\x00\x03rest"},
		{"AMQP\x00\x00\x09\x01", "amqp:AMQP\x00\x00\x09\x01"},
	} {
		if got := say(t, address, tt.first); got != tt.want {
			t.Errorf("%q is answered %q, want %q", tt.first, got, tt.want)
		}
	}
	if got := say(t, address, "GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"); !strings.HasSuffix(got, "web /x") {
		t.Errorf("HTTP is answered %q", got)
	}
	for p := MQTT; p <= HTTP; p++ {
		if n := s.Stats().Served[p].Load(); n != 1 {
			t.Errorf("%v was served %d times", p, n)
		}
	}
}

func TestOwnPorts(t *testing.T) {
	s := newServer(t, Config{Handlers: map[Proto]Handler{MQTT: echo("mqtt"), Kafka: echo("kafka")}})
	mqtt := listen(t, s, MQTT)
	s.Start()
	kafka := listen(t, s, Kafka) // after Start
	// What comes in on a port of its own is not looked at.
	if got := say(t, mqtt, "GET "); got != "mqtt:GET " {
		t.Errorf("%q", got)
	}
	if got := say(t, kafka, "\x10"); got != "kafka:\x10" {
		t.Errorf("%q", got)
	}
	if _, err := s.Listen(context.Background(), Spec{Proto: AMQP, Address: "127.0.0.1:0"}); !fault.Is(err, fault.Unsupported) {
		t.Errorf("listening for what nobody serves: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	s := newServer(t, Config{Handlers: map[Proto]Handler{MQTT: echo("mqtt")}})
	address := listen(t, s, Any)
	s.Start()
	for _, tt := range []struct {
		first  string
		reason Reason
	}{
		{"SSH-2.0-x\r\n", Unknown}, {"AMQP\x00\x00\x09\x01", NotServed}, {"\x16\x03\x01", NotServed}, {"GE", WentAway}, {"", WentAway},
	} {
		before := s.Stats().Refused[tt.reason].Load()
		if got := say(t, address, tt.first); got != "" {
			t.Errorf("%q is answered %q", tt.first, got)
		}
		if n := s.Stats().Refused[tt.reason].Load(); n != before+1 {
			t.Errorf("%q was not refused as %v", tt.first, tt.reason)
		}
	}
}

// Who does not say enough in time is let go.
func TestSilence(t *testing.T) {
	s := newServer(t, Config{Handlers: map[Proto]Handler{MQTT: echo("mqtt")}, FirstWait: shortWait})
	address := listen(t, s, Any)
	s.Start()
	tooSilent(t, s, address, "AM")
}

// shortWait is for servers that wait in vain.
const shortWait = 30 * time.Millisecond

// tooSilent wants a server to let go, unanswered, of one who says that much and stops. It may be gone
// before that was said, and then resets the connection.
func tooSilent(t *testing.T, s *Server, address, first string) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, first)
	if got, err := io.ReadAll(c); len(got) > 0 || err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("answered %q, %v", got, err)
	}
	if n := s.Stats().Refused[TooSilent].Load(); n != 1 {
		t.Errorf("%d were too silent", n)
	}
}

func TestConnectionLimit(t *testing.T) {
	entered := make(chan struct{})
	s := newServer(t, Config{MaxConns: 2, Handlers: map[Proto]Handler{MQTT: HandlerFunc(func(c net.Conn) {
		entered <- struct{}{}
		io.Copy(io.Discard, c)
	})}})
	address := listen(t, s, MQTT)
	s.Start()
	var held []net.Conn
	for range 2 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		held = append(held, c)
		<-entered
	}
	say(t, address, "")
	if n := s.Stats().Refused[OverLimit].Load(); n != 1 {
		t.Fatalf("%d refused over the limit", n)
	}
	held[0].Close()
	for { // the place is free again once its handler has noticed
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		gone := make(chan struct{})
		go func() { c.Read(make([]byte, 1)); close(gone) }()
		select {
		case <-entered:
			c.Close()
			<-gone
			return
		case <-gone:
		}
	}
}

func TestWithoutUsersOnlyHere(t *testing.T) {
	users := 0
	s := newServer(t, Config{Handlers: map[Proto]Handler{MQTT: echo("mqtt")}, Users: func() int { return users }})
	for address, want := range map[string]bool{
		"127.0.0.1:0": true, "localhost:0": true, ":0": false, "0.0.0.0:0": false, "[::]:0": false, "192.0.2.1:0": false,
	} {
		_, err := s.Listen(context.Background(), Spec{Proto: MQTT, Address: address})
		if (err == nil) != want {
			t.Errorf("%s without users: %v", address, err)
		}
		if err != nil && (!fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), "rmq user create")) {
			t.Errorf("%s without users: %v: no way out is told", address, err)
		}
	}
	users = 1
	if _, err := s.Listen(context.Background(), Spec{Proto: MQTT, Address: "0.0.0.0:0"}); err != nil {
		t.Errorf("with a user: %v", err)
	}
}

func TestListenErrors(t *testing.T) {
	s := newServer(t, Config{Handlers: map[Proto]Handler{MQTT: echo("mqtt")}})
	taken := listen(t, s, MQTT)
	for _, tt := range []struct {
		address string
		kind    fault.Kind
		text    string
	}{
		{taken, fault.Exists, "--any-port"},
		{"1883", fault.Invalid, "host:port"},
		{"192.0.2.1:0", fault.Invalid, "does not have that address"},
	} {
		_, err := s.Listen(context.Background(), Spec{Proto: MQTT, Address: tt.address})
		if !fault.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: %v", tt.address, err)
		}
	}
}

// scarce is a listener of a system that is out of file descriptors at first.
type scarce struct {
	net.Listener
	fails atomic.Int32
}

func (l *scarce) Accept() (net.Conn, error) {
	if n := l.fails.Add(-1); n >= 0 {
		return nil, &net.OpError{Op: "accept", Err: []error{syscall.EMFILE, syscall.ECONNABORTED}[n%2]}
	}
	return l.Listener.Accept()
}

func TestAcceptGoesOn(t *testing.T) {
	s := newServer(t, Config{Handlers: map[Proto]Handler{MQTT: echo("mqtt")}})
	address := listen(t, s, MQTT)
	l := &scarce{Listener: s.listeners[0].Listener}
	l.fails.Store(3)
	s.listeners[0].Listener = l
	s.Start()
	if got := say(t, address, "x"); got != "mqtt:x" {
		t.Errorf("%q", got)
	}
	if n := s.Stats().Failed.Load(); n != 3 {
		t.Errorf("%d accepts failed", n)
	}
}

func TestCloseWaitsAndCutsOff(t *testing.T) {
	entered, left := make(chan struct{}), make(chan struct{})
	s := New(Config{Handlers: map[Proto]Handler{MQTT: HandlerFunc(func(c net.Conn) {
		close(entered)
		io.Copy(io.Discard, c)
		close(left)
	})}})
	address := listen(t, s, MQTT)
	s.Start()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	<-entered
	s.StopListening()
	if _, err := net.Dial("tcp", address); err == nil {
		t.Error("still listening")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Close(ctx); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "1 connections") {
		t.Errorf("Close: %v", err)
	}
	select {
	case <-left:
	default:
		t.Error("Close returned before the handler")
	}
	if _, err := s.Listen(context.Background(), Spec{Proto: MQTT, Address: "127.0.0.1:0"}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("listening once closed: %v", err)
	}
}

// A connection that was upgraded counts until whoever has it lets go.
func TestHTTPUpgrade(t *testing.T) {
	web := NewHTTP(&http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		rw.WriteString("HTTP/1.1 101 Switching Protocols\r\n\r\n")
		rw.Flush()
		io.Copy(c, rw)
	})})
	defer web.Close(context.Background())
	s := newServer(t, Config{Handlers: map[Proto]Handler{HTTP: web}})
	address := listen(t, s, Any)
	s.Start()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	r := bufio.NewReader(c)
	if status, err := r.ReadString('\n'); err != nil || !strings.Contains(status, "101") {
		t.Fatal(status, err)
	}
	r.ReadString('\n')
	io.WriteString(c, "ping")
	b := make([]byte, 4)
	if _, err := io.ReadFull(r, b); err != nil || string(b) != "ping" {
		t.Fatal(string(b), err)
	}
	if n := s.Stats().Open.Load(); n != 1 {
		t.Errorf("%d connections are open", n)
	}
}
