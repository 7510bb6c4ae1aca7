// Package adminapitest offers a broker made of plain values, for tests of what is
// written against adminapi.Source: screens, commands, the HTTP handler.
//
// A Fake keeps what it is given and changes only what it is told to; it routes
// nothing and expires nothing.
package adminapitest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/chaos"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/setting"
	"github.com/robustmq/rmq/broker/trace"
)

// Fake is a Source over its own fields. Set fields before it is in use, and through
// Update afterwards.
type Fake struct {
	mu   sync.Mutex // guards what follows
	S    adminapi.Status
	O    adminapi.Overview
	T    []adminapi.Topic
	Q    []adminapi.Queue
	X    []adminapi.Exchange
	B    []adminapi.Binding
	C    []adminapi.Session
	Late []adminapi.Slow
	Seen []trace.Event // what Trace tells, before it ends
	G    []adminapi.Group
	R    []adminapi.Message
	N    []adminapi.Namespace
	Node []adminapi.Node
	Move []adminapi.Move
	Log  []adminapi.Shard
	U    []adminapi.User
	A    []acl.Rule
	Set  []setting.Setting
	Ban  []acl.Ban

	Faults *chaos.Engine // nil: none were planned
	Br     []adminapi.Bridge
	Opt    []adminapi.Option
	Time   adminapi.Clock
	Dues   adminapi.Dues
	Fail   error  // every call fails with it, when not nil
	File   []byte // a snapshot

	Recording []byte // what Record writes, and what Replay was given

	Stopped  bool               // Shutdown was called
	Password map[string]*string // as PutUser got them

	live   map[chan adminapi.LiveEvent]struct{}
	joined chan struct{} // receives one value for each Live that has begun
}

// New returns a broker that holds nothing.
func New() *Fake {
	return &Fake{
		Password: map[string]*string{}, live: map[chan adminapi.LiveEvent]struct{}{}, joined: make(chan struct{}, 64),
	}
}

var _ adminapi.Source = (*Fake)(nil)

// Update changes fields while the Fake is in use.
func (f *Fake) Update(change func(*Fake)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// Emit hands an event to every Live call that is under way.
func (f *Fake) Emit(e adminapi.LiveEvent) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.live {
		c <- e // liveRoom deep: a test that emits more must read
	}
}

const liveRoom = 1024

