package cross

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/robustmq/rmq/testkit"
)

// configured creates a topic of one partition with "name=value" settings.
func (e *env) configured(name string, settings ...string) {
	e.t.Helper()
	config := make(map[string]*string)
	for _, s := range settings {
		k, v, _ := strings.Cut(s, "=")
		config[k] = &v
	}
	r := must(e.admin().CreateTopic(e.ctx, 1, 1, config, name))(e.t)
	check(e.t, r.Err)
}

// start0 is the offset at which a topic's partition begins.
func (e *env) start0(topic string) int64 {
	e.t.Helper()
	o, ok := must(e.admin().ListStartOffsets(e.ctx, topic))(e.t).Lookup(topic, 0)
	if !ok || o.Err != nil {
		e.t.Fatalf("no start offset of %s: %v", topic, o.Err)
	}
	return o.Offset
}

// upTo consumes a topic from its start up to the record with a value.
func (e *env) upTo(topic, last string) (out []string) {
	e.t.Helper()
	c := e.kafka(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for {
		f := c.PollFetches(e.ctx)
		check(e.t, f.Err())
		for _, r := range f.Records() {
			value := string(r.Value)
			if r.Value == nil {
				value = "null"
			}
			out = append(out, fmt.Sprintf("%d:%s=%s", r.Offset, r.Key, value))
			if value == last {
				return out
			}
		}
	}
}

func record(topic, key, value string) *kgo.Record {
	r := &kgo.Record{Topic: topic, Key: []byte(key), Value: []byte(value)}
	if value == "" {
		r.Value = nil
	}
	return r
}

// A compacted topic, as a Kafka client and an MQTT client see it, in memory and on disk.
func TestCompactedTopic(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		e := start(t, testkit.Virtual(), testkit.DataDir(dir))
		e.configured("c", "cleanup.policy=compact", "segment.ms=1000", "min.cleanable.dirty.ratio=0.01", "delete.retention.ms=60000")
		check(t, e.kafka(kgo.RecordPartitioner(kgo.ManualPartitioner())).ProduceSync(e.ctx, record("c", "a", "1"), record("c", "b", "1"), record("c", "a", "2"), record("c", "b", "")).FirstErr())
		for _, codec := range []kgo.CompressionCodec{kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()} {
			var rs []*kgo.Record
			for i := range 50 {
				rs = append(rs, record("c", fmt.Sprint("k", i%3), strings.Repeat(fmt.Sprint(i), 20)))
			}
			check(t, e.kafka(kgo.ProducerBatchCompression(codec)).ProduceSync(e.ctx, rs...).FirstErr())
		}
		e.publishMQTT(&paho.Publish{Topic: "c/dev", QoS: 1, Payload: []byte("on")})
		e.publishMQTT(&paho.Publish{Topic: "c/dev", QoS: 1, Payload: []byte("off")})
		e.produce(record("c", "end", "end"))
		e.Clock.Advance(5 * time.Second)

		want := []string{ // of 4 records, 4 times 50, two of MQTT and the last
			"2:a=2", "3:b=null", "201:k2=" + strings.Repeat("47", 20), "202:k0=" + strings.Repeat("48", 20), "203:k1=" + strings.Repeat("49", 20),
			"205:c/dev=off", "206:end=end",
		}
		if got := e.upTo("c", "end"); !slices.Equal(got, want) {
			t.Errorf("after compaction the topic holds\n%v, want\n%v", got, want)
		}
		if got := e.start0("c"); got != 0 {
			t.Errorf("compaction has moved the start to %d", got)
		}
		e.Clock.Advance(2 * time.Minute)
		if got := e.upTo("c", "end"); !slices.Equal(got, slices.Delete(want, 1, 2)) {
			t.Errorf("after delete.retention.ms the topic holds\n%v", got)
		}
		err := e.kafka().ProduceSync(e.ctx, &kgo.Record{Topic: "c", Value: []byte("without a key")}).FirstErr()
		if !errors.Is(err, kerr.InvalidRecord) {
			t.Errorf("a record without a key: %v", err)
		}
		if rs := must(e.admin().DeleteRecords(e.ctx, kadm.Offsets{"c": {0: {Topic: "c", At: 1}}}))(t); !errors.Is(rs["c"][0].Err, kerr.PolicyViolation) {
			t.Errorf("DeleteRecords of a compacted topic: %v", rs["c"][0].Err)
		}
	}
}

