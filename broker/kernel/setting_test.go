package kernel_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/robustmq/rmq/broker/setting"
)

func setShare(t *testing.T, k *kernel.Kernel, group, strategy string) {
	t.Helper()
	s, err := setting.New("/", setting.KindShare, group, setting.Share{Strategy: strategy})
	if err == nil {
		err = k.PutSetting(t.Context(), s)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// shareGroup is three members of a shared subscription, one a node, and who publishes to it.
type shareGroup struct {
	members []*kernel.Session
	sinks   []*sink
	senders []*kernel.Session
}

// newShareGroup subscribes with "$share/GROUP/a/+". node tells which node has the member or sender
// of an index.
func newShareGroup(t *testing.T, group string, senders int, node func(i int) *kernel.Kernel) *shareGroup {
	g := &shareGroup{}
	for i := range 3 {
		ses, s, _ := open(t, node(i), fmt.Sprintf("%s-member-%d", group, i), 0, true)
		subscribe(t, ses, "$share/"+group+"/a/+", 1)
		g.members, g.sinks = append(g.members, ses), append(g.sinks, s)
	}
	for i := range senders {
		ses, _, _ := open(t, node(i), fmt.Sprintf("%s-sender-%d", group, i), 0, true)
		g.senders = append(g.senders, ses)
	}
	return g
}

// send has each sender publish to as many topics as there are senders, n times in turn, and takes
// what the members get: "sender topic n" each.
func (g *shareGroup) send(t *testing.T, n int, node func(i int) *kernel.Kernel, took func(member int, g got)) {
	t.Helper()
	for i := range n {
		for j, from := range g.senders {
			topic := (i + j) % len(g.senders)
			p := mqtt(fmt.Sprintf("a/%d", topic), fmt.Sprintf("%d %d %d", j, topic, i))
			p.From = from
			if r := publish(t, node(j), p); r.Queues != 1 {
				t.Fatalf("it went to %d queues", r.Queues)
			}
		}
	}
	for range n * len(g.senders) {
		select {
		case d := <-g.sinks[0].ch:
			took(0, d)
		case d := <-g.sinks[1].ch:
			took(1, d)
		case d := <-g.sinks[2].ch:
			took(2, d)
		}
	}
}

// Messages with one key go to one member, in order; each member has some keys.
func (g *shareGroup) checkKeyed(t *testing.T, n, key int, node func(i int) *kernel.Kernel) {
	t.Helper()
	members := map[int]int{} // by key
	last := map[string]int{} // by sender and topic
	used := map[int]bool{}
	g.send(t, n, node, func(member int, d got) {
		var v [3]int
		if _, err := fmt.Sscan(string(d.msg.Value), &v[0], &v[1], &v[2]); err != nil {
			t.Fatal(err)
		}
		if m, ok := members[v[key]]; ok && m != member {
			t.Errorf("%q went to member %d, and others of its key to %d", d.msg.Value, member, m)
		}
		members[v[key]] = member
		pair := fmt.Sprint(v[0], v[1])
		if l, ok := last[pair]; ok && l >= v[2] {
			t.Errorf("%q came after %d", d.msg.Value, l)
		}
		last[pair] = v[2]
		used[member] = true
		d.d.From.Settle(d.d.No, false, kernel.Accept)
	})
	if len(used) != 3 {
		t.Errorf("members that got messages: %v", used)
	}
}

// How members are chosen is set for a group, holds on every node, and counts at once.
func TestShareStrategies(t *testing.T) {
	c := kerneltest.StartCluster(t, 3, kerneltest.Options{NoCapture: true})
	node := func(i int) *kernel.Kernel { return c.Node(uint64(1 + i%3)) }
	settled := func(_ int, d got) { d.d.From.Settle(d.d.No, false, kernel.Accept) }
	const senders, n = 24, 5

	setShare(t, c.Node(2), "keyed", "hash-client")
	g := newShareGroup(t, "keyed", senders, node)
	g.checkKeyed(t, n, 0, node)
	setShare(t, c.Node(1), "keyed", "hash-topic")
	g.checkKeyed(t, n, 1, node)
	for _, s := range append(g.members, g.senders...) {
		s.Close(false, nil)
	}

	setShare(t, c.Node(3), setting.EveryGroup, "sticky")
	g = newShareGroup(t, "one", senders, node)
	var first []int
	g.send(t, 1, node, func(member int, d got) { first = append(first, member); settled(member, d) })
	if len(slices.Compact(first)) != 1 {
		t.Fatalf("messages went to members %v", first)
	}
	g.members[first[0]].Close(false, nil)
	var second []int
	g.send(t, 1, node, func(member int, d got) { second = append(second, member); settled(member, d) })
	if len(slices.Compact(second)) != 1 || second[0] == first[0] {
		t.Errorf("messages went to members %v, when %d had left", second, first[0])
	}

	// What is set for no group any more is no more than a turn.
	if err := c.Node(1).DeleteSetting(t.Context(), "/", setting.KindShare, setting.EveryGroup); err != nil {
		t.Fatal(err)
	}
	var turns [3]int
	g.send(t, 1, node, func(member int, d got) { turns[member]++; settled(member, d) })
	slices.Sort(turns[:])
	if turns != [3]int{0, senders / 2, senders / 2} {
		t.Errorf("messages went to members so: %v", turns)
	}
}

// A member that does not acknowledge gets no more while another acknowledges all it gets.
func TestShareLeastInflight(t *testing.T) {
	k := kerneltest.Open(t, kerneltest.Options{NoCapture: true})
	setShare(t, k, "g", "least-inflight")
	var sinks []*sink
	for i := range 2 {
		ses, s, _ := open(t, k, fmt.Sprint("c", i), 0, true)
		subscribe(t, ses, "$share/g/a/+", 1)
		sinks = append(sinks, s)
	}
	publish(t, k, mqtt("a/b", "held"))
	slow, quick := 0, 1
	var g got
	select {
	case g = <-sinks[0].ch:
	case g = <-sinks[1].ch:
		slow, quick = 1, 0
	}
	if string(g.msg.Value) != "held" {
		t.Fatalf("got %q", g.msg.Value)
	}
	for i := range 50 {
		publish(t, k, mqtt("a/b", fmt.Sprint(i)))
		g := sinks[quick].next(t)
		if string(g.msg.Value) != fmt.Sprint(i) {
			t.Fatalf("%q came in place of %d", g.msg.Value, i)
		}
		g.d.From.Settle(g.d.No, false, kernel.Accept)
	}
	if n := len(sinks[slow].ch); n != 0 {
		t.Errorf("%d messages went to who acknowledges nothing", n)
	}
}

// What is set is there after a restart, of a queue that has been saved too.
func TestShareStrategyOutlivesTheBroker(t *testing.T) {
	eng := keep{newMem(t)}
	o := kerneltest.Options{Engine: eng, CheckpointBytes: 1, NoCapture: true}
	k, stop := kerneltest.Start(t, o)
	setShare(t, k, "g", "sticky")
	one := func(int) *kernel.Kernel { return k }
	g := newShareGroup(t, "g", 6, one)
	g.send(t, 1, one, func(_ int, d got) { d.d.From.Settle(d.d.No, false, kernel.Accept) })
	durable, _, _ := open(t, k, "durable", kernel.ExpiryNever, true)
	subscribe(t, durable, "$share/g/a/+", 1)
	stop()

	k, stop = kerneltest.Start(t, o)
	defer stop()
	if all := k.Settings("/", setting.KindShare); len(all) != 1 || all[0].Name != "g" {
		t.Fatalf("set is %+v", all)
	}
	g = newShareGroup(t, "g", 6, one)
	var to []int
	g.send(t, 1, one, func(member int, d got) { to = append(to, member); d.d.From.Settle(d.d.No, false, kernel.Accept) })
	if len(slices.Compact(to)) != 1 {
		t.Errorf("messages went to members %v", to)
	}
}

func TestSettingRefused(t *testing.T) {
	for _, s := range []setting.Setting{
		{Namespace: "/", Kind: setting.KindShare, Name: "g", Value: []byte(`{"strategy":"random"}`)},
		{Namespace: "/", Kind: setting.KindShare, Name: "a/b", Value: []byte(`{"strategy":"sticky"}`)},
		{Namespace: "/", Kind: setting.KindShare, Name: "g", Value: []byte(`{"strategy":"sticky","x":1}`)},
		{Namespace: "/", Kind: setting.KindShare, Name: "", Value: []byte(`{"strategy":"sticky"}`)},
		{Namespace: "/", Kind: "other", Name: "g", Value: []byte(`{}`)},
	} {
		if s.Check() == nil {
			t.Errorf("%+v is taken", s)
		}
	}
}
