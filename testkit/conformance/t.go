package conformance

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	mqtt "github.com/robustmq/rmq/broker/mqttwire"
)

// T is one test under way. Its goroutine alone uses it.
type T struct {
	ctx  context.Context
	run  *runner
	v    mqtt.Version
	root string // of its topics

	otherVersion bool // CONNACK may have the form of another version
	dialled      int
	conns        []*conn
	left         map[string]bool // client identifiers of sessions that outlive their connection
	retained     map[string]bool // topics

	outcome  Outcome
	exchange []Line
}

// Outcome is what a test came to.
type Outcome struct {
	Verdict    Verdict     `json:"verdict"`
	Want       string      `json:"want,omitempty"`
	Got        string      `json:"got,omitempty"`
	Why        string      `json:"why,omitempty"`        // of Skip and Unseen
	Variations []Variation `json:"variations,omitempty"` // what the specification allows, and advises against
	Exchange   []Line      `json:"exchange,omitempty"`   // of Fail and Varies: all that was said
	Cases      []Case      `json:"cases,omitempty"`      // those that did not pass
	Tried      int         `json:"tried,omitempty"`      // cases in all
}

// Case is one input of a test that has many.
type Case struct {
	Name string `json:"name"`
	Outcome
}

// Variation is what was advised, and what came.
type Variation struct {
	Want string `json:"want"`
	Got  string `json:"got"`
}

// Line is one packet of an exchange, or a remark.
type Line struct {
	Conn string `json:"conn"`          // c1, c2…
	Dir  string `json:"dir"`           // ">" to the server, "<" from it, "-" a remark
	Hex  string `json:"hex,omitempty"` // its bytes, cut where they are many
	Text string `json:"text"`
}

// Verdict is how a statement fares.
type Verdict string

// Verdicts.
const (
	Pass   Verdict = "pass"
	Varies Verdict = "varies" // allowed, and not what is advised
	Fail   Verdict = "fail"
	Skip   Verdict = "skip"   // the server says that it lacks what this is about
	Unseen Verdict = "unseen" // nobody can tell from outside
)

// exchangeMax bounds the lines that a test remembers.
const exchangeMax = 400

func (t *T) note(c *conn, dir byte, raw []byte, text string) {
	t.line(Line{Conn: c.name, Dir: string(dir), Hex: dump(raw), Text: text})
}

func (t *T) remark(c *conn, text string) { t.line(Line{Conn: c.name, Dir: "-", Text: text}) }

func (t *T) line(l Line) {
	if len(t.exchange) < exchangeMax {
		t.exchange = append(t.exchange, l)
	}
}

// fail ends the test: the server does not do what it must.
func (t *T) fail(want, got string) {
	t.outcome.Verdict, t.outcome.Want, t.outcome.Got = Fail, want, got
	runtime.Goexit()
}

// check fails unless ok.
func (t *T) check(ok bool, want, got string) {
	if !ok {
		t.fail(want, got)
	}
}

// skip ends the test: the server lacks what it is about.
func (t *T) skip(format string, args ...any) {
	t.outcome.Verdict, t.outcome.Why = Skip, fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// vary notes a choice that is allowed, and not what is advised. The test goes on.
func (t *T) vary(want, got string) {
	if v := (Variation{want, got}); !slices.Contains(t.outcome.Variations, v) {
		t.outcome.Variations = append(t.outcome.Variations, v)
	}
}

// each runs a case of the test, with topics and connections of its own. One that fails
// does not end the others.
func (t *T) each(name string, f func(*T)) {
	child := t.run.newT(t.ctx, t.v)
	child.perform(f)
	t.outcome.Tried++
	if child.outcome.Verdict != Pass {
		t.outcome.Cases = append(t.outcome.Cases, Case{Name: name, Outcome: child.outcome})
	}
}

// perform runs f to its end, however it ends, and cleans up.
func (t *T) perform(f func(*T)) {
	t.call(f)
	t.sum()
	if o := &t.outcome; o.Verdict == Fail || o.Verdict == Varies {
		o.Exchange = t.exchange
	}
	before := t.outcome
	t.call((*T).clean)
	t.outcome = before
}

// call runs f on a goroutine of its own, which fail and skip end.
func (t *T) call(f func(*T)) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(t)
	}()
	<-done
}

// sum makes one verdict of a test's own and those of its cases: the worst.
func (t *T) sum() {
	o := &t.outcome
	if o.Verdict != "" {
		return
	}
	o.Verdict = Pass
	skipped := 0
	for i := range o.Cases {
		switch c := &o.Cases[i]; c.Verdict {
		case Fail:
			if o.Verdict != Fail {
				o.Verdict, o.Want, o.Got = Fail, c.Name+": "+c.Want, c.Got
			}
		case Varies:
			if o.Verdict == Pass {
				o.Verdict = Varies
			}
			for _, v := range c.Variations {
				o.Variations = append(o.Variations, Variation{c.Name + ": " + v.Want, v.Got})
			}
		case Skip:
			skipped++
			o.Why = c.Why
		}
	}
	switch {
	case o.Verdict != Pass:
	case len(o.Variations) > 0:
		o.Verdict = Varies
	case skipped > 0 && skipped == o.Tried:
		o.Verdict = Skip
	}
}

// clean takes back what the test has left on the server.
func (t *T) clean() {
	for _, c := range t.conns {
		_ = c.nc.Close()
	}
	t.conns = nil
	for id := range t.left {
		t.call(func(t *T) {
			p := t.hello(as(id))
			c := t.dial()
			c.send(p.Append(nil))
			c.accepted()
			c.leave()
		})
	}
	if len(t.retained) > 0 {
		t.call(func(t *T) {
			c := t.connect()
			for topic := range t.retained {
				p := mqtt.Publish{Topic: []byte(topic), Retain: true, QoS: 1, PacketID: c.packetID()}
				c.send(p.Append(nil, c.v))
			}
			c.leave()
		})
	}
	for _, c := range t.conns {
		_ = c.nc.Close()
	}
}

// topic is a topic name of the test's own.
func (t *T) topic(name string) string { return t.root + "/" + name }

// clientID is a client identifier that nobody has: letters and digits, at most 23.
func (t *T) clientID() string { return t.run.unique() }

// pass lets time pass on the server.
func (t *T) pass(d time.Duration) {
	if t.run.cfg.Advance != nil {
		t.run.cfg.Advance(d)
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.ctx.Done():
		t.fail("time", context.Cause(t.ctx).Error())
	}
}

// needs ends the test when the server says, in CONNACK, that it lacks a feature.
func (c *conn) needs(id mqtt.PropertyID, what string) {
	if n, ok := c.ack.Properties.Num(id); ok && n == 0 {
		c.t.skip("the server says that it has no %s", what)
	}
}

// needsQoS ends the test when the server takes no publishes of that QoS.
func (c *conn) needsQoS(qos byte) {
	if n, ok := c.ack.Properties.Num(mqtt.MaximumQoS); ok && n < uint32(qos) {
		c.t.skip("the server takes QoS %d at most", n)
	}
}
