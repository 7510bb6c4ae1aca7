package kernel

import (
	"fmt"
	"slices"
	"strings"

	"github.com/robustmq/rmq/broker/message"
)

// Routing is who would get a message, as far as it is known here and now.
type Routing struct {
	Stream   string   // address of the stream that keeps it; "": none does
	Queues   []string // by name, shared subscriptions included
	Sessions []RoutedSession
	// More are those that are not named, as the lists are bounded.
	More int
}

// RoutedSession is an MQTT session that a message goes to.
type RoutedSession struct {
	Client string
	QoS    uint8  // of its delivery
	Where  string // "here", "elsewhere", "away"
}

// routingMax bounds each list of a Routing.
const routingMax = 32

// Each tells what there is of it, by the kind of thing.
func (r *Routing) Each(tell func(kind string, what any)) {
	if r.Stream != "" {
		tell("stream", r.Stream)
	}
	for _, q := range r.Queues {
		tell("queue", q)
	}
	for _, s := range r.Sessions {
		tell("session", fmt.Sprintf("%s QoS %d, %s", s.Client, s.QoS, s.Where))
	}
	if r.More > 0 {
		tell("not named", r.More)
	}
}

// Explain tells where Publish would have a message go. It changes nothing, and costs more than
// routing does.
func (k *Kernel) Explain(p *Publish) (out Routing) {
	m := &p.Msg
	sp := k.topo.space(p.Namespace)
	var r *resolved
	if p.ViaExchange {
		r = k.byExchange(sp, p.Exchange, p.Key, m.Address, m.Headers)
		for _, key := range p.CC {
			r = k.merge(sp, r, k.byExchange(sp, p.Exchange, key, m.Address, m.Headers), m.Address)
		}
	} else {
		r = k.byAddress(sp, m.Address, m.Headers)
	}
	switch {
	case r.home != nil:
		out.Stream = r.home.Address
	case k.cfg.Capture && m.Source != message.Kafka && r.found && message.Capturable(m.Address):
		out.Stream = message.FirstLevel(m.Address) // Publish makes it
	}
	for _, q := range r.queues {
		if len(out.Queues) == routingMax {
			out.More++
			continue
		}
		out.Queues = append(out.Queues, q.spec.Name)
	}
	for i := range r.subs {
		s := &r.subs[i]
		if s.noLocal && p.From != nil && p.From.route == s.route {
			continue
		}
		if len(out.Sessions) == routingMax {
			out.More++
			continue
		}
		x := RoutedSession{Client: s.route.client(), QoS: min(m.QoS, s.qos), Where: "away"}
		switch {
		case s.route.online.Load() != nil:
			x.Where = "here"
		case len(k.elsewhere(nil, s.route)) > 0:
			x.Where = "elsewhere"
		}
		out.Sessions = append(out.Sessions, x)
	}
	slices.Sort(out.Queues)
	slices.SortFunc(out.Sessions, func(a, b RoutedSession) int { return strings.Compare(a.Client, b.Client) })
	return out
}
