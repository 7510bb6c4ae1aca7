package kafka

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Elections and reassignments. Each shard has a node that is to lead it rather than the others: the first of
// its replicas. Which nodes those are is the cluster's own choice (package cluster/placement), and no client's.

// electWaitMax bounds how long one request waits for elections, whatever it asks for.
const electWaitMax = time.Minute

// Election types.
const (
	electPreferred = 0
	electUnclean   = 1
)

// electLeaders gives partitions back to the leader that they prefer. One changes hands with all
// others of its shard.
func (c *conn) electLeaders(q *kmsg.ElectLeadersRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.ElectLeadersResponse)
	resp.Topics = []kmsg.ElectLeadersResponseTopic{}
	if resp.ErrorCode = c.forCluster(acl.Alter); resp.ErrorCode != codeNone {
		return resp
	}
	cl := c.nodes()
	moving := make(map[uint32]error)   // shards that are to change hands, and what came of that
	asked := make(map[uint32]*refusal) // why others are not
	elect := func(t *topic, index int32) *refusal {
		shard, ok := t.shardOf(index)
		if !ok {
			return refusef(codeUnknownTopic, "No such partition as %s-%d", t.name, index)
		}
		no, before := asked[shard]
		if !before {
			no = cl.elect(shard, q.ElectionType)
			if asked[shard] = no; no == nil {
				moving[shard] = nil
			}
		}
		return no
	}
	type place struct {
		topic, part int
		shard       uint32
	}
	var places []place
	add := func(name string, parts []int32, all bool) {
		rt := kmsg.NewElectLeadersResponseTopic()
		rt.Topic = name
		t, known := c.srv.topicByName(name)
		for _, index := range parts {
			no := refusef(codeUnknownTopic, "No such topic as %s", name)
			if known {
				no = elect(&t, index)
			}
			if all && no != nil && no.code == codeElectionNotNeeded {
				continue
			}
			rp := kmsg.NewElectLeadersResponseTopicPartition()
			rp.Partition = index
			if no != nil {
				rp.ErrorCode, rp.ErrorMessage = no.code, no.text()
			} else {
				shard, _ := t.shardOf(index)
				places = append(places, place{len(resp.Topics), len(rt.Partitions), shard})
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		if len(rt.Partitions) > 0 {
			resp.Topics = append(resp.Topics, rt)
		}
	}
	if q.Topics == nil {
		for _, t := range c.srv.topics() {
			indexes := make([]int32, t.partitions())
			for i := range indexes {
				indexes[i] = int32(i)
			}
			add(t.name, indexes, true)
		}
	}
	for i := range q.Topics {
		add(q.Topics[i].Topic, q.Topics[i].Partitions, false)
	}
	c.move(cl, moving, time.Duration(max(q.TimeoutMillis, 0))*time.Millisecond)
	for _, at := range places {
		rp := &resp.Topics[at.topic].Partitions[at.part]
		switch err := moving[at.shard]; {
		case err == nil:
		case fault.Is(err, fault.Timeout):
			rp.ErrorCode = codeTimedOut
		default:
			no := refusef(codeNoPreferredLeader, "The preferred leader, node %d, could not be elected.", cl.shard(at.shard).replicas[0])
			rp.ErrorCode, rp.ErrorMessage = no.code, no.text()
		}
	}
	return resp
}

// elect tells why a shard is not to be led by the node that it prefers; nil: it is to be.
func (cl *cluster) elect(shard uint32, kind int8) *refusal {
	st := cl.shard(shard)
	notNeeded := refusef(codeElectionNotNeeded, "Leader election not needed for topic partition.")
	switch {
	case kind == electUnclean && st.code == codeNone:
		return notNeeded
	case kind == electUnclean:
		return refusef(codeNoEligibleLeaders, "There is no leader before a majority of the nodes is there: one without it could have lost what was acknowledged.")
	case kind != electPreferred:
		return refusef(codeInvalidRequest, "Unknown election type %d", kind)
	case st.leaderID() == st.replicas[0]:
		return notNeeded
	}
	if _, live := cl.node(st.replicas[0]); !live || st.code != codeNone {
		return refusef(codeNoPreferredLeader, "The preferred leader, node %d, was not available.", st.replicas[0])
	}
	return nil
}

// move has each of the shards led as it prefers, all at once.
func (c *conn) move(cl *cluster, moving map[uint32]error, most time.Duration) {
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	timer := c.srv.cfg.Link.AfterFunc(min(most, electWaitMax), cancel)
	defer timer.Stop()
	var mu sync.Mutex // guards moving
	var all sync.WaitGroup
	for _, shard := range slices.Collect(maps.Keys(moving)) {
		to := uint64(cl.shard(shard).replicas[0])
		all.Go(func() {
			err := c.srv.kernel.HandOver(ctx, shard, to)
			mu.Lock()
			moving[shard] = err
			mu.Unlock()
		})
	}
	all.Wait()
}

// alterPartitionReassignments takes the replicas that a partition has already, and no others.
func (c *conn) alterPartitionReassignments(q *kmsg.AlterPartitionAssignmentsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.AlterPartitionAssignmentsResponse)
	if resp.ErrorCode = c.forCluster(acl.Alter); resp.ErrorCode != codeNone {
		return resp
	}
	cl := c.nodes()
	for i := range q.Topics {
		rt := kmsg.NewAlterPartitionAssignmentsResponseTopic()
		rt.Topic = q.Topics[i].Topic
		t, known := c.srv.topicByName(rt.Topic)
		for _, p := range q.Topics[i].Partitions {
			rp := kmsg.NewAlterPartitionAssignmentsResponseTopicPartition()
			rp.Partition = p.Partition
			no := refusef(codeUnknownTopic, "This server does not host this topic-partition.")
			if shard, ok := uint32(0), known; ok {
				if shard, ok = t.shardOf(p.Partition); ok {
					no = cl.reassign(fmt.Sprintf("%s-%d", t.name, p.Partition), shard, p.Replicas)
				}
			}
			if no != nil {
				rp.ErrorCode, rp.ErrorMessage = no.code, no.text()
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

// reassign judges what replicas a partition is to have.
func (cl *cluster) reassign(name string, shard uint32, replicas []int32) *refusal {
	have := cl.shard(shard).replicas
	switch {
	case replicas == nil:
		return refusef(codeNoReassignment, "No partition reassignment is in progress.")
	case slices.Equal(replicas, have):
		return nil
	}
	if no := cl.assignable(replicas); no != nil {
		return no
	}
	return refusef(codeInvalidAssignment, "The cluster chooses the replicas: those of %s are %v, in this order, and cannot be %v.", name, have, replicas)
}

// assignable checks one manual assignment.
func (cl *cluster) assignable(replicas []int32) *refusal {
	if len(replicas) == 0 {
		return refusef(codeInvalidAssignment, "The manual partition assignment includes an empty replica list.")
	}
	sorted := slices.Sorted(slices.Values(replicas))
	for i, r := range sorted {
		switch {
		case i > 0 && r == sorted[i-1]:
			return refusef(codeInvalidAssignment, "The manual partition assignment includes the broker %d more than once.", r)
		case !slices.Contains(cl.all, r):
			return refusef(codeInvalidAssignment, "The manual partition assignment includes broker %d, but no such broker is registered.", r)
		}
	}
	if !slices.ContainsFunc(replicas, func(r int32) bool { return slices.Contains(cl.up, r) }) {
		return refusef(codeInvalidAssignment, "All brokers specified in the manual partition assignment are fenced or in controlled shutdown.")
	}
	return nil
}

// listPartitionReassignments: there is never one in progress.
func (c *conn) listPartitionReassignments(q *kmsg.ListPartitionReassignmentsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.ListPartitionReassignmentsResponse)
	resp.Topics = []kmsg.ListPartitionReassignmentsResponseTopic{}
	resp.ErrorCode = c.forCluster(acl.Describe)
	return resp
}
