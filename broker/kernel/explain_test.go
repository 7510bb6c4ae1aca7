package kernel_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/message"
)

// model is one random topology, in a namespace of its own.
type model struct {
	t        *rapid.T
	k        *kernel.Kernel
	ns       string
	queues   []string
	streams  []string
	shares   []string
	sessions map[string]*listener
}

// listener is a client that never acknowledges.
type listener struct {
	s      *kernel.Session
	away   bool
	live   int // QoS 0 deliveries; counted by the publisher's goroutine
	shared chan string
	id     string
}

func (l *listener) Deliver(d *kernel.Delivery) bool {
	switch {
	case d.Shared:
		l.shared <- l.id
	case d.PacketID == 0:
		l.live++
	}
	return true
}
func (l *listener) Gone(kernel.GoneReason) {}

// names of few levels, so that much matches and much nearly does.
var (
	addresses = []string{"a", "b", "a/b", "a/b/c", "a/c", "b/a", "x/a", "x/a/b"}
	filters   = []string{"a", "a/b", "a/+", "a/#", "+/b", "#", "+", "a/b/#", "b/#", "x/+", "A/b", "a/b/c/d"}
	keys      = []string{"", "a", "a.b", "a.*", "#", "*.b", "a.#", "b", "a.b.c"}
)

func (m *model) must(err error) {
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *model) build(ctx context.Context) {
	t, k := m.t, m.k
	_, _, err := k.CreateNamespace(ctx, m.ns, "")
	m.must(err)
	pick := func(label string, of []string) string { return rapid.SampledFrom(of).Draw(t, label) }
	for i := range rapid.IntRange(0, 3).Draw(t, "streams") {
		address := addresses[i]
		_, err := k.CreateStream(ctx, kernel.StreamSpec{Namespace: m.ns, Address: address, Partitions: 2, Exact: rapid.Bool().Draw(t, "exact")})
		m.must(err)
		m.streams = append(m.streams, address)
	}
	for i := range rapid.IntRange(0, 5).Draw(t, "queues") {
		spec := queueSpec([]string{"a", "a.b", "q1", "q2", "q3"}[i])
		spec.Namespace = m.ns
		if rapid.Bool().Draw(t, "bounded") {
			spec.MaxLength, spec.Overflow = 1, kernel.Overflow(rapid.IntRange(0, 1).Draw(t, "overflow"))
		}
		_, _, err := k.DeclareQueue(ctx, spec)
		m.must(err)
		m.queues = append(m.queues, spec.Name)
	}
	exchanges := []string{"amq.topic", "amq.direct", "amq.fanout", "amq.headers"}
	for i := range rapid.IntRange(0, 3).Draw(t, "exchanges") {
		x := kernel.Exchange{Namespace: m.ns, Name: []string{"x", "y", "z"}[i], Durable: true, Type: kernel.ExchangeType(rapid.IntRange(0, 3).Draw(t, "type"))}
		if rapid.Bool().Draw(t, "has alternate") {
			x.Alternate = pick("alternate", exchanges)
		}
		_, _, err := k.DeclareExchange(ctx, x)
		m.must(err)
		exchanges = append(exchanges, x.Name)
	}
	for range rapid.IntRange(0, 8).Draw(t, "bindings") {
		b := kernel.Binding{Namespace: m.ns, Source: pick("source", exchanges), Key: pick("key", keys)}
		if b.ToExchange = rapid.IntRange(0, 3).Draw(t, "to exchange") == 0 || len(m.queues) == 0; b.ToExchange {
			b.Destination = pick("destination", exchanges)
		} else {
			b.Destination = pick("destination", m.queues)
		}
		if rapid.Bool().Draw(t, "wants a header") {
			b.Match, b.MatchAny = []message.Header{{Name: pick("header", []string{"h", "i"}), Value: []byte("1")}}, rapid.Bool().Draw(t, "any")
			b.Arguments = []kernel.Argument{{Name: b.Match[0].Name, Value: fmt.Sprint(b.MatchAny)}}
		}
		m.must(k.Bind(ctx, b))
	}
	for i := range rapid.IntRange(0, 4).Draw(t, "sessions") {
		l := &listener{id: fmt.Sprintf("client%d", i), shared: make(chan string, 64)}
		s, _, err := k.OpenSession(ctx, kernel.SessionSpec{Namespace: m.ns, ClientID: l.id, Clean: true, Expiry: kernel.ExpiryNever, ReceiveMaximum: 100, Sink: l})
		m.must(err)
		s.Start()
		l.s = s
		m.sessions[l.id] = l
		var subs []kernel.Subscription
		for range rapid.IntRange(0, 3).Draw(t, "subscriptions") {
			sub := kernel.Subscription{Filter: pick("filter", filters), QoS: uint8(rapid.IntRange(0, 2).Draw(t, "qos")), NoLocal: rapid.Bool().Draw(t, "no local")}
			if rapid.IntRange(0, 3).Draw(t, "shared") == 0 {
				sub.Filter, sub.QoS, sub.NoLocal = "$share/g/"+sub.Filter, 1, false
				m.shares = append(m.shares, sub.Filter)
			}
			subs = append(subs, sub)
		}
		_, errs := s.Subscribe(ctx, subs)
		for _, err := range errs {
			m.must(err)
		}
		if l.away = rapid.IntRange(0, 3).Draw(t, "away") == 0; l.away {
			s.Close(false, nil)
		}
	}
	slices.Sort(m.shares)
	m.shares = slices.Compact(m.shares)
}

