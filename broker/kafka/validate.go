package kafka

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/record"
	"github.com/robustmq/rmq/broker/storage"
)

// produceTarget is the topic that a Produce request writes to, and what its configuration
// says of batches.
type produceTarget struct {
	topic topic
	rules
	// anywhere: the client knows it by the id of a view, and so as led by who leads the stream
	// above. The node that it asks appends, whoever leads.
	anywhere bool
}

// rules are the settings of a topic that a batch is held against.
type rules struct {
	maxBytes      int   // max.message.bytes
	compacted     bool  // cleanup.policy has compact: records need keys
	appendTime    bool  // message.timestamp.type=LogAppendTime
	before, after int64 // message.timestamp.before/after.max.ms
	replicas      int   // min.insync.replicas
	codec         record.Codec
	recompress    bool // compression.type is not producer: codec is
}

// batchMax bounds a batch whatever max.message.bytes says: it has to fit into one entry of
// a log.
const batchMax = storage.EntryBytesMax - 64<<10

func (s *Server) rulesOf(config map[string]string) rules {
	r := rules{maxBytes: s.cfg.MessageMax, before: math.MaxInt64, after: 3600_000, replicas: 1}
	for name, value := range config {
		switch name {
		case "max.message.bytes":
			if n, err := strconv.Atoi(value); err == nil {
				r.maxBytes = n
			}
		case "cleanup.policy":
			r.compacted = slices.Contains(splitList(value), "compact")
		case "message.timestamp.type":
			r.appendTime = value == "LogAppendTime"
		case "message.timestamp.before.max.ms":
			if n, err := strconv.ParseInt(value, 10, 64); err == nil {
				r.before = n
			}
		case "message.timestamp.after.max.ms":
			if n, err := strconv.ParseInt(value, 10, 64); err == nil {
				r.after = n
			}
		case "min.insync.replicas":
			if n, err := strconv.Atoi(value); err == nil {
				r.replicas = n
			}
		case "compression.type":
			r.codec, r.recompress = codecNamed(value)
		}
	}
	r.maxBytes = min(r.maxBytes, batchMax)
	return r
}

// codecNamed reads compression.type; false for "producer".
func codecNamed(name string) (record.Codec, bool) {
	if name == "uncompressed" {
		return record.None, true
	}
	for c := record.Gzip; c <= record.Zstd; c++ {
		if c.String() == name {
			return c, true
		}
	}
	return record.None, false
}

// find looks a topic of the request up. Producing to a view makes it a stream.
func (p *produce) find(t *produceTopic, found *produceTarget) code {
	s := p.c.srv
	var ok bool
	if p.h.version >= 13 {
		if found.topic, ok = s.topicByID(t.id); !ok {
			// The id of a view that has become a stream stands for that, to a producer: it means
			// the name that it was told the id for, and asking Metadata again changes no partition.
			address, known := s.kernel.FindView(s.cfg.Namespace, t.id)
			if !known {
				return codeUnknownTopicID
			}
			if !p.c.may(acl.Write, acl.Address, address) {
				return codeTopicDenied
			}
			found.anywhere = true
			if found.topic, ok = s.topicAt(message.KafkaName(address), address); !ok {
				return codeUnknownTopicID
			}
		}
	} else if found.topic, ok = s.topicByName(string(t.name)); !ok {
		return p.c.absent(acl.Write, string(t.name))
	}
	if !p.c.may(acl.Write, acl.Address, found.topic.address()) {
		return codeTopicDenied
	}
	if found.topic.view() {
		made, err := s.autoCreate(p.c.ctx, found.topic.name)
		if err != nil {
			return createCode(err)
		}
		found.topic, found.anywhere = made, true
	}
	found.rules = s.rulesOf(found.topic.stream.Config)
	return codeNone
}

// recordErrorsMax bounds how many bad records of one batch are named.
const recordErrorsMax = 10

// validate checks what a client wants appended to one partition, as thoroughly as Kafka
// does: whoever reads it later has to rely on it. stamp is the append time, or -1. On
// success part says what to append where.
func (p *produce) validate(t *produceTarget, part *producePart) (c code, stamp int64) {
	var err error
	if part.to, err = p.c.srv.partition(&t.topic, part.index); err != nil {
		return codeOf(err), -1
	}
	if !part.to.Leads() && !t.anywhere {
		return codeNotLeader, -1
	}
	up, keepers := p.c.srv.kernel.InSync(part.to.Shard())
	if want := p.wanted(t, keepers); up < want {
		return p.refuse(codeNotEnoughReplicas, "There are %d replicas in sync, and %d are wanted", up, want), -1
	}
	b, c := p.batch(t, part.records)
	if c != codeNone {
		return c, -1
	}
	if c := p.records(t, b, part.index); c != codeNone {
		return c, -1
	}
	stamp = -1
	if t.recompress && b.Codec() != t.codec {
		if b, err = p.c.srv.recompress(b, t.codec); err != nil {
			return p.refuse(recordCode(err), "Cannot recompress the batch"), -1
		}
		if len(b) > t.maxBytes {
			return p.tooLarge(len(b), t.maxBytes), -1
		}
	}
	if t.appendTime {
		stamp = p.c.srv.cfg.Broker.Now().UnixMilli()
		b.SetAppendTime(stamp)
	}
	part.batch = b
	return codeNone, stamp
}

