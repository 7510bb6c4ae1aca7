package admin

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/fault"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/route"
	"github.com/robustmq/rmq/broker/message"
	"github.com/robustmq/rmq/broker/mqttwire"
	"github.com/robustmq/rmq/broker/setting"
)

// Explain tells who would get a message: what the rules say of its publisher, what rewriting makes of its
// topic, and where the kernel would have it go.
func (s *Source) Explain(_ context.Context, q adminapi.ExplainQuestion) (x adminapi.Explanation, err error) {
	invalid := func(format string, args ...any) error {
		return fault.New(fault.Invalid, "explain", "", format, args...)
	}
	who := acl.Subject{User: q.User, Client: q.Client, Namespace: namespace(q.Namespace)}
	if q.Host != "" {
		if who.Host, err = netip.ParseAddr(q.Host); err != nil {
			return x, invalid("%q is no IP address", q.Host)
		}
	}
	p := kernel.Publish{Namespace: who.Namespace}
	m := &p.Msg
	m.Value, m.QoS, m.Retain = make([]byte, min(max(q.Size, 0), kernel.MessageMax)), q.QoS, q.Retain
	for _, name := range slices.Sorted(maps.Keys(q.Headers)) {
		m.Headers = append(m.Headers, message.Header{Name: name, Value: []byte(q.Headers[name])})
	}
	switch {
	case q.QoS > 2:
		return x, invalid("QoS %d is none of 0, 1, 2", q.QoS)
	case q.Protocol == "mqtt":
		topic, rule, err := s.rewritten(&q)
		if err != nil {
			return x, err
		}
		if rule != "" {
			x.Rewritten, x.Rule = topic, rule
		}
		if topic, err = splitDelay(topic, &x); err != nil {
			return x, err
		}
		if !mqttwire.ValidTopic([]byte(topic)) {
			return x, invalid("%q is no topic name", topic)
		}
		m.Source, m.Address = message.MQTT, topic
	case q.Protocol == "kafka":
		if !message.ValidKafkaName(q.Topic) {
			return x, invalid("%q is no name of a Kafka topic", q.Topic)
		}
		m.Source, m.Address = message.Kafka, message.FromKafkaName(q.Topic)
		m.QoS, m.Retain = min(m.QoS, 1), false
	case q.Protocol == "amqp":
		p.ViaExchange, p.Exchange, p.Key, p.CC = true, q.Exchange, q.Key, q.CC
		m.Source, m.Address = message.AMQP, message.AddressOf(q.Exchange, q.Key)
		m.QoS = max(m.QoS, 1)
	default:
		return x, invalid("%q is none of the protocols mqtt, kafka, amqp", q.Protocol)
	}
	x.Address = m.Address
	x.Access = s.c.Auth.Table().Decide(&who, acl.Write, acl.Address, m.Address)
	if !x.Access.Allowed {
		x.Refused = "it may not be published: " + x.Access.Why
		if x.Access.Rule != nil {
			x.Refused += ": " + x.Access.Rule.String()
		}
	}
	r := s.c.Kernel.ExplainAll(&p, q.Client)
	x.MoreTargets, x.MoreMisses, x.Unlooked = r.MoreTargets, r.MoreMisses, r.Unlooked
	for i := range r.Targets {
		t := explained(&r.Targets[i])
		if why, ok := s.mayNotRead(&t, m.Address, who.Namespace); ok {
			t.Why = why
			x.Misses = append(x.Misses, t)
			continue
		}
		x.Targets = append(x.Targets, t)
	}
	for i := range r.Misses {
		x.Misses = append(x.Misses, explained(&r.Misses[i]))
	}
	return x, nil
}

func explained(t *kernel.Target) adminapi.ExplainTarget {
	out := adminapi.ExplainTarget{Kind: t.Kind, Name: t.Name, Via: t.Via, Why: t.Why, Where: t.Where, Next: t.Member}
	switch t.Kind {
	case kernel.TargetSession:
		if t.Where != "" { // of a session that is subscribed otherwise there is no delivery
			out.QoS = &t.QoS
		}
	case kernel.TargetStream:
		out.Partition = &t.Partition
	}
	return out
}

// mayNotRead tells whether a client that is connected here is kept from a delivery.
func (s *Source) mayNotRead(t *adminapi.ExplainTarget, address, ns string) (why string, ok bool) {
	if t.Kind != kernel.TargetSession {
		return "", false
	}
	c, ok := s.clients(t.Name)[t.Name]
	if !ok {
		return "", false
	}
	who := acl.Subject{User: c.User, Client: t.Name, Namespace: ns}
	if at, err := netip.ParseAddrPort(c.Remote); err == nil {
		who.Host = at.Addr().Unmap()
	}
	v := s.c.Auth.Table().Decide(&who, acl.Read, acl.Address, address)
	if v.Allowed {
		return "", false
	}
	why = "the client may not read it: " + v.Why
	if v.Rule != nil {
		why += ": " + v.Rule.String()
	}
	return why, true
}

// rewritten returns what a topic that a client publishes to stands for, and by which rule; "": by none.
func (s *Source) rewritten(q *adminapi.ExplainQuestion) (topic, rule string, err error) {
	for _, t := range s.c.Kernel.Settings(namespace(q.Namespace), setting.KindRewrite) {
		var r setting.Rewrite
		if t.Read(&r) != nil {
			continue // a later release wrote it
		}
		ready, err := r.Compile()
		if err != nil || !ready.For(setting.OnPublish) || !route.MatchFilter(ready.Filter, q.Topic) {
			continue
		}
		out, ok := ready.Apply(q.Topic, q.Client, q.User)
		switch {
		case !ok:
			return "", "", fault.New(fault.Invalid, "explain", q.Topic, "rule of rewriting %s makes no topic of it", t.Name)
		case out == q.Topic:
			return out, "", nil
		}
		return out, t.Name, nil
	}
	return q.Topic, "", nil
}

// splitDelay takes $delayed/SECONDS/ off a topic: nobody knows now who will be there then.
func splitDelay(topic string, x *adminapi.Explanation) (string, error) {
	rest, ok := strings.CutPrefix(topic, "$delayed/")
	if !ok {
		return topic, nil
	}
	seconds, rest, _ := strings.Cut(rest, "/")
	if n, err := strconv.ParseUint(seconds, 10, 32); err != nil || rest == "" {
		return "", fault.New(fault.Invalid, "explain", topic, "a delayed topic is $delayed/<seconds>/<topic>")
	} else if n > 0 {
		x.Refused = "it is held back for " + seconds + " s: those who are there then get it"
	}
	return rest, nil
}
