package kafka_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/auth"
	"github.com/robustmq/rmq/broker/kafka"
	"github.com/robustmq/rmq/broker/kernel"
	"github.com/robustmq/rmq/broker/kernel/kerneltest"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
)

// ruled are users under the rules that a kernel has, one of them above.
type ruled struct {
	users
	k *kernel.Kernel
}

func (r *ruled) Table() *acl.Table {
	return acl.NewTable(r.k.Rules(), func(user string) bool { return user == "user:alice" })
}

func (r *ruled) Access(id auth.Identity, _ auth.Login, ns string) *acl.Access {
	return acl.NewAccess(r, acl.Subject{User: id.User, Namespace: ns})
}

func startRuled(t *testing.T) (b *broker, root *kadm.Client, bob func(...kgo.Opt) *kgo.Client) {
	k := kerneltest.Open(t, kerneltest.Options{NoCapture: true})
	b = startOn(t, k, kafka.Config{Authenticator: &ruled{alice, k}, RequireSASL: true})
	as := func(user string) kgo.Opt { return kgo.SASL(plain.Auth{User: user, Pass: alice[user]}.AsMechanism()) }
	root = kadm.NewClient(b.client(as("alice")))
	return b, root, func(opts ...kgo.Opt) *kgo.Client { return b.client(append(opts, as("bob"))...) }
}

func TestACLsWithClient(t *testing.T) {
	b, root, bob := startRuled(t)
	ctx := within(t)
	for _, topic := range []string{"orders", "orders.eu", "other"} {
		if _, err := root.CreateTopic(ctx, 1, 1, nil, topic); err != nil {
			t.Fatal(err)
		}
	}
	created, err := root.CreateACLs(ctx, kadm.NewACLs().Allow("User:user:bob").AllowHosts("*").Topics("orders").ResourcePatternType(kadm.ACLPatternPrefixed).Operations(kadm.OpWrite, kadm.OpRead))
	if err != nil || len(created) != 2 || created[0].Err != nil || created[1].Err != nil {
		t.Fatalf("%v, %v", created, err)
	}
	if _, err := root.CreateACLs(ctx, kadm.NewACLs().Deny("User:*").DenyHosts("*").Topics("orders.eu").ResourcePatternType(kadm.ACLPatternLiteral).Operations(kadm.OpWrite)); err != nil {
		t.Fatal(err)
	}
	if _, err := root.CreateACLs(ctx, kadm.NewACLs().Allow("User:user:bob").AllowHosts("*").Groups("g").ResourcePatternType(kadm.ACLPatternLiteral).Operations(kadm.OpRead)); err != nil {
		t.Fatal(err)
	}

	// They are rules like any other.
	var rules []string
	for _, r := range b.k.Rules() {
		rules = append(rules, r.String())
	}
	slices.Sort(rules)
	want := []string{"allow user user:bob to read group:g", "allow user user:bob to read,write orders…", "deny anybody to write orders/eu"}
	if !slices.Equal(rules, want) {
		t.Errorf("rules %q, want %q", rules, want)
	}

	cl := bob(kgo.ConsumerGroup("g"), kgo.ConsumeTopics("orders"))
	if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "orders", Value: []byte("x")}).FirstErr(); err != nil {
		t.Errorf("produce: %v", err)
	}
	if got := cl.PollFetches(ctx); got.NumRecords() != 1 || got.Err0() != nil {
		t.Errorf("fetched %d, %v", got.NumRecords(), got.Err0())
	}
	if err := cl.CommitUncommittedOffsets(ctx); err != nil {
		t.Errorf("commit: %v", err)
	}
	for _, topic := range []string{"orders.eu", "other", "not-there"} {
		if err := cl.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("x")}).FirstErr(); !errors.Is(err, kerr.TopicAuthorizationFailed) {
			t.Errorf("produce to %s: %v", topic, err)
		}
	}
	foreign := bob(kgo.ConsumerGroup("h"), kgo.ConsumeTopics("orders"))
	if err := foreign.PollFetches(ctx).Err0(); !errors.Is(err, kerr.GroupAuthorizationFailed) {
		t.Errorf("another group: %v", err)
	}
	adm := kadm.NewClient(cl)
	if topics, err := adm.ListTopics(ctx); err != nil || !slices.Equal(topics.Names(), []string{"orders", "orders.eu"}) {
		t.Errorf("bob sees %v, %v", topics.Names(), err)
	}
	if _, err := adm.CreateTopic(ctx, 1, 1, nil, "orders.us"); !errors.Is(err, kerr.TopicAuthorizationFailed) {
		t.Errorf("create: %v", err)
	}
	if r, err := adm.DeleteTopic(ctx, "orders"); !errors.Is(r.Err, kerr.TopicAuthorizationFailed) {
		t.Errorf("delete: %v, %v", r.Err, err)
	}
	if rs, err := adm.DescribeACLs(ctx, kadm.NewACLs().AnyResource().Allow().AllowHosts().Operations()); err != nil || !errors.Is(rs[0].Err, kerr.ClusterAuthorizationFailed) {
		t.Errorf("describe ACLs: %v, %v", rs, err)
	}

	// Described, matched and deleted.
	d, err := root.DescribeACLs(ctx, kadm.NewACLs().Topics("orders.eu").ResourcePatternType(kadm.ACLPatternMatch).Allow().AllowHosts().Deny().DenyHosts().Operations())
	if err != nil {
		t.Fatal(err)
	}
	if n := described(d); n != 3 {
		t.Errorf("%d ACLs match orders.eu, want 3", n)
	}
	del, err := root.DeleteACLs(ctx, kadm.NewACLs().Topics("orders").ResourcePatternType(kadm.ACLPatternPrefixed).Allow("User:user:bob").AllowHosts().Operations(kadm.OpWrite))
	if err != nil || len(del) != 1 || len(del[0].Deleted) != 1 {
		t.Fatalf("deleted %v, %v", del, err)
	}
	if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "orders", Value: []byte("x")}).FirstErr(); !errors.Is(err, kerr.TopicAuthorizationFailed) {
		t.Errorf("produce, by the connection that was allowed to: %v", err)
	}
	if got, err := root.DescribeACLs(ctx, kadm.NewACLs().AnyResource().ResourcePatternType(kadm.ACLPatternAny).Allow().AllowHosts().Deny().DenyHosts().Operations()); err != nil || described(got) != 3 {
		t.Errorf("%d ACLs are left: %v", described(got), err)
	}
}

