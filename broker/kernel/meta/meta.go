// Package meta is the machine of log 0: which namespaces, streams, queues,
// exchanges, bindings, users, rules of access and settings there are, and where they are placed.
//
// A State changes only by Apply, which is deterministic: it reads neither clock nor
// random source (both come in the Command). Its values are immutable once stored, so
// Fork is a copy of tree roots and a reader's fork never changes.
//
// Commands and stored values are JSON: log 0 is written at the rate at which people
// and start-up code declare things, and an operator can read it.
//
// The same State, applied to without a log, holds what dies with the broker:
// transient queues, exchanges and bindings.
package meta

import (
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"sort"
	"strings"

	"github.com/tidwall/btree"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/fault"
)

// Command is one change. Exactly one of the pointers (or Op alone) is given.
type Command struct {
	Op   Op    `json:"op"`
	Time int64 `json:"t,omitempty"` // ms

	Stream   *Stream   `json:"stream,omitempty"`
	Queue    *Queue    `json:"queue,omitempty"`
	Exchange *Exchange `json:"exchange,omitempty"`
	Binding  *Binding  `json:"binding,omitempty"`
	User     *User     `json:"user,omitempty"`
	Node     *Node     `json:"node,omitempty"`

	Namespace string            `json:"ns,omitempty"`
	Name      string            `json:"name,omitempty"`
	Set       map[string]string `json:"set,omitempty"`
	Delete    []string          `json:"del,omitempty"`
	N         int64             `json:"n,omitempty"`
	Flag      bool              `json:"flag,omitempty"` // DeleteExchange: only if unused
	// Durability of a namespace; "" is Sync.
	Durability Durability  `json:"durability,omitempty"`
	Shards     []uint32    `json:"shards,omitempty"`
	Views      []View      `json:"views,omitempty"`
	Placements []Placement `json:"placements,omitempty"`
	Rules      []acl.Rule  `json:"rules,omitempty"`
	Claim      *Claim      `json:"claim,omitempty"`
	Instead    *Claim      `json:"instead,omitempty"`
	Items      []Item      `json:"items,omitempty"`
}

// Op says what a Command does.
type Op uint8

const (
	CreateNamespace    Op = iota + 1 // Namespace, Durability
	CreateStream                     // Stream, Shards: where its partitions go, in turn
	DeleteStream                     // Namespace, Name
	AddPartitions                    // Namespace, Name, N: total, Shards
	ConfigureStream                  // Namespace, Name, Set, Delete
	CreateQueue                      // Queue, Shards[0]
	DeleteQueue                      // Namespace, Name
	DeclareExchange                  // Exchange
	DeleteExchange                   // Namespace, Name, Flag
	Bind                             // Binding
	Unbind                           // Binding
	PutUser                          // User
	DeleteUser                       // Name
	AllocateProducers                // N ids
	StartNode                        // Node, which is given an incarnation; N: shards of each durability, Name: the cluster's id, both kept from the first start on
	ConfigureNamespace               // Namespace, Durability
	MarkNode                         // Node: ID, the Incarnation meant, Down
	AnnounceNode                     // Node: ID, the Incarnation meant, Addresses
	Pass                             // nothing: what came before it is applied
	PutViews                         // Views
	AddNode                          // Node: Peer, Rack; Number is the id it is given
	SetNode                          // Node: ID, State
	PlaceShards                      // Placements, of some shards
	MoveNode                         // Node: ID, Peer
	PutRules                         // Rules
	DeleteRules                      // Rules: the actions to take from each
	TakeClaim                        // Claim; Instead: the one of somebody else that it may replace
	EndClaim                         // Claim, as it stands
	PutItems                         // Name: the table, Items
	DeleteItems                      // Name: the table, Items: their keys
)

// OfNodes tells whether the command is of the cluster's own, and of no client's concern.
func (o Op) OfNodes() bool {
	switch o {
	case StartNode, MarkNode, Pass, AddNode, SetNode, PlaceShards, MoveNode:
		return true
	}
	return false
}

