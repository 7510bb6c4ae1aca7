package edge

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/wire"
)

// tlsBench is a server that shows certificates of files, and tells each client who it is.
type tlsBench struct {
	*Server
	t     *testing.T
	dir   string
	ca    *authority
	clock *clock.Virtual
	certs *Certs
	log   bytes.Buffer
}

func newTLSBench(t *testing.T, files TLSFiles) *tlsBench {
	t.Helper()
	b := &tlsBench{t: t, dir: t.TempDir(), ca: newAuthority(t, "the authority"), clock: clock.NewVirtual(time.Unix(1e9, 0))}
	for i, name := range []string{"one.test", "*.two.test"} {
		files.Pairs = append(files.Pairs, writePair(t, b.dir, string(rune('a'+i)), b.ca.issue(name, name)))
	}
	if files.Authorities != "" {
		files.Authorities = filepath.Join(b.dir, files.Authorities)
		write(t, files.Authorities, pemOf(b.ca.cert))
	}
	var err error
	if b.certs, err = OpenCerts(files, b.clock, slog.New(slog.NewTextHandler(&b.log, nil))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.certs.Close)
	who := HandlerFunc(func(c net.Conn) {
		p := wire.PeerOf(c)
		io.WriteString(c, p.Transport+" "+p.CommonName+"\n")
		io.Copy(c, c)
	})
	b.Server = newServer(t, Config{Handlers: map[Proto]Handler{MQTT: who}, Certs: b.certs})
	b.Start()
	return b
}

func (b *tlsBench) at(spec Spec) string {
	b.t.Helper()
	if spec.Address == "" {
		spec.Address = "127.0.0.1:0"
	}
	a, err := b.Listen(context.Background(), spec)
	if err != nil {
		b.t.Fatal(err)
	}
	return a.String()
}

// dial returns a connection, and who the server says is at its other end.
func (b *tlsBench) dial(address string, c *tls.Config) (*tls.Conn, string, error) {
	b.t.Helper()
	if c.RootCAs == nil {
		c.RootCAs = b.ca.pool()
	}
	conn, err := tls.Dial("tcp", address, c)
	if err != nil {
		return nil, "", err
	}
	b.t.Cleanup(func() { conn.Close() })
	io.WriteString(conn, "\x10")
	line := make([]byte, 64)
	n := 0
	for n == 0 || line[n-1] != '\n' {
		m, err := conn.Read(line[n:])
		if n += m; err != nil {
			return conn, "", err
		}
	}
	return conn, strings.TrimSuffix(string(line[:n]), "\n"), nil
}

func TestCertificateByHost(t *testing.T) {
	b := newTLSBench(t, TLSFiles{})
	address := b.at(Spec{Proto: MQTT, TLS: MustTLS})
	for host, want := range map[string]string{
		"one.test": "one.test", "ONE.test": "one.test", "a.two.test": "*.two.test", "A.Two.Test": "*.two.test",
		"two.test": "one.test", "b.a.two.test": "one.test", "other.test": "one.test", "": "one.test",
	} {
		conn, _, err := b.dial(address, &tls.Config{ServerName: host, InsecureSkipVerify: true})
		if err != nil {
			t.Fatalf("%q: %v", host, err)
		}
		if got := conn.ConnectionState().PeerCertificates[0].Subject.CommonName; got != want {
			t.Errorf("who asks for %q is shown the certificate of %q, want %q", host, got, want)
		}
	}
}

func TestLowestVersion(t *testing.T) {
	for lowest, refused := range map[uint16]uint16{0: tls.VersionTLS11, tls.VersionTLS13: tls.VersionTLS12} {
		b := newTLSBench(t, TLSFiles{MinVersion: lowest})
		address := b.at(Spec{Proto: MQTT, TLS: MustTLS})
		if _, _, err := b.dial(address, &tls.Config{ServerName: "one.test", MinVersion: tls.VersionTLS10, MaxVersion: refused}); err == nil {
			t.Errorf("%s is spoken, where the lowest is %s", tls.VersionName(refused), tls.VersionName(lowest))
		}
		if _, _, err := b.dial(address, &tls.Config{ServerName: "one.test", MinVersion: refused + 1, MaxVersion: refused + 1}); err != nil {
			t.Errorf("%s: %v", tls.VersionName(refused+1), err)
		}
	}
}

