package adminapi

import (
	"time"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/setting"
	"github.com/robustmq/rmq/broker/trace"
)

// Status says what a broker is and where it listens. Nothing in it but Log changes faster
// than an operator acts.
type Status struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Go      string `json:"go,omitempty"`

	Node    uint64 `json:"node"`
	Cluster string `json:"cluster,omitempty"`
	PID     int    `json:"pid"`
	Profile string `json:"profile"` // dev or production

	Started time.Time `json:"started"`
	Uptime  float64   `json:"uptime_seconds"`
	// Loads is how often a snapshot was loaded since the process began, and LoadFailed why the last was not:
	// what there was before is there still.
	Loads      int    `json:"loads,omitempty"`
	LoadFailed string `json:"load_failed,omitempty"`

	DataDir string `json:"data_dir,omitempty"` // "" when everything is kept in memory
	// Durability tells, for each class of data (streams, queues, sessions, capture), what an
	// acknowledgement waits for where nothing else is said in the default namespace: sync,
	// async or memory.
	Durability map[string]string `json:"durability"`
	// Holdings is what there is of each durability: sync, async, memory.
	Holdings []Holding `json:"holdings,omitempty"`
	// Restarts tell what became of what was not synced, when the broker before this one did
	// not close in order, or had something in memory.
	Restarts []Restart `json:"restarts,omitempty"`

	URLs URLs `json:"urls"`
	// Listeners are all that are open, those of URLs too.
	Listeners []Listener `json:"listeners,omitempty"`
	// TLS is what clients are shown; nil: no TLS is spoken.
	TLS *TLS `json:"tls,omitempty"`
	// Nodes are those of the cluster; nil when this one is alone.
	Nodes []Node `json:"nodes,omitempty"`

	Users int  `json:"users"` // 0: everyone on this machine is let in
	Ready bool `json:"ready"`

	// Log is how the log stands; nil in memory.
	Log *WAL `json:"log,omitempty"`

	// Warnings are conditions that an operator should know of, one sentence each.
	Warnings []string `json:"warnings,omitempty"`
}

// Holding is what there is of one durability.
type Holding struct {
	Durability string   `json:"durability"`
	Shards     []uint32 `json:"shards"`
	Topics     int      `json:"topics"`
	Queues     int      `json:"queues"`
	Sessions   int      `json:"sessions"`
	Groups     int      `json:"groups"`
	Retained   int      `json:"retained"`
}

// Restart is what the last end may have cost.
type Restart struct {
	Durability string `json:"durability"` // async or memory
	Shard      uint32 `json:"shard,omitempty"`
	// Held: nothing that was acknowledged is missing; the machine ran on.
	Held bool `json:"held"`
	// Until: what an async shard had acknowledged by then is there; of what came after, at
	// most BehindSeconds before the end, some may be missing.
	Until         time.Time `json:"until,omitzero"`
	BehindSeconds float64   `json:"behind_seconds,omitempty"`
	// Topics and Queues were in memory, and are empty now.
	Topics int `json:"topics,omitempty"`
	Queues int `json:"queues,omitempty"`
	// Text says it in a sentence.
	Text string `json:"text"`
}

// Node is one node of the cluster, as log 0 knows it.
type Node struct {
	ID uint64 `json:"id"`
	// Up: the others hear from it. It takes them some seconds to notice that they do not.
	Up   bool `json:"up"`
	Self bool `json:"self,omitempty"` // the one that answers
	// Incarnation tells this life of the node from others.
	Incarnation uint64   `json:"incarnation"`
	URLs        URLs     `json:"urls"` // where clients find it
	Rack        string   `json:"rack,omitempty"`
	Leads       []uint32 `json:"leads"` // shards, as far as the one that answers knows
	// State is where the node is in its membership: joining, up, draining or leaving.
	State string `json:"state"`
	Peer  string `json:"peer,omitempty"` // where the other nodes find it
	// Votes are the shards that it votes on, Gains those that it is still to vote on, or to lead,
	// and Loses those that it is still to give up.
	Votes []uint32 `json:"votes"`
	Gains []uint32 `json:"gains,omitempty"`
	Loses []uint32 `json:"loses,omitempty"`
}

