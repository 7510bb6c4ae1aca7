package link

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/fixtures"
)

// openKafkaClient connects and is let in.
func openKafkaClient(ctx context.Context, t Target, o Options, more ...kgo.Opt) (*kgo.Client, error) {
	id := o.ClientID
	if id == "" {
		id = "rmq"
	}
	opts := []kgo.Opt{
		kgo.SeedBrokers(strings.Split(t.Address, ",")...), kgo.ClientID(id),
		kgo.RetryTimeout(ackTimeout), kgo.RequestRetries(5),
	}
	if t.User != "" {
		opts = append(opts, kgo.SASL(plain.Auth{User: t.User, Pass: t.Password}.AsMechanism()))
	}
	// The client would go on trying; whoever typed a wrong port wants to know.
	connecting, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	connecting, giveUp := context.WithCancelCause(connecting)
	defer giveUp(nil)
	first := &firstAttempt{ctx: connecting, giveUp: giveUp, seeds: strings.Count(t.Address, ",") + 1, refused: map[string]bool{}}
	d := &net.Dialer{Timeout: dialTimeout}
	first.connect = d.DialContext
	if t.TLS {
		first.connect = (&tls.Dialer{NetDialer: d, Config: o.TLS}).DialContext
	}
	opts = append(opts, kgo.WithHooks(first), kgo.Dialer(first.dial))
	c, err := kgo.NewClient(append(opts, more...)...)
	if err != nil {
		return nil, fault.New(fault.Invalid, "connect to", t.Address, "%w", err)
	}
	if err := c.Ping(connecting); err != nil {
		c.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if why := context.Cause(connecting); errors.Is(why, syscall.ECONNREFUSED) {
			return nil, unreachable(t, why)
		}
		if k, ok := errors.AsType[*kerr.Error](err); ok {
			return nil, kafkaFault("connect to", t.Address, k)
		}
		if _, ok := errors.AsType[*kgo.ErrFirstReadEOF](err); ok {
			err = ErrAtOnce
		}
		return nil, unreachable(t, err)
	}
	first.succeeded()
	return c, nil
}

// firstAttempt ends the first attempt to connect when every address has refused, for nobody listens there,
// and with its context, of which the client takes no notice while it waits for a broker that says nothing.
type firstAttempt struct {
	ctx     context.Context
	connect func(ctx context.Context, network, address string) (net.Conn, error)
	giveUp  context.CancelCauseFunc
	seeds   int

	mu      sync.Mutex
	refused map[string]bool
	over    bool
	cuts    []func() bool // stop cutting a connection off
}

// succeeded lets the connections live on.
func (r *firstAttempt) succeeded() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	for _, stop := range r.cuts {
		stop()
	}
	r.cuts = nil
}

func (r *firstAttempt) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := r.connect(ctx, network, address)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.over {
		r.cuts = append(r.cuts, context.AfterFunc(r.ctx, func() { _ = conn.Close() }))
	}
	return conn, nil
}

func (r *firstAttempt) OnBrokerConnect(b kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refused[net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))] = true; len(r.refused) == r.seeds {
		r.giveUp(err)
	}
}

// ErrAtOnce is what a broker of Kafka does that wants SASL, or TLS, and gets none of it.
var ErrAtOnce = errors.New("it ends the connection at once: it wants a user, or TLS, or does not speak Kafka")

// ---- produce

// recordRetries is how often a record is sent before its producer gives up: for about ackTimeout, as
// the client waits longer each time. Its own timeout goes by the record's time, which may be long ago.
const recordRetries = 15

// lostAfter is how long records wait for brokers of which none can be reached.
const lostAfter = 10 * time.Second

// kafkaProducer sends records, and gives up those that wait when nobody has answered for lostAfter and
// connections fail.
//
// Ownership: room holds a value for each record under way; mu guards failing.
type kafkaProducer struct {
	client    *kgo.Client
	target    Target
	room      chan struct{} // capacity inflightMax
	lostAfter time.Duration

	producing context.Context // of all records; its cause is why they were given up
	giveUp    context.CancelCauseFunc

	mu      sync.Mutex
	failing *time.Timer // runs since a connection failed, until somebody answers
}

