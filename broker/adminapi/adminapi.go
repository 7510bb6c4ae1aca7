// Package adminapi is rmq's own administration API: what `rmq`, the terminal
// screens and scripts ask of a broker, over HTTP and JSON under /v1.
//
// One interface, Source, says everything that can be asked. broker/admin
// implements it over the kernel; Handler serves any Source over HTTP; Client
// calls such a server and is itself a Source; adminapitest.Fake is one made of
// plain values. So a screen or a command is written once, against Source, and
// runs against a live broker, a remote one or a test.
//
// # Wire form
//
// Every answer that is not a stream is an Envelope: {schema, data, next,
// warnings, error}. Schema names the shape of data and its version; a field may be
// added to a shape within a version, never removed or given another meaning.
// The streams, /v1/watch, /v1/changes, /v1/live, /v1/trace and /v1/replay, are NDJSON: one value of one type a line.
//
//	GET    /v1/status                     Status
//	GET    /v1/overview                   Overview
//	GET    /v1/watch?interval=1s          Overview, one a line, with rates
//	GET    /v1/live?filter=&protocol=&…   LiveEvent, one a line
//	GET    /v1/topics                     []Topic
//	POST   /v1/topics                     TopicSpec → Topic
//	GET    /v1/topics/{name}              Topic
//	PATCH  /v1/topics/{name}              TopicChange → Topic
//	DELETE /v1/topics/{name}
//	GET    /v1/queues · POST · GET, DELETE /v1/queues/{name} · POST /v1/queues/{name}/purge
//	GET    /v1/exchanges · POST · GET, DELETE /v1/exchanges/{name}
//	GET    /v1/bindings · POST (bind) · POST /v1/bindings/remove
//	GET    /v1/sessions · GET, DELETE /v1/sessions/{client id}
//	GET    /v1/slow                       []Slow: who was slow to take MQTT messages, on the node that answers
//	GET    /v1/groups · GET, DELETE /v1/groups/{id}
//	GET    /v1/retained?filter=           []Message
//	GET    /v1/nodes                      []Node
//	POST   /v1/nodes/{id}/drain · POST /v1/nodes/{id}/fill · DELETE /v1/nodes/{id} → Node
//	GET    /v1/moves                      []Move: what is still to move between nodes
//	GET    /v1/shards                     []Shard, as the node that answers sees them
//	GET    /v1/namespaces · POST · GET, PATCH /v1/namespace (which one: ?namespace=)
//	GET    /v1/users · GET, PUT, DELETE /v1/users/{name}
//	GET    /v1/acl                        []acl.Rule: the rules of access
//	POST   /v1/acl · POST /v1/acl/remove  []acl.Rule → RulesChanged
//	POST   /v1/acl/test                   AccessQuestion → acl.Verdict
//	GET    /v1/settings/{kind}            []setting.Setting
//	PUT    /v1/settings/{kind}/{name}     its value, JSON → setting.Setting · DELETE
//	GET    /v1/bans                       []acl.Ban: who is kept out
//	POST   /v1/bans                       acl.Ban → acl.Ban
//	POST   /v1/bans/remove                acl.Ban
//	GET    /v1/bridges · POST BridgeSpec · GET, DELETE /v1/bridges/{name} → Bridge
//	POST   /v1/bridges/{name}/pause · POST /v1/bridges/{name}/resume → Bridge
//	GET    /v1/options                    []Option: what may be changed while the broker runs
//	PATCH  /v1/options                    OptionsChange → []Option
//	GET    /v1/changes                    Changed, one a line: something is to be looked at again
//	POST   /v1/explain                    ExplainQuestion → Explanation: who would get a message, and why
//	GET    /v1/clock                      Clock: the time that the broker goes by
//	POST   /v1/clock/freeze · POST /v1/clock/resume → Clock
//	POST   /v1/clock/advance              {by: "24h"} or {to: time}, {liveness} → Clock
//	GET    /v1/topics/{name}/records?partition=&from=&where=&limit=  []Message
//	GET    /v1/queues/{name}/messages?where=&limit=                  []Queued: nothing is consumed
//	POST   /v1/want                       Want → Wanted: waits until something is so
//	GET    /v1/chaos                      Chaos: what goes wrong by plan, on the node that answers
//	POST   /v1/chaos                      chaos.Rule → chaos.Rule · PUT chaos.Plan → Chaos · DELETE
//	DELETE /v1/chaos/{name}
//	GET    /v1/record?filter=&protocol=&where=  a file: what is committed on the node that answers, from now on
//	POST   /v1/replay?speed=              such a file → Replayed, one a line
//	GET    /v1/snapshot                   a file: all that the broker holds at one moment
//	POST   /v1/snapshot                   such a file → Loaded: the broker begins anew with it
//	GET    /v1/trace?client=|topic=|ip=|mark=  TraceLine, one a line: what is seen of clients and done for them
//	POST   /v1/reset                      Reset: takes away what clients have made, of a broker in memory
//	POST   /v1/shutdown
//
// Names are percent-encoded path segments ("sensors%2Fdev1"); ?namespace= chooses
// a namespace other than "/". Lists take ?prefix=, ?limit= and ?after= (the last
// name seen) and say in Envelope.Next where to go on.
//
// # Bounds
//
//   - A request body is at most RequestMax bytes, a list answer ListMax items.
//   - A reader of /v1/live that falls behind loses messages, counted in LiveStats;
//     it never holds the broker up. So does one of /v1/trace, which also ends at a number of
//     events, of their bytes, or after a time.
package adminapi

