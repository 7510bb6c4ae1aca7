package kafka

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/message"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// This file is Kafka's requests about access control lists, over the broker's rules of access.
//
// An ACL of Kafka is one action of one rule. "User:*" is a rule about everybody, the literal
// "*" one about every name; a literal topic may have "*" and "#" as levels, which are wildcards
// here and no part of any topic's name in Kafka: by them rules are shown that Kafka has no word
// for. Rules about MQTT client ids, and of other namespaces, are no concern of Kafka's clients
// and not shown.

const noAuthorizer = "No Authorizer is configured."

// operations are the actions by Kafka's operation code; 0: none of ours.
var operations = [...]acl.Action{
	kmsg.ACLOperationAll: acl.All, kmsg.ACLOperationRead: acl.Read, kmsg.ACLOperationWrite: acl.Write, kmsg.ACLOperationCreate: acl.Create,
	kmsg.ACLOperationDelete: acl.Delete, kmsg.ACLOperationAlter: acl.Alter, kmsg.ACLOperationDescribe: acl.Describe,
	kmsg.ACLOperationClusterAction: acl.ClusterAction, kmsg.ACLOperationDescribeConfigs: acl.DescribeConfigs,
	kmsg.ACLOperationAlterConfigs: acl.AlterConfigs, kmsg.ACLOperationIdempotentWrite: acl.IdempotentWrite,
}

func operationOf(op kmsg.ACLOperation) (acl.Action, bool) {
	if op < 0 || int(op) >= len(operations) || operations[op] == 0 {
		return 0, false
	}
	return operations[op], true
}

var kindOfResource = map[kmsg.ACLResourceType]acl.Kind{
	kmsg.ACLResourceTypeTopic: acl.Address, kmsg.ACLResourceTypeGroup: acl.Group,
	kmsg.ACLResourceTypeCluster: acl.Cluster, kmsg.ACLResourceTypeTransactionalId: acl.Transaction,
}

func resourceOf(k acl.Kind) kmsg.ACLResourceType {
	for r, kind := range kindOfResource {
		if kind == k {
			return r
		}
	}
	return kmsg.ACLResourceTypeUnknown
}

const (
	clusterName   = "kafka-cluster"
	principalType = "User:"
	everyName     = "*"
	everyHost     = "*"
)

// binding is one ACL as Kafka has it.
type binding struct {
	resource  kmsg.ACLResourceType
	name      string
	pattern   kmsg.ACLResourcePatternType
	principal string
	host      string
	operation kmsg.ACLOperation
	effect    kmsg.ACLPermissionType
}

// bindings are a rule's, one for each of its actions; none when it is not about Kafka's clients.
func (c *conn) bindings(r *acl.Rule) []binding {
	if r.Client != "" || !r.In(c.srv.cfg.Namespace) {
		return nil
	}
	b := binding{
		resource: resourceOf(r.Kind), principal: principalType + everyName, host: everyHost, pattern: kmsg.ACLResourcePatternTypeLiteral,
		effect: kmsg.ACLPermissionTypeAllow,
	}
	if r.User != "" {
		b.principal = principalType + r.User
	}
	if r.Host != "" {
		b.host = r.Host
	}
	if r.Deny {
		b.effect = kmsg.ACLPermissionTypeDeny
	}
	switch {
	case r.Kind == acl.Cluster:
		b.name = clusterName
	case r.Prefix && r.Name == "":
		b.name = everyName
	case r.Prefix:
		b.name, b.pattern = r.Name, kmsg.ACLResourcePatternTypePrefixed
	default:
		b.name = r.Name
	}
	if r.Kind == acl.Address && b.name != everyName {
		if b.name = filterName(r.Name); r.Prefix {
			b.name = message.KafkaName(r.Name)
		}
	}
	var out []binding
	for op, a := range operations {
		if a != 0 && (a == r.Actions || r.Actions != acl.All && r.Actions&a == a) {
			b.operation = kmsg.ACLOperation(op)
			out = append(out, b)
		}
	}
	return out
}

// filterName spells a filter of addresses as a topic name, with "*" and "#" for its wildcards,
// and placeholders as they are.
func filterName(filter string) string {
	if !strings.ContainsAny(filter, "+#%") {
		return message.KafkaName(filter)
	}
	levels := strings.Split(filter, "/")
	for i, l := range levels {
		switch l {
		case "", "#", "%u", "%c":
		case "+":
			levels[i] = "*"
		default:
			levels[i] = message.KafkaName(l)
		}
	}
	if len(levels) == 1 && levels[0] == "*" {
		return "+" // the name "*" is every topic
	}
	return strings.Join(levels, ".")
}

