package group

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/storage"
)

// Transport carries frames to other nodes. What arrives is to be given to that
// node's Host.Receive, with the sender's identity as the transport knows it.
type Transport interface {
	// Send may lose, repeat and reorder frames, but not change them. It must not
	// block. The frame is the transport's from then on.
	Send(to uint64, frame []byte)
}

// Options make a Host.
type Options struct {
	Self uint64 // this node; never 0
	// Workers drive the groups. 0: the caller does, by Step.
	Workers int
	Clock   clock.Clock // link time
	Seed    uint64      // of election times
	// Transport leads to the other nodes; nil when every group has one member.
	Transport Transport
	// Urgent leads there too, past what waits in Transport: heartbeats, votes and answers are
	// sent over it. nil: Transport.
	Urgent Transport
	// Heartbeat and Election are the leader's period and the election timeout; 0:
	// 100 ms and 1 s.
	Heartbeat, Election time.Duration
	Logger              *slog.Logger // nil: silent
}

// Host is one node's share of all groups. Safe for concurrent use.
//
// Ownership: mu guards groups and closed. Each worker is alone with its groups.
// Lock order: Host.mu → Group.mu; worker.mu is innermost.
type Host struct {
	self                uint64
	seed                uint64
	clock               clock.Clock
	epoch               time.Time
	heartbeat, election instant
	transport, urgent   Transport // urgent: nil when it is the same
	logger              *slog.Logger
	workers             []*worker
	stepped             bool // by the caller: there are no goroutines
	running             sync.WaitGroup

	mu     sync.RWMutex
	groups map[storage.ShardID]*Group
	closed bool
}

// NewHost returns a host without groups, its workers running. Close ends them.
func NewHost(o Options) *Host {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = clock.Wall{}
	}
	h := &Host{
		self: o.Self, seed: o.Seed, clock: o.Clock, epoch: o.Clock.Now(),
		heartbeat: instant(cmp.Or(o.Heartbeat, heartbeatDefault)),
		election:  instant(cmp.Or(o.Election, electionDefault)),
		transport: o.Transport, urgent: o.Urgent, logger: o.Logger,
		stepped: o.Workers == 0,
		groups:  make(map[storage.ShardID]*Group),
	}
	for range max(1, o.Workers) {
		w := &worker{host: h, wake: make(chan struct{}, 1), stop: make(chan struct{}), armed: noDeadline}
		h.workers = append(h.workers, w)
		if !h.stepped {
			h.running.Go(w.run)
		}
	}
	return h
}

// now is link time since the host was made.
func (h *Host) now() instant { return instant(h.clock.Now().Sub(h.epoch)) }

// Step does what waits to be done and tells whether there was anything. Only for
// a host without workers; one caller at a time.
func (h *Host) Step() bool {
	if !h.stepped {
		panic("group: Step on a host that has workers")
	}
	return h.workers[0].step()
}

// add takes a new group in, and lets it run once bind has returned.
func (h *Host) add(g *Group, bind func(*Group)) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return &fault.Error{Kind: fault.Unavailable, Op: "open", Target: g.name(), Err: errClosed}
	}
	if h.groups[g.shard] != nil {
		return fault.Of(fault.Exists, "open", g.name())
	}
	h.groups[g.shard] = g
	g.worker = h.workers[int(g.shard)%len(h.workers)]
	g.scheduled = true
	if bind != nil {
		bind(g)
	}
	g.worker.push(g)
	return nil
}

// Group returns the open group of a shard, or nil.
func (h *Host) Group(shard storage.ShardID) *Group {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.groups[shard]
}

// Statuses tells how each open group stands.
func (h *Host) Statuses() map[storage.ShardID]Status {
	h.mu.RLock()
	defer h.mu.RUnlock()
	out := make(map[storage.ShardID]Status, len(h.groups))
	for id, g := range h.groups {
		out[id] = g.Status()
	}
	return out
}

