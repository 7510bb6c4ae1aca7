package kafka_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/testkit"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// trio is a cluster of three, and a client's view of it.
type trio struct {
	t *testing.T
	*testkit.Nodes
}

func startTrio(t *testing.T) trio {
	t.Helper()
	return trio{t, testkit.Cluster(t, 3)}
}

// at is one node.
func (c trio) at(id int) *broker {
	return &broker{t: c.t, k: c.Node(id).Kernel(), addr: c.Node(id).Bootstrap()}
}

// until waits until something is so on a node.
func until(t *testing.T, k *kernel.Kernel, what string, ok func() bool) {
	t.Helper()
	changed, stop := k.Changes()
	defer stop()
	for ctx := within(t); !ok(); {
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("it never came about that %s", what)
		}
	}
}

// lead waits until all three nodes know a shard's leader, and that one leads. It returns the
// leader and the others.
func (c trio) lead(shard uint32) (leader int, others []int) {
	c.t.Helper()
	agreed := func() bool {
		leader, others = int(c.at(1).k.Leader(shard)), nil
		if leader == 0 || !c.at(leader).k.Leads(shard) {
			return false
		}
		for id := 1; id <= 3; id++ {
			if id != leader {
				others = append(others, id)
			}
			if int(c.at(id).k.Leader(shard)) != leader {
				return false
			}
		}
		return true
	}
	var changed [4]<-chan struct{}
	for id := 1; id <= 3; id++ {
		var stop func()
		changed[id], stop = c.at(id).k.Changes()
		defer stop()
	}
	for ctx := within(c.t); !agreed(); { // it may move while one after another is asked
		select {
		case <-changed[1]:
		case <-changed[2]:
		case <-changed[3]:
		case <-ctx.Done():
			c.t.Fatalf("the nodes never agreed who leads shard %d", shard)
		}
	}
	return leader, others
}

// topic makes a topic, and waits until every node has it. It returns the shards of its partitions.
func (c trio) topic(name string, partitions int32) (shards []uint32) {
	c.t.Helper()
	c.at(1).topic(name, partitions, nil)
	for id := 1; id <= 3; id++ {
		k := c.at(id).k
		until(c.t, k, "the topic is everywhere", func() bool {
			st, ok := k.Stream("/", name)
			for i := 0; ok && i < int(partitions); i++ {
				_, err := k.Partition(st.ID, int32(i))
				ok = err == nil
			}
			return ok
		})
	}
	st, _ := c.at(1).k.Stream("/", name)
	for _, p := range st.Logs {
		shards = append(shards, p.Shard)
	}
	return shards
}

func (c trio) id(topic string) kernel.StreamID {
	st, _ := c.at(1).k.Stream("/", topic)
	return st.ID
}

