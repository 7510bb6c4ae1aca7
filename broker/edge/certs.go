package edge

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/fault"
)

// TLSFiles names the files of what a server shows to its clients, and of whom it trusts among
// them, all in PEM.
type TLSFiles struct {
	// Pairs are chosen from by the host that a client asks for (SNI). One who asks for none, or
	// for one that no certificate names, is shown the first.
	Pairs []Pair
	// Authorities is the file with the certificates of who signs those of clients; "": none are
	// asked for.
	Authorities string
	// Clients says whether clients have to show a certificate, where a listener does not say.
	Clients ClientCert
	// MinVersion is the lowest that is spoken; 0: tls.VersionTLS12.
	MinVersion uint16
}

// Pair is the files of a certificate, with those that lead to its authority after it, and of
// its key.
type Pair struct{ Certificate, Key string }

// ClientCert says what is asked of a client over TLS. One that is shown is always verified.
type ClientCert uint8

const (
	ClientCertDefault  ClientCert = iota // of a listener: what TLSFiles.Clients says; there: none is asked for
	ClientCertNone                       // none is asked for
	ClientCertOptional                   // who shows none is let in without
	ClientCertRequired                   // who shows none is not let in
	clientCerts        = iota
)

var clientAuth = [clientCerts]tls.ClientAuthType{tls.NoClientCert, tls.NoClientCert, tls.VerifyClientCertIfGiven, tls.RequireAndVerifyClientCert}

const (
	// certsEvery is how often the files are read again: a certificate that was renewed is shown
	// at most that much later. They are small, and in the system's cache.
	certsEvery  = 5 * time.Second
	certFileMax = 4 << 20 // bytes
)

// Certs are the files of TLSFiles, as they were when they last made sense together. They are
// read again as they change, and connections that there are go on as they began.
//
// What cannot be used (half written, a key that is another certificate's, not a certificate) is
// logged once and told by State, and what was there before stays in use. A new set takes no
// session tickets of an older one, so that nobody resumes what the old authorities allowed.
//
// Ownership: reading is held while files are read. set and problem are read by anyone.
type Certs struct {
	files TLSFiles
	clock clock.Clock
	log   *slog.Logger

	reading sync.Mutex
	failed  [sha256.Size]byte // of what could not be used last; guarded by reading
	timer   clock.Timer       // guarded by reading; nil once closed
	closed  bool              // guarded by reading

	set     atomic.Pointer[certSet]
	problem atomic.Pointer[string]
}

// certSet is what was read at one time. It does not change.
type certSet struct {
	digest  [sha256.Size]byte // of all files
	read    time.Time
	pairs   []*tls.Certificate
	exact   map[string][]*tls.Certificate // by host
	wild    map[string][]*tls.Certificate // of "*.x", by x
	pool    *x509.CertPool                // nil: none
	configs [clientCerts]*tls.Config
}

// OpenCerts reads the files, which must make sense now, and reads them again as link time
// passes until Close.
func OpenCerts(files TLSFiles, link clock.Clock, log *slog.Logger) (*Certs, error) {
	if len(files.Pairs) == 0 {
		return nil, fault.New(fault.Invalid, "open", "TLS", "there is no certificate to show")
	}
	if files.Clients > ClientCertNone && files.Authorities == "" {
		return nil, fault.New(fault.Invalid, "open", "TLS", "certificates of clients need authorities who sign them")
	}
	if files.MinVersion == 0 {
		files.MinVersion = tls.VersionTLS12
	}
	c := &Certs{files: files, clock: link, log: log}
	set, _, err := c.read()
	if err != nil {
		return nil, fault.New(fault.Invalid, "open", "TLS", "%w", err)
	}
	c.set.Store(set)
	c.timer = link.AfterFunc(certsEvery, c.tick)
	return c, nil
}

func (c *Certs) tick() {
	_ = c.Reload() // logged, and told by State
	c.reading.Lock()
	defer c.reading.Unlock()
	if !c.closed {
		c.timer = c.clock.AfterFunc(certsEvery, c.tick)
	}
}

// Close ends the reading. What was read stays in use.
func (c *Certs) Close() {
	c.reading.Lock()
	defer c.reading.Unlock()
	c.closed = true
	c.timer.Stop()
}

// Reload reads the files now. The error says why what they hold is not used.
func (c *Certs) Reload() error {
	c.reading.Lock()
	defer c.reading.Unlock()
	set, digest, err := c.read()
	switch {
	case err != nil:
		text := err.Error()
		told := c.problem.Swap(&text)
		if told == nil || *told != text || c.failed != digest {
			c.log.Warn("new certificates cannot be used: those from before stay in use", "error", err)
		}
		c.failed = digest
		return err
	case set.digest == c.set.Load().digest:
	default:
		c.set.Store(set)
		c.log.Info("certificates were read again", "certificates", len(set.pairs), "authorities", set.pool != nil)
	}
	if c.problem.Swap(nil) != nil {
		c.log.Info("certificates are in order again")
	}
	return nil
}

