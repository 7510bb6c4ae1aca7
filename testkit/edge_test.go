package testkit_test

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/quic-go/quic-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/robustmq/rmq/broker"
	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/edge"
	"github.com/robustmq/rmq/broker/mqttwire"
	"github.com/robustmq/rmq/testkit"
)

// selfSigned leaves a certificate for this machine, and its key, in a file.
func selfSigned(t *testing.T) (path string) {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "broker"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der := must(x509.CreateCertificate(rand.Reader, c, c, key.Public(), key))(t)
	private := must(x509.MarshalPKCS8PrivateKey(key))(t)
	path = filepath.Join(t.TempDir(), "broker.pem")
	check(t, os.WriteFile(path, append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...), 0o600))
	return path
}

// Operators see where clients are and how they came, whatever is between.
func TestWhereClientsComeFrom(t *testing.T) {
	ctx, file := t.Context(), selfSigned(t)
	socket := filepath.Join(t.TempDir(), "s")
	b := testkit.Run(t, testkit.Configure(func(c *broker.Config) {
		c.TLS = &edge.TLSFiles{Pairs: []edge.Pair{{Certificate: file, Key: file}}}
		c.Listeners = []edge.Spec{
			{Network: edge.Unix, Address: socket},
			{Network: edge.QUIC, Proto: edge.MQTT, Address: "127.0.0.1:0"},
			{Address: "127.0.0.1:0", TLS: edge.MayTLS, Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
		}
	}))
	secret := "secret"
	must(must(adminapi.NewClient(b.HTTP(), nil))(t).PutUser(ctx, adminapi.UserSpec{Name: "device", Password: &secret, Tags: []string{"administrator"}}))(t)
	api := must(adminapi.NewClient(strings.Replace(b.HTTP(), "//", "//device:secret@", 1), nil))(t)
	var places [3]string // of those listeners
	status := must(api.Status(ctx))(t)
	for i, l := range status.Listeners[len(status.Listeners)-3:] {
		_, places[i], _ = strings.Cut(l.URL, "://")
	}

	trust := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"mqtt"}}
	tcp := must(net.Dial("tcp", strings.TrimPrefix(status.URLs.MQTT, "mqtt://")))(t)
	secure := must(tls.Dial("tcp", strings.TrimPrefix(status.URLs.MQTTS, "mqtts://"), trust))(t)
	web := func(url string) net.Conn {
		ws, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{
			Subprotocols: []string{"mqtt"}, HTTPClient: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}},
		})
		check(t, err)
		return websocket.NetConn(ctx, ws, websocket.MessageBinary)
	}
	local := must(net.Dial("unix", socket))(t)
	q := must(quic.DialAddr(ctx, places[1], trust, nil))(t)
	defer q.CloseWithError(0, "")
	behind := func() net.Conn {
		c := must(net.Dial("tcp", places[2]))(t)
		must(io.WriteString(c, "PROXY TCP4 203.0.113.9 192.0.2.1 5555 1883\r\n"))(t)
		return c
	}
	hidden := tls.Client(behind(), trust)
	check(t, hidden.Handshake())

	for _, tt := range []struct {
		name, transport, remote string
		conn                    io.ReadWriter
	}{
		{"tcp", "tcp", tcp.LocalAddr().String(), tcp},
		{"tls", "tls", secure.LocalAddr().String(), secure},
		{"ws", "ws", "127.0.0.1:", web(status.URLs.MQTTWS)},
		{"wss", "wss", "127.0.0.1:", web(status.URLs.MQTTWSS)},
		{"unix", "unix", socket, local},
		{"quic", "quic", "127.0.0.1:", must(q.OpenStream())(t)},
		{"proxy", "tcp", "203.0.113.9:5555", behind()},
		{"proxy-tls", "tls", "203.0.113.9:5555", hidden},
	} {
		connect := mqttwire.Connect{
			Version: mqttwire.V5, CleanStart: true, ClientID: []byte(tt.name), HasUserName: true, UserName: []byte("device"), HasPassword: true, Password: []byte("secret"),
		}
		must(tt.conn.Write(connect.Append(nil)))(t)
		answer := make([]byte, 4)
		must(io.ReadFull(tt.conn, answer))(t)
		if answer[0] != 0x20 || answer[3] != 0 {
			t.Errorf("%s: CONNACK %x", tt.name, answer)
			continue
		}
		s := must(api.Session(ctx, adminapi.Ref{Namespace: "/", Name: tt.name}))(t)
		if s.Transport != tt.transport || !strings.HasPrefix(s.Remote, tt.remote) || s.User != "device" {
			t.Errorf("%s is shown at %s over %s as %q", tt.name, s.Remote, s.Transport, s.User)
		}
		if c, ok := tt.conn.(io.Closer); ok {
			_ = c.Close()
		}
	}
}

