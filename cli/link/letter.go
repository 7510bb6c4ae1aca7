package link

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/robustmq/rmq/broker/fault"
)

// This file is dead letters: where one comes from, and how to take them out of a queue or a topic without
// losing any.

// Death is what a dead letter says of where it comes from, and why.
type Death struct {
	Queue     string    `json:"queue,omitempty"` // AMQP: in which it died
	Topic     string    `json:"topic,omitempty"` // Kafka: from which it was read
	Partition *int32    `json:"partition,omitempty"`
	Offset    *int64    `json:"offset,omitempty"`
	Exchange  string    `json:"exchange"` // AMQP: that it was published to
	Keys      []string  `json:"routing_keys,omitempty"`
	Reason    string    `json:"reason,omitempty"` // AMQP: rejected, expired, maxlen, delivery_limit; Kafka: the exception
	Message   string    `json:"message,omitempty"`
	Count     int64     `json:"count,omitempty"` // how often it died there so
	Time      time.Time `json:"time,omitzero"`
	Group     string    `json:"group,omitempty"` // Kafka: the consumer group, or the connector
}

// deathHeader tells whether a header is one that tells of deaths: a letter that is sent back has none.
func deathHeader(name string) bool {
	return name == "x-death" || strings.HasPrefix(name, "x-first-death-") || strings.HasPrefix(name, "x-last-death-") ||
		strings.HasPrefix(name, springPrefix) || strings.HasPrefix(name, connectPrefix)
}

const (
	springPrefix  = "kafka_dlt-"        // of Spring's DeadLetterPublishingRecoverer
	connectPrefix = "__connect.errors." // of Kafka Connect, errors.deadletterqueue.context.headers.enable
	// HeaderRedriven says where a message that was sent back came from.
	HeaderRedriven = "rmq-redriven"
)

// DeathOf reads the newest death of a message. false: it tells of none.
func DeathOf(m *Message) (d Death, ok bool) {
	text := map[string]string{}
	for _, h := range m.Headers {
		if _, there := text[h.Name]; !there {
			text[h.Name] = string(h.Value)
		}
	}
	if s, there := text["x-death"]; there {
		return amqpDeath(s)
	}
	if topic, there := text[springPrefix+"original-topic"]; there {
		d = Death{Topic: topic, Reason: text[springPrefix+"exception-fqcn"], Message: text[springPrefix+"exception-message"], Group: text[springPrefix+"original-consumer-group"]}
		if b := text[springPrefix+"original-partition"]; len(b) == 4 {
			n := int32(binary.BigEndian.Uint32([]byte(b)))
			d.Partition = &n
		}
		if b := text[springPrefix+"original-offset"]; len(b) == 8 {
			n := int64(binary.BigEndian.Uint64([]byte(b)))
			d.Offset = &n
		}
		if b := text[springPrefix+"original-timestamp"]; len(b) == 8 {
			d.Time = time.UnixMilli(int64(binary.BigEndian.Uint64([]byte(b)))).UTC()
		}
		return d, true
	}
	if topic, there := text[connectPrefix+"topic"]; there {
		d = Death{Topic: topic, Reason: text[connectPrefix+"exception.class.name"], Message: text[connectPrefix+"exception.message"], Group: text[connectPrefix+"connector.name"]}
		if n, err := strconv.ParseInt(text[connectPrefix+"partition"], 10, 32); err == nil {
			p := int32(n)
			d.Partition = &p
		}
		if n, err := strconv.ParseInt(text[connectPrefix+"offset"], 10, 64); err == nil {
			d.Offset = &n
		}
		return d, true
	}
	return d, false
}

