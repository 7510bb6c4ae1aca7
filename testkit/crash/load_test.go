package crash

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// load is clients of all protocols at work against the nodes of a broker, spread over them. They
// know that a node may be gone, and come back by themselves, to another one if there is; they
// are never told that it was killed.
type load struct {
	*ledger
	addrs []string      // host:port of each node
	turn  atomic.Int64  // whose turn it is to be connected to first
	every time.Duration // between two messages of one track

	// sending ends the producers; answered ends what they still wait for, answerMax later;
	// living ends everybody.
	sending, answered, living context.Context
	stopSending, stop         context.CancelFunc

	producers, readers sync.WaitGroup
	ballasted          atomic.Int64 // bytes of ballast acknowledged

	ordersID [16]byte  // the topic
	log      *log      // what Kafka's readers see
	group    *group    // what the members of a group commit
	retained *retained // what addresses hold
	work     *work     // the queue that is consumed while it is filled
	held     *track    // of the queue that is drained at the end
}

// retryOf is how long clients wait before they try to connect again.
const retryOf = 20 * time.Millisecond

// answerMax is how long producers wait for the last answers. What is published in the moment
// of a reconnect may lie in the client's store until the next reconnect, which never comes.
const answerMax = 5 * time.Second

// newLoad declares what the load needs and starts it.
func newLoad(t *testing.T, addrs ...string) *load { return pacedLoad(t, paceOf, addrs, "") }

// pacedLoad has so much time between two messages of a track. vacant: of addrs, where there is
// no node yet.
func pacedLoad(t *testing.T, every time.Duration, addrs []string, vacant string) *load {
	t.Helper()
	l := &load{ledger: newLedger(), addrs: addrs, every: every}
	l.vacant = vacant
	l.living, l.stop = context.WithCancel(context.Background())
	l.sending, l.stopSending = context.WithCancel(l.living)
	answered, giveUp := context.WithCancel(l.living)
	l.answered = answered
	context.AfterFunc(l.sending, func() { time.AfterFunc(answerMax, giveUp) })
	t.Cleanup(l.end)
	l.startKafka(t)
	l.startMQTT(t)
	l.startAMQP(t)
	return l
}

// nodes are the addresses in the order in which the next client tries them.
func (l *load) nodes() []string {
	first := int(l.turn.Add(1)) % len(l.addrs)
	return slices.Concat(l.addrs[first:], l.addrs[:first])
}

// seeds are the addresses for a client that asks the first node that it finds for the others. One
// address where there is nobody is enough for some of franz-go's requests to fail.
func (l *load) seeds() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(l.nodes(), func(addr string) bool { return addr == l.vacant })
}

// pace lets a producer send now and then: the load is bounded by it, not the machine.
func (l *load) pace() func() bool {
	tick := time.NewTicker(l.every)
	context.AfterFunc(l.sending, tick.Stop)
	return func() bool {
		select {
		case <-tick.C:
			return l.sending.Err() == nil
		case <-l.sending.Done():
			return false
		}
	}
}

// end stops every client, at once.
func (l *load) end() {
	l.stop()
	l.producers.Wait()
	l.readers.Wait()
}

// conclude has what is under way end well, then ends everybody, and tells how long it all took.
func (l *load) conclude(t *testing.T, began time.Time) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	l.finish(ctx, t)
	took := time.Since(began)
	l.end()
	return took
}

// awaitAcks waits until n messages more of each protocol are acknowledged.
func (l *load) awaitAcks(ctx context.Context, t *testing.T, n int) {
	t.Helper()
	from := l.acknowledged()
	for {
		l.mu.Lock()
		change := l.change
		l.mu.Unlock()
		have := l.acknowledged()
		enough := true
		for _, protocol := range []string{"mqtt", "kafka", "amqp"} {
			enough = enough && have[protocol] >= from[protocol]+n
		}
		if enough {
			return
		}
		select {
		case <-change:
		case <-ctx.Done():
			t.Fatalf("acknowledged before: %v; now: %v; %d more of each are expected", from, have, n)
		}
	}
}

// check waits until everything that was acknowledged before the call has been seen by
// everybody who should, and looks at what is not a message: committed offsets and
// retained values.
func (l *load) check(ctx context.Context, t *testing.T) {
	t.Helper()
	committed, values := l.group.snapshot(), l.retained.snapshot()
	due := l.due()
	l.checkEnds(ctx, t)
	l.checkCommitted(ctx, t, committed)
	if l.faulty() {
		return // what is lost does not come
	}
	l.checkRetained(ctx, t, values)
	l.await(ctx, due)
}

// finish stops the producers and checks everything that there is.
func (l *load) finish(ctx context.Context, t *testing.T) {
	t.Helper()
	l.stopSending()
	l.producers.Wait()
	l.drainAway(ctx, t)
	l.drainHeld(ctx, t)
	l.check(ctx, t)
	l.checkWorkIsDone(ctx, t)
	l.checkLogAgain(ctx, t)
}

// summary is a line for each protocol.
func (l *load) summary() string {
	counts := l.acknowledged()
	var b strings.Builder
	for _, protocol := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(&b, "%s %d, ", protocol, counts[protocol])
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	repeats := make(map[string]int)
	for _, t := range l.tracks {
		for _, v := range t.views {
			repeats[v.name] += v.repeats
		}
	}
	if n := l.ballasted.Load(); n > 0 {
		fmt.Fprintf(&b, "ballast %d MiB, ", n>>20)
	}
	fmt.Fprintf(&b, "retained %d, offsets committed %d", l.retained.acks, l.group.commits)
	b.WriteString("; came again where that is allowed:")
	for _, name := range slices.Sorted(maps.Keys(repeats)) {
		if repeats[name] > 0 {
			fmt.Fprintf(&b, " %s %d,", name, repeats[name])
		}
	}
	return strings.TrimSuffix(b.String(), ",")
}
