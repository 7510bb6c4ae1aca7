package kafka_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/kafka"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/record"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// batchOf builds a batch of keyed records, of now.
func batchOf(values ...string) record.Batch {
	now := time.Now().UnixMilli()
	var b record.Builder
	b.Reset(nil, now)
	for _, v := range values {
		b.Add(now, []byte("k"), []byte(v))
	}
	return b.Finish()
}

// edit changes a batch and puts its checksum right.
func edit(b record.Batch, f func(record.Batch)) record.Batch {
	b = bytes.Clone(b)
	f(b)
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

func produceOf(version int16, topic string, partition int32, records []byte) *kmsg.ProduceRequest {
	q := kmsg.NewPtrProduceRequest()
	q.Version, q.Acks = version, -1
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = partition, records
	rt := kmsg.NewProduceRequestTopic()
	rt.Topic, rt.Partitions = topic, []kmsg.ProduceRequestTopicPartition{p}
	q.Topics = []kmsg.ProduceRequestTopic{rt}
	return q
}

func (r *raw) produce(version int16, topic string, partition int32, records []byte) kmsg.ProduceResponseTopicPartition {
	r.t.Helper()
	return r.ask(produceOf(version, topic, partition, records)).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
}

func TestProduceRefuses(t *testing.T) {
	b := start(t, kafka.Config{})
	b.topic("t", 2, nil)
	compact, limit := "compact", "200"
	b.topic("compacted", 1, map[string]*string{"cleanup.policy": &compact})
	b.topic("small", 1, map[string]*string{"max.message.bytes": &limit})
	good := batchOf("a", "b")
	put16 := func(i int, v int16) func(record.Batch) {
		return func(b record.Batch) { binary.BigEndian.PutUint16(b[i:], uint16(v)) }
	}
	put32 := func(i int, v int32) func(record.Batch) {
		return func(b record.Batch) { binary.BigEndian.PutUint32(b[i:], uint32(v)) }
	}
	keyless := func(n int) []byte {
		var w record.Builder
		w.Reset(nil, 0)
		w.Add(0, []byte("k"), []byte("v"))
		for range n {
			w.Add(0, nil, []byte("v"))
		}
		return w.Finish()
	}
	at := func(ms int64) []byte {
		var w record.Builder
		w.Reset(nil, ms)
		w.Add(ms, nil, []byte("v"))
		return w.Finish()
	}
	zstd, err := record.Recompress(nil, good, record.Zstd)
	if err != nil {
		t.Fatal(err)
	}
	holes := func() []byte {
		var w record.Builder
		w.Reset(nil, 0)
		w.AddAt(0, 0, nil, []byte("v"))
		w.AddAt(2, 0, nil, []byte("v"))
		return edit(w.Finish(), put32(23, 1))
	}()
	tests := []struct {
		name     string
		version  int16
		topic    string
		part     int32
		records  []byte
		want     int16
		records2 int // bad records named
	}{
		{"a good batch", 9, "t", 0, good, 0, 0},
		{"an unknown topic", 9, "none", 0, good, 3, 0},
		{"a name that is no topic's", 9, "a b", 0, good, 3, 0},
		{"an unknown partition", 9, "t", 2, good, 3, 0},
		{"a negative partition", 9, "t", -1, good, 3, 0},
		{"null records", 9, "t", 0, nil, 87, 0},
		{"no records", 9, "t", 0, []byte{}, 87, 0},
		{"format 0", 9, "t", 0, edit(good, func(b record.Batch) { b[16] = 0 }), 87, 0},
		{"format 1", 3, "t", 0, edit(good, func(b record.Batch) { b[16] = 1 }), 87, 0},
		{"two batches", 9, "t", 0, append(bytes.Clone(good), good...), 87, 0},
		{"a flipped bit", 9, "t", 0, append(bytes.Clone(good[:len(good)-1]), good[len(good)-1]^1), 2, 0},
		{"half a batch", 9, "t", 0, good[:len(good)-1], 2, 0},
		{"a control batch", 9, "t", 0, edit(good, put16(21, 1<<5)), 87, 0},
		{"a transactional batch", 9, "t", 0, edit(good, put16(21, 1<<4)), 53, 0},
		{"append time set by a client", 9, "t", 0, edit(good, put16(21, 1<<3)), 32, 0},
		{"an unknown codec", 9, "t", 0, edit(good, put16(21, 7)), 2, 0},
		{"compressed garbage", 9, "t", 0, edit(good, put16(21, int16(record.LZ4))), 2, 0},
		{"zstd before version 7", 6, "t", 0, zstd, 76, 0},
		{"zstd", 7, "t", 0, zstd, 0, 0},
		{"fewer records than it says", 9, "t", 0, edit(edit(good, put32(57, 3)), put32(23, 2)), 87, 0},
		{"more records than it says", 9, "t", 0, edit(edit(good, put32(57, 1)), put32(23, 0)), 87, 0},
		{"offsets that skip", 9, "t", 0, holes, 87, 0},
		{"a count that is not the offsets'", 9, "t", 0, edit(good, put32(23, 5)), 87, 0},
		{"a producer without a sequence", 9, "t", 0, edit(good, func(b record.Batch) { b.SetProducer(1, 0, -1) }), 87, 0},
		{"a batch that says the broker made it", 9, "t", 0, edit(good, func(b record.Batch) { b.SetProducer(-1, -2, -1) }), 87, 0},
		{"a record without key, compacted", 9, "compacted", 0, keyless(3), 87, 3},
		{"many records without key, compacted", 9, "compacted", 0, keyless(300), 87, 10},
		{"records with keys, compacted", 9, "compacted", 0, good, 0, 0},
		{"two hours ahead", 9, "t", 0, at(time.Now().Add(2 * time.Hour).UnixMilli()), 32, 1},
		{"half an hour ahead", 9, "t", 0, at(time.Now().Add(30 * time.Minute).UnixMilli()), 0, 0},
		{"no time", 9, "t", 0, at(-1), 0, 0},
		{"too large", 9, "small", 0, batchOf(strings.Repeat("x", 200)), 10, 0},
	}
	r := b.dial()
	for _, tt := range tests {
		versions := []int16{tt.version}
		if tt.version == 9 {
			versions = []int16{3, 5, 7, 8, 9, 12}
			if tt.records != nil && len(tt.records) == len(zstd) && tt.name == "zstd" {
				versions = []int16{7, 12}
			}
		}
		for _, v := range versions {
			p := r.produce(v, tt.topic, tt.part, tt.records)
			if p.ErrorCode != tt.want {
				msg := ""
				if p.ErrorMessage != nil {
					msg = *p.ErrorMessage
				}
				t.Errorf("%s, version %d: error %d %q, want %d", tt.name, v, p.ErrorCode, msg, tt.want)
			}
			if tt.want != 0 && p.BaseOffset != -1 {
				t.Errorf("%s, version %d: base offset %d beside an error", tt.name, v, p.BaseOffset)
			}
			if v >= 8 && len(p.ErrorRecords) != tt.records2 {
				t.Errorf("%s, version %d: %d records named, want %d", tt.name, v, len(p.ErrorRecords), tt.records2)
			}
		}
	}
}

func TestProduceOldFormatVersions(t *testing.T) {
	b := start(t, kafka.Config{})
	b.topic("t", 1, nil)
	r := b.dial()
	for v := range int16(3) {
		if p := r.produce(v, "t", 0, []byte("an old message set")); p.ErrorCode != 43 {
			t.Errorf("version %d: error %d, want UNSUPPORTED_FOR_MESSAGE_FORMAT", v, p.ErrorCode)
		}
	}
}

func TestProduceAcks(t *testing.T) {
	b := start(t, kafka.Config{})
	b.topic("t", 1, nil)
	r := b.dial()
	for _, acks := range []int16{-2, 2, 100} {
		q := produceOf(9, "t", 0, batchOf("x"))
		q.Acks = acks
		if p := r.ask(q).(*kmsg.ProduceResponse).Topics[0].Partitions[0]; p.ErrorCode != 21 {
			t.Errorf("acks %d: error %d, want INVALID_REQUIRED_ACKS", acks, p.ErrorCode)
		}
	}
	// Without acks there is no answer: the next one is that of the next request.
	q := produceOf(9, "t", 0, batchOf("silent"))
	q.Acks = 0
	r.send(r.request(q))
	if p := r.produce(9, "t", 0, batchOf("loud")); p.ErrorCode != 0 || p.BaseOffset != 1 {
		t.Errorf("after acks=0: offset %d, error %d", p.BaseOffset, p.ErrorCode)
	}
	// An error without acks closes the connection.
	q = produceOf(9, "none", 0, batchOf("lost"))
	q.Acks = 0
	r.send(r.request(q))
	r.closed()
}

func TestProduceByTopicID(t *testing.T) {
	b := start(t, kafka.Config{})
	b.topic("t", 1, nil)
	st, _ := b.k.Stream("/", "t")
	r := b.dial()
	q := produceOf(13, "", 0, batchOf("x"))
	q.Topics[0].TopicID = st.ID
	resp := r.ask(q).(*kmsg.ProduceResponse)
	if got := resp.Topics[0]; got.TopicID != st.ID || got.Partitions[0].ErrorCode != 0 {
		t.Errorf("by id: %+v", got)
	}
	q.Topics[0].TopicID[3] ^= 1
	if p := r.ask(q).(*kmsg.ProduceResponse).Topics[0].Partitions[0]; p.ErrorCode != 100 {
		t.Errorf("by another id: error %d, want UNKNOWN_TOPIC_ID", p.ErrorCode)
	}
}

func TestIdempotence(t *testing.T) {
	b := start(t, kafka.Config{})
	b.topic("t", 1, nil)
	r := b.dial()
	who := ask[*kmsg.InitProducerIDResponse](r, kmsg.NewPtrInitProducerIDRequest(), 4)
	if who.ErrorCode != 0 || who.ProducerID < 0 || who.ProducerEpoch != 0 {
		t.Fatalf("InitProducerId: %+v", who)
	}
	send := func(epoch int16, seq int32) (int16, int64) {
		p := r.produce(9, "t", 0, edit(batchOf("x", "y"), func(b record.Batch) { b.SetProducer(who.ProducerID, epoch, seq) }))
		return p.ErrorCode, p.BaseOffset
	}
	steps := []struct {
		name   string
		epoch  int16
		seq    int32
		code   int16
		offset int64
	}{
		{"the first", 0, 0, 0, 0},
		{"the next", 0, 2, 0, 2},
		{"the first again", 0, 0, 0, 0},
		{"a gap", 0, 8, 45, -1},
		{"the third", 0, 4, 0, 4},
		{"a new epoch", 1, 0, 0, 6},
		{"the old epoch", 0, 6, 47, -1},
	}
	for _, s := range steps {
		code, offset := send(s.epoch, s.seq)
		if code != s.code || offset != s.offset {
			t.Errorf("%s: offset %d, error %d, want offset %d, error %d", s.name, offset, code, s.offset, s.code)
		}
	}
	// Transactions.
	q := kmsg.NewPtrInitProducerIDRequest()
	id := "txn"
	q.TransactionalID = &id
	if resp := ask[*kmsg.InitProducerIDResponse](r, q, 4); resp.ErrorCode != 53 || resp.ProducerID != -1 {
		t.Errorf("a transactional id: %+v, want TRANSACTIONAL_ID_AUTHORIZATION_FAILED", resp)
	}
	p := produceOf(9, "t", 0, batchOf("x"))
	p.TransactionID = &id
	if got := r.ask(p).(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode; got != 53 {
		t.Errorf("a transactional produce: error %d, want TRANSACTIONAL_ID_AUTHORIZATION_FAILED", got)
	}
}

func TestBatchesAreKeptAsSent(t *testing.T) {
	b := start(t, kafka.Config{})
	b.topic("t", 1, nil)
	r := b.dial()
	for i, c := range []record.Codec{record.None, record.Gzip, record.Snappy, record.LZ4, record.Zstd} {
		sent, err := record.Recompress(nil, batchOf("a", "b", strings.Repeat("c", 2000)), c)
		if err != nil {
			t.Fatal(err)
		}
		p := r.produce(9, "t", 0, sent)
		if p.ErrorCode != 0 {
			t.Fatalf("%s: error %d", c, p.ErrorCode)
		}
		got := r.fetch(12, "t", 0, p.BaseOffset).RecordBatches
		if len(got) != len(sent) || !bytes.Equal(got[17:], sent[17:]) {
			t.Errorf("%s: batch %d came back changed", c, i)
		}
	}
}

func TestTopicSettingsOnProduce(t *testing.T) {
	b := start(t, kafka.Config{})
	appendTime, gz := "LogAppendTime", "gzip"
	b.topic("stamped", 1, map[string]*string{"message.timestamp.type": &appendTime})
	b.topic("gzipped", 1, map[string]*string{"compression.type": &gz})
	r := b.dial()

	var w record.Builder
	w.Reset(nil, 5)
	w.Add(5, nil, []byte("long ago"))
	before := time.Now().UnixMilli()
	p := r.produce(9, "stamped", 0, w.Finish())
	if p.ErrorCode != 0 || p.LogAppendTime < before {
		t.Fatalf("append time %d, error %d", p.LogAppendTime, p.ErrorCode)
	}
	got, _, err := record.Check(r.fetch(12, "stamped", 0, 0).RecordBatches, 1<<20)
	if err != nil || !got.AppendTime() || got.MaxTime() != p.LogAppendTime {
		t.Errorf("stored with append time %v %d, want %d; %v", got.AppendTime(), got.MaxTime(), p.LogAppendTime, err)
	}

	if p := r.produce(9, "gzipped", 0, batchOf("a", "b")); p.ErrorCode != 0 || p.LogAppendTime != -1 {
		t.Fatalf("%+v", p)
	}
	got, _, err = record.Check(r.fetch(12, "gzipped", 0, 0).RecordBatches, 1<<20)
	if err != nil || got.Codec() != record.Gzip || got.Count() != 2 {
		t.Errorf("stored with codec %s: %v", got.Codec(), err)
	}

	// A maximum time that is not the records' is put right.
	b.topic("t", 1, nil)
	wrong := batchOf("x")
	r.produce(9, "t", 0, edit(wrong, func(b record.Batch) { b.SetMaxTime(1 << 50) }))
	got, _, err = record.Check(r.fetch(12, "t", 0, 0).RecordBatches, 1<<20)
	if err != nil || got.MaxTime() != got.BaseTime() {
		t.Errorf("maximum time %d of a record of %d: %v", got.MaxTime(), got.BaseTime(), err)
	}
}

var _ kernel.Appended = nil