// Close ends all groups: machines that lead are told that they do not, and no
// method of a machine is called after Close has returned nil. The logs are the
// caller's to close, afterwards.
func (h *Host) Close(ctx context.Context) error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil
	}
	h.closed = true
	groups := make([]*Group, 0, len(h.groups))
	for _, g := range h.groups {
		groups = append(groups, g)
	}
	h.mu.Unlock()

	slices.SortFunc(groups, func(a, b *Group) int { return cmp.Compare(a.shard, b.shard) })
	for _, g := range groups {
		g.Close()
	}
	if h.stepped {
		for h.Step() {
		}
		h.workers[0].disarm()
		return nil
	}
	ended := make(chan struct{})
	for _, w := range h.workers {
		close(w.stop)
	}
	go func() { // ends with the workers
		h.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// worker drives some of a host's groups.
//
// Ownership: mu guards ready and due; the rest is touched by the goroutine of run
// alone (or by the caller of Step).
type worker struct {
	host *Host
	wake chan struct{} // capacity 1: a second wake says nothing new
	stop chan struct{}

	mu    sync.Mutex
	ready []*Group // each at most once
	due   bool     // the timer fired

	running []*Group // the other half of ready's double buffer
	timed   []*Group // those to which time matters, by shard
	timer   clock.Timer
	armed   instant // when the timer fires; noDeadline: it is not set
	frames  []outbound
	batch   []storage.Entry // scratch of Group.apply
}

// run is the worker's goroutine. It ends when stop is closed and all that waits
// is done.
func (w *worker) run() {
	defer w.disarm()
	for {
		select {
		case <-w.wake:
			w.step()
		case <-w.stop:
			for w.step() {
			}
			return
		}
	}
}

// push lists a group as having something in its inbox. Called with no lock held
// but Host.mu.
func (w *worker) push(g *Group) {
	w.mu.Lock()
	w.ready = append(w.ready, g)
	w.mu.Unlock()
	w.rouse()
}

func (w *worker) rouse() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// step steps every group that has something to do, once, and sends what they have
// to say.
func (w *worker) step() bool {
	w.mu.Lock()
	ready, due := w.ready, w.due
	w.ready, w.due = w.running[:0], false
	w.mu.Unlock()
	if len(ready) == 0 && !due {
		w.running = ready
		return false
	}
	for _, g := range ready {
		w.stepGroup(g)
	}
	clear(ready)
	w.running = ready[:0]
	if due {
		w.disarm()
		now := w.host.now()
		for _, g := range slices.Clone(w.timed) { // a group may leave the list
			if g.due() <= now {
				w.stepGroup(g)
			} else {
				w.arm(g.due())
			}
		}
	}
	w.flush()
	return true
}

func (w *worker) stepGroup(g *Group) {
	g.step()
	if timed := !g.alone() && !g.done; timed != g.timed {
		g.timed = timed
		at, _ := slices.BinarySearchFunc(w.timed, g.shard, func(t *Group, s storage.ShardID) int { return cmp.Compare(t.shard, s) })
		if timed {
			w.timed = slices.Insert(w.timed, at, g)
		} else if at < len(w.timed) && w.timed[at] == g {
			w.timed = slices.Delete(w.timed, at, at+1)
		}
	}
	w.arm(g.due())
}

// arm sees to it that the timer fires at an instant or before.
func (w *worker) arm(at instant) {
	if at >= w.armed {
		return
	}
	w.disarm()
	w.armed = at
	w.timer = w.host.clock.AfterFunc(time.Duration(max(0, at-w.host.now())), func() {
		w.mu.Lock()
		w.due = true
		w.mu.Unlock()
		w.rouse()
	})
}

func (w *worker) disarm() {
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
	w.armed = noDeadline
}

// forget takes a group that has ended off the lists.
func (w *worker) forget(g *Group) {
	w.timed = slices.DeleteFunc(w.timed, func(t *Group) bool { return t == g })
	w.host.mu.Lock()
	if w.host.groups[g.shard] == g {
		delete(w.host.groups, g.shard)
	}
	w.host.mu.Unlock()
}