// States of a node.
const (
	NodeJoining  = "joining"  // it gets a replica of everything
	NodeUp       = "up"       //
	NodeDraining = "draining" // it gives up its votes, and serves its clients
	NodeLeaving  = "leaving"  // it gives up its votes, and is then removed
)

// Move is a shard that is not yet kept, or led, as it is to be.
type Move struct {
	Shard uint32   `json:"shard"`
	From  []uint64 `json:"from,omitempty"` // nodes that are to vote on it no more
	To    []uint64 `json:"to,omitempty"`   // nodes that are to vote on it, and do not yet
	// Leader is the node that leads it, ToLead the one that is to. 0: none.
	Leader uint64 `json:"leader"`
	ToLead uint64 `json:"to_lead"`
}

// Shard is one replicated log, as the node that answers sees it.
type Shard struct {
	ID     uint32   `json:"id"`
	Leader uint64   `json:"leader"` // node; 0 when none is known
	Term   uint64   `json:"term"`
	Voters []uint64 `json:"voters"`
	// Learners take entries and do not vote.
	Learners []uint64 `json:"learners,omitempty"`
	// Commit is the last entry known to be committed, Applied the last one that this node has
	// taken in.
	Commit  uint64 `json:"commit"`
	Applied uint64 `json:"applied"`
	// Behind: this node lacks more than a leader has at hand, and is fetching a state.
	Behind bool   `json:"behind,omitempty"`
	Error  string `json:"error,omitempty"` // why it has stopped here
}

// Namespace keeps names apart; AMQP calls it a virtual host.
type Namespace struct {
	Name string `json:"name"`
	// Durability is that of topics, queues and sessions which are made in it from now on and
	// do not say their own.
	Durability string `json:"durability"`
	Topics     int    `json:"topics"`
	Queues     int    `json:"queues"`
	Sessions   int    `json:"sessions"`
}

// NamespaceSpec creates a namespace, or changes one.
type NamespaceSpec struct {
	Name       string `json:"name"`
	Durability string `json:"durability,omitempty"` // "" when it is created is sync
}

// URLs are where clients connect; "" where nothing listens.
type URLs struct {
	MQTT    string `json:"mqtt,omitempty"`     // mqtt://host:port
	MQTTS   string `json:"mqtts,omitempty"`    // mqtts://host:port
	MQTTWS  string `json:"mqtt_ws,omitempty"`  // ws://host:port/mqtt
	MQTTWSS string `json:"mqtt_wss,omitempty"` // wss://host:port/mqtt
	Kafka   string `json:"kafka,omitempty"`    // kafka://host:port
	KafkaS  string `json:"kafkas,omitempty"`   // kafkas://host:port
	AMQP    string `json:"amqp,omitempty"`     // amqp://host:port
	AMQPS   string `json:"amqps,omitempty"`    // amqps://host:port
	HTTP    string `json:"http,omitempty"`     // http://host:port
	HTTPS   string `json:"https,omitempty"`    // https://host:port
}

// All are those that there are, by the names that they have in JSON. Changing one changes
// the URLs.
func (u *URLs) All(f func(name string, url *string)) {
	for _, x := range []struct {
		name string
		url  *string
	}{
		{"mqtt", &u.MQTT}, {"mqtts", &u.MQTTS}, {"mqtt_ws", &u.MQTTWS}, {"mqtt_wss", &u.MQTTWSS}, {"kafka", &u.Kafka}, {"kafkas", &u.KafkaS},
		{"amqp", &u.AMQP}, {"amqps", &u.AMQPS}, {"http", &u.HTTP}, {"https", &u.HTTPS},
	} {
		f(x.name, x.url)
	}
}

// Listener is one that is open.
type Listener struct {
	URL      string `json:"url"` // as it is written to ask for one, without options
	Open     int64  `json:"open"`
	Accepted uint64 `json:"accepted"`
	// Refused counts the connections that were not served, by reason.
	Refused map[string]uint64 `json:"refused,omitempty"`
}

