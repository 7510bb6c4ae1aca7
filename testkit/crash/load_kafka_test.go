package crash

import (
	"context"
	"errors"
	"flag"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	ordersPartitions = 3
	groupMembers     = 2
	groupName        = "shipping"
	// mqttStream is the topic under which the log of everything published to
	// load/… is read. It is made before the first of it, so it is as safe as any other;
	// one that captures traffic is only written.
	mqttStream = "load"
)

// place is where a record is.
type place struct {
	topic     string
	partition int32
	offset    int64
}

// log is the records by their offsets. Guarded by ledger.mu.
type log struct {
	records map[place]string // as acknowledged to the producer, or as read
}

// at books that a record is, or was said to be, at p.
func (l *load) at(who string, p place, value []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before, ok := l.log.records[p]
	if !ok {
		l.log.records[p] = string(value)
	} else if before != string(value) {
		l.faultLocked("%s: %v has %.40q, and had %.40q before", who, p, value, before)
	}
}

// group is the highest offsets that a group was told are committed. Guarded by
// ledger.mu.
type group struct {
	l         *load
	commits   int
	committed map[int32]int64
}

func (g *group) snapshot() map[int32]int64 {
	g.l.mu.Lock()
	defer g.l.mu.Unlock()
	return maps.Clone(g.committed)
}

// kafkaClient is one that tries again soon, and for about as long as it does unless it is told.
func (l *load) kafkaClient(t testing.TB, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	return must(kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(l.seeds()...), kgo.RetryBackoffFn(func(int) time.Duration { return retryOf }), kgo.RequestRetries(1000),
		kgo.MetadataMinAge(10 * retryOf), kgo.DialTimeout(5 * time.Second),
	}, opts...)...))(t)
}

func (l *load) startKafka(t *testing.T) {
	t.Helper()
	l.log = &log{records: make(map[place]string)}
	l.group = &group{l: l, committed: make(map[int32]int64)}
	admin := l.kafkaClient(t)
	defer admin.Close()
	l.ordersID = [16]byte(must(kadm.NewClient(admin).CreateTopics(patient(t), ordersPartitions, 1, nil, "orders"))(t)["orders"].ID)
	must(kadm.NewClient(admin).CreateTopics(patient(t), 1, 1, nil, mqttStream))(t)

	for i := range 2 {
		c := l.kafkaClient(t, kgo.DefaultProduceTopic("orders"), kgo.ProducerLinger(0), kgo.MaxBufferedRecords(window), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		context.AfterFunc(l.living, c.Close)
		for partition := range int32(ordersPartitions) {
			tr := l.track("kafka-%d-%d", i, partition)
			tr.view("the log", true, true)
			tr.view("the group", false, false)
			l.producers.Go(func() { l.produce(c, tr, partition) })
		}
	}
	l.startBallast(t)
	l.readers.Go(l.kafkaReader(t, "the log", false))
	for range groupMembers {
		l.readers.Go(l.kafkaReader(t, "the group", true))
	}
}

// ballast fills the log at so many bytes a second, so that checkpoints, segments, files
// written again and retention have their part in what is killed: the numbered messages are
// too few for that.
var ballast = flag.Int("ballast", 0, "MiB a second that are written besides, to a topic that keeps few of them")

const (
	ballastRecord = 64 << 10 // bytes
	ballastEvery  = 10 * time.Millisecond
)

// startBallast writes ballast, if there is to be any.
func (l *load) startBallast(t *testing.T) {
	t.Helper()
	if *ballast == 0 {
		return
	}
	admin := l.kafkaClient(t)
	defer admin.Close()
	must(kadm.NewClient(admin).CreateTopics(patient(t), 4, 1, map[string]*string{"retention.bytes": ptr("16777216"), "segment.bytes": ptr("4194304")}, "ballast"))(t)
	c := l.kafkaClient(t, kgo.DefaultProduceTopic("ballast"), kgo.ProducerLinger(0), kgo.MaxBufferedRecords(window), kgo.ProducerBatchCompression(kgo.NoCompression()))
	context.AfterFunc(l.living, c.Close)
	value := make([]byte, ballastRecord)
	for i := range value {
		value[i] = byte(rand.Uint32())
	}
	l.producers.Go(func() {
		tick := time.NewTicker(ballastEvery)
		defer tick.Stop()
		for owed := 0; l.sending.Err() == nil; owed -= owed / ballastRecord * ballastRecord {
			<-tick.C
			owed = min(owed+*ballast<<20/int(time.Second/ballastEvery), window*ballastRecord)
			for range owed / ballastRecord {
				c.Produce(l.sending, &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
					if err == nil {
						l.ballasted.Add(ballastRecord)
					}
				})
			}
		}
	})
}

// produce sends until the load stops sending, and returns when everything is answered: an
// idempotent producer gives nothing up.
func (l *load) produce(c *kgo.Client, tr *track, partition int32) {
	next := l.pace()
	open := make(chan struct{}, window/2) // what is under way
	for next() {
		select {
		case open <- struct{}{}:
		case <-l.sending.Done():
			continue
		}
		n, body := tr.body()
		c.Produce(l.living, &kgo.Record{Partition: partition, Value: []byte(body)}, func(r *kgo.Record, err error) {
			defer func() { <-open }()
			if err != nil {
				if l.living.Err() == nil {
					l.fault("a producer gave up %s/%d: %v", tr.name, n, err)
				}
				return
			}
			l.at("an acknowledgement", place{"orders", partition, r.Offset}, r.Value)
			tr.ack(n)
		})
	}
	for range cap(open) {
		select {
		case open <- struct{}{}:
		case <-l.living.Done():
			return
		}
	}
}

