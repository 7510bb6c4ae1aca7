package kernel

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel/meta"
	qm "github.com/robustmq/rmq/broker/kernel/queue"
	"github.com/robustmq/rmq/broker/kernel/shard"
)

// metaFor is the metadata log that a thing belongs to by its durability.
func (k *Kernel) metaFor(durable bool) *log0 {
	if durable {
		return k.meta
	}
	return k.transient
}

// metas are the metadata logs that there are.
func (k *Kernel) metas() []*log0 {
	if k.transient == k.meta {
		return []*log0{k.meta}
	}
	return []*log0{k.meta, k.transient}
}

// lookup finds a queue by name.
func (k *Kernel) lookup(ns, name string) *queue {
	k.topo.mu.RLock()
	defer k.topo.mu.RUnlock()
	sp := k.topo.spaces[ns]
	if sp == nil {
		return nil
	}
	return sp.queues[name]
}

// open finds a queue by name for one connection: fault.NotFound, or fault.Locked when it is
// exclusive to another.
func (k *Kernel) openQueue(op, ns, name string, owner uint64) (*queue, error) {
	q := k.lookup(ns, name)
	if q == nil {
		return nil, fault.Of(fault.NotFound, op, name)
	}
	if q.spec.Exclusive && q.spec.Owner != owner {
		return nil, fault.Of(fault.Locked, op, name)
	}
	return q, nil
}

// DeclareQueue creates a queue, or returns the one of that name (created false), which
// the caller compares. fault.Locked: exclusive to another owner.
func (k *Kernel) DeclareQueue(ctx context.Context, spec QueueSpec) (info QueueInfo, created bool, err error) {
	if q, err := k.openQueue("declare queue", spec.Namespace, spec.Name, spec.Owner); err == nil || fault.Is(err, fault.Locked) {
		if q == nil {
			return QueueInfo{}, false, err
		}
		if q.made.Load() && q.spec.Expires == 0 {
			return k.queueInfo(q), false, nil
		}
		// Somebody else declares it at this moment, or counts on being reminded that it is used.
		return k.queueInfo(q), false, k.makeQueue(ctx, q)
	}
	named := named(&spec)
	s := k.local
	switch d := spec.Durability; {
	case d != "" && !d.Valid():
		return QueueInfo{}, false, fault.New(fault.Invalid, "declare queue", spec.Name, "durability %q is none of sync, async, memory", d)
	case named:
		spec.Durability = k.durabilityIn(spec.Namespace, d)
		s = slotOf(k.of(spec.Durability), spec.Namespace, spec.Name)
	case d == Sync || d == Async:
		return QueueInfo{}, false, fault.New(fault.Invalid, "declare queue", spec.Name,
			"durability %s needs a queue that is durable and not exclusive: this one dies with the broker", d)
	default:
		spec.Durability = Memory
	}
	if !spec.Exclusive {
		spec.Owner = 0
	}
	r, err := k.metaFor(named).do(ctx, &meta.Command{Op: meta.CreateQueue, Queue: &spec, Shards: []uint32{uint32(s.id)}})
	if err != nil {
		return QueueInfo{}, false, err
	}
	q, err := k.openQueue("declare queue", spec.Namespace, spec.Name, spec.Owner)
	if err == nil {
		err = k.makeQueue(ctx, q)
	}
	if err != nil {
		return QueueInfo{}, false, err
	}
	return k.queueInfo(q), r.Created, nil
}

// named tells whether log 0 knows of a queue, so that it outlives the broker, if not its
// messages.
func named(q *meta.Queue) bool { return q.Durable && !q.Exclusive }

// makeQueue makes a queue in its shard, or notes there that it was declared again.
func (k *Kernel) makeQueue(ctx context.Context, q *queue) error {
	how := dispatchOf(k.meta.view.Load(), q.spec)
	_, err := q.shard.call(ctx, func(b *shard.Builder) int {
		i := b.CreateQueue(q.spec.ID, limitsOf(q.spec), q.spec.Expires)
		if how != qm.RoundRobin {
			b.Dispatch(q.spec.ID, how)
		}
		return i
	})
	if err == nil {
		q.made.Store(true)
		err = k.redispatch(ctx, q) // what is set may have changed meanwhile
	}
	return err
}

func limitsOf(q *meta.Queue) qm.Limits {
	return qm.Limits{
		MessageTTL: q.MessageTTL, MaxLength: q.MaxLength, MaxBytes: q.MaxLengthBytes, DeliveryLimit: q.DeliveryLimit,
		Overflow: qm.Overflow(q.Overflow), MaxPriority: q.MaxPriority, DeadLetter: q.DeadLetterExchange != nil, SingleActive: q.SingleActive,
	}
}

