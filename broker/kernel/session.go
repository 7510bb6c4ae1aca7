package kernel

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel/retained"
	"github.com/robustmq/rmq/broker/kernel/route"
	sm "github.com/robustmq/rmq/broker/kernel/session"
	"github.com/robustmq/rmq/broker/kernel/shard"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/record"

	qm "github.com/robustmq/rmq/broker/kernel/queue"
)

// Session is one connection's hold on a session. The session itself is in a shard's
// machine; this is its sink, and a mirror of what must be answered at once.
type Session struct {
	k     *Kernel
	route *sessionRoute
	shard *shardRun
	epoch uint64 // of the connection; also its attachment's id
	// opened is the entry that has resumed the session with this connection, where there are other
	// nodes: connections of a session are in its order. 0: it is the session's first, or the only node's.
	opened     uint64
	sink       Sink
	receiveMax uint16

	started atomic.Bool // deliveries may flow
	ended   atomic.Bool // taken over, or closed

	mu sync.Mutex
	// Made when there is something to be in them: most connections are silent.
	inflight map[uint16]uint32      // deliveries of this connection that wait for an ack: which share handed them over, or 0
	receipts map[uint16]*receipt    // QoS 2 publishes received by this connection
	shared   map[string]*Attachment // by filter
}

// sessionRoute is where a session's messages go: its shard, and, while it is connected
// here, its sink. It lives as long as the session.
type sessionRoute struct {
	key     string                   // as in the shard: shard.SessionKey
	opening sync.Mutex               // one connection at a time opens the session
	shard   atomic.Pointer[shardRun] // changed by who holds opening; nil before the first time
	online  atomic.Pointer[Session]
	holder  atomic.Uint64 // the connection, on whichever node; where there are others. 0: none is known

	subs filters // guarded by Kernel.sessionsMu
}

func (r *sessionRoute) ns() string {
	ns, _ := shard.SplitSessionKey(r.key)
	return ns
}

func (r *sessionRoute) client() string {
	_, client := shard.SplitSessionKey(r.key)
	return client
}

// filters are the subscriptions of one session, by filter. There are few, as a rule, and many
// sessions: a map would take five times the memory.
type filters []*subscriber

func (f filters) find(filter string) (int, bool) {
	return slices.BinarySearchFunc(f, filter, func(s *subscriber, filter string) int { return strings.Compare(s.sub.Filter, filter) })
}

// put adds a subscription and returns the one that it replaces, or nil.
func (f *filters) put(n *subscriber) (old *subscriber) {
	i, there := f.find(n.sub.Filter)
	if there {
		old, (*f)[i] = (*f)[i], n
		return old
	}
	*f = slices.Insert(*f, i, n)
	return nil
}

// take removes a subscription and returns it, or nil.
func (f *filters) take(filter string) *subscriber {
	i, there := f.find(filter)
	if !there {
		return nil
	}
	old := (*f)[i]
	*f = slices.Delete(*f, i, i+1)
	return old
}

// routeOf returns the route of a session, made when asked for.
func (k *Kernel) routeOf(ns, client string, create bool) *sessionRoute {
	key := shard.SessionKey(ns, client)
	k.sessionsMu.Lock()
	defer k.sessionsMu.Unlock()
	r := k.sessions[key]
	if r == nil && create {
		r = &sessionRoute{key: key}
		k.sessions[key] = r
	}
	return r
}

