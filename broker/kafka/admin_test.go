package kafka_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/kafka"
	"github.com/robustmq/rmq/broker/record"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestMetadata(t *testing.T) {
	b := start(t, kafka.Config{NodeID: 7, NoAutoCreate: true})
	for _, name := range []string{"b", "a.b", "__consumer_offsets"} {
		b.topic(name, 2, nil)
	}
	if _, err := b.k.Stream("/", "$kafka/__consumer_offsets"); !err {
		t.Error("an internal topic is not under $kafka")
	}
	r := b.dial()
	for v := int16(0); v <= 13; v++ {
		m := ask[*kmsg.MetadataResponse](r, allMetadata(), v)
		if got := fmt.Sprint(topicNames(m)); got != "[__consumer_offsets a.b b]" {
			t.Errorf("version %d: topics %s", v, got)
		}
		if len(m.Brokers) != 1 || m.Brokers[0].NodeID != 7 || fmt.Sprintf("%s:%d", m.Brokers[0].Host, m.Brokers[0].Port) != b.addr {
			t.Errorf("version %d: brokers %+v", v, m.Brokers)
		}
		if v >= 1 && (m.ControllerID != 7 || !m.Topics[0].IsInternal || m.Topics[1].IsInternal) {
			t.Errorf("version %d: controller %d, internal %v %v", v, m.ControllerID, m.Topics[0].IsInternal, m.Topics[1].IsInternal)
		}
		p := m.Topics[2].Partitions
		if len(p) != 2 || p[1].Partition != 1 || p[1].Leader != 7 || fmt.Sprint(p[1].Replicas, p[1].ISR) != "[7] [7]" {
			t.Errorf("version %d: partitions %+v", v, p)
		}
		if v >= 1 { // an empty list is none
			if m := ask[*kmsg.MetadataResponse](r, metadataOf(), v); len(m.Topics) != 0 {
				t.Errorf("version %d: of no topics: %v", v, topicNames(m))
			}
		}
		m = ask[*kmsg.MetadataResponse](r, metadataOf("b", "none", "a b", "b"), v)
		if len(m.Topics) != 3 || m.Topics[0].ErrorCode != 0 || m.Topics[1].ErrorCode != 3 || m.Topics[2].ErrorCode != 17 {
			t.Errorf("version %d: %+v", v, m.Topics)
		}
	}
	byID := metadataOf()
	st, _ := b.k.Stream("/", "b")
	byID.Topics = []kmsg.MetadataRequestTopic{{TopicID: st.ID}, {TopicID: [16]byte{1}}}
	m := ask[*kmsg.MetadataResponse](r, byID, 12)
	if *m.Topics[0].Topic != "b" || m.Topics[1].ErrorCode != 100 || m.Topics[1].Topic != nil {
		t.Errorf("by id: %+v", m.Topics)
	}
}

func TestDescribeTopicPartitions(t *testing.T) {
	b := start(t, kafka.Config{})
	b.topic("a", 3, nil)
	b.topic("b", 2, nil)
	r := b.dial()
	q := kmsg.NewPtrDescribeTopicPartitionsRequest()
	q.ResponsePartitionLimit = 2
	var got []string
	for range 10 {
		resp := r.ask(q).(*kmsg.DescribeTopicPartitionsResponse)
		n := 0
		for _, rt := range resp.Topics {
			for _, p := range rt.Partitions {
				got = append(got, fmt.Sprintf("%s%d", *rt.Topic, p.Partition))
				n++
			}
		}
		if n > 2 {
			t.Errorf("%d partitions in one answer", n)
		}
		if resp.NextCursor == nil {
			break
		}
		q.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: resp.NextCursor.Topic, Partition: resp.NextCursor.Partition}
	}
	if fmt.Sprint(got) != "[a0 a1 a2 b0 b1]" {
		t.Errorf("pages list %v", got)
	}
	q = kmsg.NewPtrDescribeTopicPartitionsRequest()
	q.Topics = []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: "none"}, {Topic: "b"}}
	resp := r.ask(q).(*kmsg.DescribeTopicPartitionsResponse)
	if len(resp.Topics) != 2 || resp.Topics[0].ErrorCode != 0 || resp.Topics[1].ErrorCode != 3 {
		t.Errorf("of an unknown topic: %+v", resp.Topics)
	}
}

