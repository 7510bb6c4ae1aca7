package testkit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/amqp"
	"github.com/robustmq/rmq/broker/chaos"
	"github.com/robustmq/rmq/broker/grammar"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/group"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/mqtt"
)

// Audit fails the test for what it leaves in the broker when it ends, and says whose that is:
//
//   - of queues: messages that nobody consumed, deliveries that nobody acknowledged, and consumers
//   - of MQTT: sessions, their clients connected or not, with what waits for them, and wills to come
//   - of Kafka: members that have not left their group
//   - of AMQP: connections with a transaction that is neither committed nor rolled back, or that are blocked;
//     one that holds nothing is not minded
//
// It is an option because some of that is what many a test is about: a message left in a queue, or a
// session that waits for its client, is no mistake as such. Allow says what is meant to be there. A test
// that has failed already, or has closed the broker, is not audited. A client that says goodbye as the test ends leaves nothing: Audit
// waits for that. The nodes of a cluster are audited as one broker.
func Audit() Option {
	return func(c *config) { c.audit.within = cmp.Or(c.audit.within, auditWithin) }
}

// Allow says what Audit is not to mind, by its kind and name, in which * stands for any text:
// "queue:jobs", "session:dev-*", "group:billing", "connection:worker". A shared subscription's queue is
// named "$share/group/filter".
func Allow(patterns ...string) Option {
	return func(c *config) { c.audit.allowed = append(c.audit.allowed, patterns...) }
}

// auditWithin is how long what clients have sent may take to have its effect. It is only ever waited for
// by a test that fails.
const auditWithin = 10 * time.Second

// audit is what Audit and Allow have set.
type audit struct {
	within  time.Duration // 0: there is none
	allowed []string
}

// leak is one thing that was left.
type leak struct{ kind, name, text string }

func (l leak) key() string { return l.kind + ":" + l.name }

// leakKinds are those of what Audit finds.
var leakKinds = []string{"queue", "session", "group", "connection"}

// check tells what is wrong with what is allowed.
func (a *audit) check() error {
	for _, p := range a.allowed {
		kind, name, ok := strings.Cut(p, ":")
		if !ok || name == "" || !slices.Contains(leakKinds, kind) {
			hint := ""
			if near := grammar.Closest(kind, leakKinds); ok && near != "" && near != kind {
				hint = "; did you mean " + near + ":" + name + "?"
			}
			return fmt.Errorf("Allow(%q): it is a kind, %s, and a name behind a colon%s", p, strings.Join(leakKinds, ", "), hint)
		}
	}
	return nil
}

// end fails t for what is left in the broker, or in the nodes of a cluster.
func (a *audit) end(t testing.TB, all ...*Broker) {
	t.Helper()
	all = slices.DeleteFunc(slices.Clone(all), (*Broker).closed)
	if a.within == 0 || t.Failed() || len(all) == 0 {
		return
	}
	changed, stop := changes(all)
	defer stop()
	timer := time.NewTimer(a.within)
	defer timer.Stop()
	left := a.left(all)
	for late := false; len(left) > 0 && !late; left = a.left(all) {
		select {
		case <-changed:
		case <-timer.C:
			late = true
		}
	}
	if len(left) > 0 {
		t.Errorf("testkit: what the test has left in the broker:\n%s", report(left))
	}
}

// changes is Kernel.Changes of several brokers.
func changes(all []*Broker) (changed <-chan struct{}, stop func()) {
	one := make(chan struct{}, 1)
	over := make(chan struct{})
	for _, b := range all {
		c, end := b.Kernel().Changes()
		go func() {
			defer end()
			for {
				select {
				case <-c:
				case <-over:
					return
				}
				select {
				case one <- struct{}{}:
				default:
				}
			}
		}()
	}
	return one, func() { close(over) }
}

// closed tells whether the test has closed the broker, or its node was killed.
func (b *Broker) closed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.untap == nil
}

// report lists leaks as a timeline does events.
func report(left []leak) string {
	var s strings.Builder
	var meant []string
	for _, l := range left {
		fmt.Fprintf(&s, "  %-10s  %s: %s\n", l.kind, l.name, l.text)
		if p := fmt.Sprintf("%q", l.key()); !slices.Contains(meant, p) {
			meant = append(meant, p)
		}
	}
	fmt.Fprintf(&s, "if that is meant: testkit.Allow(%s)\n", strings.Join(meant, ", "))
	return s.String()
}

