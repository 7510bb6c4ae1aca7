package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/wire"
)

// quicDial returns a connection to b over QUIC.
func (b *tlsBench) quicDial(address string, c *tls.Config, q *quic.Config) (*quic.Conn, error) {
	b.t.Helper()
	if c == nil {
		c = &tls.Config{}
	}
	c.RootCAs, c.ServerName = b.ca.pool(), "one.test"
	if c.NextProtos == nil {
		c.NextProtos = []string{"mqtt"}
	}
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	conn, err := quic.DialAddr(ctx, address, c, q)
	if err == nil {
		b.t.Cleanup(func() { conn.CloseWithError(0, "") })
	}
	return conn, err
}

// quicBegin has a server listen, and a client connect to it and begin to say something.
func (b *tlsBench) quicBegin(s *Server) (net.Addr, *quic.Conn, *quic.Stream) {
	b.t.Helper()
	a, err := s.Listen(b.t.Context(), Spec{Proto: MQTT, Network: QUIC, Address: "127.0.0.1:0"})
	if err != nil {
		b.t.Fatal(err)
	}
	conn, err := b.quicDial(a.String(), nil, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	stream, err := conn.OpenStreamSync(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	io.WriteString(stream, "\x10")
	return a, conn, stream
}

// ask opens a stream, says something and returns all that is answered.
func ask(t *testing.T, conn *quic.Conn, what string) (string, error) {
	t.Helper()
	s, err := conn.OpenStreamSync(t.Context())
	if err != nil {
		return "", err
	}
	io.WriteString(s, what)
	s.Close()
	got, err := io.ReadAll(s)
	return string(got), err
}

func TestQUIC(t *testing.T) {
	b := newTLSBench(t, TLSFiles{Authorities: "ca.pem"})
	address := b.at(Spec{Proto: MQTT, Network: QUIC, Clients: ClientCertOptional})
	device := b.ca.issue("device-1")
	for shown, want := range map[*tls.Certificate]string{nil: "quic \nhello", &device: "quic device-1\nhello"} {
		c := &tls.Config{}
		if shown != nil {
			c.Certificates = []tls.Certificate{*shown}
		}
		conn, err := b.quicDial(address, c, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ask(t, conn, "hello"); err != nil || got != want {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
	if _, err := b.quicDial(address, &tls.Config{NextProtos: []string{"h3"}}, nil); err == nil || !strings.Contains(err.Error(), "application protocol") {
		t.Errorf("one who speaks another protocol: %v", err)
	}
	for _, spec := range []Spec{{Proto: AMQP, Network: QUIC}, {Network: QUIC}} {
		spec.Address = "127.0.0.1:0"
		if _, err := b.Listen(t.Context(), spec); !fault.Is(err, fault.Unsupported) {
			t.Errorf("%v over QUIC: %v", spec.Proto, err)
		}
	}
	if _, err := b.Listen(t.Context(), Spec{Proto: MQTT, Network: QUIC, Address: address}); !fault.Is(err, fault.Exists) {
		t.Errorf("a port that is taken: %v", err)
	}
}

// Over QUIC too, certificates that change are used by new connections, and old ones go on.
func TestQUICReadsCertificatesAgain(t *testing.T) {
	b := newTLSBench(t, TLSFiles{})
	address := b.at(Spec{Proto: MQTT, Network: QUIC})
	old, err := b.quicDial(address, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	renewed := b.ca.issue("one.test", "one.test")
	writePair(t, b.dir, "a", renewed)
	b.clock.Advance(certsEvery)
	conn, err := b.quicDial(address, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !conn.ConnectionState().TLS.PeerCertificates[0].Equal(renewed.Leaf) {
		t.Error("the old certificate is shown")
	}
	if got, err := ask(t, old, "still here"); err != nil || got != "quic \nstill here" {
		t.Errorf("the connection from before: %q, %v", got, err)
	}
}

// A client that moves to another address, as from Wi-Fi to a mobile network, goes on where it was.
func TestQUICMigration(t *testing.T) {
	remote := make(chan net.Addr, 1)
	b := newTLSBench(t, TLSFiles{})
	s := newServer(t, Config{Certs: b.certs, Handlers: map[Proto]Handler{MQTT: HandlerFunc(func(c net.Conn) {
		buf := make([]byte, 16)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			c.Write(buf[:n])
			remote <- wire.PeerOf(c).Remote
		}
	})}})
	s.Start()
	a, err := s.Listen(t.Context(), Spec{Proto: MQTT, Network: QUIC, Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	transport := func() *quic.Transport {
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		tr := &quic.Transport{Conn: pc}
		t.Cleanup(func() { tr.Close(); pc.Close() })
		return tr
	}
	conn, err := transport().Dial(t.Context(), a, &tls.Config{RootCAs: b.ca.pool(), ServerName: "one.test", NextProtos: []string{"mqtt"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := conn.OpenStreamSync(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	hello := func() net.Addr {
		t.Helper()
		buf := make([]byte, 5)
		io.WriteString(stream, "hello")
		if _, err := io.ReadFull(stream, buf); err != nil || string(buf) != "hello" {
			t.Fatal(string(buf), err)
		}
		return <-remote
	}
	before := hello()
	tr := transport()
	path, err := conn.AddPath(tr)
	if err != nil {
		t.Fatal(err)
	}
	if err := path.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := path.Switch(); err != nil {
		t.Fatal(err)
	}
	hello() // the server may learn of the new address with this very packet
	if after := hello(); after.String() == before.String() || after.String() != tr.Conn.LocalAddr().String() {
		t.Errorf("the client is at %v, having moved from %v to %v", after, before, tr.Conn.LocalAddr())
	}
	conn.CloseWithError(0, "")
}

// Who shakes hands and opens no stream is let go.
func TestQUICSilence(t *testing.T) {
	t.Parallel() // it waits
	b := newTLSBench(t, TLSFiles{})
	s := newServer(t, Config{Certs: b.certs, FirstWait: 2 * time.Second, Handlers: map[Proto]Handler{MQTT: echo("mqtt")}}) // the handshake has to be done by then
	s.Start()
	a, err := s.Listen(t.Context(), Spec{Proto: MQTT, Network: QUIC, Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	silent, err := b.quicDial(a.String(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	<-silent.Context().Done()
	if n := s.Stats().Refused[TooSilent].Load(); n != 1 {
		t.Errorf("%d were too silent", n)
	}
}

// A client that wants more streams than one does not get them.
func TestQUICBounds(t *testing.T) {
	b := newTLSBench(t, TLSFiles{})
	entered := make(chan struct{})
	s := newServer(t, Config{Certs: b.certs, Handlers: map[Proto]Handler{MQTT: HandlerFunc(func(c net.Conn) {
		close(entered)
		io.Copy(io.Discard, c)
	})}})
	s.Start()
	a, err := s.Listen(t.Context(), Spec{Proto: MQTT, Network: QUIC, Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := b.quicDial(a.String(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := conn.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(stream, "\x10")
	<-entered
	if _, err := conn.OpenStream(); err == nil {
		t.Error("a second stream is opened")
	}
	if _, err := conn.OpenUniStream(); err == nil {
		t.Error("a one-way stream is opened")
	}
	conn.CloseWithError(0, "")
}

// What was written last before the end arrives.
func TestQUICLastWords(t *testing.T) {
	b := newTLSBench(t, TLSFiles{})
	s := newServer(t, Config{Certs: b.certs, Handlers: map[Proto]Handler{MQTT: HandlerFunc(func(c net.Conn) {
		c.Read(make([]byte, 1))
		out := wire.NewOutbox(c, 1<<20)
		out.Write([]byte(strings.Repeat("x", 200_000) + "goodbye"))
		out.Close(true)
		out.Wait()
	})}})
	s.Start()
	_, conn, stream := b.quicBegin(s)
	got, err := io.ReadAll(stream)
	if err != nil || !strings.HasSuffix(string(got), "goodbye") {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	conn.CloseWithError(0, "")
}

// A broker that ends cuts off who does not leave, and leaves nothing behind.
func TestQUICClose(t *testing.T) {
	b := newTLSBench(t, TLSFiles{})
	entered := make(chan struct{})
	s := New(Config{Certs: b.certs, Handlers: map[Proto]Handler{MQTT: HandlerFunc(func(c net.Conn) {
		close(entered)
		io.Copy(io.Discard, c)
	})}})
	s.Start()
	a, conn, _ := b.quicBegin(s)
	<-entered
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	<-conn.Context().Done()
	if pc, err := net.ListenPacket("udp", a.String()); err != nil {
		t.Errorf("the port is not given back: %v", err)
	} else {
		pc.Close()
	}
}
