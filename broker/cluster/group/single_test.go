package group

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/storage"
)

// TestSingleLeads: the group of one voter leads as soon as its log has taken the
// vote and the first entry, and sets no timer.
func TestSingleLeads(t *testing.T) {
	h := NewHost(Options{Self: 1})
	m := newRecorder()
	g := mustOpen(t, h, Config{Shard: 3, Log: newFakeLog(), Machine: m})
	if err := g.Propose([]byte("early")); !fault.Is(err, fault.Unavailable) {
		t.Errorf("proposed before leading: %v", err)
	}
	settle(h)
	if !g.Leading() || !g.Status().Leading || g.Status().Leader != 1 {
		t.Fatalf("does not lead: %+v", g.Status())
	}
	if h.workers[0].timer != nil {
		t.Error("a group of one voter has set a timer")
	}
	for i := range 3 {
		if err := g.Propose(fmt.Appendf(nil, "e%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	settle(h)
	if got, want := m.data(), []string{"e0", "e1", "e2"}; !slices.Equal(got, want) {
		t.Errorf("applied %v, want %v", got, want)
	}
	s := g.Status()
	if s.InFlight != 0 || s.InFlightBytes != 0 || s.LogBytes != 0 {
		t.Errorf("all is applied, and there is left %+v", s)
	}
	if s.Applied != 4 || s.Commit != 4 {
		t.Errorf("applied %d, committed %d, want 4: a first entry and three", s.Applied, s.Commit)
	}
	if err := h.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got, want := m.told(), []string{"1 true after 0", "1 false after 3"}; !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
	if err := g.Propose([]byte("late")); !fault.Is(err, fault.Unavailable) {
		t.Errorf("proposed after Close: %v", err)
	}
}

// TestSingleWaitsForItsLog: nothing is applied, and no leadership claimed, before
// the log has ended the write in question. (etcd once acknowledged a lone
// member's writes before its log had them: its issue 14370.)
func TestSingleWaitsForItsLog(t *testing.T) {
	h := NewHost(Options{Self: 1})
	log, m := newFakeLog(), newRecorder()
	log.held = true
	g := mustOpen(t, h, Config{Log: log, Machine: m, Sync: true})

	settle(h)
	if g.Leading() || log.unended() != 1 {
		t.Fatalf("vote not written: leading %v, %d writes wait", g.Leading(), log.unended())
	}
	log.end(1)
	settle(h)
	if g.Leading() || log.unended() != 1 {
		t.Fatalf("first entry not written: leading %v, %d writes wait", g.Leading(), log.unended())
	}
	log.end(1)
	settle(h)
	if !g.Leading() {
		t.Fatal("does not lead")
	}

	// Three writes under way at once; each is applied when it has ended, no sooner.
	for i := range 3 {
		if err := g.Propose(fmt.Appendf(nil, "e%d", i)); err != nil {
			t.Fatal(err)
		}
		settle(h)
	}
	if log.unended() != 3 {
		t.Fatalf("%d writes under way, want 3", log.unended())
	}
	for i := range 3 {
		if n := len(m.data()); n != i {
			t.Fatalf("%d applied with %d writes ended", n, i)
		}
		log.end(1)
		settle(h)
	}
	if n := len(m.data()); n != 3 {
		t.Fatalf("%d applied, want 3", n)
	}
	for _, w := range log.waiting {
		if w.Sync == false {
			t.Error("a write that does not ask to be synced")
		}
	}
}

// TestLogFails: the error of a write, or of Append, ends the group at once and for
// good; other shards of the node go on.
func TestLogFails(t *testing.T) {
	broken := errors.New("no such luck")
	for _, name := range []string{"Done", "Append"} {
		t.Run(name, func(t *testing.T) {
			h := NewHost(Options{Self: 1})
			log, m := newFakeLog(), newRecorder()
			g := mustOpen(t, h, Config{Shard: 1, Log: log, Machine: m, Sync: true})
			other := mustOpen(t, h, Config{Shard: 2, Log: newFakeLog(), Machine: newRecorder()})
			settle(h)
			log.held = true
			if name == "Done" {
				if err := g.Propose([]byte("lost")); err != nil {
					t.Fatal(err)
				}
				settle(h)
				log.fail(broken)
			} else {
				log.fail(broken)
				if err := g.Propose([]byte("lost")); err != nil {
					t.Fatal(err)
				}
			}
			settle(h)
			if s := g.Status(); s.Err == nil || !errors.Is(s.Err, broken) || s.Leading || s.InFlight != 0 || g.Leading() {
				t.Errorf("status %+v", s)
			}
			if err := g.Propose([]byte("more")); !fault.Is(err, fault.Unavailable) || !errors.Is(err, broken) {
				t.Errorf("proposed to a stopped group: %v", err)
			}
			if len(m.data()) != 0 {
				t.Errorf("applied %q", m.data())
			}
			if got, want := m.told(), []string{"1 true after 0", "1 false after 0"}; !slices.Equal(got, want) {
				t.Errorf("told %q, want %q", got, want)
			}
			if !other.Leading() || other.Propose([]byte("x")) != nil {
				t.Error("another shard has stopped too")
			}
		})
	}
}

// TestRestart: entries after the checkpoint are applied again, those before are
// not; what was proposed and not written is gone.
func TestRestart(t *testing.T) {
	log := newFakeLog()
	h := NewHost(Options{Self: 1})
	m := newRecorder()
	g := mustOpen(t, h, Config{Log: log, Machine: m, Sync: true})
	settle(h)
	for i := range 10 {
		if err := g.Propose(fmt.Appendf(nil, "e%d", i)); err != nil {
			t.Fatal(err)
		}
		settle(h)
	}
	at := m.entries[5]
	g.Checkpointed(at.Index, at.Term)
	log.held = true
	if err := g.Propose([]byte("unwritten")); err != nil {
		t.Fatal(err)
	}
	settle(h)
	if log.shard(0).released != at.Index {
		t.Errorf("released %d, want %d", log.shard(0).released, at.Index)
	}
	log.crash()
	log.held = false

	h = NewHost(Options{Self: 1})
	m = newRecorder()
	g = mustOpen(t, h, Config{Log: log, Machine: m, Sync: true, Applied: at.Index, AppliedTerm: at.Term})
	settle(h)
	if err := g.Propose([]byte("new")); err != nil {
		t.Fatal(err)
	}
	settle(h)
	if got, want := m.data(), []string{"e6", "e7", "e8", "e9", "new"}; !slices.Equal(got, want) {
		t.Errorf("applied %q, want %q", got, want)
	}
	if got, want := m.told(), []string{"2 true after 4"}; !slices.Equal(got, want) {
		t.Errorf("told %q, want %q: leading is told after all of earlier terms", got, want)
	}

	// And once more with everything checkpointed.
	last := m.entries[len(m.entries)-1]
	g.Checkpointed(last.Index, last.Term)
	settle(h)
	h = NewHost(Options{Self: 1})
	m = newRecorder()
	g = mustOpen(t, h, Config{Log: log, Machine: m, Sync: true, Applied: last.Index, AppliedTerm: last.Term})
	settle(h)
	if !g.Leading() || len(m.data()) != 0 || g.Status().Term != 3 {
		t.Errorf("status %+v, applied %q", g.Status(), m.data())
	}
}

// TestRecoverLog: what is believed of a log at opening.
func TestRecoverLog(t *testing.T) {
	ents := func(first, last, term uint64) (all []storage.Entry) {
		for i := first; i <= last; i++ {
			all = append(all, storage.Entry{Index: i, Term: term, Data: []byte("x")})
		}
		return all
	}
	hard := func(term, commit uint64) storage.HardState {
		return storage.HardState{Term: term, Vote: 1, Commit: commit}
	}
	tests := []struct {
		name         string
		cfg          Config
		voters       int
		hard         storage.HardState
		ents         []storage.Entry
		once         uint64
		base, last   uint64
		commit, term uint64
		corrupt      bool
	}{
		{name: "nothing", voters: 1},
		{name: "all of it", voters: 1, hard: hard(1, 3), ents: ents(1, 5, 1), last: 5, commit: 3, term: 1},
		{name: "commit index behind the checkpoint", cfg: Config{Applied: 4, AppliedTerm: 1}, voters: 1,
			hard: hard(1, 2), ents: ents(1, 5, 1), base: 4, last: 5, commit: 4, term: 1},
		{name: "three voters keep what is behind the checkpoint", cfg: Config{Applied: 4, AppliedTerm: 1}, voters: 3,
			hard: hard(1, 4), ents: ents(1, 5, 1), base: 0, last: 5, commit: 4, term: 1},
		{name: "and give up one entry for its term", cfg: Config{Applied: 4, AppliedTerm: 1}, voters: 3,
			hard: hard(1, 4), ents: ents(3, 5, 1), base: 3, last: 5, commit: 4, term: 1},
		{name: "released up to the checkpoint", cfg: Config{Applied: 4, AppliedTerm: 1}, voters: 3,
			hard: hard(2, 5), ents: ents(5, 9, 2), base: 4, last: 9, commit: 5, term: 2},
		{name: "a gap", cfg: Config{Applied: 4, AppliedTerm: 1}, voters: 1, hard: hard(1, 4), ents: ents(6, 9, 1), corrupt: true},
		{name: "a gap within", voters: 1, hard: hard(1, 4), ents: append(ents(1, 2, 1), ents(4, 5, 1)...), corrupt: true},
		{name: "terms that fall", voters: 1, hard: hard(1, 4), ents: append(ents(1, 2, 2), ents(3, 5, 1)...), corrupt: true},
		{name: "another history than the checkpoint's", cfg: Config{Applied: 4, AppliedTerm: 2}, voters: 1,
			hard: hard(3, 4), ents: ents(1, 5, 1), corrupt: true},
		{name: "committed entries are gone", cfg: Config{Sync: true}, voters: 1, hard: hard(1, 6), ents: ents(1, 5, 1), corrupt: true},
		{name: "as it may be without sync", voters: 1, hard: hard(1, 6), ents: ents(1, 5, 1), last: 5, commit: 5, term: 1},
		{name: "but not with other voters", voters: 3, hard: hard(1, 6), ents: ents(1, 5, 1), corrupt: true},
		{name: "the checkpoint is ahead of an unsynced log", cfg: Config{Applied: 8, AppliedTerm: 2}, voters: 1,
			hard: hard(2, 4), ents: ents(1, 5, 1), base: 8, last: 8, commit: 8, term: 2},
		{name: "checkpoint alone", cfg: Config{Applied: 8, AppliedTerm: 2, Sync: true}, voters: 1, base: 8, last: 8, commit: 8, term: 2},
		{name: "a file was removed that the checkpoint makes dispensable", cfg: Config{Applied: 8, AppliedTerm: 2}, voters: 1, once: 8,
			base: 8, last: 8, commit: 8, term: 2},
		{name: "a file was removed", cfg: Config{Applied: 7, AppliedTerm: 2}, voters: 1, hard: hard(2, 7), once: 8, corrupt: true},
		{name: "the hard state is gone", voters: 1, ents: ents(1, 5, 7), last: 5, term: 7},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, hs, err := recoverLog(tt.cfg, storage.Loaded{Hard: tt.hard, Entries: tt.ents, Once: tt.once}, tt.voters == 1)
			if tt.corrupt {
				if !errors.Is(err, storage.ErrCorrupt) {
					t.Fatalf("error %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if l.base != tt.base || l.last() != tt.last || hs.Commit != tt.commit || hs.Term != tt.term {
				t.Errorf("base %d, last %d, commit %d, term %d", l.base, l.last(), hs.Commit, hs.Term)
			}
			if (l.base > 0) != (l.baseTerm > 0) {
				t.Errorf("term of entry %d is %d", l.base, l.baseTerm)
			}
		})
	}
}

// TestBounds: what is in flight is bounded by class, and given back when applied.
func TestBounds(t *testing.T) {
	h := NewHost(Options{Self: 1})
	log := newFakeLog()
	g := mustOpen(t, h, Config{Log: log, Machine: newRecorder(), EntriesMax: 4, BytesMax: 100})
	settle(h)
	log.held = true
	propose := func(n int, f func([]byte) error, want ...fault.Kind) {
		t.Helper()
		err := f(make([]byte, n))
		if len(want) == 0 && err != nil || len(want) > 0 && !fault.Is(err, want[0]) {
			t.Errorf("proposed %d bytes: %v", n, err)
		}
	}
	propose(0, g.Propose, fault.Invalid)
	propose(EntryMax+1, g.Propose, fault.TooLarge)
	propose(60, g.Propose)
	propose(60, g.Propose, fault.Exhausted) // bytes
	propose(60, g.ProposeControl)           // a budget of its own
	propose(10, g.Propose)
	propose(10, g.Propose)
	propose(10, g.Propose)
	propose(10, g.Propose, fault.Exhausted) // entries
	propose(20, g.ProposeControl)
	if s := g.Status(); s.InFlight != 6 || s.InFlightBytes != 170 {
		t.Errorf("in flight %d, %d bytes", s.InFlight, s.InFlightBytes)
	}
	settle(h)
	log.end(100)
	settle(h)
	if s := g.Status(); s.InFlight != 0 || s.InFlightBytes != 0 {
		t.Errorf("in flight %d, %d bytes", s.InFlight, s.InFlightBytes)
	}
	propose(150, g.Propose) // one is always let through: it could never be proposed otherwise
}

// TestWorkers: the same with goroutines, many proposers and many shards.
func TestWorkers(t *testing.T) {
	h := NewHost(Options{Self: 1, Workers: 2})
	log := newFakeLog()
	const shards, each = 8, 200
	machines := make([]*recorder, shards)
	for i := range shards {
		m := newRecorder()
		machines[i] = m
		g := mustOpen(t, h, Config{Shard: storage.ShardID(i), Log: log, Machine: m})
		go func() { // ends when all is proposed, which the loop below waits for
			if err := g.Await(t.Context()); err != nil {
				t.Error(err)
			}
			for n := range each {
				for g.Propose(fmt.Appendf(nil, "%d", n)) != nil {
					<-m.changed
				}
			}
		}()
	}
	for _, m := range machines {
		for len(m.data()) < each {
			<-m.changed
			m.signal() // for the proposer too
		}
		for n, d := range m.data() {
			if d != fmt.Sprint(n) {
				t.Fatalf("entry %d is %q", n, d)
			}
		}
	}
	g := h.Group(0)
	if err := h.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := g.Await(t.Context()); !fault.Is(err, fault.Unavailable) {
		t.Errorf("waited for a closed group: %v", err)
	}
}

// TestBind: a machine can have its group before it is told anything.
func TestBind(t *testing.T) {
	log := newFakeLog()
	for range 2 {
		h := NewHost(Options{Self: 1, Workers: 1})
		m := newRecorder()
		var bound *Group
		g := mustOpen(t, h, Config{Log: log, Machine: m, Bind: func(g *Group) {
			if m.told() != nil || m.data() != nil {
				t.Error("told before Bind")
			}
			bound = g
		}})
		if bound != g {
			t.Error("bound to another group")
		}
		if err := g.Await(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := g.Propose([]byte("x")); err != nil {
			t.Fatal(err)
		}
		m.until(func() bool { return len(m.data()) > 0 })
		if err := h.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