func TestClientCertificates(t *testing.T) {
	b := newTLSBench(t, TLSFiles{Authorities: "ca.pem"})
	ours, theirs := b.ca.issue("device-1"), newAuthority(t, "another").issue("device-2")
	refused := uint64(0)
	for _, tt := range []struct {
		ask    ClientCert
		shown  *tls.Certificate
		answer string // "": refused
	}{
		{ClientCertDefault, &ours, "tls "}, {ClientCertNone, &ours, "tls "}, {ClientCertNone, nil, "tls "},
		{ClientCertOptional, &ours, "tls device-1"}, {ClientCertOptional, nil, "tls "}, {ClientCertOptional, &theirs, ""},
		{ClientCertRequired, &ours, "tls device-1"}, {ClientCertRequired, nil, ""}, {ClientCertRequired, &theirs, ""},
	} {
		address := b.at(Spec{Proto: MQTT, TLS: MustTLS, Clients: tt.ask})
		c := &tls.Config{ServerName: "one.test"}
		shown := "none"
		if tt.shown != nil {
			shown = tt.shown.Leaf.Subject.CommonName
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return tt.shown, nil }
		}
		conn, got, err := b.dial(address, c)
		if got != tt.answer || (err == nil) != (tt.answer != "") {
			t.Errorf("asked for %d, %s shown: %q, %v; want %q", tt.ask, shown, got, err, tt.answer)
		}
		if err != nil {
			refused++
		} else {
			conn.Close()
		}
	}
	if err := b.Close(t.Context()); err != nil { // or the last may not be counted yet
		t.Fatal(err)
	}
	if n := b.Stats().Refused[BadHandshake].Load(); n != refused {
		t.Errorf("%d are counted as refused, and %d were", n, refused)
	}
}

// Certificates and authorities that change on disk are used by new connections, and old ones go on.
func TestCertificatesAreReadAgain(t *testing.T) {
	b := newTLSBench(t, TLSFiles{Authorities: "ca.pem", Clients: ClientCertRequired})
	address := b.at(Spec{Proto: MQTT, TLS: MustTLS})
	device := b.ca.issue("device-1")
	sessions := tls.NewLRUClientSessionCache(4)
	config := func(cert tls.Certificate) *tls.Config {
		return &tls.Config{ServerName: "one.test", Certificates: []tls.Certificate{cert}, ClientSessionCache: sessions}
	}
	first, who, err := b.dial(address, config(device))
	if err != nil || who != "tls device-1" {
		t.Fatal(who, err)
	}
	again, _, err := b.dial(address, config(device))
	if err != nil || !again.ConnectionState().DidResume {
		t.Fatalf("a session is not resumed (%v), so nothing is shown by one that is not", err)
	}

	renewed := b.ca.issue("one.test", "one.test")
	writePair(t, b.dir, "a", renewed)
	next := newAuthority(t, "the next authority")
	write(t, filepath.Join(b.dir, "ca.pem"), pemOf(next.cert))
	b.clock.Advance(certsEvery)

	if _, _, err := b.dial(address, config(device)); err == nil {
		t.Error("a certificate of an authority that is gone is taken")
	}
	conn, who, err := b.dial(address, config(next.issue("device-9")))
	if err != nil || who != "tls device-9" {
		t.Fatalf("with a certificate of the new authority: %q, %v", who, err)
	}
	if !conn.ConnectionState().PeerCertificates[0].Equal(renewed.Leaf) {
		t.Error("the old certificate is shown")
	}
	io.WriteString(first, "still here")
	got := make([]byte, len("\x10still here"))
	if _, err := io.ReadFull(first, got); err != nil || string(got) != "\x10still here" {
		t.Errorf("the connection from before: %q, %v", got, err)
	}
}

