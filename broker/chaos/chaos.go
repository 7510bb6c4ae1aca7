// Package chaos has things go wrong as a plan says: connections break, packets are lost, requests fail, the disk is full.
//
// A Plan is a list of rules; each says where (a seam of the broker, and what passes there), for whom, when and what
// (Rule). An Engine has the rules of one node. The seams ask it of everything that passes, and do what it answers:
//
//	if e.On(chaos.MQTT) {
//		if act, ok := e.Ask(chaos.Ask{Seam: chaos.MQTT, What: "PUBACK", Client: id}); ok { … }
//	}
//
// As long as there are no rules for a seam it pays one atomic load: On.
//
// # Invariants
//
//   - The first rule that fires decides, in the order in which rules were added: there is one answer to an Ask. Rules
//     before it have seen what they did not fire for, those behind it have not. A connection is told all (AskAll).
//   - Chance comes from the plan's seed, and is each rule's own: what a rule does depends on what it has seen, and on
//     nothing else.
//   - What has fired is counted and told (Firing): nothing goes wrong in silence.
package chaos

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/fault"
)

// Ask is what passes a seam.
type Ask struct {
	Seam     Seam
	What     string // as Rule.At has it
	In       bool   // from the client; of packets and methods
	Client   string // "" where it is not known
	Topic    string // "" where there is none
	Listener string
	// Part: it was asked about as a whole before, and now about what is of one topic. Rules that name no topic
	// have decided.
	Part bool
	Grow int64 // bytes that a file operation needs of the device
}

// Act is what happens to it.
type Act struct {
	Rule  string
	Do    Effect
	Code  int           // of the protocol
	Delay time.Duration // jitter included
	Bytes int64

	back context.Context // ends when the rule is taken back
}

// Firing is one time that a rule fired.
type Firing struct {
	At     time.Time
	Rule   string
	Count  uint64 // how often it has fired by now
	Do     Effect
	Place  string // seam, direction and what: "mqtt/out/PUBACK"
	Client string
	Topic  string
	Code   string // by name
	Delay  time.Duration
}

func (f Firing) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s %s", f.Do, f.Place)
	if f.Client != "" {
		fmt.Fprintf(&s, " of %s", f.Client)
	}
	if f.Topic != "" {
		fmt.Fprintf(&s, " topic %s", f.Topic)
	}
	if f.Code != "" {
		fmt.Fprintf(&s, " code %s", f.Code)
	}
	if f.Delay > 0 {
		fmt.Fprintf(&s, " %v", f.Delay)
	}
	fmt.Fprintf(&s, " (rule %s, fired %d)", f.Rule, f.Count)
	return s.String()
}

// State is a rule and how it stands.
type State struct {
	Rule
	Seen  uint64    `json:"seen"`  // what it was about
	Fired uint64    `json:"fired"` // of that
	Last  time.Time `json:"last,omitzero"`
	Over  bool      `json:"over,omitempty"` // it does not fire any more
}

// Engine has the rules of a node. Safe for concurrent use; a nil one has none.
type Engine struct {
	link clock.Clock
	told func(Firing) // nil: nobody

	live [seams]atomic.Pointer[[]*rule] // of those that may fire, by seam; nil: none

	mu      sync.Mutex
	seed    uint64
	rules   []*rule // in the order of adding, those that are over included
	named   int     // names given
	closed  bool
	changed []func(Seam)
}

// rule is a rule as the engine has it.
type rule struct {
	Rule
	seam   Seam
	way    way
	what   string // "": anything there
	code   int
	begins time.Time // zero: has begun
	ends   time.Time // zero: never
	back   context.Context
	goes   context.CancelFunc
	timers [2]clock.Timer // for begins and ends; nil: there is none

	mu    sync.Mutex
	rand  *rand.Rand
	seen  uint64
	fired uint64
	last  time.Time
	over  bool
	used  int64 // of Full: bytes that the device gave since
}

// New returns an engine without rules. Rules go by link time; told is called with each firing, from whichever
// goroutine it happens on, and must not wait.
func New(link clock.Clock, told func(Firing)) *Engine {
	if link == nil {
		link = clock.Wall{}
	}
	return &Engine{link: link, told: told}
}

