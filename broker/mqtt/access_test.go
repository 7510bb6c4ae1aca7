package mqtt

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/auth"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/mqttwire"
)

// ruled lets everybody in under the name that they give, and has rules that a test changes.
type ruled struct{ table atomic.Pointer[acl.Table] }

func (r *ruled) set(rules ...acl.Rule) { r.table.Store(acl.NewTable(rules, nil)) }
func (r *ruled) Table() *acl.Table     { return r.table.Load() }

func (r *ruled) Authenticate(l auth.Login) (auth.Identity, error) {
	return auth.Identity{User: l.User}, nil
}

func (r *ruled) Access(id auth.Identity, l auth.Login, ns string) *acl.Access {
	return acl.NewAccess(r, acl.Subject{User: id.User, Client: l.Client, Namespace: ns})
}

func allow(a acl.Action, name string) acl.Rule { return acl.Rule{Actions: a, Name: name} }
func deny(a acl.Action, name string) acl.Rule  { return acl.Rule{Deny: true, Actions: a, Name: name} }

func newRuledBroker(t *testing.T, rules ...acl.Rule) (*broker, *ruled) {
	r := new(ruled)
	r.set(rules...)
	return newBrokerOn(t, kerneltest.Open(t, kerneltest.Options{NoCapture: true}), nil, func(c *Config) { c.Auth = r }), r
}

func TestPublishIsHeldAgainstTheRules(t *testing.T) {
	b, _ := newRuledBroker(t, allow(acl.Write, "up/%c/#"), allow(acl.Read, "#"), deny(acl.Write, "up/+/secret"))
	s := b.connect("s", mqttwire.Connect{CleanStart: true})
	s.subscribe(0, filter("#", 0))
	for _, v := range []mqttwire.Version{mqttwire.V311, mqttwire.V5} {
		id := fmt.Sprint("dev", v)
		p := b.connect(id, mqttwire.Connect{Version: v, CleanStart: true})
		no := mqttwire.Success // MQTT 3 has no word for it
		if v == mqttwire.V5 {
			no = mqttwire.NotAuthorized
		}
		for qos := range byte(3) {
			want := no
			if qos == 0 {
				want = mqttwire.Success
			}
			for _, topic := range []string{"up/other/x", "up/" + id + "/secret", "elsewhere", "$delayed/0/elsewhere"} {
				if got := p.publish(msg(topic, "no", qos)); got != want {
					t.Errorf("version %d, QoS %d, %s: %v, want %v", v, qos, topic, got, want)
				}
			}
			if got := p.publish(msg("up/"+id+"/x", fmt.Sprint(qos), qos)); got != mqttwire.Success {
				t.Errorf("version %d, QoS %d: what is allowed: %v", v, qos, got)
			}
			s.take(fmt.Sprintf("up/%s/x=%d q0", id, qos)) // and nothing of what is not
		}
	}
	if n := b.s.Stats().Denied.Load(); n != 24 {
		t.Errorf("%d publishes were denied, want 24", n)
	}
}

func TestSubscribeIsHeldAgainstTheRules(t *testing.T) {
	b, _ := newRuledBroker(t, allow(acl.Read, "a/#"), deny(acl.Read, "a/secret/#"), allow(acl.Write, "#"))
	s := b.connect("s", mqttwire.Connect{CleanStart: true})
	got := s.subscribe(0, filter("a/x", 1), filter("b/#", 1), filter("a/secret/x", 1), filter("$share/g/a/x/+", 1), filter("$share/g/a/#", 1), filter("#", 1))
	want := []mqttwire.Reason{1, mqttwire.NotAuthorized, mqttwire.NotAuthorized, 1, mqttwire.NotAuthorized, 1}
	if !slices.Equal(got, want) {
		t.Errorf("SUBACK %v, want %v", got, want)
	}
	s3 := b.connect("s3", mqttwire.Connect{Version: mqttwire.V311, CleanStart: true})
	if got := s3.subscribe(0, filter("b/#", 1)); got[0] != mqttwire.UnspecifiedError {
		t.Errorf("MQTT 3: %v, want 0x80", got)
	}
	p := b.connect("p", mqttwire.Connect{CleanStart: true})
	for _, topic := range []string{"b/1", "a/secret/1", "a/1"} {
		p.publish(retained(topic, "x", 1))
	}
	s.take("a/1=x q1") // of the subscription to #
	late := b.connect("late", mqttwire.Connect{CleanStart: true})
	late.subscribe(0, filter("#", 1))
	late.take("a/1=x q1 retain")
	late.nothing()
}

