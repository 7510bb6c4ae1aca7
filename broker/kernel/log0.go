package kernel

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel/meta"
	"github.com/robustmq/rmq/broker/storage"
)

// log0 runs the machine of one metadata log: log 0 itself, or, over an immediate group,
// what dies with the broker (transient queues, exchanges and bindings).
//
// An entry is: origin and number (u64 each, little-endian), then one meta.Command as JSON. The
// origin is who proposes, in one life; the numbers of its commands follow each other from 1.
// They find the caller that waits, and keep a command that had to be proposed again from being
// done again.
//
// Ownership: mu guards everything from sent on. applying is held while one entry changes state,
// view and topology; before topology.mu.
type log0 struct {
	k      *Kernel
	group  Group
	origin uint64

	applying  sync.Mutex
	state     *meta.State // owned by the applying goroutine
	view      atomic.Pointer[meta.State]
	index     uint64
	term      uint64
	members   storage.Members // of its group, as of index
	sinceSave int
	full      bool         // the next checkpoint is a full one: an earlier one found no space
	broken    bool         // an entry could not be applied, or a checkpoint not written
	unsaved   atomic.Int64 // as shardRun has them
	savedAt   atomic.Uint64
	saveAsked atomic.Bool
	saving    bool       // a checkpoint is being written
	saved     chan error // how that ended; capacity 1
	saves     saves      // who waits for one
	leading   atomic.Bool
	again     again
	asks      asks

	mu        sync.Mutex
	waiting   []*change // not applied, in the order of their numbers; bounded by the callers' goroutines
	sent      int       // of waiting, how many were proposed
	next      uint64    // number of the next one
	proposing bool
	stopped   error
}

// change is a command on its way, and who waits for it.
type change struct {
	seq  uint64
	data []byte
	done chan meta.Result // capacity 1
}

// commandMax bounds one command in JSON.
const commandMax = 1 << 20

func newLog0(k *Kernel, state *meta.State, origin uint64) *log0 {
	l := &log0{k: k, state: state, origin: origin, next: 1, saved: make(chan error, 1)}
	l.view.Store(state.Fork())
	return l
}

// do proposes a command and waits for its result; the routes that follow from it are in
// place when it returns.
func (l *log0) do(ctx context.Context, c *meta.Command) (meta.Result, error) {
	c.Time = l.k.nowMs()
	body, err := json.Marshal(c)
	if err != nil {
		return meta.Result{}, fault.New(fault.Internal, "encode", "log 0", "%w", err)
	}
	if len(body) > commandMax {
		return meta.Result{}, fault.New(fault.TooLarge, "change", "log 0", "command of %d bytes", len(body))
	}
	ch := &change{done: make(chan meta.Result, 1)}
	l.mu.Lock()
	if l.stopped != nil {
		l.mu.Unlock()
		return meta.Result{}, l.stopped
	}
	ch.seq = l.next
	l.next++
	ch.data = meta.AppendEntry(nil, l.origin, ch.seq, body)
	l.waiting = append(l.waiting, ch)
	l.pumpLocked()
	l.mu.Unlock()
	select {
	case r := <-ch.done:
		if r.Err == nil && !c.Op.OfNodes() && l == l.k.meta {
			l.k.everywhere(ctx, 0, &l.asks)
		}
		return r, r.Err
	case <-ctx.Done(): // it may be applied all the same
		l.withdraw(ch)
		return meta.Result{}, fault.New(fault.Timeout, "wait for commit", "log 0", "%w", ctx.Err())
	}
}

// withdraw has a command proposed no more that nobody waits for: when this node has been cut off, whoever
// asked may have gone on elsewhere, and what he asked for first would undo what he asked for since. In its
// place, as those behind it need one before them, goes one that does nothing.
func (l *log0) withdraw(ch *change) {
	body, err := json.Marshal(&meta.Command{Op: meta.Pass, Time: l.k.nowMs()})
	if err != nil {
		panic(err) // it is made here
	}
	data := meta.AppendEntry(nil, l.origin, ch.seq, body)
	l.mu.Lock()
	ch.data = data
	l.mu.Unlock()
}

// pumpLocked proposes what was not, in order. Caller holds l.mu, which is let go of around
// each proposal.
func (l *log0) pumpLocked() {
	if l.proposing {
		return
	}
	l.proposing = true
	for l.stopped == nil && l.sent < len(l.waiting) {
		ch := l.waiting[l.sent]
		l.sent++
		l.mu.Unlock()
		err := l.group.Propose(ch.data)
		l.mu.Lock()
		if err != nil && l.stopped == nil {
			l.stopLocked(err)
		}
	}
	l.proposing = false
	if l.k.Clustered() && l.sent > 0 {
		l.again.arm(l.k, l.waiting[0].seq, l.retry)
	}
}

// retry proposes anew what was on its way all the time that a timer has run.
func (l *log0) retry() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if oldest := l.again.stop(); len(l.waiting) > 0 && l.waiting[0].seq == oldest {
		l.sent = 0
	}
	l.pumpLocked()
}

// proposeAgain proposes anew, in order, what is not applied: it may be lost.
func (l *log0) proposeAgain() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent = 0
	l.pumpLocked()
}