// Result is what a command came to.
type Result struct {
	Err     error
	Created bool
	Number  int64 // first producer id; incarnation; rules or items that were changed
	Space   *Namespace
	Stream  *Stream
	Queue   *Queue
	Binding *Binding // Unbind: the one removed
	// Also tells what a deletion took with it, so that routes follow.
	Exchange  *Exchange
	Exchanges []*Exchange // auto-deleted
	Bindings  []*Binding  // removed
}

// Limits of one node's metadata; beyond them a command is refused with fault.Exhausted.
const (
	MaxNamespaces      = 10_000
	MaxStreams         = 100_000
	MaxPartitions      = 1_000 // of one stream
	MaxQueues          = 1_000_000
	MaxBindings        = 4_000_000
	MaxCapturedStreams = 1_000
	MaxClaims          = 1_000_000
	MaxNodes           = 32 // members of a group
	MaxNodesEver       = 10_000
	// MaxKey is the longest key, in bytes, that names something in a checkpoint: half of
	// what its file takes.
	MaxKey = 16 << 10
)

// State is log 0's state. Not safe for concurrent use; forks are independent.
type State struct {
	namespaces btree.Map[string, *Namespace]
	streams    btree.Map[string, *Stream]   // by ns, address
	queues     btree.Map[string, *Queue]    // by ns, name
	exchanges  btree.Map[string, *Exchange] // by ns, name
	bindings   btree.Map[string, *Binding]  // by ns, source, kind, destination, key, arguments
	byDest     btree.Map[string, *Binding]  // the same by ns, kind, destination, source, …
	users      btree.Map[string, *User]
	rules      btree.Map[string, *acl.Rule] // by what they say
	claims     btree.Map[string, *Claim]    // by ns, name
	nodes      btree.Map[string, *Node]
	placements btree.Map[string, *Placement] // by shard
	items      btree.Map[string, *Item]      // by table, key: see items.go

	// What each origin of commands has had applied, so that one which is proposed again is
	// not done again: see First.
	origins btree.Map[string, origin]

	views     btree.Map[string, *View]  // by id: see views.go
	viewOrder btree.Map[uint64, string] // their keys, by number

	nextID      uint64 // of queues and logs; log 0 of a shard is its bodies, so ids start at 1
	producer    int64  // next producer id
	incarnation int64
	uses        uint64 // counts commands, for origins
	captured    int
	dataShards  int
	cluster     string

	dirty btree.Set[string] // checkpoint keys changed since the last Changes
}

// NewTransient returns the state for what dies with the broker. Its ids are none of log 0's.
func NewTransient() *State { return &State{nextID: 1 << 62} }

// Fork returns an independent copy, in constant time.
func (s *State) Fork() *State {
	return &State{
		namespaces: *s.namespaces.Copy(), streams: *s.streams.Copy(), queues: *s.queues.Copy(),
		exchanges: *s.exchanges.Copy(), bindings: *s.bindings.Copy(), byDest: *s.byDest.Copy(), users: *s.users.Copy(),
		rules: *s.rules.Copy(), items: *s.items.Copy(), claims: *s.claims.Copy(), nodes: *s.nodes.Copy(), placements: *s.placements.Copy(), origins: *s.origins.Copy(), views: *s.views.Copy(), viewOrder: *s.viewOrder.Copy(),
		nextID: s.nextID, producer: s.producer, incarnation: s.incarnation, captured: s.captured, dataShards: s.dataShards, cluster: s.cluster, uses: s.uses,
	}
}

func pair(ns, name string) string { return ns + "\x00" + name }

func bindingKey(b *Binding) string {
	kind := "q"
	if b.ToExchange {
		kind = "x"
	}
	return strings.Join([]string{b.Namespace, b.Source, kind, b.Destination, b.Key, ArgumentText(b.Arguments)}, "\x00")
}

func destinationKey(b *Binding) string {
	kind := "q"
	if b.ToExchange {
		kind = "x"
	}
	return strings.Join([]string{b.Namespace, kind, b.Destination, b.Source, b.Key, ArgumentText(b.Arguments)}, "\x00")
}