// A change of the rules counts at once, for clients and subscriptions that are there, and nobody
// is cut off.
func TestRulesChangeUnderConnections(t *testing.T) {
	b, r := newRuledBroker(t)
	s := b.connect("s", mqttwire.Connect{CleanStart: true})
	s.subscribe(0, filter("a/#", 1))
	p := b.connect("p", mqttwire.Connect{CleanStart: true})
	p.publish(msg("a/x", "1", 1))
	s.take("a/x=1 q1")
	r.set(allow(acl.Write, "#"), allow(acl.Read, "b"))
	if got := p.publish(msg("a/x", "2", 1)); got != mqttwire.Success {
		t.Errorf("publish: %v", got)
	}
	r.set(allow(acl.Read, "a/#"))
	if got := p.publish(msg("a/x", "3", 1)); got != mqttwire.NotAuthorized {
		t.Errorf("publish, forbidden by now: %v", got)
	}
	r.set()
	p.publish(msg("a/x", "4", 1))
	s.take("a/x=4 q1")
	s.nothing()
}

// A member of a shared subscription that may not read it any more leaves it, and what it was to
// have goes to the others.
func TestASharedSubscriptionThatIsDeniedEnds(t *testing.T) {
	b, r := newRuledBroker(t)
	one := b.connect("one", mqttwire.Connect{CleanStart: true})
	one.subscribe(0, filter("$share/g/a/#", 1))
	two := b.connect("two", mqttwire.Connect{CleanStart: true})
	two.subscribe(0, filter("$share/g/a/#", 1))
	r.set(allow(acl.Write, "#"), acl.Rule{Client: "two", Actions: acl.Read, Name: "a/#"})
	p := b.connect("p", mqttwire.Connect{CleanStart: true})
	const n = 10
	seen := make(map[string]bool)
	for i := range n {
		p.publish(msg("a/x", fmt.Sprint(i), 1))
	}
	for range n {
		m := two.receive()
		seen[string(m.Payload)] = true
		two.complete(m)
	}
	if len(seen) != n {
		t.Errorf("%d of %d messages reach the member that may read them", len(seen), n)
	}
	one.nothing()
}

func TestAWillIsHeldAgainstTheRules(t *testing.T) {
	b, _ := newRuledBroker(t, allow(acl.Write, "ok"))
	c := b.dial(mqttwire.V5)
	c.send(&mqttwire.Connect{Version: mqttwire.V5, ClientID: []byte("c"), Will: true, WillTopic: []byte("no"), WillPayload: []byte("x")})
	var ack mqttwire.Connack
	if err := ack.Decode(c.v, c.read(mqttwire.CONNACK)); err != nil || ack.Reason != mqttwire.NotAuthorized {
		t.Errorf("CONNACK %v, %v", ack.Reason, err)
	}
	b.connect("c", mqttwire.Connect{Will: true, WillTopic: []byte("ok"), WillPayload: []byte("x")})
}

// Rules that forbid are no reason for memory on the path of a message.
func TestRulesDoNotAllocate(t *testing.T) {
	r := new(ruled)
	r.set(allow(acl.Read, "a/#"), deny(acl.Read, "a/secret"))
	c := &conn{access: r.Access(auth.Identity{}, auth.Login{}, "/")}
	c.may(acl.Read, "a/b/c")
	c.may(acl.Read, "a/d")
	if n := testing.AllocsPerRun(100, func() { c.may(acl.Read, "a/b/c"); c.may(acl.Read, "a/d") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func (*ruled) Bans() *acl.Bans { return nil }