// OnBrokerConnect is told by the client of each attempt to connect.
func (p *kafkaProducer) OnBrokerConnect(_ kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err == nil:
		p.answeredLocked()
	case p.failing == nil && len(p.room) > 0:
		p.failing = time.AfterFunc(p.lostAfter, func() {
			p.giveUp(fault.New(fault.Unavailable, "connection to", p.target.Address, "it is lost, and cannot be made again for %v", p.lostAfter))
			p.client.Close() // its records are told now, and not when they are tried next
		})
	}
}

// OnBrokerRead is told by the client of each answer.
func (p *kafkaProducer) OnBrokerRead(_ kgo.BrokerMetadata, _ int16, _ int, _, _ time.Duration, err error) {
	if err == nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.answeredLocked()
	}
}

func (p *kafkaProducer) answeredLocked() {
	if p.failing != nil {
		p.failing.Stop()
		p.failing = nil
	}
}

func newKafkaProducer(ctx context.Context, t Target, o Options) (Producer, error) {
	p := &kafkaProducer{target: t, room: make(chan struct{}, inflightMax), lostAfter: cmp.Or(o.LostAfter, lostAfter)}
	p.producing, p.giveUp = context.WithCancelCause(context.WithoutCancel(ctx))
	opts := []kgo.Opt{
		kgo.AllowAutoTopicCreation(), kgo.UnknownTopicRetries(4), kgo.MaxBufferedRecords(inflightMax),
		kgo.RecordRetries(recordRetries), kgo.ProducerLinger(0), kgo.AllowIdempotentProduceCancellation(), kgo.WithHooks(p),
	}
	switch {
	case t.Partition != nil:
		opts = append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	case t.Topic == "":
		opts = append(opts, kgo.RecordPartitioner(said{}))
	default:
		opts = append(opts, kgo.RecordPartitioner(choosing{kgo.StickyKeyPartitioner(nil)}))
	}
	switch o.Acks {
	case "1":
		opts = append(opts, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	case "0":
		opts = append(opts, kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite())
	}
	var err error
	if p.client, err = openKafkaClient(ctx, t, o, opts...); err != nil {
		p.giveUp(err)
		return nil, err
	}
	return p, nil
}

// choosing sends a record to the partition that it names, and one that names none (-1) to
// that of its key.
type choosing struct{ kgo.Partitioner }

func (c choosing) ForTopic(topic string) kgo.TopicPartitioner {
	return choosingTopic{c.Partitioner.ForTopic(topic)}
}

type choosingTopic struct{ kgo.TopicPartitioner }

func (c choosingTopic) RequiresConsistency(r *kgo.Record) bool {
	return r.Partition >= 0 || c.TopicPartitioner.RequiresConsistency(r)
}

func (c choosingTopic) Partition(r *kgo.Record, n int) int {
	if r.Partition >= 0 {
		return int(r.Partition)
	}
	return c.TopicPartitioner.Partition(r, n)
}

// OnNewBatch lets records without a key go on to another partition.
func (c choosingTopic) OnNewBatch() {
	if on, ok := c.TopicPartitioner.(kgo.TopicPartitionerOnNewBatch); ok {
		on.OnNewBatch()
	}
}

func (p *kafkaProducer) Send(ctx context.Context, m *Message, done func(Receipt, error)) error {
	rec := kafkaRecord(m)
	rec.Topic, rec.Partition = cmp.Or(p.target.Topic, m.Topic), -1
	if at := p.target.Partition; at != nil {
		rec.Partition = *at
	} else if m.Partition != nil {
		rec.Partition = *m.Partition
	}
	select {
	case p.room <- struct{}{}:
	case <-p.producing.Done():
		return context.Cause(p.producing)
	case <-ctx.Done():
		return ctx.Err()
	}
	if p.producing.Err() != nil {
		<-p.room
		return context.Cause(p.producing)
	}
	p.client.Produce(p.producing, rec, func(rec *kgo.Record, err error) {
		<-p.room
		if why := context.Cause(p.producing); why != nil && err != nil {
			done(Receipt{}, why)
			return
		}
		if err != nil {
			done(Receipt{}, kafkaError("produce to", p.target, err))
			return
		}
		done(Receipt{Protocol: Kafka, Target: p.target.String(), Partition: &rec.Partition, Offset: &rec.Offset}, nil)
	})
	return nil
}

// said has each record go to the partition that it says, by its key when it says none, and
// without a key to each in turn: what is sent again goes where it went before.
type said struct{}

func (said) ForTopic(string) kgo.TopicPartitioner { return new(saidTopic) }

type saidTopic struct{ next int }

func (*saidTopic) RequiresConsistency(*kgo.Record) bool { return true }

func (t *saidTopic) Partition(r *kgo.Record, n int) int {
	switch {
	case r.Partition >= 0:
		return int(r.Partition)
	case r.Key != nil:
		return int(fixtures.PartitionOf(r.Key, n))
	}
	t.next++
	return (t.next - 1) % n
}

func (p *kafkaProducer) Close(ctx context.Context) error {
	err := p.client.Flush(ctx)
	p.client.Close()
	p.mu.Lock()
	p.answeredLocked()
	p.mu.Unlock()
	p.giveUp(nil) // nothing is under way
	return err
}

// kafkaRecord puts a message in Kafka's form: properties are headers, before the
// client's own.
func kafkaRecord(m *Message) *kgo.Record {
	rec := &kgo.Record{Key: m.Key, Value: m.Value, Timestamp: m.Time}
	add := func(name string, value []byte) {
		rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: name, Value: value})
	}
	for _, name := range slices.Sorted(maps.Keys(m.Properties)) {
		add(plainProperty(name, m.Properties[name]))
	}
	if m.Retain {
		add(headerRetain, []byte("1"))
	}
	if m.Priority != 0 {
		add("priority", strconv.AppendUint(nil, uint64(m.Priority), 10))
	}
	if !m.ExpiresAt.IsZero() {
		add(headerExpires, strconv.AppendInt(nil, m.ExpiresAt.UnixMilli(), 10))
	}
	for _, h := range m.Headers {
		add(h.Name, h.Value)
	}
	return rec
}

