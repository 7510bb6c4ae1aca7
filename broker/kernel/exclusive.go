package kernel

import (
	"context"
	"strings"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel/meta"
	"github.com/robustmq/rmq/broker/kernel/shard"
)

// An exclusive subscription, "$exclusive/filter", is one to the filter that no other session has
// so at the time.
//
// Log 0 says whose it is: a claim, made before the session subscribes. It holds while the
// session has the subscription, and while the connection that made the claim has the session,
// for that may be about to subscribe, or to end the claim after it has unsubscribed. Otherwise
// it is void: who leads the session's shard ends it, and whoever else wants the name may take
// it, if a crash has kept that from happening. Claims are compared as a whole, so
// that one which is made anew is not ended in place of an older one.

func exclusive(name string) bool { return strings.HasPrefix(name, shard.ExclusivePrefix) }

func (s *Session) claimOf(name string) meta.Claim {
	return meta.Claim{Namespace: s.route.ns(), Name: name, Owner: s.route.client(), Shard: uint32(s.shard.id), Epoch: s.epoch}
}

// claim makes an exclusive subscription this session's. fault.Full: it is another's.
func (s *Session) claim(ctx context.Context, name string) error {
	k, mine := s.k, s.claimOf(name)
	cmd := meta.Command{Op: meta.TakeClaim, Claim: &mine}
	for {
		_, err := k.meta.do(ctx, &cmd)
		if !fault.Is(err, fault.Locked) {
			return err
		}
		other, held := k.meta.view.Load().Claim(mine.Namespace, name)
		if !held {
			continue // it has ended since
		}
		void, err := k.void(ctx, &other)
		if err != nil {
			return err
		}
		if !void {
			return fault.New(fault.Full, "subscribe", name, "another session is subscribed exclusively")
		}
		cmd.Instead = &other
	}
}

// claimed tells whether a claim of this connection stands.
func (s *Session) claimed(name string) bool {
	c, held := s.k.meta.view.Load().Claim(s.route.ns(), name)
	return held && c == s.claimOf(name)
}

// unclaim ends this session's claim, when it has unsubscribed. One that an earlier connection has
// made is the session's, too.
func (s *Session) unclaim(ctx context.Context, name string) error {
	c, held := s.k.meta.view.Load().Claim(s.route.ns(), name)
	if !held || c.Owner != s.route.client() {
		return nil
	}
	_, err := s.k.meta.do(ctx, &meta.Command{Op: meta.EndClaim, Claim: &c})
	return err
}

// void tells whether nobody stands behind a claim any more.
func (k *Kernel) void(ctx context.Context, c *meta.Claim) (bool, error) {
	s := k.shards[c.Shard]
	if s == nil {
		return true, nil
	}
	if err := s.barrier(ctx); err != nil { // what is on its way to the session is seen, too
		return false, err
	}
	s.readMu.RLock()
	defer s.readMu.RUnlock()
	ms, there := s.m.Session(shard.SessionKey(c.Namespace, c.Owner))
	if !there {
		return true, nil
	}
	_, subscribed := ms.Subscription(c.Name)
	return !subscribed && !ms.Holds(c.Epoch), nil
}

// endClaim follows the end of an exclusive subscription that nobody waits for.
func (k *Kernel) endClaim(ns, name string) {
	c, held := k.meta.view.Load().Claim(ns, name)
	if !held {
		return
	}
	void, err := k.void(k.ctx, &c)
	if err == nil && void {
		_, err = k.meta.do(k.ctx, &meta.Command{Op: meta.EndClaim, Claim: &c})
	}
	if err != nil && !k.closing.Load() {
		k.log.Warn("exclusive subscription not ended", "filter", name, "err", err)
	}
}
