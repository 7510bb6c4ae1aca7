package kafka

import (
	"encoding/binary"
	"net"
	"net/url"
	"slices"
	"strconv"

	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/wire"
)

// Many nodes. Every node keeps every partition and every group, but Kafka's clients are told
// that one leads, and count on what only one can promise: that who has been answered there finds
// there what he was answered. So a node answers for what it leads, and names the leader of the rest.
//
// A partition's leader is its shard's, and its leader epoch is that one's term. The coordinator of a
// group is who leads the group's shard; the controller is who leads log 0.

// endpoint is a node as clients are told of it.
type endpoint struct {
	id   int32
	host string
	port int32
	rack *string
}

// cluster is what one request is told of the nodes and of who leads: of each shard once, so that all of
// an answer agrees.
type cluster struct {
	srv    *Server
	self   int32
	live   []endpoint // that clients can reach, by id
	fenced []endpoint // that are down, by id
	all    []int32    // the nodes, by id
	up     []int32    // of those, the ones that are not down

	shards map[uint32]*standing
}

// standing is who leads a shard, and who keeps it.
type standing struct {
	code     code // none, or why nobody is named as its leader
	leader   endpoint
	epoch    int32
	replicas []int32 // who keeps it; who is to lead it rather than the others first
	isr      []int32
	offline  []int32
}

// nodes looks who is there. This node is where the client has found it.
func (c *conn) nodes() *cluster {
	s := c.srv
	cl := &cluster{srv: s, self: s.cfg.NodeID, shards: make(map[uint32]*standing)}
	here := endpoint{id: cl.self}
	here.host, here.port = c.advertised()
	scheme := "kafka"
	if wire.PeerOf(c.nc).Transport == wire.TransportTLS {
		scheme = "kafkas"
	}
	if !s.kernel.Clustered() {
		cl.live, cl.all, cl.up = []endpoint{here}, []int32{cl.self}, []int32{cl.self}
		return cl
	}
	for _, n := range s.kernel.Nodes() {
		if n.Down && s.leads(n.ID) { // it is back, and log 0 does not say so yet
			n.Down = false
		}
		id := int32(n.ID)
		cl.all = append(cl.all, id)
		at, reachable := endpointOf(&n, scheme)
		if id == cl.self {
			here.rack = at.rack
			at, reachable, n.Down = here, true, false
		}
		switch {
		case n.Down && reachable:
			cl.fenced = append(cl.fenced, at)
		case n.Down:
		default:
			cl.up = append(cl.up, id)
			if reachable {
				cl.live = append(cl.live, at)
			}
		}
	}
	return cl
}

// leads tells whether a node leads a shard, as far as this one knows.
func (s *Server) leads(node uint64) bool {
	return slices.ContainsFunc(s.kernel.ShardIDs(), func(shard uint32) bool {
		leader, _ := s.kernel.Leadership(shard)
		return leader == node
	})
}

// endpointOf is where a node has said that Kafka's clients find it, who speak TLS (kafkas) or do not
// (kafka); false: it did not say.
func endpointOf(n *kernel.Node, scheme string) (endpoint, bool) {
	at := endpoint{id: int32(n.ID)}
	if n.Rack != "" {
		at.rack = &n.Rack
	}
	u, err := url.Parse(n.Addresses[scheme])
	if err != nil {
		return at, false
	}
	host, port, err := net.SplitHostPort(u.Host)
	if err != nil {
		return at, false
	}
	number, err := strconv.ParseUint(port, 10, 16)
	at.host, at.port = host, int32(number)
	return at, err == nil
}

// node finds one that clients can reach.
func (cl *cluster) node(id int32) (endpoint, bool) {
	for _, n := range cl.live {
		if n.id == id {
			return n, true
		}
	}
	return endpoint{}, false
}

// controller is the node that leads log 0; -1: none does.
func (cl *cluster) controller() int32 {
	if st := cl.shard(0); st.code == codeNone {
		return st.leader.id
	}
	return -1
}

// shard looks who leads a shard.
func (cl *cluster) shard(id uint32) *standing {
	st := cl.shards[id]
	if st != nil {
		return st
	}
	st = &standing{offline: []int32{}}
	cl.shards[id] = st
	leader, epoch := cl.srv.kernel.Leadership(id)
	st.epoch = epoch
	at, known := int32(leader), leader != 0
	if cl.srv.kernel.Clustered() {
		for _, n := range cl.srv.kernel.Keepers(id) {
			st.replicas = append(st.replicas, int32(n))
		}
	} else {
		at, st.replicas = cl.self, cl.all
	}
	for _, n := range st.replicas {
		if slices.Contains(cl.up, n) {
			st.isr = append(st.isr, n)
		} else {
			st.offline = append(st.offline, n)
		}
	}
	var reachable bool
	switch st.leader, reachable = cl.node(at); {
	case reachable:
	case known && slices.Contains(cl.up, at):
		st.code = codeListenerNotFound
	default:
		st.code = codeLeaderNone
	}
	return st
}

