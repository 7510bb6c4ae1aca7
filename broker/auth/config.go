package auth

import (
	"bufio"
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/grammar"
	"github.com/robustmq/rmq/broker/wire"
)

// Config names the sources besides the table of users. A source that has nothing to say of a
// client leaves it to the next; one that refuses it has refused it.
type Config struct {
	// Order is the order in which they are asked: "certificate", "jwt", "http", "file", "users".
	// Those that are not named come after, in that order.
	Order       []string           `json:"order,omitempty"`
	Certificate *CertificateConfig `json:"certificate,omitempty"`
	JWT         *JWTConfig         `json:"jwt,omitempty"`
	HTTP        *HTTPConfig        `json:"http,omitempty"`
	File        *FileConfig        `json:"file,omitempty"`
}

// CertificateConfig lets in who shows a certificate, which the listener has verified.
type CertificateConfig struct {
	// User is what of it is the user name: "cn" (the default), "san-dns", "san-email", "san-uri",
	// "subject" or "fingerprint" (SHA-256 in hexadecimal).
	User string `json:"user,omitempty"`
}

// FileConfig is a password file as Mosquitto has it: NAME:HASH, a line each. It is read again
// when it has changed.
type FileConfig struct {
	Path string `json:"path"`
}

// Duration is a time.Duration that is written as "1m30s".
type Duration time.Duration

// UnmarshalText reads a duration.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := grammar.ParseDuration(string(text))
	if err == nil && v < 0 {
		err = fmt.Errorf("%s is less than nothing", text)
	}
	*d = Duration(v)
	return err
}

// MarshalText writes it.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// ParseConfig reads a configuration in JSON. What it does not know is an error.
func ParseConfig(text []byte) (cfg Config, err error) {
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(&cfg); err != nil {
		return cfg, fault.New(fault.Invalid, "read", "authentication", "%w", err)
	}
	return cfg, nil
}

// names are the sources, in the order in which they are asked unless it is said otherwise.
var names = []string{"certificate", "jwt", "http", "file", "users"}

// Configure has the sources of cfg asked from now on, in place of those before; a configuration that is
// in error changes nothing. Who has been let in is not asked again.
func (a *Auth) Configure(cfg Config) error {
	clk := a.clock
	invalid := func(what string, err error) error { return fault.New(fault.Invalid, "configure", what, "%w", err) }
	made := map[string]source{"users": tableSource{a}}
	if c := cfg.Certificate; c != nil {
		s, err := newCertificateSource(c)
		if err != nil {
			return invalid("certificate", err)
		}
		made["certificate"] = s
	}
	if c := cfg.JWT; c != nil {
		s, err := newTokenSource(c, clk)
		if err != nil {
			return invalid("jwt", err)
		}
		made["jwt"] = s
	}
	if c := cfg.HTTP; c != nil {
		s, err := newHookSource(c, a, clk)
		if err != nil {
			return invalid("http", err)
		}
		made["http"] = s
	}
	if c := cfg.File; c != nil {
		s := &fileSource{a: a, path: c.Path, clock: clk}
		if _, err := s.read(); err != nil {
			return invalid("file", err)
		}
		made["file"] = s
	}
	order := slices.Clone(cfg.Order)
	for i, n := range order {
		if !slices.Contains(names, n) || slices.Contains(order[:i], n) {
			return invalid("order", fmt.Errorf("%q is none of %s, or is there twice", n, strings.Join(names, ", ")))
		}
	}
	for _, n := range names {
		if !slices.Contains(order, n) {
			order = append(order, n)
		}
	}
	var sources []source
	for _, n := range order {
		if s := made[n]; s != nil {
			sources = append(sources, s)
		}
	}
	a.sources.Store(&sources)
	return nil
}

// ---- certificates ---------------------------------------------------------------

type certificateSource struct {
	user func(l *Login) string
}

func newCertificateSource(c *CertificateConfig) (source, error) {
	first := func(of func(*x509.Certificate) []string) func(*Login) string {
		return func(l *Login) string {
			if l.Certificate == nil {
				return ""
			}
			if names := of(l.Certificate); len(names) > 0 {
				return names[0]
			}
			return ""
		}
	}
	switch c.User {
	case "", "cn":
		return certificateSource{func(l *Login) string { return l.CommonName }}, nil
	case "san-dns":
		return certificateSource{first(func(c *x509.Certificate) []string { return c.DNSNames })}, nil
	case "san-email":
		return certificateSource{first(func(c *x509.Certificate) []string { return c.EmailAddresses })}, nil
	case "san-uri":
		return certificateSource{first(func(c *x509.Certificate) (uris []string) {
			for _, u := range c.URIs {
				uris = append(uris, u.String())
			}
			return uris
		})}, nil
	case "subject":
		return certificateSource{first(func(c *x509.Certificate) []string { return []string{c.Subject.String()} })}, nil
	case "fingerprint":
		return certificateSource{func(l *Login) string { return l.fingerprint() }}, nil
	}
	return nil, fmt.Errorf("user: %q is none of cn, san-dns, san-email, san-uri, subject, fingerprint", c.User)
}