// answer tells who waits for a command of this life what it came to.
func (l *log0) answer(origin, seq uint64, r meta.Result) {
	if origin != l.origin {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 || l.waiting[0].seq != seq {
		return
	}
	l.waiting[0].done <- r
	l.waiting[0] = nil
	l.waiting = l.waiting[1:]
	l.sent = max(l.sent-1, 0)
}

// Apply implements Machine.
func (l *log0) Apply(entries []storage.Entry) {
	if l.broken {
		return
	}
	for i := range entries {
		e := &entries[i]
		l.sinceSave += len(e.Data)
		l.unsaved.Add(int64(len(e.Data)))
		origin, seq, c, err := meta.ParseEntry(e.Data)
		if err != nil {
			err = fault.New(fault.Internal, "apply", "log 0", "entry %d is malformed", e.Index)
			l.broken = true
			l.k.fail(err)
			l.stop(err)
			return
		}
		l.applying.Lock()
		l.index, l.term = e.Index, e.Term
		if !l.state.First(origin, seq) {
			l.applying.Unlock()
			continue // it was proposed again, or will be
		}
		r := l.state.Apply(&c)
		l.view.Store(l.state.Fork())
		l.k.access.changed(c.Op)
		l.k.topologyChanged(&c, &r)
		l.applying.Unlock()
		switch c.Op {
		case meta.PutItems, meta.DeleteItems:
			l.k.itemsChanged()
		}
		if l.k.Clustered() {
			l.asks.reached(l.k, l.index)
		}
		l.answer(origin, seq, r)
	}
	l.maybeSave()
	l.k.changes.tell()
}

// Members implements Machine.
func (l *log0) Members(index, term uint64, m storage.Members) {
	if l.broken {
		return
	}
	l.applying.Lock()
	l.index, l.term, l.members = index, term, m
	l.applying.Unlock()
	l.k.membersChanged()
}

// Lead implements Machine.
func (l *log0) Lead(_ uint64, leading bool) {
	l.leading.Store(leading)
	if leading {
		l.proposeAgain()
		l.k.moveOn()
	}
	l.k.changes.tell()
}

// Follow implements Machine.
func (l *log0) Follow(leader uint64) {
	if leader != 0 {
		l.proposeAgain()
	}
	l.k.changes.tell()
}

// Stopped implements Machine.
func (l *log0) Stopped(err error) {
	l.leading.Store(false)
	l.k.stopped("log 0", err)
	l.stop(fault.New(fault.Unavailable, "commit", "log 0", "its log has stopped: %w", err))
}

func (l *log0) stop(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopLocked(err)
}

func (l *log0) stopLocked(err error) {
	if l.stopped != nil {
		return
	}
	l.stopped = err
	l.saves.stop(err)
	for _, ch := range l.waiting {
		ch.done <- meta.Result{Err: err}
	}
	l.waiting, l.sent = nil, 0
	l.again.stop()
}

// maybeSave begins a checkpoint of log 0 when enough was applied, or one is asked for. It
// is written beside applying: though it is small, it may have to wait for that of a shard.
func (l *log0) maybeSave() {
	if l.saving {
		select {
		case err := <-l.saved:
			l.saving = false
			l.full = storage.NoSpace(err)
			l.broken = err != nil && !l.full // the next checkpoint would lack what this one was to change
		default:
		}
	}
	if l.saving || l.broken || l.k.engine == nil || l != l.k.meta ||
		l.sinceSave < l.k.cfg.CheckpointBytes/8 && !l.saveAsked.Load() {
		return
	}
	asked := l.saveAsked.Swap(false)
	keys := l.state.Changes()
	if l.full {
		keys = nil // all
	} else if len(keys) == 0 && !asked { // asked: the log waits to let go of older entries
		return
	}
	at := storage.CheckpointMeta{Index: l.index, Term: l.term, Members: l.members}
	state, full, bytes := l.view.Load(), l.full, l.unsaved.Load()
	l.sinceSave = 0
	l.saves.begin()
	l.saving = l.k.spawn(func() {
		err := l.save(at, state, full, keys)
		if err == nil {
			l.unsaved.Add(-bytes)
			l.savedAt.Store(l.k.engine.Log().Stats().Bytes)
		}
		l.saved <- err
		l.saveAsked.Store(false) // who asked meanwhile asks again, if it is still wanted
		l.saves.end(err)
	})
}

// checkpoint has a checkpoint written of what is applied by now, and waits until it is.
func (l *log0) checkpoint(ctx context.Context) error {
	for wanted := l.saves.next(); ; {
		l.saveAsked.Store(true)
		if err := l.barrier(ctx); err != nil {
			return err
		}
		begun := l.saves.next() - 1
		if err := l.saves.wait(ctx, begun); err != nil || begun >= wanted {
			return err
		}
	}
}

func (l *log0) save(at storage.CheckpointMeta, state *meta.State, full bool, keys []string) error {
	err := l.k.engine.Checkpoints().Save(0, at, full, state.Encode(keys))
	switch {
	case err == nil:
		l.group.Checkpointed(at.Index, at.Term)
	case !storage.NoSpace(err): // else it is asked for again
		err = fault.New(fault.Internal, "checkpoint", "log 0", "%w", err)
		l.k.fail(err)
		l.stop(err)
	}
	return err
}
