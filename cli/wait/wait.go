// Package wait holds `rmq wait`, which returns when a condition holds of a broker.
package wait

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

// timeoutDefault is how long a condition may take.
const timeoutDefault = 30 * time.Second

// Command returns `rmq wait`.
func Command(e *env.Env) *cobra.Command {
	timeout := env.Duration(timeoutDefault)
	var namespace string
	cmd := &cobra.Command{
		Use:   "wait CONDITION...",
		Short: "Wait until a condition holds, as until a queue is empty",
		Long: "Wait until a condition holds of a broker, and return at once when it does; after --timeout the exit code is 8. With\n" +
			"ready the broker need not run yet. The broker tells when something changes: it is not asked again and again.\n\n" +
			"  ready\n" +
			"  topic NAME     exists | gone | records>=N\n" +
			"  queue NAME     exists | gone | empty | ready>=N | unacked=0 | consumers>=1\n" +
			"  session ID     exists | gone | connected | away | backlog=0 | inflight=0 | subscriptions>=1\n" +
			"  group ID       exists | gone | lag=0 | members>=N\n" +
			"  nodes          up>=N\n\n" +
			"Numbers are compared by =, !=, <, <=, > and >=, which a shell wants in quotes. Several conditions on one thing hold\n" +
			"together.",
		Example: "  rmq wait ready\n" +
			"  rmq wait queue jobs empty --timeout 1m\n" +
			"  rmq wait topic orders 'records>=100'\n" +
			"  rmq wait session dev1 connected\n" +
			"  rmq wait group billing lag=0 'members>=2'",
		Args: env.AtLeast("CONDITION"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				args = strings.Fields(args[0])
			}
			c, err := parse(namespace, args)
			if err != nil {
				return err
			}
			return c.wait(cmd.Context(), e, time.Duration(timeout))
		},
	}
	cmd.Flags().Var(&timeout, "timeout", "how long at most; 0: for ever")
	env.NamespaceFlag(cmd.Flags(), &namespace)
	e.BrokerFlags(cmd.Flags())
	return cmd
}

// condition is what is waited for.
type condition struct {
	kind, name string
	ns         string
	terms      []term
}

// term is one comparison.
type term struct {
	what string // of the state that look returns
	op   string
	n    int64
}

// kinds says what may be asked of each kind of thing.
var kinds = map[string]struct {
	named  bool
	words  []string // that hold or do not
	counts []string
}{
	"ready":   {},
	"topic":   {true, []string{"exists", "gone"}, []string{"records"}},
	"queue":   {true, []string{"exists", "gone", "empty"}, []string{"ready", "unacked", "consumers"}},
	"session": {true, []string{"exists", "gone", "connected", "away"}, []string{"backlog", "inflight", "subscriptions"}},
	"group":   {true, []string{"exists", "gone"}, []string{"lag", "members"}},
	"nodes":   {false, nil, []string{"up"}},
}

func parse(ns string, args []string) (condition, error) {
	usage := func(format string, a ...any) (condition, error) {
		f := env.Failf(env.Usage, format, a...)
		f.Hint = "rmq wait --help shows every condition"
		return condition{}, f
	}
	if len(args) == 0 {
		return usage("there is no condition")
	}
	k, ok := kinds[args[0]]
	if !ok {
		f := env.Failf(env.Usage, "what is %s? a condition begins with %s", env.Quote(args[0]), strings.Join(env.SortedKeys(kinds), ", "))
		if near := env.Closest(args[0], env.SortedKeys(kinds)); near != "" {
			f.Hint = "did you mean " + near + "?"
		}
		return condition{}, f
	}
	c, rest := condition{kind: args[0], ns: ns}, args[1:]
	if k.named {
		if len(rest) == 0 || rest[0] == "" {
			return usage("%s of which name?", c.kind)
		}
		c.name, rest = rest[0], rest[1:]
	}
	if len(rest) == 0 && c.kind != "ready" {
		return usage("%s: what is to hold of it? One of %s", strings.TrimSpace(c.kind+" "+c.name), strings.Join(append(append([]string(nil), k.words...), k.counts...), ", "))
	}
	if len(rest) > 0 && c.kind == "ready" {
		return usage("ready: what is %s?", env.Quote(rest[0]))
	}
	for _, text := range rest {
		t, err := parseTerm(text, k.words, k.counts)
		if err != nil {
			return usage("%s: %v", c.kind, err)
		}
		c.terms = append(c.terms, t)
	}
	return c, nil
}

func parseTerm(text string, words, counts []string) (term, error) {
	for _, w := range words {
		if text == w {
			return term{what: w, op: "=", n: 1}, nil
		}
	}
	for _, op := range []string{">=", "<=", "!=", "=", ">", "<"} {
		what, number, ok := strings.Cut(text, op)
		if !ok {
			continue
		}
		if !slices.Contains(counts, what) {
			break
		}
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return term{}, fmt.Errorf("%q is no whole number", number)
		}
		return term{what, op, n}, nil
	}
	return term{}, fmt.Errorf("%q is none of %s", text, strings.Join(append(append([]string(nil), words...), counts...), ", "))
}

func (t *term) holds(n int64) bool {
	switch t.op {
	case "=":
		return n == t.n
	case "!=":
		return n != t.n
	case "<":
		return n < t.n
	case "<=":
		return n <= t.n
	case ">":
		return n > t.n
	}
	return n >= t.n
}

