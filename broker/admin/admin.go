// Package admin answers the administration API (package adminapi) from the kernel and
// the protocol servers, and serves it over HTTP with /metrics and a health check.
//
// It holds no state of its own but what Config gives it.
package admin

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/auth"
	"github.com/robustmq/rmq/broker/chaos"
	"github.com/robustmq/rmq/broker/clock"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/mqttwire"
	"github.com/robustmq/rmq/broker/storage"
	"github.com/robustmq/rmq/broker/trace"
)

// Config says what a Source speaks for.
type Config struct {
	Kernel *kernel.Kernel
	Auth   *auth.Auth
	WAL    func() storage.LogStats
	// Shards tells how the node's logs stand, by id.
	Shards func() []adminapi.Shard
	Hands  *clock.Hands // of a virtual clock; nil: it is the machine's
	Clock  clock.Clock  // broker time
	Link   clock.Clock  // link time

	Version, Commit string
	Node            uint64
	Cluster         string
	Profile         string
	DataDir         string // "" in memory
	Started         time.Time
	// URLs is asked at each Status: ports are known only once the listeners are open.
	URLs func() adminapi.URLs
	// Listeners tells of those, and of what is shown over TLS; nil: none is.
	Listeners func() ([]adminapi.Listener, *adminapi.TLS)
	// Warnings are of what only the broker knows; nil: none.
	Warnings func() []string
	// Traffic returns what the protocol servers have counted, MQTT, Kafka, AMQP.
	Traffic func() []adminapi.Traffic
	// Clients describes the connections of MQTT sessions that are here, by client identifier.
	Clients func(clientIDs ...string) map[string]Client
	Bridges Bridges
	// Trace is where the protocol servers tell what they see.
	Trace *trace.Tracer
	// Chaos is what goes wrong by plan.
	Chaos *chaos.Engine
	// CheckTopic tells whether a topic that has a configuration can be given another.
	CheckTopic func(topic string, has, set map[string]string, del []string) error
	// Slow returns who was slow to take MQTT messages, the slowest first.
	Slow func() []adminapi.Slow
	// Snapshot writes all that the broker holds.
	Snapshot func(ctx context.Context, w io.Writer) error
	// Load begins the broker anew with a snapshot; Loads is how often that was done, LoadFailed why it was not the
	// last time.
	Load       func(ctx context.Context, r io.Reader) (adminapi.Loaded, error)
	Loads      int
	LoadFailed string
	// Closing is closed when the broker begins to end.
	Closing <-chan struct{}
	// Shutdown begins a clean end of the broker.
	Shutdown func()
}

// Client is the connection behind a session.
type Client struct {
	User, Version, Remote string
	Transport             string
	Since                 time.Time
	KeepAlive             int // seconds
	Aliases, AliasMax     int // topic aliases that it was told, and takes
}

// Source implements adminapi.Source.
type Source struct{ c Config }

var _ adminapi.Source = (*Source)(nil)

// New returns a Source.
func New(c Config) *Source { return &Source{c: c} }

// Status says what the broker is and where it listens.
func (s *Source) Status(context.Context) (adminapi.Status, error) {
	c := &s.c
	st := adminapi.Status{
		Version: c.Version, Commit: c.Commit, Go: runtime.Version(), Node: c.Node, Cluster: c.Cluster, PID: os.Getpid(), Profile: c.Profile,
		Started: c.Started, Uptime: c.Clock.Now().Sub(c.Started).Seconds(), DataDir: c.DataDir,
		Loads: c.Loads, LoadFailed: c.LoadFailed,
		URLs: c.URLs(), Users: len(c.Kernel.Users()), Ready: c.Kernel.Err() == nil,
	}
	if nodes := s.nodes(); len(nodes) > 1 {
		st.Nodes = nodes
	}
	st.Listeners, st.TLS = c.Listeners()
	s.durability(&st)
	if c.DataDir != "" {
		wal := s.wal()
		st.Log = &wal
	}
	if err := c.Kernel.Err(); err != nil {
		st.Warnings = append(st.Warnings, err.Error())
	}
	st.Warnings = append(st.Warnings, c.Kernel.Alarms()...)
	if c.Warnings != nil {
		st.Warnings = append(st.Warnings, c.Warnings()...)
	}
	for _, r := range st.Restarts {
		st.Warnings = append(st.Warnings, r.Text)
	}
	for _, d := range c.Kernel.Damages() {
		st.Warnings = append(st.Warnings, d.String())
	}
	st.Warnings = append(st.Warnings, expiring(st.TLS, time.Now())...)
	if st.Users == 0 {
		st.Warnings = append(st.Warnings, "no users: everyone on this machine is let in")
	}
	return st, nil
}

