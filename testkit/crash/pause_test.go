package crash

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	paho3 "github.com/eclipse/paho.mqtt.golang"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// How long a node is stopped: past its lease, while the others may have heard of it just before; and
// so long that they have marked it down.
var pauses = []time.Duration{2 * time.Second, 5 * time.Second}

// freshQueue has one message at a time, the one that was published last.
const freshQueue = "fresh"

// sleeper is clients that are connected to one node before it is stopped, and ask it while it is: so
// that it answers as soon as it wakes, when it has not heard yet that it leads no more.
type sleeper struct {
	l    *load
	t    *testing.T
	id   int
	addr string

	kafka *kgo.Client
	mqtt  paho3.Client
	amqp  *amqp.Channel // of a connection of its own

	mu   sync.Mutex
	said map[string]int // how often each kind of answer was given
}

// bed connects them.
func (l *load) bed(t *testing.T, id int, addr string) *sleeper {
	t.Helper()
	s := &sleeper{l: l, t: t, id: id, addr: addr, said: make(map[string]int)}
	s.kafka = must(kgo.NewClient(kgo.SeedBrokers(addr), kgo.DialTimeout(5*time.Second)))(t)
	ctx := patient(t)
	must(s.kafka.Broker(id).Request(ctx, s.ends()))(t) // each has its connection now
	must(s.kafka.Broker(id).Request(ctx, s.fetch(nil)))(t)
	s.wakeMQTT()
	s.wakeAMQP()
	return s
}

func (s *sleeper) end() {
	s.kafka.Close()
	s.mqtt.Disconnect(0)
}

// wakeMQTT and wakeAMQP connect to the node, and do so again when it has sent its clients away.
func (s *sleeper) wakeMQTT() {
	s.mqtt = paho3.NewClient(paho3.NewClientOptions().AddBroker("mqtt://" + s.addr).SetAutoReconnect(false).SetConnectTimeout(patience))
	for ctx := patient(s.t); ; {
		token := s.mqtt.Connect()
		<-token.Done()
		if token.Error() == nil || ctx.Err() != nil {
			check(s.t, token.Error())
			return
		}
	}
}

func (s *sleeper) wakeAMQP() {
	for ctx := patient(s.t); ; {
		conn, err := amqp.DialConfig("amqp://"+s.addr, amqp.Config{Locale: "en_US", Dial: amqp.DefaultDial(patience)})
		if err == nil {
			if s.amqp, err = conn.Channel(); err == nil {
				s.l.readers.Go(func() { // ends with the load
					<-s.l.living.Done()
					_ = conn.Close()
				})
				return
			}
		}
		if ctx.Err() != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *sleeper) tell(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said[what]++
}

// ask asks for everything at once, and returns what waits for the answers. Each is held against what
// was acknowledged before it was asked for.
func (s *sleeper) ask(ctx context.Context, fresh string) (answered func()) {
	var all sync.WaitGroup
	floor := s.l.newest()
	committed, values := s.l.group.snapshot(), s.l.retained.snapshot()
	all.Go(func() { s.askEnds(ctx, floor) })
	all.Go(func() { s.askRecords(ctx, floor) })
	all.Go(func() { s.askCommitted(ctx, committed) })
	all.Go(func() { s.askRetained(ctx, values) })
	all.Go(func() { s.askQueue(ctx, fresh) })
	return all.Wait
}

// newest is the highest offset of each partition of orders that was acknowledged to a producer, or read.
func (l *load) newest() map[int32]int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[int32]int64)
	for p := range l.log.records {
		if p.topic == "orders" {
			out[p.partition] = max(out[p.partition], p.offset)
		}
	}
	return out
}

// elsewhere tells whether an error sends a client to another node, or has it ask again.
func (s *sleeper) elsewhere(what string, code int16) bool {
	err := kerr.ErrorForCode(code)
	if err == nil {
		s.tell(what + " the newest")
		return false
	}
	s.tell(what + " " + err.(*kerr.Error).Message)
	if !kerr.IsRetriable(err) || err == kerr.UnknownTopicOrPartition {
		s.l.fault("node %d, awake again, says of %s: %v", s.id, what, err)
	}
	return true
}

func (s *sleeper) ends() *kmsg.ListOffsetsRequest {
	q := kmsg.NewPtrListOffsetsRequest()
	topic := kmsg.NewListOffsetsRequestTopic()
	topic.Topic = "orders"
	for p := range int32(ordersPartitions) {
		part := kmsg.NewListOffsetsRequestTopicPartition()
		part.Partition, part.Timestamp = p, -1
		topic.Partitions = append(topic.Partitions, part)
	}
	q.Topics = append(q.Topics, topic)
	return q
}