// nameFilter is its reverse.
func nameFilter(name string) string {
	levels := strings.Split(name, ".")
	for i, l := range levels {
		switch l {
		case "", "#", "%u", "%c":
		case "+":
		case "*":
			levels[i] = "+"
		default:
			levels[i] = message.FromKafkaName(l)
		}
	}
	return strings.Join(levels, "/")
}

// rule makes a rule of an ACL.
func (c *conn) rule(b *binding) (acl.Rule, *refusal) {
	r := acl.Rule{Namespace: c.srv.cfg.Namespace, Deny: b.effect == kmsg.ACLPermissionTypeDeny, Prefix: b.pattern == kmsg.ACLResourcePatternTypePrefixed}
	kind, ok := kindOfResource[b.resource]
	a, known := operationOf(b.operation)
	user, isUser := strings.CutPrefix(b.principal, principalType)
	switch {
	case !ok:
		return r, refusef(codeInvalidRequest, "Resources of type %d have no ACLs here", b.resource)
	case !known:
		return r, refusef(codeInvalidRequest, "Operation %d is not offered", b.operation)
	case !isUser || user == "":
		return r, refusef(codeInvalidRequest, "Could not parse principal from `%.200s` (no User: and a name)", b.principal)
	case b.effect != kmsg.ACLPermissionTypeAllow && b.effect != kmsg.ACLPermissionTypeDeny:
		return r, refusef(codeInvalidRequest, "Invalid permission type %d", b.effect)
	case !r.Prefix && b.pattern != kmsg.ACLResourcePatternTypeLiteral:
		return r, refusef(codeInvalidRequest, "Invalid pattern type %d", b.pattern)
	case b.name == "":
		return r, refusef(codeInvalidRequest, "Resource name should not be empty")
	case kind == acl.Cluster && (b.name != clusterName || r.Prefix):
		return r, refusef(codeInvalidRequest, "The only valid name for the CLUSTER resource is kafka-cluster")
	}
	r.Kind, r.Actions = kind, a
	if user != everyName {
		r.User = user
	}
	if b.host != everyHost {
		if _, err := netip.ParseAddr(b.host); err != nil {
			if _, err := netip.ParsePrefix(b.host); err != nil {
				return r, refusef(codeInvalidRequest, "The host %.200q is neither an IP address nor *", b.host)
			}
		}
		r.Host = b.host
	}
	switch {
	case kind == acl.Cluster:
	case b.name == everyName && !r.Prefix:
		r.Prefix = true
	case kind != acl.Address:
		r.Name = b.name
	case r.Prefix || message.ValidKafkaName(b.name):
		r.Name = message.FromKafkaName(b.name)
		if !r.Prefix && slices.ContainsFunc(strings.Split(r.Name, "/"), func(l string) bool { return l == "%u" || l == "%c" }) {
			return r, refusef(codeInvalidRequest, "%.300s is a topic that no ACL can be about", b.name)
		}
	default:
		r.Name = nameFilter(b.name)
	}
	if err := r.Check(); err != nil {
		return r, refusef(codeInvalidRequest, "%v", err)
	}
	return r, nil
}

// matches tells whether an ACL passes a filter. nil names match any.
func (b *binding) matches(f *binding, name, principal, host *string) bool {
	anyOf := func(kind, all, want int8) bool { return want == all || want == kind }
	if !anyOf(int8(b.resource), int8(kmsg.ACLResourceTypeAny), int8(f.resource)) ||
		!anyOf(int8(b.operation), int8(kmsg.ACLOperationAny), int8(f.operation)) ||
		!anyOf(int8(b.effect), int8(kmsg.ACLPermissionTypeAny), int8(f.effect)) ||
		principal != nil && *principal != b.principal || host != nil && *host != b.host {
		return false
	}
	switch f.pattern {
	case kmsg.ACLResourcePatternTypeAny:
	case kmsg.ACLResourcePatternTypeMatch:
		return name == nil || b.name == *name || b.name == everyName || b.pattern == kmsg.ACLResourcePatternTypePrefixed && strings.HasPrefix(*name, b.name)
	default:
		if b.pattern != f.pattern {
			return false
		}
	}
	return name == nil || b.name == *name
}

// find returns the ACLs that pass a filter, in the order of the rules.
func (c *conn) find(f *binding, name, principal, host *string) []binding {
	rules := c.srv.kernel.Rules()
	slices.SortFunc(rules, func(a, b acl.Rule) int { return acl.Compare(&a, &b) })
	var out []binding
	for i := range rules {
		for _, b := range c.bindings(&rules[i]) {
			if b.matches(f, name, principal, host) {
				out = append(out, b)
			}
		}
	}
	return out
}