import (
	"context"
	"io"
	"time"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/setting"
)

// Bounds of the API.
const (
	RequestMax  = 1 << 20 // bytes of a request body
	ListDefault = 1000    // items of a list when no limit is asked
	ListMax     = 100_000 // items of a list, whatever is asked
	LiveBodyMax = 4 << 10 // bytes of a live message's value when no bound is asked

	TraceCount    = 10_000           // events of a trace when no bound is asked
	TraceCountMax = 1_000_000        // whatever is asked, as below
	TraceBytes    = 16 << 20         // their bytes
	TraceBytesMax = 1 << 30          //
	TraceFor      = 10 * time.Minute // and for how long
	TraceForMax   = 24 * time.Hour   //
)

// DefaultNamespace is meant when a request names none.
const DefaultNamespace = "/"

// Query narrows a list. The zero value asks for the first ListDefault items of
// the default namespace.
type Query struct {
	Namespace string // "" is DefaultNamespace
	Prefix    string // only names under this prefix
	After     string // only names sorted after this one
	Limit     int    // 0: ListDefault
}

// Ref names one thing.
type Ref struct {
	Namespace string // "" is DefaultNamespace
	Name      string
	// Spelling is the protocol whose spelling Name is in, for topics: "mqtt", "kafka"
	// or "amqp". "" tries MQTT's first, then Kafka's.
	Spelling string
}