// leaderID is the leader as Metadata spells it.
func (st *standing) leaderID() int32 {
	if st.code != codeNone {
		return -1
	}
	return st.leader.id
}

// shardOf is where a partition lives; false: there is no such partition.
func (t *topic) shardOf(index int32) (uint32, bool) {
	if index < 0 || index >= t.partitions() {
		return 0, false
	}
	if t.view() {
		index = t.home
	}
	if int(index) >= len(t.stream.Logs) {
		return 0, false
	}
	return t.stream.Logs[index].Shard, true
}

// partition is shard for a partition, which must be one of the topic.
func (cl *cluster) partition(t *topic, index int32) *standing {
	shard, _ := t.shardOf(index)
	return cl.shard(shard)
}

// answers tells whether this node is to answer for a partition to a client that knows its leader by
// an epoch; -1: it does not say (KIP-320).
func (s *Server) answers(p *kernel.Partition, theirs int32) code {
	if p.Leads() {
		return checkEpoch(theirs, p.Epoch())
	}
	_, ours := s.kernel.Leadership(p.Shard())
	if c := checkEpoch(theirs, ours); c != codeNone {
		return c
	}
	return codeNotLeader
}

// newest is answers for who is to be told what is the newest of a partition: it has first applied what other nodes
// may have answered for.
func (c *conn) newest(p *kernel.Partition, theirs int32) code {
	if err := p.CatchUp(c.ctx); err != nil {
		return codeOf(err)
	}
	return c.srv.answers(p, theirs)
}

// coordinates tells whether this node answers for a group.
func (c *conn) coordinates(group string) code {
	k := c.srv.kernel
	shard := k.GroupShard(c.srv.cfg.Namespace, text(group))
	if k.Leads(shard) {
		return codeNone
	}
	switch leader, _ := k.Leadership(shard); leader {
	case 0:
		return codeCoordinatorNone
	case k.Self(): // it has been elected, and has not caught up
		return codeCoordinatorLoading
	}
	return codeNotCoordinator
}

// leaders gathers whom an answer names as leaders in place of this node (KIP-951).
type leaders struct {
	cl    *cluster // nil: nobody was asked for
	named []endpoint
}

// currentLeader is who leads a partition, as an answer about that spells it.
type currentLeader struct{ id, epoch int32 }

// noLeader says nothing.
var noLeader = currentLeader{-1, -1}

// of names the leader of a shard.
func (l *leaders) of(c *conn, shard uint32) currentLeader {
	if l.cl == nil {
		l.cl = c.nodes()
	}
	st := l.cl.shard(shard)
	if st.code != codeNone {
		return noLeader
	}
	if !slices.ContainsFunc(l.named, func(n endpoint) bool { return n.id == st.leader.id }) {
		l.named = append(l.named, st.leader)
	}
	return currentLeader{st.leader.id, st.epoch}
}

// append writes a tagged field: leader and leader epoch. Nothing where nobody is named.
func (l currentLeader) append(b []byte, tag byte) []byte {
	if l == noLeader {
		return b
	}
	b = append(b, tag, 9)
	b = binary.BigEndian.AppendUint32(b, uint32(l.id))
	b = binary.BigEndian.AppendUint32(b, uint32(l.epoch))
	return append(b, 0)
}

// appendTags writes the tagged fields of a whole answer: those that were named, under tag 0.
func (l *leaders) appendTags(b []byte) []byte {
	if len(l.named) == 0 {
		return append(b, 0)
	}
	list := appendCompactLen(nil, len(l.named))
	for _, n := range l.named {
		list = binary.BigEndian.AppendUint32(list, uint32(n.id))
		list = appendString(list, n.host, true)
		list = binary.BigEndian.AppendUint32(list, uint32(n.port))
		if n.rack == nil {
			list = append(list, 0)
		} else {
			list = appendString(list, *n.rack, true)
		}
		list = append(list, 0)
	}
	b = append(b, 1, 0)
	b = binary.AppendUvarint(b, uint64(len(list)))
	return append(b, list...)
}