func described(rs kadm.DescribeACLsResults) (n int) {
	for _, r := range rs {
		n += len(r.Described)
	}
	return n
}

// A fetch that waits ends when what it waits for may not be read any more, at its next look.
func TestAFetchThatWaitsIsHeldAgainstTheRules(t *testing.T) {
	b, root, bob := startRuled(t)
	ctx := within(t)
	if _, err := root.CreateTopic(ctx, 1, 1, nil, "t"); err != nil {
		t.Fatal(err)
	}
	read := []acl.Rule{{User: "user:bob", Actions: acl.Read, Name: "t"}, {User: "user:carl", Actions: acl.Read, Name: "t"}}
	if _, err := b.k.PutRules(ctx, read); err != nil {
		t.Fatal(err)
	}
	cl := bob(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"t": {0: kgo.NewOffset().AtStart()}}))
	polled := make(chan kgo.Fetches, 1)
	waiting := make(chan struct{})
	go func() {
		close(waiting)
		polled <- cl.PollFetches(ctx)
	}()
	<-waiting
	if _, err := b.k.DeleteRules(ctx, read[:1]); err != nil {
		t.Fatal(err)
	}
	one := kgo.Record{Topic: "t", Value: []byte("secret")}
	if err := b.client(kgo.SASL(plain.Auth{User: "alice", Pass: alice["alice"]}.AsMechanism())).ProduceSync(ctx, &one).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if got := <-polled; got.NumRecords() != 0 || !errors.Is(got.Err0(), kerr.TopicAuthorizationFailed) {
		t.Errorf("got %d records, %v", got.NumRecords(), got.Err0())
	}
}

// What Kafka has no word for is shown, and can be said, in the same way.
func TestRulesWithWildcardsInKafka(t *testing.T) {
	b, root, _ := startRuled(t)
	ctx := within(t)
	mine := []acl.Rule{
		{User: "ann", Actions: acl.Read, Name: "sensors/+/temp"}, {Actions: acl.Write, Name: "up/%u/#"}, {Actions: acl.All, Prefix: true},
		{Client: "dev1", Actions: acl.Read, Name: "x"}, {Namespace: "other", Actions: acl.Read, Name: "x"},
	}
	if _, err := b.k.PutRules(ctx, mine); err != nil {
		t.Fatal(err)
	}
	rs, err := root.DescribeACLs(ctx, kadm.NewACLs().AnyResource().Allow().AllowHosts().Deny().DenyHosts().Operations())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range rs {
		for _, d := range r.Described {
			names = append(names, d.Principal+" "+d.Operation.String()+" "+d.Name+" "+d.Pattern.String())
		}
	}
	slices.Sort(names)
	want := []string{"User:* ALL * LITERAL", "User:* WRITE up.%u.# LITERAL", "User:ann READ sensors.*.temp LITERAL"}
	if !slices.Equal(names, want) {
		t.Fatalf("described %q, want %q", names, want)
	}
	if _, err := root.DeleteACLs(ctx, kadm.NewACLs().AnyResource().Allow().AllowHosts().Deny().DenyHosts().Operations()); err != nil {
		t.Fatal(err)
	}
	if left := b.k.Rules(); len(left) != 2 {
		t.Errorf("left: %v", left)
	}
	for _, name := range []string{"sensors.*.temp", "a.#"} {
		if r, err := root.CreateACLs(ctx, kadm.NewACLs().Allow("User:ann").AllowHosts("*").Topics(name).ResourcePatternType(kadm.ACLPatternLiteral).Operations(kadm.OpRead)); err != nil || r[0].Err != nil {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
	var has []string
	for _, r := range b.k.Rules() {
		has = append(has, r.Name)
	}
	if !slices.Contains(has, "sensors/+/temp") || !slices.Contains(has, "a/#") {
		t.Errorf("rules about %q", has)
	}
}

func (*ruled) Bans() *acl.Bans { return nil }
