package kernel

import (
	"context"
	"encoding/binary"
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
// An entry is: token (u64, little-endian), then one meta.Command as JSON. The token
// finds the caller that waits, if it is still this process.
type log0 struct {
	k     *Kernel
	group Group

	state     *meta.State // owned by the applying goroutine
	view      atomic.Pointer[meta.State]
	index     uint64
	term      uint64
	sinceSave int
	full      bool         // the next checkpoint is a full one: an earlier one found no space
	broken    bool         // an entry could not be applied, or a checkpoint not written
	unsaved   atomic.Int64 // as shardRun has them
	savedAt   atomic.Uint64
	saveAsked atomic.Bool
	saving    bool       // a checkpoint is being written
	saved     chan error // how that ended; capacity 1

	mu      sync.Mutex
	next    uint64
	waiting map[uint64]chan meta.Result // bounded by the callers' goroutines
	stopped error
}

// commandMax bounds one command in JSON.
const commandMax = 1 << 20

func newLog0(k *Kernel, state *meta.State, tokenBase uint64) *log0 {
	l := &log0{k: k, state: state, next: tokenBase, waiting: make(map[uint64]chan meta.Result), saved: make(chan error, 1)}
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
	ch := make(chan meta.Result, 1)
	l.mu.Lock()
	if l.stopped != nil {
		l.mu.Unlock()
		return meta.Result{}, l.stopped
	}
	l.next++
	token := l.next
	l.waiting[token] = ch
	l.mu.Unlock()
	if err := l.group.Propose(append(binary.LittleEndian.AppendUint64(nil, token), body...)); err != nil {
		l.mu.Lock()
		delete(l.waiting, token)
		l.mu.Unlock()
		return meta.Result{}, err
	}
	select {
	case r := <-ch:
		return r, r.Err
	case <-ctx.Done():
		l.mu.Lock()
		delete(l.waiting, token)
		l.mu.Unlock()
		return meta.Result{}, fault.New(fault.Timeout, "wait for commit", "log 0", "%w", ctx.Err())
	}
}

// Apply implements Machine.
func (l *log0) Apply(entries []storage.Entry) {
	if l.broken {
		return
	}
	for i := range entries {
		e := &entries[i]
		l.index, l.term = e.Index, e.Term
		l.sinceSave += len(e.Data)
		l.unsaved.Add(int64(len(e.Data)))
		var c meta.Command
		if len(e.Data) < 8 || json.Unmarshal(e.Data[8:], &c) != nil {
			err := fault.New(fault.Internal, "apply", "log 0", "entry %d is malformed", e.Index)
			l.broken = true
			l.k.fail(err)
			l.stop(err)
			return
		}
		r := l.state.Apply(&c)
		l.view.Store(l.state.Fork())
		l.k.topologyChanged(&c, &r)
		token := binary.LittleEndian.Uint64(e.Data)
		l.mu.Lock()
		ch := l.waiting[token]
		delete(l.waiting, token)
		l.mu.Unlock()
		if ch != nil {
			ch <- r
		}
	}
	l.maybeSave()
	l.k.changes.tell()
}

// Lead implements Machine.
func (l *log0) Lead(term uint64, leading bool) {
	l.k.led(nil, term, leading)
	if !leading {
		l.stop(fault.New(fault.Unavailable, "commit", "log 0", "its log has stopped"))
	}
}

func (l *log0) stop(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped != nil {
		return
	}
	l.stopped = err
	for token, ch := range l.waiting {
		ch <- meta.Result{Err: err}
		delete(l.waiting, token)
	}
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
	if l.saving || l.broken || l.k.engine == nil || l == l.k.transient ||
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
	at := storage.CheckpointMeta{Index: l.index, Term: l.term, Voters: l.k.cfg.Voters}
	state, full, bytes := l.view.Load(), l.full, l.unsaved.Load()
	l.sinceSave = 0
	l.saving = l.k.spawn(func() {
		err := l.save(at, state, full, keys)
		if err == nil {
			l.unsaved.Add(-bytes)
			l.savedAt.Store(l.k.engine.Log().Stats().Bytes)
		}
		l.saved <- err
		l.saveAsked.Store(false) // who asked meanwhile asks again, if it is still wanted
	})
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
