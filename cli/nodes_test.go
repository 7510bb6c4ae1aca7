package cli_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// makeCerts leaves in a directory what a node of this machine needs for TLS: ca.pem, node.pem and
// node.key.
func makeCerts(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority of " + filepath.Base(dir)},
		NotBefore: time.Unix(0, 0), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	node := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "node"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Unix(0, 0), NotAfter: time.Now().Add(time.Hour),
	}
	var keys [2]*ecdsa.PrivateKey
	for i := range keys {
		var err error
		if keys[i], err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return err
		}
	}
	private, err := x509.MarshalPKCS8PrivateKey(keys[1])
	if err != nil {
		return err
	}
	files := map[string]*pem.Block{"node.key": {Type: "PRIVATE KEY", Bytes: private}}
	for i, name := range []string{"ca.pem", "node.pem"} {
		der, err := x509.CreateCertificate(rand.Reader, []*x509.Certificate{authority, node}[i], authority, &keys[i].PublicKey, keys[0])
		if err != nil {
			return err
		}
		files[name] = &pem.Block{Type: "CERTIFICATE", Bytes: der}
	}
	for name, block := range files {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func certs(ts *testscript.TestScript, _ bool, args []string) { ts.Check(makeCerts(ts.MkAbs(args[0]))) }

// program is `rmq` in the foreground, and what it says.
type program struct {
	*exec.Cmd
	out, err *bufio.Scanner
}

func startProgram(t *testing.T, environ []string, args ...string) *program {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &program{Cmd: exec.Command(exe, args...)}
	p.Args[0], p.Env = "rmq", environ
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	errs, err := p.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out, p.err = bufio.NewScanner(out), bufio.NewScanner(errs)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	return p
}

func (p *program) kill() {
	_ = p.Process.Kill() // it may have ended
	_ = p.Wait()         // killed
}

// says waits for a line.
func says(t *testing.T, from *bufio.Scanner, text string) {
	t.Helper()
	var said []string
	for from.Scan() {
		if said = append(said, from.Text()); strings.Contains(from.Text(), text) {
			return
		}
	}
	t.Fatalf("it ended without %q:\n%s", text, strings.Join(said, "\n"))
}

func environ(t *testing.T) []string {
	return append(os.Environ(), "XDG_RUNTIME_DIR="+t.TempDir(), "XDG_STATE_HOME="+t.TempDir(), "XDG_DATA_HOME="+t.TempDir())
}

// freeAddrs finds addresses of this machine that nobody listens on.
func freeAddrs(t *testing.T, count int) (addrs []string) {
	t.Helper()
	for range count {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }() // all are held until each is another one
		addrs = append(addrs, l.Addr().String())
	}
	return addrs
}

// With TLS between nodes, who has the token alone is not let in, nor who has a certificate of
// another authority.
func TestNodesTLS(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"ours", "theirs"} {
		if err := makeCerts(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	tls := func(whose string) []string {
		of := func(name string) string { return filepath.Join(dir, whose, name) }
		return []string{"--node-cert", of("node.pem"), "--node-key", of("node.key"), "--node-ca", of("ca.pem")}
	}
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte("a secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	addrs, world := freeAddrs(t, 2), environ(t)
	node := func(id string, more ...string) *program {
		args := []string{"up", "--node", id, "--name", "n" + id, "--peers", "1=" + addrs[0] + ",2=" + addrs[1], "--token-file", token, "--memory", "--any-port", "-o", "json"}
		return startProgram(t, world, slices.Concat(args, more)...)
	}
	one := node("1", tls("ours")...)

	plain := node("2")
	says(t, plain.err, "it is set up with TLS, and this node without")
	says(t, one.err, "it is set up without TLS, and this node with it")
	plain.kill()
	strange := node("2", tls("theirs")...)
	says(t, strange.err, "certificate")
	strange.kill()

	two := node("2", tls("ours")...)
	says(t, one.out, `"ready": true`)
	says(t, two.out, `"ready": true`)
}