// ArgumentText is the canonical text of arguments, whatever their order.
func ArgumentText(args []Argument) string {
	if len(args) == 0 {
		return ""
	}
	sorted := append([]Argument(nil), args...)
	sort.Slice(sorted, func(i, j int) bool { return sorted[i].Name < sorted[j].Name })
	var b strings.Builder
	for _, a := range sorted {
		fmt.Fprintf(&b, "%q=%q;", a.Name, a.Value)
	}
	return b.String()
}

// Apply makes one change.
func (s *State) Apply(c *Command) Result {
	if n := c.key(); n > MaxKey {
		return Result{Err: fault.New(fault.TooLarge, "change", "log 0", "names of %d bytes, %d at most", n, MaxKey)}
	}
	switch c.Op {
	case CreateNamespace:
		if ns, ok := s.namespaces.Get(c.Namespace); ok {
			return Result{Space: ns}
		}
		if s.namespaces.Len() >= MaxNamespaces {
			return Result{Err: fault.New(fault.Exhausted, "create namespace", c.Namespace, "%d namespaces exist", s.namespaces.Len())}
		}
		return Result{Created: true, Space: s.putNamespace(c)}
	case ConfigureNamespace:
		if _, ok := s.namespaces.Get(c.Namespace); !ok {
			return Result{Err: fault.Of(fault.NotFound, "configure namespace", c.Namespace)}
		}
		return Result{Space: s.putNamespace(c)}
	case CreateStream:
		return s.createStream(c)
	case DeleteStream:
		st, ok := s.streams.Delete(pair(c.Namespace, c.Name))
		if !ok {
			return Result{Err: fault.Of(fault.NotFound, "delete stream", c.Name)}
		}
		if st.Captured {
			s.captured--
		}
		s.touch("s", pair(c.Namespace, c.Name))
		return Result{Stream: st}
	case AddPartitions:
		return s.addPartitions(c)
	case ConfigureStream:
		return s.configureStream(c)
	case CreateQueue:
		return s.createQueue(c)
	case DeleteQueue:
		return s.deleteQueue(c)
	case DeclareExchange:
		return s.declareExchange(c)
	case DeleteExchange:
		return s.deleteExchange(c)
	case Bind:
		return s.bind(c)
	case Unbind:
		return s.unbind(c)
	case PutUser:
		s.users.Set(c.User.Name, c.User)
		s.touch("u", c.User.Name)
		return Result{Created: true}
	case DeleteUser:
		if _, ok := s.users.Delete(c.Name); !ok {
			return Result{Err: fault.Of(fault.NotFound, "delete user", c.Name)}
		}
		s.touch("u", c.Name)
		return Result{}
	case PutRules:
		return s.putRules(c.Rules)
	case DeleteRules:
		return s.deleteRules(c.Rules)
	case TakeClaim:
		return s.takeClaim(c)
	case EndClaim:
		key := pair(c.Claim.Namespace, c.Claim.Name)
		if is, ok := s.claims.Get(key); ok && *is == *c.Claim {
			s.claims.Delete(key)
			s.touch("e", key)
		}
		return Result{}
	case PutItems:
		return s.putItems(c)
	case DeleteItems:
		return s.deleteItems(c)
	case AllocateProducers:
		first := s.producer
		s.producer += max(c.N, 1)
		s.touch("c", "")
		return Result{Number: first}
	case StartNode:
		return s.startNode(c)
	case Pass:
		return Result{}
	case PutViews:
		return s.putViews(c.Views)
	case MarkNode, AnnounceNode:
		return s.changeNode(c)
	case AddNode:
		return s.addNode(c)
	case SetNode:
		return s.setNode(c)
	case MoveNode:
		return s.moveNode(c)
	case PlaceShards:
		for _, p := range c.Placements {
			s.placements.Set(shardKey(p.Shard), &p)
			s.touch("p", shardKey(p.Shard))
		}
		return Result{Created: true}
	}
	return Result{Err: fault.New(fault.Unsupported, "apply", "log 0", "unknown command %d", c.Op)}
}