// authorizer tells why requests about ACLs are not for this client.
func (c *conn) authorizer(a acl.Action) *refusal {
	switch {
	case c.srv.cfg.Authenticator == nil:
		return refusef(codeSecurityDisabled, noAuthorizer)
	case c.forCluster(a) != codeNone:
		return refusef(codeClusterDenied, "Cluster authorization failed.")
	}
	return nil
}

func (c *conn) describeACLs(q *kmsg.DescribeACLsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.DescribeACLsResponse)
	if no := c.authorizer(acl.Describe); no != nil {
		resp.ErrorCode, resp.ErrorMessage = no.code, no.text()
		return resp
	}
	f := binding{resource: q.ResourceType, pattern: q.ResourcePatternType, operation: q.Operation, effect: q.PermissionType}
	for _, b := range c.find(&f, q.ResourceName, q.Principal, q.Host) {
		n := len(resp.Resources)
		if n == 0 || resp.Resources[n-1].ResourceType != b.resource || resp.Resources[n-1].ResourceName != b.name || resp.Resources[n-1].ResourcePatternType != b.pattern {
			r := kmsg.NewDescribeACLsResponseResource()
			r.ResourceType, r.ResourceName, r.ResourcePatternType = b.resource, b.name, b.pattern
			resp.Resources = append(resp.Resources, r)
			n++
		}
		a := kmsg.NewDescribeACLsResponseResourceACL()
		a.Principal, a.Host, a.Operation, a.PermissionType = b.principal, b.host, b.operation, b.effect
		resp.Resources[n-1].ACLs = append(resp.Resources[n-1].ACLs, a)
	}
	return resp
}

func (c *conn) createACLs(q *kmsg.CreateACLsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.CreateACLsResponse)
	off := c.authorizer(acl.Alter)
	var rules []acl.Rule
	var of []int // the result of each rule
	for i := range q.Creations {
		a := &q.Creations[i]
		r := kmsg.NewCreateACLsResponseResult()
		no := off
		if no == nil {
			var rule acl.Rule
			rule, no = c.rule(&binding{a.ResourceType, a.ResourceName, a.ResourcePatternType, a.Principal, a.Host, a.Operation, a.PermissionType})
			if no == nil {
				rules, of = append(rules, rule), append(of, i)
			}
		}
		if no != nil {
			r.ErrorCode, r.ErrorMessage = no.code, no.text()
		}
		resp.Results = append(resp.Results, r)
	}
	if len(rules) == 0 {
		return resp
	}
	ctx, cancel := context.WithTimeout(c.ctx, changeMax)
	defer cancel()
	if _, err := c.srv.kernel.PutRules(ctx, rules); err != nil {
		no := refusef(createCode(err), "The rules were not kept.")
		if fault.Is(err, fault.Exhausted) {
			no = refusef(codePolicyViolation, "At most %d rules are kept.", acl.RulesMax)
		}
		for _, i := range of {
			resp.Results[i].ErrorCode, resp.Results[i].ErrorMessage = no.code, no.text()
		}
	}
	return resp
}

func (c *conn) deleteACLs(q *kmsg.DeleteACLsRequest) kmsg.Response {
	resp := q.ResponseKind().(*kmsg.DeleteACLsResponse)
	off := c.authorizer(acl.Alter)
	ctx, cancel := context.WithTimeout(c.ctx, changeMax)
	defer cancel()
	for i := range q.Filters {
		f := &q.Filters[i]
		r := kmsg.NewDeleteACLsResponseResult()
		no := off
		if no == nil {
			found := c.find(&binding{resource: f.ResourceType, pattern: f.ResourcePatternType, operation: f.Operation, effect: f.PermissionType},
				f.ResourceName, f.Principal, f.Host)
			var rules []acl.Rule
			for j := range found {
				b := &found[j]
				m := kmsg.NewDeleteACLsResponseResultMatchingACL()
				m.ResourceType, m.ResourceName, m.ResourcePatternType = b.resource, b.name, b.pattern
				m.Principal, m.Host, m.Operation, m.PermissionType = b.principal, b.host, b.operation, b.effect
				r.MatchingACLs = append(r.MatchingACLs, m)
				if rule, bad := c.rule(b); bad == nil {
					rules = append(rules, rule)
				}
			}
			if len(rules) > 0 {
				if _, err := c.srv.kernel.DeleteRules(ctx, rules); err != nil {
					no = refusalOf(createCode(err))
				}
			}
		}
		if no != nil {
			r.ErrorCode, r.ErrorMessage, r.MatchingACLs = no.code, no.text(), nil
		}
		resp.Results = append(resp.Results, r)
	}
	return resp
}
