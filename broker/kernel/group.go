package kernel

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel/group"
	"github.com/robustmq/rmq/broker/kernel/shard"
)

// groups runs the consumer groups of this node: it keeps their deadlines, which are of
// link time, and the callers whose joins and syncs wait.
//
// Ownership: mu guards waiting and timers.
type groups struct {
	token atomic.Uint64 // begins with the incarnation: a group remembers tokens of earlier lives

	mu      sync.Mutex
	waiting map[uint64]func(*group.Effect) // joins and syncs, by token
	timers  map[timerKey]*groupTimer
	closed  bool
}

type timerKey struct {
	group, member string // member "" for the group's own
}

type groupTimer struct {
	t     clock.Timer
	after time.Duration
	spec  group.Timer
}

func groupKey(ns, id string) string { return ns + "\x00" + id }

// groupShard is where a group lives.
func (k *Kernel) groupShard(ns, id string) *shardRun { return k.slot(ns, "\x00group\x00"+id) }

// GroupJoin hands in a join. done is called once, when the rebalance that it is part of
// ends, or with CoordinatorNotAvailable. r.Token is set here.
func (k *Kernel) GroupJoin(ns, id string, r *group.JoinRequest, done func(*group.JoinResult)) {
	r.Token = k.groups.wait(func(e *group.Effect) {
		if e == nil {
			done(&group.JoinResult{Error: group.CoordinatorNotAvailable, MemberID: r.MemberID, Generation: -1})
			return
		}
		done(e.Join)
	})
	k.groupDo(ns, &shard.GroupCommand{Key: groupKey(ns, id), Join: r}, id, r.Token)
}

// GroupSync hands in a sync. done is called once, when the leader's has come, or with
// CoordinatorNotAvailable. r.Token is set here.
func (k *Kernel) GroupSync(ns, id string, r *group.SyncRequest, done func(*group.SyncResult)) {
	r.Token = k.groups.wait(func(e *group.Effect) {
		if e == nil {
			done(&group.SyncResult{Error: group.CoordinatorNotAvailable})
			return
		}
		done(e.Sync)
	})
	k.groupDo(ns, &shard.GroupCommand{Key: groupKey(ns, id), Sync: r}, id, r.Token)
}

// groupDo proposes a command that an effect answers.
func (k *Kernel) groupDo(ns string, c *shard.GroupCommand, id string, token uint64) {
	if groupNames(c) != nil {
		k.groups.answer(token, nil)
		return
	}
	err := k.groupShard(ns, id).do(func(p *pending) {
		p.await(-1, p.b.Group(c), groupFailed{&k.groups, token})
	})
	if err != nil {
		k.groups.answer(token, nil)
	}
}

// groupNames refuses names that no checkpoint could hold: Kafka's may have 32,767 bytes.
func groupNames(c *shard.GroupCommand) error {
	longest := 0
	switch {
	case c.Join != nil:
		longest = max(len(c.Join.MemberID), len(c.Join.NewMemberID), len(c.Join.InstanceID))
	case c.Commit != nil:
		for i := range c.Commit.Offsets {
			longest = max(longest, len(c.Commit.Offsets[i].Topic))
		}
	}
	if n := len(c.Key) + longest; n > NameMax {
		return fault.New(fault.Invalid, "group", "", "names of %d bytes, %d at most", n, NameMax)
	}
	return nil
}

// groupFailed answers a join or sync whose entry was not applied.
type groupFailed struct {
	g     *groups
	token uint64
}

func (w groupFailed) applied(_ *shard.BatchResult, or *shard.OpResult, err error) {
	if err != nil || or.Err != nil {
		w.g.answer(w.token, nil)
	}
}

// wait registers who is told of an effect with the token that it returns.
func (g *groups) wait(fn func(*group.Effect)) uint64 {
	token := g.token.Add(1)
	g.mu.Lock()
	g.waiting[token] = fn
	closed := g.closed
	g.mu.Unlock()
	if closed {
		g.answer(token, nil)
	}
	return token
}

func (g *groups) answer(token uint64, e *group.Effect) {
	g.mu.Lock()
	fn := g.waiting[token]
	delete(g.waiting, token)
	g.mu.Unlock()
	if fn != nil {
		fn(e)
	}
}