func kafkaMessage(t Target, r *kgo.Record) *Message {
	partition, offset := r.Partition, r.Offset
	m := &Message{
		Protocol: Kafka, Target: t.String(), Topic: r.Topic, Partition: &partition, Offset: &offset,
		Key: r.Key, Value: r.Value, Time: r.Timestamp, Size: len(r.Value),
	}
	for _, h := range r.Headers {
		m.Headers = append(m.Headers, Header{Name: h.Key, Value: h.Value})
	}
	return m
}

// ---- consume

func openKafka(ctx context.Context, t Target, o ConsumeOptions) (reader, error) {
	opts := []kgo.Opt{kgo.FetchIsolationLevel(kgo.ReadCommitted())}
	if o.Group != "" {
		if t.Partition != nil {
			return nil, fault.New(fault.Invalid, "consume", t.String(), "a group shares whole topics: leave the partition out")
		}
		if o.UntilEnd {
			return nil, fault.New(fault.Unsupported, "consume", t.String(), "a group has no end: stop by --idle, --timeout or -n")
		}
		reset, err := groupReset(o.From)
		if err != nil {
			return nil, err
		}
		opts = append(opts, kgo.ConsumerGroup(o.Group), kgo.ConsumeTopics(t.Topic), kgo.ConsumeResetOffset(reset),
			kgo.AutoCommitMarks(), kgo.AutoCommitInterval(time.Second))
	}
	c, err := openKafkaClient(ctx, t, o.Options, opts...)
	if err != nil {
		return nil, err
	}
	if o.Make {
		answer, err := kadm.NewClient(c).CreateTopic(ctx, 1, -1, nil, t.Topic)
		if err == nil {
			err = answer.Err
		}
		if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			c.Close()
			return nil, kafkaError("create", t, err)
		}
	}
	r := &kafkaReader{client: c, target: t, group: o.Group != ""}
	bounds, err := kafkaBounds(ctx, c, t, o.From)
	if err != nil {
		c.Close()
		return nil, err
	}
	switch {
	case r.group:
	case o.UntilEnd:
		return &kafkaRange{kafkaReader: r, left: bounds}, nil
	default:
		at := map[int32]kgo.Offset{}
		for _, b := range bounds {
			at[b.partition] = kgo.NewOffset().At(b.next)
		}
		c.AddConsumePartitions(map[string]map[int32]kgo.Offset{t.Topic: at})
	}
	return r, nil
}