// Clock is link time, by which the engine goes.
func (e *Engine) Clock() clock.Clock { return e.link }

// On tells whether there are rules for a seam.
func (e *Engine) On(s Seam) bool { return e != nil && e.live[s].Load() != nil }

// Run has a plan take the place of what there is.
func (e *Engine) Run(p Plan) error {
	if err := p.Check(); err != nil {
		return err
	}
	e.mu.Lock()
	takeBack(e.rules)
	e.seed, e.rules = p.Seed, nil
	for _, r := range p.Rules {
		e.addLocked(r)
	}
	e.pruneLocked()
	e.mu.Unlock()
	for s := range Seam(seams) {
		e.tell(s)
	}
	return nil
}

// Seed says where the chance of rules begins that are added from now on.
func (e *Engine) Seed(n uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seed = n
}

// Add adds a rule and returns it with its name. fault.Exists: there is one of that name. fault.Exhausted: there are too many.
func (e *Engine) Add(r Rule) (Rule, error) {
	if _, err := compile(r); err != nil {
		return r, err
	}
	e.mu.Lock()
	if len(e.rules) >= rulesMax { // what is over makes room
		e.rules = slices.DeleteFunc(e.rules, (*rule).isOver)
	}
	switch {
	case len(e.rules) >= rulesMax:
		e.mu.Unlock()
		return r, fault.New(fault.Exhausted, "add rule", r.Name, "there may be %d rules at most", rulesMax)
	case r.Name != "" && e.findLocked(r.Name) >= 0:
		e.mu.Unlock()
		return r, fault.New(fault.Exists, "add rule", r.Name, "there is a rule of that name")
	}
	added := e.addLocked(r)
	e.mu.Unlock()
	e.show()
	return added, nil
}

func (e *Engine) findLocked(name string) int {
	return slices.IndexFunc(e.rules, func(r *rule) bool { return r.Name == name })
}

// addLocked adds what is known to compile, under a name that is free.
func (e *Engine) addLocked(spec Rule) Rule {
	r, _ := compile(spec)
	r.back, r.goes = context.WithCancel(context.Background())
	for r.Name == "" || spec.Name == "" && e.findLocked(r.Name) >= 0 {
		e.named++
		r.Name = fmt.Sprintf("%s-%d", strings.ToLower(cmp.Or(r.what, r.seam.String())), e.named)
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(r.Name)) // a hash takes everything
	r.rand = rand.New(rand.NewPCG(e.seed, h.Sum64()))
	now := e.link.Now()
	if r.From > 0 {
		r.begins = now.Add(time.Duration(r.From))
		r.timers[0] = e.link.AfterFunc(time.Duration(r.From), func() { e.tell(r.seam) })
	}
	if r.For > 0 {
		r.ends = now.Add(time.Duration(r.From + r.For))
		r.timers[1] = e.link.AfterFunc(time.Duration(r.From+r.For), func() { e.end(r) })
	}
	e.rules = append(e.rules, r)
	return r.Rule
}

// Remove takes a rule back. fault.NotFound: there is none of that name.
func (e *Engine) Remove(name string) error {
	e.mu.Lock()
	i := e.findLocked(name)
	if i < 0 {
		e.mu.Unlock()
		return fault.Of(fault.NotFound, "remove rule", name)
	}
	seam := e.rules[i].seam
	takeBack(e.rules[i : i+1])
	e.rules = slices.Delete(e.rules, i, i+1)
	e.pruneLocked()
	e.mu.Unlock()
	e.tell(seam)
	return nil
}

// Stop takes all rules back.
func (e *Engine) Stop() {
	e.mu.Lock()
	takeBack(e.rules)
	e.rules = nil
	e.pruneLocked()
	e.mu.Unlock()
	for s := range Seam(seams) {
		e.tell(s)
	}
}

// takeBack ends what rules have begun: what they hold back goes on.
func takeBack(rules []*rule) {
	for _, r := range rules {
		r.goes()
		for _, t := range r.timers {
			if t != nil {
				t.Stop()
			}
		}
	}
}