// key is about how many bytes the key takes of what the command makes.
func (c *Command) key() int {
	n := len(c.Namespace) + len(c.Name)
	switch {
	case c.Node != nil:
		return 0
	case c.Stream != nil:
		n += len(c.Stream.Address)
	case c.Queue != nil:
		n += len(c.Queue.Namespace) + len(c.Queue.Name)
	case c.Exchange != nil:
		n += len(c.Exchange.Namespace) + len(c.Exchange.Name)
	case c.Binding != nil:
		n += len(bindingKey(c.Binding))
	case c.User != nil:
		n += len(c.User.Name)
	case c.Claim != nil:
		n += len(c.Claim.Namespace) + len(c.Claim.Name)
	}
	return n
}

// putRules adds rules, all or none: to one that is there, what actions it lacks.
func (s *State) putRules(rules []acl.Rule) Result {
	made := make(map[string]bool)
	for i := range rules {
		if err := rules[i].Check(); err != nil {
			return Result{Err: fault.New(fault.Invalid, "put rule", rules[i].Resource(), "%w", err)}
		}
		key := rules[i].Key()
		if len(key) > MaxKey {
			return Result{Err: fault.New(fault.TooLarge, "put rule", "", "a rule of %d bytes, %d at most", len(key), MaxKey)}
		}
		if _, there := s.rules.Get(key); !there {
			made[key] = true
		}
	}
	if n := s.rules.Len() + len(made); n > acl.RulesMax {
		return Result{Err: fault.New(fault.Exhausted, "put rule", "", "%d rules, and at most %d are kept", n, acl.RulesMax)}
	}
	var r Result
	for _, rule := range rules {
		old, there := s.rules.Get(rule.Key())
		if there {
			rule.Actions |= old.Actions
		}
		if !there || rule.Actions != old.Actions {
			rule = rule.Canonical()
			s.setRule(&rule)
			r.Number++
		}
	}
	return r
}

// deleteRules takes actions from rules, and those away that have none left.
func (s *State) deleteRules(rules []acl.Rule) Result {
	var r Result
	for i := range rules {
		old, there := s.rules.Get(rules[i].Key())
		if !there || old.Actions&rules[i].Actions == 0 {
			continue
		}
		left := *old
		left.Actions &^= rules[i].Actions
		s.setRule(&left)
		r.Number++
	}
	return r
}

func (s *State) setRule(r *acl.Rule) {
	key := r.Key()
	if r.Actions == 0 {
		s.rules.Delete(key)
	} else {
		s.rules.Set(key, r)
	}
	s.touch("a", key)
}

// takeClaim gives a name to somebody, if it is his, nobody's, or held as Instead says.
func (s *State) takeClaim(c *Command) Result {
	key := pair(c.Claim.Namespace, c.Claim.Name)
	switch is, held := s.claims.Get(key); {
	case held && is.Owner != c.Claim.Owner && (c.Instead == nil || *is != *c.Instead):
		return Result{Err: fault.New(fault.Locked, "claim", c.Claim.Name, "it is held by %s", is.Owner)}
	case !held && s.claims.Len() >= MaxClaims:
		return Result{Err: fault.New(fault.Exhausted, "claim", c.Claim.Name, "%d claims exist", s.claims.Len())}
	}
	s.claims.Set(key, c.Claim)
	s.touch("e", key)
	return Result{Created: true}
}

func (s *State) id() uint64 {
	s.nextID++
	s.touch("c", "")
	return s.nextID
}

func (s *State) putNamespace(c *Command) *Namespace {
	ns := &Namespace{Name: c.Namespace, Durability: orSync(c.Durability)}
	s.namespaces.Set(c.Namespace, ns)
	s.touch("n", c.Namespace)
	return ns
}

func orSync(d Durability) Durability {
	if d == "" {
		return Sync
	}
	return d
}

