package meta

import "github.com/robustmq/rmq/broker/message"

// Durability is what an acknowledgement has waited for, and so what may be lost that was
// acknowledged. The zero value stands for whatever is the default where it is given.
type Durability string

const (
	Sync   Durability = "sync"   // the device: nothing
	Async  Durability = "async"  // the operating system: the newest, when the machine stops
	Memory Durability = "memory" // nothing: everything, when the process ends
)

// Valid tells whether d is one of the three.
func (d Durability) Valid() bool { return d == Sync || d == Async || d == Memory }

// Namespace keeps names apart. Its durability is that of the streams, queues and sessions
// which are made in it from then on and do not say their own.
type Namespace struct {
	Name       string     `json:"name"`
	Durability Durability `json:"durability"`
}

// Overflow is what a full queue does.
type Overflow uint8

const (
	DropHead Overflow = iota
	RejectPublish
	RejectPublishDLX
)

// Queue declares a queue. -1 (or nil) means "not given" wherever a bound is asked.
type Queue struct {
	Namespace  string `json:"ns"`
	Name       string `json:"name"`
	Durable    bool   `json:"durable,omitempty"`     // false: dies with the broker
	Exclusive  bool   `json:"exclusive,omitempty"`   // dies with Owner
	AutoDelete bool   `json:"auto_delete,omitempty"` // dies with its last consumer
	Owner      uint64 `json:"owner,omitempty"`
	// Arguments as the client declared them, for equivalence checks and lists.
	Arguments []Argument `json:"args,omitempty"`

	MessageTTL           int64    `json:"ttl"`               // ms; -1 none
	Expires              int64    `json:"expires,omitempty"` // ms unused before the queue is deleted; 0 never
	MaxLength            int64    `json:"max_len"`           // -1 none
	MaxLengthBytes       int64    `json:"max_bytes"`         // -1 none
	Overflow             Overflow `json:"overflow,omitempty"`
	DeadLetterExchange   *string  `json:"dlx,omitempty"`
	DeadLetterRoutingKey *string  `json:"dlk,omitempty"` // nil: the message's own
	MaxPriority          uint8    `json:"max_priority,omitempty"`
	DeliveryLimit        int64    `json:"delivery_limit"` // -1 none
	SingleActive         bool     `json:"single_active,omitempty"`

	// Durability of the messages; Memory where the queue itself dies with the broker. A state
	// only holds queues that say it.
	Durability Durability `json:"durability,omitempty"`

	// Given by the state when the queue is created.
	ID    uint64 `json:"id,omitempty"`
	Shard uint32 `json:"shard,omitempty"`
}

// Argument is one name and value of a declaration, the value in a canonical text
// ("int:60000", "str:abc") that two equal declarations share.
type Argument struct {
	Name  string `json:"n"`
	Value string `json:"v"`
}

// ExchangeType is how an exchange routes.
type ExchangeType uint8

const (
	Direct ExchangeType = iota
	Fanout
	Topic
	Headers
)

var exchangeTypes = [...]string{"direct", "fanout", "topic", "headers"}

// String returns AMQP's name of the type.
func (t ExchangeType) String() string {
	if int(t) < len(exchangeTypes) {
		return exchangeTypes[t]
	}
	return "unknown"
}

// Exchange is an AMQP exchange.
type Exchange struct {
	Namespace  string       `json:"ns"`
	Name       string       `json:"name"`
	Type       ExchangeType `json:"type"`
	Durable    bool         `json:"durable,omitempty"`
	AutoDelete bool         `json:"auto_delete,omitempty"`
	Internal   bool         `json:"internal,omitempty"`
	Alternate  string       `json:"alternate,omitempty"` // alternate exchange; "" none
	Arguments  []Argument   `json:"args,omitempty"`
}

