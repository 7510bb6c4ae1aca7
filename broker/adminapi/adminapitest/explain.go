package adminapitest

import (
	"context"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/adminapi"
)

// Explain says that the first topic and the first queue get everything, and the second session nothing.
func (f *Fake) Explain(_ context.Context, q adminapi.ExplainQuestion) (adminapi.Explanation, error) {
	unlock, err := f.lock()
	if err != nil {
		return adminapi.Explanation{}, err
	}
	defer unlock()
	x := adminapi.Explanation{Address: q.Topic, Access: acl.Verdict{Allowed: true, Why: "there are no rules: everything is allowed"}}
	if len(f.T) > 0 {
		x.Targets = append(x.Targets, adminapi.ExplainTarget{Kind: "stream", Name: f.T[0].Name, Via: []string{"it has that address"}, Partition: new(int32)})
	}
	if len(f.Q) > 0 {
		x.Targets = append(x.Targets, adminapi.ExplainTarget{Kind: "queue", Name: f.Q[0].Name, Via: []string{"by its name"}})
	}
	if len(f.C) > 1 {
		x.Misses = append(x.Misses, adminapi.ExplainTarget{Kind: "session", Name: f.C[1].ClientID, Via: []string{"a/+"}, Why: "it ends before level 3", Where: "away"})
	}
	return x, nil
}