func (s *State) createStream(c *Command) Result {
	k := pair(c.Namespace, c.Stream.Address)
	if st, ok := s.streams.Get(k); ok {
		return Result{Stream: st, Err: fault.Of(fault.Exists, "create stream", c.Stream.Address)}
	}
	if s.streams.Len() >= MaxStreams || c.Stream.Captured && s.captured >= MaxCapturedStreams {
		return Result{Err: fault.New(fault.Exhausted, "create stream", c.Stream.Address, "%d streams exist", s.streams.Len())}
	}
	if c.Stream.Partitions < 1 || c.Stream.Partitions > MaxPartitions || len(c.Shards) == 0 {
		return Result{Err: fault.New(fault.Invalid, "create stream", c.Stream.Address, "%d partitions", c.Stream.Partitions)}
	}
	st := *c.Stream
	st.Namespace = c.Namespace
	st.Durability = orSync(st.Durability)
	st.Created, st.Modulus = c.Time, st.Partitions
	st.Logs = nil
	for i := range st.Partitions {
		st.Logs = append(st.Logs, LogPlace{Shard: c.Shards[i%len(c.Shards)], Log: s.id()})
	}
	if st.Captured {
		s.captured++
	}
	s.streams.Set(k, &st)
	s.touch("s", k)
	return Result{Created: true, Stream: &st}
}

func (s *State) addPartitions(c *Command) Result {
	k := pair(c.Namespace, c.Name)
	old, ok := s.streams.Get(k)
	if !ok {
		return Result{Err: fault.Of(fault.NotFound, "add partitions", c.Name)}
	}
	if int(c.N) <= old.Partitions || c.N > MaxPartitions || len(c.Shards) == 0 {
		return Result{Err: fault.New(fault.Invalid, "add partitions", c.Name, "%d wanted, %d there", c.N, old.Partitions)}
	}
	st := *old
	st.Logs = append([]LogPlace(nil), old.Logs...)
	for i := old.Partitions; i < int(c.N); i++ {
		st.Logs = append(st.Logs, LogPlace{Shard: c.Shards[i%len(c.Shards)], Log: s.id()})
	}
	st.Partitions = int(c.N)
	s.streams.Set(k, &st)
	s.touch("s", k)
	return Result{Stream: &st}
}

func (s *State) configureStream(c *Command) Result {
	k := pair(c.Namespace, c.Name)
	old, ok := s.streams.Get(k)
	if !ok {
		return Result{Err: fault.Of(fault.NotFound, "configure stream", c.Name)}
	}
	st := *old
	st.Config = make(map[string]string, len(old.Config)+len(c.Set))
	maps.Copy(st.Config, old.Config)
	for _, name := range c.Delete {
		delete(st.Config, name)
	}
	maps.Copy(st.Config, c.Set)
	s.streams.Set(k, &st)
	s.touch("s", k)
	return Result{Stream: &st}
}

func (s *State) createQueue(c *Command) Result {
	k := pair(c.Queue.Namespace, c.Queue.Name)
	if q, ok := s.queues.Get(k); ok {
		return Result{Queue: q}
	}
	if s.queues.Len() >= MaxQueues {
		return Result{Err: fault.New(fault.Exhausted, "create queue", c.Queue.Name, "%d queues exist", s.queues.Len())}
	}
	q := *c.Queue
	q.Durability = orSync(q.Durability)
	q.ID, q.Shard = s.id(), c.Shards[0]
	s.queues.Set(k, &q)
	s.touch("q", k)
	return Result{Created: true, Queue: &q}
}

func (s *State) deleteQueue(c *Command) Result {
	k := pair(c.Namespace, c.Name)
	q, ok := s.queues.Delete(k)
	r := Result{Queue: q}
	if ok {
		s.touch("q", k)
	} else {
		r.Err = fault.Of(fault.NotFound, "delete queue", c.Name)
	}
	// Bindings go even when the queue is not of this state: a transient queue's
	// bindings may stand beside a durable one's.
	s.dropBindings(strings.Join([]string{c.Namespace, "q", c.Name}, "\x00")+"\x00", &r)
	return r
}

// dropBindings removes the bindings whose destination key has a prefix, and the
// auto-delete exchanges that lost their last one.
func (s *State) dropBindings(prefix string, r *Result) {
	var gone []*Binding
	s.byDest.Ascend(prefix, func(key string, b *Binding) bool {
		if !strings.HasPrefix(key, prefix) {
			return false
		}
		gone = append(gone, b)
		return true
	})
	for _, b := range gone {
		s.removeBinding(b)
		r.Bindings = append(r.Bindings, b)
	}
	for _, b := range gone {
		s.autoDelete(b.Namespace, b.Source, r)
	}
}

