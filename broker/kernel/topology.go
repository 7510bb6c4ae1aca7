package kernel

import (
	"strings"
	"sync"
	"sync/atomic"

	"github.com/robustmq/rmq/broker/kernel/meta"
	"github.com/robustmq/rmq/broker/kernel/route"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/setting"
)

// topology answers one question: who is to have this message? It is derived: from the
// metadata of both logs, and from the subscriptions that sessions hold.
//
// Ownership: mu guards everything but the tables, which have readers without locks.
// Writers are the goroutines that apply metadata; version rises after each change, and a
// cached answer of an older version is found anew.
type topology struct {
	mu      sync.RWMutex
	spaces  map[string]*space
	streams map[StreamID]*meta.Stream
	version atomic.Uint64
}

// space is the topology of one namespace.
type space struct {
	name      string
	subs      *route.Table[*subscriber] // MQTT filters of sessions, and of shared subscriptions
	exchanges map[string]*exchange
	queues    map[string]*queue
	byID      map[uint64]*queue
	cache     *route.Cache[*resolved] // by exchange ("\x00" for none) and key or address
}

// cacheMax bounds the answers kept per namespace.
const cacheMax = 1 << 14

// queue is a declared queue, wherever it lives.
type queue struct {
	spec   *meta.Queue
	shard  *shardRun
	filter *subscriber // its entry among the filters, when it is a shared subscription
	used   bool        // had a consumer once, so that auto-delete applies; guarded by topology.mu
	made   atomic.Bool // its shard has it: until then what is routed to it would be lost
}

// subscriber is one filter of one session, or a shared subscription's queue.
type subscriber struct {
	session *sessionRoute // nil for a shared subscription
	sub     Subscription
	queue   *queue
}

// exchange is one exchange and what is bound to it.
type exchange struct {
	spec     *meta.Exchange
	direct   map[string][]target // by exact key
	all      []target            // fanout
	patterns *route.Table[patternTarget]
	headers  []headerBinding
}

// target is a binding's destination.
type target struct {
	name       string
	toExchange bool
}

// patternTarget is a target by the pattern that it is bound with, so that two patterns
// leading to one destination are two entries of the table.
type patternTarget struct {
	target
	key, args string
}

type headerBinding struct {
	target
	match route.HeaderMatch
	key   string
	args  string
}

func (t *topology) init() {
	t.spaces = make(map[string]*space)
	t.streams = make(map[StreamID]*meta.Stream)
}

