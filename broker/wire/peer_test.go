package wire

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"testing"
	"time"
)

// Who shows a certificate that the listener verified is known by it, through whatever is
// wrapped around the connection; one that was not verified proves nothing.
func TestPeerOf(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "device-7"}, DNSNames: []string{"broker.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	pair := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	proxy := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 1}
	far := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 2}

	for _, tt := range []struct {
		name  string
		ask   tls.ClientAuthType
		known string // the common name that is known
	}{
		{"verified", tls.RequireAndVerifyClientCert, "device-7"},
		{"shown, not verified", tls.RequestClientCert, "told by the proxy"},
	} {
		a, b := tcpPair(t)
		server := tls.Server(NewPeerConn(b, &Peer{Transport: TransportTCP, Remote: far, Proxy: proxy, CommonName: "told by the proxy"}),
			&tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tt.ask})
		client := tls.Client(a, &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, ServerName: "broker.test"})
		done := make(chan error, 1)
		go func() { done <- client.Handshake() }()
		if err := server.Handshake(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		p := PeerOf(NewPrefixConn(server, []byte("x")))
		if p.Transport != TransportTLS || p.Remote != net.Addr(far) || p.Proxy != net.Addr(proxy) || p.CommonName != tt.known || p.ServerName != "broker.test" {
			t.Errorf("%s: %+v", tt.name, p)
		}
		if verified := tt.known == "device-7"; (p.Certificate != nil) != verified || (len(p.Fingerprint()) == 64) != verified {
			t.Errorf("%s: certificate %v, fingerprint %q", tt.name, p.Certificate != nil, p.Fingerprint())
		}
	}
}

// A connection of which more is known keeps the fast path of its socket, and loses no byte.
func TestPeerConnIsLookedThrough(t *testing.T) {
	a, b := tcpPair(t)
	conn := NewPrefixConn(NewPeerConn(NewPrefixConn(b, []byte("one ")), &Peer{Remote: a.LocalAddr()}), []byte("two "))
	if _, err := io.WriteString(a, "three"); err != nil {
		t.Fatal(err)
	}
	r := NewReader(conn)
	if r.raw == nil || r.Conn() != b {
		t.Error("the socket is read through its wrappers")
	}
	for r.Buffered() < len("two one three") {
		if err := r.Fill(1); err != nil {
			t.Fatal(err)
		}
	}
	// The outer prefix was read first.
	if got := string(r.Bytes()); got != "two one three" {
		t.Errorf("read %q", got)
	}
}
