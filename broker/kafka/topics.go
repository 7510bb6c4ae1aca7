package kafka

import (
	"fmt"
	"maps"
	"slices"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/message"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// partitionsMax bounds the partitions of one topic.
const partitionsMax = 10_000

// refusal is an error code and what the client is told with it.
type refusal struct {
	code    code
	message string
}

func refusef(c code, format string, args ...any) *refusal {
	return &refusal{c, fmt.Sprintf(format, args...)}
}

// refusalOf turns an error of the kernel into one. Only the operator sees its text.
func refusalOf(c code) *refusal { return &refusal{code: c} }

func (r *refusal) text() *string {
	if r.message == "" {
		return nil
	}
	return &r.message
}

func (c *conn) createTopics(q *kmsg.CreateTopicsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.CreateTopicsResponse)
	count := make(map[string]int)
	for i := range q.Topics {
		count[q.Topics[i].Topic]++
	}
	for i := range q.Topics {
		t := &q.Topics[i]
		rt := kmsg.NewCreateTopicsResponseTopic()
		rt.Topic = t.Topic
		// What is not told of a topic that was not made.
		rt.NumPartitions, rt.ReplicationFactor, rt.Configs = -1, -1, []kmsg.CreateTopicsResponseTopicConfig{}
		var no *refusal
		switch n := count[t.Topic]; {
		case n == 0: // answered already
			continue
		case n > 1:
			count[t.Topic] = 0
			no = refusef(codeInvalidRequest, "Duplicate topic name.")
		default:
			no = c.createTopic(t, q.ValidateOnly, &rt)
		}
		if no != nil {
			rt.ErrorCode, rt.ErrorMessage = no.code, no.text()
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

func (c *conn) createTopic(t *kmsg.CreateTopicsRequestTopic, validateOnly bool, rt *kmsg.CreateTopicsResponseTopic) *refusal {
	if !message.ValidKafkaName(t.Topic) {
		return refusef(codeInvalidTopic, "Topic name is invalid: '%.300s' is empty, longer than %d characters, or contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'", t.Topic, message.KafkaNameMax)
	}
	if !c.mayCreate(t.Topic) {
		return refusef(codeTopicDenied, "Topic authorization failed.")
	}
	if found, ok := c.srv.topicByName(t.Topic); ok && !found.view() {
		return refusef(codeTopicExists, "Topic '%s' already exists.", t.Topic)
	}
	cl := c.nodes()
	partitions, no := c.shape(cl, t)
	if no != nil {
		return no
	}
	config := make(map[string]string)
	for _, e := range t.Configs {
		if e.Value == nil {
			return refusef(codeInvalidConfig, "Null value not supported for topic configs: %s", e.Name)
		}
		config[e.Name] = *e.Value
	}
	if no := checkTopicConfig(config); no != nil {
		return no
	}
	var id kernel.StreamID
	if !validateOnly {
		info, err := c.srv.kernel.CreateStream(c.ctx, kernel.StreamSpec{
			Namespace: c.srv.cfg.Namespace, Address: message.FromKafkaName(t.Topic),
			Partitions: partitions, Config: config, Exact: c.srv.cfg.ExactStreams,
		})
		switch {
		case fault.Is(err, fault.Exists):
			return refusef(codeTopicExists, "Topic '%s' already exists.", t.Topic)
		case err != nil:
			return refusalOf(createCode(err))
		}
		id, config = info.ID, ownConfig(&info.StreamSpec)
	}
	rt.TopicID, rt.NumPartitions, rt.ReplicationFactor = id, int32(partitions), int16(cl.srv.kernel.Replicas())
	for _, e := range c.srv.topicConfig(config) {
		rc := kmsg.NewCreateTopicsResponseTopicConfig()
		rc.Name, rc.Value, rc.Source = e.Name, e.Value, int8(e.Source)
		rt.Configs = append(rt.Configs, rc)
	}
	return nil
}

// shape works out how many partitions a new topic gets. The cluster has one replication factor,
// whatever is asked for: what the nodes could not do is refused, as Kafka does.
func (c *conn) shape(cl *cluster, t *kmsg.CreateTopicsRequestTopic) (partitions int, no *refusal) {
	if len(t.ReplicaAssignment) > 0 {
		if t.NumPartitions != -1 || t.ReplicationFactor != -1 {
			return 0, refusef(codeInvalidRequest, "Both numPartitions or replicationFactor and replicasAssignments were set. Both cannot be used at the same time.")
		}
		return cl.assigned(t.ReplicaAssignment)
	}
	switch n := t.NumPartitions; {
	case n == -1:
		partitions = int(c.srv.cfg.Partitions)
	case n < 1:
		return 0, refusef(codeInvalidPartitions, "Number of partitions was set to an invalid non-positive value.")
	case n > partitionsMax:
		return 0, refusef(codePolicyViolation, "Number of partitions was set to %d, and at most %d are allowed.", n, partitionsMax)
	default:
		partitions = int(n)
	}
	switch r := t.ReplicationFactor; {
	case r == -1 || r >= 1 && int(r) <= len(cl.all):
	case r < 1:
		return 0, refusef(codeInvalidReplication, "Replication factor must be larger than 0, or -1 to use the default value.")
	default:
		return 0, refusef(codeInvalidReplication, "Unable to replicate the partition %d time(s): The target replication factor of %d cannot be reached because only %d broker(s) are registered.", r, r, len(cl.all))
	}
	return partitions, nil
}

// assigned checks manual assignments: partitions from 0 without gaps, each on nodes that there are,
// as many of them as the others.
func (cl *cluster) assigned(as []kmsg.CreateTopicsRequestTopicReplicaAssignment) (int, *refusal) {
	if len(as) > partitionsMax {
		return 0, refusef(codePolicyViolation, "At most %d partitions are allowed.", partitionsMax)
	}
	seen := make([]bool, len(as))
	for i := range as {
		p := as[i].Partition
		if p < 0 || int(p) >= len(as) || seen[p] {
			return 0, refusef(codeInvalidAssignment, "Partitions should be a consecutive 0-based integer sequence.")
		}
		seen[p] = true
		if no := cl.assignable(as[i].Replicas); no != nil {
			return 0, no
		}
		if n, first := len(as[i].Replicas), len(as[0].Replicas); n != first {
			return 0, inconsistent(n, first)
		}
	}
	return len(as), nil
}

func inconsistent(n, others int) *refusal {
	return refusef(codeInvalidAssignment, "The manual partition assignment includes a partition with %d replica(s), but this is not consistent with previous partitions, which have %d replica(s).", n, others)
}

func (c *conn) deleteTopics(q *kmsg.DeleteTopicsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.DeleteTopicsResponse)
	add := func(name *string, id [16]byte, code code) {
		rt := kmsg.NewDeleteTopicsResponseTopic()
		rt.Topic, rt.TopicID, rt.ErrorCode = name, id, code
		resp.Topics = append(resp.Topics, rt)
	}
	if q.Version < 6 {
		for _, name := range q.TopicNames {
			t, ok := c.srv.topicByName(name)
			add(&name, [16]byte{}, c.deleteTopic(&t, ok, c.absent(acl.Delete, name)))
		}
		return resp
	}
	for i := range q.Topics {
		rt := &q.Topics[i]
		switch {
		case (rt.Topic != nil) == (rt.TopicID != [16]byte{}): // both, or neither
			add(rt.Topic, rt.TopicID, codeInvalidRequest)
		case rt.Topic != nil:
			t, ok := c.srv.topicByName(*rt.Topic)
			code := c.deleteTopic(&t, ok, c.absent(acl.Delete, *rt.Topic))
			var id [16]byte
			if code == codeNone {
				id = t.id
			}
			add(rt.Topic, id, code)
		default:
			t, ok := c.srv.topicByID(rt.TopicID)
			code := c.deleteTopic(&t, ok, codeUnknownTopicID)
			var name *string
			if code == codeNone {
				name = &t.name
			}
			add(name, rt.TopicID, code)
		}
	}
	return resp
}

// deleteTopic deletes a stream. A view is nothing that could be deleted.
func (c *conn) deleteTopic(t *topic, known bool, unknown code) code {
	switch {
	case !known:
		return unknown
	case !c.may(acl.Delete, acl.Address, t.address()):
		return codeTopicDenied
	case t.view():
		return unknown
	}
	err := c.srv.kernel.DeleteStream(c.ctx, c.srv.cfg.Namespace, t.stream.Address)
	switch {
	case fault.Is(err, fault.NotFound):
		return unknown
	case err != nil:
		return createCode(err)
	}
	return codeNone
}

func (c *conn) createPartitions(q *kmsg.CreatePartitionsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.CreatePartitionsResponse)
	count := make(map[string]int)
	for i := range q.Topics {
		count[q.Topics[i].Topic]++
	}
	for i := range q.Topics {
		t := &q.Topics[i]
		rt := kmsg.NewCreatePartitionsResponseTopic()
		rt.Topic = t.Topic
		var no *refusal
		switch n := count[t.Topic]; {
		case n == 0:
			continue
		case n > 1:
			count[t.Topic] = 0
			no = refusef(codeInvalidRequest, "Duplicate topic name.")
		default:
			no = c.addPartitions(t, q.ValidateOnly)
		}
		if no != nil {
			rt.ErrorCode, rt.ErrorMessage = no.code, no.text()
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

func (c *conn) addPartitions(t *kmsg.CreatePartitionsRequestTopic, validateOnly bool) *refusal {
	found, unknown := c.topicFor(acl.Alter, t.Topic)
	if unknown == codeTopicDenied {
		return refusef(codeTopicDenied, "Topic authorization failed.")
	}
	if unknown != codeNone || found.view() {
		return refusef(codeUnknownTopic, "This server does not host this topic-partition.")
	}
	have := found.partitions()
	switch {
	case t.Count == have:
		return refusef(codeInvalidPartitions, "Topic already has %d partition(s).", have)
	case t.Count < have:
		return refusef(codeInvalidPartitions, "The topic %s currently has %d partition(s); %d would not be an increase.", t.Topic, have, t.Count)
	case t.Count > partitionsMax:
		return refusef(codePolicyViolation, "At most %d partitions are allowed.", partitionsMax)
	}
	if t.Assignment != nil {
		if len(t.Assignment) != int(t.Count-have) {
			return refusef(codeInvalidAssignment, "Attempted to add %d additional partition(s), but only %d assignment(s) were specified.", t.Count-have, len(t.Assignment))
		}
		cl := c.nodes()
		for i := range t.Assignment {
			replicas := t.Assignment[i].Replicas
			if no := cl.assignable(replicas); no != nil {
				return no
			}
			if len(replicas) != len(cl.all) {
				return inconsistent(len(replicas), len(cl.all))
			}
		}
	}
	if validateOnly {
		return nil
	}
	err := c.srv.kernel.AddPartitions(c.ctx, c.srv.cfg.Namespace, found.stream.Address, int(t.Count))
	if err != nil {
		return refusalOf(createCode(err))
	}
	return nil
}

// sortedKeys lists a configuration in the order of its names.
func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
