package kernel

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/robustmq/rmq/broker/kernel/meta"
	"github.com/robustmq/rmq/broker/kernel/route"
	sm "github.com/robustmq/rmq/broker/kernel/session"
	"github.com/robustmq/rmq/broker/kernel/shard"
	"github.com/robustmq/rmq/broker/message"
)

// Routing is who would get a message, as far as it is known here and now, and why; and who would not,
// of whom one might think so.
type Routing struct {
	Targets, Misses []Target
	// MoreTargets and MoreMisses are those that are not named, as the lists are bounded.
	MoreTargets, MoreMisses int
	// Unlooked: there are more subscriptions than were looked at for misses.
	Unlooked bool
}

// Target is one who gets a message, or does not.
type Target struct {
	Kind string // one of the constants below
	Name string
	// Via is how the message comes there, each way by itself: a filter, or the bindings in turn.
	Via []string
	// Why is what becomes of it there, or why it does not come there.
	Why string

	QoS       uint8  // of the delivery to a session
	Where     string // of a session: "here", "elsewhere" or "away"
	Member    string // of a share: the client that is next
	Partition int32  // of a stream

	near int // of a miss: how much is as it has to be
}

// Kinds of targets.
const (
	TargetStream   = "stream"
	TargetQueue    = "queue"
	TargetShare    = "share" // a shared subscription
	TargetSession  = "session"
	TargetRetained = "retained"
	TargetExchange = "exchange"
)

// Bounds of a Routing.
const (
	targetsMax  = 100       // of each list
	filtersLook = 1_000_000 // subscriptions that are looked at for misses
)

// Each tells of those who get the message, by the kind of thing.
func (r *Routing) Each(tell func(kind string, what any)) {
	for i := range r.Targets {
		t := &r.Targets[i]
		text := t.Name
		if t.Kind == TargetSession {
			text = fmt.Sprintf("%s QoS %d, %s", t.Name, t.QoS, t.Where)
		}
		if t.Member != "" {
			text += ", next is " + t.Member
		}
		if len(t.Via) > 0 {
			text += " (" + strings.Join(t.Via, "; ") + ")"
		}
		if t.Why != "" {
			text += ": " + t.Why
		}
		tell(t.Kind, text)
	}
	if r.MoreTargets > 0 {
		tell("not named", r.MoreTargets)
	}
}

// Explain tells where Publish would have a message go, by the same code. It changes nothing, and costs
// more than routing does. client is who publishes, when p.From does not say so.
func (k *Kernel) Explain(p *Publish, client string) Routing {
	x := k.explain(p, client)
	x.cut(&x.out.Targets, &x.out.MoreTargets)
	return x.out
}

// ExplainAll is Explain, and tells who does not get the message too.
func (k *Kernel) ExplainAll(p *Publish, client string) Routing {
	x := k.explain(p, client)
	x.unbound()
	x.unsubscribed()
	x.cut(&x.out.Targets, &x.out.MoreTargets)
	x.cut(&x.out.Misses, &x.out.MoreMisses)
	return x.out
}

// explanation is a Routing that is being made.
type explanation struct {
	k      *Kernel
	sp     *space
	p      *Publish
	client string
	why    reasons
	r      *resolved
	out    Routing
}

func (k *Kernel) explain(p *Publish, client string) *explanation {
	q := *p
	if q.From == nil && client != "" {
		q.relayed, q.relayedFrom = true, client
	} else if q.From != nil {
		client = q.From.route.client()
	}
	x := &explanation{k: k, sp: k.topo.space(p.Namespace), p: &q, client: client}
	x.r = k.routed(x.sp, &q, &x.why)
	switch {
	case !x.r.found:
		x.miss(Target{Kind: TargetExchange, Name: q.Exchange, Why: "there is no such exchange"})
		return x
	case q.ViaExchange && q.Exchange == "" && len(x.r.bound) == 0:
		x.miss(Target{Kind: TargetQueue, Name: q.Key, Why: "there is no such queue"})
	}
	x.stream()
	for _, qu := range x.r.queues {
		x.queue(qu)
	}
	for i := range x.r.subs {
		x.session(&x.r.subs[i])
	}
	if q.Msg.Retain {
		t := Target{Kind: TargetRetained, Name: q.Msg.Address, Why: "it becomes the retained message"}
		if len(q.Msg.Value) == 0 {
			t.Why = "it is empty: what is retained is cleared"
		}
		x.target(t)
	}
	return x
}