// space returns the topology of a namespace, made on first use.
func (t *topology) space(ns string) *space {
	t.mu.RLock()
	sp := t.spaces[ns]
	t.mu.RUnlock()
	if sp != nil {
		return sp
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.spaceLocked(ns)
}

func (t *topology) spaceLocked(ns string) *space {
	sp := t.spaces[ns]
	if sp == nil {
		sp = &space{
			name: ns, subs: route.New[*subscriber](),
			exchanges: make(map[string]*exchange), queues: make(map[string]*queue), byID: make(map[uint64]*queue),
			cache: route.NewCache[*resolved](cacheMax),
		}
		for _, x := range predeclared(ns) {
			sp.declare(x)
		}
		t.spaces[ns] = sp
	}
	return sp
}

// predeclared are the exchanges that every namespace has (AMQP 0-9-1 section 3.1.3).
func predeclared(ns string) []*meta.Exchange {
	return []*meta.Exchange{
		{Namespace: ns, Name: "", Type: Direct, Durable: true},
		{Namespace: ns, Name: "amq.direct", Type: Direct, Durable: true},
		{Namespace: ns, Name: "amq.fanout", Type: Fanout, Durable: true},
		{Namespace: ns, Name: "amq.topic", Type: Topic, Durable: true},
		{Namespace: ns, Name: "amq.headers", Type: Headers, Durable: true},
		{Namespace: ns, Name: "amq.match", Type: Headers, Durable: true},
	}
}

func (sp *space) declare(x *meta.Exchange) {
	if sp.exchanges[x.Name] == nil {
		sp.exchanges[x.Name] = &exchange{spec: x, direct: make(map[string][]target), patterns: route.New[patternTarget]()}
	}
}

// addQueue makes a queue findable: by name, and a shared subscription's by its filter.
func (sp *space) addQueue(q *queue) {
	if filter, ok := sharedFilter(q.spec.Name); ok {
		q.filter = &subscriber{queue: q}
		sp.subs.Add(route.SlashedFilter(filter), q.filter)
	}
	sp.queues[q.spec.Name] = q
	sp.byID[q.spec.ID] = q
}

// unshare takes the filter away by which a shared subscription's queue is found.
func (sp *space) unshare(q *queue) {
	filter, _ := sharedFilter(q.spec.Name)
	sp.subs.Remove(route.SlashedFilter(filter), q.filter)
}

// sharedFilter is the filter of a queue that stands for a shared subscription.
func sharedFilter(name string) (filter string, ok bool) {
	rest, ok := strings.CutPrefix(name, sharePrefix)
	if !ok {
		return "", false
	}
	_, filter, ok = strings.Cut(rest, "/")
	return filter, ok
}

func (t *topology) streamByID(id StreamID) (*meta.Stream, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	st, ok := t.streams[id]
	return st, ok
}

// rebuild fills the topology from metadata. Queues that it has stay.
func (k *Kernel) rebuild(view *meta.State) {
	t := &k.topo
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, ns := range view.Namespaces() {
		t.spaceLocked(ns)
	}
	for x := range view.AllExchanges() {
		t.spaceLocked(x.Namespace).declare(x)
	}
	for q := range view.AllQueues() {
		sp := t.spaceLocked(q.Namespace)
		if old := sp.byID[q.ID]; old != nil {
			old.spec = q
		} else {
			sp.addQueue(&queue{spec: q, shard: k.shards[q.Shard]})
		}
	}
	for b := range view.AllBindings() {
		t.spaceLocked(b.Namespace).bind(b)
	}
	for st := range view.AllStreams() {
		t.addStream(st)
	}
	t.version.Add(1)
}

// topologyChanged follows one applied metadata command, before its caller is answered.
func (k *Kernel) topologyChanged(c *meta.Command, r *meta.Result) {
	if len(k.shards) == 0 {
		return // still opening: rebuild follows
	}
	t := &k.topo
	t.mu.Lock()
	defer t.mu.Unlock()
	switch c.Op {
	case meta.CreateNamespace:
		t.spaceLocked(c.Namespace)
	case meta.CreateStream, meta.AddPartitions, meta.ConfigureStream:
		if r.Stream != nil {
			t.addStream(r.Stream)
			for _, place := range r.Stream.Logs {
				k.shards[place.Shard].expect(place.Log, 0)
			}
		}
	case meta.DeleteStream:
		if r.Stream != nil {
			delete(t.streams, r.Stream.ID)
		}
	case meta.CreateQueue:
		if r.Created {
			q := &queue{spec: r.Queue, shard: k.shards[r.Queue.Shard]}
			t.spaceLocked(r.Queue.Namespace).addQueue(q)
			q.shard.expect(0, q.spec.ID)
		}
	case meta.DeleteQueue:
		if r.Queue != nil {
			sp := t.spaceLocked(r.Queue.Namespace)
			if q := sp.queues[r.Queue.Name]; q != nil && q.filter != nil {
				sp.unshare(q)
			}
			delete(sp.queues, r.Queue.Name)
			delete(sp.byID, r.Queue.ID)
		}
	case meta.DeclareExchange:
		if r.Created {
			t.spaceLocked(r.Exchange.Namespace).declare(r.Exchange)
		}
	case meta.Bind:
		if r.Created {
			t.spaceLocked(r.Binding.Namespace).bind(r.Binding)
		}
	case meta.PutItems, meta.DeleteItems:
		if r.Err == nil && c.Name == string(setting.KindShare) {
			for i := range c.Items {
				ns, _ := settingOf(c.Items[i].Key)
				k.post(work{shares: ns})
			}
		}
	case meta.PlaceShards:
		k.moveOn()
	case meta.AddNode, meta.MoveNode, meta.AnnounceNode:
		k.nodesChanged()
	case meta.StartNode, meta.MarkNode, meta.SetNode:
		if r.Created && k.Clustered() {
			n, _ := k.meta.state.Node(c.Node.ID)
			k.nodeChanged(n)
		}
	default:
	}
	for _, b := range r.Bindings {
		t.spaceLocked(b.Namespace).unbind(b)
	}
	for _, x := range r.Exchanges {
		delete(t.spaceLocked(x.Namespace).exchanges, x.Name)
	}
	t.version.Add(1)
}

func (sp *space) bind(b *meta.Binding) {
	x := sp.exchanges[b.Source]
	if x == nil {
		return
	}
	to := target{b.Destination, b.ToExchange}
	switch x.spec.Type {
	case Direct:
		x.direct[b.Key] = append(append([]target(nil), x.direct[b.Key]...), to)
	case Fanout:
		x.all = append(append([]target(nil), x.all...), to)
	case Topic:
		x.patterns.Add(route.Dotted(b.Key), patternTarget{to, b.Key, meta.ArgumentText(b.Arguments)})
	case Headers:
		m := route.HeaderMatch{Want: b.Match, Any: b.MatchAny, WithX: b.MatchX}
		x.headers = append(append([]headerBinding(nil), x.headers...), headerBinding{to, m, b.Key, meta.ArgumentText(b.Arguments)})
	}
}

func (sp *space) unbind(b *meta.Binding) {
	x := sp.exchanges[b.Source]
	if x == nil {
		return
	}
	to := target{b.Destination, b.ToExchange}
	args := meta.ArgumentText(b.Arguments)
	switch x.spec.Type {
	case Direct:
		if left := without(x.direct[b.Key], to); len(left) > 0 {
			x.direct[b.Key] = left
		} else {
			delete(x.direct, b.Key)
		}
	case Fanout:
		x.all = without(x.all, to)
	case Topic:
		x.patterns.Remove(route.Dotted(b.Key), patternTarget{to, b.Key, args})
	case Headers:
		var left []headerBinding
		for _, h := range x.headers {
			if h.target != to || h.key != b.Key || h.args != args {
				left = append(left, h)
			}
		}
		x.headers = left
	}
}

// without returns a copy of list with one occurrence of x left out.
func without(list []target, x target) []target {
	out := make([]target, 0, len(list))
	dropped := false
	for _, e := range list {
		if e == x && !dropped {
			dropped = true
			continue
		}
		out = append(out, e)
	}
	return out
}

func (t *topology) addStream(st *meta.Stream) {
	t.streams[st.ID] = st
}

// resolved is the answer for one address or one exchange and key. Immutable.
type resolved struct {
	err    error    // there is a home, and it cannot take anything
	found  bool     // the exchange exists
	looked bool     // at the message's headers: another message may be answered otherwise
	bound  []*queue // by name and by bindings
	queues []*queue // bound, and those of shared subscriptions
	subs   []sessionMatch
	home   *meta.Stream
	part   int32
	logged []shardRoute // what must be appended at QoS 1 and 2, by shard
}

// sessionMatch is one session that a message reaches: overlapping subscriptions are one
// delivery, at the highest QoS of them, with the identifiers of all (MQTT5-3.3.4-2).
type sessionMatch struct {
	route   *sessionRoute
	qos     uint8
	noLocal bool // every matching subscription says so
	retain  bool // as published
	ids     []uint32
}

// shardRoute is what one shard has to do with a message.
type shardRoute struct {
	shard    *shardRun
	queues   []uint64
	sessions bool   // some session there wants it at QoS 1 or 2
	log      uint64 // home partition's log; 0 when it is elsewhere
}

// wants tells whether a message of that QoS is to be logged there.
func (sr *shardRoute) wants(qos uint8) bool {
	return len(sr.queues) > 0 || sr.log != 0 || sr.sessions && qos > 0
}

// maxHops bounds how many exchanges one message passes through.
const maxHops = 64

// byAddress answers for a message from MQTT or Kafka. An answer that passed a headers
// exchange is not kept.
func (k *Kernel) byAddress(sp *space, address string, headers []message.Header) *resolved {
	v := k.topo.versionOf(sp, address)
	if r, ok := sp.cache.Get(byName, address, v); ok {
		return r
	}
	r := k.findByAddress(sp, address, headers, nil)
	if r.err == nil && !r.looked {
		sp.cache.Put(byName, strings.Clone(address), v, r)
	}
	return r
}

// findByAddress finds what byAddress answers. why is told how, unless it is nil.
func (k *Kernel) findByAddress(sp *space, address string, headers []message.Header, why *reasons) *resolved {
	r := &resolved{found: true}
	k.topo.mu.RLock()
	m := matcher{sp: sp, seen: make(map[string]bool), dests: make(map[*queue]bool), headers: headers, why: why}
	dotted := message.AMQPKey(address)
	// (1) the queue of that name, (2) amq.topic and what hangs behind it, (3) exchanges
	// whose levels begin the address (MAPPING.md, Names).
	m.queue(dotted)
	m.walk("amq.topic", dotted, !strings.HasPrefix(address, "$"))
	for i := 0; i < len(dotted); i++ {
		if dotted[i] == '.' {
			if name := dotted[:i]; sp.exchanges[name] != nil && !strings.HasPrefix(name, "amq.") {
				m.walk(name, dotted[i+1:], true)
			}
		}
	}
	if sp.exchanges[dotted] != nil && !strings.HasPrefix(dotted, "amq.") && dotted != "" {
		m.walk(dotted, "", true)
	}
	k.topo.mu.RUnlock()
	r.bound, r.looked = m.queues, m.looked
	k.complete(sp, r, address, why)
	return r
}

// byExchange answers for a message from AMQP. Headers exchanges look at the message, so
// an answer that passed one is not kept.
func (k *Kernel) byExchange(sp *space, name, key, address string, headers []message.Header) *resolved {
	v := k.topo.versionOf(sp, address)
	if r, ok := sp.cache.Get(name, key, v); ok {
		return r
	}
	r := k.findByExchange(sp, name, key, address, headers, nil)
	if r.found && !r.looked && r.err == nil {
		sp.cache.Put(strings.Clone(name), strings.Clone(key), v, r)
	}
	return r
}

// findByExchange finds what byExchange answers. why is told how, unless it is nil.
func (k *Kernel) findByExchange(sp *space, name, key, address string, headers []message.Header, why *reasons) *resolved {
	r := &resolved{}
	k.topo.mu.RLock()
	m := matcher{sp: sp, seen: make(map[string]bool), dests: make(map[*queue]bool), headers: headers, why: why}
	if name == "" {
		r.found = true
		m.queue(key)
	} else {
		r.found = sp.exchanges[name] != nil
		m.walk(name, key, true)
	}
	k.topo.mu.RUnlock()
	r.bound, r.looked = m.queues, m.looked
	if r.found {
		k.complete(sp, r, address, why)
	}
	return r
}

// byName stands for the exchange in the cache's keys where an address alone is asked.
const byName = "\x00"

// versionOf is a number that rises whenever an answer for an address may have changed:
// with all metadata, and with the subscriptions that can match it (DESIGN: versions per
// first level, plus one for wildcard roots).
func (t *topology) versionOf(sp *space, address string) uint64 {
	return t.version.Load() + sp.subs.Version(route.Slashed(address))
}

// complete adds sessions and the home stream, and sorts what is logged by shard.
func (k *Kernel) complete(sp *space, r *resolved, address string, why *reasons) {
	r.queues = append([]*queue(nil), r.bound...)
	var found []*subscriber
	found = sp.subs.Match(found, route.Slashed(address))
	at := make(map[*sessionRoute]int)
	for _, s := range found {
		why.subscriber(s)
		if s.queue != nil {
			r.queues = append(r.queues, s.queue)
			continue
		}
		i, ok := at[s.session]
		if !ok {
			i = len(r.subs)
			at[s.session] = i
			r.subs = append(r.subs, sessionMatch{route: s.session, noLocal: true})
		}
		m := &r.subs[i]
		m.qos = max(m.qos, s.sub.QoS)
		m.noLocal = m.noLocal && s.sub.NoLocal
		m.retain = m.retain || s.sub.RetainAsPublished
		if s.sub.ID != 0 {
			m.ids = append(m.ids, s.sub.ID)
		}
	}
	place := func(s *shardRun) *shardRoute {
		for i := range r.logged {
			if r.logged[i].shard == s {
				return &r.logged[i]
			}
		}
		r.logged = append(r.logged, shardRoute{shard: s})
		return &r.logged[len(r.logged)-1]
	}
	if st, ok := k.home(sp.name, address); ok {
		r.home, r.part = st, partitionOf(st, address)
		p := st.Logs[r.part]
		if k.shards[p.Shard].tail(p.Log) == nil {
			// Named in log 0 a moment ago, and its logs are on their way: what is published
			// now must not come before them.
			if err := k.createLogs(k.ctx, st, 0); err != nil {
				r.err = err
			}
		}
		place(k.shards[p.Shard]).log = p.Log
	}
	for _, q := range r.queues {
		p := place(q.shard)
		p.queues = append(p.queues, q.spec.ID)
	}
	for i := range r.subs {
		if r.subs[i].qos > 0 {
			place(r.subs[i].route.shard.Load()).sessions = true
		}
	}
}

// matcher follows exchanges. Caller holds topology.mu.
type matcher struct {
	sp      *space
	seen    map[string]bool // exchanges
	dests   map[*queue]bool
	queues  []*queue
	headers []message.Header
	looked  bool // at headers
	hops    int
	why     *reasons // told what is passed; nil: nobody asks
}

func (m *matcher) queue(name string) bool {
	q := m.sp.queues[name]
	if q == nil {
		return false
	}
	m.why.queue(q)
	if !m.dests[q] {
		m.dests[q] = true
		m.queues = append(m.queues, q)
	}
	return true
}

// walk routes by one exchange and tells whether it led anywhere. wild: patterns that
// begin with a wildcard count ($-roots of other protocols reach AMQP only by exact names).
func (m *matcher) walk(name, key string, wild bool) bool {
	x := m.sp.exchanges[name]
	if x == nil || m.seen[name] || m.hops >= maxHops {
		return false
	}
	m.seen[name] = true
	m.hops++
	m.why.enter(x, key, wild)
	led := false
	follow := func(t target, bound, wanted string) {
		m.why.push(name, bound, wanted)
		if t.toExchange {
			led = m.walk(t.name, key, wild) || led
		} else {
			led = m.queue(t.name) || led
		}
		m.why.pop()
	}
	switch x.spec.Type {
	case Direct:
		for _, t := range x.direct[key] {
			follow(t, key, "")
		}
	case Fanout:
		for _, t := range x.all {
			follow(t, "", "")
		}
	case Topic:
		var found []patternTarget
		for _, t := range x.patterns.Match(found, route.DottedKey(key)) {
			if wild || t.key == key {
				follow(t.target, t.key, "")
			}
		}
	case Headers:
		m.looked = true
		for i := range x.headers {
			if b := &x.headers[i]; b.match.Match(m.headers) {
				follow(b.target, b.key, m.why.wanted(&b.match))
			}
		}
	}
	if !led && x.spec.Alternate != "" {
		m.why.push(name, alternate, "")
		led = m.walk(x.spec.Alternate, key, wild)
		m.why.pop()
	}
	return led
}