func (s *State) removeBinding(b *Binding) {
	s.bindings.Delete(bindingKey(b))
	s.byDest.Delete(destinationKey(b))
	s.touch("b", bindingKey(b))
}

// autoDelete removes an auto-delete exchange that has no binding left.
func (s *State) autoDelete(ns, name string, r *Result) {
	x, ok := s.exchanges.Get(pair(ns, name))
	if !ok || !x.AutoDelete || s.bound(ns, name) {
		return
	}
	s.removeExchange(x, r)
}

func (s *State) bound(ns, source string) bool {
	prefix, found := pair(ns, source)+"\x00", false
	s.bindings.Ascend(prefix, func(key string, _ *Binding) bool {
		found = strings.HasPrefix(key, prefix)
		return false
	})
	return found
}

func (s *State) removeExchange(x *Exchange, r *Result) {
	s.exchanges.Delete(pair(x.Namespace, x.Name))
	s.touch("x", pair(x.Namespace, x.Name))
	r.Exchanges = append(r.Exchanges, x)
	prefix := pair(x.Namespace, x.Name) + "\x00"
	var out []*Binding
	s.bindings.Ascend(prefix, func(key string, b *Binding) bool {
		if !strings.HasPrefix(key, prefix) {
			return false
		}
		out = append(out, b)
		return true
	})
	for _, b := range out {
		s.removeBinding(b)
		r.Bindings = append(r.Bindings, b)
	}
	s.dropBindings(strings.Join([]string{x.Namespace, "x", x.Name}, "\x00")+"\x00", r)
}

func (s *State) declareExchange(c *Command) Result {
	k := pair(c.Exchange.Namespace, c.Exchange.Name)
	if x, ok := s.exchanges.Get(k); ok {
		return Result{Exchange: x}
	}
	x := *c.Exchange
	s.exchanges.Set(k, &x)
	s.touch("x", k)
	return Result{Created: true, Exchange: &x}
}

func (s *State) deleteExchange(c *Command) Result {
	x, ok := s.exchanges.Get(pair(c.Namespace, c.Name))
	if !ok {
		return Result{Err: fault.Of(fault.NotFound, "delete exchange", c.Name)}
	}
	if c.Flag && s.bound(c.Namespace, c.Name) {
		return Result{Err: fault.New(fault.Conflict, "delete exchange", c.Name, "in use")}
	}
	var r Result
	s.removeExchange(x, &r)
	return r
}

func (s *State) bind(c *Command) Result {
	b := *c.Binding
	if s.bindings.Len() >= MaxBindings {
		return Result{Err: fault.New(fault.Exhausted, "bind", b.Source, "%d bindings exist", s.bindings.Len())}
	}
	k := bindingKey(&b)
	if old, ok := s.bindings.Get(k); ok {
		return Result{Binding: old}
	}
	s.bindings.Set(k, &b)
	s.byDest.Set(destinationKey(&b), &b)
	s.touch("b", k)
	return Result{Created: true, Binding: &b}
}

func (s *State) unbind(c *Command) Result {
	b, ok := s.bindings.Get(bindingKey(c.Binding))
	if !ok {
		return Result{}
	}
	r := Result{Binding: b, Bindings: []*Binding{b}}
	s.removeBinding(b)
	s.autoDelete(b.Namespace, b.Source, &r)
	return r
}

// origin is who proposes commands, in one life, and the last of its commands.
type origin struct {
	Seq  uint64 `json:"seq"`
	Used uint64 `json:"used"` // number of the last command, among all
}

// originsMax bounds the origins that are remembered: many more than propose at one time.
const originsMax = 64

// First tells whether a command is the next of its origin, and takes note of it. One that was
// applied before is not, nor one whose predecessor is missing: whoever sent it sends both
// again, in order.
func (s *State) First(id, seq uint64) bool {
	key := fmt.Sprintf("%016x", id)
	o, known := s.origins.Get(key)
	if seq != o.Seq+1 {
		return false
	}
	s.uses++
	s.origins.Set(key, origin{seq, s.uses})
	s.touch("o", key)
	s.touch("c", "")
	if !known && s.origins.Len() > originsMax {
		var oldest string
		least := s.uses
		s.origins.Scan(func(k string, o origin) bool {
			if o.Used < least {
				oldest, least = k, o.Used
			}
			return true
		})
		s.origins.Delete(oldest)
		s.touch("o", oldest)
	}
	return true
}