// TLS is what is shown to clients over TLS.
type TLS struct {
	Certificates []Certificate `json:"certificates"`
	Read         time.Time     `json:"read"` // when they were
	// Problem is why the files as they are now are not used: what was read before is.
	Problem string `json:"problem,omitempty"`
}

// Certificate is one that is shown.
type Certificate struct {
	File  string    `json:"file"`
	Names []string  `json:"names"`
	Until time.Time `json:"until"` // it is not valid after
}

// Overview is one look at the whole broker.
type Overview struct {
	At time.Time `json:"at"`
	// Traffic has one element for each protocol, always in the same order.
	Traffic []Traffic `json:"traffic"`

	Topics        int   `json:"topics"`
	Partitions    int   `json:"partitions"`
	StreamBytes   int64 `json:"stream_bytes"`
	Queues        int   `json:"queues"`
	Ready         int64 `json:"ready"`
	Unacked       int64 `json:"unacked"`
	Consumers     int   `json:"consumers"`
	Exchanges     int   `json:"exchanges"`
	Bindings      int   `json:"bindings"`
	Sessions      int   `json:"sessions"`
	Connected     int   `json:"connected"` // sessions with a client on them
	Subscriptions int   `json:"subscriptions"`
	Groups        int   `json:"groups"`
	Lag           int64 `json:"lag"` // of all groups
	Retained      int   `json:"retained"`

	HeapBytes  uint64 `json:"heap_bytes"`
	RSSBytes   uint64 `json:"rss_bytes,omitempty"` // 0 where the system does not tell
	Goroutines int    `json:"goroutines"`
	WAL        WAL    `json:"wal"`
	Device     Device `json:"device"`
	// Alarms are what keeps the broker from doing all that it is asked, one sentence each.
	Alarms []string `json:"alarms,omitempty"`
}

// WAL is what the write-ahead log has done since it was opened, and how it stands; with it,
// what else is written for the sake of the same messages. Nearly all is 0 in memory.
type WAL struct {
	Bytes  uint64 `json:"bytes"`
	Syncs  uint64 `json:"syncs"`
	Groups uint64 `json:"groups"` // flushes: bytes/groups is the mean group
	Files  int    `json:"files"`
	Room   uint64 `json:"room"` // bytes that it can take before the device must give more
	Full   bool   `json:"full,omitempty"`

	// Seconds of a sync that half, and 99 of 100, do not exceed; at most twice the true ones.
	SyncP50 float64 `json:"sync_p50_seconds,omitempty"`
	SyncP99 float64 `json:"sync_p99_seconds,omitempty"`
	// Entries of one flush, on average.
	GroupEntries float64 `json:"group_entries,omitempty"`

	// Payload is the bytes that clients published; Segments and Checkpoints were written
	// besides the log. Amplification is all three over the payload; 0 before there is any.
	Payload       uint64  `json:"payload_bytes"`
	Segments      uint64  `json:"segment_bytes"`
	Checkpoints   uint64  `json:"checkpoint_bytes"`
	Amplification float64 `json:"amplification,omitempty"`

	// Pins are the shards that keep log files which could go otherwise, who keeps most first.
	Pins []Pin `json:"pins,omitempty"`
	// Shards tells how far each is behind with applying, and with its checkpoints.
	Shards []ShardLag `json:"shards,omitempty"`
}

// Pin is what one shard keeps in the log: it has no checkpoint yet of entries that are there.
type Pin struct {
	Shard uint32 `json:"shard"`
	Files int    `json:"files"`
	Bytes uint64 `json:"bytes"`
}

// ShardLag is what was given to one shard's log, or waits for that, and is not applied.
type ShardLag struct {
	Shard   uint32  `json:"shard"`
	Entries int     `json:"entries"`
	Bytes   int     `json:"bytes"`
	Age     float64 `json:"age_seconds"` // of the oldest
	// Of the bytes, those of publishes, and those of what takes away or gives leave.
	Publishes int `json:"publish_bytes"`
	Control   int `json:"control_bytes"`
	// Crowded: no publishes are let in until those that wait are written. Gated: they wait
	// until the device gives the log space.
	Crowded bool `json:"crowded,omitempty"`
	Gated   bool `json:"gated,omitempty"`
	// CheckpointAge is since the last checkpoint; -1: none since the start. CheckpointTook is
	// how long that one took.
	CheckpointAge  float64 `json:"checkpoint_age_seconds"`
	CheckpointTook float64 `json:"checkpoint_took_seconds"`
}