// Whatever node is asked, the same is told: three brokers where they are found, and of each
// partition who leads it and who keeps it.
func TestClusterMetadata(t *testing.T) {
	c := startTrio(t)
	shards := c.topic("orders", 6)
	for _, s := range shards {
		c.lead(s)
	}
	for id := 1; id <= 3; id++ {
		r := c.at(id).dial()
		m := ask[*kmsg.MetadataResponse](r, metadataOf("orders"), 12)
		for i, b := range m.Brokers {
			if int(b.NodeID) != i+1 || fmt.Sprintf("%s:%d", b.Host, b.Port) != c.at(i+1).addr {
				t.Errorf("node %d says that broker %d is %d at %s:%d, want %s", id, i, b.NodeID, b.Host, b.Port, c.at(i+1).addr)
			}
		}
		if controller, _ := c.at(id).k.Leadership(0); len(m.Brokers) != 3 || m.ControllerID != int32(controller) {
			t.Errorf("node %d: %d brokers, controller %d", id, len(m.Brokers), m.ControllerID)
		}
		d := ask[*kmsg.DescribeTopicPartitionsResponse](r, describePartitions("orders"), 0)
		for i, s := range shards {
			p, q := m.Topics[0].Partitions[i], d.Topics[0].Partitions[i]
			if uint64(p.Leader) != c.at(id).k.Leader(s) || p.LeaderEpoch < 1 || p.ErrorCode != 0 {
				t.Errorf("node %d: partition %d is led by %d in epoch %d, error %d", id, i, p.Leader, p.LeaderEpoch, p.ErrorCode)
			}
			if all := slices.Sorted(slices.Values(p.Replicas)); fmt.Sprint(all) != "[1 2 3]" || !slices.Equal(p.ISR, p.Replicas) || len(p.OfflineReplicas) != 0 {
				t.Errorf("node %d: partition %d has replicas %v, in sync %v, offline %v", id, i, p.Replicas, p.ISR, p.OfflineReplicas)
			}
			if q.LeaderID != p.Leader || q.LeaderEpoch != p.LeaderEpoch || !slices.Equal(q.Replicas, p.Replicas) {
				t.Errorf("node %d: partition %d is described as %+v", id, i, q)
			}
		}
		if n := len(ask[*kmsg.DescribeClusterResponse](r, kmsg.NewPtrDescribeClusterRequest(), 1).Brokers); n != 3 {
			t.Errorf("node %d describes a cluster of %d", id, n)
		}
	}

	c.Stop(3)
	k := c.at(1).k
	until(t, k, "the third node is down", func() bool {
		return slices.ContainsFunc(k.Nodes(), func(n kernel.Node) bool { return n.ID == 3 && n.Down })
	})
	m := ask[*kmsg.MetadataResponse](c.at(1).dial(), metadataOf("orders"), 12)
	if len(m.Brokers) != 2 {
		t.Errorf("with one down there are %d brokers", len(m.Brokers))
	}
	for _, p := range m.Topics[0].Partitions {
		if slices.Contains(p.ISR, 3) || len(p.ISR) != 2 || len(p.Replicas) != 3 || fmt.Sprint(p.OfflineReplicas) != "[3]" || p.Leader == 3 {
			t.Errorf("with one down: partition %d is led by %d, in sync %v of %v, offline %v", p.Partition, p.Leader, p.ISR, p.Replicas, p.OfflineReplicas)
		}
	}
}

func describePartitions(topic string) kmsg.Request {
	q := kmsg.NewPtrDescribeTopicPartitionsRequest()
	q.Topics = []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: topic}}
	q.ResponsePartitionLimit = 100
	return q
}

// A node that does not lead a partition answers nothing for it, and names who does (KIP-951).
func TestNotLeader(t *testing.T) {
	c := startTrio(t)
	shard := c.topic("orders", 1)[0]
	leader, others := c.lead(shard)
	_, epoch := c.at(leader).k.Leadership(shard)
	r := c.at(others[0]).dial()

	produced := ask[*kmsg.ProduceResponse](r, produceFirst(c.id("orders")), 13)
	p := produced.Topics[0].Partitions[0]
	if p.ErrorCode != 6 || p.CurrentLeader.LeaderID != int32(leader) || p.CurrentLeader.LeaderEpoch != epoch {
		t.Errorf("Produce: error %d, leader %+v; it is %d in epoch %d", p.ErrorCode, p.CurrentLeader, leader, epoch)
	}
	if b := produced.Brokers; len(b) != 1 || b[0].NodeID != int32(leader) || fmt.Sprintf("%s:%d", b[0].Host, b[0].Port) != c.at(leader).addr {
		t.Errorf("Produce: the leader is at %+v", b)
	}
	fetched := ask[*kmsg.FetchResponse](r, fetchFirst(c.id("orders"), -1, 0), 16)
	f := fetched.Topics[0].Partitions[0]
	if f.ErrorCode != 6 || f.CurrentLeader.LeaderID != int32(leader) || f.CurrentLeader.LeaderEpoch != epoch {
		t.Errorf("Fetch: error %d, leader %+v; it is %d in epoch %d", f.ErrorCode, f.CurrentLeader, leader, epoch)
	}
	if b := fetched.Brokers; len(b) != 1 || fmt.Sprintf("%s:%d", b[0].Host, b[0].Port) != c.at(leader).addr {
		t.Errorf("Fetch: the leader is at %+v", b)
	}

	offsets := kmsg.NewPtrListOffsetsRequest()
	offsets.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: "orders", Partitions: []kmsg.ListOffsetsRequestTopicPartition{{CurrentLeaderEpoch: -1, Timestamp: -1}}}}
	if e := ask[*kmsg.ListOffsetsResponse](r, offsets, 7).Topics[0].Partitions[0].ErrorCode; e != 6 {
		t.Errorf("ListOffsets: error %d", e)
	}
	epochs := kmsg.NewPtrOffsetForLeaderEpochRequest()
	epochs.Topics = []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: "orders", Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{{CurrentLeaderEpoch: -1}}}}
	if e := ask[*kmsg.OffsetForLeaderEpochResponse](r, epochs, 4).Topics[0].Partitions[0].ErrorCode; e != 6 {
		t.Errorf("OffsetForLeaderEpoch: error %d", e)
	}
	trim := kmsg.NewPtrDeleteRecordsRequest()
	trim.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: "orders", Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Offset: -1}}}}
	if e := ask[*kmsg.DeleteRecordsResponse](r, trim, 2).Topics[0].Partitions[0].ErrorCode; e != 6 {
		t.Errorf("DeleteRecords: error %d", e)
	}

	// KIP-320: leader or not, a client that knows another epoch is told so first.
	for _, id := range []int{leader, others[0]} {
		r := c.at(id).dial()
		for theirs, want := range map[int32]int16{epoch - 1: 74, epoch + 1: 75} {
			f := ask[*kmsg.FetchResponse](r, fetchFirst(c.id("orders"), theirs, 0), 16).Topics[0].Partitions[0]
			if f.ErrorCode != want {
				t.Errorf("node %d: epoch %d where %d is current: error %d, want %d", id, theirs, epoch, f.ErrorCode, want)
			}
		}
	}
}

