package kafka

import (
	"cmp"
	"errors"
	"slices"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/group"
	"github.com/robustmq/rmq/broker/kernel/shard"
	"github.com/robustmq/rmq/broker/message"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// This file is the offsets of consumer groups: commit, fetch, delete. They are kept by
// topic name.

func (c *conn) offsetCommit(q *kmsg.OffsetCommitRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.OffsetCommitResponse)
	commit := &shard.GroupCommit{MemberID: text(q.MemberID), InstanceID: nullable(q.InstanceID), Generation: q.Generation}
	expires := int64(0)
	if q.Version <= 4 && q.RetentionTimeMillis >= 0 {
		expires = c.srv.cfg.Broker.Now().UnixMilli() + q.RetentionTimeMillis
	}
	// Which partition of the answer each committed offset is: those of unknown topics are not
	// committed.
	type place struct{ topic, part int }
	var places []place
	elsewhere := c.groupFor(acl.Read, q.Group)
	for i := range q.Topics {
		t := &q.Topics[i]
		rt := kmsg.NewOffsetCommitResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		name, unknown := c.committable(q.Version, t.Topic, t.TopicID)
		unknown = cmp.Or(elsewhere, unknown)
		for j := range t.Partitions {
			p := &t.Partitions[j]
			rp := kmsg.NewOffsetCommitResponseTopicPartition()
			rp.Partition, rp.ErrorCode = p.Partition, unknown
			rt.Partitions = append(rt.Partitions, rp)
			if unknown != codeNone {
				continue
			}
			places = append(places, place{i, j})
			commit.Offsets = append(commit.Offsets, shard.GroupOffset{Topic: name, Partition: p.Partition, Offset: group.Offset{
				Offset: p.Offset, LeaderEpoch: p.LeaderEpoch, Metadata: nullable(p.Metadata), ExpiresAt: expires,
			}})
		}
		resp.Topics = append(resp.Topics, rt)
	}
	if len(places) == 0 {
		return resp
	}
	type outcome struct {
		errs []group.Error
		err  error
	}
	answer := make(chan outcome, 1)
	c.srv.kernel.GroupCommit(c.srv.cfg.Namespace, text(q.Group), commit, func(errs []group.Error, err error) { answer <- outcome{errs, err} })
	var o outcome
	select {
	case o = <-answer:
	case <-c.ctx.Done():
		o.err = errClosing
	}
	if o.err == nil && c.srv.cfg.Trace.On() {
		for i := range commit.Offsets {
			c.traceCommit(c.client, text(q.Group), &commit.Offsets[i])
		}
	}
	for i, at := range places {
		p := &resp.Topics[at.topic].Partitions[at.part]
		switch {
		case errors.Is(o.err, errClosing):
			p.ErrorCode = codeNotCoordinator
		case o.err != nil:
			p.ErrorCode = groupCode(o.err)
		default:
			p.ErrorCode = groupCodeOf(o.errs[i])
		}
	}
	return resp
}

// committable finds the name of a topic that offsets are committed for.
func (c *conn) committable(version int16, name string, id kernel.StreamID) (string, code) {
	if version >= 10 {
		t, ok := c.srv.topicByID(id)
		switch {
		case !ok:
			return "", codeUnknownTopicID
		case !c.may(acl.Read, acl.Address, t.address()):
			return "", codeTopicDenied
		}
		return t.name, codeNone
	}
	_, unknown := c.topicFor(acl.Read, name)
	return name, unknown
}