// AwaitLive returns once a Live call has begun that no earlier AwaitLive returned for.
func (f *Fake) AwaitLive(ctx context.Context) error {
	select {
	case <-f.joined:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *Fake) lock() (unlock func(), err error) {
	f.mu.Lock()
	if f.Fail != nil {
		defer f.mu.Unlock()
		return nil, f.Fail
	}
	return f.mu.Unlock, nil
}

func (f *Fake) Status(context.Context) (adminapi.Status, error) {
	unlock, err := f.lock()
	if err != nil {
		return adminapi.Status{}, err
	}
	defer unlock()
	return f.S, nil
}

func (f *Fake) Overview(context.Context) (adminapi.Overview, error) {
	unlock, err := f.lock()
	if err != nil {
		return adminapi.Overview{}, err
	}
	defer unlock()
	o := f.O
	o.Traffic = slices.Clone(o.Traffic)
	if o.At.IsZero() {
		o.At = time.Unix(0, 0).UTC()
	}
	return o, nil
}

// ---- topics

func topicName(t adminapi.Topic) string { return t.Name }

func (f *Fake) Topics(_ context.Context, q adminapi.Query) ([]adminapi.Topic, error) {
	return all(f, &f.T, topicName, q)
}

func (f *Fake) Topic(_ context.Context, r adminapi.Ref) (adminapi.Topic, error) {
	unlock, err := f.lock()
	if err != nil {
		return adminapi.Topic{}, err
	}
	defer unlock()
	i, err := f.topic(r)
	if err != nil {
		return adminapi.Topic{}, err
	}
	return f.T[i], nil
}

func (f *Fake) topic(r adminapi.Ref) (int, error) {
	i := slices.IndexFunc(f.T, func(t adminapi.Topic) bool {
		switch r.Spelling {
		case "kafka":
			return t.Names.Kafka == r.Name
		case "amqp":
			return t.Names.AMQP == r.Name
		case "mqtt":
			return t.Name == r.Name
		}
		return t.Name == r.Name || t.Names.Kafka == r.Name
	})
	if i < 0 {
		return 0, fault.New(fault.NotFound, "find", r.Name, "no such topic")
	}
	return i, nil
}

func (f *Fake) CreateTopic(_ context.Context, s adminapi.TopicSpec) (adminapi.Topic, error) {
	unlock, err := f.lock()
	if err != nil {
		return adminapi.Topic{}, err
	}
	defer unlock()
	if _, err := f.topic(adminapi.Ref{Name: s.Name, Spelling: s.Spelling}); err == nil {
		return adminapi.Topic{}, fault.New(fault.Exists, "create", s.Name, "the topic exists")
	}
	name := s.Name
	if s.Spelling == "kafka" || s.Spelling == "amqp" {
		name = strings.ReplaceAll(name, ".", "/")
	}
	dotted := strings.ReplaceAll(name, "/", ".")
	t := adminapi.Topic{
		Namespace: cmp.Or(s.Namespace, adminapi.DefaultNamespace), Name: name,
		Names: adminapi.Names{MQTT: name, Kafka: dotted, AMQP: dotted}, Config: s.Config, Exact: s.Exact, Durability: cmp.Or(s.Durability, "sync"),
	}
	for i := range int32(max(1, s.Partitions)) {
		t.Partitions = append(t.Partitions, adminapi.Partition{Index: i, Shard: 1, Leader: 1})
	}
	f.T = append(f.T, t)
	return t, nil
}

func (f *Fake) AlterTopic(_ context.Context, r adminapi.Ref, c adminapi.TopicChange) (adminapi.Topic, error) {
	unlock, err := f.lock()
	if err != nil {
		return adminapi.Topic{}, err
	}
	defer unlock()
	i, err := f.topic(r)
	if err != nil {
		return adminapi.Topic{}, err
	}
	t := &f.T[i]
	if c.Partitions != 0 && c.Partitions < len(t.Partitions) {
		return adminapi.Topic{}, fault.New(fault.Invalid, "alter", t.Name, "it has %d partitions already", len(t.Partitions))
	}
	for n := len(t.Partitions); n < c.Partitions; n++ {
		t.Partitions = append(t.Partitions, adminapi.Partition{Index: int32(n), Shard: 1, Leader: 1})
	}
	config := map[string]string{}
	for k, v := range t.Config {
		config[k] = v
	}
	for k, v := range c.Set {
		config[k] = v
	}
	for _, k := range c.Delete {
		delete(config, k)
	}
	t.Config = config
	return *t, nil
}

func (f *Fake) DeleteTopic(_ context.Context, r adminapi.Ref) error {
	unlock, err := f.lock()
	if err != nil {
		return err
	}
	defer unlock()
	i, err := f.topic(r)
	if err != nil {
		return err
	}
	f.T = slices.Delete(f.T, i, i+1)
	return nil
}

// ---- queues

func queueName(q adminapi.Queue) string { return q.Name }

func (f *Fake) Queues(_ context.Context, q adminapi.Query) ([]adminapi.Queue, error) {
	return all(f, &f.Q, queueName, q)
}

func (f *Fake) Queue(_ context.Context, r adminapi.Ref) (adminapi.Queue, error) {
	return find(f, &f.Q, queueName, "queue", r.Name)
}

func (f *Fake) CreateQueue(_ context.Context, s adminapi.QueueSpec) (adminapi.Queue, error) {
	s.Durability = cmp.Or(s.Durability, "sync")
	return add(f, &f.Q, queueName, "queue", adminapi.Queue{QueueSpec: s})
}

func (f *Fake) DeleteQueue(_ context.Context, r adminapi.Ref, o adminapi.DeleteQueueOptions) (int64, error) {
	q, err := find(f, &f.Q, queueName, "queue", r.Name)
	if err != nil {
		return 0, err
	}
	if o.IfUnused && q.Consumers > 0 {
		return 0, fault.New(fault.Conflict, "delete", r.Name, "the queue has %d consumers", q.Consumers)
	}
	if o.IfEmpty && q.Ready+q.Unacked > 0 {
		return 0, fault.New(fault.Conflict, "delete", r.Name, "the queue holds %d messages", q.Ready+q.Unacked)
	}
	return q.Ready, remove(f, &f.Q, queueName, "queue", r.Name)
}

func (f *Fake) PurgeQueue(_ context.Context, r adminapi.Ref) (int64, error) {
	q, err := find(f, &f.Q, queueName, "queue", r.Name)
	if err != nil {
		return 0, err
	}
	f.Update(func(f *Fake) {
		for i := range f.Q {
			if f.Q[i].Name == r.Name {
				f.Q[i].Ready, f.Q[i].Bytes = 0, 0
			}
		}
	})
	return q.Ready, nil
}

// ---- exchanges and bindings

func exchangeName(x adminapi.Exchange) string { return x.Name }

func (f *Fake) Exchanges(_ context.Context, q adminapi.Query) ([]adminapi.Exchange, error) {
	return all(f, &f.X, exchangeName, q)
}

func (f *Fake) Exchange(_ context.Context, r adminapi.Ref) (adminapi.Exchange, error) {
	return find(f, &f.X, exchangeName, "exchange", r.Name)
}

func (f *Fake) CreateExchange(_ context.Context, x adminapi.Exchange) (adminapi.Exchange, error) {
	return add(f, &f.X, exchangeName, "exchange", x)
}

func (f *Fake) DeleteExchange(_ context.Context, r adminapi.Ref, _ adminapi.DeleteExchangeOptions) error {
	return remove(f, &f.X, exchangeName, "exchange", r.Name)
}

func (f *Fake) Bindings(_ context.Context, q adminapi.Query) ([]adminapi.Binding, error) {
	return all(f, &f.B, func(b adminapi.Binding) string { return b.Source }, q)
}

func sameBinding(a adminapi.Binding) func(adminapi.Binding) bool {
	return func(b adminapi.Binding) bool {
		return a.Source == b.Source && a.Destination == b.Destination && a.ToExchange == b.ToExchange && a.Key == b.Key
	}
}

func (f *Fake) Bind(_ context.Context, b adminapi.Binding) error {
	unlock, err := f.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if !slices.ContainsFunc(f.B, sameBinding(b)) {
		f.B = append(f.B, b)
	}
	return nil
}

func (f *Fake) Unbind(_ context.Context, b adminapi.Binding) error {
	unlock, err := f.lock()
	if err != nil {
		return err
	}
	defer unlock()
	i := slices.IndexFunc(f.B, sameBinding(b))
	if i < 0 {
		return fault.New(fault.NotFound, "unbind", b.Source, "no such binding")
	}
	f.B = slices.Delete(f.B, i, i+1)
	return nil
}

// ---- sessions, groups, retained messages

func sessionName(s adminapi.Session) string { return s.ClientID }

func (f *Fake) Sessions(_ context.Context, q adminapi.Query) ([]adminapi.Session, error) {
	return all(f, &f.C, sessionName, q)
}

func (f *Fake) Session(_ context.Context, r adminapi.Ref) (adminapi.Session, error) {
	return find(f, &f.C, sessionName, "session", r.Name)
}

func (f *Fake) DeleteSession(_ context.Context, r adminapi.Ref) error {
	return remove(f, &f.C, sessionName, "session", r.Name)
}

func groupName(g adminapi.Group) string { return g.ID }

func (f *Fake) Groups(_ context.Context, q adminapi.Query) ([]adminapi.Group, error) {
	return all(f, &f.G, groupName, q)
}

func (f *Fake) Group(_ context.Context, r adminapi.Ref) (adminapi.Group, error) {
	return find(f, &f.G, groupName, "group", r.Name)
}

func (f *Fake) DeleteGroup(_ context.Context, r adminapi.Ref) error {
	return remove(f, &f.G, groupName, "group", r.Name)
}

// Retained knows the filters "", "#" and an exact address.
func (f *Fake) Retained(_ context.Context, q adminapi.Query, filter string) ([]adminapi.Message, error) {
	ms, err := all(f, &f.R, func(m adminapi.Message) string { return m.Address }, q)
	if filter != "" && filter != "#" {
		ms = slices.DeleteFunc(ms, func(m adminapi.Message) bool { return m.Address != filter })
	}
	return ms, err
}

// ---- users

func userName(u adminapi.User) string { return u.Name }

func namespaceName(n adminapi.Namespace) string { return n.Name }

func (f *Fake) Nodes(context.Context) ([]adminapi.Node, error) {
	unlock, err := f.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	return slices.Clone(f.Node), nil
}

func (f *Fake) Shards(context.Context) ([]adminapi.Shard, error) {
	unlock, err := f.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	return slices.Clone(f.Log), nil
}

func (f *Fake) Moves(context.Context) ([]adminapi.Move, error) {
	unlock, err := f.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	return slices.Clone(f.Move), nil
}

// DrainNode and the like change the node's state, and nothing moves: a test says what does.
func (f *Fake) DrainNode(_ context.Context, id uint64, _ bool) (adminapi.Node, error) {
	return f.enter(id, adminapi.NodeDraining)
}

func (f *Fake) FillNode(_ context.Context, id uint64) (adminapi.Node, error) {
	return f.enter(id, adminapi.NodeUp)
}

func (f *Fake) RemoveNode(_ context.Context, id uint64, _ bool) (adminapi.Node, error) {
	n, err := f.enter(id, adminapi.NodeLeaving)
	if err == nil {
		f.Update(func(f *Fake) {
			if len(f.Move) == 0 {
				f.Node = slices.DeleteFunc(f.Node, func(n adminapi.Node) bool { return n.ID == id })
			}
		})
	}
	return n, err
}

func (f *Fake) enter(id uint64, state string) (adminapi.Node, error) {
	unlock, err := f.lock()
	if err != nil {
		return adminapi.Node{}, err
	}
	defer unlock()
	for i := range f.Node {
		if f.Node[i].ID == id {
			f.Node[i].State = state
			return f.Node[i], nil
		}
	}
	return adminapi.Node{}, fault.Of(fault.NotFound, "find", fmt.Sprintf("node %d", id))
}

func (f *Fake) Namespaces(context.Context) ([]adminapi.Namespace, error) {
	return all(f, &f.N, namespaceName, adminapi.Query{Limit: adminapi.ListMax})
}

func (f *Fake) Namespace(_ context.Context, name string) (adminapi.Namespace, error) {
	return find(f, &f.N, namespaceName, "namespace", name)
}

func (f *Fake) CreateNamespace(_ context.Context, s adminapi.NamespaceSpec) (adminapi.Namespace, error) {
	return add(f, &f.N, namespaceName, "namespace", adminapi.Namespace{Name: s.Name, Durability: cmp.Or(s.Durability, "sync")})
}

func (f *Fake) AlterNamespace(_ context.Context, s adminapi.NamespaceSpec) (adminapi.Namespace, error) {
	unlock, err := f.lock()
	if err != nil {
		return adminapi.Namespace{}, err
	}
	defer unlock()
	i := slices.IndexFunc(f.N, func(n adminapi.Namespace) bool { return n.Name == s.Name })
	if i < 0 {
		return adminapi.Namespace{}, fault.New(fault.NotFound, "alter", s.Name, "no such namespace")
	}
	f.N[i].Durability = cmp.Or(s.Durability, f.N[i].Durability)
	return f.N[i], nil
}

func (f *Fake) Users(context.Context) ([]adminapi.User, error) {
	return all(f, &f.U, userName, adminapi.Query{Limit: adminapi.ListMax})
}

func (f *Fake) User(_ context.Context, name string) (adminapi.User, error) {
	return find(f, &f.U, userName, "user", name)
}

func (f *Fake) PutUser(_ context.Context, s adminapi.UserSpec) (adminapi.User, error) {
	unlock, err := f.lock()
	if err != nil {
		return adminapi.User{}, err
	}
	defer unlock()
	i := slices.IndexFunc(f.U, func(u adminapi.User) bool { return u.Name == s.Name })
	if i < 0 {
		if s.Password == nil && s.Hash == "" {
			return adminapi.User{}, fault.New(fault.Invalid, "create", s.Name, "a new user needs a password")
		}
		f.U = append(f.U, adminapi.User{Name: s.Name, Tags: []string{}})
		i = len(f.U) - 1
	}
	if s.Password != nil {
		f.Password[s.Name] = s.Password
	}
	if s.Tags != nil {
		f.U[i].Tags = s.Tags
	}
	return f.U[i], nil
}

func (f *Fake) DeleteUser(_ context.Context, name string) error {
	return remove(f, &f.U, userName, "user", name)
}

// Rules, PutRules and DeleteRules keep rules in the order in which they are given.
func (f *Fake) Rules(context.Context) ([]acl.Rule, error) {
	unlock, err := f.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	return slices.Clone(f.A), nil
}

func (f *Fake) PutRules(_ context.Context, rules []acl.Rule) (int, error) {
	unlock, err := f.lock()
	if err != nil {
		return 0, err
	}
	defer unlock()
	f.A = append(f.A, rules...)
	return len(rules), nil
}

func (f *Fake) DeleteRules(_ context.Context, rules []acl.Rule) (int, error) {
	unlock, err := f.lock()
	if err != nil {
		return 0, err
	}
	defer unlock()
	changed := 0
	for _, r := range rules {
		for i := range f.A {
			if f.A[i].Key() == r.Key() && f.A[i].Actions&r.Actions != 0 {
				f.A[i].Actions &^= r.Actions
				changed++
			}
		}
	}
	f.A = slices.DeleteFunc(f.A, func(r acl.Rule) bool { return r.Actions == 0 })
	return changed, nil
}

func (f *Fake) Settings(_ context.Context, namespace string, kind setting.Kind) (out []setting.Setting, err error) {
	unlock, err := f.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	for _, s := range f.Set {
		if s.Kind == kind && s.Namespace == cmp.Or(namespace, adminapi.DefaultNamespace) {
			out = append(out, s)
		}
	}
	return out, nil
}

func (f *Fake) PutSetting(_ context.Context, s setting.Setting) (setting.Setting, error) {
	unlock, err := f.lock()
	if err != nil {
		return s, err
	}
	defer unlock()
	s.Namespace = cmp.Or(s.Namespace, adminapi.DefaultNamespace)
	if err := s.Check(); err != nil {
		return s, fault.New(fault.Invalid, "put setting", s.Name, "%w", err)
	}
	f.Set = slices.DeleteFunc(f.Set, func(o setting.Setting) bool {
		return o.Namespace == s.Namespace && o.Kind == s.Kind && o.Name == s.Name
	})
	f.Set = append(f.Set, s)
	return s, nil
}

func (f *Fake) DeleteSetting(_ context.Context, namespace string, kind setting.Kind, name string) error {
	unlock, err := f.lock()
	if err != nil {
		return err
	}
	defer unlock()
	n := len(f.Set)
	f.Set = slices.DeleteFunc(f.Set, func(s setting.Setting) bool {
		return s.Namespace == cmp.Or(namespace, adminapi.DefaultNamespace) && s.Kind == kind && s.Name == name
	})
	if len(f.Set) == n {
		return fault.Of(fault.NotFound, "delete setting", name)
	}
	return nil
}

func (f *Fake) TestAccess(ctx context.Context, q adminapi.AccessQuestion) (acl.Verdict, error) {
	rules, err := f.Rules(ctx)
	return acl.NewTable(rules, nil).Explain(&acl.Subject{User: q.User, Client: q.Client, Namespace: q.Namespace}, q.Action, q.Kind, q.Name), err
}

func (f *Fake) Bans(context.Context) ([]acl.Ban, error) {
	unlock, err := f.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	return slices.Clone(f.Ban), nil
}

func (f *Fake) Slow(context.Context) ([]adminapi.Slow, error) {
	unlock, err := f.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	return slices.Clone(f.Late), nil
}

func (f *Fake) PutBan(_ context.Context, b acl.Ban) (acl.Ban, error) {
	unlock, err := f.lock()
	if err != nil {
		return b, err
	}
	defer unlock()
	f.Ban = append(f.Ban, b)
	return b, nil
}

func (f *Fake) DeleteBan(_ context.Context, b acl.Ban) error {
	return remove(f, &f.Ban, func(b acl.Ban) string { return b.Key() }, "ban", b.Key())
}

func bridgeName(b adminapi.Bridge) string { return b.Name }

func (f *Fake) Bridges(context.Context) ([]adminapi.Bridge, error) {
	return all(f, &f.Br, bridgeName, adminapi.Query{Limit: adminapi.ListMax})
}

func (f *Fake) bridge(name string, change func(*adminapi.Bridge)) (adminapi.Bridge, error) {
	unlock, err := f.lock()
	if err != nil {
		return adminapi.Bridge{}, err
	}
	defer unlock()
	for i := range f.Br {
		if f.Br[i].Name == name {
			change(&f.Br[i])
			return f.Br[i], nil
		}
	}
	return adminapi.Bridge{}, fault.Of(fault.NotFound, "find bridge", name)
}

func (f *Fake) Bridge(_ context.Context, name string) (adminapi.Bridge, error) {
	return f.bridge(name, func(*adminapi.Bridge) {})
}

func (f *Fake) AddBridge(_ context.Context, s adminapi.BridgeSpec) (adminapi.Bridge, error) {
	b := adminapi.Bridge{Name: s.Name, Bridge: s.Shown(), State: adminapi.BridgeAway}
	if _, err := f.bridge(s.Name, func(*adminapi.Bridge) {}); !fault.Is(err, fault.NotFound) {
		return b, cmp.Or[error](err, fault.Of(fault.Exists, "add bridge", s.Name))
	}
	f.Update(func(f *Fake) { f.Br = append(f.Br, b) })
	return b, nil
}

func (f *Fake) RemoveBridge(_ context.Context, name string) error {
	return remove(f, &f.Br, bridgeName, "bridge", name)
}

func (f *Fake) PauseBridge(_ context.Context, name string, paused bool) (adminapi.Bridge, error) {
	return f.bridge(name, func(b *adminapi.Bridge) {
		if b.Paused = paused; paused {
			b.State = adminapi.BridgePaused
		} else {
			b.State = adminapi.BridgeAway
		}
	})
}

func (f *Fake) Options(context.Context) ([]adminapi.Option, error) {
	unlock, err := f.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	return slices.Clone(f.Opt), nil
}

// ChangeOptions changes settings that there are.
func (f *Fake) ChangeOptions(ctx context.Context, c adminapi.OptionsChange) ([]adminapi.Option, error) {
	f.Update(func(f *Fake) {
		for i := range f.Opt {
			s := &f.Opt[i]
			if v, ok := c.Set[s.Name]; ok {
				s.Value, s.Origin = v, adminapi.OriginSet
			}
			if slices.Contains(c.Unset, s.Name) {
				s.Value, s.Origin = s.Default, adminapi.OriginDefault
			}
		}
	})
	return f.Options(ctx)
}

// Trace tells what is Seen, whatever the query.
func (f *Fake) Trace(_ context.Context, _ adminapi.TraceQuery, emit func(adminapi.TraceLine) error) error {
	unlock, err := f.lock()
	if err != nil {
		return err
	}
	seen := slices.Clone(f.Seen)
	unlock()
	if err := emit(adminapi.TraceLine{}); err != nil {
		return err
	}
	for i := range seen {
		if err := emit(adminapi.TraceLine{Event: &seen[i]}); err != nil {
			return err
		}
	}
	return emit(adminapi.TraceLine{End: "time"})
}

// Live shows what Emit is given, whatever the query.
func (f *Fake) Live(ctx context.Context, _ adminapi.LiveQuery, emit func(adminapi.LiveEvent) error) error {
	unlock, err := f.lock()
	if err != nil {
		return err
	}
	events := make(chan adminapi.LiveEvent, liveRoom)
	f.live[events] = struct{}{}
	unlock()
	defer f.Update(func(f *Fake) { delete(f.live, events) })
	select {
	case f.joined <- struct{}{}:
	default: // nobody counts them
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-events:
			if err := emit(e); err != nil {
				return err
			}
		}
	}
}