func TestCreateTopics(t *testing.T) {
	b := start(t, kafka.Config{Partitions: 3})
	b.topic("taken", 1, nil)
	topic := func(name string, partitions int32, replicas int16, config ...string) kmsg.CreateTopicsRequestTopic {
		rt := kmsg.NewCreateTopicsRequestTopic()
		rt.Topic, rt.NumPartitions, rt.ReplicationFactor = name, partitions, replicas
		for i := 0; i < len(config); i += 2 {
			rt.Configs = append(rt.Configs, kmsg.CreateTopicsRequestTopicConfig{Name: config[i], Value: &config[i+1]})
		}
		return rt
	}
	assigned := func(name string, nodes ...int32) kmsg.CreateTopicsRequestTopic {
		rt := topic(name, -1, -1)
		for i, n := range nodes {
			a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
			a.Partition, a.Replicas = int32(i), []int32{n}
			rt.ReplicaAssignment = append(rt.ReplicaAssignment, a)
		}
		return rt
	}
	both := assigned("x", 1)
	both.NumPartitions = 1
	null := topic("x", 1, 1)
	null.Configs = []kmsg.CreateTopicsRequestTopicConfig{{Name: "retention.ms"}}
	tests := []struct {
		what string
		t    kmsg.CreateTopicsRequestTopic
		want int16
	}{
		{"plain", topic("plain", 2, 1), 0},
		{"defaults", topic("defaults", -1, -1), 0},
		{"configured", topic("configured", 1, 1, "retention.ms", "1000", "cleanup.policy", "compact,delete"), 0},
		{"assigned", assigned("assigned", 1, 1), 0},
		{"taken", topic("taken", 1, 1), 36},
		{"an invalid name", topic("a b", 1, 1), 17},
		{"no name", topic("", 1, 1), 17},
		{"a dot", topic(".", 1, 1), 17},
		{"a long name", topic(strings.Repeat("x", 250), 1, 1), 17},
		{"no partitions", topic("x", 0, 1), 37},
		{"negative partitions", topic("x", -2, 1), 37},
		{"too many partitions", topic("x", 10_001, 1), 44},
		{"no replicas", topic("x", 1, 0), 38},
		{"three replicas", topic("x", 1, 3), 38},
		{"an unknown setting", topic("x", 1, 1, "no.such", "1"), 40},
		{"a wrong number", topic("x", 1, 1, "retention.ms", "soon"), 40},
		{"a number out of range", topic("x", 1, 1, "segment.bytes", "14"), 40},
		{"a wrong word", topic("x", 1, 1, "cleanup.policy", "burn"), 40},
		{"lags that contradict", topic("x", 1, 1, "min.compaction.lag.ms", "10", "max.compaction.lag.ms", "5"), 40},
		{"a null setting", null, 40},
		{"assigned elsewhere", assigned("x", 2), 39},
		{"both", both, 42},
	}
	r := b.dial()
	for v := int16(2); v <= 7; v++ {
		for _, tt := range tests {
			q := kmsg.NewPtrCreateTopicsRequest()
			if tt.want == 0 {
				tt.t.Topic = fmt.Sprintf("%s-%d", tt.t.Topic, v)
			}
			q.Topics = []kmsg.CreateTopicsRequestTopic{tt.t}
			got := ask[*kmsg.CreateTopicsResponse](r, q, v).Topics[0]
			if got.ErrorCode != tt.want || (got.ErrorMessage == nil) != (tt.want == 0) {
				t.Errorf("%s, version %d: error %d %v, want %d", tt.what, v, got.ErrorCode, got.ErrorMessage, tt.want)
			}
			if v >= 5 && tt.want == 0 && (len(got.Configs) < 30 || got.NumPartitions < 1 || got.ReplicationFactor != 1) {
				t.Errorf("%s, version %d: described as %d partitions, %d replicas, %d settings", tt.what, v, got.NumPartitions, got.ReplicationFactor, len(got.Configs))
			}
		}
	}
	if st, ok := b.k.Stream("/", "defaults-7"); !ok || len(st.Parts) != 3 {
		t.Error("the default number of partitions is not used")
	}
	q := kmsg.NewPtrCreateTopicsRequest()
	q.ValidateOnly = true
	q.Topics = []kmsg.CreateTopicsRequestTopic{topic("tried", 1, 1), topic("twice", 1, 1), topic("twice", 1, 1), topic("taken", 1, 1)}
	resp := ask[*kmsg.CreateTopicsResponse](r, q, 7)
	if len(resp.Topics) != 3 || resp.Topics[0].ErrorCode != 0 || resp.Topics[1].ErrorCode != 42 || resp.Topics[2].ErrorCode != 36 {
		t.Errorf("validate only: %+v", resp.Topics)
	}
	if _, ok := b.k.Stream("/", "tried"); ok {
		t.Error("validating made a topic")
	}
}