// Binding leads from an exchange to a queue or to another exchange.
type Binding struct {
	Namespace   string           `json:"ns"`
	Source      string           `json:"source"`
	Destination string           `json:"dest"`
	ToExchange  bool             `json:"to_exchange,omitempty"`
	Key         string           `json:"key"`
	Arguments   []Argument       `json:"args,omitempty"`  // as declared
	Match       []message.Header `json:"match,omitempty"` // headers exchange: what must be present (nil Value: only present)
	MatchAny    bool             `json:"any,omitempty"`   // x-match any; otherwise all
	MatchX      bool             `json:"x,omitempty"`     // *-with-x: names starting "x-" count
}

// StreamID is stable for the life of a stream; it is Kafka's topic id.
type StreamID [16]byte

// Stream is a set of partitions under one address.
type Stream struct {
	Namespace  string            `json:"ns"`
	Address    string            `json:"address"` // MQTT spelling of its name
	Partitions int               `json:"partitions"`
	Config     map[string]string `json:"config,omitempty"`   // Kafka topic configuration names
	Exact      bool              `json:"exact,omitempty"`    // capture: exact; nothing below its address is captured
	Captured   bool              `json:"captured,omitempty"` // made by the namespace's capture rule: a bounded ring
	Durability Durability        `json:"durability,omitempty"`

	// Given by the state when the stream is created.
	ID      StreamID   `json:"id"`
	Created int64      `json:"created,omitempty"` // ms
	Modulus int        `json:"modulus,omitempty"` // partitions at creation: leaf views hash by it for ever
	Logs    []LogPlace `json:"logs,omitempty"`    // by partition index
}

// LogPlace says where a partition's log is.
type LogPlace struct {
	Shard uint32 `json:"s"`
	Log   uint64 `json:"l"`
}

// User is an identity that may connect. Hash says itself what it is (package auth).
type User struct {
	Name  string   `json:"name"`
	Hash  []byte   `json:"hash"`
	Tags  []string `json:"tags,omitempty"`
	SCRAM []SCRAM  `json:"scram,omitempty"`
}

// SCRAM is what is kept of a password for log-ins by one mechanism of SCRAM.
type SCRAM struct {
	Mechanism  string `json:"mechanism"`
	Salt       []byte `json:"salt"`
	Iterations int    `json:"iterations"`
	StoredKey  []byte `json:"stored_key"`
	ServerKey  []byte `json:"server_key"`
}

// Claim says that a name is one session's alone.
type Claim struct {
	Namespace string `json:"ns"`
	Name      string `json:"name"`
	Owner     string `json:"owner"` // client id of the session
	Shard     uint32 `json:"shard"` // where it is
	Epoch     uint64 `json:"epoch"` // the connection that has claimed it
}

// Node is one node of the cluster, as log 0 knows it.
type Node struct {
	ID uint64 `json:"id"`
	// Incarnation tells this life of the node from others: no two lives of any nodes share
	// one. What was made by an earlier life has nobody who answers for it any more.
	Incarnation uint64 `json:"incarnation"`
	// Down: the others do not hear from it.
	Down bool `json:"down,omitempty"`
	// State is where the node is in its membership.
	State NodeState `json:"state,omitempty"`
	// Peer is where other nodes find it: host:port; "": their own configuration says so.
	Peer string `json:"peer,omitempty"`
	// Addresses are where clients find it, by protocol: a URL.
	Addresses map[string]string `json:"addresses,omitempty"`
	Rack      string            `json:"rack,omitempty"`
}

// NodeState is where a node is in its membership. Every node but one that was removed has a
// replica of each shard; only those in NodeUp are given votes and lead.
type NodeState string

// The states, in their order. One that drains or leaves may be put up again.
const (
	NodeJoining  NodeState = "joining"  // it gets its replicas, and serves nobody yet
	NodeUp       NodeState = "up"       //
	NodeDraining NodeState = "draining" // it gives its votes away, and serves
	NodeLeaving  NodeState = "leaving"  // it gives its votes away, to be removed
	NodeRemoved  NodeState = "removed"  // it has nothing any more, and its id is not used again
)

// Placement is who is to vote on a shard, and who of those is to lead it.
type Placement struct {
	Shard  uint32   `json:"shard"`
	Voters []uint64 `json:"voters"`
	Leader uint64   `json:"leader"`
}