// read makes a set of what the files hold now. The digest is of what could be read.
func (c *Certs) read() (set *certSet, digest [sha256.Size]byte, err error) {
	hash := sha256.New()
	defer func() { hash.Sum(digest[:0]) }()
	file := func(path string) ([]byte, error) {
		b, err := readBounded(path)
		fmt.Fprintf(hash, "%d\n", len(b))
		hash.Write(b)
		return b, err
	}
	set = &certSet{read: c.clock.Now(), exact: make(map[string][]*tls.Certificate), wild: make(map[string][]*tls.Certificate)}
	for _, p := range c.files.Pairs {
		cert, err := file(p.Certificate)
		if err != nil {
			return nil, digest, err
		}
		key, err := file(p.Key)
		if err != nil {
			return nil, digest, err
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, digest, fmt.Errorf("%s and %s: %w", p.Certificate, p.Key, err)
		}
		set.add(&pair)
	}
	if c.files.Authorities != "" {
		bundle, err := file(c.files.Authorities)
		if err != nil {
			return nil, digest, err
		}
		if set.pool, err = parseBundle(bundle); err != nil {
			return nil, digest, fmt.Errorf("%s: %w", c.files.Authorities, err)
		}
	}
	hash.Sum(set.digest[:0])
	for i := range set.configs {
		set.configs[i] = &tls.Config{MinVersion: c.files.MinVersion, GetCertificate: set.choose, ClientCAs: set.pool, ClientAuth: clientAuth[i]}
	}
	return set, digest, nil
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // read only
	b, err := io.ReadAll(io.LimitReader(f, certFileMax+1))
	if err == nil && len(b) > certFileMax {
		return nil, fmt.Errorf("%s: more than %d MiB", path, certFileMax>>20)
	}
	return b, err
}

// parseBundle reads certificates, all of which must be whole: half a bundle would shut out
// those whose authority is in the other half.
func parseBundle(b []byte) (*x509.CertPool, error) {
	pool, n := x509.NewCertPool(), 0
	for {
		block, rest := pem.Decode(b)
		if block == nil {
			break
		}
		b = rest
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		pool.AddCert(cert)
		n++
	}
	switch {
	case bytes.Contains(b, []byte("-----BEGIN")):
		return nil, errors.New("it ends within a certificate")
	case n == 0:
		return nil, errors.New("it holds no certificate in PEM")
	}
	return pool, nil
}

// add takes a pair in under the hosts that its certificate names.
func (s *certSet) add(pair *tls.Certificate) {
	s.pairs = append(s.pairs, pair)
	names := pair.Leaf.DNSNames
	if len(names) == 0 { // of before there were other names
		names = []string{pair.Leaf.Subject.CommonName}
	}
	for _, name := range names {
		name = strings.ToLower(strings.TrimSuffix(name, "."))
		if rest, ok := strings.CutPrefix(name, "*."); ok {
			s.wild[rest] = append(s.wild[rest], pair)
		} else {
			s.exact[name] = append(s.exact[name], pair)
		}
	}
}

// choose finds the certificate for a client: of the host that it asks for, then with a
// wildcard for that, then any. Of several it is the first that the client understands.
func (s *certSet) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	_, parent, _ := strings.Cut(name, ".")
	understood := *hello
	understood.ServerName = "" // whose the certificate is has been seen to
	for _, pairs := range [][]*tls.Certificate{s.exact[name], s.wild[parent], s.pairs} {
		for _, pair := range pairs {
			if understood.SupportsCertificate(pair) == nil {
				return pair, nil
			}
		}
	}
	return s.pairs[0], nil
}

// config is how the next connection is to speak TLS.
func (c *Certs) config(clients ClientCert) *tls.Config {
	if clients == ClientCertDefault {
		clients = c.files.Clients
	}
	return c.set.Load().configs[clients]
}

// CertsState is how the files of TLS are.
type CertsState struct {
	// Problem is why the files as they are now are not used; "": they are.
	Problem string
	Read    time.Time // when what is used was read, by link time
	Certs   []CertState
}

// CertState is one certificate that is shown.
type CertState struct {
	File  string
	Names []string
	Until time.Time // it is not valid after
}

// State tells how the files are.
func (c *Certs) State() CertsState {
	set := c.set.Load()
	st := CertsState{Read: set.read}
	if p := c.problem.Load(); p != nil {
		st.Problem = *p
	}
	for i, pair := range set.pairs {
		cs := CertState{File: c.files.Pairs[i].Certificate, Until: pair.Leaf.NotAfter}
		cs.Names = append(cs.Names, pair.Leaf.DNSNames...)
		for _, ip := range pair.Leaf.IPAddresses {
			cs.Names = append(cs.Names, ip.String())
		}
		if len(cs.Names) == 0 {
			cs.Names = []string{pair.Leaf.Subject.CommonName}
		}
		st.Certs = append(st.Certs, cs)
	}
	return st
}
