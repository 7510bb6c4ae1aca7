package kafka

import (
	"crypto/rand"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/kernel/group"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// This file is membership of classic consumer groups: find the coordinator, join, sync,
// heartbeat, leave. The machine is in kernel/group; here its answers get their codes.
//
// A join or sync that waits for other members holds its connection, as in Kafka: clients
// have one for their coordinator alone.

// groupCodes is Kafka's code of each of the machine's errors.
var groupCodes = [...]code{
	group.OK:                        codeNone,
	group.CoordinatorNotAvailable:   codeCoordinatorNone,
	group.IllegalGeneration:         codeIllegalGeneration,
	group.InconsistentGroupProtocol: codeInconsistentProtocol,
	group.UnknownMemberID:           codeUnknownMember,
	group.InvalidSessionTimeout:     codeInvalidSessionTimeout,
	group.RebalanceInProgress:       codeRebalanceInProgress,
	group.OffsetMetadataTooLarge:    codeMetadataTooLarge,
	group.InvalidCommitOffsetSize:   codeInvalidCommitSize,
	group.MemberIDRequired:          codeMemberIDRequired,
	group.GroupMaxSizeReached:       codeGroupMaxSize,
	group.FencedInstanceID:          codeFencedInstance,
	group.UnstableOffsetCommit:      codeUnstableCommit,
	group.GroupSubscribedToTopic:    codeSubscribedTopic,
	group.NonEmptyGroup:             codeNonEmptyGroup,
	group.GroupIDNotFound:           codeGroupNotFound,
}

func groupCodeOf(e group.Error) code {
	if int(e) < len(groupCodes) {
		return groupCodes[e]
	}
	return codeUnknown
}

// text makes a string valid UTF-8, which a Java broker's strings always are: what the
// machine is told has to come back the same from its log.
func text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func nullable(s *string) string {
	if s == nil {
		return ""
	}
	return text(*s)
}

// Coordinators that a client may look for.
const (
	coordinatorGroup = 0
	coordinatorTxn   = 1
)

// findCoordinator names the leader of each group's shard. There are no transactions, and no
// share groups.
func (c *conn) findCoordinator(q *kmsg.FindCoordinatorRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.FindCoordinatorResponse)
	cl := c.nodes()
	find := func(key string) (endpoint, *refusal) {
		none := endpoint{id: -1, port: -1}
		switch q.CoordinatorType {
		case coordinatorGroup:
			if !c.may(acl.Describe, acl.Group, text(key)) {
				return none, refusef(codeGroupDenied, "Group authorization failed.")
			}
			st := cl.shard(c.srv.kernel.GroupShard(c.srv.cfg.Namespace, text(key)))
			if st.code != codeNone {
				return none, refusef(codeCoordinatorNone, "The coordinator is not available.")
			}
			return st.leader, nil
		case coordinatorTxn:
			return none, refusef(noTransactions, "Transactions are not offered.")
		}
		return none, refusef(codeInvalidRequest, "Coordinators of type %d are not offered.", q.CoordinatorType)
	}
	if q.Version < 4 {
		n, no := find(q.CoordinatorKey)
		resp.NodeID, resp.Host, resp.Port = n.id, n.host, n.port
		if no != nil {
			resp.ErrorCode, resp.ErrorMessage = no.code, no.text()
		}
		return resp
	}
	for _, key := range q.CoordinatorKeys {
		n, no := find(key)
		rc := kmsg.NewFindCoordinatorResponseCoordinator()
		rc.Key, rc.NodeID, rc.Host, rc.Port = key, n.id, n.host, n.port
		if no != nil {
			rc.ErrorCode, rc.ErrorMessage = no.code, no.text()
		}
		resp.Coordinators = append(resp.Coordinators, rc)
	}
	return resp
}

func (c *conn) joinGroup(q *kmsg.JoinGroupRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.JoinGroupResponse)
	resp.Generation, resp.MemberID = -1, q.MemberID
	if q.Group == "" {
		resp.ErrorCode = codeInvalidGroup
		return resp
	}
	if resp.ErrorCode = c.groupFor(acl.Read, q.Group); resp.ErrorCode != codeNone {
		return resp
	}
	limits := &c.srv.cfg.Groups
	r := &group.JoinRequest{
		MemberID: text(q.MemberID), InstanceID: nullable(q.InstanceID),
		ClientID: text(c.client), ClientHost: clientHost(c.nc.RemoteAddr()),
		SessionTimeout: q.SessionTimeoutMillis, RebalanceTimeout: q.RebalanceTimeoutMillis, ProtocolType: text(q.ProtocolType),
		RequireKnown: q.Version >= 4 && q.InstanceID == nil, SkipAssignment: q.Version >= 9,
		MinSession: millis(limits.MinSession), MaxSession: millis(limits.MaxSession),
		MaxSize: limits.MaxSize, InitialDelay: millis(limits.InitialDelay),
	}
	if q.Version == 0 {
		r.RebalanceTimeout = r.SessionTimeout
	}
	r.NewMemberID = r.ClientID + "-" + newUUID()
	if r.InstanceID != "" {
		r.NewMemberID = r.InstanceID + "-" + newUUID()
	}
	for _, p := range q.Protocols {
		r.Protocols = append(r.Protocols, group.Protocol{Name: text(p.Name), Metadata: p.Metadata})
	}
	answer := make(chan *group.JoinResult, 1)
	c.srv.kernel.GroupJoin(c.srv.cfg.Namespace, text(q.Group), r, func(a *group.JoinResult) { answer <- a })
	var a *group.JoinResult
	select {
	case a = <-answer:
	case <-c.ctx.Done():
		resp.ErrorCode = codeNotCoordinator
		return resp
	}
	resp.ErrorCode, resp.Generation, resp.MemberID = groupCodeOf(a.Error), a.Generation, a.MemberID
	if a.Error != group.OK {
		return resp
	}
	resp.ProtocolType, resp.Protocol, resp.LeaderID, resp.SkipAssignment = &a.ProtocolType, &a.Protocol, a.Leader, a.SkipAssignment
	for i := range a.Members {
		m := &a.Members[i]
		rm := kmsg.NewJoinGroupResponseMember()
		rm.MemberID, rm.ProtocolMetadata = m.ID, m.Metadata
		if m.InstanceID != "" {
			rm.InstanceID = &m.InstanceID
		}
		resp.Members = append(resp.Members, rm)
	}
	return resp
}