// What an operator watches of the places where clients come in.
func TestListenerMetrics(t *testing.T) {
	file := selfSigned(t)
	b := testkit.Run(t, testkit.Configure(func(c *broker.Config) {
		c.TLS = &edge.TLSFiles{Pairs: []edge.Pair{{Certificate: file, Key: file}}}
		c.Listeners = []edge.Spec{{Proto: edge.MQTT, Address: "127.0.0.1:0", TLS: edge.MustTLS}}
	}))
	listeners := must(must(adminapi.NewClient(b.HTTP(), nil))(t).Status(t.Context()))(t).Listeners
	at := listeners[len(listeners)-1].URL
	c := must(net.Dial("tcp", strings.TrimPrefix(at, "mqtts://")))(t)
	defer c.Close()
	must(io.WriteString(c, "no TLS\r\n"))(t)
	must(io.ReadAll(c))(t) // it is refused before it is closed
	got := scrape(t, b)
	for name, want := range map[string]float64{
		`rmq_listener_accepted_total{listener="` + at + `"}`: 1, `rmq_certificates_stale`: 0,
	} {
		if n, there := got[name]; n != want || !there {
			t.Errorf("%s is %v (%v), want %v", name, n, there, want)
		}
	}
	if left := got[`rmq_certificate_expires_seconds{file="`+file+`"}`] - float64(time.Now().Unix()); left < 600 || left > 3600 {
		t.Errorf("the certificate has %v s left", left)
	}
	// The pattern of scrape has no room for the blanks of a reason.
	status := must(must(adminapi.NewClient(b.HTTP(), nil))(t).Status(t.Context()))(t)
	if n := status.Listeners[len(listeners)-1].Refused["bad TLS handshake"]; n != 1 {
		t.Errorf("%d are refused for their handshake", n)
	}
}

// A browser that never ends its headers costs what they may be at most, and hurts nobody.
func TestGiantUpgrade(t *testing.T) {
	b := testkit.Run(t)
	u := must(url.Parse(b.WebSocket()))(t)
	c := must(net.Dial("tcp", u.Host))(t)
	defer c.Close()
	must(io.WriteString(c, "GET /mqtt HTTP/1.1\r\nHost: x\r\nX: "))(t)
	sent := make(chan struct{})
	go func() { // ends when the broker takes no more
		defer close(sent)
		for range 1024 {
			if _, err := c.Write(bytes.Repeat([]byte("x"), 1024)); err != nil {
				return
			}
		}
	}()
	r := must(http.ReadResponse(bufio.NewReader(c), nil))(t)
	defer r.Body.Close()
	if r.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("it is answered %s", r.Status)
	}
	c.Close()
	<-sent
}

// Behind a port that somebody else forwards, clients of Kafka are told where to come.
func TestKafkaAdvertise(t *testing.T) {
	for _, tt := range []struct{ advertise, host, port string }{
		{"broker.example:19092", "broker.example", "19092"},
		{"localhost", "localhost", ""}, // the port that it has
	} {
		b := testkit.Run(t, testkit.Configure(func(c *broker.Config) { c.KafkaAdvertise = tt.advertise }))
		host, port, err := net.SplitHostPort(b.Bootstrap())
		check(t, err)
		if host != tt.host || tt.port != "" && port != tt.port {
			t.Errorf("%s: clients are sent to %s", tt.advertise, b.Bootstrap())
		}
		if tt.port != "" {
			continue // nobody forwards it here
		}
		client := must(kgo.NewClient(kgo.SeedBrokers(b.Bootstrap())))(t)
		defer client.Close()
		meta := must(kadm.NewClient(client).BrokerMetadata(t.Context()))(t)
		if len(meta.Brokers) != 1 || meta.Brokers[0].Host != tt.host || strconv.Itoa(int(meta.Brokers[0].Port)) != port {
			t.Errorf("%s: metadata names %+v", tt.advertise, meta.Brokers)
		}
	}
}