// amqpDeath reads the first of x-death's tables, in JSON: the newest.
func amqpDeath(s string) (Death, bool) {
	type death struct {
		Queue    string   `json:"queue"`
		Exchange string   `json:"exchange"`
		Keys     []string `json:"routing-keys"`
		Reason   string   `json:"reason"`
		Count    int64    `json:"count"`
		Time     int64    `json:"time"`
	}
	var all []death
	if err := json.Unmarshal([]byte(s), &all); err != nil { // one table alone is no array
		var one death
		if json.Unmarshal([]byte(s), &one) != nil {
			return Death{}, false
		}
		all = []death{one}
	}
	if len(all) == 0 {
		return Death{}, false
	}
	x := all[0]
	return Death{Queue: x.Queue, Exchange: x.Exchange, Keys: x.Keys, Reason: x.Reason, Count: x.Count, Time: time.Unix(x.Time, 0).UTC()}, true
}

// deadName matches the names that are given to what dead letters are kept in.
var deadName = regexp.MustCompile(`(?i)^(.+?)[._-](dlt|dlq|dlx|dead|dead[._-]?letters?)([._-]\d+)?$`)

// DeadName tells whether a name is one of those that dead letters' topics and queues are given by custom:
// orders.DLT, orders-dlt, orders.dlq; and of what.
func DeadName(name string) (of string, ok bool) {
	if m := deadName.FindStringSubmatch(name); m != nil {
		return m[1], true
	}
	return "", false
}

// Origin is where a dead letter is to go back to: what it was published to. queue: to the queue in which
// it died, and to no other. false: nothing says so.
func (l *Letter) Origin(queue bool) (Target, bool) {
	d, ok := DeathOf(l.Message)
	t := l.from
	t.Partition, t.Topic, t.Queue, t.Exchange, t.Key = nil, "", "", "", ""
	switch {
	case ok && d.Topic != "":
		t.Topic = d.Topic
		return t, t.Protocol == Kafka
	case ok && d.Queue != "":
		switch {
		case t.Protocol != AMQP:
			return t, false
		case queue || d.Exchange == "":
			t.Queue = d.Queue
		default:
			t.Exchange = d.Exchange
			if len(d.Keys) > 0 {
				t.Key = d.Keys[0]
			}
		}
		return t, true
	case t.Protocol == Kafka:
		t.Topic, ok = DeadName(l.from.Topic)
	}
	return t, ok
}

// Letter is a message that is held: it is where it was until it is settled.
type Letter struct {
	*Message
	from     Target
	delivery amqp.Delivery
}

// Letters are those that were in a queue or a topic when they were opened.
type Letters interface {
	// Next returns the next one. io.EOF: there were no more.
	Next(ctx context.Context) (*Letter, error)
	// Done takes a letter out: it rests elsewhere.
	Done(ctx context.Context, l *Letter) error
	// Close puts back what is not done, in its place.
	Close(ctx context.Context) error
}

// OpenLetters opens what is in a queue, or in a Kafka topic what group has not taken out before.
//
// Of a topic nothing can be taken out: the group's committed offsets say what was, and with them, in their
// metadata, what was of that which lies behind, so that letters may be taken out in any order.
func OpenLetters(ctx context.Context, t Target, o Options, group string) (Letters, error) {
	switch {
	case t.Protocol == AMQP && t.Queue != "":
		r, err := openAMQP(ctx, t, ConsumeOptions{Options: o, UntilEnd: true, Peek: true})
		if err != nil {
			return nil, err
		}
		return &amqpLetters{r.(*amqpReader)}, nil
	case t.Protocol == Kafka:
		return openKafkaLetters(ctx, t, o, group)
	}
	return nil, fault.New(fault.Invalid, "read dead letters", t.String(), "they are in a queue, amqp:queue:NAME, or in a Kafka topic, kafka:NAME")
}

type amqpLetters struct{ r *amqpReader }

func (a *amqpLetters) Next(ctx context.Context) (*Letter, error) {
	m, err := a.r.next(ctx)
	if err != nil {
		return nil, err
	}
	return &Letter{Message: m, from: a.r.target, delivery: a.r.last}, nil
}

func (a *amqpLetters) Done(_ context.Context, l *Letter) error {
	if err := l.delivery.Ack(false); err != nil {
		return amqpError("acknowledge", a.r.target.String(), err)
	}
	return nil
}

func (a *amqpLetters) Close(context.Context) error {
	a.r.close()
	return nil
}