// groupEffect carries out what a group asks for.
func (k *Kernel) groupEffect(s *shardRun, e *shard.Effect) {
	switch ge := e.Group; ge.Kind {
	case group.JoinAnswer, group.SyncAnswer:
		k.groups.answer(ge.Token, ge)
	case group.Arm:
		if s.leads() { // restoreGroups does it for who comes to lead
			k.armGroup(e.Key, ge.Timer)
		}
	case group.Disarm:
		k.groups.disarm(timerOf(e.Key, &ge.Timer))
	}
}

func timerOf(key string, t *group.Timer) timerKey {
	if t.Kind == group.MemberTimer {
		return timerKey{key, t.Member}
	}
	return timerKey{group: key}
}

// armGroup starts a deadline, in place of an earlier one of its kind.
func (k *Kernel) armGroup(key string, spec group.Timer) {
	g := &k.groups
	tk := timerOf(key, &spec)
	g.mu.Lock()
	defer g.mu.Unlock()
	if old := g.timers[tk]; old != nil {
		old.t.Stop()
	}
	if g.closed {
		return
	}
	t := &groupTimer{after: time.Duration(spec.After) * time.Millisecond, spec: spec}
	t.t = k.cfg.Link.AfterFunc(t.after, func() { k.groupExpired(tk, t) })
	g.timers[tk] = t
}

func (g *groups) disarm(tk timerKey) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t := g.timers[tk]; t != nil {
		t.t.Stop()
		delete(g.timers, tk)
	}
}

// disarmAll stops the deadlines of a shard's groups: they are up to another node.
func (g *groups) disarmAll(s *shardRun) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for tk, t := range g.timers {
		if ns, id := shard.SplitSessionKey(tk.group); s.k.groupShard(ns, id) == s {
			t.t.Stop()
			delete(g.timers, tk)
		}
	}
}

// groupExpired proposes what follows from a deadline that passed.
func (k *Kernel) groupExpired(tk timerKey, t *groupTimer) {
	k.groups.mu.Lock()
	current := k.groups.timers[tk] == t
	if current {
		delete(k.groups.timers, tk)
	}
	k.groups.mu.Unlock()
	if !current {
		return
	}
	c := shard.GroupCommand{Key: tk.group}
	switch t.spec.Kind {
	case group.MemberTimer:
		c.ExpireMember = t.spec.Member
	case group.JoinTimer:
		c.ExpireJoin = t.spec.Step
	case group.SyncTimer:
		c.ExpireSync = t.spec.Step
	}
	ns, id := shard.SplitSessionKey(tk.group)
	_ = k.groupShard(ns, id).do(func(p *pending) { p.b.Group(&c) })
}

// pushBack restarts a member's deadline: it was heard of.
func (k *Kernel) pushBack(key, member string) {
	g := &k.groups
	tk := timerKey{key, member}
	g.mu.Lock()
	defer g.mu.Unlock()
	if t := g.timers[tk]; t != nil && t.t.Stop() {
		t.t = k.cfg.Link.AfterFunc(t.after, func() { k.groupExpired(tk, t) })
	}
}

// restoreGroups starts the deadlines of a shard's groups after a start.
func (k *Kernel) restoreGroups(s *shardRun) {
	s.readMu.RLock()
	defer s.readMu.RUnlock()
	s.m.Groups(func(g *shard.Group) bool {
		g.Timers(func(t group.Timer) { k.armGroup(g.Key, t) })
		return true
	})
}

func (g *groups) close() {
	g.mu.Lock()
	g.closed = true
	for tk, t := range g.timers {
		t.t.Stop()
		delete(g.timers, tk)
	}
	g.mu.Unlock()
	g.answerAll()
}

// answerAll has all that waits for a group's answer ask again.
func (g *groups) answerAll() {
	g.mu.Lock()
	waiting := g.waiting
	g.waiting = make(map[uint64]func(*group.Effect))
	g.mu.Unlock()
	for _, fn := range waiting {
		fn(nil)
	}
}

