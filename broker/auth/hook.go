package auth

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/fault"
)

// HTTPConfig asks a service over HTTP: a POST of a hookQuestion in JSON, which is answered 200
// with a hookAnswer, or 204 for ignore. Everything else is no answer.
type HTTPConfig struct {
	URL         string            `json:"url"`
	Headers     map[string]string `json:"headers,omitempty"`
	CAFile      string            `json:"ca_file,omitempty"` // of authorities for the URL; the system's otherwise
	Timeout     Duration          `json:"timeout,omitempty"` // 0: 5 s
	Concurrency int               `json:"concurrency,omitempty"`
	// Cache is for how long an answer is remembered that does not say; 0: not at all.
	Cache Duration `json:"cache,omitempty"`
	// Down is what becomes of a client of which nobody can be asked: "deny" (the default: it may
	// try again) or "ignore": the next source is asked.
	Down string `json:"down,omitempty"`
}

const (
	hookConcurrency = 64       // requests at a time, unless it is said otherwise
	hookWaiting     = 16       // times as many wait for a turn; more are told to come again
	hookAnswerMax   = 64 << 10 // bytes
	hookCacheMax    = 1 << 16  // answers; beyond it, any of them makes room
)

// hookQuestion is what the service is asked.
type hookQuestion struct {
	Username    string           `json:"username"`
	Password    string           `json:"password"`
	ClientID    string           `json:"client_id,omitempty"`
	Protocol    string           `json:"protocol"`
	Address     string           `json:"address"` // IP and port
	CommonName  string           `json:"common_name,omitempty"`
	Certificate *hookCertificate `json:"certificate,omitempty"`
}

type hookCertificate struct {
	Subject     string   `json:"subject"`
	DNSNames    []string `json:"dns_names,omitempty"`
	Fingerprint string   `json:"fingerprint"` // SHA-256, hexadecimal
}

// hookAnswer is what it answers.
type hookAnswer struct {
	Result    string   `json:"result"`             // "allow", "deny" or "ignore"
	Username  string   `json:"username,omitempty"` // who it is, when not the one it said
	Superuser bool     `json:"superuser,omitempty"`
	ExpiresIn *float64 `json:"expires_in,omitempty"` // seconds after which the connection is to end
	Cache     *float64 `json:"cache,omitempty"`      // seconds for which the answer holds
}

type hookSource struct {
	cfg   HTTPConfig
	http  *http.Client
	a     *Auth
	clock clock.Clock
	slots chan struct{} // one value for each request under way
	queue chan struct{} // one value for each client that waits for one, or has it

	mu    sync.Mutex
	known map[fingerprint]hookKnown // guarded by mu
}

type hookKnown struct {
	answer hookAnswer
	at     time.Time // when it was given
	until  time.Time
}

func newHookSource(c *HTTPConfig, a *Auth, clk clock.Clock) (source, error) {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil:
		return nil, err
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, fmt.Errorf("url: %q is not the URL of a service", c.URL)
	case c.Down != "" && c.Down != "deny" && c.Down != "ignore":
		return nil, fmt.Errorf("down: %q is neither deny nor ignore", c.Down)
	case c.Concurrency < 0:
		return nil, errors.New("concurrency: it is less than nothing")
	}
	n := cmp.Or(c.Concurrency, hookConcurrency)
	s := &hookSource{
		cfg: *c, a: a, clock: clk, slots: make(chan struct{}, n), queue: make(chan struct{}, n*(1+hookWaiting)), known: make(map[fingerprint]hookKnown),
	}
	s.http, err = client(c.CAFile, cmp.Or(time.Duration(c.Timeout), timeoutDefault), n)
	return s, err
}

