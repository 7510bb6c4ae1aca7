package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/setting"
)

const (
	// connectTimeout is how long the remote broker may take to accept a connection and CONNECT.
	connectTimeout = 15 * time.Second
	// sessionTimeout is how long the kernel may take to open the session.
	sessionTimeout = 10 * time.Second
	// pauseMin and pauseMax bound the time between two connections. It doubles with each that fails, and is
	// half chance, so that the bridges of many brokers do not come back at once.
	pauseMin = time.Second
	pauseMax = time.Minute
	// livedLong is the age from which on a connection was a good one.
	livedLong = 10 * time.Second
)

// runner runs one bridge on this node.
type runner struct {
	b      *Bridges
	name   string
	value  json.RawMessage // of the setting
	spec   setting.Bridge
	client string // of the session in the kernel
	ctx    context.Context
	cancel context.CancelCauseFunc
	done   chan struct{}

	// plain: CONNECT is to say nothing of bridges next time. A remote broker of MQTT 3 has refused one that
	// did, or has taken one that did not. run's alone.
	plain   bool
	unclear unclear // run's alone

	in, out, dropped atomic.Uint64 // messages

	mu    sync.Mutex
	state State // as it is; what all nodes are told of
}

func newRunner(b *Bridges, name string, value json.RawMessage, spec setting.Bridge) *runner {
	r := &runner{b: b, name: name, value: value, spec: spec, client: setting.BridgeSession + name, done: make(chan struct{})}
	r.ctx, r.cancel = context.WithCancelCause(b.ctx)
	return r
}

// run connects again and again, until the runner is canceled.
func (r *runner) run() {
	defer close(r.done)
	defer r.cancel(nil)
	r.change(func(s *State) { s.Connected = false })
	failed := 0
	for r.ctx.Err() == nil {
		began := r.b.cfg.Link.Now()
		err := r.attempt()
		if r.ctx.Err() != nil {
			return
		}
		if errors.Is(err, errPlain) {
			continue
		}
		if r.b.cfg.Link.Now().Sub(began) > livedLong {
			failed = 0
		}
		r.b.cfg.Log.Warn("bridge: not connected", "bridge", r.name, "err", err)
		r.change(func(s *State) { s.Connected = false; s.fail(err, r.now()) })
		r.rest(pause(failed))
		failed++
	}
}

// pause is the time until the next connection, after so many that failed.
func pause(failed int) time.Duration {
	d := pauseMax
	if failed < 10 {
		d = min(pauseMin<<failed, pauseMax)
	}
	return d/2 + rand.N(d/2)
}

func (r *runner) rest(d time.Duration) {
	over := make(chan struct{})
	t := r.b.cfg.Link.AfterFunc(d, func() { close(over) })
	defer t.Stop()
	select {
	case <-over:
	case <-r.ctx.Done():
	}
}

func (r *runner) now() time.Time { return r.b.cfg.Clock.Now() }

// attempt connects, and returns why that is over.
func (r *runner) attempt() error {
	// Before the remote broker is reached: from here on what is to go out waits.
	if err := r.b.hold(r.ctx, r.name, &r.spec, false); err != nil {
		return err
	}
	if !r.b.defined(r) { // and what was opened just now nobody else will end
		_ = r.b.k.EndSession(r.ctx, kernel.DefaultNamespace, r.client)
		return errStopped
	}
	ctx, cancel := context.WithTimeout(r.ctx, connectTimeout)
	defer cancel()
	nc, err := dial(ctx, &r.spec)
	if err != nil {
		return err
	}
	return newConn(r, nc).run()
}

// change changes the state, and has all nodes told.
func (r *runner) change(f func(*State)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.state
	f(&r.state)
	r.state.Node = r.b.k.Self()
	if r.state.Connected != was.Connected || was.Since.IsZero() {
		r.state.Since = r.now().UTC().Truncate(time.Millisecond)
	}
	if r.state != was {
		wake(r.b.tell)
	}
}

// lost counts a message that was dropped, and notes why.
func (r *runner) lost(err error) {
	r.dropped.Add(1)
	r.change(func(s *State) { s.fail(err, r.now()) })
}

func (r *runner) stateNow() State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state
}

// open opens the session of a bridge, with what is to hear of it.
func (b *Bridges) open(ctx context.Context, name string, clean bool, window uint16, sink kernel.Sink) (*kernel.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, sessionTimeout)
	defer cancel()
	s, _, err := b.k.OpenSession(ctx, kernel.SessionSpec{
		Namespace: kernel.DefaultNamespace, ClientID: setting.BridgeSession + name, User: "", Clean: clean, Expiry: kernel.ExpiryNever,
		ReceiveMaximum: window, Sink: sink,
	})
	return s, err
}

// hold has the session of a bridge take what is to go out, whether there is a connection or not. clean
// discards what there is.
func (b *Bridges) hold(ctx context.Context, name string, spec *setting.Bridge, clean bool) error {
	subs := subscriptions(spec)
	if info, there := b.k.SessionInfo(kernel.DefaultNamespace, setting.BridgeSession+name); there && !clean && sameSubscriptions(info.Subscriptions, subs) {
		return nil
	}
	s, err := b.open(ctx, name, clean, window, nobody{})
	if err != nil {
		return err
	}
	defer s.Close(false, nil)
	ctx, cancel := context.WithTimeout(ctx, sessionTimeout)
	defer cancel()
	_, errs := s.Subscribe(ctx, subs)
	for i, err := range errs {
		if err != nil {
			return fault.New(fault.KindOf(err), "subscribe bridge to", subs[i].Filter, "%w", err)
		}
	}
	return nil
}

// subscriptions are those of the routes that lead out.
func subscriptions(spec *setting.Bridge) (subs []kernel.Subscription) {
	for i := range spec.Routes {
		if r := &spec.Routes[i]; r.Goes() {
			subs = append(subs, kernel.Subscription{Filter: r.LocalFilter(), QoS: r.QoS, NoLocal: true, RetainAsPublished: true})
		}
	}
	return subs
}

func sameSubscriptions(have, want []kernel.Subscription) bool {
	if len(have) != len(want) {
		return false
	}
	by := make(map[string]kernel.Subscription)
	for _, s := range have {
		by[s.Filter] = s
	}
	for _, s := range want {
		if by[s.Filter] != s {
			return false
		}
	}
	return true
}

// nobody hears what a session is told while there is no connection.
type nobody struct{}

func (nobody) Deliver(*kernel.Delivery) bool { return false }
func (nobody) Gone(kernel.GoneReason)        {}
