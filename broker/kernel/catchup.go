package kernel

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"slices"
	"time"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel/codec"
	"github.com/robustmq/rmq/broker/kernel/meta"
	"github.com/robustmq/rmq/broker/kernel/session"
	"github.com/robustmq/rmq/broker/kernel/shard"
	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/storage"
)

// What a node does that is behind: it fetches a shard's state from another node (transfer.go),
// and replaces its own replica by it.
//
// Only what is missing is fetched: a segment has, up to where the checkpoint here says, what it
// has everywhere, and is appended to. So the replica that is to be replaced stays whole: what
// was appended is cut off again when its checkpoint is loaded. The order is
//
//  1. segments, synced;
//  2. the mark in the log: cluster/group, behind.go;
//  3. the checkpoint, which is the moment: before it the shard is the old one, with or without
//     its log, and after it the new one;
//  4. the machine, tails and routes in memory.
//
// Meanwhile nothing is applied, no checkpoint is begun and no segment rewritten, and what
// clients ask of the shard waits: it is proposed again when the shard is there.
//
// What was proposed here, and was applied by others before the state was taken, is in the state;
// what came of it is not known any more, and who waits is told so. What was delivered to
// connections of this node, and taken from them meanwhile, nobody has told them: those that
// the shard had something for are ended, and come again.

// groupBehind is a Group that can be replaced.
type groupBehind interface {
	Install(at storage.CheckpointMeta, done func(error))
	Resume()
}

// errPassed is what those are told whose command is in a state that came from another node.
var errPassed = fault.New(fault.Unavailable, "commit", "", "the node was behind, and what came of it is not known here")

// untilKnown does something once more as long as what came of it is not known.
func untilKnown(do func() error) error {
	err := do()
	for errors.Is(err, errPassed) {
		err = do()
	}
	return err
}

// catchUpAgain is the time between two attempts to fetch a state, in link time.
const catchUpAgain = 500 * time.Millisecond

// replica is one shard, or log 0, that is behind.
type replica interface {
	name() string
	// quiet waits until nothing writes beside what is fetched.
	quiet(ctx context.Context) error
	// fetch brings what the state speaks of to the device.
	fetch(ctx context.Context, f *fetch, state iter.Seq2[[]byte, []byte]) error
	// adopt saves the state and takes it in.
	adopt(ctx context.Context, at storage.CheckpointMeta, pairs func() iter.Seq2[[]byte, []byte]) error
	// abandon undoes what fetch has done.
	abandon()
	// loud ends quiet.
	loud()
}

// behind has a replica catch up, beside its group.
func (k *Kernel) behind(r replica, id storage.ShardID, g Group, leader, index uint64) bool {
	at, ok := g.(groupBehind)
	return ok && k.Clustered() && k.spawn(func() { k.catchUp(r, id, at, leader, index) })
}

// catchUp fetches until the replica is where it is to be, or the kernel closes.
func (k *Kernel) catchUp(r replica, id storage.ShardID, g groupBehind, leader, index uint64) {
	ctx := k.ctx
	select {
	case k.fetches.slots <- struct{}{}:
		defer func() { <-k.fetches.slots }()
	case <-ctx.Done():
		return
	}
	if r.quiet(ctx) != nil {
		return
	}
	k.log.Info("behind", "target", r.name(), "leader", leader, "entry", index)
	for {
		err := k.fetchState(ctx, r, id, g, leader, index)
		switch {
		case err == nil:
			r.loud()
			g.Resume()
			return
		case fault.Is(err, fault.Conflict): // the log leads there by itself
			r.abandon()
			r.loud()
			g.Resume()
			return
		case errors.Is(err, errEnded) || ctx.Err() != nil:
			return
		}
		k.log.Warn("state not fetched", "target", r.name(), "node", leader, "err", err)
		leader = k.nextGiver(leader)
		if k.rest(ctx, catchUpAgain) != nil {
			return
		}
	}
}

// errEnded: there is nothing to be tried again.
var errEnded = errors.New("the replica has ended")

// nextGiver is another node to ask: the next one of those that are known here, for each keeps everything.
func (k *Kernel) nextGiver(after uint64) uint64 {
	var others []uint64
	for _, n := range k.Nodes() {
		if n.ID != k.cfg.Self {
			others = append(others, n.ID)
		}
	}
	if len(others) == 0 { // it has no log 0 yet
		others = slices.DeleteFunc(slices.Clone(k.meta.voters().Voters), func(id uint64) bool { return id == k.cfg.Self })
	}
	for _, id := range others {
		if id > after {
			return id
		}
	}
	if len(others) > 0 {
		return others[0]
	}
	return after
}

