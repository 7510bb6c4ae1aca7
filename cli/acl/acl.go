// Package acl holds the commands about the rules of access: who may do what, in every protocol.
package acl

import (
	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

// Command returns `rmq acl`.
func Command(e *env.Env) *cobra.Command {
	return env.Noun("acl", "Rules of access: who may do what, in every protocol",
		newList(e), newAdd(e), newRemove(e), newTest(e), newImport(e))
}

// everybody is WHO for a rule that names no user.
const everybody = "*"

const about = "WHO is a user, or * for everybody. ACTIONS are words with commas between them: read, write, readwrite, create, delete,\n" +
	"alter, describe, all, and those of the protocols (publish, subscribe, produce, consume, configure).\n\n" +
	"RESOURCE is a filter of addresses in MQTT's spelling, in which %u and %c stand for the user name and MQTT client id of\n" +
	"who asks; or group:NAME, transaction:NAME, or cluster."

// subject is the flags that say more of whom a rule is about.
type subject struct {
	client, host, namespace string
}

func (s *subject) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.client, "client", "", "only the MQTT client of this id")
	f.StringVar(&s.host, "host", "", "only who comes from this IP address, or range of them: 10.0.0.0/8")
	f.StringVar(&s.namespace, "namespace", adminapi.DefaultNamespace, "namespace (AMQP: virtual host)")
}

// spec is what add and remove share: one rule.
type spec struct {
	subject
	deny, begins, everywhere bool
	change                   env.Change
}

func (s *spec) flags(e *env.Env, cmd *cobra.Command) {
	s.subject.flags(cmd)
	f := cmd.Flags()
	f.BoolVar(&s.deny, "deny", false, "the rule denies, which beats all that allow")
	f.BoolVar(&s.begins, "begins", false, "RESOURCE is how the names begin")
	f.BoolVar(&s.everywhere, "every-namespace", false, "in every namespace")
	s.change.Flags(f, false)
	e.BrokerFlags(f)
}

func (s *spec) rule(args []string) (acl.Rule, error) {
	r := acl.Rule{Deny: s.deny, Client: s.client, Host: s.host, Namespace: s.namespace, Prefix: s.begins}
	if s.everywhere {
		r.Namespace = acl.AnyNamespace
	}
	if args[0] != everybody {
		r.User = args[0]
	}
	var err error
	if r.Actions, err = acl.ParseActions(args[1]); err == nil {
		r.Kind, r.Name = acl.ParseResource(args[2])
		err = r.Check()
	}
	if err != nil {
		return r, env.Failf(env.Usage, "%v", err)
	}
	return r.Canonical(), nil
}

func view(rules []acl.Rule) env.View {
	t := env.Table{Head: []string{"EFFECT", "WHO", "ACTIONS", "RESOURCE", "NAMESPACE"}}
	for i := range rules {
		r := &rules[i]
		ns := r.Namespace
		if ns == "" {
			ns = adminapi.DefaultNamespace
		}
		t.Rows = append(t.Rows, []any{r.Effect(), r.Who(), r.Actions.String(), r.Resource(), ns})
	}
	return env.View{
		Schema: adminapi.SchemaRules, Data: rules, Tables: []env.Table{t},
		Empty: "no rules: who is let in may do everything",
	}
}
