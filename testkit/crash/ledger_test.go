package crash

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// ledger is what clients were told, and what they saw. Everything that it may never find
// is a fault; the test decides whether there should be one.
//
// mu guards it with all tracks and views: clients write it from many goroutines.
type ledger struct {
	mu     sync.Mutex
	change chan struct{} // closed and replaced at every ack and sight of a message
	tracks map[string]*track
	faults []string // the first faultsMax
	more   int      // faults beyond those

	lost, twice, disorder map[*track]int // of those faults, what is told of messages

	troubles []trouble // the first troublesMax
	vacant   string    // an address of a node where there is none now: of that, no trouble is booked; ""
}

// trouble is what a client's library told its user instead of seeing to it by itself: that a
// connection broke, or an error. addr is of the node, where one node is to blame.
type trouble struct{ who, addr, err string }

const troublesMax = 10_000

func (l *ledger) trouble(who, addr, format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.troubles) < troublesMax && (addr == "" || addr != l.vacant) {
		l.troubles = append(l.troubles, trouble{who, addr, fmt.Sprintf(format, args...)})
	}
}

// vacate says that nobody is at an address from now on; "": somebody is at each.
func (l *ledger) vacate(addr string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.vacant = addr
}

// takeTroubles returns those since it was asked last.
func (l *ledger) takeTroubles() []trouble {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.troubles
	l.troubles = nil
	return all
}

// faultsMax bounds what is kept of a run in which everything is wrong.
const faultsMax = 50

func newLedger() *ledger {
	return &ledger{
		change: make(chan struct{}), tracks: make(map[string]*track),
		lost: make(map[*track]int), twice: make(map[*track]int), disorder: make(map[*track]int),
	}
}

func (l *ledger) fault(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faultLocked(format, args...)
}

func (l *ledger) faultLocked(format string, args ...any) {
	if len(l.faults) == faultsMax {
		l.more++
		return
	}
	l.faults = append(l.faults, fmt.Sprintf(format, args...))
}

// faulty tells whether there are faults.
func (l *ledger) faulty() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.faults) > 0
}

func (l *ledger) changedLocked() {
	close(l.change)
	l.change = make(chan struct{})
}

// report makes the faults errors of t.
func (l *ledger) report(t testing.TB) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.faults {
		t.Error(f)
	}
	if l.more > 0 {
		t.Errorf("and %d faults more", l.more)
	}
}

// track is the numbered messages of one producer, from 0. Within a track they are sent in
// order.
type track struct {
	l     *ledger
	name  string
	sent  int
	acks  int
	acked []bool
	views []*view
	// strays: its client goes on when it sends a message again, not when that was acknowledged, and may
	// send the next one before it. What was never acknowledged has no order then.
	strays bool

	last time.Time // of the newest ack
	gaps []gap     // the first gapsMax
}

// gap is a time without an ack, from one to the next.
type gap struct{ from, to time.Time }

func (g gap) long() time.Duration { return g.to.Sub(g.from) }

const (
	gapLeast = 200 * time.Millisecond // shorter ones are not kept
	gapsMax  = 10_000
)

// track opens a new track.
func (l *ledger) track(format string, args ...any) *track {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := &track{l: l, name: fmt.Sprintf(format, args...)}
	if l.tracks[t.name] != nil {
		panic("two tracks are called " + t.name)
	}
	l.tracks[t.name] = t
	return t
}

// body is the next message: "track/number/" and padding to different lengths, so that
// entries, batches and pages differ.
func (t *track) body() (n int, body string) {
	t.l.mu.Lock()
	defer t.l.mu.Unlock()
	n = t.sent
	t.sent++
	return n, fmt.Sprintf("%s/%d/%0*d", t.name, n, 1+(n*37)%400, 0)
}

// parse finds the track and number of a message. A message that nobody sent is a fault,
// and has no track.
func (l *ledger) parse(where string, body []byte) (t *track, n int) {
	name, rest, _ := strings.Cut(string(body), "/")
	number, _, ok := strings.Cut(rest, "/")
	n, err := strconv.Atoi(number)
	l.mu.Lock()
	defer l.mu.Unlock()
	t = l.tracks[name]
	if !ok || err != nil || t == nil || n < 0 || n >= t.sent {
		l.faultLocked("%s: %.60q was never sent", where, body)
		return nil, 0
	}
	return t, n
}

