package mqtt

import (
	"context"

	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/route"
	"github.com/robustmq/rmq/broker/mqttwire"
	"github.com/robustmq/rmq/broker/setting"
)

// This file is what operators set for what clients name: other topics in place of theirs, and
// subscriptions that they do not ask for. Whatever comes of it is held against the rules of access,
// and nothing else: a topic that is rewritten need not be allowed itself.

// rules are the settings as of one time. They do not change.
type rules struct {
	rewrites []*setting.Rewriter // in the order in which they are asked
	subs     []setting.Subscription
}

func (s *Server) readRules() *rules {
	r := new(rules)
	ns := s.cfg.Namespace
	for _, t := range s.core.Settings(ns, setting.KindRewrite) {
		var rule setting.Rewrite
		err := t.Read(&rule)
		if err == nil {
			var ready *setting.Rewriter
			if ready, err = rule.Compile(); err == nil {
				r.rewrites = append(r.rewrites, ready)
			}
		}
		if err != nil { // a later release wrote it
			s.cfg.Log.Error("mqtt: rule of rewriting not understood", "name", t.Name, "err", err)
		}
	}
	for _, t := range s.core.Settings(ns, setting.KindSubscription) {
		var sub setting.Subscription
		if err := t.Read(&sub); err != nil {
			s.cfg.Log.Error("mqtt: subscription for clients not understood", "name", t.Name, "err", err)
			continue
		}
		r.subs = append(r.subs, sub)
	}
	return r
}

// rewrite returns what a topic that the client names, or a filter, stands for. ok false: nothing.
func (c *conn) rewrite(u setting.Use, topic string) (out string, ok bool) {
	for _, r := range c.server.rules.Load().rewrites {
		if r.For(u) && route.MatchFilter(r.Filter, topic) {
			return r.Apply(topic, c.clientID, c.user)
		}
	}
	return topic, true
}

// rewriteTopic is rewrite for a topic name: what comes of it is one.
func (c *conn) rewriteTopic(topic string) (out string, ok bool) {
	out, ok = c.rewrite(setting.OnPublish, topic)
	return out, ok && (out == topic || mqttwire.ValidTopic([]byte(out)))
}

// rewriteFilter is rewrite for a valid filter: of one that is shared or exclusive, for what is behind
// that. What comes of it is valid. The name of a queue stays.
func (c *conn) rewriteFilter(filter []byte) (out []byte, ok bool) {
	if len(c.server.rules.Load().rewrites) == 0 {
		return filter, true
	}
	_, queue := queueOf(filter)
	if _, stream := streamOf(filter); queue || stream {
		return filter, true
	}
	_, rest, _, _ := mqttwire.SplitShared(filter)
	rest, _ = mqttwire.SplitExclusive(rest)
	to, ok := c.rewrite(setting.OnSubscribe, string(rest))
	if !ok || to == string(rest) {
		return filter, ok
	}
	head := filter[:len(filter)-len(rest)]
	out = append(head[:len(head):len(head)], to...)
	_, rest, _, ok = mqttwire.SplitShared(out)
	return out, ok && mqttwire.ValidFilter(rest)
}

// unasked are the subscriptions that the client is given, as far as it may read what they bring.
func (c *conn) unasked() (subs []kernel.Subscription) {
	for _, s := range c.server.rules.Load().subs {
		filter, ok := s.For(c.clientID, c.user)
		if !ok {
			continue
		}
		if _, err := checkFilter([]byte(filter)); err != nil || !whole([]byte(filter)) || !c.mayRead([]byte(filter)) {
			continue
		}
		subs = append(subs, kernel.Subscription{
			Filter: filter, QoS: s.QoS, NoLocal: s.NoLocal, RetainAsPublished: s.RetainAsPublished, RetainHandling: s.RetainHandling,
		})
	}
	return subs
}

// subscribeUnasked gives the client its subscriptions, before CONNACK, and returns those whose
// retained messages are to follow.
func (c *conn) subscribeUnasked(ctx context.Context) (retained []kernel.Subscription) {
	subs := c.unasked()
	if len(subs) == 0 {
		return nil
	}
	existed, errs := c.session.Subscribe(ctx, subs)
	for i := range subs {
		if errs[i] != nil {
			c.server.cfg.Log.Warn("mqtt: client not subscribed", "client", c.clientID, "filter", subs[i].Filter, "err", errs[i])
			continue
		}
		_, _, shared, _ := mqttwire.SplitShared([]byte(subs[i].Filter))
		_, queue := queueOf([]byte(subs[i].Filter))
		if h := subs[i].RetainHandling; !shared && !queue && (h == 0 || h == 1 && !existed[i]) {
			retained = append(retained, subs[i])
		}
	}
	return retained
}
