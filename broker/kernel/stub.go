package kernel

// Signatures that adapters are written against while the kernel is being filled in.
// Each moves to its subject's file; this file goes.

import (
	"context"

	"github.com/robustmq/rmq/broker/message"
)

// ---- publish.go

// Publish routes one message. It returns at once; what it needs of p it has copied.
func (k *Kernel) Publish(p *Publish) { panic("unfinished") }

// Commit publishes and settles as one AMQP transaction: atomic per shard.
func (k *Kernel) Commit(ctx context.Context, ps []*Publish, settles []SettleOp) ([]PublishResult, error) {
	panic("unfinished")
}

// SettleOp is one acknowledgement inside a transaction.
type SettleOp struct {
	Attachment *Attachment
	No         uint64
	Outcome    Outcome
}

// ---- session.go

// OpenSession opens or resumes a session; present tells whether state was resumed. A
// connection that holds the session is told GoneTakenOver first. Nothing is delivered
// until Session.Start.
func (k *Kernel) OpenSession(ctx context.Context, spec SessionSpec) (s *Session, present bool, err error) {
	panic("unfinished")
}

// Start begins delivery, after CONNACK was written: first what was inflight, in
// order (DUP set; a Delivery with a nil Msg asks for PUBREL of its PacketID to be sent
// again), then the backlog.
func (s *Session) Start() { panic("unfinished") }

// Subscribe adds or replaces subscriptions; on return their routes hold. existed[i]
// tells whether that filter was subscribed before. errs[i] is nil when granted.
func (s *Session) Subscribe(ctx context.Context, subs []Subscription) (existed []bool, errs []error) {
	panic("unfinished")
}

// Retained delivers the retained messages that match one subscription; the adapter
// calls it after SUBACK, when retain handling asks for it. Never for shared ones.
func (s *Session) Retained(sub Subscription) { panic("unfinished") }

// Unsubscribe removes filters; existed[i] tells whether there was one.
func (s *Session) Unsubscribe(ctx context.Context, filters []string) (existed []bool, err error) {
	panic("unfinished")
}

// Ack ends an outgoing QoS 1 or 2 delivery: PUBACK, PUBCOMP, or a PUBREC that refuses
// (ok false: a negative reason code, the message is dead-lettered or dropped).
func (s *Session) Ack(packetID uint16, ok bool) { panic("unfinished") }

// Received notes PUBREC for an outgoing QoS 2 delivery; known false: answer PUBREL with 0x92.
func (s *Session) Received(packetID uint16) (known bool) { panic("unfinished") }

// Release ends an incoming QoS 2 publish at PUBREL; done is called once that is
// durable (then PUBCOMP may leave); known false: 0x92.
func (s *Session) Release(packetID uint16, done func(known bool)) { panic("unfinished") }

// Close ends the connection's hold on the session. will: publish the will message (after
// its delay). expiry, when not nil, replaces the session expiry interval.
func (s *Session) Close(will bool, expiry *uint32) { panic("unfinished") }

// ---- queue.go

// DeclareQueue creates a queue, or returns the one of that name (created false), which
// the caller compares. fault.Locked: exclusive to another owner.
func (k *Kernel) DeclareQueue(ctx context.Context, spec QueueSpec) (info QueueInfo, created bool, err error) {
	panic("unfinished")
}
func (k *Kernel) Queue(ns, name string, owner uint64) (QueueInfo, error) { panic("unfinished") }
func (k *Kernel) Queues(ns string) []QueueInfo                           { panic("unfinished") }

// DeleteQueue removes a queue and its bindings and tells how many messages were in it.
func (k *Kernel) DeleteQueue(ctx context.Context, ns, name string, owner uint64, ifUnused, ifEmpty bool) (int64, error) {
	panic("unfinished")
}

// PurgeQueue removes the ready messages.
func (k *Kernel) PurgeQueue(ctx context.Context, ns, name string, owner uint64) (int64, error) {
	panic("unfinished")
}

// CloseOwner deletes the exclusive queues of a connection that ended.
func (k *Kernel) CloseOwner(owner uint64) { panic("unfinished") }

// Attach adds a consumer. Its deliveries may start before Attach returns.
func (k *Kernel) Attach(ctx context.Context, spec AttachSpec) (*Attachment, error) {
	panic("unfinished")
}

// Settle ends the delivery with that number; multiple: and all unsettled ones before it.
func (a *Attachment) Settle(no uint64, multiple bool, o Outcome) { panic("unfinished") }