func TestDeleteTopics(t *testing.T) {
	b := start(t, kafka.Config{})
	r := b.dial()
	for v := int16(1); v <= 6; v++ {
		b.topic("a", 2, nil)
		b.topic("b", 1, nil)
		st, _ := b.k.Stream("/", "b")
		q := kmsg.NewPtrDeleteTopicsRequest()
		a, none, viewed := "a", "none", "b.leaf"
		q.TopicNames = []string{a, none, viewed}
		q.Topics = []kmsg.DeleteTopicsRequestTopic{{Topic: &a}, {Topic: &none}, {Topic: &viewed}, {TopicID: st.ID}, {TopicID: [16]byte{1}}, {}, {Topic: &a, TopicID: st.ID}}
		var codes []int16
		for _, rt := range ask[*kmsg.DeleteTopicsResponse](r, q, v).Topics {
			codes = append(codes, rt.ErrorCode)
		}
		want := "[0 3 3]"
		if v == 6 {
			want = "[0 3 3 0 100 42 42]"
		} else if _, err := b.admin().DeleteTopics(within(t), "b"); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(codes) != want {
			t.Errorf("version %d: errors %v, want %s", v, codes, want)
		}
		if len(b.k.Streams("/")) != 0 {
			t.Fatalf("version %d: streams are left", v)
		}
	}
}

func TestCreatePartitions(t *testing.T) {
	b := start(t, kafka.Config{})
	b.topic("t", 2, nil)
	r := b.dial()
	for _, tt := range []struct {
		name  string
		count int32
		want  int16
	}{{"t", 2, 37}, {"t", 1, 37}, {"t", 20_000, 44}, {"none", 5, 3}, {"t.leaf", 5, 3}, {"t", 5, 0}} {
		q := kmsg.NewPtrCreatePartitionsRequest()
		q.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: tt.name, Count: tt.count}}
		for _, q.ValidateOnly = range []bool{true, false} {
			if got := ask[*kmsg.CreatePartitionsResponse](r, q, 3).Topics[0]; got.ErrorCode != tt.want {
				t.Errorf("%s to %d: error %d, want %d", tt.name, tt.count, got.ErrorCode, tt.want)
			}
		}
	}
	if p := r.produce(9, "t", 4, batchOf("x")); p.ErrorCode != 0 {
		t.Errorf("the new partition: error %d", p.ErrorCode)
	}
}

