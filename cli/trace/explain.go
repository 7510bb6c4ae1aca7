package trace

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
	"github.com/robustmq/rmq/cli/link"
)

// explain is one run of `rmq explain`.
type explain struct {
	e       *env.Env
	q       adminapi.ExplainQuestion
	qos     int
	size    env.Size
	headers []string
}

// NewExplain returns `rmq explain`.
func NewExplain(e *env.Env) *cobra.Command {
	x := &explain{e: e, size: 1}
	cmd := &cobra.Command{
		Use:   "explain TARGET",
		Short: "Tell who would get a message, and who would not, and why",
		Long: "Tell who would get a message that is published to TARGET now: the stream that keeps it, queues, shared subscriptions\n" +
			"and the client that is next, sessions, the retained message; each with the filter or the bindings that lead there.\n" +
			"And who would not, of whom one might think so: filters and bindings that nearly match, with the place where they\n" +
			"differ; clients that may not read it, that are away, or have asked for nothing of their own; queues that are full.\n" +
			"Nothing is published. It is routed by the code that a publish is routed by.\n\n" +
			"TARGET is as for rmq produce, on this broker: mqtt:a/b, kafka:orders, amqp:EXCHANGE/KEY, amqp:queue:NAME.\n" +
			"The exit code is 9 when nobody would get it.",
		Example: "  rmq explain mqtt:sensors/dev1/temp\n" +
			"  rmq explain amqp:amq.headers/ -H type=report -H format=pdf\n" +
			"  rmq explain mqtt:sensors/dev1/temp --qos 0 --as ann --client dev1 -o json",
		Args:              env.Exactly("TARGET"),
		ValidArgsFunction: e.Complete(targets),
		RunE:              func(cmd *cobra.Command, args []string) error { return x.run(cmd.Context(), args[0]) },
	}
	f := cmd.Flags()
	env.NamespaceFlag(f, &x.q.Namespace)
	f.IntVar(&x.qos, "qos", 1, "QoS that it is published at; of Kafka 0 stands for acks=0")
	f.BoolVar(&x.q.Retain, "retain", false, "published with RETAIN")
	f.StringArrayVarP(&x.headers, "header", "H", nil, "header (MQTT: user property), as name=value; repeatable")
	f.StringArrayVar(&x.q.CC, "cc", nil, "AMQP: a further routing key; repeatable")
	f.Var(&x.size, "size", "bytes that it carries")
	f.StringVar(&x.q.User, "as", "", "the user who publishes it")
	f.StringVar(&x.q.Client, "client", "", "the MQTT client id that publishes it")
	f.StringVar(&x.q.Host, "host", "", "the IP address that it is published from")
	e.BrokerFlags(f)
	return cmd
}

// targets lists what there is to publish to.
func targets(ctx context.Context, c *adminapi.Client) ([]string, error) {
	var out []string
	topics, err := c.Topics(ctx, adminapi.Query{Limit: adminapi.ListMax})
	for _, t := range topics {
		out = append(out, "mqtt:"+t.Names.MQTT, "kafka:"+t.Names.Kafka)
	}
	queues, err2 := c.Queues(ctx, adminapi.Query{Limit: adminapi.ListMax})
	for _, q := range queues {
		out = append(out, "amqp:queue:"+q.Name)
	}
	if err == nil {
		err = err2
	}
	return out, err
}

func (x *explain) run(ctx context.Context, target string) error {
	if err := x.ask(target); err != nil {
		return err
	}
	nodes, warnings, err := x.e.EveryNode(ctx)
	if err != nil {
		return err
	}
	answers, lost, err := env.AskEvery(ctx, nodes, func(ctx context.Context, n env.NodeClient) (adminapi.Explanation, error) { return n.Explain(ctx, x.q) })
	if err != nil {
		return err
	}
	all := answers[0]
	for _, other := range answers[1:] {
		all = merge(all, other)
	}
	view := explanationView(&all)
	view.Warnings = append(warnings, lost...)
	if all.Unlooked {
		view.Warnings = append(view.Warnings, "there are too many subscriptions to look at all for those that nearly match")
	}
	if err := x.e.Print(view); err != nil {
		return err
	}
	switch {
	case all.Refused != "" && !all.Access.Allowed:
		return env.Failf(env.Negative, "nobody would get it: %s", env.Clean(all.Refused))
	case len(all.Targets) == 0 && all.Refused == "":
		f := env.Failf(env.Negative, "nobody would get it")
		if len(all.Misses) > 0 {
			f.Hint = "near are " + env.Clean(all.Misses[0].Kind+" "+all.Misses[0].Name+": "+all.Misses[0].Why)
		}
		return f
	}
	return nil
}