// fetchState fetches a state from one node and replaces the replica by it.
func (k *Kernel) fetchState(ctx context.Context, r replica, id storage.ShardID, g groupBehind, from, index uint64) error {
	f := k.newFetch(id)
	defer f.end()
	f.from.Store(from)
	defer func() { k.cfg.Peers.Send(from, f.frame(wantEnd, nil)) }() // if it is lost, the offer goes by itself
	at, state, err := f.state(ctx, index)
	if err != nil {
		return err
	}
	var bad error
	pairs := func() iter.Seq2[[]byte, []byte] { return pairsOf(state, &bad) }
	if err := errors.Join(r.fetch(ctx, f, pairs()), bad); err != nil {
		return err
	}
	done := make(chan error, 1)
	g.Install(at, func(err error) { done <- err })
	select {
	case err := <-done:
		if err != nil && !fault.Is(err, fault.Conflict) {
			return errEnded
		}
		if err != nil {
			return err
		}
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := r.adopt(ctx, at, pairs); err != nil {
		if ctx.Err() == nil {
			k.fail(fault.New(fault.Internal, "catch up", r.name(), "%w", err))
		}
		return errEnded
	}
	k.stats.CaughtUp.Add(1)
	k.log.Info("caught up", "target", r.name(), "node", from, "entry", at.Index, "bytes", f.done.Load())
	return nil
}

// state fetches the checkpoint, which must reach index.
func (f *fetch) state(ctx context.Context, index uint64) (storage.CheckpointMeta, []byte, error) {
	b, err := f.ask(ctx, wantBegin, nil)
	if err != nil {
		return storage.CheckpointMeta{}, nil, err
	}
	r := codec.NewReader(b)
	at := storage.CheckpointMeta{Index: r.Uint(), Term: r.Uint()}
	size, sum := r.Uint(), uint32(r.Uint())
	at.Members, err = readMembers(&r)
	switch {
	case err != nil:
		return at, nil, fault.New(fault.Invalid, "fetch", "", "a malformed offer")
	case at.Index < index:
		return at, nil, fault.New(fault.Unavailable, "fetch", "", "the node has only entry %d, and the log goes on after %d", at.Index, index)
	}
	f.index.Store(at.Index)
	f.total.Store(int64(size))
	var state []byte
	for uint64(len(state)) < size {
		piece, err := f.ask(ctx, wantState, codec.Uint(nil, uint64(len(state))))
		if err == nil && len(piece) == 0 {
			err = fault.New(fault.Invalid, "fetch", "", "the state ends early")
		}
		if err != nil {
			return at, nil, err
		}
		state = append(state, piece...)
		if err := f.took(ctx, len(piece)); err != nil {
			return at, nil, err
		}
	}
	if crc32.Checksum(state, stateTable) != sum {
		return at, nil, fault.New(fault.Invalid, "fetch", "", "the state has another checksum")
	}
	return at, state, nil
}

// ---- a shard -----------------------------------------------------------------

// Behind implements cluster/group.Machine.
func (s *shardRun) Behind(leader, index, _ uint64) bool {
	s.away.Store(new(error(fault.New(fault.Unavailable, "read", s.name(), "this node is behind, and catches up"))))
	if s.k.behind(s, s.id, s.group, leader, index) {
		return true
	}
	s.away.Store(nil)
	return false
}

func (s *shardRun) quiet(ctx context.Context) error {
	if s.saving.running { // nobody applies: it is ours
		select {
		case err := <-s.saving.done:
			s.saving.running = false
			s.saving.full = s.saving.full || err != nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for _, t := range s.sortedTails() {
		for !t.flushing.CompareAndSwap(false, true) { // a segment that takes long is written still
			if err := s.k.rest(ctx, catchUpAgain); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *shardRun) loud() {
	for _, t := range s.sortedTails() {
		t.flushing.Store(false)
	}
	s.away.Store(nil)
}

func (s *shardRun) abandon() {
	for _, t := range s.sortedTails() {
		t.reopen() // which cuts it to where it was
	}
}

// missing is what a segment lacks of a state.
type missing struct {
	log      uint64
	from, to int64
	keep     int64
	seg      storage.Segment
}

// fetch brings the segments to where the state says.
func (s *shardRun) fetch(ctx context.Context, f *fetch, state iter.Seq2[[]byte, []byte]) error {
	m, carried, err := restored(state)
	if err != nil {
		return err
	}
	var lacks []missing
	for l := range m.Logs() {
		lack := missing{log: l.ID, to: l.Next, keep: l.Keep()}
		if c := carried[l.ID]; len(c) > 0 {
			lack.to = c[0].BaseOffset()
		}
		if lack.to == 0 {
			continue // there has never been anything
		}
		if err := s.lack(&lack); err != nil {
			return err
		}
		lacks = append(lacks, lack)
	}
	if err := f.sizes(ctx, lacks); err != nil {
		return err
	}
	for i := range lacks {
		if err := f.batches(ctx, &lacks[i]); err != nil {
			s.undo(lacks[i].log) // what it was given is not to be built on
			return fmt.Errorf("log %d: %w", lacks[i].log, err)
		}
	}
	return nil
}

// lack opens the segment of a log, and finds out what it has. One that is damaged, or of which no
// checkpoint speaks, is begun anew; another stays what the replica has if nothing comes of this.
func (s *shardRun) lack(m *missing) error {
	if t := s.tail(m.log); t != nil && t.whole() == nil {
		seg, err := t.open()
		if err == nil {
			m.seg, m.from = seg, max(m.keep, seg.End())
		}
		if !rotten(err) {
			return err
		}
	}
	s.forgetSegment(m.log)
	seg, err := s.k.engine.Segments().Open(storage.LogID{Shard: s.id, Log: m.log})
	m.seg, m.from = seg, m.keep
	if err == nil {
		s.fetched[m.log] = seg
	}
	return err
}

// undo takes back what was appended to a segment: one that was begun anew goes, and the replica's own is
// cut when it is opened next.
func (s *shardRun) undo(log uint64) {
	if s.fetched[log] != nil {
		s.forgetSegment(log)
	} else if t := s.tail(log); t != nil {
		t.reopen()
	}
}

// forgetSegment removes a segment. Its tail, if there is one, is not read while the shard is away.
func (s *shardRun) forgetSegment(log uint64) {
	if t := s.tail(log); t != nil {
		t.reopen()
	}
	if seg := s.fetched[log]; seg != nil {
		_ = seg.Close()
		delete(s.fetched, log)
	}
	if err := s.k.engine.Segments().Remove(storage.LogID{Shard: s.id, Log: log}); err != nil {
		s.k.log.Warn("segment not removed", "shard", s.id, "log", log, "err", err)
	}
}

// sizes asks how much there is to fetch.
func (f *fetch) sizes(ctx context.Context, lacks []missing) error {
	for len(lacks) > 0 {
		n := min(len(lacks), sizesMax)
		var args []byte
		for _, m := range lacks[:n] {
			if m.from < m.to {
				args = codec.Int(codec.Int(codec.Uint(args, m.log), m.from), m.to)
			}
		}
		lacks = lacks[n:]
		b, err := f.ask(ctx, wantSizes, args)
		if err != nil {
			return err
		}
		r := codec.NewReader(b)
		f.total.Add(r.Int())
	}
	return nil
}

// batches fetches what a segment lacks, and syncs it.
func (f *fetch) batches(ctx context.Context, m *missing) error {
	at := m.from
	put := func(b record.Batch) error {
		if m.seg.End() == m.seg.Start() && b.BaseOffset() > m.keep { // what was there first is not wanted any more
			if err := m.seg.Append(unwanted(m.keep, b.BaseOffset())); err != nil {
				return err
			}
		}
		at = b.NextOffset()
		return m.seg.Append(b)
	}
	for at < m.to {
		args := codec.Int(codec.Int(codec.Uint(nil, m.log), at), m.to)
		raw, err := f.ask(ctx, wantBatches, args)
		if err != nil {
			return err
		}
		if len(raw) == 0 {
			break
		}
		for rest := raw; len(rest) > 0; {
			b, left, err := record.Check(rest, len(rest))
			if err != nil {
				return err
			}
			rest = left
			if b.BaseOffset() < at && b.NextOffset() > at && b.Count() == 0 {
				b = unwanted(at, b.NextOffset()) // an empty one spans more there than here
			}
			if b.BaseOffset() < at || b.NextOffset() > m.to {
				return fault.New(fault.Invalid, "fetch", "", "a batch of offsets %d to %d where %d to %d are wanted", b.BaseOffset(), b.NextOffset(), at, m.to)
			}
			if err := put(b); err != nil {
				return err
			}
		}
		if err := f.took(ctx, len(raw)); err != nil {
			return err
		}
	}
	if end := m.seg.End(); end < m.to { // nobody wants what stood there
		if err := put(unwanted(min(max(at, m.keep), m.to-1), m.to)); err != nil {
			return err
		}
	}
	return m.seg.Sync()
}

func (s *shardRun) adopt(ctx context.Context, at storage.CheckpointMeta, pairs func() iter.Seq2[[]byte, []byte]) error {
	m, carried, err := restored(pairs())
	if err != nil {
		return err
	}
	if err := s.k.saveFetched(ctx, s.id, at, pairs); err != nil {
		return err
	}
	had := make(map[uint64]bool)
	for _, t := range s.sortedTails() {
		had[t.id.Log] = true
	}
	s.carried = ends(carried)
	for l := range m.Logs() {
		delete(had, l.ID)
		t := s.addTail(l.ID, l.Address, l.Start, l.Next)
		t.replace(l, carried[l.ID], s.fetched[l.ID])
		to := l.Next
		if c := carried[l.ID]; len(c) > 0 {
			to = c[0].BaseOffset()
		}
		if seg := t.opened(); seg != nil && seg.End() > to {
			t.reopen() // it has more, of its own or of an attempt before, and is cut when it is opened next
		}
		s.felt(t, nil) // it was synced a moment ago
	}
	clear(s.fetched)
	s.addTail(shard.Bodies, "", 0, m.Bodies().Next)
	delete(had, shard.Bodies)
	s.readMu.Lock()
	s.m = m
	s.readMu.Unlock()
	s.index, s.term, s.members, s.sinceSave, s.saving.full = at.Index, at.Term, at.Members, 0, false
	s.epoch.Store(int32(at.Term))
	s.unsaved.Store(0)
	s.savedAt.Store(s.k.engine.Log().Stats().Bytes)
	for log := range had {
		s.dropTail(log)
	}
	s.passOver()
	s.k.reroute(s)
	s.k.lookAfter()
	s.k.changes.tell()
	return nil
}

// saveFetched saves a state that was fetched as the shard's checkpoint. It waits for room.
func (k *Kernel) saveFetched(ctx context.Context, id storage.ShardID, at storage.CheckpointMeta, pairs func() iter.Seq2[[]byte, []byte]) error {
	for {
		err := k.engine.Checkpoints().Save(id, at, true, pairs())
		if !storage.NoSpace(err) {
			return err
		}
		if err := k.rest(ctx, catchUpAgain); err != nil {
			return err
		}
	}
}

// replace makes the tail that of a log as a fetched state has it. seg is its segment, if that is
// new.
func (t *tail) replace(l *shard.Log, carried []record.Batch, seg storage.Segment) {
	t.mu.Lock()
	t.batches, t.bytes = nil, 0
	t.start, t.next, t.first, t.flushed, t.total, t.head = l.Start, l.Next, l.Next, l.Next, -1, headTime{}
	t.restore(carried)
	if seg != nil {
		t.segment = watched{seg, t}
		t.broken.Store(nil)
	}
	wake := t.wakeLocked(nil)
	t.mu.Unlock()
	t.saved.Store(l.Next)
	t.flushing.Store(true) // until the shard is loud again
	for _, w := range wake {
		w.wake()
	}
}

// passOver tells those who wait for what is in the state that nobody knows what came of it.
func (s *shardRun) passOver() {
	sent := s.m.Sent(s.link, s.k.incarnation)
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for n < len(s.inflight) && s.inflight[n].seq <= sent {
		s.easeLocked(s.inflight[n].size)
		n++
	}
	passed := s.inflight[:n:n]
	s.inflight = append([]*pending(nil), s.inflight[n:]...)
	s.failLocked(passed, unknown{errPassed})
}

// reroute makes messages find the sessions of a shard as its new state has them, and ends what
// this node's connections had of the shard.
func (k *Kernel) reroute(s *shardRun) {
	k.sessionsMu.Lock()
	var routes []*sessionRoute
	for _, r := range k.sessions {
		if r.shard.Load() == s {
			routes = append(routes, r)
		}
	}
	k.sessionsMu.Unlock()
	for _, r := range routes {
		if online := r.online.Load(); online != nil {
			online.taken(GoneClosing)
			_ = s.do(func(p *pending) {
				p.b.CloseSession(&shard.CloseSession{Key: r.key, Epoch: online.epoch, Will: true})
			})
		}
		r.holder.Store(0)
	}
	k.restoreRoutes(s) // before what is over goes: who stays subscribed misses nothing
	for _, r := range routes {
		k.dropRoutes(s, r)
	}

	k.attachMu.Lock()
	var ended []*Attachment
	for _, a := range k.attached {
		if a.session == nil && a.q != nil && a.q.shard == s {
			ended = append(ended, a)
		}
	}
	k.attachMu.Unlock()
	for _, a := range ended {
		k.forget(a)
		_ = s.do(func(p *pending) { p.b.Detach(a.q.spec.ID, a.id, true) })
		a.sink.Gone(GoneClosing)
	}
	k.groups.disarmAll(s)
	k.groups.answerAll()
}

// dropRoutes takes out of the routes what a session of the shard is not subscribed to any more, and the
// session when it has ended.
func (k *Kernel) dropRoutes(s *shardRun, r *sessionRoute) {
	key := r.key
	has := make(map[string]bool)
	s.readMu.RLock()
	ms, there := s.m.Session(key)
	if there {
		ms.Subscriptions(func(filter string, _ session.Options) bool {
			has[filter] = true
			return true
		})
	}
	s.readMu.RUnlock()
	var over []string
	k.sessionsMu.Lock()
	for _, sub := range r.subs {
		if filter := sub.sub.Filter; !has[filter] {
			over = append(over, filter)
		}
	}
	k.sessionsMu.Unlock()
	for _, filter := range over {
		k.unroute(key, filter, false)
	}
	if !there {
		k.sessionEnded(s, key)
	}
}

// ---- log 0 -------------------------------------------------------------------

// Behind implements cluster/group.Machine.
func (l *log0) Behind(leader, index, _ uint64) bool { return l.k.behind(l, 0, l.group, leader, index) }

func (l *log0) name() string { return "log 0" }

func (l *log0) quiet(ctx context.Context) error {
	if !l.saving {
		return nil
	}
	select {
	case err := <-l.saved:
		l.saving, l.full = false, storage.NoSpace(err)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *log0) loud()    {}
func (l *log0) abandon() {}

// fetch: log 0 has nothing but its state, which must be one.
func (l *log0) fetch(_ context.Context, _ *fetch, state iter.Seq2[[]byte, []byte]) error {
	return new(meta.State).Restore(state)
}

func (l *log0) adopt(ctx context.Context, at storage.CheckpointMeta, pairs func() iter.Seq2[[]byte, []byte]) error {
	state := new(meta.State)
	if err := state.Restore(pairs()); err != nil {
		return err
	}
	if err := l.k.saveFetched(ctx, 0, at, pairs); err != nil {
		return err
	}
	l.applying.Lock()
	l.state, l.index, l.term, l.members, l.sinceSave, l.full = state, at.Index, at.Term, at.Members, 0, false
	l.view.Store(state.Fork())
	l.unsaved.Store(0)
	l.savedAt.Store(l.k.engine.Log().Stats().Bytes)
	l.k.access.replaced()
	l.k.topologyReplaced(l.view.Load())
	l.applying.Unlock()
	l.k.itemsChanged()

	sent := state.Sent(l.origin)
	l.mu.Lock()
	for len(l.waiting) > 0 && l.waiting[0].seq <= sent {
		l.waiting[0].done <- meta.Result{Err: errPassed}
		l.waiting = l.waiting[1:]
		l.sent = max(l.sent-1, 0)
	}
	l.mu.Unlock()
	l.k.changes.tell()
	return nil
}

// topologyReplaced follows a new state of log 0. A queue that stays is the same: consumers
// point to it.
func (k *Kernel) topologyReplaced(view *meta.State) {
	if len(k.shards) == 0 {
		return // still opening: rebuild follows
	}
	t := &k.topo
	t.mu.Lock()
	stays := make(map[uint64]bool)
	for q := range view.AllQueues() {
		stays[q.ID] = true
	}
	for _, sp := range t.spaces {
		clear(sp.exchanges)
		for _, x := range predeclared(sp.name) {
			sp.declare(x)
		}
		for id, q := range sp.byID {
			if stays[id] {
				continue
			}
			if q.filter != nil {
				sp.unshare(q)
			}
			delete(sp.queues, q.spec.Name)
			delete(sp.byID, id)
		}
	}
	clear(t.streams)
	t.mu.Unlock()
	k.rebuild(view)
	if self, ok := view.Node(k.cfg.Self); ok {
		k.nodeChanged(self)
	}
}