// Device is what everything is kept on.
type Device struct {
	Free  int64 `json:"free"`  // bytes
	Total int64 `json:"total"` // bytes; 0: there is no telling, or no limit
	// Refused: publishes are refused for want of space.
	Refused bool `json:"refused,omitempty"`
	// RefusedTotal counts publishes that were refused so, and ShedTotal those of QoS 0 or
	// acks 0, for which nobody waits, that were let go.
	RefusedTotal uint64 `json:"refused_total"`
	ShedTotal    uint64 `json:"shed_total"`
}

// Traffic is what one protocol has carried since the broker started.
type Traffic struct {
	Protocol    string `json:"protocol"` // mqtt, kafka or amqp
	Connections int    `json:"connections"`
	// Waiting is how many publishes wait now for the log to take those before them, with their
	// bytes; of AMQP, with the methods behind them.
	Waiting      int64 `json:"waiting,omitempty"`
	WaitingBytes int64 `json:"waiting_bytes,omitempty"`
	Counters
	// ErrorsBy counts refused or broken conversations by reason; their sum is Errors.
	ErrorsBy map[string]uint64 `json:"errors_by,omitempty"`
	// Rates are per second since the line before; nil where there was none. Watch
	// fills them.
	Rates *Rates `json:"rates,omitempty"`
}

// Counters only grow, until the broker restarts.
type Counters struct {
	MessagesIn  uint64 `json:"messages_in"` // published by clients
	MessagesOut uint64 `json:"messages_out"`
	BytesIn     uint64 `json:"bytes_in"` // of the wire, framing included
	BytesOut    uint64 `json:"bytes_out"`
	Accepted    uint64 `json:"accepted"` // connections, ever
	Errors      uint64 `json:"errors"`
	Dropped     uint64 `json:"dropped"` // messages let go at a bound, QoS 0 included
	// Throttled counts how often a client was not read for a while, as it exceeded a rate or a quota.
	Throttled uint64 `json:"throttled,omitempty"`
}

// Rates are Counters per second.
type Rates struct {
	MessagesIn  float64 `json:"messages_in"`
	MessagesOut float64 `json:"messages_out"`
	BytesIn     float64 `json:"bytes_in"`
	BytesOut    float64 `json:"bytes_out"`
	Accepted    float64 `json:"accepted"`
	Errors      float64 `json:"errors"`
	Dropped     float64 `json:"dropped"`
}

// Names is one address as each protocol spells it.
type Names struct {
	MQTT  string `json:"mqtt"`
	Kafka string `json:"kafka"`
	AMQP  string `json:"amqp"`
}

// Topic is a stream: partitions of records that are read by offset.
type Topic struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"` // its address, which is its MQTT spelling
	Names     Names  `json:"names"`
	ID        string `json:"id"` // Kafka's topic id, a UUID

	Created  time.Time `json:"created"`
	Captured bool      `json:"captured"` // made by the namespace's capture rule: a bounded ring
	Exact    bool      `json:"exact"`    // nothing below its address is captured
	// Durability is what an acknowledgement waits for: sync, async or memory.
	Durability string `json:"durability"`

	Config     map[string]string `json:"config,omitempty"`
	Partitions []Partition       `json:"partitions"`
	Records    int64             `json:"records"` // end minus start, of all partitions
	Bytes      int64             `json:"bytes"`
}

// Partition is one ordered log of a topic.
type Partition struct {
	Index      int32  `json:"index"`
	Shard      uint32 `json:"shard"`
	Leader     uint64 `json:"leader"` // node; 0 when none is known
	Epoch      int32  `json:"epoch"`
	Start      int64  `json:"start"` // first offset held
	End        int64  `json:"end"`   // one past the last
	LastStable int64  `json:"last_stable"`
	Bytes      int64  `json:"bytes"`
}

