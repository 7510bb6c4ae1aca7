package edge

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/wire"
)

// httpServer answers with who has asked, as the request and as the connection say.
func httpServer() *http.Server {
	return &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, _ := wire.PeerFrom(r.Context())
		fmt.Fprintf(w, "%s %v", r.RemoteAddr, p.Remote)
	})}
}

func TestUnixSocket(t *testing.T) {
	s := newServer(t, Config{Handlers: map[Proto]Handler{MQTT: HandlerFunc(func(c net.Conn) {
		p := wire.PeerOf(c)
		io.WriteString(c, p.Transport+" "+c.RemoteAddr().String())
	})}})
	s.Start()
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	open := func(spec Spec) error {
		spec.Network = Unix
		_, err := s.Listen(context.Background(), spec)
		return err
	}
	dial := func(path string) string {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, "\x10")
		b, err := io.ReadAll(c)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}

	// What a broker leaves that is killed: a socket that nobody listens on.
	dead, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	dead.Close()
	if err := open(Spec{Address: path}); err != nil {
		t.Fatalf("where a dead socket is: %v", err)
	}
	if got := dial(path); got != "unix "+path {
		t.Errorf("%q", got)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v, %v", info.Mode(), err)
	}

	// A live one stays, and so does what is no socket.
	if err := open(Spec{Address: path}); !fault.Is(err, fault.Exists) || !strings.Contains(err.Error(), "somebody listens") {
		t.Errorf("where somebody listens: %v", err)
	}
	if got := dial(path); got != "unix "+path {
		t.Errorf("who listened there before answers %q", got)
	}
	file := filepath.Join(dir, "file")
	write(t, file, []byte("mine"))
	if err := open(Spec{Address: file}); !fault.Is(err, fault.Exists) {
		t.Errorf("where a file is: %v", err)
	}
	if b, err := os.ReadFile(file); string(b) != "mine" {
		t.Errorf("the file is %q, %v", b, err)
	}

	wide := filepath.Join(dir, "wide")
	if err := open(Spec{Address: wide, Mode: 0o666}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(wide); err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("the socket is %v, %v", info.Mode(), err)
	}
	if err := open(Spec{Address: filepath.Join(dir, strings.Repeat("x", 200))}); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "at most 107 bytes") {
		t.Errorf("a path too long: %v", err)
	}

	// One that was replaced by another's is the other's to remove.
	os.Remove(wide)
	other, err := net.Listen("unix", wide)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	s.StopListening()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
	if _, err := os.Lstat(wide); err != nil {
		t.Errorf("another's socket was removed: %v", err)
	}
}

// Connections come in at the rate that is asked for; the others wait, and none is lost.
func TestRate(t *testing.T) {
	link := clock.NewVirtual(time.Unix(1e9, 0))
	served := make(chan struct{}, 100)
	s := newServer(t, Config{Link: link, Handlers: map[Proto]Handler{MQTT: HandlerFunc(func(net.Conn) { served <- struct{}{} })}})
	a, err := s.Listen(context.Background(), Spec{Proto: MQTT, Address: "127.0.0.1:0", MaxRate: 10})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	for range 30 {
		c, err := net.Dial("tcp", a.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	// Ten at once, and the next, after which the listener waits.
	for range 11 {
		<-served
	}
	for range 19 {
		due := waitForTimer(link)
		if due != 100*time.Millisecond {
			t.Fatalf("the next is let in after %v", due)
		}
		select {
		case <-served:
			t.Fatal("one came in too early")
		default:
		}
		link.Advance(due)
		<-served
	}
}

// waitForTimer waits until somebody waits for the clock, and tells for how long.
func waitForTimer(c *clock.Virtual) time.Duration {
	for {
		if at, ok := c.Next(); ok {
			return at.Sub(c.Now())
		}
	}
}

func TestListenerLimit(t *testing.T) {
	entered := make(chan struct{})
	s := newServer(t, Config{Handlers: map[Proto]Handler{MQTT: HandlerFunc(func(c net.Conn) {
		entered <- struct{}{}
		io.Copy(io.Discard, c)
	})}})
	few, err := s.Listen(context.Background(), Spec{Proto: MQTT, Address: "127.0.0.1:0", MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	other := listen(t, s, MQTT)
	s.Start()
	for _, address := range []string{few.String(), other, other} {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		<-entered
	}
	say(t, few.String(), "")
	if n := s.Stats().Refused[OverLimit].Load(); n != 1 {
		t.Errorf("%d refused over the limit", n)
	}
}

func TestParseSpec(t *testing.T) {
	for text, want := range map[string]string{
		"mqtts://0.0.0.0:8883?client-cert=required&max-connections=10&max-rate=5": "{mqtt 0 0.0.0.0:8883 2 3 [] ---------- 10 5}",
		"any://[::1]:4000?tls=accepted&proxy-protocol=10.1.2.3/8,192.0.2.7":       "{any 0 [::1]:4000 1 0 [10.0.0.0/8 192.0.2.7/32] ---------- 0 0}",
		"any://h:1?tls=required":           "{any 0 h:1 2 0 [] ---------- 0 0}",
		"mqtt+quic://127.0.0.1":            "{mqtt 2 127.0.0.1:14567 2 0 [] ---------- 0 0}",
		"wss://[::1]":                      "{http 0 [::1]:8084 2 0 [] ---------- 0 0}",
		"mqtt://:0/":                       "{mqtt 0 :0 0 0 [] ---------- 0 0}",
		"unix:///run/rmq.sock?mode=0660":   "{any 1 /run/rmq.sock 0 0 [] -rw-rw---- 0 0}",
		"unix://run/rmq.sock":              "the path of a socket begins with /",
		"mqtt:1883":                        "it does not begin with one of",
		"tcp://127.0.0.1:1":                "it does not begin with one of any, mqtt, mqtts",
		"any://127.0.0.1":                  "it names no host and port: any://127.0.0.1:4000",
		"mqtt://h:99999":                   "it names no host and port",
		"mqtt://h:1/path":                  "it names no host and port",
		"mqtts://h:1?tls=off":              "there is no such option here",
		"mqtt+quic://h:1?proxy-protocol=1": "there is no such option here",
		"mqtt://h:1?mode=0600":             "there is no such option here",
		"mqtt://h:1?max-rate=0":            "it is no number from 1 on",
		"mqtt://h:1?max-rate=1&max-rate=2": "max-rate is said twice",
		"mqtts://h:1?client-cert=yes":      "it is none, optional or required",
		"mqtt://h:1?proxy-protocol=ten":    `"ten" is no network`,
		"mqtt://h:1?tls=yes":               "it is off, accepted or required",
		"unix:///s?mode=rw":                "it is no mode",
	} {
		spec, err := ParseSpec(text)
		got := fmt.Sprintf("{%v %d %s %d %d %v %v %d %d}", spec.Proto, spec.Network, spec.Address, spec.TLS, spec.Clients, spec.Proxies, spec.Mode, spec.MaxConns, spec.MaxRate)
		if err != nil {
			got = err.Error()
		}
		if err != nil && !strings.Contains(got, want) || err == nil && got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}