// fingerprint is the SHA-256 of the certificate in hexadecimal; "": there is none.
func (l *Login) fingerprint() string {
	p := wire.Peer{Certificate: l.Certificate}
	return p.Fingerprint()
}

// authenticate lets in who shows a certificate, whatever else it says. One that has no such name
// is left to the next source.
func (s certificateSource) authenticate(l *Login, _ bool) (Identity, bool, error) {
	user := s.user(l)
	if user == "" || checkName(user) != nil {
		return Identity{}, false, nil
	}
	return Identity{User: user}, true, nil
}

// ---- a password file --------------------------------------------------------------

const (
	passwordFileMax = 64 << 20 // bytes
	lookEvery       = time.Second
)

type fileSource struct {
	a     *Auth
	path  string
	clock clock.Clock

	mu     sync.Mutex
	looked time.Time
	stamp  time.Time // of the file as it was read
	size   int64
	hashes map[string][]byte
}

func (s *fileSource) authenticate(l *Login, last bool) (Identity, bool, error) {
	hashes, err := s.read()
	if err != nil {
		return Identity{}, true, fault.New(fault.Unavailable, "authenticate", l.User, "the password file cannot be read")
	}
	hash, known := hashes[l.User]
	if !known && !last {
		return Identity{}, false, nil
	}
	if err := s.a.password(l, hash, known); err != nil {
		return Identity{}, true, err
	}
	return Identity{User: l.User}, true, nil
}

// read returns what the file has, which is looked at once a second at most. A file that has
// become unreadable stays as it was.
func (s *fileSource) read() (map[string][]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	if s.hashes != nil && now.Sub(s.looked) < lookEvery && !now.Before(s.looked) {
		return s.hashes, nil
	}
	s.looked = now
	hashes, err := s.readLocked()
	if err != nil && s.hashes == nil {
		return nil, err
	}
	if err == nil {
		s.hashes = hashes
	}
	return s.hashes, nil
}

func (s *fileSource) readLocked() (map[string][]byte, error) {
	info, err := os.Stat(s.path)
	if err != nil {
		return nil, err
	}
	if s.hashes != nil && info.ModTime().Equal(s.stamp) && info.Size() == s.size {
		return s.hashes, nil
	}
	if info.Size() > passwordFileMax {
		return nil, fmt.Errorf("%s has %d bytes, at most %d are read", s.path, info.Size(), passwordFileMax)
	}
	text, err := os.ReadFile(s.path)
	if err != nil {
		return nil, err
	}
	hashes, err := ParsePasswords(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.path, err)
	}
	s.stamp, s.size = info.ModTime(), info.Size()
	return hashes, nil
}

// ParsePasswords reads a Mosquitto password file.
func ParsePasswords(text string) (map[string][]byte, error) {
	hashes := make(map[string][]byte)
	in := bufio.NewScanner(strings.NewReader(text))
	for no := 1; in.Scan(); no++ {
		line := strings.TrimRight(in.Text(), "\r")
		if strings.TrimSpace(line) == "" || line[0] == '#' {
			continue
		}
		name, hash, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("line %d: it is not NAME:HASH", no)
		}
		if err := cmp.Or(checkName(name), CheckHash([]byte(hash))); err != nil {
			return nil, fmt.Errorf("line %d: %w", no, err)
		}
		hashes[name] = []byte(hash)
	}
	return hashes, in.Err()
}

// ---- what asks over HTTP shares ------------------------------------------------------

// client returns an HTTP client that trusts the system's authorities, or those of a file.
func client(caFile string, timeout time.Duration, most int) (*http.Client, error) {
	tr := &http.Transport{MaxIdleConnsPerHost: most, MaxConnsPerHost: most, IdleConnTimeout: time.Minute, Proxy: http.ProxyFromEnvironment}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s has no certificate", caFile)
		}
		tr.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	return &http.Client{Transport: tr, Timeout: timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, nil
}
