package kafka_test

import (
	"fmt"
	"testing"

	"github.com/robustmq/rmq/broker/kafka"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/record"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// fetchOf asks for one partition, waiting for nothing.
func fetchOf(version int16, topic string, partition int32, offset int64) *kmsg.FetchRequest {
	q := kmsg.NewPtrFetchRequest()
	q.Version, q.MaxBytes = version, 10<<20
	q.Topics = []kmsg.FetchRequestTopic{fetchTopic(topic, partition, offset)}
	return q
}

func fetchTopic(topic string, partition int32, offset int64) kmsg.FetchRequestTopic {
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes = partition, offset, 1<<20
	rt := kmsg.NewFetchRequestTopic()
	rt.Topic, rt.Partitions = topic, []kmsg.FetchRequestTopicPartition{p}
	return rt
}

func (r *raw) fetch(version int16, topic string, partition int32, offset int64) kmsg.FetchResponseTopicPartition {
	r.t.Helper()
	return r.ask(fetchOf(version, topic, partition, offset)).(*kmsg.FetchResponse).Topics[0].Partitions[0]
}

// values lists the values in fetched batches, from an offset on.
func values(t testing.TB, batches []byte, from int64) (out []string, next int64) {
	t.Helper()
	for len(batches) > 0 {
		b, rest, err := record.Check(batches, 10<<20)
		if err != nil {
			t.Fatal(err)
		}
		batches, next = rest, b.NextOffset()
		err = b.Each(func(r *record.Record) error {
			if r.Offset >= from {
				out = append(out, string(r.Value))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out, next
}

func TestFetchVersions(t *testing.T) {
	b := start(t, kafka.Config{})
	b.topic("t", 1, nil)
	r := b.dial()
	r.produce(9, "t", 0, batchOf("a", "b", "c"))
	st, _ := b.k.Stream("/", "t")
	for v := int16(4); v <= 18; v++ {
		q := fetchOf(v, "t", 0, 1)
		if v >= 13 {
			q.Topics[0].Topic, q.Topics[0].TopicID = "", st.ID
		}
		p := r.ask(q).(*kmsg.FetchResponse).Topics[0].Partitions[0]
		if p.ErrorCode != 0 || p.HighWatermark != 3 || p.LastStableOffset != 3 || p.AbortedTransactions != nil {
			t.Errorf("version %d: %+v", v, p)
		}
		if got, _ := values(t, p.RecordBatches, 1); fmt.Sprint(got) != "[b c]" {
			t.Errorf("version %d: %v", v, got)
		}
		q.IsolationLevel = 1
		if p := r.ask(q).(*kmsg.FetchResponse).Topics[0].Partitions[0]; len(p.RecordBatches) == 0 || (v >= 12 && p.AbortedTransactions == nil) {
			t.Errorf("version %d, read committed: %+v", v, p)
		}
	}
}

func TestFetchRefuses(t *testing.T) {
	b := start(t, kafka.Config{})
	b.topic("t", 1, nil)
	r := b.dial()
	r.produce(9, "t", 0, batchOf("a"))
	zstd := "zstd"
	b.topic("z", 1, map[string]*string{"compression.type": &zstd})
	r.produce(9, "z", 0, batchOf("z"))
	epoch := func(n int32) func(*kmsg.FetchRequest) {
		return func(q *kmsg.FetchRequest) { q.Topics[0].Partitions[0].CurrentLeaderEpoch = n }
	}
	st, _ := b.k.Stream("/", "t")
	now := st.Parts[0].LeaderEpoch
	tests := []struct {
		name      string
		version   int16
		topic     string
		partition int32
		offset    int64
		edit      func(*kmsg.FetchRequest)
		want      int16
	}{
		{"an unknown topic", 12, "none", 0, 0, nil, 3},
		{"an unknown partition", 12, "t", 1, 0, nil, 3},
		{"an unknown id", 13, "", 0, 0, func(q *kmsg.FetchRequest) { q.Topics[0].TopicID[0] = 9 }, 100},
		{"the end", 12, "t", 0, 1, nil, 0},
		{"beyond the end", 12, "t", 0, 2, nil, 1},
		{"before the beginning", 12, "t", 0, -1, nil, 1},
		{"zstd for an old client", 9, "z", 0, 0, nil, 0}, // as Kafka: it has to know
		{"zstd for a new client", 10, "z", 0, 0, nil, 0},
		{"the leader epoch", 12, "t", 0, 0, epoch(now), 0},
		{"a leader epoch to come", 12, "t", 0, 0, epoch(now + 1), 75},
	}
	for _, tt := range tests {
		q := fetchOf(tt.version, tt.topic, tt.partition, tt.offset)
		q.MaxWaitMillis, q.MinBytes = 3_600_000, 1 // an error does not wait
		if tt.want == 0 {
			q.MaxWaitMillis = 0
		}
		if tt.edit != nil {
			tt.edit(q)
		}
		if p := r.ask(q).(*kmsg.FetchResponse).Topics[0].Partitions[0]; p.ErrorCode != tt.want {
			t.Errorf("%s: error %d, want %d", tt.name, p.ErrorCode, tt.want)
		}
	}
}

func TestFetchWaits(t *testing.T) {
	b := start(t, kafka.Config{})
	b.topic("t", 2, nil)
	reader, writer := b.dial(), b.dial()
	q := fetchOf(12, "t", 0, 0)
	q.Topics = append(q.Topics, fetchTopic("t", 1, 0))
	q.MaxWaitMillis, q.MinBytes = 3_600_000, 1
	reader.send(reader.request(q))
	writer.produce(9, "t", 1, batchOf("woken"))
	resp := reader.read(q).(*kmsg.FetchResponse)
	if got, _ := values(t, resp.Topics[0].Partitions[1].RecordBatches, 0); fmt.Sprint(got) != "[woken]" {
		t.Errorf("fetched %v", got)
	}
	// MinBytes holds the answer back until there is enough.
	q = fetchOf(12, "t", 0, 0)
	q.MaxWaitMillis, q.MinBytes = 3_600_000, 200
	reader.send(reader.request(q))
	for range 3 {
		writer.produce(9, "t", 0, batchOf("some"))
	}
	p := reader.read(q).(*kmsg.FetchResponse).Topics[0].Partitions[0]
	if len(p.RecordBatches) < 200 {
		t.Errorf("%d bytes, want at least 200", len(p.RecordBatches))
	}
	// And a deleted topic ends the wait.
	q = fetchOf(12, "t", 0, 3)
	q.MaxWaitMillis, q.MinBytes = 3_600_000, 1
	reader.send(reader.request(q))
	if _, err := b.admin().DeleteTopics(within(t), "t"); err != nil {
		t.Fatal(err)
	}
	if p := reader.read(q).(*kmsg.FetchResponse).Topics[0].Partitions[0]; p.ErrorCode != 3 {
		t.Errorf("of a deleted topic: error %d, want UNKNOWN_TOPIC_OR_PARTITION", p.ErrorCode)
	}
}

func TestFetchMaxBytes(t *testing.T) {
	b := start(t, kafka.Config{})
	b.topic("t", 3, nil)
	r := b.dial()
	one := batchOf(string(make([]byte, 1000)))
	for p := range int32(3) {
		for range 5 {
			r.produce(9, "t", p, one)
		}
	}
	sizes := func(maxBytes, partMax int32) (out []int) {
		q := fetchOf(12, "t", 0, 0)
		q.Topics = append(q.Topics, fetchTopic("t", 1, 0), fetchTopic("t", 2, 0))
		q.MaxBytes = maxBytes
		for i := range q.Topics {
			q.Topics[i].Partitions[0].PartitionMaxBytes = partMax
		}
		for _, p := range r.ask(q).(*kmsg.FetchResponse).Topics[0].Partitions {
			out = append(out, len(p.RecordBatches)/len(one))
		}
		return out
	}
	n := int32(len(one))
	tests := []struct {
		maxBytes, partMax int32
		want              string
	}{
		{100 * n, 100 * n, "[5 5 5]"},
		{100 * n, 2 * n, "[2 2 2]"},
		{3 * n, 2 * n, "[2 1 0]"},
		{1, 100 * n, "[1 0 0]"}, // at least one batch, or a reader could never go on
		{100 * n, 1, "[1 0 0]"},
		{0, 0, "[1 0 0]"},
	}
	for _, tt := range tests {
		if got := fmt.Sprint(sizes(tt.maxBytes, tt.partMax)); got != tt.want {
			t.Errorf("max bytes %d, per partition %d: batches %s, want %s", tt.maxBytes/n, tt.partMax/n, got, tt.want)
		}
	}
}

func TestFetchSession(t *testing.T) {
	b := start(t, kafka.Config{FetchSessions: 2})
	b.topic("t", 2, nil)
	b.topic("u", 1, nil)
	r := b.dial()
	ask := func(q *kmsg.FetchRequest, id, epoch int32) *kmsg.FetchResponse {
		t.Helper()
		q.SessionID, q.SessionEpoch = id, epoch
		return r.ask(q).(*kmsg.FetchResponse)
	}
	parts := func(resp *kmsg.FetchResponse) (out []string) {
		for _, rt := range resp.Topics {
			for _, p := range rt.Partitions {
				out = append(out, fmt.Sprintf("%s-%d:%d", rt.Topic, p.Partition, p.HighWatermark))
			}
		}
		return out
	}
	empty := func() *kmsg.FetchRequest {
		q := kmsg.NewPtrFetchRequest()
		q.Version, q.MaxBytes = 12, 1<<20
		return q
	}
	expect := func(step string, resp *kmsg.FetchResponse, want string) {
		t.Helper()
		if got := fmt.Sprint(parts(resp)); resp.ErrorCode != 0 || got != want {
			t.Errorf("%s: %s, error %d, want %s", step, got, resp.ErrorCode, want)
		}
	}

	q := fetchOf(12, "t", 0, 0)
	q.Topics = append(q.Topics, fetchTopic("t", 1, 0))
	resp := ask(q, 0, 0)
	id := resp.SessionID
	if id == 0 {
		t.Fatal("no session was made")
	}
	expect("a full fetch tells everything", resp, "[t-0:0 t-1:0]")
	expect("no news", ask(empty(), id, 1), "[]")
	r.produce(9, "t", 1, batchOf("x"))
	expect("one partition has news", ask(empty(), id, 2), "[t-1:1]")
	expect("and, as it was not read on, again", ask(empty(), id, 3), "[t-1:1]")
	expect("until it is", ask(fetchOf(12, "t", 1, 1), id, 4), "[]")
	expect("a partition more", ask(fetchOf(12, "u", 0, 0), id, 5), "[u-0:0]")
	q = empty()
	q.ForgottenTopics = []kmsg.FetchRequestForgottenTopic{{Topic: "t", Partitions: []int32{0, 1}}}
	r.produce(9, "t", 0, batchOf("y"))
	expect("two forgotten", ask(q, id, 6), "[]")

	if resp := ask(empty(), id, 6); resp.ErrorCode != 71 {
		t.Errorf("an epoch again: error %d, want INVALID_FETCH_SESSION_EPOCH", resp.ErrorCode)
	}
	if resp := ask(empty(), id^1, 1); resp.ErrorCode != 70 {
		t.Errorf("another id: error %d, want FETCH_SESSION_ID_NOT_FOUND", resp.ErrorCode)
	}
	q = empty()
	q.Version = 13
	if resp := ask(q, id, 7); resp.ErrorCode != 106 {
		t.Errorf("ids in a session of names: error %d, want FETCH_SESSION_TOPIC_ID_ERROR", resp.ErrorCode)
	}
	expect("the session is unharmed", ask(empty(), id, 7), "[]")
	if resp := ask(empty(), id, -1); resp.ErrorCode != 0 || resp.SessionID != 0 || b.srv.Stats.Sessions.Load() != 0 {
		t.Errorf("closing it: id %d, error %d, %d sessions left", resp.SessionID, resp.ErrorCode, b.srv.Stats.Sessions.Load())
	}

	// Slots are bounded: the third client goes without.
	for i, want := range []bool{true, true, false} {
		if resp := ask(fetchOf(12, "t", 0, 0), 0, 0); (resp.SessionID != 0) != want || resp.ErrorCode != 0 {
			t.Errorf("session %d: id %d, error %d", i+1, resp.SessionID, resp.ErrorCode)
		}
	}
}

// No partition starves the others of max bytes: what was sent goes to the end.
func TestFetchSessionIsFair(t *testing.T) {
	b := start(t, kafka.Config{})
	b.topic("t", 3, nil)
	r := b.dial()
	for p := range int32(3) {
		r.produce(9, "t", p, batchOf(string(make([]byte, 1000))))
	}
	q := fetchOf(12, "t", 0, 0)
	q.Topics = append(q.Topics, fetchTopic("t", 1, 0), fetchTopic("t", 2, 0))
	q.MaxBytes, q.SessionID, q.SessionEpoch = 1, 0, 0
	seen := make(map[int32]int)
	for i := range int32(6) {
		resp := r.ask(q).(*kmsg.FetchResponse)
		for _, rt := range resp.Topics {
			for _, p := range rt.Partitions {
				if len(p.RecordBatches) > 0 {
					seen[p.Partition]++
				}
			}
		}
		q.Topics, q.SessionID, q.SessionEpoch = nil, resp.SessionID, i+1
	}
	for p := range int32(3) {
		if seen[p] != 2 {
			t.Errorf("partition %d was sent %d times of 6", p, seen[p])
		}
	}
}

func TestView(t *testing.T) {
	b := start(t, kafka.Config{})
	b.topic("sensors", 4, nil)
	publish := func(address, value string) {
		t.Helper()
		done := make(publishes, 1)
		b.k.Publish(&kernel.Publish{Namespace: "/", Reply: done, Msg: message.Message{
			Source: message.MQTT, Address: address, Value: []byte(value), QoS: 1,
		}})
		if r := <-done; r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	r := b.dial()
	publish("sensors/dev1/temp", "21")
	publish("sensors/dev2/temp", "99")
	m := ask[*kmsg.MetadataResponse](r, metadataOf("sensors.dev1.temp"), 12)
	view := m.Topics[0]
	if view.ErrorCode != 0 || len(view.Partitions) != 1 || view.Partitions[0].Partition != 0 {
		t.Fatalf("metadata of a view: %+v", view)
	}
	if _, ok := b.k.Stream("/", "sensors/dev1/temp"); ok {
		t.Fatal("asking for its metadata made a stream of it")
	}
	// All partitions of the stream together hold both; the view only its own.
	q := fetchOf(13, "", 0, 0)
	q.Topics[0].TopicID = view.TopicID
	p := r.ask(q).(*kmsg.FetchResponse).Topics[0].Partitions[0]
	got, next := values(t, p.RecordBatches, 0)
	if p.ErrorCode != 0 || fmt.Sprint(got) != "[21]" {
		t.Fatalf("the view holds %v, error %d", got, p.ErrorCode)
	}
	// Another address's records move the reader on.
	q.Topics[0].Partitions[0].FetchOffset = next
	q.MaxWaitMillis, q.MinBytes = 3_600_000, 1
	reader := b.dial()
	reader.send(reader.request(q))
	publish("sensors/dev2/temp", "98")
	publish("sensors/dev1/temp", "22")
	p = reader.read(q).(*kmsg.FetchResponse).Topics[0].Partitions[0]
	if got, next := values(t, p.RecordBatches, 0); fmt.Sprint(got) != "[22]" || next != p.HighWatermark {
		t.Errorf("woken with %v up to %d of %d", got, next, p.HighWatermark)
	}
	publish("sensors/dev1/temp", "23") // so that its partition has something to skip below
	if p := r.fetch(12, "sensors.dev3.temp", 0, 0); p.ErrorCode != 0 {
		t.Errorf("an address never seen: error %d", p.ErrorCode)
	} else if _, next := values(t, p.RecordBatches, 0); next != p.HighWatermark {
		t.Errorf("an address never seen: read up to %d of %d", next, p.HighWatermark)
	}
	// The first Produce makes a stream of it, and the view's id goes on standing for that
	// to producers; to readers it is gone, for offsets begin anew.
	byID := produceOf(13, "", 0, batchOf("own"))
	byID.Topics[0].TopicID = view.TopicID
	for want := range int64(2) {
		if p := r.ask(byID).(*kmsg.ProduceResponse).Topics[0].Partitions[0]; p.ErrorCode != 0 || p.BaseOffset != want {
			t.Errorf("produce to a view by id: %+v", p)
		}
	}
	if p := r.produce(12, "sensors.dev1.temp", 0, batchOf("own")); p.ErrorCode != 0 || p.BaseOffset != 2 {
		t.Errorf("produce by name: %+v", p)
	}
	if _, ok := b.k.Stream("/", "sensors/dev1/temp"); !ok {
		t.Error("producing did not make a stream")
	}
	q.MaxWaitMillis = 0
	if p := r.ask(q).(*kmsg.FetchResponse).Topics[0].Partitions[0]; p.ErrorCode != 100 {
		t.Errorf("fetch by the view's old id: error %d, want UNKNOWN_TOPIC_ID", p.ErrorCode)
	}
	if names := topicNames(ask[*kmsg.MetadataResponse](r, allMetadata(), 12)); fmt.Sprint(names) != "[sensors sensors.dev1.temp]" {
		t.Errorf("topics %v", names)
	}
}

type publishes chan kernel.PublishResult

func (c publishes) Published(_ uint64, r kernel.PublishResult) { c <- r }

func allMetadata() *kmsg.MetadataRequest {
	q := kmsg.NewPtrMetadataRequest()
	q.Topics = nil
	return q
}

func topicNames(m *kmsg.MetadataResponse) (names []string) {
	for _, rt := range m.Topics {
		names = append(names, *rt.Topic)
	}
	return names
}