func TestConfigs(t *testing.T) {
	b := start(t, kafka.Config{NodeID: 3, MessageMax: 5000})
	size := "1000"
	b.topic("t", 1, map[string]*string{"max.message.bytes": &size})
	r := b.dial()
	describe := func(kind kmsg.ConfigResourceType, name string, names ...string) (map[string]kmsg.DescribeConfigsResponseResourceConfig, int16) {
		q := kmsg.NewPtrDescribeConfigsRequest()
		q.IncludeSynonyms, q.IncludeDocumentation = true, true
		q.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kind, ResourceName: name, ConfigNames: names}}
		res := ask[*kmsg.DescribeConfigsResponse](r, q, 4).Resources[0]
		m := make(map[string]kmsg.DescribeConfigsResponseResourceConfig)
		for _, c := range res.Configs {
			m[c.Name] = c
		}
		return m, res.ErrorCode
	}
	all, code := describe(kmsg.ConfigResourceTypeTopic, "t")
	if code != 0 || len(all) < 30 {
		t.Fatalf("%d settings, error %d", len(all), code)
	}
	if c := all["max.message.bytes"]; *c.Value != "1000" || c.Source != kmsg.ConfigSourceDynamicTopicConfig || len(c.ConfigSynonyms) != 2 ||
		*c.ConfigSynonyms[1].Value != "5000" || c.ConfigSynonyms[1].Source != kmsg.ConfigSourceStaticBrokerConfig || c.Documentation == nil || c.ConfigType != kmsg.ConfigTypeInt {
		t.Errorf("max.message.bytes: %+v", c)
	}
	if c := all["retention.ms"]; *c.Value != "604800000" || c.Source != kmsg.ConfigSourceDefaultConfig || c.ReadOnly {
		t.Errorf("retention.ms: %+v", c)
	}
	if some, _ := describe(kmsg.ConfigResourceTypeTopic, "t", "retention.ms", "no.such"); len(some) != 1 {
		t.Errorf("two by name, one unknown: %d", len(some))
	}
	if broker, code := describe(kmsg.ConfigResourceTypeBroker, "3"); code != 0 || *broker["message.max.bytes"].Value != "5000" || !broker["node.id"].ReadOnly {
		t.Errorf("of the broker: error %d, %d settings", code, len(broker))
	}
	for _, tt := range []struct {
		kind kmsg.ConfigResourceType
		name string
		want int16
	}{{2, "none", 3}, {2, "a b", 17}, {4, "9", 42}, {4, "", 0}, {8, "3", 0}, {99, "x", 42}} {
		if _, code := describe(tt.kind, tt.name); code != tt.want {
			t.Errorf("resource %d %q: error %d, want %d", tt.kind, tt.name, code, tt.want)
		}
	}

	change := func(kind kmsg.ConfigResourceType, name string, ops ...any) int16 {
		q := kmsg.NewPtrIncrementalAlterConfigsRequest()
		res := kmsg.IncrementalAlterConfigsRequestResource{ResourceType: kind, ResourceName: name}
		for i := 0; i < len(ops); i += 3 {
			c := kmsg.IncrementalAlterConfigsRequestResourceConfig{Op: ops[i].(kmsg.IncrementalAlterConfigOp), Name: ops[i+1].(string)}
			if v, ok := ops[i+2].(string); ok {
				c.Value = &v
			}
			res.Configs = append(res.Configs, c)
		}
		q.Resources = append(q.Resources, res)
		return ask[*kmsg.IncrementalAlterConfigsResponse](r, q, 1).Resources[0].ErrorCode
	}
	const set, del, app, sub = kmsg.IncrementalAlterConfigOpSet, kmsg.IncrementalAlterConfigOpDelete, kmsg.IncrementalAlterConfigOpAppend, kmsg.IncrementalAlterConfigOpSubtract
	steps := []struct {
		what string
		code int16
		want int16
		now  string // of cleanup.policy, after
	}{
		{"set", change(2, "t", set, "cleanup.policy", "compact", set, "retention.ms", "5"), 0, "compact"},
		{"set wrongly", change(2, "t", set, "cleanup.policy", "burn"), 40, ""},
		{"set the unknown", change(2, "t", set, "no.such", "1"), 40, ""},
		{"set nothing", change(2, "t", set, "cleanup.policy", nil), 42, ""},
		{"twice in one", change(2, "t", set, "retention.ms", "1", del, "retention.ms", nil), 42, ""},
		{"append to a number", change(2, "t", app, "retention.ms", "1"), 40, ""},
		{"of no topic", change(2, "none", set, "retention.ms", "1"), 3, ""},
		{"of a view", change(2, "t.leaf", set, "retention.ms", "1"), 44, ""},
		{"of the broker", change(4, "3", set, "num.partitions", "1"), 42, ""},
		{"of another broker", change(4, "4", set, "num.partitions", "1"), 42, ""},
		{"of something else", change(99, "", set, "x", "1"), 42, ""},
	}
	for _, s := range steps {
		if s.code != s.want {
			t.Errorf("%s: error %d, want %d", s.what, s.code, s.want)
		}
	}
	value := func() string {
		all, _ := describe(kmsg.ConfigResourceTypeTopic, "t")
		return *all["cleanup.policy"].Value + " " + *all["retention.ms"].Value
	}
	if got := value(); got != "compact 5" {
		t.Errorf("after set: %s", got)
	}
	if code := change(2, "t", app, "cleanup.policy", "delete", del, "retention.ms", nil); code != 0 || value() != "compact,delete 604800000" {
		t.Errorf("after append and delete: error %d, %s", code, value())
	}
	if code := change(2, "t", sub, "cleanup.policy", "compact"); code != 0 || value() != "delete 604800000" {
		t.Errorf("after subtract: error %d, %s", code, value())
	}
	// The old way replaces everything.
	q := kmsg.NewPtrAlterConfigsRequest()
	v := "77"
	q.Resources = []kmsg.AlterConfigsRequestResource{{ResourceType: 2, ResourceName: "t", Configs: []kmsg.AlterConfigsRequestResourceConfig{{Name: "retention.ms", Value: &v}}}}
	if res := ask[*kmsg.AlterConfigsResponse](r, q, 2).Resources[0]; res.ErrorCode != 0 || value() != "delete 77" {
		t.Errorf("after AlterConfigs: error %d, %s", res.ErrorCode, value())
	}
	if all, _ := describe(kmsg.ConfigResourceTypeTopic, "t"); *all["max.message.bytes"].Value != "5000" {
		t.Error("AlterConfigs left a setting that it did not name")
	}
	list := kmsg.NewPtrListConfigResourcesRequest()
	if got := ask[*kmsg.ListConfigResourcesResponse](r, list, 1).ConfigResources; len(got) != 3 {
		t.Errorf("config resources %+v", got)
	}
	list.ResourceTypes = []int8{99}
	if got := ask[*kmsg.ListConfigResourcesResponse](r, list, 1); got.ErrorCode != 35 {
		t.Errorf("config resources of an unknown type: error %d", got.ErrorCode)
	}
}