func (f *Fake) Shutdown(context.Context) error {
	unlock, err := f.lock()
	if err != nil {
		return err
	}
	defer unlock()
	f.Stopped = true
	return nil
}

// ---- what the kinds share. A list is given by address because it may only be read
// under the lock.

func all[T any](f *Fake, from *[]T, name func(T) string, q adminapi.Query) ([]T, error) {
	unlock, err := f.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	return adminapi.Select(slices.Clone(*from), name, q), nil
}

func find[T any](f *Fake, from *[]T, name func(T) string, noun, want string) (T, error) {
	var none T
	unlock, err := f.lock()
	if err != nil {
		return none, err
	}
	defer unlock()
	for _, item := range *from {
		if name(item) == want {
			return item, nil
		}
	}
	return none, fault.New(fault.NotFound, "find", want, "no such %s", noun)
}

func add[T any](f *Fake, to *[]T, name func(T) string, noun string, item T) (T, error) {
	var none T
	unlock, err := f.lock()
	if err != nil {
		return none, err
	}
	defer unlock()
	for _, old := range *to {
		if name(old) == name(item) {
			return none, fault.New(fault.Exists, "create", name(item), "the %s exists", noun)
		}
	}
	*to = append(*to, item)
	return item, nil
}

func remove[T any](f *Fake, from *[]T, name func(T) string, noun, want string) error {
	unlock, err := f.lock()
	if err != nil {
		return err
	}
	defer unlock()
	for i, item := range *from {
		if name(item) == want {
			*from = slices.Delete(*from, i, i+1)
			return nil
		}
	}
	return fault.New(fault.NotFound, "delete", want, "no such %s", noun)
}
