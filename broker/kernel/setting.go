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

// Settings returns what is set of a kind in a namespace, in the order of the names.
func (k *Kernel) Settings(ns string, kind setting.Kind) (out []setting.Setting) {
	for s := range k.meta.view.Load().Settings(ns, kind) {
		out = append(out, *s)
	}
	return out
}

// SettingsVersion changes when any setting does. What is read after it is at least as new.
func (k *Kernel) SettingsVersion() uint64 { return k.access.settings.Load() }

// PutSetting sets something, in place of what was set under that name. It counts on every node
// that is up when it returns.
func (k *Kernel) PutSetting(ctx context.Context, s setting.Setting) error {
	if err := s.Check(); err != nil {
		return fault.New(fault.Invalid, "put setting", s.Name, "%w", err)
	}
	view := k.meta.view.Load()
	limit := map[setting.Kind]int{setting.KindRewrite: setting.RewritesMax, setting.KindSubscription: setting.SubscriptionsMax}[s.Kind]
	if _, there := view.Setting(s.Namespace, s.Kind, s.Name); !there && limit > 0 && len(k.Settings(s.Namespace, s.Kind)) >= limit {
		return fault.New(fault.Exhausted, "put setting", s.Name, "%d are set, and no more are taken", limit)
	}
	return k.set(ctx, &meta.Command{Op: meta.PutSetting, Setting: &s})
}

// DeleteSetting takes away what is set under a name.
func (k *Kernel) DeleteSetting(ctx context.Context, ns string, kind setting.Kind, name string) error {
	return k.set(ctx, &meta.Command{Op: meta.DeleteSetting, Setting: &setting.Setting{Namespace: ns, Kind: kind, Name: name}})
}

func (k *Kernel) set(ctx context.Context, c *meta.Command) error {
	if _, err := k.meta.do(ctx, c); err != nil || c.Setting.Kind != setting.KindShare {
		return err
	}
	return k.redispatchAll(ctx, c.Setting.Namespace)
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
		if s, ok := view.Setting(q.Namespace, setting.KindShare, name); ok {
			var share setting.Share
			if err := s.Read(&share); err != nil {
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