func TestListOffsets(t *testing.T) {
	b := start(t, kafka.Config{})
	b.topic("t", 1, nil)
	b.topic("empty", 1, nil)
	r := b.dial()
	base := time.Now().UnixMilli() - 10_000
	for _, at := range []int64{100, 300, 200, 400, 50} {
		var w record.Builder
		w.Reset(nil, base+at)
		w.Add(base+at, nil, []byte("x"))
		r.produce(9, "t", 0, w.Finish())
	}
	tests := []struct {
		topic      string
		time       int64
		version    int16
		code       int16
		offset, at int64
	}{
		{"t", -1, 1, 0, 5, -1},
		{"t", -1, 11, 0, 5, -1},
		{"t", -2, 1, 0, 0, -1},
		{"t", -3, 7, 0, 3, base + 400},
		{"t", -3, 6, 35, -1, -1},
		{"t", -4, 8, 0, 0, -1},
		{"t", -5, 9, 0, -1, -1},
		{"t", -6, 11, 0, -1, -1},
		{"t", -7, 11, 35, -1, -1},
		{"t", 0, 5, 0, 0, base + 100},
		{"t", base + 101, 5, 0, 1, base + 300},
		{"t", base + 301, 5, 0, 3, base + 400},
		{"t", base + 401, 5, 0, -1, -1},
		{"empty", -3, 7, 0, -1, -1},
		{"empty", 0, 7, 0, -1, -1},
		{"empty", -1, 7, 0, 0, -1},
		{"none", -1, 7, 3, -1, -1},
	}
	list := func(topic string, at int64, version int16, partitions ...int32) []kmsg.ListOffsetsResponseTopicPartition {
		q := kmsg.NewPtrListOffsetsRequest()
		rt := kmsg.NewListOffsetsRequestTopic()
		rt.Topic = topic
		for _, p := range partitions {
			rp := kmsg.NewListOffsetsRequestTopicPartition()
			rp.Partition, rp.Timestamp = p, at
			rt.Partitions = append(rt.Partitions, rp)
		}
		q.Topics = append(q.Topics, rt)
		return ask[*kmsg.ListOffsetsResponse](r, q, version).Topics[0].Partitions
	}
	for _, tt := range tests {
		p := list(tt.topic, tt.time, tt.version, 0)[0]
		if p.ErrorCode != tt.code || p.Offset != tt.offset || p.Timestamp != tt.at {
			t.Errorf("%s at %d, version %d: offset %d at %d, error %d, want offset %d at %d, error %d",
				tt.topic, tt.time, tt.version, p.Offset, p.Timestamp, p.ErrorCode, tt.offset, tt.at, tt.code)
		}
	}
	for _, p := range list("t", -1, 7, 0, 0) {
		if p.ErrorCode != 42 {
			t.Errorf("a partition twice: error %d, want INVALID_REQUEST", p.ErrorCode)
		}
	}
}

