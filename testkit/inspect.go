package testkit

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/group"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/record"
)

// defaultNamespace is what clients that name none see.
const defaultNamespace = kernel.DefaultNamespace

// ---- topics ------------------------------------------------------------------

// Topic is a stream, or the view of one address below it.
type Topic struct {
	b    *Broker
	name string
}

// Topic looks at a topic by any spelling of its name: "sensors", "sensors/dev1/temp" or
// "sensors.dev1.temp". It need not exist (yet).
func (b *Broker) Topic(name string) Topic { return Topic{b, name} }

// Record is one record as a Kafka consumer sees it, and the message that it holds.
type Record struct {
	Partition int32
	Offset    int64
	Time      time.Time
	Key       []byte // nil: null
	Value     []byte // nil: null
	Headers   []message.Header

	Message message.Message // the kernel's view: address, source protocol, typed fields
}

// Header returns the value of the first header with a name, as text; "" when there is none.
func (r Record) Header(name string) string {
	for _, h := range r.Headers {
		if h.Name == name {
			return string(h.Value)
		}
	}
	return ""
}

func (r Record) String() string {
	return fmt.Sprintf("%d/%d %s=%s", r.Partition, r.Offset, show(r.Key), show(r.Value))
}

// place finds the partitions that hold the topic.
func (t Topic) place() (kernel.TopicPlace, bool) { return t.b.Kernel().Place(defaultNamespace, t.name) }

// each calls fn for the records of one partition.
func each(at *kernel.TopicPlace, p *kernel.Partition, fn func(Record)) error {
	index := p.Info().Index
	_, err := at.Each(p, 0, func(rec *record.Record, made bool) bool {
		fn(toRecord(rec, index, at.Stream, made))
		return true
	})
	return err
}

// Exists tells whether there is such a topic. A view exists when a stream is home to its
// address, records or not.
func (t Topic) Exists() bool {
	_, ok := t.place()
	return ok
}

// Records returns what the topic holds, partition by partition in the order of offsets.
// A batch that cannot be read fails the test.
func (t Topic) Records() []Record {
	t.b.t.Helper()
	var out []Record
	at, _ := t.place()
	for _, p := range at.Parts {
		if err := each(&at, p, func(r Record) { out = append(out, r) }); err != nil {
			t.b.t.Fatalf("testkit: topic %s: %v", t.name, err)
		}
	}
	return out
}

// Values returns the values of Records as text.
func (t Topic) Values() []string {
	t.b.t.Helper()
	var out []string
	for _, r := range t.Records() {
		out = append(out, string(r.Value))
	}
	return out
}

// Count is how many records the topic holds.
func (t Topic) Count() int {
	t.b.t.Helper()
	n := 0
	at, _ := t.place()
	for _, p := range at.Parts {
		if err := each(&at, p, func(Record) { n++ }); err != nil {
			t.b.t.Fatalf("testkit: topic %s: %v", t.name, err)
		}
	}
	return n
}

// most is a number that Count does not exceed, found without reading.
func (t Topic) most() int {
	n := int64(0)
	at, _ := t.place()
	for _, p := range at.Parts {
		i := p.Info()
		n += i.End - i.Start
	}
	return int(n)
}

// Partitions is how many partitions the topic has; 0 when it does not exist.
func (t Topic) Partitions() int {
	at, _ := t.place()
	return len(at.Parts)
}

func toRecord(rec *record.Record, partition int32, stream string, made bool) Record {
	r := Record{
		Partition: partition, Offset: rec.Offset, Time: time.UnixMilli(rec.Time).UTC(), Key: bytes.Clone(rec.Key), Value: bytes.Clone(rec.Value),
	}
	for _, h := range rec.Headers {
		r.Headers = append(r.Headers, message.Header{Name: h.Name, Value: bytes.Clone(h.Value)})
	}
	m := message.FromRecord(rec.Key, rec.Value, slices.Clone(rec.Headers), rec.Time, stream, made)
	r.Message = m.Clone()
	return r
}

// ---- queues ------------------------------------------------------------------

// Queue is a queue as AMQP clients and shared subscriptions know it.
type Queue struct {
	b    *Broker
	name string
}

// Queue looks at a queue; a shared subscription's is named "$share/group/filter". It need
// not exist (yet).
func (b *Broker) Queue(name string) Queue { return Queue{b, name} }

// Info is the queue as it stands; false: there is none of that name.
func (q Queue) Info() (kernel.QueueInfo, bool) {
	for _, i := range q.b.Kernel().Queues(defaultNamespace) {
		if i.Name == q.name {
			return i, true
		}
	}
	return kernel.QueueInfo{}, false
}

// Exists tells whether the queue is declared.
func (q Queue) Exists() bool {
	_, ok := q.Info()
	return ok
}

// Ready is how many messages wait for a consumer.
func (q Queue) Ready() int {
	i, _ := q.Info()
	return int(i.Ready)
}

// Unacked is how many messages are with consumers, unsettled.
func (q Queue) Unacked() int {
	i, _ := q.Info()
	return int(i.Unacked)
}

