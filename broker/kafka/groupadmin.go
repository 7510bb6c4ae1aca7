package kafka

import (
	"slices"
	"strings"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/kernel/group"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// groupType is how ListGroups calls what this file describes; the other types are of
// protocols that are not offered.
const groupType = "classic"

func (c *conn) describeGroups(q *kmsg.DescribeGroupsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.DescribeGroupsResponse)
	for _, id := range q.Groups {
		rg := kmsg.NewDescribeGroupsResponseGroup()
		rg.Group = id
		if q.IncludeAuthorizedOperations {
			rg.AuthorizedOperations = c.operations(acl.Group, text(id))
		}
		if rg.ErrorCode = c.newestOf(acl.Describe, id); rg.ErrorCode != codeNone {
			resp.Groups = append(resp.Groups, rg)
			continue
		}
		var d group.Description
		if !c.srv.kernel.GroupRead(c.srv.cfg.Namespace, text(id), func(g *group.Group) { d = g.Describe() }) {
			rg.State = group.Dead.String()
			if q.Version >= 6 {
				rg.ErrorCode, rg.ErrorMessage = codeGroupNotFound, kmsg.StringPtr("Group "+id+" not found.")
			}
			resp.Groups = append(resp.Groups, rg)
			continue
		}
		rg.State, rg.ProtocolType, rg.Protocol = d.State.String(), d.ProtocolType, d.Protocol
		for i := range d.Members {
			m := &d.Members[i]
			rm := kmsg.NewDescribeGroupsResponseGroupMember()
			rm.MemberID, rm.ClientID, rm.ClientHost = m.ID, m.ClientID, m.ClientHost
			rm.ProtocolMetadata, rm.MemberAssignment = m.Metadata, m.Assignment
			if m.InstanceID != "" {
				rm.InstanceID = &m.InstanceID
			}
			rg.Members = append(rg.Members, rm)
		}
		resp.Groups = append(resp.Groups, rg)
	}
	return resp
}

// listGroups lists the groups that this node coordinates: a client asks every node.
func (c *conn) listGroups(q *kmsg.ListGroupsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.ListGroupsResponse)
	resp.Groups = []kmsg.ListGroupsResponseGroup{}
	if !oneOf(q.TypesFilter, groupType) {
		return resp
	}
	all := c.may(acl.Describe, acl.Cluster, "")
	c.srv.kernel.Groups(c.srv.cfg.Namespace, func(id string, g *group.Group) {
		if !all && !c.may(acl.Describe, acl.Group, id) {
			return
		}
		if state := g.State().String(); oneOf(q.StatesFilter, state) && c.coordinates(id) == codeNone {
			rg := kmsg.NewListGroupsResponseGroup()
			rg.Group, rg.ProtocolType, rg.GroupState, rg.GroupType = id, g.Describe().ProtocolType, state, groupType
			resp.Groups = append(resp.Groups, rg)
		}
	})
	slices.SortFunc(resp.Groups, func(a, b kmsg.ListGroupsResponseGroup) int { return strings.Compare(a.Group, b.Group) })
	return resp
}

// oneOf tells whether a filter lets a name pass; an empty one lets all.
func oneOf(filter []string, name string) bool {
	return len(filter) == 0 || slices.ContainsFunc(filter, func(f string) bool { return strings.EqualFold(f, name) })
}

func (c *conn) deleteGroups(q *kmsg.DeleteGroupsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.DeleteGroupsResponse)
	for _, id := range q.Groups {
		rg := kmsg.NewDeleteGroupsResponseGroup()
		rg.Group = id
		if id == "" {
			rg.ErrorCode = codeInvalidGroup
		} else if no := c.groupFor(acl.Delete, id); no != codeNone {
			rg.ErrorCode = no
		} else if e, err := c.srv.kernel.GroupDelete(c.ctx, c.srv.cfg.Namespace, text(id)); err != nil {
			rg.ErrorCode = groupCode(err)
		} else {
			rg.ErrorCode = groupCodeOf(e)
		}
		resp.Groups = append(resp.Groups, rg)
	}
	return resp
}