// OpenSession opens or resumes a session; present tells whether state was resumed. A
// connection that holds the session is told GoneTakenOver first. Nothing is delivered
// until Session.Start.
func (k *Kernel) OpenSession(ctx context.Context, spec SessionSpec) (s *Session, present bool, err error) {
	if k.closing.Load() {
		return nil, false, fault.Of(fault.Unavailable, "open session", spec.ClientID)
	}
	if n := len(spec.Namespace) + len(spec.ClientID); n > NameMax {
		return nil, false, fault.New(fault.Invalid, "open session", "", "client id of %d bytes, %d at most", n, NameMax)
	}
	var r *sessionRoute
	for { // a session that ends while we wait for its turn takes its route with it
		r = k.routeOf(spec.Namespace, spec.ClientID, true)
		r.opening.Lock()
		if k.routeOf(spec.Namespace, spec.ClientID, false) == r {
			break
		}
		r.opening.Unlock()
	}
	defer r.opening.Unlock()

	sh, err := k.placeSession(ctx, r, &spec)
	if err != nil {
		return nil, false, err
	}
	s = &Session{
		k: k, route: r, shard: sh, epoch: k.newAttachmentID(), sink: spec.Sink, receiveMax: spec.ReceiveMaximum,
	}
	k.attachMu.Lock()
	k.attached[s.epoch] = &Attachment{k: k, id: s.epoch, session: s, sink: spec.Sink}
	k.attachMu.Unlock()

	o := sm.OpenSpec{Epoch: s.epoch, Clean: spec.Clean, Expiry: spec.Expiry, ReceiveMax: spec.ReceiveMaximum}
	if spec.Will != nil {
		o.Will = &sm.Will{Message: alone(&spec.Will.Msg, k.nowMs()), Delay: spec.Will.Delay}
	}
	res, err := sh.call(ctx, func(b *shard.Builder) int { return b.OpenSession(s.route.key, &o) })
	if err != nil {
		k.forgetSession(s)
		// What was not waited for may still be applied: then it ends here.
		_ = sh.do(func(p *pending) { p.b.CloseSession(&shard.CloseSession{Key: s.route.key, Epoch: s.epoch}) })
		return nil, false, err
	}
	if !res.Known {
		s.opened = 0
	}
	r.online.Store(s)
	if s.ended.Load() { // it was ended before anybody could find it
		r.online.CompareAndSwap(s, nil)
	}
	if res.Known {
		s.rejoin(ctx)
	}
	return s, res.Known, nil
}

// placeSession chooses the shard: one of the namespace's durability when the session outlives
// its connection, or that in which an earlier connection left it when it is resumed. One that
// is somewhere else ends.
func (k *Kernel) placeSession(ctx context.Context, r *sessionRoute, spec *SessionSpec) (*shardRun, error) {
	want := k.local
	if spec.Expiry > 0 {
		want = slotOf(k.of(k.durabilityIn(spec.Namespace, "")), spec.Namespace, spec.ClientID)
	}
	have := r.shard.Load()
	if have != nil && have != want {
		if have != k.local && !spec.Clean {
			return have, nil
		}
		key := shard.SessionKey(spec.Namespace, spec.ClientID)
		r.shard.Store(want) // before the old one's end is told, which would drop the route
		if _, err := have.call(ctx, func(b *shard.Builder) int {
			return b.CloseSession(&shard.CloseSession{Key: key, End: true})
		}); err != nil {
			r.shard.Store(have)
			return nil, err
		}
	}
	r.shard.Store(want)
	return want, nil
}

// LeadsSession tells whether this node leads the shard in which a session is that outlives its
// connections, or would be.
func (k *Kernel) LeadsSession(ns, client string) bool {
	if r := k.routeOf(ns, client, false); r != nil {
		if s := r.shard.Load(); s != nil && s != k.local {
			return s.leads()
		}
	}
	return slotOf(k.of(k.durabilityIn(ns, "")), ns, client).leads()
}

// rejoin attaches a resumed session to the queues of its subscriptions again.
func (s *Session) rejoin(ctx context.Context) {
	var subs []Subscription
	s.shard.readMu.RLock()
	if ms, ok := s.shard.m.Session(s.route.key); ok {
		ms.Subscriptions(func(text string, o sm.Options) bool {
			if shard.Joins(text) {
				subs = append(subs, Subscription{Filter: text, QoS: o.QoS, ID: o.ID, RetainAsPublished: o.RetainAsPublished})
			}
			return true
		})
	}
	s.shard.readMu.RUnlock()
	for _, sub := range subs {
		if err := s.join(ctx, sub); err != nil {
			s.k.log.Warn("subscription not resumed", "client", s.route.client(), "filter", sub.Filter, "err", err)
		}
	}
}