// seeAs books a message for the view of that name.
func (l *load) seeAs(who string, body []byte) (*track, int) {
	t, n := l.parse(who, body)
	if t == nil {
		return nil, 0
	}
	l.mu.Lock()
	views := t.views
	l.mu.Unlock()
	for _, v := range views {
		if v.name == who {
			v.see(n)
		}
	}
	return t, n
}

// kafkaReader reads for as long as the load lives: all that is in the log, or as a member
// of the group what its members share.
func (l *load) kafkaReader(t *testing.T, who string, member bool) func() {
	opts := []kgo.Opt{kgo.ConsumeTopics("orders"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100 * time.Millisecond)}
	if member {
		opts = append(opts, kgo.ConsumerGroup(groupName), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll())
	} else {
		opts = append(opts, kgo.ConsumeTopics("orders", mqttStream))
	}
	c := l.kafkaClient(t, opts...)
	return func() {
		defer c.Close()
		for l.living.Err() == nil {
			f := c.PollRecords(l.living, window)
			f.EachError(func(topic string, p int32, err error) {
				if lost, ok := errors.AsType[*kgo.ErrDataLoss](err); ok {
					l.fault("%s: %v", who, lost)
				}
				if l.living.Err() == nil {
					l.trouble(who, "", "%s/%d: %v", topic, p, err)
				}
			})
			f.EachRecord(func(r *kgo.Record) {
				l.at(who, place{r.Topic, r.Partition, r.Offset}, r.Value)
				l.seeAs(who, r.Value)
			})
			if member {
				l.commit(c, f.Records())
				c.AllowRebalance()
			}
		}
	}
}

// commit commits what was read, and books what the broker said to it.
func (l *load) commit(c *kgo.Client, records []*kgo.Record) {
	if len(records) == 0 {
		return
	}
	offsets := make(map[int32]kgo.EpochOffset)
	for _, r := range records {
		offsets[r.Partition] = kgo.EpochOffset{Epoch: r.LeaderEpoch, Offset: r.Offset + 1}
	}
	c.CommitOffsetsSync(l.living, map[string]map[int32]kgo.EpochOffset{"orders": offsets}, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		if err != nil { // the broker has gone: it may be committed or not
			if l.living.Err() == nil {
				l.trouble("the group", "", "commit: %v", err)
			}
			return
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, topic := range resp.Topics {
			for _, p := range topic.Partitions {
				if p.ErrorCode == 0 {
					l.group.commits++
					l.group.committed[p.Partition] = max(l.group.committed[p.Partition], offsets[p.Partition].Offset)
				}
			}
		}
	})
}

// checkCommitted checks that no committed offset has gone back.
func (l *load) checkCommitted(ctx context.Context, t *testing.T, want map[int32]int64) {
	t.Helper()
	c := l.kafkaClient(t)
	defer c.Close()
	got, err := kadm.NewClient(c).FetchOffsets(ctx, groupName)
	for kgo.IsRetryableBrokerErr(err) && ctx.Err() == nil { // the nodes may not agree yet who coordinates
		<-time.After(retryOf)
		got, err = kadm.NewClient(c).FetchOffsets(ctx, groupName)
	}
	check(t, err)
	for p, offset := range want {
		if o, ok := got.Lookup("orders", p); !ok || o.Err != nil || o.At < offset {
			l.fault("partition %d: %d was committed, and now it is %d (%v)", p, offset, o.At, o.Err)
		}
	}
}

// checkEnds checks that no record is beyond the end of its partition: such are lost, without
// waiting for them.
func (l *load) checkEnds(ctx context.Context, t *testing.T) {
	t.Helper()
	l.mu.Lock()
	had := maps.Clone(l.log.records)
	l.mu.Unlock()
	c := l.kafkaClient(t)
	defer c.Close()
	ends := l.ends(ctx, t, c)
	for p, value := range had {
		if end, ok := ends.Lookup(p.topic, p.partition); !ok || end.Err != nil || p.offset >= end.Offset {
			l.fault("%v was %.40q, and the log ends at %d (%v)", p, value, end.Offset, end.Err)
		}
	}
}

// ends are where the partitions end. That no node leads one comes to pass, and passes.
func (l *load) ends(ctx context.Context, t *testing.T, c *kgo.Client) kadm.ListedOffsets {
	t.Helper()
	for {
		ends, err := kadm.NewClient(c).ListEndOffsets(ctx, "orders", mqttStream)
		if err == nil {
			err = ends.Error()
		}
		switch {
		case err == nil:
			return ends
		case ctx.Err() != nil:
			t.Fatal(err)
		}
		select {
		case <-time.After(retryOf):
		case <-ctx.Done():
		}
	}
}

// checkLogAgain reads every topic from its first record: they are where they were said to
// be, all of them, each once.
func (l *load) checkLogAgain(ctx context.Context, t *testing.T) {
	t.Helper()
	l.mu.Lock()
	want := maps.Clone(l.log.records)
	l.mu.Unlock()
	c := l.kafkaClient(t, kgo.ConsumeTopics("orders", mqttStream), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer c.Close()
	ends := l.ends(ctx, t, c)
	left := int64(0)
	ends.Each(func(o kadm.ListedOffset) { left += o.Offset })
	for left > 0 && ctx.Err() == nil {
		c.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			left--
			p := place{r.Topic, r.Partition, r.Offset}
			if had, ok := want[p]; ok && had != string(r.Value) {
				l.fault("%v is %.40q when it is read again, and was %.40q", p, r.Value, had)
			}
			delete(want, p)
		})
	}
	if left > 0 {
		l.fault("%d records cannot be read again", left)
	}
	for p, value := range want {
		l.fault("%v is gone: it was %.40q", p, value)
	}
}
