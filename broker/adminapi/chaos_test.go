package adminapi_test

import (
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/chaos"
	"github.com/robustmq/rmq/broker/grammar"
)

// What goes wrong by plan is added, told, taken back and replaced: every field of a rule arrives.
func TestChaos(t *testing.T) {
	_, c := serve(t, adminapi.HandlerOptions{})
	ctx := t.Context()
	rules := func(want ...chaos.Rule) {
		t.Helper()
		got, err := c.Chaos(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var all []chaos.Rule
		for _, s := range got.Rules {
			all = append(all, s.Rule)
		}
		if !reflect.DeepEqual(all, want) {
			t.Errorf("there are %+v, want %+v", all, want)
		}
	}
	code := func(err error) string {
		e, _ := errors.AsType[*adminapi.Error](err)
		if e == nil {
			return ""
		}
		return e.Code
	}

	rules()
	lost, err := c.AddFault(ctx, chaos.Rule{
		Name: "lost/acks", At: "mqtt/PUBACK", Do: chaos.Drop, Client: "dev*", After: 1, Times: 3, Chance: 0.5,
		From: grammar.Duration(time.Second), For: grammar.Duration(time.Minute),
	})
	if err != nil || lost.Name != "lost/acks" {
		t.Fatalf("added %+v, %v", lost, err)
	}
	full, err := c.AddFault(ctx, chaos.Rule{At: "disk", Do: chaos.Full, Bytes: 64 << 20})
	if err != nil || full.Name == "" {
		t.Fatalf("added %+v, %v: a rule without a name gets one", full, err)
	}
	slow, err := c.AddFault(ctx, chaos.Rule{
		Name: "slow", At: "conn/amqp", Do: chaos.Delay, Listener: "amqp://*", Delay: grammar.Duration(time.Millisecond), Jitter: grammar.Duration(time.Microsecond),
	})
	if err != nil {
		t.Fatal(err)
	}
	rules(lost, full, slow)

	if _, err := c.AddFault(ctx, chaos.Rule{Name: "slow", At: "conn", Do: chaos.Hang}); code(err) != "exists" {
		t.Errorf("a name that is taken: %v", err)
	}
	if _, err := c.AddFault(ctx, chaos.Rule{At: "mqtt/PUBAK", Do: chaos.Drop}); code(err) != "invalid" || !strings.Contains(err.Error(), "did you mean PUBACK?") {
		t.Errorf("a packet that there is not: %v", err)
	}
	if err := c.RemoveFault(ctx, "lost/acks"); err != nil {
		t.Error(err)
	}
	if err := c.RemoveFault(ctx, "lost/acks"); code(err) != "not_found" {
		t.Errorf("a rule that is gone: %v", err)
	}
	rules(full, slow)

	fails := chaos.Rule{Name: "moved", At: "kafka/Produce", Do: chaos.Fail, Code: "NOT_LEADER_OR_FOLLOWER", Topic: "orders"}
	if _, err := c.RunPlan(ctx, chaos.Plan{Rules: []chaos.Rule{fails, fails}}); code(err) != "invalid" {
		t.Errorf("a plan with two rules of a name: %v", err)
	}
	rules(full, slow) // a plan that is wrong changes nothing
	if got, err := c.RunPlan(ctx, chaos.Plan{Seed: 7, Rules: []chaos.Rule{fails}}); err != nil || got.Seed != 7 || got.Node == 0 {
		t.Errorf("a plan: %+v, %v", got, err)
	}
	rules(fails)

	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, c.Base()+"/v1/chaos", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("DELETE /v1/chaos: %s", resp.Status)
	}
	rules()
}