func (s *sleeper) askEnds(ctx context.Context, floor map[int32]int64) {
	resp, err := s.kafka.Broker(s.id).Request(ctx, s.ends())
	if err != nil {
		s.l.fault("node %d, awake again, does not say where partitions end: %v", s.id, err)
		return
	}
	for _, topic := range resp.(*kmsg.ListOffsetsResponse).Topics {
		for _, p := range topic.Partitions {
			if !s.elsewhere("the end", p.ErrorCode) && p.Offset <= floor[p.Partition] {
				s.l.fault("node %d, awake again, says that partition %d ends at %d; %d was acknowledged", s.id, p.Partition, p.Offset, floor[p.Partition])
			}
		}
	}
}

// fetch asks for the records from some offsets on.
func (s *sleeper) fetch(from map[int32]int64) *kmsg.FetchRequest {
	q := kmsg.NewPtrFetchRequest()
	q.MaxWaitMillis, q.MinBytes, q.MaxBytes = 0, 0, 1<<20
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic, topic.TopicID = "orders", s.l.ordersID
	for p := range int32(ordersPartitions) {
		part := kmsg.NewFetchRequestTopicPartition()
		part.Partition, part.FetchOffset, part.PartitionMaxBytes = p, from[p], 1<<20
		topic.Partitions = append(topic.Partitions, part)
	}
	q.Topics = append(q.Topics, topic)
	return q
}

func (s *sleeper) askRecords(ctx context.Context, floor map[int32]int64) {
	resp, err := s.kafka.Broker(s.id).Request(ctx, s.fetch(floor))
	if err != nil {
		s.l.fault("node %d, awake again, gives no records: %v", s.id, err)
		return
	}
	for _, topic := range resp.(*kmsg.FetchResponse).Topics {
		for _, p := range topic.Partitions {
			if !s.elsewhere("records", p.ErrorCode) && (p.HighWatermark <= floor[p.Partition] || len(p.RecordBatches) == 0) {
				s.l.fault("node %d, awake again, has %d bytes of partition %d from %d on, which was acknowledged, and says that it ends at %d",
					s.id, len(p.RecordBatches), p.Partition, floor[p.Partition], p.HighWatermark)
			}
		}
	}
}

func (s *sleeper) askCommitted(ctx context.Context, floor map[int32]int64) {
	q := kmsg.NewPtrOffsetFetchRequest()
	q.Group = groupName
	topic := kmsg.NewOffsetFetchRequestTopic()
	topic.Topic, topic.Partitions = "orders", slices.Collect(maps.Keys(floor))
	q.Topics = append(q.Topics, topic)
	resp, err := s.kafka.Broker(s.id).Request(ctx, q)
	if err != nil {
		s.l.fault("node %d, awake again, does not say what is committed: %v", s.id, err)
		return
	}
	at := resp.(*kmsg.OffsetFetchResponse)
	if s.elsewhere("what is committed", at.ErrorCode) {
		return
	}
	for _, topic := range at.Topics {
		for _, p := range topic.Partitions {
			if p.ErrorCode != 0 || p.Offset < floor[p.Partition] {
				s.l.fault("node %d, awake again, says that %d is committed of partition %d (%d); %d was", s.id, p.Offset, p.Partition, p.ErrorCode, floor[p.Partition])
			}
		}
	}
}

// askRetained subscribes; if the node sends its clients away instead, that comes first.
func (s *sleeper) askRetained(ctx context.Context, floor map[string]int) {
	for {
		got, err := s.retained(ctx, len(floor))
		if err != nil && ctx.Err() == nil {
			s.tell("retained: go away")
			s.wakeMQTT()
			continue
		}
		s.tell("retained")
		for topic, n := range floor {
			if have, err := strconv.Atoi(got[topic]); err != nil || have < n {
				s.l.fault("node %d, awake again, has %q at %s, where %d was acknowledged", s.id, got[topic], topic, n)
			}
		}
		return
	}
}

// retained are the first values of each topic. An address of which a newer message comes first is not told again what it holds.
func (s *sleeper) retained(ctx context.Context, n int) (map[string]string, error) {
	type value struct{ topic, payload string }
	values, done := make(chan value, 1<<12), make(chan struct{})
	defer close(done)
	token := s.mqtt.Subscribe("state/#", 0, func(_ paho3.Client, m paho3.Message) {
		select {
		case values <- value{m.Topic(), string(m.Payload())}:
		case <-done:
		}
	})
	got := make(map[string]string)
	broken := time.NewTicker(10 * retryOf)
	defer broken.Stop()
	for subscribed := token.Done(); len(got) < n; {
		select {
		case <-subscribed:
			if subscribed = nil; token.Error() != nil {
				return nil, token.Error()
			}
		case v := <-values:
			if _, ok := got[v.topic]; !ok {
				got[v.topic] = v.payload
			}
		case <-broken.C:
			if !s.mqtt.IsConnectionOpen() {
				return nil, net.ErrClosed
			}
		case <-ctx.Done():
			return got, ctx.Err()
		}
	}
	return got, nil
}

