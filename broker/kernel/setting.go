package kernel

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel/meta"
	qm "github.com/robustmq/rmq/broker/kernel/queue"
	"github.com/robustmq/rmq/broker/kernel/shard"
	"github.com/robustmq/rmq/broker/setting"
)

// A setting is an item of the table that its kind names, by its namespace and name.

func settingKey(ns, name string) string { return ns + "\x00" + name }

func settingOf(key string) (ns, name string) {
	ns, name, _ = strings.Cut(key, "\x00")
	return ns, name
}

// Settings returns what is set of a kind in a namespace, in the order of the names.
func (k *Kernel) Settings(ns string, kind setting.Kind) (out []setting.Setting) {
	for x := range k.meta.view.Load().AllItems(string(kind)) {
		if in, name := settingOf(x.Key); in == ns {
			out = append(out, setting.Setting{Namespace: ns, Kind: kind, Name: name, Value: x.Value})
		}
	}
	return out
}

// PutSetting sets something, in place of what was set under that name. It counts on every node
// that is up when it returns.
func (k *Kernel) PutSetting(ctx context.Context, s setting.Setting) error {
	if err := s.Check(); err != nil {
		return fault.New(fault.Invalid, "put setting", s.Name, "%w", err)
	}
	limit := map[setting.Kind]int{
		setting.KindRewrite: setting.RewritesMax, setting.KindSubscription: setting.SubscriptionsMax, setting.KindQuota: setting.QuotasMax,
		setting.KindBridge: setting.BridgesMax,
	}[s.Kind]
	_, there := k.meta.view.Load().Item(string(s.Kind), settingKey(s.Namespace, s.Name))
	if !there && limit > 0 && len(k.Settings(s.Namespace, s.Kind)) >= limit {
		return fault.New(fault.Exhausted, "put setting", s.Name, "%d are set, and no more are taken", limit)
	}
	if _, err := k.PutItems(ctx, string(s.Kind), Item{Key: settingKey(s.Namespace, s.Name), Value: s.Value, Secret: s.Kind == setting.KindBridge}); err != nil {
		return err
	}
	return k.follow(ctx, s.Namespace, s.Kind)
}

// DeleteSetting takes away what is set under a name. fault.NotFound: nothing is.
func (k *Kernel) DeleteSetting(ctx context.Context, ns string, kind setting.Kind, name string) error {
	switch n, err := k.DeleteItems(ctx, string(kind), settingKey(ns, name)); {
	case err != nil:
		return err
	case n == 0:
		return fault.New(fault.NotFound, "delete setting", name, "no %s of that name is set", kind)
	}
	return k.follow(ctx, ns, kind)
}

// follow does what a change of a setting takes, but for what reads it when it is needed.
func (k *Kernel) follow(ctx context.Context, ns string, kind setting.Kind) error {
	if kind != setting.KindShare {
		return nil
	}
	return k.redispatchAll(ctx, ns)
}

// dispatchOf is how a queue is to choose its consumers: that of a shared subscription as is set
// for its group, or for every one.
func dispatchOf(view *meta.State, q *meta.Queue) qm.Dispatch {
	rest, shared := strings.CutPrefix(q.Name, sharePrefix)
	if !shared {
		return qm.RoundRobin
	}
	group, _, _ := strings.Cut(rest, "/")
	for _, name := range []string{group, setting.EveryGroup} {
		if x, ok := view.Item(string(setting.KindShare), settingKey(q.Namespace, name)); ok {
			var share setting.Share
			if err := (&setting.Setting{Value: x.Value}).Read(&share); err != nil {
				return qm.RoundRobin // a later release wrote it
			}
			return qm.Dispatch(max(slices.Index(setting.Strategies(), share.Strategy), 0))
		}
	}
	return qm.RoundRobin
}

// redispatch has a queue choose its consumers as is set, and waits until it does.
func (k *Kernel) redispatch(ctx context.Context, q *queue) error {
	how := dispatchOf(k.meta.view.Load(), q.spec)
	q.shard.readMu.RLock()
	is, there := q.shard.m.DispatchOf(q.spec.ID)
	q.shard.readMu.RUnlock()
	if !there || is == how {
		return nil
	}
	_, err := q.shard.call(ctx, func(b *shard.Builder) int { return b.Dispatch(q.spec.ID, how) })
	return err
}

// redispatchAll follows a change of what is set for shared subscriptions. Every node does it: one
// that has just made a queue by what was set before finds it so here, or in makeQueue.
func (k *Kernel) redispatchAll(ctx context.Context, ns string) error {
	var shared []*queue
	k.topo.mu.RLock()
	if sp := k.topo.spaces[ns]; sp != nil {
		for _, q := range sp.queues {
			if q.filter != nil {
				shared = append(shared, q)
			}
		}
	}
	k.topo.mu.RUnlock()
	var all error
	for _, q := range shared {
		all = errors.Join(all, k.redispatch(ctx, q))
	}
	return all
}
