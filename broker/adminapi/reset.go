package adminapi

import (
	"context"
	"net/http"
)

// SchemaReset is of what a reset has taken away.
const SchemaReset = "rmq.reset/1"

// Reset counts what a reset has taken away.
type Reset struct {
	Sessions  int `json:"sessions"`
	Groups    int `json:"groups"`
	Retained  int `json:"retained"` // messages
	Delayed   int `json:"delayed"`  // messages
	Queues    int `json:"queues"`
	Exchanges int `json:"exchanges"`
	Bindings  int `json:"bindings"` // of exchanges that stay
	Topics    int `json:"topics"`
	Faults    int `json:"faults"` // rules, of the node that answers
}

// Resetter empties a broker; part of Source.
type Resetter interface {
	// Reset takes away what clients have made, in every namespace, and the faults of the node. What is configured
	// stays: users, rules, settings, namespaces, bridges; so does the clock. fault.Conflict: the broker keeps its data
	// on disk, or clients make anew what is taken away.
	Reset(context.Context) (Reset, error)
}

func (h *handler) resets(mux *http.ServeMux) {
	get(h, mux, "POST /v1/reset", SchemaReset, func(ctx context.Context, _ *http.Request) (Reset, error) { return h.src.Reset(ctx) })
}

// Reset is Resetter's.
func (c *Client) Reset(ctx context.Context) (out Reset, err error) {
	return out, c.call(ctx, "POST", "/v1/reset", nil, nil, &out)
}