// Credit allows n more deliveries.
func (a *Attachment) Credit(n int64) { panic("unfinished") }

// Get takes one message off a Pull attachment's queue: false when the queue is empty;
// otherwise the sink had its delivery before Get returns.
func (a *Attachment) Get(ctx context.Context) (bool, error) { panic("unfinished") }

// Detach ends the attachment; what it had not settled is requeued in its place.
func (a *Attachment) Detach(ctx context.Context) error { panic("unfinished") }

// ---- topology.go

func (k *Kernel) HasNamespace(ns string) bool { panic("unfinished") }

// DeclareExchange creates an exchange or returns the one of that name, which the caller compares.
func (k *Kernel) DeclareExchange(ctx context.Context, x Exchange) (existing Exchange, created bool, err error) {
	panic("unfinished")
}
func (k *Kernel) DeleteExchange(ctx context.Context, ns, name string, ifUnused bool) error {
	panic("unfinished")
}
func (k *Kernel) Exchange(ns, name string) (Exchange, bool)   { panic("unfinished") }
func (k *Kernel) Exchanges(ns string) []Exchange              { panic("unfinished") }
func (k *Kernel) Bind(ctx context.Context, b Binding) error   { panic("unfinished") }
func (k *Kernel) Unbind(ctx context.Context, b Binding) error { panic("unfinished") }
func (k *Kernel) Bindings(ns string) []Binding                { panic("unfinished") }

// ---- stream.go

func (k *Kernel) CreateStream(ctx context.Context, spec StreamSpec) (StreamInfo, error) {
	panic("unfinished")
}
func (k *Kernel) DeleteStream(ctx context.Context, ns, address string) error { panic("unfinished") }
func (k *Kernel) AddPartitions(ctx context.Context, ns, address string, total int) error {
	panic("unfinished")
}

// ConfigureStream sets and deletes configuration names.
func (k *Kernel) ConfigureStream(ctx context.Context, ns, address string, set map[string]string, del []string) error {
	panic("unfinished")
}
func (k *Kernel) Stream(ns, address string) (StreamInfo, bool) { panic("unfinished") }
func (k *Kernel) StreamByID(id StreamID) (StreamInfo, bool)    { panic("unfinished") }
func (k *Kernel) Streams(ns string) []StreamInfo               { panic("unfinished") }

// Leaf finds the stream that is home to an address below its name: the leaf view of
// that address lives in the one partition that the address hashes to, under an id of its own.
func (k *Kernel) Leaf(ns, address string) (home StreamInfo, partition int32, view StreamID, ok bool) {
	panic("unfinished")
}

// Partition returns the handle of a partition led by this node.
func (k *Kernel) Partition(id StreamID, index int32) (*Partition, error) { panic("unfinished") }

// Partition is the handle of one partition.
type Partition struct{}

// Append appends one record batch that the adapter has validated (length, CRC, magic 2).
// Batch is copied. acks 0 and nil reply: nobody is told.
func (p *Partition) Append(batch []byte, acks int16, reply Appended, tag uint64) { panic("unfinished") }

// Read reads from offset on. leaf, when not empty, keeps only that address. minOne:
// return at least one batch even if larger than maxBytes. fault.OutOfRange outside what is held.
func (p *Partition) Read(offset int64, maxBytes int, leaf string, minOne bool) (ReadResult, error) {
	panic("unfinished")
}
func (p *Partition) Info() PartitionInfo { panic("unfinished") }

// OffsetForTime finds the first record at or after ms; offset -1 when there is none.
func (p *Partition) OffsetForTime(ms int64) (offset, at int64, err error) { panic("unfinished") }

// Watch wakes w once End exceeds offset, or when the partition goes. One call, one wake.
func (p *Partition) Watch(offset int64, w *Waiter) { panic("unfinished") }

// Waiter collects wakes from many partitions: C receives at most one pending value.
type Waiter struct{ C chan struct{} }

func NewWaiter() *Waiter { return &Waiter{C: make(chan struct{}, 1)} }

// Close withdraws the waiter from every partition.
func (w *Waiter) Close() { panic("unfinished") }

// AllocateProducer returns a new producer id for idempotent produce.
func (k *Kernel) AllocateProducer(ctx context.Context) (id int64, epoch int16, err error) {
	panic("unfinished")
}

// ---- for admin and testkit: inspect.go

// RetainedMessages returns retained messages whose address matches an MQTT filter, at most limit.
func (k *Kernel) RetainedMessages(ns, filter string, limit int) []message.Message {
	panic("unfinished")
}