// Sent is the number of the last command of an origin that was applied; 0: none.
func (s *State) Sent(id uint64) uint64 {
	o, _ := s.origins.Get(fmt.Sprintf("%016x", id))
	return o.Seq
}

// ---- reading ----

func (s *State) Namespace(ns string) (*Namespace, bool) { return s.namespaces.Get(ns) }
func (s *State) Stream(ns, address string) (*Stream, bool) {
	return s.streams.Get(pair(ns, address))
}
func (s *State) Queue(ns, name string) (*Queue, bool)       { return s.queues.Get(pair(ns, name)) }
func (s *State) Exchange(ns, name string) (*Exchange, bool) { return s.exchanges.Get(pair(ns, name)) }
func (s *State) User(name string) (*User, bool)             { return s.users.Get(name) }

// Cluster is the cluster's id.
func (s *State) Cluster() string { return s.cluster }

// Captured is how many streams the capture rule made.
func (s *State) Captured() int { return s.captured }
func (s *State) Users() int    { return s.users.Len() }

// DataShards is how many shards each durability has.
func (s *State) DataShards() int { return s.dataShards }

// Namespaces, Streams, … yield everything of a kind in the order of its key.
func (s *State) Namespaces() []string { return s.namespaces.Keys() }

func (s *State) AllStreams() iter.Seq[*Stream]     { return values(&s.streams) }
func (s *State) AllQueues() iter.Seq[*Queue]       { return values(&s.queues) }
func (s *State) AllExchanges() iter.Seq[*Exchange] { return values(&s.exchanges) }
func (s *State) AllBindings() iter.Seq[*Binding]   { return values(&s.bindings) }
func (s *State) AllUsers() iter.Seq[*User]         { return values(&s.users) }
func (s *State) AllRules() iter.Seq[*acl.Rule]     { return values(&s.rules) }

// Claim returns who holds a name.
func (s *State) Claim(ns, name string) (Claim, bool) {
	c, ok := s.claims.Get(pair(ns, name))
	if !ok {
		return Claim{}, false
	}
	return *c, true
}

func values[V any](m *btree.Map[string, V]) iter.Seq[V] {
	return func(yield func(V) bool) {
		m.Scan(func(_ string, v V) bool { return yield(v) })
	}
}

// ---- checkpoints ----

type counters struct {
	NextID      uint64 `json:"next_id"`
	Producer    int64  `json:"producer"`
	Incarnation int64  `json:"incarnation"`
	DataShards  int    `json:"data_shards"`
	Cluster     string `json:"cluster"`
	Uses        uint64 `json:"uses"`
}

func (s *State) touch(kind, key string) { s.dirty.Insert(kind + key) }

// Changes returns the checkpoint keys touched since the last call and forgets them.
func (s *State) Changes() []string {
	keys := s.dirty.Keys()
	s.dirty = btree.Set[string]{}
	return keys
}

// Encode yields the checkpoint pairs of keys; a nil value says the key is gone. With
// nil keys it yields everything: the canonical encoding of the state.
func (s *State) Encode(keys []string) iter.Seq2[[]byte, []byte] {
	if keys == nil {
		keys = s.allKeys()
	}
	return func(yield func([]byte, []byte) bool) {
		for _, k := range keys {
			var v any
			var ok bool
			switch rest := k[1:]; k[0] {
			case 'a':
				v, ok = lookup(&s.rules, rest)
			case 'b':
				v, ok = lookup(&s.bindings, rest)
			case 'c':
				v, ok = counters{s.nextID, s.producer, s.incarnation, s.dataShards, s.cluster, s.uses}, true
			case 'e':
				v, ok = lookup(&s.claims, rest)
			case 'i':
				v, ok = lookup(&s.items, rest)
			case 'm':
				v, ok = lookup(&s.nodes, rest)
			case 'n':
				v, ok = lookup(&s.namespaces, rest)
			case 'o':
				v, ok = lookup(&s.origins, rest)
			case 'p':
				v, ok = lookup(&s.placements, rest)
			case 'q':
				v, ok = lookup(&s.queues, rest)
			case 's':
				v, ok = lookup(&s.streams, rest)
			case 'u':
				v, ok = lookup(&s.users, rest)
			case 'v':
				v, ok = lookup(&s.views, rest)
			case 'x':
				v, ok = lookup(&s.exchanges, rest)
			}
			var b []byte
			if ok {
				b, _ = json.Marshal(v) // these types cannot fail
			}
			if !yield([]byte(k), b) {
				return
			}
		}
	}
}