// expiresSoon is how long before its end a certificate is a warning.
const expiresSoon = 14 * 24 * time.Hour

// expiring warns of files of TLS that are not used, and of certificates that end. Clients go by the
// machine's time.
func expiring(t *adminapi.TLS, now time.Time) (warnings []string) {
	if t == nil {
		return nil
	}
	if t.Problem != "" {
		warnings = append(warnings, "TLS goes on with the certificates that were read "+t.Read.UTC().Format(time.RFC3339)+", for the files as they are now cannot be used: "+t.Problem)
	}
	for _, c := range t.Certificates {
		switch left := c.Until.Sub(now); {
		case left <= 0:
			warnings = append(warnings, "the certificate of "+c.File+" has expired: clients refuse it")
		case left < expiresSoon:
			warnings = append(warnings, "the certificate of "+c.File+" expires at "+c.Until.UTC().Format(time.RFC3339))
		}
	}
	return warnings
}

// Overview is one look at the whole broker.
func (s *Source) Overview(context.Context) (adminapi.Overview, error) {
	n := s.c.Kernel.Counts()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	wal := s.c.WAL()
	groups := s.groups(adminapi.DefaultNamespace)
	o := adminapi.Overview{
		At: s.c.Link.Now(), Traffic: s.c.Traffic(),
		Topics: n.Streams, Partitions: n.Partitions, StreamBytes: n.StreamBytes, Queues: n.Queues, Ready: n.Ready, Unacked: n.Unacked,
		Consumers: n.Consumers, Exchanges: n.Exchanges, Bindings: n.Bindings, Sessions: n.Sessions, Connected: n.Connected,
		Subscriptions: n.Subscriptions, Groups: len(groups), Retained: n.Retained,
		HeapBytes: mem.HeapAlloc, RSSBytes: rss(), Goroutines: runtime.NumGoroutine(),
		WAL: s.wal(),
		Device: adminapi.Device{
			Free: wal.Free, Total: wal.Total, Refused: s.c.Kernel.Refusal() != nil,
			RefusedTotal: s.c.Kernel.Stats().Refused.Load(), ShedTotal: s.c.Kernel.Stats().Shed.Load(),
		},
		Alarms: s.c.Kernel.Alarms(),
	}
	for i := range groups {
		o.Lag += groups[i].Lag
	}
	return o, nil
}

