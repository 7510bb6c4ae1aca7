package kafka

import (
	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/message"
)

// This file is what the rules of access make of a request, as Kafka's own authorizer does: see
// the table in docs/protocol/kafka.md. A topic that a client may not see is denied whether or
// not it is there.

func (c *conn) may(a acl.Action, k acl.Kind, name string) bool { return c.access.May(a, k, name) }

// absent is the error code for a topic that is not there.
func (c *conn) absent(a acl.Action, name string) code {
	if message.ValidKafkaName(name) && !c.may(a, acl.Address, message.FromKafkaName(name)) {
		return codeTopicDenied
	}
	return codeUnknownTopic
}

// topicFor finds a topic that something is to be done with.
func (c *conn) topicFor(a acl.Action, name string) (topic, code) {
	t, ok := c.srv.topicByName(name)
	switch {
	case !ok:
		return topic{}, c.absent(a, name)
	case !c.may(a, acl.Address, t.address()):
		return topic{}, codeTopicDenied
	}
	return t, codeNone
}

// groupFor tells why something is not to be done with a group here; codeNone: it is.
func (c *conn) groupFor(a acl.Action, group string) code {
	if !c.may(a, acl.Group, text(group)) {
		return codeGroupDenied
	}
	return c.coordinates(group)
}

// newestOf is groupFor for who is to be told what is the newest of a group.
func (c *conn) newestOf(a acl.Action, group string) code {
	k := c.srv.kernel
	if err := k.CatchUp(c.ctx, k.GroupShard(c.srv.cfg.Namespace, text(group))); err != nil {
		return groupCode(err)
	}
	return c.groupFor(a, group)
}

// forCluster tells why something is not to be done with the cluster.
func (c *conn) forCluster(a acl.Action) code {
	if !c.may(a, acl.Cluster, "") {
		return codeClusterDenied
	}
	return codeNone
}

// mayCreate tells whether a topic of that name may be made.
func (c *conn) mayCreate(name string) bool {
	return c.may(acl.Create, acl.Cluster, "") || c.may(acl.Create, acl.Address, message.FromKafkaName(name))
}

// visible lists the topics that the client may know of.
func (c *conn) visible() []topic {
	all := c.srv.topics()
	seen := all[:0]
	for _, t := range all {
		if c.may(acl.Describe, acl.Address, t.address()) {
			seen = append(seen, t)
		}
	}
	return seen
}

// operations returns which of a kind's operations the client may do, as the bit field of
// Kafka's operation codes that Metadata and its like have.
func (c *conn) operations(k acl.Kind, name string) (bits int32) {
	possible := int32(opsTopic)
	switch k {
	case acl.Group:
		possible = opsGroup
	case acl.Cluster:
		possible = opsCluster
	}
	for op, a := range operations {
		if a != 0 && possible&(1<<op) != 0 && c.may(a, k, name) {
			bits |= 1 << op
		}
	}
	return bits
}
