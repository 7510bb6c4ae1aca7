package adminapi

import (
	"context"
	"net/http"

	"github.com/robustmq/rmq/broker/chaos"
)

// Schemas of what goes wrong by plan.
const (
	SchemaChaos = "rmq.chaos/1"
	SchemaRule  = "rmq.chaos.rule/1"
)

// Chaos is what goes wrong by plan on one node.
type Chaos struct {
	Node  uint64        `json:"node"`
	Seed  uint64        `json:"seed"`
	Rules []chaos.State `json:"rules"`
}

// Faults is what goes wrong by plan, on the node that answers: each has a plan of its own, which ends with it.
type Faults interface {
	Chaos(context.Context) (Chaos, error)
	// AddFault adds a rule, and returns it with its name. fault.Exists: that is taken.
	AddFault(context.Context, chaos.Rule) (chaos.Rule, error)
	// RemoveFault takes one back. fault.NotFound: there is none of that name.
	RemoveFault(ctx context.Context, name string) error
	// RunPlan has a plan take the place of all there is; one without rules ends that.
	RunPlan(context.Context, chaos.Plan) (Chaos, error)
}

func (h *handler) faults(mux *http.ServeMux) {
	get(h, mux, "GET /v1/chaos", SchemaChaos, func(ctx context.Context, _ *http.Request) (Chaos, error) { return h.src.Chaos(ctx) })
	put(h, mux, "POST /v1/chaos", SchemaRule, func(ctx context.Context, _ *http.Request, r chaos.Rule) (chaos.Rule, error) {
		return h.src.AddFault(ctx, r)
	})
	put(h, mux, "PUT /v1/chaos", SchemaChaos, func(ctx context.Context, _ *http.Request, p chaos.Plan) (Chaos, error) {
		return h.src.RunPlan(ctx, p)
	})
	get(h, mux, "DELETE /v1/chaos", SchemaChaos, func(ctx context.Context, _ *http.Request) (Chaos, error) {
		return h.src.RunPlan(ctx, chaos.Plan{})
	})
	get(h, mux, "DELETE /v1/chaos/{name}", SchemaDone, func(ctx context.Context, r *http.Request) (Done, error) {
		return Done{}, h.src.RemoveFault(ctx, r.PathValue("name"))
	})
}

func (c *Client) Chaos(ctx context.Context) (got Chaos, err error) {
	return got, c.call(ctx, "GET", "/v1/chaos", nil, nil, &got)
}

func (c *Client) AddFault(ctx context.Context, r chaos.Rule) (added chaos.Rule, err error) {
	return added, c.call(ctx, "POST", "/v1/chaos", nil, r, &added)
}

func (c *Client) RemoveFault(ctx context.Context, name string) error {
	return c.call(ctx, "DELETE", "/v1/chaos/"+escapeName(name), nil, nil, nil)
}

func (c *Client) RunPlan(ctx context.Context, p chaos.Plan) (got Chaos, err error) {
	return got, c.call(ctx, "PUT", "/v1/chaos", nil, p, &got)
}