// TopicSpec creates a topic.
type TopicSpec struct {
	Namespace  string            `json:"namespace,omitempty"`
	Name       string            `json:"name"`
	Spelling   string            `json:"spelling,omitempty"`   // of Name; "" is mqtt
	Partitions int               `json:"partitions,omitempty"` // 0: the broker's default
	Config     map[string]string `json:"config,omitempty"`     // Kafka topic configuration names
	Exact      bool              `json:"exact,omitempty"`
	Durability string            `json:"durability,omitempty"` // "": the namespace's
}

// TopicChange alters a topic; zero fields change nothing.
type TopicChange struct {
	Partitions int               `json:"partitions,omitempty"` // the new total, never fewer
	Set        map[string]string `json:"set,omitempty"`
	Delete     []string          `json:"delete,omitempty"` // configuration names back to their default
}

// Argument is one name and value of an AMQP declaration.
type Argument struct {
	Name  string `json:"name"`
	Value string `json:"value"` // with its type: "int:60000", "str:abc"
}

// QueueSpec declares a queue, as AMQP's queue.declare does.
type QueueSpec struct {
	Namespace  string     `json:"namespace,omitempty"`
	Name       string     `json:"name"`
	Durable    bool       `json:"durable"`
	AutoDelete bool       `json:"auto_delete"`
	Exclusive  bool       `json:"exclusive,omitempty"` // never set by the API: a property of connections
	Arguments  []Argument `json:"arguments,omitempty"`
	// Durability of its messages; "" in a declaration: that of the namespace, or memory when
	// the queue is not durable.
	Durability string `json:"durability,omitempty"`
}

// Queue is a queue as it stands.
type Queue struct {
	QueueSpec
	Ready     int64  `json:"ready"`
	Unacked   int64  `json:"unacked"`
	Consumers int    `json:"consumers"`
	Bytes     int64  `json:"bytes"` // of ready message values
	Shard     uint32 `json:"shard"`
}

// Exchange is an AMQP exchange. The default exchange has the name "" here and
// "amq.default" in a path.
type Exchange struct {
	Namespace  string     `json:"namespace,omitempty"`
	Name       string     `json:"name"`
	Type       string     `json:"type"` // direct, fanout, topic or headers
	Durable    bool       `json:"durable"`
	AutoDelete bool       `json:"auto_delete"`
	Internal   bool       `json:"internal,omitempty"`
	Alternate  string     `json:"alternate,omitempty"`
	Arguments  []Argument `json:"arguments,omitempty"`
}

// Binding leads from an exchange to a queue or to another exchange.
type Binding struct {
	Namespace   string     `json:"namespace,omitempty"`
	Source      string     `json:"source"`
	Destination string     `json:"destination"`
	ToExchange  bool       `json:"to_exchange,omitempty"`
	Key         string     `json:"key"`
	Arguments   []Argument `json:"arguments,omitempty"`
}

// ExpiryNever is Session.Expiry of a session that outlives any absence.
const ExpiryNever int64 = -1

// Session is an MQTT session.
type Session struct {
	Namespace string `json:"namespace"`
	ClientID  string `json:"client_id"`
	User      string `json:"user,omitempty"`
	Version   string `json:"version,omitempty"` // of MQTT: 3.1, 3.1.1 or 5

	Connected bool      `json:"connected"`
	Remote    string    `json:"remote,omitempty"`
	Transport string    `json:"transport,omitempty"`  // tcp, tls, ws, wss, unix or quic
	Since     time.Time `json:"since"`                // of the present connection or absence
	Expiry    int64     `json:"expiry_seconds"`       // after the connection; ExpiryNever
	ExpiresAt time.Time `json:"expires_at,omitzero"`  // while absent
	KeepAlive int       `json:"keep_alive,omitempty"` // seconds
	Aliases   int       `json:"aliases,omitempty"`    // topic aliases that the client was told
	AliasMax  int       `json:"alias_max,omitempty"`  // that it takes

	Subscriptions []Subscription `json:"subscriptions"`
	Inflight      int            `json:"inflight"`     // unacknowledged QoS 1 and 2 deliveries
	InflightMax   int            `json:"inflight_max"` // receive maximum
	Durability    string         `json:"durability,omitempty"`
	Backlog       int64          `json:"backlog"` // messages that wait
	BacklogBytes  int64          `json:"backlog_bytes"`
	Dropped       uint64         `json:"dropped"`
	Will          *Will          `json:"will,omitempty"`
}

