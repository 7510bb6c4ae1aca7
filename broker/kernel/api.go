package kernel

import (
	"github.com/robustmq/rmq/broker/kernel/meta"
	"github.com/robustmq/rmq/broker/message"
)

// This file holds what adapters see: requests, results and the interfaces that
// they implement to be called back. The calls themselves are in the file named
// after their subject: publish.go, session.go, queue.go, stream.go, group.go,
// topology.go.
//
// Calls that take a context wait for the commit. Calls that take a callback
// interface return at once, and call back exactly once per request, in request
// order for one caller and destination, from a kernel goroutine that must not
// be held up: the callee puts bytes in its own bounded outbox and returns.

// ---- publish -------------------------------------------------------------

// Publish is one message on its way in.
type Publish struct {
	Namespace string
	Msg       message.Message // borrowed until Kernel.Publish returns

	// Exchange and Key route the message by AMQP's rules when ViaExchange is set;
	// otherwise Msg.Address alone decides. Key is the exact routing key.
	Exchange    string
	Key         string
	ViaExchange bool
	// CC are further routing keys (AMQP headers CC and BCC).
	CC []string

	// From is the publisher's session, for No Local; nil when it has none.
	From *Session
	// PacketID is the MQTT packet identifier of a QoS 2 publish in From, to be
	// deduplicated until Session.Release; 0 otherwise.
	PacketID uint16

	// Admitted: the adapter asks Kernel.Refusal itself before it lets a publish in.
	Admitted bool

	Reply Publisher // told the outcome; nil when nobody waits
	Tag   uint64    // handed back to Reply

	// Told, when not nil, is told where the message rests, for each shard that has applied it, before
	// Reply is. It is called by applying goroutines, and must not block.
	Told func(Place)

	Batch *Batch // collects the sinks reached at once; nil when each is to flush itself

	// Here, at QoS 0: sessions that are connected to another node do not get it, and it is not
	// counted: what the node says of itself.
	Here bool

	again       bool   // was delayed: counted and shown when it came in
	dead        bool   // a dead letter: queues that it went round already are left out
	relayed     bool   // came from another node, for those who are connected here
	relayedFrom string // client id of who published it there
	held        bool   // part of a transaction that holds entries back: no stream is made for it
}

// Publisher is told how a publish ended.
type Publisher interface {
	// Published is called once for each Publish with a Reply. r.Err is nil when
	// every shard involved has applied the message (or there was none).
	Published(tag uint64, r PublishResult)
}

// PublishResult tells how a publish ended.
type PublishResult struct {
	Err error
	// Queues and Subscribers count what the message was routed to: AMQP queues (MQTT
	// shared subscriptions included), and MQTT sessions. Both zero: a mandatory
	// publish is to be returned, and MQTT 5 answers 0x10.
	Queues, Subscribers int
	// NoExchange: the exchange does not exist.
	NoExchange bool
	// Rejected: a queue with overflow reject-publish was full; AMQP answers basic.nack.
	Rejected bool
}

// Place is where a message rests: in one of a shard's logs.
type Place struct {
	Shard  uint32
	Entry  uint64 // of the shard's own log that brought it; 0 where it is not known
	Log    uint64
	Offset int64
	// Stream and Partition, when the log is a partition's.
	Stream    string
	Partition int32
}

// ---- deliveries ------------------------------------------------------------

// Delivery is one message on its way out.
type Delivery struct {
	Msg *message.Message // shared with other deliveries: read only, valid until the sink returns
	// No numbers the deliveries of one attachment from 1; Settle takes it back.
	// 0 when there is nothing to settle.
	No          uint64
	Redelivered bool
	Count       uint32 // deliveries before this one
	Failed      uint32 // of those, the ones that failed: AMQP's x-delivery-count
	Ready       uint32 // messages left ready in the queue, for basic.get-ok
	At          Place  // where the message rests; the zero value when it is in no log

	// The rest is for MQTT sessions.
	PacketID uint16 // 0 at QoS 0
	QoS      uint8  // granted
	Retain   bool   // the flag to send
	Shared   bool   // from a shared subscription, at QoS 0 or 1: No is of From
	Consumed bool   // from a queue that the session is subscribed to, as Shared
	SubIDs   []uint32
	From     *Attachment // the attachment that No belongs to; nil for a session's own

	Batch *Batch // of the publish that is being made on this goroutine; nil otherwise
}

// Sink receives deliveries. Its methods must not block and must not call the
// kernel back synchronously, except Settle, Credit and session acks.
type Sink interface {
	// Deliver takes one message. false: it was dropped because the sink's bound
	// was reached (QoS 0 only); the kernel counts it.
	Deliver(d *Delivery) bool
	// Gone says that the kernel ended the attachment or session.
	Gone(reason GoneReason)
}

// GoneReason tells why the kernel ended an attachment or a session.
type GoneReason uint8