func (c *conn) offsetFetch(q *kmsg.OffsetFetchRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.OffsetFetchResponse)
	if q.Version >= 8 {
		for i := range q.Groups {
			resp.Groups = append(resp.Groups, c.groupOffsets(q.Version, &q.Groups[i], q.RequireStable))
		}
		return resp
	}
	// One group, which is asked about as several would be.
	one := kmsg.NewOffsetFetchRequestGroup()
	one.Group = q.Group
	if q.Topics != nil {
		one.Topics = []kmsg.OffsetFetchRequestGroupTopic{}
	}
	for i := range q.Topics {
		rt := kmsg.NewOffsetFetchRequestGroupTopic()
		rt.Topic, rt.Partitions = q.Topics[i].Topic, q.Topics[i].Partitions
		one.Topics = append(one.Topics, rt)
	}
	got := c.groupOffsets(q.Version, &one, q.RequireStable)
	resp.ErrorCode = got.ErrorCode
	for i := range got.Topics {
		rt := kmsg.NewOffsetFetchResponseTopic()
		rt.Topic = got.Topics[i].Topic
		for _, p := range got.Topics[i].Partitions {
			rp := kmsg.NewOffsetFetchResponseTopicPartition()
			rp.Partition, rp.Offset, rp.LeaderEpoch, rp.Metadata, rp.ErrorCode = p.Partition, p.Offset, p.LeaderEpoch, p.Metadata, p.ErrorCode
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

// groupOffsets answers for one group: for the partitions that are named, or, when topics
// are null, for all that have an offset.
func (c *conn) groupOffsets(version int16, q *kmsg.OffsetFetchRequestGroup, stable bool) kmsg.OffsetFetchResponseGroup {
	resp := kmsg.NewOffsetFetchResponseGroup()
	resp.Group = q.Group
	resp.Topics = []kmsg.OffsetFetchResponseGroupTopic{}
	elsewhere := c.newestOf(acl.Describe, q.Group)
	if resp.ErrorCode = elsewhere; elsewhere != codeNone && q.Topics == nil {
		return resp
	}
	if q.Topics == nil {
		c.srv.kernel.GroupRead(c.srv.cfg.Namespace, text(q.Group), func(g *group.Group) { resp.Topics = allOffsets(g, stable) })
		resp.Topics = slices.DeleteFunc(resp.Topics, func(t kmsg.OffsetFetchResponseGroupTopic) bool {
			return !c.may(acl.Describe, acl.Address, message.FromKafkaName(t.Topic))
		})
		if version >= 10 {
			var err error
			if resp.Topics, err = c.withIDs(resp.Topics); err != nil {
				resp.Topics, resp.ErrorCode = nil, groupCode(err)
			}
		}
		return resp
	}
	for i := range q.Topics {
		t := &q.Topics[i]
		rt := kmsg.NewOffsetFetchResponseGroupTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		name, unknown := t.Topic, codeNone
		if version >= 10 {
			if found, ok := c.srv.topicByID(t.TopicID); ok {
				name = found.name
			} else {
				unknown = codeUnknownTopicID
			}
		}
		if unknown == codeNone && !c.may(acl.Describe, acl.Address, message.FromKafkaName(name)) {
			unknown = codeTopicDenied
		}
		unknown = cmp.Or(elsewhere, unknown)
		for _, p := range t.Partitions {
			rt.Partitions = append(rt.Partitions, noOffset(p, unknown))
		}
		if unknown == codeNone {
			c.srv.kernel.GroupRead(c.srv.cfg.Namespace, text(q.Group), func(g *group.Group) {
				for j := range rt.Partitions {
					p := &rt.Partitions[j]
					if o, ok, e := g.Fetch(name, p.Partition, stable); e != group.OK {
						p.ErrorCode = groupCodeOf(e)
					} else if ok {
						setOffset(p, o)
					}
				}
			})
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

// noOffset is the answer for a partition for which nothing was committed.
func noOffset(partition int32, c code) kmsg.OffsetFetchResponseGroupTopicPartition {
	p := kmsg.NewOffsetFetchResponseGroupTopicPartition()
	p.Partition, p.Offset, p.LeaderEpoch, p.Metadata, p.ErrorCode = partition, -1, -1, new(string), c
	return p
}

func setOffset(p *kmsg.OffsetFetchResponseGroupTopicPartition, o group.Offset) {
	p.Offset, p.LeaderEpoch, p.Metadata = o.Offset, o.LeaderEpoch, &o.Metadata
}

// allOffsets lists every offset of a group, by topic and partition.
func allOffsets(g *group.Group, stable bool) []kmsg.OffsetFetchResponseGroupTopic {
	topics := []kmsg.OffsetFetchResponseGroupTopic{}
	g.Offsets(func(name string, partition int32, o group.Offset) bool {
		if n := len(topics); n == 0 || topics[n-1].Topic != name {
			rt := kmsg.NewOffsetFetchResponseGroupTopic()
			rt.Topic = name
			topics = append(topics, rt)
		}
		rt := &topics[len(topics)-1]
		p := noOffset(partition, codeNone)
		if _, _, e := g.Fetch(name, partition, stable); e != group.OK {
			p.ErrorCode = groupCodeOf(e)
		} else {
			setOffset(&p, o)
		}
		rt.Partitions = append(rt.Partitions, p)
		return true
	})
	return topics
}

// withIDs names topics by their ids, and leaves out those that are no more.
func (c *conn) withIDs(topics []kmsg.OffsetFetchResponseGroupTopic) ([]kmsg.OffsetFetchResponseGroupTopic, error) {
	kept := topics[:0]
	var found []topic
	for _, rt := range topics {
		if t, ok := c.srv.topicByName(rt.Topic); ok {
			rt.TopicID = t.id
			kept, found = append(kept, rt), append(found, t)
		}
	}
	return kept, c.putViews(found...)
}

func (c *conn) offsetDelete(q *kmsg.OffsetDeleteRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.OffsetDeleteResponse)
	type place struct{ topic, part int }
	var places []place
	var offsets []shard.GroupOffset
	for i := range q.Topics {
		t := &q.Topics[i]
		rt := kmsg.NewOffsetDeleteResponseTopic()
		rt.Topic = t.Topic
		_, unknown := c.topicFor(acl.Read, t.Topic)
		for j := range t.Partitions {
			rp := kmsg.NewOffsetDeleteResponseTopicPartition()
			rp.Partition = t.Partitions[j].Partition
			if rp.ErrorCode = unknown; unknown == codeNone {
				places = append(places, place{i, j})
				offsets = append(offsets, shard.GroupOffset{Topic: t.Topic, Partition: rp.Partition})
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	if resp.ErrorCode = c.groupFor(acl.Delete, q.Group); resp.ErrorCode != codeNone {
		resp.Topics = nil
		return resp
	}
	found := c.srv.kernel.GroupRead(c.srv.cfg.Namespace, text(q.Group), func(*group.Group) {})
	if !found {
		resp.ErrorCode, resp.Topics = codeGroupNotFound, nil
		return resp
	}
	if len(offsets) == 0 {
		return resp
	}
	errs, err := c.srv.kernel.GroupForget(c.ctx, c.srv.cfg.Namespace, text(q.Group), offsets)
	if err != nil {
		resp.ErrorCode, resp.Topics = groupCode(err), nil
		return resp
	}
	for i, at := range places {
		switch errs[i] {
		case group.NonEmptyGroup, group.GroupIDNotFound: // of the group as a whole
			resp.ErrorCode, resp.Topics = groupCodeOf(errs[i]), nil
			return resp
		}
		resp.Topics[at.topic].Partitions[at.part].ErrorCode = groupCodeOf(errs[i])
	}
	return resp
}