// GroupHeartbeat tells what a heartbeat is answered, and pushes the member's deadline back.
func (k *Kernel) GroupHeartbeat(ns, id, member, instance string, generation int32) group.Error {
	s := k.groupShard(ns, id)
	s.readMu.RLock()
	g, ok := s.m.Group(groupKey(ns, id))
	e := group.UnknownMemberID
	if ok {
		e = g.Heartbeat(member, instance, generation)
	}
	s.readMu.RUnlock()
	if e == group.OK || e == group.RebalanceInProgress {
		k.pushBack(groupKey(ns, id), member)
	}
	return e
}

// groupCall proposes a command and waits for its value.
func groupCall[T any](ctx context.Context, k *Kernel, ns, id string, c shard.GroupCommand) (T, error) {
	c.Key = groupKey(ns, id)
	r, err := k.groupShard(ns, id).call(ctx, func(b *shard.Builder) int { return b.Group(&c) })
	v, _ := r.Value.(T)
	return v, err
}

// GroupLeave removes members: one answer for each.
func (k *Kernel) GroupLeave(ctx context.Context, ns, id string, leaving []group.LeaveMember) ([]group.Error, error) {
	return groupCall[[]group.Error](ctx, k, ns, id, shard.GroupCommand{Leave: leaving})
}

// GroupCommit commits offsets: done is told one answer for each, once they are durable; err
// when that cannot be known. In a cluster it is for the node that leads the group's shard, and is not done
// once that has changed: an offset that came late would take back what was committed since.
func (k *Kernel) GroupCommit(ns, id string, c *shard.GroupCommit, done func(errs []group.Error, err error)) {
	s := k.groupShard(ns, id)
	cmd := shard.GroupCommand{Key: groupKey(ns, id), Commit: c}
	err := groupNames(&cmd)
	if err == nil && k.Clustered() {
		if c.Term = s.leadTerm.Load(); c.Term == 0 {
			err = fault.New(fault.Unavailable, "commit offsets", id, "this node does not coordinate the group")
		}
	}
	if err == nil {
		err = s.do(func(p *pending) {
			p.await(-1, p.b.Group(&cmd), commitGroup{k, cmd.Key, c.MemberID, done})
		})
	}
	if err != nil {
		done(nil, err)
	}
}

type commitGroup struct {
	k           *Kernel
	key, member string
	done        func([]group.Error, error)
}

func (w commitGroup) applied(_ *shard.BatchResult, or *shard.OpResult, err error) {
	if err == nil {
		err = or.Err
	}
	if err != nil {
		w.done(nil, err)
		return
	}
	if w.member != "" {
		w.k.pushBack(w.key, w.member)
	}
	errs, _ := or.Value.([]group.Error)
	w.done(errs, nil)
}

// GroupForget deletes offsets: one answer for each.
func (k *Kernel) GroupForget(ctx context.Context, ns, id string, offsets []shard.GroupOffset) ([]group.Error, error) {
	return groupCall[[]group.Error](ctx, k, ns, id, shard.GroupCommand{Forget: offsets})
}

// GroupDelete ends a group without members.
func (k *Kernel) GroupDelete(ctx context.Context, ns, id string) (group.Error, error) {
	return groupCall[group.Error](ctx, k, ns, id, shard.GroupCommand{Delete: true})
}

// GroupRead calls fn with a group, which must not be changed or kept; false: there is none.
func (k *Kernel) GroupRead(ns, id string, fn func(g *group.Group)) bool {
	s := k.groupShard(ns, id)
	s.readMu.RLock()
	defer s.readMu.RUnlock()
	g, ok := s.m.Group(groupKey(ns, id))
	if ok {
		fn(g.Group)
	}
	return ok
}

// Groups calls fn for every group of a namespace, which must not be changed or kept.
func (k *Kernel) Groups(ns string, fn func(id string, g *group.Group)) {
	for _, s := range k.data {
		s.readMu.RLock()
		s.m.Groups(func(g *shard.Group) bool {
			if space, id := shard.SplitSessionKey(g.Key); space == ns {
				fn(id, g.Group)
			}
			return true
		})
		s.readMu.RUnlock()
	}
}