func (x *explanation) target(t Target) { x.out.Targets = append(x.out.Targets, t) }
func (x *explanation) miss(t Target)   { x.out.Misses = append(x.out.Misses, t) }

// stream tells of the home, or why there is none.
func (x *explanation) stream() {
	m := &x.p.Msg
	home := x.r.home
	t := Target{Kind: TargetStream}
	if m.Source == message.Kafka {
		if home != nil && home.Address != m.Address {
			x.miss(Target{Kind: TargetStream, Name: home.Address, Why: "a Kafka produce goes to the stream of exactly that name"})
			home = nil
		}
		if t.Name = m.Address; home == nil {
			t.Why = "the first produce makes it"
			x.target(t)
			return
		}
	}
	switch {
	case home != nil:
		t.Name, t.Partition, t.Via = home.Address, x.r.part, []string{"it has that address"}
		if home.Address != m.Address {
			t.Via[0] = "it keeps what is published below its address"
			t.Why = "Kafka clients find it alone as topic " + message.KafkaName(m.Address)
		}
		if m.Source == message.Kafka {
			t.Why = "the producer chooses the partition"
		}
		if err := x.r.err; err != nil {
			t.Why = err.Error()
			x.miss(t)
			return
		}
		x.target(t)
	case x.k.cfg.Capture && message.Capturable(m.Address):
		t.Name, t.Via, t.Why = message.FirstLevel(m.Address), []string{"capture"}, "the first publish makes it"
		view := x.k.meta.view.Load()
		if _, there := view.Stream(x.sp.name, t.Name); there {
			break // it does not capture, which is told below
		}
		if view.Captured() < meta.MaxCapturedStreams {
			x.target(t)
			return
		}
		t.Why = fmt.Sprintf("there are %d captured streams already", meta.MaxCapturedStreams)
		x.miss(t)
	case x.k.cfg.Capture:
		x.miss(Target{Kind: TargetStream, Name: message.FirstLevel(m.Address), Why: "such an address is not captured"})
	}
	// Streams above that do not keep it.
	view := x.k.meta.view.Load()
	for a := m.Address; m.Source != message.Kafka; {
		i := strings.LastIndexByte(a, '/')
		if i < 0 {
			break
		}
		a = a[:i]
		st, ok := view.Stream(x.sp.name, a)
		switch {
		case !ok || st == home:
		case st.Exact:
			x.miss(Target{Kind: TargetStream, Name: a, Why: "it keeps only what has its address (capture: exact)"})
		default:
			x.miss(Target{Kind: TargetStream, Name: a, Why: "the stream with the longer name keeps it: a message has one home"})
		}
	}
}

func (x *explanation) queue(q *queue) {
	m := &x.p.Msg
	t := Target{Kind: TargetQueue, Name: q.spec.Name, Via: x.why.queues[q]}
	if q.filter != nil {
		t.Kind = TargetShare
		q.shard.readMu.RLock()
		next := q.shard.m.NextOf(q.spec.ID, m.Address, x.client)
		q.shard.readMu.RUnlock()
		switch a := x.k.attachment(next); {
		case next == 0:
			t.Why = "no member can take it now: it waits"
		case a != nil && a.share != nil:
			t.Member = a.share.s.route.client()
		default:
			t.Member = "a client of another node"
		}
		x.target(t)
		return
	}
	st, _ := q.shard.queueStats(q.spec.ID)
	bound := ""
	switch s := q.spec; {
	case s.MaxLength >= 0 && st.Ready >= s.MaxLength:
		bound = fmt.Sprintf("it is full with %d messages", st.Ready)
	case s.MaxLengthBytes >= 0 && st.ReadyBytes+int64(len(m.Value)) > s.MaxLengthBytes:
		bound = fmt.Sprintf("it is full with %d bytes", st.ReadyBytes)
	}
	switch {
	case bound == "" || st.Consumers > 0 && st.Ready == 0: // one of them may take it
		x.target(t)
	case q.spec.Overflow == DropHead:
		t.Why = bound + ": its oldest goes (drop-head)"
		x.target(t)
	case q.spec.Overflow == RejectPublishDLX:
		t.Why = bound + ": the publish is refused, and the message dead-lettered (reject-publish-dlx)"
		x.miss(t)
	default:
		t.Why = bound + ": the publish is refused (reject-publish)"
		x.miss(t)
	}
}

