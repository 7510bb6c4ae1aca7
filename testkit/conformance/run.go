package conformance

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/rmq/broker/fault"
	mqtt "github.com/robustmq/rmq/broker/mqttwire"
)

// Config says whom to ask, and how.
type Config struct {
	URL       string   // mqtt://user:password@host:port, mqtts://, ws://host:port/path, wss://
	More      []string // other addresses of the same server, as of a cluster: connections take turns
	WebSocket string   // where the same server speaks WebSocket; "": nowhere, or at URL
	TLS       *tls.Config

	Select   []Selection   // what to ask; nil: everything
	Patience time.Duration // for one answer; 0: 5 s
	Parallel int           // tests at once; 0: 16

	// Advance lets time pass on the server, which has a clock of its own; nil: it is waited
	// for. Tests that use it run one at a time.
	Advance func(time.Duration)
	// Tell is called with each result as it comes, one at a time.
	Tell func(Result)
}

const (
	defaultPatience = 5 * time.Second
	defaultParallel = 16
)

// Result is how one statement fares.
type Result struct {
	ID      string  `json:"id"`
	Text    string  `json:"text"`
	Seconds float64 `json:"seconds,omitempty"`
	Outcome         // its fields
}

// runner is one run.
type runner struct {
	cfg    Config
	target *target
	name   string // part of every client identifier and topic
	count  atomic.Int64
}

// Run asks, and returns what came out, in the specification's order. The error is a
// fault.Error: Invalid for a bad URL, Unavailable when nobody answers, Unauthorized when
// nobody is let in.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	if cfg.Patience == 0 {
		cfg.Patience = defaultPatience
	}
	if cfg.Parallel == 0 {
		cfg.Parallel = defaultParallel
	}
	if cfg.Select == nil {
		cfg.Select, _ = Select() // everything is no unknown spec
	}
	target, err := newTarget(cfg)
	if err != nil {
		return nil, fault.New(fault.Invalid, "read target", "", "%w", err)
	}
	r := &runner{cfg: cfg, target: target, name: strings.ToLower(rand.Text()[:8])}
	refused, err := r.probe(ctx)
	if err != nil {
		return nil, err
	}
	report := &Report{Target: shown(target)}
	started := time.Now()

	var jobs []job
	for _, sel := range cfg.Select {
		for _, s := range sel.Statements {
			jobs = append(jobs, job{suite: sel.Suite, statement: s, refused: refused[sel.Suite.Version]})
		}
	}
	report.Results = make([]Result, len(jobs))
	report.suites = cfg.Select
	var told sync.Mutex
	finish := func(i int) {
		report.Results[i] = r.perform(ctx, jobs[i])
		if cfg.Tell != nil {
			told.Lock()
			defer told.Unlock()
			cfg.Tell(report.Results[i])
		}
	}
	r.all(ctx, jobs, false, cfg.Parallel, finish)
	parallel := cfg.Parallel
	if cfg.Advance != nil {
		parallel = 1
	}
	r.all(ctx, jobs, true, parallel, finish)
	report.Seconds = time.Since(started).Seconds()
	return report, context.Cause(ctx)
}

type job struct {
	suite     Suite
	statement Statement
	refused   string // why the server does not speak the suite's version
}

// all finishes the jobs that are timed, or those that are not.
func (r *runner) all(ctx context.Context, jobs []job, timed bool, parallel int, finish func(int)) {
	var running sync.WaitGroup
	defer running.Wait()
	room := make(chan struct{}, parallel)
	for i, j := range jobs {
		if j.statement.timed != timed {
			continue
		}
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			return
		}
		running.Go(func() {
			defer func() { <-room }()
			finish(i)
		})
	}
}

func (r *runner) perform(ctx context.Context, j job) Result {
	result := Result{ID: j.statement.ID, Text: j.statement.Text}
	switch {
	case j.statement.test == nil:
		result.Outcome = Outcome{Verdict: Unseen, Why: j.statement.Why}
		return result
	case j.refused != "":
		result.Outcome = Outcome{Verdict: Skip, Why: j.refused}
		return result
	}
	started := time.Now()
	t := r.newT(ctx, j.suite.Version)
	t.perform(j.statement.test)
	result.Outcome, result.Seconds = t.outcome, time.Since(started).Seconds()
	return result
}

func (r *runner) newT(ctx context.Context, v mqtt.Version) *T {
	return &T{
		ctx: ctx, run: r, v: v, root: "conform/" + r.unique(),
		left: map[string]bool{}, retained: map[string]bool{},
	}
}

// unique returns a name that nothing has: letters and digits, at most 23.
func (r *runner) unique() string { return "c" + r.name + strconv.FormatInt(r.count.Add(1), 36) }

// probe finds out whether the server is there, and lets us in; refused says of the versions
// that it does not speak why.
func (r *runner) probe(ctx context.Context) (refused map[mqtt.Version]string, err error) {
	refused = map[mqtt.Version]string{}
	for _, sel := range r.cfg.Select {
		v := sel.Suite.Version
		var out Outcome
		t := r.newT(ctx, v)
		t.otherVersion = true
		t.call(func(t *T) {
			p := t.hello()
			var dialErr error
			nc, dialErr := r.target.dial(ctx, 0, "mqtt")
			if dialErr != nil {
				err = fault.New(fault.Unavailable, "connect to", r.target.url.Host, "%w", plain(dialErr))
				return
			}
			c := &conn{t: t, v: v, name: "c1", nc: nc, patience: r.cfg.Patience}
			defer func() { _ = nc.Close() }()
			c.send(p.Append(nil))
			answer := c.next("CONNACK")
			ack, ok := answer.Body.(*mqtt.Connack)
			switch {
			case !ok:
				t.fail("CONNACK", answer.words(v))
			case ack.Reason == mqtt.Success && ack.Code == mqtt.Accepted:
				d := mqtt.Disconnect{}
				c.send(d.Append(nil, v))
			case ack.Reason == mqtt.BadCredentials || ack.Reason == mqtt.NotAuthorized || ack.Code == mqtt.RefusedCredentials || ack.Code == mqtt.RefusedAuthority:
				err = fault.New(fault.Unauthorized, "connect to", r.target.url.Host, "not let in: %s", answer.words(v))
			default:
				t.fail("CONNACK with success", answer.words(v))
			}
		})
		out = t.outcome
		switch {
		case err != nil:
			return nil, err
		case out.Verdict == Fail && len(r.cfg.Select) == 1:
			return nil, fault.New(fault.Unavailable, "connect to", r.target.url.Host, "MQTT %s is not spoken: wanted %s, got %s", v, out.Want, out.Got)
		case out.Verdict == Fail:
			refused[v] = fmt.Sprintf("the server does not speak MQTT %s: wanted %s, got %s", v, out.Want, out.Got)
		}
	}
	if len(refused) > 0 && len(refused) == len(r.cfg.Select) {
		return nil, fault.New(fault.Unavailable, "connect to", r.target.url.Host, "no version of MQTT is spoken there")
	}
	return refused, nil
}

// plain is what a failed dial says beyond the address, which stands in the message already.
func plain(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Err != nil {
		return op.Err
	}
	return err
}

// shown is the target without its password.
func shown(t *target) string { return t.url.Redacted() }
