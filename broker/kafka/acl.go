package kafka

import "github.com/twmb/franz-go/pkg/kmsg"

// This file answers for access control lists, of which there are none: as Kafka does
// when authorizer.class.name is not set.

const noAuthorizer = "No Authorizer is configured."

func describeACLs(q *kmsg.DescribeACLsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.DescribeACLsResponse)
	resp.ErrorCode, resp.ErrorMessage = codeSecurityDisabled, kmsg.StringPtr(noAuthorizer)
	return resp
}

func createACLs(q *kmsg.CreateACLsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.CreateACLsResponse)
	for range q.Creations {
		r := kmsg.NewCreateACLsResponseResult()
		r.ErrorCode, r.ErrorMessage = codeSecurityDisabled, kmsg.StringPtr(noAuthorizer)
		resp.Results = append(resp.Results, r)
	}
	return resp
}

func deleteACLs(q *kmsg.DeleteACLsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.DeleteACLsResponse)
	for range q.Filters {
		r := kmsg.NewDeleteACLsResponseResult()
		r.ErrorCode, r.ErrorMessage = codeSecurityDisabled, kmsg.StringPtr(noAuthorizer)
		resp.Results = append(resp.Results, r)
	}
	return resp
}