func groupReset(p Position) (kgo.Offset, error) {
	switch p.Kind {
	case AtEnd:
		return kgo.NewOffset().AtEnd(), nil
	case AtStart:
		return kgo.NewOffset().AtStart(), nil
	case AtTime:
		return kgo.NewOffset().AfterMilli(p.Time.UnixMilli()), nil
	}
	return kgo.Offset{}, fault.New(fault.Invalid, "consume", "", "a group begins at start, end or a time, and later where it stopped; not at %s", p)
}

// partitionRange is what is left to read of a partition: [next, end).
type partitionRange struct {
	partition, leader int32
	topic             kadm.TopicID
	next, end         int64
}

// kafkaBounds finds where to begin in each partition, and what its end is now.
func kafkaBounds(ctx context.Context, c *kgo.Client, t Target, from Position) ([]partitionRange, error) {
	admin := kadm.NewClient(c)
	meta, err := admin.Metadata(ctx, t.Topic)
	if err != nil {
		return nil, kafkaError("consume", t, err)
	}
	detail := meta.Topics[t.Topic]
	if err := detail.Err; err != nil {
		return nil, kafkaError("consume", t, err)
	}
	starts, err := admin.ListStartOffsets(ctx, t.Topic)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, kafkaError("consume", t, err)
	}
	ends, err := admin.ListCommittedOffsets(ctx, t.Topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, kafkaError("consume", t, err)
	}
	var times kadm.ListedOffsets
	if from.Kind == AtTime {
		if times, err = admin.ListOffsetsAfterMilli(ctx, from.Time.UnixMilli(), t.Topic); err == nil {
			err = times.Error()
		}
		if err != nil {
			return nil, kafkaError("consume", t, err)
		}
	}
	var bounds []partitionRange
	for _, p := range detail.Partitions.Sorted() {
		if t.Partition != nil && p.Partition != *t.Partition {
			continue
		}
		start, _ := starts.Lookup(t.Topic, p.Partition)
		end, _ := ends.Lookup(t.Topic, p.Partition)
		b := partitionRange{partition: p.Partition, leader: p.Leader, topic: detail.ID, end: end.Offset}
		switch from.Kind {
		case AtStart:
			b.next = start.Offset
		case AtEnd:
			b.next = end.Offset
		case AtOffset:
			b.next = max(start.Offset, min(from.Offset, end.Offset))
		case Last:
			b.next = max(start.Offset, end.Offset-from.Offset)
		case AtTime:
			at, _ := times.Lookup(t.Topic, p.Partition)
			b.next = at.Offset
		}
		bounds = append(bounds, b)
	}
	if len(bounds) == 0 {
		return nil, fault.New(fault.NotFound, "consume", t.String(), "the topic has %d partitions", len(detail.Partitions))
	}
	return bounds, nil
}

// kafkaReader follows partitions, alone or in a group.
type kafkaReader struct {
	client   *kgo.Client
	target   Target
	group    bool
	buffered []*kgo.Record
	last     *kgo.Record
}

