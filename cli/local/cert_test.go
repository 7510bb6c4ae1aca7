package local

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"testing"
	"time"
)

// What --tls auto makes is trusted by who trusts its authority, stays as long as it is good, and is made anew
// when it is about to end or lacks a name; the authority stays.
func TestAutoCert(t *testing.T) {
	dir, now := t.TempDir(), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	read := func(path string) string {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	cert, ca, err := autoCert(dir, "default", hosts, now)
	if err != nil {
		t.Fatal(err)
	}
	first, authority := read(cert), read(ca)
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(authority)) {
		t.Fatal("no certificate of an authority")
	}
	own, err := tls.LoadX509KeyPair(cert, cert)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hosts {
		if _, err := own.Leaf.Verify(x509.VerifyOptions{DNSName: h, Roots: pool, CurrentTime: now}); err != nil {
			t.Errorf("%s: %v", h, err)
		}
	}
	if info, err := os.Stat(cert); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key can be read: %v %v", info.Mode(), err)
	}
	for _, tt := range []struct {
		why   string
		hosts []string
		after time.Duration
		same  bool
	}{
		{"it is good", hosts, 24 * time.Hour, true},
		{"a name is new", append(hosts, "mq.example.org"), 24 * time.Hour, false},
		{"it ends soon", hosts, certificateLasts - renewBefore + 48*time.Hour, false},
	} {
		before := read(cert)
		if _, _, err := autoCert(dir, "default", tt.hosts, now.Add(tt.after)); err != nil {
			t.Fatal(err)
		}
		if (read(cert) == before) != tt.same || read(ca) != authority {
			t.Errorf("%s: same certificate: %v, same authority: %v", tt.why, read(cert) == before, read(ca) == authority)
		}
	}
	if other, _, err := autoCert(dir, "other", hosts, now); err != nil || other == cert || read(other) == first {
		t.Errorf("two brokers share a certificate: %v", err)
	}
}