// ack books that message n is safe.
func (t *track) ack(n int) {
	t.l.mu.Lock()
	defer t.l.mu.Unlock()
	t.acked = grow(t.acked, n)
	if t.acked[n] {
		return
	}
	t.acked[n] = true
	t.acks++
	now := time.Now()
	if g := (gap{t.last, now}); t.acks > 1 && g.long() >= gapLeast && len(t.gaps) < gapsMax {
		t.gaps = append(t.gaps, g)
	}
	t.last = now
	for _, v := range t.views {
		if !v.has(n) {
			v.low = min(v.low, n)
		}
	}
	t.l.changedLocked()
}

func grow[T any](s []T, n int) []T {
	if n < len(s) {
		return s
	}
	return append(s, make([]T, n+1-len(s))...)
}

// view is what one kind of reader sees of a track: everything acknowledged, at some time.
type view struct {
	track *track
	name  string
	once  bool // a message that comes twice is a fault
	order bool // one that comes for the first time after a later one is a fault

	seen    []bool
	last    int // highest number seen
	low     int // what is below and acknowledged has been seen
	repeats int
}

func (t *track) view(name string, once, order bool) *view {
	t.l.mu.Lock()
	defer t.l.mu.Unlock()
	v := &view{track: t, name: name, once: once, order: order, last: -1}
	t.views = append(t.views, v)
	return v
}

func (v *view) has(n int) bool { return n < len(v.seen) && v.seen[n] }

// see books that message n has come.
func (v *view) see(n int) {
	l := v.track.l
	l.mu.Lock()
	defer l.mu.Unlock()
	v.seen = grow(v.seen, n)
	switch {
	case v.seen[n] && v.once:
		l.twice[v.track]++
		l.faultLocked("%s has %s/%d twice", v.name, v.track.name, n)
	case v.seen[n]:
		v.repeats++
	case v.order && n < v.last && !(v.track.strays && (n >= len(v.track.acked) || !v.track.acked[n])):
		l.disorder[v.track]++
		l.faultLocked("%s has %s/%d after %d", v.name, v.track.name, n, v.last)
	}
	v.seen[n] = true
	v.last = max(v.last, n)
	l.changedLocked()
}

// missingLocked are the numbers that were acknowledged and not seen.
func (v *view) missingLocked() (missing []int) {
	for v.low < len(v.track.acked) && (!v.track.acked[v.low] || v.has(v.low)) {
		v.low++
	}
	for n := v.low; n < len(v.track.acked); n++ {
		if v.track.acked[n] && !v.has(n) {
			missing = append(missing, n)
		}
	}
	return missing
}

// due is what has been acknowledged so far and is still to be seen.
type due map[*view][]int

func (l *ledger) due() due {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := make(due)
	for _, t := range l.tracks {
		for _, v := range t.views {
			if missing := v.missingLocked(); len(missing) > 0 {
				d[v] = missing
			}
		}
	}
	return d
}

// await waits until everything due has been seen. What is not, when ctx ends, is lost: a
// fault. It returns how many those are.
func (l *ledger) await(ctx context.Context, d due) (lost int) {
	for {
		l.mu.Lock()
		change := l.change
		for v, missing := range d {
			missing = slices.DeleteFunc(missing, v.has)
			if d[v] = missing; len(missing) == 0 {
				delete(d, v)
			}
		}
		l.mu.Unlock()
		if len(d) == 0 {
			return 0
		}
		select {
		case <-change:
		case <-ctx.Done():
			for v, missing := range d {
				lost += len(missing)
				l.mu.Lock()
				l.lost[v.track] += len(missing)
				l.mu.Unlock()
				l.fault("%s has lost %d of %s that were acknowledged: %v", v.name, len(missing), v.track.name, missing[:min(len(missing), 10)])
			}
			return lost
		}
	}
}

// acknowledged counts by the first word of the track's name.
func (l *ledger) acknowledged() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	counts := make(map[string]int)
	for name, t := range l.tracks {
		protocol, _, _ := strings.Cut(name, "-")
		counts[protocol] += t.acks
	}
	return counts
}

// paceOf is between two messages of one track, unless a test says otherwise.
const paceOf = 4 * time.Millisecond