// Consumers is how many consumers the queue has.
func (q Queue) Consumers() int {
	i, _ := q.Info()
	return i.Consumers
}

// ---- sessions ------------------------------------------------------------------

// Session is an MQTT session.
type Session struct {
	b  *Broker
	id string
}

// Session looks at the session of a client id. It need not exist (yet).
func (b *Broker) Session(clientID string) Session { return Session{b, clientID} }

// Info is the session as it stands; false: there is none.
func (s Session) Info() (kernel.SessionInfo, bool) {
	return s.b.Kernel().SessionInfo(defaultNamespace, s.id)
}

// Exists tells whether there is a session, connected or not.
func (s Session) Exists() bool {
	_, ok := s.Info()
	return ok
}

// Connected tells whether the client is connected.
func (s Session) Connected() bool {
	i, _ := s.Info()
	return i.Connected
}

// Inflight is how many deliveries at QoS 1 and 2 the client has not acknowledged.
func (s Session) Inflight() int {
	i, _ := s.Info()
	return i.Inflight
}

// Backlog is how many messages wait to be sent.
func (s Session) Backlog() int {
	i, _ := s.Info()
	return int(i.Backlog)
}

// Subscribed tells whether the session has a subscription with exactly that filter.
func (s Session) Subscribed(filter string) bool {
	i, _ := s.Info()
	return slices.ContainsFunc(i.Subscriptions, func(sub kernel.Subscription) bool { return sub.Filter == filter })
}

// ---- retained ------------------------------------------------------------------

// retainedMax bounds what Retained returns.
const retainedMax = 1 << 20

// Retained returns the retained messages whose address matches an MQTT filter, in the
// order of addresses.
func (b *Broker) Retained(filter string) []message.Message {
	return b.Kernel().RetainedMessages(defaultNamespace, filter, retainedMax)
}

// ---- groups ------------------------------------------------------------------

// Group is a Kafka consumer group.
type Group struct {
	b  *Broker
	id string
}

// Group looks at a consumer group. It need not exist (yet).
func (b *Broker) Group(id string) Group { return Group{b, id} }

// GroupInfo is a consumer group as it stands.
type GroupInfo struct {
	ID      string
	State   string // Empty, PreparingRebalance, CompletingRebalance, Stable, Dead
	Members []group.MemberDescription
	Offsets []GroupOffset
	Lag     int64 // of all partitions with a committed offset
}

// GroupOffset is where a group stands in one partition.
type GroupOffset struct {
	Topic     string // Kafka's spelling
	Partition int32
	Committed int64
	End       int64 // one past the partition's last record
	Lag       int64
}

// Info is the group as it stands; false: there is none.
func (g Group) Info() (info GroupInfo, ok bool) {
	ok = g.b.Kernel().GroupRead(defaultNamespace, g.id, func(kg *group.Group) { info = readGroup(g.id, kg) })
	g.b.lag(&info)
	return info, ok
}

// Exists tells whether there is such a group.
func (g Group) Exists() bool {
	_, ok := g.Info()
	return ok
}

// Lag is how many records the group has still to commit, in the partitions that it has
// committed an offset of.
func (g Group) Lag() int {
	i, _ := g.Info()
	return int(i.Lag)
}

// Members is how many members the group has.
func (g Group) Members() int {
	i, _ := g.Info()
	return len(i.Members)
}

// Committed is the offset that the group committed for a partition; -1 when it did not.
func (g Group) Committed(topic string, partition int32) int64 {
	i, _ := g.Info()
	for _, o := range i.Offsets {
		if o.Topic == topic && o.Partition == partition {
			return o.Committed
		}
	}
	return -1
}

// groups lists all of them.
func (b *Broker) groups() []GroupInfo {
	var out []GroupInfo
	b.Kernel().Groups(defaultNamespace, func(id string, g *group.Group) { out = append(out, readGroup(id, g)) })
	for i := range out {
		b.lag(&out[i])
	}
	return out
}

// readGroup copies what is not the group's own.
func readGroup(id string, g *group.Group) GroupInfo {
	d := g.Describe()
	info := GroupInfo{ID: id, State: d.State.String(), Members: d.Members}
	for i := range info.Members {
		m := &info.Members[i]
		m.Metadata, m.Assignment = bytes.Clone(m.Metadata), bytes.Clone(m.Assignment)
	}
	g.Offsets(func(topic string, partition int32, o group.Offset) bool {
		info.Offsets = append(info.Offsets, GroupOffset{Topic: topic, Partition: partition, Committed: o.Offset})
		return true
	})
	return info
}

func (b *Broker) lag(g *GroupInfo) {
	for i := range g.Offsets {
		o := &g.Offsets[i]
		at, _ := b.Topic(o.Topic).place()
		for _, p := range at.Parts {
			// A view's only partition is 0 to its readers, wherever it lies.
			if in := p.Info(); in.Index == o.Partition || at.Leaf != "" {
				o.End = in.End
				o.Lag = max(in.End-max(o.Committed, in.Start), 0)
				g.Lag += o.Lag
			}
		}
	}
}