func (r *kafkaReader) next(ctx context.Context) (*Message, error) {
	for len(r.buffered) == 0 {
		fetches := r.client.PollRecords(ctx, prefetch)
		if ctx.Err() != nil && fetches.NumRecords() == 0 {
			return nil, ctx.Err()
		}
		for _, e := range fetches.Errors() {
			if !errors.Is(e.Err, context.DeadlineExceeded) && !errors.Is(e.Err, context.Canceled) {
				return nil, kafkaError("consume", r.target, e.Err)
			}
		}
		r.buffered = fetches.Records()
	}
	r.last, r.buffered = r.buffered[0], r.buffered[1:]
	return kafkaMessage(r.target, r.last), nil
}

func (r *kafkaReader) settle(context.Context) error {
	if r.group {
		r.client.MarkCommitRecords(r.last)
	}
	return nil
}

func (r *kafkaReader) hold(bool) func() error {
	last := r.last
	return func() error {
		if r.group {
			r.client.MarkCommitRecords(last)
		}
		return nil
	}
}

func (r *kafkaReader) waits() bool { return false }

func (r *kafkaReader) pass(ctx context.Context) error { return r.settle(ctx) }

func (r *kafkaReader) close() {
	if r.group {
		ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
		defer cancel()
		// What is not committed now comes again to the next of the group: no loss, so
		// nothing to report.
		_ = r.client.CommitMarkedOffsets(ctx)
	}
	r.client.Close()
}

// kafkaRange reads what was in the partitions when reading began, and knows when it
// has. The following client cannot tell: it hides how far it has read past records
// that are not shown (transaction markers, and what a filtered view leaves out).
type kafkaRange struct {
	*kafkaReader
	left []partitionRange // the first is being read
}

const (
	fetchWait  = 500 * time.Millisecond
	fetchBytes = 1 << 20
	stallsMax  = 20 // empty answers for one partition before its end
)

func (r *kafkaRange) next(ctx context.Context) (*Message, error) {
	stalls := 0
	for len(r.buffered) == 0 {
		if len(r.left) == 0 {
			return nil, io.EOF
		}
		p := &r.left[0]
		if p.next >= p.end {
			r.left = r.left[1:]
			stalls = 0
			continue
		}
		before := p.next
		if err := r.fetch(ctx, p); err != nil {
			return nil, err
		}
		if p.next == before {
			if stalls++; stalls == stallsMax {
				return nil, fault.New(fault.Timeout, "consume", r.target.String(), "partition %d gives nothing at offset %d, and its end is %d", p.partition, p.next, p.end)
			}
		}
	}
	r.last, r.buffered = r.buffered[0], r.buffered[1:]
	return kafkaMessage(r.target, r.last), nil
}

func (r *kafkaRange) fetch(ctx context.Context, p *partitionRange) error {
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis = int32(fetchWait / time.Millisecond)
	req.MinBytes, req.MaxBytes = 1, fetchBytes
	req.IsolationLevel = 1 // committed records only, as when following
	req.SessionEpoch = -1
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic, topic.TopicID = r.target.Topic, p.topic
	part := kmsg.NewFetchRequestTopicPartition()
	part.Partition, part.FetchOffset, part.PartitionMaxBytes = p.partition, p.next, fetchBytes
	topic.Partitions = append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)

	answer, err := r.client.Broker(int(p.leader)).RetriableRequest(ctx, req)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return kafkaError("consume", r.target, err)
	}
	resp := answer.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return kafkaError("consume", r.target, err)
	}
	if len(resp.Topics) == 0 || len(resp.Topics[0].Partitions) == 0 {
		return nil // counted as a stall
	}
	rp := &resp.Topics[0].Partitions[0]
	got, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
		Offset: p.next, IsolationLevel: kgo.ReadCommitted(), Topic: r.target.Topic, Partition: p.partition,
	}, rp, kgo.DefaultDecompressor(), nil)
	if got.Err != nil {
		return kafkaError("consume", r.target, got.Err)
	}
	for _, rec := range got.Records {
		if rec.Offset < p.end {
			r.buffered = append(r.buffered, rec)
		}
	}
	p.next = max(p.next, next)
	return nil
}