// produceFirst sends nothing to partition 0: whether that would do is asked after who leads.
func produceFirst(id kernel.StreamID) *kmsg.ProduceRequest {
	q := kmsg.NewPtrProduceRequest()
	q.Acks, q.TimeoutMillis = -1, 10_000
	q.Topics = []kmsg.ProduceRequestTopic{{TopicID: id, Partitions: []kmsg.ProduceRequestTopicPartition{{Records: []byte{}}}}}
	return q
}

// fetchFirst waits for a record of partition 0 for so many milliseconds.
func fetchFirst(id kernel.StreamID, epoch, wait int32) *kmsg.FetchRequest {
	q := kmsg.NewPtrFetchRequest()
	q.MaxWaitMillis, q.MinBytes, q.MaxBytes, q.SessionEpoch = wait, 1, 1<<20, -1
	p := kmsg.NewFetchRequestTopicPartition()
	p.CurrentLeaderEpoch, p.PartitionMaxBytes = epoch, 1<<20
	q.Topics = []kmsg.FetchRequestTopic{{TopicID: id, Partitions: []kmsg.FetchRequestTopicPartition{p}}}
	return q
}

// The id that one node tells for a view stands for that on every node, also once that node is gone
// and after a restart; a view is led by who leads the stream that it is of.
func TestViewIsTheSameEverywhere(t *testing.T) {
	c := startTrio(t)
	shard := c.topic("sensors", 1)[0]
	told := ask[*kmsg.MetadataResponse](c.at(1).dial(), metadataOf("sensors.a"), 12).Topics[0]
	if told.ErrorCode != 0 || told.TopicID == c.id("sensors") {
		t.Fatalf("metadata of a view: %+v", told)
	}
	same := func(when string) {
		t.Helper()
		leader, _ := c.lead(shard)
		for id := 1; id <= 3; id++ {
			r := c.at(id).dial()
			q := metadataOf()
			byID := kmsg.NewMetadataRequestTopic()
			byID.TopicID = told.TopicID
			q.Topics = append(q.Topics, byID)
			m := ask[*kmsg.MetadataResponse](r, q, 12).Topics[0]
			if m.ErrorCode != 0 || *m.Topic != "sensors.a" || m.Partitions[0].Leader != int32(leader) {
				t.Errorf("%s: node %d says of the id %+v; the stream's leader is %d", when, id, m, leader)
			}
			want := int16(6)
			if id == leader {
				want = 0
			}
			if e := ask[*kmsg.FetchResponse](r, fetchFirst(told.TopicID, -1, 0), 16).Topics[0].Partitions[0].ErrorCode; e != want {
				t.Errorf("%s: node %d answers a fetch of the view with error %d, want %d", when, id, e, want)
			}
		}
	}
	same("at first")
	for id := 1; id <= 3; id++ { // all: none has it in memory from then on
		c.Stop(id)
		c.Start(id)
	}
	same("after restarts")
}