// Start begins delivery, after CONNACK was written: first what was inflight, in
// order (DUP set; a Delivery with a nil Msg asks for PUBREL of its PacketID to be sent
// again), then the backlog.
func (s *Session) Start() {
	s.started.Store(true)
	_ = s.shard.do(func(p *pending) { p.b.Start(s.route.key, s.epoch) })
	s.mu.Lock()
	shared := slices.Collect(maps.Values(s.shared))
	s.mu.Unlock()
	handed := s.handed(shared...)
	for _, a := range shared { // without the lock: it may deliver at once, to this session too
		a.Credit(a.share.room(handed))
	}
}

// deliver hands over a live message at QoS 0.
func (s *Session) deliver(d *Delivery) {
	if !s.started.Load() {
		return
	}
	s.k.stats.out(len(d.Msg.Value))
	if !s.sink.Deliver(d) {
		s.k.stats.Dropped.Add(1)
	}
}

// deliverLogged hands over a message of the backlog.
func (s *Session) deliverLogged(d *Delivery, share uint32) {
	s.await(d.PacketID, share)
	if share != 0 {
		d.SubIDs = s.member(share).identifiers()
	} else {
		d.SubIDs = s.route.identifiers(s.k, d.Msg.Address)
	}
	d.From, d.No = nil, 0
	s.k.stats.out(len(d.Msg.Value))
	s.sink.Deliver(d)
}

// await notes a delivery that the client is to acknowledge.
func (s *Session) await(id uint16, share uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inflight == nil {
		s.inflight = make(map[uint16]uint32)
	}
	s.inflight[id] = share
}

// resend asks for PUBREL to be sent again.
func (s *Session) resend(id uint16) {
	s.await(id, 0)
	s.sink.Deliver(&Delivery{PacketID: id})
}

// identifiers are those of the subscriptions that match an address.
func (r *sessionRoute) identifiers(k *Kernel, address string) (ids []uint32) {
	k.sessionsMu.Lock()
	defer k.sessionsMu.Unlock()
	for _, sub := range r.subs {
		if sub.sub.ID != 0 && route.MatchFilter(shard.Wanted(sub.sub.Filter), address) {
			ids = append(ids, sub.sub.ID)
		}
	}
	return ids
}

const sharePrefix = shard.SharePrefix

// Subscribe adds or replaces subscriptions; on return their routes hold. existed[i]
// tells whether that filter was subscribed before. errs[i] is nil when granted.
func (s *Session) Subscribe(ctx context.Context, subs []Subscription) (existed []bool, errs []error) {
	existed, errs = make([]bool, len(subs)), make([]error, len(subs))
	for i, sub := range subs {
		if n := len(s.route.ns()) + len(sub.Filter); n > NameMax && shard.Joins(sub.Filter) {
			errs[i] = fault.New(fault.TooLarge, "subscribe", "", "name of %d bytes, %d at most", n, NameMax)
			continue
		}
		if name, ok := consumedQueue(sub.Filter); ok {
			if _, errs[i] = s.k.openQueue("subscribe", s.route.ns(), name, 0); errs[i] != nil {
				continue
			}
		}
		if exclusive(sub.Filter) {
			if errs[i] = s.claim(ctx, sub.Filter); errs[i] != nil {
				continue
			}
		}
		o := sm.Options{ID: sub.ID, QoS: sub.QoS, RetainHandling: sub.RetainHandling, NoLocal: sub.NoLocal, RetainAsPublished: sub.RetainAsPublished}
		res, err := s.shard.call(ctx, func(b *shard.Builder) int { return b.Subscribe(s.route.key, sub.Filter, o) })
		if err == nil && exclusive(sub.Filter) && !s.claimed(sub.Filter) { // the session is another connection's now
			_, _ = s.shard.call(ctx, func(b *shard.Builder) int { return b.Unsubscribe(s.route.key, sub.Filter) })
			err = fault.Of(fault.Unavailable, "subscribe", sub.Filter)
		}
		if err != nil {
			errs[i] = err
			continue
		}
		existed[i] = res.Known
		if shard.Joins(sub.Filter) {
			if errs[i] = s.join(ctx, sub); errs[i] != nil && !res.Known {
				_, _ = s.shard.call(ctx, func(b *shard.Builder) int { return b.Unsubscribe(s.route.key, sub.Filter) })
			}
		}
	}
	s.k.everywhere(ctx, s.shard.id, &s.shard.asks)
	return existed, errs
}