// BridgeSpec defines a bridge. What is empty of it has its default.
type BridgeSpec struct {
	Name string `json:"name"`
	setting.Bridge
}

// States of a bridge.
const (
	BridgeConnected = "connected"
	BridgeAway      = "away"   // it tries again and again
	BridgePaused    = "paused" // an operator wants it so
)

// Bridge is a bridge to another MQTT broker.
type Bridge struct {
	Name string `json:"name"`
	setting.Bridge

	State   string    `json:"state"`
	Node    uint64    `json:"node,omitempty"` // that runs it, or has last
	Since   time.Time `json:"since,omitzero"` // that it is connected, or is not
	Error   string    `json:"error,omitempty"`
	ErrorAt time.Time `json:"error_at,omitzero"`

	Queued   int64 `json:"queued"`   // messages that the other broker has not acknowledged
	Inflight int   `json:"inflight"` // of those, the ones that it was sent
	// Traffic is counted by the node that runs the bridge, and told by it alone.
	Traffic *BridgeTraffic `json:"traffic,omitempty"`
}

// BridgeTraffic counts messages since the node began to run the bridge.
type BridgeTraffic struct {
	In      uint64 `json:"in"`
	Out     uint64 `json:"out"`
	Dropped uint64 `json:"dropped"` // that the other side never takes
}

// Subscription is one filter of a session.
type Subscription struct {
	Filter            string `json:"filter"` // "$share/group/…" included
	QoS               uint8  `json:"qos"`
	NoLocal           bool   `json:"no_local,omitempty"`
	RetainAsPublished bool   `json:"retain_as_published,omitempty"`
	RetainHandling    uint8  `json:"retain_handling,omitempty"`
	ID                uint32 `json:"id,omitempty"`
}

// Will is what the broker publishes when the client is lost.
type Will struct {
	Topic  string `json:"topic"`
	QoS    uint8  `json:"qos"`
	Retain bool   `json:"retain,omitempty"`
	Delay  uint32 `json:"delay_seconds,omitempty"`
	Bytes  int    `json:"bytes"`
}

// Group is a consumer group: members that share partitions, and their cursors.
type Group struct {
	Namespace    string        `json:"namespace"`
	ID           string        `json:"id"`
	State        string        `json:"state"`    // Empty, PreparingRebalance, CompletingRebalance, Stable or Dead
	Type         string        `json:"type"`     // classic, consumer or share
	Protocol     string        `json:"protocol"` // the assignor that members agreed on
	Generation   int32         `json:"generation"`
	Coordinator  uint64        `json:"coordinator"` // node
	Members      []Member      `json:"members"`
	Offsets      []GroupOffset `json:"offsets"`
	Lag          int64         `json:"lag"` // sum over Offsets
	LastActivity time.Time     `json:"last_activity,omitzero"`
}

// Member is one member of a group.
type Member struct {
	ID         string       `json:"id"`
	InstanceID string       `json:"instance_id,omitempty"`
	ClientID   string       `json:"client_id"`
	Host       string       `json:"host"`
	Assigned   []Assignment `json:"assigned"`
}

// Assignment is the partitions of one topic that a member reads.
type Assignment struct {
	Topic      string  `json:"topic"` // Kafka spelling, as the group knows it
	Partitions []int32 `json:"partitions"`
}

// GroupOffset is a group's cursor in one partition.
type GroupOffset struct {
	Topic     string `json:"topic"` // Kafka spelling, as the group knows it
	Partition int32  `json:"partition"`
	Committed int64  `json:"committed"` // -1: nothing yet
	End       int64  `json:"end"`
	Lag       int64  `json:"lag"`
	Member    string `json:"member,omitempty"`
	Metadata  string `json:"metadata,omitempty"`
}

// User is an identity, the same one for every protocol.
type User struct {
	Name string   `json:"name"`
	Tags []string `json:"tags"` // "administrator" may do everything, and use this API
}