// wanted is how many replicas must be in sync for a batch to be let in: a majority, without which
// nothing is committed, and for acks=all min.insync.replicas.
func (p *produce) wanted(t *produceTarget, keepers int) int {
	switch majority := keepers/2 + 1; p.acks {
	case 0:
		return 0
	case -1:
		return max(t.replicas, majority)
	default:
		return majority
	}
}

func (p *produce) refuse(c code, format string, args ...any) code {
	p.message = fmt.Sprintf(format, args...)
	return c
}

func (p *produce) tooLarge(n, most int) code {
	return p.refuse(codeMessageTooLarge, "The record batch size is %d bytes, which exceeds the maximum configured value of %d", n, most)
}

// batch takes the one batch out of what was sent and checks its header.
func (p *produce) batch(t *produceTarget, records []byte) (record.Batch, code) {
	if len(records) == 0 {
		return nil, p.refuse(codeInvalidRecord, "Produce requests with version %d must have at least one record batch per partition", p.h.version)
	}
	b, rest, err := record.Check(records, t.maxBytes)
	switch {
	case err != nil:
		return nil, p.refuse(recordCode(err), "%v", err)
	case len(rest) > 0:
		return nil, p.refuse(codeInvalidRecord, "Produce requests with version %d must contain exactly one record batch per partition", p.h.version)
	case b.Control():
		return nil, p.refuse(codeInvalidRecord, "Clients are not allowed to write control records")
	case b.Transactional():
		return nil, p.refuse(noTransactions, "The batch is transactional, and no transaction is under way")
	case b.Codec() > record.Zstd:
		return nil, p.refuse(codeCorruptMessage, "Unknown compression type id: %d", b.Codec())
	case b.Codec() == record.Zstd && p.h.version < 7:
		return nil, p.refuse(codeUnsupportedCodec, "Produce requests with version %d are not allowed to use ZStandard compression", p.h.version)
	case b.Count() == 0 || b.LastOffsetDelta() != b.Count()-1:
		return nil, p.refuse(codeInvalidRecord, "The batch has %d records, and a last offset delta of %d", b.Count(), b.LastOffsetDelta())
	case b.HasProducer() && (b.BaseSequence() < 0 || b.ProducerEpoch() < 0):
		return nil, p.refuse(codeInvalidRecord, "The batch has producer id %d, and sequence %d, epoch %d", b.ProducerID(), b.BaseSequence(), b.ProducerEpoch())
	case b.Made():
		return nil, p.refuse(codeInvalidRecord, "The batch has producer id %d, and epoch %d", b.ProducerID(), b.ProducerEpoch())
	case b.AppendTime():
		return nil, p.refuse(codeInvalidTimestamp, "A client must not set the timestamp type to LogAppendTime")
	}
	return b, codeNone
}

// records walks the records: their offsets count up from 0, their times are within
// bounds, and they have keys where compaction needs them. The batch's maximum time is
// put right.
func (p *produce) records(t *produceTarget, b record.Batch, partition int32) code {
	if b.Codec() != record.None {
		p.c.srv.inflating <- struct{}{}
		defer func() { <-p.c.srv.inflating }()
	}
	now := p.c.srv.cfg.Broker.Now().UnixMilli()
	oldest, newest := int64(math.MinInt64), int64(math.MaxInt64)
	if !t.appendTime {
		if t.before <= now {
			oldest = now - t.before
		}
		if t.after < math.MaxInt64-now {
			newest = now + t.after
		}
	}
	latest, base := int64(math.MinInt64), b.BaseOffset()
	c, bad, n := codeNone, 0, int64(0)
	for err := p.reader.Reset(b); err == nil && p.reader.Next(); n++ {
		rec := p.reader.Record()
		if rec.Offset != base+n {
			return p.refuse(codeInvalidRecord, "Record %d of the batch has offset delta %d", n, rec.Offset-base)
		}
		latest = max(latest, rec.Time)
		switch {
		case rec.Key == nil && t.compacted:
			c = p.badRecord(c, codeInvalidRecord, &bad, int32(n),
				fmt.Sprintf("Compacted topic cannot accept message without key in topic partition %s-%d.", t.topic.name, partition))
		case (rec.Time < oldest || rec.Time > newest) && rec.Time != -1:
			c = p.badRecord(c, codeInvalidTimestamp, &bad, int32(n),
				fmt.Sprintf("Timestamp %d of message with offset %d is out of range. The timestamp should be within [%d, %d]", rec.Time, n, oldest, newest))
		}
	}
	switch err := p.reader.Err(); {
	case err != nil:
		return p.refuse(recordCode(err), "%v", err)
	case c == codeInvalidTimestamp:
		return p.refuse(c, "One or more records have been rejected due to invalid timestamp")
	case c != codeNone:
		return p.refuse(c, "One or more records have been rejected due to %d record errors in total", bad)
	}
	if latest != b.MaxTime() {
		b.SetMaxTime(latest)
	}
	return codeNone
}

// badRecord notes one record; the first decides the code of the batch.
func (p *produce) badRecord(first, c code, count *int, index int32, message string) code {
	if *count++; *count <= recordErrorsMax {
		p.errors = append(p.errors, recordError{index, message})
	}
	if first != codeNone {
		return first
	}
	return c
}

// recompress copies a batch with the topic's codec. The copy is the garbage collector's.
func (s *Server) recompress(b record.Batch, to record.Codec) (record.Batch, error) {
	s.inflating <- struct{}{}
	defer func() { <-s.inflating }()
	return record.Recompress(nil, b, to)
}

var _ kernel.Appended = (*produce)(nil)