// sessionOpened follows the opening of a session, by whichever node.
func (k *Kernel) sessionOpened(s *shardRun, e *shard.Effect) {
	if !k.Clustered() {
		return // OpenSession has done it
	}
	k.routeTo(s, e.Session).holder.Store(e.Attachment)
	if a := k.attachment(e.Attachment); a != nil && a.session != nil { // OpenSession waits for this
		a.session.opened = s.index
	}
}

// filterAdded follows a subscription, made by whichever node: from here on messages for the
// filter find the session.
func (k *Kernel) filterAdded(s *shardRun, e *shard.Effect) {
	k.routeFilter(k.routeTo(s, e.Session), e.Key, e.Filter)
}

// routeTo is the route of a session that is in a shard.
func (k *Kernel) routeTo(s *shardRun, key string) *sessionRoute {
	ns, client := shard.SplitSessionKey(key)
	r := k.routeOf(ns, client, true)
	r.shard.Store(s)
	return r
}

// routeFilter makes a subscription that a shard's machine has findable.
func (k *Kernel) routeFilter(r *sessionRoute, filter string, o sm.Options) {
	sub := Subscription{
		Filter: filter, QoS: o.QoS, NoLocal: o.NoLocal, RetainAsPublished: o.RetainAsPublished, RetainHandling: o.RetainHandling, ID: o.ID,
	}
	switch {
	case strings.HasPrefix(filter, sharePrefix):
		k.share(r, sub)
	case shard.Joins(filter):
		k.sessionsMu.Lock()
		r.subs.put(&subscriber{session: r, sub: sub})
		k.sessionsMu.Unlock()
	default:
		k.addRoute(r, sub)
	}
}

// share counts the session among those in a shared subscription.
func (k *Kernel) share(r *sessionRoute, sub Subscription) {
	k.sessionsMu.Lock()
	defer k.sessionsMu.Unlock()
	if r.subs.put(&subscriber{session: r, sub: sub}) == nil {
		k.sharers[r.ns()+"\x00"+sub.Filter]++
	}
}

// addRoute makes messages for a filter find the session.
func (k *Kernel) addRoute(r *sessionRoute, sub Subscription) {
	k.sessionsMu.Lock()
	defer k.sessionsMu.Unlock()
	table := k.topo.space(r.ns()).subs
	n := &subscriber{session: r, sub: sub}
	old := r.subs.put(n)
	filter := route.SlashedFilter(shard.Wanted(sub.Filter))
	table.Add(filter, n) // before the old one goes: two are one delivery, none is a loss
	if old != nil {
		table.Remove(filter, old)
	}
}

// unroute takes one filter of a session out of the routes. leads: this node is to delete the
// queue of a shared subscription that nobody is left in.
func (k *Kernel) unroute(key, filter string, leads bool) {
	ns, client := shard.SplitSessionKey(key)
	k.sessionsMu.Lock()
	defer k.sessionsMu.Unlock()
	r := k.sessions[shard.SessionKey(ns, client)]
	if r == nil {
		return
	}
	old := r.subs.take(filter)
	if old == nil {
		return
	}
	if strings.HasPrefix(filter, sharePrefix) {
		at := ns + "\x00" + filter
		if k.sharers[at]--; k.sharers[at] <= 0 {
			delete(k.sharers, at)
			if leads {
				k.post(work{leave: filter, ns: ns})
			}
		}
		return
	}
	if shard.Joins(filter) {
		return
	}
	k.topo.space(ns).subs.Remove(route.SlashedFilter(shard.Wanted(filter)), old)
	if leads && exclusive(filter) {
		k.post(work{unclaim: filter, ns: ns})
	}
}