const (
	GoneTakenOver GoneReason = iota // another connection opened the session
	GoneDeleted                     // the queue was deleted, or an operator ended the session
	GoneClosing                     // the broker is closing, or was away for too long: the client is to come back
	GoneTooSlow                     // its bound was exceeded by what may not be dropped
)

// ---- sessions --------------------------------------------------------------

// SessionSpec opens an MQTT session.
type SessionSpec struct {
	Namespace string
	ClientID  string
	User      string // for lists and logs: the kernel does not look at it
	// Clean discards what an earlier session of that id left (MQTT5-3.1.2-4).
	Clean bool
	// Expiry is how long the session outlives its connection, in seconds: 0 ends
	// it with the connection; ExpiryNever keeps it.
	Expiry uint32
	// ReceiveMaximum bounds the unacknowledged QoS 1 and 2 deliveries.
	ReceiveMaximum uint16
	Will           *Will
	Sink           Sink
}

// ExpiryNever is the session expiry interval that never ends (MQTT 5 section 3.1.2.11.2).
const ExpiryNever = 0xFFFFFFFF

// Will is published when the connection ends without a DISCONNECT that withdraws it.
type Will struct {
	Msg   message.Message // copied
	Delay uint32          // seconds
}

// Subscription is one filter of a session.
type Subscription struct {
	Filter            string // MQTT spelling, "$share/group/filter", "$exclusive/filter" and "$queue/name" included; checked by the adapter
	QoS               uint8
	NoLocal           bool
	RetainAsPublished bool
	RetainHandling    uint8  // 0, 1, 2 as MQTT 5 section 3.8.3.1
	ID                uint32 // subscription identifier; 0 when none
}

// ---- queues ----------------------------------------------------------------

// Overflow, QueueSpec and Argument declare a queue.
type (
	Overflow  = meta.Overflow
	QueueSpec = meta.Queue
	Argument  = meta.Argument
)

const (
	DropHead         = meta.DropHead
	RejectPublish    = meta.RejectPublish
	RejectPublishDLX = meta.RejectPublishDLX
)

// QueueInfo is a queue as it stands.
type QueueInfo struct {
	QueueSpec
	Ready     int64
	Unacked   int64
	Consumers int
	Bytes     int64 // of ready message values
}

// AttachSpec attaches a consumer to a queue.
type AttachSpec struct {
	Namespace, Queue string
	Owner            uint64 // connection, for exclusive queues
	Tag              string // consumer tag, for lists
	Exclusive        bool   // refuse if there is another; refuse others after
	NoAck            bool   // settled as soon as delivered
	Priority         int32
	Credit           int64 // deliveries allowed before the first settle; Unlimited
	Pull             bool  // deliver only by Attachment.Get
	Refill           bool  // settling a delivery gives its credit back
	Sink             Sink

	share *membership // the consumer is a session, and the queue that of a shared subscription
}

// Unlimited credit.
const Unlimited = int64(1) << 40

// Outcome settles a delivery.
type Outcome uint8

const (
	Accept  Outcome = iota // done: remove
	Requeue                // back to its original place
	Reject                 // dead-letter or drop
	Release                // back, without counting as a failed delivery
)

// ---- topology --------------------------------------------------------------

// Exchange, ExchangeType and Binding are AMQP's topology.
type (
	Exchange     = meta.Exchange
	ExchangeType = meta.ExchangeType
	Binding      = meta.Binding
)

const (
	Direct  = meta.Direct
	Fanout  = meta.Fanout
	Topic   = meta.Topic
	Headers = meta.Headers
)

// ---- streams ---------------------------------------------------------------

// StreamID and StreamSpec name and create a stream.
type (
	StreamID   = meta.StreamID
	StreamSpec = meta.Stream
)

// StreamInfo is a stream as it stands.
type StreamInfo struct {
	StreamSpec
	Parts []PartitionInfo
}

// PartitionInfo is one partition as it stands.
type PartitionInfo struct {
	Index       int32
	Shard       uint32
	LeaderEpoch int32
	Start, End  int64 // first offset held; one past the last
	LastStable  int64
	Bytes       int64
}

// Appended is told how an append ended.
type Appended interface {
	Appended(tag uint64, r AppendResult)
}

// AppendResult is the outcome of one batch.
type AppendResult struct {
	Err        error
	BaseOffset int64
	LogAppend  int64 // ms when the stream stamps append time; -1 otherwise
	LogStart   int64
	Duplicate  bool // the batch was there already; BaseOffset is the old one
}

// committed tells whether the batch was appended, and not before.
func (r *AppendResult) committed() bool { return r.Err == nil && !r.Duplicate }

// ReadResult is what a read of a partition found.
type ReadResult struct {
	Batches    [][]byte // whole record batches, shared: read only
	HighWater  int64
	LastStable int64
	LogStart   int64
	// Next is the offset to ask for next; beyond the last batch when a view skipped
	// records.
	Next int64
}
