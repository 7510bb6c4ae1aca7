package bridge

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"strings"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/setting"
)

// keepAlive is what a bridge has that does not say its own, in seconds.
const keepAlive = 60

// List returns the bridges, in the order of their names.
func (b *Bridges) List() []adminapi.Bridge {
	var out []adminapi.Bridge
	states, running := b.states(), b.runningNow()
	for _, s := range b.k.Settings(kernel.DefaultNamespace, setting.KindBridge) {
		var spec setting.Bridge
		if s.Read(&spec) != nil { // a later release wrote it
			continue
		}
		x := adminapi.Bridge{Name: s.Name, Bridge: spec.Shown()}
		var st State
		if err := json.Unmarshal(states[s.Name], &st); err == nil {
			x.Node, x.Since, x.Error, x.ErrorAt = st.Node, st.Since, st.Error, st.ErrorAt
		}
		switch {
		case spec.Paused:
			x.State = adminapi.BridgePaused
		case st.Connected:
			x.State = adminapi.BridgeConnected
		default:
			x.State = adminapi.BridgeAway
		}
		if i, ok := b.k.SessionInfo(kernel.DefaultNamespace, setting.BridgeSession+s.Name); ok {
			x.Queued, x.Inflight = i.Backlog+int64(i.Inflight), i.Inflight
		}
		if r := running[s.Name]; r != nil {
			x.Traffic = &adminapi.BridgeTraffic{In: r.in.Load(), Out: r.out.Load(), Dropped: r.dropped.Load()}
		}
		out = append(out, x)
	}
	return out
}

// Get returns one bridge.
func (b *Bridges) Get(name string) (adminapi.Bridge, error) {
	for _, x := range b.List() {
		if x.Name == name {
			return x, nil
		}
	}
	return adminapi.Bridge{}, fault.Of(fault.NotFound, "find bridge", name)
}

// Add defines a bridge. What is published from its return on, and is to go out, does. fault.Exists: there
// is one of that name.
func (b *Bridges) Add(ctx context.Context, name string, spec setting.Bridge) (adminapi.Bridge, error) {
	spec.Protocol = cmp.Or(spec.Protocol, setting.Protocols()[0])
	spec.KeepAlive = cmp.Or(spec.KeepAlive, keepAlive)
	if spec.ClientID == "" { // a bridge that takes the place of another must not find its session
		spec.ClientID = "rmq-" + name + "-" + strings.ToLower(rand.Text()[:12])
	}
	s, err := setting.New(kernel.DefaultNamespace, setting.KindBridge, name, spec)
	if err != nil {
		return adminapi.Bridge{}, fault.New(fault.Invalid, "add bridge", name, "%w", err)
	}
	if err := b.alone(ctx, "add bridge", name); err != nil {
		return adminapi.Bridge{}, err
	}
	defer func() { <-b.edit }()
	if _, err := b.find(name); err == nil {
		return adminapi.Bridge{}, fault.New(fault.Exists, "add bridge", name, "there is one of that name")
	}
	if err = b.hold(ctx, name, &spec, true); err == nil {
		err = b.k.PutSetting(ctx, s)
	}
	if err != nil { // nothing is to be left of it, also when it is not known whether it was defined
		if other, missing := b.find(name); missing != nil || other.ClientID == spec.ClientID { // not another node's
			_ = b.remove(ctx, name)
		}
		return adminapi.Bridge{}, err
	}
	return b.Get(name)
}

// alone waits until no operator adds or removes a bridge on this node, and keeps others from it.
func (b *Bridges) alone(ctx context.Context, op, name string) error {
	select {
	case b.edit <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fault.New(fault.Timeout, op, name, "%w", ctx.Err())
	}
}

// Remove removes a bridge, and what waits to go out over it; also what a removal has left that failed.
func (b *Bridges) Remove(ctx context.Context, name string) error {
	if err := b.alone(ctx, "remove bridge", name); err != nil {
		return err
	}
	defer func() { <-b.edit }()
	return b.remove(ctx, name)
}

// remove is Remove for who is alone. It goes on when who has asked for it has gone. fault.NotFound: there was
// nothing of that name.
func (b *Bridges) remove(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sessionTimeout)
	defer cancel()
	undefined := b.k.DeleteSetting(ctx, kernel.DefaultNamespace, setting.KindBridge, name)
	if undefined != nil && !fault.Is(undefined, fault.NotFound) {
		return undefined
	}
	_, open := b.k.SessionInfo(kernel.DefaultNamespace, setting.BridgeSession+name)
	if err := b.k.EndSession(ctx, kernel.DefaultNamespace, setting.BridgeSession+name); err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	if _, err := b.k.DeleteItems(ctx, tableStates, name); err != nil {
		return err
	}
	if open {
		return nil
	}
	return undefined
}

// Pause has a bridge rest, or go on.
func (b *Bridges) Pause(ctx context.Context, name string, paused bool) (adminapi.Bridge, error) {
	spec, err := b.find(name)
	if err != nil {
		return adminapi.Bridge{}, err
	}
	if spec.Paused != paused {
		if !paused { // what was told last was before the pause, when it may have been connected
			if _, err := b.k.DeleteItems(ctx, tableStates, name); err != nil {
				return adminapi.Bridge{}, err
			}
		}
		spec.Paused = paused
		s, err := setting.New(kernel.DefaultNamespace, setting.KindBridge, name, spec)
		if err == nil {
			err = b.k.PutSetting(ctx, s)
		}
		if err != nil {
			return adminapi.Bridge{}, err
		}
	}
	return b.Get(name)
}

func (b *Bridges) find(name string) (spec setting.Bridge, err error) {
	for _, s := range b.k.Settings(kernel.DefaultNamespace, setting.KindBridge) {
		if s.Name == name {
			return spec, s.Read(&spec)
		}
	}
	return spec, fault.Of(fault.NotFound, "find bridge", name)
}

// Connected calls f with each bridge, and whether it is connected.
func (b *Bridges) Connected(f func(name string, connected bool)) {
	for _, x := range b.List() {
		f(x.Name, x.State == adminapi.BridgeConnected)
	}
}
