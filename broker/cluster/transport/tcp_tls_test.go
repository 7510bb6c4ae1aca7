package transport

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// certificate makes one that is signed by itself.
func certificate(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Unix(0, 0), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// mutual has nodes show certificates that carry their names, and look at them.
func mutual(certs map[uint64]tls.Certificate, self uint64) func(*TCPConfig) {
	pool := x509.NewCertPool()
	for _, c := range certs {
		pool.AddCert(c.Leaf)
	}
	return func(cfg *TCPConfig) {
		cfg.TLS = &tls.Config{Certificates: []tls.Certificate{certs[self]}, RootCAs: pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
		cfg.CheckCert = func(node uint64, s tls.ConnectionState) error {
			if name := s.PeerCertificates[0].Subject.CommonName; name != fmt.Sprint("node-", node) {
				return fmt.Errorf("it is %s's", name)
			}
			return nil
		}
	}
}

// With certificates on both sides, a node has to have the token and its own certificate.
func TestTCPMutualTLS(t *testing.T) {
	certs := map[uint64]tls.Certificate{1: certificate(t, "node-1"), 2: certificate(t, "node-2"), 3: certificate(t, "node-3")}
	one, two := startNode(t, 1, mutual(certs, 1)), startNode(t, 2, mutual(certs, 2))
	meet(one, two)
	big := strings.Repeat("x", 3*chunkMax)
	one.Channel(ChanRaft).Send(2, []byte(big))
	two.Channel(ChanRaft).Send(1, []byte("small"))
	if r := two.next(); r.frame != big {
		t.Errorf("received %d bytes", len(r.frame))
	}
	if r := one.next(); r.frame != "small" {
		t.Errorf("received %q", r.frame)
	}
	one.stop()

	three := startNode(t, 1, mutual(certs, 3)) // says that it is node 1
	three.SetPeers(map[uint64]string{2: two.Addr().String()})
	three.Channel(ChanRaft).Send(2, []byte("x"))
	until(t, "it is refused", func() bool {
		return strings.HasSuffix(three.peerStatus(2).Error, "it does not take this node's certificate for node 1's") &&
			strings.HasSuffix(two.peerStatus(1).InError, "its certificate is not node 1's: it is node-3's")
	})
}

// Where certificates are not looked at, the token still tells who has put himself in between.
func TestTCPManInTheMiddle(t *testing.T) {
	trusting := func(cfg *TCPConfig) {
		cfg.TLS = &tls.Config{Certificates: []tls.Certificate{certificate(t, "any")}, InsecureSkipVerify: true}
	}
	one, two := startNode(t, 1, trusting), startNode(t, 2, trusting)
	two.SetPeers(map[uint64]string{1: "127.0.0.1:1"})
	one.SetPeers(map[uint64]string{2: two.Addr().String()})
	one.Channel(ChanRaft).Send(2, []byte("x"))
	if r := two.next(); r.frame != "x" {
		t.Errorf("received %q", r.frame)
	}

	middle, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate(t, "any")}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	t.Cleanup(cancel)
	t.Cleanup(func() { middle.Close() })
	running.Go(func() {
		for {
			a, err := middle.Accept()
			if err != nil {
				return
			}
			running.Go(func() { relay(ctx, a, two.Addr().String()) })
		}
	})
	one.SetPeers(map[uint64]string{2: middle.Addr().String()})
	until(t, "both refuse", func() bool {
		return strings.HasSuffix(one.peerStatus(2).Error, "it has another cluster token") && two.Status().Refused["token"] > 0
	})
}

// relay has a connection go on to an address, over another one with TLS of its own.
func relay(ctx context.Context, a net.Conn, addr string) {
	defer a.Close()
	b, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return
	}
	defer b.Close()
	defer context.AfterFunc(ctx, func() { a.Close(); b.Close() })()
	done := make(chan struct{})
	go func() { defer close(done); defer a.Close(); io.Copy(a, b) }()
	io.Copy(b, a)
	b.Close()
	<-done
}

// One with TLS and one without tell what is wrong.
func TestTCPOneWithoutTLS(t *testing.T) {
	with := func(cfg *TCPConfig) {
		cfg.TLS = &tls.Config{Certificates: []tls.Certificate{certificate(t, "any")}, InsecureSkipVerify: true}
	}
	one, two := startNode(t, 1, with), startNode(t, 2, nil)
	meet(one, two)
	two.Channel(ChanRaft).Send(1, []byte("x"))
	const want = "connect: it is set up with TLS, and this node without"
	until(t, "the one that dials says it", func() bool { return two.peerStatus(1).Error == want })
	three := new(records)
	plain := startNode(t, 3, func(c *TCPConfig) { c.Log = slog.New(three) })
	one.SetPeers(map[uint64]string{3: plain.Addr().String()})
	one.Channel(ChanRaft).Send(3, []byte("x"))
	until(t, "the one that accepts says it", func() bool { return three.count("connection refused that is no node's", want) > 0 })
}

// records is a log of a test.
type records struct {
	slog.Handler
	mu   sync.Mutex
	seen [][2]string // message and err
}

func (r *records) Enabled(context.Context, slog.Level) bool { return true }
func (r *records) Handle(_ context.Context, rec slog.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var err string
	rec.Attrs(func(a slog.Attr) bool {
		if a.Key == "err" {
			err = a.Value.String()
		}
		return true
	})
	r.seen = append(r.seen, [2]string{rec.Message, err})
	return nil
}

func (r *records) count(msg, err string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.seen {
		if s == [2]string{msg, err} {
			n++
		}
	}
	return n
}

// What goes wrong again and again is logged once, at both ends.
func TestTCPLogsOnce(t *testing.T) {
	var logs [2]records
	one := startNode(t, 1, func(c *TCPConfig) { c.Log, c.Token = slog.New(&logs[0]), "another" })
	two := startNode(t, 2, func(c *TCPConfig) { c.Log = slog.New(&logs[1]) })
	meet(one, two)
	one.Channel(ChanRaft).Send(2, []byte("x"))
	until(t, "it was tried some times", func() bool { return two.Status().Refused["token"] >= 4 })
	if n := logs[0].count("node cannot be reached", "connect: it has another cluster token"); n != 1 {
		t.Errorf("the one that dials says it %d times: %v", n, logs[0].seen)
	}
	if n := logs[1].count("connection refused that says it is a node's", "accept: it does not have this cluster's token"); n != 1 {
		t.Errorf("the one that accepts says it %d times: %v", n, logs[1].seen)
	}
}