// askQueue takes a message, and gives it back.
func (s *sleeper) askQueue(ctx context.Context, want string) {
	for {
		d, ok, err := s.amqp.Get(freshQueue, false)
		if err != nil && ctx.Err() == nil {
			s.tell("queue: go away")
			s.wakeAMQP()
			continue
		}
		s.tell("queue")
		if !ok || string(d.Body) != want {
			s.l.fault("node %d, awake again, has %q in the queue (%v); %q is the only message", s.id, d.Body, ok, want)
		} else {
			_ = d.Nack(false, true) // if it is lost, it comes back with the connection
		}
		return
	}
}

// refresh has the queue hold one message more, and takes the one before, by another node. That node may find that it
// was itself away for too long, on a machine that has much to do, and send its clients away: this one comes back.
func (l *load) refresh(ctx context.Context, addr, before, next string) error {
	for {
		conn, err := amqp.Dial("amqp://" + addr)
		if err != nil {
			return err
		}
		err = replace(ctx, conn, before, next)
		_ = conn.Close() // it has done its work
		if !errors.Is(err, amqp.ErrClosed) || ctx.Err() != nil {
			return err
		}
	}
}

// replace does that on one connection. amqp.ErrClosed: it has ended, and nothing was published.
func replace(ctx context.Context, conn *amqp.Connection, before, next string) error {
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	if err := ch.Confirm(false); err != nil {
		return err
	}
	if _, err := ch.QueueDeclare(freshQueue, true, false, false, false, nil); err != nil {
		return err
	}
	for before != "" {
		d, ok, err := ch.Get(freshQueue, false)
		if err != nil {
			return err
		}
		if ok && string(d.Body) != before {
			return fmt.Errorf("the queue has %q, and should have %q", d.Body, before)
		}
		if ok {
			if err := d.Ack(false); err != nil {
				return err
			}
			break
		}
		if ctx.Err() != nil { // it was given back by the node that sleeps, or is about to be
			return ctx.Err()
		}
	}
	confirm, err := ch.PublishWithDeferredConfirmWithContext(ctx, "", freshQueue, true, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(next)})
	if err != nil {
		return err
	}
	if ok, err := confirm.WaitContext(ctx); err != nil || !ok {
		return fmt.Errorf("not confirmed: %w", err)
	}
	return nil
}

// A node of a cluster is stopped where it is under the traffic of all protocols, for longer than its lease, and
// goes on. It is asked while it sleeps, for what has changed meanwhile; what it says when it wakes is
// what was acknowledged, or that another node is to be asked.
func TestNodePauses(t *testing.T) {
	random := chance(t)
	c := upNodes(t)
	l := pacedLoad(t, *nodesPace, c.addrs, "")
	defer l.report(t)
	l.mu.Lock()
	l.work.late = true
	l.mu.Unlock()
	l.startOthers(t)
	l.awaitAcks(patient(t), t, 10)
	began := time.Now()
	var events []event
	said := make(map[string]int)
	fresh := ""
	for last, round := 0, 0; round < len(pauses) || time.Since(began) < *nodesFor; round++ {
		id := 1 + random.IntN(nodeCount)
		if id == last {
			id = 1 + id%nodeCount
		}
		third := slices.IndexFunc(c.addrs, func(addr string) bool { return addr != c.addrs[id-1] && (last == 0 || addr != c.addrs[last-1]) })
		last = id
		n, err := c.node(id)
		check(t, err)
		before := fmt.Sprint("before ", round)
		check(t, l.refresh(patient(t), c.addrs[third], fresh, before)) // which has not been stopped the last time, either
		s := l.bed(t, id, c.addrs[id-1])

		e := event{what: fmt.Sprintf("node %d is stopped", id), at: time.Now()}
		check(t, syscall.Kill(n.PID, syscall.SIGSTOP))
		<-time.After(pauses[round%len(pauses)])
		fresh = fmt.Sprint("meanwhile ", round)
		err = l.refresh(patient(t), c.addrs[third], before, fresh)
		answered := s.ask(patient(t), fresh)
		<-time.After(10 * retryOf) // until it is all on its way: what comes after the node has woken shows less
		e.took = time.Since(e.at)
		check(t, syscall.Kill(n.PID, syscall.SIGCONT))
		check(t, err)
		answered()
		s.end()
		for what, n := range s.said {
			said[what] += n
		}
		events = append(events, e)
		l.check(patient(t), t)
		if l.faulty() {
			break
		}
	}
	took := l.conclude(t, began)
	var answers []string
	for _, what := range slices.Sorted(maps.Keys(said)) {
		answers = append(answers, fmt.Sprintf("%s %d", what, said[what]))
	}
	t.Logf("%d pauses in %v\n%s\nnodes that woke said: %s\nacknowledged: %s", len(events), took.Round(time.Second), l.outages(t, events), strings.Join(answers, ", "), l.summary())
}