// counts says how many messages each target has been given so far.
func (m *model) counts() map[string]int64 {
	out := map[string]int64{}
	for _, q := range append(slices.Clone(m.queues), m.shares...) {
		kind := kernel.TargetQueue
		if strings.HasPrefix(q, "$share/") {
			kind = kernel.TargetShare
		}
		if i, err := m.k.Queue(m.ns, q, 0); err == nil {
			out[kind+" "+q] = i.Ready + i.Unacked
		}
	}
	for _, st := range m.k.Streams(m.ns) {
		for _, p := range st.Parts {
			out[kernel.TargetStream+" "+st.Address] += p.End
		}
	}
	for id, l := range m.sessions {
		i, _ := m.k.SessionInfo(m.ns, id)
		out[kernel.TargetSession+" "+id] = int64(l.live) + int64(i.Inflight) + i.Backlog
	}
	return out
}

// Who gets a message is who Explain says, whatever there is; and nobody of whom it says that he does not.
func TestExplainAndPublishAgree(t *testing.T) {
	k := kerneltest.Open(t, kerneltest.Options{})
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	var spaces atomic.Int64
	rapid.Check(t, func(rt *rapid.T) {
		m := &model{t: rt, k: k, ns: fmt.Sprintf("space%d", spaces.Add(1)), sessions: map[string]*listener{}}
		m.build(ctx)
		qos := rapid.SampledFrom([][]uint8{{0, 0, 0}, {1, 2, 1}}).Draw(rt, "publish qos")
		for _, qos := range qos {
			m.publish(ctx, qos)
		}
		for _, l := range m.sessions {
			if !l.away {
				l.s.Close(true, nil)
			}
		}
	})
}

func (m *model) publish(ctx context.Context, qos uint8) {
	t, k := m.t, m.k
	address := rapid.SampledFrom(addresses).Draw(t, "address")
	p := kernel.Publish{Namespace: m.ns, Msg: message.Message{Source: message.MQTT, Address: address, Value: []byte("v"), QoS: qos}}
	if rapid.Bool().Draw(t, "header") {
		p.Msg.Headers = []message.Header{{Name: "h", Value: []byte("1")}}
	}
	if rapid.Bool().Draw(t, "via exchange") {
		p.ViaExchange, p.Exchange = true, rapid.SampledFrom([]string{"", "amq.topic", "amq.direct", "amq.headers", "x", "y", "nowhere"}).Draw(t, "exchange")
		p.Key = rapid.SampledFrom([]string{"a", "a.b", "b", "q1"}).Draw(t, "routing key")
		if rapid.Bool().Draw(t, "cc") {
			p.CC = []string{"a.b.c"}
		}
		p.Msg.Source, p.Msg.Address = message.AMQP, message.AddressOf(p.Exchange, p.Key)
	} else if l := m.sessions["client0"]; l != nil && !l.away {
		p.From = l.s
	}
	before := m.counts()
	said := k.ExplainAll(&p, "")
	if said.MoreTargets+said.MoreMisses > 0 {
		t.Fatalf("too much for one list: %+v", said)
	}
	w := newPublished()
	p.Reply = w
	m.must(k.Publish(&p))
	select {
	case r := <-w.ch:
		m.must(r.Err)
	case <-ctx.Done():
		t.Fatal(ctx.Err())
	}
	after := m.counts()
	got := func(kind, name string) bool { return after[kind+" "+name] > before[kind+" "+name] }
	told := map[string]bool{}
	for _, x := range said.Targets {
		told[x.Kind+" "+x.Name] = true
		drops := strings.Contains(x.Why, "its oldest goes")
		settled := x.Kind == kernel.TargetShare && p.Msg.QoS == 0 // at once, when a member gets it
		if !got(x.Kind, x.Name) && !drops && !settled {
			t.Errorf("%s %s is to get %s and does not (%+v): %d, then %d", x.Kind, x.Name, p.Msg.Address, x, before[x.Kind+" "+x.Name], after[x.Kind+" "+x.Name])
		}
		if len(x.Via) == 0 || x.Via[0] == "" {
			t.Errorf("no way leads to %+v", x)
		}
		if x.Member == "" {
			continue
		}
		select {
		case member := <-m.sessions[x.Member].shared:
			if member != x.Member {
				t.Errorf("%s was given to %s", x.Name, member)
			}
		case <-ctx.Done():
			t.Fatalf("%s was not given to %s", x.Name, x.Member)
		}
	}
	for at := range after {
		kind, name, _ := strings.Cut(at, " ")
		if got(kind, name) && !told[at] {
			t.Errorf("%s %s got %s, and was not to", kind, name, p.Msg.Address)
		}
	}
	for _, x := range said.Misses {
		if x.Why == "" {
			t.Errorf("no reason why %s %s is passed over", x.Kind, x.Name)
		}
		if told[x.Kind+" "+x.Name] {
			t.Errorf("%s %s is both among those who get it and those who do not: %+v", x.Kind, x.Name, x)
		}
	}
}