func millis(d time.Duration) int32 { return int32(d / time.Millisecond) }

// clientHost spells an address as Java does.
func clientHost(a net.Addr) string {
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		host = a.String()
	}
	return "/" + text(host)
}

// newUUID returns a random one: what tells one member from another that has its client
// id, and must not be guessed.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func (c *conn) syncGroup(q *kmsg.SyncGroupRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.SyncGroupResponse)
	resp.MemberAssignment = []byte{}
	switch {
	case q.Group == "":
		resp.ErrorCode = codeInvalidGroup
		return resp
	case q.Version >= 5 && (q.ProtocolType == nil || q.Protocol == nil):
		resp.ErrorCode = codeInconsistentProtocol
		return resp
	}
	if resp.ErrorCode = c.groupFor(acl.Read, q.Group); resp.ErrorCode != codeNone {
		return resp
	}
	r := &group.SyncRequest{
		MemberID: text(q.MemberID), InstanceID: nullable(q.InstanceID), Generation: q.Generation,
		ProtocolType: nullable(q.ProtocolType), Protocol: nullable(q.Protocol),
	}
	for _, a := range q.GroupAssignment {
		r.Assignments = append(r.Assignments, group.Assignment{MemberID: text(a.MemberID), Data: a.MemberAssignment})
	}
	answer := make(chan *group.SyncResult, 1)
	c.srv.kernel.GroupSync(c.srv.cfg.Namespace, text(q.Group), r, func(a *group.SyncResult) { answer <- a })
	var a *group.SyncResult
	select {
	case a = <-answer:
	case <-c.ctx.Done():
		resp.ErrorCode = codeNotCoordinator
		return resp
	}
	resp.ErrorCode = groupCodeOf(a.Error)
	if a.Error != group.OK {
		return resp
	}
	resp.ProtocolType, resp.Protocol = &a.ProtocolType, &a.Protocol
	if a.Assignment != nil {
		resp.MemberAssignment = a.Assignment
	}
	return resp
}

func (c *conn) heartbeat(q *kmsg.HeartbeatRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.HeartbeatResponse)
	if q.Group == "" {
		resp.ErrorCode = codeInvalidGroup
		return resp
	}
	if resp.ErrorCode = c.groupFor(acl.Read, q.Group); resp.ErrorCode != codeNone {
		return resp
	}
	e := c.srv.kernel.GroupHeartbeat(c.srv.cfg.Namespace, text(q.Group), text(q.MemberID), nullable(q.InstanceID), q.Generation)
	resp.ErrorCode = groupCodeOf(e)
	return resp
}

// leaveGroup removes one member, or, from version 3 on, several: what an operator does to
// static ones.
func (c *conn) leaveGroup(q *kmsg.LeaveGroupRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.LeaveGroupResponse)
	if q.Group == "" {
		resp.ErrorCode = codeInvalidGroup
		return resp
	}
	if resp.ErrorCode = c.groupFor(acl.Read, q.Group); resp.ErrorCode != codeNone {
		return resp
	}
	leaving := []group.LeaveMember{{MemberID: text(q.MemberID)}}
	if q.Version >= 3 {
		leaving = leaving[:0]
		for _, m := range q.Members {
			leaving = append(leaving, group.LeaveMember{MemberID: text(m.MemberID), InstanceID: nullable(m.InstanceID)})
		}
		if len(leaving) == 0 {
			return resp
		}
	}
	errs, err := c.srv.kernel.GroupLeave(c.ctx, c.srv.cfg.Namespace, text(q.Group), leaving)
	if err != nil {
		resp.ErrorCode = groupCode(err)
		return resp
	}
	if q.Version < 3 {
		resp.ErrorCode = groupCodeOf(errs[0])
		return resp
	}
	for i := range q.Members {
		m := kmsg.NewLeaveGroupResponseMember()
		m.MemberID, m.InstanceID, m.ErrorCode = q.Members[i].MemberID, q.Members[i].InstanceID, groupCodeOf(errs[i])
		resp.Members = append(resp.Members, m)
	}
	return resp
}