func (s *hookSource) authenticate(l *Login, _ bool) (Identity, bool, error) {
	q := hookQuestion{Username: l.User, Password: l.Password, ClientID: l.Client, Protocol: l.Protocol, CommonName: l.CommonName}
	if l.Remote != nil {
		q.Address = l.Remote.String()
	}
	if c := l.Certificate; c != nil {
		q.Certificate = &hookCertificate{Subject: c.Subject.String(), DNSNames: c.DNSNames, Fingerprint: l.fingerprint()}
	}
	// The port is not part of who it is.
	claim := s.a.fingerprint(q.Username, q.Password, q.ClientID, q.Protocol, block(host(l.Remote)), q.CommonName, l.fingerprint())
	known, ok := s.recall(claim)
	if !ok {
		var err error
		if known, err = s.ask(claim, &q); err != nil {
			if s.cfg.Down == "ignore" {
				return Identity{}, false, nil
			}
			return Identity{}, true, err
		}
	}
	switch r := &known.answer; r.Result {
	case "allow":
		id := Identity{User: cmp.Or(r.Username, l.User, Anonymous), Super: r.Superuser}
		if r.ExpiresIn != nil {
			id.Expires = known.at.Add(seconds(*r.ExpiresIn))
		}
		return id, true, nil
	case "deny":
		return Identity{}, true, refuse(l.User)
	}
	return Identity{}, false, nil
}

// seconds is a number of seconds of at most a century.
func seconds(n float64) time.Duration {
	const most = 100 * 365 * 24 * 3600
	return time.Duration(min(max(n, 0), most) * float64(time.Second))
}

func (s *hookSource) recall(f fingerprint) (hookKnown, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, ok := s.known[f]
	return k, ok && s.clock.Now().Before(k.until)
}

// ask asks the service, in turn. Meanwhile nobody else waits but who asks too.
func (s *hookSource) ask(claim fingerprint, q *hookQuestion) (hookKnown, error) {
	unavailable := func(err error) error {
		return fault.New(fault.Unavailable, "authenticate", q.Username, "who knows the users does not answer: %w", err)
	}
	select {
	case s.queue <- struct{}{}:
		defer func() { <-s.queue }()
	default:
		return hookKnown{}, fault.New(fault.Exhausted, "authenticate", q.Username, "too many clients are waiting to be let in")
	}
	s.slots <- struct{}{}
	defer func() { <-s.slots }()
	body, err := json.Marshal(q)
	if err != nil {
		return hookKnown{}, unavailable(err)
	}
	req, err := http.NewRequest(http.MethodPost, s.cfg.URL, bytes.NewReader(body)) //nolint:noctx // the client has a timeout
	if err != nil {
		return hookKnown{}, unavailable(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for name, value := range s.cfg.Headers {
		req.Header.Set(name, value)
	}
	resp, err := s.http.Do(req)
	if err != nil {
		if ue, ok := errors.AsType[*url.Error](err); ok {
			err = ue.Err
		}
		return hookKnown{}, unavailable(err)
	}
	defer resp.Body.Close()
	k := hookKnown{answer: hookAnswer{Result: "ignore"}, at: s.clock.Now()}
	switch resp.StatusCode {
	case http.StatusNoContent:
	case http.StatusOK:
		if err := json.NewDecoder(io.LimitReader(resp.Body, hookAnswerMax)).Decode(&k.answer); err != nil {
			return k, unavailable(errors.New("its answer is not JSON"))
		}
		if r := k.answer.Result; r != "allow" && r != "deny" && r != "ignore" {
			return k, unavailable(fmt.Errorf("its answer is %q", r))
		}
	default:
		return k, unavailable(fmt.Errorf("it answers %s", resp.Status))
	}
	hold := time.Duration(s.cfg.Cache)
	if c := k.answer.Cache; c != nil {
		hold = seconds(*c)
	}
	if e := k.answer.ExpiresIn; e != nil {
		hold = min(hold, seconds(*e))
	}
	if hold > 0 {
		k.until = k.at.Add(hold)
		s.remember(claim, k)
	}
	return k, nil
}

func (s *hookSource) remember(f fingerprint, k hookKnown) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.known[f]; !there && len(s.known) >= hookCacheMax {
		for old := range s.known {
			delete(s.known, old)
			break
		}
	}
	s.known[f] = k
}