// AccessQuestion asks what the rules of access say.
type AccessQuestion struct {
	User      string     `json:"user,omitempty"`
	Client    string     `json:"client,omitempty"` // MQTT client id
	Host      string     `json:"host,omitempty"`   // IP address that it comes from
	Namespace string     `json:"namespace,omitempty"`
	Action    acl.Action `json:"action"`
	Kind      acl.Kind   `json:"kind,omitempty"`
	Name      string     `json:"name,omitempty"` // an address, or a filter: then all that it matches is meant
}

// RulesChanged tells how many rules a request has changed.
type RulesChanged struct {
	Changed int `json:"changed"`
}

// Slow is an MQTT client that was slow to take messages of a topic.
type Slow struct {
	ClientID string    `json:"client_id"`
	Topic    string    `json:"topic"`
	QoS      uint8     `json:"qos"`
	Latency  float64   `json:"latency"` // seconds, of the last that was slow, from its arrival in the broker
	At       time.Time `json:"at"`      // when it was acknowledged, at QoS 0 written
	Count    uint64    `json:"count"`   // that were slow, since it is listed
	Node     uint64    `json:"node"`
}

// Option is one that may be changed while the broker runs, the same on every node.
type Option struct {
	Name    string `json:"name"`
	Value   string `json:"value"`
	Default string `json:"default"`
	Origin  string `json:"origin"` // OriginDefault or OriginSet
	Help    string `json:"help"`
}

// Where the value of an option comes from.
const (
	OriginDefault = "default"
	OriginSet     = "set" // kept in log 0
)

// OptionsChange sets options, by name, and has others take their defaults.
type OptionsChange struct {
	Set   map[string]string `json:"set,omitempty"`
	Unset []string          `json:"unset,omitempty"`
}

// UserSpec creates a user or replaces what one has. A nil field leaves what is there;
// a new user needs a password.
type UserSpec struct {
	Name     string  `json:"name"`
	Password *string `json:"password,omitempty"`
	// Hash is what is kept of a password, in place of one: argon2id, bcrypt, or Mosquitto's.
	Hash string   `json:"hash,omitempty"`
	Tags []string `json:"tags,omitempty"`
}

// LiveQuery chooses what a live stream shows.
type LiveQuery struct {
	Namespace string
	Filter    string // MQTT filter over addresses; "" is "#" with the $-roots
	Protocol  string // only what this protocol published; "" any
	Contains  string // only messages whose key, value or a header holds this text
	Where     string // only messages that this expression means, in the language of package filter
	BodyMax   int    // bytes of a value to show; 0: LiveBodyMax; longer ones are cut and say so
	RateMax   int    // messages a second to show; 0: the broker's choice
}

// LiveEvent is one line of a live stream: a message, or the count so far.
type LiveEvent struct {
	Message *Message   `json:"message,omitempty"`
	Stats   *LiveStats `json:"stats,omitempty"` // at least once a second while anything matches
	// Behind tells that another event follows at once: this one need not be sent by itself.
	Behind bool `json:"-"`
}

// TraceQuery chooses what a trace shows: one of Client, Topic, IP and Mark is set.
type TraceQuery struct {
	Client string // client id
	Topic  string // filter over topics, as MQTT has it
	IP     string // address, or network: 10.0.0.0/8
	Mark   string // of messages: what trace.MarkHeader says

	// Where it ends; 0: TraceCount, TraceBytes, TraceFor.
	Count, Bytes int
	For          time.Duration
}

// TraceLine is one line of a trace: an event, or a word about the trace itself.
type TraceLine struct {
	Event *trace.Event `json:"event,omitempty"`
	// Dropped is how many events were lost so far, because the reader was slow.
	Dropped uint64 `json:"dropped,omitempty"`
	End     string `json:"end,omitempty"` // the trace has ended, for it has reached this: "count", "bytes" or "time"
}

// LiveStats counts what a live stream has seen since it began: Matched = Shown + Sampled
// + Dropped.
type LiveStats struct {
	Matched uint64 `json:"matched"`
	Shown   uint64 `json:"shown"`
	Sampled uint64 `json:"sampled"` // left out to keep RateMax
	Dropped uint64 `json:"dropped"` // left out because the reader was slow
}