func TestOffsetForLeaderEpoch(t *testing.T) {
	b := start(t, kafka.Config{})
	b.topic("t", 1, nil)
	r := b.dial()
	r.produce(9, "t", 0, batchOf("x", "y"))
	st, _ := b.k.Stream("/", "t")
	now := st.Parts[0].LeaderEpoch
	for _, tt := range []struct {
		topic          string
		current, epoch int32
		code           int16
		wantEpoch      int32
		end            int64
	}{
		{"t", -1, now, 0, now, 2},
		{"t", now, now, 0, now, 2},
		{"t", now + 1, now, 75, -1, -1},
		{"t", -1, now + 1, 0, -1, -1},
		{"none", -1, 0, 3, -1, -1},
	} {
		q := kmsg.NewPtrOffsetForLeaderEpochRequest()
		p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
		p.CurrentLeaderEpoch, p.LeaderEpoch = tt.current, tt.epoch
		q.Topics = []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: tt.topic, Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{p}}}
		got := ask[*kmsg.OffsetForLeaderEpochResponse](r, q, 4).Topics[0].Partitions[0]
		if got.ErrorCode != tt.code || got.LeaderEpoch != tt.wantEpoch || got.EndOffset != tt.end {
			t.Errorf("%s, current %d, epoch %d: epoch %d, end %d, error %d", tt.topic, tt.current, tt.epoch, got.LeaderEpoch, got.EndOffset, got.ErrorCode)
		}
	}
}

func TestDeleteRecords(t *testing.T) {
	b := start(t, kafka.Config{})
	b.topic("t", 1, nil)
	compact := "compact"
	b.topic("c", 1, map[string]*string{"cleanup.policy": &compact})
	r := b.dial()
	for range 5 {
		r.produce(9, "t", 0, batchOf("x"))
	}
	for _, tt := range []struct {
		topic  string
		offset int64
		code   int16
		low    int64
	}{
		{"t", 2, 0, 2},
		{"t", 1, 0, 2},
		{"t", 6, 1, -1},
		{"t", -2, 1, -1},
		{"none", 0, 3, -1},
		{"c", 0, 44, -1},
		{"t.leaf", 0, 44, -1},
		{"t", -1, 0, 5},
	} {
		q := kmsg.NewPtrDeleteRecordsRequest()
		q.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: tt.topic, Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Offset: tt.offset}}}}
		got := ask[*kmsg.DeleteRecordsResponse](r, q, 2).Topics[0].Partitions[0]
		if got.ErrorCode != tt.code || got.LowWatermark != tt.low {
			t.Errorf("%s before %d: low watermark %d, error %d, want %d, %d", tt.topic, tt.offset, got.LowWatermark, got.ErrorCode, tt.low, tt.code)
		}
		if tt.topic == "t" && tt.offset == 2 {
			if p := r.fetch(12, "t", 0, 1); p.ErrorCode != 1 || p.LogStartOffset != 2 {
				// Kafka's answer beside an error has no offsets: -1.
				if p.ErrorCode != 1 {
					t.Errorf("a fetch before it: %+v", p)
				}
			}
		}
	}
}