// Unsubscribe removes filters; existed[i] tells whether there was one.
func (s *Session) Unsubscribe(ctx context.Context, filters []string) (existed []bool, err error) {
	existed = make([]bool, len(filters))
	for i, f := range filters {
		res, err := s.shard.call(ctx, func(b *shard.Builder) int { return b.Unsubscribe(s.route.key, f) })
		if err != nil {
			return existed, err
		}
		existed[i] = res.Known
		s.mu.Lock()
		a := s.shared[f]
		delete(s.shared, f)
		s.mu.Unlock()
		if a != nil {
			if err := a.Detach(ctx, false); err != nil {
				return existed, err
			}
		}
		if exclusive(f) {
			if err := s.unclaim(ctx, f); err != nil {
				return existed, err
			}
		}
	}
	return existed, nil
}

// join makes the session a consumer of the queue that it is subscribed to, or of a shared
// subscription's, which is made when it is not there (MQTT 5 section 4.8.2).
func (s *Session) join(ctx context.Context, sub Subscription) error {
	k := s.k
	k.sharing.RLock()
	defer k.sharing.RUnlock()
	name, consumed := consumedQueue(sub.Filter)
	if !consumed {
		name = sub.Filter
		spec := QueueSpec{
			Namespace: s.route.ns(), Name: name, Durable: s.shard.class.logged(), Durability: s.shard.class.durability(),
			MessageTTL: -1, MaxLength: shard.BacklogMax, MaxLengthBytes: shard.BacklogBytesMax, DeliveryLimit: -1,
		}
		if _, _, err := k.DeclareQueue(ctx, spec); err != nil {
			return err
		}
	}
	s.mu.Lock()
	old := s.shared[sub.Filter]
	s.mu.Unlock()
	if old != nil {
		if err := old.Detach(ctx, false); err != nil {
			return err
		}
	}
	m := newMembership(s, sub)
	a, err := k.Attach(ctx, AttachSpec{
		Namespace: s.route.ns(), Queue: name, Tag: s.route.client(), Refill: !m.hands(), Sink: s.sink, share: m,
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	if s.shared == nil {
		s.shared = make(map[string]*Attachment)
	}
	s.shared[sub.Filter] = a
	s.mu.Unlock()
	if s.started.Load() {
		a.Credit(m.room(s.handed(a)))
	}
	return nil
}

// leave deletes a shared subscription's queue once nobody is subscribed to it.
func (k *Kernel) leave(ns, filter string) {
	key := ns + "\x00" + filter
	k.sharing.Lock() // nobody joins meanwhile
	defer k.sharing.Unlock()
	k.sessionsMu.Lock()
	last := k.sharers[key] == 0
	k.sessionsMu.Unlock()
	if q := k.lookup(ns, filter); q != nil && last {
		if _, err := k.deleteQueue(k.ctx, q, false, false); err != nil && !k.closing.Load() {
			k.log.Warn("shared subscription not deleted", "filter", filter, "err", err)
		}
	}
}

// Ack ends an outgoing QoS 1 or 2 delivery: PUBACK, PUBCOMP, or a PUBREC that refuses
// (ok false: a negative reason code, the message is dropped). known false: there is no
// such delivery.
func (s *Session) Ack(packetID uint16, ok bool) (known bool) {
	s.mu.Lock()
	share, known := s.inflight[packetID]
	delete(s.inflight, packetID)
	s.mu.Unlock()
	if known {
		_ = s.shard.do(func(p *pending) { p.b.Ack(s.route.key, s.epoch, packetID, ok) })
		s.handedEnded(share)
	}
	return known
}

// Received notes PUBREC for an outgoing QoS 2 delivery. done is called once that is
// durable: then PUBREL may leave, and the client forgets that it has the message, so it
// must not be sent again. known false: 0x92. When the shard has stopped, or the session is another
// connection's, done is not called: what the client has is not known, and it keeps it.
func (s *Session) Received(packetID uint16, done func(known bool)) {
	s.mu.Lock()
	_, known := s.inflight[packetID]
	s.mu.Unlock()
	if !known {
		done(false)
		return
	}
	_ = s.shard.do(func(p *pending) { p.await(-1, p.b.Received(s.route.key, s.epoch, packetID), receivedWait(done)) })
}

type receivedWait func(known bool)

func (done receivedWait) applied(_ *shard.BatchResult, or *shard.OpResult, err error) {
	if err == nil && or.Err == nil {
		done(or.Known)
	}
}

// Close ends the connection's hold on the session. will: publish the will message (after
// its delay). expiry, when not nil, replaces the session expiry interval.
func (s *Session) Close(will bool, expiry *uint32) {
	if s.ended.Swap(true) {
		return
	}
	s.route.online.CompareAndSwap(s, nil)
	s.leaveShared()
	_, _ = s.shard.call(s.k.ctx, func(b *shard.Builder) int {
		return b.CloseSession(&shard.CloseSession{Key: s.route.key, Epoch: s.epoch, Will: will, Expiry: expiry})
	}) // a shard that stopped closes it when it comes back
	s.k.forgetSession(s)
}

// taken ends the connection's hold because somebody else has the session, or none has.
func (s *Session) taken(reason GoneReason) {
	if s.ended.Swap(true) {
		return
	}
	s.route.online.CompareAndSwap(s, nil)
	s.k.forgetSession(s)
	s.k.post(work{parted: s})
	s.sink.Gone(reason)
}

// leaveShared detaches from shared subscriptions: what is unsettled goes to others.
func (s *Session) leaveShared() {
	s.mu.Lock()
	shared := s.shared
	s.shared = nil
	s.mu.Unlock()
	for _, a := range shared {
		_ = a.Detach(s.k.ctx, true)
	}
}

func (k *Kernel) forgetSession(s *Session) {
	k.attachMu.Lock()
	delete(k.attached, s.epoch)
	k.attachMu.Unlock()
}

// sessionEnded follows the end of a session in a shard.
func (k *Kernel) sessionEnded(s *shardRun, key string) {
	k.sessionsMu.Lock()
	defer k.sessionsMu.Unlock()
	if r := k.sessions[key]; r != nil && r.shard.Load() == s && r.online.Load() == nil {
		delete(k.sessions, key)
	}
}

// endSessions closes every connection's session: the broker is closing, and wills are not
// published for that.
func (k *Kernel) endSessions() {
	k.sessionsMu.Lock()
	var all []*Session
	for _, r := range k.sessions {
		if s := r.online.Load(); s != nil {
			all = append(all, s)
		}
	}
	k.sessionsMu.Unlock()
	for _, s := range all {
		s.sink.Gone(GoneClosing)
	}
}

// EndSession ends a session whatever its expiry, and disconnects its client.
func (k *Kernel) EndSession(ctx context.Context, ns, client string) error {
	r := k.routeOf(ns, client, false)
	if r == nil || r.shard.Load() == nil {
		return fault.Of(fault.NotFound, "end session", client)
	}
	if s := r.online.Load(); s != nil {
		s.taken(GoneDeleted)
	}
	_, err := r.shard.Load().call(ctx, func(b *shard.Builder) int {
		return b.CloseSession(&shard.CloseSession{Key: shard.SessionKey(ns, client), End: true})
	})
	return err
}

// restoreRoutes makes the subscriptions of a shard's sessions findable after a start, and where
// their clients are.
func (k *Kernel) restoreRoutes(s *shardRun) {
	s.eachSession(func(ms *shard.Session) {
		r := k.routeTo(s, ms.Key)
		if info := ms.Info(); info.Connected && k.Clustered() {
			r.holder.Store(info.Epoch)
		}
		ms.Subscriptions(func(text string, o sm.Options) bool {
			k.routeFilter(r, text, o)
			return true
		})
	})
}

// ---- retained messages -----------------------------------------------------

// retainedStep is how many retained messages are looked at between two looks at the
// shard by others.
const retainedStep = 256

// eachRetained calls fn for the retained messages of a namespace that match a filter,
// until it returns false.
func (k *Kernel) eachRetained(ns, filter string, fn func(m *message.Message) bool) {
	for _, s := range k.retainers() {
		for after, more := "", true; more; {
			var refs []retained.Ref
			s.readMu.RLock()
			after, more = s.m.Retained().Scan(ns, filter, after, retainedStep, func(_ string, r retained.Ref) bool {
				refs = append(refs, r)
				return true
			})
			s.readMu.RUnlock()
			for _, r := range refs {
				ok := true
				err := s.message(qm.Ref{Log: r.Log, Offset: r.Offset}, func(m *message.Message) { ok = fn(m) })
				if err != nil {
					continue // replaced or cleared since
				}
				if !ok {
					return
				}
			}
		}
	}
}

// retainers are the shards that hold retained messages.
func (k *Kernel) retainers() []*shardRun {
	return append(append([]*shardRun(nil), k.data...), k.local)
}

// Retained delivers the retained messages that match subscriptions, of one after another, with those
// that are on their way; the adapter calls it after SUBACK, for those of which retain handling asks for
// it. Never for shared ones. It waits once for what is on its way. An error says that nothing was
// delivered, because the newest ones are not known here.
func (s *Session) Retained(subs ...Subscription) error {
	if len(subs) == 0 {
		return nil
	}
	if err := s.k.awaitRetained(s.k.retainers()); err != nil {
		return err
	}
	for _, sub := range subs {
		s.retained(sub)
	}
	return nil
}

func (s *Session) retained(sub Subscription) {
	now := s.k.nowMs()
	var ids []uint32
	if sub.ID != 0 {
		ids = []uint32{sub.ID}
	}
	s.k.eachRetained(s.route.ns(), shard.Wanted(sub.Filter), func(m *message.Message) bool {
		if m.ExpiresAt != 0 && m.ExpiresAt <= now {
			return true
		}
		qos := min(m.QoS, sub.QoS)
		if qos == 0 {
			if s.sink.Deliver(&Delivery{Msg: m, Retain: true, SubIDs: ids}) {
				s.k.stats.out(len(m.Value))
			} else {
				s.k.stats.Dropped.Add(1)
			}
			return !s.ended.Load()
		}
		if err := s.k.awaitRoom(s.k.ctx, func() bool { return !s.shard.crowded.Load() || s.ended.Load() }); err != nil {
			return false
		}
		err := s.shard.publish(func(p *pending) {
			batch, rec := addRecord(&p.b, shard.Bodies, m, "", shard.Once{})
			p.b.Route(&shard.Route{
				Batch: batch, Record: rec, Namespace: s.route.ns(), Address: m.Address, Size: uint32(len(m.Value)), ExpiresAt: m.ExpiresAt,
				QoS: qos, Retain: true, To: s.route.key,
			})
		})
		return err == nil && !s.ended.Load()
	})
}

// RetainedMessages returns retained messages whose address matches an MQTT filter, at most limit. "" matches all, those
// under a $-root too.
func (k *Kernel) RetainedMessages(ns, filter string, limit int) []message.Message {
	var out []message.Message
	k.eachRetained(ns, filter, func(m *message.Message) bool {
		out = append(out, m.Clone())
		return len(out) < limit
	})
	sortBy(out, func(m *message.Message) string { return m.Address })
	return out
}

// ---- wills -----------------------------------------------------------------

// alone is a message as a batch of its own: so a session keeps its will.
func alone(m *message.Message, now int64) []byte {
	var b record.Builder
	b.Reset(nil, now)
	b.MarkMade()
	b.Add(now, message.RecordKey(m, ""), m.Value, message.AppendRecordHeaders(nil, m, "")...)
	return b.Finish()
}

// willDue hands over a will to be published.
func (s *shardRun) willDue(e *shard.Effect) {
	s.k.post(work{will: e.Will, session: e.Session, shard: s, seq: e.Seq})
}

// publishWill publishes the will of a session. Its expiry interval counts from now
// (MQTT 5 section 3.1.3.2.4 leaves it to the publication).
func (k *Kernel) publishWill(w *work) {
	ns, _ := shard.SplitSessionKey(w.session)
	err := record.Batch(w.will).Each(func(r *record.Record) error {
		m := message.FromRecord(r.Key, r.Value, r.Headers, 0, "", true)
		now := k.nowMs()
		if m.ExpiresAt != 0 {
			m.ExpiresAt += now - r.Time
		}
		return k.publish(&Publish{Namespace: ns, Msg: m, Reply: &deadReply{*w}}, false)
	})
	if err != nil {
		k.log.Error("will not readable", "session", w.session, "err", err)
	}
}
