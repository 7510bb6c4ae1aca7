package testkit_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/testkit"
)

// The API is for administrators, and for looking, for who may describe the cluster.
func TestWhoMayUseTheAPI(t *testing.T) {
	b := testkit.Run(t, testkit.User("ann", "secret"), testkit.User("root", "secret"))
	status := func(user, method, path string) int {
		t.Helper()
		q, err := http.NewRequest(method, b.HTTP()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		q.SetBasicAuth(user, "secret")
		resp, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	u, _ := b.Kernel().User("root")
	u.Tags = []string{"administrator"}
	if err := b.Kernel().PutUser(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	if got := status("ann", "GET", "/v1/nodes"); got != http.StatusForbidden {
		t.Errorf("without rules: %d", got)
	}
	rules := []acl.Rule{{User: "ann", Actions: acl.Describe, Kind: acl.Cluster}}
	if _, err := b.Kernel().PutRules(t.Context(), rules); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		user, method, path string
		want               int
	}{
		{"ann", "GET", "/v1/nodes", 200}, {"ann", "GET", "/v1/acl", 200}, {"ann", "GET", "/v1/retained", 403}, {"ann", "GET", "/v1/live", 403},
		{"ann", "DELETE", "/v1/users/ann", 403}, {"ann", "POST", "/v1/shutdown", 403}, {"root", "GET", "/v1/retained", 200},
		{"ann", "GET", "/v1/snapshot", 403}, {"ann", "GET", "/v1/topics/t/records", 403}, {"ann", "GET", "/v1/queues/q/messages", 403},
		{"ann", "GET", "/v1/%6Cive", 403}, {"ann", "GET", "/v1/%74race?client=c", 403}, {"ann", "GET", "/v1/%73napshot", 403},
		{"ann", "GET", "/v1/topics/t/%72ecords", 403}, {"ann", "GET", "/v1/queues/q/message%73", 403}, {"ann", "GET", "/v1/topics/a%2Frecords", 404},
		{"ann", "GET", "/v1/topics/records", 404}, {"ann", "PUT", "/v1/chaos", 403}, {"ann", "POST", "/v1/clock/advance", 403},
		{"root", "GET", "/v1/%73napshot", 200},
	} {
		if got := status(tt.user, tt.method, tt.path); got != tt.want {
			t.Errorf("%s %s by %s: %d, want %d", tt.method, tt.path, tt.user, got, tt.want)
		}
	}
}

// A user that was made with a password logs in to Kafka by SCRAM.
func TestScramOverKafka(t *testing.T) {
	b := testkit.Run(t, testkit.User("ann", "secret"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	as := func(pass string) map[string]sasl.Mechanism {
		a := scram.Auth{User: "ann", Pass: pass}
		return map[string]sasl.Mechanism{"SCRAM-SHA-256": a.AsSha256Mechanism(), "SCRAM-SHA-512": a.AsSha512Mechanism()}
	}
	for name, m := range as("secret") {
		cl := must(kgo.NewClient(kgo.SeedBrokers(strings.TrimPrefix(b.Kafka(), "kafka://")), kgo.SASL(m), kgo.AllowAutoTopicCreation()))(t)
		if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "t", Value: []byte(name)}).FirstErr(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		cl.Close()
	}
	for name, m := range as("wrong") {
		cl := must(kgo.NewClient(kgo.SeedBrokers(strings.TrimPrefix(b.Kafka(), "kafka://")), kgo.SASL(m), kgo.RetryTimeout(1), kgo.RequestRetries(0)))(t)
		if err := cl.Ping(ctx); err == nil {
			t.Errorf("%s: a wrong password passed", name)
		}
		cl.Close()
	}
}