func TestDescribeCluster(t *testing.T) {
	b := start(t, kafka.Config{NodeID: 4, ClusterID: "abc"})
	r := b.dial()
	for v := range int16(3) {
		resp := ask[*kmsg.DescribeClusterResponse](r, kmsg.NewPtrDescribeClusterRequest(), v)
		if resp.ErrorCode != 0 || resp.ClusterID != "abc" || resp.ControllerID != 4 || len(resp.Brokers) != 1 || resp.EndpointType != 1 {
			t.Errorf("version %d: %+v", v, resp)
		}
	}
	for kind, want := range map[int8]int16{2: 114, 9: 115} {
		q := kmsg.NewPtrDescribeClusterRequest()
		q.EndpointType = kind
		if resp := ask[*kmsg.DescribeClusterResponse](r, q, 1); resp.ErrorCode != want {
			t.Errorf("endpoint type %d: error %d, want %d", kind, resp.ErrorCode, want)
		}
	}
}

func TestDescribeLogDirs(t *testing.T) {
	b := start(t, kafka.Config{LogDir: "/data"})
	b.topic("t", 2, nil)
	r := b.dial()
	sent := batchOf("x")
	r.produce(9, "t", 1, sent)
	q := kmsg.NewPtrDescribeLogDirsRequest()
	q.Topics = []kmsg.DescribeLogDirsRequestTopic{{Topic: "t", Partitions: []int32{1}}, {Topic: "none"}}
	for v := int16(1); v <= 4; v++ {
		dirs := ask[*kmsg.DescribeLogDirsResponse](r, q, v).Dirs
		if len(dirs) != 1 || dirs[0].Dir != "/data" || len(dirs[0].Topics) != 1 || dirs[0].Topics[0].Partitions[0].Size != int64(len(sent)) {
			t.Errorf("version %d: %+v", v, dirs)
		}
	}
	q.Topics = nil
	if dirs := ask[*kmsg.DescribeLogDirsResponse](r, q, 4).Dirs; len(dirs[0].Topics[0].Partitions) != 2 {
		t.Errorf("of all: %+v", dirs)
	}
}

func TestACLsAreOff(t *testing.T) {
	b := start(t, kafka.Config{})
	r := b.dial()
	create := kmsg.NewPtrCreateACLsRequest()
	create.Creations = make([]kmsg.CreateACLsRequestCreation, 2)
	del := kmsg.NewPtrDeleteACLsRequest()
	del.Filters = make([]kmsg.DeleteACLsRequestFilter, 1)
	if resp := ask[*kmsg.DescribeACLsResponse](r, kmsg.NewPtrDescribeACLsRequest(), 3); resp.ErrorCode != 54 {
		t.Errorf("describe: error %d, want SECURITY_DISABLED", resp.ErrorCode)
	}
	if resp := ask[*kmsg.CreateACLsResponse](r, create, 3); len(resp.Results) != 2 || resp.Results[1].ErrorCode != 54 {
		t.Errorf("create: %+v", resp)
	}
	if resp := ask[*kmsg.DeleteACLsResponse](r, del, 3); len(resp.Results) != 1 || resp.Results[0].ErrorCode != 54 {
		t.Errorf("delete: %+v", resp)
	}
}
