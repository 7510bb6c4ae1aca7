package adminapi

import (
	"context"
	"net/http"
)

// Changed is one line of GET /v1/changes: something may be otherwise than it was, and is to be looked at
// again. The first comes at once.
type Changed struct {
	N uint64 `json:"n"` // lines so far
}

func (h *handler) changes(w http.ResponseWriter, r *http.Request) {
	lines := newLines(w)
	h.endStream(w, r, lines, h.src.Changes(r.Context(), func(c Changed) error { return lines.write(c) }))
}

// Changes calls emit after whatever may have changed what the API tells.
func (c *Client) Changes(ctx context.Context, emit func(Changed) error) error {
	return stream(ctx, c, "/v1/changes", nil, func(line struct {
		Changed
		Error *Error `json:"error"`
	}) error {
		if line.Error != nil {
			return line.Error
		}
		return emit(line.Changed)
	})
}