// kafkaLetters reads a topic and notes what was taken out.
type kafkaLetters struct {
	r       reader
	client  *kgo.Client
	target  Target
	group   string
	taken   map[int32]*taken
	uncount int // taken out since the last commit
}

// commitEvery is after how many letters the offsets are committed: so many are sent again at most when we are
// killed.
const commitEvery = 100

func openKafkaLetters(ctx context.Context, t Target, o Options, group string) (*kafkaLetters, error) {
	r, err := openKafka(ctx, t, ConsumeOptions{Options: o, UntilEnd: true, From: Position{Kind: AtStart}})
	if err != nil {
		return nil, err
	}
	ranged := r.(*kafkaRange)
	k := &kafkaLetters{r: r, client: ranged.client, target: t, group: group, taken: map[int32]*taken{}}
	committed, err := kadm.NewClient(k.client).FetchOffsetsForTopics(ctx, group, t.Topic)
	if err == nil {
		err = committed.Error()
	}
	if err != nil {
		r.close()
		return nil, kafkaError("look up what was taken out of", t, err)
	}
	for i := range ranged.left {
		b := &ranged.left[i]
		at, _ := committed.Lookup(t.Topic, b.partition)
		x, err := readTaken(at.At, at.Metadata)
		if err != nil {
			r.close()
			return nil, fault.New(fault.Invalid, "read dead letters", t.String(), "group %s has committed something else there: %w", group, err)
		}
		k.taken[b.partition] = x
		x.next = max(x.next, b.next)
		b.next = min(max(b.next, x.next), b.end)
	}
	return k, nil
}

func (k *kafkaLetters) Next(ctx context.Context) (*Letter, error) {
	for {
		m, err := k.r.next(ctx)
		if err != nil {
			return nil, err
		}
		if x := k.taken[*m.Partition]; x != nil && x.has(*m.Offset) {
			continue
		}
		return &Letter{Message: m, from: k.target}, nil
	}
}

func (k *kafkaLetters) Done(ctx context.Context, l *Letter) error {
	x := k.taken[*l.Partition]
	if x == nil {
		x = &taken{next: *l.Offset}
		k.taken[*l.Partition] = x
	}
	x.add(*l.Offset)
	if k.uncount++; k.uncount >= commitEvery {
		return k.commit(ctx)
	}
	return nil
}

func (k *kafkaLetters) Close(ctx context.Context) error {
	defer k.r.close()
	if k.uncount == 0 {
		return nil
	}
	return k.commit(ctx)
}

func (k *kafkaLetters) commit(ctx context.Context) error {
	var offsets kadm.Offsets
	for _, p := range slices.Sorted(maps.Keys(k.taken)) {
		x := k.taken[p]
		text, ok := x.text()
		if !ok {
			return fault.New(fault.Exhausted, "take out of", k.target.String(), "too many are left between those that were taken out: take out those before them first")
		}
		offsets.AddOffset(k.target.Topic, p, x.next, -1)
		o := offsets[k.target.Topic][p]
		o.Metadata = text
		offsets[k.target.Topic][p] = o
	}
	got, err := kadm.NewClient(k.client).CommitOffsets(ctx, k.group, offsets)
	if err == nil {
		err = got.Error()
	}
	if err != nil {
		return kafkaError("note what was taken out of", k.target, err)
	}
	k.uncount = 0
	return nil
}

// taken is what was taken out of a partition: all below next, and beyond it runs of offsets, in order.
type taken struct {
	next int64
	runs [][2]int64 // first and last
}

// takenMax bounds the metadata of a commit: Kafka's default of offset.metadata.max.bytes.
const takenMax = 4096

func readTaken(next int64, metadata string) (*taken, error) {
	x := &taken{next: max(next, 0)}
	if metadata == "" {
		return x, nil
	}
	last := x.next
	for run := range strings.SplitSeq(metadata, ",") {
		a, b, more := strings.Cut(run, "-")
		if !more {
			b = a
		}
		from, err1 := strconv.ParseInt(a, 10, 64)
		to, err2 := strconv.ParseInt(b, 10, 64)
		if err1 != nil || err2 != nil || from <= last || to < from || to == math.MaxInt64 {
			return nil, fmt.Errorf("%q are no offsets", metadata)
		}
		x.runs, last = append(x.runs, [2]int64{from, to}), to
	}
	return x, nil
}