// ---- errors

// kafkaKinds gives a kind to the codes that a command meets; others are Unavailable when
// Kafka says that trying again helps, and Invalid when not.
var kafkaKinds = map[*kerr.Error]fault.Kind{
	kerr.UnknownTopicOrPartition:    fault.NotFound,
	kerr.UnknownTopicID:             fault.NotFound,
	kerr.GroupIDNotFound:            fault.NotFound,
	kerr.InvalidTopicException:      fault.Invalid,
	kerr.OffsetOutOfRange:           fault.OutOfRange,
	kerr.MessageTooLarge:            fault.TooLarge,
	kerr.RecordListTooLarge:         fault.TooLarge,
	kerr.SaslAuthenticationFailed:   fault.Unauthorized,
	kerr.IllegalSaslState:           fault.Unauthorized,
	kerr.TopicAuthorizationFailed:   fault.Denied,
	kerr.GroupAuthorizationFailed:   fault.Denied,
	kerr.ClusterAuthorizationFailed: fault.Denied,
	kerr.TopicAlreadyExists:         fault.Exists,
	kerr.UnsupportedVersion:         fault.Unsupported,
	kerr.KafkaStorageError:          fault.Unavailable,
	kerr.RequestTimedOut:            fault.Timeout,
}

func kafkaFault(op, target string, k *kerr.Error) error {
	kind, ok := kafkaKinds[k]
	if !ok {
		if kind = fault.Invalid; k.Retriable {
			kind = fault.Unavailable
		}
	}
	return fault.New(kind, op, target, "%s", strings.ToLower(strings.ReplaceAll(k.Message, "_", " ")))
}

func kafkaError(op string, t Target, err error) error {
	if k, ok := errors.AsType[*kerr.Error](err); ok {
		return kafkaFault(op, t.String(), k)
	}
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case strings.HasPrefix(err.Error(), "invalid record partitioning choice"): // it has no name in the client
		return fault.New(fault.NotFound, op, t.String(), "the topic has no such partition")
	case errors.Is(err, kgo.ErrRecordTimeout), errors.Is(err, kgo.ErrRecordRetries):
		return fault.New(fault.Timeout, op, t.String(), "%w", err)
	}
	if authErr, ok := errors.AsType[*kadm.AuthError](err); ok {
		if k, ok := errors.AsType[*kerr.Error](authErr.Err); ok {
			return kafkaFault(op, t.String(), k)
		}
	}
	return fault.New(fault.Unavailable, op, t.String(), "%w", err)
}

// Replicas tells how many nodes keep a topic of Kafka, and how many have to have a record before
// acks=all is answered; 0: the broker does not say.
func Replicas(ctx context.Context, t Target, o Options) (replicas, inSync int, err error) {
	c, err := openKafkaClient(ctx, t, o)
	if err != nil {
		return 0, 0, err
	}
	defer c.Close()
	admin := kadm.NewClient(c)
	meta, err := admin.Metadata(ctx, t.Topic)
	if err != nil {
		return 0, 0, kafkaError("describe", t, err)
	}
	for _, p := range meta.Topics[t.Topic].Partitions {
		replicas = max(replicas, len(p.Replicas))
	}
	configs, err := admin.DescribeTopicConfigs(ctx, t.Topic)
	if err != nil || len(configs) == 0 {
		return replicas, 0, nil // an old broker, or one that does not let us ask
	}
	for _, x := range configs[0].Configs {
		if x.Key == "min.insync.replicas" && x.Value != nil {
			inSync, _ = strconv.Atoi(*x.Value) // what is no number is not said
		}
	}
	return replicas, inSync, nil
}