// A fetch that waits is answered at once when its partition changes hands; ElectLeaders gives it
// back to the node that it prefers.
func TestLeadershipMoves(t *testing.T) {
	c := startTrio(t)
	shard := c.topic("orders", 1)[0]
	leader, others := c.lead(shard)
	r := c.at(leader).dial()
	q := fetchFirst(c.id("orders"), -1, int32((5 * time.Minute).Milliseconds())) // longer than the test may last
	q.SetVersion(16)
	r.send(r.request(q))
	if err := c.at(others[0]).k.HandOver(t.Context(), shard, uint64(others[1])); err != nil { // asked on any node, of any other
		t.Fatal(err)
	}
	p := r.read(q).(*kmsg.FetchResponse).Topics[0].Partitions[0]
	if p.ErrorCode != 6 {
		t.Errorf("a fetch whose partition has moved: error %d, want NOT_LEADER_OR_FOLLOWER", p.ErrorCode)
	}
	until(t, c.at(leader).k, "the other leads", func() bool { return c.at(leader).k.Leader(shard) == uint64(others[1]) })
	c.lead(shard)

	m := ask[*kmsg.MetadataResponse](c.at(leader).dial(), metadataOf("orders"), 12).Topics[0].Partitions[0]
	if m.Leader == m.Replicas[0] {
		t.Fatalf("node %d leads, which is preferred, of %v", m.Leader, m.Replicas)
	}
	elect := kmsg.NewPtrElectLeadersRequest()
	elect.TimeoutMillis = 30_000
	elect.Topics = []kmsg.ElectLeadersRequestTopic{{Topic: "orders", Partitions: []int32{0}}}
	for _, want := range []int16{0, 84} { // and then there is nothing to elect
		e := ask[*kmsg.ElectLeadersResponse](c.at(leader).dial(), elect, 2).Topics[0].Partitions[0]
		if e.ErrorCode != want {
			t.Errorf("ElectLeaders: error %d, want %d", e.ErrorCode, want)
		}
		c.lead(shard)
	}
	if now, _ := c.lead(shard); int32(now) != m.Replicas[0] {
		t.Errorf("node %d leads, and %d was elected", now, m.Replicas[0])
	}

	for _, tt := range []struct {
		replicas []int32
		want     int16
	}{
		{m.Replicas, 0}, {nil, 85}, {[]int32{1}, 39}, {[]int32{1, 1, 2}, 39}, {[]int32{1, 2, 9}, 39},
	} {
		q := kmsg.NewPtrAlterPartitionAssignmentsRequest()
		q.Topics = []kmsg.AlterPartitionAssignmentsRequestTopic{{Topic: "orders", Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{{Replicas: tt.replicas}}}}
		if e := ask[*kmsg.AlterPartitionAssignmentsResponse](r, q, 0).Topics[0].Partitions[0].ErrorCode; e != tt.want {
			t.Errorf("reassignment to %v: error %d, want %d", tt.replicas, e, tt.want)
		}
	}
}

