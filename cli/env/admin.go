package env

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
)

// apiTimeout is how long a broker may take to answer one question.
const apiTimeout = 15 * time.Second

// Admin returns a client of the broker that --url or --name means.
func (e *Env) Admin() (*adminapi.Client, error) { return e.admin(apiTimeout) }

// PatientAdmin returns one that waits for an answer for as long as its context says.
func (e *Env) PatientAdmin() (*adminapi.Client, error) { return e.admin(0) }

func (e *Env) admin(timeout time.Duration) (*adminapi.Client, error) {
	base := e.URL
	if base == "" {
		run, err := e.Running()
		if err != nil {
			return nil, err
		}
		base = run.URLs.HTTP
	}
	return e.adminAt(base, timeout)
}

func (e *Env) adminAt(base string, timeout time.Duration) (*adminapi.Client, error) {
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	u, err := url.Parse(base)
	if err == nil && e.User != "" {
		password, err := e.Password()
		if err != nil {
			return nil, err
		}
		u.User = url.UserPassword(e.User, password)
		base = u.String()
	}
	// Streams last as long as they are read: only the wait for an answer is bounded.
	plain := &http.Transport{
		Proxy: http.ProxyFromEnvironment, ResponseHeaderTimeout: timeout, DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
	}
	if e.apiCA != "" {
		trust, err := (&TLS{cacert: e.apiCA}).Config()
		if err != nil {
			return nil, err
		}
		plain.TLSClientConfig = trust
	}
	var transport http.RoundTripper = plain
	if e.Protected {
		transport = guarded{e, plain}
	}
	c, err := adminapi.NewClient(base, &http.Client{Transport: transport})
	if err != nil {
		return nil, &Failure{Exit: Usage, What: err.Error(), Hint: "write it as http://host:15672"}
	}
	return c, nil
}

// Running returns the run file of the broker that --name means, whose process is alive.
func (e *Env) Running() (Run, error) {
	if err := CheckName(e.Name); err != nil {
		return Run{}, err
	}
	run, ok, err := e.ReadRun(e.Name)
	switch {
	case err != nil:
		return Run{}, err
	case ok && Alive(run.PID):
		return run, nil
	}
	what := "no broker is running"
	up := "rmq up"
	if e.Name != DefaultName {
		what, up = "no broker named "+e.Name+" is running", "rmq up --name "+e.Name
	}
	hint := "start one: " + up
	var names []string
	for _, r := range e.Runs() {
		names = append(names, r.Name)
	}
	switch {
	case len(names) == 1:
		hint += "   or use the one that runs: --name " + names[0]
	case len(names) > 1:
		hint += "   or use one that runs: --name " + strings.Join(names, ", --name ")
	}
	if ok {
		what += " (the last one, process " + plainCell(run.PID) + ", is gone)"
	}
	return Run{}, &Failure{Exit: Unreachable, What: what, Hint: hint}
}

// URLs returns where the broker that --url or --name means listens.
func (e *Env) URLs(ctx context.Context) (adminapi.URLs, error) {
	var urls adminapi.URLs
	host := ""
	if e.URL == "" {
		run, err := e.Running()
		if err != nil {
			return urls, err
		}
		urls = run.URLs
	} else {
		c, err := e.Admin()
		if err != nil {
			return urls, err
		}
		s, err := c.Status(ctx)
		if err != nil {
			return urls, err
		}
		urls = s.URLs
		if u, err := url.Parse(c.Base()); err == nil {
			host = u.Hostname()
		}
	}
	urls.All(func(_ string, u *string) { *u = reachable(*u, host) })
	return urls, nil
}

// reachable replaces the host of an address that means "every address of this machine"
// by one that can be connected to: host, or this machine.
func reachable(address, host string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return address
	}
	ip := net.ParseIP(u.Hostname())
	if ip == nil || !ip.IsUnspecified() {
		return address
	}
	if host == "" {
		host = "127.0.0.1"
	}
	u.Host = net.JoinHostPort(host, u.Port())
	return u.String()
}

// NamedNotFound adds to a "not found" the name that was probably meant, out of names.
func NamedNotFound(err error, command, name string, names func() []string) error {
	if !Missing(err) {
		return err
	}
	if near := Closest(name, names()); near != "" {
		return WithHint(err, "did you mean %s? %s %s", near, command, Quote(near))
	}
	return err
}

// Quote writes an argument as a POSIX shell takes it.
func Quote(s string) string {
	plain := s != ""
	for _, r := range s {
		plain = plain && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:@%+,=", r))
	}
	if plain {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