func lookup[V any](m *btree.Map[string, V], k string) (any, bool) { return m.Get(k) }

func (s *State) allKeys() []string {
	var keys []string
	add := func(kind string, names []string) {
		for _, n := range names {
			keys = append(keys, kind+n)
		}
	}
	add("a", s.rules.Keys())
	add("b", s.bindings.Keys())
	add("c", []string{""})
	add("e", s.claims.Keys())
	add("i", s.items.Keys())
	add("m", s.nodes.Keys())
	add("n", s.namespaces.Keys())
	add("o", s.origins.Keys())
	add("p", s.placements.Keys())
	add("q", s.queues.Keys())
	add("s", s.streams.Keys())
	add("u", s.users.Keys())
	add("v", s.views.Keys())
	add("x", s.exchanges.Keys())
	return keys
}

// Restore reads a checkpoint into an empty state.
func (s *State) Restore(pairs iter.Seq2[[]byte, []byte]) error {
	for k, v := range pairs {
		if err := s.restore(string(k), v); err != nil {
			return fault.New(fault.Internal, "restore", "log 0", "key %q: %w", k, err)
		}
	}
	return nil
}

func (s *State) restore(k string, v []byte) error {
	if k == "" {
		return fmt.Errorf("empty key")
	}
	switch rest := k[1:]; k[0] {
	case 'a':
		return restoreInto(&s.rules, rest, v)
	case 'b':
		b := new(Binding)
		if err := json.Unmarshal(v, b); err != nil {
			return err
		}
		s.bindings.Set(rest, b)
		s.byDest.Set(destinationKey(b), b)
	case 'c':
		var c counters
		if err := json.Unmarshal(v, &c); err != nil {
			return err
		}
		s.nextID, s.producer, s.incarnation, s.dataShards, s.cluster, s.uses = c.NextID, c.Producer, c.Incarnation, c.DataShards, c.Cluster, c.Uses
	case 'e':
		return restoreInto(&s.claims, rest, v)
	case 'i':
		return restoreInto(&s.items, rest, v)
	case 'm':
		if err := restoreInto(&s.nodes, rest, v); err != nil {
			return err
		}
		if n, _ := s.nodes.Get(rest); n.State == "" { // written when nodes had none
			n.State = NodeUp
		}
	case 'n':
		return restoreInto(&s.namespaces, rest, v)
	case 'o':
		var o origin
		if err := json.Unmarshal(v, &o); err != nil {
			return err
		}
		s.origins.Set(rest, o)
	case 'p':
		return restoreInto(&s.placements, rest, v)
	case 'q':
		return restoreInto(&s.queues, rest, v)
	case 's':
		if err := restoreInto(&s.streams, rest, v); err != nil {
			return err
		}
		if st, _ := s.streams.Get(rest); st.Captured {
			s.captured++
		}
	case 'u':
		return restoreInto(&s.users, rest, v)
	case 'v':
		if err := restoreInto(&s.views, rest, v); err != nil {
			return err
		}
		view, _ := s.views.Get(rest)
		s.viewOrder.Set(view.No, rest)
	case 'x':
		return restoreInto(&s.exchanges, rest, v)
	default:
		return fmt.Errorf("unknown kind %q", k[0])
	}
	return nil
}

func restoreInto[V any](m *btree.Map[string, *V], k string, v []byte) error {
	x := new(V)
	if err := json.Unmarshal(v, x); err != nil {
		return err
	}
	m.Set(k, x)
	return nil
}