// Retention is as configured, is seen when the clock's advance returns, and follows a
// change of the configuration; DeleteRecords answers as Kafka does.
func TestRetentionAndDeleteRecords(t *testing.T) {
	t.Parallel()
	e := start(t, testkit.Virtual())
	e.configured("time", "retention.ms=60000")
	e.configured("records", "retention.records=3")
	e.configured("bytes", "retention.bytes=1000")
	c := e.kafka()
	now := e.Clock.Now()
	for i := range 10 {
		for _, topic := range []string{"time", "records", "bytes"} {
			r := record(topic, "k", fmt.Sprintf("%0100d", i))
			r.Timestamp = now.Add(time.Duration(i) * time.Second)
			check(t, c.ProduceSync(e.ctx, r).FirstErr())
		}
	}
	e.Clock.Advance(time.Second)
	if got := e.start0("records"); got != 7 {
		t.Errorf("of 3 records the first is %d", got)
	}
	size := must(e.admin().DescribeAllLogDirs(e.ctx, kadm.TopicsSet{"bytes": {0: {}}}))(t)
	if got, _ := size[1].Lookup(e.logDir(), "bytes", 0); got.Size > 1000 || got.Size < 1000-250 {
		t.Errorf("%d bytes are held of 1000", got.Size)
	}
	if got := e.start0("time"); got != 0 {
		t.Errorf("after a second the first is %d", got)
	}
	e.Clock.Advance(60*time.Second + 500*time.Millisecond) // 61.5 s: the first two are older than a minute
	if got := e.start0("time"); got != 2 {
		t.Errorf("after 61.5 s the first is %d, want 2", got)
	}
	check(t, must(e.admin().AlterTopicConfigs(e.ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.records", Value: ptr("5")}}, "time"))(t)[0].Err)
	e.Clock.Advance(time.Second)
	if got := e.start0("time"); got != 5 {
		t.Errorf("with retention.records=5 the first of 10 is %d", got)
	}
	shown := must(e.admin().DescribeTopicConfigs(e.ctx, "records"))(t)
	if i := slices.IndexFunc(shown[0].Configs, func(c kadm.Config) bool { return c.Key == "retention.records" }); i < 0 || shown[0].Configs[i].MaybeValue() != "3" {
		t.Errorf("retention.records is not shown: %v", i)
	}

	for _, tt := range []struct {
		at, low int64
		err     error
	}{{8, 8, nil}, {7, 8, nil}, {11, -1, kerr.OffsetOutOfRange}, {-1, 10, nil}} {
		r := must(e.admin().DeleteRecords(e.ctx, kadm.Offsets{"records": {0: {Topic: "records", At: tt.at}}}))(t)["records"][0]
		if !errors.Is(r.Err, tt.err) || r.Err == nil && r.LowWatermark != tt.low {
			t.Errorf("DeleteRecords before %d: low watermark %d, %v", tt.at, r.LowWatermark, r.Err)
		}
		if r.Err == nil && e.start0("records") != tt.low {
			t.Errorf("DeleteRecords before %d: the first is %d, want %d", tt.at, e.start0("records"), tt.low)
		}
	}
}

// logDir is the one log directory that the broker names.
func (e *env) logDir() string {
	e.t.Helper()
	all := must(e.admin().DescribeAllLogDirs(e.ctx, nil))(e.t)
	for dir := range all[1] {
		return dir
	}
	e.t.Fatal("no log directory")
	return ""
}

// Topic settings that say what may be appended, and how it is kept.
func TestTopicSettings(t *testing.T) {
	t.Parallel()
	e := start(t, testkit.Virtual())
	e.configured("small", "max.message.bytes=300")
	e.configured("stamped", "message.timestamp.type=LogAppendTime")
	e.configured("narrow", "message.timestamp.before.max.ms=1000", "message.timestamp.after.max.ms=1000")
	e.configured("insync", fmt.Sprintf("min.insync.replicas=%d", *nodesFlag+1))
	e.configured("zstd", "compression.type=zstd")
	now := e.Clock.Now()
	c := e.kafka(kgo.RequestRetries(0), kgo.RecordRetries(0), kgo.ProducerBatchCompression(kgo.NoCompression()))
	at := func(topic, value string, ms int64) *kgo.Record {
		r := record(topic, "k", value)
		r.Timestamp = now.Add(time.Duration(ms) * time.Millisecond)
		return r
	}
	for _, tt := range []struct {
		what string
		r    *kgo.Record
		err  error
	}{
		{"a small record", at("small", "x", 0), nil},
		{"a large one", at("small", strings.Repeat("x", 300), 0), kerr.MessageTooLarge},
		{"one of a second ago", at("narrow", "x", -1000), nil},
		{"one of longer ago", at("narrow", "x", -1001), kerr.InvalidTimestamp},
		{"one of the future", at("narrow", "x", 1001), kerr.InvalidTimestamp},
		{"one that wants more replicas than there are", at("insync", "x", 0), kerr.NotEnoughReplicas},
		{"one with a time that does not count", at("stamped", "x", -1_000_000), nil},
		{"one to be compressed", at("zstd", strings.Repeat("x", 1000), 0), nil},
	} {
		err := c.ProduceSync(e.ctx, tt.r).FirstErr()
		if tt.err == nil && err != nil || tt.err != nil && !errors.Is(err, tt.err) {
			t.Errorf("%s: %v, want %v", tt.what, err, tt.err)
		}
	}
	leader := e.kafka(kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	check(t, leader.ProduceSync(e.ctx, record("insync", "k", "x")).FirstErr())
	if r := e.read("stamped", 1)[0]; !r.Timestamp.Equal(now) || r.Attrs.TimestampType() != 1 {
		t.Errorf("LogAppendTime is %v of type %d, want %v", r.Timestamp, r.Attrs.TimestampType(), now)
	}
	if r := e.read("zstd", 1)[0]; r.Attrs.CompressionType() != 4 {
		t.Errorf("compression type %d, want zstd", r.Attrs.CompressionType())
	}
}