// ask fills in the question.
func (x *explain) ask(target string) error {
	t, err := link.ParseTarget(target)
	if err != nil {
		return err
	}
	q := &x.q
	switch {
	case t.Address != "" || t.User != "":
		f := env.Failf(env.Usage, "%s is a broker elsewhere", env.Clean(target))
		f.Hint = "rmq explain " + env.Quote(t.Name()) + " --url http://host:15672"
		return f
	case t.Partition != nil:
		f := env.Failf(env.Usage, "%s: which partition is the producer's choice", env.Clean(target))
		f.Hint = "rmq explain " + env.Quote("kafka:"+t.Topic)
		return f
	case x.qos < 0 || x.qos > 2:
		return env.Failf(env.Usage, "--qos %d is none of 0, 1, 2", x.qos)
	}
	q.Protocol, q.Topic, q.Exchange, q.Key, q.QoS, q.Size = t.Protocol, t.Topic, t.Exchange, t.Key, uint8(x.qos), int(x.size)
	if t.Queue != "" {
		q.Key = t.Queue
	}
	if q.Exchange == env.DefaultExchange {
		q.Exchange = ""
	}
	for _, s := range x.headers {
		name, value, err := env.Pair(s)
		if err != nil {
			return env.Failf(env.Usage, "--header: %v", err)
		}
		if q.Headers == nil {
			q.Headers = map[string]string{}
		}
		q.Headers[name] = value
	}
	return nil
}

// merge joins what two nodes say: of routing they know the same, but each knows alone the clients that are
// connected to it.
func merge(a, b adminapi.Explanation) adminapi.Explanation {
	for _, t := range b.Targets {
		i := slices.IndexFunc(a.Targets, same(&t))
		switch {
		case slices.ContainsFunc(a.Misses, same(&t)): // kept from it, as its node says, or away as of a moment ago
		case i < 0:
			a.Targets = append(a.Targets, t)
		case t.Where == "here" || t.Next != "" && strings.HasPrefix(a.Targets[i].Next, "a client of"):
			t.Where = a.Targets[i].Where
			a.Targets[i] = t
		}
	}
	for _, t := range b.Misses {
		a.Targets = slices.DeleteFunc(a.Targets, func(x adminapi.ExplainTarget) bool { return same(&t)(x) && t.Where == "here" })
		if !slices.ContainsFunc(a.Misses, func(x adminapi.ExplainTarget) bool { return same(&t)(x) && x.Why == t.Why }) && !slices.ContainsFunc(a.Targets, same(&t)) {
			a.Misses = append(a.Misses, t)
		}
	}
	a.Unlooked = a.Unlooked || b.Unlooked
	a.MoreTargets, a.MoreMisses = max(a.MoreTargets, b.MoreTargets), max(a.MoreMisses, b.MoreMisses)
	return a
}

func same(t *adminapi.ExplainTarget) func(adminapi.ExplainTarget) bool {
	return func(x adminapi.ExplainTarget) bool { return x.Kind == t.Kind && x.Name == t.Name }
}

func explanationView(x *adminapi.Explanation) env.View {
	v := env.View{Schema: adminapi.SchemaExplanation, Data: x}
	if x.Rewritten != "" {
		v.Fields = append(v.Fields, env.Field{Name: "rewritten", Value: x.Rewritten + ", by rule " + x.Rule})
	}
	v.Fields = append(v.Fields, env.Field{Name: "address", Value: x.Address})
	if x.Refused != "" {
		v.Fields = append(v.Fields, env.Field{Name: "refused", Value: x.Refused})
	} else if x.Access.Rule != nil {
		v.Fields = append(v.Fields, env.Field{Name: "access", Value: x.Access.Rule.String()})
	}
	gets := env.Table{Title: "gets", Head: []string{"GETS IT", "NAME", "BY", "HOW"}}
	if x.Refused != "" {
		gets.Title, gets.Head[0] = "would", "WOULD GET IT"
	}
	for i := range x.Targets {
		gets.Rows = append(gets.Rows, explainRow(&x.Targets[i]))
	}
	not := env.Table{Title: "not", Head: []string{"DOES NOT", "NAME", "BY", "WHY"}}
	for i := range x.Misses {
		not.Rows = append(not.Rows, explainRow(&x.Misses[i]))
	}
	v.Tables = []env.Table{gets, not}
	for _, more := range []struct {
		n    int
		what string
	}{{x.MoreTargets, "get it"}, {x.MoreMisses, "do not"}} {
		if more.n > 0 {
			v.Fields = append(v.Fields, env.Field{Name: "more that " + more.what, Value: more.n})
		}
	}
	return v
}

func explainRow(t *adminapi.ExplainTarget) []any {
	var how []string
	if t.QoS != nil {
		how = append(how, fmt.Sprintf("QoS %d", *t.QoS))
	}
	if t.Where != "" {
		how = append(how, map[string]string{"here": "connected", "elsewhere": "connected to another node"}[t.Where])
		if t.Where == "away" && t.Why == "" {
			how[len(how)-1] = "away"
		}
	}
	if t.Next != "" {
		how = append(how, "next is "+t.Next)
	}
	if t.Partition != nil && t.Why == "" {
		how = append(how, fmt.Sprintf("partition %d", *t.Partition))
	}
	if t.Why != "" {
		how = append(how, t.Why)
	}
	how = slices.DeleteFunc(how, func(s string) bool { return s == "" })
	name := t.Name
	if t.Kind == "exchange" && name == "" {
		name = env.DefaultExchange
	}
	return []any{t.Kind, name, strings.Join(t.Via, "; "), strings.Join(how, ", ")}
}
