package testkit

import (
	"fmt"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/message"
)

// Want waits for the broker to come to be as a test wants it, and fails the test, with
// what did happen, when it does not. The waiting is woken by the broker's changes.
type Want struct {
	b      *Broker
	t      testing.TB
	within time.Duration
}

// withinDefault is how long a Want waits. It is only ever waited for by a test that fails.
const withinDefault = time.Minute

// Want begins a sentence that says what t waits for.
func (b *Broker) Want(t testing.TB) *Want { return &Want{b: b, t: t, within: withinDefault} }

// Within changes how long to wait, in real time, also when broker time is virtual.
func (w *Want) Within(d time.Duration) *Want {
	c := *w
	c.within = d
	return &c
}

// That waits until cond holds. what names it when it does not; cond is called again after
// every change in the broker, and must look at the broker alone.
func (w *Want) That(what string, cond func() bool) {
	w.t.Helper()
	w.until(what, func() (string, bool) { return "that is not so", cond() })
}

// until waits until look says yes; now is how things stand when it does not.
func (w *Want) until(what string, look func() (now string, ok bool)) {
	w.t.Helper()
	changed, stop := w.b.Kernel().Changes()
	defer stop()
	timer := time.NewTimer(w.within)
	defer timer.Stop()
	for {
		faulty := w.b.nextFault()
		now, ok := look()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-faulty:
		case <-timer.C:
			w.b.events.add("test", "wanted %s within %v; %s", what, w.within, now)
			w.b.mu.Lock()
			w.b.printed = true
			w.b.mu.Unlock()
			w.t.Fatalf("testkit: wanted %s within %v; %s\n%s", what, w.within, now, w.b.story())
		}
	}
}

// number waits until count returns want.
func (w *Want) number(what string, want int, count func() int) {
	w.t.Helper()
	w.until(fmt.Sprintf("%s: %d", what, want), func() (string, bool) {
		n := count()
		return fmt.Sprintf("it is %d", n), n == want
	})
}

// WantTopic waits for a topic.
type WantTopic struct {
	*Want
	topic Topic
}

// Topic waits for a topic, by any spelling of its name.
func (w *Want) Topic(name string) WantTopic { return WantTopic{w, w.b.Topic(name)} }

// Count waits until the topic holds n records, and returns them.
func (w WantTopic) Count(n int) []Record {
	w.t.Helper()
	var got []Record
	w.until(fmt.Sprintf("topic %s with %d records", w.topic.name, n), func() (string, bool) {
		if most := w.topic.most(); most < n { // not worth reading them yet
			return fmt.Sprintf("it has %d at most", most), false
		}
		got = w.topic.Records()
		return fmt.Sprintf("it has %d: %v", len(got), got[:min(len(got), recordsShown)]), len(got) == n
	})
	return got
}

// recordsShown bounds how many records a failure lists.
const recordsShown = 20

// Value waits until the topic holds a record with that value, and returns the first.
func (w WantTopic) Value(value string) (found Record) {
	w.t.Helper()
	w.until(fmt.Sprintf("topic %s with the value %q", w.topic.name, value), func() (string, bool) {
		got := w.topic.Records()
		for _, r := range got {
			if string(r.Value) == value {
				found = r
				return "", true
			}
		}
		return fmt.Sprintf("it has %d records: %v", len(got), got[:min(len(got), recordsShown)]), false
	})
	return found
}

// Exists waits until there is such a topic.
func (w WantTopic) Exists() {
	w.t.Helper()
	w.until("topic "+w.topic.name, func() (string, bool) { return "there is none", w.topic.Exists() })
}

// WantQueue waits for a queue.
type WantQueue struct {
	*Want
	queue Queue
}

// Queue waits for a queue.
func (w *Want) Queue(name string) WantQueue { return WantQueue{w, w.b.Queue(name)} }

// Ready waits until n messages wait for a consumer.
func (w WantQueue) Ready(n int) WantQueue {
	w.t.Helper()
	w.number("ready messages of queue "+w.queue.name, n, w.queue.Ready)
	return w
}

// Unacked waits until n messages are with consumers.
func (w WantQueue) Unacked(n int) WantQueue {
	w.t.Helper()
	w.number("unsettled messages of queue "+w.queue.name, n, w.queue.Unacked)
	return w
}

// Consumers waits until the queue has n consumers.
func (w WantQueue) Consumers(n int) WantQueue {
	w.t.Helper()
	w.number("consumers of queue "+w.queue.name, n, w.queue.Consumers)
	return w
}