// Close has nothing go wrong any more. What has happened can still be asked.
func (e *Engine) Close() {
	e.mu.Lock()
	takeBack(e.rules)
	e.closed = true
	e.pruneLocked()
	e.mu.Unlock()
	for s := range Seam(seams) {
		e.tell(s)
	}
}

// List tells of all rules, in the order of adding, and of the seed.
func (e *Engine) List() (seed uint64, all []State) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.link.Now()
	for _, r := range e.rules {
		r.mu.Lock()
		over := r.over || !r.ends.IsZero() && !now.Before(r.ends)
		all = append(all, State{Rule: r.Rule, Seen: r.seen, Fired: r.fired, Last: r.last, Over: over})
		r.mu.Unlock()
	}
	return e.seed, all
}

// OnChange has f called after the rules of a seam have changed: of who keeps what it was answered.
func (e *Engine) OnChange(f func(Seam)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.changed = append(e.changed, f)
}

// show has seams see the rules that there are.
func (e *Engine) show() {
	e.mu.Lock()
	moved := e.pruneLocked()
	e.mu.Unlock()
	for _, s := range moved {
		e.tell(s)
	}
}

// pruneLocked has Ask see the rules that may fire, and returns the seams of which others are asked now.
func (e *Engine) pruneLocked() (moved []Seam) {
	var by [seams][]*rule
	for _, r := range e.rules {
		if !r.isOver() && !e.closed {
			by[r.seam] = append(by[r.seam], r)
		}
	}
	for s := range by {
		was := e.live[s].Load()
		if was != nil && slices.Equal(*was, by[s]) || was == nil && by[s] == nil {
			continue
		}
		if moved = append(moved, Seam(s)); by[s] == nil {
			e.live[s].Store(nil)
		} else {
			e.live[s].Store(&by[s])
		}
	}
	return moved
}

// tell has who keeps what it was answered look at the rules of a seam.
func (e *Engine) tell(s Seam) {
	e.mu.Lock()
	tell := slices.Clone(e.changed)
	e.mu.Unlock()
	for _, f := range tell {
		f(s)
	}
}

// end ends a rule whose time is over.
func (e *Engine) end(r *rule) {
	r.mu.Lock()
	was := r.over
	r.over = true
	r.mu.Unlock()
	if !was {
		e.show()
	}
	e.tell(r.seam)
}

// Ask tells what happens to what passes; false: nothing does.
func (e *Engine) Ask(q Ask) (Act, bool) {
	if !e.On(q.Seam) {
		return Act{}, false
	}
	for _, r := range e.of(q.Seam) {
		if act, ok := e.try(r, &q); ok {
			return act, true
		}
	}
	return Act{}, false
}

// of lists the rules of a seam.
func (e *Engine) of(s Seam) []*rule {
	if p := e.live[s].Load(); p != nil {
		return *p
	}
	return nil
}

// Asked remembers which rules something has been asked of.
type Asked map[*rule]bool

// AskAll asks every rule, once each: of a connection, which is asked about again as more is known of it, and when
// there are more rules. It returns all that fire.
func (e *Engine) AskAll(q Ask, asked Asked) (acts []Act) {
	rules := e.of(q.Seam)
	maps.DeleteFunc(asked, func(r *rule, _ bool) bool { return !slices.Contains(rules, r) }) // a rule does not come back
	for _, r := range rules {
		if asked[r] || !r.about(&q) || e.link.Now().Before(r.begins) {
			continue
		}
		asked[r] = true
		if act, ok := e.try(r, &q); ok {
			acts = append(acts, act)
		}
	}
	return acts
}

// Has tells whether a rule is there still, by the name in Act.
func (e *Engine) Has(s Seam, name string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	i := e.findLocked(name)
	if i < 0 || e.closed {
		return false
	}
	r := e.rules[i]
	return r.ends.IsZero() || e.link.Now().Before(r.ends)
}