// What nodes there are bounds how many replicas a topic may be asked for. It has all of them.
func TestReplicationFactor(t *testing.T) {
	c := startTrio(t)
	adm := c.at(2).admin()
	for i, tt := range []struct {
		factor int16
		want   error
	}{{-1, nil}, {1, nil}, {3, nil}, {4, kerr.InvalidReplicationFactor}, {0, kerr.InvalidReplicationFactor}} {
		r, err := adm.CreateTopic(within(t), 1, tt.factor, nil, fmt.Sprint("t", i))
		if err == nil {
			err = r.Err
		}
		if err != tt.want {
			t.Errorf("factor %d: %v, want %v", tt.factor, err, tt.want)
		}
		if err == nil && r.ReplicationFactor != 3 {
			t.Errorf("factor %d: the topic has %d replicas", tt.factor, r.ReplicationFactor)
		}
	}
	for i, tt := range []struct {
		assigned [][]int32
		want     int16
	}{
		{[][]int32{{1, 2}, {3, 1}}, 0}, {[][]int32{{1, 4}}, 39}, {[][]int32{{1, 2, 1}}, 39}, {[][]int32{{1, 2}, {3}}, 39}, {[][]int32{{}}, 39},
	} {
		q := kmsg.NewPtrCreateTopicsRequest()
		rt := kmsg.NewCreateTopicsRequestTopic()
		rt.Topic, rt.NumPartitions, rt.ReplicationFactor = fmt.Sprint("a", i), -1, -1
		for j, replicas := range tt.assigned {
			rt.ReplicaAssignment = append(rt.ReplicaAssignment, kmsg.CreateTopicsRequestTopicReplicaAssignment{Partition: int32(j), Replicas: replicas})
		}
		q.Topics = []kmsg.CreateTopicsRequestTopic{rt}
		q.TimeoutMillis = 10_000
		if e := ask[*kmsg.CreateTopicsResponse](c.at(1).dial(), q, 7).Topics[0].ErrorCode; e != tt.want {
			t.Errorf("assignment %v: error %d, want %d", tt.assigned, e, tt.want)
		}
	}
}

