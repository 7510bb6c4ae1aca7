package kafka

import (
	"slices"
	"strings"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/message"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The operations that there are on a resource, as a bit field of Kafka's ACL operation codes.
const (
	opsTopic   = 1<<3 | 1<<4 | 1<<5 | 1<<6 | 1<<7 | 1<<8 | 1<<10 | 1<<11
	opsGroup   = 1<<3 | 1<<6 | 1<<8 | 1<<10 | 1<<11
	opsCluster = 1<<5 | 1<<7 | 1<<8 | 1<<9 | 1<<10 | 1<<11 | 1<<12
)

// advertised returns where this node's clients are to connect.
func (c *conn) advertised() (host string, port int32) { return c.srv.cfg.Advertise(c.nc.LocalAddr()) }

func (c *conn) metadata(q *kmsg.MetadataRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.MetadataResponse)
	cl := c.nodes()
	for _, n := range cl.live {
		b := kmsg.NewMetadataResponseBroker()
		b.NodeID, b.Host, b.Port, b.Rack = n.id, n.host, n.port, n.rack
		resp.Brokers = append(resp.Brokers, b)
	}
	resp.ClusterID = kmsg.StringPtr(c.srv.cfg.ClusterID)
	resp.ControllerID = cl.controller()
	if q.IncludeClusterAuthorizedOperations {
		resp.AuthorizedOperations = c.operations(acl.Cluster, "")
	}

	// Version 0 has no null: an empty list asks for all topics.
	if q.Topics == nil || (q.Version == 0 && len(q.Topics) == 0) {
		for _, t := range c.visible() {
			resp.Topics = append(resp.Topics, c.topicMetadata(cl, &t, q.IncludeTopicAuthorizedOperations))
		}
		return resp
	}
	create := !c.srv.cfg.NoAutoCreate && (q.Version < 4 || q.AllowAutoTopicCreation)
	seen := make(map[string]bool, len(q.Topics))
	var found []topic
	for i := range q.Topics {
		rt := &q.Topics[i]
		if rt.Topic == nil {
			t, ok := c.srv.topicByID(rt.TopicID)
			code := codeUnknownTopicID
			if ok && !c.may(acl.Describe, acl.Address, t.address()) {
				ok, code = false, codeTopicDenied
			}
			if !ok {
				m := kmsg.NewMetadataResponseTopic()
				m.ErrorCode, m.TopicID = code, rt.TopicID
				resp.Topics = append(resp.Topics, m)
				continue
			}
			found = append(found, t)
			resp.Topics = append(resp.Topics, c.topicMetadata(cl, &t, q.IncludeTopicAuthorizedOperations))
			continue
		}
		name := *rt.Topic
		if seen[name] {
			continue
		}
		seen[name] = true
		t, code := c.namedTopic(name, create)
		if code != codeNone {
			m := kmsg.NewMetadataResponseTopic()
			m.Topic, m.ErrorCode = &name, code
			resp.Topics = append(resp.Topics, m)
			continue
		}
		found = append(found, t)
		resp.Topics = append(resp.Topics, c.topicMetadata(cl, &t, q.IncludeTopicAuthorizedOperations))
	}
	if err := c.putViews(found...); err != nil {
		for i := range resp.Topics {
			m := &resp.Topics[i]
			if slices.ContainsFunc(found, func(t topic) bool { return t.view() && t.id == m.TopicID }) {
				m.ErrorCode, m.TopicID, m.Partitions = createCode(err), kernel.StreamID{}, nil
			}
		}
	}
	return resp
}

// namedTopic finds the topic of a name, and makes it if it may.
func (c *conn) namedTopic(name string, create bool) (topic, code) {
	if !message.ValidKafkaName(name) {
		return topic{}, codeInvalidTopic
	}
	t, unknown := c.topicFor(acl.Describe, name)
	switch {
	case unknown != codeUnknownTopic:
		return t, unknown
	case !create:
		return topic{}, codeUnknownTopic
	case !c.mayCreate(name):
		return topic{}, codeTopicDenied
	default:
		var err error
		if t, err = c.srv.autoCreate(c.ctx, name); err != nil {
			return topic{}, createCode(err)
		}
	}
	return t, codeNone
}

func (c *conn) topicMetadata(cl *cluster, t *topic, ops bool) kmsg.MetadataResponseTopic {
	m := kmsg.NewMetadataResponseTopic()
	m.Topic, m.TopicID, m.IsInternal = &t.name, t.id, t.internal()
	if ops {
		m.AuthorizedOperations = c.operations(acl.Address, t.address())
	}
	m.Partitions = make([]kmsg.MetadataResponseTopicPartition, t.partitions())
	for i := range m.Partitions {
		p, at := &m.Partitions[i], cl.partition(t, int32(i))
		p.Default()
		p.Partition, p.ErrorCode, p.Leader, p.LeaderEpoch = int32(i), at.code, at.leaderID(), at.epoch
		p.Replicas, p.ISR, p.OfflineReplicas = at.replicas, at.isr, at.offline
	}
	return m
}

// createCode is codeOf for the creation of a topic.
func createCode(err error) code {
	switch fault.KindOf(err) {
	case fault.Unavailable:
		return codeTimedOut
	case fault.Exhausted:
		return codePolicyViolation
	}
	return codeOf(err)
}

// describeTopicsMax bounds the partitions of one answer of DescribeTopicPartitions, as
// max.request.partition.size.limit does.
const describeTopicsMax = 2000