// about tells whether a rule is about what passes.
func (c *rule) about(q *Ask) bool {
	switch {
	case c.way == in && !q.In, c.way == out && q.In:
	case c.what != "" && c.what != q.What:
	case q.Part && c.Topic == "":
	case !Match(c.Client, q.Client), !Match(c.Topic, q.Topic), !Match(c.Listener, q.Listener):
	default:
		return true
	}
	return false
}

// try asks one rule.
func (e *Engine) try(r *rule, q *Ask) (act Act, ok bool) {
	if !r.about(q) {
		return act, false
	}
	now := e.link.Now()
	if now.Before(r.begins) {
		return act, false
	}
	r.mu.Lock()
	if r.over || !r.ends.IsZero() && !now.Before(r.ends) {
		r.mu.Unlock()
		return act, false
	}
	if r.Do == Full {
		if q.Grow == 0 {
			r.mu.Unlock()
			return act, false
		}
		if r.used+q.Grow <= int64(r.Bytes) {
			r.used += q.Grow
			r.seen++
			r.mu.Unlock()
			return act, false
		}
	}
	r.seen++
	if r.seen <= uint64(r.After) || r.Chance > 0 && r.Chance < 1 && r.rand.Float64() >= r.Chance {
		r.mu.Unlock()
		return act, false
	}
	r.fired++
	r.last = now
	act = Act{Rule: r.Name, Do: r.Do, Code: r.code, Delay: time.Duration(r.Delay), Bytes: int64(r.Bytes), back: r.back}
	if r.Jitter > 0 {
		act.Delay += time.Duration(r.rand.Int64N(int64(r.Jitter) + 1))
	}
	f := Firing{At: now, Rule: r.Name, Count: r.fired, Do: r.Do, Place: q.place(), Client: q.Client, Topic: q.Topic, Delay: act.Delay}
	if r.code != 0 {
		f.Code = codeName(r.seam, r.code)
	}
	r.over = r.Times > 0 && r.fired >= uint64(r.Times)
	over := r.over
	r.mu.Unlock()
	if over { // it is asked no more; what it has done stands
		e.mu.Lock()
		e.pruneLocked()
		e.mu.Unlock()
	}
	if e.told != nil {
		e.told(f)
	}
	return act, true
}

func (c *rule) isOver() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.over
}

// place is where something passes, as Rule.At would have it.
func (q *Ask) place() string {
	s := q.Seam.String()
	switch {
	case q.Seam != MQTT && q.Seam != AMQP:
	case q.In:
		s += "/in"
	default:
		s += "/out"
	}
	if q.What != "" {
		s += "/" + q.What
	}
	return s
}

// Match tells whether a text fits a pattern, in which * stands for any text; "" fits everything.
func Match(pattern, text string) bool {
	if pattern == "" {
		return true
	}
	first, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == text
	}
	text, ok := strings.CutPrefix(text, first)
	if !ok {
		return false
	}
	for {
		part, after, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(text, part)
		}
		i := strings.Index(text, part)
		if i < 0 {
			return false
		}
		text, rest = text[i+len(part):], after
	}
}

// After calls f once what is done to something has taken its time, or at once when the rule is taken back, unless cancel
// is called before.
func (e *Engine) After(a Act, f func()) (cancel func()) {
	var mu sync.Mutex
	var timer clock.Timer
	var early func() bool
	end := func(call bool) {
		mu.Lock()
		g := f
		if f = nil; g != nil {
			timer.Stop()
			early()
		}
		mu.Unlock()
		if g != nil && call {
			g()
		}
	}
	mu.Lock()
	defer mu.Unlock()
	timer = e.link.AfterFunc(a.Delay, func() { end(true) })
	early = context.AfterFunc(a.back, func() { end(true) })
	return func() { end(false) }
}

// Wait waits as After does, or until done or gone is closed: false then. Either may be nil.
func (e *Engine) Wait(a Act, done, gone <-chan struct{}) bool {
	if a.Delay <= 0 {
		return true
	}
	over := make(chan struct{})
	cancel := e.After(a, func() { close(over) })
	select {
	case <-over:
		return true
	case <-done:
	case <-gone:
	}
	cancel()
	return false
}