// Empty waits until nothing is in the queue, with consumers or without.
func (w WantQueue) Empty() WantQueue {
	w.t.Helper()
	w.until("queue "+w.queue.name+" to be empty", func() (string, bool) {
		i, ok := w.queue.Info()
		return fmt.Sprintf("it has %d ready and %d unsettled", i.Ready, i.Unacked), ok && i.Ready == 0 && i.Unacked == 0
	})
	return w
}

// Exists waits until the queue is declared.
func (w WantQueue) Exists() WantQueue {
	w.t.Helper()
	w.until("queue "+w.queue.name, func() (string, bool) { return "there is none", w.queue.Exists() })
	return w
}

// Gone waits until there is no such queue.
func (w WantQueue) Gone() {
	w.t.Helper()
	w.until("queue "+w.queue.name+" to be gone", func() (string, bool) { return "it is there", !w.queue.Exists() })
}

// WantSession waits for an MQTT session.
type WantSession struct {
	*Want
	session Session
}

// Session waits for the session of a client id.
func (w *Want) Session(clientID string) WantSession { return WantSession{w, w.b.Session(clientID)} }

// Connected waits until the client is connected.
func (w WantSession) Connected() WantSession {
	w.t.Helper()
	w.until("session "+w.session.id+" to be connected", func() (string, bool) { return "it is not", w.session.Connected() })
	return w
}

// Away waits until the session is there and its client is not.
func (w WantSession) Away() WantSession {
	w.t.Helper()
	w.until("session "+w.session.id+" without its client", func() (string, bool) {
		i, ok := w.session.Info()
		if !ok {
			return "there is no session", false
		}
		return "the client is connected", !i.Connected
	})
	return w
}

// Gone waits until there is no such session.
func (w WantSession) Gone() {
	w.t.Helper()
	w.until("session "+w.session.id+" to be gone", func() (string, bool) { return "it is there", !w.session.Exists() })
}

// Subscribed waits until the session has a subscription with exactly that filter.
func (w WantSession) Subscribed(filter string) WantSession {
	w.t.Helper()
	w.until(fmt.Sprintf("session %s to be subscribed to %s", w.session.id, filter), func() (string, bool) {
		i, _ := w.session.Info()
		return fmt.Sprintf("it is subscribed to %v", i.Subscriptions), w.session.Subscribed(filter)
	})
	return w
}

// Inflight waits until n deliveries wait for the client's acknowledgement.
func (w WantSession) Inflight(n int) WantSession {
	w.t.Helper()
	w.number("deliveries under way to session "+w.session.id, n, w.session.Inflight)
	return w
}

// Backlog waits until n messages wait to be sent.
func (w WantSession) Backlog(n int) WantSession {
	w.t.Helper()
	w.number("messages that wait for session "+w.session.id, n, w.session.Backlog)
	return w
}

// Retained waits until n retained messages match an MQTT filter, and returns them.
func (w *Want) Retained(filter string, n int) []message.Message {
	w.t.Helper()
	var got []message.Message
	w.until(fmt.Sprintf("%d retained messages that match %s", n, filter), func() (string, bool) {
		got = w.b.Retained(filter)
		return fmt.Sprintf("there are %d", len(got)), len(got) == n
	})
	return got
}

// WantGroup waits for a consumer group.
type WantGroup struct {
	*Want
	group Group
}

// Group waits for a Kafka consumer group.
func (w *Want) Group(id string) WantGroup { return WantGroup{w, w.b.Group(id)} }

// Lag waits until the group has n records still to commit.
func (w WantGroup) Lag(n int) WantGroup {
	w.t.Helper()
	w.number("lag of group "+w.group.id, n, w.group.Lag)
	return w
}

// Committed waits until the group has committed an offset for a partition.
func (w WantGroup) Committed(topic string, partition int32, offset int64) WantGroup {
	w.t.Helper()
	w.number(fmt.Sprintf("offset of group %s in %s/%d", w.group.id, topic, partition), int(offset), func() int {
		return int(w.group.Committed(topic, partition))
	})
	return w
}

// Stable waits until the group has n members that all have their assignment.
func (w WantGroup) Stable(n int) WantGroup {
	w.t.Helper()
	w.until(fmt.Sprintf("group %s to be stable with %d members", w.group.id, n), func() (string, bool) {
		i, ok := w.group.Info()
		if !ok {
			return "there is no such group", false
		}
		return fmt.Sprintf("it is %s with %d", i.State, len(i.Members)), i.State == "Stable" && len(i.Members) == n
	})
	return w
}