// Queue returns a queue as it stands; fault.NotFound, or fault.Locked for another owner's.
func (k *Kernel) Queue(ns, name string, owner uint64) (QueueInfo, error) {
	q, err := k.openQueue("look up queue", ns, name, owner)
	if err != nil {
		return QueueInfo{}, err
	}
	return k.queueInfo(q), nil
}

// Queues lists the queues of a namespace.
func (k *Kernel) Queues(ns string) []QueueInfo {
	var out []QueueInfo
	for _, l := range k.metas() {
		for spec := range l.view.Load().AllQueues() {
			if spec.Namespace != ns {
				continue
			}
			if q := k.lookup(ns, spec.Name); q != nil {
				out = append(out, k.queueInfo(q))
			}
		}
	}
	return out
}

func (k *Kernel) queueInfo(q *queue) QueueInfo {
	info := QueueInfo{QueueSpec: *q.spec}
	if st, ok := q.shard.queueStats(q.spec.ID); ok {
		info.Ready, info.Unacked, info.Consumers, info.Bytes = st.Ready, st.Unacked+st.Held, st.Consumers, st.ReadyBytes
	}
	return info
}

// DeleteQueue removes a queue and its bindings and tells how many messages were in it.
func (k *Kernel) DeleteQueue(ctx context.Context, ns, name string, owner uint64, ifUnused, ifEmpty bool) (int64, error) {
	q, err := k.openQueue("delete queue", ns, name, owner)
	if err != nil {
		return 0, err
	}
	return k.deleteQueue(ctx, q, ifUnused, ifEmpty)
}

// deleteQueue removes the queue from its shard first, where the conditions are checked, and
// then from the metadata; a crash between the two is put right by reconcile.
func (k *Kernel) deleteQueue(ctx context.Context, q *queue, ifUnused, ifEmpty bool) (int64, error) {
	r, err := q.shard.call(ctx, func(b *shard.Builder) int { return b.DeleteQueue(q.spec.ID, ifUnused, ifEmpty) })
	if err != nil {
		return r.N, err
	}
	cmd := meta.Command{Op: meta.DeleteQueue, Namespace: q.spec.Namespace, Name: q.spec.Name}
	for _, l := range k.metas() {
		// Bindings of a durable queue to a transient exchange are in the transient metadata; of
		// what is not named, log 0 has nothing.
		if l != k.transient && !named(q.spec) {
			continue
		}
		if _, err := l.do(ctx, &cmd); err != nil && !fault.Is(err, fault.NotFound) {
			return r.N, err
		}
	}
	return r.N, nil
}

// PurgeQueue removes the ready messages and tells how many they were.
func (k *Kernel) PurgeQueue(ctx context.Context, ns, name string, owner uint64) (int64, error) {
	q, err := k.openQueue("purge queue", ns, name, owner)
	if err != nil {
		return 0, err
	}
	r, err := q.shard.call(ctx, func(b *shard.Builder) int { return b.Purge(q.spec.ID) })
	return r.N, err
}

// CloseOwner deletes the exclusive queues of a connection that ended.
func (k *Kernel) CloseOwner(owner uint64) {
	var mine []*queue
	k.topo.mu.RLock()
	for _, sp := range k.topo.spaces {
		for _, q := range sp.queues {
			if q.spec.Exclusive && q.spec.Owner == owner {
				mine = append(mine, q)
			}
		}
	}
	k.topo.mu.RUnlock()
	for _, q := range mine {
		if _, err := k.deleteQueue(k.ctx, q, false, false); err != nil && !k.closing.Load() {
			k.log.Warn("exclusive queue not deleted", "queue", q.spec.Name, "err", err)
		}
	}
}

// Attachment is one consumer of one queue.
type Attachment struct {
	k    *Kernel
	id   uint64
	q    *queue
	sink Sink
	tag  string

	owner uint64 // as of AttachSpec

	// session is set for the backlog of a session: deliveries carry packet ids.
	session *Session
	share   *membership // of a session to a shared subscription

	ended atomic.Bool
	got   sync.Mutex // one Get at a time
}

// Attach adds a consumer. Its deliveries may start before Attach returns.
func (k *Kernel) Attach(ctx context.Context, spec AttachSpec) (*Attachment, error) {
	q, err := k.openQueue("attach", spec.Namespace, spec.Queue, spec.Owner)
	if err != nil {
		return nil, err
	}
	return k.attach(ctx, q, spec)
}