func (c *condition) String() string {
	parts := []string{c.kind}
	if c.name != "" {
		parts = append(parts, c.name)
	}
	for _, t := range c.terms {
		if t.op == "=" && t.n == 1 && (t.what == "exists" || t.what == "gone" || t.what == "empty" || t.what == "connected" || t.what == "away") {
			parts = append(parts, t.what)
		} else {
			parts = append(parts, t.what+t.op+strconv.FormatInt(t.n, 10))
		}
	}
	return strings.Join(parts, " ")
}

// state is what is known of a thing: numbers, words being 0 or 1.
type state map[string]int64

func word(holds bool) int64 {
	if holds {
		return 1
	}
	return 0
}

// look asks for the state of the thing.
func (c *condition) look(ctx context.Context, a *adminapi.Client) (state, error) {
	ref := env.Ref(c.ns, c.name)
	s := state{"exists": 1, "gone": 0}
	var err error
	switch c.kind {
	case "ready":
		var st adminapi.Status
		st, err = a.Status(ctx)
		s["ready"] = word(st.Ready)
	case "topic":
		var t adminapi.Topic
		t, err = a.Topic(ctx, ref)
		s["records"] = t.Records
	case "queue":
		var q adminapi.Queue
		q, err = a.Queue(ctx, ref)
		s["ready"], s["unacked"], s["consumers"], s["empty"] = q.Ready, q.Unacked, int64(q.Consumers), word(q.Ready+q.Unacked == 0)
	case "session":
		var x adminapi.Session
		x, err = a.Session(ctx, ref)
		s["connected"], s["away"], s["backlog"], s["inflight"], s["subscriptions"] = word(x.Connected), word(!x.Connected), x.Backlog, int64(x.Inflight), int64(len(x.Subscriptions))
	case "group":
		var g adminapi.Group
		g, err = a.Group(ctx, ref)
		s["lag"], s["members"] = g.Lag, int64(len(g.Members))
	case "nodes":
		var all []adminapi.Node
		all, err = a.Nodes(ctx)
		for _, n := range all {
			s["up"] += word(n.Up)
		}
	}
	if env.Missing(err) {
		return state{"exists": 0, "gone": 1}, nil
	}
	return s, err
}

// met tells whether the condition holds of a state; of what is not there nothing holds but that it is gone.
func (c *condition) met(s state) bool {
	if c.kind == "ready" {
		return s["ready"] == 1
	}
	for i := range c.terms {
		n, known := s[c.terms[i].what]
		if !known || !c.terms[i].holds(n) {
			return false
		}
	}
	return true
}

// missing says what does not hold.
func (c *condition) missing(s state) string {
	if s == nil {
		return "no broker answers"
	}
	if c.kind == "ready" {
		return "the broker is not ready"
	}
	if s["gone"] == 1 {
		return "there is no such " + c.kind
	}
	var is []string
	for _, t := range c.terms {
		if n, known := s[t.what]; known && !t.holds(n) {
			switch t.what {
			case "exists", "gone", "empty", "connected", "away":
				is = append(is, "it is not "+t.what)
			default:
				is = append(is, fmt.Sprintf("%s is %d", t.what, n))
			}
		}
	}
	return strings.Join(is, ", ")
}

// waited is what came of it.
type waited struct {
	Condition string           `json:"condition"`
	Met       bool             `json:"met"`
	Seconds   float64          `json:"seconds"`
	State     map[string]int64 `json:"state,omitempty"`
}

// errMet ends the stream of changes.
var errMet = errors.New("the condition holds")

// again is after how long a broker is sought again that does not answer.
const again = 50 * time.Millisecond

func (c *condition) wait(ctx context.Context, e *env.Env, timeout time.Duration) error {
	begun := time.Now()
	limited := ctx
	if timeout > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	var last state
	err := c.follow(limited, e, &last)
	took := time.Since(begun)
	met := errors.Is(err, errMet)
	if !met && ctx.Err() == nil && limited.Err() == nil {
		return err
	}
	if !met && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	w := waited{Condition: c.String(), Met: met, Seconds: took.Seconds(), State: last}
	if err := e.PrintMachine(env.View{Schema: "rmq.waited/1", Data: w, Fields: []env.Field{
		{Name: "condition", Value: w.Condition}, {Name: "met", Value: w.Met}, {Name: "seconds", Value: strconv.FormatFloat(w.Seconds, 'f', 3, 64)},
	}}); err != nil {
		return err
	}
	if !met {
		f := env.Failf(env.TimedOut, "%s did not hold within %v: %s", env.Clean(w.Condition), timeout, c.missing(last))
		f.Hint = "--timeout says how long it may take"
		return f
	}
	if e.ErrTTY {
		e.Say("%s, after %v", env.Clean(w.Condition), took.Round(time.Millisecond))
	}
	return nil
}

// follow looks after each change until the condition holds, which is errMet, or ctx ends.
func (c *condition) follow(ctx context.Context, e *env.Env, last *state) error {
	for {
		a, err := e.Admin()
		if err == nil {
			err = a.Changes(ctx, func(adminapi.Changed) error {
				s, err := c.look(ctx, a)
				if err != nil {
					return err
				}
				if *last = s; c.met(s) {
					return errMet
				}
				return nil
			})
		}
		f := env.Explain(err)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errMet):
			return err
		case c.kind == "ready" && f != nil && f.Exit == env.Unreachable: // it is starting
		default:
			return err
		}
		select {
		case <-time.After(again):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