// left lists what was left and is not allowed.
func (a *audit) left(all []*Broker) []leak {
	f := finder{start: all[0].events.start, conns: make(map[uint64]amqp.ConnInfo), clients: make(map[string]mqtt.Client), seen: make(map[string]bool), consumers: make(map[uint64]kernel.Consumer)}
	for _, b := range all {
		for _, c := range b.broker.Connections() {
			f.conns[c.Owner] = c
			f.connection(c)
		}
		for _, c := range b.broker.Clients() {
			f.clients[c.ClientID] = c
		}
	}
	for _, b := range all { // a consumer's node knows most of it
		f.know(b.Kernel())
	}
	for _, b := range all {
		f.look(b)
	}
	left := slices.DeleteFunc(f.found, func(l leak) bool {
		return slices.ContainsFunc(a.allowed, func(p string) bool { return chaos.Match(p, l.key()) })
	})
	slices.SortStableFunc(left, func(x, y leak) int { return strings.Compare(x.key(), y.key()) })
	return left
}

// finder looks for leaks.
type finder struct {
	start     time.Time
	conns     map[uint64]amqp.ConnInfo   // by owner
	clients   map[string]mqtt.Client     // by client id
	consumers map[uint64]kernel.Consumer // by id
	seen      map[string]bool            // keys that another node has told of
	found     []leak
}

func (f *finder) add(kind, name, format string, args ...any) {
	f.found = append(f.found, leak{kind, name, fmt.Sprintf(format, args...)})
}

// first tells whether nobody was asked about this yet.
func (f *finder) first(kind, ns, name string) bool {
	key := kind + "\x00" + ns + "\x00" + name
	was := f.seen[key]
	f.seen[key] = true
	return !was
}

// since says when something began, on the scale of the timeline.
func (f *finder) since(at time.Time) string {
	return fmt.Sprintf("since %.6fs", at.Sub(f.start).Seconds())
}

// in names what is of another namespace.
func in(ns string) string {
	if ns == defaultNamespace {
		return ""
	}
	return " (in namespace " + ns + ")"
}

func (f *finder) know(k *kernel.Kernel) {
	for _, space := range k.Namespaces() {
		for _, q := range k.Queues(space.Name) {
			for _, c := range k.Consumers(space.Name, q.Name) {
				if was := f.consumers[c.ID]; was.Owner == 0 && was.ClientID == "" {
					f.consumers[c.ID] = c
				}
			}
		}
	}
}

// look looks for all there is in a broker.
func (f *finder) look(b *Broker) {
	k := b.Kernel()
	for _, space := range k.Namespaces() {
		ns := space.Name
		for _, q := range k.Queues(ns) {
			if f.first("queue", ns, q.Name) {
				f.queue(k, ns, q)
			}
		}
		for _, s := range k.Sessions(ns) {
			if f.first("session", ns, s.ClientID) {
				f.session(ns, s)
			}
		}
		var groups []GroupInfo
		k.Groups(ns, func(id string, g *group.Group) { groups = append(groups, readGroup(id, g)) })
		for _, g := range groups {
			if f.first("group", ns, g.ID) {
				f.group(ns, g)
			}
		}
	}
}

// queue finds what is in a queue, and who consumes it.
func (f *finder) queue(k *kernel.Kernel, ns string, q kernel.QueueInfo) {
	if q.Ready > 0 {
		oldest := ""
		_ = k.LookQueue(ns, q.Name, func(m *message.Message, at kernel.Queued) bool { // gone: then there is nothing to say
			if at.Unacked {
				return true
			}
			oldest = fmt.Sprintf(": first %s %s of %s", m.Address, show(m.Value), time.UnixMilli(at.EnqueuedAt).UTC().Format(time.RFC3339Nano))
			return false
		})
		f.add("queue", q.Name, "%s not consumed%s%s", count(q.Ready, "message"), oldest, in(ns))
	}
	others := q.Unacked
	for _, c := range k.Consumers(ns, q.Name) {
		others -= int64(c.Unacked)
		c = f.consumers[c.ID]
		switch who := f.who(c); {
		case c.Unacked > 0:
			f.add("queue", q.Name, "%s not acknowledged by %s%s", count(int64(c.Unacked), "delivery"), who, in(ns))
		case !c.Pull && c.ClientID == "":
			f.add("queue", q.Name, "still consumed by %s%s", who, in(ns))
		}
	}
	if others > 0 {
		f.add("queue", q.Name, "%s on the way to where dead letters go%s", count(others, "message"), in(ns))
	}
}