func (k *Kernel) attach(ctx context.Context, q *queue, spec AttachSpec) (*Attachment, error) {
	a := &Attachment{k: k, id: k.newAttachmentID(), q: q, sink: spec.Sink, tag: spec.Tag, owner: spec.Owner, share: spec.share}
	k.attachMu.Lock()
	k.attached[a.id] = a
	k.attachMu.Unlock()
	_, err := q.shard.call(ctx, func(b *shard.Builder) int {
		return b.Attach(&shard.Attach{
			Queue: q.spec.ID, Attachment: a.id, Credit: spec.Credit, NoAck: spec.NoAck, Exclusive: spec.Exclusive,
			Pull: spec.Pull, Refill: spec.Refill, Priority: spec.Priority,
		})
	})
	if err != nil {
		k.forget(a)
		// What was not waited for may still be applied: then it ends here.
		_ = q.shard.do(func(p *pending) { p.b.Detach(q.spec.ID, a.id, false) })
		return nil, err
	}
	if !spec.Pull {
		k.topo.mu.Lock()
		q.used = true
		k.topo.mu.Unlock()
	}
	return a, nil
}

// deliver hands a message to a queue's consumer.
func (a *Attachment) deliver(d *Delivery) {
	if a.share != nil {
		a.share.deliver(a, d)
		return
	}
	a.k.stats.out(len(d.Msg.Value))
	if !a.sink.Deliver(d) {
		a.k.stats.Dropped.Add(1)
	}
}

// newAttachmentID is unique over restarts: the incarnation is part of it.
func (k *Kernel) newAttachmentID() uint64 { return k.incarnation<<40 | k.attachSeq.Add(1) }

func (k *Kernel) attachment(id uint64) *Attachment {
	k.attachMu.RLock()
	defer k.attachMu.RUnlock()
	return k.attached[id]
}

func (k *Kernel) forget(a *Attachment) {
	a.ended.Store(true)
	k.attachMu.Lock()
	delete(k.attached, a.id)
	k.attachMu.Unlock()
}

// Settle ends the delivery with that number; multiple: and all unsettled ones before it.
func (a *Attachment) Settle(no uint64, multiple bool, o Outcome) {
	if a.share != nil && a.share.hands() {
		defer a.Credit(1) // which the queue would give back otherwise
	}
	_ = a.settle(false, no, multiple, o, nil) // a shard that stopped requeues everything when it comes back
}

// settle proposes a settlement; inOrder: behind what was published before. w, when not nil, is
// told once it is applied.
func (a *Attachment) settle(inOrder bool, no uint64, multiple bool, o Outcome, w waiter) error {
	fill := func(p *pending) {
		op := p.b.Settle(a.q.spec.ID, a.id, no, multiple, queueOutcomes[o])
		if w != nil {
			p.await(-1, op, w)
		}
	}
	if inOrder {
		return a.q.shard.publish(fill)
	}
	return a.q.shard.do(fill)
}

var queueOutcomes = [...]qm.Outcome{Accept: qm.Accept, Requeue: qm.Requeue, Reject: qm.Reject, Release: qm.Release}

// Credit allows n more deliveries.
func (a *Attachment) Credit(n int64) {
	_ = a.q.shard.do(func(p *pending) { p.b.Credit(a.q.spec.ID, a.id, n) })
}

// Get takes one message off a Pull attachment's queue: false when the queue is empty;
// otherwise the sink had its delivery before Get returns.
func (a *Attachment) Get(ctx context.Context) (bool, error) {
	a.got.Lock()
	defer a.got.Unlock()
	do := a.q.shard.publish // who has published before finds it
	if a.k.onReserve() {    // where publishes wait, and who takes is not to
		do = a.q.shard.do
	}
	r, err := a.q.shard.callBy(ctx, do, func(b *shard.Builder) int { return b.Get(a.q.spec.ID, a.id) })
	return r.Known, err
}

// Cancel ends the deliveries; what is unsettled may still be settled.
func (a *Attachment) Cancel(ctx context.Context) error {
	r, err := a.q.shard.call(ctx, func(b *shard.Builder) int { return b.Cancel(a.q.spec.ID, a.id) })
	if err == nil {
		a.k.consumerLeft(a.q, r.N)
	}
	return err
}

// Detach ends the attachment; what it had not settled is requeued in its place. lost: its
// connection broke, which counts as a failed delivery.
func (a *Attachment) Detach(ctx context.Context, lost bool) error {
	if a.ended.Load() {
		return nil
	}
	a.k.forget(a)
	if a.share != nil {
		a.share.leave(ctx)
	}
	r, err := a.q.shard.call(ctx, func(b *shard.Builder) int { return b.Detach(a.q.spec.ID, a.id, lost) })
	if err == nil {
		a.k.consumerLeft(a.q, r.N)
	}
	return err
}

// Queue is the name of the queue.
func (a *Attachment) Queue() string { return a.q.spec.Name }

// Subscription is the filter of the subscription that it is for, "$queue/…" and all; "": for none.
func (a *Attachment) Subscription() string {
	if a.share == nil {
		return ""
	}
	return a.share.sub.Filter
}