func (x *taken) has(offset int64) bool {
	return offset < x.next || slices.ContainsFunc(x.runs, func(r [2]int64) bool { return r[0] <= offset && offset <= r[1] })
}

// add takes one more out. The numbers between that hold no record count as soon as all around them is.
func (x *taken) add(offset int64) {
	if x.has(offset) {
		return
	}
	i, _ := slices.BinarySearchFunc(x.runs, offset, func(r [2]int64, o int64) int {
		if r[0] < o {
			return -1
		}
		return 1
	})
	x.runs = slices.Insert(x.runs, i, [2]int64{offset, offset})
	if i+1 < len(x.runs) && x.runs[i+1][0] == offset+1 {
		x.runs[i][1] = x.runs[i+1][1]
		x.runs = slices.Delete(x.runs, i+1, i+2)
	}
	if i > 0 && x.runs[i-1][1] == offset-1 {
		x.runs[i-1][1] = x.runs[i][1]
		x.runs = slices.Delete(x.runs, i, i+1)
	}
	if len(x.runs) > 0 && x.runs[0][0] == x.next {
		x.next = x.runs[0][1] + 1
		x.runs = slices.Delete(x.runs, 0, 1)
	}
}

func (x *taken) text() (string, bool) {
	var b strings.Builder
	for i, r := range x.runs {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatInt(r[0], 10))
		if r[1] > r[0] {
			b.WriteString("-" + strconv.FormatInt(r[1], 10))
		}
	}
	return b.String(), b.Len() <= takenMax
}

// Sender sends letters to wherever each is to go, and has the broker's word before it returns. Close it.
type Sender struct {
	o    Options
	amqp *amqpClient
	back chan amqp.Return
	to   map[string]Producer // Kafka and MQTT
}

// NewSender returns a Sender that is connected when it first has to be.
func NewSender(o Options) *Sender { return &Sender{o: o, to: map[string]Producer{}} }

// sendersMax bounds the topics that a Sender keeps connections for.
const sendersMax = 64

// Send sends a letter, without what tells of its deaths. AMQP's values have the types that they had.
// fault.NotFound: nobody would have it.
func (s *Sender) Send(ctx context.Context, t Target, l *Letter) error {
	if err := s.o.guard("publish to " + t.String()); err != nil {
		return err
	}
	m := *l.Message
	m.Headers = slices.DeleteFunc(slices.Clone(m.Headers), func(h Header) bool { return deathHeader(h.Name) })
	m.Headers = append(m.Headers, Header{Name: HeaderRedriven, Value: []byte(l.place())})
	m.Partition, m.ExpiresAt = nil, time.Time{}
	if t.Protocol != l.from.Protocol {
		Carry(&m)
	}
	if t.Protocol == AMQP {
		return s.sendAMQP(ctx, t, &m, l)
	}
	p, err := s.producer(ctx, t)
	if err != nil {
		return err
	}
	answered := make(chan error, 1)
	if err := p.Send(ctx, &m, func(_ Receipt, err error) { answered <- err }); err != nil {
		return err
	}
	// What was sent is waited for even if the user has just left: each wait is bounded.
	return <-answered
}

// place is where a letter was.
func (l *Letter) place() string {
	s := l.from.String()
	if l.Partition != nil && l.Offset != nil {
		s = fmt.Sprintf("kafka:%s/%d@%d", l.Topic, *l.Partition, *l.Offset)
	}
	if d, ok := DeathOf(l.Message); ok && d.Reason != "" {
		s += " " + d.Reason
	}
	return s
}