func (x *explanation) session(s *sessionMatch) {
	m := &x.p.Msg
	t := Target{Kind: TargetSession, Name: s.route.client(), Via: x.why.filters[s.route], QoS: min(m.QoS, s.qos), Where: "away"}
	switch {
	case s.route.online.Load() != nil:
		t.Where = "here"
	case len(x.k.elsewhere(nil, s.route)) > 0:
		t.Where = "elsewhere"
	}
	switch {
	case x.p.own(s):
		t.Why = "it is the client's own, and no local is set"
		x.miss(t)
	case s.waits(m.QoS):
		if t.QoS < m.QoS {
			t.Why = fmt.Sprintf("published at QoS %d, subscribed at %d", m.QoS, s.qos)
		}
		if t.Where == "away" {
			t.Why = join(t.Why, "it waits in the session")
			if info, ok := x.k.SessionInfo(x.sp.name, t.Name); ok && info.Backlog >= shard.BacklogMax {
				t.Why = join(t.Why, fmt.Sprintf("which is full with %d: its oldest goes", info.Backlog))
			}
		}
		x.target(t)
	case t.Where == "away":
		t.Why = "the client is away, and what is delivered at QoS 0 is not kept for it"
		x.miss(t)
	default:
		if m.QoS > 0 {
			t.Why = fmt.Sprintf("published at QoS %d, subscribed at 0", m.QoS)
		}
		x.target(t)
	}
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

// unbound tells of the bindings that the message came by and did not pass.
func (x *explanation) unbound() {
	m := &x.p.Msg
	for _, l := range x.k.metas() {
		for b := range l.view.Load().AllBindings() {
			if b.Namespace != x.sp.name {
				continue
			}
			for _, w := range x.why.walked {
				if w.exchange.spec.Name != b.Source {
					continue
				}
				miss, differs := w.differ(b, m.Headers)
				if !differs {
					continue
				}
				wanted := ""
				if w.exchange.spec.Type == Headers {
					wanted = x.why.wanted(&route.HeaderMatch{Want: b.Match, Any: b.MatchAny})
				}
				t := Target{Kind: TargetQueue, Name: b.Destination, Via: []string{hop(b.Source, b.Key, wanted)}, Why: miss.Why, near: miss.Levels}
				if b.ToExchange {
					t.Kind = TargetExchange
				}
				// Who names an exchange knows it: all that is bound there is of interest. By address
				// everything passes amq.topic.
				if (x.p.ViaExchange || t.near > 0) && !x.reached(t.Kind, t.Name) {
					x.miss(t)
				}
			}
		}
	}
}

// reached tells whether the message comes there, if by another way.
func (x *explanation) reached(kind, name string) bool {
	switch kind {
	case TargetExchange:
		return slices.ContainsFunc(x.why.walked, func(w walked) bool { return w.exchange.spec.Name == name })
	case TargetSession:
		return slices.ContainsFunc(x.r.subs, func(s sessionMatch) bool { return s.route.client() == name })
	}
	return slices.ContainsFunc(x.r.queues, func(q *queue) bool { return q.spec.Name == name })
}

// unsubscribed tells of subscriptions whose filters nearly match: that have a level of the address at its
// place, or would have it if they were written otherwise.
func (x *explanation) unsubscribed() {
	name := route.Slashed(x.p.Msg.Address)
	looked := 0
	for _, s := range x.k.everyShard() {
		s.eachSession(func(ms *shard.Session) {
			ns, client := shard.SplitSessionKey(ms.Key)
			if ns != x.sp.name {
				return
			}
			ms.Subscriptions(func(text string, _ sm.Options) bool {
				if looked++; looked > filtersLook {
					x.out.Unlooked = true
					return false
				}
				t := Target{Kind: TargetSession, Name: client, Via: []string{text}}
				filter := shard.Wanted(text)
				if rest, ok := sharedFilter(text); ok {
					t.Kind, t.Name, filter = TargetShare, text, rest
				} else if shard.Joins(text) {
					return true
				}
				miss, differs := route.Differ(route.SlashedFilter(filter), name)
				if differs && near(filter, x.p.Msg.Address, miss) && !x.reached(t.Kind, t.Name) {
					t.Why, t.near = miss.Why, miss.Levels
					x.miss(t)
				}
				return true
			})
		})
	}
}

// near tells whether a filter that does not match might have been meant to.
func near(filter, address string, miss route.Miss) bool {
	if miss.Levels > 0 {
		return true
	}
	loose := func(s string) string { return strings.ToLower(strings.Trim(s, "/")) }
	_, differs := route.Differ(route.SlashedFilter(loose(filter)), route.Slashed(loose(address)))
	return !differs || message.DollarRoot(address) && filter != "" && (filter[0] == '#' || filter[0] == '+')
}

// cut sorts a list, the nearest first, and bounds it.
func (x *explanation) cut(list *[]Target, more *int) {
	order := func(kind string) int {
		return slices.Index([]string{TargetStream, TargetQueue, TargetShare, TargetSession, TargetRetained, TargetExchange}, kind)
	}
	slices.SortStableFunc(*list, func(a, b Target) int {
		return cmp.Or(cmp.Compare(b.near, a.near), cmp.Compare(order(a.Kind), order(b.Kind)), strings.Compare(a.Name, b.Name))
	})
	*list = slices.CompactFunc(*list, func(a, b Target) bool { return a.Kind == b.Kind && a.Name == b.Name && a.Why == b.Why })
	if n := len(*list); n > targetsMax {
		*list, *more = (*list)[:targetsMax], n-targetsMax
	}
}

// ---- what routing tells ------------------------------------------------------------

// reasons is told by routing how it comes to its answer. A nil one is told nothing.
type reasons struct {
	path    []string
	queues  map[*queue][]string        // how it comes to each
	filters map[*sessionRoute][]string // that match
	walked  []walked
}

// walked is an exchange that a message passes.
type walked struct {
	exchange *exchange
	key      string
	wild     bool
}

// alternate stands for the key where an exchange hands on what it leads nowhere.
const alternate = "\x00"

// hop is one binding in words: by its key, or by the headers that it wants.
func hop(source, key, wanted string) string {
	switch {
	case key == alternate:
		return source + " leads nowhere, its alternate exchange"
	case wanted != "":
		return source + " [" + wanted + "]"
	}
	return source + " [" + key + "]"
}

// wanted are the headers that a binding wants, in words.
func (w *reasons) wanted(h *route.HeaderMatch) string {
	if w == nil {
		return ""
	}
	words := []string{"all of"}
	if h.Any {
		words[0] = "any of"
	}
	for _, x := range h.Want {
		switch {
		case x.Name == "x-match":
		case x.Value == nil:
			words = append(words, x.Name)
		default:
			words = append(words, fmt.Sprintf("%s=%s", x.Name, x.Value))
		}
	}
	return strings.Join(words, " ")
}

func (w *reasons) push(source, key, wanted string) {
	if w != nil {
		w.path = append(w.path, hop(source, key, wanted))
	}
}

func (w *reasons) pop() {
	if w != nil {
		w.path = w.path[:len(w.path)-1]
	}
}

func (w *reasons) enter(x *exchange, key string, wild bool) {
	if w != nil {
		w.walked = append(w.walked, walked{x, key, wild})
	}
}

func (w *reasons) queue(q *queue) {
	switch {
	case w == nil:
	case len(w.path) == 0:
		w.way(q, "by its name")
	default:
		w.way(q, strings.Join(w.path, " > "))
	}
}

// way notes how the message comes to a queue.
func (w *reasons) way(q *queue, way string) {
	if w.queues == nil {
		w.queues = make(map[*queue][]string)
	}
	if !slices.Contains(w.queues[q], way) {
		w.queues[q] = append(w.queues[q], way)
	}
}

func (w *reasons) subscriber(s *subscriber) {
	switch {
	case w == nil:
	case s.queue != nil:
		filter, _ := sharedFilter(s.queue.spec.Name)
		w.way(s.queue, filter)
	default:
		if w.filters == nil {
			w.filters = make(map[*sessionRoute][]string)
		}
		if !slices.Contains(w.filters[s.session], s.sub.Filter) {
			w.filters[s.session] = append(w.filters[s.session], s.sub.Filter)
		}
	}
}

// differ tells why a message that passes the exchange does not pass a binding of it.
func (w *walked) differ(b *meta.Binding, headers []message.Header) (route.Miss, bool) {
	switch w.exchange.spec.Type {
	case Direct:
		if b.Key != w.key {
			miss, _ := route.Differ(route.Dotted(b.Key), route.DottedKey(w.key)) // how near it is
			return route.Miss{Levels: miss.Levels, Why: fmt.Sprintf("the routing key is %q, not %q", w.key, b.Key)}, true
		}
	case Topic:
		miss, differs := route.Differ(route.Dotted(b.Key), route.DottedKey(w.key))
		if !differs && !w.wild && b.Key != w.key {
			return route.Miss{Why: "only a binding without wildcards is for what is below a $-root"}, true
		}
		return miss, differs
	case Headers:
		h := route.HeaderMatch{Want: b.Match, Any: b.MatchAny, WithX: b.MatchX}
		return h.Differ(headers)
	}
	return route.Miss{}, false
}
