package bridge

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/setting"
)

// Config is what Bridges need.
type Config struct {
	Kernel *kernel.Kernel
	Clock  clock.Clock // broker time, for message expiry
	Link   clock.Clock // link time, for keep alive and for when to try again
	Log    *slog.Logger
}

// Bridges runs the bridges that this node is to run.
//
// Ownership:
//   - look's goroutine: runs.
//   - mu: running, as others see it.
type Bridges struct {
	cfg  Config
	k    *kernel.Kernel
	ctx  context.Context // ends with Close
	stop context.CancelFunc
	poke chan struct{} // capacity 1
	tell chan struct{} // capacity 1: a state has changed
	done sync.WaitGroup
	edit chan struct{} // capacity 1: in it while an operator adds or removes a bridge

	runs map[string]*runner // those that have begun and not yet ended, by name

	mu      sync.Mutex
	running map[string]*runner
}

// New returns Bridges that run until Close.
func New(cfg Config) *Bridges {
	b := &Bridges{
		cfg: cfg, k: cfg.Kernel, poke: make(chan struct{}, 1), tell: make(chan struct{}, 1), edit: make(chan struct{}, 1),
		runs: make(map[string]*runner), running: make(map[string]*runner),
	}
	b.ctx, b.stop = context.WithCancel(context.Background())
	b.done.Add(2)
	go b.follow()     // ends with Close
	go b.tellStates() // ends with Close
	return b
}

// Changed has the settings looked at: some may have changed.
func (b *Bridges) Changed() {
	wake(b.poke)
	wake(b.tell)
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // a wake is pending already
	}
}

// Close ends all bridges of this node. What waits for remote brokers stays in the kernel. It waits for
// connections to end until ctx does.
func (b *Bridges) Close(ctx context.Context) error {
	b.stop()
	done := make(chan struct{})
	go func() { // ends when all have, at the latest as the kernel closes
		b.done.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// follow runs what is to run here, as settings and leaders change.
func (b *Bridges) follow() {
	defer b.done.Done()
	var changed <-chan struct{} // nil: nothing but settings matters
	stop := func() {}
	defer func() { stop() }()
	var defs map[string]setting.Setting
	version := ^uint64(0)
	for {
		leads := b.k.LeadsVersion() // before what it is of is looked at
		if v := b.k.ItemsVersion(); v != version {
			version, defs = v, b.definitions()
			if want := b.k.Clustered() && len(defs) > 0; want != (changed != nil) {
				stop()
				changed, stop = nil, func() {}
				if want {
					changed, stop = b.k.Changes()
				}
			}
		}
		b.look(defs)
		for again := false; !again; {
			select {
			case <-b.poke:
				again = true
			case <-changed: // most often by what was published
				again = b.k.LeadsVersion() != leads
			case <-b.ctx.Done():
				for _, r := range b.runs {
					r.cancel(errStopped)
				}
				return
			}
		}
	}
}

// definitions are the bridges that are defined.
func (b *Bridges) definitions() map[string]setting.Setting {
	defs := make(map[string]setting.Setting)
	for _, s := range b.k.Settings(kernel.DefaultNamespace, setting.KindBridge) {
		defs[s.Name] = s
	}
	return defs
}

// look begins and ends runners. One that ends pokes, and only then another of its name begins.
func (b *Bridges) look(defs map[string]setting.Setting) {
	for name, r := range b.runs {
		select {
		case <-r.done:
			b.put(name, nil)
			continue
		default:
		}
		def, there := defs[name]
		if !there || string(def.Value) != string(r.value) || !b.runsHere(name) {
			r.cancel(errStopped)
		}
	}
	for name, def := range defs {
		if b.runs[name] != nil || !b.runsHere(name) {
			continue
		}
		spec, err := read(def)
		switch {
		case err != nil: // a later release wrote it
			b.cfg.Log.Error("bridge: definition not understood", "bridge", name, "err", err)
		case !spec.Paused:
			r := newRunner(b, name, def.Value, spec)
			b.put(name, r)
			b.done.Add(1)
			go func() { // ends when it is canceled
				defer b.done.Done()
				r.run()
				wake(b.poke)
			}()
		}
	}
}

func (b *Bridges) put(name string, r *runner) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r == nil {
		delete(b.runs, name)
		delete(b.running, name)
		return
	}
	b.runs[name], b.running[name] = r, r
}

// runsHere tells whether a bridge is this node's to run.
func (b *Bridges) runsHere(name string) bool {
	return b.k.LeadsSession(kernel.DefaultNamespace, setting.BridgeSession+name)
}

// defined tells whether a runner is of a bridge that is defined still.
func (b *Bridges) defined(r *runner) bool {
	for _, s := range b.k.Settings(kernel.DefaultNamespace, setting.KindBridge) {
		if s.Name == r.name {
			return true
		}
	}
	return false
}

func read(s setting.Setting) (spec setting.Bridge, err error) {
	if err = s.Check(); err == nil {
		err = s.Read(&spec)
	}
	return spec, err
}

// errStopped ends a connection in good order: the bridge is not to run here any more.
var errStopped = errors.New("the bridge has stopped")