// describeTopicPartitions is Metadata in pages, topics and partitions in order. The cursor
// of an answer is where the next page begins; null at the end.
func (c *conn) describeTopicPartitions(q *kmsg.DescribeTopicPartitionsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.DescribeTopicPartitionsResponse)
	var names []string
	if len(q.Topics) == 0 {
		for _, t := range c.visible() {
			names = append(names, t.name)
		}
	} else {
		for i := range q.Topics {
			names = append(names, q.Topics[i].Topic)
		}
		slices.Sort(names)
		names = slices.Compact(names)
	}
	first := int32(0)
	if cur := q.Cursor; cur != nil {
		i, _ := slices.BinarySearchFunc(names, cur.Topic, strings.Compare)
		if names = names[i:]; len(names) > 0 && names[0] == cur.Topic {
			first = max(cur.Partition, 0)
		}
	}
	room := int32(describeTopicsMax)
	if q.ResponsePartitionLimit > 0 {
		room = min(room, q.ResponsePartitionLimit)
	}
	cl := c.nodes()
	for _, name := range names {
		if room == 0 {
			resp.NextCursor = cursor(name, first)
			return resp
		}
		rt := kmsg.NewDescribeTopicPartitionsResponseTopic()
		rt.Topic = kmsg.StringPtr(name)
		rt.Partitions = []kmsg.DescribeTopicPartitionsResponseTopicPartition{}
		t, ok := c.srv.topicByName(name)
		if !ok {
			rt.ErrorCode = codeUnknownTopic
			if !message.ValidKafkaName(name) {
				rt.ErrorCode = codeInvalidTopic
			}
			resp.Topics = append(resp.Topics, rt)
			continue
		}
		if err := c.putViews(t); err != nil {
			rt.ErrorCode = createCode(err)
			resp.Topics = append(resp.Topics, rt)
			continue
		}
		rt.TopicID, rt.IsInternal, rt.AuthorizedOperations = t.id, t.internal(), c.operations(acl.Address, t.address())
		i := first
		for first = 0; i < t.partitions() && room > 0; i++ {
			p := kmsg.NewDescribeTopicPartitionsResponseTopicPartition()
			at := cl.partition(&t, i)
			p.Partition, p.ErrorCode, p.LeaderID, p.LeaderEpoch = i, at.code, at.leaderID(), at.epoch
			p.Replicas, p.ISR, p.OfflineReplicas = at.replicas, at.isr, at.offline
			p.EligibleLeaderReplicas, p.LastKnownELR = []int32{}, []int32{}
			rt.Partitions = append(rt.Partitions, p)
			room--
		}
		resp.Topics = append(resp.Topics, rt)
		if i < t.partitions() {
			resp.NextCursor = cursor(name, i)
			return resp
		}
	}
	return resp
}

func cursor(topic string, partition int32) *kmsg.DescribeTopicPartitionsResponseNextCursor {
	n := kmsg.NewDescribeTopicPartitionsResponseNextCursor()
	n.Topic, n.Partition = topic, partition
	return &n
}

// endpointBrokers is the endpoint type that DescribeCluster asks for by default; 2 is
// controllers, whose listener this is not.
const endpointBrokers = 1

func (c *conn) describeCluster(q *kmsg.DescribeClusterRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.DescribeClusterResponse)
	resp.EndpointType = q.EndpointType
	switch {
	case q.Version == 0 || q.EndpointType == endpointBrokers:
		resp.EndpointType = endpointBrokers
	case q.EndpointType == 2:
		resp.ErrorCode = codeMismatchedEndpoint
		resp.ErrorMessage = kmsg.StringPtr("The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER")
		return resp
	default:
		resp.ErrorCode = codeUnsupportedEndpoint
		resp.ErrorMessage = kmsg.StringPtr("Unsupported endpoint type")
		return resp
	}
	resp.ClusterID = c.srv.cfg.ClusterID
	cl := c.nodes()
	resp.ControllerID = cl.controller()
	add := func(nodes []endpoint, fenced bool) {
		for _, n := range nodes {
			b := kmsg.NewDescribeClusterResponseBroker()
			b.NodeID, b.Host, b.Port, b.Rack, b.IsFenced = n.id, n.host, n.port, n.rack, fenced
			resp.Brokers = append(resp.Brokers, b)
		}
	}
	add(cl.live, false)
	if q.IncludeFencedBrokers {
		add(cl.fenced, true)
	}
	if q.IncludeClusterAuthorizedOperations {
		resp.ClusterAuthorizedOperations = c.operations(acl.Cluster, "")
	}
	return resp
}

func (c *conn) describeLogDirs(q *kmsg.DescribeLogDirsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.DescribeLogDirsResponse)
	if resp.ErrorCode = c.forCluster(acl.Describe); resp.ErrorCode != codeNone {
		return resp
	}
	dir := kmsg.NewDescribeLogDirsResponseDir()
	dir.Dir = c.srv.cfg.LogDir
	dir.Topics = []kmsg.DescribeLogDirsResponseDirTopic{}
	add := func(t *topic, wanted func(int32) bool) {
		rt := kmsg.NewDescribeLogDirsResponseDirTopic()
		rt.Topic = t.name
		for i := range t.partitions() {
			if part, err := c.srv.partition(t, i); err == nil && wanted(i) {
				p := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
				p.Partition, p.Size = i, part.Info().Bytes
				rt.Partitions = append(rt.Partitions, p)
			}
		}
		if len(rt.Partitions) > 0 {
			dir.Topics = append(dir.Topics, rt)
		}
	}
	if q.Topics == nil {
		for _, t := range c.srv.topics() {
			add(&t, func(int32) bool { return true })
		}
	}
	for i := range q.Topics {
		// A view has no log of its own.
		if t, ok := c.srv.topicByName(q.Topics[i].Topic); ok && !t.view() {
			add(&t, func(p int32) bool { return slices.Contains(q.Topics[i].Partitions, p) })
		}
	}
	resp.Dirs = []kmsg.DescribeLogDirsResponseDir{dir}
	return resp
}