func TestBadFilesChangeNothing(t *testing.T) {
	b := newTLSBench(t, TLSFiles{Authorities: "ca.pem"})
	address := b.at(Spec{Proto: MQTT, TLS: MustTLS})
	bundle, cert := filepath.Join(b.dir, "ca.pem"), filepath.Join(b.dir, "a.pem")
	good := map[string][]byte{}
	for _, path := range []string{bundle, cert} {
		var err error
		if good[path], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	two := append(bytes.Clone(good[bundle]), good[bundle]...)
	for _, tt := range []struct {
		name, path string
		content    []byte
		says       string
	}{
		{"a certificate of another key", cert, pemOf(b.ca.issue("one.test", "one.test").Leaf), "a.pem"},
		{"half a certificate", cert, good[cert][:len(good[cert])/2], "a.pem"},
		{"nothing", cert, nil, "a.pem"},
		{"half a bundle", bundle, two[:len(two)-40], "ca.pem: it ends within"},
		{"a bundle of nothing", bundle, []byte("hello\n"), "ca.pem: it holds no certificate"},
	} {
		b.log.Reset()
		write(t, tt.path, tt.content)
		b.clock.Advance(certsEvery)
		b.clock.Advance(certsEvery)
		if _, _, err := b.dial(address, &tls.Config{ServerName: "one.test"}); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if st := b.certs.State(); !strings.Contains(st.Problem, tt.says) {
			t.Errorf("%s: the problem is %q, want %q", tt.name, st.Problem, tt.says)
		}
		if n := strings.Count(b.log.String(), "WARN"); n != 1 {
			t.Errorf("%s is logged %d times:\n%s", tt.name, n, b.log.String())
		}
		write(t, tt.path, good[tt.path])
		b.clock.Advance(certsEvery)
		if st := b.certs.State(); st.Problem != "" {
			t.Errorf("after %s was put right: %q", tt.name, st.Problem)
		}
	}
	if err := os.Remove(cert); err != nil {
		t.Fatal(err)
	}
	if err := b.certs.Reload(); err == nil || b.certs.State().Problem == "" {
		t.Error("a file that is gone is no problem")
	}
}

func TestOpenCertsRefuses(t *testing.T) {
	dir, ca := t.TempDir(), newAuthority(t, "ca")
	pair := writePair(t, dir, "a", ca.issue("a", "a"))
	for name, files := range map[string]TLSFiles{
		"nothing to show":    {},
		"a missing file":     {Pairs: []Pair{{filepath.Join(dir, "x"), pair.Key}}},
		"a key for its pair": {Pairs: []Pair{{pair.Key, pair.Key}}},
		"no authorities":     {Pairs: []Pair{pair}, Clients: ClientCertRequired},
	} {
		if _, err := OpenCerts(files, clock.NewVirtual(time.Unix(0, 0)), slog.New(slog.DiscardHandler)); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// One port takes TLS and plain clients, where that is asked for; elsewhere neither passes for the other.
func TestMayAndMustTLS(t *testing.T) {
	b := newTLSBench(t, TLSFiles{})
	for _, tt := range []struct {
		name         string
		spec         Spec
		plain, crypt bool
	}{
		{"any, TLS or not", Spec{TLS: MayTLS}, true, true},
		{"MQTT, TLS or not", Spec{Proto: MQTT, TLS: MayTLS}, true, true},
		{"any over TLS", Spec{TLS: MustTLS}, false, true},
		{"any, plain", Spec{}, true, false},
	} {
		address := b.at(tt.spec)
		_, who, err := b.dial(address, &tls.Config{ServerName: "one.test"})
		if (err == nil && who == "tls ") != tt.crypt {
			t.Errorf("%s: over TLS %q, %v", tt.name, who, err)
		}
		if got := say(t, address, "\x10"); (got == "tcp \n\x10") != tt.plain {
			t.Errorf("%s: without TLS %q", tt.name, got)
		}
	}
	// No TLS within TLS.
	conn, _, err := b.dial(b.at(Spec{Proto: MQTT, TLS: MustTLS}), &tls.Config{ServerName: "one.test"})
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	outer, err := tls.Dial("tcp", b.at(Spec{TLS: MustTLS}), &tls.Config{RootCAs: b.ca.pool(), ServerName: "one.test"})
	if err != nil {
		t.Fatal(err)
	}
	defer outer.Close()
	if err := tls.Client(outer, &tls.Config{InsecureSkipVerify: true}).Handshake(); err == nil {
		t.Error("TLS within TLS is spoken")
	}
	if n := b.Stats().Refused[NotServed].Load(); n < 1 {
		t.Error("TLS within TLS is not refused")
	}
}

// Who stops in the middle of a handshake is let go.
func TestHandshakeHasATime(t *testing.T) {
	b := newTLSBench(t, TLSFiles{})
	s := newServer(t, Config{Handlers: map[Proto]Handler{MQTT: echo("mqtt")}, Certs: b.certs, FirstWait: shortWait})
	s.Start()
	a, err := s.Listen(context.Background(), Spec{Proto: MQTT, Address: "127.0.0.1:0", TLS: MustTLS})
	if err != nil {
		t.Fatal(err)
	}
	tooSilent(t, s, a.String(), "\x16\x03\x01\x02\x00\x01")
}