// who says who takes messages from a queue.
func (f *finder) who(c kernel.Consumer) string {
	what := "consumer " + c.Tag
	switch {
	case c.ClientID != "":
		return "session " + c.ClientID + f.client(c.ClientID)
	case c.Pull:
		what = "basic.get"
	case c.Tag == "":
		what = "a consumer"
	}
	if conn, ok := f.conns[c.Owner]; ok {
		return what + " of connection " + conn.Name + ", " + f.conn(conn)
	}
	return what + " of a connection that is gone, or of another node"
}

// conn describes a connection of AMQP, but for its name.
func (f *finder) conn(c amqp.ConnInfo) string {
	s := "open " + f.since(c.Since)
	if !strings.HasPrefix(c.Name, c.Peer) {
		s += " from " + c.Peer
	}
	return s + asUser(c.User)
}

func asUser(name string) string {
	if name == "" {
		return ""
	}
	return " (user " + name + ")"
}

// connection finds what a connection of AMQP is in the middle of.
func (f *finder) connection(c amqp.ConnInfo) {
	if c.Uncommitted > 0 {
		f.add("connection", c.Name, "a transaction of %d publishes and acknowledgements is neither committed nor rolled back; %s%s", c.Uncommitted, f.conn(c), in(c.Namespace))
	}
	if c.Blocked {
		f.add("connection", c.Name, "its publishes are blocked; %s%s", f.conn(c), in(c.Namespace))
	}
}

// client describes the connection of a client of MQTT, "" when there is none.
func (f *finder) client(id string) string {
	c, ok := f.clients[id]
	if !ok {
		return ""
	}
	return fmt.Sprintf(" from %v%s, MQTT %v, %s", c.Remote, asUser(c.User), c.Version, f.since(c.Since))
}

// session finds a session of MQTT.
func (f *finder) session(ns string, i kernel.SessionInfo) {
	var s strings.Builder
	switch {
	case i.Connected:
		s.WriteString("still connected" + f.client(i.ClientID))
	case i.EndsAt == 0:
		s.WriteString("waits for its client, and never ends")
	default:
		s.WriteString("waits for its client until " + time.UnixMilli(i.EndsAt).UTC().Format(time.RFC3339))
	}
	for _, x := range []struct {
		n    int64
		what string
	}{{int64(i.Inflight), "not acknowledged"}, {i.Backlog, "in its backlog"}, {int64(i.Receiving), "of it not released (PUBREL)"}} {
		if x.n > 0 {
			fmt.Fprintf(&s, "; %s %s", count(x.n, "message"), x.what)
		}
	}
	switch {
	case i.WillAt > 0:
		s.WriteString("; its will is published at " + time.UnixMilli(i.WillAt).UTC().Format(time.RFC3339))
	case i.HasWill:
		s.WriteString("; with a will")
	}
	f.add("session", i.ClientID, "%s%s", s.String(), in(ns))
}

// group finds who has not left a group.
func (f *finder) group(ns string, g GroupInfo) {
	for _, m := range g.Members {
		who := m.ID
		if m.InstanceID != "" {
			who = "instance " + m.InstanceID + " (" + m.ID + ")"
		}
		f.add("group", g.ID, "member %s of client %s from %s has not left; the group is %s, and gives it up after %v of silence%s",
			who, m.ClientID, strings.TrimPrefix(m.ClientHost, "/"), g.State, time.Duration(m.SessionTimeout)*time.Millisecond, in(ns))
	}
}

// count says how many there are of something.
func count(n int64, what string) string {
	switch {
	case n == 1:
		return "1 " + what
	case strings.HasSuffix(what, "y"):
		what = strings.TrimSuffix(what, "y") + "ies"
	default:
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