// consumerLeft deletes an auto-delete queue that lost its last consumer.
func (k *Kernel) consumerLeft(q *queue, left int64) {
	k.topo.mu.RLock()
	gone := q.spec.AutoDelete && q.used && left == 0
	k.topo.mu.RUnlock()
	if !gone {
		return
	}
	if _, err := k.deleteQueue(k.ctx, q, true, false); err != nil && !fault.Is(err, fault.Conflict) && !k.closing.Load() {
		k.log.Warn("auto-delete queue not deleted", "queue", q.spec.Name, "err", err)
	}
}

func (k *Kernel) endAttachments() {
	k.attachMu.Lock()
	all := make([]*Attachment, 0, len(k.attached))
	for _, a := range k.attached {
		all = append(all, a)
	}
	k.attachMu.Unlock()
	for _, a := range all {
		if a.session == nil {
			a.sink.Gone(GoneClosing)
		}
	}
}

// DeclareExchange creates an exchange or returns the one of that name, which the caller
// compares.
func (k *Kernel) DeclareExchange(ctx context.Context, x Exchange) (existing Exchange, created bool, err error) {
	if old, ok := k.Exchange(x.Namespace, x.Name); ok {
		return old, false, nil
	}
	r, err := k.metaFor(x.Durable).do(ctx, &meta.Command{Op: meta.DeclareExchange, Exchange: &x})
	if err != nil {
		return Exchange{}, false, err
	}
	return *r.Exchange, r.Created, nil
}

// DeleteExchange removes an exchange and its bindings. fault.Conflict: it is bound, and
// ifUnused was asked.
func (k *Kernel) DeleteExchange(ctx context.Context, ns, name string, ifUnused bool) error {
	x, ok := k.Exchange(ns, name)
	if !ok {
		return fault.Of(fault.NotFound, "delete exchange", name)
	}
	if ifUnused {
		for _, b := range k.Bindings(ns) {
			if b.Source == name {
				return fault.New(fault.Conflict, "delete exchange", name, "in use")
			}
		}
	}
	_, err := k.metaFor(x.Durable).do(ctx, &meta.Command{Op: meta.DeleteExchange, Namespace: ns, Name: name, Flag: ifUnused})
	return err
}

// Exchange returns an exchange, the predeclared ones included.
func (k *Kernel) Exchange(ns, name string) (Exchange, bool) {
	k.topo.mu.RLock()
	defer k.topo.mu.RUnlock()
	if sp := k.topo.spaces[ns]; sp != nil {
		if x := sp.exchanges[name]; x != nil {
			return *x.spec, true
		}
	}
	return Exchange{}, false
}

// Exchanges lists the exchanges of a namespace, in the order of their names.
func (k *Kernel) Exchanges(ns string) []Exchange {
	k.topo.mu.RLock()
	defer k.topo.mu.RUnlock()
	sp := k.topo.spaces[ns]
	if sp == nil {
		return nil
	}
	out := make([]Exchange, 0, len(sp.exchanges))
	for _, x := range sp.exchanges {
		out = append(out, *x.spec)
	}
	sortBy(out, func(x *Exchange) string { return x.Name })
	return out
}

// Bind adds a binding; one that is there is left as it is. fault.NotFound when either end
// does not exist.
func (k *Kernel) Bind(ctx context.Context, b Binding) error {
	durable, err := k.ends(&b)
	if err != nil {
		return err
	}
	_, err = k.metaFor(durable).do(ctx, &meta.Command{Op: meta.Bind, Binding: &b})
	return err
}

// Unbind removes a binding, if it is there.
func (k *Kernel) Unbind(ctx context.Context, b Binding) error {
	durable, err := k.ends(&b)
	if err != nil {
		return err
	}
	_, err = k.metaFor(durable).do(ctx, &meta.Command{Op: meta.Unbind, Binding: &b})
	return err
}

// ends tells whether both ends of a binding are durable, so that it is too.
func (k *Kernel) ends(b *Binding) (durable bool, err error) {
	x, ok := k.Exchange(b.Namespace, b.Source)
	if !ok {
		return false, fault.New(fault.NotFound, "bind", b.Source, "no such exchange")
	}
	durable = x.Durable
	if b.ToExchange {
		to, ok := k.Exchange(b.Namespace, b.Destination)
		if !ok {
			return false, fault.New(fault.NotFound, "bind", b.Destination, "no such exchange")
		}
		return durable && to.Durable, nil
	}
	q := k.lookup(b.Namespace, b.Destination)
	if q == nil {
		return false, fault.New(fault.NotFound, "bind", b.Destination, "no such queue")
	}
	return durable && named(q.spec), nil
}

// Bindings lists the bindings of a namespace, those of the default exchange not included.
func (k *Kernel) Bindings(ns string) []Binding {
	var out []Binding
	for _, l := range k.metas() {
		for b := range l.view.Load().AllBindings() {
			if b.Namespace == ns {
				out = append(out, *b)
			}
		}
	}
	return out
}
