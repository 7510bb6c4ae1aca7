package kafka

import (
	"math"
	"slices"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Times of ListOffsets that are not times.
const (
	timeLatest        = -1
	timeEarliest      = -2
	timeMax           = -3 // the record with the largest time
	timeEarliestLocal = -4 // not moved to tiered storage
	timeLatestTiered  = -5
	timeNextTiered    = -6 // the first that will be moved
)

// firstListVersion is the first version in which each of them may be asked.
func firstListVersion(time int64) int16 {
	switch time {
	case timeMax:
		return 7
	case timeEarliestLocal:
		return 8
	case timeLatestTiered:
		return 9
	case timeNextTiered:
		return 11
	}
	return 0
}

func (c *conn) listOffsets(q *kmsg.ListOffsetsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.ListOffsetsResponse)
	type key struct {
		topic string
		index int32
	}
	count := make(map[key]int)
	for i := range q.Topics {
		for j := range q.Topics[i].Partitions {
			count[key{q.Topics[i].Topic, q.Topics[i].Partitions[j].Partition}]++
		}
	}
	for i := range q.Topics {
		rt := kmsg.NewListOffsetsResponseTopic()
		rt.Topic = q.Topics[i].Topic
		t, unknown := c.topicFor(acl.Describe, rt.Topic)
		for j := range q.Topics[i].Partitions {
			p := &q.Topics[i].Partitions[j]
			rp := kmsg.NewListOffsetsResponseTopicPartition()
			rp.Partition = p.Partition
			switch {
			case count[key{rt.Topic, p.Partition}] > 1:
				rp.ErrorCode = codeInvalidRequest
			case unknown != codeNone:
				rp.ErrorCode = unknown
			default:
				c.listOffset(&t, q, p, &rp)
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

func (c *conn) listOffset(t *topic, q *kmsg.ListOffsetsRequest, p *kmsg.ListOffsetsRequestTopicPartition, rp *kmsg.ListOffsetsResponseTopicPartition) {
	part, err := c.srv.partition(t, p.Partition)
	if err != nil {
		rp.ErrorCode = codeOf(err)
		return
	}
	if rp.ErrorCode = c.newest(part, p.CurrentLeaderEpoch); rp.ErrorCode != codeNone {
		return
	}
	info := part.Info()
	if q.Version < firstListVersion(p.Timestamp) {
		rp.ErrorCode = codeUnsupportedVersion
		return
	}
	end := info.End
	if q.IsolationLevel == isolationCommitted {
		end = info.LastStable
	}
	found := func(offset, at int64) {
		rp.Offset, rp.Timestamp, rp.LeaderEpoch = offset, at, info.LeaderEpoch
	}
	switch p.Timestamp {
	case timeLatest:
		found(end, -1)
	case timeEarliest, timeEarliestLocal:
		found(info.Start, -1)
	case timeLatestTiered, timeNextTiered:
		found(-1, -1) // nothing is tiered
	case timeMax:
		offset, at, err := maxTime(part)
		if err != nil {
			rp.ErrorCode = codeOf(err)
			return
		}
		if offset >= end {
			offset, at = -1, -1
		}
		found(offset, at)
	default:
		if p.Timestamp < 0 {
			rp.ErrorCode = codeUnsupportedVersion
			return
		}
		offset, at, err := part.OffsetForTime(p.Timestamp)
		switch {
		case err != nil:
			rp.ErrorCode = codeOf(err)
		case offset < 0 || offset >= end: // none; not an error
		default:
			found(offset, at)
		}
	}
}

// maxTime finds the record with the largest time: the largest t for which there is a
// record at or after t. -1: the partition is empty.
func maxTime(part *kernel.Partition) (offset, at int64, err error) {
	offset, at, err = part.OffsetForTime(0)
	if err != nil || offset < 0 {
		return -1, -1, err
	}
	for low, high := at, int64(math.MaxInt64); low < high; {
		mid := low + (high-low)/2 + 1
		o, t, err := part.OffsetForTime(mid)
		switch {
		case err != nil:
			return -1, -1, err
		case o < 0:
			high = mid - 1
		default:
			offset, at, low = o, t, max(t, mid)
		}
	}
	return offset, at, nil
}

func (c *conn) offsetForLeaderEpoch(q *kmsg.OffsetForLeaderEpochRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
	for i := range q.Topics {
		rt := kmsg.NewOffsetForLeaderEpochResponseTopic()
		rt.Topic = q.Topics[i].Topic
		t, unknown := c.topicFor(acl.Describe, rt.Topic)
		for j := range q.Topics[i].Partitions {
			p := &q.Topics[i].Partitions[j]
			rp := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			rp.Partition = p.Partition
			rp.ErrorCode = unknown
			if unknown == codeNone {
				rp.LeaderEpoch, rp.EndOffset, rp.ErrorCode = c.epochEnd(&t, p)
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

func (c *conn) epochEnd(t *topic, p *kmsg.OffsetForLeaderEpochRequestTopicPartition) (epoch int32, end int64, _ code) {
	part, err := c.srv.partition(t, p.Partition)
	if err != nil {
		return -1, -1, codeOf(err)
	}
	if code := c.newest(part, p.CurrentLeaderEpoch); code != codeNone {
		return -1, -1, code
	}
	if p.LeaderEpoch < 0 || p.LeaderEpoch > part.Epoch() {
		return -1, -1, codeNone // we have never heard of it
	}
	epoch, end, err = epochEnd(part, p.LeaderEpoch)
	if err != nil {
		return -1, -1, codeOf(err)
	}
	return epoch, end, codeNone
}

func (c *conn) deleteRecords(q *kmsg.DeleteRecordsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.DeleteRecordsResponse)
	for i := range q.Topics {
		rt := kmsg.NewDeleteRecordsResponseTopic()
		rt.Topic = q.Topics[i].Topic
		t, unknown := c.topicFor(acl.Delete, rt.Topic)
		for j := range q.Topics[i].Partitions {
			p := &q.Topics[i].Partitions[j]
			rp := kmsg.NewDeleteRecordsResponseTopicPartition()
			rp.Partition, rp.LowWatermark, rp.ErrorCode = p.Partition, -1, unknown
			if unknown == codeNone {
				rp.LowWatermark, rp.ErrorCode = c.trim(&t, p.Partition, p.Offset)
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

// trim lets go of records before an offset; -1 is the end.
func (c *conn) trim(t *topic, index int32, offset int64) (start int64, _ code) {
	if t.view() {
		return -1, codePolicyViolation // the records are also its neighbours'
	}
	if policy, ok := t.stream.Config["cleanup.policy"]; ok && !slices.Contains(splitList(policy), "delete") {
		return -1, codePolicyViolation
	}
	part, err := c.srv.partition(t, index)
	if err != nil {
		return -1, codeOf(err)
	}
	if code := c.newest(part, -1); code != codeNone {
		return -1, code
	}
	info := part.Info()
	if offset == -1 {
		offset = info.End
	}
	if offset < 0 || offset > info.End {
		return -1, codeOffsetOutOfRange
	}
	if offset <= info.Start {
		return info.Start, codeNone
	}
	start, err = part.Trim(c.ctx, offset)
	if err != nil {
		return -1, codeOf(err)
	}
	return start, codeNone
}

// initProducerID gives an idempotent producer its identity.
func (c *conn) initProducerID(q *kmsg.InitProducerIDRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.InitProducerIDResponse)
	resp.ProducerID, resp.ProducerEpoch = -1, -1
	switch {
	case q.TransactionalID != nil && *q.TransactionalID == "":
		resp.ErrorCode = codeInvalidRequest
		return resp
	case q.TransactionalID != nil:
		resp.ErrorCode = noTransactions
		return resp
	case !c.may(acl.IdempotentWrite, acl.Cluster, "") && !c.access.Anywhere(acl.Write, acl.Address):
		resp.ErrorCode = codeClusterDenied
		return resp
	}
	id, epoch, err := c.srv.kernel.AllocateProducer(c.ctx)
	if err != nil {
		if resp.ErrorCode = codeOf(err); fault.Is(err, fault.Unavailable) {
			resp.ErrorCode = codeCoordinatorNone
		}
		return resp
	}
	resp.ProducerID, resp.ProducerEpoch = id, epoch
	return resp
}