// A topic that wants three replicas in sync takes nothing for acks=all while one node is down; for
// acks=1 a majority will do.
func TestMinInSync(t *testing.T) {
	c := startTrio(t)
	three := "3"
	c.at(1).topic("orders", 1, map[string]*string{"min.insync.replicas": &three})
	st, _ := c.at(1).k.Stream("/", "orders")
	leader, others := c.lead(st.Logs[0].Shard)
	all := c.at(leader).client(kgo.DefaultProduceTopic("orders"), kgo.RecordRetries(0), kgo.DisableIdempotentWrite())
	one := c.at(leader).client(kgo.DefaultProduceTopic("orders"), kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	if err := all.ProduceSync(within(t), kgo.StringRecord("three")).FirstErr(); err != nil {
		t.Errorf("with three nodes: %v", err)
	}
	c.Stop(others[0])
	k := c.at(leader).k
	until(t, k, "one is down", func() bool { up, _ := k.InSync(0); return up == 2 })
	if err := all.ProduceSync(within(t), kgo.StringRecord("two")).FirstErr(); err != kerr.NotEnoughReplicas {
		t.Errorf("with two nodes: %v, want NOT_ENOUGH_REPLICAS", err)
	}
	if err := one.ProduceSync(within(t), kgo.StringRecord("one")).FirstErr(); err != nil {
		t.Errorf("with two nodes, acks=1: %v", err)
	}
}

// While one node after the other is stopped and started, an idempotent producer goes on: what was
// acknowledged is there, once, and in order.
func TestProduceWhileLeadersStop(t *testing.T) {
	c := startTrio(t)
	shard := c.topic("orders", 1)[0]
	seeds := kgo.SeedBrokers(c.at(1).addr, c.at(2).addr, c.at(3).addr)
	cl := c.at(1).client(seeds, kgo.DefaultProduceTopic("orders"), kgo.MetadataMinAge(100*time.Millisecond), kgo.ProducerLinger(0))
	ctx := within(t)
	produce := func(from, n int) {
		for i := from; i < from+n; i++ {
			cl.Produce(ctx, kgo.StringRecord(fmt.Sprint(i)), func(_ *kgo.Record, err error) {
				if err != nil {
					t.Errorf("record %d: %v", i, err)
				}
			})
		}
	}
	const each = 200
	produced := 0
	for range 2 {
		leader, others := c.lead(shard)
		produce(produced, each) // some of them are on their way when the leader goes
		c.Stop(leader)
		produce(produced+each, each)
		k := c.at(others[0]).k
		until(t, k, "another leads", func() bool { l := k.Leader(shard); return l != 0 && l != uint64(leader) })
		if err := cl.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		c.Start(leader)
		produced += 2 * each
	}
	read := c.at(1).client(kgo.SeedBrokers(c.at(1).addr), kgo.ConsumeTopics("orders"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for i := 0; i < produced; {
		fs := read.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("%d of %d records came", i, produced)
		}
		fs.EachRecord(func(r *kgo.Record) {
			if string(r.Value) != fmt.Sprint(i) {
				t.Fatalf("record %d is %s", i, r.Value)
			}
			i++
		})
	}
	end, err := kadm.NewClient(read).ListEndOffsets(ctx, "orders")
	if o, _ := end.Lookup("orders", 0); err != nil || o.Offset != int64(produced) {
		t.Errorf("the topic ends at %d, want %d: %v", o.Offset, produced, err)
	}
}

// While a producer and a consumer are at it a node joins, gets its share, and the node that they
// began with leaves. Neither is told of any error, and everything is there, once, and in order.
func TestNodesComeAndGo(t *testing.T) {
	c := startTrio(t)
	c.topic("orders", 4)
	ctx := within(t)
	seed := kgo.SeedBrokers(c.at(1).addr)
	cl := c.at(1).client(seed, kgo.DefaultProduceTopic("orders"), kgo.MetadataMinAge(100*time.Millisecond), kgo.MetadataMaxAge(time.Second),
		kgo.RecordPartitioner(kgo.ManualPartitioner()))
	stop, produced := make(chan struct{}), make(chan int, 1)
	go func() {
		n := 0
		for ; ; n++ {
			select {
			case <-stop:
				produced <- n
				return
			default:
			}
			r := &kgo.Record{Partition: int32(n % 4), Value: fmt.Append(nil, n)}
			if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil {
				t.Errorf("record %d: %v", n, err)
				produced <- n
				return
			}
		}
	}()
	c.Add()
	k := c.at(4).k
	until(t, k, "the new node has its share", func() bool { return len(k.Moves()) == 0 })
	led := 0
	for _, s := range k.ShardIDs() {
		if leader, _ := k.Leadership(s); leader == 4 {
			led++
		}
	}
	if led == 0 {
		t.Error("the new node leads nothing")
	}
	if err := c.at(2).k.RemoveNode(ctx, 1); err != nil {
		t.Fatal(err)
	}
	until(t, k, "the first node is removed", func() bool { n, _ := k.Node(1); return n.State == kernel.NodeRemoved })
	m, err := kadm.NewClient(c.at(4).client()).Metadata(ctx, "orders")
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Brokers.NodeIDs(); !slices.Equal(got, []int32{2, 3, 4}) {
		t.Errorf("brokers %v", got)
	}
	for _, p := range m.Topics["orders"].Partitions.Sorted() {
		replicas := slices.Sorted(slices.Values(p.Replicas))
		isr := slices.Sorted(slices.Values(p.ISR))
		if !slices.Equal(replicas, []int32{2, 3, 4}) || !slices.Equal(isr, replicas) || p.Leader == 1 {
			t.Errorf("partition %d: led by %d, replicas %v, in sync %v", p.Partition, p.Leader, p.Replicas, p.ISR)
		}
	}
	c.Stop(1)
	close(stop)
	total := <-produced
	next := []int{0, 1, 2, 3}
	read := c.at(4).client(kgo.ConsumeTopics("orders"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for n := 0; n < total; {
		fs := read.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			t.Fatalf("%d of %d records came: %v", n, total, err)
		}
		fs.EachRecord(func(r *kgo.Record) {
			if string(r.Value) != fmt.Sprint(next[r.Partition]) {
				t.Fatalf("partition %d: %s where %d is due", r.Partition, r.Value, next[r.Partition])
			}
			next[r.Partition] += 4
			n++
		})
	}
}

// A group goes on when its coordinator stops: at what it has committed.
func TestGroupSurvivesItsCoordinator(t *testing.T) {
	c := startTrio(t)
	c.topic("orders", 2)
	shard := c.at(1).k.GroupShard("/", "billing")
	coordinator, others := c.lead(shard)
	seeds := kgo.SeedBrokers(c.at(1).addr, c.at(2).addr, c.at(3).addr)
	ctx := within(t)
	producer := c.at(1).client(seeds, kgo.DefaultProduceTopic("orders"), kgo.MetadataMinAge(100*time.Millisecond), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	var lost atomic.Int32
	member := c.at(1).client(seeds, kgo.ConsumerGroup("billing"), kgo.ConsumeTopics("orders"), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.MetadataMinAge(100*time.Millisecond), kgo.HeartbeatInterval(200*time.Millisecond),
		kgo.OnPartitionsLost(func(context.Context, *kgo.Client, map[string][]int32) { lost.Add(1) }))
	seen := make(map[string]int)
	consume := func(from, n int) {
		t.Helper()
		for i := from; i < from+n; i++ {
			producer.Produce(ctx, kgo.StringRecord(fmt.Sprint(i)), func(_ *kgo.Record, err error) {
				if err != nil {
					t.Errorf("produce: %v", err)
				}
			})
		}
		for len(seen) < from+n {
			fs := member.PollFetches(ctx)
			if ctx.Err() != nil {
				t.Fatalf("%d of %d records came", len(seen), from+n)
			}
			fs.EachRecord(func(r *kgo.Record) { seen[string(r.Value)]++ })
		}
		if err := producer.Flush(ctx); err != nil { // what has come may not be acknowledged yet
			t.Fatalf("produce: %v", err)
		}
		for err := member.CommitUncommittedOffsets(ctx); err != nil; err = member.CommitUncommittedOffsets(ctx) {
			if ctx.Err() != nil {
				t.Fatalf("commit: %v", err)
			}
		}
	}
	consume(0, 20)

	// Who is not the coordinator says so, and lists no group of another.
	r := c.at(others[0]).dial()
	beat := kmsg.NewPtrHeartbeatRequest()
	beat.Group = "billing"
	if e := ask[*kmsg.HeartbeatResponse](r, beat, 4).ErrorCode; e != 16 {
		t.Errorf("Heartbeat elsewhere: error %d, want NOT_COORDINATOR", e)
	}
	offsets := kmsg.NewPtrOffsetFetchRequest()
	offsets.Groups = []kmsg.OffsetFetchRequestGroup{{Group: "billing"}}
	if e := ask[*kmsg.OffsetFetchResponse](r, offsets, 8).Groups[0].ErrorCode; e != 16 {
		t.Errorf("OffsetFetch elsewhere: error %d, want NOT_COORDINATOR", e)
	}
	for _, id := range []int{1, 2, 3} {
		n := 0
		if id == coordinator {
			n = 1
		}
		if l := ask[*kmsg.ListGroupsResponse](c.at(id).dial(), kmsg.NewPtrListGroupsRequest(), 4); len(l.Groups) != n {
			t.Errorf("node %d lists %d groups, want %d", id, len(l.Groups), n)
		}
	}
	find := kmsg.NewPtrFindCoordinatorRequest()
	find.CoordinatorKeys = []string{"billing"}
	if f := ask[*kmsg.FindCoordinatorResponse](r, find, 4).Coordinators[0]; f.NodeID != int32(coordinator) || fmt.Sprintf("%s:%d", f.Host, f.Port) != c.at(coordinator).addr {
		t.Errorf("the coordinator is %+v, want node %d", f, coordinator)
	}

	c.Stop(coordinator)
	consume(20, 20)
	for value, n := range seen {
		if n != 1 {
			t.Errorf("%s was delivered %d times", value, n)
		}
	}
	if n := lost.Load(); n != 0 {
		t.Errorf("the member lost its partitions %d times", n)
	}
	k := c.at(others[0]).k
	now := int(k.Leader(shard))
	total := int64(0)
	for _, rt := range ask[*kmsg.OffsetFetchResponse](c.at(now).dial(), offsets, 8).Groups[0].Topics {
		for _, p := range rt.Partitions {
			total += p.Offset
		}
	}
	if total != 40 {
		t.Errorf("%d are committed, want 40", total)
	}
}
