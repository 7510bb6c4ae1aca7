package group

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/robustmq/rmq/broker/storage"
)

// fakeLog is a log whose writes end when the test says so, well or badly. What
// has not ended is lost by crash. Not faster than it must be.
type fakeLog struct {
	mu      sync.Mutex
	held    bool // writes wait for end
	waiting []storage.Write
	shards  map[storage.ShardID]*fakeShard
	err     error
	stats   storage.LogStats
}

type fakeShard struct {
	hard     storage.HardState
	entries  []storage.Entry
	released uint64
}

func newFakeLog() *fakeLog { return &fakeLog{shards: make(map[storage.ShardID]*fakeShard)} }

func (l *fakeLog) shard(id storage.ShardID) *fakeShard {
	s := l.shards[id]
	if s == nil {
		s = new(fakeShard)
		l.shards[id] = s
	}
	return s
}

func (l *fakeLog) Append(w storage.Write) error {
	l.mu.Lock()
	if l.err != nil {
		defer l.mu.Unlock()
		return l.err
	}
	l.waiting = append(l.waiting, w)
	held := l.held
	l.mu.Unlock()
	if !held {
		l.end(1)
	}
	return nil
}

// end ends the n oldest writes well.
func (l *fakeLog) end(n int) {
	for range n {
		l.mu.Lock()
		if len(l.waiting) == 0 {
			l.mu.Unlock()
			return
		}
		w := l.waiting[0]
		l.waiting = l.waiting[1:]
		s := l.shard(w.Shard)
		if w.Hard != nil {
			s.hard = *w.Hard
		}
		if len(w.Entries) > 0 {
			first := w.Entries[0].Index
			for len(s.entries) > 0 && s.entries[len(s.entries)-1].Index >= first {
				s.entries = s.entries[:len(s.entries)-1]
			}
			if n := len(s.entries); n > 0 && s.entries[n-1].Index+1 != first {
				if w.Entries[0].Kind != storage.KindInstalled {
					panic(fmt.Sprintf("shard %d: entry %d after %d", w.Shard, first, s.entries[n-1].Index))
				}
				s.entries = nil
			}
			s.entries = slices.Clip(s.entries)
			for _, e := range w.Entries {
				e.Data = slices.Clone(e.Data)
				s.entries = append(s.entries, e)
			}
			l.stats.Groups++
		}
		l.mu.Unlock()
		w.Done(nil)
	}
}

// fail ends every waiting write badly, and the log.
func (l *fakeLog) fail(err error) {
	l.mu.Lock()
	l.err = err
	waiting := l.waiting
	l.waiting = nil
	l.mu.Unlock()
	for _, w := range waiting {
		w.Done(err)
	}
}

// crash loses what has not ended.
func (l *fakeLog) crash() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = nil
}

func (l *fakeLog) unended() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting)
}

func (l *fakeLog) Load(id storage.ShardID) (storage.Loaded, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.shard(id)
	return storage.Loaded{Hard: s.hard, Entries: slices.Clone(s.entries)}, nil
}

func (l *fakeLog) Release(id storage.ShardID, index uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.shard(id)
	s.released = max(s.released, index)
	for len(s.entries) > 0 && s.entries[0].Index <= index {
		s.entries = s.entries[1:]
	}
}

func (l *fakeLog) Full() bool              { return l.stats.Full }
func (l *fakeLog) Err() error              { return l.err }
func (l *fakeLog) Stats() storage.LogStats { return l.stats }
func (l *fakeLog) Close() error            { return nil }

// recorder is a machine that remembers what it was told.
type recorder struct {
	mu      sync.Mutex
	entries []storage.Entry
	leads   []string
	stopped error
	changed chan struct{} // capacity 1
}

func newRecorder() *recorder { return &recorder{changed: make(chan struct{}, 1)} }

func (r *recorder) Apply(entries []storage.Entry) {
	r.mu.Lock()
	r.entries = append(r.entries, entries...)
	r.mu.Unlock()
	r.signal()
}

func (r *recorder) Lead(term uint64, leading bool) {
	r.mu.Lock()
	r.leads = append(r.leads, fmt.Sprintf("%d %v after %d", term, leading, len(r.entries)))
	r.mu.Unlock()
	r.signal()
}

func (r *recorder) Members(index, _ uint64, m storage.Members) {
	r.mu.Lock()
	r.leads = append(r.leads, fmt.Sprintf("%d has %v after %d", index, m, len(r.entries)))
	r.mu.Unlock()
	r.signal()
}

func (r *recorder) Follow(uint64) {}

func (r *recorder) Behind(uint64, uint64, uint64) bool { return false }

func (r *recorder) Stopped(err error) {
	r.mu.Lock()
	r.stopped = err
	r.mu.Unlock()
	r.signal()
}

func (r *recorder) signal() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// until waits for a condition that the machine's calls bring about.
func (r *recorder) until(f func() bool) {
	for !f() {
		<-r.changed
	}
}

func (r *recorder) data() (all []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.entries {
		all = append(all, string(e.Data))
	}
	return all
}

func (r *recorder) told() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.leads)
}

// three are the members of most tests.
var three = storage.Members{Voters: []uint64{1, 2, 3}}

// settle steps a host until it wants nothing more.
func settle(h *Host) {
	for h.Step() {
	}
}

func mustOpen(t testing.TB, h *Host, cfg Config) *Group {
	t.Helper()
	g, err := h.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return g
}