// rss is the process's resident memory; 0 where the system does not tell.
func rss() uint64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b))
	if len(f) < 2 {
		return 0
	}
	pages, err := strconv.ParseUint(f[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * uint64(os.Getpagesize())
}

// page sorts a list by name and cuts out what a query asks for.
func page[T any](q adminapi.Query, list []T, name func(*T) string) []T {
	sort.SliceStable(list, func(i, j int) bool { return name(&list[i]) < name(&list[j]) })
	limit := q.Limit
	if limit <= 0 {
		limit = adminapi.ListDefault
	}
	out := make([]T, 0, min(limit, len(list)))
	for i := range list {
		n := name(&list[i])
		if len(out) < limit && strings.HasPrefix(n, q.Prefix) && (q.After == "" || n > q.After) {
			out = append(out, list[i])
		}
	}
	return out
}

func namespace(ns string) string {
	if ns == "" {
		return adminapi.DefaultNamespace
	}
	return ns
}

// ---- topics ----------------------------------------------------------------------

func (s *Source) Topics(_ context.Context, q adminapi.Query) ([]adminapi.Topic, error) {
	var out []adminapi.Topic
	for _, st := range s.c.Kernel.Streams(namespace(q.Namespace)) {
		out = append(out, s.topic(&st))
	}
	return page(q, out, func(t *adminapi.Topic) string { return t.Name }), nil
}

func (s *Source) topic(st *kernel.StreamInfo) adminapi.Topic {
	t := adminapi.Topic{
		Namespace: st.Namespace, Name: st.Address, ID: uuid(st.ID), Created: time.UnixMilli(st.Created).UTC(),
		Names:    adminapi.Names{MQTT: st.Address, Kafka: message.KafkaName(st.Address), AMQP: message.AMQPKey(st.Address)},
		Captured: st.Captured, Exact: st.Exact, Config: st.Config, Durability: s.effective(st.Durability),
	}
	for _, p := range st.Parts {
		t.Partitions = append(t.Partitions, adminapi.Partition{
			Index: p.Index, Shard: p.Shard, Leader: s.c.Node, Epoch: p.LeaderEpoch, Start: p.Start, End: p.End, LastStable: p.LastStable, Bytes: p.Bytes,
		})
		t.Records += p.End - p.Start
		t.Bytes += p.Bytes
	}
	return t
}

func uuid(id [16]byte) string {
	h := hex.EncodeToString(id[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// address finds the kernel's address for a topic in any spelling.
func (s *Source) address(r adminapi.Ref) (string, error) {
	ns := namespace(r.Namespace)
	switch r.Spelling {
	case "mqtt":
		return r.Name, nil
	case "kafka":
		return message.FromKafkaName(r.Name), nil
	case "amqp":
		return message.FromAMQPKey(r.Name), nil
	case "":
		if _, ok := s.c.Kernel.Stream(ns, r.Name); ok {
			return r.Name, nil
		}
		if a := message.FromKafkaName(r.Name); a != r.Name {
			if _, ok := s.c.Kernel.Stream(ns, a); ok {
				return a, nil
			}
		}
		return r.Name, nil
	}
	return "", fault.New(fault.Invalid, "name topic", r.Name, "spelling %q is none of mqtt, kafka, amqp", r.Spelling)
}

func (s *Source) Topic(_ context.Context, r adminapi.Ref) (adminapi.Topic, error) {
	a, err := s.address(r)
	if err != nil {
		return adminapi.Topic{}, err
	}
	st, ok := s.c.Kernel.Stream(namespace(r.Namespace), a)
	if !ok {
		return adminapi.Topic{}, fault.Of(fault.NotFound, "get topic", r.Name)
	}
	return s.topic(&st), nil
}

func (s *Source) CreateTopic(ctx context.Context, spec adminapi.TopicSpec) (adminapi.Topic, error) {
	if spec.Spelling == "" {
		spec.Spelling = "mqtt"
	}
	a, err := s.address(adminapi.Ref{Namespace: spec.Namespace, Name: spec.Name, Spelling: spec.Spelling})
	if err != nil {
		return adminapi.Topic{}, err
	}
	if err := s.c.CheckTopic(spec.Name, nil, spec.Config, nil); err != nil {
		return adminapi.Topic{}, err
	}
	st, err := s.c.Kernel.CreateStream(ctx, kernel.StreamSpec{
		Namespace: namespace(spec.Namespace), Address: a, Partitions: max(spec.Partitions, 1), Config: spec.Config, Exact: spec.Exact,
		Durability: kernel.Durability(spec.Durability),
	})
	if err != nil {
		return adminapi.Topic{}, ofTopic(err)
	}
	return s.topic(&st), nil
}

func (s *Source) AlterTopic(ctx context.Context, r adminapi.Ref, c adminapi.TopicChange) (adminapi.Topic, error) {
	a, err := s.address(r)
	if err != nil {
		return adminapi.Topic{}, err
	}
	ns := namespace(r.Namespace)
	if st, ok := s.c.Kernel.Stream(ns, a); ok {
		if err := s.c.CheckTopic(r.Name, st.Config, c.Set, c.Delete); err != nil {
			return adminapi.Topic{}, err
		}
	}
	if c.Partitions > 0 {
		if err := s.c.Kernel.AddPartitions(ctx, ns, a, c.Partitions); err != nil {
			return adminapi.Topic{}, ofTopic(err)
		}
	}
	if len(c.Set) > 0 || len(c.Delete) > 0 {
		if err := s.c.Kernel.ConfigureStream(ctx, ns, a, c.Set, c.Delete); err != nil {
			return adminapi.Topic{}, ofTopic(err)
		}
	}
	return s.Topic(ctx, adminapi.Ref{Namespace: ns, Name: a, Spelling: "mqtt"})
}

func (s *Source) DeleteTopic(ctx context.Context, r adminapi.Ref) error {
	a, err := s.address(r)
	if err != nil {
		return err
	}
	return ofTopic(s.c.Kernel.DeleteStream(ctx, namespace(r.Namespace), a))
}

// ofTopic says of a topic what the kernel says of a stream.
func ofTopic(err error) error {
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || !strings.Contains(f.Op, "stream") {
		return err
	}
	said := *f
	said.Op = strings.Replace(f.Op, "stream", "topic", 1)
	return &said
}

// ---- sessions ----------------------------------------------------------------------

func (s *Source) Sessions(_ context.Context, q adminapi.Query) ([]adminapi.Session, error) {
	infos := page(q, s.c.Kernel.Sessions(namespace(q.Namespace)), func(i *kernel.SessionInfo) string { return i.ClientID })
	var connected []string
	for i := range infos {
		if infos[i].Connected {
			connected = append(connected, infos[i].ClientID)
		}
	}
	clients := s.clients(connected...)
	out := make([]adminapi.Session, 0, len(infos))
	for i := range infos {
		out = append(out, s.session(&infos[i], clients))
	}
	return out, nil
}

// clients describes the connections of sessions; nothing where no protocol server tells.
func (s *Source) clients(ids ...string) map[string]Client {
	if s.c.Clients == nil || len(ids) == 0 {
		return nil
	}
	return s.c.Clients(ids...)
}

func (s *Source) session(i *kernel.SessionInfo, clients map[string]Client) adminapi.Session {
	x := adminapi.Session{
		Namespace: i.Namespace, ClientID: i.ClientID, Connected: i.Connected, Expiry: int64(i.Expiry),
		Durability: s.effective(i.Durability),
		Inflight:   i.Inflight, InflightMax: i.ReceiveMaximum, Backlog: i.Backlog, BacklogBytes: i.BacklogBytes,
		Subscriptions: make([]adminapi.Subscription, 0, len(i.Subscriptions)),
	}
	if i.Expiry == kernel.ExpiryNever {
		x.Expiry = adminapi.ExpiryNever
	}
	if i.EndsAt != 0 {
		x.ExpiresAt = time.UnixMilli(i.EndsAt).UTC()
	}
	for _, sub := range i.Subscriptions {
		x.Subscriptions = append(x.Subscriptions, adminapi.Subscription{
			Filter: sub.Filter, QoS: sub.QoS, NoLocal: sub.NoLocal, RetainAsPublished: sub.RetainAsPublished,
			RetainHandling: sub.RetainHandling, ID: sub.ID,
		})
	}
	if c, ok := clients[i.ClientID]; i.Connected && ok {
		x.User, x.Version, x.Remote, x.Transport, x.Since, x.KeepAlive = c.User, c.Version, c.Remote, c.Transport, c.Since, c.KeepAlive
		x.Aliases, x.AliasMax = c.Aliases, c.AliasMax
	}
	return x
}

func (s *Source) Session(_ context.Context, r adminapi.Ref) (adminapi.Session, error) {
	i, ok := s.c.Kernel.SessionInfo(namespace(r.Namespace), r.Name)
	if !ok {
		return adminapi.Session{}, fault.Of(fault.NotFound, "get session", r.Name)
	}
	return s.session(&i, s.clients(i.ClientID)), nil
}

func (s *Source) DeleteSession(ctx context.Context, r adminapi.Ref) error {
	return s.c.Kernel.EndSession(ctx, namespace(r.Namespace), r.Name)
}

// Slow returns who was slow to take messages here.
func (s *Source) Slow(context.Context) ([]adminapi.Slow, error) { return s.c.Slow(), nil }

// ---- retained messages --------------------------------------------------------------

func (s *Source) Retained(_ context.Context, q adminapi.Query, filter string) ([]adminapi.Message, error) {
	if filter == "" {
		filter = "#"
	}
	if !mqttwire.ValidFilter([]byte(filter)) {
		return nil, fault.New(fault.Invalid, "read", "filter "+filter, "it is no MQTT topic filter")
	}
	var out []adminapi.Message
	for _, m := range s.c.Kernel.RetainedMessages(namespace(q.Namespace), filter, adminapi.ListMax) {
		out = append(out, adminapi.MessageOf(namespace(q.Namespace), &m, adminapi.LiveBodyMax))
	}
	return page(q, out, func(m *adminapi.Message) string { return m.Address }), nil
}

// Shutdown begins a clean end of the broker and returns.
func (s *Source) Shutdown(context.Context) error {
	s.c.Shutdown()
	return nil
}

// Build returns the version that the binary was built as, and its commit.
func Build() (version, commit string) {
	version = "dev"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return version, ""
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		version = v
	}
	for _, kv := range info.Settings {
		if kv.Key == "vcs.revision" {
			commit = kv.Value
		}
	}
	return version, commit
}