func (s *Sender) producer(ctx context.Context, t Target) (Producer, error) {
	if p := s.to[t.String()]; p != nil {
		return p, nil
	}
	if len(s.to) == sendersMax {
		return nil, fault.New(fault.Exhausted, "send to", t.String(), "letters of more than %d topics: --to sends all to one", sendersMax)
	}
	p, err := NewProducer(ctx, t, s.o)
	if err == nil {
		s.to[t.String()] = p
	}
	return p, err
}

func (s *Sender) sendAMQP(ctx context.Context, t Target, m *Message, l *Letter) error {
	if s.amqp == nil || s.amqp.ch.IsClosed() {
		if s.amqp != nil {
			s.amqp.leave()
		}
		c, err := dialAMQP(ctx, t, s.o)
		if err != nil {
			return err
		}
		if err := c.ch.Confirm(false); err != nil {
			defer c.leave()
			return amqpError("send to", t.String(), err)
		}
		s.amqp, s.back = c, c.ch.NotifyReturn(make(chan amqp.Return, 1))
	}
	exchange, key := t.Exchange, t.Key
	if t.Queue != "" {
		exchange, key = "", t.Queue
	}
	pub := amqpPublishing(m)
	for name, value := range l.delivery.Headers { // in their own types, where they are as they were
		if text, there := pub.Headers[name]; there && slices.Equal(amqpText(text), amqpText(value)) {
			pub.Headers[name] = value
		}
	}
	confirm, err := s.amqp.ch.PublishWithDeferredConfirmWithContext(ctx, exchange, key, true, false, pub)
	if err != nil {
		if errors.Is(err, amqp.ErrClosed) {
			return s.amqp.reason("send to")
		}
		return amqpError("send to", t.String(), err)
	}
	waiting, cancel := context.WithTimeout(context.WithoutCancel(ctx), ackTimeout)
	defer cancel()
	ok, err := confirm.WaitContext(waiting)
	switch {
	case err != nil:
		return fault.New(fault.Timeout, "send to", t.String(), "no confirm after %v", ackTimeout)
	case !ok && s.amqp.ch.IsClosed():
		return s.amqp.reason("send to")
	case !ok:
		return fault.New(fault.Exhausted, "send to", t.String(), "the broker refused the message: a queue is full")
	}
	select {
	case _, came := <-s.back: // before the confirm, when it does
		if came {
			return fault.New(fault.NotFound, "send to", t.String(), "it leads to no queue")
		}
	default:
	}
	return nil
}

// Close ends the connections.
func (s *Sender) Close(ctx context.Context) error {
	var errs []error
	for _, p := range s.to {
		errs = append(errs, p.Close(ctx))
	}
	if s.amqp != nil {
		s.amqp.leave()
	}
	return errors.Join(errs...)
}

// PurgeLetters takes everything out of a queue or a topic that is there now, and tells how much.
func PurgeLetters(ctx context.Context, t Target, o Options) (int64, error) {
	if err := o.guard("purge " + t.String()); err != nil {
		return 0, err
	}
	if t.Protocol == AMQP && t.Queue != "" {
		c, err := dialAMQP(ctx, t, o)
		if err != nil {
			return 0, err
		}
		defer c.leave()
		n, err := c.ch.QueuePurge(t.Queue, false)
		if err != nil {
			return 0, amqpError("purge", t.String(), err)
		}
		return int64(n), nil
	}
	if t.Protocol != Kafka {
		return 0, fault.New(fault.Invalid, "purge", t.String(), "dead letters are in a queue, amqp:queue:NAME, or in a Kafka topic, kafka:NAME")
	}
	c, err := openKafkaClient(ctx, t, o)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	bounds, err := kafkaBounds(ctx, c, t, Position{Kind: AtStart})
	if err != nil {
		return 0, err
	}
	var n int64
	var to kadm.Offsets
	for _, b := range bounds {
		n += b.end - b.next
		to.AddOffset(t.Topic, b.partition, b.end, -1)
	}
	got, err := kadm.NewClient(c).DeleteRecords(ctx, to)
	if err == nil {
		err = got.Error()
	}
	if err != nil {
		return 0, kafkaError("purge", t, err)
	}
	return n, nil
}