// Source answers what the API can be asked. Lists come sorted by name. An error is
// a *fault.Error or an *Error; anything else reaches the caller as "internal".
// Safe for concurrent use.
type Source interface {
	Status(context.Context) (Status, error)
	// Overview is cheap enough to be asked for once a second by several readers. Its
	// counters are totals; Watch turns them into rates.
	Overview(context.Context) (Overview, error)

	Topics(context.Context, Query) ([]Topic, error)
	Topic(context.Context, Ref) (Topic, error)
	CreateTopic(context.Context, TopicSpec) (Topic, error)
	AlterTopic(context.Context, Ref, TopicChange) (Topic, error)
	DeleteTopic(context.Context, Ref) error

	Queues(context.Context, Query) ([]Queue, error)
	Queue(context.Context, Ref) (Queue, error)
	CreateQueue(context.Context, QueueSpec) (Queue, error)
	// DeleteQueue and PurgeQueue tell how many messages went.
	DeleteQueue(context.Context, Ref, DeleteQueueOptions) (int64, error)
	PurgeQueue(context.Context, Ref) (int64, error)

	Exchanges(context.Context, Query) ([]Exchange, error)
	Exchange(context.Context, Ref) (Exchange, error)
	CreateExchange(context.Context, Exchange) (Exchange, error)
	DeleteExchange(context.Context, Ref, DeleteExchangeOptions) error

	Bindings(context.Context, Query) ([]Binding, error) // Prefix and After compare sources
	Bind(context.Context, Binding) error
	Unbind(context.Context, Binding) error

	Sessions(context.Context, Query) ([]Session, error)
	Session(context.Context, Ref) (Session, error)
	// DeleteSession ends a session and disconnects its client.
	DeleteSession(context.Context, Ref) error
	// Slow returns the MQTT clients that were slow to take messages lately, the slowest first, of this
	// node; none while option mqtt.slow.threshold is 0.
	Slow(context.Context) ([]Slow, error)

	Groups(context.Context, Query) ([]Group, error)
	Group(context.Context, Ref) (Group, error)
	DeleteGroup(context.Context, Ref) error

	// Retained returns retained messages whose address matches an MQTT filter; ""
	// matches all.
	Retained(ctx context.Context, q Query, filter string) ([]Message, error)

	Nodes(context.Context) ([]Node, error)
	Shards(context.Context) ([]Shard, error)
	Moves(context.Context) ([]Move, error)
	// DrainNode has a node give up its votes, FillNode takes that back, and RemoveNode has it
	// leave the cluster: Nodes has it no more when it has. A conflict says what would be lost;
	// force overrules one that says so in its hint.
	DrainNode(ctx context.Context, id uint64, force bool) (Node, error)
	FillNode(ctx context.Context, id uint64) (Node, error)
	RemoveNode(ctx context.Context, id uint64, force bool) (Node, error)

	Namespaces(context.Context) ([]Namespace, error)
	Namespace(ctx context.Context, name string) (Namespace, error)
	CreateNamespace(context.Context, NamespaceSpec) (Namespace, error)
	// AlterNamespace changes what is made in a namespace from then on, and nothing that is
	// there.
	AlterNamespace(context.Context, NamespaceSpec) (Namespace, error)

	// Settings returns what is set of a kind in a namespace, "" being DefaultNamespace.
	Settings(ctx context.Context, namespace string, kind setting.Kind) ([]setting.Setting, error)
	PutSetting(context.Context, setting.Setting) (setting.Setting, error)
	DeleteSetting(ctx context.Context, namespace string, kind setting.Kind, name string) error

	Users(context.Context) ([]User, error)
	User(ctx context.Context, name string) (User, error)
	PutUser(context.Context, UserSpec) (User, error)
	DeleteUser(ctx context.Context, name string) error

	// Rules returns the rules of access, in the order of acl.Compare. PutRules adds actions to
	// them, DeleteRules takes actions away; both tell how many rules that has changed.
	Rules(context.Context) ([]acl.Rule, error)
	PutRules(context.Context, []acl.Rule) (int, error)
	DeleteRules(context.Context, []acl.Rule) (int, error)
	// TestAccess tells what the rules say, and which of them.
	TestAccess(context.Context, AccessQuestion) (acl.Verdict, error)

	// Bans returns who is kept out, in the order of acl.CompareBans. PutBan adds a ban or replaces
	// the one of the same subject, and ends the connections that it is about; DeleteBan takes it
	// back.
	Bans(context.Context) ([]acl.Ban, error)
	PutBan(context.Context, acl.Ban) (acl.Ban, error)
	DeleteBan(context.Context, acl.Ban) error

	Faults

	// Bridges returns the bridges to other brokers, without what is secret. AddBridge fails with
	// fault.Exists for a name that is taken; RemoveBridge drops what waits to go out.
	Bridges(context.Context) ([]Bridge, error)
	Bridge(ctx context.Context, name string) (Bridge, error)
	AddBridge(context.Context, BridgeSpec) (Bridge, error)
	RemoveBridge(ctx context.Context, name string) error
	PauseBridge(ctx context.Context, name string, paused bool) (Bridge, error)

	// Options returns what may be changed while the broker runs, by name, and ChangeOptions
	// what that is once it is changed, on every node.
	Options(context.Context) ([]Option, error)
	ChangeOptions(context.Context, OptionsChange) ([]Option, error)

	Clocks
	Resetter
	Inspection
	Recordings
	// Want waits until something is so, and returns what it waited for; fault.Timeout says how that
	// stands when it is not so in time.
	Want(context.Context, Want) (Wanted, error)
	// Changes calls emit at once, and then after whatever may have changed what the lists tell, until
	// ctx ends (nil) or emit fails. Several changes may share a line.
	Changes(ctx context.Context, emit func(Changed) error) error

	// Explain tells who would get a message, and why. It publishes nothing.
	Explain(context.Context, ExplainQuestion) (Explanation, error)

	// Live calls emit with messages as they are published, until ctx ends (nil), emit
	// fails (its error) or the broker closes. emit is called from one goroutine at a
	// time; a slow emit loses messages, which LiveStats counts.
	Live(ctx context.Context, q LiveQuery, emit func(LiveEvent) error) error

	// Trace calls emit with what this node sees of clients and does for them, until a bound is
	// reached, which the last line says, or as Live ends. The first line is empty: what happens
	// after it is seen.
	Trace(ctx context.Context, q TraceQuery, emit func(TraceLine) error) error

	// Snapshot writes a file of all that the broker holds at one moment: docs/format/snapshot.md.
	Snapshot(ctx context.Context, w io.Writer) error

	// Load has a broker that is alone, and keeps its data in memory, hold what a snapshot does, and nothing else. It returns
	// before the broker ends its connections and begins anew, on the same ports: Status.Loads is Loaded.Number when it has.
	Load(ctx context.Context, r io.Reader) (Loaded, error)

	// Shutdown begins a clean end of the broker and returns.
	Shutdown(context.Context) error
}

// DeleteQueueOptions are the conditions of AMQP's queue.delete.
type DeleteQueueOptions struct {
	IfUnused bool `json:"if_unused,omitempty"` // refuse while it has consumers
	IfEmpty  bool `json:"if_empty,omitempty"`  // refuse while it holds messages
}

// DeleteExchangeOptions are the conditions of AMQP's exchange.delete.
type DeleteExchangeOptions struct {
	IfUnused bool `json:"if_unused,omitempty"` // refuse while something is bound to it
}
